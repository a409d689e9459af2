//! What the API server does to single requests: refusals, lost requests, lost and late answers. The operator gets over
//! each, repeats nothing blindly and waits for as long as it is asked to.

use crate::behind::Ground;
use crate::replicas::{LEASE, elected, epoch, intent, intents, leads, wait_follows, wait_leads, wait_partitions};
use anyhow::{Context, Result, ensure};
use logwise_testbed::oracles::quiet::Quiet;
use logwise_testbed::proxy::kubernetes::Request;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_tests::{PATIENCE, apply, events, wait_desired};
use serde_json::json;
use std::time::Duration;

/// Seconds that the API server asks to wait.
const ASKED: u32 = 3;

/// Shorter than any pause before another try.
const PAUSE: Duration = Duration::from_millis(500);

/// The request is not carried out.
fn refusals() -> Vec<Action> {
    vec![
        Action::conflict(),
        Action::too_many_requests(ASKED),
        Action::answer(500, "InternalError"),
        Action::answer(503, "ServiceUnavailable"),
        Action::answer(504, "Timeout"),
        Action::DropBefore,
    ]
}

/// The request is carried out and its sender does not learn it, or gives up first.
fn losses() -> Vec<Action> {
    vec![Action::DropAnswer, Action::CutBody(10), Action::Delay(Duration::from_secs(7))]
}

/// Errors when a request that went wrong was sent again without a pause and without looking first, or before the time
/// that the API server had named.
fn no_blind_retries(requests: &[Request], path: &str) -> Result<()> {
    let ours: Vec<&Request> = requests.iter().filter(|one| one.path.contains(path)).collect();
    for (place, one) in ours.iter().enumerate().filter(|(_, one)| one.mutating && !one.faults.is_empty()) {
        let later = &ours[place + 1..];
        let again = |next: &&&Request| next.method == one.method && next.path == one.path;
        let asked = one.faults.contains(&Action::too_many_requests(ASKED));
        if asked && let Some(next) = later.iter().find(|next| next.mutating && again(next)) {
            let waited = next.at - one.at;
            ensure!(waited >= Duration::from_secs(ASKED.into()), "sent again after {waited:?}: {one:?}");
        }
        let Some(at) = later.iter().position(|next| again(&next)) else { continue };
        let read = later[..at].iter().any(|next| next.method == "GET");
        let waited = later[at].at - one.at;
        ensure!(read || waited >= PAUSE, "sent again after {waited:?} without a look: {one:?}");
    }
    Ok(())
}

/// Each fault meets one status write of a growth.
async fn on_status(name: &str, faults: Vec<Action>) -> Result<()> {
    let ground = Ground::alone(name).await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    let mut partitions = 3;
    for fault in faults {
        partitions += 1;
        let rule = Rule::new("/logwiseclusters/demo/status.*kafka", fault.clone())?.method("PATCH");
        let rule = ground.proxy.add(rule);
        ground.reach(2, partitions).await?;
        let looked = ground.kafka_looks().await?;
        ground.hit(rule, &fault).await?;
        ground.settled().await?;
        // The second try meets no fault of the next change, and what that brings is not taken for a second try.
        ground.wait_kafka_looks(looked + 2).await?;
    }
    ground.at_rest(1, u64::try_from(partitions)? - 2).await?;
    no_blind_retries(&ground.proxy.requests(), "/logwiseclusters/demo/status")
}

#[tokio::test]
async fn a_status_that_is_refused_is_written_later() -> Result<()> {
    on_status("status-refused", refusals()).await
}

#[tokio::test]
async fn a_status_whose_answer_is_lost_or_that_comes_late_is_mended() -> Result<()> {
    on_status("status-lost", losses()).await
}

/// Each fault meets one write of the intent of a raise: its begin, its sending, its end, by turns.
async fn on_intents(name: &str, faults: Vec<Action>, first: u32) -> Result<()> {
    let ground = Ground::alone(name).await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    let mut workers = 2;
    for (place, fault) in (first..).zip(&faults) {
        workers += 1;
        let rule = ground.proxy.add(Rule::new("/configmaps/", fault.clone())?.method("PUT").after(place % 3));
        apply(&ground.world, &[&ground.demo(workers, 3)?]).await?;
        wait_desired(&ground.world, workers.into()).await?;
        ground.hit(rule, fault).await?;
    }
    ground
        .world
        .wait_until("the last intent to be closed", PATIENCE, async || {
            let (_, record) = intent(&ground.world, "group/").await?;
            ensure!(record["state"] == "Done" && record["wish"]["targets"]["to"] == workers, "{record}");
            Ok(())
        })
        .await?;
    ground.settled().await?;
    ground.at_rest(usize::try_from(workers)? - 1, 1).await?;
    no_blind_retries(&ground.proxy.requests(), "/configmaps/")
}

#[tokio::test]
async fn an_intent_that_is_refused_delays_the_change_and_doubles_nothing() -> Result<()> {
    on_intents("intent-refused", refusals().drain(..3).collect(), 0).await
}

#[tokio::test]
async fn an_intent_that_fails_or_never_arrives_delays_the_change_and_doubles_nothing() -> Result<()> {
    on_intents("intent-failed", refusals().drain(3..).collect(), 0).await
}

#[tokio::test]
async fn an_intent_whose_answer_is_lost_is_recognised() -> Result<()> {
    on_intents("intent-lost", vec![Action::DropAnswer; 2], 0).await
}

#[tokio::test]
async fn an_intent_whose_end_is_lost_or_comes_late_is_judged_by_its_effect() -> Result<()> {
    on_intents("intent-late", vec![Action::DropAnswer, Action::Delay(Duration::from_secs(7))], 2).await
}

/// The very first record of a resource is created: the second try finds it there and goes on with it.
#[tokio::test]
async fn an_intent_that_was_created_without_an_answer_is_used() -> Result<()> {
    let ground = Ground::alone("intent-create").await?;
    let rule = Rule::new("/configmaps(\\?|$)", Action::DropAnswer)?.method("POST").times(2);
    let (rule, from) = (ground.proxy.add(rule), ground.proxy.now());
    ground.reach(2, 3).await?;
    ground.hit(rule, &Action::DropAnswer).await?;
    ground.settled().await?;
    let created = |one: &&Request| one.seq >= from && one.method == "POST" && one.path.contains("/configmaps");
    let requests = ground.proxy.requests();
    let (done, refused): (Vec<_>, Vec<_>) = requests.iter().filter(created).partition(|one| one.took_effect());
    ensure!(done.len() == 2 && intents(&ground.world).await?.len() == 2, "one per resource: {done:?}");
    ensure!(refused.len() == 2 && refused.iter().all(|one| one.done == Some(409)), "{refused:?}");
    ground.at_rest(1, 1).await
}

/// An event is for people and is written once or never; nothing waits for it.
#[tokio::test]
async fn a_lost_event_is_not_repeated_and_holds_up_nothing() -> Result<()> {
    let ground = Ground::alone("untold").await?;
    let posted = |requests: Vec<Request>| requests.iter().filter(|one| one.path.contains("/events")).count();
    let mut partitions = 2;
    for fault in refusals().into_iter().chain([Action::DropAnswer]) {
        partitions += 1;
        let rule = ground.proxy.add(Rule::new("/events", fault.clone())?.writes().times(0));
        ground.reach(2, partitions).await?;
        ground.settled().await?;
        ground.hit(rule, &fault).await?;
    }
    let before = posted(ground.proxy.requests());
    ground.at_rest(1, u64::try_from(partitions)? - 2).await?;
    ensure!(posted(ground.proxy.requests()) == before, "events are sent again");
    let told = events(&ground.world, "demo", "PartitionsIncreased").await?;
    ensure!(told.len() < partitions - 2, "none was lost: {told:?}");
    let from = ground.proxy.now();
    ground.reach(2, partitions + 1).await?;
    let written = |one: &Request| one.path.contains("/events") && one.took_effect();
    ground.wait_requests(("written events", 1), from, written).await
}

/// Single failures of renewals cost no term; the API server is asked again after a pause.
#[tokio::test]
async fn a_renewal_that_fails_once_costs_no_term() -> Result<()> {
    let ground = Ground::new("lease-faults", async |world| {
        let mut config = elected(&world.create_schema().await?);
        config["leaderElection"]["leaseSeconds"] = json!(9);
        Ok(config)
    })
    .await?;
    let (began, from) = (epoch(&ground.world).await?, ground.proxy.now());
    for fault in refusals().into_iter().chain([Action::DropAnswer, Action::CutBody(10)]) {
        let rule = ground.proxy.add(Rule::new("/leases/", fault.clone())?.method("PUT"));
        ground.hit(rule, &fault).await?;
        let seq = ground.proxy.now();
        ground
            .world
            .wait_until("the next renewal", PATIENCE, async || {
                let renewed = |one: &Request| one.seq >= seq && one.path.contains("/leases/") && one.took_effect();
                ensure!(ground.proxy.requests().iter().any(renewed), "none yet");
                Ok(())
            })
            .await?;
        ensure!(leads(&ground.operator).await?, "it has stepped down after {fault:?}");
    }
    ensure!(epoch(&ground.world).await? == began, "a new term has begun");
    let requests: Vec<Request> = ground.proxy.requests().into_iter().filter(|one| one.seq >= from).collect();
    no_blind_retries(&requests, "/leases/")?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    ensure!(ground.operator.log()?.matches("no longer leading").count() == 0, "{}", ground.operator.log()?);
    ground.at_rest(1, 1).await
}

/// A renewal that nobody takes ends the term in time, and a new one begins afterwards.
#[tokio::test]
async fn renewals_that_go_on_failing_end_the_term() -> Result<()> {
    let ground = Ground::new("lease-lost", async |world| Ok(elected(&world.create_schema().await?))).await?;
    ground.reach(2, 3).await?;
    let began = epoch(&ground.world).await?;
    let rule = Rule::new("/leases/", Action::answer(503, "ServiceUnavailable"))?.writes().times(0);
    let rule = ground.proxy.add(rule);
    wait_follows(&ground.world, &ground.operator).await?;
    // Everything else of the API server answers: only the Lease forbids it.
    apply(&ground.world, &[&ground.demo(3, 4)?]).await?;
    let quiet = Quiet::begin(&ground.world, Some(&ground.kafka)).await?;
    quiet.lasts(Duration::from_secs(LEASE * 2)).await.context("it goes on without a Lease")?;
    ground.proxy.remove(rule);
    wait_leads(&ground.world, &ground.operator).await?;
    wait_desired(&ground.world, 3).await?;
    wait_partitions(&ground.world, 4).await?;
    ensure!(epoch(&ground.world).await? > began, "a term has its own number");
    ground.settled().await?;
    ground.at_rest(2, 2).await
}
