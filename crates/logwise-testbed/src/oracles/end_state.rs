//! O1: what the outside systems hold at the end, so that a run with faults can be compared with one without.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use super::{conditions, objects, title, verdict};
use crate::kafka::client_config;
use crate::stand_in::Group;
use crate::world::{WorkerPod, World};

const CALL: Duration = Duration::from_secs(10);
/// Stands for the world's name, which differs from run to run.
const WORLD: &str = "WORLD";
/// The part of an object's uid by which the operator names what belongs to it.
const SHORT_UID: usize = 8;

/// Everything that outlives a run, by what it is. Names of worlds, uids, instance names and times are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndState(BTreeMap<String, Value>);

impl EndState {
    /// Looks at topics with partitions, bounds, size and instances of the group, the lifecycle document, replicas and
    /// deletion costs of Deployments, and, for each object of the operator, finalizers and conditions (status and
    /// reason).
    pub async fn of(world: &World) -> Result<EndState> {
        let mut found = BTreeMap::new();
        for (topic, partitions) in topics(world).await? {
            found.insert(format!("topic {topic}"), json!(partitions));
        }
        let group = match world.group(&world.group).await {
            Ok(group) => numbers(&group),
            Err(error) if error.to_string().contains("answers 404") => Value::Null,
            Err(error) => return Err(error),
        };
        found.insert("group".to_owned(), group);
        found.insert("lifecycle".to_owned(), json!(world.lifecycle(&world.bucket).await?.document));
        for deployment in world.deployments().await? {
            let pods = world.worker_pods(&deployment).await?;
            found.insert(format!("deployment {deployment}"), costs(&pods));
        }
        let objects = objects(world).await?;
        found.extend(objects.iter().map(|object| (title(object), summary(object))));
        Ok(EndState(normalised(found, &world.id, &objects)))
    }

    /// What differs from the run without faults, one line each.
    pub fn differences(&self, faultless: &EndState) -> Vec<String> {
        let names = self.0.keys().chain(faultless.0.keys().filter(|name| !self.0.contains_key(*name)));
        let line = |name: &String| {
            let (here, there) = (self.0.get(name), faultless.0.get(name));
            let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            (here != there).then(|| format!("{name} is {} instead of {}", text(here), text(there)))
        };
        names.filter_map(line).collect()
    }

    /// Errors when anything differs from the run without faults; the text names each difference.
    pub fn same_as(&self, faultless: &EndState) -> Result<()> {
        verdict("the end state differs from that of the run without faults", &self.differences(faultless))
    }
}

/// The world's topics and their partitions, as a client of its own sees them.
pub async fn topics(world: &World) -> Result<BTreeMap<String, usize>> {
    let (config, prefix) = (client_config(&world.bed.kafka.bootstrap), world.topic_prefix.clone());
    let look = move || -> Result<BTreeMap<String, usize>> {
        let consumer: BaseConsumer = config.create().context("creating a Kafka client")?;
        let metadata = consumer.fetch_metadata(None, CALL).context("asking Kafka for its topics")?;
        let ours = metadata.topics().iter().filter(|topic| topic.name().starts_with(&prefix));
        Ok(ours.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
    };
    tokio::task::spawn_blocking(look).await.context("asking Kafka")?
}

fn numbers(group: &Group) -> Value {
    let mut instances: BTreeMap<String, u32> = BTreeMap::new();
    for one in &group.instances {
        let protected = if one.protected { "/protected" } else { "" };
        *instances.entry(format!("{}/{}{protected}", one.lifecycle_state, one.health)).or_default() += 1;
    }
    json!({"min": group.min, "max": group.max, "desired": group.desired, "instances": instances})
}

/// How many pods there are by what their deletion costs.
fn costs(pods: &[WorkerPod]) -> Value {
    let mut costs: BTreeMap<&str, u32> = BTreeMap::new();
    for pod in pods {
        *costs.entry(pod.cost.as_deref().unwrap_or("none")).or_default() += 1;
    }
    json!(costs)
}

fn summary(object: &Value) -> Value {
    let all: BTreeMap<&str, String> = conditions(object)
        .filter_map(|one| {
            Some((one["type"].as_str()?, format!("{}/{}", one["status"].as_str()?, one["reason"].as_str()?)))
        })
        .collect();
    let (metadata, current) = (&object["metadata"], &object["status"]["observedGeneration"]);
    json!({
        "conditions": all,
        "finalizers": metadata["finalizers"],
        "deleting": !metadata["deletionTimestamp"].is_null(),
        "current": *current == metadata["generation"],
    })
}

fn normalised(found: BTreeMap<String, Value>, world: &str, objects: &[Value]) -> BTreeMap<String, Value> {
    let mut names = vec![(world.to_owned(), WORLD.to_owned())];
    for object in objects {
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            let stands = format!("UID-OF-{}", title(object));
            names.push((uid.to_owned(), stands.clone()));
            names.push((uid.chars().take(SHORT_UID).collect(), stands));
        }
    }
    let rename = |text: &str| names.iter().fold(text.to_owned(), |text, (name, stands)| text.replace(name, stands));
    found.into_iter().map(|(name, value)| (rename(&name), walk(value, &rename))).collect()
}

fn walk(value: Value, rename: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(rename(&text)),
        Value::Array(items) => items.into_iter().map(|item| walk(item, rename)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, walk(value, rename))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(world: &str, uid: &str, reason: &str) -> EndState {
        let object = json!({"kind": "RetentionPolicy", "metadata": {"name": "p", "uid": uid, "generation": 2},
            "status": {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True", "reason": reason, "lastTransitionTime": uid}]}});
        let found = BTreeMap::from([
            (format!("topic {world}.logs.a"), json!(3)),
            ("lifecycle".to_owned(), json!(format!("<ID>logwise:{}</ID>", &uid[..8]))),
            (title(&object), summary(&object)),
        ]);
        EndState(normalised(found, world, &[object]))
    }

    #[test]
    fn names_and_uids_of_a_run_do_not_count_and_reasons_do() {
        let faultless = state("a1", "11111111-2222", "Programmed");
        assert_eq!(state("b2", "33333333-4444", "Programmed").differences(&faultless), Vec::<String>::new());
        let error = state("b2", "33333333-4444", "Denied").same_as(&faultless).unwrap_err().to_string();
        assert!(error.contains("RetentionPolicy/p is") && error.contains("True/Denied"), "{error}");
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_named() {
        let (full, empty) = (state("a1", "11111111-2", "X"), EndState(BTreeMap::new()));
        assert_eq!(full.differences(&empty).len(), 3);
        assert!(empty.differences(&full).contains(&"topic WORLD.logs.a is nothing instead of 3".to_owned()));
    }
}
