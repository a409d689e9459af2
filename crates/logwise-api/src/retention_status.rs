//! What the operator reports about a retention policy.

use crate::change::ChangeMode;
use crate::condition::Condition;
use crate::schema::{atomic, map_by};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of the policy as last observed. What could not be read is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicyStatus {
    /// The `metadata.generation` that the operator last acted upon; -1 until it has seen the object. Default: -1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// Aspects of the policy, one entry per type: Ready, Reconciling, Stalled, Accepted, Programmed and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), transform = map_by("type"))]
    pub conditions: Vec<Condition>,
    /// The last `metadata.generation` that was wholly in force in S3, where `home` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub programmed_generation: Option<i64>,
    /// When that generation was first seen wholly in force, in the bucket and under the logs prefix that `home` names, in
    /// UTC. Under DestructiveOnly, a service all of whose objects are newer needs no approval for its first rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programmed_time: Option<Time>,
    /// Number of services that this policy decides about; those that another policy won are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub matched_services: Option<i32>,
    /// Number of lifecycle rules of this policy in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub rules: Option<i32>,
    /// Number of changes that are planned and not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pending_changes: Option<i32>,
    /// What S3 enforces now for this policy, one entry per service, the first 50 by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = map_by("service"))]
    pub effective: Vec<EffectiveRule>,
    /// Changes that wait for approval; absent when none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// When changes that wait for a window may begin next, in UTC; absent when none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_opening_time: Option<Time>,
    /// Where the lifecycle rules of this policy are: all that its deletion needs when the LogwiseCluster is gone. Before the
    /// first call it is decided anew whether this namespace may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
}

/// The bucket of a policy, and as whom it is called, as the LogwiseCluster had it last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// Name of the bucket.
    #[schemars(length(min = 1, max = 63))]
    pub bucket_name: String,
    /// Beginning of the keys of all logs.
    #[schemars(length(min = 1, max = 256))]
    pub logs_prefix: String,
    /// Code of the AWS region of the bucket.
    #[schemars(length(min = 1, max = 32))]
    pub region: String,
    /// ARN of the IAM role in which the bucket is called; absent: none is assumed.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 640))]
    pub role_arn: Option<String>,
    /// Name of the Secret with the keys that sign the calls; absent: the operator's own identity is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret_name: Option<String>,
    /// Account that the bucket belongs to, twelve digits; absent: the grants named none.
    #[serde(rename = "accountID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 12, max = 12))]
    pub account_id: Option<String>,
    /// Whether the LogwiseCluster let rules be changed. Observe also stands for a suspended one.
    pub mode: ChangeMode,
}

/// A lifecycle rule that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveRule {
    /// Name of the service as it stands in the object keys.
    #[schemars(length(min = 1, max = 1024))]
    pub service: String,
    /// Beginning of the keys of the objects that the rule covers.
    #[schemars(length(min = 1, max = 1024))]
    pub prefix: String,
    /// Days from the creation of an object until it expires, by all rules of the bucket together; absent: never, or as
    /// `message` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expiration_days: Option<i32>,
    /// Id of the rule in the bucket's lifecycle configuration.
    #[serde(rename = "ruleID")]
    #[schemars(length(min = 1, max = 255))]
    pub rule_id: String,
    /// Days that the rule of this policy says, where another rule ends objects sooner; absent: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub wanted_days: Option<i32>,
    /// Id of the rule of somebody else that ends objects sooner; absent: none does, or that rule has no id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub capped_by: Option<String>,
    /// What another rule does to the objects of the service, in words; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub message: Option<String>,
}

/// Changes that wait for approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Id to put into `spec.changePolicy.approvedPlans` to approve exactly the changes of this plan.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The `metadata.generation` that the plan was made for.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Numbers of changes.
    pub summary: PlanSummary,
    /// The changes that wait, the first 20 by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), transform = atomic)]
    pub entries: Vec<PlanEntry>,
    /// When the objects were counted that the plan concerns, in UTC, anew after a day; absent: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_time: Option<Time>,
    /// Objects that expire at the first midnight UTC after the plan is carried out, and would not without it. Old versions
    /// are not counted. Absent: not counted, or no change of the plan makes anything go earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newly_expirable: Option<NewlyExpirable>,
    /// Objects that no transition of the plan ever moves. Absent: not counted, or the plan has no transitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_transitionable: Option<NotTransitionable>,
}

/// Objects that a plan lets expire at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewlyExpirable {
    /// Number of services that have such objects.
    #[schemars(range(min = 0))]
    pub services: i32,
    /// Number of objects.
    #[schemars(range(min = 0))]
    pub objects: i64,
    /// Bytes of these objects together.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// When the oldest of them was last modified, in UTC; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_object_time: Option<Time>,
    /// Whether the count was ended early, so that there may be more.
    pub at_least: bool,
}

/// Objects that are smaller than 128 KiB and stay where they are for that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotTransitionable {
    /// Number of objects.
    #[schemars(range(min = 0))]
    pub objects: i64,
    /// Whether the count was ended early, so that there may be more.
    pub at_least: bool,
}

/// Numbers of changes of lifecycle rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Rules that come.
    #[schemars(range(min = 0))]
    pub add: i32,
    /// Rules that change.
    #[schemars(range(min = 0))]
    pub change: i32,
    /// Rules that go.
    #[schemars(range(min = 0))]
    pub remove: i32,
    /// How many of these make existing objects or versions go earlier than now.
    #[schemars(range(min = 0))]
    pub destructive: i32,
}

/// One change that waits for approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanEntry {
    /// Name of the service as it stands in the object keys.
    #[schemars(length(min = 1, max = 1024))]
    pub service: String,
    /// Days until expiration under the rule now in force; absent: never, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub from_days: Option<i32>,
    /// Days until expiration under the planned rule; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub to_days: Option<i32>,
}
