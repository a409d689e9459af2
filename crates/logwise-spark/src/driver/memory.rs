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

/// States of drivers that have come to their end. One whose worker was lost stays RELAUNCHING, and is none of them.
const ENDED: [&str; 4] = ["FINISHED", "FAILED", "KILLED", "ERROR"];

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

    /// Where the driver of another LogwiseCluster stands.
    pub(super) fn place(&self, uid: &str) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid)?.place.clone()
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
        self.in_vain(at, "no driver came of the submission".to_owned());
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

    /// Seconds that the records take to read which waited when the present batch began; zero if that is not known.
    pub fn needed_seconds(&mut self, fact: Option<&Fact<CheckpointPosition>>, backlog: Option<i64>) -> i64 {
        let Some(Known::Known(position)) = fact.map(|fact| &fact.value) else { return 0 };
        self.unread.seconds(position, self.running.as_ref().map(|since| &since.what), backlog)
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
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn row(id: &str, state: &str, worker: Option<&str>) -> DriverRow {
        let (id, state, worker) = (id.to_owned(), state.to_owned(), worker.map(str::to_owned));
        DriverRow { id, main_class: "X".into(), state, started: Some(at(100)), worker, cores: 1 }
    }

    /// One memory and its clocks.
    struct Story {
        memory: Memory,
        begun: Instant,
    }

    impl Story {
        fn new() -> Self {
            Self { memory: Memory::default(), begun: Instant::now() }
        }

        fn instant(&self, second: u64) -> Instant {
            self.begun + Duration::from_secs(second)
        }

        fn see(&mut self, second: u64, master: &str, active: &[&DriverRow], done: &[&DriverRow]) -> (i64, i64) {
            let (at, master) = (self.instant(second), master.to_owned());
            let period = Duration::from_secs(30);
            let shown = Shown { master, at, period, active: active.to_vec(), done: done.to_vec() };
            let now = Timestamp::from_second(1_000 + i64::try_from(second).unwrap()).unwrap();
            let counted = self.memory.see(Some(&shown), now);
            (counted.absent_for.map_or(-1, i64::from), counted.running_for.map_or(-1, i64::from))
        }
    }

    #[test]
    fn absence_is_counted_while_one_master_shows_none() {
        let mut story = Story::new();
        let one = row("d1", "SUBMITTED", None);
        assert_eq!(story.see(0, "m", &[], &[]), (0, -1));
        assert_eq!(story.see(30, "m", &[], &[]).0, 30);
        assert_eq!(story.see(40, "other", &[], &[]).0, 0, "another master may not have heard of it");
        assert_eq!(story.see(50, "other", &[], &[]).0, 10);
        assert_eq!(story.see(60, "other", &[&one], &[]).0, -1, "what waits for a worker is there");
        assert_eq!(story.see(70, "other", &[], &[]).0, 0);
        assert_eq!(story.memory.see(None, at(0)), Counted::default());
        assert_eq!(story.see(80, "other", &[], &[]).0, 0, "nobody knows what was meanwhile");
        let now = story.instant(81);
        story.memory.called(now);
        assert_eq!(story.see(82, "other", &[], &[]).0, 2);
        story.memory.calls();
        assert_eq!((story.see(83, "other", &[], &[]).0, story.memory.last_call()), (0, Some(now)));
    }

    #[test]
    fn absence_is_counted_anew_after_a_time_without_looks() {
        let mut story = Story::new();
        story.see(0, "m", &[], &[]);
        assert_eq!(story.see(60, "m", &[], &[]).0, 60);
        assert_eq!(story.see(181, "m", &[], &[]).0, 0, "nobody has looked for more than two minutes");
        assert_eq!(story.see(210, "m", &[], &[]).0, 29);
    }

    /// A look that fails is repeated after a pause, and may wait for other systems for as long as it has.
    #[test]
    fn absence_is_counted_on_while_looks_fail() {
        let mut story = Story::new();
        for second in [0, 71, 142] {
            let (absent, _) = story.see(second, "m", &[], &[]);
            assert_eq!(absent, i64::try_from(second).unwrap());
        }
    }

    #[test]
    fn absence_is_counted_anew_when_a_submission_is_given_up() {
        let mut story = Story::new();
        story.see(0, "m", &[], &[]);
        assert_eq!(story.see(30, "m", &[], &[]).0, 30);
        story.memory.given_up(at(1_030));
        assert_eq!(story.see(31, "m", &[], &[]).0, 0, "a restarted master may not have heard of its driver");
        assert_eq!(story.memory.attempts(&[]).len(), 1);
    }

    #[test]
    fn absence_is_counted_anew_when_somebody_else_has_made_a_change() {
        let mut story = Story::new();
        let id = |id: &str| Some(id.to_owned());
        story.memory.recorded(None);
        story.see(0, "m", &[], &[]);
        story.memory.recorded(None);
        assert_eq!(story.see(30, "m", &[], &[]).0, 30);
        story.memory.recorded(id("theirs"));
        assert_eq!(story.see(40, "m", &[], &[]).0, 0);
        story.memory.recorded(id("theirs"));
        assert_eq!(story.see(50, "m", &[], &[]).0, 10, "it is known now");
        story.memory.wrote(Some("ours"), true);
        assert_eq!(story.see(51, "m", &[], &[]).0, 11, "written, and not sent yet");
        story.memory.recorded(id("ours"));
        assert_eq!(story.see(60, "m", &[], &[]).0, 20);
        story.memory.wrote(Some("ours again"), false);
        assert_eq!(story.see(61, "m", &[], &[]).0, 0, "another one stood there meanwhile");
    }

    #[test]
    fn a_driver_of_another_class_has_another_past() {
        let mut story = Story::new();
        let begin = |story: &mut Story, name, generation| {
            story.memory.begin(Some(name), Some(generation), at(1_000));
        };
        begin(&mut story, "driver/m/X", 1);
        story.see(0, "m", &[&row("d1", "RUNNING", Some("w"))], &[]);
        story.memory.in_vain(at(1_010), "refused".into());
        story.memory.begin(None, Some(1), at(1_000));
        begin(&mut story, "driver/m/X", 1);
        assert_eq!(story.memory.adopted().as_deref(), Some("d1"));
        begin(&mut story, "driver/m/Y", 2);
        assert_eq!((story.memory.adopted(), story.memory.attempts(&[]).len()), (None, 0));
        assert_eq!(story.see(10, "m", &[], &[]), (0, -1));
        assert!(story.memory.attempts(&[&row("d1", "KILLED", None)]).is_empty(), "it ended before the change");
    }

    #[test]
    fn running_is_counted_for_one_driver_on_one_worker() {
        let mut story = Story::new();
        let one = row("d1", "RUNNING", Some("w1"));
        assert_eq!(story.see(0, "m", &[&one], &[]), (-1, 0));
        assert_eq!(story.see(30, "m", &[&one], &[]).1, 30);
        assert_eq!(story.see(40, "m", &[&row("d1", "RELAUNCHING", None)], &[]).1, -1);
        assert_eq!(story.see(50, "m", &[&one], &[]).1, 0);
        assert_eq!(story.see(60, "m", &[&row("d1", "RUNNING", Some("w2"))], &[]).1, 0, "started again elsewhere");
        assert_eq!(story.see(70, "m", &[&row("d2", "RUNNING", Some("w2"))], &[]).1, 0);
        assert_eq!(story.see(80, "m", &[&one, &row("d2", "RUNNING", Some("w2"))], &[]).1, -1, "which one?");
    }

    #[test]
    fn the_one_that_is_active_is_ours_also_when_it_has_gone() {
        let mut story = Story::new();
        story.see(0, "m", &[&row("d1", "RUNNING", Some("w"))], &[]);
        story.see(1, "m", &[&row("d1", "RUNNING", Some("w")), &row("d2", "RUNNING", Some("w"))], &[]);
        assert_eq!(story.memory.adopted().as_deref(), Some("d1"));
        story.see(2, "m", &[&row("d2", "RUNNING", Some("w"))], &[]);
        story.see(3, "m", &[], &[]);
        assert_eq!(story.memory.adopted().as_deref(), Some("d2"));
    }

    #[test]
    fn an_end_counts_from_when_it_was_seen_or_else_from_the_start() {
        let mut story = Story::new();
        let (lived, old) = (row("d2", "RUNNING", Some("w")), row("d1", "FAILED", None));
        let lost = row("d0", "RELAUNCHING", None);
        story.see(0, "m", &[&lived], &[&old, &lost]);
        let ended = row("d2", "ERROR", Some("w"));
        let done = [&old, &ended, &lost];
        story.see(10, "m", &[], &done);
        story.see(20, "m", &[], &done);
        let found = story.memory.attempts(&done);
        let brief: Vec<_> = found.iter().map(|one| (one.id.as_deref(), one.at, one.ended.as_str())).collect();
        assert_eq!(brief, [(Some("d1"), at(100), "FAILED"), (Some("d2"), at(1_010), "ERROR")]);
        story.memory.in_vain(at(1_020), "refused".into());
        assert_eq!(story.memory.attempts(&done).len(), 3);
    }

    #[test]
    fn what_ended_before_the_spec_was_changed_does_not_count() {
        let mut memory = Memory::default();
        let old = row("d1", "FAILED", None);
        memory.begin(Some("driver/m/X"), Some(1), at(50));
        memory.in_vain(at(60), "refused".into());
        memory.begin(Some("driver/m/X"), Some(1), at(70));
        assert_eq!(memory.attempts(&[&old]).len(), 2);
        memory.begin(Some("driver/m/X"), Some(2), at(200));
        assert!(memory.attempts(&[&old]).is_empty());
        memory.in_vain(at(210), "refused".into());
        assert_eq!(memory.attempts(&[&old]).len(), 1);
    }

    #[test]
    fn no_more_attempts_are_told_than_a_record_should_hold() {
        let mut memory = Memory::default();
        for second in 0..50 {
            memory.in_vain(at(second), "refused".into());
        }
        let found = memory.attempts(&[]);
        assert_eq!((found.len(), found[0].at, found[19].at), (20, at(30), at(49)));
    }

    fn position(batch: i64, query: &str) -> Known<CheckpointPosition> {
        let (offsets, committed, batches) = (BTreeMap::new(), Timestamp::UNIX_EPOCH, Vec::new());
        Known::Known(CheckpointPosition { batch, offsets, committed, batches, query: Some(query.into()) })
    }

    #[test]
    fn a_batch_stands_from_when_it_was_first_read() {
        let mut story = Story::new();
        let mut stand = |taken, now, value, backlog| {
            let (taken, now) = (story.instant(taken), story.instant(now));
            let fact = Fact { value, taken, period: Duration::from_secs(60) };
            story.memory.stand(Some(&fact), backlog, now)
        };
        let known = |batch, unmoved_seconds, backlog| Known::Known(Stand { batch, unmoved_seconds, backlog });
        assert_eq!(stand(0, 5, position(7, "q"), Some(9)), known(7, 5, 9));
        assert_eq!(stand(60, 90, position(7, "q"), None), known(7, 90, 0), "no backlog is known");
        assert_eq!(stand(120, 121, Known::Unknown("gone".into()), None), Known::Unknown("gone".into()));
        assert_eq!(stand(180, 190, position(7, "q"), Some(-1)), known(7, 190, 0));
        assert_eq!(stand(240, 250, position(8, "q"), Some(1)), known(8, 10, 1));
        assert_eq!(stand(300, 305, position(8, "other"), Some(1)), known(8, 5, 1), "another query");
        assert_eq!(stand(360, 365, Known::Absent, Some(1)), Known::Absent);
        assert!(story.memory.stand(None, None, story.begun).is_unknown());
    }

    #[test]
    fn an_intent_is_asked_about_for_as_long_as_it_is_the_same() {
        let mut story = Story::new();
        let mut waited = |id: &str, second| {
            let now = story.instant(second);
            story.memory.waited(Some(id.to_owned()), now).as_secs()
        };
        assert_eq!((waited("a", 0), waited("a", 40), waited("b", 50), waited("b", 51)), (0, 40, 0, 1));
    }

    #[test]
    fn what_was_forgotten_begins_anew() {
        let drivers = Drivers::default();
        drivers.with("u", |memory| memory.adopt("d1"));
        assert_eq!(drivers.with("u", |memory| memory.adopted()).as_deref(), Some("d1"));
        drivers.forget("u");
        assert_eq!(drivers.with("u", |memory| memory.adopted()), None);
    }
}
