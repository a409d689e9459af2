//! The full look at topics: what does not change from look to look, and costs more than metadata and end offsets.

use crate::client::{Connection, KafkaClient, off_the_async_threads};
use crate::error::{Cause, KafkaError};
use crate::ffi::{self, NoOffset, TopicId, TopicSettings};
use crate::listing::{self, Offsets};
use logwise_plan::Known;
use rdkafka::Offset;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Topics in one request: brokers run out of memory when they describe thousands at once.
const BATCH: usize = 200;

/// No further batch of a kind is begun after this time.
const LOOKING: Duration = Duration::from_secs(10);

const RETENTION: &CStr = c"retention.ms";
const CLEANUP: &CStr = c"cleanup.policy";
const MIN_IN_SYNC: &CStr = c"min.insync.replicas";

/// What a full look found.
#[derive(Debug)]
pub struct Described {
    /// Each topic that was asked about.
    pub topics: BTreeMap<String, Description>,
    /// What failed first, if anything failed as a whole; the topics say `Unknown` for the same reason.
    pub error: Option<KafkaError>,
}

/// One topic, beyond what every look reads of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The id that the topic keeps for life, as Kafka's own tools write it: a topic made anew has another one.
    pub id: Known<String>,
    /// How long records are kept, in milliseconds. `Absent`: no record is deleted for its age, because `retention.ms`
    /// is -1 or `cleanup.policy` does not say `delete`.
    pub retention_ms: Known<i64>,
    /// In-sync replicas that a record is written to at least before a producer that waits for all is answered.
    pub min_in_sync: Known<i32>,
    /// The first offset of each partition that was asked about; unknown if one of them could not be read.
    pub earliest: Known<BTreeMap<i32, i64>>,
}

impl Description {
    /// Whether everything could be read.
    pub(crate) fn is_complete(&self) -> bool {
        let Self { id, retention_ms, min_in_sync, earliest } = self;
        ![id.is_unknown(), retention_ms.is_unknown(), min_in_sync.is_unknown(), earliest.is_unknown()].contains(&true)
    }
}

/// What is known of topics beyond what every look shows.
pub(crate) type Descriptions = BTreeMap<String, Arc<Description>>;

/// Looks at the id, the settings and the earliest offsets of `topics`, of each the partitions that have a leader.
///
/// DescribeTopics and DescribeConfigs for at most 200 topics a request, and one ListOffsets request per leader; each is
/// answered within the client's deadline. A topic that fails, also one that does not exist, is unknown for its own
/// reason and for itself alone.
pub async fn describe(client: &Arc<KafkaClient>, topics: &BTreeMap<String, Vec<i32>>) -> Described {
    let asked = topics.clone();
    let looked = off_the_async_threads(client, move |client| look(client, &asked)).await;
    looked.unwrap_or_else(|source| {
        let error = KafkaError::DescribeTopics { at: client.at().to_owned(), deadline: client.deadline(), source };
        let why = error.message();
        let unknown = Description {
            id: Known::Unknown(why.clone()),
            retention_ms: Known::Unknown(why.clone()),
            min_in_sync: Known::Unknown(why.clone()),
            earliest: Known::Unknown(why),
        };
        Described { topics: topics.keys().map(|name| (name.clone(), unknown.clone())).collect(), error: Some(error) }
    })
}

fn look(client: &KafkaClient, topics: &BTreeMap<String, Vec<i32>>) -> Described {
    // A name that holds NUL is none of Kafka's: nothing will be said about it.
    let names: Vec<CString> = topics.keys().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let (at, deadline) = (client.at().to_owned(), client.deadline());
    let ids = Answers::in_batches(client, &names, ids, |source| KafkaError::DescribeTopics {
        at: at.clone(),
        deadline,
        source,
    });
    let settings = Answers::in_batches(client, &names, settings, |source| KafkaError::DescribeConfigs {
        at: at.clone(),
        deadline,
        source,
    });
    let (earliest, failed) = match earliest(client, topics, &ids) {
        Ok(offsets) => (Ok(offsets), None),
        Err(source) => {
            let error = KafkaError::ListEarliestOffsets { at: at.clone(), deadline, source };
            (Err(error.message()), Some(error))
        }
    };
    let described = topics.iter().map(|(name, partitions)| {
        let settings = settings.of(name);
        let description = Description {
            id: ids.of(name).cloned().into(),
            retention_ms: settings.clone().map_or_else(Known::Unknown, retention),
            min_in_sync: settings.map_or_else(Known::Unknown, |settings| number(settings, MIN_IN_SYNC)),
            earliest: first_offsets(name, partitions, &earliest),
        };
        (name.clone(), description)
    });
    Described { topics: described.collect(), error: ids.error.or(settings.error).or(failed) }
}

/// The ids of these topics at this moment; a topic that nothing was said about is left out.
pub(crate) fn ids_now(client: &KafkaClient, topics: &[&str]) -> HashMap<String, Result<String, String>> {
    let names: Vec<CString> = topics.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let (at, deadline) = (client.at().to_owned(), client.deadline());
    let failed = |source| KafkaError::DescribeTopics { at, deadline, source };
    let answers = Answers::in_batches(client, &names, ids, failed);
    topics.iter().map(|name| ((*name).to_owned(), answers.of(name).cloned())).collect()
}

/// What was said about each topic, or why not.
struct Answers<T> {
    told: HashMap<String, Result<T, String>>,
    /// Why the others were not answered.
    error: Option<KafkaError>,
}

type Batch<T> = Vec<(String, Result<T, String>)>;

impl<T> Answers<T> {
    /// Asks for at most [`BATCH`] topics at a time. After a failure nothing more is asked: each further batch might
    /// take the whole deadline.
    fn in_batches(
        client: &KafkaClient,
        names: &[CString],
        ask: impl Fn(&Connection, &[CString], Duration) -> Result<Batch<T>, Cause>,
        failed: impl FnOnce(Cause) -> KafkaError,
    ) -> Self {
        let until = Instant::now() + LOOKING;
        let mut told = HashMap::new();
        for batch in names.chunks(BATCH) {
            let answer = if Instant::now() < until {
                client.call(|connection| ask(connection, batch, client.deadline()))
            } else {
                let slow = format!("all topics together take longer than {} s", LOOKING.as_secs());
                Err(Cause::new(RDKafkaErrorCode::Fail, slow))
            };
            match answer {
                Ok(answer) => told.extend(answer),
                Err(source) => return Self { told, error: Some(failed(source)) },
            }
        }
        Self { told, error: None }
    }

    fn of(&self, topic: &str) -> Result<&T, String> {
        match (self.told.get(topic), &self.error) {
            (Some(told), _) => told.as_ref().map_err(Clone::clone),
            (None, Some(error)) => Err(error.message()),
            (None, None) => Err("the brokers said nothing about this topic".to_owned()),
        }
    }
}

fn ids(connection: &Connection, topics: &[CString], deadline: Duration) -> Result<Batch<String>, Cause> {
    let told = ffi::topic_ids(connection, topics, deadline)?;
    let read = told.into_iter().map(|TopicId { topic, id }| {
        let id = match id {
            Ok(id) => id.ok_or_else(|| "the brokers give topics no ids".to_owned()),
            Err(failed) => Err(plain(&failed.text)),
        };
        (topic, id)
    });
    Ok(read.collect())
}

type Settings = BTreeMap<String, String>;

fn settings(connection: &Connection, topics: &[CString], deadline: Duration) -> Result<Batch<Settings>, Cause> {
    let told = ffi::topic_settings(connection, topics, &[RETENTION, CLEANUP, MIN_IN_SYNC], deadline)?;
    let read = told.into_iter().map(|TopicSettings { topic, settings }| (topic, settings.map_err(|why| plain(&why))));
    Ok(read.collect())
}

/// An error's text without the side it comes from.
fn plain(text: &str) -> String {
    text.strip_prefix("Broker: ").unwrap_or(text).to_owned()
}

/// A number that one setting holds.
fn number<T: std::str::FromStr>(settings: &Settings, name: &CStr) -> Known<T> {
    let name = name.to_string_lossy();
    let Some(value) = settings.get(name.as_ref()) else {
        return Known::Unknown(format!("the brokers do not tell `{name}`"));
    };
    value.parse().map_or_else(|_| Known::Unknown(format!("`{name}` is `{value}`, which is no number")), Known::Known)
}

fn retention(settings: &Settings) -> Known<i64> {
    let policy = settings.get(CLEANUP.to_string_lossy().as_ref());
    if policy.is_some_and(|policy| policy.split(',').all(|word| word.trim() != "delete")) {
        return Known::Absent;
    }
    match number(settings, RETENTION) {
        Known::Known(-1) => Known::Absent,
        retention => retention,
    }
}

/// The earliest offsets of all partitions, except of topics about which brokers say an error: librdkafka would wait for
/// the leader of such a partition until the deadline.
fn earliest(
    client: &KafkaClient,
    topics: &BTreeMap<String, Vec<i32>>,
    ids: &Answers<String>,
) -> Result<Offsets, Cause> {
    let failed = |name: &str| ids.told.get(name).is_some_and(Result::is_err) || name.contains('\0');
    let asked = topics.iter().filter(|(name, _)| !failed(name));
    // Any leader: they are asked for once in ten minutes.
    let asked = asked.flat_map(|(name, of)| of.iter().map(|partition| (-1, name.as_str(), *partition)));
    listing::offsets(client, asked, Offset::Beginning)
}

fn first_offsets(topic: &str, partitions: &[i32], offsets: &Result<Offsets, String>) -> Known<BTreeMap<i32, i64>> {
    let offsets = match offsets {
        Ok(offsets) => offsets,
        Err(why) => return Known::Unknown(why.clone()),
    };
    if partitions.is_empty() {
        return Known::Unknown("no partition with a leader is listed".to_owned());
    }
    let mut read = BTreeMap::new();
    for &partition in partitions {
        match offsets.get(&(topic.to_owned(), partition)) {
            Some(Ok(offset)) => _ = read.insert(partition, *offset),
            Some(Err(NoOffset::Failed(why))) => return Known::Unknown(format!("partition {partition}: {why}")),
            Some(Err(NoOffset::Unanswered)) => {
                return Known::Unknown(format!("partition {partition}: no answer from its leader"));
            }
            None => return Known::Unknown(format!("partition {partition}: it was not asked for its first offset")),
        }
    }
    Known::Known(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn records_that_are_kept_for_ever_have_no_retention() {
        let of = |policy, ms| retention(&settings_of(&[("cleanup.policy", policy), ("retention.ms", ms)]));
        assert_eq!(of("delete", "3600000"), Known::Known(3_600_000));
        assert_eq!(of("compact,delete", "3600000"), Known::Known(3_600_000));
        assert_eq!(of("delete", "-1"), Known::Absent);
        assert_eq!(of("compact", "3600000"), Known::Absent);
        assert_eq!(of("", "3600000"), Known::Absent);
    }

    #[test]
    fn a_setting_that_is_not_told_is_never_zero() {
        assert_eq!(retention(&settings_of(&[])), Known::Unknown("the brokers do not tell `retention.ms`".into()));
        assert_eq!(retention(&settings_of(&[("retention.ms", "7")])), Known::Known(7));
        let odd = number::<i32>(&settings_of(&[("min.insync.replicas", "")]), MIN_IN_SYNC);
        assert_eq!(odd, Known::Unknown("`min.insync.replicas` is ``, which is no number".into()));
    }

    #[test]
    fn one_partition_without_an_offset_leaves_the_topic_unknown() {
        let failed = || NoOffset::Failed("disk error".into());
        let all = |of: &[(i32, Result<i64, NoOffset>)]| -> Result<Offsets, String> {
            Ok(of.iter().map(|(partition, offset)| (("t".to_owned(), *partition), offset.clone())).collect())
        };
        let first = |of: &[(i32, Result<i64, NoOffset>)]| first_offsets("t", &[0, 1], &all(of));
        assert_eq!(first(&[(0, Ok(7)), (1, Ok(0))]), Known::Known(BTreeMap::from([(0, 7), (1, 0)])));
        assert_eq!(first(&[(0, Ok(7)), (1, Err(failed()))]), Known::Unknown("partition 1: disk error".into()));
        let silent = first(&[(0, Err(NoOffset::Unanswered)), (1, Ok(0))]);
        assert_eq!(silent, Known::Unknown("partition 0: no answer from its leader".into()));
        assert!(first(&[(0, Ok(7))]).is_unknown());
        assert!(first_offsets("t", &[], &all(&[])).is_unknown());
        assert_eq!(first_offsets("t", &[0], &Err("timed out".into())), Known::Unknown("timed out".into()));
    }

    #[test]
    fn what_was_said_before_a_failure_counts() {
        let told = HashMap::from([("a".to_owned(), Ok(1)), ("b".to_owned(), Err("denied".to_owned()))]);
        let source = Cause::from_code(RDKafkaErrorCode::OperationTimedOut);
        let error = KafkaError::DescribeTopics { at: "k:9092".into(), deadline: Duration::from_secs(5), source };
        let answers = Answers { told, error: Some(error) };
        assert_eq!(answers.of("a"), Ok(&1));
        assert_eq!(answers.of("b"), Err("denied".to_owned()));
        let late = "Kafka at k:9092 did not describe topics within 5 s: timed out".to_owned();
        assert_eq!(answers.of("c"), Err(late));
        let silent = Answers::<i32> { told: HashMap::new(), error: None };
        assert_eq!(silent.of("a"), Err("the brokers said nothing about this topic".to_owned()));
    }
}
