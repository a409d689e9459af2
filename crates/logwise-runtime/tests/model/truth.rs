//! What the API server and the resource do, and what no process knows: whether that was right.

use crate::setting::{Bug, Setting};
use crate::work::{may_act, tell};
use crate::world::{Bad, Look, NOW, Put, Record, STALE, Stored, Tick, World};
use logwise_runtime::intent::State;

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
    world.ghost.over = None;
    let stored = Stored { record, version: found.map_or(STALE, |stored| stored.version) + 1 };
    world.intent = Some(stored);
    Some(stored)
}

/// What no write of the intent may do.
fn judge(setting: &Setting, world: &mut World, put: Put) {
    let (old, new) = (world.intent, put.record);
    let same_writer = |old: &Record| (old.epoch, old.by) == (new.epoch, new.by);
    let prepared = old.is_some_and(|old| same_writer(&old.record) && old.record.state == State::Prepared);
    if new.state == State::Sent && !prepared {
        world.blame(Bad::SentUnprepared);
    }
    if new.state == State::Done && world.value < new.target {
        world.blame(Bad::DoneWithoutEffect);
    }
    let Some(Stored { record: old, version }) = old else { return };
    let same_shard = old.by == new.by || !setting.shards;
    if old.state.is_closed() && !new.state.is_closed() && same_shard && new.epoch < old.epoch {
        world.blame(Bad::CloseLost);
    }
    if old.state != State::Sent {
        return;
    }
    let judged = put.look.is_some_and(|look| !look.early);
    // Which of two shards began its term later says nothing.
    let later = new.epoch > old.epoch || !same_shard;
    let allowed = if same_writer(&old) { put.look.is_none() || judged } else { later && judged };
    if !new.state.is_closed() || !allowed {
        world.blame(Bad::TakenFromSender);
    }
    let landed = world.ghost.landed.is_some_and(|(id, _)| id == version);
    let shown = !setting.late_calls || put.look.is_some_and(|look| look.shows_effect);
    if new.state == State::Abandoned && landed && shown {
        world.blame(Bad::EffectLost);
    }
}

/// What a look is worth that began at `looked`, for the record with this version.
pub fn look(setting: &Setting, world: &World, looked: Tick, version: u8) -> Look {
    let known = world.intent.is_some_and(|stored| stored.version == version);
    let over = world.ghost.over.filter(|_| known);
    // Without an end of calls nobody can wait for it.
    let early = !setting.late_calls && over.is_none_or(|over| looked < over);
    Look { early, shows_effect: world.ghost.landed.is_some_and(|(id, at)| id == version && at < looked) }
}

/// Notes the real end of what is sent, whoever knows of it.
pub fn note_end(setting: &Setting, world: &mut World) {
    let sent = world.intent.filter(|stored| stored.record.state == State::Sent);
    world.ghost.over = match sent {
        Some(stored) if !may_act(setting, world, stored.version) => world.ghost.over.or(Some(NOW)),
        _ => None,
    };
}

/// The effect of the call in `slot`; `answered`: its process learns of it.
pub fn land(setting: &Setting, world: &mut World, slot: usize, answered: bool) {
    let Some(call) = world.calls[slot].take() else { return };
    world.calls.sort_unstable();
    if call.target < world.value && !setting.late_calls {
        world.blame(Bad::ValueFell);
    }
    world.value = if setting.late_calls { world.value.max(call.target) } else { call.target };
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
