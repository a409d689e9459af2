//! What a policy asks for each service, and what it may do now.

use super::classify::{Change, is_destructive, plan_id};
use super::compile::{Composed, compose, rule_id, service_prefix, touches_protected};
use super::fold::{self, Kept};
use super::ours::{Ours, OwnRule};
use super::winners::Winners;
use super::{Approval, ApprovalRequest, Blocked, Decision, Observed, Plan, Policy, PolicyEntry, Rule, Settings};
use std::collections::{BTreeMap, BTreeSet};

/// What no approval and no window changes.
pub(super) struct Basis<'a> {
    pub policy: &'a Policy,
    pub observed: &'a Observed,
    pub winners: Winners<'a>,
    /// The policy that decides, by service; a service that no policy covers is not there.
    pub winning: BTreeMap<&'a str, &'a PolicyEntry>,
    /// Folded rules that are in force and stay.
    pub kept: Kept<'a>,
}

impl<'a> Basis<'a> {
    /// Finds out who decides about each service.
    pub fn new(policy: &'a Policy, observed: &'a Observed, ours: &Ours<'a>) -> Self {
        let winners = Winners::new(&policy.policies);
        let winning = ours.services().filter_map(|service| Some((service, winners.winner(service)?))).collect();
        let mut basis = Self { policy, observed, winners, winning, kept: Kept::default() };
        basis.kept = fold::kept(&basis, ours);
        basis
    }
}

/// What the policies ask for one service.
pub(super) enum Verdict {
    /// No policy covers it.
    Uncovered,
    /// Exactly this rule of ours; `None`: no rule of ours.
    Exactly(Option<Rule>),
    /// A folded rule that is in force, and no rule of its own.
    Folded,
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
pub(super) struct Question<'q, 'a> {
    pub basis: &'q Basis<'a>,
    pub ours: &'q Ours<'a>,
    /// By owner: changes that a person decides about. `None`: everything is approved.
    pub requests: Option<&'q Requests<'a>>,
    /// Owners of which nothing may be changed now: what is in force stays.
    pub held: &'q BTreeSet<&'a str>,
}

/// Requests for approval by owner.
pub(super) type Requests<'a> = BTreeMap<&'a str, ApprovalRequest>;

impl<'a> Question<'_, 'a> {
    /// The rules to be written now, with the decisions written into `plan`.
    pub fn answer(&self, plan: &mut Plan) -> Composed<'a> {
        let verdicts = self.resolve(plan);
        let mut composed = compose(self.basis, self.ours, &verdicts);
        fold::fold(self, &verdicts, &mut composed, plan);
        composed
    }

    /// Decides per service and writes the decisions into `plan`.
    fn resolve(&self, plan: &mut Plan) -> Verdicts<'a> {
        let mut verdicts = Verdicts::new();
        for service in self.ours.services() {
            let Some(first) = self.basis.winning.get(service) else {
                verdicts.insert(service, Verdict::Uncovered);
                continue;
            };
            let (verdict, decision) = self.decide(first, service);
            if decision == Decision::Blocked {
                let prefix = service_prefix(&self.basis.policy.logs_prefix, service);
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
        let prefix = service_prefix(&self.basis.policy.logs_prefix, service);
        let is_held = self.held.contains(entry.owner.as_str());
        if touches_protected(self.basis.policy, &prefix) {
            let verdict = match (entry.observe_only, is_held) {
                (true, _) => Verdict::Observed,
                (false, true) => Verdict::Held,
                (false, false) => Verdict::Exactly(None),
            };
            return (verdict, Decision::Blocked);
        }
        let wants = entry.settings != Settings::default() && !self.ours.is_gone(service);
        let wanted = wants.then(|| Rule {
            id: rule_id(&entry.owner, &entry.uid8, service),
            prefix,
            settings: entry.settings.clone(),
        });
        let (is_at_rest, exactly) = if self.basis.kept.serves(service, &entry.owner) {
            (self.ours.of(service).is_empty(), Verdict::Folded)
        } else {
            (self.ours.is_in_force(service, wanted.as_ref()), Verdict::Exactly(wanted))
        };
        let asks = self.asks(entry, service);
        if is_at_rest && !asks {
            (exactly, Decision::InForce)
        } else if entry.observe_only {
            (Verdict::Observed, Decision::ObserveOnly)
        } else if asks {
            (if is_held { Verdict::Held } else { Verdict::Waits }, Decision::ApprovalRequired)
        } else if is_held {
            (Verdict::Held, Decision::WaitingForWindow)
        } else {
            (exactly, Decision::Write)
        }
    }

    /// Whether a person has still to approve what `entry` wants for `service`.
    fn asks(&self, entry: &PolicyEntry, service: &str) -> bool {
        self.request(entry).is_some_and(|request| !request.approved && names(request, service))
    }

    fn request(&self, entry: &PolicyEntry) -> Option<&ApprovalRequest> {
        self.requests?.get(entry.owner.as_str())
    }

    /// Whether the rule in force of a service that `entry` decides about may be replaced by one that does the same.
    pub fn may_replace(&self, entry: &PolicyEntry, service: &str) -> bool {
        let is_free = !entry.observe_only && !self.held.contains(entry.owner.as_str());
        let asks_always = entry.approval == Approval::Always && self.requests.is_some();
        is_free && (!asks_always || self.request(entry).is_some_and(|it| it.approved && names(it, service)))
    }
}

/// Whether a request is about this service.
fn names(request: &ApprovalRequest, service: &str) -> bool {
    request.entries.binary_search_by(|change| change.service.as_str().cmp(service)).is_ok()
}

/// The changes that a person decides about, of every policy that has some. `free` is what would be written if all of them
/// were approved and every window were open.
pub(super) fn requests<'a>(basis: &Basis<'a>, ours: &Ours<'a>, free: &Composed<'a>) -> Requests<'a> {
    let mut changes = every(basis, ours, free);
    changes.extend(destructive(basis, ours));
    let asking = basis.policy.policies.iter().filter(|entry| entry.removal.is_none());
    let asking: BTreeMap<&str, &PolicyEntry> = asking.map(|entry| (entry.owner.as_str(), entry)).collect();
    let request = |(owner, entries): (&'a str, Vec<Change>)| {
        let plan_id = plan_id(&entries);
        let approved = asking.get(owner).is_some_and(|entry| entry.approved_plans.contains(&plan_id));
        (owner, ApprovalRequest { plan_id, approved, entries })
    };
    changes.into_iter().map(request).collect()
}

/// The destructive changes of the policies that ask about these only, by owner.
fn destructive<'a>(basis: &Basis<'a>, ours: &Ours<'a>) -> BTreeMap<&'a str, Vec<Change>> {
    let mut changes: BTreeMap<&str, Vec<Change>> = BTreeMap::new();
    for (service, entry) in &basis.winning {
        let prefix = service_prefix(&basis.policy.logs_prefix, service);
        let asks = entry.approval == Approval::DestructiveOnly;
        if !asks || ours.is_gone(service) || touches_protected(basis.policy, &prefix) {
            continue;
        }
        let change = change(ours, service, &entry.settings);
        if is_destructive(&change.from, &change.to) {
            changes.entry(&entry.owner).or_default().push(change);
        }
    }
    changes
}

/// Of the policies that ask about every change, by owner: everything that the write `free` does to the services that one
/// decides about, and to its own rules where no policy decides or somebody spoilt them.
fn every<'a>(basis: &Basis<'a>, ours: &Ours<'a>, free: &Composed<'a>) -> BTreeMap<&'a str, Vec<Change>> {
    let always = |entry: &&PolicyEntry| entry.approval == Approval::Always && entry.removal.is_none();
    let asking: BTreeSet<&str> = basis.policy.policies.iter().filter(always).map(|p| p.owner.as_str()).collect();
    let decides = |service: &str| basis.winning.get(service).copied().filter(|winner| !winner.observe_only);
    let own = free.write.add.iter().filter_map(|rule| ours.service_of(&rule.prefix));
    let come: BTreeSet<&str> = own.chain(free.folds.iter().flat_map(|fold| fold.members.iter().copied())).collect();
    let goes = |id: &str| free.write.remove.contains(id);
    let nothing = Settings::default();
    let mut changes: BTreeMap<&str, BTreeMap<&str, Change>> = BTreeMap::new();
    for (service, entry) in basis.winning.iter().filter(|(_, entry)| asking.contains(entry.owner.as_str())) {
        let comes = come.contains(service) && !entry.observe_only;
        if comes || (!entry.observe_only && ours.of(service).iter().any(|rule| goes(rule.id))) {
            let stays_folded = basis.kept.serves(service, &entry.owner);
            let to = if comes || stays_folded { &entry.settings } else { &nothing };
            changes.entry(&entry.owner).or_default().insert(service, change(ours, service, to));
        }
    }
    for (service, rule) in ours.all().filter(|(_, rule)| goes(rule.id) && asking.contains(rule.owner)) {
        // A rule of no service is its policy's alone, whoever takes over what it acts on.
        if !rule.sound || service.and_then(decides).is_none() {
            let name = service.unwrap_or(rule.id);
            let of_owner = changes.entry(rule.owner).or_default();
            of_owner.entry(name).or_insert_with(|| removal(ours, service, rule));
        }
    }
    changes.into_iter().map(|(owner, changes)| (owner, changes.into_values().collect())).collect()
}

fn change(ours: &Ours, service: &str, to: &Settings) -> Change {
    Change { service: service.to_owned(), from: ours.in_force(service), to: to.clone() }
}

/// That a rule goes: of no service, what it does itself goes with it.
fn removal(ours: &Ours, service: Option<&str>, rule: &OwnRule) -> Change {
    let itself = || rule.meaning.map(|meaning| meaning.settings.clone()).unwrap_or_default();
    let from = service.map_or_else(itself, |service| ours.in_force(service));
    Change { service: service.unwrap_or(rule.id).to_owned(), from, to: Settings::default() }
}
