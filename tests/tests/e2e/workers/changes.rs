//! Who says how many workers there are, and what a change of their number waits for.

use super::ledger::{Change, ended, raised};
use super::{Ground, Wish, merge, of_workers, replicas};
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::fake_master::Kind;
use logwise_tests::{PATIENCE, wait_condition};
use serde_json::{Value, json};

/// Looks during which nothing may happen.
const LOOKS: u64 = 3;

#[tokio::test]
async fn kubectl_scale_sets_the_number_both_ways_and_is_refused_beside_autoscaling() -> Result<()> {
    let ground = Ground::new("kubectl-scale").await?;
    let pipeline = ground.pipeline("demo", Wish::new((0, 6, 2), &json!({}))).await?;
    let scale = async |number: &str| {
        let replicas = format!("--replicas={number}");
        ground.world.kubectl(&["scale", "lwc/demo", &replicas]).await
    };
    pipeline.settled().await?;
    ground.looked(LOOKS).await?;
    ensure!(pipeline.changes().await?.is_empty(), "nobody has said a number: {:?}", pipeline.changes().await?);
    scale("3").await?;
    pipeline.wait_size(3).await?;
    pipeline.settled().await?;
    let text = ground.world.kubectl(&["get", "lwc", "demo", "--subresource=scale", "-o", "json"]).await?;
    let shown: Value = serde_json::from_str(&text)?;
    let selector = "logwise.io/cluster=demo,logwise.io/component=spark-worker";
    ensure!(shown["spec"]["replicas"] == 3 && shown["status"]["replicas"] == 3, "{shown}");
    ensure!(shown["status"]["selector"] == selector, "{shown}");
    scale("1").await?;
    pipeline.wait_size(1).await?;
    pipeline.settled().await?;

    let bounds = json!({"minReplicas": 1, "maxReplicas": 4});
    pipeline.patch(&of_workers(&json!({"replicas": null, "autoscaling": bounds}))).await?;
    let Err(refused) = scale("2").await else { bail!("the number was set beside autoscaling") };
    let refused = format!("{refused:#}");
    ensure!(refused.contains("must not be specified when `autoscaling` is specified"), "{refused}");
    ensure!(refused.contains("set `autoscaling.minReplicas`, or remove `autoscaling`"), "{refused}");
    // The load of a pipeline without topics and a bucket is not known: it stays as it is, but for its least number.
    let words = ["`spec.storage` is absent", "`spec.kafka.topics` is absent", "No worker is removed"];
    pipeline.says(("SignalsFresh", "False", "SignalMissing"), &words).await?;
    pipeline.patch(&of_workers(&json!({"autoscaling": {"minReplicas": 2}}))).await?;
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    // Switched off, it is in nobody's way; and no number is less than the one that the driver needs.
    pipeline.patch(&of_workers(&json!({"autoscaling": {"mode": "Disabled"}}))).await?;
    scale("0").await?;
    pipeline.wait_size(1).await?;
    pipeline.settled().await?;
    pipeline.says(("ScalingLimited", "False", "WithinRange"), &[]).await?;
    let changes = pipeline.adds_up(2).await?;
    ensure!(raised(&changes) == [3, 2] && ended(&changes).len() == 3, "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// A window that is open always, or on one minute of a leap day.
fn window(open: bool) -> Value {
    if open {
        json!([{"name": "always", "schedule": "* * * * *", "durationMinutes": 10080, "timeZone": "UTC"}])
    } else {
        json!([{"name": "leap-day", "schedule": "0 0 29 2 *", "durationMinutes": 1, "timeZone": "UTC"}])
    }
}

#[tokio::test]
async fn a_removal_waits_for_approval_a_suspension_and_a_window_and_is_then_made_once() -> Result<()> {
    let ground = Ground::new("scale-in-waits").await?;
    let mut wish = Wish::new((1, 6, 3), &replicas(3));
    merge(&mut wish.spec, json!({"changePolicy": {"approval": "Always"}}));
    let pipeline = ground.pipeline("demo", wish).await?;
    pipeline.settled().await?;
    let protected = [Change::Newcomers, Change::Protect(3)];
    let untouched = async || -> Result<()> {
        ground.looked(LOOKS).await?;
        let changes = pipeline.changes().await?;
        ensure!(changes == protected, "{changes:?}");
        let cordons = pipeline.master.calls_of(Kind::Cordon).len();
        ensure!(cordons == 0, "{cordons} cordons were asked for");
        Ok(())
    };
    untouched().await.context("protection waits for nobody")?;

    pipeline.patch(&of_workers(&replicas(2))).await?;
    let words = ["waits at 3 for approval to become 2"];
    let told = pipeline.says(("ScalingLimited", "True", "ApprovalRequired"), &words).await?;
    let plans = pipeline.shown().await?["status"]["spark"]["pendingPlans"].clone();
    let id = plans[0]["id"].as_str().with_context(|| format!("no plan: {plans}"))?.to_owned();
    ensure!(plans[0]["summary"] == "desired capacity 3 -> 2" && told.contains(&id), "{plans}: {told}");
    untouched().await.context("without approval")?;

    pipeline.patch(&json!({"suspend": true, "changePolicy": {"approvedPlans": [id]}})).await?;
    wait_condition(&ground.world, pipeline.names(), ("ChangesPending", "True", "SuspendedByUser")).await?;
    untouched().await.context("while suspended")?;
    pipeline.patch(&json!({"suspend": false, "changePolicy": {"mode": "Observe"}})).await?;
    wait_condition(&ground.world, pipeline.names(), ("ChangesPending", "True", "ObserveOnly")).await?;
    untouched().await.context("while observed")?;
    pipeline.patch(&json!({"changePolicy": {"mode": "Apply", "windows": window(false)}})).await?;
    let words = ["none is removed before a window opens", "leap-day"];
    pipeline.says(("ScalingLimited", "True", "WaitingForWindow"), &words).await?;
    untouched().await.context("outside its window")?;

    pipeline.patch(&json!({"changePolicy": {"windows": window(true)}})).await?;
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    let gone = async || {
        let spark = pipeline.shown().await?["status"]["spark"].clone();
        ensure!(spark["pendingPlans"].as_array().is_none_or(Vec::is_empty), "{spark}");
        Ok(())
    };
    ground.world.wait_until("the plan to be carried out", PATIENCE, gone).await?;
    let changes = pipeline.adds_up(3).await?;
    ensure!(ended(&changes).len() == 1 && raised(&changes).is_empty(), "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}
