//! Growing delays per object, with jitter, so that one broken object costs little and many do not knock at once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures in a row per key.
pub struct Backoff {
    first: Duration,
    most: Duration,
    /// With the generation that failed: a spec that was changed begins anew.
    failures: Mutex<HashMap<String, (i64, u32)>>,
    entropy: RandomState,
}

impl Backoff {
    /// Delays start at `first` and double up to `most`; each is spread over 75 % to 125 %.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: Mutex::new(HashMap::new()), entropy: RandomState::new() }
    }

    /// Counts one more failure of `key` in this generation and returns how long to wait.
    pub fn failed(&self, key: &str, generation: i64) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, count) = failures.entry(key.to_owned()).or_insert((generation, 0));
        *count = if *of == generation { count.saturating_add(1) } else { 1 };
        *of = generation;
        let delay = self.first.saturating_mul(1 << (*count - 1).min(16)).min(self.most);
        // Per process and per attempt: replicas and objects do not fall into step.
        let spread = (self.entropy.hash_one((key, *count)) % 501) as u32;
        delay * (750 + spread) / 1_000
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&self, key: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_limit_and_start_over_after_success() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let first = backoff.failed("a", 1);
        assert!(first >= Duration::from_millis(750) && first <= Duration::from_millis(1_250), "{first:?}");
        let tenth = (0..10).map(|_| backoff.failed("a", 1)).last().unwrap();
        assert!(tenth >= Duration::from_secs(45) && tenth <= Duration::from_secs(75), "{tenth:?}");
        assert!(backoff.failed("b", 1) < Duration::from_secs(2));
        assert!(backoff.failed("a", 2) < Duration::from_secs(2), "a changed spec does not wait for the old one");
        assert!(backoff.failed("a", 2) < Duration::from_secs(3));
        backoff.succeeded("a");
        assert!(backoff.failed("a", 2) < Duration::from_secs(2));
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        assert!((0..1_000).all(|_| backoff.failed("a", 1) <= Duration::from_secs(75)));
    }
}
