//! One operator, request by request: what `logwise-spark` does around the planner, and what `Intents`, `Prepared` and
//! `Sent` of this crate do around `intent::advance`.

use crate::cache::Cache;
use crate::decide::{decide, look_again};
use crate::records::{Ask, Question, Stage, Writes, advanced};
use crate::setting::{Off, Setting};
use crate::shipped::Verdict;
use crate::world::{Call, Effect, MAX, NOBODY, Phase, Removal, Step, Wish, World, Written, bit};
use std::sync::LazyLock;

static WRITES: LazyLock<Writes<Wish>> = LazyLock::new(Cache::new);

/// Whether `me` can take a step.
pub fn can_step(world: &World, me: u8) -> bool {
    let process = world.peek(me);
    match process.phase {
        // A look at a call that may still be under way would change nothing.
        Phase::Idle => !(process.known.stage == Stage::Sent && process.fresh && !world.over),
        Phase::Calling => false,
        Phase::Raising(_) | Phase::Ending(_) => world.calls.contains(&None),
        _ => true,
    }
}

/// One step of `me`.
pub fn step(setting: &Setting, world: &mut World, me: u8) {
    let group = world.group;
    match world.peek(me).phase {
        Phase::Idle => go(world, me, Phase::Looking { group, early: false }),
        Phase::Looking { group, early } => decide(setting, world, me, (group, early)),
        Phase::Settling { done, early } => {
            let late = world.over && !early;
            let present = world.peek(me).fresh;
            write(setting, world, me, Ask::Settle { present, done, late });
            go(world, me, Phase::Idle);
        }
        Phase::Preparing { wish, target } => prepare(setting, world, me, (wish, target)),
        Phase::Resuming { removal, step, target } => resume(setting, world, me, (removal, step, target)),
        // `group::check`.
        Phase::Checking(raise) if group.desired == raise.from && raise.to <= MAX => {
            go(world, me, Phase::Sending(Wish::Raise(raise)));
        }
        Phase::Checking(_) => go(world, me, Phase::Closing { done: false }),
        Phase::Cordoning(removal) => cordon(setting, world, me, removal),
        Phase::Confirming { removal, step } => confirm(setting, world, me, (removal, step)),
        Phase::Sending(wish) => send(setting, world, me, wish),
        Phase::Raising(raise) => call(world, me, Effect::SetDesired(raise.to)),
        Phase::Again { removal, group: None } => go(world, me, Phase::Again { removal, group: Some(group) }),
        Phase::Again { removal, group: Some(group) } => {
            let verdict = look_again(setting, world, group, (removal, Step::Terminate));
            let may = verdict == Verdict::End;
            go(world, me, if may { Phase::Ending(removal) } else { Phase::Closing { done: false } });
        }
        Phase::Ending(Removal { from, .. }) if setting.has(Off::ByNumber) => {
            call(world, me, Effect::SetDesired(from - 1));
        }
        Phase::Ending(Removal { id, floor, .. }) => call(world, me, Effect::Terminate { id, floor }),
        Phase::Calling => {}
        Phase::Closing { done } => {
            write(setting, world, me, Ask::Close { done });
            go(world, me, Phase::Idle);
        }
    }
}

fn go(world: &mut World, me: u8, phase: Phase) {
    world.process(me).phase = phase;
}

/// `Intents::prepare`: first the API server is asked whether the object is still as it was planned for.
fn prepare(setting: &Setting, world: &mut World, me: u8, (wish, target): (Wish, u8)) {
    let goes_on = world.target == target && write(setting, world, me, Ask::Prepare(wish));
    let next = match wish {
        _ if !goes_on => Phase::Idle,
        Wish::Raise(raise) => Phase::Checking(raise),
        Wish::Remove(_) if setting.has(Off::ByNumber) => Phase::Sending(wish),
        Wish::Remove(removal) => Phase::Cordoning(removal),
    };
    go(world, me, next);
}

/// `Intents::resume`: the same question; a record of its own is taken as it is known.
fn resume(setting: &Setting, world: &mut World, me: u8, (removal, step, target): (Removal, Step, u8)) {
    let process = *world.peek(me);
    let is_own = (process.known.by, process.known.term) == (me, process.term);
    let goes_on =
        world.target == target && (is_own || write(setting, world, me, Ask::Resume { present: process.fresh }));
    let next = match step {
        _ if !goes_on => Phase::Idle,
        Step::Cordon => Phase::Cordoning(removal),
        Step::Drain | Step::Terminate => Phase::Confirming { removal, step },
    };
    go(world, me, next);
}

/// The master takes the request at once and queues it: its answer proves nothing.
fn cordon(setting: &Setting, world: &mut World, me: u8, removal: Removal) {
    let asked = bit(removal.id) & world.group.serving & !world.master.cordoned;
    if !setting.has(Off::Cordon) {
        world.master.marking |= asked;
    }
    let hurries = setting.has(Off::SecondLook);
    let confirming = Phase::Confirming { removal, step: Step::Cordon };
    go(world, me, if hurries { Phase::Sending(Wish::Remove(removal)) } else { confirming });
}

/// Group and master in one step: this look alone ends nothing.
fn confirm(setting: &Setting, world: &mut World, me: u8, (removal, step): (Removal, Step)) {
    let verdict = look_again(setting, world, world.group, (removal, step));
    world.process(me).drained |= verdict == Verdict::Drain;
    let next = match verdict {
        Verdict::End => Phase::Sending(Wish::Remove(removal)),
        Verdict::Drain | Verdict::Wait => Phase::Idle,
        Verdict::GiveUp => Phase::Closing { done: false },
    };
    go(world, me, next);
}

/// `Prepared::send_within`.
fn send(setting: &Setting, world: &mut World, me: u8, wish: Wish) {
    let goes_on = write(setting, world, me, Ask::Send);
    let looks = ![Off::ByNumber, Off::SecondLook, Off::LookInTime].iter().any(|off| setting.has(*off));
    let next = match wish {
        _ if !goes_on => Phase::Idle,
        Wish::Raise(raise) => Phase::Raising(raise),
        Wish::Remove(removal) if looks => Phase::Again { removal, group: None },
        Wish::Remove(removal) => Phase::Ending(removal),
    };
    go(world, me, next);
}

fn call(world: &mut World, me: u8, effect: Effect) {
    let Some(slot) = world.calls.iter_mut().find(|slot| slot.is_none()) else { return };
    *slot = Some(Call { effect, by: me });
    go(world, me, Phase::Calling);
}

/// `Intents::write`: judged by the copy that is known and, if that is not the present one, once more by that. Says
/// whether the operator goes on.
fn write(setting: &Setting, world: &mut World, me: u8, ask: Ask<Wish>) -> bool {
    let (current, over, term) = (world.record, world.over, world.peek(me).term);
    let next = advanced(&WRITES, Question { current, over, ask, me, term });
    if let Some(record) = next {
        world.record = record;
        world.over = false;
        world.processes.iter_mut().for_each(|process| process.fresh = false);
    }
    learn(world, me);
    next.is_some() || setting.has(Off::Record)
}

/// `Intents::refresh`.
pub fn learn(world: &mut World, me: u8) {
    let record: Written = world.record;
    let process = world.process(me);
    process.drained &= record.stage == Stage::Prepared && record.wish == process.known.wish;
    (process.known, process.fresh) = (record, true);
}

/// It loses its memory and reads the record when it begins again, in a new term.
pub fn crash(world: &mut World, me: u8) {
    forget_calls(world, me);
    let process = world.process(me);
    (process.phase, process.drained, process.term) = (Phase::Idle, false, process.term + 1);
    learn(world, me);
}

/// The time of the call that is sent is over: it does not begin any more, and nobody waits for its answer. Unless calls
/// are late it has no effect any more.
pub fn expire(setting: &Setting, world: &mut World) {
    world.over = true;
    world.master.held = 0;
    for me in 0..NOBODY {
        let process = world.process(me);
        match &mut process.phase {
            Phase::Looking { early, .. } | Phase::Settling { early, .. } => *early = true,
            // `Permit::check` refuses.
            Phase::Raising(_) | Phase::Again { .. } | Phase::Ending(_) => {
                process.phase = Phase::Closing { done: false };
            }
            Phase::Calling => {
                process.phase = Phase::Idle;
                forget_calls(world, me);
            }
            _ => {}
        }
    }
    if !setting.late {
        world.calls = [None; 3];
    }
}

fn forget_calls(world: &mut World, me: u8) {
    for call in world.calls.iter_mut().flatten().filter(|call| call.by == me) {
        call.by = NOBODY;
    }
}

/// Whether a call of `me` to the group may begin now.
pub fn may_call(world: &World, me: u8) -> bool {
    matches!(world.peek(me).phase, Phase::Raising(_) | Phase::Ending(_))
}
