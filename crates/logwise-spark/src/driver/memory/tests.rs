//! What is counted, and what is remembered.

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
fn a_batch_that_nobody_saw_come_is_as_old_as_the_bucket_says() {
    let mut story = Story::new();
    let mut age = |second, batch: i64, now| {
        let (taken, period) = (story.instant(second), Duration::from_secs(60));
        let fact = Fact { value: position(batch, "q"), taken, period };
        story.memory.stand(Some(&fact), None, taken);
        story.memory.batch_age_seconds(Some(&fact), at(now))
    };
    assert_eq!((age(0, 7, 9_000), age(60, 7, 9_060)), (9_000, 9_060), "it was committed at 0");
    assert_eq!(age(61, 7, -5), 0, "this clock is behind");
    assert_eq!((age(120, 8, 9_120), age(180, 8, 9_180)), (0, 0), "it was seen to come");
    assert_eq!(Memory::default().batch_age_seconds(None, at(9_000)), 0);
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
