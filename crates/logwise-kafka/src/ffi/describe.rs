//! The cluster and its topics as brokers describe them.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe DescribeCluster and DescribeTopics; its DescribeConfigs drops the error of a topic"
)]

use super::{AdminCall, array, out_of_memory, text, unexpected};
use crate::error::Cause;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

/// What this client may do with one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorized {
    pub(crate) topic: String,
    /// Numbers of the operations, as Kafka's protocol has them; `None`: the broker does not tell.
    pub(crate) operations: Result<Option<Vec<u32>>, NotDescribed>,
}

/// The id of one topic.
#[derive(Debug)]
pub(crate) struct TopicId {
    pub(crate) topic: String,
    /// As Kafka's own tools write it; `None`: the brokers give topics no ids.
    pub(crate) id: Result<Option<String>, NotDescribed>,
}

/// Why a topic was not described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotDescribed {
    /// The error's name in Kafka's protocol, such as `TOPIC_AUTHORIZATION_FAILED`.
    pub(crate) name: String,
    /// The error in words.
    pub(crate) text: String,
}

/// Settings of one topic by name, or why they were not read.
#[derive(Debug)]
pub(crate) struct TopicSettings {
    pub(crate) topic: String,
    pub(crate) settings: Result<BTreeMap<String, String>, String>,
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
            return Err(unexpected());
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
    describe_topics(client, topics, &call, authorized)
}

/// The id of each of the named topics: one request, which creates none of them.
///
/// Waits at most `deadline` and one second. Fails as a whole only when no broker answered.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[CString],
    deadline: Duration,
) -> Result<Vec<TopicId>, Cause> {
    let call = AdminCall::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, deadline)?;
    describe_topics(client, topics, &call, topic_id)
}

/// The settings called `names` of each of the named topics: one request.
///
/// Waits at most `deadline` and one second. Fails as a whole only when no broker answered.
pub(crate) fn topic_settings<C: ClientContext>(
    client: &Client<C>,
    topics: &[CString],
    names: &[&CStr],
    deadline: Duration,
) -> Result<Vec<TopicSettings>, Cause> {
    let call = AdminCall::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, deadline)?;
    let resources: Vec<ResourceGuard> =
        topics.iter().map(|topic| ResourceGuard::topic(topic, names)).collect::<Result<_, _>>()?;
    let mut asked: Vec<_> = resources.iter().map(|resource| resource.0.as_ptr()).collect();
    let (options, queue) = (call.options.0.as_ptr(), call.queue.0.as_ptr());
    // SAFETY: client, resources, options and queue are alive; the resources are only read and copied by the call.
    unsafe { sys::rd_kafka_DescribeConfigs(client.native_ptr(), asked.as_mut_ptr(), asked.len(), options, queue) };
    let answer = call.answer()?;
    let mut count = 0;
    // SAFETY: the event is alive until the end of this function and owns the result, its array and all resources; the
    // result is null for another kind of event, which is checked.
    let described = unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(answer.0.as_ptr());
        if result.is_null() {
            return Err(unexpected());
        }
        array(sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count), count)
    };
    let told = described.iter().filter(|resource| !resource.is_null());
    // SAFETY: each resource belongs to the event, which is still alive.
    Ok(told.map(|resource| unsafe { settings(*resource) }).collect())
}

type Description = *const sys::rd_kafka_TopicDescription_t;

/// Asks `call`, which is for DescribeTopics, about the named topics.
fn describe_topics<C: ClientContext, T>(
    client: &Client<C>,
    topics: &[CString],
    call: &AdminCall,
    read: unsafe fn(Description) -> T,
) -> Result<Vec<T>, Cause> {
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
            return Err(unexpected());
        }
        array(sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count), count)
    };
    let told = described.iter().filter(|topic| !topic.is_null());
    // SAFETY: each description belongs to the event, which is still alive.
    Ok(told.map(|topic| unsafe { read(*topic) }).collect())
}

/// # Safety
/// `topic` belongs to an event that is alive.
unsafe fn authorized(topic: Description) -> Authorized {
    let mut count = 0;
    // SAFETY: by the contract; the operations belong to the description and are copied. They are read as numbers,
    // because a newer broker may send what no enumeration here lists. Without operations `count` is zero or the pointer
    // is null, and then it is not read.
    unsafe {
        let (name, failed) = name_and_error(topic);
        if let Some(failed) = failed {
            return Authorized { topic: name, operations: Err(failed) };
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

/// # Safety
/// `topic` belongs to an event that is alive.
unsafe fn topic_id(topic: Description) -> TopicId {
    // SAFETY: by the contract; the id belongs to the description, and so does its text, which is copied.
    unsafe {
        let (name, failed) = name_and_error(topic);
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let given = !id.is_null()
            && (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id)) != (0, 0);
        let id = match failed {
            Some(failed) => Err(failed),
            // Kafka writes ids with the letters of base64 that may stand in an URL, librdkafka with the other ones.
            None if given => {
                Ok(text(sys::rd_kafka_Uuid_base64str(id)).map(|id| id.replace('+', "-").replace('/', "_")))
            }
            None => Ok(None),
        };
        TopicId { topic: name, id }
    }
}

/// # Safety
/// `topic` belongs to an event that is alive.
unsafe fn name_and_error(topic: Description) -> (String, Option<NotDescribed>) {
    // SAFETY: by the contract; name and error belong to the description and are copied. The error is read by its name,
    // because a newer broker may send one that the enumeration does not list.
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(topic)).unwrap_or_default();
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = text(sys::rd_kafka_error_name(error)).filter(|_| !error.is_null());
        let failed = code
            .filter(|code| code != "NO_ERROR")
            .map(|code| NotDescribed { name: code, text: text(sys::rd_kafka_error_string(error)).unwrap_or_default() });
        (name, failed)
    }
}

/// # Safety
/// `resource` belongs to an event that is alive.
unsafe fn settings(resource: *const sys::rd_kafka_ConfigResource_t) -> TopicSettings {
    let mut count = 0;
    // SAFETY: by the contract; name, error and entries belong to the resource, and what is kept is copied. An error is
    // known by its text, because a newer broker may send one that the enumeration does not list.
    unsafe {
        let topic = text(sys::rd_kafka_ConfigResource_name(resource)).unwrap_or_default();
        if let Some(why) = text(sys::rd_kafka_ConfigResource_error_string(resource)) {
            return TopicSettings { topic, settings: Err(why) };
        }
        let entries = array(sys::rd_kafka_ConfigResource_configs(resource, &raw mut count), count);
        let read = entries.iter().filter_map(|entry| {
            Some((text(sys::rd_kafka_ConfigEntry_name(*entry))?, text(sys::rd_kafka_ConfigEntry_value(*entry))?))
        });
        TopicSettings { topic, settings: Ok(read.collect()) }
    }
}

struct TopicsGuard(NonNull<sys::rd_kafka_TopicCollection_t>);

impl Drop for TopicsGuard {
    fn drop(&mut self) {
        // SAFETY: the collection is ours and not used afterwards.
        unsafe { sys::rd_kafka_TopicCollection_destroy(self.0.as_ptr()) }
    }
}

struct ResourceGuard(NonNull<sys::rd_kafka_ConfigResource_t>);

impl ResourceGuard {
    /// A topic of which only the settings called `names` are asked for.
    fn topic(topic: &CStr, names: &[&CStr]) -> Result<Self, Cause> {
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is alive and ends in NUL; the resource is ours and given back by its guard.
        let resource = NonNull::new(unsafe { sys::rd_kafka_ConfigResource_new(kind, topic.as_ptr()) });
        let resource = resource
            .map(Self)
            .ok_or_else(|| Cause::new(RDKafkaErrorCode::InvalidArgument, "a topic's name is empty"))?;
        for name in names {
            // SAFETY: resource and texts are alive; the texts are copied. Of an entry only the name is asked for.
            let set =
                unsafe { sys::rd_kafka_ConfigResource_set_config(resource.0.as_ptr(), name.as_ptr(), c"".as_ptr()) };
            if set != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(Cause::from_code(set.into()));
            }
        }
        Ok(resource)
    }
}

impl Drop for ResourceGuard {
    fn drop(&mut self) {
        // SAFETY: the resource is ours and not used afterwards.
        unsafe { sys::rd_kafka_ConfigResource_destroy(self.0.as_ptr()) }
    }
}
