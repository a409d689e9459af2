//! What must hold for any plan about workers.

use super::waits_until;
use super::workers_removal::{self, Seen};
use crate::Known;
use crate::change::{Approval, raise_plan_id};
use crate::workers::{
    Autoscaling, Hold, HookStep, Member, MemberState, Observed, Obstacle, OpenIntent, Plan, Policy, Pool, PoolRef,
    Protection, Raise, ScalingMode, Sizing,
};
use jiff::Timestamp;

/// A plan with all that it was made from.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub policy: &'a Policy,
    pub observed: &'a Observed,
    pub plan: &'a Plan,
    pub now: Timestamp,
}

impl<'a> Case<'a> {
    /// What the spec says about load.
    pub fn scaling(&self) -> Option<&'a Autoscaling> {
        match &self.policy.size {
            Sizing::Load(scaling) => Some(scaling),
            Sizing::Unmanaged | Sizing::Fixed(_) => None,
        }
    }

    /// Workers to run at least and at most.
    pub fn bounds(&self) -> (i32, i32) {
        match &self.policy.size {
            Sizing::Unmanaged => (0, i32::MAX),
            Sizing::Fixed(number) => (*number, *number),
            Sizing::Load(scaling) => (scaling.min_replicas.max(1).min(scaling.max_replicas), scaling.max_replicas),
        }
    }

    /// Whether changes may be made at all, as far as the spec of the workers says it.
    pub fn is_managed(&self) -> bool {
        match &self.policy.size {
            Sizing::Unmanaged => false,
            Sizing::Fixed(_) => true,
            Sizing::Load(scaling) => scaling.mode == ScalingMode::Automatic,
        }
    }

    /// Whether nobody has to be asked about this change, or somebody has said yes.
    pub fn is_approved(&self, from: i32, to: i32) -> bool {
        self.policy.change.approval != Approval::Always
            || self.policy.change.approved_plans.contains(&raise_plan_id(self.policy.pool.name(), from, to))
    }

    /// Whether the load can be judged by what was read: some sample is young, and none is absurd.
    pub fn knows_load(&self) -> bool {
        let Known::Known(samples) = &self.observed.load.samples else { return false };
        let age = |at: Timestamp| self.now.as_second() - at.as_second();
        let sane = |number: i64| (0..1_000_000_000_000_000_000).contains(&number);
        let recent = || samples.iter().filter(|sample| (0..=600).contains(&age(sample.at)));
        recent().count() >= 5 && recent().all(|sample| sane(sample.ends) && sane(sample.read))
    }
}

/// Every rule that `plan` breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan, now: Timestamp) -> Vec<String> {
    let case = Case { policy, observed, plan, now };
    let mut found = Vec::new();
    always(&case, &mut found);
    let Known::Known(pool) = &observed.pool else {
        let acts = acts(plan) || plan.hook.is_some();
        found.extend(acts.then(|| "acts although the pool was not read".to_owned()));
        return found;
    };
    let seen = Seen::of(pool, &observed.cluster);
    if let Some(action) = &plan.raise {
        raise(&case, pool, &seen, action, &mut found);
    }
    if let Some(removal) = &plan.removal {
        workers_removal::violations(&case, pool, &seen, removal, &mut found);
    }
    protection(&case, pool, &mut found);
    costs(&case, pool, &seen, &mut found);
    if let Some(HookStep::Complete(waiting)) = &plan.hook
        && seen.is_busy(pool, &waiting.instance)
    {
        found.push("lets an instance go where something runs".to_owned());
    }
    for hold in plan.holds.iter().filter(|hold| !is_true(&case, pool, &seen, hold)) {
        found.push(format!("is held for a reason that does not apply: {hold:?}"));
    }
    found.extend(
        left_behind(&case, pool, &seen).then(|| "leaves the pool below minReplicas although there is room".to_owned()),
    );
    found.extend(
        workers_removal::is_left(&case, pool, &seen)
            .then(|| "leaves a cordoned worker for want of sound ones, of which it is none".to_owned()),
    );
    found
}

/// Whether anything is to be changed under a record.
fn acts(plan: &Plan) -> bool {
    changes(plan) || !plan.costs.is_empty()
}

/// The same without deletion costs.
pub(super) fn changes(plan: &Plan) -> bool {
    let protects = plan.protect_newcomers || !plan.protect.is_empty();
    plan.raise.is_some() || plan.removal.is_some() || protects
}

/// What does not depend on the pool.
fn always(case: &Case<'_>, found: &mut Vec<String>) {
    let Case { policy, observed, plan, .. } = case;
    let open = match &observed.intent {
        OpenIntent::Removing(removal) => Some(removal),
        OpenIntent::None | OpenIntent::Other => None,
    };
    let goes_on = open.zip(plan.removal.as_ref());
    let stays = open.filter(|_| plan.removal.is_none() && !plan.abandon);
    let ends = open.filter(|_| plan.removal.is_none() && plan.abandon);
    let ranks = |id: &String| plan.ranking.iter().any(|ranked| ranked.id == *id);
    let faults = [
        (acts(plan) && observed.intent == OpenIntent::Other, "acts while another record is open"),
        (plan.raise.is_some() && plan.removal.is_some(), "raises and removes at once"),
        (goes_on.is_some_and(|(open, removal)| open.id != removal.id), "removes another member than was written down"),
        (plan.abandon && ends.is_none(), "does not say rightly what is given up"),
        (stays.is_some_and(|open| !workers_removal::may_wait(case, open)), "does not say rightly what is given up"),
        (
            ends.is_some_and(|open| workers_removal::must_wait(case, open)),
            "gives up a removal for nothing but missing signals",
        ),
        ((changes(plan) || plan.hook.is_some()) && !case.is_managed(), "acts although nothing may be changed"),
        (!acts(plan) && plan.holds.is_empty(), "neither acts nor says why not"),
        (plan.removal.as_ref().is_some_and(|removal| !ranks(&removal.id)), "removes a member without a rank"),
        (!(1..=policy.look_period_seconds.max(1)).contains(&plan.next_look_seconds), "looks later than it should"),
    ];
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
}

/// What is wrong with one raise.
fn raise(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>, action: &Raise, found: &mut Vec<String>) {
    let past = &case.observed.history;
    let cordoned = seen.cordoned(pool);
    let (least, most) = case.bounds();
    let most = if case.scaling().is_some() { most } else { most.saturating_add(cordoned).max(agreed(case, pool)) };
    let floor = least.saturating_add(cordoned).max(agreed(case, pool));
    let wanted = case
        .plan
        .size
        .as_ref()
        .filter(|_| case.scaling().is_some() && case.knows_load())
        .map_or(least, |size| size.wanted.max(least));
    let per_hour = case.scaling().map_or(i32::MAX, |scaling| scaling.launches_per_hour);
    let left = pool.desired.saturating_add(per_hour.saturating_sub(past.launched_last_hour.max(0)).max(0));
    let fails = past.backoff_until.is_some_and(|until| until > case.now);
    let is_blind = case.scaling().is_some() && !matches!(case.observed.cluster, Known::Known(_));
    let faults = [
        (action.pool != case.policy.pool.name(), "names another pool"),
        (action.from != pool.desired, "assumes another desired number than was seen"),
        (action.to <= action.from, "does not raise"),
        (action.to > most, "passes maxReplicas"),
        (action.to > pool.max_size, "passes the pool's own maximum"),
        (action.to > wanted.saturating_add(cordoned).max(floor), "raises further than is asked for"),
        (action.to > floor && action.to > left, "passes what may be added within an hour"),
        (action.to > floor && fails && case.scaling().is_some(), "raises although launches fail"),
        (action.to > floor && is_blind, "raises for load although the master was not read"),
        (!case.is_approved(action.from, action.to), "raises without approval"),
    ];
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
}

/// The number in service, if AWS ends none of them to get down to the desired number.
fn agreed(case: &Case<'_>, pool: &Pool) -> i32 {
    let is_group = matches!(case.policy.pool, PoolRef::AutoScalingGroup(_));
    let kept = pool.members.iter().all(|member| member.protected || member.state != MemberState::InService);
    let is_sound = pool.members.iter().all(|member| member.healthy);
    if is_group && kept && is_sound && pool.obstacles.is_empty() { pool.in_service() } else { 0 }
}

/// Protection is only ever switched on, for members of a group in service that lack it.
fn protection(case: &Case<'_>, pool: &Pool, found: &mut Vec<String>) {
    let plan = case.plan;
    let ours = case.policy.protection == Protection::Manage && matches!(case.policy.pool, PoolRef::AutoScalingGroup(_));
    let lacks = |id: &String| {
        let serves = |member: &Member| member.state == MemberState::InService && !member.protected;
        pool.members.iter().any(|member| member.id == *id && serves(member))
    };
    let faults = [
        (plan.protect.len() > 50, "protects more than one call takes"),
        (plan.protect.iter().any(|id| !lacks(id)), "protects what needs no protection"),
        (!ours && (plan.protect_newcomers || !plan.protect.is_empty()), "protects what is not its to protect"),
        (plan.protect_newcomers && pool.newcomers_protected == Known::Known(true), "protects newcomers again"),
    ];
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
}

fn costs(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>, found: &mut Vec<String>) {
    let costs = &case.plan.costs;
    let is_group = matches!(case.policy.pool, PoolRef::AutoScalingGroup(_));
    let waiting = match &case.observed.intent {
        OpenIntent::Removing(open) if !case.plan.abandon => Some(open),
        OpenIntent::Removing(_) | OpenIntent::None | OpenIntent::Other => None,
    };
    let victim = case.plan.removal.as_ref().or(waiting).map(|removal| &removal.id);
    let driven = |id: &str| seen.hosts_driver(pool, id);
    let is_marked = |id: &String| {
        let marked = |pod: &Member| matches!(pod.cost, Some(i32::MIN | i32::MAX)) && !pod.cost_of_others;
        pool.members.iter().any(|pod| pod.id == *id && marked(pod))
    };
    let is_of_others = |id: &String| {
        let stays = |pod: &Member| pod.cost_of_others && (pod.cost != Some(i32::MIN) || victim.is_none());
        pool.members.iter().any(|pod| pod.id == *id && stays(pod))
    };
    let faults = [
        (is_group && !costs.is_empty(), "sets deletion costs in a group"),
        (costs.iter().any(|(id, cost)| driven(id) && *cost != i32::MAX), "makes a driver's pod cheaper"),
        (costs.iter().any(|(id, cost)| *cost == i32::MIN && Some(id) != victim), "makes another pod the cheapest"),
        (costs.keys().any(|id| pool.members.iter().all(|pod| pod.id != *id)), "sets the cost of what is not a member"),
        (
            costs.iter().any(|(id, cost)| is_of_others(id) && Some(id) != victim && !(driven(id) && *cost == i32::MAX)),
            "changes a cost that somebody else has set",
        ),
        (
            !case.is_managed() && !costs.keys().all(is_marked),
            "sets deletion costs although somebody else decides about the number",
        ),
    ];
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
}

/// Whether the least number is not met, and nobody is asked, although members could be added.
fn left_behind(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>) -> bool {
    let (least, most) = case.bounds();
    let asks = case.plan.holds.iter().any(|hold| matches!(hold, Hold::ApprovalRequired { .. }));
    let cordoned = seen.cordoned(pool);
    let most = if case.scaling().is_some() { most } else { most.saturating_add(cordoned) };
    let may = case.is_managed() && case.observed.intent != OpenIntent::Other && case.plan.raise.is_none() && !asks;
    may && pool.desired.saturating_sub(cordoned).max(0) < least && pool.desired < most.min(pool.max_size)
}

/// Whether a launch has failed since more were asked for last, and fewer serve than should.
fn fails_since(case: &Case<'_>, pool: &Pool) -> bool {
    let raised = |at: Timestamp| case.observed.history.behavior.changes.iter().any(|c| c.to > c.from && c.at > at);
    pool.in_service() < pool.desired && pool.failed_launch.as_ref().is_some_and(|failed| !raised(failed.at))
}

/// Whether the reason of a hold applies, as far as it can be seen from outside.
fn is_true(case: &Case<'_>, pool: &Pool, seen: &Seen<'_>, hold: &Hold) -> bool {
    let (least, most) = case.bounds();
    let Observed { history: past, intent, cluster, .. } = case.observed;
    let later = |until: Timestamp| until > case.now;
    let member = |id: &str| pool.members.iter().any(|member| member.id == *id);
    match hold {
        Hold::WithinRange => {
            let enough = pool.desired.saturating_sub(seen.cordoned(pool)).max(0) >= least;
            let is_given_up = matches!(intent, OpenIntent::Removing(_));
            let as_many = pool.in_service() <= pool.desired || is_given_up || !case.is_managed();
            case.plan.raise.is_none() && enough && as_many && !(case.is_managed() && fails_since(case, pool))
        }
        Hold::RecommendOnly { wanted } => {
            let recommends = case.scaling().is_some_and(|scaling| scaling.mode == ScalingMode::Recommend);
            recommends && (least..=most.max(least)).contains(wanted)
        }
        Hold::Disabled => !case.is_managed(),
        Hold::PoolAbsent => false,
        Hold::Unreadable { why, .. } => {
            !matches!(cluster, Known::Known(_)) || pool.obstacles.contains(&Obstacle::Unread(why.clone()))
        }
        Hold::SignalsMissing { .. } => !case.plan.signals.is_empty(),
        Hold::DriverHost { id } => seen.hosts_driver(pool, id) || seen.has_lost_driver() || seen.has_waiting_driver(),
        Hold::CordonPending { id } | Hold::CordonLost { id } => {
            matches!(intent, OpenIntent::Removing(removal) if removal.id == *id) && member(id)
        }
        Hold::SecondLook { id } | Hold::Draining { id, .. } => member(id) && seen.is_cordoned(pool, id),
        Hold::DriverLanded { id, .. } => seen.hosts_driver(pool, id),
        Hold::CordonUnavailable { .. } => past.cordon_refused.as_ref().is_some_and(|refused| later(refused.until)),
        Hold::EndRefused { .. } => past.end_refused.as_ref().is_some_and(|refused| later(refused.until)),
        Hold::GateClosed { desired, in_service, others } => {
            let moved = matches!(intent, OpenIntent::Removing(removal) if removal.from != pool.desired);
            let all = i32::try_from(pool.members.len()).unwrap_or(i32::MAX);
            let counted = (*desired, *in_service) == (pool.desired, pool.in_service());
            counted && in_service + others == all && (moved || desired != in_service || *others > 0)
        }
        Hold::BelowTarget { left, needed } => left < needed,
        Hold::Stabilizing { until } | Hold::Cooldown { until } => later(*until),
        Hold::LaunchesFail { text, until } => {
            let named = pool.failed_launch.as_ref().is_some_and(|failed| failed.text == *text);
            later(*until) || (named && pool.in_service() < pool.desired)
        }
        Hold::Budget { spent, limit } => {
            let of_raises = *spent == past.launched_last_hour.max(0);
            of_raises || (*spent == past.removed_last_hour.max(0) && spent >= limit)
        }
        Hold::GroupMaximum { wanted, max_size } => wanted > max_size && *max_size == pool.max_size,
        Hold::GroupMinimum { wanted, min_size } => wanted < min_size && *min_size == pool.min_size,
        Hold::AboveMaximum { desired } => {
            *desired == pool.desired && desired.saturating_add(seen.cordoned(pool)) > most
        }
        Hold::ApprovalRequired { from, to, plan_id } => {
            let named = *plan_id == raise_plan_id(case.policy.pool.name(), *from, *to);
            let moves = *to > *from || *to == from.saturating_sub(1);
            *from == pool.desired && moves && named && !case.is_approved(*from, *to)
        }
        Hold::WaitingForWindow { next_opening } => waits_until(&case.policy.change.windows, case.now, *next_opening),
        Hold::IntentOpen => *intent == OpenIntent::Other,
        Hold::NoEffect { missing } => *missing > 0,
        Hold::WorkerNotInPool { host } => seen.is_stranger(host),
        Hold::Refresh | Hold::Rebalance | Hold::Suspended { .. } => !pool.obstacles.is_empty(),
        Hold::Rollout | Hold::DriverPodNotReady | Hold::Compaction { .. } | Hold::AddressUnknown { .. } => true,
        Hold::Policy | Hold::ScaleInDisabled | Hold::TimeToLoss => case.scaling().is_some(),
        Hold::Unprotected => {
            let bare = |member: &Member| member.state == MemberState::InService && !member.protected;
            pool.newcomers_protected != Known::Known(true) || pool.members.iter().any(bare)
        }
    }
}
