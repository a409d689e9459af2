//! What became of the last write of each bucket, so that a write that changes nothing is not sent again and again.

use crate::Written;
use crate::apply::lacking;
use crate::observe::Look;
use logwise_aws::AwsError;
use logwise_plan::retention::WriteRules;
use logwise_runtime::ErrorClass;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// S3 may answer with an old configuration for a while, and a refusal may have been a moment's.
const PAUSE_AFTER_ONE: Duration = Duration::from_secs(30);

/// A server that twice made the same of the same rules will do so again.
const PAUSE_AFTER_MORE: Duration = Duration::from_secs(600);

/// The last write of each bucket that did not come out as wanted. It is sent again over the same configuration only
/// after a pause.
#[derive(Debug, Default)]
pub struct Tried {
    buckets: Mutex<HashMap<String, Try>>,
}

#[derive(Debug)]
struct Try {
    write: WriteRules,
    outcome: Result<Written, AwsError>,
    /// Writes of these rules in a row that did not come out as wanted.
    times: u32,
    at: Instant,
}

impl Tried {
    /// What `write` came to when it was sent over this very configuration a short while ago; `None`: send it.
    pub(crate) fn outcome(
        &self,
        bucket: &str,
        (write, look): (&WriteRules, &Look),
        now: Instant,
    ) -> Option<Result<Written, AwsError>> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let last = buckets.get(bucket).filter(|last| last.write == *write)?;
        let pause = if last.times > 1 { PAUSE_AFTER_MORE } else { PAUSE_AFTER_ONE };
        if now.duration_since(last.at) >= pause {
            return None;
        }
        let is_doubted = matches!(last.outcome, Ok(Written::NotVerified { .. })) && last.times > 1;
        let lacking = look.raw.known().filter(|_| is_doubted).and_then(|document| lacking(document, write));
        Some(lacking.map_or_else(|| last.outcome.clone(), |why| Ok(Written::NotKept { why })))
    }

    /// Remembers what a write that was sent came to.
    pub(crate) fn note(&self, bucket: &str, write: &WriteRules, outcome: &Result<Written, AwsError>, now: Instant) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match outcome {
            Ok(Written::NotVerified { .. }) => true,
            Ok(Written::Done | Written::AlreadySo) => {
                buckets.remove(bucket);
                false
            }
            Ok(Written::Superseded | Written::NotKept { .. }) => false,
            Err(error) => error.class() == ErrorClass::Invalid,
        };
        if failed {
            let before = buckets.get(bucket).filter(|last| last.write.add == write.add);
            let times = before.map_or(0, |last| last.times).saturating_add(1);
            buckets.insert(bucket.to_owned(), Try { write: write.clone(), outcome: outcome.clone(), times, at: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawDocument;
    use logwise_plan::Known;
    use logwise_plan::retention::{Observed, Rule, Settings};
    use std::collections::BTreeSet;

    fn look(document: &str) -> Look {
        let raw = RawDocument::parse(document.as_bytes(), None).unwrap();
        let facts = Observed { services: Known::Known(BTreeSet::new()), document: Known::Known(raw.to_facts()) };
        Look { facts, raw: Known::Known(raw), listed: tokio::time::Instant::now(), error: None }
    }

    fn write(assumes: &Look) -> WriteRules {
        let settings = Settings { expiration_days: Some(9), abort_multipart_days: Some(3), ..Settings::default() };
        WriteRules {
            assumes: assumes.raw.known().map(|raw| raw.version().to_owned()),
            remove: BTreeSet::new(),
            add: vec![Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings }],
        }
    }

    const THEIRS: &str = "<LifecycleConfiguration><Rule><ID>t</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    const WITHOUT_ABORT: &str = "<LifecycleConfiguration><Rule><ID>ours</ID><Filter><Prefix>logs/service_name=a/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>";

    fn doubted() -> Result<Written, AwsError> {
        Ok(Written::NotVerified { why: "rule ours of ours is missing or changed".into() })
    }

    #[test]
    fn a_server_that_drops_a_setting_gets_two_writes_and_is_named() {
        let (tried, now) = (Tried::default(), Instant::now());
        let (before, after) = (look(THEIRS), look(WITHOUT_ABORT));
        tried.note("b", &write(&before), &doubted(), now);
        assert!(
            tried.outcome("b", (&write(&after), &after), now).is_none(),
            "another configuration: it is tried once more"
        );
        tried.note("b", &write(&after), &doubted(), now);
        let known = tried.outcome("b", (&write(&after), &after), now).unwrap().unwrap();
        assert!(
            matches!(&known, Written::NotKept { why } if why.contains("abortIncompleteMultipartUpload") && !why.contains("expiration")),
            "{known:?}"
        );
        assert!(tried.outcome("other", (&write(&after), &after), now).is_none());
        assert!(tried.outcome("b", (&write(&before), &before), now).is_none(), "somebody changed the configuration");
        assert!(tried.outcome("b", (&write(&after), &after), now + PAUSE_AFTER_MORE).is_none());
    }

    #[test]
    fn an_old_answer_is_waited_for_and_not_taken_for_a_server_that_keeps_less() {
        let (tried, now) = (Tried::default(), Instant::now());
        let before = look(WITHOUT_ABORT);
        tried.note("b", &write(&before), &doubted(), now);
        let known = tried.outcome("b", (&write(&before), &before), now).unwrap();
        assert!(matches!(known, Ok(Written::NotVerified { .. })), "{known:?}");
        assert!(tried.outcome("b", (&write(&before), &before), now + PAUSE_AFTER_ONE).is_none());
        tried.note("b", &write(&before), &Ok(Written::Done), now);
        assert!(tried.outcome("b", (&write(&before), &before), now).is_none());
    }
}
