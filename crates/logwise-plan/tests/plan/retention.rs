//! Properties of retention plans.

use crate::NOW;
use crate::ageing::losses;
use crate::fold::is_folded;
use crate::world::{BAD_SERVICES, World, settled, world};
use logwise_plan::change::Window;
use logwise_plan::retention::{
    Approval, Blocked, Change, Decision, Document, Folding, ObservedRule, Plan, Reach, Removal, Settings, plan_id,
    rule_id,
};
use logwise_plan::{Known, checks};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Whether the rule belongs to one of the policies and is not orphaned.
fn is_ours(world: &World, rule: &ObservedRule) -> bool {
    let owners = world.policy.policies.iter().filter(|p| p.removal != Some(Removal::Orphan));
    owners.into_iter().any(|p| is_of(&p.owner, rule))
}

/// Whether the rule's id names this owner and is whole.
fn is_of(owner: &str, rule: &ObservedRule) -> bool {
    let whole = rule_id(owner, "00000001", "").len();
    rule.id.as_ref().is_some_and(|id| id.starts_with(&format!("logwise.io/{owner}/")) && id.len() == whole)
}

fn foreign(world: &World) -> Vec<&ObservedRule> {
    world.rules().iter().filter(|rule| !is_ours(world, rule)).collect()
}

/// The owner of the policy that may shorten the life of objects with this key, by what it says itself.
pub fn may_lose(world: &World, key: &str) -> bool {
    let plan = world.plan();
    let approved = plan.policies.values().filter_map(|part| part.approval.as_ref()).filter(|r| r.approved);
    let free = world.policy.policies.iter().filter(|p| p.approval == Approval::Never);
    let unasked = free.filter_map(|p| plan.policies.get(&p.owner)).flat_map(|part| part.services.keys());
    let newcomers = world.newcomers();
    let services = approved.flat_map(|r| r.entries.iter().map(|e| &e.service)).chain(unasked).chain(&newcomers);
    services.into_iter().any(|service| key.starts_with(&format!("logs/service_name={service}/")))
}

proptest! {
    #[test]
    fn every_plan_passes_the_checks(world in world()) {
        let violations = checks::retention::violations(&world.policy, &world.observed, &world.plan(), NOW);
        prop_assert_eq!(violations, Vec::<String>::new());
    }

    #[test]
    fn rules_of_others_are_carried_through_in_their_order(world in world()) {
        let after = world.step();
        prop_assert_eq!(foreign(&world), foreign(&after));
        let write = world.plan().write.unwrap_or_default();
        let ours = world.rules().iter().filter(|r| is_ours(&world, r));
        let ours: BTreeSet<_> = ours.filter_map(|r| r.id.clone()).collect();
        prop_assert!(write.remove.is_subset(&ours));
    }

    #[test]
    fn added_prefixes_are_of_one_service_each_and_touch_nothing_protected(world in world()) {
        let add = world.plan().write.unwrap_or_default().add;
        for (i, rule) in add.iter().enumerate() {
            let name = rule.prefix.strip_prefix("logs/service_name=").and_then(|rest| rest.strip_suffix('/'));
            let is_good = |name: &str| !BAD_SERVICES.contains(&name) && !name.contains('/');
            prop_assert!(name.is_some_and(is_good), "{}", rule.prefix);
            prop_assert!(!world.policy.checkpoint_prefix.starts_with(&rule.prefix));
            prop_assert!(!"logs/_spark_metadata/0".starts_with(&rule.prefix));
            prop_assert!(add[i + 1..].iter().all(|other| other.prefix != rule.prefix && other.id != rule.id));
        }
        let plan = world.plan();
        let decided = plan.policies.values().flat_map(|part| part.services.keys().chain(part.lost.keys()));
        prop_assert!(decided.into_iter().all(|service| !BAD_SERVICES.contains(&service.as_str())));
    }

    #[test]
    fn the_order_of_rules_and_policies_does_not_matter(world in world(), by in 0..9usize) {
        let mut turned = world.clone();
        if let Known::Known(document) = &mut turned.observed.document {
            let len = document.rules.len().max(1);
            document.rules.rotate_left(by % len);
            document.rules.reverse();
        }
        let len = turned.policy.policies.len().max(1);
        turned.policy.policies.rotate_left(by % len);
        prop_assert_eq!(turned.plan(), world.plan());
    }

    #[test]
    fn nothing_is_lost_that_was_not_approved(world in world()) {
        let after = world.step();
        for object in losses(&world.in_force(), &after.in_force()) {
            prop_assert!(may_lose(&world, &object.key), "{object:?} is worse off");
        }
    }

    #[test]
    fn a_second_look_after_the_write_writes_nothing(world in world()) {
        let (plan, after) = (world.plan(), world.step());
        let again = after.plan();
        // A service that nobody found is forgotten with its last rule: nothing waits any more under a shared one.
        let services = |plan: &Plan| plan.policies.values().flat_map(|part| part.services.keys().cloned()).collect();
        let (known, left): (BTreeSet<String>, BTreeSet<String>) = (services(&plan), services(&again));
        if known != left && after.rules().iter().any(is_folded) {
            let add = again.write.unwrap_or_default().add;
            prop_assert_eq!(add, Vec::new());
            return Ok(());
        }
        prop_assert_eq!(&again.write, &None);
        if plan.write.is_some() {
            let waits = |decision: &Decision| *decision == Decision::Write;
            prop_assert!(!again.policies.values().any(|part| part.services.values().any(waits)));
        } else if after.policy == world.policy {
            prop_assert_eq!(again, plan);
        }
    }

    #[test]
    fn observers_write_nothing(mut world in world()) {
        world.policy.policies.iter_mut().for_each(|p| p.observe_only = true);
        prop_assert_eq!(world.plan().write, None);
    }

    #[test]
    fn while_no_window_is_open_nothing_is_written(mut world in world(), which in 0..4usize) {
        let shut = Window::new("noon", "0 12 * * *", 30, "UTC").unwrap();
        if let Some(entry) = world.policy.policies.get_mut(which) {
            entry.windows = vec![vec![shut.clone()]];
            let (owner, was_ours) = (entry.owner.clone(), entry.removal != Some(Removal::Orphan));
            let of_owner = |w: &World| w.rules().iter().filter(|rule| is_of(&owner, rule)).cloned().collect::<Vec<_>>();
            let (before, after) = (of_owner(&world), of_owner(&world.step()));
            // Others may take a service over, and its rules then go; none comes.
            prop_assert!(after.iter().all(|rule| before.contains(rule)) && (was_ours || before == after));
        }
        world.policy.policies.iter_mut().for_each(|p| p.windows = vec![vec![shut.clone()]]);
        prop_assert_eq!(world.plan().write, None);
    }

    #[test]
    fn under_always_nothing_is_written_before_its_plan_is_approved(mut world in world()) {
        for entry in &mut world.policy.policies {
            entry.approval = Approval::Always;
            entry.approved_plans.clear();
            entry.removal = None;
        }
        prop_assert_eq!(world.plan().write, None);
        let approved = world.clone().approve(|_| true);
        let plan = approved.plan();
        prop_assert!(!plan.policies.values().any(|part| part.services.values().any(|d| *d == Decision::ApprovalRequired)));
        // What was approved is what is written when nothing else stands in the way.
        world.policy.policies.iter_mut().for_each(|entry| entry.approval = Approval::Never);
        prop_assert_eq!(plan.write, world.plan().write);
    }

    #[test]
    fn what_could_not_be_read_causes_no_write(mut world in world()) {
        world.observed.document = Known::Unknown("denied".to_owned());
        prop_assert_eq!(world.plan().write, None);
    }

    #[test]
    fn while_services_are_unknown_no_rule_comes_where_none_is(mut world in world()) {
        world.observed.services = Known::Unknown("timed out".to_owned());
        let prefixes: BTreeSet<_> = world.rules().iter().filter_map(|r| Some(&r.meaning.as_ref()?.prefix)).collect();
        prop_assert!(world.plan().write.unwrap_or_default().add.iter().all(|rule| prefixes.contains(&rule.prefix)));
    }

    #[test]
    fn deleting_a_policy_shortens_nothing(world in settled(), which in 0..4usize, how in 0..3u8) {
        let mut world = world;
        let Some(entry) = world.policy.policies.get_mut(which) else { return Ok(()) };
        let leaving = entry.owner.clone();
        entry.removal = Some(if how == 0 { Removal::RemoveRules } else { Removal::Orphan });
        if how == 2 {
            world.policy.policies.remove(which);
        }
        let after = world.step();
        let lost = losses(&world.in_force(), &after.in_force());
        prop_assert!(lost.is_empty(), "{lost:?}");
        let of_leaving = |w: &World| w.rules().iter().filter(|rule| is_of(&leaving, rule)).count();
        prop_assert_eq!(of_leaving(&after), if how == 0 { 0 } else { of_leaving(&world) });
    }

    #[test]
    fn a_plan_id_stands_for_exactly_its_entries(days in 1..50i32, other in 1..50i32, service in "[a-z]{1,3}") {
        let to = |days| Settings { expiration_days: Some(days), ..Settings::default() };
        let entry = |service: String, days| Change { service, from: Settings::default(), to: to(days) };
        let (one, two) = (entry(service, days), entry("zzzz".to_owned(), other));
        prop_assert_eq!(plan_id(&[one.clone(), two.clone()]), plan_id(&[two.clone(), one.clone()]));
        let changed = Change { from: to(99), ..one.clone() };
        let ids = [vec![], vec![one.clone()], vec![two.clone()], vec![changed], vec![one, two]];
        let ids: BTreeSet<String> = ids.iter().map(|entries| plan_id(entries)).collect();
        prop_assert_eq!(ids.len(), 5);
    }
}

/// A bucket with many rules of others, and as many services and rules of ours as told.
fn crowded(world: World, foreign: usize, with_rule: usize, without: usize) -> World {
    let mut world = world;
    world.policy.unclear.clear();
    world.policy.fold = Folding::Never;
    let Some(entry) = world.policy.policies.first_mut() else { return world };
    (entry.removal, entry.observe_only, entry.approval) = (None, false, Approval::Never);
    entry.windows.clear();
    entry.selector = Default::default();
    world.policy.policies.truncate(1);
    world.policy.checkpoint_prefix = "checkpoint/".to_owned();
    let name = |i: usize| format!("s{i:04}");
    world.observed.services = Known::Known((0..with_rule).map(name).collect());
    (world.observed.document, world.truth) = (Known::Absent, Vec::new());
    world = world.step();
    let theirs = (0..foreign).map(|i| ObservedRule { id: Some(format!("theirs-{i}")), ..ObservedRule::default() });
    let rules: Vec<_> = theirs.chain(world.rules().iter().cloned()).collect();
    world.truth = vec![Reach::default(); rules.len()];
    world.observed.document = Known::Known(Document { version: "v1".to_owned(), rules, not_preservable: None });
    world.observed.services = Known::Known((0..with_rule + without).map(name).collect());
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn no_write_passes_the_limit_of_a_bucket(
        world in world(),
        with_rule in 0..4usize,
        (without, missing) in (0..6usize, 0..6usize),
        days in 1..13i32,
    ) {
        let mut world = crowded(world, 1_000 - with_rule - missing, with_rule, without);
        let Some(entry) = world.policy.policies.first_mut() else { return Ok(()) };
        let does_something = entry.settings != Settings::default();
        entry.settings.expiration_days = entry.settings.expiration_days.map(|_| days);
        let (plan, after) = (world.plan(), world.step());
        prop_assert_eq!(checks::retention::violations(&world.policy, &world.observed, &plan, NOW), Vec::<String>::new());
        prop_assert!(after.rules().len() <= 1_000);
        let room_is_short = does_something && without > missing;
        prop_assert_eq!(matches!(plan.blocked, Some(Blocked::TooManyRules { .. })), room_is_short);
        // Services that have a rule follow their policy, and the policy can go, however full the bucket is.
        prop_assert_eq!(after.plan().write, None);
        let mut leaving = after;
        leaving.policy.policies[0].removal = Some(Removal::RemoveRules);
        prop_assert!(leaving.step().rules().iter().all(|rule| !is_ours(&leaving, rule)));
    }
}

#[test]
fn a_rule_id_fits_for_the_longest_names() {
    let owner = format!("{}.{}.{}", "i".repeat(32), "n".repeat(63), "p".repeat(63));
    assert!(rule_id(&owner, "00000001", &"s".repeat(1_024)).len() <= 255);
}
