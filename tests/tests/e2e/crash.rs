//! `kill -9` at every external write of the path: after a restart the end is that of a run without a crash, and effects
//! count once.

use crate::replicas::intents;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::crash::lives::Lives;
use logwise_testbed::crash::{Counts, Point, sweep};
use logwise_testbed::operator::Operator;
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::end_state::{EndState, topics};
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::quiet::Quiet;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, approve, cluster, configuration, is_proving, plan_id, policy,
    turn_to_prove, wait_condition, with_spark,
};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// Points tried in `make test`: for each system one, each side of a write, and one crash during the recovery from another.
/// Not `kafka:1:before`: a growth that was never asked for is waited for as long as one may take, a minute and a half. Nor
/// `s3:1:before`: rules that were never sent are waited for as long as S3 may give old answers. The group is raised by
/// its third call, after new instances and the one that is there were protected.
const SAMPLE: [&[&str]; 8] = [
    &["kafka:1:after"],
    &["autoscaling:3:effect"],
    &["s3:1:after"],
    &["sql:1:before"],
    &["status:2:after"],
    &["finalizers:1:effect"],
    &["events:1:after"],
    &["kubernetes:3:after", "autoscaling:1:before"],
];

/// Runs side by side in `make prove`: more would only wait for two cores.
const AT_ONCE: usize = 5;

/// Pairs tried in `make prove`.
const PAIRS: usize = 50;

/// The looks of each part for which it must be quiet at the end.
const LOOKS: u64 = 2;

/// Where the operators of one run end, one after the other.
struct Story(Vec<Point>);

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(Point::to_string).collect::<Vec<_>>().join(", then "))
    }
}

/// How a run ended.
struct End {
    state: EndState,
    effects: Effects,
    counts: Counts,
}

/// What is compared with, and what was found out on the way.
#[derive(Default)]
struct Trial {
    faultless: OnceCell<End>,
    /// Crashes that took place.
    crashes: AtomicUsize,
    /// Crashes that did not, since the path was at its end before.
    missed: AtomicUsize,
}

impl Trial {
    async fn faultless(&self) -> Result<&End> {
        self.faultless.get_or_try_init(|| run(&[], async |_, _, _| Ok(()))).await
    }

    /// Runs the path with these crashes and compares its end with that of a run without.
    async fn try_story(&self, story: &Story) -> Result<()> {
        let compared = async |world: &World, lives: &Lives<'_>, _: &Operator| {
            self.crashes.fetch_add(lives.ended(), Ordering::Relaxed);
            self.missed.fetch_add(story.0.len() - lives.ended(), Ordering::Relaxed);
            let must = story.0.first().is_some_and(always_reached);
            ensure!(!must || lives.ended() > 0, "the operator never reached this point");
            let faultless = &self.faultless().await?.state;
            world.wait_until("the end", PATIENCE, async || EndState::of(world).await?.same_as(faultless)).await
        };
        let (end, faultless) = futures::try_join!(run(&story.0, compared), self.faultless())?;
        end.effects.same_as(&faultless.effects)
    }
}

/// How many writes of status, events and rows a run makes depends on what comes together in time.
fn always_reached(point: &Point) -> bool {
    point.number == 1 || !matches!(point.system.as_str(), "status" | "events" | "sql")
}

/// Walks the whole path while operators end at `points`; `last` looks at the world before it is compared.
async fn run(points: &[Point], last: impl AsyncFnOnce(&World, &Lives<'_>, &Operator) -> Result<()>) -> Result<End> {
    let world = World::new(&Bed::attach()?, "crash").await?;
    let url = world.create_schema().await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("web", 2), world.create_group(1, 4, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    let mut lives = Lives::new(&world, &url, points).await?;
    let mut pipeline = with_spark(&world, cluster(&world, "demo"), (2, 4))?;
    pipeline["spec"]["kafka"]["bootstrapServers"] = json!([lives.bootstrap()]);
    let (master, serving) = idle_master().await?;
    let at = json!([{"host": master.ip().to_string(), "uiPort": master.port()}]);
    pipeline["spec"]["spark"]["masters"] = at;
    apply(&world, &[&pipeline, &policy("default", "demo", 30)]).await?;
    let operator = lives.through(walk(&world)).await?;
    last(&world, &lives, &operator).await?;
    if points.is_empty() || is_proving() {
        // What was under way at the end of the path comes to its end first.
        let is_quiet = async || {
            let quiet = Quiet::begin(&world, None).await?;
            quiet.for_looks(&operator, &["kafka", "spark", "storage"], LOOKS, PATIENCE).await
        };
        world.wait_until("silence", PATIENCE, is_quiet).await?;
    }
    let foreign = [FOREIGN_ODD, FOREIGN_LEGACY].map(str::to_owned).to_vec();
    kept(&world, &Bounds { desired: 1, max: 4, foreign }).await?;
    let (state, effects) = futures::try_join!(EndState::of(&world), Effects::of(&world))?;
    serving.abort();
    Ok(End { state, effects, counts: lives.counts()? })
}

/// The path: what a person does, and what must come of it.
async fn walk(world: &World) -> Result<()> {
    let id = plan_id(world, "default").await?;
    approve(world, "default", &id).await?;
    wait_condition(world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    world
        .wait_until("topics and group", PATIENCE, async || {
            let topics = topics(world).await?;
            ensure!(topics.len() == 2 && topics.values().all(|partitions| *partitions == 3), "{topics:?}");
            ensure!(world.group(&world.group).await?.desired == 2, "group");
            Ok(())
        })
        .await?;
    let document = world.lifecycle(&world.bucket).await?.document.context("no configuration")?;
    ensure!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "{document}");
    ensure!(document.matches("<Rule>").count() == 3, "{document}");
    closed(world).await?;
    mirrored(world).await
}

/// Nothing is left that a later operator would have to judge. What was wanted is there, so that none was given up.
async fn closed(world: &World) -> Result<()> {
    world
        .wait_until("every intent to be closed", PATIENCE, async || {
            let records: Vec<Value> = intents(world).await?.into_iter().map(|(_, record)| record).collect();
            for kind in ["kafka/", "group/", "bucket/"] {
                let of = |record: &&Value| record["resource"].as_str().is_some_and(|name| name.starts_with(kind));
                let record = records.iter().find(of).with_context(|| format!("no intent of {kind}"))?;
                ensure!(matches!(record["state"].as_str(), Some("Done" | "Superseded")), "{record}");
            }
            ensure!(records.len() == 3, "{records:?}");
            Ok(())
        })
        .await
}

async fn mirrored(world: &World) -> Result<()> {
    const OBJECTS: &str = "SELECT COUNT(*) FROM logwise_objects WHERE deleted = 0";
    const PROGRAMMED: &str = "SELECT COUNT(*) FROM logwise_conditions WHERE type = 'Programmed' AND status = 'True'";
    const GROWN: &str = "SELECT actions FROM logwise_decisions WHERE part = 'kafka' AND outcome LIKE '%Done%'";
    const TWICE: &str = "SELECT COUNT(*) FROM (SELECT id FROM logwise_decisions GROUP BY id HAVING COUNT(*) > 1) AS t";
    world
        .wait_until("the mirror", PATIENCE, async || {
            let found = world.query(&format!("{OBJECTS}; {PROGRAMMED}; {TWICE}")).await?;
            let found: Vec<&str> = found.split_whitespace().collect();
            ensure!(found == ["2", "1", "0"], "objects, programmed policies, decisions recorded twice: {found:?}");
            let grown = world.query(GROWN).await?;
            let told = grown.matches("\"topic\":").count();
            ensure!(told == 2, "each of two topics is told to have grown once: {grown}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_sample_of_the_points_heals() -> Result<()> {
    let mut stories = Vec::new();
    for points in SAMPLE {
        stories.push(Story(points.iter().map(|point| point.parse()).collect::<Result<_>>()?));
    }
    let (trial, number) = (Trial::default(), stories.len());
    sweep(stories, number, async |story| trial.try_story(story).await).await?;
    let crashes = trial.crashes.into_inner();
    ensure!(crashes >= number, "only {crashes} crashes in {number} runs");
    Ok(())
}

/// A Spark master of our own without workers: those of other tests at the bed's master count for the pipelines of all, and
/// their coming and going would look like another end.
async fn idle_master() -> Result<(SocketAddr, JoinHandle<()>)> {
    const STATE: &str = r#"{"url":"spark://idle:7077","workers":[],"aliveworkers":0,"cores":0,"coresused":0,"memory":0,
        "memoryused":0,"activeapps":[],"completedapps":[],"activedrivers":[],"completeddrivers":[],"status":"ALIVE"}"#;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{STATE}",
        STATE.len()
    );
    let serve = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 4_096];
                // One short request, which comes at once.
                if stream.read(&mut asked).await.is_ok() {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    };
    Ok((address, tokio::spawn(serve)))
}

/// In `make prove` only: all points take minutes.
#[tokio::test]
async fn every_point_of_the_path_heals() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let (trial, began) = (Trial::default(), Instant::now());
    let counts = &trial.faultless().await?.counts;
    let systems = ["kafka", "autoscaling", "s3", "kubernetes", "status", "events", "finalizers", "sql"];
    let absent: Vec<_> = systems.iter().filter(|one| counts.0.get(**one).is_none_or(|count| *count == 0)).collect();
    ensure!(absent.is_empty(), "nothing was written to {absent:?}: {counts:?}");
    let stories: Vec<Story> = counts.points().map(|point| Story(vec![point])).collect();
    let tried = stories.len();
    let swept = sweep(stories, AT_ONCE, async |story| trial.try_story(story).await).await;
    told("crash points", &trial, tried, began)?;
    swept?;
    let missed = trial.missed.into_inner();
    ensure!(missed * 5 <= tried, "{missed} of {tried} points were not reached");
    Ok(())
}

/// In `make prove` only. The second crash meets the operator that recovers from the first.
#[tokio::test]
async fn pairs_of_points_heal() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let (trial, began) = (Trial::default(), Instant::now());
    let points: Vec<Point> = trial.faultless().await?.counts.points().filter(always_reached).collect();
    // An operator that recovers comes to the first writes of each system.
    let early: Vec<&Point> = points.iter().filter(|point| point.number <= 2).collect();
    let stories: Vec<Story> = sample(points.len() * early.len(), PAIRS)
        .map(|place| Story(vec![points[place / early.len()].clone(), early[place % early.len()].clone()]))
        .collect();
    let tried = stories.len();
    let swept = sweep(stories, AT_ONCE, async |story| trial.try_story(story).await).await;
    told("pairs of crash points", &trial, tried, began)?;
    swept?;
    let crashes = trial.crashes.into_inner();
    ensure!(crashes * 4 >= tried * 6, "only {crashes} crashes in {tried} runs: too few were second ones");
    Ok(())
}

/// So many of the numbers below `all`, spread over them, the same in every run.
fn sample(all: usize, number: usize) -> impl Iterator<Item = usize> {
    // A step by a share that is no fraction comes to no number twice before it has been everywhere.
    const SHARE: usize = 618;
    let step = (all * SHARE / 1000).max(1);
    (0..number.min(all)).map(move |place| (place * step + place) % all)
}

/// For the record, past the test's own capture.
fn told(what: &str, trial: &Trial, tried: usize, began: Instant) -> Result<()> {
    let (crashes, missed) = (trial.crashes.load(Ordering::Relaxed), trial.missed.load(Ordering::Relaxed));
    let counts = trial.faultless.get().map(|end| &end.counts.0);
    let seconds = began.elapsed().as_secs();
    let text = format!("{what}: {tried} runs, {crashes} crashes, {missed} not reached, {seconds} s; writes {counts:?}");
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
