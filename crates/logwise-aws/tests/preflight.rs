//! The preflight against the test bed's strict AWS stand-in.

mod stand_in;

use logwise_aws::{
    Base, Check, Clients, Identity, Outcome, Pipeline, Wanted, bucket_statement, preflight, statement, statement_line,
};
use serde_json::{Value, json};
use stand_in::{REGION, StandIn, unique};

const ACCOUNT: &str = "123456789012";
const PIPELINE: Pipeline<'_> = Pipeline { installation: "prod", namespace: "shop", name: "orders" };
const READS: [(&str, &str); 11] = [
    ("s3:GetLifecycleConfiguration", "GetBucketLifecycleConfiguration"),
    ("s3:ListBucket", "ListObjectsV2"),
    ("s3:GetBucketVersioning", "GetBucketVersioning"),
    ("s3:GetBucketObjectLockConfiguration", "GetObjectLockConfiguration"),
    ("s3:GetReplicationConfiguration", "GetBucketReplication"),
    ("s3:GetObject", "GetObject"),
    ("autoscaling:DescribeAutoScalingGroups", "DescribeAutoScalingGroups"),
    ("autoscaling:DescribeScalingActivities", "DescribeScalingActivities"),
    ("autoscaling:DescribeInstanceRefreshes", "DescribeInstanceRefreshes"),
    ("autoscaling:DescribeLifecycleHooks", "DescribeLifecycleHooks"),
    ("ec2:DescribeInstances", "DescribeInstances"),
];
const CHANGES: [&str; 7] = [
    "s3:PutLifecycleConfiguration",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "autoscaling:SetInstanceProtection",
    "autoscaling:UpdateAutoScalingGroup",
    "autoscaling:RecordLifecycleActionHeartbeat",
    "autoscaling:CompleteLifecycleAction",
];

struct World {
    bed: StandIn,
    clients: Clients,
    wanted: Wanted,
}

impl World {
    async fn new(test: &str) -> Self {
        let bed = StandIn::attach();
        let (bucket, group) = (unique(test), unique(test));
        bed.control("POST", "/_buckets", json!({"name": bucket})).await;
        bed.control("POST", "/_groups", json!({"name": group, "min": 1, "max": 4, "desired": 1})).await;
        let clients = bed.clients().for_identity(&Identity::new(PIPELINE, Base::Ambient, None), REGION);
        let wanted = Wanted {
            bucket: Some(bucket),
            logs_prefix: "logs/".to_owned(),
            checkpoint: Some("checkpoint/application/".to_owned()),
            group: Some(group),
            owner: Some(ACCOUNT.parse().expect("an account id")),
        };
        Self { bed, clients, wanted }
    }

    fn bucket(&self) -> &str {
        self.wanted.bucket.as_deref().expect("a wish")
    }

    fn group(&self) -> &str {
        self.wanted.group.as_deref().expect("a wish")
    }

    fn of(&self, action: &str) -> &str {
        if action.starts_with("s3:") { self.bucket() } else { self.group() }
    }

    /// Calls that named the bucket or the group since `before` of each.
    async fn calls(&self) -> Vec<Value> {
        [self.bed.calls(self.bucket()).await, self.bed.calls(self.group()).await].concat()
    }
}

fn result<'a>(checks: &'a [Check], action: &str) -> &'a Outcome {
    let mut found = checks.iter().filter(|check| check.permission == action);
    let check = found.next().expect(action);
    assert!(found.next().is_none(), "{action} is checked once");
    &check.result
}

#[tokio::test]
async fn everything_allowed_is_ok_by_one_read_each_and_no_write() {
    let world = World::new("allowed").await;
    let checks = preflight(&world.clients, &world.wanted).await;
    for (action, operation) in READS {
        assert_eq!(result(&checks, action), &Outcome::Ok);
        assert_eq!(world.bed.count(world.of(action), operation).await, 1, "{operation}");
    }
    assert_eq!(result(&checks, "sts:GetCallerIdentity"), &Outcome::Ok);
    for action in CHANGES {
        assert_eq!(result(&checks, action), &Outcome::NotTested);
    }
    let calls = world.calls().await;
    assert_eq!(calls.len(), READS.len(), "{calls:?}");
    assert!(calls.iter().all(|call| call["mutating"] == false), "{calls:?}");
    let machines = calls.iter().find(|call| call["action"] == "DescribeInstances").expect("a dry run");
    assert_eq!(machines["params"]["DryRun"], "true", "{machines}");
    let policy: Value = serde_json::from_str(&statement(&checks)).unwrap();
    let group =
        format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/{}", world.group());
    assert_eq!(policy["Statement"][1]["Resource"], group);
    assert_eq!(policy["Statement"][2]["Resource"], format!("arn:aws:s3:::{}", world.bucket()));
    let objects = json!({
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": format!("arn:aws:s3:::{}/checkpoint/application/*", world.bucket()),
    });
    assert_eq!(policy["Statement"][3], objects);
}

#[tokio::test]
async fn each_refusal_is_its_own_and_is_not_repeated() {
    for (denied, operation) in READS {
        let world = World::new("denied").await;
        let rule = json!({"mode": "error", "status": 403, "code": "AccessDenied", "message": "not you", "times": 0});
        world.bed.fault(world.of(denied), operation, rule).await;
        let checks = preflight(&world.clients, &world.wanted).await;
        for (action, operation) in READS {
            let expected =
                if action == denied { Outcome::Denied("AccessDenied: not you".to_owned()) } else { Outcome::Ok };
            assert_eq!(result(&checks, action), &expected, "{action} while {denied} is refused");
            // Who may not see the group does not know its instances, and asks EC2 without naming one.
            let nameless = action == "ec2:DescribeInstances" && denied == "autoscaling:DescribeAutoScalingGroups";
            assert_eq!(world.bed.count(world.of(action), operation).await, usize::from(!nameless));
        }
        world.bed.mend(world.of(denied)).await;
        assert_eq!(result(&preflight(&world.clients, &world.wanted).await, denied), &Outcome::Ok);
    }
}

#[tokio::test]
async fn a_bucket_of_another_region_is_that_and_no_missing_permission() {
    let world = World::new("region").await;
    let message = "The authorization header is malformed; the region 'ap-south-1' is wrong; expecting 'eu-west-1'";
    let rule = json!({
        "mode": "error", "status": 400, "code": "AuthorizationHeaderMalformed", "message": message, "times": 0,
    });
    world.bed.fault(world.bucket(), "ListObjectsV2", rule).await;
    let checks = preflight(&world.clients, &world.wanted).await;
    let found = result(&checks, "s3:ListBucket");
    assert!(matches!(found, Outcome::OtherRegion(text) if text.contains("eu-west-1")), "{checks:?}");
    assert_eq!(result(&checks, "s3:GetLifecycleConfiguration"), &Outcome::Ok);
}

#[test]
fn a_statement_for_what_is_missing_fits_into_one_line() {
    let check = |permission, resource: &str| Check {
        permission,
        resource: resource.to_owned(),
        result: Outcome::Denied("no".to_owned()),
    };
    let who = check("sts:GetCallerIdentity", "*");
    let list = check("s3:ListBucket", "arn:aws:s3:::b");
    let expected = r#"{"Action":["s3:ListBucket"],"Effect":"Allow","Resource":"arn:aws:s3:::b"}"#;
    assert_eq!(statement_line(&[who.clone(), list.clone()]), expected);
    let both = statement_line(&[who, check("autoscaling:DescribeAutoScalingGroups", "*"), list]);
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both.as_array().map(Vec::len), Some(2), "{both}");
}

#[test]
fn the_statement_of_a_bucket_holds_every_action_on_it() {
    let statement: Value = serde_json::from_str(&bucket_statement("cn-north-1", "b")).unwrap();
    let actions = [
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketVersioning",
        "s3:GetLifecycleConfiguration",
        "s3:GetReplicationConfiguration",
        "s3:ListBucket",
        "s3:PutLifecycleConfiguration",
    ];
    assert_eq!(statement, json!({"Effect": "Allow", "Action": actions, "Resource": "arn:aws-cn:s3:::b"}));
}

#[tokio::test]
async fn a_store_that_does_not_know_a_setting_lacks_no_permission() {
    let world = World::new("settings").await;
    for (operation, code) in [
        ("GetBucketVersioning", "NotImplemented"),
        ("GetObjectLockConfiguration", "MethodNotAllowed"),
        ("GetBucketReplication", "ReplicationConfigurationNotFoundError"),
    ] {
        world.bed.fault(world.bucket(), operation, json!({"mode": "error", "status": 405, "code": code})).await;
    }
    let checks = preflight(&world.clients, &world.wanted).await;
    for (action, _) in READS {
        assert_eq!(result(&checks, action), &Outcome::Ok, "{action}");
    }
}

#[tokio::test]
async fn what_could_not_be_found_out_is_unknown() {
    for (action, operation) in READS {
        let world = World::new("unknown").await;
        let rule =
            json!({"mode": "error", "status": 503, "code": "ServiceUnavailable", "message": "later", "times": 0});
        world.bed.fault(world.of(action), operation, rule).await;
        let checks = preflight(&world.clients, &world.wanted).await;
        assert_eq!(result(&checks, action), &Outcome::Unknown("ServiceUnavailable: later".to_owned()));
        assert_eq!(world.bed.count(world.of(action), operation).await, 1, "sent once");
    }
}

#[tokio::test]
async fn what_is_not_there_is_wrong_and_not_denied() {
    let mut world = World::new("missing").await;
    world.wanted.bucket = Some(unique("no-bucket"));
    world.wanted.group = Some(unique("no-group"));
    let checks = preflight(&world.clients, &world.wanted).await;
    for (action, part) in
        [("s3:ListBucket", "NoSuchBucket"), ("autoscaling:DescribeAutoScalingGroups", "no Auto Scaling group")]
    {
        assert!(matches!(result(&checks, action), Outcome::Wrong(text) if text.contains(part)), "{checks:?}");
    }
}

#[tokio::test]
async fn a_bucket_of_another_account_is_denied_by_its_owner() {
    let mut world = World::new("foreign").await;
    let bucket = unique("foreign");
    world.bed.control("POST", "/_buckets", json!({"name": bucket, "owner": "210987654321"})).await;
    world.wanted.bucket = Some(bucket);
    let checks = preflight(&world.clients, &world.wanted).await;
    for action in ["s3:GetLifecycleConfiguration", "s3:ListBucket"] {
        assert!(matches!(result(&checks, action), Outcome::Denied(_)), "{checks:?}");
    }
}

#[tokio::test]
async fn whether_a_checkpoint_may_be_read_does_not_show_while_the_bucket_may_not_be_listed() {
    let world = World::new("unlisted").await;
    for operation in ["ListObjectsV2", "GetObject"] {
        let rule = json!({"mode": "error", "status": 403, "code": "AccessDenied"});
        world.bed.fault(world.bucket(), operation, rule).await;
    }
    let checks = preflight(&world.clients, &world.wanted).await;
    assert!(matches!(result(&checks, "s3:ListBucket"), Outcome::Denied(_)), "{checks:?}");
    assert!(matches!(result(&checks, "s3:GetObject"), Outcome::Unknown(_)), "{checks:?}");
}

#[tokio::test]
async fn a_part_that_is_not_wanted_is_not_asked_about() {
    let mut world = World::new("part").await;
    world.wanted.checkpoint = None;
    let group = world.wanted.group.take().unwrap();
    let checks = preflight(&world.clients, &world.wanted).await;
    assert!(checks.iter().all(|check| !check.permission.starts_with("autoscaling:")), "{checks:?}");
    assert_eq!(world.bed.count(&group, "DescribeAutoScalingGroups").await, 0);
    assert!(checks.iter().all(|check| check.permission != "s3:GetObject"), "{checks:?}");
    assert_eq!(world.bed.count(world.bucket(), "GetObject").await, 0);
}

#[tokio::test]
async fn a_bucket_with_rules_that_the_sdk_does_not_know_is_ok() {
    let world = World::new("strange").await;
    let document = "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><Prefix>p/</Prefix></Filter>\
                    <Expiration><Days>3</Days></Expiration><FutureField/></Rule></LifecycleConfiguration>";
    world.bed.control("PUT", "/_lifecycle", json!({"bucket": world.bucket(), "document": document})).await;
    assert_eq!(result(&preflight(&world.clients, &world.wanted).await, READS[0].0), &Outcome::Ok);
}
