//! A query that stands still although there are records to read: its driver is restarted, once.

use super::{DEMO, LOOKS, driver, killed, looked, master, operator, pipeline, runs, says, submitted};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::Setup as FakeSetup;
use logwise_testbed::profile::Part;
use logwise_testbed::spark::Driver;
use logwise_testbed::spark_cluster::{Setup, SparkCluster};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::stream::{Job, MAIN_CLASS};
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, cluster, events, is_proving, turn_of_spark, turn_to_prove};
use serde_json::{Value, json};
use std::time::Duration;

/// The shortest time after which a query counts as standing still.
const STALLED: u64 = 30;

/// Longer than that, and no longer than the shortest pause before a restart is tried again.
const AS_LONG_AGAIN: Duration = Duration::from_secs(2 * STALLED);

/// Kafka and bucket of the world, and this driver at these masters: then it is known how far the query has come.
fn whole(world: &World, masters: &Value, driver: &Value) -> Value {
    let mut object = cluster(world, "demo");
    object["spec"]["spark"] = pipeline("demo", masters, driver)["spec"]["spark"].clone();
    object
}

/// Waits until a driver was killed for its query, as the event tells.
async fn killed_for_its_query(world: &World, id: &str) -> Result<()> {
    world
        .wait_until("the driver to be killed", PATIENCE, async || {
            let told = events(world, "demo", "DriverKilled").await?;
            ensure!(told.len() == 1 && told[0].contains(id) && told[0].contains("stands still"), "{told:?}");
            Ok(())
        })
        .await
}

/// The real job on a real master, paused by the test. In `make prove` it stays so for a while after its restart.
#[tokio::test]
async fn a_real_query_that_stands_still_is_restarted_once_and_goes_on() -> Result<()> {
    let _turn = turn_of_spark().await;
    let bed = Bed::attach_with(&[Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark])?;
    let world = World::new(&bed, "stall-real").await?;
    let (spark, _) = futures::try_join!(
        SparkCluster::start(&world.bed, "stall", Setup::default()),
        // As many as the pipeline asks for: nothing else is to change here.
        world.create_topic("web", 3),
    )?;
    world.produce("web", 100, false).await?;
    world.create_group_at(&spark, (1, 1, 1)).await?;
    world.wait_workers(&spark, 1, PATIENCE).await?;
    let job = Job { max_cores: 1, ..world.job(&spark) };
    let mut real = world.driver(&job)?;
    real["stalledTimeoutSeconds"] = json!(STALLED);
    apply(&world, &[&whole(&world, &spark.masters(), &real)]).await?;
    let operator = operator(&world).await?;
    let first = runs(&world, "demo", &[]).await?;
    let before = world.wait_batch(0, PATIENCE).await?;
    world.pause_job().await?;
    world.produce("web", 50, false).await?;
    let limit = format!("no batch was committed for more than {STALLED} s although there are records to read");
    says(&world, "demo", "DriverStalled", &[&first, &limit]).await?;
    killed_for_its_query(&world, &first).await?;
    if is_proving() {
        runs_or_stands(&world, &first).await?;
        says(&world, "demo", "DriverStalled", &["A restart has not helped"]).await?;
        tokio::time::sleep(AS_LONG_AGAIN).await;
    }
    world.resume_job().await?;
    let second = runs(&world, "demo", &[&first]).await?;
    let after = world.wait_batch(before.batch + 1, PATIENCE).await?;
    ensure!(after.read > before.read, "{after:?} after {before:?}");
    looked(&world, &operator, LOOKS).await?;
    ensure!(runs(&world, "demo", &[]).await? == second, "restarted again");
    let page = spark.overview().await?;
    let of_job = |driver: &&Driver| driver.mainclass == MAIN_CLASS;
    let over: Vec<_> = page.completeddrivers.iter().filter(of_job).map(|one| (&one.id, one.state.as_str())).collect();
    ensure!(over == [(&first, "KILLED")], "{page:?}");
    ensure!(page.activedrivers.iter().filter(of_job).count() == 1, "{page:?}");
    let told = (events(&world, "demo", "DriverKilled").await?, events(&world, "demo", "DriverResubmitted").await?);
    ensure!(told.0.len() == 1 && told.1.len() == 1, "{told:?}");
    replayed(&world).await
}

/// Waits until another driver than this one is shown as running, whatever its query does.
async fn runs_or_stands(world: &World, before: &str) -> Result<String> {
    world
        .wait_until("another driver to be launched", PATIENCE, async || {
            let object = world.get_json(DEMO.0, DEMO.1).await?;
            let driver = &object["status"]["spark"]["driver"];
            let id = driver["submissionID"].as_str().context("no id")?;
            ensure!(driver["state"] == "RUNNING" && id != before, "{driver}");
            Ok(id.to_owned())
        })
        .await
}

/// What a query of three partitions that has read so much of each leaves in its checkpoint with a batch.
async fn commit(world: &World, batch: u32, read: u32) -> Result<()> {
    let folder = "checkpoint/application";
    let offsets: Value = (0..3).map(|partition: u32| (partition.to_string(), json!(read))).collect();
    let now = jiff::Timestamp::now().as_millisecond();
    let about = json!({"batchWatermarkMs": 0, "batchTimestampMs": now, "conf": {}});
    let topic = world.topic("web");
    let log = format!("v1\n{about}\n{}", json!({topic: offsets}));
    let objects = [
        NewObject::text(&format!("{folder}/metadata"), r#"{"id":"6f1d4c1e-0000-4000-8000-000000000007"}"#),
        NewObject::text(&format!("{folder}/offsets/{batch}"), &log),
        NewObject::text(&format!("{folder}/commits/{batch}"), "v1\n{\"nextBatchWatermarkMs\":0}"),
    ];
    world.put_objects(&objects).await
}

/// In `make prove` only: a query that stands still in spite of its restart is left alone until it has moved or the
/// pause is over. The fake master runs no query: the test commits its batches.
#[tokio::test]
async fn a_restart_that_does_not_help_is_not_repeated() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let world = World::new(&Bed::attach()?, "stall-vain").await?;
    let master = master(&world.bed, FakeSetup::default()).await?;
    world.create_topic("web", 3).await?;
    world.produce("web", 300, false).await?;
    commit(&world, 0, 0).await?;
    let operator = operator(&world).await?;
    let stalls = driver(&json!({"stalledTimeoutSeconds": STALLED}));
    apply(&world, &[&whole(&world, &master.masters(), &stalls)]).await?;
    let first = runs(&world, "demo", &[]).await?;
    killed_for_its_query(&world, &first).await?;
    let second = runs_or_stands(&world, &first).await?;
    says(&world, "demo", "DriverStalled", &[&second, "A restart has not helped"]).await?;
    tokio::time::sleep(AS_LONG_AGAIN).await;
    looked(&world, &operator, LOOKS).await?;
    ensure!(submitted(&master) == 2 && killed(&master) == [first.clone()], "in a loop: {:?}", master.events());
    commit(&world, 1, 1).await?;
    ensure!(runs(&world, "demo", &[]).await? == second, "another one");
    looked(&world, &operator, LOOKS).await?;
    ensure!(submitted(&master) == 2 && killed(&master) == [first], "{:?}", master.events());
    replayed(&world).await
}
