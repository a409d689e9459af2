//! Properties of partition plans.

use crate::NOW;
use jiff::Timestamp;
use logwise_plan::change::{Approval, ChangePolicy, Window};
use logwise_plan::partitions::{
    Claim, Grow, Hold, KeyedTopics, Keys, Observed, Pending, Plan, Policy, Sample, Scaling, ScalingMode, Topic,
    Window as PartitionsWindow, plan,
};
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
        health in prop_oneof![4 => Just((0, 0, 0)), 1 => (-1..2i32, -1..2i32, -1..2i32)],
        replication_factor in -1..4i32,
        end_offsets in known(0..1_000i64),
        window in samples(),
        lag in known(prop_oneof![9 => 0..20_000i64, 1 => any::<i64>()]),
        keys in known(prop_oneof![3 => Just(Keys::Without), 1 => Just(Keys::With)]),
        grown in prop::option::of(-2_000..100i64),
        refused in prop::bool::weighted(0.2),
    ) -> Topic {
        let (leaderless, under_replicated, reassigning) = health;
        let grown = grown.map(at);
        Topic {
            partitions, leaderless, under_replicated, reassigning, replication_factor, end_offsets, lag, keys, grown, refused,
            window: window.into(),
        }
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Samples as a growing topic gives them, and some that no topic gives.
fn samples() -> impl Strategy<Value = PartitionsWindow> {
    let growing = (prop::collection::vec(0..3_000i64, 0..9), 1..80i64).prop_map(|(steps, period)| {
        let mut window = PartitionsWindow::default();
        let (number, mut end_offsets) = (i64::try_from(steps.len()).unwrap(), 0);
        for (place, step) in (0..).zip(steps) {
            end_offsets += step;
            window.record(
                Sample { at: at((place - number) * period), partitions: 3, end_offsets, other_clock: false },
                600,
            );
        }
        window
    });
    let sample = (-700..50i64, any::<i32>(), any::<i64>());
    let odd = prop::collection::vec(sample, 0..9).prop_map(|samples| PartitionsWindow {
        samples: samples
            .into_iter()
            .map(|(second, partitions, end_offsets)| Sample {
                at: at(second),
                partitions,
                end_offsets,
                other_clock: false,
            })
            .collect(),
        ..PartitionsWindow::default()
    });
    prop_oneof![4 => growing, 1 => odd]
}

prop_compose! {
    fn scaling()(
        target_rate in prop::option::of(prop_oneof![9 => 1..40i64, 1 => any::<i64>()]),
        window_seconds in 1..700u32,
        catch_up_seconds in 0..700u32,
        max_step_factor in 0..4i32,
        cooldown_seconds in 1..2_000u32,
        max_replicas_per_broker in 1..40i32,
        daily_budget in -1..40i32,
        keyed_topics in prop_oneof![Just(KeyedTopics::Hold), Just(KeyedTopics::Allow)],
        align_to_cores in any::<bool>(),
    ) -> Scaling {
        Scaling {
            target_rate, window_seconds, catch_up_seconds, max_step_factor, cooldown_seconds, max_replicas_per_broker,
            daily_budget, keyed_topics, align_to_cores,
        }
    }
}

prop_compose! {
    fn policy()(
        by_pattern in any::<bool>(),
        default_partitions in prop::option::of(-1..15i32),
        max_partitions in -1..8i32,
        scaling in scaling(),
        mode in prop_oneof![
            3 => Just(ScalingMode::Automatic), 1 => Just(ScalingMode::Recommend), 1 => Just(ScalingMode::Disabled),
        ],
        approval in prop_oneof![2 => Just(Approval::DestructiveOnly), 1 => Just(Approval::Always)],
        windows in prop_oneof![3 => Just(Vec::new()), 1 => Just(window("0 0 * * *")), 1 => Just(window("0 12 * * *"))],
    ) -> Policy {
        let change = ChangePolicy { approval, windows, ..ChangePolicy::default() };
        let pattern = || TopicSelector::Pattern(TopicPattern::new("logs[.](a|b)|__offsets").unwrap());
        let topics = if by_pattern { pattern() } else { TopicSelector::NamePrefix("logs.".to_owned()) };
        Policy { topics, default_partitions, max_partitions, mode, scaling, change, look_period_seconds: 30 }
    }
}

fn window(schedule: &str) -> Vec<Vec<Window>> {
    vec![vec![Window::new("w", schedule, 60, "UTC").unwrap()]]
}

prop_compose! {
    fn observed()(
        cluster_id in known(Just("kafka-1".to_owned())),
        pending in prop::collection::btree_map("logs[.][abc]", (-1..8i32, -1..8i32), 0..3),
        brokers in known(0..4i32),
        replicas in prop_oneof![9 => 0..60i64, 1 => any::<i64>()],
        spent in known(prop_oneof![9 => 0..40i32, 1 => any::<i32>()]),
        cores in known(-1..9i32),
        claimed in prop::option::of("logs[.][abc]"),
        topics in known(topics()),
    ) -> Observed {
        let claim = |prefix| Claim { owner: "shop/older".to_owned(), topics: TopicSelector::NamePrefix(prefix) };
        let claims = claimed.into_iter().map(claim).collect();
        let pending = pending.into_iter().map(|(name, (from, to))| (name, Pending { from, to })).collect();
        Observed { cluster_id, pending, brokers, replicas, spent, cores, claims, topics }
    }
}

/// A policy and facts, with some of the growths approved that the plan asks about.
fn asked() -> impl Strategy<Value = (Policy, Observed)> {
    (policy(), observed(), any::<[bool; 4]>()).prop_map(|(mut policy, observed, yes)| {
        let plan = decide(&policy, &observed);
        let approved = plan.proposals.values().zip(yes.iter().cycle()).filter(|(_, yes)| **yes);
        policy.change.approved_plans = approved.map(|(proposal, _)| proposal.plan_id.clone()).collect();
        (policy, observed)
    })
}

fn decide(policy: &Policy, observed: &Observed) -> Plan {
    plan(policy, observed, NOW)
}

/// What the brokers do with a growth: they refuse it from any other count and never shrink.
fn apply(observed: &mut Observed, action: &Grow) {
    let Known::Known(topics) = &mut observed.topics else { unreachable!("nothing was seen") };
    let topic = topics.get_mut(&action.topic).unwrap();
    assert!(topic.partitions == action.from && action.to > action.from);
    topic.partitions = action.to;
    topic.grown = Some(NOW);
    let new = action.to - action.from;
    observed.replicas = observed.replicas.max(0) + i64::from(new) * i64::from(topic.replication_factor.max(1));
    let Known::Known(spent) = &mut observed.spent else { unreachable!("what was spent is known") };
    *spent = (*spent).max(0) + new;
}

proptest! {
    #[test]
    fn every_plan_passes_the_checks((policy, observed) in asked()) {
        let plan = decide(&policy, &observed);
        prop_assert_eq!(checks::partitions::violations(&policy, &observed, &plan, NOW), Vec::<String>::new());
    }

    #[test]
    fn partitions_never_shrink_and_never_pass_the_maximum((policy, observed) in asked()) {
        for action in decide(&policy, &observed).actions {
            let seen = observed.topics.known().unwrap()[&action.topic].partitions;
            prop_assert_eq!(action.from, seen);
            prop_assert!(action.to > seen && action.to <= policy.max_partitions);
        }
    }

    #[test]
    fn what_is_unknown_or_only_observed_causes_no_action((mut policy, observed) in asked()) {
        let unread = Observed::from(Known::Unknown("timed out".to_owned()));
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
        (policy, observed) in asked(),
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

    #[test]
    fn while_no_window_is_open_nothing_grows((mut policy, observed) in asked()) {
        policy.change.windows = window("0 12 * * *");
        prop_assert!(decide(&policy, &observed).actions.is_empty());
    }

    #[test]
    fn consent_changes_nothing_but_when((policy, observed) in asked()) {
        let free = Policy { change: ChangePolicy::default(), ..policy.clone() };
        let (plan, free) = (decide(&policy, &observed), decide(&free, &observed));
        let waits = |name: &String| {
            let hold = plan.holds.get(name);
            let unnamed = matches!(hold, Some(Hold::Unreadable { .. })) && observed.cluster_id.known().is_none();
            unnamed || matches!(hold, Some(Hold::ApprovalRequired { .. } | Hold::WaitingForWindow { .. }))
        };
        for action in &free.actions {
            let now = plan.actions.iter().find(|other| other.topic == action.topic);
            prop_assert!(now.is_some_and(|now| now.to <= action.to) || waits(&action.topic), "{}", action.topic);
        }
        prop_assert!(plan.actions.iter().all(|now| free.actions.iter().any(|action| action.topic == now.topic)));
    }

    /// What was asked about once can be approved for as long as it is wanted, remembered or not, and is what happens.
    #[test]
    fn an_approved_growth_needs_no_memory((policy, observed) in asked(), more in 0..9i32) {
        let plan = decide(&policy, &observed);
        let (brokers, spent) = (Known::Known(3), Known::Known(0));
        let mut later = Observed { pending: BTreeMap::new(), brokers, replicas: 0, spent, ..observed };
        let mut wish = policy;
        (wish.scaling.daily_budget, wish.scaling.max_replicas_per_broker) = (i32::MAX, i32::MAX);
        wish.default_partitions = wish.default_partitions.map(|floor| floor + more);
        wish.max_partitions += more;
        wish.change.windows.clear();
        for (name, proposal) in &plan.proposals {
            wish.change.approved_plans = [proposal.plan_id.clone()].into();
            if let Known::Known(topics) = &mut later.topics
                && let Some(topic) = topics.get_mut(name)
            {
                (topic.leaderless, topic.under_replicated, topic.reassigning) = (0, 0, 0);
            }
            let grown = Grow { topic: name.clone(), from: proposal.from, to: proposal.to, topic_id: None };
            prop_assert_eq!(decide(&wish, &later).actions, vec![grown]);
        }
    }

    /// The growth that a person is asked about does not change while at least that much is wanted.
    #[test]
    fn a_growth_stays_as_it_was_asked_about((policy, observed) in asked(), more in 0..9i32) {
        let plan = decide(&policy, &observed);
        let pending = |plan: &Plan| {
            let all = plan.proposals.iter().map(|(name, p)| (name.clone(), Pending { from: p.from, to: p.to }));
            all.collect::<BTreeMap<_, _>>()
        };
        let later = Observed { pending: pending(&plan), ..observed };
        let mut wish = policy;
        wish.default_partitions = wish.default_partitions.map(|floor| floor + more);
        wish.max_partitions += more;
        for (name, proposal) in &plan.proposals {
            let again = decide(&wish, &later);
            prop_assert_eq!(again.proposals.get(name), Some(proposal));
        }
    }
}
