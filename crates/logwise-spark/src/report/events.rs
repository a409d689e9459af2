//! What happened to the workers and the driver.

use super::{Look, Workers};
use crate::told::{Outcome, Told, What};
use logwise_plan::workers::{Raise, Removal};
use logwise_runtime::EventDraft;

impl Look<'_> {
    pub(super) fn events(&self) -> Vec<EventDraft> {
        let of_workers = self.workers.iter().flat_map(|workers| workers.events());
        let of_driver = self.driver.iter().flat_map(|driver| driver.events());
        of_workers.chain(of_driver).collect()
    }
}

impl Workers<'_> {
    fn events(&self) -> Vec<EventDraft> {
        self.told.iter().filter_map(|told| self.event(told)).collect()
    }

    /// The next look decides again about what did not come about; a failure shows in the condition.
    fn event(&self, Told { what, outcome }: &Told) -> Option<EventDraft> {
        if !matches!(outcome, Ok(Outcome::Done)) {
            return None;
        }
        let pool = self.place.words();
        let (reason, note) = match what {
            What::Raise(Raise { from, to, .. }) => {
                ("WorkersScaledOut", format!("{pool} raised from {from} to {to} workers"))
            }
            What::Remove(Removal { id, from, to, .. }) => {
                ("WorkersScaledIn", format!("{id} of {pool} is ended: from {from} to {to} workers"))
            }
            What::Cordon(Removal { id, host: Some(host), .. }) => {
                ("WorkerCordoned", format!("The worker on {host} ({id}) takes no new executors and drivers"))
            }
            _ => return None,
        };
        Some(EventDraft { warning: false, reason, action: "ScaleWorkers", note })
    }
}
