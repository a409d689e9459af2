//! Wiring: one watch per kind, the controllers, the mirror and the HTTP interface, until a signal.

use crate::cli::Config;
use crate::controllers::{self, Ground};
use crate::mirror::Mirror;
use crate::{http, logging};
use futures::future::join_all;
use kube::Client;
use logwise_runtime::{DecisionLog, Metrics, Shell};
use logwise_store::{DatabaseUrl, UrlError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
    let listener =
        TcpListener::bind(config.listen).await.map_err(|source| RunError::Listen { address: config.listen, source })?;
    let server = axum::serve(listener, http::router(readiness.clone(), metrics.clone()));
    let server = tokio::spawn(server.with_graceful_shutdown(stopped(&stop)).into_future());
    let client = kubernetes().await?;
    let mirror = Arc::new(Mirror::start(database, metrics.clone()));
    let sink = mirror.clone();
    let decisions = DecisionLog::new(move |recorded| sink.decided(recorded));
    let shell = Arc::new(Shell::new(client.clone(), metrics, decisions));
    let ground = Ground { config: &config, client, shell, mirror: &mirror, readiness: &readiness, stop: &stop };
    let tasks = controllers::start(&ground).map_err(RunError::HttpClient)?;
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
    // Longer than a watch call lasts, so that quiet watches are not cut.
    config.read_timeout = Some(Duration::from_secs(60));
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

/// Ends with the stop signal.
pub(crate) fn stopped(stop: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + Sync + use<> {
    let mut stop = stop.clone();
    async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
