//! The second look, by example.

use super::world::{ago, by_load, driver, idle, policy, scaling, unknown, with};
use crate::NOW;
use logwise_plan::Known;
use logwise_plan::workers::{
    Hold, MemberState, Observed, Obstacle, Policy, PoolRef, Protection, Removal, Seen, Sizing, Step, WorkerState,
    confirm, plan,
};

/// The planned removal of the second of three workers.
fn removal(policy: &Policy, step: Step) -> Removal {
    let removal = plan(policy, &idle(3), NOW).removal.unwrap();
    assert_eq!(removal.id, "i-1");
    Removal { step, ..removal }
}

/// Cordoned and idle.
fn out() -> Observed {
    with(idle(3), |_, cluster| {
        cluster.workers[1].state = WorkerState::Decommissioned;
        cluster.workers[1].tasks = Known::Known(0);
    })
}

fn seen(observed: Observed) -> Seen {
    Seen {
        pool: observed.pool,
        cluster: observed.cluster,
        page_after_cordon: true,
        same_master: true,
        draining_since: Some(ago(100)),
    }
}

#[test]
fn an_idle_cordoned_worker_goes_and_a_busy_one_drains() {
    let policy = by_load(scaling());
    for step in [Step::Cordon, Step::Drain { until: ago(-9) }, Step::Terminate] {
        assert_eq!(confirm(&policy, &removal(&policy, step), &seen(out())), Ok(Step::Terminate), "{step:?}");
    }
    let busy = || seen(with(out(), |_, cluster| cluster.workers[1].tasks = Known::Known(3)));
    let until = ago(-500);
    assert_eq!(confirm(&policy, &removal(&policy, Step::Cordon), &busy()), Ok(Step::Drain { until }));
    let later = Step::Drain { until: ago(-9) };
    assert_eq!(confirm(&policy, &removal(&policy, later), &busy()), Ok(later), "its time runs");
    assert_eq!(confirm(&policy, &removal(&policy, Step::Terminate), &busy()), Ok(Step::Terminate), "its time is over");
    let unsaid = Seen { draining_since: None, ..busy() };
    let second = Err(Hold::SecondLook { id: "i-1".to_owned() });
    assert_eq!(confirm(&policy, &removal(&policy, Step::Cordon), &unsaid), second);
    let uncounted = |cores_used| {
        seen(with(out(), |_, cluster| {
            cluster.workers[1].tasks = unknown();
            cluster.workers[1].cores_used = cores_used;
        }))
    };
    let cordon = removal(&policy, Step::Cordon);
    assert_eq!(confirm(&policy, &cordon, &uncounted(0)), Ok(Step::Terminate));
    assert_eq!(confirm(&policy, &cordon, &uncounted(1)), Ok(Step::Drain { until }), "taken cores count instead");
}

#[test]
fn any_doubt_holds_it() {
    let id = || "i-1".to_owned();
    let policy = by_load(scaling());
    let cases: Vec<(&str, Seen, Hold)> = vec![
        ("alive", seen(idle(3)), Hold::CordonPending { id: id() }),
        ("before the cordon", Seen { page_after_cordon: false, ..seen(out()) }, Hold::SecondLook { id: id() }),
        ("another master", Seen { same_master: false, ..seen(out()) }, Hold::CordonLost { id: id() }),
        (
            "a driver came",
            seen(with(out(), |_, cluster| cluster.drivers.push(driver(Some("w-1"))))),
            Hold::DriverLanded { id: id(), driver: "driver-1".to_owned() },
        ),
        (
            "a driver may be anywhere",
            seen(with(out(), |_, cluster| cluster.drivers.push(driver(None)))),
            Hold::DriverHost { id: "unknown".to_owned() },
        ),
        (
            "another desired number",
            seen(with(out(), |pool, _| pool.desired = 4)),
            Hold::GateClosed { desired: 4, in_service: 3, others: 0 },
        ),
        (
            "a launch on its way",
            seen(with(out(), |pool, _| pool.members[2].state = MemberState::Pending)),
            Hold::GateClosed { desired: 3, in_service: 2, others: 1 },
        ),
        (
            "another worker died",
            seen(with(out(), |_, cluster| cluster.workers[2].state = WorkerState::Dead)),
            Hold::BelowTarget { left: 1, needed: 2 },
        ),
        ("gone", seen(with(out(), |pool, _| pool.members[1].id = "i-9".to_owned())), Hold::AddressUnknown { id: id() }),
        (
            "another address",
            seen(with(out(), |pool, _| pool.members[1].address = Known::Known("10.0.0.9".to_owned()))),
            Hold::AddressUnknown { id: id() },
        ),
        (
            "a second worker there",
            seen(with(out(), |_, cluster| cluster.workers[2].host = "10.0.0.1".to_owned())),
            Hold::AddressUnknown { id: id() },
        ),
        ("unprotected", seen(with(out(), |pool, _| pool.members[0].protected = false)), Hold::Unprotected),
        ("refresh", seen(with(out(), |pool, _| pool.obstacles = [Obstacle::Refresh].into())), Hold::Refresh),
        (
            "nobody knows whether the group is busy",
            seen(with(out(), |pool, _| pool.obstacles = [Obstacle::Unread("throttled".to_owned())].into())),
            Hold::Unreadable { what: "what the group does".to_owned(), why: "throttled".to_owned() },
        ),
        (
            "a new worker process",
            seen(with(out(), |_, cluster| cluster.workers[1].id = "w-new".to_owned())),
            Hold::CordonPending { id: id() },
        ),
    ];
    for (what, seen, hold) in cases {
        assert_eq!(confirm(&policy, &removal(&policy, Step::Cordon), &seen), Err(hold), "{what}");
    }
    let lost = confirm(&policy, &removal(&policy, Step::Terminate), &seen(idle(3)));
    assert_eq!(lost, Err(Hold::CordonLost { id: id() }), "the master was started again");
    for (pool, cluster) in [(unknown(), out().cluster), (out().pool, unknown()), (Known::Absent, out().cluster)] {
        let seen = Seen { pool, cluster, ..seen(out()) };
        let answer = confirm(&policy, &removal(&policy, Step::Terminate), &seen);
        assert!(matches!(answer, Err(Hold::Unreadable { .. })), "{answer:?}");
    }
}

#[test]
fn what_was_wanted_when_it_was_written_down_counts() {
    let policy = by_load(scaling());
    let removal = Removal { floor: 3, ..removal(&policy, Step::Cordon) };
    assert_eq!(confirm(&policy, &removal, &seen(out())), Err(Hold::BelowTarget { left: 2, needed: 3 }));
    let last = Removal { floor: 0, from: 1, to: 0, ..removal };
    let alone = with(out(), |pool, cluster| {
        pool.desired = 1;
        pool.members = vec![pool.members[1].clone()];
        cluster.drivers.clear();
    });
    assert_eq!(confirm(&policy, &last, &seen(alone)), Err(Hold::BelowTarget { left: 0, needed: 1 }));
}

#[test]
fn pods_must_show_their_costs_and_need_no_protection() {
    let policy = Policy {
        pool: PoolRef::Deployment("workers".to_owned()),
        protection: Protection::Observe,
        ..policy(Sizing::Fixed(2))
    };
    let pods = |costs: [Option<i32>; 3]| {
        with(out(), |pool, _| {
            for (pod, cost) in pool.members.iter_mut().zip(costs) {
                (pod.protected, pod.cost, pod.replica_set) = (false, cost, Some("rs".to_owned()));
            }
        })
    };
    let removal = removal(&by_load(scaling()), Step::Cordon);
    let good = [Some(i32::MAX), Some(i32::MIN), None];
    assert_eq!(confirm(&policy, &removal, &seen(pods(good))), Ok(Step::Terminate));
    for bad in [
        [Some(i32::MAX), None, None],
        [Some(i32::MAX), Some(0), None],
        [None, Some(i32::MIN), None],
        [Some(i32::MAX), Some(i32::MIN), Some(i32::MIN)],
    ] {
        let hold = Hold::SecondLook { id: "i-1".to_owned() };
        assert_eq!(confirm(&policy, &removal, &seen(pods(bad))), Err(hold), "{bad:?}");
    }
    let two_sets = with(pods(good), |pool, _| pool.members[2].replica_set = Some("new".to_owned()));
    assert_eq!(confirm(&policy, &removal, &seen(two_sets)), Err(Hold::Rollout));
}
