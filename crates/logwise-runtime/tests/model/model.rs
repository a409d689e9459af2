//! The model for stateright: what may happen next, and what must hold.

use crate::drain::drains;
use crate::setting::Setting;
use crate::world::{Bad, FRESH, Message, NOW, Seat, Work, World, Writing};
use crate::{election, fold, truth, work};
use logwise_runtime::intent::State;
use stateright::{Model, Property};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Time goes on: clocks, `Term::check`, `Seen::update`, the end of calls.
    Tick,
    /// A process goes on with its election: one request or wait of `Leadership::{take, begin_while_held, renew, release}`.
    Seat(u8),
    /// A process goes on with its work: one request or wait of `Intents::{clear, prepare}`, `Prepared::send`,
    /// `Sent::{check, close}` and of what a controller does in between.
    Work(u8),
    /// The answer to a write of the election does not come (`within_time` in `Leadership::write`, `within` in
    /// `epoch::raise`); the write may arrive later.
    LoseSeat(u8),
    /// The answer to a write of the intent does not come (`within` in `Intents::store`); the write may arrive later.
    LoseWork(u8),
    /// A process loses its memory. When it goes on, it has been started again.
    Crash(u8),
    /// The stop signal: `stopped` in `Leadership::keep`.
    Stop(u8),
    /// A process that is being stopped waits no longer for what it began: `drain` in `logwise-operator/src/run.rs`.
    Abort(u8),
    /// A process reads what other shards have written: `Intents::see_others`.
    See(u8),
    /// A person deletes the Lease.
    Delete,
    /// A person raises the target.
    Raise,
    /// A call has its effect, and perhaps the sender's client gets the answer.
    Land { slot: usize, answered: bool },
    /// A call is refused without an effect: the class of the error is another than `Transient`.
    Refuse(usize),
    /// A write arrives whose process has given up waiting.
    Late,
}

pub const ONE_CALL: &str = "at most one call may act at any time";
pub const ONE_LEADER: &str = "one leader, while nobody deletes the Lease";
pub const NOT_TAKEN: &str = "what is sent is closed by its sender, or by a later term after its time";
pub const PREPARED_FIRST: &str = "only what the sender has prepared is sent";
pub const CLOSE_KEPT: &str = "a closed intent is not opened again by an earlier term";
pub const EFFECT_KEPT: &str = "an effect is never recorded as abandoned";
pub const IN_TIME: &str = "no effect after its intent was closed";
pub const EPOCH_GROWS: &str = "the epoch never goes back";
pub const DEADLINE_KEPT: &str = "no call starts after the deadline of the term";
pub const DONE_THERE: &str = "what is recorded as done is there";
pub const VALUE_GROWS: &str = "the resource never goes back";
pub const DRAINS: &str = "without faults somebody leads and the target is reached";
pub const SEEN_EFFECT: &str = "an effect is seen";
pub const SEEN_TAKE_OVER: &str = "a later term judges what an earlier one has sent";
pub const SEEN_LATE: &str = "a lost write arrives late";

/// What a configuration has to show so that the rest says anything.
pub const SEEN: [&str; 3] = [SEEN_EFFECT, SEEN_TAKE_OVER, SEEN_LATE];

impl Model for Setting {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.faults)]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if world.ghost.bad.is_some() {
            return;
        }
        acts.push(Act::Tick);
        for me in 0..2 {
            acts.extend(self.acts_of(world, me));
        }
        for slot in 0..world.calls.len() {
            acts.extend(self.acts_on(world, slot));
        }
        if world.late.is_some() {
            acts.push(Act::Late);
        }
        if world.left.deletions > 0 && world.lease.is_some() {
            acts.push(Act::Delete);
        }
        if world.left.raises > 0 {
            acts.push(Act::Raise);
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = *world;
        self.happen(&mut next, act);
        fold::fold(self, &mut next);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NOT_TAKEN, |_, world: &World| world.ghost.bad != Some(Bad::TakenFromSender)),
            Property::always(PREPARED_FIRST, |_, world: &World| world.ghost.bad != Some(Bad::SentUnprepared)),
            Property::always(CLOSE_KEPT, |_, world: &World| world.ghost.bad != Some(Bad::CloseLost)),
            Property::always(EFFECT_KEPT, |_, world: &World| world.ghost.bad != Some(Bad::EffectLost)),
            Property::always(EPOCH_GROWS, |_, world: &World| world.ghost.bad != Some(Bad::EpochWentBack)),
            Property::always(DEADLINE_KEPT, |_, world: &World| world.ghost.bad != Some(Bad::CallAfterDeadline)),
            Property::always(DONE_THERE, |_, world: &World| world.ghost.bad != Some(Bad::DoneWithoutEffect)),
            Property::always(VALUE_GROWS, |_, world: &World| world.ghost.bad != Some(Bad::ValueFell)),
            Property::always(DRAINS, |setting, world: &World| world.ghost.bad.is_some() || drains(setting, world)),
            Property::sometimes(SEEN_EFFECT, |_, world: &World| world.value > 0),
            Property::sometimes(SEEN_TAKE_OVER, |_, world: &World| takes_over(world)),
        ];
        if !self.late_calls {
            properties.push(Property::always(ONE_CALL, |setting, world: &World| may_act(setting, world) <= 1));
            properties
                .push(Property::always(IN_TIME, |_, world: &World| world.ghost.bad != Some(Bad::EffectAfterClose)));
        }
        if !self.alone {
            properties.push(Property::always(ONE_LEADER, |_, world: &World| {
                world.ghost.lease_was_deleted || !(world.leads(0) && world.leads(1))
            }));
        }
        if self.faults.losses > 0 {
            properties.push(Property::sometimes(SEEN_LATE, |_, world: &World| would_arrive(world)));
        }
        properties
    }
}

/// How many calls are on their way or may start now.
fn may_act(setting: &Setting, world: &World) -> usize {
    let starting = |me: u8| matches!(world.peek(me).work, Work::Ready { deadline } if work::may_start(setting, world, me, deadline));
    world.calls.iter().flatten().count() + (0..2).filter(|me| starting(*me)).count()
}

/// Whether a process is about to close what another term has sent.
fn takes_over(world: &World) -> bool {
    let Some(stored) = world.intent.filter(|stored| stored.record.state == State::Sent) else { return false };
    world.processes.iter().any(|process| match process.work {
        Work::Writing(Writing { put, .. }) => {
            let closes = put.record.state.is_closed() && put.record.epoch > stored.record.epoch;
            closes && put.expected == Some(stored.version)
        }
        _ => false,
    })
}

/// Whether a write is on its way that would still be taken although its process gave up waiting for it.
fn would_arrive(world: &World) -> bool {
    match world.late {
        Some(Message::Intent(put)) => put.expected == world.intent.map(|stored| stored.version),
        Some(Message::Lease { expected, .. }) => expected == world.lease.map(|lease| lease.version),
        Some(Message::Epoch { expected, .. }) => expected == world.epoch,
        None => false,
    }
}

impl Setting {
    fn acts_of(&self, world: &World, me: u8) -> impl Iterator<Item = Act> {
        let process = world.peek(me);
        let left = world.left;
        let moves = match process.seat {
            Seat::Ending { .. } => false,
            Seat::Keep => !self.alone,
            _ => true,
        };
        let works = match process.work {
            Work::Off => false,
            Work::Calling { over, .. } => NOW >= over,
            _ => true,
        };
        let may_lose = left.losses > 0 && world.late.is_none();
        let writes = matches!(process.work, Work::Writing(_));
        let stops = left.stops > 0 && matches!(process.seat, Seat::Keep | Seat::Renew { .. });
        let ends = matches!(process.seat, Seat::Ending { stop: true });
        let knows_less = process.known.map(|known| known.stored.version) != world.intent.map(|stored| stored.version);
        let acts = [
            moves.then_some(Act::Seat(me)),
            works.then_some(Act::Work(me)),
            (may_lose && election::pending(world, me).is_some()).then_some(Act::LoseSeat(me)),
            (may_lose && writes).then_some(Act::LoseWork(me)),
            (left.crashes > 0 && process.has_memory()).then_some(Act::Crash(me)),
            stops.then_some(Act::Stop(me)),
            ends.then_some(Act::Abort(me)),
            (self.shards && process.term.is_some() && knows_less).then_some(Act::See(me)),
        ];
        acts.into_iter().flatten()
    }

    fn acts_on(&self, world: &World, slot: usize) -> impl Iterator<Item = Act> {
        let call = world.calls[slot];
        let waits = call.is_some_and(|call| work::caller(world, call.id).is_some());
        let may_lose = !waits || world.left.losses > 0;
        let acts = [
            (call.is_some() && may_lose).then_some(Act::Land { slot, answered: false }),
            waits.then_some(Act::Land { slot, answered: true }),
            (waits && world.left.losses > 0).then_some(Act::Refuse(slot)),
        ];
        acts.into_iter().flatten()
    }

    /// Carries out `act`.
    pub fn happen(&self, world: &mut World, act: Act) {
        self.carry_out(world, act);
        truth::note_end(self, world);
    }

    fn carry_out(&self, world: &mut World, act: Act) {
        match act {
            Act::Tick => fold::tick(self, world),
            Act::Seat(me) => election::step(self, world, me),
            Act::Work(me) => work::step(self, world, me),
            Act::LoseSeat(me) => {
                world.left.losses -= 1;
                world.late = election::pending(world, me);
                election::give_up(self, world, me);
            }
            Act::LoseWork(me) => {
                world.left.losses -= 1;
                world.late = write_of(world, me);
                work::give_up(world, me);
            }
            Act::Crash(me) => {
                world.left.crashes -= 1;
                world.late = world.late.or(write_of(world, me)).or(election::pending(world, me));
                *world.process(me) = FRESH;
            }
            Act::Stop(me) => {
                world.left.stops -= 1;
                election::end(world, me, true);
            }
            Act::Abort(me) => {
                world.late = world.late.or(write_of(world, me));
                work::abort(world, me);
            }
            Act::See(me) => work::see_others(world, me),
            Act::Delete => {
                world.left.deletions -= 1;
                world.ghost.lease_was_deleted = true;
                world.lease = None;
            }
            Act::Raise => {
                world.left.raises -= 1;
                world.target += 1;
            }
            Act::Land { slot, answered } => {
                if !answered && world.calls[slot].is_some_and(|call| work::caller(world, call.id).is_some()) {
                    world.left.losses = world.left.losses.saturating_sub(1);
                }
                truth::land(self, world, slot, answered);
            }
            Act::Refuse(slot) => {
                world.left.losses -= 1;
                truth::refuse(self, world, slot);
            }
            Act::Late => self.arrive(world),
        }
    }

    fn arrive(&self, world: &mut World) {
        match world.late.take() {
            Some(Message::Intent(put)) => {
                let _ = truth::apply(self, world, put);
            }
            Some(message) => {
                let _ = election::apply(self, world, message);
            }
            None => {}
        }
    }
}

fn write_of(world: &World, me: u8) -> Option<Message> {
    match world.peek(me).work {
        Work::Writing(Writing { put, .. }) => Some(Message::Intent(put)),
        _ => None,
    }
}
