//! Every interleaving, in small, of two processes that lead by a Lease and write intents, with the shipped transition
//! functions: pauses, crashes, lost and late answers, late calls, a deleted Lease.
#![forbid(unsafe_code)]

mod clocks;
mod drain;
mod election;
mod fold;
mod model;
mod setting;
mod work;
mod world;

use model::*;
use setting::{Bug, Setting};
use stateright::{Checker, HasDiscoveries, Model};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use world::{Faults, Tick};

/// One search at a time: each has two threads.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting((lease, send, call): (Tick, Tick, Tick), faults: Faults) -> Setting {
    Setting {
        lease,
        send,
        call,
        faults,
        late_calls: false,
        raise_only: false,
        alone: false,
        shards: false,
        skew: [300, -300],
        bug: None,
        drain_one_of: 50,
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
}

fn holds(name: &str, setting: Setting) {
    let _turn = turn();
    let began = Instant::now();
    let checker = setting
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(std::env::var("MODEL_CAP").map_or(60_000_000, |c| c.parse().unwrap()))
        .spawn_bfs()
        .join();
    let (states, distinct, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    say(&format!(
        "{name}: {distinct} states ({states} generated), depth {depth}, {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    for (property, path) in checker.discoveries() {
        if !property.starts_with("an effect is seen") && !property.starts_with("a l") {
            say(&format!("{name}: violated: {property}: {:?}", path.clone().into_actions()));
            say(&format!("   {:?}", path.last_state()));
        }
    }
    checker.assert_properties();
}

#[test]
fn tune() {
    let f = |v: &str| v.split(',').map(|x| x.parse::<u8>().unwrap()).collect::<Vec<_>>();
    let Ok(text) = std::env::var("MODEL_TUNE") else { return };
    for one in text.split(';') {
        let v = f(one);
        let faults = Faults { crashes: v[3], losses: v[4], deletions: v[5], stops: v[6], raises: v[7] };
        let mut s = setting((v[0], v[1], v[2]), faults);
        s.alone = v[8] & 1 > 0;
        s.shards = v[8] & 2 > 0;
        s.late_calls = v[8] & 4 > 0;
        s.raise_only = v[8] & 4 > 0;
        s.bug = match v.get(9).copied().unwrap_or(0) {
            1 => Some(Bug::NoCompareAndSwap),
            2 => Some(Bug::SettleAtOnce),
            3 => Some(Bug::OldLook),
            4 => Some(Bug::WallClock),
            5 => Some(Bug::OwnName),
            6 => Some(Bug::EpochInLease),
            7 => Some(Bug::ForeignClose),
            8 => Some(Bug::NoDeadline),
            9 => Some(Bug::NoFence),
            10 => Some(Bug::FenceUntrusted),
            _ => None,
        };
        s.drain_one_of = v.get(10).map_or(50, |n| u64::from(*n) * 10);
        let r = std::panic::catch_unwind(|| holds(one, s));
        say(&format!("{one} ok={}", r.is_ok()));
    }
}
