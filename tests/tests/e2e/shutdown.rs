//! SIGTERM at the boundaries of external calls: nothing new is begun, what was begun is ended or left as an intent, and
//! the Lease is released last. Another process then finds what it needs.

use crate::replicas::{intents, lease};
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::end_state::EndState;
use logwise_testbed::proxy::kubernetes::{KubernetesProxy, Request};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, approve, cluster, configuration, plan_id, policy, wait_condition,
    wait_desired, with_spark,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The longest that a process may take from the signal to its end.
const LONGEST: Duration = Duration::from_secs(10);

/// A call starts at most so long after its intent says that it is sent.
const SEND_WITHIN: Duration = Duration::from_secs(2);

/// The same of rules of a bucket, which is read in between.
const SEND_RULES_WITHIN: Duration = Duration::from_secs(6);

/// Between the last question whether a call may be made and the time that the intent names.
const MOMENT: Duration = Duration::from_millis(200);

/// Paths that run side by side in `make prove`.
const AT_ONCE: usize = 3;

/// A configuration with a Lease that is long enough for any machine, over this database.
fn elected(url: &str) -> Value {
    json!({"database": {"url": url}, "leaderElection": {"enabled": true, "leaseSeconds": 15}})
}

/// Topics to grow, a group to raise, rules to write.
async fn ground(name: &str) -> Result<(World, String)> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("web", 2), world.create_group(1, 4, 1))?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    let url = world.create_schema().await?;
    apply(&world, &[&with_spark(&world, cluster(&world, "demo"), (2, 4))?, &policy("default", "demo", 30)]).await?;
    Ok((world, url))
}

async fn approve_plan(world: &World) -> Result<()> {
    approve(world, "default", &plan_id(world, "default").await?).await
}

async fn settled(world: &World) -> Result<()> {
    wait_condition(world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    wait_desired(world, 2).await
}

/// End state and effects of a run that nobody interrupts: made once, for all tests.
async fn faultless() -> Result<&'static (EndState, Effects)> {
    static FAULTLESS: OnceCell<(EndState, Effects)> = OnceCell::const_new();
    let run = async || {
        let (world, url) = ground("stop-never").await?;
        let mut operator = Operator::start(&world, Options::config(elected(&url))).await?;
        operator.wait_ready().await?;
        approve_plan(&world).await?;
        settled(&world).await?;
        anyhow::Ok((EndState::of(&world).await?, Effects::of(&world).await?))
    };
    FAULTLESS.get_or_try_init(run).await
}

/// The code of a process that reaches the point and ends; the plan is approved when it shows up before.
async fn ending(world: &World, operator: &mut Operator) -> Result<i32> {
    let mut code = None;
    let looks = async {
        for _ in 0..3 {
            code = operator.wait_exit().await.ok();
            if code.is_some() {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = looks => {}
        // Both are waited for: without the approval some points are never reached.
        () = async { drop(approve_plan(world).await); std::future::pending::<()>().await } => {}
    }
    code.context("the operator did not end")
}

/// Milliseconds since 1970, of the first line of a log that holds `text`.
fn logged(log: &str, text: &str) -> Result<i64> {
    let line = log.lines().find(|line| line.contains(text)).with_context(|| format!("the log lacks {text:?}"))?;
    let line: Value = serde_json::from_str(line)?;
    milliseconds(&line["timestamp"])
}

/// The last thing that the process has asked of the API server is the release of its Lease.
fn released_last(requests: &[Request]) -> Result<()> {
    let writes: Vec<&Request> = requests.iter().filter(|request| request.mutating).collect();
    let last = writes.last().context("it has written nothing")?;
    ensure!(last.path.contains("/leases/") && last.took_effect(), "the last write is {last:?}");
    let later = requests.iter().filter(|request| request.seq > last.seq && !request.watch).count();
    ensure!(later == 0, "{later} requests after the release of the Lease");
    Ok(())
}

/// A time of a record in milliseconds since 1970.
fn milliseconds(time: &Value) -> Result<i64> {
    let text = time.as_str().context("no time")?;
    let fraction = text.get(20..23).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    Ok(crate::clock::seconds(text)? * 1000 + fraction)
}

/// Once the stop was known, at `known`, no call began and no intent was written down for one.
async fn nothing_new(world: &World, known: i64) -> Result<()> {
    let until = |within: Duration| Ok::<_, anyhow::Error>(known + i64::try_from(within.as_millis())?);
    let (group, bucket) = futures::try_join!(world.calls(&world.group, true), world.calls(&world.bucket, true))?;
    let end = until(SEND_WITHIN)?;
    let late: Vec<_> = group.into_iter().chain(bucket).filter(|call| call.time > end).collect();
    ensure!(late.is_empty(), "begun after the signal: {late:?}");
    for (_, record) in intents(world).await? {
        if record["state"] == "Prepared" {
            ensure!(milliseconds(&record["written"])? <= until(MOMENT)?, "prepared after {known}: {record}");
        }
        if !record["sendBefore"].is_null() {
            let sent = milliseconds(&record["sendBefore"])?;
            let is_of_bucket = record["resource"].as_str().unwrap_or_default().starts_with("bucket/");
            let within = if is_of_bucket { SEND_RULES_WITHIN } else { SEND_WITHIN };
            ensure!(sent <= until(within + MOMENT)?, "sent after {known}: {record}");
        }
    }
    Ok(())
}

/// The process that was told to stop at `point` has ended as it should.
async fn ended_well(world: &World, point: &str, operator: &Operator, proxy: &KubernetesProxy) -> Result<()> {
    let log = operator.log()?;
    let (told, stopped) = (logged(&log, &format!("told to stop at {point}"))?, logged(&log, "\"stopped\"")?);
    let took = Duration::from_millis(u64::try_from(stopped - told)?);
    ensure!(took <= LONGEST, "it took {took:?} to end");
    released_last(&proxy.requests())?;
    let holder = &lease(world).await?["spec"]["holderIdentity"];
    ensure!(holder.as_str().unwrap_or_default().is_empty(), "the Lease is still held by {holder}");
    nothing_new(world, logged(&log, &format!("the stop is known at {point}"))?).await
}

/// Runs the whole path with an operator that is told to stop at `point`, starts another, and looks at the world.
async fn stop_at(point: &str) -> Result<()> {
    let (faultless, run) = futures::try_join!(faultless(), async {
        let (world, url) = ground(&format!("stop-{}", point.replace(':', ""))).await?;
        let proxy = world.kubernetes_proxy().await?;
        let options = Options::config(elected(&url)).env("LOGWISE_STOP_AT", point).behind(&proxy);
        let mut first = Operator::start(&world, options).await?;
        let code = ending(&world, &mut first).await.with_context(|| format!("the operator never reached {point}"))?;
        ensure!(code == 0, "told to stop at {point} the operator ended with {code}");
        ended_well(&world, point, &first, &proxy).await?;
        let mut second = Operator::start(&world, Options::config(elected(&url))).await?;
        second.wait_ready().await?;
        Ok((world, second))
    })?;
    let (world, _second) = run;
    if world.get_json("lrp", "default").await?["spec"]["changePolicy"]["approvedPlans"].is_null() {
        approve_plan(&world).await?;
    }
    settled(&world).await?;
    Effects::of(&world).await?.same_as(&faultless.1)?;
    world
        .wait_until("the end state of an undisturbed run", PATIENCE, async || {
            EndState::of(&world).await?.same_as(&faultless.0)
        })
        .await
}

#[tokio::test]
async fn before_partitions_are_created() -> Result<()> {
    stop_at("kafka:1:before").await
}

#[tokio::test]
async fn after_the_group_was_raised() -> Result<()> {
    // New instances are protected before it, and then the one that is there.
    stop_at("autoscaling:3:after").await
}

#[tokio::test]
async fn before_rules_are_written() -> Result<()> {
    stop_at("s3:1:before").await
}

#[tokio::test]
async fn after_the_first_intent_was_prepared() -> Result<()> {
    stop_at("kubernetes:1:after").await
}

#[tokio::test]
async fn before_an_intent_is_sent() -> Result<()> {
    stop_at("kubernetes:3:before").await
}

#[tokio::test]
async fn before_the_first_commit() -> Result<()> {
    stop_at("sql:1:before").await
}

/// Every point of the path, in `make prove`.
#[tokio::test]
async fn every_point_of_the_path() -> Result<()> {
    if std::env::var_os("LOGWISE_PROVE").is_none() {
        return stop_at("kafka:1:after").await;
    }
    let systems = [("kafka", 1), ("autoscaling", 1), ("s3", 1), ("kubernetes", 9), ("sql", 4)];
    let points = systems.into_iter().flat_map(|(system, writes)| (1..=writes).map(move |number| (system, number)));
    let points =
        points.flat_map(|(system, number)| ["before", "after"].map(|side| format!("{system}:{number}:{side}")));
    let runs = points.map(async |point| stop_at(&point).await.err().map(|error| format!("{point}: {error:#}")));
    let ended: Vec<Option<String>> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let failed: Vec<String> = ended.into_iter().flatten().collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
