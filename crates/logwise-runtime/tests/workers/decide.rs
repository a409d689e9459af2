//! What an operator makes of a look: the shipped planner's answer, and what it asks for next.

use crate::records::Stage;
use crate::setting::{Off, Setting};
use crate::shipped::{Decision, Habit, Judged, Question, Reader, Second, Verdict, View, confirmed, judged, planned};
use crate::world::{Bad, Group, Phase, Process, Removal, Step, Wish, World, bit};

/// The master's page is read; `early`: the look began before the call of what is sent was over.
pub fn decide(setting: &Setting, world: &mut World, me: u8, (group, early): (Group, bool)) {
    let process = *world.peek(me);
    let next = match (process.known.stage, process.known.wish) {
        (Stage::Sent, wish) => settle_sent(setting, world, &process, (wish, group, early)),
        (Stage::Prepared, Some(Wish::Remove(removal))) => {
            let step = if process.drained { Step::Drain } else { Step::Cordon };
            act(setting, world, me, group, Some((removal, step)))
        }
        // Nothing was sent.
        (Stage::Prepared, _) => Phase::Settling { done: false, early },
        (Stage::Closed, _) => act(setting, world, me, group, None),
    };
    let next = match next {
        Phase::Settling { done, .. } => Phase::Settling { done, early },
        other => other,
    };
    world.process(me).phase = next;
}

/// Nobody judges a call that may still be under way; an old copy of the record is read again when that is tried.
fn settle_sent(
    setting: &Setting,
    world: &World,
    process: &Process,
    (wish, group, early): (Option<Wish>, Group, bool),
) -> Phase {
    let may = !process.fresh || world.over && !early;
    let by_number = setting.has(Off::EndedById);
    let wish = wish.filter(|_| may && !setting.has(Off::Judgement));
    let done = wish.and_then(|wish| judged(Judged { wish, group, by_number }));
    done.map_or(Phase::Idle, |done| Phase::Settling { done, early })
}

/// The plan, and the first request of what it wants.
fn act(setting: &Setting, world: &mut World, me: u8, group: Group, open: Option<(Removal, Step)>) -> Phase {
    let target = world.target;
    let view = view(setting, world, group);
    let read_by = |who: u8| {
        let reader = Reader { backwards: who == 1, renamed: who == 1 && setting.has(Off::Order) };
        planned(Question { view, target, open, habit: habit(setting), reader })
    };
    let decision = read_by(me);
    if decision != read_by(1 - me) {
        world.blame(Bad::UnequalActs);
    }
    match decision {
        Decision::Nothing => Phase::Idle,
        Decision::Raise(raise) => Phase::Preparing { wish: Wish::Raise(raise), target },
        Decision::Remove(removal, _) if open.is_none() => Phase::Preparing { wish: Wish::Remove(removal), target },
        Decision::Remove(removal, step) => Phase::Resuming { removal, step, target },
        // Whatever else is wanted comes with the next look.
        Decision::Abandon => Phase::Settling { done: false, early: false },
    }
}

/// The second look, and the last one: whether the worker may be ended.
pub fn look_again(setting: &Setting, world: &World, group: Group, (removal, step): (Removal, Step)) -> Verdict {
    let mut view = view(setting, world, group);
    if setting.has(Off::Cordon) {
        view.cordoned |= bit(removal.id);
    }
    confirmed(Second { view, removal, step, habit: habit(setting) })
}

fn habit(setting: &Setting) -> Habit {
    Habit { busy: setting.busy, load: setting.load }
}

/// The group as it was read, and the master as it is now.
fn view(setting: &Setting, world: &World, group: Group) -> View {
    let (mut group, mut workers) = (group, world.group.serving);
    if setting.has(Off::Gate) {
        group = Group { pending: 0, serving: group.serving | group.pending, ..group };
        workers |= world.group.pending;
    }
    View { group, workers, cordoned: world.master.cordoned, driver: world.master.driver }
}
