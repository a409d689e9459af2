//! Views of the past: an operator that began with an old list, whose watch stands still, has expired or shows its own
//! writes late. Nothing is changed outside by what was once wanted.

use crate::behind::{Ground, looks_quietly, partitions_of, through};
use crate::replicas::{intent, wait_partitions};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::{Quiet, settles};
use logwise_testbed::proxy::kubernetes::{KubernetesProxy, Request};
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, policy, raises, wait_condition, wait_desired};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long an operator has no effect that looks every 2 s: a span of the claim, not a measure of speed.
const SILENCE: Duration = Duration::from_secs(6);

/// The operator asks whether the pipeline is still the one that it sees.
fn asks(request: &Request) -> bool {
    request.method == "GET" && request.path.contains("/logwiseclusters/demo")
}

/// Whole lists of a kind; the mirror asks for single objects to learn how far the list of a watch reaches.
fn lists(requests: &[Request], kind: &str) -> usize {
    let all =
        |path: &str| path.contains(&format!("/{kind}?")) && !path.contains("limit=1&") && !path.ends_with("limit=1");
    let list = |one: &&Request| one.method == "GET" && !one.watch && all(&one.path);
    requests.iter().filter(list).count()
}

/// A policy whose changes need nobody's approval.
fn unattended(days: i32) -> Value {
    let mut policy = policy("default", "demo", days);
    policy["spec"]["changePolicy"] = json!({"approval": "Never"});
    policy
}

/// The kinds as the API server lists them now.
async fn list_of(world: &World, kind: &str) -> Result<String> {
    let path = format!("/apis/logwise.io/v1alpha1/namespaces/{}/{kind}", world.namespace);
    world.bed.kubectl(&["get", "--raw", &path], None).await
}

/// The first list is an old one, and the watch that follows it stands still.
async fn serve_old(world: &World, proxy: &KubernetesProxy, kind: &str) -> Result<()> {
    let list = list_of(world, kind).await?;
    proxy.add(Rule::new(&format!("/{kind}\\?"), Action::Reply(list))?.method("GET").watch(false));
    proxy.add(Rule::new(&format!("/{kind}\\?"), Action::Hold)?);
    Ok(())
}

#[tokio::test]
async fn an_operator_that_starts_on_an_old_list_changes_nothing_by_it() -> Result<()> {
    // Each part asks before it acts. What one of them has learned the next need not ask for.
    starts_on_old_lists("old-list", &["logwiseclusters", "retentionpolicies"], (2, 1)).await
}

#[tokio::test]
async fn an_operator_that_starts_on_an_old_list_of_policies_changes_nothing_by_it() -> Result<()> {
    // The part for the bucket asks for its policies, beside the list that its watch began with.
    starts_on_old_lists("old-policies", &["retentionpolicies"], (0, 2)).await
}

/// `(questions, lists)` is how often at least the pipeline is asked for, and policies are listed, before a silence.
async fn starts_on_old_lists(name: &str, kinds: &[&str], (questions, lists_of): (usize, usize)) -> Result<()> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 3), world.create_group(1, 99, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let (proxy, kafka) = (world.kubernetes_proxy().await?, world.kafka_proxy().await?);
    let pipeline = |workers, partitions| -> Result<Value> {
        let mut object = through(&world, &kafka, workers, partitions)?;
        object["spec"]["changePolicy"] = json!({"approval": "Never"});
        Ok(object)
    };
    let mut first = Operator::start(&world, Options::default()).await?;
    first.wait_ready().await?;
    apply(&world, &[&pipeline(1, 3)?, &unattended(400)]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    ensure!(first.stop().await? == 0, "{}", first.log()?);
    // More of everything and shorter retention were wanted once, and are not any more.
    apply(&world, &[&pipeline(4, 6)?, &unattended(7)]).await?;
    for kind in kinds {
        serve_old(&world, &proxy, kind).await?;
    }
    apply(&world, &[&pipeline(1, 3)?, &unattended(400)]).await?;
    let (document, puts) = (world.lifecycle(&world.bucket).await?.document, world.calls(&world.bucket, true).await?);
    let mut second = Operator::start(&world, Options::default().behind(&proxy)).await?;
    second.wait_ready().await?;
    let unchanged = async || {
        ensure!(partitions_of(&world, "api").await? == 3 && raises(&world).await? == 0, "an old wish was carried out");
        ensure!(world.lifecycle(&world.bucket).await?.document == document, "an old retention was written");
        ensure!(world.calls(&world.bucket, true).await?.len() == puts.len(), "the bucket was written to");
        Ok(())
    };
    let wait = world.wait_until("questions before anything is done", PATIENCE, async || {
        let requests = proxy.requests();
        let (asked, listed) = (requests.iter().filter(|one| asks(one)).count(), lists(&requests, "retentionpolicies"));
        ensure!(asked >= questions && listed >= lists_of, "asked {asked} times, listed {listed} times");
        Ok(())
    });
    wait.await.with_context(|| second.log().unwrap_or_default())?;
    // What it sees anew it may report, once.
    let silent = async || Quiet::begin(&world, Some(&kafka)).await?.lasts(SILENCE).await;
    world.wait_until("silence", PATIENCE, silent).await?;
    unchanged().await?;
    proxy.clear();
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world.wait_until("silence at the end", PATIENCE, silent).await?;
    looks_quietly((&world, &proxy, &kafka), &second, 3).await?;
    unchanged().await
}

/// While the watch stands still the pipeline, which wants six partitions, becomes another one. A topic that appears then
/// is grown by what is wanted now, once, and not before that is seen.
async fn while_frozen(
    name: &str,
    change: impl AsyncFnOnce(&Ground) -> Result<()>,
    partitions: usize,
) -> Result<Ground> {
    let ground = Ground::alone(name).await?;
    ground.reach(2, 6).await?;
    ground.settled().await?;
    let ice = ground.proxy.add(Rule::new("/logwiseclusters", Action::Hold)?);
    let from = ground.proxy.now();
    change(&ground).await?;
    ground.world.create_topic("web", 1).await?;
    ground.wait_requests(("questions", 1), from, asks).await?;
    ground.silent(SILENCE).await?;
    ensure!(partitions_of(&ground.world, "web").await? == 1, "grown by an old view");
    ground.proxy.remove(ice);
    ground
        .world
        .wait_until(&format!("{partitions} partitions of web"), PATIENCE, async || {
            let now = partitions_of(&ground.world, "web").await?;
            ensure!(now == partitions, "there are {now}");
            Ok(())
        })
        .await?;
    ground.settled().await?;
    ground.at_rest(1, 2).await?;
    Ok(ground)
}

#[tokio::test]
async fn a_wish_that_came_and_went_while_the_watch_stood_still_is_not_carried_out() -> Result<()> {
    let flip = async |ground: &Ground| {
        apply(&ground.world, &[&ground.demo(5, 9)?]).await?;
        apply(&ground.world, &[&ground.demo(2, 6)?]).await
    };
    while_frozen("flip", flip, 6).await.map(drop)
}

#[tokio::test]
async fn nothing_is_done_to_a_pipeline_that_was_made_anew_under_its_name() -> Result<()> {
    let anew = async |ground: &Ground| {
        ground.world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
        apply(&ground.world, &[&ground.demo(2, 4)?]).await
    };
    // `api` keeps its six.
    let ground = while_frozen("anew", anew, 4).await?;
    ensure!(partitions_of(&ground.world, "api").await? == 6, "shrunk");
    let uid = ground.world.get_json("lwc", "demo").await?["metadata"]["uid"].clone();
    let (_, record) = intent(&ground.world, "kafka/").await?;
    ensure!(record["wish"]["owner"]["uid"] == uid, "for another object: {record}");
    Ok(())
}

#[tokio::test]
async fn own_writes_that_are_seen_late_have_no_second_effect() -> Result<()> {
    let ground = Ground::alone("own-writes").await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    let ice = ground.proxy.add(Rule::new("", Action::Hold)?);
    ground.world.create_topic("web", 1).await?;
    ground
        .world
        .wait_until("the second topic to be reported", PATIENCE, async || {
            let kafka = &ground.world.get_json("lwc", "demo").await?["status"]["kafka"];
            ensure!(kafka["topics"] == 2 && kafka["partitions"] == 6, "{kafka}");
            Ok(())
        })
        .await?;
    // The operator's own view still has one topic.
    ground.looks_quietly(5).await?;
    ensure!(ground.growths() == 2, "{} growths", ground.growths());
    ground.proxy.remove(ice);
    ground.settled().await?;
    ground.at_rest(1, 2).await
}

#[tokio::test]
async fn a_policy_that_was_deleted_while_nobody_looked_takes_its_rules_along() -> Result<()> {
    let world = World::new(&Bed::attach()?, "unseen-policy").await?;
    world.create_topic("api", 3).await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let mut first = Operator::start(&world, Options::default()).await?;
    first.wait_ready().await?;
    let mut pipeline = logwise_tests::cluster(&world, "demo");
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    apply(&world, &[&pipeline, &unattended(30)]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    first.kill9().await?;
    world.kubectl(&["delete", "lrp", "default", "--wait=false"]).await?;
    ensure!(world.lifecycle(&world.bucket).await?.document.is_some(), "nobody was there to remove it");
    let mut second = Operator::start(&world, Options::default()).await?;
    second.wait_ready().await?;
    world.kubectl(&["wait", "--for=delete", "lrp/default", "--timeout=90s"]).await?;
    ensure!(world.lifecycle(&world.bucket).await?.document.is_none(), "the rules are still there");
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    settles(&world, &second, &["kafka", "storage"], 3, PATIENCE).await
}

#[tokio::test]
async fn an_expired_watch_begins_anew_with_one_list_each_time() -> Result<()> {
    let ground = Ground::alone("gone").await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    let began = lists(&ground.proxy.requests(), "logwiseclusters");
    let pid = ground.operator.pid();
    for turn in 1..=3_usize {
        ground.proxy.add(Rule::new("logwise.io", Action::Gone)?.running());
        ground.reach(2, 3 + turn).await?;
        ground.settled().await?;
        let listed = lists(&ground.proxy.requests(), "logwiseclusters") - began;
        ensure!(listed <= turn, "{listed} lists after {turn} expiries");
    }
    // Expired already when it begins: three times, then it is well.
    let rule = ground.proxy.add(Rule::new("/logwiseclusters", Action::Gone)?.times(4));
    let fault = Action::Gone;
    ground.reach(3, 7).await?;
    ground.hit(rule, &fault).await?;
    ground.settled().await?;
    let listed = lists(&ground.proxy.requests(), "logwiseclusters");
    ensure!(listed <= began + 3 + 4, "{listed} lists");
    ground.at_rest(2, 5).await?;
    ensure!(lists(&ground.proxy.requests(), "logwiseclusters") == listed, "it lists at rest");
    ensure!(ground.operator.alive() && ground.operator.pid() == pid, "it has started again");
    Ok(())
}

/// In `make prove` only: the operator's own idle limit is 35 s.
#[tokio::test]
async fn a_watch_that_fell_silent_is_replaced_within_a_minute() -> Result<()> {
    if std::env::var_os("LOGWISE_PROVE").is_none() {
        return Ok(());
    }
    let ground = Ground::alone("silent").await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    let from = ground.proxy.now();
    ground.proxy.add(Rule::new("", Action::Hold)?.running());
    let began = Instant::now();
    apply(&ground.world, &[&ground.demo(3, 4)?]).await?;
    wait_desired(&ground.world, 3).await?;
    wait_partitions(&ground.world, 4).await?;
    ensure!(began.elapsed() < Duration::from_secs(60), "seen after {:?}", began.elapsed());
    let watches = |one: &&Request| one.seq >= from && one.watch && one.path.contains("/logwiseclusters");
    let begun = ground.proxy.requests().iter().filter(watches).count();
    ensure!(begun <= 3, "{begun} watches were begun");
    ground.settled().await?;
    ground.at_rest(2, 2).await
}
