//! How much time is left until records expire that nobody has read: the age of the oldest unread record of each topic
//! against its retention.

use crate::controller::Context;
use crate::{KafkaClient, Look, sampling};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_runtime::facts::{Fact, Headroom, Offsets, TopicEnds};
use logwise_runtime::metrics::Pipeline;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Partitions of which a record is read in one look.
const MOST: usize = 200;

/// Partitions of one topic: those with the most unread records.
const OF_TOPIC: usize = 4;

/// How often records are read while it is known how far the query has read, and while it is not: then the oldest record
/// of all is read, which tells less.
const PERIODS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// How long reading may take.
const READING: Duration = Duration::from_secs(10);

/// Reads the oldest unread records, if it is time, and tells the other parts.
pub(crate) async fn measure(client: &Arc<KafkaClient>, look: &Look, (uid, of): (&str, &Pipeline), context: &Context) {
    let (facts, taken) = (&context.shell.facts, Instant::now());
    let position = facts.position.read(uid, taken).known().map(|position| position.offsets.clone());
    let period = if position.is_some() { PERIODS.0 } else { PERIODS.1 };
    if !client.memory().headroom_is_due(uid, taken, period) {
        return;
    }
    let Known::Known(ends) = &look.ends else { return };
    let retention = retention(client, look);
    let oldest = |name: &String| client.memory().earliest(name);
    let next = |name: &String| position_of(position.as_ref(), name).or_else(|| oldest(name));
    let (asked, left_out) = unread(ends, &retention, next);
    let read = sampling::oldest_unread(client, &asked, READING).await;
    let mut value = judge(ends, &retention, (&asked, &read), Timestamp::now());
    value.extend(left_out.into_iter().map(|(name, why)| (name, Known::Unknown(why))));
    let ratios = value.values().filter_map(|headroom| headroom.known().map(Headroom::ratio));
    context.shell.metrics.retention_headroom(of, ratios.reduce(f64::min));
    context.shell.tell(&facts.headroom, uid, Fact { value: Known::Known(value), taken, period });
}

fn position_of(position: Option<&Offsets>, topic: &str) -> Option<BTreeMap<i32, i64>> {
    position?.get(topic).cloned()
}

/// Retention by topic, in milliseconds; those without an end are left out.
fn retention(client: &KafkaClient, look: &Look) -> BTreeMap<String, Known<i64>> {
    let described = client.memory().descriptions(look);
    described.into_iter().map(|(name, description)| (name, description.retention_ms.clone())).collect()
}

/// Where to read one record each: partitions with unread records of topics whose records expire; and topics of which it
/// cannot be said, or that are too many, with the reason.
fn unread(
    ends: &TopicEnds,
    retention: &BTreeMap<String, Known<i64>>,
    next: impl Fn(&String) -> Option<BTreeMap<i32, i64>>,
) -> (BTreeMap<(String, i32), i64>, BTreeMap<String, String>) {
    let (mut asked, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    for (name, ends) in ends {
        if !matches!(retention.get(name), Some(Known::Known(_))) {
            continue;
        }
        let (Known::Known(ends), Some(next)) = (ends, next(name)) else {
            left_out.insert(name.clone(), "its offsets could not be read".to_owned());
            continue;
        };
        let mut behind: Vec<(i64, i32, i64)> = ends
            .iter()
            // A partition that the query does not know yet is read from its begin.
            .map(|(partition, end)| (*partition, *end, next.get(partition).copied().unwrap_or(0)))
            .filter(|(_, end, next)| next < end)
            .map(|(partition, end, next)| (end.saturating_sub(next), partition, next))
            .collect();
        behind.sort_unstable_by(|a, b| b.cmp(a));
        if !behind.is_empty() && asked.len() >= MOST {
            left_out.insert(name.clone(), format!("only {MOST} partitions are read in one look"));
            continue;
        }
        asked.extend(behind.into_iter().take(OF_TOPIC).map(|(_, partition, next)| ((name.clone(), partition), next)));
    }
    (asked, left_out)
}

type Asked<'a> = (&'a BTreeMap<(String, i32), i64>, &'a BTreeMap<(String, i32), Known<i64>>);

/// The headroom of each topic: unknown where a record could not be read, absent where nothing waits or nothing expires.
fn judge(
    ends: &TopicEnds,
    retention: &BTreeMap<String, Known<i64>>,
    (asked, read): Asked<'_>,
    now: Timestamp,
) -> BTreeMap<String, Known<Headroom>> {
    let of = |name: &String| -> Known<Headroom> {
        let retention_ms = match retention.get(name) {
            Some(Known::Known(retention)) => *retention,
            Some(Known::Absent) => return Known::Absent,
            Some(Known::Unknown(why)) => return Known::Unknown(why.clone()),
            None => return Known::Unknown("its retention was not read yet".to_owned()),
        };
        let partitions = asked.keys().filter(|(topic, _)| topic == name);
        let mut oldest: Option<i64> = None;
        for partition in partitions {
            match read.get(partition) {
                Some(Known::Known(at)) => oldest = Some(oldest.map_or(*at, |oldest| oldest.min(*at))),
                Some(Known::Absent) => {}
                Some(Known::Unknown(why)) => return Known::Unknown(why.clone()),
                None => return Known::Unknown("no answer".to_owned()),
            }
        }
        let age = |at: i64| now.as_millisecond().saturating_sub(at).max(0);
        oldest.map_or(Known::Absent, |at| Known::Known(Headroom { age_ms: age(at), retention_ms }))
    };
    ends.keys().map(|name| (name.clone(), of(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[(&str, i64)]) -> BTreeMap<String, Known<i64>> {
        of.iter().map(|(name, ms)| ((*name).to_owned(), Known::Known(*ms))).collect()
    }

    fn ends(of: &[(&str, &[i64])]) -> TopicEnds {
        let each = |ends: &[i64]| Known::Known((0..).zip(ends.iter().copied()).collect());
        of.iter().map(|(name, ends)| ((*name).to_owned(), each(ends))).collect()
    }

    #[test]
    fn the_partitions_that_are_furthest_behind_are_read() {
        let ends = ends(&[("a", &[10, 100, 20, 30, 40, 5]), ("rests", &[7])]);
        let retention = names(&[("a", 1_000), ("rests", 1_000)]);
        let next = |name: &String| Some(if name == "rests" { [(0, 7)].into() } else { [(0, 9), (5, 5)].into() });
        let (asked, left_out) = unread(&ends, &retention, next);
        let partitions: Vec<i32> = asked.keys().map(|(_, partition)| *partition).collect();
        assert_eq!(partitions, [1, 2, 3, 4], "four of a topic, and none of which everything was read");
        assert!(left_out.is_empty());
        let (asked, left_out) = unread(&ends, &retention, |_| None);
        assert_eq!((asked.len(), left_out.len()), (0, 2), "not known is not nothing");
    }

    #[test]
    fn what_could_not_be_read_is_unknown_and_what_waits_for_nothing_absent() {
        let ends = ends(&[("a", &[10, 10]), ("b", &[10]), ("c", &[1]), ("ever", &[1])]);
        let mut retention = names(&[("a", 10_000), ("b", 10_000), ("c", 10_000)]);
        retention.insert("ever".into(), Known::Absent);
        let at = |name: &str, partition| (name.to_owned(), partition);
        let asked = BTreeMap::from([(at("a", 0), 1), (at("a", 1), 1), (at("b", 0), 1)]);
        let read = BTreeMap::from([
            (at("a", 0), Known::Known(4_000)),
            (at("a", 1), Known::Known(2_000)),
            (at("b", 0), Known::Unknown("denied".to_owned())),
        ]);
        let found = judge(&ends, &retention, (&asked, &read), Timestamp::from_millisecond(7_000).unwrap());
        let headroom = Headroom { age_ms: 5_000, retention_ms: 10_000 };
        assert_eq!(found["a"], Known::Known(headroom));
        assert!((headroom.ratio() - 0.5).abs() < 1e-9);
        assert_eq!(
            (&found["b"], &found["c"], &found["ever"]),
            (&Known::Unknown("denied".into()), &Known::Absent, &Known::Absent)
        );
    }
}
