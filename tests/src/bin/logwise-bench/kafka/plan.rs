//! The time of `plan()` for topics whose windows are full. No server is asked.

use super::{FEW, MANY, ratio, topic};
use crate::aims::Aims;
use crate::row;
use anyhow::{Result, ensure};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::change::ChangePolicy;
use logwise_plan::partitions::{self, Keys, Observed, Policy, Sample, Scaling, ScalingMode, Topic, Window};
use logwise_plan::selector::TopicSelector;
use logwise_tests::edits::percentile;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Plans of each size.
const ROUNDS: usize = 51;

/// Samples of a full window.
const SAMPLES: i64 = 60;

/// Seconds from one sample to the next.
const APART: i64 = 10;

/// Seconds since 1970 of the moment that is planned for.
const NOW: i64 = 1_800_000_000;

/// Every fifth topic grows; of the others each fifth is left alone for another reason.
const KINDS: usize = 5;

const MOST_PARTITIONS: i32 = 12;

/// What a plan of the large case may take.
const ENOUGH: Duration = Duration::from_millis(10);

pub(crate) fn measure(aims: &mut Aims) -> Result<()> {
    let (policy, now) = (policy(), Timestamp::from_second(NOW)?);
    let (few, many) = (observed(FEW)?, observed(MANY)?);
    for (observed, number) in [(&few, FEW), (&many, MANY)] {
        let plan = partitions::plan(&policy, observed, now);
        let (growing, held) = (plan.actions.len(), plan.holds.len());
        ensure!((growing, held) == (number / KINDS, number - number / KINDS), "{growing} topics grow, {held} do not");
    }
    let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_few.push(time(&policy, &few, now));
        of_many.push(time(&policy, &many, now));
    }
    let (of_few, of_many) = (percentile(&of_few, 50)?, percentile(&of_many, 50)?);
    let text = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1_000.0);
    row(&format!("plan of {FEW} topics with full windows, median of {ROUNDS}, ms"), &text(of_few))?;
    aims.check(
        &format!("plan of {MANY} topics with full windows, median of {ROUNDS}, ms"),
        &text(of_many),
        (&format!("less than {}", ENOUGH.as_millis()), of_many < ENOUGH),
    )?;
    row("  ratio for ten times the topics", &format!("{:.1}", ratio(of_many, of_few)))
}

/// The time of one plan; it is dropped afterwards.
fn time(policy: &Policy, observed: &Observed, now: Timestamp) -> Duration {
    let began = Instant::now();
    let plan = black_box(partitions::plan(black_box(policy), black_box(observed), now));
    let took = began.elapsed();
    drop(plan);
    took
}

fn policy() -> Policy {
    Policy {
        topics: TopicSelector::NamePrefix(super::PREFIX.to_owned()),
        default_partitions: Some(3),
        max_partitions: MOST_PARTITIONS,
        mode: ScalingMode::Automatic,
        scaling: Scaling {
            target_rate: Some(1_000),
            max_replicas_per_broker: 200_000,
            daily_budget: 1_000_000,
            ..Scaling::default()
        },
        change: ChangePolicy::default(),
        look_period_seconds: 30,
    }
}

fn observed(number: usize) -> Result<Observed> {
    let topics = (0..number).map(|number| anyhow::Ok((topic(number), of_kind(number)?)));
    let topics = topics.collect::<Result<BTreeMap<String, Topic>>>()?;
    Ok(Observed { brokers: Known::Known(3), ..Observed::from(Known::Known(topics)) })
}

/// A topic that grows, or does not: for want of load, for its keys, since it grew a short time ago, at its maximum.
fn of_kind(number: usize) -> Result<Topic> {
    let kind = number % KINDS;
    let partitions = if kind == 4 { MOST_PARTITIONS } else { 3 };
    let rate = match kind {
        1 => 500,
        4 => 50_000,
        _ => 4_500,
    };
    let window = window(number, partitions, rate)?;
    let end = window.samples.back().map_or(0, |sample| sample.end_offsets);
    Ok(Topic {
        window: window.into(),
        lag: Known::Known(1_000),
        keys: Known::Known(if kind == 2 { Keys::With } else { Keys::Without }),
        grown: if kind == 3 { Some(Timestamp::from_second(NOW - 60)?) } else { None },
        ..Topic::new(partitions, Known::Known(end))
    })
}

/// A full window of about `rate` records per second, not all slopes alike.
fn window(number: usize, partitions: i32, rate: i64) -> Result<Window> {
    let (mut window, mut end_offsets) = (Window::default(), i64::try_from(number)?);
    for place in 0..SAMPLES {
        let at = Timestamp::from_second(NOW - (SAMPLES - 1 - place) * APART)?;
        window.record(Sample { at, partitions, end_offsets, other_clock: false }, Scaling::default().window_seconds);
        end_offsets += rate * APART + (end_offsets * 31 + place * 7) % 100;
    }
    ensure!(window.samples.len() == usize::try_from(SAMPLES)?, "a window of {} samples", window.samples.len());
    Ok(window)
}
