//! What the record of a driver holds, and what follows from it: which driver is ours, and what became of a call.

use logwise_plan::driver::{Active, Answer, Ended, KillWhy, Open, Restarted, Submit, Why, answer_of};
use logwise_runtime::intent::{self, Effect, Ending, Intent, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the record's name of a driver begins with; the name of the masters and the main class follow.
const KIND: &str = "driver/";

/// How long a submission that the master does not show is waited for: a slow master may still take it.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);

/// How long a killed driver may take to end: its worker gives it 10 s, and tells the master then.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The record's name of the driver of this class at the masters of this name.
pub(super) fn resource(masters: &str, class: &str) -> String {
    format!("{KIND}{masters}/{class}")
}

/// The name of the masters and the main class that the record of this name is about.
pub(super) fn about(resource: &str) -> Option<(&str, &str)> {
    resource.strip_prefix(KIND)?.rsplit_once('/')
}

/// What is wanted of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub(super) enum Targets {
    /// One is submitted.
    Submit {
        /// Why.
        why: Why,
        /// Ids that were there before.
        known: BTreeSet<String>,
        /// Ids of this object's records under other names: what they are about has gone.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        outlives: BTreeSet<String>,
        /// What was so before.
        past: Past,
    },
    /// One is killed.
    Kill {
        /// Its id.
        id: String,
        /// Why.
        why: KillWhy,
        /// The newest batch at that time, if it was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<i64>,
        /// What was so before.
        past: Past,
    },
    /// One that is active already is taken for ours; nothing is sent.
    Adopt {
        /// Its id.
        id: String,
        /// Ids of this object's records under other names: what they are about has gone, or is this very driver.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        outlives: BTreeSet<String>,
        /// What was so before.
        past: Past,
    },
}

impl Targets {
    fn of(intent: &Intent) -> Option<Self> {
        serde_json::from_value(intent.wish.targets.clone()).ok()
    }
}

/// What the record of a driver tells of what was done, from one change to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Past {
    /// Id of the driver that was submitted last, or was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<String>,
    /// When a driver was last killed because its query stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Restarted>,
    /// Drivers that were submitted in place of others.
    #[serde(default)]
    pub restarts: i32,
    /// The masters that the spec named, each as `host:port`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub masters: BTreeSet<String>,
    /// What the active one of them calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Ids of this object's records under other names whose drivers had gone when one was submitted or adopted under
    /// this name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outlived: BTreeSet<String>,
}

impl Past {
    /// What is so after the last change.
    pub fn after(last: Option<&Intent>) -> Self {
        let Some(intent) = last else { return Self::default() };
        match Targets::of(intent) {
            None => Self::default(),
            Some(Targets::Submit { known, outlives, past, .. }) if intent.state == State::Done => {
                Self { outlived: outlives, ..past.submitted(intent, &known) }
            }
            Some(Targets::Submit { past, .. }) => past,
            Some(Targets::Adopt { id, outlives, mut past }) => {
                past.outlived.extend(outlives);
                Self { recorded: Some(id), ..past }
            }
            Some(Targets::Kill { why: KillWhy::Stalled, batch: Some(batch), past, .. })
                if matches!(intent.state, State::Sent | State::Done) =>
            {
                let at = intent.prepared.unwrap_or(intent.written);
                Self { restarted: Some(Restarted { at, batch }), ..past }
            }
            Some(Targets::Kill { past, .. }) => past,
        }
    }

    fn submitted(self, intent: &Intent, known: &BTreeSet<String>) -> Self {
        let replaces = self.recorded.is_some() || !known.is_empty();
        let restarts = self.restarts.saturating_add(i32::from(replaces));
        // Of several nobody knows which one it became.
        let recorded = match ids(intent) {
            [id] => Some(id.clone()),
            _ => self.recorded,
        };
        Self { recorded, restarts, ..self }
    }
}

/// What the driver with this id has outlived, if a submission was given up that it may have come of all the same.
pub(super) fn outlived_late(intent: &Intent, id: &str) -> BTreeSet<String> {
    let was_given_up = intent.state == State::Abandoned && intent.send_before.is_some();
    match Targets::of(intent) {
        Some(Targets::Submit { known, outlives, .. }) if was_given_up && !known.contains(id) => outlives,
        _ => BTreeSet::new(),
    }
}

/// What the master calls itself that the record is about, as it was when that was written.
pub(super) fn url(intent: &Intent) -> Option<&str> {
    intent.wish.targets.pointer("/past/url")?.as_str()
}

/// Ids that a submission became.
pub(super) fn ids(intent: &Intent) -> &[String] {
    intent.effect.as_ref().map_or(&[], |effect| effect.parts.as_slice())
}

/// Whether it is a submission that was judged to have made drivers.
pub(super) fn was_found(intent: &Intent) -> bool {
    intent.state == State::Done && matches!(Targets::of(intent), Some(Targets::Submit { .. }))
}

/// Whether it is a submission that was sent and is given up: nobody has seen a driver come of it.
pub(super) fn is_in_vain(intent: &Intent, ended: &intent::Ended) -> bool {
    let is_given_up = intent.state == State::Sent && ended.ending == Ending::Abandoned;
    is_given_up && matches!(Targets::of(intent), Some(Targets::Submit { .. }))
}

/// The call whose effect has not been seen yet.
pub(super) fn open(last: Option<&Intent>) -> Open {
    let Some(intent) = last.filter(|intent| intent.state == State::Sent) else { return Open::None };
    match Targets::of(intent) {
        Some(Targets::Submit { known, .. }) => Open::Submission { known, since: intent.written },
        Some(Targets::Kill { id, .. }) => Open::Kill { id },
        Some(Targets::Adopt { .. }) => Open::None,
        // Of a later version, perhaps: the worst that it can be.
        None => Open::Submission { known: BTreeSet::new(), since: intent.written },
    }
}

/// How a submission ends that became the drivers with these ids.
pub(super) fn became(ids: Vec<String>) -> intent::Ended {
    intent::Ended { ending: Ending::Done, effect: Some(Effect { amount: 0, parts: ids }) }
}

/// What became of the call that the record names, by what the master shows; `waited`: for how long that was asked in
/// vain.
pub(super) fn judge(
    intent: &Intent,
    (active, done): (&[Active], &[Ended]),
    waited: Duration,
) -> Result<intent::Ended, String> {
    if intent.state == State::Prepared {
        return Ok(Ending::Abandoned.into());
    }
    match Targets::of(intent) {
        Some(Targets::Submit { why, known, .. }) => match answer_of(&Submit { why, known }, active, done) {
            Answer::Is(id) => Ok(became(vec![id])),
            Answer::Several(ids) => Ok(became(ids)),
            Answer::Never if waited < SHOWS_WITHIN => {
                Err("the master does not show yet what became of the last submission".to_owned())
            }
            Answer::Never => Ok(Ending::Abandoned.into()),
        },
        Some(Targets::Kill { id, .. }) => {
            let lives = active.iter().any(|driver| driver.id == id);
            match lives {
                true if waited < ENDS_WITHIN => Err(format!("driver {id} was killed and has not ended yet")),
                true => Ok(Ending::Abandoned.into()),
                false => Ok(Ending::Done.into()),
            }
        }
        Some(Targets::Adopt { .. }) | None => Ok(Ending::Superseded.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use logwise_runtime::intent::{Owner, Wish, Writer};
    use serde_json::{Value, json};

    const LONG: Duration = Duration::from_secs(3_600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn intent(targets: Value, state: State) -> Intent {
        let owner = Owner { namespace: "n".into(), name: "a".into(), uid: "u".into(), generation: 1 };
        Intent {
            resource: resource("m:7077", "X"),
            wish: Wish { owner, targets, pre_image: None, amount: 0, parts: Vec::new() },
            writer: Writer { epoch: 1, shard: String::new(), identity: "p".into() },
            state,
            send_before: None,
            call_timeout_seconds: 6,
            written: at(20),
            prepared: Some(at(10)),
            answered: false,
            effect: None,
            spent: Vec::new(),
            changed: std::collections::BTreeMap::new(),
        }
    }

    fn submit(known: &[&str], past: &Past, state: State) -> Intent {
        let known = known.iter().map(ToString::to_string).collect();
        let outlives = BTreeSet::from(["earlier-1".to_owned()]);
        intent(json!(Targets::Submit { why: Why::Missing, known, outlives, past: past.clone() }), state)
    }

    fn kill(why: KillWhy, past: &Past, state: State) -> Intent {
        let batch = Some(7);
        intent(json!(Targets::Kill { id: "d1".into(), why, batch, past: past.clone() }), state)
    }

    fn active(id: &str) -> Active {
        Active { id: id.into(), state: "RUNNING".into(), ours: true, has_worker: true, started: None }
    }

    fn done(id: &str) -> Ended {
        Ended { id: id.into(), state: "FAILED".into(), text: None }
    }

    #[test]
    fn targets_are_written_as_they_are_read_and_name_their_kind() {
        let past = Past { recorded: Some("d0".into()), restarts: 2, ..Past::default() };
        let written = submit(&["d0"], &past, State::Prepared);
        let expected = json!({"kind": "submit", "why": "missing", "known": ["d0"], "outlives": ["earlier-1"],
            "past": {"recorded": "d0", "restarts": 2}});
        assert_eq!((&written.wish.targets, written.kind()), (&expected, Some("submit")));
        let written = kill(KillWhy::Stalled, &past, State::Sent);
        assert_eq!(written.kind(), Some("kill"));
        let read = Targets::of(&written).unwrap();
        assert_eq!(read, Targets::Kill { id: "d1".into(), why: KillWhy::Stalled, batch: Some(7), past });
    }

    #[test]
    fn the_driver_of_the_last_submission_is_on_record() {
        let before = Past { recorded: Some("d0".into()), restarts: 1, ..Past::default() };
        let ended = |ids: &[&str]| Intent {
            effect: became(ids.iter().map(ToString::to_string).collect()).effect,
            ..submit(&["d0"], &before, State::Done)
        };
        let after = Past::after(Some(&ended(&["d1"])));
        let outlived = BTreeSet::from(["earlier-1".to_owned()]);
        assert_eq!(after, Past { recorded: Some("d1".into()), restarts: 2, outlived, ..before.clone() });
        assert_eq!(Past::after(Some(&ended(&["d1", "d2"]))).recorded, Some("d0".into()), "which of them is not known");
        for state in [State::Prepared, State::Sent, State::Abandoned, State::Superseded] {
            assert_eq!(Past::after(Some(&submit(&["d0"], &before, state))), before, "{state:?}");
        }
        let first = Intent { effect: became(vec!["d1".into()]).effect, ..submit(&[], &Past::default(), State::Done) };
        assert_eq!(Past::after(Some(&first)).restarts, 0, "the first one replaces none");
        assert_eq!(Past::after(None), Past::default());
    }

    #[test]
    fn a_kill_for_a_query_that_stood_still_is_remembered_once_it_was_sent() {
        let past = Past { recorded: Some("d1".into()), restarts: 1, ..Past::default() };
        let killed = Past { restarted: Some(Restarted { at: at(10), batch: 7 }), ..past.clone() };
        for (state, expected) in [
            (State::Prepared, &past),
            (State::Sent, &killed),
            (State::Done, &killed),
            (State::Abandoned, &past),
            (State::Superseded, &past),
        ] {
            assert_eq!(&Past::after(Some(&kill(KillWhy::Stalled, &past, state))), expected, "{state:?}");
        }
        assert_eq!(Past::after(Some(&kill(KillWhy::Extra, &past, State::Done))), past);
        assert_eq!(Past::after(Some(&submit(&[], &killed, State::Sent))), killed, "the next record carries it on");
    }

    #[test]
    fn one_that_was_adopted_is_on_record_and_nothing_was_sent() {
        let past = Past { restarts: 3, outlived: BTreeSet::from(["earlier-1".to_owned()]), ..Past::default() };
        let adopted = Past { recorded: Some("d1".into()), ..past.clone() };
        for state in [State::Prepared, State::Done, State::Abandoned] {
            let outlives = BTreeSet::new();
            let adopt = intent(json!(Targets::Adopt { id: "d1".into(), outlives, past: past.clone() }), state);
            assert_eq!((Past::after(Some(&adopt)), adopt.kind()), (adopted.clone(), Some("adopt")), "{state:?}");
            assert!(open(Some(&adopt)).is_none());
        }
        let outlives = BTreeSet::from(["earlier-2".to_owned()]);
        let adopt = intent(json!(Targets::Adopt { id: "d1".into(), outlives, past }), State::Done);
        assert_eq!(Past::after(Some(&adopt)).outlived, ["earlier-1", "earlier-2"].map(str::to_owned).into());
    }

    #[test]
    fn what_turns_up_after_its_submission_was_given_up_outlives_the_same() {
        let given_up = Intent { send_before: Some(at(15)), ..submit(&["d0"], &Past::default(), State::Abandoned) };
        assert_eq!(outlived_late(&given_up, "d1"), BTreeSet::from(["earlier-1".to_owned()]));
        assert!(outlived_late(&given_up, "d0").is_empty(), "it was there before");
        let not_sent = Intent { send_before: None, ..given_up.clone() };
        let sent = Intent { state: State::Sent, ..given_up };
        assert!(outlived_late(&not_sent, "d1").is_empty() && outlived_late(&sent, "d1").is_empty());
    }

    #[test]
    fn a_record_tells_what_its_master_calls_itself() {
        let past = Past { url: Some("spark://m:7077".into()), ..Past::default() };
        assert_eq!(url(&submit(&[], &past, State::Done)), Some("spark://m:7077"));
        assert_eq!(url(&submit(&[], &Past::default(), State::Done)), None);
    }

    #[test]
    fn a_name_tells_masters_and_class() {
        assert_eq!(about(&resource("m:7077", "a.Main")), Some(("m:7077", "a.Main")));
        assert_eq!(about(&resource("[::1]:7077", "a.Main")), Some(("[::1]:7077", "a.Main")));
        assert_eq!(about("group/m:7077/a.Main"), None);
    }

    #[test]
    fn only_what_was_sent_is_open() {
        let past = Past::default();
        let expected = Open::Submission { known: BTreeSet::from(["d0".to_owned()]), since: at(20) };
        assert_eq!(open(Some(&submit(&["d0"], &past, State::Sent))), expected);
        assert_eq!(open(Some(&kill(KillWhy::Extra, &past, State::Sent))), Open::Kill { id: "d1".into() });
        for state in [State::Prepared, State::Done, State::Abandoned, State::Superseded] {
            assert!(open(Some(&submit(&[], &past, state))).is_none(), "{state:?}");
        }
        assert!(open(None).is_none());
        let strange = intent(json!({"kind": "suspend"}), State::Sent);
        assert!(!open(Some(&strange)).is_none(), "a later version's");
    }

    #[test]
    fn an_unanswered_submission_is_the_driver_that_was_not_there_before() {
        let sent = submit(&["d0"], &Past::default(), State::Sent);
        let judged = |active: &[Active], done: &[Ended], waited| judge(&sent, (active, done), waited);
        let zero = Duration::ZERO;
        assert_eq!(judged(&[active("d1")], &[done("d0")], zero), Ok(became(vec!["d1".into()])));
        assert_eq!(judged(&[], &[done("d0"), done("d1")], zero), Ok(became(vec!["d1".into()])), "it has ended already");
        let several = judged(&[active("d1"), active("d2")], &[], zero).unwrap();
        assert_eq!(several.effect.unwrap().parts.len(), 2);
        assert!(judged(&[], &[done("d0")], zero).unwrap_err().contains("last submission"));
        assert!(judged(&[], &[done("d0")], Duration::from_secs(29)).is_err());
        assert_eq!(judged(&[], &[done("d0")], Duration::from_secs(30)), Ok(Ending::Abandoned.into()));
    }

    #[test]
    fn a_killed_driver_is_waited_for_and_what_was_not_sent_is_given_up() {
        let sent = kill(KillWhy::Extra, &Past::default(), State::Sent);
        let judged = |active: &[Active], waited| judge(&sent, (active, &[]), waited);
        assert!(judged(&[active("d1")], Duration::from_secs(59)).unwrap_err().contains("d1"));
        assert_eq!(judged(&[active("d1")], Duration::from_secs(60)), Ok(Ending::Abandoned.into()));
        assert_eq!(judged(&[active("d2")], Duration::ZERO), Ok(Ending::Done.into()));
        let prepared = submit(&[], &Past::default(), State::Prepared);
        assert_eq!(judge(&prepared, (&[active("d1")], &[]), LONG), Ok(Ending::Abandoned.into()));
        let strange = intent(json!({"kind": "suspend"}), State::Sent);
        assert_eq!(judge(&strange, (&[], &[]), LONG), Ok(Ending::Superseded.into()));
    }

    #[test]
    fn only_a_submission_that_was_sent_and_is_given_up_was_in_vain() {
        let (past, abandoned) = (Past::default(), intent::Ended::from(Ending::Abandoned));
        let sent = submit(&["d1"], &past, State::Sent);
        assert!(is_in_vain(&sent, &abandoned));
        assert!(!is_in_vain(&sent, &became(vec!["d2".into()])));
        assert!(!is_in_vain(&submit(&["d1"], &past, State::Prepared), &abandoned), "nothing was sent");
        assert!(!is_in_vain(&kill(KillWhy::Stalled, &past, State::Sent), &abandoned));
    }
}
