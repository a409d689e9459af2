//! Bad plans on purpose: each check must bite.

use crate::NOW;
use logwise_plan::retention::{
    Approval, ApprovalRequest, Blocked, Change, Decision, Document, Meaning, ObservedRule, PolicyEntry, Removal, Rule,
    Settings, rule_id,
};
use logwise_plan::selector::{ServiceSelector, TopicSelector};
use logwise_plan::{Known, checks, partitions, retention, workers};
use std::collections::BTreeMap;

/// A way to break a plan.
type Spoil<'a, L> = &'a dyn Fn(&mut L);

/// Fails unless `spoil` breaks a good plan in the way that `text` says.
fn bites<L: Clone>(good: &L, check: impl Fn(&L) -> Vec<String>, planted: &[(&str, Spoil<L>)]) {
    assert_eq!(check(good), Vec::<String>::new(), "the plan must be good before it is spoilt");
    for (text, spoil) in planted {
        let mut bad = good.clone();
        spoil(&mut bad);
        let found = check(&bad);
        assert!(found.iter().any(|violation| violation.contains(text)), "{text:?} is not among {found:#?}");
    }
}

#[test]
fn bad_partition_plans() {
    use partitions::{Blocked, Grow, Hold, Observed, Policy, ScalingMode, Topic, plan};
    let topic = |partitions| Topic { partitions, leaderless: 0, under_replicated: 0, end_offsets: Known::Known(9) };
    let sick = Topic { leaderless: 1, ..topic(1) };
    let unread = Topic { end_offsets: Known::Unknown("timed out".into()), ..topic(1) };
    let topics =
        [("logs.a", topic(1)), ("logs.b", topic(3)), ("logs.sick", sick), ("logs.unread", unread), ("x", topic(1))];
    let topics: BTreeMap<String, Topic> = topics.map(|(name, topic)| (name.to_owned(), topic)).into();
    let observed = Observed::from(Known::Known(topics));
    let policy = Policy {
        topics: TopicSelector::NamePrefix("logs.".into()),
        default_partitions: Some(3),
        max_partitions: 4,
        mode: ScalingMode::Automatic,
        change: Default::default(),
        look_period_seconds: 30,
    };
    type Plan = partitions::Plan;
    let grow = |topic: &str, from, to| Grow { topic: topic.to_owned(), from, to };
    let good = plan(&policy, &observed, NOW);
    bites(
        &good,
        |plan| checks::partitions::violations(&policy, &observed, plan, NOW),
        &[
            ("another partition count", &|p: &mut Plan| p.actions[0].from = 2),
            ("does not grow", &|p| p.actions[0].to = 1),
            ("does not grow", &|p| p.actions[0].to = 0),
            ("passes maxPartitions", &|p| p.actions[0].to = 5),
            ("passes the floor", &|p| p.actions[0].to = 4),
            ("name one twice", &|p| p.actions.push(grow("logs.a", 1, 3))),
            ("was not seen", &|p| p.actions.push(grow("logs.new", 1, 3))),
            ("holds a topic that was not seen", &|p| {
                p.holds.insert("logs.new".into(), Hold::Sufficient);
            }),
            ("grows an unhealthy topic", &|p| p.actions.push(grow("logs.sick", 1, 3))),
            ("was not read completely", &|p| p.actions.push(grow("logs.unread", 1, 3))),
            ("one decision", &|p| p.actions.push(grow("x", 1, 3))),
            ("one decision", &|p| {
                p.holds.remove("logs.b");
            }),
            ("does not apply", &|p| {
                p.holds.insert("logs.b".into(), Hold::AboveMaximum);
            }),
            ("does not apply", &|p| {
                p.holds.insert("logs.sick".into(), Hold::Sufficient);
            }),
            ("is blocked although", &|p| p.blocked = Some(Blocked::Unreadable { why: "?".into() })),
        ],
    );
    let idle = Policy { mode: ScalingMode::Recommend, ..policy.clone() };
    assert!(checks::partitions::violations(&idle, &observed, &good, NOW)[0].contains("mode is not Automatic"));
    let blind = Observed::from(Known::Unknown("denied".into()));
    let found = checks::partitions::violations(&policy, &blind, &good, NOW);
    assert!(found[0].contains("not read") && found[1].contains("must be blocked"), "{found:?}");
}

#[test]
fn bad_worker_plans() {
    use workers::{Group, Hold, Observed, Plan, Policy, RaiseDesired, plan};
    let policy = Policy {
        group: "workers".into(),
        min_replicas: 4,
        max_replicas: 8,
        change: Default::default(),
        look_period_seconds: 30,
    };
    let group =
        |desired, max_size| Observed { group: Known::Known(Group { min_size: 0, max_size, desired, in_service: 1 }) };
    let observed = group(2, 6);
    let good = plan(&policy, &observed, NOW);
    bites(
        &good,
        |plan| checks::workers::violations(&policy, &observed, plan),
        &[
            ("more than one action", &|p: &mut Plan| p.actions.push(p.actions[0].clone())),
            ("another group", &|p| p.actions[0].group = "other".into()),
            ("another desired capacity", &|p| p.actions[0].from = 3),
            ("does not raise", &|p| p.actions[0].to = 2),
            ("does not raise", &|p| p.actions[0].to = 1),
            ("passes maxReplicas", &|p| p.actions[0].to = 9),
            ("passes the group's own maximum", &|p| p.actions[0].to = 7),
            ("further than minReplicas", &|p| p.actions[0].to = 5),
            ("neither acts nor says why", &|p| p.actions.clear()),
            ("although there is room", &|p| p.actions.clear()),
            ("does not apply", &|p| p.holds.push(Hold::WithinRange)),
            ("does not apply", &|p| p.holds.push(Hold::GroupAbsent)),
            ("does not apply", &|p| p.holds.push(Hold::ScaleIn { desired: 2, max_replicas: 8 })),
            ("does not apply", &|p| p.holds.push(Hold::GroupMaximum { wanted: 4, max_size: 6 })),
        ],
    );
    let raise = RaiseDesired { group: "workers".into(), from: 2, to: 4 };
    for group in [Known::Absent, Known::Unknown("denied".into())] {
        let mut plan = plan(&policy, &Observed { group: group.clone() }, NOW);
        plan.actions.push(raise.clone());
        assert!(checks::workers::violations(&policy, &Observed { group }, &plan)[0].contains("was not read"));
    }
}

fn expire(days: i32) -> Settings {
    Settings { expiration_days: Some(days), ..Settings::default() }
}

fn entry(owner: &str, services: &[&str], settings: Settings) -> PolicyEntry {
    PolicyEntry {
        owner: owner.to_owned(),
        uid8: "00000001".to_owned(),
        priority: 0,
        selector: ServiceSelector { names: services.iter().map(|s| (*s).to_owned()).collect(), ..Default::default() },
        settings,
        approval: Approval::DestructiveOnly,
        approved_plans: Default::default(),
        windows: Vec::new(),
        observe_only: false,
        removal: None,
    }
}

fn new_rule(owner: &str, service: &str, settings: Settings) -> Rule {
    Rule { id: rule_id(owner, "00000001", service), prefix: format!("logs/service_name={service}/"), settings }
}

fn seen(rule: Rule) -> ObservedRule {
    ObservedRule { id: Some(rule.id), meaning: Some(Meaning { prefix: rule.prefix, settings: rule.settings }) }
}

/// `keep` is in force for `rest`, is to be made longer for `grow` and waits to be made shorter for `wait`; `see`
/// observes `look`; `gone` leaves `left`; there is a foreign rule.
fn bucket() -> (retention::Policy, retention::Observed) {
    let keep = entry("keep", &["rest", "grow", "wait"], expire(30));
    let see = PolicyEntry { observe_only: true, ..entry("see", &["look"], expire(5)) };
    let gone = PolicyEntry { removal: Some(Removal::RemoveRules), ..entry("gone", &["left"], expire(5)) };
    let orphan = PolicyEntry { removal: Some(Removal::Orphan), ..entry("orphan", &["lone"], expire(5)) };
    let policy = retention::Policy {
        logs_prefix: "logs/".into(),
        checkpoint_prefix: "checkpoint/".into(),
        policies: vec![keep, see, gone, orphan],
        look_period_seconds: 300,
    };
    let rules = [
        new_rule("keep", "rest", expire(30)),
        new_rule("keep", "grow", expire(10)),
        new_rule("keep", "wait", expire(90)),
        new_rule("see", "look", expire(60)),
        new_rule("gone", "left", expire(7)),
        new_rule("orphan", "lone", expire(7)),
        Rule { id: "theirs".into(), prefix: "archive/".into(), settings: expire(1) },
    ];
    let services = ["rest", "grow", "wait", "look", "left", "lone"].map(str::to_owned).into();
    let document = Document { version: "v1".into(), rules: rules.map(seen).into(), not_preservable: None };
    (policy, retention::Observed { services: Known::Known(services), document: Known::Known(document) })
}

type RetentionPlan = retention::Plan;

fn write(plan: &mut RetentionPlan) -> &mut retention::WriteRules {
    plan.write.as_mut().unwrap()
}

fn add(plan: &mut RetentionPlan, rule: Rule) {
    write(plan).remove.insert(rule.id.clone());
    write(plan).add.retain(|other| other.id != rule.id);
    write(plan).add.push(rule);
    write(plan).add.sort_by(|a, b| a.id.cmp(&b.id));
}

fn remove(plan: &mut RetentionPlan, id: String) {
    write(plan).remove.insert(id);
}

/// Spoils the one added rule, that of `grow`.
fn spoil(plan: &mut RetentionPlan, how: impl FnOnce(&mut Rule)) {
    how(&mut write(plan).add[0]);
}

fn part<'a>(plan: &'a mut RetentionPlan, owner: &str) -> &'a mut retention::PolicyPlan {
    plan.policies.get_mut(owner).unwrap()
}

fn approval(plan: &mut RetentionPlan) -> &mut ApprovalRequest {
    part(plan, "keep").approval.as_mut().unwrap()
}

#[test]
fn bad_writes() {
    let (policy, observed) = bucket();
    let good = retention::plan(&policy, &observed, NOW);
    assert_eq!(good.write.as_ref().map(|write| write.add.len()), Some(1));
    let id = |owner: &str, service: &str| rule_id(owner, "00000001", service);
    bites(
        &good,
        |plan| checks::retention::violations(&policy, &observed, plan, NOW),
        &[
            ("nothing changes", &|p: &mut RetentionPlan| {
                *write(p) = retention::WriteRules { assumes: Some("v1".into()), ..Default::default() }
            }),
            ("another version", &|p| write(p).assumes = None),
            ("order of ids", &|p| {
                add(p, new_rule("keep", "rest", expire(30)));
                write(p).add.reverse();
            }),
            ("that is in use", &|p| assert!(write(p).remove.remove(&id("keep", "grow")))),
            ("not ours", &|p| remove(p, "theirs".into())),
            ("not ours", &|p| remove(p, id("orphan", "lone"))),
            ("not ours", &|p| remove(p, id("keep", "never-seen"))),
            ("may not change any now", &|p| remove(p, id("see", "look"))),
            ("its policy may not write now", &|p| add(p, new_rule("see", "look", expire(5)))),
            ("no policy asks for it", &|p| add(p, new_rule("gone", "left", expire(5)))),
            ("not exactly that of one service", &|p| spoil(p, |rule| rule.prefix = "logs/service_name=grow".into())),
            ("not exactly that of one service", &|p| {
                spoil(p, |rule| rule.prefix = "logs/service_name=grow/year=2024/".into())
            }),
            ("not exactly that of one service", &|p| spoil(p, |rule| rule.prefix = "logs/service_name=/".into())),
            ("touches protected keys", &|p| spoil(p, |rule| rule.prefix = "logs/".into())),
            ("touches protected keys", &|p| spoil(p, |rule| rule.prefix = String::new())),
            ("touches protected keys", &|p| spoil(p, |rule| rule.prefix = "checkpoint/x/".into())),
            ("something else than its policy says", &|p| spoil(p, |rule| rule.settings = expire(31))),
            ("does nothing", &|p| spoil(p, |rule| rule.settings = Settings::default())),
            ("not of the policy that won", &|p| spoil(p, |rule| rule.id = id("see", "grow"))),
            ("nobody found its service", &|p| spoil(p, |rule| rule.prefix = "logs/service_name=new/".into())),
            ("act on the same prefix", &|p| spoil(p, |rule| rule.prefix = "logs/service_name=rest/".into())),
            ("is being deleted", &|p| assert!(write(p).remove.remove(&id("gone", "left")))),
            ("without approval", &|p| add(p, new_rule("keep", "wait", expire(30)))),
            ("without approval", &|p| {
                add(p, new_rule("keep", "wait", expire(30)));
                approval(p).approved = true;
            }),
        ],
    );
}

#[test]
fn bad_reports() {
    let (policy, observed) = bucket();
    let good = retention::plan(&policy, &observed, NOW);
    let said = |owner: &'static str, service: &'static str, decision: Decision| {
        move |p: &mut RetentionPlan| {
            part(p, owner).services.insert(service.into(), decision.clone());
        }
    };
    bites(
        &good,
        |plan| checks::retention::violations(&policy, &observed, plan, NOW),
        &[
            ("exactly the given policies", &|p: &mut RetentionPlan| {
                p.policies.remove("gone");
            }),
            ("counts 4 rules where there are 3", &|p| part(p, "keep").rules = 4),
            ("which nobody found", &said("keep", "new", Decision::InForce)),
            ("not decided by exactly the policy", &|p| {
                part(p, "keep").services.remove("rest");
            }),
            ("not decided by exactly the policy", &said("see", "rest", Decision::ObserveOnly)),
            ("about having lost it", &|p| {
                part(p, "see").lost.insert("rest".into(), "keep".into());
            }),
            ("not what happens", &said("keep", "grow", Decision::InForce)),
            ("not what happens", &said("keep", "wait", Decision::InForce)),
            ("not what happens", &said("keep", "wait", Decision::Write)),
            ("not what happens", &said("keep", "rest", Decision::ApprovalRequired)),
            ("not what happens", &said("keep", "rest", Decision::ObserveOnly)),
            ("not what happens", &said("keep", "rest", Decision::Blocked)),
            ("not what happens", &said("see", "look", Decision::Write)),
            ("about having been approved", &|p| approval(p).approved = true),
            ("of another change", &|p| approval(p).entries[0].from = expire(91)),
            ("of another change", &|p| approval(p).entries[0].to = expire(29)),
            ("of another change", &|p| {
                let change = Change { service: "look".into(), from: expire(60), to: expire(30) };
                approval(p).entries.push(change);
            }),
        ],
    );
    let mut free = policy.clone();
    free.policies[0].approval = Approval::Never;
    assert!(
        checks::retention::violations(&free, &observed, &good, NOW).iter().any(|v| v.contains("where none is needed"))
    );
}

#[test]
fn writes_that_must_not_be_made_at_all() {
    let (policy, observed) = bucket();
    let good = retention::plan(&policy, &observed, NOW);
    let with = |change: &dyn Fn(&mut Document)| {
        let mut observed = observed.clone();
        let Known::Known(document) = &mut observed.document else { unreachable!("the bucket has a configuration") };
        change(document);
        checks::retention::violations(&policy, &observed, &good, NOW)
    };
    let found = with(&|document| document.not_preservable = Some("a comment".into()));
    assert!(found.iter().any(|v| v.contains("would be harmed")), "{found:?}");
    let crowd = (0..1_000).map(|i| ObservedRule { id: Some(format!("theirs-{i}")), meaning: None });
    let found = with(&|document| {
        document.rules.extend(crowd.clone().take(994));
        document.rules.retain(|rule| rule.id != Some(rule_id("gone", "00000001", "left")));
        document.rules.retain(|rule| rule.id != Some(rule_id("keep", "00000001", "grow")));
    });
    assert!(!found.iter().any(|v| v.contains("limit")), "{found:?}");
    let found = with(&|document| {
        document.rules.extend(crowd.clone().take(995));
        document.rules.retain(|rule| rule.id != Some(rule_id("gone", "00000001", "left")));
        document.rules.retain(|rule| rule.id != Some(rule_id("keep", "00000001", "grow")));
    });
    assert!(found.iter().any(|v| v.contains("limit of 1,000")), "{found:?}");

    let blind = retention::Observed { document: Known::Unknown("denied".into()), ..observed.clone() };
    let found = checks::retention::violations(&policy, &blind, &good, NOW);
    assert!(found[0].contains("while the configuration is unknown"), "{found:?}");
    let honest = Blocked::DocumentUnreadable { why: "denied".into() };
    let silent = retention::Plan { write: None, blocked: Some(honest), ..good };
    assert!(checks::retention::violations(&policy, &blind, &silent, NOW).is_empty());
}
