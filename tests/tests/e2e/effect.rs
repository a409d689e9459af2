//! What S3 will delete is said before it does: counted effects, caps by others, services that come and go.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use logwise_testbed::bed::Bed;
use logwise_testbed::http;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::s3::S3;
use logwise_testbed::stand_in::{Fault, NewObject};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_ODD, PATIENCE, apply, approve, cluster, condition, configuration, events, more_looks, plan_id, policy,
    wait_condition,
};
use serde_json::{Value, json};
use std::time::Duration;

const DAY: i64 = 86_400;
const KEPT: (&str, &str) = ("lrp", "default");

pub(crate) async fn start(world: &World, config: Value) -> Result<Operator> {
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

pub(crate) fn key(service: &str, name: &str) -> String {
    format!("logs/service_name={service}/year=2026/{name}.parquet")
}

/// An object that was last modified so many days and one hour ago.
async fn put_old(world: &World, service: &str, name: &str, (size, days): (u64, i64)) -> Result<()> {
    let modified = (Timestamp::now().as_second() - days * DAY - 3_600) * 1_000;
    let object = json!({"key": key(service, name), "size": size, "modified": modified});
    let body = json!({"bucket": world.bucket, "objects": [object]});
    let answer = http::client()?.post(format!("{}/_objects", world.bed.aws.endpoint)).json(&body).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

/// A pipeline that manages nothing but the bucket, and a policy, with these settings of their `changePolicy`.
fn objects(world: &World, days: i32, change: (Value, Value)) -> Result<[Value; 2]> {
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    pipeline["spec"]["changePolicy"] = change.0;
    let mut kept = policy("default", "demo", days);
    kept["spec"]["changePolicy"] = change.1;
    Ok([pipeline, kept])
}

fn never() -> Value {
    json!({"approval": "Never"})
}

fn asks(approved: &[&str]) -> Value {
    json!({"approval": "DestructiveOnly", "approvedPlans": approved})
}

async fn retain(world: &World, days: i32, change: Value) -> Result<()> {
    let [pipeline, kept] = objects(world, days, (never(), change))?;
    apply(world, &[&pipeline, &kept]).await
}

fn message(object: &Value, kind: &str) -> Result<String> {
    let found = condition(object, kind).with_context(|| format!("no {kind} in {}", object["status"]))?;
    Ok(found["message"].as_str().unwrap_or_default().to_owned())
}

async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

async fn puts(world: &World) -> Result<usize> {
    let calls = world.calls(&world.bucket, true).await?;
    Ok(calls.iter().filter(|call| call.action == "PutBucketLifecycleConfiguration").count())
}

/// Listings of the objects of `api`, the preflight's and those of services apart.
async fn counts(world: &World) -> Result<usize> {
    let calls = world.calls(&world.bucket, false).await?;
    let of_api = |params: &Value| params.to_string().contains("service_name=api/");
    Ok(calls.iter().filter(|call| call.action == "ListObjectsV2" && of_api(&call.params)).count())
}

pub(crate) async fn looked_again(world: &World, operator: &Operator, times: u64) -> Result<()> {
    more_looks(world, operator, "storage", times).await
}

/// The policy as soon as its plan has been counted.
async fn counted(world: &World) -> Result<Value> {
    world
        .wait_until("the plan to be counted", PATIENCE, async || {
            let object = wait_condition(world, KEPT, ("Programmed", "False", "ApprovalRequired")).await?;
            ensure!(!object["status"]["plan"]["computedTime"].is_null(), "{}", object["status"]["plan"]);
            Ok(object)
        })
        .await
}

#[tokio::test]
async fn shortening_waits_with_its_counted_effect_and_an_old_id_approves_nothing() -> Result<()> {
    let world = World::new(&Bed::attach()?, "effect").await?;
    put_old(&world, "api", "young", (10, 1)).await?;
    put_old(&world, "api", "old", (2_048, 10)).await?;
    put_old(&world, "web", "older", (1_024, 20)).await?;
    put_old(&world, "web", "goes anyway", (5, 40)).await?;
    let mut operator = start(&world, json!({})).await?;
    retain(&world, 30, never()).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    retain(&world, 7, asks(&[])).await?;
    let object = counted(&world).await?;
    let (plan, told) = (&object["status"]["plan"], message(&object, "Programmed")?);
    let found = &plan["newlyExpirable"];
    let numbers = json!([found["services"], found["objects"], found["bytes"], found["atLeast"]]);
    ensure!(numbers == json!([2, 2, 3_072, false]) && plan["notTransitionable"].is_null(), "{plan}");
    let oldest: Timestamp = found["oldestObjectTime"].as_str().context("a time")?.parse()?;
    ensure!((oldest.as_second() - (Timestamp::now().as_second() - 20 * DAY - 3_600)).abs() < 600, "{plan}");
    ensure!(told.contains("2 objects of 3.0 KiB in 2 services would expire, the oldest of "), "{told}");
    let counted = plan["computedTime"].as_str().context("a time")?;
    ensure!(told.contains(&format!("; counted on {counted}. ")), "{told}");
    ensure!(told.contains("To approve exactly this: kubectl patch lrp default"), "{told}");

    let (version, listed) = (object["metadata"]["resourceVersion"].clone(), counts(&world).await?);
    looked_again(&world, &operator, 4).await?;
    let now = world.get_json(KEPT.0, KEPT.1).await?;
    ensure!(now["metadata"]["resourceVersion"] == version, "written at rest: {}", now["status"]);
    operator.stop().await?;
    // Whoever may write status shows nobody another effect: the next process counts by itself.
    let forged = json!({"status": {"plan": {"newlyExpirable": {"objects": 0, "bytes": 0, "services": 0}}}}).to_string();
    world.kubectl(&["patch", "lrp", "default", "--subresource=status", "--type", "merge", "-p", &forged]).await?;
    let _operator = start(&world, json!({})).await?;
    let counted_anew = async || {
        let now = world.get_json(KEPT.0, KEPT.1).await?;
        let plan_now = &now["status"]["plan"];
        ensure!(plan_now["newlyExpirable"] == *found && plan_now["id"] == plan["id"], "{plan_now} after {plan}");
        ensure!(message(&now, "Programmed")?.contains("2 objects of 3.0 KiB in 2 services"), "{}", now["status"]);
        Ok(())
    };
    world.wait_until("the plan to be counted anew", PATIENCE, counted_anew).await?;
    ensure!(counts(&world).await? == 2 * listed, "{} listings after {listed}", counts(&world).await?);

    let id = plan["id"].as_str().context("an id")?.to_owned();
    ensure!(told.contains(&format!(r#""approvedPlans":["{id}"]"#)), "{told}");
    approve(&world, "default", "rp-000000000000").await?;
    says_outdated(&world, "rp-000000000000").await?;
    ensure!(puts(&world).await? == 1, "another id was taken");
    retain(&world, 5, asks(&[&id])).await?;
    says_outdated(&world, &id).await?;
    ensure!(puts(&world).await? == 1, "the id of the edit before was taken");
    retain(&world, 7, asks(&[])).await?;
    ensure!(plan_id(&world, "default").await? == id, "the same edit has another id");
    approve(&world, "default", &id).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    ensure!(puts(&world).await? == 2 && document(&world).await?.matches("<Days>7</Days>").count() == 2, "not applied");
    retain(&world, 3, asks(&[&id])).await?;
    says_outdated(&world, &id).await?;
    let next = plan_id(&world, "default").await?;
    ensure!(next != id && puts(&world).await? == 2, "the id of an earlier plan was taken");
    ensure!(document(&world).await?.matches("<Days>7</Days>").count() == 2, "{}", document(&world).await?);
    Ok(())
}

#[tokio::test]
async fn a_look_that_fails_takes_no_counted_effect_away() -> Result<()> {
    let world = World::new(&Bed::attach()?, "effect-stays").await?;
    put_old(&world, "api", "old", (2_048, 10)).await?;
    // The preflight would meet the fault too.
    let operator = start(&world, json!({"preflight": {"enabled": false}})).await?;
    retain(&world, 30, never()).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    retain(&world, 7, asks(&[])).await?;
    let (object, listed) = (counted(&world).await?, counts(&world).await?);
    // One look asks three times.
    let get = "^GetBucketLifecycleConfiguration$";
    world.fault(&Fault::error(&world.bucket, get, 503, "SlowDown").times(3)).await?;
    let failed = async || {
        let hits = world.bed.stand_in().hits(&world.bucket).await?;
        ensure!(hits == 3, "{hits} reads have failed");
        Ok(())
    };
    world.wait_until("a look to fail", PATIENCE, failed).await?;
    looked_again(&world, &operator, 3).await?;
    let now = counted(&world).await?;
    let (plan, before) = (&now["status"]["plan"], &object["status"]["plan"]);
    ensure!(plan == before && !plan["newlyExpirable"].is_null(), "{plan} after {before}");
    ensure!(counts(&world).await? == listed, "{} listings after {listed}", counts(&world).await?);
    Ok(())
}

#[tokio::test]
async fn a_count_that_ended_early_says_at_least_also_of_what_is_too_small_to_be_moved() -> Result<()> {
    // 50 pages of 1,000 objects are looked at.
    const MOST: i64 = 50_000;
    let world = World::new(&Bed::attach()?, "at-least").await?;
    let modified = (Timestamp::now().as_second() - 10 * DAY) * 1_000;
    let small = |number: i64| json!({"key": key("api", &format!("{number:05}")), "size": 10, "modified": modified});
    let all: Vec<Value> = (0..=MOST).map(small).collect();
    for some in all.chunks(2_500) {
        let body = json!({"bucket": world.bucket, "objects": some});
        let answer = http::client()?.post(format!("{}/_objects", world.bed.aws.endpoint)).json(&body).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
    }
    put_old(&world, "web", "small", (128 * 1_024 - 1, 10)).await?;
    put_old(&world, "web", "large", (128 * 1_024, 10)).await?;
    let _operator = start(&world, json!({})).await?;
    retain(&world, 30, never()).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    let [pipeline, mut kept] = objects(&world, 7, (never(), asks(&[])))?;
    kept["spec"]["transitions"] = json!([{"storageClass": "GLACIER_IR", "days": 3}]);
    apply(&world, &[&pipeline, &kept]).await?;
    let object = counted(&world).await?;
    let (plan, told) = (&object["status"]["plan"], message(&object, "Programmed")?);
    let (found, stay) = (&plan["newlyExpirable"], &plan["notTransitionable"]);
    let numbers = json!([found["services"], found["objects"], found["bytes"], found["atLeast"]]);
    ensure!(numbers == json!([2, MOST + 2, MOST * 10 + 256 * 1_024 - 1, true]), "{plan}");
    ensure!(*stay == json!({"objects": MOST + 1, "atLeast": true}), "{plan}");
    ensure!(told.contains("at least 50002 objects of ") && told.contains(" in 2 services would expire"), "{told}");
    ensure!(told.contains("; at least 50001 objects are smaller than 128 KiB and would never be moved"), "{told}");
    Ok(())
}

async fn says_outdated(world: &World, id: &str) -> Result<()> {
    let said = format!("{id} in `approvedPlans` is not of this plan");
    world
        .wait_until(&said, PATIENCE, async || {
            let object = wait_condition(world, KEPT, ("Programmed", "False", "ApprovalRequired")).await?;
            let told = message(&object, "Programmed")?;
            ensure!(told.contains(&said), "{told}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_service_that_came_after_its_policy_needs_no_approval_and_an_older_one_does() -> Result<()> {
    let world = World::new(&Bed::attach()?, "newcomer").await?;
    world.put_objects(&[NewObject::sized(&key("api", "1"), 10)]).await?;
    let _operator = start(&world, json!({})).await?;
    retain(&world, 30, asks(&[])).await?;
    let id = plan_id(&world, "default").await?;
    approve(&world, "default", &id).await?;
    let object = wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    let since: Timestamp = object["status"]["programmedTime"].as_str().context("a time")?.parse()?;
    world
        .wait_until("the policy to be older than what comes now", PATIENCE, async || {
            ensure!(Timestamp::now().as_second() > since.as_second() + 1, "it is not");
            Ok(())
        })
        .await?;
    world.put_objects(&[NewObject::sized(&key("new", "1"), 10)]).await?;
    put_old(&world, "moved here", "1", (10, 100)).await?;
    world
        .wait_until("the rule of the service that is new", PATIENCE, async || {
            let document = document(&world).await?;
            ensure!(document.contains("service_name=new/"), "{document}");
            Ok(())
        })
        .await?;
    let object = wait_condition(&world, KEPT, ("Programmed", "False", "ApprovalRequired")).await?;
    let entries = object["status"]["plan"]["entries"].as_array().context("entries")?;
    ensure!(entries.iter().all(|entry| entry["service"] == "moved here"), "{}", object["status"]["plan"]);
    ensure!(!document(&world).await?.contains("service_name=moved here/"), "an old service was not asked about");
    Ok(())
}

#[tokio::test]
async fn a_rule_of_somebody_else_that_ends_objects_sooner_is_named() -> Result<()> {
    const CAP: &str = "<Rule><ID>finance-cap</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>90</Days></Expiration></Rule>";
    let world = World::new(&Bed::attach()?, "capped").await?;
    world.put_objects(&[NewObject::sized(&key("api", "1"), 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[CAP, FOREIGN_ODD])).await?;
    let _operator = start(&world, json!({})).await?;
    retain(&world, 365, never()).await?;
    let object = wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    let capped = &object["status"]["effective"][0];
    let expected = json!(["api", 90, 365, "finance-cap", "wanted 365, capped at 90 by rule finance-cap"]);
    let shown = ["service", "expirationDays", "wantedDays", "cappedBy", "message"].map(|field| capped[field].clone());
    ensure!(json!(shown) == expected, "{capped}");
    let told = message(&object, "Programmed")?;
    ensure!(told.contains("other rules end objects of api sooner"), "{told}");
    // Below the cap the policy decides.
    retain(&world, 30, never()).await?;
    world
        .wait_until("the policy's own days", PATIENCE, async || {
            let object = wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
            let rule = &object["status"]["effective"][0];
            ensure!(
                rule["expirationDays"] == 30 && rule["wantedDays"].is_null() && rule["message"].is_null(),
                "{rule}"
            );
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_service_that_is_gone_loses_its_rule_after_the_grace_period_and_not_by_failed_listings() -> Result<()> {
    const GRACE: u64 = 4;
    let world = World::new(&Bed::attach()?, "vanished").await?;
    world.put_objects(&[NewObject::sized(&key("api", "1"), 10), NewObject::sized(&key("web", "1"), 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD])).await?;
    let operator = start(&world, json!({"discovery": {"graceSeconds": GRACE}})).await?;
    retain(&world, 30, never()).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    let both = document(&world).await?;
    world.fault(&Fault::error(&world.bucket, "ListObjectsV2", 403, "AccessDenied").times(0)).await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "PermissionDenied")).await?;
    S3::new(&world.bed.aws.endpoint).delete_object(&world.bucket, &key("web", "1")).await?;
    tokio::time::sleep(Duration::from_secs(2 * GRACE)).await;
    ensure!(document(&world).await? == both, "a failed listing has taken a rule away");
    world.clear_faults(&world.bucket).await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    world
        .wait_until("the rule of the service that is gone to go", PATIENCE, async || {
            let document = document(&world).await?;
            ensure!(!document.contains("service_name=web/"), "{document}");
            ensure!(document.contains("service_name=api/") && document.contains(FOREIGN_ODD), "{document}");
            Ok(())
        })
        .await?;
    let (writes, first) = (puts(&world).await?, document(&world).await?);
    looked_again(&world, &operator, 3).await?;
    ensure!(puts(&world).await? == writes && document(&world).await? == first, "it goes on writing");
    Ok(())
}

#[tokio::test]
async fn a_change_by_somebody_else_is_told_once_when_it_is_seen_and_once_when_it_is_undone() -> Result<()> {
    let world = World::new(&Bed::attach()?, "undone").await?;
    world.put_objects(&[NewObject::sized(&key("api", "1"), 10)]).await?;
    let operator = start(&world, json!({})).await?;
    retain(&world, 30, never()).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    retain(&world, 30, json!({"approval": "Never", "mode": "Observe"})).await?;
    let before = document(&world).await?;
    world.put_lifecycle(&world.bucket, &before.replace("<Days>30</Days>", "<Days>3</Days>")).await?;
    wait_condition(&world, KEPT, ("Drifted", "True", "LifecycleRuleChanged")).await?;
    looked_again(&world, &operator, 2).await?;
    world.put_lifecycle(&world.bucket, &before).await?;
    wait_condition(&world, KEPT, ("Drifted", "False", "InSync")).await?;
    looked_again(&world, &operator, 2).await?;
    let (seen, undone) = (
        events(&world, "default", "LifecycleRuleDrifted").await?,
        events(&world, "default", "LifecycleRuleInSync").await?,
    );
    ensure!(seen.len() == 1 && seen[0].contains("expiration.days 30 -> 3"), "{seen:?}");
    ensure!(undone == ["The lifecycle rules are again as Logwise left them"], "{undone:?}");
    Ok(())
}
