//! Two versions of the operator at once, forward and back: they do not fight, and what the later one has added stays.
//! The later version is played by the same program: see `LOGWISE_LATER` in `crates/logwise-runtime/src/later.rs`.

use crate::replicas::{
    LEASE, demo, epoch, ground, intent, own, reach, replica, wait_follows, wait_leads, wait_partitions,
};
use anyhow::{Context, Result, ensure};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::Quiet;
use logwise_testbed::proxy::kubernetes::KubernetesProxy;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, condition, raises, wait_condition, wait_desired};
use serde_json::{Value, json};
use std::time::Duration;

/// How long both live side by side after leading has passed on.
fn together() -> Duration {
    Duration::from_secs(if std::env::var_os("LOGWISE_PROVE").is_some() { 60 } else { 2 * LEASE })
}

/// Writes of this replica since `from`, its looks at the Lease aside.
fn writes(proxy: &KubernetesProxy, from: u64) -> Vec<String> {
    let requests = proxy.requests().into_iter().filter(|one| one.seq >= from && one.mutating);
    let others = requests.filter(|one| !one.path.contains("/leases"));
    others.map(|one| format!("{} {}", one.method, one.path)).collect()
}

async fn later(world: &World, url: &str, proxy: &KubernetesProxy) -> Result<Operator> {
    replica(world, url, Options::default().behind(proxy).env("LOGWISE_LATER", "1")).await
}

/// A condition that only the later version has, by a field manager of its own.
async fn add_condition(world: &World) -> Result<()> {
    let object = json!({
        "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "demo"},
        "status": {"conditions": [{"type": "CatalogReady", "status": "True", "reason": "Available", "message": "later",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let args = ["-n", &world.namespace, "apply", "--server-side", "--field-manager=logwise.io/catalog"];
    let args = [args.as_slice(), &["--subresource=status", "-f", "-"]].concat();
    world.bed.kubectl(&args, Some(&object.to_string())).await.map(drop)
}

/// What the later version has added is still there.
async fn assert_kept(world: &World) -> Result<()> {
    let (object, record) = intent(world, "kafka/").await?;
    ensure!(record["laterField"] == json!({"of": "the resource"}), "the record lost a field: {record}");
    ensure!(object["data"]["laterField"] == "1", "the ConfigMap of an intent lost a key: {object}");
    let epoch = own(world, "configmap", &format!("logwise-epoch-{}", world.id)).await?;
    ensure!(epoch["data"]["laterField"] == "1", "the epoch lost a key: {epoch}");
    let object = world.get_json("lwc", "demo").await?;
    ensure!(condition(&object, "CatalogReady").is_some_and(|one| one["message"] == "later"), "{}", object["status"]);
    Ok(())
}

/// Waits until the condition of the Spark part names the ConfigMap of the group's intent and the state in it.
async fn wait_named(world: &World) -> Result<()> {
    let (object, record) = intent(world, "group/").await?;
    ensure!(record["state"] == "Verified", "the later version has a state of its own: {record}");
    let name = object["metadata"]["name"].as_str().context("a name")?.to_owned();
    world
        .wait_until("the unknown state to be named", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            let ready = condition(&object, "SparkReady").context("no SparkReady")?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && ready["reason"] == "Unreadable", "{ready}");
            ensure!(message.contains(&name) && message.contains("`Verified`"), "{ready}");
            ensure!(message.contains("later version"), "{ready}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_later_version_comes_and_goes_without_a_fight() -> Result<()> {
    let (world, url) = ground("versions").await?;
    let proxies = futures::try_join!(world.kubernetes_proxy(), world.kubernetes_proxy(), world.kubernetes_proxy())?;
    let mut now = replica(&world, &url, Options::default().behind(&proxies.0)).await?;
    wait_leads(&world, &now).await?;
    reach(&world, 2, 3).await?;

    // Forward: the later one follows in silence until the present one has ended.
    let next = later(&world, &url, &proxies.1).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(writes(&proxies.1, 0).is_empty(), "a follower writes: {:?}", writes(&proxies.1, 0));
    ensure!(now.stop().await? == 0, "the present version did not end cleanly");
    wait_leads(&world, &next).await?;
    reach(&world, 3, 4).await?;
    add_condition(&world).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    assert_kept(&world).await?;

    // Back, while both live: the later one loses the Lease, wakes, and follows.
    let now = replica(&world, &url, Options::default().behind(&proxies.2)).await?;
    next.pause().await?;
    wait_leads(&world, &now).await?;
    next.resume().await?;
    wait_follows(&world, &next).await?;
    let handed_over = proxies.1.now();
    apply(&world, &[&demo(&world, 4, 5)?]).await?;
    wait_partitions(&world, 5).await?;
    wait_named(&world).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    world
        .wait_until("silence after the way back", PATIENCE + 2 * together(), async || {
            Quiet::begin(&world, None).await?.lasts(together()).await
        })
        .await?;
    let fight = writes(&proxies.1, handed_over);
    ensure!(fight.is_empty(), "two versions write: {fight:?}");
    ensure!(raises(&world).await? == 2, "something was sent over a state that is not known");
    assert_kept(&world).await?;
    forward_again(&world, now, next).await
}

/// The later version knows its own state, and does what the present one has left.
async fn forward_again(world: &World, mut now: Operator, next: Operator) -> Result<()> {
    let before = epoch(world).await?;
    ensure!(now.stop().await? == 0, "the present version did not end cleanly");
    wait_leads(world, &next).await?;
    wait_desired(world, 4).await?;
    wait_condition(world, ("lwc", "demo"), ("SparkReady", "False", "WorkersNotReady")).await?;
    ensure!(epoch(world).await? == before + 1, "a take-over has a number of its own");
    ensure!(raises(world).await? == 3, "each change of the spec is one raise: {}", raises(world).await?);
    assert_kept(world).await
}

/// The record of a state that is not known counts for the epoch, so that a number never comes twice.
#[tokio::test]
async fn the_epoch_of_an_unknown_record_counts() -> Result<()> {
    let (world, url) = ground("versions-epoch").await?;
    let mut next = replica(&world, &url, Options::default().env("LOGWISE_LATER", "1")).await?;
    let object = json_spec_without_kafka(&world)?;
    apply(&world, &[&object]).await?;
    wait_desired(&world, 2).await?;
    wait_condition(&world, ("lwc", "demo"), ("SparkReady", "False", "WorkersNotReady")).await?;
    ensure!(next.stop().await? == 0, "it did not end cleanly");
    let before = epoch(&world).await?;
    let name = format!("logwise-epoch-{}", world.id);
    world.bed.kubectl(&["delete", "configmap", &name, "-n", "logwise-system"], None).await?;
    let now = replica(&world, &url, Options::default()).await?;
    wait_leads(&world, &now).await?;
    ensure!(epoch(&world).await? == before + 1, "{} after {before}", epoch(&world).await?);
    Ok(())
}

/// `demo` with workers only, so that its one intent is the group's.
fn json_spec_without_kafka(world: &World) -> Result<Value> {
    let mut object = demo(world, 2, 3)?;
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    Ok(object)
}
