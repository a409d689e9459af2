//! What makes the states few: what can decide nothing any more is forgotten, two operators are told apart by what they
//! do only, and names of instances that nobody remembers are used again.

use crate::records::Stage;
use crate::setting::Setting;
use crate::world::{
    Call, Driver, Effect, Group, Id, Members, NAMES, NOBODY, Phase, Process, Removal, Set, Wish, World, Written, bit,
    count, has,
};

/// One of the states that behave like `world`, mostly the same for all of them.
pub fn fold(setting: &Setting, world: &mut World) {
    forget(world);
    // Traces of what is switched off are for reading.
    if setting.off.is_none() && setting.leaders > 1 {
        sort(world);
    }
    rename(world);
}

fn forget(world: &mut World) {
    let Group { pending, serving, .. } = world.group;
    world.master.cordoned &= serving;
    world.master.marking &= serving;
    let is_sent = world.record.stage == Stage::Sent;
    world.over &= is_sent;
    world.master.held &= if is_sent && !world.over { serving } else { 0 };
    for process in &mut world.processes {
        // When a look began counts once the call is over: whoever looks then is told so.
        if let Phase::Looking { early, .. } | Phase::Settling { early, .. } = &mut process.phase {
            *early &= world.over;
        }
    }
    for slot in &mut world.calls {
        // Nobody waits for it, and its instance is gone.
        let is_idle = |call: &Call| {
            call.by == NOBODY && matches!(call.effect, Effect::Terminate { id, .. } if !has(pending | serving, id))
        };
        *slot = slot.filter(|call| !is_idle(call));
    }
    world.calls.sort_unstable();
}

/// Operators are the same but for their names.
fn sort(world: &mut World) {
    let [first, second] = &world.processes;
    if rank(first) <= rank(second) {
        return;
    }
    world.processes.swap(0, 1);
    let other = |by: &mut u8| *by = 1 - *by;
    let [first, second] = &mut world.processes;
    for record in [&mut world.record, &mut first.known, &mut second.known] {
        if record.stage != Stage::Closed {
            other(&mut record.by);
        }
    }
    world.calls.iter_mut().flatten().filter(|call| call.by != NOBODY).for_each(|call| other(&mut call.by));
    world.calls.sort_unstable();
}

/// What two operators are ordered by; those that are equal in it stay as they are.
fn rank(process: &Process) -> (u8, u8, bool, u8, bool, Set) {
    let (phase, more) = match process.phase {
        Phase::Idle => (0, 0),
        Phase::Looking { group, early } => (1, (group.serving << 1) | Set::from(early)),
        Phase::Settling { done, early } => (2, (Set::from(done) << 1) | Set::from(early)),
        Phase::Preparing { wish, target } => (3, (wished(wish) << 2) | Set::from(target)),
        Phase::Resuming { removal, target, .. } => (4, (Set::from(removal.id) << 2) | Set::from(target)),
        Phase::Checking(raise) => (5, wished(Wish::Raise(raise))),
        Phase::Cordoning(removal) => (6, removal.id.into()),
        Phase::Confirming { removal, .. } => (7, removal.id.into()),
        Phase::Sending(wish) => (8, wished(wish)),
        Phase::Raising(_) => (9, 0),
        Phase::Again { group, .. } => (10, Set::from(group.is_some())),
        Phase::Ending(_) => (11, 0),
        Phase::Calling => (12, 0),
        Phase::Closing { done } => (13, done.into()),
    };
    let known = match process.known.stage {
        Stage::Closed => 0,
        Stage::Prepared => 1,
        Stage::Sent => 2,
    };
    (phase, process.term, process.fresh, known, process.drained, more)
}

fn wished(wish: Wish) -> Set {
    match wish {
        Wish::Raise(raise) => (Set::from(raise.from) << 2) | Set::from(raise.to),
        Wish::Remove(removal) => 16 + Set::from(removal.id),
    }
}

/// A name that nobody means by anything, greater than all that are meant.
pub fn next_name(world: &World) -> Id {
    NAMES - u8::try_from(used(world).leading_zeros()).unwrap_or(0)
}

/// Instances that anything means.
fn used(world: &World) -> Set {
    let Group { pending, serving, .. } = world.group;
    let driver = match world.master.driver {
        Driver::On(id) => bit(id),
        Driver::Waiting | Driver::Absent => 0,
    };
    let mut used = pending | serving | driver | of_record(&world.record);
    for process in &world.processes {
        used |= of_record(&process.known) | of_phase(&process.phase);
    }
    for call in world.calls.iter().flatten() {
        if let Effect::Terminate { id, .. } = call.effect {
            used |= bit(id);
        }
    }
    used
}

fn of_record(record: &Written) -> Set {
    record.wish.as_ref().map_or(0, of_wish)
}

fn of_wish(wish: &Wish) -> Set {
    match wish {
        Wish::Remove(removal) => bit(removal.id),
        Wish::Raise(_) => 0,
    }
}

fn of_group(group: &Group) -> Set {
    group.pending | group.serving
}

fn of_phase(phase: &Phase) -> Set {
    match phase {
        Phase::Looking { group, .. } => of_group(group),
        Phase::Preparing { wish, .. } | Phase::Sending(wish) => of_wish(wish),
        Phase::Resuming { removal, .. }
        | Phase::Cordoning(removal)
        | Phase::Confirming { removal, .. }
        | Phase::Ending(removal) => bit(removal.id),
        Phase::Again { removal, group } => bit(removal.id) | group.as_ref().map_or(0, of_group),
        Phase::Idle
        | Phase::Settling { .. }
        | Phase::Checking(_)
        | Phase::Raising(_)
        | Phase::Calling
        | Phase::Closing { .. } => 0,
    }
}

/// The first names, in the order of age as before.
fn rename(world: &mut World) {
    let used = used(world);
    // Those that are used are the first ones already.
    if used & used.wrapping_add(1) == 0 {
        return;
    }
    let id = |id: Id| count(used & (bit(id) - 1));
    let set = |set: &mut Set| *set = Members(*set).fold(0, |renamed, one| renamed | bit(id(one)));
    let group = |group: &mut Group| {
        set(&mut group.pending);
        set(&mut group.serving);
    };
    let removal = |removal: &mut Removal| removal.id = id(removal.id);
    let wish = |wish: &mut Wish| {
        if let Wish::Remove(one) = wish {
            removal(one);
        }
    };
    group(&mut world.group);
    set(&mut world.master.cordoned);
    set(&mut world.master.marking);
    set(&mut world.master.held);
    if let Driver::On(one) = &mut world.master.driver {
        *one = id(*one);
    }
    world.record.wish.iter_mut().for_each(wish);
    for process in &mut world.processes {
        process.known.wish.iter_mut().for_each(wish);
        match &mut process.phase {
            Phase::Looking { group: read, .. } => group(read),
            Phase::Preparing { wish: wanted, .. } | Phase::Sending(wanted) => wish(wanted),
            Phase::Resuming { removal: one, .. }
            | Phase::Cordoning(one)
            | Phase::Confirming { removal: one, .. }
            | Phase::Ending(one) => removal(one),
            Phase::Again { removal: one, group: read } => {
                removal(one);
                read.iter_mut().for_each(group);
            }
            _ => {}
        }
    }
    for call in world.calls.iter_mut().flatten() {
        if let Effect::Terminate { id: one, .. } = &mut call.effect {
            *one = id(*one);
        }
    }
    world.calls.sort_unstable();
}
