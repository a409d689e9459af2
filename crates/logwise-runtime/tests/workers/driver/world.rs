//! The state of the model: the drivers that the master knows, those that it does not, the query, and what two operators
//! know.

use crate::records::{Record, Stage};
use crate::search::Visits;
use serde::{Deserialize, Serialize};

/// Name of a driver; a greater one was submitted later.
pub type Id = u8;

/// Names that there are. When all are used the master takes no submission any more.
pub const NAMES: usize = 5;

/// In place of a process: nobody waits for the answer.
pub const NOBODY: u8 = 2;

/// Ticks without a driver after which one is submitted; a tick is a minute.
pub const LONG: u8 = 2;

/// Ticks without a batch beyond which nothing changes.
pub const STILL: u8 = 3;

/// Ticks after which a restart because of a query that stood still is tried again.
pub const PAUSE: u8 = 5;

/// One configuration.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The first drivers.
    pub first: Vec<Life>,
    /// Operators that lead: one, or two at the same time.
    pub leaders: u8,
    pub faults: Faults,
    /// A restarted master does not hear of drivers any more that ran before.
    pub forgets: bool,
    pub off: Option<Off>,
    pub visits: Visits,
}

/// What is switched off around the shipped code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// A driver that waits for a worker does not count as present.
    Waiting,
    /// Nobody waits before a submission.
    Patience,
    /// Nobody asks whether batches are committed.
    Progress,
    /// An answer that does not come is taken for one without drivers.
    Silence,
    /// A killed driver is taken to be gone at once.
    Killed,
    /// What was sent is judged by any look, not only by one that began after its call was over.
    Judgement,
    /// Whoever is refused the record goes on as if it were written, and learns nothing from it.
    Record,
    /// Nobody looks again between the record of the call and the call.
    SecondLook,
    /// Time without a driver goes on counting whoever submits one meanwhile, and if nobody looked.
    Count,
}

impl Setting {
    pub fn has(&self, off: Off) -> bool {
        self.off == Some(off)
    }
}

/// How often what is not the operators' own doing may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Drivers that end by themselves.
    pub ends: u8,
    pub crashes: u8,
    /// Restarts of the master.
    pub restarts: u8,
    /// Answers that are lost.
    pub losses: u8,
    /// Queries that stand still.
    pub stalls: u8,
    /// Times at which no master answers.
    pub silences: u8,
}

/// Where in its life a driver of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// It was not submitted yet.
    Never,
    /// Listed: it waits for a worker.
    Waiting,
    /// Listed: it runs.
    Running,
    /// It runs, and the restarted master has not heard of it yet.
    Hidden,
    /// It runs, and the restarted master never hears of it.
    Forgotten,
    /// Listed as completed.
    Killed,
    /// Listed as completed.
    Finished,
    /// Nobody knows of it any more.
    Gone,
}

impl Life {
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Waiting) || self.runs()
    }

    pub const fn runs(self) -> bool {
        matches!(self, Self::Running | Self::Hidden | Self::Forgotten)
    }
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub lives: [Life; NAMES],
    /// Ticks since the master was restarted, while it has not heard of a driver that runs.
    pub hidden_for: u8,
    /// No master answers.
    pub silent: bool,
    /// Ticks without a batch.
    pub still_for: u8,
    /// The query stands still although its driver runs.
    pub stuck: bool,
    pub record: Record<Wish>,
    /// Whether the call of what is sent is over.
    pub over: bool,
    pub calls: [Option<Call>; 2],
    pub processes: [Process; 2],
    pub left: Faults,
    pub bad: Option<Bad>,
}

/// What must never happen at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    TwoLive,
    NoneLeft,
    JudgedEarly,
}

/// What is wanted of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Wish {
    /// `known`: drivers that were seen before, one bit each.
    Submit { known: u8 },
    /// `extra`: it goes because another one is active.
    Kill { id: Id, extra: bool },
}

/// A call to the master that has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    pub wish: Wish,
    /// Who waits for the answer.
    pub by: u8,
}

/// One operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub term: u8,
    pub phase: Phase,
    /// The record as last read or written.
    pub known: Record<Wish>,
    /// Whether it is the present one.
    pub fresh: bool,
    /// The driver that was submitted last, or was the only one.
    pub recorded: Option<Id>,
    /// Ticks without a driver, if none was seen.
    pub absent: Option<u8>,
    /// Whether it has looked since the last tick.
    pub looked: bool,
    /// The only driver, which runs, and for how many ticks.
    pub running: Option<(Id, u8)>,
    /// Ticks since it began to kill a driver whose query stood still, if no batch came since.
    pub restarted: Option<u8>,
}

/// Where an operator is in its work: what it does next is one request, and anything may happen before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    /// An open record is about to be closed. `early`: the look began before the call of what is sent was over.
    Settling {
        done: bool,
        early: bool,
    },
    Preparing(Wish),
    /// The record is about to say that the call is made.
    Sending(Wish),
    /// The record says so; the last look comes.
    Again(Wish),
    /// The last look said yes.
    Starting(Wish),
    Calling,
    /// The answer is there, or nothing was sent.
    Closing {
        done: bool,
    },
}

/// An operator that has just started, with the record as it is.
pub fn fresh(term: u8, known: Record<Wish>) -> Process {
    Process {
        term,
        phase: Phase::Idle,
        known,
        fresh: true,
        recorded: None,
        absent: None,
        looked: false,
        running: None,
        restarted: None,
    }
}

impl World {
    pub fn new(setting: &Setting) -> Self {
        let mut lives = [Life::Never; NAMES];
        for (life, first) in lives.iter_mut().zip(&setting.first) {
            *life = *first;
        }
        Self {
            lives,
            hidden_for: 0,
            silent: false,
            still_for: 0,
            stuck: false,
            record: Record::CLOSED,
            over: false,
            calls: [None; 2],
            processes: [fresh(0, Record::CLOSED); 2],
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

    pub fn live(&self) -> usize {
        self.lives.iter().filter(|life| life.is_live()).count()
    }

    /// Names of the drivers in that state.
    pub fn ids(&self, is: fn(Life) -> bool) -> impl Iterator<Item = Id> + use<> {
        let lives = self.lives;
        (0..).zip(lives).filter(move |(_, life)| is(*life)).map(|(id, _)| id)
    }

    pub fn life(&mut self, id: Id) -> &mut Life {
        &mut self.lives[usize::from(id)]
    }
}
