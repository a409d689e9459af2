//! Runs one command inside a bed that lives as long as the command.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cache::Cache;
use crate::environment::variables;
use crate::folder::Folder;
use crate::profile::Part;
use crate::progress::Progress;
use crate::up;

/// Prepares and starts the parts, runs the command with the bed's variables, ends the bed, and returns the command's
/// exit code (128 and the signal's number when a signal ended it). SIGTERM is passed on to the command; on a
/// terminal the command gets SIGINT by itself.
pub async fn exec(folder: &Folder, parts: &BTreeSet<Part>, words: &[String], progress: &Progress) -> Result<ExitCode> {
    let cache = Cache::of_user()?;
    let mut interrupted = signal(SignalKind::interrupt()).context("listening to SIGINT")?;
    let mut terminated = signal(SignalKind::terminate()).context("listening to SIGTERM")?;
    let result = tokio::select! {
        result = start_and_run(folder, &cache, parts, words, progress) => result,
        _ = interrupted.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let ended = up::down(folder, &cache, progress).await;
    let code = result?;
    ended?;
    progress.say(format_args!("`{}` ended with code {code}", words.first().map_or("", String::as_str)));
    Ok(ExitCode::from(code))
}

async fn start_and_run(
    folder: &Folder,
    cache: &Cache,
    parts: &BTreeSet<Part>,
    words: &[String],
    progress: &Progress,
) -> Result<u8> {
    up::prepare(cache, parts, progress).await?;
    up::up(folder, cache, parts, progress).await?;
    let (program, args) = words.split_first().context("no command was given after `--`")?;
    progress.say(format_args!("running `{program}`"));
    let mut command = Command::new(program);
    command.args(args).envs(variables(folder)?);
    let child = command.spawn().with_context(|| format!("`{program}` cannot be run"))?;
    Guard { child }.wait().await.map(code)
}

/// A command that is told to end when nobody waits for it any more.
struct Guard {
    child: Child,
}

impl Guard {
    async fn wait(mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("waiting for the command")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        // It may be gone already, which is what is wanted.
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(number).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
    }
}
