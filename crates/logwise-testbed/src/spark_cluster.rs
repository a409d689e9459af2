//! A Spark master for one test: its own settings, its own workers, its own faults.
//!
//! The bed's master has no part in it. Workers are the supervisor's: a group whose tags are [`SparkCluster::tags`] gets
//! one per instance, which registers here. Each master is a recorded process of the bed: dropped, the cluster is killed
//! and what it kept is removed; the workers end with their group. What a killed test leaves is ended by the next
//! cluster of the bed, the next `up`, or `down`.

mod zookeeper;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::{join_all, try_join_all};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;

use self::zookeeper::ZooKeeper;
use crate::bed::{self, Bed};
use crate::home::{self, Home, Kind};
use crate::http;
use crate::lease::Lease;
use crate::proc::Identity;
use crate::process::{self, Ending, Server};
use crate::site::Site;
use crate::spark::{Master, Overview, WORKER_TIMEOUT, decommission, on_disk, overview, patience, properties};
use crate::stays::{self, Stay};
use crate::supervisor::{PROPERTIES_TAG, TAG, worker_name};
use crate::world::wait_until;
use crate::{proc, state, stream};

/// Somebody else may take a port before its master does.
const ATTEMPTS: u32 = 3;
const ONE_ALIVE: Duration = Duration::from_secs(60);
/// The class that runs a driver on its worker.
const DRIVER: &[u8] = b"org.apache.spark.deploy.worker.DriverWrapper";

/// Who may decommission workers through the master's pages: `spark.master.ui.decommission.allow.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AllowMode {
    /// Callers on the master's own machine, as everybody on a bed is.
    #[default]
    Local,
    /// Nobody.
    Deny,
    /// Everybody.
    Allow,
}

impl AllowMode {
    fn word(self) -> &'static str {
        match self {
            AllowMode::Local => "LOCAL",
            AllowMode::Deny => "DENY",
            AllowMode::Allow => "ALLOW",
        }
    }
}

/// What a cluster is made of. The default is one master with the settings of the bed's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Who may decommission workers.
    pub allow_mode: AllowMode,
    /// Whether the masters can decommission at all.
    pub decommission: bool,
    /// Whether the workers obey: one that does not goes on with its executors, and the master calls it decommissioned.
    pub workers_obey: bool,
    /// In whole seconds: how long a worker may be silent.
    pub worker_timeout: Duration,
    /// Whether there is a submission server.
    pub rest: bool,
    /// 1, or 2 of which one stands by until the other is gone for 4 s. Two bring a ZooKeeper.
    pub masters: usize,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            allow_mode: AllowMode::default(),
            decommission: true,
            workers_obey: true,
            worker_timeout: Duration::from_secs(WORKER_TIMEOUT),
            rest: true,
            masters: 1,
        }
    }
}

/// A running cluster. Its masters are numbered from 1.
pub struct SparkCluster {
    site: Site,
    setup: Setup,
    /// In the order of their numbers.
    masters: Vec<(bed::Spark, Server)>,
    zookeeper: Option<ZooKeeper>,
    // Ends the masters, before the ports are given back.
    _home: Home,
    _lease: Lease,
}

impl SparkCluster {
    /// Starts a cluster named after a test; returns when one master is active. Errors when the bed has no Spark,
    /// without which there is no supervisor.
    pub async fn start(bed: &Bed, name: &str, setup: Setup) -> Result<SparkCluster> {
        ensure!(matches!(setup.masters, 1 | 2), "a cluster has 1 or 2 masters, not {}", setup.masters);
        ensure!(bed.spark.is_some(), "no Spark runs on this bed; start it with `--profile spark`");
        let site = bed.site()?;
        home::end_abandoned(&site.folder)?;
        let mut attempt = 1;
        loop {
            let cluster = SparkCluster::prepare(&site, name, &setup).await?;
            match cluster.run().await {
                Ok(()) => return Ok(cluster),
                Err(_) if attempt < ATTEMPTS && cluster.missed_a_port() => attempt += 1,
                Err(error) => return Err(error.context(format!("starting a Spark cluster for {name}"))),
            }
        }
    }

    /// The address of the first master.
    pub fn address(&self) -> &bed::Spark {
        // There is one at least.
        &self.masters[0].0
    }

    /// The addresses of the masters, in the order of their numbers.
    pub fn addresses(&self) -> impl Iterator<Item = &bed::Spark> {
        self.masters.iter().map(|(address, _)| address)
    }

    /// `spark://host:port` for workers and drivers, of two masters `spark://host:port,host:port`.
    pub fn url(&self) -> String {
        let each: Vec<String> = self.addresses().map(|one| format!("{}:{}", one.host, one.port)).collect();
        format!("spark://{}", each.join(","))
    }

    /// `spec.spark.masters`.
    pub fn masters(&self) -> Value {
        self.addresses().map(bed::Spark::spec).collect()
    }

    /// The tags of a group whose instances are this cluster's workers.
    pub fn tags(&self) -> Vec<(String, String)> {
        let mut tags = vec![(TAG.to_owned(), self.url())];
        if !self.setup.workers_obey {
            let words = decommission(false).into_iter().map(|(name, value)| format!("{name}={value}"));
            tags.push((PROPERTIES_TAG.to_owned(), words.collect::<Vec<_>>().join(" ")));
        }
        tags
    }

    /// Which master is active. Errors when none is.
    pub async fn active(&self) -> Result<&bed::Spark> {
        Ok(self.look().await?.0)
    }

    /// What the active master says. Errors when none is active.
    pub async fn overview(&self) -> Result<Overview> {
        Ok(self.look().await?.1)
    }

    async fn look(&self) -> Result<(&bed::Spark, Overview)> {
        let told = join_all(self.addresses().map(async |one| (one, overview(&one.ui()).await))).await;
        let mut causes = Vec::new();
        for (address, told) in told {
            match told {
                Ok(overview) if overview.status == "ALIVE" => return Ok((address, overview)),
                Ok(overview) => causes.push(format!("{} is {}", address.ui(), overview.status)),
                Err(error) => causes.push(format!("{}: {error:#}", address.ui())),
            }
        }
        bail!("no master is active: {}", causes.join("; "))
    }

    /// Asks the active master to decommission the workers on an address, and returns its answer's status.
    pub async fn decommission(&self, host: &str) -> Result<u16> {
        let url = format!("http://{}/workers/kill/?host={host}", self.active().await?.ui());
        let answer = http::client()?.request(Method::POST, url).send().await.context("asking the master")?;
        Ok(answer.status().as_u16())
    }

    /// Submits a driver that does nothing and takes so many cores; returns the submission's id.
    pub async fn submit_idle(&self, cores: u32) -> Result<String> {
        let active = self.active().await?;
        stream::submit_idle(&self.site.tools.spark, (&self.url(), &active.rest()), cores).await
    }

    /// Sends SIGKILL to a master and returns when it is gone. What it kept stays.
    pub async fn kill_master(&self, number: usize) -> Result<()> {
        process::stop(&self.site.folder, &self.server(number)?.name).await
    }

    /// Starts a master that was killed, on the same ports, and returns when it serves: active, or one of two.
    pub async fn start_again(&self, number: usize) -> Result<()> {
        process::start(&self.site.folder, self.server(number)?).await.map(drop)
    }

    /// Kills the first master and starts it again; it finds what it kept, and workers and drivers come back to it.
    pub async fn restart_master(&self) -> Result<()> {
        self.kill_master(1).await?;
        self.start_again(1).await
    }

    /// Sends SIGSTOP to a master and returns when the process stands still.
    pub async fn pause_master(&self, number: usize) -> Result<()> {
        proc::freeze(&self.record(number)?.identity, true).await
    }

    /// Sends SIGCONT to a master and returns when the process moves again.
    pub async fn resume_master(&self, number: usize) -> Result<()> {
        proc::freeze(&self.record(number)?.identity, false).await
    }

    /// What the masters have logged, one after the other.
    pub fn log(&self) -> Result<String> {
        let read = |server: &Server| {
            let path = self.site.folder.log(&server.name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        self.masters.iter().map(|(_, server)| read(server)).collect()
    }

    /// Where drivers have run, from the masters' logs.
    pub fn stays(&self) -> Result<Vec<Stay>> {
        stays::of_log(&self.log()?)
    }

    /// Waits until the living workers are on exactly these addresses.
    pub async fn wait_workers(&self, hosts: &BTreeSet<String>, within: Duration) -> Result<()> {
        wait_until(&format!("workers on {hosts:?}"), within, async || {
            let overview = self.overview().await?;
            let alive: BTreeSet<String> = overview.alive_hosts().into_iter().map(str::to_owned).collect();
            ensure!(alive == *hosts, "living workers are on {alive:?}");
            Ok(())
        })
        .await
    }

    /// Sends SIGKILL to the drivers on the worker of an instance; returns how many there were. A supervised one is
    /// begun again under its id.
    pub fn kill_drivers(&self, instance: &str) -> Result<usize> {
        let worker = self.worker(instance)?;
        let members = proc::members(&worker, self.site.folder.dir());
        let drivers: Vec<Identity> = members.into_iter().filter(|one| is_driver(one.pid)).collect();
        proc::signal(&drivers, Signal::KILL)?;
        Ok(drivers.len())
    }

    /// Sends SIGKILL to the worker of an instance and to all that runs on it. While its instance is there the
    /// supervisor starts another one, under another id.
    pub fn kill_worker(&self, instance: &str) -> Result<()> {
        let worker = self.worker(instance)?;
        proc::signal(&proc::members(&worker, self.site.folder.dir()), Signal::KILL)
    }

    fn worker(&self, instance: &str) -> Result<Identity> {
        let record = state::load(&self.site.folder)?.servers.remove(&worker_name(instance));
        Ok(record.with_context(|| format!("there is no worker on {instance}"))?.identity)
    }

    fn server(&self, number: usize) -> Result<&Server> {
        let found = number.checked_sub(1).and_then(|place| self.masters.get(place));
        found.map(|(_, server)| server).with_context(|| format!("there is no master {number}"))
    }

    fn record(&self, number: usize) -> Result<process::Record> {
        let record = state::load(&self.site.folder)?.servers.remove(&self.server(number)?.name);
        record.with_context(|| format!("master {number} does not run"))
    }
}

/// How a cluster comes up.
impl SparkCluster {
    async fn prepare(site: &Site, name: &str, setup: &Setup) -> Result<SparkCluster> {
        let home = Home::create(&site.folder, Kind::Sparks, name)?;
        let mut lease = Lease::open(&site.folder, site.addresses.host())?;
        let zookeeper = match setup.masters {
            1 => None,
            _ => Some(ZooKeeper::prepare(site, &home, lease.port().await?)?),
        };
        let mut masters = Vec::new();
        for number in 1..=setup.masters {
            let ports = [lease.port().await?, lease.port().await?, lease.port().await?];
            masters.push(master(site, &home, setup, number, (ports, zookeeper.as_ref()))?);
        }
        Ok(SparkCluster { site: site.clone(), setup: setup.clone(), masters, zookeeper, _home: home, _lease: lease })
    }

    async fn run(&self) -> Result<()> {
        if let Some(zookeeper) = &self.zookeeper {
            process::start(&self.site.folder, &zookeeper.server).await?;
        }
        let starts = self.masters.iter().map(|(_, server)| process::start(&self.site.folder, server));
        try_join_all(starts).await?;
        wait_until("one active master", ONE_ALIVE, async || self.active().await.map(drop)).await
    }

    fn missed_a_port(&self) -> bool {
        self.log().is_ok_and(|log| log.contains("Address already in use"))
    }
}

fn master(
    site: &Site,
    home: &Home,
    setup: &Setup,
    number: usize,
    (ports, zookeeper): ([u16; 3], Option<&ZooKeeper>),
) -> Result<(bed::Spark, Server)> {
    let folder = home.path().join(format!("master-{number}"));
    fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let [port, ui_port, rest_port] = ports;
    let own = properties([
        ("spark.master.ui.decommission.allow.mode", setup.allow_mode.word().to_owned()),
        // Else a master whose port is taken would serve on the next one.
        ("spark.port.maxRetries", "0".to_owned()),
    ]);
    let memory = zookeeper.map_or_else(|| on_disk(&folder), ZooKeeper::memory);
    let timeout = patience(setup.worker_timeout.as_secs());
    let master = Master {
        name: format!("{}master-{number}", home.prefix()),
        port,
        ui_port,
        rest_port: setup.rest.then_some(rest_port),
        properties: [own, memory, timeout, decommission(setup.decommission)].concat(),
        may_stand_by: setup.masters > 1,
        home: folder,
    };
    let mut server = master.server(site, &site.tools.spark)?;
    server.ending = Ending::Kill;
    Ok((bed::Spark { host: site.addresses.host().to_string(), port, ui_port, rest_port }, server))
}

fn is_driver(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == DRIVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modes_are_sparks_own_words() {
        let words = [AllowMode::Local, AllowMode::Deny, AllowMode::Allow].map(AllowMode::word);
        assert_eq!(words, ["LOCAL", "DENY", "ALLOW"]);
        assert_eq!(AllowMode::default(), AllowMode::Local, "what Spark has where nothing is said");
    }
}
