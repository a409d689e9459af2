//! A streaming job on workers, by the second: records come in, batches read them, machines boot and go.

use super::shapes::{DAY, Noise, Shape};
use std::collections::VecDeque;

/// Cores of a worker.
pub(super) const CORES: i64 = 2;
/// Records per second that a core gets through.
pub(super) const PER_CORE: i64 = 8_300;
/// The machine that the driver runs on.
pub(super) const DRIVER: &str = "i-00000";
/// Seconds from the launch of a machine until its worker takes tasks.
const BOOT: i64 = 180;
/// Seconds from the begin of one batch to that of the next, if it takes no longer.
const TRIGGER: i64 = 60;
/// Seconds that a batch takes beside reading.
const OVERHEAD: i64 = 5;
/// Seconds that a task takes at most.
const TASK: i64 = 30;
/// Seconds after which a record that was not committed is late.
const DELAY: i64 = 300;

/// A machine of the group with its worker.
pub(super) struct Machine {
    pub id: String,
    pub address: String,
    /// When it was launched.
    pub born: i64,
    /// Since when it takes no new tasks.
    pub cordoned: Option<i64>,
}

/// A batch.
#[derive(Clone, Copy)]
pub(super) struct Done {
    pub id: i64,
    pub records: i64,
    pub started: i64,
    pub committed: i64,
    /// Cores that it had at the least.
    pub cores: i64,
}

/// A batch that is not committed yet.
struct Running {
    batch: Done,
    overhead: i64,
    /// Records that were not read yet.
    left: i64,
}

/// What a day was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    /// Records that were committed too late, or not at all although it was time.
    pub late: i64,
    /// Seconds that machines ran, all together.
    pub machine_seconds: i64,
    /// Changes of the number of machines.
    pub changes: i64,
}

impl Score {
    /// Tenths of an hour that machines ran.
    pub(super) fn tenths_of_hours(&self) -> i64 {
        self.machine_seconds / 360
    }
}

pub(super) struct World {
    /// The present second.
    pub now: i64,
    /// Machines that run, the oldest first.
    pub machines: Vec<Machine>,
    /// Records that have come in, and those of them that were committed.
    pub ends: i64,
    pub read: i64,
    /// The newest batches, oldest first.
    pub done: VecDeque<Done>,
    pub score: Score,
    /// Seconds from the begin of one batch to that of the next, if it takes no longer.
    pub trigger: i64,
    shape: Shape,
    noise: Noise,
    launched: i64,
    batches: i64,
    running: Option<Running>,
    next_trigger: i64,
    /// Records that were not committed, with the second in which they came.
    waiting: VecDeque<(i64, i64)>,
}

impl World {
    pub(super) fn new(shape: Shape, machines: i64) -> Self {
        let mut world = Self {
            now: 0,
            machines: Vec::new(),
            ends: 0,
            read: 0,
            done: VecDeque::new(),
            score: Score::default(),
            trigger: TRIGGER,
            shape,
            noise: Noise::new(7),
            launched: 0,
            batches: 0,
            running: None,
            next_trigger: 0,
            waiting: VecDeque::new(),
        };
        world.launch(machines);
        world.machines.iter_mut().for_each(|machine| machine.born = -BOOT);
        world
    }

    /// One second; gives the batch that was committed in it, if one was.
    pub(super) fn step(&mut self) -> Option<Done> {
        let records = self.noise.around(self.shape.rate(self.now));
        self.waiting.push_back((self.now, records));
        self.ends += records;
        self.score.machine_seconds += i64::try_from(self.machines.len()).unwrap();
        self.now += 1;
        if self.shape.is_cut_off(self.now) {
            // What was not committed is read again later.
            self.running = None;
            return None;
        }
        self.trigger();
        self.work()
    }

    fn trigger(&mut self) {
        if self.running.is_none() && self.now >= self.next_trigger && self.ends > self.read {
            let (records, cores) = (self.ends - self.read, self.executor_cores());
            let batch = Done { id: self.batches, records, started: self.now, committed: self.now, cores };
            self.running = Some(Running { batch, overhead: OVERHEAD, left: records });
            self.next_trigger = self.now / self.trigger * self.trigger + self.trigger;
        }
    }

    fn work(&mut self) -> Option<Done> {
        let cores = self.executor_cores();
        let running = self.running.as_mut()?;
        running.batch.cores = running.batch.cores.min(cores);
        if running.overhead > 0 {
            running.overhead -= 1;
        } else {
            running.left -= PER_CORE * cores;
        }
        if running.left > 0 {
            return None;
        }
        let batch = Done { committed: self.now, ..running.batch };
        self.running = None;
        self.commit(batch);
        Some(batch)
    }

    fn commit(&mut self, batch: Done) {
        let mut left = batch.records;
        while let Some((second, records)) = self.waiting.front_mut().filter(|_| left > 0) {
            let taken = left.min(*records);
            if self.now - *second > DELAY {
                self.score.late += taken;
            }
            *records -= taken;
            left -= taken;
            if *records == 0 {
                self.waiting.pop_front();
            }
        }
        self.read += batch.records;
        self.batches += 1;
        self.done.push_back(batch);
        if self.done.len() > 20 {
            self.done.pop_front();
        }
    }

    /// Whether the worker of a machine has started.
    pub(super) fn serves(&self, machine: &Machine) -> bool {
        self.now - machine.born >= BOOT
    }

    /// Machines whose workers take tasks.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| self.serves(machine) && machine.cordoned.is_none())
    }

    /// Cores that read records: one is the driver's.
    pub(super) fn executor_cores(&self) -> i64 {
        (i64::try_from(self.alive().count()).unwrap() * CORES - 1).max(0)
    }

    /// Tasks that run on a machine.
    pub(super) fn tasks(&self, machine: &Machine) -> i64 {
        let is_reading = self.running.as_ref().is_some_and(|running| running.overhead == 0);
        let has_some = machine.cordoned.is_none_or(|since| self.now - since < TASK);
        if is_reading && has_some && self.serves(machine) { CORES } else { 0 }
    }

    /// Seconds that the oldest record that was not committed has waited.
    pub(super) fn age(&self) -> i64 {
        self.waiting.front().map_or(0, |(second, _)| self.now - second)
    }

    pub(super) fn launch(&mut self, number: i64) {
        for _ in 0..number {
            let (id, born) = (format!("i-{:05}", self.launched), self.now);
            let address = format!("10.0.{}.{}", self.launched / 200, 1 + self.launched % 200);
            self.machines.push(Machine { id, address, born, cordoned: None });
            self.launched += 1;
        }
    }

    pub(super) fn cordon(&mut self, id: &str) {
        assert_ne!(id, DRIVER, "the driver's worker was cordoned");
        let now = self.now;
        let machine = self.machines.iter_mut().find(|machine| machine.id == id).unwrap();
        machine.cordoned.get_or_insert(now);
    }

    pub(super) fn end(&mut self, id: &str) {
        assert_ne!(id, DRIVER, "the driver's machine was ended");
        let before = self.machines.len();
        self.machines.retain(|machine| machine.id != id);
        assert_eq!(self.machines.len() + 1, before, "{id} is no machine of the group");
    }

    /// The score, with the records that wait and are late already.
    pub(super) fn finish(self) -> Score {
        let waiting = self.waiting.iter().filter(|(second, _)| self.now - second > DELAY);
        Score { late: self.score.late + waiting.map(|(_, records)| records).sum::<i64>(), ..self.score }
    }
}

#[test]
fn records_are_late_where_there_are_too_few_workers_and_not_where_there_are_enough() {
    let hour = |machines| {
        let mut world = World::new(Shape::Steady, machines);
        for _ in 0..3_600 {
            world.step();
        }
        let waiting: i64 = world.waiting.iter().map(|(_, records)| records).sum();
        assert_eq!(world.read + waiting, world.ends, "no record gets lost");
        assert_eq!(world.score.machine_seconds, machines * 3_600);
        world.finish().late
    };
    assert!(hour(2) > 0);
    assert_eq!(hour(10), 0);
}

#[test]
fn while_nothing_can_be_read_records_wait() {
    let mut world = World::new(Shape::Outage, 10);
    for _ in 0..DAY / 2 {
        world.step();
    }
    let late = world.finish().late;
    assert!(late > 40 * 60 * 60_000 && late < 80 * 60 * 60_000, "{late}");
}
