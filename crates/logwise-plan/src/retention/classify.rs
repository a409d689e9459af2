//! Which changes reduce what survives, and what a person approves.

use super::bared;
use super::compile::{id_parts, service_prefix};
use super::resolve::Requests;
use super::{Approval, Expires, Noncurrent, Observed, Policy, PolicyEntry, Reach, Settings};
use crate::Known;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A change of the rules of one service that a person decides about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The service; the id of the rule where no service is known for it.
    pub service: String,
    /// What rules of ours are known to do now; empty settings: nothing, or nothing that could be understood.
    pub from: Settings,
    /// What is wanted; empty settings: no rule.
    pub to: Settings,
}

/// Whether replacing `from` by `to` lets an existing object or version of one service go earlier than before.
pub fn is_destructive(from: &Settings, to: &Settings) -> bool {
    lets_go_earlier(&[Reach::over("", from)], &[Reach::over("", to)])
}

/// Whether an object or a version that exists now may go earlier under the rules `after` than under the rules `before`.
///
/// It may, unless all that a rule does afterwards was done before by one rule, to the same objects or more of them, and
/// no later. So fewer days, a wider prefix, a new match, and an expiration or a clean-up of noncurrent versions that
/// was not there are destructive. A date and a number of days cannot be compared.
pub fn lets_go_earlier(before: &[Reach], after: &[Reach]) -> bool {
    after.iter().filter(|rule| rule.enabled).any(|rule| !was_done(before, rule)) || counts_anew(before, after)
}

/// Whether one of `before` did all that `rule` does, to all of its objects, and no later.
fn was_done(before: &[Reach], rule: &Reach) -> bool {
    let wider = || before.iter().filter(|other| other.enabled && covers(other, rule));
    let keeps = |noncurrent: Noncurrent| noncurrent.newer.unwrap_or(0);
    let expired = |at| wider().filter_map(|other| other.expires).any(|earlier| is_no_later(earlier, at));
    let removed = |at: Noncurrent| {
        wider().filter_map(|other| other.noncurrent).any(|b| b.days <= at.days && keeps(b) <= keeps(at))
    };
    rule.expires.is_none_or(expired) && rule.noncurrent.is_none_or(removed)
}

/// Whether `wide` acts on every object on which `narrow` acts.
fn covers(wide: &Reach, narrow: &Reach) -> bool {
    narrow.prefix.starts_with(&wide.prefix)
        && wide.tags.iter().all(|(key, value)| narrow.tags.get(key) == Some(value))
        && wide.larger_than.is_none_or(|least| narrow.larger_than.is_some_and(|other| other >= least))
        && wide.smaller_than.is_none_or(|most| narrow.smaller_than.is_some_and(|other| other <= most))
}

fn is_no_later(one: Expires, other: Expires) -> bool {
    match (one, other) {
        (Expires::Days(one), Expires::Days(other)) => one <= other,
        (Expires::Date(one), Expires::Date(other)) => one <= other,
        _ => false,
    }
}

/// Whether a version may go because another one stays: where a rule keeps a number of versions, and others removed only
/// versions with certain tags or of certain sizes, a version that is spared pushes older ones out of the number.
fn counts_anew(before: &[Reach], after: &[Reach]) -> bool {
    let keeps_some = |rule: &Reach| rule.noncurrent.is_some_and(|noncurrent| noncurrent.newer.is_some_and(|n| n > 0));
    let is_picky = |rule: &Reach| !rule.tags.is_empty() || rule.larger_than.is_some() || rule.smaller_than.is_some();
    let picked = |rule: &Reach| rule.noncurrent.is_some() && is_picky(rule);
    let is_same = || before.iter().all(|rule| after.contains(rule)) && after.iter().all(|rule| before.contains(rule));
    let any = |rules: &[Reach], is: &dyn Fn(&Reach) -> bool| rules.iter().any(|rule| rule.enabled && is(rule));
    any(after, &keeps_some) && any(before, &picked) && !is_same()
}

/// Takes out of what the policies ask approval for the services that are newer than their policy: the approval of a
/// policy that is wholly in force holds for those that come after it.
pub(super) fn spare_newcomers<'p>(policy: &'p Policy, observed: &Observed, requests: &mut Requests<'p>) {
    if observed.oldest.is_empty() || requests.is_empty() {
        return;
    }
    let governed = Governed::read(observed);
    let may_spare = |entry: &&PolicyEntry| entry.approval == Approval::DestructiveOnly && entry.programmed.is_some();
    for entry in policy.policies.iter().filter(may_spare) {
        let Some(request) = requests.get_mut(entry.owner.as_str()) else { continue };
        let asked = request.entries.len();
        let is_new = |change: &Change| {
            let prefix = service_prefix(&policy.logs_prefix, &change.service);
            change.from == Settings::default()
                && came_later((policy, entry), &change.service, observed)
                && !governed.has(entry, &prefix, &change.service)
        };
        request.entries.retain(|change| !is_new(change));
        if request.entries.is_empty() {
            requests.remove(entry.owner.as_str());
        } else if request.entries.len() < asked {
            request.plan_id = plan_id(&request.entries);
            request.approved = entry.approved_plans.contains(&request.plan_id);
        }
    }
}

/// From when on the objects of `service` must be for its first rule to need no approval: the policy was wholly in force by
/// then, and the service has lost no rule of ours since. `None`: it needs one.
pub fn newcomers_since(policy: &Policy, entry: &PolicyEntry, service: &str) -> Option<Timestamp> {
    let programmed = entry.programmed?;
    Some(bared::since(policy, service).map_or(programmed, |bared| programmed.max(bared)))
}

/// Whether every object of a service that the policy would remove is younger than the policy as it is now.
fn came_later((policy, entry): (&Policy, &PolicyEntry), service: &str, observed: &Observed) -> bool {
    let Some(Known::Known(oldest)) = observed.oldest.get(service) else { return false };
    // S3 gives whole seconds.
    let is_younger = newcomers_since(policy, entry, service).is_some_and(|at| oldest.as_second() > at.as_second());
    // A listing of objects has no noncurrent versions.
    is_younger && (entry.settings.noncurrent_days.is_none() || observed.unversioned)
}

/// What the rules in the configuration are for, whoever wrote them, and those of ours that somebody else has taken away: a
/// service that has one has been somebody's before.
struct Governed<'a> {
    prefixes: BTreeSet<&'a str>,
    /// Last parts of ids.
    keys: BTreeSet<&'a str>,
    /// Owners of rules that are gone, by the last parts of their ids.
    lost: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Governed<'a> {
    fn read(observed: &'a Observed) -> Self {
        let rules = || observed.document.known().into_iter().flat_map(|document| &document.rules);
        let meant = rules().filter_map(|rule| rule.meaning.as_ref()).map(|meaning| meaning.prefix.as_str());
        let reached = rules().filter_map(|rule| rule.reach.as_ref()).map(|reach| reach.prefix.as_str());
        let keys = rules().filter_map(|rule| id_parts(rule.id.as_deref()?)).map(|(_, key)| key);
        let mut lost: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (owner, key) in observed.lost.iter().filter_map(|id| id_parts(id)) {
            lost.entry(key).or_default().insert(owner);
        }
        Self { prefixes: meant.chain(reached).collect(), keys: keys.collect(), lost }
    }

    fn has(&self, entry: &PolicyEntry, prefix: &str, service: &str) -> bool {
        // A policy puts back what it lost itself.
        let is_of_others = |key: &str| {
            self.lost.get(key).is_some_and(|owners| owners.iter().any(|owner| *owner != entry.owner.as_str()))
        };
        let is_here = |key: String| self.keys.contains(key.as_str()) || is_of_others(&key);
        self.prefixes.contains(prefix) || bared::keys(service).any(is_here)
    }
}

/// The id that approves exactly these entries: equal sets give equal ids in any order.
pub fn plan_id(entries: &[Change]) -> String {
    let mut sorted: Vec<&Change> = entries.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for entry in sorted {
        for part in [&entry.service, &canonical(&entry.from), &canonical(&entry.to)] {
            // Lengths keep neighbouring fields apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    format!("rp-{}", hex(&hash.finalize()[..6]))
}

/// One text per meaning.
fn canonical(settings: &Settings) -> String {
    let mut text = String::new();
    let days = |days: Option<i32>| days.map_or_else(|| "never".to_owned(), |d| d.to_string());
    let _ = write!(text, "expire {}", days(settings.expiration_days));
    let _ = write!(text, " noncurrent {}", days(settings.noncurrent_days));
    let _ = write!(text, " abort {}", days(settings.abort_multipart_days));
    for transition in &settings.transitions {
        let _ = write!(text, " {:?} {}", transition.storage_class, transition.days);
    }
    text
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
