//! What is done where several drivers of ours are active: they share one checkpoint, so one stays.

use super::{About, Active, Cause, Hold, Kill, KillWhy, Plan, RUNNING, State};
use crate::change::Kind;
use jiff::Timestamp;

pub(super) fn plan(about: &About<'_>, ours: &[&Active]) -> Plan {
    let ids: Vec<String> = ours.iter().map(|driver| driver.id.clone()).collect();
    let mut holds = vec![Hold::Several { ids: ids.clone() }];
    let state = State::Several { ids };
    match surplus(about, ours) {
        Ok(kill) => Plan { kill, next_look_seconds: about.soon(), ..about.idle(state, holds) },
        Err(hold) => {
            holds.push(hold);
            about.idle(state, holds)
        }
    }
}

/// One that goes; the others wait for the next look.
fn surplus(about: &About<'_>, ours: &[&Active]) -> Result<Option<Kill>, Hold> {
    about.nothing_open()?;
    // Of those that run one of the present class stays, and of those the one on record. One that only waits may never
    // get room.
    let is_earlier = |driver: &Active| about.observed.earlier.contains(&driver.id);
    let is_other = |driver: &Active| about.observed.recorded.as_ref() != Some(&driver.id);
    let kept =
        ours.iter().min_by_key(|driver| (driver.state != RUNNING, is_earlier(driver), is_other(driver), age(driver)));
    let Some(kept) = kept else { return Ok(None) };
    let others = ours.iter().filter(|driver| driver.id != kept.id);
    let Some(extra) = others.max_by_key(|driver| age(driver)) else { return Ok(None) };
    // Each of them may spoil the checkpoint: no window is waited for.
    about.consent(Kind::MissingDriver, Cause::Extra, &extra.id)?;
    Ok(Some(Kill { id: extra.id.clone(), why: KillWhy::Extra }))
}

/// Orders drivers: those that run before those that do not, then the older ones, those without a time last, then by id.
fn age(driver: &Active) -> (bool, bool, Option<Timestamp>, &str) {
    (driver.state != RUNNING, driver.started.is_none(), driver.started, &driver.id)
}
