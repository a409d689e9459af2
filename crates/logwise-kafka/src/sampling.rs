//! Single records of topics: whether they carry keys, and how old the oldest unread ones are.
//!
//! They are read by a short-lived client of its own that belongs to no consumer group: no offset is stored or fetched,
//! no coordinator is asked for. Of a record only its offset, its time and whether it has a key are looked at.

use crate::client::{KafkaClient, close, off_the_async_threads};
use crate::error::{Cause, KafkaError};
use crate::ffi::{self, Fetched, Piece, Reader, Unread};
use logwise_plan::Known;
use logwise_plan::partitions::Keys;
use rdkafka::client::DefaultClientContext;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The newest records of a partition that are looked at: those at its last offsets.
const RECORDS: i64 = 16;

/// Partitions of a topic that are read: those with the most records.
const MOST_PARTITIONS: usize = 4;

/// Topics that are read at once.
const MOST_TOPICS: usize = 64;

/// Positions that are read in one call.
const MOST_POSITIONS: usize = 200;

/// How often it is looked whether somebody has been silent for too long.
const TICK: Duration = Duration::from_millis(100);

const SILENT: &str = "no answer from its leader in time";

type Records<'a> = Reader<'a, DefaultClientContext>;

/// Whether the newest records of topics carry keys. `topics` are end offsets by partition.
///
/// Of each topic the four partitions with the highest end offsets are read, of each the records at its last 16 offsets;
/// there are fewer where a transaction ended or records were compacted away. One key is enough for [`Keys::With`], be
/// it empty. [`Keys::Without`] takes a record of each of these partitions that holds any; a topic without a record has
/// no key whose order could be lost, and is without too. A topic whose leaders are silent for the client's deadline is
/// unknown, and so is what was not read within `deadline`.
pub async fn sample_keys(
    client: &Arc<KafkaClient>,
    topics: &BTreeMap<String, BTreeMap<i32, i64>>,
    deadline: Duration,
) -> BTreeMap<String, Known<Keys>> {
    let (asked, until) = (topics.clone(), Instant::now() + deadline);
    let sampled = off_the_async_threads(client, move |client| sample(client, &asked, until)).await;
    sampled.unwrap_or_else(|cause| all_unknown(topics.keys().cloned(), &cause.to_string()))
}

/// The time of the first record at or after each position, by topic and partition, in milliseconds since 1970; `Absent`
/// where every record was read. Only the first 200 positions are read, the others are unknown.
pub async fn oldest_unread(
    client: &Arc<KafkaClient>,
    positions: &BTreeMap<(String, i32), i64>,
    deadline: Duration,
) -> BTreeMap<(String, i32), Known<i64>> {
    let (asked, until) = (positions.clone(), Instant::now() + deadline);
    let read = off_the_async_threads(client, move |client| read_first(client, &asked, until)).await;
    read.unwrap_or_else(|cause| all_unknown(positions.keys().cloned(), &cause.to_string()))
}

fn all_unknown<K: Ord, T>(keys: impl Iterator<Item = K>, why: &str) -> BTreeMap<K, Known<T>> {
    keys.map(|key| (key, Known::Unknown(why.to_owned()))).collect()
}

/// Where a partition goes on if it no longer reaches down to the offset that is asked for.
#[derive(Clone, Copy)]
enum Missing {
    /// At its first record.
    Earliest,
    /// Nowhere.
    Fails,
}

/// Small answers: a record or a few of each partition are enough.
fn settings(missing: Missing) -> [(&'static str, &'static str); 11] {
    let reset = match missing {
        Missing::Earliest => "earliest",
        Missing::Fails => "error",
    };
    [
        ("auto.offset.reset", reset),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        // An open transaction would hide the newest records.
        ("isolation.level", "read_uncommitted"),
        ("max.partition.fetch.bytes", "262144"),
        ("fetch.max.bytes", "4194304"),
        ("fetch.wait.max.ms", "100"),
        ("fetch.queue.backoff.ms", "50"),
        ("queued.max.messages.kbytes", "8192"),
        // A topic that is gone is told at once.
        ("topic.metadata.propagation.max.ms", "0"),
    ]
}

/// Lets `read` read with a client of its own, after somebody has answered it.
fn with_reader<T>(
    client: &KafkaClient,
    missing: Missing,
    until: Instant,
    read: impl FnOnce(&mut Records<'_>) -> T,
) -> Result<T, String> {
    let at = || client.at().to_owned();
    let connection = client.reader(&settings(missing)).map_err(|error| {
        let source = Cause::from_library(&error);
        KafkaError::CreateClient { at: at(), source }.message()
    })?;
    let deadline = (until.saturating_duration_since(Instant::now()) / 2).min(client.deadline());
    let answer = ffi::describe_cluster(&connection, deadline).and_then(|_| {
        let mut reader = Reader::new(&connection)?;
        Ok(read(&mut reader))
    });
    client.note_events(&connection);
    close(connection);
    answer.map_err(|source| {
        let source = if source.is_unanswered() { client.explain(source) } else { source };
        KafkaError::DescribeCluster { at: at(), deadline, source }.message()
    })
}

fn sample(
    client: &KafkaClient,
    topics: &BTreeMap<String, BTreeMap<i32, i64>>,
    until: Instant,
) -> BTreeMap<String, Known<Keys>> {
    let (mut found, mut waiting) = (BTreeMap::new(), VecDeque::new());
    for (topic, ends) in topics {
        let sample = Sample::of(ends);
        if sample.is_decided() {
            found.insert(topic.clone(), sample.keys());
        } else {
            waiting.push_back((topic.clone(), sample));
        }
    }
    if waiting.is_empty() {
        return found;
    }
    let named: Vec<String> = waiting.iter().map(|(topic, _)| topic.clone()).collect();
    let sampled = with_reader(client, Missing::Earliest, until, |reader| {
        let sampling = Sampling { reader, patience: client.deadline(), open: BTreeMap::new(), found: BTreeMap::new() };
        sampling.run(waiting, until)
    });
    found.extend(sampled.unwrap_or_else(|why| all_unknown(named.into_iter(), &why)));
    found
}

/// What is known of one topic so far.
#[derive(Debug)]
struct Sample {
    /// Partitions that are still read.
    open: BTreeMap<i32, Partition>,
    keyed: bool,
    /// Why one partition could not be read.
    unread: Option<String>,
}

#[derive(Debug)]
struct Partition {
    end: i64,
    records: i64,
}

impl Sample {
    fn of(ends: &BTreeMap<i32, i64>) -> Self {
        let mut written: Vec<(i32, i64)> =
            ends.iter().map(|(partition, end)| (*partition, *end)).filter(|(_, end)| *end > 0).collect();
        written.sort_by_key(|(partition, end)| (Reverse(*end), *partition));
        let read = written.into_iter().take(MOST_PARTITIONS);
        Self {
            open: read.map(|(partition, end)| (partition, Partition { end, records: 0 })).collect(),
            keyed: false,
            unread: ends.is_empty().then(|| "no partition is listed".to_owned()),
        }
    }

    fn is_decided(&self) -> bool {
        self.keyed || self.open.is_empty()
    }

    /// What the topic is. What is still read is given up.
    fn keys(self) -> Known<Keys> {
        let silent = self.open.keys().next().map(|partition| format!("partition {partition}: {SILENT}"));
        match self.unread.or(silent) {
            _ if self.keyed => Known::Known(Keys::With),
            Some(why) => Known::Unknown(why),
            None => Known::Known(Keys::Without),
        }
    }

    /// Takes a piece of a partition, which holds no record at all if it `is_empty`. Tells whether it is read enough.
    fn take(&mut self, (topic, partition): (&str, i32), piece: Piece, is_empty: bool) -> bool {
        let Some(read) = self.open.get_mut(&partition) else { return false };
        let unread = match piece {
            Piece::Record { offset, keyed, .. } => {
                self.keyed |= keyed;
                read.records += 1;
                if offset < read.end.saturating_sub(1) && read.records < RECORDS {
                    return false;
                }
                None
            }
            Piece::End if read.records > 0 || is_empty => None,
            Piece::End => Some(format!("partition {partition}: no record at its last {RECORDS} offsets")),
            Piece::Failed(why) => Some(told(topic, partition, &why)),
        };
        self.open.remove(&partition);
        self.unread = self.unread.take().or(unread);
        true
    }
}

fn told(topic: &str, partition: i32, why: &Unread) -> String {
    match why {
        Unread::NotAllowed => format!("its records may not be read: that takes `READ` on `TOPIC:{topic}`"),
        Unread::OutOfRange => format!("partition {partition}: its records begin behind the offset, or end before it"),
        Unread::Failed(why) => format!("partition {partition}: {why}"),
    }
}

/// Topics that are being sampled.
struct Sampling<'r, 'c> {
    reader: &'r mut Records<'c>,
    /// How long the leaders of a topic may say nothing.
    patience: Duration,
    /// With the time of the last sign of life.
    open: BTreeMap<String, (Sample, Instant)>,
    found: BTreeMap<String, Known<Keys>>,
}

impl Sampling<'_, '_> {
    fn run(mut self, mut waiting: VecDeque<(String, Sample)>, until: Instant) -> BTreeMap<String, Known<Keys>> {
        let patience = self.patience;
        loop {
            let now = Instant::now();
            if now >= until {
                break;
            }
            self.settle(|sample, heard| sample.is_decided() || now.saturating_duration_since(heard) >= patience);
            while self.open.len() < MOST_TOPICS
                && let Some((topic, sample)) = waiting.pop_front()
            {
                self.begin(topic, sample, now);
            }
            if self.open.is_empty() {
                break;
            }
            if let Some(fetched) = self.reader.poll(TICK.min(until.saturating_duration_since(now))) {
                self.take(fetched);
            }
        }
        self.settle(|_, _| true);
        let late = waiting.into_iter().map(|(topic, _)| topic);
        self.found.extend(all_unknown(late, "the time was over before it was read"));
        self.found
    }

    fn begin(&mut self, topic: String, mut sample: Sample, now: Instant) {
        let wanted: Vec<(i32, i64)> = sample.open.iter().map(|(partition, read)| (*partition, read.end)).collect();
        for (partition, end) in wanted {
            if let Err(cause) = self.reader.start(&topic, partition, end.saturating_sub(RECORDS).max(0)) {
                sample.take((&topic, partition), Piece::Failed(Unread::Failed(cause.to_string())), false);
            }
        }
        self.open.insert(topic, (sample, now));
    }

    fn take(&mut self, Fetched { topic, partition, piece }: Fetched) {
        let Some((sample, heard)) = self.open.get_mut(&topic) else { return };
        *heard = Instant::now();
        let is_empty = matches!(piece, Piece::End) && self.reader.is_empty(&topic, partition);
        if sample.take((&topic, partition), piece, is_empty) {
            self.reader.stop(&topic, partition);
        }
    }

    /// Reads no further in topics of which `is_over` tells so, and says what they are.
    fn settle(&mut self, is_over: impl Fn(&Sample, Instant) -> bool) {
        let over: Vec<String> = self
            .open
            .iter()
            .filter(|(_, (sample, heard))| is_over(sample, *heard))
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in over {
            let Some((sample, _)) = self.open.remove(&topic) else { continue };
            sample.open.keys().for_each(|partition| self.reader.stop(&topic, *partition));
            self.found.insert(topic, sample.keys());
        }
    }
}

/// Topic and partition.
type At = (String, i32);

fn read_first(client: &KafkaClient, positions: &BTreeMap<At, i64>, until: Instant) -> BTreeMap<At, Known<i64>> {
    let why = format!("more than {MOST_POSITIONS} positions are not read at once");
    let mut found = all_unknown(positions.keys().skip(MOST_POSITIONS).cloned(), &why);
    if positions.is_empty() {
        return found;
    }
    let read = with_reader(client, Missing::Fails, until, |reader| {
        first_records(reader, positions.iter().take(MOST_POSITIONS), client.deadline(), until)
    });
    let asked = positions.keys().take(MOST_POSITIONS).cloned();
    found.extend(read.unwrap_or_else(|why| all_unknown(asked, &why)));
    found
}

fn first_records<'p>(
    reader: &mut Records<'_>,
    positions: impl Iterator<Item = (&'p At, &'p i64)>,
    patience: Duration,
    until: Instant,
) -> BTreeMap<At, Known<i64>> {
    let (mut found, mut open) = (BTreeMap::new(), BTreeSet::new());
    for (at, offset) in positions {
        match reader.start(&at.0, at.1, *offset) {
            Ok(()) => _ = open.insert(at.clone()),
            Err(cause) => _ = found.insert(at.clone(), Known::Unknown(format!("partition {}: {cause}", at.1))),
        }
    }
    let mut heard = Instant::now();
    while !open.is_empty() {
        let now = Instant::now();
        if now >= until || now.saturating_duration_since(heard) >= patience {
            break;
        }
        let Some(Fetched { topic, partition, piece }) = reader.poll(TICK.min(until.saturating_duration_since(now)))
        else {
            continue;
        };
        let at = (topic, partition);
        if open.remove(&at) {
            heard = Instant::now();
            reader.stop(&at.0, at.1);
            let time = time_of(&at, &piece);
            found.insert(at, time);
        }
    }
    found.extend(open.into_iter().map(|at| {
        let why = format!("partition {}: {SILENT}", at.1);
        (at, Known::Unknown(why))
    }));
    found
}

fn time_of((topic, partition): &At, piece: &Piece) -> Known<i64> {
    match piece {
        // Of the oldest message format, which has no time, librdkafka tells 0: that is no record of the year 1970.
        Piece::Record { timestamp: Some(time), .. } if *time > 0 => Known::Known(*time),
        Piece::Record { .. } => Known::Unknown("the record does not tell its time".to_owned()),
        Piece::End => Known::Absent,
        Piece::Failed(why) => Known::Unknown(told(topic, *partition, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, keyed: bool) -> Piece {
        Piece::Record { offset, keyed, timestamp: None }
    }

    fn sample(ends: &[(i32, i64)]) -> Sample {
        Sample::of(&ends.iter().copied().collect())
    }

    #[test]
    fn the_partitions_with_the_most_records_are_read() {
        let chosen = |ends: &[(i32, i64)]| sample(ends).open.into_keys().collect::<Vec<_>>();
        assert_eq!(chosen(&[(0, 3), (1, 9), (2, 0), (3, 5), (4, 9), (5, 1), (6, 4)]), [1, 3, 4, 6]);
        assert_eq!(chosen(&[(0, 0), (1, 2)]), [1]);
    }

    #[test]
    fn a_topic_without_a_record_is_without_keys_and_one_without_partitions_unknown() {
        assert_eq!(sample(&[(0, 0), (1, 0)]).keys(), Known::Known(Keys::Without));
        let mut emptied = sample(&[(0, 40)]);
        assert!(emptied.take(("t", 0), Piece::End, true) && emptied.is_decided());
        assert_eq!(emptied.keys(), Known::Known(Keys::Without));
        assert_eq!(sample(&[]).keys(), Known::Unknown("no partition is listed".into()));
    }

    #[test]
    fn one_key_is_enough_and_none_takes_a_record_of_each_partition() {
        let mut keyed = sample(&[(0, 40), (1, 40)]);
        assert!(!keyed.take(("t", 0), record(24, false), false) && !keyed.is_decided());
        assert!(!keyed.take(("t", 0), record(25, true), false) && keyed.is_decided());
        assert_eq!(keyed.keys(), Known::Known(Keys::With));
        let mut bare = sample(&[(0, 40), (1, 40)]);
        assert!(bare.take(("t", 0), record(39, false), false), "the last one");
        assert!(!bare.take(("t", 1), record(24, false), false) && !bare.is_decided());
        assert!(bare.take(("t", 1), Piece::End, false), "a marker was the last one");
        assert_eq!(bare.keys(), Known::Known(Keys::Without));
    }

    #[test]
    fn no_more_records_are_read_than_are_wanted() {
        let mut anew = sample(&[(0, 1_000_000)]);
        let read = (0..100).take_while(|offset| !anew.take(("t", 0), record(*offset, false), false)).count();
        assert_eq!(read, 15, "the sixteenth is the last one, also of a topic that was made anew and begins at zero");
        assert_eq!(anew.keys(), Known::Known(Keys::Without));
    }

    #[test]
    fn what_could_not_be_read_is_unknown_unless_there_is_a_key() {
        let told = |piece: Piece| {
            let mut sample = sample(&[(0, 40)]);
            assert!(sample.take(("t", 0), piece, false));
            sample.keys()
        };
        let denied = "its records may not be read: that takes `READ` on `TOPIC:t`";
        assert_eq!(told(Piece::Failed(Unread::NotAllowed)), Known::Unknown(denied.into()));
        let failed = Piece::Failed(Unread::Failed("disk error".into()));
        assert_eq!(told(failed), Known::Unknown("partition 0: disk error".into()));
        assert_eq!(told(Piece::End), Known::Unknown("partition 0: no record at its last 16 offsets".into()));
        let mut half = sample(&[(0, 40), (1, 40)]);
        half.take(("t", 0), record(39, false), false);
        assert_eq!(half.keys(), Known::Unknown("partition 1: no answer from its leader in time".into()));
        let mut lucky = sample(&[(0, 40), (1, 40)]);
        lucky.take(("t", 0), Piece::Failed(Unread::Failed("disk error".into())), false);
        lucky.take(("t", 1), record(39, true), false);
        assert_eq!(lucky.keys(), Known::Known(Keys::With));
    }

    #[test]
    fn nothing_unread_has_no_time() {
        let at = ("t".to_owned(), 3);
        assert_eq!(time_of(&at, &Piece::End), Known::Absent);
        assert_eq!(time_of(&at, &Piece::Record { offset: 7, keyed: true, timestamp: Some(9) }), Known::Known(9));
        let untold = |timestamp| time_of(&at, &Piece::Record { offset: 7, keyed: false, timestamp });
        for timestamp in [None, Some(0), Some(-1)] {
            assert_eq!(untold(timestamp), Known::Unknown("the record does not tell its time".into()));
        }
        let gone = "partition 3: its records begin behind the offset, or end before it";
        assert_eq!(time_of(&at, &Piece::Failed(Unread::OutOfRange)), Known::Unknown(gone.into()));
    }
}
