//! Holds of topics in words.

use logwise_api::{HeldReason, LogwiseCluster, validate};
use logwise_plan::partitions::{Clamp, Hold, Policy, RateUnknown, Reset, Size};
use logwise_runtime::conditions::Reason;

/// Partitions a held topic should have, if it should have more.
pub(crate) const fn wanted(hold: &Hold) -> Option<i32> {
    match hold {
        Hold::Maximum { wanted }
        | Hold::Claimed { wanted, .. }
        | Hold::RecommendOnly { wanted }
        | Hold::Cooldown { wanted, .. }
        | Hold::Keyed { wanted }
        | Hold::KeysUnknown { wanted, .. }
        | Hold::Unhealthy { wanted, .. }
        | Hold::BrokerHeadroom { wanted, .. }
        | Hold::DailyBudget { wanted, .. }
        | Hold::ApprovalRequired { wanted, .. }
        | Hold::WaitingForWindow { wanted, .. } => Some(*wanted),
        Hold::Sufficient | Hold::RateUnknown { .. } | Hold::AboveMaximum | Hold::Disabled | Hold::Unreadable { .. } => {
            None
        }
    }
}

/// Whether there is nothing to tell: the topic has what it should have, or its first samples are still being taken.
pub(crate) fn says_nothing(hold: &Hold, policy: &Policy) -> bool {
    match hold {
        Hold::Sufficient => true,
        Hold::RateUnknown { why: RateUnknown::TooFewSamples { .. } } => policy.window_is_long_enough(),
        _ => false,
    }
}

/// Whether the topic stands in `status.kafka.heldTopics` although no growth of it is wanted.
pub(crate) fn is_told(hold: &Hold, policy: &Policy) -> bool {
    matches!(hold, Hold::Unreadable { .. } | Hold::RateUnknown { .. }) && !says_nothing(hold, policy)
}

/// Why an object grows no topic at all, whatever its plan says, and the next step; one that is being deleted has none.
pub(crate) fn stands_still(cluster: &LogwiseCluster) -> Option<(Reason, &'static str)> {
    if cluster.spec.suspend {
        Some((Reason::SuspendedByUser, "Set `spec.suspend` to false to grow them"))
    } else if validate::observe_only(cluster) {
        Some((Reason::ObserveOnly, "Set `spec.changePolicy.mode` to Apply to grow them"))
    } else {
        None
    }
}

/// What a held growth waits for, if somebody's word holds it and not the topic.
pub(crate) const fn held_reason(hold: &Hold) -> Option<HeldReason> {
    match hold {
        Hold::RecommendOnly { .. } => Some(HeldReason::RecommendOnly),
        Hold::ApprovalRequired { .. } => Some(HeldReason::ApprovalRequired),
        Hold::WaitingForWindow { .. } => Some(HeldReason::WaitingForWindow),
        _ => None,
    }
}

/// The word in `status.kafka.heldTopics`.
pub(crate) const fn name(hold: &Hold) -> &'static str {
    match hold {
        Hold::Sufficient => "Sufficient",
        Hold::RateUnknown { .. } => "RateUnknown",
        Hold::AboveMaximum => "AboveMaximum",
        Hold::Maximum { .. } => "Maximum",
        Hold::Claimed { .. } => "Conflicted",
        Hold::RecommendOnly { .. } => "RecommendOnly",
        Hold::Disabled => "Disabled",
        Hold::Cooldown { .. } => "Cooldown",
        Hold::Keyed { .. } => "KeyedRecords",
        Hold::KeysUnknown { .. } => "KeysUnknown",
        Hold::Unhealthy { .. } => "Unhealthy",
        Hold::BrokerHeadroom { .. } => "BrokerHeadroom",
        Hold::DailyBudget { .. } => "DailyBudget",
        Hold::ApprovalRequired { .. } => "ApprovalRequired",
        Hold::WaitingForWindow { .. } => "WaitingForWindow",
        Hold::Unreadable { .. } => "Unreadable",
    }
}

/// Reason and next step of `PartitionsLimited`.
pub(crate) const fn limit(hold: &Hold) -> (Reason, &'static str) {
    match hold {
        Hold::Maximum { .. } => (Reason::PartitionCeiling, "Raise `kafka.topics.maxPartitions`"),
        Hold::Claimed { .. } => (Reason::Conflicted, "Let one LogwiseCluster select each topic"),
        Hold::Cooldown { .. } => (Reason::Cooldown, "They grow again after `kafka.partitionScaling.cooldownSeconds`"),
        Hold::Keyed { .. } => (
            Reason::KeyedRecords,
            "Growth breaks the order of a key's records once: if that may be, set `kafka.partitionScaling.keyedTopics` to Allow",
        ),
        Hold::KeysUnknown { .. } => (
            Reason::KeysUnknown,
            "Let the operator read these topics, or set `kafka.partitionScaling.keyedTopics` to Allow; it is tried again",
        ),
        Hold::Unhealthy { .. } => (Reason::UnderReplicated, "They grow when every replica is in sync again"),
        Hold::BrokerHeadroom { .. } => {
            (Reason::BrokerHeadroom, "Add brokers, or raise `kafka.partitionScaling.maxReplicasPerBroker`")
        }
        Hold::DailyBudget { .. } => (
            Reason::DailyBudget,
            "They grow when the growths of the last 24 hours are older; or raise `kafka.partitionScaling.maxNewPartitionsPerDay`",
        ),
        Hold::ApprovalRequired { .. } => {
            (Reason::ApprovalRequired, "Add ids of `status.kafka.pendingPlans` to `changePolicy.approvedPlans`")
        }
        Hold::WaitingForWindow { .. } => {
            (Reason::WaitingForWindow, "They grow when the next window of `changePolicy.windows` opens")
        }
        _ => (Reason::RecommendOnly, "Set `kafka.partitionScaling.mode` to Automatic to grow them"),
    }
}

/// The hold with its numbers; none where its name says it all.
pub(crate) fn message(hold: &Hold) -> Option<String> {
    Some(match hold {
        Hold::Maximum { wanted } => format!("{wanted} partitions are wanted, which `maxPartitions` does not allow"),
        Hold::Claimed { owner, .. } => format!("the older LogwiseCluster {owner} selects it too"),
        Hold::Cooldown { until, .. } => format!("it grew a short time ago and may grow again from {until:.0} on"),
        Hold::Keyed { .. } => "its newest records carry keys".to_owned(),
        Hold::KeysUnknown { why, .. } | Hold::Unreadable { why } => why.clone(),
        Hold::RateUnknown { why } => rate_unknown(why),
        Hold::Unhealthy { leaderless, under_replicated, reassigning, .. } => format!(
            "partitions without a leader: {leaderless}; with replicas out of sync: {under_replicated}; being moved: {reassigning}"
        ),
        Hold::BrokerHeadroom { per_broker: Some(per_broker), most, .. } => {
            format!("brokers would have {per_broker} replicas on average, {most} are allowed")
        }
        Hold::BrokerHeadroom { per_broker: None, .. } => "how many brokers there are is not known".to_owned(),
        Hold::DailyBudget { spent: Some(spent), budget, .. } => {
            format!("{spent} of {budget} new partitions within 24 hours are used")
        }
        Hold::DailyBudget { spent: None, .. } => {
            "how many partitions were added within 24 hours is not known".to_owned()
        }
        Hold::Sufficient
        | Hold::AboveMaximum
        | Hold::RecommendOnly { .. }
        | Hold::Disabled
        | Hold::ApprovalRequired { .. }
        | Hold::WaitingForWindow { .. } => return None,
    })
}

/// How a wanted count came about, in numbers.
pub(crate) fn arithmetic(size: &Size) -> String {
    let mut parts = Vec::new();
    if let Some(floor) = size.floor.filter(|floor| size.rate.is_none() && *floor == size.wanted && size.to == *floor) {
        return format!("at least {floor}");
    }
    if let (Some(rate), Some(target)) = (size.rate, size.target_rate) {
        let catch_up = size.catch_up_rate.filter(|catch_up| *catch_up > rate);
        let catch_up = catch_up.map_or_else(String::new, |catch_up| format!(", {catch_up} to catch up in time,"));
        parts.push(format!("{rate} records/s{catch_up} at {target} a partition"));
        if size.catch_up_rate.is_none() {
            parts.push("lag not known".to_owned());
        }
    }
    if let Some(unknown) = &size.rate_unknown {
        parts.push(rate_unknown(unknown));
    }
    if let Some(floor) = size.floor {
        parts.push(format!("at least {floor}"));
    }
    if let Some(cores) = size.cores {
        parts.push(format!("rounded up for {cores} cores"));
    }
    parts.push(format!("{} wanted", size.wanted));
    parts.extend(size.clamps.iter().map(|clamp| match clamp {
        Clamp::Maximum { to } => format!("the maximum allows {to}"),
        Clamp::Step { to } => format!("a step leads to {to}"),
    }));
    parts.join("; ")
}

fn rate_unknown(unknown: &RateUnknown) -> String {
    let because = |why: &Reset| match why {
        Reset::OtherTopic => "the topic was created anew",
        Reset::OffsetsFell => "its end offsets fell",
        Reset::PartitionsFell => "it has fewer partitions than before",
    };
    match unknown {
        RateUnknown::TooFewSamples { samples, needed } => format!("rate not known yet: {samples} of {needed} samples"),
        RateUnknown::WindowReset { why, samples, needed } => {
            format!("rate not known yet: {} and there are {samples} of {needed} samples since", because(why))
        }
        RateUnknown::TooOld { age_seconds, most_seconds } => {
            format!("rate not known: the newest sample is {age_seconds} s old, {most_seconds} s count")
        }
    }
}
