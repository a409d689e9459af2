//! Conditions, on the wire as `metav1.Condition`, with bounds in the schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observed aspect of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the aspect in CamelCase, such as Ready.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316), pattern(r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$"))]
    pub type_: String,
    /// Whether the aspect holds: True, False, or Unknown when it could not be found out.
    pub status: ConditionStatus,
    /// Why the condition has this status: one word in CamelCase, meant for programs.
    #[schemars(length(min = 1, max = 128), pattern("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// The fact and the next step, meant for people. May be empty.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// When `status` last changed, in UTC.
    pub last_transition_time: Time,
    /// The `metadata.generation` that the condition speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// The three states of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The aspect holds.
    True,
    /// The aspect does not hold.
    False,
    /// Not found out.
    Unknown,
}

impl ConditionStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
