//! `SparkReady` as the driver has it. Messages hold no number that moves from look to look.

use super::apply::{Failed, Outcome, Told, What, is_refusal};
use super::memory::GIVEN_UP;
use super::observe::Obstacle;
use super::report::Look;
use super::room;
use crate::master::SparkError;
use logwise_api::validate;
use logwise_plan::driver::{Attempt, Cause, Elsewhere, Hold, State};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::words::{capital, first_few};
use std::collections::BTreeSet;

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
            Failed::Claimed(why) => self.claimed(why),
            Failed::Intent(_) | Failed::NotSent(_) => {
                (Reason::Unreadable, format!("{}. It is tried again", capital(failed)))
            }
            Failed::Call(error) => self.call_failed(what, error),
        })
    }

    /// What is said while another LogwiseCluster may need the record: how the driver stands, and that nothing is done.
    fn claimed(&self, why: &str) -> Said {
        let class = &self.policy.main_class;
        let (reason, fact) = match &self.plan.state {
            State::Several { ids } => {
                let (number, some) = (ids.len(), first_few(ids));
                (Reason::SeveralDrivers, format!("{number} drivers of class {class} are active ({some})"))
            }
            State::Stalled { id, .. } => (Reason::DriverStalled, format!("Driver {id} commits no batches")),
            _ => (Reason::DriverNotRunning, format!("No driver of class {class} is active")),
        };
        (reason, format!("{fact}. Nothing is done about that. {why}"))
    }

    fn call_failed(&self, what: &What, error: &SparkError) -> Said {
        let (reason, stands) = self.stands();
        match (what, error) {
            (What::Submit(_), error) if is_refusal(error) => refused(&error.to_string(), ""),
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
            State::Running { id } => (Reason::DriverRunning, self.asking(self.runs(id))),
            State::Pending { id } => (Reason::DriverPending, self.asking(self.pending(id))),
            State::Relaunching { id } => {
                let fact = format!("Spark starts driver {id} again. It is waited for");
                (Reason::DriverRelaunching, self.asking(fact))
            }
            State::Absent => {
                let next = self.waits().unwrap_or_else(|| self.absent());
                if let Some(text) = self.just_refused() {
                    return refused(text, &next);
                }
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
                    Some(Attempt { id: None, .. }) => refused(text, &next),
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

    /// Why the last submission was not taken, while the next one waits for its time.
    fn just_refused(&self) -> Option<&str> {
        let last = self.found.facts.attempts.last().filter(|last| last.id.is_none() && last.ended != GIVEN_UP)?;
        let waits = self.plan.holds.iter().any(|hold| matches!(hold, Hold::TooSoon { .. }));
        let longest = i64::from(self.policy.absent_seconds).saturating_mul(2);
        (waits && self.now.duration_since(last.at).as_secs() <= longest).then_some(last.ended.as_str())
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
            Hold::Taken { ids } => Some(self.taken(ids)),
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

    /// What is said of drivers that another LogwiseCluster has now.
    fn taken(&self, ids: &BTreeSet<String>) -> String {
        let ids: Vec<&String> = ids.iter().collect();
        let (class, master) = (ids.first().map(|id| self.class_of(id)).unwrap_or_default(), &self.found.facts.master);
        format!(
            "The pipeline's driver from before ({}, class {class}) is active at {master}, on its checkpoint, and \
             another LogwiseCluster manages that class now. None is submitted beside it, and it is not killed. End it",
            first_few(&ids)
        )
    }

    /// What is said of a driver that is there, with what a person is asked about the next one.
    fn asking(&self, fact: String) -> String {
        let asked = self.plan.holds.iter().find_map(|hold| match hold {
            Hold::ApprovalRequired { plan_id, why: Cause::Elsewhere } => Some(self.elsewhere(plan_id)),
            _ => None,
        });
        match asked {
            Some(asked) => format!("{fact}. {asked}"),
            None => fact,
        }
    }

    /// What is said of a driver that nobody asks about any more.
    fn elsewhere(&self, plan_id: &str) -> String {
        let fact = match self.found.facts.elsewhere.as_slice() {
            [one] => format!("{} may still run", lives(one)),
            several => {
                let several: Vec<String> = several.iter().map(lives).collect();
                format!("These may still run: {}", several.join("; "))
            }
        };
        format!(
            "{fact}, where the pipeline was before and where nobody asks any more. Until a person knows that it has \
             gone no other driver is submitted. End it there; then add {plan_id} to `spec.changePolicy.approvedPlans`"
        )
    }

    /// On which host the driver runs, as the end of a sentence.
    fn place(&self, id: &str) -> String {
        self.host(id).map(|host| format!(" on {host}")).unwrap_or_default()
    }
}

/// Which driver it is, and at which master.
fn lives(Elsewhere { master, id }: &Elsewhere) -> String {
    match id {
        Some(id) => format!("Driver {id} at {master}"),
        None => format!("A driver that was submitted at {master}"),
    }
}

/// Nobody takes submissions.
fn rest(error: &SparkError) -> Said {
    let fact = "The REST server of the active master gives no usable answer, so that no driver is submitted or killed";
    let next = "Start the masters with `spark.master.rest.enabled` set to true, or correct `spark.masters[].restPort`";
    (Reason::RestUnavailable, format!("{fact}: {error}. {next}"))
}

/// The master does not take the driver, or something before it; `next`: what is done then.
fn refused(why: &str, next: &str) -> Said {
    // The words of a master come after what it refuses.
    let is_status = why.split_once(": ").map_or(why, |(begin, _)| begin).contains(" answered HTTP ");
    let step = if is_status {
        "Something before the REST server of the masters refuses this: let the operator's POST requests through"
    } else {
        "Correct `spark.driver`"
    };
    let next = if next.is_empty() { String::new() } else { format!("{next}. ") };
    (Reason::SubmissionRefused, format!("The driver was not taken: {why}. {next}{step}"))
}
