//! The Spark cluster of a pipeline: its masters, and the machines that run its workers.

use crate::driver::SparkDriver;
use crate::schema::{atomic, check, check_at, forbid, require, whole};
use crate::worker_scaling::WorkerAutoscaling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Spark cluster (standalone) of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = check_at(
    ".driver.cores",
    "!has(self.driver) || !has(self.workers) || !has(self.workers.autoscaling) || !has(self.workers.autoscaling.coresPerWorker) || self.driver.cores <= self.workers.autoscaling.coresPerWorker",
    "must be less than or equal to `workers.autoscaling.coresPerWorker`: no worker could take the driver"
))]
pub struct Spark {
    /// The Spark masters, 1 to 8: the active one and those on standby. No default.
    #[schemars(
        length(min = 1, max = 8),
        transform = atomic,
        transform = check(
            "self.all(a, self.exists_one(b, a.host == b.host && (has(a.port) ? a.port : 7077) == (has(b.port) ? b.port : 7077)))",
            "must not name the same `host` and `port` twice"
        )
    )]
    pub masters: Vec<SparkMaster>,
    /// Name of the folder below `storage.checkpointPrefix` that is the checkpoint location of the streaming query, 1 to 128
    /// characters: what the query has read stands there. Without effect while `storage` is absent. Default: application.
    #[serde(default = "query_name")]
    #[schemars(
        length(min = 1, max = 128),
        transform = check(
            "self.matches('^[A-Za-z0-9][A-Za-z0-9_.-]*$')",
            "must be one folder's name: letters, digits, '_', '.' and '-', beginning with a letter or digit"
        )
    )]
    pub query_name: String,
    /// The driver of the streaming query. Absent: drivers are watched, none is submitted or killed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<SparkDriver>,
    /// The machines that run Spark workers. Absent: the masters and their workers are watched, no machine is. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
}

fn query_name() -> String {
    "application".into()
}

/// One Spark master. Its ports have no schema default (a default inside a list is eternal drift for GitOps tools); the
/// operator fills them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SparkMaster {
    /// Host name or IP address of the master, without a port; IPv6 in square brackets. No default.
    #[schemars(
        length(min = 1, max = 255),
        transform = check(
            r"self.matches('^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])$')",
            "must be a host name or an IP address (IPv6 in square brackets), without a port"
        )
    )]
    pub host: String,
    /// TCP port that workers and drivers use, 1 to 65535. Absent: 7077.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// TCP port of the web interface, from which the state is read as JSON, 1 to 65535. Absent: 8080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub ui_port: Option<i32>,
    /// TCP port of the REST server, to which drivers are submitted, 1 to 65535; the master has one with
    /// `spark.master.rest.enabled`. Absent: 6066.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub rest_port: Option<i32>,
}

/// The machines that run Spark workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = require(
        ".autoScalingGroup",
        "self.type != 'AutoScalingGroup' || has(self.autoScalingGroup)",
        "must be specified when `type` is AutoScalingGroup"
    ),
    transform = require(
        ".deployment",
        "self.type != 'Deployment' || has(self.deployment)",
        "must be specified when `type` is Deployment"
    ),
    transform = forbid(
        ".autoScalingGroup",
        "self.type == 'AutoScalingGroup' || !has(self.autoScalingGroup)",
        "must not be specified unless `type` is AutoScalingGroup"
    ),
    transform = forbid(
        ".deployment",
        "self.type == 'Deployment' || !has(self.deployment)",
        "must not be specified unless `type` is Deployment"
    ),
    transform = forbid(
        ".replicas",
        "!has(self.replicas) || !has(self.autoscaling) || self.autoscaling.mode == 'Disabled'",
        "must not be specified when `autoscaling` is specified, unless its `mode` is Disabled: set \
         `autoscaling.minReplicas`, or remove `autoscaling`"
    )
)]
pub struct Workers {
    /// What runs the workers. AutoScalingGroup: the instances of an EC2 Auto Scaling Group, one worker each. Deployment:
    /// the pods of a Deployment in the same namespace, one worker each. No default.
    #[serde(rename = "type")]
    pub type_: WorkersType,
    /// The group; required when `type` is AutoScalingGroup, else not allowed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_scaling_group: Option<AutoScalingGroup>,
    /// The Deployment; required when `type` is Deployment, else not allowed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<WorkerDeployment>,
    /// TCP port of each worker's web interface, 1 to 65535. Default: 8081.
    #[serde(default = "whole::<8081>")]
    #[schemars(range(min = 1, max = 65535))]
    pub ui_port: i32,
    /// Workers to run, 0 to 10000; 0 counts as 1, since without a worker no driver runs. `kubectl scale` sets it. Not
    /// allowed together with `autoscaling`, unless its `mode` is Disabled. Absent: the number is not fixed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: Option<i32>,
    /// Seconds that the tasks of a worker get to end before it is removed, 0 to 3600: it takes no new ones meanwhile.
    /// Default: 600.
    #[serde(default = "whole::<600>")]
    #[schemars(range(min = 0, max = 3600))]
    pub drain_seconds: i32,
    /// Bounds between which the operator keeps the number of workers, and how load becomes workers. Absent, and `replicas`
    /// too: the number is not managed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<WorkerAutoscaling>,
}

/// What runs the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkersType {
    /// An EC2 Auto Scaling Group.
    AutoScalingGroup,
    /// A Deployment.
    Deployment,
}

/// An EC2 Auto Scaling Group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoScalingGroup {
    /// Name of the group in `aws.region`, 1 to 255 characters. No default.
    #[schemars(
        length(min = 1, max = 255),
        transform = check(
            "self.matches('^[!-9;-~]+$')",
            "must consist of visible ASCII characters other than ':', as the name of an Auto Scaling Group does; give the name, not the ARN"
        )
    )]
    pub name: String,
    /// Manage: the operator has the group protect new instances from scale-in, and protects those that it has, so that no
    /// instance goes but by the operator's own call. Observe: protection is left as it is, and no instance is removed while
    /// some have none. Default: Manage.
    #[serde(default)]
    pub scale_in_protection: ScaleInProtection,
    /// Name of the group's lifecycle hook for instances that terminate, 1 to 255 characters: for an instance that the
    /// operator removes it is completed once the tasks have ended. Absent: no hook is completed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        transform = check(
            "self.matches('^[A-Za-z0-9_/-]+$')",
            "must be the name of a lifecycle hook: letters, digits, '-', '_' and '/'"
        )
    )]
    pub termination_hook_name: Option<String>,
}

/// Who sees to the protection from scale-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScaleInProtection {
    /// The operator.
    #[default]
    Manage,
    /// Somebody else.
    Observe,
}

/// A Deployment in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerDeployment {
    /// `metadata.name` of the Deployment, 1 to 253 characters. No default.
    #[schemars(
        length(min = 1, max = 253),
        transform = check(
            "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
            "must be the name of a Deployment: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
        )
    )]
    pub name: String,
}
