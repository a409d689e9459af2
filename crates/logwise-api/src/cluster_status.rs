//! What the operator reports about a pipeline.

use crate::condition::Condition;
use crate::schema::map_by;
use crate::spark_status::SparkStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of the pipeline as last observed. What could not be read is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogwiseClusterStatus {
    /// The `metadata.generation` that the operator last acted upon; -1 until it has seen the object. Default: -1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// Aspects of the pipeline, one entry per type: Ready, Reconciling, Stalled and those of the parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), transform = map_by("type"))]
    pub conditions: Vec<Condition>,
    /// Number of changes that are planned and not carried out, in all parts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pending_changes: Option<i32>,
    /// The Kafka cluster and the topics of the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaStatus>,
    /// The Spark cluster and its workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark: Option<SparkStatus>,
    /// The bucket and its lifecycle rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
}

/// What the Kafka cluster answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaStatus {
    /// The last `metadata.generation` that this part has wholly carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub settled_generation: Option<i64>,
    /// Number of changes that this part wants and holds back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pending_changes: Option<i32>,
    /// Id that the Kafka cluster gives itself.
    #[serde(rename = "clusterID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub cluster_id: Option<String>,
    /// Number of brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub brokers: Option<i32>,
    /// Number of topics of the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub topics: Option<i32>,
    /// Number of partitions of these topics together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub partitions: Option<i32>,
    /// Number of topics that have a partition with fewer in-sync replicas than replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub under_replicated_topics: Option<i32>,
    /// Number of topics that have a partition without a leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub leaderless_topics: Option<i32>,
    /// Number of topics that have fewer partitions than they should have and are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub limited_topics: Option<i32>,
    /// Topics that want more partitions and were left alone, at most 20 by name, and fewer where names are very long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), transform = map_by("name"))]
    pub held_topics: Vec<HeldTopic>,
    /// Changes that wait for approval, at most 10. One that was shown stays until it is carried out or no longer wanted;
    /// then the next topic by name takes its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), transform = map_by("id"))]
    pub pending_plans: Vec<PendingPlan>,
    /// How many changes wait for what; those that only `suspend` or `changePolicy.mode` hold back are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), transform = map_by("reason"))]
    pub held_changes: Vec<HeldChanges>,
}

/// Changes of one part that wait for the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldChanges {
    /// What they wait for: the approval of a person, a window of `changePolicy.windows`, or another mode than Recommend.
    pub reason: HeldReason,
    /// How many they are.
    #[schemars(range(min = 1))]
    pub changes: i32,
    /// When they may begin, in UTC; absent when they wait for no window, or for windows that are never open together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_opening_time: Option<Time>,
}

/// What changes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum HeldReason {
    /// The approval of a person.
    ApprovalRequired,
    /// A window.
    WaitingForWindow,
    /// Another mode than Recommend.
    RecommendOnly,
}

/// Something that the operator manages and somebody else has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// How many things were changed.
    #[schemars(range(min = 1))]
    pub changes: i32,
    /// The change, before and after, in words.
    #[schemars(length(min = 1, max = 512))]
    pub summary: String,
}

/// A change that waits for approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingPlan {
    /// Id to put into `spec.changePolicy.approvedPlans` to approve exactly this change.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The change, in words.
    #[schemars(length(min = 1, max = 512))]
    pub summary: String,
}

/// A topic that was left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldTopic {
    /// Name of the topic.
    #[schemars(length(min = 1, max = 249))]
    pub name: String,
    /// Partitions it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub partitions: Option<i32>,
    /// Partitions it should have; absent when that could not be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub wanted_partitions: Option<i32>,
    /// Why it was left alone: one word in CamelCase.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// Records per second that came in when the reason or the wanted count changed last; absent when load was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub records_per_second: Option<i64>,
    /// The reason with its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub message: Option<String>,
    /// Partitions it gets when its plan is approved; stays the same while at least that many are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub planned_partitions: Option<i32>,
    /// Id to put into `spec.changePolicy.approvedPlans` to approve that growth; absent when it does not wait for approval.
    #[serde(rename = "planID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub plan_id: Option<String>,
    /// When the topic may grow next, in UTC; absent when it does not wait for a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_opening_time: Option<Time>,
}

/// What S3 answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// The last `metadata.generation` that this part has wholly carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub settled_generation: Option<i64>,
    /// Number of changes that this part wants and holds back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pending_changes: Option<i32>,
    /// Number of services that have logs under `logsPrefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub services: Option<i32>,
    /// Number of lifecycle rules that the operator owns in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub lifecycle_rules: Option<i32>,
    /// Number of lifecycle rules of others in the bucket; these are never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub foreign_lifecycle_rules: Option<i32>,
    /// The bucket's setting which small objects are not moved to other storage classes, as S3 names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub minimum_object_size: Option<String>,
    /// Whether the bucket keeps old versions of objects: Enabled, Suspended (it did, and keeps those that it has) or
    /// Disabled (it never did); absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub versioning: Option<String>,
    /// Whether objects of the bucket may be locked; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<bool>,
    /// Whether a replication rule of the bucket is enabled; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<bool>,
    /// What somebody else did to the operator's lifecycle rules since its last write; absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}
