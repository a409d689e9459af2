//! Retention policies whose LogwiseCluster does not exist: somebody has to say so and let them go.

use crate::controller::{Context, refuse};
use futures::Stream;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_runtime::conditions::Reason;
use logwise_runtime::{EventDraft, ObjectKey, Part, streams};
use std::sync::Arc;
use std::time::Duration;

/// How soon the end of a LogwiseCluster shows on its policies. Costs no call while it exists.
const PERIOD: Duration = Duration::from_secs(15);

/// How long a new policy waits for its LogwiseCluster before it is called an orphan.
const GRACE: Duration = Duration::from_secs(3);

/// Looks at every RetentionPolicy until `shutdown`.
pub async fn run_orphans(
    policies: impl Stream<Item = Arc<RetentionPolicy>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let controller = Controller::for_shared_stream(streams::spec_changes(policies), context.policies.clone())
        .with_config(Config::default().concurrency(16));
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(policy: Arc<RetentionPolicy>, context: Arc<Context>) -> Action {
    let key = ObjectKey::of(policy.as_ref());
    context.shell.safely(Part::Retention, &key, look(&policy, &context)).await
}

async fn look(policy: &Arc<RetentionPolicy>, context: &Context) -> Action {
    let name = &policy.spec.cluster_ref.name;
    let namespace = policy.namespace().unwrap_or_default();
    // One that cannot be read exists: its policies wait with it. Asked first: what is mended is in the store before.
    if context.unreadable_clusters.why(&namespace, name).is_some() {
        return Action::requeue(PERIOD);
    }
    let cluster = ObjectRef::<LogwiseCluster>::new(name).within(&namespace);
    if context.clusters.get(&cluster).is_some() {
        return Action::requeue(PERIOD);
    }
    let leaves = policy.metadata.deletion_timestamp.is_some();
    if !leaves && is_new(policy) {
        return Action::requeue(GRACE);
    }
    if leaves && policy.status.as_ref().and_then(|status| status.rules).is_some_and(|rules| rules > 0) {
        context.shell.event(policy.as_ref(), &rules_left(name)).await;
    }
    let message = format!("LogwiseCluster {name} does not exist in this namespace. Create it, or delete this policy");
    refuse(std::slice::from_ref(policy), context, Reason::ClusterNotFound, &message).await;
    Action::requeue(PERIOD)
}

/// A policy may be applied a moment before its LogwiseCluster.
fn is_new(policy: &RetentionPolicy) -> bool {
    let created = policy.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.is_some_and(|created| jiff::Timestamp::now().duration_since(created) < jiff::SignedDuration::from_secs(10))
}

/// Without its LogwiseCluster nobody knows the bucket of a policy any more.
fn rules_left(cluster: &str) -> EventDraft {
    EventDraft {
        warning: true,
        reason: "RulesLeft",
        action: "Delete",
        note: format!(
            "LogwiseCluster {cluster} was deleted first: the rules of this policy stay in its bucket and go on expiring objects; remove them there"
        ),
    }
}
