//! The columns of `kubectl get`.

use serde_json::{Value, json};

const READY_STATUS: &str = r#".status.conditions[?(@.type=="Ready")].status"#;
const READY_REASON: &str = r#".status.conditions[?(@.type=="Ready")].reason"#;
const READY_MESSAGE: &str = r#".status.conditions[?(@.type=="Ready")].message"#;

/// One column of `kubectl get`.
pub(crate) struct Column {
    name: &'static str,
    type_: &'static str,
    json_path: &'static str,
    description: &'static str,
    wide: bool,
}

/// A column that is always shown.
const fn column(name: &'static str, type_: &'static str, json_path: &'static str, description: &'static str) -> Column {
    Column { name, type_, json_path, description, wide: false }
}

/// A column that only `-o wide` shows.
const fn wide(name: &'static str, type_: &'static str, json_path: &'static str, description: &'static str) -> Column {
    Column { name, type_, json_path, description, wide: true }
}

/// The columns as a CustomResourceDefinition holds them.
pub(crate) fn to_json(columns: &[Column]) -> Value {
    let column = |c: &Column| {
        let mut json = json!({"name": c.name, "type": c.type_, "jsonPath": c.json_path, "description": c.description});
        if c.wide {
            json["priority"] = 1.into();
        }
        json
    };
    columns.iter().map(column).collect()
}

/// Columns of LogwiseCluster.
pub(crate) const LOGWISE_CLUSTER: &[Column] = &[
    column("Ready", "string", READY_STATUS, "Whether everything a log line needs to become queryable works"),
    column("Reason", "string", READY_REASON, "Why the pipeline is ready or not"),
    column("Workers", "integer", ".status.spark.workers.replicas", "Spark workers in service"),
    column("Desired", "integer", ".status.spark.workers.desiredReplicas", "Desired capacity of the workers' group"),
    column("Pending", "integer", ".status.pendingChanges", "Changes that are planned and not carried out"),
    column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created"),
    wide("Mode", "string", ".spec.changePolicy.mode", "Whether changes are carried out or only reported"),
    wide("Topics", "integer", ".status.kafka.topics", "Kafka topics of the pipeline"),
    wide("Partitions", "integer", ".status.kafka.partitions", "Partitions of these topics together"),
    wide("Bucket", "string", ".spec.storage.bucketName", "S3 bucket that holds the logs"),
    wide("Region", "string", ".spec.aws.region", "AWS region of bucket and workers"),
    wide("Suspended", "boolean", ".spec.suspend", "Whether the operator only watches"),
    wide("Message", "string", READY_MESSAGE, "The fact behind the reason and the next step"),
];

/// Columns of RetentionPolicy.
pub(crate) const RETENTION_POLICY: &[Column] = &[
    column("Cluster", "string", ".spec.clusterRef.name", "LogwiseCluster whose bucket is governed"),
    column("Ready", "string", READY_STATUS, "Whether S3 enforces what the policy says"),
    column("Reason", "string", READY_REASON, "Why the policy is ready or not"),
    column("Days", "integer", ".spec.expiration.days", "Days until logs expire; empty: never"),
    column("Services", "integer", ".status.matchedServices", "Services that the policy decides about"),
    column("Pending", "integer", ".status.pendingChanges", "Changes that are planned and not carried out"),
    column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created"),
    wide("Priority", "integer", ".spec.priority", "Which policy decides where several match; higher wins"),
    wide("Rules", "integer", ".status.rules", "Lifecycle rules of the policy in the bucket"),
    wide("Mode", "string", ".spec.changePolicy.mode", "Whether changes are carried out or only reported"),
    wide("Plan", "string", ".status.plan.id", "Id of the plan that waits for approval"),
    wide("Message", "string", READY_MESSAGE, "The fact behind the reason and the next step"),
];
