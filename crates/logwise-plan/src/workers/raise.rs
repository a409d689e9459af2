//! More workers: the desired number goes up, never down.

use super::confirm::read;
use super::facts::MemberState;
use super::goal::{About, Goal};
use super::hold::Hold;
use super::seat::{Seat, count};
use super::{Autoscaling, Plan, PoolRef, Raise, gate};
use crate::Known;
use crate::change::{self, Held, Kind, raise_plan_id};
use jiff::{SignedDuration, Timestamp};

/// The largest desired number that there may be.
pub(super) fn bound(about: &About<'_>, goal: &Goal<'_>) -> i32 {
    goal.most.min(about.pool.max_size)
}

/// Seconds for which a launch tells whether more would help.
const TELLS_SECONDS: i64 = 3_600;

/// Seconds by which the clock of AWS may differ from ours.
const CLOCKS_SECONDS: i64 = 60;

/// Launches fail, and fewer are in service than were asked for. What failed before the last raise says nothing of what
/// that has asked for; a Deployment shows a failure only as long as it lasts.
pub(super) fn failing(about: &About<'_>) -> Option<Hold> {
    let (pool, past) = (about.pool, &about.observed.history);
    let failed = pool.failed_launch.as_ref().filter(|_| pool.in_service() < pool.desired)?;
    let raises = past.behavior.changes.iter().filter(|change| change.to > change.from);
    let asked = raises.map(|change| change.at).max();
    let at = failed.at.saturating_add(SignedDuration::from_secs(CLOCKS_SECONDS)).unwrap_or(Timestamp::MAX);
    let lasts = matches!(about.policy.pool, PoolRef::Deployment(_));
    if !lasts && asked.is_some_and(|asked| at < asked) {
        return None;
    }
    let until = past.backoff_until.filter(|until| *until > about.now).unwrap_or(failed.at);
    Some(Hold::LaunchesFail { text: failed.text.clone(), until })
}

/// The desired number, or that in service if more are and AWS ends none of them: an older call that came late has
/// lowered it, and as long as the two differ nothing can be removed. One that is not well is being replaced. Where the
/// spec names a number, that bounds only what is launched: these are there.
pub(super) fn agreed(about: &About<'_>, goal: &Goal<'_>) -> i32 {
    let pool = about.pool;
    let stay = matches!(about.policy.pool, PoolRef::AutoScalingGroup(_)) && gate::bare(pool).is_empty();
    let stay = stay && pool.obstacles.is_empty() && pool.members.iter().all(|member| member.healthy);
    let agreed = if stay { pool.in_service() } else { pool.desired };
    let most = if goal.scaling.is_none() { pool.max_size } else { bound(about, goal) };
    agreed.min(most).max(pool.desired)
}

/// Plans the raise towards the goal.
pub(super) fn raise(about: &About<'_>, goal: &Goal<'_>, plan: &mut Plan) {
    let pool = about.pool;
    let from = pool.desired;
    let wished = goal.target.saturating_add(goal.cordoned);
    let bound = bound(about, goal);
    if wished > goal.most && from >= goal.most {
        plan.holds.push(Hold::AboveMaximum { desired: from });
    }
    if wished.min(goal.most) > pool.max_size {
        plan.holds.push(Hold::GroupMaximum { wanted: wished.min(goal.most), max_size: pool.max_size });
    }
    // What the spec asks for in any case needs no signal and is held by nothing but bounds.
    let floor = goal.least.saturating_add(goal.cordoned).min(bound).max(from);
    let mut to = wished.min(bound).max(floor);
    if let Some(scaling) = goal.scaling
        && to > floor
    {
        to = for_load(about, scaling, (floor, to), plan);
    }
    to = to.max(agreed(about, goal));
    if to <= from {
        return;
    }
    let name = about.policy.pool.name();
    let plan_id = raise_plan_id(name, from, to);
    match change::waits(&about.policy.change, Kind::ScaleOut, false, &plan_id, about.now) {
        None => plan.raise = Some(Raise { pool: name.to_owned(), from, to }),
        Some(Held::ApprovalRequired { plan_id }) => plan.holds.push(Hold::ApprovalRequired { from, to, plan_id }),
        // Neither is looked at here, and more workers never wait for a window.
        Some(Held::Suspended | Held::ObserveOnly | Held::WaitingForWindow { .. }) => {}
    }
}

/// How far above the floor the load may take the desired number.
fn for_load(about: &About<'_>, scaling: &Autoscaling, (floor, to): (i32, i32), plan: &mut Plan) -> i32 {
    let (pool, past) = (about.pool, &about.observed.history);
    if let Some(until) = past.backoff_until.filter(|until| *until > about.now) {
        let text = pool.failed_launch.as_ref().map(|launch| launch.text.clone()).unwrap_or_default();
        plan.holds.push(Hold::LaunchesFail { text, until });
        return floor;
    }
    if let Err(hold) = read("Spark master", &about.observed.cluster) {
        // Nobody sees whether new workers register.
        plan.holds.push(hold);
        return floor;
    }
    if is_in_vain(about, scaling) {
        plan.holds.push(Hold::NoEffect { missing: missing(about, scaling) });
        plan.holds.extend(stranger(about));
        return floor;
    }
    let (spent, limit) = (past.launched_last_hour.max(0), scaling.launches_per_hour);
    let most = pool.desired.saturating_add(limit.saturating_sub(spent).max(0)).max(floor);
    if to > most {
        plan.holds.push(Hold::Budget { spent, limit });
    }
    to.min(most)
}

/// Whether launches have no effect: of the members that came within the last hour and have had time to register, more
/// than half have no worker. An older one whose worker has died says nothing about launches.
fn is_in_vain(about: &About<'_>, scaling: &Autoscaling) -> bool {
    let recent = || {
        let (now, hour) = (about.now, SignedDuration::from_secs(TELLS_SECONDS));
        let came = move |seat: &&Seat<'_>| seat.member.since.is_some_and(|since| now.duration_since(since) < hour);
        started(about, scaling).filter(came)
    };
    let missing = count(recent().filter(|seat| seat.live == 0));
    missing.saturating_mul(2) > count(recent())
}

/// Members in service for longer than a start takes, of which the master knows no worker; none where that is not known.
pub(super) fn missing(about: &About<'_>, scaling: &Autoscaling) -> i32 {
    if !matches!(about.observed.cluster, Known::Known(_)) {
        return 0;
    }
    count(started(about, scaling).filter(|seat| seat.live == 0))
}

/// Members in service for longer than a start takes.
fn started<'s, 'a>(about: &'s About<'a>, scaling: &Autoscaling) -> impl Iterator<Item = &'s Seat<'a>> {
    let (warmup, now) = (SignedDuration::from_secs(scaling.warmup_seconds.into()), about.now);
    about.seats.all.iter().filter(move |seat| {
        let since = seat.member.since.and_then(|since| since.saturating_add(warmup).ok());
        since.is_some_and(|warm| warm <= now) && seat.alone && seat.member.state == MemberState::InService
    })
}

/// A worker at the master that is none of the pool's: perhaps one that is missed, under another address.
pub(super) fn stranger(about: &About<'_>) -> Option<Hold> {
    about.seats.stranger.map(|worker| Hold::WorkerNotInPool { host: worker.host.clone() })
}
