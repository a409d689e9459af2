//! What a look at a bucket found and did, on one RetentionPolicy.

use crate::drift::Changed;
use crate::leaving::{is_bucket_gone, moved};
use crate::pending::{self, Counts};
use crate::report::{Found, blocked_message, blocked_reason, reason_of};
use crate::surroundings::Versioning;
use crate::{RawDocument, Written};
use kube::ResourceExt;
use logwise_api::validate::Invalid;
use logwise_api::{EffectiveRule, RetentionPolicy, RetentionPolicyStatus};
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::{ApprovalRequest, Decision, PolicyEntry, PolicyPlan, Removal, is_owned_by};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::{EventDraft, Part, PartStatus, Report, words};
use serde_json::{Value, json};

/// A policy that takes no part in any bucket. The rules that it may have there stay as they were last seen.
pub(crate) fn refused(policy: &RetentionPolicy, reason: Reason, message: &str) -> Report {
    let generation = policy.metadata.generation;
    let before = policy.status.clone().unwrap_or_default();
    let status = RetentionPolicyStatus {
        observed_generation: generation,
        programmed_generation: before.programmed_generation,
        programmed_time: before.programmed_time,
        rules: before.rules,
        effective: before.effective,
        home: before.home,
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

/// A policy of whose rules nothing new is known: what was last known stays, and Programmed says why.
pub(crate) fn as_last_known(policy: &RetentionPolicy, reason: Reason, message: &str) -> Report {
    let mut status = PartStatus::as_reported(Part::Retention, policy);
    status.fields.insert("observedGeneration".into(), json!(policy.metadata.generation));
    let replaced =
        [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Programmed];
    status.conditions.retain(|draft| !replaced.contains(&draft.kind));
    status.conditions.push(Draft::new(ConditionType::Ready, false, reason, message));
    status.conditions.push(Draft::new(ConditionType::Programmed, false, reason, message));
    status.conditions.extend(progress(policy, reason, message));
    Report { status, ..Report::default() }
}

/// Stalled or Reconciling of a policy that is not as it should be.
fn progress(policy: &RetentionPolicy, reason: Reason, message: &str) -> Option<Draft> {
    if reason.needs_person() {
        return Some(Draft::new(ConditionType::Stalled, true, reason, message));
    }
    let reason = if reason == Reason::Progressing { reason } else { Reason::RetryingAfterError };
    let retries = || Draft::new(ConditionType::Reconciling, true, reason, message);
    (!is_carried_out(policy)).then(retries)
}

/// Whether this generation was once wholly in force.
fn is_carried_out(policy: &RetentionPolicy) -> bool {
    policy.status.as_ref().and_then(|s| s.programmed_generation) == policy.metadata.generation
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
            let (reason, message) = explained_above(error);
            return as_last_known(self.policy, reason, &message);
        }
        let effective = self.effective(entry, plan);
        let accepted = self.accepted(entry, plan);
        let programmed = self.programmed(entry, plan, effective.as_deref().unwrap_or_default());
        let status = self.status(entry, plan, programmed.truth == Truth::True, effective);
        let conditions = self.conditions(entry, plan, accepted, programmed);
        let moved = moved(self.policy, &entry.owner, status.home.as_ref());
        let events = [self.applied(entry, plan), self.drift_event(entry), moved].into_iter().flatten().collect();
        Report { status: part_status(&status, conditions), events, ..Report::default() }
    }

    /// Whether a policy that is being deleted has nothing left in the bucket.
    pub(crate) fn may_go(&self) -> bool {
        let Ok(entry) = self.entry else { return true };
        match entry.removal {
            Some(Removal::Orphan) => true,
            // What was shown once may not be there yet, and what is not shown may be there.
            Some(Removal::RemoveRules) if self.found.attempt.is_open() || self.is_hidden(entry) => false,
            Some(Removal::RemoveRules) => match self.found.after {
                Known::Known(rules) => {
                    !rules.iter().any(|rule| rule.id.as_deref().is_some_and(|id| is_owned_by(id, &entry.owner)))
                }
                Known::Absent => true,
                Known::Unknown(_) => self.found.observed.error.as_ref().is_some_and(is_bucket_gone),
            },
            None => false,
        }
    }

    /// Whether S3 shows no rule of this policy, and may have answered with what was there before they came.
    fn is_hidden(&self, entry: &PolicyEntry) -> bool {
        self.found.hidden.contains(&entry.owner)
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
        (!is_carried_out(self.policy)).then(|| Draft::new(ConditionType::Reconciling, true, reason, message))
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
            (false, reason) => progress(self.policy, reason, &worse.message),
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

    /// Said once each way: when a change is seen for the first time, whether this look has put it right or not, and when
    /// nothing is left of a change that `Drifted` has shown.
    fn drift_event(&self, entry: &PolicyEntry) -> Option<EventDraft> {
        let of_policy = |changed: &&Changed| is_owned_by(&changed.id, &entry.owner);
        let seen: Vec<&Changed> = self.found.drift?.iter().filter(of_policy).collect();
        let left: Vec<&Changed> = self.found.left_changed()?.into_iter().filter(of_policy).collect();
        let told: Vec<String> = seen.iter().map(|changed| changed.words()).collect();
        let told = words::first_few(&told);
        match (drift_before(self.policy).truth == Truth::True, seen.is_empty()) {
            (false, true) => None,
            (false, false) => {
                let restored = if left.is_empty() { "; restored" } else { "" };
                let note = format!("Changed outside Logwise: {told}{restored}");
                Some(EventDraft { warning: true, reason: "LifecycleRuleDrifted", action: "Observe", note })
            }
            (true, _) if !left.is_empty() || entry.removal.is_some() => None,
            (true, nothing) => {
                let note = if nothing {
                    "The lifecycle rules are again as Logwise left them".to_owned()
                } else {
                    format!("Restored: {told}")
                };
                Some(EventDraft { warning: false, reason: "LifecycleRuleInSync", action: "Observe", note })
            }
        }
    }

    /// Whether rules that are in force, as far as anybody knows, are all that this policy wants.
    fn stays(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> bool {
        let is_whole = plan.kept == 0 && plan.services.values().all(|decision| *decision == Decision::InForce);
        is_carried_out(self.policy) && entry.removal.is_none() && is_whole
    }

    /// Why the last write, as far as it concerns this policy, is not in force; `None`: it is, or there was none.
    fn unwritten(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> Option<(Reason, String)> {
        let attempt = self.found.attempt;
        if let Some(what) = attempt.refusal(&entry.owner) {
            let message = format!("S3 accepts the rules and does not keep all of them: {what}");
            return Some((Reason::StoreIgnoresField, message));
        }
        if !attempt.concerns(&entry.owner) {
            let waits = attempt.is_open() && has(plan, &Decision::Write);
            let message = "The last write of the bucket is read until S3 shows it twice; these rules are written then";
            return waits.then(|| (Reason::Progressing, message.to_owned()));
        }
        match &attempt.outcome {
            // S3 has shown the rules, and then an older configuration: they are there.
            Some(Ok(Written::Unseen { .. })) if self.stays(entry, plan) => None,
            // One that was in force before, and is written anew, stays so.
            Some(Ok(Written::Shown { .. })) => (!is_carried_out(self.policy) || entry.removal.is_some()).then(|| {
                (Reason::Progressing, "S3 has accepted the rules and shows them. It is read once more".to_owned())
            }),
            Some(Ok(Written::Unseen { why } | Written::Lessened { why })) => {
                let message =
                    format!("{why}. It is read again until it shows the rules twice, for at most three minutes");
                Some((Reason::Progressing, message))
            }
            Some(Ok(Written::AlreadySo)) => None,
            Some(Err(error)) => Some(explained_above(error)),
            Some(Ok(Written::NotVerified { why })) => {
                Some((Reason::ForeignWriterDetected, format!("{why}. It is tried again")))
            }
            Some(Ok(Written::Superseded)) => {
                let message = "Nothing was written: the configuration changed meanwhile. It is tried again";
                Some((Reason::RetryingAfterError, message.to_owned()))
            }
            Some(Ok(Written::Postponed)) => {
                let message = "Nothing was written: a policy of the bucket changed meanwhile, a finalizer could not be \
                               set, or S3 answered with an old configuration. It is tried again";
                Some((Reason::RetryingAfterError, message.to_owned()))
            }
            None if self.is_cluster_deleting() => Some((Reason::ClusterDeleting, self.cluster_deleting())),
            None => Some((Reason::ObserveOnly, "Nothing is written: the LogwiseCluster only observes".to_owned())),
        }
    }

    fn is_cluster_deleting(&self) -> bool {
        self.found.cluster.metadata.deletion_timestamp.is_some()
    }

    fn cluster_deleting(&self) -> String {
        let name = self.found.cluster.name_any();
        format!(
            "LogwiseCluster {name} is being deleted: nothing is written for it any more. Finish its deletion and create it \
             anew, or delete this policy"
        )
    }

    /// Whether S3 holds the rules of this generation.
    fn programmed(&self, entry: &PolicyEntry, plan: &PolicyPlan, effective: &[EffectiveRule]) -> Draft {
        let kind = ConditionType::Programmed;
        if let Some(error) = &self.found.observed.error {
            let (reason, message) = explained_above(error);
            return Draft::new(kind, false, reason, message);
        }
        if let Some((reason, message)) = self.unwritten(entry, plan) {
            return Draft::new(kind, false, reason, message);
        }
        if self.is_hidden(entry) {
            let message = "The policy is being deleted, and S3 shows no rule of it. So soon after a write that may be an old \
                           answer: it is read again, for at most three minutes";
            return Draft::new(kind, false, Reason::Progressing, message);
        }
        if entry.removal.is_some() && !self.may_go() {
            let message = "The policy is being deleted and its rules are still in S3: it or its LogwiseCluster only \
                           observes, or the configuration cannot be written. Let it be written, or set `deletionPolicy` \
                           to Orphan: after `deletion.deadlineSeconds` of the operator's configuration the policy goes \
                           without them";
            return Draft::new(kind, false, Reason::RulesLeft, message);
        }
        if self.is_cluster_deleting() && pending::count(plan) > 0 {
            return Draft::new(kind, false, Reason::ClusterDeleting, self.cluster_deleting());
        }
        if let Some(blocked) = self.found.plan.blocked.as_ref().filter(|_| has(plan, &Decision::Blocked)) {
            return Draft::new(kind, false, blocked_reason(blocked), blocked_message(blocked));
        }
        if let Some(request) = pending::asked(plan) {
            return Draft::new(kind, false, Reason::ApprovalRequired, self.approval_message(entry, request));
        }
        if pending::waits_for_window(plan) {
            return Draft::new(kind, false, Reason::WaitingForWindow, pending::opening(entry, plan));
        }
        if has(plan, &Decision::ObserveOnly) {
            let message = "Rules are wanted and not written: the policy or its LogwiseCluster only observes";
            return Draft::new(kind, false, Reason::ObserveOnly, message);
        }
        let capped: Vec<&str> =
            effective.iter().filter(|it| it.message.is_some()).map(|it| it.service.as_str()).collect();
        let mut message = format!("S3 holds {} rules of this policy", plan.rules);
        if !capped.is_empty() {
            let services = words::first_few(&capped);
            message.push_str(&format!("; other rules end objects of {services} sooner: see `status.effective`"));
        }
        for (_, caution) in self.cautions(entry) {
            message.push_str(". ");
            message.push_str(&caution);
        }
        Draft::new(kind, true, Reason::Programmed, message)
    }

    /// What the bucket does that keeps expired objects or their bytes, as far as that is known.
    fn cautions(&self, entry: &PolicyEntry) -> Vec<(Reason, String)> {
        let around = &self.found.observed.surroundings;
        let expires = entry.settings.expiration_days.is_some();
        let removes = expires || entry.settings.noncurrent_days.is_some();
        let bytes_stay = expires && entry.settings.noncurrent_days.is_none() && !self.found.removes_versions();
        let versions = around.versioning.known().filter(|_| bytes_stay).and_then(|versioning| match versioning {
            Versioning::Never => None,
            Versioning::Enabled => Some(
                "The bucket keeps versions: objects that expire stay as old versions, and their bytes with them. Add \
                 `noncurrentVersionExpiration`",
            ),
            Versioning::Suspended => Some(
                "The bucket has kept versions: the old ones that are there stay, and their bytes with them. Add \
                 `noncurrentVersionExpiration`",
            ),
        });
        let locked = "Objects of the bucket may be locked: S3 removes no version of them before its lock ends";
        let replicated = "The bucket is replicated: these rules end nothing in the copy, and S3 keeps an object back while \
                          its replication is pending or has failed";
        let locked = (removes && around.object_lock.known() == Some(&true)).then_some(locked);
        let replicated = (removes && around.replication.known() == Some(&true)).then_some(replicated);
        let all = [(Reason::VersionsKept, versions), (Reason::ObjectLocked, locked), (Reason::Replicated, replicated)];
        all.into_iter().filter_map(|(reason, text)| Some((reason, text?.to_owned()))).collect()
    }

    fn accepted(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> Draft {
        let draft = accepted(plan);
        let cautions = if draft.reason == Reason::Accepted { self.cautions(entry) } else { Vec::new() };
        let Some((reason, _)) = cautions.first() else { return draft };
        let told: Vec<&str> = cautions.iter().map(|(_, text)| text.as_str()).collect();
        Draft::new(draft.kind, true, *reason, format!("{}. {}", draft.message, told.join(". ")))
    }

    fn approval_message(&self, entry: &PolicyEntry, request: &ApprovalRequest) -> String {
        let services: Vec<&str> = request.entries.iter().map(|entry| entry.service.as_str()).collect();
        let first = request.entries.first();
        let days = first.map_or_else(String::new, |e| {
            format!("{} -> {} days", days(e.from.expiration_days), days(e.to.expiration_days))
        });
        let approve = pending::approve(self.policy, request);
        let what = if Counts::of(request).destructive > 0 { "let existing objects go earlier" } else { "change rules" };
        let effect = self.effect(entry).map(|effect| effect.words()).filter(|words| !words.is_empty());
        let said =
            [effect, self.outdated(request)].into_iter().flatten().fold(String::new(), |all, it| all + &it + ". ");
        format!(
            "Plan {} would {what}: {} services ({days}: {}). The rules in force stay. {said}To approve exactly this: {approve}",
            request.plan_id,
            services.len(),
            words::first_few(&services),
        )
    }

    /// Ids that somebody approved and that are not the one of the plan that waits.
    fn outdated(&self, request: &ApprovalRequest) -> Option<String> {
        let approved = &self.policy.spec.change_policy.approved_plans;
        let others: Vec<&String> = approved.iter().filter(|id| **id != request.plan_id).collect();
        let (is, ids) = (if others.len() == 1 { "is" } else { "are" }, words::first_few(&others));
        (!others.is_empty())
            .then(|| format!("{ids} in `approvedPlans` {is} not of this plan and approves nothing of it"))
    }

    /// Said once: by the look that has sent the rules.
    fn applied(&self, entry: &PolicyEntry, plan: &PolicyPlan) -> Option<EventDraft> {
        let attempt = self.found.attempt;
        let sent = attempt.sent && attempt.concerns(&entry.owner) && attempt.refusal(&entry.owner).is_none();
        let written: Vec<&str> =
            plan.services.iter().filter(|(_, d)| **d == Decision::Write).map(|(service, _)| service.as_str()).collect();
        if !sent || written.is_empty() {
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
    (reason_of(error), format!("{error}. See StorageReady of the LogwiseCluster"))
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
        format!("; {} more are decided by {}", plan.lost.len() + plan.lost_more, words::first_few(&winners))
    };
    Draft::new(kind, true, Reason::Accepted, format!("Matches {} services{lost}", plan.services.len()))
}

fn has(plan: &PolicyPlan, decision: &Decision) -> bool {
    plan.services.values().any(|d| d == decision)
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
