//! From a look to what is changed outside, on the pods of a Deployment.

use super::look;
use crate::fake::{Outside, World};
use jiff::Timestamp;
use logwise_api::validate;
use logwise_plan::workers::{self, Observed, Policy};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::{Decision, Report};
use serde_json::{Value, json};
use std::time::Instant;

/// Two workers are wanted of the three that there are.
fn two() -> Value {
    json!({"replicas": 2})
}

/// The decision about the workers, planned again from what is on record.
fn of_workers(report: &Report) -> Decision {
    let decision = report.decisions.iter().find(|decision| decision.about == "workers").unwrap();
    let policy: Policy = serde_json::from_value(decision.inputs["policy"].clone()).unwrap();
    let observed: Observed = serde_json::from_value(decision.inputs["observed"].clone()).unwrap();
    let now = serde_json::from_value(decision.inputs["now"].clone()).unwrap();
    let plan = workers::plan(&policy, &observed, now);
    let mut actions = json!(plan);
    let members = actions.as_object_mut().unwrap();
    for reason in ["size", "signals", "ranking", "holds", "nextLookSeconds"] {
        members.remove(reason);
    }
    assert_eq!((&actions, &json!(plan.holds)), (&decision.actions, &decision.holds), "it plans the same again");
    decision.clone()
}

fn condition(report: &Report, kind: ConditionType) -> Draft {
    report.status.conditions.iter().find(|draft| draft.kind == kind).unwrap().clone()
}

fn events(report: &Report) -> Vec<&'static str> {
    report.events.iter().map(|event| event.reason).collect()
}

#[tokio::test]
async fn a_surplus_worker_is_cordoned_looked_at_again_and_ended_and_never_the_drivers() {
    let world = World::new(two()).await;
    let context = world.context(1).await;
    let report = look(&world.cluster, &context).await;
    let decision = of_workers(&report);
    assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2", "scale 2"], "{:?}", decision.outcome);
    assert_eq!(world.outside().pods.keys().collect::<Vec<_>>(), ["a", "c"]);
    let record = world.record();
    assert_eq!((&record["state"], &record["wish"]["targets"]["kind"]), (&json!("Done"), &json!("remove")));
    assert_eq!(record["wish"]["parts"], json!(["b"]));
    assert_eq!(events(&report), ["WorkerCordoned", "WorkersScaledIn"]);
    let workers = &report.status.fields["spark"]["workers"];
    assert!(workers["lastScaleTime"].is_string() && workers["selector"] == "app=spark", "{workers}");
    // At rest nothing is done and nothing written.
    let report = look(&world.cluster, &context).await;
    assert!(world.changes().is_empty() && world.record() == record, "{:?}", of_workers(&report));
    assert_eq!(condition(&report, ConditionType::SparkReady).reason, Reason::Available);
    assert_eq!(condition(&report, ConditionType::ScalingLimited).reason, Reason::WithinRange);
    assert_eq!(report.status.fields["spark"]["settledGeneration"], 1);
}

#[tokio::test]
async fn tasks_on_the_cordoned_worker_get_their_time() {
    let world = World::new(two()).await;
    world.outside().tasks = 3;
    let context = world.context(1).await;
    let report = look(&world.cluster, &context).await;
    assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2"]);
    assert_eq!(report.status.fields["spark"]["removing"]["id"], "b");
    assert_eq!(world.record()["state"], "Prepared");
    let report = look(&world.cluster, &context).await;
    assert!(world.changes().is_empty(), "{:?}", of_workers(&report).outcome);
    assert!(of_workers(&report).holds.to_string().contains("draining"), "{:?}", of_workers(&report).holds);
    world.outside().tasks = 0;
    look(&world.cluster, &context).await;
    assert_eq!((world.changes(), world.record()["state"].clone()), (vec!["scale 2".to_owned()], json!("Done")));
}

#[tokio::test]
async fn the_next_leader_goes_on_with_the_same_worker() {
    let world = World::new(two()).await;
    world.outside().tasks = 3;
    look(&world.cluster, &world.context(1).await).await;
    let prepared = world.record();
    world.changes();
    world.outside().tasks = 0;
    let context = world.context(2).await;
    of_workers(&look(&world.cluster, &context).await);
    // The master shows that the cordon was taken.
    assert_eq!(world.changes(), ["scale 2"]);
    let record = world.record();
    assert_eq!((&record["prepared"], &record["wish"]), (&prepared["prepared"], &prepared["wish"]));
    assert_eq!((&record["state"], &record["writer"]["epoch"]), (&json!("Done"), &json!(2)));
}

#[tokio::test]
async fn a_look_without_the_master_gives_no_removal_up_that_has_begun() {
    let world = World::new(two()).await;
    world.outside().tasks = 3;
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2"]);
    let prepared = world.record();
    world.outside().is_mute = true;
    let report = look(&world.cluster, &context).await;
    assert!(of_workers(&report).holds.to_string().contains("unreadable"), "{:?}", of_workers(&report).holds);
    assert!(world.changes().is_empty() && world.record() == prepared, "{:?}", of_workers(&report).outcome);
    world.outside().is_mute = false;
    world.outside().tasks = 0;
    // Else the failure counts for half a period.
    context.memory.with("u", |of| of.acted = Some(Instant::now()));
    look(&world.cluster, &context).await;
    assert_eq!(world.changes(), ["scale 2"], "it was neither cordoned nor written down anew");
    assert_eq!((&world.record()["state"], &world.record()["prepared"]), (&json!("Done"), &prepared["prepared"]));
}

#[tokio::test]
async fn the_highest_cost_follows_the_driver_while_a_removal_waits_for_signals() {
    let mut world = World::new(two()).await;
    world.outside().tasks = 3;
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2"]);
    let prepared = world.record();
    // From now on the load decides, and nobody reads it.
    let mut object = json!(world.cluster);
    object["spec"]["spark"]["workers"] = json!({"type": "Deployment", "deployment": {"name": "workers"},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 3}});
    world.cluster = serde_json::from_value(object.clone()).unwrap();
    world.outside().object = object;
    world.outside().driver = "c";
    context.memory.with("u", |of| of.acted = Some(Instant::now()));
    let report = look(&world.cluster, &context).await;
    let decision = of_workers(&report);
    assert!(decision.holds.to_string().contains("signalsMissing"), "{:?}", decision.holds);
    assert_eq!((world.changes(), world.record()), (vec!["cost a".to_owned(), "cost c".to_owned()], prepared));
    context.memory.with("u", |of| of.acted = Some(Instant::now()));
    look(&world.cluster, &context).await;
    assert!(world.changes().is_empty(), "once");
}

#[tokio::test]
async fn a_worker_that_a_driver_came_to_stays() {
    let world = World::new(two()).await;
    world.outside().lands = Some("b");
    let context = world.context(1).await;
    let report = look(&world.cluster, &context).await;
    assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2"]);
    assert_eq!(world.record()["state"], "Abandoned");
    assert!(of_workers(&report).outcome.to_string().contains("driver driver-1 came to b"), "{:?}", report.decisions);
    // It is no capacity any more, and the driver's: neither it nor another one goes while two are needed.
    look(&world.cluster, &context).await;
    assert!(!world.changes().iter().any(|change| change.starts_with("scale")), "{:?}", world.outside());
    assert_eq!(world.outside().pods.len(), 3);
}

#[tokio::test]
async fn a_worker_is_cordoned_by_the_page_of_that_moment_and_not_by_one_that_another_object_has_asked_for() {
    let world = World::new(two()).await;
    let context = world.context(1).await;
    let masters = validate::spark_masters(&world.cluster).unwrap().unwrap();
    context.masters.page(&masters, Instant::now()).await.unwrap();
    // By that page it is idle.
    world.outside().driver = "b";
    look(&world.cluster, &context).await;
    let changes = world.changes();
    assert!(changes.iter().any(|change| change.starts_with("cordon")), "{changes:?}");
    assert!(!changes.contains(&"cordon 127.0.0.2".to_owned()), "the driver's worker takes nothing new: {changes:?}");
}

#[tokio::test]
async fn what_happens_after_the_record_is_sent_is_seen_before_the_worker_is_ended() {
    type Case = (fn(&mut Outside), &'static str);
    let cases: [Case; 3] = [
        (|outside| outside.driver = "b", "driver driver-1 came to b"),
        (|outside| outside.cordoned.clear(), "Superseded"),
        (|outside| outside.tasks = 3, "tasks run there again"),
    ];
    for (happens, told) in cases {
        let world = World::new(two()).await;
        world.outside().when_sent = Some(happens);
        let context = world.context(1).await;
        let report = look(&world.cluster, &context).await;
        let outcome = of_workers(&report).outcome.to_string();
        assert!(outcome.contains(told), "{told}: {outcome}");
        assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2"], "{told}");
        assert_eq!((world.record()["state"].clone(), world.outside().pods.len()), (json!("Abandoned"), 3), "{told}");
    }
}

#[tokio::test]
async fn a_removal_that_was_withdrawn_is_made_with_a_later_look() {
    let world = World::new(two()).await;
    world.outside().when_sent = Some(|outside| outside.cordoned.clear());
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    world.changes();
    let report = look(&world.cluster, &context).await;
    let changes = world.changes();
    assert_eq!(changes.last().map(String::as_str), Some("scale 2"), "{changes:?} {:?}", of_workers(&report).outcome);
    assert!(changes.iter().any(|change| change.starts_with("cordon")), "the cordon was lost: {changes:?}");
    assert_eq!((world.record()["state"].clone(), world.outside().pods.len()), (json!("Done"), 2));
}

#[tokio::test]
async fn without_a_cordon_no_worker_goes_and_the_condition_says_what_to_set() {
    let world = World::new(two()).await;
    world.outside().cordon = 405;
    let context = world.context(1).await;
    let report = look(&world.cluster, &context).await;
    assert!(world.changes().contains(&"cordon 127.0.0.2".to_owned()));
    assert_eq!(world.record()["state"], "Abandoned");
    of_workers(&report);
    let report = look(&world.cluster, &context).await;
    let again = world.changes();
    assert!(!again.iter().any(|change| change.starts_with("cordon") || change.starts_with("scale")), "{again:?}");
    let limited = condition(&report, ConditionType::ScalingLimited);
    assert_eq!((limited.truth, limited.reason), (Truth::True, Reason::CordonUnavailable));
    for setting in ["spark.master.ui.decommission.allow.mode", "spark.decommission.enabled"] {
        assert!(limited.message.contains(setting), "{}", limited.message);
    }
}

#[tokio::test]
async fn a_cordon_of_a_worker_that_is_there_and_is_not_found_is_not_asked_for_again_and_again() {
    let world = World::new(two()).await;
    world.outside().cordon = 404;
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    assert!(world.changes().contains(&"cordon 127.0.0.2".to_owned()));
    assert_eq!(world.record()["state"], "Abandoned");
    let report = look(&world.cluster, &context).await;
    let again = world.changes();
    assert!(!again.iter().any(|change| change.starts_with("cordon")), "{again:?}");
    let limited = condition(&report, ConditionType::ScalingLimited);
    assert_eq!((limited.truth, limited.reason), (Truth::True, Reason::CordonUnavailable));
    assert!(limited.message.contains("HTTP 404 and lists the worker"), "{}", limited.message);
}

#[tokio::test]
async fn where_no_worker_may_be_ended_one_is_cordoned_and_the_condition_says_why_none_goes() {
    let world = World::new(two()).await;
    world.outside().fixed = true;
    let context = world.context(1).await;
    let report = look(&world.cluster, &context).await;
    assert_eq!(world.changes(), ["cost a", "cost b", "cordon 127.0.0.2", "scale refused"]);
    assert_eq!((world.record()["state"].clone(), report.failure), (json!("Abandoned"), None));
    let report = look(&world.cluster, &context).await;
    of_workers(&report);
    // The cost of the one that does not go is taken back.
    assert_eq!(world.changes(), ["cost b"]);
    let limited = condition(&report, ConditionType::ScalingLimited);
    assert_eq!((limited.truth, limited.reason), (Truth::True, Reason::ScaleInHeld));
    for part in ["no worker can be ended", "Forbidden", "deploy/components/tenant-workers"] {
        assert!(limited.message.contains(part), "{}", limited.message);
    }
}

#[tokio::test]
async fn a_worker_that_is_cordoned_already_is_not_cordoned_again() {
    let world = World::new(two()).await;
    world.outside().when_sent = Some(|outside| outside.tasks = 3);
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    assert_eq!(world.record()["state"], "Abandoned", "the removal was withdrawn");
    world.changes();
    world.outside().tasks = 0;
    let report = look(&world.cluster, &context).await;
    assert_eq!((world.changes(), events(&report)), (vec!["scale 2".to_owned()], vec!["WorkersScaledIn"]));
}

#[tokio::test]
async fn an_object_that_was_deleted_during_a_look_is_forgotten_after_it() {
    let world = World::new(two()).await;
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    let is_known = |uid: &str| context.memory.with(uid, |of| !of.scaling.is_new());
    context.forget_gone(&world.cluster);
    assert!(is_known("u"), "it is there");
    let mut gone = world.cluster.clone();
    gone.metadata.uid = Some("earlier".to_owned());
    context.memory.with("earlier", |of| of.scaling.begin(1, Vec::new(), Timestamp::UNIX_EPOCH));
    assert!(is_known("earlier"));
    context.forget_gone(&gone);
    assert!(!is_known("earlier") && is_known("u"), "another one has its name now");
}

#[tokio::test]
async fn what_only_observes_changes_nothing_and_counts_what_it_would() {
    let mut world = World::new(two()).await;
    world.cluster.spec.suspend = true;
    let report = look(&world.cluster, &world.context(1).await).await;
    of_workers(&report);
    assert!(world.changes().is_empty() && world.record().is_null());
    // The removal, and the costs of pods.
    assert_eq!(report.status.fields["spark"]["pendingChanges"], 2);
}

#[tokio::test]
async fn facts_are_as_old_as_the_page_that_they_are_of() {
    let world = World::new(json!({"replicas": 3})).await;
    let context = world.context(1).await;
    let masters = validate::spark_masters(&world.cluster).unwrap().unwrap();
    // Another object has asked for it.
    let page = context.masters.page(&masters, Instant::now()).await.unwrap();
    look(&world.cluster, &context).await;
    let (facts, now) = (&context.shell.facts, Instant::now());
    let taken = (facts.cores.fact("u", now).unwrap().taken, facts.drivers.fact("u", now).unwrap().taken);
    assert_eq!(taken, (page.began, page.began));
}

#[tokio::test]
async fn more_workers_are_asked_for_by_an_absolute_number() {
    let world = World::new(json!({"replicas": 5})).await;
    let report = look(&world.cluster, &world.context(1).await).await;
    let changes = world.changes();
    assert!(changes.contains(&"scale 5".to_owned()), "{changes:?} {:?}", of_workers(&report).outcome);
    assert!(events(&report).contains(&"WorkersScaledOut"));
    let ready = condition(&report, ConditionType::SparkReady);
    assert_eq!((ready.truth, ready.reason), (Truth::False, Reason::WorkersNotReady));
}

#[tokio::test]
async fn without_signals_the_condition_names_the_sections_that_are_missing() {
    let world = World::new(json!({"autoscaling": {"minReplicas": 1, "maxReplicas": 5}})).await;
    let report = look(&world.cluster, &world.context(1).await).await;
    of_workers(&report);
    assert!(!world.changes().iter().any(|change| !change.starts_with("cost")));
    let fresh = condition(&report, ConditionType::SignalsFresh);
    assert_eq!((fresh.truth, fresh.reason), (Truth::False, Reason::SignalMissing));
    for section in ["`spec.kafka.topics`", "`spec.storage`"] {
        assert!(fresh.message.contains(section), "{}", fresh.message);
    }
    let risk = condition(&report, ConditionType::RetentionAtRisk);
    assert_eq!((risk.truth, risk.reason), (Truth::Unknown, Reason::SignalMissing));
}

#[tokio::test]
async fn a_removal_that_is_no_longer_wanted_is_given_up_before_anything_else() {
    let mut world = World::new(two()).await;
    world.outside().tasks = 3;
    let context = world.context(1).await;
    look(&world.cluster, &context).await;
    world.changes();
    world.cluster.spec.spark.as_mut().unwrap().workers.as_mut().unwrap().replicas = Some(4);
    let report = look(&world.cluster, &context).await;
    let outcome = of_workers(&report).outcome.to_string();
    assert!(outcome.contains("give up removing b") && outcome.contains("raise workers from 3 to 5"), "{outcome}");
    // One of the five is cordoned, and no capacity.
    assert!(world.changes().contains(&"scale 5".to_owned()));
    assert_eq!(world.record()["spent"][0]["kind"], "raise", "costs are set after it, and the removal took nothing");
}
