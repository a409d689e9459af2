//! What a bucket does beside its lifecycle rules that decides what comes of an expiration: versions, object lock,
//! replication.

use crate::bucket::Bucket;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled, ReplicationRuleStatus};
use logwise_aws::permissions::{GET_OBJECT_LOCK, GET_REPLICATION, GET_VERSIONING};
use logwise_aws::{AwsError, NOT_SET};
use logwise_plan::Known;
use logwise_runtime::ErrorClass;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A call without an answer is repeated after this much time, even if the period is longer. A refusal is not: whoever
/// lacks the right is not asked every minute.
const LONGEST_FAILURE: Duration = Duration::from_secs(15);

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Never,
    /// It does.
    Enabled,
    /// It did, and keeps those that it has.
    Suspended,
}

impl Versioning {
    /// The word that status shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "Disabled",
            Self::Enabled => "Enabled",
            Self::Suspended => "Suspended",
        }
    }
}

/// The settings of a bucket; what could not be read is unknown and fails nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether it keeps versions.
    pub versioning: Known<Versioning>,
    /// Whether its objects may be locked.
    pub object_lock: Known<bool>,
    /// Whether a replication rule is enabled.
    pub replication: Known<bool>,
}

impl Default for Surroundings {
    fn default() -> Self {
        let why = || "not read yet".to_owned();
        Self {
            versioning: Known::Unknown(why()),
            object_lock: Known::Unknown(why()),
            replication: Known::Unknown(why()),
        }
    }
}

impl Surroundings {
    /// Whether the bucket is known never to have kept versions.
    pub fn is_unversioned(&self) -> bool {
        self.versioning.known() == Some(&Versioning::Never)
    }
}

/// Reads the settings, each by one call; the second part says whether one of them may soon be answered another way.
async fn read(bucket: &Bucket) -> (Surroundings, bool) {
    let (versioning, object_lock, replication) =
        futures::join!(versioning(bucket), object_lock(bucket), replication(bucket));
    let passing = |error: &AwsError| !matches!(error.class(), ErrorClass::Denied | ErrorClass::Invalid);
    let soon = versioning.as_ref().err().is_some_and(passing)
        || object_lock.as_ref().err().is_some_and(passing)
        || replication.as_ref().err().is_some_and(passing);
    let surroundings = Surroundings {
        versioning: versioning.map_err(|error| error.to_string()).into(),
        object_lock: object_lock.map_err(|error| error.to_string()).into(),
        replication: replication.map_err(|error| error.to_string()).into(),
    };
    (surroundings, soon)
}

async fn versioning(bucket: &Bucket) -> Result<Versioning, AwsError> {
    let call = bucket.client.get_bucket_versioning().bucket(&bucket.name);
    match call.set_expected_bucket_owner(bucket.owner.clone()).send().await {
        Ok(answer) => match answer.status() {
            None => Ok(Versioning::Never),
            Some(BucketVersioningStatus::Suspended) => Ok(Versioning::Suspended),
            // A word that is not known yet is taken for the one that keeps more.
            Some(_) => Ok(Versioning::Enabled),
        },
        Err(error) => Err(AwsError::read_setting(&GET_VERSIONING, &bucket.name, error)),
    }
}

async fn object_lock(bucket: &Bucket) -> Result<bool, AwsError> {
    let call = bucket.client.get_object_lock_configuration().bucket(&bucket.name);
    match call.set_expected_bucket_owner(bucket.owner.clone()).send().await {
        Ok(answer) => {
            let enabled = answer.object_lock_configuration().and_then(|lock| lock.object_lock_enabled());
            Ok(enabled == Some(&ObjectLockEnabled::Enabled))
        }
        Err(error) if is_not_set(error.code()) => Ok(false),
        Err(error) => Err(AwsError::read_setting(&GET_OBJECT_LOCK, &bucket.name, error)),
    }
}

async fn replication(bucket: &Bucket) -> Result<bool, AwsError> {
    let call = bucket.client.get_bucket_replication().bucket(&bucket.name);
    match call.set_expected_bucket_owner(bucket.owner.clone()).send().await {
        Ok(answer) => {
            let rules = answer.replication_configuration().into_iter().flat_map(|found| found.rules());
            Ok(rules.into_iter().any(|rule| *rule.status() == ReplicationRuleStatus::Enabled))
        }
        Err(error) if is_not_set(error.code()) => Ok(false),
        Err(error) => Err(AwsError::read_setting(&GET_REPLICATION, &bucket.name, error)),
    }
}

fn is_not_set(code: Option<&str>) -> bool {
    code.is_some_and(|code| NOT_SET.contains(&code))
}

/// One place of the cache; its lock is held while the calls run, so that callers share them.
type Place = Arc<tokio::sync::Mutex<Option<(Instant, Surroundings)>>>;

/// Settings per bucket, read at most once per period whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Settings(Mutex<HashMap<String, Place>>);

impl Settings {
    /// The settings of a bucket as they were at most one period ago.
    pub(crate) async fn of(&self, bucket: &Bucket, period: Duration) -> Surroundings {
        let place = Arc::clone(self.lock().entry(bucket.name.clone()).or_default());
        let mut kept = place.lock().await;
        if let Some((until, known)) = &*kept
            && Instant::now() < *until
        {
            return known.clone();
        }
        let asked = Instant::now();
        let (surroundings, soon) = read(bucket).await;
        let fresh_for = if soon { period.min(LONGEST_FAILURE) } else { period };
        *kept = Some((asked + fresh_for, surroundings.clone()));
        surroundings
    }

    /// Drops what is known of a bucket.
    pub(crate) fn forget(&self, bucket: &str) {
        self.lock().remove(bucket);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
