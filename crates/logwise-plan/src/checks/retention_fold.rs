//! What must hold for rules that services share.

use super::retention::{Held, View, days, is_id_of, owner};
use super::retention_report::services;
use crate::Known;
use crate::retention::{Approval, Document, Folding, Policy, PolicyEntry, Rule, Settings, fold_id};
use std::collections::BTreeSet;

/// A character with which no name in a selector goes on.
const OTHER: char = '\u{10FFFF}';

/// The beginning of names on which a rule acts, if its prefix and its id say so.
pub(super) fn beginning<'a>(view: &View, id: &str, prefix: &'a str) -> Option<&'a str> {
    if prefix.ends_with('/') {
        return None;
    }
    let start = format!("{}service_name=", view.policy.logs_prefix);
    let beginning = prefix.strip_prefix(start.as_str()).filter(|rest| !rest.is_empty() && !rest.contains('/'))?;
    let hash = |id: &str| id.rsplit('/').next().map(str::to_owned);
    (hash(&fold_id("", "", beginning)) == hash(id)).then_some(beginning)
}

/// The shared rule that serves a service after the write, exactly as the policy says that decides about it.
pub(super) fn serving<'v, 'a>(view: &'v View<'a>, service: &str) -> Option<&'v Held<'a>> {
    let entry = view.winner(service)?;
    view.after.iter().find(|held| serves(view, held, entry, service))
}

fn serves(view: &View, held: &Held, entry: &PolicyEntry, service: &str) -> bool {
    let acts = held.prefix.and_then(|prefix| beginning(view, held.id, prefix)).is_some_and(|b| service.starts_with(b));
    acts && held.owner.owner == entry.owner && held.settings == Some(&entry.settings)
}

/// Whether a rule comes by this write.
pub(super) fn is_new(view: &View, held: &Held) -> bool {
    view.write.is_some_and(|write| write.add.iter().any(|rule| rule.id == held.id))
}

/// Adds what is wrong with shared rules.
pub(super) fn folds(view: &View, found: &mut Vec<String>) {
    for rule in view.write.into_iter().flat_map(|write| &write.add) {
        if let Some(beginning) = beginning(view, &rule.id, &rule.prefix) {
            added(view, rule, beginning, found);
            shortened(view, rule, beginning, found);
        }
    }
    let all_goes = |document: &Document| document.not_preservable.is_none();
    if !view.policy.unclear.is_empty() || view.is_contested() || !view.observed.document.known().is_none_or(all_goes) {
        return;
    }
    for held in view.after.iter().filter(|held| !view.is_inert(held.owner)) {
        let shared = held.prefix.and_then(|prefix| beginning(view, held.id, prefix)).zip(held.settings);
        let Some((beginning, settings)) = shared else { continue };
        let mut names = names(view.policy, beginning).into_iter();
        if let Some(name) = names.find(|name| !lives_no_longer(view, name, settings)) {
            found.push(format!("{}: ends objects of {name:?} earlier than the policies say", held.id));
        }
    }
}

/// Names of which each stands for all names with this beginning that the same policies cover.
fn names(policy: &Policy, beginning: &str) -> BTreeSet<String> {
    let selectors = policy.policies.iter().map(|entry| &entry.selector);
    let told = selectors.flat_map(|selector| selector.names.iter().chain(&selector.prefixes)).map(String::as_str);
    let texts = told.filter(|text| text.starts_with(beginning)).chain([beginning]);
    texts.flat_map(|text| [text.to_owned(), format!("{text}{OTHER}")]).collect()
}

/// Whether policies that may write now decide about everything that this rule acts on, or about the service of its id if that
/// is not known.
pub(super) fn is_taken_over(view: &View, held: &Held) -> bool {
    let active = |name: &str| view.winner(name).is_some_and(|winner| !view.is_inert(winner));
    let shared = held.prefix.and_then(|prefix| beginning(view, held.id, prefix));
    let observed = |name: &String| view.winner(name).is_none_or(|winner| winner.observe_only);
    match shared {
        Some(beginning) => {
            let mut known = services(view).into_iter().filter(|service| service.starts_with(beginning)).peekable();
            !names(view.policy, beginning).iter().any(observed) && known.peek().is_some() && known.all(active)
        }
        None => view.served(held).is_some_and(active),
    }
}

/// Whether the policies let no object of this service live longer than these settings do. One that observes and wants
/// nothing stands for a policy that is not understood.
fn lives_no_longer(view: &View, service: &str, settings: &Settings) -> bool {
    let holds = |winner: &PolicyEntry| winner.observe_only && winner.settings == Settings::default();
    view.winner(service).is_some_and(|winner| holds(winner) || days(&winner.settings).0 <= days(settings).0)
}

/// Checks a shared rule that is to be written.
fn added(view: &View, rule: &Rule, beginning: &str, found: &mut Vec<String>) {
    let protected = [format!("{}_spark_metadata/", view.policy.logs_prefix), view.policy.checkpoint_prefix.clone()];
    let overlaps = |other: &String| rule.prefix.starts_with(other.as_str()) || other.starts_with(&rule.prefix);
    let entry = owner(view.policy, &rule.id).filter(|entry| entry.removal.is_none());
    let known = services(view);
    let is_member = |service: &&&str| {
        let winner = view.winner(service).zip(entry);
        service.starts_with(beginning) && winner.is_some_and(|(winner, entry)| winner.owner == entry.owner)
    };
    let observed = |name: &String| view.winner(name).is_some_and(|winner| winner.observe_only);
    let ends_only = Settings { expiration_days: rule.settings.expiration_days, ..Settings::default() };
    let faults = [
        (view.policy.fold != Folding::WhenNeeded, "is shared although rules shall not be"),
        (!matches!(view.observed.services, Known::Known(_)), "is shared while nobody knows all services"),
        (view.rules.len() + known.len() <= 1_000, "is shared although there is room"),
        (protected.iter().any(overlaps), "its prefix touches protected keys"),
        (entry.is_none(), "no policy asks for it"),
        (entry.is_some_and(|entry| view.is_inert(entry)), "its policy may not write now"),
        (entry.is_some_and(|entry| entry.settings != rule.settings), "does something else than its policy says"),
        (entry.is_some_and(|entry| !is_id_of(&rule.id, entry)), "its id is not of the policy as it is"),
        (ends_only != rule.settings || ends_only == Settings::default(), "does something else than to end objects"),
        (known.iter().filter(is_member).count() < 2, "is shared by fewer than two services"),
        (names(view.policy, beginning).iter().any(observed), "reaches what a policy only observes"),
    ];
    found.extend(faults.iter().filter(|(broken, _)| *broken).map(|(_, text)| format!("{}: {text}", rule.id)));
}

/// Finds services under a shared rule that nobody was asked about who had to be.
fn shortened(view: &View, rule: &Rule, beginning: &str, found: &mut Vec<String>) {
    for service in services(view).into_iter().filter(|service| service.starts_with(beginning)) {
        let Some(entry) = view.winner(service) else { continue };
        let shortens = view.survival_under(&view.after, service).0 < view.survival(service).0;
        let is_member = owner(view.policy, &rule.id).is_some_and(|of| of.owner == entry.owner);
        let stays = |held: &&Held| !is_new(view, held) && serves(view, held, entry, service);
        let own = |held: &&Held| held.prefix.and_then(|prefix| view.service(prefix)) == Some(service);
        let had = view.before.iter().find(own);
        let is_there = |before: &Held| view.after.iter().any(|a| a.id == before.id && a.settings == before.settings);
        let rests = had.map_or_else(|| view.after.iter().any(|held| stays(&held)), is_there);
        let asks = match entry.approval {
            Approval::Never => false,
            Approval::DestructiveOnly => shortens && !view.came_later(entry, service),
            Approval::Always => shortens || (is_member && !rests),
        };
        if asks && !view.is_approved(entry, service, &entry.settings) {
            found.push(format!("{}: ends objects of {service} without approval", rule.id));
        }
    }
}
