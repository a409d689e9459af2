//! Three ways to learn the end offsets of all topics.

use super::PREFIX;
use anyhow::{Context, Result, bail, ensure};
use logwise_kafka::{KafkaClient, KafkaClients, observe};
use logwise_plan::Known;
use logwise_plan::selector::TopicSelector;
use logwise_testbed::bed::Bed;
use logwise_testbed::command::{command, output};
use logwise_testbed::kafka::{client_config, java_arguments};
use logwise_testbed::prerequisites;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// How long Kafka's command line may take.
const LONGEST_COMMAND: Duration = Duration::from_secs(600);

/// The operator's look, by one client that stays open.
pub(crate) struct Looks {
    client: Arc<KafkaClient>,
    selector: TopicSelector,
}

impl Looks {
    /// Nobody is asked yet.
    pub(crate) fn open(bootstrap: &str) -> Result<Looks> {
        let client = KafkaClients::default().get(&[bootstrap.to_owned()])?;
        Ok(Looks { client, selector: TopicSelector::NamePrefix(PREFIX.to_owned()) })
    }

    /// Looks once; returns how long it took and how many topics it read. Errors when one was not read completely.
    pub(crate) async fn look(&self) -> Result<(Duration, usize)> {
        let began = Instant::now();
        let look = observe(&self.client, Some(&self.selector)).await;
        let took = began.elapsed();
        if let Some(error) = &look.error {
            bail!("{}", error.message());
        }
        let topics = look.facts.topics.known().context("the topics were not read")?;
        let unread = topics.values().filter(|topic| !matches!(topic.end_offsets, Known::Known(_))).count();
        ensure!(unread == 0, "{unread} of {} topics were not read completely", topics.len());
        Ok((took, topics.len()))
    }
}

/// One watermark call per partition, by one client that stays open.
pub(crate) struct Calls {
    consumer: BaseConsumer,
    partitions: Vec<(String, i32)>,
    listing: Duration,
}

impl Calls {
    /// Connects, and then lists the partitions to ask for.
    pub(crate) fn open(bootstrap: &str) -> Result<Calls> {
        let consumer: BaseConsumer = client_config(bootstrap).create().context("creating a Kafka client")?;
        consumer.fetch_metadata(None, ANSWER).context("connecting to Kafka")?;
        let began = Instant::now();
        let metadata = consumer.fetch_metadata(None, ANSWER).context("listing topics")?;
        let topics = metadata.topics().iter().filter(|topic| topic.name().starts_with(PREFIX));
        let of = topics.flat_map(|topic| topic.partitions().iter().map(move |one| (topic.name().to_owned(), one.id())));
        let partitions = of.collect();
        Ok(Calls { consumer, partitions, listing: began.elapsed() })
    }

    /// Partitions that were listed.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// How long listing took on an open connection.
    pub(crate) fn listing(&self) -> Duration {
        self.listing
    }

    /// Asks for `most` partitions, one after the other, or for fewer when time is up; returns how many, and how long it
    /// took.
    pub(crate) fn ask(&self, most: usize, within: Duration) -> Result<(usize, Duration)> {
        let (began, mut asked) = (Instant::now(), 0);
        for (topic, partition) in self.partitions.iter().take(most) {
            if began.elapsed() >= within {
                break;
            }
            let watermarks = self.consumer.fetch_watermarks(topic, *partition, ANSWER);
            watermarks.with_context(|| format!("asking partition {partition} of {topic}"))?;
            asked += 1;
        }
        Ok((asked, began.elapsed()))
    }
}

/// Runs what `kafka-get-offsets.sh` runs, with flags by which Java starts sooner; returns how long it took and how many
/// partitions it told.
pub(crate) async fn by_command_line(bed: &Bed, bootstrap: &str) -> Result<(Duration, usize)> {
    let pattern = format!("{}.*", PREFIX.replace('.', "[.]"));
    let mut words = java_arguments(&bed.site()?, "log4j2-tools.properties")?;
    let tool = ["org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", bootstrap, "--topic", &pattern];
    words.extend(tool.map(str::to_owned));
    let command = command(prerequisites::jdk()?.join("bin/java"), &words);
    let began = Instant::now();
    let text = output(command, LONGEST_COMMAND).await?;
    let told = text.lines().filter(|line| line.starts_with(PREFIX)).count();
    Ok((began.elapsed(), told))
}
