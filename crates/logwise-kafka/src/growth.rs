//! Growths under an intent: written down before the brokers are asked, closed when the effect was seen.

use crate::apply::{self, apply, counts, nothing_sent};
use crate::client::lock;
use crate::{KafkaClient, Look, Outcome};
use jiff::{SignedDuration, Timestamp};
use logwise_api::LogwiseCluster;
use logwise_plan::partitions::{Grow, Plan};
use logwise_runtime::intent::{Effect, Ended, Ending, Intent, State, Wish};
use logwise_runtime::{Intents, ObjectKey, chain};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The intent's name of the cluster: the id that it keeps for life, whatever its addresses.
pub(crate) fn resource(look: &Look) -> Option<String> {
    look.cluster.known()?.cluster_id.as_ref().map(|id| format!("kafka/{id}"))
}

/// Growths that came to light when an intent was judged: those of an object are told by its next look.
#[derive(Default)]
pub struct Judged(Mutex<Untold>);

#[derive(Default)]
struct Untold {
    /// By uid.
    of: HashMap<String, Vec<Told>>,
    /// Clusters whose last intent was looked at since this process began.
    recalled: HashSet<String>,
}

/// Growths of one intent that an earlier look, or an earlier process, has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// What tells the intent from others.
    pub id: Option<String>,
    /// Those that took place.
    pub grown: Vec<Grow>,
    /// Whether an earlier process has closed the intent: all that may be missing is the record in the database.
    pub again: bool,
}

/// When an intent was judged.
#[derive(Clone, Copy)]
enum Judgement<'a> {
    /// By the partitions of each topic that there are now.
    Now(&'a BTreeMap<String, i32>),
    /// By an earlier process.
    Before,
}

/// Objects whose growths wait to be told, and clusters that are remembered; beyond that they are only in the log.
const MOST_UNTOLD: usize = 1_000;

/// How long after a growth its record may still be on its way to the database.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_hours(1);

impl Judged {
    fn add(&self, intent: &Intent, judgement: Judgement<'_>) {
        let is_there = |grow: &Grow| match judgement {
            Judgement::Now(counts) => counts.get(&grow.topic) == Some(&grow.to),
            Judgement::Before => true,
        };
        let grown = carried_out(intent).filter(is_there).collect();
        let told = Told { id: intent.id(), grown, again: matches!(judgement, Judgement::Before) };
        let (owner, mut untold) = (&intent.wish.owner.uid, self.lock());
        if !told.grown.is_empty() && (untold.of.len() < MOST_UNTOLD || untold.of.contains_key(owner)) {
            untold.of.entry(owner.clone()).or_default().push(told);
        }
    }

    /// A process that was killed may have closed the last intent of the cluster and not have recorded it: it is recorded
    /// again, once, under the same id.
    fn recall(&self, intent: &Intent, now: Timestamp) {
        let new = {
            let mut untold = self.lock();
            untold.recalled.len() < MOST_UNTOLD && untold.recalled.insert(intent.resource.clone())
        };
        if new && intent.state == State::Done && now.duration_since(intent.written) < ON_ITS_WAY {
            self.add(intent, Judgement::Before);
        }
    }

    /// Growths of this object, each once.
    pub(crate) fn take(&self, uid: &str) -> Vec<Told> {
        self.lock().of.remove(uid).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        lock(&self.0)
    }
}

/// What of a closed intent took place.
fn carried_out(intent: &Intent) -> impl Iterator<Item = Grow> {
    let all = intent.state == State::Done && intent.effect.is_none();
    let parts = intent.effect.clone().unwrap_or_default().parts;
    growths(intent).into_iter().flatten().filter(move |grow| all || parts.contains(&grow.topic))
}

/// Judges an intent that an earlier look or an earlier leader left open. Returns the name under which the next one may
/// be written, or why nothing may be sent.
pub(crate) async fn clear_the_way(
    intents: &Intents,
    client: &Arc<KafkaClient>,
    look: &Look,
    judged: &Judged,
) -> Result<String, String> {
    let Some(resource) = resource(look) else {
        return Err("the id of the Kafka cluster is not known".to_owned());
    };
    if let Ok(Some(last)) = intents.last(&resource) {
        judged.recall(&last, Timestamp::now());
    }
    intents.see_others().await;
    let mut seen = BTreeMap::new();
    let judge = async |intent: &Intent| {
        // Read after this moment, and all topics: the intent may be another object's.
        let looked = Instant::now();
        let counts = counts(client).await.map_err(|error| error.message())?;
        let ended = judgement(intent, &counts);
        seen = counts;
        Ok((ended, looked))
    };
    if let Some(closed) = intents.clear(&resource, judge).await? {
        judged.add(&closed, Judgement::Now(&seen));
    }
    Ok(resource)
}

/// What the intent names; nothing, if it says it in another way.
fn growths(intent: &Intent) -> Option<Vec<Grow>> {
    serde_json::from_value(intent.wish.targets["topics"].clone()).ok()
}

/// What became of the growths that `intent` names, by the partitions there are now.
fn judgement(intent: &Intent, counts: &BTreeMap<String, i32>) -> Ended {
    if intent.state == State::Prepared {
        // Nothing was sent, whatever others have done since.
        return Ending::Abandoned.into();
    }
    // A record that says it in another way was not carried out by us, and must not be taken for carried out.
    let Some(growths) = growths(intent) else {
        return Ending::Superseded.into();
    };
    let now = |grow: &Grow| counts.get(&grow.topic).copied();
    if growths.iter().all(|grow| now(grow) == Some(grow.to)) {
        return Ending::Done.into();
    }
    if growths.iter().all(|grow| now(grow) == Some(grow.from)) {
        return Ending::Abandoned.into();
    }
    // A topic that this login is not shown may have grown: it counts, and is not told.
    let came: Vec<&Grow> = growths.iter().filter(|grow| now(grow).is_none_or(|count| count == grow.to)).collect();
    Ended { ending: Ending::Superseded, effect: Some(effect(&came)) }
}

fn effect(came: &[&Grow]) -> Effect {
    Effect { amount: amount(came.iter().copied()), parts: came.iter().map(|grow| grow.topic.clone()).collect() }
}

/// Carries out the growths of `plan` under one intent, if a day's `budget` of new partitions has room for all of them;
/// `cleared` is the answer of [`clear_the_way`]. Tells also what tells the intent from others, if all outcomes are known.
pub(crate) async fn carry_out(
    intents: &Arc<Intents>,
    cluster: &LogwiseCluster,
    client: &Arc<KafkaClient>,
    (plan, budget): (&Plan, i32),
    cleared: Result<String, String>,
) -> (Vec<(Grow, Outcome)>, Option<String>) {
    if plan.actions.is_empty() {
        return (Vec::new(), None);
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
        Err(why) => return (nothing_sent(&plan.actions, &why), None),
    };
    let id = prepared.id().map(str::to_owned);
    // By the record as it was when this one took its place: other shards spend too.
    if prepared.spent().saturating_add(amount(&plan.actions)) > i64::from(budget) {
        prepared.abandon(Ending::Abandoned).await;
        return (nothing_sent(&plan.actions, "others have used up the partitions of this day meanwhile"), None);
    }
    // Held here, so that it can be closed once the effect is known; the calls run on another thread.
    let slot = Arc::new(Mutex::new(Slot::Prepared(prepared)));
    let (place, handle) = (slot.clone(), Handle::current());
    let permit = move || {
        let sent = handle.block_on(Slot::send(&place))?;
        Ok(move || lock(&sent).may_send())
    };
    let outcomes = apply(client, plan, permit).await;
    let slot = std::mem::replace(&mut *lock(&slot), Slot::Over);
    let closed = slot.close(&outcomes).await;
    if closed { (outcomes, id) } else { (untold(outcomes), None) }
}

/// What was done under an intent that stays open is told when that is judged, and only then.
fn untold(outcomes: Vec<(Grow, Outcome)>) -> Vec<(Grow, Outcome)> {
    let why = || "the brokers have accepted it; the record of it is still open".to_owned();
    let later = |outcome| if outcome == Outcome::Done { Outcome::Unknown { why: why() } } else { outcome };
    outcomes.into_iter().map(|(grow, outcome)| (grow, later(outcome))).collect()
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
        let taken = std::mem::replace(&mut *lock(place), Self::Over);
        let Self::Prepared(prepared) = taken else { return Err("the intent was sent already".to_owned()) };
        let sent = prepared.send(CALL_TIMEOUT).await.map_err(|error| chain(&error))?;
        *lock(place) = Self::Sent(sent, false);
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

    /// Whether the record is closed. An outcome that is not known leaves it open: the next look judges it.
    async fn close(self, outcomes: &[(Grow, Outcome)]) -> bool {
        let unknown = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Unknown { .. }));
        match self {
            Self::Prepared(prepared) => {
                prepared.abandon(Ending::Abandoned).await;
                true
            }
            // All of it came too late.
            Self::Sent(sent, false) => sent.close(Ending::Abandoned).await,
            Self::Sent(sent, true) if !unknown => sent.close(ended(outcomes)).await,
            Self::Sent(..) | Self::Over => false,
        }
    }
}

/// Only what came of it is spent.
fn ended(outcomes: &[(Grow, Outcome)]) -> Ended {
    let done = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Done);
    let done: Vec<&Grow> = done.map(|(grow, _)| grow).collect();
    match done.len() {
        0 => Ending::Abandoned.into(),
        all if all == outcomes.len() => Ending::Done.into(),
        _ => Ended { ending: Ending::Done, effect: Some(effect(&done)) },
    }
}

/// One request and a moment for the library: each begins only while the intent allows it. It may leave late, when a
/// controller is found at last, and brokers may work on it for a while then.
const CALL_TIMEOUT: Duration = Duration::from_secs(apply::GROWING.as_secs() + apply::WORKING.as_secs() + 1);

fn wish(cluster: &LogwiseCluster, actions: &[Grow]) -> Wish {
    Wish {
        owner: ObjectKey::of(cluster).into(),
        targets: targets(actions),
        pre_image: None,
        amount: amount(actions),
        parts: actions.iter().map(|grow| grow.topic.clone()).collect(),
    }
}

/// Partitions that these growths add.
fn amount<'g>(actions: impl IntoIterator<Item = &'g Grow>) -> i64 {
    actions.into_iter().map(|grow| i64::from(grow.to) - i64::from(grow.from)).sum()
}

fn targets(actions: &[Grow]) -> Value {
    json!({"topics": actions})
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_runtime::intent::{Owner, Writer};

    fn sent(growths: &[(&str, i32, i32)]) -> Intent {
        let grow = |(topic, from, to): &(&str, i32, i32)| Grow {
            topic: (*topic).to_owned(),
            from: *from,
            to: *to,
            topic_id: None,
        };
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        let actions: Vec<Grow> = growths.iter().map(grow).collect();
        Intent {
            resource: "kafka/x".into(),
            wish: Wish { owner, targets: targets(&actions), pre_image: None, amount: 9, parts: Vec::new() },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state: State::Sent,
            send_before: None,
            call_timeout_seconds: 6,
            written: Timestamp::UNIX_EPOCH,
            prepared: None,
            effect: None,
            answered: false,
            spent: Vec::new(),
            changed: BTreeMap::new(),
        }
    }

    #[test]
    fn an_open_intent_is_judged_by_the_partitions_there_are() {
        let intent = sent(&[("a", 1, 3), ("b", 2, 3)]);
        let counts = |a, b| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let partly = |amount, parts: &[&str]| {
            let parts = parts.iter().map(|part| (*part).to_owned()).collect();
            Ended { ending: Ending::Superseded, effect: Some(Effect { amount, parts }) }
        };
        assert_eq!(judgement(&intent, &counts(3, 3)), Ending::Done.into());
        assert_eq!(judgement(&intent, &counts(1, 2)), Ending::Abandoned.into());
        assert_eq!(judgement(&intent, &counts(3, 2)), partly(2, &["a"]));
        assert_eq!(judgement(&intent, &counts(9, 3)), partly(1, &["b"]));
        assert_eq!(judgement(&intent, &BTreeMap::new()), partly(3, &["a", "b"]), "what is not shown may have grown");
        let prepared = Intent { state: State::Prepared, ..intent };
        assert_eq!(judgement(&prepared, &counts(3, 3)), Ending::Abandoned.into(), "by somebody else");
    }

    #[test]
    fn what_a_judged_intent_has_done_is_told_once_to_its_object() {
        let (judged, intent) = (Judged::default(), sent(&[("a", 1, 3), ("b", 2, 3)]));
        let told =
            || judged.take("u").into_iter().flat_map(|told| told.grown).map(|grow| grow.topic).collect::<Vec<_>>();
        let both = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 3)]);
        let now = Judgement::Now(&both);
        judged.add(&Intent { state: State::Done, ..intent.clone() }, now);
        assert!(judged.take("other").is_empty());
        assert_eq!((told(), told()), (vec!["a".to_owned(), "b".to_owned()], Vec::new()));
        let Ended { effect, .. } = judgement(&intent, &BTreeMap::from([("b".to_owned(), 3)]));
        judged.add(
            &Intent { state: State::Superseded, effect, ..intent.clone() },
            Judgement::Now(&BTreeMap::from([("b".to_owned(), 3)])),
        );
        assert_eq!(told(), ["b"]);
        judged.add(&Intent { state: State::Abandoned, ..intent }, now);
        assert!(told().is_empty());
    }

    #[test]
    fn the_last_intent_of_an_earlier_process_is_recorded_again_once() {
        let (judged, done) = (Judged::default(), Intent { state: State::Done, ..sent(&[("a", 1, 3)]) });
        let at = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        judged.recall(&done, at(0));
        let told = judged.take("u");
        assert!(told.len() == 1 && told[0].again && told[0].grown.len() == 1, "{told:?}");
        judged.recall(&done, at(0));
        assert!(judged.take("u").is_empty());
        let long_ago = Judged::default();
        long_ago.recall(&done, at(1));
        assert!(long_ago.take("u").is_empty());
        // One that is open is judged first.
        let open = Judged::default();
        open.recall(&sent(&[("a", 1, 3)]), at(0));
        open.recall(&done, at(0));
        assert!(open.take("u").is_empty());
    }

    #[test]
    fn only_what_came_of_it_is_spent_and_told() {
        let grow = |topic: &str| Grow { topic: topic.to_owned(), from: 1, to: 3, topic_id: None };
        let refused = || Outcome::Refused { why: "no".into() };
        assert_eq!(ended(&[(grow("a"), Outcome::Done), (grow("b"), Outcome::Done)]), Ending::Done.into());
        assert_eq!(ended(&[(grow("a"), refused()), (grow("b"), Outcome::AlreadySo)]), Ending::Abandoned.into());
        let effect = Some(Effect { amount: 2, parts: vec!["b".into()] });
        assert_eq!(
            ended(&[(grow("a"), refused()), (grow("b"), Outcome::Done)]),
            Ended { ending: Ending::Done, effect }
        );
        let later = untold(vec![(grow("a"), refused()), (grow("b"), Outcome::Done)]);
        assert_eq!(later[0].1, refused());
        assert!(matches!(later[1].1, Outcome::Unknown { .. }));
    }
}
