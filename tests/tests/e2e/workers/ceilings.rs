//! What limits the number of workers beside bounds and windows: the job's own cores, the partitions of its topics, the
//! log of its file sink, and zones that the group balances. Each is told, once, and the metrics have the figures.

use super::ledger::{Change, changes, ended, raised};
use super::query::{TOPIC, autoscaling, commit, ends_of};
use super::{Ground, Pipeline, Wish, became_unknown, merge, of_workers, told};
use anyhow::{Result, ensure};
use logwise_testbed::fake_master::Kind;
use logwise_testbed::stand_in::Pace;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, series};
use serde_json::json;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Partitions of the topic, as many as every topic is to have at least.
const PARTITIONS: u32 = 3;
const NOTHING: [i64; 3] = [0; 3];

/// Records for which five cores are wanted, at ten records a second and core and within a minute.
const RECORDS: u32 = 3_000;

/// Of seven days that Kafka keeps records.
const OLD: Duration = Duration::from_secs(5 * 86_400);

/// Looks during which nothing may happen.
const LOOKS: u64 = 4;

/// Longer than this test.
const NEVER: Duration = Duration::from_secs(3_600);

/// Waits until a series of the pipeline has a value of these.
async fn measures(ground: &Ground, name: &str, expected: RangeInclusive<i64>) -> Result<()> {
    let look = async || {
        let value = series(&ground.operator.metrics().await?, &ground.world, "demo", name);
        ensure!(value.is_some_and(|value| expected.contains(&value)), "{name} is {value:?}, not {expected:?}");
        Ok(())
    };
    ground.world.wait_until(&format!("{name} to be measured"), PATIENCE, look).await
}

/// Waits until the last decision has these words.
async fn decides(pipeline: &Pipeline<'_>, words: &str) -> Result<()> {
    let look = async || {
        let spark = pipeline.shown().await?["status"]["spark"].clone();
        ensure!(spark["lastDecision"].as_str().is_some_and(|line| line.contains(words)), "{spark}");
        Ok(())
    };
    pipeline.world.wait_until(&format!("the decision to say {words:?}"), PATIENCE, look).await
}

/// A topic with an old record and many new ones, of which seven batches have read none.
async fn unread(world: &World) -> Result<()> {
    world.create_topic(TOPIC, PARTITIONS).await?;
    world.produce_at(TOPIC, OLD).await?;
    world.produce(TOPIC, RECORDS, false).await?;
    for batch in 0..7 {
        commit(world, batch, &NOTHING).await?;
    }
    Ok(())
}

#[tokio::test]
async fn ceilings_of_job_and_topics_are_told_once_and_a_batch_that_compacts_holds_a_removal() -> Result<()> {
    // Facts of Kafka count for two looks: what is old meanwhile would be told.
    let ground = Ground::looking("ceilings", 3).await?;
    let world = &ground.world;
    unread(world).await?;
    // With the cores of a worker in the spec a master that is slow to answer leaves the ceiling as it is.
    let mut wish = Wish::new((1, 4, 1), &autoscaling((1, 4), json!({"coresPerWorker": 2})));
    wish.follows_load = true;
    let driver = json!({"sparkProperties": {"spark.cores.max": "1"}});
    merge(&mut wish.spec, json!({"spark": {"driver": driver}, "kafka": {"partitionScaling": {"mode": "Disabled"}}}));
    let pipeline = ground.pipeline("demo", wish).await?;

    let words = ["`spark.cores.max` 1", "Raise it there"];
    pipeline.says(("ScalingLimited", "True", "CoresMaxReached"), &words).await?;
    let words = [TOPIC, "keeps records for 604800 s", "less than 50 %"];
    pipeline.says(("RetentionAtRisk", "True", "LagNearsRetention"), &words).await?;
    measures(&ground, "logwise_spark_wanted_workers", 1..=1).await?;
    let waiting = i64::from(RECORDS) + 1;
    measures(&ground, "logwise_spark_backlog_records", waiting..=waiting).await?;
    measures(&ground, "logwise_spark_records_per_second_per_core", 10..=10).await?;
    measures(&ground, "logwise_spark_driver_up", 0..=0).await?;
    // The bucket's clock counts, by which offsets and commit were written right after each other.
    let slowest = i64::try_from(PATIENCE.as_secs())?;
    measures(&ground, "logwise_spark_batch_duration_seconds", 0..=slowest).await?;
    let age = i64::try_from(OLD.as_secs())?;
    measures(&ground, "logwise_spark_backlog_age_seconds", age..=age + 3_600).await?;
    ground.looked(LOOKS).await?;
    ensure!(raised(&pipeline.changes().await?).is_empty(), "{:?}", pipeline.changes().await?);

    pipeline.patch(&json!({"spark": {"driver": {"sparkProperties": null}}})).await?;
    pipeline.says(("ScalingLimited", "True", "PartitionCeiling"), &["partitions", "maxPartitions"]).await?;
    pipeline.wait_size(2).await?;
    measures(&ground, "logwise_spark_wanted_workers", 2..=2).await?;

    // All is read, and batch 9 is about to rewrite the log of the sink.
    let read = ends_of(world, PARTITIONS).await?;
    commit(world, 7, &read).await?;
    decides(&pipeline, "compacts the log of the file sink").await?;
    measures(&ground, "logwise_spark_backlog_records", 0..=0).await?;
    measures(&ground, "logwise_spark_wanted_workers", 1..=1).await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
    commit(world, 8, &read).await?;
    ground.looked(LOOKS).await?;
    ensure!(ended(&pipeline.changes().await?).is_empty(), "{:?}", pipeline.changes().await?);
    commit(world, 9, &read).await?;
    pipeline.wait_size(1).await?;

    let changes = pipeline.adds_up(1).await?;
    ensure!(raised(&changes) == [2] && ended(&changes).len() == 1, "{changes:?}");
    for (kind, status, reason) in [
        ("ScalingLimited", "True", "CoresMaxReached"),
        ("ScalingLimited", "True", "PartitionCeiling"),
        ("ScalingLimited", "False", "WithinRange"),
        ("RetentionAtRisk", "True", "LagNearsRetention"),
    ] {
        let times = told(&ground, (kind, status, reason)).await?;
        let unknown = became_unknown(&ground.operator.metrics().await?, kind);
        // Once, and once more whenever it was not known meanwhile: some part of all this did not answer in time.
        ensure!(times <= 1 + unknown, "{kind} turned {status} ({reason}) {times} times, Unknown {unknown} times");
    }
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn while_a_group_balances_its_zones_no_worker_goes() -> Result<()> {
    let ground = Ground::new("balancing").await?;
    // AWS moves no instance that is protected.
    let group = json!({"scaleInProtection": "Observe"});
    let wish = Wish::new((0, 9, 0), &json!({"replicas": 1, "autoScalingGroup": group}));
    let pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    // The same with two zones, of which one is empty.
    ground.aws.delete_group(&pipeline.group).await?;
    ground.aws.create_group_in(&pipeline.group, (0, 9, 4), &["a", "b"]).await?;
    for one in pipeline.group().await?.instances.iter().filter(|one| one.zone.ends_with('b')) {
        let end = [("InstanceId", one.id.as_str()), ("ShouldDecrementDesiredCapacity", "true")];
        ground.aws.administer(&pipeline.group, "TerminateInstanceInAutoScalingGroup", &end).await?;
    }
    pipeline.wait_size(2).await?;
    ground.aws.set_pace(&pipeline.group, &Pace { pending: Some(NEVER), ..Pace::default() }).await?;
    let newcomers = ground.aws.rebalance(&pipeline.group).await?;
    ensure!(newcomers.len() == 1, "{newcomers:?}");
    let theirs = pipeline.calls().await?.len();
    let ours = async || changes(&pipeline.calls().await?[theirs..]);

    apply(&ground.world, &[&pipeline.object]).await?;
    decides(&pipeline, "moves instances between zones").await?;
    ground.looked(LOOKS).await?;
    let (held, cordons) = (ours().await?, pipeline.master.calls_of(Kind::Cordon).len());
    ensure!(held.is_empty() && cordons == 0, "{held:?}, {cordons} cordons");
    // Moved, they may be protected, and then one goes.
    ground.aws.advance_clock(&pipeline.group, NEVER).await?;
    let manage = json!({"autoScalingGroup": {"scaleInProtection": "Manage"}});
    pipeline.patch(&of_workers(&manage)).await?;
    pipeline.wait_size(1).await?;
    let changes = ours().await?;
    ensure!(changes[..2] == [Change::Newcomers, Change::Protect(2)] && ended(&changes).len() == 1, "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}
