//! Several operators on one bucket: of two installations, of a copy of one installation, and replicas of one.

use crate::replicas::{LEASE, intent, leads, replica, wait_leads};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::stand_in::{NewObject, Stale};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, condition, configuration, events, policy, wait_condition,
};
use serde_json::{Value, json};
use std::time::Duration;

const PUT: &str = "PutBucketLifecycleConfiguration";
const DEMO: (&str, &str) = ("lwc", "demo");
const KEPT: (&str, &str) = ("lrp", "default");

/// A bucket with one service and rules of others.
async fn world(name: &str) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    Ok(world)
}

/// A pipeline over this bucket and a policy of so many days; nothing waits for approval.
fn objects(world: &World, bucket: &str, days: i32) -> Result<[Value; 2]> {
    let (mut pipeline, mut kept) = (cluster(world, "demo"), policy("default", "demo", days));
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    pipeline["spec"]["storage"]["bucketName"] = json!(bucket);
    for object in [&mut pipeline, &mut kept] {
        object["spec"]["changePolicy"] = json!({"approval": "Never"});
    }
    Ok([pipeline, kept])
}

async fn retain(world: &World, bucket: &str, days: i32) -> Result<()> {
    let [pipeline, kept] = objects(world, bucket, days)?;
    apply(world, &[&pipeline, &kept]).await
}

async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

async fn puts(world: &World) -> Result<usize> {
    Ok(world.calls(&world.bucket, true).await?.iter().filter(|call| call.action == PUT).count())
}

/// Waits until this installation says of its bucket that it is not the only one, with this text.
async fn conflicted(world: &World, says: &str) -> Result<()> {
    let object = wait_condition(world, DEMO, ("StorageReady", "False", "Conflicted")).await?;
    let told = condition(&object, "StorageReady").context("StorageReady")?["message"].to_string();
    ensure!(told.contains(says), "{says:?} is not in {told}");
    wait_condition(world, KEPT, ("Programmed", "False", "Conflicted")).await?;
    wait_condition(world, KEPT, ("Stalled", "True", "Conflicted")).await?;
    Ok(())
}

async fn ready(world: &World) -> Result<()> {
    wait_condition(world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(world, DEMO, ("StorageReady", "True", "Available")).await?;
    Ok(())
}

async fn operator(world: &World) -> Result<Operator> {
    let mut operator = Operator::start(world, Options::default()).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// Two installations, as of two Kubernetes clusters that know nothing of each other.
#[tokio::test]
async fn of_two_installations_on_one_bucket_the_second_writes_nothing_until_the_first_is_gone() -> Result<()> {
    let (first, second) = (world("first-one").await?, World::new(&Bed::attach()?, "second-one").await?);
    let (_one, other) = (operator(&first).await?, operator(&second).await?);
    retain(&first, &first.bucket, 30).await?;
    ready(&first).await?;
    let with_first = document(&first).await?;
    retain(&second, &first.bucket, 7).await?;
    conflicted(&second, &format!("Logwise installation {} has 1 rules over these logs", first.id)).await?;
    settles(&second, &other, &["storage"], 3, PATIENCE).await?;
    ensure!(puts(&first).await? == 1 && document(&first).await? == with_first, "the second one has written");
    // The first one goes on as if it were alone.
    retain(&first, &first.bucket, 60).await?;
    ready(&first).await?;
    ensure!(puts(&first).await? == 2 && document(&first).await?.contains("<Days>60</Days>"), "{}", puts(&first).await?);
    conflicted(&second, &first.id).await?;
    first.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    ready(&second).await?;
    let with_second = document(&first).await?;
    ensure!(with_second.contains("<Days>7</Days>") && with_second.matches("<Rule>").count() == 3, "{with_second}");
    ensure!(with_second.contains(FOREIGN_ODD) && with_second.contains(FOREIGN_LEGACY), "{with_second}");
    // Now the first one is the second.
    retain(&first, &first.bucket, 30).await?;
    conflicted(&first, &format!("Logwise installation {} has 1 rules", second.id)).await?;
    // Both have rules, whoever has done that: neither writes. Those of the second one are as it wants them.
    let (_, of_first) = with_first.split_once(FOREIGN_LEGACY).context("no rule of the first one")?;
    first.put_lifecycle(&first.bucket, &with_second.replace("</LifecycleConfiguration>", of_first)).await?;
    wait_condition(&second, DEMO, ("StorageReady", "False", "Conflicted")).await?;
    let (both, written) = (document(&first).await?, puts(&first).await?);
    retain(&first, &first.bucket, 45).await?;
    retain(&second, &first.bucket, 9).await?;
    conflicted(&first, &second.id).await?;
    conflicted(&second, &first.id).await?;
    ensure!(document(&first).await? == both && puts(&first).await? == written, "one of them has written");
    Ok(())
}

/// As by the operator of a copy of the Kubernetes cluster, or from an old copy of the configuration.
#[tokio::test]
async fn rules_of_an_object_that_was_replaced_are_not_fought_when_they_come_back() -> Result<()> {
    let world = world("copied").await?;
    let _operator = operator(&world).await?;
    let [pipeline, mut kept] = objects(&world, &world.bucket, 30)?;
    kept["spec"]["deletionPolicy"] = json!("Orphan");
    apply(&world, &[&pipeline, &kept]).await?;
    ready(&world).await?;
    let with_old = document(&world).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    retain(&world, &world.bucket, 60).await?;
    ready(&world).await?;
    let (with_new, written) = (document(&world).await?, puts(&world).await?);
    ensure!(with_new.matches("<Rule>").count() == 3 && written == 2, "not adopted: {with_new}");
    world.put_lifecycle(&world.bucket, &with_old).await?;
    conflicted(&world, "are there again although a write of this operator replaced them").await?;
    retain(&world, &world.bucket, 90).await?;
    conflicted(&world, "are there again").await?;
    ensure!(document(&world).await? == with_old && puts(&world).await? == written, "it fights");
    world.put_lifecycle(&world.bucket, &with_new).await?;
    ready(&world).await?;
    ensure!(document(&world).await?.contains("<Days>90</Days>"), "{}", document(&world).await?);
    Ok(())
}

/// The leader stands still while S3 answers with the configuration from before its write; the next one finishes what it
/// has begun, and neither writes again.
#[tokio::test]
async fn of_two_replicas_the_one_finishes_the_write_of_the_other() -> Result<()> {
    let world = world("replicas-s3").await?;
    let url = world.create_schema().await?;
    let patient = || Options::default().env("LOGWISE_OLD_ANSWERS_SECONDS", "120");
    let first = replica(&world, &url, patient()).await?;
    wait_leads(&world, &first).await?;
    let second = replica(&world, &url, patient()).await?;
    let old = Stale { within: Some(Duration::from_secs(4 * LEASE)), after_next_write: true, ..Stale::default() };
    world.bed.stand_in().make_stale(&world.bucket, &old).await?;
    retain(&world, &world.bucket, 30).await?;
    let written = async || {
        ensure!(puts(&world).await? == 1, "nothing was written");
        let (_, record) = intent(&world, "bucket/").await?;
        ensure!(record["state"] == "Sent", "{record}");
        Ok(())
    };
    world.wait_until("the write", PATIENCE, written).await?;
    first.pause().await?;
    wait_leads(&world, &second).await?;
    wait_condition(&world, KEPT, ("Programmed", "False", "Progressing")).await?;
    first.resume().await?;
    ready(&world).await?;
    let closed = async || {
        let (_, record) = intent(&world, "bucket/").await?;
        ensure!(record["state"] == "Done", "{record}");
        Ok(())
    };
    world.wait_until("the record to be closed", PATIENCE, closed).await?;
    ensure!(puts(&world).await? == 1, "{} writes", puts(&world).await?);
    let blamed = events(&world, "demo", "ForeignWriterDetected").await?;
    ensure!(blamed.is_empty(), "{blamed:?}");
    ensure!(!leads(&first).await? && leads(&second).await?, "the paused one leads again");
    Ok(())
}
