//! How many workers the load asks for, and how that number came about.

use super::facts::{Load, Observed, Pool, Risk};
use super::need::{backlog, div_up, implausible, incoming, whole};
use super::rate::{is_implausible, per_core};
use super::seat::{self, Seats};
use super::{Autoscaling, Policy};
use crate::Known;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Percent of the shortest retention within which unread records shall have been read at the latest.
const RETENTION_PERCENT: i128 = 40;

/// Times the catch-up time that must be left until records are lost.
const SAFE_CATCH_UPS: i64 = 2;

/// How many workers the load asks for, and how that number came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Workers, within the bounds of the spec.
    pub wanted: i32,
    /// What is to be remembered as recommended: `wanted`, or the present number if that is near enough.
    pub recommended: i32,
    /// Records per second that come in.
    pub incoming: i64,
    /// Records that were not read.
    pub backlog: i64,
    /// Records per second that one core gets through.
    pub per_core: i64,
    /// Whether that was measured; else it is the spec's number.
    pub per_core_measured: bool,
    /// Cores of one worker.
    pub cores_per_worker: i32,
    /// What made the number another one, in the order applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamps: Vec<Clamp>,
    /// Seconds until unread records are lost, less the time that it takes to read them; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_loss_seconds: Option<i64>,
}

/// What made the number of workers another one than the load alone asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Clamp {
    /// `minReplicas`.
    MinReplicas,
    /// `maxReplicas`.
    MaxReplicas,
    /// The pool's own minimum.
    GroupMinimum,
    /// The pool's own maximum.
    GroupMaximum,
    /// `spark.cores.max` of the job: it takes no more cores.
    CoresMax,
    /// The topics have fewer partitions: no more cores read at once.
    Partitions,
    /// Unread records are near their end: at least one worker more than work now, at once.
    TimeToLoss,
}

/// A signal that is missing, stale or makes no sense, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// End offsets.
    Ends(String),
    /// What the query has read.
    Position(String),
    /// The Spark master.
    Master(String),
    /// The rate at which records come in.
    Rate(String),
    /// The age of unread records and their retention.
    Retention(String),
    /// One that was read and cannot be.
    Implausible(String),
}

impl fmt::Display for Signal {
    /// What is missing, without the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ends(_) => "end offsets",
            Self::Position(_) => "position of the query",
            Self::Master(_) => "Spark master",
            Self::Rate(_) => "incoming rate",
            Self::Retention(_) => "age of unread records",
            Self::Implausible(_) => "plausible numbers",
        })
    }
}

/// What the load asks for and what of it is not known.
pub(super) struct Judged {
    /// None if too little is known.
    pub size: Option<Size>,
    /// What is not known. With a size: nothing may be removed, but workers may be added.
    pub signals: Vec<Signal>,
    /// Whether unread records are near their end.
    pub is_urgent: bool,
}

/// How many workers the load asks for, or which signals are missing.
pub fn wanted(
    policy: &Policy,
    scaling: &Autoscaling,
    observed: &Observed,
    now: Timestamp,
) -> Result<Size, Vec<Signal>> {
    let Known::Known(pool) = &observed.pool else {
        return Err(vec![Signal::Master("the pool was not read".to_owned())]);
    };
    let seats = Seats::of(pool, observed.cluster.known());
    let judged = judge(scaling, &Facts { policy, observed, pool, seats: &seats, now });
    judged.size.ok_or(judged.signals)
}

/// What a size is made from.
pub(super) struct Facts<'a> {
    pub policy: &'a Policy,
    pub observed: &'a Observed,
    pub pool: &'a Pool,
    pub seats: &'a Seats<'a>,
    pub now: Timestamp,
}

/// Records that come in and records that wait.
struct Flow {
    incoming: i64,
    backlog: i64,
}

pub(super) fn judge(scaling: &Autoscaling, facts: &Facts<'_>) -> Judged {
    let mut signals = Vec::new();
    let flow = flow(facts, &mut signals);
    let risk = risk(facts, &mut signals);
    let cores = cores_per_worker(scaling, facts, &mut signals);
    let expected = scaling.records_per_second_per_core.max(1);
    let rate = per_core(&facts.observed.load.batches, (expected, scaling.delay_seconds), facts.now);
    let measured = rate.filter(|rate| !is_implausible(*rate, expected));
    if let Some(rate) = rate.filter(|_| measured.is_none()) {
        signals.push(Signal::Implausible(format!("{rate} records per second and core, where {expected} are expected")));
    }
    let (Some(flow), Some(cores_per_worker)) = (flow, cores) else {
        return Judged { size: None, signals, is_urgent: false };
    };
    let mut size = Size {
        wanted: 0,
        recommended: 0,
        incoming: flow.incoming,
        backlog: flow.backlog,
        per_core: measured.unwrap_or(expected),
        per_core_measured: measured.is_some(),
        cores_per_worker,
        clamps: Vec::new(),
        time_to_loss_seconds: None,
    };
    let is_urgent = size.reckon(scaling, facts, risk);
    Judged { size: Some(size), signals, is_urgent }
}

/// What comes in and what waits, if both are known and make sense.
fn flow(facts: &Facts<'_>, signals: &mut Vec<Signal>) -> Option<Flow> {
    let Load { samples, batch, .. } = &facts.observed.load;
    let position = why(batch).map(Signal::Position);
    let is_read = position.is_none();
    signals.extend(position);
    if let Known::Known(progress) = batch
        && (progress.id < 0 || progress.age_seconds < 0)
    {
        let text = format!("batch {} committed {} s ago", progress.id, progress.age_seconds);
        signals.push(Signal::Implausible(text));
    }
    let samples = match samples {
        Known::Known(samples) => samples,
        missing => {
            // Without a position there are no samples: that says it all.
            signals.extend(why(missing).filter(|_| is_read).map(Signal::Ends));
            return None;
        }
    };
    if let Some(what) = implausible(samples, facts.now) {
        signals.push(Signal::Implausible(what));
        return None;
    }
    match incoming(samples, facts.policy.look_period_seconds, facts.now) {
        Ok(incoming) => Some(Flow { incoming, backlog: backlog(samples, facts.now) }),
        Err(why) => {
            signals.push(Signal::Rate(why.to_string()));
            None
        }
    }
}

fn risk<'a>(facts: &Facts<'a>, signals: &mut Vec<Signal>) -> Option<&'a Risk> {
    let observed: &'a Observed = facts.observed;
    signals.extend(why(&observed.risk).map(Signal::Retention));
    let risk = observed.risk.known()?;
    let (age, kept) = (risk.age_seconds, risk.retention_seconds.min(shortest(risk)));
    if age < 0 || kept <= 0 {
        let text = format!("unread for {age} s of {kept} s that are kept");
        signals.push(Signal::Implausible(text));
        return None;
    }
    Some(risk)
}

/// Cores of one worker: those of the spec, or those that most of the pool's workers have.
fn cores_per_worker(scaling: &Autoscaling, facts: &Facts<'_>, signals: &mut Vec<Signal>) -> Option<i32> {
    let unread = why(&facts.observed.cluster);
    let is_read = unread.is_none();
    signals.extend(unread.map(Signal::Master));
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for worker in facts.seats.all.iter().filter(|seat| seat.is_sound()).filter_map(|seat| seat.worker) {
        *counts.entry(worker.cores).or_default() += 1;
    }
    let most = counts.into_iter().filter(|(cores, _)| *cores > 0).max_by_key(|(cores, count)| (*count, *cores));
    let found = scaling.cores_per_worker.filter(|cores| *cores > 0).or(most.map(|(cores, _)| cores));
    if found.is_none() && is_read {
        let text = "no worker of the pool is alive to count its cores; set `autoscaling.coresPerWorker`";
        signals.push(Signal::Master(text.to_owned()));
    }
    found
}

/// Why something is not known.
fn why<T>(fact: &Known<T>) -> Option<String> {
    match fact {
        Known::Known(_) => None,
        Known::Absent => Some("there is none".to_owned()),
        Known::Unknown(why) => Some(why.clone()),
    }
}

impl Size {
    /// Fills in what is wanted; says whether unread records are near their end.
    fn reckon(&mut self, scaling: &Autoscaling, facts: &Facts<'_>, risk: Option<&Risk>) -> bool {
        let catch_up = catch_up(scaling, risk);
        let demand = div_up(i128::from(self.incoming) * 100, i128::from(scaling.target_utilization_percent.max(1)));
        let late = self.late(scaling);
        let most = self.most_cores(scaling, facts);
        let asked = div_up(demand + div_up(late, i128::from(catch_up)), i128::from(self.per_core.max(1)));
        let mut cores = asked;
        for (limit, clamp) in &most {
            if cores > *limit {
                cores = *limit;
                self.clamps.push(*clamp);
            }
        }
        let wanted = self.workers(scaling, cores);
        let ceiling = most.iter().map(|(limit, _)| *limit).min().unwrap_or(i128::from(i32::MAX));
        let left = risk.map(|risk| self.time_to_loss(scaling, facts, risk, (ceiling, catch_up)));
        self.time_to_loss_seconds = left;
        let is_near = left.is_some_and(|left| left < catch_up.saturating_mul(SAFE_CATCH_UPS));
        let is_urgent = is_near || risk.is_some_and(|risk| risk.lost);
        let mut number = wanted;
        if is_urgent {
            self.clamps.push(Clamp::TimeToLoss);
            // One more than work: those on their way are not there yet. More than the job can use would not help.
            let works = seat::count(facts.seats.all.iter().filter(|seat| seat.is_sound()));
            number = number.max(works.saturating_add(1).min(self.workers(scaling, ceiling)));
        }
        self.wanted = self.bounded(scaling, facts.pool, number);
        is_urgent
    }

    /// Unread records beyond those that may wait: on average, half of the delay that is allowed.
    fn late(&self, scaling: &Autoscaling) -> i128 {
        let allowed = i128::from(self.incoming) * i128::from(scaling.delay_seconds) / 2;
        (i128::from(self.backlog) - allowed).max(0)
    }

    /// What limits the executors' cores, apart from the workers.
    fn most_cores(&self, scaling: &Autoscaling, facts: &Facts<'_>) -> Vec<(i128, Clamp)> {
        let job = scaling.cores_max.filter(|cores| *cores > 0).map(|cores| (i128::from(cores), Clamp::CoresMax));
        let partitions = facts.observed.load.partitions.known().filter(|partitions| **partitions > 0);
        let partitions = partitions.map(|partitions| (i128::from(*partitions), Clamp::Partitions));
        job.into_iter().chain(partitions).collect()
    }

    /// Workers with so many cores for executors, and the driver's.
    fn workers(&self, scaling: &Autoscaling, cores: i128) -> i32 {
        let all = cores + i128::from(scaling.driver_cores.max(0));
        i32::try_from(div_up(all, i128::from(self.cores_per_worker.max(1)))).unwrap_or(i32::MAX)
    }

    /// Seconds until unread records are lost, less those that the present workers take to read what is late. That counts
    /// for twice the catch-up time at most: where they hardly get ahead of what comes in, or do not, it says nothing.
    fn time_to_loss(
        &self,
        scaling: &Autoscaling,
        facts: &Facts<'_>,
        risk: &Risk,
        (ceiling, catch_up): (i128, i64),
    ) -> i64 {
        let sound = facts.seats.all.iter().filter(|seat| seat.is_sound()).filter_map(|seat| seat.worker);
        let cores: i128 = sound.map(|worker| i128::from(worker.cores.max(0))).sum();
        let cores = (cores - i128::from(scaling.driver_cores.max(0))).clamp(0, ceiling.max(0));
        let spare = cores * i128::from(self.per_core) - i128::from(self.incoming);
        let longest = i128::from(catch_up.saturating_mul(SAFE_CATCH_UPS));
        let drain = div_up(self.late(scaling), spare.max(1)).min(longest);
        whole(i128::from(risk.retention_seconds) - i128::from(risk.age_seconds) - drain)
    }

    /// Within the bounds of the spec; those of the pool are only named, the narrower of both counts later.
    fn bounded(&mut self, scaling: &Autoscaling, pool: &Pool, wanted: i32) -> i32 {
        let most = scaling.max_replicas.max(0);
        let least = scaling.min_replicas.max(1).clamp(0, most);
        let bounded = wanted.clamp(least, most);
        self.clamps.extend((wanted < bounded).then_some(Clamp::MinReplicas));
        self.clamps.extend((wanted > bounded).then_some(Clamp::MaxReplicas));
        self.clamps.extend((bounded < pool.min_size).then_some(Clamp::GroupMinimum));
        self.clamps.extend((bounded > pool.max_size).then_some(Clamp::GroupMaximum));
        bounded
    }
}

/// Seconds within which unread records shall have been read.
fn catch_up(scaling: &Autoscaling, risk: Option<&Risk>) -> i64 {
    let asked = i64::from(scaling.catch_up_seconds);
    let share = risk.map(|risk| whole(i128::from(shortest(risk)) * RETENTION_PERCENT / 100));
    share.map_or(asked, |share| asked.min(share)).max(1)
}

/// The shortest time that records are kept on any topic with unread ones.
fn shortest(risk: &Risk) -> i64 {
    risk.shortest_seconds.unwrap_or(risk.retention_seconds)
}
