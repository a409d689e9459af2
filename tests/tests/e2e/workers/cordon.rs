//! No worker goes that could not be cordoned, or whose cordon was forgotten.

use super::ledger::{END, ended};
use super::{Ground, Pipeline, Wish, of_workers, operator, replicas};
use anyhow::{Context, Result, ensure};
use logwise_testbed::fake_master::{Kind, Memory};
use logwise_testbed::stand_in::Fault;
use logwise_tests::{PATIENCE, apply};
use serde_json::json;
use std::time::Duration;

/// Looks during which a master that has refused a cordon is not asked again.
const LOOKS: u64 = 5;

/// How long the tasks of a cordoned worker go on.
const DRAINING: Duration = Duration::from_secs(3);

/// How often the master was asked to cordon workers.
fn cordons(pipeline: &Pipeline<'_>) -> usize {
    pipeline.master.calls_of(Kind::Cordon).len()
}

#[tokio::test]
async fn where_the_master_refuses_cordons_no_worker_goes_and_it_is_not_asked_again_and_again() -> Result<()> {
    let mut ground = Ground::new("cordon-405").await?;
    let wish = Wish::new((1, 6, 3), &replicas(3));
    let pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    apply(&ground.world, &[&pipeline.object]).await?;
    pipeline.settled().await?;
    pipeline.master.refuse_cordons(Some(405));
    pipeline.patch(&of_workers(&replicas(2))).await?;
    let words = ["spark.master.ui.decommission.allow.mode", "spark.decommission.enabled", "HTTP 405"];
    pipeline.says(("ScalingLimited", "True", "CordonUnavailable"), &words).await?;
    super::looked(&ground.world, &ground.operator, LOOKS).await?;
    ensure!(cordons(&pipeline) == 1, "asked {} times within some seconds", cordons(&pipeline));
    ensure!(ended(&pipeline.changes().await?).is_empty(), "{:?}", pipeline.changes().await?);
    // Nothing is wrong with the workers that are there, and more of them may come.
    pipeline.says(("SparkReady", "True", "Available"), &[]).await?;
    pipeline.patch(&of_workers(&replicas(4))).await?;
    pipeline.wait_size(4).await?;

    // Whoever begins anew asks anew.
    pipeline.patch(&of_workers(&replicas(3))).await?;
    pipeline.says(("ScalingLimited", "True", "CordonUnavailable"), &words).await?;
    ensure!(cordons(&pipeline) == 1, "asked {} times within some seconds", cordons(&pipeline));
    pipeline.master.refuse_cordons(None);
    ensure!(ground.operator.stop().await? == 0, "the operator did not end cleanly");
    ground.operator = operator(&ground.world).await?;
    pipeline.wait_size(3).await?;
    pipeline.settled().await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
    let changes = pipeline.adds_up(3).await?;
    ensure!(ended(&changes).len() == 1, "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn a_master_that_lists_a_worker_and_finds_none_to_cordon_is_asked_once_and_it_is_said() -> Result<()> {
    let ground = Ground::new("cordon-404").await?;
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 3), &replicas(3))).await?;
    pipeline.settled().await?;
    pipeline.master.refuse_cordons(Some(404));
    pipeline.patch(&of_workers(&replicas(2))).await?;
    let words = ["HTTP 404", "lists the worker", "let a proxy before a master pass POST requests"];
    pipeline.says(("ScalingLimited", "True", "CordonUnavailable"), &words).await?;
    super::looked(&ground.world, &ground.operator, LOOKS).await?;
    ensure!(cordons(&pipeline) == 1, "asked {} times within some seconds", cordons(&pipeline));
    ensure!(ended(&pipeline.changes().await?).is_empty(), "{:?}", pipeline.changes().await?);
    pipeline.says(("SparkReady", "True", "Available"), &[]).await?;
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn where_no_instance_may_be_ended_one_is_cordoned_and_one_call_made_and_the_permission_is_named() -> Result<()> {
    let mut ground = Ground::new("end-403").await?;
    let wish = Wish::new((1, 6, 3), &replicas(3));
    let pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    apply(&ground.world, &[&pipeline.object]).await?;
    pipeline.settled().await?;
    ground.world.fault(&Fault::error(&pipeline.group, END, 403, "AccessDenied").times(0)).await?;
    pipeline.patch(&of_workers(&replicas(2))).await?;
    let words = ["no worker can be ended", END, "AccessDenied", "docs/aws-permissions.md"];
    pipeline.says(("ScalingLimited", "True", "ScaleInHeld"), &words).await?;
    super::looked(&ground.world, &ground.operator, LOOKS).await?;
    let asked = pipeline.changes().await?;
    ensure!((cordons(&pipeline), ended(&asked).len()) == (1, 1), "{} cordons, {asked:?}", cordons(&pipeline));
    let group = pipeline.group().await?;
    ensure!((group.desired, group.instances.len()) == (3, 3), "{group:?}");
    // Nothing is wrong with the workers that are there.
    pipeline.says(("SparkReady", "True", "Available"), &[]).await?;

    // Whoever begins anew asks anew, for the one that is cordoned already.
    ground.world.clear_faults(&pipeline.group).await?;
    ensure!(ground.operator.stop().await? == 0, "the operator did not end cleanly");
    ground.operator = operator(&ground.world).await?;
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
    let all = pipeline.changes().await?;
    ensure!(ended(&all) == [ended(&asked)[0]; 2] && cordons(&pipeline) == 1, "{} cordons, {all:?}", cordons(&pipeline));
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

#[tokio::test]
async fn a_cordon_that_a_restarted_master_has_forgotten_is_made_again_before_the_worker_goes() -> Result<()> {
    let ground = Ground::new("cordon-lost").await?;
    let mut wish = Wish::new((1, 6, 3), &replicas(3));
    wish.setup.draining = DRAINING;
    let pipeline = ground.pipeline("demo", wish).await?;
    pipeline.settled().await?;
    // Executors on all workers, so that the one that goes has tasks.
    let driver = pipeline.master.submit("com.example.Other", 5).await;
    pipeline.patch(&of_workers(&replicas(2))).await?;
    let marks = || -> Vec<(i64, String)> {
        let events = pipeline.master.events().into_iter().filter(|event| event.action == "Decommission");
        events.map(|event| (event.time, event.params["host"].as_str().unwrap_or_default().to_owned())).collect()
    };
    let drains = async || {
        let object = pipeline.shown().await?;
        let removing = object["status"]["spark"]["removing"].clone();
        let host = removing["host"].as_str().with_context(|| format!("nothing is removed: {}", object["status"]))?;
        ensure!(marks().iter().any(|(_, marked)| marked == host), "{host} is not marked yet");
        Ok(removing)
    };
    let removing = ground.world.wait_until("a worker that drains", PATIENCE, drains).await?;
    ensure!(ended(&pipeline.changes().await?).is_empty(), "it has gone with its tasks");
    pipeline.master.restart(Memory::Kept);
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;

    let changes = pipeline.adds_up(3).await?;
    ensure!(json!(ended(&changes)) == json!([removing["id"]]), "{changes:?} and not {removing}");
    let marks = marks();
    let (first, again) = (marks.first().context("no mark")?, marks.get(1).context("it was marked once")?);
    ensure!(marks.len() == 2 && first.1 == again.1, "{marks:?}");
    let end = pipeline.calls().await?.into_iter().find(|call| call.action == END).context("no end")?;
    let drained = u64::try_from(end.time - again.0)?;
    ensure!(Duration::from_millis(drained) >= DRAINING, "it went {drained} ms after its second cordon");
    let page = pipeline.master.overview().await?;
    ensure!(page.activedrivers.iter().any(|one| one.id == driver), "the driver was lost: {page:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}
