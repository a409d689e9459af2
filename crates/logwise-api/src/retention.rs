//! RetentionPolicy: how long a pipeline keeps the logs of some of its services.

use crate::change::RetentionChangePolicy;
use crate::retention_status::RetentionPolicyStatus;
use crate::schema::{check, check_at, check_with, each, map_by, set};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Wanted retention. It is compiled to one S3 lifecycle rule per service; lifecycle rules of others are never changed.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "logwise.io",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    plural = "retentionpolicies",
    namespaced,
    shortname = "lrp",
    category = "logwise",
    status = "RetentionPolicyStatus",
    derive = "PartialEq",
    doc = "How long a LogwiseCluster keeps the logs of some of its services, and in which storage classes. Deleting the object never deletes data.",
    selectable = ".spec.clusterRef.name"
)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = check(
        "has(self.expiration) || has(self.transitions) || has(self.abortIncompleteMultipartUpload) || has(self.noncurrentVersionExpiration)",
        "must specify at least one of `expiration`, `transitions`, `abortIncompleteMultipartUpload` and `noncurrentVersionExpiration`"
    ),
    transform = check_with(
        ".transitions",
        "!has(self.transitions) || !has(self.expiration) || self.transitions.all(t, t.days < self.expiration.days)",
        "must have only `days` less than `expiration.days`",
        "'must have only `days` less than `expiration.days` (%d)'.format([self.expiration.days])"
    )
)]
pub struct RetentionPolicySpec {
    /// The LogwiseCluster, in the same namespace, whose bucket is governed. Immutable. No default.
    #[schemars(transform = check(
        "self.name == oldSelf.name",
        "is immutable; create a new RetentionPolicy for the other cluster"
    ))]
    pub cluster_ref: ClusterRef,
    /// Which policy decides about a service that several match: the higher priority, then the longer expiration, then the
    /// first name. -1000000 to 1000000. Default: 0.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Which services of the cluster are covered; an empty selector, {}, covers every service. No default.
    pub service_selector: ServiceSelector,
    /// When objects expire. Absent: they do not, by this policy. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Expiration>,
    /// Moves to cheaper storage classes, 1 to 5, each class once. Absent: none. No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 5),
        transform = map_by("storageClass"),
        transform = check(
            "self.all(a, self.all(b, {'STANDARD_IA': 1, 'INTELLIGENT_TIERING': 2, 'ONEZONE_IA': 3, 'GLACIER_IR': 4, 'GLACIER': 5, 'DEEP_ARCHIVE': 6}[a.storageClass] >= {'STANDARD_IA': 1, 'INTELLIGENT_TIERING': 2, 'ONEZONE_IA': 3, 'GLACIER_IR': 4, 'GLACIER': 5, 'DEEP_ARCHIVE': 6}[b.storageClass] || a.days < b.days))",
            "must give a later class more `days`, in the order STANDARD_IA, INTELLIGENT_TIERING, ONEZONE_IA, GLACIER_IR, GLACIER, DEEP_ARCHIVE"
        ),
        transform = check(
            "self.all(a, !(a.storageClass in ['STANDARD_IA', 'ONEZONE_IA']) || self.all(b, !(b.storageClass in ['GLACIER_IR', 'GLACIER', 'DEEP_ARCHIVE']) || b.days >= a.days + 30))",
            "must leave at least 30 `days` between STANDARD_IA or ONEZONE_IA and GLACIER_IR, GLACIER or DEEP_ARCHIVE"
        ),
        transform = check(
            "!self.exists(a, a.storageClass == 'ONEZONE_IA') || !self.exists(b, b.storageClass == 'GLACIER_IR')",
            "must not hold both ONEZONE_IA and GLACIER_IR: S3 moves no object from the one to the other"
        )
    )]
    pub transitions: Vec<Transition>,
    /// When the parts of uploads that were never completed are removed. Absent: never, by this policy. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_incomplete_multipart_upload: Option<AbortIncompleteMultipartUpload>,
    /// When overwritten or deleted versions are removed, in a bucket with versioning. Absent: never, by this policy.
    /// No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_version_expiration: Option<NoncurrentVersionExpiration>,
    /// How changes to the bucket's lifecycle rules are made. Default: mode Apply, approval DestructiveOnly.
    #[serde(default)]
    pub change_policy: RetentionChangePolicy,
    /// What happens to the policy's lifecycle rules when the policy is deleted. RemoveRules: they are removed, the data
    /// stays for ever, unless another rule ends it; what cannot be removed within `deletion.deadlineSeconds` stays. Orphan:
    /// they stay as they are and are the bucket owner's from then on. Default: RemoveRules.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// A LogwiseCluster in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// `metadata.name` of the LogwiseCluster, 1 to 63 characters. It may be created later. No default.
    #[schemars(
        length(min = 1, max = 63),
        transform = check(
            "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
            "must be the name of a LogwiseCluster: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
        )
    )]
    pub name: String,
}

/// Services by name. A service is covered if one of the names or prefixes fits; with neither list, every service is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSelector {
    /// Names of services as they stand in the object keys, 1 to 200 names. Absent: none by name. No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 200),
        inner(length(min = 1, max = 255)),
        transform = set,
        transform = each(service_name)
    )]
    pub match_names: Vec<String>,
    /// Beginnings of names of services as they stand in the object keys, 1 to 50 prefixes. Absent: none by prefix.
    /// No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 50),
        inner(length(min = 1, max = 255)),
        transform = set,
        transform = each(service_name)
    )]
    pub match_prefixes: Vec<String>,
}

/// What holds for names of services in object keys.
fn service_name(schema: &mut schemars::Schema) {
    check(
        r##"!self.matches(r'''[\x00-\x1f\x7f"#*/:=?\\{\[\]^']''')"##,
        r##"must be written as in the object keys, where Spark writes " # ' * / : = ? \ { [ ] ^ and control characters as %XX"##,
    )(schema);
}

/// When objects expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expiration {
    /// Days from the creation of an object until it expires, 1 to 36500; S3 rounds up to the next midnight UTC.
    /// No default.
    #[schemars(range(min = 1, max = 36500))]
    pub days: i32,
}

/// A move to another storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = check_at(
    ".days",
    "!(self.storageClass in ['STANDARD_IA', 'ONEZONE_IA']) || self.days >= 30",
    "must be greater than or equal to 30 for STANDARD_IA and ONEZONE_IA"
))]
pub struct Transition {
    /// Storage class to move to: STANDARD_IA, INTELLIGENT_TIERING, ONEZONE_IA, GLACIER_IR (instant retrieval), GLACIER
    /// (flexible retrieval) or DEEP_ARCHIVE. No default.
    pub storage_class: StorageClass,
    /// Days from the creation of an object until it moves, 0 to 36500; at least 30 for STANDARD_IA and ONEZONE_IA, at
    /// least 30 more for an archive class after one of these, and less than `expiration.days`. No default.
    #[schemars(range(min = 0, max = 36500))]
    pub days: i32,
}

/// Storage classes of S3, in the order in which objects may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StorageClass {
    /// Infrequent access.
    StandardIa,
    /// Moves objects between tiers by their use.
    IntelligentTiering,
    /// Infrequent access in one availability zone.
    #[serde(rename = "ONEZONE_IA")]
    OneZoneIa,
    /// Archive with instant retrieval.
    GlacierIr,
    /// Archive with flexible retrieval.
    Glacier,
    /// Archive with retrieval within hours.
    DeepArchive,
}

impl StorageClass {
    /// The name that S3 uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StandardIa => "STANDARD_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::OneZoneIa => "ONEZONE_IA",
            Self::GlacierIr => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }
}

/// When the parts of uploads that were never completed are removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbortIncompleteMultipartUpload {
    /// Days from the start of an upload until its parts are removed, 1 to 36500. No default.
    #[schemars(range(min = 1, max = 36500))]
    pub days_after_initiation: i32,
}

/// When overwritten or deleted versions are removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoncurrentVersionExpiration {
    /// Days from the moment a version was overwritten or deleted until it is removed, 1 to 36500. No default.
    #[schemars(range(min = 1, max = 36500))]
    pub noncurrent_days: i32,
}

/// What happens to the lifecycle rules of a deleted policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Remove the rules, keep the data.
    #[default]
    RemoveRules,
    /// Leave the rules in place.
    Orphan,
}
