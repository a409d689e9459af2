//! The fields of a RetentionPolicy's status: what S3 enforces after this look, and the plan that waits.

use crate::attempt::Attempt;
use crate::effect::Effect;
use crate::pending::{self, Counts};
use crate::policy_report::PolicyLook;
use crate::{Look, Written};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use logwise_api::validate;
use logwise_api::{EffectiveRule, PlanEntry, PlanStatus, PlanSummary, RetentionPolicyStatus};
use logwise_plan::Known;
use logwise_plan::retention::{
    Change, Effective, Meaning, ObservedRule, PolicyEntry, PolicyPlan, is_owned_by, service_prefix,
};
use logwise_runtime::words;
use std::collections::BTreeSet;

/// Services listed in `status.effective`.
const MAX_EFFECTIVE: usize = 50;

/// Entries listed in `status.plan`.
const MAX_ENTRIES: usize = 20;

/// Longest account of what other rules do to a service, in characters.
const MAX_MESSAGE: usize = 512;

/// Longest id of a rule that S3 takes, in characters. Other servers may keep longer ones.
const MAX_ID: usize = 255;

/// The rules of the bucket as observed, or as just written and read back.
pub(crate) fn after_write(look: &Look, attempt: &Attempt) -> Known<Vec<ObservedRule>> {
    let observed = match &look.facts.document {
        Known::Known(document) => document.rules.as_slice(),
        Known::Absent => &[],
        Known::Unknown(why) => return Known::Unknown(why.clone()),
    };
    let written = matches!(attempt.outcome, Some(Ok(Written::Shown { .. } | Written::AlreadySo)));
    let Some(write) = attempt.write.as_ref().filter(|_| written) else { return Known::Known(observed.to_vec()) };
    let named: BTreeSet<&String> = write.remove.iter().chain(write.add.iter().map(|rule| &rule.id)).collect();
    let stays = observed.iter().filter(|rule| !rule.id.as_ref().is_some_and(|id| named.contains(id)));
    let added = write.add.iter().map(|rule| ObservedRule {
        id: Some(rule.id.clone()),
        meaning: Some(Meaning { prefix: rule.prefix.clone(), settings: rule.settings.clone() }),
        reach: None,
    });
    Known::Known(stays.cloned().chain(added).collect())
}

/// A rule of ours and a service that it is for.
struct Served<'a> {
    service: &'a str,
    id: &'a str,
    meaning: &'a Meaning,
}

impl PolicyLook<'_> {
    /// `effective`: what S3 enforces; `None`: not known.
    pub(crate) fn status(
        &self,
        entry: &PolicyEntry,
        plan: &PolicyPlan,
        programmed: bool,
        effective: Option<Vec<EffectiveRule>>,
    ) -> RetentionPolicyStatus {
        let mut before = self.policy.status.clone().unwrap_or_default();
        if !validate::is_home(before.home.as_ref(), self.found.cluster) {
            // What was in force elsewhere covers nothing here.
            (before.programmed_generation, before.programmed_time) = (None, None);
        }
        let generation = self.policy.metadata.generation;
        let newly = programmed && before.programmed_generation != generation;
        let is_own = |rule: &&ObservedRule| rule.id.as_deref().is_some_and(|id| is_owned_by(id, &entry.owner));
        // Those that are there: what is planned may not come about.
        let rules = self.found.after.known().map_or(plan.rules, |rules| rules.iter().filter(is_own).count());
        RetentionPolicyStatus {
            observed_generation: generation,
            programmed_generation: if programmed { generation } else { before.programmed_generation },
            programmed_time: if newly { whole_second(Timestamp::now()) } else { before.programmed_time },
            matched_services: Some(words::count(plan.services.len())),
            rules: Some(words::count(rules)),
            pending_changes: Some(words::count(pending::count(plan))),
            effective: effective.unwrap_or(before.effective),
            plan: self.plan_status(entry, plan),
            next_opening_time: plan.next_opening.map(Time),
            home: validate::home(self.found.cluster, self.found.account),
            ..RetentionPolicyStatus::default()
        }
    }

    /// What S3 enforces after this look for the services that have a rule of this policy; `None`: not known.
    pub(crate) fn effective(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> Option<Vec<EffectiveRule>> {
        let rules = self.found.after.known()?;
        let known = rules.iter().filter_map(|rule| Some((rule.id.as_deref()?, rule.meaning.as_ref()?)));
        let own = known.filter(|(id, _)| is_owned_by(id, &entry.owner));
        let mut served: Vec<Served<'_>> = own.flat_map(|(id, meaning)| self.served(plan, id, meaning)).collect();
        // Of two rules for one service the shorter one is what S3 enforces.
        served.sort_by_key(|it| (it.service, it.meaning.settings.expiration_days.unwrap_or(i32::MAX)));
        served.dedup_by_key(|it| it.service);
        served.truncate(MAX_EFFECTIVE);
        let logs_prefix = &self.found.policy.logs_prefix;
        let effective = |it: &Served<'_>| self.found.enforced.of(&service_prefix(logs_prefix, it.service));
        Some(served.iter().map(|it| effective_rule(it, &effective(it))).collect())
    }

    /// The services that a rule of ours is for: one, or those that begin alike.
    fn served<'a>(&self, plan: &'a PolicyPlan, id: &'a str, meaning: &'a Meaning) -> Vec<Served<'a>> {
        let logs = meaning.prefix.strip_prefix(&self.found.policy.logs_prefix);
        let Some(name) = logs.and_then(|logs| logs.strip_prefix("service_name=")) else { return Vec::new() };
        let it = |service| Served { service, id, meaning };
        match name.strip_suffix('/') {
            Some(service) if !service.is_empty() && !service.contains('/') => vec![it(service)],
            None if !name.contains('/') => {
                plan.services.keys().filter(|service| service.starts_with(name)).map(|service| it(service)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The changes that wait, if some do.
    fn plan_status(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> Option<PlanStatus> {
        let request = pending::asked(plan)?;
        let counts = Counts::of(request);
        let shown = |change: &Change| PlanEntry {
            service: change.service.clone(),
            from_days: change.from.expiration_days,
            to_days: change.to.expiration_days,
        };
        let mut status = PlanStatus {
            id: request.plan_id.clone(),
            generation: self.policy.metadata.generation.unwrap_or_default(),
            summary: PlanSummary {
                add: words::count(counts.add),
                change: words::count(counts.change),
                remove: words::count(counts.remove),
                destructive: words::count(counts.destructive),
            },
            entries: request.entries.iter().take(MAX_ENTRIES).map(shown).collect(),
            ..PlanStatus::default()
        };
        if let Some(effect) = self.effect(entry) {
            effect.show(&mut status);
        }
        Some(status)
    }

    /// What the plan that waits would do to the objects that are there, if that was counted.
    pub(crate) fn effect(&self, entry: &PolicyEntry) -> Option<&Effect> {
        self.found.effects.get(&entry.owner)
    }
}

/// What S3 enforces for one service, in the bounds that the API server has for it: what it refused would take the rest of the
/// status with it.
fn effective_rule(it: &Served<'_>, effective: &Effective) -> EffectiveRule {
    let wanted = it.meaning.settings.expiration_days;
    let is_capped = effective.days.is_some_and(|days| wanted.is_none_or(|wanted| days < wanted));
    let by = effective.by.as_deref().filter(|id| is_capped && !id.is_empty());
    EffectiveRule {
        service: it.service.to_owned(),
        prefix: it.meaning.prefix.clone(),
        // Some servers keep 0 days.
        expiration_days: effective.days.filter(|days| *days > 0),
        rule_id: words::cut(it.id, MAX_ID),
        wanted_days: wanted.filter(|_| is_capped),
        capped_by: by.map(|id| words::cut(id, MAX_ID)),
        message: effective.cap(wanted).map(|message| words::cut(&message, MAX_MESSAGE)),
    }
}

fn whole_second(now: Timestamp) -> Option<Time> {
    Timestamp::from_second(now.as_second()).ok().map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::{self, Settings};

    fn shown(effective: &Effective) -> EffectiveRule {
        let settings = Settings { expiration_days: Some(365), ..Settings::default() };
        let meaning = Meaning { prefix: "logs/service_name=api/".into(), settings };
        effective_rule(&Served { service: "api", id: "ours", meaning: &meaning }, effective)
    }

    fn by(id: Option<&str>, days: i32) -> EffectiveRule {
        let settings = Settings { expiration_days: Some(days), ..Settings::default() };
        let meaning = Some(Meaning { prefix: "logs/".into(), settings });
        let rule = ObservedRule { id: id.map(str::to_owned), meaning, reach: None };
        shown(&retention::effective("logs/service_name=api/", &[rule]))
    }

    #[test]
    fn what_others_do_is_shown_within_the_bounds_of_the_api() {
        let capped = by(Some("finance-cap"), 90);
        assert_eq!((capped.expiration_days, capped.wanted_days), (Some(90), Some(365)));
        assert_eq!(capped.capped_by.as_deref(), Some("finance-cap"));
        for nameless in [None, Some("")] {
            let shown = by(nameless, 90);
            assert_eq!((shown.capped_by, shown.wanted_days), (None, Some(365)), "{nameless:?}");
            assert_eq!(shown.message.as_deref(), Some("wanted 365, capped at 90 by a rule without an id"));
        }
        let long = by(Some(&"ä".repeat(400)), 90);
        assert_eq!(long.capped_by.map(|id| id.chars().count()), Some(255));
        assert!(long.message.is_some_and(|message| message.chars().count() <= MAX_MESSAGE));
        let at_once = by(Some("odd"), 0);
        assert_eq!((at_once.expiration_days, at_once.capped_by.as_deref()), (None, Some("odd")));
        let own = shown(&Effective { days: Some(365), by: Some("ours".into()), ..Effective::default() });
        assert_eq!((own.expiration_days, own.wanted_days, own.capped_by, own.message), (Some(365), None, None, None));
    }
}
