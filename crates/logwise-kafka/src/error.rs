use logwise_runtime::ErrorClass;
use rdkafka::error::{KafkaError as LibraryError, RDKafkaErrorCode as Code};
use std::time::Duration;

/// What was asked of a Kafka cluster and failed.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The client could not be made: its settings are wrong, or the process has no threads left.
    #[error("no Kafka client could be made for {at}")]
    CreateClient {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// Why.
        source: Cause,
    },
    /// Brokers and topics could not be listed.
    #[error("Kafka at {at} {}", source.told("did not answer", "did not list its topics", *deadline))]
    FetchMetadata {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
    /// Brokers could not be counted.
    #[error("Kafka at {at} {}", source.told("did not answer", "did not list its brokers", *deadline))]
    DescribeCluster {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
    /// No end offset could be read.
    #[error("Kafka at {at} {}", source.told("did not tell its end offsets", "did not tell its end offsets", *deadline))]
    ListOffsets {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
    /// No earliest offset could be read.
    #[error("Kafka at {at} {}", source.told("did not tell first offsets", "did not tell first offsets", *deadline))]
    ListEarliestOffsets {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
    /// Topics could not be described.
    #[error("Kafka at {at} {}", source.told("did not describe topics", "did not describe topics", *deadline))]
    DescribeTopics {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
    /// Settings of topics could not be read.
    #[error("Kafka at {at} {}", source.told("did not tell topic settings", "did not tell topic settings", *deadline))]
    DescribeConfigs {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
    /// Partitions could not be added, or it is not known whether they were.
    #[error("Kafka at {at} {}", source.told("did not confirm new partitions", "did not add partitions", *deadline))]
    CreatePartitions {
        /// Bootstrap servers, separated by commas.
        at: String,
        /// How long an answer was waited for.
        deadline: Duration,
        /// Why.
        source: Cause,
    },
}

impl KafkaError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::CreateClient { .. } => ErrorClass::Invalid,
            Self::FetchMetadata { source, .. }
            | Self::DescribeCluster { source, .. }
            | Self::ListOffsets { source, .. }
            | Self::ListEarliestOffsets { source, .. }
            | Self::DescribeTopics { source, .. }
            | Self::DescribeConfigs { source, .. }
            | Self::CreatePartitions { source, .. } => source.class(),
        }
    }

    /// At which step it ended, if that is known.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        self.cause().obstacle()
    }

    /// The failure and its cause in one line for people, such as
    /// `Kafka at 127.0.0.1:9092 did not answer within 5 s: connection refused`.
    pub fn message(&self) -> String {
        format!("{self}: {}", self.cause())
    }

    fn cause(&self) -> &Cause {
        let (Self::CreateClient { source, .. }
        | Self::FetchMetadata { source, .. }
        | Self::DescribeCluster { source, .. }
        | Self::ListOffsets { source, .. }
        | Self::ListEarliestOffsets { source, .. }
        | Self::DescribeTopics { source, .. }
        | Self::DescribeConfigs { source, .. }
        | Self::CreatePartitions { source, .. }) = self;
        source
    }
}

/// The step on the way to an answer that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The name of a broker has no address.
    Name,
    /// What answers is not a Kafka broker, or it is encrypted where the operator is not, or the other way round.
    Protocol,
    /// No encrypted connection came about.
    Encryption,
    /// The login was not taken.
    Login,
    /// The rights do not suffice.
    Rights,
}

/// Why a call failed, as the network, the broker or librdkafka put it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    code: Code,
    text: String,
}

impl Cause {
    /// A cause in librdkafka's words; an empty text stands for the code's own description.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::from_code(code) } else { Self { code, text } }
    }

    pub(crate) fn from_code(code: Code) -> Self {
        Self { code, text: description(code) }
    }

    /// A connection failure as the main queue reports it.
    pub(crate) fn from_event(code: Code, text: &str) -> Self {
        // Some failures of encryption are told as failures of the connection.
        let code = if unanswered(code) && text.contains("SSL ") { Code::SSL } else { code };
        Self::new(code, plain(text))
    }

    /// The value of a refused setting may be a secret, and the library's text holds it: only the key is kept.
    pub(crate) fn from_library(error: &LibraryError) -> Self {
        match error {
            LibraryError::ClientConfig(_, _, key, _) => {
                Self::new(Code::InvalidArgument, format!("the setting {key} is unknown or its value is not allowed"))
            }
            LibraryError::ClientCreation(why) => Self::new(Code::InvalidArgument, why.clone()),
            LibraryError::AdminOp(code) => Self::from_code(*code),
            other => match other.rdkafka_error_code() {
                Some(code) => Self::from_code(code),
                None => Self::new(Code::Fail, other.to_string()),
            },
        }
    }

    /// Whether the brokers were not reached, or did not reply in time.
    pub(crate) fn is_unanswered(&self) -> bool {
        unanswered(self.code)
    }

    pub(crate) fn class(&self) -> ErrorClass {
        class_of(self.code)
    }

    /// The cause, and the right that is missing, if that is it.
    pub(crate) fn refusal(&self) -> String {
        match self.code {
            Code::TopicAuthorizationFailed => format!("{self}: the ACL Alter on this topic is missing"),
            Code::ClusterAuthorizationFailed => {
                format!("{self}: the ACL Alter on the cluster or its topics is missing")
            }
            _ => self.to_string(),
        }
    }

    /// What a person has to look at.
    fn obstacle(&self) -> Option<Obstacle> {
        match self.code {
            Code::Resolve => Some(Obstacle::Name),
            // A first answer that cannot be the length of a message, or not the begin of an encrypted connection.
            Code::BadMessage => Some(Obstacle::Protocol),
            Code::SSL if NO_TLS.iter().any(|sign| self.text.contains(sign)) => Some(Obstacle::Protocol),
            Code::SSL => Some(Obstacle::Encryption),
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
                Some(Obstacle::Login)
            }
            Code::ClusterAuthorizationFailed | Code::TopicAuthorizationFailed => Some(Obstacle::Rights),
            _ => None,
        }
    }

    fn told(&self, silent: &str, answered: &str, deadline: Duration) -> String {
        match self.class() {
            ErrorClass::Denied => "refused this client".to_owned(),
            _ if self.is_unanswered() => format!("{silent} within {} s", deadline.as_secs_f64()),
            _ => answered.to_owned(),
        }
    }
}

/// What OpenSSL says of a server that does not speak TLS.
const NO_TLS: [&str; 3] = ["wrong version number", "packet length too long", "http request"];

/// Whether `code` means that brokers were not reached or did not reply in time.
pub(crate) const fn unanswered(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::Resolve
    )
}

const fn class_of(code: Code) -> ErrorClass {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL
        | Code::ClusterAuthorizationFailed
        | Code::TopicAuthorizationFailed => ErrorClass::Denied,
        Code::ThrottlingQuotaExceeded => ErrorClass::Throttled,
        Code::UnknownTopic | Code::UnknownTopicOrPartition => ErrorClass::NotFound,
        Code::InvalidArgument
        | Code::InvalidPartitions
        | Code::InvalidRequest
        | Code::InvalidReplicationFactor
        | Code::PolicyViolation
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion => ErrorClass::Invalid,
        _ => ErrorClass::Transient,
    }
}

/// librdkafka's description of a code without the side it comes from: `Broker: Unknown topic` is `unknown topic`.
fn description(code: Code) -> String {
    let shown = code.to_string();
    let inner = shown.split_once(" (").map_or(shown.as_str(), |(_, rest)| rest.trim_end_matches(')'));
    let inner = inner.strip_prefix("Local: ").or_else(|| inner.strip_prefix("Broker: ")).unwrap_or(inner);
    lower_first(inner)
}

/// The part of a connection error that tells people something, without repeating address and state.
fn plain(event: &str) -> String {
    let text = event.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(event, |(_, text)| text);
    let text = text.rfind(" (after ").map_or(text, |end| &text[..end]);
    let text = match (text.find(" failed: "), text.find("/bootstrap: ").or_else(|| numbered_end(text))) {
        (Some(failed), _) if text.contains("Connect to ") => &text[failed + " failed: ".len()..],
        (_, Some(address)) => text[address..].trim_start_matches("/bootstrap").trim_start_matches(": "),
        _ => text,
    };
    lower_first(text)
}

/// Where the address of a known broker ends: `host:port/<id>: text`.
fn numbered_end(text: &str) -> Option<usize> {
    let end = text.find(": ")?;
    let (_, id) = text[..end].rsplit_once('/')?;
    id.parse::<i32>().is_ok().then_some(end)
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter();
    // An abbreviation such as SASL keeps its case.
    match letters.clone().next() {
        Some(second) if second.is_uppercase() => text.to_owned(),
        _ => first.flat_map(char::to_lowercase).chain(letters).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(source: Cause) -> KafkaError {
        KafkaError::FetchMetadata { at: "127.0.0.1:9092".into(), deadline: Duration::from_secs(5), source }
    }

    #[test]
    fn an_unreachable_broker_reads_as_a_sentence() {
        let event = "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)";
        let error = metadata(Cause::from_event(Code::BrokerTransportFailure, event));
        assert_eq!(error.message(), "Kafka at 127.0.0.1:9092 did not answer within 5 s: connection refused");
        assert_eq!(error.class(), ErrorClass::Transient);
        let hung = metadata(Cause::from_code(Code::OperationTimedOut));
        assert_eq!(hung.message(), "Kafka at 127.0.0.1:9092 did not answer within 5 s: timed out");
    }

    #[test]
    fn wrong_credentials_need_a_person() {
        let event = "sasl_ssl://127.0.0.1:9094/bootstrap: SASL authentication error: Authentication failed (after 309ms in state AUTH_REQ)";
        let error = metadata(Cause::from_event(Code::Authentication, event));
        assert_eq!(
            error.message(),
            "Kafka at 127.0.0.1:9092 refused this client: SASL authentication error: Authentication failed"
        );
        assert!(error.class().needs_person());
    }

    #[test]
    fn each_step_that_can_fail_is_told_apart() {
        let step = |code, text: &str| metadata(Cause::new(code, text)).obstacle();
        assert_eq!(step(Code::Resolve, "failed to resolve"), Some(Obstacle::Name));
        assert_eq!(step(Code::BadMessage, "invalid response size 1213486160"), Some(Obstacle::Protocol));
        assert_eq!(step(Code::SSL, "SSL routines::wrong version number"), Some(Obstacle::Protocol));
        assert_eq!(step(Code::SSL, "SSL routines::certificate verify failed"), Some(Obstacle::Encryption));
        assert_eq!(step(Code::Authentication, ""), Some(Obstacle::Login));
        assert_eq!(step(Code::ClusterAuthorizationFailed, ""), Some(Obstacle::Rights));
        assert_eq!(step(Code::BrokerTransportFailure, "connection refused"), None);
    }

    #[test]
    fn addresses_and_states_are_left_out_of_a_cause() {
        let plain = |text: &str| Cause::from_event(Code::Resolve, text).to_string();
        assert_eq!(
            plain(
                "nohost:9092/bootstrap: Failed to resolve 'nohost:9092': Name or service not known (after 3ms in state CONNECT)"
            ),
            "failed to resolve 'nohost:9092': Name or service not known"
        );
        assert_eq!(plain("127.0.0.1:9092/1: Disconnected (after 2ms in state UP)"), "disconnected");
        assert_eq!(
            plain(
                "[thrd:127.0.0.1:9094/bootstrap]: 127.0.0.1:9094/bootstrap: Disconnected: broker might require SASL authentication (after 9ms in state UP)"
            ),
            "disconnected: broker might require SASL authentication"
        );
        assert_eq!(plain("1/1 brokers are down"), "1/1 brokers are down");
    }

    #[test]
    fn the_value_of_a_refused_setting_is_not_shown() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.mechanisms.oauth.nonsense", "hunter2");
        let Err(refused) = config.create_native_config() else { panic!("an unknown setting was taken") };
        let cause = Cause::from_library(&refused).to_string();
        assert!(cause.contains("sasl.mechanisms.oauth.nonsense") && !cause.contains("hunter2"), "{cause}");
    }

    #[test]
    fn a_broker_error_keeps_its_class() {
        for (code, class) in [
            (Code::ClusterAuthorizationFailed, ErrorClass::Denied),
            (Code::ThrottlingQuotaExceeded, ErrorClass::Throttled),
            (Code::UnknownTopicOrPartition, ErrorClass::NotFound),
            (Code::PolicyViolation, ErrorClass::Invalid),
            (Code::NotController, ErrorClass::Transient),
        ] {
            assert_eq!(metadata(Cause::from_code(code)).class(), class, "{code:?}");
        }
        assert_eq!(
            metadata(Cause::from_code(Code::PolicyViolation)).message(),
            "Kafka at 127.0.0.1:9092 did not list its topics: policy violation"
        );
    }
}
