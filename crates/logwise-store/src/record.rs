//! Rows as they are written: encoded once, cut where a column would refuse them, with their size and a content hash.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::{Value, json};

use crate::rows::{ConditionRow, DecisionRow, ObjectRow, SampleRow};

const DOCUMENT_BYTES: usize = 2 << 20;
const MESSAGE_BYTES: usize = 256 << 10;
const REASON_CHARS: usize = 1024;
const CLUSTER_CHARS: usize = 64;
const PAYLOAD_BYTES: usize = 1 << 20;

/// What decides whether one state of an object replaces another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) revision: i64,
    pub(crate) deleted: bool,
    hash: u64,
}

impl Mark {
    /// The guard of the SQL upsert, plus: the same content is nothing new.
    pub(crate) fn replaces(self, old: Self) -> bool {
        self.revision > old.revision
            || (self.revision == old.revision && self.deleted >= old.deleted && self.hash != old.hash)
    }
}

#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) uid: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) spec: String,
    pub(crate) status: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) observed_at: String,
    pub(crate) mark: Mark,
    pub(crate) bytes: usize,
}

#[derive(Debug, Hash)]
pub(crate) struct Condition {
    pub(crate) r#type: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) observed_generation: i64,
    pub(crate) last_transition_time: String,
}

#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) id: String,
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) part: String,
    pub(crate) generation: i64,
    pub(crate) decided_at: String,
    pub(crate) plan_id: String,
    pub(crate) inputs: String,
    pub(crate) actions: String,
    pub(crate) holds: String,
    pub(crate) outcome: String,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) cluster: String,
    pub(crate) slot: u32,
    pub(crate) taken_at: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) bytes: usize,
}

impl Object {
    pub(crate) fn encode(row: ObjectRow) -> Self {
        let (spec, status) = (document(&row.spec), document(&row.status));
        let conditions: Vec<_> =
            if row.deleted { Vec::new() } else { row.conditions.into_iter().map(Condition::encode).collect() };
        let mut hasher = DefaultHasher::new();
        (&row.uid, &row.kind, &row.namespace, &row.name, row.generation, row.revision, row.deleted).hash(&mut hasher);
        (&spec, &status, &conditions).hash(&mut hasher);
        let texts = [&row.uid, &row.kind, &row.namespace, &row.name, &spec, &status];
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>()
            + conditions.iter().map(Condition::bytes).sum::<usize>()
            + size_of::<Self>();
        Self {
            uid: row.uid,
            kind: row.kind,
            namespace: row.namespace,
            name: row.name,
            generation: row.generation,
            spec,
            status,
            conditions,
            observed_at: utc(row.observed_at),
            mark: Mark { revision: row.revision, deleted: row.deleted, hash: hasher.finish() },
            bytes,
        }
    }

    /// Names the row in an error.
    pub(crate) fn title(&self) -> String {
        let short = |text: &str| text.chars().take(80).collect::<String>();
        format!("{} {}/{}", short(&self.kind), short(&self.namespace), short(&self.name))
    }
}

impl Condition {
    fn encode(row: ConditionRow) -> Self {
        Self {
            r#type: row.r#type,
            status: row.status,
            reason: cut_chars(row.reason, REASON_CHARS),
            message: cut_bytes(row.message, MESSAGE_BYTES),
            observed_generation: row.observed_generation,
            last_transition_time: utc(row.last_transition_time),
        }
    }

    fn bytes(&self) -> usize {
        self.r#type.len() + self.status.len() + self.reason.len() + self.message.len() + size_of::<Self>()
    }
}

impl Decision {
    pub(crate) fn encode(row: DecisionRow) -> Self {
        let mut decision = Self {
            id: row.id,
            uid: row.uid,
            namespace: row.namespace,
            name: row.name,
            part: row.part,
            generation: row.generation,
            decided_at: utc(row.decided_at),
            plan_id: row.plan_id,
            inputs: document(&row.inputs),
            actions: document(&row.actions),
            holds: document(&row.holds),
            outcome: document(&row.outcome),
            bytes: 0,
        };
        decision.bytes = decision.texts().iter().map(|text| text.len()).sum::<usize>() + size_of::<Self>();
        decision
    }

    /// The text columns in the order of `statements::DECISION`.
    pub(crate) fn texts(&self) -> [&str; 11] {
        [
            &self.id,
            &self.uid,
            &self.namespace,
            &self.name,
            &self.part,
            &self.decided_at,
            &self.plan_id,
            &self.inputs,
            &self.actions,
            &self.holds,
            &self.outcome,
        ]
    }
}

impl Sample {
    /// `None` when it is too large: a piece of it would be worth nothing.
    pub(crate) fn encode(row: SampleRow) -> Option<Self> {
        if row.cluster.chars().count() > CLUSTER_CHARS || row.payload.len() > PAYLOAD_BYTES {
            return None;
        }
        let bytes = row.cluster.len() + row.payload.len() + size_of::<Self>();
        Some(Self { cluster: row.cluster, slot: row.slot, taken_at: utc(row.taken_at), payload: row.payload, bytes })
    }

    pub(crate) fn key(&self) -> (&str, u32) {
        (&self.cluster, self.slot)
    }
}

/// `2026-01-31 08:09:10.123456`, UTC: what `DATETIME(6)` takes and what sorts as text in SQLite.
pub(crate) fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// The reverse of [`utc`].
pub(crate) fn from_utc(text: &str) -> Option<Timestamp> {
    text.parse::<DateTime>().ok().and_then(|time| Offset::UTC.to_timestamp(time).ok())
}

fn document(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= DOCUMENT_BYTES {
        return text;
    }
    json!({"logwiseCut": format!("the document has {} bytes, more than the {DOCUMENT_BYTES} that are kept", text.len())}).to_string()
}

fn cut_bytes(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let all = text.len();
        let mark = format!(" ... (cut: {all} bytes in all)");
        text.truncate(text.floor_char_boundary(limit - mark.len()));
        text.push_str(&mark);
    }
    text
}

fn cut_chars(mut text: String, limit: usize) -> String {
    let all = text.chars().count();
    if all > limit {
        let mark = format!(" ... (cut: {all} characters in all)");
        let keep = text.char_indices().nth(limit - mark.len()).map_or(0, |(at, _)| at);
        text.truncate(keep);
        text.push_str(&mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ObjectRow {
        ObjectRow {
            uid: "u".into(),
            kind: "LogwiseCluster".into(),
            namespace: "ns".into(),
            name: "demo".into(),
            generation: 1,
            revision: 7,
            deleted: false,
            spec: json!({"a": 1}),
            status: json!({}),
            conditions: vec![ConditionRow {
                r#type: "Ready".into(),
                status: "True".into(),
                reason: "R".into(),
                message: "m".into(),
                observed_generation: 1,
                last_transition_time: Timestamp::UNIX_EPOCH,
            }],
            observed_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_newer_or_different_content_replaces() {
        let mark = |change: &dyn Fn(&mut ObjectRow)| {
            let mut row = row();
            change(&mut row);
            Object::encode(row).mark
        };
        let old = mark(&|_| ());
        assert!(!mark(&|row| row.observed_at = Timestamp::MAX).replaces(old), "the time of the look is no content");
        assert!(mark(&|row| row.revision = 8).replaces(old));
        assert!(!mark(&|row| row.revision = 6).replaces(old));
        assert!(mark(&|row| row.status = json!({"b": 2})).replaces(old));
        assert!(mark(&|row| row.conditions[0].message = "n".into()).replaces(old));
        let gone = mark(&|row| row.deleted = true);
        assert!(gone.replaces(old) && !old.replaces(gone));
    }

    #[test]
    fn long_texts_are_cut_on_a_character_and_say_so() {
        let cut = cut_bytes("€".repeat(100), 101);
        assert!(cut.len() <= 101 && cut.ends_with("€ ... (cut: 300 bytes in all)"), "{cut}");
        let cut = cut_chars("😀".repeat(2000), 1024);
        assert!(cut.chars().count() == 1024 && cut.ends_with("😀 ... (cut: 2000 characters in all)"), "{cut}");
        assert_eq!(cut_chars("😀".repeat(1024), 1024), "😀".repeat(1024));
        let whole = document(&json!("x".repeat(DOCUMENT_BYTES)));
        assert!(whole.contains("logwiseCut") && whole.len() < 200 && serde_json::from_str::<Value>(&whole).is_ok());
    }

    #[test]
    fn times_are_utc_with_six_digits() {
        assert_eq!(utc("2026-01-31T10:09:10.1234567+02:00".parse().unwrap()), "2026-01-31 08:09:10.123456");
        assert_eq!(utc(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00.000000");
        let time = "2026-01-31T08:09:10.123456Z".parse().unwrap();
        assert_eq!((from_utc(&utc(time)), from_utc("yesterday")), (Some(time), None));
    }

    #[test]
    fn a_sample_that_is_too_large_is_left_out() {
        let fits = |chars: usize, size: usize| {
            let (cluster, payload) = ("€".repeat(chars), vec![0; size]);
            Sample::encode(SampleRow { cluster, slot: 0, taken_at: Timestamp::UNIX_EPOCH, payload }).is_some()
        };
        assert!(fits(CLUSTER_CHARS, PAYLOAD_BYTES));
        assert!(!fits(CLUSTER_CHARS + 1, 0) && !fits(0, PAYLOAD_BYTES + 1));
    }
}
