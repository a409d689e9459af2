//! How many Spark workers there should be, and which of them go.
//!
//! The desired number is only ever raised. A worker is removed by its id, one at a time, after it was cordoned and
//! looked at again ([`confirm()`]): never one where a driver runs, never below what is needed, never on unknown facts.

mod confirm;
mod cost;
mod facts;
mod gate;
mod goal;
mod hold;
mod need;
pub mod outcome;
mod raise;
mod rank;
mod rate;
mod remove;
mod seat;
mod size;

pub use confirm::{Seen, confirm};
pub use facts::{
    Batch, Cluster, DriverAt, FailedLaunch, Load, Member, MemberState, Observed, Obstacle, OpenIntent, Past, Pool,
    Progress, Refused, Risk, Sample, Waiting, Worker, WorkerState,
};
pub use hold::{Hold, UNKNOWN_HOST};
pub use need::{RateUnknown, Reset, incoming};
pub use rank::{Rank, Ranked};
pub use rate::per_core;
pub use size::{Clamp, Signal, Size, wanted};

use crate::Known;
use crate::behavior::Behavior;
use crate::change::ChangePolicy;
use goal::{About, Goal};
use jiff::Timestamp;
use seat::Seats;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The validated wish for the workers of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Where they run.
    pub pool: PoolRef,
    /// How many there should be.
    pub size: Sizing,
    /// What changes wait for. Suspension and mode are looked at where changes are carried out.
    #[serde(default, skip_serializing_if = "ChangePolicy::is_default")]
    pub change: ChangePolicy,
    /// Who protects instances from scale-in.
    #[serde(default)]
    pub protection: Protection,
    /// Seconds that tasks on a cordoned worker get.
    #[serde(default = "drain_seconds")]
    pub drain_seconds: u32,
    /// Seconds between two looks.
    pub look_period_seconds: u32,
}

const fn drain_seconds() -> u32 {
    600
}

/// Where the workers run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PoolRef {
    /// On the instances of the Auto Scaling Group of that name.
    AutoScalingGroup(String),
    /// In the pods of the Deployment of that name.
    Deployment(String),
}

impl PoolRef {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::AutoScalingGroup(name) | Self::Deployment(name) => name,
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AutoScalingGroup(_) => "Auto Scaling Group",
            Self::Deployment(_) => "Deployment",
        }
    }
}

/// Who protects instances from scale-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// The operator.
    #[default]
    Manage,
    /// Somebody else: while instances are not protected, none is removed.
    Observe,
}

/// How many workers there should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sizing {
    /// Somebody else decides.
    Unmanaged,
    /// That many.
    Fixed(i32),
    /// As many as the load asks for.
    Load(Box<Autoscaling>),
}

/// How load becomes workers, and what bounds changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Autoscaling {
    /// Whether changes are carried out.
    pub mode: ScalingMode,
    /// Workers to run at least; 0 counts as 1: without a worker no driver runs that could show what is wanted.
    pub min_replicas: i32,
    /// Workers to run at most.
    pub max_replicas: i32,
    /// Records per second that one core gets through, until that was measured.
    pub records_per_second_per_core: i64,
    /// Cores of one worker; `None`: those that most of the workers have that are alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores_per_worker: Option<i32>,
    /// Percent of the cores that what comes in shall take.
    pub target_utilization_percent: u32,
    /// Seconds within which records that wait for too long shall have been read.
    pub catch_up_seconds: u32,
    /// Seconds that a record may take from Kafka to the bucket.
    pub delay_seconds: u32,
    /// Percent by which a recommendation must differ from the present number.
    pub tolerance_percent: u32,
    /// Seconds after a change in which no worker is removed. Removals that follow each other are one change as long.
    pub cooldown_seconds: u32,
    /// Seconds that a new member gets until its worker has registered.
    pub warmup_seconds: u32,
    /// Workers that load may add within an hour.
    pub launches_per_hour: i32,
    /// Workers that may be removed within an hour.
    pub removals_per_hour: i32,
    /// How fast the number may follow.
    pub behavior: Behavior,
    /// `spark.cores.max` of the job; `None`: as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores_max: Option<i32>,
    /// Cores that the driver takes.
    pub driver_cores: i32,
    /// Batches from one compaction of the file sink's log to the next.
    pub compact_interval: i64,
}

/// Records that one core of an executor reads and writes in a second, until the spec or the query's batches say more.
pub const RECORDS_PER_SECOND_PER_CORE: i32 = 8_300;

impl Default for Autoscaling {
    /// The spec's defaults; any number of workers.
    fn default() -> Self {
        Self {
            mode: ScalingMode::Automatic,
            min_replicas: 0,
            max_replicas: 10_000,
            records_per_second_per_core: RECORDS_PER_SECOND_PER_CORE.into(),
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
        }
    }
}

/// Whether the number of workers follows the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScalingMode {
    /// It does.
    #[default]
    Automatic,
    /// It is said what it should be.
    Recommend,
    /// The load is not looked at.
    Disabled,
}

/// What to do about the workers. Whatever is planned is carried out under a record, one after the other: first the
/// removal that is given up is closed, then instances are protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// More members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<Raise>,
    /// Whether the group is to be told to protect new instances from scale-in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect_newcomers: bool,
    /// Instances to protect from scale-in, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
    /// The one member that is to go, and how far that has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// Whether the removal that was written down is given up. Its worker stays cordoned. One that is neither named here
    /// nor given up waits until more is known; costs are set under its record meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandon: bool,
    /// Deletion costs to set, by pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<String, i32>,
    /// What to do about the hook that holds back an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookStep>,
    /// How many workers the load asks for; none if it is not looked at, or too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Signals that are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// The members in the order in which they may be removed, if one is too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranking: Vec<Ranked>,
    /// Why nothing is done, or less than wanted, and what is waited for.
    pub holds: Vec<Hold>,
    /// Seconds until the next look is due.
    pub next_look_seconds: u32,
}

impl Plan {
    fn new(next_look_seconds: u32) -> Self {
        Self {
            raise: None,
            protect_newcomers: false,
            protect: Vec::new(),
            removal: None,
            abandon: false,
            costs: BTreeMap::new(),
            hook: None,
            size: None,
            signals: Vec::new(),
            ranking: Vec::new(),
            holds: Vec::new(),
            next_look_seconds,
        }
    }

    /// Whether nothing is to be done.
    pub fn is_idle(&self) -> bool {
        let protects = self.protect_newcomers || !self.protect.is_empty();
        let changes = self.raise.is_some() || self.removal.is_some() || self.abandon;
        !protects && !changes && self.costs.is_empty() && self.hook.is_none()
    }

    /// Adds a hold, once.
    fn hold(&mut self, hold: Hold) {
        if !self.holds.contains(&hold) {
            self.holds.push(hold);
        }
    }

    /// Takes back whatever would need a record of its own.
    fn withdraw(&mut self) {
        let hook = self.hook.take();
        if !self.is_idle() {
            self.raise = None;
            self.removal = None;
            self.protect_newcomers = false;
            self.protect.clear();
            self.costs.clear();
            self.hold(Hold::IntentOpen);
        }
        self.hook = hook;
    }
}

/// Sets the desired number of a pool to a larger one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Raise {
    /// The pool.
    #[serde(alias = "group")]
    pub pool: String,
    /// Desired number that it has; the raise is not carried out from any other.
    pub from: i32,
    /// Desired number that it shall have; always larger than `from`.
    pub to: i32,
}

/// Ends one member and lowers the desired number by one with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Instance id or pod name.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Id of its worker at the master.
    pub worker: Option<String>,
    /// Host that the worker registered with: by it the worker is cordoned.
    pub host: Option<String>,
    /// Desired number before; the removal is not carried out from any other.
    pub from: i32,
    /// Desired number after.
    pub to: i32,
    /// Sound workers that must be left.
    pub floor: i32,
    /// What comes next.
    pub step: Step,
}

/// What comes next for a member that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The master is asked to cordon its worker, once more if need be; then [`confirm()`] is asked.
    Cordon,
    /// Tasks on it end; [`confirm()`] is asked whether they have.
    Drain {
        /// When it goes although some run.
        until: Timestamp,
    },
    /// It is ended, if [`confirm()`] says so with facts of that moment.
    Terminate,
}

/// What to do about a hook that holds back an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookStep {
    /// Tasks run there: its time begins anew.
    Heartbeat(Waiting),
    /// Nothing runs there: it may end.
    Complete(Waiting),
}

/// Decides about the workers of one pool.
pub fn plan(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::new(policy.look_period_seconds);
    let waits = match &observed.pool {
        Known::Known(pool) => {
            let seats = Seats::of(pool, observed.cluster.known());
            decide(&About { policy, observed, pool, seats, now }, &mut plan)
        }
        Known::Absent => {
            plan.holds.push(Hold::PoolAbsent);
            false
        }
        Known::Unknown(why) => {
            plan.holds.push(Hold::Unreadable { what: policy.pool.kind().to_owned(), why: why.clone() });
            mode(policy) == ScalingMode::Automatic && remove::has_begun(&observed.intent)
        }
    };
    match &observed.intent {
        OpenIntent::None => {}
        // One that waits stays on record: its worker goes on draining.
        OpenIntent::Removing(_) => plan.abandon = plan.removal.is_none() && !waits,
        OpenIntent::Other => plan.withdraw(),
    }
    plan
}

/// Whether the number is changed, or only looked at.
fn mode(policy: &Policy) -> ScalingMode {
    match &policy.size {
        Sizing::Unmanaged => ScalingMode::Disabled,
        Sizing::Fixed(_) => ScalingMode::Automatic,
        Sizing::Load(scaling) => scaling.mode,
    }
}

/// Decides about a pool that was read; returns whether a removal that has begun waits for what is not known.
fn decide(about: &About<'_>, plan: &mut Plan) -> bool {
    let mode = mode(about.policy);
    let waits = follow(about, mode, plan);
    if matches!(about.policy.pool, PoolRef::Deployment(_)) && about.observed.cluster.known().is_some() {
        let removal = plan.removal.as_ref().or(match &about.observed.intent {
            OpenIntent::Removing(open) if waits => Some(open),
            OpenIntent::Removing(_) | OpenIntent::None | OpenIntent::Other => None,
        });
        let victim = removal.map(|removal| removal.id.as_str());
        plan.costs = cost::costs(&about.seats, victim, mode == ScalingMode::Automatic);
    }
    waits
}

fn follow(about: &About<'_>, mode: ScalingMode, plan: &mut Plan) -> bool {
    let goal = if mode == ScalingMode::Disabled { None } else { Goal::of(about) };
    let Some(goal) = goal else {
        plan.holds.push(Hold::Disabled);
        return false;
    };
    plan.size.clone_from(&goal.size);
    plan.signals.clone_from(&goal.signals);
    if goal.size.is_none() {
        plan.holds.extend(remove::signals_missing(&goal));
    }
    if mode == ScalingMode::Automatic {
        return act(about, &goal, plan);
    }
    let differs = goal.wants_more() || goal.has_surplus();
    plan.holds.extend(goal.limits.iter().cloned());
    let wanted = goal.size.as_ref().map_or(goal.target, |size| size.wanted);
    plan.holds.extend(differs.then_some(Hold::RecommendOnly { wanted }));
    plan.holds.extend((!differs && goal.limits.is_empty()).then_some(Hold::WithinRange));
    false
}

fn act(about: &About<'_>, goal: &Goal<'_>, plan: &mut Plan) -> bool {
    let mut waits = false;
    plan.protect_newcomers = gate::protects_newcomers(about.policy, about.pool);
    plan.protect = gate::to_protect(about.policy, about.pool);
    plan.hook = hook(about);
    if goal.wants_more() || raise::agreed(about, goal) > about.pool.desired {
        plan.holds.extend(goal.limits.iter().cloned());
        raise::raise(about, goal, plan);
        if plan.raise.is_none() && goal.cordoned > 0 && about.pool.desired >= raise::bound(about, goal) {
            waits = remove::remove(about, goal, plan);
        }
    } else if goal.wants_fewer() {
        waits = remove::remove(about, goal, plan);
    } else if goal.limits.is_empty() {
        plan.holds.push(gate::above(about.pool).unwrap_or(Hold::WithinRange));
    } else {
        plan.holds.extend(goal.limits.iter().cloned());
    }
    tell_failing(about, plan);
    let is_read = about.observed.cluster.known().is_some();
    if is_read { waits } else { plan.raise.is_none() && remove::waits_for_master(about) }
}

/// What was asked for does not come: there are not as many as there should be, although nothing is left to ask for.
fn tell_failing(about: &About<'_>, plan: &mut Plan) {
    let is_told = plan.holds.iter().any(|hold| matches!(hold, Hold::LaunchesFail { .. }));
    if is_told || plan.raise.is_some() || plan.removal.is_some() {
        return;
    }
    if let Some(failing) = raise::failing(about) {
        plan.holds.retain(|hold| *hold != Hold::WithinRange);
        plan.holds.push(failing);
    }
}

/// An instance that our removal ends is held back until its tasks have ended; of an unknown machine nothing is said.
fn hook(about: &About<'_>) -> Option<HookStep> {
    let waiting = about.pool.hook.as_ref()?;
    about.observed.cluster.known()?;
    let seat = about.seats.find(&waiting.instance).filter(|seat| seat.alone)?;
    if seat.member.state != MemberState::Leaving {
        return None;
    }
    let runs = seat.worker.is_some_and(|worker| worker.state != WorkerState::Dead && worker.busy() > 0);
    let is_out = seat.worker.is_some_and(|worker| worker.state == WorkerState::Decommissioned);
    let may_come = about.seats.lost_driver.is_some() || (about.seats.waits && !is_out);
    let hosts_driver = seat.driver.is_some() || may_come;
    let step = if runs || hosts_driver { HookStep::Heartbeat } else { HookStep::Complete };
    Some(step(waiting.clone()))
}

/// The member that would go first, all members in their order, and what holds a removal whatever the load says.
pub fn victim(policy: &Policy, observed: &Observed) -> (Option<Removal>, Vec<Ranked>, Vec<Hold>) {
    let facts = confirm::read(policy.pool.kind(), &observed.pool)
        .and_then(|pool| Ok((pool, confirm::read("Spark master", &observed.cluster)?)));
    let (pool, cluster) = match facts {
        Ok(facts) => facts,
        Err(hold) => return (None, Vec::new(), vec![hold]),
    };
    let seats = Seats::of(pool, Some(cluster));
    let about = About { policy, observed, pool, seats, now: Timestamp::UNIX_EPOCH };
    let mut holds = gate::closed(policy, pool, &about.seats);
    let ranked = rank::ranked(&about.seats);
    let order = ranked.iter().filter_map(|(place, _)| about.seats.all.get(*place));
    let wanted = if let Sizing::Fixed(number) = policy.size { number } else { 0 };
    let removal = remove::begin(&about, true, order, gate::needed(policy, pool, wanted));
    if let Ok((removal, _)) = &removal {
        holds.extend(gate::awaited(&about.seats, &removal.id));
    }
    let removal = removal.map_err(|hold| holds.push(hold)).ok().filter(|_| holds.is_empty());
    (removal.map(|(removal, _)| removal), ranked.into_iter().map(|(_, ranked)| ranked).collect(), holds)
}
