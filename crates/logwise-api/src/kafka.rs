//! The Kafka cluster of a pipeline: how to reach it, which topics belong to the pipeline, how they grow.

use crate::references::{CaSecretRef, SecretRef};
use crate::schema::{check, check_at, each, require, set};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Kafka cluster of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = require(
    ".tls",
    "!has(self.authentication) || self.authentication.type != 'PLAIN' || has(self.tls)",
    "must be specified when `authentication.type` is PLAIN: the password would travel unencrypted"
))]
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
    /// Connections are encrypted and the brokers' certificates are checked; {} suffices where a public authority signed
    /// them. Absent: connections are not encrypted. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    /// How the operator logs in at the brokers. Absent: by its client certificate if `tls.clientSecretRef` is given, and
    /// not at all otherwise. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<KafkaAuthentication>,
    /// What the cluster should be like. It is reported in `KafkaReady`, never changed. Absent: not looked at. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectedKafka>,
    /// Which topics belong to the pipeline and how many partitions they have. Absent: the brokers are watched, no topic
    /// is. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    /// Whether topics grow, when, and how far. Without effect while `topics` is absent. Default: mode Recommend,
    /// targetRecordsPerSecondPerPartition 2000, windowSeconds 600, catchUpSeconds 600, maxStepFactor 2, cooldownSeconds
    /// 1800, maxReplicasPerBroker 4000, maxNewPartitionsPerDay 1000, keyedTopics Hold, alignToSparkCores false.
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

/// Whether topics grow, when, and how far. The floor, `topics.defaultPartitions`, obeys all of it but
/// `maxStepFactor` and `cooldownSeconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionScaling {
    /// Automatic: topics grow, which cannot be undone. Recommend: what would grow is reported. Disabled: topics are
    /// watched only. Default: Recommend.
    pub mode: PartitionScalingMode,
    /// Records per second that one partition shall carry, 1 to 1000000: a topic wants as many partitions as its rate
    /// needs. The rate is the 95th percentile of the slopes between samples of `windowSeconds`. Default: 2000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_records_per_second_per_partition: i32,
    /// Seconds over which the rate is measured, 10 to 3600; at least 5 samples are needed. Default: 600.
    #[schemars(range(min = 10, max = 3600))]
    pub window_seconds: i32,
    /// Seconds within which records that were not read yet shall have been read, 10 to 86400. Left out of the count
    /// while it is not known how many they are. Default: 600.
    #[schemars(range(min = 10, max = 86400))]
    pub catch_up_seconds: i32,
    /// How many times its partitions a topic gets by one growth, 2 to 100. Default: 2.
    #[schemars(range(min = 2, max = 100))]
    pub max_step_factor: i32,
    /// Seconds between two growths of one topic, 0 to 86400. Default: 1800.
    #[schemars(range(min = 0, max = 86400))]
    pub cooldown_seconds: i32,
    /// Replicas that brokers may have on average after a growth, those of other topics included, 1 to 200000.
    /// Default: 4000.
    #[schemars(range(min = 1, max = 200_000))]
    pub max_replicas_per_broker: i32,
    /// Partitions that the operator may add to the Kafka cluster within 24 hours, 0 to 1000000; of several
    /// LogwiseClusters of one Kafka cluster the smallest number holds for all. Default: 1000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_new_partitions_per_day: i32,
    /// Hold: topics whose newest records carry keys do not grow, since growth sends a key's records to another partition
    /// and so breaks their order once. Allow: they grow. Default: Hold.
    pub keyed_topics: KeyedTopics,
    /// Whether a count beyond the cores of the Spark workers is rounded up to a multiple of them, so that all cores are
    /// busy to the end of a batch. Without effect while the cores are not known. Default: false.
    pub align_to_spark_cores: bool,
}

impl Default for PartitionScaling {
    fn default() -> Self {
        Self {
            mode: PartitionScalingMode::default(),
            target_records_per_second_per_partition: 2000,
            window_seconds: 600,
            catch_up_seconds: 600,
            max_step_factor: 2,
            cooldown_seconds: 1800,
            max_replicas_per_broker: 4000,
            max_new_partitions_per_day: 1000,
            keyed_topics: KeyedTopics::default(),
            align_to_spark_cores: false,
        }
    }
}

/// Whether topics grow whose records carry keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyedTopics {
    /// They do not grow.
    #[default]
    Hold,
    /// They grow.
    Allow,
}

/// What the Kafka cluster should be like. It is reported, never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = check_at(
    ".minInSyncReplicas",
    "!has(self.minInSyncReplicas) || !has(self.replicationFactor) || self.minInSyncReplicas <= self.replicationFactor",
    "must be less than or equal to `replicationFactor`"
))]
pub struct ExpectedKafka {
    /// Brokers that should be up, 1 to 10000. Absent: not looked at. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub brokers: Option<i32>,
    /// Replicas that each partition of the pipeline's topics should have at least, 1 to 100. Absent: not looked at. No
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replication_factor: Option<i32>,
    /// `min.insync.replicas` that each topic of the pipeline should have at least, 1 to 100. Absent: not looked at. No
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_in_sync_replicas: Option<i32>,
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

/// Encryption of the connections to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTls {
    /// Secret in the same namespace with the certificates (PEM) of the authorities that sign the brokers' certificates.
    /// Absent: the public authorities known to the operator. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
    /// Secret in the same namespace with the operator's certificate (PEM) under `tls.crt` and its key under `tls.key`.
    /// Absent: no certificate is shown. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretRef>,
}

/// Login at the brokers by name and password (SASL).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaAuthentication {
    /// Mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN; PLAIN needs `tls`. No default.
    #[serde(rename = "type")]
    pub type_: KafkaAuthenticationType,
    /// Secret in the same namespace with the keys `username` and `password`. No default.
    pub secret_ref: SecretRef,
}

/// Mechanisms of login by name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KafkaAuthenticationType {
    /// Salted challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The password as it is.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl KafkaAuthenticationType {
    /// The name that Kafka uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}
