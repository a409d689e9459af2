//! Labels of namespaces, for grants that select by them.

use crate::cli::Config;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use logwise_plan::Known;
use logwise_plan::grants::METADATA_NAME;
use std::collections::BTreeMap;

/// How a namespace's labels are told. They are watched only if a grant selects by one that the API server does not set
/// itself.
pub(crate) fn labels(
    config: &Config,
    client: &Client,
) -> impl Fn(&str) -> Known<BTreeMap<String, String>> + Send + Sync + 'static {
    let selectors = config.grants.entries.iter().filter_map(|grant| grant.namespace_selector.as_ref());
    let by_labels = selectors.flat_map(|selector| selector.match_labels.keys()).any(|key| key != METADATA_NAME);
    let store = by_labels.then(|| watch(client.clone()));
    move |namespace| match &store {
        None => Known::Known(BTreeMap::from([(METADATA_NAME.to_owned(), namespace.to_owned())])),
        Some(store) => match store.get(&ObjectRef::new(namespace)) {
            Some(found) => Known::Known(found.labels().clone()),
            None => Known::Unknown(
                "the namespace has not been seen; the operator needs list and watch on namespaces".to_owned(),
            ),
        },
    }
}

fn watch(client: Client) -> Store<PartialObjectMeta<Namespace>> {
    let (store, writer) = reflector::store();
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let events = watcher(namespaces, watcher::Config::default().timeout(45)).default_backoff().reflect(writer);
    tokio::spawn(events.for_each(|event| {
        if let Err(error) = event {
            tracing::warn!(error = &error as &dyn std::error::Error, "the watch of namespaces failed; it starts again");
        }
        std::future::ready(())
    }));
    store
}
