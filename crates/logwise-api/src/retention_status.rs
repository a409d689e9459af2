//! What the operator reports about a retention policy.

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
    /// The last `metadata.generation` that was wholly in force in S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub programmed_generation: Option<i64>,
    /// When that generation was first seen wholly in force, in UTC.
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
    /// Days from the creation of an object until it expires; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expiration_days: Option<i32>,
    /// Id of the rule in the bucket's lifecycle configuration.
    #[serde(rename = "ruleID")]
    #[schemars(length(min = 1, max = 255))]
    pub rule_id: String,
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
