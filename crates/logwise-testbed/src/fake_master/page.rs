//! The master's pages: `/json/` with every field that Spark 3.5 writes, and the decommission.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Url;
use serde_json::{Value, json};

use super::cluster::{App, Cluster, Driver, Status, WORKER_PORT, Worker, WorkerState};
use crate::bed;

/// Of each worker's pages; nobody listens there.
const WORKER_UI_PORT: u16 = 18_081;

/// What `/json/` says.
pub(super) fn state(cluster: &Cluster, address: &bed::Spark) -> Value {
    // One that stands by has not read yet what the active one keeps.
    let (workers, drivers, apps) = match cluster.status {
        Status::Standby => (&[][..], (&[][..], &[][..]), (&[][..], &[][..])),
        Status::Alive | Status::Recovering => (cluster.workers(), cluster.drivers(), cluster.apps()),
    };
    let alive: Vec<&Worker> = workers.iter().filter(|worker| worker.state == WorkerState::Alive).collect();
    let sum = |of: &dyn Fn(&Worker) -> u32| alive.iter().map(|worker| of(worker)).sum::<u32>();
    let none: Vec<Value> = alive.iter().map(|_| json!({})).collect();
    json!({
        "url": format!("spark://{}:{}", address.host, address.port),
        "workers": workers.iter().map(|one| worker(cluster, one)).collect::<Vec<_>>(),
        "aliveworkers": alive.len(),
        "cores": sum(&|_: &Worker| cluster.setup.cores),
        "coresused": sum(&|worker: &Worker| cluster.used(worker).0),
        "memory": sum(&|_: &Worker| cluster.setup.memory_mib),
        "memoryused": sum(&|worker: &Worker| cluster.used(worker).1),
        "resources": none,
        "resourcesused": none,
        "activeapps": apps.0.iter().map(|one| app(one, true)).collect::<Vec<_>>(),
        "completedapps": apps.1.iter().map(|one| app(one, false)).collect::<Vec<_>>(),
        "activedrivers": drivers.0.iter().map(|one| driver(one, cluster.status)).collect::<Vec<_>>(),
        "completeddrivers": drivers.1.iter().map(|one| driver(one, Status::Alive)).collect::<Vec<_>>(),
        "status": cluster.status.word(),
    })
}

fn worker(cluster: &Cluster, worker: &Worker) -> Value {
    let (host, (cores, memory)) = (&worker.machine.host, cluster.used(worker));
    let setup = &cluster.setup;
    json!({
        "id": worker.id,
        "host": host,
        "port": WORKER_PORT,
        "webuiaddress": format!("http://{host}:{WORKER_UI_PORT}"),
        "cores": setup.cores,
        "coresused": cores,
        "coresfree": i64::from(setup.cores) - i64::from(cores),
        "memory": setup.memory_mib,
        "memoryused": memory,
        "memoryfree": i64::from(setup.memory_mib) - i64::from(memory),
        "resources": {},
        "resourcesused": {},
        "resourcesfree": {},
        "state": worker.state.word(),
        "lastheartbeat": Timestamp::now().as_millisecond(),
    })
}

fn app(app: &App, active: bool) -> Value {
    let state = match (active, app.cores()) {
        (false, _) => "FINISHED",
        (true, 0) => "WAITING",
        (true, _) => "RUNNING",
    };
    json!({
        "id": app.id,
        "starttime": app.started,
        "name": app.wish.app_name,
        "cores": app.cores(),
        "user": "testbed",
        "memoryperexecutor": app.wish.executor_memory_mib,
        "memoryperslave": app.wish.executor_memory_mib,
        "resourcesperexecutor": [],
        "resourcesperslave": [],
        "submitdate": java_date(app.started),
        "state": state,
        "duration": Timestamp::now().as_millisecond() - app.started,
    })
}

fn driver(driver: &Driver, status: Status) -> Value {
    // One that recovers does not know yet where its drivers are.
    let (state, worker) = match status {
        Status::Recovering => ("SUBMITTED", None),
        Status::Alive | Status::Standby => (driver.state, driver.worker.as_deref()),
    };
    json!({
        "id": driver.id,
        // A text, unlike that of an application.
        "starttime": driver.started.to_string(),
        "state": state,
        "cores": driver.wish.cores,
        "memory": driver.wish.memory_mib,
        "resources": {},
        "submitdate": java_date(driver.started),
        // A driver without a worker has the text `None`.
        "worker": worker.unwrap_or("None"),
        "mainclass": driver.wish.main_class,
    })
}

/// As Java prints a date: `Sat Nov 28 17:37:26 UTC 2026`.
fn java_date(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).unwrap_or_default().to_zoned(TimeZone::UTC);
    time.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

/// The addresses that a decommission names, in lower case: `host` once or several times, in the query or in a form.
pub(super) fn hosts(query: &str, form: &str) -> BTreeSet<String> {
    let read = |words: &str| match Url::parse(&format!("http://form/?{words}")) {
        Ok(url) => {
            url.query_pairs().filter(|(name, _)| name == "host").map(|(_, host)| host.to_ascii_lowercase()).collect()
        }
        Err(_) => BTreeSet::new(),
    };
    [query, form].into_iter().flat_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_master::cluster::{Machine, Wish};
    use crate::fake_master::script::{Landing, Setup};
    use crate::spark::Overview;

    const NOW: i64 = 1_795_887_446_000;

    fn address() -> bed::Spark {
        bed::Spark { host: "127.0.9.2".into(), port: 7077, ui_port: 8080, rest_port: 6066 }
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(Setup::default());
        let machine = |id: &str, host: &str| Machine { id: id.into(), host: host.into() };
        cluster.follow(&[machine("i-1", "127.0.9.4"), machine("i-2", "127.0.9.5")], NOW);
        cluster
    }

    fn wish() -> Wish {
        Wish {
            main_class: "M".into(),
            app_name: "logwise".into(),
            cores: 1,
            memory_mib: 512,
            supervise: true,
            executor_memory_mib: 512,
            max_cores: Some(2),
        }
    }

    #[test]
    fn the_page_has_the_shape_of_sparks() {
        let mut cluster = cluster();
        cluster.landing = Landing::Held;
        let waiting = cluster.submit(wish(), NOW);
        cluster.landing = Landing::AtOnce;
        cluster.submit(wish(), NOW);
        cluster.landing = Landing::Held;
        cluster.land(Some("driver-20261128173726-0001"), Some("127.0.9.4"), NOW).unwrap();
        cluster.advance(NOW);
        let page = state(&cluster, &address());
        assert_eq!((&page["status"], &page["aliveworkers"], &page["cores"]), (&json!("ALIVE"), &json!(2), &json!(4)));
        assert_eq!((&page["coresused"], &page["memoryused"]), (&json!(3), &json!(1_536)));
        let first = &page["activedrivers"][0];
        assert_eq!((&first["id"], &first["worker"]), (&json!(waiting), &json!("None")));
        assert_eq!((&first["starttime"], &first["state"]), (&json!(NOW.to_string()), &json!("SUBMITTED")));
        assert_eq!(first["submitdate"], "Sat Nov 28 17:37:26 UTC 2026");
        assert_eq!(page["activedrivers"][1]["worker"], "worker-20261128173726-127.0.9.4-17100");
        assert_eq!((&page["activeapps"][0]["cores"], &page["activeapps"][0]["name"]), (&json!(2), &json!("logwise")));
        assert_eq!(page["workers"][0]["lastheartbeat"].as_i64().map(|time| time > NOW / 2), Some(true));
        let read: Overview = serde_json::from_value(page).unwrap();
        assert_eq!(read.driver_hosts(), ["127.0.9.4"]);
        assert_eq!(read.activedrivers[0].worker, None);
    }

    #[test]
    fn one_that_stands_by_knows_nothing() {
        let mut cluster = cluster();
        cluster.submit(wish(), NOW);
        cluster.status = Status::Standby;
        let page = state(&cluster, &address());
        assert_eq!((&page["status"], &page["aliveworkers"]), (&json!("STANDBY"), &json!(0)));
        assert!(page["workers"].as_array().unwrap().is_empty() && page["activedrivers"].as_array().unwrap().is_empty());
    }

    #[test]
    fn one_that_recovers_does_not_know_where_its_drivers_are() {
        let mut cluster = cluster();
        cluster.submit(wish(), NOW);
        cluster.advance(NOW);
        cluster.status = Status::Recovering;
        let page = state(&cluster, &address());
        let driver = &page["activedrivers"][0];
        assert_eq!((&driver["state"], &driver["worker"]), (&json!("SUBMITTED"), &json!("None")));
    }

    #[test]
    fn hosts_are_read_from_the_query_and_from_a_form() {
        let found = hosts("host=A.example&host=127.0.9.4&x=1", "host=127.0.9.5");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["127.0.9.4", "127.0.9.5", "a.example"]);
        assert!(hosts("", "").is_empty());
    }
}
