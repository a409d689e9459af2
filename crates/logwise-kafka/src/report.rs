//! What a look at Kafka found and did, in conditions, status, events and metrics.

mod expected;
mod limited;
#[cfg(test)]
mod tests;

use crate::error::Obstacle;
use crate::full::Descriptions;
use crate::growth::Told;
use crate::{KafkaError, Look, Outcome, holds};
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::validate::{self, Invalid};
use logwise_api::{Condition, KafkaStatus, LogwiseCluster};
use logwise_plan::partitions::{self, Grow, Hold, Observed, ScalingMode, Topic};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::metrics::{Metrics, Pipeline, TopicFigures};
use logwise_runtime::{Decision, ErrorClass, EventDraft, PartStatus, Refused, Report, words};
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Held topics in a decision record.
const MAX_RECORDED: usize = 100;

/// How soon brokers are asked again that do not answer.
const RETRY_WITHIN: Duration = Duration::from_secs(5);

/// The spec cannot be used.
pub(crate) fn invalid(cluster: &LogwiseCluster, invalid: &Invalid) -> Report {
    let ready = Draft::new(ConditionType::KafkaReady, false, Reason::InvalidSpec, invalid.to_string());
    unread(cluster, ready, ErrorClass::Invalid)
}

/// The object may not use what it refers to, or a Secret is missing: no call was made.
pub(crate) fn refused(cluster: &LogwiseCluster, refused: Refused) -> Report {
    let ready = Draft::new(ConditionType::KafkaReady, false, refused.reason, refused.message);
    unread(cluster, ready, refused.class)
}

/// No client could be made.
pub(crate) fn no_client(cluster: &LogwiseCluster, error: &KafkaError) -> Report {
    unread(cluster, unreachable(error), error.class())
}

fn unread(cluster: &LogwiseCluster, ready: Draft, class: ErrorClass) -> Report {
    let status = KafkaStatus {
        settled_generation: settled_before(cluster),
        cluster_id: id_before(cluster),
        ..KafkaStatus::default()
    };
    Report { status: part_status(&status, vec![ready]), failure: Some(class), ..Report::default() }
}

fn settled_before(cluster: &LogwiseCluster) -> Option<i64> {
    cluster.status.as_ref()?.kafka.as_ref()?.settled_generation
}

/// The id that the cluster told last, as long as the spec names the same cluster: other objects go on to see that this
/// one claims topics of it while it does not answer.
fn id_before(cluster: &LogwiseCluster) -> Option<String> {
    let status = cluster.status.as_ref()?;
    let told = |condition: &&Condition| condition.type_ == ConditionType::KafkaReady.name();
    let condition = status.conditions.iter().find(told)?;
    let same_spec = condition.observed_generation == cluster.metadata.generation;
    status.kafka.as_ref()?.cluster_id.clone().filter(|_| same_spec)
}

fn part_status(status: &KafkaStatus, conditions: Vec<Draft>) -> PartStatus {
    let mut fields = Map::new();
    fields.insert("kafka".into(), json!(status));
    PartStatus { fields, conditions }
}

const fn to_mend(obstacle: Obstacle) -> (Reason, &'static str) {
    match obstacle {
        Obstacle::Name => (Reason::HostNotFound, "Correct the name in `kafka.bootstrapServers`, or the cluster's DNS"),
        Obstacle::Protocol => (
            Reason::ProtocolMismatch,
            "Check that the ports in `kafka.bootstrapServers` are those of Kafka, and that `kafka.tls` is set exactly if they are encrypted",
        ),
        Obstacle::Encryption => (Reason::TlsFailed, "Check `kafka.tls` and the authority in the Secret that it names"),
        Obstacle::Login => (Reason::AuthenticationFailed, "Check `kafka.authentication` and the Secret that it names"),
        Obstacle::Rights => (Reason::PermissionDenied, "Allow the operator to describe this cluster and its topics"),
    }
}

fn unreachable(error: &KafkaError) -> Draft {
    let (reason, next) = match (error.obstacle(), error.class()) {
        (Some(obstacle), _) => to_mend(obstacle),
        (None, ErrorClass::Invalid) => (Reason::InvalidSpec, "Correct `kafka.bootstrapServers`"),
        (None, _) => {
            (Reason::BrokerUnreachable, "Check that the brokers run and that `kafka.bootstrapServers` names them")
        }
    };
    Draft::new(ConditionType::KafkaReady, false, reason, format!("{}. {next}", error.message()))
}

/// Everything one look knows.
pub(crate) struct Found<'a> {
    pub cluster: &'a LogwiseCluster,
    pub policy: Option<&'a partitions::Policy>,
    pub look: &'a Look,
    pub plan: Option<&'a partitions::Plan>,
    pub outcomes: &'a [(Grow, Outcome)],
    /// What tells the intent of these outcomes from others, if all of them are known.
    pub intent: Option<String>,
    /// Growths of earlier looks that came to light now.
    pub late: &'a [Told],
    /// What is known of the topics from closer looks.
    pub descriptions: &'a Descriptions,
}

impl Found<'_> {
    /// The report of this look.
    pub(crate) fn report(&self, period_seconds: u32) -> Report {
        let conditions = [Some(self.ready()), self.limited()].into_iter().flatten().collect();
        Report {
            status: part_status(&self.status(), conditions),
            events: self.event().into_iter().collect(),
            decisions: self.told_late().chain(self.decision()).collect(),
            failure: self.failure(),
            retry_within: self.is_silent().then_some(RETRY_WITHIN),
            // A topic that was just grown is looked at again at once: Ready waits for what the brokers say.
            next_look: Duration::from_secs(if self.is_growing() {
                1
            } else {
                self.plan.map_or(period_seconds, |plan| plan.next_look_seconds).into()
            }),
        }
    }

    /// Sets the gauges and counts what was done.
    pub(crate) fn measure(&self, metrics: &Metrics, per_topic: bool) {
        let of = Pipeline { namespace: self.cluster.namespace().unwrap_or_default(), cluster: self.cluster.name_any() };
        if let Some(topics) = self.topics() {
            metrics.kafka(&of, count(topics.len()), partition_sum(topics), count(self.limited_topics().len()));
        }
        if per_topic {
            metrics.kafka_topics(&of, self.figures());
        }
        let grown = self.grown().count();
        if grown > 0 {
            metrics.partitions_increased(&of, grown as u64);
        }
    }

    /// What the series of each topic show.
    fn figures(&self) -> BTreeMap<String, TopicFigures> {
        let now = Timestamp::now();
        let figures = |(name, topic): (&String, &Topic)| {
            let rate = self.policy.and_then(|policy| {
                partitions::rate(&topic.window, &policy.scaling, policy.look_period_seconds, now).ok()
            });
            let lag = topic.lag.known().copied();
            (name.clone(), TopicFigures { partitions: topic.partitions.into(), rate, lag })
        };
        self.topics().into_iter().flatten().map(figures).collect()
    }

    /// Whether no broker answers: one request tells when they do again.
    fn is_silent(&self) -> bool {
        self.look.error.as_ref().is_some_and(|error| error.class() == ErrorClass::Transient)
    }

    fn topics(&self) -> Option<&BTreeMap<String, Topic>> {
        self.look.facts.topics.known()
    }

    fn is_growing(&self) -> bool {
        self.outcomes
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Done | Outcome::AlreadySo | Outcome::Superseded { .. }))
    }

    fn unreadable_topics(&self) -> Vec<(&str, &str)> {
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let unreadable = holds.filter_map(|(name, hold)| match hold {
            Hold::Unreadable { why } => Some((name.as_str(), why.as_str())),
            _ => None,
        });
        unreadable.collect()
    }

    fn ready(&self) -> Draft {
        let kind = ConditionType::KafkaReady;
        if let Some(error) = &self.look.error {
            return unreachable(error);
        }
        let refused: Vec<String> = self.outcomes.iter().filter_map(|(grow, outcome)| refusal(grow, outcome)).collect();
        if !refused.is_empty() {
            return Draft::new(
                kind,
                false,
                Reason::RetryingAfterError,
                format!("{}. It is tried again", words::first_few(&refused)),
            );
        }
        // First: a partition without a leader cannot be read either.
        let sick: Vec<String> = self.sick_topics().cloned().collect();
        if !sick.is_empty() {
            let message = format!(
                "Topics with partitions without a leader or with replicas out of sync: {}. Bring all brokers back",
                words::first_few(&sick)
            );
            return Draft::new(kind, false, Reason::UnderReplicated, message);
        }
        let unreadable: Vec<String> =
            self.unreadable_topics().iter().map(|(name, why)| format!("{name}: {why}")).collect();
        if !unreadable.is_empty() {
            let message =
                format!("Topics could not be read completely: {}. It is tried again", words::first_few(&unreadable));
            return Draft::new(kind, false, Reason::Unreadable, message);
        }
        if let Some(draft) = self.less_than_expected() {
            return draft;
        }
        let message = match self.topics() {
            Some(topics) if self.policy.is_some() => format!("{} topics of the pipeline are healthy", topics.len()),
            _ => "The cluster answers; topics are not managed".to_owned(),
        };
        Draft::new(kind, true, Reason::Available, message)
    }

    fn sick_topics(&self) -> impl Iterator<Item = &String> {
        let topics = self.topics().into_iter().flatten();
        topics.filter(|(_, topic)| topic.leaderless > 0 || topic.under_replicated > 0).map(|(name, _)| name)
    }

    fn status(&self) -> KafkaStatus {
        let cluster = self.look.cluster.known();
        let topics = self.topics().filter(|_| self.policy.is_some());
        self.with_held_topics(KafkaStatus {
            settled_generation: if self.is_settled() {
                self.cluster.metadata.generation
            } else {
                settled_before(self.cluster)
            },
            pending_changes: Some(self.pending_changes()),
            cluster_id: cluster.map_or_else(|| id_before(self.cluster), |c| c.cluster_id.clone()),
            brokers: cluster.map(|c| c.brokers),
            topics: topics.map(|t| words::count(t.len())),
            partitions: topics.map(|t| i32::try_from(partition_sum(t)).unwrap_or(i32::MAX)),
            under_replicated_topics: topics
                .map(|t| words::count(t.values().filter(|t| t.under_replicated > 0).count())),
            leaderless_topics: topics.map(|t| words::count(t.values().filter(|t| t.leaderless > 0).count())),
            limited_topics: topics.map(|_| words::count(self.limited_topics().len())),
            held_topics: Vec::new(),
            pending_plans: self.pending_plans(),
            held_changes: self.held_changes(),
        })
    }

    /// Whether nothing of this generation is left to do. An object that may not change has nothing to do; growths that
    /// wait for a person or for a window are left to do.
    fn is_settled(&self) -> bool {
        if self.look.error.is_some() {
            return false;
        }
        if !validate::may_change(self.cluster) {
            return true;
        }
        let Some(plan) = self.plan else { return true };
        let grows = self.policy.is_some_and(|policy| policy.mode == ScalingMode::Automatic);
        let waits = |hold: &Hold| {
            matches!(hold, Hold::Unhealthy { .. } | Hold::KeysUnknown { .. } | Hold::DailyBudget { .. })
                || matches!(hold, Hold::ApprovalRequired { .. } | Hold::WaitingForWindow { .. })
        };
        let open = |(name, hold): (&String, &Hold)| {
            matches!(hold, Hold::Unreadable { .. }) || grows && waits(hold) && self.is_below_floor(name)
        };
        let growing = plan.actions.iter().any(|grow| self.is_below_floor(&grow.topic));
        plan.blocked.is_none() && !growing && !plan.holds.iter().any(open)
    }

    /// Whether the spec, and not the load, wants more partitions for this topic.
    fn is_below_floor(&self, name: &str) -> bool {
        let floor = self.plan.and_then(|plan| plan.sizes.get(name)?.floor);
        let topic = self.topics().and_then(|topics| topics.get(name));
        floor.is_some_and(|floor| topic.is_some_and(|topic| topic.partitions < floor))
    }

    fn failure(&self) -> Option<ErrorClass> {
        let failed = self.outcomes.iter().any(|(_, outcome)| {
            matches!(outcome, Outcome::Refused { .. } | Outcome::NotSent { .. } | Outcome::Unknown { .. })
        });
        let look = self.look.error.as_ref().map(KafkaError::class);
        look.or((failed || !self.unreadable_topics().is_empty()).then_some(ErrorClass::Transient))
    }

    fn decision(&self) -> Option<Decision> {
        let (policy, plan) = (self.policy?, self.plan?);
        let outcome: Vec<String> = self.outcomes.iter().map(|(_, outcome)| format!("{outcome:?}")).collect();
        // Topics that have what they should have say nothing, and of the others the first ones speak for all: the record
        // stays small with ten thousand of them. Those that grow are all there.
        let held = || plan.holds.iter().filter(|(_, hold)| !holds::says_nothing(hold, policy));
        let asked = self.asked();
        let holds: BTreeMap<_, _> = held()
            .take(MAX_RECORDED)
            .map(|(name, hold)| (name, limited::recorded(hold, asked.contains(name.as_str()))))
            .collect();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        held().for_each(|(_, hold)| *reasons.entry(holds::name(hold)).or_default() += 1);
        let most = if self.outcomes.is_empty() { MAX_RECORDED } else { usize::MAX };
        let named = holds.keys().copied().chain(plan.actions.iter().take(most).map(|grow| &grow.topic));
        let named: BTreeSet<&String> = named.collect();
        let topics: BTreeMap<_, _> =
            self.topics().into_iter().flatten().filter(|(name, _)| named.contains(name)).collect();
        let sizes: BTreeMap<_, _> = plan.sizes.iter().filter(|(name, _)| named.contains(name)).collect();
        Some(Decision {
            // The sizes too: rates change with every look, and a record is written when a decision changes.
            inputs: json!({"policy": policy, "facts": self.surroundings(), "topics": topics, "sizes": sizes}),
            id: self.intent.clone(),
            about: "",
            // Where nothing was carried out, the first ones speak for all.
            actions: json!(plan.actions.iter().take(most).collect::<Vec<_>>()),
            holds: json!({"topics": holds, "reasons": reasons}),
            outcome: json!(outcome),
        })
    }

    /// What earlier looks have done without being able to say so.
    fn told_late(&self) -> impl Iterator<Item = Decision> {
        self.late.iter().map(|told| Decision {
            id: told.id.clone(),
            about: "",
            inputs: json!({"judged": "by the partitions there were"}),
            actions: json!(told.grown),
            holds: json!({}),
            outcome: json!(vec![format!("{:?}", Outcome::Done); told.grown.len()]),
        })
    }

    /// Growths that took place and were not told before.
    fn grown(&self) -> impl Iterator<Item = &Grow> {
        let late = self.late.iter().filter(|told| !told.again).flat_map(|told| &told.grown);
        let done = self.outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Done).map(|(grow, _)| grow);
        late.chain(done)
    }

    /// What the plan depends on beside the topics.
    fn surroundings(&self) -> serde_json::Value {
        let Observed { cluster_id, pending, brokers, replicas, spent, cores, claims, .. } = &self.look.facts;
        json!({"clusterId": cluster_id, "pending": pending, "brokers": brokers, "replicas": replicas, "spent": spent,
            "cores": cores, "claims": claims})
    }

    fn event(&self) -> Option<EventDraft> {
        let how = |topic: &String| self.plan.and_then(|plan| plan.sizes.get(topic)).map(holds::arithmetic);
        let grown: Vec<String> = self
            .grown()
            .map(|grow| {
                let how = how(&grow.topic).map_or_else(String::new, |how| format!(" ({how})"));
                format!("{} {} -> {}{how}", grow.topic, grow.from, grow.to)
            })
            .collect();
        (!grown.is_empty()).then(|| EventDraft {
            warning: false,
            reason: "PartitionsIncreased",
            action: "ScalePartitions",
            note: words::first_few(&grown),
        })
    }
}

fn refusal(grow: &Grow, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::NotSent { why } => Some(format!("Topic {} was not grown: nothing was sent: {why}", grow.topic)),
        Outcome::Refused { why } => Some(format!("Topic {} was not grown: {why}", grow.topic)),
        Outcome::Unknown { why } => Some(format!("It is not known whether topic {} was grown: {why}", grow.topic)),
        Outcome::Done | Outcome::AlreadySo | Outcome::Superseded { .. } => None,
    }
}

fn partition_sum(topics: &BTreeMap<String, Topic>) -> i64 {
    topics.values().map(|topic| i64::from(topic.partitions)).sum()
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
