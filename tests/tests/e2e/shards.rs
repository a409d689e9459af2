//! Two shards of one installation that meet at one bucket: the record says whose it is.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{apply, approve, cluster, condition, plan_id, policy, wait_condition};
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
