//! Objects that are being deleted and whose pipeline is gone: nobody decides about services any more, and their own
//! rules go by their ids alone.

use super::compile::maker_of;
use super::{Blocked, Document, WriteRules};
use std::collections::BTreeSet;

/// The ids of the rules that were written for one of these objects, each `<owner>/<uid8>`.
pub fn rules_of<'d>(document: Option<&'d Document>, makers: &BTreeSet<String>) -> BTreeSet<&'d str> {
    let ids = document.into_iter().flat_map(|document| &document.rules).filter_map(|rule| rule.id.as_deref());
    ids.filter(|id| maker_of(id).is_some_and(|maker| makers.contains(maker))).collect()
}

/// The write that takes away every rule that was written for one of these objects, each `<owner>/<uid8>`, and touches
/// no other: not those of an object that had the same name before or has it now. `None`: there is no such rule.
///
/// # Errors
/// [`Blocked::ForeignRuleNotPreservable`]: the rules of others could not be carried through a rewrite.
pub fn removal(document: Option<&Document>, makers: &BTreeSet<String>) -> Result<Option<WriteRules>, Blocked> {
    let remove: BTreeSet<String> = rules_of(document, makers).into_iter().map(str::to_owned).collect();
    let Some(document) = document.filter(|_| !remove.is_empty()) else { return Ok(None) };
    match &document.not_preservable {
        Some(why) => Err(Blocked::ForeignRuleNotPreservable { why: why.clone() }),
        None => Ok(Some(WriteRules { assumes: Some(document.version.clone()), remove, add: Vec::new() })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ObservedRule, fold_id, rule_id};
    use super::*;

    const OWNER: &str = "lab.shop.keep";
    const UID8: &str = "00000001";

    fn document(ids: &[&str]) -> Document {
        let rule = |id: &&str| ObservedRule { id: Some((*id).to_owned()), ..ObservedRule::default() };
        let mut rules: Vec<ObservedRule> = ids.iter().map(rule).collect();
        rules.push(ObservedRule::default());
        Document { version: "v".into(), rules, not_preservable: None }
    }

    fn makers(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_object_takes_its_own_rules_along_whatever_they_do_by_now_and_no_other() {
        let (api, folded) = (rule_id(OWNER, UID8, "api"), fold_id(OWNER, UID8, "a"));
        let others = [
            rule_id(OWNER, "00000002", "api"),
            rule_id("lab.shop.keep2", UID8, "api"),
            rule_id("lab.other.keep", UID8, "api"),
            rule_id("lab2.shop.keep", UID8, "api"),
            format!("logwise.io/{OWNER}/{UID8}/by-hand"),
            format!("x{api}"),
            "by hand".to_owned(),
        ];
        let all: Vec<&str> = [&api, &folded].into_iter().chain(&others).map(String::as_str).collect();
        let write = removal(Some(&document(&all)), &makers(&["lab.shop.keep/00000001"])).unwrap().unwrap();
        assert_eq!(write.remove, BTreeSet::from([api, folded]));
        assert!(write.add.is_empty() && write.assumes.as_deref() == Some("v"), "{write:?}");
    }

    #[test]
    fn several_objects_go_in_one_write() {
        let (one, other) = (rule_id(OWNER, UID8, "api"), rule_id("lab.shop.other", "00000003", "web"));
        let found = document(&[&one, &other]);
        let makers = makers(&["lab.shop.keep/00000001", "lab.shop.other/00000003", "lab.shop.none/00000004"]);
        assert_eq!(removal(Some(&found), &makers).unwrap().unwrap().remove, BTreeSet::from([one, other]));
    }

    #[test]
    fn nothing_is_written_where_nothing_is_or_where_others_would_be_harmed() {
        let (own, makers) = (rule_id(OWNER, UID8, "api"), makers(&["lab.shop.keep/00000001"]));
        assert_eq!(removal(None, &makers), Ok(None));
        let odd = |ids: &[&str]| Document { not_preservable: Some("a comment".into()), ..document(ids) };
        assert_eq!(removal(Some(&odd(&["by hand"])), &makers), Ok(None), "nothing would have to be rewritten");
        let blocked = Blocked::ForeignRuleNotPreservable { why: "a comment".into() };
        assert_eq!(removal(Some(&odd(&[&own])), &makers), Err(blocked));
        assert_eq!(rules_of(Some(&odd(&[&own])), &makers), BTreeSet::from([own.as_str()]));
    }
}
