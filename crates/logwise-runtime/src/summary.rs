//! What follows from the parts: Ready, Reconciling, Stalled, Suspended, ChangesPending.

use crate::PartStatus;
use crate::conditions::{ConditionType, Draft, Reason, Truth};
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
    /// Changes it wants and holds.
    pub pending_changes: i64,
}

/// What the summary is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Generation of the object.
    pub generation: i64,
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
}

/// The summary's share of the status.
pub fn summarize(view: &View) -> PartStatus {
    let mut conditions = Vec::new();
    let stalled: Vec<&PartView> = view.parts.iter().filter(|p| needs_person(p).is_some()).collect();
    let unsettled: Vec<&'static str> =
        view.parts.iter().filter(|p| p.settled_generation < view.generation).map(|p| p.name).collect();
    conditions.push(ready(view, &stalled, &unsettled));
    if let Some(first) = stalled.first() {
        let reason = needs_person(first).unwrap_or(Reason::ComponentNotReady);
        conditions.push(Draft::new(ConditionType::Stalled, true, reason, messages(&stalled)));
    } else if !unsettled.is_empty() {
        conditions.push(reconciling(view, &unsettled));
    }
    conditions.push(suspended(view));
    let pending: i64 = view.parts.iter().map(|p| p.pending_changes).sum();
    conditions.push(pending_changes(view, pending));
    let mut fields = Map::new();
    fields.insert("observedGeneration".into(), json!(view.generation));
    fields.insert("pendingChanges".into(), Value::from(pending));
    PartStatus { fields, conditions }
}

fn ready(view: &View, stalled: &[&PartView], unsettled: &[&'static str]) -> Draft {
    let waiting = view.waiting();
    let not_ready: Vec<&PartView> =
        view.parts.iter().filter(|p| p.ready.as_ref().is_some_and(|(truth, ..)| *truth != Truth::True)).collect();
    let kind = ConditionType::Ready;
    if let Some(first) = stalled.first() {
        let reason = needs_person(first).unwrap_or(Reason::ComponentNotReady);
        return Draft::new(kind, false, reason, messages(&not_ready));
    }
    if !waiting.is_empty() {
        let message = format!("Generation {} is being looked at: waiting for {}", view.generation, waiting.join(", "));
        return Draft::new(kind, Truth::Unknown, Reason::Pending, message);
    }
    if !not_ready.is_empty() {
        return Draft::new(kind, false, Reason::ComponentNotReady, messages(&not_ready));
    }
    if !unsettled.is_empty() {
        let message = format!("Generation {} is being carried out by {}", view.generation, unsettled.join(", "));
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

fn reconciling(view: &View, unsettled: &[&'static str]) -> Draft {
    let failing = view.parts.iter().any(|p| p.ready.as_ref().is_some_and(|(truth, ..)| *truth != Truth::True));
    let reason = if failing { Reason::RetryingAfterError } else { Reason::Progressing };
    let message = format!("Generation {} is not carried out yet: {}", view.generation, unsettled.join(", "));
    Draft::new(ConditionType::Reconciling, true, reason, message)
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
    let (reason, next) = if view.suspended {
        (Reason::SuspendedByUser, "set `spec.suspend` to false to carry them out")
    } else if view.observe_only {
        (Reason::ObserveOnly, "set `spec.changePolicy.mode` to Apply to carry them out")
    } else {
        (Reason::RecommendOnly, "set `spec.kafka.partitionScaling.mode` to Automatic to carry them out")
    };
    Draft::new(kind, true, reason, format!("Changes are wanted and held; {next}"))
}

/// The reason, if this part moves only after a person has acted.
fn needs_person(part: &PartView) -> Option<Reason> {
    let (truth, reason, _) = part.ready.as_ref()?;
    (*truth == Truth::False).then_some(*reason)?.filter(|reason| reason.needs_person())
}

fn messages(parts: &[&PartView]) -> String {
    let each = parts.iter().filter_map(|p| p.ready.as_ref().map(|(_, _, message)| format!("{}: {message}", p.name)));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, truth: Truth, reason: Reason, settled: i64) -> PartView {
        PartView {
            name,
            ready: Some((truth, Some(reason), "m".into())),
            settled_generation: settled,
            pending_changes: 0,
        }
    }

    fn view(parts: Vec<PartView>) -> View {
        View { generation: 2, suspended: false, observe_only: false, parts }
    }

    fn conditions(view: &View) -> Vec<(&'static str, &'static str, &'static str)> {
        summarize(view).conditions.iter().map(|c| (c.kind.name(), c.truth.name(), c.reason.name())).collect()
    }

    const QUIET: [(&str, &str, &str); 2] =
        [("Suspended", "False", "Active"), ("ChangesPending", "False", "NothingPending")];

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
    fn pending_changes_name_what_holds_them() {
        let mut kafka = part("Kafka", Truth::True, Reason::Available, 2);
        kafka.pending_changes = 3;
        let mut view = view(vec![kafka]);
        let reason = |view: &View| summarize(view).conditions.last().map(|c| c.reason);
        assert_eq!(reason(&view), Some(Reason::RecommendOnly));
        view.observe_only = true;
        assert_eq!(reason(&view), Some(Reason::ObserveOnly));
        view.suspended = true;
        assert_eq!(reason(&view), Some(Reason::SuspendedByUser));
        assert_eq!(summarize(&view).fields["pendingChanges"], 3);
    }
}
