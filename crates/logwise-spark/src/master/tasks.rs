//! What runs on the workers now: tasks by the driver's own pages, cores by the worker's.

use super::ask::{Answered, get};
use super::error::SparkError;
use super::rest::is_id;
use super::share::Masters;
use logwise_plan::Known;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Id under which a driver shows itself among its executors.
const DRIVER: &str = "driver";

impl Masters {
    /// Tasks that run on each host, by the pages of the driver on `host`: the sum over the executors of the application
    /// there. `host` must be the address of a member of the pool, not one that a page names.
    pub async fn tasks(&self, host: &str, ui_port: u16, app: &str) -> Known<BTreeMap<String, i32>> {
        if !is_id(app) {
            return Known::Unknown("the id of the application has signs that no id has".to_owned());
        }
        let (address, path) = (format!("{host}:{ui_port}"), format!("/api/v1/applications/{app}/executors"));
        let executors: Result<Vec<Executor>, SparkError> =
            get(&self.http, &address, &path, |answered: &Answered| answered.json(&address)).await;
        executors.map(|executors| by_host(&executors)).map_err(|error| error.to_string()).into()
    }

    /// Cores that are taken on the worker whose own page is at `host:uiPort`. `host` must be the address of a member of
    /// the pool, not one that a page names.
    pub async fn worker_cores(&self, host: &str, ui_port: u16) -> Known<i32> {
        let address = format!("{host}:{ui_port}");
        let worker: Result<Worker, SparkError> =
            get(&self.http, &address, "/json/", |answered: &Answered| answered.json(&address)).await;
        worker.map(|worker| worker.coresused).map_err(|error| error.to_string()).into()
    }
}

fn by_host(executors: &[Executor]) -> BTreeMap<String, i32> {
    let mut hosts: BTreeMap<String, i32> = BTreeMap::new();
    for executor in executors.iter().filter(|executor| executor.is_active && executor.id != DRIVER) {
        let host = executor.host_port.rsplit_once(':').map_or(executor.host_port.as_str(), |(host, _)| host);
        let tasks = hosts.entry(host.to_owned()).or_default();
        *tasks = tasks.saturating_add(executor.active_tasks);
    }
    hosts
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Executor {
    id: String,
    host_port: String,
    is_active: bool,
    active_tasks: i32,
}

#[derive(Deserialize)]
struct Worker {
    coresused: i32,
}

#[cfg(test)]
mod tests {
    use super::super::server::{Server, html, json};
    use super::*;
    use crate::master::http_client;
    use serde_json::{Value, json};

    const HOST: &str = "127.0.0.1";

    fn masters() -> Masters {
        Masters::new(http_client().unwrap())
    }

    fn executor(id: &str, host_port: &str, is_active: bool, tasks: i32) -> Value {
        json!({"id": id, "hostPort": host_port, "isActive": is_active, "activeTasks": tasks, "totalCores": 2})
    }

    #[tokio::test]
    async fn tasks_are_summed_by_host_without_the_driver_and_the_dead() {
        let executors = json!([
            executor("driver", "10.0.0.4:41000", true, 9),
            executor("0", "10.0.0.5:41001", true, 2),
            executor("1", "10.0.0.5:41002", true, 1),
            executor("2", "10.0.0.6:41003", true, 0),
            executor("3", "10.0.0.7:41004", false, 4),
        ]);
        let server = Server::new(move |_| json(200, &executors)).await;
        let found = masters().tasks(HOST, server.port(), "app-1").await;
        let expected = BTreeMap::from([("10.0.0.5".to_owned(), 3), ("10.0.0.6".to_owned(), 0)]);
        assert_eq!(found, Known::Known(expected));
        assert_eq!(server.requests()[0].line, "GET /api/v1/applications/app-1/executors HTTP/1.1");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_unknown_and_no_other_path_is_asked() {
        let server = Server::new(|request| match request.before {
            0 => html(),
            1 => json(302, &json!({})),
            _ => json(200, &json!([{"id": "0"}])),
        })
        .await;
        for part in ["HTML", "HTTP 302", "another shape"] {
            let found = masters().tasks(HOST, server.port(), "app-1").await;
            assert!(matches!(&found, Known::Unknown(why) if why.contains(part)), "{part}: {found:?}");
        }
        assert!(masters().tasks(HOST, server.port(), "../app").await.is_unknown());
        assert_eq!(server.requests().len(), 3);
    }

    #[tokio::test]
    async fn a_workers_own_page_tells_the_cores_that_are_taken() {
        let server = Server::new(|request| match request.before {
            0 => json(200, &json!({"id": "w", "cores": 4, "coresused": 3, "executors": []})),
            _ => json(200, &json!({})),
        })
        .await;
        assert_eq!(masters().worker_cores(HOST, server.port()).await, Known::Known(3));
        assert!(masters().worker_cores(HOST, server.port()).await.is_unknown());
    }
}
