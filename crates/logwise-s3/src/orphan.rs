//! Retention policies whose LogwiseCluster does not exist: somebody has to say so and let them go.

use crate::controller::{Context, release};
use crate::policy_report;
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_runtime::conditions::Reason;
use logwise_runtime::{Part, streams};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How soon the end of a LogwiseCluster shows on its policies. Costs no call while it exists.
const PERIOD: Duration = Duration::from_secs(15);

/// Looks at every RetentionPolicy until `shutdown`.
pub async fn run_orphans(
    policies: impl Stream<Item = Arc<RetentionPolicy>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    Controller::for_shared_stream(streams::spec_changes(policies), context.policies.clone())
        .with_config(Config::default().concurrency(16))
        .graceful_shutdown_on(shutdown)
        .run(reconcile, |_, error, _| match *error {}, context)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(policy: Arc<RetentionPolicy>, context: Arc<Context>) -> Result<Action, Infallible> {
    let name = &policy.spec.cluster_ref.name;
    let cluster = ObjectRef::<LogwiseCluster>::new(name).within(&policy.namespace().unwrap_or_default());
    if context.clusters.get(&cluster).is_some() {
        return Ok(Action::requeue(PERIOD));
    }
    let message = format!("LogwiseCluster {name} does not exist in this namespace. Create it, or delete this policy");
    let report = policy_report::refused(&policy, Reason::ClusterNotFound, &message);
    context.shell.publish(Part::Retention, policy.as_ref(), report).await;
    release(std::slice::from_ref(&policy), &context).await;
    Ok(Action::requeue(PERIOD))
}
