//! `ScalingLimited`: bounds, ceilings and lasting obstacles between the number of workers and what is wanted. What
//! passes by itself within minutes, such as a window or a cooldown, stands in `status.spark.lastDecision`.

use super::{Look, Workers, holds};
use crate::judge;
use crate::pool::Place;
use jiff::SignedDuration;
use logwise_plan::Known;
use logwise_plan::change;
use logwise_plan::workers::{Autoscaling, Clamp, Hold, MemberState, Pool, Protection, Sizing, UNKNOWN_HOST, Worker};
use logwise_runtime::Decision;
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use std::net::IpAddr;

/// How long a cordon may take to show before it is said.
const SLOW: SignedDuration = SignedDuration::from_mins(5);

/// How long an instance that was ended may stay before it is said.
const STAYS: SignedDuration = SignedDuration::from_mins(15);

/// A reason and the message that goes with it.
type Said = (Reason, String);

impl Look<'_> {
    pub(super) fn limited(&self, workers: &Workers<'_>) -> Option<Draft> {
        let kind = ConditionType::ScalingLimited;
        if workers.policy.size == Sizing::Unmanaged {
            return None;
        }
        if matches!(workers.policy.size, Sizing::Load(_)) && workers.followed().is_none() {
            return Some(Draft::new(kind, false, Reason::WithinRange, "`autoscaling.mode` is Disabled"));
        }
        let unknown = |reason, message: &str| Some(Draft::new(kind, Truth::Unknown, reason, message));
        let pool = match (&workers.facts.pool, workers.place) {
            (Known::Known(pool), _) => pool,
            (Known::Absent, Place::Group { .. }) => {
                return unknown(Reason::GroupNotFound, "The group does not exist. See SparkReady");
            }
            (Known::Absent, Place::Deployment { .. }) => {
                return unknown(Reason::DeploymentNotFound, "The Deployment does not exist. See SparkReady");
            }
            (Known::Unknown(_), _) => return unknown(Reason::Unreadable, "What runs the workers could not be read"),
        };
        let said = workers.waits(self).or_else(|| workers.bounds(pool)).or_else(|| workers.held(pool));
        if let Some((reason, message)) = said {
            return Some(Draft::new(kind, true, reason, message));
        }
        let is_unknown = workers.followed().is_some() && workers.plan.size.is_none();
        let stays = |before: &Draft| if is_unknown { is_of_load(before) } else { workers.stays_at(before, pool) };
        if let Some(before) = self.before_if(kind, stays) {
            return Some(before);
        }
        if is_unknown {
            let reason = if self.is_warming(workers) { Reason::Pending } else { Reason::SignalMissing };
            return unknown(reason, "It is not known how many workers the load asks for. See SignalsFresh");
        }
        Some(Draft::new(kind, false, Reason::WithinRange, ""))
    }
}

/// Whether the condition says what the load asks for, which stays said while that is not known.
fn is_of_load(before: &Draft) -> bool {
    match before.reason {
        Reason::TooManyWorkers
        | Reason::TooFewWorkers
        | Reason::BoundsDiffer
        | Reason::CoresMaxReached
        | Reason::PartitionCeiling => before.truth == Truth::True,
        Reason::WithinRange => before.truth == Truth::False && before.message.is_empty(),
        _ => false,
    }
}

impl Workers<'_> {
    /// Whether the number that the load asks for has not left the bound that it has passed: a load that swings about a
    /// bound is no news at each look. A ceiling of the job, the topics or the pool is left when a fifth is between.
    fn stays_at(&self, before: &Draft, pool: &Pool) -> bool {
        let (Some(scaling), Some(size)) = (self.followed(), &self.plan.size) else { return false };
        let of_spec = |other: Option<Said>| other.is_some_and(|(_, message)| message == before.message);
        let said = |clamp: Clamp| of_spec(ceilings(scaling, |asked| *asked == clamp));
        let is_near = |bound: i32| Decision::is_near(bound.into(), size.wanted.into());
        let is_near_cores = |cores: i32| {
            let (all, each) = (cores.saturating_add(scaling.driver_cores), size.cores_per_worker.max(1));
            is_near(all.saturating_add(each - 1) / each)
        };
        match before.reason {
            Reason::TooManyWorkers => size.wanted >= scaling.max_replicas && said(Clamp::MaxReplicas),
            Reason::TooFewWorkers => size.wanted <= scaling.min_replicas.max(1) && said(Clamp::MinReplicas),
            Reason::CoresMaxReached => said(Clamp::CoresMax) && scaling.cores_max.is_some_and(is_near_cores),
            Reason::PartitionCeiling => {
                let partitions = self.facts.load.partitions.known();
                said(Clamp::Partitions) && partitions.copied().is_some_and(is_near_cores)
            }
            Reason::BoundsDiffer => {
                let what = self.place.words();
                let is_low = pool.desired <= pool.min_size && is_near(pool.min_size);
                is_near(pool.max_size) && before.message == above(&what, pool, scaling.max_replicas)
                    || is_low && before.message == below(&what, pool, scaling.min_replicas)
            }
            _ => false,
        }
    }

    /// What a person or a window has to say first.
    fn waits(&self, look: &Look<'_>) -> Option<Said> {
        self.plan.holds.iter().find_map(|hold| match hold {
            Hold::ApprovalRequired { from, to, plan_id } => {
                let what = self.place.words();
                let message = format!(
                    "{what} waits at {from} for approval to become {to}. Add {plan_id} to `changePolicy.approvedPlans`"
                );
                Some((Reason::ApprovalRequired, message))
            }
            Hold::WaitingForWindow { next_opening } => {
                let message = match next_opening {
                    Some(opening) => {
                        let opening = change::opening(&look.windows(), *opening);
                        format!("Fewer workers are wanted, and none is removed before a window opens at {opening}")
                    }
                    None => {
                        "Fewer workers are wanted, and `changePolicy.windows` are never open together. Correct them"
                            .to_owned()
                    }
                };
                Some((Reason::WaitingForWindow, message))
            }
            Hold::RecommendOnly { .. } => {
                let message = "Another number of workers is recommended: `status.spark.workers.wantedReplicas` has it. \
                               Set `spark.workers.autoscaling.mode` to Automatic to have it carried out";
                Some((Reason::RecommendOnly, message.to_owned()))
            }
            _ => None,
        })
    }

    /// Bounds of the spec, of the pool and of the job.
    fn bounds(&self, pool: &Pool) -> Option<Said> {
        let what = self.place.words();
        let has = |wanted: &Clamp| self.plan.size.as_ref().is_some_and(|size| size.clamps.contains(wanted));
        let least = match &self.policy.size {
            Sizing::Fixed(number) => *number,
            Sizing::Load(scaling) => scaling.min_replicas.min(scaling.max_replicas),
            Sizing::Unmanaged => 0,
        };
        if least > pool.max_size {
            let message = format!(
                "{least} workers are wanted at least, and the maximum of {what} is {}. Raise its maximum size",
                pool.max_size
            );
            return Some((Reason::TooFewWorkers, message));
        }
        let Sizing::Load(scaling) = &self.policy.size else {
            return (least < pool.min_size).then(|| (Reason::BoundsDiffer, below(&what, pool, least)));
        };
        if has(&Clamp::GroupMaximum) || self.is_beyond(pool) {
            return Some((Reason::BoundsDiffer, above(&what, pool, scaling.max_replicas)));
        }
        if has(&Clamp::GroupMinimum) && pool.desired <= pool.min_size {
            return Some((Reason::BoundsDiffer, below(&what, pool, scaling.min_replicas)));
        }
        ceilings(scaling, has)
    }

    /// Whether the plan says that the pool's own maximum is too small.
    fn is_beyond(&self, pool: &Pool) -> bool {
        let beyond = |hold: &Hold| matches!(hold, Hold::GroupMaximum { wanted, .. } if *wanted > pool.max_size);
        self.plan.holds.iter().any(beyond)
    }

    /// Obstacles that last.
    fn held(&self, pool: &Pool) -> Option<Said> {
        let of = |hold: &Hold| self.lasting(hold);
        self.plan.holds.iter().find_map(of).or_else(|| self.stays(pool)).or_else(|| self.unprotected(pool))
    }

    fn lasting(&self, hold: &Hold) -> Option<Said> {
        let what = self.place.words();
        let (reason, next) = match hold {
            Hold::CordonUnavailable { .. } => (
                Reason::CordonUnavailable,
                "No worker is removed. Set `spark.master.ui.decommission.allow.mode` to ALLOW at the masters, which is \
                 LOCAL by default and refuses callers from elsewhere, and `spark.decommission.enabled` to true at \
                 masters and workers; let a proxy before a master pass POST requests",
            ),
            Hold::EndRefused { .. } => {
                let message = format!(
                    "{what}: {}. None is cordoned or ended for ten minutes, and then one is tried again. Mend what the \
                     message names: {}",
                    holds::words(hold),
                    self.rights()
                );
                return Some((Reason::ScaleInHeld, message));
            }
            Hold::CordonPending { .. } | Hold::CordonLost { .. } if self.is_slow() => {
                (Reason::CordonPending, "It is tried again; look at the master's log")
            }
            Hold::ScaleInDisabled => (Reason::ScaleInDisabled, "Set it to Max or Min, or leave it"),
            Hold::LaunchesFail { .. } => (
                Reason::LaunchesFail,
                "What was asked for is tried again, and load asks for no more until a pause is over. Mend what the \
                 message names",
            ),
            Hold::Refresh => (Reason::RefreshRunning, "No worker is removed before its end"),
            Hold::Rollout => (Reason::RolloutInProgress, "No pod is removed before its end"),
            Hold::DriverPodNotReady => {
                (Reason::DriverPodNotReady, "It would be the first to go, so no pod is removed. Look at that pod")
            }
            Hold::Suspended { .. } => (Reason::ScaleInHeld, "No worker is removed. Resume the process of the group"),
            Hold::DriverHost { id } if id != UNKNOWN_HOST && self.is_fixed() => {
                (Reason::ScaleInHeld, "Fewer are wanted, and none is removed where a driver runs")
            }
            Hold::DriverHost { .. } if self.is_fixed() && self.drives_by_name() => (
                Reason::ScaleInHeld,
                "Fewer are wanted, and none is removed until it is. Let workers register with their private address",
            ),
            Hold::AddressUnknown { .. } if self.is_fixed() => {
                (Reason::ScaleInHeld, "Fewer are wanted, and none is removed of which that is not certain")
            }
            // A new one has none yet.
            Hold::NoEffect { .. } if self.is_fixed() && self.unregistered().is_some() => (
                Reason::ScaleInHeld,
                "Fewer are wanted, and none is removed that cannot be cordoned. Look at the worker log there",
            ),
            Hold::AboveMaximum { .. } => {
                (Reason::ScaleInHeld, "`status.spark.lastDecision` says what the removal of workers waits for")
            }
            _ => return None,
        };
        let fact = holds::words(hold);
        Some((reason, format!("{what}: {fact}. {next}")))
    }

    /// Where the rights stand that a removal takes.
    fn rights(&self) -> &'static str {
        match self.place {
            Place::Group { .. } => "docs/aws-permissions.md has the statement of each permission",
            Place::Deployment { .. } => "deploy/components/tenant-workers has the rights",
        }
    }

    /// Whether the spec names a number: as long as there are more, this generation is not carried out.
    fn is_fixed(&self) -> bool {
        matches!(self.policy.size, Sizing::Fixed(_))
    }

    /// Whether a driver runs on a worker that has registered with a name: which instance or pod that is will not be
    /// known later either.
    fn drives_by_name(&self) -> bool {
        let Known::Known(cluster) = &self.facts.cluster else { return false };
        let drives = |worker: &Worker| cluster.drivers.iter().any(|driver| driver.worker.as_ref() == Some(&worker.id));
        let is_name = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
        cluster.workers.iter().any(|worker| is_name(&worker.host) && drives(worker))
    }

    /// Whether the removal that is under way was written down some time ago.
    fn is_slow(&self) -> bool {
        let written = self.last.filter(|last| !last.state.is_closed()).and_then(|last| last.prepared);
        written.is_some_and(|written| self.now.duration_since(written) > SLOW)
    }

    /// An instance that was ended by our hand and has not gone.
    fn stays(&self, pool: &Pool) -> Option<Said> {
        let ended = judge::ended(self.last, self.now);
        let leaves = pool.members.iter().filter(|member| member.state == MemberState::Leaving);
        let is_old = |id: &str| ended.get(id).is_some_and(|at| self.now.duration_since(*at) > STAYS);
        let old = leaves.filter(|member| is_old(&member.id));
        let id = old.map(|member| &member.id).min()?;
        let hooks: Vec<&str> =
            self.found.waiting.iter().filter(|waiting| waiting.instance == *id).map(|w| w.hook.as_str()).collect();
        let why = if hooks.is_empty() { String::new() } else { format!(" under hook {}", hooks.join(" or ")) };
        let message = format!(
            "{id} was removed and has not gone{why}. Complete the lifecycle hook that holds it back, name it in \
             `autoScalingGroup.terminationHookName`, or wait until its time is over"
        );
        Some((Reason::ScaleInIncomplete, message))
    }

    /// Instances that AWS may end by itself, where the operator only observes that.
    fn unprotected(&self, pool: &Pool) -> Option<Said> {
        if self.policy.protection != Protection::Observe || matches!(self.place, Place::Deployment { .. }) {
            return None;
        }
        let bare = |pool: &Pool| {
            let mut serving = pool.members.iter().filter(|member| member.state == MemberState::InService);
            serving.any(|member| !member.protected)
        };
        if pool.newcomers_protected == Known::Known(true) && !bare(pool) {
            return None;
        }
        let message = format!(
            "{}: instances, or new ones, are not protected from scale-in, so no worker is removed. Set \
             NewInstancesProtectedFromScaleIn of the group and protect its instances, or set \
             `autoScalingGroup.scaleInProtection` to Manage",
            self.place.words()
        );
        Some((Reason::ScaleInHeld, message))
    }
}

/// What is said while the pool's own maximum is below what is wanted.
fn above(what: &str, pool: &Pool, most: i32) -> String {
    format!(
        "More workers are wanted than the maximum of {what}, {}, allows; `maxReplicas` is {most}. Make the two equal, \
         or leave it",
        pool.max_size
    )
}

/// What is said while the pool's own minimum is above what is wanted.
fn below(what: &str, pool: &Pool, least: i32) -> String {
    format!(
        "Fewer workers are wanted than the minimum of {what}, {}; the spec asks for {least} at least. Lower its \
         minimum size, or leave it",
        pool.min_size
    )
}

/// Ceilings of the spec and of the job that the load runs into.
fn ceilings(scaling: &Autoscaling, has: impl Fn(&Clamp) -> bool) -> Option<Said> {
    let Autoscaling { min_replicas, max_replicas, cores_max, .. } = scaling;
    let said = if has(&Clamp::MaxReplicas) {
        let fact = format!("The load asks for more workers than `maxReplicas` {max_replicas}");
        (Reason::TooManyWorkers, format!("{fact}. Raise it, or leave it"))
    } else if has(&Clamp::CoresMax) {
        let cores = cores_max.unwrap_or_default();
        let message = format!(
            "The load asks for more cores than `spark.cores.max` {cores} in `driver.sparkProperties` lets the job \
             take. Raise it there, or leave it"
        );
        (Reason::CoresMaxReached, message)
    } else if has(&Clamp::Partitions) {
        let message = "The load asks for more cores than the topics have partitions: no more are read at once. Raise \
                       `kafka.topics.maxPartitions`, or leave it";
        (Reason::PartitionCeiling, message.to_owned())
    } else if has(&Clamp::MinReplicas) {
        let fact = format!("The load asks for fewer workers than `minReplicas` {min_replicas}");
        (Reason::TooFewWorkers, format!("{fact}. Lower it, or leave it"))
    } else {
        return None;
    };
    Some(said)
}
