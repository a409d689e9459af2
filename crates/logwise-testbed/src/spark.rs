//! The servers of a real Spark, and what its master says. How Spark itself is made is in [`crate::spark_install`].

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};

use crate::address::Addresses;
use crate::aws;
use crate::http;
use crate::prerequisites;
use crate::process::{Ending, Probe, Server, probe};
use crate::site::Site;
pub use crate::spark_install::{Spark, prepare, version};

/// The name of the process, record and log of the bed's master.
pub const MASTER: &str = "spark-master";
/// Seconds after which a master gives up a silent worker, unless a test says otherwise.
pub(crate) const WORKER_TIMEOUT: u64 = 10;

/// The bed's master: keeps what it knows on disk, gives up a silent worker after 10 s, takes submissions over REST.
pub fn master(site: &Site, spark: &Spark) -> Result<Server> {
    let ports = &site.addresses.ports;
    let home = site.folder.sub("spark/master")?;
    let master = Master {
        name: MASTER.to_owned(),
        port: ports.spark,
        ui_port: ports.spark_ui,
        rest_port: Some(ports.spark_rest),
        properties: [on_disk(&home), patience(WORKER_TIMEOUT), decommission(true)].concat(),
        may_stand_by: false,
        home,
    };
    master.server(site, spark)
}

/// A property of Spark and its value.
pub(crate) type Property = (String, String);

/// Properties by their names.
pub(crate) fn properties<const N: usize>(all: [(&str, String); N]) -> Vec<Property> {
    all.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// What a master knows is kept in this folder, from which one that begins anew recovers.
pub(crate) fn on_disk(folder: &Path) -> Vec<Property> {
    properties([
        ("spark.deploy.recoveryMode", "FILESYSTEM".to_owned()),
        ("spark.deploy.recoveryDirectory", folder.display().to_string()),
    ])
}

/// How many seconds a worker may be silent.
pub(crate) fn patience(seconds: u64) -> Vec<Property> {
    properties([("spark.worker.timeout", seconds.to_string())])
}

/// Whether workers can be decommissioned; a master and its workers each have this property.
pub(crate) fn decommission(enabled: bool) -> Vec<Property> {
    properties([("spark.decommission.enabled", enabled.to_string())])
}

/// A master before it starts.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    /// Of its process, record and log.
    pub name: String,
    /// For workers and drivers.
    pub port: u16,
    /// Of its pages.
    pub ui_port: u16,
    /// Of its submission server; none: it has none.
    pub rest_port: Option<u16>,
    /// Beside those of its addresses.
    pub properties: Vec<Property>,
    /// It is ready as one that stands by, too.
    pub may_stand_by: bool,
    /// Its working folder; must exist.
    pub home: PathBuf,
}

impl Master {
    /// The master as a server of a bed.
    pub fn server(&self, site: &Site, spark: &Spark) -> Result<Server> {
        let host = site.addresses.host().to_string();
        let mut settings = self.properties.clone();
        settings.extend(properties([("spark.master.rest.enabled", self.rest_port.is_some().to_string())]));
        if let Some(port) = self.rest_port {
            let address = [("spark.master.rest.host", host.clone()), ("spark.master.rest.port", port.to_string())];
            settings.extend(properties(address));
        }
        let arguments = ["--host", &host, "--port", &self.port.to_string(), "--webui-port", &self.ui_port.to_string()]
            .map(String::from);
        let (ui, may_stand_by) = (site.addresses.at(self.ui_port), self.may_stand_by);
        let ready = probe(move || {
            let ui = ui.clone();
            async move {
                match overview(&ui).await?.status.as_str() {
                    "ALIVE" => Ok(()),
                    "STANDBY" if may_stand_by => Ok(()),
                    status => bail!("the Spark master is {status}"),
                }
            }
        });
        let daemon = Daemon {
            name: self.name.clone(),
            host: site.addresses.host(),
            settings,
            class: "org.apache.spark.deploy.master.Master",
            arguments: arguments.to_vec(),
            env: Vec::new(),
            cwd: self.home.clone(),
            ready,
        };
        daemon.server(spark, site)
    }
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
pub const WORKER_UI_PORT: u16 = 18_081;

/// Where a worker runs and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// Of its process, record and log.
    pub name: String,
    /// The address of its instance.
    pub host: Ipv4Addr,
    /// `spark://host:port`, of several masters `spark://host:port,host:port`.
    pub master: String,
    /// They win over those that every worker has.
    pub properties: Vec<Property>,
}

/// A worker on the address of an instance. It is ready when its own pages answer; the master may know it a moment
/// later. Drivers and executors on it find the stand-in's credentials in their environment, as they would an instance's
/// role.
pub(crate) fn worker(site: &Site, spark: &Spark, post: &Post, size: Size) -> Result<Server> {
    let (host, work) = (post.host, site.folder.sub(&format!("spark/{}", post.name))?);
    let (address, cores, memory) = (host.to_string(), size.cores.to_string(), format!("{}m", size.memory_mib));
    let (ui_port, folder) = (WORKER_UI_PORT.to_string(), work.display().to_string());
    let arguments = [
        "--host",
        &address,
        "-p",
        WORKER_PORT,
        "--webui-port",
        &ui_port,
        "-c",
        &cores,
        "-m",
        &memory,
        "-d",
        &folder,
        &post.master,
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
    let daemon = Daemon {
        name: post.name.clone(),
        host,
        // Of a property that is named twice Java takes the last.
        settings: [patience(WORKER_TIMEOUT), decommission(true), post.properties.clone()].concat(),
        class: "org.apache.spark.deploy.worker.Worker",
        arguments: arguments.to_vec(),
        env: credentials(),
        cwd: work,
        ready,
    };
    daemon.server(spark, site)
}

/// The stand-in's credentials, which open nothing, where AWS's clients look for them first.
pub(crate) fn credentials() -> Vec<(String, String)> {
    let both = [("AWS_ACCESS_KEY_ID", aws::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", aws::SECRET_KEY)];
    both.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// `spark://host:port` of the bed's master.
pub fn master_url(addresses: &Addresses) -> String {
    format!("spark://{}", addresses.at(addresses.ports.spark))
}

/// What differs between a master and a worker.
struct Daemon {
    name: String,
    host: Ipv4Addr,
    settings: Vec<Property>,
    class: &'static str,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    cwd: PathBuf,
    ready: Probe,
}

impl Daemon {
    fn server(self, spark: &Spark, site: &Site) -> Result<Server> {
        let scratch = site.folder.sub("spark/tmp")?.display().to_string();
        let settings = self.settings.into_iter().chain(properties([("java.io.tmpdir", scratch.clone())]));
        let mut args: Vec<String> = spark.daemon_options();
        args.extend(["-Xmx128m".to_owned(), "-Xss512k".to_owned()]);
        args.extend(settings.map(|(name, value)| format!("-D{name}={value}")));
        args.extend(["-cp".to_owned(), spark.class_path(), self.class.to_owned()]);
        args.extend(self.arguments);
        let env = [
            ("SPARK_HOME", spark.home.display().to_string()),
            // Spark's own start scripts would find these out; it asks for them before it starts a driver.
            ("SPARK_ENV_LOADED", "1".to_owned()),
            ("SPARK_SCALA_VERSION", "2.12".to_owned()),
            ("SPARK_LOCAL_IP", self.host.to_string()),
            ("SPARK_LOCAL_DIRS", scratch),
            ("JAVA_HOME", prerequisites::jdk()?.display().to_string()),
        ];
        Ok(Server {
            name: self.name,
            program: prerequisites::jdk()?.join("bin/java"),
            args,
            env: env.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(self.env).collect(),
            cwd: self.cwd,
            ending: Ending::Terminate { seconds: 5 },
            ready_within: Duration::from_secs(90),
            ready: self.ready,
        })
    }
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
    /// Drivers that are over, and those that were begun again under another id.
    #[serde(default)]
    pub completeddrivers: Vec<Driver>,
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
    #[serde(deserialize_with = "worker_id")]
    pub worker: Option<String>,
    /// The class that was submitted.
    pub mainclass: String,
}

/// Of a driver that waits the master names the worker `None`, as a text.
fn worker_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| id != "None"))
}

impl Overview {
    /// The addresses of the workers that are alive, sorted.
    pub fn alive_hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> =
            self.workers.iter().filter(|worker| worker.state == "ALIVE").map(|worker| worker.host.as_str()).collect();
        hosts.sort_unstable();
        hosts
    }

    /// The state of the worker on this address; of several that of the last one that the master names.
    pub fn state_of(&self, host: &str) -> Option<&str> {
        self.workers.iter().filter(|worker| worker.host == host).map(|worker| worker.state.as_str()).next_back()
    }

    /// The addresses of the workers that run drivers.
    pub fn driver_hosts(&self) -> Vec<&str> {
        let runs = |worker: &&Worker| self.activedrivers.iter().any(|one| one.worker.as_ref() == Some(&worker.id));
        self.workers.iter().filter(runs).map(|worker| worker.host.as_str()).collect()
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
                "activedrivers":[{{"id":"driver-1","state":"SUBMITTED","worker":"None","mainclass":"M"}},{{"id":"driver-2","state":"RUNNING","worker":"w-127.0.9.4","mainclass":"M"}}],
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
        assert_eq!(overview.driver_hosts(), ["127.0.9.4"]);
        assert_eq!((overview.state_of("127.0.9.6"), overview.state_of("127.0.9.9")), (Some("DEAD"), None));
    }
}
