//! Bad plans on purpose: each check must bite.

use super::world::{ago, busy, by_load, driver, idle, member, policy, scaling, unknown, waiting, with};
use crate::NOW;
use crate::planted::bites;
use logwise_plan::behavior::{Changed, Recommended};
use logwise_plan::change::{Approval, ChangePolicy, Window, raise_plan_id};
use logwise_plan::workers::{
    Autoscaling, Hold, HookStep, Member, MemberState, Observed, Obstacle, OpenIntent, Plan, Policy, PoolRef, Progress,
    Protection, Raise, Ranked, Refused, Removal, Risk, ScalingMode, Signal, Size, Sizing, Step, Waiting, WorkerState,
    plan,
};
use logwise_plan::{Known, checks};

fn raise(from: i32, to: i32) -> Option<Raise> {
    Some(Raise { pool: "workers".to_owned(), from, to })
}

fn check<'a>(policy: &'a Policy, observed: &'a Observed) -> impl Fn(&Plan) -> Vec<String> + 'a {
    move |plan| checks::workers::violations(policy, observed, plan, NOW)
}

/// What the plan of other facts breaks of these.
fn found(policy: &Policy, observed: &Observed, plan: &Plan) -> Vec<String> {
    checks::workers::violations(policy, observed, plan, NOW)
}

fn removal(plan: &mut Plan) -> &mut Removal {
    plan.removal.as_mut().unwrap()
}

fn cost(plan: &mut Plan, id: &str, cost: i32) {
    plan.costs.insert(id.to_owned(), cost);
}

fn size(plan: &mut Plan) -> &mut Size {
    plan.size.as_mut().unwrap()
}

#[test]
fn raises_that_ask_nobody() {
    let change = ChangePolicy { approval: Approval::Always, ..ChangePolicy::default() };
    let least = Autoscaling { min_replicas: 4, ..scaling() };
    let policy = Policy { change, ..by_load(least) };
    let observed = idle(2);
    let good = plan(&policy, &observed, NOW);
    let asks = |from, to, plan_id: &str| Hold::ApprovalRequired { from, to, plan_id: plan_id.to_owned() };
    bites(
        &good,
        check(&policy, &observed),
        &[
            ("raises without approval", &|p: &mut Plan| p.raise = raise(2, 4)),
            ("neither acts nor says why", &|p| p.holds.clear()),
            ("although there is room", &|p| p.holds = vec![Hold::Policy]),
            ("does not apply", &|p| p.holds = vec![asks(2, 4, "wp-00000000")]),
            ("does not apply", &|p| p.holds = vec![asks(3, 4, &raise_plan_id("workers", 3, 4))]),
            ("does not apply", &|p| p.holds = vec![asks(2, 2, &raise_plan_id("workers", 2, 2))]),
            ("does not apply", &|p| p.holds.push(Hold::WithinRange)),
        ],
    );
}

#[test]
fn bad_raises() {
    let policy = by_load(scaling());
    let observed = busy(2);
    let good = plan(&policy, &observed, NOW);
    assert_eq!(good.raise, raise(2, 4));
    let waiting = Waiting { instance: "i-1".to_owned(), hook: "drain".to_owned(), token: String::new() };
    bites(
        &good,
        check(&policy, &observed),
        &[
            ("another pool", &|p: &mut Plan| p.raise.as_mut().unwrap().pool = "other".to_owned()),
            ("another desired number", &|p| p.raise = raise(3, 4)),
            ("does not raise", &|p| p.raise = raise(2, 2)),
            ("does not raise", &|p| p.raise = raise(2, 1)),
            ("passes maxReplicas", &|p| p.raise = raise(2, 7)),
            ("the pool's own maximum", &|p| p.raise = raise(2, 11)),
            ("further than is asked for", &|p| p.raise = raise(2, 5)),
            ("further than is asked for", &|p| size(p).wanted = 3),
            ("neither acts nor says why", &|p| p.raise = None),
            ("does not apply", &|p| p.holds.push(Hold::WithinRange)),
            ("does not apply", &|p| p.holds.push(Hold::PoolAbsent)),
            ("does not apply", &|p| p.holds.push(Hold::Disabled)),
            ("does not apply", &|p| p.holds.push(Hold::IntentOpen)),
            ("does not apply", &|p| p.holds.push(Hold::AboveMaximum { desired: 2 })),
            ("does not apply", &|p| p.holds.push(Hold::GroupMaximum { wanted: 4, max_size: 10 })),
            ("does not apply", &|p| p.holds.push(Hold::GroupMinimum { wanted: 4, min_size: 0 })),
            ("does not apply", &|p| p.holds.push(Hold::Unprotected)),
            ("does not apply", &|p| p.holds.push(Hold::Stabilizing { until: NOW })),
            ("does not apply", &|p| p.holds.push(Hold::GateClosed { desired: 2, in_service: 1, others: 1 })),
            ("does not apply", &|p| p.holds.push(Hold::GateClosed { desired: 2, in_service: 2, others: 1 })),
            ("does not apply", &|p| p.holds.push(Hold::DriverHost { id: "i-1".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::WorkerNotInPool { host: "10.0.0.1".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::SignalsMissing { what: "end offsets".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::RecommendOnly { wanted: 4 })),
            ("what needs no protection", &|p| p.protect.push("i-0".to_owned())),
            ("what needs no protection", &|p| p.protect.push("i-9".to_owned())),
            ("more than one call takes", &|p| p.protect = vec!["i-0".to_owned(); 51]),
            ("protects newcomers again", &|p| p.protect_newcomers = true),
            ("deletion costs in a group", &|p| cost(p, "i-1", 0)),
            ("what is given up", &|p| p.abandon = true),
            ("later than it should", &|p| p.next_look_seconds = 31),
            ("later than it should", &|p| p.next_look_seconds = 0),
            ("raises and removes at once", &|p| p.removal = plan(&by_load(scaling()), &idle(3), NOW).removal),
            ("where something runs", &|p| p.hook = Some(HookStep::Complete(waiting.clone()))),
        ],
    );
}

#[test]
fn a_good_raise_is_bad_for_other_facts() {
    let good = plan(&by_load(scaling()), &busy(2), NOW);
    let cases: Vec<(&str, Policy, Observed)> = vec![
        ("the load is not known", by_load(scaling()), Observed { load: Default::default(), ..busy(2) }),
        ("launches fail", by_load(scaling()), {
            let mut failing = busy(2);
            failing.history.backoff_until = Some(ago(-1));
            failing
        }),
        ("budget", by_load(Autoscaling { launches_per_hour: 1, ..scaling() }), busy(2)),
        ("another record", by_load(scaling()), Observed { intent: OpenIntent::Other, ..busy(2) }),
        ("recommended only", by_load(Autoscaling { mode: ScalingMode::Recommend, ..scaling() }), busy(2)),
        ("disabled", by_load(Autoscaling { mode: ScalingMode::Disabled, ..scaling() }), busy(2)),
        ("not managed", policy(Sizing::Unmanaged), busy(2)),
        ("fewer", policy(Sizing::Fixed(3)), busy(2)),
        ("not read", by_load(scaling()), Observed { pool: unknown(), ..busy(2) }),
        ("not there", by_load(scaling()), Observed { pool: Known::Absent, ..busy(2) }),
        ("no master", by_load(scaling()), Observed { cluster: unknown(), ..busy(2) }),
        ("a removal goes on", by_load(scaling()), {
            let removal = plan(&by_load(scaling()), &idle(3), NOW).removal.unwrap();
            Observed { intent: OpenIntent::Removing(removal), ..busy(2) }
        }),
    ];
    let texts = [
        "raises further than is asked for",
        "raises although launches fail",
        "what may be added within an hour",
        "while another record is open",
        "although nothing may be changed",
        "although nothing may be changed",
        "although nothing may be changed",
        "raises further than is asked for",
        "the pool was not read",
        "the pool was not read",
        "for load although the master was not read",
        "what is given up",
    ];
    for ((what, policy, observed), text) in cases.iter().zip(texts) {
        let found = found(policy, observed, &good);
        assert!(found.iter().any(|violation| violation.contains(text)), "{what}: {found:?}");
    }
}

#[test]
fn bad_removals() {
    let policy = by_load(scaling());
    let observed = idle(3);
    let good = plan(&policy, &observed, NOW);
    bites(
        &good,
        check(&policy, &observed),
        &[
            ("a driver's host", &|p: &mut Plan| {
                let removal = removal(p);
                removal.id = "i-0".to_owned();
                removal.address = "10.0.0.0".to_owned();
                (removal.worker, removal.host) = (Some("w-0".to_owned()), Some("10.0.0.0".to_owned()));
            }),
            ("what is not a member", &|p| removal(p).id = "i-9".to_owned()),
            ("without a rank", &|p| p.ranking.clear()),
            ("names another address", &|p| removal(p).address = "10.0.0.2".to_owned()),
            ("the one worker that is there", &|p| removal(p).worker = Some("w-2".to_owned())),
            ("the one worker that is there", &|p| removal(p).worker = None),
            ("the one worker that is there", &|p| removal(p).host = None),
            ("another desired number", &|p| removal(p).from = 4),
            ("by one", &|p| removal(p).to = 1),
            ("by one", &|p| removal(p).to = 3),
            ("too low a floor", &|p| removal(p).floor = 0),
            ("does not cordon first", &|p| removal(p).step = Step::Terminate),
            ("does not cordon first", &|p| removal(p).step = Step::Drain { until: ago(9) }),
            ("although signals are missing", &|p| p.signals.push(Signal::Ends("timed out".to_owned()))),
            ("although signals are missing", &|p| p.size = None),
            ("leaves too few", &|p| size(p).wanted = 3),
            ("a worker that is wanted", &|p| size(p).wanted = 3),
            ("what is given up", &|p| p.abandon = true),
            ("raises and removes at once", &|p| p.raise = raise(3, 4)),
            ("does not apply", &|p| p.holds.push(Hold::BelowTarget { left: 2, needed: 2 })),
            ("does not apply", &|p| p.holds.push(Hold::CordonPending { id: "i-1".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::SecondLook { id: "i-1".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::Refresh)),
            ("does not apply", &|p| p.holds.push(Hold::CordonUnavailable { why: "405".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::EndRefused { why: "403".to_owned() })),
            ("does not apply", &|p| p.holds.push(Hold::Cooldown { until: ago(1) })),
            ("does not apply", &|p| p.holds.push(Hold::Budget { spent: 3, limit: 20 })),
            ("does not apply", &|p| p.holds.push(Hold::WaitingForWindow { next_opening: None })),
        ],
    );
}

#[test]
fn a_cordoned_worker_that_is_left() {
    let policy = by_load(scaling());
    let leave = |p: &mut Plan, hold: Hold| (p.removal, p.holds) = (None, vec![hold]);
    let bite: &str = "leaves a cordoned worker";
    let observed = with(idle(2), |_, cluster| cluster.workers[1].state = WorkerState::Decommissioned);
    let good = plan(&policy, &observed, NOW);
    let few = || Hold::BelowTarget { left: 1, needed: 2 };
    bites(&good, check(&policy, &observed), &[(bite, &|p: &mut Plan| leave(p, few()))]);
    let full = by_load(Autoscaling { max_replicas: 3, ..scaling() });
    let observed = with(busy(3), |_, cluster| cluster.workers[1].state = WorkerState::Decommissioned);
    let good = plan(&full, &observed, NOW);
    bites(&good, check(&full, &observed), &[(bite, &|p: &mut Plan| leave(p, Hold::TimeToLoss))]);
}

#[test]
fn a_group_that_is_within_range_although_more_are_in_service() {
    let policy = by_load(Autoscaling { max_replicas: 2, ..scaling() });
    let observed = with(busy(3), |pool, _| pool.desired = 2);
    let good = plan(&policy, &observed, NOW);
    bites(&good, check(&policy, &observed), &[("does not apply", &|p: &mut Plan| p.holds = vec![Hold::WithinRange])]);
}

/// Facts under which a removal that was right for three idle workers is wrong.
fn wrongs() -> Vec<(&'static str, Observed)> {
    let lost = Risk { age_seconds: 0, retention_seconds: 9, lost: true, shortest_seconds: None };
    let pool = |change: &dyn Fn(&mut logwise_plan::workers::Pool)| with(idle(3), |pool, _| change(pool));
    let cluster = |change: &dyn Fn(&mut logwise_plan::workers::Cluster)| with(idle(3), |_, cluster| change(cluster));
    let other = |change: &dyn Fn(&mut Observed)| {
        let mut observed = idle(3);
        change(&mut observed);
        observed
    };
    vec![
        ("a driver's host", cluster(&|c| c.drivers.push(driver(Some("w-1"))))),
        ("a driver may run anywhere", cluster(&|c| c.drivers.push(driver(None)))),
        ("a driver may run anywhere", cluster(&|c| c.drivers.push(driver(Some("gone"))))),
        ("a worker that a driver may come to", cluster(&|c| c.drivers.push(waiting()))),
        ("the one worker that is there", cluster(&|c| c.workers[2].host = "10.0.0.1".to_owned())),
        ("the one worker that is there", cluster(&|c| c.workers[1].state = WorkerState::Dead)),
        (
            "leaves too few",
            cluster(&|c| {
                c.workers[0].state = WorkerState::Dead;
                c.workers[2].state = WorkerState::Decommissioned;
            }),
        ),
        ("a machine that may be another one", pool(&|p| p.members[2].address = Known::Known("10.0.0.1".to_owned()))),
        ("names another address", pool(&|p| p.members[1].address = unknown())),
        ("what is not a member", pool(&|p| p.members[1].id = "i-7".to_owned())),
        ("members come or go", pool(&|p| p.desired = 4)),
        ("members come or go", pool(&|p| p.members[2].state = MemberState::Pending)),
        ("members come or go", pool(&|p| p.members.push(Member { state: MemberState::Leaving, ..member(5) }))),
        ("stands against it", pool(&|p| p.obstacles = [Obstacle::Refresh].into())),
        ("AWS may end others", pool(&|p| p.members[0].protected = false)),
        ("AWS may end others", pool(&|p| p.newcomers_protected = Known::Known(false))),
        ("leaves too few", pool(&|p| [0, 2].into_iter().for_each(|place| p.members[place].healthy = false))),
        ("leaves too few", pool(&|p| p.min_size = 3)),
        ("the master was not read", other(&|o| o.cluster = unknown())),
        ("although signals are missing", other(&|o| o.load.samples = unknown())),
        ("although signals are missing", other(&|o| o.load.batch = unknown())),
        ("although signals are missing", other(&|o| o.risk = unknown())),
        ("although records are lost", other(&|o| o.risk = Known::Known(lost))),
        ("what may be removed within an hour", other(&|o| o.history.removed_last_hour = 20)),
        (
            "without a cordon",
            other(&|o| o.history.cordon_refused = Some(Refused { why: "405".to_owned(), until: ago(-1) })),
        ),
        (
            "asks again for what was refused",
            other(&|o| o.history.end_refused = Some(Refused { why: "403".to_owned(), until: ago(-1) })),
        ),
        (
            "too soon after workers were added",
            other(&|o| o.history.behavior.changes = vec![Changed { at: ago(599), from: 1, to: 3 }]),
        ),
        (
            "wanted a short time ago",
            other(&|o| o.history.behavior.recommended.push(Recommended { at: ago(9), replicas: 3 })),
        ),
        ("wanted a short time ago", other(&|o| o.history.behavior.recommended.clear())),
        ("while another record is open", other(&|o| o.intent = OpenIntent::Other)),
        (
            "another member than was written down",
            other(&|o| {
                let written = plan(&by_load(scaling()), &idle(3), NOW).removal.unwrap();
                o.intent = OpenIntent::Removing(Removal { id: "i-2".to_owned(), ..written });
            }),
        ),
    ]
}

#[test]
fn a_good_removal_is_bad_for_other_facts() {
    let good = plan(&by_load(scaling()), &idle(3), NOW);
    assert_eq!(found(&by_load(scaling()), &idle(3), &good), Vec::<String>::new());
    for (text, observed) in wrongs() {
        let found = found(&by_load(scaling()), &observed, &good);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text}: {found:?}");
    }
    let noon = vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]];
    let shut = ChangePolicy { windows: noon, ..ChangePolicy::default() };
    let asked = ChangePolicy { approval: Approval::Always, ..ChangePolicy::default() };
    let policies = [
        ("no window is open", Policy { change: shut, ..by_load(scaling()) }),
        ("removes without approval", Policy { change: asked, ..by_load(scaling()) }),
        ("nothing may be changed", by_load(Autoscaling { mode: ScalingMode::Recommend, ..scaling() })),
        ("leaves too few", by_load(Autoscaling { min_replicas: 3, ..scaling() })),
        ("a worker that is wanted", policy(Sizing::Fixed(3))),
    ];
    for (text, policy) in policies {
        let found = found(&policy, &idle(3), &good);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text}: {found:?}");
    }
}

#[test]
fn bad_protection_costs_and_hooks() {
    let bare = with(idle(2), |pool, _| pool.members[1].protected = false);
    let observing = Policy { protection: Protection::Observe, ..by_load(scaling()) };
    let plan_of = |policy: &Policy, observed: &Observed| plan(policy, observed, NOW);
    let good = plan_of(&by_load(scaling()), &bare);
    assert_eq!(good.protect, ["i-1".to_owned()]);
    assert!(found(&observing, &bare, &good).iter().any(|violation| violation.contains("not its to protect")));
    let pods = Policy { pool: PoolRef::Deployment("workers".to_owned()), ..by_load(scaling()) };
    let good = plan_of(&pods, &idle(2));
    bites(
        &good,
        check(&pods, &idle(2)),
        &[
            ("a driver's pod cheaper", &|p: &mut Plan| cost(p, "i-0", 5)),
            ("another pod the cheapest", &|p| cost(p, "i-1", i32::MIN)),
            ("not a member", &|p| cost(p, "i-9", 0)),
            ("not its to protect", &|p| p.protect_newcomers = true),
        ],
    );
    let watched = Policy { size: Sizing::Unmanaged, ..pods };
    let good = plan_of(&watched, &idle(2));
    let anew: &str = "somebody else decides";
    bites(&good, check(&watched, &idle(2)), &[(anew, &|p: &mut Plan| cost(p, "i-0", i32::MAX))]);
    let of_others = with(idle(2), |pool, _| {
        (pool.members[1].cost, pool.members[1].cost_of_others) = (Some(i32::MAX), true);
    });
    let good = plan_of(&watched, &of_others);
    bites(
        &good,
        check(&watched, &of_others),
        &[(anew, &|p: &mut Plan| cost(p, "i-1", 0)), ("that somebody else has set", &|p| cost(p, "i-1", 0))],
    );
    let leaving = with(idle(2), |pool, _| pool.members[1].state = MemberState::Leaving);
    let waiting = Waiting { instance: "i-1".to_owned(), hook: "drain".to_owned(), token: String::new() };
    let good = plan_of(&by_load(scaling()), &leaving);
    bites(
        &good,
        check(&by_load(scaling()), &leaving),
        &[("where something runs", &|p: &mut Plan| p.hook = Some(HookStep::Complete(waiting.clone())))],
    );
    let mut late = idle(2);
    late.load.batch = Known::Known(Progress { id: 8, age_seconds: 20 });
    let held = plan_of(&by_load(scaling()), &late);
    assert_eq!((held.removal, &held.holds[..]), (None, &[Hold::Compaction { batch: 9 }][..]));
    assert_eq!(held.ranking.first().map(|Ranked { id, .. }| id.as_str()), Some("i-1"));
}
