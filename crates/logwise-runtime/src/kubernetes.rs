//! Where the operator keeps what is its own in Kubernetes, and calls with a deadline.

use kube::Client;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for one answer of the API server.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Longest wait that the API server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

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
            // Neither name can hold a dot, so no other installation has this one.
            format!("logwise-{}.{}", self.installation, self.shard)
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
    /// The API server has asked to wait: nothing was sent.
    #[error("{what} waits: the API server has asked for that")]
    AskedToWait {
        /// What was to be attempted.
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
            Self::NoAnswer { .. } | Self::AskedToWait { .. } | Self::Busy { .. } => None,
        }
    }
}

/// How long the API server asks to wait with this answer. kube keeps the body and not the header; the API server says it
/// in both, but for a plain 429, which says one second.
pub fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let stated = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    let seconds = if stated == 0 && status.code == 429 { 1 } else { stated };
    // A mistaken number must not silence the operator for long.
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST_WAIT))
}

/// Kinds of calls with which the API server has asked this process to wait.
pub(crate) mod pace {
    use super::retry_after;
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};
    use tokio::time::error::Elapsed;

    static UNTIL: LazyLock<Mutex<HashMap<&'static str, Instant>>> = LazyLock::new(Mutex::default);

    fn lock() -> MutexGuard<'static, HashMap<&'static str, Instant>> {
        UNTIL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait before the next call of this kind.
    pub(crate) fn rest(what: &'static str) -> Option<Duration> {
        let until = lock().get(what).copied()?;
        until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    /// Remembers what an answer asks for.
    pub(crate) fn heard<T>(what: &'static str, answered: &Result<Result<T, kube::Error>, Elapsed>) {
        if let Ok(Err(error)) = answered
            && let Some(wait) = retry_after(error)
        {
            lock().insert(what, Instant::now() + wait);
        }
    }
}

/// Waits for one call, at most 5 s, and not at all while the API server asks to wait with calls of this kind.
///
/// # Errors
/// [`KubernetesError`]
pub async fn within<T>(
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
    if pace::rest(what).is_some() {
        return Err(KubernetesError::AskedToWait { what });
    }
    let answered = tokio::time::timeout(deadline, call).await;
    pace::heard(what, &answered);
    match answered {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(KubernetesError::Call { what, source: Box::new(source) }),
        Err(_) => Err(KubernetesError::NoAnswer { what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(code: u16, seconds: Option<u32>) -> kube::Error {
        let details = seconds.map(|seconds| json!({"retryAfterSeconds": seconds}));
        let status = json!({"status": "Failure", "code": code, "reason": "R", "message": "m", "details": details});
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn the_api_server_says_how_long_to_wait() {
        let seconds = |code, said| retry_after(&refusal(code, said)).map(|wait| wait.as_secs());
        assert_eq!((seconds(429, Some(7)), seconds(429, None)), (Some(7), Some(1)));
        assert_eq!((seconds(503, Some(2)), seconds(503, None), seconds(409, None)), (Some(2), None, None));
        assert_eq!(seconds(429, Some(100_000)), Some(60));
    }

    #[tokio::test]
    async fn nothing_is_asked_before_the_time_that_the_api_server_has_named() {
        const WHAT: &str = "waiting in a test";
        let calls = std::sync::atomic::AtomicU32::new(0);
        let ask = || {
            within(WHAT, async {
                calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err::<(), _>(refusal(429, Some(60)))
            })
        };
        assert!(matches!(ask().await, Err(KubernetesError::Call { .. })));
        assert!(matches!(ask().await, Err(KubernetesError::AskedToWait { .. })));
        assert_eq!(calls.into_inner(), 1);
        assert!(within("something else in a test", async { Ok(()) }).await.is_ok());
    }
}
