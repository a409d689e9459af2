//! Objects that exist and cannot be read, such as ones written under a newer version of their definition. They are not
//! served, and nobody may take them for deleted.

use crate::ObjectKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those of one kind; the clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Unreadable(Arc<Mutex<Lists>>);

/// By namespace and name: the object, and what is wrong with it.
type List = BTreeMap<(String, String), (ObjectKey, String)>;

#[derive(Debug, Default)]
struct Lists {
    now: List,
    /// What a list that is not complete yet has shown.
    coming: Option<List>,
    /// Objects that can be read, or are gone, of which the store does not know yet.
    mended: Vec<(String, String)>,
}

impl Unreadable {
    /// A new list of the objects begins.
    pub fn list_begins(&self) {
        let mut lists = self.lock();
        lists.coming = Some(List::new());
        lists.mended.clear();
    }

    /// It is complete: what it has not shown does not exist.
    pub fn list_ends(&self) {
        let mut lists = self.lock();
        if let Some(coming) = lists.coming.take() {
            lists.now = coming;
        }
    }

    /// The object cannot be read.
    pub fn insert(&self, key: ObjectKey, why: String) {
        let (mut lists, place) = (self.lock(), (key.namespace.clone(), key.name.clone()));
        lists.mended.retain(|mended| *mended != place);
        if let Some(coming) = &mut lists.coming {
            coming.insert(place.clone(), (key.clone(), why.clone()));
        }
        lists.now.insert(place, (key, why));
    }

    /// The object can be read, or is gone: [`Self::shown`] lets it go. Until then it is in this list or in the store, so
    /// that whoever asks here first and there afterwards misses no object.
    pub fn mended(&self, namespace: &str, name: &str) {
        self.lock().mended.push((namespace.to_owned(), name.to_owned()));
    }

    /// The store shows what was said so far.
    pub fn shown(&self) {
        let mut lists = self.lock();
        for place in std::mem::take(&mut lists.mended) {
            lists.now.remove(&place);
        }
    }

    /// What is wrong with this object, if it cannot be read.
    pub fn why(&self, namespace: &str, name: &str) -> Option<String> {
        self.lock().now.get(&(namespace.to_owned(), name.to_owned())).map(|(_, why)| why.clone())
    }

    /// Those of one namespace by name, with what is wrong.
    pub fn within(&self, namespace: &str) -> BTreeMap<String, String> {
        let lists = self.lock();
        let from = (namespace.to_owned(), String::new());
        let there = lists.now.range(from..).take_while(|((of, _), _)| of == namespace);
        there.map(|((_, name), (_, why))| (name.clone(), why.clone())).collect()
    }

    /// All of them.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.lock().now.values().map(|(key, _)| key.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey { uid: format!("uid-{name}"), namespace: namespace.into(), name: name.into(), generation: 1 }
    }

    #[test]
    fn what_a_complete_list_does_not_show_is_forgotten_and_not_before() {
        let unreadable = Unreadable::default();
        unreadable.insert(key("a", "gone"), "odd".into());
        unreadable.list_begins();
        unreadable.insert(key("a", "stays"), "odd".into());
        assert_eq!(unreadable.within("a").len(), 2, "the list is not complete");
        unreadable.list_ends();
        assert_eq!(unreadable.within("a").into_keys().collect::<Vec<_>>(), ["stays"]);
    }

    #[test]
    fn an_object_that_can_be_read_again_is_no_longer_named_once_the_store_shows_it() {
        let unreadable = Unreadable::default();
        unreadable.insert(key("a", "x"), "odd".into());
        unreadable.insert(key("b", "x"), "strange".into());
        assert_eq!(unreadable.why("a", "x").as_deref(), Some("odd"));
        unreadable.mended("a", "x");
        assert!(unreadable.why("a", "x").is_some(), "the store does not show it yet");
        unreadable.shown();
        assert_eq!((unreadable.why("a", "x"), unreadable.within("a").len()), (None, 0));
        assert_eq!(unreadable.keys(), [key("b", "x")]);
    }
}
