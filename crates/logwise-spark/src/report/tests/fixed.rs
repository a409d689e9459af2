//! What is told while a number that the spec names cannot be reached.

use super::*;
use logwise_plan::workers::{DriverAt, UNKNOWN_HOST};

/// One in service without a worker for so many seconds, beside that of the driver, where one is wanted.
fn silent(seconds: i64) -> Case {
    Case::with(|case| {
        case.cluster.spec = serde_json::from_value(json!({"changePolicy": {"mode": "Apply"}})).unwrap();
        case.policy.size = Sizing::Fixed(1);
        case.plan.holds = vec![Hold::NoEffect { missing: 1 }];
        let Known::Known(pool) = &mut case.facts.pool else { unreachable!("it is known") };
        let none = Member {
            address: Known::Known("10.0.0.2".into()),
            since: Some(at(-seconds)),
            ..member("i-2", MemberState::InService)
        };
        (pool.desired, pool.members) = (2, vec![member("i-1", MemberState::InService), none]);
        alive(case, "10.0.0.1");
    })
}

/// The driver runs on a worker that has registered with this host.
fn alive(case: &mut Case, host: &str) {
    let tasks = Known::Known(0);
    let worker =
        Worker { id: "w-1".into(), host: host.into(), state: WorkerState::Alive, cores: 2, cores_used: 1, tasks };
    let driver = DriverAt { id: "d".into(), state: "RUNNING".into(), worker: Some("w-1".into()) };
    (case.page.cluster.workers, case.page.cluster.drivers) = (vec![worker], vec![driver]);
    case.facts.cluster = Known::Known(case.page.cluster.clone());
}

#[tokio::test]
async fn one_that_cannot_be_cordoned_for_want_of_a_worker_is_told_and_settles_the_generation() {
    let case = silent(600);
    let (truth, reason, message) = case.condition(ConditionType::ScalingLimited);
    assert_eq!((truth, reason), (Truth::True, Reason::ScaleInHeld));
    assert!(message.contains("1 in service have no worker") && message.contains("worker log"), "{message}");
    assert_eq!(case.report().status.fields["spark"]["settledGeneration"], 1);
    let fresh = silent(60);
    assert_eq!(fresh.condition(ConditionType::ScalingLimited).0, Truth::False, "its worker may register yet");
    assert!(fresh.report().status.fields["spark"]["settledGeneration"].is_null());
}

#[tokio::test]
async fn a_driver_on_a_worker_that_registered_by_name_is_told() {
    let told = |host: &str| {
        let mut case = silent(60);
        case.plan.holds = vec![Hold::DriverHost { id: UNKNOWN_HOST.into() }];
        alive(&mut case, host);
        case.condition(ConditionType::ScalingLimited)
    };
    let (truth, reason, message) = told("ip-10-0-0-1.internal");
    assert_eq!((truth, reason), (Truth::True, Reason::ScaleInHeld));
    assert!(message.contains("it is not certain where the driver runs. Fewer are wanted"), "{message}");
    for host in ["10.0.0.1", "[fd00::1]"] {
        assert_eq!(told(host).0, Truth::False, "{host}: it passes");
    }
}
