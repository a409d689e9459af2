//! Kafka clusters of a test's own: one of three brokers goes and comes back; a password is asked for, and rights are.
//! Needs `logwise-testbed up`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::kafka::client_config;
use logwise_testbed::topics::end_offsets;
use logwise_testbed::world::wait_until;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(3);
const TOPIC: &str = "logs.web";

#[tokio::test]
async fn of_three_brokers_one_is_killed_and_comes_back() -> Result<()> {
    let setup = Setup { count: 3, ..Setup::default() };
    let brokers = Brokers::start(&Bed::attach()?, "three brokers", setup).await?;
    brokers.create_topic(TOPIC, 4, 3).await?;
    brokers.produce(TOPIC, 100, true).await?;
    brokers.wait_in_sync(TOPIC).await?;
    brokers.kill(2).await?;
    wait_until("a copy to be missed", LONG, async || {
        let in_sync = brokers.fewest_in_sync(TOPIC).await?;
        ensure!(in_sync == 2, "{in_sync} copies are in sync");
        Ok(())
    })
    .await?;
    brokers.produce(TOPIC, 10, false).await?;
    brokers.start_again(2).await?;
    brokers.wait_in_sync(TOPIC).await?;
    assert_eq!(end_offsets(&brokers.bootstrap_of(2)?, TOPIC).await?, 110);
    assert!(brokers.kill(4).await.is_err() && brokers.secure_bootstrap().is_err());
    Ok(())
}

#[tokio::test]
async fn a_secure_broker_asks_for_password_certificate_and_rights() -> Result<()> {
    let setup = Setup { secure: true, authorize: true, ..Setup::default() };
    let brokers = Brokers::start(&Bed::attach()?, "secure broker", setup).await?;
    brokers.create_topic(TOPIC, 1, 1).await?;
    let second = login(&brokers, "SCRAM-SHA-256", brokers.other_user(), brokers.other_password())?;
    assert!(partitions(second.clone(), LONG).await.is_err(), "the second user has a right that nobody gave");
    let user = format!("User:{}", brokers.other_user());
    brokers.kafka_acls(&["--add", "--allow-principal", &user, "--operation", "Describe", "--topic", "*"]).await?;
    brokers.set_topic_config(TOPIC, "retention.ms", "3600000").await?;
    brokers.set_topic_config(TOPIC, "segment.ms", "600000").await?;
    assert_eq!(setting(&brokers, "retention.ms").await?.as_deref(), Some("3600000"), "the second took the first away");
    assert_eq!(setting(&brokers, "segment.ms").await?.as_deref(), Some("600000"));
    let described = brokers.describe(TOPIC).await?;
    assert_eq!((described.partitions, described.replication_factor), (1, 1));
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let right = login(&brokers, mechanism, brokers.user(), brokers.password())?;
        assert_eq!(partitions(right, LONG).await?, 1, "{mechanism}");
    }
    let wrong = login(&brokers, "SCRAM-SHA-512", brokers.user(), brokers.other_password())?;
    is_refused(wrong).await?;
    let mut certified = tls(&brokers, &brokers.tls_bootstrap()?)?;
    assert!(partitions(certified.clone(), SOON).await.is_err(), "no certificate was asked for");
    let (certificate, key) = brokers.client_certificate()?;
    certified.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key);
    assert_eq!(partitions(certified.clone(), LONG).await?, 1);
    assert_eq!(partitions(second.clone(), LONG).await?, 1);
    assert_eq!(grow(&second, 2).await?, Err(RDKafkaErrorCode::TopicAuthorizationFailed));
    assert_eq!(grow(&certified, 2).await?, Ok(()));
    wait_until("two partitions", LONG, async || {
        let partitions = brokers.partitions(TOPIC).await?;
        ensure!(partitions == 2, "there are {partitions}");
        Ok(())
    })
    .await
}

fn tls(brokers: &Brokers, bootstrap: &str) -> Result<ClientConfig> {
    let mut config = client_config(bootstrap);
    config.set("security.protocol", "SSL").set("ssl.ca.pem", brokers.ca()?);
    Ok(config)
}

fn login(brokers: &Brokers, mechanism: &str, user: &str, password: &str) -> Result<ClientConfig> {
    let mut config = tls(brokers, &brokers.secure_bootstrap()?)?;
    config.set("security.protocol", "SASL_SSL").set("sasl.mechanism", mechanism);
    config.set("sasl.username", user).set("sasl.password", password);
    Ok(config)
}

async fn setting(brokers: &Brokers, key: &str) -> Result<Option<String>> {
    let admin: AdminClient<DefaultClientContext> = client_config(&brokers.bootstrap()).create()?;
    let options = AdminOptions::new().request_timeout(Some(LONG));
    let mut described = admin.describe_configs([&ResourceSpecifier::Topic(TOPIC)], &options).await?;
    let described = described.pop().context("no answer")??;
    Ok(described.get(key).and_then(|entry| entry.value.clone()))
}

/// How many partitions of the topic a client sees.
async fn partitions(config: ClientConfig, patience: Duration) -> Result<usize> {
    let look = move || -> Result<usize> {
        let consumer: BaseConsumer = config.create()?;
        let metadata = consumer.fetch_metadata(Some(TOPIC), patience)?;
        let topic = metadata.topics().first().context("no topic is listed")?;
        if let Some(error) = topic.error() {
            bail!("{TOPIC}: {}", RDKafkaErrorCode::from(error));
        }
        Ok(topic.partitions().len())
    };
    tokio::task::spawn_blocking(look).await?
}

/// Errors unless the broker says that it refuses this login. That comes as an event: a call that waits for a connection
/// only sees its own deadline.
async fn is_refused(config: ClientConfig) -> Result<()> {
    let look = move || -> Result<()> {
        let consumer: BaseConsumer = config.create()?;
        ensure!(consumer.fetch_metadata(Some(TOPIC), SOON).is_err(), "it was let in");
        let end = Instant::now() + LONG;
        while Instant::now() < end {
            let event = consumer.poll(Duration::from_millis(200));
            let code = event.and_then(|event| event.err()?.rdkafka_error_code());
            if code == Some(RDKafkaErrorCode::Authentication) {
                return Ok(());
            }
        }
        bail!("the broker did not say that it refuses the login")
    };
    tokio::task::spawn_blocking(look).await?
}

/// Asks for so many partitions of the topic.
async fn grow(config: &ClientConfig, partitions: usize) -> Result<Result<(), RDKafkaErrorCode>> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().operation_timeout(Some(LONG)).request_timeout(Some(LONG));
    let mut results = admin.create_partitions([&NewPartitions::new(TOPIC, partitions)], &options).await?;
    let result = results.pop().context("no answer")?;
    Ok(result.map(drop).map_err(|(_, code)| code))
}
