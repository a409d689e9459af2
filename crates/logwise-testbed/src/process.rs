//! Servers as processes: started so that no crash of the starter can lose one, recognised by more than a
//! number, ended with everything they started, and nothing else.
//!
//! A [`Server`] says how to run a program and how to tell that it answers. [`start`] keeps it when it already runs
//! and answers, else starts it and waits. [`stop`] ends it. Both record what they do in the bed's `state.json`
//! ([`crate::state`]), so that any later process can go on from there.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::folder::Folder;
use crate::proc::{self, Identity};
use crate::state;

/// Every process of a bed carries the bed's folder in this variable; children inherit it.
pub const OWNER: &str = "LOGWISE_TESTBED_OWNER";
/// The shell waits for one line before it becomes the server: by then the record is written. If the starter dies
/// first, the pipe closes, `read` fails and nothing was started.
const GATE: &str = "read go || exit 1; exec \"$@\" </dev/null";
const LOOK: Duration = Duration::from_millis(50);
/// Lines of a log that an error text shows.
pub(crate) const LAST_LINES: usize = 15;
const ONE_PROBE: Duration = Duration::from_secs(5);

/// A question to a server in its own protocol; an error says why it is not ready yet.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Makes a [`Probe`] of an async closure.
pub fn probe<F, A>(ask: F) -> Probe
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move || Box::pin(ask()))
}

/// How a server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// SIGKILL at once: for servers that keep their promises on disk but take long to say goodbye.
    Kill,
    /// SIGTERM, then SIGKILL for what is left after so many seconds.
    Terminate {
        /// Seconds between the two signals.
        seconds: u64,
    },
}

/// One server of a bed.
#[derive(Clone)]
pub struct Server {
    /// Unique in the bed; names the log file `log/NAME.log` and the record.
    pub name: String,
    /// Absolute path, or a name found on the caller's path.
    pub program: PathBuf,
    /// Arguments after the program.
    pub args: Vec<String>,
    /// Variables on top of the caller's, of which `KUBECONFIG`, `AWS_*`, `SPARK_HOME` and the operator's are removed.
    pub env: Vec<(String, String)>,
    /// Working folder; must exist.
    pub cwd: PathBuf,
    /// How it is ended.
    pub ending: Ending,
    /// Longest time from start to the first answer.
    pub ready_within: Duration,
    /// The readiness check, asked every 50 ms, each ask at most 5 s.
    pub ready: Probe,
}

impl Server {
    /// A program for [`complete`].
    pub fn once(name: &str, program: PathBuf, args: Vec<String>, cwd: &Path, within: Duration) -> Server {
        Server {
            name: name.to_owned(),
            program,
            args,
            env: Vec::new(),
            cwd: cwd.to_owned(),
            ending: Ending::Kill,
            ready_within: within,
            ready: probe(|| async { Ok(()) }),
        }
    }
}

/// A process that was started by a bed, as kept in `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What makes the process number mean this one process.
    #[serde(flatten)]
    pub identity: Identity,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its log file.
    pub log: PathBuf,
    /// How it is ended.
    pub ending: Ending,
    /// When it was started.
    pub started_at: jiff::Timestamp,
}

impl Record {
    /// Whether the recorded process itself runs.
    pub fn alive(&self) -> bool {
        proc::alive(&self.identity)
    }
}

/// What [`start`] found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It ran already and answered.
    Kept,
    /// It was started and answers.
    Started,
}

/// Brings a server to the state "runs and answers". A recorded process that lives and answers is kept; one that is
/// dead, or lives and does not answer within `ready_within` of its start, is cleaned away and started again.
/// Errors: the program cannot be started, it ended before it answered, or it did not answer in time; the text holds
/// the end of its log.
pub async fn start(folder: &Folder, server: &Server) -> Result<Start> {
    if let Some(record) = state::load(folder)?.servers.get(&server.name) {
        if record.alive() && answers_soon(server, record).await {
            return Ok(Start::Kept);
        }
        end(folder, record).await.with_context(|| format!("ending the old {}", server.name))?;
        state::forget(folder, &server.name, record)?;
    }
    let mut running = spawn(folder, server).await?;
    let waited = wait_ready(server, &mut running).await;
    if waited.is_err() {
        stop(folder, &server.name).await?;
    }
    waited.map(|()| Start::Started)
}

/// Runs a program that ends by itself, within `ready_within`. It is recorded like a server, so that `down` ends it when
/// its starter was killed. Errors: it failed, or lasted too long; the text holds the end of its log.
pub async fn complete(folder: &Folder, program: &Server) -> Result<()> {
    stop(folder, &program.name).await?;
    let mut running = spawn(folder, program).await?;
    let ended = tokio::time::timeout(program.ready_within, running.wait()).await;
    stop(folder, &program.name).await?;
    let (name, seconds) = (&program.name, program.ready_within.as_secs());
    let last = || last_words(&running.record.log, LAST_LINES);
    match ended {
        Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
        Ok(status) => bail!("{name} failed ({}){}", status?, last()),
        Err(_) => bail!("{name} did not end within {seconds} s{}", last()),
    }
}

/// A process that this process started: its record and its handle.
#[derive(Debug)]
pub struct Running {
    /// As written to `state.json`.
    pub record: Record,
    /// For its exit status.
    pub child: Child,
}

impl Running {
    /// Waits until the process itself ended.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("waiting for a process")
    }
}

/// Starts a server without waiting for its answer. The record is on disk before the program runs.
pub async fn spawn(folder: &Folder, server: &Server) -> Result<Running> {
    let log = folder.log(&server.name);
    let out = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("opening {}", log.display()))?;
    let err = out.try_clone().context("duplicating the log file's handle")?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GATE, &server.name]).arg(&server.program).args(&server.args).current_dir(&server.cwd);
    for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.env(OWNER, folder.dir()).envs(server.env.iter().map(|(name, value)| (name, value)));
    command.process_group(0).stdin(Stdio::piped()).stdout(out).stderr(err);
    let mut child = command.spawn().with_context(|| format!("starting {}", server.name))?;
    let pid = child.id().with_context(|| format!("{} ended at once", server.name))?;
    let identity = proc::identity(pid).with_context(|| format!("looking at the new process of {}", server.name))?;
    let words = std::iter::once(server.program.display().to_string()).chain(server.args.iter().cloned()).collect();
    let record = Record { identity, command: words, log, ending: server.ending, started_at: jiff::Timestamp::now() };
    state::record(folder, &server.name, &record)?;
    let mut gate = child.stdin.take().context("the gate of a new process has no pipe")?;
    gate.write_all(b"go\n").await.with_context(|| format!("letting {} run", server.name))?;
    Ok(Running { record, child })
}

/// Variables of the caller that must not reach a server: they name other clusters, other accounts, other settings.
fn foreign(name: &str) -> bool {
    let settings = name.starts_with("LOGWISE_") && !name.starts_with("LOGWISE_TESTBED_");
    settings || name.starts_with("AWS_") || name == "KUBECONFIG" || name == "SPARK_HOME"
}

/// Ends the recorded server of that name, with all it started, and forgets it. Nothing recorded is success.
pub async fn stop(folder: &Folder, name: &str) -> Result<()> {
    let Some(record) = state::load(folder)?.servers.remove(name) else {
        return Ok(());
    };
    end(folder, &record).await.with_context(|| format!("ending {name}"))?;
    state::forget(folder, name, &record)
}

/// Waits until the server answers. Errors when it ended, or is not ready `ready_within` after its start.
pub async fn wait_ready(server: &Server, running: &mut Running) -> Result<()> {
    let end = Instant::now() + server.ready_within;
    loop {
        let problem = match ask(server).await {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        if let Some(status) = running.child.try_wait().context("looking at a process")? {
            bail!("{} ended ({status}) before it answered{}", server.name, last_words(&running.record.log, LAST_LINES));
        }
        if Instant::now() >= end {
            let seconds = server.ready_within.as_secs();
            return Err(problem.context(format!(
                "{} did not answer within {seconds} s{}",
                server.name,
                last_words(&running.record.log, LAST_LINES)
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks once whether the server is ready, at most 5 s.
pub async fn ask(server: &Server) -> Result<()> {
    tokio::time::timeout(ONE_PROBE, (server.ready)())
        .await
        .unwrap_or_else(|_| Err(anyhow!("no answer within {} s", ONE_PROBE.as_secs())))
}

/// A server whose starter was killed may still be on its way up: it has the rest of its time.
async fn answers_soon(server: &Server, record: &Record) -> bool {
    let age = Duration::try_from(jiff::Timestamp::now().duration_since(record.started_at)).unwrap_or_default();
    let end = Instant::now() + server.ready_within.saturating_sub(age);
    loop {
        if ask(server).await.is_ok() {
            return true;
        }
        if Instant::now() >= end || !record.alive() {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends the process, its group, and what is left of the group when the process itself died before.
async fn end(folder: &Folder, record: &Record) -> Result<()> {
    let members = || proc::members(&record.identity, folder.dir());
    if let Ending::Terminate { seconds } = record.ending {
        proc::signal(&members(), rustix::process::Signal::TERM)?;
        if gone(&members, Duration::from_secs(seconds)).await {
            return Ok(());
        }
    }
    proc::signal(&members(), rustix::process::Signal::KILL)?;
    if gone(&members, Duration::from_secs(10)).await {
        return Ok(());
    }
    bail!("process {} is still there 10 s after SIGKILL; look at it with `ps -p {0}`", record.identity.pid)
}

async fn gone(members: &impl Fn() -> Vec<Identity>, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while !members().is_empty() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// The last lines of a log, made for an error text; empty when there is none.
pub fn last_words(log: &Path, lines: usize) -> String {
    let Ok(bytes) = std::fs::read(log) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let tail = &all[all.len().saturating_sub(lines)..];
    if tail.is_empty() {
        return format!("; its log {} is empty", log.display());
    }
    format!("; the end of {}:\n    {}", log.display(), tail.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_nothing_that_names_other_clusters_or_accounts() {
        let removed = ["KUBECONFIG", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "LOGWISE_CRASH_AT", "LOGWISE_BED"];
        assert!(removed.iter().all(|name| foreign(name)));
        let kept = ["PATH", "HOME", "LOGWISE_TESTBED_CACHE", "JAVA_HOME", "LAWS_X"];
        assert!(!kept.iter().any(|name| foreign(name)));
    }

    #[tokio::test]
    async fn nothing_is_started_when_the_starter_dies_before_the_record_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "thing", "/usr/bin/touch", "started"]).current_dir(folder.path());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        drop(child.stdin.take());
        assert_eq!(child.wait().await.unwrap().code(), Some(1));
        assert!(!folder.path().join("started").exists());
    }
}
