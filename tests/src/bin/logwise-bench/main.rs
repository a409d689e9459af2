//! Figures for `docs/benchmarks.md`: memory and CPU at rest, the time from an edit to its conditions, hand-over, what
//! a thousand lifecycle rules, a checkpoint of ten thousand batches and many objects at one Spark master cost, and what
//! thousands of topics do.
//!
//! Runs in the environment of a bed (`make bench`); arguments choose parts. Prints a table. A figure is no test: only
//! those with an aim are judged, and one that misses it makes the exit code 1 after everything was measured.
#![forbid(unsafe_code)]

mod aims;
mod handover;
mod kafka;
mod machine;
mod masters;
mod position;
mod rules;
mod workers;

use aims::Aims;
use anyhow::{Context, Result, ensure};
use kafka::{Topics, child};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::edits::{Edits, client, percentile};
use logwise_tests::{apply, approve, cluster, plan_id, policy, wait_condition, with_spark};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Edits that change nothing outside.
const EDITS: usize = 100;

/// How long CPU time is counted.
const REST: Duration = Duration::from_secs(60);

/// Clock ticks per second in /proc, fixed on Linux.
const TICKS: f64 = 100.0;

/// What is measured, in this order: what needs ten thousand topics comes last and shares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Operator,
    Handover,
    Rules,
    Position,
    Masters,
    Plan,
    Workers,
    Growth,
    Look,
    Memory,
}

const PARTS: [(&str, Part); 10] = [
    ("operator", Part::Operator),
    ("handover", Part::Handover),
    ("rules", Part::Rules),
    ("position", Part::Position),
    ("masters", Part::Masters),
    ("plan", Part::Plan),
    ("workers", Part::Workers),
    ("growth", Part::Growth),
    ("look", Part::Look),
    ("memory", Part::Memory),
];

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, order @ ..] = words.as_slice()
        && word == child::WORD
    {
        child::run(order).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = wanted(&words)?;
    machine::print().await?;
    let (mut aims, mut topics) = (Aims::default(), None);
    for (name, part) in PARTS.into_iter().filter(|(_, part)| wanted.contains(part)) {
        if let Err(error) = measure(part, &mut topics, &mut aims).await {
            aims.failed(name, &error)?;
        }
    }
    aims.end()
}

/// The parts that the words name; all, if there is none.
fn wanted(words: &[String]) -> Result<BTreeSet<Part>> {
    if words.is_empty() {
        return Ok(PARTS.map(|(_, part)| part).into());
    }
    let named = |word: &String| {
        let found = PARTS.iter().find(|(name, _)| *name == word.as_str());
        let unknown = || format!("no part is called {word}: there are {}", PARTS.map(|(name, _)| name).join(", "));
        found.map(|(_, part)| *part).with_context(unknown)
    };
    words.iter().map(named).collect()
}

async fn measure(part: Part, topics: &mut Option<Topics>, aims: &mut Aims) -> Result<()> {
    match part {
        Part::Operator => at_rest().await,
        Part::Handover => handover::measure().await,
        Part::Rules => rules::measure(aims).await,
        Part::Position => position::measure(aims).await,
        Part::Masters => masters::measure(aims).await,
        Part::Plan => kafka::plan::measure(aims),
        Part::Workers => workers::measure(aims),
        Part::Growth => kafka::growth::measure().await,
        Part::Look => kafka::look::measure(Topics::of(topics).await?, aims).await,
        Part::Memory => kafka::memory::measure(Topics::of(topics).await?, aims).await,
    }
}

async fn at_rest() -> Result<()> {
    let world = World::new(&Bed::attach()?, "bench").await?;
    futures::try_join!(world.create_topic("api", 3), world.create_spark_group(1, 4, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let intervals = json!({"kafkaSeconds": 60, "sparkSeconds": 30, "s3Seconds": 60, "discoverySeconds": 300});
    let started = Instant::now();
    let mut operator = Operator::start(&world, Options::config(json!({"intervals": intervals}))).await?;
    operator.wait_ready().await?;
    row("start to ready, ms", &started.elapsed().as_millis().to_string())?;
    let pipeline = with_spark(&world, cluster(&world, "demo"), (1, 4))?;
    apply(&world, &[&pipeline, &policy("default", "demo", 30)]).await?;
    let id = plan_id(&world, "default").await?;
    approve(&world, "default", &id).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    edits(&world).await?;
    rest(operator.pid()).await?;
    ensure!(operator.stop().await? == 0, "the operator did not stop cleanly");
    Ok(())
}

fn row(name: &str, value: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{name:<60} {value}")?;
    Ok(())
}

/// From an edit until the watch shows Ready for its generation.
async fn edits(world: &World) -> Result<()> {
    let mut edits = Edits::begin(&client(&world.bed).await?, &world.namespace).await?;
    let mut times = Vec::new();
    for _ in 0..EDITS {
        times.push(edits.edit("demo").await?);
    }
    row(
        &format!("{EDITS} edits that change nothing outside, apply to Ready, p50 ms"),
        &percentile(&times, 50)?.as_millis().to_string(),
    )?;
    row("  p99 ms", &percentile(&times, 99)?.as_millis().to_string())
}

async fn rest(pid: u32) -> Result<()> {
    let before = cpu_seconds(pid)?;
    tokio::time::sleep(REST).await;
    let used = cpu_seconds(pid)? - before;
    row("CPU at rest with one object, percent of a core", &format!("{:.2}", 100.0 * used / REST.as_secs_f64()))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    for (key, name) in [("VmRSS", "resident memory at rest, kB"), ("VmHWM", "  highest, kB"), ("Threads", "threads")] {
        let value =
            status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).context("no such line")?;
        row(name, value.trim())?;
    }
    Ok(())
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("a stat line")?.1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}
