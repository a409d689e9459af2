//! What this process remembers of the drivers of each pipeline, for one term: for how long something has been so, by
//! its own clock, and what it has done. A new term counts anew.

use super::owner::Place;
use super::unread::Unread;
use crate::master::DriverRow;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::driver::{Active, Attempt, Stand};
use logwise_runtime::facts::{CheckpointPosition, Fact};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Ends of drivers that are told; of more, the newest.
const MOST_ATTEMPTS: usize = 20;

/// How a submission has ended that was given up.
pub(super) const GIVEN_UP: &str = "no driver came of the submission";

/// States of drivers that have come to their end. One whose worker was lost stays RELAUNCHING, and is none of them.
pub(super) const ENDED: [&str; 4] = ["FINISHED", "FAILED", "KILLED", "ERROR"];

/// Two looks that lie further apart than two periods and this count as none: nobody knows what was in between. Looks at
/// an object that fails come nearly so seldom: a pause of 56 s, and all that the look itself waits for.
const LONGEST_GAP: Duration = Duration::from_secs(120);

/// What is remembered of the drivers of each pipeline, by the uid of its LogwiseCluster.
#[derive(Debug, Default)]
pub struct Drivers(Mutex<HashMap<String, Memory>>);

impl Drivers {
    /// Forgets a LogwiseCluster that was deleted.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Where the driver of a LogwiseCluster stands, as its master was last read; nothing: it manages none.
    pub(super) fn stands(&self, uid: &str, place: Option<Place>) {
        self.with(uid, |memory| memory.place = place);
    }

    /// Whether the driver of another LogwiseCluster, which names these masters, stands at this place.
    pub(super) fn stands_at(&self, uid: &str, masters: &BTreeSet<String>, place: &Place) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(uid).and_then(|memory| memory.place.as_ref());
        known.is_some_and(|known| known.names(masters) && known.is_as(place))
    }

    /// What was said last, by the master's page, of another LogwiseCluster that owns the driver; nothing: none does.
    pub(crate) fn owned(&self, uid: &str, generation: Option<i64>, words: Option<String>) {
        self.with(uid, |memory| memory.owned = words.map(|words| (generation, words)));
    }

    /// The same, for the time in which no master answers. A spec that has changed since may mean another driver.
    pub(crate) fn said_of_owner(&self, uid: &str, generation: Option<i64>) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, words) = all.get(uid)?.owned.as_ref()?;
        (*of == generation).then(|| words.clone())
    }

    /// Reads and changes what is remembered for one LogwiseCluster.
    pub(super) fn with<T>(&self, uid: &str, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.to_owned()).or_default())
    }
}

/// Something that goes on.
#[derive(Debug)]
struct Since<T> {
    what: T,
    from: Instant,
}

impl<T: PartialEq> Since<T> {
    /// For how long it has been `what` at `now`; what is another thing begins anew, and nothing ends it.
    fn count(this: &mut Option<Self>, what: Option<T>, now: Instant) -> Option<Duration> {
        let Some(what) = what else {
            *this = None;
            return None;
        };
        let same = this.take().filter(|since| since.what == what);
        let since = this.insert(same.unwrap_or(Self { what, from: now }));
        Some(now.saturating_duration_since(since.from))
    }
}

/// What the active master shows of our drivers.
pub(super) struct Shown<'a> {
    /// The master that shows it.
    pub master: String,
    /// When its page was asked for.
    pub at: Instant,
    /// Time between two looks.
    pub period: Duration,
    /// Active drivers of our class.
    pub active: Vec<&'a DriverRow>,
    /// Those that are history.
    pub done: Vec<&'a DriverRow>,
}

/// For how long something has been seen, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// That no driver of ours is active.
    pub absent_for: Option<u32>,
    /// That one runs.
    pub running_for: Option<u32>,
}

/// What is remembered for one LogwiseCluster.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Where the driver stands, for the others.
    place: Option<Place>,
    /// What was said of another one that owns the driver, of a spec of this generation.
    owned: Option<(Option<i64>, String)>,
    /// The record's name of the driver: that of another class, or at other masters, has another past.
    about: Option<String>,
    generation: Option<i64>,
    /// When the spec was seen to change: what ended before says nothing about what it is now.
    respecified: Option<Timestamp>,
    /// When the last call was over that changes something at the master.
    called: Option<Instant>,
    /// Id of the record that this process has written or seen last.
    record: Option<String>,
    /// When the page was asked for that a master has shown last.
    seen: Option<Instant>,
    /// Master that shows none.
    absent: Option<Since<String>>,
    /// Master, driver and worker.
    running: Option<Since<(String, String, Option<String>)>>,
    /// Newest batch, and the query.
    batch: Option<Since<(i64, Option<String>)>>,
    /// Whether that batch was seen to come; else it may be older than it has been seen.
    saw_batch: bool,
    /// What waited when the present batch began.
    unread: Unread,
    /// Intent that was asked about in vain.
    judged: Option<Since<Option<String>>>,
    adopted: Option<String>,
    /// Ids of our class that were active when the master was last seen.
    active: BTreeSet<String>,
    /// When drivers were first seen to have ended.
    ended: BTreeMap<String, Timestamp>,
    /// Submissions that became no driver.
    in_vain: Vec<Attempt>,
}

impl Memory {
    /// A look at an object of this generation begins, about the driver that has this name in the record; none: that is
    /// not known.
    pub fn begin(&mut self, about: Option<&str>, generation: Option<i64>, now: Timestamp) {
        if about.is_some() && self.about.as_deref() != about {
            let (place, about) = (self.place.take(), about.map(str::to_owned));
            let Self { generation, respecified, called, .. } = *self;
            *self = Self { place, about, generation, respecified, called, ..Self::default() };
        }
        if self.generation.is_some() && self.generation != generation {
            self.respecified = Some(now);
            self.in_vain.clear();
        }
        self.generation = generation;
    }

    /// A call begins that changes something at the master: what was shown before says nothing about what comes of it.
    pub fn calls(&mut self) {
        self.absent = None;
    }

    /// The call is over.
    pub const fn called(&mut self, now: Instant) {
        self.called = Some(now);
    }

    /// The record is the one with this id. If this process knew another one, somebody else has made a change, and the
    /// master may not show yet what came of that.
    pub fn recorded(&mut self, id: Option<String>) {
        if self.record != id {
            (self.absent, self.record) = (None, id);
        }
    }

    /// This process has written the record with this id; `is_known`: in place of one of which it knew.
    pub fn wrote(&mut self, id: Option<&str>, is_known: bool) {
        if !is_known {
            self.absent = None;
        }
        self.record = id.map(str::to_owned);
    }

    /// Pages from before say nothing.
    pub const fn last_call(&self) -> Option<Instant> {
        self.called
    }

    /// The driver is ours from now on.
    pub fn adopt(&mut self, id: &str) {
        self.adopted = Some(id.to_owned());
    }

    /// The driver that is ours.
    pub fn adopted(&self) -> Option<String> {
        self.adopted.clone()
    }

    /// A submission became no driver.
    pub fn in_vain(&mut self, at: Timestamp, ended: String) {
        self.in_vain.push(Attempt { at, id: None, ended });
        let surplus = self.in_vain.len().saturating_sub(MOST_ATTEMPTS);
        self.in_vain.drain(..surplus);
    }

    /// The submission of the record is given up, since no driver shows that came of it. A master that was restarted since
    /// may not have heard of it yet: what was counted before says nothing.
    pub fn given_up(&mut self, at: Timestamp) {
        self.absent = None;
        self.in_vain(at, GIVEN_UP.to_owned());
    }

    /// For how long the intent with this id has been asked about in vain.
    pub fn waited(&mut self, intent: Option<String>, now: Instant) -> Duration {
        Since::count(&mut self.judged, Some(intent), now).unwrap_or_default()
    }

    /// Takes in what the master shows; nothing: no master is known to be the active one.
    pub fn see(&mut self, shown: Option<&Shown<'_>>, now: Timestamp) -> Counted {
        let Some(shown) = shown else {
            (self.absent, self.running, self.seen) = (None, None, None);
            return Counted::default();
        };
        let longest = shown.period.saturating_mul(2).max(LONGEST_GAP);
        let before = self.seen.replace(shown.at);
        if before.is_some_and(|before| shown.at.saturating_duration_since(before) > longest) {
            self.absent = None;
        }
        let ids = |rows: &[&DriverRow]| rows.iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>();
        let (active, done) = (ids(&shown.active), ids(&shown.done));
        for id in self.active.difference(&active) {
            self.ended.entry(id.clone()).or_insert(now);
        }
        self.ended.retain(|id, _| done.contains(id));
        let absent = active.is_empty().then(|| shown.master.clone());
        self.active = active;
        let running = match shown.active.as_slice() {
            [one] => {
                self.adopt(&one.id);
                let runs = one.state == super::RUNNING && one.worker.is_some();
                runs.then(|| (shown.master.clone(), one.id.clone(), one.worker.clone()))
            }
            _ => None,
        };
        Counted {
            absent_for: Since::count(&mut self.absent, absent, shown.at).map(seconds),
            running_for: Since::count(&mut self.running, running, shown.at).map(seconds),
        }
    }

    /// How far the query has come. For how long its newest batch has been that is counted from when it was first seen:
    /// what the clocks of others say does not count.
    pub fn stand(
        &mut self,
        fact: Option<&Fact<CheckpointPosition>>,
        backlog: Option<i64>,
        now: Instant,
    ) -> Known<Stand> {
        let Some(fact) = fact else { return Known::Unknown("the checkpoint was not read yet".to_owned()) };
        let position = match &fact.value {
            Known::Known(position) => position,
            Known::Absent => return Known::Absent,
            Known::Unknown(why) => return Known::Unknown(why.clone()),
        };
        let newest = (position.batch, position.query.clone());
        self.saw_batch |= self.batch.as_ref().is_some_and(|before| before.what != newest);
        // From when the look began that has shown it first.
        Since::count(&mut self.batch, Some(newest), fact.taken);
        let from = self.batch.as_ref().map_or(now, |batch| batch.from);
        let unmoved = now.saturating_duration_since(from).as_secs();
        Known::Known(Stand {
            batch: position.batch,
            unmoved_seconds: i64::try_from(unmoved).unwrap_or(i64::MAX),
            backlog: backlog.unwrap_or(0).max(0),
        })
    }

    /// Seconds since the newest batch was committed, by the clock of the bucket, if nobody saw it come; else zero.
    pub fn batch_age_seconds(&self, fact: Option<&Fact<CheckpointPosition>>, now: Timestamp) -> i64 {
        match fact.map(|fact| &fact.value) {
            Some(Known::Known(position)) if !self.saw_batch => now.duration_since(position.committed).as_secs().max(0),
            _ => 0,
        }
    }

    /// Seconds that the records take to read which waited when the present batch began; zero if it is not known how many
    /// that are. `read` are those that are not read, and those that are expected to be read in a second.
    pub fn needed_seconds(&mut self, fact: Option<&Fact<CheckpointPosition>>, read: (Option<i64>, i64)) -> i64 {
        let Some(Known::Known(position)) = fact.map(|fact| &fact.value) else { return 0 };
        self.unread.seconds(position, self.running.as_ref().map(|since| &since.what), read)
    }

    /// Submissions that have come to their end. One whose end nobody has seen counts from its start: who lives for long
    /// has not failed.
    pub fn attempts(&self, done: &[&DriverRow]) -> Vec<Attempt> {
        let ended = done.iter().filter(|row| ENDED.contains(&row.state.as_str()));
        let ended = ended.filter_map(|row| {
            let at = self.ended.get(&row.id).copied().or(row.started)?;
            Some(Attempt { at, id: Some(row.id.clone()), ended: row.state.clone() })
        });
        let counts = |attempt: &Attempt| self.respecified.is_none_or(|changed| attempt.at >= changed);
        let mut attempts: Vec<Attempt> = ended.chain(self.in_vain.iter().cloned()).filter(counts).collect();
        attempts.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        attempts.split_off(attempts.len().saturating_sub(MOST_ATTEMPTS))
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// A driver of the master's page as the plan knows it.
pub(super) fn active(row: &DriverRow, ours: bool) -> Active {
    Active {
        id: row.id.clone(),
        state: row.state.clone(),
        ours,
        has_worker: row.worker.is_some(),
        started: row.started,
    }
}

#[cfg(test)]
mod tests;
