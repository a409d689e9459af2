//! What intents have taken of what may be done within a day or an hour, and which parts of a resource they have changed.

use crate::intent::{Intent, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What came about of a wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// How much it took of what may be done within a day.
    pub amount: i64,
    /// Parts of the resource that it changed.
    pub parts: Vec<String>,
}

/// What an earlier intent of the resource has taken of what may be done within a day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// When its record was written last.
    pub at: Timestamp,
    /// How much.
    pub amount: i64,
    /// What kind of change it was, where several are made to the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// How long what was spent counts.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Entries kept; of more, the two oldest of one kind become one with the later time.
const MOST_SPENT: usize = 48;

/// Parts whose change is remembered; of more, those that changed last.
const MOST_CHANGED: usize = 1_000;

impl Intent {
    /// What was spent within the 24 hours before `now`, by this intent too unless it had no effect.
    pub fn spent_at(&self, now: Timestamp) -> i64 {
        self.spending(now).iter().fold(0, |sum, spent| sum.saturating_add(spent.amount))
    }

    /// What changes of one kind have spent within a time before `now`, 24 hours at most, this intent's too unless it had no
    /// effect.
    pub fn spent_since(&self, kind: &str, now: Timestamp, within: Duration) -> i64 {
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        let spent = self.spending(now).into_iter();
        let counts = |spent: &Spent| spent.kind.as_deref() == Some(kind) && now.duration_since(spent.at) < within;
        spent.filter(counts).fold(0, |sum, spent| sum.saturating_add(spent.amount))
    }

    /// What kind of change it is: the targets' `kind`, where several are made to the resource.
    pub fn kind(&self) -> Option<&str> {
        self.wish.targets.get("kind")?.as_str()
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

    /// What was spent within the 24 hours before `now`, oldest first, by this intent too unless it had no effect.
    pub fn spending(&self, now: Timestamp) -> Vec<Spent> {
        let amount = self.effect.as_ref().map_or(self.wish.amount, |effect| effect.amount);
        let own = Spent { at: self.written, amount, kind: self.kind().map(str::to_owned) };
        let counts = self.had_effect() && own.amount != 0;
        let all = self.spent.iter().cloned().chain(counts.then_some(own));
        let mut recent: Vec<Spent> = all.filter(|spent| now.duration_since(spent.at) < DAY).collect();
        while recent.len() > MOST_SPENT {
            let next_of =
                |first: usize| (first + 1..recent.len()).find(|next| recent[*next].kind == recent[first].kind);
            let Some((first, next)) = (0..recent.len()).find_map(|first| Some((first, next_of(first)?))) else { break };
            recent[next].amount = recent[next].amount.saturating_add(recent[first].amount);
            recent.remove(first);
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
    fn kinds_of_changes_spend_apart_and_within_a_time() {
        let change = |current: Option<&Intent>, kind: &str, amount, second| {
            let targets = serde_json::json!({"kind": kind});
            let open = sent(&prepared(current, Wish { amount, targets, ..wish() }, second), second);
            closed(&open, Ending::Done, second)
        };
        let hour = Duration::from_secs(3_600);
        let since = |intent: &Intent, kind, second| intent.spent_since(kind, at(second), hour);
        let first = change(None, "raise", 5, 10);
        let second = change(Some(&first), "remove", 1, 20);
        let third = change(Some(&second), "raise", 2, 30);
        let counts = |second| (since(&third, "raise", second), since(&third, "remove", second));
        assert_eq!(counts(30), (7, 1));
        assert_eq!((counts(3_609), counts(3_610), counts(3_620)), ((7, 1), (2, 1), (2, 0)));
        assert_eq!((since(&third, "cost", 30), third.spent_at(at(30))), (0, 8));
        let mut many = third;
        for second in 31..150 {
            many = change(Some(&many), if second % 2 == 0 { "raise" } else { "remove" }, 1, second);
        }
        assert_eq!((since(&many, "raise", 150), since(&many, "remove", 150)), (7 + 59, 1 + 60));
        assert_eq!((many.spent.len(), many.spent_at(at(150))), (MOST_SPENT, 8 + 119));
        let read: Intent = serde_json::from_value(serde_json::to_value(&many).unwrap()).unwrap();
        assert_eq!(read, many);
    }

    #[test]
    fn of_many_changed_parts_the_last_ones_are_remembered() {
        let changed = (0..1_500).map(|number| (format!("t{number:04}"), at(number))).collect();
        let kept = Intent { changed, ..prepared(None, wish(), 10) }.changed_at(at(1_500));
        assert_eq!((kept.len(), kept.first_key_value().unwrap().0.as_str()), (MOST_CHANGED, "t0500"));
    }
}
