//! What makes the states finite without an end of time, and few: what is remembered grows old up to the age at which it
//! decides nothing any more; what can have no effect any more is dropped; names that nobody remembers are used again.

use crate::election;
use crate::setting::{Bug, Setting};
use crate::world::{
    Ask, Known, Message, NEVER, NOW, Process, Put, Record, STALE, Seat, Stored, Tick, Work, World, Writing,
};
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
    if let Some(stored) = world.intent.as_mut() {
        record(setting, &mut stored.record);
    }
    if let Some((_, at)) = world.ghost.landed.as_mut() {
        age(at, OLD + 1);
    }
    if let Some(Message::Intent(put)) = world.late.as_mut() {
        age_put(setting, put);
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

/// Every end of a call stays later than the oldest look.
fn ends(setting: &Setting) -> Tick {
    OLD + 1 - setting.call
}

fn record(setting: &Setting, record: &mut Record) {
    let (Some(before), State::Sent) = (record.before.as_mut(), record.state) else { return };
    let sending = *before - record.written;
    age(before, ends(setting));
    record.written = *before - sending;
}

fn age_put(setting: &Setting, put: &mut Put) {
    record(setting, &mut put.record);
    put.looked.iter_mut().for_each(|looked| age(looked, OLD));
}

fn remembered(setting: &Setting, process: &mut Process) {
    if let Some((_, since)) = process.seen.as_mut() {
        age(since, NOW - setting.lease);
    }
    if let Some(term) = process.term.as_mut() {
        age(&mut term.began, ends(setting));
        age(&mut term.until, NOW);
    }
    if let Some(Known { stored, first_seen }) = process.known.as_mut() {
        record(setting, &mut stored.record);
        age(first_seen, ends(setting));
    }
    match &mut process.seat {
        Seat::Begin { until, .. } => age(until, NOW),
        _ => {}
    }
    match &mut process.work {
        Work::Looking { looked } => age(looked, OLD),
        Work::Ready { deadline: at } | Work::Calling { over: at, .. } => age(at, NOW),
        Work::Writing(Writing { ask, put, .. }) => {
            age_put(setting, put);
            match ask {
                Ask::Settle { looked, .. } => age(looked, OLD),
                Ask::Send { deadline } => age(deadline, NOW),
                Ask::Prepare { .. } | Ask::Close { .. } => {}
            }
        }
        Work::Off | Work::Load | Work::Idle => {}
    }
}

/// The smallest of the states that behave like `world`.
pub fn fold(setting: &Setting, world: &mut World) {
    for me in 0..2 {
        end_dead_term(setting, world, me);
        forget_lease(setting, world, me);
        forget_intent(setting, world, me);
    }
    forget_late(setting, world);
    if let Some(stored) = world.intent.as_mut() {
        forget_closed(setting, &mut stored.record);
    }
    renumber(world, lease_versions);
    renumber(world, intent_versions);
    renumber(world, epochs);
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
    let process = world.process(me);
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
            *first_seen = ends(setting);
        }
    }
    if let Work::Writing(Writing { put, .. }) = &mut process.work
        && put.expected.is_some()
        && put.expected != now
    {
        *put = Put { expected: Some(STALE), record: NOTHING, looked: None, early: false };
    }
}

/// What a write says that fails.
const NOTHING: Record = Record { epoch: 0, by: 0, state: State::Done, target: 0, before: None, written: 0 };

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

/// Zero and [`STALE`] keep their meanings.
fn renumber(world: &mut World, each: fn(&mut World, &mut dyn FnMut(&mut u8))) {
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
            | Seat::Releasing { expected } => one(expected),
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
        if let Work::Writing(Writing { put, .. }) = &mut process.work {
            each(&mut put.record.epoch);
        }
    }
}
