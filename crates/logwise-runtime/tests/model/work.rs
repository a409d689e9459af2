//! The glue around `intent::advance`, step by step as in `src/intents.rs`, and a controller that uses it as
//! `logwise-spark/src/raise.rs` does: look, settle, prepare, send, check, call, close.

use crate::clocks::{intent, record, wall, wish, writer};
use crate::election::after_work;
use crate::setting::{Bug, Setting};
use crate::world::{Ask, Bad, Call, Known, NEVER, NOW, Put, Record, STALE, Stored, Tick, Work, World, Writing};
use jiff::{SignedDuration, Timestamp};
use logwise_runtime::intent::{Ending, Intent, Refused, Request, State, Writer, advance};

/// One step of the work of `me`.
pub fn step(setting: &Setting, world: &mut World, me: u8) {
    match world.peek(me).work {
        Work::Off => {}
        // `Intents::load`.
        Work::Load => {
            let known = world.intent.map(|stored| Known { stored, first_seen: NOW });
            let process = world.process(me);
            (process.known, process.work) = (known, Work::Idle);
        }
        Work::Idle => begin_look(setting, world, me),
        Work::Looking { looked } => settle(setting, world, me, looked),
        Work::Writing(writing) => store(setting, world, me, writing),
        Work::Ready { deadline } => start(setting, world, me, deadline),
        // The client's own time-out: what became of the call is not known.
        Work::Calling { over, .. } if NOW >= over => world.process(me).work = Work::Idle,
        Work::Calling { .. } => {}
    }
    stop_if_ended(world, me);
}

/// No answer came to the write of the intent: every way of `Intents::write` ends with an error.
pub fn give_up(world: &mut World, me: u8) {
    world.process(me).work = Work::Idle;
    stop_if_ended(world, me);
}

fn stop_if_ended(world: &mut World, me: u8) {
    let process = world.process(me);
    if process.term.is_some_and(|term| term.ended) && !matches!(process.work, Work::Writing(_)) {
        process.work = Work::Off;
        after_work(world, me);
    }
}

/// A look begins when there is anything to do; a look that finds nothing to do changes nothing.
fn begin_look(setting: &Setting, world: &mut World, me: u8) {
    if !world.leads(me) {
        return;
    }
    let open = world.peek(me).known.is_some_and(|known| !known.stored.record.state.is_closed());
    if open {
        world.process(me).work = Work::Looking { looked: NOW };
    } else if world.value < world.target {
        // Only what was sent cares when a look began.
        write(setting, world, me, Ask::Prepare { target: world.target }, false);
    }
}

/// The answer to the look, judged by the open intent as known; then `Intents::settle`.
fn settle(setting: &Setting, world: &mut World, me: u8, looked: Tick) {
    let target = world.peek(me).known.map_or(0, |known| known.stored.record.target);
    let done = world.value >= target;
    write(setting, world, me, Ask::Settle { done, looked }, false);
}

/// `Intents::write` up to a store: one more round when the record was not the one that was known.
fn write(setting: &Setting, world: &mut World, me: u8, ask: Ask, mut last: bool) {
    loop {
        let Some(term) = world.peek(me).term.filter(|_| world.leads(me)) else { break };
        let known = world.peek(me).known;
        let current = known.map(|known| intent(setting, &known.stored.record));
        let request = request(setting, world, me, (ask, known.as_ref()));
        let writer = writer(setting, term.epoch, me);
        match decide(setting, current.as_ref(), request, &writer, wall(setting, me, NOW)) {
            Ok(next) => {
                let (record, looked) = (record(setting, &next), looked(&ask));
                let before = known.and_then(|known| known.stored.record.before);
                let early = looked.zip(before).is_some_and(|(looked, before)| looked < before + setting.call);
                let put = Put { expected: known.map(|known| known.stored.version), record, looked, early };
                world.process(me).work = Work::Writing(Writing { ask, put, last });
                return;
            }
            Err(_) if last || !refresh(world, me) => break,
            Err(_) => last = true,
        }
    }
    world.process(me).work = Work::Idle;
}

/// The closures that `Intents::{settle, prepare}`, `Prepared::send` and `close` give to `Intents::write`.
fn request(setting: &Setting, world: &World, me: u8, (ask, known): (Ask, Option<&Known>)) -> Request {
    match ask {
        Ask::Settle { done, looked } => {
            let looked = if setting.has(Bug::OldLook) { NOW } else { looked };
            Request::Settle { ending: ending(done), looked: as_seen(setting, world, me, (known, looked)) }
        }
        Ask::Prepare { target } => Request::Prepare { resource: String::new(), wish: wish(target) },
        Ask::Send { deadline } => {
            Request::Send { before: wall(setting, me, deadline), call_timeout_seconds: setting.call.into() }
        }
        Ask::Close { done } => Request::Close(ending(done)),
    }
}

fn ending(done: bool) -> Ending {
    if done { Ending::Done } else { Ending::Abandoned }
}

/// `advance` as shipped, or with a bug around it.
fn decide(
    setting: &Setting,
    current: Option<&Intent>,
    request: Request,
    me: &Writer,
    now: Timestamp,
) -> Result<Intent, Refused> {
    match (setting.bug, current, request) {
        (Some(Bug::SettleAtOnce), Some(open), Request::Settle { ending, .. }) => {
            let looked = open.over_at().unwrap_or(now);
            advance(current, Request::Settle { ending, looked }, me, now)
        }
        (Some(Bug::ForeignClose), Some(open), Request::Settle { ending, .. }) => {
            let closed = advance(current, Request::Close(ending), &open.writer, now)?;
            Ok(Intent { writer: me.clone(), written: now, ..closed })
        }
        (Some(Bug::NoFence), Some(found), request) => {
            let epoch = found.writer.epoch.min(me.epoch);
            let found = Intent { writer: Writer { epoch, ..found.writer.clone() }, ..found.clone() };
            advance(Some(&found), request, me, now)
        }
        (_, _, request) => advance(current, request, me, now),
    }
}

/// `Intents::refresh`.
fn refresh(world: &mut World, me: u8) -> bool {
    let found = world.intent;
    let known = world.peek(me).known.map(|known| known.stored.version);
    if known == found.map(|stored| stored.version) {
        return false;
    }
    world.process(me).known = found.map(|stored| Known { stored, first_seen: NOW });
    true
}

/// `Intents::over`, in true time: only differences of the reader's own monotonic clock are used.
fn over(setting: &Setting, world: &World, me: u8, known: &Known) -> Tick {
    let Record { before, written, by, epoch, .. } = known.stored.record;
    let term = world.peek(me).term;
    let same_shard = (by == me || !setting.shards) && !term.is_some_and(|term| (term.epoch, me) == (epoch, by));
    // `Leadership::begin` and `Term::fenced_since`.
    if let Some(term) = term.filter(|_| !setting.alone && same_shard && !setting.has(Bug::FenceUntrusted)) {
        return term.began + setting.call;
    }
    let sending = before.map_or(setting.send, |before| before.checked_sub(written).unwrap_or(setting.send));
    known.first_seen + sending + setting.call
}

/// `Intents::as_seen`.
fn as_seen(setting: &Setting, world: &World, me: u8, (known, looked): (Option<&Known>, Tick)) -> Timestamp {
    let sent = known.and_then(|known| Some((known, intent(setting, &known.stored.record).over_at()?)));
    let Some((known, over_at)) = sent else { return wall(setting, me, NOW) };
    let early = over(setting, world, me, known).saturating_sub(looked);
    over_at.saturating_sub(SignedDuration::from_secs(early.into())).unwrap_or(Timestamp::MIN)
}

/// `Intents::store` and what `write` and its callers make of the answer.
fn store(setting: &Setting, world: &mut World, me: u8, writing: Writing) {
    let Writing { ask, put, last } = writing;
    let Some(stored) = apply(setting, world, put) else {
        if last {
            world.process(me).work = Work::Idle;
        } else {
            refresh(world, me);
            write(setting, world, me, ask, true);
        }
        return;
    };
    let process = world.process(me);
    process.known = Some(Known { stored, first_seen: NOW });
    match ask {
        Ask::Settle { .. } | Ask::Close { .. } => process.work = Work::Idle,
        Ask::Prepare { .. } => send(setting, world, me),
        Ask::Send { deadline } => process.work = Work::Ready { deadline },
    }
}

fn looked(ask: &Ask) -> Option<Tick> {
    match ask {
        Ask::Settle { looked, .. } => Some(*looked),
        Ask::Prepare { .. } | Ask::Send { .. } | Ask::Close { .. } => None,
    }
}

/// The API server replaces the intent if it is still the version that was read.
pub fn apply(setting: &Setting, world: &mut World, put: Put) -> Option<Stored> {
    let found = world.intent;
    if put.expected != found.map(|stored| stored.version) && !setting.has(Bug::NoCompareAndSwap) {
        return None;
    }
    judge(setting, world, put);
    let record = put.record;
    if record.state.is_closed() {
        world.ghost.landed = None;
    }
    let stored = Stored { record, version: found.map_or(STALE, |stored| stored.version) + 1 };
    world.intent = Some(stored);
    Some(stored)
}

/// What no write of the intent may do.
fn judge(setting: &Setting, world: &mut World, put: Put) {
    let (old, new) = (world.intent, put.record);
    let same_writer = |old: &Record| (old.epoch, old.by) == (new.epoch, new.by);
    if new.state == State::Sent
        && !old.is_some_and(|old| same_writer(&old.record) && old.record.state == State::Prepared)
    {
        world.blame(Bad::SentUnprepared);
    }
    let Some(Stored { record: old, version }) = old else { return };
    let same_shard = old.by == new.by || !setting.shards;
    if old.state.is_closed() && !new.state.is_closed() && same_shard && new.epoch < old.epoch {
        world.blame(Bad::CloseLost);
    }
    if old.state != State::Sent {
        return;
    }
    let late_enough = put.looked.is_some() && !put.early;
    let allowed =
        if same_writer(&old) { put.looked.is_none() || late_enough } else { new.epoch > old.epoch && late_enough };
    if !new.state.is_closed() || !allowed {
        world.blame(Bad::TakenFromSender);
    }
    let landed = world.ghost.landed.filter(|(id, _)| *id == version).map(|(_, at)| at);
    if new.state == State::Abandoned && landed.is_some_and(|at| !setting.late_calls || put.looked > Some(at)) {
        world.blame(Bad::EffectLost);
    }
}

/// `Prepared::send`, with `Term::window`.
fn send(setting: &Setting, world: &mut World, me: u8) {
    let Some(term) = world.peek(me).term.filter(|_| world.leads(me)) else {
        world.process(me).work = Work::Idle;
        return;
    };
    let window = (term.until - NOW).min(setting.send);
    write(setting, world, me, Ask::Send { deadline: NOW + window }, false);
}

/// `Sent::check`, and the call right after it.
fn start(setting: &Setting, world: &mut World, me: u8, deadline: Tick) {
    let Some(Known { stored, .. }) = world.peek(me).known else { return };
    if !may_start(setting, world, me, deadline) {
        write(setting, world, me, Ask::Close { done: false }, false);
        return;
    }
    let Some(slot) = world.calls.iter_mut().find(|slot| slot.is_none()) else { return };
    let over = NOW + setting.call;
    let limit = if setting.late_calls { NEVER } else { over };
    *slot = Some(Call { id: stored.version, target: stored.record.target, limit });
    world.calls.sort_unstable();
    if !world.leads(me) {
        world.blame(Bad::CallAfterDeadline);
    }
    world.process(me).work = Work::Calling { id: stored.version, over };
}

pub fn may_start(setting: &Setting, world: &World, me: u8, deadline: Tick) -> bool {
    setting.has(Bug::NoDeadline) || (world.leads(me) && NOW < deadline)
}

/// The effect of the call in `slot`; `answered`: its process learns of it.
pub fn land(setting: &Setting, world: &mut World, slot: usize, answered: bool) {
    let Some(call) = world.calls[slot].take() else { return };
    world.calls.sort_unstable();
    if call.target < world.value && !setting.raise_only {
        world.blame(Bad::ValueFell);
    }
    world.value = if setting.raise_only { world.value.max(call.target) } else { call.target };
    let open = world.intent.filter(|stored| stored.version == call.id && stored.record.state == State::Sent);
    match open {
        Some(_) => world.ghost.landed = Some((call.id, NOW)),
        None if setting.late_calls => {}
        None => world.blame(Bad::EffectAfterClose),
    }
    if answered {
        tell(setting, world, call.id, true);
    }
}

/// The call in `slot` is refused without an effect, and its process learns of it.
pub fn refuse(setting: &Setting, world: &mut World, slot: usize) {
    let Some(call) = world.calls[slot].take() else { return };
    world.calls.sort_unstable();
    tell(setting, world, call.id, false);
}

/// `Sent::close`, once the answer is there.
fn tell(setting: &Setting, world: &mut World, id: u8, done: bool) {
    if let Some(me) = caller(world, id) {
        write(setting, world, me, Ask::Close { done }, false);
        stop_if_ended(world, me);
    }
}

/// Which process waits for the answer of call `id`.
pub fn caller(world: &World, id: u8) -> Option<u8> {
    (0..2).find(|me| matches!(world.peek(*me).work, Work::Calling { id: own, .. } if own == id))
}
