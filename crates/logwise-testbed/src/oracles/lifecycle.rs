//! O3 for rules of others: what became of them, by every read and write of a bucket's lifecycle configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::effects::took_effect;
use crate::stand_in::Call;

const GET: &str = "GetBucketLifecycleConfiguration";
const PUT: &str = "PutBucketLifecycleConfiguration";
const DELETE: &str = "DeleteBucketLifecycle";

/// Rules of others, byte for byte, from `<Rule>` to `</Rule>`.
type Rules = BTreeSet<String>;

/// What became of the rules of others while the operator worked beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Writes of the operator that took effect.
    pub writes: usize,
    /// Rules that a write of the operator took away.
    pub dropped: Rules,
    /// Those of them that an old answer has shown to the operator afterwards, and that its next reading did not.
    pub noticeable: Rules,
    /// Writes of the operator with other rules than its last reading has shown: what it knew of is lost or revived.
    pub careless: Vec<String>,
}

/// The configuration as it was at one moment of the ledger.
#[derive(Default)]
struct Moment {
    now: Rules,
    /// What stale answers show.
    before: Rules,
    /// What the operator has read last.
    read: Rules,
    /// Rules that it took away, with whether an answer has shown them since.
    missing: BTreeMap<String, bool>,
}

impl Trace {
    /// By all calls on a bucket in order; its configuration was `first` before. `is_ours` knows those of the operator.
    pub fn of(first: &str, calls: &[Call], is_ours: impl Fn(&Call) -> bool) -> Trace {
        let (mut trace, first) = (Trace::default(), foreign(first));
        let mut moment = Moment { now: first.clone(), read: first, ..Moment::default() };
        for call in calls {
            match (call.action.as_str(), is_ours(call)) {
                (GET, true) if matches!(call.outcome.status, Some(200 | 404)) => trace.reads(&mut moment, call),
                (PUT | DELETE, ours) if took_effect(call) => {
                    // A deletion has no body.
                    let next = foreign(call.params["body"].as_str().unwrap_or_default());
                    if ours {
                        trace.writes(&mut moment, call, &next);
                    }
                    moment.before = std::mem::replace(&mut moment.now, next);
                }
                _ => {}
            }
        }
        trace
    }

    fn reads(&mut self, moment: &mut Moment, call: &Call) {
        let is_old = call.outcome.fault == Some(json!("stale"));
        let shown = if is_old { &moment.before } else { &moment.now };
        for (rule, seen) in &mut moment.missing {
            if !shown.contains(rule) && *seen {
                self.noticeable.insert(rule.clone());
            }
            *seen = is_old && shown.contains(rule);
        }
        if !is_old {
            // Whoever it belongs to has put it back.
            moment.missing.retain(|rule, _| !shown.contains(rule));
        }
        moment.read.clone_from(shown);
    }

    fn writes(&mut self, moment: &mut Moment, call: &Call, next: &Rules) {
        self.writes += 1;
        if *next != moment.read {
            let (more, fewer) = (next.difference(&moment.read).count(), moment.read.difference(next).count());
            let line = format!("call {} brings {more} and loses {fewer} rules against the last reading", call.seq);
            self.careless.push(line);
        }
        for rule in moment.now.difference(next) {
            self.dropped.insert(rule.clone());
            moment.missing.insert(rule.clone(), false);
        }
    }
}

/// The rules of a document that are not the operator's.
pub fn foreign(document: &str) -> BTreeSet<String> {
    rules(document).filter(|rule| !rule.contains("<ID>logwise.io/")).map(str::to_owned).collect()
}

/// Each rule of a document, byte for byte.
pub fn rules(document: &str) -> impl Iterator<Item = &str> {
    let whole = |from: usize| {
        let rest = document.get(from..)?;
        rest.split_once("</Rule>").map(|(rule, _)| &rest[..rule.len() + "</Rule>".len()])
    };
    document.match_indices("<Rule>").filter_map(move |(from, _)| whole(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn rule(name: &str) -> String {
        format!("<Rule><ID>{name}</ID></Rule>")
    }

    /// Rules of one letter each; `o` is one of the operator's.
    fn document(names: &str) -> String {
        let id = |name: char| if name == 'o' { "logwise.io/a/b/c".to_owned() } else { name.to_string() };
        let rules: String = names.chars().map(|name| rule(&id(name))).collect();
        format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>")
    }

    fn call(seq: usize, word: &str) -> Call {
        let (who, action) = word.split_at(1);
        let (action, rest) = action.split_at(1);
        let (action, params, fault) = match action {
            "r" => (GET, json!({}), Value::Null),
            "s" => (GET, json!({}), json!("stale")),
            "d" => (DELETE, json!({}), Value::Null),
            _ => (PUT, json!({"body": document(rest)}), Value::Null),
        };
        let call = json!({"seq": seq, "time": 0, "service": "s3", "action": action, "resource": "b", "params": params,
            "mutating": action != GET, "caller": who, "outcome": {"status": 200, "code": null, "fault": fault}});
        serde_json::from_value(call).unwrap()
    }

    /// Words such as `owa`: the operator (`o`) or another (`x`) reads (`r`), gets an old answer (`s`), deletes (`d`) or
    /// writes (`w`) these rules.
    fn trace(first: &str, words: &str) -> Trace {
        let calls: Vec<Call> = words.split(' ').enumerate().map(|(seq, word)| call(seq, word)).collect();
        Trace::of(&document(first), &calls, |call| call.caller == "o")
    }

    fn rules_of(names: &str) -> Rules {
        names.chars().map(|name| rule(&name.to_string())).collect()
    }

    #[test]
    fn a_rule_that_came_between_reading_and_writing_was_dropped() {
        let seen = trace("a", "or xwab owao os or");
        assert_eq!((seen.writes, &seen.dropped, &seen.noticeable), (1, &rules_of("b"), &rules_of("b")));
        assert!(seen.careless.is_empty(), "it wrote what it had read: {:?}", seen.careless);
        let unseen = trace("a", "or xwab owao or or");
        assert_eq!((&unseen.dropped, &unseen.noticeable), (&rules_of("b"), &rules_of("")));
        let again = trace("a", "or xwab owao os xwaob or xwao or");
        assert_eq!((&again.dropped, &again.noticeable), (&rules_of("b"), &rules_of("")), "it was put back");
    }

    #[test]
    fn what_the_operator_knew_of_it_neither_loses_nor_brings_back() {
        assert!(trace("ab", "or owabo xwao or owao").careless.is_empty());
        assert_eq!(trace("ab", "or owao").careless, ["call 1 brings 0 and loses 1 rules against the last reading"]);
        let revived = trace("ab", "or owabo xwao or owabo");
        assert_eq!(revived.careless, ["call 4 brings 1 and loses 0 rules against the last reading"]);
        assert_eq!(trace("a", "or od").dropped, rules_of("a"), "a deletion takes all");
        assert_eq!(trace("a", "xw xr xwa").writes, 0, "others may do what they like");
    }

    #[test]
    fn rules_are_found_byte_for_byte() {
        let text = "<L>\n<Rule>\n <ID>a</ID></Rule> <Rule><ID>logwise.io/x</ID></Rule></L>";
        let (theirs, ours) = ("<Rule>\n <ID>a</ID></Rule>", "<Rule><ID>logwise.io/x</ID></Rule>");
        assert_eq!(rules(text).collect::<Vec<_>>(), [theirs, ours]);
        assert_eq!(foreign(text), BTreeSet::from([theirs.to_owned()]));
    }
}
