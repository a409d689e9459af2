//! How the number of Spark workers follows the load.

use crate::schema::{atomic, check_at, whole};
use logwise_plan::workers::RECORDS_PER_SECOND_PER_CORE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds of the number of workers, and how load becomes workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = check_at(
    ".minReplicas",
    "self.minReplicas <= self.maxReplicas",
    "must be less than or equal to `maxReplicas`"
))]
pub struct WorkerAutoscaling {
    /// Automatic: workers are added and removed as the load asks. Recommend: what the load asks for is reported. Disabled:
    /// the load is not looked at. Default: Automatic.
    #[serde(default)]
    pub mode: WorkerScalingMode,
    /// Workers to run at least, 0 to 10000, whatever the load; 0 counts as 1, since without a worker no driver runs that
    /// shows what the load asks for. The group's own minimum is not changed. No default.
    #[schemars(range(min = 0, max = 10000))]
    pub min_replicas: i32,
    /// Workers to run at most, 1 to 10000. The group's own maximum is not changed. No default.
    #[schemars(range(min = 1, max = 10000))]
    pub max_replicas: i32,
    /// Records per second that one core of an executor reads and writes, 1 to 10000000: used until the query's own batches
    /// have shown it. Default: 8300.
    #[serde(default = "whole::<RECORDS_PER_SECOND_PER_CORE>")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub records_per_second_per_core: i32,
    /// CPU cores of one worker, 1 to 512. Absent: what most of the workers have that are alive. No default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub cores_per_worker: Option<i32>,
    /// Share of the cores that what comes in shall take, 10 to 100. Default: 70.
    #[serde(default = "whole::<70>")]
    #[schemars(range(min = 10, max = 100))]
    pub target_utilization_percent: i32,
    /// Seconds within which records that were not read yet shall have been read, 60 to 86400; never more than 40 % of the
    /// shortest retention of the pipeline's topics. Default: 1200.
    #[serde(default = "whole::<1_200>")]
    #[schemars(range(min = 60, max = 86400))]
    pub catch_up_seconds: i32,
    /// How far the load may ask for another number than there is before anything is changed, in percent, 0 to 100.
    /// Default: 10.
    #[serde(default = "whole::<10>")]
    #[schemars(range(min = 0, max = 100))]
    pub tolerance_percent: i32,
    /// Seconds after a change of the number in which no worker is removed, 0 to 3600. Default: 600.
    #[serde(default = "whole::<600>")]
    #[schemars(range(min = 0, max = 3600))]
    pub cooldown_seconds: i32,
    /// Seconds that a new instance gets until its worker has registered, 0 to 3600. Default: 180.
    #[serde(default = "whole::<180>")]
    #[schemars(range(min = 0, max = 3600))]
    pub warmup_seconds: i32,
    /// Workers that the operator may add within an hour, 1 to 10000. Default: 100.
    #[serde(default = "whole::<100>")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_launches_per_hour: i32,
    /// Workers that the operator may remove within an hour, 1 to 10000. Default: 20.
    #[serde(default = "whole::<20>")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_removals_per_hour: i32,
    /// How fast the number follows, in the words and with the meaning of HorizontalPodAutoscaler v2. Default: those of
    /// `scaleUp` and `scaleDown`.
    #[serde(default)]
    pub behavior: ScalingBehavior,
}

/// Whether the number of workers follows the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkerScalingMode {
    /// It does.
    #[default]
    Automatic,
    /// It is reported what it should be.
    Recommend,
    /// The load is not looked at.
    Disabled,
}

/// How fast the number of workers follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingBehavior {
    /// How fast workers are added. Default: stabilizationWindowSeconds 120, selectPolicy Max, policies
    /// [{periodSeconds: 60, type: Percent, value: 100}, {periodSeconds: 60, type: Replicas, value: 4}].
    pub scale_up: ScaleUpRules,
    /// How fast workers are removed. Default: stabilizationWindowSeconds 1800, selectPolicy Max, policies
    /// [{periodSeconds: 600, type: Percent, value: 25}].
    pub scale_down: ScaleDownRules,
}

/// How fast workers are added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleUpRules {
    /// Seconds of which the lowest number that was asked for counts, 0 to 3600. Default: 120.
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: i32,
    /// Which of `policies` counts. Max: the one that allows most. Min: the one that allows least. Disabled: no worker is
    /// added by load. Default: Max.
    pub select_policy: SelectPolicy,
    /// How many workers may be added within a time, 1 to 8 policies.
    /// Default: [{periodSeconds: 60, type: Percent, value: 100}, {periodSeconds: 60, type: Replicas, value: 4}].
    #[schemars(length(min = 1, max = 8), transform = atomic)]
    pub policies: Vec<ScalingPolicy>,
}

impl Default for ScaleUpRules {
    fn default() -> Self {
        Self {
            stabilization_window_seconds: 120,
            select_policy: SelectPolicy::Max,
            policies: vec![
                ScalingPolicy { type_: ScalingPolicyType::Percent, value: 100, period_seconds: 60 },
                ScalingPolicy { type_: ScalingPolicyType::Replicas, value: 4, period_seconds: 60 },
            ],
        }
    }
}

/// How fast workers are removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDownRules {
    /// Seconds of which the highest number that was asked for counts, 0 to 3600. Default: 1800.
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: i32,
    /// Which of `policies` counts. Max: the one that allows most. Min: the one that allows least. Disabled: no worker is
    /// removed. Default: Max.
    pub select_policy: SelectPolicy,
    /// How many workers may be removed within a time, 1 to 8 policies.
    /// Default: [{periodSeconds: 600, type: Percent, value: 25}].
    #[schemars(length(min = 1, max = 8), transform = atomic)]
    pub policies: Vec<ScalingPolicy>,
}

impl Default for ScaleDownRules {
    fn default() -> Self {
        Self {
            stabilization_window_seconds: 1800,
            select_policy: SelectPolicy::Max,
            policies: vec![ScalingPolicy { type_: ScalingPolicyType::Percent, value: 25, period_seconds: 600 }],
        }
    }
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows most.
    #[default]
    Max,
    /// The one that allows least.
    Min,
    /// None: the number does not change in this direction.
    Disabled,
}

/// How many workers may come or go within a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What `value` counts. Replicas: workers. Percent: percent of the workers at the begin of the time. No default.
    #[serde(rename = "type")]
    pub type_: ScalingPolicyType,
    /// How many, 1 to 10000. No default.
    #[schemars(range(min = 1, max = 10000))]
    pub value: i32,
    /// Seconds within which, 1 to 1800. No default.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
}

/// What the value of a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingPolicyType {
    /// Workers.
    Replicas,
    /// Percent of the workers at the begin of the time.
    Percent,
}
