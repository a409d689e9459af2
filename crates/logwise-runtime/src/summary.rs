//! What follows from the parts: Ready, Reconciling, Stalled, Suspended, ChangesPending, Drifted.

use crate::conditions::{ConditionType, Draft, Reason, Truth};
use crate::held::{self, Held};
use crate::{ObjectKey, PartStatus};
use serde_json::{Map, Value, json};

/// One managed part as its share of the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartView {
    /// Name for people, such as `Kafka`.
    pub name: &'static str,
    /// Status, reason, message of its readiness; `None`: it has not reported on this generation.
    pub ready: Option<(Truth, Option<Reason>, String)>,
    /// Last generation that it has wholly carried out.
    pub settled_generation: i64,
    /// Changes it wants and does not carry out, whatever holds them.
    pub pending_changes: i64,
    /// What they wait for, apart from suspension and mode.
    pub held: Vec<Held>,
    /// What somebody else has changed: why the part says so, and the change in words.
    pub drift: Option<(Reason, String)>,
}

/// What the summary is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The object.
    pub object: ObjectKey,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.changePolicy.mode: Observe`.
    pub observe_only: bool,
    /// Parts whose section is present.
    pub parts: Vec<PartView>,
}

impl View {
    /// Parts that have not reported on the current generation.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.parts.iter().filter(|p| p.ready.is_none()).map(|p| p.name).collect()
    }

    /// Parts that have not carried out the current generation.
    fn unsettled(&self) -> impl Iterator<Item = &PartView> {
        self.parts.iter().filter(|p| p.settled_generation < self.object.generation)
    }

    /// Why nothing is changed at all, if so, and what a person does about it.
    fn stands_still(&self) -> Option<(Reason, &'static str)> {
        if self.suspended {
            Some((Reason::SuspendedByUser, "set `spec.suspend` to false"))
        } else if self.observe_only {
            Some((Reason::ObserveOnly, "set `spec.changePolicy.mode` to Apply"))
        } else {
            None
        }
    }

    /// Why a part moves only after a person has acted, if so, and the fact with the next step.
    fn stuck(&self, part: &PartView) -> Option<(Reason, String)> {
        let (truth, reason, message) = part.ready.as_ref()?;
        let fails = *truth == Truth::False;
        if let Some(reason) = reason.filter(|reason| fails && reason.needs_person()) {
            return Some((reason, message.clone()));
        }
        // What load asks for after the generation was carried out is no failure of the generation.
        let concerns = fails || part.settled_generation < self.object.generation;
        part.held
            .iter()
            .find(|held| concerns && held.needs_person())
            .map(|held| (held.reason(), held.words(&self.object)))
    }

    /// What every part that is not ready says.
    fn troubles(&self) -> String {
        let each = self.parts.iter().filter_map(|part| {
            let (truth, _, message) = part.ready.as_ref()?;
            let said = self.stuck(part).map(|(_, said)| said);
            let said = said.or_else(|| (*truth != Truth::True).then(|| message.clone()))?;
            Some(format!("{}: {said}", part.name))
        });
        each.collect::<Vec<_>>().join("; ")
    }

    /// What is said while all that is left of this generation waits for a window.
    fn waits_for_window(&self) -> Option<String> {
        let opening = |part: &PartView| {
            let works = part.ready.as_ref().is_some_and(|(truth, ..)| *truth == Truth::True);
            let held = part.held.iter().find(|held| held.reason() == Reason::WaitingForWindow);
            held.filter(|_| works).map(|held| format!("{}: {}", part.name, held.words(&self.object)))
        };
        let each: Vec<String> = self.unsettled().map(opening).collect::<Option<_>>()?;
        (!each.is_empty()).then(|| each.join("; "))
    }
}

/// The summary's share of the status.
pub fn summarize(view: &View) -> PartStatus {
    let stuck: Vec<(Reason, String)> = view
        .parts
        .iter()
        .filter_map(|p| Some((p.name, view.stuck(p)?)))
        .map(|(name, (r, m))| (r, format!("{name}: {m}")))
        .collect();
    let mut conditions = vec![ready(view, &stuck)];
    if let Some((reason, _)) = stuck.first() {
        let all: Vec<&str> = stuck.iter().map(|(_, message)| message.as_str()).collect();
        conditions.push(Draft::new(ConditionType::Stalled, true, *reason, all.join("; ")));
    } else if view.unsettled().next().is_some() {
        conditions.push(reconciling(view));
    }
    conditions.push(suspended(view));
    let pending: i64 = view.parts.iter().map(|p| p.pending_changes).sum();
    conditions.push(pending_changes(view, pending));
    conditions.push(drifted(view));
    let mut fields = Map::new();
    fields.insert("observedGeneration".into(), json!(view.object.generation));
    fields.insert("pendingChanges".into(), Value::from(pending));
    PartStatus { fields, conditions }
}

fn ready(view: &View, stuck: &[(Reason, String)]) -> Draft {
    let (kind, generation, waiting) = (ConditionType::Ready, view.object.generation, view.waiting());
    if let Some((reason, _)) = stuck.first() {
        return Draft::new(kind, false, *reason, view.troubles());
    }
    if !waiting.is_empty() {
        let message = format!("Generation {generation} is being looked at: waiting for {}", waiting.join(", "));
        return Draft::new(kind, Truth::Unknown, Reason::Pending, message);
    }
    let troubles = view.troubles();
    if !troubles.is_empty() {
        return Draft::new(kind, false, Reason::ComponentNotReady, troubles);
    }
    if let Some(message) = view.waits_for_window() {
        return Draft::new(kind, false, Reason::WaitingForWindow, message);
    }
    let unsettled: Vec<&str> = view.unsettled().map(|p| p.name).collect();
    if !unsettled.is_empty() {
        let message = format!("Generation {generation} is being carried out by {}", unsettled.join(", "));
        return Draft::new(kind, false, Reason::Progressing, message);
    }
    let names: Vec<&str> = view.parts.iter().map(|p| p.name).collect();
    let message = if names.is_empty() {
        "Nothing is managed: the spec has no kafka, spark or storage section".to_owned()
    } else {
        format!("Ready: {}", names.join(", "))
    };
    Draft::new(kind, true, Reason::Running, message)
}

fn reconciling(view: &View) -> Draft {
    let failing = view.parts.iter().any(|p| p.ready.as_ref().is_some_and(|(truth, ..)| *truth != Truth::True));
    let (kind, window) = (ConditionType::Reconciling, view.waits_for_window());
    if let Some(message) = window.filter(|_| !failing) {
        return Draft::new(kind, true, Reason::WaitingForWindow, message);
    }
    let reason = if failing { Reason::RetryingAfterError } else { Reason::Progressing };
    let unsettled: Vec<&str> = view.unsettled().map(|p| p.name).collect();
    let message = format!("Generation {} is not carried out yet: {}", view.object.generation, unsettled.join(", "));
    Draft::new(kind, true, reason, message)
}

fn suspended(view: &View) -> Draft {
    let (reason, message) = if view.suspended {
        (Reason::SuspendedByUser, "Nothing is changed while `spec.suspend` is true; systems are still observed")
    } else {
        (Reason::Active, "")
    };
    Draft::new(ConditionType::Suspended, view.suspended, reason, message)
}

fn pending_changes(view: &View, pending: i64) -> Draft {
    let kind = ConditionType::ChangesPending;
    if pending == 0 {
        return Draft::new(kind, false, Reason::NothingPending, "");
    }
    // What a LogwiseCluster changes is there before and after, and loses nothing.
    let count = held::counted(0, pending, 0, 0);
    if let Some((reason, next)) = view.stands_still() {
        return Draft::new(kind, true, reason, format!("{count}. Nothing is changed: {next} to carry them out"));
    }
    let mut held: Vec<&Held> = view.parts.iter().flat_map(|part| &part.held).collect();
    held.sort_by_key(|held| held.rank());
    let Some(first) = held.first() else {
        // A part holds back more than it gives a reason for, such as one that an older version reported.
        return Draft::new(kind, true, Reason::Pending, format!("{count}. The next look says what they wait for"));
    };
    let each: Vec<String> = held::joined(&held).iter().map(|held| held.words(&view.object)).collect();
    Draft::new(kind, true, first.reason(), format!("{count}. {}", each.join(". ")))
}

fn drifted(view: &View) -> Draft {
    let drifts: Vec<(Reason, String)> = view.parts.iter().filter_map(|part| part.drift.clone()).collect();
    let Some((reason, _)) = drifts.first() else {
        return Draft::new(ConditionType::Drifted, false, Reason::InSync, "");
    };
    let facts: Vec<&str> = drifts.iter().map(|(_, fact)| fact.as_str()).collect();
    let next = match view.stands_still() {
        Some((_, next)) => format!("It stays so: {next} to have it restored"),
        None => "It is restored as soon as `changePolicy` lets it".to_owned(),
    };
    Draft::new(ConditionType::Drifted, true, *reason, format!("Somebody else changed {}. {next}", facts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::Plan;

    fn part(name: &'static str, truth: Truth, reason: Reason, settled: i64) -> PartView {
        PartView {
            name,
            ready: Some((truth, Some(reason), "m".into())),
            settled_generation: settled,
            pending_changes: 0,
            held: Vec::new(),
            drift: None,
        }
    }

    fn waits(held: Held, settled: i64) -> PartView {
        let changes = held.changes();
        PartView {
            pending_changes: changes,
            held: vec![held],
            ..part("Kafka", Truth::True, Reason::Available, settled)
        }
    }

    fn approval(id: &str, changes: i64) -> Held {
        let plan = Plan { id: id.into(), summary: "logs.api 1 -> 3 partitions".into() };
        Held::ApprovalRequired { changes, plans: vec![plan] }
    }

    fn window(opening: Option<&str>) -> Held {
        Held::WaitingForWindow { changes: 1, opening: opening.map(str::to_owned) }
    }

    fn view(parts: Vec<PartView>) -> View {
        let object = ObjectKey { uid: "u".into(), namespace: "shop".into(), name: "demo".into(), generation: 2 };
        View { object, suspended: false, observe_only: false, parts }
    }

    fn conditions(view: &View) -> Vec<(&'static str, &'static str, &'static str)> {
        summarize(view).conditions.iter().map(|c| (c.kind.name(), c.truth.name(), c.reason.name())).collect()
    }

    fn said(view: &View, kind: ConditionType) -> (Reason, String) {
        let all = summarize(view).conditions;
        let one = all.into_iter().find(|c| c.kind == kind).expect("there is one");
        (one.reason, one.message)
    }

    const QUIET: [(&str, &str, &str); 3] = [
        ("Suspended", "False", "Active"),
        ("ChangesPending", "False", "NothingPending"),
        ("Drifted", "False", "InSync"),
    ];

    fn pending(reason: &'static str) -> [(&'static str, &'static str, &'static str); 3] {
        [QUIET[0], ("ChangesPending", "True", reason), QUIET[2]]
    }

    #[test]
    fn ready_when_every_part_is_ready_and_settled() {
        let all = view(vec![
            part("Kafka", Truth::True, Reason::Available, 2),
            part("Spark", Truth::True, Reason::Available, 2),
        ]);
        assert_eq!(conditions(&all), [&[("Ready", "True", "Running")], &QUIET[..]].concat());
    }

    #[test]
    fn not_ready_before_a_part_has_reported_or_carried_out_this_generation() {
        let mut waiting = part("Kafka", Truth::True, Reason::Available, 1);
        waiting.ready = None;
        let expected = [("Ready", "Unknown", "Pending"), ("Reconciling", "True", "Progressing")];
        assert_eq!(conditions(&view(vec![waiting])), [&expected[..], &QUIET].concat());
        let unsettled = view(vec![part("Kafka", Truth::True, Reason::Available, 1)]);
        let expected = [("Ready", "False", "Progressing"), ("Reconciling", "True", "Progressing")];
        assert_eq!(conditions(&unsettled), [&expected[..], &QUIET].concat());
    }

    #[test]
    fn a_part_that_needs_a_person_stalls_and_takes_reconciling_away() {
        let parts = vec![
            part("Kafka", Truth::True, Reason::Available, 1),
            part("Storage", Truth::False, Reason::BucketNotFound, 1),
        ];
        let expected = [("Ready", "False", "BucketNotFound"), ("Stalled", "True", "BucketNotFound")];
        assert_eq!(conditions(&view(parts)), [&expected[..], &QUIET].concat());
    }

    #[test]
    fn an_outage_after_the_generation_was_carried_out_is_neither_stalled_nor_reconciling() {
        let parts = vec![part("Kafka", Truth::False, Reason::BrokerUnreachable, 2)];
        assert_eq!(conditions(&view(parts)), [&[("Ready", "False", "ComponentNotReady")], &QUIET[..]].concat());
        let parts = vec![part("Kafka", Truth::False, Reason::BrokerUnreachable, 1)];
        let expected = [("Ready", "False", "ComponentNotReady"), ("Reconciling", "True", "RetryingAfterError")];
        assert_eq!(conditions(&view(parts)), [&expected[..], &QUIET].concat());
    }

    #[test]
    fn a_generation_that_waits_for_approval_is_stalled_and_says_how_to_approve() {
        let waiting =
            view(vec![waits(approval("kp-00000001", 1), 1), part("Spark", Truth::True, Reason::Available, 2)]);
        let expected = [("Ready", "False", "ApprovalRequired"), ("Stalled", "True", "ApprovalRequired")];
        assert_eq!(conditions(&waiting), [&expected[..], &pending("ApprovalRequired")].concat());
        let message = said(&waiting, ConditionType::Stalled).1;
        let command = r#"kubectl patch lwc demo -n shop --type merge -p '{"spec":{"changePolicy":{"approvedPlans":["kp-00000001"]}}}'"#;
        assert!(message.starts_with("Kafka: ") && message.contains(command), "{message}");
        // A topic that came later is asked about, and the generation stays carried out.
        let later = view(vec![waits(approval("kp-00000001", 1), 2)]);
        assert_eq!(conditions(&later), [&[("Ready", "True", "Running")][..], &pending("ApprovalRequired")].concat());
        // Unless the part is not ready for want of it.
        let mut sick = later;
        sick.parts[0].ready = Some((Truth::False, Some(Reason::WorkersNotReady), "m".into()));
        assert_eq!(conditions(&sick), [&expected[..], &pending("ApprovalRequired")].concat());
    }

    #[test]
    fn a_generation_that_waits_for_a_window_is_on_its_way_unless_none_ever_opens() {
        let waiting = view(vec![waits(window(Some("2026-03-03T01:00:00Z")), 1)]);
        let expected = [("Ready", "False", "WaitingForWindow"), ("Reconciling", "True", "WaitingForWindow")];
        assert_eq!(conditions(&waiting), [&expected[..], &pending("WaitingForWindow")].concat());
        assert!(said(&waiting, ConditionType::Reconciling).1.contains("2026-03-03T01:00:00Z"));
        let mut failing = waiting.clone();
        failing.parts.push(part("Spark", Truth::False, Reason::MasterUnreachable, 1));
        assert_eq!(said(&failing, ConditionType::Reconciling).0, Reason::RetryingAfterError);
        let never = view(vec![waits(window(None), 1)]);
        let expected = [("Ready", "False", "WaitingForWindow"), ("Stalled", "True", "WaitingForWindow")];
        assert_eq!(conditions(&never), [&expected[..], &pending("WaitingForWindow")].concat());
        let later = view(vec![waits(window(Some("soon")), 2)]);
        assert_eq!(conditions(&later), [&[("Ready", "True", "Running")][..], &pending("WaitingForWindow")].concat());
    }

    #[test]
    fn pending_changes_name_what_holds_them() {
        let recommended = |changes, field| Held::RecommendOnly { changes, field };
        let mut kafka = waits(recommended(3, "spec.kafka.partitionScaling.mode"), 2);
        let reason = |view: &View| said(view, ConditionType::ChangesPending).0;
        assert_eq!(reason(&view(vec![kafka.clone()])), Reason::RecommendOnly);
        let workers = waits(recommended(1, "spec.spark.workers.autoscaling.mode"), 2);
        let (_, message) = said(&view(vec![kafka.clone(), workers]), ConditionType::ChangesPending);
        let each = ["3 recommended: set `spec.kafka.partitionScaling.mode`", "1 recommended: set `spec.spark.workers."];
        assert!(each.iter().all(|words| message.contains(words)), "each by its own field: {message}");
        kafka.held.push(window(Some("2026-03-03T01:00:00Z")));
        assert_eq!(reason(&view(vec![kafka.clone()])), Reason::WaitingForWindow);
        kafka.held.push(approval("kp-00000001", 2));
        kafka.pending_changes = 6;
        let mut spark = waits(approval("wp-00000002", 1), 2);
        spark.name = "Spark";
        let mut view = view(vec![kafka, spark]);
        let (reason_now, message) = said(&view, ConditionType::ChangesPending);
        assert_eq!(reason_now, Reason::ApprovalRequired);
        assert!(
            message.starts_with("0 to add, 7 to change, 0 to remove; 0 destructive. 3 wait for approval: "),
            "{message}"
        );
        assert!(message.contains(r#"["kp-00000001","wp-00000002"]"#), "{message}");
        assert!(message.contains("1 waits for a window, which opens next at 2026-03-03T01:00:00Z"), "{message}");
        view.observe_only = true;
        assert_eq!(reason(&view), Reason::ObserveOnly);
        view.suspended = true;
        assert_eq!(reason(&view), Reason::SuspendedByUser);
        assert_eq!(summarize(&view).fields["pendingChanges"], 7);
    }

    #[test]
    fn what_others_changed_is_said_with_what_becomes_of_it() {
        let mut storage = part("Storage", Truth::True, Reason::Available, 2);
        storage.drift = Some((Reason::LifecycleRuleChanged, "a rule".into()));
        let mut view = view(vec![storage]);
        let (reason, message) = said(&view, ConditionType::Drifted);
        assert_eq!(reason, Reason::LifecycleRuleChanged);
        assert_eq!(message, "Somebody else changed a rule. It is restored as soon as `changePolicy` lets it");
        assert_eq!(said(&view, ConditionType::Ready).0, Reason::Running);
        view.observe_only = true;
        assert!(said(&view, ConditionType::Drifted).1.contains("set `spec.changePolicy.mode` to Apply"));
    }
}
