//! What must hold for any plan about workers.

use crate::Known;
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
    let idle = observed.group.known().filter(|_| plan.actions.is_empty());
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
    ];
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
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
        (Hold::GroupAbsent, Known::Absent) | (Hold::Unreadable { .. }, Known::Unknown(_)) => true,
        _ => false,
    }
}
