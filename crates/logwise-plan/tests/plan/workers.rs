//! Properties of worker plans.

use crate::NOW;
use logwise_plan::change::{Approval, ChangePolicy, Window, raise_plan_id};
use logwise_plan::workers::{Group, Hold, Observed, Plan, Policy, plan};
use logwise_plan::{Known, checks};
use proptest::prelude::*;

prop_compose! {
    fn policy()(
        min_replicas in -1..12i32,
        max_replicas in -1..12i32,
        approval in prop_oneof![2 => Just(Approval::DestructiveOnly), 1 => Just(Approval::Always)],
        (from, to) in (-1..12i32, -1..12i32),
        closed in any::<bool>(),
    ) -> Policy {
        let approved_plans = (from..from + 3).map(|from| raise_plan_id("workers", from, to)).collect();
        let noon = || vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]];
        let windows = if closed { noon() } else { Vec::new() };
        let change = ChangePolicy { approval, approved_plans, windows, ..ChangePolicy::default() };
        Policy { group: "workers".to_owned(), min_replicas, max_replicas, change, look_period_seconds: 30 }
    }
}

prop_compose! {
    fn group()(min_size in 0..4i32, max_size in -1..12i32, desired in -1..12i32, in_service in 0..12i32) -> Group {
        Group { min_size, max_size, desired, in_service }
    }
}

fn decide(policy: &Policy, group: Known<Group>) -> Plan {
    plan(policy, &Observed { group }, NOW)
}

proptest! {
    #[test]
    fn every_plan_passes_the_checks(policy in policy(), group in group()) {
        for group in [Known::Known(group), Known::Absent, Known::Unknown("denied".to_owned())] {
            let plan = decide(&policy, group.clone());
            let violations = checks::workers::violations(&policy, &Observed { group }, &plan);
            prop_assert_eq!(violations, Vec::<String>::new());
        }
    }

    #[test]
    fn desired_capacity_is_only_raised_and_stays_in_every_range(policy in policy(), group in group()) {
        let plan = decide(&policy, Known::Known(group.clone()));
        prop_assert!(plan.actions.len() <= 1);
        for action in plan.actions {
            prop_assert_eq!(action.from, group.desired);
            prop_assert!(action.to > action.from);
            prop_assert!(action.to <= policy.min_replicas.min(policy.max_replicas).min(group.max_size));
        }
    }

    #[test]
    fn a_raise_that_was_carried_out_is_not_repeated(policy in policy(), mut group in group()) {
        let Some(action) = decide(&policy, Known::Known(group.clone())).actions.pop() else { return Ok(()) };
        // Instances on their way count: what matters is the desired capacity.
        group.desired = action.to;
        prop_assert!(decide(&policy, Known::Known(group)).actions.is_empty());
    }

    #[test]
    fn what_was_not_read_causes_no_action_and_says_so(policy in policy()) {
        for group in [Known::Absent, Known::Unknown("denied".to_owned())] {
            let plan = decide(&policy, group);
            prop_assert!(plan.actions.is_empty());
            prop_assert_eq!(plan.holds.len(), 1);
        }
    }

    #[test]
    fn approval_changes_nothing_but_when_and_windows_nothing_at_all(policy in policy(), group in group()) {
        let free = Policy { change: ChangePolicy::default(), ..policy.clone() };
        let (plan, free) = (decide(&policy, Known::Known(group.clone())), decide(&free, Known::Known(group)));
        let asked = plan.holds.iter().filter_map(|hold| match hold {
            Hold::ApprovalRequired { from, to, .. } => Some((*from, *to)),
            _ => None,
        });
        let all: Vec<(i32, i32)> = plan.actions.iter().map(|a| (a.from, a.to)).chain(asked).collect();
        prop_assert_eq!(all, free.actions.iter().map(|a| (a.from, a.to)).collect::<Vec<_>>());
        prop_assert!(policy.change.approval == Approval::Always || plan == free);
    }
}
