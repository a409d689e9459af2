//! What a Secret holds for the driver goes to the master and nowhere else.

use super::{DEMO, Ground, driver, looked, master, operator_with, says, submitted, untouched};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{End, Fate, Kind, Setup};
use logwise_testbed::install;
use logwise_testbed::operator::Options;
use logwise_testbed::oracles::secrets::Canaries;
use logwise_testbed::world::World;
use logwise_tests::{wait_condition, write_secret};
use serde_json::{Value, json};
use std::time::Duration;

/// Values that must be nowhere: those of the first Secret, and the one that takes the place of the second of them.
const CANARIES: [&str; 3] = ["AKIACANARYDRIVER0001", "canary-driver-secret-4c7e", "canary-driver-later-b81f"];

/// Longer than a Secret is remembered.
const REMEMBERED: Duration = Duration::from_secs(6);

/// Everything that anybody has to say.
async fn talkative(name: &str) -> Result<Ground> {
    let world = World::new(&Bed::attach()?, name).await?;
    let master = master(&world.bed, Setup::default()).await?;
    let operator = operator_with(&world, Options::default().env("RUST_LOG", "trace")).await?;
    Ok(Ground { operator, master, world })
}

/// Errors unless the submission gives this value to the driver and to its executors.
fn gives(body: &Value, name: &str, value: &str) -> Result<()> {
    // The text may hold secrets: it is not shown.
    ensure!(body["environmentVariables"][name] == value, "the driver does not get {name}");
    ensure!(body["sparkProperties"][format!("spark.executorEnv.{name}")] == value, "executors do not get {name}");
    Ok(())
}

/// A submission whose answer is lost, a driver that fails with words of its own, and one that follows with a changed
/// Secret.
#[tokio::test]
async fn the_keys_of_a_secret_reach_driver_and_executors_and_are_written_nowhere() -> Result<()> {
    let ground = talkative("driver-keys").await?;
    let Ground { operator, master, world } = &ground;
    install::tenant(&world.bed, &world.namespace, &["job"]).await?;
    let with = json!({"supervise": false, "environment": {"TZ": "UTC"}, "environmentSecretRef": {"name": "job"}});
    ground.apply(&driver(&with)).await?;
    let words = ["spec.spark.driver.environmentSecretRef.name", "Secret job"];
    says(world, "demo", "SecretNotFound", &words).await?;
    wait_condition(world, DEMO, ("Stalled", "True", "SecretNotFound")).await?;
    looked(world, operator, 1).await?;
    untouched(master)?;
    master.drop_answers(Kind::Create, 1);
    write_secret(world, "job", &json!({"AWS_ACCESS_KEY_ID": CANARIES[0], "AWS_SECRET_ACCESS_KEY": CANARIES[1]}))
        .await?;
    let first = ground.runs(&[]).await?;
    let bodies = master.submissions();
    let body = bodies.first().context("no submission")?;
    gives(body, "AWS_ACCESS_KEY_ID", CANARIES[0])?;
    gives(body, "AWS_SECRET_ACCESS_KEY", CANARIES[1])?;
    ensure!(body["environmentVariables"]["TZ"] == "UTC", "the plain variable is gone");
    // A changed Secret is nothing to end a driver for; the next one gets it.
    write_secret(world, "job", &json!({"AWS_ACCESS_KEY_ID": CANARIES[0], "AWS_SECRET_ACCESS_KEY": CANARIES[2]}))
        .await?;
    tokio::time::sleep(REMEMBERED).await;
    ensure!(submitted(master) == 1, "a changed Secret has begun a driver");
    master.end_driver(&first, End::Error, Some("java.lang.IllegalStateException: no"));
    let second = ground.runs(&[&first]).await?;
    gives(master.submissions().get(1).context("no second submission")?, "AWS_SECRET_ACCESS_KEY", CANARIES[2])?;
    ensure!(ground.shown().await?["submissionID"] == second.as_str(), "another one is shown");
    ground.ends_with(2, 0).await?;
    let log = operator.log()?;
    // Words that are nowhere in a silent log prove nothing.
    for target in ["hyper", "kube_client", "logwise_runtime"] {
        ensure!(log.contains(&format!("\"target\":\"{target}")), "{target} has said nothing");
    }
    Canaries::new(&CANARIES)?.nowhere(world, &[operator]).await
}

#[tokio::test]
async fn without_the_tenants_role_no_secret_is_read_and_no_driver_submitted() -> Result<()> {
    // Its first looks are refused by the API server: the audit of the test run looks for that name.
    let ground = talkative("denied-secret").await?;
    let Ground { operator, master, world } = &ground;
    write_secret(world, "job", &json!({"TOKEN_OF_THE_JOB": CANARIES[1]})).await?;
    ground.apply(&driver(&json!({"environmentSecretRef": {"name": "job"}}))).await?;
    let words = ["spec.spark.driver.environmentSecretRef.name", "create role"];
    says(world, "demo", "SecretForbidden", &words).await?;
    looked(world, operator, 1).await?;
    untouched(master)?;
    install::tenant(&world.bed, &world.namespace, &["job"]).await?;
    ground.runs(&[]).await?;
    gives(master.submissions().first().context("no submission")?, "TOKEN_OF_THE_JOB", CANARIES[1])?;
    ground.ends_with(1, 0).await?;
    Canaries::new(&CANARIES[1..2])?.nowhere(world, &[operator]).await
}

/// A driver that fails at once tells why, also in the condition: what the operator itself has given it is not in there.
#[tokio::test]
async fn a_failing_drivers_text_is_told_and_its_environment_is_not() -> Result<()> {
    let ground = talkative("driver-fails-keys").await?;
    let Ground { operator, master, world } = &ground;
    install::tenant(&world.bed, &world.namespace, &["job"]).await?;
    write_secret(world, "job", &json!({"AWS_SECRET_ACCESS_KEY": CANARIES[1]})).await?;
    let exception = "java.lang.Error: no such bucket".to_owned();
    master.set_fate(Some(Fate { times: 9, end: End::Error, exception: Some(exception) }));
    ground.apply(&driver(&json!({"environmentSecretRef": {"name": "job"}}))).await?;
    says(world, "demo", "DriverNotRunning", &["java.lang.Error: no such bucket"]).await?;
    ground.ends_with(2, 0).await?;
    Canaries::new(&CANARIES[1..2])?.nowhere(world, &[operator]).await
}
