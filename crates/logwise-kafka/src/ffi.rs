//! The calls of librdkafka that rdkafka does not offer, or not without a leak, behind small safe functions.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe ListOffsets, DescribeTopics, DescribeCluster or main queue; its cluster id call leaks"
)]

use crate::error::{Cause, unanswered};
use rdkafka::TopicPartitionList;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{NonNull, null};
use std::time::Duration;

/// Waiting longer than librdkafka's own time-out lets the partial answer of the brokers that did reply arrive.
const MARGIN: Duration = Duration::from_secs(1);

/// Most events taken from the main queue in one go: a client that logs faster than we read must not hold us.
const MAX_EVENTS: usize = 10_000;

/// The end offset of one partition, or why there is none.
#[derive(Debug)]
pub(crate) struct EndOffset {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: Result<i64, NoOffset>,
}

/// Why a partition gave no end offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoOffset {
    /// Its leader did not answer in time.
    Unanswered,
    /// Its leader answered with an error, or the leader is not known.
    Failed(String),
}

/// What this client may do with one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorized {
    pub(crate) topic: String,
    /// Numbers of the operations, as Kafka's protocol has them; `None`: the broker does not tell.
    pub(crate) operations: Result<Option<Vec<u32>>, NotDescribed>,
}

/// Why a topic was not described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotDescribed {
    /// The error's name in Kafka's protocol, such as `TOPIC_AUTHORIZATION_FAILED`.
    pub(crate) name: String,
    /// The error in words.
    pub(crate) text: String,
}

/// Something a client reports about its connections.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection failed.
    Error(RDKafkaErrorCode, String),
    /// A log line of librdkafka: facility and text.
    Log(String, String),
}

/// The latest offset of each named partition, in the order of the answers: one request per leader.
///
/// Waits at most `deadline` and one second. Fails as a whole only when no leader could be asked.
pub(crate) fn list_end_offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: &TopicPartitionList,
    deadline: Duration,
) -> Result<Vec<EndOffset>, Cause> {
    let call = AdminCall::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, deadline)?;
    // SAFETY: client, list, options and queue are alive; the list is only read and copied by the call.
    unsafe {
        sys::rd_kafka_ListOffsets(client.native_ptr(), partitions.ptr(), call.options.0.as_ptr(), call.queue.0.as_ptr())
    };
    let answer = call.answer()?;
    let mut count = 0;
    // SAFETY: the event is alive until the end of this function and owns the result, its array and all entries; the
    // result is null for another kind of event, which is checked.
    let entries = unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(answer.0.as_ptr());
        if result.is_null() {
            return Err(Cause::new(RDKafkaErrorCode::Fail, "an unexpected kind of answer"));
        }
        array(sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count), count)
    };
    // SAFETY: each entry belongs to the event, which is still alive.
    Ok(entries.iter().map(|entry| unsafe { end_offset(*entry) }).collect())
}

/// Number of brokers and the cluster id, without reading any topic: one request.
///
/// Waits at most `deadline` and one second.
pub(crate) fn describe_cluster<C: ClientContext>(
    client: &Client<C>,
    deadline: Duration,
) -> Result<(usize, Option<String>), Cause> {
    let call = AdminCall::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER, deadline)?;
    // SAFETY: client, options and queue are alive.
    unsafe { sys::rd_kafka_DescribeCluster(client.native_ptr(), call.options.0.as_ptr(), call.queue.0.as_ptr()) };
    let answer = call.answer()?;
    let mut brokers = 0;
    // SAFETY: the event is alive until the end of this function and owns the result and its texts; the result is null
    // for another kind of event, which is checked.
    unsafe {
        let result = sys::rd_kafka_event_DescribeCluster_result(answer.0.as_ptr());
        if result.is_null() {
            return Err(Cause::new(RDKafkaErrorCode::Fail, "an unexpected kind of answer"));
        }
        sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut brokers);
        Ok((brokers, text(sys::rd_kafka_DescribeCluster_result_cluster_id(result))))
    }
}

/// What this client may do with each of the named topics: one request, which creates none of them.
///
/// Waits at most `deadline` and one second. Fails as a whole only when no broker answered.
pub(crate) fn authorized_operations<C: ClientContext>(
    client: &Client<C>,
    topics: &[CString],
    deadline: Duration,
) -> Result<Vec<Authorized>, Cause> {
    let call = AdminCall::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, deadline)?;
    call.with_authorized_operations()?;
    let mut names: Vec<*const c_char> = topics.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: every name is alive and ends in NUL; the collection copies them, is ours and given back by its guard.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()) };
    let topics = NonNull::new(topics).map(TopicsGuard).ok_or_else(out_of_memory)?;
    let (asked, options, queue) = (topics.0.as_ptr(), call.options.0.as_ptr(), call.queue.0.as_ptr());
    // SAFETY: client, collection, options and queue are alive; the collection is only read and copied by the call.
    unsafe { sys::rd_kafka_DescribeTopics(client.native_ptr(), asked, options, queue) };
    let answer = call.answer()?;
    let mut count = 0;
    // SAFETY: the event is alive until the end of this function and owns the result, its array and all descriptions;
    // the result is null for another kind of event, which is checked.
    let described = unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(answer.0.as_ptr());
        if result.is_null() {
            return Err(Cause::new(RDKafkaErrorCode::Fail, "an unexpected kind of answer"));
        }
        array(sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count), count)
    };
    // SAFETY: each description belongs to the event, which is still alive.
    Ok(described.iter().map(|topic| unsafe { authorized(*topic) }).collect())
}

/// The cluster id from the last metadata answer, without a request; `None` before the first answer.
pub(crate) fn cluster_id<C: ClientContext>(client: &Client<C>) -> Option<String> {
    // SAFETY: the client is alive; the text is ours, copied, and given back to the allocator it came from.
    unsafe {
        let raw = sys::rd_kafka_clusterid(client.native_ptr(), 0);
        let id = text(raw);
        if !raw.is_null() {
            sys::rd_kafka_mem_free(client.native_ptr(), raw.cast());
        }
        id
    }
}

/// Takes what waits in the client's main queue, without waiting: causes of connection and authentication failures.
pub(crate) fn drain_events<C: ClientContext>(client: &Client<C>) -> Vec<Event> {
    // SAFETY: the client is alive; the reference to its queue is ours and given back by the guard.
    let Some(queue) = NonNull::new(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) }).map(QueueGuard) else {
        return Vec::new();
    };
    std::iter::from_fn(|| queue.poll(Duration::ZERO)).take(MAX_EVENTS).filter_map(|event| event.read()).collect()
}

/// One admin call: its options, and the queue its answer comes to.
struct AdminCall {
    queue: QueueGuard,
    options: OptionsGuard,
    deadline: Duration,
}

impl AdminCall {
    fn new<C: ClientContext>(
        client: &Client<C>,
        operation: sys::rd_kafka_admin_op_t,
        deadline: Duration,
    ) -> Result<Self, Cause> {
        // SAFETY: the client is alive; both objects are ours and given back by their guards.
        let (queue, options) = unsafe {
            let queue = NonNull::new(sys::rd_kafka_queue_new(client.native_ptr()));
            let options = NonNull::new(sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation));
            (queue.map(QueueGuard), options.map(OptionsGuard))
        };
        let (queue, options) = (queue.ok_or_else(out_of_memory)?, options.ok_or_else(out_of_memory)?);
        let mut why = [0 as c_char; 256];
        // SAFETY: the options are alive; `why` is written within its length and ends in NUL.
        let set = unsafe {
            let set = sys::rd_kafka_AdminOptions_set_request_timeout(
                options.0.as_ptr(),
                millis(deadline),
                why.as_mut_ptr(),
                why.len(),
            );
            if set == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                Ok(())
            } else {
                Err((set, text(why.as_ptr())))
            }
        };
        set.map_err(|(code, why)| Cause::new(code.into(), why.unwrap_or_default()))?;
        Ok(Self { queue, options, deadline })
    }

    /// The answer shall tell which operations this client may carry out.
    fn with_authorized_operations(&self) -> Result<(), Cause> {
        let options = self.options.0.as_ptr();
        // SAFETY: the options are alive; a returned error is ours, its text is copied, and it is given back.
        unsafe {
            let error = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if error.is_null() {
                return Ok(());
            }
            let why = text(sys::rd_kafka_error_string(error)).unwrap_or_default();
            sys::rd_kafka_error_destroy(error);
            Err(Cause::new(RDKafkaErrorCode::InvalidArgument, why))
        }
    }

    /// Waits for the answer of the call that was started with these options and this queue.
    fn answer(&self) -> Result<EventGuard, Cause> {
        let event = self.queue.poll(self.deadline + MARGIN);
        let event = event.ok_or_else(|| Cause::from_code(RDKafkaErrorCode::OperationTimedOut))?;
        match event.error() {
            None => Ok(event),
            // What librdkafka was waiting for tells people nothing.
            Some((code, _)) if unanswered(code) => Err(Cause::from_code(code)),
            Some((code, why)) => Err(Cause::new(code, why)),
        }
    }
}

struct QueueGuard(NonNull<sys::rd_kafka_queue_t>);

impl QueueGuard {
    fn poll(&self, wait: Duration) -> Option<EventGuard> {
        // SAFETY: the queue is alive; a returned event is ours and given back by its guard.
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.0.as_ptr(), millis(wait)) }).map(EventGuard)
    }
}

impl Drop for QueueGuard {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and not used afterwards.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

struct OptionsGuard(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Drop for OptionsGuard {
    fn drop(&mut self) {
        // SAFETY: the options are ours and not used afterwards.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

struct TopicsGuard(NonNull<sys::rd_kafka_TopicCollection_t>);

impl Drop for TopicsGuard {
    fn drop(&mut self) {
        // SAFETY: the collection is ours and not used afterwards.
        unsafe { sys::rd_kafka_TopicCollection_destroy(self.0.as_ptr()) }
    }
}

struct EventGuard(NonNull<sys::rd_kafka_event_t>);

impl EventGuard {
    /// Code and text of the error the event carries, if any.
    fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        // SAFETY: the event is alive and owns the text, which is copied.
        unsafe {
            let code = sys::rd_kafka_event_error(self.0.as_ptr());
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| (code.into(), text(sys::rd_kafka_event_error_string(self.0.as_ptr())).unwrap_or_default()))
        }
    }

    fn read(&self) -> Option<Event> {
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_type(self.0.as_ptr()) } {
            sys::RD_KAFKA_EVENT_ERROR => self.error().map(|(code, why)| Event::Error(code, why)),
            sys::RD_KAFKA_EVENT_LOG => self.log(),
            _ => None,
        }
    }

    fn log(&self) -> Option<Event> {
        let (mut facility, mut line, mut level): (*const c_char, *const c_char, c_int) = (null(), null(), 0);
        // SAFETY: the event is alive and owns both texts, which are copied.
        unsafe {
            let read = sys::rd_kafka_event_log(self.0.as_ptr(), &raw mut facility, &raw mut line, &raw mut level) == 0;
            read.then_some(Event::Log(text(facility)?, text(line)?))
        }
    }
}

impl Drop for EventGuard {
    fn drop(&mut self) {
        // SAFETY: the event is ours and not used afterwards.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `entry` belongs to an event that is alive.
unsafe fn end_offset(entry: *const sys::rd_kafka_ListOffsetsResultInfo_t) -> EndOffset {
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
    EndOffset { topic, partition, offset }
}

/// # Safety
/// `topic` belongs to an event that is alive.
unsafe fn authorized(topic: *const sys::rd_kafka_TopicDescription_t) -> Authorized {
    let mut count = 0;
    // SAFETY: by the contract; name, error and operations belong to the description, and what is kept is copied. The
    // error is read by its name and the operations as numbers, because a newer broker may send what no enumeration here
    // lists. Without operations `count` is zero or the pointer is null, and then it is not read.
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(topic)).unwrap_or_default();
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = text(sys::rd_kafka_error_name(error)).filter(|_| !error.is_null());
        if let Some(code) = code.filter(|code| code != "NO_ERROR") {
            let why = text(sys::rd_kafka_error_string(error)).unwrap_or_default();
            return Authorized { topic: name, operations: Err(NotDescribed { name: code, text: why }) };
        }
        let first = sys::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count).cast::<u32>();
        let operations = match count {
            _ if first.is_null() => None,
            0 => Some(Vec::new()),
            count => Some(std::slice::from_raw_parts(first, count).to_vec()),
        };
        Authorized { topic: name, operations: Ok(operations) }
    }
}

fn out_of_memory() -> Cause {
    Cause::new(RDKafkaErrorCode::CriticalSystemResource, "out of memory")
}

fn code_text(code: i32) -> String {
    match sys::rd_kafka_resp_err_t::try_from(code) {
        Ok(code) => Cause::from_code(code.into()).to_string(),
        Err(_) => format!("error {code}"),
    }
}

/// # Safety
/// `first` is null, or starts an array of `count` pointers that lives as long as the caller uses the slice.
unsafe fn array<'a, T>(first: *mut *const T, count: usize) -> &'a [*const T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// # Safety
/// `raw` is null or a text that ends in NUL.
unsafe fn text(raw: *const c_char) -> Option<String> {
    // SAFETY: by the contract.
    (!raw.is_null()).then(|| unsafe { CStr::from_ptr(raw) }.to_string_lossy().trim().to_owned())
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_newer_than_the_library_is_still_a_reason() {
        assert_eq!(code_text(3), "unknown topic or partition");
        assert_eq!(code_text(29_999), "error 29999");
    }

    #[test]
    fn a_long_wait_does_not_turn_into_a_negative_one() {
        assert_eq!(millis(Duration::from_secs(5)), 5_000);
        assert_eq!(millis(Duration::MAX), c_int::MAX);
    }
}
