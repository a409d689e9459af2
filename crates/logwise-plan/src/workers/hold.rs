//! Why workers were neither added nor removed, or fewer than wanted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Stands for the id of a member where a driver runs and nobody knows on which.
pub const UNKNOWN_HOST: &str = "unknown";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// Why workers were neither added nor removed, or fewer than wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "reason")]
pub enum Hold {
    /// There are as many workers as there should be, as far as is known.
    WithinRange,
    /// `autoscaling.mode` is Recommend.
    RecommendOnly {
        /// Workers that are recommended.
        wanted: i32,
    },
    /// The number of workers is not managed, or `autoscaling.mode` is Disabled.
    Disabled,
    /// No group or Deployment has that name.
    PoolAbsent,
    /// Something could not be read.
    Unreadable {
        /// What.
        what: String,
        /// What failed.
        why: String,
    },
    /// Signals are missing, stale or make no sense: nothing is removed, and nothing added for load where no number
    /// follows without them.
    SignalsMissing {
        /// Which.
        what: String,
    },
    /// A driver runs on the worker that would go, or on one that nobody can name ([`UNKNOWN_HOST`]).
    DriverHost {
        /// Instance or pod.
        id: String,
    },
    /// The worker was to be cordoned, and the master does not show it yet.
    CordonPending {
        /// Instance or pod.
        id: String,
    },
    /// The master refused to cordon a worker; none is removed without.
    CordonUnavailable {
        /// Its answer.
        why: String,
    },
    /// AWS or Kubernetes has refused to end a member: none is cordoned for that.
    EndRefused {
        /// Its answer.
        why: String,
    },
    /// The master has forgotten that the worker is cordoned: it was started again, or another one has taken over.
    CordonLost {
        /// Instance or pod.
        id: String,
    },
    /// The worker is cordoned and has to be looked at once more before it goes.
    SecondLook {
        /// Instance or pod.
        id: String,
    },
    /// A driver came to the worker before it was cordoned: the removal is given up.
    DriverLanded {
        /// Instance or pod.
        id: String,
        /// The driver.
        driver: String,
    },
    /// Instances or pods come or go, or more are in service than there should be: the numbers say too little about what
    /// is left.
    GateClosed {
        /// Desired number.
        desired: i32,
        /// In service.
        in_service: i32,
        /// Besides these: those that come or go, or stand by.
        #[serde(default, skip_serializing_if = "is_zero")]
        others: i32,
    },
    /// Too few sound workers would be left.
    BelowTarget {
        /// Sound workers that would be left.
        left: i32,
        /// Workers that are needed.
        needed: i32,
    },
    /// The stabilization window has seen another recommendation.
    Stabilizing {
        /// When it has passed.
        until: Timestamp,
    },
    /// The policies of `autoscaling.behavior` allow no change now, or a smaller one.
    Policy,
    /// The number was changed a short time ago.
    Cooldown {
        /// When a worker may be removed again.
        until: Timestamp,
    },
    /// As many workers were added, or removed, as may be within an hour.
    Budget {
        /// Workers within the last hour.
        spent: i32,
        /// Workers that may be.
        limit: i32,
    },
    /// An instance refresh replaces instances.
    Refresh,
    /// The group moves instances between zones.
    Rebalance,
    /// A process of the group is suspended that a removal needs.
    Suspended {
        /// The process.
        process: String,
    },
    /// The Deployment replaces its pods.
    Rollout,
    /// The driver's pod is not ready: it would be the first to go.
    DriverPodNotReady,
    /// The file sink is about to compact its log, or does.
    Compaction {
        /// The batch that does.
        batch: i64,
    },
    /// A record of a change of this pool is open: it may have been carried out.
    IntentOpen,
    /// A worker at the master is none of the pool's; it is neither counted nor touched.
    WorkerNotInPool {
        /// Its host.
        host: String,
    },
    /// It is not certain which machine a member is: it has no address, shares one, or several workers run there.
    AddressUnknown {
        /// Instance or pod.
        id: String,
    },
    /// The pool's own maximum is below what is wanted; it is its owner's to raise.
    GroupMaximum {
        /// Instances or pods that are wanted.
        wanted: i32,
        /// Largest size that the pool allows.
        max_size: i32,
    },
    /// The pool's own minimum is above what is wanted; it is its owner's to lower.
    GroupMinimum {
        /// Workers that are wanted.
        wanted: i32,
        /// Smallest size that the pool allows.
        min_size: i32,
    },
    /// Launches fail: what was asked for does not come, and no more is asked for by load.
    LaunchesFail {
        /// The group's own words for the newest one.
        text: String,
        /// When load may ask for more; where that is now, when the newest one has failed.
        until: Timestamp,
    },
    /// Instances or pods are in service, and the master knows no worker of theirs: none that could be cordoned. Where
    /// that is so of more than half of those that came within the last hour, more would not help.
    NoEffect {
        /// How many.
        missing: i32,
    },
    /// There are as many instances or pods as may be, or more, and some of them too many or of no use.
    AboveMaximum {
        /// Desired number.
        desired: i32,
    },
    /// `changePolicy.approval` is Always and the change is not approved.
    ApprovalRequired {
        /// Desired number.
        from: i32,
        /// Desired number once the plan is approved.
        to: i32,
        /// The id that approves it.
        plan_id: String,
    },
    /// No window is open.
    WaitingForWindow {
        /// When a worker may be removed next; none: never, as far as can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_opening: Option<Timestamp>,
    },
    /// `behavior.scaleDown.selectPolicy` is Disabled.
    ScaleInDisabled,
    /// Unread records are near their end: nothing is removed.
    TimeToLoss,
    /// Tasks run on the cordoned worker.
    Draining {
        /// Instance or pod.
        id: String,
        /// Tasks, or cores that are taken.
        tasks: i32,
        /// When it goes although some run.
        until: Timestamp,
    },
    /// Instances are not protected from scale-in, or new ones will not be: AWS could end one that a driver runs on.
    Unprotected,
}
