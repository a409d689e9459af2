//! The fact board: what one part has read and others need. One channel per pipeline and kind of fact.

use crate::conditions::Draft;
use jiff::Timestamp;
use logwise_plan::Known;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Two facts that were taken further apart than this do not belong together.
pub const TOGETHER: Duration = Duration::from_secs(30);

/// How often a channel drops resources that nobody names any more.
const SWEEP: Duration = Duration::from_secs(60);

/// For how long after its time a fact is kept that nobody follows: until then it says that it is old, or why nothing
/// could be read, and not that nothing was read yet.
const KEPT: Duration = Duration::from_secs(3_600);

/// A fact and when it was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact<T> {
    /// The value, or why there is none.
    pub value: Known<T>,
    /// When the look began that found it.
    pub taken: Instant,
    /// Time between two looks.
    pub period: Duration,
}

impl<T> Fact<T> {
    /// The fact at `now`: older than two of its periods, it is unknown.
    pub fn at(self, now: Instant) -> Self {
        if !self.is_old(now) || self.value.is_unknown() {
            return self;
        }
        let why = format!("not read for more than {} s", (self.period * 2).as_secs());
        Self { value: Known::Unknown(why), ..self }
    }

    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.taken) > self.period * 2
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.taken) > self.period * 2 + KEPT
    }

    /// Whether this fact and another were taken close enough to be compared.
    pub fn belongs_with<U>(&self, other: &Fact<U>) -> bool {
        let apart = self.taken.max(other.taken).saturating_duration_since(self.taken.min(other.taken));
        apart <= TOGETHER
    }
}

/// One kind of fact about any number of resources, by a key of each. A resource that is no longer published
/// and that nobody follows is forgotten.
#[derive(Debug)]
pub struct Channel<T> {
    name: &'static str,
    open: Mutex<Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    senders: HashMap<String, watch::Sender<Option<Fact<T>>>>,
    swept: Option<Instant>,
}

impl<T> Open<T> {
    fn sender(&mut self, resource: &str) -> &watch::Sender<Option<Fact<T>>> {
        self.senders.entry(resource.to_owned()).or_insert_with(|| watch::channel(None).0)
    }

    /// Costs what it holds, so not at every publication.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|last| now.saturating_duration_since(last) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.senders.retain(|_, sender| {
            sender.receiver_count() > 0 || sender.borrow().as_ref().is_some_and(|fact| !fact.is_over(now))
        });
    }
}

impl<T: Clone> Channel<T> {
    fn new(name: &'static str) -> Self {
        Self { name, open: Mutex::new(Open { senders: HashMap::new(), swept: None }) }
    }

    /// What the facts of this channel are called.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Replaces what is known about `resource`, unless that was taken later.
    pub fn publish(&self, resource: &str, fact: Fact<T>) {
        let mut open = self.lock();
        open.sweep(fact.taken);
        open.sender(resource).send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|known| known.taken <= fact.taken);
            if newer {
                *known = Some(fact);
            }
            newer
        });
    }

    /// What is known about `resource` at `now`.
    pub fn read(&self, resource: &str, now: Instant) -> Known<T> {
        self.fact(resource, now)
            .map_or_else(|| Known::Unknown(format!("{} not read yet", self.name)), |fact| fact.value)
    }

    /// What is known about `resource` at `now`, with its time.
    pub fn fact(&self, resource: &str, now: Instant) -> Option<Fact<T>> {
        let fact = self.lock().senders.get(resource)?.borrow().clone();
        fact.map(|fact| fact.at(now))
    }

    /// Follows what is known about `resource`.
    pub fn follow(&self, resource: &str) -> watch::Receiver<Option<Fact<T>>> {
        self.lock().sender(resource).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Open<T>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offsets per topic and partition.
pub type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// End offsets per topic and partition. A topic of which one partition could not be read is unknown as a whole: the rest
/// of it would look like less.
pub type TopicEnds = BTreeMap<String, Known<BTreeMap<i32, i64>>>;

/// First offsets per topic and partition: what lies before them has expired.
pub type TopicStarts = BTreeMap<String, Known<BTreeMap<i32, i64>>>;

/// How far a topic is from losing records that nobody has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headroom {
    /// How long the oldest unread record has waited, and how long it is kept.
    Left {
        /// Age of the record, in milliseconds.
        age_ms: i64,
        /// `retention.ms` of the topic.
        retention_ms: i64,
    },
    /// Unread records are gone.
    Lost {
        /// How many offsets lie between what was read and the first record that is left.
        offsets: i64,
        /// `retention.ms` of the topic, if it has an end that is known: they were as old as that at the least.
        retention_ms: Option<i64>,
    },
}

impl Headroom {
    /// The share of the retention that is left: 1 when the record is new, 0 when it expires, and when records are lost.
    pub fn ratio(&self) -> f64 {
        match *self {
            // Both are far below the numbers that a float does not hold exactly.
            Self::Left { age_ms, retention_ms } if retention_ms > 0 => {
                (1.0 - age_ms as f64 / retention_ms as f64).clamp(0.0, 1.0)
            }
            Self::Left { .. } | Self::Lost { .. } => 0.0,
        }
    }
}

/// What the streaming query has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPosition {
    /// Newest committed batch.
    pub batch: i64,
    /// Next offset to read.
    pub offsets: Offsets,
    /// When that batch was committed.
    pub committed: Timestamp,
    /// The newest committed batches, oldest first, at most [`MOST_BATCHES`]; those whose records could not be counted are
    /// left out.
    pub batches: Vec<BatchFact>,
    /// Id of the query, if the checkpoint holds it.
    pub query: Option<String>,
}

/// Batches of a query that are told.
pub const MOST_BATCHES: usize = 20;

/// A batch that the streaming query has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFact {
    /// Its number.
    pub id: i64,
    /// Records that it read.
    pub records: i64,
    /// When it began.
    pub started: Timestamp,
    /// When it was committed.
    pub committed: Timestamp,
}

/// Cores of the Spark workers that are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// All.
    pub total: i32,
    /// In use.
    pub used: i32,
}

/// A driver that the Spark master has taken and that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Id that the master gave it.
    pub id: String,
    /// Class that it runs.
    pub main_class: String,
    /// State as the master names it, such as `SUBMITTED` or `RUNNING`.
    pub state: String,
    /// Host of the worker that runs it, if it has one that the master still knows.
    pub worker: Option<String>,
}

/// What the preflight of an object found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Generation of the spec that was checked.
    pub generation: i64,
    /// The condition `Validated`.
    pub condition: Draft,
}

/// The facts that parts share, by the uid of the LogwiseCluster on whose behalf they were read. What a resource shows
/// depends on who asks: one pipeline's login may see fewer topics than another's, and neither may see through the other.
#[derive(Debug)]
pub struct FactBoard {
    /// Kafka: end offsets of the selected topics.
    pub topic_ends: Channel<TopicEnds>,
    /// Kafka: first offsets of the selected topics, some minutes old at most.
    pub topic_starts: Channel<TopicStarts>,
    /// Kafka: the oldest unread records of the selected topics.
    pub headroom: Channel<BTreeMap<String, Known<Headroom>>>,
    /// S3: what the streaming query has committed.
    pub position: Channel<CheckpointPosition>,
    /// S3: services with logs in the bucket.
    pub services: Channel<BTreeSet<String>>,
    /// Spark: cores of the workers.
    pub cores: Channel<Cores>,
    /// Spark: drivers that have not ended.
    pub drivers: Channel<Vec<Driver>>,
    /// Preflight: what is missing.
    pub preflight: Channel<Verdict>,
}

impl Default for FactBoard {
    fn default() -> Self {
        Self {
            topic_ends: Channel::new("topic_ends"),
            topic_starts: Channel::new("topic_starts"),
            headroom: Channel::new("retention_headroom"),
            position: Channel::new("checkpoint_position"),
            services: Channel::new("services"),
            cores: Channel::new("cores"),
            drivers: Channel::new("drivers"),
            preflight: Channel::new("preflight"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn fact(taken: Instant, used: i32) -> Fact<Cores> {
        Fact { value: Known::Known(Cores { total: 8, used }), taken, period: PERIOD }
    }

    #[test]
    fn a_fact_that_nobody_has_read_or_that_is_old_is_unknown() {
        let board = FactBoard::default();
        let start = Instant::now();
        assert_eq!(board.cores.read("m", start), Known::Unknown("cores not read yet".into()));
        board.cores.publish("m", fact(start, 1));
        assert_eq!(board.cores.read("m", start + PERIOD * 2), Known::Known(Cores { total: 8, used: 1 }));
        let late = start + PERIOD * 2 + Duration::from_millis(1);
        assert_eq!(board.cores.read("m", late), Known::Unknown("not read for more than 20 s".into()));
        assert!(board.cores.read("n", start).is_unknown());
    }

    #[test]
    fn a_late_report_does_not_replace_a_newer_one() {
        let board = FactBoard::default();
        let start = Instant::now();
        board.cores.publish("m", fact(start + PERIOD, 2));
        board.cores.publish("m", fact(start, 1));
        assert_eq!(board.cores.read("m", start + PERIOD), Known::Known(Cores { total: 8, used: 2 }));
    }

    #[test]
    fn what_nobody_publishes_or_follows_is_forgotten() {
        let board = FactBoard::default();
        let (start, old) = (Instant::now(), Instant::now() + SWEEP * 2);
        let later = old + KEPT;
        board.cores.publish("gone", fact(start, 1));
        let follower = board.cores.follow("followed");
        let held = |resource| board.cores.lock().senders.contains_key(resource);
        board.cores.publish("m", fact(old, 1));
        assert!(held("gone"), "it still says that it is old");
        assert_eq!(board.cores.read("gone", old), Known::Unknown("not read for more than 20 s".into()));
        board.cores.publish("m", fact(later, 1));
        assert_eq!((held("gone"), held("followed"), held("m")), (false, true, true));
        drop(follower);
    }

    #[test]
    fn facts_too_far_apart_do_not_belong_together() {
        let start = Instant::now();
        assert!(fact(start, 1).belongs_with(&fact(start + TOGETHER, 1)));
        assert!(!fact(start + TOGETHER + Duration::from_millis(1), 1).belongs_with(&fact(start, 1)));
    }

    #[tokio::test]
    async fn a_follower_is_told() {
        let board = FactBoard::default();
        let mut follower = board.services.follow("b");
        let value = Known::Known(BTreeSet::from(["api".to_owned()]));
        board.services.publish("b", Fact { value, taken: Instant::now(), period: PERIOD });
        follower.changed().await.unwrap();
        assert!(follower.borrow().is_some());
    }
}
