//! LogwiseCluster: what is wanted of one log pipeline.

use crate::change::ChangePolicy;
use crate::cluster_status::LogwiseClusterStatus;
use crate::kafka::Kafka;
use crate::references::SecretRef;
use crate::schema::{atomic, check, check_at, forbid, require};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Wanted state of the pipeline. A section that is absent is not managed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "logwise.io",
    version = "v1alpha1",
    kind = "LogwiseCluster",
    namespaced,
    shortname = "lwc",
    category = "logwise",
    status = "LogwiseClusterStatus",
    derive = "PartialEq",
    doc = "A log pipeline: Kafka topics, Spark workers and an S3 bucket that belong together. Deleting the object leaves topics, instances and the bucket as they are.",
    selectable = ".spec.storage.bucketName"
)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = require(
        ".aws",
        "!has(self.storage) || has(self.aws)",
        "must be specified when `storage` is specified: it names the region of the bucket"
    ),
    transform = require(
        ".aws",
        "!has(self.spark) || !has(self.spark.workers) || self.spark.workers.type != 'AutoScalingGroup' || has(self.aws)",
        "must be specified when `spark.workers.type` is AutoScalingGroup: it names the region of the group"
    ),
    transform = forbid(
        ".aws",
        "!has(oldSelf.aws) || has(self.aws)",
        "must not be removed: `region` is immutable; create a new LogwiseCluster and migrate"
    ),
    transform = forbid(
        ".storage",
        "!has(oldSelf.storage) || has(self.storage)",
        "must not be removed: `bucketName` is immutable; create a new LogwiseCluster and migrate"
    )
)]
pub struct LogwiseClusterSpec {
    /// true: keep watching and reporting, change nothing, for the RetentionPolicies of this cluster too. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How changes to the outside systems are made. Default: mode Apply, approval DestructiveOnly.
    #[serde(default)]
    pub change_policy: ChangePolicy,
    /// Where in AWS the pipeline runs. Required by `storage` and by workers in an Auto Scaling Group; must not be removed
    /// once it is set. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
    /// The S3 bucket that holds the logs. Absent: not managed. Must not be removed once it is set. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The Kafka cluster and the topics of the pipeline. Absent: not managed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
    /// The Spark cluster that moves the logs from Kafka to S3. Absent: not managed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark: Option<Spark>,
}

/// Where in AWS the pipeline runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aws {
    /// Code of the AWS region of bucket and workers, such as ap-south-1. Immutable. No default.
    #[schemars(
        length(min = 1, max = 32),
        transform = check(
            "self.matches('^[a-z]{2,8}(-[a-z]{2,12}){1,2}-[0-9]{1,2}$')",
            "must be the code of an AWS region, such as ap-south-1"
        ),
        transform = check("self == oldSelf", "is immutable; create a new LogwiseCluster and migrate")
    )]
    pub region: String,
    /// ARN of the IAM role that the operator assumes for this cluster, with the external id
    /// `<installation>/<namespace>/<name>`. Absent: the identity of `credentialsSecretRef`, or else the operator's own, is
    /// used as it is. No default.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 20, max = 640),
        transform = check(
            "self.matches('^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role(/[A-Za-z0-9+=,.@_-]+)+$')",
            "must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/logwise"
        )
    )]
    pub role_arn: Option<String>,
    /// Secret in the same namespace with the keys `accessKeyId`, `secretAccessKey` and, if the credentials are temporary,
    /// `sessionToken`: the identity that is used, or that assumes `roleARN` if that is given. Absent: the operator's own
    /// identity. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// The S3 bucket of the pipeline. Its lifecycle rules come from RetentionPolicies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = check_at(
    ".checkpointPrefix",
    "!self.logsPrefix.startsWith(self.checkpointPrefix) && !self.checkpointPrefix.startsWith(self.logsPrefix)",
    "must not contain `logsPrefix` nor lie within it: retention would delete checkpoints"
))]
pub struct Storage {
    /// Name of the S3 bucket, 3 to 63 characters by the naming rules of S3. Immutable. No default.
    #[schemars(
        length(min = 3, max = 63),
        transform = check(
            "self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')",
            "must consist of lower-case letters, digits, '.' and '-', and begin and end with a letter or digit"
        ),
        transform = check("!self.contains('..')", "must not contain two dots in a row"),
        transform = check("!self.matches('^[0-9]+([.][0-9]+){3}$')", "must not look like an IP address"),
        transform = check(
            "!self.matches('^(xn--|sthree-|amzn-s3-demo-)')",
            "must not begin with xn--, sthree- or amzn-s3-demo-: S3 reserves these"
        ),
        transform = check(
            "!self.matches('(-s3alias|--ol-s3|[.]mrap|--x-s3|--table-s3)$')",
            "must not end with -s3alias, --ol-s3, .mrap, --x-s3 or --table-s3: S3 reserves these for things that are no general purpose bucket"
        ),
        transform = check("self == oldSelf", "is immutable; create a new LogwiseCluster and migrate")
    )]
    pub bucket_name: String,
    /// Beginning of the keys of all logs, ends in '/'; the logs of a service lie under `<logsPrefix>service_name=<service>/`.
    /// Default: logs/.
    #[serde(default = "logs_prefix")]
    #[schemars(length(min = 2, max = 256), transform = key_prefix)]
    pub logs_prefix: String,
    /// Beginning of the keys of all Spark checkpoints, ends in '/'. No lifecycle rule of the operator ever covers it.
    /// Default: checkpoint/.
    #[serde(default = "checkpoint_prefix")]
    #[schemars(length(min = 2, max = 256), transform = key_prefix)]
    pub checkpoint_prefix: String,
    /// How the bucket's lifecycle rules are laid out. Default: fold Never.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

/// How the bucket's lifecycle rules are laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// Whether services may share rules, of which S3 allows 1,000 per bucket. Never: each service has a rule of its own, and
    /// beyond the limit services without a rule get none. WhenNeeded: beyond the limit, services whose names begin alike
    /// share one rule, which holds for every later service with such a name too; only where their RetentionPolicy does
    /// nothing but expire objects, and no name with that beginning is kept longer by another one. Default: Never.
    pub fold: Fold,
}

/// Whether services may share lifecycle rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Fold {
    /// Each has its own.
    #[default]
    Never,
    /// Where the bucket would hold too many.
    WhenNeeded,
}

fn logs_prefix() -> String {
    "logs/".into()
}

fn checkpoint_prefix() -> String {
    "checkpoint/".into()
}

/// What holds for both prefixes of object keys.
fn key_prefix(schema: &mut schemars::Schema) {
    check("self.endsWith('/')", "must end with '/'")(schema);
    check("!self.startsWith('/')", "must not begin with '/': keys in S3 have no leading slash")(schema);
    check(
        "self.matches(\"^[A-Za-z0-9!_.*'()=/-]+$\")",
        "must consist of letters, digits and the characters ! - _ . * ' ( ) = /",
    )(schema);
    check(
        "!self.matches('(^|/)[.]{0,2}/') || self.startsWith('/')",
        "must not contain an empty segment, '.' or '..' between slashes",
    )(schema);
}

/// The Spark cluster (standalone) of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
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
    /// The machines that run Spark workers. Absent: the masters and their workers are watched, nothing is changed.
    /// No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
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
    /// TCP port that workers and submissions use, 1 to 65535. Absent: 7077.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// TCP port of the web interface, from which the state is read as JSON, 1 to 65535. Absent: 8080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub ui_port: Option<i32>,
}

/// The machines that run Spark workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = require(
    ".autoScalingGroup",
    "self.type != 'AutoScalingGroup' || has(self.autoScalingGroup)",
    "must be specified when `type` is AutoScalingGroup"
))]
pub struct Workers {
    /// What runs the workers. AutoScalingGroup: the instances of an EC2 Auto Scaling Group, one worker each. No default.
    #[serde(rename = "type")]
    pub type_: WorkersType,
    /// The group; required when `type` is AutoScalingGroup. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_scaling_group: Option<AutoScalingGroup>,
    /// Bounds between which the operator keeps the number of workers. Absent: the number is not managed. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<WorkerAutoscaling>,
}

/// What runs the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkersType {
    /// An EC2 Auto Scaling Group.
    AutoScalingGroup,
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
}

/// Bounds of the number of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = check_at(
    ".minReplicas",
    "self.minReplicas <= self.maxReplicas",
    "must be less than or equal to `maxReplicas`"
))]
pub struct WorkerAutoscaling {
    /// Workers to run at least, 0 to 10000. The group's own minimum is not changed. No default.
    #[schemars(range(min = 0, max = 10000))]
    pub min_replicas: i32,
    /// Workers to run at most, 1 to 10000. The group's own maximum is not changed. No default.
    #[schemars(range(min = 1, max = 10000))]
    pub max_replicas: i32,
}
