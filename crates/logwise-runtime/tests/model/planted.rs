//! Each planted bug is found by the property that is about it: the properties say something.

use crate::correct::small;
use crate::model::{
    CLOSE_KEPT, DEADLINE_KEPT, DONE_THERE, DRAINS, EPOCH_GROWS, NOT_TAKEN, ONE_CALL, ONE_LEADER, VALUE_GROWS,
};
use crate::search::finds;
use crate::setting::{Bug, Setting};
use crate::world::Faults;

fn with(bug: Bug, faults: Faults) -> Setting {
    Setting { bug: Some(bug), ..small(faults) }
}

fn alone(bug: Bug, faults: Faults) -> Setting {
    Setting { alone: true, ..with(bug, faults) }
}

const NONE: Faults = Faults { crashes: 0, losses: 0, deletions: 0, stops: 0, raises: 0 };
const CRASH: Faults = Faults { crashes: 1, ..NONE };
const DELETION: Faults = Faults { deletions: 1, ..NONE };
const RAISE: Faults = Faults { raises: 1, ..NONE };

#[test]
fn an_intent_written_over_any_version() {
    finds(alone(Bug::NoCompareAndSwap, NONE), ONE_CALL);
}

#[test]
fn a_judgement_that_does_not_wait_for_the_call() {
    finds(alone(Bug::SettleAtOnce, NONE), NOT_TAKEN);
}

#[test]
fn a_judgement_by_an_old_look() {
    finds(alone(Bug::OldLook, NONE), NOT_TAKEN);
}

#[test]
fn a_lease_judged_by_wall_clocks() {
    finds(with(Bug::WallClock, NONE), ONE_LEADER);
}

#[test]
fn a_process_that_leads_by_its_own_name() {
    finds(with(Bug::OwnName, CRASH), ONE_LEADER);
}

#[test]
fn an_epoch_kept_in_the_lease() {
    finds(with(Bug::EpochInLease, DELETION), EPOCH_GROWS);
}

#[test]
fn a_call_of_another_closed_without_a_wait() {
    finds(alone(Bug::ForeignClose, NONE), NOT_TAKEN);
}

#[test]
fn a_call_after_the_deadline() {
    finds(with(Bug::NoDeadline, NONE), DEADLINE_KEPT);
}

#[test]
fn an_earlier_term_that_opens_what_a_later_one_closed() {
    finds(alone(Bug::NoFence, NONE), CLOSE_KEPT);
}

#[test]
fn a_plan_sent_without_a_second_look() {
    finds(alone(Bug::NoSecondLook, RAISE), VALUE_GROWS);
}

/// This was in the code.
#[test]
fn trust_in_the_fence_of_a_deleted_lease() {
    finds(with(Bug::FenceTrusted, DELETION), NOT_TAKEN);
}

/// This was in the code.
#[test]
fn a_fenced_term_that_goes_on() {
    finds(Setting { drain_one_of: 5, ..with(Bug::FencedStays, DELETION) }, DRAINS);
}

/// This was in the code.
#[test]
fn a_judgement_written_to_another_record() {
    finds(alone(Bug::StaleJudgement, RAISE), DONE_THERE);
}
