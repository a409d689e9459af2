//! What of `kafka.expected` is not met, or not known to be met.

use super::Found;
use logwise_api::ExpectedKafka;
use logwise_plan::Known;
use logwise_plan::partitions::Topic;
use logwise_runtime::conditions::{ConditionType, Draft, Reason, Truth};
use logwise_runtime::words;
use std::collections::BTreeMap;

const KIND: ConditionType = ConditionType::KafkaReady;

impl Found<'_> {
    /// What of `kafka.expected` is not met, or not known to be met.
    pub(super) fn less_than_expected(&self) -> Option<Draft> {
        let expected = self.cluster.spec.kafka.as_ref()?.expected.as_ref()?;
        let brokers = self.look.cluster.known().map(|cluster| cluster.brokers);
        if let (Some(brokers), Some(wanted)) = (brokers, expected.brokers)
            && brokers < wanted
        {
            let message = format!(
                "{brokers} of {wanted} brokers are up. Bring the others back, or correct `kafka.expected.brokers`"
            );
            return Some(Draft::new(KIND, false, Reason::BrokersMissing, message));
        }
        let topics = self.topics().filter(|_| self.policy.is_some())?;
        let below = topics.iter().filter_map(|(name, topic)| self.below(name, topic, expected));
        let below: Vec<String> = below.collect();
        if !below.is_empty() {
            let message = format!(
                "{} topics have fewer replicas than `kafka.expected` says: {}. Change the topics, or correct \
                 `kafka.expected`",
                below.len(),
                words::first_few(&below)
            );
            return Some(Draft::new(KIND, false, Reason::ReplicationBelowTarget, message));
        }
        expected.min_in_sync_replicas.and_then(|_| self.not_known(topics))
    }

    /// What a topic has less than it should have, if anything.
    fn below(&self, name: &str, topic: &Topic, expected: &ExpectedKafka) -> Option<String> {
        let wanted = expected.replication_factor.unwrap_or(0);
        let (least, partitions): (i32, i32) = match self.look.uneven.get(name) {
            // One partition is enough: what it holds is lost with its replicas.
            Some(replicas) => {
                let least = replicas.keys().next().copied().unwrap_or(topic.replication_factor);
                (least, replicas.range(..wanted).map(|(_, partitions)| *partitions).sum())
            }
            None => (topic.replication_factor, topic.partitions),
        };
        if least < wanted {
            return Some(format!("{name} has {least} replicas in {partitions} of {} partitions", topic.partitions));
        }
        let least = *self.descriptions.get(name)?.min_in_sync.known()?;
        let wanted = expected.min_in_sync_replicas.unwrap_or(0);
        (least < wanted).then(|| format!("{name} has min.insync.replicas {least}"))
    }

    /// Topics of which it is not known how many replicas have to be in sync: that is not taken for enough.
    fn not_known(&self, topics: &BTreeMap<String, Topic>) -> Option<Draft> {
        let (mut unread, mut unseen) = (Vec::new(), Vec::new());
        for name in topics.keys() {
            match self.descriptions.get(name).map(|description| &description.min_in_sync) {
                Some(Known::Known(_)) => {}
                Some(Known::Unknown(why)) => unread.push(format!("{name}: {why}")),
                Some(Known::Absent) | None => unseen.push(name),
            }
        }
        if !unread.is_empty() {
            let message = format!(
                "`min.insync.replicas` of {} topics could not be read: {}. It is tried again",
                unread.len(),
                words::first_few(&unread)
            );
            return Some(Draft::new(KIND, Truth::Unknown, Reason::Unreadable, message));
        }
        let message = format!(
            "`min.insync.replicas` of {} topics was not read yet: {}. The next looks go on with them",
            unseen.len(),
            words::first_few(&unseen)
        );
        (!unseen.is_empty()).then(|| Draft::new(KIND, Truth::Unknown, Reason::Pending, message))
    }
}
