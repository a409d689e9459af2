//! In which order workers may be removed. Equal facts give an equal order: two leaders that see the same name the same.

use super::facts::{Member, MemberState};
use super::seat::{Seat, Seats};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A member with the reason for its place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranked {
    /// Instance id or pod name.
    pub id: String,
    /// Why it stands before the next one.
    pub reason: Rank,
}

/// Why a member stands where it stands. Those that are cordoned go first, then those that are not well, idle ones, and
/// the others by their tasks; what cannot be removed comes last. Of equal ones the zone decides, then the template, the
/// age, and at last the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rank {
    /// A driver runs on it: it is never removed.
    HostsDriver,
    /// It is not in service, so it is not removed.
    NotServing,
    /// The pool thinks that it is not well.
    Unhealthy,
    /// No worker of it can be cordoned for certain, so it is not removed.
    NotAlive,
    /// It is cordoned, so it is no capacity.
    Cordoned,
    /// No task runs on it.
    Idle,
    /// So many tasks run on it.
    Tasks(i32),
    /// Its zone has more members than others.
    ZoneSurplus,
    /// It was made from an older template.
    OldTemplate,
    /// It is older; of the same age, its id comes first.
    Age,
}

/// What the order is made from, first things first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    class: Class,
    in_zone: Reverse<usize>,
    current_template: bool,
    since: Timestamp,
    id: &'a str,
}

/// The first thing that the order is made from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Cordoned,
    Unhealthy,
    Idle,
    Tasks(i32),
    NotAlive,
    NotServing,
    HostsDriver,
}

impl Class {
    fn of(seat: &Seat<'_>) -> Self {
        match seat.worker {
            _ if seat.driver.is_some() => Self::HostsDriver,
            _ if seat.member.state != MemberState::InService => Self::NotServing,
            Some(worker) if seat.is_removable() => match worker.busy() {
                _ if seat.is_cordoned() => Self::Cordoned,
                _ if !seat.member.healthy => Self::Unhealthy,
                0 => Self::Idle,
                tasks => Self::Tasks(tasks),
            },
            _ => Self::NotAlive,
        }
    }

    fn rank(self) -> Rank {
        match self {
            Self::Cordoned => Rank::Cordoned,
            Self::Unhealthy => Rank::Unhealthy,
            Self::Idle => Rank::Idle,
            Self::Tasks(tasks) => Rank::Tasks(tasks),
            Self::NotAlive => Rank::NotAlive,
            Self::NotServing => Rank::NotServing,
            Self::HostsDriver => Rank::HostsDriver,
        }
    }
}

/// All members in the order in which they may be removed, the removable ones first, with the place of each in `seats`.
pub(super) fn ranked(seats: &Seats<'_>) -> Vec<(usize, Ranked)> {
    let zones = zones(seats);
    let in_zone = |member: &Member| member.zone.as_deref().and_then(|zone| zones.get(zone)).copied().unwrap_or(0);
    let smallest = zones.values().min().copied().unwrap_or(0);
    let mut order: Vec<(Key<'_>, usize)> = Vec::with_capacity(seats.all.len());
    for (place, seat) in seats.all.iter().enumerate() {
        let member = seat.member;
        let key = Key {
            class: Class::of(seat),
            in_zone: Reverse(in_zone(member)),
            current_template: member.current_template,
            since: member.since.unwrap_or(Timestamp::MAX),
            id: &member.id,
        };
        order.push((key, place));
    }
    order.sort_unstable();
    let next = order.iter().skip(1).map(|(key, _)| Some(key)).chain([None]);
    let reasons = order.iter().zip(next).map(|((key, place), next)| {
        let reason = reason(key, next, smallest);
        (*place, Ranked { id: key.id.to_owned(), reason })
    });
    reasons.collect()
}

/// What puts a member before the next one.
fn reason(key: &Key<'_>, next: Option<&Key<'_>>, smallest: usize) -> Rank {
    match next {
        Some(next) if next.class == key.class && key.class < Class::NotAlive => {
            if key.in_zone != next.in_zone && key.in_zone.0 > smallest {
                Rank::ZoneSurplus
            } else if key.current_template != next.current_template {
                Rank::OldTemplate
            } else {
                Rank::Age
            }
        }
        _ => key.class.rank(),
    }
}

/// Members in service per zone.
fn zones<'a>(seats: &Seats<'a>) -> BTreeMap<&'a str, usize> {
    let mut zones = BTreeMap::new();
    for seat in seats.all.iter().filter(|seat| seat.member.state == MemberState::InService) {
        if let Some(zone) = &seat.member.zone {
            *zones.entry(zone.as_str()).or_default() += 1;
        }
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Known;
    use crate::workers::facts::{Cluster, DriverAt, Pool, Worker, WorkerState};

    /// Members `a`, `b`, `c` and so on, each with a worker of the same name.
    fn facts(number: u8, change: impl Fn(&mut Pool, &mut Cluster)) -> (Pool, Cluster) {
        let names: Vec<String> = (0..number).map(|i| char::from(b'a' + i).to_string()).collect();
        let member = |(i, id): (usize, &String)| Member::in_service(id, format!("10.0.0.{i}"));
        let worker = |(i, id): (usize, &String)| Worker {
            id: id.clone(),
            host: format!("10.0.0.{i}"),
            state: WorkerState::Alive,
            cores: 4,
            cores_used: 4,
            tasks: Known::Known(0),
        };
        let mut pool = Pool::at_rest((0, 9), i32::from(number), names.iter().enumerate().map(member).collect());
        let workers = names.iter().enumerate().map(worker).collect();
        let mut cluster = Cluster { url: String::new(), workers, drivers: Vec::new(), app_cores: None };
        change(&mut pool, &mut cluster);
        (pool, cluster)
    }

    fn order((pool, cluster): &(Pool, Cluster)) -> Vec<(String, Rank)> {
        let ranked = ranked(&Seats::of(pool, Some(cluster)));
        ranked.into_iter().map(|(_, ranked)| (ranked.id, ranked.reason)).collect()
    }

    #[test]
    fn the_order_is_cordoned_unwell_idle_fewest_tasks_and_what_stays() {
        let facts = facts(8, |pool, cluster| {
            cluster.drivers.push(DriverAt { id: "d".into(), state: "RUNNING".into(), worker: Some("a".into()) });
            pool.members[1].state = MemberState::Leaving;
            cluster.workers[2].state = WorkerState::Dead;
            cluster.workers[3].tasks = Known::Known(7);
            cluster.workers[4].tasks = Known::Unknown("no answer".into());
            pool.members[6].healthy = false;
            cluster.workers[7].state = WorkerState::Decommissioned;
        });
        let expected = [
            ("h", Rank::Cordoned),
            ("g", Rank::Unhealthy),
            ("f", Rank::Idle),
            ("e", Rank::Tasks(4)),
            ("d", Rank::Tasks(7)),
            ("c", Rank::NotAlive),
            ("b", Rank::NotServing),
            ("a", Rank::HostsDriver),
        ];
        assert_eq!(order(&facts), expected.map(|(id, rank)| (id.to_owned(), rank)));
    }

    #[test]
    fn of_equal_ones_zone_template_age_and_id_decide() {
        let second = |second| Timestamp::from_second(second).ok();
        let facts = facts(6, |pool, _| {
            let zones = ["x", "x", "x", "y", "y", "y"];
            pool.members.iter_mut().zip(zones).for_each(|(member, zone)| member.zone = Some(zone.into()));
            pool.members[5].zone = Some("x".into());
            pool.members[1].current_template = false;
            pool.members[2].since = second(9);
            pool.members[5].since = second(8);
        });
        let expected = [
            ("b", Rank::OldTemplate),
            ("f", Rank::Age),
            ("c", Rank::Age),
            ("a", Rank::ZoneSurplus),
            ("d", Rank::Age),
            ("e", Rank::Idle),
        ];
        assert_eq!(order(&facts), expected.map(|(id, rank)| (id.to_owned(), rank)));
    }

    #[test]
    fn the_order_of_the_answer_does_not_matter() {
        let (mut pool, mut cluster) = facts(7, |_, cluster| cluster.workers[5].tasks = Known::Known(1));
        let before = order(&(pool.clone(), cluster.clone()));
        pool.members.reverse();
        cluster.workers.rotate_left(3);
        assert_eq!(order(&(pool, cluster)), before);
    }

    #[test]
    fn a_senseless_count_of_tasks_is_none() {
        let facts = facts(2, |_, cluster| cluster.workers[0].tasks = Known::Known(-5));
        assert_eq!(order(&facts).last(), Some(&("a".to_owned(), Rank::Tasks(4))));
    }
}
