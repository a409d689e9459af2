//! The whole design holds.

use crate::search::{Seen, Visits, holds, proves};
use crate::setting::{Setting, Start};
use crate::shipped::questions;
use crate::world::{Driver, Faults};
use std::io::Write;

/// Different states that are visited in all, without and with `LOGWISE_PROVE`.
const LEAST: usize = 1_000_000;
const LEAST_PROVED: usize = 50_000_000;

/// Different states of one configuration with `LOGWISE_PROVE`, unless it has fewer.
const MOST_PROVED: usize = 8_000_000;

/// Different states of a configuration that is not the main one, without it.
const FEW: usize = 25_000;

/// Of how many kinds of states those of one are drained: as often as that takes about as long as the search itself.
const DRAINED: u64 = 100;

pub const NONE: Faults = Faults { changes: 0, crashes: 0, restarts: 0, losses: 0, repeats: 0 };

/// Two operators, a driver that comes and goes, and a group with one worker too many, too few, or on its way.
pub fn two_leaders(faults: Faults) -> Setting {
    Setting {
        starts: [(3, 0, 2), (2, 0, 1), (1, 0, 2), (2, 1, 2)].map(start).to_vec(),
        leaders: 2,
        faults,
        driver: Driver::Absent,
        ends: true,
        busy: false,
        load: false,
        late: false,
        stray: None,
        off: None,
        drain_one_of: DRAINED,
        visits: Visits::default(),
    }
}

pub fn start((serving, pending, target): (u8, u8, u8)) -> Start {
    Start { serving, pending, target }
}

/// Each with a name.
fn configurations() -> Vec<(&'static str, Setting)> {
    let changes = Faults { changes: 1, ..NONE };
    let alone = |faults| Setting { leaders: 1, drain_one_of: 5, ..two_leaders(faults) };
    let stray = |faults| Setting { late: true, stray: Some(2), ..two_leaders(faults) };
    vec![
        ("one leader", alone(Faults { changes: 1, crashes: 1, restarts: 1, losses: 1, ..NONE })),
        (
            "one leader, late calls, by load",
            Setting { leaders: 1, load: true, ..stray(Faults { changes: 2, repeats: 1, ..NONE }) },
        ),
        (
            "one leader, late calls, crash",
            Setting {
                starts: vec![start((3, 0, 2))],
                leaders: 1,
                drain_one_of: 5,
                ..stray(Faults { crashes: 1, ..NONE })
            },
        ),
        ("one leader, three targets", alone(Faults { changes: 3, ..NONE })),
        ("two leaders, nothing else", two_leaders(NONE)),
        ("two leaders, crash", two_leaders(Faults { crashes: 1, ..NONE })),
        ("two leaders, lost answer", two_leaders(Faults { losses: 1, ..NONE })),
        ("two leaders, master restarts", two_leaders(Faults { restarts: 1, ..NONE })),
        ("two leaders, late calls", stray(Faults { repeats: 1, ..changes })),
        ("two leaders, late calls, by load", Setting { load: true, ..stray(Faults { repeats: 1, ..changes }) }),
        ("two leaders, a driver that never ends", Setting { ends: false, ..two_leaders(changes) }),
        (
            "two leaders, a driver that is there and never ends",
            Setting { ends: false, driver: Driver::On(0), ..two_leaders(changes) },
        ),
        ("two leaders, tasks on every worker", Setting { busy: true, ..two_leaders(NONE) }),
        ("two leaders, by load", Setting { load: true, ..two_leaders(changes) }),
        ("two leaders, another target", two_leaders(changes)),
        (
            "two leaders, all of it",
            Setting {
                busy: true,
                load: true,
                ..two_leaders(Faults { changes: 2, crashes: 1, restarts: 1, losses: 1, repeats: 0 })
            },
        ),
    ]
}

/// The last but one is the main one: it is given what the others have left of the least number. With `LOGWISE_PROVE`
/// that is the last one, which has more states than anybody could visit.
#[test]
fn the_whole_design() {
    let (least, most) = if proves() { (LEAST_PROVED, MOST_PROVED) } else { (LEAST, FEW) };
    let configurations = configurations();
    let main = configurations.len() - if proves() { 1 } else { 2 };
    let mut seen = Seen::default();
    let (others, main): (Vec<_>, Vec<_>) =
        configurations.into_iter().enumerate().partition(|(place, _)| *place != main);
    for (_, (name, setting)) in others {
        seen = seen.and(run(name, setting, most));
    }
    for (_, (name, setting)) in main {
        let left = most.max(least.saturating_sub(seen.visited));
        seen = seen.and(run(name, setting, left));
    }
    let (plans, looks) = questions();
    let mut out = std::io::stdout().lock();
    let visited = seen.visited;
    let _ = writeln!(out, "{visited} states visited; {plans} different plans, {looks} different second looks");
    assert!(visited >= least, "{visited} of {least} states");
    assert!(seen.never().is_empty(), "in no configuration: {:?}", seen.never());
}

fn run(name: &str, setting: Setting, most: usize) -> Seen {
    let setting = Setting { visits: Visits::most(most), ..setting };
    let visits = setting.visits.clone();
    holds(name, setting, &visits)
}
