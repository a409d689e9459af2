//! What is known of a server that does not keep rules of ours as they are written: what it is not sent any more, and what
//! is said of it.

use crate::document::RawDocument;
use crate::fields::{is_wider, names};
use crate::record::{Ignored, Targets};
use crate::rule;
use crate::verify::in_words;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::retention::{Rule, WriteRules};
use std::collections::{BTreeMap, BTreeSet};

/// How long rules may have been in force and be taken back: objects then have not come to count on them. So long it is told
/// that a rule acted on more than it was written for, whatever the policies ask for by then.
pub(crate) const SOON: SignedDuration = SignedDuration::from_mins(10);

/// Why nothing is taken back that is no duty.
const OBSERVED: &str = "nothing is written while the LogwiseCluster observes, is suspended or is being deleted";

/// What the server did not keep, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unkept {
    pub ignored: Ignored,
    pub undo: Undo,
}

/// What is done about rules that the server did not keep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undo {
    /// Nothing, or nothing more.
    No,
    /// They go, or the rules from before are put back, by this write.
    Due(Box<Targets>),
    /// They stay.
    Unsafe(&'static str),
}

impl Ignored {
    /// Whether the rule has a field that the server does not keep.
    pub(crate) fn refuses(&self, rule: &Rule) -> bool {
        rule::write(rule).is_ok_and(|xml| names(&xml).iter().any(|field| self.fields.contains_key(field)))
    }

    /// The write without rules that the server does not keep, and their ids. What they would replace stays, unless it acts
    /// on more than they would.
    pub(crate) fn spare(
        &self,
        write: &WriteRules,
        document: Option<&RawDocument>,
    ) -> (Option<WriteRules>, BTreeSet<String>) {
        let (refused, add): (Vec<&Rule>, Vec<&Rule>) = write.add.iter().partition(|rule| self.refuses(rule));
        if refused.is_empty() {
            return (Some(write.clone()), BTreeSet::new());
        }
        let ids: BTreeMap<&str, &str> = refused.iter().map(|rule| (rule.id.as_str(), rule.prefix.as_str())).collect();
        let prefixes: BTreeSet<&str> = ids.values().copied().collect();
        let mut remove = write.remove.clone();
        for (facts, xml) in document.into_iter().flat_map(RawDocument::rules) {
            let (Some(id), meaning) = (&facts.id, &facts.meaning) else { continue };
            let stays = match ids.get(id.as_str()) {
                Some(prefix) => !is_wider(xml, prefix),
                None => meaning.as_ref().is_some_and(|it| prefixes.contains(it.prefix.as_str())),
            };
            if stays {
                remove.remove(id);
            }
        }
        let add: Vec<Rule> = add.into_iter().cloned().collect();
        let rest = WriteRules { remove, add, ..write.clone() };
        let is_nothing = rest.remove.is_empty() && rest.add.is_empty();
        ((!is_nothing).then_some(rest), ids.into_keys().map(str::to_owned).collect())
    }
}

impl Targets {
    /// Whether this takes away rules of ours that act on more than they were written for: nothing holds it back.
    pub(crate) fn is_duty(&self) -> bool {
        self.undoes && self.ignored.as_ref().is_some_and(|ignored| ignored.wider)
    }
}

impl Unkept {
    /// Whether a rule of ours acts on more than it was written for.
    pub(crate) fn is_duty(&self) -> bool {
        matches!(&self.undo, Undo::Due(targets) if targets.is_duty())
    }

    /// Whether one does, or did a short time ago: it is told although no policy asks for such a rule.
    pub(crate) fn is_alarming(&self, at: Timestamp) -> bool {
        let is_recent = self.ignored.undone.is_some_and(|undone| at.duration_since(undone) < SOON);
        self.ignored.wider && (self.is_duty() || is_recent)
    }

    /// The same where nothing else may be written than what is a duty.
    pub(crate) fn without_writing(self) -> Self {
        let waits = matches!(&self.undo, Undo::Due(targets) if !targets.is_duty());
        if waits { Self { undo: Undo::Unsafe(OBSERVED), ..self } } else { self }
    }

    /// What the server does not keep, and what was done about it.
    pub(crate) fn words(&self) -> String {
        let Ignored { fields, wider, since, undone, .. } = &self.ignored;
        let time = |at: &Option<Timestamp>| at.map_or_else(String::new, |at| whole_seconds(at).to_string());
        let what = in_words(fields);
        if *wider {
            let begin = time(since);
            return match (&self.undo, undone) {
                (Undo::No, Some(_)) => format!(
                    "{what}; these rules were taken away. From {begin} to {} a rule acted on more objects than it was \
                     written for: what S3 expired then is gone",
                    time(undone)
                ),
                _ => format!(
                    "{what}; these rules are being taken away, whatever the mode: without a rule everything is kept. Since \
                     {begin} a rule acts on more objects than it was written for"
                ),
            };
        }
        let done = match (&self.undo, undone) {
            (Undo::No, Some(_)) => "the rules from before were put back".to_owned(),
            (Undo::Due(_), _) => "the rules from before are being put back".to_owned(),
            (Undo::Unsafe(why), _) => format!("the rules from before were not put back: {why}"),
            (Undo::No, None) => "the rules from before were not put back".to_owned(),
        };
        format!("{what}; {done}")
    }

    /// What is to be done by people.
    pub(crate) const fn advice(&self) -> &'static str {
        if self.ignored.wider {
            "No rule is written to this bucket any more, since each would act on all of its objects: use a server that \
             keeps this, then delete the record of the last write and restart the operator, as \
             docs/retention.md#servers-that-keep-less says"
        } else {
            "Leave out of the policy what the server does not keep"
        }
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::Settings;

    const ABORT: &str = "AbortIncompleteMultipartUpload.DaysAfterInitiation";

    fn rule(service: &str, days: i32, abort: Option<i32>) -> Rule {
        let settings = Settings { expiration_days: Some(days), abort_multipart_days: abort, ..Settings::default() };
        Rule { id: format!("id-{service}"), prefix: format!("logs/service_name={service}/"), settings }
    }

    fn ignored(field: &str) -> Ignored {
        let wider = field.starts_with("Filter");
        Ignored { fields: BTreeMap::from([(field.to_owned(), 2)]), wider, ..Ignored::default() }
    }

    fn write(remove: &[&str], add: &[Rule]) -> WriteRules {
        let remove = remove.iter().map(|service| format!("id-{service}")).collect();
        WriteRules { assumes: None, remove, add: add.to_vec() }
    }

    fn document(rules: &[Rule]) -> RawDocument {
        RawDocument::parse(&crate::compose(None, &write(&[], rules)).unwrap().unwrap(), None).unwrap()
    }

    fn ids(services: &[&str]) -> BTreeSet<String> {
        services.iter().map(|service| format!("id-{service}")).collect()
    }

    #[test]
    fn whatever_has_a_field_that_the_server_does_not_keep_is_not_sent_and_the_rest_is() {
        let now = document(&[rule("a", 7, None), rule("b", 7, None)]);
        let add = [rule("a", 90, Some(3)), rule("c", 90, None), rule("d", 30, Some(9))];
        let (rest, refused) = ignored(ABORT).spare(&write(&["a", "b", "e"], &add), Some(&now));
        let rest = rest.unwrap();
        assert_eq!(refused, ids(&["a", "d"]), "other days of it are not kept either");
        assert_eq!((rest.add, rest.remove), (add[1..2].to_vec(), ids(&["b", "e"])), "what `a` has stays");
        let (rest, refused) = ignored(ABORT).spare(&write(&[], &add[..1]), Some(&now));
        assert_eq!((rest, refused), (None, ids(&["a"])));
        let other = write(&["b"], &add[1..2]);
        assert_eq!(ignored(ABORT).spare(&other, Some(&now)), (Some(other), BTreeSet::new()));
    }

    #[test]
    fn without_its_prefix_no_rule_is_sent_and_one_that_has_lost_it_goes() {
        let text = String::from_utf8(document(&[rule("a", 7, None), rule("b", 7, None)]).bytes().to_vec()).unwrap();
        let wide = text.replace("<Prefix>logs/service_name=a/</Prefix>", "");
        let now = RawDocument::parse(wide.as_bytes(), None).unwrap();
        let all = write(&["a", "b"], &[rule("a", 9, None), rule("b", 9, None), rule("c", 9, None)]);
        let (rest, refused) = ignored("Filter.Prefix").spare(&all, Some(&now));
        assert_eq!(rest, Some(write(&["a"], &[])));
        assert_eq!(refused, ids(&["a", "b", "c"]));
    }

    #[test]
    fn only_a_rule_that_acts_on_more_is_taken_back_whatever_the_mode() {
        let due = |field: &str| {
            let targets = Targets { undoes: true, ignored: Some(ignored(field)), ..Targets::default() };
            Unkept { ignored: ignored(field), undo: Undo::Due(Box::new(targets)) }
        };
        let wide = due("Filter.Prefix");
        assert!(wide.is_duty() && wide.clone().without_writing() == wide);
        let waits = due(ABORT).without_writing();
        assert_eq!(waits.undo, Undo::Unsafe(OBSERVED));
        assert!(waits.words().contains("not put back: nothing is written while the Logw"), "{}", waits.words());
        assert!(wide.advice().starts_with("No rule is written") && waits.advice().starts_with("Leave out"));
    }

    #[test]
    fn that_a_rule_acted_on_more_is_told_while_it_does_and_for_a_while_after() {
        let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let wide = Ignored { since: Some(at(0)), ..ignored("Filter.Prefix") };
        let targets = Targets { undoes: true, ignored: Some(wide.clone()), ..Targets::default() };
        let found = Unkept { ignored: wide.clone(), undo: Undo::Due(Box::new(targets)) };
        assert!(found.is_alarming(at(5_000)), "as long as it is there");
        assert_eq!(
            found.words(),
            "Filter.Prefix (of 2 rules); these rules are being taken away, whatever the mode: without a rule everything is \
             kept. Since 1970-01-01T00:00:00Z a rule acts on more objects than it was written for"
        );
        let gone = Unkept { ignored: Ignored { undone: Some(at(1)), ..wide }, undo: Undo::No };
        assert!(gone.is_alarming(at(10)) && !gone.is_alarming(at(11)));
        assert_eq!(
            gone.words(),
            "Filter.Prefix (of 2 rules); these rules were taken away. From 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z a \
             rule acted on more objects than it was written for: what S3 expired then is gone"
        );
        let narrow = Ignored { undone: Some(at(1)), ..ignored(ABORT) };
        assert!(!Unkept { ignored: narrow, undo: Undo::No }.is_alarming(at(1)));
    }
}
