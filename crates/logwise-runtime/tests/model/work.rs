//! The glue around `intent::advance`, step by step as in `src/intents.rs`, and a controller that uses it as
//! `logwise-spark/src/raise.rs` does: look, clear, prepare, check, send, check, call, close.

use crate::clocks::{intent, record, wall, wish, writer};
use crate::election::{self, after_work};
use crate::setting::{Bug, Setting};
use crate::truth::{self, apply};
use crate::world::{Ask, Bad, Call, Known, Look, NEVER, NOW, Put, Seat, Tick, Work, World, Writing};
use jiff::{SignedDuration, Timestamp};
use logwise_runtime::intent::{Ending, Intent, Refused, Request, Writer, advance};

/// One step of the work of `me`.
pub fn step(setting: &Setting, world: &mut World, me: u8) {
    match world.peek(me).work {
        Work::Off => {}
        Work::Idle => begin_look(setting, world, me),
        Work::Looking { looked } => settle(setting, world, me, looked),
        Work::Writing(writing) => store(setting, world, me, writing),
        Work::Prepared => look_again(setting, world, me),
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

/// After the end of a term a controller ends what it began. Only a process that is being stopped can do more about that
/// than to wait for an answer.
pub fn stop_if_ended(world: &mut World, me: u8) {
    let process = world.process(me);
    let goes_on = match process.work {
        Work::Writing(_) => true,
        Work::Ready { .. } | Work::Calling { .. } => matches!(process.seat, Seat::Ending { stop: true }),
        Work::Off | Work::Idle | Work::Looking { .. } | Work::Prepared => false,
    };
    if process.term.is_some_and(|term| term.ended) && !goes_on {
        process.work = Work::Off;
        after_work(world, me);
    }
}

/// `drain` in `logwise-operator/src/run.rs` waits no longer for what was begun. That may come at any time: nothing may
/// depend on how long it waits.
pub fn abort(world: &mut World, me: u8) {
    world.process(me).work = Work::Off;
    after_work(world, me);
}

/// `Intents::see_others`: with shards, what others have written is read now and then.
pub fn see_others(world: &mut World, me: u8) {
    let _ = refresh(world, me);
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

/// `Intents::clear`: the answer to the look, judged by the open intent as known; then `Intents::settle`.
fn settle(setting: &Setting, world: &mut World, me: u8, looked: Tick) {
    let Some(Known { stored, .. }) = world.peek(me).known else { return };
    let done = world.value >= stored.record.target;
    write(setting, world, me, Ask::Settle { judged: stored.record, done, looked }, false);
}

/// `Intents::write` up to a store: one more round when the record was not the one that was known.
fn write(setting: &Setting, world: &mut World, me: u8, ask: Ask, mut last: bool) {
    world.process(me).work = Work::Idle;
    loop {
        let may = if matches!(ask, Ask::Close { .. }) { world.closes(me) } else { world.leads(me) };
        let Some(term) = world.peek(me).term.filter(|_| may) else { return };
        let known = world.peek(me).known;
        let current = known.map(|known| intent(setting, &known.stored.record));
        let request = request(setting, world, me, (ask, known.as_ref()));
        let writer = writer(setting, term.epoch, me);
        match decide(setting, current.as_ref(), request, &writer, wall(setting, me, NOW)) {
            Ok(next) => {
                let expected = known.map(|known| known.stored.version);
                let put = Put { expected, record: record(&next), look: look(setting, world, &ask, known.as_ref()) };
                world.process(me).work = Work::Writing(Writing { ask, put, last });
                return;
            }
            Err(why) if last || !refresh(world, me) => return refused(setting, world, me, why),
            Err(_) => last = true,
        }
    }
}

/// `Intents::refused`.
fn refused(setting: &Setting, world: &mut World, me: u8, why: Refused) {
    if matches!(why, Refused::Fenced { .. }) && !setting.has(Bug::FencedStays) {
        election::end(world, me, false);
    }
}

/// The closures that `Intents::{settle, prepare}`, `Prepared::send` and `close` give to `Intents::write`.
fn request(setting: &Setting, world: &World, me: u8, (ask, known): (Ask, Option<&Known>)) -> Request {
    match ask {
        Ask::Settle { judged, done, looked } => {
            let looked = if setting.has(Bug::OldLook) { NOW } else { looked };
            let judged = Box::new(intent(setting, &judged));
            Request::Settle { judged, ended: ending(done).into(), looked: as_seen(setting, world, me, (known, looked)) }
        }
        Ask::Prepare { target } => Request::Prepare { resource: String::new(), wish: wish(target) },
        Ask::Send { deadline } => {
            Request::Send { before: wall(setting, me, deadline), call_timeout_seconds: setting.call.into() }
        }
        Ask::Close { done } => Request::Close(ending(done).into()),
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
    let Some((bug, found)) = setting.bug.zip(current) else { return advance(current, request, me, now) };
    match (bug, request) {
        (Bug::SettleAtOnce, Request::Settle { judged, ended, .. }) => {
            let looked = found.over_at().unwrap_or(now);
            advance(current, Request::Settle { judged, ended, looked }, me, now)
        }
        (Bug::ForeignClose, Request::Settle { ended, .. }) => {
            let closed = advance(current, Request::Close(ended), &found.writer, now)?;
            Ok(Intent { writer: me.clone(), written: now, ..closed })
        }
        (Bug::StaleJudgement, Request::Settle { ended, looked, .. }) => {
            advance(current, Request::Settle { judged: Box::new(found.clone()), ended, looked }, me, now)
        }
        (Bug::NoFence, Request::Settle { judged, ended, looked }) => {
            let judged = Box::new(unfenced(&judged, me));
            advance(Some(&unfenced(found, me)), Request::Settle { judged, ended, looked }, me, now)
        }
        (Bug::NoFence, request) => advance(Some(&unfenced(found, me)), request, me, now),
        (_, request) => advance(current, request, me, now),
    }
}

/// The record as if no later term had written it.
fn unfenced(found: &Intent, me: &Writer) -> Intent {
    let epoch = found.writer.epoch.min(me.epoch);
    Intent { writer: Writer { epoch, ..found.writer.clone() }, ..found.clone() }
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
    let record = known.stored.record;
    let term = world.peek(me).term;
    let own = term.is_some_and(|term| (term.epoch, me) == (record.epoch, record.by));
    let same_shard = record.by == me || !setting.shards;
    if let Some(began) = term.and_then(|term| term.began).filter(|_| same_shard && !own && !setting.alone) {
        return began + setting.call;
    }
    // A call starts at most `send` after its record was asked for, so the longer of the two is always `send`.
    known.first_seen + setting.send + setting.call
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
        world.process(me).work = Work::Idle;
        if !last {
            refresh(world, me);
            write(setting, world, me, ask, true);
        }
        return;
    };
    let process = world.process(me);
    process.known = Some(Known { stored, first_seen: NOW });
    process.work = match ask {
        Ask::Settle { .. } | Ask::Close { .. } => Work::Idle,
        Ask::Prepare { .. } => Work::Prepared,
        Ask::Send { deadline } => Work::Ready { deadline },
    };
}

fn look(setting: &Setting, world: &World, ask: &Ask, known: Option<&Known>) -> Option<Look> {
    match ask {
        Ask::Settle { looked, .. } => known.map(|known| truth::look(setting, world, *looked, known.stored.version)),
        Ask::Prepare { .. } | Ask::Send { .. } | Ask::Close { .. } => None,
    }
}

/// `group::check`, and what the other two controllers read between `Intents::prepare` and `Prepared::send`: whether what was
/// planned by an earlier look is still wanted.
fn look_again(setting: &Setting, world: &mut World, me: u8) {
    let target = world.peek(me).known.map_or(0, |known| known.stored.record.target);
    if world.value >= target && !setting.has(Bug::NoSecondLook) {
        write(setting, world, me, Ask::Close { done: false }, false);
    } else {
        send(setting, world, me);
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

/// `Sent::close`, once the answer is there.
pub fn tell(setting: &Setting, world: &mut World, id: u8, done: bool) {
    if let Some(me) = caller(world, id) {
        write(setting, world, me, Ask::Close { done }, false);
        stop_if_ended(world, me);
    }
}

/// Which process waits for the answer of call `id`.
pub fn caller(world: &World, id: u8) -> Option<u8> {
    (0..2).find(|me| matches!(world.peek(*me).work, Work::Calling { id: own, .. } if own == id))
}

/// Whether the call of the record with this version may act, or start.
pub fn may_act(setting: &Setting, world: &World, version: u8) -> bool {
    let starts = |me: u8| {
        let knows = world.peek(me).known.is_some_and(|known| known.stored.version == version);
        knows && matches!(world.peek(me).work, Work::Ready { deadline } if may_start(setting, world, me, deadline))
    };
    world.calls.iter().flatten().any(|call| call.id == version) || (0..2).any(starts)
}
