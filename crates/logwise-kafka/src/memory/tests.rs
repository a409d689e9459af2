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
        |second: i64| StoredLook { at: at(second * 10), topics: [("a".to_owned(), (3, second * 100, 0))].into() };
    let mut memory = Memory::default();
    memory.note(&look(&[("a", 3, Known::Known(400))]), at(40), 600);
    memory.restore(&(0..4).map(stored).chain([stored(99)]).collect::<Vec<_>>(), 600, at(41));
    assert_eq!(rate_of(&memory, "a", 41), Ok(10), "five samples, one step of which is of two clocks");
    assert!(memory.is_to_be_restored("ring") && !memory.is_to_be_restored("ring"));
}

#[test]
fn samples_of_a_topic_that_was_made_anew_meanwhile_are_dropped() {
    let row = |second: i64, id: &str| StoredLook {
        at: at(second * 10),
        topics: [("a".to_owned(), (3, second * 100, mark(id)))].into(),
    };
    let rows: Vec<StoredLook> = (0..5).map(|second| row(second, "old")).collect();
    let restored = |id| {
        let mut memory = Memory::default();
        memory.restore(&rows, 600, at(50));
        memory.note(&look(&[("a", 3, Known::Known(9_999))]), at(50), 600);
        memory.identify("a", id, at(50));
        rate_of(&memory, "a", 51)
    };
    assert_eq!(restored("old"), Ok(10), "the step from one clock to the other counts for nothing");
    assert!(matches!(restored("new"), Err(RateUnknown::WindowReset { .. })));
}

#[test]
fn after_a_jump_of_the_clock_no_rate_follows_from_both_sides() {
    let (mut memory, begin) = (Memory::default(), Instant::now());
    let mut seen = |passed: u64, second: i64, ends: i64| {
        memory.watch_clock(begin + Duration::from_secs(passed), at(second));
        memory.note(&look(&[("a", 3, Known::Known(ends))]), at(second), 600);
        rate_of(&memory, "a", second)
    };
    for place in 0..5 {
        let _ = seen(place * 60, 1_000 + i64::try_from(place).unwrap() * 60, i64::try_from(place).unwrap() * 600);
    }
    // Put back by 50 s: ten seconds by this clock, and a minute's records.
    assert_eq!(seen(300, 1_250, 3_000), Ok(10));
    assert_eq!(seen(360, 1_310, 3_600), Ok(10));
    // Put back beyond all that is known: it begins anew.
    assert!(seen(420, 100, 4_200).is_err());
}

#[test]
fn a_refused_topic_stands_behind_the_others_for_a_time() {
    let mut memory = Memory::default();
    memory.note(&look(&[("a", 3, Known::Known(1))]), at(1), 600);
    let grow = Grow { topic: "a".into(), from: 3, to: 6, topic_id: None };
    memory.grew(&[(grow.clone(), Outcome::Refused { why: "policy".into() })], at(2));
    assert!(topic(&memory, "a").refused);
    memory.grew(&[(grow, Outcome::Done)], at(3));
    assert!(!topic(&memory, "a").refused);
}

#[test]
fn a_look_that_shows_nothing_new_is_not_written_again() {
    let mut memory = Memory::default();
    let first = look(&[("a", 3, Known::Known(1)), ("b", 1, Known::Unknown("?".into()))]);
    assert_eq!(memory.row_of("r", &first, at(1)).unwrap().topics, [("a".to_owned(), (3, 1, 0))].into());
    assert_eq!(memory.row_of("r", &first, at(2)), None);
    assert!(memory.row_of("other", &first, at(2)).is_some());
    assert!(memory.row_of("r", &look(&[("a", 3, Known::Known(2))]), at(3)).is_some());
}

#[test]
fn what_could_not_be_described_is_asked_again_sooner() {
    let (mut memory, seen, then) = (Memory::default(), look(&[("a", 1, Known::Known(1))]), Instant::now());
    let due = |memory: &Memory, seconds| memory.to_describe(&seen, then + Duration::from_secs(seconds), 9).len();
    assert_eq!(due(&memory, 0), 1);
    memory.described("a", Description { min_in_sync: Known::Unknown("?".into()), ..whole() }, then);
    assert_eq!((due(&memory, 59), due(&memory, 60)), (0, 1));
    memory.described("a", whole(), then);
    assert_eq!((due(&memory, 599), due(&memory, 600)), (0, 1));
}

fn whole() -> Description {
    Description {
        id: Known::Known("i".into()),
        retention_ms: Known::Absent,
        min_in_sync: Known::Known(1),
        earliest: Known::Known(BTreeMap::new()),
    }
}

#[test]
fn unread_records_are_read_again_as_soon_as_it_is_known_which_they_are() {
    let (mut memory, start) = (Memory::default(), Instant::now());
    let mut due = |second, is_known: bool| {
        let period = Duration::from_secs(if is_known { 60 } else { 600 });
        if second == 5 {
            memory.described("a", whole(), start);
        }
        memory.headroom_is_due("u", start + Duration::from_secs(second), (period, is_known))
    };
    assert!(!due(0, false), "nothing is described yet");
    assert!(due(5, false));
    assert!(!due(6, false) && due(7, true), "it was read without the position, and then with it");
    assert!(!due(8, true) && !due(66, true) && due(67, true));
    assert!(!due(127, false) && !due(128, false), "what was read with the position stays for its time");
    assert!(due(667, false) && due(668, true));
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
