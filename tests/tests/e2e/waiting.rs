//! `kubectl wait` and kstatus tell the truth at every moment.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, wait_condition};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// What the library that Flux and Helm use makes of an object.
pub(crate) async fn kstatus(world: &World, kind: &str, name: &str) -> Result<String> {
    let object = world.get_json(kind, name).await?.to_string();
    let program = world.bed.dir.join("bin/kstatus");
    tokio::task::spawn_blocking(move || {
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        child.stdin.take().context("no stdin")?.write_all(object.as_bytes())?;
        let answer: Value = serde_json::from_slice(&child.wait_with_output()?.stdout)?;
        answer["Status"].as_str().map(str::to_owned).context("no status")
    })
    .await?
}

async fn wait_ready(world: &World) -> Result<String> {
    world.kubectl(&["wait", "lwc/demo", "--for=condition=Ready", "--timeout=90s"]).await
}

#[tokio::test]
async fn wait_returns_only_when_it_is_really_so() -> Result<()> {
    let world = World::new(&Bed::attach()?, "waiting").await?;
    world.create_topic("api", 1).await?;
    let mut pipeline = cluster(&world, "demo");
    apply(&world, &[&pipeline]).await?;
    assert_eq!(kstatus(&world, "lwc", "demo").await?, "InProgress", "before the operator runs");
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    wait_ready(&world).await?;
    assert_eq!(world.topic_partitions("api").await?, 3, "right after apply");
    assert_eq!(kstatus(&world, "lwc", "demo").await?, "Current");
    for partitions in [4, 6, 7] {
        pipeline["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(partitions);
        apply(&world, &[&pipeline]).await?;
        wait_ready(&world).await?;
        assert_eq!(world.topic_partitions("api").await?, partitions, "right after the edit");
    }
    assert_eq!(kstatus(&world, "lwc", "demo").await?, "Current");
    Ok(())
}

#[tokio::test]
async fn a_stalled_object_fails_at_once_and_recovers_by_itself() -> Result<()> {
    let world = World::new(&Bed::attach()?, "stalled").await?;
    let mut pipeline = cluster(&world, "demo");
    let missing = format!("{}-missing", world.id);
    pipeline["spec"]["storage"]["bucketName"] = json!(missing);
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    apply(&world, &[&pipeline]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "BucketNotFound")).await?;
    let object = world.get_json("lwc", "demo").await?;
    assert!(logwise_tests::condition(&object, "Reconciling").is_none(), "{}", object["status"]);
    assert_eq!(kstatus(&world, "lwc", "demo").await?, "Failed");
    world.bed.stand_in().create_bucket(&missing).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    assert_eq!(kstatus(&world, "lwc", "demo").await?, "Current");
    world
        .wait_until("Stalled to go", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            ensure!(logwise_tests::condition(&object, "Stalled").is_none(), "{}", object["status"]);
            Ok(())
        })
        .await?;
    world.bed.stand_in().delete_bucket(&missing).await
}

#[tokio::test]
async fn a_suspended_object_is_current_and_changes_nothing() -> Result<()> {
    let world = World::new(&Bed::attach()?, "suspended").await?;
    world.create_topic("api", 1).await?;
    let mut pipeline = cluster(&world, "demo");
    pipeline["spec"]["suspend"] = json!(true);
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    apply(&world, &[&pipeline, &logwise_tests::policy("default", "demo", 30)]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("ChangesPending", "True", "SuspendedByUser")).await?;
    assert_eq!(object["status"]["pendingChanges"], 1);
    wait_condition(&world, ("lwc", "demo"), ("Suspended", "True", "SuspendedByUser")).await?;
    assert_eq!(kstatus(&world, "lwc", "demo").await?, "Current");
    assert_eq!(world.topic_partitions("api").await?, 1);
    assert_eq!(world.calls(&world.bucket, true).await?.iter().filter(|c| c.action.contains("Lifecycle")).count(), 0);
    pipeline["spec"]["suspend"] = json!(false);
    apply(&world, &[&pipeline]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    assert_eq!(world.topic_partitions("api").await?, 3);
    Ok(())
}
