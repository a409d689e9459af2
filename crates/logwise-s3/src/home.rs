//! The way to the bucket of a policy whose LogwiseCluster is gone, by the policy's own status: its own rules are
//! removed there, under the bucket's record, and nothing else is done.

use crate::apply::Written;
use crate::attempt::{Attempt, UNSEEN};
use crate::bucket::{Bucket, Named};
use crate::change::{Behalf, carry_out, clear_the_way, resource};
use crate::controller::Context;
use crate::drift::{drifted, left_alone, perhaps_there};
use crate::leaving::is_bucket_gone;
use crate::lessened::Lessened;
use crate::observe::Look;
use crate::orphan::{Pipeline, SOON};
use crate::record::Targets;
use crate::replaced::replaced;
use crate::report::{blocked_message, blocked_reason, reason_of};
use crate::standing::Standing;
use crate::undo::{is_unsure, unkept};
use crate::unkept::{Undo, Unkept};
use crate::{RawDocument, finalizer, lifecycle, policy_report};
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::{ChangeMode, DeletionPolicy, Home, LogwiseCluster, RetentionPolicy, validate};
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::{self, Blocked};
use logwise_runtime::conditions::Reason;
use logwise_runtime::intent::{Intent, Owner};
use logwise_runtime::{Decision, ErrorClass, ObjectKey, Part, Refused, chain};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The bucket of a policy, by its status.
pub(crate) fn home_of(policy: &RetentionPolicy) -> Option<&Home> {
    policy.status.as_ref()?.home.as_ref()
}

/// What one look at the bucket of a deleted policy came to.
pub(crate) enum Step {
    /// No rule of the policy is left.
    Done,
    /// A write is on its way, or has to be decided anew, or S3 may have given an old answer: it is looked at again after this
    /// time.
    Open(Duration),
    /// The rules cannot be removed for now, and why.
    Stuck(Reason, String),
}

impl Step {
    fn of(outcome: Result<Written, AwsError>) -> Self {
        let attempt = Attempt { outcome: Some(outcome), ..Attempt::default() };
        match (attempt.next_look(), attempt.outcome) {
            (Some(next), _) => Self::Open(next),
            (None, Some(Err(error))) if error.class() != ErrorClass::Conflict => {
                Self::Stuck(reason_of(&error), error.to_string())
            }
            (None, Some(Ok(Written::NotVerified { why }))) => Self::Stuck(Reason::ForeignWriterDetected, why),
            (None, _) => Self::Open(SOON),
        }
    }
}

/// One look at the bucket, and at most one write.
pub(crate) async fn remove(policy: &Arc<RetentionPolicy>, home: &Home, context: &Context, pipeline: &Pipeline) -> Step {
    let (bucket, look) = match looked(policy, home, context).await {
        Ok(looked) => looked,
        Err(step) => return step,
    };
    // Whatever the mode is: a rule that acts on more than it was written for goes.
    let is_duty = is_duty(&bucket, &look, context);
    let own = makers(std::slice::from_ref(policy), context);
    if !is_duty && retention::rules_of(look.facts.document.known(), &own).is_empty() {
        let last = context.shell.intents.last(&resource(&bucket.name)).ok().flatten();
        let is_own = |id: &str| retention::maker_of(id).is_some_and(|maker| own.contains(maker));
        let perhaps = perhaps_there(last.as_ref(), Timestamp::now());
        let may_be_old = perhaps.is_none_or(|ids| ids.iter().any(|id| is_own(id)));
        return if may_be_old { Step::Open(UNSEEN) } else { Step::Done };
    }
    if !is_duty && !may_change(policy) {
        let why = "the policy only observes, or its LogwiseCluster did when it was last seen. Set `changePolicy.mode` \
                   to Apply, create the LogwiseCluster anew, or set `deletionPolicy` to Orphan";
        return Step::Stuck(Reason::RulesLeft, why.to_owned());
    }
    match pipeline.is_as_seen(policy, context).await {
        Ok(true) => take_away(policy, home, context, (&bucket, &look)).await,
        Ok(false) => {
            let name = &policy.spec.cluster_ref.name;
            let why = format!("LogwiseCluster {name} exists, and this operator does not serve it as it is now");
            Step::Stuck(Reason::RetryingAfterError, why)
        }
        Err(error) => Step::Stuck(Reason::RetryingAfterError, chain(&error)),
    }
}

/// Takes away rules that act on more than they were written for, where the LogwiseCluster went before its looks had done
/// that. Nothing else is done for a policy that stays.
pub(crate) async fn take_back(policy: &Arc<RetentionPolicy>, context: &Context, pipeline: &Pipeline) {
    let Some(home) = home_of(policy) else { return };
    let last = context.shell.intents.last(&resource(&home.bucket_name)).ok().flatten();
    if !last.is_some_and(|last| is_unsure(&last, Timestamp::now())) {
        return;
    }
    let Ok((bucket, look)) = looked(policy, home, context).await else { return };
    if is_duty(&bucket, &look, context) && matches!(pipeline.is_as_seen(policy, context).await, Ok(true)) {
        take_away(policy, home, context, (&bucket, &look)).await;
    }
}

/// Reads the configuration and judges the record of the last write by it; an error is why nothing can be written now.
async fn looked(policy: &RetentionPolicy, home: &Home, context: &Context) -> Result<(Bucket, Look), Step> {
    let refused = |refused: Refused| Step::Stuck(refused.reason, refused.message);
    let bucket = reach(policy, home, context).await.map_err(refused)?;
    if let Some(owner) = other_owner(policy, home, context).await {
        return Err(Step::Stuck(Reason::Conflicted, format!("the bucket belongs to LogwiseCluster {owner}")));
    }
    let looked = Instant::now();
    let look = match lifecycle::read(&bucket).await {
        Ok(raw) => seen(raw),
        // With the bucket its rules are gone.
        Err(error) if is_bucket_gone(&error) => return Err(Step::Done),
        Err(error) => return Err(Step::Stuck(reason_of(&error), error.to_string())),
    };
    let by = (context.shell.intents.as_ref(), &context.memory);
    match clear_the_way(by, &bucket.name, (&look, looked), |id| is_of(&context.installation, id)).await {
        Standing::Free => Ok((bucket, look)),
        Standing::Open { seen, .. } => Err(Step::of(Ok(seen))),
        Standing::Lost { why, .. } => Err(Step::of(Ok(Written::NotVerified { why }))),
        Standing::Unclear(why) => Err(Step::Stuck(Reason::RetryingAfterError, why)),
    }
}

/// Whether a rule of ours acts on more than it was written for.
fn is_duty(bucket: &Bucket, look: &Look, context: &Context) -> bool {
    let last = context.shell.intents.last(&resource(&bucket.name)).ok().flatten();
    not_kept(last.as_ref(), look, context).is_some_and(|unkept| unkept.is_duty())
}

fn not_kept(last: Option<&Intent>, look: &Look, context: &Context) -> Option<Unkept> {
    unkept(last, &look.raw, |id| is_of(&context.installation, id), Timestamp::now())
}

/// Whether the operator may call what the status names, exactly as if a LogwiseCluster named it: whoever forges it
/// gains nothing.
async fn reach(policy: &RetentionPolicy, home: &Home, context: &Context) -> Result<Bucket, Refused> {
    let references = validate::home_references(home).map_err(|invalid| Refused {
        reason: Reason::InvalidSpec,
        message: invalid.to_string(),
        class: ErrorClass::Invalid,
    })?;
    let namespace = policy.namespace().unwrap_or_default();
    let named = Named {
        namespace: &namespace,
        pipeline: &policy.spec.cluster_ref.name,
        references,
        bucket: &home.bucket_name,
        region: &home.region,
        role_arn: home.role_arn.as_deref(),
        secret: home.credentials_secret_name.as_deref(),
        account: home.account_id.as_deref(),
    };
    named.reach(context).await
}

/// The LogwiseCluster that has the bucket, if it is not the one that the policy had: by the record of the bucket's last
/// write, or, where there is none, any that names it. No call is made then: what another one's bucket holds is not to
/// be judged by what is read on this way.
async fn other_owner(policy: &RetentionPolicy, home: &Home, context: &Context) -> Option<String> {
    let own = (policy.namespace().unwrap_or_default(), policy.spec.cluster_ref.name.clone());
    let named = |(namespace, name): (String, String)| format!("{namespace}/{name}");
    if let Some(owner) = context.shell.intents.owner(&resource(&home.bucket_name)).await {
        let owner = (owner.namespace, owner.name);
        return (owner != own).then(|| named(owner));
    }
    if let Some(unread) = context.unreadable_clusters.keys().into_iter().next() {
        return Some(format!("{}/{} (which cannot be read)", unread.namespace, unread.name));
    }
    let key = |cluster: &LogwiseCluster| (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let bucket = |cluster: &LogwiseCluster| cluster.spec.storage.as_ref().map(|storage| storage.bucket_name.clone());
    let names_it = |cluster: &LogwiseCluster| bucket(cluster).as_ref() == Some(&home.bucket_name);
    let others = context.clusters.state_filter(|cluster| names_it(cluster) && key(cluster) != own);
    others.first().map(|other| named(key(other)))
}

/// Drops the credentials with which the bucket was called.
pub(crate) fn forget(policy: &RetentionPolicy, context: &Context) {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), &policy.spec.cluster_ref.name);
    let pipeline = logwise_aws::Pipeline { installation: &context.installation, namespace: &namespace, name };
    context.aws.forget(&pipeline.external_id());
}

/// A look at nothing but the configuration.
fn seen(raw: Known<RawDocument>) -> Look {
    let services = Known::Unknown("not listed: no rule is added".to_owned());
    Look::of(services, raw)
}

/// Whether rules may be removed for this policy, as far as its LogwiseCluster was seen.
fn may_change(policy: &RetentionPolicy) -> bool {
    let observed = home_of(policy).is_none_or(|home| home.mode == ChangeMode::Observe);
    !observed && policy.spec.change_policy.mode == ChangeMode::Apply
}

/// Whether a rule with this id was written by this installation.
fn is_of(installation: &str, id: &str) -> bool {
    retention::owner_of(id).and_then(|owner| owner.split_once('.')).is_some_and(|(of, _)| of == installation)
}

/// The objects as rule ids name them.
fn makers(policies: &[Arc<RetentionPolicy>], context: &Context) -> BTreeSet<String> {
    policies.iter().filter_map(|policy| validate::maker(policy, &context.installation).ok()).collect()
}

/// The policies that leave the same bucket in the same way: their rules go in one write.
fn mates(policy: &RetentionPolicy, context: &Context) -> Vec<Arc<RetentionPolicy>> {
    let namespace = policy.namespace().unwrap_or_default();
    let unreadable = context.unreadable_policies.within(&namespace);
    let is_mate = |other: &RetentionPolicy| {
        other.namespace().as_deref() == Some(namespace.as_str())
            && other.spec.cluster_ref == policy.spec.cluster_ref
            && other.metadata.deletion_timestamp.is_some()
            && other.spec.deletion_policy == DeletionPolicy::RemoveRules
            && finalizer::holds(other)
            && home_of(other) == home_of(policy)
            && may_change(other)
            && !unreadable.contains_key(&other.name_any())
    };
    context.policies.state_filter(is_mate)
}

/// Removes the rules of this policy and of those that leave with it, or first those that act on more than they were
/// written for, whosever they are.
async fn take_away(
    policy: &Arc<RetentionPolicy>,
    home: &Home,
    context: &Context,
    (bucket, look): (&Bucket, &Look),
) -> Step {
    let is_duty = is_duty(bucket, look, context);
    let leaving = if is_duty { vec![policy.clone()] } else { mates(policy, context) };
    let last = context.shell.intents.last(&resource(&bucket.name)).ok().flatten();
    let targets = match targets(context, look, &makers(&leaving, context), last.as_ref()) {
        Ok(Some(targets)) => targets,
        // The policy is no longer the one that is looked at.
        Ok(None) => return Step::Open(SOON),
        Err(blocked) => return Step::Stuck(blocked_reason(&blocked), blocked_message(&blocked)),
    };
    let memory = &context.memory;
    let known = memory.tried.outcome(&bucket.name, &targets.write, Instant::now());
    if let Some(known) = known.filter(|_| !is_duty) {
        return Step::of(known);
    }
    let behalf = Behalf::Leaving(leaving.iter().map(AsRef::as_ref).collect(), on_record(last, policy));
    let by = (&context.shell.intents, memory);
    let outcome = carry_out(by, &behalf, bucket, (&targets, look), |id| is_of(&context.installation, id)).await;
    let outcome = memory.tried.noted(&bucket.name, &targets.write, outcome, Instant::now());
    let decision = Decision {
        id: None,
        about: "",
        inputs: json!({"home": home, "documentVersion": look.raw.known().map(RawDocument::version)}),
        actions: json!([targets.write]),
        holds: json!({}),
        outcome: json!([policy_report::recorded(&outcome)]),
    };
    context.shell.decisions.record(&ObjectKey::of(policy.as_ref()), Part::Retention, decision, Timestamp::now());
    Step::of(outcome)
}

/// What is written: rules that the server did not keep are taken back before anything else.
fn targets(
    context: &Context,
    look: &Look,
    makers: &BTreeSet<String>,
    last: Option<&Intent>,
) -> Result<Option<Targets>, Blocked> {
    if let Some(Unkept { undo: Undo::Due(targets), .. }) = not_kept(last, look, context) {
        return Ok(Some(*targets));
    }
    let Some(write) = retention::removal(look.facts.document.known(), makers)? else { return Ok(None) };
    // Another LogwiseCluster may have the bucket by now: what the record knows of its rules is handed on.
    let stay = context.policies.state_filter(|policy| policy.metadata.deletion_timestamp.is_none());
    let owners: Vec<String> =
        stay.iter().filter_map(|policy| validate::owner(policy, &context.installation).ok()).collect();
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    let drift = drifted((last, Timestamp::now()), &look.raw, &owners);
    Ok(Some(Targets {
        left: left_alone(&write, drift.as_deref().unwrap_or_default()),
        replaced: replaced(last),
        minimum_object_size: look.minimum_object_size(),
        ignored: last.and_then(Targets::of).and_then(|targets| targets.ignored),
        lessened: Lessened::of(last, &look.raw),
        write,
        ..Targets::default()
    }))
}

/// Whose the bucket is on record: removing rules claims nothing.
fn on_record(last: Option<Intent>, policy: &RetentionPolicy) -> Owner {
    let pipeline = || Owner {
        namespace: policy.namespace().unwrap_or_default(),
        name: policy.spec.cluster_ref.name.clone(),
        uid: String::new(),
        generation: 0,
    };
    last.map_or_else(pipeline, |last| last.wish.owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_aws::Failure;
    use serde_json::Value;

    fn policy(mode: &str, home: Value) -> RetentionPolicy {
        let spec = json!({"clusterRef": {"name": "demo"}, "serviceSelector": {}, "changePolicy": {"mode": mode}});
        let metadata = json!({"name": "keep", "namespace": "shop", "uid": "00000001-2"});
        let (group, kind, status) = ("logwise.io/v1alpha1", "RetentionPolicy", json!({"home": home}));
        let object = json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn home(mode: &str) -> Value {
        json!({"bucketName": "acme-logs", "logsPrefix": "logs/", "region": "eu-west-1", "mode": mode})
    }

    #[test]
    fn whoever_observed_last_writes_nothing_after_its_end() {
        assert!(may_change(&policy("Apply", home("Apply"))));
        assert!(!may_change(&policy("Observe", home("Apply"))));
        assert!(!may_change(&policy("Apply", home("Observe"))));
        assert!(!may_change(&policy("Apply", Value::Null)));
    }

    #[test]
    fn a_rule_is_of_this_installation_by_its_whole_name() {
        let id = retention::rule_id("lab.shop.keep", "00000001", "api");
        assert!(is_of("lab", &id) && !is_of("la", &id) && !is_of("lab.shop", &id) && !is_of("lab", "by hand"));
    }

    #[test]
    fn a_write_on_its_way_is_looked_at_soon_and_a_refusal_is_told() {
        let next = |outcome| match Step::of(outcome) {
            Step::Open(next) => next.as_secs(),
            Step::Done | Step::Stuck(..) => 0,
        };
        assert_eq!(next(Ok(Written::Shown { others: None })), 1);
        assert_eq!(next(Ok(Written::Unseen { why: "old".into() })), 5);
        assert_eq!((next(Ok(Written::Superseded)), next(Ok(Written::AlreadySo))), (2, 2));
        let failed = |class| {
            let failure = Failure::stated(class, "no".to_owned());
            Err(AwsError::WriteLifecycle { bucket: "b".into(), failure, source: None })
        };
        assert_eq!(next(failed(ErrorClass::Conflict)), 2, "somebody else's turn");
        let Step::Stuck(reason, message) = Step::of(failed(ErrorClass::Denied)) else { panic!("not stuck") };
        assert!(reason == Reason::PermissionDenied && message.contains("could not be written"), "{message}");
        let other = Step::of(Ok(Written::NotVerified { why: "gone".into() }));
        assert!(matches!(other, Step::Stuck(Reason::ForeignWriterDetected, _)));
    }

    #[test]
    fn the_record_of_a_bucket_stays_that_of_its_owner() {
        let policy = policy("Apply", home("Apply"));
        let last = crate::record::tests::record(logwise_runtime::intent::State::Done, &Targets::default(), None);
        assert_eq!(on_record(Some(last.clone()), &policy), last.wish.owner);
        let none = on_record(None, &policy);
        assert_eq!((none.namespace.as_str(), none.name.as_str()), ("shop", "demo"));
    }
}
