//! Where the grants send a pipeline, seen from the other end of the wires.

use crate::wire::{Request, Wire, assumed, no_groups, refused};
use logwise_aws::group::describe;
use logwise_aws::{AwsClients, AwsSettings, Base, Clients, Identity, Pipeline, StaticKeys};
use logwise_plan::grants::Endpoints;
use logwise_runtime::ErrorClass;

const REGION: &str = "eu-west-1";
const ROLE: &str = "arn:aws:iam::123456789012:role/pipeline";

fn identity(name: &str, endpoints: Endpoints) -> Identity {
    let keys = StaticKeys::new("AKIABASE".into(), "secret".into(), None).expect("keys that a request can carry");
    let pipeline = Pipeline { installation: "prod", namespace: "shop", name };
    Identity::new(pipeline, Base::Static(keys), Some(ROLE.to_owned())).at(endpoints)
}

/// Answers STS with a role and everything else with an empty list of groups.
async fn wire() -> Wire {
    let answer = |request: &Request| match request.is_sts() {
        true => assumed("ASIAROLE", "role-secret", "2099-01-01T00:00:00Z"),
        false => no_groups(),
    };
    Wire::new(answer).await
}

async fn call_both(clients: &Clients) {
    describe(&clients.autoscaling(), "workers").await.expect("an empty list");
    // What the wire answers is no listing: that it was asked is what counts.
    let _ = clients.s3(None).list_objects_v2().bucket("logs").send().await;
}

/// Access key ids of the calls to STS, to S3, and of the others.
fn calls(wire: &Wire) -> (usize, usize, usize) {
    let requests = wire.requests();
    let sts = requests.iter().filter(|request| request.is_sts()).count();
    let s3 = requests.iter().filter(|request| request.line.contains("/logs")).count();
    (sts, s3, requests.len() - sts - s3)
}

fn only(url: &str) -> AwsSettings {
    AwsSettings { endpoint_url: Some(url.to_owned()), allow_insecure_endpoints: true, ..AwsSettings::default() }
}

#[tokio::test]
async fn each_service_is_called_where_the_grant_says_and_the_rest_where_everybody_calls() {
    let (all, s3, sts) = (wire().await, wire().await, wire().await);
    let aws = AwsClients::open(only(all.url())).expect("an endpoint that the switch allows");
    let url = |wire: &Wire| Some(wire.url().to_owned());
    let granted = identity("granted", Endpoints { s3: url(&s3), sts: url(&sts), ..Endpoints::default() });
    call_both(&aws.for_identity(&granted, REGION)).await;
    assert_eq!((calls(&all), calls(&s3), calls(&sts)), ((0, 0, 1), (0, 1, 0), (1, 0, 0)));
    assert!(
        s3.requests()[0].line.contains("/logs/?") || s3.requests()[0].line.contains("/logs?"),
        "bucket in the path"
    );
    assert_eq!(s3.requests()[0].key_id(), "ASIAROLE");
    call_both(&aws.for_identity(&identity("plain", Endpoints::default()), REGION)).await;
    assert_eq!((calls(&all), calls(&s3), calls(&sts)), ((1, 1, 2), (0, 1, 0), (1, 0, 0)));
}

#[tokio::test]
async fn ec2_has_an_endpoint_of_its_own() {
    let (all, ec2) = (wire().await, wire().await);
    let aws = AwsClients::open(only(all.url())).expect("an endpoint that the switch allows");
    let granted = Endpoints { ec2: Some(ec2.url().to_owned()), ..Endpoints::default() };
    for (name, endpoints) in [("granted", granted), ("plain", Endpoints::default())] {
        let clients = aws.for_identity(&identity(name, endpoints), REGION);
        // What the wire answers is no list of instances: that it was asked is what counts.
        let _ = clients.ec2().describe_instances().instance_ids("i-1").send().await;
    }
    let asked = |wire: &Wire| wire.requests().iter().filter(|r| r.form("InstanceId.1").is_some()).count();
    assert_eq!((asked(&ec2), asked(&all)), (1, 1));
    assert!(ec2.requests()[0].headers["authorization"].contains("/eu-west-1/ec2/"), "{:?}", ec2.requests());
}

#[tokio::test]
async fn a_changed_endpoint_takes_effect_and_equal_ones_share_clients() {
    let (all, one, other) = (wire().await, wire().await, wire().await);
    let aws = AwsClients::open(only(all.url())).expect("an endpoint that the switch allows");
    let at = |wire: &Wire| {
        let url = Some(wire.url().to_owned());
        identity("granted", Endpoints { auto_scaling: url.clone(), sts: url, ..Endpoints::default() })
    };
    for wire in [&one, &one, &other] {
        let clients = aws.for_identity(&at(wire), REGION);
        describe(&clients.autoscaling(), "workers").await.expect("an empty list");
    }
    assert_eq!((calls(&all), calls(&one), calls(&other)), ((0, 0, 0), (1, 0, 2), (1, 0, 1)));
    assert_eq!(aws.count(), 1, "the clients of the former endpoint are gone");
}

#[tokio::test]
async fn an_endpoint_that_may_not_be_called_is_called_by_nobody() {
    let (all, forbidden) = (wire().await, Wire::new(|_| refused(403, "AccessDenied", "no")).await);
    let denied =
        AwsSettings { denied_ranges: vec!["127.0.0.1/32".parse().expect("a range")], ..only("http://127.0.0.2:1") };
    for (settings, class) in [(denied, ErrorClass::Invalid), (only(all.url()), ErrorClass::Denied)] {
        let aws = AwsClients::open(settings).expect("an endpoint that the switch allows");
        let url = Some(forbidden.url().to_owned());
        let granted = identity("granted", Endpoints { auto_scaling: url.clone(), sts: url, ..Endpoints::default() });
        let clients = aws.for_identity(&granted, REGION);
        let error = describe(&clients.autoscaling(), "workers").await.expect_err("nobody answers");
        assert_eq!(error.class(), class, "{error}");
    }
    assert_eq!(forbidden.connections(), 1, "without the range it is reached");
}
