//! Writes that did not come out as wanted, so that one that changes nothing is not sent again and again.

use crate::apply::Written;
use logwise_aws::AwsError;
use logwise_plan::retention::WriteRules;
use logwise_runtime::ErrorClass;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A refusal may have been a moment's.
const PAUSE_AFTER_ONE: Duration = Duration::from_secs(30);

/// What was in vain twice, or had no effect for as long as old answers last, will be so again.
const PAUSE_AFTER_MORE: Duration = Duration::from_secs(600);

/// How often another writer may come in between before he is named and waited for.
const MOST_OVERTAKEN: u32 = 3;

/// The first pause then; each further time it is twice as long.
const PAUSE_AFTER_OTHERS: Duration = Duration::from_secs(15);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// What became of the last writes of each bucket.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Default)]
struct Bucket {
    vain: Option<Vain>,
    /// How often in a row another writer came in between.
    overtaken: u32,
    /// No write before this time, and why.
    rest: Option<(Instant, String)>,
}

/// A write that is sent again over the same configuration only after a pause.
#[derive(Debug)]
struct Vain {
    write: WriteRules,
    outcome: Result<Written, AwsError>,
    /// Writes of these rules in a row that were in vain.
    times: u32,
    at: Instant,
}

impl Tried {
    /// What `write` comes to if it is not sent now; `None`: send it.
    pub(crate) fn outcome(&self, bucket: &str, write: &WriteRules, now: Instant) -> Option<Result<Written, AwsError>> {
        let buckets = self.lock();
        let bucket = buckets.get(bucket)?;
        if let Some((_, why)) = bucket.rest.as_ref().filter(|(until, _)| now < *until) {
            return Some(Ok(Written::NotVerified { why: why.clone() }));
        }
        let vain = bucket.vain.as_ref().filter(|vain| vain.write == *write)?;
        let pause = if vain.times > 1 { PAUSE_AFTER_MORE } else { PAUSE_AFTER_ONE };
        (now.duration_since(vain.at) < pause).then(|| vain.outcome.clone())
    }

    /// Remembers what a write came to; what is said of it.
    pub(crate) fn noted(
        &self,
        bucket: &str,
        write: &WriteRules,
        outcome: Result<Written, AwsError>,
        now: Instant,
    ) -> Result<Written, AwsError> {
        match &outcome {
            Ok(Written::Superseded) => {
                let why = "the configuration changed between the last reading and the write, which was not sent";
                return if self.overtaken(bucket, why, now) {
                    Ok(Written::NotVerified { why: why.to_owned() })
                } else {
                    outcome
                };
            }
            Ok(Written::Shown { .. } | Written::Unseen { .. } | Written::Lessened { .. } | Written::AlreadySo) => {
                self.lock().entry(bucket.to_owned()).or_default().vain = None;
            }
            Err(error) if error.class() == ErrorClass::Invalid => {
                let mut buckets = self.lock();
                let bucket = buckets.entry(bucket.to_owned()).or_default();
                let before = bucket.vain.as_ref().filter(|vain| vain.write.add == write.add);
                let times = before.map_or(0, |vain| vain.times).saturating_add(1);
                bucket.vain = Some(Vain { write: write.clone(), outcome: outcome.clone(), times, at: now });
            }
            Ok(Written::NotVerified { .. } | Written::Postponed) | Err(_) => {}
        }
        outcome
    }

    /// A write was accepted, and S3 shows nothing of it.
    pub(crate) fn vanished(&self, bucket: &str, write: &WriteRules, why: &str, now: Instant) {
        let outcome = Ok(Written::NotVerified { why: why.to_owned() });
        let vain = Vain { write: write.clone(), outcome, times: 2, at: now };
        self.lock().entry(bucket.to_owned()).or_default().vain = Some(vain);
    }

    /// Another writer came in between; says whether that was too often, and nothing is written for a while.
    pub(crate) fn overtaken(&self, bucket: &str, why: &str, now: Instant) -> bool {
        let mut buckets = self.lock();
        let bucket = buckets.entry(bucket.to_owned()).or_default();
        bucket.overtaken = bucket.overtaken.saturating_add(1);
        let Some(more) = bucket.overtaken.checked_sub(MOST_OVERTAKEN) else { return false };
        let pause = PAUSE_AFTER_OTHERS.saturating_mul(1 << more.min(16)).min(LONGEST_PAUSE);
        let times = bucket.overtaken;
        bucket.rest = Some((now + pause, format!("{why}; another writer came in between {times} times in a row")));
        true
    }

    /// S3 holds what was written.
    pub(crate) fn succeeded(&self, bucket: &str) {
        self.lock().remove(bucket);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_aws::Failure;
    use logwise_plan::retention::{Rule, Settings};
    use std::collections::BTreeSet;

    fn write(assumes: &str) -> WriteRules {
        let settings = Settings { expiration_days: Some(9), ..Settings::default() };
        WriteRules {
            assumes: Some(assumes.to_owned()),
            remove: BTreeSet::new(),
            add: vec![Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings }],
        }
    }

    fn refused(class: ErrorClass) -> Result<Written, AwsError> {
        let failure = Failure::stated(class, "InvalidStorageClass");
        Err(AwsError::WriteLifecycle { bucket: "b".into(), failure, source: None })
    }

    #[test]
    fn what_the_server_refuses_is_sent_again_after_a_pause_or_over_another_configuration() {
        let (tried, now) = (Tried::default(), Instant::now());
        assert!(tried.noted("b", &write("one"), refused(ErrorClass::Invalid), now).is_err());
        assert!(
            matches!(tried.outcome("b", &write("one"), now), Some(Err(error)) if error.class() == ErrorClass::Invalid)
        );
        assert!(tried.outcome("b", &write("two"), now).is_none(), "another configuration");
        assert!(tried.outcome("other", &write("one"), now).is_none());
        assert!(tried.outcome("b", &write("one"), now + PAUSE_AFTER_ONE).is_none());
        drop(tried.noted("b", &write("two"), refused(ErrorClass::Invalid), now));
        assert!(tried.outcome("b", &write("two"), now + PAUSE_AFTER_ONE).is_some(), "twice in vain");
        assert!(tried.outcome("b", &write("two"), now + PAUSE_AFTER_MORE).is_none());
        tried.succeeded("b");
        assert!(tried.outcome("b", &write("two"), now).is_none());
        for class in [ErrorClass::Throttled, ErrorClass::Conflict, ErrorClass::Transient] {
            drop(tried.noted("b", &write("one"), refused(class), now));
            let known = tried.outcome("b", &write("one"), now);
            assert!(known.is_none(), "{class:?}: the back-off of the object decides, not {known:?}");
        }
    }

    #[test]
    fn what_vanished_is_not_written_again_for_a_while() {
        let (tried, now) = (Tried::default(), Instant::now());
        tried.vanished("b", &write("one"), "gone", now);
        let told = tried.outcome("b", &write("one"), now + PAUSE_AFTER_ONE);
        assert!(matches!(&told, Some(Ok(Written::NotVerified { why })) if why == "gone"), "{told:?}");
        assert!(tried.outcome("b", &write("two"), now).is_none());
        assert!(tried.outcome("b", &write("one"), now + PAUSE_AFTER_MORE).is_none());
    }

    #[test]
    fn another_writer_is_named_and_waited_for_after_some_times() {
        let (tried, mut now) = (Tried::default(), Instant::now());
        let superseded = |now| tried.noted("b", &write("one"), Ok(Written::Superseded), now);
        assert!(matches!(superseded(now), Ok(Written::Superseded)));
        assert!(!tried.overtaken("b", "overwritten", now));
        assert!(tried.outcome("b", &write("two"), now).is_none());
        assert!(matches!(superseded(now), Ok(Written::NotVerified { .. })));
        let Some(Ok(Written::NotVerified { why })) = tried.outcome("b", &write("two"), now) else { panic!("no rest") };
        assert!(why.ends_with("another writer came in between 3 times in a row"), "{why}");
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert!(tried.overtaken("b", "overwritten", now));
            let mut pause = PAUSE_AFTER_OTHERS;
            while tried.outcome("b", &write("two"), now + pause).is_some() {
                pause += PAUSE_AFTER_OTHERS;
            }
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!((&pauses[..3], pauses[11]), (&[30, 60, 120][..], 3_600));
        drop(tried.noted("b", &write("one"), Ok(Written::Shown { others: None }), now));
        assert!(tried.overtaken("b", "overwritten", now), "shown once is not held");
        tried.succeeded("b");
        assert!(!tried.overtaken("b", "overwritten", now));
        assert!(tried.outcome("b", &write("two"), now).is_none());
    }
}
