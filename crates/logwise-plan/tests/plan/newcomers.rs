//! Services that come after their policy, look by look: a rule of ours that goes does not let another policy expire at once
//! what was kept under it.

use crate::NOW;
use crate::world::{World, world};
use jiff::Timestamp;
use logwise_plan::change::Approval;
use logwise_plan::retention::{
    Decision, Document, Meaning, Observed, ObservedRule, Plan, Policy, PolicyEntry, Reach, Removal, Rule, Settings,
    fold_id, fold_prefix, rule_id, service_prefix,
};
use logwise_plan::selector::ServiceSelector;
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ALL: &str = "lab.shop.all";
const AUDIT: &str = "lab.shop.audit";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn expires(days: i32) -> Settings {
    Settings { expiration_days: Some(days), ..Settings::default() }
}

/// A policy that has been in force since second 1: the model's writes arrive at second 9.
fn entry(owner: &str, days: i32) -> PolicyEntry {
    PolicyEntry {
        owner: owner.to_owned(),
        uid8: "00000001".to_owned(),
        priority: 0,
        selector: ServiceSelector::default(),
        settings: expires(days),
        approval: Approval::DestructiveOnly,
        approved_plans: BTreeSet::new(),
        windows: Vec::new(),
        programmed: Some(at(1)),
        observe_only: false,
        removal: None,
    }
}

fn rule(owner: &str, service: &str, days: i32) -> Rule {
    let (id, prefix) = (rule_id(owner, "00000001", service), service_prefix("logs/", service));
    Rule { id, prefix, settings: expires(days) }
}

/// A bucket with these rules: one policy ends everything after 7 days, and a stronger one what begins with `audit` after
/// 3,650. Its objects were made after both came into force, and before anything here is written.
fn bucket(rules: &[Rule]) -> World {
    let prefixes = BTreeSet::from(["audit".to_owned()]);
    let selector = ServiceSelector { prefixes, ..ServiceSelector::default() };
    let policy = Policy {
        logs_prefix: "logs/".to_owned(),
        checkpoint_prefix: "checkpoint/".to_owned(),
        policies: vec![entry(ALL, 7), PolicyEntry { priority: 100, selector, ..entry(AUDIT, 3_650) }],
        look_period_seconds: 60,
        ..Policy::default()
    };
    let services = BTreeSet::from(["audit".to_owned()]);
    let mut observed = Observed::new(Known::Known(services), Known::Absent);
    observed.oldest.insert("audit".to_owned(), Known::Known(at(5)));
    let mut world = World { policy, observed, truth: Vec::new() };
    found(&mut world, rules.iter().map(seen).collect());
    world
}

fn seen(rule: &Rule) -> ObservedRule {
    let meaning = Some(Meaning { prefix: rule.prefix.clone(), settings: rule.settings.clone() });
    ObservedRule { id: Some(rule.id.clone()), meaning, reach: None }
}

fn found(world: &mut World, rules: Vec<ObservedRule>) {
    let meant = |rule: &ObservedRule| rule.meaning.as_ref().map_or_else(Reach::default, Reach::from);
    world.truth = rules.iter().map(meant).collect();
    world.observed.document = Known::Known(Document { version: "v1".to_owned(), rules, not_preservable: None });
}

/// The plan, after the second pair of eyes has looked at it.
fn checked(world: &World) -> Plan {
    let plan = world.plan();
    assert_eq!(checks::retention::violations(&world.policy, &world.observed, &plan, NOW), Vec::<String>::new());
    plan
}

/// Whether a look writes nothing and asks about `audit`.
fn asks(world: &World) -> bool {
    let plan = checked(world);
    let decision = plan.policies[ALL].services.get("audit");
    plan.write.is_none() && decision == Some(&Decision::ApprovalRequired)
}

fn gone(world: &mut World, owner: &str) {
    world.policy.policies.retain(|entry| entry.owner != owner);
}

#[test]
fn what_a_deleted_policy_kept_waits_for_approval_at_every_look() {
    for shared in [false, true] {
        let own = if shared {
            let (id, prefix) = (fold_id(AUDIT, "00000001", "aud"), fold_prefix("logs/", "aud"));
            Rule { id, prefix, settings: expires(3_650) }
        } else {
            rule(AUDIT, "audit", 3_650)
        };
        let mut world = bucket(std::slice::from_ref(&own));
        world.policy.policies[1].removal = Some(Removal::RemoveRules);
        let plan = checked(&world);
        let write = plan.write.expect("its rule goes");
        assert_eq!((write.remove, write.add), (BTreeSet::from([own.id]), Vec::new()));
        assert_eq!(plan.policies[ALL].services["audit"], Decision::ApprovalRequired);
        let mut world = world.step();
        assert!(asks(&world), "while it is there, shared: {shared}");
        gone(&mut world, AUDIT);
        assert!(asks(&world), "after it has gone, shared: {shared}");
        // What comes later is a newcomer all the same: to that service, and to every other one.
        world.observed.oldest.insert("audit".to_owned(), Known::Known(at(10)));
        assert_eq!(checked(&world).write.expect("a rule comes").add, [rule(ALL, "audit", 7)]);
        world.observed.services = Known::Known(BTreeSet::from(["web".to_owned()]));
        world.observed.oldest.insert("web".to_owned(), Known::Known(at(5)));
        assert_eq!(checked(&world).write.expect("a rule comes").add, [rule(ALL, "web", 7)]);
    }
}

#[test]
fn a_rule_that_somebody_disabled_as_a_brake_comes_back_only_with_approval() {
    let (id, reach) = (rule_id(ALL, "00000001", "audit"), Reach { enabled: false, ..Reach::default() });
    let reach = Reach { prefix: service_prefix("logs/", "audit"), ..reach };
    for reach in [None, Some(reach)] {
        let mut world = bucket(&[]);
        gone(&mut world, AUDIT);
        found(&mut world, vec![ObservedRule { id: Some(id.clone()), meaning: None, reach }]);
        let plan = checked(&world);
        let write = plan.write.expect("the disabled one goes");
        assert_eq!((write.remove, write.add), (BTreeSet::from([id.clone()]), Vec::new()));
        let world = world.step();
        assert!(asks(&world));
        let approved = world.approve(|_| true);
        assert_eq!(checked(&approved).write.expect("a rule comes").add, [rule(ALL, "audit", 7)]);
    }
}

#[test]
fn a_shared_rule_that_somebody_disabled_is_a_brake_too() {
    let mut world = bucket(&[]);
    gone(&mut world, AUDIT);
    let id = fold_id(ALL, "00000001", "a");
    found(&mut world, vec![ObservedRule { id: Some(id.clone()), ..ObservedRule::default() }]);
    let plan = checked(&world);
    assert_eq!(plan.policies[ALL].services["audit"], Decision::ApprovalRequired);
    assert_eq!(plan.write.expect("the disabled one goes").remove, BTreeSet::from([id]));
    assert!(asks(&world.step()));
}

#[test]
fn what_a_policy_no_longer_covers_waits_for_approval_of_the_next_one() {
    let mut world = bucket(&[rule(AUDIT, "audit", 3_650)]);
    world.policy.policies[1].selector.prefixes = BTreeSet::from(["x".to_owned()]);
    assert!(asks(&world), "the rule in force stays until then");
    // With nobody to take over, the rule goes; whoever comes then was in force before, under another selector.
    let mut alone = bucket(&[rule(AUDIT, "audit", 3_650)]);
    let all = alone.policy.policies.remove(0);
    alone.policy.policies[0].selector.prefixes = BTreeSet::from(["x".to_owned()]);
    let mut alone = alone.step();
    assert!(alone.rules().is_empty());
    alone.policy.policies.insert(0, all);
    assert!(asks(&alone));
}

#[test]
fn an_orphaned_rule_governs_while_it_is_there_and_is_lost_when_it_goes() {
    let mut world = bucket(&[rule(AUDIT, "audit", 3_650)]);
    world.policy.policies[1].removal = Some(Removal::Orphan);
    assert!(asks(&world));
    gone(&mut world, AUDIT);
    assert!(asks(&world));
    // Somebody removes it in S3: the record of the last write has left it.
    found(&mut world, Vec::new());
    world.observed.lost.insert(rule_id(AUDIT, "00000001", "audit"));
    assert!(asks(&world));
}

#[test]
fn a_policy_puts_back_its_own_rule_that_somebody_took_away() {
    let mut world = bucket(&[]);
    world.observed.lost.insert(rule_id(AUDIT, "00000001", "audit"));
    let back = rule(AUDIT, "audit", 3_650);
    assert_eq!(checked(&world).write.expect("it comes back").add, std::slice::from_ref(&back));
    // If that policy goes meanwhile, nobody puts it back, and the other one has to ask.
    world.policy.policies[1].removal = Some(Removal::RemoveRules);
    assert!(asks(&world));
    gone(&mut world, AUDIT);
    assert!(asks(&world));
    world.observed.lost = BTreeSet::from([fold_id(AUDIT, "00000001", "aud")]);
    assert!(asks(&world), "it shared one");
    world.observed.lost = BTreeSet::from([fold_id(AUDIT, "00000001", "web"), rule_id(AUDIT, "00000001", "aud")]);
    assert_eq!(checked(&world).write.expect("those were of others").add, [rule(ALL, "audit", 7)]);
}

/// Rules of others over keys beside the logs, over all logs, and over a service.
fn foreign() -> impl Strategy<Value = Vec<ObservedRule>> {
    let prefixes = vec!["archive/", "logs/", "logs/service_name=a/", "logs/service_name=pay/", "logs/service_name=p"];
    let parts = (prop::sample::select(prefixes), 1..20i32, any::<bool>(), 0..99u32);
    let one = parts.prop_map(|(prefix, days, known, id)| {
        let meaning = known.then(|| Meaning { prefix: prefix.to_owned(), settings: expires(days) });
        let reach = (!known).then(|| Reach { larger_than: Some(1), ..Reach::over(prefix, &expires(days)) });
        ObservedRule { id: Some(format!("theirs-{id}")), meaning, reach }
    });
    prop::collection::vec(one, 0..6).prop_map(|mut rules| {
        let mut ids = BTreeSet::new();
        rules.retain(|rule| ids.insert(rule.id.clone()));
        rules
    })
}

proptest! {
    #[test]
    fn what_others_do_to_their_rules_changes_no_plan_that_waits(mut world in world(), mut theirs in foreign()) {
        // Whether a service is a newcomer does depend on a rule over it, whoever wrote that.
        world.policy.policies.iter_mut().for_each(|entry| entry.programmed = None);
        let requests = |world: &World| {
            let plan = world.plan();
            let asked = plan.policies.into_iter().filter_map(|(owner, part)| Some((owner, part.approval?)));
            asked.map(|(owner, request)| (owner, request.plan_id)).collect::<Vec<_>>()
        };
        let before = requests(&world);
        let Known::Known(document) = &mut world.observed.document else { return Ok(()) };
        let owners: BTreeSet<&str> = world.policy.policies.iter().map(|entry| entry.owner.as_str()).collect();
        let is_of_others = |rule: &ObservedRule| {
            let id = rule.id.as_deref().unwrap_or_default();
            !owners.iter().any(|owner| id.starts_with(&format!("logwise.io/{owner}/")))
        };
        document.rules.retain(|rule| !is_of_others(rule));
        theirs.append(&mut document.rules);
        document.rules = theirs;
        document.version = "v2".to_owned();
        prop_assert_eq!(requests(&world), before);
    }
}
