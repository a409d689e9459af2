//! Changes of one RetentionPolicy that are wanted and not made: how many, and what they wait for.

use crate::report::{Found, blocked_message, blocked_reason};
use kube::ResourceExt;
use logwise_api::RetentionPolicy;
use logwise_plan::change;
use logwise_plan::retention::{ApprovalRequest, Decision, PolicyEntry, PolicyPlan, Settings, is_destructive, rule_id};
use logwise_runtime::conditions::{ConditionType, Draft, Reason};
use logwise_runtime::{held, words};

/// How many rules come, change and go, and how many of these let existing objects go earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub add: usize,
    pub change: usize,
    pub remove: usize,
    pub destructive: usize,
}

impl Counts {
    /// Of changes that a person decides about.
    pub(crate) fn of(request: &ApprovalRequest) -> Self {
        let nothing = Settings::default();
        let mut counts = Self::default();
        for change in &request.entries {
            counts.count(change.from != nothing, &change.to);
            counts.destructive += usize::from(is_destructive(&change.from, &change.to));
        }
        counts
    }

    fn count(&mut self, has_rule: bool, to: &Settings) {
        let of_this_kind = match (has_rule, *to == Settings::default()) {
            (_, true) => &mut self.remove,
            (false, false) => &mut self.add,
            (true, false) => &mut self.change,
        };
        *of_this_kind += 1;
    }

    fn words(self) -> String {
        let number = |count: usize| i64::from(words::count(count));
        held::counted(number(self.add), number(self.change), number(self.remove), number(self.destructive))
    }
}

/// Changes that a person is asked about and has not approved.
pub(crate) fn asked(plan: &PolicyPlan) -> Option<&ApprovalRequest> {
    let request = plan.approval.as_ref().filter(|request| !request.approved)?;
    let of_services = plan.services.values().any(|decision| *decision == Decision::ApprovalRequired);
    let removes = plan.kept > 0 && request.entries.iter().any(|change| change.to == Settings::default());
    (of_services || removes).then_some(request)
}

/// Whether changes wait for a window.
pub(crate) fn waits_for_window(plan: &PolicyPlan) -> bool {
    let of_services = plan.services.values().any(|decision| *decision == Decision::WaitingForWindow);
    of_services || (plan.kept > 0 && asked(plan).is_none())
}

/// Changes that are held back, whatever holds them.
pub(crate) fn count(plan: &PolicyPlan) -> usize {
    plan.services.values().filter(|decision| is_held(decision)).count() + plan.kept
}

fn is_held(decision: &Decision) -> bool {
    !matches!(decision, Decision::InForce | Decision::Write)
}

/// `ChangesPending` of a policy.
pub(crate) fn condition(
    found: &Found<'_>,
    (policy, entry): (&RetentionPolicy, &PolicyEntry),
    plan: &PolicyPlan,
) -> Draft {
    let kind = ConditionType::ChangesPending;
    if count(plan) == 0 {
        return Draft::new(kind, false, Reason::NothingPending, "");
    }
    let (reason, next) = held_by(found, policy, entry, plan);
    Draft::new(kind, true, reason, format!("{}. {next}", counts(found, entry, plan).words()))
}

fn held_by(found: &Found<'_>, policy: &RetentionPolicy, entry: &PolicyEntry, plan: &PolicyPlan) -> (Reason, String) {
    if let Some(request) = asked(plan) {
        let text = format!("Plan {} waits for approval. To approve: {}", request.plan_id, approve(policy, request));
        return (Reason::ApprovalRequired, text);
    }
    if waits_for_window(plan) {
        return (Reason::WaitingForWindow, opening(entry, plan));
    }
    match found.plan.blocked.as_ref().filter(|_| plan.services.values().any(|d| *d == Decision::Blocked)) {
        Some(blocked) => (blocked_reason(blocked), blocked_message(blocked)),
        None => {
            let text = "The policy, or its LogwiseCluster, only observes or is suspended: set `changePolicy.mode` to \
                        Apply, and `suspend` of the LogwiseCluster to false, to have them written";
            (Reason::ObserveOnly, text.to_owned())
        }
    }
}

/// The command that approves a plan.
pub(crate) fn approve(policy: &RetentionPolicy, request: &ApprovalRequest) -> String {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    held::approve("lrp", (&namespace, &name), &[&request.plan_id])
}

/// When changes that wait for a window begin.
pub(crate) fn opening(entry: &PolicyEntry, plan: &PolicyPlan) -> String {
    match plan.next_opening {
        Some(at) => {
            let at = change::opening(&entry.windows, at);
            format!("The rules in force stay until a window of `changePolicy.windows` opens, next at {at}")
        }
        None => {
            "The rules in force stay: the windows of the policy and of its LogwiseCluster are never open together. \
                 Correct `changePolicy.windows`"
                .to_owned()
        }
    }
}

fn counts(found: &Found<'_>, entry: &PolicyEntry, plan: &PolicyPlan) -> Counts {
    let mut counts = Counts { remove: plan.kept, ..Counts::default() };
    let nothing = Settings::default();
    let held = plan.services.iter().filter(|(_, decision)| is_held(decision)).map(|(service, _)| service);
    for service in held {
        let rules = found.own.of_service(service, &rule_id(&entry.owner, &entry.uid8, service));
        let to = if found.observed.facts.vanished.contains(service) { &nothing } else { &entry.settings };
        counts.count(!rules.is_empty(), to);
        // What is not understood counts as nothing; of several rules the shortest acts.
        let known: Vec<&Settings> = rules.iter().filter_map(|rule| Some(&rule.meaning.as_ref()?.settings)).collect();
        let known = if known.is_empty() { vec![&nothing] } else { known };
        counts.destructive += usize::from(known.iter().all(|from| is_destructive(from, to)));
    }
    counts
}
