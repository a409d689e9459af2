//! How many partitions each topic should have. Partitions only ever grow.

use crate::change::{self, ChangePolicy, growth_plan_id, is_growth_plan_id};
use crate::{Known, selector::TopicSelector};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The validated wish for the topics of one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Which topics belong to the pipeline.
    pub topics: TopicSelector,
    /// Partitions every topic should have at least; `None`: no floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_partitions: Option<i32>,
    /// Partitions no topic may pass by our hand.
    pub max_partitions: i32,
    /// Whether growth is carried out.
    pub mode: ScalingMode,
    /// What growth waits for. Suspension and mode are looked at where changes are carried out.
    #[serde(default, skip_serializing_if = "ChangePolicy::is_default")]
    pub change: ChangePolicy,
    /// Seconds between two looks.
    pub look_period_seconds: u32,
}

/// Whether partition growth is carried out, only recommended, or not even considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScalingMode {
    /// Grow topics.
    Automatic,
    /// Say what would be grown.
    Recommend,
    /// Only observe.
    Disabled,
}

/// What one look at the Kafka cluster found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Id that the Kafka cluster gives itself; plans are named by it.
    #[serde(default = "not_asked", skip_serializing_if = "Known::is_unknown")]
    pub cluster_id: Known<String>,
    /// Growths that were shown to wait for approval at the last look, by topic. They go on being proposed while at least
    /// that much is wanted, so that the id that a person sees does not change under his hands. Approval does not depend
    /// on it: an approved id counts for as long as its growth is wanted, whether anybody remembers having shown it or not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pending: BTreeMap<String, Pending>,
    /// All topics of the cluster that the policy selects, by name; unknown when the cluster did not answer.
    pub topics: Known<BTreeMap<String, Topic>>,
}

/// Observed of a cluster that did not tell its id and has no growth pending.
impl From<Known<BTreeMap<String, Topic>>> for Observed {
    fn from(topics: Known<BTreeMap<String, Topic>>) -> Self {
        Self { cluster_id: not_asked(), pending: BTreeMap::new(), topics }
    }
}

fn not_asked() -> Known<String> {
    Known::Unknown("the cluster's id was not read".to_owned())
}

/// A growth that waits for approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Partitions the topic had.
    pub from: i32,
    /// Partitions it shall get.
    pub to: i32,
}

/// One topic as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Number of partitions.
    pub partitions: i32,
    /// Partitions without a leader.
    #[serde(default)]
    pub leaderless: i32,
    /// Partitions with fewer in-sync replicas than replicas.
    #[serde(default)]
    pub under_replicated: i32,
    /// Sum of the end offsets of all partitions, in records; unknown when any partition could not be read.
    pub end_offsets: Known<i64>,
}

/// What to do about partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Growths to carry out, by topic name.
    pub actions: Vec<Grow>,
    /// Topics left alone and why, by topic name.
    pub holds: BTreeMap<String, Hold>,
    /// Growths that a person decides about, approved or not, by topic: those that are shown are to be remembered as
    /// [`Observed::pending`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proposals: BTreeMap<String, Proposal>,
    /// Why nothing at all was decided, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Seconds until the next look is due.
    pub next_look_seconds: u32,
}

/// One growth, with the partition count it assumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grow {
    /// The topic.
    pub topic: String,
    /// Partitions the topic has; the growth is not carried out from any other count.
    pub from: i32,
    /// Partitions the topic shall have.
    pub to: i32,
}

/// A growth that a person decides about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// Partitions the topic has.
    pub from: i32,
    /// Partitions it gets: what was wanted when the growth was first proposed.
    pub to: i32,
    /// The id that approves exactly this growth.
    pub plan_id: String,
}

/// Why a topic was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Hold {
    /// The topic has the partitions it should have.
    Sufficient,
    /// The topic has more partitions than `maxPartitions`; partitions never shrink.
    AboveMaximum,
    /// The topic wants more partitions than `maxPartitions` and stands at it.
    Maximum {
        /// Partitions it would have without the maximum.
        wanted: i32,
    },
    /// `partitionScaling.mode` is Recommend.
    #[serde(rename_all = "camelCase")]
    RecommendOnly {
        /// Partitions the topic should have.
        wanted: i32,
    },
    /// `partitionScaling.mode` is Disabled.
    Disabled,
    /// Partitions lack a leader or replicas are out of sync: no growth until the topic is healthy.
    #[serde(rename_all = "camelCase")]
    Unhealthy {
        /// Partitions the topic should have.
        wanted: i32,
        /// Partitions without a leader.
        leaderless: i32,
        /// Partitions with replicas out of sync.
        under_replicated: i32,
    },
    /// `changePolicy.approval` is Always and the growth is not approved.
    #[serde(rename_all = "camelCase")]
    ApprovalRequired {
        /// Partitions the topic should have.
        wanted: i32,
        /// Partitions it gets when the plan is approved: what was wanted when the plan was first made.
        to: i32,
        /// The id that approves this growth.
        plan_id: String,
    },
    /// No window is open.
    #[serde(rename_all = "camelCase")]
    WaitingForWindow {
        /// Partitions the topic should have.
        wanted: i32,
        /// When it may grow next; `None`: never, as far as can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_opening: Option<Timestamp>,
    },
    /// The topic could not be read completely: nothing is decided about it.
    Unreadable {
        /// What failed.
        why: String,
    },
}

/// Why nothing could be decided about any topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Blocked {
    /// The cluster did not answer.
    Unreadable {
        /// What failed.
        why: String,
    },
}

/// Decides for every selected topic: grow it, or say why not.
pub fn plan(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan {
        actions: Vec::new(),
        holds: BTreeMap::new(),
        proposals: BTreeMap::new(),
        blocked: None,
        next_look_seconds: policy.look_period_seconds,
    };
    let topics = match &observed.topics {
        Known::Known(topics) => topics,
        Known::Absent => return plan,
        Known::Unknown(why) => {
            plan.blocked = Some(Blocked::Unreadable { why: why.clone() });
            return plan;
        }
    };
    let closed = change::closed(&policy.change.windows, now);
    let next_opening = closed.as_ref().and_then(|closed| closed.next_opening);
    for (name, topic) in topics.iter().filter(|(name, _)| policy.topics.matches(name)) {
        let growth = match target(policy, topic) {
            Ok(wanted) => agree(policy, observed, (name, topic), wanted, &mut plan.proposals),
            Err(hold) => Err(hold),
        };
        match growth {
            Ok(Growth { wanted, .. }) if closed.is_some() => {
                plan.next_look_seconds = change::look_seconds(policy.look_period_seconds, next_opening, now);
                plan.holds.insert(name.clone(), Hold::WaitingForWindow { wanted, next_opening });
            }
            Ok(Growth { to, .. }) => plan.actions.push(Grow { topic: name.clone(), from: topic.partitions, to }),
            Err(hold) => {
                plan.holds.insert(name.clone(), hold);
            }
        }
    }
    plan
}

/// A growth that nothing but a window may hold back.
struct Growth {
    wanted: i32,
    to: i32,
}

/// The partition count that the topic should grow to, or why it is left alone.
fn target(policy: &Policy, topic: &Topic) -> Result<i32, Hold> {
    if let Some(why) = unreadable(topic) {
        return Err(Hold::Unreadable { why });
    }
    if topic.partitions > policy.max_partitions {
        return Err(Hold::AboveMaximum);
    }
    let wanted = policy.default_partitions.unwrap_or(topic.partitions);
    let allowed = wanted.min(policy.max_partitions);
    if wanted <= topic.partitions {
        return Err(Hold::Sufficient);
    }
    if allowed <= topic.partitions {
        return Err(Hold::Maximum { wanted });
    }
    match policy.mode {
        ScalingMode::Disabled => Err(Hold::Disabled),
        ScalingMode::Recommend => Err(Hold::RecommendOnly { wanted: allowed }),
        ScalingMode::Automatic => Ok(allowed),
    }
}

/// The growth that a person has agreed to, or need not agree to, of a topic that is well.
fn agree(
    policy: &Policy,
    observed: &Observed,
    (name, topic): (&str, &Topic),
    wanted: i32,
    proposals: &mut BTreeMap<String, Proposal>,
) -> Result<Growth, Hold> {
    let mut to = wanted;
    if policy.change.needs_approval(false) {
        let proposal = propose(policy, observed, name, (topic.partitions, wanted))?;
        to = proposal.to;
        let plan_id = proposal.plan_id.clone();
        proposals.insert(name.to_owned(), proposal);
        // Before health: a person can say yes while brokers come and go.
        if !policy.change.approved_plans.contains(&plan_id) {
            return Err(Hold::ApprovalRequired { wanted, to, plan_id });
        }
    }
    // A negative count is nonsense, and nonsense is not health.
    if topic.leaderless != 0 || topic.under_replicated != 0 {
        let (leaderless, under_replicated) = (topic.leaderless, topic.under_replicated);
        return Err(Hold::Unhealthy { wanted, leaderless, under_replicated });
    }
    Ok(Growth { wanted, to })
}

/// The growth to ask a person about. One that is approved goes first: whatever was shown once can be approved for as
/// long as at least that much is wanted. Otherwise the pending one, for the same time.
fn propose(policy: &Policy, observed: &Observed, name: &str, (from, wanted): (i32, i32)) -> Result<Proposal, Hold> {
    let cluster_id = match &observed.cluster_id {
        Known::Known(id) => id,
        Known::Absent => return Err(Hold::Unreadable { why: "the cluster has no id to name a plan by".to_owned() }),
        Known::Unknown(why) => return Err(Hold::Unreadable { why: why.clone() }),
    };
    let proposal = |to: i32| Proposal { from, to, plan_id: growth_plan_id(cluster_id, name, from, to) };
    let is_approved = |proposal: &Proposal| policy.change.approved_plans.contains(&proposal.plan_id);
    let pending = observed.pending.get(name).filter(|p| p.from == from && p.to > from && p.to <= wanted);
    let pending = pending.map(|pending| proposal(pending.to));
    if let Some(approved) = pending.clone().filter(is_approved) {
        return Ok(approved);
    }
    // Without an approved growth no id can match: spares the hashes of many topics.
    let asked = policy.change.approved_plans.iter().any(|id| is_growth_plan_id(id));
    let approved = if asked { (from + 1..=wanted).rev().map(proposal).find(is_approved) } else { None };
    Ok(approved.or(pending).unwrap_or_else(|| proposal(wanted)))
}

/// What of the topic was not read, if anything.
fn unreadable(topic: &Topic) -> Option<String> {
    // Brokers answer without partitions while a topic is being created or deleted; no topic really has none.
    if topic.partitions < 1 {
        return Some(format!("the brokers reported {} partitions", topic.partitions));
    }
    match &topic.end_offsets {
        Known::Known(_) => None,
        Known::Absent => Some("the brokers reported no end offsets".to_owned()),
        Known::Unknown(why) => Some(why.clone()),
    }
}
