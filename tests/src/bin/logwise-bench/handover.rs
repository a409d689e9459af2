//! How long nobody leads: after a shutdown and after a crash of the leader.

use crate::row;
use anyhow::{Context, Result, bail};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use serde_json::json;
use std::time::{Duration, Instant};

/// Hand-overs of each kind.
const ROUNDS: usize = 5;

/// Seconds of the Lease.
const LEASE: u64 = 5;

/// Longest wait for a leader.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> Result<()> {
    let world = World::new(&Bed::attach()?, "bench-lead").await?;
    let url = world.create_schema().await?;
    let mut replicas = vec![replica(&world, &url).await?, replica(&world, &url).await?];
    let (mut stopped, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let place = leader(&replicas).await?;
        let mut old = replicas.swap_remove(place);
        let began = Instant::now();
        let end = old.stop();
        let (_, took) = tokio::try_join!(end, led_after(&replicas, began))?;
        stopped.push(took);
        replicas.push(replica(&world, &url).await?);
    }
    for _ in 0..ROUNDS {
        let place = leader(&replicas).await?;
        let mut old = replicas.swap_remove(place);
        let began = Instant::now();
        old.kill9().await?;
        killed.push(led_after(&replicas, began).await?);
        replicas.push(replica(&world, &url).await?);
    }
    print("hand-over on shutdown, ms (slowest of 5)", &stopped)?;
    print(&format!("hand-over on kill -9 with a Lease of {LEASE} s, ms (slowest of 5)"), &killed)
}

fn print(name: &str, times: &[Duration]) -> Result<()> {
    let slowest = times.iter().max().context("no round")?;
    row(name, &slowest.as_millis().to_string())
}

async fn replica(world: &World, url: &str) -> Result<Operator> {
    let election = json!({"enabled": true, "leaseSeconds": LEASE});
    let config = json!({"database": {"url": url}, "leaderElection": election});
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

async fn leader(replicas: &[Operator]) -> Result<usize> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for (place, replica) in replicas.iter().enumerate() {
            if replica.metrics().await?.contains("logwise_operator_is_leader 1\n") {
                return Ok(place);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("nobody leads")
}

/// Time from `began` until one of `replicas` leads.
async fn led_after(replicas: &[Operator], began: Instant) -> Result<Duration> {
    leader(replicas).await?;
    Ok(began.elapsed())
}
