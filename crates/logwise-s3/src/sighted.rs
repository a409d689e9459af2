//! What was read of one bucket's rules of others since writes of ours, and what that tells of those writes.

use crate::apply::{others, shortfall};
use crate::document::RawDocument;
use crate::harm::{Harm, Harmed, Told};
use crate::verify::{gone, name};
use crate::watch::stale;
use logwise_plan::retention::WriteRules;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How late a request can take effect: AWS refuses a signature that is older.
pub(crate) const LATEST: Duration = Duration::from_secs(15 * 60);

/// Writes of a bucket that are remembered because they may still take effect.
const MOST_WRITES: usize = 4;

/// Rules of others that are remembered after a write: twice as many as a bucket holds.
pub(crate) const MOST_SIGHTED: usize = 2_000;

/// Configurations of a bucket that are known again.
pub(crate) const MOST_RECENT: usize = 16;

/// One bucket.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// The last write, and before it those that nobody has seen the effect of.
    pub writes: Vec<Sent>,
    /// Rules of others, as they are, that were read since the last write and were not there before it.
    pub sighted: BTreeMap<String, Sighting>,
    /// Rules that the last write leaves and that were gone in a new answer before S3 showed that write.
    missed: BTreeSet<String>,
    /// The versions of what was read within the last minutes, and when that was: read again, it may be an old answer.
    pub recent: Vec<(Option<String>, Instant)>,
    pub told: Told,
}

/// A write that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub intent: Option<String>,
    pub write: WriteRules,
    /// The rules of others that it leaves, with how often they occur.
    pub base: BTreeMap<String, usize>,
    /// Whether it is known to have taken effect.
    pub is_done: bool,
    /// Whether a reading has shown its rules.
    pub is_shown: bool,
    pub at: Instant,
}

/// A rule of somebody else that was not there before the last write.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// Read beside the rules of the last write: it came after that write.
    beside: bool,
    /// Read without them, in a new answer: it was there when the write took effect, or came after somebody else's.
    without: bool,
}

/// Rules that a reading shows to be harmed.
type Found = Vec<(String, Harm)>;

impl Sent {
    /// Whether it may still take effect.
    fn may_come(&self, now: Instant) -> bool {
        !self.is_done && self.is_recent(now)
    }

    fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.at) < LATEST
    }

    /// Whether the configuration is the one that this write makes.
    fn has_made(&self, document: Option<&RawDocument>, foreign: &BTreeMap<&str, usize>) -> bool {
        let equal = foreign.iter().all(|(xml, number)| self.base.get(*xml) == Some(number));
        equal && foreign.len() == self.base.len() && shortfall(document, &self.write).is_none()
    }

    /// Rules that it leaves and that are gone in whatever form.
    fn gone(&self, document: Option<&RawDocument>, foreign: &BTreeMap<&str, usize>) -> BTreeSet<String> {
        let base: BTreeMap<&str, usize> = self.base.iter().map(|(xml, number)| (xml.as_str(), *number)).collect();
        gone((&base, foreign), document).into_iter().map(str::to_owned).collect()
    }
}

impl Case {
    /// A write was sent.
    pub(crate) fn enter(&mut self, new: Sent) {
        if self.writes.last().is_some_and(|last| last.intent.is_some() && last.intent == new.intent) {
            return;
        }
        self.writes.retain(|sent| sent.may_come(new.at));
        let most = self.writes.len().saturating_sub(MOST_WRITES - 1);
        self.writes.drain(..most);
        self.sighted.clear();
        self.missed.clear();
        self.writes.push(new);
    }

    /// The last write has taken effect.
    pub(crate) fn settled(&mut self, now: Instant) {
        if let Some(last) = self.writes.last_mut() {
            last.is_done = true;
        }
        if !self.writes.iter().any(|sent| sent.may_come(now)) {
            self.forget_writes();
        }
    }

    /// One reading; `knows`: what was read before is known for as long as old answers last.
    pub(crate) fn read(
        &mut self,
        document: Option<&RawDocument>,
        (ours, knows): (impl Fn(&str) -> bool, bool),
        now: Instant,
    ) {
        // A write that was lost, or whose record ended otherwise, can do nothing any more.
        if !self.writes.iter().any(|sent| sent.is_recent(now)) {
            self.forget_writes();
        }
        let is_new = self.is_new(document.map(RawDocument::version), now);
        if self.writes.is_empty() && self.told.is_over(now) {
            self.told = Told::default();
            return;
        }
        let foreign = others(document, &ours);
        self.told.keep(|xml| foreign.contains_key(xml), now);
        let mut found = self.by_an_earlier_write(document, &foreign, now);
        found.extend(self.by_the_last_write(document, &foreign, (is_new, knows)));
        for (xml, harm) in found {
            self.sighted.remove(&xml);
            self.told.tell(Harmed { rule: name(&xml), harm }, xml, now);
        }
    }

    fn forget_writes(&mut self) {
        self.writes.clear();
        self.sighted.clear();
        self.missed.clear();
    }

    /// Whether this configuration was not read within the last minutes.
    fn is_new(&mut self, version: Option<&str>, now: Instant) -> bool {
        self.recent.retain(|(_, at)| now.duration_since(*at) < stale());
        if let Some((_, at)) = self.recent.iter_mut().find(|(known, _)| known.as_deref() == version) {
            *at = now;
            return false;
        }
        let most = self.recent.len().saturating_sub(MOST_RECENT - 1);
        self.recent.drain(..most);
        self.recent.push((version.map(str::to_owned), now));
        true
    }

    /// Whether nothing of it can matter any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let is_recent = self.recent.iter().any(|(_, at)| now.duration_since(*at) < stale());
        !is_recent && self.told.is_over(now) && !self.writes.iter().any(|sent| sent.is_recent(now))
    }

    /// What became of the rules of others by the last write, as this reading shows it.
    fn by_the_last_write(
        &mut self,
        document: Option<&RawDocument>,
        foreign: &BTreeMap<&str, usize>,
        (is_new, knows): (bool, bool),
    ) -> Found {
        let Some(last) = self.writes.last_mut() else { return Found::new() };
        let holds = shortfall(document, &last.write).is_none();
        let is_first = holds && !last.is_shown;
        for xml in foreign.keys().filter(|xml| !last.base.contains_key(**xml)) {
            if self.sighted.len() >= MOST_SIGHTED && !self.sighted.contains_key(*xml) {
                continue;
            }
            let unseen = Sighting { beside: false, without: false };
            let sighting = self.sighted.entry((*xml).to_owned()).or_insert(unseen);
            sighting.beside |= holds;
            // Also by a process that has just begun: to say nothing of a rule that is lost would be worse than to blame an old
            // answer on our write.
            sighting.without |= !holds && is_new;
        }
        if !holds {
            // Once its rules were shown, somebody else has replaced them.
            if is_new && knows && !last.is_shown {
                self.missed.extend(last.gone(document, foreign));
            }
            return Found::new();
        }
        last.is_done = true;
        last.is_shown = true;
        let sighted = self.sighted.iter().filter(|(_, sighting)| sighting.without && !sighting.beside);
        let lost = sighted.map(|(xml, _)| xml).filter(|xml| !foreign.contains_key(xml.as_str()));
        let mut found: Found = lost.map(|xml| (xml.clone(), Harm::Dropped)).collect();
        if is_first {
            let missing = last.gone(document, foreign).into_iter().filter(|xml| !self.missed.contains(xml));
            found.extend(missing.map(|xml| (xml, Harm::Missing)));
            let back = std::mem::take(&mut self.missed).into_iter().filter(|xml| foreign.contains_key(xml.as_str()));
            found.extend(back.map(|xml| (xml, Harm::Revived)));
        }
        found
    }

    /// Rules that were there and are not, or that were gone and are there, if the configuration is now the one that an
    /// earlier write makes whose effect nobody has seen.
    fn by_an_earlier_write(
        &mut self,
        document: Option<&RawDocument>,
        foreign: &BTreeMap<&str, usize>,
        now: Instant,
    ) -> Found {
        let Some((last, earlier)) = self.writes.split_last_mut() else { return Found::new() };
        let mut found = Found::new();
        for sent in earlier.iter_mut().filter(|sent| sent.may_come(now)) {
            if !sent.has_made(document, foreign) {
                continue;
            }
            let known = last.base.keys().chain(self.sighted.keys());
            let lost = known.filter(|xml| !foreign.contains_key(xml.as_str()));
            let dropped = lost.map(|xml| (xml.clone(), Harm::Dropped));
            let came = sent.base.keys().filter(|xml| !last.base.contains_key(*xml) && !self.sighted.contains_key(*xml));
            let undone: Found = dropped.chain(came.map(|xml| (xml.clone(), Harm::Revived))).collect();
            sent.is_done = !undone.is_empty();
            found.extend(undone);
        }
        found
    }
}
