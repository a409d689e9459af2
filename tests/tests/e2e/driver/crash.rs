//! `kill -9` at every call of a way up and down again: more workers, a driver, fewer workers. After a restart the end
//! is that of a run without a crash, and what was done to the group, the Deployment and the master was done once.

use super::{CLASS, DEMO, driver, quiet};
use crate::replicas::intents;
use anyhow::{Context, Result, ensure};
use logwise_testbed::audit;
use logwise_testbed::bed::Bed;
use logwise_testbed::crash::lives::Lives;
use logwise_testbed::crash::{Counts, Point, sweep};
use logwise_testbed::fake_master::{FakeMaster, Setup};
use logwise_testbed::install;
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::end_state::EndState;
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::workers::{Machines, spared};
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, is_proving, turn_to_prove, wait_condition};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::OnceCell;

/// The name in deploy/components/tenant-workers.
const DEPLOYMENT: &str = "spark-worker";

/// Runs side by side in `make prove`: more would only wait for two cores.
const AT_ONCE: usize = 5;

/// What runs the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Group,
    Deployment,
}

/// Points tried in `make test`. Of Kubernetes: an intent that was written down. Of the master: the submission and the
/// cordon; of the group: its protection, that of its instances, the raise and the end of an instance; of the
/// Deployment: its raise, the cost of the driver's pod and of the one that goes, and the end of that. Not
/// `spark:1:before`: a submission that was never sent is waited for half a minute.
const SAMPLE: [(Pool, &str); 7] = [
    (Pool::Group, "kubernetes:2:after"),
    (Pool::Group, "spark:1:effect"),
    (Pool::Group, "spark:2:after"),
    (Pool::Group, "autoscaling:3:effect"),
    (Pool::Group, "autoscaling:4:before"),
    (Pool::Group, "autoscaling:4:effect"),
    (Pool::Deployment, "deployments:4:effect"),
];

/// Systems at each of whose calls an operator ends in `make prove`. Points of all others are those of any path.
const SYSTEMS: [(Pool, &[&str]); 2] =
    [(Pool::Group, &["autoscaling", "spark", "kubernetes"]), (Pool::Deployment, &["deployments", "spark"])];

/// Where the operator of one run ends.
struct Story(Pool, Point);

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0, self.1)
    }
}

/// How a run ended.
struct End {
    state: EndState,
    effects: Effects,
    /// How often the Deployment was scaled.
    scaled: usize,
    counts: Counts,
}

/// What is compared with, and what was found out on the way.
#[derive(Default)]
struct Trial {
    group: OnceCell<End>,
    deployment: OnceCell<End>,
    /// Crashes that took place.
    crashes: AtomicUsize,
}

impl Trial {
    async fn faultless(&self, pool: Pool) -> Result<&End> {
        let cell = match pool {
            Pool::Group => &self.group,
            Pool::Deployment => &self.deployment,
        };
        cell.get_or_try_init(|| run(pool, &[], None)).await
    }

    /// Walks with this crash and compares the end with that of a walk without.
    async fn try_story(&self, Story(pool, point): &Story) -> Result<()> {
        let faultless = self.faultless(*pool).await?;
        let points = std::slice::from_ref(point);
        let end = run(*pool, points, Some((&self.crashes, &faultless.state))).await?;
        end.effects.same_as(&faultless.effects)?;
        ensure!(end.scaled == faultless.scaled, "the Deployment was scaled {} times", end.scaled);
        Ok(())
    }
}

/// Walks while operators end at `points`; then the end is to become that of a run without crashes.
async fn run(pool: Pool, points: &[Point], faultless: Option<(&AtomicUsize, &EndState)>) -> Result<End> {
    let world = World::new(&Bed::attach()?, "crash-spark").await?;
    let (url, audited) = (world.create_schema().await?, audit::end(&world.bed)?);
    let master = workers_of(&world, pool).await?;
    let mut lives = Lives::new(&world, &url, points).await?.with_master(master.address()).await?;
    let masters = json!([lives.master().context("no proxy before the master")?.spec()]);
    let operator = lives.through(walk(&world, pool, &masters)).await?;
    if let Some((crashes, faultless)) = faultless {
        crashes.fetch_add(lives.ended(), Ordering::Relaxed);
        ensure!(lives.ended() == 1, "the operator never came to this point");
        world.wait_until("the end", PATIENCE, async || EndState::of(&world).await?.same_as(faultless)).await?;
    }
    if faultless.is_none() || is_proving() {
        quiet(&world, &operator, &master).await?;
    }
    kept(&world, &Bounds { desired: 2, max: 4, ..Bounds::default() }).await?;
    spared(&world, &Machines::of(&master), &master.stays()).await?;
    replayed(&world).await?;
    let (state, effects) = futures::try_join!(EndState::of(&world), Effects::of(&world))?;
    let scaled = scaled(&world, audited)?;
    Ok(End { state, effects: effects.with_master(&master), scaled, counts: lives.counts()? })
}

/// Two workers, and a master that has them.
async fn workers_of(world: &World, pool: Pool) -> Result<FakeMaster> {
    match pool {
        Pool::Group => {
            world.create_group(1, 4, 2).await?;
            world.fake_master(Setup::default()).await
        }
        Pool::Deployment => {
            install::tenant_workers(&world.bed, &world.namespace).await?;
            world.create_deployment(DEPLOYMENT, 2).await?;
            world.fake_master_of_pods(&world.worker_selector(DEPLOYMENT), Setup::default()).await
        }
    }
}

/// The pipeline with so many workers.
fn pipeline(world: &World, pool: Pool, masters: &Value, replicas: usize) -> Value {
    let mut object = super::pipeline("demo", masters, &driver(&json!({})));
    object["spec"]["spark"]["workers"] = match pool {
        Pool::Group => json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": world.group}}),
        Pool::Deployment => json!({"type": "Deployment", "deployment": {"name": DEPLOYMENT}}),
    };
    object["spec"]["spark"]["workers"]["replicas"] = json!(replicas);
    if pool == Pool::Group {
        object["spec"]["aws"] = json!({"region": world.bed.aws.region});
    }
    object
}

/// Up to three workers with a driver, and down to two.
async fn walk(world: &World, pool: Pool, masters: &Value) -> Result<()> {
    for replicas in [3, 2] {
        apply(world, &[&pipeline(world, pool, masters, replicas)]).await?;
        reached(world, pool, replicas).await?;
        wait_condition(world, DEMO, ("SparkReady", "True", "DriverRunning")).await?;
        wait_condition(world, DEMO, ("Ready", "True", "Running")).await?;
    }
    closed(world).await
}

async fn reached(world: &World, pool: Pool, replicas: usize) -> Result<()> {
    world
        .wait_until(&format!("{replicas} workers"), PATIENCE, async || {
            let there = match pool {
                Pool::Group => {
                    let group = world.group(&world.group).await?;
                    let wanted = usize::try_from(group.desired)?;
                    ensure!(wanted == replicas, "{wanted} are wanted");
                    world.hosts().await?.len()
                }
                Pool::Deployment => world.worker_pods(DEPLOYMENT).await?.len(),
            };
            ensure!(there == replicas, "there are {there}");
            Ok(())
        })
        .await
}

/// Nothing is left that a later operator would have to judge, and nothing was given up.
async fn closed(world: &World) -> Result<()> {
    world
        .wait_until("every record to be closed", PATIENCE, async || {
            let records: Vec<Value> = intents(world).await?.into_iter().map(|(_, record)| record).collect();
            ensure!(records.len() == 2, "not of the driver and of what runs the workers: {records:?}");
            ensure!(records.iter().all(|record| record["state"] == "Done"), "{records:?}");
            let named = |record: &&Value| record["resource"].as_str().is_some_and(|name| name.ends_with(CLASS));
            let id = &records.iter().find(named).context("no record of the driver")?["effect"]["parts"];
            ensure!(id.as_array().is_some_and(|ids| ids.len() == 1), "not one driver: {id}");
            Ok(())
        })
        .await
}

/// How often somebody has set the number of pods of the Deployment, by the API server's own log.
fn scaled(world: &World, since: audit::Mark) -> Result<usize> {
    let log = audit::since(&world.bed, Some(since))?;
    let events = log.lines().filter(|line| line.contains(&world.namespace)).filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let of = &event["objectRef"];
        let is_scale = of["resource"] == "deployments" && of["subresource"] == "scale";
        let ours = is_scale && of["namespace"] == world.namespace.as_str() && event["verb"] == "patch";
        (ours && event["responseStatus"]["code"] == 200).then_some(())
    });
    Ok(events.count())
}

#[tokio::test]
async fn a_sample_of_the_calls_heals() -> Result<()> {
    let stories = SAMPLE.map(|(pool, point)| point.parse().map(|point| Story(pool, point)));
    let stories: Vec<Story> = stories.into_iter().collect::<Result<_>>()?;
    let (trial, number) = (Trial::default(), stories.len());
    sweep(stories, number, async |story| trial.try_story(story).await).await?;
    ensure!(trial.crashes.into_inner() == number, "not one crash in each run");
    Ok(())
}

/// In `make prove` only: all points take minutes.
#[tokio::test]
async fn every_call_heals() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let (trial, began) = (Trial::default(), Instant::now());
    let mut stories = Vec::new();
    for (pool, systems) in SYSTEMS {
        let counts = &trial.faultless(pool).await?.counts;
        let absent: Vec<_> = systems.iter().filter(|one| counts.0.get(**one).is_none_or(|count| *count == 0)).collect();
        ensure!(absent.is_empty(), "{pool:?}: nothing was written to {absent:?}: {counts:?}");
        let points = counts.points().filter(|point| systems.contains(&point.system.as_str()));
        stories.extend(points.map(|point| Story(pool, point)));
    }
    let tried = stories.len();
    let swept = sweep(stories, AT_ONCE, async |story| trial.try_story(story).await).await;
    let (crashes, seconds) = (trial.crashes.load(Ordering::Relaxed), began.elapsed().as_secs());
    // For the record, past the test's own capture.
    writeln!(std::io::stdout(), "calls of workers and driver: {tried} runs, {crashes} crashes, {seconds} s")?;
    swept
}
