//! Changes that are wanted and wait: for whom or for what, and what a person does about it, in words.

use crate::conditions::Reason;
use crate::{ObjectKey, words};

/// Ids that `approvedPlans` holds.
const MAX_APPROVED: usize = 4;

/// A change that a person is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The id that approves it.
    pub id: String,
    /// The change, in words.
    pub summary: String,
}

/// Changes that wait for the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A person has to approve them.
    ApprovalRequired {
        /// How many.
        changes: i64,
        /// Those of them that status shows.
        plans: Vec<Plan>,
    },
    /// No window is open.
    WaitingForWindow {
        /// How many.
        changes: i64,
        /// When they may begin, in words; `None`: never, as far as can be seen.
        opening: Option<String>,
    },
    /// They are only recommended.
    RecommendOnly {
        /// How many.
        changes: i64,
        /// The field that has them carried out once it is Automatic, such as `spec.kafka.partitionScaling.mode`.
        field: &'static str,
    },
}

impl Held {
    /// The reason as conditions have it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::ApprovalRequired { .. } => Reason::ApprovalRequired,
            Self::WaitingForWindow { .. } => Reason::WaitingForWindow,
            Self::RecommendOnly { .. } => Reason::RecommendOnly,
        }
    }

    /// How many changes wait.
    pub const fn changes(&self) -> i64 {
        match self {
            Self::ApprovalRequired { changes, .. }
            | Self::WaitingForWindow { changes, .. }
            | Self::RecommendOnly { changes, .. } => *changes,
        }
    }

    /// Whether they wait until a person has acted. A recommendation is what somebody chose.
    pub const fn needs_person(&self) -> bool {
        matches!(self, Self::ApprovalRequired { .. } | Self::WaitingForWindow { opening: None, .. })
    }

    /// What is said first when several things hold changes: the smaller goes first.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Self::ApprovalRequired { .. } => 0,
            Self::WaitingForWindow { .. } => 1,
            Self::RecommendOnly { .. } => 2,
        }
    }

    /// The fact and the next step, for the LogwiseCluster `object`.
    pub fn words(&self, object: &ObjectKey) -> String {
        let wait = |changes: i64| if changes == 1 { "waits" } else { "wait" };
        match self {
            Self::ApprovalRequired { changes, plans } => {
                let told: Vec<String> = plans.iter().map(|plan| format!("{} ({})", plan.id, plan.summary)).collect();
                let ids: Vec<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
                let approve = approve("lwc", (&object.namespace, &object.name), &ids);
                format!("{changes} {} for approval: {}. To approve: {approve}", wait(*changes), words::first_few(&told))
            }
            Self::WaitingForWindow { changes, opening: Some(opening) } => {
                format!("{changes} {} for a window, which opens next at {opening}", wait(*changes))
            }
            Self::WaitingForWindow { changes, opening: None } => format!(
                "{changes} {} for windows that are never open when they have to be. Correct `changePolicy.windows`",
                wait(*changes)
            ),
            Self::RecommendOnly { changes, field } => {
                format!("{changes} recommended: set `{field}` to Automatic to carry them out")
            }
        }
    }
}

/// What waits for approval in several parts, as one: one command approves all. The rest stays as it is.
pub(crate) fn joined(held: &[&Held]) -> Vec<Held> {
    let (mut all, mut plans, mut asked) = (Vec::new(), Vec::new(), 0);
    for held in held {
        match held {
            Held::ApprovalRequired { changes, plans: some } => {
                asked += changes;
                plans.extend(some.iter().cloned());
            }
            other => all.push((*other).clone()),
        }
    }
    if asked > 0 {
        all.insert(0, Held::ApprovalRequired { changes: asked, plans });
    }
    all
}

/// How many changes of which kind.
pub fn counted(add: i64, change: i64, remove: i64, destructive: i64) -> String {
    format!("{add} to add, {change} to change, {remove} to remove; {destructive} destructive")
}

/// The command that approves these plans, the first four of them: more than that no object takes at once.
pub fn approve(kind: &str, (namespace, name): (&str, &str), plans: &[&str]) -> String {
    let ids: Vec<String> = plans.iter().take(MAX_APPROVED).map(|id| format!("\"{id}\"")).collect();
    let patch = format!("{{\"spec\":{{\"changePolicy\":{{\"approvedPlans\":[{}]}}}}}}", ids.join(","));
    format!("kubectl patch {kind} {name} -n {namespace} --type merge -p '{patch}'")
}
