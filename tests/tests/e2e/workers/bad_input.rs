//! What is wrong with a group or a Deployment, or odd about it: each has its own reason and a next step, nothing is
//! changed, and the other pipelines of the same operator go on.

use super::deployment::{NAME, pipeline};
use super::ledger::{Change, ended, raised};
use super::{Ground, Pipeline, Wish, merge, of_workers, patch, replicas, says};
use anyhow::{Result, ensure};
use logwise_testbed::fake_master::Setup;
use logwise_testbed::install;
use logwise_tests::{apply, wait_condition};
use serde_json::json;

/// Looks during which nothing may happen.
const LOOKS: u64 = 3;

#[tokio::test]
async fn a_group_that_is_not_there_is_told_with_its_region_and_one_of_another_region_is_none() -> Result<()> {
    let ground = Ground::new("no-group").await?;
    let world = &ground.world;
    let mut absent = Pipeline::new(world, ("absent", ground.port), Wish::new((1, 4, 2), &replicas(1))).await?;
    let missing = format!("{}-nowhere", world.id);
    absent.object["spec"]["spark"]["workers"]["autoScalingGroup"]["name"] = json!(missing);
    let mut wish = Wish::new((1, 4, 2), &replicas(1));
    merge(&mut wish.spec, json!({"aws": {"region": "eu-west-3"}}));
    let elsewhere = Pipeline::new(world, ("elsewhere", ground.port), wish).await?;
    let sound = Pipeline::new(world, ("sound", ground.port), Wish::new((0, 4, 0), &replicas(2))).await?;
    apply(world, &[&absent.object, &elsewhere.object, &sound.object]).await?;
    let region = world.bed.aws.region.as_str();
    let words = [missing.as_str(), "does not exist in region", region, "autoScalingGroup.name"];
    absent.says(("SparkReady", "False", "GroupNotFound"), &words).await?;
    let words = [elsewhere.group.as_str(), "does not exist in region eu-west-3"];
    elsewhere.says(("SparkReady", "False", "GroupNotFound"), &words).await?;
    for pipeline in [&absent, &elsewhere] {
        pipeline.says(("ScalingLimited", "Unknown", "GroupNotFound"), &["See SparkReady"]).await?;
        wait_condition(world, pipeline.names(), ("Stalled", "True", "GroupNotFound")).await?;
        ensure!(pipeline.calls().await?.is_empty(), "{:?}", pipeline.calls().await?);
        ensure!(pipeline.group().await?.desired == 2, "{:?}", pipeline.group().await?);
    }
    ensure!(world.calls(&missing, true).await?.is_empty(), "a group that is not there was changed");
    // An empty one is no trouble.
    sound.wait_size(2).await?;
    sound.settled().await?;
    let changes = sound.adds_up(0).await?;
    ensure!(changes == [Change::Newcomers, Change::Raise(2)], "{changes:?}");
    ground.ends(&[&absent, &elsewhere, &sound]).await
}

#[tokio::test]
async fn of_the_bounds_of_spec_and_group_the_narrower_ones_hold_and_are_named() -> Result<()> {
    let ground = Ground::new("bounds").await?;
    let world = &ground.world;
    let narrow = Pipeline::new(world, ("narrow", ground.port), Wish::new((1, 3, 2), &replicas(5))).await?;
    let high = Pipeline::new(world, ("high", ground.port), Wish::new((2, 4, 3), &replicas(1))).await?;
    apply(world, &[&narrow.object, &high.object]).await?;
    narrow.wait_size(3).await?;
    narrow.settled().await?;
    let words = ["5 workers are wanted at least", narrow.group.as_str(), "is 3", "Raise its maximum size"];
    narrow.says(("ScalingLimited", "True", "TooFewWorkers"), &words).await?;
    high.wait_size(2).await?;
    high.settled().await?;
    let words = ["Fewer workers are wanted than the minimum of", high.group.as_str(), "2; the spec asks for 1"];
    high.says(("ScalingLimited", "True", "BoundsDiffer"), &words).await?;
    ground.at_rest(&[&narrow, &high]).await?;
    let (narrowed, lowered) = (narrow.adds_up(2).await?, high.adds_up(3).await?);
    ensure!(raised(&narrowed) == [3] && ended(&narrowed).is_empty(), "{narrowed:?}");
    ensure!(raised(&lowered).is_empty() && ended(&lowered).len() == 1, "{lowered:?}");
    ground.ends(&[&narrow, &high]).await
}

#[tokio::test]
async fn the_younger_of_two_on_one_group_makes_no_call_until_the_older_is_gone() -> Result<()> {
    let ground = Ground::new("one-group").await?;
    let world = &ground.world;
    let older = ground.pipeline("demo", Wish::new((1, 6, 3), &replicas(3))).await?;
    older.settled().await?;
    // Creation times have whole seconds; equal ones are decided by name.
    let mut younger = older.object.clone();
    younger["metadata"]["name"] = json!("zz-younger");
    merge(&mut younger["spec"], of_workers(&replicas(1)));
    apply(world, &[&younger]).await?;
    let words = [older.group.as_str(), "/demo", "nothing is done for this one", "one LogwiseCluster per group"];
    says(world, "zz-younger", ("SparkReady", "False", "Conflicted"), &words).await?;
    wait_condition(world, ("lwc", "zz-younger"), ("Stalled", "True", "Conflicted")).await?;
    ground.at_rest(&[&older]).await?;
    let changes = older.adds_up(3).await?;
    ensure!(changes == [Change::Newcomers, Change::Protect(3)], "{changes:?}");

    world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    patch(world, "zz-younger", &of_workers(&replicas(2))).await?;
    older.wait_size(2).await?;
    wait_condition(world, ("lwc", "zz-younger"), ("Ready", "True", "Running")).await?;
    let changes = older.adds_up(3).await?;
    ensure!(ended(&changes).len() == 1 && raised(&changes).is_empty(), "{changes:?}");
    ground.at_rest(&[&older]).await?;
    ground.ends(&[&older]).await
}

#[tokio::test]
async fn a_deployment_without_rights_then_absent_then_of_two_pipelines_is_told_each_time() -> Result<()> {
    let ground = Ground::new("denied-pods").await?;
    let world = &ground.world;
    let master = world.fake_master_of_pods(&world.worker_selector(NAME), Setup::default()).await?;
    apply(world, &[&pipeline(world, "demo", &master.masters(), &replicas(2))?]).await?;
    let words = ["forbidden", "deploy/components/tenant-workers"];
    says(world, "demo", ("SparkReady", "False", "PermissionDenied"), &words).await?;
    wait_condition(world, ("lwc", "demo"), ("Stalled", "True", "PermissionDenied")).await?;
    // An edit makes it look at once.
    let edit = async |seconds: u32| patch(world, "demo", &of_workers(&json!({"drainSeconds": seconds}))).await;
    install::tenant_workers(&world.bed, &world.namespace).await?;
    edit(601).await?;
    let words = ["Deployment spark-worker does not exist in this namespace", "`spark.workers.deployment.name`"];
    says(world, "demo", ("SparkReady", "False", "DeploymentNotFound"), &words).await?;
    wait_condition(world, ("lwc", "demo"), ("Stalled", "True", "DeploymentNotFound")).await?;
    world.create_deployment(NAME, 1).await?;
    edit(602).await?;
    world.wait_available(NAME, 2).await?;
    wait_condition(world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;

    apply(world, &[&pipeline(world, "zz-younger", &master.masters(), &replicas(1))?]).await?;
    let words = ["Deployment spark-worker belongs to LogwiseCluster", "/demo", "one LogwiseCluster per Deployment"];
    says(world, "zz-younger", ("SparkReady", "False", "Conflicted"), &words).await?;
    ground.looked(LOOKS).await?;
    let pods = world.worker_pods(NAME).await?;
    ensure!(pods.len() == 2 && pods.iter().all(|pod| pod.cost.is_none()), "{pods:?}");
    ensure!(master.calls().iter().all(|call| !call.kind.is_mutating()), "{:?}", master.events());
    ground.ends(&[]).await
}
