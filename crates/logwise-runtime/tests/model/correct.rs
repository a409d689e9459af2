//! The shipped rules hold.

use crate::search::{holds, proves};
use crate::setting::Setting;
use crate::world::{Faults, Tick};

/// Steps of each configuration without `LOGWISE_PROVE`.
const SHORT: usize = 60_000;

/// Of how many states one is drained with `LOGWISE_PROVE`: that takes as long as a hundred steps.
const DRAINED: u64 = 50;

const NONE: Faults = Faults { crashes: 0, losses: 0, deletions: 0, stops: 0, raises: 0 };

/// The smallest times: a Lease of two ticks, one to send, one for a call. Wall clocks are ten minutes apart.
pub fn small(faults: Faults) -> Setting {
    Setting {
        lease: 2,
        send: 1,
        call: 1,
        faults,
        late_calls: false,
        alone: false,
        shards: false,
        skew: [300, -300],
        bug: None,
        drain_one_of: 10,
    }
}

/// Times of different lengths.
fn with_times(setting: Setting, (lease, send, call): (Tick, Tick, Tick)) -> Setting {
    Setting { lease, send, call, ..setting }
}

fn check(name: &str, short: Setting, long: &[Setting]) {
    if !proves() {
        return holds(name, short, Some(SHORT));
    }
    holds(name, Setting { drain_one_of: DRAINED, ..short }, None);
    for (number, setting) in long.iter().enumerate() {
        holds(&format!("{name}, larger {}", number + 1), Setting { drain_one_of: DRAINED, ..*setting }, None);
    }
}

/// Whoever takes no step for a while is paused: every configuration has pauses, this one nothing else.
#[test]
fn pause() {
    let short = small(NONE);
    let raised = Faults { raises: 1, ..NONE };
    check(
        "pause",
        short,
        &[with_times(short, (3, 1, 2)), with_times(small(raised), (3, 1, 2)), small(Faults { raises: 2, ..NONE })],
    );
}

/// `leaderElection.enabled: false` in two replicas, against the instructions.
#[test]
fn two_leaders() {
    let alone = |faults| Setting { alone: true, ..small(faults) };
    let short = alone(Faults { raises: 1, ..NONE });
    check("two leaders", short, &[alone(Faults { raises: 1, crashes: 1, losses: 1, ..NONE })]);
}

/// Two shards that share a resource: each leads its own objects all the time.
#[test]
fn shards() {
    let shards = |faults| Setting { alone: true, shards: true, ..small(faults) };
    let short = shards(Faults { raises: 1, ..NONE });
    check("shards", short, &[shards(Faults { raises: 1, crashes: 1, ..NONE }), shards(Faults { losses: 1, ..NONE })]);
}

#[test]
fn crash() {
    let crashes = |crashes, raises| small(Faults { crashes, raises, ..NONE });
    check("crash", crashes(1, 0), &[crashes(2, 0), crashes(1, 1)]);
}

#[test]
fn lost_answer() {
    let losses = |losses, crashes| small(Faults { losses, crashes, ..NONE });
    check("lost answer", losses(1, 0), &[losses(2, 0), losses(1, 1)]);
}

/// Calls may have their effect at any later time. Nothing is safe then but what never lowers.
#[test]
fn late_call() {
    let late = |faults| Setting { late_calls: true, ..small(faults) };
    check("late call", late(NONE), &[late(Faults { crashes: 1, ..NONE }), late(Faults { raises: 1, ..NONE })]);
}

#[test]
fn graceful_stop() {
    let stops = |stops, raises| small(Faults { stops, raises, ..NONE });
    check("graceful stop", stops(1, 0), &[stops(2, 0), stops(1, 1)]);
}

#[test]
fn deleted_lease() {
    let deletions = |deletions, crashes| small(Faults { deletions, crashes, ..NONE });
    check(
        "deleted Lease",
        deletions(1, 0),
        &[deletions(2, 0), deletions(1, 1), with_times(deletions(1, 0), (3, 1, 2))],
    );
}

#[test]
fn faults_together() {
    let together = |crashes, losses, deletions, stops| small(Faults { crashes, losses, deletions, stops, raises: 0 });
    check("faults together", together(1, 1, 0, 1), &[together(0, 0, 1, 1), together(0, 1, 1, 0)]);
}
