//! From verdicts to one write that leaves every other rule alone.

use super::classify::hex;
use super::fold::{self, Fold};
use super::ours::{Ours, OwnRule, Standing};
use super::resolve::{Basis, Verdict, Verdicts};
use super::{Blocked, Decision, Document, Observed, Plan, Policy, RuleGroup, WriteRules};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Rules S3 accepts per bucket, foreign ones included.
pub const MAX_RULES: usize = 1_000;

/// What every rule id of ours starts with.
const ID_PREFIX: &str = "logwise.io/";

/// Bytes of the service hash in a rule id.
const HASH_BYTES: usize = 8;

/// Groups of rules named where there are too many.
const MAX_GROUPS: usize = 5;

/// `<logs prefix>service_name=<service>/`. The last slash keeps `api` apart from `api-gateway`.
pub fn service_prefix(logs_prefix: &str, service: &str) -> String {
    format!("{logs_prefix}service_name={service}/")
}

/// The service whose whole prefix this is.
pub(super) fn service_of<'a>(logs_prefix: &str, prefix: &'a str) -> Option<&'a str> {
    let service = prefix.strip_prefix(logs_prefix)?.strip_prefix("service_name=")?.strip_suffix('/')?;
    is_nameable(service).then_some(service)
}

/// Whether a prefix can be made of this name that matches the objects of this service and no others.
pub(super) fn is_nameable(service: &str) -> bool {
    !service.is_empty() && !service.contains('/')
}

/// Whether a rule over `prefix` would match keys that no rule of ours may match.
pub(super) fn touches_protected(policy: &Policy, prefix: &str) -> bool {
    let protected = [format!("{}_spark_metadata/", policy.logs_prefix), policy.checkpoint_prefix.clone()];
    protected.iter().any(|p| p.starts_with(prefix) || prefix.starts_with(p.as_str()))
}

/// The rule id of one owner and service: at most 255 characters for any service name.
pub fn rule_id(owner: &str, uid8: &str, service: &str) -> String {
    format!("{ID_PREFIX}{owner}/{uid8}/{}", service_hash(service))
}

/// The service part of a rule id.
pub(super) fn service_hash(service: &str) -> String {
    hex(&Sha256::digest(service.as_bytes())[..HASH_BYTES])
}

/// Whether a rule with this id is one of `owner`'s.
pub fn is_owned_by(id: &str, owner: &str) -> bool {
    owner_of(id) == Some(owner)
}

/// The owner in a rule id of our form.
pub fn owner_of(id: &str) -> Option<&str> {
    id_parts(id).map(|(owner, _)| owner)
}

/// `<owner>/<uid8>` of a rule id of our form: the object for which the rule was written.
pub fn maker_of(id: &str) -> Option<&str> {
    id_parts(id)?;
    id.strip_prefix(ID_PREFIX)?.rsplit_once('/').map(|(maker, _)| maker)
}

/// Owner and service hash of a rule id of our form.
pub(super) fn id_parts(id: &str) -> Option<(&str, &str)> {
    let (owner, rest) = id.strip_prefix(ID_PREFIX)?.split_once('/')?;
    let (_, hash) = rest.rsplit_once('/')?;
    let is_hash = hash.len() == 2 * HASH_BYTES && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some((owner, hash))
}

/// A write, with the folded rules in it.
pub(super) struct Composed<'a> {
    pub write: WriteRules,
    pub folds: Vec<Fold<'a>>,
}

/// The difference between the rules of ours in the configuration and those that the verdicts leave or ask for.
pub(super) fn compose<'a>(basis: &Basis<'a>, ours: &Ours<'a>, verdicts: &Verdicts<'a>) -> Composed<'a> {
    let mut write = WriteRules::default();
    for (service, rule) in ours.all() {
        let stays = match service.and_then(|s| Some((s, verdicts.get(s)?))) {
            Some((service, verdict)) => stays(ours, service, verdict, rule),
            None => match rule.standing {
                Standing::Leaving => false,
                Standing::Observer => !fold::is_taken_over(basis, ours, rule, verdicts),
                Standing::Held => true,
                Standing::Active => basis.kept.has(rule.id) || fold::is_waited_for(basis, ours, rule, verdicts),
            },
        };
        if !stays {
            write.remove.insert(rule.id.to_owned());
        }
    }
    for (service, verdict) in verdicts {
        let Verdict::Exactly(Some(wanted)) = verdict else { continue };
        if !ours.of(service).iter().any(|rule| rule.is(wanted)) {
            write.add.push(wanted.clone());
        }
    }
    write.add.sort_by(|a, b| a.id.cmp(&b.id));
    Composed { write, folds: Vec::new() }
}

/// Whether a rule of `service` stays. At most one of them does, except where nobody but observers has a say.
fn stays(ours: &Ours, service: &str, verdict: &Verdict, rule: &OwnRule) -> bool {
    let chosen = |may_stay: &dyn Fn(&OwnRule) -> bool| {
        ours.deciding(service, may_stay).is_some_and(|chosen| std::ptr::eq(chosen, rule))
    };
    let is_sound = |r: &OwnRule| r.standing == Standing::Active && r.sound;
    let observes = |r: &OwnRule| r.standing == Standing::Observer;
    match (verdict, rule.standing) {
        (_, Standing::Leaving) => false,
        (Verdict::Exactly(wanted), _) => wanted.as_ref().is_some_and(|wanted| rule.is(wanted)),
        (Verdict::Folded, _) => false,
        (_, Standing::Held) => true,
        // The id of a spoilt rule may be needed for the service that it names.
        (Verdict::Held, standing) => standing == Standing::Observer || rule.sound,
        (Verdict::Waits, _) => chosen(&|r| is_sound(r) || observes(r)),
        (Verdict::Observed | Verdict::Uncovered, Standing::Observer) => true,
        (Verdict::Uncovered, Standing::Active) => false,
        (Verdict::Observed, Standing::Active) => {
            let prefix_taken = ours.of(service).iter().any(|r| observes(r) && r.acts);
            !prefix_taken && chosen(&is_sound)
        }
    }
}

/// Rules of others in the configuration.
pub(super) fn foreign(observed: &Observed, ours: &Ours) -> usize {
    observed.document.known().map_or(0, |document| document.rules.len()) - ours.all().count()
}

/// Rules of ours after the write.
pub(super) fn after(ours: &Ours, write: &WriteRules) -> usize {
    ours.all().filter(|(_, rule)| !write.remove.contains(rule.id)).count() + write.add.len()
}

/// Leaves services without a rule out of the write if S3's limit would be passed. Replacements and removals go on:
/// they need no room, and a policy must be deletable however full the bucket is. What room is left goes to folded rules.
pub(super) fn fit(basis: &Basis, ours: &Ours, composed: &mut Composed, plan: &mut Plan) {
    let (foreign, after) = (foreign(basis.observed, ours), after(ours, &composed.write));
    if foreign + after <= MAX_RULES || composed.write.add.is_empty() {
        return;
    }
    plan.blocked = Some(too_many(basis, ours, &composed.write, (foreign, after)));
    let Composed { write, folds } = composed;
    let removed = ours.folds().filter(|(_, rule)| write.remove.contains(rule.id)).map(|(beginning, _)| beginning);
    let replaced: BTreeSet<&str> = removed.collect();
    let replaces = |fold: &Fold| {
        replaced.contains(fold.beginning) || fold.members.iter().any(|service| !ours.of(service).is_empty())
    };
    let mut left_out: BTreeSet<String> = BTreeSet::new();
    write.add.retain(|rule| match ours.service_of(&rule.prefix) {
        Some(service) if ours.of(service).is_empty() => {
            left_out.insert(service.to_owned());
            false
        }
        _ => true,
    });
    let new = folds.iter().filter(|fold| !replaces(fold)).count();
    let stay = ours.all().filter(|(_, rule)| !write.remove.contains(rule.id)).count() + write.add.len() - new;
    let mut room = MAX_RULES.saturating_sub(foreign + stay);
    for fold in folds.iter().filter(|fold| !replaces(fold)) {
        if room > 0 {
            room -= 1;
        } else {
            write.add.retain(|rule| rule.id != fold.rule.id);
            left_out.extend(fold.members.iter().map(|service| (*service).to_owned()));
        }
    }
    for (service, decision) in plan.policies.values_mut().flat_map(|part| &mut part.services) {
        if *decision == Decision::Write && left_out.contains(service) {
            *decision = Decision::Blocked;
        }
    }
}

/// Who has the rules that are too many.
fn too_many(basis: &Basis, ours: &Ours, write: &WriteRules, (foreign, needed): (usize, usize)) -> Blocked {
    let own: BTreeSet<&str> = ours.all().map(|(_, rule)| rule.id).collect();
    let rules = basis.observed.document.known().into_iter().flat_map(|document| &document.rules);
    let ids = rules.map(|rule| rule.id.as_deref().unwrap_or_default()).filter(|id| !own.contains(id));
    let stay = ours.all().map(|(_, rule)| rule).filter(|rule| !write.remove.contains(rule.id)).map(|rule| rule.owner);
    let come = write.add.iter().filter_map(|rule| owner_of(&rule.id));
    let (fold, ours) = (basis.policy.fold, needed);
    Blocked::TooManyRules { foreign, ours, others: largest(ids.map(kind)), policies: largest(stay.chain(come)), fold }
}

/// The most frequent names, with how often each occurs.
fn largest<'n>(names: impl Iterator<Item = &'n str>) -> Vec<RuleGroup> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let group = |(name, rules): (&str, usize)| RuleGroup { name: name.to_owned(), rules };
    let mut groups: Vec<RuleGroup> = counts.into_iter().map(group).collect();
    groups.sort_by_key(|group| Reverse(group.rules));
    groups.truncate(MAX_GROUPS);
    groups
}

/// What the ids of rules of one kind begin with: everything up to the owner in an id of our form, else up to the first
/// separator, or before the first digit.
fn kind(id: &str) -> &str {
    let of_owner = owner_of(id).map(|owner| ID_PREFIX.len() + owner.len() + 1);
    let separated = || id.find(['-', '_', '/', '.', ':', ' ']).map(|at| at + 1);
    let end = of_owner.or_else(separated).or_else(|| id.find(|c: char| c.is_ascii_digit()).filter(|at| *at > 0));
    &id[..end.unwrap_or(id.len())]
}

/// Refuses the whole write if it could not carry the rules of others through.
pub(super) fn refuse(document: Option<&Document>, write: &mut WriteRules, plan: &mut Plan) {
    let Some(why) = document.and_then(|d| d.not_preservable.clone()) else { return };
    if write.remove.is_empty() && write.add.is_empty() {
        return;
    }
    plan.blocked = Some(Blocked::ForeignRuleNotPreservable { why });
    withhold(plan);
    *write = WriteRules::default();
}

/// Refuses the whole write if somebody else works with the rules of this bucket.
pub(super) fn make_way(contested: Option<Blocked>, write: &mut WriteRules, plan: &mut Plan) {
    let Some(contested) = contested else { return };
    plan.blocked = Some(contested);
    withhold(plan);
    *write = WriteRules::default();
}

/// Refuses what gives a service to a policy, or takes it from one, while not all policies are understood. The rules of
/// policies that are being deleted go all the same: without a rule, everything is kept.
pub(super) fn wait_for_all(policy: &Policy, ours: &Ours, write: &mut WriteRules, plan: &mut Plan) {
    let Some((name, why)) = policy.unclear.first_key_value() else { return };
    plan.blocked = Some(Blocked::PolicyUnclear { policy: name.clone(), why: why.clone() });
    withhold(plan);
    write.add.clear();
    let leaving = ours.all().filter(|(_, rule)| rule.standing == Standing::Leaving).map(|(_, rule)| rule.id);
    let leaving: BTreeSet<&str> = leaving.collect();
    write.remove.retain(|id| leaving.contains(id.as_str()));
}

fn withhold(plan: &mut Plan) {
    for decision in plan.policies.values_mut().flat_map(|part| part.services.values_mut()) {
        if *decision == Decision::Write {
            *decision = Decision::Blocked;
        }
    }
}

/// Counts, per owner, the rules in the configuration after the write.
pub(super) fn count_rules(ours: &Ours, write: &WriteRules, plan: &mut Plan) {
    let stay = ours.all().map(|(_, rule)| rule).filter(|rule| !write.remove.contains(rule.id)).map(|rule| rule.owner);
    let come = write.add.iter().filter_map(|rule| owner_of(&rule.id));
    for owner in stay.chain(come) {
        if let Some(part) = plan.policies.get_mut(owner) {
            part.rules += 1;
        }
    }
}

/// Counts, per owner that is held, the rules that would go and stay for now. Rules of services that the owner decides
/// about are left to that decision.
pub(super) fn count_kept(
    ours: &Ours,
    (free, write): (&WriteRules, &WriteRules),
    held: &BTreeSet<&str>,
    plan: &mut Plan,
) {
    let stay = ours.all().filter(|(_, rule)| free.remove.contains(rule.id) && !write.remove.contains(rule.id));
    for (service, rule) in stay.filter(|(_, rule)| held.contains(rule.owner)) {
        let Some(part) = plan.policies.get_mut(rule.owner) else { continue };
        if !service.is_some_and(|service| part.services.contains_key(service)) {
            part.kept += 1;
        }
    }
}
