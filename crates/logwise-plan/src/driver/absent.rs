//! What is done where no driver of ours is active.

use super::{About, Cause, Hold, KILLED, Plan, State, Submit, Why, failing};
use crate::change::Kind;
use std::collections::BTreeSet;

pub(super) fn plan(about: &About<'_>) -> Plan {
    let pause = failing::pause(about);
    let state = match pause.clone() {
        Some(failing::Pause { text, until }) => State::Failing { text, until },
        None => State::Absent,
    };
    match submission(about, pause) {
        Ok(submit) => {
            let next_look_seconds = about.soon();
            Plan { submit: Some(submit), next_look_seconds, ..about.idle(state, Vec::new()) }
        }
        Err(hold) => about.idle(state, vec![hold]),
    }
}

/// The submission, or why there is none yet.
fn submission(about: &About<'_>, pause: Option<failing::Pause>) -> Result<Submit, Hold> {
    about.nothing_open()?;
    about.nothing_taken()?;
    if let Some(failing::Pause { text, until }) = pause {
        return Err(Hold::Failing { text, until });
    }
    about.nothing_elsewhere()?;
    let why = if follows_kill(about) { Why::Stalled } else { Why::Missing };
    if why == Why::Missing {
        waited(about)?;
    }
    nothing_moves(about)?;
    // Logs stand still: no window is waited for, and who has said yes once is not asked again.
    if about.observed.elsewhere.is_empty() {
        about.consent(Kind::MissingDriver, Cause::from(why), last(about))?;
    }
    Ok(Submit { why, known: known(about) })
}

/// Whether the driver on record is one that was killed because its query stood still, and nothing was committed since.
/// The master says that it was killed, so it is gone for sure, and nobody brings it back. Where the next one was
/// submitted already and became none as far as anybody saw, it may still come: it is waited for like any other.
fn follows_kill(about: &About<'_>) -> bool {
    let observed = about.observed;
    let (Some(restarted), Some(recorded)) = (&observed.restarted, &observed.recorded) else { return false };
    let killed = observed.done.iter().any(|ended| ended.id == *recorded && ended.state == KILLED);
    let is_repeated = observed.attempts.iter().any(|attempt| attempt.id.is_none() && attempt.at > restarted.at);
    killed && !is_repeated && observed.progress.known().is_none_or(|stand| stand.batch == restarted.batch)
}

/// Whether no driver was active for long enough. Until then the master may be starting it again, or a master that was
/// restarted itself may not have heard of it yet.
fn waited(about: &About<'_>) -> Result<(), Hold> {
    let left_seconds = about.policy.absent_seconds.saturating_sub(about.observed.absent_for.unwrap_or(0));
    if left_seconds == 0 { Ok(()) } else { Err(Hold::TooSoon { left_seconds }) }
}

/// Whether batches stay away while no driver is active. If not, one lives that this master has forgotten.
fn nothing_moves(about: &About<'_>) -> Result<(), Hold> {
    let policy = about.policy;
    let (Some(stand), Some(absent_for)) = (about.observed.progress.known(), about.observed.absent_for) else {
        return Ok(());
    };
    let enough = i64::from(policy.absent_seconds);
    let moved_after = i64::from(absent_for).saturating_sub(stand.unmoved_seconds);
    // A batch that came shortly after the end may be the last one of the driver that ended: commits are seen late.
    let quiet = if moved_after > enough { enough.max(policy.stalled_seconds.into()) } else { enough };
    if moved_after > 0 && stand.unmoved_seconds < quiet {
        return Err(Hold::ProgressMoves { batch: stand.batch });
    }
    Ok(())
}

/// The driver that a submission follows. Ids of one master grow with time.
fn last<'a>(about: &About<'a>) -> &'a str {
    let done = || about.observed.done.iter().map(|ended| ended.id.as_str()).max();
    about.observed.recorded.as_deref().or_else(done).unwrap_or_default()
}

/// Every id of our class that was seen before.
fn known(about: &About<'_>) -> BTreeSet<String> {
    let observed = about.observed;
    let done = observed.done.iter().map(|ended| &ended.id);
    let attempts = observed.attempts.iter().filter_map(|attempt| attempt.id.as_ref());
    done.chain(attempts).chain(&observed.recorded).cloned().collect()
}
