//! Reads how far the streaming query has read right after each look at Kafka, so that both can be compared.

use super::Positions;
use crate::controller::reach;
use futures::Stream;
use futures::channel::mpsc::{self, UnboundedSender};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, Checkpoint};
use logwise_plan::Known;
use logwise_runtime::facts::{CheckpointPosition, Fact};
use logwise_runtime::fair::Fair;
use logwise_runtime::{ObjectKey, chain, crash, guarded, streams};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Longest time of one reading; each call in it has a deadline of its own.
const DEADLINE: Duration = Duration::from_secs(45);

/// Readings at the same time, and how many of them may be of one namespace.
const PLACES: (usize, usize) = (16, 8);

/// What the position controller works with.
pub struct Context {
    s3: Arc<crate::Context>,
    /// Seconds between two looks at Kafka.
    kafka_seconds: u32,
    positions: Positions,
    places: Fair,
    /// By uid.
    followers: Mutex<HashMap<String, Follower>>,
}

/// Wakes one object after each look at Kafka; dropped, it ends.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Context {
    /// Reaches buckets as the bucket controller does. Objects with topics are read when Kafka was looked at, others as
    /// often as buckets are looked at.
    pub fn new(s3: Arc<crate::Context>, kafka_seconds: u32) -> Self {
        let (positions, places) = (Positions::default(), Fair::new(PLACES.0, PLACES.1));
        Self { s3, kafka_seconds, positions, places, followers: Mutex::default() }
    }

    /// Forgets an object that was deleted, or no longer has a query.
    pub fn forget(&self, uid: &str) {
        self.positions.forget(uid);
        self.followers().remove(uid);
    }

    fn followers(&self) -> MutexGuard<'_, HashMap<String, Follower>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time between two readings: that between two looks at Kafka for an object with topics.
    fn period(&self, cluster: &LogwiseCluster) -> Duration {
        let seconds = if has_topics(cluster) { self.kafka_seconds } else { self.s3.period_seconds };
        Duration::from_secs(seconds.into())
    }
}

/// The context of one run, with those whom it wakes.
struct Running {
    context: Arc<Context>,
    told: UnboundedSender<ObjectRef<LogwiseCluster>>,
}

impl Running {
    /// Lets each look at Kafka wake this object.
    fn follow(&self, cluster: &LogwiseCluster, uid: &str) {
        let mut followers = self.context.followers();
        if !has_topics(cluster) {
            followers.remove(uid);
            return;
        }
        followers.entry(uid.to_owned()).or_insert_with(|| {
            let mut ends = self.context.s3.shell.facts.topic_ends.follow(uid);
            let (told, object) = (self.told.clone(), ObjectRef::from_obj(cluster));
            Follower(tokio::spawn(async move {
                while ends.changed().await.is_ok() {
                    // Nobody listens any more when the term ends.
                    let _ = told.unbounded_send(object.clone());
                }
            }))
        });
    }
}

/// Reads the checkpoint of every LogwiseCluster with a query until `shutdown`: after each look at Kafka, else by the
/// clock.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (told, woken) = mpsc::unbounded();
    // Bounded by the places, where namespaces take turns.
    let store = context.s3.clusters.clone();
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), store).reconcile_on(woken);
    streams::drive(controller, shutdown, Arc::new(Running { context, told }), reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, running: Arc<Running>) -> Action {
    let (key, context) = (ObjectKey::of(cluster.as_ref()), &running.context);
    let checkpoint = validate::checkpoint(&cluster).filter(|_| cluster.metadata.deletion_timestamp.is_none());
    let Some(checkpoint) = checkpoint else {
        context.forget(&key.uid);
        return Action::await_change();
    };
    running.follow(&cluster, &key.uid);
    let shell = &context.s3.shell;
    let _place = context.places.enter(&key.namespace).await;
    if shell.term().check().is_err() {
        return Action::await_change();
    }
    let (taken, period) = (Instant::now(), context.period(&cluster));
    let look = async {
        crash::object("position", &key.namespace, &key.name).await;
        look(&cluster, &checkpoint, context).await
    };
    let value = tokio::select! {
        value = guarded(DEADLINE, look) => value,
        // Nothing that it finds could be used any more.
        () = shell.term().ended() => return Action::await_change(),
    };
    let value = value.unwrap_or_else(|broken| Known::Unknown(format!("reading it did not end: {}", chain(&broken))));
    shell.tell(&shell.facts.position, &key.uid, Fact { value, taken, period });
    // Looks at Kafka wake it before that, unless they have ended.
    Action::requeue(if has_topics(&cluster) { period * 3 / 2 } else { period })
}

/// Nothing is called for an object that may not use what it refers to.
async fn look(cluster: &LogwiseCluster, checkpoint: &Checkpoint, context: &Context) -> Known<CheckpointPosition> {
    let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
    match reach(cluster, &context.s3).await {
        Ok(bucket) => {
            let starts = context.s3.shell.facts.topic_starts.read(uid, Instant::now());
            context.positions.read(uid, (&bucket, &checkpoint.folder), &starts).await
        }
        Err(refused) => Known::Unknown(refused.message),
    }
}

/// Whether the object has topics, at which Kafka's part looks.
fn has_topics(cluster: &LogwiseCluster) -> bool {
    cluster.spec.kafka.as_ref().is_some_and(|kafka| kafka.topics.is_some())
}
