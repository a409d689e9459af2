//! Many policies over many services of one bucket: made, changed, waited for, and what S3 was asked meanwhile.

use crate::edits::client;
use crate::{cluster, policy};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use logwise_api::RetentionPolicy;
use logwise_testbed::install;
use logwise_testbed::oracles::lifecycle::rules;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use serde_json::{Value, json};
use std::time::Duration;

/// Writes at the API server at once.
const AT_ONCE: usize = 16;

/// Objects that are put at once.
const BATCH: usize = 1_000;

/// Longest wait until many policies are ready.
const LONGEST: Duration = Duration::from_secs(600);

/// Pause between two lists of many policies.
const BETWEEN_LISTS: Duration = Duration::from_millis(400);

/// Names of so many services.
pub fn services(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("s-{number:05}")).collect()
}

/// Puts one object of each service into the world's bucket.
pub async fn put_services(world: &World, names: &[String]) -> Result<()> {
    let object = |name: &String| NewObject::sized(&format!("logs/service_name={name}/year=2026/part-0.parquet"), 1);
    for names in names.chunks(BATCH) {
        world.put_objects(&names.iter().map(object).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// A pipeline that manages nothing but the bucket; nothing waits for approval.
pub fn pipeline(world: &World) -> Result<Value> {
    let mut object = cluster(world, "demo");
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    Ok(object)
}

/// A policy that covers what `selector` says; nothing waits for approval.
pub fn covering(name: &str, selector: Value, days: i32) -> Value {
    let mut object = policy(name, "demo", days);
    object["spec"]["serviceSelector"] = selector;
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    object
}

/// So many policies that share these services out among themselves.
pub fn spread(number: usize, services: &[String], days: i32) -> Vec<Value> {
    let own = |place: usize| services.iter().skip(place).step_by(number.max(1)).collect::<Vec<_>>();
    (0..number).map(|place| covering(&name(place), json!({"matchNames": own(place)}), days)).collect()
}

fn name(place: usize) -> String {
    format!("p-{place:05}")
}

/// The policies of a world.
pub struct Policies<'a> {
    world: &'a World,
    api: Api<RetentionPolicy>,
}

impl<'a> Policies<'a> {
    /// With the rights of the bed's administrator; the definitions are installed.
    pub async fn of(world: &'a World) -> Result<Policies<'a>> {
        install::kubeconfig(&world.bed).await?;
        let client = client(&world.bed).await?;
        Ok(Policies { world, api: Api::namespaced(client, &world.namespace) })
    }

    /// Creates these.
    pub async fn create(&self, objects: Vec<Value>) -> Result<()> {
        let create = |object: Value| async move {
            let object: RetentionPolicy = serde_json::from_value(object)?;
            self.api.create(&PostParams::default(), &object).await?;
            anyhow::Ok(())
        };
        stream::iter(objects).map(create).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await
    }

    /// Lets the first ones of [`spread`] want so many days.
    pub async fn change(&self, number: usize, days: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"expiration": {"days": days}}}));
        let change = |place: usize| {
            let patch = &patch;
            async move {
                self.api.patch(&name(place), &PatchParams::default(), patch).await?;
                anyhow::Ok(())
            }
        };
        stream::iter(0..number).map(change).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await
    }

    /// Waits until so many are there and each is ready in its current generation.
    pub async fn ready(&self, number: usize) -> Result<()> {
        let look = async || {
            tokio::time::sleep(BETWEEN_LISTS).await;
            let all = self.api.list(&ListParams::default()).await?;
            let ready = all.iter().filter(|object| is_ready(object)).count();
            let first = all.iter().find(|object| !is_ready(object)).map(|object| json!(object.status));
            ensure!(ready == number, "{ready} of {number} are; one that is not: {}", json!(first));
            Ok(())
        };
        self.world.wait_until("every policy to be ready", LONGEST, look).await
    }
}

fn is_ready(object: &RetentionPolicy) -> bool {
    let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
    let current = |observed: Option<i64>| observed.is_some() && observed == object.metadata.generation;
    conditions.any(|c| c.type_ == "Ready" && c.status.as_str() == "True" && current(c.observed_generation))
}

/// What S3 was asked about the world's bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Writes of the lifecycle configuration.
    pub puts: usize,
    /// Readings of it.
    pub gets: usize,
    /// Pages of listings.
    pub pages: usize,
    /// Everything else.
    pub others: usize,
}

impl Asked {
    /// From the first call on.
    pub async fn so_far(world: &World) -> Result<Asked> {
        let mut asked = Asked::default();
        for call in world.calls(&world.bucket, false).await? {
            let of_kind = match call.action.as_str() {
                "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => &mut asked.puts,
                "GetBucketLifecycleConfiguration" => &mut asked.gets,
                "ListObjectsV2" => &mut asked.pages,
                _ => &mut asked.others,
            };
            *of_kind += 1;
        }
        Ok(asked)
    }

    /// What has come to it since.
    pub fn since(self, before: Asked) -> Asked {
        Asked {
            puts: self.puts - before.puts,
            gets: self.gets - before.gets,
            pages: self.pages - before.pages,
            others: self.others - before.others,
        }
    }
}

/// Prefix and days of each rule of ours in a lifecycle configuration. Names with marks of XML are not undone.
pub fn expirations(document: &str) -> Result<Vec<(String, i32)>> {
    let ours = rules(document).filter(|rule| rule.contains("<ID>logwise.io/"));
    let read = |rule: &str| {
        let within = |before: &str, after: &str| Some(rule.split_once(before)?.1.split_once(after)?.0);
        let prefix = within("<Prefix>", "</Prefix>").with_context(|| format!("no prefix in {rule}"))?;
        let days = within("<Days>", "</Days>").with_context(|| format!("no days in {rule}"))?;
        anyhow::Ok((prefix.to_owned(), days.parse::<i32>()?))
    };
    ours.map(read).collect()
}
