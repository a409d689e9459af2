//! Our planner in the simulated world: what the controller remembers and does, without the calls.

use super::shapes::DAY;
use super::world::{CORES, DRIVER, Machine, PER_CORE, World};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::behavior::{Behavior, Changed, History, Recommended};
use logwise_plan::change::ChangePolicy;
use logwise_plan::workers::{
    Autoscaling, Batch, Cluster, DriverAt, Hold, Load, Member, MemberState, Observed, OpenIntent, Past, Policy, Pool,
    PoolRef, Progress, Protection, Raise, Removal, Risk, Sample, ScalingMode, Seen, Sizing, Step, Worker, WorkerState,
    confirm, plan,
};
use std::sync::Arc;

/// Seconds between two looks.
pub(super) const LOOK: i64 = 30;
/// Seconds between two samples of offsets.
const SAMPLE: i64 = 60;
/// Samples that are kept.
const SAMPLES: usize = 61;
/// Seconds that records are kept.
const RETENTION: i64 = 4 * 3_600;
/// Workers at least and at most.
pub(super) const RANGE: (i32, i32) = (2, 10);

pub(super) struct Ours {
    policy: Policy,
    samples: Arc<Vec<Sample>>,
    history: History,
    /// When workers were added, and removed.
    added: Vec<i64>,
    removed: Vec<i64>,
    intent: OpenIntent,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(DAY + second).unwrap()
}

fn small(number: i64) -> i32 {
    i32::try_from(number).unwrap()
}

impl Ours {
    pub(super) fn new(world: &World) -> Self {
        let mut history = History::default();
        history.note(Recommended { at: at(0), replicas: desired(world) });
        let (samples, intent) = (Arc::default(), OpenIntent::None);
        Self { policy: policy(), samples, history, added: Vec::new(), removed: Vec::new(), intent }
    }

    pub(super) fn look(&mut self, world: &mut World) {
        let now = at(world.now);
        if world.now % SAMPLE == 0 {
            let samples = Arc::make_mut(&mut self.samples);
            samples.push(Sample { at: now, ends: world.ends, read: world.read, other_clock: false });
            samples.drain(..samples.len().saturating_sub(SAMPLES));
        }
        for times in [&mut self.added, &mut self.removed] {
            times.retain(|second| world.now - second < 3_600);
        }
        let plan = plan(&self.policy, &self.observed(world), now);
        assert!(plan.protect.is_empty() && !plan.protect_newcomers, "all are protected");
        if let Some(size) = &plan.size {
            self.history.note(Recommended { at: now, replicas: size.recommended });
        }
        // A removal that the plan does not name any more is given up; what was cordoned stays so.
        self.intent = OpenIntent::None;
        match (&plan.raise, plan.removal) {
            (Some(raise), None) => self.raise(world, raise),
            (None, Some(removal)) => self.remove(world, removal),
            (None, None) => {}
            (Some(raise), Some(removal)) => panic!("{raise:?} and {removal:?} at once"),
        }
    }

    fn raise(&mut self, world: &mut World, raise: &Raise) {
        let Raise { from, to, .. } = *raise;
        assert!(from == desired(world) && to > from && to <= RANGE.1, "{raise:?}");
        let number = i64::from(to - from);
        world.launch(number);
        world.score.changes += 1;
        self.added.extend((0..number).map(|_| world.now));
        self.history.changed(Changed { at: at(world.now), from, to });
    }

    /// Cordons, looks again, and ends the worker or waits.
    fn remove(&mut self, world: &mut World, removal: Removal) {
        world.cordon(&removal.id);
        let Observed { pool, cluster, .. } = self.observed(world);
        let cordoned = world.machines.iter().find(|machine| machine.id == removal.id).and_then(|m| m.cordoned);
        let draining_since = cordoned.map(at);
        let seen = Seen { pool, cluster, page_after_cordon: true, same_master: true, draining_since };
        self.intent = match confirm(&self.policy, &removal, &seen) {
            Ok(Step::Terminate) => {
                world.end(&removal.id);
                assert!(desired(world) >= RANGE.0, "{removal:?}");
                world.score.changes += 1;
                self.removed.push(world.now);
                self.history.changed(Changed { at: at(world.now), from: removal.from, to: removal.to });
                OpenIntent::None
            }
            Ok(step) => OpenIntent::Removing(Removal { step, ..removal }),
            Err(Hold::DriverLanded { .. }) => OpenIntent::None,
            Err(_) => OpenIntent::Removing(removal),
        };
    }

    fn observed(&self, world: &World) -> Observed {
        let newest = world.done.back();
        let progress = newest.map(|batch| Progress { id: batch.id, age_seconds: world.now - batch.committed });
        let batches = world.done.iter().map(|batch| Batch {
            id: batch.id,
            records: batch.records,
            started: at(batch.started),
            committed: at(batch.committed),
            cores: small(batch.cores),
        });
        let load = Load {
            samples: Known::Known(Arc::clone(&self.samples)),
            batches: batches.collect(),
            partitions: Known::Known(64),
            batch: progress.map_or_else(|| Known::Unknown("no batch yet".to_owned()), Known::Known),
        };
        let history = Past {
            behavior: self.history.clone(),
            launched_last_hour: small(i64::try_from(self.added.len()).unwrap()),
            removed_last_hour: small(i64::try_from(self.removed.len()).unwrap()),
            ..Past::default()
        };
        let risk = Risk { age_seconds: world.age(), retention_seconds: RETENTION, lost: false, shortest_seconds: None };
        Observed {
            pool: Known::Known(pool(world)),
            cluster: Known::Known(cluster(world)),
            load,
            risk: Known::Known(risk),
            history,
            intent: self.intent.clone(),
        }
    }
}

fn desired(world: &World) -> i32 {
    small(i64::try_from(world.machines.len()).unwrap())
}

fn policy() -> Policy {
    let scaling = Autoscaling {
        mode: ScalingMode::Automatic,
        min_replicas: RANGE.0,
        max_replicas: RANGE.1,
        records_per_second_per_core: PER_CORE,
        cores_per_worker: None,
        target_utilization_percent: 70,
        catch_up_seconds: 1_200,
        delay_seconds: 300,
        tolerance_percent: 10,
        cooldown_seconds: 600,
        warmup_seconds: 180,
        launches_per_hour: 100,
        removals_per_hour: 20,
        behavior: Behavior::default(),
        cores_max: None,
        driver_cores: 1,
        compact_interval: 10,
    };
    Policy {
        pool: PoolRef::AutoScalingGroup("workers".to_owned()),
        size: Sizing::Load(Box::new(scaling)),
        change: ChangePolicy::default(),
        protection: Protection::Manage,
        drain_seconds: 600,
        look_period_seconds: u32::try_from(LOOK).unwrap(),
    }
}

fn pool(world: &World) -> Pool {
    let member = |machine: &Machine| Member {
        state: if world.serves(machine) { MemberState::InService } else { MemberState::Pending },
        since: Some(at(machine.born)),
        ..Member::in_service(&machine.id, &machine.address)
    };
    Pool::at_rest(RANGE, desired(world), world.machines.iter().map(member).collect())
}

fn cluster(world: &World) -> Cluster {
    let worker = |machine: &Machine| Worker {
        id: format!("worker-{}", machine.id),
        host: machine.address.clone(),
        state: if machine.cordoned.is_none() { WorkerState::Alive } else { WorkerState::Decommissioned },
        cores: small(CORES),
        cores_used: small(CORES),
        tasks: Known::Known(small(world.tasks(machine))),
    };
    let driver =
        DriverAt { id: "driver-1".to_owned(), state: "RUNNING".to_owned(), worker: Some(format!("worker-{DRIVER}")) };
    Cluster {
        url: "spark://10.0.9.1:7077".to_owned(),
        workers: world.machines.iter().filter(|machine| world.serves(machine)).map(worker).collect(),
        drivers: vec![driver],
        app_cores: Some(small(world.executor_cores())),
    }
}
