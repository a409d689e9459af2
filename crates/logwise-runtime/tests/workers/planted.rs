//! Each rule matters: switched off, there is a trace, and the property that is about it finds it. The numbers are those
//! of the six rules of scale-in.

use crate::correct::{NONE, start, two_leaders};
use crate::model::{DRAINS, DRIVER, EQUAL, GROWS, MINIMUM, ONE_CALL, TARGET};
use crate::search::{FOUND_WITHIN, Visits};
use crate::setting::{Off, Setting};
use crate::world::Faults;

fn finds(setting: Setting, property: &'static str) {
    let name = setting.off.map_or_else(String::new, |off| format!("without {off:?}"));
    let visits = setting.visits.clone();
    crate::search::finds(&name, setting, &visits, property);
}

/// Two operators and a group in service.
fn two(off: Off, faults: Faults, from: (u8, u8, u8)) -> Setting {
    Setting {
        starts: vec![start(from)],
        off: Some(off),
        drain_one_of: u64::MAX,
        visits: Visits::most(FOUND_WITHIN),
        ..two_leaders(faults)
    }
}

/// One operator is enough.
fn one(off: Off, faults: Faults, from: (u8, u8, u8)) -> Setting {
    Setting { leaders: 1, ..two(off, faults, from) }
}

/// Rule 1: AWS chooses, and may choose the driver's worker.
#[test]
fn desired_capacity_is_never_lowered() {
    finds(one(Off::ByNumber, NONE, (2, 0, 1)), DRIVER);
}

/// Rule 2: a raise to two that lands after one to three is a lower number.
#[test]
fn every_worker_is_protected() {
    finds(Setting { late: true, stray: Some(2), ..one(Off::Protection, NONE, (2, 0, 3)) }, DRIVER);
}

/// Rule 3: a driver comes between the last look and the call.
#[test]
fn the_worker_is_cordoned() {
    finds(one(Off::Cordon, NONE, (2, 0, 1)), DRIVER);
}

/// Rule 3: a driver had come before the cordon.
#[test]
fn the_worker_is_looked_at_again() {
    finds(one(Off::SecondLook, NONE, (2, 0, 1)), DRIVER);
}

/// Rule 3: between the look and the record of the call nothing limits how long an operator may be paused. The master
/// may have forgotten the cordon, and a driver may have come.
#[test]
fn the_last_look_lies_within_the_time_of_the_call() {
    finds(one(Off::LookInTime, Faults { restarts: 1, ..NONE }, (2, 0, 1)), DRIVER);
}

/// Rule 4: AWS compares with the desired number only.
#[test]
fn the_gate_waits_for_what_is_on_its_way() {
    finds(one(Off::Gate, NONE, (2, 1, 2)), TARGET);
    finds(one(Off::Gate, NONE, (1, 1, 1)), MINIMUM);
}

/// Rule 5: two operators act at the same time, and the older number lands last.
#[test]
fn one_intent_is_open_at_a_time() {
    finds(two(Off::Record, NONE, (1, 0, 3)), ONE_CALL);
    finds(two(Off::Record, Faults { changes: 1, ..NONE }, (1, 0, 2)), GROWS);
}

/// Rule 6: two operators that see the same name two workers.
#[test]
fn the_order_of_victims_is_one() {
    finds(two(Off::Order, NONE, (3, 0, 2)), EQUAL);
}

/// Whoever finds what was sent judges it once its time is over.
#[test]
fn nothing_stays_open() {
    finds(Setting { drain_one_of: 1, ..one(Off::Judgement, NONE, (1, 0, 2)) }, DRAINS);
}

/// The call that ends a worker is never made, and an older number lowers the desired one: nobody goes for that.
#[test]
fn a_removal_is_judged_by_who_was_ended() {
    let crashes = Faults { crashes: 1, ..NONE };
    finds(Setting { drain_one_of: 1, late: true, stray: Some(2), ..one(Off::EndedById, crashes, (3, 0, 2)) }, DRAINS);
}
