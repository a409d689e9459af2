//! How the bytes of one connection pass through the TCP proxy.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::frames::Pending;
use super::lock;
use super::tcp::{Conduct, Direction, Limit, Shared};

const CHUNK: usize = 16 * 1024;
/// Chunks that are on their way at once.
const QUEUE: usize = 64;

/// The connection is to be reset.
#[derive(Debug)]
pub(super) struct Reset;

/// Forwards until both sides have said their last word. Errors when the connection shall be reset, or broke.
pub(super) async fn talk(
    client: &mut TcpStream,
    server: &mut TcpStream,
    (shared, pending): (&Shared, &Pending),
) -> Result<(), Reset> {
    let used = Mutex::new((0, 0));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let lane = |direction| Lane { direction, shared, pending, used: &used };
    let there = pass(from_client, to_server, lane(Direction::ToServer));
    let back = pass(from_server, to_client, lane(Direction::ToClient));
    tokio::try_join!(there, back).map(drop)
}

#[derive(Clone, Copy)]
struct Lane<'a> {
    direction: Direction,
    shared: &'a Shared,
    pending: &'a Pending,
    /// The number of a limit, and the bytes that this connection has used of it.
    used: &'a Mutex<(u64, u64)>,
}

impl Lane<'_> {
    /// Returns when bytes may go this way.
    async fn clear(&self, conduct: &mut watch::Receiver<Conduct>) -> Result<(), Reset> {
        loop {
            let now = conduct.borrow_and_update().clone();
            if now.refuse || now.limit.is_some_and(|limit| self.left(limit) == 0) {
                return Err(Reset);
            }
            if now.held.is_none_or(|held| !held.covers(self.direction)) {
                return Ok(());
            }
            conduct.changed().await.map_err(|_| Reset)?;
        }
    }

    fn left(&self, limit: Limit) -> u64 {
        let mut used = lock(self.used);
        if used.0 != limit.number {
            *used = (limit.number, 0);
        }
        limit.bytes.saturating_sub(used.1)
    }

    /// How many of these bytes may pass; counts them.
    fn take(&self, length: usize) -> usize {
        let limit = self.shared.conduct.borrow().limit.filter(|limit| limit.direction.covers(self.direction));
        let Some(limit) = limit else { return length };
        let part = length.min(usize::try_from(self.left(limit)).unwrap_or(usize::MAX));
        lock(self.used).1 += u64::try_from(part).unwrap_or(u64::MAX);
        part
    }

    fn latency(&self) -> Duration {
        let conduct = self.shared.conduct.borrow();
        if self.direction == Direction::ToServer { conduct.to_server } else { conduct.to_client }
    }
}

/// Bytes wait in a queue, so that latency makes a connection late and not narrow.
async fn pass(from: ReadHalf<'_>, to: WriteHalf<'_>, lane: Lane<'_>) -> Result<(), Reset> {
    let (queue, arriving) = mpsc::channel(QUEUE);
    tokio::try_join!(read(from, queue, lane), write(to, arriving, lane)).map(drop)
}

async fn read(mut from: ReadHalf<'_>, queue: mpsc::Sender<(Instant, Vec<u8>)>, lane: Lane<'_>) -> Result<(), Reset> {
    let (mut conduct, mut chunk, mut rest) = (lane.shared.conduct.subscribe(), vec![0; CHUNK], Vec::new());
    loop {
        lane.clear(&mut conduct).await?;
        let read = tokio::select! {
            biased;
            _ = conduct.changed() => continue,
            read = from.read(&mut chunk) => read.map_err(|_| Reset)?,
        };
        rest.extend_from_slice(&chunk[..read]);
        let ready = if read == 0 {
            std::mem::take(&mut rest)
        } else {
            lane.shared.take(&mut rest, lane.direction, lane.pending)
        };
        if !ready.is_empty() {
            queue.send((Instant::now() + lane.latency(), ready)).await.map_err(|_| Reset)?;
        }
        if read == 0 {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut arriving: mpsc::Receiver<(Instant, Vec<u8>)>,
    lane: Lane<'_>,
) -> Result<(), Reset> {
    let mut conduct = lane.shared.conduct.subscribe();
    while let Some((due, bytes)) = arriving.recv().await {
        tokio::time::sleep_until(due).await;
        lane.clear(&mut conduct).await?;
        let part = lane.take(bytes.len());
        to.write_all(&bytes[..part]).await.map_err(|_| Reset)?;
        let counter =
            if lane.direction == Direction::ToServer { &lane.shared.to_server } else { &lane.shared.to_client };
        counter.fetch_add(u64::try_from(part).unwrap_or(u64::MAX), Ordering::Relaxed);
        lane.clear(&mut conduct).await?;
        if part < bytes.len() {
            return Err(Reset);
        }
    }
    // The other side may have gone already.
    drop(to.shutdown().await);
    Ok(())
}
