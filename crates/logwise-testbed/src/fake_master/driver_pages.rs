//! The pages of a driver, as far as they tell which executors are busy.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The open pages of a driver: `/api/v1/applications` and the executors below it. Dropped, they close.
pub struct DriverPages {
    /// `host:port`.
    pub address: String,
    task: JoinHandle<()>,
}

impl DriverPages {
    /// On an address of this machine, of the application with this id and name, with running tasks by address of
    /// executor.
    pub async fn start(
        (host, port): (&str, u16),
        (id, name): (&str, &str),
        tasks: &[(&str, u32)],
    ) -> Result<DriverPages> {
        let ip: Ipv4Addr = host.parse().with_context(|| format!("{host} is no address"))?;
        let listener = TcpListener::bind((ip, port)).await.with_context(|| format!("opening {host}:{port}"))?;
        let address = listener.local_addr().context("opening the pages of a driver")?.to_string();
        let apps = json!([{"id": id, "name": name, "attempts": [{"completed": false, "sparkUser": "testbed"}]}]);
        let app = Application { id: id.to_owned(), apps, executors: executors(host, tasks) };
        let task = tokio::spawn(accept(listener, Arc::new(app)));
        Ok(DriverPages { address, task })
    }
}

/// What the pages tell.
struct Application {
    id: String,
    apps: Value,
    executors: Value,
}

impl Drop for DriverPages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As Spark lists them; the driver is one of them and has no task.
fn executors(driver: &str, tasks: &[(&str, u32)]) -> Value {
    let one = |id: &str, host: &str, cores: u32, active: u32| {
        json!({
            "id": id, "hostPort": format!("{host}:40000"), "isActive": true, "totalCores": cores, "maxTasks": cores,
            "activeTasks": active, "failedTasks": 0, "completedTasks": 0, "totalTasks": active,
        })
    };
    let numbered = tasks.iter().enumerate();
    let executors = numbered.map(|(number, (host, active))| one(&number.to_string(), host, (*active).max(1), *active));
    std::iter::once(one("driver", driver, 0, 0)).chain(executors).collect()
}

async fn accept(listener: TcpListener, app: Arc<Application>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let app = Arc::clone(&app);
                let answer = service_fn(move |request| handle(Arc::clone(&app), request));
                let serve = async move {
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
                };
                connections.spawn(serve);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn handle(app: Arc<Application>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let page = page(request.uri().path(), &app);
    let mut response = Response::new(Full::new(Bytes::from(page.clone().unwrap_or_default())));
    if page.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn page(path: &str, app: &Application) -> Option<String> {
    match path.trim_end_matches('/').strip_prefix("/api/v1/applications")? {
        "" => Some(app.apps.to_string()),
        rest => (rest == format!("/{}/executors", app.id)).then(|| app.executors.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn busy_executors_are_told_beside_the_driver() {
        let tasks = [("127.0.9.4", 3), ("127.0.9.5", 0)];
        let pages = DriverPages::start(("127.0.0.1", 0), ("app-7", "stream"), &tasks).await.unwrap();
        let ask = async |path: &str| -> Result<Value> {
            let url = format!("http://{}/api/v1/applications{path}", pages.address);
            Ok(crate::http::client()?.get(url).send().await?.error_for_status()?.json().await?)
        };
        let apps = ask("").await.unwrap();
        assert_eq!((&apps[0]["id"], &apps[0]["name"]), (&json!("app-7"), &json!("stream")));
        let executors = ask(&format!("/{}/executors", apps[0]["id"].as_str().unwrap())).await.unwrap();
        let read: Vec<_> = executors.as_array().unwrap().iter().map(|one| (&one["id"], &one["activeTasks"])).collect();
        let number = |id: &'static str, tasks: u32| (json!(id), json!(tasks));
        let wanted = [number("driver", 0), number("0", 3), number("1", 0)];
        assert_eq!(read, wanted.iter().map(|(id, tasks)| (id, tasks)).collect::<Vec<_>>());
        assert!(ask("/app-1/executors").await.is_err());
    }
}
