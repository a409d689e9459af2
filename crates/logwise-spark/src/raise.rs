//! Raises of the group's desired capacity under an intent: written down before AWS is asked, closed when the effect was
//! seen.

use crate::controller::{Context, Observed, Outcome};
use logwise_api::LogwiseCluster;
use logwise_aws::{AutoScaling, AwsError, Clients, Failure, group};
use logwise_plan::workers::{Group, Plan, RaiseDesired};
use logwise_runtime::intent::{Ending, Intent, Wish};
use logwise_runtime::{ErrorClass, IntentError, Intents, ObjectKey, chain};
use serde_json::json;
use std::time::{Duration, Instant};

/// Longest time the call takes: one attempt, and a moment more.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// What the intent's name of a group begins with; its ARN follows.
const KIND: &str = "group/";

/// Judges an intent that an earlier look or an earlier leader left open, by a look that began at `looked`. Returns the
/// name under which the next one may be written, or why nothing may be sent.
pub(crate) async fn clear_the_way(intents: &Intents, observed: &Observed, looked: Instant) -> Result<String, String> {
    // The ARN, not the name: a group that was made again under the same name is another one.
    let arn = observed.arn.as_ref().ok_or("the ARN of the group is not known")?;
    let resource = format!("{KIND}{arn}");
    let judge = async |intent: &Intent| {
        let group = observed.facts.as_ref().and_then(|facts| facts.group.known()).ok_or("the group was not read")?;
        Ok((ending(intent, group), looked))
    };
    intents.clear(&resource, judge).await?;
    Ok(resource)
}

/// What became of the raise that `intent` names.
fn ending(intent: &Intent, group: &Group) -> Ending {
    match serde_json::from_value::<RaiseDesired>(intent.wish.targets.clone()) {
        Ok(raise) if group.desired == raise.to => Ending::Done,
        Ok(raise) if group.desired == raise.from => Ending::Abandoned,
        _ => Ending::Superseded,
    }
}

/// Carries out the raise of `plan` under an intent; `cleared` is the answer of [`clear_the_way`].
pub(crate) async fn carry_out(
    of: (&LogwiseCluster, &Context),
    clients: Option<&Clients>,
    plan: &Plan,
    cleared: Result<String, String>,
) -> Vec<Outcome> {
    let Some(client) = clients.map(Clients::autoscaling) else { return Vec::new() };
    let mut outcomes = Vec::new();
    for raise in &plan.actions {
        let outcome = match &cleared {
            Ok(resource) => carry_out_one(of, &client, raise, resource).await,
            Err(why) => Err(not_sent(raise, ErrorClass::Conflict, why)),
        };
        outcomes.push((raise.clone(), outcome));
    }
    outcomes
}

async fn carry_out_one(
    (cluster, context): (&LogwiseCluster, &Context),
    client: &AutoScaling,
    raise: &RaiseDesired,
    resource: &str,
) -> Result<group::Outcome, AwsError> {
    let failed = |error: IntentError| not_sent(raise, error.class(), &chain(&error));
    let wish = Wish {
        owner: ObjectKey::of(cluster).into(),
        targets: json!(raise),
        pre_image: None,
        amount: 0,
        parts: Vec::new(),
    };
    let prepared = context.shell.intents.prepare(resource, cluster, wish).await.map_err(failed)?;
    let arn = resource.strip_prefix(KIND).unwrap_or(resource);
    match group::check(client, raise, arn).await {
        Ok(None) => {}
        other => {
            prepared.abandon(Ending::Superseded).await;
            return other.map(|outcome| outcome.unwrap_or(group::Outcome::AlreadySo));
        }
    }
    let sent = prepared.send(CALL_TIMEOUT).await.map_err(failed)?;
    let permit = sent.permit();
    match group::send(client, raise, move || permit.check().map_err(|error| chain(&error))).await {
        Ok(()) => {
            sent.close(Ending::Done).await;
            Ok(group::Outcome::Done)
        }
        Err(error) => {
            // Without an answer nobody knows: the next look judges.
            if error.class() != ErrorClass::Transient {
                sent.close(Ending::Abandoned).await;
            }
            Err(error)
        }
    }
}

fn not_sent(raise: &RaiseDesired, class: ErrorClass, why: &str) -> AwsError {
    let failure = Failure::stated(class, format!("nothing was sent: {why}"));
    AwsError::SetDesiredCapacity { group: raise.group.clone(), failure, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use logwise_runtime::intent::{Owner, State, Writer};

    #[test]
    fn an_open_intent_is_judged_by_the_capacity_that_the_group_has() {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let raise = RaiseDesired { group: "g".into(), from: 1, to: 3 };
        let intent = Intent {
            resource: "group/arn".into(),
            wish: Wish { owner, targets: json!(raise), pre_image: None, amount: 0, parts: Vec::new() },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state: State::Sent,
            send_before: None,
            call_timeout_seconds: 6,
            written: Timestamp::UNIX_EPOCH,
            prepared: None,
            effect: None,
            spent: Vec::new(),
            changed: std::collections::BTreeMap::new(),
        };
        let group = |desired| Group { min_size: 0, max_size: 9, desired, in_service: 1 };
        assert_eq!(ending(&intent, &group(3)), Ending::Done);
        assert_eq!(ending(&intent, &group(1)), Ending::Abandoned);
        assert_eq!(ending(&intent, &group(2)), Ending::Superseded);
    }
}
