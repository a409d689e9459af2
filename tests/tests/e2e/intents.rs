//! What is written down before a change, and what becomes of it when an answer is lost or a person edits it.

use crate::replicas::intent;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install::NAMESPACE;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proc;
use logwise_testbed::stand_in::{Fault, Mode};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, condition, raises, wait_condition, wait_desired, want_workers};
use serde_json::Value;

/// The name of the ConfigMap of an intent.
async fn name_of(world: &World, kind: &str) -> Result<String> {
    let (object, _) = intent(world, kind).await?;
    object["metadata"]["name"].as_str().map(str::to_owned).context("no name")
}

async fn delete(world: &World, name: &str) -> Result<()> {
    world.bed.kubectl(&["delete", "configmap", name, "-n", NAMESPACE], None).await.map(drop)
}

async fn wait_state(world: &World, kind: &str, state: &str) -> Result<Value> {
    world
        .wait_until(&format!("the intent of {kind} to be {state}"), PATIENCE, async || {
            let (_, record) = intent(world, kind).await?;
            ensure!(record["state"] == state, "it is {record}");
            Ok(record)
        })
        .await
}

async fn ground(name: &str) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 9, 1))?;
    Ok(world)
}

#[tokio::test]
async fn every_change_is_written_down_and_closed() -> Result<()> {
    let world = ground("intent-closed").await?;
    want_workers(&world, 2).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    wait_desired(&world, 2).await?;
    let raised = wait_state(&world, "group/", "Done").await?;
    ensure!(raised["resource"].as_str().is_some_and(|name| name.contains("autoScalingGroup")), "not by ARN: {raised}");
    ensure!(raised["wish"]["targets"]["to"] == 2 && raised["wish"]["owner"]["name"] == "demo", "{raised}");
    let grown = wait_state(&world, "kafka/", "Done").await?;
    ensure!(grown["wish"]["targets"]["topics"][0]["to"] == 3, "{grown}");
    ensure!(grown["writer"]["epoch"] == raised["writer"]["epoch"], "one term, one number");
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_leaves_the_intent_open_until_its_effect_was_read() -> Result<()> {
    let world = ground("intent-lost").await?;
    world.fault(&Fault::new(&world.group, "SetDesiredCapacity", Mode::Lost)).await?;
    want_workers(&world, 3).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    wait_desired(&world, 3).await?;
    wait_state(&world, "group/", "Done").await?;
    ensure!(raises(&world).await? == 1, "the raise was repeated: {}", raises(&world).await?);
    Ok(())
}

#[tokio::test]
async fn an_intent_that_was_edited_by_hand_holds_its_resource_and_is_named() -> Result<()> {
    let world = ground("intent-edited").await?;
    want_workers(&world, 2).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    // Records of the protection of instances come before.
    wait_desired(&world, 2).await?;
    wait_state(&world, "group/", "Done").await?;
    let name = name_of(&world, "group/").await?;
    let patch = r#"{"data":{"intent":"{\"resource\": \"mine now\"}"}}"#;
    world.bed.kubectl(&["patch", "configmap", &name, "-n", NAMESPACE, "--type=merge", "-p", patch], None).await?;
    want_workers(&world, 3).await?;
    world
        .wait_until("the edited ConfigMap to be named", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            let ready = condition(&object, "SparkReady").context("no SparkReady")?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && message.contains(&name), "{ready}");
            Ok(())
        })
        .await?;
    ensure!(raises(&world).await? == 1, "nothing is sent over a record that cannot be read");
    delete(&world, &name).await?;
    wait_desired(&world, 3).await?;
    wait_state(&world, "group/", "Done").await?;
    ensure!(raises(&world).await? == 2, "each change of the spec is one raise");
    Ok(())
}

/// Between the call and its close the record goes: once in the life of the operator that made the call, once after it.
#[tokio::test]
async fn an_open_intent_that_was_deleted_by_hand_repeats_nothing() -> Result<()> {
    for (name, how) in [("intent-gone", "LOGWISE_PAUSE_AT"), ("intent-dead", "LOGWISE_CRASH_AT")] {
        let world = ground(name).await?;
        want_workers(&world, 2).await?;
        // New instances are protected before the raise, and then the one that is there.
        let options = Options::default().env(how, "autoscaling:3:after");
        let mut operator = Operator::start(&world, options).await?;
        let stopped = async || {
            ensure!(!operator.alive() || proc::stands_still(operator.pid())?, "it moves");
            Ok(())
        };
        world.wait_until("the operator to stop at its point", PATIENCE, stopped).await?;
        wait_state(&world, "group/", "Sent").await?;
        delete(&world, &name_of(&world, "group/").await?).await?;
        if operator.alive() {
            operator.resume().await?;
        } else {
            operator = Operator::start(&world, Options::default()).await?;
        }
        operator.wait_ready().await?;
        wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
        want_workers(&world, 3).await?;
        wait_desired(&world, 3).await?;
        wait_state(&world, "group/", "Done").await?;
        ensure!(raises(&world).await? == 2, "each change of the spec is one raise: {}", raises(&world).await?);
    }
    Ok(())
}
