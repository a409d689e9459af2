//! More and fewer workers, by example.

use super::world::{
    LITTLE, MUCH, ago, busy, by_load, driver, floor, idle, known, load, member, planned, policy, pool, raised, scaling,
    steady, unknown, victim, with,
};
use crate::NOW;
use logwise_plan::Known;
use logwise_plan::behavior::{Changed, Recommended, Select};
use logwise_plan::workers::{
    Autoscaling, Batch, Clamp, Hold, HookStep, MemberState, Observed, Obstacle, OpenIntent, Policy, PoolRef, Progress,
    Protection, Raise, Removal, Risk, ScalingMode, Signal, Sizing, Step, Waiting, WorkerState, plan, wanted,
};
use std::collections::BTreeMap;

fn fixed(number: i32) -> Policy {
    policy(Sizing::Fixed(number))
}

/// The record of the removal that is planned for these facts, come so far.
fn removing(observed: &Observed, step: Step) -> OpenIntent {
    let removal = planned(&by_load(scaling()), observed).removal.unwrap();
    OpenIntent::Removing(Removal { step, ..removal })
}

#[test]
fn load_adds_workers_as_far_as_behavior_lets_it() {
    let plan = planned(&by_load(scaling()), &busy(1));
    assert_eq!(raised(&plan), Some((1, 4)), "four more a minute would be allowed");
    let size = plan.size.unwrap();
    assert_eq!((size.wanted, size.recommended, size.incoming, size.backlog), (4, 4, MUCH, 1_000));
    assert!(!size.per_core_measured && size.per_core == 8_300 && size.cores_per_worker == 2);
    let mut slow = scaling();
    slow.behavior.scale_up.policies.truncate(1);
    let plan = planned(&by_load(slow), &busy(1));
    assert_eq!((raised(&plan), &plan.holds[..]), (Some((1, 2)), &[Hold::Policy][..]));
    let mut calm = busy(1);
    calm.history.behavior.recommended.push(Recommended { at: ago(60), replicas: 1 });
    let plan = planned(&by_load(scaling()), &calm);
    let until = NOW + jiff::SignedDuration::from_secs(60);
    assert_eq!((raised(&plan), plan.holds), (None, vec![Hold::Stabilizing { until }]));
}

#[test]
fn what_is_late_asks_for_more_than_what_comes_in() {
    let late = Observed { load: load(LITTLE, 150_000 + 1_200 * 8_300 * 3), ..idle(1) };
    // 1,429 and 24,900 records a second take four cores, the driver one.
    assert_eq!(planned(&by_load(scaling()), &late).size.unwrap().wanted, 3);
    let mut soon = late.clone();
    soon.risk = Known::Known(Risk { age_seconds: 0, retention_seconds: 1_500, lost: false, shortest_seconds: None });
    assert_eq!(planned(&by_load(scaling()), &soon).size.unwrap().wanted, 4, "it has to be read within 600 s");
    // Another topic keeps its records for longer, and loses them sooner.
    let both = Risk { age_seconds: 85_000, retention_seconds: 86_400, lost: false, shortest_seconds: Some(1_500) };
    soon.risk = Known::Known(both);
    assert_eq!(planned(&by_load(scaling()), &soon).size.unwrap().wanted, 4, "the shortest retention of all counts");
    let usual = Observed { load: load(LITTLE, 150_000), ..idle(1) };
    assert_eq!(planned(&by_load(scaling()), &usual).size.unwrap().wanted, 1, "half of the delay may wait");
}

#[test]
fn a_measured_rate_counts_and_an_unbelievable_one_is_named() {
    let batches = |records| {
        let batch =
            |id: i64| Batch { id, records, started: ago(600 - id * 60), committed: ago(590 - id * 60), cores: 2 };
        (0..5).map(batch).collect::<Vec<_>>()
    };
    let mut observed = busy(1);
    observed.load.batches = batches(400_000);
    let size = planned(&by_load(scaling()), &observed).size.unwrap();
    assert!(size.per_core_measured && (size.per_core, size.wanted) == (20_000, 2), "{size:?}");
    observed.load.batches = batches(4_000_000);
    let plan = planned(&by_load(scaling()), &observed);
    assert!(matches!(plan.signals[..], [Signal::Implausible(_)]), "{:?}", plan.signals);
    assert_eq!(raised(&plan), Some((1, 4)), "the spec's number is used");
}

#[test]
fn what_the_job_cannot_use_is_not_asked_for() {
    let with = |change: &dyn Fn(&mut Autoscaling, &mut Observed)| {
        let (mut scaling, mut observed) = (scaling(), busy(1));
        change(&mut scaling, &mut observed);
        planned(&by_load(scaling), &observed).size.unwrap()
    };
    let of_job = with(&|scaling, _| scaling.cores_max = Some(3));
    assert_eq!((of_job.wanted, of_job.clamps), (2, vec![Clamp::CoresMax]));
    let of_topics = with(&|_, observed| observed.load.partitions = Known::Known(1));
    assert_eq!((of_topics.wanted, of_topics.clamps), (1, vec![Clamp::Partitions]));
    let bounds = with(&|scaling, _| (scaling.min_replicas, scaling.max_replicas) = (2, 3));
    assert_eq!((bounds.wanted, bounds.clamps), (3, vec![Clamp::MaxReplicas]));
    let urgent = with(&|scaling, observed| {
        scaling.cores_max = Some(1);
        observed.risk =
            Known::Known(Risk { age_seconds: 3_000, retention_seconds: 3_600, lost: false, shortest_seconds: None });
    });
    assert_eq!((urgent.wanted, urgent.clamps), (1, vec![Clamp::CoresMax, Clamp::TimeToLoss]), "one core needs no more");
    let driverless = with(&|scaling, _| scaling.driver_cores = 0);
    assert_eq!(driverless.wanted, 4, "seven cores for executors");
}

#[test]
fn records_near_their_end_do_not_wait() {
    let mut observed = idle(2);
    observed.risk =
        Known::Known(Risk { age_seconds: 1_300, retention_seconds: 3_600, lost: false, shortest_seconds: None });
    observed.history.behavior.recommended.push(Recommended { at: ago(10), replicas: 2 });
    let plan = planned(&by_load(scaling()), &observed);
    assert_eq!(raised(&plan), Some((2, 3)), "past the window");
    assert_eq!(plan.size.as_ref().and_then(|size| size.time_to_loss_seconds), Some(2_300));
    assert!(plan.size.unwrap().clamps.contains(&Clamp::TimeToLoss));
    observed.history.launched_last_hour = 100;
    let plan = planned(&by_load(scaling()), &observed);
    assert_eq!((plan.raise, plan.holds), (None, vec![Hold::Budget { spent: 100, limit: 100 }]));
    let mut many = idle(6);
    many.risk = Known::Known(Risk { age_seconds: 0, retention_seconds: 3_600, lost: true, shortest_seconds: None });
    let plan = planned(&by_load(scaling()), &many);
    assert_eq!((plan.raise, plan.removal, plan.holds), (None, None, vec![Hold::WithinRange]), "there are six of six");
}

#[test]
fn one_worker_too_many_goes_and_never_the_drivers() {
    let plan = planned(&by_load(scaling()), &idle(3));
    let removal = plan.removal.clone().unwrap();
    let expected = Removal {
        id: "i-1".to_owned(),
        address: "10.0.0.1".to_owned(),
        worker: Some("w-1".to_owned()),
        host: Some("10.0.0.1".to_owned()),
        from: 3,
        to: 2,
        floor: 2,
        step: Step::Cordon,
    };
    assert_eq!(removal, expected, "it has the fewest tasks of those without a driver");
    assert_eq!(plan.ranking.len(), 3);
    let alone = planned(&by_load(scaling()), &with(idle(2), |_, cluster| cluster.drivers.push(driver(Some("w-1")))));
    assert_eq!((victim(&alone), &alone.holds[..]), (None, &[Hold::DriverHost { id: "i-0".to_owned() }][..]));
    for on in [None, Some("w-9")] {
        let lost = with(idle(3), |_, cluster| cluster.drivers.push(driver(on)));
        let plan = planned(&by_load(scaling()), &lost);
        let unknown = [Hold::DriverHost { id: "unknown".to_owned() }];
        assert_eq!((victim(&plan), &plan.holds[..]), (None, &unknown[..]), "{on:?}");
    }
}

#[test]
fn what_keeps_the_surplus_is_named() {
    let dead = with(idle(2), |_, cluster| cluster.workers[1].state = WorkerState::Dead);
    for policy in [by_load(scaling()), fixed(1)] {
        let plan = planned(&policy, &dead);
        assert_eq!((victim(&plan), &plan.holds[..]), (None, &[Hold::NoEffect { missing: 1 }][..]), "nothing to cordon");
    }
    let standby = with(idle(3), |pool, _| {
        (pool.desired, pool.members[2].state) = (2, MemberState::Other("Standby".to_owned()));
    });
    let plan = planned(&by_load(scaling()), &standby);
    assert_eq!(plan.holds, [Hold::GateClosed { desired: 2, in_service: 2, others: 1 }]);
}

#[test]
fn nothing_goes_that_was_wanted_within_the_window() {
    let mut observed = idle(3);
    observed.history.behavior.recommended.push(Recommended { at: ago(1_799), replicas: 3 });
    let plan = planned(&by_load(scaling()), &observed);
    assert!(matches!(plan.holds[..], [Hold::Stabilizing { .. }]), "{:?}", plan.holds);
    observed.history.behavior.recommended.clear();
    let plan = planned(&by_load(scaling()), &observed);
    assert!(plan.removal.is_none(), "a start without memory waits a window");
    let mut fixed = scaling();
    fixed.behavior.scale_down.select_policy = Select::Disabled;
    assert_eq!(planned(&by_load(fixed), &idle(3)).holds, [Hold::ScaleInDisabled]);
}

#[test]
fn after_a_change_there_is_a_pause_and_a_step_is_one_change() {
    let holds = |changes: &[(i64, i32, i32)]| {
        let mut observed = idle(6);
        let changed = |(second, from, to): &(i64, i32, i32)| Changed { at: ago(*second), from: *from, to: *to };
        observed.history.behavior.changes = changes.iter().map(changed).collect();
        let mut any = scaling();
        any.behavior.scale_down.policies[0].value = 100;
        planned(&by_load(any), &observed).holds
    };
    let until = |seconds: i64| Hold::Cooldown { until: ago(-seconds) };
    let none: [Hold; 0] = [];
    assert_eq!(holds(&[(599, 5, 6)]), [until(1)]);
    assert_eq!(holds(&[(600, 5, 6)]), none);
    assert_eq!(holds(&[(500, 9, 8), (100, 8, 7)]), none, "the step goes on");
    assert_eq!(holds(&[(700, 9, 8), (150, 8, 7)]), [until(450)], "the step is over");
    assert_eq!(holds(&[(1_300, 9, 8), (200, 8, 7)]), none, "a new step");
    assert_eq!(holds(&[(500, 9, 8), (100, 7, 9)]), [until(500)]);
}

#[test]
fn a_removal_goes_on_step_by_step() {
    let policy = by_load(scaling());
    let out = |observed: Observed| with(observed, |_, cluster| cluster.workers[1].state = WorkerState::Decommissioned);
    let begun = Observed { intent: removing(&idle(3), Step::Cordon), ..idle(3) };
    let plan = planned(&policy, &begun);
    assert_eq!((victim(&plan), &plan.holds[..]), (Some("i-1"), &[Hold::CordonPending { id: "i-1".to_owned() }][..]));
    let cordoned = out(begun.clone());
    let plan = planned(&policy, &cordoned);
    assert_eq!((victim(&plan), &plan.holds[..]), (Some("i-1"), &[Hold::SecondLook { id: "i-1".to_owned() }][..]));
    assert_eq!(plan.removal.unwrap().step, Step::Cordon, "asked again: another master may have taken over");
    let until = ago(-300);
    let draining = Observed { intent: removing(&idle(3), Step::Drain { until }), ..out(idle(3)) };
    let plan = planned(&policy, &draining);
    let hold = Hold::Draining { id: "i-1".to_owned(), tasks: 1, until };
    assert_eq!((plan.removal.unwrap().step, plan.holds), (Step::Drain { until }, vec![hold]));
    let over = Observed { intent: removing(&idle(3), Step::Drain { until: NOW }), ..out(idle(3)) };
    assert_eq!(planned(&policy, &over).removal.unwrap().step, Step::Terminate);
    let mut compacts = over;
    compacts.load.batch = Known::Known(Progress { id: 8, age_seconds: 20 });
    assert_eq!(planned(&policy, &compacts).removal.unwrap().step, Step::Drain { until: NOW });
    let lost = Observed { intent: removing(&idle(3), Step::Drain { until }), ..idle(3) };
    let plan = planned(&policy, &lost);
    assert_eq!(
        (plan.removal.unwrap().step, plan.holds),
        (Step::Cordon, vec![Hold::CordonLost { id: "i-1".to_owned() }])
    );
}

#[test]
fn a_removal_is_given_up_when_it_is_not_right_any_more() {
    let policy = by_load(scaling());
    let open = removing(&idle(3), Step::Cordon);
    let landed = with(idle(3), |_, cluster| cluster.drivers[0].worker = Some("w-1".to_owned()));
    let given_up = |observed: Observed| {
        let plan = planned(&policy, &Observed { intent: open.clone(), ..observed });
        assert!(plan.abandon && plan.removal.is_none(), "{plan:?}");
        plan
    };
    let holds = given_up(landed).holds;
    let expected = Hold::DriverLanded { id: "i-1".to_owned(), driver: "driver-1".to_owned() };
    assert!(holds.contains(&expected), "{holds:?}");
    let more = given_up(busy(3));
    assert_eq!(raised(&more), Some((3, 4)), "more workers come first");
    let cordoned = with(busy(3), |_, cluster| cluster.workers[1].state = WorkerState::Decommissioned);
    assert_eq!(raised(&given_up(cordoned)), Some((3, 5)), "a cordoned one is replaced");
    for (what, changed) in [
        ("desired number", with(idle(3), |pool, _| pool.desired = 4)),
        ("member", with(idle(3), |pool, _| pool.members[1].id = "i-9".to_owned())),
        ("address", with(idle(3), |pool, _| pool.members[1].address = Known::Known("10.0.0.7".to_owned()))),
        ("state", with(idle(3), |pool, _| pool.members[1].state = MemberState::Leaving)),
        ("worker", with(idle(3), |_, cluster| cluster.workers[1].state = WorkerState::Dead)),
        ("two workers", with(idle(3), |_, cluster| cluster.workers[2].host = "10.0.0.1".to_owned())),
        ("master", Observed { cluster: unknown(), ..idle(3) }),
        ("pool", Observed { pool: unknown(), ..idle(3) }),
        ("no pool", Observed { pool: Known::Absent, ..idle(3) }),
        ("risk", Observed { risk: unknown(), ..idle(3) }),
        ("load", Observed { load: Default::default(), ..idle(3) }),
    ] {
        assert!(given_up(changed).raise.is_none(), "{what}");
    }
    let recommend = by_load(Autoscaling { mode: ScalingMode::Recommend, ..scaling() });
    let plan = planned(&recommend, &Observed { intent: open, ..idle(3) });
    assert!(plan.abandon && plan.removal.is_none(), "{plan:?}");
}

#[test]
fn a_desired_number_that_an_older_call_has_lowered_is_raised_to_what_is_in_service() {
    let lowered = || with(idle(3), |pool, _| pool.desired = 2);
    let policy = by_load(scaling());
    let plan = planned(&policy, &lowered());
    assert_eq!((raised(&plan), victim(&plan)), (Some((2, 3)), None));
    for (what, observed) in [
        ("unprotected", with(lowered(), |pool, _| pool.members[0].protected = false)),
        ("refresh", with(lowered(), |pool, _| pool.obstacles = [Obstacle::Refresh].into())),
        ("one goes", with(lowered(), |pool, _| pool.members[2].state = MemberState::Leaving)),
    ] {
        assert_eq!(raised(&planned(&policy, &observed)), None, "{what}");
    }
    let replaced = with(idle(4), |pool, _| (pool.desired, pool.members[0].healthy) = (3, false));
    assert_eq!(raised(&planned(&policy, &replaced)), None, "the new one serves before the old one goes");
    let narrow = by_load(Autoscaling { max_replicas: 2, ..scaling() });
    assert_eq!(raised(&planned(&narrow, &lowered())), None);
    let plan = planned(&narrow, &Observed { load: load(MUCH, 1_000), ..lowered() });
    assert_eq!((raised(&plan), plan.holds), (None, vec![Hold::GateClosed { desired: 2, in_service: 3, others: 0 }]));
    for number in [1, 2] {
        let plan = planned(&fixed(number), &lowered());
        assert_eq!((raised(&plan), victim(&plan)), (Some((2, 3)), None), "of {number}: then one can go");
    }
}

#[test]
fn members_that_may_be_of_no_use_do_not_count_for_what_is_left() {
    let policy = by_load(Autoscaling { min_replicas: 2, ..scaling() });
    for (what, observed) in [
        ("unwell", with(idle(3), |pool, _| pool.members[0].healthy = false)),
        ("dead", with(idle(3), |_, cluster| cluster.workers[0].state = WorkerState::Dead)),
        ("absent", with(idle(3), |_, cluster| cluster.workers.truncate(2))),
    ] {
        let plan = planned(&policy, &observed);
        let too_few = plan.holds.iter().any(|hold| matches!(hold, Hold::BelowTarget { left: 1, needed: 2 }));
        assert!(plan.removal.is_none() && too_few, "{what}: {:?}", plan.holds);
    }
    let other = with(idle(4), |pool, _| pool.members[3].healthy = false);
    assert_eq!(victim(&planned(&policy, &other)), Some("i-3"), "one that is not well goes first");
}

#[test]
fn a_number_that_is_fixed_needs_no_load() {
    let blind = |observed: Observed| Observed { load: Default::default(), risk: unknown(), ..observed };
    assert_eq!(raised(&planned(&fixed(4), &blind(idle(2)))), Some((2, 4)));
    let plan = planned(&fixed(2), &blind(idle(3)));
    assert!(victim(&plan) == Some("i-1") && plan.size.is_none() && plan.signals.is_empty(), "{plan:?}");
    assert_eq!(planned(&fixed(3), &blind(idle(3))).holds, [Hold::WithinRange]);
    let last = planned(&fixed(0), &with(blind(idle(1)), |_, cluster| cluster.drivers.clear()));
    assert_eq!((victim(&last), &last.holds[..]), (None, &[Hold::BelowTarget { left: 0, needed: 1 }][..]));
    let unread = planned(&fixed(2), &Observed { cluster: unknown(), ..idle(3) });
    assert!(unread.holds.iter().any(|hold| matches!(hold, Hold::Unreadable { .. })), "{:?}", unread.holds);
}

#[test]
fn who_only_watches_changes_nothing() {
    let bare = with(idle(5), |pool, _| {
        pool.members[0].protected = false;
        pool.newcomers_protected = Known::Known(false);
    });
    for size in [
        Sizing::Unmanaged,
        Sizing::Load(Box::new(Autoscaling { mode: ScalingMode::Disabled, ..scaling() })),
        Sizing::Load(Box::new(Autoscaling { mode: ScalingMode::Recommend, min_replicas: 6, ..scaling() })),
    ] {
        let plan = planned(&policy(size.clone()), &bare);
        assert!(plan.is_idle() && !plan.holds.is_empty(), "{size:?}: {plan:?}");
    }
    let recommend = by_load(Autoscaling { mode: ScalingMode::Recommend, ..scaling() });
    assert_eq!(planned(&recommend, &busy(1)).holds, [Hold::RecommendOnly { wanted: 4 }]);
    assert_eq!(planned(&recommend, &busy(4)).holds, [Hold::WithinRange]);
}

#[test]
fn instances_are_protected_before_any_goes() {
    let bare = with(idle(3), |pool, _| {
        pool.members[2].protected = false;
        pool.newcomers_protected = Known::Known(false);
    });
    let plan = planned(&by_load(scaling()), &bare);
    assert_eq!((plan.protect_newcomers, &plan.protect[..], plan.removal), (true, &["i-2".to_owned()][..], None));
    assert_eq!(plan.holds, [Hold::Unprotected]);
    let watching = Policy { protection: Protection::Observe, ..by_load(scaling()) };
    let plan = planned(&watching, &bare);
    assert!(plan.is_idle() && plan.holds == [Hold::Unprotected], "{plan:?}");
    let many = with(idle(3), |pool, _| {
        pool.members = (0..120).map(member).collect();
        pool.members.iter_mut().for_each(|member| member.protected = false);
    });
    assert_eq!(planned(&by_load(scaling()), &many).protect.len(), 50);
    let coming = with(idle(1), |pool, _| {
        pool.members[0].protected = false;
        pool.members[0].state = MemberState::Pending;
    });
    assert!(planned(&by_load(scaling()), &coming).protect.is_empty(), "only what is in service can be protected");
}

#[test]
fn an_open_record_of_others_stops_everything_but_the_hook() {
    let waiting = Waiting { instance: "i-2".to_owned(), hook: "drain".to_owned(), token: String::new() };
    let leaving = |tasks: i32| {
        with(busy(3), |pool, cluster| {
            pool.members[2].state = MemberState::Leaving;
            pool.members[1].protected = false;
            pool.hook = Some(waiting.clone());
            cluster.workers[2].tasks = Known::Known(tasks);
        })
    };
    let plan = planned(&by_load(scaling()), &Observed { intent: OpenIntent::Other, ..leaving(3) });
    assert!(plan.raise.is_none() && plan.protect.is_empty() && plan.removal.is_none(), "{plan:?}");
    assert!(plan.holds.contains(&Hold::IntentOpen) && !plan.abandon);
    assert_eq!(plan.hook, Some(HookStep::Heartbeat(waiting.clone())));
    assert_eq!(planned(&by_load(scaling()), &leaving(0)).hook, Some(HookStep::Complete(waiting.clone())));
    let unseen = Observed { cluster: unknown(), ..leaving(0) };
    assert_eq!(planned(&by_load(scaling()), &unseen).hook, None);
    let driven = with(leaving(0), |_, cluster| cluster.drivers[0].worker = Some("w-2".to_owned()));
    assert_eq!(planned(&by_load(scaling()), &driven).hook, Some(HookStep::Heartbeat(waiting)));
}

#[test]
fn pods_get_deletion_costs() {
    let policy = Policy { pool: PoolRef::Deployment("workers".to_owned()), ..by_load(scaling()) };
    let pods = |change: &dyn Fn(&mut Observed)| {
        let mut observed = with(idle(3), |pool, _| {
            pool.newcomers_protected = Known::Absent;
            pool.members.iter_mut().for_each(|pod| {
                pod.protected = false;
                pod.replica_set = Some("rs".to_owned());
            });
        });
        change(&mut observed);
        planned(&policy, &observed)
    };
    let plan = pods(&|_| {});
    let costs: Vec<(&str, i32)> = plan.costs.iter().map(|(id, cost)| (id.as_str(), *cost)).collect();
    assert_eq!((victim(&plan), &costs[..]), (Some("i-1"), &[("i-0", i32::MAX), ("i-1", i32::MIN)][..]));
    let kept = pods(&|observed| {
        let Known::Known(pool) = &mut observed.pool else { unreachable!("it is known") };
        pool.desired = 2;
        let costs = [Some(i32::MAX), Some(i32::MIN), Some(5)];
        pool.members.iter_mut().zip(costs).for_each(|(pod, cost)| pod.cost = cost);
    });
    assert_eq!(kept.costs, BTreeMap::from([("i-1".to_owned(), 0)]), "of others nothing is touched");
    let stays = with(idle(3), |pool, cluster| {
        let costs = [Some(i32::MAX), Some(i32::MIN), None, Some(i32::MAX)];
        pool.members.push(member(3));
        pool.desired = 4;
        pool.members.iter_mut().zip(costs).for_each(|(pod, cost)| pod.cost = cost);
        cluster.drivers.push(driver(Some("w-2")));
    });
    for size in [Sizing::Unmanaged, Sizing::Load(Box::new(Autoscaling { mode: ScalingMode::Recommend, ..scaling() }))] {
        let watching = Policy { size, ..policy.clone() };
        let taken_back = BTreeMap::from([("i-1".to_owned(), 0), ("i-3".to_owned(), 0)]);
        assert_eq!(planned(&watching, &stays).costs, taken_back, "none is set anew");
        let driven = with(stays.clone(), |_, cluster| cluster.drivers[1].worker = Some("w-1".to_owned()));
        assert_eq!(planned(&watching, &driven).costs["i-1"], i32::MAX, "the driver came to the cheapest one");
    }
    let moved = pods(&|observed| {
        let Known::Known(cluster) = &mut observed.cluster else { unreachable!("it is known") };
        cluster.drivers[0].worker = None;
        let Known::Known(pool) = &mut observed.pool else { unreachable!("it is known") };
        pool.members[0].cost = Some(i32::MAX);
    });
    assert!(moved.costs.is_empty(), "a driver that nobody can place may be where it was");
    let rolling = pods(&|observed| {
        let Known::Known(pool) = &mut observed.pool else { unreachable!("it is known") };
        pool.members[2].replica_set = Some("other".to_owned());
    });
    assert_eq!((rolling.removal, rolling.holds), (None, vec![Hold::Rollout]));
    let unready = pods(&|observed| {
        let Known::Known(pool) = &mut observed.pool else { unreachable!("it is known") };
        pool.members[0].state = MemberState::Pending;
    });
    assert!(unready.removal.is_none() && unready.holds.contains(&Hold::DriverPodNotReady), "{:?}", unready.holds);
}

#[test]
fn the_floor_is_reached_whatever_is_known_and_the_pools_own_bounds_are_named() {
    let policy = by_load(Autoscaling { min_replicas: 5, ..scaling() });
    let blind = |change: &dyn Fn(&mut logwise_plan::workers::Pool)| {
        let mut pool = pool(1);
        change(&mut pool);
        let pool = Known::Known(pool);
        Observed { pool, cluster: unknown(), load: Default::default(), risk: unknown(), ..idle(1) }
    };
    assert_eq!(raised(&planned(&policy, &blind(&|_| {}))), Some((1, 5)));
    let narrow = planned(&policy, &blind(&|pool| pool.max_size = 3));
    assert_eq!(raised(&narrow), Some((1, 3)));
    assert!(narrow.holds.contains(&Hold::GroupMaximum { wanted: 5, max_size: 3 }), "{:?}", narrow.holds);
    let wide = with(idle(4), |pool, _| pool.min_size = 4);
    let plan = planned(&by_load(scaling()), &wide);
    assert!(plan.holds.contains(&Hold::GroupMinimum { wanted: 3, min_size: 4 }), "{:?}", plan.holds);
    assert!(plan.size.unwrap().clamps.contains(&Clamp::GroupMinimum));
}

#[test]
fn above_the_maximum_workers_go_without_a_window_but_not_without_signals() {
    let policy = by_load(Autoscaling { max_replicas: 2, ..scaling() });
    let mut many = busy(4);
    many.history.behavior.recommended = vec![Recommended { at: ago(0), replicas: 4 }];
    let plan = planned(&policy, &many);
    assert_eq!((victim(&plan), floor(&plan)), (Some("i-1"), Some(2)));
    let blind = planned(&policy, &Observed { load: Default::default(), ..many });
    assert!(blind.removal.is_none() && blind.holds.contains(&Hold::AboveMaximum { desired: 4 }), "{:?}", blind.holds);
}

#[test]
fn raises_that_were_written_down_before_can_be_read() {
    let old = "group: workers\nfrom: 1\nto: 3\n";
    let raise: Raise = serde_yaml::from_str(old).unwrap();
    assert_eq!(raise, Raise { pool: "workers".to_owned(), from: 1, to: 3 });
}

#[test]
fn what_is_wanted_can_be_asked_for_alone() {
    let policy = by_load(scaling());
    let size = wanted(&policy, &scaling(), &busy(1), NOW).unwrap();
    assert_eq!((size.wanted, size.recommended), (4, 0), "what is remembered is the plan's to say");
    let blind = Observed { load: Default::default(), ..busy(1) };
    assert!(matches!(wanted(&policy, &scaling(), &blind, NOW).unwrap_err()[..], [Signal::Position(_)]));
    let unread = Observed { load: logwise_plan::workers::Load { samples: unknown(), ..busy(1).load }, ..busy(1) };
    assert!(matches!(wanted(&policy, &scaling(), &unread, NOW).unwrap_err()[..], [Signal::Ends(_)]));
    assert_eq!(known(&steady(7, 0)).len(), 11);
    let missing = Hold::SignalsMissing { what: "end offsets".to_owned() };
    assert_eq!(plan(&policy, &unread, NOW).holds, [missing, Hold::WithinRange]);
}
