//! A spec that names another class or other masters while the driver runs: the old driver and a new one are never there
//! at once.

use super::{CLASS, DEMO, Ground, driver, killed, looked, master, operator, patch, quiet, says, submitted, untouched};
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::fake_master::{End, FakeMaster, Setup};
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, condition, wait_condition};
use serde_json::json;

/// The class that the spec names later.
const NEXT: &str = "com.example.Next";

/// Waits until the driver runs and the message says so in these words.
async fn runs_as(ground: &Ground, words: &[&str]) -> Result<()> {
    ground
        .world
        .wait_until(&format!("a driver that runs, with {words:?}"), PATIENCE, async || {
            let object = ground.world.get_json(DEMO.0, DEMO.1).await?;
            let ready = condition(&object, "SparkReady").context("no SparkReady")?;
            ensure!(ready["status"] == "True" && ready["reason"] == "DriverRunning", "{ready}");
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(words.iter().all(|word| message.contains(word)), "{message}");
            Ok(())
        })
        .await
}

/// Errors when two drivers were on workers of these masters at once.
fn one_at_a_time(masters: &[&FakeMaster]) -> Result<()> {
    let mut stays: Vec<_> = masters.iter().flat_map(|master| master.stays()).collect();
    stays.sort_unstable_by_key(|stay| stay.from);
    for pair in stays.windows(2) {
        ensure!(pair[0].to.is_some_and(|end| end <= pair[1].from), "two drivers at once: {pair:?}");
    }
    Ok(())
}

/// The operator begins anew in between: what it knows of the class before stands in its records.
#[tokio::test]
async fn a_changed_class_counts_for_the_next_driver_and_none_is_submitted_beside_the_one_before() -> Result<()> {
    let mut ground = Ground::new("driver-class").await?;
    ground.apply(&driver(&json!({"supervise": false}))).await?;
    let first = ground.runs(&[]).await?;
    patch(&ground.world, &json!({"spark": {"driver": {"mainClass": NEXT}}})).await?;
    let words = [first.as_str(), CLASS, NEXT, "End it"];
    runs_as(&ground, &words).await?;
    looked(&ground.world, &ground.operator, 4).await?;
    ground.operator.kill9().await?;
    ground.operator = operator(&ground.world).await?;
    looked(&ground.world, &ground.operator, 4).await?;
    runs_as(&ground, &words).await?;
    ensure!(submitted(&ground.master) == 1 && killed(&ground.master).is_empty(), "{:?}", ground.master.events());
    ground.master.end_driver(&first, End::Killed, None);
    let second = ground.runs(&[&first]).await?;
    let bodies = ground.master.submissions();
    ensure!(bodies.len() == 2 && bodies[1]["mainClass"] == NEXT, "{bodies:?}");
    // The class before is anybody's from now on.
    let others = ground.master.submit(CLASS, 0).await;
    ground.ends_with(2, 0).await?;
    let active = ground.master.overview().await?.activedrivers;
    ensure!(active.iter().any(|driver| driver.id == others) && active.len() == 2, "{active:?}");
    let stays = ground.master.stays();
    let end_of = |id: &str| stays.iter().find(|stay| stay.driver == id).and_then(|stay| stay.to);
    let begin = stays.iter().find(|stay| stay.driver == second).context("the second one ran nowhere")?.from;
    ensure!(end_of(&first).is_some_and(|end| end <= begin), "both at once: {stays:?}");
    Ok(())
}

#[tokio::test]
async fn at_other_masters_none_is_submitted_until_a_person_says_that_the_one_before_has_gone() -> Result<()> {
    let mut ground = Ground::new("driver-moved").await?;
    ground.apply(&driver(&json!({"supervise": false}))).await?;
    let first = ground.runs(&[]).await?;
    let there = master(&ground.world.bed, Setup::default()).await?;
    patch(&ground.world, &json!({"spark": {"masters": there.masters()}})).await?;
    let before = format!("{}:{}", ground.master.address().host, ground.master.address().port);
    let words = [first.as_str(), before.as_str(), "may still run", "`spec.changePolicy.approvedPlans`"];
    says(&ground.world, "demo", "DriverNotRunning", &words).await?;
    let object = wait_condition(&ground.world, DEMO, ("Stalled", "True", "ApprovalRequired")).await?;
    let plans = object["status"]["spark"]["pendingPlans"].as_array().cloned().unwrap_or_default();
    let [plan] = plans.as_slice() else { bail!("not one plan: {plans:?}") };
    looked(&ground.world, &ground.operator, 4).await?;
    // Nor does an operator that begins anew submit one, nor the end of a driver that nobody sees.
    ground.operator.kill9().await?;
    ground.operator = operator(&ground.world).await?;
    ground.master.end_driver(&first, End::Killed, None);
    looked(&ground.world, &ground.operator, 4).await?;
    untouched(&there)?;
    let active = async || {
        let page = ground.master.overview().await?;
        ensure!(page.activedrivers.is_empty(), "{page:?}");
        Ok(())
    };
    ground.world.wait_until("the end of the driver", PATIENCE, active).await?;
    patch(&ground.world, &json!({"changePolicy": {"approvedPlans": [plan["id"]]}})).await?;
    ground.runs(&[&first]).await?;
    quiet(&ground.world, &ground.operator, &there).await?;
    ensure!((submitted(&ground.master), submitted(&there)) == (1, 1), "{:?}", there.events());
    ensure!(killed(&ground.master).is_empty() && killed(&there).is_empty(), "{:?}", there.events());
    one_at_a_time(&[&ground.master, &there])?;
    replayed(&ground.world).await
}
