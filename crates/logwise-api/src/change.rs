//! How changes to the outside systems are made.

use crate::schema::{check, each, map_by, set};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How changes are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePolicy {
    /// Apply: changes are carried out. Observe: changes are planned and reported, none is carried out, for the
    /// RetentionPolicies of this cluster too; no plan of these waits for approval then. Default: Apply.
    #[serde(default)]
    pub mode: ChangeMode,
    /// Which changes wait until their plan is approved, for the RetentionPolicies of this cluster too; the stricter of both
    /// settings holds. DestructiveOnly: those that make existing objects or versions go earlier than the rules now in
    /// force, but for the first rule of a service all of whose objects are newer than `status.programmedTime` of the
    /// RetentionPolicy. Always: every change. Never: none. Default: DestructiveOnly.
    #[serde(default)]
    pub approval: Approval,
    /// Ids of approved plans, as `pendingPlans` of `status.kafka` and `status.spark` shows them, at most 4. An id approves
    /// exactly the change it was made for; an outdated one approves nothing. Absent: none approved. No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 4),
        inner(length(min = 1, max = 64)),
        transform = set,
        transform = each(check(
            "self.matches('^(kp|wp|dp)-[0-9a-f]{8}$')",
            "must be the id of a plan as `pendingPlans` of `status.kafka` or `status.spark` shows it: kp-, wp- or dp- and 8 hexadecimal digits"
        ))
    )]
    pub approved_plans: Vec<String>,
    /// Windows, at most 8, of which one must be open when partitions grow, workers are removed, lifecycle rules are
    /// written or a driver that stands still is restarted, for the RetentionPolicies of this cluster too. More workers and
    /// a missing driver never wait. Absent: any time. No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = map_by("name"))]
    pub windows: Vec<ChangeWindow>,
}

/// How changes to lifecycle rules are made. A stricter setting of the LogwiseCluster wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionChangePolicy {
    /// Apply: changes are carried out. Observe: changes are planned and reported, none is carried out; no plan waits for
    /// approval then, and nothing is counted. Default: Apply.
    #[serde(default)]
    pub mode: ChangeMode,
    /// Which changes wait until their plan is listed in `approvedPlans`; the stricter of this and of the setting of the
    /// LogwiseCluster holds. DestructiveOnly: those that make existing objects or versions go earlier than the rules now
    /// in force, but for the first rule of a service all of whose objects are newer than `status.programmedTime`. Always:
    /// every change. Never: none. Default: DestructiveOnly.
    #[serde(default)]
    pub approval: Approval,
    /// Ids of approved plans, as `status.plan.id` shows them, at most 4. An id approves exactly the changes it was made
    /// for; an outdated one approves nothing. Absent: none approved. No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 4),
        inner(length(min = 1, max = 64)),
        transform = set,
        transform = each(check(
            "self.matches('^rp-[0-9a-f]{12}$')",
            "must be the id of a plan as `status.plan.id` shows it: rp- and 12 hexadecimal digits"
        ))
    )]
    pub approved_plans: Vec<String>,
    /// Windows, at most 8, of which one must be open when this policy's lifecycle rules are written or removed; where the
    /// LogwiseCluster has windows, one of them must be open too. Absent: any time. No default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = map_by("name"))]
    pub windows: Vec<ChangeWindow>,
}

/// Whether planned changes are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeMode {
    /// Carry changes out.
    #[default]
    Apply,
    /// Plan and report only.
    Observe,
}

/// Which changes wait for approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// None.
    Never,
    /// Those that make existing objects or versions go earlier.
    #[default]
    DestructiveOnly,
    /// All.
    Always,
}

/// A window in which changes may begin. It opens by a schedule and closes after a number of minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeWindow {
    /// Name that status shows, 1 to 63 characters. No default.
    #[schemars(
        length(min = 1, max = 63),
        transform = check(
            "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "must consist of lower-case letters, digits and '-', and begin and end with a letter or digit"
        )
    )]
    pub name: String,
    /// When the window opens, on the clock of `timeZone`: five fields of cron (minute, hour, day of month, month, day of
    /// week) of numbers, names, '*', lists, ranges and steps, such as `0 1 * * 1-5`. An opening that the clock skips in
    /// spring takes place when the clock goes on; one that comes twice in autumn counts once, unless minute or hour has a
    /// '*'. No default.
    #[schemars(
        length(min = 9, max = 64),
        transform = check(
            "self.matches('^([0-9A-Za-z*,/-]+ +){4}[0-9A-Za-z*,/-]+$')",
            "must be five fields of cron (minute, hour, day of month, month, day of week), such as 0 1 * * 1-5"
        )
    )]
    pub schedule: String,
    /// Minutes that the window stays open, 1 to 10080 (a week). A change that has begun is finished. No default.
    #[schemars(range(min = 1, max = 10080))]
    pub duration_minutes: i32,
    /// Time zone by its name in the IANA database, such as Asia/Kolkata or UTC. No default.
    #[schemars(
        length(min = 1, max = 64),
        transform = check(
            "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')",
            "must be the name of a time zone in the IANA database, such as Asia/Kolkata or UTC"
        )
    )]
    pub time_zone: String,
}
