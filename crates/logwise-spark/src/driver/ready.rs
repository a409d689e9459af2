//! `SparkReady` as the driver has it. Messages hold no number that moves from look to look.

use super::apply::{Failed, Outcome, Told, What};
use super::observe::Obstacle;
use super::report::Look;
use super::room;
use crate::master::SparkError;
use logwise_api::validate;
use logwise_plan::driver::{Attempt, Cause, Elsewhere, Hold, State};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::words::{capital, first_few};

/// A reason and the message that goes with it.
type Said = (Reason, String);

impl Look<'_> {
    /// Whether the driver is as it should be; nothing while it is left alone.
    pub(crate) fn ready(&self) -> Option<Draft> {
        if self.plan.state == State::Disabled {
            return None;
        }
        let (reason, message) = self.failed().or_else(|| self.blocked()).unwrap_or_else(|| self.stands());
        Some(Draft::new(ConditionType::SparkReady, reason == Reason::DriverRunning, reason, message))
    }

    /// What is said about a change that could not be carried out.
    fn failed(&self) -> Option<Said> {
        let (what, failed) =
            self.told.iter().find_map(|Told { what, outcome }| Some((what, outcome.as_ref().err()?)))?;
        Some(match failed {
            Failed::NoMaster(error) => (Reason::MasterUnreachable, format!("{}. It is tried again", capital(error))),
            Failed::Rest(error) => rest(error),
            Failed::Refused(refused) => (refused.reason, refused.message.clone()),
            Failed::Intent(_) | Failed::NotSent(_) => {
                (Reason::Unreadable, format!("{}. It is tried again", capital(failed)))
            }
            Failed::Call(error) => self.call_failed(what, error),
        })
    }

    fn call_failed(&self, what: &What, error: &SparkError) -> Said {
        let (reason, stands) = self.stands();
        match (what, error) {
            (What::Submit(_), SparkError::Refused { .. }) => refused(&format!("The driver was not taken: {error}")),
            (_, SparkError::Standby { .. }) => {
                let fact = "The master is not the active one any more";
                (Reason::MasterUnreachable, format!("{fact}: {error}. It is tried again"))
            }
            (What::Submit(_), error) if error.may_have_happened() => {
                let message = format!(
                    "A driver was submitted, and nobody knows whether it was taken: {error}. The next looks tell; no \
                     other one is submitted until then"
                );
                (reason, message)
            }
            (What::Kill(_), error) if error.may_have_happened() => {
                let fact = "Whether the master has taken the order is not known";
                (reason, format!("{stands}. {fact}: {error}. The next looks tell"))
            }
            (_, SparkError::Reach { .. } | SparkError::Answer { .. }) => rest(error),
            _ => (reason, format!("{stands}. The call failed: {error}. It is tried again")),
        }
    }

    /// What is said while a driver is missing that could not be submitted.
    fn blocked(&self) -> Option<Said> {
        if !matches!(self.plan.state, State::Absent | State::Failing { .. }) {
            return None;
        }
        match self.found.obstacle.as_ref()? {
            Obstacle::Rest(error) => Some(rest(error)),
            Obstacle::Secret(refused) => Some((refused.reason, refused.message.clone())),
        }
    }

    /// How the driver stands, and what is done about it.
    fn stands(&self) -> Said {
        let class = &self.policy.main_class;
        match &self.plan.state {
            State::Running { id } => (Reason::DriverRunning, self.runs(id)),
            State::Pending { id } => (Reason::DriverPending, self.pending(id)),
            State::Relaunching { id } => {
                (Reason::DriverRelaunching, format!("Spark starts driver {id} again. It is waited for"))
            }
            State::Absent => {
                let next = self.waits().unwrap_or_else(|| self.absent());
                (Reason::DriverNotRunning, format!("No driver of class {class} is active. {next}"))
            }
            State::Several { ids } => {
                let next = self.waits().unwrap_or_else(|| {
                    "All but one are killed, one after the other. Find out who else submits this class".to_owned()
                });
                let (number, some) = (ids.len(), first_few(ids));
                let earlier = &self.found.facts.earlier;
                let before = if earlier.is_empty() { "" } else { ", or of the class before," };
                let fact = format!("{number} drivers of class {class}{before} are active ({some}), on one checkpoint");
                (Reason::SeveralDrivers, format!("{fact}. {next}"))
            }
            State::Stalled { id, .. } => {
                let limit = self.policy.stalled_seconds;
                let next = self.waits().unwrap_or_else(|| "It is killed, and submitted again".to_owned());
                let message = format!(
                    "Driver {id} runs{}, and no batch was committed for more than {limit} s although there are records \
                     to read. {next}",
                    self.place(id)
                );
                (Reason::DriverStalled, message)
            }
            State::Failing { text, until } => {
                let next = self.waits().unwrap_or_else(|| format!("The next one is submitted after {until}"));
                match self.found.facts.attempts.last() {
                    Some(Attempt { id: None, .. }) => refused(&format!("The driver was not taken: {text}. {next}")),
                    _ => {
                        let message = format!(
                            "Drivers of class {class} end again and again; the last one: {text}. {next}. Look at its \
                             log, and correct the job or `spark.driver`"
                        );
                        (Reason::DriverNotRunning, message)
                    }
                }
            }
            State::Unreachable { why } => (Reason::MasterUnreachable, format!("{}. It is tried again", capital(why))),
            State::Disabled => (Reason::Available, String::new()),
        }
    }

    /// What is done about a driver that is missing.
    fn absent(&self) -> String {
        if self.told.iter().any(|told| matches!(told.outcome, Ok(Outcome::Submitted { .. }))) {
            return "One was submitted just now".to_owned();
        }
        for hold in &self.plan.holds {
            match hold {
                Hold::TooSoon { .. } => {
                    let limit = self.policy.absent_seconds;
                    return format!("One is submitted when none has been active for {limit} s");
                }
                Hold::ProgressMoves { .. } => {
                    let text = "Batches are committed all the same: a driver lives of which this master does not know. \
                                None is submitted beside it. Stop it, or let its worker find the master again";
                    return text.to_owned();
                }
                _ => {}
            }
        }
        "The next look decides".to_owned()
    }

    /// What holds a change that is wanted, and the next step.
    fn waits(&self) -> Option<String> {
        if !validate::may_change(self.around.cluster) && !self.plan.is_idle() {
            return Some("Nothing is done about it while the object is suspended, observes or is deleted".to_owned());
        }
        self.plan.holds.iter().find_map(|hold| match hold {
            Hold::ApprovalRequired { plan_id, why: Cause::Elsewhere } => Some(self.elsewhere(plan_id)),
            Hold::ApprovalRequired { plan_id, .. } => {
                Some(format!("It waits for approval: add {plan_id} to `spec.changePolicy.approvedPlans`"))
            }
            Hold::WaitingForWindow { next_opening: Some(at) } => {
                Some(format!("Its restart waits for a window, which opens at {at}"))
            }
            Hold::WaitingForWindow { next_opening: None } => {
                let text = "Its restart waits for windows that are never open together. Correct `changePolicy.windows`";
                Some(text.to_owned())
            }
            Hold::IntentOpen => Some("The effect of the last call is waited for".to_owned()),
            Hold::RestartedInVain { until } => {
                Some(format!("A restart has not helped; the next one is not before {until}. Look at the driver's log"))
            }
            _ => None,
        })
    }

    fn pending(&self, id: &str) -> String {
        let begin = format!("Driver {id} waits for a worker");
        let driver = self.around.cluster.spec.spark.as_ref().and_then(|spark| spark.driver.as_ref());
        match driver {
            Some(driver) if self.plan.holds.contains(&Hold::NoCapacity) => {
                let page = self.found.page.as_ref().ok();
                let next = page.map(|page| room::missing(page, driver.cores, &driver.memory)).unwrap_or_default();
                format!(
                    "{begin} with {} free cores and {} of free memory, and none takes it. {next}",
                    driver.cores, driver.memory
                )
            }
            _ => format!("{begin}. It is waited for"),
        }
    }

    fn runs(&self, id: &str) -> String {
        let spec = &self.around.cluster.spec;
        let mut fact = format!("Driver {id} runs{}", self.place(id));
        if self.found.facts.earlier.contains(id) {
            let (before, class) = (self.class_of(id), &self.policy.main_class);
            fact += &format!(
                ". It is of class {before}, as the pipeline had it before; the next one is of class {class}. End it, \
                 and that is submitted"
            );
        }
        if spec.kafka.is_some() && spec.storage.is_some() {
            return fact;
        }
        format!("{fact}. Whether its query stands still is not watched: that takes `kafka` and `storage`")
    }

    /// What is said of a driver that nobody asks about any more.
    fn elsewhere(&self, plan_id: &str) -> String {
        let (driver, master) = match &self.found.facts.elsewhere {
            Some(Elsewhere { master, id: Some(id) }) => (format!("Driver {id}"), master.as_str()),
            Some(Elsewhere { master, id: None }) => ("A driver that was submitted".to_owned(), master.as_str()),
            None => ("A driver".to_owned(), "other masters"),
        };
        format!(
            "{driver} may still run at {master}, which the pipeline had before and which nobody asks any more. None is \
             submitted beside it. End it there; when it has gone, add {plan_id} to `spec.changePolicy.approvedPlans`"
        )
    }

    /// On which host the driver runs, as the end of a sentence.
    fn place(&self, id: &str) -> String {
        self.host(id).map(|host| format!(" on {host}")).unwrap_or_default()
    }
}

/// Nobody takes submissions.
fn rest(error: &SparkError) -> Said {
    let fact = "The REST server of the active master gives no usable answer, so that no driver is submitted or killed";
    let next = "Start the masters with `spark.master.rest.enabled` set to true, or correct `spark.masters[].restPort`";
    (Reason::RestUnavailable, format!("{fact}: {error}. {next}"))
}

/// The master does not take the driver.
fn refused(why: &str) -> Said {
    (Reason::SubmissionRefused, format!("{why}. Correct `spark.driver`"))
}
