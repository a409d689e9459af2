//! Validate, observe, plan, apply, report; once per bucket, for all its retention policies together.

use crate::drift::Changed;
use crate::policy_report::{self, PolicyLook};
use crate::{Bucket, Discovery, Look, Tried, Written, change, drift, finalizer, observe, report};
use futures::Stream;
use jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use logwise_api::validate::{self, Invalid};
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::{AwsClients, AwsError, Owner, Pipeline, Whom};
use logwise_plan::retention::{self, PolicyEntry, WriteRules};
use logwise_runtime::conditions::Reason;
use logwise_runtime::facts::Fact;
use logwise_runtime::ownership::other_owner;
use logwise_runtime::{Part, Refused, Report, Shell, Unreadable, chain, secrets, streams};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the bucket controller works with.
pub struct Context {
    /// Where it reports to.
    pub shell: Arc<Shell>,
    /// For the finalizers of policies.
    pub client: Client,
    /// AWS clients.
    pub aws: Arc<AwsClients>,
    /// Services per bucket, listed at most once per period.
    pub discovery: Discovery,
    /// Writes that did not come out as wanted.
    pub tried: Tried,
    /// Name of this installation, part of the rule ids.
    pub installation: String,
    /// Seconds between two looks.
    pub period_seconds: u32,
    /// All pipelines.
    pub clusters: Store<LogwiseCluster>,
    /// All retention policies.
    pub policies: Store<RetentionPolicy>,
    /// Pipelines that cannot be read.
    pub unreadable_clusters: Unreadable,
    /// Retention policies that cannot be read.
    pub unreadable_policies: Unreadable,
}

/// Looks at the bucket of every LogwiseCluster until `shutdown`.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    policies: impl Stream<Item = Arc<RetentionPolicy>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the shell, where namespaces take turns.
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), context.clusters.clone())
        .watches_shared_stream(streams::spec_changes(policies), |policy| {
            let namespace = policy.namespace().unwrap_or_default();
            [ObjectRef::<LogwiseCluster>::new(&policy.spec.cluster_ref.name).within(&namespace)]
        });
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Action {
    let look = async { secrets::sooner(&validate::secrets(&cluster), look(&cluster, &context).await) };
    context.shell.reconcile(Part::Storage, cluster.as_ref(), look).await
}

async fn look(cluster: &LogwiseCluster, context: &Context) -> Report {
    // Before the store is read: what is mended is in it before it leaves this list.
    let unreadable = context.unreadable_policies.within(&cluster.namespace().unwrap_or_default());
    let policies = policies_of(cluster, context);
    if cluster.spec.storage.is_none() {
        let message =
            format!("LogwiseCluster {} has no `storage` section. Add one, or correct `clusterRef`", cluster.name_any());
        refuse(&policies, context, Reason::ClusterNotFound, &message).await;
        let next_look = Duration::from_secs(if policies.is_empty() { 0 } else { 30 });
        return Report { next_look, ..Report::default() };
    }
    let bucket = match reach(cluster, context).await {
        Ok(bucket) => bucket,
        Err(refused) => {
            let message = format!("LogwiseCluster {} cannot be used: {}", cluster.name_any(), refused.message);
            say_refused(&policies, context, refused.reason, &message).await;
            return report::refused(cluster, refused);
        }
    };
    if let Some(owner) = owner_of_bucket(cluster, context).await {
        let message = format!("The bucket belongs to LogwiseCluster {owner}. Move this policy there");
        refuse(&policies, context, Reason::Conflicted, &message).await;
        return report::conflicted(cluster, &owner);
    }
    let validated = match validated(cluster, context, &policies, unreadable) {
        Ok(validated) => validated,
        Err(invalid) => {
            let message = format!("LogwiseCluster {} cannot be used: {invalid}", cluster.name_any());
            say_refused(&policies, context, Reason::InvalidSpec, &message).await;
            return report::invalid(cluster, &invalid);
        }
    };
    let looked = Instant::now();
    let observed = observe(&bucket, &validated.policy.logs_prefix, &context.discovery).await;
    tell(cluster, context, &observed);
    let cleared = change::clear_the_way(&context.shell.intents, &bucket.name, &observed, looked).await;
    let drift = drifted(context, &bucket.name, &observed, &validated);
    let plan = retention::plan(&validated.policy, &observed.facts, Timestamp::now());
    let outcome = match &plan.write {
        Some(write) if validate::may_change(cluster) => {
            Some(match context.tried.outcome(&bucket.name, (write, &observed), Instant::now()) {
                Some(known) => known,
                None => {
                    let of = (cluster, policies.as_slice());
                    let changed = drift.as_deref().unwrap_or_default();
                    write_rules(context, of, &bucket, (write, &observed, changed), cleared).await
                }
            })
        }
        _ => None,
    };
    let found = report::Found {
        cluster,
        observed: &observed,
        plan: &plan,
        outcome: outcome.as_ref(),
        policy: &validated.policy,
        drift: drift.as_deref(),
        account: bucket.owner.as_deref(),
    };
    found.measure(&context.shell.metrics);
    for (policy, entry) in policies.iter().zip(&validated.entries) {
        let look = PolicyLook { policy, entry: entry.as_ref(), found: &found };
        finish_policy(policy, &look, context).await;
    }
    found.report()
}

/// The spec of one bucket in its validated form.
struct Validated {
    policy: retention::Policy,
    /// One per RetentionPolicy, in the same order.
    entries: Vec<Result<PolicyEntry, Invalid>>,
}

fn validated(
    cluster: &LogwiseCluster,
    context: &Context,
    policies: &[Arc<RetentionPolicy>],
    mut unclear: BTreeMap<String, String>,
) -> Result<Validated, Invalid> {
    let entry = |policy: &Arc<RetentionPolicy>| validate::retention_entry(policy, &context.installation, cluster);
    let entries: Vec<Result<PolicyEntry, Invalid>> = policies.iter().map(entry).collect();
    let good = entries.iter().filter_map(|entry| entry.as_ref().ok()).cloned().collect();
    let stay = policies.iter().zip(&entries).filter(|(policy, _)| policy.meta().deletion_timestamp.is_none());
    unclear.extend(stay.filter_map(|(policy, entry)| Some((policy.name_any(), entry.as_ref().err()?.to_string()))));
    let absent = || Invalid { field: "spec.storage".into(), problem: "must be specified".into() };
    let policy = validate::retention(cluster, good, unclear, context.period_seconds).transpose()?.ok_or_else(absent)?;
    Ok(Validated { policy, entries })
}

/// Rules of ours that others have changed since our last write. Those of a policy that is being deleted go anyway.
fn drifted(context: &Context, bucket: &str, observed: &Look, validated: &Validated) -> Option<Vec<Changed>> {
    let stays = validated.policy.policies.iter().filter(|entry| entry.removal.is_none());
    let owners: Vec<&str> = stays.map(|entry| entry.owner.as_str()).collect();
    let last = context.shell.intents.last(&change::resource(bucket)).ok().flatten();
    drift::drifted(last.as_ref(), &observed.raw, &owners)
}

fn policies_of(cluster: &LogwiseCluster, context: &Context) -> Vec<Arc<RetentionPolicy>> {
    let (namespace, name) = (cluster.namespace(), cluster.name_any());
    let of_cluster = |policy: &RetentionPolicy| policy.namespace() == namespace && policy.spec.cluster_ref.name == name;
    let mut policies = context.policies.state_filter(of_cluster);
    policies.sort_by_key(|policy| policy.name_any());
    policies
}

/// Tells the other parts which services there are.
fn tell(cluster: &LogwiseCluster, context: &Context, observed: &Look) {
    let (taken, period) = (observed.listed.into_std(), context.discovery.period());
    let fact = Fact { value: observed.facts.services.clone(), taken, period };
    context.shell.tell(&context.shell.facts.services, &cluster.uid().unwrap_or_default(), fact);
}

/// Whether the operator may call what this object refers to, and as whom: nothing is called before.
async fn reach(cluster: &LogwiseCluster, context: &Context) -> Result<Bucket, Refused> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let shell = &context.shell;
    let allowed = shell.access.decide(&namespace, &validate::references(cluster))?;
    let aws = cluster.spec.aws.as_ref();
    let whom = Whom {
        pipeline: Pipeline { installation: &context.installation, namespace: &namespace, name: &name },
        region: aws.map_or("", |aws| aws.region.as_str()),
        role_arn: aws.and_then(|aws| aws.role_arn.as_deref()),
        secret: aws.and_then(|aws| aws.credentials_secret_ref.as_ref()).map(|secret| secret.name.as_str()),
        endpoints: &allowed.endpoints,
    };
    let clients = logwise_aws::clients(&context.aws, &shell.secrets, whom).await?;
    let account = allowed.bucket_owner;
    // Twelve digits: the grants were checked when they were read.
    let owner = account.as_ref().and_then(|account| account.parse::<Owner>().ok());
    let bucket = cluster.spec.storage.as_ref().map_or("", |storage| storage.bucket_name.as_str());
    Ok(Bucket { client: clients.s3(owner.as_ref()), name: bucket.to_owned(), owner: account })
}

/// The LogwiseCluster that owns the bucket, if it is not this one. One that may not use it does not own it.
async fn owner_of_bucket(cluster: &LogwiseCluster, context: &Context) -> Option<String> {
    let bucket = &cluster.spec.storage.as_ref()?.bucket_name;
    let shell = &context.shell;
    let contends = |other: &LogwiseCluster| {
        other.spec.storage.as_ref().is_some_and(|s| s.bucket_name == *bucket)
            && shell.access.decide(&other.namespace().unwrap_or_default(), &validate::references(other)).is_ok()
    };
    let recorded = shell.intents.owner(&change::resource(bucket)).await;
    let unread = context.unreadable_clusters.keys();
    if let (None, Some(unread)) =
        (&recorded, unread.iter().find(|unread| unread.uid != cluster.uid().unwrap_or_default()))
    {
        // The first claim goes by age, and this one may be older and name the same bucket.
        return Some(format!("{}/{} (which cannot be read)", unread.namespace, unread.name));
    }
    other_owner(&shell.intents, (cluster, &context.clusters), recorded, contends).await
}

/// Writes the rules, unless a policy is not ready for it.
async fn write_rules(
    context: &Context,
    (cluster, policies): (&LogwiseCluster, &[Arc<RetentionPolicy>]),
    bucket: &Bucket,
    (write, observed, drift): (&WriteRules, &Look, &[Changed]),
    cleared: Result<(), String>,
) -> Result<Written, AwsError> {
    if let Some(superseded) = hold_policies(context, policies).await {
        return Ok(superseded);
    }
    let outcome = change::carry_out(&context.shell.intents, cluster, bucket, (write, observed, drift), cleared).await;
    context.tried.note(&bucket.name, write, &outcome, Instant::now());
    outcome
}

/// Rules are written only for policies whose deletion will wait for us and that are still as they were seen; until then
/// nothing is.
async fn hold_policies(context: &Context, policies: &[Arc<RetentionPolicy>]) -> Option<Written> {
    for policy in policies.iter().filter(|policy| policy.meta().deletion_timestamp.is_none()) {
        if let Err(error) = finalizer::add(context, policy).await {
            tracing::warn!(error = chain(&error), "no rule is written before its policy has a finalizer");
            return Some(Written::Superseded);
        }
    }
    let namespace = policies.first().and_then(|policy| policy.namespace()).unwrap_or_default();
    let all: Vec<&RetentionPolicy> = policies.iter().map(AsRef::as_ref).collect();
    let fresh = context.shell.intents.still(&namespace, &all).await;
    fresh.err().map(|error| {
        tracing::warn!(error = chain(&error), "no rule is written for a policy as it was once");
        Written::Superseded
    })
}

/// Says of policies that they take no part in any bucket, and lets those go that are being deleted.
pub(crate) async fn refuse(policies: &[Arc<RetentionPolicy>], context: &Context, reason: Reason, message: &str) {
    say_refused(policies, context, reason, message).await;
    release(policies, context).await;
}

async fn say_refused(policies: &[Arc<RetentionPolicy>], context: &Context, reason: Reason, message: &str) {
    for policy in policies {
        let report = policy_report::refused(policy, reason, message);
        context.shell.publish(Part::Retention, policy.as_ref(), report).await;
    }
}

/// Lets policies go that are being deleted: nothing here may touch the rules that they may have left.
async fn release(policies: &[Arc<RetentionPolicy>], context: &Context) {
    for policy in policies.iter().filter(|policy| policy.meta().deletion_timestamp.is_some()) {
        if let Err(error) = finalizer::remove(context, policy).await {
            tracing::warn!(error = chain(&error), "finalizer not removed; it is tried again");
        }
    }
}

/// Reports on one policy; lets it go when it is being deleted and none of its rules is left.
async fn finish_policy(policy: &Arc<RetentionPolicy>, look: &PolicyLook<'_>, context: &Context) {
    let report = look.report();
    context.shell.publish(Part::Retention, policy.as_ref(), report).await;
    if look.may_go() {
        release(std::slice::from_ref(policy), context).await;
    }
}
