//! A proxy that speaks just enough of Kafka's framing to count requests and to spoil chosen answers.

use crate::world::World;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const DESCRIBE_CONFIGS: i16 = 32;
pub const CREATE_PARTITIONS: i16 = 37;
/// OffsetCommit, OffsetFetch, FindCoordinator, JoinGroup, Heartbeat, ConsumerGroupHeartbeat: what only groups ask.
pub const OF_GROUPS: [i16; 6] = [8, 9, 10, 11, 12, 68];

/// What happens to the answer of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    Hang,
    /// The connection is cut instead.
    Cut,
}

#[derive(Default)]
struct Shared {
    requests: BTreeMap<i16, u32>,
    /// By request kind: requests of that kind to let pass first, and what happens then.
    faults: HashMap<i16, (u32, Fault)>,
    /// Topics with one partition for which a kind of request shall fail: as its answer names them, and the error code.
    failing: Vec<(i16, Vec<u8>, i16)>,
}

/// A broker as seen through the proxy: its metadata names the proxy instead of itself.
#[derive(Clone)]
pub struct Proxy {
    pub address: String,
    shared: Arc<Mutex<Shared>>,
    broker: (String, u16),
    port: u16,
}

impl Proxy {
    pub async fn start(world: &World) -> Self {
        let broker = {
            let metadata = world.admin.inner().fetch_metadata(None, crate::world::PATIENCE).unwrap();
            let broker = &metadata.brokers()[0];
            assert_eq!(metadata.brokers().len(), 1, "the proxy stands before one broker");
            (broker.host().to_owned(), u16::try_from(broker.port()).unwrap())
        };
        let listener = TcpListener::bind((broker.0.as_str(), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { address: format!("{}:{port}", broker.0), shared: Arc::default(), broker, port };
        tokio::spawn(proxy.clone().accept(listener));
        proxy
    }

    /// Requests of a kind since the start.
    pub fn requests(&self, kind: i16) -> u32 {
        self.shared.lock().unwrap().requests.get(&kind).copied().unwrap_or(0)
    }

    /// From the request of `kind` after the next `pass` ones on, answers meet `fault`.
    pub fn spoil(&self, kind: i16, pass: u32, fault: Fault) {
        self.shared.lock().unwrap().faults.insert(kind, (pass, fault));
    }

    pub fn heal(&self) {
        self.shared.lock().unwrap().faults.clear();
    }

    /// ListOffsets answers `code` for the only partition of `topic`.
    pub fn fail_offsets_of(&self, topic: &str, code: i16) {
        self.shared.lock().unwrap().failing.push((LIST_OFFSETS, topic.as_bytes().to_vec(), code));
    }

    /// Fetch answers `code` for the only partition of the topic with this `id`.
    pub fn fail_fetches_of(&self, id: Vec<u8>, code: i16) {
        self.shared.lock().unwrap().failing.push((FETCH, id, code));
    }

    async fn accept(self, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            let proxy = self.clone();
            tokio::spawn(async move {
                let Ok(broker) = TcpStream::connect((proxy.broker.0.as_str(), proxy.broker.1)).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_broker, to_broker) = broker.into_split();
                proxy.talk(from_client, to_broker, from_broker, to_client).await;
            });
        }
    }

    /// One request at a time: the broker answers a connection's requests in their order anyway.
    async fn talk(
        &self,
        mut from_client: OwnedReadHalf,
        mut to_broker: OwnedWriteHalf,
        mut from_broker: OwnedReadHalf,
        mut to_client: OwnedWriteHalf,
    ) {
        while let Some(request) = frame(&mut from_client).await {
            let kind = i16::from_be_bytes([request[0], request[1]]);
            let fault = self.count(kind);
            if write(&mut to_broker, &request).await.is_none() {
                return;
            }
            let Some(mut answer) = frame(&mut from_broker).await else { return };
            match fault {
                Some(Fault::Hang) => std::future::pending().await,
                Some(Fault::Cut) => return,
                None => {}
            }
            if kind == METADATA {
                self.name_the_proxy(&mut answer);
            } else {
                self.spoil_topics(kind, &mut answer);
            }
            if write(&mut to_client, &answer).await.is_none() {
                return;
            }
        }
    }

    fn count(&self, kind: i16) -> Option<Fault> {
        let mut shared = self.shared.lock().unwrap();
        *shared.requests.entry(kind).or_default() += 1;
        let (pass, fault) = shared.faults.get_mut(&kind)?;
        if *pass == 0 {
            return Some(*fault);
        }
        *pass -= 1;
        None
    }

    /// Host and port follow each other: the port is replaced where the broker names itself.
    fn name_the_proxy(&self, answer: &mut [u8]) {
        let (host, port) = (self.broker.0.as_bytes(), u32::from(self.broker.1).to_be_bytes());
        let named: Vec<u8> = host.iter().chain(&port).copied().collect();
        let found: Vec<usize> =
            answer.windows(named.len()).enumerate().filter(|(_, w)| *w == named).map(|(at, _)| at).collect();
        for at in found {
            answer[at + host.len()..at + named.len()].copy_from_slice(&u32::from(self.port).to_be_bytes());
        }
    }

    /// After a topic's name or id come the length of its partition list (one byte), the partition (four) and the code
    /// (two).
    fn spoil_topics(&self, kind: i16, answer: &mut [u8]) {
        for (_, topic, code) in self.shared.lock().unwrap().failing.iter().filter(|(of, ..)| *of == kind) {
            let at = answer.windows(topic.len()).position(|window| window == topic);
            let Some(at) = at.map(|at| at + topic.len()) else { continue };
            assert_eq!(answer[at..at + 5], [2, 0, 0, 0, 0], "one partition, number 0");
            answer[at + 5..at + 7].copy_from_slice(&code.to_be_bytes());
        }
    }
}

async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?];
    from.read_exact(&mut body).await.ok()?;
    Some(body)
}

async fn write(to: &mut OwnedWriteHalf, body: &[u8]) -> Option<()> {
    to.write_u32(u32::try_from(body.len()).ok()?).await.ok()?;
    to.write_all(body).await.ok()
}
