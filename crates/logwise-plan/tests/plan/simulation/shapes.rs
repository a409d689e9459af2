//! Loads over a day.

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// How many records come in over a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The same all day.
    Steady,
    /// A third of that.
    Quiet,
    /// A quiet night and a busy afternoon.
    Daily,
    /// Three times as much as usual for 20 minutes, three times a day.
    Spike,
    /// More and more for 18 hours, then back within two.
    Ramp,
    /// The same all day, and for 45 minutes nothing can be read.
    Outage,
}

impl Shape {
    /// Those of a whole day.
    pub(super) const ALL: [Self; 5] = [Self::Steady, Self::Daily, Self::Spike, Self::Ramp, Self::Outage];

    /// Records per second that come in.
    pub(super) fn rate(self, second: i64) -> i64 {
        match self {
            Self::Steady | Self::Outage => 60_000,
            Self::Quiet => 20_000,
            Self::Daily => 15_000 + bump(second - 6 * HOUR, 18 * HOUR, 90_000),
            Self::Spike => 40_000 + [4, 12, 20].map(|hour| spike(second - hour * HOUR)).iter().sum::<i64>(),
            Self::Ramp if second < 18 * HOUR => 10_000 + 95_000 * second / (18 * HOUR),
            Self::Ramp => 10_000 + (95_000 - 95_000 * (second - 18 * HOUR) / (2 * HOUR)).max(0),
        }
    }

    /// Whether nothing can be read.
    pub(super) fn is_cut_off(self, second: i64) -> bool {
        self == Self::Outage && (10 * HOUR..10 * HOUR + 45 * 60).contains(&second)
    }
}

/// A parabola over `length` seconds, `most` high in its middle.
fn bump(second: i64, length: i64, most: i64) -> i64 {
    if (0..length).contains(&second) { most * 4 * second * (length - second) / (length * length) } else { 0 }
}

/// 70,000 more for 20 minutes, of which the first five rise.
fn spike(second: i64) -> i64 {
    if (0..20 * 60).contains(&second) { 70_000 * second.min(300) / 300 } else { 0 }
}

/// Numbers that look like chance and are the same in each run.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `mean`, give or take 5 %.
    pub(super) fn around(&mut self, mean: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let permille = 950 + i64::try_from((self.0 >> 33) % 101).unwrap();
        mean * permille / 1_000
    }
}

#[test]
fn shapes_are_what_they_are_called() {
    let rates = |shape: Shape| (0..DAY).map(move |second| shape.rate(second));
    assert!(rates(Shape::Steady).all(|rate| rate == 60_000));
    assert_eq!((Shape::Daily.rate(0), rates(Shape::Daily).max()), (15_000, Some(105_000)));
    assert_eq!((Shape::Spike.rate(0), rates(Shape::Spike).max()), (40_000, Some(110_000)));
    assert_eq!(rates(Shape::Spike).filter(|rate| *rate > 40_000).count(), 3 * (20 * 60 - 1));
    assert_eq!(
        (Shape::Ramp.rate(0), rates(Shape::Ramp).max(), Shape::Ramp.rate(DAY - 1)),
        (10_000, Some(105_000), 10_000)
    );
    assert_eq!((0..DAY).filter(|second| Shape::Outage.is_cut_off(*second)).count(), 45 * 60);
    let mut noise = Noise::new(7);
    let all: Vec<i64> = (0..10_000).map(|_| noise.around(1_000)).collect();
    assert_eq!((all.iter().min(), all.iter().max()), (Some(&950), Some(&1_050)));
    assert!((998..=1_001).contains(&(all.iter().sum::<i64>() / 10_000)));
}
