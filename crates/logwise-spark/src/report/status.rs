//! The Spark part's share of the status.

use super::{Look, Workers, by_id, holds, settled_before};
use crate::judge::{self, RemovalTargets, kind};
use crate::pool::{Place, selector_of_group};
use crate::told::{Outcome, Told, What};
use jiff::{SignedDuration, Timestamp};
use logwise_api::{Drift, PendingPlan, RemovedWorker, SparkStatus, Time, WorkersStatus, validate};
use logwise_plan::workers::{Hold, MemberState, Pool, Raise, Removal, ScalingMode, Sizing, WorkerState};
use logwise_runtime::conditions::Truth;
use logwise_runtime::{Decision, words};

/// Longest line about the last decision, and longest reason of a removal, in characters.
const LONGEST: (usize, usize) = (256, 128);

/// How long another number of workers must be asked for before it counts as more than noise.
const NOISE: SignedDuration = SignedDuration::from_mins(5);

/// Longest selector, in characters.
const LONGEST_SELECTOR: usize = 1_024;

impl Look<'_> {
    pub(super) fn status(&self) -> SparkStatus {
        let page = self.page.as_ref().ok();
        let cores = page.map(|page| page.cores());
        SparkStatus {
            settled_generation: if self.is_settled() {
                self.cluster.metadata.generation
            } else {
                settled_before(self.cluster)
            },
            pending_changes: Some(self.pending_changes()),
            master: page.map(|page| page.at.clone()),
            driver: self.driver.as_ref().and_then(|driver| driver.status()),
            workers: (self.pool().is_some() || page.is_some()).then(|| self.numbers()),
            removing: self.workers.as_ref().and_then(Workers::removing),
            last_decision: self.last_decision(),
            active_drivers: page.map(|page| words::count(page.cluster.drivers.len())),
            cores: cores.map(|(all, _)| all),
            cores_used: cores.map(|(_, used)| used),
            pending_plans: self.pending_plans(),
            next_opening_time: self.openings().min().map(Time),
            drift: self.drift(),
        }
    }

    fn reported(&self) -> Option<&SparkStatus> {
        self.cluster.status.as_ref()?.spark.as_ref()
    }

    fn numbers(&self) -> WorkersStatus {
        let (pool, before) = (self.pool(), self.reported().and_then(|spark| spark.workers.as_ref()));
        let resized = self.workers.iter().flat_map(|workers| workers.told).any(|told| told.resized().is_some());
        let now = self.workers.as_ref().map(|workers| Time(workers.now));
        WorkersStatus {
            desired_replicas: pool.map(|pool| pool.desired),
            replicas: pool.map(Pool::in_service),
            ready_replicas: self.alive(),
            wanted_replicas: self.wanted(),
            selector: self.workers.as_ref().and_then(|workers| match workers.place {
                Place::Group { .. } => selector_of_group(self.cluster),
                Place::Deployment { .. } => workers.found.selector.clone().filter(|text| is_shown(text)),
            }),
            last_scale_time: now.filter(|_| resized).or_else(|| before?.last_scale_time.clone()),
        }
    }

    /// Workers of the pool that the master counts as alive; none where it is not known which those are.
    pub(super) fn alive(&self) -> Option<i32> {
        let (certain, doubted) = self.counted()?;
        (doubted == 0).then_some(certain)
    }

    /// Workers of the pool that the master certainly counts as alive, and members in service of which nobody can say.
    /// Where nothing runs workers by the spec, all of the master.
    pub(super) fn counted(&self) -> Option<(i32, i32)> {
        let page = self.page.as_ref().ok()?;
        let Some(workers) = &self.workers else { return Some((words::count(page.alive().count()), 0)) };
        let pool = workers.facts.pool.known()?;
        let is_alive = |state: &WorkerState| *state == WorkerState::Alive;
        let seats = pool.workers_of(&page.cluster);
        let certain = seats.iter().filter(|(_, worker)| worker.is_some_and(|worker| is_alive(&worker.state)));
        let serving = pool.members.iter().filter(|member| member.state == MemberState::InService);
        let doubted = serving.filter(|member| member.address.is_unknown());
        Some((words::count(certain.count()), words::count(doubted.count())))
    }

    /// Workers that must be there for this generation to be carried out.
    pub(super) fn floor(&self) -> i32 {
        match self.workers.as_ref().map(|workers| &workers.policy.size) {
            None | Some(Sizing::Unmanaged) => 0,
            Some(Sizing::Fixed(number)) => *number,
            Some(Sizing::Load(scaling)) if scaling.mode == ScalingMode::Automatic => {
                scaling.min_replicas.min(scaling.max_replicas)
            }
            Some(Sizing::Load(_)) => 0,
        }
    }

    /// Whether nothing of this generation is left to do. What the load asks for is no part of it, and an object that
    /// may not change has nothing to do.
    fn is_settled(&self) -> bool {
        let driver = self.driver.as_ref().is_none_or(|driver| driver.is_settled());
        let Some(workers) = &self.workers else { return driver };
        if !validate::may_change(self.cluster) || workers.policy.size == Sizing::Unmanaged {
            return driver && workers.found.error.is_none();
        }
        let Some(pool) = self.pool() else { return false };
        let reached = pool.desired >= self.floor().min(pool.max_size);
        let protects = workers.plan.protect_newcomers || !workers.plan.protect.is_empty();
        let shrinks = match workers.policy.size {
            Sizing::Fixed(number) => pool.desired > number.max(pool.min_size),
            Sizing::Unmanaged | Sizing::Load(_) => false,
        };
        let is_held = || self.limited(workers).is_some_and(|limited| limited.truth == Truth::True);
        let sized = reached && !protects && (!shrinks || is_held());
        let there = self.missing_workers().is_none() && self.doubted_workers().is_none();
        driver && sized && self.page.is_ok() && there
    }

    /// Changes that are wanted and not carried out because somebody said so.
    fn pending_changes(&self) -> i32 {
        let planned = if validate::may_change(self.cluster) {
            0
        } else {
            let driver = self.driver.as_ref().map_or(0, |driver| driver.planned());
            self.workers.as_ref().map_or(0, Workers::planned).saturating_add(driver)
        };
        let waiting = words::count(self.pending_plans().len()).saturating_add(words::count(self.openings().count()));
        planned.saturating_add(waiting)
    }

    fn pending_plans(&self) -> Vec<PendingPlan> {
        let of_workers = self.workers.iter().flat_map(|workers| workers.pending_plans());
        let of_driver = self.driver.iter().flat_map(|driver| driver.pending_plans());
        by_id(of_workers.chain(of_driver).collect())
    }

    /// When changes that wait for a window may begin.
    fn openings(&self) -> impl Iterator<Item = Timestamp> {
        let of_workers = self.workers.as_ref().and_then(|workers| {
            workers.plan.holds.iter().find_map(|hold| match hold {
                Hold::WaitingForWindow { next_opening } => *next_opening,
                _ => None,
            })
        });
        of_workers.into_iter().chain(self.driver.as_ref().and_then(|driver| driver.next_opening()))
    }

    /// Somebody else lowered the desired number below what is wanted. Known from one look to the next under one
    /// generation, and then until the number is again as wanted.
    fn drift(&self) -> Option<Drift> {
        let (pool, workers) = (self.pool()?, self.workers.as_ref()?);
        if pool.desired >= self.floor().min(pool.max_size) {
            return None;
        }
        let subject = match workers.place {
            Place::Group { name, .. } => format!("desired capacity of Auto Scaling group {name}"),
            Place::Deployment { name, .. } => format!("replicas of Deployment {name}"),
        };
        let before = self.reported()?;
        let was = before.workers.as_ref()?.desired_replicas?;
        if was > pool.desired && before.settled_generation == self.cluster.metadata.generation {
            return Some(Drift { changes: 1, summary: format!("{subject} {was} -> {}", pool.desired) });
        }
        before.drift.clone().filter(|drift| drift.summary.starts_with(&subject))
    }

    /// Workers that are wanted. A number that follows the load stays as it was told while it is near that, and asks for
    /// the same: more than there are, fewer, or as many.
    pub(super) fn wanted(&self) -> Option<i32> {
        let workers = self.workers.as_ref()?;
        let told = self.reported().and_then(|spark| spark.workers.as_ref()?.wanted_replicas);
        let is_near = |told: i32, now: i32| Decision::is_near(told.into(), now.into());
        match (told, workers.wanted(), &workers.policy.size) {
            (Some(told), Some(now), Sizing::Load(_)) if is_near(told, now) && workers.still_wants(told) => Some(told),
            // Not known for now.
            (told, None, Sizing::Load(scaling)) if scaling.mode != ScalingMode::Disabled => told,
            (_, now, _) => now,
        }
    }

    /// What was decided last, in one line.
    fn last_decision(&self) -> Option<String> {
        let told = self.reported().and_then(|spark| spark.last_decision.clone());
        if let Some(done) = self.driver.as_ref().and_then(|driver| driver.last_decision()) {
            return Some(done);
        }
        let Some(workers) = &self.workers else { return told };
        if workers.told.is_empty() && self.is_warming(workers) && told.is_some() {
            return told;
        }
        let what = workers.says();
        let line = match self.wanted() {
            Some(wanted) => format!("{wanted} wanted: {what}"),
            None => what,
        };
        Some(words::cut(&line, LONGEST.0))
    }
}

/// Whether the status takes the selector: a Deployment may have a longer one.
fn is_shown(selector: &str) -> bool {
    (1..=LONGEST_SELECTOR).contains(&selector.chars().count())
}

impl Workers<'_> {
    /// Changes of the plan.
    fn planned(&self) -> i32 {
        let plan = self.plan;
        let protects = plan.protect_newcomers || !plan.protect.is_empty();
        [plan.raise.is_some(), plan.removal.is_some(), protects, !plan.costs.is_empty()].map(i32::from).iter().sum()
    }

    fn pending_plans(&self) -> Vec<PendingPlan> {
        let subject = match self.place {
            Place::Group { .. } => "desired capacity",
            Place::Deployment { .. } => "replicas",
        };
        let waiting = self.plan.holds.iter().filter_map(|hold| match hold {
            Hold::ApprovalRequired { from, to, plan_id } => {
                Some(PendingPlan { id: plan_id.clone(), summary: format!("{subject} {from} -> {to}") })
            }
            _ => None,
        });
        waiting.collect()
    }

    /// The worker that is on its way out by our hand.
    fn removing(&self) -> Option<RemovedWorker> {
        let last = self.last.filter(|last| !last.state.is_closed() && last.kind() == Some(kind::REMOVE))?;
        let RemovalTargets { removal, why } = judge::removal(&last.wish)?;
        Some(RemovedWorker {
            id: removal.id,
            host: removal.host.map(|host| words::cut(&host, LONGEST.0)).filter(|host| !host.is_empty()),
            since: last.prepared.map(Time),
            reason: Some(words::cut(&why, LONGEST.1)).filter(|why| !why.is_empty()),
        })
    }

    /// Whether `told` workers are as good an answer as what the load asks for now.
    fn still_wants(&self, told: i32) -> bool {
        let (Some(pool), Some(size)) = (self.facts.pool.known(), &self.plan.size) else { return true };
        let is_resized = self.told.iter().any(|told| told.resized().is_some());
        let same = told.cmp(&pool.desired) == size.recommended.cmp(&pool.desired);
        !is_resized && (same || told == pool.desired && self.swings())
    }

    /// Whether the load has asked for the present number a short time ago: another one may be noise.
    fn swings(&self) -> bool {
        let Some(pool) = self.facts.pool.known() else { return false };
        let recommended = &self.facts.history.behavior.recommended;
        recommended.iter().any(|one| one.replicas == pool.desired && self.now.duration_since(one.at) < NOISE)
    }

    /// What is done, or why nothing is.
    fn says(&self) -> String {
        let told = self.told.iter().find(|told| matches!(told.what, What::Raise(_) | What::Remove(_)));
        if let Some(Told { what, outcome }) = told {
            return match (what, outcome) {
                (What::Raise(Raise { from, to, .. }), Ok(Outcome::Done)) => format!("raised from {from} to {to}"),
                (What::Remove(Removal { id, .. }), Ok(Outcome::Done)) => format!("removed {id}"),
                (what, Ok(outcome)) => format!("{what}: {outcome}"),
                (what, Err(error)) => format!("{what}: {error}"),
            };
        }
        if let Some(raise) = &self.plan.raise {
            return format!("not raised from {} to {}", raise.from, raise.to);
        }
        match telling(&self.plan.holds) {
            Some(Hold::RecommendOnly { .. }) => "the mode is Recommend".to_owned(),
            Some(Hold::Stabilizing { .. }) if self.swings() => holds::words(&Hold::WithinRange),
            Some(hold) => holds::words(hold),
            None => "nothing is changed".to_owned(),
        }
    }
}

/// The hold that explains most: how far and how soon the number may follow matters least where something else keeps it
/// from doing so. Of the others the first one, as the plan names it.
fn telling(holds: &[Hold]) -> Option<&Hold> {
    holds.iter().min_by_key(|hold| match hold {
        Hold::Policy | Hold::Stabilizing { .. } => 2,
        Hold::AboveMaximum { .. } | Hold::GroupMaximum { .. } => 1,
        _ => 0,
    })
}
