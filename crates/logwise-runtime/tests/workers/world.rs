//! The state of the model: the group, the Spark master with its driver, the record, calls on their way and what two
//! operators know.
//!
//! Instances are named by their age. Names that nobody remembers are used again, see [`crate::fold`]: no name comes
//! back while anything could still mean the earlier bearer.

use crate::records::{Record, Stage};
use crate::setting::{Setting, Start};
use serde::{Deserialize, Serialize};

/// Name of an instance; a greater one is younger.
pub type Id = u8;

/// Instances, one bit each.
pub type Set = u16;

/// Names that there are.
pub const NAMES: Id = 16;

/// Bounds of the group.
pub const MIN: u8 = 1;
pub const MAX: u8 = 3;

/// In place of a process: nobody waits for the answer.
pub const NOBODY: u8 = 2;

pub const fn bit(id: Id) -> Set {
    1 << id
}

pub const fn has(set: Set, id: Id) -> bool {
    set & bit(id) != 0
}

pub fn count(set: Set) -> u8 {
    u8::try_from(set.count_ones()).unwrap_or(NAMES)
}

/// The instances of a set, the oldest first.
pub struct Members(pub Set);

impl Iterator for Members {
    type Item = Id;

    fn next(&mut self) -> Option<Id> {
        let first = u8::try_from(self.0.trailing_zeros()).ok().filter(|id| *id < NAMES)?;
        self.0 &= self.0 - 1;
        Some(first)
    }
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub group: Group,
    pub master: Master,
    /// Workers that the object asks for.
    pub target: u8,
    pub record: Written,
    /// Whether the call of what is sent is over: it begins no more and, unless calls are late, has no effect any more.
    pub over: bool,
    pub calls: [Option<Call>; 3],
    pub processes: [Process; 2],
    pub left: Faults,
    pub bad: Option<Bad>,
}

/// The Auto Scaling Group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    pub desired: u8,
    pub pending: Set,
    pub serving: Set,
}

/// The Spark master. A worker registers when its instance comes into service, and is gone with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Master {
    pub cordoned: Set,
    /// Cordons that were asked for and are still queued.
    pub marking: Set,
    /// Workers whose cordon a restart has forgotten during a call's time: no driver comes to them before that is over.
    pub held: Set,
    pub driver: Driver,
}

/// The driver, of whatever class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    Absent,
    /// It waits for a worker.
    Waiting,
    On(Id),
}

/// How often what is not the operators' own doing may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Not a fault: another number of workers is asked for.
    pub changes: u8,
    pub crashes: u8,
    /// Restarts of the master: cordons are forgotten.
    pub restarts: u8,
    /// Answers of the group that are lost.
    pub losses: u8,
    /// Calls that have their effect once more.
    pub repeats: u8,
}

/// What must never happen at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    DriverKilled,
    BelowMinimum,
    BelowTarget,
    Lowered,
    UnequalActs,
}

/// What is wanted of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Wish {
    Raise(Raise),
    Remove(Removal),
}

/// Raises the desired number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Raise {
    pub from: u8,
    pub to: u8,
}

/// Ends one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Removal {
    pub id: Id,
    pub from: u8,
    pub floor: u8,
}

/// The record of the group.
pub type Written = Record<Wish>;

/// A call to the group that has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub effect: Effect,
    /// Who waits for the answer.
    pub by: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    SetDesired(u8),
    /// `floor`: instances that must be left in service, as it stood when the call was decided on.
    Terminate {
        id: Id,
        floor: u8,
    },
}

/// How far a removal has come, as the planner names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Cordon,
    Drain,
    Terminate,
}

/// One operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub term: u8,
    pub phase: Phase,
    /// The record as last read or written.
    pub known: Written,
    /// Whether it is the present one.
    pub fresh: bool,
    /// Whether the worker of the prepared removal was seen to drain.
    pub drained: bool,
}

/// Where an operator is in its work: what it does next is one request, and anything may happen before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    /// The group was read. `early`: the look began before the call of what is sent was over.
    Looking {
        group: Group,
        early: bool,
    },
    /// An open record is about to be closed.
    Settling {
        done: bool,
        early: bool,
    },
    /// `target`: what the object asked for when this was planned.
    Preparing {
        wish: Wish,
        target: u8,
    },
    Resuming {
        removal: Removal,
        step: Step,
        target: u8,
    },
    /// A raise is prepared; the group is read once more.
    Checking(Raise),
    /// A removal is prepared; the master is asked to cordon the worker.
    Cordoning(Removal),
    /// The cordon was asked for; the second look comes.
    Confirming {
        removal: Removal,
        step: Step,
    },
    /// The record is about to say that the call is made.
    Sending(Wish),
    /// The record says so.
    Raising(Raise),
    /// The record says so; the last look comes, the group first.
    Again {
        removal: Removal,
        group: Option<Group>,
    },
    /// The last look said yes.
    Ending(Removal),
    Calling,
    /// The answer is there, or nothing was sent.
    Closing {
        done: bool,
    },
}

/// An operator that has just started.
const FRESH: Process = Process { term: 0, phase: Phase::Idle, known: Written::CLOSED, fresh: true, drained: false };

impl World {
    pub fn new(setting: &Setting, start: Start) -> Self {
        let Start { serving, pending, target } = start;
        let desired = serving + pending;
        let first = |number: u8| bit(number) - 1;
        let group = Group { desired, pending: first(desired) & !first(serving), serving: first(serving) };
        let stray = setting.stray.map(|number| Call { effect: Effect::SetDesired(number), by: NOBODY });
        Self {
            group,
            master: Master { cordoned: 0, marking: 0, held: 0, driver: setting.driver },
            target,
            record: Written::CLOSED,
            over: false,
            calls: [None, None, stray],
            processes: [FRESH; 2],
            left: setting.faults,
            bad: None,
        }
    }

    pub fn process(&mut self, me: u8) -> &mut Process {
        &mut self.processes[usize::from(me)]
    }

    pub fn peek(&self, me: u8) -> &Process {
        &self.processes[usize::from(me)]
    }

    pub fn blame(&mut self, bad: Bad) {
        self.bad.get_or_insert(bad);
    }

    /// Whether a call is on its way whose time is not over.
    pub fn awaits_end(&self) -> bool {
        self.record.stage == Stage::Sent && !self.over
    }
}
