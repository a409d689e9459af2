//! Names that make no difference: versions and epochs that nobody remembers any more are used again, in their order, and it
//! does not matter which process is called the first.

use crate::world::{Ask, Message, Put, STALE, Seat, Work, World, Writing};

pub fn rename(world: &mut World) {
    renumber(world, lease_versions);
    renumber(world, intent_versions);
    renumber(world, epochs);
}

/// Sorts the processes, roughly, and says whether they have changed places. They differ in nothing but their names and clocks, and of clocks only differences count.
///
/// The number of a process in an action is therefore that before the step, and it may have the other one after it.
pub fn sort(world: &mut World) -> bool {
    let key = |me: u8| {
        let process = world.peek(me);
        let epoch = process.term.map_or(0, |term| term.epoch);
        (epoch, rank(&process.seat), process.known.map_or(0, |known| known.stored.version), process.seen)
    };
    if key(0) >= key(1) {
        return false;
    }
    world.processes.swap(0, 1);
    if let Some(holder) = world.lease.as_mut().and_then(|lease| lease.holder.as_mut()) {
        exchange(holder);
    }
    match world.late.as_mut() {
        Some(Message::Lease { holder: Some(holder), .. }) => exchange(holder),
        Some(Message::Intent(put)) => exchange(&mut put.record.by),
        _ => {}
    }
    if let Some(stored) = world.intent.as_mut() {
        exchange(&mut stored.record.by);
    }
    for process in &mut world.processes {
        if let Some(known) = process.known.as_mut() {
            exchange(&mut known.stored.record.by);
        }
        if let Work::Writing(Writing { put, ask, .. }) = &mut process.work {
            exchange(&mut put.record.by);
            if let Ask::Settle { judged, .. } = ask {
                exchange(&mut judged.by);
            }
        }
    }
    true
}

fn exchange(me: &mut u8) {
    *me = 1 - *me;
}

fn rank(seat: &Seat) -> u8 {
    match seat {
        Seat::Look => 0,
        Seat::Absent => 1,
        Seat::Take { .. } => 2,
        Seat::Begin { .. } => 3,
        Seat::Keep => 4,
        Seat::Renew { .. } => 5,
        Seat::Ending { .. } => 6,
        Seat::Release { .. } => 7,
        Seat::Releasing { .. } => 8,
    }
}

/// Shows every place where a name of one kind stands.
type Places = fn(&mut World, &mut dyn FnMut(&mut u8));

/// Zero and [`STALE`] keep their meanings.
fn renumber(world: &mut World, each: Places) {
    let mut used = 0_u64;
    each(world, &mut |number| used |= 1 << *number);
    used |= 1 | 1 << STALE;
    if used & (used + 1) != 0 {
        each(world, &mut |number| *number = smaller(used, *number));
    }
}

fn smaller(used: u64, number: u8) -> u8 {
    u8::try_from((used & ((1 << number) - 1)).count_ones()).expect("64 bits are few")
}

fn lease_versions(world: &mut World, each: &mut dyn FnMut(&mut u8)) {
    let mut greatest = STALE;
    let mut one = |number: &mut u8| {
        each(number);
        greatest = greatest.max(*number);
    };
    if let Some(lease) = world.lease.as_mut() {
        one(&mut lease.version);
    }
    if let Some(Message::Lease { expected: Some(expected), .. }) = world.late.as_mut() {
        one(expected);
    }
    for process in &mut world.processes {
        if let Some((version, _)) = process.seen.as_mut() {
            one(version);
        }
        match &mut process.seat {
            Seat::Take { expected: Some(expected) }
            | Seat::Renew { expected: Some(expected), .. }
            | Seat::Releasing { expected, .. } => one(expected),
            _ => {}
        }
    }
    world.lease_version = greatest;
}

fn intent_versions(world: &mut World, each: &mut dyn FnMut(&mut u8)) {
    if let Some(stored) = world.intent.as_mut() {
        each(&mut stored.version);
    }
    world.calls.iter_mut().flatten().for_each(|call| each(&mut call.id));
    if let Some(Message::Intent(Put { expected: Some(expected), .. })) = world.late.as_mut() {
        each(expected);
    }
    if let Some((id, _)) = world.ghost.landed.as_mut() {
        each(id);
    }
    for process in &mut world.processes {
        if let Some(known) = process.known.as_mut() {
            each(&mut known.stored.version);
        }
        match &mut process.work {
            Work::Calling { id, .. } => each(id),
            Work::Writing(Writing { put: Put { expected: Some(expected), .. }, .. }) => each(expected),
            _ => {}
        }
    }
}

fn epochs(world: &mut World, each: &mut dyn FnMut(&mut u8)) {
    each(&mut world.epoch);
    each(&mut world.ghost.greatest_epoch);
    if let Some(lease) = world.lease.as_mut() {
        each(&mut lease.epoch);
    }
    if let Some(stored) = world.intent.as_mut() {
        each(&mut stored.record.epoch);
    }
    match world.late.as_mut() {
        Some(Message::Epoch { expected, next }) => {
            each(expected);
            each(next);
        }
        Some(Message::Intent(put)) => each(&mut put.record.epoch),
        _ => {}
    }
    for process in &mut world.processes {
        if let Some(term) = process.term.as_mut() {
            each(&mut term.epoch);
        }
        if let Some(known) = process.known.as_mut() {
            each(&mut known.stored.record.epoch);
        }
        if let Seat::Begin { expected, next, .. } = &mut process.seat {
            each(expected);
            each(next);
        }
        if let Work::Writing(Writing { put, ask, .. }) = &mut process.work {
            each(&mut put.record.epoch);
            if let Ask::Settle { judged, .. } = ask {
                each(&mut judged.epoch);
            }
        }
    }
}
