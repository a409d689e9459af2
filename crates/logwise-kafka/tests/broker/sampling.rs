//! Single records: keys, and the time of the oldest unread one.

use crate::proxy::{FETCH, Fault, OF_GROUPS, Proxy};
use crate::world::{PATIENCE, World, bootstrap};
use logwise_kafka::{KafkaClient, KafkaClients, describe, observe, oldest_unread, sample_keys};
use logwise_plan::Known;
use logwise_plan::partitions::Keys;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LONG: Duration = Duration::from_secs(20);

fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap().join(","));
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

fn send(producer: &BaseProducer, topic: &str, (partition, key, timestamp): (i32, Option<&str>, Option<i64>)) {
    let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition).payload("a line");
    (record.key, record.timestamp) = (key, timestamp);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

fn produce(world: &World, topic: &str, partition: i32, keys: &[Option<&str>]) {
    let (producer, topic) = (producer(&[]), world.name(topic));
    keys.iter().for_each(|key| send(&producer, &topic, (partition, *key, None)));
    producer.flush(PATIENCE).unwrap();
}

async fn delete_before(world: &World, topic: &str, offset: i64) {
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&world.name(topic), 0, Offset::Offset(offset)).unwrap();
    let deleted = world.admin.delete_records(&gone, &AdminOptions::new()).await.unwrap();
    deleted.elements().iter().for_each(|of| of.error().unwrap());
}

fn through(proxy: &Proxy) -> Arc<KafkaClient> {
    KafkaClients::new(Duration::from_secs(2)).get(std::slice::from_ref(&proxy.address)).unwrap()
}

async fn ends(world: &World, client: &Arc<KafkaClient>) -> BTreeMap<String, BTreeMap<i32, i64>> {
    let look = observe(client, Some(&world.selector())).await;
    let topics = look.ends.known().unwrap();
    topics.iter().map(|(name, ends)| (name.clone(), ends.known().unwrap().clone())).collect()
}

/// What is found about our topics, without the prefix of their names.
async fn keys(world: &World, client: &Arc<KafkaClient>, deadline: Duration) -> BTreeMap<String, Known<Keys>> {
    let sampled = sample_keys(client, &ends(world, client).await, deadline).await;
    sampled.into_iter().map(|(name, keys)| (name[world.prefix.len()..].to_owned(), keys)).collect()
}

/// Groups, and whether there is a topic for their offsets.
fn groups(world: &World) -> (Vec<String>, bool) {
    let metadata = world.admin.inner().fetch_metadata(None, PATIENCE).unwrap();
    let groups = world.admin.inner().fetch_group_list(None, PATIENCE).unwrap();
    let mut names: Vec<String> = groups.groups().iter().map(|group| group.name().to_owned()).collect();
    names.sort();
    (names, metadata.topics().iter().any(|topic| topic.name() == "__consumer_offsets"))
}

#[tokio::test]
async fn topics_are_told_apart_by_the_keys_of_their_newest_records() {
    let world = World::new();
    let before = groups(&world);
    let names = ["bare", "keyed", "mixed", "blank", "past", "empty", "emptied", "cut"];
    world.create(&names.map(|name| (name, if name == "bare" { 2 } else { 1 }))).await;
    produce(&world, "bare", 0, &[None; 20]);
    produce(&world, "bare", 1, &[None; 3]);
    produce(&world, "keyed", 0, &[Some("k"); 5]);
    produce(&world, "mixed", 0, &[[None; 30].as_slice(), &[Some("k")], &[None; 5]].concat());
    produce(&world, "blank", 0, &[Some("")]);
    produce(&world, "past", 0, &[[Some("k")].as_slice(), &[None; 20]].concat());
    produce(&world, "emptied", 0, &[Some("k"); 3]);
    delete_before(&world, "emptied", 3).await;
    produce(&world, "cut", 0, &[None; 30]);
    delete_before(&world, "cut", 25).await;
    let proxy = Proxy::start(&world).await;
    let found = keys(&world, &through(&proxy), LONG).await;
    let without = ["bare", "past", "empty", "emptied", "cut"];
    for name in names {
        let expected = if without.contains(&name) { Keys::Without } else { Keys::With };
        assert_eq!(found[name], Known::Known(expected), "{name}");
    }
    assert!(proxy.requests(FETCH) > 0);
    assert_eq!(OF_GROUPS.map(|kind| proxy.requests(kind)), [0; 6], "no group is asked about or used");
    assert_eq!(groups(&world), before, "no group and no topic for offsets came into being");
    world.delete(&names).await;
}

#[tokio::test]
async fn markers_of_transactions_are_no_records_and_an_open_one_hides_none() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let (client, topic, writer) = (world.client(), world.name("a"), world.name("writer"));
    let producer = producer(&[("transactional.id", writer.as_str())]);
    producer.init_transactions(PATIENCE).unwrap();
    for _ in 0..10 {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, (0, None, None));
        producer.commit_transaction(PATIENCE).unwrap();
    }
    assert_eq!(keys(&world, &client, LONG).await["a"], Known::Known(Keys::Without));
    producer.begin_transaction().unwrap();
    send(&producer, &topic, (0, Some("k"), None));
    producer.flush(PATIENCE).unwrap();
    assert_eq!(keys(&world, &client, LONG).await["a"], Known::Known(Keys::With));
    producer.abort_transaction(PATIENCE).unwrap();
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn more_topics_than_are_read_at_once_are_all_read() {
    let world = World::new();
    let names: Vec<String> = (0..70).map(|number| format!("t{number:02}")).collect();
    let topics: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    world.create(&topics).await;
    let producer = producer(&[]);
    for (number, name) in names.iter().enumerate() {
        let key = (number % 2 == 1).then_some("k");
        send(&producer, &world.name(name), (0, key, None));
    }
    producer.flush(PATIENCE).unwrap();
    let found = keys(&world, &world.client(), LONG).await;
    for (number, name) in names.iter().enumerate() {
        let expected = if number % 2 == 1 { Keys::With } else { Keys::Without };
        assert_eq!(found[name], Known::Known(expected), "{name}");
    }
    world.delete(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// The 16 bytes of a topic's id, which is written in base64.
async fn id(world: &World, client: &Arc<KafkaClient>, topic: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let name = world.name(topic);
    let look = describe(client, &BTreeMap::from([(name.clone(), vec![0])])).await;
    let (mut bits, mut kept, mut bytes) = (0_u32, 0_u32, Vec::new());
    for letter in look.topics[&name].id.known().unwrap().bytes() {
        let value = LETTERS.iter().position(|known| *known == letter).unwrap();
        bits = (bits << 6) | u32::try_from(value).unwrap();
        kept += 6;
        if kept >= 8 {
            kept -= 8;
            bytes.push(u8::try_from((bits >> kept) & 0xff).unwrap());
        }
    }
    assert_eq!(bytes.len(), 16);
    bytes
}

#[tokio::test]
async fn a_topic_whose_leader_is_not_found_is_unknown_and_the_others_are_told() {
    const NOT_LEADER: i16 = 6;
    let world = World::new();
    world.create(&[("good", 1), ("bad", 1)]).await;
    produce(&world, "good", 0, &[Some("k"), None]);
    produce(&world, "bad", 0, &[None, None]);
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy);
    proxy.fail_fetches_of(id(&world, &client, "bad").await, NOT_LEADER);
    let began = Instant::now();
    let found = keys(&world, &client, LONG).await;
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(found["good"], Known::Known(Keys::With));
    assert_eq!(found["bad"], Known::Unknown("partition 0: no answer from its leader in time".into()));
    world.delete(&["good", "bad"]).await;
}

#[tokio::test]
async fn a_permission_that_is_missing_is_named() {
    const NOT_ALLOWED: i16 = 29;
    let world = World::new();
    world.create(&[("good", 1), ("bad", 1)]).await;
    produce(&world, "good", 0, &[None]);
    produce(&world, "bad", 0, &[None]);
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy);
    proxy.fail_fetches_of(id(&world, &client, "bad").await, NOT_ALLOWED);
    let found = keys(&world, &client, LONG).await;
    assert_eq!(found["good"], Known::Known(Keys::Without));
    let missing = format!("its records may not be read: that takes `READ` on `TOPIC:{}`", world.name("bad"));
    assert_eq!(found["bad"], Known::Unknown(missing));
    world.delete(&["good", "bad"]).await;
}

#[tokio::test]
async fn leaders_that_never_answer_are_waited_for_no_longer_than_was_said() {
    let world = World::new();
    world.create(&[("a", 1), ("empty", 1)]).await;
    produce(&world, "a", 0, &[None]);
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy);
    let asked = ends(&world, &client).await;
    proxy.spoil(FETCH, 0, Fault::Hang);
    for (deadline, at_most) in [(LONG, Duration::from_secs(8)), (Duration::from_secs(1), Duration::from_secs(3))] {
        let began = Instant::now();
        let found = sample_keys(&client, &asked, deadline).await;
        assert!(began.elapsed() < at_most, "{:?}", began.elapsed());
        assert!(found[&world.name("a")].is_unknown(), "{found:?}");
        assert_eq!(found[&world.name("empty")], Known::Known(Keys::Without), "what takes no reading is told");
    }
    world.delete(&["a", "empty"]).await;
}

#[tokio::test]
async fn the_oldest_unread_record_tells_its_time() {
    let world = World::new();
    let before = groups(&world);
    world.create(&[("a", 2), ("b", 1)]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let first = i64::try_from(now).unwrap() - 60_000;
    let producer = producer(&[]);
    for (topic, records) in [("a", 5), ("b", 6)] {
        (0..records).for_each(|number| send(&producer, &world.name(topic), (0, None, Some(first + number))));
    }
    producer.flush(PATIENCE).unwrap();
    delete_before(&world, "b", 4).await;
    let client = world.client();
    let at = |topic: &str, partition: i32| (world.name(topic), partition);
    let positions = BTreeMap::from([(at("a", 0), 3), (at("a", 1), 0), (at("b", 0), 2), (at("ghost", 0), 0)]);
    let found = oldest_unread(&client, &positions, LONG).await;
    assert_eq!(found[&at("a", 0)], Known::Known(first + 3));
    assert_eq!(found[&at("a", 1)], Known::Absent, "nothing is unread");
    let gone = "partition 0: its records begin behind the offset, or end before it";
    assert_eq!(found[&at("b", 0)], Known::Unknown(gone.into()));
    assert!(found[&at("ghost", 0)].is_unknown(), "{found:?}");
    let read = oldest_unread(&client, &BTreeMap::from([(at("a", 0), 5), (at("b", 0), 4)]), LONG).await;
    assert_eq!(read, BTreeMap::from([(at("a", 0), Known::Absent), (at("b", 0), Known::Known(first + 4))]));
    assert_eq!(groups(&world), before, "no group and no topic for offsets came into being");
    world.delete(&["a", "b"]).await;
}

#[tokio::test]
async fn nobody_there_leaves_every_topic_with_records_unknown() {
    let client = KafkaClients::new(Duration::from_secs(2)).get(&["127.0.0.1:1".to_owned()]).unwrap();
    let ends = BTreeMap::from([("a".to_owned(), BTreeMap::from([(0, 7)]))]);
    let found = sample_keys(&client, &ends, LONG).await;
    let Known::Unknown(why) = &found["a"] else { panic!("{found:?}") };
    assert_eq!(why, "Kafka at 127.0.0.1:1 did not answer within 2 s: connection refused");
    let times = oldest_unread(&client, &BTreeMap::from([(("a".to_owned(), 0), 7)]), LONG).await;
    assert!(times.values().all(Known::is_unknown), "{times:?}");
    assert!(sample_keys(&client, &BTreeMap::new(), LONG).await.is_empty());
}
