//! What must hold for any plan about partitions.

use super::{is_open, waits_until};
use crate::Known;
use crate::change::{Approval, growth_plan_id};
use crate::partitions::{Blocked, Grow, Hold, Observed, Plan, Policy, Proposal, ScalingMode, Topic};
use jiff::Timestamp;

/// Every rule that `plan`, made at `now`, breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    if plan.next_look_seconds > policy.look_period_seconds {
        found.push("looks again later than it should".to_owned());
    }
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
    if !plan.actions.is_empty() && !is_open(&policy.change.windows, now) {
        found.push("grows topics while no window is open".to_owned());
    }
    for (name, proposal) in &plan.proposals {
        proposed(policy, observed, (name, proposal), &mut found);
    }
    for action in &plan.actions {
        match topics.get(&action.topic) {
            Some(topic) => growth(policy, topic, (action, plan.proposals.get(&action.topic)), &mut found),
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
        let said = |hold: &Hold| match hold {
            Hold::ApprovalRequired { wanted, to, plan_id } => {
                let proposal = plan.proposals.get(name);
                let same = proposal.is_some_and(|p| p.to == *to && p.plan_id == *plan_id && p.to <= *wanted);
                same && !policy.change.approved_plans.contains(plan_id)
            }
            Hold::WaitingForWindow { next_opening, .. } => waits_until(&policy.change.windows, now, *next_opening),
            Hold::Unreadable { .. } if readable(topic) => {
                needs_approval(policy) && observed.cluster_id.known().is_none()
            }
            other => is_true(policy, topic, other),
        };
        if hold.is_some_and(|hold| !said(hold) || !is_about(policy, topic, hold)) {
            found.push(format!("{name}: is held for a reason that does not apply"));
        }
    }
    if let Some(name) = plan.holds.keys().find(|name| !topics.contains_key(*name)) {
        found.push(format!("{name}: holds a topic that was not seen"));
    }
    found
}

fn needs_approval(policy: &Policy) -> bool {
    policy.change.approval == Approval::Always
}

fn readable(topic: &Topic) -> bool {
    topic.end_offsets.known().is_some() && topic.partitions > 0
}

/// What is wrong with asking a person about one growth.
fn proposed(policy: &Policy, observed: &Observed, (name, asked): (&str, &Proposal), found: &mut Vec<String>) {
    let topic = observed.topics.known().and_then(|topics| topics.get(name));
    let wanted = policy.default_partitions.map_or(0, |floor| floor.min(policy.max_partitions));
    let id = observed.cluster_id.known().map(|cluster| growth_plan_id(cluster, name, asked.from, asked.to));
    let fits = |to: i32| to > asked.from && to <= wanted;
    let is_approved = policy.change.approved_plans.contains(&asked.plan_id);
    let of = |to: i32| observed.cluster_id.known().map(|cluster| growth_plan_id(cluster, name, asked.from, to));
    let mut possible = (asked.from + 1..=wanted).filter_map(of);
    let overlooked = !is_approved && possible.any(|id| policy.change.approved_plans.contains(&id));
    let pending = observed.pending.get(name).filter(|pending| pending.from == asked.from && fits(pending.to));
    let faults = [
        (!needs_approval(policy), "asks a person although nobody has to be asked"),
        (topic.map(|topic| topic.partitions) != Some(asked.from), "asks about another partition count than was seen"),
        (!fits(asked.to), "asks about a growth that is not wanted"),
        (
            !is_approved && pending.is_some_and(|pending| pending.to != asked.to),
            "changes the growth that a person was asked about",
        ),
        (overlooked, "asks although a growth that is wanted was approved"),
        (id.as_ref() != Some(&asked.plan_id), "asks under another id than that of the growth"),
    ];
    let broken = faults.iter().filter(|(is_broken, _)| *is_broken);
    found.extend(broken.map(|(_, text)| format!("{name}: {text}")));
}

/// What is wrong with one growth.
fn growth(policy: &Policy, topic: &Topic, (action, asked): (&Grow, Option<&Proposal>), found: &mut Vec<String>) {
    let approved =
        asked.is_some_and(|asked| asked.to == action.to && policy.change.approved_plans.contains(&asked.plan_id));
    let faults = [
        (action.from != topic.partitions, "assumes another partition count than was seen"),
        (action.to <= action.from, "does not grow"),
        (action.to > policy.max_partitions, "passes maxPartitions"),
        (Some(action.to) > policy.default_partitions, "passes the floor"),
        (policy.mode != ScalingMode::Automatic, "grows although the mode is not Automatic"),
        (needs_approval(policy) && !approved, "grows without approval"),
        ((topic.leaderless, topic.under_replicated) != (0, 0), "grows an unhealthy topic"),
        (!readable(topic), "grows a topic that was not read completely"),
    ];
    let broken = faults.iter().filter(|(is_broken, _)| *is_broken);
    found.extend(broken.map(|(_, text)| format!("{}: {text}", action.topic)));
}

/// Whether a hold of a growth is about a topic that would grow otherwise.
fn is_about(policy: &Policy, topic: &Topic, hold: &Hold) -> bool {
    let room = topic.partitions < policy.max_partitions;
    let short = policy.default_partitions.is_some_and(|floor| floor > topic.partitions);
    match hold {
        Hold::ApprovalRequired { wanted, .. } | Hold::WaitingForWindow { wanted, .. } => {
            let most = policy.default_partitions.map(|floor| floor.min(policy.max_partitions));
            readable(topic) && short && room && policy.mode == ScalingMode::Automatic && Some(*wanted) == most
        }
        _ => true,
    }
}

/// Whether the reason of a hold that has nothing to do with other people's consent applies.
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
        Hold::ApprovalRequired { .. } | Hold::WaitingForWindow { .. } => false,
        Hold::Unreadable { .. } => !matches!(topic.end_offsets, Known::Known(_)) || topic.partitions <= 0,
    }
}
