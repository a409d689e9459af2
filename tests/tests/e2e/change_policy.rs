//! changePolicy means the same for every part: windows, approval by plan id, Observe and suspend; and what others change.

use crate::waiting::kstatus;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::kafka_writes;
use logwise_testbed::proxy::tcp::TcpProxy;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    PATIENCE, apply, approve, cluster, condition, events, plan_id, policy, raises, wait_condition, wait_desired,
    with_spark,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DEMO: (&str, &str) = ("lwc", "demo");
const KEPT: (&str, &str) = ("lrp", "default");

async fn ground(name: &str) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 9, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    Ok((world, operator))
}

/// Kafka, Spark and the bucket, changed as `change` says; at least `workers` workers are wanted.
fn pipeline(world: &World, workers: i32, change: Value) -> Result<Value> {
    let mut object = with_spark(world, cluster(world, "demo"), (workers, 9))?;
    object["spec"]["changePolicy"] = change;
    Ok(object)
}

/// A policy of so many days, changed as `change` says.
fn retention(days: i32, change: Value) -> Value {
    let mut object = policy("default", "demo", days);
    object["spec"]["changePolicy"] = change;
    object
}

fn message(object: &Value, kind: &str) -> Result<String> {
    let found = condition(object, kind).with_context(|| format!("no {kind} in {}", object["status"]))?;
    Ok(found["message"].as_str().unwrap_or_default().to_owned())
}

async fn patch(world: &World, (kind, name): (&str, &str), spec: Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    world.kubectl(&["patch", kind, name, "--type", "merge", "-p", &patch]).await.map(drop)
}

/// Runs the first command that a message tells a person to paste.
async fn paste(world: &World, message: &str) -> Result<()> {
    let (_, command) = message.split_once("kubectl patch ").with_context(|| format!("no command: {message}"))?;
    let (words, rest) = command.split_once(" -p '").context("no patch")?;
    let (patch, _) = rest.split_once('\'').context("the patch does not end")?;
    let words: Vec<&str> = words.split(' ').collect();
    world.bed.kubectl(&[&["patch"], &words[..], &["-p", patch]].concat(), None).await.map(drop)
}

async fn lifecycle_writes(world: &World) -> Result<usize> {
    let calls = world.calls(&world.bucket, true).await?;
    Ok(calls.iter().filter(|call| call.action.contains("Lifecycle")).count())
}

async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

/// As somebody else, with other days.
async fn change_rule(world: &World, from: i32, to: i32) -> Result<()> {
    let (from, to) = (format!("<Days>{from}</Days>"), format!("<Days>{to}</Days>"));
    let before = document(world).await?;
    ensure!(before.contains(&from), "no rule of {from}: {before}");
    world.put_lifecycle(&world.bucket, &before.replace(&from, &to)).await
}

/// A window that is open always, or on one minute of a leap day.
fn windows(open: bool) -> Value {
    if open {
        json!([{"name": "always", "schedule": "* * * * *", "durationMinutes": 10080, "timeZone": "UTC"}])
    } else {
        json!([{"name": "leap-day", "schedule": "0 0 29 2 *", "durationMinutes": 1, "timeZone": "Asia/Kolkata"}])
    }
}

fn unattended(open: bool) -> Value {
    json!({"approval": "Never", "windows": windows(open)})
}

#[tokio::test]
async fn a_closed_window_holds_growth_and_rules_and_never_a_raise() -> Result<()> {
    let (world, _operator) = ground("windows").await?;
    let never = json!({"approval": "Never"});
    apply(&world, &[&pipeline(&world, 0, unattended(false))?, &retention(30, never)]).await?;
    for object in [DEMO, KEPT] {
        let seen = wait_condition(&world, object, ("Reconciling", "True", "WaitingForWindow")).await?;
        ensure!(message(&seen, "Reconciling")?.contains("02-29 00:00 Asia/Kolkata"), "{}", seen["status"]);
        let seen = wait_condition(&world, object, ("ChangesPending", "True", "WaitingForWindow")).await?;
        let told = message(&seen, "ChangesPending")?;
        ensure!(told.contains("02-28T18:30:00Z (window leap-day: "), "{told}");
        wait_condition(&world, object, ("Ready", "False", "WaitingForWindow")).await?;
        ensure!(condition(&seen, "Stalled").is_none(), "{}", seen["status"]);
        ensure!(kstatus(&world, object.0, object.1).await? == "InProgress", "{}", seen["status"]);
    }
    let pending = world.get_json(DEMO.0, DEMO.1).await?;
    let told = message(&pending, "ChangesPending")?;
    ensure!(told.starts_with("0 to add, 1 to change, 0 to remove; 0 destructive. 1 waits for a window"), "{told}");
    let opening = &pending["status"]["kafka"]["heldTopics"][0]["nextOpeningTime"];
    ensure!(opening.as_str().is_some_and(|time| time.ends_with("02-28T18:30:00Z")), "{opening}");
    let kept = world.get_json(KEPT.0, KEPT.1).await?;
    let told = message(&kept, "ChangesPending")?;
    ensure!(told.starts_with("1 to add, 0 to change, 0 to remove; 1 destructive. "), "{told}");
    ensure!(kept["status"]["nextOpeningTime"] == *opening, "{}", kept["status"]);

    apply(&world, &[&pipeline(&world, 2, unattended(false))?]).await?;
    wait_desired(&world, 2).await?;
    ensure!(
        world.topic_partitions("api").await? == 1 && lifecycle_writes(&world).await? == 0,
        "through a closed window"
    );

    apply(&world, &[&pipeline(&world, 0, unattended(true))?]).await?;
    wait_condition(&world, DEMO, ("Ready", "True", "Running")).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    ensure!(world.topic_partitions("api").await? == 3 && document(&world).await?.contains("<Days>30</Days>"), "held");
    ensure!(kstatus(&world, KEPT.0, KEPT.1).await? == "Current", "{}", world.get_json(KEPT.0, KEPT.1).await?);
    Ok(())
}

#[tokio::test]
async fn a_deleted_policy_waits_for_no_window() -> Result<()> {
    let (world, _operator) = ground("window-delete").await?;
    let never = json!({"approval": "Never"});
    apply(&world, &[&pipeline(&world, 0, never.clone())?, &retention(30, never)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    patch(&world, DEMO, json!({"changePolicy": unattended(false)})).await?;
    // Other rules are held: it is the deletion that passes.
    patch(&world, KEPT, json!({"expiration": {"days": 60}})).await?;
    wait_condition(&world, KEPT, ("ChangesPending", "True", "WaitingForWindow")).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    ensure!(world.lifecycle(&world.bucket).await?.document.is_none(), "its rules stay");
    ensure!(world.objects("logs/service_name=api/").await?.len() == 1, "data stays");
    Ok(())
}

/// Id and words of every growth that a person is asked about.
async fn asked(world: &World, part: &str) -> Result<BTreeMap<String, String>> {
    let object = world.get_json(DEMO.0, DEMO.1).await?;
    let plans = object["status"][part]["pendingPlans"].as_array().cloned().unwrap_or_default();
    let text = |plan: &Value, key: &str| plan[key].as_str().unwrap_or_default().to_owned();
    Ok(plans.iter().map(|plan| (text(plan, "id"), text(plan, "summary"))).collect())
}

#[tokio::test]
async fn growths_wait_for_their_ids_which_stay_good_for_any_number_of_topics() -> Result<()> {
    let world = World::new(&Bed::attach()?, "growth-asks").await?;
    let names: Vec<String> = (0..25).map(|i| format!("t{i:02}")).collect();
    futures::future::try_join_all(names.iter().map(|name| world.create_topic(name, 1))).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let mut object = cluster(&world, "demo");
    object["spec"]["changePolicy"] = json!({"approval": "Always"});
    apply(&world, &[&object]).await?;
    let stalled = wait_condition(&world, DEMO, ("Stalled", "True", "ApprovalRequired")).await?;
    wait_condition(&world, DEMO, ("Ready", "False", "ApprovalRequired")).await?;
    let pending = wait_condition(&world, DEMO, ("ChangesPending", "True", "ApprovalRequired")).await?;
    ensure!(kstatus(&world, DEMO.0, DEMO.1).await? == "Failed", "{}", stalled["status"]);
    ensure!(pending["status"]["pendingChanges"] == 25, "{}", pending["status"]);
    let told = message(&pending, "ChangesPending")?;
    ensure!(
        told.starts_with("0 to add, 25 to change, 0 to remove; 0 destructive. 25 wait for approval: kp-"),
        "{told}"
    );
    let first = asked(&world, "kafka").await?;
    ensure!(first.len() == 10 && first.values().all(|words| words.ends_with(" 1 -> 3 partitions")), "{first:?}");

    // More is wanted by now: who is about to approve what was shown approves just that.
    patch(&world, DEMO, json!({"kafka": {"topics": {"defaultPartitions": 6}}})).await?;
    let pending = wait_condition(&world, DEMO, ("Stalled", "True", "ApprovalRequired")).await?;
    ensure!(asked(&world, "kafka").await? == first, "{:?}", asked(&world, "kafka").await?);
    paste(&world, &message(&pending, "Stalled")?).await?;
    let approved: Vec<String> = approved(&world).await?;
    ensure!(approved.len() == 4 && approved.iter().all(|id| first.contains_key(id)), "{approved:?} of {first:?}");
    let topics: Vec<&str> = approved.iter().filter_map(|id| first[id].split(' ').next()).collect();
    for topic in &topics {
        let grown = async || {
            let partitions = world.topic_partitions(topic).await?;
            ensure!(partitions == 3, "{topic} has {partitions}");
            Ok(())
        };
        world.wait_until(&format!("{topic} to be grown as approved"), PATIENCE, grown).await?;
    }
    let said = events(&world, "demo", "PartitionsIncreased").await?.join(" ");
    let once = |topic: &&str| said.matches(&format!("{topic} 1 -> 3")).count() <= 1;
    ensure!(topics.iter().all(once) && !said.contains("-> 6"), "{said}");

    // The next topics by name are asked about in their place, as they would have been at first. One that no status
    // remembers is still good.
    let shown = async || {
        let next = asked(&world, "kafka").await?;
        let (stay, new): (Vec<_>, Vec<_>) = next.iter().partition(|(id, _)| first.contains_key(*id));
        ensure!(stay.len() == 6 && new.len() == 4, "{next:?}");
        ensure!(new.iter().all(|(_, words)| words.ends_with(" 1 -> 3 partitions")), "{next:?}");
        Ok(())
    };
    world.wait_until("the next growths to be asked about", PATIENCE, shown).await?;
    let old = first.iter().find(|(id, _)| !approved.contains(id)).context("a plan that was not approved")?;
    let remove = r#"[{"op": "remove", "path": "/status/kafka"}]"#;
    world.kubectl(&["patch", "lwc", "demo", "--subresource=status", "--type", "json", "-p", remove]).await?;
    patch(&world, DEMO, json!({"changePolicy": {"approvedPlans": [old.0]}})).await?;
    let topic = old.1.split(' ').next().context("a topic")?.to_owned();
    let grown = async || {
        ensure!(world.topic_partitions(&topic).await? == 3, "not grown");
        Ok(())
    };
    world.wait_until("the growth that no status remembers", PATIENCE, grown).await
}

async fn approved(world: &World) -> Result<Vec<String>> {
    let object = world.get_json(DEMO.0, DEMO.1).await?;
    let ids = object["spec"]["changePolicy"]["approvedPlans"].as_array().cloned().unwrap_or_default();
    Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn under_always_a_raise_and_every_lifecycle_write_wait_for_their_ids() -> Result<()> {
    let (world, _operator) = ground("always").await?;
    let always = json!({"approval": "Always"});
    let mut object = pipeline(&world, 2, always.clone())?;
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    apply(&world, &[&object, &retention(30, json!({"approval": "Never"}))]).await?;
    let stalled = wait_condition(&world, DEMO, ("Stalled", "True", "ApprovalRequired")).await?;
    let raise = asked(&world, "spark").await?;
    ensure!(raise.values().eq(["desired capacity 1 -> 2"]) && raises(&world).await? == 0, "{raise:?}");

    // The stricter of both holds: the policy itself asks for no approval.
    let id = plan_id(&world, "default").await?;
    let kept = wait_condition(&world, KEPT, ("ChangesPending", "True", "ApprovalRequired")).await?;
    let told = message(&kept, "ChangesPending")?;
    ensure!(told.starts_with(&format!("1 to add, 0 to change, 0 to remove; 1 destructive. Plan {id} waits")), "{told}");
    ensure!(kstatus(&world, KEPT.0, KEPT.1).await? == "Failed" && lifecycle_writes(&world).await? == 0, "{told}");
    paste(&world, &told).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;

    // Longer loses nothing, and is asked about all the same; so is the removal of a rule.
    patch(&world, KEPT, json!({"expiration": {"days": 60}})).await?;
    let id = plan_id(&world, "default").await?;
    let kept = world.get_json(KEPT.0, KEPT.1).await?;
    ensure!(message(&kept, "Stalled")?.contains("would change rules"), "{}", kept["status"]);
    approve(&world, "default", &id).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    ensure!(document(&world).await?.contains("<Days>60</Days>"), "{}", document(&world).await?);
    patch(&world, KEPT, json!({"serviceSelector": {"matchNames": ["none"]}})).await?;
    let id = plan_id(&world, "default").await?;
    let kept = wait_condition(&world, KEPT, ("ChangesPending", "True", "ApprovalRequired")).await?;
    let told = message(&kept, "ChangesPending")?;
    ensure!(told.starts_with("0 to add, 0 to change, 1 to remove; 0 destructive"), "{told}");
    approve(&world, "default", &id).await?;
    wait_condition(&world, KEPT, ("ChangesPending", "False", "NothingPending")).await?;
    ensure!(world.lifecycle(&world.bucket).await?.document.is_none(), "{}", document(&world).await?);

    ensure!(raises(&world).await? == 0, "raised without approval");
    paste(&world, &message(&stalled, "Stalled")?).await?;
    wait_desired(&world, 2).await?;
    ensure!(raises(&world).await? == 1, "approved once, raised once");
    Ok(())
}

/// Generations that the three parts speak of.
fn spoken_of(object: &Value) -> Vec<&Value> {
    let kinds = ["KafkaReady", "SparkReady", "StorageReady", "ChangesPending"];
    kinds.iter().filter_map(|kind| condition(object, kind)).map(|found| &found["observedGeneration"]).collect()
}

/// All parts look, say what they see of the current generation, and change nothing.
async fn only_looks(world: &World, kafka: &TcpProxy, reason: &str, topic: &str) -> Result<()> {
    world.create_topic(topic, 1).await?;
    patch(world, DEMO, json!({"kafka": {"topics": {"maxPartitions": 20 + topic.len()}}})).await?;
    patch(world, KEPT, json!({"priority": topic.len()})).await?;
    let pending = wait_condition(world, DEMO, ("ChangesPending", "True", reason)).await?;
    let told = message(&pending, "ChangesPending")?;
    ensure!(told.contains("to change, 0 to remove; 0 destructive. Nothing is changed: set "), "{told}");
    world
        .wait_until("every part to have looked at this generation", PATIENCE, async || {
            let object = world.get_json(DEMO.0, DEMO.1).await?;
            let generation = &object["metadata"]["generation"];
            let spoken = spoken_of(&object);
            ensure!(spoken.len() == 4 && spoken.iter().all(|of| *of == generation), "{}", object["status"]);
            ensure!(object["status"]["observedGeneration"] == *generation, "{}", object["status"]);
            ensure!(object["status"]["kafka"]["topics"] == topic.len() + 1, "{}", object["status"]["kafka"]);
            ensure!(object["status"]["storage"]["services"] == 1, "{}", object["status"]["storage"]);
            Ok(())
        })
        .await?;
    let kept = wait_condition(world, KEPT, ("ChangesPending", "True", "ObserveOnly")).await?;
    ensure!(kept["status"]["observedGeneration"] == kept["metadata"]["generation"], "{}", kept["status"]);
    ensure!(kstatus(world, KEPT.0, KEPT.1).await? == "Current", "{}", kept["status"]);
    ensure!(raises(world).await? == 0 && lifecycle_writes(world).await? == 0, "something was changed");
    let calls = [world.calls(&world.group, true).await?, world.calls(&world.bucket, true).await?].concat();
    let ours = calls.iter().filter(|call| call.action != "PutObject" && call.action != "CreateBucket");
    ensure!(ours.clone().count() == 0, "something was changed: {:?}", ours.collect::<Vec<_>>());
    ensure!(kafka_writes(kafka) == 0, "Kafka was asked to change something: {:?}", kafka.requests());
    ensure!(world.topic_partitions("api").await? == 1 && world.topic_partitions(topic).await? == 1, "a topic grew");
    Ok(())
}

#[tokio::test]
async fn observe_and_suspend_change_nothing_and_go_on_looking() -> Result<()> {
    let (world, _operator) = ground("only-looks").await?;
    let never = json!({"approval": "Never"});
    let observe = json!({"approval": "Never", "mode": "Observe"});
    let (mut demo, kafka) = (pipeline(&world, 2, observe)?, world.kafka_proxy().await?);
    demo["spec"]["kafka"]["bootstrapServers"] = json!([kafka.address]);
    apply(&world, &[&demo, &retention(30, never.clone())]).await?;
    only_looks(&world, &kafka, "ObserveOnly", "b").await?;
    patch(&world, DEMO, json!({"suspend": true, "changePolicy": {"mode": "Apply"}})).await?;
    only_looks(&world, &kafka, "SuspendedByUser", "cc").await?;
    patch(&world, DEMO, json!({"suspend": false})).await?;
    wait_desired(&world, 2).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    ensure!(raises(&world).await? == 1 && lifecycle_writes(&world).await? == 1, "each once");
    let grown = async || {
        ensure!(kafka_writes(&kafka) > 0, "no growth was seen: {:?}", kafka.requests());
        Ok(())
    };
    world.wait_until("growth, which this count shows", PATIENCE, grown).await
}

#[tokio::test]
async fn a_rule_that_somebody_changed_is_restored_with_one_event() -> Result<()> {
    let (world, _operator) = ground("drift-apply").await?;
    let never = json!({"approval": "Never"});
    apply(&world, &[&pipeline(&world, 0, never.clone())?, &retention(30, never)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, KEPT, ("Drifted", "False", "InSync")).await?;
    ensure!(events(&world, "default", "LifecycleRuleDrifted").await?.is_empty(), "our own write is no drift");
    change_rule(&world, 30, 5).await?;
    world
        .wait_until("the rule to be restored and told of", PATIENCE, async || {
            ensure!(document(&world).await?.contains("<Days>30</Days>"), "{}", document(&world).await?);
            let told = events(&world, "default", "LifecycleRuleDrifted").await?;
            ensure!(told.len() == 1, "{told:?}");
            ensure!(told[0].contains("expiration.days 30 -> 5") && told[0].ends_with("; restored"), "{told:?}");
            Ok(())
        })
        .await?;
    wait_condition(&world, KEPT, ("Drifted", "False", "InSync")).await?;
    wait_condition(&world, DEMO, ("Drifted", "False", "InSync")).await?;
    ensure!(lifecycle_writes(&world).await? == 2, "written once, restored once");
    Ok(())
}

#[tokio::test]
async fn under_observe_what_somebody_changed_is_told_and_left_alone() -> Result<()> {
    let (world, operator) = ground("drift-observe").await?;
    let never = json!({"approval": "Never"});
    apply(&world, &[&pipeline(&world, 0, never.clone())?, &retention(30, never)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    patch(&world, DEMO, json!({"changePolicy": {"mode": "Observe"}})).await?;
    wait_condition(&world, KEPT, ("Drifted", "False", "InSync")).await?;
    change_rule(&world, 30, 5).await?;
    let kept = wait_condition(&world, KEPT, ("Drifted", "True", "LifecycleRuleChanged")).await?;
    let told = message(&kept, "Drifted")?;
    ensure!(told.contains("(logs/service_name=api/): expiration.days 30 -> 5. It stays so: set "), "{told}");
    wait_condition(&world, DEMO, ("Drifted", "True", "LifecycleRuleChanged")).await?;
    let versions = async || -> Result<[Value; 2]> {
        let (kept, demo) = futures::try_join!(world.get_json(KEPT.0, KEPT.1), world.get_json(DEMO.0, DEMO.1))?;
        Ok([kept["metadata"]["resourceVersion"].clone(), demo["metadata"]["resourceVersion"].clone()])
    };
    let (before, looks) = (versions().await?, looks(&operator).await?);
    world
        .wait_until("three more looks at the bucket", PATIENCE, async || {
            ensure!(self::looks(&operator).await? > looks + 3, "{looks}");
            Ok(())
        })
        .await?;
    ensure!(versions().await? == before, "a status is written while nothing changes");
    ensure!(events(&world, "default", "LifecycleRuleDrifted").await?.len() == 1, "told more than once");
    ensure!(document(&world).await?.contains("<Days>5</Days>") && lifecycle_writes(&world).await? == 1, "touched");
    patch(&world, DEMO, json!({"changePolicy": {"mode": "Apply"}})).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, KEPT, ("Drifted", "False", "InSync")).await?;
    wait_condition(&world, DEMO, ("Drifted", "False", "InSync")).await?;
    ensure!(document(&world).await?.contains("<Days>30</Days>"), "{}", document(&world).await?);
    Ok(())
}

async fn looks(operator: &Operator) -> Result<u64> {
    let metrics = operator.metrics().await?;
    let lines = metrics.lines().filter(|line| line.starts_with("logwise_operator_reconcile_total{part=\"storage\""));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

#[tokio::test]
async fn a_desired_capacity_that_somebody_lowered_is_told_and_under_apply_raised_again() -> Result<()> {
    let (world, _operator) = ground("drift-group").await?;
    let stand_in = world.bed.stand_in();
    let set = async |desired: &str| {
        stand_in.administer(&world.group, "SetDesiredCapacity", &[("DesiredCapacity", desired)]).await
    };
    set("2").await?;
    let observe = json!({"approval": "Never", "mode": "Observe"});
    apply(&world, &[&pipeline(&world, 2, observe)?]).await?;
    wait_condition(&world, DEMO, ("Drifted", "False", "InSync")).await?;
    let settled = async || {
        let object = world.get_json(DEMO.0, DEMO.1).await?;
        ensure!(object["status"]["spark"]["workers"]["desiredReplicas"] == 2, "{}", object["status"]["spark"]);
        Ok(())
    };
    world.wait_until("the group to be seen", PATIENCE, settled).await?;
    set("1").await?;
    let object = wait_condition(&world, DEMO, ("Drifted", "True", "ScalingGroupChanged")).await?;
    let told = message(&object, "Drifted")?;
    ensure!(told.contains(&format!("desired capacity of Auto Scaling group {} 2 -> 1", world.group)), "{told}");
    let by_us = async || -> Result<usize> { Ok(raises(&world).await? - 2) };
    ensure!(by_us().await? == 0 && world.group(&world.group).await?.desired == 1, "touched under Observe");
    patch(&world, DEMO, json!({"changePolicy": {"mode": "Apply"}})).await?;
    wait_desired(&world, 2).await?;
    wait_condition(&world, DEMO, ("Drifted", "False", "InSync")).await?;
    ensure!(by_us().await? == 1, "raised once");
    Ok(())
}
