//! The pause after drivers that end again and again.

use super::{About, Attempt, KILLED, after, stalled};
use jiff::Timestamp;

/// Seconds within which an end after a submission counts as a failure, and a batch as a sign of life.
const SHORT_LIFE_SECONDS: i64 = 300;
/// Failures in a row from which on there is a pause.
const ENOUGH: u32 = 2;
/// The first pause. Each further failure doubles it.
const FIRST_SECONDS: i64 = 30;
/// The longest pause.
const LONGEST_SECONDS: i64 = 1_800;

/// A pause that is not over yet.
#[derive(Clone)]
pub(super) struct Pause {
    /// How the last driver ended.
    pub text: String,
    /// When the pause is over.
    pub until: Timestamp,
}

/// The pause that goes on now. A job that commits batches does not fail, however often its driver ends: some end after
/// each batch.
pub(super) fn pause(about: &About<'_>) -> Option<Pause> {
    let progress = about.observed.progress.known();
    if progress.is_some_and(|stand| stalled::stood(about, stand) <= SHORT_LIFE_SECONDS) {
        return None;
    }
    // What lies in the future was noted before the clock was set back: no measure.
    let failed = about.observed.attempts.iter().filter(|attempt| attempt.at <= about.now && is_failure(about, attempt));
    let mut failed: Vec<&Attempt> = failed.collect();
    failed.sort_by_key(|attempt| (attempt.at, &attempt.id));
    let last = failed.last()?;
    let until = after(last.at, seconds_after(in_a_row(about, &failed)));
    (until > about.now).then(|| Pause { text: text(about, last), until })
}

/// Failures up to the newest one, each of them soon after the one before.
fn in_a_row(about: &About<'_>, failed: &[&Attempt]) -> u32 {
    let policy = about.policy;
    let mut row = 1;
    for pair in failed.windows(2) {
        // Between two ends lies what is waited before a submission, a look or two, and the life of the driver.
        let waits = seconds_after(row).max(policy.absent_seconds.into());
        let looks = i64::from(policy.look_period_seconds).saturating_mul(2);
        let apart = pair[1].at.duration_since(pair[0].at).as_secs();
        let is_soon = apart <= waits.saturating_add(looks).saturating_add(SHORT_LIFE_SECONDS);
        row = if is_soon { row.saturating_add(1) } else { 1 };
    }
    row
}

/// The pause after so many failures in a row.
fn seconds_after(row: u32) -> i64 {
    match row.checked_sub(ENOUGH) {
        Some(doublings) => (FIRST_SECONDS << doublings.min(10)).min(LONGEST_SECONDS),
        None => 0,
    }
}

/// Whether an end is a failure: nobody killed the driver, and it did not come to its own end with nothing left to read.
fn is_failure(about: &About<'_>, attempt: &Attempt) -> bool {
    if attempt.ended.starts_with("FINISHED") {
        return about.observed.progress.known().is_some_and(|stand| stand.backlog > 0);
    }
    !attempt.ended.starts_with(KILLED)
}

/// How a driver ended: its state, and what the master says about it.
fn text(about: &About<'_>, attempt: &Attempt) -> String {
    let ended = about.observed.done.iter().find(|ended| attempt.id.as_ref() == Some(&ended.id));
    match ended.and_then(|ended| ended.text.as_ref().map(|text| (&ended.state, text))) {
        Some((state, text)) => format!("{state}: {text}"),
        None => attempt.ended.clone(),
    }
}
