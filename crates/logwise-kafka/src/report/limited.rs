//! Topics that have fewer partitions than they should have and are left alone: in status and in `PartitionsLimited`.

use super::Found;
use crate::holds;
use jiff::Timestamp;
use logwise_api::{HeldChanges, HeldReason, HeldTopic, KafkaStatus, PendingPlan, Time, validate};
use logwise_plan::partitions::{Hold, Proposal};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::{Decision, words};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Topics listed in status; the rest is in the metrics and the decision record.
const MAX_HELD_TOPICS: usize = 20;

/// Plans listed in status.
const MAX_PENDING_PLANS: usize = 10;

/// Length of the text that says why a topic was left alone.
const MAX_MESSAGE: usize = 256;

/// The same, where the longer texts leave no room for all topics.
const SHORT_MESSAGE: usize = 128;

/// Bytes that this part's status may take: what is written for every object has to stay small, and names are as long as
/// others make them. Of what does not fit the first ones are listed.
const MAX_STATUS: usize = 7_900;

/// Bytes of it for plans and the topics that they are about; the numbers in the status take less than the rest.
const MAX_ASKED: usize = 6_900;

/// Why a topic is left alone.
#[derive(Clone, Copy)]
pub(super) enum Why<'a> {
    /// By the plan.
    Hold(&'a Hold),
    /// The plan would let it grow, and the object changes nothing at all: the reason and the next step.
    Still(Reason, &'static str),
}

impl Why<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Hold(hold) => holds::name(hold),
            Self::Still(reason, _) => reason.name(),
        }
    }

    fn message(self) -> Option<String> {
        match self {
            Self::Hold(hold) => holds::message(hold),
            Self::Still(..) => None,
        }
    }

    const fn next_opening(self) -> Option<Timestamp> {
        match self {
            Self::Hold(Hold::WaitingForWindow { next_opening, .. }) => *next_opening,
            Self::Hold(_) | Self::Still(..) => None,
        }
    }

    /// Whether the first number of its message follows the load.
    const fn follows_load(self) -> bool {
        matches!(self, Self::Hold(Hold::Maximum { .. } | Hold::BrokerHeadroom { .. }))
    }
}

impl Found<'_> {
    /// Topics that have fewer partitions than they should have and stay so, by name.
    pub(super) fn limited_topics(&self) -> Vec<(&str, Why<'_>)> {
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let held = holds.filter(|(_, hold)| holds::wanted(hold).is_some());
        let held = held.map(|(name, hold)| (name.as_str(), Why::Hold(hold)));
        let mut limited: Vec<(&str, Why<'_>)> = held.chain(self.standing_still()).collect();
        limited.sort_by_key(|(name, _)| *name);
        limited
    }

    /// Growths of the plan that are not carried out because the object changes nothing.
    fn standing_still(&self) -> impl Iterator<Item = (&str, Why<'_>)> {
        let why = holds::stands_still(self.cluster);
        let actions = self.plan.into_iter().flat_map(|plan| &plan.actions);
        actions.filter_map(move |grow| why.map(|(reason, next)| (grow.topic.as_str(), Why::Still(reason, next))))
    }

    /// Partitions a topic should have.
    fn wanted(&self, name: &str, why: Why<'_>) -> Option<i32> {
        match why {
            Why::Hold(hold) => holds::wanted(hold),
            Why::Still(..) => self.plan?.sizes.get(name).map(|size| size.to),
        }
    }

    pub(super) fn limited(&self) -> Option<Draft> {
        let kind = ConditionType::PartitionsLimited;
        self.plan?;
        if self.topics().is_none() {
            return Some(Draft::new(kind, Truth::Unknown, Reason::Unreadable, "The topics could not be read"));
        }
        let limited = self.limited_topics();
        let (reason, next) = match limited.first() {
            None => return Some(Draft::new(kind, false, Reason::WithinRange, "")),
            Some((_, Why::Hold(hold))) => holds::limit(hold),
            Some((_, Why::Still(reason, next))) => (*reason, *next),
        };
        let named: Vec<&str> = limited.iter().map(|(name, _)| *name).collect();
        let message =
            format!("Topics with fewer partitions than they should have: {}. {next}", words::first_few(&named));
        Some(Draft::new(kind, true, reason, message))
    }

    /// Changes that are wanted and not carried out because somebody said so.
    pub(super) fn pending_changes(&self) -> i32 {
        let held: i32 = self.held_changes().iter().map(|held| held.changes).sum();
        let planned =
            if validate::may_change(self.cluster) { 0 } else { self.plan.map_or(0, |plan| plan.actions.len()) };
        held.saturating_add(words::count(planned))
    }

    /// What held growths wait for, and how many for each.
    pub(super) fn held_changes(&self) -> Vec<HeldChanges> {
        let mut held: BTreeMap<HeldReason, HeldChanges> = BTreeMap::new();
        for (_, why) in self.limited_topics() {
            let Why::Hold(hold) = why else { continue };
            let Some(reason) = holds::held_reason(hold) else { continue };
            let next_opening_time = why.next_opening().map(Time);
            held.entry(reason).or_insert(HeldChanges { reason, changes: 0, next_opening_time }).changes += 1;
        }
        held.into_values().collect()
    }

    /// Adds the topics that were left alone, as many as the rest of the status leaves room for.
    pub(super) fn with_held_topics(&self, status: KafkaStatus) -> KafkaStatus {
        let room = MAX_STATUS.saturating_sub(length(&status));
        KafkaStatus { held_topics: self.held_topics(room), ..status }
    }

    fn held_topics(&self, room: usize) -> Vec<HeldTopic> {
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let unreadable = holds.filter(|(_, hold)| self.policy.is_some_and(|policy| holds::is_told(hold, policy)));
        let unreadable = unreadable.map(|(name, hold)| (name.as_str(), Why::Hold(hold)));
        let mut held: Vec<(&str, Why<'_>)> = self.limited_topics().into_iter().chain(unreadable).collect();
        // Status is what remembers the growths that a person was asked about: those come before all others.
        let asked = self.asked();
        held.sort_by_key(|(name, _)| (!asked.contains(name), *name));
        held.truncate(MAX_HELD_TOPICS);
        let listed = |longest: usize| -> Vec<HeldTopic> {
            held.iter().map(|(name, why)| self.held_topic(name, *why, longest)).collect()
        };
        let mut topics = first_within(room, listed(MAX_MESSAGE), length);
        if topics.len() < held.len() {
            topics = first_within(room, listed(SHORT_MESSAGE), length);
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    fn held_topic(&self, name: &str, why: Why<'_>, longest: usize) -> HeldTopic {
        let (reason, wanted_partitions) = (why.name(), self.wanted(name, why));
        let partitions = self.topics().and_then(|topics| topics.get(name)).map(|topic| topic.partitions);
        // A rate changes with every look: what is shown stays until it leads to something that is clearly another.
        let shown = self.shown_before(name).filter(|before| {
            let counts = before.wanted_partitions.zip(wanted_partitions);
            let near = counts.is_none_or(|(before, now)| Decision::is_near(before.into(), now.into()));
            before.reason == reason && before.partitions == partitions && near
        });
        let rate = self.plan.and_then(|plan| plan.sizes.get(name)?.rate);
        let told = why.message().map(|message| words::cut(&message, longest));
        let message = match (shown.and_then(|shown| shown.message.as_ref()), told) {
            (Some(before), Some(now)) if why.follows_load() && is_about(before, &now) => Some(before.clone()),
            (_, told) => told,
        };
        let proposal = self.plan.and_then(|plan| plan.proposals.get(name));
        HeldTopic {
            name: name.to_owned(),
            partitions,
            wanted_partitions: shown.map_or(wanted_partitions, |shown| shown.wanted_partitions),
            reason: reason.to_owned(),
            records_per_second: shown.map_or(rate, |shown| shown.records_per_second),
            message,
            planned_partitions: proposal.map(|proposal| proposal.to),
            plan_id: proposal.map(|proposal| proposal.plan_id.clone()),
            next_opening_time: why.next_opening().map(Time),
        }
    }

    fn shown_before(&self, name: &str) -> Option<&HeldTopic> {
        let status = self.cluster.status.as_ref()?.kafka.as_ref()?;
        status.held_topics.iter().find(|topic| topic.name == name)
    }

    /// Topics whose growth status asks a person about: those that it asked about before go first, since a person may
    /// be about to answer.
    pub(super) fn asked(&self) -> BTreeSet<&str> {
        let status = self.cluster.status.as_ref().and_then(|status| status.kafka.as_ref());
        let before: BTreeSet<&str> =
            status.into_iter().flat_map(|kafka| &kafka.pending_plans).map(|plan| plan.id.as_str()).collect();
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let mut waiting: Vec<(bool, &str, &Hold)> = holds
            .filter_map(|(name, hold)| match hold {
                Hold::ApprovalRequired { plan_id, .. } => {
                    Some((!before.contains(plan_id.as_str()), name.as_str(), hold))
                }
                _ => None,
            })
            .collect();
        waiting.sort_by_key(|(is_new, name, _)| (*is_new, *name));
        waiting.truncate(MAX_PENDING_PLANS);
        let asked = first_within(MAX_ASKED, waiting, |(_, name, hold)| self.asked_length(name, hold));
        asked.into_iter().map(|(_, name, _)| name).collect()
    }

    /// What it takes in status to ask about a growth.
    fn asked_length(&self, name: &str, hold: &Hold) -> usize {
        let proposal = self.plan.and_then(|plan| plan.proposals.get(name));
        let plan = proposal.map_or(0, |proposal| length(&pending_plan(name, proposal)));
        plan.saturating_add(length(&self.held_topic(name, Why::Hold(hold), MAX_MESSAGE)))
    }

    /// Growths that a person is asked about.
    pub(super) fn pending_plans(&self) -> Vec<PendingPlan> {
        let proposals = self.plan.into_iter().flat_map(|plan| &plan.proposals);
        let asked = self.asked();
        let mut pending: Vec<PendingPlan> = proposals
            .filter(|(name, _)| asked.contains(name.as_str()))
            .map(|(name, proposal)| pending_plan(name, proposal))
            .collect();
        pending.sort_by(|a, b| a.id.cmp(&b.id));
        pending.dedup_by(|a, b| a.id == b.id);
        pending
    }
}

fn pending_plan(topic: &str, proposal: &Proposal) -> PendingPlan {
    PendingPlan {
        id: proposal.plan_id.clone(),
        summary: format!("{topic} {} -> {} partitions", proposal.from, proposal.to),
    }
}

/// A hold as it is recorded. The id of a plan that nobody is asked about follows the load: it is left out.
pub(super) fn recorded(hold: &Hold, is_asked: bool) -> Value {
    let mut recorded = json!(hold);
    if let Some(members) = recorded.as_object_mut().filter(|_| !is_asked) {
        members.remove("planId");
    }
    recorded
}

/// Bytes of an entry as JSON, with what separates it from the next.
fn length(entry: &impl Serialize) -> usize {
    serde_json::to_string(entry).map_or(usize::MAX, |text| text.len().saturating_add(1))
}

/// The first entries that have room together.
fn first_within<T>(mut room: usize, entries: Vec<T>, length: impl Fn(&T) -> usize) -> Vec<T> {
    let fits = |entry: &T| {
        let left = room.checked_sub(length(entry));
        room = left.unwrap_or(room);
        left.is_some()
    };
    entries.into_iter().take_while(fits).collect()
}

/// Whether two messages differ in nothing but their first number, and little in that.
fn is_about(before: &str, now: &str) -> bool {
    match (first_number(before), first_number(now)) {
        (Some((number, rest)), Some((number_now, rest_now))) => {
            rest == rest_now && Decision::is_near(number, number_now)
        }
        _ => false,
    }
}

/// The first number of a text, and what stands before and after it.
fn first_number(text: &str) -> Option<(i64, (&str, &str))> {
    let begin = text.find(|letter: char| letter.is_ascii_digit())?;
    let (before, rest) = text.split_at(begin);
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    Some((number.parse().ok()?, (before, after)))
}
