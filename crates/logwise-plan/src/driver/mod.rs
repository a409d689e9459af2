//! Whether the streaming driver runs, exactly once: when one is submitted, restarted or killed, and why not.
//!
//! What the master lists as active is there, also while it waits for a worker: another submission would later run
//! beside it, on the same checkpoint. So nothing is submitted while anything of ours is active, while an earlier call
//! may still have an effect, or while no master answers.

mod absent;
mod answer;
mod extra;
mod facts;
mod failing;
mod hold;
mod single;
mod stalled;

pub use answer::{Answer, answer_of};
pub use facts::{Active, Attempt, Elsewhere, Ended, Observed, Open, Restarted, Stand};
pub use hold::{Cause, Hold};

use crate::Known;
use crate::change::{self, ChangePolicy, Held, Kind, driver_plan_id};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// State of a driver that a worker runs, in the master's words.
const RUNNING: &str = "RUNNING";
/// State of a driver that was killed, in the master's words.
const KILLED: &str = "KILLED";
/// Seconds until the look after a change: nothing flows until its effect is seen.
const SOON_SECONDS: u32 = 5;

/// The validated wish for the driver of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Whether drivers are submitted and killed.
    pub mode: Mode,
    /// Main class of the job. A driver is ours if its main class is this one, or one that the pipeline had before and
    /// that no driver of this class has followed yet.
    pub main_class: String,
    /// Whether the master itself starts the driver again when it ends. Nothing is decided by it: either way a driver is
    /// waited for before another is submitted.
    pub supervise: bool,
    /// Seconds without an active driver after which one is submitted.
    pub absent_seconds: u32,
    /// Seconds without a committed batch, while records wait, after which the driver is restarted.
    pub stalled_seconds: u32,
    /// What changes wait for. Suspension and mode are looked at where changes are carried out.
    #[serde(default, skip_serializing_if = "ChangePolicy::is_default")]
    pub change: ChangePolicy,
    /// Seconds between two looks.
    pub look_period_seconds: u32,
}

/// Whether drivers are submitted and killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One driver is kept running.
    Managed,
    /// Drivers are left alone.
    Disabled,
}

/// What to do about the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// A driver to submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit: Option<Submit>,
    /// A driver to kill; never together with a submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<Kill>,
    /// How the driver stands.
    pub state: State,
    /// Why nothing is done, or not everything.
    pub holds: Vec<Hold>,
    /// Seconds until the next look is due.
    pub next_look_seconds: u32,
}

impl Plan {
    /// Whether it changes nothing.
    pub fn is_idle(&self) -> bool {
        self.submit.is_none() && self.kill.is_none()
    }
}

/// How the driver stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It runs on a worker.
    Running {
        /// Its id.
        id: String,
    },
    /// It waits for a worker.
    Pending {
        /// Its id.
        id: String,
    },
    /// The master is starting it again.
    Relaunching {
        /// Its id.
        id: String,
    },
    /// None is active.
    Absent,
    /// More than one is active.
    Several {
        /// All of them.
        ids: Vec<String>,
    },
    /// It runs, and its query stands still while records wait.
    Stalled {
        /// Its id.
        id: String,
        /// Seconds without a committed batch.
        seconds: i64,
    },
    /// None is active; the last ones ended without a batch.
    Failing {
        /// How the last one ended.
        text: String,
        /// When the next one may be submitted.
        until: Timestamp,
    },
    /// No master answered as the active one.
    Unreachable {
        /// What failed.
        why: String,
    },
    /// It is left alone.
    Disabled,
}

/// A driver to submit, where none is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Submit {
    /// Why.
    pub why: Why,
    /// Ids of our class that were seen before: should the answer be lost, what comes beside them is this submission.
    pub known: BTreeSet<String>,
}

/// Why a driver is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// None is active.
    Missing,
    /// The one before was killed because its query stood still.
    Stalled,
}

impl From<Why> for Cause {
    fn from(why: Why) -> Self {
        match why {
            Why::Missing => Self::Missing,
            Why::Stalled => Self::Stalled,
        }
    }
}

/// A driver to kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kill {
    /// Its id: active, and of our class.
    pub id: String,
    /// Why.
    pub why: KillWhy,
}

/// Why a driver is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KillWhy {
    /// Its query stands still; another one follows.
    Stalled,
    /// It is active beside another one.
    Extra,
}

/// Decides whether a driver is submitted or killed.
pub fn plan(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan {
    let about = About { policy, observed, now };
    if policy.mode == Mode::Disabled {
        return about.idle(State::Disabled, vec![Hold::Disabled]);
    }
    let drivers = match &observed.drivers {
        Known::Known(drivers) => drivers,
        Known::Absent => return about.unreachable("no master lists drivers"),
        Known::Unknown(why) => return about.unreachable(why),
    };
    // By id: equal pages give equal plans, in whatever order they list drivers.
    let ours = drivers.iter().filter(|driver| driver.ours).map(|driver| (driver.id.as_str(), driver));
    let ours: Vec<&Active> = ours.collect::<BTreeMap<_, _>>().into_values().collect();
    match ours.as_slice() {
        [] => absent::plan(&about),
        [driver] => about.asking(single::plan(&about, driver)),
        _ => extra::plan(&about, &ours),
    }
}

/// All that decides.
#[derive(Clone, Copy)]
struct About<'a> {
    policy: &'a Policy,
    observed: &'a Observed,
    now: Timestamp,
}

impl About<'_> {
    /// A plan that changes nothing.
    fn idle(&self, state: State, holds: Vec<Hold>) -> Plan {
        let until = holds.iter().filter_map(|hold| hold.until(self.now)).min();
        let next_look_seconds = change::look_seconds(self.policy.look_period_seconds, until, self.now);
        Plan { submit: None, kill: None, state, holds, next_look_seconds }
    }

    /// Seconds until the look after a change.
    fn soon(&self) -> u32 {
        self.policy.look_period_seconds.min(SOON_SECONDS)
    }

    fn unreachable(&self, why: &str) -> Plan {
        self.idle(State::Unreachable { why: why.to_owned() }, vec![Hold::Unreachable { why: why.to_owned() }])
    }

    /// At most one call at a time: what an earlier one did must have been seen.
    fn nothing_open(&self) -> Result<(), Hold> {
        if self.observed.open.is_none() { Ok(()) } else { Err(Hold::IntentOpen) }
    }

    /// What the pipeline had before and another one manages now has ended.
    fn nothing_taken(&self) -> Result<(), Hold> {
        let ids = &self.observed.taken;
        if ids.is_empty() { Ok(()) } else { Err(Hold::Taken { ids: ids.clone() }) }
    }

    /// What a person or a window has to say to a change that follows the driver `id`.
    fn consent(&self, kind: Kind, why: Cause, id: &str) -> Result<(), Hold> {
        let plan_id = driver_plan_id(&self.observed.master, &self.policy.main_class, id, why.name());
        match change::waits(&self.policy.change, kind, false, &plan_id, self.now) {
            Some(Held::ApprovalRequired { plan_id }) => Err(Hold::ApprovalRequired { plan_id, why }),
            Some(Held::WaitingForWindow { next_opening, .. }) => Err(Hold::WaitingForWindow { next_opening }),
            // Both are looked at where changes are carried out.
            None | Some(Held::Suspended | Held::ObserveOnly) => Ok(()),
        }
    }

    /// What only a person can know, whatever the policy asks for: that none runs where nobody asks any more.
    fn nothing_elsewhere(&self) -> Result<(), Hold> {
        let (elsewhere, why) = (&self.observed.elsewhere, Cause::Elsewhere);
        let names = Elsewhere::names(elsewhere);
        let plan_id = driver_plan_id(&self.observed.master, &self.policy.main_class, &names, why.name());
        let is_approved = elsewhere.is_empty() || self.policy.change.approved_plans.contains(&plan_id);
        if is_approved { Ok(()) } else { Err(Hold::ApprovalRequired { plan_id, why }) }
    }

    /// The plan for a driver that is there, with the question that the next one would wait for: it is asked while a
    /// person still knows.
    fn asking(&self, mut plan: Plan) -> Plan {
        let asked = self.nothing_elsewhere().err().filter(|hold| !plan.holds.contains(hold));
        plan.holds.extend(asked);
        plan
    }

    /// Seconds since `at`.
    fn seconds_since(&self, at: Timestamp) -> i64 {
        self.now.duration_since(at).as_secs()
    }
}

/// `at` plus so many seconds, as far as time goes.
fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
