//! Properties of partition plans.

use jiff::Timestamp;
use logwise_plan::partitions::{Grow, Observed, Plan, Policy, ScalingMode, Topic, plan};
use logwise_plan::selector::{TopicPattern, TopicSelector};
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn known<T: Clone + std::fmt::Debug + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Known<T>> {
    let unknown = Just(Known::Unknown("timed out".to_owned()));
    prop_oneof![8 => value.prop_map(Known::Known), 1 => Just(Known::Absent), 1 => unknown].boxed()
}

prop_compose! {
    fn topics()(
        topics in prop::collection::btree_map("(logs[.][abc]|other|__offsets)", topic(), 0..5),
    ) -> BTreeMap<String, Topic> {
        topics
    }
}

prop_compose! {
    fn topic()(
        partitions in -1..8i32,
        leaderless in prop_oneof![3 => Just(0), 1 => -1..2i32],
        under_replicated in prop_oneof![3 => Just(0), 1 => -1..2i32],
        end_offsets in known(0..1_000i64),
    ) -> Topic {
        Topic { partitions, leaderless, under_replicated, end_offsets }
    }
}

prop_compose! {
    fn policy()(
        by_pattern in any::<bool>(),
        default_partitions in prop::option::of(-1..15i32),
        max_partitions in -1..8i32,
        mode in prop_oneof![
            3 => Just(ScalingMode::Automatic), 1 => Just(ScalingMode::Recommend), 1 => Just(ScalingMode::Disabled),
        ],
    ) -> Policy {
        let pattern = || TopicSelector::Pattern(TopicPattern::new("logs[.](a|b)|__offsets").unwrap());
        let topics = if by_pattern { pattern() } else { TopicSelector::NamePrefix("logs.".to_owned()) };
        Policy { topics, default_partitions, max_partitions, mode, look_period_seconds: 30 }
    }
}

fn observed() -> impl Strategy<Value = Observed> {
    known(topics()).prop_map(|topics| Observed { topics })
}

fn decide(policy: &Policy, observed: &Observed) -> Plan {
    plan(policy, observed, Timestamp::UNIX_EPOCH)
}

/// What the brokers do with a growth: they refuse it from any other count and never shrink.
fn apply(observed: &mut Observed, action: &Grow) {
    let Known::Known(topics) = &mut observed.topics else { unreachable!("nothing was seen") };
    let topic = topics.get_mut(&action.topic).unwrap();
    assert!(topic.partitions == action.from && action.to > action.from);
    topic.partitions = action.to;
}

proptest! {
    #[test]
    fn every_plan_passes_the_checks(policy in policy(), observed in observed()) {
        let plan = decide(&policy, &observed);
        prop_assert_eq!(checks::partitions::violations(&policy, &observed, &plan), Vec::<String>::new());
    }

    #[test]
    fn partitions_never_shrink_and_never_pass_the_maximum(policy in policy(), observed in observed()) {
        for action in decide(&policy, &observed).actions {
            let seen = observed.topics.known().unwrap()[&action.topic].partitions;
            prop_assert_eq!(action.from, seen);
            prop_assert!(action.to > seen && action.to <= policy.max_partitions);
        }
    }

    #[test]
    fn what_is_unknown_or_only_observed_causes_no_action(mut policy in policy(), observed in observed()) {
        let unread = Observed { topics: Known::Unknown("timed out".to_owned()) };
        prop_assert!(decide(&policy, &unread).actions.is_empty());
        for action in decide(&policy, &observed).actions {
            prop_assert!(observed.topics.known().unwrap()[&action.topic].end_offsets.known().is_some());
        }
        for mode in [ScalingMode::Recommend, ScalingMode::Disabled] {
            policy.mode = mode;
            prop_assert!(decide(&policy, &observed).actions.is_empty());
        }
    }

    #[test]
    fn any_part_of_the_actions_in_any_order_leads_to_the_same_end(
        policy in policy(),
        observed in observed(),
        (order, stop) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut whole = observed.clone();
        let actions = decide(&policy, &observed).actions;
        actions.iter().for_each(|action| apply(&mut whole, action));
        prop_assert!(decide(&policy, &whole).actions.is_empty());

        let mut part = observed;
        let mut some = actions.clone();
        if !some.is_empty() {
            some.rotate_left(order.index(actions.len()));
            some.truncate(stop.index(actions.len()));
        }
        some.iter().for_each(|action| apply(&mut part, action));
        let rest = decide(&policy, &part).actions;
        prop_assert_eq!(rest.len(), actions.len() - some.len());
        rest.iter().for_each(|action| apply(&mut part, action));
        prop_assert_eq!(part, whole);
    }
}
