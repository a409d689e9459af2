//! A TCP proxy in front of the server of the bed, which other tests use too: it fails for one test only.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As if it were not there.
    Pass,
    /// Connections end at once.
    Cut,
    /// Connections are taken, nothing moves.
    Stall,
    /// The server receives everything, its answers are lost.
    LoseAnswers,
}

pub struct Proxy {
    pub address: SocketAddr,
    pub mode: watch::Sender<Mode>,
}

impl Proxy {
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), upstream.into_split());
                tokio::spawn(forward(from_client, to_server, modes.clone(), &[Mode::Pass, Mode::LoseAnswers]));
                tokio::spawn(forward(from_server, to_client, modes.clone(), &[Mode::Pass]));
            }
        });
        Self { address, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    moving: &'static [Mode],
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = modes.wait_for(|mode| *mode == Mode::Cut) => return,
        };
        let Ok(count @ 1..) = read else { return };
        let Ok(mode) = modes.wait_for(|mode| *mode == Mode::Cut || moving.contains(mode)).await.map(|mode| *mode)
        else {
            return;
        };
        if mode == Mode::Cut || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
