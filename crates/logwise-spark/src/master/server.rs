//! For tests: a listener that keeps what it is asked and answers as it is told.

use logwise_api::validate::MasterAddress;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing panics while it holds the lock.
const WHOLE: &str = "a list that is whole";

/// One request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method, path and query.
    pub line: String,
    /// Headers as they came.
    pub head: String,
    /// The body.
    pub body: String,
    /// How many came before it.
    pub before: usize,
}

/// What the listener does about a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    body: String,
    after: Duration,
    /// The connection is closed instead.
    lost: bool,
}

impl Answer {
    /// The same after so many milliseconds.
    pub fn after(self, milliseconds: u64) -> Self {
        Self { after: Duration::from_millis(milliseconds), ..self }
    }

    /// The request is taken, and the connection closed without an answer.
    pub fn lost(self) -> Self {
        Self { lost: true, ..self }
    }
}

pub(crate) fn json(status: u16, body: &Value) -> Answer {
    Answer { status, body: body.to_string(), after: Duration::ZERO, lost: false }
}

pub(crate) fn html() -> Answer {
    Answer { body: "<!DOCTYPE html><html></html>".to_owned(), ..json(200, &Value::Null) }
}

/// The page of a master in this state.
pub(crate) fn page(status: &str, workers: &Value, drivers: &Value) -> Value {
    json!({
        "url": "spark://m:7077",
        "status": status,
        "workers": workers,
        "activeapps": [],
        "activedrivers": drivers,
        "completeddrivers": [],
    })
}

/// The listener; it ends with the test's runtime.
pub(crate) struct Server {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Listens on loopback.
    pub async fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of loopback");
        let server = Self { at: listener.local_addr().expect("an address"), seen: Arc::default() };
        let (seen, answer) = (server.seen.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), answer.clone()));
            }
        });
        server
    }

    /// The listener as a master whose page and REST server it is.
    pub fn address(&self) -> MasterAddress {
        let port = self.at.port();
        MasterAddress { host: self.at.ip().to_string(), port: 7077, ui_port: port, rest_port: port }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.at.port()
    }

    /// Requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect(WHOLE).clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Request>>>, answer: Arc<impl Fn(&Request) -> Answer>) {
    let mut bytes = Vec::new();
    let mut request = loop {
        if let Some(request) = whole(&bytes) {
            break request;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
            return;
        }
    };
    {
        let mut seen = seen.lock().expect(WHOLE);
        request.before = seen.len();
        seen.push(request.clone());
    }
    let Answer { status, body, after, lost } = answer(&request);
    tokio::time::sleep(after).await;
    if lost {
        return;
    }
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    // The client may have gone.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(bytes: &[u8]) -> Option<Request> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, head) = head.split_once("\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("a length in digits"));
    (body.len() >= length).then(|| Request { line: line.to_owned(), head, body: body.to_owned(), before: 0 })
}
