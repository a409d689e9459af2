//! Leading passes on at once, however dead the systems are that the leader has asked.

use anyhow::{Result, ensure};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::proxy::tcp::Direction;
use logwise_tests::{PATIENCE, apply, cluster, is_proving, wait_condition};
use serde_json::json;
use std::process::Command;
use std::time::Instant;

use crate::replicas::{ground, lease, replica, wait_leads};

/// A look at a Kafka cluster that does not answer lasts longer than this; a leader that waits for it hands over later.
const HANDED_OVER: f64 = 5.0;

/// From the signal to the next leader.
const HAND_OVER: f64 = 2.0;

#[tokio::test]
async fn an_operator_that_has_seen_no_list_yet_is_alive_and_not_ready() -> Result<()> {
    let (world, url) = ground("handover-unsynced").await?;
    let proxy = world.kubernetes_proxy().await?;
    let refused = Action::answer(503, "ServiceUnavailable");
    let rule = proxy.add(Rule::new("/retentionpolicies", refused)?.method("GET").times(0));
    let options = Options { config: crate::replicas::elected(&url), ..Options::default().behind(&proxy) };
    let mut operator = Operator::start(&world, options).await?;
    world
        .wait_until("it to answer", PATIENCE, async || {
            let ((ready, text), (live, _)) = futures::try_join!(operator.http("/readyz"), operator.http("/livez"))?;
            ensure!(ready == 503 && text.contains("first list") && live == 200, "{ready} {live} {text}");
            Ok(())
        })
        .await?;
    proxy.remove(rule);
    operator.wait_ready().await
}

#[tokio::test]
async fn a_leader_that_waits_for_dead_systems_hands_over_at_once() -> Result<()> {
    let (world, url) = ground("handover-dead").await?;
    let (kafka, database) = futures::try_join!(world.kafka_proxy(), world.database_proxy())?;
    let mut first = replica(&world, &database.instead(&url), Options::default()).await?;
    wait_leads(&world, &first).await?;
    let mut objects = Vec::new();
    for name in ["a", "b", "c"] {
        let mut object = cluster(&world, name);
        object["spec"]["kafka"]["bootstrapServers"] = json!([kafka.address]);
        objects.push(object);
    }
    apply(&world, &objects.iter().collect::<Vec<_>>()).await?;
    wait_condition(&world, ("lwc", "a"), ("KafkaReady", "True", "Available")).await?;
    let second = replica(&world, &database.instead(&url), Options::default()).await?;
    kafka.hold(Direction::ToClient);
    database.hold(Direction::ToServer);
    // A change of each makes a look begin, which hangs.
    let before = kafka.requests().values().sum::<u64>();
    for object in &mut objects {
        object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(4);
    }
    apply(&world, &objects.iter().collect::<Vec<_>>()).await?;
    world
        .wait_until("a request that hangs", PATIENCE, async || {
            ensure!(kafka.requests().values().sum::<u64>() > before, "nobody asks Kafka");
            Ok(())
        })
        .await?;
    let told = Instant::now();
    let pid = first.pid().to_string();
    ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "no signal");
    world
        .wait_until("readiness to end with the leader", PATIENCE, async || {
            let (status, text) = first.http("/readyz").await?;
            ensure!(status == 503 && text.contains("is stopping"), "{status} {text}");
            Ok(())
        })
        .await?;
    ensure!(first.wait_exit().await? == 0, "the leader did not end well");
    let took = told.elapsed().as_secs_f64();
    ensure!(took < HANDED_OVER, "it waited {took:.1} s for systems that do not answer");
    wait_leads(&world, &second).await?;
    let led = told.elapsed().as_secs_f64();
    // On a machine with other work a bound on time would be a bound on the machine.
    ensure!(!is_proving() || led < HAND_OVER, "the next one led after {led:.1} s");
    let held = lease(&world).await?;
    ensure!(held["spec"]["leaseTransitions"] == 2, "{held}");
    Ok(())
}
