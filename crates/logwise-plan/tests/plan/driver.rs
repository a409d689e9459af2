//! Properties of driver plans, over master pages at random.

mod named;
mod planted;

use crate::NOW;
use jiff::Timestamp;
use logwise_plan::change::{Approval, ChangePolicy, Window};
use logwise_plan::driver::{
    Active, Answer, Attempt, Ended, Hold, KillWhy, Mode, Observed, Open, Plan, Policy, Restarted, Stand, Submit, Why,
    answer_of, plan,
};
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use std::collections::BTreeSet;

const CLASS: &str = "com.example.Stream";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn known<T: Clone + std::fmt::Debug + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Known<T>> {
    let unknown = Just(Known::Unknown("timed out".to_owned()));
    prop_oneof![8 => value.prop_map(Known::Known), 1 => Just(Known::Absent), 1 => unknown].boxed()
}

fn id() -> impl Strategy<Value = String> {
    "driver-[a-f]"
}

fn noon() -> Vec<Vec<Window>> {
    vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]]
}

prop_compose! {
    fn policy()(
        mode in prop_oneof![9 => Just(Mode::Managed), 1 => Just(Mode::Disabled)],
        supervise in any::<bool>(),
        absent_seconds in prop_oneof![9 => Just(90u32), 1 => 0..200u32],
        stalled_seconds in prop_oneof![9 => Just(300u32), 1 => 30..900u32],
        approval in prop_oneof![3 => Just(Approval::DestructiveOnly), 1 => Just(Approval::Always)],
        closed in prop::bool::weighted(0.3),
    ) -> Policy {
        let windows = if closed { noon() } else { Vec::new() };
        let change = ChangePolicy { approval, windows, ..ChangePolicy::default() };
        let main_class = CLASS.to_owned();
        Policy { mode, main_class, supervise, absent_seconds, stalled_seconds, change, look_period_seconds: 30 }
    }
}

prop_compose! {
    fn active()(
        state in prop_oneof![6 => "RUNNING", 2 => "SUBMITTED", 1 => "RELAUNCHING", 1 => "[A-Z]{0,9}"],
        ours in prop::bool::weighted(0.7),
        has_worker in prop::bool::weighted(0.8),
        started in prop::option::of(-900..10i64),
    ) -> Active {
        Active { id: String::new(), state, ours, has_worker, started: started.map(at) }
    }
}

/// Drivers, each under its own id, as a master lists them.
fn drivers() -> impl Strategy<Value = Vec<Active>> {
    let number = prop_oneof![3 => 0..1usize, 3 => 1..2usize, 2 => 2..5usize];
    let listed = number.prop_flat_map(|number| prop::collection::btree_map(id(), active(), number));
    listed.prop_map(|drivers| drivers.into_iter().map(|(id, driver)| Active { id, ..driver }).collect())
}

fn done() -> impl Strategy<Value = Vec<Ended>> {
    let state = prop::sample::select(vec!["FINISHED", "FAILED", "KILLED", "ERROR", "RELAUNCHING"]);
    let ended = (id(), state, prop::option::of("[a-z]{3}"));
    let ended = ended.prop_map(|(id, state, text)| Ended { id, state: state.to_owned(), text });
    prop::collection::vec(ended, 0..4)
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let ended = prop::sample::select(vec!["FINISHED", "FAILED", "KILLED", "ERROR", "the master refused it"]);
    let attempt = (-2_000..60i64, prop::option::of(id()), ended);
    let attempt = attempt.prop_map(|(second, id, ended)| Attempt { at: at(second), id, ended: ended.to_owned() });
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(attempt, 0..6)]
}

fn open() -> impl Strategy<Value = Open> {
    let submission = prop::collection::btree_set(id(), 0..4).prop_map(|known| Open::Submission { known, since: NOW });
    prop_oneof![7 => Just(Open::None), 1 => submission, 1 => id().prop_map(|id| Open::Kill { id })]
}

fn stand() -> impl Strategy<Value = Stand> {
    let usual = (0..3i64, 0..2_000i64, 0..3i64);
    let stand = prop_oneof![9 => usual, 1 => any::<(i64, i64, i64)>()];
    stand.prop_map(|(batch, unmoved_seconds, backlog)| Stand { batch, unmoved_seconds, backlog })
}

prop_compose! {
    fn observed()(
        drivers in known(drivers()),
        done in done(),
        (recorded, earlier) in (prop::option::of(id()), prop::collection::btree_set(id(), 0..3)),
        absent_for in prop::option::of(prop_oneof![9 => 0..900u32, 1 => any::<u32>()]),
        running_for in prop::option::of(prop_oneof![9 => 0..900u32, 1 => any::<u32>()]),
        progress in known(stand()),
        needed_seconds in prop_oneof![8 => Just(0i64), 1 => 0..900i64, 1 => any::<i64>()],
        batch_age_seconds in prop_oneof![8 => Just(0i64), 1 => 0..2_000i64, 1 => any::<i64>()],
        attempts in attempts(),
        open in open(),
        restarted in prop::option::of((-4_000..60i64, 0..3i64)),
    ) -> Observed {
        let restarted = restarted.map(|(second, batch)| Restarted { at: at(second), batch });
        let master = "spark-0:7077".to_owned();
        // What may run elsewhere has stories of its own: it waits for a person whatever the policy says.
        let (taken, elsewhere) = (BTreeSet::new(), Vec::new());
        Observed {
            master, drivers, earlier, taken, elsewhere, done, recorded, absent_for, running_for, progress, needed_seconds,
            batch_age_seconds,
            attempts, open, restarted,
        }
    }
}

fn decide(policy: &Policy, observed: &Observed) -> Plan {
    plan(policy, observed, NOW)
}

/// The ids that a plan asks a person about.
fn asked(plan: &Plan) -> BTreeSet<String> {
    let ids = plan.holds.iter().filter_map(|hold| match hold {
        Hold::ApprovalRequired { plan_id, .. } => Some(plan_id.clone()),
        _ => None,
    });
    ids.collect()
}

/// A policy and facts; what the plan asks about is approved, or not.
fn asking() -> impl Strategy<Value = (Policy, Observed)> {
    (policy(), observed(), any::<bool>()).prop_map(|(mut policy, observed, yes)| {
        if yes {
            policy.change.approved_plans = asked(&decide(&policy, &observed));
        }
        (policy, observed)
    })
}

/// Ids of active drivers of our class.
fn ours(observed: &Observed) -> BTreeSet<String> {
    let drivers = observed.drivers.known().into_iter().flatten();
    drivers.filter(|driver| driver.ours).map(|driver| driver.id.clone()).collect()
}

/// What a master does with a plan: a submission becomes a driver with a new id, a killed one is completed.
fn apply(observed: &mut Observed, plan: &Plan, number: usize) {
    let Known::Known(drivers) = &mut observed.drivers else {
        assert!(plan.is_idle(), "nothing was seen");
        return;
    };
    if plan.submit.is_some() {
        let id = format!("driver-{number}");
        let state = "SUBMITTED".to_owned();
        drivers.push(Active { id: id.clone(), state, ours: true, has_worker: false, started: Some(NOW) });
        (observed.recorded, observed.absent_for) = (Some(id), None);
    }
    if let Some(kill) = &plan.kill {
        drivers.retain(|driver| driver.id != kill.id);
        observed.done.push(Ended { id: kill.id.clone(), state: "KILLED".to_owned(), text: None });
        if kill.why == KillWhy::Stalled {
            let batch = observed.progress.known().map_or(0, |stand| stand.batch);
            (observed.restarted, observed.running_for) = (Some(Restarted { at: NOW, batch }), None);
        }
    }
}

proptest! {
    #[test]
    fn every_plan_passes_the_checks((policy, observed) in asking()) {
        let plan = decide(&policy, &observed);
        prop_assert_eq!(checks::driver::violations(&policy, &observed, &plan, NOW), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_submitted_while_one_may_be_alive((policy, observed) in asking()) {
        if decide(&policy, &observed).submit.is_some() {
            prop_assert!(observed.drivers.known().is_some());
            prop_assert!(ours(&observed).is_empty());
            prop_assert_eq!(observed.open, Open::None);
        }
    }

    #[test]
    fn only_what_is_active_and_ours_is_killed_and_one_at_a_time((policy, observed) in asking()) {
        let plan = decide(&policy, &observed);
        if let Some(kill) = plan.kill {
            prop_assert!(ours(&observed).contains(&kill.id));
            prop_assert!(plan.submit.is_none());
        }
    }

    #[test]
    fn the_order_of_a_page_decides_nothing((policy, observed) in asking()) {
        let mut other = observed.clone();
        if let Known::Known(drivers) = &mut other.drivers {
            drivers.reverse();
        }
        other.done.reverse();
        other.attempts.reverse();
        let (one, two) = (decide(&policy, &observed), decide(&policy, &other));
        prop_assert_eq!((one.submit, one.kill), (two.submit, two.kill));
    }

    #[test]
    fn supervision_decides_nothing((policy, observed) in asking()) {
        let other = Policy { supervise: !policy.supervise, ..policy.clone() };
        prop_assert_eq!(decide(&policy, &observed), decide(&other, &observed));
    }

    /// However often one looks: a submission is made once, and of several drivers one is left, which stays.
    #[test]
    fn plans_lead_to_one_driver_and_stay_there((mut policy, mut observed) in asking()) {
        policy.change = ChangePolicy::default();
        observed.open = Open::None;
        let mut acted = 0;
        for number in 0..12 {
            let plan = decide(&policy, &observed);
            acted += usize::from(plan.submit.is_some());
            apply(&mut observed, &plan, number);
        }
        prop_assert!(acted <= 1, "submitted {acted} times");
        prop_assert!(decide(&policy, &observed).is_idle());
        let managed = policy.mode == Mode::Managed && observed.drivers.known().is_some();
        prop_assert!(!managed || ours(&observed).len() <= 1);
    }

    #[test]
    fn windows_hold_back_nothing_but_restarts((policy, observed) in asking()) {
        let free = Policy { change: ChangePolicy { windows: Vec::new(), ..policy.change.clone() }, ..policy.clone() };
        let (plan, free) = (decide(&policy, &observed), decide(&free, &observed));
        prop_assert_eq!(&plan.submit, &free.submit);
        let restart = free.kill.as_ref().is_some_and(|kill| kill.why == KillWhy::Stalled);
        prop_assert!(plan.kill == free.kill || (restart && plan.is_idle()));
    }

    #[test]
    fn approval_changes_nothing_but_when((mut policy, observed) in asking()) {
        policy.change.windows.clear();
        let free = Policy { change: ChangePolicy::default(), ..policy.clone() };
        let free = decide(&free, &observed);
        policy.change.approved_plans.clear();
        policy.change.approved_plans = asked(&decide(&policy, &observed));
        let plan = decide(&policy, &observed);
        prop_assert_eq!((plan.submit, plan.kill), (free.submit, free.kill));
    }

    /// Whatever else is on the page: the one id that is new is the driver of the lost answer.
    #[test]
    fn a_lost_answer_is_found_by_what_is_new(
        before in prop::collection::btree_set(id(), 0..4),
        (seen, done) in (drivers(), done()),
        landed in any::<bool>(),
    ) {
        let mut known: BTreeSet<String> = before;
        known.extend(seen.iter().map(|driver| driver.id.clone()));
        known.extend(done.iter().map(|ended| ended.id.clone()));
        let submit = Submit { why: Why::Missing, known };
        prop_assert_eq!(answer_of(&submit, &seen, &done), Answer::Never);
        let new = "driver-new".to_owned();
        let (mut seen, mut done) = (seen, done);
        if landed {
            let state = "RUNNING".to_owned();
            seen.push(Active { id: new.clone(), state, ours: true, has_worker: true, started: None });
        } else {
            done.push(Ended { id: new.clone(), state: "ERROR".to_owned(), text: None });
        }
        prop_assert_eq!(answer_of(&submit, &seen, &done), Answer::Is(new));
    }
}

/// An observation in which nothing was seen yet.
fn nothing() -> Observed {
    Observed {
        master: "spark-0:7077".to_owned(),
        drivers: Known::Known(Vec::new()),
        earlier: BTreeSet::new(),
        taken: BTreeSet::new(),
        elsewhere: Vec::new(),
        done: Vec::new(),
        recorded: None,
        absent_for: None,
        running_for: None,
        progress: Known::Absent,
        needed_seconds: 0,
        batch_age_seconds: 0,
        attempts: Vec::new(),
        open: Open::None,
        restarted: None,
    }
}

fn usual() -> Policy {
    Policy {
        mode: Mode::Managed,
        main_class: CLASS.to_owned(),
        supervise: true,
        absent_seconds: 90,
        stalled_seconds: 300,
        change: ChangePolicy::default(),
        look_period_seconds: 30,
    }
}

fn runs(id: &str) -> Active {
    Active { id: id.to_owned(), state: "RUNNING".to_owned(), ours: true, has_worker: true, started: None }
}
