//! `behavior` against a small model of the HorizontalPodAutoscaler: named cases, single questions, and runs over time.

mod hpa;

use crate::NOW;
use hpa::Autoscaler;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::behavior::{
    Behavior, Changed, History, Limit, Limited, Question, Recommended, Rules, Select, Step, StepPolicy, limit,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};

use Limit::{DownDisabled, DownPolicy, MaxReplicas, MinReplicas, Tolerance, UpDisabled, UpPolicy};
use Select::{Disabled, Max, Min};
use Step::{Percent, Replicas};

/// One question with all that the answer depends on.
#[derive(Clone, Debug)]
struct Case {
    behavior: Behavior,
    question: Question,
    /// Recommendations: milliseconds ago, and how many.
    said: Vec<(i64, i32)>,
    /// Changes: milliseconds ago, from how many, to how many.
    changes: Vec<(i64, i32, i32)>,
}

type Policies = [(Step, i32, u32)];

/// Allows everything in each row of the table.
const ANY: &Policies = &[(Replicas, 1_000, 60)];

fn rules(stabilization_window_seconds: u32, select_policy: Select, policies: &Policies) -> Rules {
    let policies = policies.iter().map(|&(kind, value, period_seconds)| StepPolicy { kind, value, period_seconds });
    Rules { stabilization_window_seconds, select_policy, policies: policies.collect() }
}

/// Nothing holds it back but that there is at least 1 and at most 1,000.
fn from(current: i32, recommended: i32) -> Case {
    Case {
        behavior: Behavior { scale_up: rules(0, Max, ANY), scale_down: rules(0, Max, ANY) },
        question: Question { current, recommended, min: 1, max: 1_000, tolerance_percent: 0 },
        said: Vec::new(),
        changes: Vec::new(),
    }
}

impl Case {
    fn up(mut self, window: u32, select: Select, policies: &Policies) -> Self {
        self.behavior.scale_up = rules(window, select, policies);
        self
    }

    fn down(mut self, window: u32, select: Select, policies: &Policies) -> Self {
        self.behavior.scale_down = rules(window, select, policies);
        self
    }

    fn ours(mut self) -> Self {
        self.behavior = Behavior::default();
        self
    }

    fn bounds(mut self, min: i32, max: i32) -> Self {
        (self.question.min, self.question.max) = (min, max);
        self
    }

    fn tolerance(mut self, percent: u32) -> Self {
        self.question.tolerance_percent = percent;
        self
    }

    fn said(mut self, seconds_ago: &[(i64, i32)]) -> Self {
        self.said = seconds_ago.iter().map(|(seconds, replicas)| (seconds * 1000, *replicas)).collect();
        self
    }

    fn changed(mut self, seconds_ago: i64, from: i32, to: i32) -> Self {
        self.changes.push((seconds_ago * 1000, from, to));
        self
    }

    fn ask(&self, now: Timestamp) -> Limited {
        let recommended = self.said.iter().map(|&(ago, replicas)| Recommended { at: at(-ago), replicas }).collect();
        let changes = self.changes.iter().map(|&(ago, from, to)| Changed { at: at(-ago), from, to }).collect();
        limit(&self.behavior, &self.question, &History { recommended, changes }, now)
    }

    fn model(&self) -> hpa::Verdict {
        let mut model = autoscaler(&self.behavior, &self.question);
        model.recommendations = self.said.iter().map(|&(ago, replicas)| (-ago, replicas.into())).collect();
        for &(ago, from, to) in &self.changes {
            let (events, more) =
                if to > from { (&mut model.added, to - from) } else { (&mut model.deleted, from - to) };
            events.push((-ago, more.into()));
        }
        model.reconcile(0, self.question.current.into(), self.question.recommended.into())
    }
}

/// So many milliseconds after [`NOW`].
fn at(milliseconds: i64) -> Timestamp {
    NOW + SignedDuration::from_millis(milliseconds)
}

/// The model with the same settings, and without memory.
fn autoscaler(behavior: &Behavior, question: &Question) -> Autoscaler {
    let policy = |policy: &StepPolicy| hpa::Policy {
        kind: if policy.kind == Replicas { "Pods" } else { "Percent" },
        value: policy.value.into(),
        period_seconds: policy.period_seconds.into(),
    };
    let rules = |rules: &Rules| hpa::Rules {
        window_seconds: rules.stabilization_window_seconds.into(),
        select: match rules.select_policy {
            Max => "Max",
            Min => "Min",
            Disabled => "Disabled",
        },
        policies: rules.policies.iter().map(policy).collect(),
    };
    Autoscaler {
        up: rules(&behavior.scale_up),
        down: rules(&behavior.scale_down),
        min: question.min.into(),
        max: question.max.into(),
        tolerance_percent: question.tolerance_percent.into(),
        recommendations: Vec::new(),
        added: Vec::new(),
        deleted: Vec::new(),
    }
}

/// Size and reasons in the words of the model.
fn verdict(limited: &Limited) -> hpa::Verdict {
    let reason = |limit: &Limit| match limit {
        Tolerance => "Tolerance",
        Limit::UpWindow { .. } | Limit::DownWindow { .. } => "Stabilized",
        UpPolicy | UpDisabled => "ScaleUpLimit",
        DownPolicy | DownDisabled => "ScaleDownLimit",
        MinReplicas => "TooFewReplicas",
        MaxReplicas => "TooManyReplicas",
    };
    (limited.to.into(), limited.limits.iter().map(reason).collect())
}

fn up_until(seconds: i64) -> Limit {
    Limit::UpWindow { until: at(seconds * 1000) }
}

fn down_until(seconds: i64) -> Limit {
    Limit::DownWindow { until: at(seconds * 1000) }
}

/// A name, a question, the size that is right and what stands in the way of more.
type Row = (&'static str, Case, i32, Vec<Limit>);

fn tolerance() -> Vec<Row> {
    vec![
        ("the present size is no limit", from(7, 7), 7, vec![]),
        ("without tolerance every difference counts", from(100, 101), 101, vec![]),
        ("a tenth more", from(10, 11).tolerance(10), 10, vec![Tolerance]),
        ("a tenth less", from(10, 9).tolerance(10), 10, vec![Tolerance]),
        ("two tenths more", from(10, 12).tolerance(10), 12, vec![]),
        ("one more is over a tenth of nine", from(9, 10).tolerance(10), 10, vec![]),
        ("one less is over a tenth of nine", from(9, 8).tolerance(10), 8, vec![]),
        ("as much again with a tolerance of all", from(5, 10).tolerance(100), 5, vec![Tolerance]),
        ("more than as much again", from(5, 11).tolerance(100), 11, vec![]),
        ("nothing has no tolerance", from(0, 1).bounds(0, 9).tolerance(100), 1, vec![]),
        ("tolerated past a window", from(10, 11).tolerance(10).up(120, Max, ANY).said(&[(9, 3)]), 10, vec![Tolerance]),
    ]
}

fn windows() -> Vec<Row> {
    let up = |case: Case| case.up(120, Max, ANY);
    let down = |case: Case| case.down(300, Max, ANY);
    let hour = |case: Case| case.down(3_600, Max, ANY);
    vec![
        ("no window up", from(4, 8).said(&[(1, 2)]), 8, vec![]),
        ("no window down", from(8, 4).said(&[(1, 9)]), 4, vec![]),
        ("the lowest of the window up", up(from(4, 10)).said(&[(100, 6), (50, 8)]), 6, vec![up_until(70)]),
        ("the highest of the window down", down(from(10, 2)).said(&[(200, 7), (100, 5)]), 7, vec![down_until(200)]),
        ("no window makes fewer of more", up(from(4, 10)).said(&[(60, 1)]), 4, vec![up_until(60)]),
        ("no window makes more of fewer", down(from(4, 2)).said(&[(60, 9)]), 4, vec![down_until(240)]),
        ("as old as the window up", up(from(4, 10)).said(&[(120, 1)]), 10, vec![]),
        ("a second younger up", up(from(4, 10)).said(&[(119, 1)]), 4, vec![up_until(1)]),
        ("as old as the window down", down(from(10, 2)).said(&[(300, 9)]), 2, vec![]),
        ("a second younger down", down(from(10, 2)).said(&[(299, 9)]), 9, vec![down_until(1)]),
        ("higher ones hold no raise", up(from(4, 8)).said(&[(60, 20)]), 8, vec![]),
        ("lower ones hold no removal", down(from(8, 4)).said(&[(60, 1)]), 4, vec![]),
        ("a raise past the window down", hour(from(4, 8)).said(&[(60, 6)]), 8, vec![]),
        ("a removal past the window up", from(8, 4).up(3_600, Max, ANY).said(&[(60, 6)]), 4, vec![]),
        ("without memory up", up(from(4, 8)), 4, vec![up_until(120)]),
        ("without memory down", down(from(8, 4)), 8, vec![down_until(300)]),
        ("without memory and window", from(8, 4), 4, vec![]),
        ("an old memory is one", down(from(8, 4)).said(&[(3_000, 8)]), 4, vec![]),
        ("a window of an hour", hour(from(8, 4)).said(&[(3_599, 8)]), 8, vec![down_until(1)]),
        ("to and fro", up(down(from(5, 9))).said(&[(100, 3), (50, 9)]), 5, vec![up_until(20)]),
    ]
}

fn steps_up() -> Vec<Row> {
    let both: &Policies = &[(Percent, 100, 60), (Replicas, 4, 60)];
    let periods: &Policies = &[(Replicas, 4, 60), (Percent, 50, 300)];
    let four = |case: Case| case.up(0, Max, &[(Replicas, 4, 60)]);
    let percent = |case: Case, value: i32| case.up(0, Max, &[(Percent, value, 60)]);
    vec![
        ("four more", four(from(3, 20)), 7, vec![UpPolicy]),
        ("four more are wanted", four(from(3, 7)), 7, vec![]),
        ("double", percent(from(3, 20), 100), 6, vec![UpPolicy]),
        ("the greater of few up", from(3, 20).up(0, Max, both), 7, vec![UpPolicy]),
        ("the greater of many up", from(8, 100).up(0, Max, both), 16, vec![UpPolicy]),
        ("the smaller of few up", from(3, 20).up(0, Min, both), 6, vec![UpPolicy]),
        ("the smaller of many up", from(8, 100).up(0, Min, both), 12, vec![UpPolicy]),
        ("disabled up", from(3, 20).up(0, Disabled, both), 3, vec![UpDisabled]),
        ("disabled up, not down", from(20, 3).up(0, Disabled, both), 3, vec![]),
        ("a part counts whole up", percent(from(3, 20), 10), 4, vec![UpPolicy]),
        ("one becomes two by any percentage", percent(from(1, 9), 1), 2, vec![UpPolicy]),
        ("a tenth of a hundred is ten", percent(from(100, 200), 10), 110, vec![UpPolicy]),
        ("all was added already", four(from(7, 20)).changed(30, 3, 7), 7, vec![UpPolicy]),
        ("some was added already", four(from(5, 20)).changed(30, 3, 5), 7, vec![UpPolicy]),
        ("added twice", four(from(6, 20)).changed(40, 3, 5).changed(20, 5, 6), 7, vec![UpPolicy]),
        ("added as long ago as the period", four(from(7, 20)).changed(60, 3, 7), 11, vec![UpPolicy]),
        ("added a second later", four(from(7, 20)).changed(59, 3, 7), 7, vec![UpPolicy]),
        ("what was removed may come back on top", four(from(5, 20)).changed(30, 8, 5), 12, vec![UpPolicy]),
        ("percent of what there was", percent(from(6, 20), 100).changed(30, 4, 6), 8, vec![UpPolicy]),
        ("to each its period, the greater", from(7, 30).up(0, Max, periods).changed(100, 3, 7), 11, vec![UpPolicy]),
        ("to each its period, the smaller", from(7, 30).up(0, Min, periods).changed(100, 3, 7), 7, vec![UpPolicy]),
        ("more was added than there is", four(from(2, 9)).changed(30, 2, 12), 2, vec![UpPolicy]),
    ]
}

fn steps_down() -> Vec<Row> {
    let both: &Policies = &[(Replicas, 4, 60), (Percent, 10, 60)];
    let four = |case: Case| case.down(0, Max, &[(Replicas, 4, 60)]);
    let percent = |case: Case, value: i32| case.down(0, Max, &[(Percent, value, 60)]);
    vec![
        ("80 as documented", from(80, 10).down(0, Max, both), 72, vec![DownPolicy]),
        ("72 as documented", from(72, 10).down(0, Max, both), 64, vec![DownPolicy]),
        ("40 as documented", from(40, 10).down(0, Max, both), 36, vec![DownPolicy]),
        ("32 as documented", from(32, 10).down(0, Max, both), 28, vec![DownPolicy]),
        ("the smaller of many down", from(80, 10).down(0, Min, both), 76, vec![DownPolicy]),
        ("the smaller of few down", from(20, 10).down(0, Min, both), 18, vec![DownPolicy]),
        ("disabled down", from(8, 2).down(0, Disabled, both), 8, vec![DownDisabled]),
        ("disabled down, not up", from(2, 8).down(0, Disabled, both), 8, vec![]),
        ("a part that is left does not count", percent(from(10, 1), 25), 7, vec![DownPolicy]),
        ("one becomes none by any percentage", percent(from(1, 0), 1).bounds(0, 9), 0, vec![]),
        ("nine tenths of a hundred leave ten", percent(from(100, 1), 90), 10, vec![DownPolicy]),
        ("more than all", percent(from(9, 0), 150).bounds(0, 9), 0, vec![]),
        ("all was removed already", four(from(4, 1)).changed(30, 8, 4), 4, vec![DownPolicy]),
        ("some was removed already", four(from(6, 1)).changed(30, 8, 6), 4, vec![DownPolicy]),
        ("removed as long ago as the period", four(from(6, 1)).changed(60, 10, 6), 2, vec![DownPolicy]),
        ("removed a second later", four(from(6, 1)).changed(59, 10, 6), 6, vec![DownPolicy]),
        ("what was added may go on top", four(from(10, 1)).changed(30, 6, 10), 2, vec![DownPolicy]),
        ("percent of what there was down", percent(from(6, 1), 50).changed(30, 10, 6), 5, vec![DownPolicy]),
        ("more was removed than allowed", four(from(2, 1)).changed(30, 9, 2), 2, vec![DownPolicy]),
        ("more was added than there is now", percent(from(3, 1), 10).changed(30, 1, 9), 1, vec![]),
    ]
}

fn bounds() -> Vec<Row> {
    let four = |case: Case| case.up(0, Max, &[(Replicas, 4, 60)]);
    let ten = |current: i32, recommended: i32| from(current, recommended).bounds(3, 10);
    let double: &Policies = &[(Percent, 100, 60)];
    vec![
        ("to the maximum", ten(4, 20), 10, vec![MaxReplicas]),
        ("to the minimum", ten(8, 0), 3, vec![MinReplicas]),
        ("at the maximum", ten(10, 20), 10, vec![MaxReplicas]),
        ("at the minimum", ten(3, 1), 3, vec![MinReplicas]),
        ("a step short of the maximum", four(ten(4, 20)), 8, vec![UpPolicy]),
        ("a step that ends at the maximum", four(ten(6, 20)), 10, vec![MaxReplicas]),
        ("disabled at the maximum", ten(10, 20).up(0, Disabled, ANY), 10, vec![MaxReplicas]),
        ("disabled at the minimum", ten(3, 1).down(0, Disabled, ANY), 3, vec![MinReplicas]),
        ("above at once", ten(12, 12).down(3_600, Disabled, ANY).said(&[(1, 12)]), 10, vec![MaxReplicas]),
        ("above, and no further", ten(12, 5), 10, vec![MaxReplicas]),
        ("above, as recommended", ten(12, 10), 10, vec![]),
        ("above, within the tolerance", ten(11, 11).tolerance(10), 10, vec![MaxReplicas]),
        ("below at once", ten(1, 1).up(3_600, Disabled, ANY).said(&[(1, 1)]), 3, vec![MinReplicas]),
        ("below, and no further", ten(1, 9), 3, vec![MinReplicas]),
        ("from nothing to the minimum", ten(0, 0), 3, vec![MinReplicas]),
        ("from nothing by number", four(from(0, 5).bounds(0, 9)), 4, vec![UpPolicy]),
        ("from nothing by percent", from(0, 5).bounds(0, 9).up(0, Max, double), 0, vec![UpPolicy]),
        ("to nothing", from(5, 0).bounds(0, 9), 0, vec![]),
        (
            "a window, then a step",
            from(4, 20).up(120, Max, &[(Replicas, 4, 60)]).said(&[(60, 10)]),
            8,
            vec![up_until(60), UpPolicy],
        ),
        (
            "a window, then the maximum",
            ten(4, 30).up(120, Max, ANY).said(&[(60, 20)]),
            10,
            vec![up_until(60), MaxReplicas],
        ),
        ("our defaults up", from(2, 20).ours().said(&[(300, 2), (90, 20)]), 6, vec![UpPolicy]),
        ("our defaults down", from(10, 2).ours().said(&[(1_799, 3)]), 7, vec![down_until(1), DownPolicy]),
    ]
}

#[test]
fn each_case_is_answered_as_the_hpa_answers_it() {
    let rows: Vec<Row> = [tolerance(), windows(), steps_up(), steps_down(), bounds()].concat();
    for (name, case, to, limits) in &rows {
        let answer = case.ask(NOW);
        assert_eq!((answer.to, &answer.limits), (*to, limits), "{name}");
        assert_eq!(verdict(&answer), case.model(), "the model of {name}");
    }
    let names: BTreeSet<_> = rows.iter().map(|row| row.0).collect();
    assert_eq!(names.len(), rows.len());
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let window = prop::sample::select(vec![0_u32, 15, 60, 300, 1_800, 3_600]);
    let select = prop_oneof![5 => Just(Max), 3 => Just(Min), 2 => Just(Disabled)];
    let value = prop_oneof![2 => 1..12i32, 1 => 1..250i32];
    let policy =
        (prop::sample::select(vec![Replicas, Percent]), value, prop::sample::select(vec![15_u32, 60, 300, 600, 1_800]));
    (window, select, prop::collection::vec(policy, 1..4))
        .prop_map(|(window, select, policies)| rules(window, select, &policies))
}

fn any_question() -> impl Strategy<Value = Question> {
    let tolerance = prop::sample::select(vec![0_u32, 0, 10, 30, 100]);
    let recommended = prop_oneof![0..20i32, 0..80i32];
    (0..40i32, recommended, 0..12i32, 0..50i32, tolerance).prop_map(
        |(current, recommended, min, more, tolerance_percent)| Question {
            current,
            recommended,
            min,
            max: min + more,
            tolerance_percent,
        },
    )
}

/// Milliseconds ago: often as long as a window or a period, or a millisecond more or less.
fn ago() -> impl Strategy<Value = i64> {
    let quarters =
        prop_oneof![1 => 0..8i64, 1 => 0..250i64, 1 => prop::sample::select(vec![1_i64, 4, 20, 40, 120, 240])];
    (quarters, prop_oneof![3 => Just(0_i64), 1 => -1..=1i64]).prop_map(|(n, more)| (n * 15_000 + more).max(0))
}

/// Milliseconds from one look to the next.
fn pause() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(15_000_i64), 4 => Just(30_000_i64), 1 => 1..900_000i64]
}

prop_compose! {
    fn any_case()(
        (scale_up, scale_down, question) in (any_rules(), any_rules(), any_question()),
        mut said in prop::collection::vec((ago(), 0..80i32), 0..6),
        mut changes in prop::collection::vec((ago(), 0..40i32, 0..40i32), 0..5),
    ) -> Case {
        said.sort_by_key(|one| -one.0);
        changes.sort_by_key(|one| -one.0);
        Case { behavior: Behavior { scale_up, scale_down }, question, said, changes }
    }
}

/// The equalities below would say little if the cases were all alike.
#[test]
fn the_cases_that_are_made_up_meet_every_limit() {
    let mut runner = TestRunner::deterministic();
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..2_000 {
        let answer = any_case().new_tree(&mut runner).unwrap().current().ask(NOW);
        for limit in answer.limits {
            let name = format!("{limit:?}").split(' ').next().unwrap().to_owned();
            *met.entry(name).or_default() += 1;
        }
    }
    assert_eq!(met.len(), 9, "{met:?}");
    assert!(met.values().all(|number| *number >= 3), "{met:?}");
}

proptest! {
    #[test]
    fn a_question_is_answered_as_the_hpa_answers_it(case in any_case()) {
        prop_assert_eq!(verdict(&case.ask(NOW)), case.model());
    }

    #[test]
    fn a_limit_is_named_if_and_only_if_the_size_is_another_one(case in any_case()) {
        let (answer, question) = (case.ask(NOW), case.question);
        prop_assert_eq!(answer.limits.is_empty(), answer.to == question.recommended);
        prop_assert!((question.min..=question.max).contains(&answer.to));
        if (question.min..=question.max).contains(&question.current) {
            let (low, high) = (question.current.min(question.recommended), question.current.max(question.recommended));
            prop_assert!((low..=high).contains(&answer.to), "the way is from {low} to {high}");
        }
    }

    #[test]
    fn a_window_ends_at_the_moment_that_it_names(mut case in any_case()) {
        if case.said.is_empty() {
            case.said.push((0, case.question.current));
        }
        let window = |now: Timestamp| case.ask(now).limits.into_iter().find_map(|limit| match limit {
            Limit::UpWindow { until } | Limit::DownWindow { until } => Some(until),
            _ => None,
        });
        let Some(until) = window(NOW) else { return Ok(()) };
        prop_assert!(until > NOW);
        prop_assert_eq!(window(until - SignedDuration::from_millis(1)), Some(until));
        prop_assert_eq!(window(until), None);
    }

    /// What is forgotten of a history would have decided nothing.
    #[test]
    fn a_run_over_time_is_that_of_the_hpa(
        (scale_up, scale_down, bounds) in (any_rules(), any_rules(), any_question()),
        looks in prop::collection::vec((pause(), 0..50i32, prop::option::weighted(0.05, 0..40i32)), 1..80),
    ) {
        let behavior = Behavior { scale_up, scale_down };
        let (mut model, mut history) = (autoscaler(&behavior, &bounds), History::default());
        let (mut now, mut current) = (0, bounds.current);
        for (later, recommended, moved_by_others) in looks {
            now += later;
            current = moved_by_others.unwrap_or(current);
            if history.recommended.is_empty() {
                history.note(Recommended { at: at(now), replicas: current });
            }
            let question = Question { current, recommended, ..bounds };
            let answer = limit(&behavior, &question, &history, at(now));
            let verdict = verdict(&answer);
            prop_assert_eq!(verdict, model.reconcile(now, current.into(), recommended.into()), "after {} ms", now);
            // The HPA computes nothing, and so notes nothing, while the size is out of bounds.
            if (bounds.min..=bounds.max).contains(&current) {
                history.note(Recommended { at: at(now), replicas: question.tolerated() });
            }
            history.changed(Changed { at: at(now), from: current, to: answer.to });
            current = answer.to;
        }
    }
}
