//! What is known of drivers and of the query they run.

use crate::Known;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What one look at the Spark master, and what is remembered, says about the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Name of the Spark master; plans that a person approves are named by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub master: String,
    /// Drivers that the active master lists as active, of whatever class; unknown unless a master answered as the
    /// active one.
    pub drivers: Known<Vec<Active>>,
    /// Those of ours among them whose class the pipeline had before, under an earlier spec.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub earlier: BTreeSet<String>,
    /// Drivers that are active and that the pipeline had before, of a class that another one manages now: they are not
    /// ours to kill, and they work on its checkpoint.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub taken: BTreeSet<String>,
    /// What may run at masters that the spec does not name any more: nobody asks those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Elsewhere>,
    /// Drivers of our class that the master lists as completed. They are history, whatever their state says: one whose
    /// worker was lost stays RELAUNCHING for ever, and a new id takes over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Ended>,
    /// Id of the driver that was submitted last, or was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<String>,
    /// Seconds for which the master has listed no active driver of our class, by the clock of one process that asked
    /// one master all the time; `None`: it lists one, or nobody has counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_for: Option<u32>,
    /// Seconds for which the one driver of our class has been seen RUNNING under one id, counted in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_for: Option<u32>,
    /// How far the query has come; absent: it has committed nothing yet.
    #[serde(default = "not_read")]
    pub progress: Known<Stand>,
    /// Seconds that the records take to read which waited when the present batch began, at the speed of the newest
    /// batches, or at the expected one while those tell none; zero if it is not known how many wait.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub needed_seconds: i64,
    /// Seconds since the newest batch was committed, by the clock of the bucket, where nobody saw it come: it may be older
    /// than it has been seen. Zero for one that was seen to come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub batch_age_seconds: i64,
    /// Submissions of ours that have come to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// A call whose effect has not been seen yet.
    #[serde(default, skip_serializing_if = "Open::is_none")]
    pub open: Open,
    /// When a driver was last killed because its query stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Restarted>,
}

fn not_read() -> Known<Stand> {
    Known::Unknown("the checkpoint was not read".to_owned())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A driver of the pipeline at masters that its spec does not name any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Elsewhere {
    /// The name of those masters.
    pub master: String,
    /// Its id; `None`: a submission there whose answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Elsewhere {
    /// What all of them are called in the id of the plan that a person approves: who approves it knows of each.
    pub fn names(all: &[Self]) -> String {
        let name = |one: &Self| format!("{} {}", one.master, one.id.as_deref().unwrap_or_default());
        all.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// A driver that the master lists as active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    /// Id that the master gave it.
    pub id: String,
    /// State in the master's words, such as SUBMITTED, RUNNING, RELAUNCHING.
    pub state: String,
    /// Whether its main class is ours, or one that the pipeline had before.
    pub ours: bool,
    /// Whether a worker has it.
    pub has_worker: bool,
    /// When it was submitted, by the master's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
}

/// A driver that the master lists as completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Id that the master gave it.
    pub id: String,
    /// State in the master's words, such as FINISHED, FAILED, KILLED, ERROR.
    pub state: String,
    /// What the master says about its end, as the exception of a driver that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A submission of ours that has come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When that was seen.
    pub at: Timestamp,
    /// Id of its driver; `None`: it became none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The state in which the driver ended, in the master's words; or why there was none.
    pub ended: String,
}

/// How far the query has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stand {
    /// Newest batch that was committed.
    pub batch: i64,
    /// Seconds for which that has been the newest one.
    pub unmoved_seconds: i64,
    /// Records that were not read yet; zero if that is not known.
    pub backlog: i64,
}

/// A driver that was killed because its query stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restarted {
    /// When.
    pub at: Timestamp,
    /// Newest batch at that time.
    pub batch: i64,
}

/// A call whose effect has not been seen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Open {
    /// There is none.
    #[default]
    None,
    /// A driver was submitted and the answer was lost.
    Submission {
        /// Ids of our class that were there before.
        known: BTreeSet<String>,
        /// When it was sent.
        since: Timestamp,
    },
    /// A driver was killed.
    Kill {
        /// Its id.
        id: String,
    },
}

impl Open {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}
