//! One object whose every look panics or hangs: it says so, and its neighbour is served.

use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, wait_condition};
use serde_json::{Value, json};

/// A pipeline without a bucket, over one topic.
fn pipeline(world: &World, name: &str) -> Value {
    let mut object = cluster(world, name);
    object["spec"]["kafka"]["topics"]["namePrefix"] = json!(world.topic(name));
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("storage");
    }
    object
}

#[tokio::test]
async fn a_panic_is_a_condition_of_that_object_and_of_no_other() -> Result<()> {
    let world = World::new(&Bed::attach()?, "broken-panic").await?;
    futures::try_join!(world.create_topic("bad", 1), world.create_topic("good", 1))?;
    apply(&world, &[&pipeline(&world, "bad"), &pipeline(&world, "good")]).await?;
    let broken = format!("kafka:{}/bad:panic", world.namespace);
    let mut operator = Operator::start(&world, Options::default().env("LOGWISE_BREAK", &broken)).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "bad"), ("KafkaReady", "Unknown", "InternalError")).await?;
    let summed_up = async || {
        let bad = world.get_json("lwc", "bad").await?;
        ensure!(bad["status"]["observedGeneration"] == bad["metadata"]["generation"], "{}", bad["status"]);
        Ok(())
    };
    world.wait_until("the summary", PATIENCE, summed_up).await?;
    wait_condition(&world, ("lwc", "good"), ("Ready", "True", "Running")).await?;
    ensure!(world.topic_partitions("good").await? == 3 && world.topic_partitions("bad").await? == 1, "topics");
    ensure!(operator.alive(), "the process goes on");
    Ok(())
}

#[tokio::test]
async fn a_hang_holds_up_nobody_else() -> Result<()> {
    let world = World::new(&Bed::attach()?, "broken-hang").await?;
    futures::try_join!(world.create_topic("bad", 1), world.create_topic("good", 1))?;
    apply(&world, &[&pipeline(&world, "bad"), &pipeline(&world, "good")]).await?;
    let broken = format!("kafka:{}/bad:hang", world.namespace);
    let mut operator = Operator::start(&world, Options::default().env("LOGWISE_BREAK", &broken)).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "good"), ("Ready", "True", "Running")).await?;
    ensure!(world.topic_partitions("good").await? == 3, "the neighbour is served");
    ensure!(operator.stop().await? == 0, "a hanging look does not keep the process from ending");
    Ok(())
}
