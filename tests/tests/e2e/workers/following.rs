//! The number of workers follows the load, as far and as fast as the spec says. The records are real, and a query that
//! nobody runs has read as many of them as the test says.

use super::ledger::{END, ended, gaps, raised};
use super::query::{TOPIC, autoscaling, commit, ends, unread};
use super::{Ground, Pipeline, Wish, of_workers};
use anyhow::{Context, Result, ensure};
use logwise_tests::{PATIENCE, condition, counted, wait_events};
use serde_json::{Value, json};

/// At ten records a second and core, and all of these to be read within a minute: four cores and one for the driver, of
/// workers with two cores.
const RECORDS: u32 = 2_000;
const WANTED: usize = 3;

/// How long fewer workers have to be wanted, and how long one step takes, in seconds.
const WINDOW: i64 = 6;
const STEP: i64 = 2;

/// How much sooner than by the operator's clock a call may come, in milliseconds: what counts is when it looked.
const EARLIER: (i64, i64) = (500, 1_500);

/// Looks during which nothing may happen.
const LOOKS: u64 = 2;

/// A pipeline of one worker that may get five, over unread records.
async fn pipeline(ground: &Ground, fields: Value) -> Result<Pipeline<'_>> {
    unread(&ground.world, RECORDS).await?;
    let mut wish = Wish::new((1, 6, 1), &autoscaling((1, 5), fields));
    wish.follows_load = true;
    ground.pipeline("demo", wish).await
}

/// One worker more or less within a step.
fn one_by_one(window: i64) -> Value {
    let policy = json!({"type": "Replicas", "value": 1, "periodSeconds": STEP});
    json!({"stabilizationWindowSeconds": window, "policies": [policy]})
}

/// Waits until so many workers are said to be wanted.
async fn wanted(pipeline: &Pipeline<'_>, number: usize) -> Result<()> {
    let look = async || {
        let workers = pipeline.shown().await?["status"]["spark"]["workers"].clone();
        ensure!(workers["wantedReplicas"] == number, "{workers}");
        Ok(())
    };
    pipeline.world.wait_until(&format!("{number} wanted workers in the status"), PATIENCE, look).await
}

/// Waits until so many workers are said to be ready, and in service.
async fn are_ready(pipeline: &Pipeline<'_>, number: usize) -> Result<()> {
    let look = async || {
        let workers = pipeline.shown().await?["status"]["spark"]["workers"].clone();
        ensure!(workers["readyReplicas"] == number && workers["replicas"] == number, "{workers}");
        Ok(())
    };
    pipeline.world.wait_until(&format!("{number} ready workers in the status"), PATIENCE, look).await
}

#[tokio::test]
async fn load_is_followed_as_fast_as_the_policies_say_and_downwards_after_the_window() -> Result<()> {
    let ground = Ground::new("following").await?;
    let world = &ground.world;
    let behavior = json!({"scaleUp": one_by_one(0), "scaleDown": one_by_one(WINDOW)});
    let pipeline = pipeline(&ground, json!({"behavior": behavior})).await?;
    pipeline.wait_size(WANTED).await?;
    are_ready(&pipeline, WANTED).await?;
    pipeline.says(("SignalsFresh", "True", "Fresh"), &[]).await?;
    pipeline.says(("RetentionAtRisk", "False", "SafeMargin"), &[]).await?;
    let calls = pipeline.calls().await?;
    ensure!(raised(&pipeline.changes().await?) == [2, 3], "{calls:?}");
    ensure!(gaps(&calls, "SetDesiredCapacity")[0] >= STEP * 1_000 - EARLIER.0, "faster than the policy: {calls:?}");
    // A driver on one of the three, wherever that is: it stays there.
    let driver = pipeline.drive().await;

    let read = commit(world, 1, &ends(world).await?).await?;
    wanted(&pipeline, 1).await?;
    pipeline.wait_size(1).await?;
    let changes = pipeline.adds_up(1).await?;
    ensure!(raised(&changes) == [2, 3] && ended(&changes).len() == WANTED - 1, "{changes:?}");
    let calls = pipeline.calls().await?;
    let first = calls.iter().find(|call| call.action == END).context("no end")?.time - read;
    ensure!(first >= WINDOW * 1_000 - EARLIER.1, "the first one went {first} ms after all was read");
    ensure!(gaps(&calls, END)[0] >= STEP * 1_000 - EARLIER.0, "faster than the policy: {calls:?}");
    let page = pipeline.master.overview().await?;
    ensure!(page.driver_hosts() == page.alive_hosts() && page.activedrivers[0].id == driver, "{page:?}");
    for reason in ["WorkersScaledOut", "WorkersScaledIn"] {
        let told = wait_events(world, "demo", reason, 2).await?;
        ensure!(told.len() == 2, "{told:?}");
    }
    are_ready(&pipeline, 1).await?;
    let metrics = ground.operator.metrics().await?;
    let done = |direction: &str| {
        let labels = format!("direction=\"{direction}\",outcome=\"done\"");
        counted(&metrics, world, "demo", ("logwise_spark_scale_decisions_total", &labels))
    };
    // One whose answer came too late may be counted otherwise, and found to be so by the next look.
    ensure!(done("out") > 0 && done("in") > 0, "{metrics}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn a_mode_and_a_policy_that_say_so_leave_the_group_as_it_is() -> Result<()> {
    let ground = Ground::new("left-alone").await?;
    let world = &ground.world;
    let mode = |mode: &str| of_workers(&json!({"autoscaling": {"mode": mode}}));
    let behavior = json!({"scaleDown": {"selectPolicy": "Disabled"}});
    let pipeline = pipeline(&ground, json!({"mode": "Recommend", "behavior": behavior})).await?;
    pipeline.says(("ScalingLimited", "True", "RecommendOnly"), &["wantedReplicas", "to Automatic"]).await?;
    wanted(&pipeline, WANTED).await?;
    ground.looked(LOOKS).await?;
    ensure!(pipeline.changes().await?.is_empty(), "{:?}", pipeline.changes().await?);

    pipeline.patch(&mode("Automatic")).await?;
    pipeline.wait_size(WANTED).await?;
    commit(world, 1, &ends(world).await?).await?;
    let words = ["`behavior.scaleDown.selectPolicy` is Disabled"];
    pipeline.says(("ScalingLimited", "True", "ScaleInDisabled"), &words).await?;
    wanted(&pipeline, 1).await?;
    ground.looked(LOOKS).await?;

    pipeline.patch(&mode("Disabled")).await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &["`autoscaling.mode` is Disabled"]).await?;
    // More to read than one worker can, and nobody who looks at it.
    world.produce(TOPIC, RECORDS, false).await?;
    ground.at_rest(&[&pipeline]).await?;
    let object = pipeline.shown().await?;
    ensure!(condition(&object, "SignalsFresh").is_none(), "{}", object["status"]);
    let changes = pipeline.adds_up(1).await?;
    ensure!(raised(&changes) == [3] && ended(&changes).is_empty(), "{changes:?}");
    ground.ends(&[&pipeline]).await
}
