//! What a look at a bucket found and did, on the LogwiseCluster.

use crate::attempt::Attempt;
use crate::drift::{Changed, is_written};
use crate::effect::Effect;
use crate::own_rules::OwnRules;
use crate::policy_report;
use crate::unkept::Unkept;
use crate::{Look, Written};
use kube::ResourceExt;
use logwise_api::validate::{self, Invalid};
use logwise_api::{Drift, LogwiseCluster, StorageStatus};
use logwise_aws::{AwsError, bucket_arn, bucket_statement};
use logwise_plan::Known;
use logwise_plan::retention::{self, Blocked, Enforcement, Folding, ObservedRule, RuleGroup, Share};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::metrics::{Metrics, Pipeline};
use logwise_runtime::{Decision, ErrorClass, Part, PartStatus, Refused, Report, words};
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest account of what others have changed, in characters.
const MAX_SUMMARY: usize = 512;

/// Longest text of AWS beside a statement to paste, in characters: the statement is not to be cut.
const MAX_REFUSAL: usize = 330;

/// Longest name of an identity beside it, in characters.
const MAX_IDENTITY: usize = 80;

/// The spec cannot be used.
pub(crate) fn invalid(cluster: &LogwiseCluster, invalid: &Invalid) -> Report {
    let ready = Draft::new(ConditionType::StorageReady, false, Reason::InvalidSpec, invalid.to_string());
    unread(cluster, ready, Some(ErrorClass::Invalid))
}

/// The object may not use what it refers to, or a Secret is missing: no call was made.
pub(crate) fn refused(cluster: &LogwiseCluster, refused: Refused) -> Report {
    let ready = Draft::new(ConditionType::StorageReady, false, refused.reason, refused.message);
    unread(cluster, ready, Some(refused.class))
}

/// Another LogwiseCluster owns the bucket: no call is made for this one.
pub(crate) fn conflicted(cluster: &LogwiseCluster, owner: &str) -> Report {
    let bucket = cluster.spec.storage.as_ref().map_or("", |s| s.bucket_name.as_str());
    let message = format!(
        "Bucket {bucket} belongs to LogwiseCluster {owner}; no call is made for this one. A bucket has one \
         owner, whatever prefixes others name: use one LogwiseCluster per bucket"
    );
    let ready = Draft::new(ConditionType::StorageReady, false, Reason::Conflicted, message);
    Report { next_look: Duration::from_secs(30), ..unread(cluster, ready, None) }
}

fn unread(cluster: &LogwiseCluster, ready: Draft, failure: Option<ErrorClass>) -> Report {
    let settled_generation = settled_before(cluster);
    let status = StorageStatus { settled_generation, drift: drift_before(cluster), ..StorageStatus::default() };
    Report { status: part_status(&status, ready), failure, ..Report::default() }
}

fn settled_before(cluster: &LogwiseCluster) -> Option<i64> {
    cluster.status.as_ref()?.storage.as_ref()?.settled_generation
}

fn drift_before(cluster: &LogwiseCluster) -> Option<Drift> {
    cluster.status.as_ref()?.storage.as_ref()?.drift.clone()
}

fn part_status(status: &StorageStatus, ready: Draft) -> PartStatus {
    let mut fields = Map::new();
    fields.insert("storage".into(), json!(status));
    PartStatus { fields, conditions: vec![ready] }
}

/// Reasons of StorageReady that follow from the configuration, as far as the rules are read.
const OF_CONFIGURATION: [Reason; 6] = [
    Reason::Available,
    Reason::StoreIgnoresField,
    Reason::ForeignWriterDetected,
    Reason::ForeignRuleNotPreservable,
    Reason::TooManyRules,
    Reason::Conflicted,
];

/// The status as it is, if it is that of this generation and no look that failed has written it.
pub(crate) fn reported(cluster: &LogwiseCluster) -> Option<PartStatus> {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|it| it.type_ == ConditionType::StorageReady.name());
    ready.find(|it| it.observed_generation == cluster.metadata.generation)?;
    let status = PartStatus::as_reported(Part::Storage, cluster);
    status.conditions.iter().any(|ready| OF_CONFIGURATION.contains(&ready.reason)).then_some(status)
}

/// The same after an old answer. That the plan is blocked is told only where nothing is told yet: a fresh answer may tell of
/// something else first, and the reason would come and go.
fn kept(cluster: &LogwiseCluster, is_blocked: bool) -> Option<PartStatus> {
    let is_good = |status: &PartStatus| status.conditions.iter().all(|ready| ready.truth == Truth::True);
    reported(cluster).filter(|status| !is_blocked || !is_good(status))
}

/// Everything one look at a bucket knows.
pub(crate) struct Found<'a> {
    pub cluster: &'a LogwiseCluster,
    pub observed: &'a Look,
    pub plan: &'a retention::Plan,
    /// What this look did about the rules.
    pub attempt: &'a Attempt,
    pub policy: &'a retention::Policy,
    /// Rules that others have changed since our last write, before the write of this look; `None`: not known.
    pub drift: Option<&'a [Changed]>,
    /// Whether S3 has answered with what was there before writes of ours, while none is open.
    pub is_past: bool,
    /// Owners that are being deleted and of whose rules this look has shown none, though some may be there.
    pub hidden: &'a BTreeSet<String>,
    /// The account that the bucket must belong to, if the grants name one.
    pub account: Option<&'a str>,
    /// Rules of the bucket's policies before this look.
    pub own: &'a OwnRules<'a>,
    /// The rules of the bucket after this look.
    pub after: &'a Known<Vec<ObservedRule>>,
    /// What these rules do.
    pub enforced: &'a Enforcement<'a>,
    /// What plans that wait would do to the objects that are there, by owner, as far as it was counted.
    pub effects: &'a BTreeMap<String, Effect>,
}

impl Found<'_> {
    /// The report on the LogwiseCluster.
    pub(crate) fn report(&self) -> Report {
        let planned = || Duration::from_secs(self.plan.next_look_seconds.into());
        let status = self.as_reported().unwrap_or_else(|| part_status(&self.status(), self.ready()));
        Report {
            status,
            events: Vec::new(),
            // An old answer decides nothing.
            decisions: self.decision().filter(|_| !self.is_past).into_iter().collect(),
            failure: self.failure(),
            next_look: self.attempt.next_look().unwrap_or_else(planned),
            retry_within: None,
        }
    }

    /// After an old answer: the status as it is, if it tells of what only the configuration shows.
    fn as_reported(&self) -> Option<PartStatus> {
        let tells_more = self.error().is_some() || self.attempt.unkept.as_ref().is_some_and(Unkept::is_duty);
        if self.is_past && !tells_more { kept(self.cluster, self.plan.blocked.is_some()) } else { None }
    }

    /// Sets the gauges.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let of = Pipeline { namespace: self.cluster.namespace().unwrap_or_default(), cluster: self.cluster.name_any() };
        if let Some((ours, foreign)) = self.rules() {
            metrics.rules(&of, i64::from(ours), i64::from(foreign));
        }
    }

    /// Rules of ours and of others in the observed configuration.
    fn rules(&self) -> Option<(i32, i32)> {
        let rules = match &self.observed.facts.document {
            Known::Known(document) => document.rules.len(),
            Known::Absent => 0,
            Known::Unknown(_) => return None,
        };
        Some((words::count(self.own.count), words::count(rules - self.own.count)))
    }

    /// What failed: the look, or else the write.
    fn error(&self) -> Option<&AwsError> {
        self.observed.error.as_ref().or_else(|| self.attempt.outcome.as_ref()?.as_ref().err())
    }

    fn ready(&self) -> Draft {
        let kind = ConditionType::StorageReady;
        let bucket = self.cluster.spec.storage.as_ref().map_or("", |s| s.bucket_name.as_str());
        if let Some(error) = self.error() {
            let alarm = self.attempt.alarm(bucket).map_or_else(String::new, |alarm| format!("{alarm}. "));
            return Draft::new(kind, false, reason_of(error), format!("{alarm}{}", self.failed(error)));
        }
        if let Some((reason, message)) = self.attempt.trouble(bucket) {
            return Draft::new(kind, false, reason, message);
        }
        match &self.plan.blocked {
            Some(blocked) => Draft::new(kind, false, blocked_reason(blocked), blocked_message(blocked)),
            None => Draft::new(kind, true, Reason::Available, self.answers(bucket)),
        }
    }

    fn answers(&self, bucket: &str) -> String {
        let beside = |others| {
            format!(
                ". Right after the last write other rules of it were not as before: {others}. Somebody else wrote them, or \
                 the server keeps them in another way"
            )
        };
        format!("Bucket {bucket} answers{}", self.attempt.beside().map_or_else(String::new, beside))
    }

    /// The failure and the next step.
    fn failed(&self, error: &AwsError) -> String {
        if !error.is_refused() {
            return format!("{error}. {}", next_step(error));
        }
        // S3 gives the same answer to those who lack a right and to those who expect another owner.
        let account = match self.account {
            Some(account) => format!("another account than {account}, which the grant names"),
            None => "another account".to_owned(),
        };
        let (aws, storage) = (self.cluster.spec.aws.as_ref(), self.cluster.spec.storage.as_ref());
        let region = aws.map_or("", |aws| aws.region.as_str());
        let bucket = storage.map_or("", |storage| storage.bucket_name.as_str());
        let role = aws.and_then(|aws| aws.role_arn.as_ref()).map(|role| format!("role {role}"));
        let secret = aws.and_then(|aws| aws.credentials_secret_ref.as_ref());
        let user = || secret.map(|secret| format!("the IAM user of the keys in Secret {}", secret.name));
        let who = role.or_else(user).unwrap_or_else(|| "the operator's own IAM role".to_owned());
        format!(
            "{}. {} on {} is denied, or the bucket belongs to {account}: S3 gives both the same answer. Add to a policy of \
             {}: {}",
            words::cut(&error.to_string(), MAX_REFUSAL),
            error.permission().action,
            bucket_arn(region, bucket),
            words::cut(&who, MAX_IDENTITY),
            bucket_statement(region, bucket),
        )
    }

    /// Whether some rule removes the old versions of all logs.
    pub(crate) fn removes_versions(&self) -> bool {
        let logs = self.policy.logs_prefix.as_str();
        let removes = |rule: &ObservedRule| match (&rule.reach, &rule.meaning) {
            (Some(reach), _) => reach.noncurrent.is_some() && reach.share_of(logs) == Share::Whole,
            (None, Some(meaning)) => meaning.settings.noncurrent_days.is_some() && logs.starts_with(&meaning.prefix),
            (None, None) => false,
        };
        self.after.known().is_some_and(|rules| rules.iter().any(removes))
    }

    fn status(&self) -> StorageStatus {
        let rules = self.rules();
        let services = self.observed.facts.services.known();
        StorageStatus {
            settled_generation: if self.is_settled() {
                self.cluster.metadata.generation
            } else {
                settled_before(self.cluster)
            },
            pending_changes: Some(0),
            services: services.map(|s| words::count(s.len())),
            lifecycle_rules: rules.map(|(ours, _)| ours),
            foreign_lifecycle_rules: rules.map(|(_, foreign)| foreign),
            minimum_object_size: self.observed.minimum_object_size(),
            versioning: self.observed.surroundings.versioning.known().map(|it| it.name().to_owned()),
            object_lock: self.observed.surroundings.object_lock.known().copied(),
            replication: self.observed.surroundings.replication.known().copied(),
            drift: self.drift(),
        }
    }

    /// What others have done to rules of ours and this look has not put right; as last known, if nothing is known now.
    fn drift(&self) -> Option<Drift> {
        let Some(left) = self.left_changed() else { return drift_before(self.cluster) };
        let told: Vec<String> = left.iter().map(|changed| changed.words()).collect();
        let summary = words::cut(&words::first_few(&told), MAX_SUMMARY);
        (!told.is_empty()).then(|| Drift { changes: words::count(told.len()), summary })
    }

    /// Rules that others have changed and the write of this look has not put right; `None`: not known.
    pub(crate) fn left_changed(&self) -> Option<Vec<&Changed>> {
        // That it is so already may be an old answer.
        let written = matches!(self.attempt.outcome, Some(Ok(Written::Shown { .. })));
        let write = self.attempt.write.as_ref().filter(|_| written);
        let restored = |changed: &Changed| write.is_some_and(|write| is_written(write, &changed.id));
        Some(self.drift?.iter().filter(|changed| !restored(changed)).collect())
    }

    fn is_settled(&self) -> bool {
        let written = matches!(self.attempt.outcome, None | Some(Ok(Written::AlreadySo)));
        let written = written && self.attempt.refused.is_empty();
        self.observed.error.is_none() && (written || !validate::may_change(self.cluster)) && self.plan.blocked.is_none()
    }

    fn failure(&self) -> Option<ErrorClass> {
        self.error().map(AwsError::class).or_else(|| self.attempt.failure())
    }

    /// What each policy got, without the services whose rule is the wanted one: the record stays small with many.
    fn notable(&self) -> BTreeMap<String, retention::PolicyPlan> {
        let mut policies = self.plan.policies.clone();
        for policy in policies.values_mut() {
            policy.services.retain(|_, decision| *decision != retention::Decision::InForce);
        }
        policies
    }

    fn decision(&self) -> Option<Decision> {
        let outcome = self.attempt.outcome.iter().map(policy_report::recorded);
        let outcome: Vec<String> = outcome.chain(self.attempt.words()).collect();
        let version = self.observed.facts.document.known().map(|document| document.version.clone());
        let services = self.observed.facts.services.known().map(BTreeSet::len);
        let write: Vec<_> = self.plan.write.iter().collect();
        // The record of the last write holds what is bared: that may be much, and is the same for a long time.
        let policy = retention::Policy { bared: BTreeMap::new(), ..self.policy.clone() };
        Some(Decision {
            id: None,
            about: "",
            inputs: json!({"policy": policy, "documentVersion": version, "services": services}),
            actions: json!(write),
            holds: json!({"blocked": self.plan.blocked, "policies": self.notable()}),
            outcome: json!(outcome),
        })
    }
}

/// Why a bucket cannot be used after this failure.
pub(crate) fn reason_of(error: &AwsError) -> Reason {
    if error.is_other_region() {
        return Reason::BucketInOtherRegion;
    }
    Reason::of_failure(error.class(), Reason::BucketNotFound)
}

fn next_step(error: &AwsError) -> &'static str {
    if error.is_other_region() {
        return "`aws.region` and `storage.bucketName` are immutable: create a LogwiseCluster with the right ones";
    }
    match error.class() {
        ErrorClass::Denied => "Correct the credentials, as docs/aws-permissions.md#credentials says",
        ErrorClass::NotFound => "Create the bucket, or create a LogwiseCluster that names the right one",
        ErrorClass::Invalid => "Correct `storage` and the retention policies",
        ErrorClass::Throttled | ErrorClass::Conflict | ErrorClass::Transient => "It is tried again",
    }
}

/// The condition reason of a bucket that cannot be written.
pub(crate) const fn blocked_reason(blocked: &Blocked) -> Reason {
    match blocked {
        Blocked::DocumentUnreadable { .. } | Blocked::ServicesUnreadable { .. } => Reason::Unreadable,
        Blocked::ForeignRuleNotPreservable { .. } => Reason::ForeignRuleNotPreservable,
        Blocked::PolicyUnclear { .. } => Reason::PolicyUnclear,
        Blocked::TooManyRules { .. } => Reason::TooManyRules,
        Blocked::Conflicted { .. } => Reason::Conflicted,
        Blocked::ProtectedPrefix { .. } => Reason::InvalidSpec,
    }
}

/// The fact and the next step of a bucket that cannot be written.
pub(crate) fn blocked_message(blocked: &Blocked) -> String {
    match blocked {
        Blocked::DocumentUnreadable { why } | Blocked::ServicesUnreadable { why } => {
            format!("{why}. It is tried again")
        }
        Blocked::ForeignRuleNotPreservable { why } => {
            format!(
                "A lifecycle rule of somebody else cannot be carried through a rewrite: {why}. Nothing is written until that rule is changed or removed"
            )
        }
        Blocked::PolicyUnclear { policy, why } => format!(
            "RetentionPolicy {policy} is not understood: {why}. What it wants for its services is unknown, so that no service of this bucket gets another rule until it is corrected or deleted"
        ),
        Blocked::TooManyRules { foreign, ours, others, policies, fold } => {
            let folding = match fold {
                Folding::Never => ", or set `storage.lifecycle.fold` to WhenNeeded",
                Folding::WhenNeeded => "",
            };
            format!(
                "{ours} rules are needed and others have {foreign}; S3 allows {} together, and services without a rule get none. \
                 Of others: {}. Of ours: {}. Merge or remove rules of others, let policies cover fewer services{folding}",
                retention::MAX_RULES,
                groups(others, |name| if name.is_empty() { "without an id".to_owned() } else { format!("{name}...") }),
                groups(policies, |owner| format!("RetentionPolicy {}", named(owner))),
            )
        }
        Blocked::Conflicted { id, rules, installation: Some(installation) } => format!(
            "Logwise installation {installation} has {rules} rules over these logs, such as {id}: two that manage the same \
             logs would undo each other's work, and this one writes nothing. Stop the other one and remove its rules, or give it \
             another bucket. If this one had that name before, remove these rules, or name it so again"
        ),
        Blocked::Conflicted { id, rules, installation: None } => format!(
            "{rules} rules, such as {id}, are there again although a write of this operator replaced them: another operator \
             of the same installation name works on this bucket, and this one writes nothing. Stop one of them, or give it \
             another `installation`, and remove these rules"
        ),
        Blocked::ProtectedPrefix { prefix } => {
            format!(
                "A rule over {prefix} would reach checkpoints or the sink log; nothing is written. Move `checkpointPrefix` out of the services' prefixes"
            )
        }
    }
}

/// Groups of rules in words, the largest first.
fn groups(groups: &[RuleGroup], name: impl Fn(&str) -> String) -> String {
    let told: Vec<String> = groups.iter().map(|group| format!("{} {}", group.rules, name(&group.name))).collect();
    if told.is_empty() { "none".to_owned() } else { words::first_few(&told) }
}

/// The name of the policy in `<installation>.<namespace>.<name>`.
fn named(owner: &str) -> &str {
    owner.splitn(3, '.').last().unwrap_or(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A LogwiseCluster of generation 2 whose StorageReady was reported so.
    fn cluster(reason: &str, generation: i64) -> LogwiseCluster {
        let status = if reason == "Available" { "True" } else { "False" };
        let ready = json!({
            "type": "StorageReady", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation,
        });
        let status = json!({"conditions": [ready], "storage": {"minimumObjectSize": "varies_by_storage_class"}});
        let object = json!({
            "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"name": "demo", "namespace": "shop", "generation": 2}, "spec": {}, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn after_an_old_answer_the_status_stays_unless_it_tells_of_something_else() {
        let stays = reported(&cluster("StoreIgnoresField", 2)).unwrap();
        assert_eq!(stays.conditions[0].reason, Reason::StoreIgnoresField);
        assert_eq!(stays.fields["storage"]["minimumObjectSize"], "varies_by_storage_class");
        for (reason, generation) in [("StoreIgnoresField", 1), ("PermissionDenied", 2), ("InvalidSpec", 2)] {
            assert_eq!(reported(&cluster(reason, generation)), None, "{reason}");
        }
        assert_eq!(reported(&LogwiseCluster { status: None, ..cluster("Available", 2) }), None);
    }

    #[test]
    fn after_an_old_answer_a_blocked_plan_is_told_only_where_nothing_is_told_yet() {
        let stays = |reason, is_blocked| kept(&cluster(reason, 2), is_blocked).is_some();
        assert!(stays("StoreIgnoresField", true) && stays("TooManyRules", true), "neither comes and goes");
        assert!(!stays("Available", true) && stays("Available", false));
        assert!(!stays("PermissionDenied", false), "a look that failed has written that");
    }
}
