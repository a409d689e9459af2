//! How many partitions each topic should have. Partitions only ever grow.

mod approve;
mod guards;
mod hold;
mod samples;
mod size;

pub use approve::{Pending, Proposal};
pub use guards::{Claim, Keys};
pub use hold::{Blocked, Hold};
pub use samples::{RateUnknown, Reset, Sample, Window, rate};
pub use size::{Clamp, Size};

use crate::change::{self, ChangePolicy};
use crate::{Known, selector::TopicSelector};
use guards::Spent;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The validated wish for the topics of one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Which topics belong to the pipeline.
    pub topics: TopicSelector,
    /// Partitions every topic should have at least; `None`: no floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_partitions: Option<i32>,
    /// Partitions no topic may pass by our hand.
    pub max_partitions: i32,
    /// Whether growth is carried out.
    pub mode: ScalingMode,
    /// How load becomes partitions, and what bounds growth.
    #[serde(default)]
    pub scaling: Scaling,
    /// What growth waits for. Suspension and mode are looked at where changes are carried out.
    #[serde(default, skip_serializing_if = "ChangePolicy::is_default")]
    pub change: ChangePolicy,
    /// Seconds between two looks.
    pub look_period_seconds: u32,
}

/// Whether partition growth is carried out, only recommended, or not even considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScalingMode {
    /// Grow topics.
    Automatic,
    /// Say what would be grown.
    Recommend,
    /// Only observe.
    Disabled,
}

/// How load becomes partitions, and what bounds growth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scaling {
    /// Records per second that one partition shall carry; `None`: load is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_rate: Option<i64>,
    /// Seconds over which the rate is measured.
    pub window_seconds: u32,
    /// Seconds within which records that are not read yet shall have been read.
    pub catch_up_seconds: u32,
    /// Times the partitions of a topic that one growth may give it, at least 2; the floor may be reached in one.
    pub max_step_factor: i32,
    /// Seconds between two growths of a topic beyond the floor.
    pub cooldown_seconds: u32,
    /// Replicas that brokers may have on average after a growth.
    pub max_replicas_per_broker: i32,
    /// Partitions that may come to the Kafka cluster within 24 hours.
    pub daily_budget: i32,
    /// Whether topics grow whose records carry keys.
    pub keyed_topics: KeyedTopics,
    /// Whether counts beyond the Spark cores are rounded up to a multiple of them.
    pub align_to_cores: bool,
}

impl Policy {
    /// Whether as many looks fit into the window as a rate takes.
    pub fn window_is_long_enough(&self) -> bool {
        samples::fit(self.scaling.window_seconds, self.look_period_seconds)
    }
}

impl Default for Scaling {
    /// Load is not looked at; the bounds are those of the spec's defaults.
    fn default() -> Self {
        Self {
            target_rate: None,
            window_seconds: 600,
            catch_up_seconds: 600,
            max_step_factor: 2,
            cooldown_seconds: 1_800,
            max_replicas_per_broker: 4_000,
            daily_budget: 1_000,
            keyed_topics: KeyedTopics::Hold,
            align_to_cores: false,
        }
    }
}

/// Whether topics grow whose records carry keys: growth sends a key's records to another partition than before, so that
/// their order is lost once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyedTopics {
    /// They do not grow.
    Hold,
    /// They grow.
    Allow,
}

/// What one look at the Kafka cluster found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Id that the Kafka cluster gives itself; plans are named by it.
    #[serde(default = "not_asked", skip_serializing_if = "Known::is_unknown")]
    pub cluster_id: Known<String>,
    /// Growths that were shown to wait for approval at the last look, by topic. They go on being proposed while at least
    /// that much is wanted, so that the id that a person sees does not change under his hands. Approval does not depend
    /// on it: an approved id counts for as long as its growth is wanted, whether anybody remembers having shown it or not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pending: BTreeMap<String, Pending>,
    /// Brokers that are up.
    #[serde(default = "no_brokers", skip_serializing_if = "Known::is_unknown")]
    pub brokers: Known<i32>,
    /// Replicas of all partitions of the cluster, whosever they are.
    #[serde(default)]
    pub replicas: i64,
    /// Partitions that came to the cluster by our hand within the last 24 hours.
    #[serde(default = "nothing_spent")]
    pub spent: Known<i32>,
    /// Cores of the Spark workers.
    #[serde(default = "no_cores", skip_serializing_if = "Known::is_unknown")]
    pub cores: Known<i32>,
    /// Older objects that watch the same cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// All topics of the cluster that the policy selects, by name; unknown when the cluster did not answer.
    pub topics: Known<BTreeMap<String, Topic>>,
}

/// Observed of a cluster that did not tell its id and has no growth pending.
impl From<Known<BTreeMap<String, Topic>>> for Observed {
    fn from(topics: Known<BTreeMap<String, Topic>>) -> Self {
        Self {
            cluster_id: not_asked(),
            pending: BTreeMap::new(),
            brokers: no_brokers(),
            replicas: 0,
            spent: nothing_spent(),
            cores: no_cores(),
            claims: Vec::new(),
            topics,
        }
    }
}

fn not_asked() -> Known<String> {
    Known::Unknown("the cluster's id was not read".to_owned())
}

fn no_brokers() -> Known<i32> {
    Known::Unknown("the brokers were not counted".to_owned())
}

const fn nothing_spent() -> Known<i32> {
    Known::Known(0)
}

fn no_cores() -> Known<i32> {
    Known::Unknown("the Spark cores were not read".to_owned())
}

/// One topic as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Number of partitions.
    pub partitions: i32,
    /// Partitions without a leader.
    #[serde(default)]
    pub leaderless: i32,
    /// Partitions with fewer in-sync replicas than replicas.
    #[serde(default)]
    pub under_replicated: i32,
    /// Partitions that are being moved: they have another number of replicas than the others.
    #[serde(default)]
    pub reassigning: i32,
    /// Replicas of a partition.
    #[serde(default = "one")]
    pub replication_factor: i32,
    /// Sum of the end offsets of all partitions, in records; unknown when any partition could not be read.
    pub end_offsets: Known<i64>,
    /// Samples of the last minutes; shared with who remembers them, because they are most of what is known of a topic.
    #[serde(default, with = "samples::shared")]
    pub window: Arc<Window>,
    /// Records that were not read yet.
    #[serde(default = "no_lag", skip_serializing_if = "Known::is_unknown")]
    pub lag: Known<i64>,
    /// Whether the newest records carry keys.
    #[serde(default = "keys_not_read")]
    pub keys: Known<Keys>,
    /// When it last grew by our hand, as far as remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown: Option<Timestamp>,
    /// Whether brokers have refused its growth a short time ago: others go first, so that it takes nothing from them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refused: bool,
}

impl Topic {
    /// A healthy topic with one replica, of which nothing but these two things was read.
    pub fn new(partitions: i32, end_offsets: Known<i64>) -> Self {
        Self {
            partitions,
            leaderless: 0,
            under_replicated: 0,
            reassigning: 0,
            replication_factor: one(),
            end_offsets,
            window: Arc::default(),
            lag: no_lag(),
            keys: keys_not_read(),
            grown: None,
            refused: false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

const fn one() -> i32 {
    1
}

fn no_lag() -> Known<i64> {
    Known::Unknown("what was read of it is not known".to_owned())
}

fn keys_not_read() -> Known<Keys> {
    Known::Unknown(NOT_SAMPLED.to_owned())
}

/// Why nothing is known about the keys of a topic whose records nobody has looked at yet.
pub const NOT_SAMPLED: &str = "no record was looked at yet";

/// What to do about partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Growths to carry out, by topic name; those that brokers have refused a short time ago come last.
    pub actions: Vec<Grow>,
    /// Topics left alone and why, by topic name.
    pub holds: BTreeMap<String, Hold>,
    /// How the wanted count came about, of topics that grow or should.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<String, Size>,
    /// Growths that a person decides about, approved or not, by topic: those that are shown are to be remembered as
    /// [`Observed::pending`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proposals: BTreeMap<String, Proposal>,
    /// Why nothing at all was decided, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Seconds until the next look is due.
    pub next_look_seconds: u32,
}

/// One growth, with the partition count it assumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grow {
    /// The topic.
    pub topic: String,
    /// Partitions the topic has; the growth is not carried out from any other count.
    pub from: i32,
    /// Partitions the topic shall have.
    pub to: i32,
    /// Id of the topic that was measured, if it is known; another one of the same name does not grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

/// Decides for every selected topic: grow it, or say why not.
pub fn plan(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan {
        actions: Vec::new(),
        holds: BTreeMap::new(),
        sizes: BTreeMap::new(),
        proposals: BTreeMap::new(),
        blocked: None,
        next_look_seconds: policy.look_period_seconds,
    };
    let topics = match &observed.topics {
        Known::Known(topics) => topics,
        Known::Absent => return plan,
        Known::Unknown(why) => {
            plan.blocked = Some(Blocked::Unreadable { why: why.clone() });
            return plan;
        }
    };
    let closed = change::closed(&policy.change.windows, now);
    let next_opening = closed.as_ref().and_then(|closed| closed.next_opening);
    let mut spent = Spent::default();
    let selected =
        |refused| topics.iter().filter(move |(name, topic)| topic.refused == refused && policy.topics.matches(name));
    for (name, topic) in selected(false).chain(selected(true)) {
        let about = About { policy, observed, name, topic, now };
        match decide(&about, &mut plan, &mut spent) {
            Ok(Growth { wanted, .. }) if closed.is_some() => {
                plan.next_look_seconds = change::look_seconds(policy.look_period_seconds, next_opening, now);
                plan.holds.insert(name.clone(), Hold::WaitingForWindow { wanted, next_opening });
            }
            Ok(Growth { to, .. }) => {
                spent.add(topic, to);
                let topic_id = topic.window.topic_id.clone();
                plan.actions.push(Grow { topic: name.clone(), from: topic.partitions, to, topic_id });
            }
            Err(hold) => {
                plan.holds.insert(name.clone(), hold);
            }
        }
    }
    plan
}

/// One topic, and all that decides about it.
#[derive(Clone, Copy)]
struct About<'a> {
    policy: &'a Policy,
    observed: &'a Observed,
    name: &'a str,
    topic: &'a Topic,
    now: Timestamp,
}

/// A growth that nothing but a window may hold back.
struct Growth {
    wanted: i32,
    to: i32,
}

/// The growth of one topic, or why it is left alone. What nobody can change by a word comes before what a person is asked
/// about; health, head-room and budget, which change by themselves, come after.
fn decide(about: &About<'_>, plan: &mut Plan, spent: &mut Spent) -> Result<Growth, Hold> {
    let (policy, topic) = (about.policy, about.topic);
    if let Some(why) = unreadable(topic) {
        return Err(Hold::Unreadable { why });
    }
    if topic.partitions > policy.max_partitions {
        return Err(Hold::AboveMaximum);
    }
    let size = Size::of(about);
    if size.wanted <= topic.partitions {
        let may_grow = policy.mode != ScalingMode::Disabled && topic.partitions < policy.max_partitions;
        return Err(size.rate_unknown.filter(|_| may_grow).map_or(Hold::Sufficient, |why| Hold::RateUnknown { why }));
    }
    let wanted = size.to;
    plan.sizes.insert(about.name.to_owned(), size.clone());
    guards::owner(about, wanted)?;
    if size.to <= topic.partitions {
        return Err(Hold::Maximum { wanted: size.wanted });
    }
    if policy.mode == ScalingMode::Disabled {
        return Err(Hold::Disabled);
    }
    guards::cooldown(about, &size)?;
    if policy.mode == ScalingMode::Recommend {
        // Its records are looked at, and persons asked, only where topics grow.
        guards::capacity(about, (wanted, wanted), spent)?;
        spent.add(topic, wanted);
        return Err(Hold::RecommendOnly { wanted });
    }
    guards::keys(about, wanted)?;
    let to = approve::agreed(about, wanted, &mut plan.proposals)?;
    guards::capacity(about, (wanted, to), spent)?;
    Ok(Growth { wanted, to })
}

/// What of the topic was not read, if anything.
fn unreadable(topic: &Topic) -> Option<String> {
    // Brokers answer without partitions while a topic is being created or deleted; no topic really has none.
    if topic.partitions < 1 {
        return Some(format!("the brokers reported {} partitions", topic.partitions));
    }
    match &topic.end_offsets {
        Known::Known(_) => None,
        Known::Absent => Some("the brokers reported no end offsets".to_owned()),
        Known::Unknown(why) => Some(why.clone()),
    }
}
