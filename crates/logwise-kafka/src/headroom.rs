//! How much time is left until records expire that nobody has read: the age of the oldest unread record of each topic
//! against its retention.

use crate::controller::Context;
use crate::{KafkaClient, Look, sampling};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_runtime::Shell;
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

/// Why nothing is told of records that were read while it was not known which of them are unread.
const NOT_KNOWN: &str = "it was not known how far the query has read";

/// How long reading may take.
const READING: Duration = Duration::from_secs(10);

/// Reads the oldest unread records, if it is time, and tells the other parts.
pub(crate) async fn measure(client: &Arc<KafkaClient>, look: &Look, (uid, of): (&str, &Pipeline), context: &Context) {
    let (facts, taken) = (&context.shell.facts, Instant::now());
    let ends = match &look.ends {
        Known::Known(ends) => ends,
        Known::Unknown(why) => return tell_unread(&context.shell, uid, (why, taken)),
        Known::Absent => return,
    };
    let position = facts.position.read(uid, taken).known().map(|position| position.offsets.clone());
    let is_known = position.is_some();
    let period = if is_known { PERIODS.0 } else { PERIODS.1 };
    if !client.memory().headroom_is_due(uid, taken, (period, is_known)) {
        return;
    }
    let retention = retention(client, look);
    let unread = Unread::of(ends, &retention, position.as_ref(), |name| client.memory().earliest(name));
    let read = sampling::oldest_unread(client, &unread.asked, READING).await;
    let value = judge(ends, &retention, (&unread, &read), Timestamp::now());
    let ratios = value.values().filter_map(|headroom| headroom.known().map(Headroom::ratio));
    context.shell.metrics.retention_headroom(of, ratios.reduce(f64::min));
    context.shell.tell(&facts.headroom, uid, Fact { value: told(value, is_known), taken, period });
}

/// What the other parts are told: the oldest record of all says nothing about those that are unread.
fn told(headroom: BTreeMap<String, Known<Headroom>>, is_known: bool) -> Known<BTreeMap<String, Known<Headroom>>> {
    if is_known { Known::Known(headroom) } else { Known::Unknown(NOT_KNOWN.to_owned()) }
}

/// Tells the other parts why nothing is known of unread records, unless what was read of them last still counts.
pub(crate) fn tell_unread(shell: &Shell, uid: &str, (why, taken): (&str, Instant)) {
    let headroom = &shell.facts.headroom;
    if headroom.read(uid, taken).is_unknown() {
        shell.tell(headroom, uid, Fact { value: Known::Unknown(why.to_owned()), taken, period: PERIODS.0 });
    }
}

/// Retention by topic, in milliseconds; those without an end are left out.
fn retention(client: &KafkaClient, look: &Look) -> BTreeMap<String, Known<i64>> {
    let described = client.memory().descriptions(look);
    described.into_iter().map(|(name, description)| (name, description.retention_ms.clone())).collect()
}

/// Topic and partition.
type At = (String, i32);

/// What waits to be read.
#[derive(Debug, Default)]
struct Unread {
    /// Where to read one record each: partitions with unread records of topics whose records expire.
    asked: BTreeMap<At, i64>,
    /// Topics whose first records are gone although the query has not read them, and how many offsets.
    lost: BTreeMap<String, i64>,
    /// Topics of which it cannot be said, or that are too many, with the reason.
    left_out: BTreeMap<String, String>,
}

impl Unread {
    /// `position` is how far the query has read, and `first` are the first offsets of a topic, as far as each is known.
    /// First offsets may be some minutes old: then a loss is seen later. If the position is the older of the two, what was
    /// read right before it went counts as lost until the position is read again.
    fn of(
        ends: &TopicEnds,
        retention: &BTreeMap<String, Known<i64>>,
        position: Option<&Offsets>,
        first: impl Fn(&str) -> Option<BTreeMap<i32, i64>>,
    ) -> Self {
        let mut unread = Self::default();
        for (name, ends) in ends {
            let (read, first) = (position.and_then(|position| position.get(name)), first(name));
            if let (Some(read), Some(first), Known::Known(ends)) = (read, &first, ends) {
                let lost = lost(ends, read, first);
                if lost > 0 {
                    unread.lost.insert(name.clone(), lost);
                    continue;
                }
            }
            if !matches!(retention.get(name), Some(Known::Known(_))) {
                continue;
            }
            match (ends, read.or(first.as_ref())) {
                (Known::Known(ends), Some(next)) => unread.ask(name, behind(ends, next, first.as_ref())),
                _ => _ = unread.left_out.insert(name.clone(), "its offsets could not be read".to_owned()),
            }
        }
        unread
    }

    /// Asks for records of partitions that are `behind`, those with the most unread records first.
    fn ask(&mut self, name: &str, behind: Vec<(i64, i32, i64)>) {
        if !behind.is_empty() && self.asked.len() >= MOST {
            self.left_out.insert(name.to_owned(), format!("only {MOST} partitions are read in one look"));
            return;
        }
        let asked = behind.into_iter().take(OF_TOPIC);
        self.asked.extend(asked.map(|(_, partition, next)| ((name.to_owned(), partition), next)));
    }
}

/// Offsets that were not read and lie before the first record of their partition.
fn lost(ends: &BTreeMap<i32, i64>, read: &BTreeMap<i32, i64>, first: &BTreeMap<i32, i64>) -> i64 {
    let each = ends.iter().filter_map(|(partition, end)| {
        // Of a topic that was made anew the first offset may be that of the old one.
        let first = *first.get(partition)?.min(end);
        Some(first.saturating_sub(*read.get(partition)?).max(0))
    });
    each.fold(0, i64::saturating_add)
}

/// Partitions with unread records, those with the most of them first: how many, which, and where they begin.
fn behind(
    ends: &BTreeMap<i32, i64>,
    next: &BTreeMap<i32, i64>,
    first: Option<&BTreeMap<i32, i64>>,
) -> Vec<(i64, i32, i64)> {
    // A partition that the query does not know yet is read from its begin.
    let begin = |partition: &i32| first.and_then(|first| first.get(partition));
    let each = ends.iter().map(|(partition, end)| {
        let next = next.get(partition).or_else(|| begin(partition)).copied().unwrap_or(0);
        (end.saturating_sub(next), *partition, next)
    });
    let mut behind: Vec<(i64, i32, i64)> = each.filter(|(unread, ..)| *unread > 0).collect();
    behind.sort_unstable_by(|a, b| b.cmp(a));
    behind
}

/// The headroom of each topic: unknown where a record could not be read, absent where nothing waits or nothing expires.
fn judge(
    ends: &TopicEnds,
    retention: &BTreeMap<String, Known<i64>>,
    (unread, read): (&Unread, &BTreeMap<At, Known<i64>>),
    now: Timestamp,
) -> BTreeMap<String, Known<Headroom>> {
    let of = |name: &String| -> Known<Headroom> {
        if let Some(offsets) = unread.lost.get(name) {
            let retention_ms = retention.get(name).and_then(|retention| retention.known().copied());
            return Known::Known(Headroom::Lost { offsets: *offsets, retention_ms });
        }
        if let Some(why) = unread.left_out.get(name) {
            return Known::Unknown(why.clone());
        }
        let retention_ms = match retention.get(name) {
            Some(Known::Known(retention)) => *retention,
            Some(Known::Absent) => return Known::Absent,
            Some(Known::Unknown(why)) => return Known::Unknown(why.clone()),
            None => return Known::Unknown("its retention was not read yet".to_owned()),
        };
        let partitions = unread.asked.keys().filter(|(topic, _)| topic == name);
        let mut oldest: Option<i64> = None;
        for partition in partitions {
            match read.get(partition) {
                Some(Known::Known(at)) => oldest = Some(oldest.map_or(*at, |oldest| oldest.min(*at))),
                Some(Known::Absent) => {}
                Some(Known::Unknown(why)) => return Known::Unknown(why.clone()),
                None => return Known::Unknown("no answer".to_owned()),
            }
        }
        // A record may be of the future by this clock: it is new.
        let age_ms = |at: i64| now.as_millisecond().saturating_sub(at).max(0);
        oldest.map_or(Known::Absent, |at| Known::Known(Headroom::Left { age_ms: age_ms(at), retention_ms }))
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

    fn offsets(of: &[(&str, &[i64])]) -> Offsets {
        of.iter().map(|(name, of)| ((*name).to_owned(), (0..).zip(of.iter().copied()).collect())).collect()
    }

    fn at(name: &str, partition: i32) -> At {
        (name.to_owned(), partition)
    }

    const NOW: i64 = 7_000;

    fn judged(ends: &TopicEnds, unread: &Unread, read: &[(At, Known<i64>)]) -> BTreeMap<String, Known<Headroom>> {
        let mut retention = names(&[("a", 10_000), ("b", 10_000), ("c", 10_000)]);
        retention.insert("ever".into(), Known::Absent);
        let read: BTreeMap<At, Known<i64>> = read.iter().cloned().collect();
        judge(ends, &retention, (unread, &read), Timestamp::from_millisecond(NOW).unwrap())
    }

    #[test]
    fn the_partitions_that_are_furthest_behind_are_read() {
        let ends = ends(&[("a", &[10, 100, 20, 30, 40, 5]), ("rests", &[7])]);
        let retention = names(&[("a", 1_000), ("rests", 1_000)]);
        let position = offsets(&[("a", &[9, 0, 0, 0, 0, 5]), ("rests", &[7])]);
        let unread = Unread::of(&ends, &retention, Some(&position), |_| None);
        let partitions: Vec<i32> = unread.asked.keys().map(|(_, partition)| *partition).collect();
        assert_eq!(partitions, [1, 2, 3, 4], "four of a topic, and none of which everything was read");
        assert!(unread.left_out.is_empty() && unread.lost.is_empty());
        let unread = Unread::of(&ends, &retention, None, |_| None);
        assert_eq!((unread.asked.len(), unread.left_out.len()), (0, 2), "not known is not nothing");
    }

    #[test]
    fn what_is_gone_unread_is_lost_and_not_as_old_as_the_oldest_record_that_is_left() {
        let ends = ends(&[("a", &[100, 100]), ("b", &[100, 100]), ("ever", &[9]), ("c", &[10])]);
        let retention = names(&[("a", 10_000), ("b", 10_000), ("c", 10_000)]);
        let position = offsets(&[("a", &[40, 60]), ("b", &[50]), ("ever", &[3]), ("c", &[900])]);
        let first = offsets(&[("a", &[50, 50]), ("b", &[50, 70]), ("ever", &[9]), ("c", &[1_000])]);
        let unread = Unread::of(&ends, &retention, Some(&position), |name| first.get(name).cloned());
        assert_eq!(unread.lost, BTreeMap::from([("a".to_owned(), 10), ("ever".to_owned(), 6)]));
        let asked = BTreeMap::from([(at("b", 0), 50), (at("b", 1), 70)]);
        assert_eq!(unread.asked, asked, "a partition that the query does not know is read from its begin");
        let read = [(at("b", 0), Known::Known(NOW)), (at("b", 1), Known::Known(NOW))];
        let found = judged(&ends, &unread, &read);
        assert_eq!(found["a"], Known::Known(Headroom::Lost { offsets: 10, retention_ms: Some(10_000) }));
        let ever = Headroom::Lost { offsets: 6, retention_ms: None };
        assert_eq!(found["ever"], Known::Known(ever), "not for its age, but gone");
        assert_eq!(found["c"], Known::Absent, "made anew: the first offset is that of the topic before");
        let ratio = |name: &str| found[name].known().unwrap().ratio();
        assert!(ratio("a") <= 0.0 && ratio("b") >= 1.0);
        let unknown = Unread::of(&ends, &retention, None, |name| first.get(name).cloned());
        assert!(unknown.lost.is_empty(), "nobody knows what was read");
    }

    #[test]
    fn what_could_not_be_read_is_unknown_and_what_waits_for_nothing_absent() {
        let ends = ends(&[("a", &[10, 10]), ("b", &[10]), ("c", &[1]), ("ever", &[1])]);
        let asked = BTreeMap::from([(at("a", 0), 1), (at("a", 1), 1), (at("b", 0), 1)]);
        let read = [
            (at("a", 0), Known::Known(4_000)),
            (at("a", 1), Known::Known(2_000)),
            (at("b", 0), Known::Unknown("denied".to_owned())),
        ];
        let found = judged(&ends, &Unread { asked, ..Unread::default() }, &read);
        let headroom = Headroom::Left { age_ms: 5_000, retention_ms: 10_000 };
        assert_eq!(found["a"], Known::Known(headroom));
        assert!((headroom.ratio() - 0.5).abs() < 1e-9);
        assert_eq!(
            (&found["b"], &found["c"], &found["ever"]),
            (&Known::Unknown("denied".into()), &Known::Absent, &Known::Absent)
        );
    }

    #[test]
    fn what_was_read_without_the_querys_position_is_not_told() {
        let headroom =
            BTreeMap::from([("a".to_owned(), Known::Known(Headroom::Lost { offsets: 1, retention_ms: None }))]);
        assert_eq!(told(headroom.clone(), false), Known::Unknown(NOT_KNOWN.into()));
        assert_eq!(told(headroom.clone(), true), Known::Known(headroom));
    }

    #[test]
    fn a_record_of_the_future_is_new() {
        let ends = ends(&[("a", &[10])]);
        let unread = Unread { asked: BTreeMap::from([(at("a", 0), 1)]), ..Unread::default() };
        for later in [NOW + 1, i64::MAX] {
            let found = judged(&ends, &unread, &[(at("a", 0), Known::Known(later))]);
            assert_eq!(found["a"], Known::Known(Headroom::Left { age_ms: 0, retention_ms: 10_000 }));
        }
    }
}
