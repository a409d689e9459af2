//! Samples that wait for the DB: few, the newest of each slot. They give way to everything else.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::Sample;

// So few that a search costs nothing.
const WAITING: usize = 64;

/// In the order of arrival.
#[derive(Default)]
pub(crate) struct SampleQueue {
    waiting: VecDeque<Arc<Sample>>,
    bytes: usize,
}

impl SampleQueue {
    /// False when what waits for the same slot is newer.
    pub(crate) fn push(&mut self, sample: Sample) -> bool {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.key() == sample.key()) {
            if self.waiting[at].taken_at > sample.taken_at {
                return false;
            }
            self.remove(at);
        }
        self.bytes += sample.bytes;
        self.waiting.push_back(Arc::new(sample));
        true
    }

    /// Drops the oldest until not too many wait and at most this many bytes.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        while self.waiting.len() > WAITING || (self.bytes > bytes && !self.waiting.is_empty()) {
            self.remove(0);
        }
    }

    /// These are written or refused. What came meanwhile for the same slot stays.
    pub(crate) fn forget(&mut self, samples: &[Arc<Sample>]) {
        for sample in samples {
            if let Some(at) = self.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, sample)) {
                self.remove(at);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Sample>> {
        self.waiting.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn remove(&mut self, at: usize) {
        if let Some(sample) = self.waiting.remove(at) {
            self.bytes -= sample.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jiff::Timestamp;

    use super::*;
    use crate::queue::tests::{decision, ids, object, uids};
    use crate::queue::{Due, Queue, Taken};
    use crate::rows::{Limits, SampleRow};

    fn sample(slot: u32, second: i64, size: usize) -> Sample {
        let taken_at = Timestamp::from_second(second).unwrap();
        Sample::encode(SampleRow { cluster: "c".into(), slot, taken_at, payload: vec![0; size] }).unwrap()
    }

    fn slots(taken: &Taken) -> Vec<u32> {
        taken.batch.samples.iter().map(|sample| sample.slot).collect()
    }

    #[test]
    fn the_newest_of_each_slot_waits_and_none_is_lost_on_the_way() {
        let now = Instant::now();
        let mut queue = Queue::default();
        assert!(queue.push_sample(sample(1, 20, 0)) && queue.push_sample(sample(2, 20, 0)));
        assert!(!queue.push_sample(sample(1, 10, 0)), "older than what waits");
        assert!(queue.push_sample(sample(1, 30, 0)));
        assert_eq!((queue.pending(), queue.due(now)), (2, Due::Now));
        let taken = queue.take(10, now);
        assert_eq!((slots(&taken), taken.batch.rows(), taken.full), (vec![2, 1], 2, false));
        assert!(queue.push_sample(sample(1, 40, 0)), "while the one before is on its way");
        queue.complete(&taken);
        assert_eq!(slots(&queue.take(10, now)), [1]);
        queue.complete(&queue.take(10, now));
        assert_eq!((queue.pending(), queue.due(now)), (0, Due::Never));
        let mut other = sample(1, 10, 0);
        other.cluster = "d".into();
        assert!(queue.push_sample(sample(1, 20, 0)) && queue.push_sample(other), "each cluster has its own slots");
        assert_eq!(queue.pending(), 2);
    }

    #[test]
    fn few_wait_and_the_oldest_goes() {
        let mut queue = SampleQueue::default();
        for slot in 0..100 {
            queue.push(sample(slot, 0, 10));
            queue.make_room(usize::MAX);
        }
        assert_eq!((queue.len(), queue.iter().next().map(|sample| sample.slot)), (WAITING, Some(36)));
        let all: Vec<_> = queue.iter().cloned().collect();
        assert_eq!(queue.bytes, all.iter().map(|sample| sample.bytes).sum::<usize>());
        queue.forget(&all[..60]);
        queue.make_room(all[0].bytes * 2);
        assert_eq!(queue.iter().map(|sample| sample.slot).collect::<Vec<_>>(), [98, 99]);
        queue.make_room(0);
        assert_eq!((queue.len(), queue.bytes), (0, 0));
    }

    #[test]
    fn samples_give_way_to_everything_else() {
        let now = Instant::now();
        let mut queue = Queue::new(Limits { objects: 10, decisions: 10, bytes: 100_000 });
        (0..3).for_each(|slot| assert!(queue.push_sample(sample(slot, 0, 30_000))));
        queue.push_object(object("a", 1, 30_000));
        assert_eq!(slots(&queue.take(10, now)), [1, 2]);
        queue.push_decision(decision("d", 60_000));
        queue.push_sample(sample(3, 0, 30_000));
        let taken = queue.take(10, now);
        assert_eq!((uids(&taken), ids(&taken), slots(&taken)), (vec!["a"], vec!["d"], vec![]));
        assert_eq!((queue.dropped_objects(), queue.dropped_decisions()), (0, 0));
    }

    #[test]
    fn samples_have_their_share_of_a_batch_and_a_refused_one_is_dropped() {
        let now = Instant::now();
        let mut queue = Queue::default();
        (0..20).for_each(|number| assert!(queue.push_object(object(&format!("{number:02}"), 1, 0))));
        queue.push_decision(decision("d", 0));
        queue.push_sample(sample(7, 0, 0));
        let taken = queue.take(10, now);
        assert_eq!((uids(&taken).len(), ids(&taken), slots(&taken), taken.full), (8, vec!["d"], vec![7], true));
        queue.complete(&taken);
        queue.push_sample(sample(8, 0, 0));
        while !uids(&queue.take(1, now)).is_empty() {
            queue.complete(&queue.take(1, now));
        }
        let taken = queue.take(1, now);
        assert_eq!(slots(&taken), [8]);
        assert!(queue.hold(&taken, now));
        assert_eq!((queue.pending(), queue.held(), queue.due(now)), (0, 0, Due::Never));
    }
}
