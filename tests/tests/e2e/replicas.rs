//! What tests of several replicas ask of them.

use anyhow::{Context, Result, ensure};
use logwise_testbed::api::{collection, path};
use logwise_testbed::bed::Bed;
use logwise_testbed::install::NAMESPACE;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::end_state;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, wait_desired, with_spark};
use serde_json::{Value, json};

/// Seconds of the Lease in these tests.
pub(crate) const LEASE: u64 = 3;

/// A world with a group of one worker that may grow to nine, a topic, and the address of a schema.
pub(crate) async fn ground(name: &str) -> Result<(World, String)> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 9, 1))?;
    let url = world.create_schema().await?;
    Ok((world, url))
}

/// A configuration with leader election over this database.
pub(crate) fn elected(url: &str) -> Value {
    json!({"database": {"url": url}, "leaderElection": {"enabled": true, "leaseSeconds": LEASE}})
}

/// Starts one more replica and waits until it is ready.
pub(crate) async fn replica(world: &World, url: &str, options: Options) -> Result<Operator> {
    let mut operator = Operator::start(world, Options { config: elected(url), ..options }).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// Whether it says that it leads.
pub(crate) async fn leads(operator: &Operator) -> Result<bool> {
    Ok(operator.metrics().await?.contains("logwise_operator_is_leader 1\n"))
}

/// Waits until it leads.
pub(crate) async fn wait_leads(world: &World, operator: &Operator) -> Result<()> {
    world
        .wait_until("the replica to lead", PATIENCE, async || {
            ensure!(leads(operator).await?, "it follows");
            Ok(())
        })
        .await
}

/// Waits until it says that it follows: it says so when what it had begun has ended.
pub(crate) async fn wait_follows(world: &World, operator: &Operator) -> Result<()> {
    world
        .wait_until("the replica to follow", PATIENCE, async || {
            ensure!(!leads(operator).await?, "it leads");
            Ok(())
        })
        .await
}

/// An object of the operator's own namespace.
pub(crate) async fn own(world: &World, kind: &str, name: &str) -> Result<Value> {
    world.api.get(&path(kind, NAMESPACE, name).with_context(|| format!("no path of {kind}"))?).await
}

/// The world's Lease.
pub(crate) async fn lease(world: &World) -> Result<Value> {
    own(world, "lease", &format!("logwise-{}", world.id)).await
}

/// The world's epoch.
pub(crate) async fn epoch(world: &World) -> Result<i64> {
    let object = own(world, "configmap", &format!("logwise-epoch-{}", world.id)).await?;
    let text = object["data"]["epoch"].as_str().unwrap_or_default();
    text.trim().parse().with_context(|| format!("the epoch is {text:?}"))
}

/// The world's intents, as (ConfigMap, record).
pub(crate) async fn intents(world: &World) -> Result<Vec<(Value, Value)>> {
    let selector = format!("logwise.io/installation={},logwise.io/kind=intent", world.id);
    let all = collection("configmap", NAMESPACE).context("no path of ConfigMaps")?;
    let list = world.api.get(&format!("{all}?labelSelector={selector}")).await?;
    let record = |item: &Value| {
        let record = serde_json::from_str(item["data"]["intent"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        (item.clone(), record)
    };
    Ok(list["items"].as_array().into_iter().flatten().map(record).collect())
}

/// The intent whose resource begins with `kind`, as (ConfigMap, record).
pub(crate) async fn intent(world: &World, kind: &str) -> Result<(Value, Value)> {
    let found = intents(world).await?;
    let one = found.iter().find(|(_, record)| record["resource"].as_str().is_some_and(|name| name.starts_with(kind)));
    one.cloned().with_context(|| format!("no intent of {kind} among {found:?}"))
}

/// Pipeline `demo`: so many workers at least and so many partitions per topic.
pub(crate) fn demo(world: &World, workers: i32, partitions: usize) -> Result<Value> {
    let mut object = with_spark(world, cluster(world, "demo"), (workers, 9))?;
    object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(partitions);
    Ok(object)
}

/// Wants so many workers and partitions and waits until they are there.
pub(crate) async fn reach(world: &World, workers: i32, partitions: usize) -> Result<()> {
    apply(world, &[&demo(world, workers, partitions)?]).await?;
    wait_desired(world, workers.into()).await?;
    wait_partitions(world, partitions).await
}

/// The partitions of topic `api`.
pub(crate) async fn partitions(world: &World) -> Result<usize> {
    // Without the start of a Java program: it is asked again and again.
    let topics = end_state::topics(world).await?;
    topics.get(&world.topic("api")).copied().context("there is no topic api")
}

/// Waits until topic `api` has so many partitions.
pub(crate) async fn wait_partitions(world: &World, wanted: usize) -> Result<()> {
    world
        .wait_until(&format!("{wanted} partitions"), PATIENCE, async || {
            let now = partitions(world).await?;
            ensure!(now == wanted, "there are {now}");
            Ok(())
        })
        .await
}
