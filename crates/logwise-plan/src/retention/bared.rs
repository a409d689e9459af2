//! What has lost a rule of ours: what was kept under that rule may be older than its end, and no approval of another policy
//! was ever meant for it.

use super::compile::{id_parts, service_hash};
use super::fold::fold_hash;
use super::{Document, ObservedRule, Policy, WriteRules};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::iter::once;

/// Stands for every service, where nobody can tell which ones a rule was for.
pub const EVERY_SERVICE: &str = "*";

/// From what `write` takes a rule of ours away while it puts none in its place: each by the last part of the ids of rules
/// for it, of one service or of all names with one beginning, or [`EVERY_SERVICE`].
pub fn bares(document: Option<&Document>, write: &WriteRules) -> BTreeSet<String> {
    let rules = document.into_iter().flat_map(|document| &document.rules);
    let gone = rules.filter(|rule| rule.id.as_ref().is_some_and(|id| write.remove.contains(id)));
    let come: BTreeSet<&str> = write.add.iter().filter_map(|rule| id_parts(&rule.id)).map(|(_, key)| key).collect();
    gone.flat_map(keys_of_rule).filter(|key| !come.contains(key.as_str())).collect()
}

/// What a rule of ours is for: by its id, and by its prefix, which somebody may have changed.
fn keys_of_rule(rule: &ObservedRule) -> impl Iterator<Item = String> {
    let by_id = rule.id.as_deref().and_then(id_parts).map(|(_, key)| key.to_owned());
    let (meant, reached) = (rule.meaning.as_ref(), rule.reach.as_ref());
    let prefix = meant.map(|meaning| &meaning.prefix).or(reached.map(|reach| &reach.prefix));
    by_id.into_iter().chain(prefix.map(|prefix| key_of_prefix(prefix)))
}

fn key_of_prefix(prefix: &str) -> String {
    let Some((_, rest)) = prefix.split_once("service_name=") else { return EVERY_SERVICE.to_owned() };
    match rest.split_once('/') {
        None if !rest.is_empty() => fold_hash(rest),
        Some((service, _)) if !service.is_empty() => service_hash(service),
        _ => EVERY_SERVICE.to_owned(),
    }
}

/// The last parts of the ids of all rules that could be for `service`: its own, and those of beginnings of its name.
pub(super) fn keys(service: &str) -> impl Iterator<Item = String> {
    let beginnings = service.char_indices().map(|(at, last)| &service[..at + last.len_utf8()]);
    once(service_hash(service)).chain(beginnings.map(fold_hash))
}

/// When a rule of ours was last taken away from `service`.
pub(super) fn since(policy: &Policy, service: &str) -> Option<Timestamp> {
    let bared = &policy.bared;
    if bared.is_empty() {
        return None;
    }
    keys(service).filter_map(|key| bared.get(&key)).chain(bared.get(EVERY_SERVICE)).max().copied()
}

#[cfg(test)]
mod tests {
    use super::super::{Meaning, Reach, Rule, Settings, fold_id, fold_prefix, rule_id, service_prefix};
    use super::*;

    const OWNER: &str = "lab.shop.keep";

    fn own(service: &str) -> Rule {
        let (id, prefix) = (rule_id(OWNER, "00000001", service), service_prefix("logs/", service));
        Rule { id, prefix, settings: Settings { expiration_days: Some(9), ..Settings::default() } }
    }

    fn shared(beginning: &str) -> Rule {
        let (id, prefix) = (fold_id(OWNER, "00000001", beginning), fold_prefix("logs/", beginning));
        Rule { id, prefix, ..own("x") }
    }

    fn seen(rule: Rule) -> ObservedRule {
        let meaning = Some(Meaning { prefix: rule.prefix, settings: rule.settings });
        ObservedRule { id: Some(rule.id), meaning, reach: None }
    }

    /// What a write bares that takes all these rules away and adds those.
    fn bared(rules: &[ObservedRule], add: &[Rule]) -> BTreeSet<String> {
        let theirs = ObservedRule { id: Some("theirs".into()), ..seen(own("theirs")) };
        let remove = rules.iter().filter_map(|rule| rule.id.clone()).collect();
        let rules = rules.iter().cloned().chain([theirs]).collect();
        let document = Document { version: "v".into(), rules, not_preservable: None };
        bares(Some(&document), &WriteRules { remove, add: add.to_vec(), assumes: None })
    }

    fn set(keys: &[String]) -> BTreeSet<String> {
        keys.iter().cloned().collect()
    }

    #[test]
    fn a_write_bares_what_it_takes_a_rule_from_and_gives_none() {
        let (api, web) = (service_hash("api"), service_hash("web"));
        assert_eq!(bared(&[seen(own("api")), seen(own("web"))], &[]), set(&[api.clone(), web.clone()]));
        let other = Rule { id: rule_id("lab.shop.other", "00000002", "api"), ..own("api") };
        assert_eq!(bared(&[seen(own("api")), seen(own("web"))], &[other]), set(&[web]), "another policy takes over");
        assert_eq!(bared(&[seen(shared("a"))], &[own("api")]), set(&[fold_hash("a")]), "of `ab` nobody knows");
        let nothing = WriteRules { remove: BTreeSet::from([own("api").id]), ..WriteRules::default() };
        assert_eq!(bares(None, &nothing), set(&[]), "there is none");
        assert_eq!(bared(&[], &[own("api")]), set(&[]));
    }

    #[test]
    fn a_rule_that_somebody_changed_is_for_what_it_says_now_too() {
        let changed = |prefix: &str| {
            let mut rule = seen(own("api"));
            rule.meaning = rule.meaning.map(|meaning| Meaning { prefix: prefix.to_owned(), ..meaning });
            bared(&[rule], &[own("api")])
        };
        for (prefix, key) in [
            ("logs/service_name=web/", service_hash("web")),
            ("logs/service_name=web/year=2026/", service_hash("web")),
            ("logs/service_name=we", fold_hash("we")),
            ("logs/service_name=", EVERY_SERVICE.to_owned()),
            ("logs/service_name=/", EVERY_SERVICE.to_owned()),
            ("logs/", EVERY_SERVICE.to_owned()),
        ] {
            assert_eq!(changed(prefix), set(&[key]), "{prefix}");
        }
        let disabled = ObservedRule { meaning: None, ..seen(own("api")) };
        assert_eq!(bared(std::slice::from_ref(&disabled), &[]), set(&[service_hash("api")]));
        let reach = Some(Reach { prefix: "logs/service_name=web/".into(), ..Reach::default() });
        let both = set(&[service_hash("api"), service_hash("web")]);
        assert_eq!(bared(&[ObservedRule { reach, ..disabled }], &[]), both);
    }

    #[test]
    fn a_service_is_bared_by_its_own_rule_by_a_shared_one_and_by_one_for_all() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let since = |service: &str, bared: &[(String, i64)]| {
            let bared = bared.iter().map(|(key, second)| (key.clone(), at(*second))).collect();
            since(&Policy { bared, ..Policy::default() }, service).map(Timestamp::as_second)
        };
        let all = [(service_hash("pay-x"), 1), (fold_hash("pä"), 2), (fold_hash("pay"), 3), (service_hash("pay"), 4)];
        assert_eq!((since("pay-x", &all), since("pay", &all), since("päx", &all)), (Some(3), Some(4), Some(2)));
        assert_eq!((since("pa", &all), since("pay-x", &[])), (None, None));
        assert_eq!(since("web", &[(EVERY_SERVICE.to_owned(), 5)]), Some(5));
    }
}
