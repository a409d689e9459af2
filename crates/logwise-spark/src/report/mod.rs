//! What a look at the Spark side found and did, in conditions, status, events, metrics and decisions.

mod events;
mod fresh;
pub(crate) mod holds;
mod limited;
mod ready;
mod risk;
mod status;
#[cfg(test)]
mod tests;

use crate::driver;
use crate::master::{NoActiveMaster, Page};
use crate::owner::Conflict;
use crate::pool::{Found, Place};
use crate::signals::Signals;
use crate::told::{Failed, Outcome, Told, What};
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::validate::{self, Invalid};
use logwise_api::{LogwiseCluster, PendingPlan, SparkStatus, WorkersStatus};
use logwise_plan::change::Window;
use logwise_plan::workers::{Batch, Hold, Observed, Plan, Policy, Pool, Sizing};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::intent::Intent;
use logwise_runtime::metrics::{Direction, Metrics, Pipeline, ScaleOutcome, SparkFigures};
use logwise_runtime::{Decision, ErrorClass, Part, PartStatus, Refused, Report};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the decision is about.
const ABOUT: &str = "workers";

/// Members of the order that stand in a decision record: the first ones go first.
const MOST_RANKED: usize = 20;

/// Seconds until the next look while a removal waits for it, or instances for their protection.
const SOON_SECONDS: u32 = 5;

/// The spec cannot be used.
pub(crate) fn invalid(cluster: &LogwiseCluster, invalid: &Invalid) -> Report {
    not_looked(cluster, Reason::InvalidSpec, invalid.to_string(), Some(ErrorClass::Invalid))
}

/// The object may not use what it refers to, or a Secret is missing: no call was made.
pub(crate) fn refused(cluster: &LogwiseCluster, refused: Refused) -> Report {
    not_looked(cluster, refused.reason, refused.message, Some(refused.class))
}

/// Another LogwiseCluster owns the group, the Deployment or the driver: nothing is done for this one.
pub(crate) fn conflicted(cluster: &LogwiseCluster, conflict: &Conflict) -> Report {
    let report = not_looked(cluster, Reason::Conflicted, conflict.words.clone(), None);
    Report { next_look: Duration::from_secs(30), ..report }
}

fn not_looked(cluster: &LogwiseCluster, reason: Reason, message: String, failure: Option<ErrorClass>) -> Report {
    let before = cluster.status.as_ref().and_then(|status| status.spark.as_ref());
    // Of what is another one's nothing is told; else what was seen last stays, as the scale subresource shows it.
    let kept = before.filter(|_| reason != Reason::Conflicted);
    let status = SparkStatus {
        settled_generation: settled_before(cluster),
        workers: kept.and_then(|before| before.workers.as_ref()).map(|workers| WorkersStatus {
            replicas: workers.replicas,
            selector: workers.selector.clone(),
            last_scale_time: workers.last_scale_time.clone(),
            ..WorkersStatus::default()
        }),
        last_decision: kept.and_then(|before| before.last_decision.clone()),
        ..SparkStatus::default()
    };
    let ready = Draft::new(ConditionType::SparkReady, false, reason, message);
    Report { status: part_status(&status, vec![ready]), failure, ..Report::default() }
}

fn settled_before(cluster: &LogwiseCluster) -> Option<i64> {
    cluster.status.as_ref()?.spark.as_ref()?.settled_generation
}

fn part_status(status: &SparkStatus, conditions: Vec<Draft>) -> PartStatus {
    let mut fields = Map::new();
    fields.insert("spark".into(), json!(status));
    PartStatus { fields, conditions }
}

/// Everything that one look at the workers knows.
pub(crate) struct Workers<'a> {
    pub policy: &'a Policy,
    pub place: &'a Place,
    pub found: &'a Found,
    /// What was planned with.
    pub facts: &'a Observed,
    pub plan: &'a Plan,
    /// What was done, and what has come to light of an earlier change.
    pub told: &'a [Told],
    pub now: Timestamp,
    /// A call beside the one for the group that AWS has refused lately.
    pub denied: Option<&'a Failed>,
    /// The record of the last change.
    pub last: Option<&'a Intent>,
}

/// Everything one look knows.
pub(crate) struct Look<'a> {
    pub cluster: &'a LogwiseCluster,
    pub page: &'a Result<Arc<Page>, NoActiveMaster>,
    /// Whether this generation is looked at only for a short time: what was not read yet is no news.
    pub begins: bool,
    /// What the load is judged by.
    pub signals: &'a Signals,
    /// None: the spec names nothing that runs workers.
    pub workers: Option<Workers<'a>>,
    /// None: the spec does not describe the driver.
    pub driver: Option<driver::Look<'a>>,
}

impl Look<'_> {
    /// The report of this look.
    pub(crate) fn report(&self, period_seconds: u32) -> Report {
        let mut conditions = vec![self.ready()];
        let mut decisions = Vec::new();
        if let Some(workers) = &self.workers {
            conditions.extend([self.limited(workers), self.fresh(workers)].into_iter().flatten());
            decisions.push(workers.decision());
        }
        conditions.extend(self.risk());
        decisions.extend(self.driver.as_ref().map(driver::Look::decision));
        Report {
            status: part_status(&self.status(), conditions),
            events: self.events(),
            decisions,
            failure: self.failure(),
            next_look: Duration::from_secs(self.next_look_seconds(period_seconds).into()),
            retry_within: None,
        }
    }

    fn next_look_seconds(&self, period_seconds: u32) -> u32 {
        let workers = self.workers.as_ref().map(Workers::next_look_seconds);
        let driver = self.driver.as_ref().map(driver::Look::next_look_seconds);
        workers.into_iter().chain(driver).fold(period_seconds, u32::min)
    }

    /// Sets the gauges and counts what was done.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let of = Pipeline { namespace: self.cluster.namespace().unwrap_or_default(), cluster: self.cluster.name_any() };
        let pool = self.pool();
        metrics.workers(&of, "desired", pool.map(|pool| i64::from(pool.desired)));
        metrics.workers(&of, "in_service", pool.map(|pool| i64::from(pool.in_service())));
        metrics.workers(&of, "alive", self.alive().map(i64::from));
        metrics.spark(&of, &self.figures());
        for (direction, outcome) in self.workers.iter().flat_map(|workers| workers.told).filter_map(counted) {
            metrics.scaled(&of, direction, outcome);
        }
        if let Some(driver) = &self.driver {
            driver.measure(metrics);
        }
    }

    fn figures(&self) -> SparkFigures {
        let driver_up = self.driver.as_ref().and_then(driver::Look::is_up);
        let size = self.workers.as_ref().and_then(|workers| workers.plan.size.as_ref());
        // Two clocks tell the two times.
        let duration = |batch: &Batch| batch.committed.duration_since(batch.started).as_secs().max(0);
        SparkFigures {
            driver_up,
            batch_duration_seconds: self.signals.load.batches.iter().max_by_key(|batch| batch.id).map(duration),
            wanted_workers: self.workers.as_ref().and_then(Workers::wanted).map(i64::from),
            records_per_second_per_core: size.map(|size| size.per_core),
            backlog_records: size.map(|size| size.backlog),
            backlog_age_seconds: self.signals.oldest_seconds,
        }
    }

    fn pool(&self) -> Option<&Pool> {
        self.workers.as_ref()?.facts.pool.known()
    }

    fn failure(&self) -> Option<ErrorClass> {
        let workers = self.workers.as_ref().and_then(Workers::failure);
        let driver = || self.driver.as_ref().and_then(driver::Look::failure);
        workers.or_else(|| self.page.as_ref().err().map(NoActiveMaster::class)).or_else(driver)
    }

    /// The condition of this type as the object has it, if it is so.
    fn before_if(&self, kind: ConditionType, is: impl Fn(&Draft) -> bool) -> Option<Draft> {
        let reported = PartStatus::as_reported(Part::Spark, self.cluster);
        reported.conditions.into_iter().find(|draft| draft.kind == kind && is(draft))
    }

    fn windows(&self) -> Vec<Vec<Window>> {
        validate::change_policy(self.cluster).map(|policy| policy.windows).unwrap_or_default()
    }
}

impl Workers<'_> {
    /// Workers that are wanted, as far as that is known.
    fn wanted(&self) -> Option<i32> {
        match &self.policy.size {
            Sizing::Unmanaged => None,
            Sizing::Fixed(number) => Some(*number),
            Sizing::Load(_) => self.plan.size.as_ref().map(|size| size.wanted),
        }
    }

    fn next_look_seconds(&self) -> u32 {
        let drains = self.plan.holds.iter().any(|hold| matches!(hold, Hold::Draining { .. }));
        let goes_on = self.plan.removal.is_some() && !drains;
        let soon = goes_on || !self.plan.protect.is_empty() || self.plan.protect_newcomers;
        let most = if soon && !self.told.is_empty() { SOON_SECONDS } else { u32::MAX };
        self.plan.next_look_seconds.min(most)
    }

    fn failure(&self) -> Option<ErrorClass> {
        let told = self.told.iter().find_map(|told| told.outcome.as_ref().err());
        self.found.error.as_ref().or(told).map(Failed::class)
    }

    /// What was decided, with all that decided it. What moves from look to look stands among the inputs: it would make
    /// a record of each look.
    fn decision(&self) -> Decision {
        let Plan { size, signals, ranking, .. } = self.plan;
        let ranking = &ranking[..ranking.len().min(MOST_RANKED)];
        let explained = json!({"size": size, "signals": signals, "ranking": ranking});
        let outcome: Vec<String> = self.told.iter().map(Told::words).collect();
        Decision {
            id: None,
            about: ABOUT,
            inputs: json!({
                "policy": self.policy,
                "observed": self.facts,
                "now": self.now,
                "explained": explained,
            }),
            actions: actions(self.plan),
            holds: json!(self.plan.holds),
            outcome: json!(outcome),
        }
    }
}

/// What a plan does, without its reasons.
fn actions(plan: &Plan) -> Value {
    let mut actions = json!(plan);
    if let Some(members) = actions.as_object_mut() {
        for reason in ["size", "signals", "ranking", "holds", "nextLookSeconds"] {
            members.remove(reason);
        }
    }
    actions
}

/// How a change of the number of workers counts.
fn counted(told: &Told) -> Option<(Direction, ScaleOutcome)> {
    let direction = match &told.what {
        What::Raise(_) => Direction::Out,
        What::Remove(_) => Direction::In,
        _ => return None,
    };
    let outcome = match &told.outcome {
        Ok(Outcome::Done | Outcome::AlreadySo) => ScaleOutcome::Done,
        Ok(Outcome::Superseded { .. }) => ScaleOutcome::Superseded,
        // It goes on.
        Ok(Outcome::Noted { .. } | Outcome::Refused { .. }) => return None,
        Err(_) => ScaleOutcome::Failed,
    };
    Some((direction, outcome))
}

/// Plans that wait for approval, by id, as many as status shows.
fn by_id(plans: Vec<PendingPlan>) -> Vec<PendingPlan> {
    /// Plans that status shows.
    const MOST: usize = 10;
    let plans: BTreeMap<String, PendingPlan> = plans.into_iter().map(|plan| (plan.id.clone(), plan)).collect();
    plans.into_values().take(MOST).collect()
}
