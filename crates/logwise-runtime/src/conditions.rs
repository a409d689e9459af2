//! The vocabulary of conditions: every type, every reason, and who owns which.

use crate::ErrorClass;

pub use crate::draft::{Draft, Truth};

/// A condition type of one of our resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// Everything needed for a log line to become queryable works.
    Ready,
    /// The current generation is not yet carried out; present only when True.
    Reconciling,
    /// No progress without a person; present only when True.
    Stalled,
    /// `spec.suspend`.
    Suspended,
    /// Changes are wanted but held.
    ChangesPending,
    /// Somebody else changed what is managed.
    Drifted,
    /// References, AWS permissions and Kafka ACLs were checked.
    Validated,
    /// The Kafka part works.
    KafkaReady,
    /// Topics have fewer partitions than they should have.
    PartitionsLimited,
    /// The Spark part works.
    SparkReady,
    /// The wanted number of workers is outside what is allowed.
    ScalingLimited,
    /// The bucket part works.
    StorageReady,
    /// The Orchestrator DB holds what the objects say.
    MirrorInSync,
    /// The retention policy takes part in the bucket's rules.
    Accepted,
    /// S3 holds the rules of the current generation.
    Programmed,
}

impl ConditionType {
    /// The name in `status.conditions`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Suspended => "Suspended",
            Self::ChangesPending => "ChangesPending",
            Self::Drifted => "Drifted",
            Self::Validated => "Validated",
            Self::KafkaReady => "KafkaReady",
            Self::PartitionsLimited => "PartitionsLimited",
            Self::SparkReady => "SparkReady",
            Self::ScalingLimited => "ScalingLimited",
            Self::StorageReady => "StorageReady",
            Self::MirrorInSync => "MirrorInSync",
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
        }
    }

    /// Whether False is the state that people want to hear of.
    pub const fn is_positive(self) -> bool {
        !matches!(
            self,
            Self::Reconciling
                | Self::Stalled
                | Self::Suspended
                | Self::ChangesPending
                | Self::Drifted
                | Self::PartitionsLimited
                | Self::ScalingLimited
        )
    }
}

/// Why a condition has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Policy takes part.
    Accepted,
    /// Spec suspended it or all is active.
    Active,
    /// Destructive changes wait for a person.
    ApprovalRequired,
    /// The login is not taken.
    AuthenticationFailed,
    /// The part answers and is as wanted.
    Available,
    /// Brokers would have more replicas than they may.
    BrokerHeadroom,
    /// Fewer brokers are up than expected.
    BrokersMissing,
    /// The bucket lies in another region than the pipeline.
    BucketInOtherRegion,
    /// The bucket does not exist.
    BucketNotFound,
    /// No broker answers.
    BrokerUnreachable,
    /// The pipeline named by the policy is being deleted.
    ClusterDeleting,
    /// The pipeline named by the policy does not exist.
    ClusterNotFound,
    /// A part is not ready.
    ComponentNotReady,
    /// Another object owns the same thing.
    Conflicted,
    /// It grew a short time ago.
    Cooldown,
    /// What may be added within a day is used up.
    DailyBudget,
    /// The database does not take the mirror.
    DatabaseUnavailable,
    /// Foreign rules cannot be carried through a rewrite.
    ForeignRuleNotPreservable,
    /// Another writer changes the same thing again and again.
    ForeignWriterDetected,
    /// The Auto Scaling Group does not exist.
    GroupNotFound,
    /// The name of a server cannot be resolved.
    HostNotFound,
    /// The mirror equals the objects, or what is managed is as it was left.
    InSync,
    /// A reconcile crashed or hung.
    InternalError,
    /// A field cannot be used as it is.
    InvalidSpec,
    /// Records carry keys.
    KeyedRecords,
    /// Whether records carry keys is not known.
    KeysUnknown,
    /// Somebody else changed or removed lifecycle rules of ours.
    LifecycleRuleChanged,
    /// No Spark master answers as the active one.
    MasterUnreachable,
    /// The operator's configuration does not let this namespace use it.
    NotGranted,
    /// Nothing waits.
    NothingPending,
    /// Rules are written, and S3 may keep objects back that they let expire: they are locked.
    ObjectLocked,
    /// A rule matches no service yet.
    NoServiceMatched,
    /// The object only observes.
    ObserveOnly,
    /// More is wanted than the maximum allows.
    PartitionCeiling,
    /// Not looked at yet.
    Pending,
    /// A retention policy of the bucket cannot be understood.
    PolicyUnclear,
    /// Credentials or permissions are missing.
    PermissionDenied,
    /// The operator's configuration switches the preflight off.
    PreflightDisabled,
    /// Everything that could be checked is as it must be.
    PreflightPassed,
    /// Not checked yet, or somebody did not answer.
    PreflightPending,
    /// S3 holds the rules.
    Programmed,
    /// On the way.
    Progressing,
    /// The port speaks something else.
    ProtocolMismatch,
    /// Growth is only recommended.
    RecommendOnly,
    /// Rules are written, and copies of the objects elsewhere stay.
    Replicated,
    /// Topics have fewer replicas than expected.
    ReplicationBelowTarget,
    /// A write or a look failed and is tried again.
    RetryingAfterError,
    /// A policy that is being deleted cannot remove its rules.
    RulesLeft,
    /// Everything works.
    Running,
    /// The group is larger than allowed; it is not made smaller.
    ScaleInHeld,
    /// Somebody else lowered the desired capacity of the workers' group.
    ScalingGroupChanged,
    /// The operator may not read a Secret.
    SecretForbidden,
    /// A Secret, or a key of it, does not exist.
    SecretNotFound,
    /// The S3 server accepts rules and keeps less of them.
    StoreIgnoresField,
    /// By the user.
    SuspendedByUser,
    /// The service asks to slow down.
    Throttled,
    /// No encrypted connection comes about.
    TlsFailed,
    /// Fewer workers than wanted are possible.
    TooFewWorkers,
    /// Past S3's limit of rules.
    TooManyRules,
    /// Kafka does not allow what the topics take.
    TopicAuthorizationFailed,
    /// The system could not be read.
    Unreadable,
    /// Brokers report topics that are not healthy.
    UnderReplicated,
    /// Rules are written, and the bytes of expired objects stay as old versions.
    VersionsKept,
    /// No window of the change policy is open.
    WaitingForWindow,
    /// Not every wanted worker has registered.
    WorkersNotReady,
    /// Within what is allowed.
    WithinRange,
}

impl Reason {
    /// The name in `status.conditions` and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Active => "Active",
            Self::ApprovalRequired => "ApprovalRequired",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::Available => "Available",
            Self::BrokerHeadroom => "BrokerHeadroom",
            Self::BrokersMissing => "BrokersMissing",
            Self::BucketInOtherRegion => "BucketInOtherRegion",
            Self::BucketNotFound => "BucketNotFound",
            Self::BrokerUnreachable => "BrokerUnreachable",
            Self::ClusterDeleting => "ClusterDeleting",
            Self::ClusterNotFound => "ClusterNotFound",
            Self::ComponentNotReady => "ComponentNotReady",
            Self::Conflicted => "Conflicted",
            Self::Cooldown => "Cooldown",
            Self::DailyBudget => "DailyBudget",
            Self::DatabaseUnavailable => "DatabaseUnavailable",
            Self::ForeignRuleNotPreservable => "ForeignRuleNotPreservable",
            Self::ForeignWriterDetected => "ForeignWriterDetected",
            Self::GroupNotFound => "GroupNotFound",
            Self::HostNotFound => "HostNotFound",
            Self::InSync => "InSync",
            Self::InternalError => "InternalError",
            Self::InvalidSpec => "InvalidSpec",
            Self::KeyedRecords => "KeyedRecords",
            Self::KeysUnknown => "KeysUnknown",
            Self::LifecycleRuleChanged => "LifecycleRuleChanged",
            Self::MasterUnreachable => "MasterUnreachable",
            Self::NotGranted => "NotGranted",
            Self::NothingPending => "NothingPending",
            Self::ObjectLocked => "ObjectLocked",
            Self::NoServiceMatched => "NoServiceMatched",
            Self::ObserveOnly => "ObserveOnly",
            Self::PartitionCeiling => "PartitionCeiling",
            Self::Pending => "Pending",
            Self::PolicyUnclear => "PolicyUnclear",
            Self::PermissionDenied => "PermissionDenied",
            Self::PreflightDisabled => "PreflightDisabled",
            Self::PreflightPassed => "PreflightPassed",
            Self::PreflightPending => "PreflightPending",
            Self::Programmed => "Programmed",
            Self::Progressing => "Progressing",
            Self::ProtocolMismatch => "ProtocolMismatch",
            Self::RecommendOnly => "RecommendOnly",
            Self::Replicated => "Replicated",
            Self::ReplicationBelowTarget => "ReplicationBelowTarget",
            Self::RetryingAfterError => "RetryingAfterError",
            Self::RulesLeft => "RulesLeft",
            Self::Running => "Running",
            Self::ScaleInHeld => "ScaleInHeld",
            Self::ScalingGroupChanged => "ScalingGroupChanged",
            Self::SecretForbidden => "SecretForbidden",
            Self::SecretNotFound => "SecretNotFound",
            Self::StoreIgnoresField => "StoreIgnoresField",
            Self::SuspendedByUser => "SuspendedByUser",
            Self::Throttled => "Throttled",
            Self::TlsFailed => "TlsFailed",
            Self::TooFewWorkers => "TooFewWorkers",
            Self::TooManyRules => "TooManyRules",
            Self::TopicAuthorizationFailed => "TopicAuthorizationFailed",
            Self::Unreadable => "Unreadable",
            Self::UnderReplicated => "UnderReplicated",
            Self::VersionsKept => "VersionsKept",
            Self::WaitingForWindow => "WaitingForWindow",
            Self::WorkersNotReady => "WorkersNotReady",
            Self::WithinRange => "WithinRange",
        }
    }

    /// Whether a part with this reason moves only after a person has acted.
    pub const fn needs_person(self) -> bool {
        matches!(
            self,
            Self::ApprovalRequired
                | Self::AuthenticationFailed
                | Self::BucketInOtherRegion
                | Self::BucketNotFound
                | Self::ClusterDeleting
                | Self::ClusterNotFound
                | Self::Conflicted
                | Self::ForeignRuleNotPreservable
                | Self::GroupNotFound
                | Self::InvalidSpec
                | Self::NotGranted
                | Self::PolicyUnclear
                | Self::PermissionDenied
                | Self::ProtocolMismatch
                | Self::RulesLeft
                | Self::SecretForbidden
                | Self::SecretNotFound
                | Self::StoreIgnoresField
                | Self::TlsFailed
                | Self::TooManyRules
        )
    }

    /// Why a part is not ready after a failure of this class; `not_found` names what is missing.
    pub const fn of_failure(class: ErrorClass, not_found: Self) -> Self {
        match class {
            ErrorClass::Denied => Self::PermissionDenied,
            ErrorClass::NotFound => not_found,
            ErrorClass::Throttled => Self::Throttled,
            ErrorClass::Invalid => Self::InvalidSpec,
            ErrorClass::Conflict | ErrorClass::Transient => Self::Unreadable,
        }
    }

    /// The reason with this name; reasons in a status written by another version may be unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

/// Every reason.
const ALL: [Reason; 66] = [
    Reason::Accepted,
    Reason::Active,
    Reason::ApprovalRequired,
    Reason::AuthenticationFailed,
    Reason::Available,
    Reason::BrokerHeadroom,
    Reason::BrokersMissing,
    Reason::BucketInOtherRegion,
    Reason::BucketNotFound,
    Reason::BrokerUnreachable,
    Reason::ClusterDeleting,
    Reason::ClusterNotFound,
    Reason::ComponentNotReady,
    Reason::Conflicted,
    Reason::Cooldown,
    Reason::DailyBudget,
    Reason::DatabaseUnavailable,
    Reason::ForeignRuleNotPreservable,
    Reason::ForeignWriterDetected,
    Reason::GroupNotFound,
    Reason::HostNotFound,
    Reason::InSync,
    Reason::InternalError,
    Reason::InvalidSpec,
    Reason::KeyedRecords,
    Reason::KeysUnknown,
    Reason::LifecycleRuleChanged,
    Reason::MasterUnreachable,
    Reason::NotGranted,
    Reason::NothingPending,
    Reason::ObjectLocked,
    Reason::NoServiceMatched,
    Reason::ObserveOnly,
    Reason::PartitionCeiling,
    Reason::Pending,
    Reason::PolicyUnclear,
    Reason::PermissionDenied,
    Reason::PreflightDisabled,
    Reason::PreflightPassed,
    Reason::PreflightPending,
    Reason::Programmed,
    Reason::Progressing,
    Reason::ProtocolMismatch,
    Reason::RecommendOnly,
    Reason::Replicated,
    Reason::ReplicationBelowTarget,
    Reason::RetryingAfterError,
    Reason::RulesLeft,
    Reason::Running,
    Reason::ScaleInHeld,
    Reason::ScalingGroupChanged,
    Reason::SecretForbidden,
    Reason::SecretNotFound,
    Reason::StoreIgnoresField,
    Reason::SuspendedByUser,
    Reason::Throttled,
    Reason::TlsFailed,
    Reason::TooFewWorkers,
    Reason::TooManyRules,
    Reason::TopicAuthorizationFailed,
    Reason::Unreadable,
    Reason::UnderReplicated,
    Reason::VersionsKept,
    Reason::WaitingForWindow,
    Reason::WorkersNotReady,
    Reason::WithinRange,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_by_their_names_and_names_differ() {
        for reason in ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
            assert_eq!(format!("{reason:?}"), reason.name());
        }
        assert_eq!(Reason::from_name("Nonsense"), None);
    }
}
