//! Looking for hours must not cost memory. Alone in its process, so that nothing else moves the figure.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use logwise_kafka::acl::{Operation, authorized};
use logwise_kafka::{KafkaClients, observe};
use logwise_plan::selector::TopicSelector;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::time::{SystemTime, UNIX_EPOCH};

/// Looks before the first figure: allocators and librdkafka's buffers grow to their working size.
const WARM_UP: usize = 200;
const LOOKS: usize = 2_000;
/// Without the guards of the FFI module, 2,000 looks at 20 partitions cost more than this.
const MAX_GROWTH: u64 = 4 << 20;

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn two_thousand_looks_do_not_grow_the_process() {
    let bootstrap: Vec<String> = std::env::var("KAFKA_BOOTSTRAP")
        .expect("KAFKA_BOOTSTRAP must name a running Kafka broker, such as 127.0.0.1:9092")
        .split(',')
        .map(str::to_owned)
        .collect();
    let prefix = format!("leak{}.", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos());
    let topic = format!("{prefix}a");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap.join(","));
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let new = [NewTopic::new(&topic, 20, TopicReplication::Fixed(1))];
    admin.create_topics(&new, &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();

    let clients = KafkaClients::default();
    let client = clients.get(&bootstrap).unwrap();
    let selector = TopicSelector::NamePrefix(prefix);
    let mut before = 0;
    for look in 0..WARM_UP + LOOKS {
        if look == WARM_UP {
            before = resident_bytes();
        }
        let selector = (look % 4 != 0).then_some(&selector);
        assert!(observe(&client, selector).await.error.is_none());
        if let Some(selector) = selector.filter(|_| look % 4 == 1) {
            authorized(&client, selector, &[Operation::Alter]).await.unwrap();
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MAX_GROWTH, "{LOOKS} looks cost {grown} bytes");
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}
