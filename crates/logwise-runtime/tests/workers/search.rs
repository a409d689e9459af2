//! Runs a model through its states, breadth first, and says what was seen.

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Threads of one search.
const THREADS: usize = 2;

/// Different states within which a planted defect is found.
pub const FOUND_WITHIN: usize = 1_500_000;

/// Property of a search that has visited as many states as it was to.
pub const ENOUGH: &str = "as many different states as asked for were visited";

/// How many different states are visited.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    visited: Arc<AtomicUsize>,
    most: usize,
}

impl Visits {
    pub fn most(most: usize) -> Self {
        Self { visited: Arc::default(), most }
    }

    /// One more state is visited: its properties hold, and what may come next is asked for.
    pub fn count(&self) {
        self.visited.fetch_add(1, Ordering::Relaxed);
    }

    pub fn are_enough(&self) -> bool {
        self.number() >= self.most
    }

    pub fn number(&self) -> usize {
        self.visited.load(Ordering::Relaxed)
    }
}

/// One search at a time: others would only take its processors.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `LOGWISE_PROVE`: many more states of every configuration, or all of them.
pub fn proves() -> bool {
    std::env::var_os("LOGWISE_PROVE").is_some()
}

/// What was seen in a search.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Different states that were visited.
    pub visited: usize,
    /// What was to be seen, since else the search says nothing.
    wanted: BTreeSet<&'static str>,
    found: BTreeSet<&'static str>,
}

impl Seen {
    pub fn and(mut self, other: Self) -> Self {
        self.visited += other.visited;
        self.wanted.extend(other.wanted);
        self.found.extend(other.found);
        self
    }

    /// What no search has seen.
    pub fn never(&self) -> Vec<&'static str> {
        self.wanted.difference(&self.found).copied().collect()
    }
}

/// Every property that must always hold does, in every state that is visited. Who visits all of them also sees that the
/// configuration is not empty: what it is about does happen.
pub fn holds<M>(name: &str, model: M, visits: &Visits) -> Seen
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let (always, seen) = names(&model);
    let (found, visited) = search(name, model, visits, until(&always));
    for property in &always {
        let path = found.get(property).map(|path| (path.clone().into_actions(), path.last_state().clone()));
        assert!(path.is_none(), "{name}: violated: {property}\n{path:#?}");
    }
    let complete = !found.contains_key(ENOUGH);
    let wanted: BTreeSet<_> = seen.into_iter().filter(|property| *property != ENOUGH).collect();
    let found: BTreeSet<_> = wanted.iter().copied().filter(|property| found.contains_key(property)).collect();
    let seen = Seen { visited, wanted, found };
    assert!(!complete || seen.never().is_empty(), "{name}: never: {:?}", seen.never());
    seen
}

/// `property` does not hold: what is switched off is missed. With `LOGWISE_TRACES` it is said how.
pub fn finds<M>(name: &str, model: M, visits: &Visits, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let until = HasDiscoveries::AnyOf(BTreeSet::from([property, ENOUGH]));
    let (found, _) = search(name, model, visits, until);
    assert!(found.contains_key(property), "{name} was not found by: {property}; but {:?}", found.keys());
    if std::env::var_os("LOGWISE_TRACES").is_some() {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{name}: {:#?}", found[property].clone().into_actions());
    }
}

/// Names of the properties that must always hold, and of what must be seen.
fn names<M: Model>(model: &M) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let properties = model.properties();
    let of = |expectation: Expectation| {
        let these = properties.iter().filter(|property| property.expectation == expectation);
        these.map(|property| property.name).collect()
    };
    (of(Expectation::Always), of(Expectation::Sometimes))
}

/// A search ends when one of them was violated, or enough was visited.
fn until(always: &BTreeSet<&'static str>) -> HasDiscoveries {
    HasDiscoveries::AnyOf(always.iter().copied().chain([ENOUGH]).collect())
}

type Found<M> = HashMap<&'static str, Path<<M as Model>::State, <M as Model>::Action>>;

fn search<M>(name: &str, model: M, visits: &Visits, until: HasDiscoveries) -> (Found<M>, usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let _turn = turn();
    let began = Instant::now();
    let checker = model.checker().threads(THREADS).finish_when(until).spawn_bfs().join();
    let visited = visits.number();
    let (steps, states, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    let seconds = began.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{name}: {visited} visited of {states} states, {steps} steps, depth {depth}, {seconds:.1} s");
    (checker.discoveries(), visited)
}
