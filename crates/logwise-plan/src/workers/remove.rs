//! Fewer workers: one at a time, by its id, and only once nothing new can come to it.

use super::confirm::{drained, read};
use super::facts::{MemberState, OpenIntent};
use super::goal::{About, Goal};
use super::hold::Hold;
use super::raise::{missing, stranger};
use super::rank::ranked;
use super::seat::{Seat, count};
use super::{Autoscaling, Plan, Removal, Sizing, Step, gate};
use crate::behavior::Changed;
use crate::change::{self, Held, Kind, raise_plan_id};
use jiff::{SignedDuration, Timestamp};

/// Seconds after its last batch for which the query is taken to be at work on the next one.
const AT_WORK_SECONDS: i64 = 300;

/// Plans the removal of one member, or says what holds it. The goal wants fewer, or more and there is no room for them:
/// then a cordoned one makes room. Returns whether one that has begun waits: its worker is cordoned, and nothing but
/// signals that are not known now speaks against it.
pub(super) fn remove(about: &About<'_>, goal: &Goal<'_>, plan: &mut Plan) -> bool {
    let ranked = ranked(&about.seats);
    let mut holds = standing(about, goal);
    let open = match &about.observed.intent {
        OpenIntent::Removing(removal) => Some(removal),
        OpenIntent::None | OpenIntent::Other => None,
    };
    // What the load asks for counts even where it is not followed yet.
    let wanted = goal.size.as_ref().map_or(goal.target, |size| size.wanted.max(goal.target));
    let needed = gate::needed(about.policy, about.pool, wanted);
    let planned = match open {
        Some(removal) => go_on(about, goal, removal, needed),
        None => {
            holds.extend(pauses(about, goal));
            let order = ranked.iter().filter_map(|(place, _)| about.seats.all.get(*place));
            begin(about, goal.has_surplus(), order, needed)
        }
    };
    plan.ranking = ranked.into_iter().map(|(_, ranked)| ranked).collect();
    if let Ok((removal, _)) = &planned {
        holds.extend(gate::awaited(&about.seats, &removal.id));
    }
    let is_out = |removal: &Removal| about.seats.find(&removal.id).is_some_and(Seat::is_cordoned);
    let is_blind = holds.iter().all(|hold| matches!(hold, Hold::SignalsMissing { .. }));
    let waits = open.is_some() && is_blind && planned.as_ref().is_ok_and(|(removal, _)| is_out(removal));
    let planned = planned.map_err(|hold| holds.push(hold)).ok().filter(|_| holds.is_empty());
    let Some((removal, notice)) = planned else {
        holds.extend(context(about, goal));
        holds.into_iter().for_each(|hold| plan.hold(hold));
        return waits;
    };
    let (from, to) = (removal.from, removal.to);
    let plan_id = raise_plan_id(about.policy.pool.name(), from, to);
    // Nothing new comes to a cordoned worker: what has begun is brought to its end, and what is wanted gets its place.
    let goes_on = is_out(&removal) && (open.is_some() || goal.wants_more());
    match change::waits(&about.policy.change, Kind::ScaleIn, false, &plan_id, about.now) {
        Some(Held::WaitingForWindow { next_opening, .. }) if !goes_on => {
            plan.next_look_seconds = change::look_seconds(plan.next_look_seconds, next_opening, about.now);
            plan.holds.push(Hold::WaitingForWindow { next_opening });
        }
        None | Some(Held::WaitingForWindow { .. }) => {
            plan.holds.extend(notice);
            plan.removal = Some(removal);
        }
        Some(Held::ApprovalRequired { plan_id }) => plan.holds.push(Hold::ApprovalRequired { from, to, plan_id }),
        // Looked at where changes are carried out.
        Some(Held::Suspended | Held::ObserveOnly) => {}
    }
    false
}

/// Whether the worker of the removal on record was seen to be cordoned.
pub(super) fn has_begun(intent: &OpenIntent) -> bool {
    matches!(intent, OpenIntent::Removing(open) if open.step != Step::Cordon)
}

/// Whether the removal on record waits for a master that is not known now: it has begun, and what is known of the pool
/// is as it was.
pub(super) fn waits_for_master(about: &About<'_>) -> bool {
    let OpenIntent::Removing(open) = &about.observed.intent else { return false };
    has_begun(&about.observed.intent)
        && gate::same(about.pool, &about.seats, open).is_ok()
        && gate::closed(about.policy, about.pool, &about.seats).is_empty()
}

/// What holds every removal, whether it has begun or not.
fn standing(about: &About<'_>, goal: &Goal<'_>) -> Vec<Hold> {
    let mut holds = Vec::new();
    holds.extend(signals_missing(goal));
    // Where more are wanted only a cordoned one goes, which reads nothing new, and makes room for one that does.
    if goal.is_urgent && !goal.wants_more() {
        holds.push(Hold::TimeToLoss);
    }
    if goal.scaling.is_none() {
        // With load it is a missing signal.
        holds.extend(read("Spark master", &about.observed.cluster).err());
    }
    holds.extend(gate::closed(about.policy, about.pool, &about.seats));
    holds
}

/// What the load cannot be judged by.
pub(super) fn signals_missing(goal: &Goal<'_>) -> Option<Hold> {
    let mut names: Vec<String> = goal.signals.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| Hold::SignalsMissing { what: names.join(", ") })
}

/// What holds a removal that has not begun.
fn pauses(about: &About<'_>, goal: &Goal<'_>) -> Vec<Hold> {
    let past = &about.observed.history;
    let mut holds = Vec::new();
    if let Some(refused) = past.cordon_refused.as_ref().filter(|refused| refused.until > about.now) {
        holds.push(Hold::CordonUnavailable { why: refused.why.clone() });
    }
    if let Some(refused) = past.end_refused.as_ref().filter(|refused| refused.until > about.now) {
        holds.push(Hold::EndRefused { why: refused.why.clone() });
    }
    let Some(scaling) = goal.scaling else { return holds };
    // A cordoned worker is gone already, as far as the load is concerned.
    if goal.has_surplus() {
        holds.extend(cooldown(scaling, &past.behavior.changes, about.now));
    }
    let (spent, limit) = (past.removed_last_hour.max(0), scaling.removals_per_hour);
    if spent >= limit {
        holds.push(Hold::Budget { spent, limit });
    }
    holds.extend(compaction(about, scaling));
    holds
}

/// A pause after workers were added, and after a step of removals: those that begin within a cooldown of the first.
fn cooldown(scaling: &Autoscaling, changes: &[Changed], now: Timestamp) -> Option<Hold> {
    let pause = SignedDuration::from_secs(scaling.cooldown_seconds.into());
    let over = |at: Timestamp| at.saturating_add(pause).unwrap_or(Timestamp::MAX);
    let step = changes.iter().fold(None, |step: Option<Timestamp>, change| {
        let goes_on = step.filter(|began| change.at < over(*began));
        (change.to < change.from).then_some(goes_on.unwrap_or(change.at))
    });
    if step.is_some_and(|began| now < over(began)) {
        return None;
    }
    let until = over(changes.last()?.at);
    (until > now).then_some(Hold::Cooldown { until })
}

/// Every so many batches the file sink rewrites its log, which takes long: nothing is removed right before or then.
fn compaction(about: &About<'_>, scaling: &Autoscaling) -> Option<Hold> {
    let (progress, interval) = (about.observed.load.batch.known()?, scaling.compact_interval);
    if interval < 2 || progress.age_seconds >= AT_WORK_SECONDS {
        return None;
    }
    let ahead = if interval > 2 { 2 } else { 1 };
    let mut coming = (1..=ahead).map(|further| progress.id.saturating_add(further));
    let batch = coming.find(|id| id.rem_euclid(interval) == interval - 1)?;
    Some(Hold::Compaction { batch })
}

/// A removal, and what is still waited for.
pub(super) type Planned = Result<(Removal, Option<Hold>), Hold>;

/// Begins with the first that may go. Without a surplus only a cordoned one goes.
pub(super) fn begin<'s, 'a: 's>(
    about: &About<'_>,
    has_surplus: bool,
    mut order: impl Iterator<Item = &'s Seat<'a>>,
    needed: i32,
) -> Planned {
    let may_go = |seat: &&Seat<'_>| seat.is_removable() && (has_surplus || seat.is_cordoned());
    let Some(seat) = order.find(may_go) else { return Err(nobody(about)) };
    let needed = gate::needed_without(about, seat, needed);
    gate::enough(&about.seats, &seat.member.id, needed)?;
    let removal = removal(about, seat, needed, Step::Cordon).ok_or_else(|| nobody(about))?;
    Ok((removal, None))
}

/// Why no member may go.
fn nobody(about: &About<'_>) -> Hold {
    let seats = &about.seats.all;
    let first = |is_so: &dyn Fn(&Seat<'_>) -> bool| {
        seats.iter().filter(|seat| is_so(seat)).map(|seat| &seat.member.id).min().cloned()
    };
    // The driver's host never goes; the others might, if more were known of them, or if they had a worker to cordon.
    if let Some(id) = first(&|seat| seat.driver.is_none() && (!seat.alone || seat.live > 1)) {
        return Hold::AddressUnknown { id };
    }
    let missing = match &about.policy.size {
        Sizing::Load(scaling) => missing(about, scaling),
        Sizing::Unmanaged | Sizing::Fixed(_) => {
            let serves = |seat: &&Seat<'_>| seat.alone && seat.member.state == MemberState::InService;
            count(seats.iter().filter(serves).filter(|seat| seat.driver.is_none() && seat.live == 0))
        }
    };
    if missing > 0 && about.observed.cluster.known().is_some() {
        return Hold::NoEffect { missing };
    }
    match first(&|seat| seat.driver.is_some()) {
        Some(id) => Hold::DriverHost { id },
        None => Hold::BelowTarget { left: about.seats.sound_without(""), needed: 1 },
    }
}

/// Goes on with the removal that was written down, if it still is right.
fn go_on(about: &About<'_>, goal: &Goal<'_>, open: &Removal, needed: i32) -> Planned {
    // Of a master that is not known nobody can say that it has forgotten a cordon.
    read("Spark master", &about.observed.cluster)?;
    let seat = gate::still(about.pool, &about.seats, open)?;
    let needed = gate::needed_without(about, seat, needed).max(open.floor);
    gate::enough(&about.seats, &open.id, needed)?;
    let is_cordoned = gate::is_cordoned(seat, open) || is_cordoned_anew(about, seat, open);
    let id = || open.id.clone();
    if !is_cordoned && !goal.has_surplus() {
        // Nothing was cordoned and nothing is too many any more.
        let hold = goal.limits.first().cloned().unwrap_or(Hold::WithinRange);
        return Err(if goal.wants_more() { Hold::CordonPending { id: id() } } else { hold });
    }
    if let Some(hold) = goal.scaling.and_then(|scaling| compaction(about, scaling)).filter(|_| !is_cordoned) {
        return Err(hold);
    }
    let (step, notice) = match &open.step {
        Step::Cordon if is_cordoned => (Step::Cordon, Some(Hold::SecondLook { id: id() })),
        Step::Cordon => (Step::Cordon, Some(Hold::CordonPending { id: id() })),
        Step::Drain { .. } | Step::Terminate if !is_cordoned => (Step::Cordon, Some(Hold::CordonLost { id: id() })),
        Step::Drain { until } => drain(about, goal, seat, *until),
        // It was not ended then; whether tasks run now is another question.
        Step::Terminate => drain(about, goal, seat, Timestamp::MAX),
    };
    let removal = removal(about, seat, needed, step).ok_or_else(|| nobody(about))?;
    Ok((removal, notice))
}

/// Whether the worker is cordoned that has taken the place of the one on record, which the master does not know any
/// more: its process was started again.
fn is_cordoned_anew(about: &About<'_>, seat: &Seat<'_>, open: &Removal) -> bool {
    let workers = about.observed.cluster.known().map(|cluster| cluster.workers.as_slice()).unwrap_or_default();
    let is_gone = !workers.iter().any(|worker| open.worker.as_ref() == Some(&worker.id));
    is_gone && seat.is_cordoned() && seat.worker.map(|worker| &worker.host) == open.host.as_ref()
}

/// A worker with tasks is given its time; but a batch that compacts the sink's log is not disturbed.
fn drain(about: &About<'_>, goal: &Goal<'_>, seat: &Seat<'_>, until: Timestamp) -> (Step, Option<Hold>) {
    // Later than that nobody can have said, unless the clock was put back.
    let until = until.min(drained(about.policy, about.now));
    let tasks = seat.worker.map_or(0, |worker| worker.busy());
    let compacts = goal.scaling.and_then(|scaling| compaction(about, scaling));
    match compacts {
        None if until <= about.now => (Step::Terminate, None),
        _ if tasks == 0 => (Step::Drain { until }, None),
        _ => (Step::Drain { until }, Some(Hold::Draining { id: seat.member.id.clone(), tasks, until })),
    }
}

/// Which member goes, as it is now.
fn removal(about: &About<'_>, seat: &Seat<'_>, floor: i32, step: Step) -> Option<Removal> {
    let (worker, from) = (seat.worker?, about.pool.desired);
    Some(Removal {
        id: seat.member.id.clone(),
        address: seat.member.address.known()?.clone(),
        worker: Some(worker.id.clone()),
        host: Some(worker.host.clone()),
        from,
        to: from.saturating_sub(1),
        floor,
        step,
    })
}

/// What else explains that nothing goes.
fn context(about: &About<'_>, goal: &Goal<'_>) -> Vec<Hold> {
    let pool = about.pool;
    let mut holds = Vec::new();
    if goal.target < pool.min_size && pool.desired <= pool.min_size {
        holds.push(Hold::GroupMinimum { wanted: goal.target, min_size: pool.min_size });
    }
    if goal.scaling.is_some() && pool.desired > goal.most {
        holds.push(Hold::AboveMaximum { desired: pool.desired });
    }
    let missing = goal.scaling.map_or(0, |scaling| missing(about, scaling));
    if missing > 0 {
        holds.push(Hold::NoEffect { missing });
    }
    holds.extend(stranger(about));
    holds
}
