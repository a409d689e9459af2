//! What may happen to a bucket of any kind, whoever does it.

use super::buckets::{Bucket, Change, NAMES, any_entry, services};
use crate::world::second;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::{Folding, Meaning, ObservedRule, PolicyEntry, Removal, Settings, fold_key, owner_of};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A policy comes, or becomes another one.
    Policy(PolicyEntry),
    /// A policy is being deleted.
    Leave(usize, Removal),
    /// A policy that was deleted is gone, whatever became of its rules.
    Gone(usize),
    /// Somebody approves what is asked for.
    Approve,
    /// Services come and go.
    Services(BTreeSet<String>),
    /// Services cannot be listed.
    Unlisted,
    /// Of these services, and of those with these beginnings, nothing was seen for long.
    Vanished(BTreeSet<String>),
    /// Objects come and go; in a bucket that has never kept versions, or in another one.
    Objects(BTreeMap<String, Known<Timestamp>>, bool),
    /// Somebody disables, changes or removes a rule of ours.
    Drift(usize, Drift),
    /// Somebody makes room, or takes it.
    Room(usize),
    /// A policy cannot be understood, or all can.
    Unclear(bool),
    /// Sharing is switched.
    Fold(Folding),
}

/// What somebody does to a rule of ours.
#[derive(Clone, Debug)]
pub enum Drift {
    Disable,
    Remove,
    Days(i32),
    Narrow,
}

fn vanished() -> impl Strategy<Value = BTreeSet<String>> {
    let beginnings = ["a", "aa", "b", "b-", "ba", "c", "d"].map(fold_key);
    let names: Vec<String> = NAMES.into_iter().map(str::to_owned).chain(beginnings).collect();
    prop::sample::subsequence(names, 0..21).prop_map(|names| names.into_iter().collect())
}

fn objects() -> impl Strategy<Value = BTreeMap<String, Known<Timestamp>>> {
    let one = prop_oneof![
        5 => second().prop_map(|second| Some(Known::Known(second))),
        1 => Just(Some(Known::Absent)),
        1 => Just(Some(Known::Unknown("more objects than were listed".to_owned()))),
        1 => Just(None),
    ];
    prop::collection::vec(one, NAMES.len()).prop_map(|all| {
        let named = NAMES.iter().zip(all).filter_map(|(service, oldest)| Some(((*service).to_owned(), oldest?)));
        named.collect()
    })
}

fn drift() -> impl Strategy<Value = Drift> {
    let days = (1..9i32).prop_map(Drift::Days);
    prop_oneof![1 => Just(Drift::Disable), 1 => Just(Drift::Remove), 1 => days, 1 => Just(Drift::Narrow)]
}

/// Anything.
pub fn happening() -> impl Strategy<Value = Happening> {
    let removal = prop_oneof![Just(Removal::RemoveRules), Just(Removal::Orphan)];
    prop_oneof![
        6 => (0..3usize).prop_flat_map(any_entry).prop_map(Happening::Policy),
        1 => (0..3usize, removal).prop_map(|(place, how)| Happening::Leave(place, how)),
        1 => (0..3usize).prop_map(Happening::Gone),
        3 => Just(Happening::Approve),
        4 => services().prop_map(Happening::Services),
        1 => Just(Happening::Unlisted),
        3 => vanished().prop_map(Happening::Vanished),
        2 => (objects(), any::<bool>()).prop_map(|(objects, flat)| Happening::Objects(objects, flat)),
        3 => (0..9usize, drift()).prop_map(|(place, how)| Happening::Drift(place, how)),
        1 => (0..120usize).prop_map(Happening::Room),
        1 => any::<bool>().prop_map(Happening::Unclear),
        1 => prop_oneof![Just(Folding::Never), Just(Folding::WhenNeeded)].prop_map(Happening::Fold),
    ]
}

impl Bucket {
    /// Lets something happen.
    pub fn undergo(&mut self, happening: Happening) {
        match happening {
            Happening::Policy(entry) => match self.policy.policies.iter_mut().find(|old| old.owner == entry.owner) {
                Some(old) => *old = entry,
                None => self.policy.policies.push(entry),
            },
            Happening::Leave(place, how) => {
                if let Some(entry) = self.policy.policies.get_mut(place) {
                    entry.removal = Some(how);
                }
            }
            Happening::Gone(place) => {
                let policies = &mut self.policy.policies;
                if policies.get(place).is_some_and(|entry| entry.removal.is_some()) {
                    policies.remove(place);
                }
            }
            Happening::Approve => self.approve(),
            Happening::Services(services) => self.change(Change::Services(services)),
            Happening::Unlisted => self.observed.services = Known::Unknown("timed out".to_owned()),
            Happening::Vanished(names) => self.observed.vanished = names,
            Happening::Objects(objects, flat) => (self.observed.oldest, self.observed.unversioned) = (objects, flat),
            Happening::Drift(place, how) => self.drift(place, &how),
            Happening::Room(room) => self.make_room(room),
            Happening::Unclear(is) => {
                self.policy.unclear = is.then(|| ("p9".to_owned(), "cannot be read".to_owned())).into_iter().collect();
            }
            Happening::Fold(fold) => self.policy.fold = fold,
        }
    }

    fn drift(&mut self, place: usize, how: &Drift) {
        let Known::Known(document) = &mut self.observed.document else { return };
        let is_ours = |rule: &ObservedRule| rule.id.as_deref().and_then(owner_of).is_some();
        let ours: Vec<usize> = (0..document.rules.len()).filter(|place| is_ours(&document.rules[*place])).collect();
        let Some(place) = ours.get(place % ours.len().max(1)).copied() else { return };
        let rule = &mut document.rules[place];
        match (how, &mut rule.meaning) {
            (Drift::Disable, meaning) => *meaning = None,
            (Drift::Days(days), Some(meaning)) => {
                meaning.settings = Settings { expiration_days: Some(*days), ..Settings::default() };
            }
            (Drift::Narrow, Some(Meaning { prefix, .. })) => prefix.push('x'),
            (Drift::Remove, _) => self.observed.lost.extend(document.rules.remove(place).id),
            _ => {}
        }
    }

    /// Leaves this much room beside the rules of others, if there is any rule of others to take away.
    fn make_room(&mut self, room: usize) {
        let Known::Known(document) = &mut self.observed.document else { return };
        let is_theirs = |rule: &ObservedRule| rule.id.as_deref().is_some_and(|id| id.starts_with("theirs-"));
        let theirs = document.rules.iter().filter(|rule| is_theirs(rule)).count();
        let mut surplus = (theirs + room).saturating_sub(super::MAX_RULES);
        document.rules.retain(|rule| {
            let goes = surplus > 0 && is_theirs(rule);
            surplus -= usize::from(goes);
            !goes
        });
    }
}
