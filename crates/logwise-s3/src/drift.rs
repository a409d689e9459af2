//! What others did to rules of ours since the last write: the configuration as it is beside the one that the record of that
//! write tells of.

use crate::document::RawDocument;
use crate::lifecycle::LARGEST;
use crate::rule::ordered;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use logwise_plan::Known;
use logwise_plan::retention::{Meaning, WriteRules, is_owned_by};
use logwise_runtime::intent::{Intent, State};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// Key beside the rules to be written under which a record remembers what earlier writes had left of rules that somebody
/// has changed since and that this write leaves alone.
const LEFT: &str = "left";

/// A rule of ours that is not as it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Its id.
    pub id: String,
    /// As our last write left it; `None`: it was not there.
    left: Option<Rule>,
    /// As it is; `None`: it is gone.
    now: Option<Rule>,
}

/// What a rule does; `None`: something that no rule of ours does.
type Rule = Option<Meaning>;

/// Rules by id. Of several with one id nothing is known.
type Rules = BTreeMap<String, Rule>;

/// Rules of `owners` that are not as `last`, the record of our last write, says that they were left. `None`: nobody can
/// tell, because the configuration could not be read or that write did not end as it was meant to.
pub(crate) fn drifted(last: Option<&Intent>, now: &Known<RawDocument>, owners: &[&str]) -> Option<Vec<Changed>> {
    let now = match now {
        Known::Known(document) => rules(document),
        Known::Absent => Rules::new(),
        Known::Unknown(_) => return None,
    };
    // What was never written is not ours to miss.
    let Some(last) = last else { return Some(Vec::new()) };
    let left = left(last)?;
    let ids: BTreeSet<&String> = left.keys().chain(now.keys()).collect();
    let ours = ids.into_iter().filter(|id| owners.iter().any(|owner| is_owned_by(id, owner)));
    let changed: Vec<Changed> = ours
        .filter(|id| left.get(*id) != now.get(*id))
        .map(|id| Changed { id: id.clone(), left: left.get(id).cloned(), now: now.get(id).cloned() })
        .collect();
    (last.state == State::Done || changed.is_empty()).then_some(changed)
}

/// The targets of a write: its rules, and what it leaves of rules that others have changed.
pub(crate) fn targets(write: &WriteRules, drifted: &[Changed]) -> Value {
    let mut targets = json!(write);
    let stays = |changed: &&Changed| !is_written(write, &changed.id);
    let left: BTreeMap<&str, &Option<Rule>> =
        drifted.iter().filter(stays).map(|changed| (changed.id.as_str(), &changed.left)).collect();
    if !left.is_empty() {
        // A rule that was not there has no list; one that does something else than rules of ours has an empty one.
        let told = |rule: &Option<Rule>| json!(rule.as_ref().map(|meaning| Vec::from_iter(meaning.clone())));
        targets[LEFT] = left.iter().map(|(id, rule)| ((*id).to_owned(), told(rule))).collect();
    }
    targets
}

/// Whether a write puts, or takes away, the rule with this id.
pub(crate) fn is_written(write: &WriteRules, id: &str) -> bool {
    write.remove.contains(id) || write.add.iter().any(|rule| rule.id == id)
}

fn rules(document: &RawDocument) -> Rules {
    let mut rules = Rules::new();
    for (facts, _) in document.rules() {
        let Some(id) = &facts.id else { continue };
        rules.entry(id.clone()).and_modify(|rule| *rule = None).or_insert_with(|| facts.meaning.clone());
    }
    rules
}

/// The rules as the write of this record leaves them; `None`: the record does not tell.
fn left(last: &Intent) -> Option<Rules> {
    let write: WriteRules = serde_json::from_value(last.wish.targets.clone()).ok()?;
    let mut rules = match (&write.assumes, &last.wish.pre_image) {
        (None, _) => Rules::new(),
        (Some(_), Some(packed)) => rules(&unpacked(packed)?),
        (Some(_), None) => return None,
    };
    rules.retain(|id, _| !write.remove.contains(id));
    for rule in write.add {
        let meaning = Meaning { prefix: rule.prefix, settings: ordered(rule.settings) };
        rules.insert(rule.id, Some(meaning));
    }
    for (id, rule) in last.wish.targets.get(LEFT).and_then(Value::as_object).into_iter().flatten() {
        match serde_json::from_value::<Option<Vec<Meaning>>>(rule.clone()).ok()? {
            Some(meaning) => rules.insert(id.clone(), meaning.into_iter().next()),
            None => rules.remove(id),
        };
    }
    Some(rules)
}

fn unpacked(packed: &str) -> Option<RawDocument> {
    let packed = STANDARD.decode(packed).ok()?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).take(LARGEST as u64).read_to_end(&mut bytes).ok()?;
    RawDocument::parse(&bytes, None).ok()
}

impl Changed {
    /// The rule, and what was done to it: before and after.
    pub(crate) fn words(&self) -> String {
        let what = match (&self.left, &self.now) {
            (_, None) => "removed".to_owned(),
            (None, Some(_)) => "added".to_owned(),
            (Some(Some(left)), Some(Some(now))) => difference(left, now),
            (Some(_), Some(_)) => "disabled, or given another form than ours".to_owned(),
        };
        let known = self.left.iter().chain(&self.now).flatten().next();
        let over = known.map_or_else(String::new, |meaning| format!(" ({})", meaning.prefix));
        format!("rule {}{over}: {what}", self.id)
    }
}

fn difference(left: &Meaning, now: &Meaning) -> String {
    let days = |days: Option<i32>| days.map_or_else(|| "never".to_owned(), |days| days.to_string());
    let (from, to) = (&left.settings, &now.settings);
    let mut parts = Vec::new();
    if left.prefix != now.prefix {
        parts.push(format!("now over {}", now.prefix));
    }
    if from.expiration_days != to.expiration_days {
        parts.push(format!("expiration.days {} -> {}", days(from.expiration_days), days(to.expiration_days)));
    }
    if from.noncurrent_days != to.noncurrent_days {
        parts.push(format!("noncurrentDays {} -> {}", days(from.noncurrent_days), days(to.noncurrent_days)));
    }
    if from.abort_multipart_days != to.abort_multipart_days {
        let (from, to) = (days(from.abort_multipart_days), days(to.abort_multipart_days));
        parts.push(format!("daysAfterInitiation {from} -> {to}"));
    }
    if from.transitions != to.transitions {
        parts.push("other transitions".to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use logwise_plan::retention::{self, Settings, rule_id};
    use logwise_runtime::intent::{Owner, Wish, Writer};

    const OWNER: &str = "lab.shop.keep";

    fn rule(service: &str, days: i32) -> retention::Rule {
        let settings = Settings { expiration_days: Some(days), ..Settings::default() };
        let prefix = format!("logs/service_name={service}/");
        retention::Rule { id: rule_id(OWNER, "00000001", service), prefix, settings }
    }

    fn write(add: &[(&str, i32)], remove: &[&str]) -> WriteRules {
        let remove = remove.iter().map(|service| rule_id(OWNER, "00000001", service)).collect();
        WriteRules { assumes: None, remove, add: add.iter().map(|(service, days)| rule(service, *days)).collect() }
    }

    fn document(rules: &[(&str, i32)]) -> Known<RawDocument> {
        let bytes = crate::compose(None, &write(rules, &[])).unwrap();
        bytes.map_or(Known::Absent, |bytes| Known::Known(RawDocument::parse(&bytes, None).unwrap()))
    }

    fn done(targets: Value, before: &Known<RawDocument>) -> Intent {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let mut wish = Wish {
            owner,
            targets,
            pre_image: before.known().and_then(crate::change::pre_image),
            amount: 0,
            parts: Vec::new(),
        };
        wish.targets["assumes"] = before.known().map_or(Value::Null, |before| before.version().into());
        Intent {
            resource: "bucket/b".into(),
            wish,
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state: State::Done,
            send_before: None,
            call_timeout_seconds: 6,
            written: Timestamp::UNIX_EPOCH,
            prepared: None,
            effect: None,
            spent: Vec::new(),
            changed: BTreeMap::new(),
        }
    }

    fn words(last: Option<&Intent>, now: &Known<RawDocument>) -> Option<Vec<String>> {
        let changed = drifted(last, now, &[OWNER])?;
        let short = |changed: &Changed| changed.words().rsplit_once("service_name=").unwrap().1.to_owned();
        Some(changed.iter().map(short).collect())
    }

    #[test]
    fn rules_are_compared_with_what_the_last_write_left() {
        let before = document(&[("stays", 9), ("goes", 9), ("longer", 9)]);
        let last = done(json!(write(&[("longer", 30), ("new", 5)], &["goes", "longer"])), &before);
        let as_left = [("stays", 9), ("longer", 30), ("new", 5)];
        assert_eq!(words(Some(&last), &document(&as_left)), Some(vec![]));
        let changed = words(Some(&last), &document(&[("longer", 3), ("goes", 9), ("new", 5)])).unwrap();
        let mut changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        changed.sort_unstable();
        assert_eq!(changed, ["goes/): added", "longer/): expiration.days 30 -> 3", "stays/): removed"]);
        assert_eq!(words(Some(&last), &Known::Absent).unwrap().len(), 3);
        assert_eq!(words(None, &document(&as_left)), Some(vec![]), "nothing was ever written");
        assert_eq!(drifted(Some(&last), &document(&[]), &["lab.shop.other"]), Some(vec![]), "rules of others");
    }

    #[test]
    fn a_write_that_did_not_end_well_tells_nothing_but_that_all_is_as_it_wanted() {
        let open = |state| Intent { state, ..done(json!(write(&[("a", 5)], &[])), &document(&[])) };
        for state in [State::Prepared, State::Sent, State::Abandoned, State::Superseded] {
            assert_eq!(words(Some(&open(state)), &document(&[("a", 3)])), None);
            assert_eq!(words(Some(&open(state)), &document(&[("a", 5)])), Some(vec![]));
        }
        assert_eq!(words(Some(&open(State::Done)), &Known::Unknown("denied".into())), None);
    }

    #[test]
    fn a_later_write_about_something_else_forgets_no_change() {
        let first = done(json!(write(&[("a", 5), ("b", 5), ("c", 5)], &[])), &document(&[]));
        let now = document(&[("a", 3), ("b", 5), ("d", 1)]);
        let changed = drifted(Some(&first), &now, &[OWNER]).unwrap();
        assert_eq!(changed.len(), 3);
        let next = write(&[("b", 7), ("c", 5)], &["b"]);
        let second = done(targets(&next, &changed), &now);
        let mut told = words(Some(&second), &document(&[("a", 3), ("b", 7), ("c", 5), ("d", 1)])).unwrap();
        told.sort_unstable();
        assert_eq!(told, ["a/): expiration.days 5 -> 3", "d/): added"]);
        assert!(serde_json::from_value::<WriteRules>(second.wish.targets).is_ok(), "the record is read as before");
    }
}
