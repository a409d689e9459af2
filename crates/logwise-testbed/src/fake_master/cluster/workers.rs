//! How workers come and go.

use std::collections::BTreeSet;

use super::{Cluster, Machine, Status, WORKER_PORT, What, Worker, WorkerState, date, millis, number};
use crate::fake_master::script::{Memory, Moment};

impl Cluster {
    /// There is a worker on each of these machines and on no other, as far as the master has noticed.
    pub fn follow(&mut self, machines: &[Machine], now: i64) {
        let silence = millis(self.setup.silence);
        let mut gone = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| worker.state != WorkerState::Dead) {
            if machines.contains(&worker.machine) {
                worker.lost = None;
                continue;
            }
            let since = *worker.lost.get_or_insert(now);
            let replaced = machines.iter().any(|machine| machine.host == worker.machine.host);
            if replaced || since + silence <= now {
                gone.push(worker.id.clone());
            }
        }
        gone.iter().for_each(|id| self.lose(id, now));
        for machine in machines {
            let known = |worker: &Worker| worker.state != WorkerState::Dead && worker.machine == *machine;
            if !self.workers.iter().any(known) {
                // A new worker takes the place of a dead one with its address.
                self.workers.retain(|worker| worker.machine.host != machine.host);
                let id = format!("worker-{}-{}-{WORKER_PORT}", date(now), machine.host);
                let (machine, state) = (machine.clone(), WorkerState::Alive);
                self.workers.push(Worker { id, machine, state, lost: None, residue: (0, 0) });
            }
        }
    }

    fn lose(&mut self, id: &str, now: i64) {
        for app in &mut self.apps {
            let before = app.executors.len();
            app.executors.retain(|one| one.worker != id);
            let lost = number(before - app.executors.len());
            if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
                worker.residue.0 += lost;
                worker.residue.1 += lost * app.wish.executor_memory_mib;
            }
        }
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
            worker.state = WorkerState::Dead;
        }
        let of_it = self.drivers.iter().filter(|driver| driver.worker.as_deref() == Some(id));
        let drivers: Vec<String> = of_it.map(|driver| driver.id.clone()).collect();
        self.begin_again(&drivers, now);
    }

    /// Supervised drivers whose workers are gone begin again under other ids; the others are over.
    fn begin_again(&mut self, drivers: &[String], now: i64) {
        for id in drivers {
            let supervised = self.drivers.iter().any(|driver| driver.id == *id && driver.wish.supervise);
            let end = if supervised { "RELAUNCHING" } else { "ERROR" };
            if let Some(wish) = self.over(id, end, None, now).filter(|_| supervised) {
                self.enter(wish, now);
            }
        }
    }

    /// Workers that the master knows on these addresses, dead ones aside, are marked a moment later: the answer comes
    /// first. Returns how many it knows and the ids of those that are not marked yet.
    pub fn cordon(&mut self, hosts: &BTreeSet<String>, now: i64) -> (usize, Vec<String>) {
        self.moment(Moment::Cordon, hosts.first().map(String::as_str), now);
        let known = |worker: &&Worker| {
            worker.state != WorkerState::Dead && hosts.contains(&worker.machine.host.to_ascii_lowercase())
        };
        let known: Vec<&Worker> = self.workers.iter().filter(known).collect();
        let fresh = known.iter().filter(|worker| worker.state != WorkerState::Decommissioned);
        let (count, fresh) = (known.len(), fresh.map(|worker| worker.id.clone()).collect::<Vec<_>>());
        if !fresh.is_empty() {
            self.due.push((now + millis(self.setup.marking), What::Mark(fresh.clone())));
        }
        self.moment(Moment::Mark, hosts.first().map(String::as_str), now);
        (count, fresh)
    }

    /// The master ends and begins anew. It has forgotten which workers were decommissioned, what it had not done yet,
    /// and what is over. Decommissioned workers are not among those that it kept, so that it does not find the drivers on
    /// them; nor has it kept where a driver waits.
    pub fn restart(&mut self, memory: Memory, now: i64) {
        let cordoned =
            |id: &String| self.workers.iter().any(|one| one.id == *id && one.state == WorkerState::Decommissioned);
        let missing = self.drivers.iter().filter(|driver| driver.worker.as_ref().is_none_or(cordoned));
        let missing: Vec<String> = missing.map(|driver| driver.id.clone()).collect();
        self.workers.retain(|worker| worker.state != WorkerState::Dead);
        let recovery = millis(self.setup.recovery);
        let state = if recovery > 0 { WorkerState::Unknown } else { WorkerState::Alive };
        self.workers.iter_mut().for_each(|worker| worker.state = state);
        self.due.retain(|(_, what)| matches!(what, What::End { .. }));
        (self.completed, self.finished) = (Vec::new(), Vec::new());
        (self.driver_numbers, self.app_numbers) = (0, 0);
        if memory == Memory::Lost {
            let ids: Vec<String> = self.drivers.iter().map(|driver| driver.id.clone()).collect();
            ids.iter().for_each(|id| drop(self.over(id, "KILLED", None, now)));
            (self.completed, self.finished) = (Vec::new(), Vec::new());
        }
        if recovery > 0 {
            self.status = Status::Recovering;
            self.due.push((now + recovery, What::Recover(missing)));
        } else {
            self.recover(&missing, now);
        }
    }

    /// The end of a recovery.
    pub(super) fn recover(&mut self, missing: &[String], now: i64) {
        self.status = Status::Alive;
        let unknown = self.workers.iter_mut().filter(|worker| worker.state == WorkerState::Unknown);
        unknown.for_each(|worker| worker.state = WorkerState::Alive);
        self.begin_again(missing, now);
    }
}
