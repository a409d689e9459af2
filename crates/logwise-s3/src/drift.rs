//! What others did to rules of ours since the last write: the configuration as it is beside the one that the record of that
//! write tells of.

use crate::apply::meaning;
use crate::document::RawDocument;
use crate::old::{Old, is_void};
use crate::record::{Left, Targets, is_found};
use crate::undo::{acts_on_more, is_unsure, was_whole};
use crate::verify::{Reading, reading};
use crate::watch::stale;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::{Meaning, WriteRules, owner_of};
use logwise_runtime::intent::{Intent, State};
use std::collections::{BTreeMap, BTreeSet};

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
/// tell, because the configuration could not be read, or what S3 shows `at` this time is an old one, or that write is open
/// or was not kept as it was sent.
pub(crate) fn drifted(
    (last, at): (Option<&Intent>, Timestamp),
    now: &Known<RawDocument>,
    owners: &[&str],
) -> Option<Vec<Changed>> {
    if now.is_unknown() {
        return None;
    }
    // What was never written is not ours to miss.
    let Some(last) = last else { return Some(Vec::new()) };
    let document = now.known();
    if last.state.is_closed() && Old::of(Some(last), at).shows(document, true) {
        return None;
    }
    let left = Expected::of(last)?;
    let now = document.map_or_else(Rules::new, rules);
    let ids: BTreeSet<&String> = left.rules.keys().chain(now.keys()).collect();
    let owners: BTreeSet<&str> = owners.iter().copied().collect();
    let ours = ids.into_iter().filter(|id| owner_of(id).is_some_and(|owner| owners.contains(owner)));
    let changed: Vec<Changed> = ours
        .filter(|id| !left.holds(id, now.get(*id)))
        .map(|id| Changed { id: id.clone(), left: left.rules.get(id).cloned(), now: now.get(id).cloned() })
        .collect();
    (changed.is_empty() || tells((last, at), document)).then_some(changed)
}

/// Whether what differs from what the last write has left is the work of others.
fn tells((last, at): (&Intent, Timestamp), now: Option<&RawDocument>) -> bool {
    match last.state {
        State::Done | State::Abandoned => true,
        State::Superseded => was_whole(last) || !is_lessened((last, at), now),
        State::Prepared | State::Sent => false,
    }
}

/// Whether the server has kept less of the write of this record.
fn is_lessened((last, at): (&Intent, Timestamp), now: Option<&RawDocument>) -> bool {
    let is_unsure = is_unsure(last, at);
    let known = Targets::of(last).and_then(|targets| Some((targets.before(last)?, targets.write)));
    known.is_none_or(|(before, write)| {
        let over = (before.as_ref(), &write);
        let is_less = match reading(over, now) {
            // Who makes a rule of ours wider long after the write is not the server.
            Reading::Less(less) => is_unsure || !less.is_wider(),
            Reading::Old | Reading::Ours { .. } | Reading::Other { .. } => false,
        };
        is_less || is_unsure && acts_on_more(over, now, |id| owner_of(id).is_some())
    })
}

/// What earlier writes had left of rules that others have changed since and that `write` leaves alone.
pub(crate) fn left_alone(write: &WriteRules, drifted: &[Changed]) -> Left {
    as_left(drifted.iter().filter(|changed| !is_written(write, &changed.id)))
}

/// The same of rules that `write` puts right.
pub(crate) fn put_right(write: &WriteRules, drifted: &[Changed]) -> Left {
    as_left(drifted.iter().filter(|changed| is_written(write, &changed.id)))
}

fn as_left<'a>(changed: impl Iterator<Item = &'a Changed>) -> Left {
    let told = |rule: &Option<Rule>| rule.as_ref().map(|meaning| Vec::from_iter(meaning.clone()));
    changed.map(|changed| (changed.id.clone(), told(&changed.left))).collect()
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

/// The rules as the write of this record leaves them; `None`: the record does not tell. What a write would have brought
/// that has had no effect was never there.
pub(crate) fn left(last: &Intent) -> Option<Rules> {
    let (before, mut after) = before_and_after(last)?;
    if is_void(last) && !is_found(last) {
        after.retain(|id, _| before.contains_key(id));
    }
    Some(after)
}

/// The rules as they were left before the write of this record, and as that leaves them.
fn before_and_after(last: &Intent) -> Option<(Rules, Rules)> {
    let targets = Targets::of(last)?;
    let mut before = targets.before(last)?.as_ref().map_or_else(Rules::new, rules);
    let mut after = before.clone();
    after.retain(|id, _| !targets.write.remove.contains(id));
    after.extend(targets.write.add.iter().map(|rule| (rule.id.clone(), Some(meaning(rule)))));
    put_back(&mut after, &targets.left);
    put_back(&mut before, &targets.left);
    put_back(&mut before, &targets.repairs);
    Some((before, after))
}

/// The rules as a record says that they were left.
struct Expected {
    rules: Rules,
    /// The same if the other is the case: that the write has, or has not, taken effect.
    or: Option<Rules>,
}

impl Expected {
    /// `None`: the record does not tell.
    fn of(last: &Intent) -> Option<Self> {
        let (before, after) = before_and_after(last)?;
        Some(match last.state {
            State::Done | State::Prepared | State::Sent => Self { rules: after, or: None },
            // S3 has shown it, whoever made it so.
            State::Abandoned if is_found(last) => Self { rules: after, or: None },
            // It may come late.
            State::Abandoned => Self { rules: before, or: Some(after) },
            // Nobody knows what others have found there.
            State::Superseded => Self { rules: after, or: Some(before) },
        })
    }

    fn holds(&self, id: &str, now: Option<&Rule>) -> bool {
        self.rules.get(id) == now || self.or.as_ref().is_some_and(|or| or.get(id) == now)
    }
}

/// Makes rules what earlier writes had left of them.
fn put_back(rules: &mut Rules, left: &Left) {
    for (id, rule) in left {
        match rule {
            Some(meaning) => rules.insert(id.clone(), meaning.first().cloned()),
            None => rules.remove(id),
        };
    }
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
        // Several services share a rule whose prefix does not end with that of one.
        let over = known.map_or_else(String::new, |meaning| {
            let all = if meaning.prefix.ends_with('/') { "" } else { "*" };
            format!(" ({}{all})", meaning.prefix)
        });
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

/// Ids of rules that may be there although S3 does not show them; `None`: any. So soon after a write an answer may be older
/// than anything that its record remembers. One that did not end well has perhaps left the rules as they were before it.
pub(crate) fn perhaps_there(last: Option<&Intent>, now: Timestamp) -> Option<BTreeSet<String>> {
    let is_young = |last: &&Intent| now.duration_since(last.written).unsigned_abs() < stale();
    let Some(last) = last.filter(is_young) else { return Some(BTreeSet::new()) };
    let (before, _) = before_and_after(last)?;
    let before = before.into_keys().filter(|_| last.state != State::Done);
    Some(left(last)?.into_keys().chain(before).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::old::void;
    use crate::record::found;
    use crate::record::tests::record;
    use logwise_plan::retention::{self, Settings, rule_id};

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

    fn done(write: WriteRules, left: Left, before: &Known<RawDocument>) -> Intent {
        let before = before.known();
        let write = WriteRules { assumes: before.map(|before| before.version().to_owned()), ..write };
        record(State::Done, &Targets { write, left, ..Targets::default() }, before)
    }

    /// When nothing that was written at 0 s is an old answer any more.
    fn later() -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1)
    }

    fn words(last: Option<&Intent>, now: &Known<RawDocument>) -> Option<Vec<String>> {
        let changed = drifted((last, later()), now, &[OWNER])?;
        let short = |changed: &Changed| changed.words().rsplit_once("service_name=").unwrap().1.to_owned();
        Some(changed.iter().map(short).collect())
    }

    #[test]
    fn rules_are_compared_with_what_the_last_write_left() {
        let before = document(&[("stays", 9), ("goes", 9), ("longer", 9)]);
        let last = done(write(&[("longer", 30), ("new", 5)], &["goes", "longer"]), Left::new(), &before);
        let as_left = [("stays", 9), ("longer", 30), ("new", 5)];
        assert_eq!(words(Some(&last), &document(&as_left)), Some(vec![]));
        let changed = words(Some(&last), &document(&[("longer", 3), ("goes", 9), ("new", 5)])).unwrap();
        let mut changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        changed.sort_unstable();
        assert_eq!(changed, ["goes/): added", "longer/): expiration.days 30 -> 3", "stays/): removed"]);
        assert_eq!(words(Some(&last), &Known::Absent).unwrap().len(), 3);
        assert_eq!(words(None, &document(&as_left)), Some(vec![]), "nothing was ever written");
        let others = drifted((Some(&last), later()), &document(&[]), &["lab.shop.other"]);
        assert_eq!(others, Some(vec![]), "rules of others");
    }

    #[test]
    fn a_write_that_is_open_tells_nothing_but_that_all_is_as_it_wanted() {
        let open = |state| Intent { state, ..done(write(&[("a", 5)], &[]), Left::new(), &document(&[])) };
        for state in [State::Prepared, State::Sent] {
            assert_eq!(words(Some(&open(state)), &document(&[("a", 3)])), None);
            assert_eq!(words(Some(&open(state)), &document(&[("a", 5)])), Some(vec![]));
        }
        assert_eq!(words(Some(&open(State::Done)), &Known::Unknown("denied".into())), None);
    }

    #[test]
    fn an_old_answer_tells_nothing() {
        let before = document(&[("a", 30)]);
        let last = done(write(&[("a", 365)], &["a"]), Left::new(), &before);
        let at = |second| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second);
        assert_eq!(drifted((Some(&last), at(20)), &before, &[OWNER]), None);
        assert_eq!(drifted((Some(&last), at(20)), &document(&[("a", 7)]), &[OWNER]).unwrap().len(), 1);
        assert_eq!(drifted((Some(&last), at(180)), &before, &[OWNER]).unwrap().len(), 1, "somebody has put it back");
    }

    #[test]
    fn after_a_write_that_did_not_end_well_a_rule_is_as_it_was_before_or_as_it_was_wanted() {
        let before = document(&[("a", 30), ("b", 9)]);
        let ended = |state| Intent { state, ..done(write(&[("a", 60)], &["a"]), Left::new(), &before) };
        for (state, told) in [(State::Abandoned, "30 -> 5"), (State::Superseded, "60 -> 5")] {
            let last = ended(state);
            assert_eq!(words(Some(&last), &before), Some(vec![]), "{state:?}");
            assert_eq!(words(Some(&last), &document(&[("a", 60), ("b", 9)])), Some(vec![]), "{state:?}");
            let changed = words(Some(&last), &document(&[("a", 5), ("b", 9)]));
            assert_eq!(changed, Some(vec![format!("a/): expiration.days {told}")]), "{state:?}");
            let changed = words(Some(&last), &document(&[("a", 30)]));
            assert_eq!(changed, Some(vec!["b/): removed".to_owned()]), "{state:?}");
        }
    }

    #[test]
    fn what_a_write_that_was_not_sent_found_there_is_missed_when_it_goes() {
        let wanted = done(write(&[("a", 5)], &[]), Left::new(), &document(&[]));
        let found = Intent { state: State::Abandoned, effect: Some(found()), ..wanted };
        assert_eq!(words(Some(&found), &document(&[("a", 5)])), Some(vec![]));
        let gone = document(&[]);
        assert_eq!(words(Some(&found), &gone), Some(vec!["a/): removed".to_owned()]));
        let void = Intent { effect: void().effect, ..found };
        assert_eq!(words(Some(&void), &gone), Some(vec![]), "it was never there");
    }

    #[test]
    fn what_the_server_has_not_kept_is_nobody_elses_work() {
        let mut wanted = write(&[("a", 5)], &[]);
        wanted.add[0].settings.abort_multipart_days = Some(3);
        let last = Intent { state: State::Superseded, ..done(wanted, Left::new(), &document(&[])) };
        assert_eq!(words(Some(&last), &document(&[("a", 5)])), None);
    }

    #[test]
    fn who_makes_a_rule_wider_long_after_a_write_that_was_not_read_whole_is_somebody_else() {
        let before = document(&[("a", 30), ("b", 9)]);
        let last = Intent { state: State::Superseded, ..done(write(&[("a", 60)], &["a"]), Left::new(), &before) };
        let Known::Known(made) = document(&[("b", 9), ("a", 60)]) else { panic!("there are rules") };
        let wide = made.text().replace("<Prefix>logs/service_name=a/</Prefix>", "");
        let now = Known::Known(RawDocument::parse(wide.as_bytes(), None).unwrap());
        let soon = later() - jiff::SignedDuration::from_mins(1);
        assert_eq!(drifted((Some(&last), soon), &now, &[OWNER]), None, "perhaps the server has done it");
        assert_eq!(drifted((Some(&last), later()), &now, &[OWNER]).unwrap().len(), 1);
        // S3 had shown it whole: that of another rule, too, is not the server's work.
        let whole = Intent { effect: void().effect, ..last };
        let other = made.text().replace("<Prefix>logs/service_name=b/</Prefix>", "");
        for now in [now, Known::Known(RawDocument::parse(other.as_bytes(), None).unwrap())] {
            assert_eq!(drifted((Some(&whole), soon), &now, &[OWNER]).unwrap().len(), 1, "{now:?}");
        }
    }

    #[test]
    fn a_repair_that_was_refused_forgets_no_change() {
        let first = done(write(&[("a", 30)], &[]), Left::new(), &document(&[]));
        let now = document(&[("a", 5)]);
        let changed = drifted((Some(&first), later()), &now, &[OWNER]).unwrap();
        let repair = write(&[("a", 30)], &["a"]);
        assert!(left_alone(&repair, &changed).is_empty());
        let assumes = now.known().map(|now| now.version().to_owned());
        let repairs = put_right(&repair, &changed);
        let targets = Targets { write: WriteRules { assumes, ..repair }, repairs, ..Targets::default() };
        let refused = record(State::Abandoned, &targets, now.known());
        assert_eq!(words(Some(&refused), &now), Some(vec!["a/): expiration.days 30 -> 5".to_owned()]));
        assert_eq!(words(Some(&refused), &document(&[("a", 30)])), Some(vec![]), "its owner has put it back");
        let done = Intent { state: State::Done, ..refused };
        assert_eq!(words(Some(&done), &document(&[("a", 30)])), Some(vec![]));
    }

    #[test]
    fn a_later_write_about_something_else_forgets_no_change() {
        let first = done(write(&[("a", 5), ("b", 5), ("c", 5)], &[]), Left::new(), &document(&[]));
        let now = document(&[("a", 3), ("b", 5), ("d", 1)]);
        let changed = drifted((Some(&first), later()), &now, &[OWNER]).unwrap();
        assert_eq!(changed.len(), 3);
        let next = write(&[("b", 7), ("c", 5)], &["b"]);
        let second = done(next.clone(), left_alone(&next, &changed), &now);
        let mut told = words(Some(&second), &document(&[("a", 3), ("b", 7), ("c", 5), ("d", 1)])).unwrap();
        told.sort_unstable();
        assert_eq!(told, ["a/): expiration.days 5 -> 3", "d/): added"]);
        assert_eq!(Targets::of(&second).map(|targets| targets.left.len()), Some(2), "and so does its record");
    }

    #[test]
    fn rules_that_a_write_has_left_may_be_there_for_a_while_though_s3_shows_none() {
        let at = |second| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second);
        let may = |last: &Intent, service: &str, second| {
            let rule = rule(service, 1).id;
            perhaps_there(Some(last), at(second)).is_none_or(|ids| ids.contains(&rule))
        };
        // This write brings `new`, takes `goes` away and leaves `stays` alone.
        let before = document(&[("stays", 9), ("goes", 9)]);
        let last = done(write(&[("new", 5)], &["goes"]), Left::new(), &before);
        let there = |last: &Intent| ["stays", "goes", "new"].map(|service| may(last, service, 20));
        assert_eq!(there(&last), [true, false, true], "whoever was removed may go");
        assert!(may(&last, "new", 179) && !may(&last, "new", 180) && !may(&last, "other", 20));
        let ended = |state, effect| Intent { state, effect, ..last.clone() };
        assert_eq!(there(&ended(State::Superseded, None)), [true, true, true]);
        assert_eq!(there(&ended(State::Abandoned, void().effect)), [true, true, false], "`new` was never there");
        // As an old answer without them has shown it.
        assert_eq!(there(&ended(State::Abandoned, Some(found()))), [true, true, true]);
        let mut strange = last.clone();
        strange.wish.targets = serde_json::json!({"to": 3});
        assert!(may(&strange, "new", 20) && perhaps_there(None, at(20)) == Some(BTreeSet::new()));
    }

    #[test]
    fn a_rule_that_services_share_is_told_by_the_beginning_of_their_names() {
        let meaning = Meaning { prefix: "logs/service_name=pay-".into(), settings: Settings::default() };
        let changed = Changed { id: "x".into(), left: Some(Some(meaning)), now: None };
        assert_eq!(changed.words(), "rule x (logs/service_name=pay-*): removed");
    }
}
