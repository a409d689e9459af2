//! What a plan about topics takes from elsewhere: other objects of the same Kafka cluster, what was spent today, and what
//! other parts have read.

use crate::controller::Context;
use crate::{Look, growth, headroom};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use logwise_api::{LogwiseCluster, validate};
use logwise_plan::Known;
use logwise_plan::partitions::{Claim, Policy};
use logwise_runtime::facts::{CheckpointPosition, Fact, TopicEnds, TopicStarts};
use logwise_runtime::{Shell, chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Adds to a look what the plan needs besides, and the smallest of the budgets that hold for the cluster to the policy.
pub(crate) fn add(
    look: &mut Look,
    policy: &mut Policy,
    cluster: &LogwiseCluster,
    (shell, clusters): (&Shell, &Store<LogwiseCluster>),
) {
    look.facts.pending = validate::pending_growths(cluster);
    let uid = cluster.uid().unwrap_or_default();
    look.facts.cores = shell.facts.cores.read(&uid, Instant::now()).map(|cores| cores.total);
    let resource = growth::resource(look);
    let spent = resource.as_ref().map(|resource| shell.intents.last(resource));
    look.facts.spent = match spent {
        None => Known::Unknown("the id of the Kafka cluster is not known".to_owned()),
        Some(Ok(None)) => Known::Known(0),
        Some(Ok(Some(intent))) => Known::Known(i32::try_from(intent.spent_at(Timestamp::now())).unwrap_or(i32::MAX)),
        Some(Err(unreadable)) => Known::Unknown(chain(&unreadable)),
    };
    let others = others(cluster, look, (shell, clusters));
    let budgets = others.iter().filter_map(|other| validate::daily_budget(other));
    policy.scaling.daily_budget = budgets.fold(policy.scaling.daily_budget, i32::min);
    look.facts.claims =
        others.iter().filter(|other| is_older(other, cluster)).filter_map(|other| claim(other)).collect();
}

/// Records of each topic that the streaming query had not read when its position was read last, which follows a look: so
/// by the ends that the look before this one has told. Unknown while one of them is, or was read at another time. `first`
/// are the first offsets of a topic: what is gone needs no reading, and without them nobody knows what is.
pub(crate) fn lag(
    look: &mut Look,
    (ends, position): (Option<&Fact<TopicEnds>>, Option<&Fact<CheckpointPosition>>),
    first: impl Fn(&str) -> Option<BTreeMap<i32, i64>>,
) {
    let (Some(ends), Some(position)) = (ends, position) else { return };
    let Known::Known(topics) = &mut look.facts.topics else { return };
    if !ends.belongs_with(position) {
        return;
    }
    let (Known::Known(ends), Known::Known(position)) = (&ends.value, &position.value) else { return };
    for (name, topic) in topics {
        let (Some(Known::Known(ends)), Some(read)) = (ends.get(name), position.offsets.get(name)) else { continue };
        if let Some(first) = first(name) {
            topic.lag = Known::Known(unread(ends, read, &first));
        }
    }
}

/// Records between what was read of each partition, or its first record if that comes later, and its end.
fn unread(ends: &BTreeMap<i32, i64>, read: &BTreeMap<i32, i64>, first: &BTreeMap<i32, i64>) -> i64 {
    // A partition that the query does not know yet is read from its begin.
    let next = |partition: &i32| read.get(partition).max(first.get(partition)).copied().unwrap_or(0);
    let each = ends.iter().map(|(partition, end)| end.saturating_sub(next(partition)).max(0));
    each.fold(0, i64::saturating_add)
}

/// Tells the other parts why nothing could be read of the topics of this object, if it has any.
pub(crate) fn tell_unread(cluster: &LogwiseCluster, context: &Context, why: &str) {
    if cluster.spec.kafka.as_ref().is_none_or(|kafka| kafka.topics.is_none()) {
        return;
    }
    let (shell, uid, taken) = (&context.shell, cluster.uid().unwrap_or_default(), Instant::now());
    let period = Duration::from_secs(context.period_seconds.into());
    shell.tell(&shell.facts.topic_ends, &uid, Fact { value: Known::Unknown(why.to_owned()), taken, period });
    headroom::tell_unread(shell, &uid, (why, taken));
}

/// Tells the other parts the first offsets of the topics of a look, as far as any were read. They are up to ten minutes
/// old: what has expired since counts as something to be read, never the other way round.
pub(crate) fn tell_starts(
    look: &Look,
    uid: &str,
    context: &Context,
    first: impl Fn(&str) -> Option<BTreeMap<i32, i64>>,
) {
    let Known::Known(ends) = &look.ends else { return };
    let starts = starts(ends, first);
    if starts.values().any(|first| first.known().is_some()) {
        let (taken, period) = (Instant::now(), Duration::from_secs(context.period_seconds.into()));
        let fact = Fact { value: Known::Known(starts), taken, period };
        context.shell.tell(&context.shell.facts.topic_starts, uid, fact);
    }
}

/// The first offsets of these topics.
fn starts(ends: &TopicEnds, first: impl Fn(&str) -> Option<BTreeMap<i32, i64>>) -> TopicStarts {
    let unread = || Known::Unknown("its first offsets were not read yet".to_owned());
    ends.keys().map(|name| (name.clone(), first(name).map_or_else(unread, Known::Known))).collect()
}

/// Other objects that watch topics of the same Kafka cluster and may do so.
fn others(
    cluster: &LogwiseCluster,
    look: &Look,
    (shell, clusters): (&Shell, &Store<LogwiseCluster>),
) -> Vec<Arc<LogwiseCluster>> {
    let id = look.cluster.known().and_then(|cluster| cluster.cluster_id.as_deref());
    clusters.state_filter(|other| {
        other.uid() != cluster.uid()
            && other.metadata.deletion_timestamp.is_none()
            && other.spec.kafka.as_ref().is_some_and(|kafka| kafka.topics.is_some())
            && is_same(cluster, other, id)
            && shell.access.decide(&other.namespace().unwrap_or_default(), &validate::references(other)).is_ok()
    })
}

/// Whether both name the same Kafka cluster: it has said so to both, or they name it by a common address.
fn is_same(cluster: &LogwiseCluster, other: &LogwiseCluster, id: Option<&str>) -> bool {
    let servers =
        |of: &LogwiseCluster| of.spec.kafka.iter().flat_map(|kafka| kafka.bootstrap_servers.clone()).collect();
    let (ours, theirs): (Vec<String>, Vec<String>) = (servers(cluster), servers(other));
    let told = other.status.as_ref().and_then(|status| status.kafka.as_ref()?.cluster_id.as_deref());
    (id.is_some() && told == id) || ours.iter().any(|server| theirs.contains(server))
}

/// By age, then by name.
fn is_older(other: &LogwiseCluster, cluster: &LogwiseCluster) -> bool {
    let age = |of: &LogwiseCluster| {
        (of.creation_timestamp().map(|time| time.0), of.namespace().unwrap_or_default(), of.name_any())
    };
    age(other) < age(cluster)
}

fn claim(other: &LogwiseCluster) -> Option<Claim> {
    let topics = validate::topics(other)?.ok()?;
    Some(Claim { owner: format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()), topics })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_offsets_are_told_of_the_topics_that_are_there() {
        let ends = ["a", "b"].map(|name| (name.to_owned(), Known::Known(BTreeMap::from([(0, 9)]))));
        let read = BTreeMap::from([("a", BTreeMap::from([(0, 4)])), ("gone", BTreeMap::from([(0, 1)]))]);
        let told = starts(&TopicEnds::from(ends), |name| read.get(name).cloned());
        assert_eq!(told["a"], Known::Known(BTreeMap::from([(0, 4)])));
        assert!(told["b"].is_unknown() && told.len() == 2, "{told:?}");
    }

    #[test]
    fn records_that_are_gone_are_not_waited_for() {
        let of = |offsets: &[i64]| -> BTreeMap<i32, i64> { (0..).zip(offsets.iter().copied()).collect() };
        let ends = of(&[100, 100, 100, 100]);
        let read = of(&[90, 10, 100]);
        assert_eq!(unread(&ends, &read, &BTreeMap::new()), 10 + 90 + 100, "from the begin where nothing was read");
        assert_eq!(unread(&ends, &read, &of(&[20, 40, 50, 70])), 10 + 60 + 30);
        assert_eq!(unread(&ends, &of(&[900; 4]), &of(&[100; 4])), 0, "never less than nothing");
    }
}
