//! Intents: what is about to be done to an external resource, written down before it is done. The pure part.
//!
//! One record per resource, replaced under the condition that nobody else replaced it meanwhile. [`advance`] is the one
//! transition function: it takes the record as it is, the wish, who wishes and the time, and gives the record to write
//! or why nothing may be written.

use crate::ObjectKey;
pub use crate::spending::{Effect, Spent};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far an intent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Written down, nothing sent: may be abandoned at any time by whoever leads.
    Prepared,
    /// The call may be under way, or done, or lost.
    Sent,
    /// Over: what was wanted is there.
    Done,
    /// Over: nothing was sent, or it had no effect.
    Abandoned,
    /// Over: the resource has become something else.
    Superseded,
}

impl State {
    /// Whether nothing is under way.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Done | Self::Abandoned | Self::Superseded)
    }
}

/// How an intent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// What was wanted is there.
    Done,
    /// Nothing was sent, or it had no effect.
    Abandoned,
    /// The resource has become something else.
    Superseded,
}

impl From<Ending> for State {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::Done,
            Ending::Abandoned => Self::Abandoned,
            Ending::Superseded => Self::Superseded,
        }
    }
}

/// How an intent ended, and what of it came about, where that is not all or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ended {
    /// How.
    pub ending: Ending,
    /// What came about of it; `None`: the whole wish, unless it was abandoned.
    pub effect: Option<Effect>,
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        Self { ending, effect: None }
    }
}

/// The object on whose behalf something is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Generation.
    pub generation: i64,
}

impl From<ObjectKey> for Owner {
    fn from(key: ObjectKey) -> Self {
        let ObjectKey { uid, namespace, name, generation } = key;
        Self { namespace, name, uid, generation }
    }
}

/// Who writes: one term of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Writer {
    /// Number of the term; greater for every later start or take-over of the installation.
    pub epoch: i64,
    /// Which share of the objects the process leads.
    pub shard: String,
    /// Name of the process.
    pub identity: String,
}

/// What is wanted of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// For whom.
    pub owner: Owner,
    /// Absolute targets.
    pub targets: Value,
    /// What was there before, where undoing needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_image: Option<String>,
    /// How much this takes of what may be done within a day, where that is limited.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub amount: i64,
    /// Parts of the resource that are changed, such as topics, where it matters when that was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

/// The record of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The resource, such as `bucket/acme-logs`.
    pub resource: String,
    /// What is wanted.
    pub wish: Wish,
    /// Who wrote it last.
    pub writer: Writer,
    /// How far it is.
    pub state: State,
    /// The call starts before this time or not at all; set when it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_before: Option<Timestamp>,
    /// Longest time the call takes once it has started.
    #[serde(default)]
    pub call_timeout_seconds: u32,
    /// When the record was written.
    pub written: Timestamp,
    /// When the wish was first written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Timestamp>,
    /// Whether its call was answered with yes, while its effect is not seen yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered: bool,
    /// What came about of it, once that is known and not the whole wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What earlier intents have spent within the last 24 hours, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<Spent>,
    /// When earlier intents have changed parts of the resource within the last 24 hours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, Timestamp>,
}

/// What the names of shared resources begin with: the topics of a Kafka cluster belong to many.
pub(crate) const SHARED: &str = "kafka/";

impl Intent {
    /// Whether objects may change this resource by turns. A bucket or a group has one owner; topics of one Kafka cluster
    /// belong to many.
    pub fn is_shared(&self) -> bool {
        self.resource.starts_with(SHARED)
    }

    /// What tells it from all others, whoever writes it and however far it is; none if an earlier version wrote it.
    pub fn id(&self) -> Option<String> {
        let digest = Sha256::digest(&self.resource);
        let resource = digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        Some(format!("{resource}-{:x}", self.prepared?.as_millisecond()))
    }

    /// When a call of this intent is over, whatever became of it; none while nothing was sent.
    pub fn over_at(&self) -> Option<Timestamp> {
        let call = Duration::from_secs(self.call_timeout_seconds.into());
        self.send_before.map(|before| before.saturating_add(call).unwrap_or(Timestamp::MAX))
    }
}

/// What is to become of a resource's record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Write down a wish.
    Prepare {
        /// The resource.
        resource: String,
        /// The wish.
        wish: Wish,
    },
    /// Go on with a wish that was prepared, perhaps by an earlier term, as it is.
    Resume {
        /// The record that is gone on with; another one in its place stays as it is.
        judged: Box<Intent>,
    },
    /// Say that the call is made now.
    Send {
        /// It starts before this time or not at all.
        before: Timestamp,
        /// Longest time it takes.
        call_timeout_seconds: u32,
    },
    /// The writer's own call was answered with yes; its effect is not seen yet.
    Answer,
    /// The writer's own call is over and its effect was read.
    Close(Ended),
    /// Somebody's call is over; the effect was read by a look that began at this time.
    Settle {
        /// The record that was judged; another one in its place stays as it is.
        judged: Box<Intent>,
        /// How it ended, by what was read.
        ended: Ended,
        /// When that look began.
        looked: Timestamp,
    },
}

/// Why nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// A call may still be under way.
    #[error("an earlier call may still be under way until {until}")]
    UnderWay {
        /// When it is over and the resource may be read.
        until: Timestamp,
    },
    /// A call was sent whose effect has to be read first.
    #[error("the effect of an earlier call has to be read first")]
    Unread,
    /// A later term has written the record.
    #[error("term {epoch} has taken over")]
    Fenced {
        /// That term.
        epoch: i64,
    },
    /// The record is not the one that the writer has prepared or sent.
    #[error("the intent is no longer ours")]
    NotOurs,
}

/// The record after `request` by `me`, or why it stays as it is.
pub fn advance(current: Option<&Intent>, request: Request, me: &Writer, now: Timestamp) -> Result<Intent, Refused> {
    let write = |intent: &Intent, state| Intent { state, writer: me.clone(), written: now, ..intent.clone() };
    match request {
        Request::Prepare { resource, wish } => {
            if let Some(current) = current {
                fenced(current, me)?;
                if current.state == State::Sent {
                    return Err(under_way(current, now));
                }
            }
            let writer = me.clone();
            let (send_before, call_timeout_seconds) = (None, 0);
            let spent = current.map(|current| current.spending(now)).unwrap_or_default();
            let changed = current.map(|current| current.changed_at(now)).unwrap_or_default();
            Ok(Intent {
                resource,
                wish,
                writer,
                state: State::Prepared,
                send_before,
                call_timeout_seconds,
                written: now,
                prepared: Some(now),
                answered: false,
                effect: None,
                spent,
                changed,
            })
        }
        Request::Resume { judged } => {
            let same = |current: &&Intent| **current == *judged && current.state == State::Prepared;
            let prepared = current.filter(same).ok_or(Refused::NotOurs)?;
            fenced(prepared, me)?;
            Ok(write(prepared, State::Prepared))
        }
        Request::Send { before, call_timeout_seconds } => {
            let mine = current.filter(|c| c.writer == *me && c.state == State::Prepared).ok_or(Refused::NotOurs)?;
            Ok(Intent { send_before: Some(before), call_timeout_seconds, ..write(mine, State::Sent) })
        }
        Request::Answer => {
            let mine = current.filter(|c| c.writer == *me && c.state == State::Sent).ok_or(Refused::NotOurs)?;
            Ok(Intent { answered: true, ..write(mine, State::Sent) })
        }
        Request::Close(Ended { ending, effect }) => {
            let mine = current.filter(|c| c.writer == *me && !c.state.is_closed()).ok_or(Refused::NotOurs)?;
            Ok(Intent { effect, ..write(mine, ending.into()) })
        }
        Request::Settle { judged, ended: Ended { ending, effect }, looked } => {
            let open = current.filter(|c| !c.state.is_closed()).ok_or(Refused::NotOurs)?;
            fenced(open, me)?;
            if *open != *judged {
                return Err(Refused::Unread);
            }
            match open.over_at().filter(|_| open.state == State::Sent) {
                Some(until) if looked < until && !is_final(open, ending) => Err(Refused::UnderWay { until }),
                _ => Ok(Intent { effect, ..write(open, ending.into()) }),
            }
        }
    }
}

/// Whether a call that may still be under way can do no more: topics only grow, and to absolute counts, so that a growth
/// that is there already is refused.
fn is_final(open: &Intent, ending: Ending) -> bool {
    open.is_shared() && ending == Ending::Done
}

/// A later term of the same shard is the only one that may write. Which of two shards began its term later says nothing
/// about who leads: they meet at the record, and wait for each other's calls.
fn fenced(current: &Intent, me: &Writer) -> Result<(), Refused> {
    let Writer { epoch, ref shard, .. } = current.writer;
    if *shard == me.shard && epoch > me.epoch { Err(Refused::Fenced { epoch }) } else { Ok(()) }
}

fn under_way(sent: &Intent, now: Timestamp) -> Refused {
    match sent.over_at() {
        Some(until) if now < until => Refused::UnderWay { until },
        _ => Refused::Unread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn writer(epoch: i64) -> Writer {
        Writer { epoch, shard: String::new(), identity: format!("p{epoch}") }
    }

    fn wish() -> Wish {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        Wish { owner, targets: serde_json::json!({"desired": 3}), pre_image: None, amount: 0, parts: Vec::new() }
    }

    fn prepare() -> Request {
        Request::Prepare { resource: "group/a".into(), wish: wish() }
    }

    fn send() -> Request {
        Request::Send { before: at(15), call_timeout_seconds: 5 }
    }

    fn settle(judged: &Intent, looked: i64) -> Request {
        Request::Settle { judged: Box::new(judged.clone()), ended: Ending::Done.into(), looked: at(looked) }
    }

    fn sent(epoch: i64) -> Intent {
        let prepared = advance(None, prepare(), &writer(epoch), at(10)).unwrap();
        advance(Some(&prepared), send(), &writer(epoch), at(10)).unwrap()
    }

    #[test]
    fn the_straight_way_is_prepared_sent_done() {
        let done = advance(Some(&sent(1)), Request::Close(Ending::Done.into()), &writer(1), at(11)).unwrap();
        assert_eq!(done.state, State::Done);
        let next = advance(Some(&done), prepare(), &writer(1), at(12)).unwrap();
        assert_eq!(next.state, State::Prepared);
        assert!(done.id().is_some() && done.id() == sent(1).id() && done.id() != next.id());
    }

    #[test]
    fn what_is_prepared_may_be_replaced_at_once_and_then_no_longer_be_sent() {
        let first = advance(None, prepare(), &writer(1), at(10)).unwrap();
        let second = advance(Some(&first), prepare(), &writer(2), at(10)).unwrap();
        assert_eq!(advance(Some(&second), send(), &writer(1), at(10)), Err(Refused::NotOurs));
    }

    #[test]
    fn a_prepared_wish_is_gone_on_with_by_a_later_term_as_it_is() {
        let first = advance(None, prepare(), &writer(1), at(10)).unwrap();
        let resume = |judged: &Intent| Request::Resume { judged: Box::new(judged.clone()) };
        let second = advance(Some(&first), resume(&first), &writer(2), at(20)).unwrap();
        assert_eq!((second.id(), second.state, &second.wish), (first.id(), State::Prepared, &first.wish));
        assert_eq!((second.writer.epoch, second.prepared, second.written), (2, first.prepared, at(20)));
        assert!(advance(Some(&second), send(), &writer(2), at(21)).is_ok());
        assert_eq!(advance(Some(&second), send(), &writer(1), at(21)), Err(Refused::NotOurs));
        // Another one in its place, one that was sent or is over, or none.
        let other = advance(Some(&first), prepare(), &writer(1), at(15)).unwrap();
        let over = advance(Some(&first), Request::Close(Ending::Abandoned.into()), &writer(1), at(15)).unwrap();
        for now in [Some(&other), Some(&sent(1)), Some(&over), Some(&second), None] {
            assert_eq!(advance(now, resume(&first), &writer(2), at(20)), Err(Refused::NotOurs), "{now:?}");
        }
        for ended in [&sent(1), &over] {
            assert_eq!(advance(Some(ended), resume(ended), &writer(2), at(20)), Err(Refused::NotOurs), "{ended:?}");
        }
        assert_eq!(advance(Some(&second), resume(&second), &writer(1), at(21)), Err(Refused::Fenced { epoch: 2 }));
    }

    #[test]
    fn what_is_sent_is_taken_over_after_its_time_by_a_later_term_with_a_fresh_read_only() {
        let settle = |looked| settle(&sent(1), looked);
        let under_way = Refused::UnderWay { until: at(20) };
        assert_eq!(advance(Some(&sent(1)), settle(19), &writer(2), at(25)), Err(under_way));
        assert_eq!(advance(Some(&sent(1)), prepare(), &writer(2), at(19)), Err(under_way));
        assert_eq!(advance(Some(&sent(1)), prepare(), &writer(2), at(20)), Err(Refused::Unread));
        assert_eq!(advance(Some(&sent(2)), settle(20), &writer(1), at(25)), Err(Refused::Fenced { epoch: 2 }));
        assert_eq!(advance(Some(&sent(1)), settle(20), &writer(2), at(20)).unwrap().state, State::Done);
    }

    #[test]
    fn a_growth_that_is_there_is_done_whatever_is_still_under_way() {
        let shared = Intent { resource: "kafka/a".into(), ..sent(1) };
        assert_eq!(advance(Some(&shared), settle(&shared, 12), &writer(2), at(12)).unwrap().state, State::Done);
        let Request::Settle { judged, looked, .. } = settle(&shared, 12) else { unreachable!() };
        let idle = Request::Settle { judged, ended: Ending::Abandoned.into(), looked };
        assert_eq!(advance(Some(&shared), idle, &writer(2), at(12)), Err(Refused::UnderWay { until: at(20) }));
    }

    #[test]
    fn a_judgement_of_one_record_does_not_close_the_one_that_has_taken_its_place() {
        let left = advance(None, prepare(), &writer(1), at(10)).unwrap();
        let judged = settle(&left, 30);
        assert_eq!(advance(Some(&left), judged.clone(), &writer(2), at(31)).unwrap().state, State::Done);
        let other = Writer { shard: "b".into(), ..writer(1) };
        let next = advance(Some(&left), prepare(), &other, at(31)).unwrap();
        assert_eq!(advance(Some(&next), judged, &writer(2), at(32)), Err(Refused::Unread));
    }

    #[test]
    fn what_was_answered_says_so_until_the_next_wish_and_is_waited_for_as_before() {
        let answered = advance(Some(&sent(1)), Request::Answer, &writer(1), at(12)).unwrap();
        assert_eq!((answered.state, answered.answered, answered.over_at()), (State::Sent, true, sent(1).over_at()));
        let read: Intent = serde_json::from_value(serde_json::to_value(&answered).unwrap()).unwrap();
        assert_eq!((read, answered.id()), (answered.clone(), sent(1).id()));
        let under_way = Err(Refused::UnderWay { until: at(20) });
        assert_eq!(advance(Some(&answered), settle(&answered, 19), &writer(2), at(25)), under_way);
        let done = advance(Some(&answered), settle(&answered, 20), &writer(2), at(25)).unwrap();
        assert!(!advance(Some(&done), prepare(), &writer(2), at(26)).unwrap().answered);
        let prepared = advance(None, prepare(), &writer(1), at(10)).unwrap();
        for now in [Some(&prepared), Some(&done), Some(&sent(2)), None] {
            assert_eq!(advance(now, Request::Answer, &writer(1), at(12)), Err(Refused::NotOurs), "{now:?}");
        }
    }

    #[test]
    fn nobody_closes_what_another_sent_without_reading() {
        assert_eq!(
            advance(Some(&sent(1)), Request::Close(Ending::Done.into()), &writer(2), at(99)),
            Err(Refused::NotOurs)
        );
    }

    #[test]
    fn an_earlier_term_of_the_shard_is_fenced_and_one_of_another_shard_is_not() {
        let done = advance(Some(&sent(5)), Request::Close(Ending::Done.into()), &writer(5), at(11)).unwrap();
        assert_eq!(advance(Some(&done), prepare(), &writer(4), at(12)), Err(Refused::Fenced { epoch: 5 }));
        let other = Writer { shard: "b".into(), ..writer(4) };
        assert!(advance(Some(&done), prepare(), &other, at(12)).is_ok());
        // A call of another shard is waited for and judged by its effect, whichever term is the later one.
        let settle = |looked| settle(&sent(5), looked);
        assert_eq!(advance(Some(&sent(5)), prepare(), &other, at(12)), Err(Refused::UnderWay { until: at(20) }));
        assert_eq!(advance(Some(&sent(5)), settle(19), &other, at(25)), Err(Refused::UnderWay { until: at(20) }));
        assert_eq!(advance(Some(&sent(5)), settle(20), &other, at(25)).unwrap().state, State::Done);
    }
}
