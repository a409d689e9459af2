//! Which driver a submission became whose answer was lost.

use super::{Active, Ended, Submit};
use std::collections::BTreeSet;

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This driver.
    Is(String),
    /// No driver, as far as the page says: it must have begun after the call was over.
    Never,
    /// One of these, or others were submitted beside it; they are adopted or killed as any other.
    Several(Vec<String>),
}

/// Which driver an unanswered submission became: the one active or ended id of our class that was not known before.
/// Start times decide nothing: they are by another clock.
pub fn answer_of(submit: &Submit, drivers: &[Active], done: &[Ended]) -> Answer {
    let active = drivers.iter().filter(|driver| driver.ours).map(|driver| &driver.id);
    let ids: BTreeSet<&String> = active.chain(done.iter().map(|ended| &ended.id)).collect();
    let mut new: Vec<String> = ids.into_iter().filter(|id| !submit.known.contains(*id)).cloned().collect();
    match (new.pop(), new.is_empty()) {
        (None, _) => Answer::Never,
        (Some(id), true) => Answer::Is(id),
        (Some(id), false) => {
            new.push(id);
            Answer::Several(new)
        }
    }
}
