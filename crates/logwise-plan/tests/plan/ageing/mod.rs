//! How the objects of a bucket age under lifecycle rules: a model of S3 that knows nothing of the planner.

mod model;
mod objects;
mod rules;

pub use model::{State, life};
pub use objects::{Object, Version, grid, objects, tags};
pub use rules::{changed, reach, rules, uncounted};

use jiff::Timestamp;
use logwise_plan::retention::{Expires, Noncurrent, Reach, Settings, lets_go_earlier};
use std::collections::BTreeMap;

/// Of objects of every age, those that under the rules `after` are worse off on some day than under the rules `before`.
pub fn losses(before: &[Reach], after: &[Reach]) -> Vec<Object> {
    losses_of(&grid(), before, after)
}

/// Of `objects`, those that are worse off on some day.
pub fn losses_of(objects: &[Object], before: &[Reach], after: &[Reach]) -> Vec<Object> {
    objects.iter().filter(|object| model::compared(object, before, after).0).cloned().collect()
}

/// Of `objects`, those that are worse or better off on some day.
pub fn different(objects: &[Object], before: &[Reach], after: &[Reach]) -> Vec<Object> {
    let changes = |object: &&Object| {
        let (worse, better) = model::compared(object, before, after);
        worse || better
    };
    objects.iter().filter(changes).cloned().collect()
}

/// A rule over everything that does nothing, with something changed.
pub fn rule(change: impl FnOnce(&mut Reach)) -> Reach {
    let mut rule = Reach { enabled: true, ..Reach::default() };
    change(&mut rule);
    rule
}

/// Gives a rule its filter.
type Filter<'a> = &'a dyn Fn(&mut Reach);

#[test]
fn the_shorter_rule_wins_and_a_longer_one_costs_nothing() {
    let expire = |days| Settings { expiration_days: Some(days), ..Settings::default() };
    let both = [Reach::over("logs/service_name=a/", &expire(5)), Reach::over("logs/", &expire(10))];
    assert!(losses(&both[..1], &both).iter().all(|object| !object.key.starts_with("logs/service_name=a/")));
    let lost = losses(&both[1..], &both);
    assert!(!lost.is_empty() && lost.iter().all(|object| object.key.starts_with("logs/service_name=a/")));
    assert!(losses(&both, &[]).is_empty());
    assert_eq!(different(&grid(), &both, &both).len(), 0);
    let better = different(&grid(), &both, &both[1..]);
    assert!(!better.is_empty() && better.iter().all(|object| object.key.starts_with("logs/service_name=a/")));
}

#[test]
fn each_kind_of_filter_picks_its_objects() {
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let version = Version { age: 0, marker: false, size: 100, tags: tags(&[("k", "v")]) };
    let object = Object { key: "logs/service_name=a/x".into(), versioned: false, versions: vec![version] };
    let kinds: [(bool, Filter<'_>); 13] = [
        (true, &|_| ()),
        (true, &|rule| rule.prefix = "logs/service_name=a".into()),
        (true, &|rule| rule.prefix = "logs/service_name=a/".into()),
        (false, &|rule| rule.prefix = "logs/service_name=ab/".into()),
        (true, &|rule| rule.tags = tags(&[("k", "v")])),
        (false, &|rule| rule.tags = tags(&[("k", "w")])),
        (false, &|rule| rule.tags = tags(&[("k", "v"), ("l", "1")])),
        (true, &|rule| rule.larger_than = Some(99)),
        (false, &|rule| rule.larger_than = Some(100)),
        (true, &|rule| rule.smaller_than = Some(101)),
        (false, &|rule| rule.smaller_than = Some(100)),
        (false, &|rule| (rule.prefix, rule.tags) = ("logs/".into(), tags(&[("k", "w")]))),
        (false, &|rule| rule.enabled = false),
    ];
    for (place, (picked, filter)) in kinds.into_iter().enumerate() {
        let acting = rule(|rule| {
            rule.expires = Some(Expires::Days(1));
            filter(rule);
        });
        assert_eq!(life(&object, &[acting])[1][0] == State::Gone, picked, "filter {place}");
    }
}

#[test]
fn versions_go_after_what_took_their_place() {
    use State::{Current, Gone, Noncurrent};
    let data = |age| Version { age, marker: false, size: 1, tags: BTreeMap::new() };
    let stack = vec![data(0), data(2), data(4), data(6)];
    let object = Object { key: "x".into(), versioned: true, versions: stack };
    let days = |newer| rule(|rule| rule.noncurrent = Some(logwise_plan::retention::Noncurrent { days: 3, newer }));
    let on = |day: usize, rules: &[Reach]| life(&object, rules)[day].clone();
    assert_eq!(on(0, &[days(None)]), [Current, Noncurrent, Noncurrent, Gone]);
    assert_eq!(on(1, &[days(None)]), [Current, Noncurrent, Gone, Gone]);
    assert_eq!(on(3, &[days(None)]), [Current, Gone, Gone, Gone]);
    assert_eq!(on(20, &[days(Some(1))]), [Current, Noncurrent, Gone, Gone]);
    assert_eq!(on(20, &[days(Some(9))]), [Current, Noncurrent, Noncurrent, Noncurrent]);
    assert_eq!(on(20, &[days(Some(9)), days(Some(2))]), [Current, Noncurrent, Noncurrent, Gone]);
    let expire = |expires| rule(|rule| rule.expires = Some(expires));
    let ends = [expire(Expires::Days(5)), days(None)];
    assert_eq!(on(4, &ends[..1])[0], Current);
    assert_eq!(on(20, &ends[..1]), [Noncurrent; 4]);
    assert_eq!(on(8, &ends)[0], Gone);
    let date = [expire(Expires::Date(Timestamp::from_second(2 * 86_400).unwrap()))];
    assert_eq!((on(1, &date)[0], on(2, &date)[0]), (Current, Noncurrent));
    let past = [expire(Expires::Date(Timestamp::from_second(-86_400).unwrap()))];
    assert_eq!(on(0, &past)[0], Noncurrent, "a date in the past acts at once");
    let flat = Object { key: "x".into(), versioned: false, versions: vec![data(0)] };
    assert_eq!(life(&flat, &past)[0], [Gone]);
}

#[test]
fn markers_go_and_nobody_loses_anything() {
    let marker = Version { age: 3, marker: true, size: 0, tags: BTreeMap::new() };
    let under = Version { age: 9, marker: false, size: 1, tags: BTreeMap::new() };
    let alone = Object { key: "x".into(), versioned: true, versions: vec![marker.clone()] };
    let above = Object { versions: vec![marker, under], ..alone.clone() };
    let cleaned = [rule(|rule| rule.removes_markers = true), rule(|rule| rule.expires = Some(Expires::Days(1)))];
    assert!(different(&[alone, above], &[], &cleaned).is_empty());
}

/// What `uncounted` keeps out of the worlds: a longer expiration costs a version.
#[test]
fn a_version_that_is_spared_can_push_out_an_older_one() {
    let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let keep_one = rule(|rule| rule.noncurrent = Some(Noncurrent { days: 8, newer: Some(1) }));
    let picky = rule(|rule| (rule.tags, rule.noncurrent) = (tags.clone(), Some(Noncurrent { days: 1, newer: None })));
    let expire = |days| rule(|rule| rule.expires = Some(Expires::Days(days)));
    let newest = Version { age: 0, marker: false, size: 1, tags: tags.clone() };
    let older = Version { age: 3, tags: BTreeMap::new(), ..newest.clone() };
    let objects = [Object { key: "x".into(), versioned: true, versions: vec![newest, older] }];
    let mut rules = [keep_one.clone(), picky.clone(), expire(5)];
    let mut longer = [keep_one, picky, expire(10)];
    assert_eq!(losses_of(&objects, &rules, &longer).len(), 1);
    assert!(lets_go_earlier(&rules, &longer));
    uncounted(&mut rules);
    uncounted(&mut longer);
    assert_eq!(losses_of(&objects, &rules, &longer).len(), 0);
}
