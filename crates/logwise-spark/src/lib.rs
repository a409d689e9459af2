//! The Spark part: reads the master and the workers' group, and raises the group to the size that is wanted.
#![forbid(unsafe_code)]

mod controller;
mod master;
mod owner;
mod raise;
mod report;

pub use controller::{Context, run};
pub use master::{Master, NoActiveMaster, http_client, look};
