//! Two operators, of which one stands still in the midst of a change and wakes when the other has led for ten Lease
//! times: what it was about to do was done once meanwhile, and is not done again. In `make prove` only.

use super::{driver, killed, looked, master, pipeline, quiet, runs, submitted};
use crate::replicas::{LEASE, elected, intent, wait_follows, wait_leads};
use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::crash::sweep;
use logwise_testbed::fake_master::{FakeMaster, Setup};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::workers::{Machines, spared};
use logwise_testbed::proc;
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, raises, turn_to_prove, wait_desired};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long the other one leads before the first one wakes.
const MEANWHILE: Duration = Duration::from_secs(10 * LEASE);

/// Worlds side by side.
const AT_ONCE: usize = 4;

/// Where the leader stands still on its way to fewer workers. Before that it has made three records each of the
/// protection of new instances and of those that there are, and a call of each.
const OF_A_REMOVAL: [&str; 9] = [
    "kubernetes:7:before",
    "kubernetes:7:after",
    "spark:1:before",
    "spark:1:after",
    "kubernetes:8:before",
    "kubernetes:8:after",
    "autoscaling:3:before",
    "autoscaling:3:after",
    "kubernetes:9:before",
];

/// Where it stands still on its way to a driver.
const OF_A_SUBMISSION: [&str; 6] = [
    "kubernetes:1:after",
    "kubernetes:2:before",
    "kubernetes:2:after",
    "spark:1:before",
    "spark:1:after",
    "kubernetes:3:before",
];

/// A replica that looks at Spark every second, and perhaps stands still at a point.
async fn replica(world: &World, url: &str, pause_at: Option<&str>) -> Result<Operator> {
    let mut config = elected(url);
    config["intervals"] = json!({"sparkSeconds": 1});
    let options = Options::config(config);
    let options = match pause_at {
        Some(point) => options.env("LOGWISE_PAUSE_AT", point),
        None => options,
    };
    let mut operator = Operator::start(world, options).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// Waits until the process stands still, and tells since when at the latest.
async fn stands_still(world: &World, operator: &Operator) -> Result<Instant> {
    world
        .wait_until("the leader to stand still", PATIENCE, async || {
            ensure!(proc::stands_still(operator.pid())?, "it moves");
            Ok(Instant::now())
        })
        .await
}

/// A pipeline of so many workers in the world's group.
fn workers(world: &World, masters: &Value, replicas: u32) -> Value {
    let mut object = pipeline("demo", masters, &Value::Null);
    object["spec"]["aws"] = json!({"region": world.bed.aws.region});
    object["spec"]["spark"] = json!({
        "masters": masters,
        "workers": {
            "type": "AutoScalingGroup",
            "autoScalingGroup": {"name": world.group},
            "replicas": replicas,
        },
    });
    object
}

/// Waits until every change of the group is closed, and all of its instances are protected.
async fn closed(world: &World) -> Result<()> {
    world
        .wait_until("every record to be closed", PATIENCE, async || {
            let (_, record) = intent(world, "group/").await?;
            ensure!(matches!(record["state"].as_str(), Some("Done" | "Superseded")), "{record}");
            let group = world.group(&world.group).await?;
            ensure!(group.instances.iter().all(|instance| instance.protected), "{group:?}");
            Ok(())
        })
        .await
}

/// How often this was done, to the group or to the master.
async fn done(world: &World, master: &FakeMaster, action: &str) -> Result<usize> {
    let counts = Effects::of(world).await?.with_master(master).counts();
    Ok(counts.into_iter().filter(|((_, done), _)| done == action).map(|(_, count)| count).sum())
}

async fn paused_in_a_removal(point: &str) -> Result<()> {
    let world = World::new(&Bed::attach()?, "paused-in").await?;
    world.create_group(1, 4, 3).await?;
    let (url, master) = (world.create_schema().await?, world.fake_master(Setup::default()).await?);
    let masters = master.masters();
    apply(&world, &[&workers(&world, &masters, 3)]).await?;
    let first = replica(&world, &url, Some(point)).await?;
    wait_leads(&world, &first).await?;
    closed(&world).await?;
    let second = replica(&world, &url, None).await?;
    apply(&world, &[&workers(&world, &masters, 2)]).await?;
    let paused = stands_still(&world, &first).await?;
    wait_leads(&world, &second).await?;
    wait_desired(&world, 2).await?;
    closed(&world).await?;
    sleep_until(paused + MEANWHILE).await;
    first.resume().await?;
    wait_follows(&world, &first).await?;
    looked(&world, &second, 5).await?;
    let once = async |what: &str, times: usize| -> Result<()> {
        for action in ["TerminateInstanceInAutoScalingGroup", "Decommission"] {
            let count = done(&world, &master, action).await?;
            ensure!(count == times, "{action} took effect {count} times {what}: {:?}", master.events());
        }
        Ok(())
    };
    once("around the pause", 1).await?;
    ensure!(world.group(&world.group).await?.desired == 2, "another size");
    apply(&world, &[&workers(&world, &masters, 3)]).await?;
    wait_desired(&world, 3).await?;
    apply(&world, &[&workers(&world, &masters, 2)]).await?;
    wait_desired(&world, 2).await?;
    closed(&world).await?;
    once("in all", 2).await?;
    ensure!(raises(&world).await? == 1, "{} raises", raises(&world).await?);
    spared(&world, &Machines::of(&master), &master.stays()).await?;
    kept(&world, &Bounds { desired: 3, max: 4, ..Bounds::default() }).await?;
    replayed(&world).await
}

async fn paused_in_a_submission(point: &str) -> Result<()> {
    let world = World::new(&Bed::attach()?, "paused-submit").await?;
    let (url, master) = (world.create_schema().await?, master(&world.bed, Setup::default()).await?);
    apply(&world, &[&pipeline("demo", &master.masters(), &driver(&json!({})))]).await?;
    let first = replica(&world, &url, Some(point)).await?;
    let paused = stands_still(&world, &first).await?;
    let second = replica(&world, &url, None).await?;
    let id = runs(&world, "demo", &[]).await?;
    sleep_until(paused + MEANWHILE).await;
    first.resume().await?;
    wait_follows(&world, &first).await?;
    ensure!(runs(&world, "demo", &[]).await? == id, "another one");
    quiet(&world, &second, &master).await?;
    ensure!(submitted(&master) == 1 && killed(&master).is_empty(), "{:?}", master.events());
    replayed(&world).await
}

#[tokio::test]
async fn a_leader_that_was_paused_in_a_removal_removes_nothing_when_it_wakes() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    sweep(OF_A_REMOVAL, AT_ONCE, async |point| paused_in_a_removal(point).await).await
}

#[tokio::test]
async fn a_leader_that_was_paused_in_a_submission_submits_nothing_when_it_wakes() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    sweep(OF_A_SUBMISSION, AT_ONCE, async |point| paused_in_a_submission(point).await).await
}
