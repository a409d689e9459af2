//! The full look: ids, settings and earliest offsets.

use crate::proxy::{DESCRIBE_CONFIGS, Fault, LIST_OFFSETS, METADATA, Proxy};
use crate::world::{PATIENCE, World};
use logwise_kafka::{Description, KafkaClient, KafkaClients, KafkaError, describe, observe};
use logwise_plan::Known;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn asked(world: &World, topics: &[(&str, i32)]) -> BTreeMap<String, Vec<i32>> {
    topics.iter().map(|(topic, partitions)| (world.name(topic), (0..*partitions).collect())).collect()
}

/// Each topic once all of them can be read.
async fn described(client: &Arc<KafkaClient>, asked: &BTreeMap<String, Vec<i32>>) -> BTreeMap<String, Description> {
    let until = Instant::now() + PATIENCE;
    loop {
        let look = describe(client, asked).await;
        if look.error.is_none() && look.topics.values().all(|topic| topic.earliest.known().is_some()) {
            return look.topics;
        }
        assert!(Instant::now() < until, "{look:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn create_with(world: &World, topic: &str, settings: &[(&str, &str)]) {
    let name = world.name(topic);
    let mut new = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    for created in world.admin.create_topics(&[new], &options).await.unwrap() {
        created.unwrap();
    }
}

fn through(proxy: &Proxy, deadline: Duration) -> Arc<KafkaClient> {
    KafkaClients::new(deadline).get(std::slice::from_ref(&proxy.address)).unwrap()
}

#[tokio::test]
async fn a_topic_made_anew_has_another_id() {
    let world = World::new();
    let (client, asked) = (world.client(), asked(&world, &[("a", 1)]));
    let id = async || {
        world.create(&[("a", 1)]).await;
        let topics = described(&client, &asked).await;
        assert_eq!(topics, described(&client, &asked).await, "as long as it lives, nothing changes");
        world.delete(&["a"]).await;
        topics[&world.name("a")].id.known().unwrap().clone()
    };
    let (first, second) = (id().await, id().await);
    assert_ne!(first, second);
    assert_eq!((first.len(), second.len()), (22, 22));
}

#[tokio::test]
async fn settings_of_a_topic_are_told_apart_from_those_of_others() {
    let world = World::new();
    create_with(&world, "hour", &[("retention.ms", "3600000"), ("min.insync.replicas", "2")]).await;
    create_with(&world, "ever", &[("retention.ms", "-1")]).await;
    create_with(&world, "compact", &[("cleanup.policy", "compact"), ("retention.ms", "3600000")]).await;
    create_with(&world, "plain", &[]).await;
    let names = ["hour", "ever", "compact", "plain"];
    let topics = described(&world.client(), &asked(&world, &names.map(|name| (name, 1)))).await;
    let retention = |name: &str| topics[&world.name(name)].retention_ms.clone();
    assert_eq!(retention("hour"), Known::Known(3_600_000));
    assert_eq!(retention("ever"), Known::Absent);
    assert_eq!(retention("compact"), Known::Absent);
    assert!(matches!(retention("plain"), Known::Known(of_the_broker) if of_the_broker > 0), "{topics:?}");
    assert_eq!(topics[&world.name("hour")].min_in_sync, Known::Known(2));
    assert_eq!(topics[&world.name("plain")].min_in_sync, Known::Known(1));
    world.delete(&names).await;
}

#[tokio::test]
async fn records_that_were_deleted_move_the_earliest_offset() {
    let world = World::new();
    world.create(&[("a", 2)]).await;
    world.produce("a", 0, 10);
    world.produce("a", 1, 3);
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&world.name("a"), 0, Offset::Offset(4)).unwrap();
    let deleted = world.admin.delete_records(&gone, &AdminOptions::new()).await.unwrap();
    deleted.elements().iter().for_each(|of| of.error().unwrap());
    let topics = described(&world.client(), &asked(&world, &[("a", 2)])).await;
    assert_eq!(topics[&world.name("a")].earliest, Known::Known(BTreeMap::from([(0, 4), (1, 0)])));
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_full_look_at_450_topics_is_three_batches_of_each_kind() {
    let world = World::new();
    let names: Vec<String> = (0..450).map(|number| format!("many-{number}")).collect();
    let topics: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    world.create(&topics).await;
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy, Duration::from_secs(10));
    // What every look does before: leaders are known then.
    observe(&client, Some(&world.selector())).await;
    let before = [METADATA, DESCRIBE_CONFIGS, LIST_OFFSETS].map(|kind| proxy.requests(kind));
    let look = describe(&client, &asked(&world, &topics)).await;
    let after = [METADATA, DESCRIBE_CONFIGS, LIST_OFFSETS].map(|kind| proxy.requests(kind));
    assert!(look.error.is_none(), "{:?}", look.error);
    let ids: BTreeSet<&String> = look.topics.values().filter_map(|topic| topic.id.known()).collect();
    assert_eq!(ids.len(), 450);
    assert!(look.topics.values().all(|topic| topic.retention_ms.known().is_some()));
    assert!(look.topics.values().all(|topic| topic.earliest == Known::Known(BTreeMap::from([(0, 0)]))));
    assert_eq!([0, 1, 2].map(|kind| after[kind] - before[kind]), [3, 3, 1]);
    world.delete(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_topic_that_is_gone_is_unknown_and_its_siblings_are_described() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let client = world.client();
    let began = Instant::now();
    let look = describe(&client, &asked(&world, &[("a", 1), ("ghost", 1)])).await;
    assert!(began.elapsed() < client.deadline(), "nobody waits for a leader of a topic that is gone");
    assert!(look.error.is_none(), "{:?}", look.error);
    let (there, ghost) = (&look.topics[&world.name("a")], &look.topics[&world.name("ghost")]);
    assert!(there.id.known().is_some() && there.retention_ms.known().is_some(), "{there:?}");
    assert_eq!(there.earliest, Known::Known(BTreeMap::from([(0, 0)])));
    assert_eq!(ghost.id, Known::Unknown("Unknown topic or partition".into()));
    assert_eq!(ghost.retention_ms, ghost.min_in_sync.clone().map(i64::from));
    assert!(ghost.retention_ms.is_unknown() && ghost.earliest.is_unknown(), "{ghost:?}");
    assert!(world.counts().keys().eq(["a"]), "a name that is only asked about is not created");
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_leader_that_hangs_leaves_earliest_offsets_unknown_and_nothing_else() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy, Duration::from_secs(2));
    proxy.spoil(LIST_OFFSETS, 0, Fault::Hang);
    let look = describe(&client, &asked(&world, &[("a", 1)])).await;
    let error = look.error.unwrap();
    assert!(matches!(error, KafkaError::ListEarliestOffsets { .. }), "{error:?}");
    assert!(error.message().contains("did not tell first offsets within 2 s"), "{}", error.message());
    let topic = &look.topics[&world.name("a")];
    assert_eq!(topic.earliest, Known::Unknown(error.message()));
    assert!(topic.id.known().is_some() && topic.retention_ms.known().is_some(), "{topic:?}");
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn settings_that_never_come_are_unknown() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy, Duration::from_secs(2));
    proxy.spoil(DESCRIBE_CONFIGS, 0, Fault::Hang);
    let look = describe(&client, &asked(&world, &[("a", 1)])).await;
    let error = look.error.unwrap();
    assert!(matches!(error, KafkaError::DescribeConfigs { .. }), "{error:?}");
    let topic = &look.topics[&world.name("a")];
    assert_eq!(topic.retention_ms, Known::Unknown(error.message()));
    assert_eq!(topic.min_in_sync, Known::Unknown(error.message()));
    assert!(topic.id.known().is_some(), "{topic:?}");
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn nobody_there_leaves_everything_unknown_for_the_same_reason() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = KafkaClients::new(Duration::from_secs(2)).get(&[free.to_string()]).unwrap();
    let look = describe(&client, &BTreeMap::from([("a".to_owned(), vec![0])])).await;
    let why = look.error.unwrap().message();
    assert_eq!(why, format!("Kafka at {free} did not describe topics within 2 s: connection refused"));
    let topic = &look.topics["a"];
    assert_eq!(topic.id, Known::Unknown(why));
    assert!(topic.retention_ms.is_unknown() && topic.min_in_sync.is_unknown() && topic.earliest.is_unknown());
}
