//! The driver of the streaming query: whether it runs, exactly once. Decided by `logwise_plan::driver`; here it is
//! observed, submitted, killed and reported.

mod apply;
mod earlier;
#[cfg(test)]
mod fake;
mod memory;
mod observe;
mod owner;
mod ready;
mod report;
#[cfg(test)]
mod respecified;
mod room;
pub(crate) mod submission;
mod targets;
#[cfg(test)]
mod tests;
mod unread;

pub(crate) use apply::{Told, carry_out};
pub use memory::Drivers;
pub(crate) use observe::{Found, observe, sooner};
pub(crate) use owner::{conflict_words, conflict_words_at, rival, rival_at};
pub(crate) use report::Look;

use crate::context::Context;
use crate::master::{NoActiveMaster, Page};
use kube::ResourceExt;
use logwise_api::LogwiseCluster;
use logwise_api::validate::MasterAddress;
use std::sync::Arc;

/// State of a driver that a worker runs, in the master's words.
const RUNNING: &str = "RUNNING";

/// What a look at the driver starts from.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// The object.
    pub cluster: &'a LogwiseCluster,
    /// What the controller works with.
    pub context: &'a Context,
    /// Where the Spark masters listen.
    pub masters: &'a [MasterAddress],
    /// What the active one says, by this look.
    pub page: &'a Result<Arc<Page>, NoActiveMaster>,
    /// Records that the query has not read, if that is known now.
    pub backlog: Option<i64>,
}

impl Around<'_> {
    /// Uid of the object.
    fn uid(&self) -> String {
        self.cluster.uid().unwrap_or_default()
    }
}
