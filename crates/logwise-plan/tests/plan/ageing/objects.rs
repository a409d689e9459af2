//! Objects with their versions.

use crate::world::SERVICES;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A key with its versions on day 0.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: String,
    /// Whether the bucket keeps versions.
    pub versioned: bool,
    /// The newest first.
    pub versions: Vec<Version>,
}

/// One version, or a delete marker.
#[derive(Clone, Debug)]
pub struct Version {
    /// Days since it was created.
    pub age: i32,
    pub marker: bool,
    pub size: u64,
    pub tags: BTreeMap<String, String>,
}

impl Version {
    fn plain(age: i32, marker: bool) -> Self {
        Self { age, marker, size: if marker { 0 } else { 500 }, tags: BTreeMap::new() }
    }
}

/// Keys of every service, of those that are none, and of those that only look like one.
fn keys() -> Vec<String> {
    let services = SERVICES.iter().chain(&["quiet"]);
    let logs = services.map(|service| format!("logs/service_name={service}/year=2024/part-0"));
    let others = [
        "logs/_spark_metadata/0",
        "logs/x",
        "logs/service_name=a",
        "logs/service_name=/part-0",
        "logs/service_name=payments/part-0",
        "logs/service_name=b/checkpoint/offsets/0",
        "checkpoint/application/offsets/0",
        "archive/x",
        "archive/logs/service_name=a/part-0",
        "y",
    ];
    logs.chain(others.map(str::to_owned)).collect()
}

/// Objects of every key and age: current ones, and such that were deleted some time after they were made.
pub fn grid() -> Vec<Object> {
    let of_key = |key: String| {
        let aged = |age: i32| {
            let deleted = vec![Version::plain(age / 2, true), Version::plain(age, false)];
            let stacks = [vec![Version::plain(age, false)], deleted];
            stacks.map(|versions| Object { key: key.clone(), versioned: true, versions })
        };
        (0..14).flat_map(aged).collect::<Vec<_>>()
    };
    keys().into_iter().flat_map(of_key).collect()
}

/// Tags of objects and of rules.
pub fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let sets = [vec![tag("k", "v")], vec![tag("k", "w")], vec![tag("k", "v"), tag("l", "1")]];
    prop::sample::select(sets.to_vec()).prop_map(|tags| tags.into_iter().collect())
}

prop_compose! {
    /// A version, and the days from its creation to that of the next newer one, or to day 0.
    fn version()(
        gap in 0..6i32,
        marker in prop::bool::weighted(0.2),
        size in prop::sample::select(vec![0, 1, 100, 101, 131_072, 1 << 20]),
        tags in prop_oneof![2 => Just(BTreeMap::new()), 1 => tags()],
    ) -> (i32, Version) {
        let (size, tags) = if marker { (0, BTreeMap::new()) } else { (size, tags) };
        (gap, Version { age: 0, marker, size, tags })
    }
}

prop_compose! {
    fn object()(
        key in prop::sample::select(keys()),
        versioned in prop::bool::weighted(0.8),
        stack in prop::collection::vec(version(), 1..5),
    ) -> Object {
        let mut age = 0;
        let aged = stack.into_iter().map(|(gap, version)| {
            age += gap;
            Version { age, ..version }
        });
        let mut versions: Vec<Version> = aged.collect();
        if !versioned {
            versions.truncate(1);
            versions[0].marker = false;
        }
        Object { key, versioned, versions }
    }
}

/// Some objects of any kind.
pub fn objects() -> impl Strategy<Value = Vec<Object>> {
    prop::collection::vec(object(), 1..16)
}
