//! The calls of librdkafka that rdkafka does not offer, or not without a leak, behind small safe functions.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe options, queues or events for calls of one's own; its cluster id call leaks"
)]

mod describe;
mod offsets;
mod records;

pub(crate) use describe::{Authorized, NotDescribed, TopicId, TopicSettings};
pub(crate) use describe::{authorized_operations, describe_cluster, topic_ids, topic_settings};
pub(crate) use offsets::{ListOffsets, ListedOffset, NoOffset};
pub(crate) use records::{Fetched, Piece, Reader, Unread};

use crate::error::{Cause, unanswered};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::{NonNull, null};
use std::time::Duration;

/// Waiting longer than librdkafka's own time-out lets the partial answer of the brokers that did reply arrive.
const MARGIN: Duration = Duration::from_secs(1);

/// Most events taken from the main queue in one go: a client that logs faster than we read must not hold us.
const MAX_EVENTS: usize = 10_000;

/// Something a client reports about its connections.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection failed.
    Error(RDKafkaErrorCode, String),
    /// A log line of librdkafka: facility and text.
    Log(String, String),
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

fn unexpected() -> Cause {
    Cause::new(RDKafkaErrorCode::Fail, "an unexpected kind of answer")
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
