//! From custom resources to validated policies, once: what comes out needs no further check.
//!
//! The API server has checked the schema and the CEL rules. What these cannot check is checked here, and so is what an
//! object that is older than a rule could still violate with harm.

mod change;
mod driver;
mod home;
mod references;
mod spark;

pub use change::{change_policy, pending_growths, retention_change_policy};
pub use driver::{Submission, driver, submission};
pub use home::{home, home_references, is_home};
pub use references::{references, secrets};
pub use spark::{Checkpoint, MasterAddress, checkpoint, master_name, spark_masters, workers};

use crate::{
    ChangeMode, DeletionPolicy, Fold, Kafka, KeyedTopics, LogwiseCluster, PartitionScaling, PartitionScalingMode,
    RetentionPolicy, RetentionPolicySpec, Storage, Time, Topics,
};
use kube::ResourceExt;
use logwise_plan::selector::{ServiceSelector, TopicPattern, TopicSelector};
use logwise_plan::{change::ChangePolicy, change::Mode, partitions, retention};
use std::collections::BTreeMap;
use std::fmt;

/// A field whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field, such as `spec.kafka.topics.pattern`.
    pub field: String,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl Invalid {
    fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for Invalid {}

/// Whether nothing may be changed for this pipeline, its retention policies included: it is suspended or only observed.
pub fn observe_only(cluster: &LogwiseCluster) -> bool {
    cluster.spec.suspend || cluster.spec.change_policy.mode == ChangeMode::Observe
}

/// Whether the outside may be changed for this pipeline now. Dry run is decided with this at the write edge and nowhere
/// before.
pub fn may_change(cluster: &LogwiseCluster) -> bool {
    !observe_only(cluster) && cluster.metadata.deletion_timestamp.is_none()
}

/// What is wanted of the pipeline's topics; `None` while topics are not managed.
pub fn kafka_topics(cluster: &LogwiseCluster, look_period_seconds: u32) -> Option<Result<partitions::Policy, Invalid>> {
    let kafka = cluster.spec.kafka.as_ref()?;
    let topics = kafka.topics.as_ref()?;
    let change = match change_policy(cluster) {
        Ok(change) => change,
        Err(invalid) => return Some(Err(invalid)),
    };
    let policy = |selector| partition_policy(kafka, topics, selector, change, look_period_seconds);
    Some(topic_selector(topics).map(policy))
}

fn partition_policy(
    kafka: &Kafka,
    topics: &Topics,
    selector: TopicSelector,
    change: ChangePolicy,
    look_period_seconds: u32,
) -> partitions::Policy {
    partitions::Policy {
        topics: selector,
        change,
        default_partitions: topics.default_partitions,
        max_partitions: topics.max_partitions,
        mode: match kafka.partition_scaling.mode {
            PartitionScalingMode::Automatic => partitions::ScalingMode::Automatic,
            PartitionScalingMode::Recommend => partitions::ScalingMode::Recommend,
            PartitionScalingMode::Disabled => partitions::ScalingMode::Disabled,
        },
        scaling: partition_sizing(&kafka.partition_scaling),
        look_period_seconds,
    }
}

/// The number; what is below zero, which the API server refuses, counts as zero.
fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Which topics belong to the pipeline; `None`: none are watched.
pub fn topics(cluster: &LogwiseCluster) -> Option<Result<TopicSelector, Invalid>> {
    Some(topic_selector(cluster.spec.kafka.as_ref()?.topics.as_ref()?))
}

/// Partitions that the operator may add within a day to the Kafka cluster of this object; `None`: it grows no topics.
pub fn daily_budget(cluster: &LogwiseCluster) -> Option<i32> {
    let scaling = &cluster.spec.kafka.as_ref()?.partition_scaling;
    (scaling.mode == PartitionScalingMode::Automatic).then_some(scaling.max_new_partitions_per_day)
}

/// How load becomes partitions. The ranges are those of the CRD; what is below them all the same counts as the least.
fn partition_sizing(scaling: &PartitionScaling) -> partitions::Scaling {
    partitions::Scaling {
        target_rate: Some(scaling.target_records_per_second_per_partition.max(1).into()),
        window_seconds: unsigned(scaling.window_seconds),
        catch_up_seconds: unsigned(scaling.catch_up_seconds),
        max_step_factor: scaling.max_step_factor,
        cooldown_seconds: unsigned(scaling.cooldown_seconds),
        max_replicas_per_broker: scaling.max_replicas_per_broker,
        daily_budget: scaling.max_new_partitions_per_day,
        keyed_topics: match scaling.keyed_topics {
            KeyedTopics::Hold => partitions::KeyedTopics::Hold,
            KeyedTopics::Allow => partitions::KeyedTopics::Allow,
        },
        align_to_cores: scaling.align_to_spark_cores,
    }
}

fn topic_selector(topics: &Topics) -> Result<TopicSelector, Invalid> {
    match (&topics.name_prefix, &topics.pattern) {
        (Some(prefix), None) => Ok(TopicSelector::NamePrefix(prefix.clone())),
        (None, Some(pattern)) => TopicPattern::new(pattern).map(TopicSelector::Pattern).map_err(|problem| {
            Invalid::new("spec.kafka.topics.pattern", format!("must be a regular expression: {problem}"))
        }),
        _ => Err(Invalid::new("spec.kafka.topics", "must specify exactly one of `namePrefix` and `pattern`")),
    }
}

/// What is wanted of the bucket's lifecycle rules, given the entries of its retention policies (see
/// [`retention_entry`]); `None` while storage is not managed.
pub fn retention(
    cluster: &LogwiseCluster,
    policies: Vec<retention::PolicyEntry>,
    unclear: BTreeMap<String, String>,
    look_period_seconds: u32,
) -> Option<Result<retention::Policy, Invalid>> {
    let storage = cluster.spec.storage.as_ref()?;
    Some(prefixes(storage).map(|()| retention::Policy {
        logs_prefix: storage.logs_prefix.clone(),
        checkpoint_prefix: storage.checkpoint_prefix.clone(),
        policies,
        unclear,
        fold: match storage.lifecycle.fold {
            Fold::Never => retention::Folding::Never,
            Fold::WhenNeeded => retention::Folding::WhenNeeded,
        },
        look_period_seconds,
        ..retention::Policy::default()
    }))
}

/// A rule over the wrong keys deletes data: this does not rest on the API server alone.
fn prefixes(storage: &Storage) -> Result<(), Invalid> {
    let (logs, checkpoints) = (&storage.logs_prefix, &storage.checkpoint_prefix);
    for (field, prefix) in [("spec.storage.logsPrefix", logs), ("spec.storage.checkpointPrefix", checkpoints)] {
        if !prefix.ends_with('/') || prefix.starts_with('/') {
            return Err(Invalid::new(field, "must end with '/' and must not begin with '/'"));
        }
    }
    if logs.starts_with(checkpoints.as_str()) || checkpoints.starts_with(logs.as_str()) {
        return Err(Invalid::new(
            "spec.storage.checkpointPrefix",
            "must not contain `logsPrefix` nor lie within it: retention would delete checkpoints",
        ));
    }
    Ok(())
}

/// What one retention policy wants, as the operator `installation` of its pipeline `cluster` sees it.
///
/// The stricter of the policy's and the cluster's change policy holds. An object that is being deleted is an entry with
/// a removal, and without windows: taking our own rules away keeps the data, and a namespace that is being deleted must
/// not wait for a night. What S3 would refuse is refused here: one bad rule would keep all others of the bucket from
/// being written.
pub fn retention_entry(
    policy: &RetentionPolicy,
    installation: &str,
    cluster: &LogwiseCluster,
) -> Result<retention::PolicyEntry, Invalid> {
    let spec = &policy.spec;
    let change = retention_change_policy(policy, cluster)?;
    let removal = policy.metadata.deletion_timestamp.as_ref().map(|_| match spec.deletion_policy {
        DeletionPolicy::RemoveRules => retention::Removal::RemoveRules,
        DeletionPolicy::Orphan => retention::Removal::Orphan,
    });
    // The rules of a deleted policy go, whatever they say.
    if let Some(fault) = fault(spec).filter(|_| removal.is_none()) {
        return Err(Invalid::new(fault.field(), fault.problem()));
    }
    Ok(retention::PolicyEntry {
        owner: owner(policy, installation)?,
        uid8: uid8(policy)?,
        priority: spec.priority,
        selector: selector(spec),
        settings: settings(spec),
        approval: change.approval,
        approved_plans: change.approved_plans,
        windows: change.windows,
        programmed: programmed(policy, cluster).map(|time| time.0),
        observe_only: change.suspended || change.mode == Mode::Observe,
        removal,
    })
}

/// The place of a policy whose rules S3 would refuse; `None`: that is not what is wrong with it. It decides about the
/// services that it selects, so that no other policy takes them, and lets every rule of theirs be as it is.
pub fn retention_holder(policy: &RetentionPolicy, installation: &str) -> Option<retention::PolicyEntry> {
    let spec = &policy.spec;
    fault(spec).filter(|_| policy.metadata.deletion_timestamp.is_none())?;
    Some(retention::PolicyEntry {
        owner: owner(policy, installation).ok()?,
        uid8: uid8(policy).ok()?,
        priority: spec.priority,
        selector: selector(spec),
        // Without an expiration it comes before all others of the same priority.
        settings: retention::Settings::default(),
        approval: retention::Approval::DestructiveOnly,
        approved_plans: Default::default(),
        windows: Vec::new(),
        programmed: None,
        observe_only: true,
        removal: None,
    })
}

/// What S3 would refuse of the policy's rules.
fn fault(spec: &RetentionPolicySpec) -> Option<retention::facts::Fault> {
    retention::facts::of_settings(&settings(spec)).into_iter().next()
}

/// Since when the policy as it is now has been wholly in force, in the bucket that its pipeline has now; `None`: it is
/// not, or nobody knows.
fn programmed<'p>(policy: &'p RetentionPolicy, cluster: &LogwiseCluster) -> Option<&'p Time> {
    let status = policy.status.as_ref()?;
    let is_current = status.programmed_generation.is_some_and(|last| policy.metadata.generation == Some(last));
    let is_here = is_home(status.home.as_ref(), cluster);
    status.programmed_time.as_ref().filter(|_| is_current && is_here)
}

/// `<installation>.<namespace>.<name>`: who owns a lifecycle rule.
pub fn owner(policy: &RetentionPolicy, installation: &str) -> Result<String, Invalid> {
    let namespace = policy.namespace().ok_or_else(|| Invalid::new("metadata.namespace", "must be specified"))?;
    Ok(format!("{installation}.{namespace}.{}", policy.name_any()))
}

/// `<owner>/<uid8>`: the object for which a lifecycle rule was written, as the rule's id has it.
pub fn maker(policy: &RetentionPolicy, installation: &str) -> Result<String, Invalid> {
    Ok(format!("{}/{}", owner(policy, installation)?, uid8(policy)?))
}

fn uid8(policy: &RetentionPolicy) -> Result<String, Invalid> {
    let uid = policy.uid().unwrap_or_default();
    uid.get(..8).map(str::to_owned).ok_or_else(|| Invalid::new("metadata.uid", "must have at least 8 characters"))
}

fn selector(spec: &RetentionPolicySpec) -> ServiceSelector {
    ServiceSelector {
        names: spec.service_selector.match_names.iter().cloned().collect(),
        prefixes: spec.service_selector.match_prefixes.iter().cloned().collect(),
    }
}

fn settings(spec: &RetentionPolicySpec) -> retention::Settings {
    let mut transitions = spec.transitions.clone();
    transitions.sort_by_key(|t| (t.days, t.storage_class));
    retention::Settings {
        expiration_days: spec.expiration.as_ref().map(|e| e.days),
        transitions: transitions
            .iter()
            .map(|t| retention::Transition { days: t.days, storage_class: t.storage_class.as_str().into() })
            .collect(),
        abort_multipart_days: spec.abort_incomplete_multipart_upload.as_ref().map(|a| a.days_after_initiation),
        noncurrent_days: spec.noncurrent_version_expiration.as_ref().map(|n| n.noncurrent_days),
    }
}
