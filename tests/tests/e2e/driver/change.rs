//! Who may say that a driver is submitted: `mode`, `suspend`, `changePolicy` and a person.

use super::{CLASS, DEMO, Ground, driver, looked, patch, pipeline, says, untouched};
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::fake_master::End;
use logwise_tests::{PATIENCE, apply, condition, wait_condition};
use serde_json::{Value, json};

/// Applies the pipeline with this driver and this `changePolicy`.
async fn apply_with(ground: &Ground, driver: &Value, change: &Value) -> Result<()> {
    let mut object = pipeline("demo", &ground.master.masters(), driver);
    object["spec"]["changePolicy"] = change.clone();
    apply(&ground.world, &[&object]).await
}

#[tokio::test]
async fn under_observe_and_suspend_a_missing_driver_is_told_and_not_submitted() -> Result<()> {
    let ground = Ground::new("driver-observe").await?;
    apply_with(&ground, &driver(&json!({})), &json!({"mode": "Observe"})).await?;
    wait_condition(&ground.world, DEMO, ("ChangesPending", "True", "ObserveOnly")).await?;
    let words = ["No driver of class", "suspended, observes or is deleted"];
    says(&ground.world, "demo", "DriverNotRunning", &words).await?;
    looked(&ground.world, &ground.operator, 3).await?;
    untouched(&ground.master)?;
    patch(&ground.world, &json!({"suspend": true, "changePolicy": {"mode": "Apply"}})).await?;
    let object = wait_condition(&ground.world, DEMO, ("ChangesPending", "True", "SuspendedByUser")).await?;
    ensure!(object["status"]["pendingChanges"] == 1, "{}", object["status"]);
    looked(&ground.world, &ground.operator, 3).await?;
    untouched(&ground.master)?;
    patch(&ground.world, &json!({"suspend": false})).await?;
    ground.runs(&[]).await?;
    wait_condition(&ground.world, DEMO, ("ChangesPending", "False", "NothingPending")).await?;
    ground.ends_with(1, 0).await
}

/// Under suspension a driver too many stays, too.
#[tokio::test]
async fn a_suspended_pipeline_kills_no_driver() -> Result<()> {
    let ground = Ground::new("driver-suspend").await?;
    for _ in 0..2 {
        ground.master.submit(CLASS, 0).await;
    }
    let mut object = pipeline("demo", &ground.master.masters(), &driver(&json!({})));
    object["spec"]["suspend"] = json!(true);
    apply(&ground.world, &[&object]).await?;
    says(&ground.world, "demo", "SeveralDrivers", &["2 drivers of class"]).await?;
    looked(&ground.world, &ground.operator, 3).await?;
    untouched(&ground.master)?;
    patch(&ground.world, &json!({"suspend": false})).await?;
    ground.runs(&[]).await?;
    ground.ends_with(0, 1).await
}

/// The plan that waits for a person: its id and its words.
async fn asked(ground: &Ground, other_than: &str) -> Result<(String, String)> {
    let world = &ground.world;
    world
        .wait_until("a plan that waits for approval", PATIENCE, async || {
            let object = wait_condition(world, DEMO, ("Stalled", "True", "ApprovalRequired")).await?;
            let plans = object["status"]["spark"]["pendingPlans"].as_array().cloned().unwrap_or_default();
            let [plan] = plans.as_slice() else { bail!("not one plan: {plans:?}") };
            let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
            let (id, summary) = (text("id"), text("summary"));
            ensure!(id.starts_with("dp-") && id != other_than, "{plan}");
            let stalled = condition(&object, "Stalled").context("Stalled")?;
            ensure!(stalled["message"].as_str().is_some_and(|said| said.contains(&id)), "{stalled}");
            Ok((id, summary))
        })
        .await
}

#[tokio::test]
async fn under_always_each_driver_waits_for_the_id_of_its_own_plan() -> Result<()> {
    let ground = Ground::new("driver-always").await?;
    apply_with(&ground, &driver(&json!({"supervise": false})), &json!({"approval": "Always"})).await?;
    let (first_plan, summary) = asked(&ground, "").await?;
    ensure!(summary == "submit a driver: no driver is active", "{summary}");
    says(&ground.world, "demo", "DriverNotRunning", &[&first_plan, "`spec.changePolicy.approvedPlans`"]).await?;
    looked(&ground.world, &ground.operator, 2).await?;
    untouched(&ground.master)?;
    patch(&ground.world, &json!({"changePolicy": {"approvedPlans": [first_plan]}})).await?;
    let first = ground.runs(&[]).await?;
    ground.master.end_driver(&first, End::Failed, None);
    // What was approved was the driver before this one.
    let (second_plan, _) = asked(&ground, &first_plan).await?;
    looked(&ground.world, &ground.operator, 2).await?;
    ensure!(ground.master.submissions().len() == 1, "an old id was taken: {:?}", ground.master.events());
    patch(&ground.world, &json!({"changePolicy": {"approvedPlans": [first_plan, second_plan]}})).await?;
    ground.runs(&[&first]).await?;
    ground.ends_with(2, 0).await
}

#[tokio::test]
async fn a_driver_that_is_only_watched_is_shown_and_left_alone() -> Result<()> {
    let ground = Ground::new("driver-watched").await?;
    ground.apply(&json!({"mode": "Disabled", "mainClass": CLASS})).await?;
    wait_condition(&ground.world, DEMO, ("SparkReady", "True", "Available")).await?;
    wait_condition(&ground.world, DEMO, ("Ready", "True", "Running")).await?;
    looked(&ground.world, &ground.operator, 4).await?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(ground.master.submit(CLASS, 0).await);
    }
    ground
        .world
        .wait_until("the drivers to be shown", PATIENCE, async || {
            let object = ground.world.get_json(DEMO.0, DEMO.1).await?;
            let spark = &object["status"]["spark"];
            ensure!(spark["activeDrivers"] == 2 && spark["driver"]["state"] == "RUNNING", "{spark}");
            ensure!(ids.iter().any(|id| spark["driver"]["submissionID"] == id.as_str()), "{spark}");
            Ok(())
        })
        .await?;
    ground.ends_with(0, 0).await?;
    untouched(&ground.master)
}
