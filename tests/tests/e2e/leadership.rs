//! Several replicas: one leads and changes things, the others follow and serve HTTP.

use crate::replicas::{LEASE, elected, epoch, lease};
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::crash::sweep;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proc;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    PATIENCE, apply, cluster, is_proving, policy, raises, turn_to_prove, wait_condition, wait_desired, want_workers,
    with_spark,
};
use serde_json::{Value, json};
use std::time::Duration;

async fn replica(world: &World, url: &str, more: Value) -> Result<Operator> {
    replica_with(world, url, more, None).await
}

/// A replica that stands still at a point of its life.
async fn replica_with(world: &World, url: &str, more: Value, pause_at: Option<&str>) -> Result<Operator> {
    let mut config = elected(url);
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let options = Options::config(config);
    let options = pause_at.map_or(options.clone(), |point| options.env("LOGWISE_PAUSE_AT", point));
    let mut operator = Operator::start(world, options).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

async fn leads(operator: &Operator) -> bool {
    operator.metrics().await.is_ok_and(|text| text.contains("logwise_operator_is_leader 1\n"))
}

/// The one of `replicas` that leads, once it is exactly one.
async fn leader(world: &World, replicas: &[Operator]) -> Result<usize> {
    let one = async || {
        let mut leading = Vec::new();
        for (place, replica) in replicas.iter().enumerate() {
            if replica.alive() && leads(replica).await {
                leading.push(place);
            }
        }
        match leading.as_slice() {
            [only] => Ok(*only),
            other => bail!("{} of {} lead", other.len(), replicas.len()),
        }
    };
    world.wait_until("one leader", PATIENCE, one).await
}

/// A world with a group of one worker that may grow to nine, a topic, a schema, and `count` replicas.
async fn ground(name: &str, count: usize) -> Result<(World, String, Vec<Operator>)> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 9, 1))?;
    let url = world.create_schema().await?;
    let mut replicas = Vec::new();
    for _ in 0..count {
        replicas.push(replica(&world, &url, json!({})).await?);
    }
    Ok((world, url, replicas))
}

#[tokio::test]
async fn leading_passes_on_when_the_leader_stops_and_when_it_is_killed() -> Result<()> {
    let (world, _, mut replicas) = ground("lead-passes-on", 3).await?;
    let first = leader(&world, &replicas).await?;
    for replica in &replicas {
        let (status, text) = replica.http("/readyz").await?;
        ensure!(status == 200 && (text.contains("leads") || text.contains("follows")), "{status} {text}");
    }
    let began = epoch(&world).await?;
    want_workers(&world, 2).await?;
    wait_desired(&world, 2).await?;
    ensure!(replicas[first].stop().await? == 0, "the leader did not end cleanly");
    let second = leader(&world, &replicas).await?;
    ensure!(epoch(&world).await? == began + 1, "a take-over has a number of its own");
    want_workers(&world, 3).await?;
    wait_desired(&world, 3).await?;
    replicas[second].kill9().await?;
    leader(&world, &replicas).await?;
    ensure!(epoch(&world).await? == began + 2, "a take-over has a number of its own");
    want_workers(&world, 4).await?;
    wait_desired(&world, 4).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(raises(&world).await? == 3, "each change of the spec is one raise: {}", raises(&world).await?);
    Ok(())
}

/// Pauses the leader for `pause`, lets another lead and act, wakes it, and looks at the effects.
async fn paused_leader(name: &str, pause: Duration) -> Result<()> {
    let (world, _, replicas) = ground(name, 3).await?;
    let first = leader(&world, &replicas).await?;
    want_workers(&world, 2).await?;
    wait_desired(&world, 2).await?;
    replicas[first].pause().await?;
    let paused = tokio::time::Instant::now();
    want_workers(&world, 4).await?;
    wait_desired(&world, 4).await?;
    tokio::time::sleep_until(paused + pause).await;
    replicas[first].resume().await?;
    let now = leader(&world, &replicas).await?;
    ensure!(now != first, "the paused replica must not lead by what it remembers");
    want_workers(&world, 5).await?;
    wait_desired(&world, 5).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(raises(&world).await? == 3, "each change of the spec is one raise: {}", raises(&world).await?);
    ensure!(world.topic_partitions("api").await? == 3, "the topic grew once");
    ensure!(replicas[first].log()?.contains("no longer leading"), "the paused replica steps down");
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_paused_changes_nothing_when_it_wakes() -> Result<()> {
    let leases = if is_proving() { 10 } else { 2 };
    paused_leader("lead-paused", Duration::from_secs(LEASE * leases)).await
}

/// Wants so many workers, and rules without anybody's approval.
async fn want_unattended(world: &World, min: i32) -> Result<()> {
    let (mut pipeline, mut kept) =
        (with_spark(world, cluster(world, "demo"), (min, 9))?, policy("default", "demo", 30));
    for object in [&mut pipeline, &mut kept] {
        object["spec"]["changePolicy"] = json!({"approval": "Never"});
    }
    apply(world, &[&pipeline, &kept]).await
}

/// The leader stands still at this point of its path until others have led for `leases` Lease times. What it had written
/// down and not sent before is not sent any more.
async fn paused_at(point: &str, leases: u64) -> Result<()> {
    let world = World::new(&Bed::attach()?, "lead-point").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 9, 1))?;
    let url = world.create_schema().await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let mut replicas = vec![replica_with(&world, &url, json!({}), Some(point)).await?];
    leader(&world, &replicas).await?;
    for _ in 0..2 {
        replicas.push(replica(&world, &url, json!({})).await?);
    }
    want_unattended(&world, 2).await?;
    world
        .wait_until("the leader to stand still", PATIENCE, async || {
            ensure!(proc::stands_still(replicas[0].pid())?, "it moves");
            Ok(())
        })
        .await?;
    let paused = tokio::time::Instant::now();
    wait_desired(&world, 2).await?;
    want_unattended(&world, 4).await?;
    wait_desired(&world, 4).await?;
    wait_condition(&world, ("lrp", "default"), ("Programmed", "True", "Programmed")).await?;
    tokio::time::sleep_until(paused + Duration::from_secs(LEASE * leases)).await;
    let before = raises(&world).await?;
    replicas[0].resume().await?;
    ensure!(leader(&world, &replicas).await? != 0, "the paused replica must not lead by what it remembers");
    want_unattended(&world, 5).await?;
    wait_desired(&world, 5).await?;
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(world.topic_partitions("api").await? == 3, "the topic grew once");
    let after = raises(&world).await? - before;
    ensure!(before == 2 && after == 1, "{before} raises during the pause at {point}, {after} after it");
    let puts = world.calls(&world.bucket, true).await?;
    ensure!(puts.len() == 1, "not one write of rules around the pause at {point}: {puts:?}");
    Ok(())
}

/// Points at which a leader that acts may be stopped, and goes on when others lead. The group is raised by its third
/// call: new instances are protected before, and then the one that is there.
const PAUSES: [&str; 13] = [
    "kafka:1:before",
    "kafka:1:after",
    "autoscaling:3:before",
    "autoscaling:3:after",
    "s3:1:before",
    "s3:1:after",
    "kubernetes:1:before",
    "kubernetes:2:after",
    "kubernetes:3:before",
    "kubernetes:3:after",
    "kubernetes:4:after",
    "status:1:before",
    "sql:1:before",
];

/// In `make prove` only.
#[tokio::test]
async fn a_leader_that_was_paused_at_any_point_repeats_nothing() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    sweep(PAUSES, 4, async |point| paused_at(point, 10).await).await
}

/// Steps at which a replica that begins a term may die: it takes the Lease, takes a number, renews the Lease.
const BEGINNINGS: [&str; 6] =
    ["lease:1:before", "lease:1:after", "epoch:1:before", "epoch:1:after", "lease:2:before", "lease:2:after"];

/// A replica dies at this point of the beginning of its term, and the next one takes over.
async fn dies_at(point: &str) -> Result<()> {
    let world = World::new(&Bed::attach()?, "lead-dies").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 9, 1))?;
    let url = world.create_schema().await?;
    want_workers(&world, 2).await?;
    let options = Options::config(elected(&url)).env("LOGWISE_CRASH_AT", point);
    let mut first = Operator::start(&world, options).await?;
    ensure!(first.wait_exit().await? == 128 + 9, "it should have died at {point}");
    // Without one it has none to count from.
    let before = epoch(&world).await.unwrap_or(0);
    ensure!((before > 0) == !matches!(point, "lease:1:before" | "lease:1:after" | "epoch:1:before"), "epoch {before}");
    let next = vec![replica(&world, &url, json!({})).await?];
    leader(&world, &next).await?;
    ensure!(epoch(&world).await? == before + 1, "the next term has a number of its own");
    wait_desired(&world, 2).await?;
    want_workers(&world, 3).await?;
    wait_desired(&world, 3).await?;
    ensure!(raises(&world).await? == 2, "each change of the spec is one raise: {}", raises(&world).await?);
    Ok(())
}

#[tokio::test]
async fn a_replica_that_dies_while_it_begins_to_lead_holds_up_nobody() -> Result<()> {
    let points = if is_proving() { &BEGINNINGS[..] } else { &BEGINNINGS[1..3] };
    sweep(points, 3, async |point| dies_at(point).await).await
}

#[tokio::test]
async fn a_deleted_lease_turns_nothing_back() -> Result<()> {
    let (world, url, replicas) = ground("lead-deleted", 2).await?;
    leader(&world, &replicas).await?;
    let before = epoch(&world).await?;
    let name = format!("logwise-{}", world.id);
    let holder = lease(&world).await?["spec"]["holderIdentity"].clone();
    world.bed.kubectl(&["delete", "lease", &name, "-n", "logwise-system"], None).await?;
    world
        .wait_until("the Lease to be there again", PATIENCE, async || {
            let now = lease(&world).await?["spec"]["holderIdentity"].clone();
            ensure!(now == holder, "held by {now} after {holder}");
            Ok(())
        })
        .await?;
    ensure!(epoch(&world).await? == before, "a Lease that was deleted counts as held: nobody takes over");
    leader(&world, &replicas).await?;
    want_workers(&world, 2).await?;
    wait_desired(&world, 2).await?;
    let epochs = format!("logwise-epoch-{}", world.id);
    world.bed.kubectl(&["delete", "configmap", &epochs, "-n", "logwise-system"], None).await?;
    drop(replicas);
    // Whether or not the leader has made it again meanwhile.
    world.bed.kubectl(&["delete", "lease", &name, "-n", "logwise-system", "--ignore-not-found"], None).await?;
    let last = vec![replica(&world, &url, json!({})).await?];
    leader(&world, &last).await?;
    ensure!(epoch(&world).await? > before, "the intents remember the epoch: {} after {before}", epoch(&world).await?);
    ensure!(raises(&world).await? == 1, "nothing is repeated");
    Ok(())
}

#[tokio::test]
async fn two_shards_share_an_installation() -> Result<()> {
    let world = World::new(&Bed::attach()?, "lead-shards").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("web", 1))?;
    let url = world.create_schema().await?;
    let mut shards = Vec::new();
    for team in ["a", "b"] {
        let more = json!({"shard": team, "selector": format!("team={team}")});
        shards.push(replica(&world, &url, more).await?);
    }
    let mut objects = Vec::new();
    for (team, topic) in [("a", "api"), ("b", "web")] {
        let mut object = cluster(&world, team);
        object["metadata"]["labels"] = json!({"team": team});
        object["spec"]["kafka"]["topics"]["namePrefix"] = json!(world.topic(topic));
        object["spec"].as_object_mut().context("a spec")?.remove("storage");
        objects.push(object);
    }
    apply(&world, &[&objects[0], &objects[1]]).await?;
    for team in ["a", "b"] {
        wait_condition(&world, ("lwc", team), ("Ready", "True", "Running")).await?;
        let lease = format!("logwise-{}.{team}", world.id);
        world.bed.kubectl(&["get", "lease", &lease, "-n", "logwise-system"], None).await?;
    }
    ensure!(world.topic_partitions("api").await? == 3 && world.topic_partitions("web").await? == 3, "topics");
    ensure!(leads(&shards[0]).await && leads(&shards[1]).await, "each shard has a leader of its own");
    shards.remove(0).stop().await?;
    objects[0]["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(5);
    objects[1]["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(5);
    apply(&world, &[&objects[0], &objects[1]]).await?;
    wait_condition(&world, ("lwc", "b"), ("Ready", "True", "Running")).await?;
    ensure!(world.topic_partitions("web").await? == 5, "the other shard goes on");
    ensure!(world.topic_partitions("api").await? == 3, "nobody serves the objects of a shard that is down");
    Ok(())
}

#[tokio::test]
async fn an_embedded_database_refuses_leader_election() -> Result<()> {
    let world = World::new(&Bed::attach()?, "lead-sqlite").await?;
    let mut operator = Operator::start(&world, Options::config(json!({"leaderElection": {"enabled": true}}))).await?;
    ensure!(operator.wait_exit().await? == 2, "a wrong configuration ends with 2");
    let log = operator.log()?;
    ensure!(log.contains("leaderElection.enabled") && log.contains("mysql://"), "{log}");
    Ok(())
}
