//! One change on its way: written down, sent, closed.

use crate::chain;
use crate::intent::{Ended, Ending, Intent, Request};
use crate::intents::{IntentError, Intents};
use crate::record::SEND_WITHIN;
use crate::term::{Permit, Sending};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;

/// A wish that is written down and of which nothing has been sent. Dropped, it stays so until the next wish.
pub struct Prepared {
    intents: Arc<Intents>,
    resource: String,
    turn: OwnedMutexGuard<()>,
    spent: i64,
    id: Option<String>,
}

impl Prepared {
    pub(crate) fn new(intents: Arc<Intents>, resource: &str, turn: OwnedMutexGuard<()>, intent: &Intent) -> Self {
        let (spent, id) = (intent.spent_at(intent.written), intent.id());
        Self { intents, resource: resource.to_owned(), turn, spent, id }
    }

    /// What was spent on this resource within the last 24 hours, by whomever, before this intent.
    pub const fn spent(&self) -> i64 {
        self.spent
    }

    /// What tells this intent from all others.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Says that the call is made now; it takes at most `call_timeout` once it has started.
    ///
    /// # Errors
    /// [`IntentError`]: the call must not be made.
    pub async fn send(self, call_timeout: Duration) -> Result<Sent, IntentError> {
        self.send_within(SEND_WITHIN, call_timeout).await
    }

    /// The same where something is read between this and the call: it starts within `most`, or not at all.
    ///
    /// # Errors
    /// [`IntentError`]: the call must not be made.
    pub async fn send_within(self, most: Duration, call_timeout: Duration) -> Result<Sent, IntentError> {
        let window = self.intents.term().window(most)?;
        let deadline = Instant::now() + window;
        let call_timeout_seconds = u32::try_from(call_timeout.as_secs()).unwrap_or(u32::MAX);
        // By the clock at each try: it may jump between two of them.
        let before = || {
            let window = deadline.saturating_duration_since(Instant::now());
            Timestamp::now().saturating_add(window).unwrap_or(Timestamp::MAX)
        };
        self.intents.write(&self.resource, |_| Request::Send { before: before(), call_timeout_seconds }).await?;
        let _sending = self.intents.term().sending();
        Ok(Sent { intents: self.intents, resource: self.resource, _turn: self.turn, _sending, deadline, id: self.id })
    }

    /// Says that nothing is going to be sent.
    pub async fn abandon(self, ending: Ending) {
        close(&self.intents, &self.resource, &ending.into()).await;
    }
}

/// An intent whose call is being made. Dropped, it stays open: the next look at the resource judges its effect.
pub struct Sent {
    intents: Arc<Intents>,
    resource: String,
    _turn: OwnedMutexGuard<()>,
    _sending: Sending,
    deadline: Instant,
    id: Option<String>,
}

impl Sent {
    /// What tells whether the call may start now.
    pub fn permit(&self) -> Permit {
        self.intents.term().permit(self.deadline)
    }

    /// The call was answered. The intent stays open; looks that begin from now on may judge it.
    pub fn answered(self) {
        self.intents.answered(&self.resource);
    }

    /// The call was answered with yes, and its effect is not seen yet: that is written down, so that nobody takes the call
    /// for one without effect. The intent stays open; looks that begin from now on may judge it.
    pub async fn taken(self) {
        if let Err(error) = self.intents.write(&self.resource, |_| Request::Answer).await {
            let (resource, error) = (&self.resource, chain(&error));
            tracing::warn!(%resource, error, "that the call was answered was not written down");
        }
        self.intents.answered(&self.resource);
    }

    /// The call is over and its effect was read. Says whether that could be written down; if not, the intent stays open.
    pub async fn close(self, ended: impl Into<Ended>) -> bool {
        close(&self.intents, &self.resource, &ended.into()).await
            // Another shard has judged it already, or the answer was lost.
            || self.intents.closed_as(&self.resource, self.id).is_some()
    }
}

async fn close(intents: &Intents, resource: &str, ended: &Ended) -> bool {
    let written = intents.write(resource, |_| Request::Close(ended.clone())).await;
    if let Err(error) = &written {
        tracing::warn!(%resource, error = chain(error), "the intent stays open; the next look closes it");
    }
    written.is_ok()
}
