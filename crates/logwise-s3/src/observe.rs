//! One look at a bucket.

use crate::bucket::Bucket;
use crate::discovery::Discovery;
use crate::document::RawDocument;
use crate::lifecycle;
use crate::surroundings::Surroundings;
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::Observed;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// What one look found.
#[derive(Clone, Debug)]
pub struct Look {
    /// The facts for planning.
    pub facts: Observed,
    /// The lifecycle configuration as it is.
    pub raw: Known<RawDocument>,
    /// What the bucket does beside its lifecycle rules.
    pub surroundings: Surroundings,
    /// When the services were listed.
    pub listed: Instant,
    /// Why a part could not be read; the first of several.
    pub error: Option<AwsError>,
}

/// Reads the lifecycle configuration, and the services and settings unless those of this period are known. A part that
/// cannot be read is unknown and leaves the others alone; settings that cannot be read are no failure.
pub async fn observe(bucket: &Bucket, logs_prefix: &str, discovery: &Discovery) -> Look {
    let listing = discovery.services(bucket, logs_prefix);
    let (document, listing, surroundings) =
        futures::join!(lifecycle::read(bucket), listing, discovery.surroundings(bucket));
    let (raw, unread) = match document {
        Ok(raw) => (raw, None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error)),
    };
    let document = raw.clone().map(|raw| raw.to_facts());
    let (place, unversioned) = ((bucket.name.as_str(), logs_prefix), surroundings.is_unversioned());
    let vanished = document.known().map(|it| discovery.vanished(place, it, (&listing, unversioned)));
    let (services, unlisted) = match listing.services {
        Ok(services) => (Known::Known(BTreeSet::clone(&services)), None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error)),
    };
    let facts = Observed { vanished: vanished.unwrap_or_default(), unversioned, ..Observed::new(services, document) };
    Look { facts, raw, surroundings, listed: listing.asked, error: unread.or(unlisted) }
}
