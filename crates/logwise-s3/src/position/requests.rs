//! What is asked of S3 about a checkpoint: objects by key, and which batches are committed. An error is a text for
//! people that names the key.

use super::files::{self, OffsetLog};
use crate::Bucket;
use crate::listing::goes_on;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_smithy_types::DateTime;
use jiff::{SignedDuration, Timestamp};
use logwise_aws::AwsError;
use logwise_aws::permissions::{GET_OBJECT, LIST_BUCKET};
use logwise_runtime::chain;
use std::collections::BTreeMap;

/// Largest object that is read, in bytes: the offsets of more than a hundred thousand partitions.
const LARGEST: usize = 4 * 1024 * 1024;

/// How far the driver's clock may be from that of S3; S3 tells whole seconds, and writing takes its time.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);

/// Pages read to find the newest batch of a checkpoint that nothing is known of yet, 1,000 names each.
const MOST_PAGES: usize = 100;

/// The checkpoint of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checkpoint<'a> {
    /// The bucket.
    pub bucket: &'a Bucket,
    /// Beginning of its keys, ends in `/`.
    pub folder: &'a str,
}

/// A batch that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// Its number.
    pub batch: i64,
    /// When it was committed, in whole seconds.
    pub at: Timestamp,
    /// Whether its object holds nothing: then it was not written to its end.
    pub is_empty: bool,
}

/// What is there of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// All of it.
    Whole(Commit),
    /// Something that is not read; the text names key and reason.
    Unreadable(String),
}

/// An object.
struct Object {
    body: Vec<u8>,
    modified: Option<Timestamp>,
}

impl Checkpoint<'_> {
    /// Key of the commit of a batch.
    pub(super) fn commit_key(&self, batch: i64) -> String {
        format!("{}commits/{batch}", self.folder)
    }

    /// Key of the offsets of a batch.
    pub(super) fn offsets_key(&self, batch: i64) -> String {
        format!("{}offsets/{batch}", self.folder)
    }

    /// Reads the commit of a batch; one request.
    pub(super) async fn commit(&self, batch: i64) -> Result<Found, String> {
        let key = self.commit_key(batch);
        let Some(Object { body, modified }) = self.object(&key).await? else { return Ok(Found::Absent) };
        Ok(match (files::commit(&body), modified) {
            (Ok(()), Some(at)) => Found::Whole(Commit { batch, at, is_empty: false }),
            (Ok(()), None) => Found::Unreadable(untold(&key)),
            (Err(why), _) => Found::Unreadable(format!("{key} {why}")),
        })
    }

    /// Reads the offsets of a batch that is committed; one request.
    pub(super) async fn offsets(&self, batch: i64) -> Result<OffsetLog, String> {
        let key = self.offsets_key(batch);
        let Some(Object { body, modified }) = self.object(&key).await? else {
            return Err(format!("{key} is not there, although {} is", self.commit_key(batch)));
        };
        let log = files::offsets(&body).map_err(|why| format!("{key} {why}"))?;
        Ok(OffsetLog { started: by_one_clock(log.started, modified), ..log })
    }

    /// Reads the id of the query; `None`: nothing names it. One request.
    pub(super) async fn query(&self) -> Result<Option<String>, String> {
        let key = format!("{}metadata", self.folder);
        let Some(Object { body, .. }) = self.object(&key).await? else { return Ok(None) };
        files::query(&body).map(Some).map_err(|why| format!("{key} {why}"))
    }

    /// The newest batches that are committed, at most so many, by number; as many requests as the listing has pages.
    pub(super) async fn newest(&self, most: usize) -> Result<Vec<Commit>, String> {
        let (mut newest, mut from): (BTreeMap<i64, Commit>, Option<String>) = (BTreeMap::new(), None);
        for _ in 0..MOST_PAGES {
            let page = self.page(None, from.clone()).await?;
            for commit in self.commits(&page)? {
                newest.insert(commit.batch, commit);
                if newest.len() > most {
                    newest.pop_first();
                }
            }
            from = goes_on(&page, from.as_deref()).map_err(|broken| self.unlisted(&broken.to_string()))?;
            if from.is_none() {
                return Ok(newest.into_values().collect());
            }
        }
        Err(self.unlisted(&format!("there are more than {MOST_PAGES} pages of names")))
    }

    /// Batches whose names come after that of `batch`, as texts do, by number: one page, which need not hold all.
    pub(super) async fn after(&self, batch: i64) -> Result<Vec<Commit>, String> {
        let page = self.page(Some(self.commit_key(batch)), None).await?;
        self.commits(&page)
    }

    async fn page(&self, after: Option<String>, from: Option<String>) -> Result<ListObjectsV2Output, String> {
        let Self { bucket, .. } = self;
        bucket
            .client
            .list_objects_v2()
            .bucket(&bucket.name)
            .set_expected_bucket_owner(bucket.owner.clone())
            .prefix(self.commits_folder())
            .delimiter("/")
            .set_start_after(after)
            .set_continuation_token(from)
            .send()
            .await
            .map_err(|error| failed(&self.commits_folder(), &AwsError::read_setting(&LIST_BUCKET, &bucket.name, error)))
    }

    /// The batches on a page, by number.
    fn commits(&self, page: &ListObjectsV2Output) -> Result<Vec<Commit>, String> {
        let folder = self.commits_folder();
        let mut commits = Vec::new();
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            let name = key.strip_prefix(&folder).ok_or_else(|| self.unlisted(&format!("S3 answered with {key:?}")))?;
            let Some(batch) = files::batch(name) else { continue };
            if batch > files::LAST_BATCH {
                return Err(format!("{key} is not what Spark 3.5 writes there: no query has so many batches"));
            }
            let at = object.last_modified().and_then(timestamp).ok_or_else(|| untold(key))?;
            commits.push(Commit { batch, at, is_empty: object.size() == Some(0) });
        }
        commits.sort_unstable_by_key(|commit| commit.batch);
        Ok(commits)
    }

    fn commits_folder(&self) -> String {
        format!("{}commits/", self.folder)
    }

    fn unlisted(&self, why: &str) -> String {
        format!("{} could not be listed: {why}", self.commits_folder())
    }

    /// Reads an object, if it is there.
    async fn object(&self, key: &str) -> Result<Option<Object>, String> {
        let Self { bucket, .. } = self;
        let call = bucket.client.get_object().bucket(&bucket.name).key(key);
        let mut answer = match call.set_expected_bucket_owner(bucket.owner.clone()).send().await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(key, &AwsError::read_setting(&GET_OBJECT, &bucket.name, error))),
        };
        let mut body = Vec::new();
        while let Some(part) = answer.body.try_next().await.map_err(|broken| broke_off(key, &chain(&broken)))? {
            if body.len() + part.len() > LARGEST {
                return Err(format!("{key} is larger than {LARGEST} bytes, which no offsets of a query are"));
            }
            body.extend_from_slice(&part);
        }
        Ok(Some(Object { body, modified: answer.last_modified.as_ref().and_then(timestamp) }))
    }
}

/// When a batch began: as its driver has written it, or as S3 says when that was written where the two clocks differ. When
/// the batch was committed S3 says too, and a rate over two clocks would be wrong.
fn by_one_clock(started: Option<Timestamp>, written: Option<Timestamp>) -> Option<Timestamp> {
    let (driver, s3) = (started?, written.or(started)?);
    Some(if s3.duration_since(driver).abs() > CLOCKS { s3 } else { driver })
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.secs()).ok()
}

fn failed(key: &str, error: &AwsError) -> String {
    let failure = error.failure();
    let permission = if failure.is_of_key() { logwise_aws::DECRYPT } else { error.permission().action };
    format!("{key} could not be read ({permission}): {failure}")
}

fn broke_off(key: &str, why: &str) -> String {
    format!("{key} could not be read to its end: {why}")
}

fn untold(key: &str) -> String {
    format!("S3 does not say when {key} was written")
}
