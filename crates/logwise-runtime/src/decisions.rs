//! The record of what was decided, on its way to the Orchestrator DB.

use crate::Part;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// A decision of one part about one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What tells it from all others of its object and part, if it is one that may have to be recorded again.
    pub id: Option<String>,
    /// What it is about, where a part decides about several things of one object; else empty.
    pub about: &'static str,
    /// Policy and observed facts.
    pub inputs: Value,
    /// Actions of the plan; empty array: nothing was done.
    pub actions: Value,
    /// Holds of the plan.
    pub holds: Value,
    /// What became of each action.
    pub outcome: Value,
}

/// What begins the outcomes of actions that changed nothing.
const IDLE: [&str; 5] = ["AlreadySo", "NotSent", "Noted", "Refused", "Superseded"];

impl Decision {
    /// Whether something was changed, or may have been.
    pub fn has_acted(&self) -> bool {
        let is_idle =
            |outcome: &Value| outcome.as_str().is_some_and(|text| IDLE.iter().any(|idle| text.starts_with(idle)));
        self.outcome.as_array().is_some_and(|outcomes| !outcomes.iter().all(is_idle))
    }

    /// Whether a number that follows the load is about what it was: within a fifth.
    pub fn is_near(before: i64, now: i64) -> bool {
        before.abs_diff(now).saturating_mul(5) <= before.max(0).unsigned_abs()
    }
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

/// Lets through decisions that did something or that differ from the last one of the same object, part and thing.
pub struct DecisionLog {
    sink: Box<dyn Fn(Recorded) + Send + Sync>,
    /// The last records of each object, part and thing that the part decides about.
    last: Mutex<HashMap<(String, Part, &'static str), Newest>>,
}

/// The last records about one thing, the newest one last.
type Newest = VecDeque<(Timestamp, Gist)>;

/// Records that a decision is compared with, and for how long, where a load swings: it would make a record of each
/// swing otherwise.
const SWINGS: (usize, SignedDuration) = (4, SignedDuration::from_hours(1));

/// What a decision is about that follows a load which swings, and why nothing is done then.
const SWINGING: (&str, [&str; 4]) = ("workers", ["withinRange", "stabilizing", "policy", "belowTarget"]);

impl DecisionLog {
    /// Passes records to `sink`, which must return at once.
    pub fn new(sink: impl Fn(Recorded) + Send + Sync + 'static) -> Self {
        Self { sink: Box::new(sink), last: Mutex::new(HashMap::new()) }
    }

    /// Records `decision` unless it repeats the last recorded one without having done anything. Numbers that follow the
    /// load repeat it while they are near: there would be a record of each look otherwise. What a swinging load brings
    /// back within the hour, with nothing done and nothing else decided meanwhile, repeats an earlier one.
    pub fn record(&self, object: &crate::ObjectKey, part: Part, decision: Decision, at: Timestamp) {
        let gist = Gist::of(object.generation, part, &decision);
        // Not the plan's actions: while an object is suspended they are wanted at every look and carried out at none.
        let acted = decision.has_acted();
        let key = (object.uid.clone(), part, decision.about);
        let before = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if !acted && last.get(&key).is_some_and(|before| is_repeated(before, (&gist, at))) {
                return;
            }
            // One that is recorded again after a start says nothing about what was decided last.
            let had_before = last.contains_key(&key);
            if decision.id.is_none() || had_before {
                let records = last.entry(key).or_default();
                if acted {
                    records.clear();
                }
                records.push_back((at, gist));
                if records.len() > SWINGS.0 {
                    records.pop_front();
                }
            }
            had_before
        };
        // The first hold after a start is the one that was recorded before the stop: it gets that record's id.
        let time = if acted || before { at.as_millisecond() } else { 0 };
        let named = || {
            let digest = digest(object.generation, [&decision.actions, &decision.holds, &decision.outcome]);
            format!("{digest:016x}-{time:x}")
        };
        let name = decision.id.clone().unwrap_or_else(named);
        let about = if decision.about.is_empty() { String::new() } else { format!("-{}", decision.about) };
        (self.sink)(Recorded {
            id: format!("{}-{}{about}-{name}", object.uid, part.label()),
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
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _, _), _| of != uid);
    }
}

/// Whether the last record says the same; or, where a load swings, one before it.
fn is_repeated(records: &Newest, (now, at): (&Gist, Timestamp)) -> bool {
    if records.back().is_some_and(|(_, last)| last.is_about(now)) {
        return true;
    }
    let swings = |then: &Timestamp, before: &Gist| before.swings && at.duration_since(*then).abs() < SWINGS.1;
    let mut swinging = records.iter().rev().take_while(|(then, before)| swings(then, before));
    now.swings && swinging.any(|(_, before)| before.is_about(now))
}

/// What tells one decision from another: what was decided, not the facts that change at each look.
#[derive(Debug)]
struct Gist {
    digest: u64,
    /// Numbers that follow the load, taken out of what the digest is made of.
    figures: Vec<i64>,
    /// Whether a load that swings may bring it back.
    swings: bool,
}

impl Gist {
    fn of(generation: i64, part: Part, decision: &Decision) -> Self {
        let (mut actions, mut holds, mut figures) = (decision.actions.clone(), decision.holds.clone(), Vec::new());
        for value in [&mut actions, &mut holds] {
            leave_out(value, that_move(part));
            take_figures(value, that_follow_load(part), &mut figures);
        }
        let (about, reasons) = SWINGING;
        let is_one = |hold: &Value| hold["reason"].as_str().is_some_and(|reason| reasons.contains(&reason));
        let is_idle = decision.outcome.as_array().is_some_and(Vec::is_empty);
        let is_held = holds.as_array().is_some_and(|holds| !holds.is_empty() && holds.iter().all(is_one));
        let swings = decision.about == about && is_idle && is_held;
        Self { digest: digest(generation, [&actions, &holds, &decision.outcome]), figures, swings }
    }

    fn is_about(&self, now: &Self) -> bool {
        let mut figures = self.figures.iter().zip(&now.figures);
        let same = self.digest == now.digest && self.figures.len() == now.figures.len();
        same && figures.all(|(before, now)| Decision::is_near(*before, *now))
    }
}

/// Members of actions and holds whose numbers follow the load: partitions and workers that are wanted, and what comes of
/// them or led to them.
const fn that_follow_load(part: Part) -> &'static [&'static str] {
    match part {
        Part::Kafka => &["perBroker", "to", "wanted"],
        Part::Spark => &[
            "wanted",
            "backlog",
            "incoming",
            "perCore",
            "unread",
            "ageSeconds",
            "drainSeconds",
            "cores",
            "busyCores",
            "leftSeconds",
            "floor",
            "tasks",
        ],
        Part::Storage | Part::Retention | Part::Mirror | Part::Summary => &[],
    }
}

/// Members of holds that move although the decision is the same: times until which something is waited for, and numbers
/// that are counted from look to look.
const fn that_move(part: Part) -> &'static [&'static str] {
    match part {
        Part::Spark => &["until", "batch", "left", "needed", "spent"],
        Part::Kafka | Part::Storage | Part::Retention | Part::Mirror | Part::Summary => &[],
    }
}

/// Empties the members with these names.
fn leave_out(value: &mut Value, names: &[&str]) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| leave_out(value, names)),
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| {
            if names.contains(&name.as_str()) { *value = Value::Null } else { leave_out(value, names) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Moves the numbers with these names out of `value`.
fn take_figures(value: &mut Value, names: &[&str], figures: &mut Vec<i64>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| take_figures(value, names, figures)),
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_i64().filter(|_| names.contains(&name.as_str())) {
                    Some(figure) => {
                        figures.push(figure);
                        *value = Value::Null;
                    }
                    None => take_figures(value, names, figures),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn digest(generation: i64, of: [&Value; 3]) -> u64 {
    let mut hasher = DefaultHasher::new();
    generation.hash(&mut hasher);
    of.iter().for_each(|value| value.to_string().hash(&mut hasher));
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
        Decision { id: None, about: "", inputs: json!({"t": 1}), actions, holds, outcome }
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
    fn a_decision_with_a_name_of_its_own_is_the_same_record_whenever_it_is_told() {
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        let named = || Decision { id: Some("x-1".into()), ..decision(json!(["grow"]), json!([])) };
        let ids = [1, 2].map(|second| {
            let (log, seen) = log();
            log.record(&key, Part::Kafka, named(), Timestamp::from_second(second).unwrap());
            let seen = seen.lock().unwrap();
            seen[0].id.clone()
        });
        assert_eq!(ids, ["u-kafka-x-1", "u-kafka-x-1"]);
    }

    #[test]
    fn numbers_that_follow_the_load_make_a_record_when_they_changed_clearly() {
        let record = |part: Part, wanted: &[i64]| {
            let (log, seen) = log();
            let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
            for (second, wanted) in (0..).zip(wanted) {
                let holds = json!({"topics": {"logs": {"reason": "maximum", "wanted": wanted}}});
                let held = Decision { inputs: json!({"rate": wanted}), ..decision(json!([]), holds) };
                log.record(&key, part, held, Timestamp::from_second(second).unwrap());
            }
            let seen = seen.lock().unwrap();
            seen.iter().map(|one| one.decision.inputs["rate"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(record(Part::Kafka, &[100, 101, 99, 118, 100]), [100]);
        // Against the last record, not the last look: what creeps is recorded too.
        assert_eq!(record(Part::Kafka, &[100, 110, 120, 121, 130, 146, 121]), [100, 121, 146]);
        assert_eq!(record(Part::Spark, &[10, 11, 11, 13]), [10, 13]);
        assert_eq!(record(Part::Storage, &[10, 11, 11]), [10, 11], "of other parts each number counts");
    }

    #[test]
    fn a_load_that_swings_makes_no_record_of_each_swing() {
        let record = |about: &'static str, looks: &[(i64, Value)]| {
            let (log, seen) = log();
            let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
            for (second, holds) in looks {
                let held = Decision { about, ..decision(json!([]), holds.clone()) };
                log.record(&key, Part::Spark, held, Timestamp::from_second(*second).unwrap());
            }
            seen.lock().unwrap().len()
        };
        let within = || json!([{"reason": "withinRange"}]);
        let waits = |until: i64| json!([{"reason": "stabilizing", "until": format!("2026-12-01T12:00:{until:02}Z")}]);
        let swings: Vec<(i64, Value)> =
            (0..20).map(|look| (look * 30, if look % 2 == 0 { within() } else { waits(look) })).collect();
        assert_eq!((record("workers", &swings), record("driver", &swings)), (2, 20));
        let later = [(0, within()), (30, waits(1)), (60, within()), (30 + 3_600, waits(2))];
        assert_eq!(record("workers", &later[..3]), 2);
        assert_eq!(record("workers", &[(0, within()), (30, waits(1)), (3_700, within())]), 3, "an hour later");
        let below = |needed: i32| json!([{"reason": "belowTarget", "left": needed - 1, "needed": needed}]);
        assert_eq!(record("workers", &[(0, below(4)), (30, below(9)), (60, below(2))]), 1);
        assert_eq!(record("workers", &later), 2, "what stands last is no news");
        let unread = || json!([{"reason": "unreadable", "what": "Spark master"}]);
        let outage = [(0, within()), (30, unread()), (60, within()), (90, unread()), (120, waits(3)), (150, within())];
        assert_eq!(record("workers", &outage), 6, "the newest one says what is so");
    }

    #[test]
    fn what_was_done_makes_the_hold_after_it_a_new_record() {
        let (log, seen) = log();
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        for (second, actions) in [json!([]), json!(["raise"]), json!([])].into_iter().enumerate() {
            let at = Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
            log.record(&key, Part::Spark, decision(actions, json!(["x"])), at);
        }
        assert_eq!(seen.lock().unwrap().len(), 3);
    }

    #[test]
    fn growths_that_are_not_carried_out_are_recorded_when_they_changed_clearly() {
        let (log, seen) = log();
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        for (second, (from, to)) in (0..).zip([(10, 50), (10, 52), (10, 48), (11, 48), (11, 60)]) {
            let actions = json!([{"topic": "logs", "from": from, "to": to}]);
            let held = Decision { outcome: json!([]), ..decision(actions, json!({})) };
            log.record(&key, Part::Kafka, held, Timestamp::from_second(second).unwrap());
        }
        let seen = seen.lock().unwrap();
        let to = |one: &Recorded| one.decision.actions[0]["to"].as_i64().unwrap();
        let recorded: Vec<i64> = seen.iter().map(to).collect();
        assert_eq!(recorded, [50, 48, 60], "of what the topic has each number counts");
        let ids: std::collections::BTreeSet<&str> = seen.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn near_is_within_a_fifth() {
        let near = [(100, 120), (100, 80), (5, 6), (i64::MAX, i64::MAX)];
        assert!(near.iter().all(|(before, now)| Decision::is_near(*before, *now)));
        let far = [(100, 121), (100, 79), (4, 5), (0, 1), (-5, -6), (i64::MIN, i64::MAX)];
        assert!(!far.iter().any(|(before, now)| Decision::is_near(*before, *now)));
    }

    #[test]
    fn decisions_about_different_things_do_not_take_each_others_place() {
        let (log, seen) = log();
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        for second in 0..3 {
            for about in ["workers", "driver"] {
                let held = Decision { about, ..decision(json!([]), json!(["x"])) };
                log.record(&key, Part::Spark, held, Timestamp::from_second(second).unwrap());
            }
        }
        let ids: Vec<String> = seen.lock().unwrap().iter().map(|one| one.id.clone()).collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert!(ids[0].starts_with("u-spark-workers-") && ids[1].starts_with("u-spark-driver-"), "{ids:?}");
        log.forget("u");
        assert!(log.last.lock().unwrap().is_empty());
    }

    #[test]
    fn an_action_that_is_refused_again_and_again_is_recorded_once() {
        let (log, seen) = log();
        let key = crate::ObjectKey { uid: "u".into(), namespace: "n".into(), name: "a".into(), generation: 1 };
        for second in 0..3 {
            let refused =
                Decision { outcome: json!(["Refused { why: \"policy\" }"]), ..decision(json!(["grow"]), json!([])) };
            log.record(&key, Part::Kafka, refused, Timestamp::from_second(second).unwrap());
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
