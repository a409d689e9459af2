//! Follows one checkpoint: the first look lists its commits, each further one asks for the commit that comes next.

use super::files::OffsetLog;
use super::requests::{Checkpoint, Commit, Found};
use jiff::SignedDuration;
use logwise_plan::Known;
use logwise_runtime::facts::{BatchFact, CheckpointPosition, MOST_BATCHES, Offsets, TopicStarts};
use std::time::Duration;
use tokio::time::Instant;

/// Requests of a look, but for the first one at a checkpoint.
const MOST_REQUESTS: u32 = 3;

/// Batches whose offsets are read by the first look.
const FIRST_BATCHES: usize = 10;

/// How far two readings of one object's time may lie apart: listings and objects may be rounded in other ways.
const ROUNDING: SignedDuration = SignedDuration::from_secs(5);

/// What is known of a checkpoint from look to look.
#[derive(Debug, Default)]
pub(super) struct Followed {
    standing: Standing,
    /// The newest batch that was ever known, and its query.
    last: Option<(i64, Option<String>)>,
    /// When the checkpoint was seen to have begun anew, and how.
    anew: Option<(Instant, String)>,
}

#[derive(Debug, Default)]
enum Standing {
    /// Nothing is known of it: the commits have to be listed.
    #[default]
    Unread,
    /// What was known is gone, and how that was seen.
    Gone(String),
    /// No batch was committed when they were listed.
    Empty { listed: Instant },
    /// The newest batch could not be read when they were listed.
    Stuck { batch: i64, listed: Instant },
    /// Some batch is known to be committed.
    At(Box<At>),
}

/// The newest batch that is known to be committed.
#[derive(Debug)]
struct At {
    position: CheckpointPosition,
    /// Sources of the query.
    sources: usize,
    /// Whether the query commits more than one batch from look to look.
    hurries: bool,
    /// When the id of the query was read.
    identified: Instant,
}

impl Followed {
    /// What is left of it when the object names another checkpoint: that there was a query, which the other one is
    /// compared with.
    pub(super) fn elsewhere(self) -> Self {
        Self { standing: Standing::Unread, ..self }
    }

    /// The newest committed batch, by at most three requests after the first look. For `period` after a checkpoint has
    /// begun anew it is unknown, and so often the id of the query is read; `starts` are the first offsets of topics.
    pub(super) async fn look(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        starts: &Known<TopicStarts>,
        period: Duration,
    ) -> Known<CheckpointPosition> {
        match self.read(checkpoint, starts, period).await {
            Ok(()) => self.told(period),
            Err(why) => Known::Unknown(why),
        }
    }

    async fn read(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        starts: &Known<TopicStarts>,
        period: Duration,
    ) -> Result<(), String> {
        if let Standing::Empty { listed } = &self.standing
            && listed.elapsed() < period
            // A checkpoint that has no batch begins with 0.
            && checkpoint.commit(0).await? == Found::Absent
        {
            return Ok(());
        }
        if let Standing::Stuck { batch, listed } = &self.standing
            && listed.elapsed() < period
            // Of an older batch nothing is asked once a later one is committed.
            && checkpoint.commit(batch + 1).await? == Found::Absent
        {
            readable(checkpoint, *batch).await?;
        }
        let Standing::At(at) = &mut self.standing else { return self.begin(checkpoint, starts).await };
        if let Some(gone) = at.follow(checkpoint, starts, period).await? {
            // The next look lists what is there now: the requests of this one are spent.
            self.standing = Standing::Gone(gone);
        } else {
            self.last = Some((at.position.batch, at.position.query.clone()));
        }
        Ok(())
    }

    /// Reads a checkpoint of which nothing is known, and compares it with what was known once.
    async fn begin(&mut self, checkpoint: &Checkpoint<'_>, starts: &Known<TopicStarts>) -> Result<(), String> {
        let newest = checkpoint.newest(FIRST_BATCHES).await?;
        let Some(last) = newest.last() else {
            if let Some((batch, _)) = self.last.take() {
                self.anew = Some((Instant::now(), format!("no batch is committed any more, and {batch} was")));
            }
            self.standing = Standing::Empty { listed: Instant::now() };
            return Ok(());
        };
        let at = match first(checkpoint, &newest, last, starts).await {
            Ok(at) => at,
            Err(why) => {
                self.standing = Standing::Stuck { batch: last.batch, listed: Instant::now() };
                return Err(why);
            }
        };
        // A batch may also be gone because it is old, after a time in which nobody could read.
        if let Some(why) = self.last.as_ref().and_then(|last| went_back(last, &at.position)) {
            self.anew = Some((Instant::now(), why));
        }
        self.last = Some((at.position.batch, at.position.query.clone()));
        self.standing = Standing::At(Box::new(at));
        Ok(())
    }

    fn told(&mut self, period: Duration) -> Known<CheckpointPosition> {
        if let Some((since, why)) = &self.anew {
            if since.elapsed() < period {
                let after = period.as_secs();
                return Known::Unknown(format!(
                    "the checkpoint has begun anew: {why}. It counts again after {after} s"
                ));
            }
            self.anew = None;
        }
        match &self.standing {
            Standing::At(at) => Known::Known(at.position.clone()),
            Standing::Empty { .. } => Known::Absent,
            Standing::Gone(how) => Known::Unknown(format!("{how}: the next look reads the whole checkpoint anew")),
            Standing::Unread | Standing::Stuck { .. } => Known::Unknown("not read yet".to_owned()),
        }
    }
}

/// How a checkpoint has begun anew since its last batch was known.
fn went_back((batch, query): &(i64, Option<String>), now: &CheckpointPosition) -> Option<String> {
    if query.is_some() && now.query.is_some() && *query != now.query {
        return Some("it is of another query".to_owned());
    }
    (now.batch < *batch).then(|| format!("its newest batch is {}, and it was {batch}", now.batch))
}

/// Whether a batch can be read of which something could not be, or is gone.
async fn readable(checkpoint: &Checkpoint<'_>, batch: i64) -> Result<(), String> {
    match checkpoint.commit(batch).await? {
        Found::Whole(_) => checkpoint.offsets(batch).await.map(drop),
        Found::Unreadable(why) => Err(why),
        Found::Absent => Ok(()),
    }
}

/// Reads the newest batches that are listed, of which `last` is the last one.
async fn first(
    checkpoint: &Checkpoint<'_>,
    newest: &[Commit],
    last: &Commit,
    starts: &Known<TopicStarts>,
) -> Result<At, String> {
    let committed = match checkpoint.commit(last.batch).await? {
        Found::Whole(commit) => commit.at,
        Found::Unreadable(why) => return Err(why),
        Found::Absent => return Err(format!("{} went while it was read", checkpoint.commit_key(last.batch))),
    };
    let identified = Instant::now();
    let query = checkpoint.query().await?;
    let logs = futures::future::join_all(newest.iter().map(|commit| checkpoint.offsets(commit.batch))).await;
    let (mut batches, mut before): (Vec<BatchFact>, Option<(i64, OffsetLog)>) = (Vec::new(), None);
    for (commit, log) in newest.iter().zip(logs) {
        let log = match log {
            Ok(log) => log,
            // Of older batches only their records are not known then.
            Err(_) if commit.batch != last.batch => continue,
            Err(why) => return Err(why),
        };
        if let Some((batch, earlier)) = &before
            && batch + 1 == commit.batch
        {
            batches.extend(told_of(commit, (&earlier.offsets, &log), starts));
        }
        before = Some((commit.batch, log));
    }
    // The last one is there: it was read, or nothing is told.
    let (batch, log) = before.ok_or_else(|| format!("{} was not read", checkpoint.offsets_key(last.batch)))?;
    let position = CheckpointPosition { batch, offsets: log.offsets, committed, batches, query };
    Ok(At { position, sources: log.sources, hurries: false, identified })
}

impl At {
    /// Goes to the newest batch. The text says that the checkpoint is no longer the one that was followed.
    async fn follow(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        starts: &Known<TopicStarts>,
        period: Duration,
    ) -> Result<Option<String>, String> {
        let (last, due) = (self.position.batch, self.identified.elapsed() >= period);
        let mut left = MOST_REQUESTS;
        if self.hurries {
            left -= 1;
            if let Some(commit) = end_of_run(last, &checkpoint.after(last).await?) {
                return self.go_to(checkpoint, commit, (starts, due, left)).await;
            }
            self.hurries = false;
        }
        left -= 1;
        let next = match checkpoint.commit(last + 1).await? {
            Found::Absent => return self.stay(checkpoint, (due, left)).await,
            Found::Whole(commit) => Ok(commit),
            Found::Unreadable(why) => Err(why),
        };
        // What cannot be read does not matter any more once a later batch is committed.
        let mut newer = None;
        if left > 1 && (!due || next.is_err()) {
            left -= 1;
            // Names sort as texts: behind 9 comes no 10. What is missed here is the next one for the next look.
            newer = end_of_run(last + 1, &checkpoint.after(last + 1).await?);
        }
        let commit = newer.map_or(next, Ok)?;
        self.go_to(checkpoint, commit, (starts, due, left)).await
    }

    /// Looks whether the checkpoint still is the one that is followed, while no further batch is committed.
    async fn stay(&mut self, checkpoint: &Checkpoint<'_>, (due, left): (bool, u32)) -> Result<Option<String>, String> {
        let last = self.position.batch;
        let key = checkpoint.commit_key(last);
        match checkpoint.commit(last).await? {
            Found::Absent => return Ok(Some(format!("{key} is gone"))),
            Found::Unreadable(why) => return Err(why),
            Found::Whole(commit) if commit.at.duration_since(self.position.committed).abs() > ROUNDING => {
                return Ok(Some(format!("{key} was written again")));
            }
            Found::Whole(_) => {}
        }
        if due && left > 1 { self.identify(checkpoint).await } else { Ok(None) }
    }

    /// Reads the offsets of a later batch, with at least one request left.
    async fn go_to(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        commit: Commit,
        (starts, due, mut left): (&Known<TopicStarts>, bool, u32),
    ) -> Result<Option<String>, String> {
        let Commit { batch, at, is_empty } = commit;
        if is_empty {
            return Err(format!("{} was not written to its end: it is empty", checkpoint.commit_key(batch)));
        }
        if due && left > 1 {
            left -= 1;
            if let Some(another) = self.identify(checkpoint).await? {
                return Ok(Some(another));
            }
        }
        left -= 1;
        let log = checkpoint.offsets(batch).await?;
        if log.sources != self.sources {
            let (key, now, before) = (checkpoint.offsets_key(batch), log.sources, self.sources);
            return Err(format!("{key} was not written to its end: it has {now} sources, and {before} before"));
        }
        let last = self.position.batch;
        let fact = if batch == last + 1 {
            told_of(&commit, (&self.position.offsets, &log), starts)
        } else if left > 0 {
            let before = checkpoint.offsets(batch - 1).await.ok();
            before.and_then(|before| told_of(&commit, (&before.offsets, &log), starts))
        } else {
            None
        };
        // Nothing is waited for from here on: a look that is given up leaves all as it was.
        let batches = &mut self.position.batches;
        batches.extend(fact);
        batches.drain(..batches.len().saturating_sub(MOST_BATCHES));
        (self.position.batch, self.position.committed, self.position.offsets) = (batch, at, log.offsets);
        self.hurries = batch > last + 1;
        Ok(None)
    }

    /// Reads the id of the query; the text says that it is another one.
    async fn identify(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Option<String>, String> {
        let query = checkpoint.query().await?;
        self.identified = Instant::now();
        if self.position.query.is_none() {
            self.position.query = query;
            return Ok(None);
        }
        let is_another = query != self.position.query;
        Ok(is_another.then(|| query.map_or("its metadata is gone", |_| "it is of another query").to_owned()))
    }
}

/// The last of the batches that follow `batch` without a gap; `listed` is sorted.
fn end_of_run(batch: i64, listed: &[Commit]) -> Option<Commit> {
    let later = listed.iter().filter(|commit| commit.batch > batch);
    let run = later.zip(batch + 1..).take_while(|(commit, next)| commit.batch == *next);
    run.last().map(|(commit, _)| *commit)
}

/// What is told of a batch, by the offsets before it and its own; nothing if its records or its time are not known.
fn told_of(commit: &Commit, (before, log): (&Offsets, &OffsetLog), starts: &Known<TopicStarts>) -> Option<BatchFact> {
    let records = records(before, &log.offsets, starts)?;
    Some(BatchFact { id: commit.batch, records, started: log.started?, committed: commit.at })
}

/// Records between two sets of offsets. Not known if a partition went back, or is new and its first offset is not
/// known: with 0 in its place one that is only new to the query would look like a flood.
fn records(before: &Offsets, after: &Offsets, starts: &Known<TopicStarts>) -> Option<i64> {
    let first = |topic: &str, partition: &i32| starts.known()?.get(topic)?.known()?.get(partition).copied();
    let mut records = 0_i64;
    for (topic, partitions) in after {
        for (partition, end) in partitions {
            let begin = match before.get(topic).and_then(|before| before.get(partition)) {
                Some(begin) => *begin,
                // What expired before it was read is nobody's.
                None => first(topic, partition)?.min(*end),
            };
            let read = end.checked_sub(begin).filter(|read| *read >= 0)?;
            records = records.checked_add(read)?;
        }
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    fn at(batch: i64) -> Commit {
        Commit { batch, at: Timestamp::UNIX_EPOCH, is_empty: false }
    }

    fn of(offsets: &[(i32, i64)]) -> Offsets {
        [("a".to_owned(), offsets.iter().copied().collect())].into()
    }

    #[test]
    fn records_are_counted_only_where_both_ends_are_known() {
        let unknown = Known::Unknown("not read".to_owned());
        let starts = Known::Known(TopicStarts::from([("a".to_owned(), Known::Known([(1, 40)].into()))]));
        let before = of(&[(0, 10)]);
        assert_eq!(records(&before, &of(&[(0, 25)]), &unknown), Some(15));
        assert_eq!(records(&before, &of(&[(0, 25), (1, 50)]), &starts), Some(25), "from the begin of the new one");
        assert_eq!(records(&before, &of(&[(0, 25), (1, 30)]), &starts), Some(15), "it has expired since");
        assert_eq!(records(&before, &of(&[(0, 25), (1, 50)]), &unknown), None);
        assert_eq!(records(&before, &of(&[(0, 25), (2, 50)]), &starts), None);
        assert_eq!(records(&before, &of(&[(0, 9)]), &starts), None, "the topic was made anew");
        assert_eq!(records(&before, &Offsets::new(), &starts), Some(0), "a topic that is gone");
        let greatest = of(&[(0, i64::MAX), (1, i64::MAX)]);
        assert_eq!(records(&of(&[(0, 0), (1, 0)]), &greatest, &starts), None, "more than can be counted");
    }

    #[test]
    fn a_checkpoint_begins_anew_with_a_smaller_batch_or_another_query() {
        let now = |batch, query: Option<&str>| CheckpointPosition {
            batch,
            offsets: Offsets::new(),
            committed: Timestamp::UNIX_EPOCH,
            batches: Vec::new(),
            query: query.map(str::to_owned),
        };
        let last = (7, Some("q".to_owned()));
        assert_eq!(went_back(&last, &now(7, Some("q"))), None);
        assert_eq!(went_back(&last, &now(900, Some("q"))), None, "older ones were cleaned up");
        assert_eq!(went_back(&last, &now(900, None)), None);
        assert_eq!(went_back(&last, &now(6, Some("q"))).unwrap(), "its newest batch is 6, and it was 7");
        assert_eq!(went_back(&last, &now(900, Some("r"))).unwrap(), "it is of another query");
    }

    proptest! {
        /// Against the meaning: every batch up to the end is there, and the one behind it is not.
        #[test]
        fn a_run_ends_before_the_first_gap(listed in btree_set(0..40_i64, 0..40), batch in 0..40_i64) {
            let commits: Vec<Commit> = listed.iter().copied().map(at).collect();
            let end = end_of_run(batch, &commits).map_or(batch, |commit| commit.batch);
            prop_assert!((batch + 1..=end).all(|batch| listed.contains(&batch)));
            prop_assert!(!listed.contains(&(end + 1)));
        }
    }
}
