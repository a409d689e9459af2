//! Runs the model through its states, breadth first, and says what was seen.

use crate::model::SEEN;
use crate::setting::Setting;
use crate::world::World;
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Threads of one search.
const THREADS: usize = 2;

/// Steps that a planted bug may take to be found.
const FOUND_WITHIN: usize = 2_000_000;

type Found = HashMap<&'static str, Path<World, <Setting as Model>::Action>>;

/// One search at a time: others would only take its processors.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `LOGWISE_PROVE`: all states of larger configurations, not the first of small ones.
pub fn proves() -> bool {
    std::env::var_os("LOGWISE_PROVE").is_some()
}

/// Every property holds, in the first `most` steps or in all of them. Who asks for all also sees that the configuration is
/// not empty: what it is about does happen.
pub fn holds(name: &str, setting: Setting, most: Option<usize>) {
    let (found, steps) = search(name, setting, HasDiscoveries::AnyFailures, most);
    let complete = most.is_none_or(|most| steps < most);
    for (property, path) in &found {
        let (actions, state) = (path.clone().into_actions(), *path.last_state());
        assert!(SEEN.contains(property), "{name}: violated: {property}\n{actions:#?}\n{state:#?}");
    }
    for property in setting.properties().iter().map(|property| property.name).filter(|name| SEEN.contains(name)) {
        assert!(!complete || found.contains_key(property), "{name}: never: {property}");
    }
}

/// `property` does not hold: the bug that is planted in `setting` is found.
pub fn finds(setting: Setting, property: &'static str) {
    let name = setting.bug.map_or_else(String::new, |bug| format!("{bug:?}"));
    let until = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let (found, _) = search(&name, setting, until, Some(FOUND_WITHIN));
    assert!(found.contains_key(property), "{name} was not found by: {property}; but {:?}", found.keys());
}

fn search(name: &str, setting: Setting, until: HasDiscoveries, most: Option<usize>) -> (Found, usize) {
    let _turn = turn();
    let began = Instant::now();
    let mut checker = setting.checker().threads(THREADS).finish_when(until);
    if let Some(most) = most {
        checker = checker.target_state_count(most);
    }
    let checker = checker.spawn_bfs().join();
    let (steps, states, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    let mut out = std::io::stdout().lock();
    let seconds = began.elapsed().as_secs_f64();
    let _ = writeln!(out, "{name}: {states} states, {steps} steps, depth {depth}, {seconds:.1} s");
    (checker.discoveries(), steps)
}
