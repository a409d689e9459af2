//! The state of the model: the API server's objects, the resource, calls on their way and what two processes know.
//!
//! Times are ticks of true time, counted so that the present is always [`NOW`]: when a tick passes, all that is
//! remembered grows older, see [`crate::fold`]. No process sees them as such: [`crate::clocks`] gives each its own
//! clocks.

use logwise_runtime::intent::State;

/// Moment or length of time.
pub type Tick = u8;

/// The present.
pub const NOW: Tick = 32;

/// A version that is gone, whichever it was.
pub const STALE: u8 = 1;

/// A moment that never comes.
pub const NEVER: Tick = Tick::MAX;

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub lease: Option<Lease>,
    /// The latest version of the Lease: deleting it does not make versions come back.
    pub lease_version: u8,
    /// The record of the epoch. It grows with each write and is its own version.
    pub epoch: u8,
    pub intent: Option<Stored>,
    /// What the resource is.
    pub value: u8,
    /// What the objects in Kubernetes want it to be.
    pub target: u8,
    pub calls: [Option<Call>; 3],
    pub processes: [Process; 2],
    /// A write to the API server whose process has given up waiting: it may still be applied, or never.
    pub late: Option<Message>,
    /// Faults that may still happen.
    pub left: Faults,
    pub ghost: Ghost,
}

/// How often each fault may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    pub crashes: u8,
    /// Answers lost, of the API server and of the resource.
    pub losses: u8,
    pub deletions: u8,
    pub stops: u8,
    /// Not a fault: the target is raised.
    pub raises: u8,
}

/// What no process knows, for the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    pub greatest_epoch: u8,
    pub lease_was_deleted: bool,
    /// The call of the open intent has had its effect, at this time.
    pub landed: Option<(u8, Tick)>,
    /// Since when the call of what is sent can have no effect any more.
    pub over: Option<Tick>,
    pub bad: Option<Bad>,
}

/// What must never happen at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    TakenFromSender,
    SentUnprepared,
    CloseLost,
    EffectLost,
    EffectAfterClose,
    DoneWithoutEffect,
    EpochWentBack,
    CallAfterDeadline,
    ValueFell,
}

/// The Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub holder: Option<u8>,
    pub version: u8,
    /// Written down by planted bugs only.
    pub renewed: Tick,
    /// Written down by planted bugs only.
    pub epoch: u8,
}

/// The intent's record with its version, which is also the name of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    pub record: Record,
    pub version: u8,
}

/// What the record says. Its times decide nothing: `Intents::over` goes by the reader's own clock, and from the end of
/// the term or two seconds at most to the start of the call, it takes the two seconds always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub epoch: u8,
    pub by: u8,
    pub state: State,
    pub target: u8,
}

/// A call to the resource that has started and has had no effect yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub id: u8,
    pub target: u8,
    /// Last moment of an effect.
    pub limit: Tick,
}

/// A write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    Lease { expected: Option<u8>, holder: Option<u8> },
    Epoch { expected: u8, next: u8 },
    Intent(Put),
}

/// A write of the intent: what is put in place of the version that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Put {
    pub expected: Option<u8>,
    pub record: Record,
    /// The look that it goes by, if it goes by one.
    pub look: Option<Look>,
}

/// What no process knows of its look at the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// It began before the end of the call.
    pub early: bool,
    /// It began after the effect of the call.
    pub shows_effect: bool,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub seat: Seat,
    /// Version of the Lease, 0 for a deleted one, and since when it is seen.
    pub seen: Option<(u8, Tick)>,
    pub term: Option<Term>,
    pub work: Work,
    pub known: Option<Known>,
}

/// A process that has just started, or is about to: one that does not run is one that takes no step.
pub const FRESH: Process = Process { seat: Seat::Look, seen: None, term: None, work: Work::Off, known: None };

/// Where a process is in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    Look,
    /// No Lease was found, and none was seen before.
    Absent,
    Take {
        expected: Option<u8>,
    },
    /// The Lease is taken and the epoch was read.
    Begin {
        until: Tick,
        expected: u8,
        next: u8,
    },
    Keep,
    Renew {
        expected: Option<u8>,
        again: bool,
    },
    /// The term has ended; the work is not over yet. `stop`: because the process is being stopped.
    Ending {
        stop: bool,
    },
    Release {
        stop: bool,
    },
    Releasing {
        expected: u8,
        stop: bool,
    },
}

/// One term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub epoch: u8,
    /// Known to planted bugs only: since when.
    pub began: Option<Tick>,
    pub until: Tick,
    pub ended: bool,
}

/// A record as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    pub stored: Stored,
    pub first_seen: Tick,
}

/// Where a process is in its work on the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    Off,
    Idle,
    Looking {
        looked: Tick,
    },
    Writing(Writing),
    /// The intent is prepared; what is still read before it is sent takes its time.
    Prepared,
    Ready {
        deadline: Tick,
    },
    Calling {
        id: u8,
        over: Tick,
    },
}

/// A write of the intent that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writing {
    pub ask: Ask,
    pub put: Put,
    pub last: bool,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// `judged`: the record that the judgement is of.
    Settle {
        judged: Record,
        done: bool,
        looked: Tick,
    },
    Prepare {
        target: u8,
    },
    Send {
        deadline: Tick,
    },
    Close {
        done: bool,
    },
}

impl World {
    /// Nothing has happened; the resource is at 0 and is to be at 1.
    pub fn new(left: Faults) -> Self {
        Self {
            lease: None,
            lease_version: STALE,
            epoch: 0,
            intent: None,
            value: 0,
            target: 1,
            calls: [None; 3],
            processes: [FRESH; 2],
            late: None,
            left,
            ghost: Ghost::default(),
        }
    }

    pub fn process(&mut self, me: u8) -> &mut Process {
        &mut self.processes[usize::from(me)]
    }

    pub fn peek(&self, me: u8) -> &Process {
        &self.processes[usize::from(me)]
    }

    /// `Term::check`.
    pub fn leads(&self, me: u8) -> bool {
        self.peek(me).term.is_some_and(|term| !term.ended && NOW < term.until)
    }

    /// `Term::check_close`: a process that is being stopped may still close what it began.
    pub fn closes(&self, me: u8) -> bool {
        let stopping = matches!(self.peek(me).seat, Seat::Ending { stop: true });
        self.leads(me) || stopping && self.peek(me).term.is_some_and(|term| NOW < term.until)
    }

    pub fn blame(&mut self, bad: Bad) {
        self.ghost.bad.get_or_insert(bad);
    }
}

impl Process {
    /// Whether a crash would make a difference.
    pub fn has_memory(&self) -> bool {
        Self { seen: None, ..*self } != FRESH || self.seen.is_some_and(|(version, _)| version != STALE)
    }
}
