//! Launches that fail, and workers that do not register: the operator does not ask for more and more of them.

use super::ledger::{Change, raised};
use super::query::{autoscaling, unread};
use super::{Ground, Pipeline, Wish, of_workers, replicas};
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::fake_master::{FakeMaster, Setup, Source};
use logwise_testbed::stand_in::Pace;
use logwise_tests::{PATIENCE, apply};
use serde_json::{Value, json};
use std::time::Duration;

/// Unread records for which five workers are wanted: nine cores and one for the driver.
const RECORDS: u32 = 5_000;
const WANTED: usize = 5;

/// The group's own words.
const WORDS: &str = "We currently do not have sufficient r6g.large capacity in the zones you asked for";

/// Looks during which nothing may happen.
const LOOKS: u64 = 4;

fn one_at_a_time() -> Value {
    let policy = json!({"type": "Replicas", "value": 1, "periodSeconds": 1});
    json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": [policy]}}})
}

#[tokio::test]
async fn while_launches_fail_no_more_are_asked_for_and_the_groups_own_words_are_told() -> Result<()> {
    let ground = Ground::new("launches-fail").await?;
    unread(&ground.world, RECORDS).await?;
    let mut wish = Wish::new((1, 9, 1), &autoscaling((1, 7), one_at_a_time()));
    wish.follows_load = true;
    let pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    // Tried again as often as it goes: each failure is an activity of its own.
    ground.aws.set_pace(&pipeline.group, &Pace { retry: Some(Duration::from_millis(500)), ..Pace::default() }).await?;
    ground.aws.fail_launches(&pipeline.group, 0, Some(WORDS)).await?;
    apply(&ground.world, &[&pipeline.object]).await?;
    pipeline.says(("ScalingLimited", "True", "LaunchesFail"), &[WORDS, "until a pause is over"]).await?;
    // The group may be asked once more before it has told of the first failure.
    let asked = raised(&pipeline.changes().await?);
    ensure!([&[2][..], &[2, 3]].contains(&asked.as_slice()), "{asked:?}");
    ground.looked(LOOKS).await?;
    let changes = pipeline.changes().await?;
    ensure!(raised(&changes) == asked, "{changes:?}");
    let (group, life) = futures::try_join!(pipeline.group(), ground.aws.life(&pipeline.group))?;
    ensure!(group.instances.len() == 1 && life.failures.is_some(), "launches do not fail: {group:?}");
    pipeline.says(("ScalingLimited", "True", "LaunchesFail"), &[WORDS]).await?;
    // What the spec asks for in any case is asked for, once.
    let least = asked.len() + 2;
    pipeline.patch(&of_workers(&json!({"autoscaling": {"minReplicas": least}}))).await?;
    let words = format!("1 of {least} wanted workers");
    pipeline.says(("SparkReady", "False", "WorkersNotReady"), &[&words]).await?;
    ground.looked(LOOKS).await?;
    let changes = pipeline.changes().await?;
    ensure!(raised(&changes).iter().copied().eq(2..=i64::try_from(least)?), "{changes:?}");

    ground.aws.mend_launches(&pipeline.group).await?;
    pipeline.wait_size(WANTED).await?;
    pipeline.settled().await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
    let changes = pipeline.adds_up(1).await?;
    let begin = [Change::Newcomers, Change::Protect(1)];
    ensure!(changes[..2] == begin && raised(&changes) == [2, 3, 4, 5], "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn launches_that_fail_are_told_where_all_was_asked_for_at_once() -> Result<()> {
    let ground = Ground::new("all-asked-for").await?;
    unread(&ground.world, RECORDS).await?;
    // As the spec has it where it says nothing, but for the window.
    let policies = json!([
        {"type": "Percent", "value": 100, "periodSeconds": 60},
        {"type": "Replicas", "value": 4, "periodSeconds": 60},
    ]);
    let behavior = json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": policies}}});
    let mut wish = Wish::new((1, 9, 1), &autoscaling((1, 7), behavior));
    wish.follows_load = true;
    let load = Pipeline::new(&ground.world, ("load", ground.port), wish).await?;
    let fixed = Pipeline::new(&ground.world, ("fixed", ground.port), Wish::new((1, 9, 1), &replicas(3))).await?;
    for pipeline in [&load, &fixed] {
        let often = Pace { retry: Some(Duration::from_millis(500)), ..Pace::default() };
        ground.aws.set_pace(&pipeline.group, &often).await?;
        ground.aws.fail_launches(&pipeline.group, 0, Some(WORDS)).await?;
    }
    apply(&ground.world, &[&load.object, &fixed.object]).await?;
    for (pipeline, wanted) in [(&load, 5), (&fixed, 3)] {
        pipeline.says(("ScalingLimited", "True", "LaunchesFail"), &[WORDS]).await?;
        ground.looked(LOOKS).await?;
        let changes = pipeline.changes().await?;
        ensure!(raised(&changes) == [wanted], "{changes:?}");
        pipeline.says(("ScalingLimited", "True", "LaunchesFail"), &[WORDS]).await?;
        let line = pipeline.shown().await?["status"]["spark"]["lastDecision"].clone();
        ensure!(line.as_str().is_some_and(|line| line.contains(WORDS)), "{line}");
    }
    fixed.says(("SparkReady", "False", "WorkersNotReady"), &["1 of 3 wanted workers", WORDS]).await?;

    for (pipeline, number) in [(&load, WANTED), (&fixed, 3)] {
        ground.aws.mend_launches(&pipeline.group).await?;
        pipeline.wait_size(number).await?;
        pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
        pipeline.adds_up(1).await?;
    }
    ground.ends(&[&load, &fixed]).await
}

#[tokio::test]
async fn where_workers_do_not_register_no_more_are_asked_for_and_a_stranger_is_named() -> Result<()> {
    let ground = Ground::new("no-effect").await?;
    unread(&ground.world, RECORDS).await?;
    let mut wish = Wish::new((1, 9, 3), &autoscaling((1, 7), json!({"warmupSeconds": 0})));
    wish.follows_load = true;
    let mut pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    // Most have not registered, or under an address that is none of the group's.
    let instances: Vec<(String, String)> = pipeline.instances().await?.into_iter().collect();
    let [(here, _), (_, one), (_, two)] = instances.as_slice() else { bail!("not three instances: {instances:?}") };
    let master = FakeMaster::start(&ground.world.bed, Source::Named, Setup::default()).await?;
    let stranger = "127.0.0.77";
    master.set_hosts(&[here.as_str(), stranger]);
    pipeline.object["spec"]["spark"]["masters"] = master.masters();
    apply(&ground.world, &[&pipeline.object]).await?;
    let words = [one.as_str(), two.as_str(), stranger, "worker log"];
    pipeline.says(("SparkReady", "False", "WorkersMissing"), &words).await?;
    let held = async || {
        let object = pipeline.shown().await?;
        let line = object["status"]["spark"]["lastDecision"].as_str().context("no decision")?.to_owned();
        ensure!(line.contains("2 in service have no worker at the master"), "{line}");
        Ok(())
    };
    ground.world.wait_until("the decision to name those that are missing", PATIENCE, held).await?;
    ground.looked(LOOKS).await?;
    let changes = pipeline.changes().await?;
    ensure!(changes == [Change::Newcomers, Change::Protect(3)], "{changes:?}");

    // They register: what the load asks for comes.
    let all: Vec<&str> = instances.iter().map(|(host, _)| host.as_str()).collect();
    master.set_hosts(&all);
    let more = async || {
        let changes = pipeline.changes().await?;
        ensure!(raised(&changes) == [5], "{changes:?}");
        Ok(())
    };
    ground.world.wait_until("those that the load needs to be asked for", PATIENCE, more).await?;
    ground.ends(&[&pipeline]).await
}
