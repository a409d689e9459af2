use crate::world::{World, bootstrap, ends};
use logwise_kafka::{ClusterFacts, KafkaClients, observe};
use logwise_plan::Known;
use logwise_plan::partitions::Topic;
use logwise_plan::selector::{TopicPattern, TopicSelector};
use logwise_runtime::ErrorClass;
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_look_finds_partitions_and_the_sum_of_end_offsets() {
    let world = World::new();
    world.create(&[("a", 3), ("b", 1)]).await;
    world.produce("a", 0, 5);
    world.produce("a", 2, 37);
    let look = observe(&world.client(), Some(&world.selector())).await;
    assert!(look.error.is_none(), "{:?}", look.error);
    let topics = look.facts.topics.known().unwrap();
    assert_eq!(topics[&world.name("a")], Topic::new(3, Known::Known(42)));
    assert_eq!(topics[&world.name("b")].end_offsets, Known::Known(0));
    assert_eq!(topics.len(), 2, "only selected topics");
    let Known::Known(ClusterFacts { cluster_id: Some(id), brokers }) = look.cluster else {
        panic!("{:?}", look.cluster)
    };
    assert!(!id.is_empty() && brokers >= 1);
    world.delete(&["a", "b"]).await;
}

#[tokio::test]
async fn a_pattern_selects_whole_names() {
    let world = World::new();
    world.create(&[("pay", 1), ("pay-old", 1)]).await;
    let pattern = TopicPattern::new(&format!("{}(pay|shop)", world.prefix.replace('.', "[.]"))).unwrap();
    let look = observe(&world.client(), Some(&TopicSelector::Pattern(pattern))).await;
    assert_eq!(ends(&look).into_keys().collect::<Vec<_>>(), [world.name("pay")]);
    world.delete(&["pay", "pay-old"]).await;
}

#[tokio::test]
async fn without_a_selector_only_the_brokers_are_read() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let client = world.client();
    let bare = observe(&client, None).await;
    let full = observe(&client, Some(&world.selector())).await;
    assert!(bare.facts.topics.known().unwrap().is_empty());
    assert!(bare.error.is_none() && bare.cluster.known().is_some());
    assert_eq!(bare.cluster, full.cluster);
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_selector_that_matches_nothing_is_an_empty_answer_not_an_unknown_one() {
    let world = World::new();
    let look = observe(&world.client(), Some(&world.selector())).await;
    assert!(look.facts.topics.known().unwrap().is_empty() && look.error.is_none());
    assert!(look.cluster.known().is_some());
}

#[tokio::test]
async fn nobody_there_is_said_within_the_deadline_with_its_cause() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let deadline = Duration::from_secs(2);
    let client = KafkaClients::new(deadline).get(&[free.to_string()]).unwrap();
    for selector in [Some(&TopicSelector::NamePrefix("logs.".into())), None] {
        let began = Instant::now();
        let look = observe(&client, selector).await;
        assert!(began.elapsed() < crate::world::PATIENCE, "the deadline is kept");
        let error = look.error.unwrap();
        assert_eq!(error.message(), format!("Kafka at {free} did not answer within 2 s: connection refused"));
        assert_eq!(error.class(), ErrorClass::Transient);
        assert_eq!(look.facts.topics, Known::Unknown(error.message()));
        assert_eq!(look.cluster, Known::Unknown(error.message()));
    }
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    let client = KafkaClients::new(Duration::from_secs(2)).get(&["no-such-host.invalid:9092".to_owned()]).unwrap();
    let error = observe(&client, None).await.error.unwrap();
    assert!(error.message().contains("failed to resolve 'no-such-host.invalid:9092'"), "{}", error.message());
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test]
async fn all_who_name_the_same_brokers_share_one_client() {
    let clients = KafkaClients::default();
    let one = clients.get(&bootstrap()).unwrap();
    let mut turned = bootstrap();
    turned.reverse();
    assert!(std::sync::Arc::ptr_eq(&one, &clients.get(&turned).unwrap()));
}
