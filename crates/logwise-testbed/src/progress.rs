//! Progress on standard error, each line with the seconds since the command began.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

const REMINDER: Duration = Duration::from_secs(20);

/// Prints progress; clones share the clock.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    start: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Progress {
        Progress { start: Instant::now() }
    }

    /// Prints one line.
    pub fn say(&self, text: impl Display) {
        let seconds = self.start.elapsed().as_secs_f64();
        // Nobody can be told that standard error is closed.
        drop(writeln!(std::io::stderr().lock(), "[{seconds:7.1} s] {text}"));
    }

    /// Runs a step that may be long: says when it begins, every 20 s that it goes on, and how long it took.
    pub async fn step<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.say(format_args!("{what} ..."));
        let start = Instant::now();
        let mut work = std::pin::pin!(work);
        let result = loop {
            match tokio::time::timeout(REMINDER, &mut work).await {
                Ok(result) => break result,
                Err(_) => self.say(format_args!("{what}: going on for {} s", start.elapsed().as_secs())),
            }
        };
        let outcome = if result.is_ok() { "done" } else { "FAILED" };
        self.say(format_args!("{what}: {outcome} after {:.1} s", start.elapsed().as_secs_f64()));
        result
    }
}
