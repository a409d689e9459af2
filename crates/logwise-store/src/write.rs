//! Writes a batch in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::record::{Decision, Object, Sample, utc};
use crate::rows::{DecisionsKept, LiveList};
use crate::session::Session;
use crate::statements::{self, Statement, Value};

const ROWS: usize = 100;
const UIDS: usize = 1000;
// Far below max_allowed_packet (16 MiB by default); a greater row goes alone.
const BYTES: usize = 1 << 20;
// Samples are of use soon after a restart only.
const SAMPLES_KEPT: SignedDuration = SignedDuration::from_hours(2);
/// The most decisions, and the most samples, that one transaction removes.
pub(crate) const PRUNED_AT_ONCE: usize = 500;

/// What one transaction writes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) decisions: Vec<Arc<Decision>>,
    pub(crate) samples: Vec<Arc<Sample>>,
    pub(crate) lists: Vec<Arc<LiveList>>,
    pub(crate) prune: Option<DecisionsKept>,
    pub(crate) prune_samples: bool,
}

impl Batch {
    pub(crate) const fn rows(&self) -> usize {
        self.objects.len() + self.decisions.len() + self.samples.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows() == 0 && self.lists.is_empty() && self.prune.is_none() && !self.prune_samples
    }

    /// Names the batch in an error.
    pub(crate) fn title(&self) -> String {
        match (self.objects.as_slice(), self.decisions.as_slice(), self.samples.as_slice()) {
            ([object], [], []) => object.title(),
            ([], [decision], []) => format!("a decision of {}", decision.part.chars().take(80).collect::<String>()),
            ([], [], [sample]) => format!("a sample of Kafka cluster {}", sample.cluster),
            (objects, decisions, []) => format!("{} objects and {} decisions", objects.len(), decisions.len()),
            (objects, decisions, samples) => {
                format!("{} objects, {} decisions and {} samples", objects.len(), decisions.len(), samples.len())
            }
        }
    }
}

/// Called with `"before"` right before each commit and with `"after"` once it was answered: crash points of tests.
#[derive(Clone, Copy, Debug)]
pub struct CommitHooks {
    /// Runs before the commit is sent.
    pub before: fn(&'static str),
    /// Runs after the commit was answered.
    pub after: fn(&'static str),
}

impl Default for CommitHooks {
    /// Does nothing.
    fn default() -> Self {
        Self { before: |_| (), after: |_| () }
    }
}

/// What a transaction changed besides the rows of the batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) marked_deleted: u64,
    pub(crate) pruned: usize,
    pub(crate) pruned_samples: usize,
}

/// Writes all of it or nothing. After an error the session is usable only if it is in no transaction.
pub(crate) async fn write(session: &mut Session, batch: &Batch, hooks: CommitHooks) -> Result<Written, sqlx::Error> {
    session.begin().await?;
    let written = match write_rows(session, batch).await {
        Ok(written) => written,
        Err(error) => {
            session.roll_back().await;
            return Err(error);
        }
    };
    (hooks.before)("before");
    session.commit().await?;
    (hooks.after)("after");
    Ok(written)
}

async fn write_rows(session: &mut Session, batch: &Batch) -> Result<Written, sqlx::Error> {
    let dialect = session.dialect();
    // The newest of each object, in the order of the key: two writers then take their locks in the same order.
    let mut objects = BTreeMap::<&str, &Object>::new();
    for object in &batch.objects {
        let newest = objects.entry(&object.uid).or_insert(object);
        if object.mark.replaces(newest.mark) {
            *newest = object;
        }
    }
    let objects: Vec<_> = objects.into_values().collect();
    // Every object row is locked by its upsert before the first plain read, whose snapshot then holds the last word.
    for chunk in chunks(&objects, |object| object.bytes) {
        session
            .execute(statements::upsert_objects(
                dialect,
                chunk.iter().flat_map(|object| object_values(object)).collect(),
            ))
            .await?;
    }
    for chunk in chunks(&objects, |object| object.bytes) {
        write_conditions(session, chunk).await?;
    }
    for chunk in chunks(&batch.decisions, |decision| decision.bytes) {
        let values = chunk
            .iter()
            .flat_map(|row| row.texts().map(Value::Text).into_iter().chain([Value::Int(row.generation)]))
            .collect();
        session.execute(statements::insert_decisions(dialect, values)).await?;
    }
    write_samples(session, &batch.samples).await?;
    let mut written = Written::default();
    for list in &batch.lists {
        written.marked_deleted += mark_absent(session, list).await?;
    }
    if let Some(kept) = &batch.prune {
        written.pruned = prune(session, kept).await?;
    }
    if batch.prune_samples {
        written.pruned_samples = prune_samples(session).await?;
    }
    Ok(written)
}

fn object_values(object: &Object) -> [Value<'_>; 10] {
    [
        Value::Text(&object.uid),
        Value::Text(&object.kind),
        Value::Text(&object.namespace),
        Value::Text(&object.name),
        Value::Int(object.generation),
        Value::Text(&object.spec),
        Value::Text(&object.status),
        Value::Text(&object.observed_at),
        Value::Int(object.mark.deleted.into()),
        Value::Int(object.mark.revision),
    ]
}

/// Makes the conditions of those objects whose row is now ours equal to what the objects say.
async fn write_conditions(session: &mut Session, objects: &[&Object]) -> Result<(), sqlx::Error> {
    let uids = objects.iter().map(|object| Value::Text(&object.uid)).collect();
    let stored: HashMap<String, (i64, bool)> = session
        .rows::<(String, i64, i64)>(statements::stored_marks(uids))
        .await?
        .into_iter()
        .map(|(uid, revision, deleted)| (uid, (revision, deleted != 0)))
        .collect();
    let ours: Vec<_> = objects
        .iter()
        .filter(|object| stored.get(&object.uid) == Some(&(object.mark.revision, object.mark.deleted)))
        .collect();
    if ours.is_empty() {
        return Ok(());
    }
    let present: Vec<(String, String)> = session
        .rows(statements::stored_conditions(ours.iter().map(|object| Value::Text(&object.uid)).collect()))
        .await?;
    let wanted: BTreeMap<_, _> = ours
        .iter()
        .flat_map(|object| {
            object
                .conditions
                .iter()
                .map(|condition| ((object.uid.as_str(), condition.r#type.as_str()), (**object, condition)))
        })
        .collect();
    let rows: Vec<_> = wanted.values().copied().collect();
    for chunk in chunks(&rows, |(_, condition)| condition.reason.len() + condition.message.len()) {
        let values = chunk.iter().flat_map(|(object, condition)| {
            [
                Value::Text(&object.uid),
                Value::Text(&condition.r#type),
                Value::Text(&object.kind),
                Value::Text(&object.namespace),
                Value::Text(&object.name),
                Value::Text(&condition.status),
                Value::Text(&condition.reason),
                Value::Text(&condition.message),
                Value::Int(condition.observed_generation),
                Value::Text(&condition.last_transition_time),
            ]
        });
        let statement = statements::upsert_conditions(session.dialect(), values.collect());
        session.execute(statement).await?;
    }
    // Row by key, not by range: locks on gaps would make two writers of different objects wait for each other.
    let gone: Vec<_> =
        present.iter().filter(|(uid, r#type)| !wanted.contains_key(&(uid.as_str(), r#type.as_str()))).collect();
    for chunk in gone.chunks(ROWS) {
        let values = chunk.iter().flat_map(|(uid, r#type)| [Value::Text(uid), Value::Text(r#type)]).collect();
        session.execute(statements::delete_conditions(values)).await?;
    }
    Ok(())
}

async fn write_samples(session: &mut Session, samples: &[Arc<Sample>]) -> Result<(), sqlx::Error> {
    let dialect = session.dialect();
    // In the order of the key, as the objects are.
    let mut samples: Vec<&Sample> = samples.iter().map(|sample| &**sample).collect();
    samples.sort_by_key(|sample| sample.key());
    for chunk in chunks(&samples, |sample| sample.bytes) {
        let values = chunk.iter().flat_map(|sample| {
            [
                Value::Text(&sample.cluster),
                Value::Int(sample.slot.into()),
                Value::Bytes(&sample.payload),
                Value::Text(&sample.taken_at),
            ]
        });
        session.execute(statements::upsert_samples(dialect, values.collect())).await?;
    }
    Ok(())
}

async fn mark_absent(session: &mut Session, list: &LiveList) -> Result<u64, sqlx::Error> {
    let rows: Vec<(String,)> =
        session.rows(statements::live_rows(&list.kind, list.namespace.as_deref(), list.revision)).await?;
    let absent: Vec<&str> = rows.iter().map(|(uid,)| uid.as_str()).filter(|uid| !list.uids.contains(*uid)).collect();
    let observed_at = utc(list.observed_at);
    let mut marked = 0;
    for chunk in absent.chunks(UIDS) {
        marked += session.execute(statements::mark_deleted(&observed_at, list.revision, chunk)).await?;
        session
            .execute(statements::delete_conditions_of_deleted(chunk.iter().map(|uid| Value::Text(uid)).collect()))
            .await?;
    }
    Ok(marked)
}

async fn prune(session: &mut Session, kept: &DecisionsKept) -> Result<usize, sqlx::Error> {
    // Beyond the calendar nothing is too old.
    let oldest = Timestamp::now().checked_sub(kept.max_age).unwrap_or(Timestamp::UNIX_EPOCH);
    let (oldest, limit) = (utc(oldest), i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX));
    let surplus: Vec<(String,)> =
        session.rows(statements::surplus_decisions(kept.newest.max(1).into(), &oldest, limit)).await?;
    let distinct: HashSet<&str> = surplus.iter().map(|(id,)| id.as_str()).collect();
    for chunk in distinct.iter().collect::<Vec<_>>().chunks(ROWS) {
        let statement: Statement<'_> = statements::delete_decisions(chunk.iter().map(|id| Value::Text(id)).collect());
        session.execute(statement).await?;
    }
    Ok(surplus.len())
}

/// Removes samples that are too old, and those from so far in the future that a wrong clock must have made them: they
/// would keep their slots from being written.
async fn prune_samples(session: &mut Session) -> Result<usize, sqlx::Error> {
    let now = Timestamp::now();
    let oldest = utc(now.checked_sub(SAMPLES_KEPT).unwrap_or(Timestamp::UNIX_EPOCH));
    let newest = utc(now.checked_add(SAMPLES_KEPT).unwrap_or(Timestamp::MAX));
    let limit = i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX);
    let stale: Vec<(String, i64)> = session.rows(statements::stale_samples(&oldest, &newest, limit)).await?;
    for chunk in stale.chunks(ROWS) {
        let keys = chunk.iter().flat_map(|(cluster, slot)| [Value::Text(cluster), Value::Int(*slot)]).collect();
        // The times again: another writer may have put a new sample there since.
        session.execute(statements::delete_samples(&oldest, &newest, keys)).await?;
    }
    Ok(stale.len())
}

/// Consecutive pieces of at most [`ROWS`] rows and about [`BYTES`] bytes.
fn chunks<T>(rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut pieces = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        if at > start && (at - start == ROWS || size + bytes(row) > BYTES) {
            pieces.push(&rows[start..at]);
            (start, size) = (at, 0);
        }
        size += bytes(row);
    }
    if start < rows.len() {
        pieces.push(&rows[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_bounded_in_rows_and_bytes_and_lose_nothing() {
        let sizes: Vec<usize> =
            (0..1000).map(|number| if number % 97 == 0 { 3 * BYTES } else { number * 100 }).collect();
        let pieces = chunks(&sizes, |size| *size);
        assert_eq!(pieces.concat(), sizes);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= ROWS && (piece.len() == 1 || piece.iter().sum::<usize>() <= BYTES))
        );
        assert!(chunks(&Vec::<usize>::new(), |size| *size).is_empty());
    }
}
