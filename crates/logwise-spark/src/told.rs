//! What was done about the workers, and what became of it.

use crate::deployment::DeploymentError;
use crate::master::SparkError;
use logwise_aws::AwsError;
use logwise_plan::workers::{HookStep, Raise, Removal};
use logwise_runtime::{ErrorClass, IntentError, chain};
use std::collections::BTreeMap;
use std::fmt;

/// One change and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub what: What,
    pub outcome: Result<Outcome, Failed>,
}

/// A change of the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// More of them.
    Raise(Raise),
    /// The group protects new instances from scale-in.
    Newcomers,
    /// These instances are protected from scale-in.
    Protect(Vec<String>),
    /// Deletion costs of pods.
    Costs(BTreeMap<String, i32>),
    /// The worker takes nothing new.
    Cordon(Removal),
    /// The member is ended.
    Remove(Removal),
    /// The removal that was written down is given up.
    GiveUp(Removal),
    /// The lifecycle hook that holds an instance back is answered.
    Hook(HookStep),
    /// Whatever was wanted: a record stands in its way.
    Anything,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is as planned.
    Done,
    /// It was so already.
    AlreadySo,
    /// Things are no longer as the plan assumed; nothing was sent.
    Superseded { why: String },
    /// The other side would not do it; nothing has changed.
    Refused { why: String },
    /// It has begun, and goes on with a later look.
    Noted { why: String },
}

impl fmt::Display for Outcome {
    /// Begins with a word by which the decision record tells what changed nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::AlreadySo => f.write_str("AlreadySo"),
            Self::Superseded { why } => write!(f, "Superseded: {why}"),
            Self::Refused { why } => write!(f, "Refused: {why}"),
            Self::Noted { why } => write!(f, "Noted: {why}"),
        }
    }
}

/// Why a change failed, or something could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// At AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// At the Spark master.
    #[error(transparent)]
    Spark(#[from] SparkError),
    /// At Kubernetes.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// It could not be written down, or something stands in its way.
    #[error("nothing was sent: {why}")]
    NotSent { class: ErrorClass, why: String },
}

impl From<IntentError> for Failed {
    fn from(error: IntentError) -> Self {
        Self::NotSent { class: error.class(), why: chain(&error) }
    }
}

impl Failed {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Aws(error) => error.class(),
            Self::Spark(error) => error.class(),
            Self::Deployment(error) => error.class(),
            Self::NotSent { class, .. } => *class,
        }
    }

    /// Whether the change may have been made all the same: only a later look tells.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Aws(error) => error.class() == ErrorClass::Transient && !error.is_unsent(),
            Self::Spark(error) => error.may_have_happened(),
            Self::Deployment(error) => error.may_have_happened(),
            Self::NotSent { .. } => false,
        }
    }
}

impl Told {
    /// For the decision record: what became of it, and of what.
    pub fn words(&self) -> String {
        let what = &self.what;
        match &self.outcome {
            Ok(outcome) => format!("{outcome} ({what})"),
            Err(Failed::NotSent { why, .. }) => format!("NotSent: {why} ({what})"),
            Err(error) => format!("{error} ({what})"),
        }
    }

    /// Whether it took place by our hand.
    pub fn is_done(&self) -> bool {
        matches!(self.outcome, Ok(Outcome::Done))
    }

    /// Sizes before and after, if it is one that changes the number of workers and it took place.
    pub fn resized(&self) -> Option<(i32, i32)> {
        match &self.what {
            _ if !self.is_done() => None,
            What::Raise(Raise { from, to, .. }) | What::Remove(Removal { from, to, .. }) => Some((*from, *to)),
            _ => None,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raise(Raise { pool, from, to }) => write!(f, "raise {pool} from {from} to {to}"),
            Self::Newcomers => f.write_str("protect new instances"),
            Self::Protect(ids) => write!(f, "protect {} instances", ids.len()),
            Self::Costs(costs) => write!(f, "set deletion costs of {} pods", costs.len()),
            Self::Cordon(Removal { id, .. }) => write!(f, "cordon {id}"),
            Self::Remove(Removal { id, .. }) => write!(f, "remove {id}"),
            Self::GiveUp(Removal { id, .. }) => write!(f, "give up removing {id}"),
            Self::Hook(HookStep::Heartbeat(waiting)) => write!(f, "keep {} waiting", waiting.instance),
            Self::Hook(HookStep::Complete(waiting)) => write!(f, "let {} go", waiting.instance),
            Self::Anything => f.write_str("change anything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_runtime::Decision;
    use serde_json::{Value, json};

    fn told(outcome: Result<Outcome, Failed>) -> Told {
        Told { what: What::Raise(Raise { pool: "g".into(), from: 1, to: 3 }), outcome }
    }

    fn has_acted(told: &Told) -> bool {
        let outcome = json!([told.words()]);
        let decision = Decision {
            id: None,
            about: "workers",
            inputs: Value::Null,
            actions: Value::Null,
            holds: Value::Null,
            outcome,
        };
        decision.has_acted()
    }

    #[test]
    fn what_changed_nothing_says_so_in_the_words_of_the_decision_record() {
        let why = || "w".to_owned();
        let idle = [
            Ok(Outcome::AlreadySo),
            Ok(Outcome::Superseded { why: why() }),
            Ok(Outcome::Refused { why: why() }),
            Ok(Outcome::Noted { why: why() }),
            Err(Failed::NotSent { class: ErrorClass::Conflict, why: why() }),
        ];
        for outcome in idle {
            let told = told(outcome);
            assert!(!has_acted(&told) && told.resized().is_none(), "{}", told.words());
        }
        let done = told(Ok(Outcome::Done));
        assert!(has_acted(&done) && done.resized() == Some((1, 3)), "{}", done.words());
        let lost = SparkError::Deadline { address: "m:1".into(), seconds: 5 };
        assert!(has_acted(&told(Err(lost.into()))), "it may have happened");
    }

    #[test]
    fn what_was_not_sent_has_not_happened() {
        let not_sent = Failed::NotSent { class: ErrorClass::Transient, why: String::new() };
        assert!(!not_sent.may_have_happened());
        let standby = SparkError::Standby { address: "m:1".into(), state: "STANDBY".into() };
        assert!(!Failed::from(standby).may_have_happened());
    }
}
