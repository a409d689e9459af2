use crate::world::{World, apply, plan};
use logwise_kafka::{KafkaClient, Outcome, describe};
use logwise_plan::partitions::Grow;
use std::collections::BTreeMap;
use std::sync::Arc;

fn outcomes(results: Vec<(Grow, Outcome)>) -> Vec<Outcome> {
    results.into_iter().map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn a_topic_grows_once_and_a_repetition_is_already_so() {
    let world = World::new();
    world.create(&[("a", 1), ("b", 2)]).await;
    let (client, grow) = (world.client(), plan(&[world.grow("a", 1, 3), world.grow("b", 2, 6)]));
    let first = apply(&client, &grow).await;
    assert_eq!(first.iter().map(|(grow, _)| grow).collect::<Vec<_>>(), grow.actions.iter().collect::<Vec<_>>());
    assert_eq!(outcomes(first), [Outcome::Done, Outcome::Done]);
    world.settles_at(&[("a", 3), ("b", 6)]).await;
    assert_eq!(outcomes(apply(&client, &grow).await), [Outcome::AlreadySo, Outcome::AlreadySo]);
    world.settles_at(&[("a", 3), ("b", 6)]).await;
    world.delete(&["a", "b"]).await;
}

#[tokio::test]
async fn a_growth_that_came_too_late_is_not_sent() {
    let world = World::new();
    world.create(&[("a", 1)]).await;
    let late = || Ok(|| Err("the term is over".to_owned()));
    let results = logwise_kafka::apply(&world.client(), &plan(&[world.grow("a", 1, 3)]), late).await;
    assert_eq!(outcomes(results), [Outcome::NotSent { why: "the term is over".into() }]);
    world.settles_at(&[("a", 1)]).await;
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_smaller_total_never_shrinks_a_topic() {
    let world = World::new();
    world.create(&[("a", 4)]).await;
    for from in [1, 4] {
        let results = apply(&world.client(), &plan(&[world.grow("a", from, 2)])).await;
        assert_eq!(outcomes(results), [Outcome::Superseded { partitions: 4 }]);
    }
    world.settles_at(&[("a", 4)]).await;
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn a_refused_topic_does_not_hold_up_its_siblings() {
    let world = World::new();
    world.create(&[("a", 1), ("y", 1), ("z", 1)]).await;
    let grow =
        plan(&[world.grow("a", 1, 2), world.grow("ghost", 1, 2), world.grow("y", 1, 50_000), world.grow("z", 1, 3)]);
    let results = outcomes(apply(&world.client(), &grow).await);
    assert_eq!(results[0], Outcome::Done);
    assert_eq!(results[1], Outcome::Refused { why: "the topic does not exist".into() });
    assert!(matches!(&results[2], Outcome::Refused { why } if !why.is_empty()), "{:?}", results[2]);
    assert_eq!(results[3], Outcome::Done);
    world.settles_at(&[("a", 2), ("y", 1), ("z", 3)]).await;
    world.delete(&["a", "y", "z"]).await;
}

#[tokio::test]
async fn a_topic_made_anew_with_another_count_is_left_alone() {
    let world = World::new();
    world.create(&[("a", 2)]).await;
    let stale = plan(&[world.grow("a", 2, 8)]);
    world.delete(&["a"]).await;
    world.create(&[("a", 5)]).await;
    assert_eq!(outcomes(apply(&world.client(), &stale).await), [Outcome::Superseded { partitions: 5 }]);
    world.settles_at(&[("a", 5)]).await;
    world.delete(&["a"]).await;
}

/// The id of topic `a`, which has two partitions.
async fn id_of_a(world: &World, client: &Arc<KafkaClient>) -> String {
    let described = describe(client, &BTreeMap::from([(world.name("a"), vec![0, 1])])).await;
    described.topics[&world.name("a")].id.known().expect("the topic has told its id").clone()
}

/// Nothing but its id tells it from the one that was measured.
#[tokio::test]
async fn a_topic_made_anew_with_the_same_count_is_left_alone() {
    let world = World::new();
    world.create(&[("a", 2)]).await;
    let client = world.client();
    let grow = |id: String| plan(&[Grow { topic_id: Some(id), ..world.grow("a", 2, 8) }]);
    let stale = grow(id_of_a(&world, &client).await);
    world.delete(&["a"]).await;
    world.create(&[("a", 2)]).await;
    let why = "it was deleted and made again since it was measured".to_owned();
    assert_eq!(outcomes(apply(&client, &stale).await), [Outcome::NotSent { why }]);
    world.settles_at(&[("a", 2)]).await;
    let present = grow(id_of_a(&world, &client).await);
    assert_eq!(outcomes(apply(&client, &present).await), [Outcome::Done]);
    world.settles_at(&[("a", 8)]).await;
    world.delete(&["a"]).await;
}

#[tokio::test]
async fn two_at_once_reach_exactly_the_target() {
    let world = World::new();
    world.create(&[("a", 1), ("b", 1)]).await;
    let grow = plan(&[world.grow("a", 1, 3), world.grow("b", 1, 4)]);
    let (one, other) = (world.client(), world.client());
    let (one, other) = tokio::join!(apply(&one, &grow), apply(&other, &grow));
    for outcome in outcomes(one).into_iter().chain(outcomes(other)) {
        assert!(matches!(outcome, Outcome::Done | Outcome::AlreadySo), "{outcome:?}");
    }
    world.settles_at(&[("a", 3), ("b", 4)]).await;
    world.delete(&["a", "b"]).await;
}

#[tokio::test]
async fn nothing_to_do_asks_nobody() {
    let client = logwise_kafka::KafkaClients::default().get(&["127.0.0.1:1".to_owned()]).unwrap();
    assert!(apply(&client, &plan(&[])).await.is_empty());
}
