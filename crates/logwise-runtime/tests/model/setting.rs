//! What a run of the model takes for granted, and the bugs that can be planted.

use crate::world::{Faults, Tick};

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How long a Lease lasts.
    pub lease: Tick,
    /// A call starts at most this long after its intent was asked to be sent: `SEND_WITHIN` of `src/intents.rs`.
    pub send: Tick,
    /// Longest time a call takes.
    pub call: Tick,
    pub faults: Faults,
    /// Calls may have their effect at any later time, and the resource takes no value below the one it has.
    pub late_calls: bool,
    /// Nobody holds a Lease: both believe that they are the only one.
    pub alone: bool,
    /// Each process is of a shard of its own.
    pub shards: bool,
    /// How wrong the wall clocks are, in seconds.
    pub skew: [i64; 2],
    pub bug: Option<Bug>,
    /// Of how many states one is drained.
    pub drain_one_of: u64,
}

/// A mistake that the properties have to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The intent is written whatever its version is.
    NoCompareAndSwap,
    /// An open intent is judged without waiting for the end of its call.
    SettleAtOnce,
    /// A look counts as if it had begun when its judgement is written.
    OldLook,
    /// The Lease is taken when the holder's wall clock time is over on one's own.
    WallClock,
    /// Its own name in the Lease makes a process lead.
    OwnName,
    /// The epoch is kept in the Lease.
    EpochInLease,
    /// Anybody may close what another has sent.
    ForeignClose,
    /// A call starts without a look at the deadlines.
    NoDeadline,
    /// What was planned by an earlier look is sent without another one.
    NoSecondLook,
    /// An epoch of an earlier term is no reason to refuse.
    NoFence,
    /// A Lease shortens the wait for the end of what an earlier term has sent, as if nobody could delete it. The model
    /// found this one in the code.
    FenceTrusted,
    /// A term that a later one has fenced off goes on. The model found this one in the code.
    FencedStays,
    /// A judgement of one record is written to the one that has taken its place. The model found this one in the code.
    StaleJudgement,
}

impl Setting {
    pub const fn has(&self, bug: Bug) -> bool {
        match self.bug {
            Some(planted) => planted as u8 == bug as u8,
            None => false,
        }
    }
}
