//! Topics and records for tests, by rdkafka.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::future::try_join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::kafka::client_config;
use crate::world::wait_until;

const DEADLINE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);
const BATCH: u32 = 1000;

/// Creates a topic and returns when every partition answers with an offset.
pub async fn create(bootstrap: &str, topic: &str, partitions: u32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        client_config(bootstrap).create().context("creating a Kafka admin client")?;
    let count = i32::try_from(partitions).context("that many partitions are not possible")?;
    let new = NewTopic::new(topic, count, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL));
    let results = admin.create_topics([&new], &options).await.with_context(|| format!("creating topic {topic}"))?;
    for result in results {
        result.map_err(|(_, code)| anyhow!("creating topic {topic}: {code}"))?;
    }
    wait_until(&format!("topic {topic} with {partitions} partitions that answer"), DEADLINE, async || {
        answers(bootstrap, topic, count).await
    })
    .await
}

async fn answers(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let (config, topic) = (client_config(bootstrap), topic.to_owned());
    let look = move || -> Result<()> {
        let consumer: BaseConsumer = config.create().context("creating a Kafka client")?;
        for partition in 0..partitions {
            consumer
                .fetch_watermarks(&topic, partition, CALL)
                .with_context(|| format!("asking partition {partition}"))?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(look).await.context("asking Kafka")?
}

/// Produces records and returns when all are stored. Their values are log lines in JSON.
pub async fn produce(bootstrap: &str, topic: &str, records: u32, keyed: bool) -> Result<()> {
    let mut config = client_config(bootstrap);
    // The sticky choice would put a small batch into one partition.
    config.set("message.timeout.ms", "30000").set("linger.ms", "5").set("sticky.partitioning.linger.ms", "0");
    let producer: FutureProducer = config.create().context("creating a Kafka producer")?;
    let service = topic.rsplit('.').next().unwrap_or(topic);
    for first in (0..records).step_by(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
        let batch = first..records.min(first.saturating_add(BATCH));
        try_join_all(batch.map(|number| send(&producer, topic, service, keyed.then_some(number), number))).await?;
    }
    producer.flush(DEADLINE).context("flushing the producer")
}

/// Produces one record without a key whose time lies so far in the past.
pub async fn produce_at(bootstrap: &str, topic: &str, age: Duration) -> Result<()> {
    let mut config = client_config(bootstrap);
    let producer: FutureProducer =
        config.set("message.timeout.ms", "30000").create().context("creating a Kafka producer")?;
    let age = i64::try_from(age.as_millis()).context("an age")?;
    let record =
        FutureRecord::<(), str>::to(topic).payload("old").timestamp(jiff::Timestamp::now().as_millisecond() - age);
    let sent = producer.send(record, DEADLINE).await;
    sent.map(drop).map_err(|(error, _)| error).with_context(|| format!("producing to {topic}"))
}

async fn send(producer: &FutureProducer, topic: &str, service: &str, key: Option<u32>, number: u32) -> Result<()> {
    let value = line(service, number.into());
    let key = key.map(|key| format!("key-{key}"));
    let mut record = FutureRecord::to(topic).payload(&value);
    record.key = key.as_ref();
    let sent = producer.send(record, DEADLINE).await;
    sent.map(drop).map_err(|(error, _)| error).with_context(|| format!("producing to {topic}"))
}

/// A log line in JSON, of this moment.
pub(crate) fn line(service: &str, number: u64) -> String {
    let now = jiff::Timestamp::now();
    let (time, message) = (format!("{now:.3}"), format!("record {number}"));
    serde_json::json!({"service_name": service, "timestamp": time, "level": "INFO", "message": message}).to_string()
}

/// The sum of the end offsets of a topic, read by a client of its own.
pub async fn end_offsets(bootstrap: &str, topic: &str) -> Result<i64> {
    let (config, topic) = (client_config(bootstrap), topic.to_owned());
    let look = move || -> Result<i64> {
        let consumer: BaseConsumer = config.create().context("creating a Kafka client")?;
        let metadata = consumer.fetch_metadata(Some(&topic), CALL).context("asking Kafka for a topic")?;
        let Some(found) = metadata.topics().first() else { bail!("Kafka does not know topic {topic}") };
        ensure!(!found.partitions().is_empty(), "topic {topic} has no partition");
        found.partitions().iter().try_fold(0, |sum, partition| {
            let (_, end) = consumer
                .fetch_watermarks(&topic, partition.id(), CALL)
                .with_context(|| format!("asking partition {}", partition.id()))?;
            Ok(sum + end)
        })
    };
    tokio::task::spawn_blocking(look).await.context("asking Kafka")?
}
