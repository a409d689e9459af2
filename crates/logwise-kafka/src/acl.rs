//! What the brokers let the operator do with a pipeline's topics, found out by reads that change nothing.

use crate::client::{KafkaClient, KafkaClients, off_the_async_threads};
use crate::error::{Cause, KafkaError};
use crate::ffi::{self, Authorized, NotDescribed};
use crate::{login, observe};
use logwise_api::validate::{self, Invalid};
use logwise_api::{ChangeMode, Kafka, KeyedTopics, LogwiseCluster, PartitionScalingMode};
use logwise_plan::selector::TopicSelector;
use logwise_runtime::{Refused, Secrets};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;

/// Topics asked about: the first ones by name.
pub const MOST_TOPICS: usize = 20;

/// The wanted operations do not depend on how often topics are looked at.
const ANY_PERIOD: u32 = 60;

/// An operation on topics, as Kafka's ACLs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Seeing topics and their end offsets.
    Describe,
    /// Reading settings of topics.
    DescribeConfigs,
    /// Reading records of topics that are about to grow, to see whether they carry keys.
    Read,
    /// Growing topics.
    Alter,
}

impl Operation {
    /// The word of `kafka-acls --operation`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::Read => "Read",
            Self::Alter => "Alter",
        }
    }

    /// The number in Kafka's protocol.
    const fn code(self) -> u32 {
        match self {
            Self::Read => 3,
            Self::Alter => 7,
            Self::Describe => 8,
            Self::DescribeConfigs => 10,
        }
    }
}

/// One operation on the pipeline's topics, and whether the operator may carry it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// The operation.
    pub operation: Operation,
    /// What was found.
    pub result: Outcome,
}

/// What was found about an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed on every topic that was asked about.
    Allowed,
    /// Not allowed on these topics, of which there is at least one.
    Denied(Vec<String>),
    /// It could not be found out; why.
    Unknown(String),
    /// There is no topic to ask about; why.
    NotTested(String),
}

/// Nothing was found out.
#[derive(Debug)]
pub enum NotChecked {
    /// The spec cannot be used.
    Invalid(Invalid),
    /// A Secret is missing, or may not be read: no broker was called.
    Refused(Refused),
    /// The brokers did not answer, or did not take the login.
    Failed(KafkaError),
}

/// What the pipeline's topics take, asked for at most [`MOST_TOPICS`] of them: one Metadata request for the names, one
/// for what is allowed. Empty while topics are not managed: then the brokers are only asked whether they take the login.
///
/// # Errors
/// [`NotChecked`]
pub async fn check(
    cluster: &LogwiseCluster,
    clients: &KafkaClients,
    secrets: &Secrets,
) -> Result<Vec<Acl>, NotChecked> {
    let Some(kafka) = cluster.spec.kafka.as_ref() else { return Ok(Vec::new()) };
    let policy = validate::kafka_topics(cluster, ANY_PERIOD).transpose().map_err(NotChecked::Invalid)?;
    let login = login::read(cluster, kafka, secrets).await.map_err(NotChecked::Refused)?;
    let client = clients.get_as(&kafka.bootstrap_servers, &login).map_err(NotChecked::Failed)?;
    let Some(policy) = policy else {
        return observe(&client, None).await.error.map_or(Ok(Vec::new()), |error| Err(NotChecked::Failed(error)));
    };
    authorized(&client, &policy.topics, wanted(cluster, kafka)).await.map_err(NotChecked::Failed)
}

/// The operations that the operator needs on the topics of this pipeline.
fn wanted(cluster: &LogwiseCluster, kafka: &Kafka) -> &'static [Operation] {
    let grows = kafka.partition_scaling.mode == PartitionScalingMode::Automatic
        && cluster.spec.change_policy.mode == ChangeMode::Apply;
    const ALL: &[Operation] = &[Operation::Describe, Operation::DescribeConfigs, Operation::Alter, Operation::Read];
    match (grows, kafka.partition_scaling.keyed_topics) {
        (false, _) => &ALL[..2],
        (true, KeyedTopics::Allow) => &ALL[..3],
        (true, KeyedTopics::Hold) => ALL,
    }
}

/// Whether `operations` are allowed on the first [`MOST_TOPICS`] topics that `selector` chooses.
///
/// # Errors
/// [`KafkaError::FetchMetadata`]
pub async fn authorized(
    client: &Arc<KafkaClient>,
    selector: &TopicSelector,
    operations: &'static [Operation],
) -> Result<Vec<Acl>, KafkaError> {
    let selector = selector.clone();
    let asked = off_the_async_threads(client, move |client| ask(client, &selector, operations)).await;
    asked.unwrap_or_else(|source| Err(failed(client, source)))
}

fn failed(client: &KafkaClient, source: Cause) -> KafkaError {
    KafkaError::FetchMetadata { at: client.at().to_owned(), deadline: client.deadline(), source }
}

fn ask(client: &KafkaClient, selector: &TopicSelector, operations: &[Operation]) -> Result<Vec<Acl>, KafkaError> {
    let (metadata, _) = observe::fetch_metadata(client)?;
    let visible: BTreeSet<&str> =
        metadata.topics().iter().map(|topic| topic.name()).filter(|name| selector.matches(name)).collect();
    let topics: Vec<&str> = match selector {
        // Brokers hide topics from those who may not describe them, and say so of a name whether or not it exists.
        TopicSelector::NamePrefix(prefix) if visible.is_empty() => vec![prefix],
        _ => visible.into_iter().take(MOST_TOPICS).collect(),
    };
    let names: Result<Vec<CString>, _> = topics.into_iter().map(CString::new).collect();
    let names =
        names.map_err(|_| failed(client, Cause::new(RDKafkaErrorCode::InvalidArgument, "a topic's name holds NUL")))?;
    let described = match names.as_slice() {
        [] => Vec::new(),
        names => client
            .call(|connection| ffi::authorized_operations(connection, names, client.deadline()))
            .map_err(|source| failed(client, source))?,
    };
    Ok(operations
        .iter()
        .map(|operation| Acl { operation: *operation, result: judge(*operation, &described) })
        .collect())
}

/// What the answers say about one operation, for all topics together.
fn judge(operation: Operation, described: &[Authorized]) -> Outcome {
    let (mut denied, mut unknown, mut allowed) = (Vec::new(), None, false);
    for Authorized { topic, operations } in described {
        match operations {
            Ok(Some(may)) if may.contains(&operation.code()) => allowed = true,
            Ok(Some(_)) => denied.push(topic.clone()),
            Ok(None) => unknown = Some("the brokers do not tell".to_owned()),
            // Who may alter or read a topic may also describe it.
            Err(NotDescribed { name, .. }) if name == "TOPIC_AUTHORIZATION_FAILED" => match operation {
                Operation::Describe | Operation::Alter | Operation::Read => denied.push(topic.clone()),
                Operation::DescribeConfigs => unknown = Some("told only to those who may describe topics".to_owned()),
            },
            // The topic went, or was only a name to ask about: whoever is told so may describe it.
            Err(NotDescribed { name, .. }) if name == "UNKNOWN_TOPIC_OR_PART" => {
                allowed |= operation == Operation::Describe;
            }
            Err(NotDescribed { text, .. }) => unknown = Some(text.clone()),
        }
    }
    match unknown {
        _ if !denied.is_empty() => Outcome::Denied(denied),
        Some(why) => Outcome::Unknown(why),
        None if allowed => Outcome::Allowed,
        None => Outcome::NotTested("no topic to be seen".to_owned()),
    }
}

/// The command that lets `<principal>` do with the pipeline's topics what the operator needs. Without a name prefix it
/// names the topics that `acls` say are denied.
pub fn statement(cluster: &LogwiseCluster, acls: &[Acl]) -> Option<String> {
    let kafka = cluster.spec.kafka.as_ref()?;
    let server = kafka.bootstrap_servers.first()?;
    let operations: String =
        wanted(cluster, kafka).iter().map(|operation| format!(" --operation {}", operation.name())).collect();
    let topics = match kafka.topics.as_ref()?.name_prefix.as_deref() {
        Some(prefix) => format!(" --topic {prefix} --resource-pattern-type prefixed"),
        None => denied(acls).into_iter().map(|topic| format!(" --topic {topic}")).collect(),
    };
    let principal = "'User:<principal>'";
    Some(format!("kafka-acls --bootstrap-server {server} --add --allow-principal {principal}{operations}{topics}"))
}

fn denied(acls: &[Acl]) -> BTreeSet<&str> {
    let mut topics = BTreeSet::new();
    for acl in acls {
        if let Outcome::Denied(denied) = &acl.result {
            topics.extend(denied.iter().map(String::as_str));
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn described(topic: &str, operations: Result<Option<Vec<u32>>, &str>) -> Authorized {
        let refused = |name: &str| NotDescribed { name: name.to_owned(), text: format!("text of {name}") };
        Authorized { topic: topic.to_owned(), operations: operations.map_err(refused) }
    }

    fn results(described: &[Authorized]) -> [Outcome; 3] {
        [Operation::Describe, Operation::DescribeConfigs, Operation::Alter].map(|operation| judge(operation, described))
    }

    fn denied_on(topics: &[&str]) -> Outcome {
        Outcome::Denied(topics.iter().map(|&topic| topic.to_owned()).collect())
    }

    #[test]
    fn an_operation_is_allowed_only_if_it_is_on_every_topic() {
        let all = described("a", Ok(Some(vec![3, 4, 7, 8, 10, 11])));
        assert_eq!(results(std::slice::from_ref(&all)), [const { Outcome::Allowed }; 3]);
        let reads = described("b", Ok(Some(vec![8, 10])));
        assert_eq!(results(&[all.clone(), reads]), [Outcome::Allowed, Outcome::Allowed, denied_on(&["b"])]);
        let hidden = described("c", Err("TOPIC_AUTHORIZATION_FAILED"));
        let told = "told only to those who may describe topics".to_owned();
        assert_eq!(results(&[all, hidden]), [denied_on(&["c"]), Outcome::Unknown(told), denied_on(&["c"])]);
    }

    #[test]
    fn what_brokers_do_not_tell_is_unknown_and_never_allowed() {
        let silent = described("a", Ok(None));
        let all = described("b", Ok(Some(vec![7, 8, 10])));
        let unknown = Outcome::Unknown("the brokers do not tell".to_owned());
        assert_eq!(results(&[all.clone(), silent]), [(); 3].map(|()| unknown.clone()));
        let failed = described("a", Err("LEADER_NOT_AVAILABLE"));
        assert_eq!(
            judge(Operation::Alter, &[all, failed]),
            Outcome::Unknown("text of LEADER_NOT_AVAILABLE".to_owned())
        );
    }

    #[test]
    fn without_a_topic_only_describe_can_be_known() {
        let untested = Outcome::NotTested("no topic to be seen".to_owned());
        let free = described("logs.", Err("UNKNOWN_TOPIC_OR_PART"));
        assert_eq!(results(&[free]), [Outcome::Allowed, untested.clone(), untested.clone()]);
        assert_eq!(results(&[]), [(); 3].map(|()| untested.clone()));
    }

    fn cluster(topics: Value, scaling: &str, mode: &str) -> LogwiseCluster {
        let spec = json!({
            "changePolicy": {"mode": mode},
            "kafka": {
                "bootstrapServers": ["k-1:9092", "k-2:9092"],
                "topics": topics,
                "partitionScaling": {"mode": scaling},
            },
        });
        serde_json::from_value(json!({
            "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "a"}, "spec": spec,
        }))
        .expect("a LogwiseCluster")
    }

    #[test]
    fn the_command_gives_what_is_wanted_and_no_more() {
        let command = |cluster: &LogwiseCluster, acls: &[Acl]| statement(cluster, acls).expect("topics are managed");
        let prefix = cluster(json!({"namePrefix": "logs."}), "Automatic", "Apply");
        assert_eq!(
            command(&prefix, &[]),
            "kafka-acls --bootstrap-server k-1:9092 --add --allow-principal 'User:<principal>' --operation Describe \
             --operation DescribeConfigs --operation Alter --operation Read --topic logs. --resource-pattern-type prefixed"
        );
        for observes in [("Recommend", "Apply"), ("Disabled", "Apply"), ("Automatic", "Observe")] {
            let reads = cluster(json!({"namePrefix": "logs."}), observes.0, observes.1);
            assert!(!command(&reads, &[]).contains("Alter"), "{observes:?}");
        }
        let pattern = cluster(json!({"pattern": "logs[.].*"}), "Recommend", "Apply");
        let acls = [
            Acl { operation: Operation::Describe, result: Outcome::Allowed },
            Acl { operation: Operation::DescribeConfigs, result: denied_on(&["logs.b", "logs.a"]) },
        ];
        assert!(command(&pattern, &acls).ends_with(" --topic logs.a --topic logs.b"), "{}", command(&pattern, &acls));
    }
}
