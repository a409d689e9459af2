//! The servers of a real Spark, and what its master says. How Spark itself is made is in [`crate::spark_install`].

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::address::Addresses;
use crate::http;
use crate::prerequisites;
use crate::process::{Ending, Probe, Server, probe};
use crate::site::Site;
pub use crate::spark_install::{Spark, prepare, version};

/// The name of the master's process, record and log.
pub const MASTER: &str = "spark-master";

/// The master: keeps what it knows on disk, gives up a silent worker after 10 s, takes submissions over REST.
pub fn master(site: &Site, spark: &Spark) -> Result<Server> {
    let addresses = &site.addresses;
    let (host, ports) = (addresses.host().to_string(), &addresses.ports);
    let memory = site.folder.sub("spark/master")?;
    let settings = [
        ("spark.master.rest.enabled", "true".to_owned()),
        ("spark.master.rest.host", host.clone()),
        ("spark.master.rest.port", ports.spark_rest.to_string()),
        ("spark.deploy.recoveryMode", "FILESYSTEM".to_owned()),
        ("spark.deploy.recoveryDirectory", memory.display().to_string()),
    ];
    let program = ["--host", &host, "--port", &ports.spark.to_string(), "--webui-port", &ports.spark_ui.to_string()]
        .map(String::from);
    let ready = {
        let ui = addresses.at(ports.spark_ui);
        probe(move || {
            let ui = ui.clone();
            async move {
                match overview(&ui).await?.status.as_str() {
                    "ALIVE" => Ok(()),
                    status => bail!("the Spark master is {status}"),
                }
            }
        })
    };
    let class = "org.apache.spark.deploy.master.Master";
    daemon(
        spark,
        site,
        Daemon {
            name: MASTER.to_owned(),
            host: addresses.host(),
            settings: settings.to_vec(),
            class,
            arguments: program.to_vec(),
            cwd: memory,
            ready,
        },
    )
}

/// What a worker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Cores.
    pub cores: u32,
    /// Memory for drivers and executors, in MiB.
    pub memory_mib: u32,
}

impl Default for Size {
    fn default() -> Size {
        Size { cores: 2, memory_mib: 1536 }
    }
}

/// Port of each worker on its own address.
const WORKER_PORT: &str = "17100";
/// Port of each worker's pages on its own address.
const WORKER_UI_PORT: &str = "18081";

/// A worker on the address of an instance. It is ready when its own pages answer; the master may know it a moment later.
pub fn worker(site: &Site, spark: &Spark, name: &str, host: Ipv4Addr, size: Size) -> Result<Server> {
    let work = site.folder.sub(&format!("spark/{name}"))?;
    let master = master_url(&site.addresses);
    let (address, cores, memory) = (host.to_string(), size.cores.to_string(), format!("{}m", size.memory_mib));
    let folder = work.display().to_string();
    let arguments = [
        "--host",
        &address,
        "-p",
        WORKER_PORT,
        "--webui-port",
        WORKER_UI_PORT,
        "-c",
        &cores,
        "-m",
        &memory,
        "-d",
        &folder,
        &master,
    ]
    .map(String::from);
    let ready = probe(move || {
        let url = format!("http://{host}:{WORKER_UI_PORT}/json/");
        async move {
            http::client()?
                .get(&url)
                .send()
                .await
                .context("asking a Spark worker")?
                .error_for_status()
                .context("asking a Spark worker")
                .map(drop)
        }
    });
    let class = "org.apache.spark.deploy.worker.Worker";
    daemon(
        spark,
        site,
        Daemon {
            name: name.to_owned(),
            host,
            settings: Vec::new(),
            class,
            arguments: arguments.to_vec(),
            cwd: work,
            ready,
        },
    )
}

/// `spark://host:port`.
pub fn master_url(addresses: &Addresses) -> String {
    format!("spark://{}", addresses.at(addresses.ports.spark))
}

/// What differs between a master and a worker.
struct Daemon {
    name: String,
    host: Ipv4Addr,
    settings: Vec<(&'static str, String)>,
    class: &'static str,
    arguments: Vec<String>,
    cwd: PathBuf,
    ready: Probe,
}

fn daemon(spark: &Spark, site: &Site, daemon: Daemon) -> Result<Server> {
    let common = [("spark.worker.timeout", "10".to_owned()), ("spark.decommission.enabled", "true".to_owned())];
    let scratch = site.folder.sub("spark/tmp")?.display().to_string();
    let settings = common.into_iter().chain(daemon.settings).chain([("java.io.tmpdir", scratch.clone())]);
    let mut args: Vec<String> = spark.daemon_options();
    args.extend(["-Xmx128m".to_owned(), "-Xss512k".to_owned(), "-cp".to_owned(), spark.class_path()]);
    args.extend(settings.map(|(name, value)| format!("-D{name}={value}")));
    args.push(daemon.class.to_owned());
    args.extend(daemon.arguments);
    let env = [
        ("SPARK_HOME", spark.home.display().to_string()),
        // Spark's own start scripts would find these out; it asks for them before it starts a driver.
        ("SPARK_ENV_LOADED", "1".to_owned()),
        ("SPARK_SCALA_VERSION", "2.12".to_owned()),
        ("SPARK_LOCAL_IP", daemon.host.to_string()),
        ("SPARK_LOCAL_DIRS", scratch),
        ("JAVA_HOME", prerequisites::jdk()?.display().to_string()),
    ];
    Ok(Server {
        name: daemon.name,
        program: prerequisites::jdk()?.join("bin/java"),
        args,
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        cwd: daemon.cwd,
        ending: Ending::Terminate { seconds: 5 },
        ready_within: Duration::from_secs(90),
        ready: daemon.ready,
    })
}

/// What the master's `/json/` says, as far as tests and the demo ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Overview {
    /// `ALIVE` when it serves.
    pub status: String,
    /// Every worker that it remembers, also dead ones.
    pub workers: Vec<Worker>,
    /// Applications that run or wait.
    pub activeapps: Vec<App>,
    /// Drivers that run or wait.
    pub activedrivers: Vec<Driver>,
}

/// A worker as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Worker {
    /// The master's name for it.
    pub id: String,
    /// Its address.
    pub host: String,
    /// `ALIVE`, `DEAD`, `DECOMMISSIONED` or `UNKNOWN`.
    pub state: String,
    /// Cores offered.
    pub cores: u32,
    /// Cores in use.
    pub coresused: u32,
}

/// An application as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct App {
    /// The master's name for it.
    pub id: String,
    /// The application's own name.
    pub name: String,
    /// Cores in use.
    pub cores: u32,
    /// `RUNNING`, `WAITING` and so on.
    pub state: String,
}

/// A driver as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Driver {
    /// The submission's id.
    pub id: String,
    /// `SUBMITTED`, `RUNNING` and so on.
    pub state: String,
    /// The id of the worker that runs it; none while it waits.
    pub worker: Option<String>,
    /// The class that was submitted.
    pub mainclass: String,
}

impl Overview {
    /// The addresses of the workers that are alive, sorted.
    pub fn alive_hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> =
            self.workers.iter().filter(|worker| worker.state == "ALIVE").map(|worker| worker.host.as_str()).collect();
        hosts.sort_unstable();
        hosts
    }
}

/// Asks the master whose pages are at `ui` (`host:port`).
pub async fn overview(ui: &str) -> Result<Overview> {
    let answer = http::client()?.get(format!("http://{ui}/json/")).send().await.context("asking the Spark master")?;
    let answer = answer.error_for_status().context("asking the Spark master")?;
    answer.json().await.context("reading the Spark master's answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masters_page_is_read_and_only_living_workers_count() {
        let worker = |host: &str, state: &str| {
            format!(
                r#"{{"id":"w-{host}","host":"{host}","port":17100,"cores":2,"coresused":1,"memory":1536,"state":"{state}"}}"#
            )
        };
        let text = format!(
            r#"{{"url":"spark://x","workers":[{},{},{}],"activeapps":[{{"id":"app-1","name":"logwise","cores":1,"user":"u","state":"RUNNING"}}],
                "activedrivers":[{{"id":"driver-1","state":"SUBMITTED","worker":null,"mainclass":"M"}},{{"id":"driver-2","state":"RUNNING","worker":"w-127.0.9.4","mainclass":"M"}}],
                "completeddrivers":[],"status":"ALIVE"}}"#,
            worker("127.0.9.5", "ALIVE"),
            worker("127.0.9.6", "DEAD"),
            worker("127.0.9.4", "ALIVE"),
        );
        let overview: Overview = serde_json::from_str(&text).unwrap();
        assert_eq!(overview.alive_hosts(), ["127.0.9.4", "127.0.9.5"]);
        assert_eq!(
            overview.activedrivers.iter().map(|driver| driver.worker.as_deref()).collect::<Vec<_>>(),
            [None, Some("w-127.0.9.4")]
        );
        assert_eq!(overview.activeapps[0].state, "RUNNING");
    }
}
