//! What is read of a group: its instances, their machines, and what keeps it busy.

use crate::stand_in::REGION;
use crate::{World, own};
use logwise_aws::group::{Depth, Members, members};
use logwise_plan::Known;
use logwise_plan::workers::{Member, MemberState, Obstacle, Pool, Waiting};
use logwise_runtime::ErrorClass;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REFRESHES: &str = "DescribeInstanceRefreshes";
const ACTIVITIES: &str = "DescribeScalingActivities";
const HOOKS: &str = "DescribeLifecycleHooks";
const MACHINES: &str = "DescribeInstances";
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// A call to Auto Scaling as somebody else than the operator, whom the stand-in asks for no signature.
pub(crate) async fn administer(action: &str, form: &[(&str, &str)]) {
    let url = std::env::var("AWS_ENDPOINT_URL").expect("the address of the AWS stand-in");
    let fixed = [("Action", action), ("Version", "2011-01-01")];
    let form = reqwest::Url::parse_with_params(&url, fixed.iter().chain(form)).expect("an address with a form");
    let scope = format!("AKIAADMINISTRATOR/20000101/{REGION}/autoscaling/aws4_request");
    let client = reqwest::Client::builder().no_proxy().build().expect("a plain client can be built");
    let request = client
        .post(&url)
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.query().unwrap_or_default().to_owned());
    let answer = request.send().await.expect("the AWS stand-in answers");
    let status = answer.status();
    assert!(status.is_success(), "{action} answered {status}: {}", answer.text().await.unwrap_or_default());
}

impl World {
    pub(crate) async fn members(&self, depth: Depth) -> Members {
        members(&self.client, &self.ec2, &self.group, depth).await.expect("a readable group")
    }

    pub(crate) async fn pool(&self, depth: Depth) -> Pool {
        self.members(depth).await.pool.known().cloned().expect("a present group")
    }

    /// The group as the stand-in has it.
    pub(crate) async fn truth(&self) -> Value {
        self.bed.control("GET", &format!("/_groups?name={}", self.group), Value::Null).await
    }

    /// Ids of the group's instances, by address.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let truth = self.truth().await;
        let id = |one: &Value| one["id"].as_str().expect("an id").to_owned();
        truth["instances"].as_array().expect("a list").iter().map(id).collect()
    }

    async fn life(&self, mut settings: Value) {
        settings["group"] = json!(self.group);
        self.bed.control("PUT", "/_life", settings).await;
    }

    /// A call that the operator itself must not make, as whoever owns the group.
    async fn administer(&self, action: &str, form: &[(&str, &str)]) {
        let group = [("AutoScalingGroupName", self.group.as_str())];
        administer(action, &[group.as_slice(), form].concat()).await;
    }

    pub(crate) async fn hook(&self, name: &str) {
        let form = [("LifecycleHookName", name), ("LifecycleTransition", TERMINATING)];
        self.administer("PutLifecycleHook", &form).await;
    }
}

fn states(pool: &Pool) -> Vec<MemberState> {
    pool.members.iter().map(|member| member.state.clone()).collect()
}

#[tokio::test]
async fn instances_are_read_with_their_machines_by_id() {
    let settings = json!({"min": 1, "max": 6, "desired": 3, "zones": ["a", "b"], "protected": true});
    let world = World::with("members", settings).await;
    let found = world.members(Depth::Full).await;
    assert!(found.newcomers_protected && found.unread.is_empty() && found.waiting.is_empty(), "{found:?}");
    assert!(found.arn.is_some_and(|arn| arn.ends_with(&world.group)));
    assert_eq!(found.failed_launch, Known::Absent);
    let pool = found.pool.known().cloned().expect("a present group");
    assert_eq!((pool.min_size, pool.max_size, pool.desired, pool.in_service()), (1, 6, 3, 3));
    assert_eq!(pool.newcomers_protected, Known::Known(true));
    assert_eq!((pool.obstacles, pool.failed_launch, pool.hook), (BTreeSet::new(), None, None));
    let truth = world.truth().await;
    for member in &pool.members {
        let real = truth["instances"].as_array().unwrap().iter().find(|one| one["id"] == member.id.as_str());
        let real = real.unwrap_or_else(|| panic!("{member:?} is none of {truth}"));
        assert_eq!(member.address, Known::Known(real["private_ip"].as_str().unwrap().to_owned()));
        assert_eq!(member.zone.as_deref(), real["zone"].as_str());
        assert_eq!((member.state.clone(), member.healthy, member.protected), (MemberState::InService, true, true));
        assert!(member.current_template && member.since.is_some(), "{member:?}");
        assert_eq!((member.cost, &member.replica_set), (None, &None));
    }
    assert!(pool.members.is_sorted_by_key(|member| member.id.clone()));
    let calls = world.bed.calls(&world.group).await;
    let asked = calls.iter().find(|call| call["action"] == MACHINES).expect("EC2 is asked");
    let mut named: Vec<_> = asked["params"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, pool.members.iter().map(|member| member.id.as_str()).collect::<Vec<_>>(), "ids and nothing else");
    assert!(calls.iter().all(|call| call["mutating"] == false), "{calls:?}");
}

#[tokio::test]
async fn a_quick_reading_takes_two_calls_and_a_full_one_two_more() {
    let world = World::new("depth", 0, 4, 1).await;
    world.members(Depth::Quick).await;
    assert_eq!(world.bed.calls(&world.group).await.len(), 2);
    world.members(Depth::Full).await;
    assert_eq!(world.bed.calls(&world.group).await.len(), 6);
    for (action, count) in [(MACHINES, 2), (ACTIVITIES, 1), (REFRESHES, 1), (HOOKS, 0)] {
        assert_eq!(world.count(action).await, count, "{action}");
    }
}

#[tokio::test]
async fn an_absent_group_is_absent_and_an_empty_one_asks_ec2_nothing() {
    let world = World::new("empty", 0, 4, 0).await;
    assert!(world.pool(Depth::Full).await.members.is_empty());
    assert_eq!(world.count(MACHINES).await, 0, "a call without ids would show every instance of the account");
    world.bed.control("DELETE", &format!("/_groups?name={}", world.group), Value::Null).await;
    let found = world.members(Depth::Full).await;
    assert_eq!((found.pool, found.arn), (Known::Absent, None));
}

#[tokio::test]
async fn an_instance_comes_serves_and_goes() {
    let world = World::new("states", 0, 4, 0).await;
    world.life(json!({"pending_ms": 60_000, "terminating_ms": 60_000})).await;
    world.administer("SetDesiredCapacity", &[("DesiredCapacity", "1")]).await;
    let pool = world.pool(Depth::Quick).await;
    assert_eq!((states(&pool), pool.in_service()), (vec![MemberState::Pending], 0));
    assert!(matches!(pool.members[0].address, Known::Known(_)), "a pending machine has its address: {pool:?}");
    world.bed.control("POST", "/_clock", json!({"group": world.group, "advance_ms": 60_000})).await;
    assert_eq!(states(&world.pool(Depth::Quick).await), [MemberState::InService]);
    world.administer("SetDesiredCapacity", &[("DesiredCapacity", "0")]).await;
    assert_eq!(states(&world.pool(Depth::Quick).await), [MemberState::Leaving]);
    world.bed.control("POST", "/_clock", json!({"group": world.group, "advance_ms": 60_000})).await;
    assert!(world.pool(Depth::Quick).await.members.is_empty());
}

#[tokio::test]
async fn a_machine_that_has_ended_has_no_address_and_is_still_a_member() {
    let world = World::new("ended", 0, 4, 2).await;
    world.administer("SuspendProcesses", &[("ScalingProcesses.member.1", "HealthCheck")]).await;
    let gone = world.ids().await.remove(0);
    world.bed.control("POST", "/_reclaim", json!({"instance": gone})).await;
    let pool = world.pool(Depth::Quick).await;
    let of = |id: &str| pool.members.iter().find(|member| member.id == id).expect("a member").clone();
    assert_eq!((of(&gone).address, of(&gone).state), (Known::Absent, MemberState::InService));
    assert_eq!(pool.obstacles, BTreeSet::new(), "nothing that a change needs is suspended");
}

#[tokio::test]
async fn an_id_that_ec2_does_not_know_has_the_group_read_again_once() {
    let world = World::new("unknown", 0, 4, 2).await;
    let ids = world.ids().await;
    let text = format!("The instance ID '{}' does not exist", ids[0]);
    let refusal = json!({"mode": "error", "status": 400, "code": "InvalidInstanceID.NotFound", "message": text});
    world.fault(MACHINES, refusal.clone()).await;
    let found = world.members(Depth::Quick).await;
    assert!(found.unread.is_empty(), "{found:?}");
    let pool = found.pool.known().cloned().unwrap();
    let of = |id: &str| pool.members.iter().find(|member| member.id == id).expect("a member").address.clone();
    assert_eq!(of(&ids[0]), Known::Unknown("EC2 does not show the instance".to_owned()));
    assert!(matches!(of(&ids[1]), Known::Known(_)), "the others are asked for again: {pool:?}");
    assert_eq!((world.count(crate::DESCRIBE).await, world.count(MACHINES).await), (2, 2));
    // When that does not help, the addresses are unknown, and nothing is tried a third time.
    let mut for_ever = refusal;
    for_ever["times"] = json!(0);
    world.fault(MACHINES, for_ever).await;
    let found = world.members(Depth::Quick).await;
    assert_eq!(found.unread.len(), 1);
    assert!(found.pool.known().unwrap().members.iter().all(|member| member.address.is_unknown()), "{found:?}");
    assert_eq!((world.count(crate::DESCRIBE).await, world.count(MACHINES).await), (4, 4));
}

#[tokio::test]
async fn ids_that_only_a_second_answer_names_are_left_out_too() {
    let world = World::new("unknowns", 0, 4, 3).await;
    let ids = world.ids().await;
    for id in &ids[..2] {
        let text = format!("The instance ID '{id}' does not exist");
        let refusal = json!({"mode": "error", "status": 400, "code": "InvalidInstanceID.NotFound", "message": text});
        world.fault(MACHINES, refusal).await;
    }
    let found = world.members(Depth::Quick).await;
    assert!(found.unread.is_empty(), "{found:?}");
    let pool = found.pool.known().cloned().unwrap();
    let of = |id: &str| pool.members.iter().find(|member| member.id == id).expect("a member").address.clone();
    assert!(ids[..2].iter().all(|id| of(id).is_unknown()) && of(&ids[2]).known().is_some(), "{pool:?}");
    assert_eq!((world.count(crate::DESCRIBE).await, world.count(MACHINES).await), (2, 3));
}

#[tokio::test]
async fn without_ec2_the_group_is_known_and_its_addresses_are_not() {
    let world = World::new("no-ec2", 0, 4, 2).await;
    world.fault(MACHINES, json!({"mode": "error", "status": 403, "code": "UnauthorizedOperation", "times": 0})).await;
    let found = world.members(Depth::Full).await;
    let pool = found.pool.known().cloned().expect("the group itself was read");
    assert_eq!((pool.desired, pool.in_service(), pool.obstacles.len()), (2, 2, 0));
    for Member { address, since, .. } in &pool.members {
        assert!(matches!(address, Known::Unknown(why) if why.contains("UnauthorizedOperation")), "{address:?}");
        assert_eq!(*since, None);
    }
    let [error] = found.unread.as_slice() else { panic!("{found:?}") };
    assert_eq!((error.class(), error.permission().action), (ErrorClass::Denied, "ec2:DescribeInstances"));
    let text = format!("ec2:DescribeInstances for instances of Auto Scaling group {} failed: ", world.group);
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_an_obstacle_with_its_reason() {
    let world = World::new("blind", 0, 4, 2).await;
    for action in [REFRESHES, ACTIVITIES] {
        world.fault(action, json!({"mode": "error", "status": 403, "code": "AccessDenied", "times": 0})).await;
        let found = world.members(Depth::Full).await;
        let obstacles: Vec<Obstacle> = found.pool.known().unwrap().obstacles.iter().cloned().collect();
        assert!(matches!(&obstacles[..], [Obstacle::Unread(why)] if why.contains(action)), "{action}: {obstacles:?}");
        assert_eq!(found.unread.len(), 1, "{found:?}");
        // Refreshes say nothing of launches.
        assert_eq!(found.failed_launch.is_unknown(), action == ACTIVITIES, "{found:?}");
        world.bed.mend(&world.group).await;
    }
    assert_eq!(world.pool(Depth::Full).await.obstacles, BTreeSet::new());
}

#[tokio::test]
async fn refreshes_rebalances_and_suspended_processes_are_obstacles() {
    let settings = json!({"min": 0, "max": 6, "desired": 4, "zones": ["a"]});
    let world = World::with("obstacles", settings).await;
    world.life(json!({"refresh_ms": 60_000, "pending_ms": 60_000})).await;
    world.administer("StartInstanceRefresh", &[]).await;
    assert_eq!(world.pool(Depth::Full).await.obstacles, BTreeSet::from([Obstacle::Refresh]));
    assert_eq!(world.pool(Depth::Quick).await.obstacles, BTreeSet::new(), "not asked");
    world.administer("CancelInstanceRefresh", &[]).await;
    assert_eq!(world.pool(Depth::Full).await.obstacles, BTreeSet::new());
    let suspended = [
        ("ScalingProcesses.member.1", "AZRebalance"),
        ("ScalingProcesses.member.2", "Launch"),
        ("ScalingProcesses.member.3", "Terminate"),
    ];
    world.administer("SuspendProcesses", &suspended).await;
    let expected = ["Launch", "Terminate"].map(|process| Obstacle::Suspended(process.to_owned()));
    assert_eq!(world.pool(Depth::Quick).await.obstacles, BTreeSet::from(expected));
}

#[tokio::test]
async fn zones_that_are_being_balanced_are_an_obstacle() {
    let settings = json!({"min": 0, "max": 6, "desired": 4, "zones": ["a", "b"]});
    let world = World::with("zones", settings).await;
    let ids = world.ids().await;
    // The instances of one zone go: the rest stand in the other one.
    let truth = world.truth().await;
    let zone =
        |id: &str| truth["instances"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap()["zone"].clone();
    for id in ids.iter().filter(|id| zone(id.as_str()) == zone(ids[3].as_str())) {
        let form = [("InstanceId", id.as_str()), ("ShouldDecrementDesiredCapacity", "true")];
        administer("TerminateInstanceInAutoScalingGroup", &form).await;
    }
    world.life(json!({"pending_ms": 60_000})).await;
    let launched = world.bed.control("POST", "/_rebalance", json!({"group": world.group})).await;
    assert_eq!(launched["launched"].as_array().map(Vec::len), Some(1), "{launched}");
    assert_eq!(world.pool(Depth::Full).await.obstacles, BTreeSet::from([Obstacle::Rebalance]));
    world.bed.control("POST", "/_clock", json!({"group": world.group, "advance_ms": 60_000})).await;
    assert_eq!(world.pool(Depth::Full).await.obstacles, BTreeSet::new());
}

#[tokio::test]
async fn a_launch_that_failed_is_told_in_the_groups_own_words_until_one_succeeds() {
    let world = World::new("capacity", 0, 4, 1).await;
    let text = "We currently do not have sufficient m5.large capacity in the Availability Zone you requested.";
    world.bed.control("POST", "/_failures", json!({"group": world.group, "times": 0, "message": text})).await;
    world.administer("SetDesiredCapacity", &[("DesiredCapacity", "2")]).await;
    let failed = async || world.members(Depth::Full).await.failed_launch.known().cloned().expect("the launch failed");
    assert_eq!(failed().await.text, text);
    world.fault(REFRESHES, json!({"mode": "error", "status": 403, "code": "AccessDenied", "times": 0})).await;
    assert_eq!(failed().await.text, text, "another call failed");
    assert!(world.members(Depth::Quick).await.failed_launch.is_unknown(), "not asked");
    world.bed.control("DELETE", &format!("/_failures?group={}", world.group), Value::Null).await;
    let found = world.members(Depth::Full).await;
    assert_eq!(found.failed_launch, Known::Absent, "{found:?}");
    assert_eq!(found.pool.known().map(Pool::in_service), Some(2), "{found:?}");
}

#[tokio::test]
async fn instances_of_an_older_template_are_told_from_the_rest() {
    let world = World::new("versions", 0, 6, 0).await;
    let template = world.group.clone();
    let version = async || world.bed.control("POST", "/_templates", json!({"name": template})).await["version"].clone();
    let follow = async |version: &str| {
        let form = [("LaunchTemplate.LaunchTemplateName", template.as_str()), ("LaunchTemplate.Version", version)];
        world.administer("UpdateAutoScalingGroup", &form).await;
    };
    let raise = async |to: &str| world.administer("SetDesiredCapacity", &[("DesiredCapacity", to)]).await;
    assert_eq!(version().await, 1);
    follow("1").await;
    raise("1").await;
    let first = world.ids().await.remove(0);
    assert_eq!(version().await, 2);
    follow("2").await;
    raise("2").await;
    let current = async || {
        let pool = world.pool(Depth::Quick).await;
        pool.members.into_iter().map(|member| (member.id == first, member.current_template)).collect::<BTreeSet<_>>()
    };
    let expected = BTreeSet::from([(true, false), (false, true)]);
    assert_eq!(current().await, expected, "by number");
    follow("$Latest").await;
    assert_eq!(current().await, expected, "by what was launched last");
    follow("1").await;
    assert_eq!(current().await, BTreeSet::from([(true, true), (false, false)]));
}

#[tokio::test]
async fn an_instance_under_hooks_waits_under_each_of_them() {
    let world = World::new("hooks", 0, 4, 2).await;
    world.hook("drain").await;
    world.hook("audit").await;
    let form = [("LifecycleHookName", "boot"), ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING")];
    world.administer("PutLifecycleHook", &form).await;
    let id = world.ids().await.remove(0);
    let form = [("InstanceId", id.as_str()), ("ShouldDecrementDesiredCapacity", "true")];
    administer("TerminateInstanceInAutoScalingGroup", &form).await;
    let found = world.members(Depth::Quick).await;
    let waits = |hook: &str| Waiting { instance: id.clone(), hook: hook.to_owned(), token: String::new() };
    assert_eq!(found.waiting, [waits("audit"), waits("drain")]);
    assert_eq!(found.waits(&id, "drain"), Some(&waits("drain")));
    assert_eq!((found.waits(&id, "boot"), found.waits("i-1", "drain")), (None, None));
    let pool = found.pool.known().unwrap();
    assert_eq!(pool.hook, None, "which hook is the operator's, AWS does not say");
    let member = pool.members.iter().find(|member| member.id == id).unwrap();
    assert_eq!(member.state, MemberState::Leaving);
}

#[tokio::test]
async fn a_group_that_cannot_be_read_is_an_error_and_reads_are_tried_three_times() {
    let world = World::new("unreadable", 0, 4, 1).await;
    world.fault(MACHINES, json!({"mode": "error", "status": 503, "code": "Unavailable", "times": 2})).await;
    assert!(world.members(Depth::Quick).await.unread.is_empty());
    assert_eq!(world.count(MACHINES).await, 3);
    world.fault(crate::DESCRIBE, json!({"mode": "error", "status": 403, "code": "AccessDenied", "times": 0})).await;
    let error = members(&world.client, &world.ec2, &world.group, Depth::Full).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    assert_eq!(world.count(ACTIVITIES).await, 0, "without the group nothing else is asked");
}

#[tokio::test]
async fn another_region_has_no_such_group() {
    let world = World::new("elsewhere", 0, 4, 1).await;
    let clients = own(&world.bed.clients(), "eu-west-1");
    let found = members(&clients.autoscaling(), &clients.ec2(), &world.group, Depth::Full).await.unwrap();
    assert_eq!(found.pool, Known::Absent);
}
