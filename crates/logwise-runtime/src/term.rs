//! A term: the time during which this process may change things.

use crate::crash;
use crate::intent::Writer;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Why a call that changes something may not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLeading {
    /// The Lease could not be renewed in time, or somebody else holds it.
    #[error("this replica no longer leads")]
    Over,
    /// The process is being stopped.
    #[error("the operator is stopping")]
    Stopping,
    /// The call did not start within its own time; the term goes on.
    #[error("the time within which the call was to start was over")]
    Late,
}

/// One term of leading. It ends when its Lease runs out, whether or not anybody notices, or when it is ended.
#[derive(Debug)]
pub struct Term {
    writer: Writer,
    until: Mutex<Option<Instant>>,
    ended: watch::Sender<Option<NotLeading>>,
    sending: watch::Sender<usize>,
}

/// A call that changes something is under way, until this is dropped.
#[derive(Debug)]
pub struct Sending(watch::Sender<usize>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

/// Lets the call of an intent start for as long as its record says. It goes down with the call, so that it is asked where
/// the bytes leave: what comes before (a login, a signature, a process that stood still) may take longer than that.
#[derive(Clone, Debug)]
pub struct Permit {
    term: Arc<Term>,
    deadline: Instant,
}

impl Permit {
    /// Whether the call may start now; to be asked right before it is sent.
    ///
    /// # Errors
    /// [`NotLeading`]: it must not be made any more.
    pub fn check(&self) -> Result<(), NotLeading> {
        self.term.check()?;
        if Instant::now() < self.deadline { Ok(()) } else { Err(NotLeading::Late) }
    }
}

impl Term {
    /// A term that ends at `until`; without it, only when it is ended.
    pub fn new(writer: Writer, until: Option<Instant>) -> Self {
        let (ended, sending) = (watch::Sender::new(None), watch::Sender::new(0));
        Self { writer, until: Mutex::new(until), ended, sending }
    }

    /// A term without a Lease, for tests and tools.
    pub fn alone(epoch: i64) -> Self {
        let writer = Writer { epoch, shard: String::new(), identity: format!("alone-{epoch}") };
        Self::new(writer, None)
    }

    /// Who writes in this term.
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether a call that changes something may start now. To be asked right before the request.
    ///
    /// # Errors
    /// [`NotLeading`]: the call must not be made.
    pub fn check(&self) -> Result<(), NotLeading> {
        if let Some(why) = *self.ended.borrow() {
            return Err(why);
        }
        self.check_time()
    }

    /// Whether what was begun may still be written down as over: a process that is being stopped may, for as long as its
    /// Lease lasts, because it releases that last.
    ///
    /// # Errors
    /// [`NotLeading`]: somebody else may lead.
    pub fn check_close(&self) -> Result<(), NotLeading> {
        match self.check() {
            Err(NotLeading::Stopping) => self.check_time(),
            checked => checked,
        }
    }

    /// Once it has run out it is over for good: a late renewal would revive it for those alone who have not asked.
    fn check_time(&self) -> Result<(), NotLeading> {
        match self.until() {
            Some(until) if Instant::now() >= until => {
                self.end(NotLeading::Over);
                Err(NotLeading::Over)
            }
            _ => Ok(()),
        }
    }

    /// How long from now a call may still start, at most `most`.
    ///
    /// # Errors
    /// [`NotLeading`]: no call may start.
    pub fn window(&self, most: Duration) -> Result<Duration, NotLeading> {
        self.check()?;
        Ok(self.until().map_or(most, |until| until.saturating_duration_since(Instant::now()).min(most)))
    }

    /// The Lease was renewed: the term lasts until then. One that has run out meanwhile stays over: looks have ended
    /// because of it.
    ///
    /// # Errors
    /// [`NotLeading`]: it is over.
    pub fn extend(&self, until: Instant) -> Result<(), NotLeading> {
        self.check_time()?;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        Ok(())
    }

    /// The Lease's own deadline, if there is a Lease.
    pub fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the term now. The first reason stays.
    pub fn end(&self, why: NotLeading) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        });
        if why == NotLeading::Stopping {
            crash::stopping();
        }
    }

    /// Waits until the term is ended.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut ended = self.ended.subscribe();
        async move {
            // A dropped term has ended too.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    /// Lets one call start in this term until `deadline`.
    pub fn permit(self: &Arc<Self>, deadline: Instant) -> Permit {
        Permit { term: Arc::clone(self), deadline }
    }

    /// Notes that a call that changes something is about to start.
    pub fn sending(&self) -> Sending {
        self.sending.send_modify(|calls| *calls += 1);
        Sending(self.sending.clone())
    }

    /// Waits until the term is ended and no call that changes something is under way.
    pub fn idle(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let (ended, mut sending) = (self.ended(), self.sending.subscribe());
        async move {
            ended.await;
            let _ = sending.wait_for(|calls| *calls == 0).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_term_is_idle_when_it_has_ended_and_nothing_is_being_sent() {
        let term = Term::alone(1);
        let mut idle = term.idle().boxed();
        assert!((&mut idle).now_or_never().is_none());
        let (first, second) = (term.sending(), term.sending());
        term.end(NotLeading::Stopping);
        assert!((&mut idle).now_or_never().is_none());
        drop(first);
        assert!((&mut idle).now_or_never().is_none());
        drop(second);
        idle.await;
        term.idle().await;
    }

    /// A term that lasts for as long from now.
    fn lasting(time: Duration) -> Term {
        Term::new(Term::alone(1).writer().clone(), Some(Instant::now() + time))
    }

    #[test]
    fn a_term_ends_by_itself_at_its_deadline_and_a_late_renewal_does_not_revive_it() {
        let term = lasting(Duration::from_secs(60));
        assert_eq!(term.window(Duration::from_secs(1)), Ok(Duration::from_secs(1)));
        assert!(term.window(Duration::from_secs(90)).unwrap() <= Duration::from_secs(60));
        assert_eq!(term.extend(Instant::now() + Duration::from_secs(90)), Ok(()));
        assert!(term.window(Duration::from_secs(90)).unwrap() > Duration::from_secs(60));
        assert_eq!(term.extend(Instant::now()), Ok(()));
        assert_eq!((term.check(), term.window(Duration::from_secs(1))), (Err(NotLeading::Over), Err(NotLeading::Over)));
        let ended = term.ended();
        assert_eq!(term.extend(Instant::now() + Duration::from_secs(60)), Err(NotLeading::Over));
        assert_eq!(term.check(), Err(NotLeading::Over));
        assert!(ended.now_or_never().is_some(), "nobody works on in a term that was over");
    }

    #[test]
    fn a_permit_ends_with_its_deadline_and_with_its_term() {
        let term = Arc::new(lasting(Duration::from_secs(60)));
        let permit = |seconds| term.permit(Instant::now() + Duration::from_secs(seconds));
        let (late, good) = (permit(0), permit(30));
        assert_eq!((late.check(), good.check()), (Err(NotLeading::Late), Ok(())));
        assert_eq!(term.check(), Ok(()), "a call that came too late ends no term");
        assert_eq!(term.extend(Instant::now()), Ok(()));
        assert_eq!(good.check(), Err(NotLeading::Over));
        let stopping = Arc::new(lasting(Duration::from_secs(60)));
        let good = stopping.permit(Instant::now() + Duration::from_secs(30));
        stopping.end(NotLeading::Stopping);
        assert_eq!(good.check(), Err(NotLeading::Stopping));
    }

    #[tokio::test]
    async fn an_ended_term_stays_ended_for_its_first_reason() {
        let term = lasting(Duration::from_secs(60));
        let ended = term.ended();
        term.end(NotLeading::Stopping);
        term.end(NotLeading::Over);
        ended.await;
        term.ended().await;
        assert_eq!(term.extend(Instant::now() + Duration::from_secs(90)), Ok(()));
        assert_eq!(term.check(), Err(NotLeading::Stopping));
    }

    #[test]
    fn a_stopping_process_may_close_while_its_lease_lasts_and_one_that_lost_it_may_not() {
        let stopping = lasting(Duration::from_secs(60));
        stopping.end(NotLeading::Stopping);
        assert_eq!((stopping.check(), stopping.check_close()), (Err(NotLeading::Stopping), Ok(())));
        assert_eq!(stopping.extend(Instant::now()), Ok(()));
        assert_eq!(stopping.check_close(), Err(NotLeading::Over));
        let over = Term::alone(1);
        over.end(NotLeading::Over);
        assert_eq!(over.check_close(), Err(NotLeading::Over));
    }
}
