//! How many records one busy core gets through, measured on the query's own batches.

use super::Batch;
use super::need::{MOST_RECORDS, milliseconds, whole};
use jiff::Timestamp;

/// Seconds for which a batch counts.
const RECENT_SECONDS: i64 = 1_800;

/// The newest batches that count.
const MOST_BATCHES: usize = 10;

/// Batches without which nothing is known.
const LEAST_BATCHES: usize = 3;

/// Batches that take less time are mostly overhead.
const LEAST_MS: i64 = 2_000;

/// Batches with fewer records per core are mostly overhead.
const LEAST_RECORDS_PER_CORE: i64 = 1_000;

/// Percent of the delay that is allowed which a batch must take to show that cores are slow. A shorter one may be
/// overhead for the most part; and where batches follow each other without a pause, each has as many records as came in
/// meanwhile, however fast the cores are.
const SLOW_PERCENT: i64 = 25;

/// How many times more or less than expected a rate may be before nobody believes it.
const PLAUSIBLE_FACTOR: i64 = 8;

/// Records per second that one core gets through: the mean of the newest batches, weighed by their records. A batch
/// that is soon over shows how fast cores are at least: where it seems slower than `expected`, it counts as that.
pub fn per_core(batches: &[Batch], (expected, delay_seconds): (i64, u32), now: Timestamp) -> Option<i64> {
    let slow_ms = i64::from(delay_seconds) * 10 * SLOW_PERCENT;
    let counts = |batch: &Batch| rate(batch, (expected, slow_ms), now);
    let mut counting: Vec<(i64, i64, i128)> = batches.iter().filter_map(counts).collect();
    counting.sort_unstable_by_key(|(id, ..)| std::cmp::Reverse(*id));
    counting.truncate(MOST_BATCHES);
    if counting.len() < LEAST_BATCHES {
        return None;
    }
    let records: i128 = counting.iter().map(|(_, records, _)| i128::from(*records)).sum();
    let weighted: i128 = counting.iter().map(|(_, records, rate)| rate * i128::from(*records)).sum();
    Some(whole(weighted / records.max(1)).max(1))
}

/// Number, records and records per second and core of a batch that counts.
fn rate(batch: &Batch, (expected, slow_ms): (i64, i64), now: Timestamp) -> Option<(i64, i64, i128)> {
    let Batch { id, records, started, committed, cores } = *batch;
    let (age, took) = (milliseconds(committed, now), milliseconds(started, committed));
    let counts = (0..=RECENT_SECONDS * 1000).contains(&age)
        && took >= LEAST_MS
        && cores > 0
        && (i64::from(cores) * LEAST_RECORDS_PER_CORE..=MOST_RECORDS).contains(&records);
    counts.then(|| {
        let speed = i128::from(records) * 1000 / (i128::from(took) * i128::from(cores));
        (id, records, if took >= slow_ms { speed } else { speed.max(i128::from(expected)) })
    })
}

/// Whether a measured rate is so far from the expected one that nobody believes it.
pub(super) fn is_implausible(measured: i64, expected: i64) -> bool {
    measured > expected.saturating_mul(PLAUSIBLE_FACTOR) || measured.saturating_mul(PLAUSIBLE_FACTOR) < expected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// The rate where hardly any is expected.
    fn measured(batches: &[Batch], now: Timestamp) -> Option<i64> {
        per_core(batches, (1, 300), now)
    }

    fn batch(id: i64, records: i64, (started, committed): (i64, i64)) -> Batch {
        Batch { id, records, started: at(started), committed: at(committed), cores: 4 }
    }

    #[test]
    fn batches_weigh_as_much_as_they_have_records() {
        let batches = [batch(1, 400_000, (0, 10)), batch(2, 400_000, (60, 70)), batch(3, 800_000, (120, 130))];
        assert_eq!(measured(&batches, at(130)), Some(15_000));
        assert_eq!(measured(&batches[..2], at(130)), None);
        assert_eq!(measured(&batches, at(10 + 1_801)), None, "the first is too old");
        assert_eq!(measured(&batches, at(129)), None, "the last is of the future");
    }

    #[test]
    fn batches_that_follow_each_other_show_what_comes_in_and_not_how_slow_cores_are() {
        let after = |id: i64, took: i64| {
            let span = (id * took, (id + 1) * took);
            Batch { cores: 21, ..batch(id, 20_000 * took, span) }
        };
        let batches: Vec<Batch> = (0..10).map(|id| after(id, 74)).collect();
        assert_eq!(per_core(&batches, (8_300, 300), at(740)), Some(8_300), "not 952");
        assert_eq!(per_core(&batches, (900, 300), at(740)), Some(952), "they are as fast as that at least");
        let long: Vec<Batch> = (0..10).map(|id| after(id, 75)).collect();
        assert_eq!(per_core(&long, (8_300, 300), at(750)), Some(952), "so long a batch is slow");
    }

    #[test]
    fn small_and_short_batches_and_those_nobody_counted_cores_of_say_nothing() {
        let good = [batch(1, 80_000, (0, 10)), batch(2, 80_000, (20, 30))];
        let short =
            Batch { committed: at(40) + jiff::SignedDuration::from_millis(1_999), ..batch(3, 80_000, (40, 50)) };
        for bad in [batch(3, 3_999, (40, 50)), short, Batch { cores: 0, ..good[0] }, batch(3, -9, (50, 40))] {
            assert_eq!(measured(&[good[0], good[1], bad], at(60)), None, "{bad:?}");
        }
        let more = [good[0], good[1], batch(3, 4_000, (40, 50)), batch(4, 3_999, (50, 60))];
        assert!(measured(&more, at(60)).is_some());
    }

    #[test]
    fn only_the_newest_ten_count_in_whatever_order() {
        let mut batches: Vec<Batch> = (0..10).map(|i| batch(i + 5, 80_000, (i * 20, i * 20 + 10))).collect();
        batches.push(batch(4, 80_000_000, (0, 10)));
        assert_eq!(measured(&batches, at(200)), Some(2_000));
        batches.reverse();
        assert_eq!(measured(&batches, at(200)), Some(2_000));
    }

    #[test]
    fn absurd_batches_do_not_overflow() {
        let huge = Batch { records: MOST_RECORDS, cores: 1, ..batch(1, 0, (0, 2)) };
        assert_eq!(measured(&[huge; 10], at(2)), Some(MOST_RECORDS / 2));
        assert_eq!(measured(&[Batch { records: i64::MAX, ..huge }; 10], at(2)), None);
        let slow = Batch { cores: i32::MAX, records: i64::from(i32::MAX) * 1_000, ..batch(1, 0, (0, 1_800)) };
        assert_eq!(measured(&[slow; 3], at(1_800)), Some(1), "never nothing");
        assert!(is_implausible(8 * 8_300 + 1, 8_300) && is_implausible(8_300 / 8 - 1, 8_300));
        assert!(!is_implausible(8 * 8_300, 8_300) && !is_implausible(1_038, 8_300));
        assert!(is_implausible(i64::MAX, 1) && is_implausible(1, i64::MAX) && !is_implausible(i64::MAX, i64::MAX));
    }
}
