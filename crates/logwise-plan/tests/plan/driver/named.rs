//! One story per situation of a driver.

use super::{at, noon, nothing, runs, usual};
use logwise_plan::Known;
use logwise_plan::change::{Approval, ChangePolicy, driver_plan_id};
use logwise_plan::driver::{
    Active, Answer, Attempt, Cause, Elsewhere, Ended, Hold, Kill, KillWhy, Observed, Open, Plan, Policy, Restarted,
    Stand, State, Submit, Why, answer_of, plan,
};
use std::collections::BTreeSet;

fn decide(observed: &Observed) -> Plan {
    plan(&usual(), observed, at(0))
}

/// One driver that runs, as its query has stood still for so long.
fn standing(unmoved_seconds: i64) -> Observed {
    let stand = Stand { batch: 7, unmoved_seconds, backlog: 1 };
    let drivers = Known::Known(vec![runs("driver-1")]);
    let recorded = Some("driver-1".to_owned());
    Observed { drivers, recorded, running_for: Some(900), progress: Known::Known(stand), ..nothing() }
}

fn ended(id: &str, state: &str) -> Ended {
    Ended { id: id.to_owned(), state: state.to_owned(), text: None }
}

fn waits(id: &str) -> Active {
    Active { state: "SUBMITTED".to_owned(), has_worker: false, ..runs(id) }
}

fn stalled(id: &str) -> Option<Kill> {
    Some(Kill { id: id.to_owned(), why: KillWhy::Stalled })
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn a_missing_driver_is_submitted_after_its_time_and_not_before() {
    let absent = |seconds| decide(&Observed { absent_for: Some(seconds), ..nothing() });
    assert_eq!(absent(89).holds, [Hold::TooSoon { left_seconds: 1 }]);
    let submit = Submit { why: Why::Missing, known: BTreeSet::new() };
    assert_eq!((absent(90).submit, absent(90).state), (Some(submit), State::Absent));
}

#[test]
fn one_driver_is_left_alone() {
    let plan = decide(&standing(300));
    assert_eq!((plan.is_idle(), plan.state), (true, State::Running { id: "driver-1".to_owned() }));
    assert_eq!(plan.holds, [Hold::NotStalled]);
}

/// The system before took a driver without a worker for a missing one, and submitted another each minute.
#[test]
fn a_driver_that_waits_for_a_worker_is_there() {
    let observed = Observed { drivers: Known::Known(vec![waits("driver-1")]), absent_for: Some(9_000), ..nothing() };
    let plan = decide(&observed);
    assert_eq!((plan.is_idle(), plan.state), (true, State::Pending { id: "driver-1".to_owned() }));
}

#[test]
fn of_several_all_but_one_are_killed_one_at_a_look() {
    let mut drivers = vec![waits("driver-0"), runs("driver-1"), runs("driver-2"), runs("driver-3")];
    for gone in ["driver-0", "driver-3", "driver-1"] {
        let recorded = Some("driver-2".to_owned());
        let plan = decide(&Observed { drivers: Known::Known(drivers.clone()), recorded, ..nothing() });
        assert_eq!(plan.kill, Some(Kill { id: gone.to_owned(), why: KillWhy::Extra }));
        drivers.retain(|driver| driver.id != gone);
    }
    assert_eq!(drivers, [runs("driver-2")]);
}

#[test]
fn without_a_record_the_oldest_that_runs_stays() {
    let since = |id: &str, second| Active { started: Some(at(second)), ..runs(id) };
    let old = Active { started: Some(at(-900)), ..waits("driver-0") };
    let drivers = vec![runs("driver-1"), since("driver-2", -60), since("driver-3", -90), old];
    let mut observed = Observed { drivers: Known::Known(drivers), ..nothing() };
    for gone in ["driver-0", "driver-1", "driver-2"] {
        assert_eq!(decide(&observed).kill, Some(Kill { id: gone.to_owned(), why: KillWhy::Extra }));
        let Known::Known(drivers) = &mut observed.drivers else { unreachable!("it is known") };
        drivers.retain(|driver| driver.id != gone);
    }
}

#[test]
fn a_query_that_stands_still_is_restarted_once_and_the_next_driver_need_not_wait() {
    assert_eq!(decide(&standing(301)).kill, stalled("driver-1"));
    let restarted = Some(Restarted { at: at(-5), batch: 7 });
    let killed =
        Observed { drivers: Known::Known(Vec::new()), done: vec![ended("driver-1", "KILLED")], ..standing(306) };
    let mut killed = Observed { restarted, running_for: None, absent_for: Some(5), ..killed };
    let submit = Submit { why: Why::Stalled, known: ids(&["driver-1"]) };
    assert_eq!(decide(&killed).submit, Some(submit));
    // As long as the master does not say that it is gone, it may be alive.
    for done in [vec![ended("driver-1", "RELAUNCHING")], vec![ended("driver-0", "KILLED")], Vec::new()] {
        killed.done = done;
        assert_eq!(decide(&killed).holds, [Hold::TooSoon { left_seconds: 85 }]);
    }
    let mut next = standing(336);
    (next.drivers, next.restarted) = (Known::Known(vec![runs("driver-2")]), restarted);
    assert_eq!(decide(&next).holds, [Hold::RestartedInVain { until: at(-5 + 331) }]);
}

/// Restarts of a query that never gets anywhere: each pause is about twice the one before, up to an hour.
#[test]
fn a_restart_that_does_not_help_is_not_a_loop() {
    let (mut kills, mut restarted, mut running_since) = (Vec::new(), None, 0);
    for now in (0..6 * 3_600).step_by(30) {
        let running_for = u32::try_from(now - running_since).ok();
        let observed = Observed { restarted, running_for, ..standing(now) };
        if plan(&usual(), &observed, at(now)).kill.is_some() {
            kills.push(now);
            (restarted, running_since) = (Some(Restarted { at: at(now), batch: 7 }), now);
        }
    }
    assert_eq!(kills, [330, 660, 1_320, 2_640, 5_280, 8_880, 12_480, 16_080, 19_680]);
}

/// What comes in during an outage is one batch afterwards: whoever ended it would have to read it all again.
#[test]
fn a_batch_that_has_much_to_read_gets_twice_the_time_that_it_takes() {
    let after = |needed_seconds, unmoved_seconds, running_for| {
        decide(&Observed { needed_seconds, running_for: Some(running_for), ..standing(unmoved_seconds) })
    };
    assert_eq!(after(400, 900, 9_000).holds, [Hold::NotStalled]);
    assert_eq!(after(400, 1_100, 9_000).holds, [Hold::NotStalled]);
    assert_eq!(after(400, 1_101, 9_000).kill, stalled("driver-1"));
    assert_eq!(after(400, 9_000, 1_099).holds, [Hold::NotStalled], "a driver that has only begun too");
    assert_eq!(after(i64::MAX, 3_900, 9_000).holds, [Hold::NotStalled]);
    assert_eq!(after(i64::MAX, 3_901, 9_000).kill, stalled("driver-1"), "no more than an hour");
    assert_eq!(after(i64::MIN, 301, 9_000).kill, stalled("driver-1"));
}

#[test]
fn a_submission_after_a_stall_of_which_nothing_came_is_not_repeated_at_once() {
    let drivers = Known::Known(Vec::new());
    let (done, restarted) = (vec![ended("driver-1", "KILLED")], Some(Restarted { at: at(-60), batch: 7 }));
    let killed = Observed { drivers, done, restarted, running_for: None, absent_for: Some(5), ..standing(361) };
    let after = |second, id: Option<&str>| {
        let (id, ended) = (id.map(str::to_owned), "KILLED".to_owned());
        decide(&Observed { attempts: vec![Attempt { at: at(second), id, ended }], ..killed.clone() })
    };
    assert_eq!(after(-30, None).holds, [Hold::TooSoon { left_seconds: 85 }], "it may still come");
    assert!(after(-61, None).submit.is_some());
    assert!(after(-50, Some("driver-1")).submit.is_some(), "the end of the one that was killed");
}

#[test]
fn of_several_one_that_runs_stays_before_the_one_on_record_that_waits() {
    let left = |drivers: Vec<Active>| {
        let recorded = Some("driver-2".to_owned());
        let plan = decide(&Observed { drivers: Known::Known(drivers), recorded, ..nothing() });
        plan.kill.map(|kill| kill.id)
    };
    assert_eq!(left(vec![runs("driver-1"), waits("driver-2")]).as_deref(), Some("driver-2"));
    assert_eq!(left(vec![waits("driver-1"), waits("driver-2")]).as_deref(), Some("driver-1"));
}

#[test]
fn after_a_restart_that_helped_the_next_one_is_not_held_back() {
    let mut observed = standing(301);
    observed.restarted = Some(Restarted { at: at(-10), batch: 6 });
    assert_eq!(decide(&observed).kill, stalled("driver-1"));
}

#[test]
fn a_driver_that_the_master_starts_again_is_there_and_is_not_restarted() {
    let mut observed = standing(9_000);
    let relaunching = Active { state: "RELAUNCHING".to_owned(), ..runs("driver-1") };
    observed.drivers = Known::Known(vec![relaunching]);
    let plan = decide(&observed);
    assert_eq!((plan.is_idle(), plan.state), (true, State::Relaunching { id: "driver-1".to_owned() }));
}

/// The worker of a driver is lost: the master gives a new id, and the old one stays RELAUNCHING for ever.
#[test]
fn what_is_completed_is_history_whatever_its_state() {
    let mut observed = standing(10);
    (observed.drivers, observed.done) = (Known::Known(vec![runs("driver-2")]), vec![ended("driver-1", "RELAUNCHING")]);
    assert_eq!(decide(&observed).state, State::Running { id: "driver-2".to_owned() });
    observed.drivers = Known::Known(Vec::new());
    (observed.absent_for, observed.progress) = (Some(90), Known::Absent);
    assert!(decide(&observed).submit.is_some());
}

#[test]
fn while_no_master_answers_nothing_is_done() {
    for drivers in [Known::Unknown("spark-0 is STANDBY".to_owned()), Known::Absent] {
        let plan = decide(&Observed { drivers, absent_for: Some(9_000), ..standing(9_000) });
        assert!(plan.is_idle() && matches!(plan.state, State::Unreachable { .. }));
    }
}

/// A master that was restarted without its records has forgotten a driver that lives.
#[test]
fn batches_that_go_on_coming_show_a_driver_that_the_master_has_forgotten() {
    let gone = |absent_for, unmoved_seconds| {
        let drivers = Known::Known(Vec::new());
        decide(&Observed { drivers, absent_for: Some(absent_for), ..standing(unmoved_seconds) })
    };
    assert_eq!(gone(90, 60).holds, [Hold::ProgressMoves { batch: 7 }]);
    // It may be the last batch of the driver that is gone; later it cannot be.
    assert!(gone(150, 90).submit.is_some());
    assert_eq!(gone(300, 90).holds, [Hold::ProgressMoves { batch: 7 }]);
    assert!(gone(900, 300).submit.is_some());
}

#[test]
fn a_submission_without_an_answer_is_found_before_another_is_made() {
    let submit = Submit { why: Why::Missing, known: ids(&["driver-0"]) };
    let open = Open::Submission { known: submit.known.clone(), since: at(-60) };
    let mut observed = Observed { open, absent_for: Some(9_000), done: vec![ended("driver-0", "KILLED")], ..nothing() };
    assert_eq!(decide(&observed).holds, [Hold::IntentOpen]);
    assert_eq!(answer_of(&submit, &[], &observed.done), Answer::Never);
    // A driver of another class is nobody's answer, and one that ended at once is.
    let other = Active { ours: false, ..runs("driver-x") };
    assert_eq!(answer_of(&submit, std::slice::from_ref(&other), &observed.done), Answer::Never);
    let found = [other, waits("driver-1")];
    assert_eq!(answer_of(&submit, &found, &observed.done), Answer::Is("driver-1".to_owned()));
    observed.done.push(ended("driver-1", "ERROR"));
    assert_eq!(answer_of(&submit, &[], &observed.done), Answer::Is("driver-1".to_owned()));
    let both = Answer::Several(vec!["driver-1".to_owned(), "driver-2".to_owned()]);
    assert_eq!(answer_of(&submit, &[runs("driver-2")], &observed.done), both);
    // Found and closed: it is there.
    observed.drivers = Known::Known(vec![waits("driver-1")]);
    observed.open = Open::None;
    assert_eq!(decide(&observed).holds, [Hold::Pending { id: "driver-1".to_owned() }]);
}

/// Drivers that end as soon as they begin: the time between two submissions grows to half an hour.
#[test]
fn drivers_that_fail_are_submitted_at_growing_distances() {
    let (mut attempts, mut submitted) = (Vec::new(), Vec::new());
    let progress = Known::Known(Stand { batch: 7, unmoved_seconds: 9_000, backlog: 1 });
    let (mut gone_since, mut text) = (0, String::new());
    for now in (0..4 * 3_600).step_by(30) {
        let absent_for = u32::try_from(now - gone_since).ok();
        let done = vec![Ended { text: Some("no such class".to_owned()), ..ended("driver-1", "FAILED") }];
        let observed =
            Observed { absent_for, done, attempts: attempts.clone(), progress: progress.clone(), ..nothing() };
        let decision = plan(&usual(), &observed, at(now));
        if let State::Failing { text: told, .. } = decision.state {
            text = told;
        }
        if decision.submit.is_some() {
            submitted.push(now);
            let id = Some("driver-1".to_owned());
            attempts.push(Attempt { at: at(now), id, ended: "FAILED".to_owned() });
            gone_since = now;
        }
    }
    let pauses: Vec<i64> = submitted.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [90, 90, 90, 120, 240, 480, 960, 1_800, 1_800, 1_800, 1_800, 1_800, 1_800]);
    assert_eq!(text, "FAILED: no such class");
}

#[test]
fn a_job_that_ends_after_each_batch_is_submitted_again_after_each() {
    let attempt = |second| Attempt { at: at(second), id: None, ended: "FAILED".to_owned() };
    let attempts = vec![attempt(-300), attempt(-200), attempt(-100)];
    let absent = Observed { absent_for: Some(90), attempts, ..nothing() };
    let with = |unmoved_seconds| {
        let progress = Known::Known(Stand { batch: 7, unmoved_seconds, backlog: 1 });
        decide(&Observed { progress, ..absent.clone() })
    };
    assert!(with(120).submit.is_some());
    assert!(matches!(
        decide(&Observed { attempts: vec![attempt(-30), attempt(-1)], ..absent.clone() }).holds[..],
        [Hold::Failing { .. }]
    ));
}

/// Who has only begun saw no batch come: the newest one may be hours old.
#[test]
fn after_a_start_pauses_are_as_long_as_the_query_has_stood_still() {
    let attempt = |second| Attempt { at: at(second), id: None, ended: "ERROR".to_owned() };
    let fails = |batch_age_seconds| {
        let progress = Known::Known(Stand { batch: 7, unmoved_seconds: 90, backlog: 1 });
        let attempts = vec![attempt(-200), attempt(-100), attempt(-10)];
        decide(&Observed { absent_for: Some(90), attempts, progress, batch_age_seconds, ..nothing() })
    };
    assert!(fails(0).submit.is_some() && fails(300).submit.is_some(), "it commits batches");
    assert!(matches!(fails(301).holds[..], [Hold::Failing { .. }]));
    // It had stood still for 1,000 s when it was restarted 400 s ago.
    let restarted = Some(Restarted { at: at(-400), batch: 7 });
    let stands = |batch_age_seconds| decide(&Observed { restarted, batch_age_seconds, ..standing(301) });
    assert_eq!(stands(0).kill, stalled("driver-1"), "five minutes are over");
    assert_eq!(stands(1_400).holds, [Hold::RestartedInVain { until: at(600) }]);
    let just_begun = Observed { batch_age_seconds: 9_000, ..standing(300) };
    assert_eq!(decide(&just_begun).holds, [Hold::NotStalled], "nothing is ended by the clock of others");
}

#[test]
fn an_end_that_somebody_wanted_is_no_failure() {
    let end = |second, ended: &str| Attempt { at: at(second), id: None, ended: ended.to_owned() };
    let after = |one: &str, backlog| {
        let progress = Known::Known(Stand { batch: 7, unmoved_seconds: 9_000, backlog });
        let attempts = vec![end(-40, one), end(-10, one)];
        decide(&Observed { absent_for: Some(90), attempts, progress, ..nothing() }).submit.is_some()
    };
    assert!(after("KILLED", 1) && after("FINISHED", 0));
    assert!(!after("FINISHED", 1) && !after("ERROR", 0) && !after("the jar is missing", 0));
}

#[test]
fn with_supervision_and_without_the_same_is_waited_for() {
    for supervise in [true, false] {
        let policy = Policy { supervise, ..usual() };
        let gone = |absent_for| Observed {
            done: vec![ended("driver-1", "FAILED")],
            recorded: Some("driver-1".to_owned()),
            absent_for: Some(absent_for),
            ..nothing()
        };
        assert_eq!(plan(&policy, &gone(60), at(0)).holds, [Hold::TooSoon { left_seconds: 30 }]);
        let submit = Submit { why: Why::Missing, known: ids(&["driver-1"]) };
        assert_eq!(plan(&policy, &gone(90), at(0)).submit, Some(submit));
    }
}

#[test]
fn under_approval_always_each_change_waits_for_its_own_id() {
    let policy = |approved: &[&str]| {
        let ids = approved.iter().map(|why| driver_plan_id("spark-0:7077", "com.example.Stream", "driver-1", why));
        let change = ChangePolicy { approval: Approval::Always, approved_plans: ids.collect(), ..Default::default() };
        Policy { change, ..usual() }
    };
    let asks = |observed: &Observed, approved: &[&str]| {
        let plan = plan(&policy(approved), observed, at(0));
        let asked = plan.holds.iter().find_map(|hold| match hold {
            Hold::ApprovalRequired { why, .. } => Some(*why),
            _ => None,
        });
        assert_ne!(plan.is_idle(), asked.is_none());
        asked
    };
    let standing = standing(301);
    assert_eq!(asks(&standing, &["missing", "extra"]), Some(Cause::Stalled));
    assert_eq!(asks(&standing, &["stalled"]), None);
    let (drivers, done) = (Known::Known(Vec::new()), vec![ended("driver-1", "KILLED")]);
    let restarted = Some(Restarted { at: at(-5), batch: 7 });
    let killed = Observed { drivers, done, restarted, running_for: None, absent_for: Some(5), ..standing.clone() };
    assert_eq!(asks(&killed, &["missing"]), Some(Cause::Stalled));
    assert_eq!(asks(&killed, &["stalled"]), None);
    let missing = Observed { restarted: None, absent_for: Some(90), ..killed };
    assert_eq!(asks(&missing, &["stalled"]), Some(Cause::Missing));
    assert_eq!(asks(&missing, &["missing"]), None);
    let drivers = Known::Known(vec![runs("driver-1"), runs("driver-2")]);
    let several = Observed { drivers, recorded: Some("driver-2".to_owned()), ..standing };
    assert_eq!(asks(&several, &["missing", "stalled"]), Some(Cause::Extra));
    assert_eq!(asks(&several, &["extra"]), None);
}

#[test]
fn only_restarts_wait_for_windows() {
    let policy = Policy { change: ChangePolicy { windows: noon(), ..Default::default() }, ..usual() };
    let decide = |observed: &Observed| plan(&policy, observed, at(0));
    let waits = Hold::WaitingForWindow { next_opening: Some(at(12 * 3_600)) };
    assert_eq!(decide(&standing(301)).holds, [waits]);
    assert_eq!(plan(&policy, &standing(301), at(12 * 3_600)).kill, stalled("driver-1"));
    assert!(decide(&Observed { absent_for: Some(90), ..nothing() }).submit.is_some());
    let drivers = Known::Known(vec![runs("driver-1"), runs("driver-2")]);
    assert!(decide(&Observed { drivers, ..nothing() }).kill.is_some());
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let mut observed = standing(301);
    observed.restarted = Some(Restarted { at: at(9_000), batch: 7 });
    assert_eq!(decide(&observed).kill, stalled("driver-1"));
    let attempt = |second| Attempt { at: at(second), id: None, ended: "FAILED".to_owned() };
    let attempts = vec![attempt(9_000), attempt(9_010), attempt(9_020)];
    assert!(decide(&Observed { attempts, absent_for: Some(90), ..nothing() }).submit.is_some());
}

#[test]
fn of_drivers_that_run_one_of_the_present_class_stays() {
    let drivers = vec![runs("driver-1"), runs("driver-2")];
    let earlier = ids(&["driver-1"]);
    let observed = |drivers| Observed { drivers: Known::Known(drivers), earlier: earlier.clone(), ..standing(9) };
    assert_eq!(decide(&observed(drivers)).kill, Some(Kill { id: "driver-1".to_owned(), why: KillWhy::Extra }));
    // One that only waits may never get room.
    let waiting = decide(&observed(vec![runs("driver-1"), waits("driver-2")]));
    assert_eq!(waiting.kill, Some(Kill { id: "driver-2".to_owned(), why: KillWhy::Extra }));
    assert!(decide(&observed(vec![runs("driver-1")])).is_idle(), "it is the pipeline's until it ends");
    assert_eq!(decide(&Observed { earlier, ..standing(301) }).kill, stalled("driver-1"));
}

/// Nobody asks those masters any more, so that only a person can know.
#[test]
fn while_a_driver_may_run_elsewhere_a_person_is_asked_whatever_the_policy_says() {
    let elsewhere = Elsewhere { master: "spark-9:7077".to_owned(), id: Some("driver-1".to_owned()) };
    let observed = Observed { elsewhere: vec![elsewhere.clone()], absent_for: Some(900), ..nothing() };
    let held = decide(&observed);
    let id = driver_plan_id("spark-0:7077", "com.example.Stream", "spark-9:7077 driver-1", "elsewhere");
    assert_eq!(held.holds, [Hold::ApprovalRequired { plan_id: id.clone(), why: Cause::Elsewhere }]);
    assert!(held.is_idle());
    for approval in [Approval::DestructiveOnly, Approval::Always] {
        let change = ChangePolicy { approval, approved_plans: [id.clone()].into(), ..Default::default() };
        assert!(plan(&Policy { change, ..usual() }, &observed, at(0)).submit.is_some(), "{approval:?}");
    }
    let second = Elsewhere { id: None, ..elsewhere.clone() };
    let change = ChangePolicy { approved_plans: [id].into(), ..Default::default() };
    for others in [vec![second.clone()], vec![elsewhere, second]] {
        let another = Observed { elsewhere: others, ..observed.clone() };
        let plan = plan(&Policy { change: change.clone(), ..usual() }, &another, at(0));
        assert!(plan.is_idle(), "it approves nothing else");
    }
}

#[test]
fn none_is_submitted_beside_a_driver_that_another_pipeline_manages_now() {
    let other = Active { ours: false, ..runs("driver-1") };
    let taken = ids(&["driver-1"]);
    let observed = Observed { drivers: Known::Known(vec![other]), absent_for: Some(900), taken, ..nothing() };
    assert_eq!(decide(&observed).holds, [Hold::Taken { ids: ids(&["driver-1"]) }]);
    assert!(decide(&Observed { taken: BTreeSet::new(), ..observed }).submit.is_some());
    let held = decide(&Observed { taken: ids(&["driver-0"]), ..standing(301) });
    assert_eq!((held.kill, held.holds), (None, vec![Hold::Taken { ids: ids(&["driver-0"]) }]), "none could follow it");
}

/// When the one that runs has ended nobody may know any more.
#[test]
fn a_person_is_asked_about_masters_of_before_while_a_driver_runs_too() {
    let elsewhere = vec![Elsewhere { master: "spark-9:7077".to_owned(), id: Some("driver-0".to_owned()) }];
    let id = driver_plan_id("spark-0:7077", "com.example.Stream", "spark-9:7077 driver-0", "elsewhere");
    let asked = Hold::ApprovalRequired { plan_id: id.clone(), why: Cause::Elsewhere };
    let moving = decide(&Observed { elsewhere: elsewhere.clone(), ..standing(9) });
    assert_eq!(moving.state, State::Running { id: "driver-1".to_owned() });
    assert_eq!(moving.holds, [Hold::NotStalled, asked.clone()]);
    let observed = Observed { elsewhere, ..standing(301) };
    let stalled_plan = decide(&observed);
    assert_eq!((stalled_plan.is_idle(), stalled_plan.holds), (true, vec![asked]), "none could follow it");
    let change = ChangePolicy { approved_plans: [id].into(), ..Default::default() };
    assert_eq!(plan(&Policy { change, ..usual() }, &observed, at(0)).kill, stalled("driver-1"));
}
