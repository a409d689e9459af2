//! Growths under an intent: written down before the brokers are asked, closed when the effect was seen.

use crate::apply::{self, apply, counts, nothing_sent};
use crate::{KafkaClient, Look, Outcome};
use jiff::Timestamp;
use logwise_api::LogwiseCluster;
use logwise_plan::partitions::{Grow, Plan};
use logwise_runtime::intent::{Ending, Intent, State, Wish};
use logwise_runtime::{Intents, ObjectKey, chain};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The intent's name of the cluster: the id that it keeps for life, whatever its addresses.
pub(crate) fn resource(look: &Look) -> Option<String> {
    look.cluster.known()?.cluster_id.as_ref().map(|id| format!("kafka/{id}"))
}

/// Judges an intent that an earlier look or an earlier leader left open. Returns the name under which the next one may
/// be written, or why nothing may be sent.
pub(crate) async fn clear_the_way(intents: &Intents, client: &Arc<KafkaClient>, look: &Look) -> Result<String, String> {
    let Some(resource) = resource(look) else {
        return Err("the id of the Kafka cluster is not known".to_owned());
    };
    let judge = async |intent: &Intent| {
        // Read after this moment, and all topics: the intent may be another object's.
        let looked = Instant::now();
        let counts = counts(client).await.map_err(|error| error.message())?;
        Ok((ending(intent, &counts), looked))
    };
    intents.clear(&resource, judge).await?;
    Ok(resource)
}

/// When topics grew by the last intent of the cluster, by topic: what a process that has just begun does not remember.
pub(crate) fn grown_before(intents: &Intents, resource: &str) -> Vec<(String, Timestamp)> {
    let Some(intent) = intents.last(resource).filter(|intent| intent.state != State::Abandoned) else {
        return Vec::new();
    };
    growths(&intent).into_iter().flatten().map(|grow| (grow.topic, intent.written)).collect()
}

/// What the intent names; nothing, if it says it in another way.
fn growths(intent: &Intent) -> Option<Vec<Grow>> {
    serde_json::from_value(intent.wish.targets["topics"].clone()).ok()
}

/// What became of the growths that `intent` names, by the partitions there are now.
fn ending(intent: &Intent, counts: &BTreeMap<String, i32>) -> Ending {
    // A record that says it in another way was not carried out by us, and must not be taken for carried out.
    let Some(growths) = growths(intent) else {
        return Ending::Superseded;
    };
    let now = |grow: &Grow| counts.get(&grow.topic).copied();
    if growths.iter().all(|grow| now(grow) == Some(grow.to)) {
        Ending::Done
    } else if growths.iter().all(|grow| now(grow) == Some(grow.from)) {
        Ending::Abandoned
    } else {
        Ending::Superseded
    }
}

/// Carries out the growths of `plan` under one intent, if a day's `budget` of new partitions has room for all of them;
/// `cleared` is the answer of [`clear_the_way`].
pub(crate) async fn carry_out(
    intents: &Arc<Intents>,
    cluster: &LogwiseCluster,
    client: &Arc<KafkaClient>,
    (plan, budget): (&Plan, i32),
    cleared: Result<String, String>,
) -> Vec<(Grow, Outcome)> {
    if plan.actions.is_empty() {
        return Vec::new();
    }
    // One request to an intent: a second one might begin too late. The next look goes on with the others.
    let number = apply::request_length(plan.actions.iter().map(Some));
    let plan = &Plan { actions: plan.actions.iter().take(number).cloned().collect(), ..plan.clone() };
    let prepared = match cleared {
        Ok(resource) => intents.prepare(&resource, cluster, wish(cluster, &plan.actions)).await.map_err(|e| chain(&e)),
        Err(why) => Err(why),
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return nothing_sent(&plan.actions, &why),
    };
    // By the record as it was when this one took its place: other shards spend too.
    if prepared.spent().saturating_add(amount(&plan.actions)) > i64::from(budget) {
        prepared.abandon(Ending::Abandoned).await;
        return nothing_sent(&plan.actions, "others have used up the partitions of this day meanwhile");
    }
    // Held here, so that it can be closed once the effect is known; the calls run on another thread.
    let slot = Arc::new(Mutex::new(Slot::Prepared(prepared)));
    let (place, handle) = (slot.clone(), Handle::current());
    let permit = move || {
        let sent = handle.block_on(Slot::send(&place))?;
        Ok(move || sent.lock().unwrap_or_else(PoisonError::into_inner).may_send())
    };
    let outcomes = apply(client, plan, permit).await;
    let slot = std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), Slot::Over);
    slot.close(&outcomes).await;
    outcomes
}

/// How far the intent of one batch is.
enum Slot {
    Prepared(logwise_runtime::intents::Prepared),
    /// With whether a request was let out.
    Sent(logwise_runtime::intents::Sent, bool),
    Over,
}

impl Slot {
    async fn send(place: &Arc<Mutex<Self>>) -> Result<Arc<Mutex<Self>>, String> {
        let taken = std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), Self::Over);
        let Self::Prepared(prepared) = taken else { return Err("the intent was sent already".to_owned()) };
        let sent = prepared.send(CALL_TIMEOUT).await.map_err(|error| chain(&error))?;
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Self::Sent(sent, false);
        Ok(place.clone())
    }

    /// To be asked right before each request.
    fn may_send(&mut self) -> Result<(), String> {
        match self {
            Self::Sent(sent, any) => {
                sent.permit().check().map_err(|error| chain(&error))?;
                *any = true;
                Ok(())
            }
            Self::Prepared(_) | Self::Over => Err("the look was given up".to_owned()),
        }
    }

    /// An outcome that is not known leaves the intent open: the next look judges it.
    async fn close(self, outcomes: &[(Grow, Outcome)]) {
        let unknown = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Unknown { .. }));
        match self {
            Self::Prepared(prepared) => prepared.abandon(Ending::Abandoned).await,
            // All of it came too late.
            Self::Sent(sent, false) => sent.close(Ending::Abandoned).await,
            Self::Sent(sent, true) if !unknown => sent.close(ended(outcomes)).await,
            Self::Sent(..) | Self::Over => {}
        }
    }
}

/// Where nothing came of it, nothing is spent.
fn ended(outcomes: &[(Grow, Outcome)]) -> Ending {
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Done);
    if outcomes.iter().any(|(_, outcome)| done(outcome)) { Ending::Done } else { Ending::Abandoned }
}

/// One request and a moment for the library: each begins only while the intent allows it.
const CALL_TIMEOUT: Duration = Duration::from_secs(apply::GROWING.as_secs() + 1);

fn wish(cluster: &LogwiseCluster, actions: &[Grow]) -> Wish {
    Wish { owner: ObjectKey::of(cluster).into(), targets: targets(actions), pre_image: None, amount: amount(actions) }
}

/// Partitions that these growths add.
fn amount(actions: &[Grow]) -> i64 {
    actions.iter().map(|grow| i64::from(grow.to) - i64::from(grow.from)).sum()
}

fn targets(actions: &[Grow]) -> Value {
    json!({"topics": actions})
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_runtime::intent::{Owner, Writer};

    fn sent(growths: &[(&str, i32, i32)]) -> Intent {
        let grow = |(topic, from, to): &(&str, i32, i32)| Grow { topic: (*topic).to_owned(), from: *from, to: *to };
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let actions: Vec<Grow> = growths.iter().map(grow).collect();
        Intent {
            resource: "kafka/x".into(),
            wish: Wish { owner, targets: targets(&actions), pre_image: None, amount: 0 },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state: State::Sent,
            send_before: None,
            call_timeout_seconds: 6,
            written: Timestamp::UNIX_EPOCH,
            spent: Vec::new(),
        }
    }

    #[test]
    fn an_open_intent_is_judged_by_the_partitions_there_are() {
        let intent = sent(&[("a", 1, 3), ("b", 2, 3)]);
        let counts = |a, b| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        assert_eq!(ending(&intent, &counts(3, 3)), Ending::Done);
        assert_eq!(ending(&intent, &counts(1, 2)), Ending::Abandoned);
        assert_eq!(ending(&intent, &counts(3, 2)), Ending::Superseded);
        assert_eq!(ending(&intent, &counts(9, 3)), Ending::Superseded);
        assert_eq!(ending(&intent, &BTreeMap::new()), Ending::Superseded);
    }
}
