//! A proxy before Kafka or MariaDB that can be slow, silent, rude or gone.

pub use super::frames::{CREATE_PARTITIONS, LIST_OFFSETS, METADATA};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::forward_bytes::{Reset, talk};
use super::frames::{Advertised, Pending, Seen, Wire};
use super::{lock, spare_host};
use crate::bed::Bed;
use crate::world::World;

const LOOK: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(5);
const SWITCH: Duration = Duration::from_secs(30);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToServer,
    /// Answers.
    ToClient,
    /// Both.
    Both,
}

impl Direction {
    pub(super) fn covers(self, one: Direction) -> bool {
        self == Direction::Both || self == one
    }
}

/// What a proxy before Kafka does to some requests, while everything else passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaFault {
    /// Topics grow, and the answer to that never arrives. What is only validated is answered.
    GrowthUnanswered,
    /// What is only to be validated is carried out, as early brokers of KRaft did (KAFKA-13861).
    ValidationCarriedOut,
    /// Each Metadata request is answered as the first one like it was since the proxy began.
    OldMetadata,
    /// Records are asked for, and none arrives: offsets and topics are told all the same.
    RecordsUnanswered,
}

/// After so many bytes a connection is reset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub direction: Direction,
    pub bytes: u64,
    /// Rises with each call of [`TcpProxy::reset_after`].
    pub number: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Conduct {
    pub to_server: Duration,
    pub to_client: Duration,
    pub held: Option<Direction>,
    pub limit: Option<Limit>,
    pub refuse: bool,
    pub fault: Option<KafkaFault>,
}

/// What has passed through a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that are open.
    pub open: u64,
    /// Bytes that reached the server.
    pub to_server: u64,
    /// Bytes that reached a client.
    pub to_client: u64,
}

pub(super) struct Shared {
    pub conduct: watch::Sender<Conduct>,
    pub wire: Wire,
    pub to_server: AtomicU64,
    pub to_client: AtomicU64,
    target: String,
    connections: AtomicU64,
    open: AtomicU64,
    limits: AtomicU64,
    pub seen: Mutex<Seen>,
}

/// A running proxy. Dropped, it closes every connection.
pub struct TcpProxy {
    /// `host:port`, for a client instead of the server's own.
    pub address: String,
    shared: Arc<Shared>,
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Starts a proxy on a free port of `host` before `target` (`host:port`). Everything passes at first.
    pub async fn start(host: IpAddr, target: &str) -> Result<TcpProxy> {
        let listener = TcpListener::bind((host, 0)).await.context("opening a port for a proxy")?;
        TcpProxy::before(listener, target, Wire::Plain)
    }

    /// Starts a proxy before the bed's broker. The broker's answers name the proxy instead of the broker, so that
    /// clients stay with it; it counts requests by kind.
    pub async fn kafka(bed: &Bed) -> Result<TcpProxy> {
        TcpProxy::broker(&bed.kafka.bootstrap).await
    }

    /// As [`TcpProxy::kafka`], before the broker of a cluster of one at this address.
    pub async fn broker(bootstrap: &str) -> Result<TcpProxy> {
        let mut proxies = TcpProxy::brokers(bootstrap).await?;
        ensure!(proxies.len() == 1, "{bootstrap} is not one broker");
        proxies.pop().context("there is no broker")
    }

    /// As [`TcpProxy::kafka`], one before each broker of a cluster, in the order of these addresses, which have to be
    /// those of all brokers.
    pub async fn brokers(bootstrap: &str) -> Result<Vec<TcpProxy>> {
        let (mut open, mut advertised) = (Vec::new(), Vec::new());
        for address in bootstrap.split(',') {
            // The name of the host stays, as an answer keeps its length.
            let broker: SocketAddr = address.parse().context("the broker's address is not HOST:PORT")?;
            let listener = TcpListener::bind((broker.ip(), 0)).await.context("opening a port for a proxy")?;
            let port = listener.local_addr().context("opening a port for a proxy")?.port();
            open.push((listener, address));
            advertised.push(Advertised::new(broker, port));
        }
        let before = |(listener, address)| TcpProxy::before(listener, address, Wire::Kafka(advertised.clone()));
        open.into_iter().map(before).collect()
    }

    /// Starts a proxy before the bed's MariaDB; see [`TcpProxy::instead`].
    pub async fn database(bed: &Bed) -> Result<TcpProxy> {
        let target = bed.addresses.at(bed.addresses.ports.mariadb);
        TcpProxy::start(spare_host(bed).into(), &target).await
    }

    fn before(listener: TcpListener, target: &str, wire: Wire) -> Result<TcpProxy> {
        let own = listener.local_addr().context("opening a port for a proxy")?;
        let shared = Arc::new(Shared {
            conduct: watch::Sender::new(Conduct::default()),
            wire,
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            target: target.to_owned(),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            limits: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let (says, listening) = watch::channel(true);
        let task = tokio::spawn(accept(listener, own, Arc::clone(&shared), says));
        Ok(TcpProxy { address: own.to_string(), shared, listening, task })
    }

    /// A text, such as a database's address, that names the proxy instead of the server.
    pub fn instead(&self, address: &str) -> String {
        address.replace(&self.shared.target, &self.address)
    }

    /// Bytes arrive that much later, in each direction; the order stays.
    pub fn delay(&self, to_server: Duration, to_client: Duration) {
        self.shared.conduct.send_modify(|conduct| (conduct.to_server, conduct.to_client) = (to_server, to_client));
    }

    /// Half-open: connections stay and new ones are accepted, but nothing more is read or forwarded that way.
    pub fn hold(&self, direction: Direction) {
        self.shared.conduct.send_modify(|conduct| conduct.held = Some(direction));
    }

    /// Every connection, also a new one, is reset when so many bytes have passed that way from now on. 0 is at once.
    pub fn reset_after(&self, direction: Direction, bytes: u64) {
        let number = self.shared.limits.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.conduct.send_modify(|conduct| conduct.limit = Some(Limit { direction, bytes, number }));
    }

    /// From now on, until [`TcpProxy::heal`], some requests to Kafka meet this fault; one fault at a time.
    pub fn spoil(&self, fault: KafkaFault) {
        self.shared.conduct.send_modify(|conduct| conduct.fault = Some(fault));
    }

    /// Resets every connection and closes the port; returns when it is closed. Errors when it stays open.
    pub async fn refuse(&self) -> Result<()> {
        self.shared.conduct.send_modify(|conduct| conduct.refuse = true);
        self.is_listening(false).await
    }

    /// Everything passes again; returns when the port is open. What was held is delivered. Errors when somebody
    /// else has taken the port.
    pub async fn heal(&self) -> Result<()> {
        self.shared.conduct.send_replace(Conduct::default());
        self.is_listening(true).await
    }

    async fn is_listening(&self, wanted: bool) -> Result<()> {
        let mut listening = self.listening.clone();
        let reached = tokio::time::timeout(SWITCH, listening.wait_for(|now| *now == wanted)).await;
        reached.with_context(|| format!("{} did not change within {} s", self.address, SWITCH.as_secs()))??;
        Ok(())
    }

    /// What has passed so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Counts {
            connections: read(&shared.connections),
            open: read(&shared.open),
            to_server: read(&shared.to_server),
            to_client: read(&shared.to_client),
        }
    }

    /// Kafka requests so far by the number of their kind (`ApiKey`); empty before anything else.
    pub fn requests(&self) -> BTreeMap<i16, u64> {
        lock(&self.shared.seen).requests.clone()
    }

    /// Requests so far that ask for more partitions, and not only whether they would be possible.
    pub fn growths(&self) -> u64 {
        lock(&self.shared.seen).growths
    }

    /// For how long Kafka's answers to requests for partitions, validations too, have told clients to wait, together.
    pub fn throttled(&self) -> Duration {
        Duration::from_millis(lock(&self.shared.seen).throttled_ms)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Starts a proxy before Kafka: its address goes into `spec.kafka.bootstrapServers`.
    pub async fn kafka_proxy(&self) -> Result<TcpProxy> {
        TcpProxy::kafka(&self.bed).await
    }

    /// Starts a proxy before MariaDB: [`TcpProxy::instead`] of a schema's address goes into `database.url`.
    pub async fn database_proxy(&self) -> Result<TcpProxy> {
        TcpProxy::database(&self.bed).await
    }
}

async fn accept(listener: TcpListener, own: SocketAddr, shared: Arc<Shared>, says: watch::Sender<bool>) {
    let (mut conduct, mut connections) = (shared.conduct.subscribe(), JoinSet::new());
    let mut listener = Some(listener);
    loop {
        if conduct.borrow_and_update().refuse {
            listener = None;
            // They notice the change themselves; those that do not are ended here, without a goodbye.
            connections.join_all().await;
            connections = JoinSet::new();
            says.send_replace(false);
            drop(conduct.wait_for(|now| !now.refuse).await);
        }
        if listener.is_none() {
            listener = TcpListener::bind(own).await.ok();
        }
        let Some(open) = &listener else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        says.send_if_modified(|now| !std::mem::replace(now, true));
        tokio::select! {
            Ok((client, _)) = open.accept() => drop(connections.spawn(connection(client, Arc::clone(&shared)))),
            Some(_) = connections.join_next() => {}
            _ = conduct.changed() => {}
        }
    }
}

struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    shared.open.fetch_add(1, Ordering::Relaxed);
    let _open = Open(&shared.open);
    let server = tokio::time::timeout(CONNECT, TcpStream::connect(&shared.target)).await;
    let Ok(Ok(mut server)) = server else { return reset(&client) };
    // Small answers shall not wait for each other.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (mut conduct, pending) = (shared.conduct.subscribe(), Pending::default());
    let talked = tokio::select! {
        talked = talk(&mut client, &mut server, (&*shared, &pending)) => talked,
        _ = conduct.wait_for(|now| now.refuse) => Err(Reset),
    };
    if talked.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Makes the end of a connection a reset: what was not delivered is thrown away, and the other side gets an error.
fn reset(stream: &TcpStream) {
    drop(stream.set_zero_linger());
}
