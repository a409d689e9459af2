//! The whole design holds.

use super::shipped::questions;
use super::world::{Faults, Life, Setting};
use crate::search::{Seen, Visits, holds, proves};
use std::io::Write;

/// Different states of one configuration, unless it has fewer, without and with `LOGWISE_PROVE`.
const MOST: usize = 15_000;
const MOST_PROVED: usize = 500_000;

pub const NONE: Faults = Faults { ends: 0, crashes: 0, restarts: 0, losses: 0, stalls: 0, silences: 0 };

/// Two operators and no driver yet.
pub fn two_leaders(faults: Faults) -> Setting {
    Setting { first: Vec::new(), leaders: 2, faults, forgets: false, off: None, visits: Visits::default() }
}

/// Each with a name.
fn configurations() -> Vec<(&'static str, Setting)> {
    let alone = |faults| Setting { leaders: 1, ..two_leaders(faults) };
    let running = |setting: Setting| Setting { first: vec![Life::Running], ..setting };
    let all = Faults { ends: 1, crashes: 1, restarts: 1, losses: 1, stalls: 1, silences: 1 };
    let stall = Faults { stalls: 1, ..NONE };
    let restart = Faults { restarts: 1, ends: 1, ..NONE };
    vec![
        ("driver, one leader", alone(Faults { silences: 0, ..all })),
        ("driver, two leaders", two_leaders(NONE)),
        ("driver, lost answer", two_leaders(Faults { losses: 1, ..NONE })),
        ("driver, crash", two_leaders(Faults { crashes: 1, ..NONE })),
        ("driver, it ends", running(two_leaders(Faults { ends: 2, ..NONE }))),
        ("driver, master restarts", two_leaders(restart)),
        ("driver, master restarts and forgets", Setting { forgets: true, ..two_leaders(restart) }),
        ("driver, it stands still", running(two_leaders(Faults { losses: 1, ..stall }))),
        ("driver, no answers", running(two_leaders(Faults { silences: 1, ends: 1, ..NONE }))),
        ("driver, several", Setting { first: vec![Life::Running; 2], ..two_leaders(Faults { losses: 1, ..NONE }) }),
        ("driver, all of it", two_leaders(all)),
    ]
}

#[test]
fn one_submission_lives() {
    let most = if proves() { MOST_PROVED } else { MOST };
    let mut seen = Seen::default();
    for (name, setting) in configurations() {
        let setting = Setting { visits: Visits::most(most), ..setting };
        let visits = setting.visits.clone();
        seen = seen.and(holds(name, setting, &visits));
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "driver: {} states visited; {} different plans", seen.visited, questions());
    assert!(seen.never().is_empty(), "in no configuration: {:?}", seen.never());
}
