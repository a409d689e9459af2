//! Leader election over a Lease: one replica leads and writes, the others wait.

use crate::intent::Writer;
use crate::kubernetes::{CALL_DEADLINE, KubernetesError, Seat, within_time};
use crate::lease::{Lease, Seen, Step, step};
use crate::term::{NotLeading, Term};
use crate::{Metrics, chain, crash, epoch};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a waiting replica looks whether the Lease was released.
const FOLLOWER_LOOKS: Duration = Duration::from_millis(500);

/// Pause after a failed call about the Lease.
const RETRY: Duration = Duration::from_millis(500);

/// How it is decided who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// This is the only replica.
    Alone,
    /// Whoever holds the Lease leads for this long after each renewal.
    Lease(Duration),
}

/// Takes part in the election until the process stops.
pub struct Leadership {
    seat: Seat,
    election: Election,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    began: Instant,
    seen: Option<Seen>,
}

impl Leadership {
    /// Takes part from now on.
    pub fn new(seat: Seat, election: Election, metrics: Arc<Metrics>, stop: watch::Receiver<bool>) -> Self {
        Self { seat, election, metrics, stop, began: Instant::now(), seen: None }
    }

    /// Leads whenever it may, until the stop signal: `lead` works through one term and returns soon after its end.
    /// The Lease is released last.
    pub async fn run<F: Future<Output = ()>>(mut self, mut lead: impl FnMut(Arc<Term>) -> F) {
        while !*self.stop.borrow() {
            match self.seek().await {
                Ok(Some(term)) => self.serve(&Arc::new(term), &mut lead).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = chain(&error), "no leader election for now; it is tried again");
                    self.pause(RETRY).await;
                }
            }
        }
    }

    /// One try to begin a term.
    async fn seek(&mut self) -> Result<Option<Term>, KubernetesError> {
        match self.election {
            Election::Alone => Ok(Some(self.begin(None).await?)),
            Election::Lease(duration) => match self.take(duration).await? {
                Some(until) => Ok(self.begin_while_held(until, duration).await),
                None => Ok(None),
            },
        }
    }

    /// The Lease is ours: others wait for it, so one failed call must not cost all of it.
    async fn begin_while_held(&mut self, until: Instant, duration: Duration) -> Option<Term> {
        // What is left then suffices for the first renewal.
        let last = until.checked_sub(duration / 3).unwrap_or(until);
        while Instant::now() < last && !*self.stop.borrow() {
            match self.begin(Some(until)).await {
                Ok(term) => return Some(term),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the term cannot begin yet; it is tried again");
                    self.pause(RETRY.min(duration / 10)).await;
                }
            }
        }
        self.release().await;
        None
    }

    /// The first thing of a term is a number of its own.
    async fn begin(&self, until: Option<Instant>) -> Result<Term, KubernetesError> {
        let seen = crate::intents::greatest_epoch(&self.seat).await?;
        let epoch = epoch::raise(&self.seat, seen).await?;
        let Seat { shard, identity, .. } = &self.seat;
        let writer = Writer { epoch, shard: shard.clone(), identity: identity.clone() };
        Ok(Term::new(writer, until))
    }

    /// Looks at the Lease once and takes it if it is free; waits a while if it is not.
    async fn take(&mut self, duration: Duration) -> Result<Option<Instant>, KubernetesError> {
        let current = self.read(duration).await?;
        // In an installation that has had a leader, a missing Lease was deleted, and that leader may not know yet.
        if current.is_none() && self.seen.is_none() && !epoch::exists(&self.seat).await? {
            return self.write(None, duration, true).await;
        }
        let lease = self.look(current.as_ref(), duration);
        let Some(seen) = self.seen.clone() else { return Ok(None) };
        match step(&self.seat.identity, &lease, &seen, None, self.began.elapsed()) {
            Step::Take => self.write(current.as_ref(), duration, true).await,
            Step::Wait(rest) => {
                self.pause(rest.min(FOLLOWER_LOOKS)).await;
                Ok(None)
            }
            Step::Renew => Ok(None),
        }
    }

    /// A Lease that was there and has been deleted counts as held: its holder may not know yet.
    fn look(&mut self, object: Option<&Object>, duration: Duration) -> Lease {
        let lease = object.map_or_else(|| deleted(duration), |object| facts(object, duration));
        self.seen = Some(Seen::update(self.seen.take(), &lease, self.began.elapsed()));
        lease
    }

    async fn read(&self, duration: Duration) -> Result<Option<Object>, KubernetesError> {
        let api: Api<Object> = Api::namespaced(self.seat.client.clone(), &self.seat.namespace);
        within_time(deadline(duration), "reading the Lease", api.get_opt(&self.seat.lease_name())).await
    }

    /// Writes this replica into the Lease; says until when it leads, or nothing if somebody else was first.
    async fn write(
        &self,
        current: Option<&Object>,
        duration: Duration,
        takes: bool,
    ) -> Result<Option<Instant>, KubernetesError> {
        let api: Api<Object> = Api::namespaced(self.seat.client.clone(), &self.seat.namespace);
        let wanted = self.document(current, Some(duration), takes);
        let (asked, params) = (Instant::now(), PostParams::default());
        let name = self.seat.lease_name();
        let write = crash::begin(crash::System::Lease);
        let written = match current {
            Some(_) => within_time(deadline(duration), "writing the Lease", api.replace(&name, &params, &wanted)).await,
            None => within_time(deadline(duration), "creating the Lease", api.create(&params, &wanted)).await,
        };
        write.after();
        match written {
            // From when it was asked: the others count from when they see it, which is later.
            Ok(_) => Ok(Some(asked + duration)),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The Lease with this replica as holder for `duration`; without it, released.
    fn document(&self, current: Option<&Object>, duration: Option<Duration>, takes: bool) -> Object {
        let mut wanted = current.cloned().unwrap_or_default();
        wanted.metadata.managed_fields = None;
        wanted.metadata.name = Some(self.seat.lease_name());
        wanted.metadata.labels = Some(self.seat.labels("lease"));
        let spec = wanted.spec.get_or_insert_with(LeaseSpec::default);
        let now = MicroTime(Timestamp::now());
        spec.holder_identity = duration.map(|_| self.seat.identity.clone());
        if let Some(duration) = duration {
            spec.lease_duration_seconds = i32::try_from(duration.as_secs()).ok();
        }
        spec.renew_time = Some(now.clone());
        if takes {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        wanted
    }

    /// Works through one term, renewing the Lease meanwhile, until it is lost or the process stops.
    async fn serve<F: Future<Output = ()>>(&mut self, term: &Arc<Term>, lead: &mut impl FnMut(Arc<Term>) -> F) {
        let epoch = term.writer().epoch;
        tracing::info!(epoch, identity = %self.seat.identity, shard = %self.seat.shard, "leading");
        self.metrics.leading(true, epoch);
        let (work, metrics) = (lead(term.clone()), self.metrics.clone());
        tokio::join!(work, async {
            self.keep(term).await;
            metrics.leading(false, epoch);
        });
        // What was under way may have set a gauge once more.
        metrics.leading(false, epoch);
        if !*self.stop.borrow() {
            tracing::warn!(epoch, "no longer leading");
        }
        // Also of a term that was fenced off: nobody need wait for a Lease that nobody uses.
        self.release().await;
    }

    /// Ends the term when the process stops or the Lease is lost.
    async fn keep(&mut self, term: &Term) {
        let mut stop = self.stop.clone();
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let ended = term.ended();
        let why = match self.election {
            Election::Alone => tokio::select! {
                () = stopped => NotLeading::Stopping,
                () = ended => NotLeading::Over,
            },
            Election::Lease(duration) => tokio::select! {
                () = stopped => NotLeading::Stopping,
                () = self.renew(term, duration) => NotLeading::Over,
                () = ended => NotLeading::Over,
            },
        };
        term.end(why);
    }

    /// Renews until that fails for good.
    async fn renew(&mut self, term: &Term, duration: Duration) {
        // To begin the term has taken its time: the first renewal counts from when the Lease was taken.
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let mut pause = term.until().map_or(duration, left).saturating_sub(duration * 2 / 3);
        loop {
            tokio::time::sleep(pause).await;
            if term.check().is_err() {
                return;
            }
            pause = match self.renew_once(term, duration).await {
                Ok(Some(until)) => match term.extend(until) {
                    Ok(()) => duration / 3,
                    Err(_) => return,
                },
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the Lease was not renewed; it is tried again");
                    RETRY.min(duration / 10)
                }
            };
        }
    }

    /// One renewal; `None`: somebody else leads.
    async fn renew_once(&mut self, term: &Term, duration: Duration) -> Result<Option<Instant>, KubernetesError> {
        // One more try: the conflict may be with our own write whose answer was lost.
        for _ in 0..2 {
            let Some(object) = self.read(duration).await? else {
                // Deleted by a person: it is made again while the term lasts.
                if let Some(until) = self.write(None, duration, false).await? {
                    return Ok(Some(until));
                }
                continue;
            };
            let lease = self.look(Some(&object), duration);
            let until = term.until().map(|until| until.saturating_duration_since(self.began));
            let Some(seen) = self.seen.clone() else { return Ok(None) };
            match step(&self.seat.identity, &lease, &seen, until, self.began.elapsed()) {
                Step::Renew => {
                    if let Some(until) = self.write(Some(&object), duration, false).await? {
                        return Ok(Some(until));
                    }
                }
                Step::Take | Step::Wait(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Lets the next replica lead at once.
    async fn release(&mut self) {
        let Election::Lease(duration) = self.election else { return };
        let released = async {
            let Some(object) = self.read(duration).await? else { return Ok(()) };
            if facts(&object, duration).holder.as_deref() != Some(self.seat.identity.as_str()) {
                return Ok(());
            }
            let api: Api<Object> = Api::namespaced(self.seat.client.clone(), &self.seat.namespace);
            let wanted = self.document(Some(&object), None, false);
            let name = self.seat.lease_name();
            let write = crash::begin(crash::System::Lease);
            let params = PostParams::default();
            let replaced = api.replace(&name, &params, &wanted);
            let released = within_time(CALL_DEADLINE, "releasing the Lease", replaced).await;
            write.after();
            released.map(drop)
        };
        let released: Result<(), KubernetesError> = released.await;
        if let Err(error) = released {
            tracing::warn!(error = chain(&error), "the Lease was not released: it runs out by itself");
        }
    }

    async fn pause(&mut self, time: Duration) {
        let mut stop = self.stop.clone();
        let _ = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
    }
}

/// A slow answer must not eat the whole Lease.
fn deadline(duration: Duration) -> Duration {
    CALL_DEADLINE.min(duration / 3)
}

fn deleted(duration: Duration) -> Lease {
    Lease { holder: Some("unknown, the Lease was deleted".to_owned()), version: String::new(), duration }
}

/// The shortest duration that is believed is our own: all replicas are configured alike.
fn facts(object: &Object, least: Duration) -> Lease {
    let spec = object.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    let version = object.resource_version().unwrap_or_default();
    Lease { holder, version, duration: Duration::from_secs(seconds).max(least) }
}
