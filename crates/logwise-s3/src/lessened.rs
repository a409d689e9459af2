//! What a server has made less of beside the rules of a write: rules of others, and the setting for small objects. When
//! the record of the write is closed it names them as changed parts of the bucket, and later records hand them on, so that
//! they are told as long as it is so, after a restart too.

use crate::document::RawDocument;
use crate::fields::{Kept, kept};
use crate::record::{Targets, is_found};
use crate::verify::{Lesser, Reading, SETTING, name, reading};
use logwise_plan::Known;
use logwise_runtime::intent::{Effect, Intent, State};
use logwise_runtime::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Rules of others that a record names.
const MOST: usize = 50;

/// What a server has made less of and what is still so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lessened {
    /// Rules of others, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Lesser>,
    /// What the setting for small objects was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
}

/// What is noted of a write when its record is closed by a look that shows this.
pub(crate) fn noted(intent: &Intent, now: &Known<RawDocument>) -> Option<Effect> {
    let now = match now {
        Known::Known(document) => Some(document),
        Known::Absent => None,
        Known::Unknown(_) => return None,
    };
    let targets = Targets::of(intent).filter(|_| intent.state == State::Sent)?;
    let before = targets.before(intent)?;
    let Reading::Less(less) = reading((before.as_ref(), &targets.write), now) else { return None };
    let rules = less.others.iter().take(MOST).map(|lesser| lesser.rule.clone());
    let parts: Vec<String> = rules.chain(less.setting.then(|| SETTING.to_owned())).collect();
    (!parts.is_empty()).then_some(Effect { amount: 0, parts })
}

impl Lessened {
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// By the record of the last write and the configuration as it is. What was changed since is its owner's work.
    pub(crate) fn of(last: Option<&Intent>, now: &Known<RawDocument>) -> Self {
        let known = last.and_then(|last| Some((last, Targets::of(last)?)));
        let (Some((last, targets)), Some(now)) = (known, now.known()) else { return Self::default() };
        // It may also name rules of ours of which the server has kept nothing new.
        let is_other = |part: &&str| targets.write.add.iter().all(|rule| rule.id != **part);
        let named = last.effect.iter().filter(|_| !is_found(last));
        let parts = named.flat_map(|effect| &effect.parts).map(String::as_str);
        let parts: BTreeSet<&str> = parts.filter(is_other).collect();
        let before = if parts.is_empty() { None } else { targets.before(last).flatten() };
        let there: BTreeSet<&str> = now.rules().map(|(_, xml)| xml).collect();
        let mut rules = targets.lessened.rules;
        rules.retain(|lesser| there.contains(lesser.now.as_str()));
        let handed_on = |lesser: &Lesser| rules.iter().all(|known| known.now != lesser.now);
        let new: Vec<Lesser> = lesser(before.as_ref(), &parts, now).into_iter().filter(handed_on).collect();
        rules.extend(new);
        rules.truncate(MOST);
        let lost = targets.minimum_object_size.filter(|_| parts.contains(SETTING));
        let setting = targets.lessened.setting.or(lost);
        Self { rules, setting: setting.filter(|was| now.minimum_object_size() != Some(was.as_str())) }
    }

    /// For people: the fact and the next step.
    pub(crate) fn told(&self, bucket: &str) -> Option<String> {
        let rules = (!self.rules.is_empty()).then(|| {
            format!(
                "The server of bucket {bucket} has kept less of rules of somebody else: {}. What it does not keep nobody \
                 can put back there: let their owners look at them, and write them in another form",
                self.of_rules()
            )
        });
        let setting = self.setting.as_ref().map(|was| {
            format!(
                "The server of bucket {bucket} has not kept {SETTING}, which was {was} and was sent with the last rules: \
                 transitions of all rules of the bucket may take other objects now. Let whoever has set it look at them, \
                 and set it again on a server that keeps it"
            )
        });
        let told: Vec<String> = [rules, setting].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join(". "))
    }

    /// What the decision record tells.
    pub(crate) fn words(&self) -> impl Iterator<Item = String> {
        let rules = (!self.rules.is_empty())
            .then(|| format!("Noted: the server made less of rules of somebody else: {}", self.of_rules()));
        let setting = self.setting.as_ref().map(|was| format!("Noted: the server has not kept {SETTING}, was {was}"));
        [rules, setting].into_iter().flatten()
    }

    fn of_rules(&self) -> String {
        let lacks = |lesser: &Lesser| {
            let fields: Vec<&str> = lesser.fields.iter().map(String::as_str).collect();
            format!("{} lacks {}", lesser.rule, words::first_few(&fields))
        };
        words::first_few(&self.rules.iter().map(lacks).collect::<Vec<_>>())
    }
}

/// Rules with these names of which there is less now than before.
fn lesser(before: Option<&RawDocument>, names: &BTreeSet<&str>, now: &RawDocument) -> Vec<Lesser> {
    let named = before.into_iter().flat_map(RawDocument::rules).map(|(facts, was)| (facts, was, name(was)));
    let named = named.filter(|(_, _, name)| names.contains(name.as_str()));
    let found = named.filter_map(|(facts, was, rule)| {
        let alike = now.rules().filter(|(there, _)| there.id == facts.id);
        let mut lesser = alike.filter_map(|(_, is)| match kept(was, is) {
            Kept::Without(fields) => Some((is.to_owned(), fields)),
            Kept::Whole | Kept::Changed => None,
        });
        lesser.next().map(|(now, fields)| Lesser { rule, now, fields })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::found;
    use crate::record::tests::record;
    use logwise_plan::retention::{Rule, Settings, WriteRules};

    const SIZE: &str = "<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>";
    const VARIES: &str = "varies_by_storage_class";

    fn theirs() -> String {
        format!(
            "<Rule><ID>t</ID><Filter>{SIZE}</Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>"
        )
    }

    fn document(rules: &str, setting: &str) -> RawDocument {
        let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        RawDocument::parse(text.as_bytes(), Some(setting.to_owned())).unwrap()
    }

    fn targets(before: &RawDocument) -> Targets {
        let settings = Settings { expiration_days: Some(9), ..Settings::default() };
        let add = vec![Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings }];
        let write = WriteRules { assumes: Some(before.version().to_owned()), add, ..WriteRules::default() };
        let minimum_object_size = before.minimum_object_size().map(str::to_owned);
        Targets { write, minimum_object_size, ..Targets::default() }
    }

    /// What the server makes of our write over `before`, and the record that is closed with it.
    fn closed(before: &RawDocument, keeps: impl Fn(String) -> String, setting: &str) -> (RawDocument, Intent) {
        let targets = targets(before);
        let sent = String::from_utf8(crate::compose(Some(before), &targets.write).unwrap().unwrap()).unwrap();
        let now = RawDocument::parse(keeps(sent).as_bytes(), Some(setting.to_owned())).unwrap();
        let sent = record(State::Sent, &targets, Some(before));
        let effect = noted(&sent, &Known::Known(now.clone()));
        (now, Intent { state: State::Done, effect, ..sent })
    }

    fn of(last: &Intent, now: &RawDocument) -> Lessened {
        Lessened::of(Some(last), &Known::Known(now.clone()))
    }

    #[test]
    fn a_rule_that_was_made_less_is_told_until_its_owner_writes_it_in_another_form() {
        let before = document(&theirs(), VARIES);
        let (now, last) = closed(&before, |sent| sent.replace(SIZE, ""), VARIES);
        let found = of(&last, &now);
        let told = found.told("b").unwrap();
        assert!(told.contains("somebody else: t lacks Filter.ObjectSizeGreaterThan."), "{told}");
        // Handed on by the next record, whose configuration before has the rule as it is now.
        let next = Targets { lessened: found.clone(), ..targets(&now) };
        let next = record(State::Done, &next, Some(&now));
        assert_eq!(of(&next, &now), found);
        let edited = document(&theirs().replace("<Days>1<", "<Days>2<"), VARIES);
        assert_eq!(of(&last, &edited), Lessened::default(), "it says something else");
        assert_eq!(of(&next, &edited), Lessened::default());
        assert_eq!(Lessened::of(None, &Known::Known(now.clone())), Lessened::default());
        assert_eq!(Lessened::of(Some(&last), &Known::Absent), Lessened::default());
    }

    #[test]
    fn a_rule_with_a_long_id_is_told_and_the_record_stays_small() {
        let theirs = theirs().replace("<ID>t</ID>", &format!("<ID>{}</ID>", "x".repeat(5_000)));
        let (now, last) = closed(&document(&theirs, VARIES), |sent| sent.replace(SIZE, ""), VARIES);
        let parts = &last.effect.as_ref().unwrap().parts;
        assert!(parts.len() == 1 && parts[0].chars().count() == 255, "{parts:?}");
        assert_eq!(of(&last, &now).rules[0].rule, parts[0]);
    }

    #[test]
    fn the_mark_of_a_write_that_found_all_as_wanted_names_no_rule() {
        let id = format!("<ID>{}</ID>", found().parts[0]);
        let before = document(&theirs().replace("<ID>t</ID>", &id), VARIES);
        let (now, last) = closed(&before, |sent| sent.replace(SIZE, ""), VARIES);
        assert_eq!(of(&last, &now).rules.len(), 1);
        let found = Intent { state: State::Abandoned, effect: Some(found()), ..last };
        assert_eq!(of(&found, &now), Lessened::default());
    }

    #[test]
    fn what_its_owner_takes_out_later_is_nobodys_fault() {
        let before = document(&theirs(), VARIES);
        let (_, last) = closed(&before, |sent| sent, VARIES);
        assert_eq!(last.effect, None, "all of it was kept");
        assert_eq!(of(&last, &document(&theirs().replace(SIZE, ""), VARIES)), Lessened::default());
        assert_eq!(of(&last, &document(&theirs(), "all_storage_classes_128K")), Lessened::default());
    }

    #[test]
    fn a_setting_that_was_not_kept_is_told_until_it_is_set_again() {
        let before = document(&theirs(), VARIES);
        let (now, last) = closed(&before, |sent| sent, "all_storage_classes_128K");
        let found = of(&last, &now);
        assert_eq!(found, Lessened { rules: Vec::new(), setting: Some(VARIES.to_owned()) });
        let told = found.told("b").unwrap();
        assert!(told.contains("has not kept TransitionDefaultMinimumObjectSize, which was varies_by"), "{told}");
        assert_eq!(found.words().count(), 1);
        let next = Targets { lessened: found.clone(), ..targets(&now) };
        let next = record(State::Done, &next, Some(&now));
        assert_eq!(of(&next, &now), found);
        let text = String::from_utf8(now.bytes().to_vec()).unwrap();
        let again = RawDocument::parse(text.as_bytes(), Some(VARIES.to_owned())).unwrap();
        assert_eq!((of(&last, &again), of(&next, &again)), (Lessened::default(), Lessened::default()));
    }

    #[test]
    fn only_a_write_that_was_sent_is_noted() {
        let before = document(&theirs(), VARIES);
        let (now, last) = closed(&before, |sent| sent.replace(SIZE, ""), VARIES);
        assert!(last.effect.is_some());
        let prepared = Intent { state: State::Prepared, effect: None, ..last };
        assert_eq!(noted(&prepared, &Known::Known(now)), None);
        assert_eq!(noted(&Intent { state: State::Sent, ..prepared }, &Known::Unknown("denied".into())), None);
    }
}
