//! An intent as it lies in its ConfigMap. What a later version has put beside the fields that this one knows is kept:
//! fields of the record for good, fields of a wish for as long as the wish is the same.

use crate::epoch::is_epoch;
use crate::intent::Intent;
use crate::later;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// Key of the record in the ConfigMap.
const KEY: &str = "intent";

/// A call starts at most this long after its intent says that it is sent, unless its caller says otherwise.
pub(crate) const SEND_WITHIN: Duration = Duration::from_secs(2);

/// A record as last seen.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The intent, or why it cannot be read.
    pub intent: Result<Intent, String>,
    /// When this version of it was first seen.
    pub first_seen: Instant,
    /// When the call of this version was answered, if this process has made it.
    pub answered: Option<Instant>,
    object: ConfigMap,
}

impl Record {
    /// Reads a ConfigMap as it is now.
    pub fn read(object: ConfigMap) -> Self {
        let intent = serde_json::from_str(text(&object)).and_then(later::read);
        let intent = intent.map_err(|error| error.to_string()).and_then(|intent: Intent| match intent.writer.epoch {
            epoch if is_epoch(epoch) => Ok(intent),
            epoch => Err(format!("writer.epoch: {epoch} is not the number of a term")),
        });
        let intent = intent.map_err(|error| format!("key `{KEY}`: {error}"));
        Self { intent, first_seen: Instant::now(), answered: None, object }
    }

    /// When the call of the intent is over, on this process's clock and on its writer's; none while nothing was sent.
    pub fn over(&self) -> Option<(Instant, Timestamp)> {
        let intent = self.intent.as_ref().ok()?;
        let over_at = intent.over_at()?;
        Some((self.answered.unwrap_or_else(|| over(self.first_seen, intent)), over_at))
    }

    /// The version of the ConfigMap.
    pub fn version(&self) -> Option<String> {
        self.object.resource_version()
    }

    /// The epoch that it bears, also when nothing else of it can be read.
    pub fn epoch(&self) -> Option<i64> {
        self.fields().get("writer")?.get("epoch")?.as_i64().filter(|epoch| is_epoch(*epoch))
    }

    fn fields(&self) -> Map<String, Value> {
        serde_json::from_str(text(&self.object)).unwrap_or_default()
    }

    /// Fields of the record that this version does not know, and the wish as it is written if it is that of `next`.
    fn kept(&self, next: &Intent) -> Map<String, Value> {
        let Ok(current) = &self.intent else { return Map::new() };
        let known = serde_json::to_value(current).unwrap_or_default();
        let same_wish = current.wish == next.wish;
        self.fields().into_iter().filter(|(name, _)| known.get(name).is_none() || same_wish && name == "wish").collect()
    }
}

/// The ConfigMap that replaces `before`, or is created, for `intent`.
pub(crate) fn document(before: Option<&Record>, intent: &Intent) -> ConfigMap {
    let mut record = serde_json::to_value(intent).unwrap_or_default();
    if let (Some(before), Some(fields)) = (before, record.as_object_mut()) {
        for (name, value) in before.kept(intent) {
            if name == "wish" {
                fields.insert(name, value);
            } else {
                fields.entry(name).or_insert(value);
            }
        }
    }
    later::write(&mut record);
    let mut object = before.map(|before| before.object.clone()).unwrap_or_default();
    object.metadata.managed_fields = None;
    object.data.get_or_insert_default().insert(KEY.to_owned(), record.to_string());
    later::mark(&mut object);
    object
}

fn text(object: &ConfigMap) -> &str {
    object.data.as_ref().and_then(|data| data.get(KEY)).map_or("", String::as_str)
}

/// When the call of a sent intent whose record was first seen then is over, on this process's clock: what the clocks of
/// others show does not count.
fn over(first_seen: Instant, intent: &Intent) -> Instant {
    let call = Duration::from_secs(intent.call_timeout_seconds.into());
    let sending = intent.send_before.map_or(SEND_WITHIN, |before| {
        // A clock that was put forward in between must not shorten the wait.
        Duration::try_from(before.duration_since(intent.written)).unwrap_or(SEND_WITHIN).max(SEND_WITHIN)
    });
    first_seen + sending + call
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Owner, State, Wish, Writer};
    use jiff::SignedDuration;
    use serde_json::json;

    fn stored(record: &Value) -> Record {
        let data = json!({KEY: record.to_string(), "otherKey": "kept"});
        let metadata = json!({"name": "n", "resourceVersion": "7", "annotations": {"a": "kept"}});
        Record::read(serde_json::from_value(json!({"metadata": metadata, "data": data})).unwrap())
    }

    fn written(state: &str) -> Value {
        json!({
            "resource": "group/a", "state": state, "written": "2026-01-01T00:00:00Z", "callTimeoutSeconds": 0,
            "wish": {"owner": {"namespace": "n", "name": "a", "uid": "u", "generation": 1}, "targets": {"to": 3}, "laterWish": 1},
            "writer": {"epoch": 9, "shard": "", "identity": "p"}, "laterField": {"x": 1},
        })
    }

    fn next(record: &Record, change: impl Fn(&mut Intent)) -> (ConfigMap, Value) {
        let mut intent = record.intent.clone().unwrap();
        change(&mut intent);
        let object = document(Some(record), &intent);
        let fields = serde_json::from_str(text(&object)).unwrap();
        (object, fields)
    }

    #[test]
    fn what_a_later_version_has_added_stays() {
        let record = stored(&written("Prepared"));
        let (object, fields) = next(&record, |intent| intent.state = State::Sent);
        assert_eq!((&fields["state"], &fields["laterField"]), (&json!("Sent"), &json!({"x": 1})));
        assert_eq!(fields["wish"]["laterWish"], 1);
        assert_eq!(object.data.unwrap()["otherKey"], "kept");
        assert_eq!(object.metadata.annotations.unwrap()["a"], "kept");
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"), "replaced only if it is still this version");
    }

    #[test]
    fn another_wish_has_nothing_of_the_earlier_one() {
        let (_, fields) = next(&stored(&written("Done")), |intent| intent.wish.targets = json!({"to": 4}));
        assert_eq!((&fields["wish"]["laterWish"], &fields["wish"]["targets"]["to"]), (&Value::Null, &json!(4)));
        assert_eq!(fields["laterField"], json!({"x": 1}), "it is the resource's, not the wish's");
    }

    #[test]
    fn a_state_that_is_not_known_is_named_and_its_epoch_counts() {
        let record = stored(&written("Verified"));
        assert!(record.intent.as_ref().unwrap_err().contains("`Verified`"), "{:?}", record.intent);
        assert_eq!(record.epoch(), Some(9));
        assert_eq!(stored(&json!("mine now")).epoch(), None);
    }

    #[test]
    fn a_call_is_over_when_it_could_have_begun_last_and_taken_longest_whatever_the_clocks_show() {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let written = Timestamp::UNIX_EPOCH;
        let sent = |before: i64| Intent {
            resource: "group/arn".into(),
            wish: Wish { owner: owner.clone(), targets: Value::Null, pre_image: None, amount: 0, parts: Vec::new() },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state: State::Sent,
            send_before: Some(written + SignedDuration::from_secs(before)),
            call_timeout_seconds: 6,
            written,
            prepared: None,
            answered: false,
            effect: None,
            spent: Vec::new(),
            changed: std::collections::BTreeMap::new(),
        };
        let seen = Instant::now();
        let after = |before| over(seen, &sent(before)).duration_since(seen).as_secs();
        assert_eq!(after(2), 8, "2 s to begin it, 6 s for the call");
        assert_eq!(after(1), 8, "never less than any call may begin after");
        assert_eq!(after(5), 11, "longer, if the record says so");
        assert_eq!(after(-300), 8, "a clock that was put forward between the two times shortens nothing");
    }

    #[test]
    fn a_call_that_was_answered_is_over() {
        let mut sent = written("Sent");
        sent["sendBefore"] = json!("2026-01-01T00:00:02Z");
        sent["callTimeoutSeconds"] = json!(6);
        let mut record = stored(&sent);
        let (over, over_at) = record.over().unwrap();
        assert_eq!(over.duration_since(record.first_seen).as_secs(), 8);
        let answered = record.first_seen + Duration::from_millis(50);
        record.answered = Some(answered);
        assert_eq!(record.over(), Some((answered, over_at)));
        assert_eq!(stored(&written("Prepared")).over(), None);
        assert_eq!(stored(&json!("mine now")).over(), None);
    }
}
