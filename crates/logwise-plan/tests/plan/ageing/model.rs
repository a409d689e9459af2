//! What S3 does to the versions of an object, one day after the other.
//!
//! A rule acts on versions whose key, tags and size fit. Current versions expire: in a bucket that keeps versions a
//! delete marker takes their place, in another one they are gone. Noncurrent versions are removed some days after a
//! newer one, or a marker, took their place, except the newest ones that a rule keeps. Of rules that overlap the shorter
//! time wins, since each acts by itself. A marker with nothing under it may go; nobody loses anything by that.

use super::objects::{Object, Version};
use logwise_plan::retention::{Expires, Reach};

/// Days that are looked at; all times in the small buckets are shorter.
const HORIZON: i32 = 30;

const SECONDS_OF_A_DAY: i64 = 86_400;

/// What is left of a version, the worse the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Gone,
    Noncurrent,
    Current,
}

/// Whether any version is worse off on some day under the rules `after` than under the rules `before`, and whether any
/// is better off.
pub fn compared(object: &Object, before: &[Reach], after: &[Reach]) -> (bool, bool) {
    let (before, after) = (acting(object, before), acting(object, after));
    let (mut worse, mut better) = (false, false);
    if before == after {
        return (worse, better);
    }
    let (mut one, mut other) = (Stack::new(object), Stack::new(object));
    for day in 0..HORIZON {
        one.age(&before, day);
        other.age(&after, day);
        for (had, has) in one.states().into_iter().zip(other.states()) {
            worse |= has < had;
            better |= has > had;
        }
    }
    (worse, better)
}

/// The states of the versions of an object on each day.
pub fn life(object: &Object, rules: &[Reach]) -> Vec<Vec<State>> {
    let (acting, mut stack) = (acting(object, rules), Stack::new(object));
    let next = |day| {
        stack.age(&acting, day);
        stack.states()
    };
    (0..HORIZON).map(next).collect()
}

/// The rules that act on the key of an object.
fn acting<'r>(object: &Object, rules: &'r [Reach]) -> Vec<&'r Reach> {
    rules.iter().filter(|rule| rule.enabled && object.key.starts_with(&rule.prefix)).collect()
}

/// A version or a marker that is there.
struct Live<'a> {
    /// Its place among the versions of day 0; none if a rule made it, which makes markers only.
    origin: Option<(usize, &'a Version)>,
    /// The day on which it was created.
    created: i32,
    noncurrent_since: Option<i32>,
}

impl Live<'_> {
    fn is_marker(&self) -> bool {
        self.origin.is_none_or(|(_, version)| version.marker)
    }

    /// Whether a rule that acts on the key acts on this version.
    fn fits(&self, rule: &Reach) -> bool {
        let size = self.origin.map_or(0, |(_, version)| version.size);
        let has = |(key, value): (&String, &String)| self.origin.is_some_and(|(_, v)| v.tags.get(key) == Some(value));
        rule.tags.iter().all(has)
            && rule.larger_than.is_none_or(|least| size > least)
            && rule.smaller_than.is_none_or(|most| size < most)
    }
}

/// The versions of an object that are there, the newest first.
struct Stack<'a> {
    object: &'a Object,
    live: Vec<Live<'a>>,
}

impl<'a> Stack<'a> {
    fn new(object: &'a Object) -> Self {
        let mut newer = None;
        let live = object.versions.iter().enumerate().map(|(place, version)| {
            let created = -version.age;
            Live { origin: Some((place, version)), created, noncurrent_since: newer.replace(created) }
        });
        Self { object, live: live.collect() }
    }

    /// Lets one day go by.
    fn age(&mut self, rules: &[&Reach], day: i32) {
        let stays: Vec<bool> = (0..self.live.len()).map(|place| !self.is_removed(place, rules, day)).collect();
        let mut stays = stays.into_iter();
        self.live.retain(|_| stays.next().unwrap_or(true));
        let Some(current) = self.live.first() else { return };
        if current.is_marker() {
            let age = day - current.created;
            let is_old = |rule: &Reach| matches!(rule.expires, Some(Expires::Days(days)) if age >= days);
            let goes = rules.iter().any(|rule| current.fits(rule) && (rule.removes_markers || is_old(rule)));
            if goes && self.live.len() == 1 {
                self.live.clear();
            }
        } else if rules.iter().any(|rule| current.fits(rule) && is_due(rule, current, day)) {
            if self.object.versioned {
                self.live[0].noncurrent_since = Some(day);
                self.live.insert(0, Live { origin: None, created: day, noncurrent_since: None });
            } else {
                self.live.clear();
            }
        }
    }

    /// Whether a rule removes a noncurrent version today.
    fn is_removed(&self, place: usize, rules: &[&Reach], day: i32) -> bool {
        let version = &self.live[place];
        let Some(since) = version.noncurrent_since else { return false };
        let newer = self.live[..place].iter().filter(|other| other.noncurrent_since.is_some()).count();
        let mut fitting = rules.iter().filter(|rule| version.fits(rule)).filter_map(|rule| rule.noncurrent);
        fitting.any(|noncurrent| {
            let kept = usize::try_from(noncurrent.newer.unwrap_or(0)).unwrap();
            day - since >= noncurrent.days && newer >= kept
        })
    }

    /// The state of each version of day 0. Markers count as if they were always there.
    fn states(&self) -> Vec<State> {
        let start = |version: &Version| if version.marker { State::Current } else { State::Gone };
        let mut states: Vec<State> = self.object.versions.iter().map(start).collect();
        for live in self.live.iter().filter(|live| !live.is_marker()) {
            if let Some((place, _)) = live.origin {
                states[place] = if live.noncurrent_since.is_some() { State::Noncurrent } else { State::Current };
            }
        }
        states
    }
}

/// Whether the current version expires today.
fn is_due(rule: &Reach, current: &Live<'_>, day: i32) -> bool {
    match rule.expires {
        Some(Expires::Days(days)) => day - current.created >= days,
        Some(Expires::Date(date)) => i64::from(day) >= date.as_second().div_euclid(SECONDS_OF_A_DAY),
        None => false,
    }
}
