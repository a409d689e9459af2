//! The rules of ours in the observed configuration, and what they do now.

use super::beginnings::Beginnings;
use super::compile::{id_parts, is_nameable, service_hash, service_of, service_prefix};
use super::fold;
use super::{Meaning, Observed, ObservedRule, Policy, PolicyEntry, Removal, Rule, Settings};
use std::collections::{BTreeMap, BTreeSet};

/// How far we may go with the rules of one owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// They come and go as the policies say.
    Active,
    /// They stay, unless an active policy takes their service over.
    Observer,
    /// They stay for now, beside whatever else is there, unless an active policy takes their service over.
    Held,
    /// All of them go.
    Leaving,
}

/// The standing of a policy's rules; `None`: they are foreign.
fn standing(entry: &PolicyEntry) -> Option<Standing> {
    match (entry.removal, entry.observe_only) {
        (Some(Removal::Orphan), _) => None,
        // Observing is a promise to write nothing, and deleting the object does not end it.
        (_, true) => Some(Standing::Observer),
        (Some(Removal::RemoveRules), false) => Some(Standing::Leaving),
        (None, false) => Some(Standing::Active),
    }
}

/// An observed rule whose id names one of the policies.
pub(super) struct OwnRule<'a> {
    /// Its id.
    pub id: &'a str,
    /// The owner in its id.
    pub owner: &'a str,
    /// What may happen to it.
    pub standing: Standing,
    /// What it does; `None`: unknown, since somebody changed or disabled it.
    pub meaning: Option<&'a Meaning>,
    /// Whether it is known to act on exactly the objects of its service.
    pub acts: bool,
    /// Whether, besides, its id names that service and no other rule has this id.
    pub sound: bool,
    /// The beginning of names on which it is known to act, as its id says, if it is a folded rule.
    pub beginning: Option<&'a str>,
}

impl OwnRule<'_> {
    /// Whether this is exactly `rule`.
    pub fn is(&self, rule: &Rule) -> bool {
        let same = |m: &Meaning| m.prefix == rule.prefix && m.settings == rule.settings;
        self.sound && self.id == rule.id && self.meaning.is_some_and(same)
    }
}

/// All rules of ours, by what they act on.
pub(super) struct Ours<'a> {
    logs_prefix: &'a str,
    /// Services found and services that have a rule of ours.
    services: BTreeSet<&'a str>,
    /// By service: the one its prefix names, or else the one whose hash stands in the id.
    by_service: BTreeMap<&'a str, Vec<OwnRule<'a>>>,
    /// Rules that belong to no known service.
    stray: Vec<OwnRule<'a>>,
    /// What rules of ours do whose prefix is not that of one service, by prefix.
    wide: Beginnings<'a, &'a Meaning>,
    /// Services whose logs have been gone for so long that they need no rule.
    gone: BTreeSet<&'a str>,
    /// Owners of which nothing may be changed now.
    held: BTreeSet<&'a str>,
}

impl<'a> Ours<'a> {
    /// Sorts out the observed rules. Rules of unknown and of orphaned owners are foreign.
    pub fn read(policy: &'a Policy, observed: &'a Observed) -> Self {
        let standings: BTreeMap<&str, Standing> =
            policy.policies.iter().filter_map(|p| Some((p.owner.as_str(), standing(p)?))).collect();
        let document: &[ObservedRule] = observed.document.known().map_or(&[], |d| &d.rules);
        let own: Vec<Own<'a>> = document.iter().filter_map(|rule| Own::parse(rule, &standings)).collect();
        let named = |own: &Own<'a>| own.meaning.and_then(|m| service_of(&policy.logs_prefix, &m.prefix));
        let found = observed.services.known().into_iter().flatten().map(String::as_str).filter(|s| is_nameable(s));
        let services: BTreeSet<&str> = found.chain(own.iter().filter_map(named)).collect();
        let by_hash: BTreeMap<String, &str> = services.iter().map(|s| (service_hash(s), *s)).collect();
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        own.iter().for_each(|own| *uses.entry(own.id).or_default() += 1);
        let wide = own.iter().filter(|own| named(own).is_none()).filter_map(|own| own.meaning);
        let mut ours = Self {
            logs_prefix: &policy.logs_prefix,
            services,
            by_service: BTreeMap::new(),
            stray: Vec::new(),
            wide: Beginnings::new(wide.map(|meaning| (meaning.prefix.as_str(), meaning))),
            gone: gone(observed),
            held: BTreeSet::new(),
        };
        for own in own {
            let (by_prefix, by_id) = (named(&own), by_hash.get(own.hash).copied());
            let acts = by_prefix.is_some();
            let sound = acts && by_prefix == by_id && uses[own.id] == 1;
            let shared = own.meaning.and_then(|m| fold::beginning_of(&policy.logs_prefix, &m.prefix));
            let is_own_id = |beginning: &&str| uses[own.id] == 1 && own.hash == fold::fold_hash(beginning);
            let beginning = shared.filter(is_own_id);
            let Own { id, owner, standing, meaning, .. } = own;
            let rules = match by_prefix.or(by_id) {
                Some(service) => ours.by_service.entry(service).or_default(),
                None => &mut ours.stray,
            };
            rules.push(OwnRule { id, owner, standing, meaning, acts, sound, beginning });
        }
        ours
    }

    /// Services to decide about.
    pub fn services(&self) -> impl Iterator<Item = &'a str> {
        self.services.iter().copied()
    }

    /// Whether the logs of a service have been gone for so long that it needs no rule.
    pub fn is_gone(&self, service: &str) -> bool {
        self.gone.contains(service)
    }

    /// The rules of one service.
    pub fn of(&self, service: &str) -> &[OwnRule<'a>] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }

    /// The same rules, where those of the owners named stay, unless an active policy takes their service over.
    pub fn held_back(mut self, owners: &BTreeSet<&'a str>) -> Self {
        let rules = self.by_service.values_mut().flatten().chain(&mut self.stray);
        rules.filter(|rule| owners.contains(rule.owner)).for_each(|rule| rule.standing = Standing::Held);
        self.held.clone_from(owners);
        self
    }

    /// Whether nothing of this owner may be changed now.
    pub fn is_held(&self, owner: &str) -> bool {
        self.held.contains(owner)
    }

    /// The service that has this prefix.
    pub fn service_of<'b>(&self, prefix: &'b str) -> Option<&'b str> {
        service_of(self.logs_prefix, prefix)
    }

    /// The folded rules.
    pub fn folds(&self) -> impl Iterator<Item = (&'a str, &OwnRule<'a>)> {
        self.stray.iter().filter_map(|rule| Some((rule.beginning?, rule)))
    }

    /// Every rule with the service it belongs to, if known.
    pub fn all(&self) -> impl Iterator<Item = (Option<&'a str>, &OwnRule<'a>)> {
        let served = self.by_service.iter().flat_map(|(service, rules)| rules.iter().map(|r| (Some(*service), r)));
        served.chain(self.stray.iter().map(|r| (None, r)))
    }

    /// What rules of ours do to the objects of `service` now. What is not known counts as nothing, so that a change
    /// is rather taken for destructive than not.
    pub fn in_force(&self, service: &str) -> Settings {
        let prefix = service_prefix(self.logs_prefix, service);
        let exact = self.of(service).iter().filter(|r| r.acts).filter_map(|r| r.meaning);
        exact.chain(self.wide.of(&prefix).copied()).map(|m| m.settings.clone()).reduce(both).unwrap_or_default()
    }

    /// Whether `service` has exactly the wanted rule and no other.
    pub fn is_in_force(&self, service: &str, wanted: Option<&Rule>) -> bool {
        match (self.of(service), wanted) {
            ([], None) => true,
            ([only], Some(wanted)) => only.is(wanted),
            _ => false,
        }
    }

    /// The one rule that stays of those of `service` that `may_stay`: the one that now decides about its objects, as
    /// far as that is known.
    pub fn deciding(&self, service: &str, may_stay: impl Fn(&OwnRule) -> bool) -> Option<&OwnRule<'a>> {
        let days = |days: Option<i32>| days.unwrap_or(i32::MAX);
        self.of(service).iter().filter(|r| may_stay(r)).min_by_key(|r| {
            let settings = r.meaning.map(|m| &m.settings);
            let expiration = days(settings.and_then(|s| s.expiration_days));
            let noncurrent = days(settings.and_then(|s| s.noncurrent_days));
            (!r.acts, expiration, noncurrent, r.id)
        })
    }
}

/// Services that are gone for good; none while nobody knows which there are.
fn gone(observed: &Observed) -> BTreeSet<&str> {
    let Some(found) = observed.services.known() else { return BTreeSet::new() };
    observed.vanished.iter().filter(|service| !found.contains(*service)).map(String::as_str).collect()
}

/// The parts of an observed rule of ours, before it is known which service it belongs to.
struct Own<'a> {
    id: &'a str,
    owner: &'a str,
    hash: &'a str,
    standing: Standing,
    meaning: Option<&'a Meaning>,
}

impl<'a> Own<'a> {
    fn parse(rule: &'a ObservedRule, standings: &BTreeMap<&str, Standing>) -> Option<Self> {
        let id = rule.id.as_deref()?;
        let (owner, hash) = id_parts(id)?;
        let standing = *standings.get(owner)?;
        Some(Self { id, owner, hash, standing, meaning: rule.meaning.as_ref() })
    }
}

/// What two rules over the same objects do together: S3 lets the shorter time win.
fn both(a: Settings, b: Settings) -> Settings {
    let mut transitions = [a.transitions, b.transitions].concat();
    transitions.sort();
    transitions.dedup();
    Settings {
        expiration_days: sooner(a.expiration_days, b.expiration_days),
        transitions,
        abort_multipart_days: sooner(a.abort_multipart_days, b.abort_multipart_days),
        noncurrent_days: sooner(a.noncurrent_days, b.noncurrent_days),
    }
}

/// `None` is never.
fn sooner(a: Option<i32>, b: Option<i32>) -> Option<i32> {
    a.into_iter().chain(b).min()
}
