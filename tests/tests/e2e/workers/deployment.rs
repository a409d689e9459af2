//! Workers that are the pods of a Deployment: on the real API server, with pods that kwok plays and a fake master.

use super::{Ground, LOOKS, merge, of_workers, patch, replicas, says};
use anyhow::{Context, Result, ensure};
use logwise_testbed::audit::{self, Mark};
use logwise_testbed::fake_master::{FakeMaster, Kind, Landing, Setup};
use logwise_testbed::install;
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::world::{WorkerPod, World};
use logwise_tests::{PATIENCE, apply, cluster, wait_condition, wait_events};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The Deployment, as deploy/components/tenant-workers names it.
pub(super) const NAME: &str = "spark-worker";

/// The deletion cost of the driver's pod.
const DRIVER: &str = "2147483647";

/// The deletion cost of the pod that goes.
const VICTIM: &str = "-2147483648";

/// Who changes deletion costs and the number of pods.
const MANAGER: &str = "logwise.io/workers";

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pipeline whose workers are the pods of the Deployment, with these fields of `spec.spark.workers`.
pub(super) fn pipeline(world: &World, name: &str, masters: &Value, workers: &Value) -> Result<Value> {
    let mut object = cluster(world, name);
    let spec = object["spec"].as_object_mut().context("a spec")?;
    spec.remove("kafka");
    spec.remove("storage");
    let deployment = json!({"type": "Deployment", "deployment": {"name": NAME}});
    spec.insert("spark".to_owned(), json!({"masters": masters, "driver": {"mode": "Disabled"}, "workers": deployment}));
    merge(&mut object["spec"], of_workers(workers));
    Ok(object)
}

/// The Deployment with everything that the API server says about who owns what of it.
async fn deployment(world: &World) -> Result<Value> {
    let text = world.kubectl(&["get", "deployment", NAME, "-o", "json", "--show-managed-fields"]).await?;
    Ok(serde_json::from_str(&text)?)
}

/// What belongs to others: the whole spec without its number, labels and annotations.
fn theirs(deployment: &Value) -> Value {
    let (mut spec, metadata) = (deployment["spec"].clone(), &deployment["metadata"]);
    spec["replicas"].take();
    json!({"spec": spec, "labels": metadata["labels"], "annotations": metadata["annotations"]})
}

/// What the operator owns of an object, by subresource.
fn owned(object: &Value) -> BTreeMap<String, Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let ours = entries.filter(|entry| entry["manager"] == MANAGER);
    ours.map(|entry| (entry["subresource"].as_str().unwrap_or_default().to_owned(), entry["fieldsV1"].clone()))
        .collect()
}

/// Writes of the operator about Deployments and pods since then: which, and how often they were taken.
fn writes(world: &World, since: Mark) -> Result<BTreeMap<String, usize>> {
    let text = audit::since(&world.bed, Some(since))?;
    let mut counts = BTreeMap::new();
    for entry in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let about = &entry["objectRef"];
        let by_operator = entry["user"]["username"].as_str().is_some_and(|name| name.ends_with(":logwise-operator"));
        let is_read = matches!(entry["verb"].as_str(), Some("get" | "list" | "watch"));
        let is_of_pods = matches!(about["resource"].as_str(), Some("deployments" | "pods" | "replicasets"));
        if by_operator && !is_read && is_of_pods && about["namespace"] == world.namespace.as_str() {
            let part = about["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
            let what = format!("{} {}{part}", entry["verb"], about["resource"]).replace('"', "");
            let taken = entry["responseStatus"]["code"] == 200;
            *counts.entry(what).or_default() += usize::from(taken);
        }
    }
    Ok(counts)
}

/// The pod's name and what the operator owns of it, for each that is there.
async fn marked(world: &World) -> Result<BTreeMap<String, Value>> {
    let selector = world.worker_selector(NAME);
    let text = world.kubectl(&["get", "pods", "-l", &selector, "-o", "json", "--show-managed-fields"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(pods.iter().filter_map(|pod| Some((name(pod), owned(pod).remove("")?))).collect())
}

async fn scale(world: &World, number: u32) -> Result<()> {
    world.kubectl(&["scale", "lwc/demo", &format!("--replicas={number}")]).await.map(drop)
}

/// Waits until there are so many pods and this generation of the pipeline is carried out.
async fn settled(world: &World, number: u32) -> Result<Vec<WorkerPod>> {
    world.wait_available(NAME, number).await?;
    wait_condition(world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    world.worker_pods(NAME).await
}

/// Pods that were removed, so many at least, by the operator's word, and what each removal has made of the number.
async fn chosen(world: &World, number: usize) -> Result<BTreeMap<String, String>> {
    let notes = wait_events(world, "demo", "WorkersScaledIn", number).await?;
    let split = |note: String| {
        let (name, rest) = note.split_once(" of Deployment ").with_context(|| format!("no pod: {note}"))?;
        Ok((name.to_owned(), rest.to_owned()))
    };
    notes.into_iter().map(split).collect()
}

/// A driver on the pod of this address.
async fn drive(master: &FakeMaster, ip: &str) -> Result<String> {
    master.set_landing(Landing::Held);
    let driver = master.submit("com.example.Other", 0).await;
    master.land(&driver, Some(ip)).await?;
    Ok(driver)
}

#[tokio::test]
async fn the_pod_that_goes_is_the_chosen_one_and_nobody_elses_fields_are_touched() -> Result<()> {
    let ground = Ground::new("pods").await?;
    let world = &ground.world;
    install::tenant_workers(&world.bed, &world.namespace).await?;
    world.create_deployment(NAME, 4).await?;
    let master = world.fake_master_of_pods(&world.worker_selector(NAME), Setup::default()).await?;
    let (before, begin) = (deployment(world).await?, audit::end(&world.bed)?);
    let pods = world.worker_pods(NAME).await?;
    let home = pods.first().context("no pod")?.clone();
    let driver = drive(&master, &home.ip).await?;
    apply(world, &[&pipeline(world, "demo", &master.masters(), &replicas(4))?]).await?;
    settled(world, 4).await?;
    let dearest = async || {
        let pods = world.worker_pods(NAME).await?;
        let costs: Vec<_> = pods.iter().filter_map(|pod| Some((pod.name.as_str(), pod.cost.as_deref()?))).collect();
        ensure!(costs == [(home.name.as_str(), DRIVER)], "{costs:?}");
        Ok(())
    };
    world.wait_until("the driver's pod to be the dearest, and no other", PATIENCE, dearest).await?;

    scale(world, 2).await?;
    let left = settled(world, 2).await?;
    let chosen = chosen(world, 2).await?;
    let stay: BTreeSet<&str> = left.iter().map(|pod| pod.name.as_str()).collect();
    let gone: Vec<&WorkerPod> = pods.iter().filter(|pod| !stay.contains(pod.name.as_str())).collect();
    ensure!(gone.len() == 2 && gone.iter().all(|pod| chosen.contains_key(&pod.name)), "{chosen:?}, left are {left:?}");
    ensure!(left.iter().any(|pod| pod.name == home.name), "the driver's pod is gone: {left:?}");
    let sizes: BTreeSet<&str> = chosen.values().filter_map(|note| note.split(": ").nth(1)).collect();
    ensure!(sizes == BTreeSet::from(["from 4 to 3 workers", "from 3 to 2 workers"]), "{chosen:?}");
    let events = master.events();
    let mut cordons = events.iter().filter(|event| event.action == "Decommission");
    let is_gone = |host: &Value| gone.iter().any(|pod| *host == pod.ip);
    ensure!(cordons.clone().count() == 2 && cordons.all(|event| is_gone(&event.params["host"])), "{events:?}");
    let stays = master.stays();
    ensure!(stays.len() == 1 && stays[0].driver == driver && stays[0].to.is_none(), "{stays:?}");

    let now = deployment(world).await?;
    ensure!(theirs(&now) == theirs(&before), "{now} after {before}");
    let number = BTreeMap::from([("scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))]);
    ensure!(owned(&now) == number, "{:?}", owned(&now));
    let cost = json!({"f:metadata": {"f:annotations": {(format!("f:{COST}")): {}}}});
    ensure!(marked(world).await? == BTreeMap::from([(home.name.clone(), cost)]), "{:?}", marked(world).await?);
    let taken = writes(world, begin)?;
    let expected = [("patch deployments/scale", 2), ("patch pods", 3)].map(|(what, number)| (what.to_owned(), number));
    ensure!(taken == BTreeMap::from(expected), "{taken:?}");
    let spark = world.get_json("lwc", "demo").await?["status"]["spark"].clone();
    let shown = &spark["workers"];
    ensure!(shown["replicas"] == 2 && shown["selector"] == world.worker_selector(NAME), "{spark}");
    rest(&ground, &master).await
}

/// Nothing is written, and no master is asked for a change; and every decision comes out once more.
async fn rest(ground: &Ground, master: &FakeMaster) -> Result<()> {
    let asked = || master.calls().into_iter().filter(|call| call.kind.is_mutating()).count();
    let before = asked();
    settles(&ground.world, &ground.operator, &["spark"], LOOKS, PATIENCE).await?;
    ensure!(asked() == before, "{:?}", master.calls());
    ground.ends(&[]).await
}

#[tokio::test]
async fn a_pod_does_not_stay_the_cheapest_when_its_removal_is_given_up_since_others_decide_from_now_on() -> Result<()> {
    let ground = Ground::new("cost-back").await?;
    let world = &ground.world;
    install::tenant_workers(&world.bed, &world.namespace).await?;
    world.create_deployment(NAME, 3).await?;
    let setup = Setup { draining: Duration::from_secs(60), ..Setup::default() };
    let master = world.fake_master_of_pods(&world.worker_selector(NAME), setup).await?;
    apply(world, &[&pipeline(world, "demo", &master.masters(), &replicas(3))?]).await?;
    let pods = settled(world, 3).await?;
    let home = pods.first().context("no pod")?.clone();
    // Executors on all workers, so that the one that goes has tasks.
    master.set_landing(Landing::Held);
    let driver = master.submit("com.example.Other", 5).await;
    master.land(&driver, Some(&home.ip)).await?;
    let costs = async || -> Result<BTreeMap<String, String>> {
        let pods = world.worker_pods(NAME).await?;
        Ok(pods.into_iter().filter_map(|pod| Some((pod.name, pod.cost?))).collect())
    };
    let is_dearest = |costs: &BTreeMap<String, String>| costs.get(&home.name).is_some_and(|cost| cost == DRIVER);
    scale(world, 2).await?;
    let marked = async || {
        let costs = costs().await?;
        ensure!(costs.values().any(|cost| cost == VICTIM) && is_dearest(&costs), "{costs:?}");
        Ok(costs)
    };
    let before = world.wait_until("a pod that is to go", PATIENCE, marked).await?;

    patch(world, "demo", &of_workers(&json!({"replicas": null}))).await?;
    let taken_back = async || {
        let costs = costs().await?;
        ensure!(costs.len() == before.len() && costs.values().all(|cost| cost == DRIVER || cost == "0"), "{costs:?}");
        ensure!(is_dearest(&costs), "{costs:?}");
        let spark = world.get_json("lwc", "demo").await?["status"]["spark"].clone();
        ensure!(spark["removing"].is_null(), "{spark}");
        Ok(())
    };
    world.wait_until("no pod to be the cheapest", PATIENCE, taken_back).await?;
    ensure!(
        world.worker_pods(NAME).await?.len() == 3 && chosen(world, 0).await?.is_empty(),
        "{:?}",
        chosen(world, 0).await?
    );
    rest(&ground, &master).await
}

#[tokio::test]
async fn while_pods_are_replaced_none_is_removed_and_then_the_cheapest_goes() -> Result<()> {
    let ground = Ground::new("rollout").await?;
    let world = &ground.world;
    install::tenant_workers(&world.bed, &world.namespace).await?;
    world.create_deployment(NAME, 3).await?;
    let master = world.fake_master_of_pods(&world.worker_selector(NAME), Setup::default()).await?;
    apply(world, &[&pipeline(world, "demo", &master.masters(), &replicas(3))?]).await?;
    let pods = settled(world, 3).await?;
    let home = pods.last().context("no pod")?.clone();
    drive(&master, &home.ip).await?;
    scale(world, 4).await?;
    settled(world, 4).await?;
    world.kubectl(&["rollout", "pause", &format!("deployment/{NAME}")]).await?;
    patch(world, "demo", &of_workers(&replicas(2))).await?;
    let words = ["the Deployment replaces its pods", "No pod is removed before its end"];
    says(world, "demo", ("ScalingLimited", "True", "RolloutInProgress"), &words).await?;
    ground.looked(LOOKS).await?;
    let cordons = master.calls_of(Kind::Cordon).len();
    ensure!(
        cordons == 0 && world.worker_pods(NAME).await?.len() == 4,
        "{cordons} cordons: {:?}",
        chosen(world, 0).await?
    );
    let costs: Vec<_> = world.worker_pods(NAME).await?.into_iter().filter_map(|pod| pod.cost).collect();
    ensure!(costs == [DRIVER], "{costs:?}");

    world.kubectl(&["rollout", "resume", &format!("deployment/{NAME}")]).await?;
    let left = settled(world, 2).await?;
    ensure!(left.iter().any(|pod| pod.name == home.name), "the driver's pod is gone: {left:?}");
    let chosen = chosen(world, 2).await?;
    ensure!(
        chosen.len() == 2 && left.iter().all(|pod| !chosen.contains_key(&pod.name)),
        "{chosen:?}, left are {left:?}"
    );
    rest(&ground, &master).await
}
