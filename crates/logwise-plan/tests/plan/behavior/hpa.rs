//! A small model of the HorizontalPodAutoscaler v2, after its documentation and its controller. It shares nothing with
//! the crate: it keeps lists of events with times in milliseconds, and where policies set a limit it searches for the
//! last size that they permit.

/// `scaleUp` or `scaleDown`.
#[derive(Clone, Debug)]
pub struct Rules {
    pub window_seconds: i64,
    /// `Max`, `Min` or `Disabled`.
    pub select: &'static str,
    pub policies: Vec<Policy>,
}

#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `Pods` or `Percent`.
    pub kind: &'static str,
    pub value: i64,
    pub period_seconds: i64,
}

/// Something that happened: when, and a number.
type Event = (i64, i64);

/// The controller with all that it remembers.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    pub up: Rules,
    pub down: Rules,
    pub min: i64,
    pub max: i64,
    pub tolerance_percent: i64,
    pub recommendations: Vec<Event>,
    pub added: Vec<Event>,
    pub deleted: Vec<Event>,
}

/// The next size, and the reasons why it is not the one that the metrics ask for.
pub type Verdict = (i64, Vec<&'static str>);

impl Autoscaler {
    /// One round of the controller's loop. The size is taken for changed at once.
    pub fn reconcile(&mut self, now: i64, current: i64, metric: i64) -> Verdict {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
        let outside = |bound: i64, reason| (bound, if bound == metric { vec![] } else { vec![reason] });
        let (size, reasons) = match current {
            above if above > self.max => outside(self.max, "TooManyReplicas"),
            below if below < self.min => outside(self.min, "TooFewReplicas"),
            _ => self.normalized(now, current, metric),
        };
        match size - current {
            more if more > 0 => self.added.push((now, more)),
            fewer if fewer < 0 => self.deleted.push((now, -fewer)),
            _ => {}
        }
        (size, reasons)
    }

    fn normalized(&mut self, now: i64, current: i64, metric: i64) -> Verdict {
        let mut reasons = Vec::new();
        let proposal = if self.is_tolerable(current, metric) { current } else { metric };
        if proposal != metric {
            reasons.push("Tolerance");
        }
        let stable = self.stabilized(now, current, proposal);
        if stable != proposal {
            reasons.push("Stabilized");
        }
        self.recommendations.push((now, proposal));
        let (size, reason) = self.rated(now, current, stable);
        if size != stable {
            reasons.push(reason);
        }
        (size, reasons)
    }

    /// Whether the ratio of what is asked for to what is there lies between one less and one more the tolerance.
    fn is_tolerable(&self, current: i64, metric: i64) -> bool {
        let (least, most) = (100 - self.tolerance_percent, 100 + self.tolerance_percent);
        current > 0 && least * current <= 100 * metric && 100 * metric <= most * current
    }

    /// The present size, brought between the lowest recommendation of one window and the highest of the other.
    fn stabilized(&self, now: i64, current: i64, proposal: i64) -> i64 {
        let mut lowest = proposal;
        let mut highest = proposal;
        for &(at, recommended) in &self.recommendations {
            if at > now - 1000 * self.up.window_seconds {
                lowest = lowest.min(recommended);
            }
            if at > now - 1000 * self.down.window_seconds {
                highest = highest.max(recommended);
            }
        }
        current.clamp(lowest, highest)
    }

    /// The size that policies and bounds permit on the way from `current` to `aim`; if it is not `aim`, also why.
    fn rated(&self, now: i64, current: i64, aim: i64) -> (i64, &'static str) {
        if aim > current {
            // One size beyond the bound tells the bound's limit from a policy's.
            let mut sizes = (current + 1..=aim.min(self.max + 1)).rev();
            let permitted = |size: &i64| permits(&self.up, |policy| self.may_grow_to(*size, policy, now, current));
            let reached = sizes.find(permitted).unwrap_or(current);
            return (reached.min(self.max), if reached < self.max { "ScaleUpLimit" } else { "TooManyReplicas" });
        }
        let mut sizes = aim.max(self.min - 1)..current;
        let permitted = |size: &i64| permits(&self.down, |policy| self.may_shrink_to(*size, policy, now, current));
        let reached = sizes.find(permitted).unwrap_or(current);
        (reached.max(self.min), if reached > self.min { "ScaleDownLimit" } else { "TooFewReplicas" })
    }

    /// The size when the period of a policy began: what was added since is taken away, what was deleted is put back.
    fn at_period_start(&self, policy: &Policy, now: i64, current: i64) -> i64 {
        let begin = now - 1000 * policy.period_seconds;
        let since =
            |events: &[Event]| -> i64 { events.iter().filter(|event| event.0 > begin).map(|event| event.1).sum() };
        current - since(&self.added) + since(&self.deleted)
    }

    /// Part of a pod that a percentage adds counts as a whole one.
    fn may_grow_to(&self, size: i64, policy: &Policy, now: i64, current: i64) -> bool {
        let start = self.at_period_start(policy, now, current);
        match policy.kind {
            "Pods" => size - start <= policy.value,
            _ => 100 * (size - 1) < start * (100 + policy.value),
        }
    }

    /// Part of a pod that a percentage leaves does not count.
    fn may_shrink_to(&self, size: i64, policy: &Policy, now: i64, current: i64) -> bool {
        let start = self.at_period_start(policy, now, current);
        match policy.kind {
            "Pods" => start - size <= policy.value,
            _ => 100 * (size + 1) > start * (100 - policy.value),
        }
    }
}

/// `Max`: one policy that permits it is enough, since the one that permits the most counts. `Min`: all have to.
fn permits(rules: &Rules, by: impl Fn(&Policy) -> bool) -> bool {
    match rules.select {
        "Max" => rules.policies.iter().any(by),
        "Min" => rules.policies.iter().all(by),
        _ => false,
    }
}
