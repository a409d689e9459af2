//! What a pipeline had before its spec named another class or other masters, and masters that have two names.

use super::apply::Outcome;
use super::fake::{CLASS, Looked, OBJECT, Rest, World, driver};
use super::owner::rival_at;
use crate::master::Page;
use crate::owner::by_page;
use kube::runtime::{reflector, watcher};
use logwise_api::validate::MasterAddress;
use logwise_api::{DriverMode, LogwiseCluster, SparkDriver};
use logwise_plan::driver::{Cause, Hold, State};
use logwise_runtime::conditions::Reason;
use serde_json::{Value, json};

/// When a call of this moment is over, whatever became of it.
const OVER: u64 = 20;

/// Another class.
const OTHER: &str = "b.Main";

/// The only driver that runs at this master ends.
fn end(world: &World) {
    let mut ended = world.spark().active.remove(0);
    ended["state"] = json!("KILLED");
    world.spark().completed.push(ended);
}

/// One pipeline whose driver was submitted and runs.
async fn running() -> World {
    let world = World::new(json!({})).await;
    world.look(0).await;
    world.spark().active[0] = driver("driver-90001", "RUNNING", Some("w1"));
    assert!(matches!(world.look(OVER).await.plan.state, State::Running { .. }));
    world
}

fn is_submitted(looked: &Looked) -> bool {
    matches!(looked.told.as_slice(), [told] if matches!(told.outcome, Ok(Outcome::Submitted { .. })))
}

/// The id of the plan by which a person says that nothing runs elsewhere.
fn asked(looked: &Looked) -> String {
    let [Hold::ApprovalRequired { plan_id, why: Cause::Elsewhere }] = looked.plan.holds.as_slice() else {
        panic!("{:?}", looked.plan)
    };
    assert!(looked.told.is_empty(), "{:?}", looked.told);
    plan_id.clone()
}

#[tokio::test]
async fn the_driver_of_the_class_before_stays_until_it_ends_and_the_next_one_is_of_the_new_class() {
    let mut world = running().await;
    let master = world.masters[0].clone();
    world.respecify(OTHER, &master);
    for round in 0..2 {
        let looked = world.look(OVER).await;
        assert_eq!(looked.plan.state, State::Running { id: "driver-90001".into() }, "round {round}");
        assert!(looked.told.is_empty(), "{:?}", looked.told);
        let ready = world.ready(&looked);
        assert_eq!(ready.reason, Reason::DriverRunning);
        for words in [CLASS, "the next one is of class b.Main", "End it"] {
            assert!(ready.message.contains(words), "{words}: {}", ready.message);
        }
        // So does an operator that begins anew.
        world.forget();
    }
    end(&world);
    let looked = world.look(OVER).await;
    assert!(is_submitted(&looked), "{:?}", looked.plan);
    assert_eq!(world.spark().submitted.len(), 2);
    assert_eq!(world.spark().submitted[1]["mainClass"], OTHER);
    assert_eq!(world.events(&looked), ["DriverResubmitted"]);
    // From then on the class before is anybody's.
    world.spark().active.push(driver("driver-5", "RUNNING", Some("w1")));
    let looked = world.look(OVER).await;
    assert_eq!(looked.plan.state, State::Pending { id: "driver-90002".into() });
    assert!(world.spark().killed.is_empty());
}

#[tokio::test]
async fn of_both_classes_the_driver_of_the_present_one_stays() {
    let mut world = running().await;
    let master = world.masters[0].clone();
    world.respecify(OTHER, &master);
    let mut new = driver("driver-90007", "RUNNING", Some("w1"));
    new["mainclass"] = json!(OTHER);
    world.spark().active.push(new);
    let looked = world.look(OVER).await;
    assert_eq!(world.spark().killed, ["driver-90001"]);
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::SeveralDrivers);
    assert!(ready.message.contains("or of the class before"), "{}", ready.message);
}

#[tokio::test]
async fn a_driver_that_was_only_adopted_is_known_under_the_next_class_too() {
    let mut world = World::new(json!({})).await;
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    world.look(0).await;
    let records = world.kubernetes().records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&record["state"], &record["wish"]["targets"]["kind"]), (&json!("Done"), &json!("adopt")));
    assert_eq!(record["wish"]["targets"]["id"], "driver-1");
    // It is written once.
    world.look(OVER).await;
    assert_eq!(world.kubernetes().records(), records);
    let master = world.masters[0].clone();
    world.respecify(OTHER, &master);
    world.forget();
    let looked = world.look(OVER).await;
    assert_eq!(looked.plan.state, State::Running { id: "driver-1".into() });
    assert!(world.spark().submitted.is_empty());
}

#[tokio::test]
async fn an_unanswered_submission_of_the_class_before_is_waited_for() {
    let mut world = World::new(json!({})).await;
    world.spark().rest = Rest::Silent;
    world.look(0).await;
    // The master does not show it yet.
    let taken = world.spark().active.remove(0);
    world.spark().rest = Rest::Works;
    let master = world.masters[0].clone();
    world.respecify(OTHER, &master);
    let waits = world.look(OVER).await;
    assert_eq!((waits.plan.holds.as_slice(), waits.told.len()), (&[Hold::IntentOpen][..], 0));
    assert!(waits.found.cleared.as_ref().unwrap_err().contains("last submission"), "{:?}", waits.found.cleared);
    world.spark().active.push(taken);
    let found = world.look(OVER).await;
    assert_eq!(found.plan.state, State::Pending { id: "driver-90001".into() });
    assert_eq!(found.found.turned_up, ["driver-90001"]);
    assert_eq!(world.spark().submitted.len(), 1);
}

#[tokio::test]
async fn while_a_driver_may_run_at_the_masters_before_a_person_is_asked() {
    let (mut world, other) = (running().await, World::new(json!({})).await);
    // Ids of two masters are not the same.
    other.spark().submitted.push(Value::Null);
    let before = world.masters[0].clone();
    let there = MasterAddress { port: 7078, ..other.masters[0].clone() };
    world.respecify(CLASS, &there);
    let held = world.look(OVER).await;
    let plan_id = asked(&held);
    let ready = world.ready(&held);
    assert_eq!(ready.reason, Reason::DriverNotRunning);
    for words in ["driver-90001", "127.0.0.1:7077", plan_id.as_str(), "approvedPlans"] {
        assert!(ready.message.contains(words), "{words}: {}", ready.message);
    }
    let plans = world.with(&held, |look| look.pending_plans());
    assert_eq!((plans.len(), &plans[0].id), (1, &plan_id));
    world.forget();
    assert_eq!(asked(&world.look(OVER).await), plan_id, "an operator that begins anew asks the same");
    assert_eq!(other.spark().submitted.len(), 1);
    world.policy.change.approved_plans.insert(plan_id.clone());
    assert!(is_submitted(&world.look(OVER).await));
    assert_eq!((world.spark().submitted.len(), other.spark().submitted.len()), (1, 2));
    let looked = world.look(OVER).await;
    assert!(looked.told.is_empty() && matches!(looked.plan.state, State::Pending { .. }), "{:?}", looked.plan);
    // And back: now the other one may run.
    end(&world);
    world.respecify(CLASS, &before);
    assert_ne!(asked(&world.look(OVER).await), plan_id);
}

#[tokio::test]
async fn a_master_under_another_name_knows_its_driver_and_nobody_is_asked() {
    let mut world = running().await;
    let renamed = MasterAddress { port: 7078, ..world.masters[0].clone() };
    world.respecify(CLASS, &renamed);
    let looked = world.look(OVER).await;
    assert_eq!(looked.plan.state, State::Running { id: "driver-90001".into() });
    end(&world);
    assert!(is_submitted(&world.look(OVER).await));
    assert_eq!(world.spark().submitted.len(), 2);
}

/// A master that keeps no records is started anew.
#[tokio::test]
async fn a_master_under_another_name_that_forgets_its_driver_gets_another_one_without_a_question() {
    let mut world = running().await;
    let (before, renamed) = (world.masters[0].clone(), MasterAddress { port: 7078, ..world.masters[0].clone() });
    for master in [&renamed, &before, &renamed] {
        world.respecify(CLASS, master);
        let looked = world.look(OVER).await;
        assert_eq!(looked.plan.state, State::Running { id: "driver-90001".into() });
    }
    let records = world.kubernetes().records();
    world.look(OVER).await;
    assert_eq!(world.kubernetes().records(), records, "they are written once");
    world.forget();
    world.spark().active.clear();
    assert!(is_submitted(&world.look(OVER).await));
}

#[tokio::test]
async fn what_the_second_class_has_followed_stays_anybodys_under_the_third() {
    let mut world = running().await;
    let master = world.masters[0].clone();
    world.respecify(OTHER, &master);
    end(&world);
    assert!(is_submitted(&world.look(OVER).await));
    world.spark().active[0]["state"] = json!("RUNNING");
    world.spark().active.push(driver("driver-5", "RUNNING", Some("w1")));
    world.respecify("c.Main", &master);
    let looked = world.look(OVER).await;
    assert!(looked.found.facts.earlier.contains("driver-90002"), "{:?}", looked.found.facts);
    assert_eq!(looked.found.facts.earlier.len(), 1, "{:?}", looked.found.facts);
    assert!(world.spark().killed.is_empty() && looked.told.is_empty(), "{:?}", looked.told);
}

#[tokio::test]
async fn at_the_third_masters_a_person_is_asked_about_the_second_ones() {
    let (mut world, second, third) = (running().await, World::new(json!({})).await, World::new(json!({})).await);
    second.spark().submitted.push(Value::Null);
    world.respecify(CLASS, &MasterAddress { port: 7078, ..second.masters[0].clone() });
    let first = asked(&world.look(OVER).await);
    world.policy.change.approved_plans.insert(first);
    assert!(is_submitted(&world.look(OVER).await));
    world.respecify(CLASS, &MasterAddress { port: 7079, ..third.masters[0].clone() });
    let held = world.look(OVER).await;
    asked(&held);
    let ready = world.ready(&held);
    assert!(ready.message.contains("Driver driver-90002 at 127.0.0.1:7078 may still run"), "{}", ready.message);
    assert!(third.spark().submitted.is_empty());
}

/// When that one has ended nobody may know any more.
#[tokio::test]
async fn while_a_driver_of_somebody_runs_at_the_next_masters_the_question_is_asked_and_answered_for_good() {
    let (mut world, other) = (running().await, World::new(json!({})).await);
    other.spark().active.push(driver("driver-70", "RUNNING", Some("w1")));
    world.respecify(CLASS, &MasterAddress { port: 7078, ..other.masters[0].clone() });
    let looked = world.look(OVER).await;
    assert_eq!(looked.plan.state, State::Running { id: "driver-70".into() });
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::DriverRunning);
    let plans = world.with(&looked, |look| look.pending_plans());
    let [plan] = plans.as_slice() else { panic!("{plans:?}") };
    for words in ["Driver driver-70 runs", "Driver driver-90001 at 127.0.0.1:7077", plan.id.as_str()] {
        assert!(ready.message.contains(words), "{words}: {}", ready.message);
    }
    world.policy.change.approved_plans.insert(plan.id.clone());
    world.look(OVER).await;
    // People tidy up what was approved.
    world.policy.change.approved_plans.clear();
    let looked = world.look(OVER).await;
    assert!(world.with(&looked, |look| look.pending_plans()).is_empty(), "{:?}", looked.plan);
    other.spark().active.clear();
    assert!(is_submitted(&world.look(OVER).await));
}

#[tokio::test]
async fn a_class_that_one_of_the_present_class_follows_is_anybodys_also_if_somebody_else_submitted_that() {
    let mut world = running().await;
    let master = world.masters[0].clone();
    world.respecify(OTHER, &master);
    end(&world);
    let mut new = driver("driver-7", "RUNNING", Some("w1"));
    new["mainclass"] = json!(OTHER);
    world.spark().active.push(new);
    assert_eq!(world.look(OVER).await.plan.state, State::Running { id: "driver-7".into() });
    world.spark().active.push(driver("driver-8", "RUNNING", Some("w1")));
    let looked = world.look(OVER).await;
    assert_eq!(looked.plan.state, State::Running { id: "driver-7".into() });
    assert!(world.spark().killed.is_empty() && looked.told.is_empty(), "{:?}", looked.told);
}

/// Nothing was ever taken at the address that was wrong.
#[tokio::test]
async fn a_master_that_took_no_driver_is_left_without_a_question() {
    let (mut world, other) = (World::new(json!({})).await, World::new(json!({})).await);
    world.spark().rest = Rest::Refuses;
    world.look(0).await;
    world.respecify(CLASS, &MasterAddress { port: 7078, ..other.masters[0].clone() });
    assert!(is_submitted(&world.look(OVER).await));
    assert_eq!(other.spark().submitted.len(), 1);
}

/// A pipeline of the same class that names the same master in another way, and is of this day of January.
fn another(world: &World, name: &str, day: u8) -> LogwiseCluster {
    let mut object = world.cluster.clone();
    object.metadata.name = Some(name.to_owned());
    object.metadata.uid = Some(name.to_owned());
    let created: Value = json!(format!("2026-01-{day:02}T00:00:00Z"));
    object.metadata.creation_timestamp = serde_json::from_value(created).unwrap();
    object.spec.spark.as_mut().unwrap().masters[0].host = "LocalHost".to_owned();
    object
}

/// The operator knows these.
fn watch(world: &mut World, clusters: &[&LogwiseCluster]) {
    let (store, mut writer) = reflector::store();
    for cluster in clusters {
        writer.apply_watcher_event(&watcher::Event::Apply((*cluster).clone()));
    }
    world.context.clusters = store;
}

#[tokio::test]
async fn a_driver_whose_class_another_pipeline_manages_now_is_neither_doubled_nor_killed() {
    let mut world = running().await;
    let (master, mut heir) = (world.masters[0].clone(), world.cluster.clone());
    (heir.metadata.name, heir.metadata.uid) = (Some("heir".to_owned()), Some("heir".to_owned()));
    world.respecify(OTHER, &master);
    let demo = world.cluster.clone();
    watch(&mut world, &[&demo, &heir]);
    let looked = world.look(OVER).await;
    assert!(looked.told.is_empty(), "{:?}", looked.told);
    let [Hold::Taken { ids }] = looked.plan.holds.as_slice() else { panic!("{:?}", looked.plan) };
    assert!(ids.iter().eq(["driver-90001"]), "{ids:?}");
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::DriverNotRunning);
    for words in ["driver-90001", CLASS, "is not killed"] {
        assert!(ready.message.contains(words), "{words}: {}", ready.message);
    }
    // Its worker is lost: it goes on under another id, which the other pipeline takes for its own.
    let relaunched = driver("driver-90003", "RUNNING", Some("w2"));
    let mut lost = std::mem::replace(&mut world.spark().active[0], relaunched);
    lost["state"] = json!("RELAUNCHING");
    world.spark().completed.push(lost);
    let looked = world.look(OVER).await;
    asked(&looked);
    let ready = world.ready(&looked);
    assert!(ready.message.contains("driver-90001"), "{}", ready.message);
    world.spark().active.clear();
    world.spark().completed[0]["state"] = json!("KILLED");
    assert!(is_submitted(&world.look(OVER).await));
    assert!(world.spark().killed.is_empty());
}

/// From now on the pipeline is another one, which has the class and the master that this one has. Returns this one,
/// whose driver is changed so.
fn passed_on(world: &mut World, change: impl FnOnce(&mut SparkDriver)) -> LogwiseCluster {
    let mut demo = world.cluster.clone();
    change(demo.spec.spark.as_mut().unwrap().driver.as_mut().unwrap());
    world.cluster.metadata.name = Some("heir".to_owned());
    world.cluster.metadata.uid = Some("heir".to_owned());
    let heir = json!(world.cluster);
    world.kubernetes().objects.extend([(OBJECT.to_owned(), json!(demo)), (OBJECT.replace("demo", "heir"), heir)]);
    demo
}

/// The other one would submit its next driver beside the one that it no longer knew of.
#[tokio::test]
async fn the_record_of_a_pipeline_that_has_another_class_now_stays_for_as_long_as_its_driver_may_run() {
    for is_of_this_shard in [true, false] {
        let mut world = running().await;
        let demo = passed_on(&mut world, |driver| driver.main_class = Some(OTHER.to_owned()));
        let heir = world.cluster.clone();
        let known = if is_of_this_shard { vec![&demo, &heir] } else { vec![&heir] };
        watch(&mut world, &known);
        let records = world.kubernetes().records();
        let looked = world.look(OVER).await;
        assert_eq!(looked.plan.state, State::Running { id: "driver-90001".into() });
        // Neither active nor ended: it may run.
        let mut lost = world.spark().active.remove(0);
        let looked = world.look(OVER).await;
        let ready = world.ready(&looked);
        assert_eq!(ready.reason, Reason::DriverNotRunning);
        for words in ["team-a/demo", "driver-90001", "answer what"] {
            assert!(ready.message.contains(words), "{words}: {}", ready.message);
        }
        assert_eq!((world.kubernetes().records(), world.spark().submitted.len()), (records, 1));
        lost["state"] = json!("KILLED");
        world.spark().completed.push(lost);
        assert!(is_submitted(&world.look(OVER).await), "of this shard: {is_of_this_shard}");
    }
}

/// It may manage another one later.
#[tokio::test]
async fn the_record_of_a_pipeline_that_manages_no_driver_now_stays_while_its_driver_is_active() {
    let mut world = running().await;
    let demo = passed_on(&mut world, |driver| driver.mode = DriverMode::Disabled);
    let heir = world.cluster.clone();
    watch(&mut world, &[&demo, &heir]);
    let records = world.kubernetes().records();
    world.spark().active.push(driver("driver-7", "RUNNING", Some("w1")));
    let looked = world.look(OVER).await;
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::SeveralDrivers);
    for words in ["2 drivers", "team-a/demo", "driver driver-90001", "end that driver"] {
        assert!(ready.message.contains(words), "{words}: {}", ready.message);
    }
    assert!(world.spark().killed.is_empty() && world.kubernetes().records() == records, "{:?}", looked.told);
    world.spark().active.clear();
    assert!(is_submitted(&world.look(OVER).await));
}

/// It was made anew from Git, and a person has told it that its driver has gone.
#[tokio::test]
async fn what_a_pipeline_knows_to_have_gone_is_no_claim_even_if_that_was_made_anew() {
    let mut world = running().await;
    let master = world.masters[0].clone();
    world.cluster.metadata.uid = Some("anew".to_owned());
    let anew = json!(world.cluster);
    world.kubernetes().objects.insert(OBJECT.to_owned(), anew);
    world.respecify(OTHER, &MasterAddress { port: 7078, ..master.clone() });
    world.spark().active.clear();
    let plan_id = asked(&world.look(OVER).await);
    world.policy.change.approved_plans.insert(plan_id);
    assert!(is_submitted(&world.look(OVER).await));
    let other = world.cluster.spec.spark.clone();
    world.respecify(CLASS, &master);
    let mut demo = passed_on(&mut world, |_| ());
    demo.spec.spark = other;
    let heir = world.cluster.clone();
    watch(&mut world, &[&demo, &heir]);
    let looked = world.look(OVER).await;
    assert!(is_submitted(&looked), "{:?}", looked.told);
}

#[tokio::test]
async fn a_driver_at_masters_of_before_that_another_pipeline_manages_now_is_asked_about() {
    let (mut world, second) = (running().await, World::new(json!({})).await);
    let mut heir = world.cluster.clone();
    (heir.metadata.name, heir.metadata.uid) = (Some("heir".to_owned()), Some("heir".to_owned()));
    world.respecify(CLASS, &MasterAddress { port: 7078, ..second.masters[0].clone() });
    let demo = world.cluster.clone();
    watch(&mut world, &[&demo, &heir]);
    let held = world.look(OVER).await;
    asked(&held);
    let ready = world.ready(&held);
    assert!(ready.message.contains("Driver driver-90001"), "{}", ready.message);
    assert!(second.spark().submitted.is_empty(), "{:?}", second.spark().submitted);
}

#[tokio::test]
async fn of_two_pipelines_that_name_one_master_in_two_ways_the_older_one_has_the_driver() {
    let mut world = World::new(json!({})).await;
    let (older, younger) = (another(&world, "older", 1), another(&world, "younger", 3));
    let mut demo = another(&world, "demo", 2);
    demo.spec.spark.as_mut().unwrap().masters.clone_from(&world.cluster.spec.spark.as_ref().unwrap().masters);
    watch(&mut world, &[&older, &demo, &younger]);
    let page = Page::clone(&world.page(0).await.unwrap());
    let rival = async |of: &LogwiseCluster, page: &Page| rival_at(of, page, &world.context).await;
    assert_eq!(rival(&demo, &page).await, None, "nobody else was seen there yet");
    assert_eq!(rival(&younger, &page).await.as_deref(), Some("team-a/demo"));
    assert_eq!(rival(&older, &page).await, None);
    assert_eq!(rival(&demo, &page).await.as_deref(), Some("team-a/older"));
    // Masters of two clusters that call themselves alike are two.
    let mut like = page.clone();
    like.cluster.workers[0].id = "w9".to_owned();
    assert_eq!(rival(&older, &like).await, None);
    assert_eq!(rival(&demo, &page).await, None);
}

#[tokio::test]
async fn while_no_master_answers_the_younger_one_stays_out() {
    let mut world = World::new(json!({})).await;
    let (older, mut demo) = (another(&world, "older", 1), another(&world, "demo", 2));
    demo.spec.spark.as_mut().unwrap().masters.clone_from(&world.cluster.spec.spark.as_ref().unwrap().masters);
    watch(&mut world, &[&older, &demo]);
    let page = Page::clone(&world.page(0).await.unwrap());
    assert_eq!(by_page(&older, Some(&page), &world.context).await, None);
    let conflict = by_page(&demo, Some(&page), &world.context).await;
    assert!(conflict.as_ref().is_some_and(|conflict| conflict.words.contains("team-a/older")), "{conflict:?}");
    assert_eq!(by_page(&demo, None, &world.context).await, conflict);
    assert_eq!(by_page(&older, None, &world.context).await, None);
    demo.metadata.generation = Some(2);
    assert_eq!(by_page(&demo, None, &world.context).await, None, "the spec may mean another driver now");
}

#[tokio::test]
async fn a_driver_on_record_belongs_to_its_pipeline_and_not_to_an_older_one() {
    let mut world = running().await;
    let older = another(&world, "older", 1);
    let demo = world.cluster.clone();
    watch(&mut world, &[&older, &demo]);
    let page = Page::clone(&world.page(0).await.unwrap());
    // Of this term nobody has looked yet.
    assert_eq!(rival_at(&older, &page, &world.context).await.as_deref(), Some("team-a/demo"));
    assert_eq!(rival_at(&demo, &page, &world.context).await, None);
    let mut like = page.clone();
    like.all_drivers.clear();
    world.forget();
    assert_eq!(rival_at(&older, &like, &world.context).await, None, "another master that calls itself alike");
}
