//! How far and how soon the number of workers may move: `behavior` in the words of the HorizontalPodAutoscaler v2 (HPA)
//! and with their meaning.
//!
//! What differs is arithmetic. Percentages are exact: the HPA's floating point makes 111 of 100 and 10 %. There is no
//! metric with a target, so the tolerance is about the ratio of the numbers of workers. A size of zero is left like any
//! other, as by an HPA that may scale to zero.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Seconds that recommendations and changes are remembered. No window is longer, and no period.
const REMEMBERED_SECONDS: u32 = 3_600;

/// Rules for both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    /// For more workers.
    pub scale_up: Rules,
    /// For fewer workers.
    pub scale_down: Rules,
}

impl Default for Behavior {
    fn default() -> Self {
        let policy = |kind, value, period_seconds| StepPolicy { kind, value, period_seconds };
        Self {
            scale_up: Rules {
                stabilization_window_seconds: 120,
                select_policy: Select::Max,
                policies: vec![policy(Step::Percent, 100, 60), policy(Step::Replicas, 4, 60)],
            },
            scale_down: Rules {
                stabilization_window_seconds: 1_800,
                select_policy: Select::Max,
                policies: vec![policy(Step::Percent, 25, 600)],
            },
        }
    }
}

/// Rules for one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// Seconds for which past recommendations count. Of them the lowest is taken on the way up, the highest on the way
    /// down.
    pub stabilization_window_seconds: u32,
    /// Which of the policies counts.
    #[serde(default)]
    pub select_policy: Select,
    /// How much may change within how long. Without any nothing may.
    pub policies: Vec<StepPolicy>,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// The one that allows the greatest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: nothing changes in this direction.
    Disabled,
}

/// How much may change within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepPolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub kind: Step,
    /// The greatest change within the period.
    pub value: i32,
    /// Length of the period in seconds; it ends now.
    pub period_seconds: u32,
}

/// What the value of a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Workers.
    Replicas,
    /// Percent of the workers that there were when the period began.
    Percent,
}

/// A number of workers that was recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommended {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub replicas: i32,
}

/// A change of the number of workers by our hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// When.
    pub at: Timestamp,
    /// Workers before.
    pub from: i32,
    /// Workers after.
    pub to: i32,
}

/// What the windows and the periods look back at; the oldest comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// Recommendations. Who begins to note them begins with the present size, so that a start removes nothing for one
    /// window. As long as there are none, the present size counts as one of this moment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recommended: Vec<Recommended>,
    /// Changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Changed>,
}

impl History {
    /// Remembers a recommendation, as [`Question::tolerated`] gives it. Those that can decide nothing any more are
    /// forgotten: they are an hour old, or one that came later is as high and one that came later is as low.
    pub fn note(&mut self, recommended: Recommended) {
        let now = recommended.at;
        self.set_back(now);
        self.changes.retain(|one| is_remembered(one.at, now));
        self.recommended.push(recommended);
        let (mut lowest, mut highest) = (i32::MAX, i32::MIN);
        let mut kept = Vec::new();
        for one in self.recommended.drain(..).rev().filter(|one| is_remembered(one.at, now)) {
            if one.replicas < lowest || one.replicas > highest {
                kept.push(one);
            }
            lowest = lowest.min(one.replicas);
            highest = highest.max(one.replicas);
        }
        kept.reverse();
        self.recommended = kept;
    }

    /// Remembers a change, and forgets those that are an hour old.
    pub fn changed(&mut self, changed: Changed) {
        self.set_back(changed.at);
        self.changes.retain(|one| is_remembered(one.at, changed.at));
        if changed.from != changed.to {
            self.changes.push(changed);
        }
    }

    /// What seems to lie in the future, since the clock was put back, happened now: else it would count until the clock
    /// gets there.
    fn set_back(&mut self, now: Timestamp) {
        self.recommended.iter_mut().for_each(|one| one.at = one.at.min(now));
        self.changes.iter_mut().for_each(|one| one.at = one.at.min(now));
    }
}

fn is_remembered(at: Timestamp, now: Timestamp) -> bool {
    after(at, REMEMBERED_SECONDS) > now
}

/// What is asked: from how many workers towards how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Workers that there are, counting those on their way.
    pub current: i32,
    /// Workers that are recommended.
    pub recommended: i32,
    /// Workers to run at least. A maximum below it comes first.
    pub min: i32,
    /// Workers to run at most.
    pub max: i32,
    /// A recommendation counts as one of the present size if it differs by no more than this many percent of it.
    pub tolerance_percent: u32,
}

impl Question {
    /// The recommendation, or the present size if the recommendation lies within the tolerance.
    pub fn tolerated(&self) -> i32 {
        let (current, recommended) = (i128::from(self.current), i128::from(self.recommended));
        let within = current > 0 && (recommended - current).abs() * 100 <= current * i128::from(self.tolerance_percent);
        if within { self.current } else { self.recommended }
    }
}

/// How many workers there may be now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limited {
    /// Workers.
    pub to: i32,
    /// Why that is not what was recommended, in the order in which they were applied; empty if it is.
    pub limits: Vec<Limit>,
}

/// Why the number of workers is not the recommended one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Limit {
    /// The recommendation is so close to the present size that nothing changes.
    Tolerance,
    /// Fewer were recommended within the window.
    UpWindow {
        /// When the window has passed them all.
        until: Timestamp,
    },
    /// More were recommended within the window.
    DownWindow {
        /// When the window has passed them all.
        until: Timestamp,
    },
    /// The policies allow no more to be added yet.
    UpPolicy,
    /// The policies allow no more to be removed yet.
    DownPolicy,
    /// None may be added.
    UpDisabled,
    /// None may be removed.
    DownDisabled,
    /// The recommendation, or the present size, is below the minimum.
    MinReplicas,
    /// The recommendation, or the present size, is above the maximum.
    MaxReplicas,
}

/// Which way the recommendation lies.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// How many workers there may be now. `history` is what was before: the present recommendation is noted afterwards.
pub fn limit(behavior: &Behavior, question: &Question, history: &History, now: Timestamp) -> Limited {
    let max = question.max.max(0);
    let min = question.min.clamp(0, max);
    let Question { current, recommended, .. } = *question;
    let only = |to: i32, limit: Limit| Limited { to, limits: if to == recommended { vec![] } else { vec![limit] } };
    // A size outside the bounds goes to the bound whatever is recommended, past windows and policies.
    if current > max {
        return only(max, Limit::MaxReplicas);
    }
    if current < min {
        return only(min, Limit::MinReplicas);
    }
    if question.tolerated() == current {
        return only(current, Limit::Tolerance);
    }
    let (way, rules) =
        if recommended > current { (Way::Up, &behavior.scale_up) } else { (Way::Down, &behavior.scale_down) };
    let (stable, window) = stabilized(rules, question, history, now, way);
    let reach = reach(rules, current, &history.changes, now, way);
    let (to, step) = match way {
        Way::Up if stable > reach.min(max) => {
            (reach.min(max), Some(if reach < max { step_limit(rules, way) } else { Limit::MaxReplicas }))
        }
        Way::Down if stable < reach.max(min) => {
            (reach.max(min), Some(if reach > min { step_limit(rules, way) } else { Limit::MinReplicas }))
        }
        Way::Up | Way::Down => (stable, None),
    };
    Limited { to, limits: window.into_iter().chain(step).collect() }
}

/// The recommendation, or what the window makes of it: the one within the window that is farthest from it on the side
/// of the present size, but never beyond that size.
fn stabilized(rules: &Rules, question: &Question, history: &History, now: Timestamp, way: Way) -> (i32, Option<Limit>) {
    let Question { current, recommended, .. } = *question;
    let first = [Recommended { at: now, replicas: current }];
    let known: &[Recommended] = if history.recommended.is_empty() { &first } else { &history.recommended };
    let end = |one: &Recommended| after(one.at, rules.stabilization_window_seconds);
    let against = known.iter().filter(|one| end(one) > now).filter(|one| match way {
        Way::Up => one.replicas < recommended,
        Way::Down => one.replicas > recommended,
    });
    let Some(until) = against.clone().map(end).max() else { return (recommended, None) };
    let replicas = against.map(|one| one.replicas);
    match way {
        Way::Up => (replicas.min().map_or(current, |lowest| lowest.max(current)), Some(Limit::UpWindow { until })),
        Way::Down => {
            (replicas.max().map_or(current, |highest| highest.min(current)), Some(Limit::DownWindow { until }))
        }
    }
}

/// How far the policies of one direction let the size go from `current`.
fn reach(rules: &Rules, current: i32, changes: &[Changed], now: Timestamp, way: Way) -> i32 {
    let targets = rules.policies.iter().map(|policy| target(policy, current, changes, now, way));
    let target = match (rules.select_policy, way) {
        (Select::Disabled, _) => None,
        (Select::Max, Way::Up) | (Select::Min, Way::Down) => targets.max(),
        (Select::Min, Way::Up) | (Select::Max, Way::Down) => targets.min(),
    };
    let Some(target) = target else { return current };
    let target = target.clamp(i128::from(i32::MIN), i128::from(i32::MAX));
    let target = i32::try_from(target).unwrap_or(current);
    match way {
        Way::Up => target.max(current),
        Way::Down => target.min(current),
    }
}

/// The size that one policy allows, counted from the size that there was when its period began.
fn target(policy: &StepPolicy, current: i32, changes: &[Changed], now: Timestamp, way: Way) -> i128 {
    let within = changes.iter().filter(|one| after(one.at, policy.period_seconds) > now);
    let start = i128::from(current) - within.map(|one| i128::from(one.to) - i128::from(one.from)).sum::<i128>();
    let value = i128::from(policy.value);
    match (policy.kind, way) {
        (Step::Replicas, Way::Up) => start + value,
        (Step::Replicas, Way::Down) => start - value,
        // Rounded up, so that one worker can become two by any percentage.
        (Step::Percent, Way::Up) => -((-start * (100 + value)).div_euclid(100)),
        (Step::Percent, Way::Down) => start * (100 - value) / 100,
    }
}

fn step_limit(rules: &Rules, way: Way) -> Limit {
    match (way, rules.select_policy) {
        (Way::Up, Select::Disabled) => Limit::UpDisabled,
        (Way::Up, _) => Limit::UpPolicy,
        (Way::Down, Select::Disabled) => Limit::DownDisabled,
        (Way::Down, _) => Limit::DownPolicy,
    }
}

/// So many seconds after `at`.
fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn ask(current: i32, recommended: i32) -> Question {
        Question { current, recommended, min: 0, max: 100, tolerance_percent: 10 }
    }

    fn noted(all: &[(i64, i32)]) -> History {
        let mut history = History::default();
        all.iter().for_each(|(second, replicas)| history.note(Recommended { at: at(*second), replicas: *replicas }));
        history
    }

    fn replicas(history: &History) -> Vec<i32> {
        history.recommended.iter().map(|one| one.replicas).collect()
    }

    #[test]
    fn the_defaults_read_as_in_the_hpa_and_what_is_left_out_is_a_default() {
        let text = "scaleUp:\n  stabilizationWindowSeconds: 120\n  selectPolicy: Max\n  policies:\n  \
                    - type: Percent\n    value: 100\n    periodSeconds: 60\n  \
                    - type: Replicas\n    value: 4\n    periodSeconds: 60\n";
        let written = serde_yaml::to_string(&Behavior::default()).unwrap();
        assert!(written.starts_with(text), "{written}");
        assert_eq!(serde_yaml::from_str::<Behavior>(&written).unwrap(), Behavior::default());
        assert_eq!(serde_yaml::from_str::<Behavior>(text).unwrap(), Behavior::default());
        assert_eq!(serde_yaml::from_str::<Behavior>("{}").unwrap(), Behavior::default());
        assert_eq!(serde_yaml::to_string(&History::default()).unwrap(), "{}\n");
        let until = Limit::DownWindow { until: at(0) };
        assert_eq!(serde_yaml::to_string(&until).unwrap(), "reason: downWindow\nuntil: 1970-01-12T13:46:40Z\n");
    }

    #[test]
    fn a_start_without_memory_changes_nothing_for_one_window() {
        let (behavior, nothing) = (Behavior::default(), History::default());
        let down = limit(&behavior, &ask(8, 2), &nothing, at(0));
        assert_eq!(down, Limited { to: 8, limits: vec![Limit::DownWindow { until: at(1_800) }] });
        let up = limit(&behavior, &ask(8, 20), &nothing, at(0));
        assert_eq!(up, Limited { to: 8, limits: vec![Limit::UpWindow { until: at(120) }] });
        let mut history = noted(&[(0, 8)]);
        history.note(Recommended { at: at(1_000), replicas: ask(8, 2).tolerated() });
        assert_eq!(limit(&behavior, &ask(8, 2), &history, at(1_799)), down);
        assert_eq!(limit(&behavior, &ask(8, 2), &history, at(1_800)).to, 6, "a quarter of them");
    }

    #[test]
    fn what_can_decide_nothing_any_more_is_forgotten() {
        let mut history = noted(&[(0, 5), (10, 5), (20, 9), (30, 1), (40, 6), (50, 3), (60, 5)]);
        assert_eq!(replicas(&history), [9, 1, 6, 3, 5]);
        history.note(Recommended { at: at(3_629), replicas: 4 });
        assert_eq!(replicas(&history), [1, 6, 3, 5, 4], "an hour after the second 20");
        history.note(Recommended { at: at(3_630), replicas: 4 });
        assert_eq!(replicas(&history), [6, 3, 5, 4]);
        (0..5_000).for_each(|n| history.note(Recommended { at: at(3_631 + i64::from(n)), replicas: 5 + n % 7 }));
        assert!(history.recommended.len() <= 7, "{}", history.recommended.len());
        for second in 0..10 {
            history.changed(Changed { at: at(8_700 + second * 600), from: 3, to: 3 + i32::from(second != 9) });
        }
        assert_eq!(history.changes.len(), 5, "an hour of them, and a change of nothing is none");
    }

    #[test]
    fn a_clock_that_was_put_back_neither_frees_nor_holds_for_ever() {
        let mut history = noted(&[(50_000, 8), (50_030, 7)]);
        history.changed(Changed { at: at(50_000), from: 4, to: 8 });
        history.note(Recommended { at: at(0), replicas: 2 });
        assert_eq!(history.recommended.iter().map(|one| one.at).collect::<Vec<_>>(), vec![at(0); 3]);
        assert_eq!((replicas(&history), history.changes[0].at), (vec![8, 7, 2], at(0)));
        assert_eq!(limit(&Behavior::default(), &ask(8, 2), &history, at(1_799)).to, 8);
        assert_eq!(limit(&Behavior::default(), &ask(8, 2), &history, at(1_800)).to, 6);
    }

    #[test]
    fn absurd_numbers_move_nothing_out_of_the_bounds() {
        let extremes = [i32::MIN, -1, 0, 1, i32::MAX];
        let policies: Vec<StepPolicy> = extremes
            .iter()
            .flat_map(|value| [Step::Replicas, Step::Percent].map(|kind| (kind, *value)))
            .map(|(kind, value)| StepPolicy { kind, value, period_seconds: u32::MAX })
            .collect();
        let mut history = noted(&[(0, i32::MAX), (1, i32::MIN)]);
        for _ in 0..3 {
            history.changed(Changed { at: at(1), from: i32::MIN, to: i32::MAX });
        }
        for select_policy in [Select::Max, Select::Min, Select::Disabled] {
            for policies in [vec![], policies.clone()] {
                let rules = Rules { stabilization_window_seconds: u32::MAX, select_policy, policies };
                let behavior = Behavior { scale_up: rules.clone(), scale_down: rules };
                for number in 0..3_125_usize {
                    let digit = |place: u32| extremes[number / 5_usize.pow(place) % 5];
                    let tolerance_percent = if digit(4) < 0 { u32::MAX } else { 0 };
                    let (current, recommended, min, max) = (digit(0), digit(1), digit(2), digit(3));
                    let question = Question { current, recommended, min, max, tolerance_percent };
                    let to = limit(&behavior, &question, &history, at(2)).to;
                    assert!((min.min(max).max(0)..=max.max(0)).contains(&to), "{question:?}: {to}");
                }
            }
        }
    }

    #[test]
    fn without_a_policy_nothing_changes() {
        for select_policy in [Select::Max, Select::Min, Select::Disabled] {
            let rules = Rules { stabilization_window_seconds: 0, select_policy, policies: vec![] };
            let behavior = Behavior { scale_up: rules.clone(), scale_down: rules };
            for recommended in [0, 50] {
                let limited = limit(&behavior, &ask(8, recommended), &noted(&[(0, 8)]), at(9));
                assert_eq!((limited.to, limited.limits.len()), (8, 1), "{select_policy:?}");
            }
        }
    }
}
