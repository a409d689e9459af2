//! Each guard matters: switched off, there is a trace.

use super::correct::{NONE, two_leaders};
use super::model::{JUDGED, KEEPS, ONE_CALL, TWO};
use super::world::{Faults, Life, Off, Setting};
use crate::search::{FOUND_WITHIN, Visits};

fn finds(setting: Setting, property: &'static str) {
    let name = setting.off.map_or_else(String::new, |off| format!("driver, without {off:?}"));
    let visits = setting.visits.clone();
    crate::search::finds(&name, setting, &visits, property);
}

fn two(off: Off, faults: Faults, first: &[Life]) -> Setting {
    Setting { first: first.to_vec(), off: Some(off), visits: Visits::most(FOUND_WITHIN), ..two_leaders(faults) }
}

/// One operator is enough.
fn one(off: Off, faults: Faults, first: &[Life]) -> Setting {
    Setting { leaders: 1, ..two(off, faults, first) }
}

/// It would begin to run later, beside the one that was submitted instead of it.
#[test]
fn a_driver_that_waits_for_a_worker_is_there() {
    finds(one(Off::Waiting, NONE, &[Life::Waiting]), TWO);
}

/// A restarted master has not heard of it yet, and its query stands still.
#[test]
fn absence_is_waited_for() {
    finds(one(Off::Patience, Faults { restarts: 1, stalls: 1, ..NONE }, &[Life::Running]), TWO);
}

/// A restarted master never hears of it, and it goes on committing.
#[test]
fn batches_tell_of_a_driver_that_nobody_lists() {
    let setting = one(Off::Progress, Faults { restarts: 1, ..NONE }, &[Life::Running]);
    finds(Setting { forgets: true, ..setting }, TWO);
}

/// It runs, and its query stands still.
#[test]
fn no_answer_is_no_page_without_drivers() {
    finds(one(Off::Silence, Faults { silences: 1, stalls: 1, ..NONE }, &[Life::Running]), TWO);
}

/// The call that was to kill it is lost, or has no effect.
#[test]
fn a_killed_driver_is_seen_to_be_gone() {
    finds(one(Off::Killed, Faults { stalls: 1, ..NONE }, &[Life::Running]), TWO);
}

/// It may still become a driver.
#[test]
fn a_lost_answer_is_waited_for() {
    finds(two(Off::Judgement, Faults { losses: 1, ..NONE }, &[]), JUDGED);
}

/// Two operators submit at the same time.
#[test]
fn one_intent_is_open_at_a_time() {
    finds(two(Off::Record, NONE, &[]), ONE_CALL);
    finds(two(Off::Record, NONE, &[]), TWO);
}

/// What another operator has submitted meanwhile is not seen; of two drivers each kills the other.
#[test]
fn the_page_is_read_again_within_the_time_of_the_call() {
    finds(two(Off::SecondLook, NONE, &[]), TWO);
    finds(two(Off::SecondLook, Faults { restarts: 1, ..NONE }, &[Life::Running, Life::Waiting]), KEEPS);
}

/// A driver was submitted after the count had begun, and the master was restarted before anybody saw it.
#[test]
fn time_without_a_driver_begins_anew_with_every_submission() {
    finds(one(Off::Count, Faults { restarts: 1, ..NONE }, &[]), TWO);
}
