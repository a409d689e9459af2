//! Why topics are left alone.

use super::RateUnknown;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a topic was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Hold {
    /// The topic has the partitions it should have, as far as is known.
    Sufficient,
    /// The topic has the partitions it should have at least; whether its load asks for more is not known.
    RateUnknown {
        /// Why not.
        why: RateUnknown,
    },
    /// The topic has more partitions than `maxPartitions`; partitions never shrink.
    AboveMaximum,
    /// The topic wants more partitions than `maxPartitions` and stands at it.
    Maximum {
        /// Partitions it would have without the maximum.
        wanted: i32,
    },
    /// An older object that watches the same cluster selects the topic too.
    Claimed {
        /// Partitions the topic should have.
        wanted: i32,
        /// The other object: namespace and name.
        owner: String,
    },
    /// `partitionScaling.mode` is Recommend.
    #[serde(rename_all = "camelCase")]
    RecommendOnly {
        /// Partitions the topic should get now.
        wanted: i32,
    },
    /// `partitionScaling.mode` is Disabled.
    Disabled,
    /// It grew a short time ago.
    Cooldown {
        /// Partitions the topic should have.
        wanted: i32,
        /// When it may grow again.
        until: Timestamp,
    },
    /// Its records carry keys.
    Keyed {
        /// Partitions the topic should have.
        wanted: i32,
    },
    /// Whether its records carry keys is not known.
    KeysUnknown {
        /// Partitions the topic should have.
        wanted: i32,
        /// Why not.
        why: String,
    },
    /// Partitions lack a leader, replicas are out of sync, or partitions are being moved: no growth until it is healthy.
    #[serde(rename_all = "camelCase")]
    Unhealthy {
        /// Partitions the topic should have.
        wanted: i32,
        /// Partitions without a leader.
        leaderless: i32,
        /// Partitions with replicas out of sync.
        under_replicated: i32,
        /// Partitions that are being moved.
        #[serde(default, skip_serializing_if = "is_zero")]
        reassigning: i32,
    },
    /// Brokers would have more replicas than they may.
    #[serde(rename_all = "camelCase")]
    BrokerHeadroom {
        /// Partitions the topic should have.
        wanted: i32,
        /// Replicas per broker, on average and rounded up, after the growth; `None`: the brokers were not counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per_broker: Option<i64>,
        /// Replicas a broker may have.
        most: i32,
    },
    /// The partitions that may come to the cluster within 24 hours are used up.
    DailyBudget {
        /// Partitions the topic should have.
        wanted: i32,
        /// Partitions that came within 24 hours, or come now; `None`: not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<i32>,
        /// Partitions that may come.
        budget: i32,
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &i32) -> bool {
    *number == 0
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
