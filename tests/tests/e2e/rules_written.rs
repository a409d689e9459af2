//! What a write of lifecycle rules costs, and what becomes of one that S3 refuses, keeps less of, or does not show.

use crate::effect::looked_again;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::{Call, Fault, NewObject, Stale};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, condition, configuration, events, more_looks, policy,
    wait_condition,
};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const PUT: &str = "PutBucketLifecycleConfiguration";
const GET: &str = "GetBucketLifecycleConfiguration";
pub(crate) const DEMO: (&str, &str) = ("lwc", "demo");
pub(crate) const KEPT: (&str, &str) = ("lrp", "default");

/// The preflight is off: it reads the configuration too.
pub(crate) fn options(more: Value) -> Options {
    let mut config = json!({"preflight": {"enabled": false}});
    config.as_object_mut().into_iter().for_each(|config| config.extend(more.as_object().cloned().unwrap_or_default()));
    Options::config(config)
}

/// A bucket with rules of others and these services.
async fn world(name: &str, services: &[&str]) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    let key = |service: &&str| format!("logs/service_name={service}/year=2026/part-0.parquet");
    let objects: Vec<NewObject> = services.iter().map(key).map(|key| NewObject::sized(&key, 10)).collect();
    world.put_objects(&objects).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    Ok(world)
}

pub(crate) async fn start(world: &World, options: Options) -> Result<Operator> {
    let mut operator = Operator::start(world, options).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// The bucket's pipeline; nothing waits for approval.
pub(crate) fn pipeline(world: &World) -> Result<Value> {
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    Ok(pipeline)
}

pub(crate) fn unattended(name: &str, days: i32) -> Value {
    let mut policy = policy(name, "demo", days);
    policy["spec"]["changePolicy"] = json!({"approval": "Never"});
    policy
}

/// A policy that asks for something that lossy servers drop.
fn with_abort(days: i32) -> Value {
    let mut policy = unattended("default", days);
    policy["spec"]["abortIncompleteMultipartUpload"] = json!({"daysAfterInitiation": 3});
    policy
}

pub(crate) async fn calls(world: &World, action: &str) -> Result<Vec<Call>> {
    let calls = world.calls(&world.bucket, false).await?;
    Ok(calls.into_iter().filter(|call| call.action == action).collect())
}

pub(crate) async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

/// Waits for a message of this condition that holds this text.
pub(crate) async fn wait_told(world: &World, (kind, name): (&str, &str), of: &str, text: &str) -> Result<()> {
    world
        .wait_until(&format!("{of} to say {text:?}"), PATIENCE, async || {
            let object = world.get_json(kind, name).await?;
            let found = condition(&object, of).with_context(|| format!("no {of}"))?;
            ensure!(found["message"].as_str().unwrap_or_default().contains(text), "{found}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn policies_that_change_together_are_one_write_and_at_most_four_reads() -> Result<()> {
    let services: Vec<String> = (0..12).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = services.iter().map(String::as_str).collect();
    let world = world("together", &names).await?;
    // Looks are rare: all that is read belongs to the changes.
    let operator = start(&world, options(json!({"intervals": {"s3Seconds": 3_600}}))).await?;
    apply(&world, &[&pipeline(&world)?]).await?;
    wait_condition(&world, DEMO, ("StorageReady", "True", "Available")).await?;
    for days in [30, 60] {
        let policies: Vec<Value> = names
            .iter()
            .map(|name| {
                let mut policy = unattended(name, days);
                policy["spec"]["serviceSelector"] = json!({"matchNames": [name]});
                policy
            })
            .collect();
        let (puts, gets) = (calls(&world, PUT).await?.len(), calls(&world, GET).await?.len());
        // What a busy machine applies one after the other reaches the operator together.
        operator.pause().await?;
        apply(&world, &policies.iter().collect::<Vec<_>>()).await?;
        operator.resume().await?;
        for name in &names {
            wait_condition(&world, ("lrp", *name), ("Ready", "True", "Programmed")).await?;
        }
        let (puts, gets) = (calls(&world, PUT).await?.len() - puts, calls(&world, GET).await?.len() - gets);
        ensure!(puts == 1 && gets <= 4, "{puts} writes and {gets} reads for {} policies", names.len());
        let document = document(&world).await?;
        ensure!(document.matches(&format!("<Days>{days}</Days>")).count() == names.len(), "{document}");
    }
    Ok(())
}

/// A write that is refused three times in this way is sent again after growing pauses, once a look.
async fn refused(name: &str, (status, code): (u16, &str), reason: &str) -> Result<()> {
    let world = world(name, &["api"]).await?;
    world.fault(&Fault::error(&world.bucket, &format!("^{PUT}$"), status, code).times(3)).await?;
    let _operator = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    wait_condition(&world, DEMO, ("StorageReady", "False", reason)).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    let puts = calls(&world, PUT).await?;
    let gaps: Vec<i64> = puts.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
    // 1 s, 2 s and 4 s, spread by a quarter.
    ensure!(gaps.len() == 3 && gaps[0] >= 750 && gaps[1] >= 1_500 && gaps[2] >= 3_000, "{gaps:?} ms apart");
    let document = document(&world).await?;
    ensure!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "a foreign rule is lost: {document}");
    Ok(())
}

#[tokio::test]
async fn conflicts_and_throttling_make_writes_rare() -> Result<()> {
    futures::try_join!(
        refused("conflict", (409, "OperationAborted"), "Unreadable"),
        refused("throttled-rules", (503, "SlowDown"), "Throttled"),
    )?;
    Ok(())
}

#[tokio::test]
async fn what_a_server_does_not_keep_is_taken_back_and_not_written_again_after_a_restart_either() -> Result<()> {
    let world = world("lossy", &["api", "web"]).await?;
    let as_it_was = document(&world).await?;
    world.bed.stand_in().drop_fields(&world.bucket, &["AbortIncompleteMultipartUpload"]).await?;
    let mut operator = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &with_abort(30)]).await?;
    wait_condition(&world, KEPT, ("Programmed", "False", "StoreIgnoresField")).await?;
    let field = "AbortIncompleteMultipartUpload.DaysAfterInitiation (of 2 rules)";
    wait_told(&world, KEPT, "Stalled", field).await?;
    wait_told(&world, DEMO, "StorageReady", "the rules from before were put back").await?;
    ensure!(document(&world).await? == as_it_was, "{}", document(&world).await?);
    ensure!(calls(&world, PUT).await?.len() == 2, "written once, taken back once");
    ensure!(operator.stop().await? == 0, "it did not end cleanly");
    let operator = start(&world, options(json!({}))).await?;
    more_looks(&world, &operator, "storage", 3).await?;
    wait_condition(&world, DEMO, ("StorageReady", "False", "StoreIgnoresField")).await?;
    ensure!(calls(&world, PUT).await?.len() == 2, "the same rules were written again");
    // `apply` takes away what is no longer there.
    apply(&world, &[&unattended("default", 30)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, DEMO, ("StorageReady", "True", "Available")).await?;
    ensure!(calls(&world, PUT).await?.len() == 3, "one write more");
    Ok(())
}

#[tokio::test]
async fn a_field_that_an_edit_adds_in_vain_is_named_and_nobody_is_blamed() -> Result<()> {
    let world = world("lossy-edit", &["api", "web"]).await?;
    world.bed.stand_in().drop_fields(&world.bucket, &["AbortIncompleteMultipartUpload"]).await?;
    let mut first = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    // What the server makes of the next write is this, byte for byte: at first it may be an old answer.
    let before = document(&world).await?;
    apply(&world, &[&with_abort(30)]).await?;
    let is_told = async || {
        wait_condition(&world, KEPT, ("Programmed", "False", "StoreIgnoresField")).await?;
        let field = "AbortIncompleteMultipartUpload.DaysAfterInitiation (of 2 rules)";
        wait_told(&world, DEMO, "StorageReady", field).await?;
        let blamed = events(&world, "demo", "ForeignWriterDetected").await?;
        ensure!(blamed.is_empty(), "{blamed:?}");
        ensure!(document(&world).await? == before, "{}", document(&world).await?);
        ensure!(calls(&world, PUT).await?.len() == 2, "{} writes", calls(&world, PUT).await?.len());
        Ok(())
    };
    is_told().await?;
    looked_again(&world, &first, 3).await?;
    is_told().await.context("after more looks")?;
    ensure!(first.stop().await? == 0, "it did not end cleanly");
    let second = start(&world, options(json!({}))).await?;
    looked_again(&world, &second, 3).await?;
    is_told().await.context("after a restart")?;
    // `apply` takes away what is no longer there.
    apply(&world, &[&unattended("default", 30)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, DEMO, ("StorageReady", "True", "Available")).await?;
    ensure!(calls(&world, PUT).await?.len() == 2, "there was nothing to write");
    Ok(())
}

#[tokio::test]
async fn a_rule_of_others_that_the_server_makes_less_is_named_and_nobody_is_blamed() -> Result<()> {
    let world = world("lossy-theirs", &["api"]).await?;
    world.bed.stand_in().drop_fields(&world.bucket, &["ObjectSizeGreaterThan"]).await?;
    let _operator = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    wait_condition(&world, DEMO, ("StorageReady", "False", "StoreIgnoresField")).await?;
    wait_told(&world, DEMO, "StorageReady", "terraform-odd lacks Filter.ObjectSizeGreaterThan").await?;
    wait_condition(&world, KEPT, ("Programmed", "True", "Programmed")).await?;
    ensure!(calls(&world, PUT).await?.len() == 1, "written again");
    let blamed = events(&world, "demo", "ForeignWriterDetected").await?;
    ensure!(blamed.is_empty(), "{blamed:?}");
    Ok(())
}

#[tokio::test]
async fn a_write_that_is_not_shown_yet_is_not_repeated_by_the_next_process() -> Result<()> {
    let world = world("unseen", &["api"]).await?;
    let old = Stale { within: Some(Duration::from_secs(20)), after_next_write: true, ..Stale::default() };
    world.bed.stand_in().make_stale(&world.bucket, &old).await?;
    let patient = || options(json!({})).env("LOGWISE_OLD_ANSWERS_SECONDS", "120");
    let mut first = start(&world, patient()).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    let written = async || {
        ensure!(calls(&world, PUT).await?.len() == 1, "nothing was written");
        Ok(())
    };
    world.wait_until("the write", PATIENCE, written).await?;
    first.kill9().await?;
    let _second = start(&world, patient()).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    ensure!(calls(&world, PUT).await?.len() == 1, "{} writes", calls(&world, PUT).await?.len());
    Ok(())
}
