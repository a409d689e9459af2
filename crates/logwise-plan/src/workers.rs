//! How many Spark workers the Auto Scaling Group should run. Capacity is only ever raised here.

use crate::Known;
use crate::change::{ChangePolicy, raise_plan_id};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The validated wish for the workers of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Name of the Auto Scaling Group.
    pub group: String,
    /// Workers to run at least.
    pub min_replicas: i32,
    /// Workers to run at most.
    pub max_replicas: i32,
    /// What changes wait for. Suspension and mode are looked at where changes are carried out.
    #[serde(default, skip_serializing_if = "ChangePolicy::is_default")]
    pub change: ChangePolicy,
    /// Seconds between two looks.
    pub look_period_seconds: u32,
}

/// What one look at the group and at the Spark master found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The Auto Scaling Group; absent when no group has that name.
    pub group: Known<Group>,
}

/// An Auto Scaling Group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Smallest size the group allows.
    pub min_size: i32,
    /// Largest size the group allows.
    pub max_size: i32,
    /// Desired capacity.
    pub desired: i32,
    /// Instances in service.
    pub in_service: i32,
}

/// What to do about the group's size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// At most one raise.
    pub actions: Vec<RaiseDesired>,
    /// Why the size was left alone or went less far than wanted.
    pub holds: Vec<Hold>,
    /// Seconds until the next look is due.
    pub next_look_seconds: u32,
}

/// Sets the desired capacity of a group to a larger number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RaiseDesired {
    /// The group.
    pub group: String,
    /// Desired capacity it has; the raise is not carried out from any other number.
    pub from: i32,
    /// Desired capacity it shall have; always larger than `from`.
    pub to: i32,
}

/// Why the group's size was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Hold {
    /// The desired capacity lies between `minReplicas` and `maxReplicas`.
    WithinRange,
    /// Desired capacity is above `maxReplicas`; it is never lowered to remove workers.
    #[serde(rename_all = "camelCase")]
    ScaleIn {
        /// Desired capacity of the group.
        desired: i32,
        /// Workers allowed.
        max_replicas: i32,
    },
    /// The group's own maximum is below `minReplicas`; it is the group owner's to raise.
    #[serde(rename_all = "camelCase")]
    GroupMaximum {
        /// Workers wanted.
        wanted: i32,
        /// Largest size the group allows.
        max_size: i32,
    },
    /// `changePolicy.approval` is Always and the raise is not approved.
    #[serde(rename_all = "camelCase")]
    ApprovalRequired {
        /// Desired capacity of the group.
        from: i32,
        /// Desired capacity it gets when the plan is approved.
        to: i32,
        /// The id that approves this raise.
        plan_id: String,
    },
    /// No group has that name.
    GroupAbsent,
    /// The group could not be read.
    Unreadable {
        /// What failed.
        why: String,
    },
}

/// Decides whether to raise the desired capacity of the group.
pub fn plan(policy: &Policy, observed: &Observed, _now: Timestamp) -> Plan {
    let mut plan = Plan { actions: Vec::new(), holds: Vec::new(), next_look_seconds: policy.look_period_seconds };
    let group = match &observed.group {
        Known::Known(group) => group,
        Known::Absent => {
            plan.holds.push(Hold::GroupAbsent);
            return plan;
        }
        Known::Unknown(why) => {
            plan.holds.push(Hold::Unreadable { why: why.clone() });
            return plan;
        }
    };
    if group.desired > policy.max_replicas {
        plan.holds.push(Hold::ScaleIn { desired: group.desired, max_replicas: policy.max_replicas });
        return plan;
    }
    let wanted = policy.min_replicas.min(policy.max_replicas);
    if group.desired >= wanted {
        plan.holds.push(Hold::WithinRange);
        return plan;
    }
    let to = wanted.min(group.max_size);
    if to < wanted {
        plan.holds.push(Hold::GroupMaximum { wanted, max_size: group.max_size });
    }
    if to > group.desired {
        let from = group.desired;
        let plan_id = raise_plan_id(&policy.group, from, to);
        // More workers never wait for a window.
        if policy.change.needs_approval(false) && !policy.change.approved_plans.contains(&plan_id) {
            plan.holds.push(Hold::ApprovalRequired { from, to, plan_id });
        } else {
            plan.actions.push(RaiseDesired { group: policy.group.clone(), from, to });
        }
    }
    plan
}
