//! Others who write rules like ours into the same bucket: an operator with another name, or one with the same name in another
//! Kubernetes cluster. Two who repair each other's rules would never come to rest.

use super::compile::{maker_of, owner_of};
use super::{Blocked, Observed, ObservedRule, Policy, PolicyEntry, Removal};
use std::collections::BTreeMap;

/// Whether somebody else works on this bucket, by the ids of its rules.
pub(super) fn contested(policy: &Policy, observed: &Observed) -> Option<Blocked> {
    let rules = || observed.document.known().into_iter().flat_map(|document| &document.rules);
    let mut others = rules().filter_map(|rule| other_installation(policy, rule));
    if let Some((installation, id)) = others.next() {
        let (installation, rules) = (Some(installation.to_owned()), others.count() + 1);
        return Some(Blocked::Conflicted { id: id.to_owned(), rules, installation });
    }
    let stays = policy.policies.iter().filter(|entry| entry.removal != Some(Removal::Orphan));
    let entries: BTreeMap<&str, &PolicyEntry> = stays.map(|entry| (entry.owner.as_str(), entry)).collect();
    let mut returned = rules().filter_map(|rule| rule.id.as_deref()).filter(|id| has_returned(policy, &entries, id));
    let id = returned.next()?.to_owned();
    Some(Blocked::Conflicted { id, rules: returned.count() + 1, installation: None })
}

/// The name of the installation that wrote a rule, and the id, if that is another one and the rule acts on our logs. What
/// this installation has left behind in earlier times has its own name.
fn other_installation<'a>(policy: &Policy, rule: &'a ObservedRule) -> Option<(&'a str, &'a str)> {
    let id = rule.id.as_deref()?;
    let (installation, _) = owner_of(id)?.split_once('.')?;
    let prefix = &rule.meaning.as_ref()?.prefix;
    let meets = prefix.starts_with(&policy.logs_prefix) || policy.logs_prefix.starts_with(prefix.as_str());
    let is_other = !policy.installation.is_empty() && installation != policy.installation;
    (is_other && meets).then_some((installation, id))
}

/// Whether a rule was written for an object whose rules a write of ours has replaced as a whole: nobody here writes it
/// again.
fn has_returned(policy: &Policy, entries: &BTreeMap<&str, &PolicyEntry>, id: &str) -> bool {
    let Some(maker) = maker_of(id).filter(|maker| policy.replaced.contains(*maker)) else { return false };
    let entry = owner_of(id).and_then(|owner| entries.get(owner));
    entry.is_some_and(|entry| maker != format!("{}/{}", entry.owner, entry.uid8))
}
