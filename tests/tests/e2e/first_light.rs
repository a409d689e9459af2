//! kubectl apply -> Kafka, Auto Scaling, Spark, S3, SQL -> conditions, asserted on the outside systems.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::spark::overview;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, approve, cluster, configuration, events, plan_id, policy,
    wait_condition, with_spark,
};
use serde_json::{Value, json};
use sqlx::{Connection, Row};

/// Parts that have decided to do something. Actions are a list, or members by name.
const ACTED: &str = "SELECT DISTINCT part FROM logwise_decisions WHERE actions NOT IN ('[]', '{}') ORDER BY part";

/// A world with one topic of one partition, a group of one real worker, logs of two services and two foreign rules.
async fn prepared(name: &str) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_spark_group(1, 4, 1))?;
    world.produce("api", 50, false).await?;
    let logs = [("api", "2026"), ("web", "2026")].map(|(service, year)| {
        NewObject::sized(&format!("logs/service_name={service}/year={year}/part-0.parquet"), 2_048)
    });
    world.put_objects(&logs).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    Ok(world)
}

/// Everything up to the rows in SQL.
async fn first_light(world: &World, operator: &mut Operator) -> Result<()> {
    operator.wait_ready().await?;
    let pipeline = with_spark(world, cluster(world, "demo"), (2, 4))?;
    apply(world, &[&pipeline, &policy("default", "demo", 30)]).await?;
    let id = plan_id(world, "default").await?;
    ensure!(
        world.lifecycle(&world.bucket).await?.document == Some(configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])),
        "rules were written before approval"
    );
    approve(world, "default", &id).await?;
    wait_condition(world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    Ok(())
}

async fn assert_outside(world: &World, operator: &Operator) -> Result<()> {
    assert_eq!(world.topic_partitions("api").await?, 3);
    let group = world.group(&world.group).await?;
    assert_eq!((group.desired, group.instances.len()), (2, 2));
    // New instances are protected before the group grows, and the one that was there is too.
    let calls = world.calls(&world.group, true).await?;
    let actions: Vec<&str> = calls.iter().map(|call| call.action.as_str()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "SetDesiredCapacity").count(), 1, "{actions:?}");
    assert_eq!(actions.first(), Some(&"UpdateAutoScalingGroup"), "{actions:?}");
    assert!(group.instances.iter().all(|instance| instance.protected), "{group:?}");
    let document = world.lifecycle(&world.bucket).await?.document.context("the bucket has no configuration")?;
    assert!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "{document}");
    for service in ["api", "web"] {
        assert!(document.contains(&format!("<Prefix>logs/service_name={service}/</Prefix>")), "{document}");
    }
    assert_eq!(document.matches("<Rule>").count(), 4, "{document}");
    let writes = world.calls(&world.bucket, true).await?;
    assert_eq!(writes.iter().filter(|call| call.action == "PutBucketLifecycleConfiguration").count(), 1, "{writes:?}");
    let metrics = operator.metrics().await?;
    let of = format!("namespace=\"{}\",cluster=\"demo\"", world.namespace);
    for line in [
        format!("logwise_kafka_partitions{{{of}}} 3"),
        format!("logwise_kafka_partition_increases_total{{{of}}} 1"),
        format!("logwise_spark_workers{{{of},state=\"desired\"}} 2"),
        format!("logwise_s3_lifecycle_rules{{{of},owner=\"logwise\"}} 2"),
        format!("logwise_s3_lifecycle_rules{{{of},owner=\"other\"}} 2"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    for fact in ["topic_ends", "services", "cores", "drivers"] {
        let told = format!("logwise_operator_facts_total{{fact=\"{fact}\",state=\"known\"}}");
        assert!(metrics.contains(&told), "nobody told {fact}:\n{metrics}");
    }
    assert_eq!(
        events(world, "demo", "PartitionsIncreased").await?,
        [format!("{} 1 -> 3 (at least 3)", world.topic("api"))]
    );
    assert_eq!(events(world, "demo", "WorkersScaledOut").await?.len(), 1);
    assert_eq!(events(world, "default", "PlanApplied").await?.len(), 1);
    Ok(())
}

/// The master itself says that both workers are there. Other tests have workers in the same master, so this may take
/// a little longer than SparkReady, which counts them all.
async fn assert_workers(world: &World) -> Result<()> {
    let spark = world.bed.spark.as_ref().context("no Spark master")?;
    let page = format!("{}:{}", spark.host, spark.ui_port);
    let group = world.group(&world.group).await?;
    world
        .wait_until("a real worker on every instance", PATIENCE, async || {
            let master = overview(&page).await?;
            let alive = master.alive_hosts();
            let missing: Vec<&str> =
                group.instances.iter().map(|i| i.private_ip.as_str()).filter(|ip| !alive.contains(ip)).collect();
            ensure!(missing.is_empty(), "no worker on {missing:?}");
            Ok(())
        })
        .await
}

fn expected_rows() -> Vec<(String, String)> {
    vec![("LogwiseCluster".into(), "demo".into()), ("RetentionPolicy".into(), "default".into())]
}

#[tokio::test]
async fn apply_changes_every_system_and_is_mirrored_to_sqlite() -> Result<()> {
    let world = prepared("first-light-sqlite").await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    first_light(&world, &mut operator).await?;
    futures::try_join!(assert_outside(&world, &operator), assert_workers(&world))?;
    let config: Value = serde_yaml::from_str(&std::fs::read_to_string(&operator.config)?)?;
    let url = config["database"]["url"].as_str().context("the operator has a database")?.to_owned();
    world
        .wait_until("rows in SQLite", PATIENCE, async || {
            let mut database = sqlx::SqliteConnection::connect(&url).await?;
            let rows = sqlx::query("SELECT kind, name FROM logwise_objects WHERE deleted = 0 ORDER BY kind")
                .fetch_all(&mut database)
                .await?;
            let rows: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            ensure!(rows == expected_rows(), "{rows:?}");
            let ready = sqlx::query("SELECT COUNT(*) FROM logwise_conditions WHERE type = 'Ready' AND status = 'True'")
                .fetch_one(&mut database)
                .await?;
            ensure!(ready.get::<i64, _>(0) == 2, "not both objects are Ready in SQL");
            let done = sqlx::query(ACTED).fetch_all(&mut database).await?;
            let done: Vec<String> = done.iter().map(|row| row.get(0)).collect();
            ensure!(done == ["kafka", "spark", "storage"], "decisions with actions: {done:?}");
            Ok(())
        })
        .await?;
    assert_eq!(operator.stop().await?, 0);
    Ok(())
}

#[tokio::test]
async fn apply_changes_every_system_and_is_mirrored_to_mariadb() -> Result<()> {
    let world = prepared("first-light-maria").await?;
    let url = world.create_schema().await?;
    let mut operator = Operator::start(&world, Options::config(json!({"database": {"url": url}}))).await?;
    first_light(&world, &mut operator).await?;
    futures::try_join!(assert_outside(&world, &operator), assert_workers(&world))?;
    world
        .wait_until("rows in MariaDB", PATIENCE, async || {
            let rows = world.query("SELECT kind, name FROM logwise_objects WHERE deleted = 0 ORDER BY kind").await?;
            ensure!(rows.contains("LogwiseCluster\tdemo") && rows.contains("RetentionPolicy\tdefault"), "{rows}");
            let ready =
                world.query("SELECT COUNT(*) FROM logwise_conditions WHERE type = 'Ready' AND status = 'True'").await?;
            ensure!(ready.trim() == "2", "{ready} objects are Ready in SQL");
            Ok(())
        })
        .await?;
    assert_eq!(operator.stop().await?, 0);
    Ok(())
}
