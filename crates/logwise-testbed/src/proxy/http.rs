//! A proxy before an HTTP server: it forwards, files every request, and spoils those that a rule hits.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::forward;
use super::rules::{Action, Facts, Rule, RuleId, Rules};
use super::{lock, spare_host};
use crate::bed::Bed;

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

/// A running proxy before a server, or before several under the same rules and with one ledger. Dropped, it closes
/// every connection.
pub struct HttpProxy {
    /// `http://host:port`, in the place of the first server's.
    pub url: String,
    shared: Arc<Shared>,
    host: Ipv4Addr,
    tasks: Vec<JoinHandle<()>>,
}

impl HttpProxy {
    /// Starts a proxy without rules before the server at `http://host:port`: everything passes.
    pub async fn start(bed: &Bed, server: &str) -> Result<HttpProxy> {
        HttpProxy::on(spare_host(bed), server).await
    }

    /// As [`HttpProxy::start`], on this address.
    pub async fn on(host: Ipv4Addr, server: &str) -> Result<HttpProxy> {
        HttpProxy::over(host, client(), server).await
    }

    /// As [`HttpProxy::on`], for a server that wants a client of its own kind.
    pub(super) async fn over(host: Ipv4Addr, client: reqwest::ClientBuilder, server: &str) -> Result<HttpProxy> {
        let shared = Arc::new(Shared {
            rules: Rules::new(),
            client: client.build().context("building an HTTP client")?,
            started: Instant::now(),
            count: AtomicU64::new(0),
            ledger: Mutex::default(),
        });
        let mut proxy = HttpProxy { url: String::new(), shared, host, tasks: Vec::new() };
        proxy.url = proxy.also(server).await?;
        Ok(proxy)
    }

    /// Stands before one more server, at `http://host:port`, under the same rules; returns the address in its place.
    pub async fn also(&mut self, server: &str) -> Result<String> {
        let listener = TcpListener::bind((self.host, 0)).await.context("opening a port for a proxy")?;
        let url = format!("http://{}", listener.local_addr().context("opening a port for a proxy")?);
        self.tasks.push(tokio::spawn(forward::accept(listener, Arc::clone(&self.shared), server.into())));
        Ok(url)
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

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// One connection per request in flight: over a shared one a held watch could stall all others.
pub(super) fn client() -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder().no_proxy().http1_only().connect_timeout(CONNECT);
    client.redirect(reqwest::redirect::Policy::none())
}
