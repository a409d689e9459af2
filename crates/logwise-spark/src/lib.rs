//! The Spark part: reads the master and what runs the workers, keeps as many workers as the load asks for, and the
//! driver running.
#![forbid(unsafe_code)]

mod apply;
mod context;
mod controller;
mod decide;
mod deployment;
mod driver;
#[cfg(test)]
mod fake;
mod hook;
mod judge;
mod master;
mod memory;
mod nearest;
mod owner;
mod pool;
mod protect;
mod raise;
mod ranking;
mod remove;
mod report;
mod signals;
mod told;

pub use context::Context;
pub use controller::run;
pub use driver::Drivers;
pub use master::{
    App, Cordon, DriverRow, Masters, NoActiveMaster, Page, SparkError, SubmissionState, WorkerMemory, http_client,
};
pub use memory::Memory;
