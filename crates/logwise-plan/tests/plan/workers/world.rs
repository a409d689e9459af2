//! Small pools of workers, as a look finds them.

use crate::NOW;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::behavior::{History, Recommended};
use logwise_plan::change::ChangePolicy;
use logwise_plan::workers::{
    Autoscaling, Cluster, DriverAt, Load, Member, Observed, OpenIntent, Past, Plan, Policy, Pool, PoolRef, Progress,
    Protection, Risk, Sample, Sizing, Worker, WorkerState, plan,
};
use std::sync::Arc;

/// Records per second of which one core of a worker is enough.
pub const LITTLE: i64 = 1_000;

/// Records per second that ask for four workers of two cores: seven for executors, one for the driver.
pub const MUCH: i64 = 40_000;

/// So many seconds before the plan.
pub fn ago(seconds: i64) -> Timestamp {
    NOW - SignedDuration::from_secs(seconds)
}

pub fn known<T>(fact: &Known<T>) -> &T {
    fact.known().unwrap()
}

pub fn unknown<T>() -> Known<T> {
    Known::Unknown("timed out".to_owned())
}

pub fn scaling() -> Autoscaling {
    Autoscaling { min_replicas: 1, max_replicas: 6, ..Autoscaling::default() }
}

pub fn policy(size: Sizing) -> Policy {
    Policy {
        pool: PoolRef::AutoScalingGroup("workers".to_owned()),
        size,
        change: ChangePolicy::default(),
        protection: Protection::Manage,
        drain_seconds: 600,
        look_period_seconds: 30,
    }
}

pub fn by_load(scaling: Autoscaling) -> Policy {
    policy(Sizing::Load(Box::new(scaling)))
}

pub fn member(place: usize) -> Member {
    Member { since: Some(ago(7_200)), ..Member::in_service(format!("i-{place}"), format!("10.0.0.{place}")) }
}

pub fn worker(place: usize) -> Worker {
    Worker {
        id: format!("w-{place}"),
        host: format!("10.0.0.{place}"),
        state: WorkerState::Alive,
        cores: 2,
        cores_used: 2,
        tasks: Known::Known(i32::try_from(place).unwrap()),
    }
}

pub fn driver(worker: Option<&str>) -> DriverAt {
    DriverAt { id: "driver-1".to_owned(), state: "RUNNING".to_owned(), worker: worker.map(str::to_owned) }
}

/// One that waits for a worker.
pub fn waiting() -> DriverAt {
    DriverAt { state: "SUBMITTED".to_owned(), ..driver(None) }
}

/// Eleven samples, a minute apart.
pub fn steady(rate: i64, unread: i64) -> Known<Arc<Vec<Sample>>> {
    let sample = |minute: i64| {
        let ends = 1_000_000_000 + (10 - minute) * 60 * rate;
        Sample { at: ago(minute * 60), ends, read: ends - unread, other_clock: false }
    };
    Known::Known(Arc::new((0..=10).rev().map(sample).collect()))
}

pub fn load(rate: i64, unread: i64) -> Load {
    Load {
        samples: steady(rate, unread),
        batches: Vec::new(),
        partitions: Known::Known(64),
        batch: Known::Known(Progress { id: 4, age_seconds: 20 }),
    }
}

pub fn pool(number: usize) -> Pool {
    Pool::at_rest((0, 10), i32::try_from(number).unwrap(), (0..number).map(member).collect())
}

/// So many workers with little to do; a driver runs on the first one. Nothing hinders a removal.
pub fn idle(number: usize) -> Observed {
    let cluster = Cluster {
        url: "spark://master:7077".to_owned(),
        workers: (0..number).map(worker).collect(),
        drivers: vec![driver(Some("w-0"))],
        app_cores: None,
    };
    let recommended = vec![Recommended { at: ago(3_000), replicas: 1 }];
    Observed {
        pool: Known::Known(pool(number)),
        cluster: Known::Known(cluster),
        load: load(LITTLE, 1_000),
        risk: Known::Known(Risk { age_seconds: 60, retention_seconds: 3_600, lost: false, shortest_seconds: None }),
        history: Past { behavior: History { recommended, changes: Vec::new() }, ..Past::default() },
        intent: OpenIntent::None,
    }
}

/// The same with more to do than they get through.
pub fn busy(number: usize) -> Observed {
    Observed { load: load(MUCH, 1_000), ..idle(number) }
}

/// Changes the pool and the cluster.
pub fn with(mut observed: Observed, change: impl FnOnce(&mut Pool, &mut Cluster)) -> Observed {
    let (Known::Known(pool), Known::Known(cluster)) = (&mut observed.pool, &mut observed.cluster) else {
        unreachable!("both are known")
    };
    change(pool, cluster);
    observed
}

/// The plan, which the second pair of eyes must like.
pub fn planned(policy: &Policy, observed: &Observed) -> Plan {
    let plan = plan(policy, observed, NOW);
    let found = logwise_plan::checks::workers::violations(policy, observed, &plan, NOW);
    assert_eq!(found, Vec::<String>::new(), "{plan:#?}");
    plan
}

/// What the removal of the plan ends.
pub fn victim(plan: &Plan) -> Option<&str> {
    plan.removal.as_ref().map(|removal| removal.id.as_str())
}

/// From which desired number to which the plan raises.
pub fn raised(plan: &Plan) -> Option<(i32, i32)> {
    plan.raise.as_ref().map(|raise| (raise.from, raise.to))
}

/// Sound workers that the removal of the plan leaves at least.
pub fn floor(plan: &Plan) -> Option<i32> {
    plan.removal.as_ref().map(|removal| removal.floor)
}
