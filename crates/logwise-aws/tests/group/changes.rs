//! The calls that change something about a group's instances: sent once, after the permit, and taken back by nobody.

use crate::World;
use crate::members::administer;
use logwise_aws::AwsError;
use logwise_aws::group::{
    Depth, Ended, Hooked, MOST_PROTECTED, complete, heartbeat, protect, protect_newcomers, terminate,
};
use logwise_plan::Known;
use logwise_plan::workers::{MemberState, Waiting};
use logwise_runtime::ErrorClass;
use serde_json::{Value, json};

const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
const PROTECT: &str = "SetInstanceProtection";
const UPDATE: &str = "UpdateAutoScalingGroup";
const HEARTBEAT: &str = "RecordLifecycleActionHeartbeat";
const COMPLETE: &str = "CompleteLifecycleAction";

fn yes() -> Result<(), String> {
    Ok(())
}

fn no() -> Result<(), String> {
    Err("the term is over".to_owned())
}

impl World {
    async fn parameters(&self, action: &str) -> Value {
        let calls = self.bed.calls(&self.group).await;
        calls.iter().rfind(|call| call["action"] == action).expect("a call")["params"].clone()
    }

    async fn waiting(&self, instance: &str) -> Waiting {
        let waiting = self.members(Depth::Quick).await.waiting;
        waiting.into_iter().find(|one| one.instance == instance).expect("the instance waits")
    }
}

#[tokio::test]
async fn an_instance_is_ended_by_its_id_and_the_group_wants_one_fewer() {
    let world = World::new("end", 1, 4, 3).await;
    let ids = world.ids().await;
    let ended = terminate(&world.client, &ids[1], yes).await.unwrap();
    assert!(matches!(&ended, Ended::Begun { activity } if !activity.is_empty()), "{ended:?}");
    let pool = world.pool(Depth::Quick).await;
    assert_eq!((pool.desired, pool.in_service()), (2, 2));
    assert!(pool.members.iter().all(|member| member.id != ids[1]), "{pool:?}");
    let sent = world.parameters(TERMINATE).await;
    assert_eq!(
        (sent["InstanceId"].as_str(), sent["ShouldDecrementDesiredCapacity"].as_str()),
        (Some(ids[1].as_str()), Some("true"))
    );
    assert_eq!(terminate(&world.client, &ids[1], yes).await.unwrap(), Ended::AlreadySo);
    assert_eq!(terminate(&world.client, "i-0123456789abcdef0", yes).await.unwrap(), Ended::AlreadySo);
    assert_eq!(world.pool(Depth::Quick).await.desired, 2);
}

#[tokio::test]
async fn protection_does_not_stop_the_call_by_id() {
    let world = World::with("shield", json!({"min": 0, "max": 4, "desired": 2, "protected": true})).await;
    let ids = world.ids().await;
    terminate(&world.client, &ids[0], yes).await.unwrap();
    assert_eq!(world.ids().await, [ids[1].clone()]);
}

#[tokio::test]
async fn aws_refuses_to_go_below_the_minimum_and_to_end_what_is_on_its_way() {
    let world = World::new("minimum", 1, 4, 1).await;
    let ids = world.ids().await;
    let error = terminate(&world.client, &ids[0], yes).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::Invalid, Some("ValidationError")), "{error}");
    assert!(error.to_string().contains(&format!("for instance {} failed: ValidationError: ", ids[0])), "{error}");
    assert!(error.to_string().contains("desiredSize equals minSize (1)"), "{error}");

    let world = World::new("leaving", 0, 4, 2).await;
    world.bed.control("PUT", "/_life", json!({"group": world.group, "terminating_ms": 60_000})).await;
    let ids = world.ids().await;
    terminate(&world.client, &ids[0], yes).await.unwrap();
    let error = terminate(&world.client, &ids[0], yes).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::Conflict, Some("ScalingActivityInProgress")));
    assert_eq!(world.pool(Depth::Quick).await.desired, 1, "once is once");
}

#[tokio::test]
async fn a_lost_answer_ends_one_instance_and_the_next_look_sees_it() {
    let world = World::new("lost-end", 0, 4, 3).await;
    let ids = world.ids().await;
    world.fault(TERMINATE, json!({"mode": "lost"})).await;
    let error = terminate(&world.client, &ids[0], yes).await.unwrap_err();
    assert_eq!((error.class(), error.is_unsent()), (ErrorClass::Transient, false));
    assert_eq!(error.permission().action, "autoscaling:TerminateInstanceInAutoScalingGroup");
    assert_eq!(world.count(TERMINATE).await, 1, "a call that changes something is sent once");
    let pool = world.pool(Depth::Quick).await;
    assert_eq!((pool.desired, pool.in_service()), (2, 2));
    assert_eq!(terminate(&world.client, &ids[0], yes).await.unwrap(), Ended::AlreadySo);
}

#[tokio::test]
async fn a_call_that_arrives_twice_or_late_ends_one_instance() {
    for mode in ["twice", "late"] {
        let world = World::new(mode, 0, 4, 3).await;
        let ids = world.ids().await;
        world.fault(TERMINATE, json!({"mode": mode, "delay_ms": 600_000})).await;
        let answer = terminate(&world.client, &ids[0], yes).await;
        assert_eq!(answer.is_ok(), mode == "twice", "{answer:?}");
        world.bed.control("POST", "/_deliveries", json!({"resource": world.group})).await;
        let pool = world.pool(Depth::Quick).await;
        assert_eq!((pool.desired, pool.in_service()), (2, 2), "{mode}");
    }
}

#[tokio::test]
async fn nothing_is_sent_without_the_permit() {
    let world = World::new("permit", 0, 4, 2).await;
    world.hook("drain").await;
    let ids = world.ids().await;
    let form = [("InstanceId", ids[0].as_str()), ("ShouldDecrementDesiredCapacity", "true")];
    administer(TERMINATE, &form).await;
    let waiting = world.waiting(&ids[0]).await;
    let before = world.bed.calls(&world.group).await.len();
    let (client, group) = (&world.client, world.group.as_str());
    let refused = [
        terminate(client, &ids[1], no).await.map(drop),
        protect(client, group, &ids[1..], no).await,
        protect_newcomers(client, group, no).await,
        heartbeat(client, group, &waiting, no).await.map(drop),
        complete(client, group, &waiting, no).await.map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!((error.class(), error.is_unsent()), (ErrorClass::Conflict, true), "{error}");
        assert!(error.to_string().ends_with("nothing was sent: the term is over"), "{error}");
    }
    assert_eq!(world.bed.calls(&world.group).await.len(), before);
}

#[tokio::test]
async fn refused_changes_are_sent_once_whatever_the_refusal() {
    let world = World::new("once", 0, 4, 2).await;
    world.hook("drain").await;
    let ids = world.ids().await;
    let form = [("InstanceId", ids[0].as_str()), ("ShouldDecrementDesiredCapacity", "true")];
    administer(TERMINATE, &form).await;
    let waiting = world.waiting(&ids[0]).await;
    let (client, group) = (&world.client, world.group.as_str());
    for (status, code, class) in
        [(400, "Throttling", ErrorClass::Throttled), (503, "ServiceUnavailable", ErrorClass::Transient)]
    {
        for action in [TERMINATE, PROTECT, UPDATE, HEARTBEAT, COMPLETE] {
            let before = world.count(action).await;
            world.fault(action, json!({"mode": "error", "status": status, "code": code})).await;
            let error: AwsError = match action {
                TERMINATE => terminate(client, &ids[1], yes).await.map(drop),
                PROTECT => protect(client, group, &ids[1..], yes).await,
                UPDATE => protect_newcomers(client, group, yes).await,
                HEARTBEAT => heartbeat(client, group, &waiting, yes).await.map(drop),
                _ => complete(client, group, &waiting, yes).await.map(drop),
            }
            .unwrap_err();
            assert_eq!((error.class(), error.code()), (class, Some(code)), "{action}");
            assert!(error.permission().changes && error.permission().action.ends_with(action), "{error}");
            assert_eq!(world.count(action).await, before + 1, "{action}");
        }
    }
}

#[tokio::test]
async fn instances_in_service_are_protected_and_stay_so() {
    let world = World::new("protect", 0, 4, 2).await;
    let ids = world.ids().await;
    assert!(world.pool(Depth::Quick).await.members.iter().all(|member| !member.protected));
    for _ in 0..2 {
        protect(&world.client, &world.group, &ids, yes).await.unwrap();
        assert!(world.pool(Depth::Quick).await.members.iter().all(|member| member.protected));
    }
    assert_eq!(world.parameters(PROTECT).await["ProtectedFromScaleIn"], "true");
    protect(&world.client, &world.group, &[], yes).await.unwrap();
    assert_eq!(world.count(PROTECT).await, 2, "for nobody, nothing is sent");
    let many: Vec<String> = (0..=MOST_PROTECTED).map(|number| format!("i-{number}")).collect();
    let error = protect(&world.client, &world.group, &many, yes).await.unwrap_err();
    assert_eq!((error.class(), world.count(PROTECT).await), (ErrorClass::Invalid, 2), "{error}");
}

#[tokio::test]
async fn an_instance_that_is_not_in_service_is_protected_by_the_groups_setting_alone() {
    let world = World::new("newcomers", 0, 4, 1).await;
    let pool = world.pool(Depth::Quick).await;
    assert_eq!(pool.newcomers_protected, Known::Known(false));
    world.bed.control("PUT", "/_life", json!({"group": world.group, "pending_ms": 60_000})).await;
    protect_newcomers(&world.client, &world.group, yes).await.unwrap();
    let sent = world.parameters(UPDATE).await;
    let expected = json!({"AutoScalingGroupName": world.group, "NewInstancesProtectedFromScaleIn": "true"});
    assert_eq!(sent, expected, "nothing else of the group is set");
    let found = world.members(Depth::Quick).await;
    assert!(found.newcomers_protected);
    let after = found.pool.known().unwrap();
    assert_eq!((after.min_size, after.max_size, after.desired), (pool.min_size, pool.max_size, pool.desired));
    let form = [("AutoScalingGroupName", world.group.as_str()), ("DesiredCapacity", "2")];
    administer("SetDesiredCapacity", &form).await;
    let pool = world.pool(Depth::Quick).await;
    let new = pool.members.iter().find(|member| member.state == MemberState::Pending).expect("a pending instance");
    assert!(!new.protected, "protection begins in service");
    let error = protect(&world.client, &world.group, std::slice::from_ref(&new.id), yes).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
    world.bed.control("POST", "/_clock", json!({"group": world.group, "advance_ms": 60_000})).await;
    let pool = world.pool(Depth::Quick).await;
    let served = pool.members.iter().find(|member| member.id == new.id).expect("a member");
    assert!(served.protected && served.state == MemberState::InService, "{pool:?}");
}

#[tokio::test]
async fn a_drained_instance_is_kept_waiting_and_then_let_go() {
    let world = World::new("drain", 0, 4, 2).await;
    world.hook("drain").await;
    let ids = world.ids().await;
    terminate(&world.client, &ids[0], yes).await.unwrap();
    let waiting = world.waiting(&ids[0]).await;
    let (client, group) = (&world.client, world.group.as_str());
    let later = async |ms: u64| {
        world.bed.control("POST", "/_clock", json!({"group": group, "advance_ms": ms})).await["waiting"][0]["left_ms"]
            .as_u64()
    };
    let hour = 3_600_000;
    assert!(later(hour - 60_000).await.is_some_and(|left| left <= 60_000));
    assert_eq!(heartbeat(client, group, &waiting, yes).await.unwrap(), Hooked::Done);
    assert!(later(60_000).await.is_some_and(|left| left > hour - 120_000), "the time-out has begun anew");
    assert_eq!(world.pool(Depth::Quick).await.members.len(), 2, "it waits");
    assert_eq!(complete(client, group, &waiting, yes).await.unwrap(), Hooked::Done);
    assert_eq!(world.parameters(COMPLETE).await["LifecycleActionResult"], "CONTINUE");
    assert_eq!(world.ids().await, [ids[1].clone()]);
    for over in [heartbeat(client, group, &waiting, yes).await, complete(client, group, &waiting, yes).await] {
        assert_eq!(over.unwrap(), Hooked::NothingWaits);
    }
}

#[tokio::test]
async fn a_hook_of_somebody_else_goes_on_holding() {
    let world = World::new("two-hooks", 0, 4, 2).await;
    world.hook("drain").await;
    world.hook("audit").await;
    let ids = world.ids().await;
    terminate(&world.client, &ids[0], yes).await.unwrap();
    let ours = Waiting { instance: ids[0].clone(), hook: "drain".to_owned(), token: String::new() };
    assert_eq!(complete(&world.client, &world.group, &ours, yes).await.unwrap(), Hooked::Done);
    let pool = world.pool(Depth::Quick).await;
    assert!(pool.members.iter().any(|member| member.id == ids[0] && member.state == MemberState::Leaving), "{pool:?}");
    assert_eq!(complete(&world.client, &world.group, &ours, yes).await.unwrap(), Hooked::NothingWaits);
}
