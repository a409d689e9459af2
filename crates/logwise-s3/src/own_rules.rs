//! The rules of the bucket's policies in its configuration, found once per look and asked about many services.

use logwise_plan::retention::{Observed, ObservedRule, Policy, fold_prefix, owner_of, service_prefix};
use std::collections::{HashMap, HashSet};

/// Rules whose ids name one of the bucket's policies.
pub(crate) struct OwnRules<'a> {
    logs_prefix: &'a str,
    by_prefix: HashMap<&'a str, Vec<&'a ObservedRule>>,
    by_id: HashMap<&'a str, Vec<&'a ObservedRule>>,
    /// Those that several services share.
    folded: Vec<&'a ObservedRule>,
    /// How many they are.
    pub count: usize,
}

impl<'a> OwnRules<'a> {
    /// Sorts out the rules that were found.
    pub(crate) fn of(policy: &'a Policy, observed: &'a Observed) -> Self {
        let owners: HashSet<&str> = policy.policies.iter().map(|entry| entry.owner.as_str()).collect();
        let shared = fold_prefix(&policy.logs_prefix, "");
        let mut own = Self {
            logs_prefix: &policy.logs_prefix,
            by_prefix: HashMap::new(),
            by_id: HashMap::new(),
            folded: Vec::new(),
            count: 0,
        };
        for rule in observed.document.known().into_iter().flat_map(|document| &document.rules) {
            let Some(id) = rule.id.as_deref().filter(|id| owner_of(id).is_some_and(|owner| owners.contains(owner)))
            else {
                continue;
            };
            own.count += 1;
            own.by_id.entry(id).or_default().push(rule);
            let Some(meaning) = &rule.meaning else { continue };
            own.by_prefix.entry(&meaning.prefix).or_default().push(rule);
            if meaning.prefix.starts_with(&shared) && !meaning.prefix.ends_with('/') {
                own.folded.push(rule);
            }
        }
        own
    }

    /// Those that act on a service, and those that have the id of its rule whatever they do.
    pub(crate) fn of_service(&self, service: &str, id: &str) -> Vec<&'a ObservedRule> {
        let prefix = service_prefix(self.logs_prefix, service);
        let exact = self.by_prefix.get(prefix.as_str()).into_iter().flatten().copied();
        let is_spoilt = |rule: &&ObservedRule| rule.meaning.as_ref().is_none_or(|meaning| meaning.prefix != prefix);
        let named = self.by_id.get(id).into_iter().flatten().copied().filter(is_spoilt);
        let covers = |rule: &&ObservedRule| rule.meaning.as_ref().is_some_and(|it| prefix.starts_with(&it.prefix));
        exact.chain(named).chain(self.folded.iter().copied().filter(covers)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::Known;
    use logwise_plan::retention::{Document, Meaning, PolicyEntry, Settings, fold_id, rule_id};

    const OWNER: &str = "lab.shop.keep";

    fn rule(id: String, prefix: &str) -> ObservedRule {
        let meaning = Meaning { prefix: prefix.into(), settings: Settings::default() };
        ObservedRule { id: Some(id), meaning: Some(meaning), reach: None }
    }

    #[test]
    fn a_service_has_its_own_rule_the_one_it_shares_and_the_one_that_has_its_id() {
        let id = |service: &str| rule_id(OWNER, "00000001", service);
        let rules = [
            rule(id("api"), "logs/service_name=api/"),
            rule(id("web"), "logs/service_name=elsewhere/"),
            rule(fold_id(OWNER, "00000001", "a"), "logs/service_name=a"),
            rule(rule_id("lab.shop.other", "00000001", "api"), "logs/service_name=api/"),
            ObservedRule { id: Some("by hand".into()), ..ObservedRule::default() },
        ];
        let entry: PolicyEntry =
            serde_json::from_value(serde_json::json!({"owner": OWNER, "uid8": "00000001", "settings": {}})).unwrap();
        let policy = Policy { logs_prefix: "logs/".into(), policies: vec![entry], ..Policy::default() };
        let document = Document { version: "v".into(), rules: rules.to_vec(), not_preservable: None };
        let observed = Observed::new(Known::Absent, Known::Known(document));
        let own = OwnRules::of(&policy, &observed);
        assert_eq!(own.count, 3);
        let of = |service: &str| own.of_service(service, &id(service));
        assert_eq!(of("api"), [&rules[0], &rules[2]]);
        assert_eq!(of("web"), [&rules[1]]);
        assert_eq!(of("elsewhere"), [&rules[1]]);
        assert_eq!(of("zoo"), Vec::<&ObservedRule>::new());
    }
}
