//! The record of what was decided, on its way to the Orchestrator DB.

use crate::Part;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// A decision of one part about one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Policy and observed facts.
    pub inputs: Value,
    /// Actions of the plan; empty array: nothing was done.
    pub actions: Value,
    /// Holds of the plan.
    pub holds: Value,
    /// What became of each action.
    pub outcome: Value,
}

/// A decision with the object and the time it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Equal for the same decision recorded again after a restart.
    pub id: String,
    /// Uid of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// Which part decided.
    pub part: Part,
    /// When.
    pub at: Timestamp,
    /// What.
    pub decision: Decision,
}

/// Lets through decisions that did something or that differ from the last one of the same object and part.
pub struct DecisionLog {
    sink: Box<dyn Fn(Recorded) + Send + Sync>,
    last: Mutex<HashMap<(String, Part), u64>>,
}

impl DecisionLog {
    /// Passes records to `sink`, which must return at once.
    pub fn new(sink: impl Fn(Recorded) + Send + Sync + 'static) -> Self {
        Self { sink: Box::new(sink), last: Mutex::new(HashMap::new()) }
    }

    /// Records `decision` unless it repeats the last one without having done anything.
    pub fn record(&self, object: &crate::ObjectKey, part: Part, decision: Decision, at: Timestamp) {
        let digest = digest(object.generation, &decision);
        // Not the plan's actions: while an object is suspended they are wanted at every look and carried out at none.
        let acted = decision.outcome.as_array().is_some_and(|outcomes| !outcomes.is_empty());
        let key = (object.uid.clone(), part);
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(key, digest);
        if before == Some(digest) && !acted {
            return;
        }
        // The first hold after a start is the one that was recorded before the stop: it gets that record's id.
        let time = if acted || before.is_some() { at.as_millisecond() } else { 0 };
        (self.sink)(Recorded {
            id: format!("{}-{}-{digest:016x}-{time:x}", object.uid, part.label()),
            uid: object.uid.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            generation: object.generation,
            part,
            at,
            decision,
        });
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != uid);
    }
}

/// Over what was decided, not over the facts that change at each look.
fn digest(generation: i64, decision: &Decision) -> u64 {
    let mut hasher = DefaultHasher::new();
    generation.hash(&mut hasher);
    for value in [&decision.actions, &decision.holds, &decision.outcome] {
        value.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn log() -> (DecisionLog, Arc<Mutex<Vec<Recorded>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        (DecisionLog::new(move |r| sink.lock().unwrap().push(r)), seen)
    }

    fn decision(actions: Value, holds: Value) -> Decision {
        let outcome = actions.clone();
        Decision { inputs: json!({"t": 1}), actions, holds, outcome }
    }

    #[test]
    fn an_action_that_is_held_at_the_write_edge_is_recorded_once() {
        let (log, seen) = log();
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        for second in 0..3 {
            let held = Decision { outcome: json!([]), ..decision(json!(["grow"]), json!([])) };
            log.record(&key, Part::Kafka, held, Timestamp::from_second(second).unwrap());
        }
        assert_eq!(seen.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_repeated_hold_is_recorded_once_and_an_action_each_time() {
        let (log, seen) = log();
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        for second in 0..3 {
            log.record(&key, Part::Kafka, decision(json!([]), json!(["x"])), Timestamp::from_second(second).unwrap());
        }
        assert_eq!(seen.lock().unwrap().len(), 1);
        for second in 3..5 {
            log.record(
                &key,
                Part::Kafka,
                decision(json!(["grow"]), json!([])),
                Timestamp::from_second(second).unwrap(),
            );
        }
        assert_eq!(seen.lock().unwrap().len(), 3);
        let ids: std::collections::BTreeSet<_> = seen.lock().unwrap().iter().map(|r| r.id.clone()).collect();
        assert_eq!(ids.len(), 3);
        log.record(&key, Part::Kafka, decision(json!([]), json!(["x"])), Timestamp::from_second(9).unwrap());
        let ids: Vec<String> = seen.lock().unwrap().iter().map(|r| r.id.clone()).collect();
        assert_ne!(ids[3], ids[0], "a hold that comes back is a new record");
    }
}
