//! The topic whose unread records are nearest to their end, of those that the query reads.

use logwise_plan::Known;
use logwise_plan::workers::Risk;
use logwise_runtime::facts::{CheckpointPosition, Headroom};
use std::collections::BTreeMap;

/// How long records are kept that never expire, or that nobody waits for.
const ALWAYS_SECONDS: i64 = 10 * 365 * 86_400;

/// A topic whose unread records are nearest to their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nearest {
    pub topic: String,
    /// Seconds that its records are kept; none: unread ones are gone.
    pub retention_seconds: Option<i64>,
    /// Share of that time which is left, in percent.
    pub left_percent: i64,
}

/// How near unread records are to their end, and on which topic, of those that the query reads.
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
    let known = of_query().filter_map(|(topic, headroom)| Some((topic, headroom.known()?)));
    let nearest = known.min_by(|(_, one), (_, other)| one.ratio().total_cmp(&other.ratio()));
    let nearest = nearest.map(|(topic, headroom)| near(topic, headroom));
    let is_near = nearest.as_ref().is_some_and(|(risk, _)| is_at_risk(risk));
    let unread = of_query().find_map(|(topic, headroom)| match headroom {
        Known::Unknown(why) => Some(format!("topic {topic}: {why}")),
        Known::Known(_) | Known::Absent => None,
    });
    match (nearest, unread) {
        // One that is near its end is enough to know.
        (nearest, Some(why)) if !is_near => (Known::Unknown(why), nearest.map(|(_, nearest)| nearest)),
        (Some((risk, nearest)), _) => (Known::Known(risk), Some(nearest)),
        // Nothing waits, or what waits never expires.
        (None, _) => (Known::Known(Risk { age_seconds: 0, retention_seconds: ALWAYS_SECONDS, lost: false }), None),
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

fn near(topic: &str, headroom: &Headroom) -> (Risk, Nearest) {
    let topic = topic.to_owned();
    match *headroom {
        Headroom::Left { age_ms, retention_ms } => {
            let (age, kept) = (age_ms.max(0), retention_ms.max(1));
            let left_percent = i64::try_from(i128::from(kept.saturating_sub(age).max(0)) * 100 / i128::from(kept));
            let risk = Risk { age_seconds: age / 1000, retention_seconds: (kept / 1000).max(1), lost: false };
            let retention_seconds = Some(risk.retention_seconds);
            (risk, Nearest { topic, retention_seconds, left_percent: left_percent.unwrap_or(0) })
        }
        Headroom::Lost { .. } => {
            let risk = Risk { age_seconds: ALWAYS_SECONDS, retention_seconds: ALWAYS_SECONDS, lost: true };
            (risk, Nearest { topic, retention_seconds: None, left_percent: 0 })
        }
    }
}

/// Whether less than half of its retention is left to a record that was not read, or such records are gone.
pub(crate) const fn is_at_risk(risk: &Risk) -> bool {
    risk.lost || risk.age_seconds.saturating_mul(2) > risk.retention_seconds
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
        assert_eq!(found, Known::Known(Risk { age_seconds: 30, retention_seconds: 50, lost: false }));
        let expected = Nearest { topic: "b".into(), retention_seconds: Some(50), left_percent: 40 };
        assert_eq!(nearest, Some(expected));
        assert!(is_at_risk(found.known().unwrap()));
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
