//! What a look at Kafka found and did, in conditions, status, events and metrics.

use crate::error::Refusal;
use crate::full::Descriptions;
use crate::{KafkaError, Look, Outcome, holds};
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::validate::{self, Invalid};
use logwise_api::{Condition, HeldChanges, HeldReason, HeldTopic, KafkaStatus, LogwiseCluster, PendingPlan, Time};
use logwise_plan::partitions::{self, Grow, Hold, Observed, Topic};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::metrics::{Metrics, Pipeline, TopicFigures};
use logwise_runtime::{Decision, ErrorClass, EventDraft, PartStatus, Refused, Report, words};
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Topics listed in status; the rest is in the metrics and the decision record.
const MAX_HELD_TOPICS: usize = 20;

/// Length of the text that says why a topic was left alone.
const MAX_MESSAGE: usize = 256;

/// Held topics in a decision record.
const MAX_RECORDED: usize = 100;

/// How soon brokers are asked again that do not answer.
const RETRY_WITHIN: Duration = Duration::from_secs(5);

/// Plans listed in status.
const MAX_PENDING_PLANS: usize = 10;

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

const fn to_mend(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Encryption => {
            "Check `kafka.tls`, the authority in the Secret that it names, and that this port of the brokers is encrypted"
        }
        Refusal::Login => "Check `kafka.authentication` and the Secret that it names",
        Refusal::Rights => "Allow the operator to describe this cluster and its topics",
    }
}

fn unreachable(error: &KafkaError) -> Draft {
    let (reason, next) = match error.class() {
        ErrorClass::Denied => (Reason::PermissionDenied, to_mend(error.refused_by())),
        ErrorClass::Invalid => (Reason::InvalidSpec, "Correct `kafka.bootstrapServers`"),
        _ => (Reason::BrokerUnreachable, "Check that the brokers run and that `kafka.bootstrapServers` names them"),
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
            decision: self.decision(),
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
            metrics.kafka(&of, count(topics.len()), partition_sum(topics), count(self.limited_topics().count()));
        }
        if per_topic {
            metrics.kafka_topics(&of, self.figures());
        }
        let grown = self.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Done)).count();
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

    /// Topics that have fewer partitions than they should have and stay so.
    fn limited_topics(&self) -> impl Iterator<Item = (&str, &Hold, i32)> {
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        holds.filter_map(|(name, hold)| holds::wanted(hold).map(|wanted| (name.as_str(), hold, wanted)))
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
        let unreadable: Vec<String> =
            self.unreadable_topics().iter().map(|(name, why)| format!("{name}: {why}")).collect();
        if !unreadable.is_empty() {
            let message =
                format!("Topics could not be read completely: {}. It is tried again", words::first_few(&unreadable));
            return Draft::new(kind, false, Reason::Unreadable, message);
        }
        let sick: Vec<String> = self.sick_topics().cloned().collect();
        if !sick.is_empty() {
            let message = format!(
                "Topics with partitions without a leader or with replicas out of sync: {}. Bring all brokers back",
                words::first_few(&sick)
            );
            return Draft::new(kind, false, Reason::UnderReplicated, message);
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

    /// What of `kafka.expected` is not met.
    fn less_than_expected(&self) -> Option<Draft> {
        let kind = ConditionType::KafkaReady;
        let expected = self.cluster.spec.kafka.as_ref()?.expected.as_ref()?;
        let brokers = self.look.cluster.known().map(|cluster| cluster.brokers);
        if let (Some(brokers), Some(wanted)) = (brokers, expected.brokers)
            && brokers < wanted
        {
            let message = format!(
                "{brokers} of {wanted} brokers are up. Bring the others back, or correct `kafka.expected.brokers`"
            );
            return Some(Draft::new(kind, false, Reason::BrokersMissing, message));
        }
        let topics = self.topics().filter(|_| self.policy.is_some())?;
        let replicas = expected.replication_factor.unwrap_or(0);
        let in_sync = expected.min_in_sync_replicas.unwrap_or(0);
        let below = topics.iter().filter_map(|(name, topic)| {
            if topic.replication_factor < replicas {
                return Some(format!("{name} has {} replicas", topic.replication_factor));
            }
            let least = *self.descriptions.get(name)?.min_in_sync.known()?;
            (least < in_sync).then(|| format!("{name} has min.insync.replicas {least}"))
        });
        let below: Vec<String> = below.collect();
        let message = format!(
            "{} topics have fewer replicas than `kafka.expected` says: {}. Change the topics, or correct `kafka.expected`",
            below.len(),
            words::first_few(&below)
        );
        (!below.is_empty()).then(|| Draft::new(kind, false, Reason::ReplicationBelowTarget, message))
    }

    fn sick_topics(&self) -> impl Iterator<Item = &String> {
        let topics = self.topics().into_iter().flatten();
        topics.filter(|(_, topic)| topic.leaderless > 0 || topic.under_replicated > 0).map(|(name, _)| name)
    }

    fn limited(&self) -> Option<Draft> {
        let kind = ConditionType::PartitionsLimited;
        self.plan?;
        if self.topics().is_none() {
            return Some(Draft::new(kind, Truth::Unknown, Reason::Unreadable, "The topics could not be read"));
        }
        let Some((_, hold, _)) = self.limited_topics().next() else {
            return Some(Draft::new(kind, false, Reason::WithinRange, ""));
        };
        let (reason, next) = holds::limit(hold);
        let named: Vec<String> = self.limited_topics().map(|(name, ..)| name.to_owned()).collect();
        let message =
            format!("Topics with fewer partitions than they should have: {}. {next}", words::first_few(&named));
        Some(Draft::new(kind, true, reason, message))
    }

    fn status(&self) -> KafkaStatus {
        let cluster = self.look.cluster.known();
        let topics = self.topics().filter(|_| self.policy.is_some());
        KafkaStatus {
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
            limited_topics: topics.map(|_| words::count(self.limited_topics().count())),
            held_topics: self.held_topics(),
            pending_plans: self.pending_plans(),
            held_changes: self.held_changes(),
        }
    }

    /// Changes that are wanted and not carried out because somebody said so.
    fn pending_changes(&self) -> i32 {
        let held: i32 = self.held_changes().iter().map(|held| held.changes).sum();
        let planned =
            if validate::may_change(self.cluster) { 0 } else { self.plan.map_or(0, |plan| plan.actions.len()) };
        held.saturating_add(words::count(planned))
    }

    /// What held growths wait for, and how many for each.
    fn held_changes(&self) -> Vec<HeldChanges> {
        let mut held: BTreeMap<HeldReason, HeldChanges> = BTreeMap::new();
        for (name, hold, _) in self.limited_topics() {
            let Some(reason) = holds::held_reason(hold) else { continue };
            let next_opening_time = self.next_opening(name).map(Time);
            held.entry(reason).or_insert(HeldChanges { reason, changes: 0, next_opening_time }).changes += 1;
        }
        held.into_values().collect()
    }

    fn held_topics(&self) -> Vec<HeldTopic> {
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let told = |hold: &Hold| holds::wanted(hold).is_some() || matches!(hold, Hold::Unreadable { .. });
        let mut held: Vec<(&str, &Hold)> =
            holds.filter(|(_, hold)| told(hold)).map(|(name, hold)| (name.as_str(), hold)).collect();
        // Status is what remembers the growths that a person was asked about: those come before all others.
        let asked = self.asked();
        held.sort_by_key(|(name, ..)| (!asked.contains(name), *name));
        held.truncate(MAX_HELD_TOPICS);
        held.sort_by_key(|(name, ..)| *name);
        held.into_iter().map(|(name, hold)| self.held_topic(name, hold)).collect()
    }

    fn held_topic(&self, name: &str, hold: &Hold) -> HeldTopic {
        let (reason, wanted_partitions) = (holds::name(hold), holds::wanted(hold));
        let partitions = self.topics().and_then(|topics| topics.get(name)).map(|topic| topic.partitions);
        // A rate changes with every look: what is shown stays until it leads to something that is clearly another.
        let shown = self.shown_before(name).filter(|before| {
            let near = before.wanted_partitions.zip(wanted_partitions).is_none_or(|(before, now)| is_near(before, now));
            before.reason == reason && before.partitions == partitions && near
        });
        let rate = self.plan.and_then(|plan| plan.sizes.get(name)?.rate);
        let told = holds::message(hold).map(|message| words::cut(&message, MAX_MESSAGE));
        // The one message that repeats the wanted count.
        let of_count = shown.filter(|_| matches!(hold, Hold::Maximum { .. }));
        let proposal = self.plan.and_then(|plan| plan.proposals.get(name));
        HeldTopic {
            name: name.to_owned(),
            partitions,
            wanted_partitions: shown.map_or(wanted_partitions, |shown| shown.wanted_partitions),
            reason: reason.to_owned(),
            records_per_second: shown.map_or(rate, |shown| shown.records_per_second),
            message: of_count.map_or(told, |shown| shown.message.clone()),
            planned_partitions: proposal.map(|proposal| proposal.to),
            plan_id: proposal.map(|proposal| proposal.plan_id.clone()),
            next_opening_time: self.next_opening(name).map(Time),
        }
    }

    fn shown_before(&self, name: &str) -> Option<&HeldTopic> {
        let status = self.cluster.status.as_ref()?.kafka.as_ref()?;
        status.held_topics.iter().find(|topic| topic.name == name)
    }

    /// Topics whose growth status asks a person about: those that it asked about before go first, since a person may
    /// be about to answer.
    fn asked(&self) -> BTreeSet<&str> {
        let status = self.cluster.status.as_ref().and_then(|status| status.kafka.as_ref());
        let before: BTreeSet<&str> =
            status.into_iter().flat_map(|kafka| &kafka.pending_plans).map(|plan| plan.id.as_str()).collect();
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let mut waiting: Vec<(bool, &str)> = holds
            .filter_map(|(name, hold)| match hold {
                Hold::ApprovalRequired { plan_id, .. } => Some((!before.contains(plan_id.as_str()), name.as_str())),
                _ => None,
            })
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().take(MAX_PENDING_PLANS).map(|(_, name)| name).collect()
    }

    fn next_opening(&self, topic: &str) -> Option<Timestamp> {
        match self.plan?.holds.get(topic)? {
            Hold::WaitingForWindow { next_opening, .. } => *next_opening,
            _ => None,
        }
    }

    /// Growths that a person is asked about.
    fn pending_plans(&self) -> Vec<PendingPlan> {
        let proposals = self.plan.into_iter().flat_map(|plan| &plan.proposals);
        let asked = self.asked();
        let mut pending: Vec<PendingPlan> = proposals
            .filter(|(name, _)| asked.contains(name.as_str()))
            .map(|(name, proposal)| PendingPlan {
                id: proposal.plan_id.clone(),
                summary: format!("{name} {} -> {} partitions", proposal.from, proposal.to),
            })
            .collect();
        pending.sort_by(|a, b| a.id.cmp(&b.id));
        pending.dedup_by(|a, b| a.id == b.id);
        pending
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
        let waits = |hold: &Hold| {
            matches!(hold, Hold::Unhealthy { .. } | Hold::KeysUnknown { .. } | Hold::DailyBudget { .. })
                || matches!(hold, Hold::ApprovalRequired { .. } | Hold::WaitingForWindow { .. })
        };
        let open = |(name, hold): (&String, &Hold)| {
            matches!(hold, Hold::Unreadable { .. }) || waits(hold) && self.is_below_floor(name)
        };
        let grows = plan.actions.iter().any(|grow| self.is_below_floor(&grow.topic));
        plan.blocked.is_none() && !grows && !plan.holds.iter().any(open)
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
        let held = || plan.holds.iter().filter(|(_, hold)| **hold != Hold::Sufficient);
        let holds: BTreeMap<_, _> = held().take(MAX_RECORDED).collect();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        held().for_each(|(_, hold)| *reasons.entry(holds::name(hold)).or_default() += 1);
        let named = holds.keys().copied().chain(plan.actions.iter().map(|grow| &grow.topic));
        let named: BTreeSet<&String> = named.collect();
        let topics: BTreeMap<_, _> =
            self.topics().into_iter().flatten().filter(|(name, _)| named.contains(name)).collect();
        let sizes: BTreeMap<_, _> = plan.sizes.iter().filter(|(name, _)| named.contains(name)).collect();
        Some(Decision {
            // The sizes too: rates change with every look, and a record is written when a decision changes.
            inputs: json!({"policy": policy, "facts": self.surroundings(), "topics": topics, "sizes": sizes}),
            actions: json!(self.decided(plan)),
            holds: json!({"topics": holds, "reasons": reasons}),
            outcome: json!(outcome),
        })
    }

    /// What was done, that of an earlier look too if it was told late, and what is left to do.
    fn decided<'a>(&'a self, plan: &'a partitions::Plan) -> Vec<&'a Grow> {
        let done = self.outcomes.iter().map(|(grow, _)| grow);
        let open = plan.actions.iter().filter(|grow| !self.outcomes.iter().any(|(done, _)| done == *grow));
        done.chain(open).collect()
    }

    /// What the plan depends on beside the topics.
    fn surroundings(&self) -> serde_json::Value {
        let Observed { cluster_id, pending, brokers, replicas, spent, cores, claims, .. } = &self.look.facts;
        json!({"clusterId": cluster_id, "pending": pending, "brokers": brokers, "replicas": replicas, "spent": spent,
            "cores": cores, "claims": claims})
    }

    fn event(&self) -> Option<EventDraft> {
        let done = self.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Done));
        let how = |topic: &String| self.plan.and_then(|plan| plan.sizes.get(topic)).map(holds::arithmetic);
        let grown: Vec<String> = done
            .map(|(grow, _)| {
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

/// Within a fifth of each other.
fn is_near(before: i32, now: i32) -> bool {
    i64::from(before.abs_diff(now)) * 5 <= i64::from(before.max(0))
}

fn partition_sum(topics: &BTreeMap<String, Topic>) -> i64 {
    topics.values().map(|topic| i64::from(topic.partitions)).sum()
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
