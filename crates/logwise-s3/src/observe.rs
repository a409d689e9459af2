//! One look at a bucket.

use crate::bucket::Bucket;
use crate::discovery::{Discovery, Listing};
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
    let (mut look, listing) = read(bucket, logs_prefix, discovery).await;
    look.miss((&bucket.name, logs_prefix), &listing, discovery);
    look
}

/// The same without the services that have vanished, and the listing by which these are told.
pub(crate) async fn read(bucket: &Bucket, logs_prefix: &str, discovery: &Discovery) -> (Look, Listing) {
    let listing = discovery.services(bucket, logs_prefix);
    let (document, listing, surroundings) =
        futures::join!(lifecycle::read(bucket), listing, discovery.surroundings(bucket));
    let (raw, unread) = match document {
        Ok(raw) => (raw, None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error)),
    };
    let document = raw.clone().map(|raw| raw.to_facts());
    let (services, unlisted) = match &listing.services {
        Ok(services) => (Known::Known(BTreeSet::clone(services)), None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error.clone())),
    };
    let facts = Observed { unversioned: surroundings.is_unversioned(), ..Observed::new(services, document) };
    (Look { facts, raw, surroundings, listed: listing.asked, error: unread.or(unlisted) }, listing)
}

impl Look {
    /// A look at the configuration alone, beside these services.
    pub(crate) fn of(services: Known<BTreeSet<String>>, raw: Known<RawDocument>) -> Self {
        let facts = Observed::new(services, raw.clone().map(|raw| raw.to_facts()));
        Self { facts, raw, surroundings: Surroundings::default(), listed: Instant::now(), error: None }
    }

    /// Finds out which services with a rule have vanished, by their listing; `place` is bucket and logs prefix.
    pub(crate) fn miss(&mut self, place: (&str, &str), listing: &Listing, discovery: &Discovery) {
        let by = (listing, self.facts.unversioned);
        let vanished = self.facts.document.known().map(|document| discovery.vanished(place, document, by));
        self.facts.vanished = vanished.unwrap_or_default();
    }
}
