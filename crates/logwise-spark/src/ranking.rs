//! What runs on the workers, before one of them is chosen or ended: tasks by the driver's own pages, else the cores
//! that are taken by the workers' own.

use crate::master::{App, Masters, Page};
use futures::future::{Either, join_all, select};
use logwise_api::LogwiseCluster;
use logwise_plan::Known;
use logwise_plan::workers::{Cluster, MemberState, Pool, Worker, WorkerState};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time that all pages together may take: a worker is looked at several times before it is ended, and where
/// packets get lost each page takes as long as it may.
const LONGEST: Duration = Duration::from_secs(3);

/// Workers whose own pages are asked: those that seem least busy. It takes a request each.
const MOST_ASKED: usize = 16;

/// Port of a driver's web interface, and of a worker's, if the spec names none.
const PORTS: (u16, u16) = (4040, 8081);

/// State of a driver that a worker runs, in the master's words.
const RUNNING: &str = "RUNNING";

/// What the spec says of the application.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    /// Class and name; none: whatever runs alone.
    class: Option<&'a str>,
    name: Option<&'a str>,
    driver_port: u16,
    worker_port: u16,
}

impl<'a> Asked<'a> {
    fn of(cluster: &'a LogwiseCluster) -> Self {
        let spark = cluster.spec.spark.as_ref();
        let driver = spark.and_then(|spark| spark.driver.as_ref());
        let workers = spark.and_then(|spark| spark.workers.as_ref());
        let port = |given: Option<i32>, usual| given.and_then(|port| u16::try_from(port).ok()).unwrap_or(usual);
        Self {
            class: driver.and_then(|driver| driver.main_class.as_deref()),
            name: driver.map(|driver| driver.app_name.as_str()),
            driver_port: port(driver.map(|driver| driver.ui_port), PORTS.0),
            worker_port: port(workers.map(|workers| workers.ui_port), PORTS.1),
        }
    }

    /// The application, if it is certain which one it is.
    fn app<'p>(&self, page: &'p Page) -> Option<&'p App> {
        let mut apps = page.apps.iter().filter(|app| self.name.is_none_or(|name| app.name == name));
        let first = apps.next()?;
        apps.next().is_none().then_some(first)
    }

    /// Address of the member that the application's driver runs on. Not what a page says of it: pages of others could
    /// lead anywhere.
    fn driver<'p>(&self, page: &'p Page, pool: &'p Pool) -> Option<&'p str> {
        let is_ours = |class: &str| self.class.is_none_or(|ours| ours == class);
        let runs = page.all_drivers.iter().filter(|driver| driver.state == RUNNING);
        let mut drivers = runs.filter(|driver| is_ours(&driver.main_class));
        let first = drivers.next()?;
        let worker = first.worker.as_ref().filter(|_| drivers.next().is_none())?;
        let seats = pool.workers_of(&page.cluster);
        let seat = seats.iter().find(|(_, seated)| seated.is_some_and(|seated| seated.id == *worker));
        seat.and_then(|(member, _)| member.address.known()).map(String::as_str)
    }
}

/// What a page says of the cluster, with the cores of this object's application.
pub(crate) fn cluster_of(cluster: &LogwiseCluster, page: &Page) -> Cluster {
    let app_cores = Asked::of(cluster).app(page).map(|app| app.cores);
    Cluster { app_cores, ..page.cluster.clone() }
}

/// The same with what runs on the workers of the pool. `victim` is asked for in any case.
pub(crate) async fn busy(
    cluster: &LogwiseCluster,
    masters: &Masters,
    (page, pool): (&Page, &Pool),
    victim: Option<&str>,
) -> Cluster {
    let (asked, mut found) = (Asked::of(cluster), cluster_of(cluster, page));
    let worker_port = asked.worker_port;
    let ask = least_busy(pool, &found, victim).into_iter().map(|(worker, address)| async move {
        let late = |_| Known::Unknown(format!("no answer within {} s", LONGEST.as_secs()));
        let cores = timeout(LONGEST, masters.worker_cores(&address, worker_port)).await.unwrap_or_else(late);
        (worker, cores)
    });
    // Both at once: the cores are of use where the tasks are not told.
    let (of_driver, of_workers) = (tasks(masters, &asked, (page, pool)), join_all(ask));
    let of_driver = pin!(of_driver);
    let of_workers = pin!(of_workers);
    let (tasks, cores) = match select(of_driver, of_workers).await {
        Either::Left((Some(tasks), _)) => (Some(tasks), Vec::new()),
        Either::Left((None, cores)) => (None, cores.await),
        Either::Right((cores, tasks)) => (tasks.await, cores),
    };
    match tasks {
        Some(tasks) => put_tasks(&mut found.workers, &tasks),
        None => put_cores(&mut found.workers, cores),
    }
    found
}

/// Tasks by host, if it is certain where the driver runs and it tells them in time.
async fn tasks(masters: &Masters, asked: &Asked<'_>, (page, pool): (&Page, &Pool)) -> Option<BTreeMap<String, i32>> {
    let (address, app) = (asked.driver(page, pool)?, asked.app(page)?);
    match timeout(LONGEST, masters.tasks(address, asked.driver_port, &app.id)).await {
        Ok(Known::Known(tasks)) => Some(tasks),
        Ok(Known::Absent | Known::Unknown(_)) | Err(_) => None,
    }
}

/// A worker without an executor has no tasks. One with cores taken that nobody knows by this name may have some.
fn put_tasks(workers: &mut [Worker], tasks: &BTreeMap<String, i32>) {
    for worker in workers {
        match tasks.get(&worker.host) {
            Some(tasks) => worker.tasks = Known::Known(*tasks),
            None if worker.cores_used == 0 => worker.tasks = Known::Known(0),
            None => {}
        }
    }
}

/// Ids of the workers that seem least busy, with their addresses.
fn least_busy(pool: &Pool, cluster: &Cluster, victim: Option<&str>) -> Vec<(String, String)> {
    let takes = |worker: &Worker| matches!(worker.state, WorkerState::Alive | WorkerState::Decommissioned);
    let mut all: Vec<_> = Vec::new();
    for (member, worker) in pool.workers_of(cluster) {
        let (Some(worker), Known::Known(address)) = (worker.filter(|worker| takes(worker)), &member.address) else {
            continue;
        };
        // One that leaves is asked for too: a hook may hold it back until its tasks have ended.
        let is_wanted = victim == Some(member.id.as_str()) || member.state == MemberState::Leaving;
        all.push((!is_wanted, worker.cores_used, &worker.id, address));
    }
    all.sort_unstable();
    let first = all.into_iter().take(MOST_ASKED);
    first.map(|(_, _, worker, address)| (worker.clone(), address.clone())).collect()
}

fn put_cores(workers: &mut [Worker], told: Vec<(String, Known<i32>)>) {
    let told: BTreeMap<String, i32> =
        told.into_iter().filter_map(|(worker, cores)| Some((worker, *cores.known()?))).collect();
    for worker in workers {
        if let Some(cores) = told.get(&worker.id) {
            worker.cores_used = *cores;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::server::{Server, json, page};
    use crate::master::{DriverRow, http_client};
    use jiff::Timestamp;
    use logwise_plan::workers::Member;
    use serde_json::{Value, json};
    use std::time::Instant;

    const HOST: &str = "127.0.0.1";

    fn member(id: &str, address: &str) -> Member {
        Member::in_service(id, address)
    }

    fn pool(members: Vec<Member>) -> Pool {
        Pool::at_rest((0, 9), 2, members)
    }

    fn object(driver: Value, port: u16) -> LogwiseCluster {
        let group = json!({"name": "workers"});
        let workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": group, "uiPort": port});
        let spark = json!({"masters": [{"host": "s"}], "workers": workers, "driver": driver});
        let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"name": "demo"}, "spec": {"spark": spark}});
        serde_json::from_value(object).unwrap()
    }

    fn driver(port: u16) -> Value {
        json!({"mainClass": "X", "appResource": "file:///a.jar", "uiPort": port})
    }

    /// Two workers, the driver on the first, and one application.
    async fn read_page() -> Page {
        let worker =
            |id: &str, host: &str| json!({"id": id, "host": host, "state": "ALIVE", "cores": 2, "coresused": 2});
        let workers = json!([worker("w1", HOST), worker("w2", "127.0.0.2"), worker("w3", "127.0.0.3")]);
        let drivers = json!([{"id": "d", "state": RUNNING, "mainclass": "X", "worker": "w1", "cores": 1}]);
        let mut whole = page("ALIVE", &workers, &drivers);
        whole["activeapps"] = json!([{"id": "app-1", "name": "logwise", "state": RUNNING, "cores": 3}]);
        let server = Server::new(move |_| json(200, &whole)).await;
        let masters = Masters::new(http_client().unwrap());
        Page::clone(&*masters.page(&[server.address()], Instant::now()).await.unwrap())
    }

    #[tokio::test]
    async fn tasks_are_those_that_the_driver_counts_on_the_address_of_its_member() {
        let executors = json!([{"id": "0", "hostPort": "127.0.0.2:1", "isActive": true, "activeTasks": 4}]);
        let server = Server::new(move |_| json(200, &executors)).await;
        let (mut page, pool) = (read_page().await, pool(vec![member("i-1", HOST), member("i-2", "127.0.0.2")]));
        page.cluster.workers[0].cores_used = 0;
        let masters = Masters::new(http_client().unwrap());
        let found = busy(&object(driver(server.port()), 1), &masters, (&page, &pool), None).await;
        let tasks: Vec<_> = found.workers.iter().map(|worker| worker.tasks.known().copied()).collect();
        assert_eq!(tasks, [Some(0), Some(4), None], "the third has cores taken and is not known by its name");
        assert_eq!(found.app_cores, Some(3));
        assert_eq!(server.requests()[0].line, "GET /api/v1/applications/app-1/executors HTTP/1.1");
    }

    #[tokio::test]
    async fn without_the_driver_each_worker_of_the_pool_tells_its_cores() {
        let server = Server::new(|_| json(200, &json!({"coresused": 1}))).await;
        let (page, pool) = (read_page().await, pool(vec![member("i-1", HOST)]));
        let masters = Masters::new(http_client().unwrap());
        // Nothing listens on port 9.
        let found = busy(&object(driver(9), server.port()), &masters, (&page, &pool), None).await;
        let used: Vec<_> = found.workers.iter().map(|worker| worker.cores_used).collect();
        assert_eq!(used, [1, 2, 2], "others are not asked");
        assert!(found.workers.iter().all(|worker| worker.tasks.is_unknown()));
    }

    #[tokio::test]
    async fn pages_that_do_not_answer_hold_nobody_up() {
        let hung = Server::new(|_| json(200, &json!([])).after(30_000)).await;
        let tells = Server::new(|_| json(200, &json!({"coresused": 1}))).await;
        let (page, pool) = (read_page().await, pool(vec![member("i-1", HOST)]));
        let masters = Masters::new(http_client().unwrap());
        for (port, expected) in [(tells.port(), [1, 2, 2]), (hung.port(), [2, 2, 2])] {
            let began = Instant::now();
            let found = busy(&object(driver(hung.port()), port), &masters, (&page, &pool), None).await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(5), "both were asked one after the other: {took:?}");
            let used: Vec<_> = found.workers.iter().map(|worker| worker.cores_used).collect();
            assert_eq!(used, expected);
            assert!(found.workers.iter().all(|worker| worker.tasks.is_unknown()));
        }
    }

    #[tokio::test]
    async fn the_driver_and_the_application_have_to_be_certain() {
        let (page, pool) = (read_page().await, pool(vec![member("i-1", HOST)]));
        let (of, none) = (object(driver(1), 1), object(Value::Null, 1));
        for asked in [Asked::of(&of), Asked::of(&none)] {
            let app = asked.app(&page).map(|app| app.id.as_str());
            assert_eq!((asked.driver(&page, &pool), app), (Some(HOST), Some("app-1")));
        }
        let asked = Asked::of(&of);
        let mut other = page.clone();
        other.apps[0].name = "another".into();
        assert!(asked.app(&other).is_none() && cluster_of(&of, &other).app_cores.is_none());
        let mut twice = page.clone();
        let row = DriverRow { id: "d2".into(), started: Some(Timestamp::UNIX_EPOCH), ..twice.all_drivers[0].clone() };
        twice.all_drivers.push(row);
        assert_eq!(asked.driver(&twice, &pool), None, "which of the two?");
        let elsewhere = pool_without();
        assert_eq!(asked.driver(&page, &elsewhere), None, "its worker is none of the pool's");
        assert_eq!((Asked::of(&none).driver_port, Asked::of(&none).worker_port), (4040, 1));
    }

    fn pool_without() -> Pool {
        pool(vec![member("i-9", "127.0.0.9")])
    }

    #[tokio::test]
    async fn the_victim_is_asked_first_and_no_more_than_a_few_others() {
        let page = read_page().await;
        let mut cluster = page.cluster.clone();
        let template = cluster.workers[0].clone();
        cluster.workers = (0..40)
            .map(|i| Worker { id: format!("w{i:02}"), host: format!("10.0.0.{i}"), cores_used: i, ..template.clone() })
            .collect();
        let pool = pool((0..40).map(|i| member(&format!("i-{i}"), &format!("10.0.0.{i}"))).collect());
        let chosen = least_busy(&pool, &cluster, Some("i-39"));
        assert_eq!((chosen.len(), chosen[0].1.as_str(), chosen[1].1.as_str()), (MOST_ASKED, "10.0.0.39", "10.0.0.0"));
    }
}
