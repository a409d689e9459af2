//! One watch per kind. Everybody else reads its store or subscribes to it.

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{Stream, TryStreamExt};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;

/// How long one watch call lasts: a connection that died silently is noticed soon after.
const WATCH_SECONDS: u32 = 45;

/// A watch that has not begun.
pub struct Watch<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<DeserializeGuard<K>>,
    namespaces: Arc<BTreeSet<String>>,
    writer: Writer<K>,
    store: Store<K>,
    subscribers: Vec<UnboundedSender<Arc<K>>>,
}

impl<K> Watch<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// A watch over `namespaces`; none: all.
    pub fn new(client: Client, namespaces: &[String]) -> Self {
        let (store, writer) = reflector::store();
        let api = match namespaces {
            [only] => Api::namespaced(client, only),
            _ => Api::all(client),
        };
        let namespaces = Arc::new(namespaces.iter().cloned().collect());
        Self { api, namespaces, writer, store, subscribers: Vec::new() }
    }

    /// The objects as last seen.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Every object as it is seen, again after each new list. A queue of its own per subscriber: kube's shared handle
    /// can miss its wake-up when an object is gone before it is looked at. Controllers take at once and fold repeats,
    /// so the queue stays short.
    pub fn subscribe(&mut self) -> impl Stream<Item = Arc<K>> + Send + use<K> {
        let (sender, receiver) = unbounded();
        self.subscribers.push(sender);
        receiver
    }

    /// Runs the watch: what happened, object by object. Nothing moves unless this stream is polled.
    pub fn events(self) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> {
        let Self { api, namespaces, writer, store, subscribers } = self;
        watcher(api, watcher::Config::default().timeout(WATCH_SECONDS))
            .default_backoff()
            .try_filter_map(|event| ready(Ok(readable(event))))
            .try_filter(move |event| ready(concerns(event, &namespaces)))
            .map_ok(|event| {
                event.modify(|object| {
                    // Nobody here reads them and they are half of an object's size.
                    object.managed_fields_mut().clear();
                })
            })
            .reflect(writer)
            .inspect_ok(move |event| seen(event, &store).iter().for_each(|object| tell(&subscribers, object)))
    }
}

/// The event with its object in our own type. One object that cannot be read, such as one written under a newer
/// version of its definition, is named and left out; the others are served.
fn readable<K: Resource<DynamicType = ()>>(event: watcher::Event<DeserializeGuard<K>>) -> Option<watcher::Event<K>> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    Some(match event {
        Apply(object) => Apply(own(object)?),
        Delete(object) => Delete(own(object)?),
        InitApply(object) => InitApply(own(object)?),
        Init => Init,
        InitDone => InitDone,
    })
}

fn own<K: Resource<DynamicType = ()>>(object: DeserializeGuard<K>) -> Option<K> {
    match object.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            let (namespace, name) = (invalid.metadata.namespace.as_deref(), invalid.metadata.name.as_deref());
            tracing::error!(kind = %K::kind(&()), namespace, name, error = %invalid.error, "this object cannot be read and is not served");
            None
        }
    }
}

/// Objects to look at after `event`; the store shows it already.
fn seen<K: Resource<DynamicType = ()> + Clone>(event: &watcher::Event<K>, store: &Store<K>) -> Vec<Arc<K>> {
    match event {
        watcher::Event::Apply(object) => store.get(&ObjectRef::from_obj(object)).into_iter().collect(),
        watcher::Event::InitDone => store.state(),
        watcher::Event::Delete(_) | watcher::Event::Init | watcher::Event::InitApply(_) => Vec::new(),
    }
}

fn tell<K>(subscribers: &[UnboundedSender<Arc<K>>], object: &Arc<K>) {
    for subscriber in subscribers {
        // A subscriber that has ended is a controller that has stopped.
        let _ = subscriber.unbounded_send(object.clone());
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
