//! A fake Spark master, for tests that need many rounds, or moments that a real one does not offer. It is none: it runs
//! nothing. Its pages and its submission server answer as those of Spark 3.5 do, and are stricter where Spark is
//! lenient.
//!
//! Workers are machines: instances of a group, pods, or addresses that the test names. Drivers land on them at once, by
//! chance, or when the test says so. It lives in the test's own process and ends with it. Where it differs from Spark:
//!
//! - an executor has one core, and is there as soon as there is room;
//! - nobody listens on its port for workers, nor on those of workers and drivers (but see [`DriverPages`]);
//! - what it does not know it answers with 404, where Spark shows its page.

mod cluster;
mod driver_pages;
mod ledger;
mod page;
mod random;
mod rest;
mod script;
mod serve;
mod source;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::cluster::{Event, Machine};
pub use self::driver_pages::DriverPages;
pub use self::ledger::{Call, Kind};
pub use self::script::{End, Fate, Landing, Memory, Moment, Mood, Setup, Source};

use self::cluster::{Cluster, Status, Wish};
use self::serve::{Door, Faults, Inner, Shared, now};
use self::source::Machines;
use crate::bed::{self, Bed};
use crate::proxy::{lock, spare_host};
use crate::spark::{self, Overview};
use crate::stays::Stay;
use crate::world::World;

/// A running fake master. Dropped, it closes every connection.
pub struct FakeMaster {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl FakeMaster {
    /// Starts a fake master as the active one, with workers from `source`.
    pub async fn start(bed: &Bed, source: Source, setup: Setup) -> Result<FakeMaster> {
        let host = spare_host(bed);
        let (pages, submissions) = (TcpListener::bind((host, 0)).await, TcpListener::bind((host, 0)).await);
        let (pages, submissions) =
            (pages.context("opening a port of a master")?, submissions.context("opening a port of a master")?);
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        let (ui_port, rest_port) = (port(&pages)?, port(&submissions)?);
        // Nobody connects to the third port; no other master of a test may have the same.
        let address = bed::Spark { host: host.to_string(), port: ui_port, ui_port, rest_port };
        let rest = setup.rest;
        let inner = Inner {
            cluster: Cluster::new(setup),
            calls: Vec::new(),
            faults: Faults::default(),
            named: Vec::new(),
            seen: BTreeMap::new(),
        };
        let machines = Machines::new(bed, source)?;
        let shared = Arc::new(Shared { address, version: spark::version()?, machines, inner: Mutex::new(inner) });
        let mut tasks = vec![tokio::spawn(serve::accept(pages, Door::Pages, Arc::clone(&shared)))];
        // Without it the port is closed when the listener goes, at the end of this function.
        if rest {
            tasks.push(tokio::spawn(serve::accept(submissions, Door::Submissions, Arc::clone(&shared))));
        }
        Ok(FakeMaster { shared, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> &bed::Spark {
        &self.shared.address
    }

    /// `spec.spark.masters`.
    pub fn masters(&self) -> Value {
        json!([self.address().spec()])
    }

    /// What it would tell now, whatever a test has spoiled.
    pub async fn overview(&self) -> Result<Overview> {
        self.shared.refresh().await;
        serde_json::from_value(self.shared.page()).context("reading the fake master's page")
    }

    /// Every request so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.inner).calls.clone()
    }

    /// The requests of one kind.
    pub fn calls_of(&self, kind: Kind) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.kind == kind).collect()
    }

    /// The submissions that were taken, whether their senders know of it or not.
    pub fn submissions(&self) -> Vec<Value> {
        let taken = self.calls_of(Kind::Create).into_iter().filter(|call| call.effect);
        taken.map(|call| call.body).collect()
    }

    /// What it did and learnt, in order.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.shared.inner).cluster.events().to_vec()
    }

    /// Where drivers have been.
    pub fn stays(&self) -> Vec<Stay> {
        lock(&self.shared.inner).cluster.stays().to_vec()
    }

    /// The address of every machine that ever had a worker here, by the id of the instance or the pod.
    pub fn machines(&self) -> BTreeMap<String, String> {
        lock(&self.shared.inner).seen.clone()
    }
}

/// What a test arranges.
impl FakeMaster {
    /// Changes how it answers at all.
    pub fn set_mood(&self, mood: Mood) {
        let mut inner = lock(&self.shared.inner);
        inner.faults.mood = mood;
        inner.cluster.status = match mood {
            Mood::Standby => Status::Standby,
            Mood::Recovering => Status::Recovering,
            Mood::Alive | Mood::Html | Mood::Hang | Mood::Cut => Status::Alive,
        };
    }

    /// The next so many requests of a kind are carried out and not answered: their connections are closed.
    pub fn drop_answers(&self, kind: Kind, times: u32) {
        lock(&self.shared.inner).faults.drops.insert(kind, times);
    }

    /// Decommissions are not carried out and answered with this status, such as 405 where Spark's settings forbid them;
    /// none: they are taken again.
    pub fn refuse_cordons(&self, status: Option<u16>) {
        lock(&self.shared.inner).faults.refused_cordons = status;
    }

    /// From now on the page has this value at a place, such as `/workers/0/coresused`, if there is such a place.
    pub fn spoil(&self, pointer: &str, value: Value) {
        lock(&self.shared.inner).faults.spoiled.push((pointer.to_owned(), value));
    }

    /// From now on this text is told instead of the page.
    pub fn tell(&self, page: &str) {
        lock(&self.shared.inner).faults.page = Some(page.to_owned());
    }

    /// Everything that was spoiled, dropped or refused is as it was; the mood is [`Mood::Alive`].
    pub fn heal(&self) {
        lock(&self.shared.inner).faults = Faults::default();
        self.set_mood(Mood::Alive);
    }

    /// It ends and begins anew on the same ports: it has forgotten which workers were decommissioned and what is over,
    /// and counts drivers from zero.
    pub fn restart(&self, memory: Memory) {
        let mut inner = lock(&self.shared.inner);
        inner.cluster.advance(now());
        inner.cluster.restart(memory, now());
    }

    /// Changes when waiting drivers land.
    pub fn set_landing(&self, landing: Landing) {
        lock(&self.shared.inner).cluster.landing = landing;
    }

    /// Changes how the next drivers end.
    pub fn set_fate(&self, fate: Option<Fate>) {
        lock(&self.shared.inner).cluster.fate = fate;
    }

    /// The addresses that have a worker, for [`Source::Named`].
    pub fn set_hosts(&self, hosts: &[&str]) {
        let machine = |host: &&str| Machine { id: (*host).to_owned(), host: (*host).to_owned() };
        lock(&self.shared.inner).named = hosts.iter().map(machine).collect();
    }

    /// Submits a driver as somebody else would, with one core and 512 MiB; returns its id. It has no more than so many
    /// cores for its executors.
    pub async fn submit(&self, main_class: &str, max_cores: u32) -> String {
        self.shared.refresh().await;
        let mut inner = lock(&self.shared.inner);
        let wish = Wish {
            main_class: main_class.to_owned(),
            app_name: "somebody-elses".to_owned(),
            cores: 1,
            memory_mib: 512,
            supervise: true,
            executor_memory_mib: 512,
            max_cores: Some(max_cores),
        };
        let id = inner.cluster.submit(wish, now());
        inner.cluster.advance(now());
        id
    }

    /// Lets a waiting driver land: on the worker with this address, or on one chosen by chance. Errors when it does not
    /// wait, or when no such worker is alive and has room.
    pub async fn land(&self, driver: &str, host: Option<&str>) -> Result<()> {
        self.shared.refresh().await;
        let landed = lock(&self.shared.inner).cluster.land(Some(driver), host, now());
        ensure!(landed.is_some(), "{driver} cannot land on {host:?}: {}", self.shared.page());
        Ok(())
    }

    /// Lets a driver end, with what its worker reports.
    pub fn end_driver(&self, driver: &str, end: End, exception: Option<&str>) {
        lock(&self.shared.inner).cluster.end(driver, end, exception.map(str::to_owned), now());
    }

    /// Opens the pages of a driver that runs, on its worker's address and about the application that the master shows,
    /// with running tasks by address of executor. Errors when it does not run, or when the address is not of this
    /// machine, as those of pods.
    pub async fn driver_pages(&self, driver: &str, port: u16, tasks: &[(&str, u32)]) -> Result<DriverPages> {
        let (host, id, name) = {
            let inner = lock(&self.shared.inner);
            let stay = inner.cluster.stays().iter().rfind(|stay| stay.driver == driver && stay.to.is_none());
            let host = stay.with_context(|| format!("{driver} does not run"))?.host.clone();
            let app = inner.cluster.apps().0.iter().find(|app| app.driver == driver);
            let app = app.with_context(|| format!("{driver} has no application"))?;
            (host, app.id.clone(), app.wish.app_name.clone())
        };
        DriverPages::start((&host, port), (&id, &name), tasks).await
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl World {
    /// Starts a fake master whose workers are the instances of the world's group.
    pub async fn fake_master(&self, setup: Setup) -> Result<FakeMaster> {
        FakeMaster::start(&self.bed, Source::Group(self.group.clone()), setup).await
    }

    /// Starts a fake master whose workers are pods of the world's namespace with these labels.
    pub async fn fake_master_of_pods(&self, selector: &str, setup: Setup) -> Result<FakeMaster> {
        let (namespace, selector) = (self.namespace.clone(), selector.to_owned());
        FakeMaster::start(&self.bed, Source::Pods { namespace, selector }, setup).await
    }
}
