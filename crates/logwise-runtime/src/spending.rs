//! What intents have taken of what may be done within a day, and which parts of a resource they have changed.

use crate::intent::{Intent, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What came about of a wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// How much it took of what may be done within a day.
    pub amount: i64,
    /// Parts of the resource that it changed.
    pub parts: Vec<String>,
}

/// What an earlier intent of the resource has taken of what may be done within a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// When its record was written last.
    pub at: Timestamp,
    /// How much.
    pub amount: i64,
}

/// How long what was spent counts.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Entries kept; of more, the two oldest become one with the later time.
const MOST_SPENT: usize = 48;

/// Parts whose change is remembered; of more, those that changed last.
const MOST_CHANGED: usize = 1_000;

impl Intent {
    /// What was spent within the 24 hours before `now`, by this intent too unless it had no effect.
    pub fn spent_at(&self, now: Timestamp) -> i64 {
        self.spending(now).iter().fold(0, |sum, spent| sum.saturating_add(spent.amount))
    }

    /// When parts of the resource were changed within the 24 hours before `now`, by this intent too unless it had no
    /// effect.
    pub fn changed_at(&self, now: Timestamp) -> BTreeMap<String, Timestamp> {
        let own = self.effect.as_ref().map_or(&self.wish.parts, |effect| &effect.parts);
        let own = own.iter().filter(|_| self.had_effect()).map(|part| (part.clone(), self.written));
        let mut changed = self.changed.clone();
        changed.extend(own);
        changed.retain(|_, at| now.duration_since(*at) < DAY);
        if changed.len() > MOST_CHANGED {
            let mut times: Vec<Timestamp> = changed.values().copied().collect();
            times.sort_unstable();
            let oldest = times[times.len() - MOST_CHANGED];
            changed.retain(|_, at| *at >= oldest);
        }
        changed
    }

    /// Whether it may have changed something.
    const fn had_effect(&self) -> bool {
        !matches!(self.state, State::Prepared | State::Abandoned)
    }

    pub(crate) fn spending(&self, now: Timestamp) -> Vec<Spent> {
        let amount = self.effect.as_ref().map_or(self.wish.amount, |effect| effect.amount);
        let own = Spent { at: self.written, amount };
        let counts = self.had_effect() && own.amount != 0;
        let all = self.spent.iter().copied().chain(counts.then_some(own));
        let mut recent: Vec<Spent> = all.filter(|spent| now.duration_since(spent.at) < DAY).collect();
        while recent.len() > MOST_SPENT {
            let first = recent.remove(0);
            recent[0].amount = recent[0].amount.saturating_add(first.amount);
        }
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Ended, Ending, Owner, Request, Wish, Writer, advance};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn writer() -> Writer {
        Writer { epoch: 1, shard: String::new(), identity: "p1".into() }
    }

    fn wish() -> Wish {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        Wish { owner, targets: serde_json::json!({"desired": 3}), pre_image: None, amount: 0, parts: Vec::new() }
    }

    fn prepared(current: Option<&Intent>, wish: Wish, second: i64) -> Intent {
        advance(current, Request::Prepare { resource: "kafka/a".into(), wish }, &writer(), at(second)).unwrap()
    }

    fn sent(prepared: &Intent, second: i64) -> Intent {
        let send = Request::Send { before: at(second + 5), call_timeout_seconds: 5 };
        advance(Some(prepared), send, &writer(), at(second)).unwrap()
    }

    fn closed(sent: &Intent, ended: impl Into<Ended>, second: i64) -> Intent {
        advance(Some(sent), Request::Close(ended.into()), &writer(), at(second)).unwrap()
    }

    #[test]
    fn what_was_spent_counts_for_a_day_and_not_if_nothing_came_of_it() {
        let spend = |current: Option<&Intent>, amount, second| prepared(current, Wish { amount, ..wish() }, second);
        let end = |intent: &Intent, ending: Ending, second| {
            let sent = sent(intent, second);
            assert_eq!(
                sent.spent_at(at(second)) - intent.spent_at(at(second)),
                intent.wish.amount,
                "may have happened"
            );
            closed(&sent, ending, second)
        };
        let first = end(&spend(None, 5, 10), Ending::Done, 10);
        let idle = end(&spend(Some(&first), 7, 20), Ending::Abandoned, 20);
        assert_eq!(idle.spent_at(at(20)), 5);
        let second = end(&spend(Some(&idle), 3, 30), Ending::Superseded, 30);
        assert_eq!((second.spent_at(at(30)), second.spent.len()), (8, 1));
        let day = 24 * 60 * 60;
        assert_eq!(
            (second.spent_at(at(day + 9)), second.spent_at(at(day + 10)), second.spent_at(at(day + 30))),
            (8, 3, 0)
        );
        let mut many = second;
        for second in 31..200 {
            many = end(&spend(Some(&many), 1, second), Ending::Done, second);
        }
        assert_eq!((many.spent_at(at(200)), many.spent.len()), (177, MOST_SPENT));
    }

    #[test]
    fn what_came_about_counts_and_not_what_was_wished() {
        let grow = |current: Option<&Intent>, topics: &[&str], second| {
            let parts: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
            sent(&prepared(current, Wish { amount: 10, parts, ..wish() }, second), second)
        };
        let topics = |intent: &Intent, second| intent.changed_at(at(second)).into_keys().collect::<Vec<_>>();
        let open = grow(None, &["a", "b"], 10);
        assert_eq!((open.spent_at(at(10)), topics(&open, 10)), (10, vec!["a".into(), "b".into()]), "may have happened");
        let partly = Ended { ending: Ending::Done, effect: Some(Effect { amount: 3, parts: vec!["b".into()] }) };
        let first = closed(&open, partly, 11);
        assert_eq!((first.spent_at(at(11)), topics(&first, 11)), (3, vec!["b".into()]));
        let second = closed(&grow(Some(&first), &["c"], 20), Ending::Done, 21);
        let third = closed(&grow(Some(&second), &["d"], 30), Ending::Abandoned, 31);
        assert_eq!((third.spent_at(at(31)), topics(&third, 31)), (13, vec!["b".into(), "c".into()]));
        assert_eq!(third.changed_at(at(31))["b"], at(11));
        let day = 24 * 60 * 60;
        assert_eq!(topics(&third, day + 11), vec!["c".to_owned()]);
        let read: Intent = serde_json::from_value(serde_json::to_value(&third).unwrap()).unwrap();
        assert_eq!(read, third);
    }

    #[test]
    fn of_many_changed_parts_the_last_ones_are_remembered() {
        let changed = (0..1_500).map(|number| (format!("t{number:04}"), at(number))).collect();
        let kept = Intent { changed, ..prepared(None, wish(), 10) }.changed_at(at(1_500));
        assert_eq!((kept.len(), kept.first_key_value().unwrap().0.as_str()), (MOST_CHANGED, "t0500"));
    }
}
