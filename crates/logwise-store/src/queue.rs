//! What waits for the DB: bounded, the latest state of each object, without clocks and without I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::record::{Decision, Mark, Object, Sample};
use crate::rows::{Limits, LiveList};
use crate::samples::SampleQueue;
use crate::write::Batch;

// A batch is one transaction; more would hold locks for long.
const BATCH_BYTES: usize = 4 << 20;

struct Waiting {
    place: u64,
    object: Arc<Object>,
    held_until: Option<Instant>,
}

#[derive(Default)]
pub(crate) struct Queue {
    limits: Limits,
    next_place: u64,
    objects: HashMap<String, Waiting>,
    order: BTreeMap<u64, String>,
    decisions: BTreeMap<u64, Arc<Decision>>,
    lists: HashMap<(String, Option<String>), Arc<LiveList>>,
    samples: SampleQueue,
    written: HashMap<String, Mark>,
    bytes: usize,
    dropped_decisions: u64,
    dropped_objects: u64,
    resend: bool,
}

/// A batch and where it came from. What is taken stays in the queue until [`Queue::complete`].
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    decisions: Vec<u64>,
    /// More was left for lack of room.
    pub(crate) full: bool,
    bytes: usize,
}

/// When there is something to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    At(Instant),
    Never,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// False when the object is older than, or the same as, what waits or was written last.
    pub(crate) fn push_object(&mut self, object: Object) -> bool {
        let known = self
            .objects
            .get(&object.uid)
            .map(|waiting| waiting.object.mark)
            .or_else(|| self.written.get(&object.uid).copied());
        if known.is_some_and(|known| !object.mark.replaces(known)) {
            return false;
        }
        self.bytes += object.bytes;
        let (uid, object) = (object.uid.clone(), Arc::new(object));
        if let Some(waiting) = self.objects.get_mut(&uid) {
            self.bytes -= waiting.object.bytes;
            (waiting.object, waiting.held_until) = (object, None);
        } else {
            let place = self.place();
            self.order.insert(place, uid.clone());
            self.objects.insert(uid, Waiting { place, object, held_until: None });
        }
        self.make_room();
        true
    }

    pub(crate) fn push_decision(&mut self, decision: Decision) {
        self.bytes += decision.bytes;
        let place = self.place();
        self.decisions.insert(place, Arc::new(decision));
        self.make_room();
    }

    /// False when what waits for the same slot is newer.
    pub(crate) fn push_sample(&mut self, sample: Sample) -> bool {
        let pushed = self.samples.push(sample);
        self.make_room();
        pushed
    }

    /// Objects that wait and have ended according to the list are forgotten.
    pub(crate) fn push_list(&mut self, list: LiveList) {
        let ended = |object: &Object| {
            object.kind == list.kind
                && list.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace)
                && !object.mark.deleted
                && object.mark.revision <= list.revision
                && !list.uids.contains(&object.uid)
        };
        let ended: Vec<_> = self
            .objects
            .values()
            .filter(|waiting| ended(&waiting.object))
            .map(|waiting| waiting.object.uid.clone())
            .collect();
        for uid in ended {
            self.remove(&uid);
        }
        self.lists.insert((list.kind.clone(), list.namespace.clone()), Arc::new(list));
    }

    /// The oldest rows, at most `limit`. Lists go first and alone, so that a row sent after a list is written after it. A
    /// held row goes alone and only when nothing else waits.
    pub(crate) fn take(&self, limit: usize, now: Instant) -> Taken {
        let mut taken = Taken::default();
        if !self.lists.is_empty() {
            taken.batch.lists = self.lists.values().cloned().collect();
            taken.full = self.pending() > taken.batch.lists.len();
            return taken;
        }
        let free = || {
            self.order.values().filter_map(|uid| self.objects.get(uid)).filter(|waiting| waiting.held_until.is_none())
        };
        let (for_decisions, for_samples) = (self.decisions.len().min(limit / 2), self.samples.len().min(limit / 4));
        for waiting in free() {
            if !taken.has_room(limit - for_decisions - for_samples, waiting.object.bytes) {
                break;
            }
            taken.batch.objects.push(Arc::clone(&waiting.object));
        }
        for (place, decision) in &self.decisions {
            if !taken.has_room(limit - for_samples, decision.bytes) {
                break;
            }
            taken.batch.decisions.push(Arc::clone(decision));
            taken.decisions.push(*place);
        }
        for sample in self.samples.iter() {
            if !taken.has_room(limit, sample.bytes) {
                break;
            }
            taken.batch.samples.push(Arc::clone(sample));
        }
        if taken.batch.is_empty()
            && let Some(held) =
                self.objects.values().find(|waiting| waiting.held_until.is_some_and(|until| until <= now))
        {
            taken.batch.objects.push(Arc::clone(&held.object));
        }
        taken
    }

    /// The batch is in the DB.
    pub(crate) fn complete(&mut self, taken: &Taken) {
        for object in &taken.batch.objects {
            if self.is_still(object) {
                let held = self.remove(&object.uid).is_some_and(|waiting| waiting.held_until.is_some());
                // What stood in the way of this row stood in the way of the others too.
                if held {
                    self.objects.values_mut().for_each(|waiting| waiting.held_until = None);
                }
            }
            if object.mark.deleted {
                self.written.remove(&object.uid);
            } else {
                self.written.insert(object.uid.clone(), object.mark);
            }
        }
        for place in &taken.decisions {
            match self.decisions.remove(place) {
                Some(decision) => self.bytes -= decision.bytes,
                // It was pushed out while it was on its way, so nothing was lost after all.
                None => self.dropped_decisions = self.dropped_decisions.saturating_sub(1),
            }
        }
        self.samples.forget(&taken.batch.samples);
        for list in &taken.batch.lists {
            let key = (list.kind.clone(), list.namespace.clone());
            if self.lists.get(&key).is_some_and(|waiting| Arc::ptr_eq(waiting, list)) {
                self.lists.remove(&key);
            }
        }
        // Objects that ended unseen leave their marks behind; forgetting all costs one more write of each.
        if self.written.len() > self.limits.objects.saturating_mul(2) {
            self.written.clear();
        }
    }

    /// The single row of the batch is refused: an object waits aside until `until`, a decision or a sample is dropped.
    /// False when the object was held before.
    pub(crate) fn hold(&mut self, taken: &Taken, until: Instant) -> bool {
        let mut first = true;
        for object in &taken.batch.objects {
            let place = self.place();
            if self.is_still(object)
                && let Some(waiting) = self.objects.get_mut(&object.uid)
            {
                self.order.remove(&waiting.place);
                self.order.insert(place, object.uid.clone());
                first = waiting.held_until.is_none();
                (waiting.place, waiting.held_until) = (place, Some(until));
            }
        }
        for place in &taken.decisions {
            if let Some(decision) = self.decisions.remove(place) {
                self.bytes -= decision.bytes;
                self.dropped_decisions += 1;
            }
        }
        self.samples.forget(&taken.batch.samples);
        first
    }

    pub(crate) fn due(&self, now: Instant) -> Due {
        let held = self.objects.values().filter_map(|waiting| waiting.held_until);
        if self.pending() > held.clone().count() {
            return Due::Now;
        }
        match held.min() {
            Some(until) if until <= now => Due::Now,
            Some(until) => Due::At(until),
            None => Due::Never,
        }
    }

    /// The DB may have lost what was written: whatever is sent again is written again.
    pub(crate) fn forget_written(&mut self) {
        self.written.clear();
    }

    /// True once after objects were pushed out.
    pub(crate) fn take_resend(&mut self) -> bool {
        std::mem::take(&mut self.resend)
    }

    pub(crate) fn pending(&self) -> usize {
        self.objects.len() + self.decisions.len() + self.lists.len() + self.samples.len()
    }

    pub(crate) fn held(&self) -> usize {
        self.objects.values().filter(|waiting| waiting.held_until.is_some()).count()
    }

    pub(crate) const fn dropped_decisions(&self) -> u64 {
        self.dropped_decisions
    }

    pub(crate) const fn dropped_objects(&self) -> u64 {
        self.dropped_objects
    }

    const fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    fn is_still(&self, object: &Arc<Object>) -> bool {
        self.objects.get(&object.uid).is_some_and(|waiting| Arc::ptr_eq(&waiting.object, object))
    }

    fn remove(&mut self, uid: &str) -> Option<Waiting> {
        let waiting = self.objects.remove(uid)?;
        self.order.remove(&waiting.place);
        self.bytes -= waiting.object.bytes;
        Some(waiting)
    }

    fn make_room(&mut self) {
        self.samples.make_room(self.limits.bytes.saturating_sub(self.bytes));
        while self.decisions.len() > self.limits.decisions
            || (self.bytes > self.limits.bytes && !self.decisions.is_empty())
        {
            if let Some((_, decision)) = self.decisions.pop_first() {
                self.bytes -= decision.bytes;
                self.dropped_decisions += 1;
            }
        }
        while self.objects.len() > self.limits.objects || (self.bytes > self.limits.bytes && self.objects.len() > 1) {
            let Some(oldest) = self.order.first_key_value().map(|(_, uid)| uid.clone()) else { return };
            self.remove(&oldest);
            self.written.remove(&oldest);
            self.dropped_objects += 1;
            self.resend = true;
        }
    }
}

impl Taken {
    fn has_room(&mut self, limit: usize, bytes: usize) -> bool {
        let rows = self.batch.rows();
        let room = rows < limit && (rows == 0 || self.bytes + bytes <= BATCH_BYTES);
        self.full |= !room;
        self.bytes += if room { bytes } else { 0 };
        room
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::rows::{DecisionRow, ObjectRow};

    pub(crate) fn object(uid: &str, revision: i64, size: usize) -> Object {
        Object::encode(ObjectRow {
            uid: uid.into(),
            kind: "LogwiseCluster".into(),
            namespace: "ns".into(),
            name: uid.into(),
            generation: 1,
            revision,
            deleted: false,
            spec: json!({"fill": "x".repeat(size)}),
            status: Value::Null,
            conditions: Vec::new(),
            observed_at: Timestamp::UNIX_EPOCH,
        })
    }

    pub(crate) fn decision(id: &str, size: usize) -> Decision {
        Decision::encode(DecisionRow {
            id: id.into(),
            uid: "u".into(),
            namespace: "ns".into(),
            name: "n".into(),
            part: "partitions".into(),
            generation: 1,
            decided_at: Timestamp::UNIX_EPOCH,
            plan_id: "p".into(),
            inputs: json!("x".repeat(size)),
            actions: Value::Null,
            holds: Value::Null,
            outcome: Value::Null,
        })
    }

    pub(crate) fn uids(taken: &Taken) -> Vec<&str> {
        taken.batch.objects.iter().map(|object| object.uid.as_str()).collect()
    }

    pub(crate) fn ids(taken: &Taken) -> Vec<&str> {
        taken.batch.decisions.iter().map(|decision| decision.id.as_str()).collect()
    }

    #[test]
    fn the_latest_state_wins_and_an_equal_one_is_not_written_again() {
        let now = Instant::now();
        let mut queue = Queue::default();
        assert!(queue.push_object(object("a", 1, 0)) && queue.push_object(object("a", 3, 0)));
        assert!(!queue.push_object(object("a", 2, 0)), "older than what waits");
        let taken = queue.take(10, now);
        assert_eq!((taken.batch.objects.len(), taken.batch.objects[0].mark.revision), (1, 3));
        assert!(queue.push_object(object("a", 4, 0)), "while revision 3 is on its way");
        queue.complete(&taken);
        let taken = queue.take(10, now);
        assert_eq!(taken.batch.objects[0].mark.revision, 4, "what came meanwhile is not lost");
        queue.complete(&taken);
        assert_eq!((queue.pending(), queue.bytes, queue.due(now)), (0, 0, Due::Never));
        assert!(!queue.push_object(object("a", 4, 0)) && !queue.push_object(object("a", 3, 0)));
        queue.forget_written();
        assert!(queue.push_object(object("a", 4, 0)));
    }

    #[test]
    fn what_does_not_fit_pushes_out_the_oldest_and_is_counted() {
        let now = Instant::now();
        let mut queue = Queue::new(Limits { objects: 2, decisions: 2, bytes: 100_000 });
        for name in ["a", "b", "c"] {
            queue.push_object(object(name, 1, 0));
            queue.push_decision(decision(name, 0));
        }
        let taken = queue.take(10, now);
        assert_eq!((uids(&taken), ids(&taken)), (vec!["b", "c"], vec!["b", "c"]));
        assert_eq!((queue.dropped_objects(), queue.dropped_decisions()), (1, 1));
        assert!(queue.take_resend() && !queue.take_resend());
        // Pushed out while on its way, then written: not lost.
        queue.push_decision(decision("d", 0));
        assert_eq!(queue.dropped_decisions(), 2);
        queue.complete(&taken);
        assert_eq!((queue.dropped_decisions(), ids(&queue.take(10, now))), (1, vec!["d"]));
        // Bytes: decisions go first.
        for number in 0..10 {
            queue.push_object(object(&number.to_string(), 1, 30_000));
            assert!(queue.bytes <= 100_000, "{}", queue.bytes);
        }
        queue.push_decision(decision("e", 90_000));
        assert!(queue.bytes <= 100_000 && ids(&queue.take(10, now)).is_empty());
        while !queue.take(10, now).batch.is_empty() {
            let taken = queue.take(1, now);
            queue.complete(&taken);
        }
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_batch_is_bounded_and_objects_do_not_starve_decisions() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for number in 0..20 {
            queue.push_object(object(&format!("{number:02}"), 1, 0));
        }
        queue.push_decision(decision("d", 0));
        let taken = queue.take(10, now);
        assert_eq!((uids(&taken).len(), ids(&taken), taken.full), (9, vec!["d"], true));
        assert_eq!(uids(&taken)[0], "00");
        queue.complete(&taken);
        let taken = queue.take(100, now);
        assert_eq!((uids(&taken).len(), taken.full), (11, false));
        let mut queue = Queue::default();
        for number in 0..5 {
            queue.push_object(object(&number.to_string(), 1, BATCH_BYTES / 3));
        }
        assert_eq!(uids(&queue.take(10, now)).len(), 2);
    }

    #[test]
    fn a_held_row_lets_the_others_pass_and_comes_back_alone() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let mut queue = Queue::default();
        queue.push_object(object("bad", 1, 0));
        queue.push_object(object("good", 1, 0));
        queue.push_decision(decision("d", 0));
        let taken = queue.take(1, now);
        assert_eq!(uids(&taken), ["bad"]);
        assert!(queue.hold(&taken, later));
        assert_eq!((queue.held(), queue.due(now)), (1, Due::Now));
        let taken = queue.take(10, later);
        assert_eq!((uids(&taken), ids(&taken)), (vec!["good"], vec!["d"]));
        queue.complete(&taken);
        assert_eq!(queue.due(now), Due::At(later));
        assert!(queue.take(10, now).batch.is_empty());
        let taken = queue.take(10, later);
        assert_eq!(uids(&taken), ["bad"]);
        assert!(!queue.hold(&taken, later), "held before");
        assert!(!queue.push_object(object("bad", 1, 0)), "the same again does not end the wait");
        assert!(queue.push_object(object("bad", 2, 0)));
        assert_eq!((queue.held(), queue.due(now)), (0, Due::Now));
        queue.push_decision(decision("bad", 0));
        queue.complete(&queue.take(1, now));
        let taken = queue.take(1, now);
        queue.hold(&taken, later);
        assert_eq!((queue.pending(), queue.dropped_decisions(), queue.bytes), (0, 1, 0));
    }

    #[test]
    fn when_a_held_row_is_written_the_others_are_tried_at_once() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for uid in ["a", "b", "c"] {
            queue.push_object(object(uid, 1, 0));
            let taken = queue.take(1, now);
            queue.hold(&taken, now);
        }
        let taken = queue.take(10, now);
        assert_eq!((uids(&taken).len(), queue.held()), (1, 3));
        queue.complete(&taken);
        assert_eq!((uids(&queue.take(10, now)).len(), queue.held()), (2, 0));
    }

    #[test]
    fn a_list_forgets_waiting_objects_that_ended() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for (uid, revision) in [("listed", 1), ("ended", 1), ("newer", 9)] {
            queue.push_object(object(uid, revision, 0));
        }
        let list = |namespace: &str| LiveList {
            kind: "LogwiseCluster".into(),
            namespace: Some(namespace.into()),
            revision: 5,
            uids: ["listed".to_owned()].into(),
            observed_at: Timestamp::UNIX_EPOCH,
        };
        queue.push_list(list("other"));
        assert_eq!(queue.pending(), 4, "objects of another namespace are not meant");
        queue.push_list(list("ns"));
        queue.push_object(object("after", 2, 0));
        let taken = queue.take(1, now);
        assert_eq!((uids(&taken).len(), taken.batch.lists.len(), taken.full), (0, 2, true));
        queue.push_list(LiveList { revision: 1, ..list("ns") });
        queue.complete(&taken);
        let taken = queue.take(10, now);
        assert_eq!(taken.batch.lists.len(), 1, "a list that came meanwhile is not lost");
        queue.complete(&taken);
        assert_eq!(uids(&queue.take(10, now)), ["listed", "newer", "after"]);
    }
}
