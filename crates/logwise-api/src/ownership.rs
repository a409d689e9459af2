//! Who owns an outside thing that several LogwiseClusters name.

use crate::LogwiseCluster;
use kube::ResourceExt;
use std::sync::Arc;

/// `namespace/name` of the LogwiseCluster that owns what `contenders` all name, if it is not `cluster`: the oldest, then
/// the first by name. One that is being deleted owns nothing any more.
pub fn older_owner(cluster: &LogwiseCluster, contenders: &[Arc<LogwiseCluster>]) -> Option<String> {
    let age =
        |c: &LogwiseCluster| (c.metadata.creation_timestamp.clone().map(|time| time.0), c.namespace(), c.name_any());
    let staying = contenders.iter().filter(|contender| contender.metadata.deletion_timestamp.is_none());
    let first = staying.min_by_key(|contender| age(contender))?;
    (first.uid() != cluster.uid()).then(|| format!("{}/{}", first.namespace().unwrap_or_default(), first.name_any()))
}
