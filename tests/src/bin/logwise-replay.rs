//! Plans again every decision of the Spark part that the worlds of a bed have on record: the same inputs give the same
//! answer.
//!
//! Run it at the end of a test run, on the bed of `$LOGWISE_BED`, with the time at which the run began, in seconds
//! since 1970: on a bed that goes on, earlier worlds may be of an operator that decided otherwise. Exit code 1 when a
//! decision comes out otherwise, or when there is none.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use logwise_testbed::bed::Bed;
use logwise_testbed::profile::Part;
use logwise_tests::replay::replayed_since;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

/// Decisions that are shown of those that differ.
const SHOWN: usize = 20;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let began = std::env::args().nth(1).context("the time at which the tests began is missing")?;
    let began: u64 = began.parse().with_context(|| format!("{began} is no number of seconds"))?;
    let bed = Bed::attach_with(&[Part::Sql])?;
    let all = replayed_since(&bed, UNIX_EPOCH + Duration::from_secs(began)).await?;
    let mut out = std::io::stdout().lock();
    let differing = all.differing.len();
    writeln!(out, "replay: {} decisions of {} worlds, {differing} came out otherwise", all.decisions, all.worlds)?;
    for told in all.differing.iter().take(SHOWN) {
        writeln!(out, "{told}")?;
    }
    Ok(if all.decisions > 0 && differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
