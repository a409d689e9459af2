//! Liveness: from a state, without further faults and with everybody getting a turn, the target is reached.

use crate::fold;
use crate::model::Act;
use crate::setting::Setting;
use crate::world::{Faults, Known, World};
use logwise_runtime::intent::State;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Turns within one tick, at most.
const TURNS: u32 = 16;

/// Ticks that draining may take: a Lease runs out, a call is over, some more for what was lost.
const PATIENCE: u32 = 24;

/// Whether `world` drains; only some of the states are asked.
pub fn drains(setting: &Setting, world: &World) -> bool {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    !hasher.finish().is_multiple_of(setting.drain_one_of) || is_drained_later(setting, *world)
}

fn is_drained_later(setting: &Setting, mut world: World) -> bool {
    world.left = Faults::default();
    if !comes_to_rest(setting, &mut world) {
        return false;
    }
    // What nobody knows of must not stand in the way of the next wish.
    world.target += 1;
    comes_to_rest(setting, &mut world)
}

fn comes_to_rest(setting: &Setting, world: &mut World) -> bool {
    for _ in 0..PATIENCE {
        everybody_acts(setting, world);
        // That is for the other properties, which see the same steps.
        if world.ghost.bad.is_some() || rests(world) {
            return true;
        }
        fold::tick(setting, world);
    }
    false
}

/// Somebody leads, the target is reached, and no leader has anything left to judge. A late write may have left a record open
/// that no leader has read.
fn rests(world: &World) -> bool {
    let sent = |known: Known| known.stored.record.state == State::Sent;
    let leaders = || (0..2).filter(|me| world.leads(*me));
    let judges = leaders().any(|me| world.peek(me).known.is_some_and(sent));
    leaders().count() > 0 && world.value >= world.target && !judges
}

/// Takes turns until nothing moves.
fn everybody_acts(setting: &Setting, world: &mut World) {
    for _ in 0..TURNS {
        let before = *world;
        setting.happen(world, Act::Late);
        for slot in 0..world.calls.len() {
            setting.happen(world, Act::Land { slot, answered: true });
        }
        for me in 0..2 {
            setting.happen(world, Act::Seat(me));
            setting.happen(world, Act::Work(me));
        }
        fold::fold(setting, world);
        if *world == before {
            return;
        }
    }
}
