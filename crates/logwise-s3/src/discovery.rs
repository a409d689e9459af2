//! Which services have logs in a bucket.

use crate::bucket::Bucket;
use crate::listing::goes_on;
use crate::rule::is_expressible;
use crate::seen::{Patience, Seen};
use crate::surroundings::{Settings, Surroundings};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use logwise_aws::{AwsError, Failure};
use logwise_plan::retention::Document;
use logwise_runtime::ErrorClass;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Pages read at most, 1,000 names each: a bucket with more can have no rule per service anyway.
const MOST_PAGES: usize = 100;

/// A failed listing is not repeated before this much time, even if the period is longer. One that ended and cannot be used
/// would end so again.
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
            names.insert(name.map_err(|text| failed(bucket, unusable(text)))?);
        }
        token = goes_on(&page, token.as_deref()).map_err(|broken| failed(bucket, broken))?;
        if token.is_none() {
            names.retain(|name| !name.is_empty() && is_expressible(name));
            return Ok(names);
        }
    }
    Err(failed(bucket, unusable(format!("there are more than {MOST_PAGES} pages of services"))))
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

/// S3 has answered, and not in a way that can be used.
fn unusable(text: String) -> Failure {
    Failure::stated(ErrorClass::Invalid, text)
}

/// A listing that failed without a call that did.
fn failed(bucket: &Bucket, failure: Failure) -> AwsError {
    AwsError::ListServices { bucket: bucket.name.clone(), failure, source: None }
}

/// Whether a listing ended as it would end again: every call was answered.
fn is_lasting(listed: &Result<Arc<BTreeSet<String>>, AwsError>) -> bool {
    match listed {
        Ok(_) => true,
        Err(AwsError::ListServices { source: None, failure, .. }) => {
            failure.class == ErrorClass::Invalid && failure.code.is_none()
        }
        Err(_) => false,
    }
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

/// What is read of a bucket at most once per period whoever asks: its services, by logs prefix, and its settings.
#[derive(Debug)]
pub struct Discovery {
    period: Duration,
    grace: Duration,
    places: Mutex<HashMap<(String, String), Place>>,
    seen: Seen,
    settings: Settings,
}

impl Discovery {
    /// A cache whose listings are at most `period` old, and that forgets a service `grace` after it was first missed, or
    /// later where its rule has more to do.
    pub fn new(period: Duration, grace: Duration) -> Self {
        Self { period, grace, places: Mutex::default(), seen: Seen::default(), settings: Settings::default() }
    }

    /// Time between two listings of one prefix.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// The services under the logs prefix, from a listing that is at most one period old; its error is as that of
    /// [`services`]. A failure is kept too, for at most 15 s, unless S3 would only be asked as much again.
    pub async fn services(&self, bucket: &Bucket, logs_prefix: &str) -> Listing {
        let place = self.place(&bucket.name, logs_prefix);
        let mut listed = place.lock().await;
        if let Some(known) = &*listed {
            let fresh_for = if is_lasting(&known.services) { self.period } else { self.period.min(LONGEST_FAILURE) };
            if known.asked.elapsed() < fresh_for {
                return known.clone();
            }
        }
        let asked = Instant::now();
        let services = services(bucket, logs_prefix).await.map(Arc::new);
        listed.insert(Listing { asked, services }).clone()
    }

    /// The settings of the bucket as they were at most one period ago.
    pub(crate) async fn surroundings(&self, bucket: &Bucket) -> Surroundings {
        self.settings.of(bucket, self.period).await
    }

    /// Services with a rule in `document` that whole listings have missed for as long as it takes; none by a listing that
    /// failed. `unversioned`: the bucket is known never to have kept versions.
    pub(crate) fn vanished(
        &self,
        place: (&str, &str),
        document: &Document,
        (listing, unversioned): (&Listing, bool),
    ) -> BTreeSet<String> {
        let Ok(found) = &listing.services else { return BTreeSet::new() };
        self.seen.vanished(place, document, (found, listing.asked), Patience { grace: self.grace, unversioned })
    }

    /// Drops what is known of a bucket, for a bucket that nobody declares any more.
    pub fn forget(&self, bucket: &str) {
        self.lock().retain(|(name, _), _| name != bucket);
        self.seen.forget(bucket);
        self.settings.forget(bucket);
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
    use logwise_aws::BoxError;

    #[test]
    fn a_listing_that_would_end_in_the_same_way_is_kept_for_the_whole_period() {
        let of = |class, source: Option<BoxError>| {
            let failure = Failure::stated(class, "no");
            is_lasting(&Err(AwsError::ListServices { bucket: "b".into(), failure, source }))
        };
        assert!(is_lasting(&Ok(Arc::default())) && of(ErrorClass::Invalid, None));
        assert!(!of(ErrorClass::Transient, None));
        assert!(!of(ErrorClass::Invalid, Some(Arc::new(std::fmt::Error))), "a call was refused");
    }

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
