//! What a reading after a write shows of it.

use crate::apply::{Written, has_more, lacks, meaning, others, shortfall};
use crate::document::RawDocument;
use crate::fields::{Kept, kept, names};
use crate::rule;
use logwise_plan::retention::{ObservedRule, WriteRules};
use logwise_runtime::words::{cut, shortened};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::iter::repeat_n;

/// Rules without an id that a rule without an id is compared with.
const MOST_NAMELESS: usize = 10;

/// Longest text that stands for a rule without an id, in characters.
const LONGEST_NAME: usize = 60;

/// Longest id of a rule that S3 takes, in characters. Other servers may keep longer ones, and records stay small.
const LONGEST_ID: usize = 255;

/// The header that S3 keeps beside the rules.
pub(crate) const SETTING: &str = "TransitionDefaultMinimumObjectSize";

/// What one reading after a write shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The configuration from before the write.
    Old,
    /// The rules of the write, all of them.
    Ours {
        /// What others have changed beside them.
        others: Option<String>,
    },
    /// What was sent, with less in it: the server does not keep all of a rule.
    Less(Less),
    /// Something else: another writer.
    Other {
        /// The difference.
        why: String,
    },
}

/// What a server has not kept of a document that it accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Less {
    /// Fields that rules of ours lack, by id.
    pub ours: BTreeMap<String, BTreeSet<String>>,
    /// Rules of others that lack something.
    pub others: Vec<Lesser>,
    /// Whether the setting for small objects was not kept.
    pub setting: bool,
    /// Whether nothing else differs from what was sent.
    pub alone: bool,
}

/// A rule of somebody else of which the server has kept less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesser {
    /// Its id, or how it begins.
    pub rule: String,
    /// The rule as it is now.
    pub now: String,
    /// What it lacks.
    pub fields: BTreeSet<String>,
}

impl Less {
    /// Each field that is lacking, with the number of rules.
    pub fn fields(&self) -> BTreeMap<String, usize> {
        let of_rules = self.ours.values().chain(self.others.iter().map(|other| &other.fields)).flatten();
        counted(of_rules.map(String::as_str).chain(self.setting.then_some(SETTING)))
    }

    /// The same of rules of ours alone.
    pub(crate) fn fields_of_ours(&self) -> BTreeMap<String, usize> {
        counted(self.ours.values().flatten().map(String::as_str))
    }

    /// Whether a rule of ours acts on more than it was written for.
    pub fn is_wider(&self) -> bool {
        self.ours.values().flatten().any(|field| narrows(field))
    }
}

fn counted<'f>(fields: impl Iterator<Item = &'f str>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    fields.for_each(|field| *counted.entry(field.to_owned()).or_default() += 1);
    counted
}

/// Whether a rule without this field acts on more.
pub(crate) fn narrows(field: &str) -> bool {
    field.starts_with("Filter") || field.starts_with("Prefix") || field.ends_with(".NewerNoncurrentVersions")
}

/// Fields with the number of rules, as people read it.
pub(crate) fn in_words(fields: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = fields.iter().map(|(field, rules)| format!("{field} (of {rules} rules)")).collect();
    each.join(", ")
}

impl Reading {
    /// What is said of a write after this reading.
    pub(crate) fn as_written(&self) -> Written {
        match self {
            Self::Ours { others } => Written::Shown { others: others.clone() },
            Self::Old => {
                Written::Unseen { why: "S3 still answers with the configuration from before the write".to_owned() }
            }
            Self::Less(less) => {
                Written::Lessened { why: format!("S3 shows less than was written: {}", in_words(&less.fields())) }
            }
            // One such answer may be from before an earlier write: nobody is blamed for it.
            Self::Other { why } => Written::Unseen { why: format!("S3 does not show the rules: {why}") },
        }
    }
}

/// What `now` is of a write over `before`.
pub fn reading((before, write): (Option<&RawDocument>, &WriteRules), now: Option<&RawDocument>) -> Reading {
    if now.map(RawDocument::version) == write.assumes.as_deref() {
        return Reading::Old;
    }
    let added: BTreeSet<&str> = write.add.iter().map(|rule| rule.id.as_str()).collect();
    let had = others(before, |id| write.remove.contains(id));
    let have = others(now, |id| added.contains(id));
    let beside = Beside::of((&had, &have), now);
    let Some(ours) = ours(now, write) else {
        let why: Vec<String> = shortfall(now, write).into_iter().chain(beside.words()).collect();
        return Reading::Other { why: why.join("; ") };
    };
    let alone = beside.is_nothing();
    let setting = alone && has_lost_its_setting((before, write), now);
    if ours.is_empty() && beside.lesser.is_empty() && !setting {
        return Reading::Ours { others: beside.words() };
    }
    Reading::Less(Less { ours, others: beside.lesser, setting, alone })
}

/// What a server has dropped of a write that changes nothing else: what it shows then is the configuration from before, byte
/// for byte, which at first may be an old answer.
pub(crate) fn dropped(write: &WriteRules, now: Option<&RawDocument>) -> Option<Less> {
    let is_before = now.map(RawDocument::version) == write.assumes.as_deref();
    let ours = ours(now, write).filter(|lost| is_before && !lost.is_empty())?;
    Some(Less { ours, alone: true, ..Less::default() })
}

/// What rules of ours lack, by id; none if one is not there, is another one, or should have gone.
fn ours(now: Option<&RawDocument>, write: &WriteRules) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let mut there: BTreeMap<&str, Vec<(&ObservedRule, &str)>> = BTreeMap::new();
    for (facts, xml) in now.into_iter().flat_map(RawDocument::rules) {
        if let Some(id) = &facts.id {
            there.entry(id).or_default().push((facts, xml));
        }
    }
    let mut lost = BTreeMap::new();
    for wanted in &write.add {
        let found = there.remove(wanted.id.as_str())?;
        let [(facts, xml)] = found.as_slice() else { return None };
        if facts.meaning.as_ref() == Some(&meaning(wanted)) {
            continue;
        }
        match kept(&rule::write(wanted).ok()?, xml) {
            Kept::Without(fields) => _ = lost.insert(wanted.id.clone(), fields),
            Kept::Whole | Kept::Changed => return None,
        }
    }
    // What was added is out of the map.
    let stays = write.remove.iter().any(|id| there.contains_key(id.as_str()));
    (!stays).then_some(lost)
}

/// A server that has no such setting, and one that did not tell it before, says nothing.
fn has_lost_its_setting((before, write): (Option<&RawDocument>, &WriteRules), now: Option<&RawDocument>) -> bool {
    // The record of an earlier version has the configuration without its setting.
    let is_whole = before.map(RawDocument::version) == write.assumes.as_deref();
    match (before.and_then(RawDocument::minimum_object_size), now) {
        (Some(had), Some(now)) => is_whole && now.minimum_object_size() != Some(had),
        _ => false,
    }
}

/// What has become of the rules that the write does not name.
struct Beside<'d> {
    missing: Vec<&'d str>,
    more: Vec<&'d str>,
    lesser: Vec<Lesser>,
}

impl<'d> Beside<'d> {
    /// By what was there and what is there. A rule that is there in another form is the same; one that lacks fields which
    /// no rule has any more was made less by the server. What its owner takes out of one rule is still in others.
    fn of((had, have): (&BTreeMap<&'d str, usize>, &BTreeMap<&'d str, usize>), now: Option<&RawDocument>) -> Self {
        let id = |xml: &&'d str| (rule::read(xml).id, *xml);
        let mut more: Vec<(Option<String>, &str)> = lacking(have, had).iter().map(id).collect();
        let (mut missing, mut lesser) = (Vec::new(), Vec::new());
        let mut left: Option<BTreeSet<String>> = None;
        for (name, was) in lacking(had, have).iter().map(id) {
            let alike = more.iter().enumerate().filter(|(_, (other, _))| *other == name).take(MOST_NAMELESS);
            let found = alike.map(|(place, (_, is))| (place, kept(was, is)));
            let found = found.into_iter().find(|(_, kept)| match kept {
                Kept::Whole => true,
                Kept::Changed => false,
                Kept::Without(fields) => fields.is_disjoint(left.get_or_insert_with(|| all_fields(now))),
            });
            let Some((place, kept)) = found else {
                missing.push(was);
                continue;
            };
            let (_, is) = more.swap_remove(place);
            if let Kept::Without(fields) = kept {
                lesser.push(Lesser { rule: self::name(was), now: is.to_owned(), fields });
            }
        }
        Self { missing, more: more.into_iter().map(|(_, xml)| xml).collect(), lesser }
    }

    fn is_nothing(&self) -> bool {
        self.missing.is_empty() && self.more.is_empty()
    }

    fn words(&self) -> Option<String> {
        self.missing.first().map(|rule| lacks(rule)).or_else(|| self.more.first().map(|rule| has_more(rule)))
    }
}

/// A rule as people are told of it: its id, or how it begins.
pub(crate) fn name(rule: &str) -> String {
    rule::read(rule).id.map_or_else(|| begin(rule), |id| cut(&id, LONGEST_ID))
}

fn begin(rule: &str) -> String {
    shortened(rule, LONGEST_NAME)
}

/// Rules of others that were there and of which nothing is left: no rule with the same id, and none that says the same.
pub(crate) fn gone<'d>(
    (had, have): (&BTreeMap<&'d str, usize>, &BTreeMap<&'d str, usize>),
    now: Option<&RawDocument>,
) -> Vec<&'d str> {
    let beside = Beside::of((had, have), now);
    let edited: BTreeSet<String> = beside.more.iter().filter_map(|xml| rule::read(xml).id).collect();
    let is_edited = |xml: &&str| rule::read(xml).id.is_some_and(|id| edited.contains(&id));
    beside.missing.into_iter().filter(|xml| !is_edited(xml)).collect()
}

/// Rules of the one that the other has not, each as often as it lacks it.
fn lacking<'d>(one: &BTreeMap<&'d str, usize>, other: &BTreeMap<&'d str, usize>) -> Vec<&'d str> {
    let missing = |rule: &&'d str, number: &usize| number.saturating_sub(other.get(rule).copied().unwrap_or_default());
    one.iter().flat_map(|(rule, number)| repeat_n(*rule, missing(rule, number))).collect()
}

fn all_fields(document: Option<&RawDocument>) -> BTreeSet<String> {
    document.into_iter().flat_map(RawDocument::rules).flat_map(|(_, xml)| names(xml)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::{Rule, Settings};

    const THEIRS: &str = "<Rule><ID>t</ID><Filter><And><Prefix>x/</Prefix><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>";
    const NAMELESS: &str =
        "<Rule><Prefix>y/</Prefix><Status>Enabled</Status><Expiration><Days>2</Days></Expiration></Rule>";
    const LARGER: &str = "<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>";
    const ABORT: &str =
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>";

    fn document(rules: &str, setting: Option<&str>) -> RawDocument {
        let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        RawDocument::parse(text.as_bytes(), setting.map(str::to_owned)).unwrap()
    }

    fn before() -> RawDocument {
        document(&format!("{THEIRS}{NAMELESS}"), Some("varies_by_storage_class"))
    }

    fn write(before: &RawDocument) -> WriteRules {
        let settings = Settings { expiration_days: Some(9), abort_multipart_days: Some(3), ..Settings::default() };
        WriteRules {
            assumes: Some(before.version().to_owned()),
            remove: BTreeSet::new(),
            add: vec![Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings }],
        }
    }

    /// What S3 shows, as the rules that it keeps of what was sent.
    fn shows(change: impl Fn(String) -> String) -> Reading {
        let before = before();
        let write = write(&before);
        let sent = crate::compose(Some(&before), &write).unwrap().unwrap();
        let now = change(String::from_utf8(sent).unwrap());
        let now = RawDocument::parse(now.as_bytes(), Some("varies_by_storage_class".into())).unwrap();
        reading((Some(&before), &write), Some(&now))
    }

    fn less(shown: &Reading) -> &Less {
        let Reading::Less(less) = shown else { panic!("{shown:?}") };
        less
    }

    #[test]
    fn a_reading_is_the_old_one_ours_or_somebody_elses() {
        let before = before();
        let write = write(&before);
        assert_eq!(reading((Some(&before), &write), Some(&before)), Reading::Old);
        assert_eq!(shows(|sent| sent), Reading::Ours { others: None });
        // As a server prints it that has forms of its own.
        let moved = THEIRS.replace("<ID>t</ID>", "").replace("</Rule>", "\n<ID>t</ID></Rule>");
        assert_eq!(shows(|sent| sent.replace(THEIRS, &moved)), Reading::Ours { others: None });
        let more = shows(|sent| sent.replace("</L", "<Rule><ID>new</ID><Prefix>z/</Prefix></Rule></L"));
        let Reading::Ours { others: Some(told) } = more else { panic!("{more:?}") };
        assert!(told.starts_with("another writer added a rule: <Rule><ID>new"), "{told}");
        let Reading::Ours { others: Some(told) } = shows(|sent| sent.replace(NAMELESS, "")) else { panic!("ours") };
        assert!(told.starts_with("a rule of another owner is missing or changed: <Rule><Prefix>y/"), "{told}");
        let blind = shows(|_| format!("<LifecycleConfiguration>{THEIRS}</LifecycleConfiguration>"));
        let Reading::Other { why } = blind else { panic!("{blind:?}") };
        assert!(why.starts_with("rule ours of ours is missing or changed; a rule of another owner"), "{why}");
        let Reading::Other { .. } = reading((Some(&before), &write), None) else { panic!("all of it is gone") };
    }

    #[test]
    fn a_field_that_the_server_drops_is_named_and_nobody_is_blamed() {
        let dropped = shows(|sent| sent.replace(ABORT, ""));
        let fields = BTreeMap::from([("AbortIncompleteMultipartUpload.DaysAfterInitiation".to_owned(), 1)]);
        assert!(less(&dropped).alone && less(&dropped).fields() == fields && !less(&dropped).is_wider(), "{dropped:?}");
        let wide = shows(|sent| sent.replace("<Filter><Prefix>logs/service_name=a/</Prefix></Filter>", "<Filter/>"));
        assert!(less(&wide).is_wider() && less(&wide).fields().contains_key("Filter.Prefix"), "{wide:?}");
        let theirs = shows(|sent| sent.replace(LARGER, ""));
        let theirs = less(&theirs);
        assert!(theirs.ours.is_empty() && theirs.alone && theirs.others[0].rule == "t", "{theirs:?}");
        assert_eq!(theirs.others[0].fields, BTreeSet::from(["Filter.ObjectSizeGreaterThan".to_owned()]));
        let both = shows(|sent| sent.replace(ABORT, "").replace("</L", "<Rule><ID>new</ID></Rule></L"));
        assert!(!less(&both).alone, "somebody else wrote too: {both:?}");
        // What its owner takes out of one rule is still in others.
        let edited = shows(|sent| sent.replacen("<Expiration><Days>1</Days></Expiration>", "", 1));
        assert!(matches!(edited, Reading::Ours { others: Some(_) }), "{edited:?}");
    }

    #[test]
    fn a_long_id_is_cut_alike_wherever_a_rule_is_named() {
        let id = "x".repeat(300);
        let theirs = THEIRS.replace("<ID>t</ID>", &format!("<ID>{id}</ID>"));
        assert_eq!(name(&theirs).chars().count(), LONGEST_ID);
        assert_eq!((name(THEIRS).as_str(), name(NAMELESS).chars().count()), ("t", LONGEST_NAME + 3));
        let before = document(&theirs, None);
        let write = write(&before);
        let sent = String::from_utf8(crate::compose(Some(&before), &write).unwrap().unwrap()).unwrap();
        let now = RawDocument::parse(sent.replace(LARGER, "").as_bytes(), None).unwrap();
        let shown = reading((Some(&before), &write), Some(&now));
        assert_eq!(less(&shown).others[0].rule, name(&theirs));
    }

    #[test]
    fn what_is_dropped_of_a_write_that_changes_nothing_else_is_told_from_an_old_answer_of_any_other() {
        let before = before();
        let plain = Settings { expiration_days: Some(9), ..Settings::default() };
        let rule = Rule { settings: plain, ..write(&before).add.remove(0) };
        let first = WriteRules { add: vec![rule], ..write(&before) };
        let sent = crate::compose(Some(&before), &first).unwrap().unwrap();
        let over = RawDocument::parse(&sent, before.minimum_object_size().map(str::to_owned)).unwrap();
        let edit = WriteRules { remove: BTreeSet::from(["ours".to_owned()]), ..write(&over) };
        assert_eq!(reading((Some(&over), &edit), Some(&over)), Reading::Old);
        let less = dropped(&edit, Some(&over)).unwrap();
        let fields = BTreeMap::from([("AbortIncompleteMultipartUpload.DaysAfterInitiation".to_owned(), 1)]);
        assert!(less.fields() == fields && less.alone && !less.is_wider(), "{less:?}");
        let mut longer = edit.clone();
        longer.add[0].settings.expiration_days = Some(10);
        assert_eq!(dropped(&longer, Some(&over)), None, "its days are not there either");
        assert_eq!(dropped(&first, Some(&before)), None, "its rule is not there");
        let other = WriteRules { assumes: Some("other".to_owned()), ..edit };
        assert_eq!(dropped(&other, Some(&over)), None, "that is not the configuration from before");
    }

    #[test]
    fn a_setting_that_is_not_kept_is_named() {
        let before = before();
        let write = write(&before);
        let sent = crate::compose(Some(&before), &write).unwrap().unwrap();
        let now = RawDocument::parse(&sent, Some("all_storage_classes_128K".into())).unwrap();
        let shown = reading((Some(&before), &write), Some(&now));
        assert!(less(&shown).setting && less(&shown).alone, "{shown:?}");
        // A server that never told one has none.
        let plain = document(THEIRS, None);
        let write = self::write(&plain);
        let sent = crate::compose(Some(&plain), &write).unwrap().unwrap();
        let now = RawDocument::parse(&sent, Some("all_storage_classes_128K".into())).unwrap();
        assert_eq!(reading((Some(&plain), &write), Some(&now)), Reading::Ours { others: None });
    }
}
