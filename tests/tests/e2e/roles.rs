//! AWS is called as the role that an object names, with an external id that names the object, and for the account that
//! the grants name.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::http;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{apply, cluster, condition, policy, raises, wait_condition, wait_desired, with_spark};
use serde_json::{Value, json};

/// The account of the bed.
const ACCOUNT: &str = "123456789012";

/// A role that lets in whoever shows this external id; returns its ARN.
async fn put_role(world: &World, name: &str, external_id: &str) -> Result<String> {
    let body = json!({"name": name, "external_id": external_id});
    let answer = http::client()?.post(format!("{}/_roles", world.bed.aws.endpoint)).json(&body).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{status}: {text}");
    let role: Value = serde_json::from_str(&text)?;
    role["arn"].as_str().map(str::to_owned).context("no ARN")
}

/// The external id of a pipeline of the world's installation.
fn external_id(world: &World, name: &str) -> String {
    format!("{}/{}/{name}", world.id, world.namespace)
}

/// A pipeline of a bucket, and of the group if it has one, in a role.
fn pipeline(world: &World, (name, bucket, role): (&str, &str, &str), group: bool) -> Result<Value> {
    let mut object = cluster(world, name);
    object["spec"]["storage"]["bucketName"] = json!(bucket);
    object["spec"]["aws"]["roleARN"] = json!(role);
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    if group { with_spark(world, object, (2, 9)) } else { Ok(object) }
}

#[tokio::test]
async fn each_pipeline_calls_in_its_own_role_with_its_own_external_id() -> Result<()> {
    let world = World::new(&Bed::attach()?, "roles-each").await?;
    let second = format!("{}-second", world.bucket);
    futures::try_join!(world.create_group(1, 9, 1), async { world.bed.stand_in().create_bucket(&second).await })?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let (one, two) = (format!("{}-one", world.id), format!("{}-two", world.id));
    let first_arn = put_role(&world, &one, &external_id(&world, "one")).await?;
    let second_arn = put_role(&world, &two, &external_id(&world, "two")).await?;
    let mut kept = policy("default", "one", 30);
    kept["spec"]["changePolicy"] = json!({"approval": "Never"});
    let mut first = pipeline(&world, ("one", &world.bucket, &first_arn), true)?;
    first["spec"]["changePolicy"] = json!({"approval": "Never"});
    apply(&world, &[&first, &pipeline(&world, ("two", &second, &second_arn), false)?, &kept]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_desired(&world, 2).await?;
    wait_condition(&world, ("lwc", "two"), ("StorageReady", "True", "Available")).await?;
    for (resource, role, changes) in [(&world.bucket, &one, true), (&world.group, &one, true), (&second, &two, false)] {
        let calls = world.calls(resource, false).await?;
        let own = calls.iter().filter(|call| call.caller.starts_with("role/")).count();
        ensure!(own > 0 && calls.iter().all(|call| call.caller == format!("role/{role}")), "{resource}: {calls:?}");
        ensure!(calls.iter().any(|call| call.mutating) == changes, "{resource}: {calls:?}");
    }
    world.bed.stand_in().delete_bucket(&second).await
}

/// Two ways to one group, which only AWS can tell to be the same.
#[tokio::test]
async fn a_group_that_a_pipeline_reached_first_is_its_own_whatever_role_another_comes_in() -> Result<()> {
    let world = World::new(&Bed::attach()?, "roles-record").await?;
    let second = format!("{}-second", world.bucket);
    futures::try_join!(world.create_group(1, 9, 1), async { world.bed.stand_in().create_bucket(&second).await })?;
    let arn = put_role(&world, &format!("{}-two", world.id), &external_id(&world, "two")).await?;
    let mut first = with_spark(&world, cluster(&world, "one"), (2, 9))?;
    first["spec"].as_object_mut().context("a spec")?.remove("kafka");
    apply(&world, &[&first]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    wait_desired(&world, 2).await?;
    let mut other = pipeline(&world, ("two", &second, &arn), true)?;
    other["spec"]["spark"]["workers"]["autoscaling"]["minReplicas"] = json!(5);
    apply(&world, &[&other]).await?;
    let refused = wait_condition(&world, ("lwc", "two"), ("SparkReady", "False", "Conflicted")).await?;
    let message = condition(&refused, "SparkReady").and_then(|found| found["message"].as_str()).unwrap_or_default();
    ensure!(message.contains(&format!("{}/one", world.namespace)), "{message}");
    ensure!(raises(&world).await? == 1, "{} raises of a group that belongs to another", raises(&world).await?);
    world.kubectl(&["delete", "lwc/one", "--timeout=60s"]).await?;
    wait_desired(&world, 5).await?;
    world.bed.stand_in().delete_bucket(&second).await
}

/// The first JSON object in a text.
fn statement(text: &str) -> Result<Value> {
    let begin = text.find('{').with_context(|| format!("no statement: {text}"))?;
    let mut values = serde_json::Deserializer::from_str(&text[begin..]).into_iter::<Value>();
    Ok(values.next().context("no statement")??)
}

#[tokio::test]
async fn a_role_that_trusts_somebody_else_is_told_with_the_statement_to_paste() -> Result<()> {
    let world = World::new(&Bed::attach()?, "roles-trust").await?;
    world.create_group(1, 9, 1).await?;
    let role = format!("{}-role", world.id);
    // The confused deputy: the role is another tenant's, and this one names it in its own object.
    let arn = put_role(&world, &role, &external_id(&world, "somebody-else")).await?;
    apply(&world, &[&pipeline(&world, ("demo", &world.bucket, &arn), true)?, &policy("default", "demo", 30)]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "PermissionDenied")).await?;
    let wanted = external_id(&world, "demo");
    for kind in ["StorageReady", "SparkReady"] {
        let object = wait_condition(&world, ("lwc", "demo"), (kind, "False", "PermissionDenied")).await?;
        let message = condition(&object, kind).context(kind)?["message"].as_str().unwrap_or_default().to_owned();
        ensure!(message.contains(&arn) && message.contains(&format!("external id {wanted}")), "{message}");
        let statement = statement(&message)?;
        ensure!(statement["Condition"]["StringEquals"]["sts:ExternalId"] == wanted, "{statement}");
        ensure!(statement["Action"] == "sts:AssumeRole" && statement["Effect"] == "Allow", "{statement}");
        ensure!(statement["Principal"]["AWS"].is_string(), "{statement}");
    }
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready["status"] == "False"), "{}", object["status"]);
    wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "PermissionDenied")).await?;
    for resource in [&world.bucket, &world.group] {
        let calls = world.calls(resource, false).await?;
        ensure!(calls.is_empty(), "called without the role: {calls:?}");
    }
    // What pasting the statement does.
    put_role(&world, &role, &wanted).await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    wait_desired(&world, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_bucket_of_another_account_is_refused_and_the_account_is_named() -> Result<()> {
    let world = World::new(&Bed::attach()?, "roles-owner").await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let grants = |account: &str| {
        let bucket = |prefix: &str| json!({"name": world.bucket, "prefix": prefix, "accountID": account});
        json!({"grants": [{"namespaces": [world.namespace], "buckets": [bucket("logs/"), bucket("checkpoint/")]}]})
    };
    let mut object = cluster(&world, "demo");
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    let mut kept = policy("default", "demo", 30);
    kept["spec"]["changePolicy"] = json!({"approval": "Never"});
    apply(&world, &[&object, &kept]).await?;
    let mut operator = Operator::start(&world, Options::config(grants("210987654321"))).await?;
    operator.wait_ready().await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "PermissionDenied")).await?;
    let message = condition(&object, "StorageReady").context("StorageReady")?["message"].to_string();
    ensure!(message.contains("belongs to another account than 210987654321"), "{message}");
    wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "PermissionDenied")).await?;
    let calls = world.calls(&world.bucket, false).await?;
    ensure!(!calls.is_empty() && calls.iter().all(|call| call.outcome.status == Some(403)), "{calls:?}");
    ensure!(world.calls(&world.bucket, true).await?.is_empty(), "a bucket of another account was changed");
    operator.stop().await?;
    let mut operator = Operator::start(&world, Options::config(grants(ACCOUNT))).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    Ok(())
}
