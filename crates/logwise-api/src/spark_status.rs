//! What the operator reports about the Spark cluster of a pipeline.

use crate::cluster_status::{Drift, PendingPlan};
use crate::schema::map_by;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the Spark master and what runs the workers answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SparkStatus {
    /// The last `metadata.generation` that this part has wholly carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub settled_generation: Option<i64>,
    /// Number of changes that this part wants and holds back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pending_changes: Option<i32>,
    /// The active master as host:uiPort; absent when none answers as active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 264))]
    pub master: Option<String>,
    /// The driver of the streaming query; absent while none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverStatus>,
    /// The workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    /// The worker that is on its way out; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removing: Option<RemovedWorker>,
    /// What was decided last, in one line: what the last look has done about the driver, else what it has done about the
    /// workers, or why nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub last_decision: Option<String>,
    /// Number of drivers that the active master runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub active_drivers: Option<i32>,
    /// Number of CPU cores of all alive workers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cores: Option<i32>,
    /// Number of these cores that are in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cores_used: Option<i32>,
    /// Changes that wait for approval, the first 10 by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), transform = map_by("id"))]
    pub pending_plans: Vec<PendingPlan>,
    /// When changes that wait for a window may begin next, in UTC; absent when none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_opening_time: Option<Time>,
    /// What somebody else did to the workers' group; absent when nothing is known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// The driver of the streaming query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriverStatus {
    /// Id that the master gave its submission.
    #[serde(rename = "submissionID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub submission_id: Option<String>,
    /// Its state as the master names it, such as SUBMITTED or RUNNING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub state: Option<String>,
    /// When the master took the submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Host of the worker that runs it; absent when it has none, or none that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub worker: Option<String>,
    /// Number of drivers that the operator has submitted in place of one that was missing or stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub restarts: Option<i32>,
}

/// Numbers of Spark workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// Desired capacity of the workers' group, or replicas that the Deployment asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub desired_replicas: Option<i32>,
    /// Instances of the group that are in service, or pods of the Deployment that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Workers that the active master counts as alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,
    /// Workers that are wanted, by the spec or by the load, when the last decision was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub wanted_replicas: Option<i32>,
    /// Label selector of the scale subresource: that of the Deployment; of a group, whose workers are no pods, one by the
    /// name of this object, which matches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub selector: Option<String>,
    /// When the operator changed the number last, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
}

/// A worker that is on its way out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedWorker {
    /// Id of its instance, or name of its pod.
    #[schemars(length(min = 1, max = 253))]
    pub id: String,
    /// Host of the worker, if it has registered with the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub host: Option<String>,
    /// When its removal was decided, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why it was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub reason: Option<String>,
}
