//! Custom resources of the Logwise operator and their one conversion into policies.
//!
//! [`LogwiseCluster`] describes one log pipeline, [`RetentionPolicy`] how long a pipeline keeps the logs of some of its
//! services. Nonsense is refused by the API server (the schema and CEL rules of [`crd`]); what a schema cannot check is
//! reported once, by [`validate`], as [`validate::Invalid`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod change;
mod cluster;
mod cluster_status;
mod columns;
mod condition;
pub mod crd;
mod driver;
mod kafka;
mod references;
mod retention;
mod retention_status;
mod schema;
mod spark;
mod spark_status;
pub mod validate;
mod worker_scaling;

pub use change::{Approval, ChangeMode, ChangePolicy, ChangeWindow, RetentionChangePolicy};
pub use cluster::{Aws, Fold, Lifecycle, LogwiseCluster, LogwiseClusterSpec, Objectives, Storage};
pub use cluster_status::{
    Drift, HeldChanges, HeldReason, HeldTopic, KafkaStatus, LogwiseClusterStatus, PendingPlan, StorageStatus,
};
pub use condition::{Condition, ConditionStatus};
pub use crd::{crd_files, crds};
pub use driver::{DriverMode, SparkDriver};
pub use kafka::{
    ExpectedKafka, Kafka, KafkaAuthentication, KafkaAuthenticationType, KafkaTls, KeyedTopics, PartitionScaling,
    PartitionScalingMode, Topics,
};
pub use references::{CaSecretRef, SecretRef};
pub use retention::{
    AbortIncompleteMultipartUpload, ClusterRef, DeletionPolicy, Expiration, NoncurrentVersionExpiration,
    RetentionPolicy, RetentionPolicySpec, ServiceSelector, StorageClass, Transition,
};
pub use retention_status::{
    EffectiveRule, Home, NewlyExpirable, NotTransitionable, PlanEntry, PlanStatus, PlanSummary, RetentionPolicyStatus,
};
pub use spark::{AutoScalingGroup, ScaleInProtection, Spark, SparkMaster, WorkerDeployment, Workers, WorkersType};
pub use spark_status::{DriverStatus, RemovedWorker, SparkStatus, WorkersStatus};
pub use worker_scaling::{
    ScaleDownRules, ScaleUpRules, ScalingBehavior, ScalingPolicy, ScalingPolicyType, SelectPolicy, WorkerAutoscaling,
    WorkerScalingMode,
};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// API group of every resource of the operator.
pub const GROUP: &str = "logwise.io";

/// Version of the API group.
pub const VERSION: &str = "v1alpha1";

/// Longest `metadata.name` of a resource, in characters.
pub const MAX_NAME_LENGTH: usize = 63;
