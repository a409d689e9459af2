//! What the load is judged by: facts that other parts have told, and what this term remembers of earlier ones.

use crate::context::Context;
use crate::nearest::{self, Nearest};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, Checkpoint};
use logwise_plan::Known;
use logwise_plan::workers::{Batch, Load, Progress, Risk, Sample};
use logwise_runtime::facts::{BatchFact, CheckpointPosition, Fact, Headroom, Offsets, TopicEnds, TopicStarts};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Samples that are kept, and for how long: a little longer than rates are measured.
const SAMPLES: (usize, Duration) = (61, Duration::from_secs(11 * 60));

/// The newest samples, of which none is left out where there are more than are kept.
const NEWEST: usize = 20;

/// Counts of the application's cores that are kept, and for how long: batches of the last half hour are measured.
const CORES: (usize, SignedDuration) = (240, SignedDuration::from_mins(60));

/// By how much two clocks may move apart between two samples before one of them counts as put.
const DRIFT: SignedDuration = SignedDuration::from_secs(2);

/// Records of a partition that may seem to be read before they are there, at the least: offsets and position are not
/// read at the same moment. Of a partition with many records a hundredth of them.
const AHEAD: i64 = 1_000;

/// Looks at Kafka that are as far apart as this do not always make the samples that a rate takes: five within ten
/// minutes, the newest of the last two.
const SELDOM: Duration = Duration::from_secs(120);

/// What is said of a fact until it is first told.
pub(crate) const NOT_YET: &str = "not read yet";

/// What the load is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    pub load: Load,
    pub risk: Known<Risk>,
    /// The topic whose unread records are nearest to their end.
    pub nearest: Option<Nearest>,
    /// Records that were not read, if that was found out a short time ago.
    pub backlog: Option<i64>,
    /// Seconds for which the oldest of them has waited.
    pub oldest_seconds: Option<i64>,
}

/// What stands on the fact board.
struct Board {
    ends: Fact<TopicEnds>,
    position: Fact<CheckpointPosition>,
    starts: Known<TopicStarts>,
    headroom: Known<BTreeMap<String, Known<Headroom>>>,
    /// How far from a batch a count of cores may lie.
    near: SignedDuration,
}

/// Reads the fact board for this object, and remembers what is new there. `app_cores` are those that the application
/// has now.
pub(crate) fn gather(
    cluster: &LogwiseCluster,
    context: &Context,
    app_cores: Option<i32>,
    (instant, now): (Instant, Timestamp),
) -> Signals {
    let (uid, facts) = (cluster.uid().unwrap_or_default(), &context.shell.facts);
    let board = Board {
        ends: facts.topic_ends.fact(&uid, instant).unwrap_or_else(|| untold("end offsets", instant)),
        position: facts.position.fact(&uid, instant).unwrap_or_else(|| untold("position of the query", instant)),
        starts: facts.topic_starts.read(&uid, instant),
        headroom: facts.headroom.read(&uid, instant),
        // Looks are a little more than a period apart.
        near: SignedDuration::from_secs(i64::from(context.period_seconds) * 3 / 2),
    };
    let mut signals = context.memory.with(&uid, |of| of.load.take(&board, app_cores, (instant, now)));
    let has_topics = cluster.spec.kafka.as_ref().is_some_and(|kafka| kafka.topics.is_some());
    if !has_topics {
        signals.load.samples = unknown("`spec.kafka.topics` is absent, so nobody reads end offsets");
        signals.risk = unknown("`spec.kafka.topics` is absent, so nobody reads records");
    }
    match validate::checkpoint(cluster) {
        None => {
            signals.load.batch = unknown("`spec.storage` is absent, so the query's checkpoint cannot be found");
        }
        Some(checkpoint) if signals.load.batch == Known::Absent => {
            signals.lacks_batch(&checkpoint, has_topics && board.headroom != Known::Absent);
        }
        Some(_) => {}
    }
    signals
}

impl Signals {
    /// No batch was committed. Where there are topics, that also explains why it is not known what waits there: the age
    /// of records is looked up where the query has read to.
    fn lacks_batch(&mut self, checkpoint: &Checkpoint, has_topics: bool) {
        let why = no_batch(checkpoint);
        if has_topics && self.risk.is_unknown() {
            self.risk = Known::Unknown(why.clone());
        }
        self.load.batch = Known::Unknown(why);
    }
}

/// Names the folder: it may be that of another query.
fn no_batch(checkpoint: &Checkpoint) -> String {
    let Checkpoint { bucket, folder } = checkpoint;
    format!(
        "{folder}commits/ in bucket {bucket} holds no batch; if the query has committed one, correct `spark.queryName`"
    )
}

fn untold<T>(what: &str, taken: Instant) -> Fact<T> {
    Fact { value: Known::Unknown(format!("{what} {NOT_YET}")), taken, period: Duration::ZERO }
}

/// Why no rate follows from end offsets that are read so seldom, if so.
fn seldom(period: Duration) -> Option<String> {
    let (seconds, most) = (period.as_secs(), SELDOM.as_secs());
    let why =
        || format!("they are read every {seconds} s; set `intervals.kafkaSeconds` below {most} to measure a rate");
    (period >= SELDOM).then(why)
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn unknown<T>(why: &str) -> Known<T> {
    Known::Unknown(why.to_owned())
}

/// What is remembered of the load of one object.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    samples: VecDeque<(Instant, Sample)>,
    /// Topics that the newest sample adds up.
    topics: BTreeSet<String>,
    /// Their partitions.
    partitions: i32,
    /// Batch and query of the newest position.
    query: Option<(i64, Option<String>)>,
    cores: VecDeque<(Timestamp, i32)>,
}

impl Measured {
    fn take(&mut self, board: &Board, app_cores: Option<i32>, (instant, now): (Instant, Timestamp)) -> Signals {
        if let Some(cores) = app_cores {
            self.note_cores(cores, now);
        }
        let (ends, position) = (&board.ends.value, &board.position.value);
        if let Known::Known(position) = position {
            self.follow(position);
        }
        let samples = match (ends, position) {
            (Known::Known(ends), Known::Known(position)) => self.sample(board, (ends, position), (instant, now)),
            (Known::Unknown(why), _) => Known::Unknown(why.clone()),
            (Known::Absent, _) => unknown("there are no topics"),
            (Known::Known(_), _) => unknown("the position of the query is not known"),
        };
        let is_known = samples.known().is_some() && !self.samples.is_empty();
        let partitions = if is_known { Known::Known(self.partitions) } else { unknown("no partition was counted") };
        let batches = position.known().map(|position| position.batches.as_slice()).unwrap_or_default();
        let (risk, nearest) = nearest::risk(&board.headroom, position);
        let backlog = samples.known().and_then(|_| self.backlog(board, instant));
        let samples = match seldom(board.ends.period) {
            Some(why) if samples.known().is_some() => Known::Unknown(why),
            _ => samples,
        };
        Signals {
            backlog,
            load: Load {
                samples,
                batches: batches.iter().map(|batch| self.batch(batch, board.near)).collect(),
                partitions,
                batch: progress(position, now),
            },
            risk,
            nearest,
            oldest_seconds: nearest::oldest_seconds(&board.headroom, position),
        }
    }

    /// Another query, or one that has begun anew, has another past.
    fn follow(&mut self, position: &CheckpointPosition) {
        let is_other = self.query.as_ref().is_some_and(|(batch, query)| {
            position.batch < *batch || query.is_some() && position.query.is_some() && *query != position.query
        });
        if is_other {
            self.samples.clear();
        }
        let query = position.query.clone().or_else(|| self.query.take().and_then(|(_, query)| query));
        self.query = Some((position.batch, query));
    }

    /// The samples, with the new one if end offsets and position belong together and were not added up yet.
    fn sample(
        &mut self,
        board: &Board,
        (ends, position): (&TopicEnds, &CheckpointPosition),
        (instant, now): (Instant, Timestamp),
    ) -> Known<Arc<Vec<Sample>>> {
        let told = board.ends.taken;
        let is_new = self.samples.back().is_none_or(|(taken, _)| *taken < told);
        if is_new && board.ends.belongs_with(&board.position) {
            let sums = match Sums::of(ends, &position.offsets, board.starts.known()) {
                Ok(sums) => sums,
                Err(why) => return Known::Unknown(why),
            };
            let ago = signed(instant.saturating_duration_since(told));
            self.add(sums, told, now.saturating_sub(ago).unwrap_or(Timestamp::MIN));
        }
        self.samples.retain(|(taken, _)| instant.saturating_duration_since(*taken) <= SAMPLES.1);
        while self.samples.len() > SAMPLES.0 {
            self.thin();
        }
        Known::Known(Arc::new(self.samples.iter().map(|(_, sample)| *sample).collect()))
    }

    /// Lets one sample go, so that the others still reach back as far: the one whose neighbours are nearest to each
    /// other, but none by which it shows that numbers fell or a clock was put.
    fn thin(&mut self) {
        let gap = |place: usize| {
            let ((from, before), (to, after)) = (self.samples.get(place - 1)?, self.samples.get(place + 1)?);
            let (_, sample) = self.samples.get(place)?;
            let falls = |from: &Sample, to: &Sample| to.ends < from.ends || to.read < from.read;
            let is_plain = !falls(before, sample) && !falls(sample, after) && !sample.other_clock && !after.other_clock;
            is_plain.then(|| (to.saturating_duration_since(*from), place))
        };
        let old = 1..self.samples.len().saturating_sub(NEWEST);
        let place = old.filter_map(gap).min().map_or(0, |(_, place)| place);
        self.samples.remove(place);
    }

    fn add(&mut self, sums: Sums, taken: Instant, at: Timestamp) {
        let Sums { ends, read, partitions, topics } = sums;
        let was_put = self.samples.back().is_some_and(|(before, sample)| {
            let by_clock = at.duration_since(sample.at);
            by_clock.saturating_sub(signed(taken.saturating_duration_since(*before))).abs() > DRIFT
        });
        let other_clock = was_put || !self.samples.is_empty() && self.topics != topics;
        self.samples.push_back((taken, Sample { at, ends, read, other_clock }));
        (self.topics, self.partitions) = (topics, partitions);
    }

    /// Records that were not read, by a sample that is not older than a fact may be.
    fn backlog(&self, board: &Board, instant: Instant) -> Option<i64> {
        let (taken, sample) = self.samples.back()?;
        let is_young = instant.saturating_duration_since(*taken) <= board.ends.period * 2;
        is_young.then(|| sample.ends.saturating_sub(sample.read).max(0))
    }

    fn note_cores(&mut self, cores: i32, now: Timestamp) {
        self.cores.push_back((now, cores));
        self.cores.retain(|(at, _)| now.duration_since(*at).abs() <= CORES.1);
        while self.cores.len() > CORES.0 {
            self.cores.pop_front();
        }
    }

    fn batch(&self, fact: &BatchFact, near: SignedDuration) -> Batch {
        let BatchFact { id, records, started, committed } = *fact;
        Batch { id, records, started, committed, cores: self.cores_during((started, committed), near) }
    }

    /// Cores that the application had meanwhile; zero where nobody counted, or where they changed: such a batch
    /// measures nothing.
    fn cores_during(&self, (started, committed): (Timestamp, Timestamp), near: SignedDuration) -> i32 {
        let from = started.saturating_sub(near).unwrap_or(Timestamp::MIN);
        let to = committed.saturating_add(near).unwrap_or(Timestamp::MAX);
        let mut counts = self.cores.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, cores)| *cores);
        let first = counts.next().unwrap_or(0);
        if counts.all(|cores| cores == first) { first } else { 0 }
    }
}

/// Offsets of the topics that the query reads, added up.
#[derive(Debug, PartialEq, Eq)]
struct Sums {
    ends: i64,
    read: i64,
    partitions: i32,
    topics: BTreeSet<String>,
}

impl Sums {
    /// Adds up the topics that the query reads and that are the pipeline's. What has expired needs no reading.
    fn of(ends: &TopicEnds, read: &Offsets, starts: Option<&TopicStarts>) -> Result<Self, String> {
        let mut sums = Self { ends: 0, read: 0, partitions: 0, topics: BTreeSet::new() };
        for (topic, read) in read {
            let ends = match ends.get(topic) {
                Some(Known::Known(ends)) => ends,
                Some(Known::Unknown(why)) => return Err(format!("topic {topic}: {why}")),
                Some(Known::Absent) | None => continue,
            };
            let first = starts.and_then(|starts| starts.get(topic)?.known());
            for (partition, end) in ends {
                let begin = first.and_then(|first| first.get(partition));
                // A partition that the query does not know yet is read from its begin.
                let Some(next) = read.get(partition).max(begin) else {
                    return Err(format!("topic {topic}: first offsets {NOT_YET}"));
                };
                if next.saturating_sub(*end) > AHEAD.max(*end / 100) {
                    // Added up, it would hide what waits in others. Numbers would move from look to look.
                    let fact = "more was read of a partition than it holds";
                    return Err(format!("topic {topic}: {fact}; it may have been made again or lost records"));
                }
                sums.ends = sums.ends.saturating_add(*end);
                sums.read = sums.read.saturating_add(*next.min(end));
                sums.partitions = sums.partitions.saturating_add(1);
            }
            sums.topics.insert(topic.clone());
        }
        if sums.topics.is_empty() {
            return Err("the query reads none of the topics of `spec.kafka.topics`".to_owned());
        }
        Ok(sums)
    }
}

fn progress(position: &Known<CheckpointPosition>, now: Timestamp) -> Known<Progress> {
    match position {
        Known::Known(position) => {
            // The bucket's clock may be a little ahead.
            let age_seconds = now.duration_since(position.committed).as_secs().max(0);
            Known::Known(Progress { id: position.batch, age_seconds })
        }
        Known::Absent => Known::Absent,
        Known::Unknown(why) => Known::Unknown(why.clone()),
    }
}

#[cfg(test)]
mod tests;
