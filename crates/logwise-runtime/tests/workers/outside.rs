//! What the group, the master and the driver do.

use crate::fold::next_name;
use crate::process::expire;
use crate::setting::{Off, Setting};
use crate::world::{
    Bad, Call, Driver, Effect, Id, MAX, MIN, Members, NAMES, NOBODY, Phase, Set, World, bit, count, has,
};

/// A call has its effect. `answered`: whoever waits gets the answer. `again`: it will have its effect once more.
pub fn land(setting: &Setting, world: &mut World, slot: usize, (answered, again): (bool, bool)) {
    let Some(call) = world.calls[slot] else { return };
    let done = match call.effect {
        Effect::SetDesired(number) => set_desired(setting, world, number),
        // Of one that comes late nobody can say how many there will be.
        Effect::Terminate { id, floor } => terminate(world, id, if setting.late { 0 } else { floor }),
    };
    world.calls[slot] = again.then_some(Call { by: NOBODY, ..call });
    if answered && call.by != NOBODY {
        world.process(call.by).phase = Phase::Closing { done };
    }
}

/// AWS takes any number within the bounds.
fn set_desired(setting: &Setting, world: &mut World, number: u8) -> bool {
    if !(MIN..=MAX).contains(&number) {
        return false;
    }
    // One that comes late may: nothing can be done about that.
    let may_lower = setting.late || setting.has(Off::ByNumber);
    if number < world.group.desired && !may_lower {
        world.blame(Bad::Lowered);
    }
    world.group.desired = number;
    launch(world);
    true
}

/// What is missing is launched at once, and comes into service at any time.
fn launch(world: &mut World) {
    while count(world.group.pending | world.group.serving) < world.group.desired {
        let id = next_name(world);
        assert!(id < NAMES, "too few names: {world:#?}");
        world.group.pending |= bit(id);
    }
}

/// Ends an instance and lowers the desired number by one; AWS compares that with the minimum and with nothing else.
/// One that is gone is as it should be.
fn terminate(world: &mut World, id: Id, floor: u8) -> bool {
    if !has(world.group.pending | world.group.serving, id) {
        return true;
    }
    if world.group.desired <= MIN {
        return false;
    }
    world.group.desired -= 1;
    end(world, id);
    let left = count(world.group.serving);
    if left < MIN {
        world.blame(Bad::BelowMinimum);
    }
    if left < floor {
        world.blame(Bad::BelowTarget);
    }
    true
}

fn end(world: &mut World, id: Id) {
    if world.master.driver == Driver::On(id) {
        world.blame(Bad::DriverKilled);
    }
    world.group.pending &= !bit(id);
    world.group.serving &= !bit(id);
}

/// An instance comes into service.
pub fn serve(world: &mut World, id: Id) {
    world.group.pending &= !bit(id);
    world.group.serving |= bit(id);
}

/// Instances of which AWS may end one, since there are more than it was told to have: whichever it likes, apart from
/// those that are protected. What is on its way is not.
pub fn surplus(setting: &Setting, world: &World) -> Set {
    let all = world.group.pending | world.group.serving;
    if count(all) <= world.group.desired {
        0
    } else if setting.protects() {
        world.group.pending
    } else {
        all
    }
}

/// AWS ends one of them.
pub fn shrink(world: &mut World, id: Id) {
    end(world, id);
}

/// A cordon that was queued is set.
pub fn mark(world: &mut World, id: Id) {
    world.master.marking &= !bit(id);
    world.master.cordoned |= bit(id);
}

/// The master starts again and has forgotten every cordon. Its start takes longer than a call: while one may be under
/// way that was decided on before, no driver comes to these workers.
pub fn restart(world: &mut World) {
    if world.awaits_end() {
        world.master.held |= world.master.cordoned;
    }
    (world.master.cordoned, world.master.marking) = (0, 0);
}

/// Workers that the master may place a driver on.
pub fn places(world: &World) -> Set {
    world.group.serving & !world.master.cordoned & !world.master.held
}

/// Everything outside does what it can, once: no call is lost, and the master places the driver.
pub fn all(setting: &Setting, world: &mut World) {
    for slot in 0..world.calls.len() {
        land(setting, world, slot, (true, false));
    }
    for id in Members(world.master.marking) {
        mark(world, id);
    }
    for id in Members(world.group.pending) {
        serve(world, id);
    }
    while let Some(id) = Members(surplus(setting, world)).next() {
        shrink(world, id);
    }
    match world.master.driver {
        Driver::Waiting => {
            if let Some(id) = Members(places(world)).next() {
                world.master.driver = Driver::On(id);
            }
        }
        Driver::On(id) if setting.ends && has(world.master.cordoned, id) => world.master.driver = Driver::Absent,
        Driver::On(_) | Driver::Absent => {}
    }
}

/// Nothing else moves: the time of what is sent passes.
pub fn wait(setting: &Setting, world: &mut World) -> bool {
    let waits = world.awaits_end();
    if waits {
        expire(setting, world);
    }
    waits
}
