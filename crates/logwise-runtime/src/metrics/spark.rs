//! Series of the Spark side: what is known of a pipeline's query and of the workers that it wants, and what was changed.

use super::Pipeline;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of changes of the number of workers.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Scaling {
    namespace: String,
    cluster: String,
    direction: &'static str,
    outcome: &'static str,
}

/// Labels of submissions of a driver.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Submissions {
    namespace: String,
    cluster: String,
    result: &'static str,
}

/// Which way the number of workers was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More workers.
    Out,
    /// Fewer workers.
    In,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Out, Self::In];

    const fn label(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What became of a change of the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleOutcome {
    /// The number is the new one.
    Done,
    /// The call failed.
    Failed,
    /// Things were no longer as the plan assumed.
    Superseded,
}

impl ScaleOutcome {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Superseded];

    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }
}

/// What became of the submission of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmissionResult {
    /// The master took it.
    Accepted,
    /// The master did not take it.
    Refused,
    /// There was no answer.
    Unknown,
}

impl SubmissionResult {
    const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Unknown];

    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of a pipeline's query and of the workers that it wants; what is not known has no series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SparkFigures {
    /// Whether a driver of the pipeline runs.
    pub driver_up: Option<bool>,
    /// Seconds from the begin of the newest committed batch to its commit.
    pub batch_duration_seconds: Option<i64>,
    /// Workers that are wanted.
    pub wanted_workers: Option<i64>,
    /// Records per second that one core of an executor reads and writes.
    pub records_per_second_per_core: Option<i64>,
    /// Records that the query has not read.
    pub backlog_records: Option<i64>,
    /// Seconds that the oldest of these has waited.
    pub backlog_age_seconds: Option<i64>,
}

/// Name, help and figure of one gauge.
type Figure = (&'static str, &'static str, fn(&SparkFigures) -> Option<i64>);

const FIGURES: [Figure; 6] = [
    ("logwise_spark_driver_up", "Whether a driver of the pipeline runs", |spark| spark.driver_up.map(i64::from)),
    ("logwise_spark_batch_duration_seconds", "Duration of the newest batch that was committed", |spark| {
        spark.batch_duration_seconds
    }),
    ("logwise_spark_wanted_workers", "Workers that are wanted", |spark| spark.wanted_workers),
    ("logwise_spark_records_per_second_per_core", "Records per second that one core reads and writes", |spark| {
        spark.records_per_second_per_core
    }),
    ("logwise_spark_backlog_records", "Records that the query has not read", |spark| spark.backlog_records),
    ("logwise_spark_backlog_age_seconds", "Age of the oldest record that the query has not read", |spark| {
        spark.backlog_age_seconds
    }),
];

/// The series of all pipelines.
#[derive(Default)]
pub(super) struct SparkSeries {
    gauges: [Family<Pipeline, Gauge>; FIGURES.len()],
    scale_decisions: Family<Scaling, Counter>,
    submissions: Family<Submissions, Counter>,
}

impl SparkSeries {
    pub(super) fn register(&self, registry: &mut Registry) {
        for ((name, help, _), gauge) in FIGURES.iter().zip(&self.gauges) {
            registry.register(*name, *help, gauge.clone());
        }
        let (scalings, submissions) = (self.scale_decisions.clone(), self.submissions.clone());
        registry.register("logwise_spark_scale_decisions", "Changes of the number of workers", scalings);
        registry.register("logwise_spark_driver_submissions", "Submissions of the driver by result", submissions);
    }

    pub(super) fn set(&self, of: &Pipeline, figures: &SparkFigures) {
        for ((_, _, figure), gauge) in FIGURES.iter().zip(&self.gauges) {
            match figure(figures) {
                Some(figure) => _ = gauge.get_or_create(of).set(figure),
                None => _ = gauge.remove(of),
            }
        }
    }

    pub(super) fn scaled(&self, of: &Pipeline, direction: Direction, outcome: ScaleOutcome) {
        self.scale_decisions.get_or_create(&scaling(of, direction, outcome)).inc();
    }

    pub(super) fn submitted(&self, of: &Pipeline, result: SubmissionResult) {
        self.submissions.get_or_create(&submissions(of, result)).inc();
    }

    /// The gauges go; counters stay.
    pub(super) fn clear(&self) {
        self.gauges.iter().for_each(Family::clear);
    }

    pub(super) fn forget(&self, of: &Pipeline) {
        self.set(of, &SparkFigures::default());
        for direction in Direction::ALL {
            for outcome in ScaleOutcome::ALL {
                self.scale_decisions.remove(&scaling(of, direction, outcome));
            }
        }
        for result in SubmissionResult::ALL {
            self.submissions.remove(&submissions(of, result));
        }
    }
}

fn scaling(of: &Pipeline, direction: Direction, outcome: ScaleOutcome) -> Scaling {
    let Pipeline { namespace, cluster } = of.clone();
    Scaling { namespace, cluster, direction: direction.label(), outcome: outcome.label() }
}

fn submissions(of: &Pipeline, result: SubmissionResult) -> Submissions {
    let Pipeline { namespace, cluster } = of.clone();
    Submissions { namespace, cluster, result: result.label() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(series: &SparkSeries) -> String {
        let mut registry = Registry::default();
        series.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_no_longer_known_has_no_series() {
        let series = SparkSeries::default();
        let of = Pipeline { namespace: "n".into(), cluster: "a".into() };
        let known = SparkFigures { driver_up: Some(false), backlog_records: Some(0), ..SparkFigures::default() };
        series.set(&of, &known);
        let labels = r#"{namespace="n",cluster="a"} 0"#;
        let shown = text(&series);
        for name in ["logwise_spark_driver_up", "logwise_spark_backlog_records"] {
            assert!(shown.contains(&format!("{name}{labels}")), "{shown}");
        }
        assert!(!shown.contains("logwise_spark_wanted_workers{"), "{shown}");
        series.set(&of, &SparkFigures { backlog_records: None, ..known });
        let shown = text(&series);
        assert!(shown.contains("driver_up{") && !shown.contains("backlog_records{"), "{shown}");
    }

    #[test]
    fn the_end_of_a_term_takes_gauges_and_the_end_of_an_object_all() {
        let series = SparkSeries::default();
        let of = Pipeline { namespace: "n".into(), cluster: "a".into() };
        series.set(&of, &SparkFigures { wanted_workers: Some(3), ..SparkFigures::default() });
        series.scaled(&of, Direction::In, ScaleOutcome::Done);
        series.submitted(&of, SubmissionResult::Unknown);
        series.clear();
        let shown = text(&series);
        assert!(!shown.contains("wanted_workers{"), "{shown}");
        assert!(shown.contains(r#"direction="in",outcome="done"} 1"#), "{shown}");
        assert!(shown.contains(r#"result="unknown"} 1"#), "{shown}");
        series.forget(&of);
        assert!(!text(&series).contains("cluster="), "{}", text(&series));
    }
}
