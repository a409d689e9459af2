//! Why the driver is left alone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Why no driver is submitted or killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Hold {
    /// `driver.mode` is Disabled.
    Disabled,
    /// A driver waits for a worker. It is there: another one would later run beside it.
    Pending {
        /// The driver.
        id: String,
    },
    /// The master is starting a driver again.
    Relaunching {
        /// The driver.
        id: String,
    },
    /// No driver is active, but not for long enough yet: the master may be about to start it again.
    #[serde(rename_all = "camelCase")]
    TooSoon {
        /// Seconds that are left.
        left_seconds: u32,
    },
    /// No master answered as the active one.
    Unreachable {
        /// What failed.
        why: String,
    },
    /// A driver runs; whether its query stands still is not known.
    ProgressUnknown {
        /// Why not.
        why: String,
    },
    /// A driver runs, and its query does not stand still.
    NotStalled,
    /// Batches are committed although the master lists no driver: one that it does not know of is alive.
    ProgressMoves {
        /// The newest batch.
        batch: i64,
    },
    /// The query stands still, and a restart has not helped.
    RestartedInVain {
        /// When it is tried again.
        until: Timestamp,
    },
    /// Drivers ended again and again without a batch.
    Failing {
        /// How the last one ended.
        text: String,
        /// When the next one may be submitted.
        until: Timestamp,
    },
    /// Several drivers are active.
    Several {
        /// All of them.
        ids: Vec<String>,
    },
    /// Drivers that the pipeline had before are active, and another one manages their class now: none runs beside them.
    Taken {
        /// All of them.
        ids: BTreeSet<String>,
    },
    /// The effect of an earlier call has not been seen yet.
    IntentOpen,
    /// `changePolicy.approval` is Always, or only a person can know whether another driver runs, and the change is not
    /// approved.
    #[serde(rename_all = "camelCase")]
    ApprovalRequired {
        /// The id that approves it.
        plan_id: String,
        /// What would be changed.
        why: Cause,
    },
    /// No window is open.
    #[serde(rename_all = "camelCase")]
    WaitingForWindow {
        /// When the driver may be restarted next; `None`: never, as far as can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_opening: Option<Timestamp>,
    },
    /// The driver has waited for a worker for so long that none seems to have room for it.
    NoCapacity,
}

/// What a person is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The start of a driver where none is active.
    Missing,
    /// The restart of a driver whose query stands still.
    Stalled,
    /// The end of a driver beside another.
    Extra,
    /// The start of a driver while one may run at masters that nobody asks any more.
    Elsewhere,
}

impl Cause {
    /// Its name in the id of a plan.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stalled => "stalled",
            Self::Extra => "extra",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no driver is active",
            Self::Stalled => "the query stands still",
            Self::Extra => "several drivers are active",
            Self::Elsewhere => "one may still run at masters that it had before",
        })
    }
}

impl Hold {
    /// When it ends by itself, if that is known.
    pub(super) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::RestartedInVain { until } | Self::Failing { until, .. } => Some(*until),
            Self::WaitingForWindow { next_opening } => *next_opening,
            Self::TooSoon { left_seconds } => now.checked_add(SignedDuration::from_secs((*left_seconds).into())).ok(),
            _ => None,
        }
    }
}
