//! What a server did not keep of rules of ours, and how it is taken back: by the record of the last write, so that it comes
//! to the same after a restart. A rule that acts on more than it was written for goes at once, whatever else has changed,
//! and whatever the mode is by then: without a rule everything is kept.

use crate::apply::shortfall;
use crate::document::RawDocument;
use crate::fields::{is_wider, lost, prefix};
use crate::lessened::Lessened;
use crate::old::{is_void, void};
use crate::record::{Ignored, Targets, is_found};
use crate::replaced::replaced;
use crate::rule;
use crate::unkept::{SOON, Undo, Unkept};
use crate::verify::{Less, Reading, dropped, narrows, reading};
use crate::watch::stale;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::retention::{Rule, WriteRules};
use logwise_runtime::intent::{Intent, State};
use std::collections::{BTreeMap, BTreeSet};

/// How late a request can take effect: AWS refuses a signature that is older.
const LATEST: SignedDuration = SignedDuration::from_mins(15);

/// How long after a write of which not all was read a rule that acts on more is taken for the server's work, and one looks
/// after it who has no other reason to.
const UNSURE: SignedDuration = SignedDuration::from_hours(1);

/// The field that keeps a rule of ours to its services.
const NARROWING: &str = "Filter.Prefix";

/// Rules of ours by id, each with the prefix that it was written for.
type Prefixes = BTreeMap<String, String>;

/// A rule of ours that the server may have made wider.
struct Doubt {
    /// What it was written for.
    prefix: String,
    /// The rule as it was sent, if that is known.
    sent: Option<String>,
    /// The rule with its id before the write: as long as it is so, the write has not made it.
    before: Option<String>,
}

/// Such rules, by id.
type Doubts = BTreeMap<String, Doubt>;

impl Doubt {
    /// Whether the server has made this of it. Where something else differs too, or the prefix is another one, somebody has
    /// written it.
    fn is_wide(&self, now: &str) -> bool {
        let is_new = self.before.as_deref() != Some(now);
        is_new && is_wider(now, &self.prefix) && self.sent.as_ref().is_none_or(|sent| has_lost_a_limit(sent, now))
    }
}

fn has_lost_a_limit(sent: &str, now: &str) -> bool {
    lost(sent, now).is_some_and(|fields| fields.iter().any(|field| narrows(field)))
}

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
    let less = made_less((last, &targets), document, at);
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
        doubt.is_wide(xml).then(|| (id.clone(), doubt.prefix.clone()))
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
        let as_it_was = || Some((*xml).to_owned());
        Some(((*id).to_owned(), Doubt { prefix: prefix(xml)?, sent: as_it_was(), before: as_it_was() }))
    });
    let added = write.add.iter().map(|rule| {
        let before = there.get(rule.id.as_str()).map(|xml| (*xml).to_owned());
        (rule.id.clone(), Doubt { prefix: rule.prefix.clone(), sent: rule::write(rule).ok(), before })
    });
    carried.chain(added).collect()
}

/// Whether nobody has read wholly what became of the last write, and that is not long ago: rules may act on more than they
/// were written for.
pub(crate) fn is_unsure(last: &Intent, at: Timestamp) -> bool {
    last.state != State::Done && at.duration_since(last.written) < UNSURE
}

/// Whether S3 has shown the write of this record whole before it was replaced: the server keeps it, and what became of it
/// then is somebody else's work.
pub(crate) fn was_whole(last: &Intent) -> bool {
    last.state == State::Superseded && last.effect == void().effect
}

/// The rules of ours that the server may have made wider, by this record. Rules of a write that two looks have read whole
/// are as they were written: whatever they become later is somebody else's work. So is what they become long after one that
/// was not read so.
fn doubtful((last, targets): (&Intent, &Targets), ours: impl Fn(&str) -> bool, at: Timestamp) -> Doubts {
    let taken_away = targets.ignored.iter().flat_map(|ignored| ignored.wide.clone());
    let known = taken_away.map(|(id, prefix)| (id, Doubt { prefix, sent: None, before: None }));
    let since = |time: Timestamp| at.duration_since(time);
    let prepared = last.prepared.unwrap_or(last.written);
    match last.state {
        // What was taken away and is there again may be an old answer. After that, somebody has brought it back.
        State::Done if since(last.written) < SignedDuration::try_from(stale()).unwrap_or(SignedDuration::MAX) => {
            Doubts::new()
        }
        State::Done => known.collect(),
        // Nothing was sent, or it can no longer come late.
        State::Abandoned if is_void(last) || is_found(last) || since(prepared) >= LATEST => known.collect(),
        State::Superseded if !is_unsure(last, at) || was_whole(last) => known.collect(),
        _ => {
            let before = targets.before(last).flatten();
            written((before.as_ref(), &targets.write), ours).into_iter().chain(known).collect()
        }
    }
}

/// What the server made of the last write, if that was less and is still there.
fn made_less(
    (last, targets): (&Intent, &Targets),
    document: Option<&RawDocument>,
    at: Timestamp,
) -> Option<(Option<RawDocument>, Less)> {
    if last.state != State::Superseded || was_whole(last) {
        return None;
    }
    let before = targets.before(last)?;
    let mut less = match reading((before.as_ref(), &targets.write), document) {
        Reading::Less(less) => less,
        // Others may have put it back, too: the record tells.
        Reading::Old => dropped(&targets.write, document).filter(|less| names(last, less))?,
        Reading::Ours { .. } | Reading::Other { .. } => return None,
    };
    if !is_unsure(last, at) {
        less.ours.retain(|_, fields| !fields.iter().any(|field| narrows(field)));
    }
    (!less.ours.is_empty()).then_some((before, less))
}

/// Whether the record says that the server has kept nothing new of its write.
fn names(last: &Intent, less: &Less) -> bool {
    last.effect.iter().flat_map(|effect| &effect.parts).any(|part| less.ours.contains_key(part))
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
        // Sent all the same, it would look as if it had vanished.
        Some(write) if shortfall(now, &write).is_none() => Undo::Unsafe("what is there says the same"),
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
    let is_before = document.map(RawDocument::version) == targets.write.assumes.as_deref();
    let is_in_vain = dropped(&targets.write, document).is_some_and(|less| names(last, &less));
    let undo = if is_before && !is_in_vain {
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
mod tests;
