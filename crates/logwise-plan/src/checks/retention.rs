//! What must hold for any plan about lifecycle rules.

use super::{is_open, retention_fold, retention_report};
use crate::Known;
use crate::retention::{
    Approval, Blocked, Meaning, Observed, ObservedRule, Plan, Policy, PolicyEntry, Removal, Rule, Settings, WriteRules,
    rule_id, service_prefix,
};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Every rule that `plan`, made at `now`, breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    if plan.next_look_seconds > policy.look_period_seconds {
        found.push("looks again later than it should".to_owned());
    }
    if observed.document.is_unknown() {
        if plan.write.is_some() || !matches!(plan.blocked, Some(Blocked::DocumentUnreadable { .. })) {
            found.push("must be blocked and write nothing while the configuration is unknown".to_owned());
        }
        return found;
    }
    let view = View::new((policy, observed, plan), now);
    view.shape(&mut found);
    view.removals(&mut found);
    view.additions(&mut found);
    view.afterwards(&mut found);
    view.losses(&mut found);
    retention_fold::folds(&view, &mut found);
    if view.is_contested() != matches!(plan.blocked, Some(Blocked::Conflicted { .. })) {
        found.push("is wrong about somebody else who works on the bucket".to_owned());
    }
    retention_report::report(&view, &mut found);
    found
}

/// A rule of ours, observed or to be written.
pub(super) struct Held<'a> {
    pub id: &'a str,
    pub owner: &'a PolicyEntry,
    pub prefix: Option<&'a str>,
    pub settings: Option<&'a Settings>,
}

/// Policy, facts and plan with the rules of ours before and after the write.
pub(super) struct View<'a> {
    pub policy: &'a Policy,
    pub observed: &'a Observed,
    pub plan: &'a Plan,
    pub now: Timestamp,
    pub before: Vec<Held<'a>>,
    pub after: Vec<Held<'a>>,
    pub write: Option<&'a WriteRules>,
    pub rules: &'a [ObservedRule],
}

impl<'a> View<'a> {
    fn new((policy, observed, plan): (&'a Policy, &'a Observed, &'a Plan), now: Timestamp) -> Self {
        let rules = observed.document.known().map_or(&[][..], |document| &document.rules);
        let seen = |rule: &'a ObservedRule| {
            let id = rule.id.as_deref()?;
            let meaning = rule.meaning.as_ref();
            let (prefix, settings) = (meaning.map(|m| m.prefix.as_str()), meaning.map(|m| &m.settings));
            Some(Held { id, owner: owner(policy, id)?, prefix, settings })
        };
        let new = |rule: &'a Rule| {
            let owner = owner(policy, &rule.id)?;
            Some(Held { id: &rule.id, owner, prefix: Some(&rule.prefix), settings: Some(&rule.settings) })
        };
        let write = plan.write.as_ref();
        let goes = |held: &Held| write.is_some_and(|write| write.remove.contains(held.id));
        let stay = rules.iter().filter_map(seen).filter(|held| !goes(held));
        let after = stay.chain(write.into_iter().flat_map(|write| &write.add).filter_map(new)).collect();
        Self { policy, observed, plan, now, before: rules.iter().filter_map(seen).collect(), after, write, rules }
    }

    /// The service that `prefix` names, if it is exactly the prefix of one.
    pub fn service(&self, prefix: &'a str) -> Option<&'a str> {
        let (start, rest) = prefix.split_at_checked(self.policy.logs_prefix.len())?;
        let mut parts = rest.split('/');
        let service = parts.next()?.strip_prefix("service_name=")?;
        let closed = parts.next() == Some("") && parts.next().is_none();
        (start == self.policy.logs_prefix && closed && !service.is_empty()).then_some(service)
    }

    /// The policy that decides about `service`, found by comparing each with each.
    pub fn winner(&self, service: &str) -> Option<&'a PolicyEntry> {
        let covers = |p: &&PolicyEntry| p.removal.is_none() && p.selector.matches(service);
        self.policy.policies.iter().filter(covers).reduce(|a, b| if beats(b, a) { b } else { a })
    }

    /// Days until current and noncurrent versions of `service` go under the known rules of ours; never is the maximum.
    pub fn survival(&self, service: &str) -> (i32, i32) {
        self.survival_under(&self.before, service)
    }

    /// The same under these rules.
    pub fn survival_under(&self, rules: &[Held], service: &str) -> (i32, i32) {
        let prefix = format!("{}service_name={service}/", self.policy.logs_prefix);
        let acts = |held: &&Held| held.prefix.is_some_and(|p| prefix.starts_with(p));
        let days = rules.iter().filter(acts).filter_map(|held| held.settings).map(days);
        days.fold((i32::MAX, i32::MAX), |a, b| (a.0.min(b.0), a.1.min(b.1)))
    }

    /// The service that a rule belongs to: the one its prefix names, or else the one whose rule has its id.
    pub fn served(&self, held: &Held<'a>) -> Option<&'a str> {
        let hash = |id: &str| id.rsplit('/').next().map(str::to_owned);
        let by_id = || {
            let mut services = retention_report::services(self).into_iter();
            services.find(|service| hash(&rule_id("", "", service)) == hash(held.id))
        };
        held.prefix.and_then(|prefix| self.service(prefix)).or_else(by_id)
    }

    /// Whether a rule acts on the one service whose id it has, and is the only one with that id.
    fn is_whole(&self, held: &Held<'a>) -> bool {
        let hash = |id: &str| id.rsplit('/').next().map(str::to_owned);
        let named = held.prefix.and_then(|prefix| self.service(prefix));
        let same = named.is_some_and(|service| hash(&rule_id("", "", service)) == hash(held.id));
        same && self.before.iter().filter(|other| other.id == held.id).count() == 1
    }

    /// Whether no window of the policy is open.
    pub fn is_closed(&self, entry: &PolicyEntry) -> bool {
        !is_open(&entry.windows, self.now)
    }

    /// Whether a person has approved what the plan says it has to be asked about.
    pub fn is_approved(&self, entry: &PolicyEntry, service: &str, to: &Settings) -> bool {
        let request = self.plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
        request.is_some_and(|r| {
            let named = r.entries.iter().any(|e| e.service == service && e.to == *to);
            named && r.approved && entry.approved_plans.contains(&r.plan_id)
        })
    }

    /// Whether nothing of this policy may be changed now, whatever it is.
    pub fn is_inert(&self, entry: &PolicyEntry) -> bool {
        entry.observe_only || self.is_held(entry)
    }

    /// Whether every change of this policy waits for a window or for a person.
    fn is_held(&self, entry: &PolicyEntry) -> bool {
        let request = self.plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
        let waits = entry.approval == Approval::Always && entry.removal.is_none();
        let unapproved = request.is_some_and(|r| !entry.approved_plans.contains(&r.plan_id));
        self.is_closed(entry) || (waits && unapproved)
    }

    /// Whether a service and all its objects came after its policy, as it is now, had been wholly in force, and after the
    /// last rule of ours that it has lost.
    pub fn came_later(&self, entry: &PolicyEntry, service: &str) -> bool {
        let (Some(since), Some(Known::Known(oldest))) = (entry.programmed, self.observed.oldest.get(service)) else {
            return false;
        };
        let prefix = format!("{}service_name={service}/", self.policy.logs_prefix);
        let last = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
        let ends = (1..=service.len()).filter(|end| service.is_char_boundary(*end));
        let folds = ends.map(|end| format!("{}/*", &service[..end]));
        let own: BTreeSet<String> =
            folds.chain([service.to_owned()]).map(|name| last(&rule_id("", "", &name))).collect();
        let is_its = |rule: &ObservedRule| {
            let prefixes = [rule.meaning.as_ref().map(|m| &m.prefix), rule.reach.as_ref().map(|r| &r.prefix)];
            prefixes.contains(&Some(&prefix)) || rule.id.as_deref().is_some_and(|id| own.contains(&last(id)))
        };
        let lost = |id: &String| own.contains(&last(id)) && !id.starts_with(&format!("logwise.io/{}/", entry.owner));
        let bared = |(key, at): (&String, &Timestamp)| {
            (key == "*" || own.contains(key)) && oldest.as_second() <= at.as_second()
        };
        let versions_stay = self.observed.unversioned || entry.settings.noncurrent_days.is_none();
        // A time without parts of a second may be that of something up to a second younger, and never of something older.
        let is_younger = oldest.as_second() > since.as_second();
        let is_free = !self.rules.iter().any(is_its) && !self.observed.lost.iter().any(lost);
        is_younger && versions_stay && is_free && !self.policy.bared.iter().any(bared)
    }

    fn shape(&self, found: &mut Vec<String>) {
        let Some(write) = self.write else { return };
        let document = self.observed.document.known();
        let lasting = |rule: &ObservedRule| rule.id.as_ref().is_some_and(|id| !write.remove.contains(id));
        let kept: BTreeSet<&str> = self.rules.iter().filter(|r| lasting(r)).filter_map(|r| r.id.as_deref()).collect();
        let after = self.rules.len() - self.before.len() + self.after.len();
        let faults = [
            (write.remove.is_empty() && write.add.is_empty(), "writes although nothing changes"),
            (document.is_some_and(|d| d.not_preservable.is_some()), "writes although foreign rules would be harmed"),
            (
                !self.policy.unclear.is_empty() && (!write.add.is_empty() || !self.only_leaving(write)),
                "writes although a policy is not understood",
            ),
            (write.assumes.as_ref() != document.map(|d| &d.version), "assumes another version than was seen"),
            (write.add.windows(2).any(|pair| pair[0].id >= pair[1].id), "added rules are not in the order of ids"),
            (write.add.iter().any(|rule| kept.contains(rule.id.as_str())), "adds a rule under an id that is in use"),
            (after > self.rules.len().max(1_000), "passes the limit of 1,000 rules"),
            (self.is_contested(), "writes although somebody else works on the bucket"),
        ];
        found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
    }

    /// Whether a rule on our logs has the name of another installation, or a rule of ours that of a replaced object.
    pub fn is_contested(&self) -> bool {
        let Policy { logs_prefix, policies, installation, replaced, .. } = self.policy;
        let is_foul = |rule: &ObservedRule| {
            let parts: Vec<&str> = rule.id.as_deref().unwrap_or_default().split('/').collect();
            let ["logwise.io", owner, uid, hash] = parts[..] else { return false };
            let lives = |p: &PolicyEntry| p.owner == owner && p.uid8 != uid && p.removal != Some(Removal::Orphan);
            let returned = replaced.contains(&format!("{owner}/{uid}")) && policies.iter().any(lives);
            let meets = |m: &Meaning| m.prefix.starts_with(logs_prefix) || logs_prefix.starts_with(&m.prefix);
            let elsewhere = owner.split_once('.').is_some_and(|(name, _)| name != installation);
            let is_other = !installation.is_empty() && elsewhere && rule.meaning.as_ref().is_some_and(meets);
            is_hash(hash) && (returned || is_other)
        };
        self.rules.iter().any(is_foul)
    }

    /// Whether all that goes belongs to policies that are being deleted.
    fn only_leaving(&self, write: &WriteRules) -> bool {
        let leaving = |held: &Held<'_>| held.owner.removal == Some(Removal::RemoveRules) && !held.owner.observe_only;
        self.before.iter().filter(|held| write.remove.contains(held.id)).all(leaving)
    }

    fn removals(&self, found: &mut Vec<String>) {
        for id in self.write.into_iter().flat_map(|write| &write.remove) {
            let Some(held) = self.before.iter().find(|held| held.id == id) else {
                found.push(format!("{id}: removes a rule that is not ours"));
                continue;
            };
            let active = |service: &str| self.winner(service).is_some_and(|winner| !self.is_inert(winner));
            let named = held.prefix.and_then(|prefix| self.service(prefix));
            let taken_over = match named {
                Some(service) => active(service),
                None => retention_fold::is_taken_over(self, held),
            };
            if self.is_inert(held.owner) && !taken_over {
                found.push(format!("{id}: removes a rule of a policy that may not change any now"));
            }
            let served = self.served(held);
            let decides = served.and_then(|service| self.winner(service)).filter(|winner| !winner.observe_only);
            let in_place = |rule: &Rule| {
                let takes_over = retention_fold::beginning(self, &rule.id, &rule.prefix);
                served.is_some_and(|s| rule.prefix == service_prefix(&self.policy.logs_prefix, s))
                    || served.zip(takes_over).is_some_and(|(service, beginning)| service.starts_with(beginning))
            };
            let replaced = self.write.is_some_and(|write| write.add.iter().any(in_place));
            let none = Settings::default();
            let folded = served.filter(|service| retention_fold::serving(self, service).is_some());
            let to = folded.and_then(|service| self.winner(service)).map_or(&none, |winner| &winner.settings);
            let permits = |entry: &PolicyEntry| {
                let asks = entry.approval == Approval::Always && held.owner.removal.is_none();
                !asks || self.is_approved(entry, served.unwrap_or(held.id), to)
            };
            // A rule that somebody spoilt may also be put right by its owner.
            let by_owner = (decides.is_none() || !self.is_whole(held)) && permits(held.owner);
            if !replaced && !by_owner && !decides.is_some_and(permits) {
                found.push(format!("{id}: removes a rule without approval"));
            }
        }
    }

    fn additions(&self, found: &mut Vec<String>) {
        let protected = [format!("{}_spark_metadata/", self.policy.logs_prefix), self.policy.checkpoint_prefix.clone()];
        let own = |rule: &&'a Rule| retention_fold::beginning(self, &rule.id, &rule.prefix).is_none();
        for rule in self.write.into_iter().flat_map(|write| &write.add).filter(own) {
            let overlaps = |other: &str| rule.prefix.starts_with(other) || other.starts_with(&rule.prefix);
            let service = self.service(&rule.prefix);
            let winner = service.and_then(|service| self.winner(service));
            let faults = [
                (service.is_none(), "its prefix is not exactly that of one service"),
                (protected.iter().any(|p| overlaps(p)), "its prefix touches protected keys"),
                (winner.is_none(), "no policy asks for it"),
                (winner.is_some_and(|p| self.is_inert(p)), "its policy may not write now"),
                (winner.is_some_and(|p| p.settings != rule.settings), "does something else than its policy says"),
                (winner.is_some_and(|p| !is_id_of(&rule.id, p)), "its id is not of the policy that won its service"),
                (rule.settings == Settings::default(), "does nothing"),
                (service.is_some_and(|service| !self.is_known(service)), "nobody found its service"),
                (service.is_some_and(|service| self.is_gone(service)), "its service is gone for good"),
            ];
            let broken = faults.iter().filter(|(is_broken, _)| *is_broken);
            found.extend(broken.map(|(_, text)| format!("{}: {text}", rule.id)));
        }
    }

    /// Whether the service has been missed for so long that it shall have no rule.
    pub fn is_gone(&self, service: &str) -> bool {
        let missed = self.observed.services.known().is_some_and(|found| !found.contains(service));
        missed && self.observed.vanished.contains(service)
    }

    /// Whether the service was found or has a rule of ours.
    pub fn is_known(&self, service: &str) -> bool {
        let named = |held: &Held<'a>| held.prefix.and_then(|p| self.service(p)) == Some(service);
        self.observed.services.known().is_some_and(|found| found.contains(service)) || self.before.iter().any(named)
    }

    fn afterwards(&self, found: &mut Vec<String>) {
        let preservable = self.observed.document.known().is_none_or(|d| d.not_preservable.is_none());
        if !preservable || !self.policy.unclear.is_empty() || self.is_contested() {
            return;
        }
        for (i, held) in self.after.iter().enumerate() {
            if held.owner.removal == Some(Removal::RemoveRules) && !self.is_inert(held.owner) {
                found.push(format!("{}: stays although its policy is being deleted", held.id));
            }
            let Some(prefix) = held.prefix else { continue };
            let waits = self.service(prefix).and_then(|service| self.winner(service)).is_some_and(|w| self.is_held(w));
            let inert = |other: &Held| self.is_inert(held.owner) && self.is_inert(other.owner);
            let for_now = |other: &Held| waits || self.is_held(held.owner) || self.is_held(other.owner);
            let rivals = |other: &&Held| other.prefix == Some(prefix) && !for_now(other) && !inert(other);
            if let Some(other) = self.after[i + 1..].iter().find(rivals) {
                found.push(format!("{} and {} act on the same prefix", held.id, other.id));
            }
        }
    }

    fn losses(&self, found: &mut Vec<String>) {
        for rule in self.write.into_iter().flat_map(|write| &write.add) {
            let Some(service) = self.service(&rule.prefix) else { continue };
            let Some(entry) = owner(self.policy, &rule.id) else { continue };
            let (before, after) = (self.survival(service), days(&rule.settings));
            let shortens = after.0 < before.0 || after.1 < before.1;
            let asks = match entry.approval {
                Approval::Never => false,
                Approval::DestructiveOnly => shortens && !self.came_later(entry, service),
                Approval::Always => true,
            };
            if asks && !self.is_approved(entry, service, &rule.settings) {
                let what = if shortens { "shortens what survives" } else { "is written" };
                found.push(format!("{}: {what} without approval", rule.id));
            }
        }
    }
}

/// Days until current and noncurrent versions go; never is the maximum.
pub(super) fn days(settings: &Settings) -> (i32, i32) {
    (settings.expiration_days.unwrap_or(i32::MAX), settings.noncurrent_days.unwrap_or(i32::MAX))
}

/// Whether `a` comes before `b`.
fn beats(a: &PolicyEntry, b: &PolicyEntry) -> bool {
    let (days_a, days_b) = (days(&a.settings).0, days(&b.settings).0);
    a.priority > b.priority
        || (a.priority == b.priority && (days_a > days_b || (days_a == days_b && a.owner < b.owner)))
}

/// The policy that owns the rule with this id; none if the rule is foreign.
pub(super) fn owner<'a>(policy: &'a Policy, id: &str) -> Option<&'a PolicyEntry> {
    let mut parts = id.split('/');
    let (system, owner) = (parts.next()?, parts.next()?);
    let is_hash = is_hash(parts.next_back()?);
    let entry = policy.policies.iter().find(|p| p.owner == owner && p.removal != Some(Removal::Orphan))?;
    (system == "logwise.io" && is_hash && parts.next().is_some()).then_some(entry)
}

/// Whether the text looks like the last part of an id of ours.
fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// Whether the id names this policy and its uid.
pub(super) fn is_id_of(id: &str, entry: &PolicyEntry) -> bool {
    id.split('/').take(3).eq(["logwise.io", entry.owner.as_str(), entry.uid8.as_str()])
}
