//! A second pair of eyes: what must hold for any plan, judged from policy, facts and plan alone. Shares no code with
//! the planners, so that both have to be wrong in the same way before a bad plan passes.

pub mod partitions;
pub mod retention;
mod retention_report;
pub mod workers;
