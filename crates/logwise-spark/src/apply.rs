//! Carries a plan about the workers out: each change written down before it is sent, sent once, and closed when its
//! effect was seen.

use crate::context::Context;
use crate::judge::{self, kind, targets};
use crate::master::Page;
use crate::pool::{Found, Place};
use crate::told::{Failed, Outcome, Told, What};
use crate::{deployment, hook, protect, raise, remove};
use logwise_api::LogwiseCluster;
use logwise_api::validate::MasterAddress;
use logwise_plan::workers::{Hold, Plan, Policy};
use logwise_runtime::intent::{Ending, Wish};
use logwise_runtime::term::Permit;
use logwise_runtime::{ErrorClass, ObjectKey, chain};
use serde_json::{Value, json};
use std::collections::BTreeMap;

// A call to AWS takes as long at most: one attempt, and a moment more.
pub(crate) use crate::deployment::CALL_TIMEOUT;

/// What changes of the workers are about.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub cluster: &'a LogwiseCluster,
    pub context: &'a Context,
    pub policy: &'a Policy,
    pub place: &'a Place,
    pub found: &'a Found,
    /// Name of what was found in intents.
    pub resource: &'a str,
    pub masters: &'a [MasterAddress],
    /// Page of the active master.
    pub page: Option<&'a Page>,
}

impl Around<'_> {
    /// Uid of the object.
    pub fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }

    /// What is written down about a change.
    pub fn wish(&self, targets: Value, amount: i64, parts: Vec<String>) -> Wish {
        Wish { owner: ObjectKey::of(self.cluster).into(), targets, pre_image: None, amount, parts }
    }
}

/// The permit as the call asks it.
pub(crate) fn asked(permit: Permit) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    move || permit.check().map_err(|error| chain(&error))
}

/// Carries out what the plan names: first a removal that is given up is closed, then instances are protected.
pub(crate) async fn carry_out(around: Around<'_>, plan: &Plan) -> Vec<Told> {
    let mut all = Vec::new();
    if plan.abandon {
        match give_up(around).await {
            Ok(told) => all.extend(told),
            Err(why) => {
                all.extend(not_sent(plan, ErrorClass::Conflict, &why));
                return all;
            }
        }
    }
    if plan.protect_newcomers {
        all.push(Told { what: What::Newcomers, outcome: protect::newcomers(around).await });
    }
    if !plan.protect.is_empty() {
        let outcome = protect::instances(around, &plan.protect).await;
        all.push(Told { what: What::Protect(plan.protect.clone()), outcome });
    }
    if let Some(wanted) = &plan.raise {
        all.push(Told { what: What::Raise(wanted.clone()), outcome: raise::raise(around, wanted).await });
    }
    match &plan.removal {
        // Costs that it needs are set under its record.
        Some(removal) => all.extend(remove::remove(around, plan, removal).await),
        None if plan.costs.is_empty() => {}
        None => match remove::costs_meanwhile(around, plan).await {
            Some(told) => all.push(told),
            None => {
                all.push(Told { what: What::Costs(plan.costs.clone()), outcome: costs(around, &plan.costs).await });
            }
        },
    }
    if let Some(step) = &plan.hook {
        all.push(Told { what: What::Hook(step.clone()), outcome: hook::answer(around, step).await });
    }
    all
}

/// What becomes of a plan while something stands in the way of every change.
pub(crate) fn not_sent(plan: &Plan, class: ErrorClass, why: &str) -> Vec<Told> {
    let planned = [
        plan.protect_newcomers.then_some(What::Newcomers),
        (!plan.protect.is_empty()).then(|| What::Protect(plan.protect.clone())),
        plan.raise.clone().map(What::Raise),
        plan.removal.clone().map(What::Remove),
        (!plan.costs.is_empty()).then(|| What::Costs(plan.costs.clone())),
        plan.hook.clone().map(What::Hook),
        // What the plan would have named but for that record.
        is_withdrawn(plan).then_some(What::Anything),
    ];
    let failed = || Err(Failed::NotSent { class, why: why.to_owned() });
    planned.into_iter().flatten().map(|what| Told { what, outcome: failed() }).collect()
}

/// Whether the plan leaves out what is wanted, since the effect of an earlier change is not known yet.
pub(crate) fn is_withdrawn(plan: &Plan) -> bool {
    plan.holds.contains(&Hold::IntentOpen)
}

/// Closes the removal that was written down. Its worker stays cordoned.
async fn give_up(around: Around<'_>) -> Result<Option<Told>, String> {
    let Around { context, resource, .. } = around;
    let intents = &context.shell.intents;
    let last = intents.last(resource).map_err(|error| chain(&error))?;
    judge::give_up(intents, resource, around.uid()).await?;
    context.memory.with(around.uid(), |of| of.scaling.going = None);
    let removal = last.and_then(|last| judge::removal(&last.wish)).map(|targets| targets.removal);
    Ok(removal.map(|removal| Told { what: What::GiveUp(removal), outcome: Ok(Outcome::Done) }))
}

/// Makes one change: it is written down, `check` says whether it still is what was planned, and then it is sent once.
pub(crate) async fn once<F>(
    around: Around<'_>,
    (targets, amount): (Value, i64),
    check: impl Future<Output = Result<Option<Outcome>, Failed>>,
    send: impl FnOnce(Permit) -> F,
) -> Result<Outcome, Failed>
where
    F: Future<Output = Result<Outcome, Failed>>,
{
    let wish = around.wish(targets, amount, Vec::new());
    let prepared = around.context.shell.intents.prepare(around.resource, around.cluster, wish).await?;
    match check.await {
        Ok(None) => {}
        other => {
            prepared.abandon(Ending::Superseded).await;
            return other.map(|outcome| outcome.unwrap_or(Outcome::AlreadySo));
        }
    }
    let sent = prepared.send(CALL_TIMEOUT).await?;
    match send(sent.permit()).await {
        Ok(outcome) => {
            sent.close(if outcome == Outcome::Done { Ending::Done } else { Ending::Superseded }).await;
            Ok(outcome)
        }
        Err(error) => {
            // Without an answer nobody knows: the next look judges.
            if !error.may_have_happened() {
                sent.close(Ending::Abandoned).await;
            }
            Err(error)
        }
    }
}

/// Nothing has to be read again before the call: sent by an old view it does no harm.
pub(crate) async fn unchecked() -> Result<Option<Outcome>, Failed> {
    Ok(None)
}

/// Deletion costs beside any removal.
async fn costs(around: Around<'_>, costs: &BTreeMap<String, i32>) -> Result<Outcome, Failed> {
    let Place::Deployment { client, namespace, .. } = around.place else { return Ok(Outcome::AlreadySo) };
    let send = |permit| set_costs((client, namespace), costs, permit);
    once(around, (targets(kind::COSTS, &json!({"costs": costs})), 0), unchecked(), send).await
}

/// Sets deletion costs.
pub(crate) async fn set_costs(
    (client, namespace): (&kube::Client, &str),
    costs: &BTreeMap<String, i32>,
    permit: Permit,
) -> Result<Outcome, Failed> {
    deployment::set_costs(client, namespace, costs, asked(permit)).await?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::workers::Raise;

    #[test]
    fn what_cannot_be_sent_is_told_of_each_planned_change() {
        let raise = Raise { pool: "g".into(), from: 1, to: 3 };
        let plan = Plan {
            raise: Some(raise.clone()),
            protect_newcomers: true,
            protect: vec!["i-1".into()],
            removal: None,
            abandon: true,
            costs: BTreeMap::new(),
            hook: None,
            size: None,
            signals: Vec::new(),
            ranking: Vec::new(),
            holds: Vec::new(),
            next_look_seconds: 30,
        };
        let told = not_sent(&plan, ErrorClass::Conflict, "it is claimed");
        let what: Vec<&What> = told.iter().map(|told| &told.what).collect();
        assert_eq!(what, [&What::Newcomers, &What::Protect(vec!["i-1".into()]), &What::Raise(raise)]);
        assert!(told.iter().all(|told| told.words().starts_with("NotSent: it is claimed (")), "{told:?}");
        let idle = Plan { raise: None, protect_newcomers: false, protect: Vec::new(), ..plan };
        assert!(not_sent(&idle, ErrorClass::Conflict, "").is_empty());
        let withdrawn = Plan { holds: vec![Hold::IntentOpen], ..idle };
        assert_eq!(not_sent(&withdrawn, ErrorClass::Conflict, "").len(), 1, "somebody has to be told");
    }
}
