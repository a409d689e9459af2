//! What a look at a bucket found and did, on one RetentionPolicy.

use crate::drift::Changed;
use crate::pending::{self, Counts};
use crate::report::{Found, blocked_message, blocked_reason};
use crate::{RawDocument, Written};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use logwise_api::validate::Invalid;
use logwise_api::{EffectiveRule, PlanEntry, PlanStatus, PlanSummary, RetentionPolicy, RetentionPolicyStatus};
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::{ApprovalRequest, Decision, Meaning, PolicyEntry, PolicyPlan, is_owned_by};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::{ErrorClass, EventDraft, Part, PartStatus, Report, words};
use serde_json::{Value, json};

/// Services listed in `status.effective`.
const MAX_EFFECTIVE: usize = 50;

/// Entries listed in `status.plan`.
const MAX_ENTRIES: usize = 20;

/// A policy that takes no part in any bucket.
pub(crate) fn refused(policy: &RetentionPolicy, reason: Reason, message: &str) -> Report {
    let generation = policy.metadata.generation;
    let before = policy.status.clone().unwrap_or_default();
    let status = RetentionPolicyStatus {
        observed_generation: generation,
        programmed_generation: before.programmed_generation,
        programmed_time: before.programmed_time,
        ..RetentionPolicyStatus::default()
    };
    let conditions = vec![
        Draft::new(ConditionType::Ready, false, reason, message),
        Draft::new(ConditionType::Stalled, true, reason, message),
        Draft::new(ConditionType::Accepted, false, reason, message),
        Draft::new(ConditionType::Programmed, false, reason, message),
        Draft::new(ConditionType::ChangesPending, false, Reason::NothingPending, ""),
        drift_before(policy),
    ];
    Report { status: part_status(&status, conditions), ..Report::default() }
}

/// `Drifted` as last reported: what cannot be looked at is taken for what it was.
fn drift_before(policy: &RetentionPolicy) -> Draft {
    let reported = PartStatus::as_reported(Part::Retention, policy).conditions;
    let drifted = reported.into_iter().find(|draft| draft.kind == ConditionType::Drifted);
    drifted.unwrap_or_else(|| Draft::new(ConditionType::Drifted, false, Reason::InSync, ""))
}

fn part_status(status: &RetentionPolicyStatus, conditions: Vec<Draft>) -> PartStatus {
    let fields = match json!(status) {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    PartStatus { fields, conditions }
}

/// Words for a write's outcome in the decision record.
pub(crate) fn recorded(outcome: &Result<Written, AwsError>) -> String {
    match outcome {
        Ok(written) => format!("{written:?}"),
        Err(error) => error.to_string(),
    }
}

/// One policy in one look at its bucket.
pub(crate) struct PolicyLook<'a> {
    pub policy: &'a RetentionPolicy,
    pub entry: Result<&'a PolicyEntry, &'a Invalid>,
    pub found: &'a Found<'a>,
}

impl PolicyLook<'_> {
    /// The report of this policy.
    pub(crate) fn report(&self) -> Report {
        let (entry, plan) = match (self.entry, self.plan()) {
            (Err(invalid), _) => return refused(self.policy, Reason::InvalidSpec, &invalid.to_string()),
            (Ok(entry), Some(plan)) => (entry, plan),
            (Ok(_), None) => return refused(self.policy, Reason::Conflicted, "Another policy has the same owner name"),
        };
        if let Some(error) =
            self.found.observed.error.as_ref().filter(|_| self.found.observed.facts.document.is_unknown())
        {
            return self.unread(error);
        }
        let accepted = accepted(plan);
        let programmed = self.programmed(entry, plan);
        let status = self.status(entry, plan, programmed.truth == Truth::True);
        let conditions = self.conditions(entry, plan, accepted, programmed);
        let events = [self.applied(plan), self.drift_event(entry)].into_iter().flatten().collect();
        Report { status: part_status(&status, conditions), events, ..Report::default() }
    }

    /// The configuration could not be read: what was last known stays, and Programmed says why nothing newer is.
    fn unread(&self, error: &AwsError) -> Report {
        let mut status = PartStatus::as_reported(Part::Retention, self.policy);
        status.fields.insert("observedGeneration".into(), json!(self.policy.metadata.generation));
        let (reason, message) = explained_above(error);
        let replaced =
            [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Programmed];
        status.conditions.retain(|draft| !replaced.contains(&draft.kind));
        status.conditions.push(Draft::new(ConditionType::Ready, false, reason, message.clone()));
        status.conditions.push(Draft::new(ConditionType::Programmed, false, reason, message.clone()));
        status.conditions.extend(self.progress(reason, &message));
        Report { status, ..Report::default() }
    }

    /// Stalled or Reconciling of a policy that is not as it should be.
    fn progress(&self, reason: Reason, message: &str) -> Option<Draft> {
        if reason.needs_person() {
            return Some(Draft::new(ConditionType::Stalled, true, reason, message));
        }
        let retries = || Draft::new(ConditionType::Reconciling, true, Reason::RetryingAfterError, message);
        (!self.is_carried_out()).then(retries)
    }

    /// Whether a policy that is being deleted has nothing left in the bucket.
    pub(crate) fn may_go(&self) -> bool {
        let Ok(entry) = self.entry else { return true };
        match entry.removal {
            Some(logwise_plan::retention::Removal::Orphan) => true,
            Some(logwise_plan::retention::Removal::RemoveRules) => match self.after_write() {
                Known::Known(rules) => !rules.iter().any(|(id, _)| is_owned_by(id, &entry.owner)),
                Known::Absent => true,
                // A bucket that is gone has no rules either.
                Known::Unknown(_) => {
                    self.found.observed.error.as_ref().is_some_and(|e| e.class() == ErrorClass::NotFound)
                }
            },
            None => false,
        }
    }

    fn plan(&self) -> Option<&PolicyPlan> {
        self.found.plan.policies.get(&self.entry.ok()?.owner)
    }

    /// Stalled or Reconciling of a policy whose changes wait for a window: they come by themselves, unless no window ever
    /// opens.
    fn waiting(&self, plan: &PolicyPlan, message: &str) -> Option<Draft> {
        let reason = Reason::WaitingForWindow;
        if plan.next_opening.is_none() {
            return Some(Draft::new(ConditionType::Stalled, true, reason, message));
        }
        (!self.is_carried_out()).then(|| Draft::new(ConditionType::Reconciling, true, reason, message))
    }

    /// Whether this generation was once wholly in force.
    fn is_carried_out(&self) -> bool {
        self.policy.status.as_ref().and_then(|s| s.programmed_generation) == self.policy.metadata.generation
    }

    fn conditions(&self, entry: &PolicyEntry, plan: &PolicyPlan, accepted: Draft, programmed: Draft) -> Vec<Draft> {
        // A policy that only observes does all it is asked to do; ChangesPending says what it would write.
        let does_its_part = programmed.truth == Truth::True || programmed.reason == Reason::ObserveOnly;
        let good = accepted.truth == Truth::True && does_its_part;
        let worse = if accepted.truth == Truth::True { &programmed } else { &accepted };
        let ready = Draft::new(
            ConditionType::Ready,
            if good { Truth::True } else { worse.truth },
            worse.reason,
            worse.message.clone(),
        );
        let progress = match (good, worse.reason) {
            (true, _) => None,
            (false, Reason::WaitingForWindow) => self.waiting(plan, &worse.message),
            (false, reason) => self.progress(reason, &worse.message),
        };
        let pending = pending::condition(self.found, (self.policy, entry), plan);
        let drifted = self.drifted(entry);
        let all = [Some(ready), progress, Some(accepted), Some(programmed), Some(pending), Some(drifted)];
        all.into_iter().flatten().collect()
    }

    /// Whether others have changed rules of this policy.
    fn drifted(&self, entry: &PolicyEntry) -> Draft {
        let kind = ConditionType::Drifted;
        let Some(left) = self.found.left_changed() else { return drift_before(self.policy) };
        let told: Vec<String> =
            left.iter().filter(|c| is_owned_by(&c.id, &entry.owner)).map(|changed| changed.words()).collect();
        if told.is_empty() {
            return Draft::new(kind, false, Reason::InSync, "");
        }
        let next = if entry.observe_only {
            "It stays so: set `changePolicy.mode` to Apply, and `suspend` of the LogwiseCluster to false, to have it restored"
        } else {
            "It is restored as soon as `changePolicy` lets it; see Programmed"
        };
        let message = format!("Somebody else changed {}. {next}", words::first_few(&told));
        Draft::new(kind, true, Reason::LifecycleRuleChanged, message)
    }

    /// Said once: when a change is seen for the first time, whether this look has put it right or not.
    fn drift_event(&self, entry: &PolicyEntry) -> Option<EventDraft> {
        let seen: Vec<&Changed> =
            self.found.drift?.iter().filter(|changed| is_owned_by(&changed.id, &entry.owner)).collect();
        if seen.is_empty() || drift_before(self.policy).truth == Truth::True {
            return None;
        }
        let told: Vec<String> = seen.iter().map(|changed| changed.words()).collect();
        let left = self.found.left_changed()?;
        let restored = if seen.iter().any(|changed| left.contains(changed)) { "" } else { "; restored" };
        Some(EventDraft {
            warning: true,
            reason: "LifecycleRuleDrifted",
            action: "Observe",
            note: format!("Changed outside Logwise: {}{restored}", words::first_few(&told)),
        })
    }

    /// Why the write of this look, as far as it concerns this policy, is not in force; `None`: it is, or there was none.
    fn unwritten(&self, entry: &PolicyEntry) -> Option<(Reason, String)> {
        let write = self.found.plan.write.as_ref()?;
        let ids = write.remove.iter().chain(write.add.iter().map(|rule| &rule.id));
        if !ids.into_iter().any(|id| is_owned_by(id, &entry.owner)) {
            return None;
        }
        match self.found.outcome {
            Some(Ok(Written::Done | Written::AlreadySo)) => None,
            Some(Err(error)) => Some(explained_above(error)),
            Some(Ok(Written::NotVerified { why })) => {
                Some((Reason::ForeignWriterDetected, format!("{why}. It is tried again")))
            }
            Some(Ok(Written::NotKept { why })) => {
                let message = format!(
                    "S3 accepts the rules and does not keep all of them: {why}. Leave out of this policy what the server \
                     does not keep"
                );
                Some((Reason::RuleNotKept, message))
            }
            Some(Ok(Written::Superseded)) => {
                let message = "Nothing was written: the configuration changed meanwhile, or a finalizer could not be set. It is tried again";
                Some((Reason::RetryingAfterError, message.to_owned()))
            }
            None => {
                Some((Reason::ObserveOnly, "Nothing is written for a LogwiseCluster that is being deleted".to_owned()))
            }
        }
    }

    /// Whether S3 holds the rules of this generation.
    fn programmed(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> Draft {
        let kind = ConditionType::Programmed;
        if let Some(error) = &self.found.observed.error {
            let (reason, message) = explained_above(error);
            return Draft::new(kind, false, reason, message);
        }
        if let Some((reason, message)) = self.unwritten(entry) {
            return Draft::new(kind, false, reason, message);
        }
        if entry.removal.is_some() && !self.may_go() {
            let message = "The policy is being deleted and its rules are still in S3: its LogwiseCluster only observes, or the \
                           configuration cannot be written. Let it be written, or set `deletionPolicy` to Orphan";
            return Draft::new(kind, false, Reason::RulesLeft, message);
        }
        if let Some(blocked) = self.found.plan.blocked.as_ref().filter(|_| has(plan, &Decision::Blocked)) {
            return Draft::new(kind, false, blocked_reason(blocked), blocked_message(blocked));
        }
        if let Some(request) = pending::asked(plan) {
            return Draft::new(kind, false, Reason::ApprovalRequired, self.approval_message(request));
        }
        if pending::waits_for_window(plan) {
            return Draft::new(kind, false, Reason::WaitingForWindow, pending::opening(entry, plan));
        }
        if has(plan, &Decision::ObserveOnly) {
            let message = "Rules are wanted and not written: the policy or its LogwiseCluster only observes";
            return Draft::new(kind, false, Reason::ObserveOnly, message);
        }
        Draft::new(kind, true, Reason::Programmed, format!("S3 holds {} rules of this policy", plan.rules))
    }

    fn approval_message(&self, request: &ApprovalRequest) -> String {
        let services: Vec<&str> = request.entries.iter().map(|entry| entry.service.as_str()).collect();
        let first = request.entries.first();
        let days = first.map_or_else(String::new, |e| {
            format!("{} -> {} days", days(e.from.expiration_days), days(e.to.expiration_days))
        });
        let approve = pending::approve(self.policy, request);
        let what = if Counts::of(request).destructive > 0 { "let existing objects go earlier" } else { "change rules" };
        format!(
            "Plan {} would {what}: {} services ({days}: {}). The rules in force stay. To approve exactly this: {approve}",
            request.plan_id,
            services.len(),
            words::first_few(&services),
        )
    }

    fn status(&self, entry: &PolicyEntry, plan: &PolicyPlan, programmed: bool) -> RetentionPolicyStatus {
        let before = self.policy.status.clone().unwrap_or_default();
        let generation = self.policy.metadata.generation;
        let newly = programmed && before.programmed_generation != generation;
        let effective = self.effective(entry).unwrap_or(before.effective);
        RetentionPolicyStatus {
            observed_generation: generation,
            programmed_generation: if programmed { generation } else { before.programmed_generation },
            programmed_time: if newly { whole_second(Timestamp::now()) } else { before.programmed_time },
            matched_services: Some(words::count(plan.services.len())),
            rules: Some(words::count(plan.rules)),
            pending_changes: Some(words::count(pending::count(plan))),
            effective,
            plan: self.plan_status(plan),
            next_opening_time: plan.next_opening.map(Time),
            ..RetentionPolicyStatus::default()
        }
    }

    /// The rules of this policy in S3 after this look.
    fn effective(&self, entry: &PolicyEntry) -> Option<Vec<EffectiveRule>> {
        let rules = match self.after_write() {
            Known::Known(rules) => rules,
            Known::Absent => Vec::new(),
            Known::Unknown(_) => return None,
        };
        let mut effective: Vec<EffectiveRule> = rules
            .into_iter()
            .filter(|(id, _)| is_owned_by(id, &entry.owner))
            .filter_map(|(id, meaning)| self.effective_rule(id, &meaning?))
            .collect();
        // Of two rules for one service the shorter one is what S3 enforces.
        effective.sort_by_key(|rule| (rule.service.clone(), rule.expiration_days.unwrap_or(i32::MAX)));
        effective.dedup_by(|later, first| later.service == first.service);
        effective.truncate(MAX_EFFECTIVE);
        Some(effective)
    }

    fn effective_rule(&self, id: String, meaning: &Meaning) -> Option<EffectiveRule> {
        let logs = meaning.prefix.strip_prefix(&self.found.policy.logs_prefix)?;
        let service = logs.strip_prefix("service_name=")?.strip_suffix('/')?;
        Some(EffectiveRule {
            service: service.to_owned(),
            prefix: meaning.prefix.clone(),
            expiration_days: meaning.settings.expiration_days,
            rule_id: id,
        })
    }

    /// Id and meaning of every rule with an id: as observed, or as just written and read back.
    fn after_write(&self) -> Known<Vec<(String, Option<Meaning>)>> {
        let written = matches!(self.found.outcome, Some(Ok(Written::Done | Written::AlreadySo)));
        let write = self.found.plan.write.as_ref().filter(|_| written);
        let observed = match &self.found.observed.raw {
            Known::Known(raw) => {
                raw.rules().filter_map(|(facts, _)| Some((facts.id.clone()?, facts.meaning.clone()))).collect()
            }
            Known::Absent => Vec::new(),
            Known::Unknown(why) => return Known::Unknown(why.clone()),
        };
        let Some(write) = write else { return Known::Known(observed) };
        let stays = observed.into_iter().filter(|(id, _)| !write.remove.contains(id));
        let added = write.add.iter().map(|rule| {
            (rule.id.clone(), Some(Meaning { prefix: rule.prefix.clone(), settings: rule.settings.clone() }))
        });
        Known::Known(stays.chain(added).collect())
    }

    /// The changes that wait, if some do.
    fn plan_status(&self, plan: &PolicyPlan) -> Option<PlanStatus> {
        let request = pending::asked(plan)?;
        let counts = Counts::of(request);
        let entry = |e: &logwise_plan::retention::Change| PlanEntry {
            service: e.service.clone(),
            from_days: e.from.expiration_days,
            to_days: e.to.expiration_days,
        };
        Some(PlanStatus {
            id: request.plan_id.clone(),
            generation: self.policy.metadata.generation.unwrap_or_default(),
            summary: PlanSummary {
                add: words::count(counts.add),
                change: words::count(counts.change),
                remove: words::count(counts.remove),
                destructive: words::count(counts.destructive),
            },
            entries: request.entries.iter().take(MAX_ENTRIES).map(entry).collect(),
        })
    }

    fn applied(&self, plan: &PolicyPlan) -> Option<EventDraft> {
        let done = matches!(self.found.outcome, Some(Ok(Written::Done)));
        let written: Vec<&str> =
            plan.services.iter().filter(|(_, d)| **d == Decision::Write).map(|(service, _)| service.as_str()).collect();
        if !done || written.is_empty() {
            return None;
        }
        Some(EventDraft {
            warning: false,
            reason: "PlanApplied",
            action: "Apply",
            note: format!("Lifecycle rules written for {}", words::first_few(&written)),
        })
    }
}

/// Reason and message of a failure whose next step stands on the LogwiseCluster.
fn explained_above(error: &AwsError) -> (Reason, String) {
    let reason = Reason::of_failure(error.class(), Reason::BucketNotFound);
    (reason, format!("{error}. See StorageReady of the LogwiseCluster"))
}

fn accepted(plan: &PolicyPlan) -> Draft {
    let kind = ConditionType::Accepted;
    let winners: std::collections::BTreeSet<&str> = plan.lost.values().map(String::as_str).collect();
    let winners: Vec<&str> = winners.into_iter().collect();
    if plan.services.is_empty() && !plan.lost.is_empty() {
        let message = format!(
            "Every matching service is decided by {}. Raise `priority` or delete one of the policies",
            words::first_few(&winners)
        );
        return Draft::new(kind, false, Reason::Conflicted, message);
    }
    if plan.services.is_empty() {
        return Draft::new(
            kind,
            true,
            Reason::NoServiceMatched,
            "No service matches yet; rules follow when one appears",
        );
    }
    let lost = if winners.is_empty() {
        String::new()
    } else {
        format!("; {} more are decided by {}", plan.lost.len(), words::first_few(&winners))
    };
    Draft::new(kind, true, Reason::Accepted, format!("Matches {} services{lost}", plan.services.len()))
}

fn has(plan: &PolicyPlan, decision: &Decision) -> bool {
    plan.services.values().any(|d| d == decision)
}

fn whole_second(now: Timestamp) -> Option<Time> {
    Timestamp::from_second(now.as_second()).ok().map(Time)
}

fn days(days: Option<i32>) -> String {
    days.map_or_else(|| "never".to_owned(), |days| days.to_string())
}

impl crate::Look {
    /// S3's setting for small objects, if the bucket has a configuration.
    pub(crate) fn minimum_object_size(&self) -> Option<String> {
        self.raw.known().and_then(RawDocument::minimum_object_size).map(str::to_owned)
    }
}
