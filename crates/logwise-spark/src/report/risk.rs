//! `RetentionAtRisk`: whether records that the query has not read come near the end of their topic's retention.

use super::Look;
use crate::nearest::Nearest;
use crate::signals::NOT_YET;
use logwise_api::validate;
use logwise_plan::Known;
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};

/// Shares of the retention, in percent, at which the message changes: each look has another number.
const STEPS: [i64; 4] = [10, 25, 50, SAFE_PERCENT];

/// Share of the retention, in percent, that must be left again before the condition is taken back.
const SAFE_PERCENT: i64 = 55;

impl Look<'_> {
    /// None: the object has no query whose records could be looked at, and no load that is followed.
    pub(super) fn risk(&self) -> Option<Draft> {
        let kind = ConditionType::RetentionAtRisk;
        let follows = self.workers.as_ref().is_some_and(|workers| workers.followed().is_some());
        let has_topics = self.cluster.spec.kafka.as_ref().is_some_and(|kafka| kafka.topics.is_some());
        if !(follows || has_topics && validate::checkpoint(self.cluster).is_some()) {
            return None;
        }
        match (&self.signals.risk, &self.signals.nearest) {
            (Known::Known(_), Some(nearest)) if nearest.is_at_risk() || self.stays_near(nearest) => {
                let next = if follows {
                    "See SparkReady and ScalingLimited; raise `maxReplicas` or the retention of the topic"
                } else {
                    "See SparkReady; let more workers run, or raise the retention of the topic"
                };
                Some(Draft::new(kind, true, Reason::LagNearsRetention, format!("{}. {next}", fact(nearest))))
            }
            (Known::Known(_), _) => Some(Draft::new(kind, false, Reason::SafeMargin, "")),
            (Known::Unknown(why), _) if self.begins && why.contains(NOT_YET) => {
                let begins = || Draft::new(kind, Truth::Unknown, Reason::Pending, "Unread records are being looked at");
                Some(self.before_if(kind, |before| before.truth != Truth::Unknown).unwrap_or_else(begins))
            }
            (Known::Unknown(why), _) => {
                let message = format!("It is not known how old unread records are: {why}. It is tried again");
                Some(Draft::new(kind, Truth::Unknown, Reason::SignalMissing, message))
            }
            (Known::Absent, _) => None,
        }
    }

    /// Whether the condition is True and the topic has not clearly left the half of its retention: one that swings about
    /// it is no news at each look.
    fn stays_near(&self, nearest: &Nearest) -> bool {
        let is_true = |before: &Draft| before.truth == Truth::True;
        nearest.left_percent < SAFE_PERCENT && self.before_if(ConditionType::RetentionAtRisk, is_true).is_some()
    }
}

fn fact(nearest: &Nearest) -> String {
    let topic = &nearest.topic;
    let Some(kept) = nearest.retention_seconds else {
        return format!("Records of topic {topic} are gone that the query had not read");
    };
    let step = STEPS.iter().find(|step| nearest.left_percent < **step).unwrap_or(&SAFE_PERCENT);
    format!("Topic {topic} keeps records for {kept} s, of which less than {step} % are left to one that was not read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_changes_in_steps() {
        let of =
            |retention_seconds, left_percent| fact(&Nearest { topic: "a".into(), retention_seconds, left_percent });
        let lost = of(None, 0);
        let of = |left_percent| of(Some(600), left_percent);
        assert!(of(49) == of(25) && of(24) != of(25) && of(24) == of(10) && of(9) != of(10));
        assert!(of(49).contains("Topic a keeps records for 600 s"));
        assert!(lost.contains("are gone"), "{lost}");
    }
}
