//! Runs programs to their end, and says what they said when they fail.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::progress::Progress;

const PAUSE: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 4;

/// A program with arguments, to be run in a folder.
pub fn command<A: AsRef<std::ffi::OsStr>>(program: impl AsRef<Path>, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command and returns its standard output. Errors when it cannot be started, fails, or lasts longer than
/// `deadline`; the text holds the command and the end of what it wrote to standard error.
pub async fn output(mut command: Command, deadline: Duration) -> Result<String> {
    let line = describe(&command);
    let result = tokio::time::timeout(deadline, command.output()).await;
    let output = result.with_context(|| format!("`{line}` did not end within {} s", deadline.as_secs()))?;
    let output = output.with_context(|| format!("`{line}` cannot be run"))?;
    if !output.status.success() {
        let text = [output.stderr, output.stdout].concat();
        bail!("`{line}` failed ({}): {}", output.status, tail(&String::from_utf8_lossy(&text)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that loads things from the network; tried again after a pause, as registries have moods.
pub async fn download(
    progress: &Progress,
    what: &str,
    command: impl Fn() -> Command,
    deadline: Duration,
) -> Result<String> {
    let mut attempt = 1;
    loop {
        match output(command(), deadline).await {
            Ok(text) => return Ok(text),
            Err(error) if attempt < ATTEMPTS => {
                progress.say(format_args!("{what}: attempt {attempt} of {ATTEMPTS} failed, trying again: {error:#}"))
            }
            Err(error) => return Err(error.context(format!("{what} failed {ATTEMPTS} times"))),
        }
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

fn describe(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    if line.chars().count() > 200 { line.chars().take(200).chain(" ...".chars()).collect() } else { line }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_says_what_the_program_said() {
        let failing = command("/bin/sh", ["-c", "echo the reason >&2; exit 3"]);
        let error = output(failing, Duration::from_secs(20)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("the reason"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended() {
        let error = output(command("/bin/sleep", ["100"]), Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(error.contains("did not end"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = output(command("/no/such/program", ["x"]), Duration::from_secs(1)).await.unwrap_err();
        assert!(format!("{error:#}").contains("`/no/such/program x` cannot be run"), "{error:#}");
    }
}
