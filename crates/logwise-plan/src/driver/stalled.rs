//! Whether the query of a running driver stands still, and when a restart is tried again.

use super::{About, Stand, after};
use crate::Known;
use jiff::Timestamp;

/// The shortest and the longest pause after a restart that did not help.
const PAUSE_SECONDS: (i64, i64) = (300, 3_600);

/// Most seconds that a batch gets beside the time-out: how long it needs is a guess.
const LONGEST_BATCH_SECONDS: i64 = 3_600;

/// How far the query has come, or why that is not known.
pub(super) fn stand<'a>(about: &About<'a>) -> Result<&'a Stand, String> {
    match &about.observed.progress {
        Known::Known(stand) => Ok(stand),
        Known::Absent => Err("no batch has been committed yet".to_owned()),
        Known::Unknown(why) => Err(why.clone()),
    }
}

/// Seconds for which no batch was committed, for the length of pauses: the clock of the bucket counts where a process
/// that has only begun cannot know.
pub(super) fn stood(about: &About<'_>, stand: &Stand) -> i64 {
    stand.unmoved_seconds.max(about.observed.batch_age_seconds)
}

/// Whether no batch was committed for too long while records wait. A driver that has only begun to run has the same
/// time as any other. A batch that has much to read, as after an outage, gets twice the time that it takes: whoever
/// ended it would have all of that read anew.
pub(super) fn is_stalled(about: &About<'_>, stand: &Stand) -> bool {
    let more = about.observed.needed_seconds.saturating_mul(2).clamp(0, LONGEST_BATCH_SECONDS);
    let limit = i64::from(about.policy.stalled_seconds).saturating_add(more);
    let had_time = about.observed.running_for.is_some_and(|seconds| i64::from(seconds) >= limit);
    had_time && stand.backlog > 0 && stand.unmoved_seconds > limit
}

/// Until when it is not restarted again, because no batch came since the last restart. The pause is as long as the
/// query had stood still when it was restarted: so each one is about twice as long as the one before.
pub(super) fn in_vain_until(about: &About<'_>, stand: &Stand) -> Option<Timestamp> {
    // One in the future was noted before the clock was set back: no measure.
    let restarted = about.observed.restarted.filter(|last| last.batch == stand.batch && last.at <= about.now)?;
    let (shortest, longest) = PAUSE_SECONDS;
    let stood = stood(about, stand).saturating_sub(about.seconds_since(restarted.at));
    let until = after(restarted.at, stood.clamp(shortest, longest));
    (until > about.now).then_some(until)
}
