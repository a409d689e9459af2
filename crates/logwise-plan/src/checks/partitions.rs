//! What must hold for any plan about partitions.

use crate::Known;
use crate::partitions::{Blocked, Grow, Hold, Observed, Plan, Policy, ScalingMode, Topic};

/// Every rule that `plan` breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let Some(topics) = observed.topics.known() else {
        if !plan.actions.is_empty() || !plan.holds.is_empty() {
            found.push("decides about topics that were not read".to_owned());
        }
        if observed.topics.is_unknown() != matches!(plan.blocked, Some(Blocked::Unreadable { .. })) {
            found.push("must be blocked exactly if the topics are unknown".to_owned());
        }
        return found;
    };
    if plan.blocked.is_some() {
        found.push("is blocked although the topics were read".to_owned());
    }
    if plan.actions.windows(2).any(|pair| pair[0].topic >= pair[1].topic) {
        found.push("actions are not in the order of topics, or name one twice".to_owned());
    }
    for action in &plan.actions {
        match topics.get(&action.topic) {
            Some(topic) => growth(policy, topic, action, &mut found),
            None => found.push(format!("{}: grows a topic that was not seen", action.topic)),
        }
    }
    for (name, topic) in topics {
        let grows = plan.actions.iter().any(|action| action.topic == *name);
        let hold = plan.holds.get(name);
        let selected = policy.topics.matches(name) && !name.starts_with("__");
        if usize::from(grows) + usize::from(hold.is_some()) != usize::from(selected) {
            found.push(format!("{name}: must have one decision if selected and none otherwise"));
        }
        if hold.is_some_and(|hold| !is_true(policy, topic, hold)) {
            found.push(format!("{name}: is held for a reason that does not apply"));
        }
    }
    if let Some(name) = plan.holds.keys().find(|name| !topics.contains_key(*name)) {
        found.push(format!("{name}: holds a topic that was not seen"));
    }
    found
}

/// What is wrong with one growth.
fn growth(policy: &Policy, topic: &Topic, action: &Grow, found: &mut Vec<String>) {
    let faults = [
        (action.from != topic.partitions, "assumes another partition count than was seen"),
        (action.to <= action.from, "does not grow"),
        (action.to > policy.max_partitions, "passes maxPartitions"),
        (Some(action.to) > policy.default_partitions, "passes the floor"),
        (policy.mode != ScalingMode::Automatic, "grows although the mode is not Automatic"),
        ((topic.leaderless, topic.under_replicated) != (0, 0), "grows an unhealthy topic"),
        (topic.end_offsets.known().is_none() || topic.partitions <= 0, "grows a topic that was not read completely"),
    ];
    let broken = faults.iter().filter(|(is_broken, _)| *is_broken);
    found.extend(broken.map(|(_, text)| format!("{}: {text}", action.topic)));
}

/// Whether the reason of a hold applies.
fn is_true(policy: &Policy, topic: &Topic, hold: &Hold) -> bool {
    let short = policy.default_partitions.is_some_and(|floor| floor > topic.partitions);
    let room = topic.partitions < policy.max_partitions;
    match hold {
        Hold::Sufficient => !short && topic.partitions <= policy.max_partitions,
        Hold::AboveMaximum => topic.partitions > policy.max_partitions,
        Hold::Maximum { wanted } => short && !room && Some(*wanted) == policy.default_partitions,
        Hold::RecommendOnly { .. } => short && room && policy.mode == ScalingMode::Recommend,
        Hold::Disabled => short && room && policy.mode == ScalingMode::Disabled,
        Hold::Unhealthy { leaderless, under_replicated, .. } => {
            let counts = (*leaderless, *under_replicated);
            short && room && counts != (0, 0) && counts == (topic.leaderless, topic.under_replicated)
        }
        Hold::Unreadable { .. } => !matches!(topic.end_offsets, Known::Known(_)) || topic.partitions <= 0,
    }
}
