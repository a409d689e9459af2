//! What became of a change that an earlier look, or an earlier leader, has written down: judged by what is there now,
//! before anything else is written down about the same group or Deployment.

use crate::memory::{Going, Scaling};
use crate::pool::{Found, GROUP};
use crate::told::{Outcome, Told, What};
use jiff::Timestamp;
use logwise_plan::behavior::Changed;
use logwise_plan::workers::{
    Cluster, Member, MemberState, OpenIntent, Pool, Raise, Removal, Step, WorkerState, outcome,
};
use logwise_runtime::intent::{Ending, Intent, Spent, State, Wish};
use logwise_runtime::{Intents, words};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time within which launches and removals are counted.
const HOUR: Duration = Duration::from_secs(3_600);

/// Kinds of changes of one group or Deployment, as the targets of its intent name them.
pub(crate) mod kind {
    pub(crate) const RAISE: &str = "raise";
    pub(crate) const REMOVE: &str = "remove";
    pub(crate) const PROTECT: &str = "protect";
    pub(crate) const COSTS: &str = "cost";
    pub(crate) const HOOK: &str = "hook";
}

/// The targets of a removal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RemovalTargets {
    pub removal: Removal,
    /// Why this member was chosen.
    #[serde(default)]
    pub why: String,
}

/// Targets with the kind of the change.
pub(crate) fn targets(kind: &str, of: &impl Serialize) -> Value {
    let mut targets = json!(of);
    if let Some(members) = targets.as_object_mut() {
        members.insert("kind".to_owned(), json!(kind));
    }
    targets
}

/// Judges the intent about what was found that is open, by the look that began at `looked`. A removal of the object
/// with this uid that was written down and not sent stays: the plan goes on with it or gives it up. Returns the name
/// under which the next one may be written, or why nothing may be sent; and what has come to light by that.
pub(crate) async fn clear_the_way(
    intents: &Intents,
    (found, looked): (&Found, Instant),
    uid: &str,
) -> (Result<String, String>, Option<Told>) {
    let Some(resource) = found.resource.clone() else {
        return (Err("it is not known which group or Deployment runs the workers".to_owned()), None);
    };
    if matches!(intents.last(&resource), Ok(Some(last)) if waits(&last, uid)) {
        return (Ok(resource), None);
    }
    let judge = async |intent: &Intent| {
        let pool = found.pool.known().ok_or("what runs the workers was not read")?;
        let ending = ending(intent, pool).ok_or("the pods have not followed the last change yet")?;
        Ok((ending, looked))
    };
    match intents.clear(&resource, judge).await {
        Ok(closed) => (Ok(resource), closed.as_ref().and_then(came_to_light)),
        Err(why) => (Err(why), None),
    }
}

/// Closes the removal of the object with this uid that was written down and is given up.
pub(crate) async fn give_up(intents: &Intents, resource: &str, uid: &str) -> Result<(), String> {
    let looked = Instant::now();
    // Another one may have come since the plan was made, and may have been sent: what became of it is not known.
    let judge = async |intent: &Intent| {
        let is_it = waits(intent, uid);
        if is_it { Ok((Ending::Abandoned, looked)) } else { Err("another change has taken its place".to_owned()) }
    };
    intents.clear(resource, judge).await.map(drop)
}

/// Whether it is a removal of the object with this uid of which nothing was sent.
pub(crate) fn waits(intent: &Intent, uid: &str) -> bool {
    let is_it = intent.state == State::Prepared && intent.kind() == Some(kind::REMOVE);
    is_it && intent.wish.owner.uid == uid && removal(&intent.wish).is_some()
}

/// The removal that a wish names.
pub(crate) fn removal(wish: &Wish) -> Option<RemovalTargets> {
    read(&wish.targets)
}

fn read<T: DeserializeOwned>(targets: &Value) -> Option<T> {
    T::deserialize(targets).ok()
}

/// What the last intent says to the plan.
pub(crate) fn open(last: Option<&Intent>, uid: &str, going: Option<&Going>) -> OpenIntent {
    let Some(last) = last.filter(|last| !last.state.is_closed()) else { return OpenIntent::None };
    match removal(&last.wish).filter(|_| waits(last, uid)) {
        Some(RemovalTargets { removal, .. }) => {
            // The step is what was seen last; where nobody remembers that, it begins anew.
            let known = going.filter(|going| going.intent.is_some() && going.intent == last.id());
            OpenIntent::Removing(Removal { step: known.map_or(Step::Cordon, |going| going.step), ..removal })
        }
        None => OpenIntent::Other,
    }
}

/// Workers that were added and removed within the last hour.
pub(crate) fn spent(last: Option<&Intent>, now: Timestamp) -> (i32, i32) {
    let of = |kind| last.map_or(0, |last| last.spent_since(kind, now, HOUR));
    let small = |number: i64| i32::try_from(number.max(0)).unwrap_or(i32::MAX);
    (small(of(kind::RAISE)), small(of(kind::REMOVE)))
}

/// Instances that the operator has ended within the last day.
pub(crate) fn ended(last: Option<&Intent>, now: Timestamp) -> BTreeMap<String, Timestamp> {
    last.map(|last| last.changed_at(now)).unwrap_or_default()
}

/// The changes of the number of workers that intents have made, the present number walked back. What may still be under
/// way is none yet.
pub(crate) fn changes(last: Option<&Intent>, desired: i32, now: Timestamp) -> Vec<Changed> {
    let made = match last {
        Some(last) if last.state.is_closed() => last.spending(now),
        Some(last) => last.spent.clone(),
        None => Vec::new(),
    };
    let (mut changes, mut to) = (Vec::new(), desired);
    for Spent { at, amount, kind } in made.into_iter().rev() {
        let number = i32::try_from(amount).unwrap_or(i32::MAX);
        let from = match kind.as_deref() {
            Some(kind::REMOVE) => to.saturating_add(number),
            // An earlier version named no kind.
            Some(kind::RAISE) | None => to.saturating_sub(number),
            Some(_) => continue,
        };
        changes.push(Changed { at, from, to });
        to = from;
    }
    changes.reverse();
    changes
}

/// What an intent was to change about the number of workers.
fn resize(intent: &Intent) -> Option<What> {
    match intent.kind() {
        Some(kind::REMOVE) => removal(&intent.wish).map(|RemovalTargets { removal, .. }| What::Remove(removal)),
        // An earlier version named no kind.
        Some(kind::RAISE) | None => read(&intent.wish.targets).map(What::Raise),
        Some(_) => None,
    }
}

/// A change whose answer was lost and that has taken place.
fn came_to_light(closed: &Intent) -> Option<Told> {
    let is_done = closed.state == State::Done;
    resize(closed).filter(|_| is_done).map(|what| Told { what, outcome: Ok(Outcome::Done) })
}

/// What became of the change that `intent` names, by the pool as it is now; none: that does not show yet.
fn ending(intent: &Intent, pool: &Pool) -> Option<Ending> {
    // A hook and the costs of pods are answered and set again by what is seen then, whatever became of this call.
    let ids = |name: &str| read::<Vec<String>>(&intent.wish.targets[name]).unwrap_or_default();
    let yes = |done: bool| if done { Ending::Done } else { Ending::Abandoned };
    if intent.state == State::Prepared {
        return Some(Ending::Abandoned);
    }
    Some(match intent.kind() {
        Some(kind::PROTECT) if ids("ids").is_empty() => yes(pool.newcomers_protected.known() == Some(&true)),
        Some(kind::PROTECT) => yes(ids("ids").iter().all(|id| member(pool, id).is_none_or(|member| member.protected))),
        Some(kind::REMOVE) => match removal(&intent.wish) {
            Some(RemovalTargets { removal, .. }) => {
                let sent = outcome::Sent { by_number: !intent.resource.starts_with(GROUP), answered: intent.answered };
                ending_of(outcome::of_removal(&removal, sent, pool)?)
            }
            None => Ending::Superseded,
        },
        Some(kind::RAISE) | None => match read::<Raise>(&intent.wish.targets) {
            Some(raise) => ending_of(outcome::of_raise(&raise, pool)),
            None => Ending::Superseded,
        },
        Some(_) => Ending::Superseded,
    })
}

/// The same in the words of intents.
const fn ending_of(outcome: outcome::Outcome) -> Ending {
    match outcome {
        outcome::Outcome::Done => Ending::Done,
        outcome::Outcome::Undone => Ending::Abandoned,
        outcome::Outcome::Superseded => Ending::Superseded,
    }
}

fn member<'a>(pool: &'a Pool, id: &str) -> Option<&'a Member> {
    pool.members.iter().find(|member| member.id == id)
}

/// Workers that there are, counting those on their way: a cordoned one is none.
pub(crate) fn capacity(pool: &Pool, cluster: Option<&Cluster>) -> i32 {
    let seats = cluster.map(|cluster| pool.workers_of(cluster)).unwrap_or_default();
    let cordoned = seats.iter().filter(|(member, worker)| {
        let is_out = worker.is_some_and(|worker| worker.state == WorkerState::Decommissioned);
        is_out && member.state == MemberState::InService
    });
    pool.desired.saturating_sub(words::count(cordoned.count())).max(0)
}

/// Begins to remember, where nothing is remembered: the present number of workers, and the changes on record.
pub(crate) fn begin(scaling: &mut Scaling, (desired, capacity): (i32, i32), last: Option<&Intent>, now: Timestamp) {
    if scaling.is_new() {
        scaling.begin(capacity, changes(last, desired, now), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::Known;
    use logwise_plan::workers::Worker;
    use logwise_runtime::intent::{Owner, Writer};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn intent(targets: Value, state: State) -> Intent {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        Intent {
            resource: "group/arn".into(),
            wish: Wish { owner, targets, pre_image: None, amount: 1, parts: vec!["i-1".into()] },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state,
            send_before: None,
            call_timeout_seconds: 6,
            written: at(0),
            prepared: Some(at(0)),
            answered: false,
            effect: None,
            spent: Vec::new(),
            changed: BTreeMap::new(),
        }
    }

    fn raise() -> Value {
        targets(kind::RAISE, &Raise { pool: "g".into(), from: 1, to: 3 })
    }

    fn leaves(step: Step) -> Removal {
        let (worker, host) = (Some("w1".into()), Some("10.0.0.1".into()));
        Removal { id: "i-1".into(), address: "10.0.0.1".into(), worker, host, from: 3, to: 2, floor: 1, step }
    }

    fn remove() -> Value {
        targets(kind::REMOVE, &RemovalTargets { removal: leaves(Step::Cordon), why: "idle".into() })
    }

    fn pool(desired: i32, members: &[(&str, MemberState)]) -> Pool {
        let member = |(id, state): &(&str, MemberState)| Member {
            state: state.clone(),
            protected: false,
            ..Member::in_service(*id, "10.0.0.1")
        };
        let pool = Pool::at_rest((0, 9), desired, members.iter().map(member).collect());
        Pool { newcomers_protected: Known::Known(false), ..pool }
    }

    #[test]
    fn an_open_raise_is_judged_by_the_desired_number() {
        let of = |desired| ending(&intent(raise(), State::Sent), &pool(desired, &[]));
        let ended = (Some(Ending::Done), Some(Ending::Abandoned), Some(Ending::Superseded));
        assert_eq!((of(3), of(1), of(2)), ended);
        let earlier = json!({"group": "g", "from": 1, "to": 3});
        let of = |targets, state| ending(&intent(targets, state), &pool(3, &[]));
        assert_eq!(of(earlier, State::Sent), Some(Ending::Done), "an earlier version wrote it");
        assert_eq!(of(raise(), State::Prepared), Some(Ending::Abandoned), "nothing was sent");
    }

    #[test]
    fn an_open_removal_is_judged_by_the_member_that_it_names() {
        let serves = MemberState::InService;
        let of = |change: &dyn Fn(&mut Intent), desired, state: Option<MemberState>| {
            let mut members: Vec<_> = state.map(|state| ("i-1", state)).into_iter().collect();
            members.extend((0..2).map(|_| ("other", serves.clone())));
            let mut sent = intent(remove(), State::Sent);
            change(&mut sent);
            ending(&sent, &pool(desired, &members))
        };
        let (plain, answered) = (|_: &mut Intent| {}, |intent: &mut Intent| intent.answered = true);
        let of_pods = |intent: &mut Intent| intent.resource = "deployment/n/w/d".into();
        assert_eq!(of(&plain, 2, None), Some(Ending::Done));
        assert_eq!(of(&plain, 2, Some(MemberState::Leaving)), Some(Ending::Done));
        assert_eq!(of(&plain, 3, Some(serves.clone())), Some(Ending::Abandoned));
        assert_eq!(of(&answered, 3, Some(serves.clone())), Some(Ending::Superseded), "an old view of the group");
        assert_eq!(of(&of_pods, 2, Some(serves.clone())), None, "no pod has gone yet");
        let lowered = of(&plain, 2, Some(serves.clone()));
        assert_eq!(lowered, Some(Ending::Superseded), "no instance goes because somebody lowered the number");
    }

    #[test]
    fn open_protection_is_judged_by_who_is_protected() {
        let ids = targets(kind::PROTECT, &json!({"ids": ["i-1", "gone"]}));
        let mut group = pool(1, &[("i-1", MemberState::InService)]);
        let of = |targets: &Value, group: &Pool| ending(&intent(targets.clone(), State::Sent), group);
        assert_eq!(of(&ids, &group), Some(Ending::Abandoned));
        group.members[0].protected = true;
        assert_eq!(of(&ids, &group), Some(Ending::Done));
        let newcomers = targets(kind::PROTECT, &json!({}));
        assert_eq!(of(&newcomers, &group), Some(Ending::Abandoned));
        group.newcomers_protected = Known::Known(true);
        assert_eq!(of(&newcomers, &group), Some(Ending::Done));
    }

    #[test]
    fn only_a_prepared_removal_of_the_object_is_gone_on_with() {
        let removing = intent(remove(), State::Prepared);
        let until = at(600);
        let going = |intent: Option<String>| Going {
            intent,
            step: Step::Drain { until },
            master: "m:8080".into(),
            cordoned: Instant::now(),
        };
        let of = |intent: &Intent, uid, going: Option<&Going>| open(Some(intent), uid, going);
        assert_eq!(of(&removing, "u", None), OpenIntent::Removing(leaves(Step::Cordon)));
        let known = OpenIntent::Removing(leaves(Step::Drain { until }));
        assert_eq!(of(&removing, "u", Some(&going(removing.id()))), known);
        let other = OpenIntent::Removing(leaves(Step::Cordon));
        assert_eq!(of(&removing, "u", Some(&going(Some("another".into())))), other, "of an earlier removal");
        assert_eq!(of(&removing, "another object", None), OpenIntent::Other);
        for (targets, state, expected) in [
            (remove(), State::Sent, OpenIntent::Other),
            (raise(), State::Sent, OpenIntent::Other),
            (raise(), State::Prepared, OpenIntent::Other),
            (remove(), State::Done, OpenIntent::None),
        ] {
            assert_eq!(of(&intent(targets, state), "u", None), expected, "{state:?}");
        }
        assert_eq!(open(None, "u", None), OpenIntent::None);
    }

    #[test]
    fn changes_and_what_was_spent_and_ended_are_read_from_the_intent() {
        let done = intent(remove(), State::Done);
        assert_eq!(changes(Some(&done), 2, at(9)), [Changed { at: at(0), from: 3, to: 2 }]);
        assert!(
            changes(Some(&intent(remove(), State::Abandoned)), 3, at(9)).is_empty()
                && changes(None, 3, at(9)).is_empty()
        );
        // The costs of pods are set after most changes; the record is about them then.
        let one = |second, amount, kind: &str| Spent { at: at(second), amount, kind: Some(kind.into()) };
        let costs = Intent {
            spent: vec![one(-90, 3, kind::RAISE), one(-50, 1, kind::REMOVE), one(-20, 1, kind::REMOVE)],
            wish: Wish { amount: 0, ..intent(targets(kind::COSTS, &json!({})), State::Done).wish },
            ..intent(targets(kind::COSTS, &json!({})), State::Done)
        };
        let all =
            [(-90, 2, 5), (-50, 5, 4), (-20, 4, 3)].map(|(second, from, to)| Changed { at: at(second), from, to });
        assert_eq!(changes(Some(&costs), 3, at(9)), all);
        let open = Intent { state: State::Sent, wish: done.wish.clone(), ..costs };
        assert_eq!(changes(Some(&open), 3, at(9)), all, "it may come to light yet");
        let of = |last, second| spent(last, at(second));
        assert_eq!((of(Some(&done), 10), of(Some(&done), 3_600), of(None, 0)), ((0, 1), (0, 0), (0, 0)));
        assert!(ended(Some(&done), at(10)).contains_key("i-1") && ended(None, at(0)).is_empty());
    }

    #[test]
    fn a_change_that_took_place_although_its_answer_was_lost_comes_to_light() {
        let told = came_to_light(&intent(remove(), State::Done)).unwrap();
        assert_eq!((told.resized(), told.what), (Some((3, 2)), What::Remove(leaves(Step::Cordon))));
        assert!(came_to_light(&intent(remove(), State::Abandoned)).is_none());
        assert!(came_to_light(&intent(targets(kind::HOOK, &json!({})), State::Done)).is_none());
    }

    #[test]
    fn who_begins_to_remember_does_so_once() {
        let mut scaling = Scaling::default();
        let done =
            Intent { wish: Wish { amount: 2, ..intent(raise(), State::Done).wish }, ..intent(raise(), State::Done) };
        begin(&mut scaling, (3, 3), Some(&done), at(10));
        begin(&mut scaling, (9, 9), None, at(20));
        let history = scaling.past(at(20)).behavior;
        assert_eq!(history.changes, [Changed { at: at(0), from: 1, to: 3 }]);
        assert_eq!(history.recommended.iter().map(|one| one.replicas).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn capacity_leaves_out_what_is_cordoned() {
        let worker = |host: &str, state| Worker {
            id: host.to_owned(),
            host: host.to_owned(),
            state,
            cores: 2,
            cores_used: 0,
            tasks: Known::Known(0),
        };
        let cluster = |state| Cluster {
            url: String::new(),
            workers: vec![worker("10.0.0.1", state)],
            drivers: Vec::new(),
            app_cores: None,
        };
        let one = pool(3, &[("i-1", MemberState::InService)]);
        assert_eq!(capacity(&one, Some(&cluster(WorkerState::Decommissioned))), 2);
        assert_eq!(capacity(&one, Some(&cluster(WorkerState::Alive))), 3);
        assert_eq!(capacity(&one, None), 3);
    }
}
