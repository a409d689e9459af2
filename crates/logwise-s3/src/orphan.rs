//! Retention policies whose LogwiseCluster does not exist, and all that are being deleted: somebody has to say so, to
//! take rules away where no LogwiseCluster does, and to let policies go when their time is over.

use crate::controller::{Context, say_refused};
use crate::home::{Step, home_of, remove};
use crate::{finalizer, home, leaving, policy_report};
use futures::Stream;
use jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use logwise_api::validate::observe_only;
use logwise_api::{DeletionPolicy, LogwiseCluster, RetentionPolicy};
use logwise_runtime::conditions::Reason;
use logwise_runtime::kubernetes::{KubernetesError, within};
use logwise_runtime::{ObjectKey, Part, streams};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How soon the end of a LogwiseCluster shows on its policies. Costs no call while it exists.
const PERIOD: Duration = Duration::from_secs(15);

/// How soon something is looked at again that takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// How long a new policy waits for its LogwiseCluster before it is called an orphan.
const GRACE: Duration = Duration::from_secs(3);

/// Looks at every RetentionPolicy until `shutdown`.
pub async fn run_orphans(
    policies: impl Stream<Item = Arc<RetentionPolicy>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by places, where namespaces take turns.
    let controller = Controller::for_shared_stream(streams::spec_changes(policies), context.policies.clone());
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(policy: Arc<RetentionPolicy>, context: Arc<Context>) -> Action {
    let leaves = policy.metadata.deletion_timestamp.is_some();
    let is_gone = || matches!(Pipeline::of(&policy, &context), Pipeline::Gone);
    let needs_a_look = if leaves { finalizer::holds(&policy) } else { is_gone() };
    if !needs_a_look {
        return Action::requeue(PERIOD);
    }
    let namespace = policy.namespace().unwrap_or_default();
    let place = context.leaving.places.enter(&namespace);
    // A policy whose time is over waits for nobody.
    let _place = if leaves { timeout(context.leaving.rest(&policy), place).await.ok() } else { Some(place.await) };
    let Some(policy) = context.policies.get(&ObjectRef::from_obj(policy.as_ref())) else {
        return Action::await_change();
    };
    let key = ObjectKey::of(policy.as_ref());
    context.shell.safely(Part::Retention, &key, look(&policy, &context)).await
}

async fn look(policy: &Arc<RetentionPolicy>, context: &Context) -> Action {
    let namespace = policy.namespace().unwrap_or_default();
    if context.unreadable_policies.why(&namespace, &policy.name_any()).is_some() {
        return Action::requeue(PERIOD);
    }
    if policy.metadata.deletion_timestamp.is_some() {
        return leave(policy, context).await;
    }
    if !matches!(Pipeline::of(policy, context), Pipeline::Gone) {
        return Action::requeue(PERIOD);
    }
    if is_new(policy) {
        return Action::requeue(GRACE);
    }
    home::take_back(policy, context, &Pipeline::Gone).await;
    let name = &policy.spec.cluster_ref.name;
    let message = format!("LogwiseCluster {name} does not exist in this namespace. Create it, or delete this policy");
    say_refused(std::slice::from_ref(policy), context, Reason::ClusterNotFound, &message).await;
    Action::requeue(PERIOD)
}

/// A policy may be applied a moment before its LogwiseCluster.
fn is_new(policy: &RetentionPolicy) -> bool {
    let created = policy.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.is_some_and(|created| Timestamp::now().duration_since(created) < jiff::SignedDuration::from_secs(10))
}

/// What is known of the LogwiseCluster of a policy.
pub(crate) enum Pipeline {
    /// It exists and cannot be read: its policies wait with it.
    Unread,
    /// It is there.
    There(Arc<LogwiseCluster>),
    /// It is not there.
    Gone,
}

impl Pipeline {
    fn of(policy: &RetentionPolicy, context: &Context) -> Self {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), &policy.spec.cluster_ref.name);
        // Asked first: what is mended is in the store before.
        if context.unreadable_clusters.why(&namespace, name).is_some() {
            return Self::Unread;
        }
        let cluster = context.clusters.get(&ObjectRef::<LogwiseCluster>::new(name).within(&namespace));
        cluster.map_or(Self::Gone, Self::There)
    }

    /// Whether its own looks take away the rules of policies that are being deleted, or have a reason not to.
    fn decides(&self) -> bool {
        match self {
            Self::Unread => true,
            Self::There(cluster) => {
                let manages = cluster.metadata.deletion_timestamp.is_none() && cluster.spec.storage.is_some();
                manages || observe_only(cluster)
            }
            Self::Gone => false,
        }
    }

    /// Asks the API server itself: a watch may lag, and one that is there decides.
    pub(crate) async fn is_as_seen(
        &self,
        policy: &RetentionPolicy,
        context: &Context,
    ) -> Result<bool, KubernetesError> {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), &policy.spec.cluster_ref.name);
        let api: Api<LogwiseCluster> = Api::namespaced(context.client.clone(), &namespace);
        let there = within("reading the LogwiseCluster of a policy", api.get_metadata_opt(name)).await?;
        Ok(match (self, there) {
            (Self::There(seen), Some(there)) => {
                let (seen, there) = (&seen.metadata, &there.metadata);
                seen.uid == there.uid && seen.generation == there.generation
            }
            (_, None) => true,
            (_, Some(_)) => false,
        })
    }
}

/// One look at a policy that is being deleted.
async fn leave(policy: &Arc<RetentionPolicy>, context: &Context) -> Action {
    if !finalizer::holds(policy) {
        return Action::await_change();
    }
    if policy.spec.deletion_policy == DeletionPolicy::Orphan {
        // Nothing has to be reached for rules that are to stay.
        leaving::let_go(policy, context).await;
        return Action::requeue(SOON);
    }
    let rest = context.leaving.rest(policy);
    if rest.is_zero() {
        leaving::give_up(policy, context, &context.leaving.too_late(policy)).await;
        return Action::requeue(SOON);
    }
    let pipeline = Pipeline::of(policy, context);
    let next = if pipeline.decides() { PERIOD } else { through_home(policy, context, &pipeline).await };
    Action::requeue(next.min(rest))
}

/// Takes rules away without a LogwiseCluster, and lets the policy go when none of its own is left. Says when it is
/// looked at again.
async fn through_home(policy: &Arc<RetentionPolicy>, context: &Context, pipeline: &Pipeline) -> Duration {
    let is_gone = matches!(pipeline, Pipeline::Gone);
    let Some(home) = home_of(policy) else {
        if is_gone {
            let name = &policy.spec.cluster_ref.name;
            let why = format!("LogwiseCluster {name} was deleted first, and the policy does not tell its bucket");
            leaving::give_up(policy, context, &why).await;
            return SOON;
        }
        return PERIOD;
    };
    let step = remove(policy, home, context, pipeline).await;
    let (next, reason, message) = match step {
        Step::Done => {
            leaving::let_go(policy, context).await;
            home::forget(policy, context);
            return SOON;
        }
        Step::Open(next) => {
            let message = "Its rules are being removed: S3 is read again until it surely shows that".to_owned();
            (next, Reason::Progressing, message)
        }
        Step::Stuck(reason, message) => {
            let bucket = &home.bucket_name;
            let next = "It is tried again; after `deletion.deadlineSeconds` of the operator's configuration the policy \
                        goes without them";
            let pause = if reason == Reason::RetryingAfterError { SOON } else { PERIOD };
            (pause, reason, format!("Its rules are still in bucket {bucket}: {message}. {next}"))
        }
    };
    if is_gone {
        // Of a LogwiseCluster that is there its own looks speak.
        let report = policy_report::as_last_known(policy, reason, &message);
        context.shell.publish(Part::Retention, policy.as_ref(), report).await;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pipeline(spec: Value) -> LogwiseCluster {
        let (group, kind, metadata) = ("logwise.io/v1alpha1", "LogwiseCluster", json!({"name": "demo"}));
        serde_json::from_value(json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pipeline_that_can_do_it_removes_the_rules_itself() {
        let storage = json!({"bucketName": "acme-logs"});
        let decides = |cluster: LogwiseCluster| Pipeline::There(Arc::new(cluster)).decides();
        assert!(decides(pipeline(json!({"storage": storage.clone()}))) && Pipeline::Unread.decides());
        assert!(!decides(pipeline(json!({}))) && !Pipeline::Gone.decides());
        let deleted = |spec: Value| {
            let mut cluster = pipeline(spec);
            cluster.metadata.deletion_timestamp = Some(logwise_api::Time(Timestamp::now()));
            cluster
        };
        assert!(!decides(deleted(json!({"storage": storage.clone()}))));
        assert!(decides(deleted(json!({"storage": storage, "suspend": true}))), "suspended to its end");
    }
}
