//! Services that have lost a rule of ours, by the record of the bucket's last write: they are no newcomers to another policy,
//! however young their objects look. Looks may be of any process, and see an old status; the record is read before each.

use crate::document::RawDocument;
use crate::drift::{is_written, left};
use crate::observe::Look;
use crate::record::Targets;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::{EVERY_SERVICE, owner_of};
use logwise_runtime::intent::Intent;
use std::collections::{BTreeMap, BTreeSet};

/// Entries that a record remembers. Of more, the oldest ones count for every service.
const MOST: usize = 2_000;

/// When what last lost a rule of ours by a write. How that write ended does not count: its request may have arrived late, and
/// a rule that is there tells of itself.
pub(crate) fn bared(last: Option<&Intent>, now: Timestamp) -> BTreeMap<String, Timestamp> {
    let Some(last) = last else { return BTreeMap::new() };
    // The rules may be there until the record is closed.
    let at = if last.state.is_closed() { last.written } else { now };
    let Some(targets) = Targets::of(last) else { return BTreeMap::from([(EVERY_SERVICE.to_owned(), at)]) };
    let mut bared = targets.bared;
    for key in targets.bares {
        note(&mut bared, key, at);
    }
    bared
}

/// Ids of rules of ours that the last write left and that somebody else has taken away since.
pub(crate) fn lost(last: Option<&Intent>, now: &Known<RawDocument>) -> BTreeSet<String> {
    if now.is_unknown() {
        return BTreeSet::new();
    }
    let rules = now.known().into_iter().flat_map(RawDocument::rules);
    let there: BTreeSet<&str> = rules.filter_map(|(facts, _)| facts.id.as_deref()).collect();
    let left = last.and_then(left).unwrap_or_default();
    left.into_keys().filter(|id| owner_of(id).is_some() && !there.contains(id.as_str())).collect()
}

/// What the record of the next write is to know of all that was before it.
pub(crate) fn kept(
    last: Option<&Intent>,
    targets: &Targets,
    look: &Look,
    now: Timestamp,
) -> BTreeMap<String, Timestamp> {
    let mut kept = bared(last, now);
    let come: BTreeSet<&str> = targets.write.add.iter().filter_map(|rule| key_of(&rule.id)).collect();
    for id in lost(last, &look.raw) {
        // The record tells of those that their policies may still put back.
        let is_told = targets.left.contains_key(&id) || is_written(&targets.write, &id);
        if let Some(key) = key_of(&id).filter(|key| !is_told && !come.contains(key)) {
            note(&mut kept, key.to_owned(), now);
        }
    }
    bounded(kept)
}

fn key_of(id: &str) -> Option<&str> {
    id.rsplit_once('/').map(|(_, key)| key)
}

fn note(bared: &mut BTreeMap<String, Timestamp>, key: String, at: Timestamp) {
    let time = bared.entry(key).or_insert(at);
    *time = at.max(*time);
}

fn bounded(mut bared: BTreeMap<String, Timestamp>) -> BTreeMap<String, Timestamp> {
    let Some(too_many) = bared.len().checked_sub(MOST + 1) else { return bared };
    let mut times: Vec<Timestamp> = bared.values().copied().collect();
    times.sort_unstable();
    let Some(newest) = times.get(too_many).copied() else { return bared };
    bared.retain(|_, at| *at > newest);
    note(&mut bared, EVERY_SERVICE.to_owned(), newest);
    bared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::old::void;
    use crate::record::found;
    use crate::record::tests::record;
    use logwise_plan::retention::{Rule, Settings, WriteRules, bares, rule_id, service_prefix};
    use logwise_runtime::intent::State;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn rule(owner: &str, service: &str) -> Rule {
        let settings = Settings { expiration_days: Some(9), ..Settings::default() };
        let (id, prefix) = (rule_id(owner, "00000001", service), service_prefix("logs/", service));
        Rule { id, prefix, settings }
    }

    fn key(service: &str) -> String {
        key_of(&rule("x", service).id).unwrap().to_owned()
    }

    fn look(rules: &[Rule]) -> Look {
        let write = WriteRules { add: rules.to_vec(), ..WriteRules::default() };
        let bytes = crate::compose(None, &write).unwrap();
        let raw = bytes.map_or(Known::Absent, |bytes| Known::Known(RawDocument::parse(&bytes, None).unwrap()));
        Look::of(Known::Known(BTreeSet::new()), raw)
    }

    /// A write over what a look has shown, and its record.
    fn write(last: Option<&Intent>, before: &Look, (remove, add): (&[&Rule], &[Rule]), now: i64) -> Intent {
        let write = WriteRules {
            assumes: before.raw.known().map(|raw| raw.version().to_owned()),
            remove: remove.iter().map(|rule| rule.id.clone()).collect(),
            add: add.to_vec(),
        };
        let targets = Targets { write, ..Targets::default() };
        let bares = bares(before.facts.document.known(), &targets.write);
        let targets = Targets { bared: kept(last, &targets, before, at(now)), bares, ..targets };
        Intent { written: at(now), ..record(State::Done, &targets, before.raw.known()) }
    }

    #[test]
    fn what_lost_a_rule_is_remembered_by_every_later_record() {
        let (api, web) = (rule("a", "api"), rule("a", "web"));
        let first = write(None, &look(&[]), (&[], &[api.clone(), web.clone()]), 1);
        assert_eq!(bared(Some(&first), at(9)), BTreeMap::new());
        let second = write(Some(&first), &look(&[api.clone(), web.clone()]), (&[&api], &[]), 2);
        assert_eq!(bared(Some(&second), at(9)), BTreeMap::from([(key("api"), at(2))]));
        let third = write(Some(&second), &look(std::slice::from_ref(&web)), (&[&web], &[rule("b", "web")]), 3);
        assert_eq!(bared(Some(&third), at(9)), BTreeMap::from([(key("api"), at(2))]), "web has another one");
        let fourth = write(Some(&third), &look(&[rule("b", "web")]), (&[&rule("b", "web")], &[]), 4);
        assert_eq!(bared(Some(&fourth), at(9)), BTreeMap::from([(key("api"), at(2)), (key("web"), at(4))]));
        for state in [State::Prepared, State::Sent] {
            let open = Intent { state, ..fourth.clone() };
            assert_eq!(bared(Some(&open), at(9))[&key("web")], at(9), "perhaps it is there until now");
        }
        for state in [State::Abandoned, State::Superseded] {
            assert_eq!(bared(Some(&Intent { state, ..fourth.clone() }), at(9))[&key("web")], at(4));
        }
        assert!(bared(None, at(9)).is_empty());
        let mut strange = fourth;
        strange.wish.targets = serde_json::json!({"to": 3});
        assert_eq!(bared(Some(&strange), at(9)), BTreeMap::from([(EVERY_SERVICE.to_owned(), at(4))]));
    }

    #[test]
    fn a_rule_that_somebody_else_took_away_is_lost_until_a_write_and_bared_from_then_on() {
        let (mine, other) = (rule("a", "api"), rule("b", "web"));
        let first = write(None, &look(&[]), (&[], &[mine.clone(), other.clone()]), 1);
        assert_eq!(lost(Some(&first), &look(&[mine.clone(), other.clone()]).raw), BTreeSet::new());
        let now = look(std::slice::from_ref(&other));
        assert_eq!(lost(Some(&first), &now.raw), BTreeSet::from([mine.id.clone()]));
        assert!(lost(Some(&first), &Known::Unknown("denied".into())).is_empty() && lost(None, &now.raw).is_empty());
        // Nothing is known of rules of others.
        let theirs = Rule { id: "theirs".into(), ..mine.clone() };
        let beside = write(None, &look(std::slice::from_ref(&theirs)), (&[], std::slice::from_ref(&other)), 1);
        assert!(lost(Some(&beside), &now.raw).is_empty());
        let next = write(Some(&first), &now, (&[&other], &[rule("b", "more")]), 5);
        assert_eq!(bared(Some(&next), at(9)), BTreeMap::from([(key("api"), at(5)), (key("web"), at(5))]));
        let taken_over = write(Some(&first), &now, (&[], &[rule("b", "api")]), 5);
        assert_eq!(bared(Some(&taken_over), at(9)), BTreeMap::new());
        // One that its policy may still put back goes on being lost.
        let told = Targets { left: [(mine.id.clone(), Some(Vec::new()))].into(), ..Targets::default() };
        assert_eq!(kept(Some(&first), &told, &now, at(5)), BTreeMap::new());
        let record = Intent { written: at(5), ..record(State::Done, &told, None) };
        assert_eq!(lost(Some(&record), &now.raw), BTreeSet::from([mine.id]));
    }

    #[test]
    fn what_an_abandoned_write_would_have_brought_was_never_there() {
        let (api, web) = (rule("a", "api"), rule("a", "web"));
        let there = look(std::slice::from_ref(&api));
        let write = write(None, &there, (&[], std::slice::from_ref(&web)), 1);
        let refused = Intent { state: State::Abandoned, ..write.clone() };
        assert_eq!(lost(Some(&refused), &there.raw), BTreeSet::new());
        assert_eq!(lost(Some(&refused), &Known::Absent), BTreeSet::from([api.id.clone()]), "that one was there");
        for state in [State::Sent, State::Done, State::Superseded] {
            let other = Intent { state, ..write.clone() };
            assert_eq!(lost(Some(&other), &there.raw), BTreeSet::from([web.id.clone()]), "{state:?}");
        }
        let next = self::write(Some(&refused), &there, (&[], &[rule("b", "more")]), 5);
        assert_eq!(bared(Some(&next), at(9)), BTreeMap::new(), "its next policy may find it new");
        // A repair that was refused: the rule was there before somebody took it away.
        let repair = WriteRules { add: vec![api.clone()], ..WriteRules::default() };
        let repairs = [(api.id.clone(), Some(Vec::new()))].into();
        let repair = Targets { write: repair, repairs, ..Targets::default() };
        let repair = record(State::Abandoned, &repair, None);
        assert_eq!(lost(Some(&repair), &Known::Absent), BTreeSet::from([api.id]));
    }

    #[test]
    fn what_an_abandoned_write_found_there_is_lost_when_it_goes() {
        let web = rule("a", "web");
        let write = write(None, &look(&[]), (&[], std::slice::from_ref(&web)), 1);
        for send_before in [None, Some(at(7))] {
            let ended = |effect| Intent { state: State::Abandoned, send_before, effect, ..write.clone() };
            assert_eq!(lost(Some(&ended(Some(found()))), &Known::Absent), BTreeSet::from([web.id.clone()]));
            assert_eq!(lost(Some(&ended(Some(found()))), &look(std::slice::from_ref(&web)).raw), BTreeSet::new());
            assert_eq!(lost(Some(&ended(void().effect)), &Known::Absent), BTreeSet::new(), "it was never there");
        }
    }

    #[test]
    fn of_many_the_oldest_count_for_every_service() {
        let many = |count: i64| (0..count).map(|number| (format!("{number:016x}"), at(number))).collect();
        assert_eq!(bounded(many(2_000)), many(2_000));
        let kept = bounded(many(2_003));
        assert_eq!((kept.len(), kept[EVERY_SERVICE]), (2_001, at(2)));
        assert_eq!(kept[&format!("{:016x}", 3)], at(3));
        assert_eq!(bounded(kept.clone()), kept);
        let hash = |number: u64| format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let full = (0..2_000).zip(0..).map(|(number, second)| (hash(number), at(second))).collect();
        let record = record(State::Done, &Targets { bared: full, ..Targets::default() }, None);
        let size = serde_json::to_string(&record).unwrap().len();
        assert!(size < 100_000, "{size} bytes of 1 MiB");
        let same: BTreeMap<String, Timestamp> = many(2_010).into_keys().map(|key: String| (key, at(7))).collect();
        assert_eq!(bounded(same), BTreeMap::from([(EVERY_SERVICE.to_owned(), at(7))]));
    }
}
