//! What an operator sees as the facts of the shipped planner, and its answers.

use crate::cache::Cache;
use crate::world::{Driver, Group, Id, MAX, MIN, Members, NAMES, Raise, Removal, Set, Step, Wish, has};
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::behavior::{Behavior, Rules, Select, Step as Counted, StepPolicy};
use logwise_plan::change::ChangePolicy;
use logwise_plan::workers::{
    self, Autoscaling, Cluster, DriverAt, Hold, Load, Member, MemberState, Observed, OpenIntent, Past, Policy, Pool,
    PoolRef, Progress, Protection, Risk, Sample, Seen, Sizing, Worker, WorkerState, confirm, outcome, plan,
};
use std::sync::{Arc, LazyLock};

/// The group, and what the master's page says. The two are read one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub group: Group,
    pub workers: Set,
    pub cordoned: Set,
    pub driver: Driver,
}

/// What stays the same in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Habit {
    pub busy: bool,
    pub load: bool,
}

/// What the planner is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub view: View,
    pub target: u8,
    /// The prepared removal, and how far it has come as far as the operator knows.
    pub open: Option<(Removal, Step)>,
    pub habit: Habit,
    pub reader: Reader,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    /// It is told members and workers the other way round: AWS and the master list them in any order.
    pub backwards: bool,
    /// It also calls them by names whose order is the other way round: what rule 6 forbids.
    pub renamed: bool,
}

/// What the planner answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Nothing,
    Raise(Raise),
    Remove(Removal, Step),
    /// The prepared removal is given up.
    Abandon,
}

/// What the second look is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Second {
    pub view: View,
    pub removal: Removal,
    pub step: Step,
    pub habit: Habit,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    End,
    Drain,
    GiveUp,
    Wait,
}

/// What was sent, and the group as it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judged {
    pub wish: Wish,
    pub group: Group,
    /// Whether it is judged as if members went because of a lower number.
    pub by_number: bool,
}

static PLANS: LazyLock<Cache<Question, Decision>> = LazyLock::new(Cache::new);
static LOOKS: LazyLock<Cache<Second, Verdict>> = LazyLock::new(Cache::new);
static ENDS: LazyLock<Cache<Judged, Option<bool>>> = LazyLock::new(Cache::new);

/// `workers::plan`.
pub fn planned(question: Question) -> Decision {
    PLANS.answer(question, plan_once)
}

/// `workers::confirm`.
pub fn confirmed(second: Second) -> Verdict {
    LOOKS.answer(second, confirm_once)
}

/// `workers::outcome`: whether what was sent is there; none: that does not show yet.
pub fn judged(judged: Judged) -> Option<bool> {
    ENDS.answer(judged, judge_once)
}

/// Different questions that the planner was asked, at the first look and at the second.
pub fn questions() -> (usize, usize) {
    (PLANS.questions(), LOOKS.questions())
}

fn plan_once(question: Question) -> Decision {
    let Question { view, target, open, habit, reader } = question;
    let intent = match open {
        Some((removal, step)) => OpenIntent::Removing(shipped(reader, removal, step)),
        None => OpenIntent::None,
    };
    let observed = Observed {
        pool: Known::Known(pool(reader, &view.group)),
        cluster: Known::Known(cluster(reader, &view, habit)),
        load: if habit.load { load(target) } else { Load::default() },
        risk: Known::Known(Risk { age_seconds: 0, retention_seconds: 604_800, lost: false, shortest_seconds: None }),
        history: Past::default(),
        intent,
    };
    let plan = plan(&policy(target, habit), &observed, now());
    assert!(!plan.protect_newcomers && plan.protect.is_empty(), "all of them are protected: {plan:?}");
    match (plan.abandon, plan.removal, plan.raise) {
        (true, ..) => Decision::Abandon,
        (false, Some(removal), None) => {
            let (removal, step) = ours(reader, &removal);
            Decision::Remove(removal, step)
        }
        (false, None, Some(raise)) => Decision::Raise(Raise { from: small(raise.from), to: small(raise.to) }),
        (false, None, None) => Decision::Nothing,
        (false, Some(removal), Some(raise)) => unreachable!("{removal:?} and {raise:?}"),
    }
}

fn confirm_once(second: Second) -> Verdict {
    let Second { view, removal, step, habit } = second;
    let reader = Reader { backwards: false, renamed: false };
    let seen = Seen {
        pool: Known::Known(pool(reader, &view.group)),
        cluster: Known::Known(cluster(reader, &view, habit)),
        page_after_cordon: true,
        same_master: true,
        draining_since: Some(now()),
    };
    // The same look still goes by what the object asked for when it began.
    match confirm(&policy(removal.floor, habit), &shipped(reader, removal, step), &seen) {
        Ok(workers::Step::Terminate) => Verdict::End,
        Ok(workers::Step::Drain { .. }) => Verdict::Drain,
        Ok(workers::Step::Cordon) => Verdict::Wait,
        Err(Hold::DriverLanded { .. }) => Verdict::GiveUp,
        Err(_) => Verdict::Wait,
    }
}

fn judge_once(Judged { wish, group, by_number }: Judged) -> Option<bool> {
    let reader = Reader { backwards: false, renamed: false };
    let pool = pool(reader, &group);
    let ended = match wish {
        Wish::Raise(Raise { from, to }) => {
            let raise = workers::Raise { pool: "workers".to_owned(), from: from.into(), to: to.into() };
            outcome::of_raise(&raise, &pool)
        }
        Wish::Remove(removal) => {
            let sent = outcome::Sent { by_number, answered: false };
            outcome::of_removal(&shipped(reader, removal, Step::Terminate), sent, &pool)?
        }
    };
    Some(ended == outcome::Outcome::Done)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).expect("it is in range")
}

fn small(number: i32) -> u8 {
    u8::try_from(number).expect("there are few workers")
}

fn name(reader: Reader, id: Id) -> String {
    format!("i-{:02}", if reader.renamed { NAMES - 1 - id } else { id })
}

fn id(reader: Reader, name: &str) -> Id {
    let number = name.strip_prefix("i-").and_then(|number| number.parse().ok()).expect("it was named here");
    if reader.renamed { NAMES - 1 - number } else { number }
}

fn address(id: Id) -> String {
    format!("10.0.0.{id}")
}

fn worker_id(id: Id) -> String {
    format!("worker-{id}")
}

fn shipped(reader: Reader, removal: Removal, step: Step) -> workers::Removal {
    let Removal { id, from, floor } = removal;
    workers::Removal {
        id: name(reader, id),
        address: address(id),
        worker: Some(worker_id(id)),
        host: Some(address(id)),
        from: from.into(),
        to: i32::from(from) - 1,
        floor: floor.into(),
        step: match step {
            Step::Cordon => workers::Step::Cordon,
            // A drained worker has had its time when it is looked at next.
            Step::Drain => workers::Step::Drain { until: now() },
            Step::Terminate => workers::Step::Terminate,
        },
    }
}

fn ours(reader: Reader, removal: &workers::Removal) -> (Removal, Step) {
    let step = match removal.step {
        workers::Step::Cordon => Step::Cordon,
        workers::Step::Drain { .. } => Step::Drain,
        workers::Step::Terminate => Step::Terminate,
    };
    let (id, from, floor) = (id(reader, &removal.id), small(removal.from), small(removal.floor));
    assert_eq!((removal.host.as_deref(), removal.to), (Some(address(id).as_str()), removal.from - 1), "{removal:?}");
    (Removal { id, from, floor }, step)
}

fn in_order<T>(reader: Reader, mut all: Vec<T>) -> Vec<T> {
    if reader.backwards {
        all.reverse();
    }
    all
}

fn pool(reader: Reader, group: &Group) -> Pool {
    let member = |one: Id| Member {
        state: if has(group.serving, one) { MemberState::InService } else { MemberState::Pending },
        protected: has(group.serving, one),
        ..Member::in_service(name(reader, one), address(one))
    };
    let members = in_order(reader, Members(group.serving | group.pending).map(member).collect());
    Pool::at_rest((MIN.into(), MAX.into()), group.desired.into(), members)
}

/// Cores of a worker.
const CORES: i32 = 2;

fn cluster(reader: Reader, view: &View, habit: Habit) -> Cluster {
    let tasks = i32::from(habit.busy);
    let worker = |one: Id| Worker {
        id: worker_id(one),
        host: address(one),
        state: if has(view.cordoned, one) { WorkerState::Decommissioned } else { WorkerState::Alive },
        cores: CORES,
        cores_used: tasks,
        tasks: Known::Known(tasks),
    };
    let at = |state: &str, worker: Option<Id>| DriverAt {
        id: "driver".to_owned(),
        state: state.to_owned(),
        worker: worker.map(worker_id),
    };
    let drivers = match view.driver {
        Driver::Absent => Vec::new(),
        Driver::Waiting => vec![at("SUBMITTED", None)],
        Driver::On(one) => vec![at("RUNNING", Some(one))],
    };
    let workers = in_order(reader, Members(view.workers).map(worker).collect());
    Cluster { url: "spark://master:7077".to_owned(), workers, drivers, app_cores: None }
}

fn policy(target: u8, habit: Habit) -> Policy {
    let size = if habit.load { Sizing::Load(Box::new(scaling())) } else { Sizing::Fixed(target.into()) };
    Policy {
        pool: PoolRef::AutoScalingGroup("workers".to_owned()),
        size,
        change: ChangePolicy::default(),
        protection: Protection::Manage,
        drain_seconds: 0,
        look_period_seconds: LOOK_SECONDS,
    }
}

const LOOK_SECONDS: u32 = 30;

/// Records per second that one core gets through.
const PER_CORE: i64 = 1_000;

/// As many workers as the load asks for, at once and in one step: what waits is not what is modelled.
fn scaling() -> Autoscaling {
    let policies = vec![StepPolicy { kind: Counted::Replicas, value: MAX.into(), period_seconds: 1 }];
    let rules = Rules { stabilization_window_seconds: 0, select_policy: Select::Max, policies };
    Autoscaling {
        min_replicas: MIN.into(),
        max_replicas: MAX.into(),
        records_per_second_per_core: PER_CORE,
        cores_per_worker: Some(CORES),
        target_utilization_percent: 100,
        tolerance_percent: 0,
        cooldown_seconds: 0,
        warmup_seconds: 0,
        behavior: Behavior { scale_up: rules.clone(), scale_down: rules },
        driver_cores: 0,
        ..Autoscaling::default()
    }
}

/// As many records as keep so many workers at work, all of them read.
fn load(target: u8) -> Load {
    let per_second = i64::from(target) * i64::from(CORES) * PER_CORE - PER_CORE / 2;
    let sample = |number: i64| {
        let seconds = number * i64::from(LOOK_SECONDS);
        let records = seconds * per_second;
        let at = now() - SignedDuration::from_secs(LONG - seconds);
        Sample { at, ends: records, read: records, other_clock: false }
    };
    Load {
        samples: Known::Known(Arc::new((0..=LONG / i64::from(LOOK_SECONDS)).map(sample).collect())),
        batches: Vec::new(),
        partitions: Known::Known(1_000),
        // Nobody is at work on the next one.
        batch: Known::Known(Progress { id: 1, age_seconds: 3_600 }),
    }
}

/// Seconds for which the load has been the same.
const LONG: i64 = 600;
