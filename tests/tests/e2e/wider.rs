//! A server that drops the prefix of rules, so that ours act on every object of the bucket: they go at once, whatever
//! happens meanwhile, and are not written again. And one that drops the setting for small objects.

use crate::effect::looked_again;
use crate::rules_written::{DEMO, KEPT, PUT, calls, document, options, pipeline, start, unattended, wait_told};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::Operator;
use logwise_testbed::stand_in::{Fault, NewObject};
use logwise_testbed::world::World;
use logwise_tests::{FOREIGN_ODD, PATIENCE, apply, configuration, policy, wait_condition};
use serde_json::{Value, json};
use std::time::Duration;

/// What is left of the condition of a rule of ours.
const EVERYTHING: &str = "<Filter></Filter>";

const SETTING: &str = "TransitionDefaultMinimumObjectSize";

/// A rule of somebody else, of which this server has nothing to drop.
fn theirs(days: usize) -> String {
    format!(
        "<Rule><ID>by-tag</ID><Filter><Tag><Key>keep</Key><Value>short</Value></Tag></Filter><Status>Enabled</Status>\
         <Expiration><Days>{days}</Days></Expiration></Rule>"
    )
}

/// A bucket with a rule of somebody else and these services.
async fn world(name: &str, services: &[&str]) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    let key = |service: &&str| format!("logs/service_name={service}/year=2026/part-0.parquet");
    let objects: Vec<NewObject> = services.iter().map(key).map(|key| NewObject::sized(&key, 10)).collect();
    world.put_objects(&objects).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[&theirs(5)])).await?;
    Ok(world)
}

async fn suspend(world: &World, suspend: bool) -> Result<()> {
    let mut pipeline = pipeline(world)?;
    pipeline["spec"]["suspend"] = json!(suspend);
    apply(world, &[&pipeline]).await
}

/// Waits until the configuration is exactly this.
async fn wait_document(world: &World, wanted: &str) -> Result<()> {
    let is_there = async || {
        let now = document(world).await?;
        ensure!(now == wanted, "{now}");
        Ok(())
    };
    world.wait_until("our rules to be gone, and nothing else", PATIENCE, is_there).await
}

/// An operator that dies as soon as S3 has taken a write; what it has made.
async fn dies_after(world: &World, point: &str, objects: &[&Value]) -> Result<Operator> {
    let first = Operator::start(world, options(json!({})).env("LOGWISE_CRASH_AT", point)).await?;
    apply(world, objects).await?;
    Ok(first)
}

#[tokio::test]
async fn a_rule_that_acts_on_everything_goes_whatever_others_do_after_a_restart_and_while_suspended() -> Result<()> {
    let world = world("wider", &["api", "web"]).await?;
    world.bed.stand_in().drop_fields(&world.bucket, &["Prefix"]).await?;
    let mut first = dies_after(&world, "s3:1:after", &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    ensure!(first.wait_exit().await? == 128 + 9, "it should have died after its write");
    let wide = document(&world).await?;
    ensure!(wide.matches(EVERYTHING).count() == 2, "{wide}");
    // Before anybody looks again.
    world.put_lifecycle(&world.bucket, &wide.replace(&theirs(5), &theirs(6))).await?;
    suspend(&world, true).await?;
    let _second = start(&world, options(json!({}))).await?;
    let as_others_left_it = configuration(&[&theirs(6)]);
    wait_document(&world, &as_others_left_it).await?;
    wait_condition(&world, DEMO, ("StorageReady", "False", "StoreIgnoresField")).await?;
    wait_told(&world, DEMO, "StorageReady", "Filter.Prefix (of 2 rules); these rules were taken away. From ").await?;
    ensure!(calls(&world, PUT).await?.len() == 2, "written once, taken away once");

    // What may be written now is not written any more, for nobody.
    suspend(&world, false).await?;
    wait_condition(&world, KEPT, ("Programmed", "False", "StoreIgnoresField")).await?;
    let mut more = policy("more", "demo", 7);
    more["spec"]["serviceSelector"] = json!({"matchNames": ["web"]});
    more["spec"]["priority"] = json!(10);
    more["spec"]["changePolicy"] = json!({"approval": "Never"});
    apply(&world, &[&unattended("default", 60), &more]).await?;
    for policy in ["default", "more"] {
        wait_condition(&world, ("lrp", policy), ("Programmed", "False", "StoreIgnoresField")).await?;
    }
    wait_told(&world, KEPT, "Programmed", "No rule is written to this bucket any more").await?;
    ensure!(document(&world).await? == as_others_left_it, "{}", document(&world).await?);
    ensure!(calls(&world, PUT).await?.len() == 2, "written again");
    Ok(())
}

#[tokio::test]
async fn it_goes_too_when_the_pipeline_has_gone_before_anybody_looked() -> Result<()> {
    let world = world("wider-gone", &["api"]).await?;
    let mut first = dies_after(&world, "s3:2:after", &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    world.bed.stand_in().drop_fields(&world.bucket, &["Prefix"]).await?;
    apply(&world, &[&unattended("default", 60)]).await?;
    ensure!(first.wait_exit().await? == 128 + 9, "it should have died after its second write");
    ensure!(document(&world).await?.contains(EVERYTHING), "{}", document(&world).await?);
    world.kubectl(&["delete", DEMO.0, DEMO.1]).await?;
    let _second = start(&world, options(json!({}))).await?;
    wait_document(&world, &configuration(&[&theirs(5)])).await?;
    ensure!(calls(&world, PUT).await?.len() == 3, "{} writes", calls(&world, PUT).await?.len());
    Ok(())
}

#[tokio::test]
async fn it_goes_beside_somebody_who_writes_all_the_time() -> Result<()> {
    const LAST: usize = 25;
    let world = world("wider-raced", &["api"]).await?;
    world.bed.stand_in().drop_fields(&world.bucket, &["Prefix"]).await?;
    let _operator = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    let written = async || {
        ensure!(!calls(&world, PUT).await?.is_empty(), "nothing was written");
        Ok(())
    };
    world.wait_until("our write", PATIENCE, written).await?;
    // He writes back what he has read with his rule in it, ours too: he may bring back what has just gone.
    let edit = async |days: usize| {
        let now = document(&world).await?;
        let others = (0..=LAST).map(theirs).fold(now, |now, rule| now.replace(&rule, &theirs(days)));
        world.put_lifecycle(&world.bucket, &others).await
    };
    for days in 6..=LAST {
        edit(days).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let gone = async || {
        let now = document(&world).await?;
        if !now.contains(&theirs(LAST)) {
            edit(LAST).await?;
        }
        ensure!(now == configuration(&[&theirs(LAST)]), "{now}");
        Ok(())
    };
    world.wait_until("our rule to be gone, and his to be as he wants it", PATIENCE, gone).await?;
    wait_condition(&world, KEPT, ("Programmed", "False", "StoreIgnoresField")).await?;
    wait_told(&world, KEPT, "Programmed", "Filter.Prefix (of 1 rules); these rules were taken away").await?;
    Ok(())
}

#[tokio::test]
async fn a_rule_that_somebody_widens_after_a_refused_write_is_drift_and_the_mode_decides() -> Result<()> {
    const NARROW: &str = "<Filter><Prefix>logs/service_name=api/</Prefix></Filter>";
    let world = world("wider-by-hand", &["api"]).await?;
    let operator = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    world.fault(&Fault::error(&world.bucket, &format!("^{PUT}$"), 403, "AccessDenied").times(1_000)).await?;
    apply(&world, &[&unattended("default", 60)]).await?;
    let refused = async || {
        ensure!(calls(&world, PUT).await?.len() > 1, "nothing was refused yet");
        Ok(())
    };
    world.wait_until("a refused write", PATIENCE, refused).await?;
    let observe = async |mode: &str| {
        let mut pipeline = pipeline(&world)?;
        pipeline["spec"]["changePolicy"]["mode"] = json!(mode);
        apply(&world, &[&pipeline]).await
    };
    observe("Observe").await?;
    wait_condition(&world, KEPT, ("Drifted", "False", "InSync")).await?;
    looked_again(&world, &operator, 2).await?;
    world.clear_faults(&world.bucket).await?;
    let writes = calls(&world, PUT).await?.len();

    let wide = document(&world).await?.replace(NARROW, EVERYTHING);
    ensure!(wide.contains(EVERYTHING), "{wide}");
    world.put_lifecycle(&world.bucket, &wide).await?;
    wait_condition(&world, KEPT, ("Drifted", "True", "LifecycleRuleChanged")).await?;
    looked_again(&world, &operator, 3).await?;
    ensure!(document(&world).await? == wide, "touched under Observe: {}", document(&world).await?);
    wait_condition(&world, DEMO, ("StorageReady", "True", "Available")).await?;
    observe("Apply").await?;
    wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
    let repaired = document(&world).await?;
    ensure!(repaired.contains(NARROW) && repaired.contains("<Days>60</Days>"), "{repaired}");
    ensure!(calls(&world, PUT).await?.len() == writes + 1, "one write repairs it");
    Ok(())
}

#[tokio::test]
async fn the_setting_for_small_objects_that_is_not_kept_is_named_until_it_is_set_again() -> Result<()> {
    const VARIES: Option<&str> = Some("varies_by_storage_class");
    let world = world("setting", &["api"]).await?;
    let stand_in = world.bed.stand_in();
    stand_in.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD]), VARIES).await?;
    stand_in.drop_fields(&world.bucket, &[SETTING]).await?;
    let mut first = start(&world, options(json!({}))).await?;
    apply(&world, &[&pipeline(&world)?, &unattended("default", 30)]).await?;
    let is_told = async || {
        wait_condition(&world, DEMO, ("StorageReady", "False", "StoreIgnoresField")).await?;
        let text = format!("has not kept {SETTING}, which was varies_by_storage_class");
        wait_told(&world, DEMO, "StorageReady", &text).await?;
        wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await
    };
    is_told().await?;
    ensure!(calls(&world, PUT).await?.len() == 1, "written again");
    ensure!(first.stop().await? == 0, "it did not end cleanly");
    let second = start(&world, options(json!({}))).await?;
    looked_again(&world, &second, 3).await?;
    is_told().await.context("after a restart")?;
    // One more write does not make it forgotten.
    apply(&world, &[&unattended("default", 60)]).await?;
    is_told().await?;
    looked_again(&world, &second, 3).await?;
    is_told().await.context("after another write")?;
    stand_in.drop_fields(&world.bucket, &[]).await?;
    let now = document(&world).await?;
    stand_in.put_lifecycle(&world.bucket, &now, VARIES).await?;
    wait_condition(&world, DEMO, ("StorageReady", "True", "Available")).await?;
    ensure!(now.contains("<Days>60</Days>") && calls(&world, PUT).await?.len() == 2, "{now}");
    Ok(())
}
