//! Series per topic: replaced as a whole with each look, so that topics that are gone leave none behind.

use super::Pipeline;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the series of one topic show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicFigures {
    /// Partitions.
    pub partitions: i64,
    /// Records per second, if known.
    pub rate: Option<i64>,
    /// Records that were not read yet, if known.
    pub lag: Option<i64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    namespace: String,
    cluster: String,
    topic: String,
}

type Topics = HashMap<Pipeline, BTreeMap<String, TopicFigures>>;

/// The topics of all pipelines; the clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicSeries(Arc<Mutex<Topics>>);

/// Name, help and figure of one family.
type Series = (&'static str, &'static str, fn(&TopicFigures) -> Option<i64>);

const SERIES: [Series; 3] = [
    ("logwise_kafka_topic_partitions", "Partitions of a topic", |topic| Some(topic.partitions)),
    ("logwise_kafka_topic_records_per_second", "Rate of a topic, 95th percentile of the window", |topic| topic.rate),
    ("logwise_kafka_consumer_lag_records", "Records of a topic that the query has not read", |topic| topic.lag),
];

impl TopicSeries {
    pub(super) fn set(&self, of: &Pipeline, topics: BTreeMap<String, TopicFigures>) {
        self.lock().insert(of.clone(), topics);
    }

    pub(super) fn forget(&self, of: &Pipeline) {
        self.lock().remove(of);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for TopicSeries {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let all = self.lock();
        for (name, help, figure) in SERIES {
            let mut family = None;
            for (of, topics) in all.iter() {
                for (topic, figures) in topics {
                    let Some(value) = figure(figures) else { continue };
                    let gauge = ConstGauge::new(value);
                    if family.is_none() {
                        family = Some(encoder.encode_descriptor(name, help, None, gauge.metric_type())?);
                    }
                    let Some(family) = family.as_mut() else { continue };
                    let labels =
                        Labels { namespace: of.namespace.clone(), cluster: of.cluster.clone(), topic: topic.clone() };
                    gauge.encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
