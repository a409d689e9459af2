//! `SignalsFresh`: whether what the number of workers follows is known, and known now.

use super::{Look, Workers};
use crate::signals::NOT_YET;
use logwise_plan::workers::{Autoscaling, ScalingMode, Signal, Sizing};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};

/// What a fact says that was not read for too long.
const OLD: [&str; 2] = ["not read for more than ", "no sample for "];

/// What a rate says that is about to be known.
const FEW: &str = "samples so far";

impl Look<'_> {
    pub(super) fn fresh(&self, workers: &Workers<'_>) -> Option<Draft> {
        let kind = ConditionType::SignalsFresh;
        workers.followed()?;
        if workers.facts.pool.known().is_none() || self.is_warming(workers) {
            let message = "What the number of workers follows is being read for the first time";
            let begins = || Draft::new(kind, Truth::Unknown, Reason::Pending, message);
            // A start of the operator is no news.
            return Some(self.before_if(kind, |before| before.truth == Truth::True).unwrap_or_else(begins));
        }
        let signals = &workers.plan.signals;
        if signals.is_empty() {
            return Some(Draft::new(kind, true, Reason::Fresh, ""));
        }
        let is_old = signals.iter().all(|signal| OLD.iter().any(|old| text(signal).contains(old)));
        let mut missing: Vec<String> = signals.iter().map(said).collect();
        missing.sort_unstable();
        missing.dedup();
        let consequence = match workers.plan.size {
            // The number does not take what is missing.
            Some(_) => "No worker is removed until it is known",
            None => "No worker is removed, and none is added for load, until it is known",
        };
        let message = format!("Not known: {}. {consequence}", missing.join("; "));
        let reason = if is_old { Reason::SignalStale } else { Reason::SignalMissing };
        Some(Draft::new(kind, false, reason, message))
    }

    /// Whether all that is missing was not read yet since the operator began, a short time ago.
    pub(super) fn is_warming(&self, workers: &Workers<'_>) -> bool {
        if !self.begins {
            return false;
        }
        let signals = &workers.plan.signals;
        let is_young = |signal: &Signal| [NOT_YET, FEW].iter().any(|words| text(signal).contains(words));
        !signals.is_empty() && signals.iter().all(is_young)
    }
}

impl Workers<'_> {
    /// How load becomes workers, if it is looked at.
    pub(super) fn followed(&self) -> Option<&Autoscaling> {
        match &self.policy.size {
            Sizing::Load(scaling) if scaling.mode != ScalingMode::Disabled => Some(scaling),
            Sizing::Load(_) | Sizing::Fixed(_) | Sizing::Unmanaged => None,
        }
    }
}

fn text(signal: &Signal) -> &str {
    match signal {
        Signal::Ends(why)
        | Signal::Position(why)
        | Signal::Master(why)
        | Signal::Rate(why)
        | Signal::Retention(why)
        | Signal::Implausible(why) => why,
    }
}

/// A signal with its reason, unless that has numbers which move from look to look.
fn said(signal: &Signal) -> String {
    match signal {
        Signal::Ends(why) | Signal::Position(why) | Signal::Master(why) | Signal::Retention(why) => {
            format!("{signal} ({why})")
        }
        Signal::Implausible(_) => format!("{signal} (what was read cannot be: the decision record has it)"),
        Signal::Rate(why) if why.contains(FEW) => format!("{signal} (too few samples within ten minutes)"),
        Signal::Rate(_) => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::workers::{RateUnknown, Reset};

    #[test]
    fn words_by_which_states_are_told_apart_are_those_of_the_plan() {
        let few = RateUnknown::TooFewSamples { samples: 2, needed: 5 }.to_string();
        let old = RateUnknown::TooOld { age_seconds: 200, most_seconds: 120 }.to_string();
        let reset = RateUnknown::Reset { why: Reset::OffsetsFell }.to_string();
        assert!(few.contains(FEW) && old.contains(OLD[1]), "{few}; {old}");
        assert!(![FEW, OLD[0], OLD[1], NOT_YET].iter().any(|words| reset.contains(words)), "{reset}");
    }

    #[test]
    fn a_reason_that_moves_is_left_out() {
        let rate = |samples| said(&Signal::Rate(format!("{samples} of 5 samples so far")));
        assert_eq!(rate(1), rate(2));
        assert!(said(&Signal::Ends("no broker".into())).contains("no broker"));
    }
}
