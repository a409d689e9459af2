//! Kafka clusters of their own: several brokers, faults of theirs, quotas, encryption and logins.

use crate::partitions;
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::end_state;
use logwise_testbed::oracles::quiet::Quiet;
use logwise_testbed::oracles::secrets::Canaries;
use logwise_testbed::proxy::tcp::{LIST_OFFSETS, METADATA, TcpProxy};
use logwise_testbed::world::World;
use logwise_tests::{
    PATIENCE, apply, cluster, condition, is_proving, looks_at, turn_to_prove, wait_condition, wait_condition_within,
    write_secret,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long a frozen broker stands still: longer than many time-outs.
const FROZEN: (u64, u64) = (12, 60);

/// How soon after it moves again a frozen broker is read.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How soon another cluster is looked at while a broker stands still.
const SERVED: Duration = Duration::from_secs(10);

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
    without_a_leader(&world, &brokers).await
}

/// What cannot be read because its only replica died says what to mend, and not only that it could not be read.
async fn without_a_leader(world: &World, brokers: &Brokers) -> Result<()> {
    let as_it_is = json!({"spec": {"kafka": {"expected": null}}}).to_string();
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", &as_it_is]).await?;
    brokers.create_topic("logs.single", 6, 1).await?;
    world
        .wait_until("the new topic to be seen", PATIENCE, async || {
            let object = wait_condition(world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
            ensure!(object["status"]["kafka"]["topics"] == 2, "{}", object["status"]["kafka"]);
            Ok(())
        })
        .await?;
    brokers.kill(2).await?;
    let leaderless = async || {
        let object = world.get_json("lwc", "demo").await?;
        let ready = condition(&object, "KafkaReady").context("no KafkaReady")?;
        ensure!(ready["status"] == "False" && ready["reason"] == "UnderReplicated", "{ready}");
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(message.contains("logs.single") && message.contains("Bring all brokers back"), "{message}");
        ensure!(object["status"]["kafka"]["leaderlessTopics"] == 1, "{}", object["status"]["kafka"]);
        Ok(())
    };
    world.wait_until("the partitions without a leader to be told", PATIENCE, leaderless).await?;
    brokers.start_again(2).await?;
    wait_condition(world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    let witness = brokers.describe("logs.single").await?;
    ensure!((witness.partitions, witness.replication_factor) == (6, 1), "{witness:?}");
    Ok(())
}

/// The other cluster is served all the while, and the first look after the thaw works.
#[tokio::test]
async fn a_frozen_broker_delays_nobody_else_and_is_read_again_after_the_thaw() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-frozen").await?;
    let brokers = Brokers::start(&bed, "frozen", Setup::default()).await?;
    brokers.create_topic("logs.api", 3, 1).await?;
    world.create_topic("other", 3).await?;
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
    wait_condition_within(&world, SERVED, ("lwc", "other"), ("KafkaReady", "True", "Available")).await?;
    other["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(4);
    apply(&world, &[&other]).await?;
    wait_condition(&world, ("lwc", "other"), ("Ready", "True", "Running")).await?;
    ensure!(world.topic_partitions("other").await? == 4, "the other cluster was not served");
    ensure!(refusal(&world, "demo", TOLD).await?.starts_with("BrokerUnreachable"), "the broker moved meanwhile");
    let pause = Duration::from_secs(if is_proving() { FROZEN.1 } else { FROZEN.0 });
    tokio::time::sleep(pause.saturating_sub(frozen.elapsed())).await;
    brokers.resume(1).await?;
    wait_condition_within(&world, READ_AGAIN, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    set_floor(&world, 4).await?;
    wait_partitions(&world, &brokers, "logs.api", 4).await
}

/// Topics in `make prove`.
const MANY: usize = 10_000;

/// Partitions of one leader whose offsets are asked for in one request.
const IN_ONE_REQUEST: usize = 1_000;

/// What was asked of the broker, and how often the operator looked.
async fn asked(operator: &Operator, proxy: &TcpProxy) -> Result<(u64, BTreeMap<i16, u64>)> {
    Ok((looks_at(operator, "kafka").await?, proxy.requests()))
}

/// In `make prove` only: making the topics takes minutes.
#[tokio::test]
async fn ten_thousand_topics_cost_one_request_for_all_and_one_per_thousand() -> Result<()> {
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
    ensure!(size < 8_000, "status.kafka has {size} bytes");
    // Closer looks at a thousand topics each go on for some looks.
    let parts = u64::try_from(MANY / IN_ONE_REQUEST)?;
    let (mut before, steady) = (asked(&operator, &proxy).await?, async |before: &mut (u64, BTreeMap<i16, u64>)| {
        let begin = std::mem::replace(before, asked(&operator, &proxy).await?);
        ensure!(before.0 >= begin.0 + 5, "not five looks since");
        let since = |kind: i16| before.1.get(&kind).copied().unwrap_or(0) - begin.1.get(&kind).copied().unwrap_or(0);
        let (looked, all): (u64, u64) =
            (before.0 - begin.0, before.1.values().sum::<u64>() - begin.1.values().sum::<u64>());
        // One look may be under way at either end.
        let near = |number: u64, of_a_look: u64| number.abs_diff(looked * of_a_look) <= of_a_look;
        ensure!(
            near(since(METADATA), 1) && near(since(LIST_OFFSETS), parts) && near(all, 1 + parts),
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

const WRONG_PASSWORD: &str = "canary-wrong-password-31";

/// A pipeline over TLS with the authority of Secret `ca`; `login` names mechanism and Secret.
fn secure(world: &World, (name, bootstrap): (&str, &str), ca: &str, login: Option<(&str, &str)>) -> Result<Value> {
    let mut object = pipeline(world, name, bootstrap)?;
    object["spec"]["kafka"]["tls"] = json!({"caSecretRef": {"name": ca}});
    if let Some((kind, secret)) = login {
        object["spec"]["kafka"]["authentication"] = json!({"type": kind, "secretRef": {"name": secret}});
    }
    Ok(object)
}

/// The Secrets of the logins at `brokers`, right ones and wrong ones.
async fn write_secrets(world: &World, brokers: &Brokers) -> Result<()> {
    install::tenant(&world.bed, &world.namespace, &["kafka", "wrong", "ca", "other-ca", "client"]).await?;
    write_secret(world, "kafka", &json!({"username": brokers.user(), "password": brokers.password()})).await?;
    write_secret(world, "wrong", &json!({"username": brokers.user(), "password": WRONG_PASSWORD})).await?;
    write_secret(world, "ca", &json!({"ca.crt": brokers.ca()?})).await?;
    let (certificate, key) = brokers.client_certificate()?;
    write_secret(world, "client", &json!({"tls.crt": certificate, "tls.key": key})).await?;
    // The authority of another cluster has signed nothing here.
    let path = "jsonpath={.clusters[0].cluster.certificate-authority}";
    let other = std::fs::read_to_string(world.bed.kubectl(&["config", "view", "--raw", "-o", path], None).await?)?;
    write_secret(world, "other-ca", &json!({"ca.crt": other})).await
}

/// A server that answers whatever it is asked as a web server answers nonsense, with its address.
async fn web_server() -> Result<(String, JoinHandle<()>)> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    let serve = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4_096];
                if stream.read(&mut asked).await.is_ok() {
                    let _ = stream.write_all(ANSWER).await;
                    let _ = stream.shutdown().await;
                    // A connection that is closed with bytes unread is reset, and the answer is lost.
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            });
        }
    };
    Ok((address, tokio::spawn(serve)))
}

/// A set-up that cannot work.
struct Wrong {
    name: &'static str,
    object: Value,
    /// The reason that it shall have.
    reason: &'static str,
    /// The field that the next step names.
    field: &'static str,
}

fn wrong_setups(world: &World, at: &str, web: &str) -> Result<Vec<Wrong>> {
    let host = at.split(':').next().unwrap_or_default();
    let (scram, servers) = (Some(("SCRAM-SHA-512", "kafka")), "`kafka.bootstrapServers`");
    let over_tls = |name: &'static str, address: &str, (reason, field): (&'static str, &'static str)| {
        Ok::<_, anyhow::Error>(Wrong { name, object: secure(world, (name, address), "ca", scram)?, reason, field })
    };
    let password = secure(world, ("password", at), "ca", Some(("SCRAM-SHA-512", "wrong")))?;
    let authority = secure(world, ("authority", at), "other-ca", scram)?;
    let (tls, login) = ("`kafka.tls`", "`kafka.authentication`");
    Ok(vec![
        Wrong { name: "password", object: password, reason: "AuthenticationFailed", field: login },
        Wrong { name: "authority", object: authority, reason: "TlsFailed", field: tls },
        over_tls("host", "no-such-host.invalid:9093", ("HostNotFound", servers))?,
        over_tls("port", &format!("{host}:1"), ("BrokerUnreachable", servers))?,
        Wrong { name: "web", object: pipeline(world, "web", web)?, reason: "ProtocolMismatch", field: servers },
        // Whoever speaks no TLS may be anybody.
        over_tls("web-tls", web, ("ProtocolMismatch", tls))?,
    ])
}

/// Waits until each of these is refused for its own reason, in words of its own, with its next step.
async fn told_apart(world: &World, wrong: &[Wrong]) -> Result<()> {
    let told = try_join_all(wrong.iter().map(|wrong| refusal(world, wrong.name, TOLD))).await?;
    let mut messages = BTreeSet::new();
    for (Wrong { name, reason, field, .. }, told) in wrong.iter().zip(told) {
        let (found, message) = told.split_once(": ").context("a reason and a message")?;
        ensure!(found == *reason && message.contains(field), "{name}: {told}");
        messages.insert(message.to_owned());
    }
    ensure!(messages.len() == wrong.len(), "told alike: {messages:#?}");
    Ok(())
}

#[tokio::test]
async fn logins_over_tls_work_and_each_wrong_setup_says_what_to_mend() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "brokers-secure").await?;
    let brokers = Brokers::start(&bed, "secure", Setup { secure: true, ..Setup::default() }).await?;
    brokers.create_topic("logs.api", 1, 1).await?;
    let other = world.create_topic("other", 3).await?;
    write_secrets(&world, &brokers).await?;
    let operator = operator(&world).await?;
    let at = brokers.secure_bootstrap()?;
    for kind in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let name = kind.to_lowercase();
        apply(&world, &[&secure(&world, (&name, &at), "ca", Some((kind, "kafka")))?]).await?;
        wait_condition(&world, ("lwc", &name), ("KafkaReady", "True", "Available")).await?;
    }
    let mut mutual = secure(&world, ("mutual", &brokers.tls_bootstrap()?), "ca", None)?;
    mutual["spec"]["kafka"]["tls"]["clientSecretRef"] = json!({"name": "client"});
    apply(&world, &[&mutual, &partitions::pipeline(&world, "demo", json!({}))?]).await?;
    for name in ["mutual", "demo"] {
        wait_condition(&world, ("lwc", name), ("KafkaReady", "True", "Available")).await?;
    }
    ensure!(brokers.partitions("logs.api").await? == 3, "the topic did not grow");

    let (web, serving) = web_server().await?;
    let wrong = wrong_setups(&world, &at, &web)?;
    apply(&world, &wrong.iter().map(|wrong| &wrong.object).collect::<Vec<_>>()).await?;
    told_apart(&world, &wrong).await?;
    // The pipelines of other clusters are served all the while.
    set_floor(&world, 4).await?;
    world
        .wait_until("the topic of another cluster to grow", TOLD, async || {
            let topics = end_state::topics(&world).await?;
            ensure!(topics.get(&other) == Some(&4), "{topics:?}");
            Ok(())
        })
        .await?;
    told_apart(&world, &wrong).await?;
    serving.abort();

    write_secret(&world, "wrong", &json!({"username": brokers.user(), "password": brokers.password()})).await?;
    wait_condition(&world, ("lwc", "password"), ("KafkaReady", "True", "Available")).await?;
    let canaries = [brokers.password(), WRONG_PASSWORD];
    Canaries::new(&canaries)?.nowhere(&world, &[&operator]).await
}

/// Nobody keeps a connection for an object that is no more.
#[tokio::test]
async fn the_connections_of_a_deleted_object_are_closed() -> Result<()> {
    let world = World::new(&Bed::attach()?, "brokers-gone").await?;
    world.create_topic("api", 3).await?;
    let proxy = world.kafka_proxy().await?;
    let _operator = operator(&world).await?;
    let mut object = partitions::pipeline(&world, "demo", json!({}))?;
    object["spec"]["kafka"]["bootstrapServers"] = json!([proxy.address]);
    apply(&world, &[&object]).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(proxy.counts().open > 0, "no connection is kept between two looks");
    world.kubectl(&["delete", "lwc", "demo"]).await?;
    world
        .wait_until("its connections to be closed", PATIENCE, async || {
            let open = proxy.counts().open;
            ensure!(open == 0, "{open} are open");
            Ok(())
        })
        .await
}
