//! Looking for hours must not cost memory. Alone in its process, so that nothing else moves the figure.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use logwise_kafka::acl::{Operation, authorized};
use logwise_kafka::{KafkaClient, KafkaClients, describe, observe, oldest_unread, sample_keys};
use logwise_plan::Known;
use logwise_plan::partitions::Keys;
use logwise_plan::selector::TopicSelector;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Looks before the first figure: allocators and librdkafka's buffers grow to their working size.
const WARM_UP: usize = 200;
const LOOKS: usize = 2_000;
/// A read takes longer than a look, as it makes two clients of its own.
const WARM_UP_READS: usize = 50;
const READS: usize = 150;
/// Without the guards of the FFI module, so many looks, full looks or reads each cost more than this.
const MAX_GROWTH: u64 = 4 << 20;

/// Topics of one partition that are looked at.
const TOPICS: usize = 20;
/// Partitions of the topic whose records are read: as many as one call takes.
const PARTITIONS: i32 = 200;
/// Those of them that hold records, and how many each: what a sample looks at.
const WRITTEN: i32 = 4;
const RECORDS: i64 = 16;

/// How long anything that ends by itself may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The clients of a read are closed on threads of their own.
const CLOSING: Duration = Duration::from_secs(1);

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// By how many bytes the process grows in `calls` calls that follow `warm_up` ones.
async fn growth(warm_up: usize, calls: usize, call: impl AsyncFn(usize)) -> u64 {
    let mut before = 0;
    for number in 0..warm_up + calls {
        if number == warm_up {
            tokio::time::sleep(CLOSING).await;
            before = resident_bytes();
        }
        call(number).await;
    }
    tokio::time::sleep(CLOSING).await;
    resident_bytes().saturating_sub(before)
}

fn config(bootstrap: &[String]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap.join(","));
    config
}

/// Long, so that whatever keeps a copy of it shows.
fn name(prefix: &str, topic: &str) -> String {
    format!("{prefix}{topic:0>150}")
}

async fn create(admin: &AdminClient<DefaultClientContext>, topics: &[String], partitions: i32) {
    let new = topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(1)));
    let new: Vec<NewTopic<'_>> = new.collect();
    for created in admin.create_topics(&new, &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
}

fn write(bootstrap: &[String], topic: &str) {
    let producer: BaseProducer = config(bootstrap).create().unwrap();
    let line = "a".repeat(1024);
    for partition in 0..WRITTEN {
        for _ in 0..RECORDS {
            let record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition(partition).payload(line.as_str());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// Samples the partitions that hold records, and asks all for their oldest one. Errors unless everything was told.
async fn read(client: &Arc<KafkaClient>, topic: &str) -> Result<(), String> {
    let ends = BTreeMap::from([(topic.to_owned(), (0..WRITTEN).map(|partition| (partition, RECORDS)).collect())]);
    let keys = sample_keys(client, &ends, PATIENCE).await;
    let positions = (0..PARTITIONS).map(|partition| ((topic.to_owned(), partition), 0)).collect();
    let times = oldest_unread(client, &positions, PATIENCE).await;
    let told = times.iter().all(|((_, partition), time)| match time {
        Known::Known(_) => *partition < WRITTEN,
        Known::Absent => *partition >= WRITTEN,
        Known::Unknown(_) => false,
    });
    if told && keys[topic] == Known::Known(Keys::Without) {
        return Ok(());
    }
    Err(format!("{:?}, {:?}", keys[topic], times.values().find(|time| time.is_unknown())))
}

#[tokio::test]
async fn thousands_of_looks_and_reads_do_not_grow_the_process() {
    let bootstrap: Vec<String> = std::env::var("KAFKA_BOOTSTRAP")
        .expect("KAFKA_BOOTSTRAP must name a running Kafka broker, such as 127.0.0.1:9092")
        .split(',')
        .map(str::to_owned)
        .collect();
    let prefix = format!("leak{}.", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos());
    let mut topics: Vec<String> = (0..TOPICS).map(|number| name(&prefix, &number.to_string())).collect();
    let admin: AdminClient<DefaultClientContext> = config(&bootstrap).create().unwrap();
    create(&admin, &topics, 1).await;

    let clients = KafkaClients::default();
    let client = clients.get(&bootstrap).unwrap();
    let selector = TopicSelector::NamePrefix(prefix.clone());
    let grown = growth(WARM_UP, LOOKS, async |look| {
        let selector = (look % 4 != 0).then_some(&selector);
        assert!(observe(&client, selector).await.error.is_none());
        if let Some(selector) = selector.filter(|_| look % 4 == 1) {
            authorized(&client, selector, &[Operation::Alter]).await.unwrap();
        }
    })
    .await;
    assert!(grown < MAX_GROWTH, "{LOOKS} looks cost {grown} bytes");

    let asked: BTreeMap<String, Vec<i32>> = topics.iter().map(|topic| (topic.clone(), vec![0])).collect();
    let grown = growth(WARM_UP, LOOKS, async |_| {
        let look = describe(&client, &asked).await;
        let mut unknown = look
            .topics
            .values()
            .filter(|topic| topic.id.is_unknown() || topic.retention_ms.is_unknown() || topic.earliest.is_unknown());
        assert!(look.error.is_none(), "{:?}", look.error);
        assert_eq!(unknown.next(), None);
    })
    .await;
    assert!(grown < MAX_GROWTH, "{LOOKS} full looks cost {grown} bytes");

    let topic = name(&prefix, "read");
    create(&admin, std::slice::from_ref(&topic), PARTITIONS).await;
    write(&bootstrap, &topic);
    // A new topic is listed before all its partitions can be read.
    let until = Instant::now() + PATIENCE;
    while let Err(why) = read(&client, &topic).await {
        assert!(Instant::now() < until, "{why}");
    }
    let grown = growth(WARM_UP_READS, READS, async |_| read(&client, &topic).await.unwrap()).await;
    assert!(grown < MAX_GROWTH, "{READS} reads cost {grown} bytes");

    topics.push(topic);
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for deleted in admin.delete_topics(&names, &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
}
