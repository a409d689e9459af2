//! What must hold for any plan about the driver.

use super::{is_open, waits_until};
use crate::change::{Approval, driver_plan_id};
use crate::driver::{
    Active, Cause, Elsewhere, Hold, Kill, KillWhy, Mode, Observed, Open, Plan, Policy, Stand, State, Submit, Why,
};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Every rule that `plan`, made at `now`, breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan, now: Timestamp) -> Vec<String> {
    let view = View { policy, observed, plan, now };
    let acts = plan.submit.is_some() || plan.kill.is_some();
    let faults = [
        (plan.next_look_seconds > policy.look_period_seconds, "looks again later than it should"),
        (!acts && plan.holds.is_empty(), "neither acts nor says why not"),
        (plan.submit.is_some() && plan.kill.is_some(), "submits and kills at once"),
        (acts && policy.mode != Mode::Managed, "acts although the driver is not managed"),
        (acts && observed.open != Open::None, "acts while the effect of an earlier call is not known"),
        (acts && observed.drivers.known().is_none(), "acts although the master was not read"),
        (!view.is_state(), "reports another state than was seen"),
        (!acts && view.must_submit(), "leaves the pipeline without a driver although nothing speaks against one"),
        (!acts && view.must_end_one(), "leaves several drivers although nothing speaks against ending one"),
    ];
    let mut found = Vec::new();
    tell(&faults, &mut found);
    if let Some(submit) = &plan.submit {
        view.submission(submit, &mut found);
    }
    if let Some(kill) = &plan.kill {
        view.end(kill, &mut found);
    }
    if plan.holds.iter().any(|hold| !view.is_true(hold)) {
        found.push("is held for a reason that does not apply".to_owned());
    }
    found
}

fn tell(faults: &[(bool, &str)], found: &mut Vec<String>) {
    found.extend(faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, text)| (*text).to_owned()));
}

struct View<'a> {
    policy: &'a Policy,
    observed: &'a Observed,
    plan: &'a Plan,
    now: Timestamp,
}

impl View<'_> {
    /// Active drivers of our class.
    fn ours(&self) -> impl Iterator<Item = &Active> {
        let none: &[Active] = &[];
        self.observed.drivers.known().map_or(none, Vec::as_slice).iter().filter(|driver| driver.ours)
    }

    fn ids(&self) -> BTreeSet<&str> {
        self.ours().map(|driver| driver.id.as_str()).collect()
    }

    fn is_read(&self) -> bool {
        self.observed.drivers.known().is_some()
    }

    /// Whether none is active, and that was read.
    fn has_none(&self) -> bool {
        self.is_read() && self.ids().is_empty()
    }

    /// The one that is active.
    fn one(&self) -> Option<&Active> {
        if self.ids().len() == 1 { self.ours().last() } else { None }
    }

    fn stand(&self) -> Option<&Stand> {
        self.observed.progress.known()
    }

    /// Whether the driver on record was killed after a query had stood still.
    fn was_ended(&self) -> bool {
        let is_recorded = |id: &String| self.observed.recorded.as_ref() == Some(id);
        let killed = self.observed.done.iter().any(|ended| is_recorded(&ended.id) && ended.state == "KILLED");
        let same = |batch| self.stand().is_none_or(|stand| stand.batch == batch);
        let attempts = &self.observed.attempts;
        let first = |at| attempts.iter().all(|attempt| attempt.id.is_some() || attempt.at <= at);
        killed && self.observed.restarted.is_some_and(|last| same(last.batch) && first(last.at))
    }

    /// Whether batches came after the last driver had gone, a short time ago.
    fn is_orphaned(&self) -> bool {
        let (Some(stand), Some(absent)) = (self.stand(), self.observed.absent_for) else { return false };
        stand.unmoved_seconds < i64::from(absent) && stand.unmoved_seconds < i64::from(self.policy.absent_seconds)
    }

    fn is_stalled(&self) -> bool {
        let needed = self.observed.needed_seconds.clamp(0, 1_800);
        let limit = i64::from(self.policy.stalled_seconds) + needed + needed;
        let ran = self.observed.running_for.is_some_and(|seconds| i64::from(seconds) >= limit);
        ran && self.stand().is_some_and(|stand| stand.backlog > 0 && stand.unmoved_seconds > limit)
    }

    /// Whether nobody has to be asked about a change, or somebody has said yes.
    fn is_approved(&self, id: &str, why: &str) -> bool {
        let change = &self.policy.change;
        let plan_id = driver_plan_id(&self.observed.master, &self.policy.main_class, id, why);
        change.approval != Approval::Always || change.approved_plans.contains(&plan_id)
    }

    /// Whether a submission may be made as far as persons are asked: of masters that nobody reads any more they have to
    /// say that nothing runs there.
    fn is_agreed(&self, why: &str) -> bool {
        let elsewhere = &self.observed.elsewhere;
        if elsewhere.is_empty() {
            return self.is_approved(self.before(), why);
        }
        self.policy.change.approved_plans.contains(&self.id_of("elsewhere", &Elsewhere::names(elsewhere)))
    }

    fn id_of(&self, why: &str, id: &str) -> String {
        driver_plan_id(&self.observed.master, &self.policy.main_class, id, why)
    }

    /// The driver that a submission follows.
    fn before(&self) -> &str {
        let newest = self.observed.done.iter().map(|ended| ended.id.as_str()).max();
        self.observed.recorded.as_deref().or(newest).unwrap_or("")
    }

    /// Whether nothing at all speaks against a submission.
    fn must_submit(&self) -> bool {
        let (policy, observed) = (self.policy, self.observed);
        let waited = observed.absent_for.is_some_and(|seconds| seconds >= policy.absent_seconds);
        // No batch was committed since the last driver has gone.
        let absent = observed.absent_for.map_or(0, i64::from);
        let quiet = self.stand().is_none_or(|stand| stand.unmoved_seconds >= absent);
        let free = observed.open == Open::None && observed.attempts.is_empty() && quiet;
        let free = free && observed.elsewhere.is_empty() && observed.taken.is_empty();
        policy.mode == Mode::Managed && self.has_none() && waited && free && policy.change.approval != Approval::Always
    }

    /// Whether nothing at all speaks against ending one of several.
    fn must_end_one(&self) -> bool {
        let (policy, observed) = (self.policy, self.observed);
        let free = observed.open == Open::None && policy.change.approval != Approval::Always;
        policy.mode == Mode::Managed && self.ids().len() > 1 && free
    }

    /// What is wrong with a submission.
    fn submission(&self, submit: &Submit, found: &mut Vec<String>) {
        let observed = self.observed;
        let waited = observed.absent_for.is_some_and(|seconds| seconds >= self.policy.absent_seconds);
        let waited = waited || self.policy.absent_seconds == 0;
        let knows = |id: &String| submit.known.contains(id);
        let attempts = observed.attempts.iter().all(|attempt| attempt.id.as_ref().is_none_or(knows));
        let done = observed.done.iter().all(|ended| knows(&ended.id));
        let why = match submit.why {
            Why::Missing => "missing",
            Why::Stalled => "stalled",
        };
        let faults = [
            (!self.ids().is_empty(), "submits while a driver of ours is active"),
            (!observed.taken.is_empty(), "submits beside a driver that it had before"),
            (!waited && !self.was_ended(), "submits too soon"),
            (submit.why == Why::Stalled && !self.was_ended(), "takes a missing driver for one that was restarted"),
            (self.is_orphaned(), "submits although batches are still committed"),
            (self.rests(), "submits again at once after failures"),
            (
                !(attempts && done && observed.recorded.as_ref().is_none_or(knows)),
                "forgets a driver that was there before",
            ),
            (!self.is_agreed(why), "submits without approval"),
        ];
        tell(&faults, found);
    }

    /// Whether the last two drivers failed soon after each other and just now, and no batch came for long.
    fn rests(&self) -> bool {
        let is_new = self.observed.batch_age_seconds <= 300;
        let moves = is_new && self.stand().is_some_and(|stand| stand.unmoved_seconds <= 300);
        let failed = self.observed.attempts.iter().filter(|attempt| {
            let ended = !attempt.ended.starts_with("FINISHED") && !attempt.ended.starts_with("KILLED");
            ended && attempt.at <= self.now
        });
        let mut ends: Vec<Timestamp> = failed.map(|attempt| attempt.at).collect();
        ends.sort_unstable();
        let [.., before, last] = ends.as_slice() else { return false };
        !moves && last.duration_since(*before).as_secs() <= 300 && self.now.duration_since(*last).as_secs() < 30
    }

    /// What is wrong with the end of a driver.
    fn end(&self, kill: &Kill, found: &mut Vec<String>) {
        let ids = self.ids();
        let mut faults = vec![(!ids.contains(kill.id.as_str()), "ends a driver that is not active and ours")];
        match kill.why {
            KillWhy::Extra => {
                let recorded = self.observed.recorded.as_deref().filter(|id| ids.contains(id));
                let mut running = self.ours().filter(|driver| driver.state == "RUNNING" && driver.id != kill.id);
                let runs = self.ours().any(|driver| driver.state == "RUNNING" && driver.id == kill.id);
                let others_run = running.next().is_some();
                let is_recorded = recorded == Some(kill.id.as_str());
                let earlier = &self.observed.earlier;
                let is_newer = |driver: &Active| driver.state == "RUNNING" && !earlier.contains(&driver.id);
                let newer_run = self.ours().any(|driver| driver.id != kill.id && is_newer(driver));
                let is_newest = self.ours().any(|driver| driver.id == kill.id && is_newer(driver));
                let is_followed = earlier.contains(&kill.id) && newer_run;
                faults.extend([
                    (is_newest && others_run && !newer_run, "ends a driver for one of a class that is given up"),
                    (ids.len() < 2, "ends the only driver as if there were several"),
                    (
                        is_recorded && (runs || !others_run) && !is_followed,
                        "ends the driver on record instead of another",
                    ),
                    (runs && !others_run, "ends the only one that runs"),
                    (!self.is_approved(&kill.id, "extra"), "ends a driver without approval"),
                ]);
            }
            KillWhy::Stalled => {
                let runs = self.one().is_some_and(|driver| driver.state == "RUNNING" && driver.has_worker);
                faults.extend([
                    (!runs, "restarts a driver that does not run, or one of several"),
                    (!self.is_stalled(), "restarts a driver whose query does not stand still"),
                    (self.was_just_restarted(), "restarts again what a restart has not helped"),
                    (!is_open(&self.policy.change.windows, self.now), "restarts a driver while no window is open"),
                    (!self.is_approved(&kill.id, "stalled"), "ends a driver without approval"),
                ]);
            }
        }
        tell(&faults, found);
    }

    fn was_just_restarted(&self) -> bool {
        let (Some(last), Some(stand)) = (self.observed.restarted, self.stand()) else { return false };
        let since = self.now.duration_since(last.at).as_secs();
        last.batch == stand.batch && (0..300).contains(&since)
    }

    /// Whether the state is that of the drivers that were seen.
    fn is_state(&self) -> bool {
        let managed = self.policy.mode == Mode::Managed;
        let is_one = |id: &String| self.one().is_some_and(|driver| driver.id == *id);
        let runs = self.one().is_some_and(|driver| driver.state == "RUNNING" && driver.has_worker);
        match &self.plan.state {
            State::Disabled => !managed,
            State::Unreachable { .. } => managed && !self.is_read(),
            State::Absent => managed && self.has_none(),
            State::Failing { until, .. } => managed && self.has_none() && *until > self.now,
            State::Running { id } => managed && is_one(id) && runs,
            State::Stalled { id, .. } => managed && is_one(id) && runs && self.is_stalled(),
            State::Pending { id } | State::Relaunching { id } => managed && is_one(id) && !runs,
            State::Several { ids } => managed && ids.len() > 1 && ids.iter().map(String::as_str).eq(self.ids()),
        }
    }

    /// Whether the reason of a hold applies.
    fn is_true(&self, hold: &Hold) -> bool {
        let (policy, observed, state) = (self.policy, self.observed, &self.plan.state);
        let runs = matches!(state, State::Running { .. } | State::Stalled { .. });
        match hold {
            Hold::Disabled => policy.mode == Mode::Disabled,
            Hold::Unreachable { .. } => !self.is_read(),
            Hold::Pending { id } => matches!(state, State::Pending { id: seen } if seen == id),
            Hold::Relaunching { id } => matches!(state, State::Relaunching { id: seen } if seen == id),
            Hold::NoCapacity => self.one().is_some_and(|driver| !driver.has_worker && driver.started.is_some()),
            Hold::TooSoon { left_seconds } => {
                let seen = observed.absent_for.unwrap_or(0);
                self.has_none() && *left_seconds > 0 && seen.checked_add(*left_seconds) == Some(policy.absent_seconds)
            }
            Hold::ProgressUnknown { .. } => runs && self.stand().is_none(),
            Hold::NotStalled => runs && self.stand().is_some() && !self.is_stalled(),
            Hold::ProgressMoves { batch } => {
                let (stand, absent) = (self.stand(), observed.absent_for.map(i64::from));
                let moved = |stand: &Stand| absent.is_some_and(|absent| stand.unmoved_seconds < absent);
                self.has_none() && stand.is_some_and(|stand| stand.batch == *batch && moved(stand))
            }
            Hold::RestartedInVain { until } => {
                let same = observed.restarted.zip(self.stand()).is_some_and(|(last, stand)| last.batch == stand.batch);
                self.is_stalled() && same && *until > self.now
            }
            Hold::Failing { until, .. } => self.has_none() && observed.attempts.len() > 1 && *until > self.now,
            Hold::Several { ids } => matches!(state, State::Several { ids: seen } if seen == ids),
            Hold::Taken { ids } => !ids.is_empty() && *ids == observed.taken,
            Hold::IntentOpen => observed.open != Open::None,
            Hold::ApprovalRequired { plan_id, why } => self.is_asked(plan_id, *why),
            Hold::WaitingForWindow { next_opening } => {
                self.is_stalled() && waits_until(&policy.change.windows, self.now, *next_opening)
            }
        }
    }

    /// Whether a person has to be asked about this change, under this id.
    fn is_asked(&self, plan_id: &str, why: Cause) -> bool {
        let policy = self.policy;
        let named = |id: &str, why| driver_plan_id(&self.observed.master, &policy.main_class, id, why) == plan_id;
        let fits = match why {
            Cause::Missing => self.has_none() && named(self.before(), "missing"),
            Cause::Stalled if self.has_none() => self.was_ended() && named(self.before(), "stalled"),
            Cause::Stalled => self.is_stalled() && self.ids().iter().any(|id| named(id, "stalled")),
            Cause::Extra => self.ids().len() > 1 && self.ids().iter().any(|id| named(id, "extra")),
            Cause::Elsewhere => {
                let elsewhere = &self.observed.elsewhere;
                let is_time = self.is_read() && self.ids().len() < 2 && !elsewhere.is_empty();
                is_time && named(&Elsewhere::names(elsewhere), "elsewhere")
            }
        };
        let is_asked = why == Cause::Elsewhere || policy.change.approval == Approval::Always;
        fits && is_asked && !policy.change.approved_plans.contains(plan_id)
    }
}
