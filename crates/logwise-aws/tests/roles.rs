//! Roles and keys of pipelines against the test bed's strict AWS stand-in, which checks who calls.

mod stand_in;

use logwise_aws::group::{describe, send};
use logwise_aws::{AwsClients, Base, Identity, Outcome, Pipeline, StaticKeys, Wanted, preflight};
use logwise_plan::workers::Raise;
use logwise_runtime::ErrorClass;
use serde_json::{Value, json};
use stand_in::{REGION, StandIn, unique};

const ACCOUNT: &str = "123456789012";
const PIPELINE: Pipeline<'_> = Pipeline { installation: "prod", namespace: "shop", name: "orders" };

struct World {
    bed: StandIn,
    aws: AwsClients,
    group: String,
}

impl World {
    async fn new(test: &str) -> Self {
        let bed = StandIn::attach();
        let group = unique(test);
        bed.control("POST", "/_groups", json!({"name": group, "min": 1, "max": 4, "desired": 1})).await;
        let aws = bed.clients();
        Self { bed, aws, group }
    }

    async fn role(&self, name: &str, external_id: &str, allow: Value) -> String {
        let role = json!({"name": name, "external_id": external_id, "allow": allow});
        self.bed.control("POST", "/_roles", role).await["arn"].as_str().expect("an ARN").to_owned()
    }

    fn raise(&self) -> Raise {
        Raise { pool: self.group.clone(), from: 1, to: 2 }
    }
}

fn as_role(pipeline: Pipeline<'_>, role_arn: &str) -> Identity {
    Identity::new(pipeline, Base::Ambient, Some(role_arn.to_owned()))
}

#[tokio::test]
async fn calls_are_made_in_the_role_that_trusts_the_pipeline() {
    let world = World::new("trusted").await;
    let name = unique("role");
    let actions = json!(["autoscaling:DescribeAutoScalingGroups", "autoscaling:SetDesiredCapacity"]);
    let arn = world.role(&name, "prod/shop/orders", actions).await;
    let client = world.aws.for_identity(&as_role(PIPELINE, &arn), REGION).autoscaling();
    describe(&client, &world.group).await.unwrap();
    send(&client, &world.raise(), || Ok(())).await.unwrap();
    let calls = world.bed.calls(&world.group).await;
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in calls {
        assert_eq!(call["caller"], format!("role/{name}"), "{call}");
        assert_eq!(call["outcome"]["status"], 200, "{call}");
    }
}

#[tokio::test]
async fn another_pipeline_cannot_use_the_role() {
    let world = World::new("deputy").await;
    let arn = world.role(&unique("role"), "prod/shop/orders", json!(["*"])).await;
    let others = [
        Pipeline { installation: "test", ..PIPELINE },
        Pipeline { namespace: "bank", ..PIPELINE },
        Pipeline { name: "returns", ..PIPELINE },
    ];
    for other in others {
        let client = world.aws.for_identity(&as_role(other, &arn), REGION).autoscaling();
        let error = send(&client, &world.raise(), || Ok(())).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::Denied, Some("AccessDenied")), "{error}");
        let Pipeline { installation, namespace, name } = other;
        assert!(error.to_string().contains(&format!("external id {installation}/{namespace}/{name}")), "{error}");
    }
    assert!(world.bed.calls(&world.group).await.is_empty(), "nothing reached the group");
}

#[tokio::test]
async fn a_role_that_is_not_there_is_denied_and_nothing_else_is_called() {
    let world = World::new("no-role").await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/{}", unique("nobody"));
    let client = world.aws.for_identity(&as_role(PIPELINE, &arn), REGION).autoscaling();
    let error = describe(&client, &world.group).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied, "{error}");
    assert!(error.to_string().contains(&arn), "{error}");
    assert!(world.bed.calls(&world.group).await.is_empty());
}

#[tokio::test]
async fn the_preflight_finds_what_the_role_lacks() {
    let world = World::new("lacking").await;
    let bucket = unique("lacking");
    world.bed.control("POST", "/_buckets", json!({"name": bucket})).await;
    let allowed = json!(["s3:ListBucket", "autoscaling:DescribeAutoScalingGroups"]);
    let arn = world.role(&unique("role"), "prod/shop/orders", allowed).await;
    let wanted = Wanted {
        bucket: Some(bucket),
        logs_prefix: "logs/".to_owned(),
        checkpoint: None,
        group: Some(world.group.clone()),
        owner: Some(ACCOUNT.parse().unwrap()),
    };
    let checks = preflight(&world.aws.for_identity(&as_role(PIPELINE, &arn), REGION), &wanted).await;
    let of = |action: &str| &checks.iter().find(|check| check.permission == action).expect(action).result;
    assert_eq!(of("sts:AssumeRole"), &Outcome::Ok);
    assert_eq!(of("s3:ListBucket"), &Outcome::Ok);
    assert_eq!(of("autoscaling:DescribeAutoScalingGroups"), &Outcome::Ok);
    let denied = of("s3:GetLifecycleConfiguration");
    assert!(matches!(denied, Outcome::Denied(text) if text.contains("is not authorized")), "{denied:?}");
}

#[tokio::test]
async fn keys_of_a_secret_call_by_themselves_and_assume_the_role() {
    let world = World::new("keys").await;
    let key = format!("AKIA{}", unique("k").replace('-', "").to_ascii_uppercase());
    world.bed.control("POST", "/_keys", json!({"access_key_id": key})).await;
    let base = || Base::Static(StaticKeys::new(key.clone(), "secret".into(), None).unwrap());
    let plain = world.aws.for_identity(&Identity::new(PIPELINE, base(), None), REGION).autoscaling();
    describe(&plain, &world.group).await.unwrap();
    let name = unique("role");
    let principal = format!("key/{key}");
    let role = json!({"name": name, "external_id": "prod/shop/orders", "principals": [principal]});
    let arn = world.bed.control("POST", "/_roles", role).await["arn"].as_str().unwrap().to_owned();
    let inside = world.aws.for_identity(&Identity::new(PIPELINE, base(), Some(arn.clone())), REGION).autoscaling();
    describe(&inside, &world.group).await.unwrap();
    let callers: Vec<_> = world.bed.calls(&world.group).await.iter().map(|call| call["caller"].clone()).collect();
    assert_eq!(callers, [json!(principal), json!(format!("role/{name}"))]);
    // The operator's own credentials are not among the role's principals.
    let own = world.aws.for_identity(&as_role(PIPELINE, &arn), REGION).autoscaling();
    assert_eq!(describe(&own, &world.group).await.unwrap_err().class(), ErrorClass::Denied);
}

#[tokio::test]
async fn every_s3_call_of_a_preflight_names_the_owner() {
    let world = World::new("owner").await;
    let bucket = unique("owner");
    world.bed.control("POST", "/_buckets", json!({"name": bucket})).await;
    let wanted = Wanted {
        bucket: Some(bucket.clone()),
        logs_prefix: String::new(),
        checkpoint: Some("checkpoint/application/".to_owned()),
        group: None,
        owner: Some(ACCOUNT.parse().unwrap()),
    };
    // Also a call without an answer named it.
    world.bed.fault(&bucket, "GetBucketLifecycleConfiguration", json!({"mode": "lost"})).await;
    let own = Identity::new(PIPELINE, Base::Ambient, None);
    preflight(&world.aws.for_identity(&own, REGION), &wanted).await;
    world.bed.mend(&bucket).await;
    let owners: Vec<_> = world.bed.calls(&bucket).await.iter().map(|call| call["expected_owner"].clone()).collect();
    assert_eq!(owners, [ACCOUNT; 6]);
    assert_eq!(world.bed.count(&bucket, "ListObjectsV2").await, 1);
}
