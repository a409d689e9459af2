//! Every controller with what it works with, fed by one watch per kind.

use crate::cli::Config;
use crate::mirror::Mirror;
use crate::run::stopped;
use crate::watch::Watch;
use crate::{http, summary};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use kube::runtime::reflector::Store;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::{AwsClients, AwsSettings};
use logwise_kafka::KafkaClients;
use logwise_runtime::metrics::Pipeline;
use logwise_runtime::{EventDraft, ObjectKey, Shell};
use logwise_s3::Discovery;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What every controller stands on.
pub(crate) struct Ground<'a> {
    pub config: &'a Config,
    pub client: Client,
    pub shell: Arc<Shell>,
    pub mirror: &'a Arc<Mirror>,
    pub readiness: &'a Arc<http::Readiness>,
    pub stop: &'a watch::Receiver<bool>,
}

/// Starts the watches, the controllers and the mirror; returns the tasks that end with the stop signal.
pub(crate) fn start(ground: &Ground<'_>) -> Result<Vec<JoinHandle<()>>, reqwest::Error> {
    let Ground { config, client, shell, mirror, .. } = ground;
    let mut clusters = Watch::<LogwiseCluster>::new(client.clone(), &config.namespaces);
    let mut policies = Watch::<RetentionPolicy>::new(client.clone(), &config.namespaces);
    let (cluster_store, policy_store) = (clusters.store(), policies.store());
    let aws = AwsSettings { endpoint_url: config.aws_endpoint_url.clone(), ..AwsSettings::default() };
    let aws = Arc::new(AwsClients::new(aws));
    let kafka = kafka(ground);
    let spark = spark(ground, aws.clone(), cluster_store.clone())?;
    let s3 = s3(ground, aws, (cluster_store.clone(), policy_store.clone()));
    let summary = Arc::new(summary::Context { shell: shell.clone(), waiting: Mutex::new(HashMap::new()) });
    let synced = synced(cluster_store.clone(), policy_store, ground.readiness.clone());
    let begin = |controller: BoxFuture<'static, ()>| begin(&synced, ground.stop, controller);
    let stop = || stopped(ground.stop);
    let store = || cluster_store.clone();
    let tasks = vec![
        begin(logwise_kafka::run(clusters.subscribe(), store(), kafka.clone(), stop()).boxed()),
        begin(logwise_spark::run(clusters.subscribe(), spark, stop()).boxed()),
        begin(logwise_s3::run(clusters.subscribe(), policies.subscribe(), s3.clone(), stop()).boxed()),
        begin(logwise_s3::run_orphans(policies.subscribe(), s3.clone(), stop()).boxed()),
        begin(summary::run(clusters.subscribe(), store(), summary.clone(), stop()).boxed()),
        begin((*mirror).clone().watch_health(store(), shell.clone(), stop()).boxed()),
    ];
    let memory = Memory { shell: shell.clone(), kafka, s3: s3.clone(), summary };
    let of_policies = shell.clone();
    let follower = |mirror: &Arc<Mirror>| (mirror.clone(), client.clone(), config.namespaces.clone());
    let (following, client, namespaces) = follower(mirror);
    vital(
        ground.stop,
        following.follow(client, clusters, namespaces, move |key, last| memory.cluster_ended(key, last)),
    );
    let (following, client, namespaces) = follower(mirror);
    vital(ground.stop, following.follow(client, policies, namespaces, move |key, _| of_policies.forget(&key.uid)));
    Ok(tasks)
}

fn kafka(ground: &Ground<'_>) -> Arc<logwise_kafka::Context> {
    Arc::new(logwise_kafka::Context {
        shell: ground.shell.clone(),
        clients: KafkaClients::default(),
        in_use: logwise_kafka::InUse::default(),
        period_seconds: ground.config.kafka_seconds,
    })
}

fn spark(
    ground: &Ground<'_>,
    aws: Arc<AwsClients>,
    clusters: Store<LogwiseCluster>,
) -> Result<Arc<logwise_spark::Context>, reqwest::Error> {
    let http = logwise_spark::http_client()?;
    let period_seconds = ground.config.spark_seconds;
    Ok(Arc::new(logwise_spark::Context { shell: ground.shell.clone(), aws, http, period_seconds, clusters }))
}

fn s3(
    ground: &Ground<'_>,
    aws: Arc<AwsClients>,
    (clusters, policies): (Store<LogwiseCluster>, Store<RetentionPolicy>),
) -> Arc<logwise_s3::Context> {
    Arc::new(logwise_s3::Context {
        shell: ground.shell.clone(),
        client: ground.client.clone(),
        aws,
        discovery: Discovery::new(Duration::from_secs(ground.config.discovery_seconds.into())),
        installation: ground.config.installation.clone(),
        period_seconds: ground.config.s3_seconds,
        clusters,
        policies,
    })
}

/// Becomes true when the first list of both kinds has arrived. One task waits for the stores: of several waiters on
/// one store only the last would be woken.
fn synced(
    clusters: Store<LogwiseCluster>,
    policies: Store<RetentionPolicy>,
    readiness: Arc<http::Readiness>,
) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        // An error means that the watch has ended, which happens only with the process.
        if clusters.wait_until_ready().await.is_ok() && policies.wait_until_ready().await.is_ok() {
            readiness.synced.store(true, Ordering::Release);
            sender.send_replace(true);
        }
        std::future::pending::<()>().await;
    });
    receiver
}

/// Begins a controller when both kinds have been listed; a stop before that ends the wait.
fn begin(
    synced: &watch::Receiver<bool>,
    stop: &watch::Receiver<bool>,
    controller: BoxFuture<'static, ()>,
) -> JoinHandle<()> {
    let (mut synced, stop) = (synced.clone(), stopped(stop));
    tokio::spawn(async move {
        tokio::select! {
            Ok(_) = synced.wait_for(|synced| *synced) => {}
            () = stop => return,
        }
        controller.await;
    })
}

/// Runs a watch. An operator whose watch has ended is blind and looks healthy: it had better start again.
fn vital(stop: &watch::Receiver<bool>, events: impl Future<Output = ()> + Send + 'static) {
    let (stop, events) = (stop.clone(), tokio::spawn(events));
    tokio::spawn(async move {
        let ended = events.await;
        if *stop.borrow() {
            return;
        }
        tracing::error!(?ended, "a watch has ended: the operator stops, to be started again");
        std::process::exit(1);
    });
}

/// Everybody who remembers something about a LogwiseCluster.
struct Memory {
    shell: Arc<Shell>,
    kafka: Arc<logwise_kafka::Context>,
    s3: Arc<logwise_s3::Context>,
    summary: Arc<summary::Context>,
}

impl Memory {
    /// Forgets a LogwiseCluster and says what is left behind.
    fn cluster_ended(&self, key: &ObjectKey, last: Option<LogwiseCluster>) {
        self.shell.forget(&key.uid);
        self.kafka.in_use.forget(&key.uid);
        self.summary.forget(&key.uid);
        let ObjectKey { namespace, name, .. } = key;
        self.shell.metrics.forget(&Pipeline { namespace: namespace.clone(), cluster: name.clone() });
        let note = "Deleted; topics, instances, driver and bucket are left as they are";
        tracing::info!(kind = "LogwiseCluster", %namespace, %name, "{note}");
        let Some(last) = last else { return };
        if let Some(storage) = &last.spec.storage {
            self.s3.discovery.forget(&storage.bucket_name);
        }
        let shell = self.shell.clone();
        tokio::spawn(async move {
            let event = EventDraft { warning: false, reason: "Deleted", action: "Delete", note: note.to_owned() };
            shell.events.publish(&last, &event).await;
        });
    }
}
