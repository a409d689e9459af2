//! How drivers come and go.

use serde_json::json;

use super::{App, Cluster, Driver, Event, What, Wish, Worker, date, millis};
use crate::fake_master::script::{End, Landing, Moment};
use crate::stays::Stay;

impl Cluster {
    /// Takes a submission; returns the driver's id.
    pub fn submit(&mut self, wish: Wish, now: i64) -> String {
        self.events.push(Event { time: now, action: "SubmitDriver", params: json!({"mainClass": wish.main_class}) });
        self.enter(wish, now)
    }

    pub(super) fn enter(&mut self, wish: Wish, now: i64) -> String {
        let mut id = format!("driver-{}-{:04}", date(now), self.driver_numbers);
        self.driver_numbers += 1;
        // A master that began anew within a second counts from the start; a real one takes longer than that.
        while self.stays.iter().any(|stay| stay.driver == id) || self.drivers.iter().any(|driver| driver.id == id) {
            id = format!("driver-{}-{:04}", date(now), self.driver_numbers);
            self.driver_numbers += 1;
        }
        let driver = Driver { id: id.clone(), wish, state: "SUBMITTED", worker: None, started: now, exception: None };
        self.drivers.push(driver);
        id
    }

    /// The first waiting driver, or this one, lands on a worker with room: on this address, or anywhere. Returns its
    /// id.
    pub fn land(&mut self, id: Option<&str>, host: Option<&str>, now: i64) -> Option<String> {
        let waits = |driver: &Driver| driver.state == "SUBMITTED" && id.is_none_or(|id| driver.id == id);
        let places = (0..self.drivers.len()).filter(|place| waits(&self.drivers[*place]));
        for place in places.collect::<Vec<_>>() {
            let wish = self.drivers[place].wish.clone();
            let fits = |worker: &&Worker| {
                host.is_none_or(|host| worker.machine.host == host)
                    && self.has_room(worker, wish.cores, wish.memory_mib)
            };
            let free: Vec<Worker> = self.workers.iter().filter(fits).cloned().collect();
            if !free.is_empty() {
                let worker = &free[self.random.below(free.len())];
                return Some(self.launch(place, worker, now));
            }
        }
        None
    }

    fn launch(&mut self, place: usize, worker: &Worker, now: i64) -> String {
        let driver = &mut self.drivers[place];
        (driver.state, driver.worker) = ("RUNNING", Some(worker.id.clone()));
        let (id, wish) = (driver.id.clone(), driver.wish.clone());
        let host = worker.machine.host.clone();
        self.stays.push(Stay { driver: id.clone(), host, from: now, to: None });
        let app = format!("app-{}-{:04}", date(now), self.app_numbers);
        self.app_numbers += 1;
        let supervised = wish.supervise;
        self.apps.push(App { id: app, driver: id.clone(), wish, started: now, executors: Vec::new() });
        if let Some(fate) = self.fate.as_mut().filter(|fate| fate.times > 0) {
            fate.times -= 1;
            // A worker starts a supervised driver that failed again by itself, under the same id.
            if !(supervised && fate.end == End::Failed) {
                let end = What::End { driver: id.clone(), end: fate.end, exception: fate.exception.clone() };
                self.due.push((now + millis(self.setup.ending), end));
            }
        }
        id
    }

    /// Asks for the end of a driver, which comes a moment later. Errors, by returning false, for one that is over.
    pub fn kill(&mut self, id: &str, now: i64) -> bool {
        let known = self.drivers.iter().any(|driver| driver.id == id);
        if known {
            self.events.push(Event { time: now, action: "KillDriver", params: json!({"id": id}) });
            self.end(id, End::Killed, None, now);
        }
        known
    }

    /// A driver ends, a moment later.
    pub fn end(&mut self, id: &str, end: End, exception: Option<String>, now: i64) {
        let what = What::End { driver: id.to_owned(), end, exception };
        self.due.push((now + millis(self.setup.ending), what));
    }

    /// A driver is over; returns what it was to be, if it was not over before.
    pub(super) fn over(&mut self, id: &str, end: &'static str, exception: Option<String>, now: i64) -> Option<Wish> {
        let place = self.drivers.iter().position(|driver| driver.id == id)?;
        let mut driver = self.drivers.remove(place);
        (driver.state, driver.exception) = (end, exception);
        let wish = driver.wish.clone();
        if end != "KILLED" {
            let params = json!({"mainClass": wish.main_class, "state": end});
            self.events.push(Event { time: now, action: "DriverEnded", params });
        }
        self.completed.push(driver);
        let open = self.stays.iter_mut().filter(|stay| stay.driver == id && stay.to.is_none());
        open.for_each(|stay| stay.to = Some(now));
        let all = std::mem::take(&mut self.apps).into_iter();
        let (over, active): (Vec<App>, Vec<App>) = all.partition(|app| app.driver == id);
        self.apps = active;
        self.finished.extend(over.into_iter().map(|app| App { executors: Vec::new(), ..app }));
        Some(wish)
    }

    /// Something is asked for: a driver may land now, if that was arranged.
    pub fn moment(&mut self, moment: Moment, host: Option<&str>, now: i64) {
        match &mut self.landing {
            Landing::Random { percent } if moment == Moment::Page => {
                let percent = *percent;
                let waiting: Vec<String> =
                    self.drivers.iter().filter(|one| one.state == "SUBMITTED").map(|one| one.id.clone()).collect();
                for id in waiting {
                    if self.random.below(100) < usize::try_from(percent).unwrap_or(100) {
                        self.land(Some(&id), None, now);
                    }
                }
            }
            Landing::Once { moment: wanted, host: named, after } if *wanted == moment => {
                if *after > 0 {
                    *after -= 1;
                    return;
                }
                let named = named.clone();
                self.landing = Landing::Held;
                self.land(None, named.as_deref().or(host), now);
            }
            _ => {}
        }
    }
}
