//! The page of a master, as its web interface gives it in JSON.

use super::ask::{Answered, get, understood};
use super::error::SparkError;
use jiff::Timestamp;
use logwise_api::validate::MasterAddress;
use logwise_plan::Known;
use logwise_plan::workers::{Cluster, DriverAt, Worker, WorkerState};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// States of drivers that have ended.
const ENDED: [&str; 4] = ["FINISHED", "FAILED", "KILLED", "ERROR"];

/// What a page says instead of a worker's id for a driver that has none.
const NO_WORKER: &str = "None";

/// What the active master says.
#[derive(Clone, Debug)]
pub struct Page {
    /// `host:uiPort` of the page.
    pub at: String,
    /// `host:restPort` of the same master.
    pub rest: String,
    /// When its fetch began.
    pub began: Instant,
    /// The same by the clock on the wall.
    pub read: Timestamp,
    /// Workers, and drivers of any class that have not ended.
    pub cluster: Cluster,
    /// Memory of workers by their ids, of those of which the page tells it.
    pub memory: BTreeMap<String, WorkerMemory>,
    /// Every driver that the master holds for active, whatever its state.
    pub all_drivers: Vec<DriverRow>,
    /// Drivers that it holds for history, whatever their state.
    pub completed: Vec<DriverRow>,
    /// Applications that are active.
    pub apps: Vec<App>,
}

/// Memory of a worker, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerMemory {
    /// What drivers and executors may take.
    pub total: i64,
    /// What they have taken.
    pub used: i64,
}

/// A driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverRow {
    /// Its id.
    pub id: String,
    /// Class that it runs.
    pub main_class: String,
    /// Its state as the master names it.
    pub state: String,
    /// When the master took it, or took it up again under a new id.
    pub started: Option<Timestamp>,
    /// Id of the worker that it runs on.
    pub worker: Option<String>,
    /// Its cores.
    pub cores: i32,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct App {
    /// Its id.
    pub id: String,
    /// The name that it gives itself.
    pub name: String,
    /// Its state as the master names it.
    #[serde(default)]
    pub state: String,
    /// Cores of its executors.
    #[serde(default, deserialize_with = "not_negative")]
    pub cores: i32,
}

/// Fewer than none are none: a status with such a number would be refused as a whole.
fn not_negative<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    i32::deserialize(from).map(|number| number.max(0))
}

impl Page {
    /// Workers that take executors and drivers.
    pub fn alive(&self) -> impl Iterator<Item = &Worker> {
        // A DEAD worker keeps the cores that it had taken: only ALIVE ones count.
        self.cluster.workers.iter().filter(|worker| worker.state == WorkerState::Alive)
    }

    /// Cores of those, and how many of them are taken.
    pub fn cores(&self) -> (i32, i32) {
        self.alive().fold((0, 0), |(cores, used), worker| {
            (cores.saturating_add(worker.cores), used.saturating_add(worker.cores_used))
        })
    }

    /// Host of a worker, by its id.
    pub fn host_of(&self, worker: &str) -> Option<&str> {
        self.cluster.workers.iter().find(|known| known.id == worker).map(|known| known.host.as_str())
    }
}

/// Reads the page of one master, for a fetch that has just begun; one that is not active is an error.
pub(super) async fn read(
    http: &reqwest::Client,
    master: &MasterAddress,
    began: (Instant, Timestamp),
) -> Result<Page, SparkError> {
    // The time before the first attempt: a later one shows what is later still.
    get(http, &master.ui(), "/json/", |answered| understand(master, answered, began)).await
}

fn understand(master: &MasterAddress, answered: &Answered, at: (Instant, Timestamp)) -> Result<Page, SparkError> {
    let address = master.ui();
    let Status { status } = answered.json(&address)?;
    if status != "ALIVE" {
        return Err(SparkError::Standby { address, state: status });
    }
    let found: Found = understood(&address, &answered.body)?;
    let rows = |drivers: Vec<Driver>| drivers.into_iter().map(DriverRow::from).collect::<Vec<_>>();
    let (all_drivers, completed) = (rows(found.activedrivers), rows(found.completeddrivers));
    let alive = all_drivers.iter().filter(|driver| !ENDED.contains(&driver.state.as_str()));
    let memory = found.workers.iter().filter_map(Registered::memory).collect();
    let cluster = Cluster {
        url: found.url,
        workers: found.workers.into_iter().map(Worker::from).collect(),
        drivers: alive.map(placed).collect(),
        // Of several applications the page does not say which is the pipeline's.
        app_cores: if let [app] = found.activeapps.as_slice() { Some(app.cores) } else { None },
    };
    let (began, read) = at;
    let rest = master.rest();
    Ok(Page { at: address, rest, began, read, cluster, memory, all_drivers, completed, apps: found.activeapps })
}

fn placed(driver: &DriverRow) -> DriverAt {
    DriverAt { id: driver.id.clone(), state: driver.state.clone(), worker: driver.worker.clone() }
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[derive(Deserialize)]
struct Found {
    url: String,
    workers: Vec<Registered>,
    activeapps: Vec<App>,
    activedrivers: Vec<Driver>,
    #[serde(default)]
    completeddrivers: Vec<Driver>,
}

#[derive(Deserialize)]
struct Registered {
    id: String,
    host: String,
    state: String,
    #[serde(deserialize_with = "not_negative")]
    cores: i32,
    #[serde(deserialize_with = "not_negative")]
    coresused: i32,
    #[serde(default)]
    memory: Option<i64>,
    #[serde(default)]
    memoryused: i64,
}

impl Registered {
    fn memory(&self) -> Option<(String, WorkerMemory)> {
        Some((self.id.clone(), WorkerMemory { total: self.memory?, used: self.memoryused }))
    }
}

impl From<Registered> for Worker {
    fn from(Registered { id, host, state, cores, coresused, .. }: Registered) -> Self {
        let state = match state.as_str() {
            "ALIVE" => WorkerState::Alive,
            "DECOMMISSIONED" => WorkerState::Decommissioned,
            "DEAD" => WorkerState::Dead,
            _ => WorkerState::Other(state),
        };
        let tasks = Known::Unknown("the page of a master does not count tasks".to_owned());
        Self { id, host, state, cores, cores_used: coresused, tasks }
    }
}

#[derive(Deserialize)]
struct Driver {
    id: String,
    state: String,
    mainclass: String,
    /// Milliseconds, as a text.
    #[serde(default)]
    starttime: Value,
    #[serde(default)]
    worker: Option<String>,
    #[serde(default)]
    cores: i32,
}

impl From<Driver> for DriverRow {
    fn from(Driver { id, state, mainclass, starttime, worker, cores }: Driver) -> Self {
        let milliseconds: Option<i64> = starttime.as_i64().or_else(|| starttime.as_str()?.parse().ok());
        // Years before this era cannot be written in a status.
        let milliseconds = milliseconds.filter(|at| *at >= 0);
        Self {
            id,
            main_class: mainclass,
            state,
            started: milliseconds.and_then(|at| Timestamp::from_millisecond(at).ok()),
            worker: worker.filter(|worker| !worker.is_empty() && worker != NO_WORKER),
            cores,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"url":"spark://m:7077","status":"ALIVE","workers":[
        {"id":"worker-1-10.0.0.4-7078","host":"10.0.0.4","port":7078,"webuiaddress":"http://evil:80","state":"ALIVE",
         "cores":2,"coresused":1,"coresfree":1,"memory":1536,"memoryused":512,"memoryfree":1024,"lastheartbeat":1},
        {"id":"w2","host":"10.0.0.5","state":"DEAD","cores":2,"coresused":2},
        {"id":"w3","host":"10.0.0.6","state":"DECOMMISSIONED","cores":2,"coresused":0,"memory":1536},
        {"id":"w4","host":"10.0.0.7","state":"UNKNOWN","cores":2,"coresused":0,"memory":1536}],
        "activeapps":[{"id":"app-1","starttime":1,"name":"logwise","cores":3,"user":"u","state":"RUNNING"}],
        "completedapps":[],
        "activedrivers":[
         {"id":"driver-1","starttime":"1764000000123","state":"RUNNING","cores":1,"memory":512,
          "worker":"worker-1-10.0.0.4-7078","mainclass":"X"},
         {"id":"driver-2","starttime":"1764000001000","state":"SUBMITTED","cores":1,"memory":512,"worker":"None",
          "mainclass":"Y"},
         {"id":"driver-3","starttime":"soon","state":"KILLED","cores":1,"worker":"w2","mainclass":"X"}],
        "completeddrivers":[
         {"id":"driver-0","starttime":"1","state":"RELAUNCHING","cores":1,"worker":"gone","mainclass":"X"}]}"#;

    fn master() -> MasterAddress {
        MasterAddress { host: "m".into(), port: 7077, ui_port: 8080, rest_port: 6066 }
    }

    fn from(status: u16, body: &str) -> Result<Page, SparkError> {
        let answered = Answered { status, body: body.as_bytes().to_vec() };
        understand(&master(), &answered, (Instant::now(), Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn workers_are_read_with_their_state_and_a_dead_one_counts_nothing() {
        let page = from(200, PAGE).unwrap();
        assert_eq!(
            (page.at.as_str(), page.rest.as_str(), page.cluster.url.as_str()),
            ("m:8080", "m:6066", "spark://m:7077")
        );
        let states: Vec<_> = page.cluster.workers.iter().map(|worker| worker.state.clone()).collect();
        let other = WorkerState::Other("UNKNOWN".into());
        assert_eq!(states, [WorkerState::Alive, WorkerState::Dead, WorkerState::Decommissioned, other]);
        assert_eq!((page.cores(), page.alive().count()), ((2, 1), 1));
        let first = &page.cluster.workers[0];
        assert_eq!((first.host.as_str(), first.cores, first.cores_used), ("10.0.0.4", 2, 1));
        assert!(first.tasks.is_unknown());
        assert_eq!(page.memory.get(&first.id), Some(&WorkerMemory { total: 1_536, used: 512 }));
        assert_eq!(page.memory.get("w2"), None, "not told");
        assert_eq!((page.host_of("w3"), page.host_of("w9")), (Some("10.0.0.6"), None));
    }

    #[test]
    fn numbers_that_cannot_be_make_no_status_that_would_be_refused() {
        let odd = PAGE.replace(r#""cores":2,"coresused":1"#, r#""cores":-7,"coresused":-1"#);
        let odd =
            odd.replace(r#""cores":3,"user""#, r#""cores":-3,"user""#).replace("1764000000123", "-62200000000000");
        let page = from(200, &odd).unwrap();
        assert_eq!((page.cores(), page.cluster.app_cores), ((0, 0), Some(0)));
        assert_eq!((page.all_drivers[0].started, page.all_drivers.len()), (None, 3));
    }

    #[test]
    fn drivers_are_active_or_history_and_the_text_none_is_no_worker() {
        let page = from(200, PAGE).unwrap();
        let at = |id: &str, state: &str, worker: Option<&str>| DriverAt {
            id: id.into(),
            state: state.into(),
            worker: worker.map(str::to_owned),
        };
        let running = at("driver-1", "RUNNING", Some("worker-1-10.0.0.4-7078"));
        assert_eq!(
            page.cluster.drivers,
            [running, at("driver-2", "SUBMITTED", None)],
            "one that has ended hosts nothing"
        );
        let row = DriverRow {
            id: "driver-1".into(),
            main_class: "X".into(),
            state: "RUNNING".into(),
            started: Timestamp::from_millisecond(1_764_000_000_123).ok(),
            worker: Some("worker-1-10.0.0.4-7078".into()),
            cores: 1,
        };
        assert_eq!((page.all_drivers.len(), &page.all_drivers[0]), (3, &row));
        assert_eq!(page.all_drivers[2].started, None, "a time that is none");
        assert_eq!((page.completed.len(), page.completed[0].state.as_str()), (1, "RELAUNCHING"));
        assert_eq!((page.apps[0].name.as_str(), page.cluster.app_cores), ("logwise", Some(3)));
        let two = PAGE.replace(r#""activeapps":["#, r#""activeapps":[{"id":"app-0","name":"other","cores":1},"#);
        assert_eq!(from(200, &two).unwrap().cluster.app_cores, None, "whose cores are they?");
    }

    #[test]
    fn a_page_that_is_no_answer_says_what_it_is() {
        let table = [
            (200, " <html>", "m:8080 answered HTML instead of JSON"),
            (200, r#"{"status":"STANDBY","workers":[],"activedrivers":[]}"#, "m:8080 is STANDBY"),
            (200, r#"{"status":"RECOVERING"}"#, "m:8080 is RECOVERING"),
            (200, "{}", "m:8080 answered JSON of another shape (missing field `status`"),
            (
                200,
                r#"{"status":"ALIVE","url":"u","workers":[]}"#,
                "m:8080 answered JSON of another shape (missing field",
            ),
            (200, "", "m:8080 answered JSON of another shape"),
            (502, PAGE, "m:8080 answered HTTP 502"),
            (302, "", "m:8080 answered HTTP 302"),
        ];
        for (status, body, expected) in table {
            let error = from(status, body).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error} and not {expected}");
        }
    }
}
