//! What holds for any pool, any master and any load.

use super::world::{ago, by_load, known, member, planned, policy, steady, unknown, worker};
use crate::NOW;
use logwise_plan::behavior::{Behavior, Changed, History, Recommended};
use logwise_plan::change::{Approval, ChangePolicy, Window, raise_plan_id};
use logwise_plan::workers::{
    Autoscaling, Cluster, DriverAt, FailedLaunch, Hold, Load, Member, MemberState, Observed, Obstacle, OpenIntent,
    Past, Plan, Policy, Pool, PoolRef, Progress, Protection, Refused, Removal, Risk, ScalingMode, Seen, Sizing, Step,
    Worker, WorkerState, confirm, plan, wanted,
};
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

/// The usual value nine times of ten.
fn mostly<T: Clone + std::fmt::Debug + 'static>(usual: T, others: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![9 => Just(usual), 1 => proptest::sample::select(others)]
}

prop_compose! {
    fn a_member(place: usize)(
        state in mostly(
            MemberState::InService,
            vec![MemberState::Pending, MemberState::Leaving, MemberState::Other("Standby".to_owned())],
        ),
        healthy in mostly(true, vec![false]),
        protected in prop_oneof![19 => Just(true), 1 => Just(false)],
        address in mostly(
            Known::Known(format!("10.0.0.{place}")),
            vec![unknown(), Known::Absent, Known::Known("10.0.0.1".to_owned())],
        ),
        zone in proptest::option::of(proptest::sample::select(vec!["a".to_owned(), "b".to_owned()])),
        current_template in any::<bool>(),
        age in proptest::option::of(0..400i64),
        cost in proptest::option::of(proptest::sample::select(vec![i32::MIN, i32::MAX, 0, 7])),
        cost_of_others in mostly(false, vec![true]),
        replica_set in mostly(Some("one".to_owned()), vec![None, Some("two".to_owned())]),
    ) -> Member {
        let since = age.map(ago);
        let machine = Member { state, healthy, protected, address, zone, current_template, since, ..member(place) };
        Member { cost, cost_of_others, replica_set, ..machine }
    }
}

prop_compose! {
    fn a_worker(place: usize)(
        state in mostly(
            WorkerState::Alive,
            vec![WorkerState::Decommissioned, WorkerState::Dead, WorkerState::Other("UNKNOWN".to_owned())],
        ),
        cores in 1..5i32,
        cores_used in 0..3i32,
        tasks in prop_oneof![4 => (0..4i32).prop_map(Known::Known), 1 => Just(unknown()), 1 => Just(Known::Known(-3))],
        host in mostly(
            format!("10.0.0.{place}"),
            vec!["10.0.0.2".to_owned(), "10.9.9.9".to_owned(), "name".to_owned(), format!("::ffff:10.0.0.{place}")],
        ),
    ) -> Worker {
        Worker { state, cores, cores_used, tasks, host, ..worker(place) }
    }
}

fn drivers(number: usize) -> impl Strategy<Value = Vec<DriverAt>> {
    let worker = prop_oneof![
        18 => (0..number.max(1)).prop_map(|place| ("RUNNING", Some(format!("w-{place}")))),
        2 => proptest::sample::select(vec![("RUNNING", None), ("RUNNING", Some("gone".to_owned()))]),
        1 => Just(("SUBMITTED", None)),
    ];
    let all = proptest::collection::vec(worker, 0..3);
    let driver = |(place, (state, worker)): (usize, (&str, Option<String>))| DriverAt {
        id: format!("driver-{place}"),
        state: state.to_owned(),
        worker,
    };
    all.prop_map(move |all| all.into_iter().enumerate().map(driver).collect())
}

prop_compose! {
    fn a_pool(number: usize)(
        members in (0..number).map(a_member).collect::<Vec<_>>(),
        desired in prop_oneof![4 => Just(i32::try_from(number).unwrap()), 1 => 0..8i32],
        min_size in 0..4i32,
        max_size in 4..12i32,
        newcomers_protected in mostly(Known::Known(true), vec![Known::Known(false), unknown()]),
        obstacles in mostly(
            BTreeSet::new(),
            vec![
                BTreeSet::from([Obstacle::Refresh, Obstacle::Unread("throttled".to_owned())]),
                BTreeSet::from([Obstacle::Suspended("Launch".to_owned()), Obstacle::Rebalance]),
            ],
        ),
    ) -> Pool {
        let failed_launch =
            (max_size == 7).then(|| FailedLaunch { at: ago(1_800), text: "no capacity".to_owned() });
        Pool { min_size, max_size, desired, members, newcomers_protected, obstacles, failed_launch, hook: None }
    }
}

fn a_cluster(number: usize) -> impl Strategy<Value = Known<Cluster>> {
    let workers: Vec<_> = (0..number).map(a_worker).collect();
    let all = (workers, drivers(number)).prop_map(|(workers, drivers)| {
        let url = "spark://master:7077".to_owned();
        Known::Known(Cluster { url, workers, drivers, app_cores: None })
    });
    prop_oneof![19 => all, 1 => Just(unknown())]
}

prop_compose! {
    fn a_load()(
        samples in prop_oneof![
            6 => (0..9_000i64, 0..1_000_000i64).prop_map(|(rate, unread)| steady(rate, unread)),
            3 => (0..90_000i64, 0..40_000_000i64).prop_map(|(rate, unread)| steady(rate, unread)),
            1 => Just(unknown()),
        ],
        batch in prop_oneof![
            9 => (0..30i64, 0..600i64).prop_map(|(id, age_seconds)| Known::Known(Progress { id, age_seconds })),
            1 => Just(unknown()),
        ],
        partitions in prop_oneof![
            4 => Just(Known::Known(64)),
            1 => (1..9i32).prop_map(Known::Known),
            1 => Just(unknown()),
        ],
    ) -> Load {
        Load { samples, batches: Vec::new(), partitions, batch }
    }
}

prop_compose! {
    fn a_past()(
        recommended in proptest::collection::vec((0..3_600i64, 0..8i32), 0..3),
        changes in proptest::collection::vec((0..3_600i64, 0..8i32, 0..8i32), 0..3),
        launched_last_hour in 0..8i32,
        removed_last_hour in 0..4i32,
        backoff in proptest::option::weighted(0.1, -60..60i64),
        refused in proptest::option::weighted(0.1, -60..60i64),
        stays in proptest::option::weighted(0.1, -60..60i64),
    ) -> Past {
        let mut recommended: Vec<_> =
            recommended.into_iter().map(|(second, replicas)| Recommended { at: ago(second), replicas }).collect();
        recommended.sort_by_key(|one| one.at);
        let mut changes: Vec<_> =
            changes.into_iter().map(|(second, from, to)| Changed { at: ago(second), from, to }).collect();
        changes.sort_by_key(|one| one.at);
        Past {
            behavior: History { recommended, changes },
            launched_last_hour,
            removed_last_hour,
            backoff_until: backoff.map(ago),
            cordon_refused: refused.map(|second| Refused { why: "405".to_owned(), until: ago(second) }),
            end_refused: stays.map(|second| Refused { why: "403".to_owned(), until: ago(second) }),
        }
    }
}

/// The record of a removal, of what is there or of what was.
fn an_intent(number: usize) -> impl Strategy<Value = OpenIntent> {
    let step = proptest::sample::select(vec![
        Step::Cordon,
        Step::Drain { until: ago(30) },
        Step::Drain { until: ago(-30) },
        Step::Terminate,
    ]);
    let removing = (0..number.max(1), step, 0..4i32, mostly(0, vec![1])).prop_map(move |(place, step, floor, off)| {
        let from = i32::try_from(number).unwrap() + off;
        OpenIntent::Removing(Removal {
            id: format!("i-{place}"),
            address: format!("10.0.0.{place}"),
            worker: Some(format!("w-{place}")),
            host: Some(format!("10.0.0.{place}")),
            from,
            to: from - 1,
            floor,
            step,
        })
    });
    prop_oneof![6 => Just(OpenIntent::None), 3 => removing, 1 => Just(OpenIntent::Other)]
}

fn observed() -> impl Strategy<Value = Observed> {
    (0..6usize).prop_flat_map(|number| {
        let pool = prop_oneof![
            19 => a_pool(number).prop_map(Known::Known),
            1 => Just(unknown()),
            1 => Just(Known::Absent),
        ];
        let ages = (0..3_700i64, mostly(false, vec![true]), proptest::option::of(600..3_600i64));
        let kept = |(age_seconds, lost, shortest_seconds)| {
            Known::Known(Risk { age_seconds, retention_seconds: 3_600, lost, shortest_seconds })
        };
        let risk = prop_oneof![
            2 => ages.prop_map(kept),
            9 => Just(kept((60, false, None))),
            1 => Just(unknown()),
        ];
        (pool, a_cluster(number), a_load(), risk, a_past(), an_intent(number), any::<bool>()).prop_map(
            |(pool, mut cluster, load, risk, history, intent, is_cordoned)| {
                if is_cordoned {
                    cordon(&mut cluster, &intent);
                }
                Observed { pool, cluster, load, risk, history, intent }
            },
        )
    })
}

/// The worker of the record is cordoned.
fn cordon(cluster: &mut Known<Cluster>, intent: &OpenIntent) {
    let (Known::Known(cluster), OpenIntent::Removing(removal)) = (cluster, intent) else { return };
    let workers = cluster.workers.iter_mut().filter(|worker| Some(&worker.id) == removal.worker.as_ref());
    workers.for_each(|worker| worker.state = WorkerState::Decommissioned);
}

prop_compose! {
    fn a_scaling()(
        mode in mostly(ScalingMode::Automatic, vec![ScalingMode::Recommend, ScalingMode::Disabled]),
        min_replicas in 0..4i32,
        max_replicas in 0..9i32,
        cores_per_worker in proptest::option::of(1..5i32),
        window in proptest::sample::select(vec![0u32, 0, 300, 1_800]),
        percent in proptest::sample::select(vec![25, 100]),
        cooldown_seconds in proptest::sample::select(vec![0u32, 0, 600]),
        cores_max in proptest::option::weighted(0.2, 1..12i32),
        driver_cores in 0..3i32,
        launches_per_hour in 1..12i32,
        removals_per_hour in 1..6i32,
    ) -> Sizing {
        let mut behavior = Behavior::default();
        behavior.scale_down.stabilization_window_seconds = window;
        behavior.scale_down.policies[0].value = percent;
        Sizing::Load(Box::new(Autoscaling {
            mode, min_replicas, max_replicas, cores_per_worker, cooldown_seconds, behavior, cores_max, driver_cores,
            launches_per_hour, removals_per_hour, ..Autoscaling::default()
        }))
    }
}

prop_compose! {
    fn a_policy()(
        size in prop_oneof![6 => a_scaling(), 2 => (0..7i32).prop_map(Sizing::Fixed), 1 => Just(Sizing::Unmanaged)],
        deployment in any::<bool>(),
        protection in mostly(Protection::Manage, vec![Protection::Observe]),
        approval in mostly(Approval::DestructiveOnly, vec![Approval::Always]),
        (from, by) in (0..8i32, -1..3i32),
        closed in mostly(false, vec![true]),
    ) -> Policy {
        let name = "workers".to_owned();
        let noon = || vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]];
        let windows = if closed { noon() } else { Vec::new() };
        let approved_plans = [raise_plan_id("workers", from, from + by)].into();
        let change = ChangePolicy { approval, approved_plans, windows, ..ChangePolicy::default() };
        let pool = if deployment { PoolRef::Deployment(name) } else { PoolRef::AutoScalingGroup(name) };
        Policy { pool, change, protection, ..policy(size) }
    }
}

/// The same facts, told in another order.
fn shuffled(observed: &Observed) -> Observed {
    let mut other = observed.clone();
    if let Known::Known(pool) = &mut other.pool {
        pool.members.reverse();
    }
    if let Known::Known(cluster) = &mut other.cluster {
        let half = cluster.workers.len() / 2;
        cluster.workers.rotate_left(half);
        cluster.drivers.reverse();
    }
    other
}

/// Each of the signals, lost.
fn without_one(observed: &Observed) -> Vec<Observed> {
    let lost = |change: &dyn Fn(&mut Observed)| {
        let mut other = observed.clone();
        change(&mut other);
        other
    };
    vec![
        lost(&|o| o.pool = unknown()),
        lost(&|o| o.cluster = unknown()),
        lost(&|o| o.load.samples = unknown()),
        lost(&|o| o.load.batch = unknown()),
        lost(&|o| o.risk = unknown()),
    ]
}

/// Workers that the load asks for, reckoned in one go; with fractions of workers.
fn asked(scaling: &Autoscaling, rate: f64, unread: f64, cores_per_worker: f64) -> f64 {
    let late = (unread - rate * f64::from(scaling.delay_seconds) / 2.0).max(0.0);
    let demand = rate * 100.0 / f64::from(scaling.target_utilization_percent);
    let cores = (demand + late / f64::from(scaling.catch_up_seconds)) / 8_300.0;
    (cores + f64::from(scaling.driver_cores)) / cores_per_worker
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_plan_passes_the_checks(policy in a_policy(), observed in observed()) {
        let plan = plan(&policy, &observed, NOW);
        let violations = checks::workers::violations(&policy, &observed, &plan, NOW);
        prop_assert_eq!(violations, Vec::<String>::new(), "{:#?}", plan);
    }

    #[test]
    fn equal_facts_give_equal_plans(policy in a_policy(), observed in observed()) {
        prop_assert_eq!(plan(&policy, &observed, NOW), plan(&policy, &shuffled(&observed), NOW));
    }

    #[test]
    fn a_lost_signal_removes_nothing(policy in a_policy(), observed in observed()) {
        let by_load = matches!(policy.size, Sizing::Load(_));
        for other in without_one(&observed) {
            let needs = by_load || !matches!((&other.pool, &other.cluster), (Known::Known(_), Known::Known(_)));
            prop_assert!(!needs || plan(&policy, &other, NOW).removal.is_none());
        }
    }

    #[test]
    fn desired_numbers_are_only_raised_and_stay_in_every_range(policy in a_policy(), observed in observed()) {
        let Some(raise) = plan(&policy, &observed, NOW).raise else { return Ok(()) };
        let pool = known(&observed.pool);
        prop_assert!(raise.from == pool.desired && raise.to > raise.from && raise.to <= pool.max_size);
        if let Sizing::Load(scaling) = &policy.size {
            prop_assert!(raise.to <= scaling.max_replicas);
        }
    }

    #[test]
    fn a_floor_that_was_reached_is_not_raised_again(policy in a_policy(), observed in observed()) {
        let mut blind = Observed { load: Load::default(), ..observed };
        let Some(raise) = plan(&policy, &blind, NOW).raise else { return Ok(()) };
        // Instances on their way count: what matters is the desired number.
        if let Known::Known(pool) = &mut blind.pool {
            pool.desired = raise.to;
        }
        prop_assert_eq!(plan(&policy, &blind, NOW).raise, None);
    }

    #[test]
    fn approval_and_windows_change_nothing_but_when(policy in a_policy(), observed in observed()) {
        let free = Policy { change: ChangePolicy::default(), ..policy.clone() };
        let (held, free) = (plan(&policy, &observed, NOW), plan(&free, &observed, NOW));
        let asked = held.holds.iter().find_map(|hold| match hold {
            Hold::ApprovalRequired { from, to, .. } => Some((*from, *to)),
            _ => None,
        });
        let waits = held.holds.iter().any(|hold| matches!(hold, Hold::WaitingForWindow { .. }));
        let change = |plan: &Plan| {
            let raise = plan.raise.as_ref().map(|raise| (raise.from, raise.to));
            raise.or(plan.removal.as_ref().map(|removal| (removal.from, removal.to)))
        };
        if observed.intent != OpenIntent::Other {
            prop_assert!(change(&held).or(asked) == change(&free) || (waits && free.removal.is_some()), "{:?}", held);
        }
        prop_assert!(!waits || held.raise.is_none());
    }

    #[test]
    fn what_is_wanted_is_what_the_formula_says(
        rate in 0..200_000i32,
        unread in 0..900_000_000i32,
        cores in 1..9i32,
        driver_cores in 0..3i32,
    ) {
        let cores_per_worker = Some(cores);
        let scaling = Autoscaling { cores_per_worker, driver_cores, max_replicas: 1_000, ..Autoscaling::default() };
        let samples = steady(rate.into(), unread.into());
        let load = Load { samples, partitions: unknown(), ..super::world::load(0, 0) };
        let observed = Observed { load, ..super::world::idle(1) };
        let size = wanted(&by_load(scaling.clone()), &scaling, &observed, NOW).unwrap();
        prop_assert_eq!((size.incoming, size.backlog), (i64::from(rate), i64::from(unread)));
        let exact = asked(&scaling, rate.into(), unread.into(), cores.into());
        // Whole records and cores: up to a core more, and up to one worker more for it.
        let (least, most) = (exact - 1e-6, exact + 2.0 / f64::from(cores) + 1.0);
        let urgent = size.clamps.contains(&logwise_plan::workers::Clamp::TimeToLoss);
        let number = f64::from(size.wanted);
        prop_assert!(number >= least && (number <= most || urgent), "{} of {}", number, exact);
    }

    #[test]
    fn whatever_is_ended_was_cordoned_and_is_no_drivers_host(policy in a_policy(), observed in observed()) {
        let OpenIntent::Removing(removal) = &observed.intent else { return Ok(()) };
        let seen = Seen {
            pool: observed.pool.clone(),
            cluster: observed.cluster.clone(),
            page_after_cordon: true,
            same_master: true,
            draining_since: Some(ago(10)),
        };
        if confirm(&policy, removal, &seen).is_err() {
            return Ok(());
        }
        let (pool, cluster) = (known(&observed.pool), known(&observed.cluster));
        let here = cluster.workers.iter().filter(|worker| worker.host.ends_with(removal.address.as_str()));
        let here: Vec<&Worker> = here.filter(|worker| worker.state != WorkerState::Dead).collect();
        prop_assert!(here.len() == 1 && here[0].state == WorkerState::Decommissioned, "{:?}", here);
        prop_assert!(cluster.drivers.iter().all(|driver| driver.worker.as_ref() != Some(&here[0].id)));
        let is_somewhere = |driver: &DriverAt| driver.worker.is_some() || driver.state == "SUBMITTED";
        prop_assert!(cluster.drivers.iter().all(is_somewhere), "one may be anywhere");
        prop_assert!(pool.members.iter().all(|member| member.state == MemberState::InService));
        prop_assert!(pool.desired == removal.from && pool.obstacles.is_empty());
        let doubted = [Seen { page_after_cordon: false, ..seen.clone() }, Seen { same_master: false, ..seen }];
        prop_assert!(doubted.iter().all(|seen| confirm(&policy, removal, seen).is_err()));
    }
}

#[test]
fn the_facts_are_varied_enough() {
    let (mut runner, mut counts) = (TestRunner::deterministic(), [0; 6]);
    let strategy = (a_policy(), observed());
    for _ in 0..6_000 {
        let (policy, observed) = strategy.new_tree(&mut runner).unwrap().current();
        let plan = planned(&policy, &observed);
        let seen = [
            plan.raise.is_some(),
            plan.removal.is_some(),
            plan.abandon,
            !plan.protect.is_empty(),
            !plan.costs.is_empty(),
            plan.removal.is_some_and(|removal| removal.step != Step::Cordon),
        ];
        counts.iter_mut().zip(seen).for_each(|(count, seen)| *count += i32::from(seen));
    }
    let least = [200, 60, 100, 50, 100, 5];
    assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{counts:?} of {least:?}");
}
