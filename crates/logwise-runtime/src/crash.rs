//! Crash points: the process kills itself at a chosen external write, so that tests can show what a restart finds.
//!
//! `LOGWISE_CRASH_AT=<system>:<number>:<before|after>` (for example `kafka:1:after`) ends the process as `kill -9`
//! would, before or after the n-th write to that system. `LOGWISE_COUNT_WRITES=<file>` keeps the number of writes per
//! system in a file, as JSON, so that tests know which points a path has. Only builds with debug assertions know the
//! two variables.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

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
    /// Writes to Kubernetes: intents, status, finalizers.
    Kubernetes,
}

impl System {
    const ALL: [Self; 5] = [Self::Kafka, Self::AutoScaling, Self::S3, Self::Sql, Self::Kubernetes];

    const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::AutoScaling => "autoscaling",
            Self::S3 => "s3",
            Self::Sql => "sql",
            Self::Kubernetes => "kubernetes",
        }
    }
}

static COUNTS: [AtomicU32; 5] = [const { AtomicU32::new(0) }; 5];

/// One write that is under way.
#[must_use = "without `after` the point after this write is never reached"]
pub struct Write(System, u32);

impl Write {
    /// To be called when the answer of this write has arrived and nothing has been done with it.
    pub fn after(self) {
        die_if_chosen(self.0, self.1, "after");
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
    die_if_chosen(system, number, "before");
    number
}

/// [`Write::after`] of the last write, for those who called [`before`].
pub fn after(system: System) {
    die_if_chosen(system, COUNTS[system as usize].load(Ordering::SeqCst), "after");
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

fn die_if_chosen(system: System, number: u32, when: &str) {
    if cfg!(debug_assertions)
        && chosen().is_some_and(|point| *point == (system.name().to_owned(), number, when.to_owned()))
    {
        // Nothing may run after this point: no destructor, no flush.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn chosen() -> Option<&'static (String, u32, String)> {
    static CHOSEN: OnceLock<Option<(String, u32, String)>> = OnceLock::new();
    CHOSEN.get_or_init(|| parse(&std::env::var("LOGWISE_CRASH_AT").ok()?)).as_ref()
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
    fn a_crash_point_names_system_number_and_side() {
        assert_eq!(parse("kafka:2:after"), Some(("kafka".into(), 2, "after".into())));
        assert_eq!(parse("kafka:x:after"), None);
        assert_eq!(parse("kafka:1"), None);
    }
}
