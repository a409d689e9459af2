//! The objects under a prefix, page by page and within a budget: what is found out about them must not cost the bucket
//! what its writers and readers need.

use crate::bucket::Bucket;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use jiff::Timestamp;
use logwise_aws::{AwsError, Failure};
use logwise_runtime::ErrorClass;
use std::time::Duration;
use tokio::time::Instant;

/// A budget is for this much time.
const MINUTE: Duration = Duration::from_secs(60);

/// How much is read to find something out about objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects of one page; S3 gives at most 1,000.
    pub page: i32,
    /// Pages of one service.
    pub per_service: usize,
    /// Pages for one plan.
    pub per_plan: usize,
    /// Pages of one bucket within a minute.
    pub per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { page: 1_000, per_service: 50, per_plan: 1_000, per_minute: 200 }
    }
}

/// What a listing tells of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// When it was last modified, in whole seconds; `None`: the listing does not tell.
    pub modified: Option<Timestamp>,
    /// Bytes.
    pub size: u64,
}

/// A part of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    pub objects: Vec<Object>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<String>,
}

/// The pages of one bucket that may still be read in this minute.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    /// Since when, and how many were read.
    spent: tokio::sync::Mutex<(Instant, u32)>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, spent: tokio::sync::Mutex::new((Instant::now(), 0)) }
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Reads one page as soon as the budget lets it: one at a time per bucket, in the order of asking.
    ///
    /// # Errors
    /// [`AwsError::ListObjects`]
    pub(crate) async fn page(&self, bucket: &Bucket, prefix: &str, from: Option<String>) -> Result<Page, AwsError> {
        let mut spent = self.spent.lock().await;
        if spent.1 >= self.limits.per_minute {
            tokio::time::sleep_until(spent.0 + MINUTE).await;
        }
        if spent.0.elapsed() >= MINUTE {
            *spent = (Instant::now(), 0);
        }
        spent.1 += 1;
        read(bucket, prefix, from, self.limits.page).await
    }
}

async fn read(bucket: &Bucket, prefix: &str, from: Option<String>, most: i32) -> Result<Page, AwsError> {
    let answer = bucket
        .client
        .list_objects_v2()
        .bucket(&bucket.name)
        .set_expected_bucket_owner(bucket.owner.clone())
        .prefix(prefix)
        .max_keys(most)
        // Without it one key with a control character would make the page unreadable.
        .encoding_type(EncodingType::Url)
        .set_continuation_token(from.clone())
        .send()
        .await
        .map_err(|error| AwsError::list_objects(&bucket.name, error))?;
    let object = |found: &aws_sdk_s3::types::Object| Object {
        modified: found.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok()),
        size: found.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
    };
    let objects = answer.contents().iter().map(object).collect();
    let broken = |failure| AwsError::ListObjects { bucket: bucket.name.clone(), failure, source: None };
    Ok(Page { objects, next: goes_on(&answer, from.as_deref()).map_err(broken)? })
}

/// Where a listing goes on after the page that began at `from`; `None`: it is whole. A server that does not say whether there
/// is more, and says where, has more. The error says that the listing broke off.
pub(crate) fn goes_on(page: &ListObjectsV2Output, from: Option<&str>) -> Result<Option<String>, Failure> {
    let next = page.next_continuation_token().filter(|next| !next.is_empty() && page.is_truncated() != Some(false));
    if next.is_some() && next != from {
        return Ok(next.map(str::to_owned));
    }
    if next.is_none() && page.is_truncated() != Some(true) {
        return Ok(None);
    }
    let text = "the listing broke off: S3 said that there is more, but not where";
    Err(Failure::stated(ErrorClass::Transient, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_whole_only_if_the_server_does_not_say_that_it_goes_on() {
        let page = |truncated: Option<bool>, next: Option<&str>| {
            let page = ListObjectsV2Output::builder().set_is_truncated(truncated);
            page.set_next_continuation_token(next.map(str::to_owned)).build()
        };
        let on = |truncated, next, from| goes_on(&page(truncated, next), from).ok();
        let more = Some(Some("b".to_owned()));
        for (truncated, next, from, expected) in [
            (Some(false), None, None, Some(None)),
            (Some(false), Some("b"), Some("a"), Some(None)),
            (None, None, Some("a"), Some(None)),
            (None, Some(""), None, Some(None)),
            (None, Some("b"), None, more.clone()),
            (None, Some("b"), Some("b"), None),
            (Some(true), Some("b"), Some("a"), more),
            (Some(true), Some("b"), Some("b"), None),
            (Some(true), Some(""), None, None),
            (Some(true), None, None, None),
        ] {
            assert_eq!(on(truncated, next, from), expected, "{truncated:?} {next:?} after {from:?}");
        }
    }
}
