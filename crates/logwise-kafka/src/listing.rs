//! Offsets of many partitions at once.

use crate::client::{Connection, KafkaClient};
use crate::error::Cause;
use crate::ffi::{ListOffsets, ListedOffset, NoOffset};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};

/// Partitions in one request. librdkafka compares each answer with each question, so that a request costs time with the
/// square of its length: 10,000 partitions in one would take seconds, in ten they take a tenth of that.
const MOST: usize = 1_000;

/// What leaders told about partitions; of one that is missing nothing was told.
pub(crate) type Offsets = HashMap<(String, i32), Result<i64, NoOffset>>;

/// The offset that `which` names of each partition, given with its leader: one request for a thousand partitions of a
/// leader, all on their way at the same time. Where leaders are not known, any number stands for all.
///
/// Fails when nothing at all was answered; what some leaders did not answer is [`NoOffset::Unanswered`].
pub(crate) fn offsets<'a>(
    client: &KafkaClient,
    partitions: impl Iterator<Item = (i32, &'a str, i32)>,
    which: Offset,
) -> Result<Offsets, Cause> {
    let lists = in_requests(partitions, which)?;
    if lists.is_empty() {
        return Ok(Offsets::new());
    }
    client.call(|connection| ask(connection, client, &lists))
}

fn ask(connection: &Connection, client: &KafkaClient, lists: &[TopicPartitionList]) -> Result<Offsets, Cause> {
    let begun: Vec<Result<ListOffsets, Cause>> =
        lists.iter().map(|list| ListOffsets::begin(connection, list, client.deadline())).collect();
    let mut offsets = Offsets::new();
    let mut failed = None;
    for call in begun {
        match call.and_then(|call| call.answer()) {
            Ok(told) => offsets.extend(told.into_iter().map(keyed)),
            Err(cause) => failed = failed.or(Some(cause)),
        }
    }
    if offsets.values().any(|offset| *offset != Err(NoOffset::Unanswered)) {
        return Ok(offsets);
    }
    Err(failed.unwrap_or_else(|| Cause::from_code(RDKafkaErrorCode::OperationTimedOut)))
}

fn keyed(of: ListedOffset) -> ((String, i32), Result<i64, NoOffset>) {
    ((of.topic, of.partition), of.offset)
}

fn in_requests<'a>(
    partitions: impl Iterator<Item = (i32, &'a str, i32)>,
    which: Offset,
) -> Result<Vec<TopicPartitionList>, Cause> {
    let mut by_leader: BTreeMap<i32, Vec<(&str, i32)>> = BTreeMap::new();
    partitions.for_each(|(leader, topic, partition)| by_leader.entry(leader).or_default().push((topic, partition)));
    let mut lists = Vec::new();
    for part in by_leader.values().flat_map(|of| of.chunks(MOST)) {
        let mut list = TopicPartitionList::with_capacity(part.len());
        part.iter().for_each(|(topic, partition)| _ = list.add_partition(topic, *partition));
        list.set_all_offsets(which).map_err(|error| Cause::from_library(&error))?;
        lists.push(list);
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_partitions_of_one_leader_and_no_more_than_a_thousand() {
        let of = |leader, number| (0..number).map(move |partition| (leader, "t", partition));
        let lists = in_requests(of(2, 1_001).chain(of(1, 3)), Offset::End).unwrap();
        assert_eq!(lists.iter().map(TopicPartitionList::count).collect::<Vec<_>>(), [3, 1_000, 1]);
        assert!(in_requests(of(1, 0), Offset::End).unwrap().is_empty());
    }
}
