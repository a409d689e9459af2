//! How one request passes through an HTTP proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, RETRY_AFTER, TRANSFER_ENCODING,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::http::Shared;
use super::rules::{Action, Facts, RuleId};
use super::watching::Watch;

/// Longest time for what is no watch.
const DEADLINE: Duration = Duration::from_secs(90);
/// They speak of one connection, not of the message.
const OF_THE_CONNECTION: [HeaderName; 4] = [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, HOST];

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// The connection is closed without an answer.
type Answer = Result<Response<Body>, io::Error>;

/// Serves connections to `server` until it is aborted; then all of them end.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, server: Arc<str>) {
    let door = Door { shared, server };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(serve(stream, door.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One port of a proxy, and the server behind it.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    server: Arc<str>,
}

async fn serve(stream: TcpStream, door: Door) {
    let answer = service_fn(move |request| handle(door.clone(), request));
    // A dropped answer ends the connection with an error, as it should.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
}

async fn handle(door: Door, request: hyper::Request<Incoming>) -> Answer {
    let shared = &door.shared;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let facts = Facts::of(request.method().as_str(), path);
    let seq = shared.enter(&facts);
    let (hit, last) = shared.rules.begin(&facts);
    if let Some((_, action)) = &hit {
        shared.note(seq, |entry| entry.faults.push(action.clone()));
    }
    let answer = match hit.as_ref().map(|(_, action)| action) {
        Some(Action::DropBefore | Action::Cut) => return Err(closed("the request was dropped")),
        Some(Action::Answer { status, reason, retry_after }) => Ok(refusal(*status, reason, *retry_after)),
        Some(Action::Reply(text)) => Ok(json(StatusCode::OK, text.clone())),
        Some(Action::Gone) => Ok(refusal(410, "Expired", None)),
        _ => pass(&door, request, (seq, facts), hit, last).await,
    }?;
    shared.note(seq, |entry| entry.status = Some(answer.status().as_u16()));
    Ok(answer)
}

async fn pass(
    door: &Door,
    request: hyper::Request<Incoming>,
    (seq, facts): (u64, Facts),
    hit: Option<(RuleId, Action)>,
    last: RuleId,
) -> Answer {
    let sent = send(door.clone(), request, facts.watch, hit.clone(), seq);
    // A write that has arrived is carried out, also when its sender has given up.
    let answer = if facts.mutating { tokio::spawn(sent).await.map_err(closed)? } else { sent.await }?;
    let (status, headers) = (answer.status(), kept(answer.headers()));
    match hit {
        Some((_, Action::DropAnswer)) => {
            drop(answer.bytes().await);
            Err(closed("the answer was dropped"))
        }
        Some((_, Action::CutBody(length))) => {
            let body = answer.bytes().await.map_err(closed)?;
            let mut response = respond(status, headers, cut(body.slice(..length.min(body.len()))));
            response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
            Ok(response)
        }
        hit if facts.watch && status.is_success() => {
            let watch = Watch::begin(Arc::clone(&door.shared), answer, (seq, facts), hit, last);
            Ok(respond(status, headers, watch.body()))
        }
        _ => Ok(respond(status, headers, whole(answer.bytes().await.map_err(closed)?))),
    }
}

async fn send(
    door: Door,
    request: hyper::Request<Incoming>,
    watch: bool,
    hit: Option<(RuleId, Action)>,
    seq: u64,
) -> io::Result<reqwest::Response> {
    let Door { shared, server } = door;
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(closed)?.to_bytes();
    match hit {
        Some((_, Action::Delay(time))) => tokio::time::sleep(time).await,
        Some((id, Action::Freeze)) => shared.rules.gone(id).await,
        _ => {}
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = shared.client.request(parts.method, format!("{server}{path}"));
    onward = onward.headers(kept(&parts.headers)).body(body);
    if !watch {
        onward = onward.timeout(DEADLINE);
    }
    // No answer of the server is passed on as what it is: a closed connection.
    let answer = onward.send().await.map_err(closed)?;
    shared.note(seq, |entry| entry.done = Some(answer.status().as_u16()));
    Ok(answer)
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in OF_THE_CONNECTION {
        kept.remove(name);
    }
    kept
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn refusal(status: u16, reason: &str, retry_after: Option<u32>) -> Response<Body> {
    let mut text = super::watching::status(status, reason);
    if let Some(seconds) = retry_after {
        // The API server says it in both places.
        text["details"] = serde_json::json!({"retryAfterSeconds": seconds});
    }
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, text.to_string());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = respond(status, HeaderMap::new(), whole(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// So much of a body, then the end of the connection.
fn cut(part: Bytes) -> Body {
    let end = async {
        // A body that waits is a body whose first part is sent.
        tokio::task::yield_now().await;
        Err(closed("the body was cut"))
    };
    let pieces = stream::iter([Ok(Frame::data(part))]).chain(stream::once(end));
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}

pub(super) fn closed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
