//! How long the records take to read that waited when the present batch began.

use logwise_runtime::facts::{BatchFact, CheckpointPosition};

/// Master, driver and worker of the query that runs.
type Runs = (String, String, Option<String>);

/// Records that waited when the present batch began.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// The batch before it, and its query.
    after: Option<(i64, Option<String>)>,
    /// What reads it.
    by: Option<Runs>,
    records: Option<i64>,
}

impl Unread {
    /// Seconds that they take, at the speed of the newest batches; while no batch has told that, at `expected` records a
    /// second. Zero if it is not known how many wait. They are the fewest that were seen to wait since the batch before
    /// was committed, or since this driver runs: meanwhile more come, and none counts as read.
    pub fn seconds(
        &mut self,
        position: &CheckpointPosition,
        by: Option<&Runs>,
        (backlog, expected): (Option<i64>, i64),
    ) -> i64 {
        let after = Some((position.batch, position.query.clone()));
        if self.after != after || self.by.as_ref() != by {
            *self = Self { after, by: by.cloned(), records: None };
        }
        self.records = self.records.into_iter().chain(backlog).min();
        let records = self.records.unwrap_or(0).max(0);
        measured(&position.batches, records).unwrap_or_else(|| records / expected.max(1))
    }
}

/// Seconds in which the query reads so many records, if it goes on as in these batches; `None`: they have read nothing.
fn measured(batches: &[BatchFact], records: i64) -> Option<i64> {
    let (mut read, mut milliseconds) = (0i128, 0i128);
    for batch in batches.iter().filter(|batch| batch.records > 0 && batch.started < batch.committed) {
        read += i128::from(batch.records);
        milliseconds += batch.committed.duration_since(batch.started).as_millis();
    }
    if read == 0 {
        return None;
    }
    let needed = i128::from(records).saturating_mul(milliseconds) / (read * 1_000);
    Some(i64::try_from(needed).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::collections::BTreeMap;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Each of its batches has read a thousand records a second.
    fn position(batch: i64) -> CheckpointPosition {
        let read = |id: i64| BatchFact { id, records: 10_000, started: at(id * 60), committed: at(id * 60 + 10) };
        let batches = vec![read(batch - 1), read(batch)];
        CheckpointPosition { batch, offsets: BTreeMap::new(), committed: at(0), batches, query: Some("q".into()) }
    }

    fn runs(worker: &str) -> Runs {
        ("m".into(), "d1".into(), Some(worker.into()))
    }

    /// Records a second that are expected of one core.
    const EXPECTED: i64 = 8_300;

    #[test]
    fn what_waited_when_the_batch_began_counts_and_not_what_has_come_since() {
        let (mut unread, one, other) = (Unread::default(), runs("w1"), runs("w2"));
        let mut seconds = |batch, by: &Runs, backlog| unread.seconds(&position(batch), Some(by), (backlog, EXPECTED));
        assert_eq!(seconds(7, &one, None), 0, "not known yet");
        assert_eq!(seconds(7, &one, Some(400_000)), 400);
        assert_eq!(seconds(7, &one, Some(900_000)), 400);
        assert_eq!(seconds(7, &one, None), 400, "it was known before");
        assert_eq!(seconds(7, &other, Some(950_000)), 950, "it begins anew");
        assert_eq!(seconds(8, &other, Some(950_000)), 950, "not counted since");
        assert_eq!(seconds(8, &other, Some(20_000)), 20, "by the first count since");
    }

    /// The first batch of a pipeline has much to read, too, and nothing was measured before it.
    #[test]
    fn without_a_batch_that_has_read_something_the_speed_is_the_expected_one() {
        let mut position = position(7);
        let seconds = |position: &CheckpointPosition, backlog, expected| {
            Unread::default().seconds(position, None, (Some(backlog), expected))
        };
        position.batches.iter_mut().for_each(|batch| batch.records = 0);
        assert_eq!(seconds(&position, 415_000, EXPECTED), 50);
        position.batches.clear();
        assert!(seconds(&position, 100_000_000, EXPECTED) >= 3_600);
        assert_eq!((seconds(&position, 50, EXPECTED), seconds(&position, -1, EXPECTED)), (0, 0));
        assert_eq!(seconds(&position, i64::MAX, 0), i64::MAX, "no number divides by zero");
        let slow = BatchFact { id: 1, records: 1, started: Timestamp::MIN, committed: Timestamp::MAX };
        position.batches = vec![slow];
        assert_eq!(seconds(&position, i64::MAX, EXPECTED), i64::MAX, "nothing overflows");
        assert_eq!(seconds(&position, i64::MIN, EXPECTED), 0);
    }
}
