//! How the fake master is asked and how it answers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::cluster::{Cluster, Machine, Status};
use super::ledger::{Call, Kind};
use super::page;
use super::rest;
use super::script::{Moment, Mood};
use super::source::Machines;
use crate::bed;
use crate::proxy::lock;

const JSON: &str = "application/json";
const HTML: &str = "text/html;charset=utf-8";

/// Which of the two servers is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Pages,
    Submissions,
}

/// What a test has spoiled.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    pub mood: Mood,
    /// Answers that are not given.
    pub drops: BTreeMap<Kind, u32>,
    /// The status of every decommission, of which none is carried out.
    pub refused_cordons: Option<u16>,
    /// Places in the page, and what stands there instead.
    pub spoiled: Vec<(String, Value)>,
    /// What stands there instead of the whole page.
    pub page: Option<String>,
}

/// What changes while the master runs.
pub(super) struct Inner {
    pub cluster: Cluster,
    pub calls: Vec<Call>,
    pub faults: Faults,
    /// The machines that the test has named.
    pub named: Vec<Machine>,
    /// Every machine that ever was, by its id: its address.
    pub seen: BTreeMap<String, String>,
}

/// What the tasks of a master share.
pub(super) struct Shared {
    pub address: bed::Spark,
    pub version: &'static str,
    pub machines: Machines,
    pub inner: Mutex<Inner>,
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Shared {
    /// Lets happen what has fallen due, with the machines that there are. Workers stay as they are when nobody tells.
    pub async fn refresh(&self) {
        let machines = self.machines.now().await;
        let (mut inner, now) = (lock(&self.inner), now());
        let machines = match machines {
            Ok(Some(machines)) => Some(machines),
            Ok(None) => Some(inner.named.clone()),
            Err(_) => None,
        };
        inner.cluster.advance(now);
        if let Some(machines) = machines {
            inner.seen.extend(machines.iter().map(|one| (one.id.clone(), one.host.clone())));
            inner.cluster.follow(&machines, now);
            inner.cluster.advance(now);
        }
    }

    /// The page as it is, without what a test has spoiled.
    pub fn page(&self) -> Value {
        page::state(&lock(&self.inner).cluster, &self.address)
    }
}

/// A request, read to its end.
struct Asked {
    door: Door,
    method: String,
    path: String,
    query: String,
    body: String,
    form: bool,
}

impl Asked {
    async fn read(door: Door, request: Request<Incoming>) -> io::Result<Asked> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(closed)?.to_bytes();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        Ok(Asked {
            door,
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
            form: kind.starts_with("application/x-www-form-urlencoded"),
        })
    }

    /// What it is about, whether or not it is answered.
    fn kind(&self) -> Kind {
        match (self.method.as_str(), self.path.as_str()) {
            ("GET", "/json/") => Kind::Page,
            ("POST", "/workers/kill/") => Kind::Cordon,
            ("POST", "/v1/submissions/create") => Kind::Create,
            ("GET", path) if path.starts_with("/v1/submissions/status/") => Kind::Status,
            ("POST", path) if path.starts_with("/v1/submissions/kill/") => Kind::Kill,
            _ => Kind::Other,
        }
    }

    fn line(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{} {}{mark}{}", self.method, self.path, self.query)
    }
}

/// What is answered.
struct Reply {
    kind: Kind,
    status: u16,
    content_type: &'static str,
    body: String,
    about: String,
    effect: bool,
}

impl Reply {
    fn html(kind: Kind, status: u16) -> Reply {
        let body = format!("<!DOCTYPE html><html><body><h1>{status}</h1></body></html>");
        Reply { kind, status, content_type: HTML, body, about: String::new(), effect: false }
    }
}

/// Serves connections until it is aborted; then all of them end.
pub(super) async fn accept(listener: TcpListener, door: Door, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(serve(stream, door, Arc::clone(&shared)))),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, door: Door, shared: Arc<Shared>) {
    let answer = service_fn(move |request| handle(Arc::clone(&shared), door, request));
    // A dropped answer ends the connection with an error, as it should.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
}

async fn handle(shared: Arc<Shared>, door: Door, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let asked = Asked::read(door, request).await?;
    let mood = lock(&shared.inner).faults.mood;
    if matches!(mood, Mood::Hang | Mood::Cut) {
        let silence = Reply::html(asked.kind(), 0);
        file(&mut lock(&shared.inner), &asked, &silence, None);
        if mood == Mood::Hang {
            std::future::pending::<()>().await;
        }
        return Err(closed("the connection was cut"));
    }
    shared.refresh().await;
    let reply = {
        let mut inner = lock(&shared.inner);
        let reply = if mood == Mood::Html { Reply::html(asked.kind(), 200) } else { shared.answer(&mut inner, &asked) };
        let dropped = match inner.faults.drops.get_mut(&reply.kind) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        file(&mut inner, &asked, &reply, (!dropped).then_some(reply.status));
        if dropped {
            return Err(closed("the answer was dropped"));
        }
        reply
    };
    Ok(respond(&asked, reply))
}

fn respond(asked: &Asked, reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if reply.status == 302
        && let Ok(place) = HeaderValue::from_str(&format!("{}/", asked.path))
    {
        headers.insert(LOCATION, place);
    }
    response
}

fn file(inner: &mut Inner, asked: &Asked, reply: &Reply, status: Option<u16>) {
    let seq = u64::try_from(inner.calls.len()).unwrap_or(u64::MAX);
    let body = match reply.kind {
        Kind::Create => serde_json::from_str(&asked.body).unwrap_or_default(),
        _ => Value::Null,
    };
    let (kind, effect, about) = (reply.kind, reply.effect, reply.about.clone());
    inner.calls.push(Call { seq, time: now(), kind, line: asked.line(), about, status, effect, body });
}

impl Shared {
    fn answer(&self, inner: &mut Inner, asked: &Asked) -> Reply {
        if asked.door == Door::Submissions {
            let what = (asked.method.as_str(), asked.path.as_str());
            let outcome = rest::answer(&mut inner.cluster, self.version, what, &asked.body, now());
            let body = if outcome.body.is_null() { String::new() } else { outcome.body.to_string() };
            let rest::Outcome { kind, status, about, effect, .. } = outcome;
            return Reply { kind, status, content_type: JSON, body, about, effect };
        }
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/json/") => self.told(inner),
            ("POST", "/workers/kill/") => cordoned(inner, asked),
            // As a servlet's folder is asked for without its last stroke.
            (_, "/json" | "/workers/kill") => Reply::html(Kind::Other, 302),
            (_, "/workers/kill/" | "/json/") => Reply::html(Kind::Other, 405),
            ("GET", "/") => Reply::html(Kind::Other, 200),
            _ => Reply::html(Kind::Other, 404),
        }
    }

    fn told(&self, inner: &mut Inner) -> Reply {
        let mut page = page::state(&inner.cluster, &self.address);
        for (pointer, value) in &inner.faults.spoiled {
            if let Some(place) = page.pointer_mut(pointer) {
                *place = value.clone();
            }
        }
        let body = inner.faults.page.clone().unwrap_or_else(|| page.to_string());
        inner.cluster.moment(Moment::Page, None, now());
        Reply { kind: Kind::Page, status: 200, content_type: JSON, body, about: String::new(), effect: false }
    }
}

fn cordoned(inner: &mut Inner, asked: &Asked) -> Reply {
    let hosts = page::hosts(&asked.query, if asked.form { &asked.body } else { "" });
    let about = hosts.iter().cloned().collect::<Vec<_>>().join(",");
    if let Some(status) = inner.faults.refused_cordons {
        return Reply { about, ..Reply::html(Kind::Cordon, status) };
    }
    if inner.cluster.status == Status::Standby {
        return Reply { about, ..Reply::html(Kind::Cordon, 404) };
    }
    let (known, fresh) = inner.cluster.cordon(&hosts, now());
    let status = if known > 0 { 200 } else { 404 };
    Reply { about, effect: !fresh.is_empty(), ..Reply::html(Kind::Cordon, status) }
}

fn closed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
