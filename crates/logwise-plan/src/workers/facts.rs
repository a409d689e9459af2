//! What is known of the workers: where they run, what Spark says of them, the load, and what was done before.

use super::Removal;
use crate::Known;
use crate::behavior::History;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The machines or pods; absent when no group or Deployment has that name.
    pub pool: Known<Pool>,
    /// What the active Spark master says.
    #[serde(default = "no_cluster")]
    pub cluster: Known<Cluster>,
    /// What comes in and what is read.
    #[serde(default)]
    pub load: Load,
    /// How near unread records are to their end.
    #[serde(default = "no_risk")]
    pub risk: Known<Risk>,
    /// What was recommended and done before.
    #[serde(default)]
    pub history: Past,
    /// The record of a change of this pool that is not closed.
    #[serde(default)]
    pub intent: OpenIntent,
}

/// An Auto Scaling Group or a Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Smallest size that it allows itself.
    pub min_size: i32,
    /// Largest size that it allows itself.
    pub max_size: i32,
    /// Instances or pods that it is to have.
    pub desired: i32,
    /// Those that it has, whatever they do.
    #[serde(default)]
    pub members: Vec<Member>,
    /// Whether new instances are protected from scale-in; absent for a Deployment.
    #[serde(default = "not_asked")]
    pub newcomers_protected: Known<bool>,
    /// What keeps workers from being removed for now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub obstacles: BTreeSet<Obstacle>,
    /// The newest launch that failed, if none has succeeded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_launch: Option<FailedLaunch>,
    /// The hook that holds back an instance which our removal ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Waiting>,
}

impl Pool {
    /// One of these members that is to have so many between these bounds, protects new ones and does nothing by itself:
    /// for facts that are made up, as those of a simulation.
    pub fn at_rest((min_size, max_size): (i32, i32), desired: i32, members: Vec<Member>) -> Self {
        Self {
            min_size,
            max_size,
            desired,
            members,
            newcomers_protected: Known::Known(true),
            obstacles: BTreeSet::default(),
            failed_launch: None,
            hook: None,
        }
    }

    /// Members in service.
    pub fn in_service(&self) -> i32 {
        let serving = self.members.iter().filter(|member| member.state == MemberState::InService);
        i32::try_from(serving.count()).unwrap_or(i32::MAX)
    }
}

/// An instance or a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Instance id or pod name.
    pub id: String,
    /// Its private address.
    pub address: Known<String>,
    /// Where in its life it is.
    pub state: MemberState,
    /// Whether the pool thinks that it is well; an instance that is not is about to be replaced.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub healthy: bool,
    /// Whether it is protected from scale-in.
    #[serde(default)]
    pub protected: bool,
    /// Zone that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it was made from the present template.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub current_template: bool,
    /// When it was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Deletion cost of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i32>,
    /// Whether somebody else has set that cost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_of_others: bool,
    /// The ReplicaSet of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
}

impl Member {
    /// One that serves, is well and protected, and of which nothing more is known: for facts that are made up, as those
    /// of a simulation.
    pub fn in_service(id: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            address: Known::Known(address.into()),
            state: MemberState::InService,
            healthy: true,
            protected: true,
            zone: None,
            current_template: true,
            since: None,
            cost: None,
            cost_of_others: false,
            replica_set: None,
        }
    }
}

/// Where in its life a member is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberState {
    /// It comes.
    Pending,
    /// It serves; a pod: it is ready.
    InService,
    /// It goes.
    Leaving,
    /// Something else, such as `Standby`.
    Other(String),
}

/// What keeps workers from being removed for now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Obstacle {
    /// An instance refresh replaces instances.
    Refresh,
    /// The group moves instances between zones.
    Rebalance,
    /// A process of the group that changes need is suspended.
    Suspended(String),
    /// A Deployment replaces its pods.
    Rollout,
    /// The driver's pod is not ready: it would be the first to go, whatever its deletion cost.
    DriverPodNotReady,
    /// It could not be read whether the group is busy, with the reason.
    Unread(String),
}

/// A launch that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedLaunch {
    /// When.
    pub at: Timestamp,
    /// Why, in the group's own words.
    pub text: String,
}

/// A lifecycle hook that holds an instance back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The instance.
    pub instance: String,
    /// The hook.
    pub hook: String,
    /// The token of its action, if one is known; else empty.
    pub token: String,
}

/// What the active Spark master says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The master's own URL.
    pub url: String,
    /// Workers that it knows, in whatever state.
    #[serde(default)]
    pub workers: Vec<Worker>,
    /// Drivers of any class that have not ended.
    #[serde(default)]
    pub drivers: Vec<DriverAt>,
    /// Cores that the application has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_cores: Option<i32>,
}

/// A worker as the master knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Id that it has at the master.
    pub id: String,
    /// Host that it registered with.
    pub host: String,
    /// Its state.
    pub state: WorkerState,
    /// Its cores.
    pub cores: i32,
    /// Cores that executors and drivers have taken.
    #[serde(default)]
    pub cores_used: i32,
    /// Tasks that run on it.
    #[serde(default = "no_tasks", skip_serializing_if = "Known::is_unknown")]
    pub tasks: Known<i32>,
}

impl Worker {
    /// Tasks that run on it; cores that are taken, where nobody counts tasks or the count makes no sense.
    pub(super) fn busy(&self) -> i32 {
        match self.tasks {
            Known::Known(tasks) if tasks >= 0 => tasks,
            _ => self.cores_used.max(0),
        }
    }
}

/// State of a worker at the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// It takes executors and drivers.
    Alive,
    /// It is cordoned: it takes nothing new.
    Decommissioned,
    /// It was not heard of for too long.
    Dead,
    /// Something else, such as `UNKNOWN`.
    Other(String),
}

/// A driver that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverAt {
    /// Its id.
    pub id: String,
    /// Its state as the master names it, such as `RUNNING`.
    pub state: String,
    /// Id of the worker that it runs on; none while the master has not placed it, or does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// What comes in and what is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Load {
    /// End offsets and read offsets over the last minutes, oldest first.
    #[serde(with = "shared")]
    pub samples: Known<Arc<Vec<Sample>>>,
    /// The query's newest batches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<Batch>,
    /// Partitions of the topics that the query reads: no more tasks read at once.
    pub partitions: Known<i32>,
    /// How far the query has come.
    pub batch: Known<Progress>,
}

impl Default for Load {
    /// Nothing was read.
    fn default() -> Self {
        Self { samples: not_asked(), batches: Vec::new(), partitions: not_asked(), batch: not_asked() }
    }
}

/// Sums over the topics that the query reads, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// End offsets.
    pub ends: i64,
    /// Offsets up to which the query has committed, records that have expired left out.
    pub read: i64,
    /// Whether no rate follows from it and the sample before: another clock told its time, or other topics were added
    /// up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_clock: bool,
}

/// A batch that the query has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Its number.
    pub id: i64,
    /// Records in it.
    pub records: i64,
    /// When it began.
    pub started: Timestamp,
    /// When it was committed.
    pub committed: Timestamp,
    /// Cores that the application had meanwhile, at the least; 0 where nobody looked.
    pub cores: i32,
}

/// How far the query has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The newest batch that it has committed.
    pub id: i64,
    /// Seconds since then.
    pub age_seconds: i64,
}

/// How near unread records are to their end, on the topic where they are lost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Risk {
    /// Seconds that the oldest unread record has waited.
    pub age_seconds: i64,
    /// Seconds that records are kept.
    pub retention_seconds: i64,
    /// Whether unread records are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// The shortest time that records are kept on any topic with unread ones; none: that of this topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortest_seconds: Option<i64>,
}

/// What was recommended and done before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Past {
    /// Recommendations ([`super::Size::recommended`]) and changes of the last hour.
    pub behavior: History,
    /// Workers added within the last hour.
    pub launched_last_hour: i32,
    /// Workers removed within the last hour.
    pub removed_last_hour: i32,
    /// Until when no worker is added since launches fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_until: Option<Timestamp>,
    /// The master's refusal to cordon, if the last attempt met one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordon_refused: Option<Refused>,
    /// The refusal to end a member, if the last attempt met one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_refused: Option<Refused>,
}

/// Something that was asked for and refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The answer.
    pub why: String,
    /// When to ask again.
    pub until: Timestamp,
}

/// The record of a change of this pool that is not closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OpenIntent {
    /// There is none.
    #[default]
    None,
    /// A removal of ours that was written down and not carried out yet. Its step is the newest that is known of: what
    /// [`super::confirm()`] gave last, or [`super::Step::Cordon`] where nobody remembers it.
    Removing(Removal),
    /// One that may have been carried out, or of another object.
    Other,
}

/// Shared samples are written as the samples themselves.
mod shared {
    use super::{Arc, Known, Sample};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(samples: &Known<Arc<Vec<Sample>>>, to: S) -> Result<S::Ok, S::Error> {
        let plain = match samples {
            Known::Known(samples) => Known::Known(samples.as_slice()),
            Known::Absent => Known::Absent,
            Known::Unknown(why) => Known::Unknown(why.clone()),
        };
        plain.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Known<Arc<Vec<Sample>>>, D::Error> {
        Known::<Vec<Sample>>::deserialize(from).map(|samples| samples.map(Arc::new))
    }
}

fn not_asked<T>() -> Known<T> {
    Known::Unknown("it was not read".to_owned())
}

fn no_cluster() -> Known<Cluster> {
    Known::Unknown("no master was asked".to_owned())
}

fn no_risk() -> Known<Risk> {
    Known::Unknown("it is not known how old unread records are".to_owned())
}

fn no_tasks() -> Known<i32> {
    Known::Unknown("nobody counts tasks".to_owned())
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_yes(flag: &bool) -> bool {
    *flag
}
