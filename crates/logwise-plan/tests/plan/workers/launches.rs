//! When workers are added for load, by example, and when that would not help.

use super::world::{
    ago, busy, by_load, idle, load, member, planned, policy, pool, raised, scaling, unknown, victim, waiting, with,
};
use crate::NOW;
use logwise_plan::Known;
use logwise_plan::behavior::Changed;
use logwise_plan::workers::{
    Autoscaling, Batch, Clamp, Cluster, FailedLaunch, Hold, Load, Member, MemberState, Observed, PoolRef, Risk, Sizing,
};

#[test]
fn launches_that_fail_or_have_no_effect_are_not_repeated_but_the_minimum_is() {
    let mut failing = busy(2);
    failing.history.backoff_until = Some(NOW + jiff::SignedDuration::from_secs(9));
    let plan = planned(&by_load(scaling()), &failing);
    assert!(plan.raise.is_none() && matches!(plan.holds[..], [Hold::LaunchesFail { .. }]), "{:?}", plan.holds);
    let missing = with(busy(2), |pool, cluster| {
        cluster.workers.truncate(1);
        pool.members[1].since = Some(ago(600));
    });
    let plan = planned(&by_load(scaling()), &missing);
    assert_eq!((raised(&plan), plan.holds), (None, vec![Hold::NoEffect { missing: 1 }]));
    let young = with(busy(2), |pool, cluster| {
        cluster.workers.truncate(1);
        pool.members[1].since = Some(ago(179));
    });
    assert_eq!(raised(&planned(&by_load(scaling()), &young)), Some((2, 4)), "it may still come");
    failing.history.launched_last_hour = 1_000;
    let least = Autoscaling { min_replicas: 3, ..scaling() };
    assert_eq!(raised(&planned(&by_load(least), &failing)), Some((2, 3)));
}

#[test]
fn launches_that_fail_are_told_too_where_nothing_is_left_to_ask_for() {
    let failing = |seconds: i64| {
        with(busy(1), |pool, _| {
            pool.desired = 4;
            pool.failed_launch = Some(FailedLaunch { at: ago(seconds), text: "no capacity".to_owned() });
        })
    };
    let fails = |until| Hold::LaunchesFail { text: "no capacity".to_owned(), until };
    let (by_load, four) = (by_load(scaling()), policy(Sizing::Fixed(4)));
    for wish in [&by_load, &four] {
        assert_eq!(planned(wish, &failing(60)).holds, [fails(ago(60))]);
        let mut pausing = failing(60);
        pausing.history.backoff_until = Some(ago(-240));
        assert_eq!(planned(wish, &pausing).holds, [fails(ago(-240))]);
        // What was asked for since may still come.
        let mut asked = failing(600);
        asked.history.behavior.changes = vec![Changed { at: ago(30), from: 1, to: 4 }];
        assert_eq!(planned(wish, &asked).holds, [Hold::WithinRange]);
        // A Deployment shows no failure that is over.
        let pods = logwise_plan::workers::Policy { pool: PoolRef::Deployment("workers".to_owned()), ..wish.clone() };
        assert_eq!(planned(&pods, &asked).holds, [fails(ago(600))]);
    }
    let there = with(failing(60), |pool, _| pool.desired = 1);
    assert_eq!(planned(&policy(Sizing::Fixed(1)), &there).holds, [Hold::WithinRange], "all are there");
    // With too many asked for nothing is removed for the same reason.
    let fewer = planned(&policy(Sizing::Fixed(1)), &failing(60)).holds;
    assert!(fewer.contains(&fails(ago(60))) && fewer.len() > 1, "{fewer:?}");
}

#[test]
fn only_newcomers_tell_whether_launches_help() {
    let absent = |number: usize, places: &[usize], since: i64| {
        with(busy(number), |pool, cluster| {
            cluster.workers.retain(|worker| !places.iter().any(|place| worker.id == format!("w-{place}")));
            pool.members[1..].iter_mut().for_each(|member| member.since = Some(ago(since)));
        })
    };
    let raise = |observed: &Observed| raised(&planned(&by_load(scaling()), observed));
    assert_eq!(raise(&absent(3, &[1], 7_200)), Some((3, 4)), "one that died long after its start");
    assert_eq!(raise(&absent(2, &[1], 600)), None, "the only one that came");
    assert_eq!(raise(&absent(3, &[1, 2], 600)), None, "both of them");
    let lost = Risk { age_seconds: 0, retention_seconds: 3_600, lost: true, shortest_seconds: None };
    let near = Observed { risk: Known::Known(lost), ..absent(3, &[1], 7_200) };
    assert_eq!(raise(&near), Some((3, 4)));
    let much = Observed { load: load(60_000, 1_000), ..absent(5, &[1], 600) };
    assert_eq!(raise(&much), Some((5, 6)), "of four one is missing");
}

#[test]
fn nothing_is_added_for_load_while_the_master_is_not_known_but_the_minimum_is() {
    let blind = Observed { cluster: unknown(), ..busy(2) };
    let policy = |min_replicas| by_load(Autoscaling { min_replicas, cores_per_worker: Some(2), ..scaling() });
    let plan = planned(&policy(1), &blind);
    assert!(plan.raise.is_none() && plan.size.is_some(), "{plan:?}");
    assert!(matches!(plan.holds[..], [Hold::Unreadable { .. }]), "{:?}", plan.holds);
    assert_eq!(raised(&planned(&policy(3), &blind)), Some((2, 3)));
}

#[test]
fn an_empty_pool_begins_with_one_worker_without_any_signal() {
    let (url, workers, app_cores) = ("spark://master:7077".to_owned(), Vec::new(), None);
    let cluster = Cluster { url, workers, drivers: vec![waiting()], app_cores };
    let (pool, cluster) = (Known::Known(pool(0)), Known::Known(cluster));
    let nothing = Load { batch: Known::Absent, ..Load::default() };
    let empty = Observed { pool, cluster, load: nothing, risk: unknown(), ..idle(0) };
    let none = by_load(Autoscaling { min_replicas: 0, max_replicas: 5, ..scaling() });
    assert_eq!(raised(&planned(&none, &empty)), Some((0, 1)));
    let capped = by_load(Autoscaling { min_replicas: 0, max_replicas: 0, ..scaling() });
    assert_eq!(raised(&planned(&capped, &empty)), None);
    assert_eq!(raised(&planned(&policy(Sizing::Fixed(0)), &empty)), None);
}

#[test]
fn records_near_their_end_ask_for_one_more_than_work_and_not_for_one_at_each_look() {
    let near = Risk { age_seconds: 1_300, retention_seconds: 3_600, lost: false, shortest_seconds: None };
    let coming = with(idle(2), |pool, _| {
        pool.desired = 3;
        pool.members.push(Member { state: MemberState::Pending, protected: false, since: Some(ago(30)), ..member(2) });
    });
    let risk = Known::Known(near);
    let plan = planned(&by_load(scaling()), &Observed { risk: risk.clone(), ..coming });
    assert_eq!((raised(&plan), plan.size.map(|size| size.wanted)), (None, Some(3)));
    assert_eq!(raised(&planned(&by_load(scaling()), &Observed { risk, ..idle(2) })), Some((2, 3)));
}

#[test]
fn batches_that_are_mostly_overhead_hold_no_removal() {
    let mut observed = Observed { load: load(1_500, 1_000), ..idle(10) };
    let batch = |id: i64| {
        let started = ago(600 - id * 60);
        let committed = started + jiff::SignedDuration::from_millis(5_570);
        Batch { id, records: 90_000, started, committed, cores: 19 }
    };
    observed.load.batches = (0..3).map(batch).collect();
    let plan = planned(&by_load(Autoscaling { max_replicas: 10, ..scaling() }), &observed);
    assert_eq!((victim(&plan), plan.signals.len()), (Some("i-1"), 0), "{:?}", plan.holds);
}

/// A drain that never ends and one that takes years are the same: as capacity comes to what comes in, nothing flickers.
#[test]
fn where_workers_just_keep_up_records_are_as_near_their_end_as_where_they_just_do_not() {
    let left = |incoming: i64, age_seconds| {
        // Two workers, with three cores for executors, get through 24,900 records a second.
        let risk = Risk { age_seconds, retention_seconds: 86_400, lost: false, shortest_seconds: None };
        let load = load(incoming, 24_900 * 150 + 1_000_000);
        let size = planned(&by_load(scaling()), &Observed { load, risk: Known::Known(risk), ..idle(2) }).size.unwrap();
        (size.time_to_loss_seconds, size.clamps.contains(&Clamp::TimeToLoss))
    };
    for incoming in [24_800, 24_899, 24_900, 24_901, 30_000] {
        assert_eq!(left(incoming, 60), (Some(86_400 - 60 - 2_400), false), "{incoming}");
        assert_eq!(left(incoming, 82_000), (Some(2_000), true), "{incoming}");
    }
    let fast = left(4_900, 60).0.unwrap();
    assert!(fast > 86_400 - 60 - 2_400 && fast < 86_400 - 60, "it is soon read: {fast}");
}
