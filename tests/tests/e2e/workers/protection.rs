//! Protection from scale-in comes before any removal; and what a group does by itself holds every removal.

use super::ledger::{Change, END, changes, ended, raised};
use super::{Ground, Pipeline, Wish, of_workers, replicas};
use anyhow::{Context, Result, ensure};
use logwise_testbed::stand_in::{Call, Pace};
use logwise_tests::{PATIENCE, apply};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(3_600);

/// Looks during which nothing may happen.
const LOOKS: u64 = 3;

#[tokio::test]
async fn managed_instances_are_protected_before_one_goes_and_whoever_comes_later_is_too() -> Result<()> {
    let ground = Ground::new("protect").await?;
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 3), &replicas(2))).await?;
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    let changes = pipeline.adds_up(3).await?;
    let is_right = matches!(changes.as_slice(), [Change::Newcomers, Change::Protect(3), Change::End(_)]);
    ensure!(is_right, "{changes:?}");
    pipeline.patch(&of_workers(&replicas(4))).await?;
    pipeline.wait_size(4).await?;
    pipeline.settled().await?;
    let group = pipeline.group().await?;
    ensure!(group.instances.iter().all(|one| one.protected), "{group:?}");
    let changes = pipeline.adds_up(3).await?;
    ensure!(changes[3..] == [Change::Raise(4)], "the group protects newcomers by itself: {changes:?}");

    // Whom somebody has bared is protected again before anybody goes.
    let bare = group.instances.first().context("no instance")?.id.clone();
    let named = [("InstanceIds.member.1", bare.as_str()), ("ProtectedFromScaleIn", "false")];
    ground.aws.administer(&pipeline.group, "SetInstanceProtection", &named).await?;
    pipeline.patch(&of_workers(&replicas(3))).await?;
    pipeline.wait_size(3).await?;
    pipeline.settled().await?;
    let calls = pipeline.calls().await?;
    let later: Vec<&str> = calls.iter().skip(4).map(|call| call.action.as_str()).collect();
    ensure!(later == ["SetInstanceProtection", "SetInstanceProtection", END], "{later:?}");
    ensure!(calls[5].params["ProtectedFromScaleIn"] == "true", "{}", calls[5].params);
    ensure!(calls[5].params["InstanceIds.member.1"] == bare.as_str(), "{}", calls[5].params);
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// More than one call takes, and in three zones: none has so many addresses to spare.
const MANY: usize = 60;
const ZONES: [&str; 3] = ["a", "b", "c"];

#[tokio::test]
async fn more_instances_than_a_call_takes_are_all_protected_over_some_looks() -> Result<()> {
    let ground = Ground::new("protect-many").await?;
    let wish = Wish::new((0, 70, 0), &replicas(60));
    let pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    ground.aws.delete_group(&pipeline.group).await?;
    ground.aws.create_group_in(&pipeline.group, (0, 70, i64::try_from(MANY)?), &ZONES).await?;
    pipeline.wait_size(MANY).await?;
    apply(&ground.world, &[&pipeline.object]).await?;
    let all_are = async || {
        let group = pipeline.group().await?;
        let bare = group.instances.iter().filter(|one| !one.protected).count();
        ensure!(bare == 0, "{bare} are not protected");
        Ok(())
    };
    ground.world.wait_until("all instances to be protected", PATIENCE, all_are).await?;
    ground.looked(LOOKS).await?;
    let changes = pipeline.changes().await?;
    ensure!(changes == [Change::Newcomers, Change::Protect(50), Change::Protect(MANY - 50)], "{changes:?}");
    let calls = pipeline.calls().await?;
    let fields = calls.iter().filter_map(|call| call.params.as_object()).flatten();
    let named = fields.filter(|(name, _)| name.starts_with("InstanceIds.member.")).filter_map(|(_, id)| id.as_str());
    ensure!(named.collect::<BTreeSet<_>>().len() == MANY, "some were named twice, and others never: {calls:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn observed_protection_is_left_alone_and_holds_removals_until_it_is_there() -> Result<()> {
    let ground = Ground::new("observe-protect").await?;
    let workers = json!({"replicas": 2, "autoScalingGroup": {"scaleInProtection": "Observe"}});
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 3), &workers)).await?;
    let words = ["NewInstancesProtectedFromScaleIn", "scaleInProtection", "no worker is removed"];
    pipeline.says(("ScalingLimited", "True", "ScaleInHeld"), &words).await?;
    ground.looked(LOOKS).await?;
    ensure!(pipeline.changes().await?.is_empty(), "{:?}", pipeline.changes().await?);
    pipeline.patch(&of_workers(&replicas(4))).await?;
    pipeline.wait_size(4).await?;
    pipeline.patch(&of_workers(&replicas(3))).await?;
    pipeline.says(("ScalingLimited", "True", "ScaleInHeld"), &words).await?;
    ground.looked(LOOKS).await?;
    let changes = pipeline.changes().await?;
    ensure!(changes == [Change::Raise(4)], "{changes:?}");

    protect_by_hand(&ground, &pipeline).await?;
    pipeline.wait_size(3).await?;
    pipeline.settled().await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
    let changes = pipeline.adds_up(3).await?;
    let by_hand = [Change::Raise(4), Change::Newcomers, Change::Protect(4)];
    ensure!(changes[..3] == by_hand && ended(&changes[3..]).len() == 1 && changes.len() == 4, "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// As the message says, by the group's administrator.
async fn protect_by_hand(ground: &Ground, pipeline: &Pipeline<'_>) -> Result<()> {
    let newcomers = [("NewInstancesProtectedFromScaleIn", "true")];
    ground.aws.administer(&pipeline.group, "UpdateAutoScalingGroup", &newcomers).await?;
    let ids: Vec<String> = pipeline.instances().await?.into_values().collect();
    let keys: Vec<String> = (1..=ids.len()).map(|number| format!("InstanceIds.member.{number}")).collect();
    let mut form: Vec<(&str, &str)> = keys.iter().map(String::as_str).zip(ids.iter().map(String::as_str)).collect();
    form.push(("ProtectedFromScaleIn", "true"));
    ground.aws.administer(&pipeline.group, "SetInstanceProtection", &form).await
}

#[tokio::test]
async fn an_instance_refresh_and_a_suspended_process_hold_every_removal() -> Result<()> {
    let ground = Ground::new("group-is-busy").await?;
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 4), &replicas(4))).await?;
    let administer =
        async |action: &str, form: &[(&str, &str)]| ground.aws.administer(&pipeline.group, action, form).await;
    pipeline.settled().await?;
    let untouched = async || -> Result<()> {
        ground.looked(LOOKS).await?;
        let changes = changes(&ours(&pipeline).await?)?;
        ensure!(ended(&changes).is_empty(), "{changes:?}");
        Ok(())
    };
    let terminate = [("ScalingProcesses.member.1", "Terminate")];
    administer("SuspendProcesses", &terminate).await?;
    pipeline.patch(&of_workers(&replicas(3))).await?;
    let words = ["process Terminate of the group is suspended", "Resume"];
    pipeline.says(("ScalingLimited", "True", "ScaleInHeld"), &words).await?;
    untouched().await.context("while a process is suspended")?;
    ground.aws.set_pace(&pipeline.group, &Pace { refresh: Some(NEVER), ..Pace::default() }).await?;
    administer("StartInstanceRefresh", &[]).await?;
    pipeline.says(("ScalingLimited", "True", "RefreshRunning"), &["an instance refresh is running"]).await?;
    administer("ResumeProcesses", &terminate).await?;
    untouched().await.context("while a refresh runs")?;
    administer("CancelInstanceRefresh", &[]).await?;
    pipeline.wait_size(3).await?;
    pipeline.settled().await?;
    let changes = changes(&ours(&pipeline).await?)?;
    ensure!(ended(&changes).len() == 1 && raised(&changes).is_empty(), "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// The calls of the group without those of its administrator.
async fn ours(pipeline: &Pipeline<'_>) -> Result<Vec<Call>> {
    let theirs = ["StartInstanceRefresh", "CancelInstanceRefresh", "SuspendProcesses", "ResumeProcesses"];
    let calls = pipeline.calls().await?;
    Ok(calls.into_iter().filter(|call| !theirs.contains(&call.action.as_str())).collect())
}
