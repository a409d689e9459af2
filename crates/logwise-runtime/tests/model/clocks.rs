//! What a process has in place of true time, and the records of the model as the shipped types.
//!
//! Monotonic clocks run alike and begin anywhere; wall clocks are wrong by any amount.

use crate::setting::Setting;
use crate::world::{Record, Tick};
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

/// The true time at which the wall clock of `me` shows `shown`.
pub fn true_time(setting: &Setting, me: u8, shown: Timestamp) -> Tick {
    let tick = shown.as_second() - ORIGIN - setting.skew[usize::from(me)];
    Tick::try_from(tick).expect("what is remembered is not old")
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
    Wish { owner, targets: target.into(), pre_image: None }
}

/// The record as the shipped code has it. Times of closed and prepared ones decide nothing and are not kept.
pub fn intent(setting: &Setting, record: &Record) -> Intent {
    let sent = record.state == State::Sent;
    Intent {
        resource: String::new(),
        wish: wish(record.target),
        writer: writer(setting, record.epoch, record.by),
        state: record.state,
        send_before: record.before.map(|before| wall(setting, record.by, before)),
        call_timeout_seconds: if sent { setting.call.into() } else { 0 },
        written: wall(setting, record.by, record.written),
    }
}

/// The record of the model that `intent` is.
pub fn record(setting: &Setting, intent: &Intent) -> Record {
    let by = u8::from(intent.writer.identity == name(1));
    let sent = intent.state == State::Sent;
    Record {
        epoch: u8::try_from(intent.writer.epoch).expect("few terms are remembered"),
        by,
        state: intent.state,
        target: intent.wish.targets.as_u64().and_then(|target| u8::try_from(target).ok()).expect("targets are small"),
        before: intent.send_before.filter(|_| sent).map(|before| true_time(setting, by, before)),
        written: if sent { true_time(setting, by, intent.written) } else { 0 },
    }
}
