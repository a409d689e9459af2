//! Services that have a rule and whose logs are gone: since when each of them has been missed.

use logwise_plan::retention::{Document, Settings, fold_key};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const DAY: Duration = Duration::from_secs(86_400);

/// S3 removes what has come of age once a day, after midnight, and may be late.
const LATE: Duration = Duration::from_secs(2 * 86_400);

/// How long a service that is missing keeps its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// At least so long.
    pub grace: Duration,
    /// Whether the bucket is known never to have kept versions.
    pub unversioned: bool,
}

impl Patience {
    /// A listing shows neither old versions nor parts of uploads that were never completed. Nobody removes these if the rule
    /// goes before them: it stays for the time that the youngest of them may have.
    fn with(self, rule: &Settings) -> Duration {
        let versions = rule.noncurrent_days.filter(|_| !self.unversioned);
        let unseen = versions.max(rule.abort_multipart_days).and_then(|days| u32::try_from(days).ok());
        self.grace + unseen.map_or(Duration::ZERO, |days| DAY.saturating_mul(days) + LATE)
    }
}

/// When each missing service was missed first, by bucket and logs prefix. In memory only: a restart makes the time longer
/// and never shorter.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<(String, String), BTreeMap<String, Instant>>>);

impl Seen {
    /// Services of `document` that whole listings have missed for as long as their rules tell, and the [`fold_key`] of
    /// beginnings with which they find none. `found` is the newest listing and when it was asked for: a listing that failed
    /// is not to be told here, so that it neither misses nor finds anybody.
    pub(crate) fn vanished(
        &self,
        (bucket, logs_prefix): (&str, &str),
        document: &Document,
        (found, asked): (&BTreeSet<String>, Instant),
        patience: Patience,
    ) -> BTreeSet<String> {
        let mut missed: BTreeMap<String, Duration> = BTreeMap::new();
        for meaning in document.rules.iter().filter_map(|rule| rule.meaning.as_ref()) {
            let named = named(logs_prefix, &meaning.prefix);
            let Some(service) = named.and_then(|named| missing(found, named)) else { continue };
            let within = missed.entry(service).or_default();
            *within = patience.with(&meaning.settings).max(*within);
        }
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry((bucket.to_owned(), logs_prefix.to_owned())).or_default();
        place.retain(|service, _| missed.contains_key(service));
        let is_over = |(service, within): &(String, Duration)| {
            let first = place.entry(service.clone()).or_insert(asked);
            asked.saturating_duration_since(*first) >= *within
        };
        missed.into_iter().filter(is_over).map(|(service, _)| service).collect()
    }

    /// Drops what is known of a bucket.
    pub(crate) fn forget(&self, bucket: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| name != bucket);
    }
}

/// On what names a rule acts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Named<'a> {
    Service(&'a str),
    Beginning(&'a str),
}

/// The service whose whole prefix this is, or with what the names of services begin that it covers.
fn named<'a>(logs_prefix: &str, prefix: &'a str) -> Option<Named<'a>> {
    let rest = prefix.strip_prefix(logs_prefix)?.strip_prefix("service_name=")?;
    let (name, is_whole) = rest.strip_suffix('/').map_or((rest, false), |service| (service, true));
    let named = if is_whole { Named::Service(name) } else { Named::Beginning(name) };
    (!name.is_empty() && !name.contains('/')).then_some(named)
}

/// What to call it if no service of these is it.
fn missing(found: &BTreeSet<String>, named: Named<'_>) -> Option<String> {
    match named {
        Named::Service(service) => (!found.contains(service)).then(|| service.to_owned()),
        Named::Beginning(beginning) => {
            let next = found.range::<str, _>((Bound::Included(beginning), Bound::Unbounded)).next();
            (!next.is_some_and(|service| service.starts_with(beginning))).then(|| fold_key(beginning))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::{Meaning, ObservedRule, service_prefix};

    const PLACE: (&str, &str) = ("b", "logs/");
    const GRACE: Duration = Duration::from_secs(60);
    const PATIENCE: Patience = Patience { grace: GRACE, unversioned: true };

    fn document(services: &[&str]) -> Document {
        let rule = |service: &&str| {
            let settings = Settings { expiration_days: Some(9), ..Settings::default() };
            let meaning = Some(Meaning { prefix: service_prefix("logs/", service), settings });
            ObservedRule { meaning, ..ObservedRule::default() }
        };
        Document { version: "v".into(), rules: services.iter().map(rule).collect(), not_preservable: None }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_service_is_forgotten_when_whole_listings_have_missed_it_for_the_grace_period() {
        let (seen, start) = (Seen::default(), Instant::now());
        let at = |found: &[&str], after: Duration| {
            seen.vanished(PLACE, &document(&["api", "web"]), (&names(found), start + after), PATIENCE)
        };
        assert_eq!(at(&["api", "web"], Duration::ZERO), names(&[]));
        assert_eq!(at(&["api"], Duration::from_secs(300)), names(&[]), "it has just been missed for the first time");
        assert_eq!(at(&["api"], Duration::from_secs(359)), names(&[]));
        assert_eq!(at(&["api"], Duration::from_secs(360)), names(&["web"]));
        assert_eq!(at(&["api", "web"], Duration::from_secs(400)), names(&[]), "it is back");
        assert_eq!(at(&["api"], Duration::from_secs(420)), names(&[]), "and missed from here on");
        assert_eq!(at(&["api"], Duration::from_secs(480)), names(&["web"]));
    }

    #[test]
    fn a_shared_rule_is_missed_while_no_service_has_its_beginning() {
        let (seen, start) = (Seen::default(), Instant::now());
        let mut shared = document(&["x"]);
        if let Some(meaning) = &mut shared.rules[0].meaning {
            meaning.prefix = "logs/service_name=pay".to_owned();
        }
        let at =
            |found: &[&str], after: Duration| seen.vanished(PLACE, &shared, (&names(found), start + after), PATIENCE);
        assert_eq!(at(&["pa", "payments", "web"], Duration::ZERO), names(&[]));
        assert_eq!(at(&["pa", "web"], GRACE), names(&[]), "it has just been missed for the first time");
        assert_eq!(at(&["pa", "web"], 2 * GRACE), names(&["pay/*"]));
        assert_eq!(at(&["pa", "pay", "web"], 3 * GRACE), names(&[]), "one is back");
    }

    #[test]
    fn a_rule_outlives_what_no_listing_shows() {
        let settings = |noncurrent_days, abort_multipart_days| Settings {
            expiration_days: Some(900),
            noncurrent_days,
            abort_multipart_days,
            ..Settings::default()
        };
        let days = |number: u64| GRACE + Duration::from_secs(number * 86_400);
        let versions = Patience { unversioned: false, ..PATIENCE };
        for (patience, rule, within) in [
            (PATIENCE, settings(None, None), GRACE),
            (versions, settings(None, None), GRACE),
            (versions, settings(Some(7), None), days(9)),
            (PATIENCE, settings(Some(7), None), GRACE),
            (PATIENCE, settings(None, Some(3)), days(5)),
            (PATIENCE, settings(Some(7), Some(3)), days(5)),
            (versions, settings(Some(7), Some(3)), days(9)),
            (versions, settings(Some(3), Some(7)), days(9)),
        ] {
            let (seen, start) = (Seen::default(), Instant::now());
            let mut document = document(&["web", "api"]);
            // Two rules for one service: the longer time counts.
            document.rules.push(document.rules[0].clone());
            document.rules[0].meaning.as_mut().unwrap().settings = rule.clone();
            let at = |after: Duration| seen.vanished(PLACE, &document, (&names(&["api"]), start + after), patience);
            assert_eq!(at(Duration::ZERO), names(&[]));
            assert_eq!(at(within - Duration::from_secs(1)), names(&[]), "{patience:?} {rule:?}");
            assert_eq!(at(within), names(&["web"]), "{patience:?} {rule:?}");
        }
    }

    #[test]
    fn the_time_of_a_listing_counts_and_not_how_often_it_is_looked_at() {
        let (seen, asked) = (Seen::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(seen.vanished(PLACE, &document(&["web"]), (&names(&[]), asked), PATIENCE), names(&[]));
        }
        // No listing between: those that failed say nothing.
        let later = asked + GRACE;
        assert_eq!(seen.vanished(PLACE, &document(&["web"]), (&names(&[]), later), PATIENCE), names(&["web"]));
    }

    #[test]
    fn a_rule_that_is_gone_a_bucket_and_a_restart_begin_anew() {
        let (seen, start) = (Seen::default(), Instant::now());
        let look = |seen: &Seen, document: &Document, after: Duration| {
            seen.vanished(PLACE, document, (&names(&[]), start + after), PATIENCE)
        };
        let (with, without) = (document(&["web"]), document(&[]));
        assert_eq!(look(&seen, &with, Duration::ZERO), names(&[]));
        assert_eq!(look(&seen, &without, GRACE), names(&[]));
        assert_eq!(look(&seen, &with, GRACE), names(&[]), "the rule is a new one");
        assert_eq!(look(&seen, &with, 2 * GRACE), names(&["web"]));
        seen.forget("b");
        assert_eq!(look(&seen, &with, 2 * GRACE), names(&[]));
        assert_eq!(look(&Seen::default(), &with, 3 * GRACE), names(&[]), "a restart makes it longer");
        let odd = ["logs/", "logs/service_name=", "logs/service_name=/", "logs/service_name=a/b/", "x/service_name=a/"];
        assert!(odd.iter().all(|prefix| named("logs/", prefix).is_none()));
        assert_eq!(named("logs/", "logs/service_name=pay ments/"), Some(Named::Service("pay ments")));
        assert_eq!(named("logs/", "logs/service_name=pay m"), Some(Named::Beginning("pay m")));
    }
}
