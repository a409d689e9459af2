//! Ten thousand services, and services that are gone.

use crate::{LIST, LOGS, World};
use logwise_plan::retention::{Rule, Settings, WriteRules, rule_id, service_prefix};
use logwise_s3::{Discovery, compose, discovery, observe};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const GRACE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn ten_thousand_services_are_ten_requests() {
    let world = World::new("many", json!({})).await;
    let key = |number: u32| (format!("{LOGS}service_name=service-{number:05}/year=2026/part-0"), 1, None);
    world.put((0..10_000).map(key)).await;
    assert_eq!(discovery::services(&world.bucket, LOGS).await.unwrap().len(), 10_000);
    assert_eq!(world.count(LIST).await, 10);
}

/// A bucket with rules for `api` and `web`, of which only `api` has logs.
async fn with_a_missing_service(test: &str) -> World {
    missing(test, Settings { expiration_days: Some(30), ..Settings::default() }, json!({})).await
}

/// The same with rules that do this; `wish` adds to what the bucket is made with.
async fn missing(test: &str, settings: Settings, wish: Value) -> World {
    let rule = |service| Rule {
        id: rule_id("demo.team-a.keep", "0a1b2c3d", service),
        prefix: service_prefix(LOGS, service),
        settings: settings.clone(),
    };
    let write = WriteRules { add: vec![rule("api"), rule("web")], ..WriteRules::default() };
    let document = String::from_utf8(compose(None, &write).expect("rules that fit").expect("some")).expect("text");
    let mut whole = json!({"lifecycle": document});
    whole.as_object_mut().expect("an object").extend(wish.as_object().expect("an object").clone());
    let world = World::new(test, whole).await;
    world.put([(format!("{LOGS}service_name=api/1"), 1, None)]).await;
    world
}

#[tokio::test]
async fn a_service_is_gone_after_the_grace_period_and_never_by_a_listing_that_failed() {
    let world = with_a_missing_service("gone").await;
    let discovery = Discovery::new(Duration::ZERO, GRACE);
    let look = async || observe(&world.bucket, LOGS, &discovery).await;
    assert_eq!(look().await.facts.vanished, BTreeSet::new(), "it has just been missed");
    tokio::time::sleep(GRACE).await;
    world.fault(LIST, json!({"mode": "error", "status": 403, "code": "AccessDenied"})).await;
    let failed = look().await;
    assert!(failed.facts.services.is_unknown() && failed.facts.vanished.is_empty(), "{:?}", failed.facts);
    let web = BTreeSet::from(["web".to_owned()]);
    assert_eq!(look().await.facts.vanished, web, "the failure has not made it longer either");

    world.put([(format!("{LOGS}service_name=web/1"), 1, None)]).await;
    assert_eq!(look().await.facts.vanished, BTreeSet::new(), "it is back");
}

#[tokio::test]
async fn a_rule_stays_while_there_may_be_old_versions_or_parts_of_uploads_that_it_removes() {
    let settings = |noncurrent_days, abort_multipart_days| Settings {
        expiration_days: Some(30),
        noncurrent_days,
        abort_multipart_days,
        ..Settings::default()
    };
    for (test, settings, versions, goes) in [
        ("plain", settings(Some(1), None), false, true),
        ("versions", settings(Some(1), None), true, false),
        ("ends-only", settings(None, None), true, true),
        ("uploads", settings(None, Some(1)), false, false),
    ] {
        let wish = if versions { json!({"versioning": true}) } else { json!({}) };
        let world = missing(test, settings, wish).await;
        let discovery = Discovery::new(Duration::ZERO, Duration::ZERO);
        let gone = observe(&world.bucket, LOGS, &discovery).await.facts.vanished;
        assert_eq!(gone.contains("web"), goes, "{test}: {gone:?}");
    }
}

#[tokio::test]
async fn a_listing_that_breaks_off_makes_nobody_vanish() {
    let world = with_a_missing_service("partial").await;
    let more = (0..1_500).map(|number| (format!("{LOGS}service_name=service-{number:04}/1"), 1, None));
    world.put(more).await;
    let discovery = Discovery::new(Duration::ZERO, Duration::ZERO);
    world
        .fault(LIST, json!({"mode": "error", "status": 500, "code": "InternalError", "after_calls": 1, "times": 0}))
        .await;
    let look = observe(&world.bucket, LOGS, &discovery).await;
    assert!(look.facts.services.is_unknown() && look.facts.vanished.is_empty(), "{:?}", look.facts.vanished);
    world.bed.mend(&world.bucket.name).await;
    let look = observe(&world.bucket, LOGS, &discovery).await;
    assert_eq!(look.facts.vanished, BTreeSet::from(["web".to_owned()]));
}
