//! Topics of a cluster, by rdkafka.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::Brokers;
use crate::kafka::client_config;
use crate::topics;
use crate::world::wait_until;

/// Topics of one request.
const BATCH: usize = 100;
const CHANGE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(90);

impl Brokers {
    /// Creates a topic and returns when every partition answers with an offset.
    pub async fn create_topic(&self, name: &str, partitions: i32, replication: i32) -> Result<()> {
        self.create_topics(&[(name.to_owned(), partitions)], replication).await
    }

    /// Creates topics with so many partitions each, and returns when every partition answers with an offset.
    pub async fn create_topics(&self, topics: &[(String, i32)], replication: i32) -> Result<()> {
        let admin = self.admin()?;
        for batch in topics.chunks(BATCH) {
            let new = batch
                .iter()
                .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(replication)));
            let new: Vec<NewTopic<'_>> = new.collect();
            for result in admin.create_topics(&new, &options()).await.context("creating topics")? {
                result.map_err(|(name, code)| anyhow!("creating topic {name}: {code}"))?;
            }
        }
        let what = format!("{} new topics that answer", topics.len());
        wait_until(&what, DEADLINE, async || self.answers(topics).await).await
    }

    /// Number of partitions of a topic, by the brokers' metadata.
    pub async fn partitions(&self, topic: &str) -> Result<u32> {
        let count = |topic: &MetadataTopic| u32::try_from(topic.partitions().len()).context("too many partitions");
        self.metadata(topic, count).await
    }

    /// The smallest number of in-sync copies among a topic's partitions.
    pub async fn fewest_in_sync(&self, topic: &str) -> Result<usize> {
        let fewest = |topic: &MetadataTopic| {
            topic.partitions().iter().map(|partition| partition.isr().len()).min().context("no partition is listed")
        };
        self.metadata(topic, fewest).await
    }

    /// Returns when every partition of a topic has a leader and all its copies are in sync.
    pub async fn wait_in_sync(&self, topic: &str) -> Result<()> {
        wait_until(&format!("all copies of {topic} in sync"), DEADLINE, async || self.metadata(topic, in_sync).await)
            .await
    }

    /// Produces that many records, with a key each or none, and returns when all are stored.
    pub async fn produce(&self, topic: &str, records: u32, keyed: bool) -> Result<()> {
        topics::produce(&self.bootstrap(), topic, records, keyed).await
    }

    /// Changes one setting of a topic, the others stay, and returns when it is read back.
    pub async fn set_topic_config(&self, topic: &str, key: &str, value: &str) -> Result<()> {
        let admin = self.admin()?;
        let now = settings(&admin, topic).await?;
        // The request replaces all settings that the topic has of its own.
        let own = now.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let own = own.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
        let wanted = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let wanted = own.fold(wanted, |wanted, (key, value)| wanted.set(key, value)).set(key, value);
        let altered = admin.alter_configs([&wanted], &options()).await;
        for result in altered.with_context(|| format!("changing {key} of {topic}"))? {
            result.map_err(|(_, code)| anyhow!("changing {key} of {topic}: {code}"))?;
        }
        // The controller answers before the brokers know.
        wait_until(&format!("{key} of {topic} to be {value}"), DEADLINE, async || {
            let now = settings(&admin, topic).await?;
            let read = now.get(key).and_then(|entry| entry.value.as_deref());
            ensure!(read == Some(value), "it is {read:?}");
            Ok(())
        })
        .await
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        client_config(&self.bootstrap()).create().context("creating a Kafka admin client")
    }

    /// Reads something off what the brokers say about a topic.
    async fn metadata<T: Send + 'static>(
        &self,
        topic: &str,
        read: impl FnOnce(&MetadataTopic) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (config, topic) = (client_config(&self.bootstrap()), topic.to_owned());
        let look = move || -> Result<T> {
            let consumer: BaseConsumer = config.create().context("creating a Kafka client")?;
            let metadata = consumer.fetch_metadata(Some(&topic), LOOK).context("asking Kafka for a topic")?;
            let Some(found) = metadata.topics().first() else { bail!("Kafka does not know topic {topic}") };
            if let Some(error) = found.error() {
                bail!("asking Kafka for topic {topic}: {}", RDKafkaErrorCode::from(error));
            }
            read(found).with_context(|| format!("asking Kafka for topic {topic}"))
        };
        tokio::task::spawn_blocking(look).await.context("asking Kafka")?
    }

    /// A new topic is listed before its logs are ready.
    async fn answers(&self, topics: &[(String, i32)]) -> Result<()> {
        let (config, topics) = (client_config(&self.bootstrap()), topics.to_vec());
        let look = move || -> Result<()> {
            let mut ends = TopicPartitionList::new();
            for (name, partitions) in &topics {
                ends.add_partition_range(name, 0, partitions - 1);
            }
            ends.set_all_offsets(Offset::End).context("asking for the end of each partition")?;
            let consumer: BaseConsumer = config.create().context("creating a Kafka client")?;
            let ends = consumer.offsets_for_times(ends, LOOK).context("asking partitions for their ends")?;
            for end in ends.elements() {
                let place = || format!("asking partition {} of {} for its end", end.partition(), end.topic());
                end.error().with_context(place)?;
                ensure!(matches!(end.offset(), Offset::Offset(_)), "{}: no answer", place());
            }
            Ok(())
        };
        tokio::task::spawn_blocking(look).await.context("asking Kafka")?
    }
}

async fn settings(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<ConfigResource> {
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
    let described = described.with_context(|| format!("reading the settings of {topic}"))?.pop();
    let described = described.with_context(|| format!("Kafka said nothing about the settings of {topic}"))?;
    described.map_err(|code| anyhow!("reading the settings of {topic}: {code}"))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(CHANGE)).request_timeout(Some(CHANGE))
}

fn in_sync(topic: &MetadataTopic) -> Result<()> {
    for partition in topic.partitions() {
        let (in_sync, copies) = (partition.isr().len(), partition.replicas().len());
        ensure!(
            partition.leader() >= 0 && in_sync == copies,
            "partition {}: leader {}, {in_sync} of {copies} copies in sync",
            partition.id(),
            partition.leader()
        );
    }
    Ok(())
}
