//! One watch per kind, shared by all controllers, and how each of them runs on it.

use futures::{Stream, StreamExt};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;

/// Objects remembered; beyond that all are forgotten, which costs one look each.
const MAX_SEEN: usize = 100_000;

/// Lets an object through when its spec changed, when its deletion began or when it was re-created; not when only
/// its status changed, which would let our own writes wake us.
pub fn spec_changes<K: Resource>(objects: impl Stream<Item = Arc<K>>) -> impl Stream<Item = Arc<K>> {
    let mut seen: HashMap<String, (String, i64, bool)> = HashMap::new();
    objects.filter(move |object| {
        let key = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
        let meta = object.meta();
        let now = (
            meta.uid.clone().unwrap_or_default(),
            meta.generation.unwrap_or_default(),
            meta.deletion_timestamp.is_some(),
        );
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        ready(seen.insert(key, now.clone()) != Some(now))
    })
}

/// Runs `reconcile` for every object that `controller` hands out, until `shutdown`. It does not fail: what goes wrong it
/// reports itself.
pub async fn drive<K, C, F>(
    controller: Controller<K>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
    context: Arc<C>,
    reconcile: impl Fn(Arc<K>, Arc<C>) -> F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Action> + Send + 'static,
{
    let reconcile = |object, context| {
        let action = reconcile(object, context);
        async { Ok::<_, Infallible>(action.await) }
    };
    controller
        .graceful_shutdown_on(shutdown)
        .run(reconcile, |_, error, _| match *error {}, context)
        .for_each(|_| ready(()))
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[tokio::test]
    async fn only_changes_of_the_spec_pass() {
        let object = |uid: &str, generation: i64| {
            let mut object = ConfigMap::default();
            object.metadata.name = Some("a".into());
            object.metadata.uid = Some(uid.into());
            object.metadata.generation = Some(generation);
            Arc::new(object)
        };
        let stream =
            futures::stream::iter([object("u", 1), object("u", 1), object("u", 2), object("v", 2), object("v", 2)]);
        assert_eq!(spec_changes(stream).count().await, 3);
    }
}
