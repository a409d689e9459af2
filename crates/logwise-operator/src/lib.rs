//! The Logwise operator: configuration, wiring, health and metrics.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
mod controllers;
mod http;
mod import;
mod logging;
mod mirror;
mod namespaces;
mod preflight;
mod run;
mod samples;
mod summary;
mod verdict;
pub mod watch;

pub use import::{ImportError, Imported, import};
pub use run::{RunError, run};
