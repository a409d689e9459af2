//! What the planned write does to the objects of a bucket, against the model of S3; and what newcomers need no approval
//! for.

use crate::NOW;
use crate::ageing::{Object, different, grid, losses_of, objects};
use crate::retention::may_lose;
use crate::world::{World, world};
use jiff::Timestamp;
use logwise_plan::retention::{
    Approval, Decision, Document, EVERY_SERVICE, Meaning, Observed, ObservedRule, Policy, PolicyEntry, Reach, Settings,
    fold_id, plan, rule_id, service_prefix,
};
use logwise_plan::{Known, checks};
use proptest::prelude::*;

/// What the rules really do that the planned write removes.
fn removed(world: &World) -> Vec<Reach> {
    let goes = world.plan().write.unwrap_or_default().remove;
    let all = world.rules().iter().zip(&world.truth);
    let gone = all.filter(|(rule, _)| rule.id.as_ref().is_some_and(|id| goes.contains(id)));
    gone.map(|(_, truth)| truth.clone()).collect()
}

/// Whether these are the keys of one service and no others.
fn is_of_a_service(prefix: &str) -> bool {
    let name = prefix.strip_prefix("logs/service_name=").and_then(|rest| rest.strip_suffix('/'));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Prefixes of the services that get another rule.
fn written(world: &World) -> Vec<String> {
    let plan = world.plan();
    let decided = plan.policies.values().flat_map(|part| &part.services);
    let changed = decided.filter(|(_, decision)| **decision == Decision::Write);
    changed.map(|(service, _)| service_prefix("logs/", service)).collect()
}

fn is_under(object: &Object, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| object.key.starts_with(prefix))
}

proptest! {
    #[test]
    fn no_object_outside_the_services_of_a_write_ages_differently(world in world(), some in objects()) {
        let (before, after) = (world.in_force(), world.step().in_force());
        let all = [grid(), some].concat();
        let (written, removed) = (written(&world), removed(&world));
        for object in losses_of(&all, &before, &after) {
            prop_assert!(is_under(&object, &written), "{object:?} is worse off");
            prop_assert!(!object.key.starts_with(&world.policy.checkpoint_prefix), "{object:?} is a checkpoint");
            prop_assert!(!object.key.starts_with("logs/_spark_metadata/"), "{object:?} is the log of the sink");
        }
        // A rule of ours that somebody else has made wider goes, and its objects live longer; no other ones do.
        let lost: Vec<String> = removed.into_iter().map(|rule| rule.prefix).collect();
        let own = [written, lost.clone()].concat();
        let changed = different(&all, &before, &after);
        prop_assert!(changed.iter().all(|object| is_under(object, &own)), "{changed:?}");
        if lost.iter().all(|prefix| is_of_a_service(prefix)) {
            let of_service = |object: &Object| own.iter().any(|p| is_of_a_service(p) && object.key.starts_with(p));
            prop_assert!(changed.iter().all(of_service), "{changed:?}");
        }
    }

    #[test]
    fn versions_of_every_kind_stay_unless_somebody_approved(world in world(), some in objects()) {
        for object in losses_of(&some, &world.in_force(), &world.step().in_force()) {
            prop_assert!(may_lose(&world, &object.key), "{object:?} is worse off");
        }
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

/// A policy for every service that has been in force since second 10, and a service whose objects are all younger.
fn newcomer() -> (Policy, Observed) {
    let entry = PolicyEntry {
        owner: "lab.shop.keep".into(),
        uid8: "00000001".into(),
        priority: 0,
        selector: Default::default(),
        settings: Settings { expiration_days: Some(30), ..Settings::default() },
        approval: Approval::DestructiveOnly,
        approved_plans: Default::default(),
        windows: Vec::new(),
        programmed: Some(at(10_000)),
        observe_only: false,
        removal: None,
    };
    let policy = Policy {
        logs_prefix: "logs/".into(),
        checkpoint_prefix: "checkpoint/".into(),
        policies: vec![entry],
        look_period_seconds: 300,
        ..Policy::default()
    };
    let mut observed = Observed::new(Known::Known(["api".to_owned()].into()), Known::Absent);
    observed.oldest.insert("api".into(), Known::Known(at(11_000)));
    (policy, observed)
}

fn observed_rules(observed: &mut Observed, rules: Vec<ObservedRule>) {
    observed.document = Known::Known(Document { version: "v1".into(), rules, not_preservable: None });
}

/// A rule of others over a prefix.
fn theirs(prefix: &str) -> ObservedRule {
    let settings = Settings { expiration_days: Some(90), ..Settings::default() };
    ObservedRule { meaning: Some(Meaning { prefix: prefix.to_owned(), settings }), ..ObservedRule::default() }
}

#[test]
fn only_a_service_that_is_younger_than_its_policy_needs_no_approval() {
    type Change = dyn Fn(&mut PolicyEntry, &mut Observed);
    fn oldest(time: Known<Timestamp>) -> impl Fn(&mut PolicyEntry, &mut Observed) {
        move |_, observed| {
            observed.oldest.insert("api".into(), time.clone());
        }
    }
    let cases: [(&str, bool, &Change); 18] = [
        ("younger", true, &|_, _| ()),
        ("older", false, &oldest(Known::Known(at(9_000)))),
        ("of the same second", false, &oldest(Known::Known(at(10_000)))),
        ("of the same second, in parts", false, &oldest(Known::Known(at(10_999)))),
        ("unknown", false, &oldest(Known::Unknown("more than 50 pages".into()))),
        ("without objects", false, &oldest(Known::Absent)),
        ("not listed", false, &|_, observed| observed.oldest.clear()),
        ("its policy is not in force", false, &|entry, _| entry.programmed = None),
        ("in force since a part of the second", true, &|entry, _| entry.programmed = Some(at(10_999))),
        ("everything needs approval", false, &|entry, _| entry.approval = Approval::Always),
        ("old versions may be older", false, &|entry, _| entry.settings.noncurrent_days = Some(3)),
        ("there are no old versions", true, &|entry, observed| {
            (entry.settings.noncurrent_days, observed.unversioned) = (Some(3), true);
        }),
        ("it has a rule of others", false, &|_, o| observed_rules(o, vec![theirs("logs/service_name=api/")])),
        ("there is a rule for all", true, &|_, o| observed_rules(o, vec![theirs("logs/")])),
        ("it has a rule of another shape", false, &|_, observed| {
            let reach = Reach { prefix: "logs/service_name=api/".into(), larger_than: Some(1), ..Reach::default() };
            observed_rules(observed, vec![ObservedRule { reach: Some(reach), ..ObservedRule::default() }]);
        }),
        ("its rule was disabled", false, &|entry, observed| {
            let id = Some(rule_id(&entry.owner, &entry.uid8, "api"));
            observed_rules(observed, vec![ObservedRule { id, ..ObservedRule::default() }]);
        }),
        ("it had a rule of another policy", false, &|_, observed| {
            let id = Some(rule_id("lab.shop.gone", "00000002", "api"));
            observed_rules(observed, vec![ObservedRule { id, ..ObservedRule::default() }]);
        }),
        ("nothing expires", true, &|entry, _| {
            entry.settings = Settings { abort_multipart_days: Some(1), ..Settings::default() };
        }),
    ];
    for (case, passes, change) in cases {
        let (mut policy, mut observed) = newcomer();
        change(&mut policy.policies[0], &mut observed);
        let plan = plan(&policy, &observed, NOW);
        let comes = plan.write.as_ref().is_some_and(|write| write.add.len() == 1);
        assert_eq!((comes, plan.policies["lab.shop.keep"].approval.is_none()), (passes, passes), "{case}");
        assert_eq!(checks::retention::violations(&policy, &observed, &plan, NOW), Vec::<String>::new(), "{case}");
    }
}

#[test]
fn a_write_for_a_service_that_is_no_newcomer_is_noticed() {
    let (policy, observed) = newcomer();
    let spared = plan(&policy, &observed, NOW);
    let mut older = observed;
    older.oldest.insert("api".into(), Known::Known(at(9_000)));
    let found = checks::retention::violations(&policy, &older, &spared, NOW);
    assert!(found.iter().any(|violation| violation.contains("without approval")), "{found:?}");
}

#[test]
fn a_write_for_a_service_that_has_lost_a_rule_is_noticed() {
    let (policy, observed) = newcomer();
    let spared = plan(&policy, &observed, NOW);
    let notices = |policy: &Policy, observed: &Observed| {
        let found = checks::retention::violations(policy, observed, &spared, NOW);
        found.iter().any(|violation| violation.contains("without approval"))
    };
    assert!(!notices(&policy, &observed));
    let last = |id: &str| id.rsplit('/').next().map(str::to_owned).unwrap();
    let shared = |owner: &str, beginning: &str| fold_id(owner, "00000002", beginning);
    for (key, second, noticed) in [
        (last(&rule_id("lab.shop.gone", "00000002", "api")), 11, true),
        (last(&rule_id("lab.shop.gone", "00000002", "api")), 10, false),
        (last(&rule_id("lab.shop.gone", "00000002", "web")), 11, false),
        (last(&shared("lab.shop.gone", "a")), 11, true),
        (last(&shared("lab.shop.gone", "b")), 11, false),
        (EVERY_SERVICE.to_owned(), 11, true),
    ] {
        let bared = Policy { bared: [(key, at(second * 1_000))].into(), ..policy.clone() };
        assert_eq!(notices(&bared, &observed), noticed, "{:?}", bared.bared);
        assert_eq!(plan(&bared, &observed, NOW).write.is_none(), noticed, "{:?}", bared.bared);
    }
    for (id, noticed) in [
        (rule_id("lab.shop.gone", "00000002", "api"), true),
        (rule_id("lab.shop.keep", "00000001", "api"), false),
        (rule_id("lab.shop.gone", "00000002", "web"), false),
        (shared("lab.shop.gone", "ap"), true),
        (shared("lab.shop.keep", "ap"), false),
    ] {
        let lost = Observed { lost: [id].into(), ..observed.clone() };
        assert_eq!(notices(&policy, &lost), noticed, "{:?}", lost.lost);
        assert_eq!(plan(&policy, &lost, NOW).write.is_none(), noticed, "{:?}", lost.lost);
    }
}

#[test]
fn a_newcomer_changes_no_plan_that_waits() {
    let (policy, mut observed) = newcomer();
    let asks = |observed: &Observed| plan(&policy, observed, NOW).policies["lab.shop.keep"].approval.clone();
    observed.services = Known::Known(["old".to_owned()].into());
    let alone = asks(&observed).unwrap();
    observed.services = Known::Known(["api", "old"].map(str::to_owned).into());
    assert_eq!(asks(&observed).unwrap(), alone);
    let both = plan(&policy, &observed, NOW);
    assert_eq!(both.write.unwrap().add[0].prefix, "logs/service_name=api/");
    // Approved with the id of the one that waits, both are in force.
    let mut approved = policy.clone();
    approved.policies[0].approved_plans.insert(alone.plan_id);
    assert_eq!(plan(&approved, &observed, NOW).write.unwrap().add.len(), 2);
}
