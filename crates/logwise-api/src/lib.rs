//! Custom resources of the Logwise operator and their one conversion into policies.
//!
//! [`LogwiseCluster`] describes one log pipeline, [`RetentionPolicy`] how long a pipeline keeps the logs of some of its
//! services. Nonsense is refused by the API server (the schema and CEL rules of [`crd`]); what a schema cannot check is
//! reported once, by [`validate`], as [`validate::Invalid`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cluster;
mod cluster_status;
mod columns;
mod condition;
pub mod crd;
mod ownership;
mod retention;
mod retention_status;
mod schema;
pub mod validate;

pub use cluster::{
    AutoScalingGroup, Aws, ChangeMode, ChangePolicy, Kafka, LogwiseCluster, LogwiseClusterSpec, PartitionScaling,
    PartitionScalingMode, Spark, SparkMaster, Storage, Topics, WorkerAutoscaling, Workers, WorkersType,
};
pub use cluster_status::{HeldTopic, KafkaStatus, LogwiseClusterStatus, SparkStatus, StorageStatus, WorkersStatus};
pub use condition::{Condition, ConditionStatus};
pub use crd::{crd_files, crds};
pub use ownership::older_owner;
pub use retention::{
    AbortIncompleteMultipartUpload, Approval, ClusterRef, DeletionPolicy, Expiration, NoncurrentVersionExpiration,
    RetentionChangePolicy, RetentionPolicy, RetentionPolicySpec, ServiceSelector, StorageClass, Transition,
};
pub use retention_status::{EffectiveRule, PlanEntry, PlanStatus, PlanSummary, RetentionPolicyStatus};

/// API group of every resource of the operator.
pub const GROUP: &str = "logwise.io";

/// Version of the API group.
pub const VERSION: &str = "v1alpha1";

/// Longest `metadata.name` of a resource, in characters.
pub const MAX_NAME_LENGTH: usize = 63;
