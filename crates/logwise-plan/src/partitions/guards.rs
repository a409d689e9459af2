//! What keeps a topic from growing: each guard says so with its numbers.

use super::{About, Hold, KeyedTopics, Size, Topic};
use crate::{Known, selector::TopicSelector};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether records of a topic carry keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keys {
    /// None of those looked at does, or there is none.
    Without,
    /// One of those looked at does.
    With,
}

/// The topics of an older object that watches the same cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Namespace and name.
    pub owner: String,
    /// Its topics.
    pub topics: TopicSelector,
}

/// What the growths decided so far add to the cluster.
#[derive(Default)]
pub(super) struct Spent {
    partitions: i64,
    replicas: i64,
}

impl Spent {
    pub(super) fn add(&mut self, topic: &Topic, to: i32) {
        let new = new_partitions(topic, to);
        self.partitions = self.partitions.saturating_add(new);
        self.replicas = self.replicas.saturating_add(replicas(topic, new));
    }
}

fn new_partitions(topic: &Topic, to: i32) -> i64 {
    i64::from(to) - i64::from(topic.partitions)
}

fn replicas(topic: &Topic, partitions: i64) -> i64 {
    partitions.saturating_mul(i64::from(topic.replication_factor.max(1)))
}

/// A topic belongs to the oldest object that selects it.
pub(super) fn owner(about: &About<'_>, wanted: i32) -> Result<(), Hold> {
    match about.observed.claims.iter().find(|claim| claim.topics.matches(about.name)) {
        Some(claim) => Err(Hold::Claimed { wanted, owner: claim.owner.clone() }),
        None => Ok(()),
    }
}

/// A topic that grew is left alone for a time: its rate has to be seen with the new count. Not so below the floor.
pub(super) fn cooldown(about: &About<'_>, size: &Size) -> Result<(), Hold> {
    if size.is_below_floor(about.topic.partitions) {
        return Ok(());
    }
    let pause = SignedDuration::from_secs(about.policy.scaling.cooldown_seconds.into());
    let until = about.topic.grown.map(|grown| grown.saturating_add(pause).unwrap_or(Timestamp::MAX));
    match until.filter(|until| *until > about.now) {
        Some(until) => Err(Hold::Cooldown { wanted: size.to, until }),
        None => Ok(()),
    }
}

/// Growth sends a key's records to another partition.
pub(super) fn keys(about: &About<'_>, wanted: i32) -> Result<(), Hold> {
    if about.policy.scaling.keyed_topics == KeyedTopics::Allow {
        return Ok(());
    }
    match &about.topic.keys {
        Known::Known(Keys::Without) => Ok(()),
        Known::Known(Keys::With) => Err(Hold::Keyed { wanted }),
        Known::Absent => Err(Hold::KeysUnknown { wanted, why: "the topic was not found".to_owned() }),
        Known::Unknown(why) => Err(Hold::KeysUnknown { wanted, why: why.clone() }),
    }
}

/// What changes by itself: health, head-room of the brokers, the budget of the day.
pub(super) fn capacity(about: &About<'_>, (wanted, to): (i32, i32), spent: &Spent) -> Result<(), Hold> {
    health(about.topic, wanted)?;
    headroom(about, (wanted, to), spent)?;
    budget(about, (wanted, to), spent)
}

/// A negative count is nonsense, and nonsense is not health.
fn health(topic: &Topic, wanted: i32) -> Result<(), Hold> {
    let Topic { leaderless, under_replicated, reassigning, .. } = *topic;
    if (leaderless, under_replicated, reassigning) == (0, 0, 0) {
        return Ok(());
    }
    Err(Hold::Unhealthy { wanted, leaderless, under_replicated, reassigning })
}

/// Brokers that have many replicas start and fail over slowly.
fn headroom(about: &About<'_>, (wanted, to): (i32, i32), spent: &Spent) -> Result<(), Hold> {
    let most = about.policy.scaling.max_replicas_per_broker;
    let held = |per_broker: Option<i64>| Err(Hold::BrokerHeadroom { wanted, per_broker, most });
    let brokers = match about.observed.brokers {
        Known::Known(brokers) if brokers > 0 => i64::from(brokers),
        _ => return held(None),
    };
    let new = replicas(about.topic, new_partitions(about.topic, to));
    let all = about.observed.replicas.max(0).saturating_add(spent.replicas).saturating_add(new);
    let per_broker = all / brokers + i64::from(all % brokers != 0);
    if per_broker > i64::from(most) { held(Some(per_broker)) } else { Ok(()) }
}

/// Growth cannot be undone: whatever goes wrong, a day adds no more than this.
fn budget(about: &About<'_>, (wanted, to): (i32, i32), spent: &Spent) -> Result<(), Hold> {
    let budget = about.policy.scaling.daily_budget;
    let Known::Known(before) = about.observed.spent else {
        return Err(Hold::DailyBudget { wanted, spent: None, budget });
    };
    let so_far = i64::from(before.max(0)).saturating_add(spent.partitions);
    if so_far.saturating_add(new_partitions(about.topic, to)) <= i64::from(budget) {
        return Ok(());
    }
    Err(Hold::DailyBudget { wanted, spent: Some(i32::try_from(so_far).unwrap_or(i32::MAX)), budget })
}
