//! Metrics. Every pipeline metric carries `namespace` and `cluster`; names are part of the interface.

mod spark;
mod topics;

pub use spark::{Direction, ScaleOutcome, SparkFigures, SubmissionResult};
pub use topics::TopicFigures;

use crate::Part;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use spark::SparkSeries;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use topics::TopicSeries;

/// Labels of one pipeline.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Pipeline {
    /// Namespace of the LogwiseCluster.
    pub namespace: String,
    /// Its name.
    pub cluster: String,
}

/// Labels of a pipeline's workers in one state.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Workers {
    namespace: String,
    cluster: String,
    state: &'static str,
}

/// Labels of a bucket's rules of one owner.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Rules {
    namespace: String,
    cluster: String,
    owner: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reconciles {
    part: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Errors {
    part: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Transitions {
    r#type: &'static str,
    status: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPart {
    part: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Facts {
    fact: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Success,
    /// Something could not be read or written.
    Error,
    /// By a panic or the deadline.
    Broken,
}

impl Ending {
    const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Broken => "broken",
        }
    }
}

/// Owners in `logwise_s3_lifecycle_rules`.
const RULE_OWNERS: [&str; 2] = ["logwise", "other"];

/// All metrics of the operator.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconciles, Counter>,
    durations: Family<OfPart, Histogram, fn() -> Histogram>,
    waits: Family<OfPart, Histogram, fn() -> Histogram>,
    errors: Family<Errors, Counter>,
    facts: Family<Facts, Counter>,
    transitions: Family<Transitions, Counter>,
    topics: Family<Pipeline, Gauge>,
    partitions: Family<Pipeline, Gauge>,
    limited_topics: Family<Pipeline, Gauge>,
    topic_series: TopicSeries,
    retention_headroom: Family<Pipeline, Gauge<f64, AtomicU64>>,
    partition_increases: Family<Pipeline, Counter>,
    workers: Family<Workers, Gauge>,
    spark: SparkSeries,
    rules: Family<Rules, Gauge>,
    pending_changes: Family<Pipeline, Gauge>,
    mirror_lag_seconds: Gauge,
    mirror_dropped: Gauge,
    is_leader: Gauge,
    epoch: Gauge,
}

/// Worker states in `logwise_spark_workers`.
pub const WORKER_STATES: [&str; 3] = ["desired", "in_service", "alive"];

fn duration_buckets() -> Histogram {
    Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0])
}

impl Metrics {
    /// All metrics, registered, with the build's version.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        let mut metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            durations: Family::new_with_constructor(duration_buckets as fn() -> Histogram),
            waits: Family::new_with_constructor(duration_buckets as fn() -> Histogram),
            errors: Family::default(),
            facts: Family::default(),
            transitions: Family::default(),
            topics: Family::default(),
            partitions: Family::default(),
            limited_topics: Family::default(),
            topic_series: TopicSeries::default(),
            retention_headroom: Family::default(),
            partition_increases: Family::default(),
            workers: Family::default(),
            spark: SparkSeries::default(),
            rules: Family::default(),
            pending_changes: Family::default(),
            mirror_lag_seconds: Gauge::default(),
            mirror_dropped: Gauge::default(),
            is_leader: Gauge::default(),
            epoch: Gauge::default(),
        };
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version }).set(1);
        registry.register("logwise_build_info", "Version of the operator", build);
        metrics.register_operator(&mut registry);
        metrics.register_pipeline(&mut registry);
        metrics.registry = registry;
        metrics
    }

    fn register_operator(&self, registry: &mut Registry) {
        registry.register("logwise_operator_is_leader", "1 while this replica leads, else 0", self.is_leader.clone());
        registry.register(
            "logwise_operator_epoch",
            "Number of the last term that this replica led",
            self.epoch.clone(),
        );
        registry.register("logwise_operator_reconcile", "Reconciles by part and result", self.reconciles.clone());
        registry.register(
            "logwise_operator_reconcile_duration_seconds",
            "Duration of a reconcile",
            self.durations.clone(),
        );
        registry.register(
            "logwise_operator_queue_duration_seconds",
            "Time that an object waited for a place before its reconcile",
            self.waits.clone(),
        );
        registry.register(
            "logwise_operator_reconcile_errors",
            "Failed reads and writes by part and class",
            self.errors.clone(),
        );
        registry.register(
            "logwise_operator_facts",
            "Facts that one part told the others, by kind and whether they were known",
            self.facts.clone(),
        );
        registry.register(
            "logwise_operator_condition_transitions",
            "Conditions that changed their status or reason",
            self.transitions.clone(),
        );
        registry.register(
            "logwise_mirror_lag_seconds",
            "Age of the oldest change that the Orchestrator DB does not hold yet",
            self.mirror_lag_seconds.clone(),
        );
        registry.register(
            "logwise_mirror_dropped_decisions",
            "Decision records dropped since the start because the Orchestrator DB was away",
            self.mirror_dropped.clone(),
        );
    }

    fn register_pipeline(&self, registry: &mut Registry) {
        registry.register("logwise_kafka_topics", "Topics of the pipeline", self.topics.clone());
        registry.register("logwise_kafka_partitions", "Partitions of the pipeline's topics", self.partitions.clone());
        registry.register(
            "logwise_kafka_limited_topics",
            "Topics that have fewer partitions than they should have",
            self.limited_topics.clone(),
        );
        registry.register("logwise_kafka_partition_increases", "Topics grown", self.partition_increases.clone());
        registry.register(
            "logwise_kafka_retention_headroom_ratio",
            "Least share of its retention that is left to an unread record",
            self.retention_headroom.clone(),
        );
        registry.register_collector(Box::new(self.topic_series.clone()));
        registry.register("logwise_spark_workers", "Spark workers by state", self.workers.clone());
        self.spark.register(registry);
        registry.register("logwise_s3_lifecycle_rules", "Lifecycle rules of the bucket by owner", self.rules.clone());
        registry.register(
            "logwise_plan_pending_changes",
            "Changes that are wanted but held",
            self.pending_changes.clone(),
        );
    }

    /// Everything in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    /// Whether this replica leads, and the number of its term. One that does not lead does not know how pipelines are:
    /// their gauges go.
    pub fn leading(&self, leads: bool, epoch: i64) {
        self.is_leader.set(i64::from(leads));
        self.epoch.set(epoch);
        if !leads {
            self.gauges().into_iter().for_each(Family::clear);
            self.topic_series.clear();
            self.retention_headroom.clear();
            self.workers.clear();
            self.spark.clear();
            self.rules.clear();
        }
    }

    /// The gauges with no more labels than those of a pipeline.
    fn gauges(&self) -> [&Family<Pipeline, Gauge>; 4] {
        [&self.topics, &self.partitions, &self.limited_topics, &self.pending_changes]
    }

    /// One reconcile of `part` ended.
    pub fn reconciled(&self, part: Part, ending: Ending, took: Duration) {
        self.reconciles.get_or_create(&Reconciles { part: part.label(), result: ending.label() }).inc();
        self.durations.get_or_create(&OfPart { part: part.label() }).observe(took.as_secs_f64());
    }

    /// An object waited so long for one of the places of `part`.
    pub fn waited(&self, part: Part, time: Duration) {
        self.waits.get_or_create(&OfPart { part: part.label() }).observe(time.as_secs_f64());
    }

    /// A read or write of `part` failed.
    pub fn failed(&self, part: Part, class: crate::ErrorClass) {
        self.errors.get_or_create(&Errors { part: part.label(), reason: class.label() }).inc();
    }

    /// A part told the others a fact.
    pub fn told(&self, fact: &'static str, known: bool) {
        self.facts.get_or_create(&Facts { fact, state: if known { "known" } else { "unknown" } }).inc();
    }

    /// A condition changed its status or reason.
    pub fn transition(&self, now: &crate::conditions::Draft) {
        let labels = Transitions { r#type: now.kind.name(), status: now.truth.name(), reason: now.reason.name() };
        self.transitions.get_or_create(&labels).inc();
    }

    /// What a look at Kafka found.
    pub fn kafka(&self, of: &Pipeline, topics: i64, partitions: i64, limited: i64) {
        self.topics.get_or_create(of).set(topics);
        self.partitions.get_or_create(of).set(partitions);
        self.limited_topics.get_or_create(of).set(limited);
    }

    /// The least share of its retention that is left to an unread record; `None`: nothing is known to wait, the series
    /// goes.
    pub fn retention_headroom(&self, of: &Pipeline, ratio: Option<f64>) {
        match ratio {
            Some(ratio) => _ = self.retention_headroom.get_or_create(of).set(ratio),
            None => _ = self.retention_headroom.remove(of),
        }
    }

    /// The series of each topic.
    pub fn kafka_topics(&self, of: &Pipeline, topics: BTreeMap<String, TopicFigures>) {
        self.topic_series.set(of, topics);
    }

    /// Topics were grown.
    pub fn partitions_increased(&self, of: &Pipeline, topics: u64) {
        self.partition_increases.get_or_create(of).inc_by(topics);
    }

    /// Workers in one of [`WORKER_STATES`]; `None`: unknown, the series goes.
    pub fn workers(&self, of: &Pipeline, state: &'static str, count: Option<i64>) {
        let labels = Workers { namespace: of.namespace.clone(), cluster: of.cluster.clone(), state };
        match count {
            Some(count) => {
                self.workers.get_or_create(&labels).set(count);
            }
            None => {
                self.workers.remove(&labels);
            }
        }
    }

    /// What is known of the query and of the workers that it wants.
    pub fn spark(&self, of: &Pipeline, figures: &SparkFigures) {
        self.spark.set(of, figures);
    }

    /// The number of workers was changed, or tried to be.
    pub fn scaled(&self, of: &Pipeline, direction: Direction, outcome: ScaleOutcome) {
        self.spark.scaled(of, direction, outcome);
    }

    /// A driver was submitted.
    pub fn driver_submitted(&self, of: &Pipeline, result: SubmissionResult) {
        self.spark.submitted(of, result);
    }

    /// Rules of the bucket.
    pub fn rules(&self, of: &Pipeline, ours: i64, others: i64) {
        for (owner, count) in RULE_OWNERS.into_iter().zip([ours, others]) {
            let labels = Rules { namespace: of.namespace.clone(), cluster: of.cluster.clone(), owner };
            self.rules.get_or_create(&labels).set(count);
        }
    }

    /// Changes that are wanted but held, over all parts.
    pub fn pending(&self, of: &Pipeline, changes: i64) {
        self.pending_changes.get_or_create(of).set(changes);
    }

    /// State of the mirror.
    pub fn mirror(&self, lag_seconds: i64, dropped_decisions: i64) {
        self.mirror_lag_seconds.set(lag_seconds);
        self.mirror_dropped.set(dropped_decisions);
    }

    /// Drops every series of a pipeline that was deleted.
    pub fn forget(&self, of: &Pipeline) {
        for family in self.gauges() {
            family.remove(of);
        }
        self.partition_increases.remove(of);
        self.topic_series.forget(of);
        self.retention_headroom.remove(of);
        for state in WORKER_STATES {
            self.workers(of, state, None);
        }
        let Pipeline { namespace, cluster } = of.clone();
        for owner in RULE_OWNERS {
            self.rules.remove(&Rules { namespace: namespace.clone(), cluster: cluster.clone(), owner });
        }
        self.spark.forget(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{ConditionType, Draft, Reason};

    /// Touches every metric once.
    fn touched() -> Metrics {
        let metrics = Metrics::new("0.0.0-test");
        let of = Pipeline { namespace: "ns".into(), cluster: "demo".into() };
        metrics.reconciled(Part::Kafka, Ending::Success, Duration::from_millis(20));
        metrics.waited(Part::Kafka, Duration::from_millis(2));
        metrics.failed(Part::Spark, crate::ErrorClass::Transient);
        metrics.told("cores", true);
        metrics.transition(&Draft::new(ConditionType::KafkaReady, true, Reason::Available, ""));
        metrics.kafka(&of, 1, 3, 0);
        metrics.partitions_increased(&of, 1);
        metrics.workers(&of, "alive", Some(2));
        let (known, count) = (Some(true), Some(1));
        let figures = SparkFigures {
            driver_up: known,
            batch_duration_seconds: count,
            wanted_workers: count,
            records_per_second_per_core: count,
            backlog_records: count,
            backlog_age_seconds: count,
        };
        metrics.spark(&of, &figures);
        metrics.scaled(&of, Direction::Out, ScaleOutcome::Done);
        metrics.driver_submitted(&of, SubmissionResult::Accepted);
        metrics.rules(&of, 4, 2);
        metrics.pending(&of, 1);
        metrics.mirror(0, 0);
        metrics
    }

    #[test]
    fn metric_names_and_labels_are_as_documented() {
        let golden = include_str!("../tests/metrics.txt");
        // Series of one metric come in any order.
        let mut lines: Vec<String> = touched().render().lines().map(str::to_owned).collect();
        lines.sort();
        let text = lines.join("\n");
        if std::env::var_os("LOGWISE_BLESS").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics.txt"), &text).unwrap();
        } else {
            assert_eq!(text, golden, "metrics changed: run with LOGWISE_BLESS=1 and tell users in CHANGELOG.md");
        }
    }

    #[test]
    fn a_replica_that_led_shows_no_old_gauges_and_keeps_its_counts() {
        let metrics = touched();
        metrics.leading(true, 7);
        assert!(metrics.render().contains("logwise_spark_workers{"));
        metrics.leading(false, 7);
        let text = metrics.render();
        let of_pipelines: Vec<&str> = text.lines().filter(|line| line.contains("cluster=\"demo\"")).collect();
        assert!(of_pipelines.iter().all(|line| line.contains("_total{")), "{of_pipelines:#?}");
        assert!(text.contains("logwise_kafka_partition_increases_total{") && text.contains("logwise_operator_epoch 7"));
    }

    #[test]
    fn a_deleted_pipeline_leaves_no_series() {
        let metrics = touched();
        metrics.forget(&Pipeline { namespace: "ns".into(), cluster: "demo".into() });
        assert!(!metrics.render().contains("demo"), "{}", metrics.render());
    }
}
