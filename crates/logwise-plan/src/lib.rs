//! Decisions of the Logwise operator: what to change, what to leave alone and why.
//!
//! Every module has one `plan(&Policy, &Observed, Timestamp) -> Plan`. It is total, synchronous and free of I/O,
//! clocks and randomness: equal arguments give equal plans. A plan holds actions with absolute targets and the state
//! they assume, holds (why a subject was left alone) and the time until the next look is due.
//!
//! What could not be read is [`Known::Unknown`], never zero and never absent; unknown facts cause no action.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod address;
pub mod behavior;
pub mod change;
pub mod checks;
pub mod driver;
pub mod endpoint;
pub mod grants;
mod known;
pub mod partitions;
pub mod retention;
pub mod selector;
mod window;
pub mod workers;

pub use known::Known;
