//! Who leads: the pure part. What the Lease says and how long it has said so decide what a replica does next.
//!
//! No clock of another machine is trusted: a replica measures on its own monotonic clock for how long it has seen the
//! same version of the Lease. Times are durations since any fixed moment of this process.

use std::time::Duration;

/// The Lease as read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Who holds it; none after a release.
    pub holder: Option<String>,
    /// Version of the object: every write makes a new one.
    pub version: String,
    /// For how long after a renewal the holder leads, as the holder wrote it.
    pub duration: Duration,
}

/// A version of the Lease and since when this replica has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The version.
    pub version: String,
    /// When it was first seen.
    pub since: Duration,
}

impl Seen {
    /// What is remembered after `lease` was read at `now`: the moment of the first sight of each version.
    pub fn update(before: Option<Self>, lease: &Lease, now: Duration) -> Self {
        match before {
            Some(seen) if seen.version == lease.version => seen,
            _ => Self { version: lease.version.clone(), since: now },
        }
    }
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Write itself into the Lease, on the condition that the version is still the one read.
    Take,
    /// Write a renewal, on the same condition.
    Renew,
    /// Look again after this long.
    Wait(Duration),
}

/// Decides for the replica `me`. `leads_until` is the deadline of the term it is in, if it is in one.
///
/// Its own name in the Lease alone is no reason to lead: a replica that stepped down, or was started again under the
/// same name, waits like everybody else.
pub fn step(me: &str, lease: &Lease, seen: &Seen, leads_until: Option<Duration>, now: Duration) -> Step {
    let holds = lease.holder.as_deref() == Some(me);
    if holds && leads_until.is_some_and(|until| now < until) {
        return Step::Renew;
    }
    if lease.holder.is_none() {
        return Step::Take;
    }
    let runs_out = seen.since + lease.duration;
    if now >= runs_out { Step::Take } else { Step::Wait(runs_out.saturating_sub(now)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(holder: Option<&str>, version: &str) -> Lease {
        Lease { holder: holder.map(str::to_owned), version: version.to_owned(), duration: s(15) }
    }

    fn seen(version: &str, since: u64) -> Seen {
        Seen { version: version.to_owned(), since: s(since) }
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        assert_eq!(step("a", &lease(None, "1"), &seen("1", 100), None, s(100)), Step::Take);
    }

    #[test]
    fn a_held_lease_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let held = lease(Some("b"), "1");
        assert_eq!(step("a", &held, &seen("1", 100), None, s(100)), Step::Wait(s(15)));
        assert_eq!(step("a", &held, &seen("1", 100), None, s(114)), Step::Wait(s(1)));
        assert_eq!(step("a", &held, &seen("1", 100), None, s(115)), Step::Take);
    }

    #[test]
    fn a_renewal_starts_the_wait_again() {
        let first = Seen::update(None, &lease(Some("b"), "1"), s(100));
        let same = Seen::update(Some(first.clone()), &lease(Some("b"), "1"), s(110));
        assert_eq!(same, first);
        assert_eq!(Seen::update(Some(same), &lease(Some("b"), "2"), s(110)), seen("2", 110));
    }

    #[test]
    fn the_leader_renews_before_its_deadline_and_waits_like_others_after_it() {
        let mine = lease(Some("a"), "7");
        assert_eq!(step("a", &mine, &seen("7", 100), Some(s(115)), s(114)), Step::Renew);
        assert_eq!(step("a", &mine, &seen("7", 101), Some(s(115)), s(115)), Step::Wait(s(1)));
        assert_eq!(step("a", &mine, &seen("7", 101), None, s(110)), Step::Wait(s(6)));
    }

    #[test]
    fn a_leader_whose_lease_somebody_else_holds_does_not_renew() {
        assert_eq!(step("a", &lease(Some("b"), "8"), &seen("8", 100), Some(s(115)), s(101)), Step::Wait(s(14)));
    }
}
