//! What a test may arrange at the fake master.

use std::time::Duration;

/// How the master and its workers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Cores of each worker.
    pub cores: u32,
    /// Memory of each worker, in MiB.
    pub memory_mib: u32,
    /// From the answer to a decommission until the master shows it.
    pub marking: Duration,
    /// From the call that kills a driver, or from its own failure, until it is over.
    pub ending: Duration,
    /// How long executors on a decommissioned worker go on.
    pub draining: Duration,
    /// How long the master takes a worker for alive whose machine is gone.
    pub silence: Duration,
    /// How long the master is recovering after it began anew.
    pub recovery: Duration,
    /// Whether there is a submission server.
    pub rest: bool,
    /// Of what is left to chance.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            cores: 2,
            memory_mib: 1_536,
            marking: Duration::from_millis(100),
            ending: Duration::from_millis(100),
            draining: Duration::ZERO,
            silence: Duration::ZERO,
            recovery: Duration::ZERO,
            rest: true,
            seed: 1,
        }
    }
}

/// Where the workers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One per instance of this group of the stand-in whose machine runs.
    Group(String),
    /// One per pod that is ready and not being deleted.
    Pods {
        /// Where they are.
        namespace: String,
        /// Their labels, such as `app=workers`.
        selector: String,
    },
    /// One on each address that the test has named: see [`super::FakeMaster::set_hosts`].
    Named,
}

/// How the master answers at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// As the active master.
    #[default]
    Alive,
    /// As one that stands by: it knows no workers, and refuses submissions.
    Standby,
    /// As one that has just begun: it knows its workers and drivers, and refuses submissions.
    Recovering,
    /// With a page of HTML, whatever it is asked, as a server of somebody else would.
    Html,
    /// Never.
    Hang,
    /// By closing the connection.
    Cut,
}

/// What a master that begins anew still knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Its workers and drivers, as with a recovery mode.
    Kept,
    /// Its workers only, as they come back by themselves; they end drivers that the master does not know.
    Lost,
}

/// When a waiting driver lands on a worker, which has to be alive and to have room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landing {
    /// As soon as there is room, on a worker chosen by chance.
    AtOnce,
    /// When the test says so: see [`super::FakeMaster::land`].
    Held,
    /// With this chance, in percent, after each page that the master has told, on a worker chosen by chance.
    Random {
        /// From 0 to 100.
        percent: u32,
    },
    /// Once, at a moment; from then on as [`Landing::Held`].
    Once {
        /// Which moment.
        moment: Moment,
        /// How many such moments pass first.
        after: u32,
        /// On this address; none: on the worker that is to be decommissioned, for a page on one chosen by chance.
        host: Option<String>,
    },
}

/// Something that is asked of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A page was told, which does not show the driver on its worker yet.
    Page,
    /// A decommission has arrived, and nothing was done yet.
    Cordon,
    /// A decommission was taken, and the worker is not marked yet.
    Mark,
}

/// How a driver ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its program has come to its end.
    Finished,
    /// Somebody killed it.
    Killed,
    /// Its program ended with an error.
    Failed,
    /// Its worker could not run it.
    Error,
}

impl End {
    /// The master's word for it.
    pub fn word(self) -> &'static str {
        match self {
            End::Finished => "FINISHED",
            End::Killed => "KILLED",
            End::Failed => "FAILED",
            End::Error => "ERROR",
        }
    }
}

/// How the next drivers end, soon after they have landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// So many of them.
    pub times: u32,
    /// How they end. A supervised driver that fails goes on, as its worker starts it again.
    pub end: End,
    /// What their workers report, such as `java.nio.file.NoSuchFileException: /no/such.jar`.
    pub exception: Option<String>,
}
