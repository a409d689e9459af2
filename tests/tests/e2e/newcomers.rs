//! Services that come after their policy need no approval. What another rule of ours has kept is none of them, whatever
//! became of that rule and however the looks between went.

use crate::effect::{key, looked_again, start};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::Operator;
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, approve, cluster, policy, wait_condition};
use serde_json::{Value, json};

const ALL: &str = "default";

/// A pipeline that manages nothing but this bucket and asks nobody.
fn pipeline(world: &World, bucket: &str) -> Result<Value> {
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    pipeline["spec"]["storage"]["bucketName"] = json!(bucket);
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    Ok(pipeline)
}

/// Ends everything after 7 days, with approval.
fn all() -> Value {
    policy(ALL, "demo", 7)
}

/// Decides about `audit` before all others.
fn audit() -> Value {
    let mut kept = policy("audit", "demo", 3_650);
    kept["spec"]["priority"] = json!(100);
    kept["spec"]["serviceSelector"] = json!({"matchNames": ["audit"]});
    kept
}

/// Waits until the policy is in force, and for a later second: what comes then is younger.
async fn in_force(world: &World, name: &str) -> Result<()> {
    let object = wait_condition(world, ("lrp", name), ("Programmed", "True", "Programmed")).await?;
    let since: Timestamp = object["status"]["programmedTime"].as_str().context("a time")?.parse()?;
    world
        .wait_until("the policy to be older than what comes now", PATIENCE, async || {
            ensure!(Timestamp::now().as_second() > since.as_second() + 1, "it is not");
            Ok(())
        })
        .await
}

async fn put(world: &World, bucket: &str, service: &str) -> Result<()> {
    world.bed.stand_in().put_objects(bucket, &[NewObject::sized(&key(service, "1"), 10)]).await
}

/// The rule over a service.
async fn rule(world: &World, bucket: &str, service: &str) -> Result<Option<String>> {
    let document = world.lifecycle(bucket).await?.document.unwrap_or_default();
    let of_service = format!("service_name={service}/<");
    Ok(document.split("<Rule>").find(|rule| rule.contains(&of_service)).map(str::to_owned))
}

async fn wait_rule(world: &World, bucket: &str, (service, days): (&str, i32)) -> Result<()> {
    let wanted = format!("<Days>{days}</Days>");
    world
        .wait_until(&format!("{service} to have {days} days"), PATIENCE, async || {
            let rule = rule(world, bucket, service).await?;
            ensure!(rule.as_ref().is_some_and(|rule| rule.contains(&wanted)), "{rule:?}");
            Ok(())
        })
        .await
}

/// Waits until the policy asks about a service without a rule, and about no other one, and goes on doing so; the plan's id.
async fn asks(world: &World, operator: &Operator, (bucket, service): (&str, &str)) -> Result<String> {
    let asked = async || {
        let object = wait_condition(world, ("lrp", ALL), ("Programmed", "False", "ApprovalRequired")).await?;
        let plan = &object["status"]["plan"];
        ensure!(plan["entries"] == json!([{"service": service, "toDays": 7}]), "{plan}");
        let rule = rule(world, bucket, service).await?;
        ensure!(rule.is_none(), "nobody has approved {rule:?}");
        plan["id"].as_str().map(str::to_owned).context("an id")
    };
    let id = world.wait_until(&format!("{service} to be asked about"), PATIENCE, asked).await?;
    looked_again(world, operator, 3).await?;
    let object = wait_condition(world, ("lrp", ALL), ("Programmed", "False", "ApprovalRequired")).await?;
    ensure!(object["status"]["plan"]["id"] == id, "another plan: {}", object["status"]["plan"]);
    let rule = rule(world, bucket, service).await?;
    ensure!(rule.is_none(), "written without approval: {rule:?}");
    Ok(id)
}

#[tokio::test]
async fn what_a_deleted_policy_kept_waits_for_approval_also_after_a_restart() -> Result<()> {
    let world = World::new(&Bed::attach()?, "bared").await?;
    let (mut operator, bucket) = (start(&world, json!({})).await?, world.bucket.clone());
    apply(&world, &[&pipeline(&world, &bucket)?, &all(), &audit()]).await?;
    for name in [ALL, "audit"] {
        in_force(&world, name).await?;
    }
    put(&world, &bucket, "audit").await?;
    wait_rule(&world, &bucket, ("audit", 3_650)).await?;
    world.kubectl(&["delete", "lrp", "audit", "--timeout=60s"]).await?;
    let id = asks(&world, &operator, (&bucket, "audit")).await?;
    operator.kill9().await?;
    let operator = start(&world, json!({})).await?;
    let again = asks(&world, &operator, (&bucket, "audit")).await?;
    ensure!(again == id, "{again} after {id}");
    // A service that comes now is a newcomer, and changes nothing about what waits.
    put(&world, &bucket, "new").await?;
    wait_rule(&world, &bucket, ("new", 7)).await?;
    let again = asks(&world, &operator, (&bucket, "audit")).await?;
    ensure!(again == id, "{again} after {id}");
    approve(&world, ALL, &id).await?;
    wait_rule(&world, &bucket, ("audit", 7)).await
}

#[tokio::test]
async fn what_a_policy_kept_that_went_without_a_pipeline_waits_for_approval_when_that_is_back() -> Result<()> {
    let world = World::new(&Bed::attach()?, "bared-home").await?;
    let (operator, bucket) = (start(&world, json!({})).await?, world.bucket.clone());
    apply(&world, &[&pipeline(&world, &bucket)?, &all(), &audit()]).await?;
    for name in [ALL, "audit"] {
        in_force(&world, name).await?;
    }
    put(&world, &bucket, "audit").await?;
    wait_rule(&world, &bucket, ("audit", 3_650)).await?;
    world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    world.kubectl(&["delete", "lrp", "audit", "--timeout=60s"]).await?;
    let left = rule(&world, &bucket, "audit").await?;
    ensure!(left.is_none(), "{left:?}");
    apply(&world, &[&pipeline(&world, &bucket)?]).await?;
    asks(&world, &operator, (&bucket, "audit")).await.map(drop)
}

#[tokio::test]
async fn a_rule_that_somebody_disabled_comes_back_only_with_approval_however_young_its_service_is() -> Result<()> {
    let world = World::new(&Bed::attach()?, "brake").await?;
    let (operator, bucket) = (start(&world, json!({})).await?, world.bucket.clone());
    apply(&world, &[&pipeline(&world, &bucket)?, &all()]).await?;
    in_force(&world, ALL).await?;
    put(&world, &bucket, "api").await?;
    wait_rule(&world, &bucket, ("api", 7)).await?;
    wait_condition(&world, ("lrp", ALL), ("Programmed", "True", "Programmed")).await?;
    looked_again(&world, &operator, 2).await?;
    let document = world.lifecycle(&bucket).await?.document.unwrap_or_default();
    let disabled = document.replace("<Status>Enabled</Status>", "<Status>Disabled</Status>");
    ensure!(disabled != document, "{document}");
    world.put_lifecycle(&bucket, &disabled).await?;
    let id = asks(&world, &operator, (&bucket, "api")).await?;
    approve(&world, ALL, &id).await?;
    wait_rule(&world, &bucket, ("api", 7)).await
}

#[tokio::test]
async fn a_policy_that_meets_another_bucket_spares_nothing_there() -> Result<()> {
    let world = World::new(&Bed::attach()?, "moved").await?;
    let operator = start(&world, json!({})).await?;
    apply(&world, &[&pipeline(&world, &world.bucket)?, &all()]).await?;
    in_force(&world, ALL).await?;
    // Younger than the policy, which was never in force over it.
    let other = format!("{}-other", world.id);
    world.bed.stand_in().create_bucket(&other).await?;
    put(&world, &other, "api").await?;
    world.kubectl(&["delete", "lwc", "demo", "--timeout=60s"]).await?;
    apply(&world, &[&pipeline(&world, &other)?]).await?;
    let id = asks(&world, &operator, (&other, "api")).await?;
    let status = world.get_json("lrp", ALL).await?["status"].clone();
    ensure!(status["programmedTime"].is_null() && status["home"]["bucketName"] == other, "{status}");
    approve(&world, ALL, &id).await?;
    wait_rule(&world, &other, ("api", 7)).await?;
    in_force(&world, ALL).await?;
    world.bed.stand_in().delete_bucket(&other).await
}
