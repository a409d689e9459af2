//! One watch per kind. Everybody else reads its store or subscribes to it.

use futures::{Stream, TryStreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ReflectHandle, Store, store::Writer, store_shared};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;

/// Events a subscriber may lag behind before the watch waits for it.
const BUFFER: usize = 1_024;

/// A watch that has not begun.
pub struct Watch<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<K>,
    namespaces: Arc<BTreeSet<String>>,
    writer: Writer<K>,
    store: Store<K>,
}

impl<K> Watch<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// A watch over `namespaces`; none: all.
    pub fn new(client: Client, namespaces: &[String]) -> Self {
        let (store, writer) = store_shared(BUFFER);
        let api = match namespaces {
            [only] => Api::namespaced(client, only),
            _ => Api::all(client),
        };
        Self { api, namespaces: Arc::new(namespaces.iter().cloned().collect()), writer, store }
    }

    /// The objects as last seen.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Every object as it is seen; to be called before [`Watch::events`].
    pub fn subscribe(&self) -> ReflectHandle<K> {
        self.writer.subscribe().expect("the writer was made by store_shared, which always gives handles")
    }

    /// Runs the watch: what happened, object by object. Nothing moves unless this stream is polled.
    pub fn events(self) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> {
        let namespaces = self.namespaces;
        watcher(self.api, watcher::Config::default())
            .default_backoff()
            .try_filter(move |event| ready(concerns(event, &namespaces)))
            .map_ok(|event| {
                event.modify(|object| {
                    // Nobody here reads them and they are half of an object's size.
                    object.managed_fields_mut().clear();
                })
            })
            .reflect_shared(self.writer)
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
