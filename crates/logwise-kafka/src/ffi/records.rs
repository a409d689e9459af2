//! Records of single partitions, read without a consumer group: nobody is told what was read.
#![expect(
    unsafe_code,
    reason = "rdkafka reads records only with a group.id, and with one librdkafka asks for the group's coordinator: \
              brokers make __consumer_offsets for that"
)]

use super::{EventGuard, QueueGuard, code_text, out_of_memory, text};
use crate::error::Cause;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

const END: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32;
const OUT_OF_RANGE: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32;
const NOT_ALLOWED: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as i32;

/// What came of one partition.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) piece: Piece,
}

/// A piece of a partition.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The next record.
    Record {
        offset: i64,
        /// Whether it has a key, be it an empty one.
        keyed: bool,
        /// In milliseconds since 1970, if it has one.
        timestamp: Option<i64>,
    },
    /// For now, nothing follows.
    End,
    /// It cannot be read.
    Failed(Unread),
}

/// Why a partition cannot be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// This client may not read the topic.
    NotAllowed,
    /// The offset that was asked for lies before the partition's first record or behind its end.
    OutOfRange,
    /// Anything else.
    Failed(String),
}

/// Partitions that are being read by librdkafka's simple consumer, which knows no groups.
pub(crate) struct Reader<'a, C: ClientContext> {
    client: &'a Client<C>,
    topics: BTreeMap<String, (TopicGuard, BTreeSet<i32>)>,
    queue: QueueGuard,
}

impl<'a, C: ClientContext> Reader<'a, C> {
    /// `client` is a consumer without a group.
    pub(crate) fn new(client: &'a Client<C>) -> Result<Self, Cause> {
        // SAFETY: the client is alive; the queue is ours and given back by its guard.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client.native_ptr()) });
        let queue = queue.map(QueueGuard).ok_or_else(out_of_memory)?;
        Ok(Self { client, topics: BTreeMap::new(), queue })
    }

    /// Begins to read a partition at `offset`.
    pub(crate) fn start(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Cause> {
        let refused = || Cause::new(RDKafkaErrorCode::InvalidArgument, "it cannot be asked for");
        // A negative offset would be one of librdkafka's special ones.
        if partition < 0 || offset < 0 {
            return Err(refused());
        }
        let (handle, partitions) = match self.topics.entry(topic.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert((TopicGuard::new(self.client, topic)?, BTreeSet::new())),
        };
        // SAFETY: topic and queue are alive, and stay so until the partition was stopped.
        let started =
            unsafe { sys::rd_kafka_consume_start_queue(handle.0.as_ptr(), partition, offset, self.queue.0.as_ptr()) };
        if started != 0 {
            return Err(refused());
        }
        partitions.insert(partition);
        Ok(())
    }

    /// Whatever came, of any partition; `None` also for what tells nothing about one.
    pub(crate) fn poll(&self, wait: Duration) -> Option<Fetched> {
        let event = self.queue.poll(wait)?;
        // SAFETY: the event is alive until the end of this function; a record belongs to it.
        unsafe {
            match sys::rd_kafka_event_type(event.0.as_ptr()) {
                sys::RD_KAFKA_EVENT_FETCH => record(sys::rd_kafka_event_message_next(event.0.as_ptr())),
                sys::RD_KAFKA_EVENT_ERROR => failure(&event),
                _ => None,
            }
        }
    }

    /// Whether a partition held no record at all when its leader last answered.
    pub(crate) fn is_empty(&self, topic: &str, partition: i32) -> bool {
        let Ok(name) = CString::new(topic) else { return false };
        let (mut low, mut high) = (-1, -1);
        // SAFETY: client and name are alive; both numbers are written. Nobody is asked.
        let known = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.client.native_ptr(),
                name.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
            )
        };
        known == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && low >= 0 && low >= high
    }

    /// Reads a partition no further. What has come of it already may still be polled.
    pub(crate) fn stop(&mut self, topic: &str, partition: i32) {
        if let Some((handle, partitions)) = self.topics.get_mut(topic)
            && partitions.remove(&partition)
        {
            handle.stop(partition);
        }
    }
}

impl<C: ClientContext> Drop for Reader<'_, C> {
    fn drop(&mut self) {
        for (handle, partitions) in self.topics.values() {
            partitions.iter().for_each(|partition| handle.stop(*partition));
        }
    }
}

struct TopicGuard(NonNull<sys::rd_kafka_topic_t>);

impl TopicGuard {
    fn new<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Self, Cause> {
        let refused = || Cause::new(RDKafkaErrorCode::InvalidArgument, "the topic's name is not allowed");
        let name = CString::new(topic).map_err(|_| refused())?;
        // SAFETY: client and name are alive; null stands for the client's own settings; the handle is ours and given
        // back by its guard.
        let handle = unsafe { sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), null_mut()) };
        NonNull::new(handle).map(Self).ok_or_else(refused)
    }

    /// Waits for a thread of librdkafka, not for a broker.
    fn stop(&self, partition: i32) {
        // SAFETY: the topic is alive.
        unsafe { sys::rd_kafka_consume_stop(self.0.as_ptr(), partition) };
    }
}

impl Drop for TopicGuard {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and not used afterwards.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

struct PartitionGuard(NonNull<sys::rd_kafka_topic_partition_t>);

impl Drop for PartitionGuard {
    fn drop(&mut self) {
        // SAFETY: the partition is ours and not used afterwards.
        unsafe { sys::rd_kafka_topic_partition_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `message` is null or belongs to an event that is alive.
unsafe fn record(message: *const sys::rd_kafka_message_t) -> Option<Fetched> {
    if message.is_null() {
        return None;
    }
    // SAFETY: by the contract; the topic belongs to the message, and its name is copied. The code is read as a number,
    // because a newer broker may send one that the enumeration does not list. The timestamp's kind is not asked for.
    unsafe {
        let of = (*message).rkt;
        if of.is_null() {
            return None;
        }
        let (topic, partition) = (text(sys::rd_kafka_topic_name(of))?, (*message).partition);
        let piece = match (&raw const (*message).err).cast::<i32>().read() {
            0 => Piece::Record {
                offset: (*message).offset,
                keyed: !(*message).key.is_null(),
                timestamp: Some(sys::rd_kafka_message_timestamp(message, null_mut())).filter(|time| *time >= 0),
            },
            code => failed(code),
        };
        Some(Fetched { topic, partition, piece })
    }
}

/// # Safety
/// `event` is one of an error.
unsafe fn failure(event: &EventGuard) -> Option<Fetched> {
    // SAFETY: the event is alive; the partition, which is null if the error is of none, is ours and given back by its
    // guard; its name is copied. The code is read as a number, as above.
    unsafe {
        let at = PartitionGuard(NonNull::new(sys::rd_kafka_event_topic_partition(event.0.as_ptr()))?);
        let of = at.0.as_ptr();
        let code = (&raw const (*of).err).cast::<i32>().read();
        Some(Fetched { topic: text((*of).topic)?, partition: (*of).partition, piece: failed(code) })
    }
}

fn failed(code: i32) -> Piece {
    match code {
        END => Piece::End,
        NOT_ALLOWED => Piece::Failed(Unread::NotAllowed),
        OUT_OF_RANGE => Piece::Failed(Unread::OutOfRange),
        code => Piece::Failed(Unread::Failed(code_text(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_partition_is_no_failure() {
        assert!(matches!(failed(-191), Piece::End));
        assert!(matches!(failed(-140), Piece::Failed(Unread::OutOfRange)));
        assert!(matches!(failed(29), Piece::Failed(Unread::NotAllowed)));
        assert!(matches!(failed(3), Piece::Failed(Unread::Failed(why)) if why == "unknown topic or partition"));
    }
}
