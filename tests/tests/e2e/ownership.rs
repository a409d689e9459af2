//! Every part of a status has one writer, and each writer owns only its part.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, policy, wait_condition, with_spark};
use serde_json::Value;
use std::collections::BTreeMap;

/// Paths under `f:status`, down to single conditions, by the manager that owns them.
fn owned(object: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let mut owned: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in object["metadata"]["managedFields"].as_array().context("managedFields")? {
        let manager = entry["manager"].as_str().context("manager")?;
        let Some(status) = entry["fieldsV1"]["f:status"].as_object() else { continue };
        for (field, below) in status {
            if field == "f:conditions" {
                let conditions = below.as_object().context("conditions")?.keys().filter(|key| key.starts_with("k:"));
                owned.entry(manager.to_owned()).or_default().extend(conditions.cloned());
            } else {
                owned.entry(manager.to_owned()).or_default().push(field.clone());
            }
        }
    }
    Ok(owned)
}

fn condition_key(kind: &str) -> String {
    format!("k:{{\"type\":\"{kind}\"}}")
}

#[tokio::test]
async fn no_two_managers_own_the_same_part_of_a_status() -> Result<()> {
    let world = World::new(&Bed::attach()?, "ownership").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(0, 4, 1))?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    apply(&world, &[&with_spark(&world, cluster(&world, "demo"), (0, 4))?, &policy("default", "demo", 30)]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let text = world.kubectl(&["get", "lwc", "demo", "-o", "json", "--show-managed-fields"]).await?;
    let owned_by = owned(&serde_json::from_str(&text)?)?;
    let expected = [
        (
            "logwise.io/kafka",
            vec!["f:kafka".to_owned(), condition_key("KafkaReady"), condition_key("PartitionsLimited")],
        ),
        (
            "logwise.io/spark",
            vec![
                "f:spark".to_owned(),
                condition_key("RetentionAtRisk"),
                condition_key("ScalingLimited"),
                condition_key("SignalsFresh"),
                condition_key("SparkReady"),
            ],
        ),
        ("logwise.io/storage", vec!["f:storage".to_owned(), condition_key("StorageReady")]),
    ];
    for (manager, mut parts) in expected {
        let mut found =
            owned_by.get(manager).cloned().with_context(|| format!("{manager} owns nothing: {owned_by:?}"))?;
        found.sort();
        parts.sort();
        ensure!(found == parts, "{manager} owns {found:?}");
    }
    let all: Vec<&String> = owned_by.values().flatten().collect();
    let mut distinct = all.clone();
    distinct.sort();
    distinct.dedup();
    ensure!(all.len() == distinct.len(), "parts with two owners: {owned_by:?}");
    let text = world.kubectl(&["get", "lrp", "default", "-o", "json", "--show-managed-fields"]).await?;
    let owned_by = owned(&serde_json::from_str(&text)?)?;
    ensure!(owned_by.keys().eq(["logwise.io/retention"]), "{owned_by:?}");
    Ok(())
}

#[tokio::test]
async fn a_section_that_is_removed_takes_its_status_along() -> Result<()> {
    let world = World::new(&Bed::attach()?, "section").await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    apply(&world, &[&cluster(&world, "demo")]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    let remove = r#"[{"op": "remove", "path": "/spec/kafka"}]"#;
    world.kubectl(&["patch", "lwc", "demo", "--type", "json", "-p", remove]).await?;
    world
        .wait_until("the Kafka part to go", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            ensure!(object["status"]["kafka"].is_null(), "{}", object["status"]);
            ensure!(logwise_tests::condition(&object, "KafkaReady").is_none(), "{}", object["status"]);
            Ok(())
        })
        .await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    Ok(())
}
