//! What must hold for the removal of a worker.

use super::is_open;
use super::workers::{Case, changes};
use crate::Known;
use crate::behavior::Select;
use crate::workers::{
    Cluster, DriverAt, Hold, Member, MemberState, Observed, OpenIntent, Pool, PoolRef, Removal, Step, Worker,
    WorkerState,
};
use std::net::IpAddr;

/// What the master says, if it was read, asked slowly and plainly.
pub(super) struct Seen<'a> {
    cluster: Option<&'a Cluster>,
    /// Addresses of the members that have one.
    addresses: Vec<&'a str>,
}

/// The address of a host, if its name is one.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Whether the master has found no worker for the driver yet.
fn waits(driver: &DriverAt) -> bool {
    driver.state == "SUBMITTED" && driver.worker.is_none()
}

fn is_same(one: &str, other: &str) -> bool {
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

impl<'a> Seen<'a> {
    pub fn of(pool: &'a Pool, cluster: &'a Known<Cluster>) -> Self {
        let addresses = pool.members.iter().filter_map(|member| member.address.known()).map(String::as_str).collect();
        Self { cluster: cluster.known(), addresses }
    }

    fn workers(&self) -> &'a [Worker] {
        self.cluster.map_or(&[][..], |cluster| cluster.workers.as_slice())
    }

    /// Workers on the machine of a member that are not dead.
    fn live(&self, member: &Member) -> Vec<&'a Worker> {
        let Known::Known(address) = &member.address else { return Vec::new() };
        let here = |worker: &&'a Worker| worker.state != WorkerState::Dead && is_same(&worker.host, address);
        self.workers().iter().filter(here).collect()
    }

    /// Whether no other member has its address.
    fn is_alone(&self, member: &Member) -> bool {
        let Known::Known(address) = &member.address else { return false };
        self.addresses.iter().filter(|other| is_same(other, address)).count() == 1
    }

    /// Hosts of the workers that drivers run on; none for a driver that may be anywhere.
    fn driver_hosts(&self) -> Vec<Option<&'a str>> {
        let host =
            |id: &String| self.workers().iter().find(|worker| worker.id == *id).map(|worker| worker.host.as_str());
        let placed = self.drivers().iter().filter(|driver| !waits(driver));
        placed.map(|driver| driver.worker.as_ref().and_then(host)).collect()
    }

    fn drivers(&self) -> &'a [DriverAt] {
        self.cluster.map_or(&[][..], |cluster| cluster.drivers.as_slice())
    }

    /// Whether a driver waits for a worker, so that it may come to any that is not cordoned.
    pub fn has_waiting_driver(&self) -> bool {
        self.drivers().iter().any(waits)
    }

    /// Whether a driver runs on the machine of the member.
    pub fn hosts_driver(&self, pool: &Pool, id: &str) -> bool {
        let Some(Known::Known(address)) = pool.members.iter().find(|member| member.id == id).map(|m| &m.address) else {
            return false;
        };
        self.driver_hosts().iter().flatten().any(|host| is_same(host, address))
    }

    /// Whether a driver may run on any member.
    pub fn has_lost_driver(&self) -> bool {
        self.driver_hosts().iter().any(|host| match host {
            None => true,
            Some(host) => address(host).is_none() && !self.addresses.iter().any(|known| is_same(known, host)),
        })
    }

    /// Whether the member serves and its worker is cordoned, and no other is there.
    pub fn is_cordoned(&self, pool: &Pool, id: &str) -> bool {
        pool.members.iter().any(|member| member.id == id && self.is_out(member))
    }

    fn is_out(&self, member: &Member) -> bool {
        let live = self.live(member);
        let cordoned = live.iter().any(|worker| worker.state == WorkerState::Decommissioned);
        member.state == MemberState::InService
            && cordoned
            && !live.iter().any(|worker| worker.state == WorkerState::Alive)
    }

    /// Members that serve and are cordoned.
    pub fn cordoned(&self, pool: &Pool) -> i32 {
        i32::try_from(pool.members.iter().filter(|member| self.is_out(member)).count()).unwrap_or(i32::MAX)
    }

    /// Whether the member is one worker that is alive and well.
    fn is_sound(&self, member: &Member) -> bool {
        let alive = matches!(self.live(member)[..], [Worker { state: WorkerState::Alive, .. }]);
        alive && member.healthy && member.state == MemberState::InService && self.is_alone(member)
    }

    /// Whether a driver or tasks run on the member's machine.
    pub fn is_busy(&self, pool: &Pool, id: &str) -> bool {
        let tasks = |worker: &&Worker| match worker.tasks {
            Known::Known(tasks) if tasks >= 0 => tasks > 0,
            _ => worker.cores_used > 0,
        };
        let member = pool.members.iter().find(|member| member.id == id);
        let works = member.is_some_and(|member| self.live(member).iter().any(tasks));
        let takes = |worker: &&Worker| worker.state != WorkerState::Decommissioned;
        let open = member.is_none_or(|member| self.live(member).is_empty() || self.live(member).iter().any(takes));
        works || self.hosts_driver(pool, id) || self.has_lost_driver() || (open && self.has_waiting_driver())
    }

    /// Whether a worker with that host is alive on none of the members.
    pub fn is_stranger(&self, host: &str) -> bool {
        let alive = self.workers().iter().any(|worker| worker.host == host && worker.state == WorkerState::Alive);
        alive && !self.addresses.iter().any(|known| is_same(known, host))
    }
}

/// What is wrong with one removal.
pub(super) fn violations(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>, removal: &Removal, found: &mut Vec<String>) {
    let mut broken = |is_broken: bool, text: &str| found.extend(is_broken.then(|| text.to_owned()));
    let Some(member) = pool.members.iter().find(|member| member.id == removal.id) else {
        broken(true, "removes what is not a member");
        return;
    };
    let live = seen.live(member);
    let named = live.first().is_some_and(|worker| {
        live.len() == 1 && Some(&worker.id) == removal.worker.as_ref() && Some(&worker.host) == removal.host.as_ref()
    });
    broken(member.address.known() != Some(&removal.address), "names another address");
    broken(!seen.is_alone(member), "removes a machine that may be another one");
    broken(seen.hosts_driver(pool, &removal.id), "removes a driver's host");
    broken(seen.has_lost_driver(), "removes while a driver may run anywhere");
    let is_out = seen.is_out(member);
    broken(seen.has_waiting_driver() && !is_out, "removes a worker that a driver may come to");
    broken(!named, "does not name the one worker that is there");
    broken(removal.from != pool.desired, "assumes another desired number than was seen");
    broken(removal.to != removal.from.saturating_sub(1), "does not lower the desired number by one");
    let serving = pool.members.iter().filter(|member| member.state == MemberState::InService).count();
    let still = serving == pool.members.len() && i32::try_from(serving).is_ok_and(|serving| serving == pool.desired);
    broken(!still, "removes while members come or go");
    broken(!pool.obstacles.is_empty(), "removes although something stands against it");
    broken(!matches!(case.observed.cluster, Known::Known(_)), "removes although the master was not read");
    broken(!case.is_approved(removal.from, removal.to), "removes without approval");
    broken(!is_out && !is_open(&case.policy.change.windows, case.now), "removes while no window is open");
    let bare = |member: &Member| member.state == MemberState::InService && !member.protected;
    let open_to_aws = pool.newcomers_protected != Known::Known(true) || pool.members.iter().any(bare);
    broken(open_to_aws && matches!(case.policy.pool, PoolRef::AutoScalingGroup(_)), "removes while AWS may end others");
    let left = pool.members.iter().filter(|other| other.id != member.id && seen.is_sound(other)).count();
    let left = i32::try_from(left).unwrap_or(i32::MAX);
    let needed = needed(case, pool, (seen, member));
    broken(left < needed, "leaves too few workers");
    broken(removal.floor < needed, "writes down too low a floor");
    broken(skips_cordon(case, seen, member, removal), "does not cordon first");
    load(case, is_out, &mut broken);
    if !matches!(case.observed.intent, OpenIntent::Removing(_)) {
        begins(case, pool, (seen, member), &mut broken);
    }
}

/// Sound workers that must be left. A cordoned one that makes room for another takes none away.
fn needed(case: &Case<'_>, pool: &Pool, (seen, member): (&Seen<'_>, &Member)) -> i32 {
    let (least, _) = case.bounds();
    let wanted = case.plan.size.as_ref().map_or(0, |size| size.wanted);
    let of_spec = match case.scaling() {
        _ if !seen.is_out(member) => least.max(wanted),
        Some(_) => least,
        None => 0,
    };
    [of_spec, pool.min_size, 1].into_iter().max().unwrap_or(1)
}

/// Whether a cordoned worker without a driver stays for no better reason than that too few sound ones would be left,
/// although it is none of them and the minimum is kept; or, where it would make room for one that is wanted, that
/// records are near their end.
pub(super) fn is_left(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>) -> bool {
    let plan = case.plan;
    let is_done = plan.raise.is_some() || plan.removal.is_some() || case.observed.intent != OpenIntent::None;
    let free = |member: &&Member| {
        seen.is_out(member)
            && seen.live(member).len() == 1
            && seen.is_alone(member)
            && !seen.hosts_driver(pool, &member.id)
    };
    let Some(member) = pool.members.iter().find(free).filter(|_| !is_done) else { return false };
    let left = pool.members.iter().filter(|other| seen.is_sound(other)).count();
    let is_enough = i32::try_from(left).is_ok_and(|left| left >= needed(case, pool, (seen, member)));
    let poor = |hold: &Hold| match hold {
        Hold::BelowTarget { .. } => true,
        Hold::TimeToLoss => makes_room(case, pool, seen),
        _ => false,
    };
    // They explain, and hold no removal.
    let explains =
        |hold: &Hold| matches!(hold, Hold::NoEffect { .. } | Hold::AboveMaximum { .. } | Hold::WorkerNotInPool { .. });
    is_enough && plan.holds.iter().any(poor) && plan.holds.iter().all(|hold| poor(hold) || explains(hold))
}

/// Whether more is wanted, no policy forbids it, and there is no room.
fn makes_room(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>) -> bool {
    let (Some(scaling), Some(size)) = (case.scaling(), &case.plan.size) else { return false };
    let up = &scaling.behavior.scale_up;
    let is_free = case.observed.history.behavior.changes.is_empty()
        && up.select_policy == Select::Max
        && up.policies.iter().any(|policy| policy.value > 0);
    let capacity = pool.desired.saturating_sub(seen.cordoned(pool));
    is_free && size.wanted > capacity && pool.desired >= pool.max_size.min(case.bounds().1)
}

/// Whether a removal may stay on record although it is not gone on with: its worker was cordoned, nothing else is done,
/// and something that decides about it is not known.
pub(super) fn may_wait(case: &Case<'_>, open: &Removal) -> bool {
    let Observed { pool, cluster, .. } = case.observed;
    let has_begun = open.step != Step::Cordon;
    let is_there = |pool: &Pool| {
        let serves = |member: &Member| member.id == open.id && member.state == MemberState::InService;
        pool.desired == open.from && pool.obstacles.is_empty() && pool.members.iter().any(serves)
    };
    let may = match (pool, cluster) {
        (Known::Known(pool), Known::Known(_)) => {
            let seen = Seen::of(pool, cluster);
            let is_out = seen.is_cordoned(pool, &open.id) && !seen.hosts_driver(pool, &open.id);
            is_out && is_there(pool) && !case.plan.signals.is_empty()
        }
        (Known::Known(pool), Known::Absent | Known::Unknown(_)) => has_begun && is_there(pool),
        (Known::Unknown(_), _) => has_begun,
        (Known::Absent, _) => false,
    };
    may && case.is_managed() && !changes(case.plan)
}

/// Whether nothing but signals that are not known speaks against a removal whose worker is cordoned.
pub(super) fn must_wait(case: &Case<'_>, open: &Removal) -> bool {
    let Known::Known(pool) = &case.observed.pool else { return false };
    let holds = &case.plan.holds;
    let is_blind = !holds.is_empty() && holds.iter().all(|hold| matches!(hold, Hold::SignalsMissing { .. }));
    is_blind && !changes(case.plan) && Seen::of(pool, &case.observed.cluster).is_cordoned(pool, &open.id)
}

/// Whether it goes on to the end of a worker that is not cordoned, or that nobody has looked at since.
fn skips_cordon(case: &Case<'_>, seen: &Seen<'_>, member: &Member, removal: &Removal) -> bool {
    let was_looked_at = matches!(&case.observed.intent, OpenIntent::Removing(open) if open.step != Step::Cordon);
    removal.step != Step::Cordon && !(was_looked_at && seen.is_out(member))
}

/// Load must be known as a whole before anything goes for want of it.
fn load(case: &Case<'_>, is_out: bool, broken: &mut impl FnMut(bool, &str)) {
    if case.scaling().is_none() {
        return;
    }
    let Observed { load, risk, .. } = case.observed;
    let unknown = !matches!(load.batch, Known::Known(_)) || !matches!(risk, Known::Known(_));
    let silent = !case.plan.signals.is_empty() || case.plan.size.is_none();
    broken(unknown || silent || !case.knows_load(), "removes although signals are missing");
    // A cordoned one reads nothing new.
    broken(!is_out && risk.known().is_some_and(|risk| risk.lost), "removes although records are lost");
}

/// What must hold when a removal begins.
fn begins(case: &Case<'_>, pool: &Pool, (seen, member): (&Seen<'_>, &Member), broken: &mut impl FnMut(bool, &str)) {
    let past = &case.observed.history;
    broken(past.cordon_refused.as_ref().is_some_and(|refused| refused.until > case.now), "removes without a cordon");
    broken(
        past.end_refused.as_ref().is_some_and(|refused| refused.until > case.now),
        "asks again for what was refused",
    );
    let (least, most) = case.bounds();
    let capacity = pool.desired.saturating_sub(seen.cordoned(pool));
    let is_out = seen.is_out(member);
    let wanted = case.plan.size.as_ref().map_or(least, |size| size.wanted.max(least));
    broken(!is_out && capacity <= wanted.min(most), "removes a worker that is wanted");
    let Some(scaling) = case.scaling() else { return };
    broken(past.removed_last_hour >= scaling.removals_per_hour, "passes what may be removed within an hour");
    if is_out {
        return;
    }
    let age = |at: jiff::Timestamp| case.now.as_second().saturating_sub(at.as_second());
    let raised = past.behavior.changes.last().filter(|change| change.to > change.from);
    let is_soon = raised.is_some_and(|change| age(change.at) < i64::from(scaling.cooldown_seconds));
    broken(is_soon, "removes too soon after workers were added");
    let window = i64::from(scaling.behavior.scale_down.stabilization_window_seconds);
    let recommended = &past.behavior.recommended;
    let was_wanted = recommended.iter().any(|one| age(one.at) < window && one.replicas >= capacity);
    broken(
        capacity <= most && ((window > 0 && recommended.is_empty()) || was_wanted),
        "removes what was wanted a short time ago",
    );
}
