//! Where the operator keeps what is its own in Kubernetes, and calls with a deadline.

use kube::Client;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for one answer of the API server.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// The operator's own place: its namespace, its installation and its share of the objects.
#[derive(Clone)]
pub struct Seat {
    /// Client.
    pub client: Client,
    /// The operator's own namespace.
    pub namespace: String,
    /// Name of the installation.
    pub installation: String,
    /// Which share of the objects; empty: all.
    pub shard: String,
    /// Name of this process.
    pub identity: String,
}

impl Seat {
    /// Name of the Lease: one per shard.
    pub fn lease_name(&self) -> String {
        if self.shard.is_empty() {
            format!("logwise-{}", self.installation)
        } else {
            format!("logwise-{}-{}", self.installation, self.shard)
        }
    }

    /// Name of the ConfigMap with the epoch: one per installation, so that terms of all shards have an order.
    pub fn epoch_name(&self) -> String {
        format!("logwise-epoch-{}", self.installation)
    }

    /// Labels of an object of the operator's own.
    pub fn labels(&self, kind: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/managed-by".to_owned(), "logwise-operator".to_owned()),
            ("logwise.io/installation".to_owned(), self.installation.clone()),
            ("logwise.io/kind".to_owned(), kind.to_owned()),
        ])
    }

    /// Selector of the objects with these labels.
    pub fn selector(&self, kind: &str) -> String {
        format!("logwise.io/installation={},logwise.io/kind={kind}", self.installation)
    }
}

/// A call to the API server about the operator's own objects failed.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// It answered with an error, or not at all.
    #[error("{what} failed")]
    Call {
        /// What was attempted.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer within the deadline.
    #[error("{what}: the API server did not answer in time")]
    NoAnswer {
        /// What was attempted.
        what: &'static str,
    },
    /// Others changed the object again and again.
    #[error("{what} is changed by others all the time")]
    Busy {
        /// The object.
        what: String,
    },
}

impl KubernetesError {
    /// Somebody else has changed the object since it was read.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The object is not there.
    pub fn is_absent(&self) -> bool {
        self.status() == Some(404)
    }

    /// The right is missing.
    pub fn is_forbidden(&self) -> bool {
        self.status() == Some(403)
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Call { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::NoAnswer { .. } | Self::Busy { .. } => None,
        }
    }
}

/// Waits for one call, at most the deadline.
pub(crate) async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubernetesError> {
    within_time(CALL_DEADLINE, what, call).await
}

/// Waits for one call, at most `deadline`.
pub(crate) async fn within_time<T>(
    deadline: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubernetesError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(KubernetesError::Call { what, source: Box::new(source) }),
        Err(_) => Err(KubernetesError::NoAnswer { what }),
    }
}
