//! S3 that answers with an old configuration again after it has shown a write twice, or with one from before several writes:
//! nothing is written over it, no policy goes by it, nobody is blamed for it. And reads that fail right before a write,
//! which hold nothing up.

use crate::replicas::intent;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::stand_in::{Fault, NewObject, Stale};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, configuration, events, policy, wait_condition,
    wait_condition_within,
};
use serde_json::{Value, json};
use std::time::Duration;

const GET: &str = "^GetBucketLifecycleConfiguration$";
const DEMO: (&str, &str) = ("lwc", "demo");
const KEPT: (&str, &str) = ("lrp", "default");

/// How long the operators of these tests reckon with old answers: longer than any step takes.
const STALE: &str = "150";

/// What takes a moment if nothing waits until no answer is old any more.
const SOON: Duration = Duration::from_secs(75);

/// A rule that somebody else adds.
const LATER: &str = "<Rule><ID>later</ID><Filter><Prefix>later/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>2</Days></Expiration></Rule>";

/// A bucket with one service and rules of others, and an operator that looks each so many seconds.
async fn ground(name: &str, seconds: u32) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    world.put_lifecycle(&world.bucket, &theirs()).await?;
    // The preflight reads the configuration too.
    let config = json!({"preflight": {"enabled": false}, "intervals": {"s3Seconds": seconds}});
    let options = Options::config(config).env("LOGWISE_OLD_ANSWERS_SECONDS", STALE);
    let mut operator = Operator::start(&world, options).await?;
    operator.wait_ready().await?;
    Ok((world, operator))
}

fn theirs() -> String {
    configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])
}

/// Wants so many days; `approval` is that of the policy.
async fn want(world: &World, days: i32, approval: &str) -> Result<()> {
    let (mut pipeline, mut object) = (cluster(world, "demo"), policy("default", "demo", days));
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    object["spec"]["changePolicy"] = json!({"approval": approval});
    apply(world, &[&pipeline, &object]).await
}

/// Wants so many days and waits until the record of the write is closed.
async fn retain(world: &World, days: i32) -> Result<()> {
    want(world, days, "Never").await?;
    done(world).await
}

async fn done(world: &World) -> Result<()> {
    wait_condition(world, KEPT, ("Ready", "True", "Programmed")).await?;
    let closed = async || {
        let (_, record) = intent(world, "bucket/").await?;
        ensure!(record["state"] == "Done", "{record}");
        Ok(())
    };
    world.wait_until("the record to be closed", PATIENCE, closed).await
}

async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

async fn puts(world: &World) -> Result<usize> {
    let calls = world.calls(&world.bucket, true).await?;
    Ok(calls.iter().filter(|call| call.action == "PutBucketLifecycleConfiguration").count())
}

/// The next reads are old, as many as this.
async fn make_stale(world: &World, stale: &Stale) -> Result<()> {
    world.bed.stand_in().make_stale(&world.bucket, stale).await.map(drop)
}

/// Waits until so many old answers are left of those that were to come.
async fn wait_left(world: &World, left: u32) -> Result<()> {
    let answered = async || {
        let stale = world.bed.stand_in().stale(&world.bucket).await?;
        ensure!(!stale.waiting && stale.reads.unwrap_or(0) <= left, "{stale:?}");
        Ok(())
    };
    world.wait_until(&format!("{left} old answers to be left"), PATIENCE, answered).await
}

/// Nobody is blamed for old answers, and nothing is called a change by others.
async fn nobody_is_blamed(world: &World) -> Result<()> {
    for (object, reason) in [("demo", "ForeignWriterDetected"), ("default", "LifecycleRuleDrifted")] {
        let told = events(world, object, reason).await?;
        ensure!(told.is_empty(), "{reason}: {told:?}");
    }
    Ok(())
}

/// The policy waits for approval and goes on waiting, after so many writes.
async fn waits_for_approval(world: &World, operator: &Operator, writes: usize) -> Result<()> {
    wait_condition(world, KEPT, ("Programmed", "False", "ApprovalRequired")).await?;
    settles(world, operator, &["storage"], 2, PATIENCE).await?;
    wait_condition(world, KEPT, ("Programmed", "False", "ApprovalRequired")).await?;
    ensure!(puts(world).await? == writes, "{} writes", puts(world).await?);
    Ok(())
}

#[tokio::test]
async fn old_answers_after_two_good_ones_change_nothing_at_rest() -> Result<()> {
    let (world, operator) = ground("old-rest", 2).await?;
    retain(&world, 30).await?;
    retain(&world, 365).await?;
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    let versions = async || -> Result<[Value; 2]> {
        let (kept, demo) = futures::try_join!(world.get_json(KEPT.0, KEPT.1), world.get_json(DEMO.0, DEMO.1))?;
        Ok([kept["metadata"]["resourceVersion"].clone(), demo["metadata"]["resourceVersion"].clone()])
    };
    let before = versions().await?;
    make_stale(&world, &Stale { reads: Some(3), ..Stale::default() }).await?;
    wait_left(&world, 0).await?;
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    ensure!(versions().await? == before, "a status was written by an old answer");
    ensure!(puts(&world).await? == 2, "{} writes", puts(&world).await?);
    ensure!(document(&world).await?.contains("<Days>365</Days>"), "{}", document(&world).await?);
    nobody_is_blamed(&world).await
}

/// By the old answer it would lengthen.
#[tokio::test]
async fn an_edit_that_shortens_waits_for_approval_though_an_old_answer_shows_fewer_days() -> Result<()> {
    let (world, operator) = ground("old-edit", 2).await?;
    retain(&world, 30).await?;
    retain(&world, 365).await?;
    make_stale(&world, &Stale { reads: Some(3), ..Stale::default() }).await?;
    want(&world, 90, "DestructiveOnly").await?;
    wait_left(&world, 0).await?;
    waits_for_approval(&world, &operator, 2).await?;
    ensure!(document(&world).await?.contains("<Days>365</Days>"), "{}", document(&world).await?);
    nobody_is_blamed(&world).await
}

/// The old answer is taken for what our last write has left: nothing of the change would be left by that.
#[tokio::test]
async fn a_change_by_somebody_else_that_waits_for_approval_stays_told() -> Result<()> {
    let (world, operator) = ground("old-drift", 2).await?;
    retain(&world, 30).await?;
    retain(&world, 365).await?;
    // To restore that is destructive.
    want(&world, 365, "DestructiveOnly").await?;
    done(&world).await?;
    let longer = document(&world).await?.replace("<Days>365</Days>", "<Days>730</Days>");
    world.put_lifecycle(&world.bucket, &longer).await?;
    wait_condition(&world, KEPT, ("Drifted", "True", "LifecycleRuleChanged")).await?;
    make_stale(&world, &Stale { reads: Some(3), writes: Some(2), ..Stale::default() }).await?;
    wait_left(&world, 0).await?;
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    wait_condition(&world, KEPT, ("Drifted", "True", "LifecycleRuleChanged")).await?;
    let undone = events(&world, "default", "LifecycleRuleInSync").await?;
    ensure!(undone.is_empty(), "it is not undone: {undone:?}");
    let seen = events(&world, "default", "LifecycleRuleDrifted").await?;
    ensure!(seen.len() == 1 && seen[0].contains("expiration.days 365 -> 730"), "{seen:?}");
    ensure!(document(&world).await? == longer, "{}", document(&world).await?);
    ensure!(puts(&world).await? == 2, "{} writes", puts(&world).await?);
    Ok(())
}

async fn wait_gone(world: &World, within: Duration) -> Result<()> {
    let gone = async || {
        let left = world.list("lrp", "").await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    };
    world.wait_until("the policy to go", within, gone).await
}

/// A policy is deleted while S3 answers as if its rules had never been there.
async fn deleted(name: &str, with_pipeline: bool) -> Result<()> {
    let (world, _operator) = ground(name, 2).await?;
    retain(&world, 30).await?;
    if !with_pipeline {
        world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    }
    make_stale(&world, &Stale { reads: Some(3), ..Stale::default() }).await?;
    world.kubectl(&["delete", "lrp", "default", "--wait=false"]).await?;
    // Whoever believes the first answer has let it go by the second.
    wait_left(&world, 1).await?;
    let object = world.get_json(KEPT.0, KEPT.1).await?;
    ensure!(!object["metadata"]["finalizers"].is_null(), "it goes while its rules are there: {}", object["metadata"]);
    wait_gone(&world, PATIENCE).await?;
    ensure!(document(&world).await? == theirs(), "its rules stay: {}", document(&world).await?);
    ensure!(events(&world, "default", "RulesLeft").await?.is_empty(), "rules are said to be left");
    ensure!(puts(&world).await? == 2, "{} writes", puts(&world).await?);
    Ok(())
}

#[tokio::test]
async fn no_policy_goes_by_an_old_answer() -> Result<()> {
    futures::try_join!(deleted("old-delete", true), deleted("old-home", false))?;
    Ok(())
}

/// The same by an answer that no write of ours has replaced and no look has seen.
async fn deleted_beside_others(name: &str, with_pipeline: bool) -> Result<()> {
    // Looks are rare: the one that the deletion brings about meets the old answer.
    let (world, _operator) = ground(name, 3_600).await?;
    let theirs_and_one = configuration(&[FOREIGN_ODD, FOREIGN_LEGACY, LATER]);
    world.put_lifecycle(&world.bucket, &theirs_and_one).await?;
    retain(&world, 30).await?;
    if !with_pipeline {
        world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    }
    make_stale(&world, &Stale { reads: Some(1), writes: Some(2), ..Stale::default() }).await?;
    world.kubectl(&["delete", "lrp", "default", "--wait=false"]).await?;
    wait_left(&world, 0).await?;
    wait_gone(&world, SOON).await?;
    ensure!(document(&world).await? == theirs_and_one, "its rules stay: {}", document(&world).await?);
    ensure!(events(&world, "default", "RulesLeft").await?.is_empty(), "rules are said to be left");
    ensure!(puts(&world).await? == 2, "{} writes", puts(&world).await?);
    nobody_is_blamed(&world).await
}

#[tokio::test]
async fn no_policy_goes_by_an_answer_from_before_what_others_wrote_either() -> Result<()> {
    futures::try_join!(deleted_beside_others("older-delete", true), deleted_beside_others("older-home", false))?;
    Ok(())
}

/// Neither of our writes was made over what the old answer shows: a look has seen it, and then somebody added a rule.
#[tokio::test]
async fn what_others_replaced_between_two_writes_decides_nothing() -> Result<()> {
    let (world, operator) = ground("old-between", 2).await?;
    retain(&world, 30).await?;
    let end = "</LifecycleConfiguration>";
    let with_later = document(&world).await?.replace(end, &format!("{LATER}{end}"));
    world.put_lifecycle(&world.bucket, &with_later).await?;
    retain(&world, 365).await?;
    // By this it would lengthen, and the write would take the new rule away.
    make_stale(&world, &Stale { reads: Some(2), writes: Some(2), ..Stale::default() }).await?;
    want(&world, 90, "DestructiveOnly").await?;
    wait_left(&world, 0).await?;
    waits_for_approval(&world, &operator, 2).await?;
    let document = document(&world).await?;
    ensure!(document.contains("<Days>365</Days>") && document.contains(LATER), "{document}");
    nobody_is_blamed(&world).await
}

/// Nobody knows what is there: somebody overwrote the last write, and S3 shows what was there before both.
#[tokio::test]
async fn meanwhile_new_and_wrong_policies_are_told() -> Result<()> {
    const SHORTLY: Duration = Duration::from_secs(20);
    let (world, _operator) = ground("old-others", 2).await?;
    retain(&world, 30).await?;
    // The write stays open until somebody else has overwritten it.
    make_stale(&world, &Stale { reads: Some(1_000), after_next_write: true, ..Stale::default() }).await?;
    want(&world, 60, "Never").await?;
    let written = async || {
        ensure!(puts(&world).await? == 2, "nothing was sent");
        Ok(())
    };
    world.wait_until("the second write", PATIENCE, written).await?;
    let observe = json!({"spec": {"changePolicy": {"mode": "Observe"}}}).to_string();
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", &observe]).await?;
    let others = configuration(&[FOREIGN_ODD, FOREIGN_LEGACY, LATER]);
    world.put_lifecycle(&world.bucket, &others).await?;
    world.bed.stand_in().end_stale(&world.bucket).await?;
    let overwritten = async || {
        let (_, record) = intent(&world, "bucket/").await?;
        ensure!(record["state"] == "Superseded", "{record}");
        Ok(())
    };
    world.wait_until("the record to be closed", PATIENCE, overwritten).await?;
    make_stale(&world, &Stale { reads: Some(1_000), writes: Some(2), ..Stale::default() }).await?;

    let (more, mut wrong) = (policy("more", "demo", 7), policy("wrong", "demo", 7));
    let mars = json!({"name": "night", "schedule": "0 2 * * *", "durationMinutes": 60, "timeZone": "Mars/Olympus"});
    wrong["spec"]["changePolicy"] = json!({"windows": [mars]});
    wrong["metadata"]["finalizers"] = json!(["logwise.io/lifecycle-rules"]);
    apply(&world, &[&more, &wrong]).await?;
    wait_condition_within(&world, SHORTLY, ("lrp", "more"), ("Programmed", "False", "Progressing")).await?;
    wait_condition_within(&world, SHORTLY, ("lrp", "wrong"), ("Accepted", "False", "InvalidSpec")).await?;
    // Whether it has rules there nobody knows before an answer is a new one.
    world.bed.stand_in().end_stale(&world.bucket).await?;
    world.kubectl(&["delete", "lrp", "wrong", "--timeout=60s"]).await?;
    ensure!(puts(&world).await? == 2, "{} writes", puts(&world).await?);
    ensure!(document(&world).await? == others, "{}", document(&world).await?);
    Ok(())
}

#[tokio::test]
async fn an_answer_from_before_the_last_but_one_write_is_nobodys_work() -> Result<()> {
    let (world, operator) = ground("older", 2).await?;
    retain(&world, 30).await?;
    // Right after the write, and in the look that follows.
    let older = Stale { reads: Some(2), writes: Some(2), after_next_write: true, ..Stale::default() };
    make_stale(&world, &older).await?;
    retain(&world, 60).await?;
    wait_left(&world, 0).await?;
    // The same again: the record that is open is not the first one.
    make_stale(&world, &older).await?;
    retain(&world, 90).await?;
    wait_left(&world, 0).await?;
    wait_condition(&world, DEMO, ("StorageReady", "True", "Available")).await?;
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    ensure!(puts(&world).await? == 3, "{} writes", puts(&world).await?);
    ensure!(document(&world).await?.contains("<Days>90</Days>"), "{}", document(&world).await?);
    nobody_is_blamed(&world).await
}

/// What the last write makes was there before it.
#[tokio::test]
async fn a_write_that_goes_back_to_what_was_there_is_no_old_answer() -> Result<()> {
    let (world, operator) = ground("back", 2).await?;
    for days in [30, 365] {
        retain(&world, days).await?;
    }
    want(&world, 30, "Never").await?;
    wait_condition_within(&world, SOON, KEPT, ("Ready", "True", "Programmed")).await?;
    done(&world).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=75s"]).await?;
    ensure!(document(&world).await? == theirs(), "{}", document(&world).await?);
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    ensure!(puts(&world).await? == 4, "{} writes", puts(&world).await?);
    nobody_is_blamed(&world).await
}

#[tokio::test]
async fn a_write_that_could_not_leave_holds_nothing_up() -> Result<()> {
    // Looks are rare: only the one that writes meets the fault.
    let (world, _operator) = ground("not-left", 3_600).await?;
    retain(&world, 30).await?;
    // The look passes. What is read right before the write is asked for three times, in vain.
    let fault = Fault { after_calls: 1, ..Fault::error(&world.bucket, GET, 503, "SlowDown").times(3) };
    world.fault(&fault).await?;
    want(&world, 60, "Never").await?;
    wait_condition_within(&world, SOON, KEPT, ("Ready", "True", "Programmed")).await?;
    ensure!(world.bed.stand_in().hits(&world.bucket).await? == 3, "the fault was not met");
    done(&world).await?;
    ensure!(puts(&world).await? == 2, "{} writes", puts(&world).await?);
    ensure!(document(&world).await?.contains("<Days>60</Days>"), "{}", document(&world).await?);
    Ok(())
}
