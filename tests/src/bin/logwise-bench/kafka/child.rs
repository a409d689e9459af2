//! One way to ask Kafka in a process that does nothing else: its memory is that of this way alone.

use super::ask::{Calls, Looks};
use crate::machine::size_kb;
use anyhow::{Context, Result, bail};
use logwise_testbed::command::{command, output};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

/// The first argument of a child.
pub(crate) const WORD: &str = "child";

const LOOKS: &str = "looks";
const CALLS: &str = "calls";

/// How long one call per partition is gone on with; what is left is reckoned from what was asked.
const CALLING: Duration = Duration::from_secs(120);

/// How long a child may take.
const LONGEST: Duration = Duration::from_secs(600);

/// What a child tells that has looked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Looked {
    /// Topics that each look has read.
    pub(crate) topics: usize,
    /// The first look, which connects.
    pub(crate) first: Duration,
    /// The others.
    pub(crate) times: Vec<Duration>,
    /// Highest memory of the process, in kB.
    pub(crate) peak_kb: u64,
}

/// What a child tells that has asked for one partition after the other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Called {
    /// Partitions there are.
    pub(crate) partitions: usize,
    /// Partitions that were asked for.
    pub(crate) asked: usize,
    /// Time to list them.
    pub(crate) listing: Duration,
    /// Time to ask.
    pub(crate) calling: Duration,
    /// Highest memory of the process, in kB.
    pub(crate) peak_kb: u64,
}

/// Starts a child that looks once and `rounds` times more.
pub(crate) async fn looked(bootstrap: &str, rounds: usize) -> Result<Looked> {
    start(&[LOOKS, bootstrap, &rounds.to_string()]).await
}

/// Starts a child that asks for each partition.
pub(crate) async fn called(bootstrap: &str) -> Result<Called> {
    start(&[CALLS, bootstrap]).await
}

async fn start<T: DeserializeOwned>(order: &[&str]) -> Result<T> {
    let own = std::env::current_exe().context("finding this program")?;
    let text = output(command(own, [&[WORD], order].concat()), LONGEST).await?;
    serde_json::from_str(&text).with_context(|| format!("reading what a child tells: {text}"))
}

/// What the child does by the words after [`WORD`].
pub(crate) async fn run(order: &[String]) -> Result<()> {
    let words: Vec<&str> = order.iter().map(String::as_str).collect();
    let told = match words[..] {
        [LOOKS, bootstrap, rounds] => serde_json::to_string(&look(bootstrap, rounds.parse()?).await?)?,
        [CALLS, bootstrap] => serde_json::to_string(&call(bootstrap)?)?,
        _ => bail!("a child cannot do that: {words:?}"),
    };
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}

async fn look(bootstrap: &str, rounds: usize) -> Result<Looked> {
    let looks = Looks::open(bootstrap)?;
    let (first, topics) = looks.look().await?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        times.push(looks.look().await?.0);
    }
    Ok(Looked { topics, first, times, peak_kb: size_kb("self", "VmHWM")? })
}

fn call(bootstrap: &str) -> Result<Called> {
    let calls = Calls::open(bootstrap)?;
    let (asked, calling) = calls.ask(usize::MAX, CALLING)?;
    let (partitions, listing) = (calls.partitions(), calls.listing());
    Ok(Called { partitions, asked, listing, calling, peak_kb: size_kb("self", "VmHWM")? })
}
