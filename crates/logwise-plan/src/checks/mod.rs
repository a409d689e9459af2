//! A second pair of eyes: what must hold for any plan, judged from policy, facts and plan alone. Shares no code with
//! the planners, so that both have to be wrong in the same way before a bad plan passes.

pub mod driver;
pub mod partitions;
pub mod retention;
mod retention_fold;
mod retention_report;
pub mod workers;
mod workers_removal;

use crate::change::Window;
use jiff::Timestamp;

/// Whether of each list of windows that is not empty one window is open.
fn is_open(windows: &[Vec<Window>], at: Timestamp) -> bool {
    windows.iter().all(|list| list.is_empty() || list.iter().any(|window| window.closed_until(at).is_none()))
}

/// Whether changes wait at `now` and `opening` is a later moment at which they no longer have to.
fn waits_until(windows: &[Vec<Window>], now: Timestamp, opening: Option<Timestamp>) -> bool {
    !is_open(windows, now) && opening.is_none_or(|opening| opening > now && is_open(windows, opening))
}
