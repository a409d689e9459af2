//! Rules of others that a write of ours took away or brought back. S3 has no condition on such a write: what somebody wrote
//! between our last reading and our write is undone, and so is what a request of ours undoes that comes late. All that was
//! read in the meantime tells; what nobody read leaves no trace.

use crate::apply::{others, shortfall};
use crate::document::RawDocument;
use crate::harm::{Harm, Harmed, Told};
use crate::verify::{gone, name};
use crate::watch::stale;
use logwise_plan::retention::WriteRules;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How late a request can take effect: AWS refuses a signature that is older.
const LATEST: Duration = Duration::from_secs(15 * 60);

/// Writes of a bucket that are remembered because they may still take effect.
const MOST_WRITES: usize = 4;

/// Rules of others that are remembered after a write: twice as many as a bucket holds.
const MOST_SIGHTED: usize = 2_000;

/// Configurations of a bucket that are known again.
const MOST_RECENT: usize = 16;

/// What was read of the rules of others since the last write of each bucket.
#[derive(Debug, Default)]
pub struct Witness {
    buckets: Mutex<HashMap<String, Case>>,
}

#[derive(Debug, Default)]
struct Case {
    /// The last write, and before it those that nobody has seen the effect of.
    writes: Vec<Sent>,
    /// Rules of others, as they are, that were read since the last write and were not there before it.
    sighted: BTreeMap<String, Sighting>,
    /// Rules that the last write leaves and that were gone in a new answer before S3 showed that write.
    missed: BTreeSet<String>,
    /// The versions of what was read within the last minutes, and when that was: read again, it may be an old answer.
    recent: Vec<(Option<String>, Instant)>,
    told: Told,
}

/// A write that was sent.
#[derive(Debug)]
struct Sent {
    intent: Option<String>,
    write: WriteRules,
    /// The rules of others that it leaves, with how often they occur.
    base: BTreeMap<String, usize>,
    /// Whether it is known to have taken effect.
    is_done: bool,
    /// Whether a reading has shown its rules.
    is_shown: bool,
    at: Instant,
}

#[derive(Debug)]
struct Sighting {
    /// Read beside the rules of the last write: it came after that write.
    beside: bool,
    /// Read without them: it was there when the write took effect, or came after somebody else's.
    without: bool,
}

/// Rules that a reading shows to be harmed.
type Found = Vec<(String, Harm)>;

impl Witness {
    /// A write over `before` was sent. `is_done`: S3 has said so.
    pub fn sent(
        &self,
        (bucket, intent): (&str, Option<String>),
        (before, write): (Option<&RawDocument>, &WriteRules),
        (ours, is_done): (impl Fn(&str) -> bool, bool),
        now: Instant,
    ) {
        let mut buckets = self.lock();
        let case = buckets.entry(bucket.to_owned()).or_default();
        if case.writes.last().is_some_and(|last| last.intent.is_some() && last.intent == intent) {
            return;
        }
        case.writes.retain(|sent| sent.may_come(now));
        let most = case.writes.len().saturating_sub(MOST_WRITES - 1);
        case.writes.drain(..most);
        case.sighted.clear();
        case.missed.clear();
        let base = others(before, ours).into_iter().map(|(xml, number)| (xml.to_owned(), number)).collect();
        case.writes.push(Sent { intent, write: write.clone(), base, is_done, is_shown: false, at: now });
    }

    /// One reading, whoever asked for it.
    pub fn read(&self, bucket: &str, document: Option<&RawDocument>, ours: impl Fn(&str) -> bool, now: Instant) {
        let mut buckets = self.lock();
        // Of a bucket that nobody looks at any more nothing else would make an end.
        buckets.retain(|_, case| !case.is_over(now));
        buckets.entry(bucket.to_owned()).or_default().read(document, ours, now);
    }

    /// The record of the last write is closed, and S3 holds its rules.
    pub(crate) fn settled(&self, bucket: &str, now: Instant) {
        let mut buckets = self.lock();
        let Some(case) = buckets.get_mut(bucket) else { return };
        if let Some(last) = case.writes.last_mut() {
            last.is_done = true;
        }
        if !case.writes.iter().any(|sent| sent.may_come(now)) {
            case.forget_writes();
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

impl Sent {
    /// Whether it may still take effect.
    fn may_come(&self, now: Instant) -> bool {
        !self.is_done && self.is_recent(now)
    }

    fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.at) < LATEST
    }

    /// Whether the configuration is the one that this write makes.
    fn has_made(&self, document: Option<&RawDocument>, foreign: &BTreeMap<&str, usize>) -> bool {
        let equal = foreign.iter().all(|(xml, number)| self.base.get(*xml) == Some(number));
        equal && foreign.len() == self.base.len() && shortfall(document, &self.write).is_none()
    }

    /// Rules that it leaves and that are gone in whatever form.
    fn gone(&self, document: Option<&RawDocument>, foreign: &BTreeMap<&str, usize>) -> BTreeSet<String> {
        let base: BTreeMap<&str, usize> = self.base.iter().map(|(xml, number)| (xml.as_str(), *number)).collect();
        gone((&base, foreign), document).into_iter().map(str::to_owned).collect()
    }
}

impl Case {
    fn read(&mut self, document: Option<&RawDocument>, ours: impl Fn(&str) -> bool, now: Instant) {
        // A write that was lost, or whose record ended otherwise, can do nothing any more.
        if !self.writes.iter().any(|sent| sent.is_recent(now)) {
            self.forget_writes();
        }
        let is_new = self.is_new(document.map(RawDocument::version), now);
        if self.writes.is_empty() && self.told.is_over(now) {
            self.told = Told::default();
            return;
        }
        let foreign = others(document, &ours);
        self.told.keep(|xml| foreign.contains_key(xml), now);
        let mut found = self.by_an_earlier_write(document, &foreign, now);
        found.extend(self.by_the_last_write(document, &foreign, is_new));
        for (xml, harm) in found {
            self.sighted.remove(&xml);
            self.told.tell(Harmed { rule: name(&xml), harm }, xml, now);
        }
    }

    fn forget_writes(&mut self) {
        self.writes.clear();
        self.sighted.clear();
        self.missed.clear();
    }

    /// Whether this configuration was not read within the last minutes.
    fn is_new(&mut self, version: Option<&str>, now: Instant) -> bool {
        self.recent.retain(|(_, at)| now.duration_since(*at) < stale());
        if let Some((_, at)) = self.recent.iter_mut().find(|(known, _)| known.as_deref() == version) {
            *at = now;
            return false;
        }
        let most = self.recent.len().saturating_sub(MOST_RECENT - 1);
        self.recent.drain(..most);
        self.recent.push((version.map(str::to_owned), now));
        true
    }

    /// Whether nothing of it can matter any more.
    fn is_over(&self, now: Instant) -> bool {
        let is_recent = self.recent.iter().any(|(_, at)| now.duration_since(*at) < stale());
        !is_recent && self.told.is_over(now) && !self.writes.iter().any(|sent| sent.is_recent(now))
    }

    /// What became of the rules of others by the last write, as this reading shows it.
    fn by_the_last_write(
        &mut self,
        document: Option<&RawDocument>,
        foreign: &BTreeMap<&str, usize>,
        is_new: bool,
    ) -> Found {
        let Some(last) = self.writes.last_mut() else { return Found::new() };
        let holds = shortfall(document, &last.write).is_none();
        let is_first = holds && !last.is_shown;
        for xml in foreign.keys().filter(|xml| !last.base.contains_key(**xml)) {
            if self.sighted.len() >= MOST_SIGHTED && !self.sighted.contains_key(*xml) {
                continue;
            }
            let unseen = Sighting { beside: false, without: false };
            let sighting = self.sighted.entry((*xml).to_owned()).or_insert(unseen);
            sighting.beside |= holds;
            sighting.without |= !holds;
        }
        if !holds {
            // Once its rules were shown, somebody else has replaced them.
            if is_new && !last.is_shown {
                self.missed.extend(last.gone(document, foreign));
            }
            return Found::new();
        }
        last.is_done = true;
        last.is_shown = true;
        let sighted = self.sighted.iter().filter(|(_, sighting)| sighting.without && !sighting.beside);
        let lost = sighted.map(|(xml, _)| xml).filter(|xml| !foreign.contains_key(xml.as_str()));
        let mut found: Found = lost.map(|xml| (xml.clone(), Harm::Dropped)).collect();
        if is_first {
            let missing = last.gone(document, foreign).into_iter().filter(|xml| !self.missed.contains(xml));
            found.extend(missing.map(|xml| (xml, Harm::Missing)));
            let back = std::mem::take(&mut self.missed).into_iter().filter(|xml| foreign.contains_key(xml.as_str()));
            found.extend(back.map(|xml| (xml, Harm::Revived)));
        }
        found
    }

    /// Rules that were there and are not, or that were gone and are there, if the configuration is now the one that an
    /// earlier write makes whose effect nobody has seen.
    fn by_an_earlier_write(
        &mut self,
        document: Option<&RawDocument>,
        foreign: &BTreeMap<&str, usize>,
        now: Instant,
    ) -> Found {
        let Some((last, earlier)) = self.writes.split_last_mut() else { return Found::new() };
        let mut found = Found::new();
        for sent in earlier.iter_mut().filter(|sent| sent.may_come(now)) {
            if !sent.has_made(document, foreign) {
                continue;
            }
            let known = last.base.keys().chain(self.sighted.keys());
            let lost = known.filter(|xml| !foreign.contains_key(xml.as_str()));
            let dropped = lost.map(|xml| (xml.clone(), Harm::Dropped));
            let came = sent.base.keys().filter(|xml| !last.base.contains_key(*xml) && !self.sighted.contains_key(*xml));
            let undone: Found = dropped.chain(came.map(|xml| (xml.clone(), Harm::Revived))).collect();
            sent.is_done = !undone.is_empty();
            found.extend(undone);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::{Rule, Settings};

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
            Self { witness: Witness::default(), now: Instant::now() }
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
