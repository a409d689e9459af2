//! Samples of Kafka in the Orchestrator DB.

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use logwise_kafka::{SampleRow, SampleStore};
use logwise_runtime::chain;
use logwise_store::{DatabaseUrl, OutboxHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long reading one ring may take.
const READING: Duration = Duration::from_secs(10);

/// The samples of this installation.
pub struct Samples {
    handle: OutboxHandle,
    url: DatabaseUrl,
    /// One ring after the other: each may hold some megabytes.
    turn: Arc<Semaphore>,
}

impl Samples {
    /// Samples that go out with the rows of the mirror and are read from `url`.
    pub fn new(handle: OutboxHandle, url: DatabaseUrl) -> Self {
        Self { handle, url, turn: Arc::new(Semaphore::new(1)) }
    }
}

impl SampleStore for Samples {
    fn send(&self, row: SampleRow) {
        let SampleRow { ring, slot, taken_at, payload } = row;
        self.handle.send_sample(logwise_store::SampleRow { cluster: ring, slot, taken_at, payload });
    }

    fn read(&self, ring: String, since: Timestamp) -> BoxFuture<'static, Vec<SampleRow>> {
        let (url, turn) = (self.url.clone(), self.turn.clone());
        async move {
            let _turn = turn.acquire().await;
            let rows = match logwise_store::read_samples(&url, &ring, since, READING).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "the samples of the last minutes were not read: rates are known some looks later"
                    );
                    return Vec::new();
                }
            };
            let row = |row: logwise_store::SampleRow| SampleRow {
                ring: row.cluster,
                slot: row.slot,
                taken_at: row.taken_at,
                payload: row.payload,
            };
            rows.into_iter().map(row).collect()
        }
        .boxed()
    }
}
