//! What a server did not keep of rules of ours, and how it is taken back: by the record of the last write, so that it comes
//! to the same after a restart. A rule that acts on more than it was written for goes at once, whatever else has changed,
//! and whatever the mode is by then: without a rule everything is kept.

use crate::document::RawDocument;
use crate::fields::{is_wider, prefix};
use crate::lessened::Lessened;
use crate::record::{Ignored, Targets};
use crate::replaced::replaced;
use crate::unkept::{SOON, Undo, Unkept};
use crate::verify::{Less, Reading, narrows, reading};
use crate::watch::stale;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::retention::{Rule, WriteRules};
use logwise_runtime::intent::{Intent, State};
use std::collections::{BTreeMap, BTreeSet};

/// How late a request can take effect: AWS refuses a signature that is older.
const LATEST: SignedDuration = SignedDuration::from_mins(15);

/// How long after a write of which not all was read one looks after it who has no other reason to.
const UNSURE: SignedDuration = SignedDuration::from_hours(1);

/// The field that keeps a rule of ours to its services.
const NARROWING: &str = "Filter.Prefix";

/// Rules of ours by id, each with the prefix that it was written for.
type Prefixes = BTreeMap<String, String>;

/// A rule of ours that the server may have made wider.
struct Doubt {
    /// What it was written for.
    prefix: String,
    /// The rule with its id before the write: as long as it is so, the write has not made it.
    before: Option<String>,
}

/// Such rules, by id.
type Doubts = BTreeMap<String, Doubt>;

/// What the server has not kept, by the record of the last write and the configuration as it is. `ours` knows the ids of
/// our rules.
pub(crate) fn unkept(
    last: Option<&Intent>,
    now: &Known<RawDocument>,
    ours: impl Fn(&str) -> bool,
    at: Timestamp,
) -> Option<Unkept> {
    let last = last?;
    let targets = Targets::of(last)?;
    let document = match now {
        Known::Known(document) => Some(document),
        Known::Absent => None,
        Known::Unknown(_) => return Some(Unkept { ignored: targets.ignored?, undo: Undo::No }),
    };
    if !last.state.is_closed() {
        return Some(Unkept { ignored: targets.ignored?, undo: Undo::No });
    }
    let less = made_less(last, &targets, document);
    let mut wide = wide(&doubtful((last, &targets), ours, at), document);
    wide.extend(less.iter().flat_map(|(_, less)| made_wider(less, &targets.write)));
    if !wide.is_empty() {
        let less = less.map(|(_, less)| less).unwrap_or_default();
        return Some(take_away((last, &targets), document, (wide, &less), at));
    }
    if targets.undoes {
        return again(last, targets, document, at);
    }
    match less {
        Some((before, less)) => Some(first((last, &targets), (before.as_ref(), document), &less, at)),
        None => Some(Unkept { ignored: targets.ignored?, undo: Undo::No }),
    }
}

/// Whether a write over `before` has left a rule of ours that acts on more than it was written for.
pub(crate) fn acts_on_more(
    (before, write): (Option<&RawDocument>, &WriteRules),
    now: Option<&RawDocument>,
    ours: impl Fn(&str) -> bool,
) -> bool {
    !wide(&written((before, write), ours), now).is_empty()
}

/// Those of these rules that act on more.
fn wide(doubts: &Doubts, document: Option<&RawDocument>) -> Prefixes {
    let there = document.into_iter().flat_map(RawDocument::rules);
    let found = there.filter_map(|(facts, xml)| {
        let (id, doubt) = doubts.get_key_value(facts.id.as_deref()?)?;
        let is_new = doubt.before.as_deref() != Some(xml);
        (is_new && is_wider(xml, &doubt.prefix)).then(|| (id.clone(), doubt.prefix.clone()))
    });
    found.collect()
}

/// The rules of a write that the server made wider.
fn made_wider(less: &Less, write: &WriteRules) -> Prefixes {
    let is_wider = |rule: &&Rule| less.ours.get(&rule.id).is_some_and(|fields| fields.iter().any(|it| narrows(it)));
    write.add.iter().filter(is_wider).map(|rule| (rule.id.clone(), rule.prefix.clone())).collect()
}

/// The rules of ours after `write`: those from before as they were, and its own.
fn written((before, write): (Option<&RawDocument>, &WriteRules), ours: impl Fn(&str) -> bool) -> Doubts {
    let there = before.into_iter().flat_map(RawDocument::rules);
    let there: BTreeMap<&str, &str> = there.filter_map(|(facts, xml)| Some((facts.id.as_deref()?, xml))).collect();
    let carried = there.iter().filter(|(id, _)| ours(id) && !write.remove.contains(**id));
    let carried = carried.filter_map(|(id, xml)| {
        Some(((*id).to_owned(), Doubt { prefix: prefix(xml)?, before: Some((*xml).to_owned()) }))
    });
    let added = write.add.iter().map(|rule| {
        let before = there.get(rule.id.as_str()).map(|xml| (*xml).to_owned());
        (rule.id.clone(), Doubt { prefix: rule.prefix.clone(), before })
    });
    carried.chain(added).collect()
}

/// Whether nobody has read wholly yet what became of the last write: rules may act on more than they were written for.
pub(crate) fn is_unsure(last: &Intent, at: Timestamp) -> bool {
    last.state != State::Done && at.duration_since(last.written) < UNSURE
}

/// The rules of ours that the server may have made wider, by this record. Rules of a write that two looks have read whole
/// are as they were written: whatever they become later is somebody else's work.
fn doubtful((last, targets): (&Intent, &Targets), ours: impl Fn(&str) -> bool, at: Timestamp) -> Doubts {
    let taken_away = targets.ignored.iter().flat_map(|ignored| ignored.wide.clone());
    let known = taken_away.map(|(id, prefix)| (id, Doubt { prefix, before: None }));
    let since = |time: Timestamp| at.duration_since(time);
    let prepared = last.prepared.unwrap_or(last.written);
    match last.state {
        // What was taken away and is there again may be an old answer. After that, somebody has brought it back.
        State::Done if since(last.written) < SignedDuration::try_from(stale()).unwrap_or(SignedDuration::MAX) => {
            Doubts::new()
        }
        State::Done => known.collect(),
        // Nothing was sent, or it can no longer come late.
        State::Abandoned if last.send_before.is_none() || since(prepared) >= LATEST => known.collect(),
        _ => {
            let before = targets.before(last).flatten();
            written((before.as_ref(), &targets.write), ours).into_iter().chain(known).collect()
        }
    }
}

/// What the server made of the last write, if that was less and is still there.
fn made_less(last: &Intent, targets: &Targets, document: Option<&RawDocument>) -> Option<(Option<RawDocument>, Less)> {
    if last.state != State::Superseded {
        return None;
    }
    let before = targets.before(last)?;
    match reading((before.as_ref(), &targets.write), document) {
        Reading::Less(less) if !less.ours.is_empty() => Some((before, less)),
        _ => None,
    }
}

/// Rules of ours that act on more go, and with them those of the same write that lack something else. Nothing is put back:
/// it would be made as wide.
fn take_away(
    (last, targets): (&Intent, &Targets),
    document: Option<&RawDocument>,
    (wide, less): (Prefixes, &Less),
    at: Timestamp,
) -> Unkept {
    let prepared = last.prepared.unwrap_or(last.written);
    let mut ignored = noted(targets, less);
    ignored.since = match last.state {
        State::Done => Some(at),
        _ if targets.undoes => ignored.since.or(Some(prepared)),
        _ => Some(prepared),
    };
    if !ignored.fields.keys().any(|field| narrows(field)) {
        ignored.fields.insert(NARROWING.to_owned(), wide.len());
    }
    let remove: BTreeSet<String> = wide.keys().chain(less.ours.keys()).cloned().collect();
    ignored.wide.extend(wide);
    let ignored = Ignored { wider: true, undone: None, ..ignored };
    let write = WriteRules { assumes: document.map(|now| now.version().to_owned()), remove, add: Vec::new() };
    let undo = Undo::Due(undoing((last, targets), document, write, (&ignored, at)));
    Unkept { ignored, undo }
}

/// What was known before, and what the server has not kept this time.
fn noted(targets: &Targets, less: &Less) -> Ignored {
    let mut ignored = targets.ignored.clone().unwrap_or_default();
    for (field, rules) in less.fields_of_ours() {
        *ignored.fields.entry(field).or_default() += rules;
    }
    ignored
}

/// The targets of a write that takes another one back.
fn undoing(
    (last, targets): (&Intent, &Targets),
    document: Option<&RawDocument>,
    write: WriteRules,
    (ignored, at): (&Ignored, Timestamp),
) -> Box<Targets> {
    let now = document.cloned().map_or(Known::Absent, Known::Known);
    Box::new(Targets {
        write,
        left: targets.left.clone(),
        replaced: replaced(Some(last)),
        minimum_object_size: document.and_then(RawDocument::minimum_object_size).map(str::to_owned),
        ignored: Some(Ignored { undone: Some(at), ..ignored.clone() }),
        lessened: Lessened::of(Some(last), &now),
        undoes: true,
        ..Targets::default()
    })
}

/// After a write of which the server has kept less: none of its rules acts on more.
fn first(
    (last, targets): (&Intent, &Targets),
    (before, now): (Option<&RawDocument>, Option<&RawDocument>),
    less: &Less,
    at: Timestamp,
) -> Unkept {
    let since = last.prepared.unwrap_or(last.written);
    let ignored = Ignored { since: Some(since), undone: None, ..noted(targets, less) };
    let undo = match inverse((before, &targets.write), now) {
        _ if !less.alone => Undo::Unsafe("another writer has changed the configuration meanwhile"),
        None => Undo::Unsafe("what it replaced was a rule of ours that somebody had changed"),
        Some(write) if write.add.iter().any(|rule| ignored.refuses(rule)) => {
            Undo::Unsafe("the server does not keep those either")
        }
        Some(_) if at.duration_since(since) > SOON => {
            Undo::Unsafe("these rules have been in force for some time, and objects may count on them")
        }
        Some(write) => Undo::Due(undoing((last, targets), now, write, (&ignored, at))),
    };
    Unkept { ignored, undo }
}

/// After a write that takes back an earlier one, of whose rules none acts on more any longer.
fn again(last: &Intent, targets: Targets, document: Option<&RawDocument>, at: Timestamp) -> Option<Unkept> {
    let ignored = targets.ignored.clone()?;
    if last.state == State::Done || ignored.wider {
        return Some(Unkept { ignored, undo: Undo::No });
    }
    let undo = if document.map(RawDocument::version) == targets.write.assumes.as_deref() {
        let ignored = Some(Ignored { undone: Some(at), ..ignored.clone() });
        Undo::Due(Box::new(Targets { ignored, ..targets }))
    } else {
        Undo::Unsafe(
            "another writer has changed the configuration meanwhile, or the server does not keep the rules from before",
        )
    };
    Some(Unkept { ignored: Ignored { undone: None, ..ignored }, undo })
}

/// The write that takes `write` back; none if a rule from before is not known in all its parts.
fn inverse((before, write): (Option<&RawDocument>, &WriteRules), now: Option<&RawDocument>) -> Option<WriteRules> {
    let mut add = Vec::new();
    for (facts, _) in before.into_iter().flat_map(RawDocument::rules) {
        let Some(id) = facts.id.as_ref().filter(|id| write.remove.contains(*id)) else { continue };
        let meaning = facts.meaning.clone()?;
        add.push(Rule { id: id.clone(), prefix: meaning.prefix, settings: meaning.settings });
    }
    add.sort_by(|a, b| a.id.cmp(&b.id));
    let remove = write.add.iter().map(|rule| rule.id.clone()).collect();
    Some(WriteRules { assumes: now.map(|now| now.version().to_owned()), remove, add })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;
    use logwise_plan::retention::Settings;

    const THEIRS: &str =
        "<Rule><ID>t</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>";
    const ABORT: &str =
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>";

    fn parsed(text: &str) -> RawDocument {
        RawDocument::parse(text.as_bytes(), None).unwrap()
    }

    fn rule(service: &str, days: i32, abort: Option<i32>) -> Rule {
        let settings = Settings { expiration_days: Some(days), abort_multipart_days: abort, ..Settings::default() };
        Rule { id: format!("id-{service}"), prefix: format!("logs/service_name={service}/"), settings }
    }

    fn write(over: &RawDocument, remove: &[&str], add: &[Rule]) -> WriteRules {
        let remove = remove.iter().map(|service| format!("id-{service}")).collect();
        WriteRules { assumes: Some(over.version().to_owned()), remove, add: add.to_vec() }
    }

    fn made(over: &RawDocument, write: &WriteRules) -> RawDocument {
        parsed(&String::from_utf8(crate::compose(Some(over), write).unwrap().unwrap()).unwrap())
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    /// A rule of 7 days for `a` in force, with this abort, and one for `k`, then a write of 90 days with an abort for `a`
    /// and `b`, of which the server keeps what `keeps` leaves: the configuration before, the record, and what there is.
    fn scene_over(abort: Option<i32>, keeps: impl Fn(&str) -> String) -> (RawDocument, Intent, RawDocument) {
        let theirs = parsed(&format!("<LifecycleConfiguration>{THEIRS}</LifecycleConfiguration>"));
        let before = made(&theirs, &write(&theirs, &[], &[rule("a", 7, abort), rule("k", 7, None)]));
        let over = write(&before, &["a"], &[rule("a", 90, Some(3)), rule("b", 90, Some(3))]);
        let now = parsed(&keeps(made(&before, &over).text()));
        let targets = Targets { write: over, ..Targets::default() };
        let intent = record(State::Superseded, &targets, Some(&before));
        (before, intent, now)
    }

    fn scene(keeps: impl Fn(&str) -> String) -> (RawDocument, Intent, RawDocument) {
        scene_over(None, keeps)
    }

    fn without_abort(sent: &str) -> String {
        sent.replace(ABORT, "")
    }

    /// The rule of this service acts on every object.
    fn wide(sent: &str, service: &str) -> String {
        sent.replace(&format!("<Filter><Prefix>logs/service_name={service}/</Prefix></Filter>"), "<Filter/>")
    }

    fn is_ours(id: &str) -> bool {
        id.starts_with("id-")
    }

    fn judged(last: &Intent, now: &RawDocument, minutes: i64) -> Option<Unkept> {
        unkept(Some(last), &Known::Known(now.clone()), is_ours, at(minutes))
    }

    fn due(last: &Intent, now: &RawDocument, minutes: i64) -> Targets {
        let found = judged(last, now, minutes).unwrap();
        let Undo::Due(undo) = found.undo else { panic!("{found:?}") };
        assert!(undo.undoes && undo.write.assumes.as_deref() == Some(now.version()), "{undo:?}");
        *undo
    }

    fn ids(services: &[&str]) -> BTreeSet<String> {
        services.iter().map(|service| format!("id-{service}")).collect()
    }

    fn rules(document: &RawDocument, ours: bool) -> Vec<String> {
        let of = document.rules().filter(|(facts, _)| facts.id.as_deref().is_some_and(is_ours) == ours);
        let mut rules: Vec<String> = of.map(|(_, xml)| xml.to_owned()).collect();
        rules.sort();
        rules
    }

    #[test]
    fn what_the_server_did_not_keep_is_put_back_and_not_written_again() {
        let (before, last, now) = scene(without_abort);
        let undo = due(&last, &now, 1);
        let undone = made(&now, &undo.write);
        assert_eq!((rules(&undone, true), rules(&undone, false)), (rules(&before, true), rules(&before, false)));
        // Done, and read after a restart.
        let last = record(State::Done, &undo, Some(&now));
        let found = judged(&last, &undone, 9).unwrap();
        assert_eq!(found.undo, Undo::No);
        assert_eq!(
            found.words(),
            "AbortIncompleteMultipartUpload.DaysAfterInitiation (of 2 rules); the rules from before were put back"
        );
        let again = write(&undone, &["a"], &[rule("a", 90, Some(3)), rule("b", 90, Some(3))]);
        let (rest, refused) = found.ignored.spare(&again, Some(&undone));
        assert_eq!((rest, refused.len()), (None, 2));
    }

    #[test]
    fn what_is_not_safe_to_take_back_stays_and_is_told() {
        let told = |(_, last, now): (RawDocument, Intent, RawDocument), minutes| {
            let found = judged(&last, &now, minutes).unwrap();
            assert!(matches!(found.undo, Undo::Unsafe(_)), "{found:?}");
            found.words()
        };
        assert!(told(scene(without_abort), 11).contains("in force for some time"));
        assert!(told(scene(|sent| without_abort(sent).replace(THEIRS, "")), 1).contains("another writer"));
        let over_the_same = scene_over(Some(5), without_abort);
        assert!(told(over_the_same, 1).contains("the server does not keep those either"));
        // The write that takes it back was refused: sent again while nobody else has written, and else not.
        let (_, last, now) = scene(without_abort);
        let refused = record(State::Abandoned, &due(&last, &now, 1), Some(&now));
        due(&refused, &now, 2);
        let other = parsed("<LifecycleConfiguration></LifecycleConfiguration>");
        assert!(told((other.clone(), refused, other), 3).contains("were not put back: another writer"));
    }

    #[test]
    fn a_rule_that_acts_on_more_goes_whatever_else_has_changed() {
        let (_, last, sent) = scene(str::to_owned);
        let (text, b) = (sent.text(), crate::rule::write(&rule("b", 90, Some(3))).unwrap());
        let cases: [(String, &[&str]); 9] = [
            (wide(text, "a"), &["a"]),
            (wide(&wide(text, "a"), "b"), &["a", "b"]),
            (wide(text, "a").replace(THEIRS, ""), &["a"]),
            (wide(text, "a").replace("<Days>1<", "<Days>2<"), &["a"]),
            (wide(text, "a").replace(&b, ""), &["a"]),
            (wide(text, "a").replace("Enabled", "Disabled"), &["a"]),
            (text.replace("logs/service_name=a/</Prefix>", "logs/</Prefix>"), &["a"]),
            // What else the server has not kept of the same write goes too, and a rule of ours that it was to carry along.
            (without_abort(&wide(text, "a")), &["a", "b"]),
            (wide(text, "k"), &["k"]),
        ];
        for (now, gone) in cases {
            let now = parsed(&now);
            let undo = due(&last, &now, 500);
            assert_eq!((&undo.write.remove, undo.write.add.len()), (&ids(gone), 0), "{}", now.text());
            assert!(undo.is_duty() && undo.ignored.as_ref().is_some_and(|it| it.fields.contains_key(NARROWING)));
            let after = made(&now, &undo.write);
            assert_eq!(rules(&after, false), rules(&now, false), "rules of others are as they were");
            assert!(!rules(&after, true).iter().any(|xml| gone.iter().any(|it| xml.contains(&format!("id-{it}<")))));
        }
    }

    #[test]
    fn it_goes_after_a_lost_race_and_when_somebody_brings_it_back() {
        let (_, last, now) = scene(|sent| wide(&wide(sent, "a"), "b"));
        let undo = due(&last, &now, 1);
        let changed = parsed(&now.text().replace("<Days>1<", "<Days>2<"));
        let after = made(&changed, &undo.write);
        for state in [State::Abandoned, State::Superseded] {
            let lost = record(state, &undo, Some(&now));
            let again = due(&lost, &changed, 2);
            assert_eq!((&again.write.remove, again.write.add.len()), (&ids(&["a", "b"]), 0));
            let fields = |targets: &Targets| targets.ignored.as_ref().map(|ignored| ignored.fields.clone());
            assert_eq!(fields(&again), fields(&undo), "counted once");
            let found = judged(&lost, &after, 3).unwrap();
            assert_eq!(found.undo, Undo::No, "somebody else has removed them");
        }
        let done = record(State::Done, &undo, Some(&changed));
        let found = judged(&done, &after, 1).unwrap();
        assert!(
            found.undo == Undo::No && found.words().contains("taken away. From 1970-01-01T00:00:00Z to"),
            "{found:?}"
        );
        assert_eq!(judged(&done, &changed, 2).unwrap().undo, Undo::No, "this may be an old answer");
        assert_eq!(due(&done, &changed, 3).write.remove, ids(&["a", "b"]));
    }

    #[test]
    fn what_somebody_does_to_a_rule_later_is_not_the_servers_work() {
        let (_, last, now) = scene(|sent| wide(sent, "a"));
        let ended = |state, send_before| Intent { state, send_before, ..last.clone() };
        assert_eq!(judged(&ended(State::Done, Some(at(0))), &now, 1), None, "it was read whole twice");
        assert_eq!(judged(&ended(State::Abandoned, None), &now, 1), None, "nothing was sent");
        // A request without an answer may come late.
        due(&ended(State::Abandoned, Some(at(0))), &now, 14);
        assert_eq!(judged(&ended(State::Abandoned, Some(at(0))), &now, 15), None);
        assert_eq!(judged(&ended(State::Sent, Some(at(0))), &now, 1), None, "it is still read");
        for (state, minutes, unsure) in [(State::Sent, 59, true), (State::Sent, 60, false), (State::Done, 0, false)] {
            assert_eq!(is_unsure(&ended(state, None), at(minutes)), unsure, "{state:?} {minutes}");
        }
    }

    #[test]
    fn a_rule_that_acted_on_more_before_the_write_was_not_made_so_by_it() {
        let theirs = parsed(&format!("<LifecycleConfiguration>{THEIRS}</LifecycleConfiguration>"));
        let narrow = made(&theirs, &write(&theirs, &[], &[rule("a", 90, None)]));
        // Somebody took its prefix away, and the write that is to put it right is refused.
        let before = parsed(&wide(narrow.text(), "a"));
        let repair = write(&before, &["a"], &[rule("a", 90, None)]);
        assert!(!acts_on_more((Some(&before), &repair), Some(&before), is_ours));
        let last = record(State::Abandoned, &Targets { write: repair, ..Targets::default() }, Some(&before));
        let last = Intent { send_before: Some(at(0)), ..last };
        assert_eq!(judged(&last, &before, 1), None);
        // It came, and the server has dropped the prefix: read twice, since another writer has changed the rest.
        let changed = parsed(&before.text().replace("<Days>1<", "<Days>2<"));
        let read = Intent { state: State::Superseded, ..last };
        assert_eq!(due(&read, &changed, 1).write.remove, ids(&["a"]));
    }

    #[test]
    fn a_reading_that_shows_a_rule_of_ours_acting_on_more_is_known_at_once() {
        let (before, last, sent) = scene(str::to_owned);
        let write = Targets::of(&last).unwrap().write;
        let acts = |now: &str| acts_on_more((Some(&before), &write), Some(&parsed(now)), is_ours);
        assert!(acts(&wide(sent.text(), "a")) && acts(&wide(sent.text(), "k")));
        assert!(!acts(sent.text()) && !acts(&without_abort(sent.text())) && !acts(before.text()));
        assert!(!acts_on_more((Some(&before), &write), None, is_ours));
    }

    #[test]
    fn a_write_that_was_kept_or_replaced_leaves_nothing_to_take_back() {
        let (before, last, now) = scene(str::to_owned);
        assert_eq!(judged(&last, &now, 1), None);
        assert_eq!(judged(&last, &before, 1), None);
        assert_eq!(unkept(Some(&last), &Known::Absent, is_ours, at(1)), None);
        let (_, last, now) = scene(without_abort);
        let done = Intent { state: State::Done, ..last };
        assert_eq!(judged(&done, &now, 1), None);
        assert_eq!(unkept(None, &Known::Known(now), is_ours, at(1)), None);
    }
}
