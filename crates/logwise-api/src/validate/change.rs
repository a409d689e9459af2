//! How changes are made, as policies with windows that were read.

use super::Invalid;
use crate::{Approval, ChangeMode, ChangeWindow, LogwiseCluster, RetentionPolicy};
use kube::ResourceExt;
use logwise_plan::{change, partitions};
use std::collections::BTreeMap;

/// How changes are made for a pipeline. The error names the field of a schedule or time zone that cannot be used.
pub fn change_policy(cluster: &LogwiseCluster) -> Result<change::ChangePolicy, Invalid> {
    let windows = windows(&cluster.spec.change_policy.windows)?;
    Ok(change::ChangePolicy { windows, ..at_any_time(cluster) })
}

/// How changes are made for a pipeline, whatever its windows: the one part that may be wrong.
fn at_any_time(cluster: &LogwiseCluster) -> change::ChangePolicy {
    let policy = &cluster.spec.change_policy;
    change::ChangePolicy {
        mode: mode(policy.mode),
        approval: approval(policy.approval),
        approved_plans: policy.approved_plans.iter().cloned().collect(),
        windows: Vec::new(),
        suspended: cluster.spec.suspend,
    }
}

/// How changes are made for a retention policy of a pipeline: of both settings the stricter, with the windows of both. One
/// that is being deleted waits for no window, so that a schedule that is wrong does not keep its rules either.
pub fn retention_change_policy(
    policy: &RetentionPolicy,
    cluster: &LogwiseCluster,
) -> Result<change::ChangePolicy, Invalid> {
    let own = &policy.spec.change_policy;
    let of_policy = change::ChangePolicy {
        mode: mode(own.mode),
        approval: approval(own.approval),
        approved_plans: own.approved_plans.iter().cloned().collect(),
        windows: Vec::new(),
        suspended: false,
    };
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(change::stricter(&at_any_time(cluster), &of_policy));
    }
    let of_cluster = change_policy(cluster).map_err(|invalid| Invalid {
        field: format!("LogwiseCluster {}: {}", cluster.name_any(), invalid.field),
        ..invalid
    })?;
    Ok(change::stricter(&of_cluster, &change::ChangePolicy { windows: windows(&own.windows)?, ..of_policy }))
}

fn mode(mode: ChangeMode) -> change::Mode {
    match mode {
        ChangeMode::Apply => change::Mode::Apply,
        ChangeMode::Observe => change::Mode::Observe,
    }
}

fn approval(approval: Approval) -> change::Approval {
    match approval {
        Approval::Never => change::Approval::Never,
        Approval::DestructiveOnly => change::Approval::DestructiveOnly,
        Approval::Always => change::Approval::Always,
    }
}

/// One list of windows, or none.
fn windows(given: &[ChangeWindow]) -> Result<Vec<Vec<change::Window>>, Invalid> {
    let read = |(i, window): (usize, &ChangeWindow)| {
        let minutes = u32::try_from(window.duration_minutes).unwrap_or(0);
        change::Window::new(&window.name, &window.schedule, minutes, &window.time_zone)
            .map_err(|bad| Invalid::new(&format!("spec.changePolicy.windows[{i}].{}", bad.field), bad.problem))
    };
    let list: Vec<change::Window> = given.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(if list.is_empty() { Vec::new() } else { vec![list] })
}

/// Growths that status shows as waiting for approval, by topic: what the next plan goes on proposing while it is wanted.
/// Status shows few; approval does not depend on them, see `logwise_plan::partitions`.
/// Whoever forges them gains nothing, since only what is wanted is proposed and only its own id approves it.
pub fn pending_growths(cluster: &LogwiseCluster) -> BTreeMap<String, partitions::Pending> {
    let held = cluster.status.iter().filter_map(|status| status.kafka.as_ref()).flat_map(|kafka| &kafka.held_topics);
    let pending = held.filter_map(|topic| {
        topic.plan_id.as_ref()?;
        Some((topic.name.clone(), partitions::Pending { from: topic.partitions?, to: topic.planned_partitions? }))
    });
    pending.collect()
}
