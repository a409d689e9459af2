//! What the fake master knows, and how that changes. Time is an argument: milliseconds since 1970. Nothing runs in the
//! background: what has fallen due happens before the next look, in the order in which it fell due.

mod drivers;
mod workers;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::random::Random;
use super::script::{End, Fate, Landing, Setup};
use crate::stays::Stay;

/// Of each worker.
pub(super) const WORKER_PORT: u16 = 17_100;

/// A machine that should have a worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// Of the instance or the pod.
    pub id: String,
    /// Its address.
    pub host: String,
}

/// What a master calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Alive,
    Standby,
    Recovering,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Alive => "ALIVE",
            Status::Standby => "STANDBY",
            Status::Recovering => "RECOVERING",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    Alive,
    Decommissioned,
    Dead,
    Unknown,
}

impl WorkerState {
    pub fn word(self) -> &'static str {
        match self {
            WorkerState::Alive => "ALIVE",
            WorkerState::Decommissioned => "DECOMMISSIONED",
            WorkerState::Dead => "DEAD",
            WorkerState::Unknown => "UNKNOWN",
        }
    }
}

/// A worker as the master knows it.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub id: String,
    pub machine: Machine,
    pub state: WorkerState,
    /// Since when its machine is gone.
    lost: Option<i64>,
    /// Cores and memory of executors that a dead worker is still said to use.
    residue: (u32, u32),
}

/// What a submission asks for, as far as it counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub main_class: String,
    pub app_name: String,
    pub cores: u32,
    pub memory_mib: u32,
    pub supervise: bool,
    pub executor_memory_mib: u32,
    pub max_cores: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Driver {
    pub id: String,
    pub wish: Wish,
    /// `SUBMITTED`, `RUNNING`, or how it ended.
    pub state: &'static str,
    /// The id of its worker.
    pub worker: Option<String>,
    pub started: i64,
    pub exception: Option<String>,
}

/// One core of an application.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    worker: String,
    /// Its worker was decommissioned: it ends, and the application has it no more.
    leaving: bool,
}

#[derive(Debug, Clone)]
pub(super) struct App {
    pub id: String,
    pub driver: String,
    pub wish: Wish,
    pub started: i64,
    executors: Vec<Executor>,
}

impl App {
    /// The cores that it has.
    pub fn cores(&self) -> u32 {
        number(self.executors.iter().filter(|one| !one.leaving).count())
    }
}

/// Something that the master did or learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Milliseconds since 1970.
    pub time: i64,
    /// `Decommission`, `SubmitDriver`, `KillDriver`, or `DriverEnded` for one that ended otherwise.
    pub action: &'static str,
    /// The worker's address, the driver's class or id.
    pub params: Value,
}

#[derive(Debug, Clone)]
enum What {
    Mark(Vec<String>),
    Leave(String),
    End {
        driver: String,
        end: End,
        exception: Option<String>,
    },
    /// These drivers are not found again.
    Recover(Vec<String>),
}

/// See the module.
pub(super) struct Cluster {
    pub setup: Setup,
    pub status: Status,
    pub landing: Landing,
    pub fate: Option<Fate>,
    workers: Vec<Worker>,
    drivers: Vec<Driver>,
    completed: Vec<Driver>,
    apps: Vec<App>,
    finished: Vec<App>,
    stays: Vec<Stay>,
    events: Vec<Event>,
    due: Vec<(i64, What)>,
    random: Random,
    driver_numbers: u32,
    app_numbers: u32,
}

impl Cluster {
    pub fn new(setup: Setup) -> Cluster {
        Cluster {
            random: Random::new(setup.seed),
            setup,
            status: Status::Alive,
            landing: Landing::AtOnce,
            fate: None,
            workers: Vec::new(),
            drivers: Vec::new(),
            completed: Vec::new(),
            apps: Vec::new(),
            finished: Vec::new(),
            stays: Vec::new(),
            events: Vec::new(),
            due: Vec::new(),
            driver_numbers: 0,
            app_numbers: 0,
        }
    }

    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Drivers that run or wait, and those that are over.
    pub fn drivers(&self) -> (&[Driver], &[Driver]) {
        (&self.drivers, &self.completed)
    }

    /// Applications that run or wait, and those that are over.
    pub fn apps(&self) -> (&[App], &[App]) {
        (&self.apps, &self.finished)
    }

    pub fn stays(&self) -> &[Stay] {
        &self.stays
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Cores and memory of a worker that are in use.
    pub fn used(&self, worker: &Worker) -> (u32, u32) {
        if worker.state == WorkerState::Dead {
            return worker.residue;
        }
        let on_it = |id: &String| *id == worker.id;
        let drivers = self.drivers.iter().filter(|one| one.worker.as_ref().is_some_and(on_it)).map(|one| &one.wish);
        let (cores, memory) =
            drivers.fold((0, 0), |(cores, memory), wish| (cores + wish.cores, memory + wish.memory_mib));
        self.apps.iter().fold((cores, memory), |(cores, memory), app| {
            let here = number(app.executors.iter().filter(|one| one.worker == worker.id).count());
            (cores + here, memory + here * app.wish.executor_memory_mib)
        })
    }

    /// Everything that is due happens, then drivers and executors go where there is room.
    pub fn advance(&mut self, now: i64) {
        loop {
            let next =
                (0..self.due.len()).filter(|place| self.due[*place].0 <= now).min_by_key(|place| self.due[*place].0);
            let Some(place) = next else { break };
            let (at, what) = self.due.remove(place);
            self.happen(what, at);
            self.schedule(at);
        }
        self.schedule(now);
    }

    fn happen(&mut self, what: What, at: i64) {
        match what {
            What::Mark(ids) => ids.iter().for_each(|id| self.mark(id, at)),
            What::Leave(worker) => {
                for app in &mut self.apps {
                    app.executors.retain(|one| !(one.leaving && one.worker == worker));
                }
            }
            What::End { driver, end, exception } => {
                self.over(&driver, end.word(), exception, at);
            }
            What::Recover(missing) => self.recover(&missing, at),
        }
    }

    fn mark(&mut self, id: &str, at: i64) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else { return };
        if !matches!(worker.state, WorkerState::Alive | WorkerState::Unknown) {
            return;
        }
        worker.state = WorkerState::Decommissioned;
        let params = json!({"host": worker.machine.host});
        for app in &mut self.apps {
            app.executors.iter_mut().filter(|one| one.worker == id).for_each(|one| one.leaving = true);
        }
        self.events.push(Event { time: at, action: "Decommission", params });
        self.due.push((at + millis(self.setup.draining), What::Leave(id.to_owned())));
    }

    fn schedule(&mut self, now: i64) {
        if self.status != Status::Alive {
            return;
        }
        if self.landing == Landing::AtOnce {
            while self.land(None, None, now).is_some() {}
        }
        while self.place_executor() {}
    }

    /// Gives one more core to an application that may have it, on the worker with the fewest executors.
    fn place_executor(&mut self) -> bool {
        for place in 0..self.apps.len() {
            let app = &self.apps[place];
            if app.wish.max_cores.is_some_and(|most| app.cores() >= most) {
                continue;
            }
            let free = self.workers.iter().filter(|one| self.has_room(one, 1, app.wish.executor_memory_mib));
            let fewest = free.min_by_key(|one| app.executors.iter().filter(|own| own.worker == one.id).count());
            if let Some(worker) = fewest.map(|worker| worker.id.clone()) {
                self.apps[place].executors.push(Executor { worker, leaving: false });
                return true;
            }
        }
        false
    }

    fn has_room(&self, worker: &Worker, cores: u32, memory: u32) -> bool {
        let (used_cores, used_memory) = self.used(worker);
        worker.state == WorkerState::Alive
            && used_cores + cores <= self.setup.cores
            && used_memory + memory <= self.setup.memory_mib
    }
}

/// As Spark writes it into ids.
fn date(now: i64) -> String {
    Timestamp::from_millisecond(now).unwrap_or_default().strftime("%Y%m%d%H%M%S").to_string()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
