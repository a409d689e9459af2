//! The model for stateright: what may happen next, and what must hold.

use super::outside;
use super::process::{self, can_step, may_call};
use super::world::{Bad, Faults, Id, Life, NOBODY, Phase, Setting, Wish, World};
use crate::records::Stage;
use crate::search::ENOUGH;
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
    /// A call to the master has its effect.
    Land { slot: usize, answered: bool },
    /// The time of the call that is sent passes.
    Expire,
    /// A minute passes.
    Tick,
    /// A worker takes a driver.
    Run(Id),
    /// A driver ends by itself.
    End(Id),
    /// The query stands still although its driver runs.
    Stick,
    /// The master starts again.
    Restart,
    /// The master hears of a driver that runs.
    Report(Id),
    /// No master answers any more.
    Hush,
    /// The master answers again.
    Answer,
}

pub const TWO: &str = "two submissions of ours never live by our own acts";
pub const ONE_CALL: &str = "at most one call about the driver may act at any time";
pub const JUDGED: &str = "what is sent is judged by others after its call is over only";
pub const KEEPS: &str = "an extra driver is killed beside another one only";
pub const DRAINS: &str = "without faults one driver runs";

const SEEN_SUBMITTED: &str = "a submission is answered";
const SEEN_KILLED: &str = "the end of a driver is answered";
const SEEN_LOST: &str = "a driver is found that a lost answer told of";
const SEEN_HIDDEN: &str = "no driver is listed, and one lives";

/// Of how many kinds of states those of one are drained.
const DRAINED: u64 = 20;

/// Rounds that draining may take.
const ROUNDS: u32 = 60;

/// Requests of an operator within one look and what follows from it, at most.
const REQUESTS: u32 = 12;

impl Model for Setting {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
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
        let left = world.left;
        acts.extend(world.awaits_end().then_some(Act::Expire));
        acts.extend(outside::may_tick(world).then_some(Act::Tick));
        acts.extend(world.ids(|life| life == Life::Waiting).map(Act::Run));
        acts.extend(world.ids(|life| life == Life::Hidden).map(Act::Report));
        if left.ends > 0 {
            acts.extend(world.ids(Life::runs).map(Act::End));
        }
        let sticks = left.stalls > 0 && !world.stuck && world.ids(Life::runs).next().is_some();
        acts.extend(sticks.then_some(Act::Stick));
        acts.extend((left.restarts > 0).then_some(Act::Restart));
        acts.extend((left.silences > 0 && !world.silent).then_some(Act::Hush));
        acts.extend(world.silent.then_some(Act::Answer));
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = *world;
        self.happen(&mut next, act);
        outside::fold(&mut next);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(TWO, |_, world: &World| world.bad != Some(Bad::TwoLive)),
            Property::always(JUDGED, |_, world: &World| world.bad != Some(Bad::JudgedEarly)),
            Property::always(ONE_CALL, |_, world: &World| may_act(world) <= 1),
            Property::always(DRAINS, |setting: &Self, world: &World| {
                world.bad.is_some() || !kind(world).is_multiple_of(DRAINED) || setting.drains(*world)
            }),
            Property::sometimes(ENOUGH, |setting: &Self, _| setting.visits.are_enough()),
        ];
        if self.faults.ends == 0 {
            // One that ends by itself at the same moment is not our doing.
            properties.push(Property::always(KEEPS, |_, world: &World| world.bad != Some(Bad::NoneLeft)));
        }
        if self.faults.stalls > 0 {
            properties.push(Property::sometimes(SEEN_KILLED, |_, world: &World| is_answered(world, true)));
        }
        // Where several are there from the beginning, one stays.
        let submits = self.first.len() < 2;
        if submits {
            properties.push(Property::sometimes(SEEN_SUBMITTED, |_, world: &World| is_answered(world, false)));
        }
        if submits && self.faults.losses > 0 {
            properties.push(Property::sometimes(SEEN_LOST, |_, world: &World| is_found(world)));
        }
        if self.faults.restarts > 0 {
            properties.push(Property::sometimes(SEEN_HIDDEN, |_, world: &World| is_unlisted(world)));
        }
        properties
    }
}

impl Setting {
    /// Carries out `act`.
    fn happen(&self, world: &mut World, act: Act) {
        match act {
            Act::Step(me) => process::step(self, world, me),
            Act::See(me) => process::learn(self, world, me),
            Act::Crash(me) => {
                world.left.crashes -= 1;
                process::crash(world, me);
            }
            Act::Land { slot, answered } => {
                let waits = world.calls[slot].is_some_and(|call| call.by != NOBODY);
                world.left.losses -= u8::from(waits && !answered);
                outside::land(world, slot, answered);
            }
            Act::Expire => process::expire(world),
            Act::Tick => outside::tick(self, world),
            Act::Run(id) => outside::run(world, id),
            Act::End(id) => {
                world.left.ends -= 1;
                outside::end(world, id);
            }
            Act::Stick => {
                world.left.stalls -= 1;
                world.stuck = true;
            }
            Act::Restart => {
                world.left.restarts -= 1;
                outside::restart(self, world);
            }
            Act::Report(id) => outside::report(world, id),
            Act::Hush => {
                world.left.silences -= 1;
                world.silent = true;
            }
            Act::Answer => world.silent = false,
        }
    }

    /// From `world`, without further faults and with everybody getting a turn, one driver runs, and nothing is open.
    fn drains(&self, mut world: World) -> bool {
        world.left = Faults::default();
        for _ in 0..ROUNDS {
            let before = world;
            outside::all(&mut world);
            for me in 0..self.leaders {
                self.take_turn(&mut world, me);
            }
            outside::fold(&mut world);
            // That is for the other properties, which see the same steps.
            if world.bad.is_some() || is_well(&world) {
                return true;
            }
            if world == before {
                if world.awaits_end() {
                    process::expire(&mut world);
                } else {
                    outside::tick(self, &mut world);
                }
            }
        }
        // The master takes no submission any more: there are only so many names.
        !world.lives.contains(&Life::Never)
    }

    /// One look, with what follows from it as far as nobody has to be waited for.
    fn take_turn(&self, world: &mut World, me: u8) {
        if world.peek(me).phase == Phase::Idle && !world.peek(me).fresh {
            process::learn(self, world, me);
        }
        for _ in 0..REQUESTS {
            if world.bad.is_some() || !can_step(world, me) {
                return;
            }
            process::step(self, world, me);
            if world.peek(me).phase == Phase::Idle {
                return;
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
    acts.push(Act::Land { slot, answered: waits });
    acts.extend((waits && world.left.losses > 0).then_some(Act::Land { slot, answered: false }));
}

/// A number that states of one kind share, whatever the operators are at: cheaper than a hash of all.
fn kind(world: &World) -> u64 {
    let counts = world.processes.iter().map(|process| {
        let absent = process.absent.map_or(0, |ticks| u64::from(ticks) + 1);
        let restarted = process.restarted.map_or(0, |ticks| u64::from(ticks) + 1);
        absent * 8 + restarted
    });
    let left = world.left;
    let others = [left.ends, left.restarts, left.stalls, world.still_for, world.hidden_for, u8::from(world.over)];
    let live = u64::try_from(world.live()).unwrap_or(u64::MAX);
    let numbers = counts.chain(others.map(u64::from)).chain([live]);
    numbers.fold(0, |mixed: u64, number| (mixed ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32
}

/// One driver runs whose query goes on, also if the master has forgotten it, and nothing is open.
fn is_well(world: &World) -> bool {
    let runs = world.ids(Life::runs).count() == 1 && world.live() == 1;
    runs && !world.stuck && world.record.stage == Stage::Closed && world.calls.iter().all(Option::is_none)
}

/// Calls that are on their way or may start now.
fn may_act(world: &World) -> usize {
    world.calls.iter().flatten().count() + (0..NOBODY).filter(|me| may_call(world, *me)).count()
}

/// Whether the call of the record, of that kind, had its effect and its sender knows.
fn is_answered(world: &World, kills: bool) -> bool {
    let closes = |me: u8| world.peek(me).phase == Phase::Closing { done: true };
    let is_kind = matches!(world.record.wish, Some(Wish::Kill { .. })) == kills;
    is_kind && world.record.stage == Stage::Sent && (0..NOBODY).any(closes)
}

/// Whether a submission whose answer nobody got is about to be closed as one that became a driver.
fn is_found(world: &World) -> bool {
    let settles = |me: u8| matches!(world.peek(me).phase, Phase::Settling { done: true, .. });
    let is_submission = matches!(world.record.wish, Some(Wish::Submit { .. }));
    is_submission && world.over && (0..NOBODY).any(settles)
}

fn is_unlisted(world: &World) -> bool {
    let is_listed = world.lives.iter().any(|life| matches!(life, Life::Waiting | Life::Running));
    !is_listed && world.live() > 0
}
