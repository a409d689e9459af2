//! What a process has in place of true time, and the records of the model as the shipped types.
//!
//! Monotonic clocks run alike and begin anywhere; wall clocks are wrong by any amount.

use crate::setting::Setting;
use crate::world::{NOW, Record, Tick};
use jiff::Timestamp;
use logwise_runtime::intent::{Intent, Owner, State, Wish, Writer};
use std::time::Duration;

/// Where wall clocks begin, in seconds.
const ORIGIN: i64 = 1_000_000;

pub fn span(ticks: Tick) -> Duration {
    Duration::from_secs(ticks.into())
}

pub fn monotonic(me: u8, at: Tick) -> Duration {
    span(at) + Duration::from_secs(u64::from(me) * 7_000)
}

pub fn wall(setting: &Setting, me: u8, at: Tick) -> Timestamp {
    let second = ORIGIN + setting.skew[usize::from(me)] + i64::from(at);
    Timestamp::from_second(second).expect("small times are in range")
}

pub fn name(me: u8) -> &'static str {
    if me == 0 { "a" } else { "b" }
}

pub fn writer(setting: &Setting, epoch: u8, me: u8) -> Writer {
    let shard = if setting.shards { name(me).to_owned() } else { String::new() };
    Writer { epoch: epoch.into(), shard, identity: name(me).to_owned() }
}

pub fn wish(target: u8) -> Wish {
    let owner = Owner { namespace: String::new(), name: String::new(), uid: String::new(), generation: 1 };
    Wish { owner, targets: target.into(), pre_image: None, amount: 0, parts: Vec::new() }
}

/// The record as the shipped code has it, with any times: only differences on the reader's clock count.
pub fn intent(setting: &Setting, record: &Record) -> Intent {
    let sent = record.state == State::Sent;
    Intent {
        resource: String::new(),
        wish: wish(record.target),
        writer: writer(setting, record.epoch, record.by),
        state: record.state,
        send_before: sent.then(|| wall(setting, record.by, NOW)),
        call_timeout_seconds: if sent { setting.call.into() } else { 0 },
        written: wall(setting, record.by, NOW),
        prepared: None,
        answered: false,
        effect: None,
        spent: Vec::new(),
        changed: std::collections::BTreeMap::new(),
    }
}

/// The record of the model that `intent` is.
pub fn record(intent: &Intent) -> Record {
    let target = intent.wish.targets.as_u64().and_then(|target| u8::try_from(target).ok());
    Record {
        epoch: u8::try_from(intent.writer.epoch).expect("few terms are remembered"),
        by: u8::from(intent.writer.identity == name(1)),
        state: intent.state,
        target: target.expect("targets are small"),
    }
}
