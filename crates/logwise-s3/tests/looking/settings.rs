//! Versions, object lock, replication.

use crate::{ACCOUNT, LOGS, World};
use logwise_plan::Known;
use logwise_s3::{Discovery, Surroundings, Versioning, observe};
use logwise_testbed::s3::{Request, S3};
use serde_json::json;
use std::time::Duration;

const READS: [&str; 3] = ["GetBucketVersioning", "GetObjectLockConfiguration", "GetBucketReplication"];
const HOUR: Duration = Duration::from_secs(3_600);

async fn surroundings(world: &World) -> Surroundings {
    observe(&world.bucket, LOGS, &Discovery::new(Duration::ZERO, HOUR)).await.surroundings
}

/// A client that may do everything.
fn everybody() -> S3 {
    S3::new(&std::env::var("AWS_ENDPOINT_URL").expect("the stand-in's address"))
}

async fn put(path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], body: &str) {
    let request = Request { path: path.to_owned(), query, headers, body: body.as_bytes() };
    everybody().put(&request).await.expect("an answer").good("preparing a bucket").expect("a bucket");
}

#[tokio::test]
async fn a_plain_bucket_has_none_of_them_and_is_asked_once_per_period() {
    let world = World::new("plain", json!({})).await;
    let discovery = Discovery::new(HOUR, HOUR);
    for _ in 0..3 {
        let look = observe(&world.bucket, LOGS, &discovery).await;
        let none = Surroundings {
            versioning: Known::Known(Versioning::Never),
            object_lock: Known::Known(false),
            replication: Known::Known(false),
        };
        assert_eq!(look.surroundings, none);
        assert!(look.facts.unversioned && look.error.is_none());
    }
    for read in READS {
        assert_eq!(world.count(read).await, 1, "{read}");
    }
    let calls = world.bed.calls(&world.bucket.name).await;
    assert!(calls.iter().all(|call| call["expected_owner"] == ACCOUNT), "{calls:?}");
}

#[tokio::test]
async fn versions_and_replication_are_seen() {
    let world = World::new("versions", json!({"versioning": true})).await;
    assert_eq!(surroundings(&world).await.versioning, Known::Known(Versioning::Enabled));
    let rules = "<ReplicationConfiguration><Role>arn:aws:iam::123456789012:role/copy</Role><Rule><ID>all</ID>\
                 <Status>STATUS</Status><Prefix></Prefix><Destination><Bucket>arn:aws:s3:::copy</Bucket></Destination>\
                 </Rule></ReplicationConfiguration>";
    for (status, replicated) in [("Enabled", true), ("Disabled", false)] {
        put(&world.bucket.name, &[("replication", "")], &[], &rules.replace("STATUS", status)).await;
        assert_eq!(surroundings(&world).await.replication, Known::Known(replicated), "{status}");
    }
    let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    put(&world.bucket.name, &[("versioning", "")], &[], suspended).await;
    let look = observe(&world.bucket, LOGS, &Discovery::new(Duration::ZERO, HOUR)).await;
    assert_eq!(look.surroundings.versioning, Known::Known(Versioning::Suspended));
    assert!(!look.facts.unversioned, "what was kept is still there");
}

#[tokio::test]
async fn a_bucket_with_object_lock_is_seen() {
    let world = World::without_bucket("locked");
    let region =
        "<CreateBucketConfiguration><LocationConstraint>ap-south-1</LocationConstraint></CreateBucketConfiguration>";
    put(&world.bucket.name, &[], &[("x-amz-bucket-object-lock-enabled", "true")], region).await;
    let found = surroundings(&world).await;
    assert_eq!((found.object_lock, found.versioning), (Known::Known(true), Known::Known(Versioning::Enabled)));
}

#[tokio::test]
async fn what_may_not_be_read_is_not_known_fails_nothing_and_is_not_asked_for_again_and_again() {
    let world = World::new("denied", json!({})).await;
    for read in READS {
        world.fault(read, json!({"mode": "error", "status": 403, "code": "AccessDenied", "times": 0})).await;
    }
    let discovery = Discovery::new(HOUR, HOUR);
    for _ in 0..3 {
        let look = observe(&world.bucket, LOGS, &discovery).await;
        assert!(look.error.is_none() && look.facts.services.known().is_some(), "{:?}", look.error);
        let Surroundings { versioning, object_lock, replication } = look.surroundings;
        assert!(versioning.is_unknown() && object_lock.is_unknown() && replication.is_unknown());
        assert!(!look.facts.unversioned);
    }
    for read in READS {
        assert_eq!(world.count(read).await, 1, "{read}");
    }
    world.bed.mend(&world.bucket.name).await;
    assert_eq!(surroundings(&world).await.versioning, Known::Known(Versioning::Never));
}
