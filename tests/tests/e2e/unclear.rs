//! Objects that exist and cannot be understood: what they want is unknown, which is not the same as nothing.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, condition, policy, wait_condition};
use serde_json::{Value, json};
use std::time::Duration;

/// A pipeline without Kafka topics that asks nobody.
fn bucket_only(world: &World) -> Result<Value> {
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    Ok(pipeline)
}

/// A policy that asks nobody, and another that has `api` for itself and keeps it for much longer.
fn policies() -> (Value, Value) {
    let mut all = policy("all", "demo", 30);
    all["spec"]["changePolicy"] = json!({"approval": "Never"});
    let mut keep = policy("keep", "demo", 900);
    keep["spec"]["changePolicy"] = json!({"approval": "Never"});
    keep["spec"]["priority"] = json!(10);
    keep["spec"]["serviceSelector"] = json!({"matchNames": ["api"]});
    (all, keep)
}

fn log_of(service: &str) -> NewObject {
    NewObject::sized(&format!("logs/service_name={service}/year=2026/part-0.parquet"), 10)
}

async fn start(world: &World) -> Result<Operator> {
    let database = world.create_schema().await?;
    let config = json!({"intervals": {"s3Seconds": 5, "discoverySeconds": 5}, "database": {"url": database}});
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// A world in which both policies are programmed, and the operator that did it.
async fn programmed(name: &str) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.put_objects(&[log_of("api"), log_of("web")]).await?;
    let operator = start(&world).await?;
    let (all, keep) = policies();
    apply(&world, &[&bucket_only(&world)?, &keep, &all]).await?;
    for name in ["keep", "all"] {
        wait_condition(&world, ("lrp", name), ("Ready", "True", "Programmed")).await?;
    }
    Ok((world, operator))
}

/// Lets the object carry a time that no calendar knows, which the API server takes.
pub(crate) async fn make_unreadable(world: &World, kind: &str, name: &str) -> Result<()> {
    let status = json!({"status": {"conditions": [{"type": "Odd", "status": "True", "reason": "Odd", "message": "",
        "lastTransitionTime": "2024-01-01T10:00:00+99:99"}]}});
    patch_status(world, kind, name, &status).await
}

async fn patch_status(world: &World, kind: &str, name: &str, patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    world.kubectl(&["patch", kind, name, "--subresource=status", "--type", "merge", "-p", &patch]).await.map(drop)
}

async fn rules(world: &World) -> Result<String> {
    world.lifecycle(&world.bucket).await?.document.context("the bucket has no rules")
}

#[tokio::test]
async fn the_services_of_an_invalid_policy_are_not_given_to_another() -> Result<()> {
    let (world, _operator) = programmed("unclear-invalid").await?;
    let before = rules(&world).await?;
    let windows =
        json!([{"name": "night", "schedule": "0 2 * * *", "durationMinutes": 60, "timeZone": "Mars/Olympus"}]);
    let wrong = json!({"spec": {"changePolicy": {"windows": windows}}}).to_string();
    world.kubectl(&["patch", "lrp", "keep", "--type", "merge", "-p", &wrong]).await?;
    wait_condition(&world, ("lrp", "keep"), ("Accepted", "False", "InvalidSpec")).await?;
    let all = wait_condition(&world, ("lrp", "all"), ("Programmed", "False", "PolicyUnclear")).await?;
    let message = condition(&all, "Programmed").and_then(|c| c["message"].as_str()).context("a message")?;
    ensure!(message.contains("RetentionPolicy keep") && message.contains("corrected or deleted"), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "PolicyUnclear")).await?;
    ensure!(rules(&world).await? == before, "rules were changed");
    let patch = json!({"spec": {"changePolicy": {"windows": null}}}).to_string();
    world.kubectl(&["patch", "lrp", "keep", "--type", "merge", "-p", &patch]).await?;
    for name in ["keep", "all"] {
        wait_condition(&world, ("lrp", name), ("Ready", "True", "Programmed")).await?;
    }
    ensure!(rules(&world).await? == before, "rules were changed");
    world.kubectl(&["patch", "lrp", "keep", "--type", "merge", "-p", &wrong]).await?;
    wait_condition(&world, ("lrp", "all"), ("Programmed", "False", "PolicyUnclear")).await?;
    // Its deletion waits for no window, so that a wrong one does not keep its rules either.
    world.kubectl(&["delete", "lrp", "keep", "--timeout=60s"]).await?;
    ensure!(!rules(&world).await?.contains("<Days>900</Days>"), "the rules of the deleted policy are left");
    wait_condition(&world, ("lrp", "all"), ("Ready", "True", "Programmed")).await.map(drop)
}

#[tokio::test]
async fn a_policy_that_a_new_operator_cannot_read_keeps_its_rules_and_services() -> Result<()> {
    let (world, operator) = programmed("unclear-unread").await?;
    let before = rules(&world).await?;
    drop(operator);
    make_unreadable(&world, "lrp", "keep").await?;
    world.put_objects(&[log_of("new")]).await?;
    let _operator = start(&world).await?;
    wait_condition(&world, ("lrp", "all"), ("Programmed", "False", "PolicyUnclear")).await?;
    ensure!(rules(&world).await? == before, "rules were changed");
    patch_status(&world, "lrp", "keep", &json!({"status": {"conditions": null}})).await?;
    for name in ["keep", "all"] {
        wait_condition(&world, ("lrp", name), ("Ready", "True", "Programmed")).await?;
    }
    let after = rules(&world).await?;
    ensure!(after.contains("service_name=new/") && after.contains("<Days>900</Days>"), "{after}");
    Ok(())
}

/// Its policies wait with it: one that is deleted meanwhile is not let go with its rules left behind.
#[tokio::test]
async fn a_pipeline_that_cannot_be_read_is_not_taken_for_deleted() -> Result<()> {
    let (world, mut operator) = programmed("unclear-cluster").await?;
    operator.stop().await?;
    make_unreadable(&world, "lwc", "demo").await?;
    let operator = start(&world).await?;
    let knows = async || {
        ensure!(operator.log()?.contains("cannot be read and is not served"), "it does not know of it");
        Ok(())
    };
    world.wait_until("the operator to look", PATIENCE, knows).await?;
    world.kubectl(&["delete", "lrp", "all", "--wait=false"]).await?;
    // The orphans are looked at right away and again after 15 s.
    tokio::time::sleep(Duration::from_secs(20)).await;
    ensure!(operator.metrics().await?.contains("logwise_operator_is_leader 1\n"), "nobody leads");
    let policy = world.get_json("lrp", "all").await?;
    let programmed = condition(&policy, "Programmed").context("a condition")?;
    ensure!(programmed["reason"] == "Programmed", "{programmed}");
    let row = world.query("SELECT name, deleted FROM logwise_objects WHERE kind = 'LogwiseCluster'").await?;
    ensure!(row.contains("demo\t0"), "the mirror says {row}");
    patch_status(&world, "lwc", "demo", &json!({"status": {"conditions": null}})).await?;
    world
        .wait_until("the deleted policy to go with its rules", PATIENCE, async || {
            let left = world.list("lrp", "metadata.name=all").await?;
            ensure!(left.is_empty(), "{left:?} are there");
            let rules = rules(&world).await?;
            ensure!(!rules.contains("<Days>30</Days>"), "{rules}");
            Ok(())
        })
        .await
}

/// Mended by its status alone, which is no new generation.
#[tokio::test]
async fn a_policy_that_turns_unreadable_is_left_alone_until_it_is_mended() -> Result<()> {
    let (world, _operator) = programmed("unclear-turns").await?;
    let before = rules(&world).await?;
    make_unreadable(&world, "lrp", "keep").await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "PolicyUnclear")).await?;
    let version = async || anyhow::Ok(world.get_json("lrp", "keep").await?["metadata"]["resourceVersion"].clone());
    let left = version().await?;
    world.put_objects(&[log_of("new")]).await?;
    wait_condition(&world, ("lrp", "all"), ("Programmed", "False", "PolicyUnclear")).await?;
    ensure!(version().await? == left, "something was written to an object that cannot be read");
    ensure!(rules(&world).await? == before, "rules were changed");
    patch_status(&world, "lrp", "keep", &json!({"status": {"conditions": null}})).await?;
    for name in ["keep", "all"] {
        wait_condition(&world, ("lrp", name), ("Ready", "True", "Programmed")).await?;
    }
    Ok(())
}
