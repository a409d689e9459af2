//! Which policy decides about a service, and what that policy may do now.

use super::classify::{Destructive, is_destructive, plan_id};
use super::compile::{rule_id, service_prefix, touches_protected};
use super::ours::Ours;
use super::{Approval, ApprovalRequest, Blocked, Decision, Plan, Policy, PolicyEntry, Rule, Settings};
use std::cmp::Reverse;
use std::collections::BTreeMap;

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
}

/// Verdicts by service.
pub(super) type Verdicts<'a> = BTreeMap<&'a str, Verdict>;

/// Decides per service and writes the decisions into `plan`.
pub(super) fn resolve<'a>(policy: &Policy, ours: &Ours<'a>, plan: &mut Plan) -> Verdicts<'a> {
    let requests = requests(policy, ours);
    let mut verdicts = Verdicts::new();
    for service in ours.services() {
        let mut covering = covering(&policy.policies, service).into_iter();
        let Some(first) = covering.next() else {
            verdicts.insert(service, Verdict::Uncovered);
            continue;
        };
        for loser in covering {
            let lost = &mut plan.policies.entry(loser.owner.clone()).or_default().lost;
            lost.insert(service.to_owned(), first.owner.clone());
        }
        let (verdict, decision) = decide(policy, first, service, ours, requests.get(first.owner.as_str()));
        if decision == Decision::Blocked {
            let prefix = service_prefix(&policy.logs_prefix, service);
            plan.blocked = Some(Blocked::ProtectedPrefix { prefix });
        }
        let won = &mut plan.policies.entry(first.owner.clone()).or_default().services;
        won.insert(service.to_owned(), decision);
        verdicts.insert(service, verdict);
    }
    for (owner, request) in requests {
        plan.policies.entry(owner.to_owned()).or_default().approval = Some(request);
    }
    verdicts
}

/// The destructive changes of every policy that has some and asks for approval.
fn requests<'p>(policy: &'p Policy, ours: &Ours) -> BTreeMap<&'p str, ApprovalRequest> {
    let mut changes: BTreeMap<&str, (&PolicyEntry, Vec<Destructive>)> = BTreeMap::new();
    for service in ours.services() {
        let Some(entry) = winner(&policy.policies, service) else { continue };
        let protected = touches_protected(policy, &service_prefix(&policy.logs_prefix, service));
        if entry.approval == Approval::Never || protected {
            continue;
        }
        let from = ours.in_force(service);
        if is_destructive(&from, &entry.settings) {
            let change = Destructive { service: service.to_owned(), from, to: entry.settings.clone() };
            changes.entry(&entry.owner).or_insert_with(|| (entry, Vec::new())).1.push(change);
        }
    }
    let request = |(owner, (entry, entries)): (_, (&PolicyEntry, Vec<Destructive>))| {
        let plan_id = plan_id(&entries);
        let approved = entry.approved_plans.contains(&plan_id);
        (owner, ApprovalRequest { plan_id, approved, entries })
    };
    changes.into_iter().map(request).collect()
}

/// What `service` shall have now, and why.
fn decide(
    policy: &Policy,
    entry: &PolicyEntry,
    service: &str,
    ours: &Ours,
    request: Option<&ApprovalRequest>,
) -> (Verdict, Decision) {
    let prefix = service_prefix(&policy.logs_prefix, service);
    if touches_protected(policy, &prefix) {
        let verdict = if entry.observe_only { Verdict::Observed } else { Verdict::Exactly(None) };
        return (verdict, Decision::Blocked);
    }
    let wanted = (entry.settings != Settings::default()).then(|| Rule {
        id: rule_id(&entry.owner, &entry.uid8, service),
        prefix,
        settings: entry.settings.clone(),
    });
    if ours.is_in_force(service, wanted.as_ref()) {
        (Verdict::Exactly(wanted), Decision::InForce)
    } else if entry.observe_only {
        (Verdict::Observed, Decision::ObserveOnly)
    } else if request.is_some_and(|r| !r.approved && r.entries.iter().any(|e| e.service == service)) {
        (Verdict::Waits, Decision::ApprovalRequired)
    } else {
        (Verdict::Exactly(wanted), Decision::Write)
    }
}
