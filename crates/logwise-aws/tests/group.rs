//! The Auto Scaling adapter and the clients against the test bed's strict AWS stand-in.

#[path = "group/changes.rs"]
mod changes;
#[path = "group/members.rs"]
mod members;
mod stand_in;

use aws_sdk_autoscaling::Client;
use logwise_aws::group::{Group, Outcome, check, describe, send};
use logwise_aws::{AwsClients, AwsError, AwsSettings, Base, Clients, Ec2, Identity, Pipeline};
use logwise_plan::Known;
use logwise_plan::workers::Raise;
use logwise_runtime::ErrorClass;
use serde_json::{Value, json};
use stand_in::{REGION, StandIn, unique};
use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const SET: &str = "SetDesiredCapacity";
const DESCRIBE: &str = "DescribeAutoScalingGroups";

/// A raise without an intent: what [`check`] says, or else [`send`].
async fn raise(client: &Client, action: &Raise) -> Result<Outcome, AwsError> {
    let arn = describe(client, &action.pool).await?.arn.unwrap_or_default();
    match check(client, action, &arn).await? {
        Some(outcome) => Ok(outcome),
        None => send(client, action, || Ok(())).await.map(|()| Outcome::Done),
    }
}

/// Clients with the credentials of this process, as a pipeline without a Secret and a role gets them.
fn own(clients: &AwsClients, region: &str) -> Clients {
    let pipeline = Pipeline { installation: "bed", namespace: "tests", name: "own" };
    clients.for_identity(&Identity::new(pipeline, Base::Ambient, None), region)
}

struct World {
    bed: StandIn,
    group: String,
    client: Client,
    ec2: Ec2,
}

impl World {
    async fn new(test: &str, min: i32, max: i32, desired: i32) -> Self {
        Self::with(test, json!({"min": min, "max": max, "desired": desired})).await
    }

    /// With a group of these settings.
    async fn with(test: &str, mut settings: Value) -> Self {
        let bed = StandIn::attach();
        let group = unique(test);
        settings["name"] = json!(group);
        bed.control("POST", "/_groups", settings).await;
        let clients = own(&bed.clients(), REGION);
        Self { bed, group, client: clients.autoscaling(), ec2: clients.ec2() }
    }

    fn action(&self, from: i32, to: i32) -> Raise {
        Raise { pool: self.group.clone(), from, to }
    }

    async fn describe(&self) -> Group {
        describe(&self.client, &self.group)
            .await
            .expect("a readable group")
            .group
            .known()
            .cloned()
            .expect("a present group")
    }

    async fn fault(&self, action: &str, rule: Value) {
        self.bed.fault(&self.group, action, rule).await;
    }

    async fn count(&self, action: &str) -> usize {
        self.bed.count(&self.group, action).await
    }
}

#[tokio::test]
async fn a_group_is_read_with_bounds_desired_and_in_service() {
    let world = World::new("read", 1, 4, 2).await;
    assert_eq!(world.describe().await, Group { min_size: 1, max_size: 4, desired: 2, in_service: 2 });
    let none = unique("nobody");
    assert_eq!(describe(&world.client, &none).await.unwrap().group, Known::Absent);
    // Part of a name is not the name.
    assert_eq!(describe(&world.client, &world.group[..4]).await.unwrap().group, Known::Absent);
}

#[tokio::test]
async fn a_raise_is_sent_once_and_repeating_it_sends_nothing() {
    let world = World::new("raise", 1, 4, 1).await;
    let action = world.action(1, 3);
    assert_eq!(raise(&world.client, &action).await.unwrap(), Outcome::Done);
    assert_eq!(world.describe().await.desired, 3);
    for _ in 0..2 {
        assert_eq!(raise(&world.client, &action).await.unwrap(), Outcome::AlreadySo);
    }
    assert_eq!(world.count(SET).await, 1);
    let calls = world.bed.calls(&world.group).await;
    let sent = calls.iter().find(|call| call["action"] == SET).unwrap();
    assert_eq!(sent["params"]["HonorCooldown"].as_str(), Some("false"), "{sent}");
}

#[tokio::test]
async fn a_raise_never_lowers_and_leaves_a_changed_group_alone() {
    let world = World::new("changed", 1, 4, 3).await;
    assert_eq!(raise(&world.client, &world.action(3, 2)).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(raise(&world.client, &world.action(1, 2)).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(
        raise(&world.client, &world.action(2, 4)).await.unwrap(),
        Outcome::Superseded { desired: 3, max_size: 4 }
    );
    assert_eq!(
        raise(&world.client, &world.action(3, 5)).await.unwrap(),
        Outcome::Superseded { desired: 3, max_size: 4 }
    );
    assert_eq!((world.describe().await.desired, world.count(SET).await), (3, 0));
}

#[tokio::test]
async fn a_check_sends_nothing_and_a_send_does_not_look() {
    let world = World::new("split", 1, 4, 2).await;
    let already = Some(Outcome::AlreadySo);
    let superseded = Some(Outcome::Superseded { desired: 2, max_size: 4 });
    let table = [(2, 3, None), (2, 2, already), (1, 2, already), (1, 3, superseded), (2, 5, superseded)];
    let arn = describe(&world.client, &world.action(2, 3).pool).await.unwrap().arn.unwrap();
    for (from, to, outcome) in table {
        assert_eq!(check(&world.client, &world.action(from, to), &arn).await.unwrap(), outcome, "{from} to {to}");
    }
    // Planned for one that has gone since, and was made again with the same numbers.
    assert_eq!(
        check(&world.client, &world.action(2, 3), "another").await.unwrap(),
        Some(Outcome::Superseded { desired: 2, max_size: 4 })
    );
    assert_eq!((world.describe().await.desired, world.count(SET).await), (2, 0));
    let looks = world.count(DESCRIBE).await;
    send(&world.client, &world.action(2, 3), || Ok(())).await.unwrap();
    assert_eq!((world.count(SET).await, world.count(DESCRIBE).await), (1, looks));
    assert_eq!(world.describe().await.desired, 3);
}

#[tokio::test]
async fn a_group_made_anew_under_its_name_has_another_arn() {
    let world = World::new("anew", 1, 4, 1).await;
    let before = describe(&world.client, &world.group).await.unwrap().arn.expect("AWS names the group");
    assert!(before.starts_with("arn:aws:autoscaling:"), "{before}");
    assert!(before.ends_with(&format!("autoScalingGroupName/{}", world.group)), "{before}");
    world.bed.control("DELETE", &format!("/_groups?name={}", world.group), Value::Null).await;
    let between = describe(&world.client, &world.group).await.unwrap();
    assert_eq!((between.group, between.arn), (Known::Absent, None));
    world.bed.control("POST", "/_groups", json!({"name": world.group, "min": 1, "max": 4, "desired": 1})).await;
    let after = describe(&world.client, &world.group).await.unwrap().arn.expect("AWS names the group");
    assert_ne!(after, before);
}

#[tokio::test]
async fn a_raise_of_a_group_that_is_gone_is_not_found() {
    let world = World::new("gone", 1, 4, 1).await;
    world.bed.control("DELETE", &format!("/_groups?name={}", world.group), Value::Null).await;
    let error = raise(&world.client, &world.action(1, 2)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    let text =
        format!("desired capacity of Auto Scaling group {} could not be set: no group has that name", world.group);
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_group_that_goes_between_look_and_call_is_not_found_with_the_words_of_aws() {
    let world = World::new("vanished", 1, 4, 1).await;
    let message = format!("AutoScalingGroup name not found - AutoScalingGroup '{}' not found", world.group);
    world.fault(SET, json!({"mode": "error", "status": 400, "code": "ValidationError", "message": message})).await;
    let error = raise(&world.client, &world.action(1, 2)).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::NotFound, Some("ValidationError")));
    assert!(error.to_string().ends_with(&format!("ValidationError: {message}")), "{error}");
}

#[tokio::test]
async fn a_lost_answer_is_transient_and_the_next_look_decides() {
    let world = World::new("lost", 1, 4, 1).await;
    world.fault(SET, json!({"mode": "lost"})).await;
    let action = world.action(1, 2);
    let error = raise(&world.client, &action).await.unwrap_err();
    assert!(matches!(error, AwsError::SetDesiredCapacity { .. }), "{error:?}");
    assert_eq!((error.class(), error.code()), (ErrorClass::Transient, None));
    assert_eq!(world.count(SET).await, 1, "a call that changes something is sent once");
    assert_eq!(world.describe().await.desired, 2);
    assert_eq!(raise(&world.client, &action).await.unwrap(), Outcome::AlreadySo);
    assert_eq!(world.count(SET).await, 1);
}

#[tokio::test]
async fn a_call_that_did_not_arrive_is_made_by_the_next_look() {
    let world = World::new("dropped", 1, 4, 1).await;
    world.fault(SET, json!({"mode": "drop"})).await;
    let action = world.action(1, 2);
    assert_eq!(raise(&world.client, &action).await.unwrap_err().class(), ErrorClass::Transient);
    assert_eq!((world.describe().await.desired, world.count(SET).await), (1, 1));
    assert_eq!(raise(&world.client, &action).await.unwrap(), Outcome::Done);
    assert_eq!((world.describe().await.desired, world.count(SET).await), (2, 2));
}

#[tokio::test]
async fn refused_changes_are_sent_once_whatever_the_refusal() {
    use ErrorClass::{Conflict, Denied, Invalid, Throttled, Transient};
    let world = World::new("refused", 1, 4, 1).await;
    let table = [
        (403, "AccessDenied", Denied),
        (403, "ExpiredToken", Denied),
        (403, "InvalidClientTokenId", Denied),
        (403, "SignatureDoesNotMatch", Denied),
        (400, "Throttling", Throttled),
        (503, "RequestLimitExceeded", Throttled),
        (400, "ScalingActivityInProgress", Conflict),
        (400, "ValidationError", Invalid),
        (500, "InternalFailure", Transient),
        (503, "ServiceUnavailable", Transient),
    ];
    for (sent, (status, code, class)) in (1..).zip(table) {
        world.fault(SET, json!({"mode": "error", "status": status, "code": code, "message": "injected"})).await;
        let error = raise(&world.client, &world.action(1, 2)).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (class, Some(code)), "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(world.count(SET).await, sent, "{code}");
    }
    assert_eq!(world.describe().await.desired, 1);
}

#[tokio::test]
async fn reads_are_tried_three_times_and_no_more() {
    let world = World::new("retried", 1, 4, 1).await;
    world.fault(DESCRIBE, json!({"mode": "error", "status": 503, "code": "ServiceUnavailable", "times": 2})).await;
    assert_eq!(world.describe().await.desired, 1);
    assert_eq!(world.count(DESCRIBE).await, 3);
    world
        .fault(
            DESCRIBE,
            json!({"mode": "error", "status": 400, "code": "Throttling", "message": "Rate exceeded", "times": 0}),
        )
        .await;
    let error = describe(&world.client, &world.group).await.unwrap_err();
    assert_eq!((error.class(), world.count(DESCRIBE).await), (ErrorClass::Throttled, 6));
    assert_eq!(
        error.to_string(),
        format!("Auto Scaling group {} could not be read: Throttling: Rate exceeded", world.group)
    );
    world.bed.mend(&world.group).await;
    world.fault(DESCRIBE, json!({"mode": "error", "status": 403, "code": "AccessDenied"})).await;
    assert_eq!(describe(&world.client, &world.group).await.unwrap_err().class(), ErrorClass::Denied);
    assert_eq!(world.count(DESCRIBE).await, 7, "a refusal is not repeated");
}

#[tokio::test]
async fn a_raise_whose_look_fails_sends_nothing() {
    let world = World::new("blind", 1, 4, 1).await;
    world.fault(DESCRIBE, json!({"mode": "error", "status": 403, "code": "AccessDenied"})).await;
    let error = raise(&world.client, &world.action(1, 2)).await.unwrap_err();
    assert!(matches!(error, AwsError::DescribeGroup { .. }), "{error:?}");
    assert_eq!(world.count(SET).await, 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_ends_in_a_time_out() {
    let world = World::new("hung", 1, 4, 1).await;
    let brief = AwsSettings { attempt_timeout: Duration::from_secs(2), ..AwsSettings::default() };
    let client = own(&world.bed.clients_with(brief), REGION).autoscaling();
    world.fault(SET, json!({"mode": "delay", "delay_ms": 5_000})).await;
    let error = raise(&client, &world.action(1, 2)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    assert!(error.to_string().ends_with("could not be set: no answer in time"), "{error}");
    // The stand-in carries the call out although nobody waits for it any more.
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.describe().await.desired != 2 {
        assert!(Instant::now() < deadline, "the delayed call was not carried out");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.count(SET).await, 1);
    assert_eq!(raise(&client, &world.action(1, 2)).await.unwrap(), Outcome::AlreadySo);
}

fn at(url: &str) -> AwsClients {
    let url = Some(url.to_owned());
    AwsClients::open(AwsSettings { endpoint_url: url, allow_insecure_endpoints: true, ..AwsSettings::default() })
        .expect("an endpoint on this machine is allowed here")
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_as_such() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = own(&at(&format!("http://{free}")), REGION).autoscaling();
    let error = describe(&client, "workers").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    assert_eq!(error.to_string(), "Auto Scaling group workers could not be read: no connection: connection refused");
    assert!(error.source().is_some());
}

#[test]
fn clients_that_are_not_used_send_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let clients = at(&url);
    for region in [REGION, "eu-west-1", REGION] {
        let clients = own(&clients, region);
        let (s3, autoscaling) = (clients.s3(None), clients.autoscaling());
        assert_eq!(s3.config().region().unwrap().as_ref(), region);
        assert_eq!(autoscaling.config().region().unwrap().as_ref(), region);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Runs one of the tests above in a process without credentials: it must fail, and say why.
#[test]
fn without_credentials_the_error_says_so() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_group_is_read_with_bounds_desired_and_in_service"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_") && name != "AWS_ENDPOINT_URL") {
        child.env_remove(name);
    }
    let nowhere = std::env::temp_dir().join("logwise-no-such-file");
    child.env("AWS_CONFIG_FILE", &nowhere).env("AWS_SHARED_CREDENTIALS_FILE", &nowhere);
    let output = child.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("no AWS credentials were found for the operator"), "{text}");
    assert!(text.contains("class: Denied"), "{text}");
}
