//! What must hold for any plan about partitions.

use super::{is_open, waits_until};
use crate::Known;
use crate::change::{Approval, growth_plan_id};
use crate::partitions::{
    Blocked, Grow, Hold, KeyedTopics, Keys, Observed, Plan, Policy, Proposal, RateUnknown, ScalingMode, Topic,
};
use jiff::{SignedDuration, Timestamp};

/// Every rule that `plan`, made at `now`, breaks, in words; empty for a good plan.
pub fn violations(policy: &Policy, observed: &Observed, plan: &Plan, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    if plan.next_look_seconds > policy.look_period_seconds {
        found.push("looks again later than it should".to_owned());
    }
    let Some(topics) = observed.topics.known() else {
        if !plan.actions.is_empty() || !plan.holds.is_empty() {
            found.push("decides about topics that were not read".to_owned());
        }
        if observed.topics.is_unknown() != matches!(plan.blocked, Some(Blocked::Unreadable { .. })) {
            found.push("must be blocked exactly if the topics are unknown".to_owned());
        }
        return found;
    };
    if plan.blocked.is_some() {
        found.push("is blocked although the topics were read".to_owned());
    }
    let place = |name: &str| (topics.get(name).is_some_and(|topic| topic.refused), name.to_owned());
    if plan.actions.windows(2).any(|pair| place(&pair[0].topic) >= place(&pair[1].topic)) {
        found.push("actions are not in the order of topics, those refused last, or name one twice".to_owned());
    }
    if !plan.actions.is_empty() && !is_open(&policy.change.windows, now) {
        found.push("grows topics while no window is open".to_owned());
    }
    let view = View { policy, observed, plan, now };
    for (name, proposal) in &plan.proposals {
        view.proposed((name, proposal), &mut found);
    }
    for action in &plan.actions {
        match topics.get(&action.topic) {
            Some(topic) => view.growth(topic, action, &mut found),
            None => found.push(format!("{}: grows a topic that was not seen", action.topic)),
        }
    }
    view.together(&mut found);
    for (name, topic) in topics {
        let grows = plan.actions.iter().any(|action| action.topic == *name);
        let hold = plan.holds.get(name);
        let selected = policy.topics.matches(name) && !name.starts_with("__");
        if usize::from(grows) + usize::from(hold.is_some()) != usize::from(selected) {
            found.push(format!("{name}: must have one decision if selected and none otherwise"));
        }
        if hold.is_some_and(|hold| !view.is_true((name, topic), hold) || !view.is_about((name, topic), hold)) {
            found.push(format!("{name}: is held for a reason that does not apply"));
        }
    }
    if let Some(name) = plan.holds.keys().find(|name| !topics.contains_key(*name)) {
        found.push(format!("{name}: holds a topic that was not seen"));
    }
    found
}

fn needs_approval(policy: &Policy) -> bool {
    policy.change.approval == Approval::Always
}

fn readable(topic: &Topic) -> bool {
    topic.end_offsets.known().is_some() && topic.partitions > 0
}

/// Rounded up; `by` is positive.
fn div_up(number: i128, by: i128) -> i128 {
    (number + by - 1) / by
}

struct View<'a> {
    policy: &'a Policy,
    observed: &'a Observed,
    plan: &'a Plan,
    now: Timestamp,
}

impl View<'_> {
    /// A count beyond which nobody may want partitions: the floor, or what the steepest slope between any two samples
    /// and the records not read yet ask for.
    fn most(&self, topic: &Topic) -> i128 {
        let scaling = &self.policy.scaling;
        let floor = i128::from(self.policy.default_partitions.unwrap_or(0));
        let Some(target) = scaling.target_rate else { return floor };
        let samples: Vec<_> = topic.window.samples.iter().collect();
        let mut steepest = 0;
        for pair in samples.windows(2) {
            let ms = i128::from(pair[1].at.as_millisecond()) - i128::from(pair[0].at.as_millisecond());
            let records = i128::from(pair[1].end_offsets) - i128::from(pair[0].end_offsets);
            if ms > 0 && records > 0 {
                steepest = div_up(records * 1000, ms).max(steepest);
            }
        }
        let lag = topic.lag.known().map_or(0, |lag| i128::from((*lag).max(0)));
        let rate = steepest + div_up(lag, i128::from(scaling.catch_up_seconds.max(1)));
        let mut wanted = div_up(rate, i128::from(target.max(1)));
        if let (true, Known::Known(cores)) = (scaling.align_to_cores, &self.observed.cores)
            && *cores > 0
        {
            wanted = div_up(wanted, i128::from(*cores)) * i128::from(*cores);
        }
        wanted.max(floor)
    }

    /// Partitions and replicas that the growths before `name` bring.
    fn before(&self, name: &str) -> (i128, i128) {
        let refused = |name: &str| self.topic(name).is_some_and(|topic| topic.refused);
        self.brought(|other| (refused(other), other) < (refused(name), name))
    }

    /// Partitions and replicas that all growths bring.
    fn all(&self) -> (i128, i128) {
        self.brought(|_| true)
    }

    fn topic(&self, name: &str) -> Option<&Topic> {
        self.observed.topics.known()?.get(name)
    }

    fn brought(&self, counts: impl Fn(&str) -> bool) -> (i128, i128) {
        let grown = self.plan.actions.iter().map(|action| (action.topic.as_str(), action.to));
        let recommended = self.plan.holds.iter().filter_map(|(topic, hold)| match hold {
            Hold::RecommendOnly { wanted } => Some((topic.as_str(), *wanted)),
            _ => None,
        });
        let counted = grown.chain(recommended).filter(|(topic, _)| counts(topic));
        counted.fold((0, 0), |(partitions, replicas), (name, to)| {
            let new = i128::from(to) - self.topic(name).map_or(0, |topic| i128::from(topic.partitions));
            let factor = self.topic(name).map_or(1, |topic| topic.replication_factor.max(1));
            (partitions + new, replicas + new * i128::from(factor))
        })
    }

    /// Whether the samples are too few, or the newest too old, as is said.
    fn is_rate_unknown(&self, topic: &Topic, why: &RateUnknown) -> bool {
        let window = SignedDuration::from_secs(self.policy.scaling.window_seconds.into());
        let within = |at: Timestamp| at <= self.now && self.now.duration_since(at) <= window;
        let counted = topic.window.samples.iter().filter(|sample| within(sample.at)).count();
        self.policy.scaling.target_rate.is_some()
            && match why {
                RateUnknown::TooFewSamples { samples, .. } | RateUnknown::WindowReset { samples, .. } => {
                    *samples == counted
                }
                RateUnknown::TooOld { age_seconds, most_seconds } => counted >= 5 && age_seconds > most_seconds,
            }
    }

    fn is_below_floor(&self, topic: &Topic) -> bool {
        self.policy.default_partitions.is_some_and(|floor| floor > topic.partitions)
    }

    fn rests_until(&self, topic: &Topic) -> Option<Timestamp> {
        let pause = SignedDuration::from_secs(self.policy.scaling.cooldown_seconds.into());
        let until = topic.grown?.saturating_add(pause).ok()?;
        (until > self.now && !self.is_below_floor(topic)).then_some(until)
    }

    /// Whether the records of the topic forbid growth.
    fn minds_keys(&self, topic: &Topic) -> bool {
        self.policy.scaling.keyed_topics == KeyedTopics::Hold && topic.keys != Known::Known(Keys::Without)
    }

    fn is_claimed(&self, name: &str) -> bool {
        self.observed.claims.iter().any(|claim| claim.topics.matches(name))
    }

    fn per_broker(&self, replicas: i128) -> Option<i128> {
        let brokers = self.observed.brokers.known().copied().filter(|brokers| *brokers > 0)?;
        Some(div_up(i128::from(self.observed.replicas.max(0)) + replicas, i128::from(brokers)))
    }

    /// What is wrong with asking a person about one growth.
    fn proposed(&self, (name, asked): (&str, &Proposal), found: &mut Vec<String>) {
        let (policy, observed) = (self.policy, self.observed);
        let topic = observed.topics.known().and_then(|topics| topics.get(name));
        let wanted = self.plan.sizes.get(name).map_or(0, |size| size.to);
        let id = observed.cluster_id.known().map(|cluster| growth_plan_id(cluster, name, asked.from, asked.to));
        let fits = |to: i32| to > asked.from && to <= wanted;
        let is_approved = policy.change.approved_plans.contains(&asked.plan_id);
        let of = |to: i32| observed.cluster_id.known().map(|cluster| growth_plan_id(cluster, name, asked.from, to));
        let mut possible = (asked.from + 1..=wanted).filter_map(of);
        let overlooked = !is_approved && possible.any(|id| policy.change.approved_plans.contains(&id));
        let pending = observed.pending.get(name).filter(|pending| pending.from == asked.from && fits(pending.to));
        let faults = [
            (!needs_approval(policy), "asks a person although nobody has to be asked"),
            (
                topic.map(|topic| topic.partitions) != Some(asked.from),
                "asks about another partition count than was seen",
            ),
            (!fits(asked.to), "asks about a growth that is not wanted"),
            (
                !is_approved && pending.is_some_and(|pending| pending.to != asked.to),
                "changes the growth that a person was asked about",
            ),
            (overlooked, "asks although a growth that is wanted was approved"),
            (id.as_ref() != Some(&asked.plan_id), "asks under another id than that of the growth"),
        ];
        let broken = faults.iter().filter(|(is_broken, _)| *is_broken);
        found.extend(broken.map(|(_, text)| format!("{name}: {text}")));
    }

    /// What is wrong with one growth.
    fn growth(&self, topic: &Topic, action: &Grow, found: &mut Vec<String>) {
        let policy = self.policy;
        let asked = self.plan.proposals.get(&action.topic);
        let approved =
            asked.is_some_and(|asked| asked.to == action.to && policy.change.approved_plans.contains(&asked.plan_id));
        let step = i128::from(topic.partitions) * i128::from(policy.scaling.max_step_factor.max(2));
        let step = step.max(policy.default_partitions.unwrap_or(0).into());
        let faults = [
            (action.from != topic.partitions, "assumes another partition count than was seen"),
            (action.to <= action.from, "does not grow"),
            (action.to > policy.max_partitions, "passes maxPartitions"),
            (i128::from(action.to) > self.most(topic), "passes what floor and load ask for"),
            (i128::from(action.to) > step, "grows by more than a step"),
            (self.rests_until(topic).is_some(), "grows again too soon"),
            (self.minds_keys(topic), "grows although records may carry keys"),
            (self.is_claimed(&action.topic), "grows a topic of an older object"),
            (policy.mode != ScalingMode::Automatic, "grows although the mode is not Automatic"),
            (needs_approval(policy) && !approved, "grows without approval"),
            ((topic.leaderless, topic.under_replicated, topic.reassigning) != (0, 0, 0), "grows an unhealthy topic"),
            (!readable(topic), "grows a topic that was not read completely"),
        ];
        let broken = faults.iter().filter(|(is_broken, _)| *is_broken);
        found.extend(broken.map(|(_, text)| format!("{}: {text}", action.topic)));
    }

    /// What is wrong with all growths together.
    fn together(&self, found: &mut Vec<String>) {
        if self.plan.actions.is_empty() {
            return;
        }
        let (partitions, replicas) = self.all();
        let spent = self.observed.spent.known().map(|spent| i128::from((*spent).max(0)) + partitions);
        if spent.is_none_or(|spent| spent > i128::from(self.policy.scaling.daily_budget)) {
            found.push("grows by more than the budget of a day".to_owned());
        }
        let most = i128::from(self.policy.scaling.max_replicas_per_broker);
        if self.per_broker(replicas).is_none_or(|per_broker| per_broker > most) {
            found.push("gives brokers more replicas than they may have".to_owned());
        }
    }

    /// Whether a hold is about a topic that should have more partitions, where it says so.
    fn is_about(&self, (name, topic): (&str, &Topic), hold: &Hold) -> bool {
        let Some(size) = self.plan.sizes.get(name) else {
            return matches!(
                hold,
                Hold::Sufficient | Hold::RateUnknown { .. } | Hold::AboveMaximum | Hold::Unreadable { .. }
            );
        };
        let wants = size.wanted > topic.partitions && i128::from(size.wanted) <= self.most(topic);
        let grows = size.to > topic.partitions && size.to <= self.policy.max_partitions && readable(topic);
        match hold {
            Hold::Sufficient | Hold::RateUnknown { .. } | Hold::AboveMaximum => false,
            Hold::Unreadable { .. } => true,
            Hold::Disabled => wants && grows,
            Hold::Maximum { wanted } => wants && *wanted == size.wanted && size.to <= topic.partitions,
            Hold::Claimed { wanted, .. } => wants && *wanted == size.to,
            Hold::RecommendOnly { wanted }
            | Hold::Cooldown { wanted, .. }
            | Hold::Keyed { wanted }
            | Hold::KeysUnknown { wanted, .. }
            | Hold::Unhealthy { wanted, .. }
            | Hold::BrokerHeadroom { wanted, .. }
            | Hold::DailyBudget { wanted, .. }
            | Hold::ApprovalRequired { wanted, .. }
            | Hold::WaitingForWindow { wanted, .. } => wants && grows && *wanted == size.to,
        }
    }

    /// Whether the reason of a hold applies.
    fn is_true(&self, (name, topic): (&str, &Topic), hold: &Hold) -> bool {
        let (policy, observed) = (self.policy, self.observed);
        let automatic = policy.mode == ScalingMode::Automatic;
        let considered = policy.mode != ScalingMode::Disabled;
        match hold {
            Hold::RateUnknown { why } => {
                let may_grow = considered && topic.partitions < policy.max_partitions;
                may_grow && !self.is_below_floor(topic) && self.is_rate_unknown(topic, why)
            }
            Hold::Sufficient => !self.is_below_floor(topic) && topic.partitions <= policy.max_partitions,
            Hold::AboveMaximum => topic.partitions > policy.max_partitions,
            Hold::Maximum { .. } => topic.partitions >= policy.max_partitions,
            Hold::Claimed { owner, .. } => {
                observed.claims.iter().any(|claim| claim.owner == *owner && claim.topics.matches(name))
            }
            Hold::RecommendOnly { .. } => policy.mode == ScalingMode::Recommend,
            Hold::Disabled => policy.mode == ScalingMode::Disabled,
            Hold::Cooldown { until, .. } => self.rests_until(topic) == Some(*until),
            Hold::Keyed { .. } => self.minds_keys(topic) && topic.keys == Known::Known(Keys::With),
            Hold::KeysUnknown { .. } => self.minds_keys(topic) && topic.keys.known().is_none(),
            Hold::Unhealthy { leaderless, under_replicated, reassigning, .. } => {
                let counts = (*leaderless, *under_replicated, *reassigning);
                considered
                    && counts != (0, 0, 0)
                    && counts == (topic.leaderless, topic.under_replicated, topic.reassigning)
            }
            Hold::BrokerHeadroom { per_broker, most, .. } => {
                let new = i128::from(self.to(name)) - i128::from(topic.partitions);
                let new = new * i128::from(topic.replication_factor.max(1));
                let after = self.per_broker(self.before(name).1 + new);
                considered
                    && *most == policy.scaling.max_replicas_per_broker
                    && after == per_broker.map(i128::from)
                    && after.is_none_or(|after| after > i128::from(*most))
            }
            Hold::DailyBudget { spent, budget, .. } => {
                let new = i128::from(self.to(name)) - i128::from(topic.partitions);
                let before = observed.spent.known().map(|spent| i128::from((*spent).max(0)) + self.before(name).0);
                considered
                    && *budget == policy.scaling.daily_budget
                    && before == spent.map(i128::from)
                    && before.is_none_or(|before| before + new > i128::from(*budget))
            }
            Hold::ApprovalRequired { wanted, to, plan_id } => {
                let proposal = self.plan.proposals.get(name);
                let same = proposal.is_some_and(|p| p.to == *to && p.plan_id == *plan_id && p.to <= *wanted);
                automatic && same && !policy.change.approved_plans.contains(plan_id)
            }
            Hold::WaitingForWindow { next_opening, .. } => {
                automatic && waits_until(&policy.change.windows, self.now, *next_opening)
            }
            Hold::Unreadable { .. } if readable(topic) => {
                needs_approval(policy) && observed.cluster_id.known().is_none()
            }
            Hold::Unreadable { .. } => true,
        }
    }

    /// The count that a topic would have got.
    fn to(&self, name: &str) -> i32 {
        let proposed = self.plan.proposals.get(name).map(|proposal| proposal.to);
        proposed.or_else(|| self.plan.sizes.get(name).map(|size| size.to)).unwrap_or(0)
    }
}
