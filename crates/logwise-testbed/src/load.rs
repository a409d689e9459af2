//! A steady stream of records, for as long as a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::JoinHandle;

use crate::kafka::client_config;
use crate::topics::line;
use crate::world::World;

const TICK: Duration = Duration::from_millis(20);
/// After a pause of the machine no more is made up for than this.
const LONGEST_BURST: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_secs(60);
const MICROS: u64 = 1_000_000;

/// Records that are produced in the background. Dropped, it ends at once.
pub struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<Result<()>>,
}

struct Shared {
    rate: AtomicU32,
    sent: AtomicU64,
    ending: AtomicBool,
}

impl Load {
    /// Begins to produce log lines without keys, so many per second, to a topic that exists.
    pub fn start(bootstrap: &str, topic: &str, per_second: u32) -> Result<Load> {
        let mut config = client_config(bootstrap);
        config.set("message.timeout.ms", "30000").set("linger.ms", "20").set("sticky.partitioning.linger.ms", "0");
        let producer: FutureProducer = config.create().context("creating a Kafka producer")?;
        let (rate, sent, ending) = (AtomicU32::new(per_second), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { rate, sent, ending });
        let task = tokio::spawn(run(producer, topic.to_owned(), Arc::clone(&shared)));
        Ok(Load { shared, task })
    }

    /// From now on so many per second; 0 is none.
    pub fn set_rate(&self, per_second: u32) {
        self.shared.rate.store(per_second, Ordering::Relaxed);
    }

    /// Records that were handed to the producer so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Ends it when Kafka has everything, and returns how many records that were.
    pub async fn stop(mut self) -> Result<u64> {
        self.shared.ending.store(true, Ordering::Relaxed);
        (&mut self.task).await.context("producing records")??;
        Ok(self.sent())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Begins to produce to a topic of the world, so many records per second.
    pub fn load(&self, topic: &str, per_second: u32) -> Result<Load> {
        Load::start(&self.bed.kafka.bootstrap, &self.topic(topic), per_second)
    }
}

async fn run(producer: FutureProducer, topic: String, shared: Arc<Shared>) -> Result<()> {
    let service = topic.rsplit('.').next().unwrap_or(&topic).to_owned();
    let mut pace = Pace { last: Instant::now(), rest: 0 };
    while !shared.ending.load(Ordering::Relaxed) {
        tokio::time::sleep(TICK).await;
        for _ in 0..pace.due(shared.rate.load(Ordering::Relaxed), Instant::now()) {
            send(&producer, &topic, &line(&service, shared.sent.load(Ordering::Relaxed))).await?;
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH)).await;
    flushed.context("flushing the producer")?.context("flushing the producer")
}

/// Waits while the producer's queue is full.
async fn send(producer: &FutureProducer, topic: &str, value: &str) -> Result<()> {
    let mut record = FutureRecord::<(), str>::to(topic).payload(value);
    loop {
        match producer.send_result(record) {
            Ok(_) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => return Err(error).with_context(|| format!("producing to {topic}")),
        }
        tokio::time::sleep(TICK).await;
    }
}

/// How many records are due.
struct Pace {
    last: Instant,
    /// What the last look left over, in millionths of a record.
    rest: u64,
}

impl Pace {
    fn due(&mut self, rate: u32, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.last).min(LONGEST_BURST);
        self.last = now;
        let due = u64::from(rate) * u64::try_from(passed.as_micros()).unwrap_or(MICROS) + self.rest;
        self.rest = due % MICROS;
        due / MICROS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_keeps_fractions_and_makes_no_burst() {
        let start = Instant::now();
        let mut pace = Pace { last: start, rest: 0 };
        let total: u64 = (1..=500).map(|tick| pace.due(3, start + TICK * tick)).sum();
        assert_eq!(total, 30, "3 records per second for 10 s");
        assert_eq!(pace.due(50, start + Duration::from_secs(3_600)), 50);
        assert_eq!(pace.due(0, start + Duration::from_secs(3_601)), 0);
    }
}
