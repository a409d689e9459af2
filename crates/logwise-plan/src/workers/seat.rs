//! Which worker, and which driver, sits on which instance or pod.

use super::facts::{Cluster, DriverAt, Member, MemberState, Pool, Worker, WorkerState};
use crate::Known;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// State of a driver that waits for a worker, in the master's words.
const SUBMITTED: &str = "SUBMITTED";

/// A member with what runs on it.
pub(super) struct Seat<'a> {
    pub member: &'a Member,
    /// The worker there; of several the one that is most alive.
    pub worker: Option<&'a Worker>,
    /// Workers there that are not dead.
    pub live: usize,
    /// Whether its address is known, and is no other member's.
    pub alone: bool,
    /// A driver there.
    pub driver: Option<&'a DriverAt>,
}

impl<'a> Seat<'a> {
    fn of(member: &'a Member) -> Self {
        Self { member, worker: None, live: 0, alone: member.address.known().is_some(), driver: None }
    }

    fn add(&mut self, worker: &'a Worker) {
        self.live += usize::from(worker.state != WorkerState::Dead);
        let order = |worker: &'a Worker| (liveliness(&worker.state), &worker.id);
        if self.worker.is_none_or(|present| order(worker) < order(present)) {
            self.worker = Some(worker);
        }
    }

    /// Of several drivers the first one is named.
    fn seat(&mut self, driver: &'a DriverAt) {
        if self.driver.is_none_or(|present| driver.id < present.id) {
            self.driver = Some(driver);
        }
    }

    fn has(&self, state: &WorkerState) -> bool {
        self.member.state == MemberState::InService && self.worker.is_some_and(|worker| worker.state == *state)
    }

    /// Whether it serves and nothing new can come to it.
    pub fn is_cordoned(&self) -> bool {
        self.has(&WorkerState::Decommissioned)
    }

    /// Whether it certainly is good for something.
    pub fn is_sound(&self) -> bool {
        self.is_plain() && self.has(&WorkerState::Alive) && self.member.healthy
    }

    /// Whether it is certain which machine and which worker it is.
    pub fn is_plain(&self) -> bool {
        self.alone && self.live == 1
    }

    /// Whether it may be ended once it is cordoned. Where no worker can be cordoned, a driver could come at any moment.
    pub fn is_removable(&self) -> bool {
        self.is_plain() && self.driver.is_none() && (self.is_cordoned() || self.has(&WorkerState::Alive))
    }
}

/// How alive a worker is; less is more.
fn liveliness(state: &WorkerState) -> u8 {
    match state {
        WorkerState::Alive => 0,
        WorkerState::Decommissioned => 1,
        WorkerState::Other(_) => 2,
        WorkerState::Dead => 3,
    }
}

/// All members of a pool with what runs on them.
pub(super) struct Seats<'a> {
    pub all: Vec<Seat<'a>>,
    /// A driver that may run on any of them: its worker, or the machine of its worker, is not known.
    pub lost_driver: Option<&'a DriverAt>,
    /// Whether a driver waits for a worker: it runs nowhere yet. The master names the worker as soon as it runs.
    pub waits: bool,
    /// A worker that is alive and on none of them; of several the one with the first host.
    pub stranger: Option<&'a Worker>,
}

impl<'a> Seats<'a> {
    /// Without a cluster the seats are empty.
    pub fn of(pool: &'a Pool, cluster: Option<&'a Cluster>) -> Self {
        let all: Vec<Seat<'a>> = pool.members.iter().map(Seat::of).collect();
        let mut seats = Self { all, lost_driver: None, waits: false, stranger: None };
        let places = places(&mut seats.all);
        if let Some(cluster) = cluster {
            seats.seat_workers(&places, &cluster.workers);
            seats.seat_drivers(&places, cluster);
        }
        seats
    }

    fn seat_workers(&mut self, places: &Places<'a>, workers: &'a [Worker]) {
        for worker in workers {
            match places.get(&Host::of(&worker.host)) {
                Some(here) => self.at(here, |seat| seat.add(worker)),
                None if worker.state != WorkerState::Alive => {}
                None if self.stranger.is_none_or(|first| (&worker.host, &worker.id) < (&first.host, &first.id)) => {
                    self.stranger = Some(worker);
                }
                None => {}
            }
        }
    }

    fn seat_drivers(&mut self, places: &Places<'a>, cluster: &'a Cluster) {
        if cluster.drivers.is_empty() {
            return;
        }
        let workers: BTreeMap<&str, &'a Worker> =
            cluster.workers.iter().map(|worker| (worker.id.as_str(), worker)).collect();
        for driver in &cluster.drivers {
            if driver.worker.is_none() && driver.state == SUBMITTED {
                self.waits = true;
                continue;
            }
            let worker = driver.worker.as_deref().and_then(|id| workers.get(id).copied());
            let host = worker.map(|worker| Host::of(&worker.host));
            match host.as_ref().map(|host| (places.get(host), host)) {
                Some((Some(here), _)) => self.at(here, |seat| seat.seat(driver)),
                // A machine of others. A name could be that of a member.
                Some((None, Host::Address(_))) => {}
                Some((None, Host::Name(_))) | None => self.lost_driver = self.lost_driver.or(Some(driver)),
            }
        }
    }

    fn at(&mut self, places: &[usize], mut change: impl FnMut(&mut Seat<'a>)) {
        for place in places {
            if let Some(seat) = self.all.get_mut(*place) {
                change(seat);
            }
        }
    }

    /// The member with that id.
    pub fn find(&self, id: &str) -> Option<&Seat<'a>> {
        self.all.iter().find(|seat| seat.member.id == id)
    }

    /// Members that serve and are cordoned: no capacity.
    pub fn cordoned(&self) -> i32 {
        count(self.all.iter().filter(|seat| seat.is_cordoned()))
    }

    /// Sound workers besides that one.
    pub fn sound_without(&self, id: &str) -> i32 {
        count(self.all.iter().filter(|seat| seat.is_sound() && seat.member.id != id))
    }
}

pub(super) fn count<T>(all: impl Iterator<Item = T>) -> i32 {
    i32::try_from(all.count()).unwrap_or(i32::MAX)
}

/// Where the members with an address are.
type Places<'a> = BTreeMap<Host<'a>, Vec<usize>>;

fn places<'a>(seats: &mut [Seat<'a>]) -> Places<'a> {
    let mut places = Places::new();
    for (place, seat) in seats.iter().enumerate() {
        if let Known::Known(address) = &seat.member.address {
            places.entry(Host::of(address)).or_default().push(place);
        }
    }
    for place in places.values().filter(|here| here.len() > 1).flatten() {
        if let Some(seat) = seats.get_mut(*place) {
            seat.alone = false;
        }
    }
    places
}

/// A host as the pool and as Spark name it: addresses compare by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

impl<'a> Host<'a> {
    fn of(text: &'a str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_or(Self::Name(text), |address: IpAddr| Self::Address(address.to_canonical()))
    }
}

impl Pool {
    /// Each member with the worker that runs on it, if one does; of several the one that is most alive.
    pub fn workers_of<'a>(&'a self, cluster: &'a Cluster) -> Vec<(&'a Member, Option<&'a Worker>)> {
        Seats::of(self, Some(cluster)).all.into_iter().map(|seat| (seat.member, seat.worker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, address: &str) -> Member {
        Member::in_service(id, address)
    }

    fn pool(members: Vec<Member>) -> Pool {
        Pool::at_rest((0, 9), 2, members)
    }

    fn worker(id: &str, host: &str, state: WorkerState) -> Worker {
        let tasks = Known::Unknown(String::new());
        Worker { id: id.to_owned(), host: host.to_owned(), state, cores: 2, cores_used: 0, tasks }
    }

    fn cluster(workers: Vec<Worker>, on: &[Option<&str>]) -> Cluster {
        let driver = |worker: &Option<&str>| DriverAt {
            id: "d".to_owned(),
            state: "RUNNING".to_owned(),
            worker: worker.map(str::to_owned),
        };
        Cluster { url: String::new(), workers, drivers: on.iter().map(driver).collect(), app_cores: None }
    }

    #[test]
    fn addresses_compare_by_what_they_mean() {
        for (one, other) in [("10.0.0.1", "::ffff:10.0.0.1"), ("fd00::1", "[fd00:0::1]"), ("name", "name")] {
            assert_eq!(Host::of(one), Host::of(other), "{one}");
        }
        assert_ne!(Host::of("10.0.0.1"), Host::of("10.0.0.10"));
    }

    #[test]
    fn a_dead_entry_of_a_worker_that_came_back_does_not_count() {
        let pool = pool(vec![member("a", "10.0.0.1"), member("b", "10.0.0.2")]);
        let back = vec![
            worker("1", "10.0.0.1", WorkerState::Dead),
            worker("2", "10.0.0.1", WorkerState::Alive),
            worker("3", "10.0.0.2", WorkerState::Alive),
            worker("4", "10.0.0.2", WorkerState::Decommissioned),
        ];
        let cluster = cluster(back, &[]);
        let seats = Seats::of(&pool, Some(&cluster));
        assert!(seats.all[0].is_removable() && seats.all[0].is_sound());
        assert!(!seats.all[1].is_removable() && !seats.all[1].is_sound(), "a cordon reaches all workers of a host");
        let found: Vec<_> = pool.workers_of(&cluster).iter().map(|(_, w)| w.map(|w| w.id.clone())).collect();
        assert_eq!(found, [Some("2".to_owned()), Some("3".to_owned())]);
    }

    #[test]
    fn a_driver_whose_machine_nobody_can_name_may_be_anywhere() {
        let pool = pool(vec![member("a", "10.0.0.1")]);
        let workers = || {
            vec![
                worker("here", "10.0.0.1", WorkerState::Alive),
                worker("away", "10.9.9.9", WorkerState::Alive),
                worker("named", "ip-10-0-0-1.internal", WorkerState::Alive),
            ]
        };
        for (on, here, lost) in [
            (Some("here"), true, false),
            (Some("away"), false, false),
            (Some("named"), false, true),
            (Some("gone"), false, true),
            (None, false, true),
        ] {
            let cluster = cluster(workers(), &[on]);
            let seats = Seats::of(&pool, Some(&cluster));
            assert_eq!((seats.all[0].driver.is_some(), seats.lost_driver.is_some()), (here, lost), "{on:?}");
            assert_eq!(seats.stranger.map(|worker| worker.id.as_str()), Some("away"));
        }
    }

    #[test]
    fn a_driver_that_waits_for_a_worker_runs_nowhere() {
        let pool = pool(vec![member("a", "10.0.0.1")]);
        for (state, on, waits) in
            [("SUBMITTED", None, true), ("RELAUNCHING", None, false), ("SUBMITTED", Some("gone"), false)]
        {
            let mut cluster = cluster(vec![worker("1", "10.0.0.1", WorkerState::Alive)], &[on]);
            cluster.drivers[0].state = state.to_owned();
            let seats = Seats::of(&pool, Some(&cluster));
            assert_eq!((seats.waits, seats.lost_driver.is_some()), (waits, !waits), "{state} {on:?}");
        }
    }

    #[test]
    fn members_without_an_address_of_their_own_are_not_certain() {
        let mut unknown = member("c", "");
        unknown.address = Known::Unknown("not read".to_owned());
        let pool = pool(vec![member("a", "10.0.0.1"), member("b", "10.0.0.1"), unknown]);
        let cluster = cluster(vec![worker("1", "10.0.0.1", WorkerState::Alive)], &[Some("1")]);
        let seats = Seats::of(&pool, Some(&cluster));
        assert!(seats.all.iter().all(|seat| !seat.is_removable() && !seat.is_sound()));
        assert!(seats.all[0].driver.is_some() && seats.all[1].driver.is_some(), "it runs on one of the two");
    }
}
