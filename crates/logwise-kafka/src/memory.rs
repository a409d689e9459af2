//! What is remembered of a Kafka cluster from look to look: samples, whether records carry keys, growths.

use crate::full::{Description, Descriptions};
use crate::{Look, Outcome};
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::partitions::{Grow, Keys, Observed, Sample, Topic, Window};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it counts whether the newest records of a topic carry keys.
const KEYS_COUNT: Duration = Duration::from_secs(600);

/// How soon a topic is asked again whose records could not be read.
const KEYS_AGAIN: Duration = Duration::from_secs(60);

/// Time between two full looks.
const FULL_LOOK: Duration = Duration::from_secs(600);

/// How soon a topic is described again of which something could not be read.
const DESCRIBED_AGAIN: Duration = Duration::from_secs(60);

/// Rings remembered; beyond that all are forgotten, which costs a row each.
const MAX_RINGS: usize = 16;

/// Objects whose last reading is remembered; beyond that all are forgotten, which costs one reading each.
const MAX_OBJECTS: usize = 1_000;

/// The memory of one client. Objects that share the client share it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    topics: HashMap<String, Remembered>,
    /// When the record of growths was written that was taken over last.
    growths_of: Option<Timestamp>,
    /// When the oldest unread records of an object were read last.
    headroom: HashMap<String, Instant>,
    /// The longest window that anybody asks for.
    window_seconds: u32,
    /// End offsets as the database has them, by the name of the ring; empty for one that was only read so far.
    rings: HashMap<String, BTreeMap<String, (i32, i64)>>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// Shared with the facts of a look, which are gone before the next sample comes: nothing is copied.
    window: Arc<Window>,
    keys: Option<(Known<Keys>, Instant)>,
    grown: Option<Timestamp>,
    seen: Option<Timestamp>,
    description: Option<(Arc<Description>, Instant)>,
}

/// One look as the database keeps it: partitions and sum of the end offsets by topic.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLook {
    /// When the look began.
    pub at: Timestamp,
    /// By topic.
    pub topics: BTreeMap<String, (i32, i64)>,
}

impl Memory {
    /// Takes the samples of a look that began at `at`, and lets those of topics go that are no longer there.
    pub fn note(&mut self, look: &Look, at: Timestamp, window_seconds: u32) {
        self.window_seconds = self.window_seconds.max(window_seconds);
        let Known::Known(topics) = &look.facts.topics else { return };
        for (name, topic) in topics {
            let remembered = self.topics.entry(name.clone()).or_default();
            remembered.seen = Some(at);
            if let Known::Known(end_offsets) = topic.end_offsets {
                let sample = Sample { at, partitions: topic.partitions, end_offsets };
                Arc::make_mut(&mut remembered.window).record(sample, self.window_seconds);
            }
        }
        // Objects that share the client see different topics, so not seen this time says little.
        let longest = SignedDuration::from_secs(i64::from(self.window_seconds).max(3_600));
        self.topics.retain(|_, remembered| remembered.seen.is_some_and(|seen| at.duration_since(seen) < longest));
    }

    /// Puts what is remembered beside what was seen.
    pub fn fill(&self, facts: &mut Observed, now: Instant) {
        let Known::Known(topics) = &mut facts.topics else { return };
        for (name, topic) in topics {
            let remembered = self.topics.get(name);
            if let Some(remembered) = remembered {
                topic.window = remembered.window.clone();
                topic.grown = remembered.grown;
            }
            if let Some(keys) = remembered.and_then(|remembered| remembered.keys(now)) {
                topic.keys = keys;
            } else if is_empty(topic) {
                // No record, no key whose order could be lost.
                topic.keys = Known::Known(Keys::Without);
            }
        }
    }

    /// Says which topic a name stands for; samples of another one are dropped.
    pub fn identify(&mut self, name: &str, id: &str, now: Timestamp) {
        let remembered = self.topics.entry(name.to_owned()).or_default();
        if remembered.window.topic_id.as_deref().is_some_and(|known| known != id) {
            // Nothing that was found out about the other topic says anything about this one.
            let window = std::mem::take(&mut remembered.window);
            *remembered = Remembered { window, seen: remembered.seen, ..Remembered::default() };
        }
        if remembered.window.topic_id.as_deref() != Some(id) {
            Arc::make_mut(&mut remembered.window).identify(id, now);
        }
    }

    /// Of these topics those whose records were looked at longest ago, or never, at most so many.
    pub fn longest_unsampled<'a>(&self, names: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
        let at = |name: &str| self.topics.get(name).and_then(|topic| topic.keys.as_ref()).map(|(_, at)| *at);
        let mut names: Vec<(Option<Instant>, &str)> = names.map(|name| (at(name), name)).collect();
        names.sort_unstable();
        names.into_iter().take(most).map(|(_, name)| name).collect()
    }

    /// Remembers whether records carry keys.
    pub fn sampled(&mut self, name: &str, keys: Known<Keys>, now: Instant) {
        self.topics.entry(name.to_owned()).or_default().keys = Some((keys, now));
    }

    /// Remembers the growths that took place.
    pub fn grew(&mut self, outcomes: &[(Grow, Outcome)], at: Timestamp) {
        for (grow, outcome) in outcomes {
            // Of an unknown one that was sent it is safer to think that it was.
            if matches!(outcome, Outcome::Done | Outcome::Unknown { .. }) {
                self.grew_before(&grow.topic, at);
            }
        }
    }

    /// Remembers that a topic grew at this time, or later.
    fn grew_before(&mut self, topic: &str, at: Timestamp) {
        let remembered = self.topics.entry(topic.to_owned()).or_default();
        remembered.seen = remembered.seen.max(Some(at));
        remembered.grown = remembered.grown.max(Some(at));
    }

    /// Topics of this look whose description is missing or old, at most so many, those without any first.
    pub fn to_describe(&self, look: &Look, now: Instant, most: usize) -> Vec<String> {
        let Known::Known(topics) = &look.facts.topics else { return Vec::new() };
        let described = |name: &String| self.topics.get(name).and_then(|topic| topic.description.as_ref());
        let is_due = |(description, at): &(Arc<Description>, Instant)| {
            let counts = if description.is_complete() { FULL_LOOK } else { DESCRIBED_AGAIN };
            now.saturating_duration_since(*at) >= counts
        };
        let asked = topics.keys().map(|name| (described(name), name));
        let due = asked.filter(|(before, _)| before.is_none_or(is_due));
        let mut due: Vec<(Option<Instant>, &String)> = due.map(|(b, name)| (b.map(|(_, at)| *at), name)).collect();
        due.sort_unstable();
        due.into_iter().take(most).map(|(_, name)| name.clone()).collect()
    }

    /// Remembers the description of a topic.
    pub fn described(&mut self, name: &str, mut description: Description, now: Instant) {
        let remembered = self.topics.entry(name.to_owned()).or_default();
        if let Some((before, _)) = &remembered.description {
            // What could not be read this time is as it was.
            keep(&mut description.retention_ms, &before.retention_ms);
            keep(&mut description.min_in_sync, &before.min_in_sync);
            keep(&mut description.earliest, &before.earliest);
        }
        remembered.description = Some((Arc::new(description), now));
    }

    /// What is known of the topics of a look.
    pub fn descriptions(&self, look: &Look) -> Descriptions {
        let names = look.facts.topics.known().into_iter().flat_map(BTreeMap::keys);
        names.filter_map(|name| Some((name.clone(), self.description(name)?.clone()))).collect()
    }

    /// What is known of one topic.
    pub fn description(&self, name: &str) -> Option<&Arc<Description>> {
        self.topics.get(name)?.description.as_ref().map(|(description, _)| description)
    }

    /// Whether it is time to read the oldest unread records of this object; it counts as done.
    pub fn headroom_is_due(&mut self, uid: &str, now: Instant, period: Duration) -> bool {
        let due = self.headroom.get(uid).is_none_or(|last| now.saturating_duration_since(*last) >= period);
        // The first look describes the topics; their retention is known at the next one.
        if due && self.topics.values().any(|topic| topic.description.is_some()) {
            if self.headroom.len() >= MAX_OBJECTS {
                self.headroom.clear();
            }
            self.headroom.insert(uid.to_owned(), now);
            return true;
        }
        false
    }

    /// The first offset of each partition, if it was read.
    pub fn earliest(&self, name: &str) -> Option<BTreeMap<i32, i64>> {
        self.description(name)?.earliest.known().cloned()
    }

    /// Takes over when topics grew by the record of the cluster, once for each time it was written: a process that has
    /// just begun remembers none, and others grow topics too.
    pub fn take_over(&mut self, written: Timestamp, growths: impl FnOnce() -> BTreeMap<String, Timestamp>) {
        if self.growths_of.replace(written) != Some(written) {
            growths().into_iter().for_each(|(topic, at)| self.grew_before(&topic, at));
        }
    }

    /// Whether the database has to be asked for this ring; once.
    pub fn is_to_be_restored(&mut self, ring: &str) -> bool {
        let new = !self.rings.contains_key(ring);
        if new {
            if self.rings.len() >= MAX_RINGS {
                self.rings.clear();
            }
            self.rings.insert(ring.to_owned(), BTreeMap::new());
        }
        new
    }

    /// Takes looks from before this process began, oldest first; what was seen since stays.
    pub fn restore(&mut self, looks: &[StoredLook], window_seconds: u32) {
        self.window_seconds = self.window_seconds.max(window_seconds);
        let mut before: HashMap<&str, Window> = HashMap::new();
        for look in looks {
            for (name, (partitions, end_offsets)) in &look.topics {
                let sample = Sample { at: look.at, partitions: *partitions, end_offsets: *end_offsets };
                before.entry(name).or_default().record(sample, self.window_seconds);
            }
        }
        for (name, mut window) in before {
            let remembered = self.topics.entry(name.to_owned()).or_default();
            let last = window.samples.back().map(|sample| sample.at);
            remembered.seen = remembered.seen.max(last);
            let since = std::mem::take(&mut remembered.window);
            since.samples.iter().for_each(|sample| window.record(*sample, self.window_seconds));
            window.topic_id = since.topic_id.clone().or(window.topic_id);
            remembered.window = Arc::new(window);
        }
    }

    /// The look as the database is to keep it, unless it holds nothing that the last one did not.
    pub fn row_of(&mut self, ring: &str, look: &Look, at: Timestamp) -> Option<StoredLook> {
        let topics = look.facts.topics.known()?;
        let read = topics
            .iter()
            .filter_map(|(name, topic)| Some((name.clone(), (topic.partitions, *topic.end_offsets.known()?))));
        let topics: BTreeMap<String, (i32, i64)> = read.collect();
        if topics.is_empty() || self.rings.get(ring) == Some(&topics) {
            return None;
        }
        self.rings.insert(ring.to_owned(), topics.clone());
        Some(StoredLook { at, topics })
    }
}

impl Remembered {
    fn keys(&self, now: Instant) -> Option<Known<Keys>> {
        let (keys, at) = self.keys.as_ref()?;
        let counts = if keys.is_unknown() { KEYS_AGAIN } else { KEYS_COUNT };
        (now.saturating_duration_since(*at) < counts).then(|| keys.clone())
    }
}

fn keep<T: Clone>(now: &mut Known<T>, before: &Known<T>) {
    if now.is_unknown() {
        *now = before.clone();
    }
}

/// Whether nobody has ever written to the topic.
fn is_empty(topic: &Topic) -> bool {
    topic.end_offsets == Known::Known(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::partitions::{RateUnknown, Scaling, rate};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn look(topics: &[(&str, i32, Known<i64>)]) -> Look {
        let topics =
            topics.iter().map(|(name, partitions, ends)| ((*name).to_owned(), Topic::new(*partitions, ends.clone())));
        let unread = || Known::Unknown("not asked".to_owned());
        Look {
            facts: Observed::from(Known::Known(topics.collect())),
            ends: unread(),
            uneven: BTreeMap::new(),
            cluster: Known::Unknown("not asked".to_owned()),
            error: None,
        }
    }

    fn topic(memory: &Memory, name: &str) -> Topic {
        let mut facts = look(&[(name, 3, Known::Known(9))]).facts;
        memory.fill(&mut facts, Instant::now());
        facts.topics.known().unwrap()[name].clone()
    }

    fn rate_of(memory: &Memory, name: &str, second: i64) -> Result<i64, RateUnknown> {
        rate(&topic(memory, name).window, &Scaling::default(), 30, at(second))
    }

    #[test]
    fn a_partition_that_was_not_read_makes_no_sample() {
        let mut memory = Memory::default();
        for second in 0..5 {
            memory.note(&look(&[("a", 3, Known::Known(second * 100))]), at(second * 10), 600);
            memory.note(&look(&[("a", 3, Known::Unknown("timed out".into()))]), at(second * 10 + 5), 600);
        }
        assert_eq!(rate_of(&memory, "a", 41), Ok(10));
    }

    #[test]
    fn what_the_database_knew_comes_before_what_was_seen_since() {
        let stored =
            |second: i64| StoredLook { at: at(second * 10), topics: [("a".to_owned(), (3, second * 100))].into() };
        let mut memory = Memory::default();
        memory.note(&look(&[("a", 3, Known::Known(400))]), at(40), 600);
        memory.restore(&(0..4).map(stored).collect::<Vec<_>>(), 600);
        assert_eq!(rate_of(&memory, "a", 41), Ok(10));
        assert!(memory.is_to_be_restored("ring") && !memory.is_to_be_restored("ring"));
    }

    #[test]
    fn a_look_that_shows_nothing_new_is_not_written_again() {
        let mut memory = Memory::default();
        let first = look(&[("a", 3, Known::Known(1)), ("b", 1, Known::Unknown("?".into()))]);
        assert_eq!(memory.row_of("r", &first, at(1)).unwrap().topics, [("a".to_owned(), (3, 1))].into());
        assert_eq!(memory.row_of("r", &first, at(2)), None);
        assert!(memory.row_of("other", &first, at(2)).is_some());
        assert!(memory.row_of("r", &look(&[("a", 3, Known::Known(2))]), at(3)).is_some());
    }

    #[test]
    fn what_could_not_be_described_is_asked_again_sooner() {
        let (mut memory, seen, then) = (Memory::default(), look(&[("a", 1, Known::Known(1))]), Instant::now());
        let due = |memory: &Memory, seconds| memory.to_describe(&seen, then + Duration::from_secs(seconds), 9).len();
        assert_eq!(due(&memory, 0), 1);
        let whole = Description {
            id: Known::Known("i".into()),
            retention_ms: Known::Absent,
            min_in_sync: Known::Known(1),
            earliest: Known::Known(BTreeMap::new()),
        };
        memory.described("a", Description { min_in_sync: Known::Unknown("?".into()), ..whole.clone() }, then);
        assert_eq!((due(&memory, 59), due(&memory, 60)), (0, 1));
        memory.described("a", whole, then);
        assert_eq!((due(&memory, 599), due(&memory, 600)), (0, 1));
    }

    #[test]
    fn growths_and_keys_are_remembered_for_their_time() {
        let mut memory = Memory::default();
        let grow = Grow { topic: "a".into(), from: 3, to: 6, topic_id: None };
        memory.grew(&[(grow.clone(), Outcome::AlreadySo)], at(5));
        assert_eq!(topic(&memory, "a").grown, None, "not by our hand");
        memory.grew(&[(grow.clone(), Outcome::NotSent { why: "?".into() })], at(9));
        memory.grew(&[(grow, Outcome::Unknown { why: "?".into() })], at(7));
        memory.take_over(at(8), || BTreeMap::from([("a".into(), at(6))]));
        memory.take_over(at(8), || BTreeMap::from([("a".into(), at(99))]));
        assert_eq!(topic(&memory, "a").grown, Some(at(7)));
        assert!(topic(&memory, "a").keys.is_unknown());
        memory.sampled("a", Known::Known(Keys::Without), Instant::now());
        assert_eq!(topic(&memory, "a").keys, Known::Known(Keys::Without));
        memory.identify("a", "first", at(8));
        assert_eq!(topic(&memory, "a").keys, Known::Known(Keys::Without), "its id was not known before");
        memory.identify("a", "second", at(9));
        assert!(topic(&memory, "a").keys.is_unknown() && topic(&memory, "a").grown.is_none(), "it is another topic");
        let mut empty = look(&[("new", 1, Known::Known(0))]).facts;
        memory.fill(&mut empty, Instant::now());
        assert_eq!(empty.topics.known().unwrap()["new"].keys, Known::Known(Keys::Without));
    }
}
