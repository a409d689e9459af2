//! Whether an object is still what a look took it for. A watch lags, may stand still, or may have begun with an old list:
//! before anything is changed outside, the API server itself is asked.

use crate::ObjectKey;
use crate::kubernetes::{KubernetesError, within};
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Nothing may be changed outside on behalf of the object as it was looked at.
#[derive(Debug, thiserror::Error)]
pub enum NotFresh {
    /// Another generation of it, or another object under its name, or none, is there.
    #[error("{object} has changed since it was last seen; it is looked at again when the change is seen")]
    Outdated {
        /// Namespace and name.
        object: String,
    },
    /// Nobody knows.
    #[error("it could not be read whether the object is still the same")]
    Unread(#[from] KubernetesError),
}

/// How long that is believed without another question: whatever answered, a balancer or an API server that does not serve
/// the kind yet, may have been wrong.
const BELIEVED: Duration = Duration::from_secs(60);

/// Generations that are known to be there, by uid, although the watch has not shown them yet, and when they were found. An
/// object that is gone has the greatest one.
#[derive(Debug, Default)]
pub(crate) struct Newer(Mutex<HashMap<String, (i64, Instant)>>);

impl Newer {
    /// Whether a look at this object would be one at the past.
    pub(crate) fn outdates<K: Resource>(&self, object: &K) -> bool {
        self.outdates_at(object, Instant::now())
    }

    fn outdates_at<K: Resource>(&self, object: &K, now: Instant) -> bool {
        let key = ObjectKey::of(object);
        let mut known = self.lock();
        let Some((newer, found)) = known.get(&key.uid).copied() else { return false };
        if newer > key.generation && now.saturating_duration_since(found) < BELIEVED {
            return true;
        }
        known.remove(&key.uid);
        false
    }

    /// Forgets an object that was deleted.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Asks for one object.
    pub(crate) async fn ask<K>(&self, client: Client, object: &K) -> Result<(), NotFresh>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(client, &object.namespace().unwrap_or_default());
        let there = within("reading the object again", api.get_metadata_opt(&object.name_any())).await?;
        self.compare(object, there.as_ref())
    }

    /// Asks for several objects of one namespace at once.
    pub(crate) async fn ask_all<K>(&self, client: Client, namespace: &str, objects: &[&K]) -> Result<(), NotFresh>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        if objects.is_empty() {
            return Ok(());
        }
        let api: Api<K> = Api::namespaced(client, namespace);
        let all = within("reading the objects again", api.list_metadata(&ListParams::default())).await?;
        let there: HashMap<String, &PartialObjectMeta<K>> = all.iter().map(|one| (one.name_any(), one)).collect();
        let compare = |object: &&K| self.compare(*object, there.get(&object.name_any()).copied());
        // All of them: each one that is outdated is to be known.
        objects.iter().map(compare).fold(Ok(()), Result::and)
    }

    fn compare<K: Resource>(&self, object: &K, there: Option<&PartialObjectMeta<K>>) -> Result<(), NotFresh> {
        let ObjectKey { uid, namespace, name, generation } = ObjectKey::of(object);
        let there = there.map(ObjectKey::of).filter(|there| there.uid == uid);
        let now = there.map_or(i64::MAX, |there| there.generation);
        if now == generation {
            return Ok(());
        }
        self.lock().insert(uid, (now, Instant::now()));
        Err(NotFresh::Outdated { object: format!("{namespace}/{name}") })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(uid: &str, generation: i64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("n".to_owned());
        object.metadata.name = Some("a".to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.generation = Some(generation);
        object
    }

    fn there(uid: &str, generation: i64) -> PartialObjectMeta<ConfigMap> {
        PartialObjectMeta { metadata: object(uid, generation).metadata, ..PartialObjectMeta::default() }
    }

    #[test]
    fn another_generation_another_object_and_none_outdate_what_was_seen() {
        for found in [Some(there("u", 3)), Some(there("v", 2)), None] {
            let newer = Newer::default();
            assert!(newer.compare(&object("u", 2), found.as_ref()).is_err());
            assert!(newer.outdates(&object("u", 2)) && !newer.outdates(&object("v", 2)), "{found:?}");
        }
        let newer = Newer::default();
        assert!(newer.compare(&object("u", 2), Some(&there("u", 2))).is_ok());
        assert!(!newer.outdates(&object("u", 2)));
    }

    #[test]
    fn what_was_outdated_is_current_once_the_watch_has_shown_it() {
        let newer = Newer::default();
        assert!(newer.compare(&object("u", 2), Some(&there("u", 4))).is_err());
        assert!(newer.outdates(&object("u", 3)) && !newer.outdates(&object("u", 4)));
        newer.forget("u");
        assert!(!newer.outdates(&object("u", 2)));
    }

    #[test]
    fn a_wrong_answer_freezes_nothing_for_long() {
        let newer = Newer::default();
        assert!(newer.compare(&object("u", 2), None).is_err());
        assert!(newer.outdates(&object("u", 2)));
        assert!(!newer.outdates_at(&object("u", 2), Instant::now() + BELIEVED));
        assert!(!newer.outdates(&object("u", 2)), "it is asked for again");
    }

    #[test]
    fn an_object_that_went_back_is_not_acted_on_and_is_looked_at_again() {
        // As after a restore of etcd, until the watch shows it.
        let newer = Newer::default();
        assert!(newer.compare(&object("u", 5), Some(&there("u", 2))).is_err());
        assert!(!newer.outdates(&object("u", 5)) && !newer.outdates(&object("u", 2)));
    }
}
