//! The second look: right before a worker is ended.

use super::facts::{Cluster, Pool};
use super::hold::Hold;
use super::seat::Seats;
use super::{Policy, Removal, Step, gate};
use crate::Known;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What was seen after the worker was cordoned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The instances or pods.
    pub pool: Known<Pool>,
    /// What the master says.
    pub cluster: Known<Cluster>,
    /// Whether the master's page was asked for after the master had taken the cordon.
    pub page_after_cordon: bool,
    /// Whether it is the master that took the cordon.
    pub same_master: bool,
    /// Since when the worker drains: now, if that was found out just now. Without it only an idle worker goes on.
    pub draining_since: Option<Timestamp>,
}

/// What comes next for a worker that was cordoned: its end, or waiting until its tasks have ended. Any doubt is a hold.
/// To be asked again, with facts of that moment, right before the call that ends it.
///
/// After [`Hold::CordonLost`] it is to be cordoned again; after [`Hold::CordonPending`] and [`Hold::SecondLook`] to be
/// looked at again. After [`Hold::DriverLanded`] the removal is to be given up; after any other the next plan decides.
/// [`Step::Drain`] ends when no task is seen any more; when its time is over the plan makes [`Step::Terminate`] of it.
pub fn confirm(policy: &Policy, removal: &Removal, seen: &Seen) -> Result<Step, Hold> {
    let pool = read(policy.pool.kind(), &seen.pool)?;
    let cluster = read("Spark master", &seen.cluster)?;
    let seats = Seats::of(pool, Some(cluster));
    let seat = gate::still(pool, &seats, removal)?;
    if let Some(hold) = gate::closed(policy, pool, &seats).into_iter().next() {
        return Err(hold);
    }
    gate::enough(&seats, &removal.id, gate::needed(policy, pool, removal.floor))?;
    let id = || removal.id.clone();
    if !gate::is_cordoned(seat, removal) {
        let lost = removal.step != Step::Cordon;
        return Err(if lost { Hold::CordonLost { id: id() } } else { Hold::CordonPending { id: id() } });
    }
    if !seen.same_master {
        return Err(Hold::CordonLost { id: id() });
    }
    if !seen.page_after_cordon || !gate::costs_are_seen(policy, &seats, &removal.id) {
        return Err(Hold::SecondLook { id: id() });
    }
    let idle = seat.worker.is_some_and(|worker| worker.busy() == 0);
    match removal.step {
        _ if idle => Ok(Step::Terminate),
        Step::Terminate => Ok(Step::Terminate),
        Step::Drain { until } => Ok(Step::Drain { until }),
        Step::Cordon => match seen.draining_since {
            Some(since) => Ok(Step::Drain { until: drained(policy, since) }),
            None => Err(Hold::SecondLook { id: id() }),
        },
    }
}

/// When a worker that drains since then goes in any case.
pub(super) fn drained(policy: &Policy, since: Timestamp) -> Timestamp {
    since.saturating_add(SignedDuration::from_secs(policy.drain_seconds.into())).unwrap_or(Timestamp::MAX)
}

/// The fact, or why it is not known.
pub(super) fn read<'a, T>(what: &str, fact: &'a Known<T>) -> Result<&'a T, Hold> {
    match fact {
        Known::Known(fact) => Ok(fact),
        Known::Absent => Err(Hold::Unreadable { what: what.to_owned(), why: "there is none".to_owned() }),
        Known::Unknown(why) => Err(Hold::Unreadable { what: what.to_owned(), why: why.clone() }),
    }
}
