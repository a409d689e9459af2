//! Ships the bed's log lines to Kafka as a collector would: one topic per service, records without keys.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use crate::folder::Folder;
use crate::kafka;
use crate::source::{Line, Source};

const TICK: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(20);
/// Beyond the deadline of a record, for the report of its failure.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// After a pause of the machine the lost time is not made good in one burst.
const LONGEST_BURST: Duration = Duration::from_secs(1);

/// What to ship, where to and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `host:port` of a Kafka broker.
    pub bootstrap: String,
    /// Folder of the log files.
    pub logs: PathBuf,
    /// Start of each topic's name; the service follows.
    pub prefix: String,
    /// Lines per second over all services. When the servers write fewer, their old lines are shipped again.
    pub rate: u32,
    /// Only these services; none named is every one.
    pub services: Option<BTreeSet<String>>,
    /// How long to ship; none is until SIGTERM or SIGINT.
    pub seconds: Option<u64>,
}

impl Config {
    /// The defaults for a bed: every service, 50 lines per second, topics `logs.<service>`, until a signal.
    pub fn of(folder: &Folder, bootstrap: &str) -> Config {
        Config {
            bootstrap: bootstrap.to_owned(),
            logs: folder.path("log"),
            prefix: "logs.".to_owned(),
            rate: 50,
            services: None,
            seconds: None,
        }
    }
}

/// Records of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Kafka has them.
    pub shipped: u64,
    /// Kafka did not take them in time.
    pub failed: u64,
}

/// Ships until the time is over or a signal comes, then prints how many records of each service Kafka has taken.
/// Errors when the logs cannot be read, a topic cannot be made, or Kafka did not take every record.
pub async fn run(config: &Config) -> Result<BTreeMap<String, Tally>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut shipper = Shipper::new(config)?;
    tokio::select! {
        result = shipper.ship() => result?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let tallies = shipper.finish().await?;
    let mut out = std::io::stdout().lock();
    for line in table(&tallies) {
        writeln!(out, "{line}").context("writing to standard output")?;
    }
    let failed: u64 = tallies.values().map(|tally| tally.failed).sum();
    if failed > 0 {
        bail!("Kafka at {} did not take {failed} records; look at the log of `kafka`", config.bootstrap);
    }
    Ok(tallies)
}

fn table(tallies: &BTreeMap<String, Tally>) -> Vec<String> {
    let row = |name: &str, tally: Tally| format!("{name:<32} {:>10} {:>10}", tally.shipped, tally.failed);
    let total = tallies.values().fold(Tally::default(), |sum, one| Tally {
        shipped: sum.shipped + one.shipped,
        failed: sum.failed + one.failed,
    });
    std::iter::once(format!("{:<32} {:>10} {:>10}", "SERVICE", "SHIPPED", "FAILED"))
        .chain(tallies.iter().map(|(name, tally)| row(name, *tally)))
        .chain([row("total", total)])
        .collect()
}

/// Counts what Kafka said about each record.
#[derive(Debug, Default)]
struct Counter {
    tallies: Mutex<BTreeMap<String, Tally>>,
}

impl ClientContext for Counter {}

impl ProducerContext for Counter {
    type DeliveryOpaque = Arc<String>;

    fn delivery(&self, result: &DeliveryResult<'_>, service: Arc<String>) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(service.to_string()).or_default();
        match result {
            Ok(_) => tally.shipped += 1,
            Err(_) => tally.failed += 1,
        }
    }
}

struct Shipper<'a> {
    config: &'a Config,
    source: Source,
    producer: ThreadedProducer<Counter>,
    admin: AdminClient<DefaultClientContext>,
    /// The services whose topics exist.
    topics: BTreeSet<String>,
    /// The last thing that went wrong.
    trouble: Option<String>,
}

impl<'a> Shipper<'a> {
    fn new(config: &'a Config) -> Result<Shipper<'a>> {
        let client = kafka::client_config(&config.bootstrap);
        let mut settings = client.clone();
        settings
            // New partitions are used soon after they were added.
            .set("topic.metadata.refresh.interval.ms", "2000")
            .set("message.timeout.ms", DEADLINE.as_millis().to_string())
            .set("linger.ms", "20")
            .set("compression.type", "lz4");
        Ok(Shipper {
            config,
            source: Source::new(&config.logs, config.services.clone()),
            producer: settings.create_with_context(Counter::default()).context("creating a Kafka producer")?,
            admin: client.create().context("creating a Kafka admin client")?,
            topics: BTreeSet::new(),
            trouble: None,
        })
    }

    async fn ship(&mut self) -> Result<()> {
        let end = self.config.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut pace = Pace::new(self.config.rate, ticks.tick().await);
        loop {
            let now = ticks.tick().await;
            if end.is_some_and(|end| now >= end) {
                return Ok(());
            }
            let lines = self.source.read(pace.due(now))?;
            match self.ensure_topics(&lines).await {
                // Kafka may be away for a while; what it never was, is a mistake.
                Err(error) if self.topics.is_empty() => return Err(error),
                result => self.tell(result.err().map(|error| format!("{error:#}"))),
            }
            for line in lines.iter().filter(|line| self.topics.contains(&line.service)) {
                self.send(line).await?;
            }
        }
    }

    /// Says on standard error what is wrong, once.
    fn tell(&mut self, trouble: Option<String>) {
        if let Some(text) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            // Nobody can be told that standard error is closed.
            drop(writeln!(std::io::stderr().lock(), "{text}; its lines are left out until that works"));
        }
        self.trouble = trouble;
    }

    async fn ensure_topics(&mut self, lines: &[Line]) -> Result<()> {
        let missing: BTreeSet<&str> =
            lines.iter().map(|line| line.service.as_str()).filter(|service| !self.topics.contains(*service)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = missing.iter().map(|service| self.topic(service)).collect();
        let wanted: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
        let options = AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE));
        for result in self.admin.create_topics(&wanted, &options).await.context("creating topics")? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => bail!("Kafka did not create topic {topic}: {code}"),
            }
        }
        let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
        self.topics.extend(missing);
        Ok(())
    }

    fn topic(&self, service: &str) -> String {
        format!("{}{service}", self.config.prefix)
    }

    /// Waits while the producer's queue is full.
    async fn send(&self, line: &Line) -> Result<()> {
        let (topic, payload) = (self.topic(&line.service), line.record(Timestamp::now()));
        let opaque = Arc::new(line.service.clone());
        let mut record = BaseRecord::<(), str, Arc<String>>::with_opaque_to(&topic, opaque).payload(payload.as_str());
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                Err((error, _)) => return Err(error).with_context(|| format!("sending to topic {topic}")),
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Waits for Kafka's word on every record.
    async fn finish(self) -> Result<BTreeMap<String, Tally>> {
        let producer = self.producer;
        let last = move || {
            producer.flush(DEADLINE + LAST_WORDS).context("waiting for Kafka to take the last records")?;
            let counter = producer.context();
            let tallies = counter.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Ok(tallies)
        };
        tokio::task::spawn_blocking(last).await.context("waiting for the last records")?
    }
}

/// How many lines are due.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rate: u32,
    last: Instant,
    /// The part of a line that the last look left over, in lines.
    rest: f64,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Pace {
        Pace { rate, last: now, rest: 0.0 }
    }

    /// The lines since the last look.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number that is not negative")]
    fn due(&mut self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.last).min(LONGEST_BURST);
        self.last = now;
        let due = f64::from(self.rate) * passed.as_secs_f64() + self.rest;
        self.rest = due.fract();
        due.trunc() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_keeps_fractions_and_makes_no_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(3, start);
        let total: usize = (1..=100).map(|tick| pace.due(start + TICK * tick)).sum();
        assert!((29..=30).contains(&total), "3 lines per second for 10 s, not {total}");
        let mut pace = Pace::new(50, start);
        assert_eq!(pace.due(start + Duration::from_secs(3600)), 50);
        assert_eq!(Pace::new(0, start).due(start + LONGEST_BURST), 0);
    }

    #[test]
    fn the_table_names_each_service_and_the_total() {
        let tallies = BTreeMap::from([
            ("etcd".to_owned(), Tally { shipped: 12, failed: 0 }),
            ("kafka".to_owned(), Tally { shipped: 30, failed: 2 }),
        ]);
        let words: Vec<Vec<String>> =
            table(&tallies).iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        assert_eq!(
            words,
            [
                vec!["SERVICE", "SHIPPED", "FAILED"],
                vec!["etcd", "12", "0"],
                vec!["kafka", "30", "2"],
                vec!["total", "42", "2"]
            ]
        );
    }
}
