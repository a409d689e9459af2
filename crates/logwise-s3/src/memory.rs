//! What this process remembers of the writes to each bucket. All of it may be lost: records tell what matters.

use crate::tried::Tried;
use crate::watch::Watches;
use crate::witness::Witness;

/// What this process remembers of the writes to each bucket.
#[derive(Debug, Default)]
pub struct Memory {
    /// Writes that did not come out as wanted.
    pub(crate) tried: Tried,
    /// What was read since the last write.
    pub(crate) watches: Watches,
    /// Rules of others that were read since the last write.
    pub(crate) witness: Witness,
}

impl Memory {
    /// Drops what is remembered of a bucket that nobody declares any more.
    pub(crate) fn forget(&self, bucket: &str) {
        self.tried.succeeded(bucket);
        self.watches.end(bucket);
        self.witness.forget(bucket);
    }
}
