//! The topic whose unread records are nearest to their end, of those that the query reads.

use logwise_plan::Known;
use logwise_plan::workers::Risk;
use logwise_runtime::facts::{CheckpointPosition, Headroom};
use std::collections::BTreeMap;

/// How long records are kept that never expire, or that nobody waits for.
const ALWAYS_SECONDS: i64 = 10 * 365 * 86_400;

/// The topic of which unread records have the least share of their time left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nearest {
    pub topic: String,
    /// Seconds that its records are kept; none: unread ones are gone.
    pub retention_seconds: Option<i64>,
    /// Share of that time which is left, in percent.
    pub left_percent: i64,
}

impl Nearest {
    /// Whether less than half of its retention is left to a record that was not read, or such records are gone.
    pub const fn is_at_risk(&self) -> bool {
        self.retention_seconds.is_none() || self.left_percent < 50
    }
}

/// How near unread records are to their end where they are lost first, and on which topic they have the least share of
/// their time left, of the topics that the query reads. The two may be different ones: a day of which little is left is
/// more than half an hour of which much is.
pub(crate) fn risk(
    headroom: &Known<BTreeMap<String, Known<Headroom>>>,
    position: &Known<CheckpointPosition>,
) -> (Known<Risk>, Option<Nearest>) {
    let (headroom, position) = match (headroom, position) {
        (Known::Known(headroom), Known::Known(position)) => (headroom, position),
        (Known::Known(_), _) => return (unknown("the position of the query is not known"), None),
        (Known::Absent, _) => return (unknown("there are no topics"), None),
        (Known::Unknown(why), _) => return (Known::Unknown(why.clone()), None),
    };
    let of_query = || headroom.iter().filter(|(topic, _)| position.offsets.contains_key(*topic));
    let known: Vec<(&String, Waits)> =
        of_query().filter_map(|(topic, headroom)| Some((topic, Waits::of(headroom.known()?)))).collect();
    let first = known.iter().map(|(_, waits)| waits).min_by_key(|waits| waits.left());
    let risk = first.map(|first| first.risk(known.iter().filter_map(|(_, waits)| waits.kept).min()));
    let nearest = known.iter().min_by_key(|(_, waits)| waits.share()).map(|(topic, waits)| Nearest {
        topic: (*topic).clone(),
        retention_seconds: waits.kept,
        left_percent: waits.share().unwrap_or(0),
    });
    let is_near = nearest.as_ref().is_some_and(Nearest::is_at_risk);
    let unread = of_query().find_map(|(topic, headroom)| match headroom {
        Known::Unknown(why) => Some(format!("topic {topic}: {why}")),
        Known::Known(_) | Known::Absent => None,
    });
    match (risk, unread) {
        // One that is near its end is enough to know.
        (_, Some(why)) if !is_near => (Known::Unknown(why), nearest),
        (Some(risk), _) => (Known::Known(risk), nearest),
        // Nothing waits, or what waits never expires.
        (None, _) => {
            let (age_seconds, retention_seconds) = (0, ALWAYS_SECONDS);
            (Known::Known(Risk { age_seconds, retention_seconds, lost: false, shortest_seconds: None }), None)
        }
    }
}

/// Seconds for which the oldest record has waited that the query has not read, of all its topics; none: nothing is known
/// to wait. Records that are gone were as old as they are kept at the least.
pub(crate) fn oldest_seconds(
    headroom: &Known<BTreeMap<String, Known<Headroom>>>,
    position: &Known<CheckpointPosition>,
) -> Option<i64> {
    let (headroom, position) = (headroom.known()?, position.known()?);
    let of_query = headroom.iter().filter(|(topic, _)| position.offsets.contains_key(*topic));
    let ages = of_query.filter_map(|(_, headroom)| headroom.known()).map(|headroom| match *headroom {
        Headroom::Left { age_ms, .. } => age_ms.max(0) / 1000,
        Headroom::Lost { retention_ms, .. } => retention_ms.map_or(ALWAYS_SECONDS, |kept| kept.max(0) / 1000),
    });
    ages.max()
}

/// Unread records of one topic, in whole seconds.
#[derive(Clone, Copy)]
struct Waits {
    /// How long the oldest has waited.
    age: i64,
    /// How long they are kept; none: the first of them are gone.
    kept: Option<i64>,
}

impl Waits {
    fn of(headroom: &Headroom) -> Self {
        match *headroom {
            Headroom::Left { age_ms, retention_ms } => {
                Self { age: age_ms.max(0) / 1000, kept: Some((retention_ms / 1000).max(1)) }
            }
            Headroom::Lost { .. } => Self { age: ALWAYS_SECONDS, kept: None },
        }
    }

    /// Seconds until the first of them is lost; none, which is less, if it is.
    fn left(&self) -> Option<i64> {
        self.kept.map(|kept| kept.saturating_sub(self.age))
    }

    /// The same as a share of the time that they are kept, in percent.
    fn share(&self) -> Option<i64> {
        let (left, kept) = (self.left()?.max(0), self.kept?);
        i64::try_from(i128::from(left) * 100 / i128::from(kept)).ok()
    }

    fn risk(&self, shortest: Option<i64>) -> Risk {
        let retention_seconds = self.kept.unwrap_or(ALWAYS_SECONDS);
        let shortest_seconds = shortest.filter(|shortest| *shortest != retention_seconds);
        Risk { age_seconds: self.age, retention_seconds, lost: self.kept.is_none(), shortest_seconds }
    }
}

fn unknown<T>(why: &str) -> Known<T> {
    Known::Unknown(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn position(topics: &[&str]) -> CheckpointPosition {
        let offsets = topics.iter().map(|topic| ((*topic).to_owned(), BTreeMap::from([(0, 1)]))).collect();
        let committed = Timestamp::UNIX_EPOCH;
        CheckpointPosition { batch: 1, offsets, committed, batches: Vec::new(), query: None }
    }

    fn headroom(all: &[(&str, Known<Headroom>)]) -> Known<BTreeMap<String, Known<Headroom>>> {
        Known::Known(all.iter().map(|(topic, headroom)| ((*topic).to_owned(), headroom.clone())).collect())
    }

    fn left(age: i64, retention: i64) -> Known<Headroom> {
        Known::Known(Headroom::Left { age_ms: age * 1000, retention_ms: retention * 1000 })
    }

    #[test]
    fn the_topic_nearest_to_its_end_decides_of_those_that_the_query_reads() {
        let read = Known::Known(position(&["a", "b", "c"]));
        let of = |all: &[(&str, Known<Headroom>)]| risk(&headroom(all), &read);
        let (found, nearest) = of(&[("a", left(10, 100)), ("b", left(30, 50)), ("other", left(99, 100))]);
        let expected = Risk { age_seconds: 30, retention_seconds: 50, lost: false, shortest_seconds: None };
        assert_eq!(found, Known::Known(expected));
        let expected = Nearest { topic: "b".into(), retention_seconds: Some(50), left_percent: 40 };
        assert!(expected.is_at_risk());
        assert_eq!(nearest, Some(expected));
        let lost = Known::Known(Headroom::Lost { offsets: 9, retention_ms: None });
        let (found, nearest) = of(&[("a", left(10, 100)), ("c", lost), ("b", unknown("?"))]);
        assert!(found.known().is_some_and(|risk| risk.lost), "what is known to be lost is enough: {found:?}");
        assert_eq!(nearest.unwrap().topic, "c");
        let (found, _) = of(&[("a", left(10, 100)), ("b", unknown("no answer"))]);
        assert_eq!(found, unknown("topic b: no answer"));
        let (found, nearest) = of(&[("a", Known::Absent)]);
        assert!(found.known().is_some_and(|risk| risk.age_seconds == 0) && nearest.is_none());
        assert!(risk(&headroom(&[("a", left(99, 100))]), &Known::Absent).0.is_unknown());
    }

    #[test]
    fn the_topic_that_is_lost_first_is_another_than_the_one_with_the_least_share_left() {
        let read = Known::Known(position(&["half-hour", "day", "gone"]));
        let topics = [("half-hour", left(600, 1_800)), ("day", left(39_600, 86_400))];
        let (found, nearest) = risk(&headroom(&topics), &read);
        let first = Risk { age_seconds: 600, retention_seconds: 1_800, lost: false, shortest_seconds: None };
        assert_eq!(found, Known::Known(first), "20 minutes are left, and 13 hours");
        let nearest = nearest.unwrap();
        assert_eq!((nearest.topic.as_str(), nearest.left_percent), ("day", 54));
        assert!(!nearest.is_at_risk());
        let (found, _) = risk(&headroom(&[("half-hour", left(60, 1_800)), ("day", left(86_000, 86_400))]), &read);
        let first = Risk { age_seconds: 86_000, retention_seconds: 86_400, lost: false, shortest_seconds: Some(1_800) };
        assert_eq!(found, Known::Known(first));
        // One that is over its time may still be there; one that is gone is not.
        let lost = Known::Known(Headroom::Lost { offsets: 1, retention_ms: None });
        let (found, nearest) = risk(&headroom(&[("day", left(90_000, 86_400)), ("gone", lost)]), &read);
        assert!(found.known().is_some_and(|risk| risk.lost && risk.shortest_seconds == Some(86_400)), "{found:?}");
        assert_eq!(nearest.unwrap().topic, "gone");
    }

    #[test]
    fn the_oldest_record_counts_and_one_that_is_gone_is_as_old_as_its_topic_keeps_them() {
        let read = Known::Known(position(&["a", "b", "c"]));
        let of = |all: &[(&str, Known<Headroom>)]| oldest_seconds(&headroom(all), &read);
        let lost = |retention_ms| Known::Known(Headroom::Lost { offsets: 9, retention_ms });
        // The other one is nearer to its end.
        let both = [("a", left(60, 1_000)), ("b", left(30, 40)), ("other", left(900, 1_000))];
        assert_eq!(of(&both), Some(60));
        assert_eq!(of(&[("a", left(60, 1_000)), ("c", lost(Some(70_000)))]), Some(70));
        assert_eq!(of(&[("a", left(60, 1_000)), ("c", lost(None))]), Some(ALWAYS_SECONDS));
        assert_eq!((of(&[("a", Known::Absent)]), oldest_seconds(&unknown("?"), &read)), (None, None));
    }
}
