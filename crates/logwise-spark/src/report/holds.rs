//! Holds and ranks of the plan about the workers, in words.

use logwise_plan::workers::{Hold, Rank, UNKNOWN_HOST};

/// Why workers are neither added nor removed, or fewer than wanted.
pub(crate) fn words(hold: &Hold) -> String {
    match hold {
        Hold::WithinRange => "there are as many workers as there should be".to_owned(),
        Hold::RecommendOnly { wanted } => format!("{wanted} workers are recommended, and the mode is Recommend"),
        Hold::Disabled => "the number of workers is not managed".to_owned(),
        Hold::PoolAbsent => "what runs the workers does not exist".to_owned(),
        Hold::Unreadable { what, why } => format!("{what} could not be read: {why}"),
        Hold::SignalsMissing { what } => format!("not known: {what}"),
        Hold::DriverHost { id } if id == UNKNOWN_HOST => "it is not certain where the driver runs".to_owned(),
        Hold::DriverHost { id } => format!("the driver runs on {id}"),
        Hold::CordonPending { id } => format!("the master does not show {id} as cordoned yet"),
        Hold::CordonUnavailable { why } => format!("no worker can be cordoned: {why}"),
        Hold::EndRefused { why } => format!("no worker can be ended: {why}"),
        Hold::CordonLost { id } => format!("the master has forgotten that {id} is cordoned"),
        Hold::SecondLook { id } => format!("{id} has to be looked at once more"),
        Hold::DriverLanded { id, driver } => format!("driver {driver} came to {id} before it was cordoned"),
        Hold::GateClosed { desired, in_service, others: 0 } => format!("{in_service} of {desired} are in service"),
        Hold::GateClosed { desired, in_service, others } => {
            format!("{in_service} of {desired} are in service, and {others} besides come, go or stand by")
        }
        // Their numbers and times move with the load: the decision record has them.
        Hold::BelowTarget { .. } => "fewer sound workers would be left than are needed".to_owned(),
        Hold::Stabilizing { .. } => "the stabilization window has seen another number".to_owned(),
        Hold::Policy => "the policies of `behavior` allow no more now".to_owned(),
        Hold::Cooldown { until } => format!("cooldown until {until}"),
        Hold::Budget { spent, limit } => format!("{spent} of {limit} workers within the last hour"),
        Hold::Refresh => "an instance refresh is running".to_owned(),
        Hold::Rebalance => "the group moves instances between zones".to_owned(),
        Hold::Suspended { process } => format!("process {process} of the group is suspended"),
        Hold::Rollout => "the Deployment replaces its pods".to_owned(),
        Hold::DriverPodNotReady => "the driver's pod is not ready".to_owned(),
        Hold::Compaction { .. } => "one of the next batches compacts the log of the file sink".to_owned(),
        Hold::IntentOpen => "the effect of an earlier change is not known yet".to_owned(),
        Hold::WorkerNotInPool { host } => format!("the worker on {host} is none of these"),
        Hold::AddressUnknown { id } => format!("it is not certain which machine {id} is"),
        Hold::GroupMaximum { wanted, max_size } => format!("{wanted} are wanted and the maximum is {max_size}"),
        Hold::GroupMinimum { wanted, min_size } => format!("{wanted} are wanted and the minimum is {min_size}"),
        Hold::LaunchesFail { text, .. } => format!("launches fail: {text}"),
        Hold::NoEffect { missing } => format!("{missing} in service have no worker at the master"),
        Hold::AboveMaximum { desired } => format!("the desired number is {desired}, which is the most or more"),
        Hold::ApprovalRequired { plan_id, .. } => format!("it waits for approval of {plan_id}"),
        Hold::WaitingForWindow { next_opening: Some(opening) } => format!("it waits for a window until {opening}"),
        Hold::WaitingForWindow { next_opening: None } => "it waits for windows that are never open".to_owned(),
        Hold::ScaleInDisabled => "`behavior.scaleDown.selectPolicy` is Disabled".to_owned(),
        Hold::TimeToLoss => "unread records are near their end".to_owned(),
        Hold::Draining { id, .. } => format!("tasks run on {id}"),
        Hold::Unprotected => "instances are not protected from scale-in".to_owned(),
    }
}

/// Why a member was chosen, or was not.
pub(crate) fn rank(rank: Rank) -> String {
    let text = match rank {
        Rank::HostsDriver => "a driver runs on it",
        Rank::NotServing => "it is not in service",
        Rank::Unhealthy => "it is not healthy",
        Rank::NotAlive => "it cannot be cordoned",
        Rank::Cordoned => "it is cordoned",
        Rank::Idle => "no task runs on it",
        Rank::Tasks(tasks) => return format!("{tasks} tasks run on it, fewer than on others"),
        Rank::ZoneSurplus => "its zone has more than others",
        Rank::OldTemplate => "it was made from an older template",
        Rank::Age => "it is the oldest, or the first by id",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_what_is_waited_for_do_not_change_from_look_to_look() {
        let until = jiff::Timestamp::UNIX_EPOCH;
        let draining = |tasks| words(&Hold::Draining { id: "i-1".into(), tasks, until });
        assert_eq!(draining(1), draining(7));
        assert_eq!(words(&Hold::Stabilizing { until }), words(&Hold::Stabilizing { until: jiff::Timestamp::MAX }));
        let below = |needed| words(&Hold::BelowTarget { left: needed - 1, needed });
        let compacts = |batch| words(&Hold::Compaction { batch });
        assert_eq!((below(3), compacts(9)), (below(4), compacts(19)));
        let fails = |until| words(&Hold::LaunchesFail { text: "no capacity".into(), until });
        assert_eq!(fails(until), fails(jiff::Timestamp::MAX));
    }

    #[test]
    fn members_that_keep_the_gate_closed_are_counted() {
        let words = |others| words(&Hold::GateClosed { desired: 2, in_service: 2, others });
        assert!(words(1).contains("2 of 2 are in service, and 1 besides") && words(0).ends_with("in service"));
    }

    #[test]
    fn a_driver_that_may_be_anywhere_is_on_no_instance() {
        let words = |id: &str| words(&Hold::DriverHost { id: id.to_owned() });
        assert!(!words(UNKNOWN_HOST).contains(UNKNOWN_HOST) && words("i-1").contains("i-1"));
    }
}
