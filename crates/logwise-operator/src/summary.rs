//! The summary controller: what follows from the parts of a LogwiseCluster.

use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::Store;
use logwise_api::{ChangeMode, ConditionStatus, LogwiseCluster, LogwiseClusterStatus};
use logwise_runtime::conditions::{ConditionType, Reason, Truth};
use logwise_runtime::metrics::Pipeline;
use logwise_runtime::summary::{PartView, View, summarize};
use logwise_runtime::{ObjectKey, Part, Report, Shell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts usually report within this time; only after it is "waiting" worth a write.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the summary controller works with.
pub struct Context {
    /// Where it reports to.
    pub shell: Arc<Shell>,
    /// Since when each object waits for its parts, by uid.
    pub waiting: Mutex<HashMap<String, (i64, Instant)>>,
}

/// Follows every LogwiseCluster until `shutdown`.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    store: Store<LogwiseCluster>,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    Controller::for_shared_stream(clusters, store)
        .with_config(Config::default().concurrency(16))
        .graceful_shutdown_on(shutdown)
        .run(reconcile, |_, error, _| match *error {}, context)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Result<Action, Infallible> {
    let key = ObjectKey::of(cluster.as_ref());
    Ok(context.shell.safely(Part::Summary, &key, look(&cluster, &context)).await)
}

async fn look(cluster: &LogwiseCluster, context: &Context) -> Action {
    let view = view(cluster);
    if let Some(rest) = context.patience(cluster, &view) {
        return Action::requeue(rest);
    }
    let pending: i64 = view.parts.iter().map(|part| part.pending_changes).sum();
    let of = Pipeline { namespace: cluster.namespace().unwrap_or_default(), cluster: cluster.name_any() };
    context.shell.metrics.pending(&of, pending);
    let report = Report { status: summarize(&view), ..Report::default() };
    context.shell.reconcile(Part::Summary, cluster, std::future::ready(report)).await
}

impl Context {
    /// How much longer to wait for parts before saying that they are waited for.
    fn patience(&self, cluster: &LogwiseCluster, view: &View) -> Option<Duration> {
        let uid = cluster.uid().unwrap_or_default();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if view.waiting().is_empty() {
            waiting.remove(&uid);
            return None;
        }
        let since = waiting.entry(uid).or_insert_with(|| (view.generation, Instant::now()));
        if since.0 != view.generation {
            *since = (view.generation, Instant::now());
        }
        PATIENCE.checked_sub(since.1.elapsed()).filter(|rest| !rest.is_zero())
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn view(cluster: &LogwiseCluster) -> View {
    let generation = cluster.metadata.generation.unwrap_or_default();
    let nothing = LogwiseClusterStatus::default();
    let status = cluster.status.as_ref().unwrap_or(&nothing);
    let spec = &cluster.spec;
    let mut parts = Vec::new();
    let mut part = |name, kind: ConditionType, share: Option<(Option<i64>, Option<i32>)>| {
        let (settled, pending) = share.unwrap_or_default();
        parts.push(PartView {
            name,
            ready: readiness(status, kind, generation),
            settled_generation: settled.unwrap_or_default(),
            pending_changes: pending.unwrap_or_default().into(),
        });
    };
    if spec.kafka.is_some() {
        let share = status.kafka.as_ref().map(|k| (k.settled_generation, k.pending_changes));
        part("Kafka", ConditionType::KafkaReady, share);
    }
    if spec.spark.is_some() {
        let share = status.spark.as_ref().map(|s| (s.settled_generation, s.pending_changes));
        part("Spark", ConditionType::SparkReady, share);
    }
    if spec.storage.is_some() {
        let share = status.storage.as_ref().map(|s| (s.settled_generation, s.pending_changes));
        part("Storage", ConditionType::StorageReady, share);
    }
    View { generation, suspended: spec.suspend, observe_only: spec.change_policy.mode == ChangeMode::Observe, parts }
}

/// The part's readiness, if it speaks of this generation.
fn readiness(
    status: &LogwiseClusterStatus,
    kind: ConditionType,
    generation: i64,
) -> Option<(Truth, Option<Reason>, String)> {
    let condition = status.conditions.iter().find(|c| c.type_ == kind.name())?;
    if condition.observed_generation != Some(generation) {
        return None;
    }
    let truth = match condition.status {
        ConditionStatus::True => Truth::True,
        ConditionStatus::False => Truth::False,
        ConditionStatus::Unknown => Truth::Unknown,
    };
    Some((truth, Reason::from_name(&condition.reason), condition.message.clone()))
}
