//! Wiring: one watch per kind, the controllers, the mirror and the HTTP interface, until a signal.

use crate::cli::Config;
use crate::mirror::Mirror;
use crate::watch::Watch;
use crate::{http, logging, summary};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kube::Client;
use kube::runtime::reflector::Store;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::{AwsClients, AwsSettings};
use logwise_kafka::KafkaClients;
use logwise_runtime::metrics::Pipeline;
use logwise_runtime::{DecisionLog, Metrics, ObjectKey, Shell};
use logwise_s3::Discovery;
use logwise_store::{DatabaseUrl, UrlError};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time that controllers have to end what they began.
const DRAIN: Duration = Duration::from_secs(6);

/// Time for the last write to the Orchestrator DB.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// The operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `database.url` is none.
    #[error("database.url cannot be used")]
    DatabaseUrl(#[source] UrlError),
    /// The asynchronous runtime did not start.
    #[error("threads or timers could not be set up")]
    StartRuntime(#[source] std::io::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// No Kubernetes configuration.
    #[error("no Kubernetes configuration: set KUBECONFIG or run in a pod")]
    KubernetesConfiguration(#[source] kube::config::InferConfigError),
    /// The Kubernetes configuration cannot be used.
    #[error("the Kubernetes configuration cannot be used")]
    KubernetesClient(#[source] kube::Error),
    /// The HTTP client could not be made.
    #[error("the HTTP client for Spark masters could not be made")]
    HttpClient(#[source] reqwest::Error),
    /// The address is taken or not ours.
    #[error("http.listen: cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl RunError {
    /// 2: the configuration is wrong. 1: something outside is.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::DatabaseUrl(_) => 2,
            _ => 1,
        }
    }
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; nothing that happens afterwards ends it.
pub fn run(config: Config) -> Result<(), RunError> {
    logging::start(config.log_format, config.log_level);
    let database = DatabaseUrl::parse(&config.database_url).map_err(RunError::DatabaseUrl)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::StartRuntime)?;
    runtime.block_on(serve(config, database))?;
    // Blocking librdkafka calls may still run into their deadlines: nobody waits for their answers any more.
    runtime.shutdown_timeout(Duration::from_millis(500));
    Ok(())
}

async fn serve(config: Config, database: DatabaseUrl) -> Result<(), RunError> {
    let stop = stop_on_signal()?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let readiness = Arc::new(http::Readiness::default());
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| RunError::Listen { address: config.listen, source })?;
    let server = axum::serve(listener, http::router(readiness.clone(), metrics.clone()));
    let server = tokio::spawn(server.with_graceful_shutdown(stopped(&stop)).into_future());
    let client = kubernetes().await?;
    let mirror = Arc::new(Mirror::start(database, metrics.clone()));
    let sink = mirror.clone();
    let decisions = DecisionLog::new(move |recorded| sink.decided(recorded));
    let shell = Arc::new(Shell::new(client.clone(), metrics, decisions));
    let tasks = start_controllers(&config, client, shell, &mirror, &readiness, &stop)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), installation = %config.installation, listen = %config.listen, "started");
    let _ = stop.clone().wait_for(|stop| *stop).await;
    readiness.stopping.store(true, Ordering::Release);
    if tokio::time::timeout(DRAIN, join_all(tasks)).await.is_err() {
        tracing::warn!("some reconciles did not end within {} s of the stop signal", DRAIN.as_secs());
    }
    mirror.shutdown(LAST_FLUSH).await;
    server.abort();
    tracing::info!("stopped");
    Ok(())
}

async fn kubernetes() -> Result<Client, RunError> {
    let mut config = kube::Config::infer().await.map_err(RunError::KubernetesConfiguration)?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(RunError::KubernetesClient)
}

/// Becomes true with the first SIGTERM or SIGINT.
fn stop_on_signal() -> Result<watch::Receiver<bool>, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // The sender lives until the end of the process: a dropped one would look like a stop to nobody.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}

fn stopped(stop: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + Sync + use<> {
    let mut stop = stop.clone();
    async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

fn start_controllers(
    config: &Config,
    client: Client,
    shell: Arc<Shell>,
    mirror: &Arc<Mirror>,
    readiness: &Arc<http::Readiness>,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, RunError> {
    let aws = Arc::new(AwsClients::new(AwsSettings { endpoint_url: config.aws_endpoint_url.clone(), ..AwsSettings::default() }));
    let clusters = Watch::<LogwiseCluster>::new(client.clone(), &config.namespaces);
    let policies = Watch::<RetentionPolicy>::new(client.clone(), &config.namespaces);
    let (cluster_store, policy_store) = (clusters.store(), policies.store());
    let kafka = Arc::new(logwise_kafka::Context {
        shell: shell.clone(),
        clients: KafkaClients::new(logwise_kafka::DEFAULT_DEADLINE),
        in_use: logwise_kafka::InUse::default(),
        period_seconds: config.kafka_seconds,
    });
    let spark = Arc::new(logwise_spark::Context {
        shell: shell.clone(),
        aws: aws.clone(),
        http: logwise_spark::http_client().map_err(RunError::HttpClient)?,
        period_seconds: config.spark_seconds,
    });
    let s3 = Arc::new(logwise_s3::Context {
        shell: shell.clone(),
        client: client.clone(),
        aws,
        discovery: Discovery::new(Duration::from_secs(config.discovery_seconds.into())),
        installation: config.installation.clone(),
        period_seconds: config.s3_seconds,
        clusters: cluster_store.clone(),
        policies: policy_store.clone(),
    });
    let summary = Arc::new(summary::Context { shell: shell.clone(), waiting: Mutex::new(HashMap::new()) });
    let synced = synced(cluster_store.clone(), policy_store, readiness.clone());
    let start = |controller: BoxFuture<'static, ()>| start_when(&synced, stop, controller);
    let mut controllers = vec![
        start(logwise_kafka::run(clusters.subscribe(), cluster_store.clone(), kafka.clone(), stopped(stop)).boxed()),
        start(logwise_spark::run(clusters.subscribe(), cluster_store.clone(), spark, stopped(stop)).boxed()),
        start(logwise_s3::run(clusters.subscribe(), policies.subscribe(), s3.clone(), stopped(stop)).boxed()),
        start(logwise_s3::run_orphans(policies.subscribe(), s3, stopped(stop)).boxed()),
        start(summary::run(clusters.subscribe(), cluster_store.clone(), summary.clone(), stopped(stop)).boxed()),
    ];
    controllers.push(tokio::spawn(mirror.clone().watch_health(cluster_store, shell.clone(), stopped(stop))));
    let gone = Gone { shell, kafka, summary };
    let policies_gone = gone.clone();
    tokio::spawn(mirror.clone().follow(client.clone(), clusters, config.namespaces.clone(), move |key| gone.forget(key, true)));
    tokio::spawn(mirror.clone().follow(client, policies, config.namespaces.clone(), move |key| policies_gone.forget(key, false)));
    Ok(controllers)
}

/// Becomes true when the first list of both kinds has arrived. One task waits for the stores: of several waiters on
/// one store only the last would be woken.
fn synced(clusters: Store<LogwiseCluster>, policies: Store<RetentionPolicy>, readiness: Arc<http::Readiness>) -> watch::Receiver<bool> {
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

/// Starts a controller when both kinds have been listed; a stop before that ends the wait.
fn start_when(synced: &watch::Receiver<bool>, stop: &watch::Receiver<bool>, controller: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let (mut synced, stop) = (synced.clone(), stopped(stop));
    tokio::spawn(async move {
        tokio::select! {
            Ok(_) = synced.wait_for(|synced| *synced) => {}
            () = stop => return,
        }
        controller.await;
    })
}

/// Everybody who remembers something about an object.
#[derive(Clone)]
struct Gone {
    shell: Arc<Shell>,
    kafka: Arc<logwise_kafka::Context>,
    summary: Arc<summary::Context>,
}

impl Gone {
    fn forget(&self, key: &ObjectKey, is_cluster: bool) {
        self.shell.forget(&key.uid);
        if is_cluster {
            self.kafka.in_use.forget(&key.uid);
            self.summary.forget(&key.uid);
            self.shell.metrics.forget(&Pipeline { namespace: key.namespace.clone(), cluster: key.name.clone() });
            let (namespace, name) = (&key.namespace, &key.name);
            tracing::info!(kind = "LogwiseCluster", %namespace, %name, "deleted: topics, instances, driver and bucket are left as they are");
        }
    }
}
