//! Liveness: from a state, without further faults and with everybody getting a turn, the target is reached.

use crate::fold;
use crate::model::Act;
use crate::setting::Setting;
use crate::world::{Faults, Seat, World};
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
    for me in 0..2 {
        if world.peek(me).seat == Seat::Down {
            setting.happen(&mut world, Act::Restart(me));
        }
    }
    for _ in 0..PATIENCE {
        everybody_acts(setting, &mut world);
        if world.ghost.bad.is_some() {
            return false;
        }
        if (world.leads(0) || world.leads(1)) && world.value >= world.target && world.is_closed() {
            return true;
        }
        fold::tick(setting, &mut world);
    }
    false
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
