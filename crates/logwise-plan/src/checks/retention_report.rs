//! Whether a plan about lifecycle rules tells the truth about what it does.

use super::retention::{Held, View, days};
use super::{retention_fold, waits_until};
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
        if !knows_what_it_lost(view, entry) {
            found.push(format!("{}: is wrong about what it lost", entry.owner));
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

/// Whether a policy names the first 50 of the services that it covers and another policy decides about, and counts the rest.
fn knows_what_it_lost(view: &View, entry: &PolicyEntry) -> bool {
    let Some(part) = view.plan.policies.get(&entry.owner) else { return false };
    let covered = services(view).into_iter().filter(|s| entry.removal.is_none() && entry.selector.matches(s));
    let lost = covered.filter_map(|s| Some((s, &view.winner(s)?.owner))).filter(|(_, to)| **to != entry.owner);
    let lost: Vec<(&str, &String)> = lost.collect();
    let named = part.lost.iter().map(|(service, to)| (service.as_str(), to));
    named.eq(lost.iter().copied().take(50)) && part.lost_more == lost.len().saturating_sub(50)
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
        let by_id = view.before.iter().find(|held| held.id == change.service);
        let itself = |held: &Held| held.settings.map_or((i32::MAX, i32::MAX), days);
        let known = days(&change.from) == by_id.map_or_else(|| view.survival(&change.service), itself);
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
        if part.services.contains_key(service) != won {
            found.push(format!("{service}: is not decided by exactly the policy that won it"));
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
    let shared = retention_fold::serving(view, service);
    let wanted = match after[..] {
        [] => entry.settings == Settings::default() || view.is_gone(service) || shared.is_some(),
        [only] => !view.is_gone(service) && only.owner.owner == entry.owner && only.settings == Some(&entry.settings),
        _ => false,
    };
    let request = view.plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
    let requested = request.is_some_and(|r| !r.approved && r.entries.iter().any(|e| e.service == service));
    match decision {
        Decision::InForce => {
            let rests = after.iter().all(|held| unchanged(held)) && before.len() == after.len();
            wanted && rests && shared.is_none_or(|held| !retention_fold::is_new(view, held))
        }
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
