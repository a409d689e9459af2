//! What plans would do to the objects that are there, and how old the oldest objects are.

use crate::{ACCOUNT, LIST, LOGS, World};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::{ApprovalRequest, Change, Settings, Transition, plan_id};
use logwise_s3::{Effect, Expirable, Limits, Objects};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const DAY: i64 = 86_400;

/// The second that was so many days and one hour ago.
fn ago(days: i64) -> i64 {
    Timestamp::now().as_second() - days * DAY - 3_600
}

fn object(service: &str, name: &str, size: u64, days: i64) -> (String, u64, Option<i64>) {
    (format!("{LOGS}service_name={service}/{name}"), size, Some(ago(days) * 1_000))
}

fn expires(days: i32) -> Settings {
    Settings { expiration_days: Some(days), ..Settings::default() }
}

fn request(changes: &[(&str, Settings, Settings)]) -> ApprovalRequest {
    let change = |(service, from, to): &(&str, Settings, Settings)| Change {
        service: (*service).to_owned(),
        from: from.clone(),
        to: to.clone(),
    };
    let entries: Vec<Change> = changes.iter().map(change).collect();
    ApprovalRequest { plan_id: plan_id(&entries), approved: false, entries }
}

/// Asks until it is counted.
async fn counted(world: &World, objects: &Objects, request: &ApprovalRequest) -> Effect {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(effect) = objects.effect(&world.bucket, LOGS, request, None) {
            return effect;
        }
        assert!(Instant::now() < deadline, "not counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_objects_that_a_plan_alone_lets_go_are_counted_once() {
    let world = World::new("effect", json!({})).await;
    world
        .put([
            object("api", "young", 10, 1),
            object("api", "older", 200_000, 10),
            object("api", "old", 7, 20),
            object("api", "goes anyway", 500, 40),
            object("pay ments", "old", 1_000, 300),
            object("api-gateway", "somebody else's", 1_000, 300),
        ])
        .await;
    let moves =
        Settings { transitions: vec![Transition { days: 3, storage_class: "GLACIER".to_owned() }], ..expires(7) };
    let plan = request(&[("api", expires(30), moves), ("pay ments", Settings::default(), expires(90))]);
    let objects = Objects::default();
    assert_eq!(objects.effect(&world.bucket, LOGS, &plan, None), None, "a look does not wait for it");
    let effect = counted(&world, &objects, &plan).await;
    let oldest = effect.expirable.as_ref().and_then(|found| found.oldest).unwrap();
    assert!((oldest.as_second() - ago(300)).abs() < 120, "{oldest}");
    let expirable = Expirable { services: 2, objects: 3, bytes: 201_007, oldest: Some(oldest) };
    assert_eq!((effect.expirable.as_ref(), effect.small, effect.at_least), (Some(&expirable), Some(3), false));
    let lists = world.count(LIST).await;
    assert_eq!(lists, 2, "one page each");
    assert_eq!(counted(&world, &objects, &plan).await, effect);
    assert_eq!(world.count(LIST).await, lists, "it is counted once");
    let calls = world.bed.calls(&world.bucket.name).await;
    assert!(calls.iter().all(|call| call["expected_owner"] == ACCOUNT && call["mutating"] == false), "{calls:?}");

    let other = request(&[("api", expires(30), expires(15))]);
    let of_other = counted(&world, &objects, &other).await;
    assert_eq!(of_other.expirable.unwrap().objects, 1, "another plan has its own count");
    let longer = request(&[("api", expires(30), expires(60))]);
    let lists = world.count(LIST).await;
    assert_eq!(objects.effect(&world.bucket, LOGS, &longer, None), None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.count(LIST).await, lists, "nothing is counted for a plan that lets nothing go earlier");
}

#[tokio::test]
async fn a_count_that_ends_early_says_at_least() {
    let world = World::new("bounded", json!({})).await;
    let many = (0..25).map(|number| object("api", &format!("{number:02}"), 1, 100));
    world.put(many.chain([object("web", "1", 1, 100)])).await;
    let plan = request(&[("api", Settings::default(), expires(7)), ("web", Settings::default(), expires(7))]);
    let limits = Limits { page: 5, per_service: 3, ..Limits::default() };
    let effect = counted(&world, &Objects::new(limits), &plan).await;
    let found = effect.expirable.clone().unwrap();
    assert_eq!((found.objects, found.services, effect.at_least), (16, 2, true));
    assert_eq!(world.count(LIST).await, 4);
    // A page of each service comes before the next page of any.
    let limits = Limits { page: 5, per_plan: 2, ..Limits::default() };
    let effect = counted(&world, &Objects::new(limits), &plan).await;
    assert_eq!((effect.expirable.unwrap().objects, effect.at_least), (6, true));
    assert_eq!(world.count(LIST).await, 6);
}

#[tokio::test]
async fn a_bucket_has_a_budget_of_pages_for_a_minute() {
    let world = World::new("budget", json!({})).await;
    world.put((0..10).map(|number| object("api", &format!("{number:02}"), 1, 100))).await;
    let plan = request(&[("api", Settings::default(), expires(7))]);
    let objects = Objects::new(Limits { page: 1, per_minute: 3, ..Limits::default() });
    assert_eq!(objects.effect(&world.bucket, LOGS, &plan, None), None);
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.count(LIST).await < 3 {
        assert!(Instant::now() < deadline, "nothing is counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.count(LIST).await, 3, "the rest waits");
    assert_eq!(objects.effect(&world.bucket, LOGS, &plan, None), None);
    objects.forget(&world.bucket.name);
}

#[tokio::test]
async fn a_count_that_failed_is_no_count_and_is_not_repeated_at_once() {
    let world = World::new("failed", json!({})).await;
    world.put([object("api", "1", 1, 100)]).await;
    world.fault(LIST, json!({"mode": "error", "status": 403, "code": "AccessDenied"})).await;
    let (objects, plan) = (Objects::default(), request(&[("api", Settings::default(), expires(7))]));
    for _ in 0..20 {
        assert_eq!(objects.effect(&world.bucket, LOGS, &plan, None), None);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.count(LIST).await, 1);
    // Another term begins anew.
    assert_eq!(counted(&world, &Objects::default(), &plan).await.expirable.unwrap().objects, 1);
}

/// Services, and the time after which their objects must be.
fn asked(services: &[&str], since: Timestamp) -> BTreeMap<String, Timestamp> {
    services.iter().map(|service| ((*service).to_owned(), since)).collect()
}

#[tokio::test]
async fn the_oldest_object_is_known_only_if_all_were_listed() {
    let world = World::new("oldest", json!({})).await;
    let many = (0..25).map(|number| object("api", &format!("{number:02}"), 1, number));
    world.put(many.chain([object("web", "1", 1, 3), object("web-2", "1", 1, 500)])).await;
    let services = asked(&["api", "web", "none"], Timestamp::UNIX_EPOCH);
    let objects = Objects::new(Limits { page: 5, per_service: 4, ..Limits::default() });
    let found = objects.oldest(&world.bucket, LOGS, &services).await;
    assert!(matches!(&found["api"], Known::Unknown(why) if why.contains("more than 4 pages")), "{found:?}");
    assert_eq!(found["none"], Known::Absent);
    let web = found["web"].known().unwrap().as_second();
    assert!((web - ago(3)).abs() < 120, "{found:?}");
    let lists = world.count(LIST).await;
    assert_eq!(lists, 6);
    assert_eq!(objects.oldest(&world.bucket, LOGS, &services).await, found);
    assert_eq!(world.count(LIST).await, lists, "what is known is not asked for again");
    let all = Objects::new(Limits { page: 5, ..Limits::default() }).oldest(&world.bucket, LOGS, &services).await;
    assert!((all["api"].known().unwrap().as_second() - ago(24)).abs() < 120, "{all:?}");
}

#[tokio::test]
async fn a_listing_ends_with_the_first_object_that_is_too_old_for_a_newcomer() {
    let world = World::new("too-old", json!({})).await;
    world.put((0..25).map(|number| object("api", &format!("{number:02}"), 1, number))).await;
    let objects = Objects::new(Limits { page: 5, ..Limits::default() });
    let since = |days| asked(&["api"], Timestamp::from_second(ago(days)).unwrap());
    let is_of = |found: &BTreeMap<String, Known<Timestamp>>, days| {
        found["api"].known().is_some_and(|oldest| (oldest.as_second() - ago(days)).abs() < 120)
    };
    let found = objects.oldest(&world.bucket, LOGS, &since(2)).await;
    assert!(is_of(&found, 4) && world.count(LIST).await == 1, "the oldest of the first page: {found:?}");
    let found = objects.oldest(&world.bucket, LOGS, &since(1)).await;
    assert!(is_of(&found, 4) && world.count(LIST).await == 1, "it is too old for a later time too: {found:?}");
    // For an earlier time that object says nothing about the others.
    let found = objects.oldest(&world.bucket, LOGS, &since(9)).await;
    assert!(is_of(&found, 9) && world.count(LIST).await == 3, "{found:?}");
    let found = objects.oldest(&world.bucket, LOGS, &since(30)).await;
    assert!(is_of(&found, 24) && world.count(LIST).await == 8, "all of them: {found:?}");
    let found = objects.oldest(&world.bucket, LOGS, &since(50)).await;
    assert!(is_of(&found, 24) && world.count(LIST).await == 8, "{found:?}");
}

#[tokio::test]
async fn a_look_does_not_wait_for_long_listings() {
    let world = World::new("patience", json!({})).await;
    world.put([object("api", "1", 1, 3)]).await;
    world.fault(LIST, json!({"mode": "delay", "delay_ms": 8_000, "times": 2})).await;
    let services = asked(&["api"], Timestamp::UNIX_EPOCH);
    let (objects, begun) = (Objects::default(), Instant::now());
    let found = objects.oldest(&world.bucket, LOGS, &services).await;
    assert!(found["api"].is_unknown() && begun.elapsed() < Duration::from_secs(20), "{found:?}");
    world.bed.mend(&world.bucket.name).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while objects.oldest(&world.bucket, LOGS, &services).await["api"].is_unknown() {
        assert!(Instant::now() < deadline, "never known");
    }
}
