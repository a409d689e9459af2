//! A day of a pipeline in a closed loop: our planner, the formula of the system before, and a fixed number of workers,
//! on five loads. `cargo test -p logwise-plan --test plan simulation -- --nocapture` prints the figures.

mod old;
mod ours;
mod shapes;
mod world;

use ours::{LOOK, Ours, RANGE};
use shapes::{DAY, Shape};
use world::{DRIVER, Score, World};

/// Who decides how many workers there are.
#[derive(Clone, Copy)]
enum Way {
    Ours,
    Old,
    Fixed,
}

/// Workers at the beginning of the day.
const FIRST: i64 = 4;

fn day(shape: Shape, way: Way) -> Score {
    let machines = if matches!(way, Way::Fixed) { i64::from(RANGE.1) } else { FIRST };
    let mut world = World::new(shape, machines);
    let mut ours = Ours::new(&world);
    while world.now < DAY {
        let committed = world.step();
        match way {
            Way::Ours if world.now % LOOK == 0 => ours.look(&mut world),
            Way::Old => {
                if let Some(batch) = committed {
                    old_look(&mut world, batch.id);
                }
            }
            Way::Ours | Way::Fixed => {}
        }
    }
    world.finish()
}

/// What the old system does when a batch is reported to it. Kinder than it is: when it lowers the desired number by
/// mistake, since it counts only workers that have started, the newest machine goes and never the driver's.
fn old_look(world: &mut World, batch: i64) {
    let rows: Vec<i64> = world.done.iter().rev().take(5).map(|batch| batch.records).collect();
    let Ok(rows) = <[i64; 5]>::try_from(rows) else { return };
    let alive: Vec<String> = world.alive().map(|machine| machine.id.clone()).collect();
    let number = i64::try_from(alive.len()).unwrap();
    let Some(target) = old::target(&old::USUAL, &rows, batch, number) else { return };
    let present = i64::try_from(world.machines.len()).unwrap();
    let leaving = if target < number { number - target } else { (present - target).max(0) };
    let newest = world.machines.iter().rev().map(|machine| machine.id.clone());
    let order: Vec<String> = if target < number { alive } else { newest.collect() };
    let leaving = usize::try_from(leaving).unwrap();
    let victims: Vec<String> = order.into_iter().filter(|id| id != DRIVER).take(leaving).collect();
    victims.iter().for_each(|id| world.end(id));
    let coming = if target < number { 0 } else { (target - present).max(0) };
    world.launch(coming);
    world.score.changes += i64::from(coming > 0 || !victims.is_empty());
}

/// Each batch has what came in during the one before, however fast the cores are: it says nothing about them.
#[test]
fn batches_that_follow_each_other_without_a_pause_ask_for_no_more_workers() {
    let mut world = World::new(Shape::Quiet, FIRST);
    world.trigger = 1;
    let (mut ours, mut most) = (Ours::new(&world), 0);
    while world.now < DAY / 4 {
        world.step();
        if world.now % LOOK == 0 {
            ours.look(&mut world);
        }
        most = most.max(world.machines.len());
    }
    assert_eq!((world.machines.len(), i64::try_from(most)), (3, Ok(FIRST)), "six cores are enough");
    assert_eq!(world.finish().late, 0);
}

#[test]
fn on_no_load_more_records_are_late_and_more_workers_run_than_before() {
    let mut worse = Vec::new();
    println!("{:10}{:>29}{:>29}{:>29}", "", "ours", "before", "fixed");
    println!("{:10}{}", "load", "   late 10^6   hours  changes".repeat(3));
    for shape in Shape::ALL {
        let scores @ [ours, old, fixed] = [Way::Ours, Way::Old, Way::Fixed].map(|way| day(shape, way));
        let figures = scores.map(|score| {
            let hours = score.tenths_of_hours();
            format!("{:>12} {:>5}.{} {:>8}", score.late / 1_000_000, hours / 10, hours % 10, score.changes)
        });
        let name = format!("{shape:?}");
        println!("{name:10}{}", figures.concat());
        if ours.late > old.late && ours.machine_seconds > old.machine_seconds {
            worse.push(shape);
        }
        // Whatever is late with all workers there may be is the load's doing.
        assert!(shape == Shape::Outage || fixed.late == 0, "{shape:?}: {fixed:?}");
        assert!(ours.machine_seconds < fixed.machine_seconds, "{shape:?}: {ours:?}");
    }
    assert!(worse.is_empty(), "late records and worker-hours are both more than before: {worse:?}");
}
