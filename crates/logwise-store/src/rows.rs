//! What callers hand over: plain rows, before any SQL.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The state of one custom resource at one revision.
///
/// A document over 2 MiB is replaced by `{"logwiseCut": "..."}`; a condition's reason is cut at 1,024 characters and
/// its message at 256 KiB, each with a mark that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRow {
    /// `metadata.uid`: the key.
    pub uid: String,
    /// `LogwiseCluster` or `RetentionPolicy`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion` as a number. A row with a smaller revision never replaces one with a greater.
    pub revision: i64,
    /// The object no longer exists. At the same revision a deleted row replaces a live one, never the reverse.
    pub deleted: bool,
    /// `spec` as it is in the cluster.
    pub spec: Value,
    /// `status` as it is in the cluster.
    pub status: Value,
    /// All conditions that are to be mirrored; those of a deleted object are removed from the DB.
    pub conditions: Vec<ConditionRow>,
    /// When the object was seen. Two rows that differ only here are the same row.
    pub observed_at: Timestamp,
}

/// One condition of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionRow {
    /// Such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase reason.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The generation that the condition speaks of.
    pub observed_generation: i64,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
}

/// One decision of one part of an object. The four documents are cut like those of [`ObjectRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// The key, derived from what was decided, so that a repeated hand-over is the same row.
    pub id: String,
    /// `metadata.uid` of the object.
    pub uid: String,
    /// `metadata.namespace` of the object.
    pub namespace: String,
    /// `metadata.name` of the object.
    pub name: String,
    /// The part that decided, such as `partitions`.
    pub part: String,
    /// `metadata.generation` the decision was made for.
    pub generation: i64,
    /// When it was made.
    pub decided_at: Timestamp,
    /// Names the plan.
    pub plan_id: String,
    /// What the decision saw.
    pub inputs: Value,
    /// What it ordered.
    pub actions: Value,
    /// What it left alone and why.
    pub holds: Value,
    /// What came of it.
    pub outcome: Value,
}

/// A complete list of the objects of one kind: rows that are not in it ended while nobody looked.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveList {
    /// The kind that was listed.
    pub kind: String,
    /// The namespace that was listed; `None` is all of them.
    pub namespace: Option<String>,
    /// `metadata.resourceVersion` of the list as a number. Rows with a greater revision are left alone.
    pub revision: i64,
    /// `metadata.uid` of every object in it.
    pub uids: HashSet<String>,
    /// When the list was read.
    pub observed_at: Timestamp,
}

/// What one look at a Kafka cluster saw of its end offsets: one place in the ring of that cluster.
///
/// The payload is the sender's own: it is neither read nor changed. A sample with a payload over 1 MiB or a `cluster`
/// over 64 characters is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRow {
    /// What identifies the Kafka cluster, as a digest: with `slot` the key.
    pub cluster: String,
    /// The place in the ring.
    pub slot: u32,
    /// When the look was. An older sample never replaces a newer one. The DB keeps six digits of the second.
    pub taken_at: Timestamp,
    /// Compressed by the sender.
    pub payload: Vec<u8>,
}

/// How much may wait. Beyond it the oldest goes: decisions are lost and counted, objects are asked for again.
/// Of samples at most 64 wait, and they are the first to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects.
    pub objects: usize,
    /// Decisions.
    pub decisions: usize,
    /// Bytes of all of them together, samples included.
    pub bytes: usize,
}

impl Default for Limits {
    /// 10,000 objects, 1,000 decisions, 16 MiB.
    fn default() -> Self {
        Self { objects: 10_000, decisions: 1_000, bytes: 16 << 20 }
    }
}

/// How many decisions stay in the DB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionsKept {
    /// The newest of each object and part; at least one is always kept.
    pub newest: u32,
    /// Older ones go, except the newest of each object and part.
    pub max_age: SignedDuration,
}

impl Default for DecisionsKept {
    /// 1,000 per object and part, 90 days.
    fn default() -> Self {
        Self { newest: 1_000, max_age: SignedDuration::from_hours(90 * 24) }
    }
}
