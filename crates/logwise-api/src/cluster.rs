//! LogwiseCluster: what is wanted of one log pipeline.

use crate::cluster_status::LogwiseClusterStatus;
use crate::schema::{atomic, check, check_at, each, forbid, require, set};
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
    /// How changes to the outside systems are made. Default: mode Apply.
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

/// How changes are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePolicy {
    /// Apply: changes are carried out. Observe: changes are planned and reported, none is carried out, for the
    /// RetentionPolicies of this cluster too. Default: Apply.
    #[serde(default)]
    pub mode: ChangeMode,
}

/// Whether planned changes are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeMode {
    /// Carry changes out.
    #[default]
    Apply,
    /// Plan and report only.
    Observe,
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

/// The Kafka cluster of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Addresses of some of the brokers as host:port, 1 to 16; the rest is discovered. No default.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 3, max = 261)),
        transform = set,
        transform = each(check(
            r"self.matches('^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$') && int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",
            "must be host:port with a port from 1 to 65535, such as b-1.kafka.example.com:9092"
        ))
    )]
    pub bootstrap_servers: Vec<String>,
    /// Which topics belong to the pipeline and how many partitions they have. Absent: the brokers are watched, no topic
    /// is. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    /// Whether topics grow. Without effect while `topics` is absent. Default: mode Recommend.
    #[serde(default)]
    pub partition_scaling: PartitionScaling,
}

/// The topics of the pipeline: those whose name begins with `namePrefix`, or matches `pattern`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = check(
        "has(self.namePrefix) != has(self.pattern)",
        "must specify exactly one of `namePrefix` and `pattern`"
    ),
    transform = check_at(
        ".defaultPartitions",
        "!has(self.defaultPartitions) || self.defaultPartitions <= self.maxPartitions",
        "must be less than or equal to `maxPartitions`"
    )
)]
pub struct Topics {
    /// Beginning of the topics' names, such as `logs.`. Exactly one of `namePrefix` and `pattern` is required. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 249),
        transform = check(
            "self.matches('^[A-Za-z0-9._-]+$')",
            "must consist of characters of topic names: letters, digits, '.', '_' and '-'"
        ),
        transform = check(
            "!self.startsWith('__')",
            "must not begin with two underscores: internal topics are never managed"
        )
    )]
    pub name_prefix: Option<String>,
    /// Regular expression (RE2 syntax) that the whole name of a topic matches; topics that begin with two underscores
    /// never match. Exactly one of `namePrefix` and `pattern` is required. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        // Whichever way it matches: a text that does not compile ends the evaluation and so refuses the object.
        transform = check("''.matches(self) || !''.matches(self)", "must be a regular expression in RE2 syntax")
    )]
    pub pattern: Option<String>,
    /// Partitions that each topic has at least, 1 to 10000, at most `maxPartitions`. Absent: no floor. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub default_partitions: Option<i32>,
    /// Partitions beyond which the operator grows no topic, 1 to 10000. Topics that have more keep them: partitions
    /// never shrink. Default: 96.
    #[serde(default = "max_partitions")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_partitions: i32,
}

fn max_partitions() -> i32 {
    96
}

/// Whether topics grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionScaling {
    /// Automatic: topics grow, which cannot be undone. Recommend: what would grow is reported. Disabled: topics are
    /// watched only. Default: Recommend.
    #[serde(default)]
    pub mode: PartitionScalingMode,
}

/// Whether partition growth is carried out, only recommended, or not considered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartitionScalingMode {
    /// Grow topics.
    Automatic,
    /// Report what would grow.
    #[default]
    Recommend,
    /// Watch only.
    Disabled,
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
