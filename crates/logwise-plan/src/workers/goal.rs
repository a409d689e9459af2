//! How many workers there should be now, whoever says so.

use super::facts::{Observed, Pool};
use super::hold::Hold;
use super::seat::Seats;
use super::size::{self, Facts, Judged, Signal, Size};
use super::{Autoscaling, Policy, Sizing};
use crate::behavior::{self, Limit, Question};
use jiff::Timestamp;

/// One pool that was read, and all that decides about it.
pub(super) struct About<'a> {
    pub policy: &'a Policy,
    pub observed: &'a Observed,
    pub pool: &'a Pool,
    pub seats: Seats<'a>,
    pub now: Timestamp,
}

/// How many workers there should be now. Cordoned ones are no capacity: they are not counted anywhere.
pub(super) struct Goal<'a> {
    /// What the spec says about load; none: it names a number.
    pub scaling: Option<&'a Autoscaling>,
    /// Workers that there are, counting those on their way.
    pub capacity: i32,
    /// Workers that there should be now.
    pub target: i32,
    /// Workers that there must be whatever is known.
    pub least: i32,
    /// Members that there may be.
    pub most: i32,
    /// Members that are cordoned.
    pub cordoned: i32,
    /// Why the target is not what the load asks for.
    pub limits: Vec<Hold>,
    /// Whether unread records are near their end.
    pub is_urgent: bool,
    /// How the number came about.
    pub size: Option<Size>,
    /// What is not known.
    pub signals: Vec<Signal>,
}

impl<'a> Goal<'a> {
    /// None while the number is not managed.
    pub fn of(about: &About<'a>) -> Option<Self> {
        let cordoned = about.seats.cordoned();
        let capacity = about.pool.desired.saturating_sub(cordoned).max(0);
        match &about.policy.size {
            Sizing::Unmanaged => None,
            Sizing::Fixed(number) => Some(Self {
                scaling: None,
                capacity,
                target: *number,
                least: *number,
                most: number.saturating_add(cordoned),
                cordoned,
                limits: Vec::new(),
                is_urgent: false,
                size: None,
                signals: Vec::new(),
            }),
            Sizing::Load(scaling) => Some(Self::for_load(scaling, about, capacity, cordoned)),
        }
    }

    fn for_load(scaling: &'a Autoscaling, about: &About<'a>, capacity: i32, cordoned: i32) -> Self {
        let About { policy, observed, pool, .. } = *about;
        let facts = Facts { policy, observed, pool, seats: &about.seats, now: about.now };
        let Judged { size, signals, is_urgent } = size::judge(scaling, &facts);
        let most = scaling.max_replicas.max(0);
        // Without a worker no driver runs, and without a driver nothing tells what is wanted.
        let least = scaling.min_replicas.max(1).clamp(0, most);
        let mut goal = Self {
            scaling: Some(scaling),
            capacity,
            target: capacity.clamp(least, most),
            least,
            most,
            cordoned,
            limits: Vec::new(),
            is_urgent,
            size,
            signals,
        };
        goal.follow(scaling, about);
        goal
    }

    /// As far towards what the load asks for as `behavior` lets it go; without a size the target stays where it is.
    fn follow(&mut self, scaling: &Autoscaling, about: &About<'_>) {
        let Some(size) = &mut self.size else { return };
        let mut question = Question {
            current: self.capacity,
            recommended: size.wanted,
            min: self.least,
            max: self.most,
            tolerance_percent: scaling.tolerance_percent,
        };
        let mut behavior = scaling.behavior.clone();
        if self.is_urgent {
            // Records that are near their end do not wait for more evidence.
            question.tolerance_percent = 0;
            behavior.scale_up.stabilization_window_seconds = 0;
        }
        size.recommended = question.tolerated();
        let limited = behavior::limit(&behavior, &question, &about.observed.history.behavior, about.now);
        self.target = limited.to;
        self.limits = limited.limits.into_iter().filter_map(hold).collect();
    }

    /// Whether more capacity should come.
    pub fn wants_more(&self) -> bool {
        self.target > self.capacity
    }

    /// Whether a member should go: there is too much capacity, or one is none.
    pub fn wants_fewer(&self) -> bool {
        self.has_surplus() || (self.cordoned > 0 && !self.wants_more())
    }

    /// Whether there is too much capacity.
    pub fn has_surplus(&self) -> bool {
        self.target < self.capacity
    }
}

/// What is said about a limit; bounds and tolerance are within what is expected.
fn hold(limit: Limit) -> Option<Hold> {
    match limit {
        Limit::UpWindow { until } | Limit::DownWindow { until } => Some(Hold::Stabilizing { until }),
        Limit::UpPolicy | Limit::DownPolicy | Limit::UpDisabled => Some(Hold::Policy),
        Limit::DownDisabled => Some(Hold::ScaleInDisabled),
        Limit::Tolerance | Limit::MinReplicas | Limit::MaxReplicas => None,
    }
}
