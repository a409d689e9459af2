//! The broker, topics of our own on it, and an independent view of them.

use logwise_kafka::{KafkaClient, KafkaClients, Look, Outcome, observe};
use logwise_plan::partitions::{Grow, Plan};
use logwise_plan::selector::TopicSelector;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything that ends by itself may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Topics whose names nobody else uses, and clients to make and read them.
pub struct World {
    pub prefix: String,
    pub admin: AdminClient<DefaultClientContext>,
}

pub fn bootstrap() -> Vec<String> {
    let servers = std::env::var("KAFKA_BOOTSTRAP")
        .expect("KAFKA_BOOTSTRAP must name a running Kafka broker, such as 127.0.0.1:9092");
    servers.split(',').map(str::to_owned).collect()
}

impl World {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap().join(","));
        Self { prefix: format!("t{now}-{}-{number}.", std::process::id()), admin: config.create().unwrap() }
    }

    pub fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    pub fn selector(&self) -> TopicSelector {
        TopicSelector::NamePrefix(self.prefix.clone())
    }

    pub fn client(&self) -> Arc<KafkaClient> {
        KafkaClients::default().get(&bootstrap()).unwrap()
    }

    /// Creates topics and waits until each of them can be read.
    pub async fn create(&self, topics: &[(&str, i32)]) {
        let names: Vec<(String, i32)> = topics.iter().map(|(name, count)| (self.name(name), *count)).collect();
        let new: Vec<NewTopic> =
            names.iter().map(|(name, count)| NewTopic::new(name, *count, TopicReplication::Fixed(1))).collect();
        for batch in new.chunks(100) {
            let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
            for created in self.admin.create_topics(batch, &options).await.unwrap() {
                created.unwrap();
            }
        }
        let client = self.client();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let look = observe(&client, Some(&self.selector())).await;
            let read = look.facts.topics.known().map_or(0, |topics| {
                names
                    .iter()
                    .filter(|(name, count)| {
                        topics.get(name).is_some_and(|t| t.partitions == *count && t.end_offsets.known().is_some())
                    })
                    .count()
            });
            if read == names.len() {
                return;
            }
            assert!(Instant::now() < deadline, "{read} of {} topics can be read: {:?}", names.len(), look.error);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn delete(&self, topics: &[&str]) {
        let names: Vec<String> = topics.iter().map(|topic| self.name(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for deleted in self.admin.delete_topics(&names, &AdminOptions::new()).await.unwrap() {
            deleted.unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        while self.counts().keys().any(|name| topics.contains(&name.as_str())) {
            assert!(Instant::now() < deadline, "{names:?} are still listed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Partition counts of our topics, without the prefix, read by a client that is not under test.
    pub fn counts(&self) -> BTreeMap<String, i32> {
        let metadata = self.admin.inner().fetch_metadata(None, PATIENCE).unwrap();
        let ours = metadata.topics().iter().filter_map(|topic| {
            let name = topic.name().strip_prefix(&self.prefix)?;
            Some((name.to_owned(), i32::try_from(topic.partitions().len()).unwrap()))
        });
        ours.collect()
    }

    /// Waits until our topics have these counts: brokers show a growth a moment after it was answered.
    pub async fn settles_at(&self, expected: &[(&str, i32)]) {
        let expected: BTreeMap<String, i32> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let deadline = Instant::now() + PATIENCE;
        while self.counts() != expected {
            assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes `count` records into a partition.
    pub fn produce(&self, topic: &str, partition: i32, count: usize) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap().join(","));
        let producer: BaseProducer = config.create().unwrap();
        let topic = self.name(topic);
        for _ in 0..count {
            let record: BaseRecord<'_, (), str> = BaseRecord::to(&topic).partition(partition).payload("a line");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    pub fn grow(&self, topic: &str, from: i32, to: i32) -> Grow {
        Grow { topic: self.name(topic), from, to, topic_id: None }
    }
}

pub fn plan(actions: &[Grow]) -> Plan {
    Plan {
        sizes: BTreeMap::new(),
        actions: actions.to_vec(),
        holds: BTreeMap::new(),
        proposals: BTreeMap::new(),
        blocked: None,
        next_look_seconds: 60,
    }
}

/// The end offsets a look found, by topic.
pub fn ends(look: &Look) -> BTreeMap<String, logwise_plan::Known<i64>> {
    let topics = look.facts.topics.known().expect("the topics were read");
    topics.iter().map(|(name, topic)| (name.clone(), topic.end_offsets.clone())).collect()
}

/// Growths that nobody stands in the way of.
pub async fn apply(client: &Arc<KafkaClient>, plan: &Plan) -> Vec<(Grow, Outcome)> {
    logwise_kafka::apply(client, plan, || Ok(|| Ok(()))).await
}
