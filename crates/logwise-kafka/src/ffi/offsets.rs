//! Where partitions begin and end.
#![expect(unsafe_code, reason = "rdkafka has no safe ListOffsets")]

use super::{AdminCall, array, code_text, text, unexpected};
use crate::error::Cause;
use rdkafka::TopicPartitionList;
use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;
use std::time::Duration;

/// The offset of one partition, or why there is none.
#[derive(Debug)]
pub(crate) struct ListedOffset {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: Result<i64, NoOffset>,
}

/// Why a partition gave no offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoOffset {
    /// Its leader did not answer in time.
    Unanswered,
    /// Its leader answered with an error, or the leader is not known.
    Failed(String),
}

/// A ListOffsets call that is under way.
pub(crate) struct ListOffsets(AdminCall);

impl ListOffsets {
    /// Asks for the offset that each entry of `partitions` names, `Offset::End` or `Offset::Beginning`: one request per
    /// leader.
    pub(crate) fn begin<C: ClientContext>(
        client: &Client<C>,
        partitions: &TopicPartitionList,
        deadline: Duration,
    ) -> Result<Self, Cause> {
        let call = AdminCall::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, deadline)?;
        let (options, queue) = (call.options.0.as_ptr(), call.queue.0.as_ptr());
        // SAFETY: client, list, options and queue are alive; list and options are only read and copied by the call, and
        // it keeps a reference of its own to the queue.
        unsafe { sys::rd_kafka_ListOffsets(client.native_ptr(), partitions.ptr(), options, queue) };
        Ok(Self(call))
    }

    /// What the leaders told, in the order of the answers.
    ///
    /// Waits at most the deadline and one second. Fails as a whole only when no leader could be asked.
    pub(crate) fn answer(&self) -> Result<Vec<ListedOffset>, Cause> {
        let answer = self.0.answer()?;
        let mut count = 0;
        // SAFETY: the event is alive until the end of this function and owns the result, its array and all entries; the
        // result is null for another kind of event, which is checked.
        let entries = unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(answer.0.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            array(sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count), count)
        };
        // SAFETY: each entry belongs to the event, which is still alive.
        Ok(entries.iter().map(|entry| unsafe { listed(*entry) }).collect())
    }
}

/// # Safety
/// `entry` belongs to an event that is alive.
unsafe fn listed(entry: *const sys::rd_kafka_ListOffsetsResultInfo_t) -> ListedOffset {
    // SAFETY: by the contract; the partition belongs to the entry. The code is read as a number, because a broker newer
    // than librdkafka may send one that the enumeration does not list.
    let (topic, partition, offset, code) = unsafe {
        let of = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(entry);
        let code = (&raw const (*of).err).cast::<i32>().read();
        (text((*of).topic).unwrap_or_default(), (*of).partition, (*of).offset, code)
    };
    let offset = match code {
        0 if offset >= 0 => Ok(offset),
        // librdkafka reports a leader that did not answer as success with an invalid offset.
        0 => Err(NoOffset::Unanswered),
        code => Err(NoOffset::Failed(code_text(code))),
    };
    ListedOffset { topic, partition, offset }
}
