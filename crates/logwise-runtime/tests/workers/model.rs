//! The model for stateright: what may happen next, and what must hold.

use crate::drain::drains;
use crate::fold::fold;
use crate::outside::{self, places, surplus};
use crate::process::{self, can_step, may_call};
use crate::records::Stage;
use crate::search::ENOUGH;
use crate::setting::Setting;
use crate::world::{Bad, Driver, Id, MAX, MIN, Members, NOBODY, Phase, Removal, Wish, World, Written, count, has};
use stateright::{Model, Property};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An operator makes one request, or reads one answer.
    Step(u8),
    /// An operator reads the record again: `Intents::see_others`.
    See(u8),
    /// An operator loses its memory and begins again.
    Crash(u8),
    /// A call to the group has its effect.
    Land { slot: usize, answered: bool, again: bool },
    /// The time of the call that is sent passes.
    Expire,
    /// An instance comes into service.
    Serve(Id),
    /// AWS ends an instance, since there are more than it was told to have.
    Shrink(Id),
    /// A cordon that was asked for is set.
    Mark(Id),
    /// The master starts again and forgets all cordons.
    Restart,
    /// A driver is submitted.
    Submit,
    /// The master places the driver.
    Place(Id),
    /// The driver ends.
    Leave,
    /// The object asks for another number of workers.
    Retarget(u8),
}

pub const DRIVER: &str = "no worker with a driver on it is ended";
pub const MINIMUM: &str = "no worker is ended below the group's minimum in service";
pub const TARGET: &str = "no worker is ended below the target that was valid when its removal was decided";
pub const MAXIMUM: &str = "no more instances than the group's maximum";
pub const GROWS: &str = "no call lowers the desired number";
pub const ONE_CALL: &str = "at most one call about the group may act at any time";
pub const EQUAL: &str = "equal reads, in whatever order, give equal acts";
pub const DRAINS: &str = "without faults the workers become as many as asked for";

const SEEN_RAISED: &str = "a raise is answered";
const SEEN_ENDED: &str = "the end of a worker is answered";
const SEEN_LANDED: &str = "a driver comes to a worker whose removal is prepared";
const SEEN_MET: &str = "a wanted scale-out meets a prepared scale-in";
const SEEN_RESUMED: &str = "an operator goes on with what another has prepared";
const SEEN_FORGOTTEN: &str = "the master forgets a cordon while a worker may be ended";
const SEEN_LATE: &str = "a call is on its way that the record says nothing of";
const SEEN_DRAINED: &str = "a worker drains";

impl Model for Setting {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        self.starts.iter().map(|start| World::new(self, *start)).collect()
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        self.visits.count();
        if world.bad.is_some() {
            return;
        }
        for me in 0..self.leaders {
            acts_of(world, me, acts);
        }
        for slot in 0..world.calls.len() {
            acts_on(world, slot, acts);
        }
        acts.extend(world.awaits_end().then_some(Act::Expire));
        acts.extend(Members(world.group.pending).map(Act::Serve));
        acts.extend(Members(surplus(self, world)).map(Act::Shrink));
        acts.extend(Members(world.master.marking).map(Act::Mark));
        let cordons = world.master.cordoned | world.master.marking;
        acts.extend((world.left.restarts > 0 && cordons != 0).then_some(Act::Restart));
        match world.master.driver {
            Driver::Absent => acts.push(Act::Submit),
            Driver::Waiting => acts.extend(Members(places(world)).map(Act::Place)),
            Driver::On(_) => acts.extend(self.ends.then_some(Act::Leave)),
        }
        if world.left.changes > 0 {
            acts.extend((MIN..=MAX).filter(|target| *target != world.target).map(Act::Retarget));
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = *world;
        self.happen(&mut next, act);
        fold(self, &mut next);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(DRIVER, |_, world: &World| world.bad != Some(Bad::DriverKilled)),
            Property::always(MINIMUM, |_, world: &World| world.bad != Some(Bad::BelowMinimum)),
            Property::always(TARGET, |_, world: &World| world.bad != Some(Bad::BelowTarget)),
            Property::always(GROWS, |_, world: &World| world.bad != Some(Bad::Lowered)),
            Property::always(EQUAL, |_, world: &World| world.bad != Some(Bad::UnequalActs)),
            Property::always(MAXIMUM, |_, world: &World| is_within(world)),
            Property::always(DRAINS, |setting: &Self, world: &World| world.bad.is_some() || drains(setting, world)),
            Property::sometimes(ENOUGH, |setting: &Self, _| setting.visits.are_enough()),
            Property::sometimes(SEEN_ENDED, |_, world: &World| is_answered(world, removal_of(&world.record).is_some())),
        ];
        if !self.late {
            // A late call acts whatever the record says.
            properties.push(Property::always(ONE_CALL, |_, world: &World| may_act(world) <= 1));
        }
        self.seen(&mut properties);
        properties
    }
}

impl Setting {
    /// What a configuration has to show so that the rest says anything.
    fn seen(&self, properties: &mut Vec<Property<Self>>) {
        if self.faults.changes > 0 {
            properties.push(Property::sometimes(SEEN_RAISED, |_, world: &World| {
                is_answered(world, removal_of(&world.record).is_none())
            }));
            properties.push(Property::sometimes(SEEN_MET, |_, world: &World| meets(world)));
        }
        if self.driver == Driver::Absent {
            properties.push(Property::sometimes(SEEN_LANDED, |_, world: &World| is_landed_on(world)));
        }
        if self.leaders > 1 || self.faults.crashes > 0 {
            properties.push(Property::sometimes(SEEN_RESUMED, |_, world: &World| is_resumed(world)));
        }
        if self.faults.restarts > 0 {
            properties.push(Property::sometimes(SEEN_FORGOTTEN, |_, world: &World| world.master.held != 0));
        }
        if self.late {
            properties.push(Property::sometimes(SEEN_LATE, |_, world: &World| is_late(world)));
        }
        if self.busy {
            properties.push(Property::sometimes(SEEN_DRAINED, |_, world: &World| {
                world.processes.iter().any(|process| process.drained)
            }));
        }
    }

    /// Carries out `act`.
    pub fn happen(&self, world: &mut World, act: Act) {
        match act {
            Act::Step(me) => process::step(self, world, me),
            Act::See(me) => process::learn(world, me),
            Act::Crash(me) => {
                world.left.crashes -= 1;
                process::crash(world, me);
            }
            Act::Land { slot, answered, again } => {
                let waits = world.calls[slot].is_some_and(|call| call.by != NOBODY);
                world.left.losses -= u8::from(waits && !answered);
                world.left.repeats -= u8::from(again);
                outside::land(self, world, slot, (answered, again));
            }
            Act::Expire => process::expire(self, world),
            Act::Serve(id) => outside::serve(world, id),
            Act::Shrink(id) => outside::shrink(world, id),
            Act::Mark(id) => outside::mark(world, id),
            Act::Restart => {
                world.left.restarts -= 1;
                outside::restart(world);
            }
            Act::Submit => world.master.driver = Driver::Waiting,
            Act::Place(id) => world.master.driver = Driver::On(id),
            Act::Leave => world.master.driver = Driver::Absent,
            Act::Retarget(target) => {
                world.left.changes -= 1;
                world.target = target;
            }
        }
    }
}

fn acts_of(world: &World, me: u8, acts: &mut Vec<Act>) {
    let process = world.peek(me);
    let is_idle = process.phase == Phase::Idle;
    acts.extend(can_step(world, me).then_some(Act::Step(me)));
    acts.extend((is_idle && !process.fresh).then_some(Act::See(me)));
    acts.extend((!is_idle && world.left.crashes > 0).then_some(Act::Crash(me)));
}

fn acts_on(world: &World, slot: usize, acts: &mut Vec<Act>) {
    let Some(call) = world.calls[slot] else { return };
    let waits = call.by != NOBODY;
    let land = |answered, again| Act::Land { slot, answered, again };
    acts.push(land(waits, false));
    acts.extend((waits && world.left.losses > 0).then_some(land(false, false)));
    acts.extend((world.left.repeats > 0).then_some(land(waits, true)));
}

fn is_within(world: &World) -> bool {
    world.group.desired <= MAX && count(world.group.pending | world.group.serving) <= MAX
}

/// Calls that are on their way or may start now.
fn may_act(world: &World) -> usize {
    world.calls.iter().flatten().count() + (0..NOBODY).filter(|me| may_call(world, *me)).count()
}

/// Whether the call of the record, of that kind, had its effect and its sender knows.
fn is_answered(world: &World, is_kind: bool) -> bool {
    let closes = |me: u8| world.peek(me).phase == Phase::Closing { done: true };
    is_kind && world.record.stage == Stage::Sent && (0..NOBODY).any(closes)
}

fn removal_of(record: &Written) -> Option<Removal> {
    match record.wish {
        Some(Wish::Remove(removal)) => Some(removal),
        Some(Wish::Raise(_)) | None => None,
    }
}

fn prepared(world: &World) -> Option<Removal> {
    removal_of(&world.record).filter(|_| world.record.stage == Stage::Prepared)
}

fn is_landed_on(world: &World) -> bool {
    prepared(world).is_some_and(|removal| world.master.driver == Driver::On(removal.id))
}

fn meets(world: &World) -> bool {
    prepared(world).is_some_and(|removal| has(world.master.cordoned, removal.id) && world.target >= removal.from)
}

fn is_resumed(world: &World) -> bool {
    let resumes = |me: u8| {
        let process = world.peek(me);
        let is_own = (process.known.by, process.known.term) == (me, process.term);
        process.fresh && !is_own && matches!(process.phase, Phase::Resuming { .. })
    };
    (0..NOBODY).any(resumes)
}

fn is_late(world: &World) -> bool {
    world.record.stage == Stage::Closed && world.calls.iter().flatten().any(|call| call.by == NOBODY)
}
