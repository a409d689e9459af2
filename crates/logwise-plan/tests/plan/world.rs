//! Small random buckets and what a write does to them.

use crate::NOW;
use crate::ageing::{reach, uncounted};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::change::Window;
use logwise_plan::retention::{
    Approval, Document, EVERY_SERVICE, Folding, Meaning, Observed, ObservedRule, Plan, Policy, PolicyEntry, Reach,
    Removal, Settings, Transition, WriteRules, bares, fold_id, fold_prefix, is_owned_by, plan, rule_id, service_prefix,
};
use logwise_plan::selector::ServiceSelector;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Services of the small buckets; `zz` is never found, it only has rules.
pub const SERVICES: [&str; 6] = ["a", "ab", "b", "pay", "pay-x", "zz"];

/// Names from which no prefix can be made that matches one service only.
pub const BAD_SERVICES: [&str; 3] = ["", "a/b", "/"];

/// A bucket: what is asked of it, what a look finds, and what its rules truly do.
#[derive(Clone, Debug)]
pub struct World {
    pub policy: Policy,
    pub observed: Observed,
    /// What each observed rule does, in the order of the document.
    pub truth: Vec<Reach>,
}

impl World {
    pub fn plan(&self) -> Plan {
        plan(&self.policy, &self.observed, NOW)
    }

    /// What the rules really in force do.
    pub fn in_force(&self) -> Vec<Reach> {
        self.truth.iter().filter(|rule| rule.enabled).cloned().collect()
    }

    /// Services that came, with all their objects, after the policy that decides about them was wholly in force.
    pub fn newcomers(&self) -> BTreeSet<String> {
        let plan = self.plan();
        let oldest = self.observed.oldest.iter().filter_map(|(service, oldest)| Some((service, oldest.known()?)));
        let is_new = |service: &str, oldest: Timestamp| {
            let decides = |entry: &&PolicyEntry| plan.policies[&entry.owner].services.contains_key(service);
            self.policy.policies.iter().find(decides).is_some_and(|entry| {
                let versions_stay = entry.settings.noncurrent_days.is_none() || self.observed.unversioned;
                versions_stay
                    && lost_no_rule((&self.policy, &self.observed), (&entry.owner, service), oldest)
                    && entry.programmed.is_some_and(|since| since < oldest)
            })
        };
        oldest.filter(|(service, oldest)| is_new(service, **oldest)).map(|(service, _)| service.clone()).collect()
    }

    pub fn rules(&self) -> &[ObservedRule] {
        self.observed.document.known().map_or(&[], |document| &document.rules)
    }

    /// The bucket after the write, as the next look finds it.
    pub fn apply(&self, write: &WriteRules) -> Self {
        assert_eq!(write.assumes.as_ref(), self.observed.document.known().map(|d| &d.version), "the write is stale");
        let goes = |rule: &ObservedRule| rule.id.as_ref().is_some_and(|id| write.remove.contains(id));
        let stay = self.rules().iter().cloned().zip(self.truth.iter().cloned()).filter(|(rule, _)| !goes(rule));
        let come = write.add.iter().map(|rule| {
            let meaning = Some(Meaning { prefix: rule.prefix.clone(), settings: rule.settings.clone() });
            let seen = ObservedRule { id: Some(rule.id.clone()), meaning, reach: None };
            (seen, Reach::over(&rule.prefix, &rule.settings))
        });
        let (rules, truth): (Vec<_>, Vec<_>) = stay.chain(come).unzip();
        let version = format!("{:?}", (&rules, &truth));
        let mut next = Self { truth, ..self.clone() };
        let bared = bares(self.observed.document.known(), write);
        next.policy.bared.extend(bared.into_iter().map(|key| (key, later())));
        next.observed.lost.retain(|id| write.add.iter().all(|rule| rule.id != *id));
        next.observed.document = Known::Known(Document { version, rules, not_preservable: None });
        next
    }

    /// The bucket after the planned write, if there is one.
    pub fn step(&self) -> Self {
        self.plan().write.map_or_else(|| self.clone(), |write| self.apply(&write))
    }

    /// Approves what the policies with these places in the list now ask for.
    pub fn approve(mut self, which: impl Fn(usize) -> bool) -> Self {
        let plan = self.plan();
        for (place, entry) in self.policy.policies.iter_mut().enumerate() {
            let request = plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
            entry.approved_plans.extend(request.filter(|_| which(place)).map(|request| request.plan_id.clone()));
        }
        self
    }
}

/// Whether a service lost no rule since its oldest object was made, neither its own nor one that it shared, nor one to
/// somebody else, but those of `owner`; as far as that is remembered.
pub fn lost_no_rule(
    (policy, observed): (&Policy, &Observed),
    (owner, service): (&str, &str),
    oldest: Timestamp,
) -> bool {
    let key = |id: &str| id.split('/').next_back().map(str::to_owned).unwrap_or_default();
    let shared = (1..=service.len()).map(|end| fold_id("", "", &service[..end]));
    let ids = shared.chain([rule_id("", "", service), EVERY_SERVICE.to_owned()]);
    let keys: BTreeSet<String> = ids.map(|id| key(&id)).collect();
    let mut of_others = observed.lost.iter().filter(|id| !is_owned_by(id, owner));
    policy.bared.iter().all(|(key, at)| !keys.contains(key) || *at < oldest)
        && !of_others.any(|id| keys.contains(&key(id)))
}

/// The owner part of the rule ids of policy `place`. No policy has place 4: its rules are foreign.
pub fn owner(place: usize) -> String {
    format!("lab.shop.p{place}")
}

prop_compose! {
    /// What a policy may ask for.
    pub fn settings()(
        expiration_days in prop::option::weighted(0.8, 1..13),
        noncurrent_days in prop::option::weighted(0.3, 1..7),
        abort_multipart_days in prop::option::weighted(0.2, 1..3),
        moves in prop::bool::weighted(0.2),
    ) -> Settings {
        let archive = moves.then(|| Transition { days: 0, storage_class: "GLACIER_IR".to_owned() });
        Settings { expiration_days, transitions: archive.into_iter().collect(), abort_multipart_days, noncurrent_days }
    }
}

fn selector() -> impl Strategy<Value = ServiceSelector> {
    let names = prop::sample::subsequence(SERVICES.to_vec(), 1..3).prop_map(|names| ServiceSelector {
        names: names.into_iter().map(str::to_owned).collect(),
        ..ServiceSelector::default()
    });
    let prefix = ServiceSelector { prefixes: ["pay".to_owned()].into(), ..ServiceSelector::default() };
    prop_oneof![3 => Just(ServiceSelector::default()), 2 => names, 1 => Just(prefix)]
}

prop_compose! {
    fn entry(place: usize)(
        uid8 in uid8(),
        priority in 0..3i32,
        selector in selector(),
        settings in settings(),
        approval in prop_oneof![
            3 => Just(Approval::DestructiveOnly), 1 => Just(Approval::Never), 1 => Just(Approval::Always),
        ],
        windows in windows(),
        programmed in prop::option::weighted(0.4, second()),
        observe_only in prop::bool::weighted(0.2),
        removal in prop_oneof![
            6 => Just(None), 1 => Just(Some(Removal::RemoveRules)), 1 => Just(Some(Removal::Orphan)),
        ],
    ) -> PolicyEntry {
        let (owner, approved_plans) = (owner(place), BTreeSet::new());
        PolicyEntry {
            owner,
            uid8,
            priority,
            selector,
            settings,
            approval,
            approved_plans,
            windows,
            programmed,
            observe_only,
            removal,
        }
    }
}

/// Windows of which, at the time of all plans, none, some or all are open.
fn windows() -> impl Strategy<Value = Vec<Vec<Window>>> {
    let window = |schedule| Window::new("w", schedule, 30, "UTC").unwrap();
    let (open, shut, tomorrow) = (window("0 0 * * *"), window("0 12 * * *"), window("0 0 2 * *"));
    prop_oneof![
        5 => Just(Vec::new()),
        1 => Just(vec![vec![open.clone()]]),
        1 => Just(vec![vec![shut.clone()]]),
        1 => Just(vec![vec![shut.clone(), open.clone()], vec![]]),
        1 => Just(vec![vec![open], vec![tomorrow]]),
    ]
}

/// When whatever is written now has arrived: after each object was made.
pub fn later() -> Timestamp {
    Timestamp::from_second(9).unwrap()
}

/// Seconds around the time of all plans.
pub fn second() -> impl Strategy<Value = Timestamp> {
    (-2..3i64).prop_map(|second| Timestamp::from_second(second).unwrap())
}

/// When the oldest objects of the services were made, as far as anybody knows.
fn oldest() -> impl Strategy<Value = BTreeMap<String, Known<Timestamp>>> {
    let one = prop_oneof![
        6 => second().prop_map(|second| Some(Known::Known(second))),
        1 => Just(Some(Known::Absent)),
        1 => Just(Some(Known::Unknown("more objects than were listed".to_owned()))),
        2 => Just(None),
    ];
    prop::collection::vec(one, SERVICES.len()).prop_map(|all| {
        let named = SERVICES.iter().zip(all).filter_map(|(service, oldest)| Some(((*service).to_owned(), oldest?)));
        named.collect()
    })
}

fn uid8() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["00000001".to_owned(), "00000002".to_owned()])
}

/// A rule and what it truly does.
fn rule() -> impl Strategy<Value = (ObservedRule, Reach)> {
    let service = prop::sample::select(SERVICES.to_vec());
    let odd = prop::sample::select(vec![
        "",
        "logs/",
        "logs/service_name=",
        "logs/service_name=a",
        "logs/service_name=a/year=2024/",
        "logs/service_name=/",
        "logs/_spark_metadata/",
        "checkpoint/",
        "archive/",
    ]);
    let kinds = (0..5usize, uid8(), service.clone(), service, odd, settings(), 0..26u32, reach());
    kinds.prop_map(|(place, uid8, service, other, odd, settings, dice, reach)| {
        let id = match dice {
            0 | 20 => None,
            1 | 21..24 => Some(format!("theirs-{service}")),
            2 => Some(format!("logwise.io/{}/{service}", owner(place))),
            // A shared one.
            18 | 19 => Some(fold_id(&owner(place), &uid8, &service[..1])),
            _ => Some(rule_id(&owner(place), &uid8, service)),
        };
        let prefix = match dice {
            0..8 => service_prefix("logs/", other),
            8..10 => odd.to_owned(),
            18 | 19 => fold_prefix("logs/", &service[..1]),
            _ => service_prefix("logs/", service),
        };
        let truth = Reach::over(&prefix, &settings);
        match dice {
            // Nobody understands it.
            5 | 10 => (ObservedRule { id, ..ObservedRule::default() }, truth),
            // Somebody disabled it.
            11 => (ObservedRule { id, ..ObservedRule::default() }, Reach { enabled: false, ..truth }),
            // It has a shape that we never write: one of others, or one of ours that somebody changed.
            20.. => (ObservedRule { id, meaning: None, reach: Some(reach.clone()) }, reach),
            _ => (ObservedRule { id, meaning: Some(Meaning { prefix, settings }), reach: None }, truth),
        }
    })
}

fn rules() -> impl Strategy<Value = Vec<(ObservedRule, Reach)>> {
    prop::collection::vec(rule(), 0..9).prop_map(|mut rules| {
        // S3 refuses a configuration that uses an id twice.
        let mut ids = BTreeSet::new();
        rules.retain(|(rule, _)| rule.id.as_ref().is_none_or(|id| ids.insert(id.clone())));
        uncounted(rules.iter_mut().map(|(_, truth)| truth));
        for (rule, truth) in rules.iter_mut().filter(|(rule, _)| rule.reach.is_some()) {
            rule.reach = Some(truth.clone());
        }
        rules
    })
}

fn services() -> impl Strategy<Value = Known<BTreeSet<String>>> {
    let names = [&SERVICES[..5], &BAD_SERVICES].concat();
    let found = prop::sample::subsequence(names, 0..8)
        .prop_map(|names| Known::Known(names.into_iter().map(str::to_owned).collect()));
    prop_oneof![8 => found, 1 => Just(Known::Absent), 1 => Just(Known::Unknown("timed out".to_owned()))]
}

/// When a write took a rule away and put none in its place, by the last part of its id; and a rule that somebody else took.
fn gone() -> impl Strategy<Value = (BTreeMap<String, Timestamp>, Option<String>)> {
    let service = || prop::sample::select(SERVICES.to_vec());
    let id = || {
        (0..5usize, uid8(), service(), any::<bool>()).prop_map(|(place, uid8, service, shared)| {
            if shared { fold_id(&owner(place), &uid8, &service[..1]) } else { rule_id(&owner(place), &uid8, service) }
        })
    };
    let key = id().prop_map(|id| id.split('/').next_back().map(str::to_owned).unwrap_or_default());
    let bared = prop_oneof![9 => key, 1 => Just(EVERY_SERVICE.to_owned())];
    let bared = prop::option::weighted(0.3, (bared, second())).prop_map(|bared| bared.into_iter().collect());
    (bared, prop::option::weighted(0.2, id()))
}

/// Any small bucket, with any of the approvals asked for given.
pub fn world() -> impl Strategy<Value = World> {
    let entries = (entry(0), entry(1), entry(2), entry(3), 0..5usize);
    let policies = entries.prop_map(|(a, b, c, d, len)| [a, b, c, d].into_iter().take(len).collect::<Vec<_>>());
    let checkpoint = prop_oneof![
        18 => Just("checkpoint/"), 2 => Just("logs/service_name=b/checkpoint/"), 1 => Just("logs/"),
    ];
    let document = prop_oneof![16 => Just("known"), 1 => Just("absent"), 1 => Just("unknown"), 2 => Just("odd"), 2 => Just("unclear")];
    let vanished = prop::option::weighted(0.3, prop::sample::subsequence(SERVICES.to_vec(), 1..4));
    let objects = (oldest(), any::<bool>(), vanished, gone());
    let fold = prop_oneof![3 => Just(Folding::Never), 1 => Just(Folding::WhenNeeded)];
    let parts = (policies, rules(), services(), checkpoint, document, objects, any::<[bool; 4]>(), fold);
    parts.prop_map(
        |(
            policies,
            rules,
            services,
            checkpoint,
            kind,
            (oldest, unversioned, vanished, (bared, lost)),
            approved,
            fold,
        )| {
            let (rules, truth): (Vec<_>, Vec<_>) =
                if kind == "absent" { Vec::new() } else { rules }.into_iter().unzip();
            let rules_ids: Vec<String> = rules.iter().filter_map(|rule: &ObservedRule| rule.id.clone()).collect();
            let not_preservable = (kind == "odd").then(|| "a rule has a comment".to_owned());
            let document = match kind {
                "absent" => Known::Absent,
                "unknown" => Known::Unknown("denied".to_owned()),
                _ => Known::Known(Document { version: "v1".to_owned(), rules, not_preservable }),
            };
            let policy = Policy {
                logs_prefix: "logs/".to_owned(),
                checkpoint_prefix: checkpoint.to_owned(),
                policies,
                unclear: (kind == "unclear")
                    .then(|| ("p9".to_owned(), "cannot be read".to_owned()))
                    .into_iter()
                    .collect(),
                fold,
                bared,
                look_period_seconds: 30,
                ..Policy::default()
            };
            let lost = lost.into_iter().filter(|lost| rules_ids.iter().all(|id| id != lost)).collect();
            let vanished = vanished.into_iter().flatten().map(str::to_owned).collect();
            let observed = Observed { vanished, lost, oldest, unversioned, ..Observed::new(services, document) };
            let world = World { policy, observed, truth };
            world.approve(|place| approved[place])
        },
    )
}

/// A bucket that has come to rest under policies that are all carried out and ask for approval. No approval is left
/// that could carry over to a later change, and none covers services that come later.
pub fn settled() -> impl Strategy<Value = World> {
    world().prop_map(|mut world| {
        for entry in &mut world.policy.policies {
            (entry.removal, entry.observe_only, entry.approval) = (None, false, Approval::DestructiveOnly);
            entry.windows.clear();
            entry.programmed = None;
        }
        world.policy.unclear.clear();
        if world.observed.document.known().is_none_or(|d| d.not_preservable.is_some()) {
            (world.observed.document, world.truth) = (Known::Absent, Vec::new());
        }
        for _ in 0..3 {
            world = world.approve(|_| true).step();
        }
        world.policy.policies.iter_mut().for_each(|entry| entry.approved_plans.clear());
        assert_eq!(world.plan().write, None, "must have come to rest");
        world
    })
}
