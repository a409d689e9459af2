use super::*;

const PERIOD: Duration = Duration::from_secs(60);

const NEAR: SignedDuration = SignedDuration::from_secs(45);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn offsets(all: &[(&str, &[i64])]) -> Offsets {
    let of = |offsets: &[i64]| (0..).zip(offsets.iter().copied()).collect();
    all.iter().map(|(topic, offsets)| ((*topic).to_owned(), of(offsets))).collect()
}

fn ends(all: &[(&str, &[i64])]) -> TopicEnds {
    offsets(all).into_iter().map(|(topic, ends)| (topic, Known::Known(ends))).collect()
}

fn position(batch: i64, read: Offsets) -> CheckpointPosition {
    CheckpointPosition { batch, offsets: read, committed: at(0), batches: Vec::new(), query: Some("q".into()) }
}

fn board(taken: Instant, ends: TopicEnds, position: CheckpointPosition) -> Board {
    Board {
        ends: Fact { value: Known::Known(ends), taken, period: PERIOD },
        position: Fact { value: Known::Known(position), taken: taken + Duration::from_secs(1), period: PERIOD },
        starts: Known::Known(TopicStarts::new()),
        headroom: Known::Known(BTreeMap::new()),
        near: NEAR,
    }
}

/// A start, and the instant and the time so many seconds later.
fn clock() -> impl Fn(u64) -> (Instant, Timestamp) {
    let start = Instant::now();
    move |second| (start + Duration::from_secs(second), at(i64::try_from(second).unwrap()))
}

fn samples(signals: &Signals) -> Vec<Sample> {
    signals.load.samples.known().map(|samples| samples.to_vec()).unwrap_or_default()
}

#[test]
fn only_topics_that_the_query_reads_are_added_up_and_what_expired_is_read() {
    let written = ends(&[("a", &[100, 100]), ("b", &[50]), ("other", &[9_999])]);
    let read = offsets(&[("a", &[40, 90]), ("b", &[50]), ("gone", &[7])]);
    let starts = ends(&[("a", &[60, 0])]);
    let sums = Sums::of(&written, &read, Some(&starts)).unwrap();
    assert_eq!((sums.ends, sums.read, sums.partitions), (250, 60 + 90 + 50, 3));
    assert_eq!(sums.topics, ["a", "b"].map(str::to_owned).into());
    assert!(Sums::of(&ends(&[("other", &[1])]), &read, None).unwrap_err().contains("none of the topics"));
}

#[test]
fn a_topic_that_was_not_read_completely_makes_all_unknown() {
    let mut written = ends(&[("a", &[1]), ("b", &[2])]);
    written.insert("b".into(), unknown("timed out"));
    let read = offsets(&[("a", &[1]), ("b", &[1])]);
    assert_eq!(Sums::of(&written, &read, None).unwrap_err(), "topic b: timed out");
    // Of a new partition nobody knows where its records begin.
    let wider = ends(&[("a", &[1, 5_000])]);
    assert!(Sums::of(&wider, &read, None).unwrap_err().contains(NOT_YET));
    let sums = Sums::of(&wider, &read, Some(&ends(&[("a", &[0, 4_000])]))).unwrap();
    assert_eq!((sums.ends, sums.read), (5_001, 4_001));
}

#[test]
fn a_few_records_that_are_read_before_they_are_there_are_read_later() {
    let of = |end: i64, read: i64| {
        let sums = Sums::of(&ends(&[("a", &[end, 500])]), &offsets(&[("a", &[read, 100])]), None);
        sums.map(|sums| (sums.ends, sums.read)).ok()
    };
    assert_eq!((of(10, 30), of(10, 1_010)), (Some((510, 110)), Some((510, 110))), "what waits elsewhere stays");
    assert_eq!((of(10, 1_011), of(1_000_000, 1_010_000)), (None, Some((1_000_500, 1_000_100))));
    assert_eq!((of(1_000_000, 1_010_001), of(i64::MAX, 0)), (None, Some((i64::MAX, 100))));
}

#[test]
fn a_topic_that_was_made_again_does_not_hide_what_waits_in_another() {
    let written = ends(&[("made-again", &[0]), ("waits", &[9_000_000])]);
    let read = offsets(&[("made-again", &[5_000_000]), ("waits", &[5_000_000])]);
    let why = Sums::of(&written, &read, None).unwrap_err();
    assert!(why.starts_with("topic made-again: more was read") && why.contains("made again"), "{why}");
}

#[test]
fn there_is_one_sample_per_pair_of_facts_that_belong_together() {
    let (mut measured, clock) = (Measured::default(), clock());
    let (start, now) = clock(0);
    let first = board(start, ends(&[("a", &[100])]), position(1, offsets(&[("a", &[60])])));
    let signals = measured.take(&first, None, (start, now));
    let expected = Sample { at: at(0), ends: 100, read: 60, other_clock: false };
    assert_eq!((samples(&signals), signals.backlog), (vec![expected], Some(40)));
    assert_eq!(signals.load.partitions, Known::Known(1));
    assert_eq!(samples(&measured.take(&first, None, clock(30))).len(), 1, "the same pair");
    let mut apart = board(clock(60).0, ends(&[("a", &[200])]), position(2, offsets(&[("a", &[60])])));
    apart.position.taken = start;
    assert_eq!(samples(&measured.take(&apart, None, clock(60))).len(), 1, "too far apart");
    let second = board(clock(60).0, ends(&[("a", &[200])]), position(2, offsets(&[("a", &[60])])));
    let both = samples(&measured.take(&second, None, clock(70)));
    assert_eq!((both.len(), both[1].at, both[1].other_clock), (2, at(60), false));
    let old = measured.take(&second, None, clock(60 + 121));
    assert_eq!((old.backlog, samples(&old).len()), (None, 2));
    assert_eq!(samples(&measured.take(&second, None, clock(60 + 661))).len(), 0);
}

#[test]
fn looks_that_are_near_each_other_reach_back_as_far_as_rates_are_measured() {
    let (mut measured, clock) = (Measured::default(), clock());
    let mut all = Vec::new();
    for second in 0..900 {
        let (instant, now) = clock(second);
        // The query has begun anew with its topic: both numbers fall.
        let end = i64::try_from(if second < 600 { 10_000 + second } else { second - 600 }).unwrap();
        let board = board(instant, ends(&[("a", &[end])]), position(1, offsets(&[("a", &[end])])));
        all = samples(&measured.take(&board, None, (instant, now)));
        assert!(all.len() <= SAMPLES.0);
    }
    assert_eq!((all[0].at <= at(899 - 600), all.last().map(|sample| sample.at)), (true, Some(at(899))));
    assert!(all.windows(2).all(|pair| pair[1].at.duration_since(pair[0].at) < SignedDuration::from_secs(60)));
    let falls: Vec<Timestamp> =
        all.windows(2).filter(|pair| pair[1].ends < pair[0].ends).map(|pair| pair[1].at).collect();
    assert_eq!(falls, [at(600)], "that they fell still shows, and when");
}

#[test]
fn numbers_that_fell_to_more_than_some_looks_before_still_show_it() {
    let (mut measured, clock) = (Measured::default(), clock());
    let mut all = Vec::new();
    for second in 0..300 {
        let (instant, now) = clock(second);
        // Of the highest numbers only one sample is there.
        let end = i64::try_from(if second == 100 { 5_000 } else { 1_000 + second }).unwrap();
        let board = board(instant, ends(&[("a", &[end])]), position(1, offsets(&[("a", &[end])])));
        all = samples(&measured.take(&board, None, (instant, now)));
    }
    assert!(all.len() == SAMPLES.0 && all.windows(2).any(|pair| pair[1].ends < pair[0].ends), "{all:?}");
}

#[test]
fn looks_at_kafka_that_are_too_far_apart_are_named_as_the_reason() {
    let why = |seconds| seldom(Duration::from_secs(seconds));
    assert_eq!((why(0), why(60), why(119)), (None, None, None));
    for seconds in [120, 150, 86_400] {
        let why = why(seconds).unwrap();
        assert!(why.contains("`intervals.kafkaSeconds`") && why.contains(&seconds.to_string()), "{why}");
        assert!(!why.contains(NOT_YET) && !why.contains("samples so far"), "it does not pass by itself: {why}");
    }
    let clock = clock();
    let mut rare = board(clock(0).0, ends(&[("a", &[100])]), position(1, offsets(&[("a", &[60])])));
    rare.ends.period = SELDOM;
    let signals = Measured::default().take(&rare, None, clock(0));
    assert_eq!(signals.load.samples, Known::Unknown(seldom(SELDOM).unwrap()));
    assert_eq!(signals.backlog, Some(40), "what waits is known all the same");
    rare.ends.value = unknown("no broker");
    assert_eq!(Measured::default().take(&rare, None, clock(0)).load.samples, unknown("no broker"));
}

#[test]
fn no_rate_follows_over_a_clock_that_was_put_or_other_topics() {
    let (mut measured, clock) = (Measured::default(), clock());
    let mut take = |second: u64, by_clock: i64, topics: &[(&str, &[i64])]| {
        let instant = clock(second).0;
        let board = board(instant, ends(topics), position(1, offsets(topics)));
        samples(&measured.take(&board, None, (instant, at(by_clock)))).last().unwrap().other_clock
    };
    assert!(!take(0, 0, &[("a", &[1])]));
    assert!(!take(60, 61, &[("a", &[2])]));
    assert!(take(120, 300, &[("a", &[3])]), "put forward");
    assert!(take(180, 200, &[("a", &[4])]), "put back");
    assert!(!take(240, 260, &[("a", &[5])]));
    assert!(take(300, 320, &[("a", &[6]), ("b", &[9_000])]), "a topic more");
}

#[test]
fn another_query_or_one_that_begins_anew_has_another_past() {
    for (batch, query) in [(5, Some("other")), (2, Some("q")), (2, None)] {
        let (mut measured, clock) = (Measured::default(), clock());
        let mut take = |second, position| {
            let board = board(clock(second).0, ends(&[("a", &[9])]), position);
            samples(&measured.take(&board, None, clock(second))).len()
        };
        let read = || offsets(&[("a", &[1])]);
        assert_eq!((take(0, position(3, read())), take(60, position(4, read()))), (1, 2));
        let other = CheckpointPosition { query: query.map(str::to_owned), ..position(batch, read()) };
        assert_eq!(take(120, other), 1, "{batch} {query:?}");
    }
}

#[test]
fn cores_of_a_batch_are_those_that_were_counted_and_stayed() {
    let mut measured = Measured::default();
    for (second, cores) in [(0, 4), (30, 4), (60, 4), (90, 6), (120, 6)] {
        measured.note_cores(cores, at(second));
    }
    let cores = |started, committed| measured.cores_during((at(started), at(committed)), NEAR);
    assert_eq!((cores(0, 10), cores(10, 50), cores(140, 150)), (4, 0, 6), "within 45 s of it they changed");
    assert_eq!(cores(-500, -400), 0, "nobody counted");
    for second in 0..500 {
        measured.note_cores(1, at(5_000 + second));
    }
    assert_eq!((measured.cores.len(), measured.cores_during((at(0), at(10)), NEAR)), (CORES.0, 0));
}

#[test]
fn a_checkpoint_without_a_batch_is_named_by_its_folder() {
    let why = no_batch(&Checkpoint { bucket: "logs".into(), folder: "checkpoint/aplication/".into() });
    assert!(why.starts_with("checkpoint/aplication/commits/ in bucket logs holds no batch"), "{why}");
}

#[test]
fn an_empty_checkpoint_is_named_whatever_kafka_says() {
    let (mut measured, clock) = (Measured::default(), clock());
    let mut empty = board(clock(0).0, ends(&[("a", &[9])]), position(3, offsets(&[])));
    empty.position.value = Known::Absent;
    empty.headroom = unknown("it was not known how far the query has read");
    let checkpoint = Checkpoint { bucket: "logs".into(), folder: "checkpoint/q/".into() };
    let why = Known::Unknown(no_batch(&checkpoint));
    let mut found = measured.take(&empty, None, clock(0));
    let mut without_topics = found.clone();
    found.lacks_batch(&checkpoint, true);
    assert!(found.risk == why && found.load.batch == Known::Unknown(no_batch(&checkpoint)), "{found:?}");
    without_topics.lacks_batch(&checkpoint, false);
    assert_eq!(without_topics.risk, unknown("it was not known how far the query has read"));
}

#[test]
fn what_is_not_known_stays_unknown() {
    let (mut measured, clock) = (Measured::default(), clock());
    let good = || board(clock(0).0, ends(&[("a", &[9])]), position(3, offsets(&[("a", &[1])])));
    let mut no_ends = good();
    no_ends.ends.value = unknown("no broker");
    let found = measured.take(&no_ends, None, clock(0));
    assert_eq!((found.load.samples, found.backlog), (unknown("no broker"), None));
    assert_eq!(found.load.batch, Known::Known(Progress { id: 3, age_seconds: 0 }));
    let mut no_position = good();
    no_position.position.value = Known::Absent;
    let found = measured.take(&no_position, None, clock(0));
    assert!(found.load.batch == Known::Absent && found.load.samples.is_unknown() && found.risk.is_unknown());
}
