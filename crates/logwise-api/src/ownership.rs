//! Who owns an outside thing that several LogwiseClusters name.

use crate::LogwiseCluster;
use kube::ResourceExt;
use std::sync::Arc;

/// `namespace/name` of the LogwiseCluster that owns what `contenders` all name, if it is not `cluster`: the one that is on
/// record (`namespace`, `name`), else the oldest, then the first by name. Age decides only the first claim, since a
/// restore from a backup turns ages around. One that is being deleted owns nothing any more.
pub fn owner_on_record(
    cluster: &LogwiseCluster,
    contenders: &[Arc<LogwiseCluster>],
    recorded: Option<(&str, &str)>,
) -> Option<String> {
    let name = |c: &LogwiseCluster| (c.namespace().unwrap_or_default(), c.name_any());
    let age = |c: &LogwiseCluster| (c.metadata.creation_timestamp.clone().map(|time| time.0), name(c));
    let is_on_record = |c: &LogwiseCluster| {
        let (namespace, name) = name(c);
        recorded == Some((&namespace, &name))
    };
    let staying = || contenders.iter().filter(|contender| contender.metadata.deletion_timestamp.is_none());
    let owner = staying().find(|c| is_on_record(c)).or_else(|| staying().min_by_key(|c| age(c)))?;
    let (namespace, name) = name(owner);
    (owner.uid() != cluster.uid()).then(|| format!("{namespace}/{name}"))
}
