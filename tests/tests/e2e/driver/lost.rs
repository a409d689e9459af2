//! Calls of which nobody knows whether they were carried out: what came of them is found before another one is made.

use super::{CLASS, Ground, driver, killed, master, operator, pipeline, quiet, runs, submitted};
use crate::replicas::intent;
use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{End, Fate, Kind, Setup};
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, counted, events, turn_to_prove};
use serde_json::{Value, json};

/// Waits until the record of the driver is closed, and returns it.
async fn closed(world: &World) -> Result<Value> {
    world
        .wait_until("the record of the driver to be closed", PATIENCE, async || {
            let (_, record) = intent(world, "driver/").await?;
            ensure!(record["state"] == "Done", "it is {record}");
            Ok(record)
        })
        .await
}

#[tokio::test]
async fn a_submission_whose_answer_was_lost_is_found_and_not_repeated() -> Result<()> {
    let ground = Ground::new("driver-answer").await?;
    ground.master.drop_answers(Kind::Create, 1);
    ground.apply(&driver(&json!({}))).await?;
    let id = ground.runs(&[]).await?;
    let record = closed(&ground.world).await?;
    ensure!(record["effect"]["parts"] == json!([id]) && record["wish"]["targets"]["kind"] == "submit", "{record}");
    ground.ends_with(1, 0).await?;
    let told = events(&ground.world, "demo", "DriverSubmitted").await?;
    ensure!(told.len() == 1 && told[0].contains(&id) && told[0].contains("the answer was lost"), "{told:?}");
    let metrics = ground.operator.metrics().await?;
    let submissions = ("logwise_spark_driver_submissions_total", "result=\"unknown\"");
    ensure!(counted(&metrics, &ground.world, "demo", submissions) == 1, "{metrics}");
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_driver_whose_answer_was_lost_is_seen_and_not_asked_for_again() -> Result<()> {
    let ground = Ground::new("driver-end-lost").await?;
    ground.apply(&driver(&json!({}))).await?;
    let ours = ground.runs(&[]).await?;
    ground.master.drop_answers(Kind::Kill, 1);
    let extra = ground.master.submit(CLASS, 1).await;
    let record = ground
        .world
        .wait_until("the record of the end to be closed", PATIENCE, async || {
            let record = closed(&ground.world).await?;
            ensure!(record["wish"]["targets"]["kind"] == "kill", "{record}");
            Ok(record)
        })
        .await?;
    ensure!(record["wish"]["targets"]["id"] == extra.as_str(), "{record}");
    ensure!(ground.runs(&[]).await? == ours && killed(&ground.master) == [extra], "{:?}", ground.master.events());
    ground.ends_with(1, 1).await
}

/// In `make prove` only: it takes long until a driver that does not show counts as never submitted.
#[tokio::test]
async fn a_submission_that_never_arrived_is_made_again() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let world = World::new(&Bed::attach()?, "driver-never").await?;
    let master = master(&world.bed, Setup::default()).await?;
    let proxy = world.master_proxy(master.address()).await?;
    let rule = proxy.http.add(Rule::new("^/v1/submissions/create", Action::DropBefore)?);
    let operator = operator(&world).await?;
    apply(&world, &[&pipeline("demo", &proxy.masters(), &driver(&json!({})))]).await?;
    runs(&world, "demo", &[]).await?;
    quiet(&world, &operator, &master).await?;
    ensure!(proxy.http.hits(rule) == 1 && submitted(&master) == 1, "{:?}", proxy.http.requests());
    replayed(&world).await
}

/// In `make prove` only. It was ours all the same, and the next one is no repetition of it.
#[tokio::test]
async fn a_driver_that_ended_before_anybody_knew_of_it_is_found() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let ground = Ground::new("driver-short").await?;
    let exception = Some("java.lang.IllegalStateException: no".to_owned());
    ground.master.set_fate(Some(Fate { times: 1, end: End::Error, exception }));
    ground.master.drop_answers(Kind::Create, 1);
    ground.apply(&driver(&json!({}))).await?;
    let second = ground.runs(&[]).await?;
    ground.ends_with(2, 0).await?;
    let told = (
        events(&ground.world, "demo", "DriverSubmitted").await?,
        events(&ground.world, "demo", "DriverResubmitted").await?,
    );
    ensure!(told.0.len() == 1 && told.0[0].contains("the answer was lost"), "{told:?}");
    ensure!(told.1.len() == 1 && told.1[0].contains(&second), "{told:?}");
    Ok(())
}
