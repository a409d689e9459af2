//! Where and when figures were measured, and what processes take.

use crate::row;
use anyhow::{Context, Result};
use jiff::Timestamp;
use logwise_testbed::command::{command, output};
use logwise_testbed::workspace;
use std::fmt::Display;
use std::fs;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(10);

/// Prints date, commit and machine: without them a figure says little.
pub(crate) async fn print() -> Result<()> {
    row("date", &format!("{:.0}", Timestamp::now()))?;
    row("commit", &commit().await.unwrap_or_else(|error| format!("not known: {error:#}")))?;
    row("build of this program", if cfg!(debug_assertions) { "debug: its figures say little" } else { "release" })?;
    let processors = output(command("nproc", [""; 0]), DEADLINE).await?;
    row("processors (nproc)", processors.trim())?;
    row("model", &entry("/proc/cpuinfo", "model name")?.unwrap_or_else(|| "not told".to_owned()))?;
    row("memory", &entry("/proc/meminfo", "MemTotal")?.context("no MemTotal")?)
}

async fn commit() -> Result<String> {
    let root = workspace::root()?;
    let git = async |words: &[&str]| {
        let mut git = command("git", words);
        git.current_dir(&root);
        output(git, DEADLINE).await
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).await?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).await?.trim().is_empty();
    Ok(format!("{}{}", commit.trim(), if changed { ", with changes" } else { "" }))
}

/// The value of the first line `key : value` of a file.
fn entry(path: &str, key: &str) -> Result<Option<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let value = text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key);
    Ok(value.map(|(_, value)| value.trim().to_owned()))
}

/// A size of a process in kB, such as `VmHWM`: its highest memory so far.
pub(crate) fn size_kb(process: impl Display, key: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let value = entry(&path, key)?.with_context(|| format!("{path} holds no {key}"))?;
    value.trim_end_matches(" kB").parse().with_context(|| format!("{key} of {path} is {value}"))
}

/// Megabytes of so many kB, by which Linux means 1024 bytes each.
pub(crate) fn megabytes(kb: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(kb)?) * 1024.0 / 1_000_000.0)
}
