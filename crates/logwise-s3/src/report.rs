//! What a look at a bucket found and did, on the LogwiseCluster.

use crate::drift::{Changed, is_written};
use crate::policy_report;
use crate::{Look, Written};
use kube::ResourceExt;
use logwise_api::validate::{self, Invalid};
use logwise_api::{Drift, LogwiseCluster, StorageStatus};
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::{self, Blocked};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::metrics::{Metrics, Pipeline};
use logwise_runtime::{Decision, ErrorClass, PartStatus, Refused, Report, words};
use serde_json::{Map, json};
use std::time::Duration;

/// Longest account of what others have changed, in characters.
const MAX_SUMMARY: usize = 512;

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

/// Everything one look at a bucket knows.
pub(crate) struct Found<'a> {
    pub cluster: &'a LogwiseCluster,
    pub observed: &'a Look,
    pub plan: &'a retention::Plan,
    /// What became of the write; `None`: nothing was sent.
    pub outcome: Option<&'a Result<Written, AwsError>>,
    pub policy: &'a retention::Policy,
    /// Rules that others have changed since our last write, before the write of this look; `None`: not known.
    pub drift: Option<&'a [Changed]>,
    /// The account that the bucket must belong to, if the grants name one.
    pub account: Option<&'a str>,
}

impl Found<'_> {
    /// The report on the LogwiseCluster.
    pub(crate) fn report(&self) -> Report {
        let wrote = matches!(self.outcome, Some(Ok(Written::Done)));
        Report {
            status: part_status(&self.status(), self.ready()),
            events: Vec::new(),
            decisions: self.decision().into_iter().collect(),
            failure: self.failure(),
            // Right after a write the world is read once more: policies report what S3 then holds.
            next_look: Duration::from_secs(if wrote { 1 } else { self.plan.next_look_seconds.into() }),
            retry_within: None,
        }
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
            Known::Known(document) => document.rules.as_slice(),
            Known::Absent => &[],
            Known::Unknown(_) => return None,
        };
        let ours = rules.iter().filter(|rule| rule.id.as_deref().is_some_and(|id| self.owns(id))).count();
        Some((words::count(ours), words::count(rules.len() - ours)))
    }

    /// Whether a rule id belongs to one of the bucket's policies.
    pub(crate) fn owns(&self, id: &str) -> bool {
        self.policy.policies.iter().any(|entry| retention::is_owned_by(id, &entry.owner))
    }

    /// What failed: the look, or else the write.
    fn error(&self) -> Option<&AwsError> {
        self.observed.error.as_ref().or_else(|| self.outcome?.as_ref().err())
    }

    fn ready(&self) -> Draft {
        let kind = ConditionType::StorageReady;
        let bucket = self.cluster.spec.storage.as_ref().map_or("", |s| s.bucket_name.as_str());
        if let Some(error) = self.error() {
            let reason = Reason::of_failure(error.class(), Reason::BucketNotFound);
            return Draft::new(
                kind,
                false,
                reason,
                format!("{error}. {}{}", next_step(error.class()), self.other_account(error.class())),
            );
        }
        if let Some(Ok(Written::NotVerified { why })) = self.outcome {
            let message = format!(
                "The configuration of {bucket} is not what was written: {why}. Find the other writer of its lifecycle rules"
            );
            return Draft::new(kind, false, Reason::ForeignWriterDetected, message);
        }
        if let Some(Ok(Written::NotKept { why })) = self.outcome {
            return Draft::new(kind, false, Reason::RuleNotKept, not_kept(bucket, why));
        }
        match &self.plan.blocked {
            Some(blocked) => Draft::new(kind, false, blocked_reason(blocked), blocked_message(blocked)),
            None => Draft::new(kind, true, Reason::Available, format!("Bucket {bucket} answers")),
        }
    }

    /// S3 gives the same answer to those who lack a right and to those who expect another owner.
    fn other_account(&self, class: ErrorClass) -> String {
        match self.account.filter(|_| class == ErrorClass::Denied) {
            Some(account) => format!(
                ", and check that it belongs to account {account}: the grant says so, and a bucket of another account is refused"
            ),
            None => String::new(),
        }
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
        let written = matches!(self.outcome, Some(Ok(Written::Done | Written::AlreadySo)));
        let write = self.plan.write.as_ref().filter(|_| written);
        let restored = |changed: &Changed| write.is_some_and(|write| is_written(write, &changed.id));
        Some(self.drift?.iter().filter(|changed| !restored(changed)).collect())
    }

    fn is_settled(&self) -> bool {
        let written = matches!(self.outcome, None | Some(Ok(Written::Done | Written::AlreadySo)));
        self.observed.error.is_none() && (written || !validate::may_change(self.cluster)) && self.plan.blocked.is_none()
    }

    fn failure(&self) -> Option<ErrorClass> {
        let lost = matches!(self.outcome, Some(Ok(Written::Superseded | Written::NotVerified { .. })));
        let not_kept = matches!(self.outcome, Some(Ok(Written::NotKept { .. })));
        let written = lost.then_some(ErrorClass::Conflict).or(not_kept.then_some(ErrorClass::Invalid));
        self.error().map(AwsError::class).or(written)
    }

    /// What each policy got, without the services whose rule is the wanted one: the record stays small with many.
    fn notable(&self) -> std::collections::BTreeMap<String, retention::PolicyPlan> {
        let mut policies = self.plan.policies.clone();
        for policy in policies.values_mut() {
            policy.services.retain(|_, decision| *decision != retention::Decision::InForce);
        }
        policies
    }

    fn decision(&self) -> Option<Decision> {
        let outcome: Vec<String> = self.outcome.iter().map(|outcome| policy_report::recorded(outcome)).collect();
        let version = self.observed.facts.document.known().map(|document| document.version.clone());
        let services = self.observed.facts.services.known().map(std::collections::BTreeSet::len);
        let write: Vec<_> = self.plan.write.iter().collect();
        Some(Decision {
            id: None,
            inputs: json!({"policy": self.policy, "documentVersion": version, "services": services}),
            actions: json!(write),
            holds: json!({"blocked": self.plan.blocked, "policies": self.notable()}),
            outcome: json!(outcome),
        })
    }
}

fn next_step(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Denied => {
            "Allow the operator s3:ListBucket, s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration on this bucket"
        }
        ErrorClass::NotFound => "Create the bucket, or create a LogwiseCluster that names the right one",
        ErrorClass::Invalid => "Correct `storage` and the retention policies",
        ErrorClass::Throttled | ErrorClass::Conflict | ErrorClass::Transient => "It is tried again",
    }
}

/// The fact and the next step where the server keeps less than was written.
fn not_kept(bucket: &str, why: &str) -> String {
    format!(
        "The server of bucket {bucket} accepts lifecycle rules and does not keep all of them: {why}. Nothing is written \
         until a policy or the configuration changes, or ten minutes have passed. Leave out of the policies what this \
         server does not keep"
    )
}

/// The condition reason of a bucket that cannot be written.
pub(crate) const fn blocked_reason(blocked: &Blocked) -> Reason {
    match blocked {
        Blocked::DocumentUnreadable { .. } | Blocked::ServicesUnreadable { .. } => Reason::Unreadable,
        Blocked::ForeignRuleNotPreservable { .. } => Reason::ForeignRuleNotPreservable,
        Blocked::PolicyUnclear { .. } => Reason::PolicyUnclear,
        Blocked::TooManyRules { .. } => Reason::TooManyRules,
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
        Blocked::TooManyRules { foreign, ours } => format!(
            "{ours} rules are needed and others have {foreign}; S3 allows {} together. Merge or remove rules of others, or let policies cover fewer services",
            retention::MAX_RULES
        ),
        Blocked::ProtectedPrefix { prefix } => {
            format!(
                "A rule over {prefix} would reach checkpoints or the sink log; nothing is written. Move `checkpointPrefix` out of the services' prefixes"
            )
        }
    }
}
