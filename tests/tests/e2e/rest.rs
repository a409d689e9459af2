//! With nothing changing nothing is written, to Kubernetes, Kafka, AWS or SQL.

use anyhow::{Context, Result, ensure};
use logwise_testbed::audit;
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, approve, cluster, plan_id, policy, wait_condition, with_spark};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long nothing may be written. A span of the claim, not a measure of speed.
const SILENCE: Duration = Duration::from_secs(60);

/// Writes of any kind that the API server's audit log holds for a namespace, from the operator's account.
fn writes(world: &World) -> Result<Vec<String>> {
    let (text, namespace) = (audit::since(&world.bed, None)?, world.namespace.as_str());
    let about = text.lines().filter(|line| line.contains(namespace));
    let entries = about.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = entries.filter(|entry| {
        let by_operator = entry["user"]["username"].as_str().is_some_and(|name| name.ends_with(":logwise-operator"));
        by_operator && entry["objectRef"]["namespace"] == namespace
    });
    let writing = ours.filter(|entry| !matches!(entry["verb"].as_str(), Some("get" | "list" | "watch")));
    Ok(writing.map(|entry| format!("{} {}", entry["verb"], entry["requestURI"])).collect())
}

/// Size and time of every file of an SQLite database.
fn files(database: &Path) -> Result<Vec<(String, u64, SystemTime)>> {
    let folder = database.parent().context("a folder")?;
    let name = database.file_name().context("a name")?.to_string_lossy().into_owned();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        // The -shm file is shared memory of readers, not a write of ours.
        if file.starts_with(&name) && !file.ends_with("-shm") {
            let meta = entry.metadata()?;
            files.push((file, meta.len(), meta.modified()?));
        }
    }
    files.sort();
    Ok(files)
}

/// Everything that a write would move.
async fn traces(world: &World, database: &Path) -> Result<String> {
    let kubernetes = writes(world)?;
    let (bucket, group) = futures::try_join!(world.calls(&world.bucket, true), world.calls(&world.group, true))?;
    let topic = world.bed.kafka_topics_describe(&world.topic("api")).await?;
    let versions: Vec<Value> =
        futures::future::try_join_all([world.get_json("lwc", "demo"), world.get_json("lrp", "default")])
            .await?
            .into_iter()
            .map(|object| object["metadata"]["resourceVersion"].clone())
            .collect();
    Ok(format!(
        "kubernetes {} {kubernetes:?}\naws {} {}\nkafka {topic:?}\nversions {versions:?}\nsql {:?}",
        kubernetes.len(),
        bucket.len(),
        group.len(),
        files(database)?
    ))
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes() -> Result<()> {
    let world = World::new(&Bed::attach()?, "rest").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 4, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    // No worker is asked for: workers of other tests come and go in the same master.
    let pipeline = with_spark(&world, cluster(&world, "demo"), (0, 4))?;
    apply(&world, &[&pipeline, &policy("default", "demo", 30)]).await?;
    let id = plan_id(&world, "default").await?;
    approve(&world, "default", &id).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    let config: Value = serde_yaml::from_str(&std::fs::read_to_string(&operator.config)?)?;
    let url = config["database"]["url"].as_str().context("a database")?;
    let database = Path::new(url.strip_prefix("sqlite://").context("SQLite")?).to_owned();
    // The last rows and events of the change are still on their way: wait until two looks 15 s apart are equal.
    let mut settled = String::new();
    world
        .wait_until("the change to have ended", PATIENCE, async || {
            let now = traces(&world, &database).await?;
            let before = std::mem::replace(&mut settled, now);
            tokio::time::sleep(Duration::from_secs(15)).await;
            ensure!(before == settled, "still moving");
            Ok(())
        })
        .await?;
    ensure!(
        settled.contains("kubernetes") && !settled.contains("kubernetes 0"),
        "the audit log shows no write at all: {settled}"
    );
    let looks = |metrics: &str| {
        metrics
            .lines()
            .filter(|line| line.starts_with("logwise_operator_reconcile_total{part=\"kafka\""))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum::<u64>()
    };
    let before = looks(&operator.metrics().await?);
    let said = operator.log()?;
    tokio::time::sleep(SILENCE).await;
    assert_eq!(operator.log()?, said, "the log goes on at rest");
    assert_eq!(traces(&world, &database).await?, settled);
    let after = looks(&operator.metrics().await?);
    assert!(after >= before + 10, "the operator did not look while it was silent: {before} -> {after}");
    Ok(())
}
