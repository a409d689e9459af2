//! The record of the model as the shipped type, and the shipped rules about it.

use crate::cache::Cache;
use jiff::Timestamp;
use logwise_runtime::intent::{self, Ending, Intent, Owner, Request, State, Writer, advance};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::hash::Hash;

/// How far a record is. Of one that is closed nothing counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Closed,
    Prepared,
    Sent,
}

/// The record of the resource. Its times stand in no state: before the end of a call, or after it, is all that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record<W> {
    pub stage: Stage,
    pub by: u8,
    /// Term of that process.
    pub term: u8,
    pub wish: Option<W>,
}

impl<W> Record<W> {
    pub const CLOSED: Self = Self { stage: Stage::Closed, by: 0, term: 0, wish: None };
}

/// What a process asks of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask<W> {
    Prepare(W),
    /// `present`: the record that is gone on with is the present one.
    Resume {
        present: bool,
    },
    Send,
    Close {
        done: bool,
    },
    /// `present`: the record that was judged is the present one. `late`: the look that it was judged by began after its
    /// call was over.
    Settle {
        present: bool,
        done: bool,
        late: bool,
    },
}

/// All that `advance` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question<W> {
    pub current: Record<W>,
    /// Whether the call of the present record is over.
    pub over: bool,
    pub ask: Ask<W>,
    pub me: u8,
    pub term: u8,
}

/// Answers of `advance`.
pub type Writes<W> = Cache<Question<W>, Option<Record<W>>>;

/// The record that `advance` gives; none: it refuses.
pub fn advanced<W>(writes: &Writes<W>, question: Question<W>) -> Option<Record<W>>
where
    W: Copy + Eq + Hash + Serialize + DeserializeOwned,
{
    writes.answer(question, |question| advance_once(&question))
}

/// When the present record was written, in seconds; any other one was written before.
const WRITTEN: i64 = 90;
/// A moment before the end of the call of what is sent, and one after it.
const EARLY: i64 = 100;
const LATE: i64 = 130;
/// When the call starts at the latest, and how long it takes.
const SEND_BEFORE: i64 = 110;
const CALL_SECONDS: u32 = 10;

fn advance_once<W: Copy + Serialize + DeserializeOwned>(question: &Question<W>) -> Option<Record<W>> {
    let Question { current, over, ask, me, term } = *question;
    let current = intent_of(&current);
    // Another record than the present one: it was written at another time.
    let judged = |present: bool| {
        let written = at(if present { WRITTEN } else { WRITTEN - 1 });
        current.clone().map(|intent| Box::new(Intent { written, ..intent }))
    };
    let request = match ask {
        Ask::Prepare(wish) => Request::Prepare { resource: RESOURCE.to_owned(), wish: shipped(&wish) },
        // Without a present record there is none to judge or to go on with.
        Ask::Resume { present } => Request::Resume { judged: judged(present)? },
        Ask::Settle { present, done, late } => {
            let looked = at(if late { LATE } else { EARLY });
            Request::Settle { judged: judged(present)?, ended: ending(done).into(), looked }
        }
        Ask::Send => Request::Send { before: at(SEND_BEFORE), call_timeout_seconds: CALL_SECONDS },
        Ask::Close { done } => Request::Close(ending(done).into()),
    };
    let now = at(if over { LATE } else { EARLY });
    let next = advance(current.as_ref(), request, &writer(me, term), now).ok()?;
    Some(record_of(&next))
}

/// Not one that objects share.
const RESOURCE: &str = "group/a";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("small times are in range")
}

fn ending(done: bool) -> Ending {
    if done { Ending::Done } else { Ending::Abandoned }
}

fn name(me: u8) -> &'static str {
    if me == 0 { "a" } else { "b" }
}

/// Each process is of a shard of its own: so no term fences off the other, and both lead all the time.
fn writer(me: u8, term: u8) -> Writer {
    Writer { epoch: term.into(), shard: name(me).to_owned(), identity: name(me).to_owned() }
}

fn shipped<W: Serialize>(wish: &W) -> intent::Wish {
    let owner = Owner { namespace: String::new(), name: String::new(), uid: String::new(), generation: 1 };
    let targets = serde_json::to_value(wish).expect("plain numbers are JSON");
    intent::Wish { owner, targets, pre_image: None, amount: 0, parts: Vec::new() }
}

/// None for a closed one: it stands in nobody's way, as if there were none.
fn intent_of<W: Serialize>(record: &Record<W>) -> Option<Intent> {
    let state = match record.stage {
        Stage::Closed => return None,
        Stage::Prepared => State::Prepared,
        Stage::Sent => State::Sent,
    };
    let sent = state == State::Sent;
    Some(Intent {
        resource: RESOURCE.to_owned(),
        wish: shipped(record.wish.as_ref()?),
        writer: writer(record.by, record.term),
        state,
        send_before: sent.then(|| at(SEND_BEFORE)),
        call_timeout_seconds: if sent { CALL_SECONDS } else { 0 },
        written: at(WRITTEN),
        prepared: Some(at(WRITTEN)),
        answered: false,
        effect: None,
        spent: Vec::new(),
        changed: BTreeMap::new(),
    })
}

fn record_of<W: DeserializeOwned>(intent: &Intent) -> Record<W> {
    let stage = match intent.state {
        State::Prepared => Stage::Prepared,
        State::Sent => Stage::Sent,
        State::Done | State::Abandoned | State::Superseded => return Record::CLOSED,
    };
    let wish = serde_json::from_value(intent.wish.targets.clone()).expect("it was written here");
    let term = u8::try_from(intent.writer.epoch).expect("few terms are remembered");
    Record { stage, by: u8::from(intent.writer.identity == name(1)), term, wish: Some(wish) }
}
