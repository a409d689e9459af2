//! Windows against the calendar, and what waits for what.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use logwise_plan::change::{
    Approval, ChangePolicy, Held, Kind, Mode, Window, closed, growth_plan_id, may, opening, raise_plan_id, stricter,
    waits,
};
use proptest::prelude::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(schedule: &str, minutes: u32, zone: &str) -> Window {
    Window::new("w", schedule, minutes, zone).unwrap()
}

/// The openings of a schedule after a moment, as many as are expected.
fn assert_openings(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
    let window = window(schedule, 1, zone);
    let mut at = time(after);
    for expected in expected {
        let opening = window.next_opening(at);
        assert_eq!(opening, Some(time(expected)), "{schedule:?} in {zone} after {at}");
        at = opening.unwrap_or(at);
    }
}

#[test]
fn openings_follow_the_clock_of_their_zone() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        ("0 1 * * *", "UTC", "2026-03-01T01:00:00Z", &["2026-03-02T01:00:00Z", "2026-03-03T01:00:00Z"]),
        ("0 1 * * *", "UTC", "2026-03-01T00:59:59.5Z", &["2026-03-01T01:00:00Z"]),
        ("0 1 * * *", "Asia/Kolkata", "2026-03-01T00:00:00Z", &["2026-03-01T19:30:00Z"]),
        ("0 1 * * 1-5", "UTC", "2026-02-27T02:00:00Z", &["2026-03-02T01:00:00Z"]),
        ("0 1 * * MON", "UTC", "2026-02-27T02:00:00Z", &["2026-03-02T01:00:00Z"]),
        ("0 0 * * 7", "UTC", "2026-02-27T02:00:00Z", &["2026-03-01T00:00:00Z"]),
        ("15,45 */12 1 JAN *", "UTC", "2026-03-01T00:00:00Z", &["2027-01-01T00:15:00Z", "2027-01-01T00:45:00Z"]),
        // Of day of month and day of week either suffices, as every cron has it.
        ("0 0 13 * 5", "UTC", "2026-03-07T00:00:00Z", &["2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"]),
        ("0 0 31 * *", "UTC", "2026-02-01T00:00:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]),
    ];
    for (schedule, zone, after, expected) in table {
        assert_openings(schedule, zone, after, expected);
    }
}

#[test]
fn clocks_that_are_put_forward_or_back_open_no_window_twice_and_skip_none() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        // Berlin skips 02:00 to 03:00 at 01:00 UTC: what is skipped opens when the clock goes on.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        ("0 2,14 * * *", "Europe/Berlin", "2026-03-28T14:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T12:00:00Z"]),
        ("59 1 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T00:59:00Z", "2026-03-29T23:59:00Z"]),
        // Berlin repeats 02:00 to 03:00 from 01:00 UTC on: the first time counts.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        ("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]),
        // With a star it runs with the clock.
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T01:30:00Z", &["2026-03-30T00:00:00Z"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"],
        ),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]),
        // Half an hour in Lord Howe, midnight in Cairo, a whole day in Samoa.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z"]),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"],
        ),
        ("0 0 * * *", "Africa/Cairo", "2024-04-25T00:00:00Z", &["2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z"]),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", &["2011-12-30T10:00:00Z"]),
        // Havana puts the clock back from 01:00 to 00:00: midnight comes twice.
        ("0 0 * * *", "America/Havana", "2020-10-31T12:00:00Z", &["2020-11-01T04:00:00Z", "2020-11-02T05:00:00Z"]),
    ];
    for (schedule, zone, after, expected) in table {
        assert_openings(schedule, zone, after, expected);
    }
}

#[test]
fn a_window_is_open_from_its_opening_for_minutes_that_really_pass() {
    let is_open = |window: &Window, at: &str| window.closed_until(time(at)).is_none();
    let night = window("0 22 * * 5", 240, "Asia/Kolkata");
    for (at, open) in [
        ("2026-03-06T16:29:59Z", false),
        ("2026-03-06T16:30:00Z", true),
        ("2026-03-06T20:29:59Z", true),
        ("2026-03-06T20:30:00Z", false),
    ] {
        assert_eq!(is_open(&night, at), open, "over midnight, at {at}");
    }
    // The clock is put forward and back while it is open.
    let (spring, autumn) = (window("0 1 * * *", 180, "Europe/Berlin"), window("0 2 * * *", 90, "Europe/Berlin"));
    assert!(is_open(&spring, "2026-03-29T02:59:59Z") && !is_open(&spring, "2026-03-29T03:00:00Z"));
    assert!(is_open(&autumn, "2026-10-25T01:29:59Z") && !is_open(&autumn, "2026-10-25T01:30:00Z"));
    // One opening before the last is over: it stays open.
    let overlapping = window("0 0,1 * * *", 90, "UTC");
    assert!(is_open(&overlapping, "2026-03-06T02:29:59Z") && !is_open(&overlapping, "2026-03-06T02:30:00Z"));
    let always = window("* * * * *", 1, "Europe/Berlin");
    let week = window("0 0 * * 1", 10_080, "UTC");
    for begin in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", "2026-01-01T00:00:00Z"] {
        for seconds in (0..10_800).step_by(17) {
            let at = time(begin) + seconds.seconds();
            assert_eq!((always.closed_until(at), week.closed_until(at)), (None, None), "{at}");
        }
    }
    let shut = night.closed_until(time("2026-03-06T20:30:00Z"));
    assert_eq!(shut, Some(Some(time("2026-03-13T16:30:00Z"))));
}

#[test]
fn windows_that_cannot_be_used_are_refused_with_their_field() {
    for (schedule, minutes, zone, field, text) in [
        ("0 0 30 2 *", 60, "UTC", "schedule", "never comes"),
        ("0 0 31 2,4,6,9,11 *", 60, "UTC", "schedule", "never comes"),
        ("0 1 * *", 60, "UTC", "schedule", "five fields"),
        ("0 0 1 * * *", 60, "UTC", "schedule", "five fields"),
        ("", 60, "UTC", "schedule", "five fields"),
        ("@daily", 60, "UTC", "schedule", "five fields"),
        ("0 0 L * *", 60, "UTC", "schedule", "five fields"),
        ("0 0 15W * *", 60, "UTC", "schedule", "five fields"),
        ("0 0 * * 5#2", 60, "UTC", "schedule", "five fields"),
        ("0 0 ? * 1", 60, "UTC", "schedule", "five fields"),
        ("60 0 * * *", 60, "UTC", "schedule", "five fields"),
        ("0 24 * * *", 60, "UTC", "schedule", "five fields"),
        ("0 0 0 * *", 60, "UTC", "schedule", "five fields"),
        ("*/0 0 * * *", 60, "UTC", "schedule", "five fields"),
        ("0 5-1 * * *", 60, "UTC", "schedule", "five fields"),
        ("0 0 * ABC *", 60, "UTC", "schedule", "five fields"),
        ("0 0 , * *", 60, "UTC", "schedule", "five fields"),
        ("0 1 * * 0,1,2,3,4,5,6,0,1,2,3,4,5,6,0,1,2,3,4,5,6,0,1,2,3,4,5,6,0", 60, "UTC", "schedule", "64"),
        ("0 0 * * *", 0, "UTC", "durationMinutes", "1 to 10080"),
        ("0 0 * * *", 10_081, "UTC", "durationMinutes", "1 to 10080"),
        ("0 0 * * *", 60, "Mars/Olympus", "timeZone", "IANA"),
        ("0 0 * * *", 60, "", "timeZone", "IANA"),
        ("0 0 * * *", 60, "+05:30", "timeZone", "IANA"),
        ("0 0 * * *", 60, "../UTC", "timeZone", "IANA"),
        ("0 0 * * *", 60, "Local", "timeZone", "IANA"),
    ] {
        let bad = Window::new("w", schedule, minutes, zone).unwrap_err();
        assert_eq!(bad.field, field, "{schedule:?}: {bad}");
        assert!(bad.problem.contains(text) && bad.problem.starts_with("must "), "{schedule:?}: {bad}");
    }
}

fn named(name: &str, schedule: &str) -> Window {
    Window::new(name, schedule, 60, "UTC").unwrap()
}

#[test]
fn of_several_windows_one_must_be_open_and_of_several_lists_one_of_each() {
    let (one, six, noon) = (named("one", "0 1 * * *"), named("six", "0 6 * * *"), named("noon", "0 12 * * *"));
    let sunday = Window::new("sunday", "0 0 * * 0", 1_440, "UTC").unwrap();
    // A Tuesday.
    let now = time("2026-03-03T05:00:00Z");
    let next = |windows: &[Vec<Window>]| closed(windows, now).map(|closed| (closed.next_opening, closed.name));
    let at = |text: &str, name: &str| Some((Some(time(text)), name.to_owned()));
    assert_eq!(next(&[]), None);
    assert_eq!(next(&[vec![], vec![]]), None);
    assert_eq!(next(&[vec![one.clone(), noon.clone(), six.clone()]]), at("2026-03-03T06:00:00Z", "six"));
    assert_eq!(next(&[vec![noon.clone()], vec![], vec![sunday.clone()]]), at("2026-03-08T12:00:00Z", "noon"));
    assert_eq!(next(&[vec![sunday.clone()], vec![one.clone(), noon.clone()]]), at("2026-03-08T01:00:00Z", "one"));
    assert_eq!(next(&[vec![named("now", "0 5 * * *")], vec![named("also", "0 5 * * *"), six.clone()]]), None);
    assert_eq!(next(&[vec![one], vec![six]]).map(|(opening, _)| opening), Some(None), "never together");
    let (at_one, half_past) = (named("at-one", "0 1 * * *"), named("half-past", "30 1 * * *"));
    assert_eq!(next(&[vec![at_one], vec![half_past]]), at("2026-03-04T01:30:00Z", "half-past"));
}

#[test]
fn an_opening_is_told_on_the_clock_of_its_window_and_in_utc() {
    let night = Window::new("night", "30 6 * * *", 60, "Asia/Kolkata").unwrap();
    let windows = [vec![named("noon", "0 12 * * *")], vec![night]];
    let told = |text: &str| opening(&windows, time(text));
    assert_eq!(told("2026-03-03T01:00:00Z"), "2026-03-03T01:00:00Z (window night: 2026-03-03 06:30 Asia/Kolkata)");
    assert_eq!(told("2026-03-03T12:00:00Z"), "2026-03-03T12:00:00Z (window noon: 2026-03-03 12:00 UTC)");
    assert_eq!(told("2026-03-03T12:00:01Z"), "2026-03-03T12:00:01Z", "no window opens then");
}

#[test]
fn what_waits_for_what() {
    let now = time("2026-03-03T05:00:00Z");
    let shut = ChangePolicy { windows: vec![vec![named("noon", "0 12 * * *")]], ..ChangePolicy::default() };
    let always = ChangePolicy { approval: Approval::Always, ..ChangePolicy::default() };
    let never = ChangePolicy { approval: Approval::Never, ..ChangePolicy::default() };
    let kinds =
        [Kind::Growth, Kind::ScaleOut, Kind::ScaleIn, Kind::LifecycleWrite, Kind::StallRestart, Kind::MissingDriver];
    let approval = || Err(Held::ApprovalRequired { plan_id: "kp-1".to_owned() });
    for kind in kinds {
        let waiting = Held::WaitingForWindow { next_opening: Some(time("2026-03-03T12:00:00Z")), name: "noon".into() };
        let expected = if matches!(kind, Kind::ScaleOut | Kind::MissingDriver) { Ok(()) } else { Err(waiting) };
        assert_eq!(may(&shut, kind, false, "kp-1", now), expected, "{kind:?}");
        assert_eq!(may(&shut, kind, true, "kp-1", now), approval(), "approval is asked for before a window");
        assert_eq!(may(&always, kind, false, "kp-1", now), approval(), "{kind:?}");
        assert_eq!(may(&never, kind, true, "kp-1", now), Ok(()));
        assert_eq!(may(&ChangePolicy::default(), kind, false, "kp-1", now), Ok(()));
        let approved = ChangePolicy { approved_plans: ["kp-1".to_owned()].into(), ..always.clone() };
        assert_eq!(may(&approved, kind, true, "kp-1", now), Ok(()));
        assert_eq!(
            may(&approved, kind, true, "kp-2", now).unwrap_err(),
            Held::ApprovalRequired { plan_id: "kp-2".to_owned() }
        );
        let observe = ChangePolicy { mode: Mode::Observe, ..always.clone() };
        assert_eq!(may(&observe, kind, false, "kp-1", now), Err(Held::ObserveOnly));
        assert_eq!(waits(&observe, kind, false, "kp-1", now), approval().err(), "a plan reads the same in both modes");
        let suspended = ChangePolicy { suspended: true, ..observe };
        assert_eq!(may(&suspended, kind, false, "kp-1", now), Err(Held::Suspended));
        assert!(approval().unwrap_err().to_string().contains("add kp-1 to `spec.changePolicy.approvedPlans`"));
    }
}

#[test]
fn plan_ids_are_stable_and_tell_everything_apart() {
    assert_eq!(growth_plan_id("kafka-1", "logs.api", 3, 12), "kp-1caf740a");
    assert_eq!(raise_plan_id("workers", 1, 2), "wp-32cc5c0d");
    let ids = [
        growth_plan_id("c", "topic", 3, 12),
        growth_plan_id("d", "topic", 3, 12),
        growth_plan_id("ct", "opic", 3, 12),
        growth_plan_id("c", "topic", 4, 12),
        growth_plan_id("c", "topic", 3, 13),
        growth_plan_id("c", "topic", 12, 3),
    ];
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

fn any_policy() -> impl Strategy<Value = ChangePolicy> {
    let windows = prop::sample::subsequence(vec!["0 1 * * *", "0 5 * * *", "*/7 * * * *", "0 12 * * 0"], 0..3);
    let parts = (any::<bool>(), 0..3usize, prop::collection::btree_set("[ab]", 0..2), windows, any::<bool>());
    parts.prop_map(|(observe, approval, approved_plans, windows, suspended)| {
        let list: Vec<Window> = windows.into_iter().map(|schedule| named("w", schedule)).collect();
        ChangePolicy {
            mode: if observe { Mode::Observe } else { Mode::Apply },
            approval: [Approval::Never, Approval::DestructiveOnly, Approval::Always][approval],
            approved_plans,
            windows: if list.is_empty() { Vec::new() } else { vec![list] },
            suspended,
        }
    })
}

fn schedule() -> impl Strategy<Value = String> {
    let field = |low: u32, high: u32| {
        let range = (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
        let list = prop::collection::vec(low..=high, 1..4)
            .prop_map(|all| all.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
        let step = (1..=high.max(2)).prop_map(|step| format!("*/{step}"));
        prop_oneof![2 => Just("*".to_owned()), 2 => (low..=high).prop_map(|n| n.to_string()), 1 => range, 1 => list, 1 => step]
    };
    (field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
        .prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

proptest! {
    #[test]
    fn the_stricter_of_two_policies_allows_what_both_allow(
        (a, b) in (any_policy(), any_policy()),
        destructive in any::<bool>(),
        minute in 0..20_000i64,
    ) {
        let now = Timestamp::UNIX_EPOCH + (minute * 60).seconds();
        let both = stricter(&a, &b);
        prop_assert_eq!(&stricter(&ChangePolicy { approval: Approval::Never, ..ChangePolicy::default() }, &a), &a);
        for kind in [Kind::Growth, Kind::ScaleOut] {
            // An id that one of them approves counts for both.
            let allowed = |p: &ChangePolicy| {
                let p = ChangePolicy { approved_plans: both.approved_plans.clone(), ..p.clone() };
                may(&p, kind, destructive, "a", now).is_ok()
            };
            prop_assert_eq!(may(&both, kind, destructive, "a", now).is_ok(), allowed(&a) && allowed(&b));
        }
    }

    #[test]
    fn the_next_opening_is_the_first_moment_at_which_all_is_open(policy in any_policy(), other in any_policy(), minute in 0..20_000i64) {
        let windows = stricter(&policy, &other).windows;
        let now = Timestamp::UNIX_EPOCH + (minute * 60 + 30).seconds();
        let Some(shut) = closed(&windows, now) else { return Ok(()) };
        let Some(opening) = shut.next_opening else { return Ok(()) };
        prop_assert!(opening > now && closed(&windows, opening).is_none());
        let steps = 60;
        for step in 0..steps {
            let before = now + ((opening.as_second() - now.as_second()) * step / steps).seconds();
            prop_assert!(closed(&windows, before).is_some(), "open at {before}, before {opening}");
        }
        prop_assert!(closed(&windows, opening - 1.second()).is_some());
    }

    /// Another search for the same thing. Times of clock changes have a table of their own.
    #[test]
    fn openings_are_those_that_the_cron_library_finds(schedule in schedule(), seconds in 0..2_000_000_000i64) {
        let at = Timestamp::from_second(seconds).unwrap();
        let Ok(window) = Window::new("w", &schedule, 1, "UTC") else { return Ok(()) };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&schedule).unwrap();
        let expected = cron.find_next_occurrence(&at.to_zoned(TimeZone::UTC), false).unwrap();
        prop_assert_eq!(window.next_opening(at), Some(expected.timestamp()), "{} after {}", schedule, at);
    }
}
