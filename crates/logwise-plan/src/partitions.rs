//! How many partitions each topic should have. Partitions only ever grow.

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
    /// All topics of the cluster that the policy selects, by name; unknown when the cluster did not answer.
    pub topics: Known<BTreeMap<String, Topic>>,
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
pub fn plan(policy: &Policy, observed: &Observed, _now: Timestamp) -> Plan {
    let mut plan = Plan {
        actions: Vec::new(),
        holds: BTreeMap::new(),
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
    for (name, topic) in topics.iter().filter(|(name, _)| policy.topics.matches(name)) {
        match decide(policy, topic) {
            Ok(to) => plan.actions.push(Grow { topic: name.clone(), from: topic.partitions, to }),
            Err(hold) => {
                plan.holds.insert(name.clone(), hold);
            }
        }
    }
    plan
}

/// The partition count to grow to, or why the topic is left alone.
fn decide(policy: &Policy, topic: &Topic) -> Result<i32, Hold> {
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
        ScalingMode::Disabled => return Err(Hold::Disabled),
        ScalingMode::Recommend => return Err(Hold::RecommendOnly { wanted: allowed }),
        ScalingMode::Automatic => {}
    }
    // A negative count is nonsense, and nonsense is not health.
    if topic.leaderless != 0 || topic.under_replicated != 0 {
        return Err(Hold::Unhealthy {
            wanted: allowed,
            leaderless: topic.leaderless,
            under_replicated: topic.under_replicated,
        });
    }
    Ok(allowed)
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
