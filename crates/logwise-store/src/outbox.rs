//! Rows on their way to the DB: handed over without waiting, written by one task.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::database::Database;
use crate::error::{ErrorClass, StoreError};
use crate::queue::{Due, Queue, Taken};
use crate::record::{Decision, Object, Sample};
use crate::rows::{DecisionRow, DecisionsKept, Limits, LiveList, ObjectRow, SampleRow};
use crate::url::DatabaseUrl;
use crate::write::{CommitHooks, PRUNED_AT_ONCE, Written};

// So many failures in a row with a working connection make the rows suspect.
const SUSPECT_AFTER: u32 = 3;
const PRUNE_EVERY: usize = 200;

/// How the outbox behaves.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// How much may wait.
    pub limits: Limits,
    /// The most rows of one commit.
    pub batch: usize,
    /// How long the first row waits for others.
    pub linger: Duration,
    /// The longest time for opening a connection, and for one transaction.
    pub deadline: Duration,
    /// The first and the longest pause after failures; it doubles in between and up to a half is cut off at random.
    pub pauses: (Duration, Duration),
    /// How long an object that the DB refuses waits before it is tried again.
    pub hold: Duration,
    /// How many decisions stay in the DB.
    pub kept: DecisionsKept,
    /// Crash points of tests.
    pub hooks: CommitHooks,
}

impl Default for OutboxOptions {
    /// 500 rows, 500 ms, 5 s, pauses of 100 ms to 5 s, 60 s.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            batch: 500,
            linger: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
            pauses: (Duration::from_millis(100), Duration::from_secs(5)),
            hold: Duration::from_secs(60),
            kept: DecisionsKept::default(),
            hooks: CommitHooks::default(),
        }
    }
}

/// How the mirror does. Counters start at zero with the process; `pending` is as of the last attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorHealth {
    /// Since when rows that wait could not be written.
    pub failing_since: Option<Timestamp>,
    /// The last failure and the next step, without secrets; kept after the recovery. It differs from attempt to attempt:
    /// conditions take their text from `last_class`.
    pub last_error: Option<String>,
    /// The kind of the last failure; kept after the recovery.
    pub last_class: Option<ErrorClass>,
    /// Rows that wait, held ones included.
    pub pending: usize,
    /// Objects that the DB refused and that are tried again later.
    pub held: usize,
    /// Decisions lost because too many waited or because the DB refused them.
    pub dropped_decisions: u64,
    /// Objects that had to give way; [`MirrorHealth::resend`] asks for them again.
    pub dropped_objects: u64,
    /// The last commit.
    pub last_flush: Option<Timestamp>,
    /// Commits.
    pub flushes: u64,
    /// Grows when the DB may lack rows: after each new connection, and after objects had to give way. The owner then
    /// sends every object and a list of each kind again; what is in the DB already is not written twice.
    pub resend: u64,
}

/// The shutdown ended before everything was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pending} rows were not written to the Orchestrator DB before the shutdown; the next start writes the objects again"
)]
pub struct Unflushed {
    /// Rows that were lost for now.
    pub pending: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No step of the queue leaves it half changed where a panic could happen.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where rows are handed over; cheap to clone. No call waits for the DB.
#[derive(Clone)]
pub struct OutboxHandle {
    shared: Arc<Shared>,
    health: watch::Receiver<MirrorHealth>,
}

impl OutboxHandle {
    /// Hands over the state of an object. Older or equal to what was sent before: nothing happens.
    pub fn send_object(&self, row: ObjectRow) {
        let object = Object::encode(row);
        if self.shared.queue().push_object(object) {
            self.shared.wake.notify_one();
        }
    }

    /// Hands over a decision.
    pub fn send_decision(&self, row: DecisionRow) {
        let decision = Decision::encode(row);
        self.shared.queue().push_decision(decision);
        self.shared.wake.notify_one();
    }

    /// Hands over a sample. Only the newest of each slot waits, at most 64 in all; beyond that the oldest goes. Losses
    /// are not counted: samples are a help after a restart and no more.
    pub fn send_sample(&self, row: SampleRow) {
        let Some(sample) = Sample::encode(row) else {
            tracing::debug!("a sample is too large for the Orchestrator DB and left out");
            return;
        };
        if self.shared.queue().push_sample(sample) {
            self.shared.wake.notify_one();
        }
    }

    /// Hands over a complete list, so that objects that ended unseen are marked. Send the listed objects before it or
    /// after it; every object that is sent after it counts as newer than the list.
    pub fn send_list(&self, list: LiveList) {
        self.shared.queue().push_list(list);
        self.shared.wake.notify_one();
    }

    /// Rows that wait now.
    pub fn pending(&self) -> usize {
        self.shared.queue().pending()
    }

    /// How the mirror does. The channel closes when the outbox ends.
    pub fn health(&self) -> watch::Receiver<MirrorHealth> {
        self.health.clone()
    }
}

/// The task that writes. Dropping it ends the task without a last flush.
pub struct Outbox {
    handle: OutboxHandle,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// Starts the task on the current tokio runtime. Nothing is connected before the first row.
    pub fn start(url: DatabaseUrl, options: OutboxOptions) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::new(options.limits)), wake: Notify::new() });
        let (health, receiver) = watch::channel(MirrorHealth::default());
        let (stop, stopped) = watch::channel(false);
        let flusher = Flusher {
            shared: Arc::clone(&shared),
            database: Database::lazy(url, options.deadline),
            limit: options.batch.max(1),
            options,
            health,
            stop: stopped,
            failures: 0,
            row_failures: 0,
            decisions_to_prune: PRUNE_EVERY,
            samples_to_prune: PRUNE_EVERY,
        };
        Self { handle: OutboxHandle { shared, health: receiver }, stop, task: tokio::spawn(flusher.run()) }
    }

    /// Where rows are handed over.
    pub fn handle(&self) -> OutboxHandle {
        self.handle.clone()
    }

    /// Writes what waits, without lingering, and ends.
    ///
    /// # Errors
    /// [`Unflushed`] when the deadline passed first or the DB refuses rows.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), Unflushed> {
        self.stop.send_replace(true);
        // A task that failed has left its rows in the queue, where they are counted.
        let _ = tokio::time::timeout(deadline, &mut self.task).await;
        match self.handle.pending() {
            0 => Ok(()),
            pending => Err(Unflushed { pending }),
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Flusher {
    shared: Arc<Shared>,
    database: Database,
    options: OutboxOptions,
    health: watch::Sender<MirrorHealth>,
    stop: watch::Receiver<bool>,
    limit: usize,
    failures: u32,
    row_failures: u32,
    decisions_to_prune: usize,
    samples_to_prune: usize,
}

impl Flusher {
    async fn run(mut self) {
        let mut linger = self.options.linger;
        while self.wait_for_rows().await {
            self.pause(linger).await;
            let mut taken = self.shared.queue().take(self.limit, Instant::now());
            if self.decisions_to_prune >= PRUNE_EVERY && self.limit > 1 && !taken.batch.decisions.is_empty() {
                taken.batch.prune = Some(self.options.kept);
            }
            taken.batch.prune_samples =
                self.samples_to_prune >= PRUNE_EVERY && self.limit > 1 && !taken.batch.samples.is_empty();
            let sessions = self.database.sessions();
            let outcome = self.database.write(&taken.batch, self.options.hooks).await;
            let renewed = self.database.sessions() != sessions;
            if renewed {
                self.shared.queue().forget_written();
            }
            linger = match outcome {
                Ok(written) => self.succeeded(&taken, &written, renewed),
                Err(error) => self.failed(&taken, &error, renewed),
            };
        }
    }

    /// False when there is nothing left to wait for.
    async fn wait_for_rows(&mut self) -> bool {
        loop {
            let due = self.shared.queue().due(Instant::now());
            if due == Due::Now {
                return true;
            }
            if self.is_stopping() {
                return false;
            }
            let hold = async {
                match due {
                    Due::At(until) => tokio::time::sleep_until(until.into()).await,
                    Due::Now | Due::Never => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = hold => {}
                // An error means that the outbox is gone, and then this task is aborted.
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Sleeps; the beginning of the shutdown ends it, but pauses within the shutdown are real.
    async fn pause(&mut self, length: Duration) {
        if self.is_stopping() {
            // Lingering for more rows makes no sense any more.
            let length = if self.failures == 0 { Duration::ZERO } else { length };
            return tokio::time::sleep(length).await;
        }
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Returns the pause before the next batch.
    fn succeeded(&mut self, taken: &Taken, written: &Written, renewed: bool) -> Duration {
        (self.failures, self.row_failures) = (0, 0);
        self.limit = self.limit.saturating_mul(2).min(self.options.batch.max(1));
        self.decisions_to_prune = match taken.batch.prune {
            Some(_) if written.pruned < PRUNED_AT_ONCE => 0,
            _ => self.decisions_to_prune.saturating_add(taken.batch.decisions.len()),
        };
        self.samples_to_prune = if taken.batch.prune_samples && written.pruned_samples < PRUNED_AT_ONCE {
            0
        } else {
            self.samples_to_prune.saturating_add(taken.batch.samples.len())
        };
        let recovered = {
            let mut queue = self.shared.queue();
            queue.complete(taken);
            let again = queue.take_resend() || renewed;
            let mut recovered = false;
            self.health.send_modify(|health| {
                count(health, &queue);
                health.resend += u64::from(again);
                health.flushes += 1;
                health.last_flush = Some(Timestamp::now());
                recovered = queue.held() == 0 && health.failing_since.take().is_some();
            });
            recovered
        };
        if recovered {
            tracing::info!("the Orchestrator DB is written again");
        }
        if taken.full { Duration::ZERO } else { self.options.linger }
    }

    /// Returns the pause before the next attempt.
    fn failed(&mut self, taken: &Taken, error: &StoreError, renewed: bool) -> Duration {
        let pause = self.judge(taken, error);
        let text = error.explain();
        let first = {
            let queue = self.shared.queue();
            let mut first = false;
            self.health.send_modify(|health| {
                count(health, &queue);
                health.resend += u64::from(renewed);
                health.last_error = Some(text.clone());
                health.last_class = Some(error.class());
                first = health.failing_since.is_none();
                health.failing_since =
                    (health.pending > 0).then(|| health.failing_since.unwrap_or_else(Timestamp::now));
            });
            first
        };
        if first {
            tracing::warn!(error = %text, "the Orchestrator DB is not written; nothing else depends on it");
        }
        pause
    }

    /// Looks for the row that is at fault by making batches smaller, and sets it aside once it is alone.
    fn judge(&mut self, taken: &Taken, error: &StoreError) -> Duration {
        let rows = taken.batch.rows();
        let refused = matches!(error, StoreError::Write { .. }) && error.class() == ErrorClass::Invalid;
        self.row_failures += u32::from(error.may_be_the_row());
        let suspect = refused || self.row_failures >= SUSPECT_AFTER && error.may_be_the_row();
        if rows == 1 && suspect {
            self.row_failures = 0;
            if self.shared.queue().hold(taken, Instant::now() + self.options.hold) {
                tracing::warn!(error = %error.explain(), "the Orchestrator DB refuses a row; the others go on");
                return Duration::ZERO;
            }
            return self.options.pauses.0;
        }
        let late = matches!(error, StoreError::Deadline { .. });
        if rows > 1 && (suspect || late) {
            self.limit = rows / 2;
            if refused {
                return Duration::ZERO;
            }
        }
        self.failures = self.failures.saturating_add(1);
        let (first, longest) = self.options.pauses;
        let longest = first.saturating_mul(1 << (self.failures - 1).min(16)).min(longest);
        longest - longest.mul_f64(random() / 2.0)
    }
}

fn count(health: &mut MirrorHealth, queue: &Queue) {
    health.pending = queue.pending();
    health.held = queue.held();
    health.dropped_decisions = queue.dropped_decisions();
    health.dropped_objects = queue.dropped_objects();
}

/// From 0 to 1: each hasher state of the standard library is seeded afresh.
fn random() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}
