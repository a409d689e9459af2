//! Configurations that S3 may still answer with although they were replaced: those that the last writes of ours assumed, and
//! others that were read shortly before these, whoever has replaced them. The record of the last write remembers them, so
//! that the next process knows them too.

use crate::compose::compose;
use crate::document::RawDocument;
use crate::record::{Earlier, Targets};
use crate::verify::{Reading, reading};
use crate::watch::stale;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::WriteRules;
use logwise_runtime::intent::{Effect, Ended, Ending, Intent, State};

/// Configurations that a record remembers beside the one that its own write assumes: of earlier writes, and as many that
/// were read before its own.
const MOST: usize = 8;

/// Configurations that S3 may still answer with.
#[derive(Debug)]
pub(crate) struct Old<'a> {
    last: Option<(&'a Intent, Targets)>,
    /// The newest first.
    versions: Vec<Earlier>,
}

/// When a write was written down, right before it was sent.
pub(crate) fn written_down(intent: &Intent) -> Timestamp {
    intent.prepared.unwrap_or(intent.written)
}

/// How the record of a write ends by which nothing came about, nor will: none was sent, or it was refused.
pub(crate) fn void() -> Ended {
    Ended { ending: Ending::Abandoned, effect: Some(Effect::default()) }
}

/// Whether a record has ended so, or in an earlier version's way.
pub(crate) fn is_void(last: &Intent) -> bool {
    last.state == State::Abandoned && (last.send_before.is_none() || last.effect == Some(Effect::default()))
}

impl<'a> Old<'a> {
    /// By the record of the last write, as of `now`.
    pub(crate) fn of(last: Option<&'a Intent>, now: Timestamp) -> Self {
        let last = last.and_then(|last| Some((last, Targets::of(last)?)));
        let mut versions = Vec::new();
        if let Some((intent, targets)) = &last {
            // What was read before a write that was not sent may be there: that one's base may be the old answer.
            if has_replaced(intent.state) {
                let replaced = [&targets.write.assumes].into_iter().chain(&targets.read);
                let at = written_down(intent);
                versions.extend(replaced.map(|version| Earlier { version: version.clone(), at }));
            }
            versions.extend(targets.earlier.iter().cloned());
            // A clock that was put back makes none last for longer.
            versions.retain(|it| now.duration_since(it.at).unsigned_abs() < stale());
        }
        Self { last, versions }
    }

    /// Whether S3 shows one of them. What the last write itself has made is none: the same rules may have been there
    /// before. `sure`: that write is known to have taken effect.
    pub(crate) fn shows(&self, now: Option<&RawDocument>, sure: bool) -> bool {
        let version = now.map(RawDocument::version);
        self.versions.iter().any(|it| it.version.as_deref() == version) && !(sure && self.is_made(now))
    }

    /// The last write.
    pub(crate) fn write(&self) -> Option<&WriteRules> {
        self.last.as_ref().map(|(_, targets)| &targets.write)
    }

    /// What the record of a write over `base` remembers: that is there now.
    pub(crate) fn besides(&self, base: Option<&str>) -> Vec<Earlier> {
        let mut kept: Vec<Earlier> = Vec::new();
        for it in self.versions.iter().filter(|it| it.version.as_deref() != base) {
            if kept.len() < MOST && kept.iter().all(|newer| newer.version != it.version) {
                kept.push(it.clone());
            }
        }
        kept
    }

    /// The configuration as the last write has left it, once its record is closed; none if that does not tell.
    pub(crate) fn left(&self) -> Option<Known<RawDocument>> {
        let (last, targets) = self.last.as_ref()?;
        let before = targets.before(last)?;
        let left = match last.state {
            State::Done => made(before.as_ref(), &targets.write)?,
            State::Abandoned => before,
            State::Prepared | State::Sent | State::Superseded => return None,
        };
        Some(left.map_or(Known::Absent, Known::Known))
    }

    fn is_made(&self, now: Option<&RawDocument>) -> bool {
        let Some((last, targets)) = self.last.as_ref().filter(|(last, _)| has_replaced(last.state)) else {
            return false;
        };
        let Some(before) = targets.before(last) else { return false };
        matches!(reading((before.as_ref(), &targets.write), now), Reading::Ours { others: None })
    }
}

/// What the record of a write over `base` remembers of the versions that were read shortly before, the newest first.
pub(crate) fn beside(base: Option<&str>, read: Vec<Option<String>>) -> Vec<Option<String>> {
    read.into_iter().filter(|version| version.as_deref() != base).take(MOST).collect()
}

/// Whether a write whose record is in this state has, perhaps, replaced what it assumes. One that was not sent, was
/// refused, or has had no effect, has left that in force.
fn has_replaced(state: State) -> bool {
    matches!(state, State::Sent | State::Done | State::Superseded)
}

/// The configuration that a write makes; none if it cannot be told.
fn made(before: Option<&RawDocument>, write: &WriteRules) -> Option<Option<RawDocument>> {
    let Some(bytes) = compose(before, write).ok()? else { return Some(None) };
    let setting = before.and_then(RawDocument::minimum_object_size).map(str::to_owned);
    RawDocument::parse(&bytes, setting).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;
    use jiff::SignedDuration;
    use logwise_plan::retention::{Rule, Settings};
    use std::collections::BTreeSet;

    const THEIRS: &str = "<LifecycleConfiguration><Rule><ID>t</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";

    fn theirs() -> RawDocument {
        RawDocument::parse(THEIRS.as_bytes(), None).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    /// A write for each of these services, with so many days; 0 takes its rule away.
    fn write(over: Option<&RawDocument>, services: &[(&str, i32)]) -> WriteRules {
        let rule = |(service, days): &(&str, i32)| Rule {
            id: format!("id-{service}"),
            prefix: format!("logs/service_name={service}/"),
            settings: Settings { expiration_days: Some(*days), ..Settings::default() },
        };
        WriteRules {
            assumes: over.map(|over| over.version().to_owned()),
            remove: services.iter().map(|(service, _)| format!("id-{service}")).collect::<BTreeSet<String>>(),
            add: services.iter().filter(|(_, days)| *days > 0).map(rule).collect(),
        }
    }

    /// The last write, and what there is.
    struct Scene {
        last: Option<Intent>,
        now: Option<RawDocument>,
    }

    impl Scene {
        fn new() -> Self {
            Self { last: None, now: Some(theirs()) }
        }

        /// One more write at this second, whose record ends so; what it made.
        fn writes(&mut self, second: i64, services: &[(&str, i32)], state: State) -> Option<RawDocument> {
            let write = write(self.now.as_ref(), services);
            let earlier = Old::of(self.last.as_ref(), at(second)).besides(write.assumes.as_deref());
            let targets = Targets { write, earlier, ..Targets::default() };
            let record = record(state, &targets, self.now.as_ref());
            self.last = Some(Intent { prepared: Some(at(second)), ..record });
            if state != State::Abandoned {
                self.now = made(self.now.as_ref(), &targets.write).unwrap();
            }
            self.now.clone()
        }

        fn is_old(&self, second: i64, document: Option<&RawDocument>) -> bool {
            Old::of(self.last.as_ref(), at(second)).shows(document, true)
        }
    }

    #[test]
    fn what_the_last_writes_have_replaced_is_old_for_as_long_as_s3_may_answer_so() {
        let mut scene = Scene::new();
        let first = scene.writes(0, &[("a", 30)], State::Done);
        assert!(scene.is_old(100, Some(&theirs())) && !scene.is_old(100, first.as_ref()));
        assert!(!scene.is_old(100, None), "it never was without rules");
        let second = scene.writes(100, &[("a", 60)], State::Done);
        for document in [Some(&theirs()), first.as_ref()] {
            assert!(scene.is_old(179, document), "{document:?}");
        }
        assert!(!scene.is_old(179, second.as_ref()));
        assert!(!scene.is_old(180, Some(&theirs())) && scene.is_old(279, first.as_ref()));
        assert!(!scene.is_old(280, first.as_ref()), "somebody has put it back");
        assert!(!scene.is_old(-100, first.as_ref()), "the clock was put back");
    }

    #[test]
    fn no_configuration_at_all_is_an_old_answer_like_any() {
        let mut scene = Scene { now: None, ..Scene::new() };
        let first = scene.writes(0, &[("a", 30)], State::Done);
        assert!(scene.is_old(10, None) && !scene.is_old(10, first.as_ref()));
        assert_eq!(scene.writes(20, &[("a", 0)], State::Done), None);
        assert!(!scene.is_old(30, None), "that is what the last write has made");
        assert!(scene.is_old(30, first.as_ref()));
    }

    #[test]
    fn what_the_last_write_makes_is_not_old_though_it_was_there_before() {
        let mut scene = Scene::new();
        let thirty = scene.writes(0, &[("a", 30)], State::Done);
        let more = scene.writes(10, &[("a", 365)], State::Done);
        assert_eq!(scene.writes(20, &[("a", 30)], State::Sent), thirty);
        assert!(!scene.is_old(30, thirty.as_ref()) && scene.is_old(30, more.as_ref()));
        let unsure = Old::of(scene.last.as_ref(), at(30)).shows(thirty.as_ref(), false);
        assert!(unsure, "nobody knows that it has taken effect");
        // The next one is refused: what there is stays what it is.
        scene.writes(40, &[("a", 90)], State::Abandoned);
        assert!(!scene.is_old(50, thirty.as_ref()) && scene.is_old(50, more.as_ref()));
    }

    #[test]
    fn an_answer_in_which_another_rule_is_missing_is_not_what_the_last_write_makes() {
        let mut scene = Scene::new();
        scene.writes(0, &[("a", 30), ("c", 30)], State::Done);
        scene.writes(10, &[("c", 0)], State::Done);
        assert!(scene.is_old(20, Some(&theirs())), "`c` is not there, nor is `a`");
    }

    #[test]
    fn a_record_remembers_few_and_each_once() {
        let mut scene = Scene::new();
        for (number, days) in (0..).zip([1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) {
            scene.writes(number, &[("a", days)], State::Done);
        }
        let targets = Targets::of(scene.last.as_ref().unwrap()).unwrap();
        let times: Vec<i64> = targets.earlier.iter().map(|it| it.at.as_second()).collect();
        assert_eq!(times, [11, 10, 9, 8, 7, 6, 5, 4], "its own write was over what the one of second 11 made");
        let mut scene = Scene::new();
        for (number, days) in (0..).zip([1, 2, 1, 2, 1, 2]) {
            scene.writes(number, &[("a", days)], State::Done);
        }
        let targets = Targets::of(scene.last.as_ref().unwrap()).unwrap();
        let times: Vec<i64> = targets.earlier.iter().map(|it| it.at.as_second()).collect();
        assert_eq!(times, [4, 0], "what there was with 2 days, and before all");
    }

    #[test]
    fn what_others_replaced_between_two_writes_is_old_once_the_second_was_sent() {
        let version = |document: Option<&RawDocument>| document.map(|it| it.version().to_owned());
        let mut scene = Scene::new();
        let thirty = scene.writes(0, &[("a", 30)], State::Done);
        // Somebody adds a rule.
        scene.now = made(thirty.as_ref(), &write(thirty.as_ref(), &[("y", 1)])).unwrap();
        let base = scene.now.clone();
        let more = scene.writes(60, &[("a", 365)], State::Done);
        assert!(!scene.is_old(100, thirty.as_ref()), "no write was made over it");
        let mut targets = Targets::of(scene.last.as_ref().unwrap()).unwrap();
        let newest_first = vec![version(base.as_ref()), version(thirty.as_ref()), version(Some(&theirs()))];
        targets.read = beside(version(base.as_ref()).as_deref(), newest_first);
        assert_eq!(targets.read, [version(thirty.as_ref()), version(Some(&theirs()))]);
        let ends = |state| Intent { prepared: Some(at(60)), ..record(state, &targets, base.as_ref()) };
        for (state, was_sent) in [
            (State::Sent, true),
            (State::Done, true),
            (State::Superseded, true),
            (State::Prepared, false),
            (State::Abandoned, false),
        ] {
            scene.last = Some(ends(state));
            assert_eq!(scene.is_old(100, thirty.as_ref()), was_sent, "{state:?}");
            assert!(!scene.is_old(240, thirty.as_ref()) && !scene.is_old(100, more.as_ref()), "{state:?}");
        }
        // So does the next record know it, for as long as that one would have.
        scene.last = Some(ends(State::Done));
        scene.writes(120, &[("a", 90)], State::Done);
        assert!(scene.is_old(239, thirty.as_ref()) && !scene.is_old(240, thirty.as_ref()));
        let many = (0..20).map(|number| Some(number.to_string())).collect();
        assert_eq!(beside(Some("3"), many).len(), MOST);
    }

    #[test]
    fn what_a_write_has_left_is_known_once_its_record_is_closed() {
        let mut scene = Scene::new();
        let first = scene.writes(0, &[("a", 30)], State::Done).map(Known::Known);
        let left = |scene: &Scene| Old::of(scene.last.as_ref(), at(1)).left();
        assert_eq!(left(&scene), first);
        scene.writes(1, &[("a", 60)], State::Abandoned);
        assert_eq!(left(&scene), first, "it was not sent");
        for state in [State::Prepared, State::Sent, State::Superseded] {
            scene.last = scene.last.map(|last| Intent { state, ..last });
            assert_eq!(left(&scene), None, "{state:?}");
        }
        assert_eq!(Old::of(None, at(1)).left(), None);
        let mut none = Scene { now: None, ..Scene::new() };
        none.writes(0, &[("a", 30)], State::Done);
        none.writes(1, &[("a", 0)], State::Done);
        assert_eq!(left(&none), Some(Known::Absent));
    }
}
