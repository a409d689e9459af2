//! One operator, request by request: what `logwise-spark` does around the planner, and what `Intents`, `Prepared` and
//! `Sent` of this crate do around `intent::advance`.

use super::shipped::{Listed, Page, Question as Facts, answer, planned};
use super::world::{Bad, Call, LONG, Life, NAMES, NOBODY, Off, Phase, Setting, Wish, World, fresh};
use crate::cache::Cache;
use crate::records::{Ask, Question, Stage, Writes, advanced};
use std::sync::LazyLock;

static WRITES: LazyLock<Writes<Wish>> = LazyLock::new(Cache::new);

/// Whether `me` can take a step.
pub fn can_step(world: &World, me: u8) -> bool {
    match world.peek(me).phase {
        Phase::Calling => false,
        Phase::Starting(_) => world.calls.contains(&None),
        _ => true,
    }
}

/// One step of `me`.
pub fn step(setting: &Setting, world: &mut World, me: u8) {
    match world.peek(me).phase {
        Phase::Idle => look(setting, world, me),
        Phase::Settling { done, early } => settle(setting, world, me, (done, early)),
        Phase::Preparing(wish) => {
            let goes_on = write(setting, world, me, Ask::Prepare(wish));
            go(world, me, if goes_on { Phase::Sending(wish) } else { Phase::Idle });
        }
        Phase::Sending(wish) => {
            let goes_on = write(setting, world, me, Ask::Send);
            let looks = !setting.has(Off::SecondLook);
            let next = if looks { Phase::Again(wish) } else { Phase::Starting(wish) };
            go(world, me, if goes_on { next } else { Phase::Idle });
        }
        Phase::Again(wish) => look_again(setting, world, me, wish),
        Phase::Starting(wish) => call(setting, world, me, wish),
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

/// One look, the plan, and the first request of what it wants.
fn look(setting: &Setting, world: &mut World, me: u8) {
    let page = read(setting, world, me);
    let process = *world.peek(me);
    let open = process.known.wish.filter(|_| !setting.has(Off::Record));
    let next = match planned(facts(setting, world, me, (page, open))) {
        Some(wish) => Phase::Preparing(wish),
        None => judge(setting, world, me, page),
    };
    go(world, me, next);
}

/// What becomes of an open record, by the page.
fn judge(setting: &Setting, world: &mut World, me: u8, page: Option<Page>) -> Phase {
    let process = *world.peek(me);
    let may = !process.fresh || world.over || setting.has(Off::Judgement);
    match (process.known.stage, page) {
        (Stage::Prepared, _) => Phase::Settling { done: false, early: false },
        (Stage::Sent, Some(page)) if may => {
            let done = match process.known.wish {
                Some(Wish::Submit { known }) => {
                    let (done, id) = answer(known, &page);
                    let process = world.process(me);
                    process.recorded = id.or(process.recorded);
                    // A master that was restarted since may not have heard of it yet.
                    if !done && !setting.has(Off::Count) {
                        process.absent = None;
                    }
                    done
                }
                Some(Wish::Kill { id, .. }) => !page[usize::from(id)].is_active(),
                None => false,
            };
            Phase::Settling { done, early: false }
        }
        (Stage::Closed | Stage::Sent, _) => Phase::Idle,
    }
}

fn settle(setting: &Setting, world: &mut World, me: u8, (done, early): (bool, bool)) {
    let was_sent = world.record.stage == Stage::Sent;
    let late = world.over && !early || setting.has(Off::Judgement);
    let present = world.peek(me).fresh;
    let closed = write(setting, world, me, Ask::Settle { present, done, late }) && present;
    let may_act = world.calls.iter().any(Option::is_some) || (0..NOBODY).any(|who| may_call(world, who));
    if closed && was_sent && may_act {
        world.blame(Bad::JudgedEarly);
    }
    go(world, me, Phase::Idle);
}

/// The last look: the plan has to be the same as before.
fn look_again(setting: &Setting, world: &mut World, me: u8, wish: Wish) {
    let page = read(setting, world, me);
    let same = match (planned(facts(setting, world, me, (page, None))), wish) {
        (Some(Wish::Submit { .. }), Wish::Submit { .. }) => true,
        (now, wish) => now == Some(wish),
    };
    go(world, me, if same { Phase::Starting(wish) } else { Phase::Closing { done: false } });
}

/// The page as the operator takes it; what it counts goes by that.
fn read(setting: &Setting, world: &mut World, me: u8) -> Option<Page> {
    let page = seen(setting, world, me);
    let process = world.process(me);
    let Some(page) = page else {
        (process.absent, process.running, process.looked) = (None, None, false);
        return None;
    };
    let mut active = (0u8..).zip(page).filter(|(_, listed)| listed.is_active());
    let (first, second) = (active.next(), active.next());
    process.looked = first.is_none();
    process.absent = if first.is_none() { process.absent.or(Some(0)) } else { None };
    let only = first.filter(|_| second.is_none());
    process.recorded = only.map(|(id, _)| id).or(process.recorded);
    let running = only.filter(|(_, listed)| *listed == Listed::Running).map(|(id, _)| id);
    process.running = running.map(|id| process.running.filter(|(before, _)| *before == id).unwrap_or((id, 0)));
    Some(page)
}

fn seen(setting: &Setting, world: &World, me: u8) -> Option<Page> {
    if world.silent {
        return setting.has(Off::Silence).then_some([Listed::No; NAMES]);
    }
    let listed = |life: Life| match life {
        Life::Waiting if setting.has(Off::Waiting) => Listed::No,
        Life::Waiting => Listed::Waiting,
        Life::Running => Listed::Running,
        Life::Killed => Listed::Killed,
        Life::Finished => Listed::Finished,
        Life::Never | Life::Hidden | Life::Forgotten | Life::Gone => Listed::No,
    };
    let mut page = world.lives.map(listed);
    let process = world.peek(me);
    if let Some(id) = process.recorded.filter(|_| setting.has(Off::Killed) && process.restarted.is_some()) {
        page[usize::from(id)] = Listed::Killed;
    }
    Some(page)
}

fn facts(setting: &Setting, world: &World, me: u8, (page, open): (Option<Page>, Option<Wish>)) -> Facts {
    let process = world.peek(me);
    let absent = process.absent.map(|ticks| if setting.has(Off::Patience) { LONG } else { ticks });
    Facts {
        page,
        still_for: (!setting.has(Off::Progress)).then_some(world.still_for),
        recorded: process.recorded,
        absent,
        running_for: process.running.map(|(_, ticks)| ticks),
        restarted: process.restarted,
        open,
    }
}

fn call(setting: &Setting, world: &mut World, me: u8, wish: Wish) {
    let Some(slot) = world.calls.iter_mut().find(|slot| slot.is_none()) else { return };
    *slot = Some(Call { wish, by: me });
    let process = world.process(me);
    process.phase = Phase::Calling;
    if matches!(wish, Wish::Kill { extra: false, .. }) {
        process.restarted = Some(0);
    }
    // What the page showed before says nothing about what comes of this.
    if !setting.has(Off::Count) {
        process.absent = None;
    }
}

/// `Intents::write`: judged by the copy that is known and, if that is not the present one, once more by that. Says
/// whether the operator goes on.
fn write(setting: &Setting, world: &mut World, me: u8, ask: Ask<Wish>) -> bool {
    let (current, over, term) = (world.record, world.over, world.peek(me).term);
    let next = advanced(&WRITES, Question { current, over, ask, me, term });
    let was_fresh = world.peek(me).fresh;
    if let Some(record) = next {
        world.record = record;
        world.over = false;
        world.processes.iter_mut().for_each(|process| process.fresh = false);
    }
    world.process(me).fresh = was_fresh;
    learn(setting, world, me);
    next.is_some() || setting.has(Off::Record)
}

/// `Intents::refresh`. What another operator has written may be about a driver that the page does not show yet: the
/// time without one begins anew.
pub fn learn(setting: &Setting, world: &mut World, me: u8) {
    let record = world.record;
    let process = world.process(me);
    if !process.fresh && !setting.has(Off::Count) && !setting.has(Off::Record) {
        process.absent = None;
    }
    (process.known, process.fresh) = (record, true);
}

/// It loses its memory and reads the record when it begins again, in a new term.
pub fn crash(world: &mut World, me: u8) {
    forget_calls(world, me);
    let began = fresh(world.peek(me).term + 1, world.record);
    *world.process(me) = began;
}

/// The time of the call that is sent is over: it does not begin any more, and has no effect any more.
pub fn expire(world: &mut World) {
    world.over = world.record.stage == Stage::Sent;
    world.calls = [None; 2];
    for process in &mut world.processes {
        match &mut process.phase {
            Phase::Settling { early, .. } => *early = true,
            Phase::Again(_) | Phase::Starting(_) => process.phase = Phase::Closing { done: false },
            Phase::Calling => process.phase = Phase::Idle,
            _ => {}
        }
    }
}

fn forget_calls(world: &mut World, me: u8) {
    for call in world.calls.iter_mut().flatten().filter(|call| call.by == me) {
        call.by = NOBODY;
    }
}

/// Whether a call of `me` may begin now.
pub fn may_call(world: &World, me: u8) -> bool {
    matches!(world.peek(me).phase, Phase::Again(_) | Phase::Starting(_))
}
