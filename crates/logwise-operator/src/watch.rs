//! One watch per kind, for as long as the process lives. Everybody else reads its store or follows it.

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{Stream, StreamExt, TryStreamExt};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use logwise_runtime::kubernetes::retry_after;
use logwise_runtime::{Backoff, ObjectKey, Unreadable, chain, words};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::ready;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long one watch call lasts.
const WATCH_SECONDS: u32 = 30;

/// How long nothing may come over a connection. Longer than a watch call lasts, so that quiet watches are not cut; one
/// that died silently is noticed then.
pub(crate) const IDLE: Duration = Duration::from_secs(35);

/// How long a watch goes on from its first list: then it begins anew with another, so that what a watch has lost, by
/// whatever defect, is not lost for ever.
const RESYNC: Duration = Duration::from_secs(600);

/// First and longest pause before a watch that failed begins again: short, so that an API server that comes back is seen
/// soon, however long it was away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Length of the text that says why an object cannot be read.
const MAX_WHY: usize = 256;

/// How all watches begin and go on.
pub(crate) fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// Pauses of one watch, spread, so that replicas do not come back at once.
pub(crate) struct Pauses(Backoff);

impl Default for Pauses {
    fn default() -> Self {
        Self(Backoff::new(PAUSES.0, PAUSES.1))
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.failed("", 0))
    }
}

impl kube::runtime::utils::Backoff for Pauses {
    fn reset(&mut self) {
        self.0.succeeded("");
    }
}

/// Waits for as long as the API server has asked with this failure of a watch.
pub(crate) async fn as_asked(error: &watcher::Error) {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    if let InitialListFailed(source) | WatchStartFailed(source) | WatchFailed(source) = error
        && let Some(wait) = retry_after(source)
    {
        tokio::time::sleep(wait).await;
    }
}

/// Which objects are looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// Labels; none: all.
    pub selector: Option<String>,
}

/// What happened to an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It is so now; again after each new list.
    Now(Arc<K>),
    /// It is gone; its last state.
    Gone(Arc<K>),
    /// The store is complete: what it does not hold does not exist.
    Listed,
}

/// The watch of one kind.
pub struct Watch<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    followers: Mutex<Followers<K>>,
    unreadable: Unreadable,
}

struct Followers<K> {
    listed: bool,
    queues: Vec<UnboundedSender<Change<K>>>,
}

/// Keeps a [`Watch`] going.
pub struct Driver<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<DeserializeGuard<K>>,
    scope: Scope,
    writer: Writer<K>,
    watch: Arc<Watch<K>>,
}

/// A watch over `scope`, and what keeps it going.
pub fn watch<K>(client: Client, scope: &Scope) -> (Arc<Watch<K>>, Driver<K>)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let api = match scope.namespaces.as_slice() {
        [only] => Api::namespaced(client, only),
        _ => Api::all(client),
    };
    let followers = Mutex::new(Followers { listed: false, queues: Vec::new() });
    let watch = Arc::new(Watch { store, followers, unreadable: Unreadable::default() });
    (watch.clone(), Driver { api, scope: scope.clone(), writer, watch })
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    /// The objects as last seen.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Objects that exist and are not served, or as last read, since they cannot be read.
    pub fn unreadable(&self) -> Unreadable {
        self.unreadable.clone()
    }

    /// Everything that is there and everything that happens from now on. A queue of its own per follower: kube's shared
    /// handle can miss its wake-up when an object is gone before it is looked at. Controllers take at once and fold
    /// repeats, so the queue stays short; one that nobody reads any more is dropped.
    pub fn follow(&self) -> impl Stream<Item = Change<K>> + Send + use<K> {
        let (sender, receiver) = unbounded();
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if followers.listed {
            for object in self.store.state() {
                // The receiver is right here.
                let _ = sender.unbounded_send(Change::Now(object));
            }
            let _ = sender.unbounded_send(Change::Listed);
        }
        followers.queues.push(sender);
        receiver
    }

    /// [`Self::follow`], objects that exist only.
    pub fn objects(&self) -> impl Stream<Item = Arc<K>> + Send + use<K> {
        self.follow().filter_map(|change| {
            ready(match change {
                Change::Now(object) => Some(object),
                Change::Gone(_) | Change::Listed => None,
            })
        })
    }

    /// The event with its object in our own type. One object that cannot be read, such as one written under a newer
    /// version of its definition, is named, and the others are served. The store shows it as it was read last, if it was,
    /// so that nobody takes it for deleted; no look is made at it.
    fn readable(&self, event: watcher::Event<DeserializeGuard<K>>) -> Option<watcher::Event<K>> {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        Some(match event {
            Apply(object) => Apply(self.read(object)?),
            Delete(object) => {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                let uid = object.uid().unwrap_or_default();
                let last = object.0.or_else(|_| self.last(&namespace, &name, &uid).ok_or(()));
                self.unreadable.mended(&namespace, &name);
                if last.is_err() {
                    // The store never had it.
                    self.unreadable.shown();
                }
                Delete(last.ok()?)
            }
            InitApply(object) => InitApply(self.read(object)?),
            Init => {
                self.unreadable.list_begins();
                Init
            }
            InitDone => InitDone,
        })
    }

    fn read(&self, object: DeserializeGuard<K>) -> Option<K> {
        let key = ObjectKey::of(&object);
        match object.0 {
            Ok(object) => {
                self.unreadable.mended(&key.namespace, &key.name);
                Some(object)
            }
            Err(invalid) => {
                let (kind, namespace, name) = (K::kind(&()), key.namespace.clone(), key.name.clone());
                tracing::error!(%kind, namespace, name, error = %invalid.error, "this object cannot be read and is not served");
                let uid = key.uid.clone();
                self.unreadable.insert(key, words::cut(&invalid.error.to_string(), MAX_WHY));
                self.last(&namespace, &name, &uid)
            }
        }
    }

    /// The object as last read, and not another one of its name.
    fn last(&self, namespace: &str, name: &str, uid: &str) -> Option<K> {
        let last = self.store.get(&ObjectRef::new(name).within(namespace));
        last.filter(|last| last.uid().as_deref() == Some(uid)).map(|last| last.as_ref().clone())
    }

    /// Tells the followers what `event` changed; the store shows it already.
    fn seen(&self, event: &watcher::Event<K>) {
        match event {
            // Of an object that a list shows, the store knows when the list is complete.
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
            watcher::Event::InitDone => {
                self.unreadable.list_ends();
                self.unreadable.shown();
            }
            watcher::Event::Apply(_) | watcher::Event::Delete(_) => self.unreadable.shown(),
        }
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Apply(object) => {
                if let Some(object) = self.store.get(&ObjectRef::from_obj(object)) {
                    followers.tell(|| Change::Now(object.clone()));
                }
            }
            watcher::Event::Delete(object) => {
                let last = Arc::new(object.clone());
                followers.tell(|| Change::Gone(last.clone()));
            }
            watcher::Event::InitDone => {
                followers.listed = true;
                for object in self.store.state() {
                    followers.tell(|| Change::Now(object.clone()));
                }
                followers.tell(|| Change::Listed);
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
    }
}

impl<K> Followers<K> {
    fn tell(&mut self, change: impl Fn() -> Change<K>) {
        self.queues.retain(|queue| queue.unbounded_send(change()).is_ok());
    }
}

impl<K> Driver<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Runs the watch. Nothing moves unless this is polled; it does not end by itself.
    pub async fn run(self) {
        let Self { api, scope, writer, watch } = self;
        let mut config = config();
        if let Some(selector) = &scope.selector {
            config = config.labels(selector);
        }
        let namespaces: BTreeSet<String> = scope.namespaces.into_iter().collect();
        let reading = watch.clone();
        let anew = move || {
            let one = watcher(api.clone(), config.clone()).backoff(Pauses::default());
            one.take_until(tokio::time::sleep(RESYNC))
        };
        let events = futures::stream::repeat_with(anew)
            .flatten()
            .try_filter(move |event| ready(concerns(event, &namespaces)))
            .try_filter_map(move |event| ready(Ok(reading.readable(event))))
            .map_ok(|event| {
                event.modify(|object| {
                    // Nobody here reads them and they are half of an object's size.
                    object.managed_fields_mut().clear();
                })
            })
            .reflect(writer);
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => watch.seen(&event),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), error = chain(&error), "the watch failed; it starts again");
                    as_asked(&error).await;
                }
            }
        }
    }
}

fn concerns<K: Resource>(event: &watcher::Event<K>, namespaces: &BTreeSet<String>) -> bool {
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) | watcher::Event::InitApply(object) => {
            namespaces.is_empty() || object.meta().namespace.as_ref().is_some_and(|of| namespaces.contains(of))
        }
        watcher::Event::Init | watcher::Event::InitDone => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_died_silently_is_noticed_and_replaced_within_a_minute() {
        let longest = Pauses::default().map(|pause| pause.as_millis()).take(50).max();
        assert!(longest <= Some(12_000), "{longest:?}");
        assert!(Duration::from_secs(WATCH_SECONDS.into()) < IDLE, "quiet watches would be cut");
        assert!(IDLE + PAUSES.1 + PAUSES.1 < Duration::from_secs(60));
    }
}
