//! Who owns an outside thing that several LogwiseClusters name.

use crate::LogwiseCluster;
use kube::ResourceExt;
use std::sync::Arc;

/// [`older_owner`], if nobody is on record as the owner (`namespace`, `name`) any more: age decides only the first
/// claim, since a restore from a backup turns ages around.
pub fn owner_on_record(
    cluster: &LogwiseCluster,
    contenders: &[Arc<LogwiseCluster>],
    recorded: Option<(&str, &str)>,
) -> Option<String> {
    let is = |c: &LogwiseCluster| {
        c.metadata.deletion_timestamp.is_none()
            && recorded
                .is_some_and(|(namespace, name)| c.namespace().as_deref() == Some(namespace) && c.name_any() == name)
    };
    match contenders.iter().find(|contender| is(contender)) {
        Some(owner) if owner.uid() == cluster.uid() => None,
        Some(owner) => Some(format!("{}/{}", owner.namespace().unwrap_or_default(), owner.name_any())),
        None => older_owner(cluster, contenders),
    }
}

/// `namespace/name` of the LogwiseCluster that owns what `contenders` all name, if it is not `cluster`: the oldest, then
/// the first by name. One that is being deleted owns nothing any more.
pub fn older_owner(cluster: &LogwiseCluster, contenders: &[Arc<LogwiseCluster>]) -> Option<String> {
    let age =
        |c: &LogwiseCluster| (c.metadata.creation_timestamp.clone().map(|time| time.0), c.namespace(), c.name_any());
    let staying = contenders.iter().filter(|contender| contender.metadata.deletion_timestamp.is_none());
    let first = staying.min_by_key(|contender| age(contender))?;
    (first.uid() != cluster.uid()).then(|| format!("{}/{}", first.namespace().unwrap_or_default(), first.name_any()))
}
