//! The glue around `lease::step`, step by step as in `src/leadership.rs`. Each function is one request or one wait;
//! anything may happen between two of them.

use crate::clocks::{monotonic, name, span};
use crate::setting::{Bug, Setting};
use crate::work::stop_if_ended;
use crate::world::{Bad, FRESH, Known, Lease, Message, NEVER, NOW, Process, Seat, Term, Tick, Work, World};
use logwise_runtime::lease::{self, Seen, Step};

/// One step of the election part of `me`.
pub fn step(setting: &Setting, world: &mut World, me: u8) {
    match world.peek(me).seat {
        Seat::Ending { .. } => {}
        Seat::Look => look_and_take(setting, world, me),
        Seat::Absent => exists(setting, world, me),
        Seat::Take { expected } => take(setting, world, me, expected),
        Seat::Begin { until, expected, next } => begin(setting, world, me, (until, expected, next)),
        Seat::Keep => keep(setting, world, me),
        Seat::Renew { expected, again } => renew(setting, world, me, expected, again),
        Seat::Release { stop } => release(world, me, stop),
        Seat::Releasing { expected, stop } => {
            let _ = apply(setting, world, Message::Lease { expected: Some(expected), holder: None });
            released(world, me, stop);
        }
    }
}

/// The write that the election part of `me` is about to make.
pub fn pending(world: &World, me: u8) -> Option<Message> {
    match world.peek(me).seat {
        Seat::Take { expected } | Seat::Renew { expected, .. } => Some(Message::Lease { expected, holder: Some(me) }),
        Seat::Begin { expected, next, .. } => Some(Message::Epoch { expected, next }),
        Seat::Releasing { expected, .. } => Some(Message::Lease { expected: Some(expected), holder: None }),
        _ => None,
    }
}

/// No answer came to that write: the `Err` ways of `Leadership::{seek, begin_while_held, renew, release}`.
pub fn give_up(setting: &Setting, world: &mut World, me: u8) {
    match world.peek(me).seat {
        Seat::Begin { until, .. } if !setting.alone && NOW < until => read_epoch(setting, world, me, until),
        Seat::Begin { .. } if !setting.alone => world.process(me).seat = Seat::Release { stop: false },
        Seat::Take { .. } | Seat::Begin { .. } => world.process(me).seat = Seat::Look,
        Seat::Renew { .. } => world.process(me).seat = Seat::Keep,
        Seat::Releasing { stop, .. } => released(world, me, stop),
        _ => {}
    }
}

/// Why the API server refused a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    Conflict,
    Absent,
}

/// The API server carries out a write of the Lease or of the epoch.
pub fn apply(setting: &Setting, world: &mut World, message: Message) -> Result<(), Failed> {
    match message {
        Message::Lease { expected, holder } => {
            match (expected, world.lease) {
                (None, Some(_)) => return Err(Failed::Conflict),
                (Some(_), None) => return Err(Failed::Absent),
                (Some(version), Some(lease)) if version != lease.version => return Err(Failed::Conflict),
                _ => {}
            }
            world.lease_version += 1;
            let epoch = world.lease.map_or(0, |lease| lease.epoch);
            let renewed = if setting.has(Bug::WallClock) { NOW } else { 0 };
            world.lease = Some(Lease { holder, version: world.lease_version, renewed, epoch });
        }
        Message::Epoch { expected, next } => {
            if setting.has(Bug::EpochInLease) {
                let lease = world.lease.as_mut().ok_or(Failed::Absent)?;
                lease.epoch = next;
                return Ok(());
            }
            if expected != world.epoch {
                return Err(Failed::Conflict);
            }
            if next <= world.epoch {
                world.blame(Bad::EpochWentBack);
            }
            world.epoch = next;
        }
        Message::Intent(_) => {}
    }
    Ok(())
}

/// `Leadership::take` up to its write, and `Leadership::seek` for `Election::Alone`.
fn look_and_take(setting: &Setting, world: &mut World, me: u8) {
    if setting.alone {
        read_epoch(setting, world, me, NEVER);
        return;
    }
    let current = world.lease;
    if current.is_none() && world.peek(me).seen.is_none() {
        world.process(me).seat = Seat::Absent;
        return;
    }
    let expected = current.map(|lease| lease.version);
    let (lease, seen) = look(setting, world, me, current);
    if let Some(lease) = current.filter(|_| setting.has(Bug::WallClock)) {
        if wall_clock_over(setting, me, lease) {
            world.process(me).seat = Seat::Take { expected };
        }
        return;
    }
    if setting.has(Bug::OwnName) && lease.holder.as_deref() == Some(name(me)) {
        read_epoch(setting, world, me, NOW + setting.lease);
        return;
    }
    if lease::step(name(me), &lease, &seen, None, monotonic(me, NOW)) == Step::Take {
        world.process(me).seat = Seat::Take { expected };
    }
}

/// `epoch::exists` in `Leadership::take`, and what follows it without a Lease.
fn exists(setting: &Setting, world: &mut World, me: u8) {
    if world.epoch == 0 {
        world.process(me).seat = Seat::Take { expected: None };
        return;
    }
    let (lease, seen) = look(setting, world, me, None);
    let step = lease::step(name(me), &lease, &seen, None, monotonic(me, NOW));
    debug_assert!(matches!(step, Step::Wait(_)), "a Lease that may have been deleted just now is waited for");
    world.process(me).seat = Seat::Look;
}

fn wall_clock_over(setting: &Setting, me: u8, lease: Lease) -> bool {
    let Some(holder) = lease.holder else { return true };
    let over = i64::from(lease.renewed) + setting.skew[usize::from(holder)] + i64::from(setting.lease);
    i64::from(NOW) + setting.skew[usize::from(me)] >= over
}

/// `Leadership::look`, with `deleted` and `facts`.
fn look(setting: &Setting, world: &mut World, me: u8, current: Option<Lease>) -> (lease::Lease, Seen) {
    let version = current.map_or(0, |lease| lease.version);
    let holder = match current {
        Some(lease) => lease.holder.map(|holder| name(holder).to_owned()),
        None => Some("unknown, the Lease was deleted".to_owned()),
    };
    let lease = lease::Lease { holder, version: version_text(version), duration: span(setting.lease) };
    let before = world.peek(me).seen;
    let known = before.map(|(version, since)| Seen { version: version_text(version), since: monotonic(me, since) });
    let seen = Seen::update(known.clone(), &lease, monotonic(me, NOW));
    let since = before.filter(|_| known.as_ref() == Some(&seen)).map_or(NOW, |(_, since)| since);
    debug_assert_eq!(seen.since, monotonic(me, since), "a sight keeps its moment or begins now");
    world.process(me).seen = Some((version, since));
    (lease, seen)
}

fn version_text(version: u8) -> String {
    if version == 0 { String::new() } else { version.to_string() }
}

/// `Leadership::write` out of `take`. The answer comes when the API server has written: a later answer is a wait before
/// the next step. The term counts from when it was asked, which is then at the latest.
fn take(setting: &Setting, world: &mut World, me: u8, expected: Option<u8>) {
    match apply(setting, world, Message::Lease { expected, holder: Some(me) }) {
        Ok(()) => read_epoch(setting, world, me, NOW + setting.lease),
        Err(_) => world.process(me).seat = Seat::Look,
    }
}

/// `Leadership::begin`: `intents::greatest_epoch` and the read of `epoch::raise`.
pub fn read_epoch(setting: &Setting, world: &mut World, me: u8, until: Tick) {
    let seen = world.intent.map_or(0, |stored| stored.record.epoch);
    let (expected, next) = if setting.has(Bug::EpochInLease) {
        let kept = world.lease.map_or(0, |lease| lease.epoch);
        (kept, kept + 1)
    } else {
        (world.epoch, world.epoch.max(seen) + 1)
    };
    world.process(me).seat = Seat::Begin { until, expected, next };
}

/// The write of `epoch::raise`, `Term::new`, `Intents::load`, and `Leadership::{serve, keep, renew}` up to the first sleep.
fn begin(setting: &Setting, world: &mut World, me: u8, (until, expected, next): (Tick, u8, u8)) {
    match apply(setting, world, Message::Epoch { expected, next }) {
        Ok(()) => {}
        Err(Failed::Conflict) => return read_epoch(setting, world, me, until),
        Err(Failed::Absent) => {
            world.process(me).seat = Seat::Look;
            return;
        }
    }
    if next <= world.ghost.greatest_epoch {
        world.blame(Bad::EpochWentBack);
    }
    world.ghost.greatest_epoch = world.ghost.greatest_epoch.max(next);
    let known = world.intent.map(|stored| Known { stored, first_seen: NOW });
    let process = world.process(me);
    let began = setting.has(Bug::FenceTrusted).then_some(NOW);
    process.term = Some(Term { epoch: next, began, until, ended: false });
    process.known = known;
    process.work = Work::Idle;
    process.seat = Seat::Keep;
}

/// `Leadership::renew` after a sleep of any length.
fn keep(setting: &Setting, world: &mut World, me: u8) {
    if setting.alone {
        return;
    }
    if world.leads(me) { read_to_renew(setting, world, me, false) } else { end(world, me, false) }
}

/// `Leadership::renew_once` up to a write.
fn read_to_renew(setting: &Setting, world: &mut World, me: u8, again: bool) {
    let Some(current) = world.lease else {
        world.process(me).seat = Seat::Renew { expected: None, again };
        return;
    };
    let (lease, seen) = look(setting, world, me, Some(current));
    let until = world.peek(me).term.map(|term| monotonic(me, term.until));
    match lease::step(name(me), &lease, &seen, until, monotonic(me, NOW)) {
        Step::Renew => world.process(me).seat = Seat::Renew { expected: Some(current.version), again },
        Step::Take | Step::Wait(_) => end(world, me, false),
    }
}

/// The write of `Leadership::renew_once` and what `renew` makes of its answer.
fn renew(setting: &Setting, world: &mut World, me: u8, expected: Option<u8>, again: bool) {
    let written = apply(setting, world, Message::Lease { expected, holder: Some(me) });
    world.process(me).seat = Seat::Keep;
    match written {
        Ok(()) => {
            let process = world.process(me);
            process.term = process.term.map(|term| Term { until: NOW + setting.lease, ..term });
        }
        Err(Failed::Conflict) if !again => read_to_renew(setting, world, me, true),
        Err(Failed::Conflict) => end(world, me, false),
        Err(Failed::Absent) => {}
    }
}

/// `Term::end` and the end of `Leadership::keep`: the work stops at its next look at the term. Nobody waits for a write of the
/// Lease that is under way. `stop`: the process is being stopped.
pub fn end(world: &mut World, me: u8, stop: bool) {
    world.late = world.late.or(pending(world, me));
    let process = world.process(me);
    if let Some(term) = process.term.as_mut() {
        term.ended = true;
    }
    process.seat = Seat::Ending { stop };
    stop_if_ended(world, me);
}

/// `Leadership::serve` after both of its parts have ended.
pub fn after_work(world: &mut World, me: u8) {
    let process = world.process(me);
    let Seat::Ending { stop } = process.seat else { return };
    if process.work != Work::Off {
        return;
    }
    process.term = None;
    process.known = None;
    process.seat = Seat::Release { stop };
}

/// `Leadership::release` up to its write.
fn release(world: &mut World, me: u8, stop: bool) {
    match world.lease.filter(|lease| lease.holder == Some(me)) {
        Some(lease) => world.process(me).seat = Seat::Releasing { expected: lease.version, stop },
        None => released(world, me, stop),
    }
}

/// The next round of `Leadership::run`, or a process that is started anew after this one.
fn released(world: &mut World, me: u8, stop: bool) {
    let process = world.process(me);
    *process = if stop { FRESH } else { Process { seat: Seat::Look, ..*process } };
}
