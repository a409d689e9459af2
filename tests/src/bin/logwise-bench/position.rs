//! What it costs at S3 to read how far the streaming query has read, with a checkpoint of many batches.

use crate::aims::Aims;
use crate::row;
use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::{Call, NewObject};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, with_spark};
use serde_json::json;
use std::time::{Duration, Instant};

/// Batches of the checkpoint.
const BATCHES: i64 = 10_000;

/// Those of the newest batches whose offsets are there; nobody reads older ones.
const WITH_OFFSETS: i64 = 20;

/// Objects that are put at once.
const AT_ONCE: usize = 1_000;

/// How long the operator looks each second, without a new batch and with one in every second look or so.
const LOOKING: Duration = Duration::from_secs(20);

/// From one new batch to the next.
const TRIGGER: Duration = Duration::from_millis(1_700);

pub(crate) async fn measure(aims: &mut Aims) -> Result<()> {
    let world = World::new(&Bed::attach()?, "bench-position").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(0, 4, 0))?;
    let mut objects = vec![NewObject::text(&key("metadata"), "{\"id\":\"bench\"}")];
    objects.extend((0..BATCHES).map(commit));
    objects.extend((BATCHES - WITH_OFFSETS..BATCHES).map(offsets));
    for some in objects.chunks(AT_ONCE) {
        world.put_objects(some).await?;
    }
    apply(&world, &[&with_spark(&world, cluster(&world, "demo"), (0, 4))?]).await?;
    // A position is read after each look at Kafka. The rest of what is read of the bucket is read once.
    let intervals = json!({"kafkaSeconds": 1, "s3Seconds": 3_600, "discoverySeconds": 3_600});
    let config = json!({"preflight": {"enabled": false}, "intervals": intervals});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    let first = async || {
        let looks = looks(&operator).await?;
        ensure!(looks >= 1.0, "the position is not known yet");
        Ok(())
    };
    world.wait_until("the first position", PATIENCE, first).await?;
    row(&format!("position of a query with {BATCHES} batches"), "")?;
    let pages = requests(&world).await?.iter().filter(|call| call.action == "ListObjectsV2").count();
    row("  first look, pages of its listing", &pages.to_string())?;
    let nothing = async || {
        tokio::time::sleep(LOOKING).await;
        Ok(())
    };
    let at_rest = per_look(&world, &operator, nothing).await?;
    let mut next = BATCHES;
    let commits = async || {
        let end = Instant::now() + LOOKING;
        while Instant::now() < end {
            world.put_objects(&[offsets(next), commit(next)]).await?;
            next += 1;
            tokio::time::sleep(TRIGGER).await;
        }
        Ok(())
    };
    let moving = per_look(&world, &operator, commits).await?;
    for (name, mean) in [("no batch is committed", at_rest), ("batches are committed", moving)] {
        let what = format!("  requests of a look while {name}, mean");
        aims.check(&what, &format!("{mean:.2}"), ("at most 3", mean <= 3.0))?;
    }
    ensure!(operator.stop().await? == 0, "the operator did not stop cleanly");
    Ok(())
}

/// Requests per look while `meanwhile` lasts.
async fn per_look(world: &World, operator: &Operator, meanwhile: impl AsyncFnOnce() -> Result<()>) -> Result<f64> {
    let (looks_before, before) = (looks(operator).await?, requests(world).await?.len());
    meanwhile().await?;
    let (looks, after) = (looks(operator).await? - looks_before, requests(world).await?.len());
    ensure!(looks >= 10.0, "only {looks} looks");
    Ok(f64::from(u32::try_from(after - before)?) / looks)
}

/// What S3 was asked about the checkpoint.
async fn requests(world: &World) -> Result<Vec<Call>> {
    let mut calls = world.calls(&world.bucket, false).await?;
    let of_checkpoint = |call: &Call| match call.action.as_str() {
        "GetObject" => true,
        "ListObjectsV2" => call.params.to_string().contains("commits/"),
        _ => false,
    };
    calls.retain(of_checkpoint);
    Ok(calls)
}

/// How often the position was read.
async fn looks(operator: &Operator) -> Result<f64> {
    const TOLD: &str = "logwise_operator_facts_total{fact=\"checkpoint_position\",state=\"known\"} ";
    let metrics = operator.metrics().await?;
    let told = metrics.lines().find_map(|line| line.strip_prefix(TOLD)?.parse().ok());
    Ok(told.unwrap_or_default())
}

fn key(name: &str) -> String {
    format!("checkpoint/application/{name}")
}

fn commit(batch: i64) -> NewObject {
    NewObject::text(&key(&format!("commits/{batch}")), "v1\n{\"nextBatchWatermarkMs\":0}")
}

fn offsets(batch: i64) -> NewObject {
    let text = format!("v1\n{{\"batchWatermarkMs\":0}}\n{{\"logs.api\":{{\"0\":{}}}}}", batch * 100);
    NewObject::text(&key(&format!("offsets/{batch}")), &text)
}
