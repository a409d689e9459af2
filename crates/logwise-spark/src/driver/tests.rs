//! A driver is there exactly once, whatever happens in between.

use super::Look;
use super::apply::{Failed, Outcome, What};
use super::fake::{CLASS, Looked, Rest, World, driver};
use logwise_api::DriverStatus;
use logwise_plan::driver::{Cause, Hold, KillWhy, Open, Policy, State, Why};
use logwise_runtime::conditions::{Draft, Reason, Truth};
use logwise_runtime::intent::Wish;
use logwise_runtime::{ErrorClass, ObjectKey};
use serde_json::{Value, json};

/// When a call of this moment is over, whatever became of it.
const OVER: u64 = 20;

impl World {
    pub(super) fn with<T>(&self, looked: &Looked, work: impl FnOnce(&Look<'_>) -> T) -> T {
        let Looked { found, plan, told, now } = looked;
        let page = found.page.clone();
        work(&Look { around: self.around(&page), policy: &self.policy, found, plan, told, now: *now })
    }

    pub(super) fn ready(&self, looked: &Looked) -> Draft {
        self.with(looked, |look| look.ready()).unwrap()
    }

    fn shown(&self, looked: &Looked) -> DriverStatus {
        self.with(looked, |look| look.status()).unwrap()
    }

    pub(super) fn events(&self, looked: &Looked) -> Vec<&'static str> {
        self.with(looked, |look| look.events().iter().map(|event| event.reason).collect())
    }
}

#[tokio::test]
async fn a_missing_driver_is_submitted_once_and_its_id_is_on_record() {
    let world = World::new(json!({})).await;
    let first = world.look(0).await;
    let [told] = first.told.as_slice() else { panic!("{:?}", first.told) };
    assert!(matches!(&told.outcome, Ok(Outcome::Submitted { id }) if id == "driver-90001"), "{told:?}");
    assert_eq!(world.events(&first), ["DriverSubmitted"]);
    let ready = world.ready(&first);
    assert_eq!((ready.truth, ready.reason), (Truth::False, Reason::DriverNotRunning));
    let second = world.look(0).await;
    assert_eq!((second.told.len(), &second.plan.state), (0, &State::Pending { id: "driver-90001".into() }));
    let ready = world.ready(&second);
    assert_eq!(ready.reason, Reason::DriverPending);
    let wants = ready.message.contains("with 1 free cores and 1g of free memory");
    assert!(wants && ready.message.contains("Too little memory is free on 10.0.0.4. "), "{}", ready.message);
    assert!(!ready.message.contains("together"), "what others take moves: {}", ready.message);
    world.spark().active[0] = driver("driver-90001", "RUNNING", Some("w1"));
    let third = world.look(0).await;
    let ready = world.ready(&third);
    assert_eq!((ready.truth, ready.reason), (Truth::True, Reason::DriverRunning));
    assert!(ready.message.starts_with("Driver driver-90001 runs on 10.0.0.4"), "{}", ready.message);
    let shown = world.shown(&third);
    assert_eq!((shown.submission_id.as_deref(), shown.state.as_deref()), (Some("driver-90001"), Some("RUNNING")));
    assert_eq!((shown.worker.as_deref(), shown.restarts), (Some("10.0.0.4"), Some(0)));
    let records = world.kubernetes().records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&record["state"], &record["effect"]["parts"]), (&json!("Done"), &json!(["driver-90001"])));
    assert_eq!(record["resource"], format!("driver/127.0.0.1:7077/{CLASS}"));
    assert_eq!(world.spark().submitted.len(), 1);
}

#[tokio::test]
async fn a_driver_that_spark_starts_again_is_waited_for() {
    let world = World::new(json!({})).await;
    world.look(0).await;
    world.spark().active[0] = driver("driver-90001", "RELAUNCHING", None);
    for _ in 0..2 {
        let looked = world.look(OVER).await;
        assert_eq!((looked.told.len(), &looked.plan.state), (0, &State::Relaunching { id: "driver-90001".into() }));
        let ready = world.ready(&looked);
        assert_eq!((ready.truth, ready.reason), (Truth::False, Reason::DriverRelaunching));
        assert!(ready.message.contains("starts driver driver-90001 again"), "{}", ready.message);
    }
    let spark = world.spark();
    assert_eq!((spark.submitted.len(), spark.killed.len()), (1, 0));
}

#[tokio::test]
async fn the_keys_of_a_secret_go_to_the_master_and_nowhere_else() {
    let world = World::new(json!({"environmentSecretRef": {"name": "keys"}})).await;
    let data = json!({"AWS_SECRET_ACCESS_KEY": "Y2FuYXJ5"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": data});
    world.kubernetes().objects.insert("/api/v1/namespaces/team-a/secrets/keys".into(), secret);
    let looked = world.look(0).await;
    let body = world.spark().submitted[0].clone();
    assert_eq!(body["environmentVariables"]["AWS_SECRET_ACCESS_KEY"], "canary");
    assert_eq!(body["sparkProperties"]["spark.executorEnv.AWS_SECRET_ACCESS_KEY"], "canary");
    let shown = world.with(&looked, |look| {
        let decision = look.decision();
        let all = (look.ready(), look.status(), look.events(), look.last_decision());
        format!("{decision:?} {all:?} {:?} {:?}", look.told, world.kubernetes().records())
    });
    assert!(shown.contains("driver-90001") && !shown.contains("canary"), "{shown}");
}

/// A master may quote what it was sent: its words go into condition, event, decision and record.
#[tokio::test]
async fn the_keys_of_a_secret_are_not_told_by_a_master_that_quotes_them() {
    let world = World::new(json!({"environmentSecretRef": {"name": "keys"}})).await;
    let data = json!({"AWS_SECRET_ACCESS_KEY": "Y2FuYXJ5LW9mLWEta2V5"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": data});
    world.kubernetes().objects.insert("/api/v1/namespaces/team-a/secrets/keys".into(), secret);
    world.spark().rest = Rest::Echoes;
    for _ in 0..3 {
        let looked = world.look(0).await;
        let shown = world.with(&looked, |look| {
            let decision = look.decision();
            format!("{decision:?} {:?} {:?} {:?} {:?}", look.ready(), look.status(), look.events(), look.told)
        });
        assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && shown.contains("(secret)"), "it is quoted: {shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert!(!format!("{:?}", world.kubernetes().records()).contains("canary"));
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_is_sent() {
    let world = World::new(json!({"environmentSecretRef": {"name": "keys"}})).await;
    let looked = world.look(0).await;
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::SecretNotFound);
    assert!(ready.message.contains("spec.spark.driver.environmentSecretRef.name: Secret keys"), "{}", ready.message);
    assert_eq!(world.with(&looked, |look| look.failure()), Some(ErrorClass::NotFound));
    assert!(world.spark().submitted.is_empty() && world.kubernetes().records().is_empty());
}

#[tokio::test]
async fn a_submission_whose_answer_was_lost_is_found_before_another_is_made() {
    let world = World::new(json!({})).await;
    world.spark().rest = Rest::Silent;
    let lost = world.look(0).await;
    assert!(lost.told[0].outcome.as_ref().unwrap_err().may_have_happened(), "{:?}", lost.told);
    assert!(lost.told[0].to_string().starts_with("Unknown: "), "{}", lost.told[0]);
    let ready = world.ready(&lost);
    assert!(ready.message.contains("nobody knows whether it was taken"), "{}", ready.message);
    // While the call may still be under way nothing is believed.
    let early = world.look(0).await;
    assert!(matches!(early.found.facts.open, Open::Submission { .. }), "{:?}", early.found.facts.open);
    assert_eq!(early.told.len(), 0);
    // It has ended meanwhile: it was ours all the same.
    let mut ended = world.spark().active.remove(0);
    ended["state"] = json!("FAILED");
    world.spark().completed.push(ended);
    let found = world.see(OVER).await;
    assert_eq!(
        (found.found.turned_up.as_slice(), world.events(&found)),
        (&["driver-90001".to_owned()][..], vec!["DriverSubmitted"])
    );
    assert_eq!(found.found.facts.recorded.as_deref(), Some("driver-90001"));
    assert!(found.found.facts.open.is_none());
    assert_eq!(world.kubernetes().records()[0]["effect"]["parts"], json!(["driver-90001"]));
    assert_eq!(world.spark().submitted.len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_while_an_unanswered_submission_is_waited_for() {
    let world = World::new(json!({})).await;
    world.spark().rest = Rest::Silent;
    world.look(0).await;
    // It never arrived.
    world.spark().active.clear();
    let later = world.look(OVER).await;
    assert_eq!((later.plan.holds.as_slice(), later.told.len()), (&[Hold::IntentOpen][..], 0));
    assert!(later.found.cleared.as_ref().unwrap_err().contains("last submission"), "{:?}", later.found.cleared);
    assert_eq!(world.spark().submitted.len(), 1);
}

#[tokio::test]
async fn a_master_that_takes_no_driver_is_asked_more_and_more_seldom() {
    let world = World::new(json!({})).await;
    world.spark().rest = Rest::Refuses;
    for _ in 0..2 {
        let looked = world.look(0).await;
        let ready = world.ready(&looked);
        assert_eq!(ready.reason, Reason::SubmissionRefused);
        assert!(ready.message.contains("no such jar. Correct `spark.driver`"), "{}", ready.message);
        assert!(looked.told[0].to_string().starts_with("Refused: "), "{}", looked.told[0]);
        assert!(!world.with(&looked, |look| look.decision()).has_acted());
    }
    let held = world.look(0).await;
    assert!(matches!(held.plan.state, State::Failing { .. }) && held.told.is_empty(), "{:?}", held.plan);
    assert_eq!(world.ready(&held).reason, Reason::SubmissionRefused);
    assert_eq!(world.kubernetes().records()[0]["state"], "Abandoned");
    // A corrected spec is tried at once.
    let mut corrected = world;
    corrected.cluster.metadata.generation = Some(2);
    let path = "/apis/logwise.io/v1alpha1/namespaces/team-a/logwiseclusters/demo";
    corrected.kubernetes().objects.get_mut(path).unwrap()["metadata"]["generation"] = json!(2);
    corrected.spark().rest = Rest::Works;
    let looked = corrected.look(0).await;
    assert!(matches!(looked.told[0].outcome, Ok(Outcome::Submitted { .. })), "{:?}", looked.told);
}

/// Such as a proxy that asks for a login.
#[tokio::test]
async fn a_submission_that_something_before_the_master_refuses_is_not_repeated_at_each_look() {
    let world = World::new(json!({})).await;
    world.spark().rest = Rest::Forbids;
    for _ in 0..2 {
        let looked = world.look(0).await;
        assert!(matches!(looked.told[0].outcome, Err(Failed::Call(_))), "{:?}", looked.told);
        let ready = world.ready(&looked);
        assert_eq!(ready.reason, Reason::SubmissionRefused);
        assert!(ready.message.contains("let the operator's POST requests through"), "{}", ready.message);
        assert!(!ready.message.contains("Correct `spark.driver`"), "{}", ready.message);
    }
    let held = world.look(0).await;
    assert!(matches!(held.plan.state, State::Failing { .. }) && held.told.is_empty(), "{:?}", held.plan);
    let ready = world.ready(&held);
    assert!(ready.message.contains("answered HTTP 403. The next one is submitted after"), "{}", ready.message);
    assert_eq!(ready.reason, Reason::SubmissionRefused);
    assert!(ready.message.contains("let the operator's POST requests through"), "{}", ready.message);
}

/// Each change of the reason is an event.
#[tokio::test]
async fn while_the_next_submission_waits_for_its_time_the_reason_stays_that_the_last_one_was_refused() {
    let mut world = World::new(json!({})).await;
    world.spark().rest = Rest::Refuses;
    world.look(0).await;
    world.policy.absent_seconds = 90;
    let waits = world.look(0).await;
    assert!(matches!(waits.plan.holds.as_slice(), [Hold::TooSoon { .. }]), "{:?}", waits.plan);
    let ready = world.ready(&waits);
    assert_eq!(ready.reason, Reason::SubmissionRefused);
    for words in ["no such jar. One is submitted when", "Correct `spark.driver`"] {
        assert!(ready.message.contains(words), "{words}: {}", ready.message);
    }
}

#[tokio::test]
async fn without_a_rest_server_nothing_is_written_down() {
    let world = World::new(json!({})).await;
    world.spark().rest = Rest::Off;
    let looked = world.look(0).await;
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::RestUnavailable);
    assert!(ready.message.contains("HTML") && ready.message.contains("spark.master.rest.enabled"), "{}", ready.message);
    assert!(world.kubernetes().records().is_empty());
    assert!(looked.told[0].to_string().starts_with("NotSent: "), "{}", looked.told[0]);
}

#[tokio::test]
async fn a_driver_that_comes_between_the_look_and_the_call_is_not_doubled() {
    let world = World::new(json!({})).await;
    let seen = world.see(0).await;
    assert!(seen.plan.submit.is_some());
    world.spark().active.push(driver("driver-1", "SUBMITTED", None));
    let looked = world.act(seen).await;
    assert!(matches!(&looked.told[0].outcome, Ok(Outcome::Superseded { why }) if why.contains("driver-1")));
    assert_eq!(world.kubernetes().records()[0]["state"], "Abandoned");
    assert!(world.spark().submitted.is_empty());
}

#[tokio::test]
async fn a_driver_that_comes_when_the_call_is_written_down_as_sent_is_not_doubled() {
    let world = World::new(json!({})).await;
    world.spark().when_sent = Some(|spark| spark.active.push(driver("driver-1", "SUBMITTED", None)));
    let looked = world.look(0).await;
    assert!(matches!(&looked.told[0].outcome, Ok(Outcome::Superseded { why }) if why.contains("driver-1")));
    assert_eq!(world.kubernetes().records()[0]["state"], "Abandoned");
    assert!(world.spark().submitted.is_empty());
    let next = world.look(0).await;
    assert_eq!((next.told.len(), &next.plan.state), (0, &State::Pending { id: "driver-1".into() }));
}

#[tokio::test]
async fn the_last_one_is_not_killed_when_the_other_ends_as_the_call_is_written_down() {
    let world = World::new(json!({})).await;
    world.spark().active.push(driver("driver-2", "RUNNING", Some("w1")));
    world.look(0).await;
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    world.spark().when_sent = Some(|spark| spark.active.retain(|driver| driver["id"] != "driver-2"));
    let looked = world.look(0).await;
    assert!(matches!(&looked.told[0].outcome, Ok(Outcome::Superseded { .. })), "{:?}", looked.told);
    assert!(world.spark().killed.is_empty());
    world.spark().active.push(driver("driver-3", "RUNNING", Some("w1")));
    world.spark().when_sent = Some(|spark| spark.active.retain(|driver| driver["id"] != "driver-3"));
    let looked = world.look(0).await;
    assert!(matches!(&looked.told[0].outcome, Ok(Outcome::AlreadySo)), "{:?}", looked.told);
    assert!(world.spark().killed.is_empty());
    assert_eq!(world.kubernetes().records()[0]["state"], "Abandoned");
}

#[tokio::test]
async fn a_master_that_falls_silent_as_the_call_is_written_down_gets_no_call() {
    let world = World::new(json!({})).await;
    world.spark().when_sent = Some(|spark| spark.is_standby = true);
    let looked = world.look(0).await;
    assert!(matches!(&looked.told[0].outcome, Err(Failed::NoMaster(_))), "{:?}", looked.told);
    assert_eq!(world.kubernetes().records()[0]["state"], "Abandoned");
    assert!(world.spark().submitted.is_empty());
    assert_eq!(world.ready(&looked).reason, Reason::MasterUnreachable);
}

/// What a record of a submission says, written by whoever leads.
fn submission(world: &World) -> Wish {
    Wish {
        owner: ObjectKey::of(&world.cluster).into(),
        targets: json!({"kind": "submit", "why": "missing", "known": [], "past": {}}),
        pre_image: None,
        amount: 0,
        parts: Vec::new(),
    }
}

#[tokio::test]
async fn a_submission_of_another_leader_that_the_write_brings_to_light_is_waited_for() {
    let mut world = World::new(json!({})).await;
    // A record that this process has not seen: written after it has read them all.
    let seen = world.see(0).await;
    let resource = seen.found.cleared.clone().unwrap();
    let intents = &world.context.shell.intents;
    let theirs = intents.prepare(&resource, &world.cluster, submission(&world)).await.unwrap();
    let sent = theirs.send(std::time::Duration::from_secs(6)).await.unwrap();
    assert!(sent.close(super::targets::became(vec!["driver-7".to_owned()])).await);
    // No driver was seen for as long as that, and somebody has submitted one meanwhile: it counts anew.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    world.policy.absent_seconds = 1;
    let looked = world.act(seen).await;
    assert!(matches!(&looked.told[0].outcome, Ok(Outcome::Superseded { why }) if why.contains("not yet")));
    assert!(world.spark().submitted.is_empty());
    assert_eq!(world.kubernetes().records()[0]["state"], "Abandoned");
}

#[tokio::test]
async fn a_kill_whose_answer_was_lost_does_not_blame_the_rest_server() {
    let world = World::new(json!({})).await;
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    world.commit(7, 10);
    world.spark().rest = Rest::Silent;
    let lost = world.look(0).await;
    assert!(lost.told[0].outcome.as_ref().unwrap_err().may_have_happened(), "{:?}", lost.told);
    let ready = world.ready(&lost);
    assert_eq!(ready.reason, Reason::DriverStalled);
    assert!(ready.message.contains("The next looks tell"), "{}", ready.message);
    assert!(!ready.message.contains("spark.master.rest.enabled"), "{}", ready.message);
}

#[tokio::test]
async fn a_record_that_was_not_sent_holds_nothing_up() {
    let world = World::new(json!({})).await;
    let seen = world.see(0).await;
    let resource = seen.found.cleared.clone().unwrap();
    drop(world.context.shell.intents.prepare(&resource, &world.cluster, submission(&world)).await.unwrap());
    let looked = world.look(0).await;
    assert!(matches!(looked.told[0].outcome, Ok(Outcome::Submitted { .. })), "{:?}", looked.told);
}

#[tokio::test]
async fn a_query_that_stands_still_is_restarted_once() {
    let world = World::new(json!({})).await;
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    world.commit(7, 10);
    let killed = world.look(0).await;
    assert!(matches!(&killed.told[0].what, What::Kill(kill) if kill.why == KillWhy::Stalled), "{:?}", killed.told);
    assert_eq!((world.events(&killed), world.ready(&killed).reason), (vec!["DriverKilled"], Reason::DriverStalled));
    assert_eq!(world.spark().killed, ["driver-1"]);
    let again = world.look(OVER).await;
    let [told] = again.told.as_slice() else { panic!("{:?}", again.plan) };
    assert!(matches!(&told.what, What::Submit(submit) if submit.why == Why::Stalled), "{told:?}");
    assert_eq!(world.events(&again), ["DriverResubmitted"]);
    world.spark().active[0] = driver("driver-90001", "RUNNING", Some("w1"));
    world.commit(7, 10);
    let held = world.look(OVER).await;
    assert!(matches!(held.plan.holds.as_slice(), [Hold::RestartedInVain { .. }]), "{:?}", held.plan);
    assert_eq!(world.shown(&held).restarts, Some(1));
    assert!(world.ready(&held).message.contains("A restart has not helped"), "{}", world.ready(&held).message);
    let spark = world.spark();
    assert_eq!((spark.killed.len(), spark.submitted.len()), (1, 1));
}

#[tokio::test]
async fn a_query_that_moves_between_the_look_and_the_call_is_left_alone() {
    let world = World::new(json!({})).await;
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    world.commit(7, 10);
    let seen = world.see(0).await;
    world.commit(8, 0);
    let looked = world.act(seen).await;
    assert!(matches!(&looked.told[0].outcome, Ok(Outcome::Superseded { .. })), "{:?}", looked.told);
    assert!(world.spark().killed.is_empty());
}

#[tokio::test]
async fn of_several_the_one_on_record_stays() {
    let world = World::new(json!({})).await;
    world.spark().active.push(driver("driver-2", "RUNNING", Some("w1")));
    world.look(0).await;
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    let looked = world.look(0).await;
    assert_eq!(world.spark().killed, ["driver-1"], "the elder, and not the one that was adopted");
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::SeveralDrivers);
    assert!(ready.message.contains("(driver-1, driver-2)"), "{}", ready.message);
    assert_eq!(world.shown(&looked).submission_id.as_deref(), Some("driver-2"));
    let after = world.look(OVER).await;
    assert!(matches!(after.plan.state, State::Running { .. }) && after.told.is_empty(), "{:?}", after.plan);
    assert_eq!(world.kubernetes().records()[0]["state"], "Done");
}

#[tokio::test]
async fn what_ended_says_why_and_waits() {
    let world = World::new(json!({})).await;
    for id in ["driver-1", "driver-2"] {
        world.spark().active = vec![driver(id, "RUNNING", Some("w1"))];
        world.see(0).await;
        world.spark().active.clear();
        world.spark().completed.push(driver(id, "FAILED", Some("w1")));
        world.spark().text = Some("Exception from the cluster:\njava.lang.Error: no\n\tat a.b".into());
        world.see(0).await;
    }
    let looked = world.look(0).await;
    let ready = world.ready(&looked);
    assert_eq!(ready.reason, Reason::DriverNotRunning);
    assert!(ready.message.contains("the last one: FAILED: java.lang.Error: no."), "{}", ready.message);
    assert!(looked.told.is_empty());
}

#[tokio::test]
async fn a_driver_that_is_only_watched_is_shown_and_left_alone() {
    let world = World::new(json!({"mode": "Disabled"})).await;
    let looked = world.look(0).await;
    assert_eq!((&looked.plan.state, looked.told.len()), (&State::Disabled, 0));
    assert_eq!(world.with(&looked, |look| look.ready()), None);
    assert!(world.with(&looked, |look| look.is_settled()));
    world.spark().active.push(driver("driver-1", "RUNNING", Some("w1")));
    let looked = world.look(0).await;
    assert_eq!(world.shown(&looked).state.as_deref(), Some("RUNNING"));
    assert_eq!(world.with(&looked, |look| look.is_up()), Some(true));
    assert!(world.kubernetes().records().is_empty());
}

#[tokio::test]
async fn what_waits_for_a_person_is_named_with_its_id() {
    let mut world = World::new(json!({})).await;
    world.policy.change.approval = logwise_plan::change::Approval::Always;
    let looked = world.look(0).await;
    let [Hold::ApprovalRequired { plan_id, why: Cause::Missing }] = looked.plan.holds.as_slice() else {
        panic!("{:?}", looked.plan)
    };
    let plans = world.with(&looked, |look| look.pending_plans());
    assert_eq!((&plans[0].id, plans[0].summary.as_str()), (plan_id, "submit a driver: no driver is active"));
    assert!(world.ready(&looked).message.contains(plan_id), "{}", world.ready(&looked).message);
    world.policy.change.approved_plans.insert(plan_id.clone());
    assert_eq!(world.look(0).await.told.len(), 1);
}

#[tokio::test]
async fn an_object_that_may_not_change_says_so_and_has_nothing_to_do() {
    let mut world = World::new(json!({})).await;
    world.cluster.spec.suspend = true;
    let looked = world.see(0).await;
    assert!(looked.plan.submit.is_some(), "the plan reads the same");
    assert_eq!(world.with(&looked, |look| look.planned()), 1);
    assert!(world.with(&looked, |look| look.is_settled()));
    assert!(world.ready(&looked).message.contains("suspended"), "{}", world.ready(&looked).message);
}

#[tokio::test]
async fn a_decision_can_be_made_again_from_its_inputs() {
    let world = World::new(json!({})).await;
    let looked = world.look(0).await;
    let decision = world.with(&looked, |look| look.decision());
    let part = |name: &str| decision.inputs[name].clone();
    let policy: Policy = serde_json::from_value(part("policy")).unwrap();
    let observed = serde_json::from_value(part("observed")).unwrap();
    let now = serde_json::from_value(part("now")).unwrap();
    let again = logwise_plan::driver::plan(&policy, &observed, now);
    assert_eq!(again, looked.plan);
    assert_eq!(decision.actions, json!([{"submit": again.submit}]));
    assert_eq!(
        (decision.about, decision.holds, decision.outcome),
        ("driver", json!([]), json!(["Submitted: driver-90001"]))
    );
    assert!(matches!(decision.actions, Value::Array(_)));
}
