//! What must be so before any worker is removed, at the first look and at the last one.

use super::facts::{MemberState, Obstacle, Pool};
use super::goal::About;
use super::hold::{Hold, UNKNOWN_HOST};
use super::seat::{self, Seat, Seats};
use super::{Policy, PoolRef, Protection, Removal, Sizing, cost};
use crate::Known;

/// Sound workers that there must be in any case: the driver needs one.
const LEAST_SOUND: i32 = 1;

/// What holds every removal, as far as the pool and the drivers decide it.
pub(super) fn closed(policy: &Policy, pool: &Pool, seats: &Seats<'_>) -> Vec<Hold> {
    let mut holds: Vec<Hold> = pool.obstacles.iter().map(obstacle).collect();
    if matches!(policy.pool, PoolRef::Deployment(_)) {
        holds.extend(deployment(pool, seats));
    } else {
        holds.extend(unprotected(pool));
    }
    holds.extend(gate(pool));
    holds.extend(seats.lost_driver.map(|_| Hold::DriverHost { id: UNKNOWN_HOST.to_owned() }));
    let mut different = Vec::new();
    for hold in holds {
        if !different.contains(&hold) {
            different.push(hold);
        }
    }
    different
}

fn obstacle(obstacle: &Obstacle) -> Hold {
    match obstacle {
        Obstacle::Refresh => Hold::Refresh,
        Obstacle::Rebalance => Hold::Rebalance,
        Obstacle::Suspended(process) => Hold::Suspended { process: process.clone() },
        Obstacle::Rollout => Hold::Rollout,
        Obstacle::DriverPodNotReady => Hold::DriverPodNotReady,
        Obstacle::Unread(why) => Hold::Unreadable { what: "what the group does".to_owned(), why: why.clone() },
    }
}

/// The deletion cost counts only among pods of one ReplicaSet, and only among those that are ready.
fn deployment(pool: &Pool, seats: &Seats<'_>) -> Vec<Hold> {
    let set = pool.members.first().map(|member| &member.replica_set);
    let is_of_one = set.is_none_or(|set| set.is_some() && pool.members.iter().all(|pod| pod.replica_set == *set));
    let waits = seats.all.iter().any(|seat| seat.driver.is_some() && seat.member.state != MemberState::InService);
    let holds = [(!is_of_one).then_some(Hold::Rollout), waits.then_some(Hold::DriverPodNotReady)];
    holds.into_iter().flatten().collect()
}

/// An instance that is not protected may be ended by AWS, whichever we name.
fn unprotected(pool: &Pool) -> Option<Hold> {
    let newcomers = pool.newcomers_protected == Known::Known(true);
    (!newcomers || !bare(pool).is_empty()).then_some(Hold::Unprotected)
}

/// Ids of the members in service that are not protected from scale-in, in their order.
pub(super) fn bare(pool: &Pool) -> Vec<&str> {
    let serving = pool.members.iter().filter(|member| member.state == MemberState::InService && !member.protected);
    let mut bare: Vec<&str> = serving.map(|member| member.id.as_str()).collect();
    bare.sort_unstable();
    bare
}

/// Members in service to protect now: as many as one call takes.
pub(super) fn to_protect(policy: &Policy, pool: &Pool) -> Vec<String> {
    /// Most ids in one call of `SetInstanceProtection`.
    const MOST: usize = 50;
    if policy.protection == Protection::Observe || matches!(policy.pool, PoolRef::Deployment(_)) {
        return Vec::new();
    }
    bare(pool).into_iter().take(MOST).map(str::to_owned).collect()
}

/// Whether the group is to be told to protect new instances.
pub(super) fn protects_newcomers(policy: &Policy, pool: &Pool) -> bool {
    policy.protection == Protection::Manage
        && matches!(policy.pool, PoolRef::AutoScalingGroup(_))
        && pool.newcomers_protected == Known::Known(false)
}

/// AWS compares with the desired number, not with what is in service: with launches on their way too few would be left.
fn gate(pool: &Pool) -> Option<Hold> {
    let open = pool.desired == pool.in_service() && others(pool) == 0;
    (!open).then(|| shut(pool))
}

fn shut(pool: &Pool) -> Hold {
    Hold::GateClosed { desired: pool.desired, in_service: pool.in_service(), others: others(pool) }
}

/// Members that are not in service.
fn others(pool: &Pool) -> i32 {
    seat::count(pool.members.iter().filter(|member| member.state != MemberState::InService))
}

/// More are in service than there should be, and the desired number may not follow.
pub(super) fn above(pool: &Pool) -> Option<Hold> {
    (pool.in_service() > pool.desired).then(|| shut(pool))
}

/// A driver that waits for a worker runs nowhere, but may come to any that is not cordoned.
pub(super) fn awaited(seats: &Seats<'_>, id: &str) -> Option<Hold> {
    let is_out = seats.find(id).is_some_and(Seat::is_cordoned);
    (seats.waits && !is_out).then(|| Hold::DriverHost { id: UNKNOWN_HOST.to_owned() })
}

/// Sound workers that must be left: what is wanted, but no fewer than the minimum of the spec and the pool's own.
pub(super) fn needed(policy: &Policy, pool: &Pool, wanted: i32) -> i32 {
    let least = match &policy.size {
        Sizing::Unmanaged | Sizing::Fixed(_) => 0,
        Sizing::Load(scaling) => scaling.min_replicas.min(scaling.max_replicas),
    };
    wanted.max(least).max(pool.min_size).max(LEAST_SOUND)
}

/// The same where that member goes: one that is cordoned is none of the sound ones, so it takes none away.
pub(super) fn needed_without(about: &About<'_>, seat: &Seat<'_>, wanted: i32) -> i32 {
    if !seat.is_cordoned() {
        return wanted;
    }
    let least = needed(about.policy, about.pool, 0);
    wanted.min(about.seats.sound_without("")).max(least)
}

/// Whether enough sound workers are left without the member `id`. A worker that is cordoned, or not well, is none.
pub(super) fn enough(seats: &Seats<'_>, id: &str, needed: i32) -> Result<(), Hold> {
    let left = seats.sound_without(id);
    if left >= needed { Ok(()) } else { Err(Hold::BelowTarget { left, needed }) }
}

/// The member that the removal names, if it still is what it was then and may be ended once it is cordoned.
pub(super) fn still<'s, 'a>(pool: &Pool, seats: &'s Seats<'a>, removal: &Removal) -> Result<&'s Seat<'a>, Hold> {
    let seat = same(pool, seats, removal)?;
    if seat.is_removable() { Ok(seat) } else { Err(Hold::CordonLost { id: removal.id.clone() }) }
}

/// The member that the removal names, if it still is what it was then, as far as is known.
pub(super) fn same<'s, 'a>(pool: &Pool, seats: &'s Seats<'a>, removal: &Removal) -> Result<&'s Seat<'a>, Hold> {
    let id = || removal.id.clone();
    let Some(seat) = seats.find(&removal.id) else { return Err(Hold::AddressUnknown { id: id() }) };
    if let Some(driver) = seat.driver {
        return Err(Hold::DriverLanded { id: id(), driver: driver.id.clone() });
    }
    if seat.member.state != MemberState::InService || pool.desired != removal.from {
        return Err(shut(pool));
    }
    let is_there = seat.member.address.known() == Some(&removal.address);
    if !is_there || !seat.alone || seat.live > 1 {
        return Err(Hold::AddressUnknown { id: id() });
    }
    Ok(seat)
}

/// Whether the worker of the seat is the one that the removal names, and cordoned.
pub(super) fn is_cordoned(seat: &Seat<'_>, removal: &Removal) -> bool {
    seat.is_cordoned() && seat.worker.map(|worker| &worker.id) == removal.worker.as_ref()
}

/// Whether all pods show the deletion costs that make Kubernetes end this one.
pub(super) fn costs_are_seen(policy: &Policy, seats: &Seats<'_>, id: &str) -> bool {
    matches!(policy.pool, PoolRef::AutoScalingGroup(_)) || cost::are_seen(seats, id)
}
