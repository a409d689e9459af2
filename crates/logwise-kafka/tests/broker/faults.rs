//! What the adapter makes of requests, as counted on the wire, and of answers that fail or never come.

use crate::proxy::{CREATE_PARTITIONS, Fault, LIST_OFFSETS, METADATA, Proxy};
use crate::world::{World, apply, ends, plan};
use logwise_kafka::{KafkaClient, KafkaClients, Outcome, observe};
use logwise_plan::Known;
use logwise_runtime::ErrorClass;
use std::sync::Arc;
use std::time::Duration;

fn through(proxy: &Proxy) -> Arc<KafkaClient> {
    KafkaClients::new(Duration::from_secs(2)).get(std::slice::from_ref(&proxy.address)).unwrap()
}

#[tokio::test]
async fn a_look_at_300_topics_is_one_metadata_and_one_list_offsets_request() {
    let world = World::new();
    let names: Vec<String> = (0..300).map(|number| format!("many-{number}")).collect();
    let topics: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    world.create(&topics).await;
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy);
    // Connecting has its own requests; what counts is a look of an open client.
    observe(&client, None).await;
    for _ in 0..3 {
        let (metadata, offsets) = (proxy.requests(METADATA), proxy.requests(LIST_OFFSETS));
        let look = observe(&client, Some(&world.selector())).await;
        assert_eq!(ends(&look).len(), 300);
        assert!(ends(&look).values().all(|end| *end == Known::Known(0)));
        assert_eq!(proxy.requests(METADATA) - metadata, 1, "metadata requests");
        assert_eq!(proxy.requests(LIST_OFFSETS) - offsets, 1, "ListOffsets requests");
    }
    let offsets = proxy.requests(LIST_OFFSETS);
    observe(&client, None).await;
    assert_eq!(proxy.requests(LIST_OFFSETS), offsets, "a look at the brokers alone reads no offset");
    world.delete(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_topic_whose_partition_fails_is_unknown_and_its_siblings_are_read() {
    let world = World::new();
    world.create(&[("good", 2), ("bad", 1)]).await;
    world.produce("good", 1, 3);
    world.produce("bad", 0, 9);
    let proxy = Proxy::start(&world).await;
    proxy.fail_offsets_of(&world.name("bad"), 56);
    let look = observe(&through(&proxy), Some(&world.selector())).await;
    assert!(look.error.is_none(), "{:?}", look.error);
    let ends = ends(&look);
    assert_eq!(ends[&world.name("good")], Known::Known(3));
    assert!(
        matches!(&ends[&world.name("bad")], Known::Unknown(why) if why.starts_with("partition 0: disk error")),
        "{ends:?}"
    );
    world.delete(&["good", "bad"]).await;
}

#[tokio::test]
async fn a_leader_that_never_tells_its_offsets_gives_no_sample() {
    let world = World::new();
    world.create(&[("a", 2)]).await;
    world.produce("a", 0, 4);
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy);
    proxy.spoil(LIST_OFFSETS, 0, Fault::Hang);
    let look = observe(&client, Some(&world.selector())).await;
    let error = look.error.as_ref().unwrap();
    assert!(error.to_string().contains("did not tell its end offsets within 2 s"), "{error}");
    assert_eq!(error.class(), ErrorClass::Transient);
    assert_eq!(ends(&look)[&world.name("a")], Known::Unknown(error.message()));
    assert!(look.cluster.known().is_some(), "what was read is kept");
    proxy.heal();
    let look = observe(&client, Some(&world.selector())).await;
    assert_eq!(ends(&look)[&world.name("a")], Known::Known(4), "{:?}", look.error);
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_broker_that_accepts_and_never_answers_is_given_up_and_found_again() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let proxy = Proxy::start(&world).await;
    let client = through(&proxy);
    proxy.spoil(METADATA, 0, Fault::Hang);
    for _ in 0..4 {
        let look = observe(&client, Some(&world.selector())).await;
        let error = look.error.unwrap();
        assert!(error.message().contains("did not answer within 2 s"), "{}", error.message());
        assert!(look.facts.topics.is_unknown() && look.cluster.is_unknown());
    }
    proxy.heal();
    let look = observe(&client, Some(&world.selector())).await;
    assert_eq!(ends(&look)[&world.name("a")], Known::Known(0), "{:?}", look.error);
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_growth_whose_answer_is_lost_is_looked_up_and_found_done() {
    for fault in [Fault::Cut, Fault::Hang] {
        let world = World::new();
        world.create(&[("a", 1), ("b", 1)]).await;
        let proxy = Proxy::start(&world).await;
        let client = through(&proxy);
        // The first is the validation.
        proxy.spoil(CREATE_PARTITIONS, 1, fault);
        let results = apply(&client, &plan(&[world.grow("a", 1, 3), world.grow("b", 1, 2)])).await;
        assert!(results.iter().all(|(_, outcome)| *outcome == Outcome::Done), "{fault:?}: {results:?}");
        world.settles_at(&[("a", 3), ("b", 2)]).await;
        world.delete(&["a", "b"]).await;
    }
}

#[tokio::test]
async fn nothing_is_sent_when_the_validation_has_no_answer() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let proxy = Proxy::start(&world).await;
    proxy.spoil(CREATE_PARTITIONS, 0, Fault::Hang);
    let results = apply(&through(&proxy), &plan(&[world.grow("a", 1, 3)])).await;
    assert!(
        matches!(&results[0].1, Outcome::NotSent { why } if why.contains("did not confirm new partitions within 2 s")),
        "{results:?}"
    );
    world.settles_at(&[("a", 1)]).await;
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_whole_batch_is_validated_and_sent_with_one_request_each() {
    let world = World::new();
    world.create(&[("a", 1), ("b", 1), ("c", 1)]).await;
    let proxy = Proxy::start(&world).await;
    let grow = plan(&[world.grow("a", 1, 2), world.grow("b", 1, 2), world.grow("c", 1, 2)]);
    let client = through(&proxy);
    let results = apply(&client, &grow).await;
    assert!(results.iter().all(|(_, outcome)| *outcome == Outcome::Done), "{results:?}");
    assert_eq!(proxy.requests(CREATE_PARTITIONS), 2);
    world.settles_at(&[("a", 2), ("b", 2), ("c", 2)]).await;
    apply(&client, &grow).await;
    assert_eq!(proxy.requests(CREATE_PARTITIONS), 2, "a repetition changes and asks nothing");
    world.delete(&["a", "b", "c"]).await;
}
