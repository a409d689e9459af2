//! `kill -9` at every external write of the path: after a restart the end state is right and effects count once.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, approve, cluster, configuration, plan_id, policy, wait_condition,
    with_spark,
};
use serde_json::json;

/// The code of a process that `kill -9` ended.
const KILLED: i32 = 128 + 9;

/// Runs the whole path with an operator that kills itself at `point`, starts another, and looks at the world.
async fn crash_at(point: &str) -> Result<()> {
    let world = World::new(&Bed::attach()?, &format!("crash-{}", point.replace(':', ""))).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("web", 2), world.create_group(1, 4, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    let url = world.create_schema().await?;
    let config = json!({"database": {"url": url}});
    apply(&world, &[&with_spark(&world, cluster(&world, "demo"), (2, 4))?, &policy("default", "demo", 30)]).await?;
    let mut first = Operator::start(&world, Options::config(config.clone()).env("LOGWISE_CRASH_AT", point)).await?;
    // The rules are written after the approval, and so are the intents from the seventh write on.
    let late = point.starts_with("s3") || matches!(point.split(':').nth(1), Some("7" | "8" | "9"));
    if late {
        let id = plan_id(&world, "default").await?;
        approve(&world, "default", &id).await?;
    }
    let code = first.wait_exit().await.with_context(|| format!("the operator never reached {point}"))?;
    ensure!(code == KILLED, "the operator ended with {code} instead of being killed at {point}");
    let mut second = Operator::start(&world, Options::config(config)).await?;
    second.wait_ready().await?;
    if !late {
        let id = plan_id(&world, "default").await?;
        approve(&world, "default", &id).await?;
    }
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    assert_end_state(&world, point).await
}

async fn assert_end_state(world: &World, point: &str) -> Result<()> {
    world
        .wait_until("topics and group", PATIENCE, async || {
            ensure!(world.topic_partitions("api").await? == 3 && world.topic_partitions("web").await? == 3, "topics");
            ensure!(world.group(&world.group).await?.desired == 2, "group");
            Ok(())
        })
        .await?;
    let raises = world.calls(&world.group, true).await?;
    ensure!(raises.len() == 1, "after a crash at {point} the raise took effect {} times: {raises:?}", raises.len());
    let puts = world.calls(&world.bucket, true).await?;
    let puts = puts.iter().filter(|call| call.action == "PutBucketLifecycleConfiguration").count();
    ensure!(puts == 1, "after a crash at {point} the rules were written {puts} times");
    let document = world.lifecycle(&world.bucket).await?.document.context("no configuration")?;
    ensure!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "{document}");
    ensure!(document.matches("<Rule>").count() == 3, "{document}");
    world
        .wait_until("the mirror", PATIENCE, async || {
            let rows = world.query("SELECT COUNT(*) FROM logwise_objects WHERE deleted = 0").await?;
            ensure!(rows.trim() == "2", "{rows} rows");
            let ready = world
                .query("SELECT COUNT(*) FROM logwise_conditions WHERE type = 'Programmed' AND status = 'True'")
                .await?;
            ensure!(ready.trim() == "1", "the policy's row is stale");
            let twice = world
                .query("SELECT COUNT(*) FROM (SELECT id FROM logwise_decisions GROUP BY id HAVING COUNT(*) > 1) AS t")
                .await?;
            ensure!(twice.trim() == "0", "decisions recorded twice");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn before_partitions_are_created() -> Result<()> {
    crash_at("kafka:1:before").await
}

#[tokio::test]
async fn after_partitions_were_created() -> Result<()> {
    crash_at("kafka:1:after").await
}

#[tokio::test]
async fn before_the_group_is_raised() -> Result<()> {
    crash_at("autoscaling:1:before").await
}

#[tokio::test]
async fn after_the_group_was_raised() -> Result<()> {
    crash_at("autoscaling:1:after").await
}

#[tokio::test]
async fn before_rules_are_written() -> Result<()> {
    crash_at("s3:1:before").await
}

#[tokio::test]
async fn after_rules_were_written() -> Result<()> {
    crash_at("s3:1:after").await
}

#[tokio::test]
async fn before_the_first_commit() -> Result<()> {
    crash_at("sql:1:before").await
}

#[tokio::test]
async fn after_the_second_commit() -> Result<()> {
    crash_at("sql:2:after").await
}

#[tokio::test]
async fn after_the_first_commit() -> Result<()> {
    crash_at("sql:1:after").await
}

#[tokio::test]
async fn after_an_intent_was_prepared() -> Result<()> {
    crash_at("kubernetes:1:after").await
}

#[tokio::test]
async fn after_an_intent_was_sent_and_before_its_call() -> Result<()> {
    crash_at("kubernetes:3:after").await
}

#[tokio::test]
async fn before_the_last_of_two_intents_is_closed() -> Result<()> {
    crash_at("kubernetes:6:before").await
}

/// Every point of the path in `make prove`; otherwise the last one, the tests above being the sample.
#[tokio::test]
async fn every_point_of_the_path() -> Result<()> {
    if std::env::var_os("LOGWISE_PROVE").is_none() {
        return crash_at("kubernetes:9:before").await;
    }
    let systems = [("kafka", 1), ("autoscaling", 1), ("s3", 1), ("kubernetes", 9), ("sql", 4)];
    let mut failed = Vec::new();
    for (system, writes) in systems {
        for point in (1..=writes).flat_map(|number| ["before", "after"].map(|side| format!("{system}:{number}:{side}")))
        {
            if let Err(error) = crash_at(&point).await {
                failed.push(format!("{point}: {error:#}"));
            }
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
