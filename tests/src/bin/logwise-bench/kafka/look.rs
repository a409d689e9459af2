//! What a look costs, against one watermark call per partition and against Kafka's own command line.

use super::ask::{Calls, Looks, by_command_line};
use super::{FEW, MANY, Topics, child, milliseconds, ratio};
use crate::aims::Aims;
use crate::machine::megabytes;
use crate::row;
use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::proxy::tcp::{LIST_OFFSETS, METADATA, TcpProxy};
use logwise_tests::edits::percentile;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Looks whose times count, after the first one.
const LOOKS: usize = 20;

/// Looks that are counted on the wire.
const COUNTED: u32 = 10;

/// Calls that are counted on the wire.
const SAMPLE: usize = 1_000;

/// Runs of the command line.
const RUNS: usize = 3;

/// Times that a look shall be faster than one call per partition.
const FASTER: f64 = 50.0;

/// How long after an answer its bytes are counted for certain.
const COUNTED_WITHIN: Duration = Duration::from_millis(300);

pub(crate) async fn measure(topics: &mut Topics, aims: &mut Aims) -> Result<()> {
    for number in [FEW, MANY] {
        topics.make(number).await?;
        row(&format!("{number} topics of one partition, one broker"), "")?;
        let at = topics.brokers.bootstrap();
        let proxy = TcpProxy::broker(&at).await?;
        looks_on_the_wire(&proxy, number, aims).await?;
        calls_on_the_wire(&proxy).await?;
        let look = time_of_a_look(&at, number).await?;
        let calls = time_of_calls(&at, number).await?;
        let tool = time_of_the_command_line(&topics.bed, &at, number).await?;
        let times = ratio(calls, look);
        let (name, text) = ("  calls per partition / look", format!("{times:.0}"));
        if number == MANY {
            aims.check(name, &text, (&format!("at least {FASTER}"), times >= FASTER))?;
        } else {
            row(name, &text)?;
        }
        row("  command line / look", &format!("{:.0}", ratio(tool, look)))?;
    }
    Ok(())
}

async fn looks_on_the_wire(proxy: &TcpProxy, number: usize, aims: &mut Aims) -> Result<()> {
    let looks = Looks::open(&proxy.address)?;
    // The first one connects.
    let (_, read) = looks.look().await?;
    ensure!(read == number, "{read} of {number} topics were read");
    let before = Passed::so_far(proxy).await;
    for _ in 0..COUNTED {
        looks.look().await?;
    }
    let passed = Passed::so_far(proxy).await.since(&before);
    let all = u64::from(COUNTED);
    let parts = u64::try_from(number.div_ceil(1_000))?;
    let met = passed.of(METADATA) == all && passed.of(LIST_OFFSETS) == all * parts && passed.others() == 0;
    let requests = passed.requests_per(COUNTED)?;
    aims.check("  look: Metadata, ListOffsets, other requests", &requests, (&format!("1, {parts}, 0"), met))?;
    row("  look: bytes to and from the broker", &passed.bytes_per(COUNTED)?)
}

async fn calls_on_the_wire(proxy: &TcpProxy) -> Result<()> {
    let address = proxy.address.clone();
    let calls = spawn_blocking(move || Calls::open(&address)).await??;
    let before = Passed::so_far(proxy).await;
    let (asked, _) = spawn_blocking(move || calls.ask(SAMPLE, Duration::MAX)).await??;
    let passed = Passed::so_far(proxy).await.since(&before);
    let asked = u32::try_from(asked)?;
    row("  watermark call: Metadata, ListOffsets, other requests", &passed.requests_per(asked)?)?;
    row(&format!("  watermark call: bytes to and from the broker (of {asked})"), &passed.bytes_per(asked)?)
}

/// The median of the looks of a process that does nothing else.
async fn time_of_a_look(at: &str, number: usize) -> Result<Duration> {
    let looked = child::looked(at, LOOKS).await?;
    ensure!(looked.topics == number, "{} of {number} topics were read", looked.topics);
    let median = percentile(&looked.times, 50)?;
    row("  look: first one, which connects, ms", &milliseconds(looked.first))?;
    row(&format!("  look: median of {LOOKS}, ms"), &milliseconds(median))?;
    row(&format!("  look: slowest of {LOOKS}, ms"), &milliseconds(percentile(&looked.times, 100)?))?;
    row("  look: highest memory of its process, MB", &format!("{:.1}", megabytes(looked.peak_kb)?))?;
    Ok(median)
}

/// Listing the partitions and asking for each; reckoned from those that were asked for when it takes too long.
async fn time_of_calls(at: &str, number: usize) -> Result<Duration> {
    let called = child::called(at).await?;
    let (partitions, asked) = (called.partitions, called.asked);
    ensure!(partitions == number && asked > 0, "{asked} of {partitions} partitions were asked for, not of {number}");
    let calling = called.calling * u32::try_from(partitions)? / u32::try_from(asked)?;
    let all = called.listing + calling;
    let name = match partitions - asked {
        0 => format!("  calls: listing and all {partitions}, ms"),
        _ => format!("  calls: listing and {partitions}, by {asked} of them, ms"),
    };
    row(&name, &milliseconds(all))?;
    row("  calls: highest memory of their process, MB", &format!("{:.1}", megabytes(called.peak_kb)?))?;
    Ok(all)
}

async fn time_of_the_command_line(bed: &Bed, at: &str, number: usize) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let (took, told) = by_command_line(bed, at).await?;
        ensure!(told == number, "Kafka's command line told {told} of {number} partitions");
        times.push(took);
    }
    let median = percentile(&times, 50)?;
    row(&format!("  command line: median of {RUNS} runs, ms"), &milliseconds(median))?;
    Ok(median)
}

/// What has passed through a proxy.
struct Passed {
    /// Requests by their kind.
    requests: BTreeMap<i16, u64>,
    to_broker: u64,
    from_broker: u64,
}

impl Passed {
    async fn so_far(proxy: &TcpProxy) -> Passed {
        tokio::time::sleep(COUNTED_WITHIN).await;
        let counts = proxy.counts();
        Passed { requests: proxy.requests(), to_broker: counts.to_server, from_broker: counts.to_client }
    }

    fn since(&self, before: &Passed) -> Passed {
        let requests = self.requests.iter().map(|(kind, number)| (*kind, number - before.of(*kind)));
        Passed {
            requests: requests.collect(),
            to_broker: self.to_broker - before.to_broker,
            from_broker: self.from_broker - before.from_broker,
        }
    }

    fn of(&self, kind: i16) -> u64 {
        self.requests.get(&kind).copied().unwrap_or_default()
    }

    fn others(&self) -> u64 {
        self.requests.values().sum::<u64>() - self.of(METADATA) - self.of(LIST_OFFSETS)
    }

    /// Requests for each of so many looks or calls: Metadata, ListOffsets, others.
    fn requests_per(&self, times: u32) -> Result<String> {
        let per = |number| per(number, times);
        let (metadata, offsets) = (per(self.of(METADATA))?, per(self.of(LIST_OFFSETS))?);
        Ok(format!("{metadata:.2}, {offsets:.2}, {:.2}", per(self.others())?))
    }

    /// Bytes for each of so many looks or calls, to and from the broker.
    fn bytes_per(&self, times: u32) -> Result<String> {
        Ok(format!("{:.0}, {:.0}", per(self.to_broker, times)?, per(self.from_broker, times)?))
    }
}

fn per(number: u64, times: u32) -> Result<f64> {
    Ok(f64::from(u32::try_from(number)?) / f64::from(times))
}
