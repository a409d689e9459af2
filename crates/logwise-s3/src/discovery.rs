//! Which services have logs in a bucket.

use crate::bucket::Bucket;
use crate::rule::is_expressible;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use logwise_aws::{AwsError, Failure};
use logwise_runtime::ErrorClass;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Pages read at most, 1,000 names each: a bucket with more can have no rule per service anyway.
const MOST_PAGES: usize = 100;

/// A failed listing is not repeated before this much time, even if the period is longer.
const LONGEST_FAILURE: Duration = Duration::from_secs(15);

/// Lists the services under the logs prefix, names as they stand in the keys. Names that no lifecycle rule can carry
/// (control characters) are left out.
///
/// # Errors
/// [`AwsError::ListServices`]; a listing that breaks off is an error, never a smaller set.
pub async fn services(bucket: &Bucket, logs_prefix: &str) -> Result<BTreeSet<String>, AwsError> {
    let prefix = format!("{logs_prefix}service_name=");
    let mut names = BTreeSet::new();
    let mut token: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let page = page(bucket, &prefix, token.clone()).await?;
        for found in page.common_prefixes() {
            let name = name(&page, &prefix, found.prefix().unwrap_or_default());
            names.insert(name.map_err(|text| unusable(bucket, ErrorClass::Invalid, text))?);
        }
        if page.is_truncated() != Some(true) {
            names.retain(|name| !name.is_empty() && is_expressible(name));
            return Ok(names);
        }
        let next = page.next_continuation_token().map(str::to_owned);
        if next.is_none() || next == token {
            return Err(unusable(
                bucket,
                ErrorClass::Transient,
                "the listing broke off: S3 said that there is more, but not where".to_owned(),
            ));
        }
        token = next;
    }
    Err(unusable(bucket, ErrorClass::Invalid, format!("there are more than {MOST_PAGES} pages of services")))
}

async fn page(bucket: &Bucket, prefix: &str, token: Option<String>) -> Result<ListObjectsV2Output, AwsError> {
    bucket
        .client
        .list_objects_v2()
        .bucket(&bucket.name)
        .set_expected_bucket_owner(bucket.owner.clone())
        .prefix(prefix)
        .delimiter("/")
        // Without it one key with a control character would make every listing unreadable.
        .encoding_type(EncodingType::Url)
        .set_continuation_token(token)
        .send()
        .await
        .map_err(|error| AwsError::list_services(&bucket.name, error))
}

/// The service of one common prefix, `<prefix><service>/`.
fn name(page: &ListObjectsV2Output, prefix: &str, found: &str) -> Result<String, String> {
    let found = match page.encoding_type() {
        Some(EncodingType::Url) => decoded(found).ok_or("S3 answered with a name that is not URL-encoded text")?,
        _ => found.to_owned(),
    };
    let service = found.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('/'));
    service.map(str::to_owned).ok_or_else(|| format!("S3 answered with {found:?}, which is not below {prefix}"))
}

/// Undoes S3's URL encoding, in which a plus sign is a blank.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? * 16 + hex(rest.next()?)?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn unusable(bucket: &Bucket, class: ErrorClass, text: String) -> AwsError {
    AwsError::ListServices { bucket: bucket.name.clone(), failure: Failure::stated(class, text), source: None }
}

/// One listing of the services.
#[derive(Clone, Debug)]
pub struct Listing {
    /// When S3 was asked: what was written since may be missing in the answer.
    pub asked: Instant,
    /// What it ended with.
    pub services: Result<Arc<BTreeSet<String>>, AwsError>,
}

/// One place of the cache; its lock is held while a listing runs, so that callers share it.
type Place = Arc<tokio::sync::Mutex<Option<Listing>>>;

/// Services per bucket and logs prefix, listed at most once per period whoever asks.
#[derive(Debug)]
pub struct Discovery {
    period: Duration,
    places: Mutex<HashMap<(String, String), Place>>,
}

impl Discovery {
    /// A cache whose listings are at most `period` old.
    pub fn new(period: Duration) -> Self {
        Self { period, places: Mutex::default() }
    }

    /// Time between two listings of one prefix.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// The services under the logs prefix, from a listing that is at most one period old; its error is as that of
    /// [`services`]. A failure is kept too, for at most 15 s.
    pub async fn services(&self, bucket: &Bucket, logs_prefix: &str) -> Listing {
        let place = self.place(&bucket.name, logs_prefix);
        let mut listed = place.lock().await;
        if let Some(known) = &*listed {
            let fresh_for = if known.services.is_ok() { self.period } else { self.period.min(LONGEST_FAILURE) };
            if known.asked.elapsed() < fresh_for {
                return known.clone();
            }
        }
        let asked = Instant::now();
        let services = services(bucket, logs_prefix).await.map(Arc::new);
        listed.insert(Listing { asked, services }).clone()
    }

    /// Drops what is known of a bucket, for a bucket that nobody declares any more.
    pub fn forget(&self, bucket: &str) {
        self.lock().retain(|(name, _), _| name != bucket);
    }

    fn place(&self, bucket: &str, logs_prefix: &str) -> Place {
        Arc::clone(self.lock().entry((bucket.to_owned(), logs_prefix.to_owned())).or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_only_when_s3_says_that_they_are_encoded() {
        let plain = ListObjectsV2Output::builder().build();
        assert_eq!(name(&plain, "logs/service_name=", "logs/service_name=a%2Bb+c/"), Ok("a%2Bb+c".to_owned()));
        let encoded = ListObjectsV2Output::builder().encoding_type(EncodingType::Url).build();
        assert_eq!(
            name(&encoded, "logs/service_name=", "logs/service_name%3Da%252Bb+c%2B%C3%A9/"),
            Ok("a%2Bb c+é".to_owned())
        );
        for broken in [
            "logs/service_name=a%2",
            "logs/service_name=%zz/",
            "logs/service_name=%ff/",
            "other/x/",
            "logs/service_name=a",
        ] {
            assert!(name(&encoded, "logs/service_name=", broken).is_err(), "{broken}");
        }
    }
}
