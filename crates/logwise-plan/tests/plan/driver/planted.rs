//! Bad plans on purpose: each check must bite.

use super::{Plan, asked, at, noon, nothing, runs, usual};
use logwise_plan::change::{Approval, ChangePolicy};
use logwise_plan::driver::{
    Active, Attempt, Cause, Elsewhere, Ended, Hold, Kill, KillWhy, Mode, Observed, Open, Policy, Restarted, Stand,
    State, Submit, Why, plan,
};
use logwise_plan::{Known, checks};

/// A way to break a plan.
type Spoil<'a> = &'a dyn Fn(&mut Plan);

/// Fails unless the planner's own plan is good, and each spoilt one is bad in the way that is said.
fn bites(policy: &Policy, observed: &Observed, planted: &[(&str, Spoil)]) {
    let good = plan(policy, observed, at(0));
    let check = |plan: &Plan| checks::driver::violations(policy, observed, plan, at(0));
    assert_eq!(check(&good), Vec::<String>::new(), "the plan must be good before it is spoilt");
    for (text, spoil) in planted {
        let mut bad = good.clone();
        spoil(&mut bad);
        let found = check(&bad);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text:?} is not among {found:#?}");
    }
}

fn submit(why: Why, known: &[&str]) -> Option<Submit> {
    Some(Submit { why, known: known.iter().map(|id| (*id).to_owned()).collect() })
}

fn kill(id: &str, why: KillWhy) -> Option<Kill> {
    Some(Kill { id: id.to_owned(), why })
}

fn standing(unmoved_seconds: i64) -> Observed {
    let progress = Known::Known(Stand { batch: 7, unmoved_seconds, backlog: 1 });
    let other = Active { ours: false, ..runs("driver-0") };
    let drivers = Known::Known(vec![other, runs("driver-1")]);
    Observed { drivers, recorded: Some("driver-1".to_owned()), running_for: Some(900), progress, ..nothing() }
}

fn gone(absent_for: u32) -> Observed {
    let done = vec![Ended { id: "driver-1".to_owned(), state: "FAILED".to_owned(), text: None }];
    Observed { done, recorded: Some("driver-2".to_owned()), absent_for: Some(absent_for), ..nothing() }
}

#[test]
fn submissions() {
    bites(
        &usual(),
        &gone(90),
        &[
            ("forgets a driver", &|p: &mut Plan| p.submit = submit(Why::Missing, &["driver-1"])),
            ("forgets a driver", &|p| p.submit = submit(Why::Missing, &["driver-2"])),
            ("for one that was restarted", &|p| p.submit = submit(Why::Stalled, &["driver-1", "driver-2"])),
            ("submits and kills", &|p| p.kill = kill("driver-1", KillWhy::Extra)),
            ("not active and ours", &|p| p.kill = kill("driver-1", KillWhy::Extra)),
            ("without a driver although nothing", &|p| (p.submit, p.holds) = (None, vec![Hold::IntentOpen])),
            ("neither acts nor says why", &|p| p.submit = None),
            ("looks again later", &|p| p.next_look_seconds = 31),
            ("does not apply", &|p| p.holds = vec![Hold::TooSoon { left_seconds: 1 }]),
            ("does not apply", &|p| p.holds = vec![Hold::NotStalled]),
            ("another state", &|p| p.state = State::Running { id: "driver-1".to_owned() }),
            ("another state", &|p| p.state = State::Disabled),
        ],
    );
    let progress = Known::Known(Stand { batch: 7, unmoved_seconds: 90, backlog: 1 });
    let none: (&str, Spoil) = ("without a driver although nothing", &|p| p.submit = None);
    bites(&usual(), &Observed { progress, ..gone(90) }, &[none]);
    let early: (&str, Spoil) = ("submits too soon", &|p| p.submit = submit(Why::Missing, &["driver-1", "driver-2"]));
    bites(&usual(), &gone(89), &[early]);
    let twice: (&str, Spoil) = ("while a driver of ours", &|p| p.submit = submit(Why::Missing, &["driver-1"]));
    bites(&usual(), &standing(9), &[twice]);
    let pending = Known::Known(vec![Active { state: "SUBMITTED".to_owned(), has_worker: false, ..runs("driver-1") }]);
    bites(&usual(), &Observed { drivers: pending, ..standing(9) }, &[twice]);
}

#[test]
fn submissions_on_what_is_not_known() {
    let both = |p: &mut Plan| p.submit = submit(Why::Missing, &["driver-1", "driver-2"]);
    let unread = Observed { drivers: Known::Unknown("timed out".to_owned()), ..gone(900) };
    bites(&usual(), &unread, &[("although the master was not read", &both)]);
    let open = Open::Submission { known: Default::default(), since: at(-9) };
    bites(&usual(), &Observed { open, ..gone(900) }, &[("effect of an earlier call", &both)]);
    bites(&Policy { mode: Mode::Disabled, ..usual() }, &gone(900), &[("not managed", &both)]);
    let progress = Known::Known(Stand { batch: 7, unmoved_seconds: 10, backlog: 0 });
    bites(&usual(), &Observed { progress, ..gone(900) }, &[("batches are still committed", &both)]);
    let attempt = |second| Attempt { at: at(second), id: None, ended: "ERROR".to_owned() };
    let attempts = vec![attempt(-20), attempt(-10)];
    bites(&usual(), &Observed { attempts: attempts.clone(), ..gone(900) }, &[("at once after failures", &both)]);
    let progress = Known::Known(Stand { batch: 7, unmoved_seconds: 300, backlog: 1 });
    let begun = Observed { progress, batch_age_seconds: 301, attempts, ..gone(300) };
    bites(&usual(), &begun, &[("at once after failures", &both)]);
}

#[test]
fn restarts() {
    let stalled = |p: &mut Plan| p.kill = kill("driver-1", KillWhy::Stalled);
    bites(
        &usual(),
        &standing(301),
        &[
            ("not active and ours", &|p: &mut Plan| p.kill = kill("driver-0", KillWhy::Stalled)),
            ("not active and ours", &|p| p.kill = kill("driver-9", KillWhy::Stalled)),
            ("as if there were several", &|p| p.kill = kill("driver-1", KillWhy::Extra)),
            ("another state", &|p| p.state = State::Absent),
            ("does not apply", &|p| p.holds = vec![Hold::NotStalled]),
            ("does not apply", &|p| p.holds = vec![Hold::RestartedInVain { until: at(60) }]),
        ],
    );
    let nothing_moves: (&str, Spoil) = ("does not stand still", &stalled);
    bites(&usual(), &standing(300), &[nothing_moves]);
    bites(&usual(), &Observed { running_for: Some(299), ..standing(301) }, &[nothing_moves]);
    bites(&usual(), &Observed { progress: Known::Absent, ..standing(301) }, &[nothing_moves]);
    bites(&usual(), &Observed { needed_seconds: 1, ..standing(302) }, &[nothing_moves]);
    let restarted = Some(Restarted { at: at(-299), batch: 7 });
    bites(&usual(), &Observed { restarted, ..standing(301) }, &[("has not helped", &stalled)]);
    let closed = Policy { change: ChangePolicy { windows: noon(), ..Default::default() }, ..usual() };
    bites(&closed, &standing(301), &[("no window is open", &stalled)]);
    let relaunching = Known::Known(vec![Active { state: "RELAUNCHING".to_owned(), ..runs("driver-1") }]);
    bites(&usual(), &Observed { drivers: relaunching, ..standing(301) }, &[("does not run", &stalled)]);
}

#[test]
fn several() {
    let waits = Active { state: "SUBMITTED".to_owned(), ..runs("driver-2") };
    let drivers = Known::Known(vec![runs("driver-1"), waits]);
    let recorded = Observed { drivers: drivers.clone(), ..standing(9) };
    bites(
        &usual(),
        &recorded,
        &[
            ("the driver on record", &|p: &mut Plan| p.kill = kill("driver-1", KillWhy::Extra)),
            ("or one of several", &|p| p.kill = kill("driver-1", KillWhy::Stalled)),
            ("leaves several drivers", &|p| p.kill = None),
            ("another state", &|p| p.state = State::Several { ids: vec!["driver-1".to_owned()] }),
            ("does not apply", &|p| p.holds = vec![Hold::Several { ids: Vec::new() }]),
        ],
    );
    let last: (&str, Spoil) = ("the only one that runs", &|p| p.kill = kill("driver-1", KillWhy::Extra));
    for recorded in [None, Some("driver-2".to_owned())] {
        bites(&usual(), &Observed { drivers: drivers.clone(), recorded, ..standing(9) }, &[last]);
    }
}

#[test]
fn plans_that_ask_nobody() {
    let policy = Policy { change: ChangePolicy { approval: Approval::Always, ..Default::default() }, ..usual() };
    let other = |why| Hold::ApprovalRequired { plan_id: "dp-00000000".to_owned(), why };
    bites(
        &policy,
        &gone(90),
        &[
            ("submits without approval", &|p: &mut Plan| p.submit = submit(Why::Missing, &["driver-1", "driver-2"])),
            ("does not apply", &|p| p.holds = vec![other(Cause::Missing)]),
        ],
    );
    bites(
        &policy,
        &standing(301),
        &[
            ("ends a driver without approval", &|p: &mut Plan| p.kill = kill("driver-1", KillWhy::Stalled)),
            ("does not apply", &|p| p.holds = vec![other(Cause::Stalled)]),
            ("does not apply", &|p| p.holds = vec![Hold::WaitingForWindow { next_opening: None }]),
        ],
    );
    let drivers = Known::Known(vec![runs("driver-1"), runs("driver-2")]);
    let several = Observed { drivers, ..standing(9) };
    bites(
        &policy,
        &several,
        &[
            ("ends a driver without approval", &|p: &mut Plan| p.kill = kill("driver-2", KillWhy::Extra)),
            ("does not apply", &|p| p.holds.push(other(Cause::Extra))),
        ],
    );
    assert_eq!(asked(&plan(&policy, &several, at(0))).len(), 1);
}

#[test]
fn what_may_run_elsewhere() {
    let elsewhere = vec![Elsewhere { master: "spark-9:7077".to_owned(), id: Some("driver-1".to_owned()) }];
    let observed = Observed { elsewhere, ..gone(900) };
    let other = Hold::ApprovalRequired { plan_id: "dp-00000000".to_owned(), why: Cause::Elsewhere };
    bites(
        &usual(),
        &observed,
        &[
            ("submits without approval", &|p: &mut Plan| p.submit = submit(Why::Missing, &["driver-1", "driver-2"])),
            ("does not apply", &|p| p.holds = vec![other.clone()]),
        ],
    );
}

#[test]
fn what_another_pipeline_manages_now() {
    let observed = Observed { taken: ["driver-9".to_owned()].into(), ..gone(900) };
    let other = Hold::Taken { ids: ["driver-8".to_owned()].into() };
    bites(
        &usual(),
        &observed,
        &[
            ("that it had before", &|p: &mut Plan| p.submit = submit(Why::Missing, &["driver-1", "driver-2"])),
            ("does not apply", &|p| p.holds = vec![other.clone()]),
        ],
    );
}

#[test]
fn a_class_that_is_given_up() {
    let drivers = Known::Known(vec![runs("driver-1"), runs("driver-2")]);
    let earlier = ["driver-1".to_owned()].into();
    bites(
        &usual(),
        &Observed { drivers, earlier, ..standing(9) },
        &[("a class that is given up", &|p: &mut Plan| p.kill = kill("driver-2", KillWhy::Extra))],
    );
}
