//! Small buckets that are nearly full, and what may happen to them.

use crate::NOW;
use crate::ageing::{Object, different, grid, losses_of};
use crate::world::{later, second};
use logwise_plan::change::Window;
use logwise_plan::retention::{
    Approval, Document, Folding, MAX_RULES, Meaning, Observed, ObservedRule, Plan, Policy, PolicyEntry, Reach, Removal,
    Settings, bares, owner_of, plan, service_prefix,
};
use logwise_plan::selector::ServiceSelector;
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Names of services that may be found.
pub const NAMES: [&str; 14] = ["a", "aa", "aab", "ab", "abb", "b", "b-a", "b-b", "ba", "bab", "c", "ca", "cb", "d"];

/// Names and beginnings of names in selectors: of services that are found, and of such that nobody has used yet.
const TOLD: [&str; 12] = ["a", "aa", "aab", "ac", "b", "b-", "ba", "bz", "c", "cb", "cz", "d"];

/// Keys of no service, which no rule of ours may end.
const NOBODY: [&str; 5] =
    ["logs/service_name=/x", "logs/_spark_metadata/0", "logs/x", "checkpoint/offsets/0", "archive/x"];

/// A bucket that is nearly full of rules of others, all of which do nothing.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub policy: Policy,
    pub observed: Observed,
}

impl Bucket {
    pub fn new(policies: Vec<PolicyEntry>, services: BTreeSet<String>, room: usize) -> Self {
        let theirs = |i| ObservedRule { id: Some(format!("theirs-{i}")), ..ObservedRule::default() };
        let rules = (0..MAX_RULES - room).map(theirs).collect();
        let document = Document { version: "v".to_owned(), rules, not_preservable: None };
        let policy = Policy {
            logs_prefix: "logs/".to_owned(),
            checkpoint_prefix: "checkpoint/".to_owned(),
            policies,
            fold: Folding::WhenNeeded,
            look_period_seconds: 30,
            ..Policy::default()
        };
        Self { policy, observed: Observed::new(Known::Known(services), Known::Known(document)) }
    }

    pub fn plan(&self) -> Plan {
        plan(&self.policy, &self.observed, NOW)
    }

    /// The plan, after the second pair of eyes has looked at it.
    pub fn checked(&self) -> Plan {
        let plan = self.plan();
        assert_eq!(checks::retention::violations(&self.policy, &self.observed, &plan, NOW), Vec::<String>::new());
        plan
    }

    pub fn rules(&self) -> &[ObservedRule] {
        self.observed.document.known().map_or(&[], |document| &document.rules)
    }

    pub fn found(&self) -> impl Iterator<Item = &str> {
        self.observed.services.known().into_iter().flatten().map(String::as_str)
    }

    /// Services that may have objects.
    pub fn maybe_found(&self) -> impl Iterator<Item = String> {
        let found = |name: &&str| self.observed.services.known().is_none_or(|found| found.contains(*name));
        NAMES.into_iter().filter(found).map(str::to_owned)
    }

    /// Puts the planned write through, after the second pair of eyes.
    pub fn step(&mut self) -> Plan {
        let plan = self.checked();
        self.carry_out(&plan);
        plan
    }

    /// Puts the write of a plan through. It is remembered from what it takes a rule, and what has lost one to somebody else
    /// until a write puts it back.
    pub fn carry_out(&mut self, plan: &Plan) {
        if let (Some(write), Known::Known(document)) = (&plan.write, &mut self.observed.document) {
            let bared = bares(Some(document), write).into_iter().map(|key| (key, later()));
            self.policy.bared.extend(bared);
            self.observed.lost.retain(|id| write.add.iter().all(|rule| rule.id != *id));
            document.rules.retain(|rule| !rule.id.as_ref().is_some_and(|id| write.remove.contains(id)));
            document.rules.extend(write.add.iter().map(|rule| seen(&rule.id, &rule.prefix, &rule.settings)));
        }
    }

    /// Approves whatever is asked for.
    pub fn approve(&mut self) {
        let plan = self.plan();
        for entry in &mut self.policy.policies {
            let request = plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
            entry.approved_plans.extend(request.map(|request| request.plan_id.clone()));
        }
    }

    /// What rules of policies that are there do.
    pub fn in_force(&self) -> Vec<Reach> {
        let owners: BTreeSet<&str> = self.policy.policies.iter().map(|entry| entry.owner.as_str()).collect();
        let ours = |rule: &&ObservedRule| {
            let owner = rule.id.as_deref().and_then(owner_of);
            owner.is_some_and(|owner| owners.contains(owner))
        };
        self.rules().iter().filter(ours).filter_map(|rule| rule.meaning.as_ref().map(Reach::from)).collect()
    }

    /// The policy that decides about a name, found by comparing each with each.
    pub fn winner(&self, name: &str) -> Option<&PolicyEntry> {
        let covers = |entry: &&PolicyEntry| entry.removal.is_none() && entry.selector.matches(name);
        let order = |entry: &&PolicyEntry| {
            let days = entry.settings.expiration_days.unwrap_or(i32::MAX);
            (entry.priority, days, std::cmp::Reverse(entry.owner.clone()))
        };
        self.policy.policies.iter().filter(covers).max_by_key(order)
    }

    /// What the policies say about each of these names: a rule of its own.
    pub fn wanted<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> Vec<Reach> {
        let rule = |name: &String| Some(Reach::over(&service_prefix("logs/", name), &self.winner(name)?.settings));
        names.into_iter().filter_map(rule).collect()
    }
}

/// A rule as it is found.
pub fn seen(id: &str, prefix: &str, settings: &Settings) -> ObservedRule {
    let meaning = Some(Meaning { prefix: prefix.to_owned(), settings: settings.clone() });
    ObservedRule { id: Some(id.to_owned()), meaning, reach: None }
}

pub fn is_folded(rule: &ObservedRule) -> bool {
    rule.meaning.as_ref().is_some_and(|meaning| !meaning.prefix.ends_with('/'))
}

/// Names of every kind: of services, in selectors, and near to each of these.
pub fn universe() -> BTreeSet<String> {
    let names = NAMES.into_iter().chain(TOLD).chain(["z"]);
    names.flat_map(|name| [name.to_owned(), format!("{name}z"), format!("{name}-x")]).collect()
}

/// Objects of several ages.
static AGES: LazyLock<Vec<Object>> =
    LazyLock::new(|| grid().into_iter().filter(|object| object.key == "y").step_by(9).collect());

fn objects_at(key: &str) -> Vec<Object> {
    AGES.iter().map(|object| Object { key: key.to_owned(), ..object.clone() }).collect()
}

pub fn objects_of<'n>(names: impl IntoIterator<Item = &'n String>) -> Vec<Object> {
    names.into_iter().flat_map(|name| objects_at(&format!("{}part-0", service_prefix("logs/", name)))).collect()
}

fn texts() -> impl Strategy<Value = BTreeSet<String>> {
    prop::sample::subsequence(TOLD.to_vec(), 1..3).prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn selector() -> impl Strategy<Value = ServiceSelector> {
    let none = || Just(BTreeSet::new());
    let kinds = prop_oneof![
        3 => (none(), none()),
        2 => (texts(), none()),
        3 => (none(), texts()),
        1 => (texts(), texts()),
    ];
    kinds.prop_map(|(names, prefixes)| ServiceSelector { names, prefixes })
}

fn settings() -> impl Strategy<Value = Settings> {
    let days = (1..9i32).prop_map(|days| Settings { expiration_days: Some(days), ..Settings::default() });
    let more = (prop::option::of(1..9i32), 1..5i32).prop_map(|(expiration_days, days)| Settings {
        expiration_days,
        noncurrent_days: Some(days),
        ..Settings::default()
    });
    let other = Just(Settings { abort_multipart_days: Some(2), ..Settings::default() });
    prop_oneof![8 => days, 1 => more, 1 => other]
}

prop_compose! {
    /// A policy that is carried out at once.
    fn plain_entry(place: usize)(
        priority in 0..3i32,
        selector in selector(),
        settings in settings(),
        uid in 1..3u8,
    ) -> PolicyEntry {
        PolicyEntry {
            owner: format!("lab.shop.p{place}"),
            uid8: format!("0000000{uid}"),
            priority,
            selector,
            settings,
            approval: Approval::Never,
            approved_plans: BTreeSet::new(),
            windows: Vec::new(),
            programmed: None,
            observe_only: false,
            removal: None,
        }
    }
}

prop_compose! {
    /// A policy of any kind.
    pub fn any_entry(place: usize)(
        entry in plain_entry(place),
        approval in prop_oneof![
            4 => Just(Approval::Never), 3 => Just(Approval::DestructiveOnly), 2 => Just(Approval::Always),
        ],
        shut in prop::bool::weighted(0.1),
        observe_only in prop::bool::weighted(0.1),
        removal in prop_oneof![
            18 => Just(None), 2 => Just(Some(Removal::RemoveRules)), 1 => Just(Some(Removal::Orphan)),
        ],
        programmed in prop::option::weighted(0.3, second()),
    ) -> PolicyEntry {
        let windows = if shut { vec![vec![Window::new("noon", "0 12 * * *", 30, "UTC").unwrap()]] } else { Vec::new() };
        PolicyEntry { approval, windows, observe_only, removal, programmed, ..entry }
    }
}

pub fn services() -> impl Strategy<Value = BTreeSet<String>> {
    let some = prop::sample::subsequence(NAMES.to_vec(), 4..NAMES.len());
    some.prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

/// A bucket whose policies are all carried out at once.
pub fn plain() -> impl Strategy<Value = Bucket> {
    let policies = (plain_entry(0), plain_entry(1), plain_entry(2), 1..4usize);
    (policies, services(), 2..8usize).prop_map(|((a, b, c, len), services, room)| {
        Bucket::new([a, b, c].into_iter().take(len).collect(), services, room)
    })
}

/// A bucket with any policies, some of them approved, at some point of their work.
pub fn any_bucket() -> impl Strategy<Value = Bucket> {
    let policies = (any_entry(0), any_entry(1), any_entry(2));
    (policies, services(), 2..8usize, 0..3usize).prop_map(|((a, b, c), services, room, steps)| {
        let mut bucket = Bucket::new(vec![a, b, c], services, room);
        for _ in 0..steps {
            bucket.approve();
            bucket.step();
        }
        bucket
    })
}

/// What somebody may do next.
#[derive(Clone, Debug)]
pub enum Change {
    Policy(PolicyEntry),
    Leave(usize),
    Services(BTreeSet<String>),
    Fold(Folding),
}

pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..3usize).prop_flat_map(plain_entry).prop_map(Change::Policy),
        1 => (0..3usize).prop_map(Change::Leave),
        2 => services().prop_map(Change::Services),
        1 => Just(Change::Fold(Folding::Never)),
    ]
}

impl Bucket {
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Policy(entry) => match self.policy.policies.iter_mut().find(|old| old.owner == entry.owner) {
                Some(old) => *old = PolicyEntry { approval: old.approval, ..entry },
                None => self.policy.policies.push(entry),
            },
            Change::Leave(place) => {
                if let Some(entry) = self.policy.policies.get_mut(place) {
                    entry.removal = Some(Removal::RemoveRules);
                }
            }
            Change::Services(services) => self.observed.services = Known::Known(services),
            Change::Fold(fold) => self.policy.fold = fold,
        }
    }

    /// Fails if the rules in force end an object of any name earlier than the policies say, or one of nobody; or, where
    /// there is room for all, later.
    pub fn assert_as_wanted(&self, plan: &Plan) {
        let names = universe();
        let (wanted, rules) = (self.wanted(&names), self.in_force());
        let nobody = NOBODY.into_iter().flat_map(objects_at);
        let objects: Vec<Object> = objects_of(&names).into_iter().chain(nobody).collect();
        let lost = losses_of(&objects, &wanted, &rules);
        assert!(lost.is_empty(), "{lost:?} go earlier than the policies say under {rules:?}");
        assert!(self.rules().len() <= MAX_RULES);
        if plan.blocked.is_none() {
            let found: Vec<String> = self.found().map(str::to_owned).collect();
            let other = different(&objects_of(&found), &wanted, &rules);
            assert!(other.is_empty(), "{other:?} do not live as long as the policies say under {rules:?}");
        }
    }
}
