//! Liveness: from a state, without further faults and with everybody getting a turn, the workers become as many as
//! asked for, and stay so.

use crate::fold::fold;
use crate::outside;
use crate::process::{self, can_step};
use crate::records::Stage;
use crate::setting::Setting;
use crate::world::{Driver, Faults, Group, MAX, Phase, World, count, has};

/// Rounds that draining may take.
const ROUNDS: u32 = 40;

/// Requests of an operator within one look and what follows from it, at most.
const REQUESTS: u32 = 16;

/// Whether `world` drains; only some of the states are asked.
pub fn drains(setting: &Setting, world: &World) -> bool {
    !kind(world).is_multiple_of(setting.drain_one_of) || is_drained_later(setting, *world)
}

/// A number that states of one kind share, whatever the operators are at: cheaper than a hash of all.
fn kind(world: &World) -> u64 {
    let Group { desired, pending, serving } = world.group;
    let master = world.master;
    let driver = match master.driver {
        Driver::Absent => 0,
        Driver::Waiting => 1,
        Driver::On(id) => 2 + u64::from(id),
    };
    let numbers: [u64; 10] = [
        desired.into(),
        pending.into(),
        serving.into(),
        master.cordoned.into(),
        master.marking.into(),
        driver,
        world.target.into(),
        world.left.changes.into(),
        u64::from(world.record.stage == Stage::Sent) * 2 + u64::from(world.record.stage == Stage::Closed),
        u64::from(world.over) * 4 + world.processes.iter().map(|process| u64::from(process.fresh)).sum::<u64>(),
    ];
    let mixed = numbers.iter().fold(0, |mixed: u64, number| (mixed ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed >> 32
}

fn is_drained_later(setting: &Setting, mut world: World) -> bool {
    world.left = Faults::default();
    for _ in 0..ROUNDS {
        let before = world;
        outside::all(setting, &mut world);
        for me in 0..setting.leaders {
            take_turn(setting, &mut world, me);
        }
        fold(setting, &mut world);
        // That is for the other properties, which see the same steps.
        if world.bad.is_some() {
            return true;
        }
        if world == before && !outside::wait(setting, &mut world) {
            return is_whole(&world);
        }
    }
    false
}

/// One look, with what follows from it as far as nobody has to be waited for.
fn take_turn(setting: &Setting, world: &mut World, me: u8) {
    if world.peek(me).phase == Phase::Idle && !world.peek(me).fresh {
        process::learn(world, me);
    }
    for _ in 0..REQUESTS {
        if world.bad.is_some() || !can_step(world, me) {
            return;
        }
        process::step(setting, world, me);
        if world.peek(me).phase == Phase::Idle {
            return;
        }
    }
}

/// As many sound workers as asked for, nothing else, and nothing on its way. A driver that never ends keeps its worker,
/// cordoned or not, and with that one's place in the group.
fn is_whole(world: &World) -> bool {
    let Group { desired, pending, serving } = world.group;
    let is_quiet = world.record.stage == Stage::Closed && world.calls.iter().all(Option::is_none) && pending == 0;
    let cordoned = world.master.cordoned;
    let kept = match world.master.driver {
        Driver::On(id) if has(cordoned, id) => 1,
        Driver::On(_) | Driver::Waiting | Driver::Absent => 0,
    };
    let sound = count(serving & !cordoned);
    let is_at_rest = desired == count(serving) && count(cordoned) == kept;
    is_quiet && is_at_rest && sound == world.target.min(MAX - kept)
}
