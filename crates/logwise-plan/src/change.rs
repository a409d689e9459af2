//! Whether a change that is wanted may be made now: one answer for every part.

pub use crate::window::{BadWindow, MAX_DURATION_MINUTES, MAX_SCHEDULE_LENGTH, Window};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;

/// How changes to the outside are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangePolicy {
    /// Whether changes are carried out at all.
    pub mode: Mode,
    /// Which changes wait for a person.
    pub approval: Approval,
    /// Ids of plans that a person has approved.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub approved_plans: BTreeSet<String>,
    /// Lists of windows: of each list that is not empty, one window must be open. No list: any time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Vec<Window>>,
    /// Whether everything stands still.
    pub suspended: bool,
}

/// Whether changes are carried out at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// They are.
    #[default]
    Apply,
    /// They are planned and reported only.
    Observe,
}

/// Which changes wait for a person. The later one is the stricter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Approval {
    /// None.
    Never,
    /// Those that lose something that cannot be brought back, as when existing objects or versions go earlier.
    #[default]
    DestructiveOnly,
    /// All.
    Always,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// More partitions.
    Growth,
    /// More workers.
    ScaleOut,
    /// Fewer workers.
    ScaleIn,
    /// A bucket's lifecycle rules.
    LifecycleWrite,
    /// Restart of a driver whose query stands still.
    StallRestart,
    /// Start of a driver where none runs.
    MissingDriver,
}

impl Kind {
    /// Whether such a change waits for a window. What brings back the flow of logs never does.
    pub fn waits_for_windows(self) -> bool {
        match self {
            Self::Growth | Self::ScaleIn | Self::LifecycleWrite | Self::StallRestart => true,
            Self::ScaleOut | Self::MissingDriver => false,
        }
    }
}

/// Why a change is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Held {
    /// The pipeline is suspended.
    Suspended,
    /// Changes are planned and reported only.
    ObserveOnly,
    /// A person has to approve this plan.
    #[serde(rename_all = "camelCase")]
    ApprovalRequired {
        /// The id that approves it.
        plan_id: String,
    },
    /// No window is open.
    #[serde(rename_all = "camelCase")]
    WaitingForWindow {
        /// When such a change may begin next; `None`: never, as far as can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_opening: Option<Timestamp>,
        /// The window that opens then, or one that is closed.
        name: String,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended => f.write_str("it is suspended; set `spec.suspend` to false to go on"),
            Self::ObserveOnly => f.write_str("it is only observed; set `spec.changePolicy.mode` to Apply to go on"),
            Self::ApprovalRequired { plan_id } => {
                write!(f, "it waits for approval; add {plan_id} to `spec.changePolicy.approvedPlans`")
            }
            Self::WaitingForWindow { next_opening: Some(opening), name } => {
                write!(f, "it waits for window {name}, which opens at {opening}")
            }
            Self::WaitingForWindow { next_opening: None, name } => {
                write!(f, "it waits for window {name}, which is never open when it has to be; correct the windows")
            }
        }
    }
}

/// Whether a change of this kind, with this plan id, may be made at `now`.
pub fn may(policy: &ChangePolicy, kind: Kind, destructive: bool, plan_id: &str, now: Timestamp) -> Result<(), Held> {
    if policy.suspended {
        return Err(Held::Suspended);
    }
    if policy.mode == Mode::Observe {
        return Err(Held::ObserveOnly);
    }
    waits(policy, kind, destructive, plan_id, now).map_or(Ok(()), Err)
}

/// What a change waits for, apart from suspension and mode: those are looked at where changes are carried out and
/// nowhere before, so that a plan reads the same in both modes.
pub fn waits(policy: &ChangePolicy, kind: Kind, destructive: bool, plan_id: &str, now: Timestamp) -> Option<Held> {
    if policy.needs_approval(destructive) && !policy.approved_plans.contains(plan_id) {
        return Some(Held::ApprovalRequired { plan_id: plan_id.to_owned() });
    }
    let closed = if kind.waits_for_windows() { closed(&policy.windows, now) } else { None };
    closed.map(|Closed { next_opening, name }| Held::WaitingForWindow { next_opening, name })
}

impl ChangePolicy {
    /// Whether nothing was said: applied at any time, approval for what is destructive.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a change waits until its plan is approved.
    pub fn needs_approval(&self, destructive: bool) -> bool {
        match self.approval {
            Approval::Never => false,
            Approval::DestructiveOnly => destructive,
            Approval::Always => true,
        }
    }
}

/// Turns of the search for a moment at which several lists are open together.
const MAX_TURNS: usize = 400;

/// No window is open where one has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When changes may begin next; `None`: never, as far as can be seen.
    pub next_opening: Option<Timestamp>,
    /// The window that opens then, or one that is closed.
    pub name: String,
}

/// `None` if of each list that is not empty one window is open at `now`; otherwise the next moment at which that is so.
pub fn closed(windows: &[Vec<Window>], now: Timestamp) -> Option<Closed> {
    let lists = || windows.iter().filter(|list| !list.is_empty());
    let (_, first) = lists().find_map(|list| closed_until(list, now))?;
    let (mut at, mut name) = (now, first);
    for _ in 0..MAX_TURNS {
        // The latest of all openings: before it, at least that list is closed.
        let closed = lists().filter_map(|list| closed_until(list, at));
        match closed.max_by_key(|(opening, _)| opening.unwrap_or(Timestamp::MAX)) {
            None => return Some(Closed { next_opening: Some(at), name: name.to_owned() }),
            Some((Some(opening), window)) => (at, name) = (opening, window),
            Some((None, window)) => {
                name = window;
                break;
            }
        }
    }
    Some(Closed { next_opening: None, name: name.to_owned() })
}

/// `None` while one of the windows is open; otherwise the first opening and the window that opens then.
fn closed_until(list: &[Window], now: Timestamp) -> Option<(Option<Timestamp>, &str)> {
    let mut next: Option<(Option<Timestamp>, &str)> = None;
    for window in list {
        let opening = window.closed_until(now)?;
        let sooner = |(found, _): &(Option<Timestamp>, &str)| {
            opening.is_some_and(|opening| found.is_none_or(|found| opening < found))
        };
        if next.as_ref().is_none_or(sooner) {
            next = Some((opening, window.name()));
        }
    }
    next
}

/// An opening in words: the window that opens then with the time on its clock, and the time in UTC.
pub fn opening(windows: &[Vec<Window>], at: Timestamp) -> String {
    let just_before = at.checked_sub(SignedDuration::from_secs(1)).unwrap_or(at);
    let opens = |window: &&Window| window.next_opening(just_before) == Some(at);
    match windows.iter().flatten().find(opens) {
        Some(window) => format!("{at} (window {}: {})", window.name(), window.on_its_clock(at)),
        None => at.to_string(),
    }
}

/// Both policies at once: of mode and approval the stricter, the windows of both, suspended if one is. A plan counts as
/// approved where either says so: its id names exactly one plan.
pub fn stricter(a: &ChangePolicy, b: &ChangePolicy) -> ChangePolicy {
    ChangePolicy {
        mode: a.mode.max(b.mode),
        approval: a.approval.max(b.approval),
        approved_plans: a.approved_plans.union(&b.approved_plans).cloned().collect(),
        windows: a.windows.iter().chain(&b.windows).cloned().collect(),
        suspended: a.suspended || b.suspended,
    }
}

/// The id that approves the growth of one topic of the Kafka cluster `cluster_id`: `kp-` and eight hexadecimal digits.
pub fn growth_plan_id(cluster_id: &str, topic: &str, from: i32, to: i32) -> String {
    plan_id("kp", &[cluster_id, topic], from, to)
}

/// Whether an id is that of a growth of a topic, whichever.
pub fn is_growth_plan_id(id: &str) -> bool {
    id.starts_with("kp-")
}

/// The id that approves a raise of a group's desired capacity: `wp-` and eight hexadecimal digits.
pub fn raise_plan_id(group: &str, from: i32, to: i32) -> String {
    plan_id("wp", &[group], from, to)
}

/// The id that approves a change that follows the driver `id`, for the reason `why`: `dp-` and eight hexadecimal digits.
pub fn driver_plan_id(master: &str, main_class: &str, id: &str, why: &str) -> String {
    plan_id("dp", &[master, main_class, id, why], 0, 0)
}

fn plan_id(kind: &str, names: &[&str], from: i32, to: i32) -> String {
    let mut hash = Sha256::new();
    for name in names {
        // Lengths keep neighbouring names apart.
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
    }
    hash.update(from.to_be_bytes());
    hash.update(to.to_be_bytes());
    let digest = hash.finalize();
    format!("{kind}-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

/// Seconds until the next look: the usual period, or less if an opening comes before it.
pub(crate) fn look_seconds(period_seconds: u32, opening: Option<Timestamp>, now: Timestamp) -> u32 {
    let until = opening.map_or(i64::MAX, |opening| opening.duration_since(now).as_secs().saturating_add(1));
    period_seconds.min(u32::try_from(until.max(1)).unwrap_or(u32::MAX))
}
