use crate::conditions::ConditionType as C;

/// A writer of status: each owns its fields and conditions and nobody else writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Kafka controller.
    Kafka,
    /// Spark controller.
    Spark,
    /// Bucket controller, on LogwiseCluster.
    Storage,
    /// Bucket controller, on RetentionPolicy: the only writer there.
    Retention,
    /// Mirror to the Orchestrator DB.
    Mirror,
    /// What follows from the other parts.
    Summary,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 6] = [Self::Kafka, Self::Spark, Self::Storage, Self::Retention, Self::Mirror, Self::Summary];

    /// Field manager of server-side apply.
    pub const fn field_manager(self) -> &'static str {
        match self {
            Self::Kafka => "logwise.io/kafka",
            Self::Spark => "logwise.io/spark",
            Self::Storage => "logwise.io/storage",
            Self::Retention => "logwise.io/retention",
            Self::Mirror => "logwise.io/mirror",
            Self::Summary => "logwise.io/summary",
        }
    }

    /// Metric label and name in the decision record.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Spark => "spark",
            Self::Storage => "storage",
            Self::Retention => "retention",
            Self::Mirror => "mirror",
            Self::Summary => "summary",
        }
    }

    /// Fields of `status` that this part owns, conditions apart.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Kafka => &["kafka"],
            Self::Spark => &["spark"],
            Self::Storage => &["storage"],
            Self::Retention => &[
                "observedGeneration",
                "programmedGeneration",
                "programmedTime",
                "matchedServices",
                "rules",
                "pendingChanges",
                "effective",
                "plan",
                "nextOpeningTime",
                "home",
            ],
            Self::Mirror => &[],
            Self::Summary => &["observedGeneration", "pendingChanges"],
        }
    }

    /// Conditions that this part owns.
    pub const fn conditions(self) -> &'static [C] {
        match self {
            Self::Kafka => &[C::KafkaReady, C::PartitionsLimited],
            Self::Spark => &[C::SparkReady, C::ScalingLimited, C::SignalsFresh, C::RetentionAtRisk],
            Self::Storage => &[C::StorageReady],
            Self::Retention => {
                &[C::Ready, C::Reconciling, C::Stalled, C::Accepted, C::Programmed, C::ChangesPending, C::Drifted]
            }
            Self::Mirror => &[C::MirrorInSync],
            Self::Summary => {
                &[C::Ready, C::Reconciling, C::Stalled, C::Suspended, C::ChangesPending, C::Drifted, C::Validated]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_or_condition_of_a_cluster_has_two_owners() {
        let of_cluster = Part::ALL.iter().filter(|part| **part != Part::Retention);
        let mut seen = std::collections::BTreeSet::new();
        for part in of_cluster {
            for owned in part.fields().iter().copied().chain(part.conditions().iter().map(|c| c.name())) {
                assert!(seen.insert(owned), "{owned} has two owners");
            }
        }
    }
}
