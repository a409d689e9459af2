//! What is written down before a change, and what becomes of it when an answer is lost or a person edits it.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::{Fault, Mode};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, condition, raises, wait_desired, want_workers};
use serde_json::Value;

/// The intents of the world's installation, as (ConfigMap, record).
async fn intents(world: &World) -> Result<Vec<(String, Value)>> {
    let selector = format!("logwise.io/installation={},logwise.io/kind=intent", world.id);
    let text =
        world.bed.kubectl(&["get", "configmap", "-n", "logwise-system", "-l", &selector, "-o", "json"], None).await?;
    let list: Value = serde_json::from_str(&text)?;
    let record = |item: &Value| {
        let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let record = serde_json::from_str(item["data"]["intent"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        (name, record)
    };
    Ok(list["items"].as_array().into_iter().flatten().map(record).collect())
}

/// The intent whose resource begins with `kind`.
async fn intent(world: &World, kind: &str) -> Result<(String, Value)> {
    let found = intents(world).await?;
    let one = found.iter().find(|(_, record)| record["resource"].as_str().is_some_and(|name| name.starts_with(kind)));
    one.cloned().with_context(|| format!("no intent of {kind} among {found:?}"))
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
    wait_state(&world, "group/", "Done").await?;
    let (name, _) = intent(&world, "group/").await?;
    let patch = r#"{"data":{"intent":"{\"resource\": \"mine now\"}"}}"#;
    let system = ["-n", "logwise-system"];
    world.bed.kubectl(&["patch", "configmap", &name, system[0], system[1], "--type=merge", "-p", patch], None).await?;
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
    world.bed.kubectl(&["delete", "configmap", &name, system[0], system[1]], None).await?;
    wait_desired(&world, 3).await?;
    wait_state(&world, "group/", "Done").await?;
    ensure!(raises(&world).await? == 2, "each change of the spec is one raise");
    Ok(())
}
