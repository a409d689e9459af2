//! Networks that are slow, half-open, rude or gone, between the operator and its database, and between it and Kafka.

use crate::replicas::{partitions, wait_partitions};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proxy::tcp::{Direction, TcpProxy};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, wait_condition};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the queue before the database may hold is 16 MiB; the rest of a process has its ups and downs.
const GROWTH_KIB: u64 = 96 * 1024;

/// `demo` over one topic, without a bucket.
fn demo(world: &World, wanted: usize) -> Value {
    let mut object = cluster(world, "demo");
    object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(wanted);
    object
}

/// Wants so many partitions and waits until they are there and reported.
async fn grow(world: &World, object: &Value, wanted: usize) -> Result<()> {
    apply(world, &[object]).await?;
    wait_partitions(world, wanted).await?;
    wait_condition(world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    wait_condition(world, ("lwc", "demo"), ("Ready", "True", "Running")).await.map(drop)
}

/// The operator's memory in KiB.
fn memory(operator: &Operator) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Rows of a table of the world, sorted.
async fn rows(world: &World, query: &str) -> Result<BTreeSet<String>> {
    Ok(world.query(query).await?.lines().map(|line| line.replace('\t', " ")).collect())
}

/// Errors unless the database holds what the object says now.
async fn rows_equal(world: &World) -> Result<()> {
    let object = world.get_json("lwc", "demo").await?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (meta, row) = (&object["metadata"], "SELECT uid, revision, generation, deleted FROM logwise_objects");
    let row = rows(world, row).await?;
    let wanted = format!("{} {} {} 0", text(&meta["uid"]), text(&meta["resourceVersion"]), meta["generation"]);
    ensure!(row == BTreeSet::from([wanted.clone()]), "{row:?} instead of {wanted}");
    let found = rows(world, "SELECT type, status, reason, observed_generation FROM logwise_conditions").await?;
    let all = object["status"]["conditions"].as_array().context("no conditions")?;
    let mirrored = all.iter().filter(|one| one["type"] != "MirrorInSync");
    let line = |one: &Value| {
        format!(
            "{} {} {} {}",
            text(&one["type"]),
            text(&one["status"]),
            text(&one["reason"]),
            one["observedGeneration"]
        )
    };
    let wanted: BTreeSet<String> = mirrored.map(line).collect();
    ensure!(found == wanted, "{found:?} instead of {wanted:?}");
    Ok(())
}

/// Runs growths while `spoil` lasts, and compares rows afterwards; `blind`: nothing reaches the database meanwhile.
async fn outage(name: &str, spoil: impl AsyncFnOnce(&TcpProxy) -> Result<()>, blind: bool) -> Result<()> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.create_topic("api", 1).await?;
    let url = world.create_schema().await?;
    let proxy = world.database_proxy().await?;
    let config = json!({"database": {"url": proxy.instead(&url)}});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    grow(&world, &demo(&world, 2), 2).await?;
    let equal = async || world.wait_until("rows like objects", PATIENCE, async || rows_equal(&world).await).await;
    equal().await?;
    let (before, revision) = (memory(&operator)?, world.query("SELECT revision FROM logwise_objects").await?);
    spoil(&proxy).await?;
    for wanted in [3, 4, 5] {
        grow(&world, &demo(&world, wanted), wanted).await?;
    }
    if blind {
        let now = world.query("SELECT revision FROM logwise_objects").await?;
        ensure!(now == revision, "the outage is none: {now} after {revision}");
    }
    let (status, body) = operator.http("/readyz").await?;
    ensure!(status == 200, "/readyz answers {status}: {body}");
    let after = memory(&operator)?;
    ensure!(after < before + GROWTH_KIB, "{after} KiB after {before} KiB");
    proxy.heal().await?;
    equal().await?;
    world
        .wait_until("each growth to be recorded once", PATIENCE, async || {
            let grown =
                "SELECT COUNT(*), COUNT(DISTINCT id) FROM logwise_decisions WHERE part = 'kafka' AND actions <> '[]'";
            let found = rows(&world, grown).await?;
            ensure!(found == BTreeSet::from(["4 4".to_owned()]), "{found:?}");
            Ok(())
        })
        .await?;
    ensure!(operator.metrics().await?.contains("logwise_mirror_dropped_decisions 0\n"), "decisions were dropped");
    Ok(())
}

#[tokio::test]
async fn a_slow_database_holds_up_nothing() -> Result<()> {
    let late = Duration::from_millis(400);
    outage(
        "db-slow",
        async |proxy| {
            proxy.delay(late, late);
            Ok(())
        },
        false,
    )
    .await
}

#[tokio::test]
async fn a_half_open_database_holds_up_nothing() -> Result<()> {
    outage(
        "db-half",
        async |proxy| {
            proxy.hold(Direction::Both);
            Ok(())
        },
        true,
    )
    .await
}

/// Statements arrive and are carried out; no answer comes back.
#[tokio::test]
async fn a_database_whose_answers_are_lost_gets_each_row_once() -> Result<()> {
    outage(
        "db-answers",
        async |proxy| {
            proxy.hold(Direction::ToClient);
            Ok(())
        },
        false,
    )
    .await
}

#[tokio::test]
async fn a_database_that_resets_connections_holds_up_nothing() -> Result<()> {
    // Enough for a login, and not for a commit.
    outage(
        "db-reset",
        async |proxy| {
            proxy.reset_after(Direction::ToServer, 1500);
            Ok(())
        },
        false,
    )
    .await
}

#[tokio::test]
async fn a_database_that_refuses_connections_holds_up_nothing() -> Result<()> {
    outage("db-refused", async |proxy| proxy.refuse().await, true).await
}

/// A world whose pipeline reaches Kafka through a proxy, ready.
async fn behind_proxy(name: &str) -> Result<(World, TcpProxy, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.create_topic("api", 1).await?;
    let proxy = world.kafka_proxy().await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    grow(&world, &through(&world, &proxy, 2), 2).await?;
    Ok((world, proxy, operator))
}

fn through(world: &World, proxy: &TcpProxy, wanted: usize) -> Value {
    let mut object = demo(world, wanted);
    object["spec"]["kafka"]["bootstrapServers"] = json!([proxy.address]);
    object
}

/// Looks of the Kafka part that failed so far.
async fn failures(operator: &Operator) -> Result<u64> {
    let metrics = operator.metrics().await?;
    let counts =
        metrics.lines().filter(|line| line.starts_with("logwise_operator_reconcile_errors_total{part=\"kafka\""));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

#[tokio::test]
async fn a_half_open_kafka_is_said_and_recovered_from() -> Result<()> {
    let (world, proxy, operator) = behind_proxy("kafka-half").await?;
    let before = failures(&operator).await?;
    proxy.hold(Direction::Both);
    apply(&world, &[&through(&world, &proxy, 4)]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", "BrokerUnreachable")).await?;
    // Nothing else waits for Kafka.
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    world
        .wait_until("the client to be given up", PATIENCE, async || {
            let failed = failures(&operator).await? - before;
            ensure!(failed >= 3, "{failed} looks have failed");
            Ok(())
        })
        .await?;
    ensure!(partitions(&world).await? == 2, "grown through a dead line");
    let connections = proxy.counts().connections;
    proxy.heal().await?;
    wait_partitions(&world, 4).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(proxy.counts().connections > connections, "no new connection was made");
    ensure!(proxy.requests().get(&37) == Some(&4), "each growth is a trial and one request: {:?}", proxy.requests());
    Ok(())
}

#[tokio::test]
async fn a_kafka_that_is_slow_rude_or_gone_is_said_and_recovered_from() -> Result<()> {
    let (world, proxy, _operator) = behind_proxy("kafka-rude").await?;
    let late = Duration::from_millis(150);
    proxy.delay(late, late);
    grow(&world, &through(&world, &proxy, 3), 3).await?;
    proxy.refuse().await?;
    apply(&world, &[&through(&world, &proxy, 4)]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", "BrokerUnreachable")).await?;
    proxy.heal().await?;
    grow(&world, &through(&world, &proxy, 4), 4).await?;
    proxy.reset_after(Direction::ToClient, 10);
    apply(&world, &[&through(&world, &proxy, 5)]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", "BrokerUnreachable")).await?;
    proxy.heal().await?;
    grow(&world, &through(&world, &proxy, 5), 5).await?;
    ensure!(proxy.requests().get(&37) == Some(&8), "each growth is a trial and one request: {:?}", proxy.requests());
    Ok(())
}
