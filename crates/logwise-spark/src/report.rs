//! What a look at the Spark side found and did, in conditions, status, events and metrics.

use crate::controller::{Observed, Outcome};
use kube::ResourceExt;
use logwise_api::validate::{self, Invalid};
use logwise_api::{Drift, LogwiseCluster, PendingPlan, SparkStatus, WorkersStatus};
use logwise_aws::group;
use logwise_plan::{Known, workers};
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::metrics::{Metrics, Pipeline, ScaleOutcome};
use logwise_runtime::{Decision, ErrorClass, EventDraft, PartStatus, Refused, Report};
use serde_json::{Map, json};
use std::time::Duration;

/// The spec cannot be used.
pub(crate) fn invalid(cluster: &LogwiseCluster, invalid: &Invalid) -> Report {
    let status = SparkStatus { settled_generation: settled_before(cluster), ..SparkStatus::default() };
    let ready = Draft::new(ConditionType::SparkReady, false, Reason::InvalidSpec, invalid.to_string());
    Report { status: part_status(&status, vec![ready]), failure: Some(ErrorClass::Invalid), ..Report::default() }
}

/// The object may not use what it refers to, or a Secret is missing: no call was made.
pub(crate) fn refused(cluster: &LogwiseCluster, refused: Refused) -> Report {
    let status = SparkStatus { settled_generation: settled_before(cluster), ..SparkStatus::default() };
    let ready = Draft::new(ConditionType::SparkReady, false, refused.reason, refused.message);
    Report { status: part_status(&status, vec![ready]), failure: Some(refused.class), ..Report::default() }
}

/// Another LogwiseCluster owns the group: nothing is done for this one.
pub(crate) fn conflicted(cluster: &LogwiseCluster, owner: &str) -> Report {
    let group = crate::controller::group_name(cluster).unwrap_or_default();
    let message = format!(
        "Auto Scaling group {group} belongs to LogwiseCluster {owner}; nothing is done for this one. \
         Use one LogwiseCluster per group"
    );
    let status = SparkStatus { settled_generation: settled_before(cluster), ..SparkStatus::default() };
    let ready = Draft::new(ConditionType::SparkReady, false, Reason::Conflicted, message);
    Report { status: part_status(&status, vec![ready]), next_look: Duration::from_secs(30), ..Report::default() }
}

fn settled_before(cluster: &LogwiseCluster) -> Option<i64> {
    cluster.status.as_ref()?.spark.as_ref()?.settled_generation
}

fn part_status(status: &SparkStatus, conditions: Vec<Draft>) -> PartStatus {
    let mut fields = Map::new();
    fields.insert("spark".into(), json!(status));
    PartStatus { fields, conditions }
}

/// Everything one look knows.
pub(crate) struct Look<'a> {
    pub cluster: &'a LogwiseCluster,
    pub policy: Option<&'a workers::Policy>,
    pub observed: &'a Observed,
    pub plan: Option<&'a workers::Plan>,
    pub outcomes: &'a [Outcome],
}

impl Look<'_> {
    /// The report of this look.
    pub(crate) fn report(&self, period_seconds: u32) -> Report {
        let ready = self.ready();
        let status = self.status();
        Report {
            status: part_status(&status, [Some(ready), self.limited()].into_iter().flatten().collect()),
            events: self.outcomes.iter().filter_map(event).collect(),
            decisions: self.decision().into_iter().collect(),
            failure: self.failure(),
            next_look: Duration::from_secs(self.plan.map_or(period_seconds, |plan| plan.next_look_seconds).into()),
            retry_within: None,
        }
    }

    /// Sets the gauges and counts what was done.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let of = Pipeline { namespace: self.cluster.namespace().unwrap_or_default(), cluster: self.cluster.name_any() };
        let group = self.group();
        metrics.workers(&of, "desired", group.map(|g| i64::from(g.desired)));
        metrics.workers(&of, "in_service", group.map(|g| i64::from(g.in_service)));
        metrics.workers(&of, "alive", self.observed.master.as_ref().ok().map(|m| i64::from(m.alive_workers)));
        for (_, outcome) in self.outcomes {
            let outcome = match outcome {
                Ok(group::Outcome::Done | group::Outcome::AlreadySo) => ScaleOutcome::Done,
                Ok(group::Outcome::Superseded { .. }) => ScaleOutcome::Superseded,
                Err(_) => ScaleOutcome::Failed,
            };
            metrics.scaled_out(&of, outcome);
        }
    }

    fn group(&self) -> Option<&workers::Group> {
        self.observed.facts.as_ref()?.group.known()
    }

    /// Workers that must be there for this generation to be carried out.
    fn wanted(&self) -> i32 {
        self.policy.map_or(0, |policy| policy.min_replicas.min(policy.max_replicas))
    }

    /// Why wanted workers are missing, if they are.
    fn missing_workers(&self) -> Option<String> {
        let wanted = self.wanted();
        let alive = self.observed.master.as_ref().map_or(0, |master| master.alive_workers);
        let group = self.group();
        let in_service = group.map_or(wanted, |g| g.in_service);
        let limit = group.map_or(wanted, |g| g.max_size);
        let reachable = wanted.min(limit);
        if in_service >= reachable && alive >= reachable {
            return None;
        }
        Some(format!(
            "{alive} of {reachable} wanted workers are alive in the master, {in_service} instances are in service. \
             New instances need some minutes; if they do not register, look at their worker log"
        ))
    }

    fn ready(&self) -> Draft {
        let kind = ConditionType::SparkReady;
        if let Some(error) = &self.observed.error {
            return Draft::new(
                kind,
                false,
                Reason::of_failure(error.class(), Reason::GroupNotFound),
                format!("{error}. {}", next_step(error.class())),
            );
        }
        if let Some(name) = self.absent_group() {
            let message = format!(
                "Auto Scaling group {name} does not exist. Create it or correct `spark.workers.autoScalingGroup.name`"
            );
            return Draft::new(kind, false, Reason::GroupNotFound, message);
        }
        let master = match &self.observed.master {
            Ok(master) => master,
            Err(error) => {
                let message = format!(
                    "{}. Check that a master runs and that `spark.masters` names its host and uiPort",
                    sentence(error)
                );
                return Draft::new(kind, false, Reason::MasterUnreachable, message);
            }
        };
        if let Some((_, Err(error))) = self.outcomes.iter().find(|(_, outcome)| outcome.is_err()) {
            return Draft::new(
                kind,
                false,
                Reason::of_failure(error.class(), Reason::GroupNotFound),
                format!("{error}. {}", next_step(error.class())),
            );
        }
        if let Some(missing) = self.missing_workers() {
            return Draft::new(kind, false, Reason::WorkersNotReady, missing);
        }
        let message = format!("The master at {} is active", master.address);
        Draft::new(kind, true, Reason::Available, message)
    }

    fn absent_group(&self) -> Option<&str> {
        let absent = matches!(self.observed.facts.as_ref()?.group, Known::Absent);
        absent.then(|| crate::controller::group_name(self.cluster)).flatten()
    }

    fn limited(&self) -> Option<Draft> {
        let kind = ConditionType::ScalingLimited;
        let plan = self.plan?;
        let hold = plan.holds.iter().find(|hold| !matches!(hold, workers::Hold::WithinRange));
        Some(match hold {
            None => Draft::new(kind, false, Reason::WithinRange, ""),
            Some(workers::Hold::ScaleIn { desired, max_replicas }) => {
                let message = format!(
                    "Desired capacity {desired} is above `maxReplicas` {max_replicas}; the operator never lowers it. \
                     Raise `maxReplicas` or remove instances by id"
                );
                Draft::new(kind, true, Reason::ScaleInHeld, message)
            }
            Some(workers::Hold::GroupMaximum { wanted, max_size }) => {
                let message = format!(
                    "{wanted} workers are wanted and the group allows {max_size}. Raise the group's own maximum size"
                );
                Draft::new(kind, true, Reason::TooFewWorkers, message)
            }
            Some(workers::Hold::ApprovalRequired { from, to, plan_id }) => {
                let message = format!(
                    "Desired capacity waits at {from} for approval to become {to}. Add {plan_id} to \
                     `changePolicy.approvedPlans`"
                );
                Draft::new(kind, true, Reason::ApprovalRequired, message)
            }
            Some(workers::Hold::GroupAbsent) => {
                Draft::new(kind, Truth::Unknown, Reason::GroupNotFound, "The group does not exist. See SparkReady")
            }
            Some(_) => Draft::new(kind, Truth::Unknown, Reason::Unreadable, "The group could not be read"),
        })
    }

    fn status(&self) -> SparkStatus {
        let master = self.observed.master.as_ref().ok();
        let group = self.group();
        SparkStatus {
            settled_generation: if self.is_settled() {
                self.cluster.metadata.generation
            } else {
                settled_before(self.cluster)
            },
            pending_changes: Some(self.pending_changes()),
            master: master.map(|m| m.address.clone()),
            workers: (group.is_some() || master.is_some()).then(|| WorkersStatus {
                desired_replicas: group.map(|g| g.desired),
                replicas: group.map(|g| g.in_service),
                ready_replicas: master.map(|m| m.alive_workers),
            }),
            active_drivers: master.map(|m| i32::try_from(m.drivers.len()).unwrap_or(i32::MAX)),
            cores: master.map(|m| m.cores),
            cores_used: master.map(|m| m.cores_used),
            pending_plans: self.pending_plans(),
            next_opening_time: None,
            drift: self.drift(),
        }
    }

    /// Somebody else lowered the desired capacity below what is wanted: the operator never lowers it. Known from one look
    /// to the next under one generation, and then until the capacity is again as wanted.
    fn drift(&self) -> Option<Drift> {
        let (group, policy) = (self.group()?, self.policy?);
        if group.desired >= self.wanted().min(group.max_size) {
            return None;
        }
        let subject = format!("desired capacity of Auto Scaling group {}", policy.group);
        let before = self.cluster.status.as_ref()?.spark.as_ref()?;
        let was = before.workers.as_ref()?.desired_replicas?;
        if was > group.desired && before.settled_generation == self.cluster.metadata.generation {
            return Some(Drift { changes: 1, summary: format!("{subject} {was} -> {}", group.desired) });
        }
        before.drift.clone().filter(|drift| drift.summary.starts_with(&subject))
    }

    /// Changes that are wanted and not carried out because somebody said so.
    fn pending_changes(&self) -> i32 {
        let planned = if validate::may_change(self.cluster) { 0 } else { self.planned() };
        planned.saturating_add(i32::try_from(self.pending_plans().len()).unwrap_or(i32::MAX))
    }

    fn pending_plans(&self) -> Vec<PendingPlan> {
        let holds = self.plan.into_iter().flat_map(|plan| &plan.holds);
        let waiting = holds.filter_map(|hold| match hold {
            workers::Hold::ApprovalRequired { from, to, plan_id } => {
                Some(PendingPlan { id: plan_id.clone(), summary: format!("desired capacity {from} -> {to}") })
            }
            _ => None,
        });
        waiting.collect()
    }

    fn planned(&self) -> i32 {
        self.plan.map_or(0, |plan| i32::try_from(plan.actions.len()).unwrap_or(i32::MAX))
    }

    /// Whether nothing of this generation is left to do. An object that may not change has nothing to do.
    fn is_settled(&self) -> bool {
        if !validate::may_change(self.cluster) || self.policy.is_none() {
            return self.observed.error.is_none();
        }
        self.group().is_some()
            && self.observed.master.is_ok()
            && self.planned() == 0
            && self.missing_workers().is_none()
    }

    fn failure(&self) -> Option<ErrorClass> {
        let raise = self.outcomes.iter().find_map(|(_, outcome)| outcome.as_ref().err());
        let error = self.observed.error.as_ref().or(raise).map(logwise_aws::AwsError::class);
        error.or_else(|| self.observed.master.as_ref().err().map(|e| e.class()))
    }

    fn decision(&self) -> Option<Decision> {
        let (policy, plan) = (self.policy?, self.plan?);
        let outcome: Vec<_> = self.outcomes.iter().map(|(_, outcome)| words(outcome)).collect();
        Some(Decision {
            id: None,
            inputs: json!({"policy": policy, "observed": self.observed.facts}),
            actions: json!(plan.actions),
            holds: json!(plan.holds),
            outcome: json!(outcome),
        })
    }
}

fn words(outcome: &Result<group::Outcome, logwise_aws::AwsError>) -> String {
    match outcome {
        Ok(outcome) => format!("{outcome:?}"),
        Err(error) => error.to_string(),
    }
}

/// The error with a capital at its start.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn next_step(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Denied => {
            "Allow the operator autoscaling:DescribeAutoScalingGroups and autoscaling:SetDesiredCapacity on this group"
        }
        ErrorClass::NotFound | ErrorClass::Invalid => "Correct `spark.workers.autoScalingGroup`",
        ErrorClass::Throttled | ErrorClass::Conflict | ErrorClass::Transient => "It is tried again",
    }
}

fn event((raise, outcome): &Outcome) -> Option<EventDraft> {
    match outcome {
        Ok(group::Outcome::Done) => Some(EventDraft {
            warning: false,
            reason: "WorkersScaledOut",
            action: "ScaleWorkers",
            note: format!("Desired capacity of {} raised from {} to {}", raise.group, raise.from, raise.to),
        }),
        // The next look decides again; a failure shows in the condition.
        Ok(_) | Err(_) => None,
    }
}
