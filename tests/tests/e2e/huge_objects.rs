//! Objects near the API server's limit, and pipelines whose status would be long: they are served as far as the API
//! server lets them, and nobody else waits.

use crate::behind::partitions_of;
use crate::replicas::wait_partitions;
use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, condition, wait_condition};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What etcd takes at once, with the request around it.
const ETCD_LIMIT: usize = 1_572_864;

/// A pipeline over topics that begin with `topics`, without a bucket.
fn small(world: &World, name: &str, topics: &str) -> Result<Value> {
    let mut object = cluster(world, name);
    object["spec"]["kafka"]["topics"]["namePrefix"] = json!(world.topic(topics));
    object["spec"].as_object_mut().context("a spec")?.remove("storage");
    Ok(object)
}

/// Labels have no common limit; the API server lists their names a second time, among who owns which field.
fn with_labels(mut object: Value, number: usize) -> Value {
    let domain = ["d".repeat(60), "e".repeat(60), "f".repeat(60), "example.com".to_owned()].join(".");
    let label = |place: usize| (format!("{domain}/{place:06}{}", "n".repeat(50)), json!("v".repeat(60)));
    object["metadata"]["labels"] = Value::Object((0..number).map(label).collect::<Map<_, _>>());
    object
}

/// As `kubectl create`: `apply` would copy the object into an annotation, which is too long then.
async fn create(world: &World, object: &Value) -> Result<()> {
    let args = ["-n", &world.namespace, "create", "-f", "-"];
    world.bed.kubectl(&args, Some(&object.to_string())).await.map(drop)
}

async fn size(world: &World, name: &str) -> Result<usize> {
    let args = ["get", "lwc", name, "-o", "json", "--show-managed-fields"];
    let object: Value = serde_json::from_str(&world.kubectl(&args).await?)?;
    Ok(object.to_string().len())
}

/// Fills the object with an annotation until the API server takes no more.
async fn fill(world: &World, name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut fits, mut bursts) = (0, 250_000);
    while bursts - fits > 250 {
        let middle = usize::midpoint(fits, bursts);
        let patch = json!({"metadata": {"annotations": {"filled": "x".repeat(middle)}}}).to_string();
        let file = folder.path().join("fill.json");
        std::fs::write(&file, &patch).with_context(|| format!("writing {}", file.display()))?;
        let args = ["patch", "lwc", name, "--type", "merge", "--patch-file", &file.display().to_string()];
        match world.kubectl(&args).await {
            Ok(_) => fits = middle,
            Err(error) if error.to_string().contains("too large") => bursts = middle,
            Err(error) => bail!(error),
        }
    }
    let bytes = size(world, name).await?;
    ensure!(fits > 0 && bursts < 250_000, "the object of {bytes} bytes is not near the limit: {fits}, {bursts}");
    Ok(())
}

#[tokio::test]
async fn a_huge_object_is_served_like_any_other() -> Result<()> {
    let world = World::new(&Bed::attach()?, "huge").await?;
    world.create_topic("big", 1).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    create(&world, &with_labels(small(&world, "big", "big")?, 3_600)).await?;
    wait_condition(&world, ("lwc", "big"), ("Ready", "True", "Running")).await?;
    let bytes = size(&world, "big").await?;
    ensure!(bytes > ETCD_LIMIT / 2 && bytes < ETCD_LIMIT, "{bytes} bytes are not huge");
    ensure!(partitions_of(&world, "big").await? == 3, "not grown");
    Ok(())
}

/// To the last bytes: there is no room for a status.
#[tokio::test]
async fn an_object_without_room_for_a_status_is_served_and_nobody_waits_for_it() -> Result<()> {
    let world = World::new(&Bed::attach()?, "brim").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("brim", 1))?;
    let proxy = world.kubernetes_proxy().await?;
    // The definitions may have to be installed first.
    install::kubeconfig(&world.bed).await?;
    create(&world, &with_labels(small(&world, "brim", "brim")?, 4_400)).await?;
    fill(&world, "brim").await?;
    let from = proxy.now();
    let mut operator = Operator::start(&world, Options::default().behind(&proxy)).await?;
    operator.wait_ready().await?;
    let status = |one: &logwise_testbed::proxy::kubernetes::Request| {
        one.seq >= from && one.method == "PATCH" && one.path.contains("/logwiseclusters/brim/status")
    };
    world
        .wait_until("refused statuses", PATIENCE, async || {
            let refused =
                proxy.requests().iter().filter(|one| status(one) && one.done.is_some_and(|s| s >= 400)).count();
            ensure!(refused >= 4, "{refused} so far");
            ensure!(operator.log()?.contains("status not written"), "the log does not say so");
            Ok(())
        })
        .await?;
    world
        .wait_until("the topic of the object without a status", PATIENCE, async || {
            let now = partitions_of(&world, "brim").await?;
            ensure!(now == 3, "{now} partitions");
            Ok(())
        })
        .await?;
    // Meanwhile others are served.
    apply(&world, &[&small(&world, "other", "api")?]).await?;
    wait_condition(&world, ("lwc", "other"), ("Ready", "True", "Running")).await?;
    wait_partitions(&world, 3).await?;
    let requests = proxy.requests();
    let tries: Vec<Duration> = requests.iter().filter(|one| status(one)).map(|one| one.at).collect();
    // Three parts and a summary, each with a pause that doubles: never one try per look.
    let span = tries.last().context("none")?.saturating_sub(*tries.first().context("none")?);
    ensure!(tries.len() <= 4 * (span.as_secs_f64().log2().max(0.0) as usize + 3), "{} tries in {span:?}", tries.len());
    let bytes = size(&world, "brim").await?;
    ensure!(bytes > ETCD_LIMIT - 4_096, "{bytes} bytes");
    world.kubectl(&["annotate", "lwc", "brim", "filled-"]).await?;
    wait_condition(&world, ("lwc", "brim"), ("Ready", "True", "Running")).await?;
    Ok(())
}

#[tokio::test]
async fn a_status_names_a_few_of_many_topics() -> Result<()> {
    let world = World::new(&Bed::attach()?, "long-status").await?;
    let names: Vec<String> = (0..40).map(|place| format!("{place:03}{}", "long".repeat(45))).collect();
    try_join_all(names.iter().map(|name| world.create_topic(name, 1))).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let mut object = small(&world, "demo", "")?;
    object["spec"]["changePolicy"] = json!({"approval": "Always"});
    apply(&world, &[&object]).await?;
    let found = wait_condition(&world, ("lwc", "demo"), ("PartitionsLimited", "True", "ApprovalRequired")).await?;
    let status = &found["status"];
    let length = |field: &str| status["kafka"][field].as_array().map_or(0, Vec::len);
    ensure!(status["kafka"]["topics"] == 40, "{}", status["kafka"]);
    ensure!(length("pendingPlans") == 10 && (10..=20).contains(&length("heldTopics")), "{}", status["kafka"]);
    ensure!(status["kafka"].to_string().len() < 8_000, "status.kafka of {} bytes", status["kafka"].to_string().len());
    let message = condition(&found, "PartitionsLimited").context("it")?["message"].as_str().unwrap_or_default().len();
    ensure!(message <= 1_000, "a message of {message} bytes");
    ensure!(status.to_string().len() < 32_768, "a status of {} bytes", status.to_string().len());
    Ok(())
}
