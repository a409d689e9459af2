//! An instance that the operator ends waits for its tasks under the hook that the spec names. Other hooks, and
//! instances that others end, are no business of the operator.

use super::ledger::{Change, changes, ended};
use super::{Ground, Pipeline, Wish, of_workers};
use anyhow::{Context, Result, bail, ensure};
use logwise_tests::PATIENCE;
use serde_json::json;
use std::time::Duration;

/// The hook that the spec names, and one of somebody else.
const OURS: &str = "drain";
const THEIRS: &str = "snapshot";

/// Looks during which nothing may happen.
const LOOKS: u64 = 3;

/// What the operator has answered to hooks so far.
async fn answers(pipeline: &Pipeline<'_>) -> Result<Vec<Change>> {
    let mut calls = pipeline.calls().await?;
    calls.retain(|call| matches!(call.action.as_str(), "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction"));
    changes(&calls)
}

#[tokio::test]
async fn a_worker_that_goes_waits_for_its_tasks_under_the_named_hook_and_under_no_other() -> Result<()> {
    let ground = Ground::new("hooks").await?;
    let group = json!({"terminationHookName": OURS});
    let workers = json!({"replicas": 3, "drainSeconds": 0, "autoScalingGroup": group});
    let mut wish = Wish::new((1, 6, 3), &workers);
    wish.setup.draining = Duration::from_secs(4);
    let pipeline = ground.pipeline("demo", wish).await?;
    for hook in [OURS, THEIRS] {
        let transition = ("LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING");
        let form =
            [("LifecycleHookName", hook), transition, ("HeartbeatTimeout", "300"), ("DefaultResult", "CONTINUE")];
        ground.aws.administer(&pipeline.group, "PutLifecycleHook", &form).await?;
    }
    pipeline.settled().await?;
    pipeline.master.submit("com.example.Other", 5).await;
    pipeline.patch(&of_workers(&json!({"replicas": 2}))).await?;
    let let_go = async || {
        let answers = answers(&pipeline).await?;
        ensure!(answers.contains(&Change::Complete(OURS.to_owned())), "{answers:?}");
        Ok(answers)
    };
    let told = ground.world.wait_until("the hook to be completed", PATIENCE, let_go).await?;
    let (last, before) = told.split_last().context("nothing was answered")?;
    ensure!(*last == Change::Complete(OURS.to_owned()), "{told:?}");
    let waited = Change::Heartbeat(OURS.to_owned());
    ensure!(!before.is_empty() && before.iter().all(|one| *one == waited), "tasks were running: {told:?}");
    let life = ground.aws.life(&pipeline.group).await?;
    let [waiting] = life.waiting.as_slice() else { bail!("not one waits: {life:?}") };
    ensure!(waiting.hook == THEIRS, "{waiting:?}");

    // The other hook still holds it: that is its owner's to answer, and nothing is left to do for us.
    ground.looked(LOOKS).await?;
    ensure!(answers(&pipeline).await? == told, "{:?} after {told:?}", answers(&pipeline).await?);
    let id = waiting.instance.clone();
    let form = [("InstanceId", id.as_str()), ("LifecycleHookName", THEIRS), ("LifecycleActionResult", "CONTINUE")];
    ground.aws.administer(&pipeline.group, "CompleteLifecycleAction", &form).await?;
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    let mut calls = pipeline.calls().await?;
    calls.retain(|call| call.action != "PutLifecycleHook");
    ensure!(ended(&changes(&calls)?) == [id.as_str()], "{calls:?}");

    // One that somebody else ends is theirs, whatever holds it.
    let answered = answers(&pipeline).await?.len();
    let drives = pipeline.master.overview().await?.driver_hosts().first().map(ToString::to_string);
    let mut others = pipeline.instances().await?.into_iter().filter(|(host, _)| Some(host) != drives.as_ref());
    let (_, other) = others.next().context("no other instance")?;
    let form = [("InstanceId", other.as_str()), ("ShouldDecrementDesiredCapacity", "false")];
    ground.aws.administer(&pipeline.group, "TerminateInstanceInAutoScalingGroup", &form).await?;
    ground.looked(LOOKS).await?;
    ensure!(answers(&pipeline).await?.len() == answered, "{:?}", answers(&pipeline).await?);
    ground.ends(&[&pipeline]).await
}
