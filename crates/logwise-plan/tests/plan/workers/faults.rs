//! Races, lost signals, workers of no use, two leaders.

use super::world::{ago, busy, by_load, driver, idle, known, member, planned, scaling, unknown, victim, with, worker};
use crate::NOW;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::behavior::{Changed, Recommended};
use logwise_plan::workers::{
    Autoscaling, Batch, Cluster, Hold, Load, Observed, OpenIntent, Policy, Pool, Progress, Removal, Risk, Sample, Seen,
    Step, WorkerState, confirm, plan,
};
use std::sync::Arc;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// A pool whose driver moves whenever it can, and a master that may forget what it was told.
struct Race {
    observed: Observed,
    dice: Dice,
}

impl Race {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let number = 2 + dice.below(4);
        let mut observed = idle(number);
        if let Known::Known(cluster) = &mut observed.cluster {
            cluster.workers.iter_mut().for_each(|worker| worker.tasks = Known::Known(0));
        }
        Self { observed, dice }
    }

    fn cluster(&mut self) -> &mut Cluster {
        let Known::Known(cluster) = &mut self.observed.cluster else { unreachable!("it is known") };
        cluster
    }

    fn pool(&mut self) -> &mut Pool {
        let Known::Known(pool) = &mut self.observed.pool else { unreachable!("it is known") };
        pool
    }

    /// Something may happen between two calls: the driver ends and begins on any worker that is not cordoned.
    fn pass(&mut self) {
        let roll = self.dice.below(4);
        if roll == 0 {
            let alive: Vec<String> = (self.cluster().workers.iter())
                .filter(|worker| worker.state == WorkerState::Alive)
                .map(|worker| worker.id.clone())
                .collect();
            let place = self.dice.below(alive.len().max(1));
            self.cluster().drivers = alive.get(place).map(|id| driver(Some(id.as_str()))).into_iter().collect();
        } else if roll == 1 && self.dice.below(4) == 0 {
            self.cluster().drivers.clear();
        }
    }

    /// The master is started again and knows of no cordon any more.
    fn forget(&mut self) {
        self.cluster().workers.iter_mut().for_each(|worker| worker.state = WorkerState::Alive);
    }

    fn cordon(&mut self, removal: &Removal) {
        let here = |host: &String| Some(host) == removal.host.as_ref();
        let workers = self.cluster().workers.iter_mut().filter(|worker| here(&worker.host));
        workers.for_each(|worker| worker.state = WorkerState::Decommissioned);
    }

    fn look_again(&self, policy: &Policy, removal: &Removal) -> Result<Step, Hold> {
        let seen = Seen {
            pool: self.observed.pool.clone(),
            cluster: self.observed.cluster.clone(),
            page_after_cordon: true,
            same_master: true,
            draining_since: Some(NOW),
        };
        confirm(policy, removal, &seen)
    }

    /// Ends a member; says whether a driver ran on it.
    fn end(&mut self, removal: &Removal) -> bool {
        let killed = self.cluster().drivers.iter().any(|driver| driver.worker == removal.worker);
        self.pool().members.retain(|member| member.id != removal.id);
        self.pool().desired -= 1;
        self.cluster().workers.retain(|worker| Some(&worker.id) != removal.worker.as_ref());
        killed
    }
}

#[test]
fn a_driver_that_comes_between_any_two_calls_is_not_killed() {
    let policy = by_load(scaling());
    let (mut ended, mut landed, mut lost, mut killed) = (0, 0, 0, 0);
    for seed in 0..10_000 {
        let mut race = Race::new(seed);
        for _ in 0..3 {
            race.pass();
            race.observed.intent = OpenIntent::None;
            let Some(removal) = plan(&policy, &race.observed, NOW).removal else { continue };
            race.pass();
            race.cordon(&removal);
            race.pass();
            if race.dice.below(8) == 0 {
                race.forget();
                race.pass();
            }
            let mut answer = race.look_again(&policy, &removal);
            if answer.is_ok() {
                race.pass();
                if race.dice.below(8) == 0 {
                    race.forget();
                    race.pass();
                }
                answer = race.look_again(&policy, &removal);
            }
            landed += i32::from(matches!(answer, Err(Hold::DriverLanded { .. })));
            lost += i32::from(matches!(answer, Err(Hold::CordonPending { .. } | Hold::CordonLost { .. })));
            if answer == Ok(Step::Terminate) {
                race.pass();
                ended += 1;
                killed += i32::from(race.end(&removal));
            }
        }
    }
    assert!(ended > 5_000 && landed > 500 && lost > 500, "{ended} ended, {landed} landed, {lost} lost: proves little");
    assert_eq!(killed, 0);
}

/// A way to break one signal.
type Defect<'a> = (&'a str, &'a dyn Fn(&mut Observed), bool);

fn samples(change: impl Fn(&mut Sample, i64)) -> impl Fn(&mut Observed) {
    move |observed: &mut Observed| {
        let mut all: Vec<Sample> = known(&observed.load.samples).to_vec();
        all.iter_mut().zip(0..).for_each(|(sample, place)| change(sample, place));
        observed.load.samples = Known::Known(Arc::new(all));
    }
}

#[test]
fn no_defect_of_any_signal_removes_a_worker_and_only_fresh_load_adds_one() {
    let negative = Risk { age_seconds: -1, retention_seconds: 9, lost: false, shortest_seconds: None };
    let absurd = Batch { id: 1, records: 40_000_000, started: ago(70), committed: ago(60), cores: 2 };
    // The last column: whether the load is known, and followed, all the same.
    let defects: [Defect<'_>; 30] = [
        ("samples lost", &|o| o.load.samples = unknown(), false),
        ("samples absent", &|o| o.load.samples = Known::Absent, false),
        ("no samples", &|o| o.load.samples = Known::Known(Arc::default()), false),
        ("samples stale", &samples(|sample, _| sample.at -= SignedDuration::from_secs(400)), false),
        ("samples old", &samples(|sample, _| sample.at -= SignedDuration::from_secs(3_600)), false),
        ("samples of the future", &samples(|sample, _| sample.at += SignedDuration::from_secs(3_600)), false),
        ("time goes back", &samples(|sample, place| sample.at = ago(place * 50)), false),
        ("time stands still", &samples(|sample, _| sample.at = NOW), false),
        ("ends are negative", &samples(|sample, _| sample.ends = -1), false),
        ("ends are absurd", &samples(|sample, _| sample.ends = 1_000_000_000_000_000_000), false),
        ("ends are the least", &samples(|sample, _| sample.ends = i64::MIN), false),
        ("ends are the greatest", &samples(|sample, _| sample.ends = i64::MAX), false),
        ("ends are nothing", &samples(|sample, _| sample.ends = 0), false),
        ("ends fell", &samples(|sample, place| sample.ends -= 900_000_000 * (place / 9)), false),
        ("ends jumped", &samples(|sample, place| sample.ends += 90_000_000_000_000 * (place / 9)), false),
        ("reading is negative", &samples(|sample, _| sample.read = -7), false),
        ("reading is absurd", &samples(|sample, _| sample.read = 1_000_000_000_000_000_000), false),
        ("reading passed the ends", &samples(|sample, _| sample.read = sample.ends + sample.ends / 50), false),
        ("reading fell", &samples(|sample, place| sample.read -= 900_000_000 * (place / 9)), false),
        ("two clocks", &samples(|sample, _| sample.other_clock = true), false),
        ("position lost", &|o| o.load.batch = unknown(), true),
        ("position absent", &|o| o.load.batch = Known::Absent, true),
        ("position negative", &|o| o.load.batch = Known::Known(Progress { id: -1, age_seconds: 5 }), true),
        ("position of the future", &|o| o.load.batch = Known::Known(Progress { id: 4, age_seconds: -5 }), true),
        ("retention lost", &|o| o.risk = unknown(), true),
        ("retention absent", &|o| o.risk = Known::Absent, true),
        ("retention negative", &|o| o.risk = Known::Known(negative), true),
        (
            "shortest retention nothing",
            &|o| {
                let Known::Known(risk) = &mut o.risk else { unreachable!("it is known") };
                risk.shortest_seconds = Some(0);
            },
            true,
        ),
        // Nobody would see whether new workers register.
        ("master lost", &|o| o.cluster = unknown(), false),
        ("batches absurd", &|o| o.load.batches = vec![absurd; 3], true),
    ];
    let policy = by_load(Autoscaling { cores_per_worker: Some(2), ..scaling() });
    assert!(planned(&policy, &idle(5)).removal.is_some() && planned(&policy, &busy(2)).raise.is_some());
    for (what, defect, load_is_known) in defects {
        for mut observed in [idle(5), busy(5), busy(2)] {
            defect(&mut observed);
            let plan = planned(&policy, &observed);
            assert!(plan.removal.is_none(), "{what}: {plan:#?}");
            assert!(!plan.signals.is_empty(), "{what} is not named");
            let shows = plan.holds.iter().any(|hold| matches!(hold, Hold::SignalsMissing { .. }));
            assert!(shows || (load_is_known && plan.raise.is_some()) || plan.size.is_some(), "{what}: {plan:#?}");
        }
        let mut observed = busy(2);
        defect(&mut observed);
        assert_eq!(planned(&policy, &observed).raise.is_some(), load_is_known, "{what}");
        let mut below = busy(2);
        defect(&mut below);
        let least = by_load(Autoscaling { min_replicas: 3, cores_per_worker: Some(2), ..scaling() });
        let raise = planned(&least, &below).raise.unwrap();
        assert!(raise.to >= 3, "{what}: the minimum needs no signal");
    }
}

#[test]
fn a_signal_that_is_lost_while_a_worker_drains_spares_it() {
    let policy = by_load(scaling());
    let removal = planned(&policy, &idle(3)).removal.unwrap();
    let intent = OpenIntent::Removing(Removal { step: Step::Drain { until: NOW }, ..removal });
    let draining =
        Observed { intent, ..with(idle(3), |_, cluster| cluster.workers[1].state = WorkerState::Decommissioned) };
    assert_eq!(victim(&planned(&policy, &draining)), Some("i-1"));
    for (what, lost) in [
        ("load", Observed { load: Load::default(), ..draining.clone() }),
        ("risk", Observed { risk: unknown(), ..draining.clone() }),
        ("master", Observed { cluster: unknown(), ..draining.clone() }),
        ("pool", Observed { pool: unknown(), ..draining.clone() }),
    ] {
        let plan = planned(&policy, &lost);
        assert!(plan.removal.is_none() && !plan.abandon, "{what}: it drains until more is known: {plan:#?}");
        assert!(plan.is_idle() && !plan.holds.is_empty(), "{what}: {plan:#?}");
    }
}

/// Half an hour in which new instances come at once and are of no use; gives the desired numbers.
fn runaway(scaling: Autoscaling) -> Vec<i32> {
    let policy = by_load(Autoscaling { max_replicas: 100, ..scaling });
    let (mut sizes, mut launched) = (vec![1], Vec::new());
    let mut observed = with(busy(1), |pool, _| pool.max_size = 1_000);
    let Known::Known(rates) = super::world::steady(2_000_000, 1_000_000) else { unreachable!("it is known") };
    for look in 0..60 {
        let now = NOW + SignedDuration::from_secs(look * 30);
        let later = |sample: &Sample| Sample { at: sample.at + SignedDuration::from_secs(look * 30), ..*sample };
        observed.load.samples = Known::Known(Arc::new(rates.iter().map(later).collect()));
        launched.retain(|at: &Timestamp| now.duration_since(*at) < SignedDuration::from_hours(1));
        observed.history.launched_last_hour = i32::try_from(launched.len()).unwrap();
        let plan = plan(&policy, &observed, now);
        assert!(plan.removal.is_none() || plan.raise.is_none(), "{plan:?}");
        if let Some(size) = &plan.size {
            observed.history.behavior.note(Recommended { at: now, replicas: size.recommended });
        }
        let Some(raise) = plan.raise else { continue };
        let Known::Known(pool) = &mut observed.pool else { unreachable!("it is known") };
        assert_eq!(raise.from, pool.desired);
        for place in raise.from..raise.to {
            let mut useless = member(usize::try_from(place).unwrap());
            useless.since = Some(now);
            pool.members.push(useless);
            launched.push(now);
        }
        pool.desired = raise.to;
        observed.history.behavior.changed(Changed { at: now, from: raise.from, to: raise.to });
        sizes.push(raise.to);
    }
    sizes
}

#[test]
fn workers_of_no_use_are_not_added_without_end() {
    // Four, or as many again, a minute, until the first should have registered.
    assert_eq!(runaway(scaling()), [1, 5, 10, 20]);
    let tight = runaway(Autoscaling { launches_per_hour: 6, ..scaling() });
    assert_eq!(tight, [1, 5, 7], "the budget of an hour");
    let patient = runaway(Autoscaling { warmup_seconds: 0, ..scaling() });
    assert_eq!(patient, [1, 5], "one step");
}

#[test]
fn two_leaders_remove_one_worker() {
    let policy = by_load(scaling());
    let (mut one, mut other) = (idle(3), idle(3));
    if let (Known::Known(pool), Known::Known(cluster)) = (&mut other.pool, &mut other.cluster) {
        pool.members.reverse();
        cluster.workers.reverse();
    }
    let (first, second) = (planned(&policy, &one).removal.unwrap(), planned(&policy, &other).removal.unwrap());
    assert_eq!(first, second, "the same facts, the same worker");
    // The other one finds the record of the first.
    other.intent = OpenIntent::Removing(first.clone());
    assert_eq!(planned(&policy, &other).removal.as_ref(), Some(&first));
    // The first one has carried it out; the other one still has its plan, and looks again.
    one = with(one, |pool, cluster| {
        pool.desired = 2;
        pool.members.remove(1);
        cluster.workers.remove(1);
    });
    let seen = |observed: &Observed| Seen {
        pool: observed.pool.clone(),
        cluster: observed.cluster.clone(),
        page_after_cordon: true,
        same_master: true,
        draining_since: Some(NOW),
    };
    assert!(confirm(&policy, &second, &seen(&one)).is_err(), "it has gone");
    // Another instance has come instead: the number is as before, the worker is not.
    let replaced = with(one.clone(), |pool, cluster| {
        pool.desired = 3;
        pool.members.push(member(7));
        cluster.workers.push(worker(7));
    });
    assert!(confirm(&policy, &second, &seen(&replaced)).is_err(), "another one is never taken for it");
    let sent = Observed { intent: OpenIntent::Other, ..one };
    assert!(planned(&policy, &sent).removal.is_none(), "nothing while the record may have been carried out");
}
