use std::collections::BTreeSet;

use super::*;
use crate::fake_master::script::{Memory, Moment};

const NOW: i64 = 1_795_887_446_000;
const CLASS: &str = "com.example.Main";

fn machine(last: u8) -> Machine {
    Machine { id: format!("i-{last}"), host: format!("127.0.9.{last}") }
}

fn wish(supervise: bool) -> Wish {
    Wish {
        main_class: CLASS.into(),
        app_name: "logwise".into(),
        cores: 1,
        memory_mib: 512,
        supervise,
        executor_memory_mib: 512,
        max_cores: Some(2),
    }
}

/// A cluster of so many workers, from `127.0.9.4` on, on which nothing lands by itself.
fn cluster(count: u8) -> Cluster {
    let mut cluster = Cluster::new(Setup::default());
    cluster.landing = Landing::Held;
    let machines: Vec<Machine> = (4..4 + count).map(machine).collect();
    cluster.follow(&machines, NOW);
    cluster
}

fn driver_on(cluster: &mut Cluster, host: &str) -> String {
    let id = cluster.submit(wish(true), NOW);
    cluster.land(Some(&id), Some(host), NOW).unwrap()
}

fn cordon(cluster: &mut Cluster, host: &str, now: i64) -> (usize, usize) {
    let (known, fresh) = cluster.cordon(&BTreeSet::from([host.to_owned()]), now);
    (known, fresh.len())
}

fn states(cluster: &Cluster) -> Vec<&'static str> {
    cluster.workers().iter().map(|worker| worker.state.word()).collect()
}

fn host_of(cluster: &Cluster, driver: &str) -> Option<String> {
    let id = cluster.drivers().0.iter().find(|one| one.id == driver)?.worker.clone()?;
    cluster.workers().iter().find(|worker| worker.id == id).map(|worker| worker.machine.host.clone())
}

#[test]
fn a_cordon_is_answered_before_it_shows_and_counts_workers_that_have_it() {
    let mut cluster = cluster(2);
    assert_eq!(cordon(&mut cluster, "127.0.9.4", NOW), (1, 1));
    cluster.advance(NOW + 99);
    assert_eq!(states(&cluster), ["ALIVE", "ALIVE"]);
    cluster.advance(NOW + 100);
    assert_eq!(states(&cluster), ["DECOMMISSIONED", "ALIVE"]);
    assert_eq!(cordon(&mut cluster, "127.0.9.4", NOW + 200), (1, 0), "known, and nothing is left to do");
    assert_eq!(cordon(&mut cluster, "127.0.9.9", NOW), (0, 0));
    let events: Vec<&str> = cluster.events().iter().map(|event| event.action).collect();
    assert_eq!(events, ["Decommission"]);
}

#[test]
fn a_decommissioned_worker_keeps_its_driver_and_takes_no_other() {
    let mut cluster = cluster(1);
    let driver = driver_on(&mut cluster, "127.0.9.4");
    cordon(&mut cluster, "127.0.9.4", NOW);
    cluster.advance(NOW + 1_000);
    assert_eq!(host_of(&cluster, &driver).as_deref(), Some("127.0.9.4"));
    let waiting = cluster.submit(wish(true), NOW + 1_000);
    cluster.landing = Landing::AtOnce;
    cluster.advance(NOW + 2_000);
    assert_eq!(host_of(&cluster, &waiting), None);
    cluster.follow(&[machine(4), machine(5)], NOW + 3_000);
    cluster.advance(NOW + 3_000);
    assert_eq!(host_of(&cluster, &waiting).as_deref(), Some("127.0.9.5"));
}

#[test]
fn a_master_that_begins_anew_has_forgotten_the_cordon_and_what_is_over() {
    let mut cluster = cluster(2);
    let driver = driver_on(&mut cluster, "127.0.9.5");
    let gone = driver_on(&mut cluster, "127.0.9.5");
    cluster.end(&gone, End::Failed, None, NOW);
    cordon(&mut cluster, "127.0.9.4", NOW);
    cluster.advance(NOW + 1_000);
    assert_eq!((states(&cluster)[0], cluster.drivers().1.len()), ("DECOMMISSIONED", 1));
    cordon(&mut cluster, "127.0.9.5", NOW + 1_000);
    cluster.restart(Memory::Kept, NOW + 1_050);
    cluster.advance(NOW + 9_000);
    assert_eq!(states(&cluster), ["ALIVE", "ALIVE"], "the mark that was not made yet is lost too");
    assert_eq!((cluster.drivers().0.len(), cluster.drivers().1.len()), (1, 0));
    assert_eq!(host_of(&cluster, &driver).as_deref(), Some("127.0.9.5"));
    cluster.restart(Memory::Lost, NOW + 10_000);
    assert_eq!((cluster.drivers().0.len(), cluster.drivers().1.len()), (0, 0));
    assert!(cluster.stays().iter().all(|stay| stay.to.is_some()), "workers end drivers that nobody knows");
}

#[test]
fn a_master_that_begins_anew_does_not_find_drivers_on_cordoned_workers_nor_those_that_wait() {
    let mut cluster = cluster(2);
    let (moved, stays) = (driver_on(&mut cluster, "127.0.9.4"), driver_on(&mut cluster, "127.0.9.5"));
    let waits = cluster.submit(wish(true), NOW);
    let unsupervised = cluster.submit(wish(false), NOW);
    cordon(&mut cluster, "127.0.9.4", NOW);
    cluster.advance(NOW + 1_000);
    cluster.restart(Memory::Kept, NOW + 2_000);
    let (active, over) = cluster.drivers();
    let ended: Vec<(&str, &str)> = over.iter().map(|driver| (driver.id.as_str(), driver.state)).collect();
    let wanted = [(moved.as_str(), "RELAUNCHING"), (waits.as_str(), "RELAUNCHING"), (unsupervised.as_str(), "ERROR")];
    assert_eq!(ended, wanted);
    assert_eq!((active.len(), active[0].id.as_str()), (3, stays.as_str()));
    assert_eq!(cluster.stays()[0].to, Some(NOW + 2_000), "the worker ends a driver that its master does not know");
}

#[test]
fn recovering_takes_its_time() {
    let mut cluster = Cluster::new(Setup { recovery: Duration::from_secs(2), ..Setup::default() });
    cluster.follow(&[machine(4)], NOW);
    cluster.restart(Memory::Kept, NOW);
    cluster.advance(NOW + 1_999);
    assert_eq!((cluster.status, states(&cluster)), (Status::Recovering, vec!["UNKNOWN"]));
    let id = cluster.submit(wish(true), NOW + 1_999);
    cluster.advance(NOW + 1_999);
    assert_eq!(host_of(&cluster, &id), None, "nothing is placed meanwhile");
    cluster.advance(NOW + 2_000);
    assert_eq!((cluster.status, states(&cluster)), (Status::Alive, vec!["ALIVE"]));
    assert!(host_of(&cluster, &id).is_some());
}

#[test]
fn a_driver_whose_worker_is_gone_begins_again_under_another_id_or_not_at_all() {
    for (supervise, end, left) in [(true, "RELAUNCHING", 1), (false, "ERROR", 0)] {
        let mut cluster = cluster(2);
        let id = cluster.submit(wish(supervise), NOW);
        cluster.land(Some(&id), Some("127.0.9.4"), NOW).unwrap();
        cluster.landing = Landing::AtOnce;
        cluster.follow(&[machine(5)], NOW + 1_000);
        cluster.advance(NOW + 1_000);
        assert_eq!(states(&cluster), ["DEAD", "ALIVE"]);
        let (active, over) = cluster.drivers();
        assert_eq!((over[0].id.as_str(), over[0].state, active.len()), (id.as_str(), end, left));
        assert!(active.iter().all(|driver| driver.id != id && driver.state == "RUNNING"));
        assert_eq!(cluster.stays()[0].to, Some(NOW + 1_000));
    }
}

#[test]
fn a_dead_worker_keeps_the_cores_of_its_executors() {
    let mut cluster = cluster(1);
    driver_on(&mut cluster, "127.0.9.4");
    cluster.advance(NOW);
    assert_eq!(cluster.used(&cluster.workers()[0]), (2, 1_024));
    cluster.follow(&[], NOW + 1_000);
    assert_eq!((states(&cluster), cluster.used(&cluster.workers()[0])), (vec!["DEAD"], (1, 512)));
    cluster.follow(&[Machine { id: "i-9".into(), ..machine(4) }], NOW + 2_000);
    assert_eq!(states(&cluster), ["ALIVE"], "another instance on the address");
}

#[test]
fn a_silent_worker_is_alive_until_the_master_notices() {
    let mut cluster = Cluster::new(Setup { silence: Duration::from_secs(3), ..Setup::default() });
    cluster.follow(&[machine(4)], NOW);
    cluster.follow(&[], NOW + 1_000);
    cluster.follow(&[machine(4)], NOW + 2_000);
    cluster.follow(&[], NOW + 3_000);
    cluster.follow(&[], NOW + 5_999);
    assert_eq!(states(&cluster), ["ALIVE"]);
    cluster.follow(&[], NOW + 6_000);
    assert_eq!(states(&cluster), ["DEAD"]);
}

#[test]
fn executors_spread_and_leave_a_decommissioned_worker() {
    let mut cluster = Cluster::new(Setup { draining: Duration::from_secs(5), ..Setup::default() });
    cluster.follow(&[machine(4), machine(5), machine(6)], NOW);
    cluster.landing = Landing::Held;
    driver_on(&mut cluster, "127.0.9.4");
    cluster.advance(NOW);
    let used =
        |cluster: &Cluster| -> Vec<u32> { cluster.workers().iter().map(|worker| cluster.used(worker).0).collect() };
    assert_eq!((used(&cluster), cluster.apps().0[0].cores()), (vec![2, 1, 0], 2));
    cordon(&mut cluster, "127.0.9.5", NOW);
    cluster.advance(NOW + 1_000);
    assert_eq!((used(&cluster), cluster.apps().0[0].cores()), (vec![2, 1, 1], 2), "it goes on, and is replaced");
    cluster.advance(NOW + 6_000);
    assert_eq!(used(&cluster), [2, 0, 1]);
}

#[test]
fn a_waiting_driver_lands_at_the_arranged_moment() {
    let arranged = |moment: Moment, after: u32| {
        let mut cluster = cluster(2);
        let id = cluster.submit(wish(true), NOW);
        cluster.landing = Landing::Once { moment, after, host: None };
        (cluster, id)
    };
    let (mut mine, id) = arranged(Moment::Cordon, 0);
    cordon(&mut mine, "127.0.9.5", NOW);
    assert_eq!(host_of(&mine, &id).as_deref(), Some("127.0.9.5"), "on the very worker, before the mark");
    let (mut mine, id) = arranged(Moment::Mark, 1);
    cordon(&mut mine, "127.0.9.4", NOW);
    assert_eq!(host_of(&mine, &id), None, "the first passes");
    cordon(&mut mine, "127.0.9.5", NOW);
    assert_eq!(host_of(&mine, &id).as_deref(), Some("127.0.9.5"));
    let (mut mine, id) = arranged(Moment::Page, 0);
    mine.moment(Moment::Mark, None, NOW);
    assert_eq!(host_of(&mine, &id), None);
    mine.moment(Moment::Page, None, NOW);
    assert!(host_of(&mine, &id).is_some() && mine.landing == Landing::Held);
}

#[test]
fn chance_lands_drivers_sooner_or_later_and_never_where_none_may() {
    let mut hosts = BTreeSet::new();
    for seed in 0..40 {
        let mut cluster = Cluster::new(Setup { seed, ..Setup::default() });
        cluster.landing = Landing::Random { percent: 30 };
        cluster.follow(&[machine(4), machine(5), machine(6)], NOW);
        cordon(&mut cluster, "127.0.9.6", NOW);
        cluster.advance(NOW + 1_000);
        let id = cluster.submit(wish(true), NOW);
        let looks = (0..200).take_while(|_| {
            cluster.moment(Moment::Page, None, NOW);
            host_of(&cluster, &id).is_none()
        });
        assert!(looks.count() < 200, "it never landed");
        hosts.extend(host_of(&cluster, &id));
    }
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["127.0.9.4", "127.0.9.5"]);
}

#[test]
fn drivers_meet_their_fate_but_a_supervised_one_that_fails_goes_on() {
    let ended = |supervise: bool, end: End| {
        let mut cluster = cluster(1);
        cluster.landing = Landing::AtOnce;
        cluster.fate = Some(Fate { times: 1, end, exception: Some("no jar".into()) });
        cluster.submit(wish(supervise), NOW);
        cluster.advance(NOW);
        cluster.advance(NOW + 1_000);
        cluster.drivers().1.first().map(|driver| (driver.state, driver.exception.clone()))
    };
    assert_eq!(ended(true, End::Error), Some(("ERROR", Some("no jar".into()))));
    assert_eq!(ended(false, End::Failed), Some(("FAILED", Some("no jar".into()))));
    assert_eq!(ended(true, End::Failed), None);
}

#[test]
fn a_driver_is_killed_once_also_while_it_waits() {
    let mut cluster = cluster(1);
    let id = cluster.submit(wish(true), NOW);
    assert!(cluster.kill(&id, NOW) && !cluster.kill("driver-1", NOW));
    cluster.advance(NOW + 1_000);
    assert!(!cluster.kill(&id, NOW + 1_000), "it is over");
    assert_eq!((cluster.drivers().0.len(), cluster.drivers().1[0].state), (0, "KILLED"));
    let events: Vec<&str> = cluster.events().iter().map(|event| event.action).collect();
    assert_eq!(events, ["SubmitDriver", "KillDriver"]);
}
