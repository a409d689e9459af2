//! What is said of the objects of a service, against the model of S3.

use crate::ageing::{Object, State, Version, life, rule, rules, tags};
use logwise_plan::retention::{Effective, Expires, ObservedRule, Reach, effective};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SERVICE: &str = "logs/service_name=a/";

fn seen(rules: &[Reach]) -> Vec<ObservedRule> {
    rules.iter().map(|reach| ObservedRule { reach: Some(reach.clone()), ..ObservedRule::default() }).collect()
}

/// The day on which an object that is new today ends, if it does.
fn end(object: &Object, rules: &[Reach]) -> Option<i64> {
    let day = life(object, rules).iter().position(|states| states[0] == State::Gone)?;
    i64::try_from(day).ok()
}

fn day(expires: Expires) -> i64 {
    match expires {
        Expires::Days(days) => days.into(),
        Expires::Date(date) => date.as_second().div_euclid(86_400).max(0),
    }
}

/// The days on which everything ends.
fn of_all(told: &Effective) -> impl Iterator<Item = i64> {
    told.days.map(i64::from).into_iter().chain(told.date.as_ref().map(|end| day(end.expires)))
}

prop_compose! {
    fn object()(
        key in prop::sample::select(vec!["x", "year=2024/part-0"]),
        size in prop::sample::select(vec![0_u64, 1, 100, 101, 1 << 20]),
        tags in prop_oneof![1 => Just(BTreeMap::new()), 1 => tags()],
    ) -> Object {
        let version = Version { age: 0, marker: false, size, tags };
        Object { key: format!("{SERVICE}{key}"), versioned: false, versions: vec![version] }
    }
}

proptest! {
    #[test]
    fn objects_end_as_it_is_said(rules in rules(), object in object()) {
        let told = effective(SERVICE, &seen(&rules));
        let ends = end(&object, &rules);
        let (all, some) = (of_all(&told).min(), told.partly.iter().map(|part| day(part.expires)).min());
        prop_assert!(all.is_none_or(|all| ends.is_some_and(|end| end <= all)), "{ends:?} is later than {told:?}");
        let soonest = all.into_iter().chain(some).min();
        let is_soon = |end: i64| soonest.is_some_and(|soonest| end >= soonest);
        prop_assert!(ends.is_none_or(is_soon), "{ends:?} is before {told:?}");
        if told.partly.is_empty() {
            prop_assert_eq!(ends, all);
        }
    }
}

#[test]
fn a_rule_that_is_not_understood_is_counted() {
    let unread = [ObservedRule::default(), ObservedRule { id: Some("odd".into()), ..ObservedRule::default() }];
    let told = effective(SERVICE, &unread);
    assert_eq!(told, Effective { unclear: 2, ..Effective::default() });
    assert_eq!(told.cap(Some(9)), None, "nothing that is known");
    let idle = rule(|rule| rule.noncurrent = None);
    assert_eq!(effective(SERVICE, &seen(&[idle])), Effective::default());
}
