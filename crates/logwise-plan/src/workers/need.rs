//! How many records come in, and how many were not read.

use super::Sample;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Seconds over which the rate is measured.
const WINDOW_SECONDS: i64 = 600;

/// Seconds in which a rise shows that the longer window does not show yet.
const RISE_SECONDS: i64 = 180;

/// Samples without which there is no rate.
const MIN_SAMPLES: usize = 5;

/// Seconds that the newest sample may be old in any case: Kafka may be looked at more rarely than Spark.
const YOUNG_SECONDS: i64 = 120;

/// More than any number of records can be: a thousand million a second for three years.
pub(super) const MOST_RECORDS: i64 = 100_000_000_000_000_000;

/// More records per second than can come in.
const MOST_PER_SECOND: i128 = 1_000_000_000;

/// Why there is no rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "reason")]
pub enum RateUnknown {
    /// There are not enough samples yet.
    TooFewSamples {
        /// Samples in the window.
        samples: usize,
        /// Samples that are needed.
        needed: usize,
    },
    /// No sample was taken for too long.
    TooOld {
        /// Age of the newest.
        age_seconds: i64,
        /// How old it may be.
        most_seconds: i64,
    },
    /// What was measured became something else, and there are not enough samples since.
    Reset {
        /// Why.
        why: Reset,
    },
}

/// How it shows that what was measured became something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reset {
    /// The query has read less than before: its checkpoint is another one.
    BatchWentBack,
    /// End offsets fell: a topic was deleted or made anew.
    OffsetsFell,
    /// The query has another id. Found out by those who keep the samples.
    OtherQuery,
}

impl fmt::Display for RateUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewSamples { samples, needed } => write!(f, "{samples} of {needed} samples so far"),
            Self::TooOld { age_seconds, most_seconds } => {
                write!(f, "no sample for {age_seconds} s, more than {most_seconds} s")
            }
            Self::Reset { why: Reset::BatchWentBack } => f.write_str("the query has read less than before"),
            Self::Reset { why: Reset::OffsetsFell } => f.write_str("end offsets fell"),
            Self::Reset { why: Reset::OtherQuery } => f.write_str("the query has another id"),
        }
    }
}

/// Records per second that come in, rounded up: the mean over the last ten minutes, or over the last three if that is
/// higher, so that a rise is seen in time. No percentile: what bursts leave behind is counted as unread.
pub fn incoming(samples: &[Sample], look_period_seconds: u32, now: Timestamp) -> Result<i64, RateUnknown> {
    let within: Vec<&Sample> = within(samples, now).collect();
    let (kept, reset) = since_reset(&within);
    let newest = match kept.last() {
        Some(newest) if kept.len() >= MIN_SAMPLES => newest,
        _ => {
            let too_few = RateUnknown::TooFewSamples { samples: kept.len(), needed: MIN_SAMPLES };
            return Err(reset.map_or(too_few, |why| RateUnknown::Reset { why }));
        }
    };
    let age_seconds = milliseconds(newest.at, now) / 1000;
    let most_seconds = i64::from(look_period_seconds).saturating_mul(3).max(YOUNG_SECONDS);
    if age_seconds > most_seconds {
        return Err(RateUnknown::TooOld { age_seconds, most_seconds });
    }
    let old = kept.iter().take_while(|sample| milliseconds(sample.at, now) > RISE_SECONDS * 1000).count();
    let recent = kept.get(old..).and_then(mean);
    let long = mean(kept).ok_or(RateUnknown::TooFewSamples { samples: 0, needed: MIN_SAMPLES })?;
    Ok(recent.map_or(long, |recent| recent.max(long)))
}

/// Records per second from the first to the last sample, leaving out what two clocks tell.
fn mean(samples: &[&Sample]) -> Option<i64> {
    let (mut records, mut time) = (0i128, 0i128);
    for (from, to) in samples.iter().zip(samples.iter().skip(1)).filter(|(_, to)| !to.other_clock) {
        records += i128::from(to.ends) - i128::from(from.ends);
        time += i128::from(milliseconds(from.at, to.at));
    }
    (time > 0).then(|| whole(div_up(records.max(0) * 1000, time)))
}

/// Records that were not read, by the newest sample; those that seem to be read and not there are none.
pub(super) fn backlog(samples: &[Sample], now: Timestamp) -> i64 {
    within(samples, now).last().map_or(0, |newest| newest.ends.saturating_sub(newest.read).max(0))
}

/// What about the samples of the window cannot be, if anything.
pub(super) fn implausible(samples: &[Sample], now: Timestamp) -> Option<String> {
    let within: Vec<&Sample> = within(samples, now).collect();
    let alone = within.iter().find_map(|sample| {
        let Sample { ends, read, .. } = **sample;
        if !(0..=MOST_RECORDS).contains(&ends) || !(0..=MOST_RECORDS).contains(&read) {
            return Some(format!("offsets of {ends} written and {read} read"));
        }
        let beyond = (i128::from(read) - i128::from(ends)) * 100 > i128::from(ends);
        beyond.then(|| format!("{read} records read of {ends}"))
    });
    alone.or_else(|| {
        let mut pairs = within.iter().zip(within.iter().skip(1)).filter(|(_, to)| !to.other_clock);
        pairs.find_map(|(from, to)| {
            let time = milliseconds(from.at, to.at);
            if time < 0 {
                return Some(format!("time went back from {} to {}", from.at, to.at));
            }
            let records = i128::from(to.ends) - i128::from(from.ends);
            let too_many = records * 1000 > i128::from(time) * MOST_PER_SECOND;
            too_many.then(|| format!("{records} records within {time} ms"))
        })
    })
}

/// Samples of the last ten minutes; none of the future.
fn within(samples: &[Sample], now: Timestamp) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |sample| (0..=WINDOW_SECONDS * 1000).contains(&milliseconds(sample.at, now)))
}

/// The samples since numbers last fell that never fall, and why they did.
fn since_reset<'a>(samples: &'a [&'a Sample]) -> (&'a [&'a Sample], Option<Reset>) {
    let fell = samples.windows(2).enumerate().rev().find_map(|(place, pair)| match pair {
        [_, to] if to.other_clock => None,
        [from, to] if to.ends < from.ends => Some((place + 1, Reset::OffsetsFell)),
        [from, to] if to.read < from.read => Some((place + 1, Reset::BatchWentBack)),
        _ => None,
    });
    match fell {
        Some((place, why)) => (samples.get(place..).unwrap_or_default(), Some(why)),
        None => (samples, None),
    }
}

/// Milliseconds from `then` to `now`; negative if `then` is later.
pub(super) fn milliseconds(then: Timestamp, now: Timestamp) -> i64 {
    now.as_millisecond().saturating_sub(then.as_millisecond())
}

/// Rounded up; the number not negative, the divisor positive.
pub(super) fn div_up(number: i128, by: i128) -> i128 {
    number / by + i128::from(number % by != 0)
}

/// As a number of records or seconds, at most the greatest there is.
pub(super) fn whole(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn samples(all: &[(i64, i64, i64)]) -> Vec<Sample> {
        let sample = |(second, ends, read): &(i64, i64, i64)| Sample {
            at: at(*second),
            ends: *ends,
            read: *read,
            other_clock: false,
        };
        all.iter().map(sample).collect()
    }

    fn steady(number: i64) -> Vec<Sample> {
        samples(&(0..number).map(|i| (i * 60, 1_000 + i * 600, i * 500)).collect::<Vec<_>>())
    }

    #[test]
    fn the_rate_is_the_mean_over_ten_minutes_or_the_last_three() {
        assert_eq!(incoming(&steady(11), 30, at(600)), Ok(10));
        assert_eq!(backlog(&steady(11), at(600)), 2_000);
        let burst = samples(&[(0, 0, 0), (60, 0, 0), (120, 6_001, 0), (180, 6_001, 0), (240, 6_001, 0)]);
        assert_eq!(incoming(&burst, 30, at(240)), Ok(34), "of the last three, rounded up");
        assert_eq!(incoming(&burst, 30, at(301)), Ok(26), "of all: the last three show no rise any more");
        assert_eq!(incoming(&steady(30), 30, at(29 * 60)), Ok(10), "older ones do not count");
    }

    #[test]
    fn without_enough_young_samples_there_is_no_rate() {
        let few = RateUnknown::TooFewSamples { samples: 4, needed: 5 };
        assert_eq!(incoming(&steady(4), 30, at(180)), Err(few));
        let old = RateUnknown::TooOld { age_seconds: 121, most_seconds: 120 };
        assert_eq!(incoming(&steady(5), 30, at(361)), Err(old));
        assert_eq!(incoming(&steady(5), 30, at(360)), Ok(10));
        assert_eq!(incoming(&steady(5), 60, at(361)), Ok(10), "whoever looks rarely waits longer");
        let none = RateUnknown::TooFewSamples { samples: 0, needed: 5 };
        assert_eq!(incoming(&[], 30, at(0)), Err(none.clone()));
        assert_eq!(incoming(&steady(9), 30, at(-1)), Err(none), "nor do those of the future");
    }

    #[test]
    fn what_became_something_else_is_measured_anew() {
        let mut fell = steady(6);
        fell.extend(samples(&[(360, 5, 0), (420, 605, 0)]));
        assert_eq!(incoming(&fell, 30, at(420)), Err(RateUnknown::Reset { why: Reset::OffsetsFell }));
        fell.extend(samples(&[(480, 1_205, 0), (540, 1_805, 0), (600, 2_405, 0)]));
        assert_eq!(incoming(&fell, 30, at(600)), Ok(10), "five samples are enough again");
        let mut back = steady(5);
        back.extend(samples(&[(300, 9_000, 7)]));
        assert_eq!(incoming(&back, 30, at(300)), Err(RateUnknown::Reset { why: Reset::BatchWentBack }));
    }

    #[test]
    fn two_clocks_make_no_rate() {
        let mut all = steady(5);
        all.iter_mut().for_each(|sample| sample.other_clock = true);
        assert_eq!(incoming(&all, 30, at(240)), Err(RateUnknown::TooFewSamples { samples: 0, needed: 5 }));
        let mut jump = samples(&[(300, 900_000_000_000, 0)]);
        jump[0].other_clock = true;
        let mut all = steady(5);
        all.append(&mut jump);
        assert_eq!((incoming(&all, 30, at(300)), implausible(&all, at(300))), (Ok(10), None));
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(implausible(&steady(5), at(240)), None);
        let hundredth = samples(&[(0, 1_000, 1_010)]);
        assert_eq!(implausible(&hundredth, at(0)), None, "the two are not read at the same moment");
        for (what, bad) in [
            ("read of", samples(&[(0, 1_000, 1_011)])),
            ("read of", samples(&[(0, 0, 1)])),
            ("offsets of -1", samples(&[(0, -1, 0)])),
            ("-5 read", samples(&[(0, 1, -5)])),
            ("offsets of", samples(&[(0, 1_000_000_000_000_000_000, 0)])),
            ("offsets of", samples(&[(0, i64::MAX, i64::MIN)])),
            ("time went back", samples(&[(10, 1, 0), (9, 2, 0)])),
            ("records within", samples(&[(0, 1, 0), (1, 2_000_000_000, 0)])),
            ("records within 0 ms", samples(&[(0, 1, 0), (0, 2, 0)])),
        ] {
            let found = implausible(&bad, at(20)).unwrap_or_default();
            assert!(found.contains(what), "{what}: {found:?}");
        }
    }

    #[test]
    fn absurd_samples_do_not_overflow() {
        let all: Vec<_> = [i64::MIN, i64::MAX, 0, i64::MAX, i64::MAX, i64::MAX, i64::MAX, i64::MAX]
            .iter()
            .zip(0..)
            .map(|(ends, i)| (i, *ends, i64::MIN))
            .collect();
        let all = samples(&all);
        assert_eq!(backlog(&all, at(7)), i64::MAX);
        assert!(incoming(&all, u32::MAX, at(7)).is_ok());
    }
}
