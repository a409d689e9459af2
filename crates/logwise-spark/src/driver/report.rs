//! What a look at the driver found and did: status, events, metrics and the decision. The condition stands beside it.

use super::apply::{Failed, Outcome, Told, What, is_refusal};
use super::observe::Found;
use super::{Around, RUNNING};
use crate::master::DriverRow;
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::validate;
use logwise_api::{DriverStatus, PendingPlan, Time};
use logwise_plan::Known;
use logwise_plan::driver::{Cause, Hold, Kill, KillWhy, Plan, Policy, State, Submit, Why};
use logwise_runtime::metrics::{Metrics, Pipeline, SubmissionResult};
use logwise_runtime::{Decision, ErrorClass, EventDraft, words};
use serde_json::json;

/// Longest texts of the status, in characters.
const LONGEST: usize = 256;

/// The same for a state.
const LONGEST_STATE: usize = 64;

/// What the decision is about.
const ABOUT: &str = "driver";

/// Everything one look at the driver knows.
pub(crate) struct Look<'a> {
    /// What it started from.
    pub around: Around<'a>,
    /// What is wanted.
    pub policy: &'a Policy,
    /// What it found.
    pub found: &'a Found,
    /// What it planned.
    pub plan: &'a Plan,
    /// What it did.
    pub told: &'a [Told],
    /// The time of the plan.
    pub now: Timestamp,
}

impl Look<'_> {
    /// The driver as the status shows it: the one that is ours, else the first of its class that is active.
    pub(crate) fn status(&self) -> Option<DriverStatus> {
        let recorded = self.found.facts.recorded.as_deref();
        let row =
            recorded.and_then(|id| self.row(id)).or_else(|| self.active().min_by(|one, other| one.id.cmp(&other.id)));
        let restarts = self.found.past.restarts;
        // The status takes no empty texts, and a page may hold any.
        let id = row.map(|row| row.id.as_str()).or(recorded).filter(|id| !id.is_empty());
        id.map(|id| DriverStatus {
            submission_id: Some(words::cut(id, LONGEST)),
            state: row.map(|row| words::cut(&row.state, LONGEST_STATE)).filter(|state| !state.is_empty()),
            start_time: row.and_then(|row| row.started).map(Time),
            worker: self.host(id).filter(|host| !host.is_empty()).map(|host| words::cut(host, LONGEST)),
            restarts: Some(restarts),
        })
    }

    /// Drivers of our class that are active.
    fn active(&self) -> impl Iterator<Item = &DriverRow> {
        let page = self.found.page.as_ref().ok();
        let drivers = self.found.facts.drivers.known();
        let is_ours = move |row: &&DriverRow| {
            drivers.is_some_and(|drivers| drivers.iter().any(|driver| driver.ours && driver.id == row.id))
        };
        page.into_iter().flat_map(|page| &page.all_drivers).filter(is_ours)
    }

    /// The driver of this id, active or history.
    fn row(&self, id: &str) -> Option<&DriverRow> {
        let page = self.found.page.as_ref().ok()?;
        page.all_drivers.iter().chain(&page.completed).find(|row| row.id == id)
    }

    /// Main class of the driver of this id; of one that the master does not show, the one that is wanted.
    pub(super) fn class_of(&self, id: &str) -> &str {
        self.row(id).map_or(&self.policy.main_class, |row| &row.main_class)
    }

    /// Host of the worker that runs the driver of this id.
    pub(super) fn host(&self, id: &str) -> Option<&str> {
        let worker = self.active().find(|row| row.id == id)?.worker.as_deref()?;
        self.found.page.as_ref().ok()?.host_of(worker)
    }

    /// What happened.
    pub(crate) fn events(&self) -> Vec<EventDraft> {
        let turned_up = self.found.turned_up.iter().map(|id| {
            let class = self.class_of(id);
            let note =
                format!("Driver {id} of class {class} was submitted: the answer was lost, and the master shows it");
            EventDraft { warning: false, reason: "DriverSubmitted", action: "SubmitDriver", note }
        });
        turned_up.chain(self.told.iter().filter_map(|told| self.event(told))).collect()
    }

    fn event(&self, Told { what, outcome }: &Told) -> Option<EventDraft> {
        let class = &self.policy.main_class;
        match (what, outcome) {
            (What::Submit(Submit { why, known }), Ok(Outcome::Submitted { id })) => {
                let replaces = !known.is_empty() || self.found.facts.recorded.is_some();
                Some(EventDraft {
                    warning: false,
                    reason: if replaces { "DriverResubmitted" } else { "DriverSubmitted" },
                    action: "SubmitDriver",
                    note: format!("Driver {id} of class {class} was submitted: {}", cause(*why)),
                })
            }
            (What::Kill(Kill { id, why }), Ok(Outcome::Killed)) => Some(EventDraft {
                warning: true,
                reason: "DriverKilled",
                action: "SubmitDriver",
                note: format!("Driver {id} of class {} was killed: {}", self.class_of(id), fault(*why)),
            }),
            // The next look decides again; a failure shows in the condition.
            _ => None,
        }
    }

    /// What was decided, with all that decided it.
    pub(crate) fn decision(&self) -> Decision {
        let Plan { submit, kill, .. } = self.plan;
        let submit = submit.as_ref().map(|submit| json!({"submit": submit}));
        let kill = kill.as_ref().map(|kill| json!({"kill": kill}));
        let outcome: Vec<String> = self.told.iter().map(ToString::to_string).collect();
        Decision {
            id: None,
            about: ABOUT,
            inputs: json!({"policy": self.policy, "observed": self.found.facts, "now": self.now}),
            actions: kill.into_iter().chain(submit).collect(),
            holds: json!(self.plan.holds),
            outcome: json!(outcome),
        }
    }

    /// What was done in this look, in one line; nothing if nothing was.
    pub(crate) fn last_decision(&self) -> Option<String> {
        let line = self.told.iter().find_map(|Told { what, outcome }| match (what, outcome) {
            (What::Submit(submit), Ok(Outcome::Submitted { id })) => {
                Some(format!("Driver {id} submitted: {}", cause(submit.why)))
            }
            (What::Kill(kill), Ok(Outcome::Killed)) => Some(format!("Driver {} killed: {}", kill.id, fault(kill.why))),
            _ => None,
        });
        line.map(|line| words::cut(&line, LONGEST))
    }

    /// Changes that wait for approval.
    pub(crate) fn pending_plans(&self) -> Vec<PendingPlan> {
        let waiting = self.plan.holds.iter().filter_map(|hold| match hold {
            Hold::ApprovalRequired { plan_id, why } => {
                let change = match &self.plan.state {
                    State::Stalled { id, .. } if *why != Cause::Elsewhere => format!("restart driver {id}"),
                    State::Several { .. } => "kill a driver beside another".to_owned(),
                    _ => "submit a driver".to_owned(),
                };
                Some(PendingPlan { id: plan_id.clone(), summary: format!("{change}: {why}") })
            }
            _ => None,
        });
        waiting.collect()
    }

    /// When a change that waits for a window may begin.
    pub(crate) fn next_opening(&self) -> Option<Timestamp> {
        self.plan.holds.iter().find_map(|hold| match hold {
            Hold::WaitingForWindow { next_opening } => *next_opening,
            _ => None,
        })
    }

    /// Changes of the plan.
    pub(crate) fn planned(&self) -> i32 {
        i32::from(!self.plan.is_idle())
    }

    /// Whether nothing of this generation is left to do. An object that may not change has nothing to do; that a query
    /// stands still is nothing that the generation asks for.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = matches!(self.plan.state, State::Running { .. } | State::Stalled { .. } | State::Disabled);
        settled || !validate::may_change(self.around.cluster)
    }

    /// The failure of this look.
    pub(crate) fn failure(&self) -> Option<ErrorClass> {
        self.told.iter().find_map(|told| told.outcome.as_ref().err()).map(Failed::class)
    }

    /// Whether a driver of ours runs; nothing if that is not known.
    pub(crate) fn is_up(&self) -> Option<bool> {
        let Known::Known(drivers) = &self.found.facts.drivers else { return None };
        Some(drivers.iter().any(|driver| driver.ours && driver.has_worker && driver.state == RUNNING))
    }

    /// Counts what was done.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let cluster = self.around.cluster;
        let of = Pipeline { namespace: cluster.namespace().unwrap_or_default(), cluster: cluster.name_any() };
        for told in self.told {
            if let Some(result) = result(told) {
                metrics.driver_submitted(&of, result);
            }
        }
    }

    /// When to look again.
    pub(crate) fn next_look_seconds(&self) -> u32 {
        self.plan.next_look_seconds
    }
}

/// What became of a submission that was sent.
fn result(Told { what, outcome }: &Told) -> Option<SubmissionResult> {
    match (what, outcome) {
        (What::Kill(_), _) => None,
        (What::Submit(_), Ok(Outcome::Submitted { .. })) => Some(SubmissionResult::Accepted),
        (What::Submit(_), Err(Failed::Call(error))) if is_refusal(error) => Some(SubmissionResult::Refused),
        (What::Submit(_), Err(failed)) if failed.may_have_happened() => Some(SubmissionResult::Unknown),
        (What::Submit(_), _) => None,
    }
}

const fn cause(why: Why) -> &'static str {
    match why {
        Why::Missing => "none was active",
        Why::Stalled => "the one before was killed because its query stood still",
    }
}

const fn fault(why: KillWhy) -> &'static str {
    match why {
        KillWhy::Stalled => "its query stands still; another one follows",
        KillWhy::Extra => "it was active beside another one",
    }
}
