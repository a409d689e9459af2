//! A proxy before the bed's API server. Its clients talk plain HTTP with it and keep their own token.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::forward;
use super::rules::{Action, Facts, Rule, RuleId, Rules};
use super::{lock, spare_host};
use crate::bed::Bed;
use crate::folder::write_atomically;
use crate::world::World;

const CONNECT: Duration = Duration::from_secs(5);

/// One request that came to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Rises with each request, from 0.
    pub seq: u64,
    /// Since the proxy's start, by a clock that never goes back.
    pub at: Duration,
    /// Such as `PATCH`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// What the client was answered; none when the answer was dropped or is still out.
    pub status: Option<u16>,
    /// What the server answered; none when the request was not sent or the answer is still out.
    pub done: Option<u16>,
    /// Whether it asks for a change.
    pub mutating: bool,
    /// Whether it is a watch.
    pub watch: bool,
    /// Whether it is a watch that still runs.
    pub running: bool,
    /// What was done to it, in order.
    pub faults: Vec<Action>,
}

impl Request {
    /// Whether the server has changed something because of it, whatever the client knows of that.
    pub fn took_effect(&self) -> bool {
        self.mutating && self.done.is_some_and(|status| (200..300).contains(&status))
    }
}

/// What the proxy's tasks share.
pub(super) struct Shared {
    pub rules: Rules,
    pub client: reqwest::Client,
    pub server: String,
    started: Instant,
    count: AtomicU64,
    ledger: Mutex<Vec<Request>>,
}

impl Shared {
    /// Files a request and returns its number.
    pub fn enter(&self, facts: &Facts) -> u64 {
        let mut ledger = lock(&self.ledger);
        let seq = self.count.fetch_add(1, Ordering::Relaxed);
        ledger.push(Request {
            seq,
            at: self.started.elapsed(),
            method: facts.method.clone(),
            path: facts.path.clone(),
            status: None,
            done: None,
            mutating: facts.mutating,
            watch: facts.watch,
            running: false,
            faults: Vec::new(),
        });
        seq
    }

    /// Adds to what is filed of a request.
    pub fn note(&self, seq: u64, change: impl FnOnce(&mut Request)) {
        // Numbers are handed out under the lock: they are places in the list.
        let place = usize::try_from(seq).unwrap_or(usize::MAX);
        if let Some(request) = lock(&self.ledger).get_mut(place) {
            change(request);
        }
    }
}

/// A running proxy before the API server. Dropped, it closes every connection.
pub struct KubernetesProxy {
    /// `http://host:port`, for a kubeconfig.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl KubernetesProxy {
    /// Starts a proxy without rules: everything passes. Errors when the bed has no certificate authority yet.
    pub async fn start(bed: &Bed) -> Result<KubernetesProxy> {
        let authority = fs::read(bed.folder.path("pki/ca.crt")).context("reading the cluster's authority")?;
        let authority = reqwest::Certificate::from_pem(&authority).context("reading the cluster's authority")?;
        // One connection per request in flight: over a shared one a held watch could stall all others.
        let client = reqwest::Client::builder().no_proxy().http1_only().connect_timeout(CONNECT);
        let client = client.redirect(reqwest::redirect::Policy::none()).tls_certs_only([authority]);
        let listener = TcpListener::bind((spare_host(bed), 0)).await.context("opening a port for a proxy")?;
        let url = format!("http://{}", listener.local_addr().context("opening a port for a proxy")?);
        let shared = Arc::new(Shared {
            rules: Rules::new(),
            client: client.build().context("building an HTTP client")?,
            server: bed.kube.api_url.clone(),
            started: Instant::now(),
            count: AtomicU64::new(0),
            ledger: Mutex::default(),
        });
        let task = tokio::spawn(forward::accept(listener, Arc::clone(&shared)));
        Ok(KubernetesProxy { url, shared, task })
    }

    /// Adds a rule; those that stand stay. The first rule that hits a request hides it from the rules after it; a
    /// watch that runs meets every rule that is added later.
    pub fn add(&self, rule: Rule) -> RuleId {
        self.shared.rules.add(rule)
    }

    /// Removes a rule. A watch that it held goes on with what it missed.
    pub fn remove(&self, id: RuleId) {
        self.shared.rules.retain(|other| other != id);
    }

    /// Removes every rule.
    pub fn clear(&self) {
        self.shared.rules.retain(|_| false);
    }

    /// How many requests a rule has hit; 0 when it was removed.
    pub fn hits(&self, id: RuleId) -> u32 {
        self.shared.rules.hits(id)
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.ledger).clone()
    }

    /// How many watches run whose path with its query holds this text.
    pub fn running_watches(&self, path: &str) -> usize {
        lock(&self.shared.ledger).iter().filter(|one| one.running && one.path.contains(path)).count()
    }

    /// The number of the next request: [`Request::seq`] of what comes from now on is not lower.
    pub fn now(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }
}

impl Drop for KubernetesProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Starts a proxy before the API server; see [`crate::operator::Options::behind`].
    pub async fn kubernetes_proxy(&self) -> Result<KubernetesProxy> {
        KubernetesProxy::start(&self.bed).await
    }
}

/// Writes a copy of a kubeconfig that speaks with another server and knows no authority.
pub(crate) fn redirect(from: &Path, server: &str, to: PathBuf) -> Result<PathBuf> {
    let text = fs::read_to_string(from).with_context(|| format!("reading {}", from.display()))?;
    let mut config: Value =
        serde_yaml::from_str(&text).with_context(|| format!("{} is no kubeconfig", from.display()))?;
    let cluster = config["clusters"].get_mut(0).context("the kubeconfig names no cluster")?;
    cluster["cluster"] = serde_json::json!({"server": server});
    let text = serde_yaml::to_string(&config).context("writing a kubeconfig")?;
    write_atomically(&to, text.as_bytes())?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kubeconfig_text;

    #[test]
    fn a_redirected_kubeconfig_keeps_its_token_and_loses_its_authority() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("a"), root.path().join("b"));
        fs::write(&from, kubeconfig_text("https://127.0.0.1:6443", "/pki/ca.crt", "me", "{token: \"t\"}")).unwrap();
        redirect(&from, "http://127.0.0.2:1", to.clone()).unwrap();
        let config: Value = serde_yaml::from_str(&fs::read_to_string(to).unwrap()).unwrap();
        assert_eq!(config["clusters"][0]["cluster"], serde_json::json!({"server": "http://127.0.0.2:1"}));
        assert_eq!((&config["users"][0]["user"]["token"], &config["current-context"]), (&"t".into(), &"bed".into()));
    }
}
