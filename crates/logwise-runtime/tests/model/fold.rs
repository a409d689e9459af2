//! What makes the states finite without an end of time, and few: what is remembered grows old up to the age at which it
//! decides nothing any more; what can have no effect any more is dropped; names that nobody remembers are used again.

use crate::setting::{Bug, Setting};
use crate::world::{Ask, Known, Message, NEVER, NOW, Process, Put, Record, STALE, Seat, Tick, Work, World, Writing};
use crate::{election, names, work};
use logwise_runtime::intent::State;

/// A look older than this is just old, and never late enough.
const OLD: Tick = NOW - 2;

/// Time goes on by a tick; calls whose time is over have had no effect.
pub fn tick(setting: &Setting, world: &mut World) {
    for slot in &mut world.calls {
        *slot = slot.filter(|call| call.limit > NOW);
        if let Some(call) = slot.as_mut().filter(|call| call.limit != NEVER) {
            call.limit -= 1;
        }
    }
    world.calls.sort_unstable();
    if let Some(lease) = world.lease.as_mut() {
        lease.renewed = lease.renewed.saturating_sub(1);
    }
    if let Some((_, at)) = world.ghost.landed.as_mut() {
        age(at, OLD + 1);
    }
    if let Some(over) = world.ghost.over.as_mut() {
        age(over, OLD + 1);
    }
    for process in &mut world.processes {
        remembered(setting, process);
    }
}

fn age(at: &mut Tick, oldest: Tick) {
    if *at != NEVER {
        *at = (*at - 1).max(oldest);
    }
}

/// The oldest first sight: the end that it gives to a call is later than the oldest look.
fn first_sight(setting: &Setting) -> Tick {
    OLD + 1 - setting.send - setting.call
}

fn remembered(setting: &Setting, process: &mut Process) {
    if let Some((_, since)) = process.seen.as_mut() {
        age(since, NOW - setting.lease);
    }
    if let Some(term) = process.term.as_mut() {
        term.began.iter_mut().for_each(|began| age(began, OLD + 1 - setting.call));
        age(&mut term.until, NOW);
    }
    if let Some(known) = process.known.as_mut() {
        age(&mut known.first_seen, first_sight(setting));
    }
    if let Seat::Begin { until, .. } = &mut process.seat {
        age(until, NOW);
    }
    match &mut process.work {
        Work::Looking { looked } => age(looked, OLD),
        Work::Ready { deadline: at } | Work::Calling { over: at, .. } => age(at, NOW),
        Work::Writing(Writing { ask, .. }) => match ask {
            Ask::Settle { looked, .. } => age(looked, OLD),
            Ask::Send { deadline } => age(deadline, NOW),
            Ask::Prepare { .. } | Ask::Close { .. } => {}
        },
        Work::Off | Work::Idle | Work::Prepared => {}
    }
}

/// One of the states that behave like `world`, mostly the same for all of them.
pub fn fold(setting: &Setting, world: &mut World) {
    forget(setting, world);
    // Traces of planted bugs are for reading.
    if setting.bug.is_none() && names::sort(world) {
        forget(setting, world);
    }
    names::rename(world);
}

fn forget(setting: &Setting, world: &mut World) {
    for me in 0..2 {
        end_dead_term(setting, world, me);
        forget_lease(setting, world, me);
        forget_intent(setting, world, me);
        forget_write(setting, world, me);
    }
    forget_late(setting, world);
    if let Some(stored) = world.intent.as_mut() {
        forget_closed(setting, &mut stored.record);
    }
}

/// A term whose time is over and that no renewal on its way can bring back does nothing but notice that.
fn end_dead_term(setting: &Setting, world: &mut World, me: u8) {
    let process = world.peek(me);
    let over = process.term.is_some_and(|term| !term.ended && term.until <= NOW);
    let dead = match process.seat {
        Seat::Keep => true,
        Seat::Renew { expected, .. } => {
            expected != version_now(world) && world.lease.is_some() && world.left.deletions == 0
        }
        _ => false,
    };
    if over && dead && !setting.has(Bug::NoDeadline) {
        election::end(world, me, false);
    }
}

fn version_now(world: &World) -> Option<u8> {
    world.lease.map(|lease| lease.version)
}

/// A version of the Lease that is gone is like any other that is gone; a write on top of it fails.
fn forget_lease(setting: &Setting, world: &mut World, me: u8) {
    let (now, epoch) = (version_now(world), world.epoch);
    let stays = world.lease.is_some() && world.left.deletions == 0;
    let process = world.process(me);
    if stays && process.seen.is_none() {
        process.seen = Some((STALE, NOW - setting.lease));
    }
    if let Some((version, since)) = process.seen.as_mut().filter(|(version, _)| *version > 0 && Some(*version) != now) {
        (*version, *since) = (STALE, NOW - setting.lease);
    }
    match &mut process.seat {
        Seat::Take { expected } if expected.is_some() && *expected != now => process.seat = Seat::Look,
        Seat::Renew { expected: Some(expected), .. } if Some(*expected) != now => *expected = STALE,
        Seat::Begin { until, expected, .. } if *expected != epoch && !setting.has(Bug::EpochInLease) => {
            let until = *until;
            election::read_epoch(setting, world, me, until);
        }
        _ => {}
    }
}

/// The same of the intent.
fn forget_intent(setting: &Setting, world: &mut World, me: u8) {
    if setting.has(Bug::NoCompareAndSwap) {
        return;
    }
    let now = world.intent.map(|stored| stored.version);
    let process = world.process(me);
    if let Some(Known { stored, first_seen }) = process.known.as_mut() {
        if Some(stored.version) != now {
            stored.version = STALE;
        }
        forget_closed(setting, &mut stored.record);
        if stored.record.state != State::Sent {
            *first_seen = first_sight(setting);
        }
    }
}

/// A write that fails is taken for its failure as soon as that makes no difference.
fn forget_write(setting: &Setting, world: &mut World, me: u8) {
    let now = world.intent.map(|stored| stored.version);
    let process = world.process(me);
    let Work::Writing(Writing { put, last, .. }) = &mut process.work else { return };
    if put.expected.is_none() || put.expected == now || setting.has(Bug::NoCompareAndSwap) {
        return;
    }
    if *last || process.term.is_none_or(|term| term.ended) {
        process.work = Work::Idle;
        work::stop_if_ended(world, me);
    } else {
        *put = Put { expected: Some(STALE), record: NOTHING, look: None };
    }
}

/// What a write says that fails.
const NOTHING: Record = Record { epoch: 0, by: 0, state: State::Done, target: 0 };

/// Of a closed record only its term decides anything.
fn forget_closed(setting: &Setting, record: &mut Record) {
    if record.state.is_closed() {
        *record = Record { epoch: record.epoch, by: if setting.shards { record.by } else { 0 }, ..NOTHING };
    }
}

fn forget_late(setting: &Setting, world: &mut World) {
    let fails = match world.late {
        Some(Message::Lease { expected, .. }) => expected.is_some() && expected != version_now(world),
        Some(Message::Epoch { expected, .. }) => expected != world.epoch && !setting.has(Bug::EpochInLease),
        Some(Message::Intent(Put { expected, .. })) => {
            expected.is_some()
                && expected != world.intent.map(|stored| stored.version)
                && !setting.has(Bug::NoCompareAndSwap)
        }
        None => false,
    };
    if fails {
        world.late = None;
    }
}
