//! What is done about the one driver of ours that is active.

use super::{About, Active, Cause, Hold, Kill, KillWhy, Plan, RUNNING, Stand, State, stalled};
use crate::change::Kind;

pub(super) fn plan(about: &About<'_>, driver: &Active) -> Plan {
    let id = driver.id.clone();
    match driver.state.as_str() {
        RUNNING if driver.has_worker => running(about, id),
        // Of one in UNKNOWN the master itself does not know yet, after its own restart.
        "RELAUNCHING" | "UNKNOWN" => about.idle(State::Relaunching { id: id.clone() }, vec![Hold::Relaunching { id }]),
        _ => {
            let mut holds = vec![Hold::Pending { id: id.clone() }];
            if waits_long(about, driver) {
                holds.push(Hold::NoCapacity);
            }
            about.idle(State::Pending { id }, holds)
        }
    }
}

/// Whether no worker has taken it for as long as nothing may move.
fn waits_long(about: &About<'_>, driver: &Active) -> bool {
    let limit = i64::from(about.policy.stalled_seconds);
    !driver.has_worker && driver.started.is_some_and(|started| about.seconds_since(started) > limit)
}

fn running(about: &About<'_>, id: String) -> Plan {
    let stand = match stalled::stand(about) {
        Ok(stand) => stand,
        Err(why) => return about.idle(State::Running { id }, vec![Hold::ProgressUnknown { why }]),
    };
    if !stalled::is_stalled(about, stand) {
        return about.idle(State::Running { id }, vec![Hold::NotStalled]);
    }
    let state = State::Stalled { id: id.clone(), seconds: stand.unmoved_seconds };
    match restart(about, stand, id) {
        Ok(kill) => Plan { kill: Some(kill), next_look_seconds: about.soon(), ..about.idle(state, Vec::new()) },
        Err(hold) => about.idle(state, vec![hold]),
    }
}

/// The end of a driver whose query stands still; the submission of the next one follows when it is gone.
fn restart(about: &About<'_>, stand: &Stand, id: String) -> Result<Kill, Hold> {
    about.nothing_open()?;
    // Else none could follow it.
    about.nothing_taken()?;
    about.nothing_elsewhere()?;
    if let Some(until) = stalled::in_vain_until(about, stand) {
        return Err(Hold::RestartedInVain { until });
    }
    about.consent(Kind::StallRestart, Cause::Stalled, &id)?;
    Ok(Kill { id, why: KillWhy::Stalled })
}
