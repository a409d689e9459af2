//! Who owns an outside thing that several objects name.

use crate::chain;
use crate::intent::Owner;
use crate::intents::Intents;
use crate::kubernetes::{KubernetesError, within};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// `namespace/name` of the object that owns what `contends` accepts, if it is not `object`: the first of those on record,
/// else the oldest in `store`, then the first by name. Age decides only the first claim, since a restore from a backup
/// turns ages around. One that is being deleted owns nothing any more.
///
/// The one on record may belong to another shard, or to a namespace that is not served any more: it is then asked for, and
/// stays the owner if that fails.
pub async fn other_owner<K>(
    intents: &Intents,
    (object, store): (&K, &Store<K>),
    recorded: impl IntoIterator<Item = Owner>,
    contends: impl Fn(&K) -> bool,
) -> Option<String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
{
    let recorded: Vec<Owner> = recorded.into_iter().collect();
    for recorded in &recorded {
        match store.get(&reference(recorded)) {
            Some(known) if stays(known.as_ref()) && contends(&known) => break,
            Some(_) => continue,
            None => {}
        }
        let named = format!("{}/{}", recorded.namespace, recorded.name);
        match ask::<K>(intents, recorded).await {
            Ok(Some(there)) if stays(&there) && contends(&there) => return Some(named),
            Ok(_) => {}
            Err(error) => return Some(format!("{named} (on record; {})", chain(&error))),
        }
    }
    owner(object, &store.state_filter(contends), &recorded)
}

/// The owner on record, if there is such an object: the one in `store`, else the API server's, since it may belong to
/// another shard, or to a namespace that is not served any more.
pub async fn owner_on_record<K>(
    intents: &Intents,
    store: &Store<K>,
    owner: &Owner,
) -> Result<Option<Arc<K>>, KubernetesError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
{
    match store.get(&reference(owner)) {
        Some(known) => Ok(Some(known)),
        None => Ok(ask(intents, owner).await?.map(Arc::new)),
    }
}

fn reference<K: Resource<DynamicType = ()>>(owner: &Owner) -> ObjectRef<K> {
    ObjectRef::new(&owner.name).within(&owner.namespace)
}

/// By its name, as a record does: one that was made anew from Git goes on where it was.
async fn ask<K>(intents: &Intents, owner: &Owner) -> Result<Option<K>, KubernetesError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(intents.client(), &owner.namespace);
    within("reading the owner on record", api.get_opt(&owner.name)).await
}

fn stays<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}

fn owner<K: Resource>(object: &K, contenders: &[Arc<K>], recorded: &[Owner]) -> Option<String> {
    let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
    let age = |object: &K| (object.creation_timestamp().map(|time| time.0), name(object));
    let is = |object: &K, recorded: &Owner| (recorded.namespace.clone(), recorded.name.clone()) == name(object);
    let staying = || contenders.iter().filter(|contender| stays(contender.as_ref()));
    let on_record = recorded.iter().find_map(|recorded| staying().find(|contender| is(contender, recorded)));
    let owner = on_record.or_else(|| staying().min_by_key(|c| age(c)))?;
    let (namespace, name) = name(owner);
    (owner.uid() != object.uid()).then(|| format!("{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn object(name: &str, born: i64) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("n".to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(name.to_owned());
        object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(born).unwrap()));
        Arc::new(object)
    }

    fn on_record(name: &str) -> Owner {
        Owner { namespace: "n".to_owned(), name: name.to_owned(), uid: name.to_owned(), generation: 1 }
    }

    #[test]
    fn the_one_on_record_owns_else_the_oldest_else_the_first_by_name() {
        let (a, b, c) = (object("a", 3), object("b", 2), object("c", 2));
        let all = [a.clone(), b.clone(), c.clone()];
        let owner = |object: &Arc<ConfigMap>, recorded: &[&str]| {
            let recorded: Vec<Owner> = recorded.iter().map(|name| on_record(name)).collect();
            owner(object.as_ref(), &all, &recorded).unwrap_or_else(|| "itself".to_owned())
        };
        assert_eq!((owner(&a, &[]), owner(&b, &[]), owner(&c, &[])), ("n/b".into(), "itself".into(), "n/b".into()));
        assert_eq!((owner(&a, &["a"]), owner(&b, &["a"])), ("itself".into(), "n/a".into()));
        assert_eq!(owner(&a, &["gone"]), "n/b");
        for recorded in [["c", "a"], ["gone", "c"]] {
            assert_eq!((owner(&a, &recorded), owner(&c, &recorded)), ("n/c".into(), "itself".into()), "{recorded:?}");
        }
    }

    #[test]
    fn one_that_is_being_deleted_owns_nothing() {
        let (mut a, b) = (ConfigMap::clone(&object("a", 1)), object("b", 2));
        a.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(9).unwrap()));
        let contenders = [Arc::new(a), b.clone()];
        assert_eq!(owner(b.as_ref(), &contenders, &[on_record("a")]), None);
    }
}
