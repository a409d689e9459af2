//! LogwiseCluster: what is wanted of one log pipeline.

use crate::change::ChangePolicy;
use crate::cluster_status::LogwiseClusterStatus;
use crate::kafka::Kafka;
use crate::references::SecretRef;
use crate::schema::{check, check_at, forbid, require};
use crate::spark::Spark;
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
    doc = "A log pipeline: Kafka topics, Spark workers and an S3 bucket that belong together. Deleting the object leaves topics, instances, the driver and the bucket as they are.",
    selectable = ".spec.storage.bucketName",
    scale(
        spec_replicas_path = ".spec.spark.workers.replicas",
        status_replicas_path = ".status.spark.workers.replicas",
        label_selector_path = ".status.spark.workers.selector"
    )
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
    /// What the pipeline is to achieve. Absent: the values that its fields name are used. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
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

/// What the pipeline is to achieve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Objectives {
    /// Seconds within which a log line shall have come from Kafka to S3, 10 to 86400: half of it may wait in Kafka before
    /// more workers are wanted for that. Absent: 300 is used. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86400))]
    pub end_to_end_delay_seconds: Option<i32>,
}
