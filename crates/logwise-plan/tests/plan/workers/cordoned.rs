//! Cordoned workers, by example: no capacity, and gone as soon as nothing is lost with them.

use super::world::{
    ago, busy, by_load, driver, floor, idle, load, planned, policy, raised, scaling, unknown, victim, waiting, with,
};
use logwise_plan::Known;
use logwise_plan::change::{ChangePolicy, Window};
use logwise_plan::workers::{
    Autoscaling, Hold, Observed, Obstacle, OpenIntent, Plan, Policy, PoolRef, Removal, Risk, ScalingMode, Sizing, Step,
    WorkerState,
};
use std::collections::BTreeMap;

fn bounds(min_replicas: i32, max_replicas: i32) -> Policy {
    by_load(Autoscaling { min_replicas, max_replicas, ..scaling() })
}

/// One of the workers is cordoned.
fn out(observed: Observed, place: usize) -> Observed {
    with(observed, |_, cluster| cluster.workers[place].state = WorkerState::Decommissioned)
}

#[test]
fn cordoned_workers_are_no_capacity() {
    let policy = by_load(scaling());
    let out = |number: usize, place: usize| {
        with(idle(number), |_, cluster| cluster.workers[place].state = WorkerState::Decommissioned)
    };
    let leftover = planned(&policy, &out(2, 1));
    assert_eq!((victim(&leftover), floor(&leftover)), (Some("i-1"), Some(1)), "what is left is enough");
    let hosts = planned(&policy, &out(2, 0));
    assert_eq!((victim(&hosts), &hosts.holds[..]), (None, &[Hold::DriverHost { id: "i-0".to_owned() }][..]));
    let replaced = planned(&by_load(Autoscaling { min_replicas: 2, ..scaling() }), &out(2, 0));
    assert_eq!(raised(&replaced), Some((2, 3)));
    let full = planned(&by_load(Autoscaling { min_replicas: 2, max_replicas: 2, ..scaling() }), &out(2, 0));
    assert_eq!(full.holds, [Hold::AboveMaximum { desired: 2 }, Hold::DriverHost { id: "i-0".to_owned() }]);
    let no_room = with(busy(3), |_, cluster| cluster.workers[1].state = WorkerState::Decommissioned);
    let plan = planned(&by_load(Autoscaling { max_replicas: 3, ..scaling() }), &no_room);
    assert_eq!((raised(&plan), victim(&plan), floor(&plan)), (None, Some("i-1"), Some(2)), "it makes room");
    let no_fewer = by_load(Autoscaling { min_replicas: 3, max_replicas: 3, ..scaling() });
    assert_eq!(victim(&planned(&no_fewer, &no_room)), None, "not below the minimum");
}

#[test]
fn one_that_makes_room_goes_also_while_records_are_near_their_end() {
    for risk in [
        Risk { age_seconds: 2_000, retention_seconds: 3_600, lost: false, shortest_seconds: None },
        Risk { age_seconds: 0, retention_seconds: 3_600, lost: true, shortest_seconds: None },
    ] {
        let observed = Observed { risk: Known::Known(risk), ..busy(3) };
        let plan = planned(&bounds(1, 3), &out(observed.clone(), 1));
        assert_eq!((raised(&plan), victim(&plan), floor(&plan)), (None, Some("i-1"), Some(2)), "{risk:?}");
        assert_eq!(victim(&planned(&bounds(1, 3), &observed)), None, "{risk:?}");
    }
}

#[test]
fn one_goes_whatever_becomes_of_the_others_as_long_as_the_minimum_is_kept() {
    // 21 workers are asked for; 20 are near enough.
    let near = || out(Observed { load: load(238_000, 1_000), ..idle(21) }, 20);
    let wide = |min_replicas| {
        let observed = with(near(), |pool, _| pool.max_size = 40);
        planned(&bounds(min_replicas, 40), &observed)
    };
    let plan = wide(1);
    assert_eq!((plan.size.as_ref().map(|size| size.wanted), raised(&plan)), (Some(21), None));
    assert_eq!((victim(&plan), floor(&plan)), (Some("i-20"), Some(20)));
    let plan = wide(21);
    assert_eq!((raised(&plan), victim(&plan)), (Some((21, 22)), None), "more come first");
    let one_dead = || {
        let observed = out(Observed { load: load(28_000, 1_000), ..idle(4) }, 3);
        with(observed, |_, cluster| cluster.workers[2].state = WorkerState::Dead)
    };
    let plan = planned(&bounds(1, 6), &one_dead());
    assert_eq!((victim(&plan), floor(&plan)), (Some("i-3"), Some(2)));
    let plan = planned(&bounds(3, 6), &one_dead());
    assert!(victim(&plan).is_none() && plan.holds.contains(&Hold::BelowTarget { left: 2, needed: 3 }), "{plan:?}");
    let surplus = with(out(idle(6), 5), |_, cluster| {
        cluster.workers[1..5].iter_mut().for_each(|worker| worker.state = WorkerState::Dead);
    });
    let plan = planned(&by_load(Autoscaling { driver_cores: 3, ..scaling() }), &surplus);
    assert_eq!((victim(&plan), floor(&plan)), (Some("i-5"), Some(1)), "two are asked for, and one works: it is none");
}

#[test]
fn windows_hold_what_has_not_begun() {
    let noon = vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]];
    let change = ChangePolicy { windows: noon, ..ChangePolicy::default() };
    let shut = Policy { change: change.clone(), ..by_load(scaling()) };
    let removal = planned(&by_load(scaling()), &idle(3)).removal.unwrap();
    let open = OpenIntent::Removing(Removal { step: Step::Drain { until: ago(-300) }, ..removal });
    let waits = |plan: &Plan| plan.holds.iter().any(|hold| matches!(hold, Hold::WaitingForWindow { .. }));
    let drains = planned(&shut, &Observed { intent: open.clone(), ..out(idle(3), 1) });
    assert!(victim(&drains) == Some("i-1") && !drains.abandon && !waits(&drains), "{drains:?}");
    let uncordoned = planned(&shut, &Observed { intent: open, ..idle(3) });
    assert!(uncordoned.abandon && waits(&uncordoned), "{uncordoned:?}");
    let begins = planned(&shut, &idle(3));
    assert!(victim(&begins).is_none() && waits(&begins), "{begins:?}");
    let full = Policy { change, ..bounds(1, 3) };
    let plan = planned(&full, &out(busy(3), 1));
    assert!(victim(&plan) == Some("i-1") && !waits(&plan), "it makes room: {plan:?}");
}

#[test]
fn a_driver_that_waits_for_a_worker_holds_all_but_cordoned_ones() {
    let full = policy(Sizing::Fixed(2));
    let none_has_room = with(idle(2), |pool, cluster| {
        pool.max_size = 2;
        cluster.drivers = vec![waiting()];
    });
    let plan = planned(&full, &out(none_has_room.clone(), 1));
    assert_eq!((raised(&plan), victim(&plan)), (None, Some("i-1")), "{plan:?}");
    let fewer = policy(Sizing::Fixed(1));
    let plan = planned(&fewer, &none_has_room);
    let anywhere = Hold::DriverHost { id: "unknown".to_owned() };
    assert!(victim(&plan).is_none() && plan.holds.contains(&anywhere), "it may come to either: {plan:?}");
}

#[test]
fn a_worker_whose_process_was_started_again_goes_on_draining() {
    let removal = planned(&by_load(scaling()), &idle(3)).removal.unwrap();
    let until = ago(-300);
    let intent = OpenIntent::Removing(Removal { step: Step::Drain { until }, ..removal });
    let again = |state: WorkerState| {
        let observed = Observed { intent: intent.clone(), ..idle(3) };
        let observed = with(observed, |_, cluster| {
            (cluster.workers[1].id, cluster.workers[1].state) = ("w-new".to_owned(), state);
        });
        planned(&by_load(scaling()), &observed).removal.unwrap()
    };
    let goes_on = again(WorkerState::Decommissioned);
    assert_eq!((goes_on.worker.as_deref(), goes_on.step), (Some("w-new"), Step::Drain { until }));
    assert_eq!(again(WorkerState::Alive).step, Step::Cordon);
}

/// The removal of the second of three idle workers, come so far.
fn removing(step: Step) -> OpenIntent {
    let removal = planned(&by_load(scaling()), &idle(3)).removal.unwrap();
    OpenIntent::Removing(Removal { step, ..removal })
}

/// Whether the removal on record neither goes on nor is given up.
fn waits(policy: &Policy, observed: &Observed) -> bool {
    let plan = planned(policy, observed);
    assert!(plan.removal.is_none(), "{plan:?}");
    !plan.abandon
}

#[test]
fn a_removal_that_has_begun_waits_for_signals_and_for_nothing_else() {
    let policy = by_load(scaling());
    let blind = |step| Observed { intent: removing(step), risk: unknown(), ..out(idle(3), 1) };
    let drains = Step::Drain { until: ago(-300) };
    for step in [drains, Step::Drain { until: ago(300) }, Step::Cordon, Step::Terminate] {
        assert!(waits(&policy, &blind(step)), "{step:?}");
    }
    for (what, observed) in [
        ("a driver", with(blind(drains), |_, cluster| cluster.drivers.push(driver(Some("w-1"))))),
        ("another number", with(blind(drains), |pool, _| pool.desired = 4)),
        ("an obstacle", with(blind(drains), |pool, _| pool.obstacles = [Obstacle::Refresh].into())),
        ("no protection", with(blind(drains), |pool, _| pool.members[0].protected = false)),
        ("too few", with(blind(drains), |_, cluster| cluster.workers[2].state = WorkerState::Dead)),
        ("no cordon", Observed { intent: removing(drains), risk: unknown(), ..idle(3) }),
        ("more is wanted", Observed { load: busy(3).load, ..blind(drains) }),
    ] {
        assert!(!waits(&policy, &observed), "{what}");
    }
    let recommend = by_load(Autoscaling { mode: ScalingMode::Recommend, ..scaling() });
    assert!(!waits(&recommend, &blind(drains)));
}

#[test]
fn it_waits_for_the_master_and_the_pool_too_once_its_worker_was_seen_to_be_cordoned() {
    let drains = Step::Drain { until: ago(-300) };
    for policy in [by_load(scaling()), policy(Sizing::Fixed(2))] {
        let no_master = |step, change: &dyn Fn(&mut logwise_plan::workers::Pool)| {
            let observed = with(idle(3), |pool, _| change(pool));
            Observed { intent: removing(step), cluster: unknown(), ..observed }
        };
        let no_pool = |step| Observed { intent: removing(step), pool: unknown(), ..idle(3) };
        assert!(waits(&policy, &no_master(drains, &|_| {})) && waits(&policy, &no_pool(drains)));
        assert!(!waits(&policy, &no_master(Step::Cordon, &|_| {})) && !waits(&policy, &no_pool(Step::Cordon)));
        assert!(!waits(&policy, &no_master(drains, &|pool| pool.members.truncate(1))));
        assert!(!waits(&policy, &no_master(drains, &|pool| pool.obstacles = [Obstacle::Refresh].into())));
        assert!(!waits(&policy, &Observed { pool: Known::Absent, ..no_pool(drains) }));
    }
    assert!(!waits(&policy(Sizing::Unmanaged), &Observed { intent: removing(drains), pool: unknown(), ..idle(3) }));
}

#[test]
fn a_cost_that_somebody_else_has_set_stays_unless_two_pods_would_be_the_cheapest() {
    let pods = |size: Sizing, cost: i32| {
        let policy = Policy { pool: PoolRef::Deployment("workers".to_owned()), ..policy(size) };
        let observed = with(idle(3), |pool, _| {
            pool.newcomers_protected = Known::Absent;
            let costs = [(Some(i32::MAX), false), (None, false), (Some(cost), true)];
            for (pod, (cost, of_others)) in pool.members.iter_mut().zip(costs) {
                (pod.protected, pod.replica_set) = (false, Some("rs".to_owned()));
                (pod.cost, pod.cost_of_others) = (cost, of_others);
            }
        });
        planned(&policy, &observed).costs.into_iter().collect::<Vec<_>>()
    };
    let victim = ("i-1".to_owned(), i32::MIN);
    for cost in [i32::MAX, i32::MIN, 7] {
        assert!(pods(Sizing::Unmanaged, cost).is_empty() && pods(Sizing::Fixed(3), cost).is_empty(), "{cost}");
    }
    assert_eq!(pods(Sizing::Fixed(2), i32::MAX), std::slice::from_ref(&victim));
    assert_eq!(pods(Sizing::Fixed(2), i32::MIN), [victim, ("i-2".to_owned(), 0)]);
}

#[test]
fn while_it_waits_its_pod_stays_the_cheapest() {
    let policy = Policy { pool: PoolRef::Deployment("workers".to_owned()), ..by_load(scaling()) };
    let pods = with(out(idle(3), 1), |pool, _| {
        pool.newcomers_protected = Known::Absent;
        for (pod, cost) in pool.members.iter_mut().zip([Some(i32::MAX), Some(i32::MIN), None]) {
            (pod.protected, pod.cost, pod.replica_set) = (false, cost, Some("rs".to_owned()));
        }
    });
    let waiting = |pods| Observed { intent: removing(Step::Drain { until: ago(-300) }), risk: unknown(), ..pods };
    let plan = planned(&policy, &waiting(pods.clone()));
    assert!(plan.is_idle() && plan.costs.is_empty(), "{plan:?}");
    let moved = with(pods, |_, cluster| cluster.drivers[0].worker = Some("w-2".to_owned()));
    let plan = planned(&policy, &waiting(moved));
    let costs = BTreeMap::from([("i-0".to_owned(), 0), ("i-2".to_owned(), i32::MAX)]);
    assert_eq!((plan.removal, plan.abandon, plan.costs), (None, false, costs), "the driver has moved meanwhile");
}
