//! A wish that waits over several looks: written down by one, carried out by a later one, perhaps of a later term.

use crate::ObjectKey;
use crate::calls::Prepared;
use crate::intent::{Intent, Refused, Request, State};
use crate::intents::{IntentError, Intents};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

impl Intents {
    /// The prepared intent of `resource` with this id, if it is still the record and was prepared for `object`, and the API
    /// server still has that as it is here. What an earlier term has written becomes this term's, as it is. `None`: another
    /// record has taken its place, or it was sent or closed.
    ///
    /// # Errors
    /// [`IntentError`]: nothing may be sent.
    pub async fn resume<K>(
        self: &Arc<Self>,
        resource: &str,
        object: &K,
        id: &str,
    ) -> Result<Option<Prepared>, IntentError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let turn = self.turn(resource).await?;
        self.newer().ask(self.client(), object).await?;
        let uid = ObjectKey::of(object).uid;
        let Some(found) = self.last(resource)?.filter(|intent| waits(intent, &uid, id)) else { return Ok(None) };
        if found.writer == *self.term().writer() {
            return Ok(Some(Prepared::new(self.clone(), resource, turn, &found)));
        }
        let judged = Box::new(found);
        match self.write(resource, |_| Request::Resume { judged: judged.clone() }).await {
            Ok(intent) => Ok(Some(Prepared::new(self.clone(), resource, turn, &intent))),
            Err(IntentError::Refused(Refused::NotOurs)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether it is the prepared intent with this id, of the object with this uid.
fn waits(intent: &Intent, uid: &str, id: &str) -> bool {
    intent.state == State::Prepared && intent.wish.owner.uid == uid && intent.id().as_deref() == Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Owner, Wish, Writer, advance};
    use jiff::Timestamp;

    #[test]
    fn only_the_prepared_intent_of_the_object_waits() {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let targets = serde_json::json!({"kind": "remove"});
        let wish = Wish { owner, targets, pre_image: None, amount: 1, parts: Vec::new() };
        let writer = Writer { epoch: 1, shard: String::new(), identity: "p".into() };
        let request = Request::Prepare { resource: "group/a".into(), wish };
        let prepared = advance(None, request, &writer, Timestamp::UNIX_EPOCH).unwrap();
        let id = prepared.id().unwrap();
        assert!(waits(&prepared, "u", &id));
        assert!(!waits(&prepared, "another object of that name", &id) && !waits(&prepared, "u", "another"));
        for state in [State::Sent, State::Done, State::Abandoned, State::Superseded] {
            assert!(!waits(&Intent { state, ..prepared.clone() }, "u", &id), "{state:?}");
        }
        assert!(!waits(&Intent { prepared: None, ..prepared.clone() }, "u", &id), "an earlier version wrote it");
    }
}
