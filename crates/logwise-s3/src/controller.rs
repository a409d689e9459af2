//! Validate, observe, plan, apply, report; once per bucket, for all its retention policies together.

use crate::attempt::attempt;
use crate::bucket::Named;
use crate::discovery::Listing;
use crate::drift::Changed;
use crate::effect::Effect;
use crate::own_rules::OwnRules;
use crate::policy_report::{self, PolicyLook};
use crate::policy_status::after_write;
use crate::replaced::replaced;
use crate::standing::{REPLACED, Standing, unread};
use crate::{Bucket, Discovery, Leaving, Look, Memory, Objects, Written};
use crate::{bared, change, drift, finalizer, leaving, observe, pending, report};
use futures::Stream;
use jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use logwise_api::validate::{self, Invalid};
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::AwsClients;
use logwise_plan::Known;
use logwise_plan::retention::{self, ApprovalRequest, Enforcement, ObservedRule, PolicyEntry, Removal, is_owned_by};
use logwise_runtime::conditions::Reason;
use logwise_runtime::facts::Fact;
use logwise_runtime::intent::Intent;
use logwise_runtime::ownership::other_owner;
use logwise_runtime::{Part, Refused, Report, Shell, Unreadable, chain, secrets, streams};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes within this time of each other are looked at together.
const TOGETHER: Duration = Duration::from_millis(300);

/// When S3 is asked again that has answered with what was there before.
const PAST: Duration = Duration::from_secs(5);

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
    /// What is found out about single objects.
    pub objects: Objects,
    /// What is remembered of writes.
    pub memory: Memory,
    /// The time that deletions of policies have.
    pub leaving: Leaving,
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

impl Context {
    /// Drops what is remembered of a bucket that nobody declares any more.
    pub fn forget(&self, bucket: &str) {
        self.discovery.forget(bucket);
        self.objects.forget(bucket);
        self.memory.forget(bucket);
    }
}

/// Looks at the bucket of every LogwiseCluster until `shutdown`.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    policies: impl Stream<Item = Arc<RetentionPolicy>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the shell, where namespaces take turns. Policies that change together are one write.
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), context.clusters.clone())
        .with_config(Config::default().debounce(TOGETHER))
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
    let Subject { policies, bucket, mut validated } = match subject(cluster, context).await {
        Ok(subject) => subject,
        Err(report) => return report,
    };
    let looked = Instant::now();
    let (observed, listing) = observe::read(&bucket, &validated.policy.logs_prefix, &context.discovery).await;
    tell(cluster, context, &observed);
    let owners = &validated.owners;
    let ours = |id: &str| retention::owner_of(id).is_some_and(|owner| owners.contains(owner));
    let by = (context.shell.intents.as_ref(), &context.memory);
    let standing = change::clear_the_way(by, &bucket.name, (&observed, looked), ours).await;
    let is_past = standing.is_past(last(context, &bucket.name).as_ref());
    let mut observed = standing.corrected(observed);
    // What policies would do by what was there before is not to be told.
    if is_past && matches!(standing, Standing::Open { left: None, .. }) {
        if observed.error.is_some() {
            observed = unread(observed);
        } else if let Some(status) = report::reported(cluster) {
            say_past(&policies, &validated, context).await;
            return Report { status, next_look: PAST, ..Report::default() };
        }
    }
    learn(&bucket, &mut validated.policy, (&mut observed, &listing), context).await;
    let drift = if is_past { None } else { drifted(context, &bucket.name, &observed, &validated) };
    let plan = retention::plan(&validated.policy, &observed.facts, Timestamp::now());
    let known = (&plan, &observed, drift.as_deref().unwrap_or_default());
    let attempt = attempt(context, (cluster, &policies), &bucket, known, (standing, ours)).await;
    let effects = effects(context, &bucket, &validated, (&plan, &observed));
    let after = after_write(&observed, &attempt);
    let hidden = hidden(context, &bucket.name, &validated.entries, &after);
    let found = report::Found {
        cluster,
        observed: &observed,
        plan: &plan,
        attempt: &attempt,
        policy: &validated.policy,
        drift: drift.as_deref(),
        is_past,
        hidden: &hidden,
        account: bucket.owner.as_deref(),
        own: &OwnRules::of(&validated.policy, &observed.facts),
        after: &after,
        enforced: &Enforcement::new(after.known().into_iter().flatten()),
        effects: &effects,
    };
    found.measure(&context.shell.metrics);
    for (policy, entry) in policies.iter().zip(&validated.entries) {
        let look = PolicyLook { policy, entry: entry.as_ref(), found: &found };
        finish_policy(policy, &look, context).await;
    }
    let report = found.report();
    let next_look = if hidden.is_empty() { report.next_look } else { report.next_look.min(PAST) };
    Report { next_look, ..report }
}

/// What a look is about.
struct Subject {
    policies: Vec<Arc<RetentionPolicy>>,
    bucket: Bucket,
    validated: Validated,
}

/// Finds the bucket, who may decide about it, and what is wanted; else says to all policies why not.
async fn subject(cluster: &LogwiseCluster, context: &Context) -> Result<Subject, Report> {
    // Before the store is read: what is mended is in it before it leaves this list.
    let unreadable = context.unreadable_policies.within(&cluster.namespace().unwrap_or_default());
    let policies = policies_of(cluster, context);
    if cluster.spec.storage.is_none() {
        let message =
            format!("LogwiseCluster {} has no `storage` section. Add one, or correct `clusterRef`", cluster.name_any());
        say_refused(&policies, context, Reason::ClusterNotFound, &message).await;
        let next_look = Duration::from_secs(if policies.is_empty() { 0 } else { 30 });
        return Err(Report { next_look, ..Report::default() });
    }
    let bucket = match reach(cluster, context).await {
        Ok(bucket) => bucket,
        Err(refused) => {
            let message = format!("LogwiseCluster {} cannot be used: {}", cluster.name_any(), refused.message);
            say_refused(&policies, context, refused.reason, &message).await;
            return Err(report::refused(cluster, refused));
        }
    };
    if let Some(owner) = owner_of_bucket(cluster, context).await {
        let message = format!("The bucket belongs to LogwiseCluster {owner}. Move this policy there");
        say_refused(&policies, context, Reason::Conflicted, &message).await;
        return Err(report::conflicted(cluster, &owner));
    }
    match validated(cluster, context, &policies, unreadable) {
        Ok(validated) => Ok(Subject { policies, bucket, validated }),
        Err(invalid) => {
            let message = format!("LogwiseCluster {} cannot be used: {invalid}", cluster.name_any());
            say_refused(&policies, context, Reason::InvalidSpec, &message).await;
            Err(report::invalid(cluster, &invalid))
        }
    }
}

/// The spec of one bucket in its validated form.
struct Validated {
    policy: retention::Policy,
    /// One per RetentionPolicy, in the same order.
    entries: Vec<Result<PolicyEntry, Invalid>>,
    /// Those whose rules are ours.
    owners: HashSet<String>,
}

fn validated(
    cluster: &LogwiseCluster,
    context: &Context,
    policies: &[Arc<RetentionPolicy>],
    mut unclear: BTreeMap<String, String>,
) -> Result<Validated, Invalid> {
    let entry = |policy: &Arc<RetentionPolicy>| validate::retention_entry(policy, &context.installation, cluster);
    let entries: Vec<Result<PolicyEntry, Invalid>> = policies.iter().map(entry).collect();
    let mut good: Vec<PolicyEntry> = entries.iter().filter_map(|entry| entry.as_ref().ok()).cloned().collect();
    let stay = policies.iter().zip(&entries).filter(|(policy, _)| policy.meta().deletion_timestamp.is_none());
    for (policy, invalid) in stay.filter_map(|(policy, entry)| Some((policy, entry.as_ref().err()?))) {
        // What S3 would refuse holds the services of this policy; of anything else nobody knows what it would decide.
        match validate::retention_holder(policy, &context.installation) {
            Some(holder) => good.push(holder),
            None => {
                unclear.insert(policy.name_any(), invalid.to_string());
            }
        }
    }
    let absent = || Invalid { field: "spec.storage".into(), problem: "must be specified".into() };
    let bucket = cluster.spec.storage.as_ref().map_or("", |storage| storage.bucket_name.as_str());
    let policy = validate::retention(cluster, good, unclear, context.period_seconds).transpose()?.ok_or_else(absent)?;
    let last = last(context, bucket);
    let (installation, replaced) = (context.installation.clone(), replaced(last.as_ref()));
    let policy = retention::Policy { installation, replaced, ..policy };
    let owners = policy.policies.iter().map(|entry| entry.owner.clone()).collect();
    Ok(Validated { policy, entries, owners })
}

/// The record of the last write of a bucket.
fn last(context: &Context, bucket: &str) -> Option<Intent> {
    context.shell.intents.last(&change::resource(bucket)).ok().flatten()
}

/// Adds to a look what is told by more than one configuration: services that have vanished, those that have lost a rule of
/// ours, and the oldest objects of those that have just come and have lost none. By an old answer they would be others.
async fn learn(
    bucket: &Bucket,
    policy: &mut retention::Policy,
    (look, listing): (&mut Look, &Listing),
    context: &Context,
) {
    look.miss((&bucket.name, &policy.logs_prefix), listing, &context.discovery);
    // Read after the rules: whoever of us took one away had written that down before.
    let last = last(context, &bucket.name);
    policy.bared = bared::bared(last.as_ref(), Timestamp::now());
    look.facts.lost = bared::lost(last.as_ref(), &look.raw);
    // What was counted stays: a look that did not read everything asks for nothing.
    if !look.facts.services.is_unknown() && !look.facts.document.is_unknown() {
        context.objects.learn(bucket, policy, &mut look.facts).await;
    }
}

/// Owners that are being deleted and of whose rules S3 shows none, though some may be there: the answer may be an old one.
fn hidden(
    context: &Context,
    bucket: &str,
    entries: &[Result<PolicyEntry, Invalid>],
    after: &Known<Vec<ObservedRule>>,
) -> BTreeSet<String> {
    let Some(rules) = after.known() else { return BTreeSet::new() };
    let is_of = |rule: &ObservedRule, owner: &str| rule.id.as_deref().is_some_and(|id| is_owned_by(id, owner));
    let leave = entries.iter().flatten().filter(|entry| entry.removal == Some(Removal::RemoveRules));
    let owners = leave.map(|entry| entry.owner.as_str()).filter(|owner| !rules.iter().any(|rule| is_of(rule, owner)));
    let owners: Vec<&str> = owners.collect();
    if owners.is_empty() {
        // For these alone the record is unpacked, once for all.
        return BTreeSet::new();
    }
    let perhaps = drift::perhaps_there(last(context, bucket).as_ref(), Timestamp::now());
    let may_be_there = |owner: &&str| perhaps.as_ref().is_none_or(|ids| ids.iter().any(|id| is_owned_by(id, owner)));
    owners.into_iter().filter(may_be_there).map(str::to_owned).collect()
}

/// What the plans that people are asked about would do to the objects that are there, by owner, as far as this process has
/// counted it. What status shows is not taken over: people decide by these numbers, and others may write status too.
fn effects(
    context: &Context,
    bucket: &Bucket,
    validated: &Validated,
    (plan, observed): (&retention::Plan, &Look),
) -> BTreeMap<String, Effect> {
    // Of a look that did not read everything nobody is asked, or about another plan: what was counted stays.
    if observed.facts.document.is_unknown() || observed.facts.services.is_unknown() {
        return BTreeMap::new();
    }
    let asked = validated.entries.iter().filter_map(|entry| {
        let owner = &entry.as_ref().ok()?.owner;
        Some((owner, pending::asked(plan.policies.get(owner)?)?))
    });
    let asked: Vec<(&String, &ApprovalRequest)> = asked.collect();
    context.objects.keep(&bucket.name, &asked.iter().map(|(_, request)| request.plan_id.as_str()).collect());
    let (logs, setting) = (&validated.policy.logs_prefix, observed.minimum_object_size());
    let effect = |request: &ApprovalRequest| context.objects.effect(bucket, logs, request, setting.as_deref());
    asked.into_iter().filter_map(|(owner, request)| Some((owner.clone(), effect(request)?))).collect()
}

/// Rules of ours that others have changed since our last write. Those of a policy that is being deleted go anyway.
fn drifted(context: &Context, bucket: &str, observed: &Look, validated: &Validated) -> Option<Vec<Changed>> {
    let stays = validated.policy.policies.iter().filter(|entry| entry.removal.is_none());
    let owners: Vec<&str> = stays.map(|entry| entry.owner.as_str()).collect();
    let last = last(context, bucket);
    drift::drifted((last.as_ref(), Timestamp::now()), &observed.raw, &owners)
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
pub(crate) async fn reach(cluster: &LogwiseCluster, context: &Context) -> Result<Bucket, Refused> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let aws = cluster.spec.aws.as_ref();
    let named = Named {
        namespace: &namespace,
        pipeline: &name,
        references: validate::references(cluster),
        bucket: cluster.spec.storage.as_ref().map_or("", |storage| storage.bucket_name.as_str()),
        region: aws.map_or("", |aws| aws.region.as_str()),
        role_arn: aws.and_then(|aws| aws.role_arn.as_deref()),
        secret: aws.and_then(|aws| aws.credentials_secret_ref.as_ref()).map(|secret| secret.name.as_str()),
        account: None,
    };
    named.reach(context).await
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

/// Rules are written only for policies whose deletion will wait for us and that are still as they were seen; until then
/// nothing is.
pub(crate) async fn hold_policies(context: &Context, policies: &[Arc<RetentionPolicy>]) -> Option<Written> {
    for policy in policies.iter().filter(|policy| policy.meta().deletion_timestamp.is_none()) {
        if let Err(error) = finalizer::add(context, policy).await {
            tracing::warn!(error = chain(&error), "no rule is written before its policy has a finalizer");
            return Some(Written::Postponed);
        }
    }
    let namespace = policies.first().and_then(|policy| policy.namespace()).unwrap_or_default();
    let all: Vec<&RetentionPolicy> = policies.iter().map(AsRef::as_ref).collect();
    let fresh = context.shell.intents.still(&namespace, &all).await;
    fresh.err().map(|error| {
        tracing::warn!(error = chain(&error), "no rule is written for a policy as it was once");
        Written::Postponed
    })
}

/// Says of policies that they take no part in any bucket.
pub(crate) async fn say_refused(policies: &[Arc<RetentionPolicy>], context: &Context, reason: Reason, message: &str) {
    for policy in policies {
        let report = policy_report::refused(policy, reason, message);
        context.shell.publish(Part::Retention, policy.as_ref(), report).await;
    }
}

/// Says and does for policies what does not hang on the configuration, while S3 answers with an old one.
async fn say_past(policies: &[Arc<RetentionPolicy>], validated: &Validated, context: &Context) {
    let told = |policy: &RetentionPolicy| policy.status.as_ref().and_then(|status| status.observed_generation);
    for (policy, entry) in policies.iter().zip(&validated.entries) {
        let report = match entry {
            Err(invalid) => policy_report::refused(policy, Reason::InvalidSpec, &invalid.to_string()),
            Ok(_) if told(policy) == policy.metadata.generation => continue,
            Ok(_) => policy_report::as_last_known(policy, Reason::Progressing, REPLACED),
        };
        context.shell.publish(Part::Retention, policy.as_ref(), report).await;
        if entry.is_err() {
            leaving::let_go(policy, context).await;
        }
    }
}

/// Reports on one policy; lets it go when it is being deleted and none of its rules is left.
async fn finish_policy(policy: &Arc<RetentionPolicy>, look: &PolicyLook<'_>, context: &Context) {
    let report = look.report();
    context.shell.publish(Part::Retention, policy.as_ref(), report).await;
    if look.may_go() {
        leaving::let_go(policy, context).await;
    }
}
