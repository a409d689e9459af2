//! How many partitions a topic should have, and how that number came about.

use super::{About, RateUnknown, rate};
use crate::Known;
use serde::{Deserialize, Serialize};

/// How the wanted count of one topic came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Records per second that come in, at the 95th percentile; none while load is not looked at, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<i64>,
    /// Why the rate is not known, if it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_unknown: Option<RateUnknown>,
    /// Records per second with which those not read yet are read in time; none while it is not known how many they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up_rate: Option<i64>,
    /// Records per second that one partition shall carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_rate: Option<i64>,
    /// Partitions every topic should have at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<i32>,
    /// Spark cores to a multiple of which the count was rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<i32>,
    /// Partitions the topic should have.
    pub wanted: i32,
    /// What made it less, in the order applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamps: Vec<Clamp>,
    /// Partitions it gets now.
    pub to: i32,
}

/// What made a wanted count less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "clamp")]
pub enum Clamp {
    /// `maxPartitions`.
    Maximum {
        /// The count after it.
        to: i32,
    },
    /// `partitionScaling.maxStepFactor`.
    Step {
        /// The count after it.
        to: i32,
    },
}

impl Size {
    /// The size of a topic that was read completely. What is not known about its load asks for nothing.
    pub(super) fn of(about: &About<'_>) -> Self {
        let (policy, topic) = (about.policy, about.topic);
        let scaling = &policy.scaling;
        let mut size = Self {
            rate: None,
            rate_unknown: None,
            catch_up_rate: None,
            target_rate: scaling.target_rate,
            floor: policy.default_partitions,
            cores: None,
            wanted: policy.default_partitions.unwrap_or(topic.partitions),
            clamps: Vec::new(),
            to: 0,
        };
        if let Some(target) = scaling.target_rate {
            size.load(about, target.max(1));
        }
        size.to = size.wanted;
        if size.to > policy.max_partitions {
            size.to = policy.max_partitions;
            size.clamps.push(Clamp::Maximum { to: size.to });
        }
        // The floor may be reached at once.
        let step = topic.partitions.saturating_mul(scaling.max_step_factor.max(2)).max(size.floor.unwrap_or(0));
        if size.to > step {
            size.to = step;
            size.clamps.push(Clamp::Step { to: size.to });
        }
        size
    }

    fn load(&mut self, about: &About<'_>, target: i64) {
        let scaling = &about.policy.scaling;
        let incoming = match rate(&about.topic.window, scaling, about.policy.look_period_seconds, about.now) {
            Ok(incoming) => incoming,
            Err(why) => {
                self.rate_unknown = Some(why);
                return;
            }
        };
        self.rate = Some(incoming);
        let unread =
            about.topic.lag.known().map(|lag| div_up((*lag).max(0), i64::from(scaling.catch_up_seconds.max(1))));
        self.catch_up_rate = unread.map(|unread| incoming.saturating_add(unread));
        let needed = div_up(self.catch_up_rate.unwrap_or(incoming).max(incoming), target);
        let needed = i32::try_from(needed).unwrap_or(i32::MAX);
        if needed > self.wanted {
            self.wanted = needed;
            self.align(about);
        }
    }

    /// Beyond the cores every round of tasks but the last one is full: the last one becomes so.
    fn align(&mut self, about: &About<'_>) {
        let Known::Known(cores) = about.observed.cores else { return };
        if about.policy.scaling.align_to_cores && cores > 0 && self.wanted > cores {
            self.cores = Some(cores);
            let rounds = div_up(i64::from(self.wanted), i64::from(cores));
            self.wanted = i32::try_from(rounds.saturating_mul(i64::from(cores))).unwrap_or(self.wanted);
        }
    }

    /// Whether the topic has less than the floor, which step and cooldown do not hold back.
    pub(super) fn is_below_floor(&self, partitions: i32) -> bool {
        self.floor.is_some_and(|floor| partitions < floor)
    }
}

/// Rounded up; both not negative.
fn div_up(number: i64, by: i64) -> i64 {
    number / by + i64::from(number % by != 0)
}
