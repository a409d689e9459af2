//! A streaming query that nobody runs: records are real, and the test says how far it has read.

use anyhow::{Context, Result};
use jiff::Timestamp;
use logwise_testbed::kafka::client_config;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::stream::QUERY;
use logwise_testbed::world::World;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The topic that it reads.
pub(super) const TOPIC: &str = "api";

/// As many tasks as may read at once.
pub(super) const PARTITIONS: u32 = 12;

/// Offsets of a query that has read nothing.
pub(super) const NOTHING: [i64; 12] = [0; 12];

/// Longest wait for one answer of Kafka.
const CALL: Duration = Duration::from_secs(10);

/// Makes the topic with so many records, of which the query has read none, and the query's first batch.
pub(super) async fn unread(world: &World, records: u32) -> Result<()> {
    world.create_topic(TOPIC, PARTITIONS).await?;
    world.produce(TOPIC, records, false).await?;
    commit(world, 0, &NOTHING).await.map(drop)
}

/// The query has committed a batch, up to these offsets of the topic's partitions. Returns when, in milliseconds.
pub(super) async fn commit(world: &World, batch: u32, read: &[i64]) -> Result<i64> {
    let now = Timestamp::now().as_millisecond();
    let next: BTreeMap<String, i64> =
        read.iter().enumerate().map(|(number, next)| (number.to_string(), *next)).collect();
    let head = json!({"batchWatermarkMs": 0, "batchTimestampMs": now, "conf": {}});
    let offsets = json!({(world.topic(TOPIC)): next});
    // In this order, as Spark writes them.
    let objects = [
        NewObject::text(&key("offsets", batch), &format!("v1\n{head}\n{offsets}")),
        NewObject::text(&key("commits", batch), "v1\n{\"nextBatchWatermarkMs\":0}"),
    ];
    world.put_objects(&objects).await?;
    Ok(now)
}

/// The key of a file of the checkpoint.
pub(super) fn key(kind: &str, batch: u32) -> String {
    format!("checkpoint/{QUERY}/{kind}/{batch}")
}

/// The end offsets of the topic's partitions.
pub(super) async fn ends(world: &World) -> Result<Vec<i64>> {
    ends_of(world, PARTITIONS).await
}

/// The same where it has so many.
pub(super) async fn ends_of(world: &World, partitions: u32) -> Result<Vec<i64>> {
    let (config, topic) = (client_config(&world.bed.kafka.bootstrap), world.topic(TOPIC));
    let look = move || -> Result<Vec<i64>> {
        let consumer: BaseConsumer = config.create().context("creating a Kafka client")?;
        let end = |partition: u32| -> Result<i64> {
            let (_, end) = consumer.fetch_watermarks(&topic, i32::try_from(partition)?, CALL)?;
            Ok(end)
        };
        (0..partitions).map(end).collect()
    };
    tokio::task::spawn_blocking(look).await.context("asking Kafka")?
}

/// `autoscaling` between these bounds: ten records a second are one core, what waits is to be read within a minute, and
/// nothing makes it wait that these fields do not say.
pub(super) fn autoscaling((min, max): (i32, i32), fields: Value) -> Value {
    let at_once = json!({
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Replicas", "value": 100, "periodSeconds": 1}],
    });
    let mut all = json!({
        "minReplicas": min,
        "maxReplicas": max,
        "recordsPerSecondPerCore": 10,
        "catchUpSeconds": 60,
        "tolerancePercent": 0,
        "cooldownSeconds": 0,
        "behavior": {"scaleUp": at_once, "scaleDown": at_once},
    });
    super::merge(&mut all, fields);
    json!({"autoscaling": all})
}
