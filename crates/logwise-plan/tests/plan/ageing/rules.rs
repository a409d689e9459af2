//! Rules in every shape that S3 takes.

use super::objects::tags;
use jiff::Timestamp;
use logwise_plan::retention::{Expires, Noncurrent, Reach};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Prefixes of services, of parts of them, and of more than one.
const PREFIXES: [&str; 13] = [
    "",
    "logs/",
    "logs/service_name=",
    "logs/service_name=a",
    "logs/service_name=a/",
    "logs/service_name=a/year=2024/",
    "logs/service_name=b/",
    "logs/service_name=pay",
    "logs/service_name=pay/",
    "logs/service_name=pay-x/",
    "logs/_spark_metadata/",
    "checkpoint/",
    "archive/",
];

fn expires() -> impl Strategy<Value = Expires> {
    let date = |day: i64| Expires::Date(Timestamp::from_second(day * 86_400).unwrap());
    prop_oneof![4 => (1..13i32).prop_map(Expires::Days), 1 => (-2..13i64).prop_map(date)]
}

prop_compose! {
    fn noncurrent()(days in 1..7i32, newer in prop::option::weighted(0.3, 1..4i32)) -> Noncurrent {
        Noncurrent { days, newer }
    }
}

prop_compose! {
    /// A rule of any shape.
    pub fn reach()(
        prefix in prop::sample::select(PREFIXES.to_vec()),
        tags in prop_oneof![4 => Just(BTreeMap::new()), 1 => tags()],
        larger_than in prop::option::weighted(0.1, prop::sample::select(vec![0_u64, 100, 131_072])),
        smaller_than in prop::option::weighted(0.1, prop::sample::select(vec![1_u64, 101, 1 << 20])),
        enabled in prop::bool::weighted(0.9),
        expires in prop::option::weighted(0.7, expires()),
        noncurrent in prop::option::weighted(0.4, noncurrent()),
        removes_markers in prop::bool::weighted(0.2),
        abort_multipart_days in prop::option::weighted(0.1, 1..3i32),
    ) -> Reach {
        let smaller_than = smaller_than.filter(|most| larger_than.is_none_or(|least| least < *most));
        let removes_markers = removes_markers && tags.is_empty() && expires.is_none();
        let prefix = prefix.to_owned();
        Reach {
            prefix,
            tags,
            larger_than,
            smaller_than,
            enabled,
            expires,
            removes_markers,
            noncurrent,
            abort_multipart_days,
        }
    }
}

/// Any rules.
pub fn rules() -> impl Strategy<Value = Vec<Reach>> {
    prop::collection::vec(reach(), 0..5)
}

/// Takes the removal of noncurrent versions from rules for certain tags or sizes where another rule keeps a number of
/// versions. Where both are, a version that is spared pushes an older one out of the number, so that even a longer
/// expiration can cost a version: no rule of ours can prevent that.
pub fn uncounted<'a>(rules: impl IntoIterator<Item = &'a mut Reach>) {
    let mut rules: Vec<&mut Reach> = rules.into_iter().collect();
    if rules.iter().any(|rule| rule.noncurrent.is_some_and(|noncurrent| noncurrent.newer.is_some())) {
        let is_picky = |rule: &Reach| !rule.tags.is_empty() || rule.larger_than.or(rule.smaller_than).is_some();
        rules.iter_mut().filter(|rule| is_picky(rule)).for_each(|rule| rule.noncurrent = None);
    }
}

/// Rules, and what became of them: most of them are relaxed or left alone.
pub fn changed() -> impl Strategy<Value = (Vec<Reach>, Vec<Reach>)> {
    let rules = prop::collection::vec((reach(), 0..24u8, 1..6i32), 0..5);
    (rules, prop::option::weighted(0.1, reach())).prop_map(|(rules, new)| {
        let before = rules.iter().map(|(rule, ..)| rule.clone()).collect();
        let after = rules.into_iter().filter_map(|(rule, how, by)| change(rule, how, by));
        (before, after.chain(new).collect())
    })
}

/// What somebody makes of a rule: up to 7 it does less or later, up to 11 more or sooner, else the same.
fn change(mut rule: Reach, how: u8, by: i32) -> Option<Reach> {
    match how {
        0 => return None,
        1 => rule.enabled = false,
        2 => rule.expires = rule.expires.map(|expires| moved(expires, by)),
        3 => rule.noncurrent = rule.noncurrent.map(|n| Noncurrent { days: n.days + by, ..n }),
        4 => rule.noncurrent = rule.noncurrent.map(|n| Noncurrent { newer: Some(n.newer.unwrap_or(0) + by), ..n }),
        5 => rule.prefix = longer(rule.prefix),
        6 => rule.tags.extend([("m".to_owned(), "n".to_owned())]),
        7 => rule.larger_than = rule.larger_than.or(Some(100).filter(|_| rule.smaller_than.is_none())),
        8 => rule.expires = rule.expires.map(|expires| moved(expires, -by)),
        9 => rule.prefix = rule.prefix.split_inclusive('/').next().unwrap_or_default().to_owned(),
        10 => rule.tags.clear(),
        11 => rule.expires = rule.expires.or(Some(Expires::Days(by))),
        _ => {}
    }
    Some(rule)
}

fn moved(expires: Expires, by: i32) -> Expires {
    match expires {
        Expires::Days(days) => Expires::Days((days + by).max(1)),
        Expires::Date(date) => {
            Expires::Date(Timestamp::from_second(date.as_second() + i64::from(by) * 86_400).unwrap())
        }
    }
}

/// A longer prefix, if there is one.
fn longer(prefix: String) -> String {
    let longer = PREFIXES.iter().find(|other| other.len() > prefix.len() && other.starts_with(&prefix));
    longer.map_or(prefix, |longer| (*longer).to_owned())
}
