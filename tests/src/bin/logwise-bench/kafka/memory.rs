//! The memory of an operator that watches ten thousand topics.

use super::{MANY, Topics, topic};
use crate::aims::Aims;
use crate::machine::{megabytes, size_kb};
use crate::row;
use anyhow::{Context, Error, Result, ensure};
use logwise_testbed::brokers::Brokers;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::looks;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Looks after the first one at all topics.
const LOOKS: u64 = 120;

/// Seconds of the window: with looks each second the windows are as full as they get.
const WINDOW: u32 = 60;

/// Pause between two records, so that each look finds something new and is written to the database.
const BETWEEN_RECORDS: Duration = Duration::from_millis(500);

/// Pause between two readings of the metrics, which take memory too.
const BETWEEN_READINGS: Duration = Duration::from_secs(5);

/// Longest wait for the looks.
const LONGEST: Duration = Duration::from_secs(1_200);

/// Megabytes that shall suffice.
const ENOUGH: f64 = 60.0;

pub(crate) async fn measure(topics: &mut Topics, aims: &mut Aims) -> Result<()> {
    topics.make(MANY).await?;
    let world = World::new(&topics.bed, "bench-memory").await?;
    let url = world.create_schema().await?;
    let config = json!({"intervals": {"kafkaSeconds": 1}, "database": {"url": url}});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    row("operator that watches no topic: resident memory, MB", &memory(&operator, "VmRSS")?)?;
    apply(&world, &[&pipeline(&world, &topics.brokers.bootstrap())?]).await?;
    wait_all_read(&world).await?;
    let (number, took) = tokio::select! {
        error = trickle(&topics.brokers) => return Err(error.context("writing records")),
        passed = looks_pass(&operator) => passed?,
    };
    let period = took.as_secs_f64() / f64::from(u32::try_from(number)?);
    let samples = f64::from(WINDOW) / period.max(1.0);
    let looks = format!("{number}, {:.0}", took.as_secs_f64());
    row(&format!("operator that watches {MANY} topics: looks, seconds"), &looks)?;
    row("  samples of each topic in memory, about", &format!("{samples:.0}"))?;
    let highest = megabytes(size_kb(operator.pid(), "VmHWM")?)?;
    aims.check("  highest memory, MB", &format!("{highest:.1}"), (&format!("less than {ENOUGH}"), highest < ENOUGH))?;
    row("  resident memory now, MB", &memory(&operator, "VmRSS")?)?;
    ensure!(operator.stop().await? == 0, "the operator did not stop cleanly");
    Ok(())
}

/// A pipeline without a bucket that wants to grow every topic, and only says so.
fn pipeline(world: &World, bootstrap: &str) -> Result<Value> {
    let mut object = cluster(world, "demo");
    let spec = object["spec"].as_object_mut().context("a spec")?;
    spec.remove("storage");
    spec.insert(
        "kafka".to_owned(),
        json!({
            "bootstrapServers": [bootstrap],
            "topics": {"namePrefix": super::PREFIX, "defaultPartitions": 3, "maxPartitions": 12},
            "partitionScaling": {"mode": "Recommend", "windowSeconds": WINDOW},
        }),
    );
    Ok(object)
}

async fn wait_all_read(world: &World) -> Result<()> {
    let many = i64::try_from(MANY)?;
    let look = async || {
        let object = world.get_json("lwc", "demo").await?;
        let kafka = &object["status"]["kafka"];
        ensure!(kafka["topics"] == many && kafka["limitedTopics"] == many, "{kafka}");
        Ok(())
    };
    world.wait_until("all topics to be read", PATIENCE * 2, look).await
}

/// Writes records, one after the other; returns why it could not go on.
async fn trickle(brokers: &Brokers) -> Error {
    loop {
        if let Err(error) = brokers.produce(&topic(0), 1, false).await {
            return error;
        }
        tokio::time::sleep(BETWEEN_RECORDS).await;
    }
}

/// Waits until the operator has looked [`LOOKS`] times more, or a few more; returns how often, and how long it took.
async fn looks_pass(operator: &Operator) -> Result<(u64, Duration)> {
    let looked = async || anyhow::Ok(looks(&operator.metrics().await?).get("kafka").copied().unwrap_or_default());
    let (began, before) = (Instant::now(), looked().await?);
    loop {
        let number = looked().await? - before;
        let took = began.elapsed();
        if number >= LOOKS {
            return Ok((number, took));
        }
        ensure!(took < LONGEST, "the operator looked {number} times within {} s", took.as_secs());
        tokio::time::sleep(BETWEEN_READINGS).await;
    }
}

fn memory(operator: &Operator, key: &str) -> Result<String> {
    Ok(format!("{:.1}", megabytes(size_kb(operator.pid(), key)?)?))
}
