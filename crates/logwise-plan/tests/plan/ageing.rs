//! How objects of a versioned bucket age under lifecycle rules, day by day.

use crate::world::SERVICES;
use logwise_plan::retention::{Meaning, Settings};

/// Longest time looked at; all times in the small buckets are shorter.
const HORIZON: i32 = 30;

/// One object version on day 0.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: String,
    /// Days since it was created.
    age: i32,
    /// Days since a newer version or a marker took its place, if so.
    noncurrent_for: Option<i32>,
}

/// What is left of an object, the worse the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Gone,
    Noncurrent,
    Current,
}

/// Objects of every age of every service and of those who have nothing to do with it.
pub fn objects() -> Vec<Object> {
    let services = SERVICES.iter().chain(&["quiet"]).map(|s| format!("logs/service_name={s}/year=2024/part-0"));
    let others = ["logs/_spark_metadata/0", "checkpoint/application/offsets/0", "archive/x", "y"].map(str::to_owned);
    let mut objects = Vec::new();
    for key in services.chain(others) {
        for age in 0..14 {
            for noncurrent_for in [None, Some(age / 2)] {
                objects.push(Object { key: key.clone(), age, noncurrent_for });
            }
        }
    }
    objects
}

/// Objects that under the rules `after` are worse off on some day than under the rules `before`.
pub fn losses(before: &[Meaning], after: &[Meaning]) -> Vec<Object> {
    let worse = |object: &Object| life(object, after).zip(life(object, before)).any(|(after, before)| after < before);
    objects().into_iter().filter(worse).collect()
}

/// The state of an object on each day.
fn life<'a>(object: &'a Object, rules: &[Meaning]) -> impl Iterator<Item = State> + use<'a> {
    let acting: Vec<&Settings> =
        rules.iter().filter(|rule| object.key.starts_with(&rule.prefix)).map(|rule| &rule.settings).collect();
    let expiration = acting.iter().filter_map(|s| s.expiration_days).min();
    let removal = acting.iter().filter_map(|s| s.noncurrent_days).min();
    let mut noncurrent_since = object.noncurrent_for.map(|days| -days);
    let mut is_gone = false;
    (0..HORIZON).map(move |day| {
        if expiration.is_some_and(|days| object.age + day >= days) {
            noncurrent_since = noncurrent_since.or(Some(day));
        }
        is_gone |= noncurrent_since.zip(removal).is_some_and(|(since, days)| day - since >= days);
        match noncurrent_since {
            _ if is_gone => State::Gone,
            Some(_) => State::Noncurrent,
            None => State::Current,
        }
    })
}

#[test]
fn the_shorter_rule_wins_and_a_longer_one_costs_nothing() {
    let rule = |prefix: &str, days| {
        let settings = Settings { expiration_days: Some(days), ..Settings::default() };
        Meaning { prefix: prefix.to_owned(), settings }
    };
    let (short, long) = (rule("logs/service_name=a/", 5), rule("logs/", 10));
    assert!(
        losses(std::slice::from_ref(&short), &[short.clone(), long.clone()]).iter().all(|o| !o.key.contains("=a/"))
    );
    let lost = losses(std::slice::from_ref(&long), &[long.clone(), short.clone()]);
    assert!(!lost.is_empty() && lost.iter().all(|o| o.key.contains("=a/")));
    assert!(losses(&[short, long], &[]).is_empty());
}
