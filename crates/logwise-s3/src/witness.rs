//! Rules of others that a write of ours took away or brought back. S3 has no condition on such a write: what somebody wrote
//! between our last reading and our write is undone, and so is what a request of ours undoes that comes late. All that was
//! read in the meantime tells; what nobody read leaves no trace.

use crate::apply::others;
use crate::document::RawDocument;
use crate::harm::Harmed;
use crate::sighted::{Case, Sent};
use crate::watch::stale;
use logwise_plan::retention::WriteRules;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What was read of the rules of others since the last write of each bucket.
#[derive(Debug)]
pub struct Witness {
    /// Since when it reads: what was there before, nobody knows.
    since: Instant,
    buckets: Mutex<HashMap<String, Case>>,
}

impl Default for Witness {
    fn default() -> Self {
        Self { since: Instant::now(), buckets: Mutex::default() }
    }
}

impl Witness {
    /// A write over `before` was sent. `is_done`: S3 has said so.
    pub fn sent(
        &self,
        by: (&str, Option<String>),
        over: (Option<&RawDocument>, &WriteRules),
        (ours, is_done): (impl Fn(&str) -> bool, bool),
        now: Instant,
    ) {
        self.enter(by, over, ours, (is_done, false), now);
    }

    /// A write that another process has sent. `is_past`: so long ago that nobody can tell what was done right after it.
    pub(crate) fn found(
        &self,
        by: (&str, Option<String>),
        over: (Option<&RawDocument>, &WriteRules),
        (ours, is_past): (impl Fn(&str) -> bool, bool),
        now: Instant,
    ) {
        self.enter(by, over, ours, (false, is_past), now);
    }

    fn enter(
        &self,
        (bucket, intent): (&str, Option<String>),
        (before, write): (Option<&RawDocument>, &WriteRules),
        ours: impl Fn(&str) -> bool,
        (is_done, is_shown): (bool, bool),
        now: Instant,
    ) {
        let base = others(before, ours).into_iter().map(|(xml, number)| (xml.to_owned(), number)).collect();
        let sent = Sent { intent, write: write.clone(), base, is_done, is_shown, at: now };
        self.lock().entry(bucket.to_owned()).or_default().enter(sent);
    }

    /// One reading, whoever asked for it.
    pub fn read(&self, bucket: &str, document: Option<&RawDocument>, ours: impl Fn(&str) -> bool, now: Instant) {
        let mut buckets = self.lock();
        // Of a bucket that nobody looks at any more nothing else would make an end.
        buckets.retain(|_, case| !case.is_over(now));
        // One that has just begun takes every answer for a new one.
        let knows = now.saturating_duration_since(self.since) >= stale();
        buckets.entry(bucket.to_owned()).or_default().read(document, (ours, knows), now);
    }

    /// The versions of what was read within the last minutes and was no old answer, the newest reading first.
    pub(crate) fn recent(&self, bucket: &str, now: Instant) -> Vec<Option<String>> {
        let buckets = self.lock();
        let known = buckets.get(bucket).into_iter().flat_map(|case| &case.recent);
        let mut recent: Vec<(Option<String>, Instant)> =
            known.filter(|(_, at)| now.saturating_duration_since(*at) < stale()).cloned().collect();
        recent.sort_by_key(|(_, at)| Reverse(*at));
        recent.into_iter().map(|(version, _)| version).collect()
    }

    /// The record of the last write is closed, and S3 holds its rules.
    pub(crate) fn settled(&self, bucket: &str, now: Instant) {
        if let Some(case) = self.lock().get_mut(bucket) {
            case.settled(now);
        }
    }

    /// Rules of others that were harmed a short time ago, and that nobody has put right.
    pub fn harmed(&self, bucket: &str, now: Instant) -> Vec<Harmed> {
        self.lock().get(bucket).into_iter().flat_map(|case| case.told.harmed(now)).cloned().collect()
    }

    pub(crate) fn forget(&self, bucket: &str) {
        self.lock().remove(bucket);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Case>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harm::Harm;
    use crate::sighted::{LATEST, MOST_RECENT, MOST_SIGHTED};
    use logwise_plan::retention::{Rule, Settings};
    use std::collections::BTreeSet;
    use std::time::Duration;

    const BUCKET: &str = "b";

    fn foreign(names: &str) -> String {
        let rule = |name: char| {
            format!(
                "<Rule><ID>{name}</ID><Prefix>{name}/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>"
            )
        };
        names.chars().map(rule).collect()
    }

    /// A configuration of others with rules of these names.
    fn theirs(names: &str) -> RawDocument {
        let text = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", foreign(names));
        RawDocument::parse(text.as_bytes(), None).unwrap()
    }

    fn is_ours(id: &str) -> bool {
        id.starts_with("ours")
    }

    fn write(base: &RawDocument, days: i32) -> WriteRules {
        let settings = Settings { expiration_days: Some(days), ..Settings::default() };
        let rule = Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings };
        WriteRules {
            assumes: Some(base.version().to_owned()),
            remove: BTreeSet::from(["ours".into()]),
            add: vec![rule],
        }
    }

    /// What our write makes of `base`.
    fn made(base: &RawDocument, days: i32) -> RawDocument {
        let bytes = crate::compose(Some(base), &write(base, days)).unwrap().unwrap();
        RawDocument::parse(&bytes, None).unwrap()
    }

    struct Scene {
        witness: Witness,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { witness: Witness::default(), now: Instant::now() + stale() }
        }

        fn sent(&self, intent: &str, base: &RawDocument, days: i32, answered: bool) {
            let by = (BUCKET, Some(intent.to_owned()));
            self.witness.sent(by, (Some(base), &write(base, days)), (is_ours, answered), self.now);
        }

        /// The rules that are said to be harmed after this reading.
        fn read(&self, document: &RawDocument) -> Vec<String> {
            self.witness.read(BUCKET, Some(document), is_ours, self.now);
            self.witness.harmed(BUCKET, self.now).into_iter().map(|harmed| harmed.rule).collect()
        }

        /// In which way.
        fn harms(&self) -> Vec<Harm> {
            self.witness.harmed(BUCKET, self.now).into_iter().map(|harmed| harmed.harm).collect()
        }
    }

    #[test]
    fn what_was_read_is_known_for_as_long_as_it_may_be_answered_the_newest_reading_first() {
        let mut scene = Scene::new();
        let version = |document: &RawDocument| Some(document.version().to_owned());
        let (one, two) = (theirs("a"), theirs("ab"));
        let steps = [Some(&one), Some(&two), None, Some(&one)];
        for document in steps {
            scene.witness.read(BUCKET, document, is_ours, scene.now);
            scene.now += Duration::from_secs(10);
        }
        assert_eq!(scene.witness.recent(BUCKET, scene.now), [version(&one), None, version(&two)]);
        let later = scene.now + stale() - Duration::from_secs(20);
        assert_eq!(scene.witness.recent(BUCKET, later), [version(&one)]);
        assert!(scene.witness.recent("other", scene.now).is_empty());
    }

    #[test]
    fn a_rule_that_only_an_old_answer_shows_was_lost_by_our_write() {
        let (scene, base) = (Scene::new(), theirs("ab"));
        // Somebody wrote x between the last reading and our write, and S3 still answers with that.
        scene.sent("1", &base, 9, true);
        assert!(scene.read(&theirs("abx")).is_empty(), "it is there, as far as anybody knows");
        assert_eq!(scene.read(&made(&base, 9)), ["x"]);
        assert_eq!(scene.read(&made(&base, 9)), ["x"], "said once, and for a while");
        assert!(scene.witness.harmed(BUCKET, scene.now + Duration::from_secs(600)).is_empty());
        assert!(scene.read(&made(&theirs("abx"), 9)).is_empty(), "its owner has put it back");
    }

    #[test]
    fn a_change_of_a_rule_that_our_write_undid_is_a_loss_too() {
        let (scene, base) = (Scene::new(), theirs("ab"));
        let changed = String::from_utf8(theirs("ab").bytes().to_vec()).unwrap().replacen("<Days>1<", "<Days>7<", 1);
        scene.sent("1", &base, 9, true);
        assert!(scene.read(&RawDocument::parse(changed.as_bytes(), None).unwrap()).is_empty());
        assert_eq!(scene.read(&made(&base, 9)), ["a"]);
    }

    #[test]
    fn what_its_owner_removed_is_not_called_lost() {
        let (scene, base) = (Scene::new(), theirs("ab"));
        scene.sent("1", &base, 9, true);
        assert!(scene.read(&made(&base, 9)).is_empty());
        assert!(scene.read(&made(&theirs("a"), 9)).is_empty(), "removed after our write");
        assert!(scene.read(&made(&theirs("ax"), 9)).is_empty(), "another one came");
        assert!(scene.read(&made(&theirs("a"), 9)).is_empty(), "and went");
        // A blind writer replaced all of it: ours are gone too.
        assert!(scene.read(&theirs("ay")).is_empty());
        assert!(scene.read(&theirs("a")).is_empty(), "removed while ours were not there");
        let next = theirs("a");
        scene.sent("2", &next, 9, true);
        assert!(scene.read(&made(&next, 9)).is_empty(), "it was gone before our write");
    }

    #[test]
    fn a_write_without_an_answer_that_comes_late_is_known_by_what_it_makes() {
        let (scene, base) = (Scene::new(), theirs("ab"));
        scene.sent("1", &base, 9, false);
        assert!(scene.read(&base).is_empty() && scene.read(&theirs("abx")).is_empty());
        let next = theirs("abx");
        scene.sent("2", &next, 9, true);
        assert!(scene.read(&made(&next, 9)).is_empty());
        scene.witness.settled(BUCKET, scene.now);
        assert!(scene.read(&made(&theirs("abxy"), 9)).is_empty());
        let lost = scene.read(&made(&base, 9));
        assert_eq!(lost, ["x", "y"], "the first write has arrived");
    }

    #[test]
    fn a_write_that_took_effect_or_is_too_old_does_not_come_late() {
        for (seen, later) in [(true, Duration::ZERO), (false, LATEST)] {
            let (mut scene, base) = (Scene::new(), theirs("ab"));
            scene.sent("1", &base, 9, false);
            if seen {
                assert!(scene.read(&made(&base, 9)).is_empty());
            }
            scene.now += later;
            let next = made(&theirs("abx"), 9);
            scene.sent("2", &next, 8, true);
            assert!(scene.read(&made(&next, 8)).is_empty());
            assert!(scene.read(&made(&theirs("ab"), 8)).is_empty(), "x was removed by its owner");
            assert!(scene.read(&made(&theirs("ab"), 9)).is_empty(), "whoever wrote that");
        }
    }

    #[test]
    fn a_rule_that_our_write_brought_back_is_named() {
        let (scene, base) = (Scene::new(), theirs("ab"));
        // Its owner removed b between our last reading and our write, and S3 still answers with that.
        scene.sent("1", &base, 9, true);
        assert!(scene.read(&theirs("a")).is_empty(), "perhaps our write was later lost");
        assert_eq!(scene.read(&made(&base, 9)), ["b"]);
        assert_eq!(scene.harms(), [Harm::Revived]);
        assert!(scene.read(&made(&theirs("a"), 9)).is_empty(), "its owner has removed it again");
        // A writer that replaces ours, and then an old answer.
        let (scene, base) = (Scene::new(), theirs("ab"));
        scene.sent("1", &base, 9, true);
        for document in [made(&base, 9), theirs("a"), made(&base, 9)] {
            assert!(scene.read(&document).is_empty(), "ours were there before");
        }
    }

    #[test]
    fn a_rule_that_was_read_before_and_is_gone_was_perhaps_removed_before_our_write() {
        let (mut scene, base) = (Scene::new(), theirs("a"));
        assert!(scene.read(&theirs("ax")).is_empty() && scene.read(&base).is_empty(), "its owner has removed it");
        scene.sent("1", &base, 9, true);
        scene.now += stale() - Duration::from_secs(1);
        assert!(scene.read(&theirs("ax")).is_empty(), "an old answer");
        assert!(scene.read(&made(&base, 9)).is_empty());
    }

    #[test]
    fn of_what_happened_before_a_restart_nobody_is_told() {
        let base = theirs("ab");
        for (is_past, harms) in [(false, vec![Harm::Missing]), (true, Vec::new())] {
            let scene = Scene::new();
            let by = (BUCKET, Some("1".to_owned()));
            scene.witness.found(by, (Some(&base), &write(&base, 9)), (is_ours, is_past), scene.now);
            scene.read(&made(&theirs("a"), 9));
            assert_eq!(scene.harms(), harms, "b was removed while nobody looked");
        }
        for (age, harms) in [(stale() - Duration::from_secs(1), Vec::new()), (stale(), vec![Harm::Revived])] {
            let mut scene = Scene::new();
            scene.now = scene.witness.since + age;
            scene.sent("1", &base, 9, true);
            scene.read(&theirs("a"));
            scene.read(&made(&base, 9));
            assert_eq!(scene.harms(), harms, "{age:?}: perhaps from before b was there");
        }
    }

    #[test]
    fn an_answer_from_before_a_rule_was_there_is_nobodys_removal() {
        let (mut scene, base) = (Scene::new(), theirs("ab"));
        assert!(scene.read(&theirs("a")).is_empty() && scene.read(&base).is_empty());
        scene.sent("1", &base, 9, true);
        scene.now += stale() - Duration::from_secs(1);
        assert!(scene.read(&theirs("a")).is_empty(), "an old answer");
        assert!(scene.read(&made(&base, 9)).is_empty());
    }

    #[test]
    fn a_late_write_that_brings_a_rule_back_is_known_by_what_it_makes() {
        let (scene, base, next) = (Scene::new(), theirs("ab"), theirs("a"));
        scene.sent("1", &base, 9, false);
        scene.sent("2", &next, 9, true);
        assert!(scene.read(&made(&next, 9)).is_empty());
        scene.witness.settled(BUCKET, scene.now);
        assert_eq!(scene.read(&made(&base, 9)), ["b"]);
        assert_eq!(scene.harms(), [Harm::Revived]);
        assert_eq!(scene.read(&made(&base, 8)), ["b"], "also when ours are put right beside it");
    }

    #[test]
    fn a_rule_that_is_gone_when_our_write_first_shows_is_told_and_nobody_is_named() {
        let (scene, base) = (Scene::new(), theirs("abc"));
        scene.sent("1", &base, 9, true);
        let edited = String::from_utf8(made(&theirs("ac"), 9).bytes().to_vec()).unwrap();
        let edited = edited.replacen("<Days>1<", "<Days>7<", 1);
        let edited = RawDocument::parse(edited.as_bytes(), None).unwrap();
        assert_eq!(scene.read(&edited), ["b"], "a was edited by its owner");
        assert_eq!(scene.harms(), [Harm::Missing]);
        assert_eq!(scene.read(&made(&theirs("ac"), 9)), ["b"]);
        assert!(scene.read(&made(&base, 9)).is_empty(), "it is there again");
    }

    #[test]
    fn after_a_settled_write_nothing_is_remembered_and_its_intent_counts_once() {
        let (scene, base) = (Scene::new(), theirs("ab"));
        scene.sent("1", &base, 9, true);
        scene.read(&theirs("abx"));
        // As a look does that finds the record open.
        scene.sent("1", &base, 9, false);
        assert_eq!(scene.read(&made(&base, 9)), ["x"]);
        scene.witness.settled(BUCKET, scene.now);
        assert!(scene.witness.lock()[BUCKET].writes.is_empty());
    }

    #[test]
    fn a_write_that_was_lost_is_forgotten_and_so_is_a_bucket_that_nobody_reads() {
        let (mut scene, base) = (Scene::new(), theirs("ab"));
        scene.sent("1", &base, 9, false);
        let (first, last) = (foreign("ab"), u32::try_from(MOST_SIGHTED).unwrap() + 99);
        for number in 0..last / 2 {
            let new = foreign("xy").replace("<Days>1<", &format!("<Days>{}<", number + 2));
            let text = format!("<LifecycleConfiguration>{first}{new}</LifecycleConfiguration>");
            scene.read(&RawDocument::parse(text.as_bytes(), None).unwrap());
        }
        let sighted = |scene: &Scene| scene.witness.lock()[BUCKET].sighted.len();
        let recent = |scene: &Scene| scene.witness.lock()[BUCKET].recent.len();
        assert_eq!((sighted(&scene), recent(&scene)), (MOST_SIGHTED, MOST_RECENT));
        scene.now += LATEST;
        scene.read(&theirs("abz"));
        assert_eq!((sighted(&scene), recent(&scene)), (0, 1));
        assert!(scene.witness.lock()[BUCKET].writes.is_empty());
        scene.witness.read("other", None, is_ours, scene.now + stale());
        let left: Vec<String> = scene.witness.lock().keys().cloned().collect();
        assert_eq!(left, ["other"]);
    }
}
