//! Every condition type.

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
    /// What the number of workers follows is known, and known now.
    SignalsFresh,
    /// Records that nobody has read come near their end.
    RetentionAtRisk,
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
            Self::SignalsFresh => "SignalsFresh",
            Self::RetentionAtRisk => "RetentionAtRisk",
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
                | Self::RetentionAtRisk
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_risk_is_what_people_want_to_hear_of() {
        assert!(!ConditionType::RetentionAtRisk.is_positive() && ConditionType::SignalsFresh.is_positive());
    }
}
