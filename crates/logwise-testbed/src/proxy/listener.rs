//! A port where nobody should connect: it counts who does.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{lock, spare_host};
use crate::world::World;

/// So much of what was received is kept for a failed test's message.
const KEPT: usize = 512;

#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    bytes: AtomicU64,
    first: Mutex<Vec<u8>>,
}

/// A loopback port that accepts, reads and counts. Dropped, it closes.
pub struct CountingListener {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl CountingListener {
    /// On a free port of `host`. With `answer` every first bytes of a connection are answered with this text and the
    /// connection is closed; without, nobody is ever answered.
    pub async fn start(host: IpAddr, answer: Option<&str>) -> Result<CountingListener> {
        let listener = TcpListener::bind((host, 0)).await.context("opening a port that counts")?;
        let address = listener.local_addr().context("opening a port that counts")?;
        let (seen, answer) = (Arc::new(Seen::default()), answer.map(str::to_owned));
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), answer));
        Ok(CountingListener { address, seen, task })
    }

    /// Connections so far. One that was made counts before its maker knows of it or at most a moment later.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Bytes read so far, of all connections.
    pub fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }

    /// Errors when anybody has connected; the text holds the first bytes that came.
    pub fn untouched(&self) -> Result<()> {
        let first = String::from_utf8_lossy(&lock(&self.seen.first)).into_owned();
        let (count, address) = (self.connections(), self.address);
        ensure!(count == 0, "{count} connections to {address}, which nobody should call; first words: {first:?}");
        Ok(())
    }
}

impl Drop for CountingListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// A port of the bed that accepts everybody, answers nobody and counts; see [`CountingListener`].
    pub async fn counting_listener(&self) -> Result<CountingListener> {
        CountingListener::start(spare_host(&self.bed).into(), None).await
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, answer: Option<String>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                seen.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(listen(stream, Arc::clone(&seen), answer.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn listen(mut stream: TcpStream, seen: Arc<Seen>, answer: Option<String>) {
    let mut chunk = vec![0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        seen.bytes.fetch_add(u64::try_from(read).unwrap_or(u64::MAX), Ordering::Relaxed);
        {
            let mut first = lock(&seen.first);
            let room = KEPT.saturating_sub(first.len()).min(read);
            first.extend_from_slice(&chunk[..room]);
        }
        if let Some(answer) = &answer {
            drop(stream.write_all(answer.as_bytes()).await);
            return;
        }
    }
}
