//! One look at a bucket.

use crate::bucket::Bucket;
use crate::discovery::Discovery;
use crate::document::RawDocument;
use crate::lifecycle;
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
    /// When the services were listed.
    pub listed: Instant,
    /// Why a part could not be read; the first of several.
    pub error: Option<AwsError>,
}

/// Reads the lifecycle configuration, and the services unless a listing of this period is known. A part that cannot
/// be read is unknown and leaves the other one alone.
pub async fn observe(bucket: &Bucket, logs_prefix: &str, discovery: &Discovery) -> Look {
    let (document, listing) = futures::join!(lifecycle::read(bucket), discovery.services(bucket, logs_prefix));
    let (raw, unread) = match document {
        Ok(raw) => (raw, None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error)),
    };
    let (services, unlisted) = match listing.services {
        Ok(services) => (Known::Known(BTreeSet::clone(&services)), None),
        Err(error) => (Known::Unknown(error.to_string()), Some(error)),
    };
    let document = raw.clone().map(|raw| raw.to_facts());
    Look { facts: Observed { services, document }, raw, listed: listing.asked, error: unread.or(unlisted) }
}
