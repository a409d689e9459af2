//! Clocks that are wrong by five minutes, or jump, and a Lease API that is slow: who leads and what is done follows the
//! time that passes, not the time of day.

use crate::replicas::{
    LEASE, epoch, ground, leads, lease, partitions, reach, replica, wait_follows, wait_leads, wait_partitions,
};
use anyhow::{Context, Result, ensure};
use logwise_testbed::clock::Clock;
use logwise_testbed::operator::Options;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::stand_in::{Call, Fault};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, raises, wait_condition};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How far a clock is put.
const JUMP: i64 = 300;

/// After the raise: new instances are protected before it, and then the one that is there.
const RAISED: &str = "autoscaling:3:after";

/// Less than a jump, more than any delay of a test.
const NEAR: i64 = 120;

/// Seconds since 1970 by the machine's clock.
fn now() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().try_into()?)
}

/// Seconds since 1970 of a time such as `2026-11-24T21:08:38`, with or without dashes and colons.
pub(crate) fn seconds(text: &str) -> Result<i64> {
    let digits: String = text.chars().take_while(|c| *c != '.').filter(char::is_ascii_digit).collect();
    let part = |from: usize, to: usize| -> Result<i64> {
        Ok(digits.get(from..to).with_context(|| format!("{text:?} is no time"))?.parse()?)
    };
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    // Days since 1970 of a date, the year beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Ok(((days * 24 + part(8, 10)?) * 60 + part(10, 12)?) * 60 + part(12, 14)?)
}

/// Raises among these calls that were carried out.
fn raised(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.action == "SetDesiredCapacity" && call.outcome.status == Some(200)).count()
}

/// Waits for a renewal by a clock that is `shift` seconds ahead.
async fn wait_renewed_by(world: &World, shift: i64) -> Result<()> {
    world
        .wait_until("a renewal by the clock that was put", PATIENCE, async || {
            let renewed = seconds(lease(world).await?["spec"]["renewTime"].as_str().context("no renewTime")?)?;
            ensure!((renewed - now()? - shift).abs() < NEAR, "renewed {} s from now", renewed - now()?);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_leader_whose_clock_jumps_goes_on_leading() -> Result<()> {
    let (world, url) = ground("clock-leader").await?;
    let clock = Clock::new(&world, "leader").await?;
    let leader = replica(&world, &url, Options::default().clock(&clock)).await?;
    let follower = replica(&world, &url, Options::default()).await?;
    wait_leads(&world, &leader).await?;
    reach(&world, 2, 3).await?;
    let began = epoch(&world).await?;
    for (workers, partitions, shift) in [(3, 4, JUMP), (4, 5, 0), (5, 6, -JUMP)] {
        clock.shift(shift)?;
        wait_renewed_by(&world, shift).await?;
        if shift < 0 {
            // A failure is tried again after some seconds, whatever the time of day has become meanwhile.
            world.fault(&Fault::error(&world.group, "SetDesiredCapacity", 500, "InternalFailure")).await?;
        }
        reach(&world, workers, partitions).await?;
    }
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(leads(&leader).await? && !leads(&follower).await?, "leading passed on");
    ensure!(epoch(&world).await? == began, "one term: {} after {began}", epoch(&world).await?);
    let calls = world.calls(&world.group, true).await?;
    ensure!(raised(&calls) == 4, "each change of the spec is one raise: {calls:?}");
    Ok(())
}

/// A replica whose clock is wrong leaves a healthy Lease alone, and takes a dead one in time.
async fn wrong_follower(name: &str, shift: i64) -> Result<()> {
    let (world, url) = ground(name).await?;
    let clock = Clock::new(&world, "follower").await?;
    clock.shift(shift)?;
    let mut leader = replica(&world, &url, Options::default()).await?;
    wait_leads(&world, &leader).await?;
    reach(&world, 2, 3).await?;
    let began = epoch(&world).await?;
    let follower = replica(&world, &url, Options::default().clock(&clock)).await?;
    let mut renewals = BTreeSet::new();
    world
        .wait_until("renewals over two Lease times", PATIENCE, async || {
            ensure!(!leads(&follower).await?, "the follower has taken a Lease that is renewed");
            renewals.insert(lease(&world).await?["metadata"]["resourceVersion"].to_string());
            ensure!(renewals.len() > 6, "seen {}", renewals.len());
            Ok(())
        })
        .await?;
    ensure!(epoch(&world).await? == began, "leading has passed on and back");
    leader.kill9().await?;
    let killed = Instant::now();
    wait_leads(&world, &follower).await?;
    // By the time of day it would be five minutes, or at once.
    let took = killed.elapsed();
    ensure!(took < Duration::from_secs(LEASE * 10), "the Lease was taken after {took:?}");
    wait_renewed_by(&world, shift).await?;
    reach(&world, 3, 4).await?;
    ensure!(epoch(&world).await? == began + 1, "a take-over has a number of its own");
    ensure!(raises(&world).await? == 2, "each change of the spec is one raise: {}", raises(&world).await?);
    Ok(())
}

#[tokio::test]
async fn a_follower_whose_clock_is_fast_waits_for_the_lease() -> Result<()> {
    wrong_follower("clock-fast", JUMP).await
}

#[tokio::test]
async fn a_follower_whose_clock_is_slow_waits_for_the_lease() -> Result<()> {
    wrong_follower("clock-slow", -JUMP).await
}

/// A dead leader's open intent is waited for on the own clock: a wrong time of day neither skips the wait nor makes it long.
#[tokio::test]
async fn an_open_intent_of_a_fast_clock_is_judged_in_time() -> Result<()> {
    let (world, url) = ground("clock-intent").await?;
    let clock = Clock::new(&world, "dead").await?;
    clock.shift(JUMP)?;
    apply(&world, &[&crate::replicas::demo(&world, 2, 3)?]).await?;
    let options = Options::default().clock(&clock).env("LOGWISE_CRASH_AT", RAISED);
    let mut dead = replica(&world, &url, options).await?;
    ensure!(dead.wait_exit().await? == 128 + 9, "it should have died after its call");
    let (_, record) = crate::replicas::intent(&world, "group/").await?;
    ensure!(record["state"] == "Sent", "{record}");
    let written = seconds(record["written"].as_str().context("no time")?)?;
    ensure!((written - now()? - JUMP).abs() < NEAR, "not written by the fast clock: {record}");
    let _next = replica(&world, &url, Options::default()).await?;
    let began = Instant::now();
    world
        .wait_until("the intent to be judged", PATIENCE, async || {
            let (_, record) = crate::replicas::intent(&world, "group/").await?;
            ensure!(record["state"] == "Done" && record["wish"]["targets"]["to"] == 2, "{record}");
            Ok(())
        })
        .await?;
    ensure!(began.elapsed() < Duration::from_secs(60), "judged after {:?}", began.elapsed());
    reach(&world, 3, 4).await?;
    ensure!(raises(&world).await? == 2, "nothing is repeated: {}", raises(&world).await?);
    Ok(())
}

/// `demo` with a window that opens on minute `minute` of the day (UTC) for five minutes.
fn windowed(world: &World, partitions: usize, minute: i64) -> Value {
    let mut object = cluster(world, "demo");
    object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(partitions);
    let schedule = format!("{} {} * * *", minute % 60, minute / 60 % 24);
    object["spec"]["changePolicy"] = json!({
        "windows": [{"name": "soon", "schedule": schedule, "durationMinutes": 4, "timeZone": "UTC"}],
    });
    object
}

#[tokio::test]
async fn a_window_opens_and_closes_with_the_clock_that_was_put() -> Result<()> {
    let (world, url) = ground("clock-window").await?;
    let clock = Clock::new(&world, "window").await?;
    let _leader = replica(&world, &url, Options::default().clock(&clock)).await?;
    // Three to four minutes from now.
    let minute = now()? / 60 + 4;
    apply(&world, &[&windowed(&world, 3, minute)]).await?;
    wait_condition(&world, ("lwc", "demo"), ("PartitionsLimited", "True", "WaitingForWindow")).await?;
    ensure!(partitions(&world).await? == 1, "grown before the window");
    clock.shift(JUMP)?;
    wait_partitions(&world, 3).await?;
    clock.shift(-JUMP)?;
    apply(&world, &[&windowed(&world, 5, minute)]).await?;
    wait_condition(&world, ("lwc", "demo"), ("PartitionsLimited", "True", "WaitingForWindow")).await?;
    ensure!(partitions(&world).await? == 3, "grown after the window");
    clock.shift(JUMP)?;
    wait_partitions(&world, 5).await
}

/// Carries connections to the AWS stand-in and keeps the times at which requests were signed.
async fn watched_aws(to: String, signed: Arc<Mutex<Vec<i64>>>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            if let Ok(far) = TcpStream::connect(&to).await {
                tokio::spawn(carry(near, far, signed.clone()));
            }
        }
    });
    Ok(endpoint)
}

async fn carry(near: TcpStream, far: TcpStream, signed: Arc<Mutex<Vec<i64>>>) -> Result<()> {
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let (mut bytes, mut seen) = (vec![0; 16 * 1024], String::new());
    loop {
        let read = from_client.read(&mut bytes).await?;
        if read == 0 {
            break;
        }
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        while let Some(place) = seen.find("x-amz-date: ") {
            let Some(time) = seen.get(place + 12..place + 28).map(str::to_owned) else { break };
            signed.lock().expect("nobody panics with this lock").push(seconds(&time)?);
            seen.drain(..place + 28);
        }
        to_server.write_all(&bytes[..read]).await?;
    }
    back.abort();
    Ok(())
}

#[tokio::test]
async fn aws_requests_are_signed_by_the_clock_of_aws() -> Result<()> {
    let (world, url) = ground("clock-aws").await?;
    let clock = Clock::new(&world, "aws").await?;
    clock.shift(JUMP)?;
    let signed = Arc::new(Mutex::new(Vec::new()));
    let host = world.bed.aws.endpoint.strip_prefix("http://").context("the endpoint is not plain HTTP")?.to_owned();
    let endpoint = watched_aws(host, signed.clone()).await?;
    let config = json!({"database": {"url": url}, "aws": {"endpointURL": endpoint}});
    let mut operator =
        logwise_testbed::operator::Operator::start(&world, Options::config(config).clock(&clock)).await?;
    operator.wait_ready().await?;
    // As AWS answers a request that was signed at a wrong time.
    world.fault(&Fault::error(&world.group, "SetDesiredCapacity", 403, "RequestTimeTooSkewed")).await?;
    reach(&world, 2, 3).await?;
    let take = || std::mem::take(&mut *signed.lock().expect("nobody panics with this lock"));
    let first = take();
    let near = |shift: i64| move |time: &i64| now().is_ok_and(|now| (time - now - shift).abs() < NEAR);
    ensure!(first.first().is_some_and(near(JUMP)), "the first request was not signed by the fast clock: {first:?}");
    ensure!(first.last().is_some_and(near(0)), "the difference was not learnt: {first:?} at {}", now()?);
    clock.shift(-JUMP)?;
    reach(&world, 3, 4).await?;
    let second = take();
    ensure!(second.last().is_some_and(near(0)), "the new difference was not learnt: {second:?} at {}", now()?);
    let calls = world.calls(&world.group, true).await?;
    ensure!(raised(&calls) == 2, "each change of the spec is one raise: {calls:?}");
    Ok(())
}

#[tokio::test]
async fn a_slow_lease_api_costs_the_lease_and_nothing_else() -> Result<()> {
    let (world, url) = ground("lease-slow").await?;
    let (slow, leases) = (world.kubernetes_proxy().await?, "/leases/");
    let first = replica(&world, &url, Options::default().behind(&slow)).await?;
    wait_leads(&world, &first).await?;
    reach(&world, 2, 3).await?;
    let began = epoch(&world).await?;
    // Late, but within a third of the Lease time.
    let late = slow.add(Rule::new(leases, Action::Delay(Duration::from_millis(200)))?.times(0));
    let second = replica(&world, &url, Options::default()).await?;
    world
        .wait_until("late answers", PATIENCE, async || {
            ensure!(slow.hits(late) > 8, "{} so far", slow.hits(late));
            Ok(())
        })
        .await?;
    ensure!(leads(&first).await? && epoch(&world).await? == began, "late answers are answers");
    slow.clear();
    // Later than any call about the Lease is waited for.
    slow.add(Rule::new(leases, Action::Delay(Duration::from_secs(LEASE)))?.times(0));
    wait_leads(&world, &second).await?;
    wait_follows(&world, &first).await?;
    ensure!(first.log()?.contains("no longer leading"), "it has not stepped down");
    reach(&world, 3, 4).await?;
    ensure!(epoch(&world).await? > began, "the epoch went back: {} after {began}", epoch(&world).await?);
    slow.clear();
    reach(&world, 4, 5).await?;
    ensure!(raises(&world).await? == 3, "each change of the spec is one raise: {}", raises(&world).await?);
    Ok(())
}
