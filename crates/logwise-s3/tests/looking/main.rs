//! What is read of a bucket beside its lifecycle configuration, against the test bed's strict AWS stand-in.

#[path = "../../../logwise-aws/tests/stand_in/mod.rs"]
mod stand_in;

mod effect;
mod position;
mod services;
mod settings;

use logwise_aws::{AwsClients, Base, Identity, Pipeline};
use logwise_s3::Bucket;
use serde_json::{Value, json};
use stand_in::{REGION, StandIn, unique};

const ACCOUNT: &str = "123456789012";
const LOGS: &str = "logs/";
const LIST: &str = "ListObjectsV2";

/// The S3 client of a pipeline without a Secret and a role.
fn own(clients: &AwsClients) -> aws_sdk_s3::Client {
    let pipeline = Pipeline { installation: "bed", namespace: "tests", name: "looking" };
    clients.for_identity(&Identity::new(pipeline, Base::Ambient, None), REGION).s3(None)
}

struct World {
    bed: StandIn,
    bucket: Bucket,
}

impl World {
    /// A new bucket; `wish` adds to what it is made with.
    async fn new(test: &str, wish: Value) -> Self {
        let world = Self::without_bucket(test);
        let mut body = json!({"name": world.bucket.name});
        body.as_object_mut().expect("an object").extend(wish.as_object().expect("an object").clone());
        world.bed.control("POST", "/_buckets", body).await;
        world
    }

    fn without_bucket(test: &str) -> Self {
        let bed = StandIn::attach();
        let bucket = Bucket { client: own(&bed.clients()), name: unique(test), owner: Some(ACCOUNT.to_owned()) };
        Self { bed, bucket }
    }

    /// Objects by key, size and, in milliseconds, time of the last change; without one it is now.
    async fn put(&self, objects: impl IntoIterator<Item = (String, u64, Option<i64>)>) {
        let object = |(key, size, modified): (String, u64, Option<i64>)| match modified {
            Some(modified) => json!({"key": key, "size": size, "modified": modified}),
            None => json!({"key": key, "size": size}),
        };
        let objects: Vec<Value> = objects.into_iter().map(object).collect();
        for some in objects.chunks(2_500) {
            self.bed.control("POST", "/_objects", json!({"bucket": self.bucket.name, "objects": some})).await;
        }
    }

    async fn fault(&self, action: &str, rule: Value) {
        self.bed.fault(&self.bucket.name, action, rule).await;
    }

    async fn count(&self, action: &str) -> usize {
        self.bed.count(&self.bucket.name, action).await
    }
}
