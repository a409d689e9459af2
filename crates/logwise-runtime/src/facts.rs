//! The fact board: what one part has read and others need. One channel per external resource and kind of fact.

use logwise_plan::Known;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Two facts that were taken further apart than this do not belong together.
pub const TOGETHER: Duration = Duration::from_secs(30);

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
        let age = now.saturating_duration_since(self.taken);
        let most = self.period * 2;
        if age <= most || self.value.is_unknown() {
            return self;
        }
        let why = format!("not read for more than {} s", most.as_secs());
        Self { value: Known::Unknown(why), ..self }
    }

    /// Whether this fact and another were taken close enough to be compared.
    pub fn belongs_with<U>(&self, other: &Fact<U>) -> bool {
        let apart = self.taken.max(other.taken).saturating_duration_since(self.taken.min(other.taken));
        apart <= TOGETHER
    }
}

/// One kind of fact about any number of resources, by the resource's identity.
#[derive(Debug)]
pub struct Channel<T> {
    what: &'static str,
    open: Mutex<HashMap<String, watch::Sender<Option<Fact<T>>>>>,
}

impl<T: Clone> Channel<T> {
    fn new(what: &'static str) -> Self {
        Self { what, open: Mutex::default() }
    }

    /// Replaces what is known about `resource`, unless that was taken later.
    pub fn publish(&self, resource: &str, fact: Fact<T>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = open.entry(resource.to_owned()).or_insert_with(|| watch::channel(None).0);
        sender.send_if_modified(|known| {
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
            .map_or_else(|| Known::Unknown(format!("{} not read yet", self.what)), |fact| fact.value)
    }

    /// What is known about `resource` at `now`, with its time.
    pub fn fact(&self, resource: &str, now: Instant) -> Option<Fact<T>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let fact = open.get(resource)?.borrow().clone();
        fact.map(|fact| fact.at(now))
    }

    /// Follows what is known about `resource`.
    pub fn follow(&self, resource: &str) -> watch::Receiver<Option<Fact<T>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(resource.to_owned()).or_insert_with(|| watch::channel(None).0).subscribe()
    }

    /// Forgets a resource that nobody names any more.
    pub fn forget(&self, resource: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
    }
}

/// End offsets per topic and partition.
pub type TopicEnds = BTreeMap<String, BTreeMap<i32, i64>>;

/// What the streaming query has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPosition {
    /// Newest committed batch.
    pub batch: i64,
    /// Next offset to read per topic and partition.
    pub offsets: TopicEnds,
}

/// Cores of the Spark workers that are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// All.
    pub total: i32,
    /// In use.
    pub used: i32,
}

/// The facts that parts share.
#[derive(Debug)]
pub struct FactBoard {
    /// Kafka: by cluster id and topic selection.
    pub topic_ends: Channel<TopicEnds>,
    /// S3: by bucket and query.
    pub position: Channel<CheckpointPosition>,
    /// S3: services by bucket and logs prefix.
    pub services: Channel<std::collections::BTreeSet<String>>,
    /// Spark: by master.
    pub cores: Channel<Cores>,
    /// Spark: live drivers by master, as id and main class.
    pub drivers: Channel<Vec<(String, String)>>,
}

impl Default for FactBoard {
    fn default() -> Self {
        Self {
            topic_ends: Channel::new("end offsets"),
            position: Channel::new("the checkpoint"),
            services: Channel::new("services"),
            cores: Channel::new("cores"),
            drivers: Channel::new("drivers"),
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
        board.cores.forget("m");
        assert!(board.cores.read("m", start).is_unknown());
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
    fn facts_too_far_apart_do_not_belong_together() {
        let start = Instant::now();
        assert!(fact(start, 1).belongs_with(&fact(start + TOGETHER, 1)));
        assert!(!fact(start + TOGETHER + Duration::from_millis(1), 1).belongs_with(&fact(start, 1)));
    }

    #[tokio::test]
    async fn a_follower_is_told() {
        let board = FactBoard::default();
        let mut follower = board.services.follow("b");
        let value = Known::Known(std::collections::BTreeSet::from(["api".to_owned()]));
        board.services.publish("b", Fact { value, taken: Instant::now(), period: PERIOD });
        follower.changed().await.unwrap();
        assert!(follower.borrow().is_some());
    }
}
