//! Kafka clusters of their own: several brokers, faults of theirs, quotas, encryption and logins.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::{Quiet, looks};
use logwise_testbed::oracles::secrets::Canaries;
use logwise_testbed::proxy::tcp::TcpProxy;
use logwise_testbed::world::World;
use logwise_tests::{
    PATIENCE, apply, cluster, condition, is_proving, turn_to_prove, wait_condition, wait_condition_within, write_secret,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

/// How long a frozen broker stands still: longer than many time-outs.
const FROZEN: (u64, u64) = (12, 60);

/// How soon after it moves again a frozen broker is read.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How soon a set-up that cannot work is told.
const TOLD: Duration = Duration::from_secs(30);

/// A pipeline without a bucket over the topics of `brokers` that begin with `logs.`.
pub(crate) fn pipeline(world: &World, name: &str, bootstrap: &str) -> Result<Value> {
    let mut object = cluster(world, name);
    object["spec"].as_object_mut().context("a spec")?.remove("storage");
    object["spec"]["kafka"]["bootstrapServers"] = json!(bootstrap.split(',').collect::<Vec<_>>());
    object["spec"]["kafka"]["topics"] = json!({"namePrefix": "logs.", "defaultPartitions": 3, "maxPartitions": 12});
    Ok(object)
}

async fn operator(world: &World) -> Result<Operator> {
    let mut operator = Operator::start(world, Options::config(json!({"intervals": {"kafkaSeconds": 2}}))).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// Wants so many partitions for each topic of pipeline `demo`.
pub(crate) async fn set_floor(world: &World, floor: i32) -> Result<()> {
    let patch = json!({"spec": {"kafka": {"topics": {"defaultPartitions": floor}}}}).to_string();
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", &patch]).await.map(drop)
}

pub(crate) async fn wait_partitions(world: &World, brokers: &Brokers, topic: &str, wanted: u32) -> Result<()> {
    let look = async || {
        let now = brokers.partitions(topic).await?;
        ensure!(now == wanted, "{topic} has {now}");
        Ok(())
    };
    world.wait_until(&format!("{topic} to have {wanted} partitions"), PATIENCE, look).await
}

#[tokio::test]
async fn a_topic_with_replicas_out_of_sync_grows_when_its_broker_is_back() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-three").await?;
    let brokers = Brokers::start(&bed, "three", Setup { count: 3, ..Setup::default() }).await?;
    brokers.create_topic("logs.api", 3, 3).await?;
    let _operator = operator(&world).await?;
    let mut object = pipeline(&world, "demo", &brokers.bootstrap())?;
    object["spec"]["kafka"]["expected"] = json!({"brokers": 3, "replicationFactor": 3, "minInSyncReplicas": 2});
    apply(&world, &[&object]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    brokers.kill(2).await?;
    let sick = wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", "UnderReplicated")).await?;
    let message = condition(&sick, "KafkaReady").and_then(|c| c["message"].as_str()).unwrap_or_default();
    ensure!(message.contains("logs.api"), "{message}");
    set_floor(&world, 6).await?;
    let held = wait_condition(&world, ("lwc", "demo"), ("PartitionsLimited", "True", "UnderReplicated")).await?;
    ensure!(held["status"]["kafka"]["heldTopics"][0]["reason"] == "Unhealthy", "{}", held["status"]["kafka"]);
    ensure!(brokers.partitions("logs.api").await? == 3, "an unhealthy topic grew");
    brokers.start_again(2).await?;
    wait_partitions(&world, &brokers, "logs.api", 6).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    let witness = brokers.describe("logs.api").await?;
    ensure!((witness.partitions, witness.replication_factor) == (6, 3), "{witness:?}");
    Ok(())
}

/// The other cluster is served all the while, and the first look after the thaw works.
#[tokio::test]
async fn a_frozen_broker_delays_nobody_else_and_is_read_again_after_the_thaw() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-frozen").await?;
    let brokers = Brokers::start(&bed, "frozen", Setup::default()).await?;
    brokers.create_topic("logs.api", 3, 1).await?;
    world.create_topic("other", 1).await?;
    let _operator = operator(&world).await?;
    apply(&world, &[&pipeline(&world, "demo", &brokers.bootstrap())?]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    brokers.pause(1).await?;
    let frozen = Instant::now();
    let gone = wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", "BrokerUnreachable")).await?;
    ensure!(
        gone["status"]["kafka"]["topics"].is_null(),
        "what could not be read is not shown: {}",
        gone["status"]["kafka"]
    );
    let mut other = cluster(&world, "other");
    other["spec"].as_object_mut().context("a spec")?.remove("storage");
    apply(&world, &[&other]).await?;
    wait_condition(&world, ("lwc", "other"), ("Ready", "True", "Running")).await?;
    ensure!(world.topic_partitions("other").await? == 3, "the other cluster was not served");
    let pause = Duration::from_secs(if is_proving() { FROZEN.1 } else { FROZEN.0 });
    tokio::time::sleep(pause.saturating_sub(frozen.elapsed())).await;
    brokers.resume(1).await?;
    wait_condition_within(&world, READ_AGAIN, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    set_floor(&world, 4).await?;
    wait_partitions(&world, &brokers, "logs.api", 4).await
}

#[tokio::test]
async fn fifty_topics_grow_under_a_quota_each_once_and_without_a_storm() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-quota").await?;
    let brokers = Brokers::start(&bed, "quota", Setup::default()).await?;
    let topics: Vec<(String, i32)> = (0..50).map(|number| (format!("logs.t{number:02}"), 1)).collect();
    brokers.create_topics(&topics, 1).await?;
    brokers.set_mutation_quota(10.0).await?;
    let operator = operator(&world).await?;
    apply(&world, &[&pipeline(&world, "demo", &brokers.bootstrap())?]).await?;
    for (topic, _) in &topics {
        wait_partitions(&world, &brokers, topic, 3).await?;
    }
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    let metrics = operator.metrics().await?;
    let of =
        format!("logwise_kafka_partition_increases_total{{namespace=\"{}\",cluster=\"demo\"}} 50", world.namespace);
    ensure!(
        metrics.contains(&of),
        "not each once: {}",
        metrics.lines().filter(|line| line.contains("increases")).collect::<String>()
    );
    let errors = operator.log()?.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")).count();
    ensure!(errors <= 5, "{errors} warnings and errors");
    Ok(())
}

/// Kinds of Kafka requests.
const METADATA: i16 = 3;
const LIST_OFFSETS: i16 = 2;

/// Topics in `make prove`.
const MANY: usize = 10_000;

/// What was asked of the broker, and how often the operator looked.
async fn asked(operator: &Operator, proxy: &TcpProxy) -> Result<(u64, BTreeMap<i16, u64>)> {
    Ok((looks(&operator.metrics().await?).get("kafka").copied().unwrap_or_default(), proxy.requests()))
}

/// In `make prove` only: making the topics takes minutes.
#[tokio::test]
async fn ten_thousand_topics_cost_one_request_for_all_and_one_per_broker() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-many").await?;
    let brokers = Brokers::start(&bed, "many", Setup::default()).await?;
    let topics: Vec<(String, i32)> = (0..MANY).map(|number| (format!("logs.service-{number:05}"), 1)).collect();
    brokers.create_topics(&topics, 1).await?;
    let proxy = TcpProxy::broker(&brokers.bootstrap()).await?;
    let mut object = pipeline(&world, "demo", &proxy.address)?;
    object["spec"]["kafka"]["partitionScaling"] = json!({"mode": "Recommend"});
    let operator = operator(&world).await?;
    apply(&world, &[&object]).await?;
    let many = i64::try_from(MANY)?;
    let all = async || {
        let object = world.get_json("lwc", "demo").await?;
        let kafka = &object["status"]["kafka"];
        ensure!(kafka["topics"] == many && kafka["limitedTopics"] == many, "{kafka}");
        Ok(object)
    };
    let object = world.wait_until("all topics to be read", PATIENCE * 2, all).await?;
    let size = object["status"]["kafka"].to_string().len();
    ensure!(size < 8_192, "status.kafka has {size} bytes");
    // Closer looks at a thousand topics each go on for some looks.
    let (mut before, steady) = (asked(&operator, &proxy).await?, async |before: &mut (u64, BTreeMap<i16, u64>)| {
        let begin = std::mem::replace(before, asked(&operator, &proxy).await?);
        ensure!(before.0 >= begin.0 + 5, "not five looks since");
        let since = |kind: i16| before.1.get(&kind).copied().unwrap_or(0) - begin.1.get(&kind).copied().unwrap_or(0);
        let (looked, all): (u64, u64) =
            (before.0 - begin.0, before.1.values().sum::<u64>() - begin.1.values().sum::<u64>());
        // One look may be under way at either end.
        let near = |number: u64| number.abs_diff(looked) <= 1;
        ensure!(
            near(since(METADATA)) && near(since(LIST_OFFSETS)) && all.abs_diff(2 * looked) <= 2,
            "{looked} looks: {begin:?}, {before:?}"
        );
        Ok((looked, since(METADATA), since(LIST_OFFSETS)))
    });
    let deadline = Instant::now() + PATIENCE * 3;
    let counted = loop {
        tokio::time::sleep(Duration::from_secs(20)).await;
        match steady(&mut before).await {
            Ok(counted) => break counted,
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
    };
    let quiet = Quiet::begin(&world, Some(&proxy)).await?;
    quiet.for_looks(&operator, &["kafka"], 5, PATIENCE).await?;
    let process = std::fs::read_to_string(format!("/proc/{}/status", operator.pid()))?;
    let memory: Vec<&str> =
        process.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")).collect();
    writeln!(
        std::io::stdout(),
        "{MANY} topics: looks, Metadata, ListOffsets {counted:?}; status.kafka {size} bytes; {memory:?} (debug build)"
    )?;
    Ok(())
}

/// Reason and message of `KafkaReady` once it is False.
pub(crate) async fn refusal(world: &World, name: &str, within: Duration) -> Result<String> {
    world
        .wait_until(&format!("{name} to be refused"), within, async || {
            let object = world.get_json("lwc", name).await?;
            let ready = condition(&object, "KafkaReady").context("no KafkaReady yet")?;
            ensure!(ready["status"] == "False", "{ready}");
            Ok(format!(
                "{}: {}",
                ready["reason"].as_str().unwrap_or_default(),
                ready["message"].as_str().unwrap_or_default()
            ))
        })
        .await
}

#[tokio::test]
async fn logins_over_tls_work_and_five_wrong_setups_are_told_apart() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-secure").await?;
    let brokers = Brokers::start(&bed, "secure", Setup { secure: true, ..Setup::default() }).await?;
    brokers.create_topic("logs.api", 1, 1).await?;
    install::tenant(&bed, &world.namespace, &["kafka", "wrong", "ca", "other-ca", "client"]).await?;
    write_secret(&world, "kafka", &json!({"username": brokers.user(), "password": brokers.password()})).await?;
    write_secret(&world, "wrong", &json!({"username": brokers.user(), "password": "canary-wrong-password-31"})).await?;
    write_secret(&world, "ca", &json!({"ca.crt": brokers.ca()?})).await?;
    let (certificate, key) = brokers.client_certificate()?;
    write_secret(&world, "client", &json!({"tls.crt": certificate, "tls.key": key})).await?;
    // The authority of another cluster has signed nothing here.
    let path = "jsonpath={.clusters[0].cluster.certificate-authority}";
    let other = std::fs::read_to_string(bed.kubectl(&["config", "view", "--raw", "-o", path], None).await?)?;
    write_secret(&world, "other-ca", &json!({"ca.crt": other})).await?;
    let operator = operator(&world).await?;
    let secure = |name: &str, bootstrap: &str, ca: &str, login: Option<(&str, &str)>| -> Result<Value> {
        let mut object = pipeline(&world, name, bootstrap)?;
        object["spec"]["kafka"]["tls"] = json!({"caSecretRef": {"name": ca}});
        if let Some((kind, secret)) = login {
            object["spec"]["kafka"]["authentication"] = json!({"type": kind, "secretRef": {"name": secret}});
        }
        Ok(object)
    };
    let at = brokers.secure_bootstrap()?;
    for kind in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let name = kind.to_lowercase();
        apply(&world, &[&secure(&name, &at, "ca", Some((kind, "kafka")))?]).await?;
        wait_condition(&world, ("lwc", &name), ("KafkaReady", "True", "Available")).await?;
    }
    let mut mutual = secure("mutual", &brokers.tls_bootstrap()?, "ca", None)?;
    mutual["spec"]["kafka"]["tls"]["clientSecretRef"] = json!({"name": "client"});
    apply(&world, &[&mutual]).await?;
    wait_condition(&world, ("lwc", "mutual"), ("KafkaReady", "True", "Available")).await?;
    ensure!(brokers.partitions("logs.api").await? == 3, "the topic did not grow");

    let host = at.split(':').next().unwrap_or_default();
    let scram = Some(("SCRAM-SHA-512", "kafka"));
    let stand_in = bed.aws.endpoint.replace("http://", "");
    let wrong = [
        ("password", secure("password", &at, "ca", Some(("SCRAM-SHA-512", "wrong")))?, "PermissionDenied"),
        ("authority", secure("authority", &at, "other-ca", scram)?, "PermissionDenied"),
        ("host", secure("host", "no-such-host.invalid:9093", "ca", scram)?, "BrokerUnreachable"),
        ("port", secure("port", &format!("{host}:1"), "ca", scram)?, "BrokerUnreachable"),
        ("no-kafka", secure("no-kafka", &stand_in, "ca", scram)?, "PermissionDenied"),
    ];
    let objects: Vec<&Value> = wrong.iter().map(|(_, object, _)| object).collect();
    apply(&world, &objects).await?;
    let told = try_join_all(wrong.iter().map(|(name, ..)| refusal(&world, name, TOLD))).await?;
    let mut messages = BTreeSet::new();
    for ((name, _, reason), told) in wrong.iter().zip(told) {
        ensure!(told.starts_with(reason), "{name}: {told}");
        messages.insert(told.split_once(": ").map_or(told.clone(), |(_, text)| text.to_owned()));
    }
    ensure!(messages.len() == wrong.len(), "told alike: {messages:#?}");
    wait_condition(&world, ("lwc", "plain"), ("KafkaReady", "True", "Available")).await?;

    write_secret(&world, "wrong", &json!({"username": brokers.user(), "password": brokers.password()})).await?;
    wait_condition(&world, ("lwc", "password"), ("KafkaReady", "True", "Available")).await?;
    let canaries = [brokers.password(), "canary-wrong-password-31"];
    Canaries::new(&canaries)?.nowhere(&world, &[&operator]).await
}
