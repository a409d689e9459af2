//! Objects whose rules were all replaced by those of a successor with the same name: the record of the last write remembers
//! them, so that a rule of theirs that is there again is known for the work of somebody else.

use crate::document::RawDocument;
use crate::record::Targets;
use logwise_plan::retention::{WriteRules, maker_of, owner_of};
use logwise_runtime::intent::{Intent, State};
use std::collections::BTreeSet;

/// Objects that a record remembers at most.
const MOST: usize = 500;

/// The objects, as `<owner>/<uid8>`, of which `last`, the record of the last write, knows that no rule is left. What that
/// write itself was to replace counts only if it ended well.
pub(crate) fn replaced(last: Option<&Intent>) -> BTreeSet<String> {
    let known = last.and_then(|last| Some((last.state, Targets::of(last)?)));
    let Some((state, targets)) = known else { return BTreeSet::new() };
    let new = if state == State::Done { targets.replaces } else { BTreeSet::new() };
    new.into_iter().chain(targets.replaced).take(MOST).collect()
}

/// The objects whose last rules `write` takes out of `before` while it adds rules of a successor.
pub(crate) fn replaces(write: &WriteRules, before: Option<&RawDocument>) -> BTreeSet<String> {
    let ids = before.into_iter().flat_map(RawDocument::rules).filter_map(|(facts, _)| facts.id.as_deref());
    let stay = ids.filter(|id| !write.remove.contains(*id));
    let added = || write.add.iter().map(|rule| rule.id.as_str());
    let lasting: BTreeSet<&str> = stay.chain(added()).filter_map(maker_of).collect();
    let owners: BTreeSet<&str> = added().filter_map(owner_of).collect();
    let taken_over = write.remove.iter().filter(|id| owner_of(id).is_some_and(|owner| owners.contains(owner)));
    taken_over.filter_map(|id| maker_of(id)).filter(|maker| !lasting.contains(maker)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;
    use logwise_plan::retention::{Rule, Settings, rule_id};

    const OWNER: &str = "lab.shop.keep";

    fn rule(uid8: &str, service: &str) -> Rule {
        let settings = Settings { expiration_days: Some(9), ..Settings::default() };
        Rule { id: rule_id(OWNER, uid8, service), prefix: format!("logs/service_name={service}/"), settings }
    }

    fn document(rules: &[Rule]) -> RawDocument {
        let write = WriteRules { add: rules.to_vec(), ..WriteRules::default() };
        RawDocument::parse(&crate::compose(None, &write).unwrap().unwrap(), None).unwrap()
    }

    fn maker(uid8: &str) -> BTreeSet<String> {
        BTreeSet::from([format!("{OWNER}/{uid8}")])
    }

    #[test]
    fn a_write_replaces_an_object_when_none_of_its_rules_is_left() {
        let (a, b) = (rule("00000001", "a"), rule("00000001", "b"));
        let before = document(&[a.clone(), b.clone()]);
        let write = |remove: &[&Rule], add: &[Rule]| WriteRules {
            remove: remove.iter().map(|rule| rule.id.clone()).collect(),
            add: add.to_vec(),
            ..WriteRules::default()
        };
        let next = rule("00000002", "a");
        assert_eq!(replaces(&write(&[&a, &b], std::slice::from_ref(&next)), Some(&before)), maker("00000001"));
        assert!(replaces(&write(&[&a], std::slice::from_ref(&next)), Some(&before)).is_empty(), "one is left");
        assert!(replaces(&write(&[&a, &b], &[]), Some(&before)).is_empty(), "nobody takes over");
        assert!(replaces(&write(&[&a, &b], std::slice::from_ref(&a)), Some(&before)).is_empty(), "it is itself");
        let other = Rule { id: rule_id("lab.shop.other", "00000002", "a"), ..next };
        assert!(replaces(&write(&[&a, &b], &[other]), Some(&before)).is_empty(), "another policy takes over");
    }

    #[test]
    fn a_record_remembers_what_came_about_and_what_it_knew_before() {
        let targets = Targets { replaced: maker("00000001"), replaces: maker("00000002"), ..Targets::default() };
        let both: BTreeSet<String> = maker("00000001").into_iter().chain(maker("00000002")).collect();
        assert_eq!(replaced(Some(&record(State::Done, &targets, None))), both);
        for state in [State::Prepared, State::Sent, State::Abandoned, State::Superseded] {
            assert_eq!(replaced(Some(&record(state, &targets, None))), maker("00000001"));
        }
        assert!(replaced(None).is_empty());
    }
}
