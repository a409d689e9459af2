//! The vocabulary of conditions: every type, every reason, and who owns which.

use crate::ErrorClass;

pub use crate::condition_type::ConditionType;
pub use crate::draft::{Draft, Truth};

/// Why a condition has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
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
    /// The bounds of the spec and of what runs the workers differ.
    BoundsDiffer,
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
    /// A worker that is to be removed has not been taken out of service yet.
    CordonPending,
    /// The master takes no worker out of service.
    CordonUnavailable,
    /// The job's own limit of cores is reached.
    CoresMaxReached,
    /// What may be added within a day is used up.
    DailyBudget,
    /// The database does not take the mirror.
    DatabaseUnavailable,
    /// The Deployment does not exist.
    DeploymentNotFound,
    /// No driver of the pipeline runs.
    DriverNotRunning,
    /// The driver waits for a worker.
    DriverPending,
    /// The pod that hosts the driver is not ready.
    DriverPodNotReady,
    /// Spark starts the driver anew.
    DriverRelaunching,
    /// The driver runs.
    DriverRunning,
    /// The driver runs and its query stands still.
    DriverStalled,
    /// Foreign rules cannot be carried through a rewrite.
    ForeignRuleNotPreservable,
    /// Another writer changes the same thing again and again.
    ForeignWriterDetected,
    /// Everything that has to be known is known.
    Fresh,
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
    /// Records that were not read are about to expire.
    LagNearsRetention,
    /// The group cannot launch instances.
    LaunchesFail,
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
    /// The group replaces its instances.
    RefreshRunning,
    /// Rules are written, and copies of the objects elsewhere stay.
    Replicated,
    /// Topics have fewer replicas than expected.
    ReplicationBelowTarget,
    /// The master's REST server does not answer.
    RestUnavailable,
    /// A write or a look failed and is tried again.
    RetryingAfterError,
    /// The Deployment replaces its pods.
    RolloutInProgress,
    /// A policy that is being deleted cannot remove its rules.
    RulesLeft,
    /// Everything works.
    Running,
    /// Records that were not read are far from expiring.
    SafeMargin,
    /// The spec lets no worker be removed.
    ScaleInDisabled,
    /// The group is larger than allowed; it is not made smaller.
    ScaleInHeld,
    /// A removal did not come to its end.
    ScaleInIncomplete,
    /// Somebody else lowered the desired capacity of the workers' group.
    ScalingGroupChanged,
    /// The operator may not read a Secret.
    SecretForbidden,
    /// A Secret, or a key of it, does not exist.
    SecretNotFound,
    /// More than one driver of the pipeline is active.
    SeveralDrivers,
    /// Something that has to be known is not known.
    SignalMissing,
    /// Something that has to be known was not read for too long.
    SignalStale,
    /// What was wanted before is waited for.
    StabilizationWindow,
    /// The S3 server accepts rules and keeps less of them.
    StoreIgnoresField,
    /// The master does not take the driver.
    SubmissionRefused,
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
    /// More workers are wanted than allowed.
    TooManyWorkers,
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
    /// Instances are in service and no worker of them is alive.
    WorkersMissing,
    /// Not every wanted worker has registered.
    WorkersNotReady,
    /// Within what is allowed.
    WithinRange,
}

impl Reason {
    /// The name in `status.conditions` and in metrics.
    pub fn name(self) -> &'static str {
        self.into()
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
                | Self::DeploymentNotFound
                | Self::ForeignRuleNotPreservable
                | Self::GroupNotFound
                | Self::InvalidSpec
                | Self::NotGranted
                | Self::PolicyUnclear
                | Self::PermissionDenied
                | Self::ProtocolMismatch
                | Self::RestUnavailable
                | Self::RulesLeft
                | Self::SecretForbidden
                | Self::SecretNotFound
                | Self::StoreIgnoresField
                | Self::SubmissionRefused
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
const ALL: [Reason; 93] = [
    Reason::Accepted,
    Reason::Active,
    Reason::ApprovalRequired,
    Reason::AuthenticationFailed,
    Reason::Available,
    Reason::BoundsDiffer,
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
    Reason::CordonPending,
    Reason::CordonUnavailable,
    Reason::CoresMaxReached,
    Reason::DailyBudget,
    Reason::DatabaseUnavailable,
    Reason::DeploymentNotFound,
    Reason::DriverNotRunning,
    Reason::DriverPending,
    Reason::DriverPodNotReady,
    Reason::DriverRelaunching,
    Reason::DriverRunning,
    Reason::DriverStalled,
    Reason::ForeignRuleNotPreservable,
    Reason::ForeignWriterDetected,
    Reason::Fresh,
    Reason::GroupNotFound,
    Reason::HostNotFound,
    Reason::InSync,
    Reason::InternalError,
    Reason::InvalidSpec,
    Reason::KeyedRecords,
    Reason::KeysUnknown,
    Reason::LagNearsRetention,
    Reason::LaunchesFail,
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
    Reason::RefreshRunning,
    Reason::Replicated,
    Reason::ReplicationBelowTarget,
    Reason::RestUnavailable,
    Reason::RetryingAfterError,
    Reason::RolloutInProgress,
    Reason::RulesLeft,
    Reason::Running,
    Reason::SafeMargin,
    Reason::ScaleInDisabled,
    Reason::ScaleInHeld,
    Reason::ScaleInIncomplete,
    Reason::ScalingGroupChanged,
    Reason::SecretForbidden,
    Reason::SecretNotFound,
    Reason::SeveralDrivers,
    Reason::SignalMissing,
    Reason::SignalStale,
    Reason::StabilizationWindow,
    Reason::StoreIgnoresField,
    Reason::SubmissionRefused,
    Reason::SuspendedByUser,
    Reason::Throttled,
    Reason::TlsFailed,
    Reason::TooFewWorkers,
    Reason::TooManyRules,
    Reason::TooManyWorkers,
    Reason::TopicAuthorizationFailed,
    Reason::Unreadable,
    Reason::UnderReplicated,
    Reason::VersionsKept,
    Reason::WaitingForWindow,
    Reason::WorkersMissing,
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
