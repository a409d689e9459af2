//! Which policy decides about a service: found without asking every policy about every service.

use super::beginnings::Beginnings;
use super::{Plan, PolicyEntry};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Services that a policy covers and lost, named in a plan; of more only the number stands there.
const MAX_LOST: usize = 50;

/// The policies in the order in which they win, and how to find those that cover a service.
pub(super) struct Winners<'p> {
    /// The first one wins: the highest priority, then the longest expiration, then the first name. Age never counts, since
    /// restoring an object from Git resets it. A policy that is being deleted decides about nothing.
    ranked: Vec<&'p PolicyEntry>,
    /// Places of those that cover every service, ascending.
    everywhere: Vec<usize>,
    by_name: BTreeMap<&'p str, Vec<usize>>,
    by_beginning: Beginnings<'p, usize>,
}

impl<'p> Winners<'p> {
    /// Puts the policies in order.
    pub fn new(policies: &'p [PolicyEntry]) -> Self {
        let mut ranked: Vec<&PolicyEntry> = policies.iter().filter(|p| p.removal.is_none()).collect();
        ranked.sort_by_key(|p| {
            let days = p.settings.expiration_days.unwrap_or(i32::MAX);
            (Reverse(p.priority), Reverse(days), p.owner.as_str())
        });
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let (mut everywhere, mut beginnings) = (Vec::new(), Vec::new());
        for (place, policy) in ranked.iter().enumerate() {
            let selector = &policy.selector;
            if selector.names.is_empty() && selector.prefixes.is_empty() {
                everywhere.push(place);
            }
            for name in &selector.names {
                by_name.entry(name).or_default().push(place);
            }
            beginnings.extend(selector.prefixes.iter().map(|prefix| (prefix.as_str(), place)));
        }
        Self { ranked, everywhere, by_name, by_beginning: Beginnings::new(beginnings) }
    }

    /// The policy at one place of the order.
    pub fn at(&self, place: usize) -> &'p PolicyEntry {
        self.ranked[place]
    }

    /// The place of the policy that decides about `service`.
    pub fn place(&self, service: &str) -> Option<usize> {
        let by_name = self.by_name.get(service).and_then(|places| places.first());
        self.throughout(service).into_iter().chain(by_name.copied()).min()
    }

    /// The policy that decides about `service`.
    pub fn winner(&self, service: &str) -> Option<&'p PolicyEntry> {
        self.place(service).map(|place| self.ranked[place])
    }

    /// The place of the first policy that covers every name with this beginning.
    pub fn throughout(&self, beginning: &str) -> Option<usize> {
        self.everywhere.first().into_iter().chain(self.by_beginning.of(beginning)).copied().min()
    }

    /// Places of the policies that name services with this beginning, or longer beginnings.
    pub fn within(&self, beginning: &str) -> impl Iterator<Item = usize> {
        let from = (Bound::Included(beginning), Bound::Unbounded);
        let named = self.by_name.range::<str, _>(from).take_while(move |(name, _)| name.starts_with(beginning));
        named.flat_map(|(_, places)| places).chain(self.by_beginning.within(beginning)).copied()
    }

    /// Places of the policies that may decide about a name with this beginning; `None`: about some of them nobody does.
    pub fn deciding(&self, beginning: &str) -> Option<impl Iterator<Item = usize>> {
        let everywhere = self.throughout(beginning)?;
        Some(self.within(beginning).filter(move |place| *place < everywhere).chain([everywhere]))
    }

    /// Every name and beginning of a name that selectors hold, in no order, with the place of its policy.
    pub fn told(&self) -> impl Iterator<Item = (&'p str, usize)> {
        let named = self.by_name.iter().flat_map(|(name, places)| places.iter().map(|place| (*name, *place)));
        named.chain(self.by_beginning.all().map(|(beginning, place)| (beginning, *place)))
    }

    /// Tells each policy which of `services`, in their order, it covers and lost, and to whom.
    pub fn tell_losers<'s>(&self, services: impl Iterator<Item = &'s str>, plan: &mut Plan) {
        let mut lost: Vec<(BTreeMap<String, String>, usize)> = vec![Default::default(); self.ranked.len()];
        for service in services {
            let covering = self.covering(service);
            let Some((first, losers)) = covering.split_first() else { continue };
            for loser in losers {
                let (named, more) = &mut lost[*loser];
                if named.len() < MAX_LOST {
                    named.insert(service.to_owned(), self.ranked[*first].owner.clone());
                } else {
                    *more += 1;
                }
            }
        }
        for (policy, (named, more)) in self.ranked.iter().zip(lost).filter(|(_, (named, _))| !named.is_empty()) {
            let part = plan.policies.entry(policy.owner.clone()).or_default();
            part.lost = named;
            part.lost_more = more;
        }
    }

    /// Places of the policies that cover `service`, ascending.
    fn covering(&self, service: &str) -> Vec<usize> {
        let named = self.by_name.get(service).into_iter().flatten();
        let others = named.chain(self.by_beginning.of(service));
        let mut places: Vec<usize> = self.everywhere.iter().chain(others).copied().collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Approval;
    use crate::retention::Settings;
    use crate::selector::ServiceSelector;

    fn policy(owner: &str, priority: i32, names: &[&str], prefixes: &[&str]) -> PolicyEntry {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        PolicyEntry {
            owner: owner.to_owned(),
            uid8: "00000001".to_owned(),
            priority,
            selector: ServiceSelector { names: set(names), prefixes: set(prefixes) },
            settings: Settings { expiration_days: Some(30), ..Settings::default() },
            approval: Approval::Never,
            approved_plans: Default::default(),
            windows: Vec::new(),
            programmed: None,
            observe_only: false,
            removal: None,
        }
    }

    #[test]
    fn the_winner_is_found_by_name_by_beginning_and_everywhere() {
        let policies = [
            policy("all", 0, &[], &[]),
            policy("late", 0, &[], &["pay"]),
            policy("pay", 1, &["web"], &["pay-", "p"]),
            policy("one", 2, &["pay-x"], &["q"]),
            PolicyEntry { removal: Some(crate::retention::Removal::Orphan), ..policy("left", 9, &[], &[]) },
        ];
        let winners = Winners::new(&policies);
        let winner = |service: &str| winners.winner(service).map(|policy| policy.owner.as_str());
        for (service, owner) in [
            ("a", "all"),
            ("pay", "pay"),
            ("pay-y", "pay"),
            ("pay-x", "one"),
            ("web", "pay"),
            ("webs", "all"),
            ("qq", "one"),
        ] {
            assert_eq!(winner(service), Some(owner), "{service}");
        }
        let throughout = |beginning: &str| winners.throughout(beginning).map(|place| winners.at(place).owner.as_str());
        assert_eq!((throughout("pay-x"), throughout("w"), throughout("p")), (Some("pay"), Some("all"), Some("pay")));
        let within: Vec<&str> = winners.within("pay").map(|place| winners.at(place).owner.as_str()).collect();
        assert_eq!(within, ["one", "late", "pay"]);
        assert!(Winners::new(&policies[3..]).winner("a").is_none());
    }

    #[test]
    fn of_many_services_that_a_policy_lost_it_names_some_and_counts_the_rest() {
        let policies = [policy("wins", 1, &[], &["s"]), policy("loses", 0, &[], &[])];
        let services: Vec<String> = (0..60).map(|i| format!("s{i:02}")).collect();
        let mut plan = Plan { write: None, policies: BTreeMap::new(), blocked: None, next_look_seconds: 0 };
        Winners::new(&policies).tell_losers(services.iter().map(String::as_str), &mut plan);
        let lost = &plan.policies["loses"];
        assert_eq!((lost.lost.len(), lost.lost_more, plan.policies.len()), (50, 10, 1));
        assert_eq!(lost.lost.first_key_value(), Some((&"s00".to_owned(), &"wins".to_owned())));
    }
}
