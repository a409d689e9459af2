use crate::world::World;
use logwise_kafka::acl::{Acl, MOST_TOPICS, Operation, Outcome, authorized};
use logwise_kafka::{KafkaClients, KafkaError};
use logwise_plan::selector::{TopicPattern, TopicSelector};
use std::net::TcpListener;
use std::time::Duration;

const ALL: [Operation; 4] = [Operation::Describe, Operation::DescribeConfigs, Operation::Alter, Operation::Read];

fn results(acls: Vec<Acl>) -> Vec<Outcome> {
    assert!(acls.iter().map(|acl| acl.operation).eq(ALL), "{acls:?}");
    acls.into_iter().map(|acl| acl.result).collect()
}

#[tokio::test]
async fn without_an_authorizer_everything_is_allowed_on_the_topics_that_are_there() {
    let world = World::new();
    world.create(&[("a", 1), ("b", 2)]).await;
    let client = world.client();
    let found = results(authorized(&client, &world.selector(), &ALL).await.unwrap());
    assert_eq!(found, vec![Outcome::Allowed; 4]);
    world.settles_at(&[("a", 1), ("b", 2)]).await;
    world.delete(&["a", "b"]).await;
}

#[tokio::test]
async fn a_name_that_is_only_asked_about_is_not_created() {
    let world = World::new();
    let found = results(authorized(&world.client(), &world.selector(), &ALL).await.unwrap());
    let untested = || Outcome::NotTested("no topic to be seen".to_owned());
    assert_eq!(found, [Outcome::Allowed, untested(), untested(), untested()]);
    assert!(world.counts().is_empty(), "{:?}", world.counts());
    let pattern = TopicSelector::Pattern(TopicPattern::new(&format!("{}none", world.prefix)).unwrap());
    let found = results(authorized(&world.client(), &pattern, &ALL).await.unwrap());
    assert_eq!(found, [untested(), untested(), untested(), untested()]);
}

#[tokio::test]
async fn more_topics_than_are_asked_about_are_fine() {
    let world = World::new();
    let names: Vec<String> = (0..MOST_TOPICS + 5).map(|number| format!("t{number:02}")).collect();
    let topics: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    world.create(&topics).await;
    let found = results(authorized(&world.client(), &world.selector(), &ALL).await.unwrap());
    assert_eq!(found, vec![Outcome::Allowed; 4]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.delete(&names).await;
}

#[tokio::test]
async fn nobody_there_is_an_error_and_no_answer() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = KafkaClients::new(Duration::from_secs(2)).get(&[free.to_string()]).unwrap();
    let error = authorized(&client, &TopicSelector::NamePrefix("logs.".into()), &ALL).await.unwrap_err();
    assert!(matches!(error, KafkaError::FetchMetadata { .. }), "{error:?}");
    assert!(error.message().contains("connection refused"), "{}", error.message());
}
