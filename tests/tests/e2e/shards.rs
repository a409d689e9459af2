//! Two shards of one installation: each serves its own, and where they meet at one bucket the record says whose it is.

use crate::replicas::{elected, wait_partitions};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, approve, cluster, condition, events, plan_id, policy, wait_condition};
use serde_json::json;

async fn shard(world: &World, url: &str, team: &str) -> Result<Operator> {
    let config = json!({
        "database": {"url": url}, "leaderElection": {"enabled": true, "leaseSeconds": 3},
        "shard": team, "selector": format!("team={team}"),
    });
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// A pipeline and its policy that want the world's bucket, of one team.
async fn claim(world: &World, team: &str, days: i32) -> Result<()> {
    let (mut cluster, mut policy) = (cluster(world, team), policy(team, team, days));
    for object in [&mut cluster, &mut policy] {
        object["metadata"]["labels"] = json!({"team": team});
    }
    cluster["spec"].as_object_mut().context("a spec")?.remove("kafka");
    apply(world, &[&cluster, &policy]).await
}

/// A shard that serves one namespace, named on the command line.
async fn shard_of(world: &World, url: &str, namespace: &str) -> Result<Operator> {
    let args = ["--shard", namespace, "--namespaces", namespace].map(str::to_owned).to_vec();
    let mut operator = Operator::start(world, Options { args, ..Options::config(elected(url)) }).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

#[tokio::test]
async fn shards_by_namespace_serve_their_own_and_no_other() -> Result<()> {
    let bed = Bed::attach()?;
    let (world, other) = (World::new(&bed, "shards-one").await?, World::new(&bed, "shards-two").await?);
    let url = world.create_schema().await?;
    futures::try_join!(world.create_topic("api", 1), other.create_topic("api", 1))?;
    let grow = async |world: &World, partitions: usize| {
        let mut object = cluster(world, "demo");
        object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(partitions);
        apply(world, &[&object]).await
    };
    let (one, _two) =
        futures::try_join!(shard_of(&world, &url, &world.namespace), shard_of(&world, &url, &other.namespace))?;
    futures::try_join!(grow(&world, 3), grow(&other, 3))?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    wait_condition(&other, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    drop(one);
    futures::try_join!(grow(&world, 5), grow(&other, 5))?;
    wait_partitions(&other, 5).await?;
    ensure!(world.topic_partitions("api").await? == 3, "nobody serves the namespace of the shard that is gone");
    let _again = shard_of(&world, &url, &world.namespace).await?;
    wait_partitions(&world, 5).await
}

async fn writes(world: &World) -> Result<usize> {
    Ok(world.calls(&world.bucket, true).await?.len())
}

#[tokio::test]
async fn a_bucket_that_another_shard_owns_is_left_alone_until_its_owner_is_gone() -> Result<()> {
    let world = World::new(&Bed::attach()?, "shards-bucket").await?;
    let url = world.create_schema().await?;
    let (_a, _b) = futures::try_join!(shard(&world, &url, "a"), shard(&world, &url, "b"))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/1", 1)]).await?;
    claim(&world, "a", 30).await?;
    approve(&world, "a", &plan_id(&world, "a").await?).await?;
    wait_condition(&world, ("lrp", "a"), ("Ready", "True", "Programmed")).await?;
    let before = writes(&world).await?;
    claim(&world, "b", 7).await?;
    let refused = wait_condition(&world, ("lwc", "b"), ("StorageReady", "False", "Conflicted")).await?;
    let message = condition(&refused, "StorageReady").and_then(|found| found["message"].as_str()).unwrap_or_default();
    ensure!(message.contains(&format!("belongs to LogwiseCluster {}/a", world.namespace)), "{message}");
    wait_condition(&world, ("lrp", "b"), ("Ready", "False", "Conflicted")).await?;
    ensure!(writes(&world).await? == before, "the other shard wrote to a bucket that is not its own");
    world.kubectl(&["delete", "lrp/a", "lwc/a", "--timeout=60s"]).await?;
    wait_condition(&world, ("lwc", "b"), ("StorageReady", "True", "Available")).await?;
    Ok(())
}

/// A label moves an object from one selector to the other: nothing has ended.
#[tokio::test]
async fn an_object_that_changes_its_shard_is_not_taken_for_deleted() -> Result<()> {
    let world = World::new(&Bed::attach()?, "shards-move").await?;
    let url = world.create_schema().await?;
    world.create_topic("api", 1).await?;
    let (_a, _b) = futures::try_join!(shard(&world, &url, "a"), shard(&world, &url, "b"))?;
    let mut object = cluster(&world, "demo");
    object["metadata"]["labels"] = json!({"team": "a"});
    apply(&world, &[&object]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    object["metadata"]["labels"] = json!({"team": "b"});
    object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(5);
    apply(&world, &[&object]).await?;
    world
        .wait_until("the other shard to serve it", PATIENCE, async || {
            let rows = world.query("SELECT generation, deleted FROM logwise_objects WHERE name = 'demo'").await?;
            ensure!(rows.split_whitespace().collect::<Vec<_>>() == ["2", "0"], "{rows}");
            ensure!(world.topic_partitions("api").await? == 5, "the topic");
            Ok(())
        })
        .await?;
    let deleted = events(&world, "demo", "Deleted").await?;
    ensure!(deleted.is_empty(), "a living object is said to be deleted: {deleted:?}");
    Ok(())
}
