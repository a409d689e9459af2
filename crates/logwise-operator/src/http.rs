//! Health and metrics over HTTP. Liveness depends on nothing outside; readiness says what is missing.

use crate::mirror::Mirror;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use logwise_runtime::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// What has to be there before the operator is ready.
pub struct Readiness {
    /// The first list of both kinds has arrived.
    pub synced: AtomicBool,
    /// This replica leads.
    pub leads: AtomicBool,
    /// The way to the Orchestrator DB.
    pub mirror: Arc<Mirror>,
    /// True from the stop signal on.
    pub stop: watch::Receiver<bool>,
}

#[derive(Clone)]
struct Shared {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

/// The routes.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shared { readiness, metrics })
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let mut missing = Vec::new();
    if !shared.readiness.synced.load(Ordering::Acquire) {
        missing.push("the first list of LogwiseCluster and RetentionPolicy objects has not arrived");
    }
    if *shared.readiness.stop.borrow() {
        missing.push("the operator is stopping");
    }
    if missing.is_empty() {
        let role = if shared.readiness.leads.load(Ordering::Acquire) { "leads" } else { "follows" };
        let database = shared.readiness.mirror.in_words();
        (StatusCode::OK, format!("ok: this replica {role}\n{database}\n"))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; ")))
    }
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.render())
}
