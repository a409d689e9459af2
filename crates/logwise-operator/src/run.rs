//! Wiring: one watch per kind, the controllers, the mirror and the HTTP interface, until a signal.

use crate::cli::Config;
use crate::controllers::{self, Ground};
use crate::mirror::Mirror;
use crate::{http, logging, namespaces, watch};
use futures::future::{join_all, select_all};
use kube::Client;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::{AwsClients, AwsSettings, EndpointRefused};
use logwise_runtime::leadership::{Election, Leadership};
use logwise_runtime::{Access, Intents, Metrics, NotLeading, Seat, Term, chain};
use logwise_store::{DatabaseUrl, UrlError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as watch_channel;
use tokio::task::JoinHandle;

/// Time from the end of a term to the release of its Lease, which the next replica waits for: calls under way end in it, or
/// stay recorded as sent. With the next replica's half second and the calls of both it stays below two.
const HAND_OVER: Duration = Duration::from_millis(1_200);

/// Time in it that the last write to the Orchestrator DB has at least.
const LAST_FLUSH: Duration = Duration::from_millis(300);

/// The operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Leader election needs a database that several replicas can write to.
    #[error(
        "leaderElection.enabled: must be false with an SQLite database, which has one writer; use one replica, or a mysql:// database.url"
    )]
    ElectionWithSqlite,
    /// `database.url` is none.
    #[error("database.url cannot be used")]
    DatabaseUrl(#[source] UrlError),
    /// The AWS endpoint may not be used.
    #[error("aws.endpointURL cannot be used")]
    Endpoint(#[source] EndpointRefused),
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
            Self::DatabaseUrl(_) | Self::ElectionWithSqlite | Self::Endpoint(_) => 2,
            _ => 1,
        }
    }
}

/// Bytes of a thread's stack. The S3 client finds its endpoint in one function with very large frames, at the end of a
/// long chain of calls: without optimization that takes more than the usual 2 MiB.
const STACK: usize = 8 << 20;

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; nothing that happens afterwards ends it.
pub fn run(config: Config) -> Result<(), RunError> {
    logging::start(config.log_format, config.log_level);
    let database = DatabaseUrl::parse(&config.database_url).map_err(RunError::DatabaseUrl)?;
    if config.lease_seconds.is_some() && database.is_sqlite() {
        return Err(RunError::ElectionWithSqlite);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
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
    let mirror = Arc::new(Mirror::start(database, metrics.clone()));
    let (synced, leads) = (AtomicBool::new(false), AtomicBool::new(false));
    let readiness = Arc::new(http::Readiness { synced, leads, mirror: mirror.clone(), stop: stop.clone() });
    let listener =
        TcpListener::bind(config.listen).await.map_err(|source| RunError::Listen { address: config.listen, source })?;
    // To the very end: a probe is to hear that the operator is stopping.
    let server = tokio::spawn(axum::serve(listener, http::router(readiness.clone(), metrics.clone())).into_future());
    let (client, default_namespace) = kubernetes().await?;
    let (clusters, drive_clusters) = watch::watch::<LogwiseCluster>(client.clone(), &config.scope());
    let (policies, drive_policies) = watch::watch::<RetentionPolicy>(client.clone(), &config.scope());
    vital(&stop, drive_clusters.run());
    vital(&stop, drive_policies.run());
    let seat = seat(&config, client.clone(), default_namespace);
    let election = config.lease_seconds.map_or(Election::Alone, |s| Election::Lease(Duration::from_secs(s.into())));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), installation = %config.installation, shard = %config.shard,
        namespace = %seat.namespace, identity = %seat.identity, listen = %config.listen, "started"
    );
    let http = logwise_spark::http_client().map_err(RunError::HttpClient)?;
    let aws = Arc::new(aws(&config)?);
    let (labels, labels_told) = namespaces::labels(&config, &client);
    let access = Arc::new(Access::new(config.grants.clone(), labels));
    let ground = Ground { config, client, clusters, policies, aws, http, mirror, metrics, access };
    tokio::select! {
        () = labels_told => {}
        () = stopped(&stop) => {}
    }
    work(ground, (seat, election), &readiness, &stop).await;
    server.abort();
    tracing::info!("stopped");
    Ok(())
}

/// AWS clients, and what an operator should know about its own configuration at every start.
fn aws(config: &Config) -> Result<AwsClients, RunError> {
    if config.grants.entries.is_empty() {
        tracing::warn!("no grants are configured: every namespace may refer to every bucket, group, role and address");
    }
    if config.allow_insecure_endpoints {
        tracing::warn!(
            "allowInsecureEndpoints is on: AWS endpoints may be plain HTTP and on this machine; never use it outside tests"
        );
    }
    let settings = AwsSettings {
        endpoint_url: config.aws_endpoint_url.clone(),
        allow_insecure_endpoints: config.allow_insecure_endpoints,
        denied_ranges: config.denied_ranges.clone(),
        ..AwsSettings::default()
    };
    AwsClients::open(settings).map_err(RunError::Endpoint)
}

/// Leads whenever it may, until the stop signal.
async fn work(
    ground: Ground,
    (seat, election): (Seat, Election),
    readiness: &Arc<http::Readiness>,
    stop: &watch_channel::Receiver<bool>,
) {
    tokio::select! {
        () = synced(&ground) => {}
        () = stopped(stop) => return,
    }
    readiness.synced.store(true, Ordering::Release);
    let leadership = Leadership::new(seat.clone(), election, ground.metrics.clone(), stop.clone());
    let (ground, seat) = (&ground, &seat);
    leadership
        .run(|term| async move {
            readiness.leads.store(true, Ordering::Release);
            let mut tasks = lead(ground, seat, &term).await;
            work_through(&mut tasks, &term).await;
            readiness.leads.store(false, Ordering::Release);
            let ended = Instant::now();
            drain(&mut tasks).await;
            if term.check() == Err(NotLeading::Stopping) {
                ground.mirror.shutdown(HAND_OVER.saturating_sub(ended.elapsed()).max(LAST_FLUSH)).await;
            }
        })
        .await;
}

/// Waits for the end of the term. A task that ends before it has broken off: then the term ends too, and the next one
/// begins with all of them.
async fn work_through(tasks: &mut Vec<JoinHandle<()>>, term: &Term) {
    if tasks.is_empty() {
        return term.ended().await;
    }
    let broken = tokio::select! {
        biased;
        () = term.ended() => return,
        (ended, place, _) = select_all(tasks.iter_mut()) => (ended, place),
    };
    if term.check().is_ok() {
        tracing::error!(ended = ?broken.0, "a part of the operator has ended before its term: the term ends, the next begins anew");
        term.end(NotLeading::Over);
    }
    drop(tasks.swap_remove(broken.1));
}

/// Begins the work of one term: the intents are read first. Nothing runs if it ends before.
async fn lead(ground: &Ground, seat: &Seat, term: &Arc<Term>) -> Vec<JoinHandle<()>> {
    let intents = loop {
        let loaded = tokio::select! {
            loaded = Intents::load(seat.clone(), term.clone()) => loaded,
            () = term.ended() => return Vec::new(),
        };
        match loaded {
            Ok(intents) => break Arc::new(intents),
            Err(error) => {
                tracing::warn!(error = chain(&error), "nothing is done before the intents are read");
                let _ = tokio::time::timeout(Duration::from_millis(500), term.ended()).await;
                if term.check().is_err() {
                    return Vec::new();
                }
            }
        }
    };
    controllers::start(ground, intents)
}

/// Lets the tasks of an ended term end.
async fn drain(tasks: &mut [JoinHandle<()>]) {
    if tokio::time::timeout(HAND_OVER - LAST_FLUSH, join_all(tasks.iter_mut())).await.is_err() {
        tracing::warn!(
            "some calls did not end within {} ms of the end of the term",
            (HAND_OVER - LAST_FLUSH).as_millis()
        );
        tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Waits for the first list of both kinds. One task waits for the stores: of several waiters on one store only the last
/// would be woken.
async fn synced(ground: &Ground) {
    let lists = async {
        ground.clusters.store().wait_until_ready().await.and(ground.policies.store().wait_until_ready().await)
    };
    if lists.await.is_err() {
        // The watch has ended, and with it the process.
        std::future::pending::<()>().await;
    }
}

/// The operator's place in Kubernetes.
fn seat(config: &Config, client: Client, default_namespace: String) -> Seat {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "logwise-operator".to_owned());
    let entropy = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    Seat {
        client,
        namespace: config.own_namespace.clone().unwrap_or(default_namespace),
        installation: config.installation.clone(),
        shard: config.shard.clone(),
        // Never the name of an earlier process, in the same pod or not.
        identity: format!("{host}-{entropy:016x}"),
    }
}

/// The client and the namespace that its configuration names.
async fn kubernetes() -> Result<(Client, String), RunError> {
    let mut config = kube::Config::infer().await.map_err(RunError::KubernetesConfiguration)?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // For watches; other calls have deadlines of their own.
    config.read_timeout = Some(watch::IDLE);
    // Its own retries go on for minutes, writes included: a leader would come back from them long after its term.
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config).map_err(RunError::KubernetesClient)?, namespace))
}

/// Runs a watch. An operator whose watch has ended is blind and looks healthy: it had better start again.
fn vital(stop: &watch_channel::Receiver<bool>, watch: impl Future<Output = ()> + Send + 'static) {
    let (stop, watch) = (stop.clone(), tokio::spawn(watch));
    tokio::spawn(async move {
        let ended = watch.await;
        if *stop.borrow() {
            return;
        }
        tracing::error!(?ended, "a watch has ended: the operator stops, to be started again");
        std::process::exit(1);
    });
}

/// Becomes true with the first SIGTERM or SIGINT.
fn stop_on_signal() -> Result<watch_channel::Receiver<bool>, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let (sender, receiver) = watch_channel::channel(false);
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

/// Ends with the stop signal.
pub(crate) fn stopped(stop: &watch_channel::Receiver<bool>) -> impl Future<Output = ()> + Send + Sync + use<> {
    let mut stop = stop.clone();
    async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
