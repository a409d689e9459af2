//! The control interface of the AWS stand-in: what was called, what shall go wrong, what it holds.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http;

mod faults;
mod lives;
mod reads;

pub use faults::{Delivery, Fault, Mode, Throttle};
pub use lives::{ADMINISTRATOR, Failures, Life, Pace, Waiting};
pub use reads::{Stale, StaleState};

/// One call of the AWS interface that the stand-in has seen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Call {
    /// Rises with each call.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time: i64,
    /// `s3`, `autoscaling`, ...
    pub service: String,
    /// The operation's name, such as `SetDesiredCapacity`.
    pub action: String,
    /// The bucket or group that it named.
    pub resource: Option<String>,
    /// Its parameters, without credentials.
    #[serde(default)]
    pub params: Value,
    /// Whether the operation changes something.
    pub mutating: bool,
    /// Who called: `role/<name>`, `key/<access key id>`, or somebody whose key the stand-in does not know.
    #[serde(default)]
    pub caller: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    /// HTTP status.
    pub status: Option<u16>,
    /// AWS's error code.
    pub code: Option<String>,
    /// The fault that was applied.
    pub fault: Option<Value>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Least number of instances.
    pub min: i64,
    /// Greatest number of instances.
    pub max: i64,
    /// Wanted number of instances.
    pub desired: i64,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// An instance of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Instance {
    /// `i-...`.
    pub id: String,
    /// In the bed's subnet.
    pub private_ip: String,
    /// Such as `InService`.
    pub lifecycle_state: String,
    /// Such as `ap-south-1a`.
    #[serde(default)]
    pub zone: String,
    /// Such as `Healthy`.
    pub health: String,
    /// Whether scale-in spares it.
    pub protected: bool,
}

/// A bucket's lifecycle configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Lifecycle {
    /// The document, byte for byte; none when there is no configuration.
    pub document: Option<String>,
    /// The setting that travels in a header.
    pub minimum_object_size: Option<String>,
}

/// An object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// An object to be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum NewObject {
    /// With zeroes as content.
    Sized {
        /// Its key.
        key: String,
        /// Bytes.
        size: u64,
    },
    /// With a text as content.
    Text {
        /// Its key.
        key: String,
        /// Its content.
        text: String,
    },
}

impl NewObject {
    /// An object of that many bytes.
    pub fn sized(key: &str, size: u64) -> NewObject {
        NewObject::Sized { key: key.to_owned(), size }
    }

    /// An object with a text.
    pub fn text(key: &str, text: &str) -> NewObject {
        NewObject::Text { key: key.to_owned(), text: text.to_owned() }
    }
}

/// A client of the control interface. Nothing it does enters the ledger.
#[derive(Debug, Clone)]
pub struct StandIn {
    endpoint: String,
}

impl StandIn {
    /// For the stand-in at `http://host:port`.
    pub fn new(endpoint: &str) -> StandIn {
        StandIn { endpoint: endpoint.to_owned() }
    }

    /// The calls that named `resource`, in order; `mutating`: only those that change something.
    pub async fn calls(&self, resource: &str, mutating: bool) -> Result<Vec<Call>> {
        let mut query = vec![("resource", resource)];
        query.extend(mutating.then_some(("mutating", "true")));
        self.ask(Method::GET, "/_calls", &query, None).await
    }

    /// Lets the ledger name the calls that are signed with this access key.
    pub async fn add_key(&self, access_key_id: &str) -> Result<()> {
        self.tell(Method::POST, "/_keys", &[], Some(json!({"access_key_id": access_key_id}))).await
    }

    /// Makes a role that whoever names this external id may assume, and that may do everything. Returns its ARN.
    pub async fn add_role(&self, name: &str, external_id: &str) -> Result<String> {
        let role = json!({"name": name, "external_id": external_id});
        let made: Value = self.ask(Method::POST, "/_roles", &[], Some(role)).await?;
        made["arn"].as_str().map(str::to_owned).with_context(|| format!("no ARN in {made}"))
    }

    /// Creates an Auto Scaling group.
    pub async fn create_group(
        &self,
        name: &str,
        (min, max, desired): (i64, i64, i64),
        tags: &[(&str, &str)],
    ) -> Result<()> {
        let tags: BTreeMap<&str, &str> = tags.iter().copied().collect();
        let body = json!({"name": name, "min": min, "max": max, "desired": desired, "tags": tags});
        self.tell(Method::POST, "/_groups", &[], Some(body)).await
    }

    /// Creates an Auto Scaling group without tags whose instances are spread over these zones, such as `a` and `b`.
    pub async fn create_group_in(
        &self,
        name: &str,
        (min, max, desired): (i64, i64, i64),
        zones: &[&str],
    ) -> Result<()> {
        let body = json!({"name": name, "min": min, "max": max, "desired": desired, "zones": zones});
        self.tell(Method::POST, "/_groups", &[], Some(body)).await
    }

    /// Makes a launch template, or one more version of it. Returns the number of the version.
    pub async fn add_template_version(&self, name: &str) -> Result<u64> {
        let made: Value = self.ask(Method::POST, "/_templates", &[], Some(json!({"name": name}))).await?;
        made["version"].as_u64().with_context(|| format!("no version in {made}"))
    }

    /// Reads an Auto Scaling group.
    pub async fn group(&self, name: &str) -> Result<Group> {
        self.ask(Method::GET, "/_groups", &[("name", name)], None).await
    }

    /// Removes an Auto Scaling group with its instances.
    pub async fn delete_group(&self, name: &str) -> Result<()> {
        self.tell(Method::DELETE, "/_groups", &[("name", name)], None).await
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        self.tell(Method::POST, "/_buckets", &[], Some(json!({"name": name}))).await
    }

    /// Removes a bucket with its objects.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        self.tell(Method::DELETE, "/_buckets", &[("name", name)], None).await
    }

    /// Puts objects.
    pub async fn put_objects(&self, bucket: &str, objects: &[NewObject]) -> Result<()> {
        self.tell(Method::POST, "/_objects", &[], Some(json!({"bucket": bucket, "objects": objects}))).await
    }

    /// Lists the objects whose keys begin with `prefix`.
    pub async fn objects(&self, bucket: &str, prefix: &str) -> Result<Vec<Object>> {
        self.ask(Method::GET, "/_objects", &[("bucket", bucket), ("prefix", prefix)], None).await
    }

    /// Reads the lifecycle configuration as it was written.
    pub async fn lifecycle(&self, bucket: &str) -> Result<Lifecycle> {
        self.ask(Method::GET, "/_lifecycle", &[("bucket", bucket)], None).await
    }

    /// Writes a lifecycle configuration as a foreign writer.
    pub async fn put_lifecycle(&self, bucket: &str, document: &str, minimum_object_size: Option<&str>) -> Result<()> {
        let mut body = json!({"bucket": bucket, "document": document});
        if let Some(size) = minimum_object_size {
            body["minimum_object_size"] = json!(size);
        }
        self.tell(Method::PUT, "/_lifecycle", &[], Some(body)).await
    }

    /// From now on the bucket takes lifecycle documents and drops these elements of rules, such as
    /// `ObjectSizeGreaterThan`; none: it keeps all again.
    pub async fn drop_fields(&self, bucket: &str, fields: &[&str]) -> Result<()> {
        self.tell(Method::PUT, "/_drops", &[], Some(json!({"bucket": bucket, "fields": fields}))).await
    }

    async fn tell(&self, method: Method, path: &str, query: &[(&str, &str)], body: Option<Value>) -> Result<()> {
        self.ask::<Value>(method, path, query, body).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T> {
        let mut request = http::client()?.request(method.clone(), format!("{}{path}", self.endpoint)).query(query);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("asking the AWS stand-in: {method} {path}"))?;
        let status = answer.status();
        let text =
            answer.text().await.with_context(|| format!("reading the AWS stand-in's answer to {method} {path}"))?;
        if !status.is_success() {
            bail!("the AWS stand-in answers {status} to {method} {path} {query:?}: {text}");
        }
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).with_context(|| format!("{method} {path} answers {text}"))
    }
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_sized_or_texts() {
        assert_eq!(serde_json::to_value(NewObject::sized("a", 3)).unwrap(), json!({"key": "a", "size": 3}));
        assert_eq!(serde_json::to_value(NewObject::text("a", "x")).unwrap(), json!({"key": "a", "text": "x"}));
    }
}
