//! Writing one part of an object's status: the complete set of that part, only when something changed.

use crate::conditions::Draft;
use crate::kubernetes::pace;
use crate::{ErrorClass, Part, crash};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time one status write may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// How long our own last write is believed more than an older state from the watch. A watch that died is noticed before;
/// an API server whose data was restored from a backup shows older states for good.
const BELIEVED: Duration = Duration::from_secs(60);

/// Under which name the API server asks to wait with it.
const WRITE: &str = "writing a status";

/// What a part wants its share of the status to be. Empty: the part gives its share up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartStatus {
    /// Fields of `status`, by name.
    pub fields: Map<String, Value>,
    /// Conditions.
    pub conditions: Vec<Draft>,
}

impl PartStatus {
    /// The share of `part` as the object has it; conditions with a reason that this version does not know are left out.
    pub fn as_reported<K: serde::Serialize>(part: Part, object: &K) -> Self {
        let object = serde_json::to_value(object).unwrap_or(Value::Null);
        let status = &object["status"];
        let field = |name: &&str| Some(((*name).to_owned(), status.get(name)?.clone()));
        let draft = |kind: &crate::ConditionType| Draft::parse(*kind, condition(status, kind.name())?);
        Self {
            fields: part.fields().iter().filter_map(field).collect(),
            conditions: part.conditions().iter().filter_map(draft).collect(),
        }
    }
}

/// A condition that changed its status or reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The condition as it is now.
    pub now: Draft,
    /// Whether the object had this condition before.
    pub had_before: bool,
    /// Whether the state before was one people want to hear of.
    pub was_abnormal: bool,
}

/// A failed status write.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The API server refused it.
    #[error("the API server did not take the status of {object}")]
    Patch {
        /// Namespace and name.
        object: String,
        /// The refusal.
        #[source]
        source: kube::Error,
    },
    /// The object was deleted and re-created in between: its first look overwrites what was written.
    #[error("{object} was re-created while its status was written")]
    Successor {
        /// Namespace and name.
        object: String,
    },
    /// The API server did not answer.
    #[error("the API server did not answer a status write for {object} within 5 s")]
    Deadline {
        /// Namespace and name.
        object: String,
    },
    /// The API server has asked to wait: nothing was sent.
    #[error("the status of {object} is written later: the API server has asked to wait")]
    AskedToWait {
        /// Namespace and name.
        object: String,
    },
}

impl StatusError {
    /// Whether the object is gone or was re-created: nothing is left to write to. A conflict says neither: the API
    /// server gives up so when others write the object all the time.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Patch { source: kube::Error::Api(status), .. } => status.code == 404,
            Self::Successor { .. } => true,
            Self::Patch { .. } | Self::Deadline { .. } | Self::AskedToWait { .. } => false,
        }
    }

    /// Class of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Patch { source: kube::Error::Api(status), .. } if status.code == 409 => ErrorClass::Conflict,
            Self::Patch { source: kube::Error::Api(status), .. } if status.code == 429 => ErrorClass::Throttled,
            Self::AskedToWait { .. } => ErrorClass::Throttled,
            Self::Patch { .. } | Self::Successor { .. } | Self::Deadline { .. } => ErrorClass::Transient,
        }
    }
}

/// The share of one part, ready to be applied.
#[derive(Debug, PartialEq)]
pub struct Composed {
    /// The part's complete share.
    pub share: Value,
    /// Whether it differs from what the object has.
    pub changed: bool,
    /// Conditions that changed their status or reason.
    pub transitions: Vec<Transition>,
}

/// Compares what `part` wants with the status an object has. Transition times move only with the status.
pub fn compose(part: Part, generation: i64, current: &Value, wanted: &PartStatus, now: Timestamp) -> Composed {
    let mut changed = part.fields().iter().any(|field| current.get(field) != wanted.fields.get(*field));
    let mut transitions = Vec::new();
    let mut conditions = Vec::new();
    for draft in &wanted.conditions {
        let before = condition(current, draft.kind.name());
        let is = |key: &str, value: &str| before.and_then(|c| c.get(key)).and_then(Value::as_str) == Some(value);
        let same_status = is("status", draft.truth.name());
        if !same_status || !is("reason", draft.reason.name()) {
            let was_abnormal = before.is_some_and(|c| is_abnormal(draft, c));
            transitions.push(Transition { now: draft.clone(), had_before: before.is_some(), was_abnormal });
        }
        let kept = before.and_then(|c| c.get("lastTransitionTime")).filter(|_| same_status).cloned();
        let entry = json!({
            "type": draft.kind.name(),
            "status": draft.truth.name(),
            "reason": draft.reason.name(),
            "message": draft.message,
            "observedGeneration": generation,
            "lastTransitionTime": kept.unwrap_or_else(|| json!(seconds(now))),
        });
        changed |= before != Some(&entry);
        conditions.push(entry);
    }
    let gone = |kind: &crate::ConditionType| {
        condition(current, kind.name()).is_some() && !wanted.conditions.iter().any(|draft| draft.kind == *kind)
    };
    changed |= part.conditions().iter().any(gone);
    let mut share = wanted.fields.clone();
    if !conditions.is_empty() {
        share.insert("conditions".into(), Value::Array(conditions));
    }
    Composed { share: Value::Object(share), changed, transitions }
}

/// RFC 3339 with whole seconds, as Kubernetes writes times.
fn seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status.get("conditions")?.as_array()?.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

fn is_abnormal(draft: &Draft, before: &Value) -> bool {
    match before.get("status").and_then(Value::as_str) {
        Some("True") => !draft.kind.is_positive(),
        Some("False") => draft.kind.is_positive(),
        _ => false,
    }
}

/// What this process last wrote, for as long as the watch has not shown it yet.
#[derive(Clone)]
struct Written {
    revision: u64,
    at: Instant,
    share: Value,
}

/// Applies shares of status.
pub struct StatusWriter {
    client: Client,
    written: Mutex<HashMap<(String, Part), Written>>,
}

impl StatusWriter {
    /// A writer that uses `client`.
    pub fn new(client: Client) -> Self {
        Self { client, written: Mutex::new(HashMap::new()) }
    }

    /// Writes the share of `part` if it changed; returns the conditions that changed their status or reason.
    pub async fn write<K>(&self, part: Part, object: &K, wanted: &PartStatus) -> Result<Vec<Transition>, StatusError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let generation = object.meta().generation.unwrap_or_default();
        let uid = object.uid().unwrap_or_default();
        let current = self.current(part, &uid, object, Instant::now());
        let composed = compose(part, generation, &current, wanted, Timestamp::now());
        if !composed.changed {
            return Ok(Vec::new());
        }
        let revision = self.apply(part, object, &composed.share).await?;
        self.remember((uid, part), Written { revision, at: Instant::now(), share: composed.share });
        Ok(composed.transitions)
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != uid);
    }

    fn remember(&self, key: (String, Part), written: Written) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key, written);
    }

    /// The object's status; the share of `part` is our own last write while the watch lags behind it.
    fn current<K: Resource + serde::Serialize>(&self, part: Part, uid: &str, object: &K, now: Instant) -> Value {
        let mut status = serde_json::to_value(object)
            .ok()
            .and_then(|mut o| o.get_mut("status").map(Value::take))
            .unwrap_or(Value::Null);
        let seen = revision(object.meta().resource_version.as_deref());
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let lags = |own: &&Written| own.revision > seen && now.saturating_duration_since(own.at) < BELIEVED;
        if let Some(own) = written.get(&(uid.to_owned(), part)).filter(lags) {
            overlay(part, &mut status, &own.share);
        }
        status
    }

    async fn apply<K>(&self, part: Part, object: &K, share: &Value) -> Result<u64, StatusError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        // The uid keeps server-side apply from creating an object anew; the API server does not compare it on /status.
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": namespace, "uid": object.uid()},
            "status": share,
        });
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams::apply(part.field_manager()).force();
        let body = Patch::Apply(body);
        let call = api.patch_status(&name, &params, &body);
        let label = format!("{namespace}/{name}");
        if pace::rest(WRITE).is_some() {
            return Err(StatusError::AskedToWait { object: label });
        }
        let write = crash::begin(crash::System::Status);
        let written = tokio::time::timeout(WRITE_DEADLINE, call).await;
        write.after();
        pace::heard(WRITE, &written);
        match written {
            Ok(Ok(after)) if after.uid() != object.uid() => Err(StatusError::Successor { object: label }),
            Ok(Ok(after)) => Ok(revision(after.meta().resource_version.as_deref())),
            Ok(Err(source)) => Err(StatusError::Patch { object: label, source }),
            Err(_) => Err(StatusError::Deadline { object: label }),
        }
    }
}

/// Resource versions are comparable numbers in every API server this operator supports.
fn revision(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Replaces what `part` owns in `status` by `share`.
fn overlay(part: Part, status: &mut Value, share: &Value) {
    if !status.is_object() {
        *status = json!({});
    }
    let Some(status) = status.as_object_mut() else { return };
    for field in part.fields() {
        match share.get(field) {
            Some(value) => status.insert((*field).to_owned(), value.clone()),
            None => status.remove(*field),
        };
    }
    let owned =
        |c: &Value| part.conditions().iter().any(|kind| c.get("type").and_then(Value::as_str) == Some(kind.name()));
    let mut conditions: Vec<Value> = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    conditions.retain(|c| !owned(c));
    conditions.extend(share.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default());
    status.insert("conditions".to_owned(), Value::Array(conditions));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{ConditionType, Reason};

    fn wanted(truth: bool, reason: Reason) -> PartStatus {
        let draft = Draft::new(ConditionType::KafkaReady, truth, reason, "m");
        PartStatus { fields: json!({"kafka": {"topics": 1}}).as_object().cloned().unwrap(), conditions: vec![draft] }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_share_again_is_no_change() {
        let first = compose(Part::Kafka, 3, &Value::Null, &wanted(true, Reason::Available), at(100));
        assert!(first.changed);
        assert!(!first.transitions[0].had_before);
        let again = compose(Part::Kafka, 3, &first.share, &wanted(true, Reason::Available), at(200));
        assert!(!again.changed && again.transitions.is_empty());
        assert_eq!(again.share, first.share);
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = compose(Part::Kafka, 3, &Value::Null, &wanted(false, Reason::Unreadable), at(100)).share;
        let reason = compose(Part::Kafka, 4, &first, &wanted(false, Reason::BrokerUnreachable), at(200));
        assert!(reason.changed && reason.transitions.len() == 1 && reason.transitions[0].was_abnormal);
        assert_eq!(reason.share["conditions"][0]["lastTransitionTime"], first["conditions"][0]["lastTransitionTime"]);
        assert_eq!(reason.share["conditions"][0]["observedGeneration"], 4);
        let status = compose(Part::Kafka, 4, &first, &wanted(true, Reason::Available), at(300));
        assert_eq!(status.share["conditions"][0]["lastTransitionTime"], "1970-01-01T00:05:00Z");
    }

    #[test]
    fn giving_up_the_share_is_a_change_and_foreign_parts_are_none() {
        let first = compose(Part::Kafka, 3, &Value::Null, &wanted(true, Reason::Available), at(100)).share;
        let gone = compose(Part::Kafka, 3, &first, &PartStatus::default(), at(100));
        assert!(gone.changed);
        assert_eq!(gone.share, json!({}));
        assert!(!compose(Part::Spark, 3, &first, &PartStatus::default(), at(100)).changed);
    }

    #[test]
    fn what_was_reported_can_be_reported_again() {
        let first = compose(Part::Kafka, 3, &Value::Null, &wanted(true, Reason::Available), at(100)).share;
        let again = PartStatus::as_reported(Part::Kafka, &json!({"status": first}));
        assert_eq!(again, wanted(true, Reason::Available));
    }

    #[tokio::test]
    async fn our_own_last_write_is_believed_for_a_minute_against_an_older_state() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (writer, now) = (StatusWriter::new(client), Instant::now());
        let share = json!({"kafka": {"topics": 2}});
        writer.remember(("u".into(), Part::Kafka), Written { revision: 9, at: now, share });
        let seen = |revision: &str, after: u64| {
            let object: kube::core::DynamicObject = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "resourceVersion": revision},
                "status": {"kafka": {"topics": 1}},
            }))
            .unwrap();
            writer.current(Part::Kafka, "u", &object, now + Duration::from_secs(after))["kafka"]["topics"].clone()
        };
        assert_eq!(seen("8", 59), 2, "the watch lags");
        assert_eq!(seen("8", 60), 1, "it does not lag so long");
        assert_eq!(seen("9", 0), 1, "the watch has shown it, or something newer");
    }

    #[test]
    fn our_own_last_write_hides_the_lagging_watch() {
        let mut status = json!({"kafka": {"topics": 9}, "spark": {"cores": 1}, "conditions": [{"type": "SparkReady"}, {"type": "KafkaReady"}]});
        overlay(Part::Kafka, &mut status, &json!({"conditions": [{"type": "PartitionsLimited"}]}));
        assert_eq!(
            status,
            json!({"spark": {"cores": 1}, "conditions": [{"type": "SparkReady"}, {"type": "PartitionsLimited"}]})
        );
    }
}
