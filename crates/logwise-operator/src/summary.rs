//! The summary controller: what follows from the parts of a LogwiseCluster, and what its preflight found.

use crate::verdict;
use futures::Stream;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use logwise_api::{
    ChangeMode, Condition, ConditionStatus, Drift, HeldReason, KafkaStatus, LogwiseCluster, LogwiseClusterStatus,
    PendingPlan, SparkStatus, Time, validate,
};
use logwise_plan::{Known, change};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::held::{Held, Plan};
use logwise_runtime::metrics::Pipeline;
use logwise_runtime::summary::{PartView, View, summarize};
use logwise_runtime::{ObjectKey, Part, PartStatus, Report, Shell, streams, words};
use std::collections::HashMap;
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
    /// Whether objects are checked before anything needs it.
    pub preflight: bool,
}

/// Follows every LogwiseCluster, and those of which the preflight has a new verdict, until `shutdown`.
pub async fn run(
    (clusters, verdicts): (
        impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
        impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    ),
    store: Store<LogwiseCluster>,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the shell, where namespaces take turns: places here would be taken by who waits there.
    let controller = Controller::for_shared_stream(clusters, store)
        .watches_shared_stream(verdicts, |cluster| [ObjectRef::from_obj(cluster.as_ref())]);
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Action {
    let key = ObjectKey::of(cluster.as_ref());
    context.shell.safely(Part::Summary, &key, look(&cluster, &context)).await
}

async fn look(cluster: &LogwiseCluster, context: &Context) -> Action {
    let view = view(cluster);
    let validated = context.validated(cluster);
    if let Some(rest) = context.patience(cluster, &view, validated.is_some()) {
        return Action::requeue(rest);
    }
    let pending: i64 = view.parts.iter().map(|part| part.pending_changes).sum();
    let of = Pipeline { namespace: cluster.namespace().unwrap_or_default(), cluster: cluster.name_any() };
    context.shell.metrics.pending(&of, pending);
    let mut status = summarize(&view);
    status.conditions.push(validated.unwrap_or_else(verdict::pending));
    let report = Report { status, ..Report::default() };
    context.shell.reconcile(Part::Summary, cluster, std::future::ready(report)).await
}

impl Context {
    /// What the preflight says about this generation, or has said before this operator began.
    fn validated(&self, cluster: &LogwiseCluster) -> Option<Draft> {
        if !self.preflight {
            return Some(verdict::disabled());
        }
        let ObjectKey { uid, generation, .. } = ObjectKey::of(cluster);
        match self.shell.facts.preflight.read(&uid, Instant::now()) {
            Known::Known(found) if found.generation == generation => Some(found.condition),
            _ => said_before(cluster, generation),
        }
    }

    /// How much longer to wait for parts, and for the preflight, before saying that they are waited for.
    fn patience(&self, cluster: &LogwiseCluster, view: &View, validated: bool) -> Option<Duration> {
        let uid = cluster.uid().unwrap_or_default();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if view.waiting().is_empty() && validated {
            waiting.remove(&uid);
            return None;
        }
        let since = waiting.entry(uid).or_insert_with(|| (view.object.generation, Instant::now()));
        if since.0 != view.object.generation {
            *since = (view.object.generation, Instant::now());
        }
        PATIENCE.checked_sub(since.1.elapsed()).filter(|rest| !rest.is_zero())
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// `Validated` of this generation, as the object has it.
fn said_before(cluster: &LogwiseCluster, generation: i64) -> Option<Draft> {
    let conditions = &cluster.status.as_ref()?.conditions;
    let is_it =
        |c: &&Condition| c.type_ == ConditionType::Validated.name() && c.observed_generation == Some(generation);
    conditions.iter().find(is_it)?;
    let reported = PartStatus::as_reported(Part::Summary, cluster).conditions.into_iter();
    let mut validated = reported.filter(|draft| draft.kind == ConditionType::Validated);
    validated.find(|draft| draft.reason != Reason::PreflightDisabled)
}

fn view(cluster: &LogwiseCluster) -> View {
    let object = ObjectKey::of(cluster);
    let nothing = LogwiseClusterStatus::default();
    let status = cluster.status.as_ref().unwrap_or(&nothing);
    let spec = &cluster.spec;
    let part = |name, kind: ConditionType, (settled, pending): (Option<i64>, Option<i32>)| PartView {
        name,
        ready: readiness(status, kind, object.generation),
        settled_generation: settled.unwrap_or_default(),
        pending_changes: pending.unwrap_or_default().into(),
        held: Vec::new(),
        drift: None,
    };
    let mut parts = Vec::new();
    if spec.kafka.is_some() {
        let share = status.kafka.as_ref();
        let numbers = share.map(|k| (k.settled_generation, k.pending_changes)).unwrap_or_default();
        let held = share.map(|kafka| held_by_kafka(cluster, kafka)).unwrap_or_default();
        parts.push(PartView { held, ..part("Kafka", ConditionType::KafkaReady, numbers) });
    }
    if spec.spark.is_some() {
        let share = status.spark.as_ref();
        let numbers = share.map(|s| (s.settled_generation, s.pending_changes)).unwrap_or_default();
        let held = share.map(|spark| held_by_spark(cluster, spark)).unwrap_or_default();
        let drift = drifted(share.and_then(|spark| spark.drift.as_ref()), Reason::ScalingGroupChanged);
        parts.push(PartView { held, drift, ..part("Spark", ConditionType::SparkReady, numbers) });
    }
    if spec.storage.is_some() {
        let share = status.storage.as_ref();
        let numbers = share.map(|s| (s.settled_generation, s.pending_changes)).unwrap_or_default();
        let drift = drifted(share.and_then(|storage| storage.drift.as_ref()), Reason::LifecycleRuleChanged);
        parts.push(PartView { drift, ..part("Storage", ConditionType::StorageReady, numbers) });
    }
    View { object, suspended: spec.suspend, observe_only: spec.change_policy.mode == ChangeMode::Observe, parts }
}

/// What growths wait for.
fn held_by_kafka(cluster: &LogwiseCluster, kafka: &KafkaStatus) -> Vec<Held> {
    let held = kafka.held_changes.iter().filter_map(|held| {
        let changes = i64::from(held.changes);
        Some(match held.reason {
            HeldReason::ApprovalRequired => {
                return asked_about(usize::try_from(held.changes).unwrap_or(0), &kafka.pending_plans);
            }
            HeldReason::WaitingForWindow => {
                let opening = held.next_opening_time.as_ref().map(|time| opening(cluster, time));
                Held::WaitingForWindow { changes, opening }
            }
            HeldReason::RecommendOnly => Held::RecommendOnly { changes, field: "spec.kafka.partitionScaling.mode" },
        })
    });
    held.collect()
}

/// What removals of workers and restarts of the driver wait for.
fn held_by_spark(cluster: &LogwiseCluster, spark: &SparkStatus) -> Vec<Held> {
    let asked = asked_about(spark.pending_plans.len(), &spark.pending_plans);
    let waiting = spark.next_opening_time.as_ref().map(|time| {
        let asked = i64::from(words::count(spark.pending_plans.len()));
        let changes = (i64::from(spark.pending_changes.unwrap_or_default()) - asked).max(1);
        Held::WaitingForWindow { changes, opening: Some(opening(cluster, time)) }
    });
    asked.into_iter().chain(waiting).collect()
}

/// Changes that a person is asked about; status shows some of them.
fn asked_about(changes: usize, plans: &[PendingPlan]) -> Option<Held> {
    let plan = |plan: &PendingPlan| Plan { id: plan.id.clone(), summary: plan.summary.clone() };
    let changes = i64::from(words::count(changes));
    (changes > 0).then(|| Held::ApprovalRequired { changes, plans: plans.iter().map(plan).collect() })
}

/// An opening in words, on the clock of the window that opens then.
fn opening(cluster: &LogwiseCluster, time: &Time) -> String {
    let windows = validate::change_policy(cluster).map(|policy| policy.windows).unwrap_or_default();
    change::opening(&windows, time.0)
}

fn drifted(drift: Option<&Drift>, reason: Reason) -> Option<(Reason, String)> {
    drift.map(|drift| (reason, drift.summary.clone()))
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
