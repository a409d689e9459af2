//! The mirror: what the watches show and what was decided goes to the Orchestrator DB, which nobody waits for.

use crate::samples::Samples;
use crate::watch::{Change, Scope, Watch};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource, ResourceExt};
use logwise_api::{Condition, LogwiseCluster, RetentionPolicy};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::kubernetes::within;
use logwise_runtime::{Metrics, ObjectKey, Part, PartStatus, Recorded, Report, Shell, crash};
use logwise_store::{
    CommitHooks, ConditionRow, DatabaseUrl, DecisionRow, LiveList, MirrorHealth, ObjectRow, Outbox, OutboxHandle,
    OutboxOptions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A failure shorter than this is not worth a condition.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the mirror's own state is looked at. No call outside.
const HEALTH_PERIOD: Duration = Duration::from_secs(5);

/// Longest time the question for a list's revision may take.
const LIST_DEADLINE: Duration = Duration::from_secs(5);

/// A resource that is mirrored.
pub trait Mirrored:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
}

impl Mirrored for LogwiseCluster {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Mirrored for RetentionPolicy {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

/// A kind that is mirrored: its watch, what it covers, and a client for what the watch does not say.
pub struct Watched<K: Mirrored> {
    /// The watch.
    pub watch: Arc<Watch<K>>,
    /// What it covers.
    pub scope: Scope,
    /// Client.
    pub client: Client,
}

/// The way to the Orchestrator DB.
pub struct Mirror {
    outbox: Mutex<Option<Outbox>>,
    handle: OutboxHandle,
    samples: Arc<Samples>,
    metrics: Arc<Metrics>,
}

impl Mirror {
    /// Starts the task that writes; the database need not answer yet.
    pub fn start(url: DatabaseUrl, metrics: Arc<Metrics>) -> Self {
        let hooks = CommitHooks {
            before: |_| _ = crash::before(crash::System::Sql),
            after: |_| crash::after(crash::System::Sql),
        };
        let outbox = Outbox::start(url.clone(), OutboxOptions { hooks, ..OutboxOptions::default() });
        let handle = outbox.handle();
        let samples = Arc::new(Samples::new(handle.clone(), url));
        Self { outbox: Mutex::new(Some(outbox)), handle, samples, metrics }
    }

    /// Where samples of Kafka outlive the process.
    pub fn samples(&self) -> Arc<Samples> {
        self.samples.clone()
    }

    /// How the mirror is, in one line without secrets.
    pub fn in_words(&self) -> String {
        let health = self.handle.health().borrow().clone();
        let why = health.last_error.unwrap_or_default();
        match (health.failing_since, health.last_flush) {
            (Some(since), _) => {
                format!("Orchestrator DB: failing since {since:.0} with {} rows waiting: {why}", health.pending)
            }
            (None, Some(last)) => {
                format!("Orchestrator DB: last written at {last:.0}, {} rows waiting", health.pending)
            }
            (None, None) => "Orchestrator DB: nothing written yet".to_owned(),
        }
    }

    /// Takes a decision record.
    pub fn decided(&self, recorded: Recorded) {
        let Recorded { id, uid, namespace, name, generation, part, at, decision } = recorded;
        self.handle.send_decision(DecisionRow {
            plan_id: id.clone(),
            id,
            uid,
            namespace,
            name,
            part: part.label().to_owned(),
            generation,
            decided_at: at,
            inputs: decision.inputs,
            actions: decision.actions,
            holds: decision.holds,
            outcome: decision.outcome,
        });
    }

    /// Mirrors what the watch of one kind shows until `shutdown`; `gone` is told of every object that is no longer served.
    pub async fn follow<K: Mirrored>(
        self: Arc<Self>,
        watched: Watched<K>,
        gone: impl Fn(&ObjectKey, End<'_, K>),
        shutdown: impl Future<Output = ()>,
    ) {
        let store = watched.watch.store();
        let mut known = Known::new();
        let mut health = self.handle.health();
        let mut sent_again = health.borrow().resend;
        // Before the first list the store is empty, and an empty list would mark every row as deleted.
        let mut listed_once = false;
        let (mut changes, mut shutdown) = (pin!(watched.watch.follow()), pin!(shutdown));
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                change = changes.next() => match change {
                    Some(Change::Listed) => {
                        let live = live(&watched);
                        known.iter().filter(|(uid, _)| !live.contains_key(*uid)).for_each(|(_, key)| gone(key, End::Unseen));
                        self.listed(&watched, &live).await;
                        known = live;
                        listed_once = true;
                    }
                    Some(Change::Gone(object)) if has_left(&watched, object.as_ref()).await => {
                        // Whoever serves it now writes its rows.
                        let key = ObjectKey::of(object.as_ref());
                        known.remove(&key.uid);
                        gone(&key, End::Left);
                    }
                    Some(change) => self.seen(&change, &mut known, &gone),
                    None => return,
                },
                Ok(()) = health.changed() => {
                    let resend = health.borrow_and_update().resend;
                    if std::mem::replace(&mut sent_again, resend) != resend && listed_once {
                        store.state().iter().for_each(|object| self.handle.send_object(row(object.as_ref(), false)));
                        self.listed(&watched, &live(&watched)).await;
                    }
                }
            }
        }
    }

    fn seen<K: Mirrored>(&self, change: &Change<K>, known: &mut Known, gone: &impl Fn(&ObjectKey, End<'_, K>)) {
        match change {
            Change::Now(object) => {
                let key = ObjectKey::of(object.as_ref());
                known.insert(key.uid.clone(), key);
                self.handle.send_object(row(object.as_ref(), false));
            }
            Change::Gone(object) => {
                let key = ObjectKey::of(object.as_ref());
                known.remove(&key.uid);
                self.handle.send_object(row(object.as_ref(), true));
                gone(&key, End::Deleted(object));
            }
            Change::Listed => {}
        }
    }

    /// Tells the database which objects exist, so that rows of those that ended unseen are marked.
    async fn listed<K: Mirrored>(&self, watched: &Watched<K>, live: &Known) {
        let Watched { client, scope, .. } = watched;
        let namespace = match scope.namespaces.as_slice() {
            _ if scope.selector.is_some() => return,
            [] => None,
            [only] => Some(only.clone()),
            // A list of a part cannot be told apart from one of all.
            _ => return,
        };
        let api: Api<K> =
            namespace.as_ref().map_or_else(|| Api::all(client.clone()), |ns| Api::namespaced(client.clone(), ns));
        // Asked after the list was complete: rows are only ever written from what the watch showed before.
        let params = ListParams::default().limit(1);
        let Ok(Ok(list)) = tokio::time::timeout(LIST_DEADLINE, api.list_metadata(&params)).await else { return };
        let Some(revision) = list.metadata.resource_version.and_then(|text| text.parse().ok()) else { return };
        self.handle.send_list(LiveList {
            kind: K::kind(&()).into_owned(),
            namespace,
            revision,
            uids: live.keys().cloned().collect(),
            observed_at: Timestamp::now(),
        });
    }

    /// Keeps `MirrorInSync` and the mirror's metrics until `shutdown`.
    pub async fn watch_health(
        self: Arc<Self>,
        clusters: Store<LogwiseCluster>,
        shell: Arc<Shell>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(HEALTH_PERIOD) => {}
            }
            let health = self.handle.health().borrow().clone();
            let lag = health.failing_since.map_or(Duration::ZERO, |since| {
                Timestamp::now().duration_since(since).try_into().unwrap_or(Duration::ZERO)
            });
            let dropped = i64::try_from(health.dropped_decisions).unwrap_or(i64::MAX);
            self.metrics.mirror(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX), dropped);
            for cluster in clusters.state() {
                if let Some(draft) = in_sync(&cluster, &health, lag) {
                    let status = PartStatus { conditions: vec![draft], ..PartStatus::default() };
                    shell.publish(Part::Mirror, cluster.as_ref(), Report { status, ..Report::default() }).await;
                }
            }
        }
    }

    /// Writes what is pending, for at most `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        let Some(outbox) = self.outbox.lock().await.take() else { return };
        if let Err(unflushed) = outbox.shutdown(deadline).await {
            tracing::warn!("the Orchestrator DB did not take everything before the end: {unflushed}");
        }
    }
}

/// How an object left this operator.
pub enum End<'a, K> {
    /// It was deleted; its last state.
    Deleted(&'a K),
    /// It was deleted while nobody looked.
    Unseen,
    /// Its labels no longer fit the selector: another shard serves it.
    Left,
}

/// Whether an object that the watch no longer shows is there all the same, under labels that the selector does not fit.
/// What cannot be read is taken for it: a row that stays is mended by whoever serves the object.
async fn has_left<K: Mirrored>(watched: &Watched<K>, object: &K) -> bool {
    if watched.scope.selector.is_none() {
        return false;
    }
    let api: Api<K> = Api::namespaced(watched.client.clone(), &object.namespace().unwrap_or_default());
    // A list of one: reading single policies is no right of the operator.
    let only = ListParams::default().fields(&format!("metadata.name={}", object.name_any()));
    for pause in [Duration::ZERO, Duration::from_millis(500)] {
        tokio::time::sleep(pause).await;
        if let Ok(there) = within("reading an object that left", api.list_metadata(&only)).await {
            return there.iter().any(|there| there.metadata.uid == object.meta().uid);
        }
    }
    true
}

/// Objects by uid.
type Known = HashMap<String, ObjectKey>;

/// Objects that exist; of one that cannot be read nothing is mirrored, and its row stays.
fn live<K: Mirrored>(watched: &Watched<K>) -> Known {
    let read = watched.watch.store().state();
    let read = read.iter().map(|object| ObjectKey::of(object.as_ref()));
    read.chain(watched.watch.unreadable().keys()).map(|key| (key.uid.clone(), key)).collect()
}

/// What to say about the mirror on `cluster`: nothing before a failure has lasted, the truth from then on.
fn in_sync(cluster: &LogwiseCluster, health: &MirrorHealth, lag: Duration) -> Option<Draft> {
    let kind = ConditionType::MirrorInSync;
    if lag >= PATIENCE {
        // From the class, not from the last error: the text must not change while the failure lasts.
        let (fact, next) = health
            .last_class
            .map_or(("it does not answer", "look at the database server"), |class| (class.fact(), class.next_step()));
        let message = format!("The Orchestrator DB does not take the mirror: {fact}. Reconciling goes on; {next}");
        return Some(Draft::new(kind, false, Reason::DatabaseUnavailable, message));
    }
    let said_before = cluster.conditions().iter().any(|condition| condition.type_ == kind.name());
    (said_before && lag.is_zero())
        .then(|| Draft::new(kind, true, Reason::InSync, "The Orchestrator DB holds what the objects say"))
}

fn row<K: Mirrored>(object: &K, deleted: bool) -> ObjectRow {
    let key = ObjectKey::of(object);
    let (spec, status) = documents(object);
    ObjectRow {
        uid: key.uid,
        kind: K::kind(&()).into_owned(),
        namespace: key.namespace,
        name: key.name,
        generation: key.generation,
        revision: object.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default(),
        deleted,
        spec,
        status,
        conditions: object.conditions().iter().filter(|c| is_mirrored(&c.type_)).map(condition_row).collect(),
        observed_at: Timestamp::now(),
    }
}

fn documents<K: Serialize>(object: &K) -> (Value, Value) {
    let mut object = serde_json::to_value(object).unwrap_or(Value::Null);
    let mut part = |name: &str| object.get_mut(name).map_or(Value::Null, Value::take);
    let (spec, mut status) = (part("spec"), part("status"));
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|c| c.get("type").and_then(Value::as_str).is_none_or(is_mirrored));
    }
    (spec, status)
}

/// A condition about the mirror, if mirrored, would be a change to mirror.
fn is_mirrored(kind: &str) -> bool {
    kind != ConditionType::MirrorInSync.name()
}

fn condition_row(condition: &Condition) -> ConditionRow {
    ConditionRow {
        r#type: condition.type_.clone(),
        status: condition.status.as_str().to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        observed_generation: condition.observed_generation.unwrap_or_default(),
        last_transition_time: condition.last_transition_time.0,
    }
}
