//! Which policy decides about a service, and what that policy may do now.

use super::classify::{Change, is_destructive, plan_id};
use super::compile::{rule_id, service_prefix, touches_protected};
use super::ours::Ours;
use super::{Approval, ApprovalRequest, Blocked, Decision, Plan, Policy, PolicyEntry, Rule, Settings, WriteRules};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The policy that decides about `service`: highest priority, then longest expiration, then first name. Age never
/// counts, since restoring an object from Git resets it.
pub fn winner<'a>(policies: &'a [PolicyEntry], service: &str) -> Option<&'a PolicyEntry> {
    covering(policies, service).into_iter().next()
}

/// Policies that cover `service`, the winner first.
fn covering<'a>(policies: &'a [PolicyEntry], service: &str) -> Vec<&'a PolicyEntry> {
    let mut covering: Vec<&PolicyEntry> =
        policies.iter().filter(|p| p.removal.is_none() && p.selector.matches(service)).collect();
    covering.sort_by_key(|p| {
        let days = p.settings.expiration_days.unwrap_or(i32::MAX);
        (Reverse(p.priority), Reverse(days), p.owner.as_str())
    });
    covering
}

/// What the policies ask for one service.
pub(super) enum Verdict {
    /// No policy covers it.
    Uncovered,
    /// Exactly this rule of ours; `None`: no rule of ours.
    Exactly(Option<Rule>),
    /// The change waits for approval: what is in force stays.
    Waits,
    /// The deciding policy only observes: what is in force stays.
    Observed,
    /// Nothing of the deciding policy may be changed now: every rule of the service stays.
    Held,
}

/// Verdicts by service.
pub(super) type Verdicts<'a> = BTreeMap<&'a str, Verdict>;

/// What the policies are and what holds them back.
pub(super) struct Question<'p, 'o, 'a> {
    pub policy: &'p Policy,
    pub ours: &'o Ours<'a>,
    /// By owner: changes that a person decides about.
    pub requests: &'o Requests<'p>,
    /// Owners of which nothing may be changed now: what is in force stays.
    pub held: &'o BTreeSet<&'p str>,
}

/// Requests for approval by owner.
pub(super) type Requests<'p> = BTreeMap<&'p str, ApprovalRequest>;

impl<'p, 'a> Question<'p, '_, 'a> {
    /// Decides per service and writes the decisions into `plan`.
    pub fn resolve(&self, plan: &mut Plan) -> Verdicts<'a> {
        let mut verdicts = Verdicts::new();
        for service in self.ours.services() {
            let mut covering = covering(&self.policy.policies, service).into_iter();
            let Some(first) = covering.next() else {
                verdicts.insert(service, Verdict::Uncovered);
                continue;
            };
            for loser in covering {
                let lost = &mut plan.policies.entry(loser.owner.clone()).or_default().lost;
                lost.insert(service.to_owned(), first.owner.clone());
            }
            let (verdict, decision) = self.decide(first, service);
            if decision == Decision::Blocked {
                let prefix = service_prefix(&self.policy.logs_prefix, service);
                plan.blocked = Some(Blocked::ProtectedPrefix { prefix });
            }
            let won = &mut plan.policies.entry(first.owner.clone()).or_default().services;
            won.insert(service.to_owned(), decision);
            verdicts.insert(service, verdict);
        }
        verdicts
    }

    /// What `service` shall have now, and why.
    fn decide(&self, entry: &PolicyEntry, service: &str) -> (Verdict, Decision) {
        let prefix = service_prefix(&self.policy.logs_prefix, service);
        let is_held = self.held.contains(entry.owner.as_str());
        if touches_protected(self.policy, &prefix) {
            let verdict = match (entry.observe_only, is_held) {
                (true, _) => Verdict::Observed,
                (false, true) => Verdict::Held,
                (false, false) => Verdict::Exactly(None),
            };
            return (verdict, Decision::Blocked);
        }
        let wanted = (entry.settings != Settings::default()).then(|| Rule {
            id: rule_id(&entry.owner, &entry.uid8, service),
            prefix,
            settings: entry.settings.clone(),
        });
        let request = self.requests.get(entry.owner.as_str()).filter(|request| !request.approved);
        let asks = request.is_some_and(|request| request.entries.iter().any(|e| e.service == service));
        if self.ours.is_in_force(service, wanted.as_ref()) {
            (Verdict::Exactly(wanted), Decision::InForce)
        } else if entry.observe_only {
            (Verdict::Observed, Decision::ObserveOnly)
        } else if asks {
            (if is_held { Verdict::Held } else { Verdict::Waits }, Decision::ApprovalRequired)
        } else if is_held {
            (Verdict::Held, Decision::WaitingForWindow)
        } else {
            (Verdict::Exactly(wanted), Decision::Write)
        }
    }
}

/// The changes that a person decides about, of every policy that has some. `free` is what would be written if all of them
/// were approved and every window were open.
pub(super) fn requests<'p>(policy: &'p Policy, ours: &Ours, free: &WriteRules) -> Requests<'p> {
    let asking = policy.policies.iter().filter(|entry| entry.removal.is_none());
    let changes = asking.filter_map(|entry| {
        let entries = match entry.approval {
            Approval::Never => Vec::new(),
            Approval::DestructiveOnly => destructive(policy, ours, entry),
            Approval::Always => every(policy, ours, free, entry),
        };
        (!entries.is_empty()).then_some((entry, entries))
    });
    let request = |(entry, entries): (&'p PolicyEntry, Vec<Change>)| {
        let plan_id = plan_id(&entries);
        let approved = entry.approved_plans.contains(&plan_id);
        (entry.owner.as_str(), ApprovalRequest { plan_id, approved, entries })
    };
    changes.map(request).collect()
}

/// The destructive changes of one policy.
fn destructive(policy: &Policy, ours: &Ours, entry: &PolicyEntry) -> Vec<Change> {
    let won =
        ours.services().filter(|service| winner(&policy.policies, service).is_some_and(|w| w.owner == entry.owner));
    let open = won.filter(|service| !touches_protected(policy, &service_prefix(&policy.logs_prefix, service)));
    let change = |service: &str| {
        let change = change(ours, service, &entry.settings);
        is_destructive(&change.from, &change.to).then_some(change)
    };
    open.filter_map(change).collect()
}

/// Everything that the write `free` does to the services that one policy decides about, and to its own rules where no
/// policy decides or somebody spoilt them.
fn every(policy: &Policy, ours: &Ours, free: &WriteRules, entry: &PolicyEntry) -> Vec<Change> {
    let come: BTreeSet<&str> = free.add.iter().filter_map(|rule| ours.service_of(&rule.prefix)).collect();
    let decides = |service: &str| winner(&policy.policies, service).filter(|winner| !winner.observe_only);
    let mut entries: BTreeMap<&str, Change> = BTreeMap::new();
    for service in ours.services().filter(|service| decides(service).is_some_and(|w| w.owner == entry.owner)) {
        let goes = ours.of(service).iter().any(|rule| free.remove.contains(rule.id));
        if come.contains(service) {
            entries.insert(service, change(ours, service, &entry.settings));
        } else if goes {
            entries.insert(service, change(ours, service, &Settings::default()));
        }
    }
    for (service, rule) in ours.all().filter(|(_, rule)| free.remove.contains(rule.id) && rule.owner == entry.owner) {
        if !rule.sound || service.and_then(decides).is_none() {
            let name = service.unwrap_or(rule.id);
            entries.entry(name).or_insert_with(|| change(ours, name, &Settings::default()));
        }
    }
    entries.into_values().collect()
}

fn change(ours: &Ours, service: &str, to: &Settings) -> Change {
    Change { service: service.to_owned(), from: ours.in_force(service), to: to.clone() }
}
