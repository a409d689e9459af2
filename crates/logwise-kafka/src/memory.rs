//! What is remembered of a Kafka cluster from look to look: samples, whether records carry keys, growths.

use crate::full::{Description, Descriptions};
use crate::{Look, Outcome};
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::partitions::{Grow, Keys, Observed, Reset, Sample, Topic, Window};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it counts whether the newest records of a topic carry keys.
const KEYS_COUNT: Duration = Duration::from_secs(600);

/// How soon a topic is asked again whose records could not be read.
const KEYS_AGAIN: Duration = Duration::from_secs(60);

/// How long a topic stands behind the others after brokers have refused its growth.
const REFUSED_COUNTS: Duration = Duration::from_secs(600);

/// How long a growth is remembered of a topic that is not seen: no cooldown is longer.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// How far two clocks may go apart between two looks.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// Topics remembered beyond those of the present look.
const MAX_TOPICS: usize = 50_000;

/// Rings that are read from the database in the life of a client.
const MAX_RESTORED: usize = 1_000;

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
    /// How often the clock was seen to jump.
    jumps: u32,
    /// Both clocks at the last look.
    clocks: Option<(Instant, Timestamp)>,
    /// When the oldest unread records of an object were read last, and whether it was known which are unread.
    headroom: HashMap<String, (Instant, bool)>,
    /// The longest window that anybody asks for.
    window_seconds: u32,
    /// End offsets as the database has them, by the name of the ring.
    rings: HashMap<String, StoredTopics>,
    /// Rings that were read.
    restored: HashSet<String>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// Shared with the facts of a look, which are gone before the next sample comes: nothing is copied.
    window: Arc<Window>,
    keys: Option<(Known<Keys>, Instant)>,
    grown: Option<Timestamp>,
    refused: Option<Instant>,
    seen: Option<Timestamp>,
    /// What [`Memory::jumps`] was at its last sample.
    jumps: u32,
    /// The mark of the id of the topic that the samples are of, as it was read or as the database has it; 0: not known.
    mark: u32,
    description: Option<(Arc<Description>, Instant)>,
}

/// Partitions, sum of the end offsets and a mark of its id, by topic.
type StoredTopics = BTreeMap<String, (i32, i64, u32)>;

/// One look as the database keeps it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLook {
    /// When the look began.
    pub at: Timestamp,
    /// By topic.
    pub topics: StoredTopics,
}

/// Tells topics of one name apart in less room than their ids take.
fn mark(id: &str) -> u32 {
    let digest = Sha256::digest(id);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
}

impl Memory {
    /// Compares the clock with one that never jumps. After a jump no rate follows from samples before and after it.
    pub fn watch_clock(&mut self, now: Instant, at: Timestamp) {
        if let Some((then, then_at)) = self.clocks.replace((now, at)) {
            let passed = SignedDuration::try_from(now.saturating_duration_since(then)).unwrap_or(SignedDuration::MAX);
            let apart = at.duration_since(then_at).saturating_sub(passed).abs();
            if apart > CLOCK_TOLERANCE.max(passed / 20) {
                self.jumps += 1;
            }
        }
    }

    /// Takes the samples of a look that began at `at`, and lets those of topics go that are no longer there.
    pub fn note(&mut self, look: &Look, at: Timestamp, window_seconds: u32) {
        self.window_seconds = self.window_seconds.max(window_seconds);
        let Known::Known(topics) = &look.facts.topics else { return };
        for (name, topic) in topics {
            let remembered = self.topics.entry(name.clone()).or_default();
            remembered.seen = Some(at);
            if let Known::Known(end_offsets) = topic.end_offsets {
                let other_clock = std::mem::replace(&mut remembered.jumps, self.jumps) != self.jumps;
                let sample = Sample { at, partitions: topic.partitions, end_offsets, other_clock };
                Arc::make_mut(&mut remembered.window).record(sample, self.window_seconds);
            }
        }
        // Objects that share the client see different topics, so not seen this time says little.
        let longest = SignedDuration::from_secs(i64::from(self.window_seconds).max(3_600));
        let recent = |time: Option<Timestamp>, most| time.is_some_and(|time| at.duration_since(time) < most);
        self.topics.retain(|_, of| recent(of.seen, longest) || recent(of.grown, REMEMBERED));
        if self.topics.len() > MAX_TOPICS {
            // More names than any cluster has topics: brokers make them up.
            self.topics.retain(|name, _| topics.contains_key(name));
        }
    }

    /// Puts what is remembered beside what was seen.
    pub fn fill(&self, facts: &mut Observed, now: Instant) {
        let Known::Known(topics) = &mut facts.topics else { return };
        for (name, topic) in topics {
            let remembered = self.topics.get(name);
            if let Some(remembered) = remembered {
                topic.window = remembered.window.clone();
                topic.grown = remembered.grown;
                topic.refused = remembered.is_refused(now);
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
        let mark = mark(id);
        let is_another = match &remembered.window.topic_id {
            Some(known) => known != id,
            // Of samples from before this process began only the mark is known.
            None => remembered.mark != 0 && remembered.mark != mark,
        };
        if is_another {
            // Nothing that was found out about the other topic says anything about this one.
            let mut window = std::mem::take(&mut remembered.window);
            Arc::make_mut(&mut window).drop_all(Reset::OtherTopic, now);
            *remembered = Remembered { window, seen: remembered.seen, ..Remembered::default() };
        }
        remembered.mark = mark;
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
            if let Some(remembered) = self.topics.get_mut(&grow.topic) {
                remembered.refused = matches!(outcome, Outcome::Refused { .. }).then(Instant::now);
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

    /// Whether it is time to read the oldest unread records of this object; it counts as done. As soon as it is known
    /// which are unread, it is time.
    pub fn headroom_is_due(&mut self, uid: &str, now: Instant, (period, is_known): (Duration, bool)) -> bool {
        let due = self
            .headroom
            .get(uid)
            .is_none_or(|(last, was_known)| (is_known && !was_known) || now.saturating_duration_since(*last) >= period);
        // The first look describes the topics; their retention is known at the next one.
        if due && self.topics.values().any(|topic| topic.description.is_some()) {
            if self.headroom.len() >= MAX_OBJECTS {
                self.headroom.clear();
            }
            self.headroom.insert(uid.to_owned(), (now, is_known));
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
        // Beyond that many the samples come by looking.
        self.restored.len() < MAX_RESTORED && self.restored.insert(ring.to_owned())
    }

    /// Takes looks from before this process began, oldest first; what was seen since stays.
    pub fn restore(&mut self, looks: &[StoredLook], window_seconds: u32, now: Timestamp) {
        self.window_seconds = self.window_seconds.max(window_seconds);
        let mut before: HashMap<&str, (Window, u32)> = HashMap::new();
        // Another process may have had another clock: what lies in the future would keep all new samples out.
        for look in looks.iter().filter(|look| look.at <= now) {
            for (name, (partitions, end_offsets, mark)) in &look.topics {
                let sample =
                    Sample { at: look.at, partitions: *partitions, end_offsets: *end_offsets, other_clock: false };
                let (window, last) = before.entry(name).or_default();
                if *last != 0 && *mark != 0 && last != mark {
                    *window = Window::default();
                }
                *last = if *mark == 0 { *last } else { *mark };
                window.record(sample, self.window_seconds);
            }
        }
        for (name, (mut window, mark)) in before {
            let remembered = self.topics.entry(name.to_owned()).or_default();
            let last = window.samples.back().map(|sample| sample.at);
            remembered.seen = remembered.seen.max(last);
            let since = std::mem::take(&mut remembered.window);
            if since.topic_id.is_some() && mark != 0 && mark != remembered.mark {
                window = Window::default();
            }
            for (place, sample) in since.samples.iter().enumerate() {
                let other_clock = place == 0 || sample.other_clock;
                window.record(Sample { other_clock, ..*sample }, self.window_seconds);
            }
            if since.topic_id.is_none() {
                remembered.mark = mark;
            }
            if since.samples.is_empty() {
                // The next one is the first by this clock.
                remembered.jumps = self.jumps.wrapping_sub(1);
            }
            window.topic_id = since.topic_id.clone().or(window.topic_id);
            remembered.window = Arc::new(window);
        }
    }

    /// The look as the database is to keep it, unless it holds nothing that the last one did not.
    pub fn row_of(&mut self, ring: &str, look: &Look, at: Timestamp) -> Option<StoredLook> {
        let topics = look.facts.topics.known()?;
        let id = |name: &String| {
            self.topics.get(name).filter(|topic| topic.window.topic_id.is_some()).map_or(0, |topic| topic.mark)
        };
        let read = topics.iter().filter_map(|(name, topic)| {
            Some((name.clone(), (topic.partitions, *topic.end_offsets.known()?, id(name))))
        });
        let topics: StoredTopics = read.collect();
        if topics.is_empty() || self.rings.get(ring) == Some(&topics) {
            return None;
        }
        if self.rings.len() >= MAX_RINGS && !self.rings.contains_key(ring) {
            self.rings.clear();
        }
        self.rings.insert(ring.to_owned(), topics.clone());
        Some(StoredLook { at, topics })
    }
}

impl Remembered {
    fn is_refused(&self, now: Instant) -> bool {
        self.refused.is_some_and(|at| now.saturating_duration_since(at) < REFUSED_COUNTS)
    }

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
mod tests;
