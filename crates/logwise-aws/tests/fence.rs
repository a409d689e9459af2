//! As whom, where to and for what the operator calls AWS, seen from the other end of the wire.

#[path = "fence/endpoints.rs"]
mod endpoints;
mod wire;

use logwise_aws::group::{Group, describe, send};
use logwise_aws::permissions::{self, Permission};
use logwise_aws::{AwsClients, AwsError, AwsSettings, Base, Clients, Identity, Owner, Pipeline, StaticKeys};
use logwise_aws::{Outcome, Wanted, preflight};
use logwise_plan::Known;
use logwise_plan::workers::Raise;
use logwise_runtime::ErrorClass;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wire::{Answer, Request, Wire, assumed, caller, no_groups, refused};

const REGION: &str = "eu-west-1";
const ROLE: &str = "arn:aws:iam::123456789012:role/pipeline";
const PIPELINE: Pipeline<'_> = Pipeline { installation: "prod", namespace: "shop", name: "orders" };
const FAR: &str = "2099-01-01T00:00:00Z";

fn base(secret: &str) -> Base {
    Base::Static(StaticKeys::new("AKIABASE".into(), secret.into(), None).expect("keys that a request can carry"))
}

fn identity(secret: &str, role: Option<&str>) -> Identity {
    Identity::new(PIPELINE, base(secret), role.map(str::to_owned))
}

fn bed(url: &str) -> AwsClients {
    let settings =
        AwsSettings { endpoint_url: Some(url.to_owned()), allow_insecure_endpoints: true, ..AwsSettings::default() };
    AwsClients::open(settings).expect("an endpoint that the switch allows")
}

async fn look(clients: &Clients) -> Result<Known<Group>, AwsError> {
    Ok(describe(&clients.autoscaling(), "workers").await?.group)
}

/// Answers STS with `sts` and everything else with an empty list of groups.
async fn with_sts(sts: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Wire {
    Wire::new(move |request| if request.is_sts() { sts(request) } else { no_groups() }).await
}

#[tokio::test]
async fn a_role_is_assumed_once_with_the_pipelines_external_id_and_its_keys_sign_the_calls() {
    let wire = with_sts(|_| assumed("ASIAROLE", "role-secret", FAR)).await;
    let aws = bed(wire.url());
    for _ in 0..3 {
        let clients = aws.for_identity(&identity("base-secret", Some(ROLE)), REGION);
        assert_eq!(look(&clients).await.unwrap(), Known::Absent);
    }
    let requests = wire.requests();
    let (sts, rest): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.is_sts());
    assert_eq!((sts.len(), rest.len()), (1, 3), "{requests:?}");
    let call = sts[0];
    assert_eq!(call.key_id(), "AKIABASE");
    assert!(call.headers["authorization"].contains("/eu-west-1/sts/"), "{call:?}");
    assert_eq!(call.form("Action").as_deref(), Some("AssumeRole"));
    assert_eq!(call.form("RoleArn").as_deref(), Some(ROLE));
    assert_eq!(call.form("ExternalId").as_deref(), Some("prod/shop/orders"));
    assert_eq!(call.form("RoleSessionName").as_deref(), Some("prod.orders"));
    assert!(rest.iter().all(|request| request.key_id() == "ASIAROLE"), "{rest:?}");
    assert!(rest.iter().all(|request| request.headers["x-amz-security-token"] == "role-secret-token"));
}

#[tokio::test]
async fn credentials_that_are_about_to_end_are_fetched_anew() {
    let wire = with_sts(|_| assumed("ASIAROLE", "role-secret", "2000-01-01T00:00:00Z")).await;
    let clients = bed(wire.url()).for_identity(&identity("base-secret", Some(ROLE)), REGION);
    for _ in 0..2 {
        look(&clients).await.unwrap();
    }
    assert_eq!(wire.requests().iter().filter(|request| request.is_sts()).count(), 2);
}

#[tokio::test]
async fn each_pipeline_assumes_the_role_for_itself() {
    let wire = with_sts(|_| assumed("ASIAROLE", "role-secret", FAR)).await;
    let aws = bed(wire.url());
    for name in ["orders", "returns"] {
        let of = Identity::new(Pipeline { name, ..PIPELINE }, base("base-secret"), Some(ROLE.to_owned()));
        look(&aws.for_identity(&of, REGION)).await.unwrap();
    }
    let ids: Vec<_> = wire.requests().iter().filter_map(|request| request.form("ExternalId")).collect();
    assert_eq!(ids, ["prod/shop/orders", "prod/shop/returns"]);
    assert_eq!(aws.count(), 2);
    aws.forget("prod/shop/orders");
    assert_eq!(aws.count(), 1);
}

#[tokio::test]
async fn a_refused_role_names_role_external_id_and_the_statement_to_paste() {
    let message = format!(
        "User: arn:aws:sts::210987654321:assumed-role/operator/pod is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    );
    let wire = with_sts(move |_| refused(403, "AccessDenied", &message)).await;
    let clients = bed(wire.url()).for_identity(&identity("base-secret", Some(ROLE)), REGION);
    let error = look(&clients).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::Denied, Some("AccessDenied")));
    let text = error.to_string();
    assert!(
        text.contains(&format!("role {ROLE} could not be assumed: AccessDenied: User: arn:aws:sts::2109")),
        "{text}"
    );
    assert!(text.contains("with external id prod/shop/orders"), "{text}");
    let statement: serde_json::Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
    assert_eq!(statement["Principal"]["AWS"], "arn:aws:iam::210987654321:role/operator");
    assert_eq!(statement["Condition"]["StringEquals"]["sts:ExternalId"], "prod/shop/orders");
    let requests = wire.requests();
    assert_eq!(requests.len(), 1, "a refusal is not repeated and nothing else is sent: {requests:?}");
}

#[tokio::test]
async fn other_failures_of_sts_have_their_class() {
    let table = [
        (refused(400, "Throttling", "Rate exceeded"), ErrorClass::Throttled, "Throttling", 3),
        (
            refused(403, "InvalidClientTokenId", "The security token is invalid."),
            ErrorClass::Denied,
            "InvalidClient",
            1,
        ),
        (refused(400, "ValidationError", "bad ARN"), ErrorClass::Invalid, "ValidationError: bad ARN", 1),
        ((200, String::new(), "no XML".to_owned()), ErrorClass::Transient, "not readable", 1),
    ];
    for (answer, class, part, calls) in table {
        let wire = with_sts(move |_| answer.clone()).await;
        let clients = bed(wire.url()).for_identity(&identity("base-secret", Some(ROLE)), REGION);
        let error = look(&clients).await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(&format!("role {ROLE} could not be assumed: ")), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains("external id"), "advice is for a refusal only: {error}");
        assert_eq!(wire.requests().len(), calls, "{part}");
    }
}

#[tokio::test]
async fn an_sts_that_does_not_answer_is_named_before_the_call_ends() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = AwsSettings {
        endpoint_url: Some(format!("http://{}", silent.local_addr().unwrap())),
        allow_insecure_endpoints: true,
        attempt_timeout: Duration::from_secs(2),
        ..AwsSettings::default()
    };
    let aws = AwsClients::open(settings).unwrap();
    let error = look(&aws.for_identity(&identity("base-secret", Some(ROLE)), REGION)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    assert!(error.to_string().ends_with("could not be assumed: no answer in time"), "{error}");
}

#[tokio::test]
async fn a_changed_key_is_used_at_once_and_the_old_clients_go() {
    let wire = Wire::new(|_| no_groups()).await;
    let aws = bed(wire.url());
    for key in ["AKIAOLD", "AKIANEW"] {
        let keys = StaticKeys::new(key.into(), "secret".into(), Some("token".into())).unwrap();
        let clients = aws.for_identity(&Identity::new(PIPELINE, Base::Static(keys), None), REGION);
        look(&clients).await.unwrap();
        assert_eq!(aws.count(), 1);
    }
    let keys: Vec<_> = wire.requests().iter().map(|request| request.key_id().to_owned()).collect();
    assert_eq!(keys, ["AKIAOLD", "AKIANEW"]);
}

#[tokio::test]
async fn no_text_shows_a_secret() {
    let wire = with_sts(|_| assumed("ASIAROLE", "role-CANARY", FAR)).await;
    let aws = bed(wire.url());
    let identity = identity("base-CANARY", Some(ROLE));
    let clients = aws.for_identity(&identity, REGION);
    look(&clients).await.unwrap();
    let (s3, autoscaling) = (clients.s3(None), clients.autoscaling());
    let mut texts = format!("{identity:?} {aws:?} {clients:?} {s3:?} {autoscaling:?} {:?}", s3.config());
    for (code, role) in
        [("SignatureDoesNotMatch", Some(ROLE)), ("InvalidClientTokenId", Some(ROLE)), ("AccessDenied", None)]
    {
        let echo = Wire::new(move |_| refused(403, code, "x-amz-security-token:CANARY")).await;
        let of = Identity::new(PIPELINE, base("base-CANARY"), role.map(str::to_owned));
        let error = look(&bed(echo.url()).for_identity(&of, REGION)).await.unwrap_err();
        texts += &format!("{error} {:?}", error.failure());
    }
    assert!(!texts.contains("CANARY"), "{texts}");
}

#[tokio::test]
async fn no_s3_call_goes_out_without_the_expected_owner() {
    let wire = Wire::new(|_| (200, String::new(), String::new())).await;
    let owner: Owner = "123456789012".parse().unwrap();
    let clients = bed(wire.url()).for_identity(&identity("secret", None), REGION);
    let s3 = clients.s3(Some(&owner));
    let mut called = BTreeSet::new();
    macro_rules! call {
        ($name:literal, $request:expr) => {
            let before = wire.requests().len();
            for wrong in [None, Some("210987654321".to_owned())] {
                let error = $request.set_expected_bucket_owner(wrong).send().await.unwrap_err();
                let error = AwsError::read_lifecycle("b", error);
                assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
                assert!(error.to_string().contains("owner"), "{error}");
            }
            assert_eq!(wire.requests().len(), before, "nothing was sent");
            // The empty answer is none that every operation can read; what was sent is what counts.
            let _ = $request.expected_bucket_owner(owner.as_str()).send().await;
            let requests = wire.requests();
            assert_eq!(requests.len(), before + 1, $name);
            assert_eq!(requests[before].headers["x-amz-expected-bucket-owner"], owner.as_str());
            assert!(requests[before].headers["authorization"].contains("x-amz-expected-bucket-owner"), "signed");
            called.insert($name);
        };
    }
    call!("ListObjectsV2", s3.list_objects_v2().bucket("b"));
    call!("GetBucketLifecycleConfiguration", s3.get_bucket_lifecycle_configuration().bucket("b"));
    call!("PutBucketLifecycleConfiguration", s3.put_bucket_lifecycle_configuration().bucket("b"));
    call!("DeleteBucketLifecycle", s3.delete_bucket_lifecycle().bucket("b"));
    call!("GetBucketVersioning", s3.get_bucket_versioning().bucket("b"));
    call!("GetObjectLockConfiguration", s3.get_object_lock_configuration().bucket("b"));
    call!("GetBucketReplication", s3.get_bucket_replication().bucket("b"));
    call!("GetObject", s3.get_object().bucket("b").key("k"));
    let all = permissions::ALL.iter().filter(|permission| permission.service == "S3");
    let all: BTreeSet<_> = all.flat_map(|permission: &Permission| permission.operations).copied().collect();
    assert_eq!(called, all, "every S3 operation of the table is tried here");
}

/// The permit is good while the call is begun, and no more when the credentials for it have come.
#[tokio::test]
async fn a_call_that_came_too_late_while_it_waited_for_credentials_is_not_sent() {
    let asked = Arc::new(AtomicBool::new(false));
    let late = asked.clone();
    let wire = with_sts(move |_| {
        asked.store(true, Ordering::SeqCst);
        assumed("ASIAROLE", "role-secret", FAR)
    })
    .await;
    let aws = bed(wire.url());
    let clients = aws.for_identity(&identity("secret", Some(ROLE)), REGION);
    let raise = Raise { pool: "workers".into(), from: 1, to: 2 };
    let permit = move || if late.load(Ordering::SeqCst) { Err("the term is over".to_owned()) } else { Ok(()) };
    let error = send(&clients.autoscaling(), &raise, permit).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(error.to_string().ends_with("nothing was sent: the term is over"), "{error}");
    let requests = wire.requests();
    assert!(!requests.is_empty() && requests.iter().all(Request::is_sts), "{requests:?}");
}

#[tokio::test]
async fn operations_outside_the_table_are_not_sent() {
    let wire = Wire::new(|_| (200, String::new(), String::new())).await;
    let clients = bed(wire.url()).for_identity(&identity("secret", None), REGION);
    let s3 = clients.s3(None).delete_bucket().bucket("b").send().await.unwrap_err();
    let s3 = AwsError::read_lifecycle("b", s3);
    let groups =
        clients.autoscaling().delete_auto_scaling_group().auto_scaling_group_name("g").send().await.unwrap_err();
    let groups = AwsError::describe_group("g", groups);
    // Instances are ended through their group alone.
    let machines = clients.ec2().terminate_instances().instance_ids("i-1").send().await.unwrap_err();
    let machines = AwsError::group_call(&permissions::DESCRIBE_INSTANCES, "instance i-1".to_owned(), machines);
    for (error, operation) in
        [(s3, "S3 DeleteBucket"), (groups, "Auto Scaling DeleteAutoScalingGroup"), (machines, "EC2 TerminateInstances")]
    {
        assert_eq!(error.class(), ErrorClass::Invalid);
        assert!(
            error.to_string().ends_with(&format!("{operation} is not among the operator's AWS permissions")),
            "{error}"
        );
    }
    assert_eq!(wire.connections(), 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Wire::new(|_| no_groups()).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}/\r\n", target.url());
        let wire = Wire::new(move |_| (status, location.clone(), String::new())).await;
        let clients = bed(wire.url()).for_identity(&identity("secret", None), REGION);
        let error = look(&clients).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
        let answer = clients.s3(None).list_objects_v2().bucket("b").send().await;
        assert!(answer.is_err(), "{status}");
        let role = bed(wire.url()).for_identity(&identity("secret", Some(ROLE)), REGION);
        assert!(look(&role).await.is_err());
        assert!(wire.connections() >= 3, "{status}");
    }
    assert_eq!(target.connections(), 0);
}

#[test]
fn insecure_endpoints_need_the_switch() {
    let open = |url: &str, allow| {
        AwsClients::open(AwsSettings {
            endpoint_url: Some(url.to_owned()),
            allow_insecure_endpoints: allow,
            ..AwsSettings::default()
        })
    };
    for url in
        ["http://s3.example.com", "http://127.0.0.1:4566", "https://127.0.0.1", "https://localhost.example.com/x"]
    {
        assert!(open(url, false).is_err(), "{url}");
    }
    let error = open("http://127.0.0.1:4566", false).unwrap_err();
    assert!(error.to_string().ends_with("is not encrypted, which only allowInsecureEndpoints admits"), "{error}");
    let error = open("https://user:CANARY@s3.example.com", false).unwrap_err();
    assert!(!error.to_string().contains("CANARY") && !error.to_string().contains("Insecure"), "{error}");
    assert!(open("http://127.0.0.1:4566", true).is_ok() && open("https://s3.example.com", false).is_ok());
    assert!(open("https://169.254.169.254", true).is_err(), "no switch allows it");
}

/// Runs a look in a process whose environment names `wire` as proxy for everything.
fn look_with_proxy(test: &str, url: &str, endpoint: Option<&str>) -> String {
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "--nocapture", test]).env("LOGWISE_TEST_CHILD", endpoint.unwrap_or("aws"));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, url);
    }
    let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output().expect("this program runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_for_aws_alone() {
    const TEST: &str = "a_proxy_of_the_environment_is_for_aws_alone";
    if let Ok(endpoint) = std::env::var("LOGWISE_TEST_CHILD") {
        let aws = if endpoint == "aws" { AwsClients::open(AwsSettings::default()).unwrap() } else { bed(&endpoint) };
        let outcome = look(&aws.for_identity(&identity("secret", None), REGION)).await;
        println!("outcome: {outcome:?}");
        return;
    }
    let run = |url: String, endpoint: Option<String>| {
        tokio::task::spawn_blocking(move || look_with_proxy(TEST, &url, endpoint.as_deref()))
    };
    let (proxy, wire) = (Wire::new(|_| (403, String::new(), String::new())).await, Wire::new(|_| no_groups()).await);
    let text = run(proxy.url().to_owned(), Some(wire.url().to_owned())).await.unwrap();
    assert!(text.contains("outcome: Ok(Absent)"), "{text}");
    assert_eq!((proxy.connections(), wire.connections()), (0, 1), "{text}");
    let text = run(proxy.url().to_owned(), None).await.unwrap();
    assert!(text.contains("outcome: Err"), "{text}");
    let lines: Vec<_> = proxy.requests().iter().map(|request| request.line.clone()).collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|l| l == "CONNECT autoscaling.eu-west-1.amazonaws.com:443 HTTP/1.1"),
        "{lines:?}"
    );
}

/// Everything that a preflight can ask.
fn wanted() -> Wanted {
    Wanted {
        bucket: Some("b".to_owned()),
        logs_prefix: "logs/".to_owned(),
        checkpoint: Some("checkpoint/application/".to_owned()),
        group: Some("g".to_owned()),
        owner: Some("123456789012".parse().expect("an account id")),
    }
}

#[tokio::test]
async fn a_preflight_whose_role_is_refused_asks_nothing_else() {
    let wire = with_sts(|_| refused(403, "AccessDenied", "no")).await;
    let clients = bed(wire.url()).for_identity(&identity("secret", Some(ROLE)), REGION);
    let checks = preflight(&clients, &wanted()).await;
    assert_eq!((checks[0].permission, checks[0].resource.as_str()), ("sts:AssumeRole", ROLE));
    assert!(matches!(&checks[0].result, Outcome::Denied(text) if text.contains("prod/shop/orders")), "{checks:?}");
    let tested: Vec<_> = checks[1..].iter().filter(|check| check.result != Outcome::NotTested).collect();
    assert_eq!(tested.len(), 11);
    assert!(tested.iter().all(|check| matches!(&check.result, Outcome::Unknown(_))), "{checks:?}");
    assert_eq!(wire.requests().len(), 1, "{:?}", wire.requests());
    // The policy can be pasted all the same; the role's account stands in it.
    let group = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/g";
    assert!(checks.iter().any(|check| check.resource == group), "{checks:?}");
}

#[tokio::test]
async fn a_lifecycle_document_that_cannot_be_read_is_a_permission_all_the_same() {
    let wire = Wire::new(|request| match request.form("Action").as_deref() {
        Some("GetCallerIdentity") => caller("arn:aws-cn:iam::123456789012:user/dev"),
        Some(_) => no_groups(),
        None => (200, String::new(), "<LifecycleConfiguration><Rule><Expiration><Days>x".to_owned()),
    })
    .await;
    let clients = bed(wire.url()).for_identity(&identity("secret", None), REGION);
    let checks = preflight(&clients, &wanted()).await;
    let of = |action: &str| checks.iter().find(|check| check.permission == action).map(|check| &check.result);
    assert_eq!(of("s3:GetLifecycleConfiguration"), Some(&Outcome::Ok));
    assert!(checks.iter().any(|check| check.resource == "arn:aws-cn:s3:::b"), "the caller's partition: {checks:?}");
}

#[tokio::test]
async fn a_store_that_knows_no_callers_is_asked_the_rest() {
    let wire = Wire::new(|request| match request.form("Action").as_deref() {
        Some("GetCallerIdentity") => refused(400, "InvalidAction", "no such action"),
        Some(_) => no_groups(),
        None => (200, String::new(), "<LifecycleConfiguration/>".to_owned()),
    })
    .await;
    let wanted = Wanted { group: None, ..wanted() };
    let checks = preflight(&bed(wire.url()).for_identity(&identity("secret", None), REGION), &wanted).await;
    assert!(checks.iter().all(|check| !check.permission.starts_with("sts:")), "{checks:?}");
    let read = checks.iter().find(|check| check.permission == "s3:GetLifecycleConfiguration");
    assert_eq!(read.map(|check| &check.result), Some(&Outcome::Ok), "{checks:?}");
    // In a role it is AWS that is asked, and what it does not answer is not passed over.
    let role = bed(wire.url()).for_identity(&identity("secret", Some(ROLE)), REGION);
    assert!(preflight(&role, &wanted).await.iter().all(|check| check.result != Outcome::Ok));
}

#[tokio::test]
async fn a_redirect_of_s3_names_the_region_of_the_bucket_and_is_not_followed() {
    let wire = Wire::new(|request| match request.form("Action").as_deref() {
        Some("GetCallerIdentity") => caller("arn:aws:iam::123456789012:user/dev"),
        Some(_) => no_groups(),
        None => {
            let body = "<Error><Code>PermanentRedirect</Code><Message>Use the endpoint.</Message></Error>";
            let headers = "x-amz-bucket-region: ap-south-1\r\nlocation: http://127.0.0.1:1/\r\n";
            (301, headers.to_owned(), body.to_owned())
        }
    })
    .await;
    let wanted = Wanted { group: None, ..wanted() };
    let checks = preflight(&bed(wire.url()).for_identity(&identity("secret", None), REGION), &wanted).await;
    for action in ["s3:GetLifecycleConfiguration", "s3:ListBucket"] {
        let found = checks.iter().find(|check| check.permission == action).map(|check| &check.result);
        assert!(matches!(found, Some(Outcome::OtherRegion(text)) if text.ends_with("region ap-south-1")), "{checks:?}");
    }
    assert_eq!(wire.requests().len(), 7, "{:?}", wire.requests());
}
