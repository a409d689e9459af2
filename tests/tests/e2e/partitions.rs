//! Topics grow by load, as far and as fast as the spec allows, and say why not.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::end_state::topics;
use logwise_testbed::oracles::quiet::kafka_writes;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, condition, events, looks_at, more_looks, wait_condition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A pipeline without a bucket that grows topics; `scaling` on top of the shortest times there are.
pub(crate) fn pipeline(world: &World, name: &str, scaling: Value) -> Result<Value> {
    let mut object = cluster(world, name);
    let spec = object["spec"].as_object_mut().context("a spec")?;
    spec.remove("storage");
    let mut all = json!({"mode": "Automatic", "targetRecordsPerSecondPerPartition": 10, "windowSeconds": 10, "cooldownSeconds": 3});
    for (key, value) in scaling.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    object["spec"]["kafka"]["partitionScaling"] = all;
    Ok(object)
}

/// An operator that looks at Kafka so often and keeps its records in the world's schema; ready.
pub(crate) async fn operator(world: &World, kafka_seconds: u32) -> Result<Operator> {
    operator_with(world, kafka_seconds, Options::default()).await
}

/// [`operator`], with everything of `options` but its configuration.
pub(crate) async fn operator_with(world: &World, kafka_seconds: u32, options: Options) -> Result<Operator> {
    let database = world.create_schema().await?;
    let config = json!({"intervals": {"kafkaSeconds": kafka_seconds}, "database": {"url": database}});
    let mut operator = Operator::start(world, Options { config, ..options }).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// Some hundred records per second, far over the target, until dropped.
pub(crate) fn busy(world: &Arc<World>, topics: &[(&'static str, bool)]) -> JoinSet<Result<()>> {
    let mut producers = JoinSet::new();
    for (topic, keyed) in topics.iter().copied() {
        let world = world.clone();
        producers.spawn(async move {
            loop {
                world.produce(topic, 60, keyed).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    producers
}

fn held<'a>(object: &'a Value, topic: &str) -> Option<&'a Value> {
    object["status"]["kafka"]["heldTopics"].as_array()?.iter().find(|held| held["name"] == topic)
}

/// Waits until the topic is held for this reason and returns the entry.
pub(crate) async fn wait_held(world: &World, name: &str, topic: &str, reason: &str) -> Result<Value> {
    let topic = world.topic(topic);
    world
        .wait_until(&format!("{topic} to be held: {reason}"), PATIENCE, async || {
            let object = world.get_json("lwc", name).await?;
            let held = held(&object, &topic).with_context(|| format!("not held: {}", object["status"]["kafka"]))?;
            ensure!(held["reason"] == reason, "{held}");
            Ok(held.clone())
        })
        .await
}

async fn wait_partitions(world: &World, topic: &str, wanted: u32) -> Result<()> {
    world
        .wait_until(&format!("{topic} to have {wanted} partitions"), PATIENCE, async || {
            let now = world.topic_partitions(topic).await?;
            ensure!(now == wanted, "{topic} has {now}");
            Ok(())
        })
        .await
}

/// Seconds between two growths of a topic: more than a look and a growth take.
const COOLDOWN: i64 = 10;

/// Seconds that the event of a growth may come later than its end.
const NOTED: i64 = 2;

/// When `demo` has grown something, oldest first.
async fn growth_times(world: &World) -> Result<Vec<Timestamp>> {
    let all = world.list("event", "reason=PartitionsIncreased").await?;
    let mut times: Vec<Timestamp> = Vec::new();
    for event in all.iter().filter(|event| event["regarding"]["name"] == "demo") {
        times.push(event["eventTime"].as_str().context("an event without a time")?.parse()?);
    }
    times.sort_unstable();
    Ok(times)
}

#[tokio::test]
async fn a_busy_topic_grows_step_by_step_to_its_maximum_and_a_keyed_one_says_why_not() -> Result<()> {
    let world = Arc::new(World::new(&Bed::attach()?, "grow-load").await?);
    futures::try_join!(world.create_topic("busy", 3), world.create_topic("keyed", 3), world.create_topic("idle", 3))?;
    let _operator = operator(&world, 1).await?;
    let _producers = busy(&world, &[("busy", false), ("keyed", true)]);
    apply(&world, &[&pipeline(&world, "demo", json!({"cooldownSeconds": COOLDOWN}))?]).await?;
    let maximum = wait_held(&world, "demo", "busy", "Maximum").await?;
    ensure!(maximum["partitions"] == 12 && maximum["recordsPerSecond"].as_i64() > Some(120), "{maximum}");
    ensure!(
        maximum["message"].as_str().is_some_and(|text| text.contains("`maxPartitions` does not allow")),
        "{maximum}"
    );
    let grown = events(&world, "demo", "PartitionsIncreased").await?;
    ensure!(grown.len() == 2, "{grown:?}");
    let busy = world.topic("busy");
    for step in [format!("{busy} 3 -> 6 ("), format!("{busy} 6 -> 12 (")] {
        ensure!(grown.iter().any(|note| note.starts_with(&step)), "no {step} in {grown:?}");
    }
    // How far the query has read is not known: what it would take to catch up is left out, and that is said.
    let parts = [" records/s at 10 a partition; ", "lag not known; ", "; at least 3; ", " wanted; "];
    ensure!(grown.iter().all(|note| parts.iter().all(|part| note.contains(part))), "{grown:?}");
    let times = growth_times(&world).await?;
    let apart = times.windows(2).all(|pair| pair[1].duration_since(pair[0]).as_secs() + NOTED >= COOLDOWN);
    ensure!(times.len() == 2 && apart, "grew at {times:?}");
    ensure!(world.topic_partitions("busy").await? == 12 && world.topic_partitions("idle").await? == 3, "not as wanted");
    let keyed = wait_held(&world, "demo", "keyed", "KeyedRecords").await?;
    ensure!(keyed["partitions"] == 3 && keyed["wantedPartitions"] == 6, "{keyed}");
    ensure!(world.topic_partitions("keyed").await? == 3, "a topic with keys grew");
    let object = wait_condition(&world, ("lwc", "demo"), ("PartitionsLimited", "True", "PartitionCeiling")).await?;
    let message = condition(&object, "PartitionsLimited").and_then(|c| c["message"].as_str()).unwrap_or_default();
    ensure!(message.contains(&busy), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    Ok(())
}

/// With looks so far apart that it cannot have seen enough itself.
#[tokio::test]
async fn a_new_process_knows_the_rate_from_the_database() -> Result<()> {
    let world = Arc::new(World::new(&Bed::attach()?, "grow-restart").await?);
    world.create_topic("busy", 3).await?;
    let mut first = operator(&world, 2).await?;
    let _producers = busy(&world, &[("busy", false)]);
    let recommend = json!({"mode": "Recommend", "windowSeconds": 600});
    apply(&world, &[&pipeline(&world, "demo", recommend)?]).await?;
    let held = wait_held(&world, "demo", "busy", "RecommendOnly").await?;
    ensure!(held["wantedPartitions"] == 6, "{held}");
    ensure!(first.stop().await? == 0, "did not end cleanly");
    let second = operator(&world, 15).await?;
    let patch = json!({"spec": {"kafka": {"partitionScaling": {"maxStepFactor": 3}}}}).to_string();
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", &patch]).await?;
    world
        .wait_until("the second process to know the rate", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            let held = self::held(&object, &world.topic("busy")).context("not held")?;
            ensure!(held["wantedPartitions"] == 9, "{held}");
            Ok(())
        })
        .await?;
    let looks = looks_at(&second, "kafka").await?;
    ensure!(looks < 5, "after {looks} looks it could have known by itself");
    ensure!(world.topic_partitions("busy").await? == 3, "a topic grew under Recommend");
    Ok(())
}

#[tokio::test]
async fn the_budget_of_a_day_outlives_the_process_and_the_database() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grow-budget").await?;
    futures::try_join!(world.create_topic("a", 1), world.create_topic("b", 1))?;
    let first = operator(&world, 1).await?;
    apply(&world, &[&pipeline(&world, "demo", json!({"maxNewPartitionsPerDay": 2}))?]).await?;
    wait_partitions(&world, "a", 3).await?;
    let held = wait_held(&world, "demo", "b", "DailyBudget").await?;
    ensure!(held["message"].as_str().is_some_and(|text| text.starts_with("2 of 2 new partitions")), "{held}");
    drop(first);
    world.query(&format!("DROP DATABASE `{}`", world.schema)).await?;
    let second = operator(&world, 1).await?;
    world.create_topic("aa", 1).await?;
    wait_held(&world, "demo", "aa", "DailyBudget").await?;
    ensure!(
        world.topic_partitions("aa").await? == 1 && world.topic_partitions("b").await? == 1,
        "the budget was passed"
    );
    let patch = json!({"spec": {"kafka": {"partitionScaling": {"maxNewPartitionsPerDay": 4}}}}).to_string();
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", &patch]).await?;
    wait_partitions(&world, "aa", 3).await?;
    wait_held(&world, "demo", "b", "DailyBudget").await?;
    drop(second);
    Ok(())
}

/// Each of the two has topics of its own, and one of them may add a hundred partitions a day.
#[tokio::test]
async fn the_smaller_of_two_budgets_holds_for_both() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grow-budgets").await?;
    futures::try_join!(world.create_topic("small", 1), world.create_topic("large", 1))?;
    let of = |name: &str, floor: i32, budget: i32| -> Result<Value> {
        let mut object = pipeline(&world, name, json!({"maxNewPartitionsPerDay": budget}))?;
        let topics = json!({"namePrefix": world.topic(name), "defaultPartitions": floor, "maxPartitions": 12});
        object["spec"]["kafka"]["topics"] = topics;
        Ok(object)
    };
    // Both are there before anybody looks: which is looked at first does not matter.
    apply(&world, &[&of("small", 3, 2)?, &of("large", 5, 100)?]).await?;
    let operator = operator(&world, 1).await?;
    let held = async |used: &str| {
        let held = wait_held(&world, "large", "large", "DailyBudget").await?;
        ensure!(held["message"].as_str().is_some_and(|text| text.starts_with(used)), "{held}");
        Ok(())
    };
    world.wait_until("the budget to be used up", PATIENCE, async || held("2 of 2 new partitions").await).await?;
    more_looks(&world, &operator, "kafka", 4).await?;
    let counted = async |small: usize, large: usize| {
        let found = topics(&world).await?;
        let wanted = [("small", small), ("large", large)].map(|(name, count)| (world.topic(name), count));
        ensure!(found == BTreeMap::from(wanted), "{found:?}");
        Ok(())
    };
    counted(3, 1).await?;
    held("2 of 2 new partitions").await?;
    apply(&world, &[&of("small", 3, 100)?]).await?;
    world.wait_until("the other budget to count", PATIENCE, async || counted(3, 5).await).await
}

#[tokio::test]
async fn a_topic_belongs_to_the_older_object_and_the_younger_sends_nothing() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grow-claim").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("web", 1))?;
    let _operator = operator(&world, 1).await?;
    let mut older = pipeline(&world, "older", json!({}))?;
    older["spec"]["kafka"]["topics"]["namePrefix"] = json!(world.topic("api"));
    apply(&world, &[&older]).await?;
    wait_partitions(&world, "api", 3).await?;
    // Kubernetes tells ages by the second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let proxy = world.kafka_proxy().await?;
    let mut younger = pipeline(&world, "younger", json!({}))?;
    younger["spec"]["kafka"]["bootstrapServers"] = json!([proxy.address]);
    younger["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(6);
    let mut own = younger.clone();
    own["spec"]["kafka"]["topics"]["namePrefix"] = json!(world.topic("api"));
    apply(&world, &[&own]).await?;
    let held = wait_held(&world, "younger", "api", "Conflicted").await?;
    ensure!(held["message"].as_str().is_some_and(|text| text.contains("/older")), "{held}");
    wait_condition(&world, ("lwc", "younger"), ("PartitionsLimited", "True", "Conflicted")).await?;
    ensure!(kafka_writes(&proxy) == 0, "the younger one asked for a change: {:?}", proxy.requests());
    apply(&world, &[&younger]).await?;
    wait_partitions(&world, "web", 6).await?;
    ensure!(world.topic_partitions("api").await? == 3, "a topic of the older one grew");
    Ok(())
}

/// The first record is hours old by its own time; what is read of it is its age against the retention of its topic.
#[tokio::test]
async fn the_share_of_the_retention_that_is_left_is_measured_by_the_oldest_record() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grow-headroom").await?;
    let topic = world.create_topic("old", 1).await?;
    world.produce_at("old", Duration::from_secs(3 * 24 * 3_600 + 12 * 3_600)).await?;
    world.produce("old", 5, false).await?;
    let operator = operator(&world, 1).await?;
    apply(&world, &[&pipeline(&world, "demo", json!({"mode": "Disabled"}))?]).await?;
    let of = format!("logwise_kafka_retention_headroom_ratio{{namespace=\"{}\",cluster=\"demo\"}} ", world.namespace);
    let ratio = async || {
        let metrics = operator.metrics().await?;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(&of)).with_context(|| format!("no ratio of {topic}"))?;
        Ok(line.parse::<f64>()?)
    };
    let ratio = world.wait_until("the headroom to be known", PATIENCE, ratio).await?;
    // Seven days are Kafka's own retention.
    ensure!((0.49..0.51).contains(&ratio), "{ratio}");
    Ok(())
}

#[tokio::test]
async fn what_the_cluster_should_be_like_is_told_and_not_changed() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grow-expect").await?;
    world.create_topic("api", 3).await?;
    let _operator = operator(&world, 1).await?;
    let mut object = pipeline(&world, "demo", json!({}))?;
    for (expected, reason, text) in [
        (json!({"brokers": 3}), "BrokersMissing", "1 of 3 brokers are up"),
        (json!({"brokers": 1, "replicationFactor": 2}), "ReplicationBelowTarget", "has 1 replicas"),
        (json!({"minInSyncReplicas": 2}), "ReplicationBelowTarget", "has min.insync.replicas 1"),
    ] {
        object["spec"]["kafka"]["expected"] = expected;
        apply(&world, &[&object]).await?;
        let told = wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", reason)).await?;
        let message = condition(&told, "KafkaReady").and_then(|c| c["message"].as_str()).unwrap_or_default();
        ensure!(message.contains(text), "{message}");
    }
    object["spec"]["kafka"]["expected"] = json!({"brokers": 1, "replicationFactor": 1, "minInSyncReplicas": 1});
    apply(&world, &[&object]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    Ok(())
}
