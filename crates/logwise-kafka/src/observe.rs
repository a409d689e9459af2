use crate::client::{KafkaClient, off_the_async_threads};
use crate::error::{Cause, KafkaError};
use crate::ffi::{self, NoOffset};
use crate::listing::{self, Offsets};
use logwise_plan::Known;
use logwise_plan::partitions::{Observed, Topic};
use logwise_plan::selector::TopicSelector;
use logwise_runtime::facts::TopicEnds;
use rdkafka::Offset;
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one look at a Kafka cluster found.
#[derive(Debug)]
pub struct Look {
    /// The selected topics.
    pub facts: Observed,
    /// End offsets of the selected topics.
    pub ends: Known<TopicEnds>,
    /// Selected topics whose partitions do not all have the same number of replicas.
    pub uneven: BTreeMap<String, Replicas>,
    /// The cluster itself.
    pub cluster: Known<ClusterFacts>,
    /// What failed, if anything did; the facts say `Unknown` for the same reason.
    pub error: Option<KafkaError>,
}

/// The cluster as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Id that the cluster keeps for life.
    pub cluster_id: Option<String>,
    /// Brokers that the cluster lists at present.
    pub brokers: i32,
}

/// How many partitions of a topic have how many replicas.
pub type Replicas = BTreeMap<i32, i32>;

/// Reads the topics that `selector` chooses, their health and their end offsets.
///
/// One metadata request, then one ListOffsets request for each thousand partitions that a broker leads, all of them at
/// once; both steps are answered within the client's deadline. Without a selector only the brokers are read.
pub async fn observe(client: &Arc<KafkaClient>, selector: Option<&TopicSelector>) -> Look {
    let selector = selector.cloned();
    let looked = off_the_async_threads(client, move |client| match selector {
        Some(selector) => look_at_topics(client, &selector),
        None => look_at_brokers(client),
    });
    looked.await.unwrap_or_else(|source| {
        Look::failed(KafkaError::FetchMetadata { at: client.at().to_owned(), deadline: client.deadline(), source })
    })
}

impl Look {
    fn failed(error: KafkaError) -> Self {
        let why = error.message();
        Self {
            facts: Observed::from(Known::Unknown(why.clone())),
            ends: Known::Unknown(why.clone()),
            uneven: BTreeMap::new(),
            cluster: Known::Unknown(why),
            error: Some(error),
        }
    }
}

fn look_at_brokers(client: &KafkaClient) -> Look {
    match client.call(|connection| ffi::describe_cluster(connection, client.deadline())) {
        Ok((brokers, cluster_id)) => Look {
            facts: Observed::from(Known::Known(BTreeMap::new())),
            ends: Known::Known(TopicEnds::new()),
            uneven: BTreeMap::new(),
            cluster: Known::Known(ClusterFacts {
                cluster_id: cluster_id.filter(|id| is_sound(id)),
                brokers: count(brokers),
            }),
            error: None,
        },
        Err(source) => Look::failed(KafkaError::DescribeCluster {
            at: client.at().to_owned(),
            deadline: client.deadline(),
            source,
        }),
    }
}

fn look_at_topics(client: &KafkaClient, selector: &TopicSelector) -> Look {
    let (metadata, cluster_id) = match fetch_metadata(client) {
        Ok(found) => found,
        Err(error) => return Look::failed(error),
    };
    let layouts: BTreeMap<&str, Layout> = metadata
        .topics()
        .iter()
        .filter(|topic| selector.matches(topic.name()))
        .map(|topic| (topic.name(), Layout::of(topic)))
        .collect();
    let (ends, error) = match end_offsets(client, &layouts) {
        Ok(ends) => (Ok(ends), None),
        Err(error) => (Err(error.message()), Some(error)),
    };
    let topics = layouts.iter().map(|(&name, layout)| (name.to_owned(), layout.topic(name, &ends))).collect();
    let brokers = count(metadata.brokers().len());
    let topic_ends = layouts.iter().map(|(&name, layout)| (name.to_owned(), layout.ends(name, &ends))).collect();
    let uneven = layouts.iter().filter(|(_, layout)| layout.replicas.len() > 1);
    Look {
        uneven: uneven.map(|(&name, layout)| (name.to_owned(), layout.replicas.clone())).collect(),
        ends: Known::Known(topic_ends),
        facts: Observed {
            cluster_id: named(cluster_id.as_ref()),
            brokers: Known::Known(brokers),
            replicas: replicas(&metadata),
            ..Observed::from(Known::Known(topics))
        },
        cluster: Known::Known(ClusterFacts { cluster_id, brokers }),
        error,
    }
}

fn named(cluster_id: Option<&String>) -> Known<String> {
    cluster_id.map_or_else(
        || Known::Unknown("the brokers did not tell the cluster's id".to_owned()),
        |id| Known::Known(id.clone()),
    )
}

/// Kafka's ids have 22 characters; one that is much longer would not stay where it is written.
fn is_sound(cluster_id: &str) -> bool {
    (1..=64).contains(&cluster_id.len())
}

/// Replicas of all partitions that this login is shown.
fn replicas(metadata: &Metadata) -> i64 {
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    i64::try_from(partitions.map(|partition| partition.replicas().len()).sum::<usize>()).unwrap_or(i64::MAX)
}

/// All topics and brokers of the cluster, and its id: one request.
pub(crate) fn fetch_metadata(client: &KafkaClient) -> Result<(Metadata, Option<String>), KafkaError> {
    client
        .call(|connection| {
            let metadata = connection.fetch_metadata(None, client.deadline());
            Ok((
                metadata.map_err(|error| Cause::from_library(&error))?,
                ffi::cluster_id(connection).filter(|id| is_sound(id)),
            ))
        })
        .map_err(|source| KafkaError::FetchMetadata { at: client.at().to_owned(), deadline: client.deadline(), source })
}

/// The end offsets of all partitions that have a leader; a partition without one is not asked about, because
/// librdkafka would wait for a leader until the deadline.
fn end_offsets(client: &KafkaClient, layouts: &BTreeMap<&str, Layout>) -> Result<Offsets, KafkaError> {
    let asked =
        layouts.iter().flat_map(|(name, layout)| layout.led.iter().map(|led| (led.leader, *name, led.partition)));
    listing::offsets(client, asked, Offset::End).map_err(|source| KafkaError::ListOffsets {
        at: client.at().to_owned(),
        deadline: client.deadline(),
        source,
    })
}

/// A partition with its leader.
#[derive(Clone, Copy, Debug)]
struct Led {
    partition: i32,
    leader: i32,
}

/// One topic as metadata describes it.
#[derive(Debug, Default)]
struct Layout {
    /// Partitions with a leader.
    led: Vec<Led>,
    /// Partitions without a leader.
    leaderless: Vec<i32>,
    under_replicated: usize,
    replicas: Replicas,
    /// Why the topic as a whole could not be described.
    error: Option<String>,
}

impl Layout {
    fn of(topic: &MetadataTopic) -> Self {
        let (led, leaderless): (Vec<_>, Vec<_>) =
            topic.partitions().iter().partition(|partition| partition.leader() >= 0);
        let with_leader = |of: &&MetadataPartition| Led { partition: of.id(), leader: of.leader() };
        Self {
            led: led.iter().map(with_leader).collect(),
            leaderless: leaderless.iter().map(|partition| partition.id()).collect(),
            under_replicated: topic.partitions().iter().filter(|p| p.isr().len() < p.replicas().len()).count(),
            replicas: replicas_of(topic.partitions().iter().map(|p| p.replicas().len())),
            error: topic.error().map(|code| Cause::from_code(code.into()).to_string()),
        }
    }

    fn topic(&self, name: &str, ends: &Result<Offsets, String>) -> Topic {
        let (replication_factor, reassigning) = replication(&self.replicas);
        Topic {
            leaderless: count(self.leaderless.len()),
            under_replicated: count(self.under_replicated),
            reassigning,
            replication_factor: replication_factor.max(1),
            ..Topic::new(
                count(self.led.len() + self.leaderless.len()),
                self.ends(name, ends).map(|ends| ends.into_values().fold(0, i64::saturating_add)),
            )
        }
    }

    /// The end offset of every partition; unknown if one could not be read.
    fn ends(&self, name: &str, ends: &Result<Offsets, String>) -> Known<BTreeMap<i32, i64>> {
        let ends = match (&self.error, ends) {
            (Some(why), _) | (None, Err(why)) => return Known::Unknown(why.clone()),
            (None, Ok(ends)) => ends,
        };
        let mut read = BTreeMap::new();
        let mut unread: Vec<String> =
            self.leaderless.iter().map(|id| format!("partition {id} has no leader")).collect();
        for &Led { partition, .. } in &self.led {
            match ends.get(&(name.to_owned(), partition)).unwrap_or(&Err(NoOffset::Unanswered)) {
                Ok(offset) => _ = read.insert(partition, *offset),
                Err(NoOffset::Unanswered) => unread.push(format!("partition {partition}: no answer from its leader")),
                Err(NoOffset::Failed(why)) => unread.push(format!("partition {partition}: {why}")),
            }
        }
        match unread.as_slice() {
            [] if self.led.is_empty() => Known::Unknown("no partition is listed".to_owned()),
            [] => Known::Known(read),
            [only] => Known::Unknown(only.clone()),
            [first, others @ ..] => Known::Unknown(format!("{first} (and {} more partitions)", others.len())),
        }
    }
}

fn replicas_of(partitions: impl Iterator<Item = usize>) -> Replicas {
    let mut replicas = Replicas::new();
    partitions.for_each(|number| *replicas.entry(count(number)).or_default() += 1);
    replicas
}

/// The number of replicas that most partitions have, of equals the smaller, and how many partitions have another one.
/// While partitions are moved, old and new replicas are listed together.
fn replication(replicas: &Replicas) -> (i32, i32) {
    let all: i32 = replicas.values().sum();
    let most = replicas.iter().rev().max_by_key(|(_, partitions)| **partitions);
    most.map_or((0, 0), |(number, partitions)| (*number, all - partitions))
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(partitions: &[i32]) -> Vec<Led> {
        partitions.iter().map(|&partition| Led { partition, leader: 1 }).collect()
    }

    fn ends(of: &[(i32, Result<i64, NoOffset>)]) -> Result<Offsets, String> {
        Ok(of.iter().map(|(partition, end)| (("t".to_owned(), *partition), end.clone())).collect())
    }

    #[test]
    fn end_offsets_add_up_over_all_partitions() {
        let layout = Layout { led: led(&[0, 1]), ..Layout::default() };
        let topic = layout.topic("t", &ends(&[(0, Ok(40)), (1, Ok(2))]));
        assert_eq!(topic, Topic::new(2, Known::Known(42)));
        let each = layout.ends("t", &ends(&[(0, Ok(40)), (1, Ok(2))]));
        assert_eq!(each, Known::Known(BTreeMap::from([(0, 40), (1, 2)])));
    }

    #[test]
    fn one_unreadable_partition_leaves_the_sum_unknown() {
        let layout = Layout { led: led(&[0, 1, 2]), ..Layout::default() };
        let failed = || Err(NoOffset::Failed("storage error".into()));
        for (unread, why) in [
            (vec![(0, Ok(1)), (1, failed()), (2, Ok(1))], "partition 1: storage error"),
            (vec![(0, Ok(1)), (1, Err(NoOffset::Unanswered)), (2, Ok(1))], "partition 1: no answer from its leader"),
            (vec![(0, Ok(1)), (2, Ok(1))], "partition 1: no answer from its leader"),
            (vec![(0, failed()), (1, failed()), (2, Ok(1))], "partition 0: storage error (and 1 more partitions)"),
        ] {
            assert_eq!(layout.topic("t", &ends(&unread)).end_offsets, Known::Unknown(why.into()));
        }
    }

    #[test]
    fn a_partition_without_a_leader_counts_and_is_unread() {
        let layout = Layout { led: led(&[0]), leaderless: vec![1], under_replicated: 1, ..Layout::default() };
        let topic = layout.topic("t", &ends(&[(0, Ok(7))]));
        assert_eq!((topic.partitions, topic.leaderless, topic.under_replicated), (2, 1, 1));
        assert_eq!(topic.end_offsets, Known::Unknown("partition 1 has no leader".into()));
    }

    #[test]
    fn partitions_with_another_number_of_replicas_are_being_moved() {
        let of = |partitions: &[usize]| replication(&replicas_of(partitions.iter().copied()));
        assert_eq!(of(&[3, 3, 3]), (3, 0));
        assert_eq!(of(&[3, 5, 3]), (3, 1));
        assert_eq!(of(&[4, 3]), (3, 1), "of equals the smaller one");
        assert_eq!(of(&[]), (0, 0));
    }

    #[test]
    fn partitions_are_counted_by_their_replicas() {
        assert_eq!(replicas_of([3, 1, 3, 2, 3].into_iter()), Replicas::from([(1, 1), (2, 1), (3, 3)]));
        let layout = Layout { replicas: replicas_of([3, 3, 1].into_iter()), ..Layout::default() };
        let topic = layout.topic("t", &ends(&[]));
        assert_eq!((topic.replication_factor, topic.reassigning), (3, 1));
    }

    #[test]
    fn a_topic_without_partitions_or_with_an_error_is_never_zero() {
        assert_eq!(
            Layout::default().topic("t", &ends(&[])).end_offsets,
            Known::Unknown("no partition is listed".into())
        );
        let broken = Layout { led: led(&[0]), error: Some("leader not available".into()), ..Layout::default() };
        assert_eq!(broken.topic("t", &ends(&[(0, Ok(7))])).end_offsets, Known::Unknown("leader not available".into()));
        let silent = Layout { led: led(&[0]), ..Layout::default() };
        assert_eq!(silent.topic("t", &Err("no answer".into())).end_offsets, Known::Unknown("no answer".into()));
    }
}
