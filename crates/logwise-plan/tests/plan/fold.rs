//! Properties of rules that services share, against the model of ageing.

mod buckets;
mod happenings;

use crate::NOW;
use crate::ageing::losses_of;
use crate::world::lost_no_rule;
pub use buckets::is_folded;
use buckets::{Bucket, any_bucket, change, objects_of, plain, seen, universe};
use happenings::happening;
use logwise_plan::retention::{
    Approval, ApprovalRequest, Blocked, Decision, Folding, MAX_RULES, ObservedRule, Plan, PolicyEntry, Reach, Rule,
    RuleGroup, Settings, WriteRules, fold_id, fold_prefix, rule_id, service_prefix,
};
use logwise_plan::selector::ServiceSelector;
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shared_rules_end_nothing_earlier_than_the_policies_say(mut bucket in plain()) {
        let plan = bucket.step();
        bucket.assert_as_wanted(&plan);
        prop_assert_eq!(bucket.checked().write, None);
    }

    #[test]
    fn nor_do_they_after_any_changes(mut bucket in plain(), changes in prop::collection::vec(change(), 1..4)) {
        bucket.step();
        for change in changes {
            bucket.change(change);
            let mut plan = bucket.step();
            bucket.assert_as_wanted(&plan);
            for _ in 0..2 {
                if may_go_on(&bucket, &plan) {
                    plan = bucket.step();
                    bucket.assert_as_wanted(&plan);
                }
            }
            prop_assert_eq!(bucket.checked().write, None);
        }
    }

    #[test]
    fn nobody_loses_what_was_not_approved_and_one_write_is_enough(
        mut bucket in any_bucket(),
        happenings in prop::collection::vec(happening(), 1..6),
    ) {
        for happening in happenings {
            bucket.undergo(happening);
            let mut plan = step(&mut bucket)?;
            for _ in 0..2 {
                if may_go_on(&bucket, &plan) {
                    plan = step(&mut bucket)?;
                }
            }
            prop_assert_eq!(bucket.checked().write, None, "a second look writes again");
        }
    }

    #[test]
    fn no_shared_rule_comes_over_what_an_observer_decides_about(bucket in any_bucket()) {
        let names = universe();
        for rule in bucket.checked().write.unwrap_or_default().add {
            let observed = |name: &&String| bucket.winner(name).is_some_and(|entry| entry.observe_only);
            let reached = names.iter().filter(|name| service_prefix("logs/", name).starts_with(&rule.prefix));
            prop_assert_eq!(reached.filter(observed).count(), 0, "{}", rule.prefix);
        }
    }

    #[test]
    fn while_services_are_unknown_shared_rules_stay_as_they_are(mut bucket in plain()) {
        bucket.step();
        bucket.observed.services = Known::Unknown("timed out".to_owned());
        prop_assert_eq!(bucket.checked().write, None);
    }

    #[test]
    fn the_order_of_rules_and_policies_does_not_matter(mut bucket in any_bucket(), by in 0..3usize) {
        let plan = bucket.plan();
        if let Known::Known(document) = &mut bucket.observed.document {
            document.rules.reverse();
        }
        let len = bucket.policy.policies.len();
        bucket.policy.policies.rotate_left(by % len);
        prop_assert_eq!(bucket.plan(), plan);
    }

    #[test]
    fn nothing_is_shared_unless_it_is_asked_for_and_needed(mut bucket in plain(), roomy in any::<bool>()) {
        bucket.policy.fold = if roomy { Folding::WhenNeeded } else { Folding::Never };
        if let Known::Known(document) = &mut bucket.observed.document {
            document.rules.truncate(if roomy { 100 } else { MAX_RULES });
        }
        bucket.step();
        prop_assert!(!bucket.rules().iter().any(is_folded));
    }
}

/// Puts a plan through; fails if what is written ends an object of any name earlier than the policies say, or if it costs
/// anybody an object that was not approved.
fn step(bucket: &mut Bucket) -> Result<Plan, TestCaseError> {
    let before = bucket.clone();
    let plan = bucket.step();
    let names = universe();
    let added = plan.write.iter().flat_map(|write| &write.add).map(|rule| Reach::over(&rule.prefix, &rule.settings));
    let early = losses_of(&objects_of(&names), &before.wanted(&names), &added.collect::<Vec<_>>());
    prop_assert!(early.is_empty(), "{early:?} go earlier than the policies say");
    let kept: Vec<String> = before.maybe_found().filter(|name| !may_go(&before, &plan, name)).collect();
    let lost = losses_of(&objects_of(&kept), &before.in_force(), &bucket.in_force());
    prop_assert!(lost.is_empty(), "{lost:?}");
    Ok(plan)
}

/// Whether a plan that was put through may change what the next one finds to do. Approved services that found no room make
/// another plan without those that did: it waits, and takes no room. A service that nobody found is forgotten with its
/// last rule: without it there may be room for all. What is asked for now may have been approved before.
fn may_go_on(bucket: &Bucket, plan: &Plan) -> bool {
    let next = bucket.plan();
    let services = |plan: &Plan| plan.policies.values().flat_map(|part| part.services.keys().cloned()).collect();
    let (before, after): (BTreeSet<String>, BTreeSet<String>) = (services(plan), services(&next));
    let forgets = before != after && bucket.rules().iter().any(is_folded);
    let approved = |plan: &Plan| {
        let requests = plan.policies.values().filter_map(|part| part.approval.as_ref());
        requests.filter(|request| request.approved).map(|request| request.plan_id.clone()).collect()
    };
    let (before, after): (BTreeSet<String>, BTreeSet<String>) = (approved(plan), approved(&next));
    forgets || !after.is_subset(&before) || matches!(plan.blocked, Some(Blocked::TooManyRules { .. }))
}

/// Whether objects of a service may go earlier by this plan, by what policies and plan say.
fn may_go(bucket: &Bucket, plan: &Plan, service: &str) -> bool {
    let Some(entry) = bucket.winner(service) else { return false };
    let request = plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
    let names = |request: &ApprovalRequest| request.entries.iter().any(|change| change.service == service);
    let is_approved = request.is_some_and(|request| request.approved && names(request));
    let oldest = bucket.observed.oldest.get(service).and_then(Known::known);
    let is_younger = entry.programmed.zip(oldest).is_some_and(|(since, oldest)| since < *oldest);
    let versions_stay = entry.settings.noncurrent_days.is_none() || bucket.observed.unversioned;
    let known = (&bucket.policy, &bucket.observed);
    let lost_none = oldest.is_some_and(|oldest| lost_no_rule(known, (&entry.owner, service), *oldest));
    match entry.approval {
        Approval::Never => true,
        Approval::DestructiveOnly => is_approved || (is_younger && versions_stay && lost_none),
        Approval::Always => is_approved,
    }
}

/// A fault put into a write.
type Planted<'a> = &'a dyn Fn(&mut WriteRules);

/// A change of a bucket.
type Changed<'a> = &'a dyn Fn(&mut Bucket);

#[test]
fn the_buckets_of_these_properties_share_rules() {
    let mut runner = TestRunner::deterministic();
    let (mut folded, mut fit) = (0, 0);
    for _ in 0..100 {
        let mut bucket = plain().new_tree(&mut runner).unwrap().current();
        let plan = bucket.step();
        folded += usize::from(bucket.rules().iter().any(is_folded));
        fit += usize::from(bucket.rules().iter().any(is_folded) && plan.blocked.is_none());
    }
    assert!(folded > 15 && fit > 8, "{folded} of 100 buckets share rules, in {fit} of them all services fit");
}

fn everything(days: i32) -> PolicyEntry {
    PolicyEntry {
        owner: "lab.shop.all".to_owned(),
        uid8: "00000001".to_owned(),
        priority: 0,
        selector: ServiceSelector::default(),
        settings: Settings { expiration_days: Some(days), ..Settings::default() },
        approval: Approval::Never,
        approved_plans: BTreeSet::new(),
        windows: Vec::new(),
        programmed: None,
        observe_only: false,
        removal: None,
    }
}

/// Services of 26 teams, as many as there are.
fn many(count: usize) -> BTreeSet<String> {
    let team = |i: usize| char::from(b'a' + u8::try_from(i % 26).unwrap());
    (0..count).map(|i| format!("{}-team-{i:05}", team(i))).collect()
}

#[test]
fn more_services_than_rules_share_as_few_as_is_needed_over_as_few_names_as_can_be() {
    let mut bucket = Bucket::new(vec![everything(30)], many(1_020), MAX_RULES);
    let plan = bucket.checked();
    bucket.carry_out(&plan);
    assert_eq!(plan.blocked, None);
    let folded: Vec<_> = bucket.rules().iter().filter(|rule| is_folded(rule)).collect();
    assert_eq!(folded.len(), 1, "40 services of one team are enough");
    assert_eq!(bucket.rules().len(), 1_020 - 39);
    let prefix = &folded[0].meaning.as_ref().unwrap().prefix;
    assert_eq!(prefix, "logs/service_name=a-team-0", "the longest text with which all their names begin");
    assert!(plan.policies["lab.shop.all"].services.values().all(|decision| *decision == Decision::Write));
    assert_eq!(bucket.plan().write, None);
    // At the limit nothing changes, whoever comes and goes; with much room each service has its own rule again.
    for (count, shared) in [(1_000, true), (950, true), (1_010, true), (880, false)] {
        bucket.observed.services = Known::Known(many(count));
        if let Known::Known(document) = &mut bucket.observed.document {
            let found = many(count);
            let left = |name: &str| found.contains(name);
            document.rules.retain(|rule| is_folded(rule) || served(rule).is_some_and(left));
        }
        let plan = bucket.plan();
        bucket.carry_out(&plan);
        assert_eq!(bucket.rules().iter().any(is_folded), shared, "{count} services");
    }
}

/// The service that a rule is for.
fn served(rule: &ObservedRule) -> Option<&str> {
    rule.meaning.as_ref()?.prefix.strip_prefix("logs/service_name=")?.strip_suffix('/')
}

#[test]
fn ten_thousand_services_have_a_few_rules() {
    let mut bucket = Bucket::new(vec![everything(30)], many(10_000), 100);
    let plan = bucket.plan();
    assert_eq!(plan.blocked, None);
    bucket.carry_out(&plan);
    assert!(bucket.rules().len() <= MAX_RULES, "{}", bucket.rules().len());
    assert_eq!(bucket.plan().write, None);
    let selector = ServiceSelector { names: ["b-team-00001".to_owned()].into(), ..ServiceSelector::default() };
    let owner = "lab.shop.longer".to_owned();
    bucket.policy.policies.push(PolicyEntry { owner, selector, priority: 1, ..everything(365) });
    let plan = bucket.plan();
    assert_eq!(plan.blocked, None);
    let write = plan.write.unwrap();
    let reaches = |prefix: &str| service_prefix("logs/", "b-team-00001").starts_with(prefix);
    let longer: Vec<_> = write.add.iter().filter(|rule| reaches(&rule.prefix)).collect();
    assert!(longer.len() == 1 && longer[0].settings.expiration_days == Some(365), "{longer:?}");
}

#[test]
fn bad_shared_rules() {
    let services = ["pay-a", "pay-b", "pay-c", "web"].map(str::to_owned).into();
    let observer = PolicyEntry {
        owner: "lab.shop.sees".to_owned(),
        selector: ServiceSelector { names: ["web".to_owned()].into(), ..ServiceSelector::default() },
        priority: 1,
        observe_only: true,
        ..everything(10)
    };
    let bucket = Bucket::new(vec![everything(30), observer], services, 1);
    let good = bucket.checked();
    assert_eq!(good.write.as_ref().map(|write| write.add.len()), Some(1));
    let found = |bucket: &Bucket, spoil: &dyn Fn(&mut WriteRules)| {
        let mut plan = good.clone();
        spoil(plan.write.as_mut().unwrap());
        checks::retention::violations(&bucket.policy, &bucket.observed, &plan, NOW)
    };
    let over = |beginning: &str| {
        let (id, prefix) = (fold_id("lab.shop.all", "00000001", beginning), fold_prefix("logs/", beginning));
        move |write: &mut WriteRules| (write.add[0].id, write.add[0].prefix) = (id.clone(), prefix.clone())
    };
    let expires = |days| move |write: &mut WriteRules| write.add[0].settings.expiration_days = Some(days);
    let planted: [(&str, Planted<'_>); 8] = [
        ("what a policy only observes", &over("w")),
        ("fewer than two services", &over("pay-a")),
        ("not exactly that of one service", &|write| write.add[0].id = rule_id("lab.shop.all", "00000001", "pay-")),
        ("does something else than its policy says", &expires(31)),
        ("earlier than the policies say", &expires(29)),
        ("does something else than to end objects", &|write| write.add[0].settings.noncurrent_days = Some(1)),
        ("not of the policy as it is", &|write| write.add[0].id = fold_id("lab.shop.all", "00000002", "pay-")),
        ("may not write now", &|write| write.add[0].id = fold_id("lab.shop.sees", "00000001", "pay-")),
    ];
    for (text, spoil) in planted {
        let found = found(&bucket, spoil);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text:?} is not among {found:#?}");
    }
    let with = |change: &dyn Fn(&mut Bucket)| {
        let mut changed = bucket.clone();
        change(&mut changed);
        found(&changed, &|_| ())
    };
    let longer = |bucket: &mut Bucket| {
        let selector = ServiceSelector { names: ["pay-never-seen".to_owned()].into(), ..ServiceSelector::default() };
        let owner = "lab.shop.longer".to_owned();
        bucket.policy.policies.push(PolicyEntry { owner, selector, priority: 1, ..everything(31) });
    };
    let short = |bucket: &mut Bucket| {
        let Known::Known(document) = &mut bucket.observed.document else { unreachable!("it has a configuration") };
        document.rules.truncate(900);
    };
    let changes: [(&str, Changed<'_>); 6] = [
        ("earlier than the policies say", &longer),
        ("although rules shall not be", &|bucket| bucket.policy.fold = Folding::Never),
        ("nobody knows all services", &|bucket| bucket.observed.services = Known::Absent),
        ("although there is room", &short),
        ("touches protected keys", &|bucket| bucket.policy.checkpoint_prefix = "logs/service_name=pay-x/c/".to_owned()),
        ("without approval", &|bucket| bucket.policy.policies[0].approval = Approval::DestructiveOnly),
    ];
    for (text, change) in changes {
        let found = with(change);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text:?} is not among {found:#?}");
    }
}

/// A bucket of two services under a shared rule of one policy, and one more policy.
fn shared_by_two(first: PolicyEntry, second: PolicyEntry) -> Bucket {
    let id = fold_id(&first.owner, &first.uid8, "pay-");
    let rule = seen(&id, &fold_prefix("logs/", "pay-"), &everything(30).settings);
    let mut bucket = Bucket::new(vec![first, second], ["pay-a", "pay-b"].map(str::to_owned).into(), 1);
    if let Known::Known(document) = &mut bucket.observed.document {
        document.rules.push(rule);
    }
    bucket
}

#[test]
fn bad_removals_of_shared_rules() {
    let other = || PolicyEntry { owner: "lab.shop.other".to_owned(), priority: 1, ..everything(60) };
    let of_one = ServiceSelector { names: ["pay-a".to_owned()].into(), ..ServiceSelector::default() };
    let always = shared_by_two(PolicyEntry { approval: Approval::Always, ..everything(30) }, other());
    let observed = shared_by_two(
        PolicyEntry { observe_only: true, ..everything(30) },
        PolicyEntry { selector: of_one, ..other() },
    );
    let in_place = || Rule {
        id: fold_id("lab.shop.other", "00000001", "pay-"),
        prefix: fold_prefix("logs/", "pay-"),
        settings: everything(60).settings,
    };
    for (bucket, add, text) in [
        (&always, vec![in_place()], "removes a rule without approval"),
        (&always, Vec::new(), "removes a rule without approval"),
        (&observed, Vec::new(), "may not change any now"),
    ] {
        let mut plan = bucket.checked();
        let remove = [fold_id("lab.shop.all", "00000001", "pay-")].into();
        plan.write = Some(WriteRules { assumes: Some("v".to_owned()), remove, add });
        let found = checks::retention::violations(&bucket.policy, &bucket.observed, &plan, NOW);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text:?} is not among {found:#?}");
    }
}

#[test]
fn too_many_rules_names_who_has_most() {
    let services = ["a", "b", "c"].map(str::to_owned).into();
    let mut bucket = Bucket::new(vec![everything(30)], services, 2);
    if let Known::Known(document) = &mut bucket.observed.document {
        document.rules[0].id = None;
        for (place, id) in ["prod.x/y", "logwise.io/lab.shop.gone/00000001/14c2529eb4498c5d", "x1"].iter().enumerate() {
            document.rules[place + 1].id = Some((*id).to_owned());
        }
    }
    let Some(Blocked::TooManyRules { foreign, ours, others, policies, fold }) = bucket.checked().blocked else {
        panic!("three rules do not fit")
    };
    assert_eq!((foreign, ours, fold), (998, 3, Folding::WhenNeeded));
    let shown =
        |groups: &[RuleGroup]| groups.iter().map(|group| format!("{} {}", group.rules, group.name)).collect::<Vec<_>>();
    assert_eq!(shown(&others), ["994 theirs-", "1 ", "1 logwise.io/lab.shop.gone/", "1 prod.", "1 x"]);
    assert_eq!(shown(&policies), ["3 lab.shop.all"]);
}
