//! What the master, the drivers and the query do, and what time does.

use super::process::expire;
use super::world::{Bad, LONG, Life, NOBODY, Off, PAUSE, Phase, STILL, Setting, Wish, World};
use crate::records::Stage;

/// A call has its effect. `answered`: whoever waits gets the answer.
pub fn land(world: &mut World, slot: usize, answered: bool) {
    let Some(call) = world.calls[slot].take() else { return };
    let (done, id) = match call.wish {
        Wish::Submit { .. } => submit(world),
        Wish::Kill { id, extra } => (kill(world, id.into(), extra), None),
    };
    if answered && call.by != NOBODY {
        let process = world.process(call.by);
        process.phase = Phase::Closing { done };
        process.recorded = id.or(process.recorded);
    }
}

/// The master takes every submission.
fn submit(world: &mut World) -> (bool, Option<u8>) {
    let is_first = world.live() == 0;
    let Some(id) = world.ids(|life| life == Life::Never).next() else { return (false, None) };
    if !is_first {
        world.blame(Bad::TwoLive);
    }
    *world.life(id) = Life::Waiting;
    (true, Some(id))
}

/// The master kills what it lists.
fn kill(world: &mut World, place: usize, extra: bool) -> bool {
    if !matches!(world.lives[place], Life::Waiting | Life::Running) {
        return false;
    }
    world.lives[place] = Life::Killed;
    if extra && world.live() == 0 {
        world.blame(Bad::NoneLeft);
    }
    true
}

/// A worker takes a driver: its query goes on.
pub fn run(world: &mut World, id: u8) {
    *world.life(id) = Life::Running;
    world.stuck = false;
}

/// A driver ends by itself. One that the master does not list is never heard of again.
pub fn end(world: &mut World, id: u8) {
    let life = world.life(id);
    *life = if *life == Life::Running { Life::Finished } else { Life::Gone };
}

/// The master starts again. It has forgotten what was completed; what runs is reported to it after a while, or never.
pub fn restart(setting: &Setting, world: &mut World) {
    world.hidden_for = 0;
    world.lives = world.lives.map(|life| match life {
        Life::Running if setting.forgets => Life::Forgotten,
        Life::Running => Life::Hidden,
        // It was nowhere but in the master's memory.
        Life::Waiting if setting.forgets => Life::Gone,
        Life::Killed | Life::Finished => Life::Gone,
        Life::Never | Life::Waiting | Life::Hidden | Life::Forgotten | Life::Gone => life,
    });
}

/// The master hears of a driver that runs.
pub fn report(world: &mut World, id: u8) {
    *world.life(id) = Life::Running;
}

/// Whether a minute may pass: calls take less, and so does a restarted master until it has heard of every driver that
/// will be reported.
pub fn may_tick(world: &World) -> bool {
    let is_hidden = world.lives.contains(&Life::Hidden);
    !(world.awaits_end() || is_hidden && world.hidden_for >= 1)
}

/// A minute passes. A query whose driver runs commits a batch, unless it stands still.
pub fn tick(setting: &Setting, world: &mut World) {
    expire(world);
    world.hidden_for = if world.lives.contains(&Life::Hidden) { world.hidden_for + 1 } else { 0 };
    let moves = world.lives.iter().any(|life| life.runs()) && !world.stuck;
    world.still_for = if moves { 0 } else { (world.still_for + 1).min(STILL) };
    for process in &mut world.processes {
        let counts = process.looked || setting.has(Off::Count);
        process.absent = process.absent.filter(|_| counts).map(|ticks| (ticks + 1).min(LONG));
        process.looked = false;
        process.running = process.running.map(|(id, ticks)| (id, (ticks + 1).min(LONG)));
        let restarted = process.restarted.filter(|_| !moves).map(|ticks| ticks + 1);
        process.restarted = restarted.filter(|ticks| *ticks < PAUSE);
    }
}

/// What can decide nothing any more is forgotten.
pub fn fold(world: &mut World) {
    let is_sent = world.record.stage == Stage::Sent;
    world.over &= is_sent;
    world.stuck &= world.lives.iter().any(|life| life.runs());
    if !world.lives.contains(&Life::Hidden) {
        world.hidden_for = 0;
    }
    for process in &mut world.processes {
        process.looked &= process.absent.is_some();
        if let Phase::Settling { early, .. } = &mut process.phase {
            *early &= world.over;
        }
    }
}

/// Everything outside does what it can, once.
pub fn all(world: &mut World) {
    world.silent = false;
    for slot in 0..world.calls.len() {
        land(world, slot, true);
    }
    for id in world.ids(|life| life == Life::Hidden) {
        report(world, id);
    }
    for id in world.ids(|life| life == Life::Waiting) {
        run(world, id);
    }
}
