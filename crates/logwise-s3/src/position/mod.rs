//! How far the streaming query has read: the newest committed batch, from the query's checkpoint in the bucket.
//!
//! A batch is committed when `commits/N` is there; what it has read stands in `offsets/N`, which is written before the
//! batch runs. Nothing else of a checkpoint is read, and no consumer group is asked.

mod files;
mod follow;
mod requests;
mod run;

pub use run::{Context, run};

use crate::Bucket;
use follow::Followed;
use logwise_plan::Known;
use logwise_runtime::facts::{CheckpointPosition, TopicStarts};
use requests::Checkpoint;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a checkpoint that has begun anew does not count, and how often the id of its query is read: as long as
/// rates are measured. What it says at first may look like less to do, which is no reason to have fewer workers.
const PERIOD: Duration = Duration::from_secs(600);

/// The checkpoints that are followed, each for the LogwiseCluster on whose behalf it is read: one may be allowed to see
/// what another may not.
#[derive(Debug)]
pub struct Positions {
    period: Duration,
    places: Mutex<HashMap<String, Place>>,
}

/// What is followed for one object; its lock is held while it is read.
type Place = Arc<tokio::sync::Mutex<Reading>>;

#[derive(Debug, Default)]
struct Reading {
    /// Bucket and folder.
    of: (String, String),
    followed: Followed,
}

impl Default for Positions {
    fn default() -> Self {
        Self::new(PERIOD)
    }
}

impl Positions {
    /// Lets a checkpoint that has begun anew count again after `period`, and reads the id of each query so often.
    pub fn new(period: Duration) -> Self {
        Self { period, places: Mutex::default() }
    }

    /// The newest committed batch of the checkpoint below `folder`, which ends in `/`, for the object with this uid;
    /// absent while no batch is committed. `starts` are the first offsets of the topics, for partitions that are new to
    /// the query. It takes at most three requests, but for the first look at a checkpoint.
    pub async fn read(
        &self,
        uid: &str,
        (bucket, folder): (&Bucket, &str),
        starts: &Known<TopicStarts>,
    ) -> Known<CheckpointPosition> {
        let place = Arc::clone(self.lock().entry(uid.to_owned()).or_default());
        let mut reading = place.lock().await;
        let of = (bucket.name.clone(), folder.to_owned());
        if reading.of != of {
            *reading = Reading { of, followed: std::mem::take(&mut reading.followed).elsewhere() };
        }
        reading.followed.look(&Checkpoint { bucket, folder }, starts, self.period).await
    }

    /// Drops what is known for an object that is gone, or no longer has a query.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
