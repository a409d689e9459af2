//! What a run of the model takes for granted, and what can be switched off around the shipped code.

use crate::search::Visits;
use crate::world::{Driver, Faults};

/// One configuration.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where runs begin.
    pub starts: Vec<Start>,
    /// Operators that lead: one, or two at the same time.
    pub leaders: u8,
    pub faults: Faults,
    /// The driver at the beginning.
    pub driver: Driver,
    /// Drivers end; else one that has begun never does.
    pub ends: bool,
    /// Tasks run on every worker: a cordoned one drains first.
    pub busy: bool,
    /// The number of workers follows a load that is measured; else it is named.
    pub load: bool,
    /// Calls to the group may have their effect at any later time, also after an answer.
    pub late: bool,
    /// An older raise to this number that is still on its way.
    pub stray: Option<u8>,
    pub off: Option<Off>,
    /// Of how many kinds of states those of one are drained.
    pub drain_one_of: u64,
    pub visits: Visits,
}

/// A group at rest, or on its way.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub serving: u8,
    pub pending: u8,
    pub target: u8,
}

/// What is switched off. The shipped functions are the same as ever: they are told something else, or their answer is
/// not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// Rule 1: a worker is removed by a lower desired number. Nobody protects workers then: AWS could end none.
    ByNumber,
    /// Rule 2: workers are not protected from scale-in, and nobody sees it.
    Protection,
    /// Rule 3: no worker is cordoned, and nobody sees it.
    Cordon,
    /// Rule 3: a worker is ended as soon as its cordon was asked for.
    SecondLook,
    /// Rule 3: the second look comes before the record of the call, not between that and the call.
    LookInTime,
    /// Rule 4: an instance that comes counts as one that serves.
    Gate,
    /// Rule 5: whoever is refused the record goes on as if it were written.
    Record,
    /// Rule 6: each operator names workers in an order of its own.
    Order,
    /// What was sent is never judged by who finds it.
    Judgement,
    /// A removal is judged as if an instance went because of a lower desired number.
    EndedById,
}

impl Setting {
    pub fn has(&self, off: Off) -> bool {
        self.off == Some(off)
    }

    /// Whether AWS leaves instances in service alone when the desired number falls.
    pub fn protects(&self) -> bool {
        !self.has(Off::ByNumber) && !self.has(Off::Protection)
    }
}
