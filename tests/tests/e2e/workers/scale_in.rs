//! Fewer workers: which of them go, and what happens when drivers come at the worst moment.

use super::ledger::{Change, END, ended, raised};
use super::{Ground, Pipeline, Wish, of_workers, replicas};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::{Api, Patch, PatchParams};
use logwise_api::LogwiseCluster;
use logwise_testbed::fake_master::{End, Kind, Landing};
use logwise_testbed::proxy::master::WRITES;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::spark::Overview;
use logwise_testbed::stand_in::{Fault, Mode};
use logwise_tests::{PATIENCE, apply, edits, events, is_proving, wait_events};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Pipelines that play side by side, and how many workers each may have. The stand-in has few addresses.
const PIPELINES: usize = 20;
const MOST: i64 = 4;

/// So many rounds of all of them together, in `make test` and in `make prove`.
const ROUNDS: (usize, usize) = (100, 500);

/// Zones of the stand-in, which share its addresses.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// When a call is carried out once more: not before the test lets it arrive.
const AGAIN: Duration = Duration::from_secs(3_600);

/// When a call is carried out of which nobody gets an answer.
const LATE: Duration = Duration::from_secs(2);

/// Choices that are the same in every run with one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// So many milliseconds, or fewer.
    fn moment(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most))
    }
}

/// Pipeline number so-and-so: two workers at first. Every other one has a master that marks a cordoned worker at once.
async fn player(ground: &Ground, number: usize) -> Result<Pipeline<'_>> {
    let mut wish = Wish::new((1, MOST + 1, 2), &replicas(2));
    wish.zone = ZONES[number % ZONES.len()];
    wish.setup.seed = u64::try_from(number)?;
    if number.is_multiple_of(2) {
        wish.setup.marking = Duration::ZERO;
    }
    Pipeline::new(&ground.world, (&format!("p{number:02}"), ground.port), wish).await
}

#[tokio::test]
async fn in_a_hundred_small_rounds_no_driver_loses_its_worker_and_every_call_is_accounted_for() -> Result<()> {
    let ground = Ground::new("rounds").await?;
    let pipelines = try_join_all((0..PIPELINES).map(|number| player(&ground, number))).await?;
    apply(&ground.world, &pipelines.iter().map(|one| &one.object).collect::<Vec<_>>()).await?;
    let api = Api::namespaced(edits::client(&ground.world.bed).await?, &ground.world.namespace);
    let rounds = if is_proving() { ROUNDS.1 } else { ROUNDS.0 };
    let rounds = rounds / PIPELINES;
    try_join_all(pipelines.iter().zip(0..).map(|(one, seed)| play(&api, one, seed, rounds))).await?;
    let all: Vec<&Pipeline<'_>> = pipelines.iter().collect();
    ground.at_rest(&all).await?;
    ground.ends(&all).await
}

/// Plays rounds: another size each, while a driver that is there all the time goes on, and guests come and go at any
/// moment. Every fourth pipeline has no guests: there each size takes exactly so many calls.
async fn play(api: &Api<LogwiseCluster>, pipeline: &Pipeline<'_>, seed: u64, rounds: usize) -> Result<()> {
    let (mut dice, mut size, mut up, mut down) = (Dice(seed), 2, Vec::new(), 0);
    let has_guests = !seed.is_multiple_of(4);
    settled(pipeline, 1).await?;
    if dice.below(2) == 1 {
        pipeline.master.set_landing(Landing::Random { percent: 50 });
    }
    let lasting = pipeline.drive().await;
    for round in 0..rounds {
        let before = size;
        while size == before {
            size = 1 + i64::try_from(dice.below(u64::try_from(MOST)?))?;
        }
        if size > before {
            up.push(size);
        } else {
            down += before - size;
        }
        let patch = Patch::Merge(json!({"spec": of_workers(&replicas(size))}));
        let patched = api.patch(&pipeline.name, &PatchParams::default(), &patch).await?;
        let generation = patched.metadata.generation.context("no generation")?;
        let times = has_guests.then(|| (dice.moment(1_200), dice.moment(1_500)));
        let what = || format!("{} in round {round} of seed {seed}, from {before} to {size}", pipeline.name);
        futures::try_join!(visit(pipeline, times), settled(pipeline, generation)).with_context(what)?;
        // A guest on every worker that could go is a reason to wait, and a generation that waits for that is told.
        let has = pipeline.world.wait_until("the size", PATIENCE, async || has_exactly(pipeline, size).await);
        has.await.with_context(what)?;
    }
    let page = pipeline.master.overview().await?;
    let runs = page.activedrivers.iter().any(|driver| driver.id == lasting && driver.worker.is_some());
    let stays: Vec<_> = pipeline.master.stays().into_iter().filter(|stay| stay.driver == lasting).collect();
    ensure!(runs && stays.len() == 1 && stays[0].to.is_none(), "{lasting} of {} was ended: {stays:?}", pipeline.name);
    let changes = pipeline.adds_up(2).await?;
    ensure!(changes[..2] == [Change::Newcomers, Change::Protect(2)], "{changes:?}");
    let ends = i64::try_from(ended(&changes).len())?;
    if !has_guests {
        ensure!(raised(&changes) == up && ends == down, "{up:?} up and {down} down were {changes:?}");
    }
    let protections = changes.iter().filter(|one| matches!(one, Change::Newcomers | Change::Protect(_))).count();
    ensure!(protections == 2, "instances were protected once more: {changes:?}");
    Ok(())
}

/// A guest comes, stays and goes.
async fn visit(pipeline: &Pipeline<'_>, times: Option<(Duration, Duration)>) -> Result<()> {
    let Some((comes, stays)) = times else { return Ok(()) };
    tokio::time::sleep(comes).await;
    let guest = pipeline.drive().await;
    tokio::time::sleep(stays).await;
    pipeline.master.end_driver(&guest, End::Finished, None);
    Ok(())
}

/// Waits until this generation is carried out. Asks less often than other waits do: there are many of them.
async fn settled(pipeline: &Pipeline<'_>, generation: i64) -> Result<()> {
    pipeline
        .world
        .wait_until(&format!("generation {generation} of {}", pipeline.name), PATIENCE, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let object = pipeline.shown().await?;
            ensure!(object["status"]["spark"]["settledGeneration"] == generation, "{}", object["status"]["spark"]);
            Ok(())
        })
        .await
}

/// The group wants so many instances and has them, all in service and protected.
async fn has_exactly(pipeline: &Pipeline<'_>, size: i64) -> Result<()> {
    let group = pipeline.group().await?;
    let serve = group.instances.iter().filter(|one| one.lifecycle_state == "InService" && one.protected).count();
    ensure!(group.desired == size && serve == group.instances.len() && i64::try_from(serve)? == size, "{group:?}");
    Ok(())
}

#[tokio::test]
async fn a_driver_that_comes_between_the_look_and_the_cordon_keeps_its_worker() -> Result<()> {
    let ground = Ground::new("landed").await?;
    let world = &ground.world;
    let wish = Wish::new((1, 6, 3), &replicas(3));
    let mut pipeline = Pipeline::new(world, ("demo", ground.port), wish).await?;
    let proxy = world.master_proxy(pipeline.master.address()).await?;
    pipeline.object["spec"]["spark"]["masters"] = proxy.masters();
    apply(world, &[&pipeline.object]).await?;
    pipeline.settled().await?;

    pipeline.master.set_landing(Landing::Held);
    let frozen = proxy.http.add(Rule::new(WRITES, Action::Freeze)?);
    pipeline.patch(&of_workers(&replicas(2))).await?;
    let host = world
        .wait_until("a cordon that is on its way", PATIENCE, async || {
            let requests = proxy.http.requests();
            let path = requests.iter().find_map(|one| one.path.strip_prefix("/workers/kill/?host="));
            path.map(str::to_owned).context("no cordon yet")
        })
        .await?;
    let id = pipeline.instances().await?.remove(&host).context("no instance there")?;
    let driver = pipeline.drive().await;
    pipeline.master.land(&driver, Some(&host)).await?;
    proxy.http.remove(frozen);

    let given_up = async || {
        let object = pipeline.shown().await?;
        let line = object["status"]["spark"]["lastDecision"].as_str().unwrap_or_default();
        ensure!(line.contains(&format!("the driver runs on {id}")), "{line}");
        ensure!(object["status"]["spark"]["removing"].is_null(), "{}", object["status"]["spark"]);
        ensure!(pipeline.master.overview().await?.state_of(&host) == Some("DECOMMISSIONED"), "not marked yet");
        Ok(())
    };
    world.wait_until("the removal to be given up", PATIENCE, given_up).await?;
    ground.at_rest(&[&pipeline]).await?;
    ensure!(ended(&pipeline.changes().await?).is_empty(), "{:?}", pipeline.changes().await?);
    let capacity = pipeline.master.overview().await?.alive_hosts().len();
    ensure!(capacity == 2, "{capacity} workers take drivers and executors");

    // What was cordoned for nothing goes as soon as it may, and no other.
    pipeline.master.end_driver(&driver, End::Finished, None);
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    let changes = pipeline.adds_up(3).await?;
    ensure!(ended(&changes) == [id.as_str()] && raised(&changes).is_empty(), "{changes:?}");
    let cordons = pipeline.master.calls_of(Kind::Cordon).into_iter().filter(|call| call.effect).count();
    ensure!(cordons == 1, "{cordons} workers were cordoned");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// The worker of which so many cores are taken, apart from this one.
fn with_used<'a>(page: &'a Overview, home: &str, cores: u32) -> Result<&'a str> {
    let mut others = page.workers.iter().filter(|worker| worker.host != home);
    let found = others.find(|worker| worker.coresused == cores).map(|worker| worker.host.as_str());
    found.with_context(|| format!("nobody uses {cores} cores: {page:?}"))
}

#[tokio::test]
async fn the_idle_one_goes_first_then_the_busy_one_and_never_that_of_the_driver() -> Result<()> {
    let ground = Ground::new("ranking").await?;
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 3), &replicas(3))).await?;
    pipeline.settled().await?;
    let instances = pipeline.instances().await?;
    // The driver on the first one, with an executor beside it and one on the second.
    let home = pipeline.master.overview().await?.workers.first().context("no worker")?.host.clone();
    pipeline.master.set_landing(Landing::Held);
    let driver = pipeline.master.submit("com.example.Other", 2).await;
    pipeline.master.land(&driver, Some(&home)).await?;
    let page = pipeline.master.overview().await?;
    let (idle, busy) = (with_used(&page, &home, 0)?, with_used(&page, &home, 1)?);

    pipeline.patch(&of_workers(&replicas(2))).await?;
    pipeline.wait_size(2).await?;
    pipeline.patch(&of_workers(&replicas(1))).await?;
    pipeline.wait_size(1).await?;
    pipeline.settled().await?;
    let changes = pipeline.adds_up(3).await?;
    ensure!(ended(&changes) == [instances[idle].as_str(), instances[busy].as_str()], "{page:?}: {changes:?}");
    ensure!(pipeline.master.overview().await?.driver_hosts() == [home.as_str()], "the driver has moved");
    let told = wait_events(&ground.world, "demo", "WorkersScaledIn", 2).await?;
    let says = |id: &str, sizes: &str| told.iter().any(|note| note.contains(id) && note.contains(sizes));
    ensure!(
        told.len() == 2 && says(&instances[idle], "from 3 to 2") && says(&instances[busy], "from 2 to 1"),
        "{told:?}"
    );
    let cordoned = events(&ground.world, "demo", "WorkerCordoned").await?;
    ensure!(cordoned.len() == 2, "{cordoned:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// The answer is lost, the call is carried out twice, or arrives when nobody waits for its answer any more: one worker
/// goes for each that is too many, and none besides.
#[tokio::test]
async fn an_end_whose_answer_is_lost_or_that_arrives_twice_or_late_ends_one_worker() -> Result<()> {
    let ground = Ground::new("end-faults").await?;
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 4), &replicas(4))).await?;
    pipeline.settled().await?;
    let group = &pipeline.group;
    let faults = [Fault::new(group, END, Mode::Lost), Fault::twice(group, END, AGAIN), Fault::late(group, END, LATE)];
    for ((number, met), fault) in [(3, 1), (2, 2), (1, 3)].into_iter().zip(&faults) {
        ground.world.fault(fault).await?;
        pipeline.patch(&of_workers(&replicas(number))).await?;
        pipeline.wait_size(usize::try_from(number)?).await?;
        ensure!(ground.aws.hits(group).await? == met, "no call met the fault for {number} workers");
    }
    // What is still on its way arrives at an instance that has gone.
    ground.aws.deliver(group).await?;
    pipeline.settled().await?;
    ground.looked(2).await?;
    pipeline.wait_size(1).await?;
    let changes = pipeline.changes().await?;
    // Whoever was asked to go, each once.
    let ids: BTreeSet<&str> = ended(&changes).into_iter().collect();
    ensure!(ids.len() == 3, "{changes:?}");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}

/// Executors of which nobody asks anything take cores all the same: what the driver counts is what runs.
#[tokio::test]
async fn the_one_with_fewer_tasks_by_the_drivers_own_pages_goes_whatever_cores_are_taken() -> Result<()> {
    let ground = Ground::new("tasks").await?;
    let pipeline = ground.pipeline("demo", Wish::new((1, 6, 3), &replicas(3))).await?;
    pipeline.settled().await?;
    let instances = pipeline.instances().await?;
    // Beside the driver there is room for one executor, so two of the four are on one of the others.
    let home = pipeline.master.overview().await?.workers.first().context("no worker")?.host.clone();
    pipeline.master.set_landing(Landing::Held);
    let driver = pipeline.master.submit("com.example.Other", 4).await;
    pipeline.master.land(&driver, Some(&home)).await?;
    let page = pipeline.master.overview().await?;
    let (rests, works) = (with_used(&page, &home, 2)?, with_used(&page, &home, 1)?);
    let pages = pipeline.master.driver_pages(&driver, 0, &[(home.as_str(), 0), (rests, 0), (works, 1)]).await?;
    let port: u16 = pages.address.rsplit(':').next().context("no port")?.parse()?;
    let app = page.activeapps.first().context("no application")?;

    let driver = json!({"appName": app.name, "uiPort": port});
    pipeline.patch(&json!({"spark": {"driver": driver, "workers": {"replicas": 2}}})).await?;
    pipeline.wait_size(2).await?;
    pipeline.settled().await?;
    let changes = pipeline.adds_up(3).await?;
    ensure!(ended(&changes) == [instances[rests].as_str()], "{page:?}: {changes:?}");
    ensure!(pipeline.master.overview().await?.driver_hosts() == [home.as_str()], "the driver has moved");
    ground.at_rest(&[&pipeline]).await?;
    ground.ends(&[&pipeline]).await
}
