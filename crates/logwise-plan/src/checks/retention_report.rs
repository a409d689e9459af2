//! Whether a plan about lifecycle rules tells the truth about what it does.

use super::retention::{Held, View, days};
use super::waits_until;
use crate::retention::{Approval, Blocked, Decision, PolicyEntry, Settings, plan_id};
use std::collections::BTreeSet;

/// Adds what is untrue in the report of the plan.
pub(super) fn report(view: &View, found: &mut Vec<String>) {
    let owners: BTreeSet<&String> = view.policy.policies.iter().map(|p| &p.owner).collect();
    if !view.plan.policies.keys().eq(owners) {
        found.push("does not report on exactly the given policies".to_owned());
    }
    for entry in &view.policy.policies {
        let Some(part) = view.plan.policies.get(&entry.owner) else { continue };
        let rules = view.after.iter().filter(|held| held.owner.owner == entry.owner).count();
        if part.rules != rules {
            found.push(format!("{}: counts {} rules where there are {rules}", entry.owner, part.rules));
        }
        if let Some(service) = part.services.keys().chain(part.lost.keys()).find(|s| !view.is_known(s)) {
            found.push(format!("{}: decides about {service:?}, which nobody found", entry.owner));
        }
        if part.next_opening.is_some() && !waits_until(&entry.windows, view.now, part.next_opening) {
            found.push(format!("{}: waits for something else than its next window", entry.owner));
        }
        if part.kept > part.rules || (part.kept > 0 && !view.is_inert(entry)) {
            found.push(format!("{}: keeps rules that are not there or may go", entry.owner));
        }
        approval(view, entry, found);
    }
    for service in services(view) {
        decision(view, service, found);
    }
}

/// Services that a plan has to decide about.
pub(super) fn services<'a>(view: &View<'a>) -> BTreeSet<&'a str> {
    let found = view.observed.services.known().into_iter().flatten().map(String::as_str);
    let named = view.before.iter().filter_map(|held| view.service(held.prefix?));
    found.filter(|s| !s.is_empty() && !s.contains('/')).chain(named).collect()
}

/// Checks what the request for approval of one policy says.
fn approval(view: &View, entry: &PolicyEntry, found: &mut Vec<String>) {
    let Some(request) = view.plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref()) else { return };
    if entry.approval == Approval::Never {
        found.push(format!("{}: asks for approval where none is needed", entry.owner));
    }
    if request.approved != entry.approved_plans.contains(&request.plan_id) {
        found.push(format!("{}: is wrong about having been approved", entry.owner));
    }
    if request.plan_id != plan_id(&request.entries) {
        found.push(format!("{}: asks under another id than that of its changes", entry.owner));
    }
    for change in &request.entries {
        let won = view.winner(&change.service).is_some_and(|winner| winner.owner == entry.owner);
        let removes = entry.approval == Approval::Always && change.to == Settings::default();
        let has_rule = |held: &Held| {
            (won || held.owner.owner == entry.owner)
                && (held.id == change.service || view.served(held) == Some(&*change.service))
        };
        let asked = if removes { view.before.iter().any(has_rule) } else { won && change.to == entry.settings };
        let known = change.service.starts_with("logwise.io/") || days(&change.from) == view.survival(&change.service);
        if !asked || !known {
            found.push(format!("{}: asks for approval of another change than that of {}", entry.owner, change.service));
        }
    }
}

/// Checks what is said about one service.
fn decision(view: &View, service: &str, found: &mut Vec<String>) {
    let winner = view.winner(service);
    for entry in &view.policy.policies {
        let Some(part) = view.plan.policies.get(&entry.owner) else { continue };
        let won = winner.is_some_and(|winner| winner.owner == entry.owner);
        let covers = entry.removal.is_none() && entry.selector.matches(service);
        if part.services.contains_key(service) != won {
            found.push(format!("{service}: is not decided by exactly the policy that won it"));
        }
        let lost_to = winner.filter(|_| covers && !won).map(|winner| &winner.owner);
        if part.lost.get(service) != lost_to {
            found.push(format!("{service}: {} is wrong about having lost it", entry.owner));
        }
    }
    let Some(entry) = winner else { return };
    let said = view.plan.policies.get(&entry.owner).and_then(|part| part.services.get(service));
    if said.is_some_and(|decision| !is_true(view, entry, service, decision)) {
        found.push(format!("{service}: what is said about it is not what happens"));
    }
}

/// Whether the decision about a service is what the plan does.
fn is_true(view: &View, entry: &PolicyEntry, service: &str, decision: &Decision) -> bool {
    let on_service = |held: &&Held| held.prefix.is_some_and(|p| view.service(p) == Some(service));
    let before: Vec<&Held> = view.before.iter().filter(on_service).collect();
    let after: Vec<&Held> = view.after.iter().filter(on_service).collect();
    let unchanged = |held: &Held| before.iter().any(|b| b.id == held.id && b.settings == held.settings);
    let wanted = match after[..] {
        [] => entry.settings == Settings::default(),
        [only] => only.owner.owner == entry.owner && only.settings == Some(&entry.settings),
        _ => false,
    };
    let request = view.plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
    let requested = request.is_some_and(|r| !r.approved && r.entries.iter().any(|e| e.service == service));
    match decision {
        Decision::InForce => wanted && after.iter().all(|held| unchanged(held)) && before.len() == after.len(),
        Decision::Write => wanted && view.plan.write.is_some() && !view.is_inert(entry),
        Decision::ApprovalRequired => requested && !entry.observe_only && after.iter().all(|held| unchanged(held)),
        Decision::ObserveOnly => entry.observe_only && after.iter().all(|held| unchanged(held)),
        Decision::WaitingForWindow => {
            view.is_closed(entry) && !entry.observe_only && after.iter().all(|held| unchanged(held))
        }
        Decision::Blocked => {
            let known = view.plan.blocked.as_ref().is_some_and(|b| !matches!(b, Blocked::ServicesUnreadable { .. }));
            known && after.iter().all(|held| unchanged(held))
        }
    }
}
