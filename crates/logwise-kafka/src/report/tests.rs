//! What is said about looks that found this and that.

use super::Found;
use crate::full::{Description, Descriptions};
use crate::observe::Replicas;
use crate::{ClusterFacts, Look};
use jiff::Timestamp;
use logwise_api::{HeldTopic, KafkaStatus, LogwiseCluster, LogwiseClusterStatus, validate};
use logwise_plan::Known;
use logwise_plan::partitions::{self, Grow, Hold, Keys, Observed, Plan, Policy, Proposal, Size, Topic};
use logwise_runtime::conditions::{Reason, Truth};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One look, and all else that its report is made of.
struct Seen {
    cluster: LogwiseCluster,
    policy: Policy,
    look: Look,
    plan: Plan,
    descriptions: Descriptions,
}

impl Seen {
    fn new(cluster: LogwiseCluster, topics: impl IntoIterator<Item = (String, Topic)>) -> Self {
        let policy = validate::kafka_topics(&cluster, 30).unwrap().unwrap();
        let facts = Observed {
            cluster_id: Known::Known("c".into()),
            brokers: Known::Known(3),
            ..Observed::from(Known::Known(topics.into_iter().collect()))
        };
        let plan = partitions::plan(&policy, &facts, Timestamp::UNIX_EPOCH);
        let look = Look {
            facts,
            ends: Known::Unknown("not asked".into()),
            uneven: BTreeMap::new(),
            cluster: Known::Known(ClusterFacts { cluster_id: Some("c".into()), brokers: 3 }),
            error: None,
        };
        Self { cluster, policy, look, plan, descriptions: Descriptions::new() }
    }

    fn found(&self) -> Found<'_> {
        Found {
            cluster: &self.cluster,
            policy: Some(&self.policy),
            look: &self.look,
            plan: Some(&self.plan),
            outcomes: &[],
            intent: None,
            late: &[],
            descriptions: &self.descriptions,
        }
    }

    fn status(&self) -> KafkaStatus {
        self.found().status()
    }

    fn held(&self) -> Vec<HeldTopic> {
        self.status().held_topics
    }

    /// `KafkaReady`.
    fn ready(&self) -> (Truth, Reason, String) {
        let draft = self.found().ready();
        (draft.truth, draft.reason, draft.message)
    }

    /// Takes the status for what was shown before the next one.
    fn show(&mut self) -> Vec<HeldTopic> {
        let kafka = self.status();
        let held = kafka.held_topics.clone();
        self.cluster.status = Some(LogwiseClusterStatus { kafka: Some(kafka), ..LogwiseClusterStatus::default() });
        held
    }

    fn describe(&mut self, topic: &str, min_in_sync: Known<i32>) {
        let description = Description {
            id: Known::Known("id".into()),
            retention_ms: Known::Absent,
            min_in_sync,
            earliest: Known::Known(BTreeMap::new()),
        };
        self.descriptions.insert(topic.to_owned(), Arc::new(description));
    }
}

fn merge(whole: &mut Value, part: Value) {
    if let (Value::Object(whole), Value::Object(part)) = (whole, part) {
        whole.extend(part);
    }
}

/// Grows topics whose names begin with t to six partitions; with more of `spec.kafka` and of the spec.
fn cluster(kafka: Value, rest: Value) -> LogwiseCluster {
    let mut spec = json!({"kafka": {"bootstrapServers": ["k:9092"], "partitionScaling": {"mode": "Automatic"},
        "topics": {"namePrefix": "t", "defaultPartitions": 6}}});
    merge(&mut spec["kafka"], kafka);
    merge(&mut spec, rest);
    let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
        "metadata": {"name": "demo", "namespace": "shop", "generation": i64::MAX}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn topic(partitions: i32) -> Topic {
    Topic { keys: Known::Known(Keys::Without), replication_factor: 3, ..Topic::new(partitions, Known::Known(9)) }
}

fn topics(of: &[(&str, i32)]) -> Vec<(String, Topic)> {
    of.iter().map(|(name, partitions)| ((*name).to_owned(), topic(*partitions))).collect()
}

#[test]
fn what_an_object_that_changes_nothing_would_grow_is_listed() {
    let suspended = json!({"suspend": true, "changePolicy": {"mode": "Observe"}});
    for (rest, reason, next) in [
        (json!({"changePolicy": {"mode": "Observe"}}), Reason::ObserveOnly, "Set `spec.changePolicy.mode` to Apply"),
        (suspended, Reason::SuspendedByUser, "Set `spec.suspend` to false"),
    ] {
        let seen = Seen::new(cluster(json!({}), rest), topics(&[("t1", 3), ("t2", 6)]));
        let limited = seen.found().limited().unwrap();
        assert_eq!((limited.truth, limited.reason), (Truth::True, reason));
        assert!(limited.message.ends_with(&format!(" should have: t1. {next} to grow them")), "{}", limited.message);
        let status = seen.status();
        let held: Vec<_> = status.held_topics.iter().map(|held| (held.name.as_str(), held.reason.as_str())).collect();
        assert_eq!(held, [("t1", reason.name())]);
        assert_eq!((status.held_topics[0].partitions, status.held_topics[0].wanted_partitions), (Some(3), Some(6)));
        assert_eq!((status.limited_topics, status.pending_changes), (Some(1), Some(1)));
        assert!(status.held_changes.is_empty(), "they wait for nothing else");
    }
}

#[test]
fn what_grows_is_not_listed_nor_what_an_object_that_is_deleted_would_grow() {
    let mut seen = Seen::new(cluster(json!({}), json!({})), topics(&[("t1", 3)]));
    let is_free = |seen: &Seen| {
        seen.held().is_empty() && seen.found().limited().is_some_and(|limited| limited.reason == Reason::WithinRange)
    };
    assert!(is_free(&seen));
    let mut object = serde_json::to_value(&seen.cluster).unwrap();
    merge(&mut object["metadata"], json!({"deletionTimestamp": "2026-01-02T03:04:05Z"}));
    seen.cluster = serde_json::from_value(object).unwrap();
    assert!(is_free(&seen));
}

#[test]
fn the_first_reason_is_that_of_the_first_topic_by_name() {
    let observe = json!({"changePolicy": {"mode": "Observe"}});
    let mut seen = Seen::new(cluster(json!({}), observe), topics(&[("t1", 3), ("t2", 3)]));
    let reason = |seen: &Seen| seen.found().limited().unwrap().reason;
    let hold = || Hold::Keyed { wanted: 6 };
    seen.plan.holds.insert("t3".into(), hold());
    assert_eq!(reason(&seen), Reason::ObserveOnly);
    seen.plan.holds.insert("t0".into(), hold());
    assert_eq!(reason(&seen), Reason::KeyedRecords);
    assert_eq!(seen.status().limited_topics, Some(4));
}

#[test]
fn a_topic_with_one_partition_of_too_few_replicas_is_told() {
    let expected = json!({"expected": {"replicationFactor": 3}});
    let mut seen = Seen::new(cluster(expected, json!({})), topics(&[("t1", 6), ("t2", 6)]));
    assert_eq!(seen.ready().1, Reason::Available);
    seen.look.uneven.insert("t2".into(), Replicas::from([(1, 1), (2, 1), (3, 4)]));
    let (truth, reason, message) = seen.ready();
    assert_eq!((truth, reason), (Truth::False, Reason::ReplicationBelowTarget));
    assert!(message.starts_with("1 topics have fewer replicas"), "{message}");
    assert!(message.contains(": t2 has 1 replicas in 2 of 6 partitions. "), "{message}");
    seen.look.uneven.insert("t2".into(), Replicas::from([(3, 5), (5, 1)]));
    assert_eq!(seen.ready().1, Reason::Available, "being moved: no partition has less");
    let expected = json!({"expected": {"replicationFactor": 4}});
    let all = Seen::new(cluster(expected, json!({})), topics(&[("t1", 6)]));
    assert!(all.ready().2.contains("t1 has 3 replicas in 6 of 6 partitions"), "{:?}", all.ready());
}

#[test]
fn in_sync_replicas_that_are_not_known_are_not_taken_for_enough() {
    let seen = || topics(&[("t1", 6), ("t2", 6)]);
    let expected = json!({"expected": {"minInSyncReplicas": 2}});
    let mut seen_now = Seen::new(cluster(expected, json!({})), seen());
    let (truth, reason, message) = seen_now.ready();
    assert_eq!((truth, reason), (Truth::Unknown, Reason::Pending), "not looked at yet");
    assert!(message.contains("of 2 topics was not read yet: t1, t2. "), "{message}");
    seen_now.describe("t1", Known::Known(2));
    seen_now.describe("t2", Known::Unknown("denied".into()));
    let (truth, reason, message) = seen_now.ready();
    assert_eq!((truth, reason), (Truth::Unknown, Reason::Unreadable));
    assert!(message.contains("of 1 topics could not be read: t2: denied. "), "{message}");
    seen_now.describe("t1", Known::Known(1));
    assert_eq!(seen_now.ready().1, Reason::ReplicationBelowTarget, "what is known to be too few comes first");
    seen_now.describe("t1", Known::Known(2));
    seen_now.describe("t2", Known::Known(2));
    assert_eq!(seen_now.ready().1, Reason::Available);
    let expected = json!({"expected": {"replicationFactor": 3}});
    assert_eq!(Seen::new(cluster(expected, json!({})), seen()).ready().1, Reason::Available, "nobody asks");
}

/// The longest name that Kafka allows.
fn long_name(number: usize) -> String {
    format!("t{number:0248}")
}

fn usual_name(number: usize) -> String {
    format!("t{number:059}")
}

/// More topics than status lists, with the greatest numbers, of which this is said.
fn crowded(name: impl Fn(usize) -> String, hold: impl Fn(usize) -> Hold) -> Seen {
    let names: Vec<String> = (0..25).map(name).collect();
    let numbered = || names.iter().cloned().zip(0..);
    let mut seen = Seen::new(
        cluster(json!({}), json!({"changePolicy": {"approval": "Always"}})),
        names.iter().map(|name| (name.clone(), topic(i32::MAX))),
    );
    let size = Size {
        rate: Some(i64::MAX),
        rate_unknown: None,
        catch_up_rate: None,
        target_rate: None,
        floor: None,
        cores: None,
        wanted: i32::MAX,
        clamps: Vec::new(),
        to: i32::MAX,
    };
    let proposal = |number| Proposal { from: i32::MAX, to: i32::MAX, plan_id: plan_id(number) };
    seen.plan.holds = numbered().map(|(name, number)| (name, hold(number))).collect();
    seen.plan.sizes = names.iter().map(|name| (name.clone(), size.clone())).collect();
    seen.plan.proposals = numbered().map(|(name, number)| (name, proposal(number))).collect();
    seen.look.cluster = Known::Known(ClusterFacts { cluster_id: Some("c".repeat(256)), brokers: i32::MAX });
    seen
}

fn plan_id(number: usize) -> String {
    format!("kp-{number:08x}")
}

fn asked_about(number: usize) -> Hold {
    Hold::ApprovalRequired { wanted: i32::MAX, to: i32::MAX, plan_id: plan_id(number) }
}

/// Every hold that status lists, with the greatest numbers and the longest texts.
fn every_hold() -> Vec<Hold> {
    let (wanted, most, until) = (i32::MAX, i32::MAX, Timestamp::MAX);
    // Six bytes of JSON each.
    let why = || "\u{1}".repeat(1_000);
    vec![
        Hold::Maximum { wanted },
        Hold::Claimed { wanted, owner: format!("{}/{}", "n".repeat(63), "o".repeat(253)) },
        Hold::RecommendOnly { wanted },
        Hold::Cooldown { wanted, until },
        Hold::Keyed { wanted },
        Hold::KeysUnknown { wanted, why: why() },
        Hold::Unhealthy { wanted, leaderless: most, under_replicated: most, reassigning: most },
        Hold::BrokerHeadroom { wanted, per_broker: Some(i64::MAX), most },
        Hold::DailyBudget { wanted, spent: Some(most), budget: most },
        Hold::WaitingForWindow { wanted, next_opening: Some(until) },
        Hold::Unreadable { why: why() },
    ]
}

fn fits(seen: &Seen) -> KafkaStatus {
    let status = seen.status();
    let length = serde_json::to_string(&status).unwrap().len();
    let first = &status.held_topics[0];
    assert!(length < 8_000, "{length} bytes with {} topics: {first:?}", status.held_topics.len());
    let is_short = |held: &HeldTopic| held.message.as_ref().is_none_or(|message| message.chars().count() <= 256);
    assert!(status.held_topics.len() <= 20 && status.held_topics.iter().all(is_short), "{first:?}");
    status
}

#[test]
fn the_longest_names_and_the_greatest_numbers_leave_the_status_small() {
    for hold in every_hold() {
        fits(&crowded(long_name, |_| hold.clone()));
        // Every other one is asked about.
        let mixed = crowded(long_name, |number| if number % 2 == 0 { asked_about(number) } else { hold.clone() });
        assert!(!fits(&mixed).pending_plans.is_empty());
    }
    let mut still = crowded(long_name, asked_about);
    let grow = |topic: String| Grow { topic, from: i32::MAX, to: i32::MAX, topic_id: None };
    still.cluster = cluster(json!({}), json!({"suspend": true}));
    still.plan.actions = std::mem::take(&mut still.plan.holds).into_keys().map(grow).collect();
    assert!(fits(&still).held_topics.len() > 10);
}

#[test]
fn what_a_person_is_asked_about_is_remembered_however_long_it_is() {
    for (seen, least) in [(crowded(long_name, asked_about), 5), (crowded(usual_name, asked_about), 10)] {
        let status = fits(&seen);
        let remembered = |id: &String| status.held_topics.iter().any(|held| held.plan_id.as_ref() == Some(id));
        assert!(status.pending_plans.len() >= least, "{} plans", status.pending_plans.len());
        assert!(status.pending_plans.iter().all(|plan| remembered(&plan.id)), "{status:?}");
    }
}

#[test]
fn twenty_topics_with_usual_names_are_listed_whatever_is_said_of_them() {
    let lengths = |why: &str| {
        let mut seen = crowded(usual_name, |_| Hold::KeysUnknown { wanted: 6, why: why.to_owned() });
        seen.plan.proposals.clear();
        seen.plan.sizes.clear();
        let held = fits(&seen).held_topics;
        held.iter().map(|held| held.message.as_ref().map_or(0, |message| message.chars().count())).collect::<Vec<_>>()
    };
    assert_eq!(lengths("denied"), [6; 20]);
    assert_eq!(lengths(&"w".repeat(300)), [128; 20], "shorter texts, not fewer topics");
}

#[test]
fn what_is_shown_stays_until_its_numbers_changed_clearly() {
    let mut seen = Seen::new(cluster(json!({}), json!({})), topics(&[("t1", 3)]));
    let mut said = |hold: Hold| {
        seen.plan.holds = BTreeMap::from([("t1".to_owned(), hold)]);
        seen.show()
    };
    let most = |wanted| Hold::Maximum { wanted };
    let first = said(most(100));
    assert_eq!(said(most(110)), first);
    assert_eq!(said(most(120)), first, "against what is shown");
    assert_ne!(said(most(121)), first);
    let brokers = |wanted, per_broker, most| Hold::BrokerHeadroom { wanted, per_broker: Some(per_broker), most };
    let first = said(brokers(10, 4_100, 4_000));
    assert_eq!(said(brokers(11, 4_150, 4_000)), first);
    let other = said(brokers(11, 6_000, 4_000));
    assert_ne!(other, first);
    assert_ne!(said(brokers(11, 6_000, 5_000)), other, "what is allowed is told as it is");
}

#[test]
fn the_record_names_the_plans_that_a_person_is_asked_about_and_no_others() {
    let names: Vec<String> = (0..12).map(|number| format!("t{number:02}")).collect();
    let always = json!({"changePolicy": {"approval": "Always"}});
    let seen = Seen::new(cluster(json!({}), always), names.iter().map(|name| (name.clone(), topic(3))));
    let decision = seen.found().decision().unwrap();
    let holds = decision.holds["topics"].as_object().unwrap();
    assert_eq!(holds.len(), 12);
    let named = |name: &&String| holds[name.as_str()]["planId"].is_string();
    assert_eq!(names.iter().filter(named).count(), 10);
    assert!(holds.values().all(|hold| hold["reason"] == "approvalRequired" && hold["wanted"] == 6));
}
