//! Crash points: the process kills itself at a chosen external write, so that tests can show what a restart finds.
//!
//! `LOGWISE_CRASH_AT=<system>:<number>:<before|after>` (for example `kafka:1:after`) ends the process as `kill -9`
//! would, before or after the n-th write to that system. `LOGWISE_STOP_AT=<the same>` sends the process SIGTERM there
//! instead and goes on once the term has ended; `LOGWISE_PAUSE_AT=<the same>` stops it as SIGSTOP does, until SIGCONT.
//! `LOGWISE_COUNT_WRITES=<file>` keeps the number of writes per system in a file, as JSON, so that tests know which points
//! a path has. Only builds with debug assertions know these variables.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Time in which the kernel stops or ends all threads.
const TAKEN_WITHIN: Duration = Duration::from_millis(300);

/// Longest wait at a point until the stop was noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// An outside system that the operator writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Kafka admin calls that change something.
    Kafka,
    /// Auto Scaling calls that change something.
    AutoScaling,
    /// S3 calls that change something.
    S3,
    /// Commits to the Orchestrator DB.
    Sql,
    /// Writes of intents.
    Kubernetes,
    /// Writes of status.
    Status,
    /// Writes of events.
    Events,
    /// Writes of finalizers.
    Finalizers,
    /// Writes of the Lease: taking, renewing and releasing it.
    Lease,
    /// Writes of the epoch.
    Epoch,
    /// Calls of a Spark master that change something: workers that take nothing new, drivers submitted and killed.
    Spark,
    /// Writes of Deployments and their pods: replicas and deletion costs.
    Deployments,
}

impl System {
    const ALL: [Self; 12] = [
        Self::Kafka,
        Self::AutoScaling,
        Self::S3,
        Self::Sql,
        Self::Kubernetes,
        Self::Status,
        Self::Events,
        Self::Finalizers,
        Self::Lease,
        Self::Epoch,
        Self::Spark,
        Self::Deployments,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::AutoScaling => "autoscaling",
            Self::S3 => "s3",
            Self::Sql => "sql",
            Self::Kubernetes => "kubernetes",
            Self::Status => "status",
            Self::Events => "events",
            Self::Finalizers => "finalizers",
            Self::Lease => "lease",
            Self::Epoch => "epoch",
            Self::Spark => "spark",
            Self::Deployments => "deployments",
        }
    }
}

static COUNTS: [AtomicU32; System::ALL.len()] = [const { AtomicU32::new(0) }; System::ALL.len()];

/// One write that is under way.
#[must_use = "without `after` the point after this write is never reached"]
pub struct Write(System, u32);

impl Write {
    /// To be called when the answer of this write has arrived and nothing has been done with it.
    pub fn after(self) {
        reached(self.0, self.1, "after");
    }
}

/// To be called right before a write is sent; others may overtake it.
pub fn begin(system: System) -> Write {
    Write(system, before(system))
}

/// [`begin`] where writes come one by one and the two ends cannot hand over a value; returns the write's number.
pub fn before(system: System) -> u32 {
    let number = COUNTS[system as usize].fetch_add(1, Ordering::SeqCst) + 1;
    if cfg!(debug_assertions) {
        count();
    }
    reached(system, number, "before");
    number
}

/// [`Write::after`] of the last write, for those who called [`before`].
pub fn after(system: System) {
    reached(system, COUNTS[system as usize].load(Ordering::SeqCst), "after");
}

fn count() {
    static FILE: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| std::env::var_os("LOGWISE_COUNT_WRITES").map(Into::into)) else { return };
    let number = |system: &System| COUNTS[*system as usize].load(Ordering::SeqCst);
    let counts: std::collections::BTreeMap<_, _> = System::ALL.iter().map(|s| (s.name(), number(s))).collect();
    // A test that cannot read the file says so.
    let _ = std::fs::write(file, serde_json::json!(counts).to_string());
}

/// `LOGWISE_BREAK=<part>:<namespace>/<name>:<panic|hang>` breaks every look of a part at one object, in builds with
/// debug assertions: to show that nobody else notices.
pub async fn object(part: &str, namespace: &str, name: &str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(chosen) = CHOSEN.get_or_init(|| std::env::var("LOGWISE_BREAK").ok()) else { return };
    let at = format!("{part}:{namespace}/{name}:");
    match chosen.strip_prefix(&at) {
        Some("hang") => std::future::pending().await,
        Some(how) => std::panic::resume_unwind(Box::new(format!("broken on purpose: {how}"))),
        None => {}
    }
}

/// What a variable chooses: system, number and side of a write.
type Point = Option<(String, u32, String)>;

fn reached(system: System, number: u32, when: &str) {
    static CRASH: OnceLock<Point> = OnceLock::new();
    static STOP: OnceLock<Point> = OnceLock::new();
    static PAUSE: OnceLock<Point> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let here = Some((system.name().to_owned(), number, when.to_owned()));
    let chosen = |name| std::env::var(name).ok().as_deref().and_then(parse);
    if *CRASH.get_or_init(|| chosen("LOGWISE_CRASH_AT")) == here {
        // Nothing may run after this point: no destructor, no flush.
        signal(rustix::process::Signal::KILL);
    }
    if *PAUSE.get_or_init(|| chosen("LOGWISE_PAUSE_AT")) == here {
        signal(rustix::process::Signal::STOP);
    }
    if *STOP.get_or_init(|| chosen("LOGWISE_STOP_AT")) == here {
        stop(system, number, when);
    }
}

fn signal(signal: rustix::process::Signal) {
    let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    // Another thread may take the signal: this one must not go on before it has.
    std::thread::sleep(TAKEN_WITHIN);
}

static STOPPING: AtomicBool = AtomicBool::new(false);

/// The end of the term by a stop signal has come.
pub(crate) fn stopping() {
    STOPPING.store(true, Ordering::SeqCst);
}

/// The write goes on only when everybody else may know of the stop, so that what comes after the point comes after it.
fn stop(system: System, number: u32, when: &str) {
    tracing::warn!("told to stop at {}:{number}:{when}", system.name());
    signal(rustix::process::Signal::TERM);
    let end = Instant::now() + NOTICED_WITHIN;
    // The thread's other tasks, one of which may be the one that hears the signal, go on elsewhere.
    tokio::task::block_in_place(|| {
        while !STOPPING.load(Ordering::SeqCst) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    tracing::warn!("the stop is known at {}:{number}:{when}", system.name());
}

fn parse(text: &str) -> Option<(String, u32, String)> {
    let mut parts = text.split(':');
    let point = (parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.to_owned());
    parts.next().is_none().then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_counts_for_itself() {
        for (place, system) in System::ALL.into_iter().enumerate() {
            assert_eq!(system as usize, place, "{}", system.name());
        }
    }

    #[test]
    fn a_crash_point_names_system_number_and_side() {
        assert_eq!(parse("kafka:2:after"), Some(("kafka".into(), 2, "after".into())));
        assert_eq!(parse("kafka:x:after"), None);
        assert_eq!(parse("kafka:1"), None);
    }
}
