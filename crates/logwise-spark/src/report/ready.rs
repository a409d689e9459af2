//! `SparkReady`: whether master, workers and driver are as they should be.

use super::{Look, Workers};
use crate::deployment;
use crate::pool::Place;
use crate::told::Failed;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::workers::{Hold, MemberState, Sizing, WorkerState};
use logwise_runtime::ErrorClass;
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::words::{capital, first_few};

/// What a new instance gets until its worker has registered, where the spec does not say.
const WARMUP_SECONDS: u32 = 180;

impl Look<'_> {
    pub(super) fn ready(&self) -> Draft {
        let no = |(reason, message): (Reason, String)| Draft::new(ConditionType::SparkReady, false, reason, message);
        if let Some(workers) = &self.workers
            && let Some(said) = workers.unread().or_else(|| workers.absent())
        {
            return no(said);
        }
        let page = match self.page {
            Ok(page) => page,
            Err(error) => {
                let message = format!(
                    "{}. Check that a master runs and that `spark.masters` names its host and uiPort",
                    capital(error)
                );
                return no((Reason::MasterUnreachable, message));
            }
        };
        if let Some(said) = self.workers.as_ref().and_then(|workers| workers.failed().or_else(|| workers.refused())) {
            return no(said);
        }
        let driver = self.driver.as_ref().and_then(|driver| driver.ready());
        let missing = self.missing_workers();
        match (driver, missing) {
            // It waits for the workers that are missing.
            (Some(driver), Some(missing)) if driver.reason == Reason::DriverPending => {
                no((Reason::WorkersNotReady, format!("{missing}. {}", driver.message)))
            }
            (Some(driver), _) if driver.truth != Truth::True => driver,
            (_, Some(missing)) => no((Reason::WorkersNotReady, missing)),
            (driver, None) => match self.workers.as_ref().and_then(|workers| workers.unregistered()) {
                Some(message) => no((Reason::WorkersMissing, message)),
                None => self.sound(driver, &page.at),
            },
        }
    }

    /// Nothing is known to be wrong.
    fn sound(&self, driver: Option<Draft>, at: &str) -> Draft {
        let kind = ConditionType::SparkReady;
        if let Some(doubt) = self.doubted_workers() {
            return Draft::new(kind, Truth::Unknown, Reason::Unreadable, doubt);
        }
        let active = || Draft::new(kind, true, Reason::Available, format!("The master at {at} is active"));
        driver.unwrap_or_else(active)
    }

    /// Why it is not known whether the workers that the spec asks for are alive, if it is not.
    pub(super) fn doubted_workers(&self) -> Option<String> {
        let (pool, workers) = (self.pool()?, self.workers.as_ref()?);
        let (alive, doubted) = self.counted()?;
        if doubted == 0 || alive >= self.floor().min(pool.max_size) {
            return None;
        }
        let serving = pool.members.iter().filter(|member| member.state == MemberState::InService);
        let why = serving.filter_map(|member| match &member.address {
            Known::Unknown(why) => Some(why),
            Known::Known(_) | Known::Absent => None,
        });
        let (what, why) = (workers.place.words(), why.min()?);
        Some(format!("It is not known which workers of the master are those of {what}: {why}. It is tried again"))
    }

    /// Why workers that the spec asks for are missing, if they are.
    pub(super) fn missing_workers(&self) -> Option<String> {
        let (pool, floor) = (self.pool()?, self.floor());
        let (alive, doubted) = self.counted().unwrap_or_default();
        let (in_service, reachable) = (pool.in_service(), floor.min(pool.max_size));
        if in_service >= reachable && alive.saturating_add(doubted) >= reachable {
            return None;
        }
        let workers = self.workers.as_ref();
        let stranger = workers.and_then(Workers::stranger).unwrap_or_default();
        let fails = workers.filter(|_| in_service < reachable).and_then(Workers::fails).unwrap_or_default();
        Some(format!(
            "{alive} of {reachable} wanted workers are alive in the master, {in_service} instances are in service. New \
             instances need some minutes; if they do not register, look at their worker log{stranger}{fails}"
        ))
    }
}

impl Workers<'_> {
    /// Why what runs the workers could not be read.
    fn unread(&self) -> Option<(Reason, String)> {
        self.found.error.as_ref().map(|error| self.said(error))
    }

    fn absent(&self) -> Option<(Reason, String)> {
        if !matches!(self.facts.pool, Known::Absent) {
            return None;
        }
        Some(match self.place {
            Place::Group { clients, name } => {
                let region = clients.region();
                let message = format!(
                    "Auto Scaling group {name} does not exist in region {region}. Create it or correct \
                     `spark.workers.autoScalingGroup.name`"
                );
                (Reason::GroupNotFound, message)
            }
            Place::Deployment { name, .. } => (Reason::DeploymentNotFound, deployment::absent_words(name)),
        })
    }

    /// The first change that failed.
    fn failed(&self) -> Option<(Reason, String)> {
        self.told.iter().find_map(|told| told.outcome.as_ref().err()).map(|error| self.said(error))
    }

    /// A call beside the one for the group that AWS has refused.
    fn refused(&self) -> Option<(Reason, String)> {
        self.denied.map(|error| self.said(error))
    }

    fn said(&self, error: &Failed) -> (Reason, String) {
        let not_found = match self.place {
            Place::Group { .. } => Reason::GroupNotFound,
            Place::Deployment { .. } => Reason::DeploymentNotFound,
        };
        let reason = match error {
            Failed::Spark(error) if error.class() != ErrorClass::Conflict => Reason::MasterUnreachable,
            error => Reason::of_failure(error.class(), not_found),
        };
        (reason, format!("{}. {}", capital(error), next_step(error)))
    }

    /// Members in service for longer than a start takes, of which no worker is alive at the master.
    pub(super) fn unregistered(&self) -> Option<String> {
        let warmup = match &self.policy.size {
            Sizing::Unmanaged => return None,
            Sizing::Fixed(_) => WARMUP_SECONDS,
            Sizing::Load(scaling) => scaling.warmup_seconds,
        };
        let (pool, cluster) = (self.facts.pool.known()?, self.facts.cluster.known()?);
        let over = |since: Timestamp| since.saturating_add(SignedDuration::from_secs(warmup.into())).ok();
        let is_old = |since: Option<Timestamp>| since.and_then(over).is_some_and(|warm| warm <= self.now);
        let seats = pool.workers_of(cluster).into_iter();
        let silent = seats.filter(|(member, worker)| {
            let serves = member.state == MemberState::InService && member.address.known().is_some();
            serves && is_old(member.since) && worker.is_none_or(|worker| worker.state == WorkerState::Dead)
        });
        let ids: Vec<&str> = silent.map(|(member, _)| member.id.as_str()).collect();
        if ids.is_empty() {
            return None;
        }
        let stranger = self.stranger().unwrap_or_default();
        Some(format!(
            "No worker of {} is alive in the master, although {} in service for longer than {warmup} s. Look at the \
             worker log there{stranger}",
            first_few(&ids),
            if ids.len() == 1 { "it is" } else { "they are" },
        ))
    }

    /// Why new members do not come, in the words of what runs the workers.
    fn fails(&self) -> Option<String> {
        let text = self.plan.holds.iter().find_map(|hold| match hold {
            Hold::LaunchesFail { text, .. } => Some(text).filter(|text| !text.is_empty()),
            _ => None,
        })?;
        let who = match self.place {
            Place::Group { .. } => "The group",
            Place::Deployment { .. } => "Kubernetes",
        };
        Some(format!(". {who} says: {text}"))
    }

    /// A worker at the master that is none of the pool's: perhaps one that is missed, under another address.
    fn stranger(&self) -> Option<String> {
        let host = self.plan.holds.iter().find_map(|hold| match hold {
            Hold::WorkerNotInPool { host } => Some(host),
            _ => None,
        })?;
        let pool = self.place.words();
        Some(format!(
            ". A worker on {host} is none of {pool}'s: if it should be, let it register with its private address"
        ))
    }
}

fn next_step(error: &Failed) -> String {
    let step = match (error, error.class()) {
        (Failed::Deployment(error), _) => error.next_step(),
        (Failed::Aws(error), ErrorClass::Denied) => {
            let action = error.permission().action;
            return format!("Allow the operator {action}: docs/aws-permissions.md has the statement");
        }
        (Failed::Aws(_), ErrorClass::NotFound | ErrorClass::Invalid) => "Correct `spark.workers.autoScalingGroup`",
        _ => "It is tried again",
    };
    step.to_owned()
}
