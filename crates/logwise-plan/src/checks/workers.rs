//! What must hold for any plan about workers.

use crate::Known;
use crate::change::{Approval, raise_plan_id};
use crate::workers::{Group, Hold, Observed, Plan, Policy, RaiseDesired};

/// Every rule that `plan` breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    if plan.actions.len() > 1 {
        found.push("has more than one action".to_owned());
    }
    if plan.actions.is_empty() && plan.holds.is_empty() {
        found.push("neither acts nor says why not".to_owned());
    }
    for action in &plan.actions {
        match &observed.group {
            Known::Known(group) => raise(policy, group, action, &mut found),
            Known::Absent | Known::Unknown(_) => found.push("raises a group that was not read".to_owned()),
        }
    }
    if plan.holds.iter().any(|hold| !is_true(policy, &observed.group, hold)) {
        found.push("is held for a reason that does not apply".to_owned());
    }
    let asks = plan.holds.iter().any(|hold| matches!(hold, Hold::ApprovalRequired { .. }));
    let idle = observed.group.known().filter(|_| plan.actions.is_empty() && !asks);
    if idle.is_some_and(|g| g.desired < policy.min_replicas.min(policy.max_replicas).min(g.max_size)) {
        found.push("leaves the group below minReplicas although there is room".to_owned());
    }
    found
}

/// What is wrong with one raise.
fn raise(policy: &Policy, group: &Group, action: &RaiseDesired, found: &mut Vec<String>) {
    let faults = [
        (action.group != policy.group, "names another group"),
        (action.from != group.desired, "assumes another desired capacity than was seen"),
        (action.to <= action.from, "does not raise"),
        (action.to > policy.max_replicas, "passes maxReplicas"),
        (action.to > policy.min_replicas, "raises further than minReplicas asks for"),
        (action.to > group.max_size, "passes the group's own maximum"),
        (!is_approved(policy, action.from, action.to), "raises without approval"),
    ];
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
}

/// Whether nobody has to be asked about this raise, or somebody has said yes.
fn is_approved(policy: &Policy, from: i32, to: i32) -> bool {
    policy.change.approval != Approval::Always
        || policy.change.approved_plans.contains(&raise_plan_id(&policy.group, from, to))
}

/// Whether the reason of a hold applies.
fn is_true(policy: &Policy, group: &Known<Group>, hold: &Hold) -> bool {
    match (hold, group) {
        (Hold::WithinRange, Known::Known(g)) => {
            g.desired <= policy.max_replicas && g.desired >= policy.min_replicas.min(policy.max_replicas)
        }
        (Hold::ScaleIn { desired, max_replicas }, Known::Known(g)) => {
            desired > max_replicas && *desired == g.desired && *max_replicas == policy.max_replicas
        }
        (Hold::GroupMaximum { wanted, max_size }, Known::Known(g)) => {
            wanted > max_size && *max_size == g.max_size && *wanted <= policy.min_replicas
        }
        (Hold::ApprovalRequired { from, to, plan_id }, Known::Known(g)) => {
            let reachable = policy.min_replicas.min(policy.max_replicas).min(g.max_size);
            let named = *plan_id == raise_plan_id(&policy.group, *from, *to);
            (*from, *to) == (g.desired, reachable) && to > from && named && !is_approved(policy, *from, *to)
        }
        (Hold::GroupAbsent, Known::Absent) | (Hold::Unreadable { .. }, Known::Unknown(_)) => true,
        _ => false,
    }
}
