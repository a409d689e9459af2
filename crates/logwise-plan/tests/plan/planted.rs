//! Bad plans on purpose: each check must bite.

use crate::NOW;
use jiff::ToSpan;
use logwise_plan::change::{ChangePolicy, Window, growth_plan_id};
use logwise_plan::retention::{
    Approval, ApprovalRequest, Blocked, Change, Decision, Document, Meaning, ObservedRule, PolicyEntry, Removal, Rule,
    Settings, rule_id,
};
use logwise_plan::selector::{ServiceSelector, TopicSelector};
use logwise_plan::{Known, checks, partitions, retention};
use std::collections::BTreeMap;

/// A way to break a plan.
pub type Spoil<'a, L> = &'a dyn Fn(&mut L);

/// Fails unless `spoil` breaks a good plan in the way that `text` says.
pub fn bites<L: Clone>(good: &L, check: impl Fn(&L) -> Vec<String>, planted: &[(&str, Spoil<L>)]) {
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
    use partitions::{Blocked, Grow, Hold, Keys, Observed, Policy, ScalingMode, Topic, plan};
    let topic = |partitions| Topic { keys: Known::Known(Keys::Without), ..Topic::new(partitions, Known::Known(9)) };
    let sick = Topic { leaderless: 1, ..topic(1) };
    let unread = Topic { end_offsets: Known::Unknown("timed out".into()), ..topic(1) };
    let topics =
        [("logs.a", topic(1)), ("logs.b", topic(3)), ("logs.sick", sick), ("logs.unread", unread), ("x", topic(1))];
    let topics: BTreeMap<String, Topic> = topics.map(|(name, topic)| (name.to_owned(), topic)).into();
    let observed = Observed { brokers: Known::Known(3), ..Observed::from(Known::Known(topics)) };
    let policy = Policy {
        topics: TopicSelector::NamePrefix("logs.".into()),
        default_partitions: Some(3),
        max_partitions: 4,
        mode: ScalingMode::Automatic,
        scaling: Default::default(),
        change: Default::default(),
        look_period_seconds: 30,
    };
    type Plan = partitions::Plan;
    let grow = |topic: &str, from, to| Grow { topic: topic.to_owned(), from, to, topic_id: None };
    let good = plan(&policy, &observed, NOW);
    bites(
        &good,
        |plan| checks::partitions::violations(&policy, &observed, plan, NOW),
        &[
            ("another partition count", &|p: &mut Plan| p.actions[0].from = 2),
            ("does not grow", &|p| p.actions[0].to = 1),
            ("does not grow", &|p| p.actions[0].to = 0),
            ("passes maxPartitions", &|p| p.actions[0].to = 5),
            ("passes what floor and load ask for", &|p| p.actions[0].to = 4),
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
    guards_bite(&policy, &observed, &good);
    let idle = Policy { mode: ScalingMode::Recommend, ..policy.clone() };
    assert!(checks::partitions::violations(&idle, &observed, &good, NOW)[0].contains("mode is not Automatic"));
    let blind = Observed::from(Known::Unknown("denied".into()));
    let found = checks::partitions::violations(&policy, &blind, &good, NOW);
    assert!(found[0].contains("not read") && found[1].contains("must be blocked"), "{found:?}");
}

/// A good plan is bad as soon as one guard should have held it.
fn guards_bite(policy: &partitions::Policy, observed: &partitions::Observed, good: &partitions::Plan) {
    use partitions::{Claim, Keys, Observed, Policy};
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut Policy, &mut Observed));
    let topic = |observed: &mut Observed, spoil: &dyn Fn(&mut partitions::Topic)| {
        let Known::Known(topics) = &mut observed.topics else { unreachable!("the topics are known") };
        spoil(topics.get_mut("logs.a").unwrap());
    };
    let spoils: [Spoil<'_>; 9] = [
        ("the budget of a day", &|policy, _| policy.scaling.daily_budget = 1),
        ("the budget of a day", &|_, observed| observed.spent = Known::Known(999)),
        ("the budget of a day", &|_, observed| observed.spent = Known::Unknown("not read".into())),
        ("more replicas than", &|_, observed| observed.replicas = 12_000),
        ("more replicas than", &|_, observed| observed.brokers = Known::Known(0)),
        ("records may carry keys", &|_, observed| topic(observed, &|t| t.keys = Known::Known(Keys::With))),
        ("records may carry keys", &|_, observed| topic(observed, &|t| t.keys = Known::Absent)),
        ("an unhealthy topic", &|_, observed| topic(observed, &|t| t.reassigning = 1)),
        ("of an older object", &|_, observed| {
            let topics = TopicSelector::NamePrefix("logs.a".into());
            observed.claims.push(Claim { owner: "a/b".into(), topics });
        }),
    ];
    for (what, spoil) in spoils {
        let (mut policy, mut observed) = (policy.clone(), observed.clone());
        spoil(&mut policy, &mut observed);
        let found = checks::partitions::violations(&policy, &observed, good, NOW);
        assert!(found.iter().any(|violation| violation.contains(what)), "{what}: {found:?}");
    }
    let (mut policy, mut observed) = (policy.clone(), observed.clone());
    policy.default_partitions = None;
    policy.scaling.max_step_factor = 1;
    topic(&mut observed, &|t| t.grown = Some(NOW));
    let found = checks::partitions::violations(&policy, &observed, good, NOW);
    for what in ["by more than a step", "too soon", "what floor and load ask for"] {
        assert!(found.iter().any(|violation| violation.contains(what)), "{what}: {found:?}");
    }
}

/// Two growths that a person decides about: one was asked about before, one is approved.
fn growths_to_approve() -> (partitions::Policy, partitions::Observed) {
    use partitions::{Keys, Observed, Pending, Policy, ScalingMode, Topic};
    let topic = Topic { keys: Known::Known(Keys::Without), ..Topic::new(3, Known::Known(9)) };
    let topics: BTreeMap<String, Topic> = ["logs.a", "logs.yes"].map(|name| (name.to_owned(), topic.clone())).into();
    let observed = Observed {
        cluster_id: Known::Known("kafka-1".into()),
        pending: [("logs.a".to_owned(), Pending { from: 3, to: 6 })].into(),
        brokers: Known::Known(3),
        ..Observed::from(Known::Known(topics))
    };
    let approved = growth_plan_id("kafka-1", "logs.yes", 3, 12);
    let policy = Policy {
        topics: TopicSelector::NamePrefix("logs.".into()),
        default_partitions: Some(12),
        max_partitions: 96,
        mode: ScalingMode::Automatic,
        scaling: Default::default(),
        change: ChangePolicy {
            approval: Approval::Always,
            approved_plans: [approved].into(),
            ..ChangePolicy::default()
        },
        look_period_seconds: 30,
    };
    (policy, observed)
}

#[test]
fn partition_plans_that_ask_nobody() {
    use partitions::{Hold, Plan, Policy, Proposal, plan};
    let (policy, observed) = growths_to_approve();
    let good = plan(&policy, &observed, NOW);
    assert_eq!((good.actions.len(), good.holds.len(), good.proposals.len()), (1, 1, 2));
    let proposal = |plan: &mut Plan, name: &str, spoil: &dyn Fn(&mut Proposal)| {
        spoil(plan.proposals.get_mut(name).unwrap());
    };
    bites(
        &good,
        |plan| checks::partitions::violations(&policy, &observed, plan, NOW),
        &[
            ("without approval", &|p: &mut Plan| p.actions[0].to = 11),
            ("without approval", &|p| p.proposals.clear()),
            ("without approval", &|p| proposal(p, "logs.yes", &|asked| asked.plan_id = "kp-00000000".into())),
            ("although a growth that is wanted was approved", &|p| {
                proposal(p, "logs.yes", &|asked| {
                    asked.to = 11;
                    asked.plan_id = growth_plan_id("kafka-1", "logs.yes", 3, 11);
                });
            }),
            ("another partition count", &|p| proposal(p, "logs.a", &|asked| asked.from = 2)),
            ("not wanted", &|p| proposal(p, "logs.a", &|asked| asked.to = 13)),
            ("changes the growth", &|p| proposal(p, "logs.a", &|asked| asked.to = 12)),
            ("another id", &|p| proposal(p, "logs.a", &|asked| asked.plan_id = "kp-00000000".into())),
            ("does not apply", &|p| {
                let hold = Hold::WaitingForWindow { wanted: 12, next_opening: None };
                p.holds.insert("logs.a".into(), hold);
            }),
            ("does not apply", &|p| {
                p.holds.insert("logs.a".into(), Hold::Unreadable { why: "?".into() });
            }),
            ("later than it should", &|p| p.next_look_seconds = 31),
        ],
    );
    let free = Policy { change: ChangePolicy::default(), ..policy.clone() };
    let found = checks::partitions::violations(&free, &observed, &good, NOW);
    assert!(found.iter().any(|v| v.contains("nobody has to be asked")), "{found:?}");
    let noon = vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]];
    let shut = Policy { change: ChangePolicy { windows: noon, ..policy.change.clone() }, ..policy };
    let found = checks::partitions::violations(&shut, &observed, &good, NOW);
    assert!(found.iter().any(|v| v.contains("while no window is open")), "{found:?}");
    let waiting = plan(&shut, &observed, NOW);
    bites(
        &waiting,
        |plan| checks::partitions::violations(&shut, &observed, plan, NOW),
        &[("does not apply", &|p: &mut Plan| {
            let opening = Some(NOW + 60.minutes());
            p.holds.insert("logs.yes".into(), Hold::WaitingForWindow { wanted: 12, next_opening: opening });
        })],
    );
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
        programmed: None,
        observe_only: false,
        removal: None,
    }
}

fn new_rule(owner: &str, service: &str, settings: Settings) -> Rule {
    Rule { id: rule_id(owner, "00000001", service), prefix: format!("logs/service_name={service}/"), settings }
}

fn seen(rule: Rule) -> ObservedRule {
    let meaning = Some(Meaning { prefix: rule.prefix, settings: rule.settings });
    ObservedRule { id: Some(rule.id), meaning, reach: None }
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
        ..Default::default()
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
    (policy, retention::Observed::new(Known::Known(services), Known::Known(document)))
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
            ("about what it lost", &|p| {
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
fn writes_before_their_time() {
    let (mut policy, observed) = bucket();
    let noon = || vec![vec![Window::new("noon", "0 12 * * *", 60, "UTC").unwrap()]];
    let free = retention::plan(&policy, &observed, NOW);
    // What is written while everything is open is bad while the windows are closed, or under Always.
    let found_with = |change: &dyn Fn(&mut PolicyEntry)| {
        let mut strict = policy.clone();
        strict.policies.iter_mut().for_each(change);
        checks::retention::violations(&strict, &observed, &free, NOW)
    };
    let shut = found_with(&|entry| entry.windows = noon());
    for told in ["may not write now", "may not change any now"] {
        assert!(shut.iter().any(|v| v.contains(told)), "{told}: {shut:?}");
    }
    let always = found_with(&|entry| entry.approval = Approval::Always);
    assert!(always.iter().any(|v| v.contains("is written without approval")), "{always:?}");

    policy.policies[0].windows = noon();
    policy.policies[0].selector.names.remove("rest");
    policy.policies[2].windows = noon();
    let good = retention::plan(&policy, &observed, NOW);
    assert_eq!(good.write, None, "each of both policies waits");
    assert_eq!((good.policies["keep"].kept, good.policies["gone"].kept), (1, 1));
    bites(
        &good,
        |plan| checks::retention::violations(&policy, &observed, plan, NOW),
        &[
            ("another id than that of its changes", &|p: &mut RetentionPlan| {
                approval(p).plan_id = "rp-000000000000".into();
            }),
            ("not what happens", &|p| {
                part(p, "keep").services.insert("grow".into(), Decision::Write);
            }),
            ("not what happens", &|p| {
                part(p, "see").services.insert("look".into(), Decision::WaitingForWindow);
            }),
            ("else than its next window", &|p| part(p, "keep").next_opening = Some(NOW + 60.minutes())),
            ("else than its next window", &|p| part(p, "see").next_opening = Some(NOW + 720.minutes())),
            ("not there or may go", &|p| part(p, "keep").kept = 9),
            ("not there or may go", &|p| part(p, "orphan").kept = 1),
            ("later than it should", &|p| p.next_look_seconds = 301),
        ],
    );
    policy.policies[0].windows.clear();
    policy.policies[0].approval = Approval::Always;
    let good = retention::plan(&policy, &observed, NOW);
    let rule = || new_rule("keep", "grow", expire(30));
    bites(
        &good,
        |plan| checks::retention::violations(&policy, &observed, plan, NOW),
        &[
            ("removes a rule without approval", &|p: &mut RetentionPlan| {
                let remove = [rule_id("keep", "00000001", "rest")].into();
                p.write = Some(retention::WriteRules { assumes: Some("v1".into()), remove, add: Vec::new() });
            }),
            ("is written without approval", &|p| {
                let remove = [rule().id].into();
                p.write = Some(retention::WriteRules { assumes: Some("v1".into()), remove, add: vec![rule()] });
            }),
            ("of another change", &|p| {
                approval(p).entries.push(Change { service: "left".into(), from: expire(7), to: Settings::default() });
            }),
        ],
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
    let mut unclear = policy.clone();
    unclear.unclear.insert("odd".into(), "cannot be read".into());
    let found = checks::retention::violations(&unclear, &observed, &good, NOW);
    assert!(found.iter().any(|v| v.contains("is not understood")), "{found:?}");
    let crowd = (0..1_000).map(|i| ObservedRule { id: Some(format!("theirs-{i}")), ..ObservedRule::default() });
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
