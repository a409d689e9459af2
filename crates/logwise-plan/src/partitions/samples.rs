//! Samples of end offsets over time, and the rate that follows from them.

use super::Scaling;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Samples without which there is no rate.
const MIN_SAMPLES: usize = 5;

/// Steps of a window, in each of which one sample is kept: with ten thousand topics each costs a third of a megabyte.
const MAX_SAMPLES: i64 = 60;

/// The rate is this percentile of the slopes in the window.
const PERCENTILE: usize = 95;

/// End offsets of one topic at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When the look began that read them.
    pub at: Timestamp,
    /// Partitions that were added up: all of the topic.
    pub partitions: i32,
    /// Sum of their end offsets, in records.
    pub end_offsets: i64,
    /// Whether its time was told by another clock than that of the sample before: no rate follows from the two.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_clock: bool,
}

/// Why the samples of a topic were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reset {
    /// The topic has another id: it was deleted and created again.
    OtherTopic,
    /// The sum of the end offsets fell.
    OffsetsFell,
    /// The topic has fewer partitions.
    PartitionsFell,
}

/// The samples of one topic, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Id of the topic, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The samples.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub samples: VecDeque<Sample>,
    /// Why and when samples were dropped last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<(Reset, Timestamp)>,
}

impl Window {
    /// Takes one more sample and lets those go that are older than `seconds`. One that contradicts the others, since the
    /// topic is another one, drops them. One that is not newer than the last is left out, and so is one that comes so soon
    /// after it that the window would hold more than 60.
    pub fn record(&mut self, sample: Sample, seconds: u32) {
        if sample.other_clock && self.samples.back().is_some_and(|last| sample.at <= last.at) {
            // Samples that lie in the future by the present clock would keep all new ones out.
            self.samples.clear();
        }
        if let Some(last) = self.samples.back() {
            if sample.at <= last.at {
                return;
            }
            let why = if sample.partitions < last.partitions {
                Some(Reset::PartitionsFell)
            } else {
                (sample.end_offsets < last.end_offsets).then_some(Reset::OffsetsFell)
            };
            let step = i64::from(seconds) * 1000 / MAX_SAMPLES;
            match why {
                Some(why) => self.drop_all(why, sample.at),
                None if age_ms(last.at, sample.at) < step && !sample.other_clock => return,
                None => {}
            }
        }
        self.samples.push_back(sample);
        while self.samples.front().is_some_and(|first| age_ms(first.at, sample.at) > i64::from(seconds) * 1000) {
            self.samples.pop_front();
        }
    }

    /// Says which topic it is; another one than before drops the samples.
    pub fn identify(&mut self, topic_id: &str, now: Timestamp) {
        if self.topic_id.as_deref().is_some_and(|known| known != topic_id) {
            self.drop_all(Reset::OtherTopic, now);
        }
        self.topic_id = Some(topic_id.to_owned());
    }

    /// Drops the samples: they say nothing about what comes.
    pub fn drop_all(&mut self, why: Reset, at: Timestamp) {
        self.samples.clear();
        self.reset = Some((why, at));
    }
}

/// A shared window is written as the window itself.
pub(super) mod shared {
    use super::Window;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(in super::super) fn serialize<S: Serializer>(window: &Arc<Window>, to: S) -> Result<S::Ok, S::Error> {
        window.as_ref().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Window>, D::Error> {
        Window::deserialize(from).map(Arc::new)
    }
}

/// Why there is no rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum RateUnknown {
    /// The window does not hold enough samples yet.
    TooFewSamples {
        /// Samples in the window.
        samples: usize,
        /// Samples that are needed.
        needed: usize,
    },
    /// The samples were dropped and there are not enough new ones yet.
    WindowReset {
        /// Why they were dropped.
        why: Reset,
        /// Samples since.
        samples: usize,
        /// Samples that are needed.
        needed: usize,
    },
    /// The newest sample is too old.
    #[serde(rename_all = "camelCase")]
    TooOld {
        /// Its age.
        age_seconds: i64,
        /// The greatest age that counts.
        most_seconds: i64,
    },
}

/// Whether a window holds the samples that a rate takes, at one look per period.
pub(super) fn fit(window_seconds: u32, period_seconds: u32) -> bool {
    let looks = u64::try_from(MIN_SAMPLES).unwrap_or(u64::MAX).saturating_sub(1);
    u64::from(period_seconds).saturating_mul(looks) <= u64::from(window_seconds)
}

/// Records per second, rounded up: the 95th percentile of the slopes between one sample and the next in the window.
///
/// # Errors
/// Why no rate is known.
pub fn rate(window: &Window, scaling: &Scaling, look_period_seconds: u32, now: Timestamp) -> Result<i64, RateUnknown> {
    let most_ms = i64::from(scaling.window_seconds) * 1000;
    let (oldest, newest) = (now.as_millisecond().saturating_sub(most_ms), now.as_millisecond());
    let within = || window.samples.iter().filter(|sample| (oldest..=newest).contains(&sample.at.as_millisecond()));
    let (number, needed) = (within().count(), MIN_SAMPLES);
    let too_few = || match window.reset {
        Some((why, at)) if (0..=most_ms).contains(&age_ms(at, now)) => {
            RateUnknown::WindowReset { why, samples: number, needed }
        }
        _ => RateUnknown::TooFewSamples { samples: number, needed },
    };
    let newest = match within().next_back() {
        Some(newest) if number >= needed => newest,
        _ => return Err(too_few()),
    };
    // A look may come late, or fail once, or come too soon after the last sample.
    let steps = i64::from(scaling.window_seconds) / MAX_SAMPLES * 2;
    let most_seconds = i64::from(look_period_seconds).saturating_mul(3).max(steps);
    let age_seconds = age_ms(newest.at, now) / 1000;
    if age_seconds > most_seconds {
        return Err(RateUnknown::TooOld { age_seconds, most_seconds });
    }
    let mut slopes: Vec<i64> = within().zip(within().skip(1)).filter_map(|(from, to)| slope(from, to)).collect();
    let rank = (slopes.len() * PERCENTILE).div_ceil(100).saturating_sub(1);
    if slopes.is_empty() {
        return Err(too_few());
    }
    Ok(*slopes.select_nth_unstable(rank).1)
}

/// Records per second between two samples, rounded up; none if time or records run backwards, or if the times were told by
/// two clocks.
fn slope(from: &Sample, to: &Sample) -> Option<i64> {
    if to.other_clock {
        return None;
    }
    let milliseconds = age_ms(from.at, to.at);
    if milliseconds <= 0 || to.end_offsets < from.end_offsets {
        return None;
    }
    let records = to.end_offsets.checked_sub(from.end_offsets);
    if let Some(most) = records.and_then(|records| records.checked_mul(1000)?.checked_add(milliseconds - 1)) {
        return Some(most / milliseconds);
    }
    // Too many for the fast way.
    let (records, milliseconds) = (i128::from(to.end_offsets) - i128::from(from.end_offsets), i128::from(milliseconds));
    let per_second = (records * 1000 + milliseconds - 1) / milliseconds;
    Some(i64::try_from(per_second).unwrap_or(i64::MAX))
}

/// Milliseconds from `then` to `now`; negative if `then` is later.
fn age_ms(then: Timestamp, now: Timestamp) -> i64 {
    now.as_millisecond().saturating_sub(then.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn window(sums: &[(i64, i64)]) -> Window {
        let mut window = Window::default();
        for (second, end_offsets) in sums {
            window
                .record(Sample { at: at(*second), partitions: 3, end_offsets: *end_offsets, other_clock: false }, 600);
        }
        window
    }

    fn of(window: &Window, second: i64) -> Result<i64, RateUnknown> {
        rate(window, &Scaling::default(), 30, at(second))
    }

    #[test]
    fn the_rate_is_a_high_percentile_of_the_slopes() {
        let steady = window(&[(0, 0), (30, 300), (60, 600), (90, 900), (120, 1_200)]);
        assert_eq!(of(&steady, 120), Ok(10));
        let bursts = window(&[(0, 0), (30, 0), (60, 3_001), (90, 3_001), (120, 3_001)]);
        assert_eq!(of(&bursts, 121), Ok(101), "rounded up");
        let many: Vec<(i64, i64)> = (0..20).map(|i| (i * 30, if i == 7 { 210 + 9_000 } else { i * 30 })).collect();
        let mut many = many;
        many.iter_mut().skip(8).for_each(|(_, sum)| *sum += 9_000);
        assert_eq!(of(&window(&many), 570), Ok(301), "of nineteen slopes the 95th percentile is the greatest");
    }

    #[test]
    fn without_enough_samples_there_is_no_rate() {
        assert_eq!(of(&window(&[(0, 0), (30, 9)]), 30), Err(RateUnknown::TooFewSamples { samples: 2, needed: 5 }));
        let old = window(&[(0, 0), (30, 1), (60, 2), (90, 3), (120, 4)]);
        assert_eq!(of(&old, 211), Err(RateUnknown::TooOld { age_seconds: 91, most_seconds: 90 }));
        assert_eq!(of(&old, 700), Err(RateUnknown::TooFewSamples { samples: 1, needed: 5 }), "old ones do not count");
        assert_eq!(of(&old, 30), Err(RateUnknown::TooFewSamples { samples: 2, needed: 5 }), "nor those of the future");
    }

    #[test]
    fn a_topic_that_became_another_one_begins_anew() {
        let mut fell = window(&[(0, 100), (30, 200), (60, 300), (90, 400), (120, 500)]);
        fell.record(Sample { at: at(150), partitions: 3, end_offsets: 20, other_clock: false }, 600);
        let unknown = RateUnknown::WindowReset { why: Reset::OffsetsFell, samples: 1, needed: 5 };
        assert_eq!(of(&fell, 150), Err(unknown));
        let mut shrunk = window(&[(0, 100)]);
        shrunk.record(Sample { at: at(30), partitions: 1, end_offsets: 200, other_clock: false }, 600);
        assert_eq!(shrunk.reset.map(|(why, _)| why), Some(Reset::PartitionsFell));
        let mut other = window(&[(0, 100), (30, 200)]);
        other.identify("a", at(30));
        assert_eq!(other.samples.len(), 2, "its id was not known before");
        other.identify("b", at(31));
        assert_eq!((other.samples.len(), other.reset.map(|(why, _)| why)), (0, Some(Reset::OtherTopic)));
    }

    #[test]
    fn a_window_holds_no_more_samples_than_it_needs() {
        let often: Vec<(i64, i64)> = (0..1_200).map(|second| (second, second * 7)).collect();
        let window = window(&often);
        assert!((60..=61).contains(&window.samples.len()), "{}", window.samples.len());
        assert_eq!(of(&window, 1_199), Ok(7));
        let mut fell = window;
        fell.record(Sample { at: at(1_200), partitions: 3, end_offsets: 0, other_clock: false }, 600);
        assert_eq!(fell.samples.len(), 1, "what contradicts counts at once");
    }

    #[test]
    fn absurd_samples_give_no_absurd_rate() {
        let mut extreme = Window::default();
        for (second, end_offsets) in [(0, 0), (1, i64::MAX), (2, i64::MAX), (3, i64::MAX), (4, i64::MAX)] {
            extreme.record(Sample { at: at(second), partitions: i32::MAX, end_offsets, other_clock: false }, 10);
        }
        assert_eq!(of(&extreme, 4), Ok(i64::MAX));
        let mut back = window(&[(60, 10)]);
        back.record(Sample { at: at(0), partitions: 3, end_offsets: 20, other_clock: false }, 600);
        assert_eq!(back.samples.len(), 1, "time does not run backwards");
        let unordered = Window {
            samples: [(9, 5), (3, 9), (5, 1), (4, 8), (2, 0)]
                .map(|(second, end_offsets)| Sample { at: at(second), partitions: 1, end_offsets, other_clock: false })
                .into(),
            ..Window::default()
        };
        assert_eq!(of(&unordered, 9), Err(RateUnknown::TooFewSamples { samples: 5, needed: 5 }));
    }
}
