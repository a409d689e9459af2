//! Policies that are deleted: with their rules where that can be done, without them when their time is over, and never
//! for ever. The rules of others are as they were each time.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::{Fault, Mode, NewObject};
use logwise_testbed::world::World;
use logwise_testbed::{http, install};
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, configuration, events, policy, wait_condition, write_secret,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The time that deletions have here, in seconds.
const TIME: u64 = 5;

/// The account of the bed.
const ACCOUNT: &str = "123456789012";

async fn start(world: &World, config: Value) -> Result<Operator> {
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

fn within(seconds: u64) -> Value {
    json!({"deletion": {"deadlineSeconds": seconds}})
}

/// The rules of others.
fn theirs() -> String {
    configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])
}

fn bucket_of(world: &World, name: &str) -> String {
    format!("{}-{name}", world.id)
}

/// A bucket with a service and with rules of others, beside the world's own.
async fn put_bucket(world: &World, name: &str) -> Result<()> {
    let (stand_in, bucket) = (world.bed.stand_in(), bucket_of(world, name));
    stand_in.create_bucket(&bucket).await?;
    let log = NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10);
    stand_in.put_objects(&bucket, &[log]).await?;
    world.put_lifecycle(&bucket, &theirs()).await
}

async fn drop_buckets(world: &World, names: &[&str]) -> Result<()> {
    for name in names {
        world.clear_faults(&bucket_of(world, name)).await?;
        world.bed.stand_in().delete_bucket(&bucket_of(world, name)).await?;
    }
    Ok(())
}

/// A pipeline of the bucket of its name, and its policy, which ask nobody.
fn pair(world: &World, name: &str) -> Result<[Value; 2]> {
    let mut pipeline = cluster(world, name);
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    pipeline["spec"]["storage"]["bucketName"] = json!(bucket_of(world, name));
    let mut kept = policy(name, name, 30);
    for object in [&mut pipeline, &mut kept] {
        object["spec"]["changePolicy"] = json!({"approval": "Never"});
    }
    Ok([pipeline, kept])
}

async fn programmed(world: &World, name: &str) -> Result<Value> {
    wait_condition(world, ("lrp", name), ("Ready", "True", "Programmed")).await
}

async fn document(world: &World, name: &str) -> Result<String> {
    Ok(world.lifecycle(&bucket_of(world, name)).await?.document.unwrap_or_default())
}

async fn patch(world: &World, (kind, name): (&str, &str), patch: Value) -> Result<()> {
    world.kubectl(&["patch", kind, name, "--type", "merge", "-p", &patch.to_string()]).await.map(drop)
}

/// Policies that are still there.
async fn policies(world: &World) -> Result<Vec<String>> {
    let all = world.list("lrp", "").await?;
    Ok(all.iter().filter_map(|policy| policy["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

async fn wait_gone(world: &World) -> Result<()> {
    world
        .wait_until("all policies to go", PATIENCE, async || {
            let left = policies(world).await?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await
}

/// What was said of rules of a policy that stay.
async fn left(world: &World, name: &str) -> Result<Vec<String>> {
    let told = events(world, name, "RulesLeft").await?;
    Ok(told.into_iter().filter(|note| note.contains(" stay in ")).collect())
}

/// The policy is gone, its bucket has this document, with its rule in it, and an event names both.
async fn is_left_behind(world: &World, name: &str, before: &str) -> Result<()> {
    ensure!(document(world, name).await? == before, "{name}: other rules: {}", document(world, name).await?);
    let (_, rest) = before.split_once("<ID>logwise.io/").with_context(|| format!("{name}: no rule: {before}"))?;
    let (id, _) = rest.split_once("</ID>").context("no id")?;
    let told = world
        .wait_until("the event", PATIENCE, async || {
            let told = left(world, name).await?;
            ensure!(!told.is_empty(), "{name}: nobody says that rules are left");
            Ok(told)
        })
        .await?;
    let (place, rule) = (format!("stay in bucket {}", bucket_of(world, name)), format!("1 rules (logwise.io/{id})"));
    ensure!(told.len() == 1 && told[0].contains(&place) && told[0].contains(&rule), "{name}: {told:?}");
    ensure!(told[0].starts_with(&format!("Its rules could not be removed within {TIME} s")), "{name}: {told:?}");
    Ok(())
}

/// What stands in the way of a deletion while everything that it takes is there.
const OBSTACLES: [&str; 7] = ["unread", "unwritten", "throttled", "silent", "comment", "observes", "suspended"];

async fn obstruct(world: &World, name: &str) -> Result<()> {
    let bucket = bucket_of(world, name);
    let denied = |action: &str| Fault::error(&bucket, action, 403, "AccessDenied").times(0);
    match name {
        "unread" => world.fault(&denied("GetBucketLifecycleConfiguration")).await,
        "unwritten" => world.fault(&denied("PutBucketLifecycleConfiguration")).await,
        "throttled" => world.fault(&Fault::error(&bucket, ".", 503, "SlowDown").times(0)).await,
        "silent" => world.fault(&Fault::new(&bucket, ".", Mode::Drop).times(0)).await,
        "comment" => {
            let document = document(world, name).await?;
            let spoilt = document.replacen("</Rule><Rule>", "</Rule><!-- by hand --><Rule>", 1);
            ensure!(spoilt != document, "{document}");
            world.put_lifecycle(&bucket, &spoilt).await
        }
        "observes" => patch(world, ("lrp", name), json!({"spec": {"changePolicy": {"mode": "Observe"}}})).await,
        _ => {
            patch(world, ("lwc", name), json!({"spec": {"suspend": true}})).await?;
            wait_condition(world, ("lwc", name), ("Suspended", "True", "SuspendedByUser")).await.map(drop)
        }
    }
}

#[tokio::test]
async fn a_policy_goes_without_its_rules_when_its_time_is_over_and_not_before() -> Result<()> {
    let world = World::new(&Bed::attach()?, "obstacles").await?;
    let operator = start(&world, within(TIME)).await?;
    for name in OBSTACLES {
        put_bucket(&world, name).await?;
        let [pipeline, kept] = pair(&world, name)?;
        apply(&world, &[&pipeline, &kept]).await?;
    }
    let mut documents = Vec::new();
    for name in OBSTACLES {
        let object = programmed(&world, name).await?;
        ensure!(object["status"]["home"]["bucketName"] == bucket_of(&world, name), "{}", object["status"]);
        obstruct(&world, name).await?;
        documents.push((name, document(&world, name).await?));
    }
    world.kubectl(&["delete", "lrp", "--all", "--wait=false"]).await?;
    tokio::time::sleep(Duration::from_secs(TIME - 3)).await;
    let there = policies(&world).await?;
    ensure!(there.len() == OBSTACLES.len(), "only {there:?} still wait");
    wait_gone(&world).await?;
    for (name, before) in &documents {
        is_left_behind(&world, name, before).await?;
    }
    // Whoever cannot look for events finds it in the log.
    let log = operator.log()?;
    ensure!(log.lines().any(|line| line.contains("\"WARN\"") && line.contains("RulesLeft")), "no line in the log");
    drop_buckets(&world, &OBSTACLES).await
}

#[tokio::test]
async fn an_obstacle_that_goes_in_time_leaves_nothing_behind() -> Result<()> {
    let world = World::new(&Bed::attach()?, "in-time").await?;
    // Longer than this test waits for anything.
    let _operator = start(&world, within(600)).await?;
    for name in ["unread", "observes"] {
        put_bucket(&world, name).await?;
        let [pipeline, kept] = pair(&world, name)?;
        apply(&world, &[&pipeline, &kept]).await?;
        programmed(&world, name).await?;
        obstruct(&world, name).await?;
    }
    world.kubectl(&["delete", "lrp", "--all", "--wait=false"]).await?;
    wait_condition(&world, ("lrp", "unread"), ("Programmed", "False", "PermissionDenied")).await?;
    wait_condition(&world, ("lrp", "observes"), ("Programmed", "False", "RulesLeft")).await?;
    world.clear_faults(&bucket_of(&world, "unread")).await?;
    patch(&world, ("lrp", "observes"), json!({"spec": {"changePolicy": {"mode": "Apply"}}})).await?;
    wait_gone(&world).await?;
    for name in ["unread", "observes"] {
        ensure!(document(&world, name).await? == theirs(), "{name}: {}", document(&world, name).await?);
        ensure!(left(&world, name).await?.is_empty(), "{name}: {:?}", left(&world, name).await?);
    }
    drop_buckets(&world, &["unread", "observes"]).await
}

/// What the operator may use, with these buckets.
fn grants(world: &World, buckets: &[&str], role: &str) -> Value {
    let bucket = |name: &&str| json!({"name": bucket_of(world, name), "accountID": ACCOUNT});
    let buckets: Vec<Value> = buckets.iter().map(bucket).collect();
    json!([{"namespaces": [world.namespace], "buckets": buckets, "roles": [role]}])
}

#[tokio::test]
async fn a_grant_a_role_or_a_secret_that_is_gone_holds_no_policy_for_longer() -> Result<()> {
    const NAMES: [&str; 3] = ["ungranted", "role", "secret"];
    let world = World::new(&Bed::attach()?, "credentials").await?;
    let (stand_in, role) = (world.bed.stand_in(), format!("{}-role", world.id));
    let arn = stand_in.add_role(&role, &format!("{}/{}/role", world.id, world.namespace)).await?;
    let key = format!("AKIA{}", world.id.to_uppercase());
    stand_in.add_key(&key).await?;
    install::tenant(&world.bed, &world.namespace, &["aws"]).await?;
    write_secret(&world, "aws", &json!({"accessKeyId": key, "secretAccessKey": "of-this-test"})).await?;
    let mut config = within(TIME);
    config["grants"] = grants(&world, &NAMES, &arn);
    let mut operator = start(&world, config.clone()).await?;
    let mut documents = Vec::new();
    for name in NAMES {
        put_bucket(&world, name).await?;
        let [mut pipeline, kept] = pair(&world, name)?;
        match name {
            "role" => pipeline["spec"]["aws"]["roleARN"] = json!(arn),
            "secret" => pipeline["spec"]["aws"]["credentialsSecretRef"] = json!({"name": "aws"}),
            _ => {}
        }
        apply(&world, &[&pipeline, &kept]).await?;
    }
    for name in NAMES {
        let home = programmed(&world, name).await?["status"]["home"].clone();
        ensure!(home["accountID"] == ACCOUNT && home["mode"] == "Apply", "{name}: {home}");
        ensure!(name != "role" || home["roleARN"] == arn, "{name}: {home}");
        ensure!(name != "secret" || home["credentialsSecretName"] == "aws", "{name}: {home}");
        documents.push((name, document(&world, name).await?));
    }
    ensure!(operator.stop().await? == 0, "{}", operator.log()?);
    let url = format!("{}/_roles?name={role}", world.bed.aws.endpoint);
    let answer = http::client()?.delete(url).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    world.kubectl(&["delete", "secret", "aws"]).await?;
    config["grants"] = grants(&world, &NAMES[1..], &arn);
    let _operator = start(&world, config).await?;
    for (name, reason) in [("ungranted", "NotGranted"), ("role", "PermissionDenied"), ("secret", "SecretNotFound")] {
        wait_condition(&world, ("lrp", name), ("Programmed", "False", reason)).await?;
    }
    world.kubectl(&["delete", "lrp", "--all", "--wait=false"]).await?;
    wait_gone(&world).await?;
    for (name, before) in &documents {
        is_left_behind(&world, name, before).await?;
    }
    drop_buckets(&world, &NAMES).await
}

#[tokio::test]
async fn with_the_bucket_the_policy_goes_at_once_and_nothing_is_left() -> Result<()> {
    let world = World::new(&Bed::attach()?, "bucket-gone").await?;
    let _operator = start(&world, Value::Null).await?;
    for name in ["served", "orphaned"] {
        put_bucket(&world, name).await?;
        let [pipeline, kept] = pair(&world, name)?;
        apply(&world, &[&pipeline, &kept]).await?;
        programmed(&world, name).await?;
    }
    world.kubectl(&["delete", "lwc", "orphaned", "--timeout=25s"]).await?;
    drop_buckets(&world, &["served", "orphaned"]).await?;
    // By default a deletion has ten minutes.
    world.kubectl(&["delete", "lrp", "--all", "--timeout=25s"]).await?;
    for name in ["served", "orphaned"] {
        ensure!(left(&world, name).await?.is_empty(), "{name}: {:?}", left(&world, name).await?);
    }
    Ok(())
}

/// A rule of an object that had the name of this policy before.
fn of_predecessor(world: &World, name: &str) -> String {
    format!(
        "<Rule><ID>logwise.io/{}.{}.{name}/00000000/0123456789abcdef</ID><Filter><Prefix>old/{name}/</Prefix></Filter>\
         <Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule>",
        world.id, world.namespace
    )
}

#[tokio::test]
async fn policies_take_their_own_rules_along_when_their_pipeline_is_gone() -> Result<()> {
    let world = World::new(&Bed::attach()?, "no-pipeline").await?;
    let _operator = start(&world, Value::Null).await?;
    put_bucket(&world, "demo").await?;
    let [pipeline, kept] = pair(&world, "demo")?;
    let mut other = kept.clone();
    other["metadata"]["name"] = json!("other");
    other["spec"]["priority"] = json!(9);
    other["spec"]["serviceSelector"] = json!({"matchNames": ["web"]});
    let log = NewObject::sized("logs/service_name=web/year=2026/part-0.parquet", 10);
    world.bed.stand_in().put_objects(&bucket_of(&world, "demo"), &[log]).await?;
    apply(&world, &[&pipeline, &kept, &other]).await?;
    for name in ["demo", "other"] {
        ensure!(programmed(&world, name).await?["status"]["rules"] == 1, "{name}: one service each");
    }
    world.kubectl(&["delete", "lwc", "demo", "--timeout=25s"]).await?;
    // Not of this object: a copy of the cluster may live on by it.
    let (old, bucket) = (of_predecessor(&world, "demo"), bucket_of(&world, "demo"));
    let end = "</LifecycleConfiguration>";
    let with_old = document(&world, "demo").await?.replace(end, &format!("{old}{end}"));
    world.put_lifecycle(&bucket, &with_old).await?;
    world.kubectl(&["delete", "lrp", "--all", "--timeout=25s"]).await?;
    let wanted = configuration(&[FOREIGN_ODD, FOREIGN_LEGACY, &old]);
    ensure!(document(&world, "demo").await? == wanted, "{}", document(&world, "demo").await?);
    for name in ["demo", "other"] {
        ensure!(left(&world, name).await?.is_empty(), "{name}: {:?}", left(&world, name).await?);
    }
    let objects = world.bed.stand_in().objects(&bucket, "logs/").await?;
    ensure!(objects.len() == 2, "data stays: {objects:?}");
    // The record is closed and still that of the pipeline, which goes on where it was.
    world.put_lifecycle(&bucket, &theirs()).await?;
    apply(&world, &[&pipeline, &kept]).await?;
    programmed(&world, "demo").await?;
    drop_buckets(&world, &["demo"]).await
}

#[tokio::test]
async fn a_pipeline_that_observed_to_its_end_has_nothing_removed_after_it() -> Result<()> {
    let world = World::new(&Bed::attach()?, "observed").await?;
    let _operator = start(&world, within(TIME)).await?;
    put_bucket(&world, "demo").await?;
    let [pipeline, kept] = pair(&world, "demo")?;
    apply(&world, &[&pipeline, &kept]).await?;
    programmed(&world, "demo").await?;
    patch(&world, ("lwc", "demo"), json!({"spec": {"changePolicy": {"mode": "Observe"}}})).await?;
    world
        .wait_until("the policy to know", PATIENCE, async || {
            let home = world.get_json("lrp", "demo").await?["status"]["home"].clone();
            ensure!(home["mode"] == "Observe", "{home}");
            Ok(())
        })
        .await?;
    let before = document(&world, "demo").await?;
    world.kubectl(&["delete", "lwc/demo", "lrp/demo", "--timeout=25s"]).await?;
    is_left_behind(&world, "demo", &before).await?;
    drop_buckets(&world, &["demo"]).await
}

/// A policy without a pipeline, with the finalizer and a status that somebody has written.
async fn forge(world: &World, name: &str, bucket: &str) -> Result<()> {
    let mut forger = policy(name, "nobody", 30);
    forger["metadata"]["finalizers"] = json!(["logwise.io/lifecycle-rules"]);
    apply(world, &[&forger]).await?;
    let home = json!({"bucketName": bucket, "logsPrefix": "logs/", "region": world.bed.aws.region, "mode": "Apply"});
    let status = json!({"status": {"home": home, "rules": 1}}).to_string();
    world.kubectl(&["patch", "lrp", name, "--subresource=status", "--type", "merge", "-p", &status]).await.map(drop)
}

#[tokio::test]
async fn whoever_forges_the_status_of_a_policy_gains_nothing() -> Result<()> {
    const NAMES: [&str; 3] = ["victim", "free", "foreign"];
    let world = World::new(&Bed::attach()?, "forged-home").await?;
    for name in NAMES {
        put_bucket(&world, name).await?;
    }
    let mut config = within(TIME);
    config["grants"] = grants(&world, &NAMES[..2], "arn:aws:iam::123456789012:role/own");
    let _operator = start(&world, config).await?;
    let [pipeline, kept] = pair(&world, "victim")?;
    apply(&world, &[&pipeline, &kept]).await?;
    programmed(&world, "victim").await?;
    // Rules of everybody but the forger: of another policy, of one that had his name, of another namespace.
    let others = [of_predecessor(&world, "another"), of_predecessor(&world, "to-free")];
    let elsewhere = others[1].replace(&format!(".{}.", world.namespace), ".elsewhere.").replace(">old/", ">elsewhere/");
    let rules = configuration(&[FOREIGN_ODD, &others[0], &others[1], &elsewhere]);
    world.put_lifecycle(&bucket_of(&world, "free"), &rules).await?;
    let before = document(&world, "victim").await?;
    for name in NAMES {
        forge(&world, &format!("to-{name}"), &bucket_of(&world, name)).await?;
    }
    let forgers = NAMES.map(|name| format!("lrp/to-{name}"));
    let arguments: Vec<&str> = ["delete"].into_iter().chain(forgers.iter().map(String::as_str)).collect();
    world.kubectl(&[&arguments[..], &["--timeout=25s"]].concat()).await?;
    ensure!(document(&world, "victim").await? == before, "the rules of another pipeline were changed");
    ensure!(document(&world, "free").await? == rules, "rules of others were changed");
    ensure!(document(&world, "foreign").await? == theirs(), "a bucket that is not granted was changed");
    let calls = world.calls(&bucket_of(&world, "foreign"), false).await?;
    ensure!(calls.is_empty(), "a bucket that is not granted was called: {calls:?}");
    let writes = world.calls(&bucket_of(&world, "free"), true).await?;
    ensure!(writes.iter().all(|call| !call.action.contains("Lifecycle")), "{writes:?}");
    let reads = world.calls(&bucket_of(&world, "free"), false).await?;
    ensure!(reads.iter().any(|call| call.action.contains("Lifecycle")), "nobody looked at the free one: {reads:?}");
    // The owner of the bucket goes on undisturbed.
    wait_condition(&world, ("lwc", "victim"), ("StorageReady", "True", "Available")).await?;
    programmed(&world, "victim").await?;
    drop_buckets(&world, &NAMES).await
}

#[tokio::test]
async fn an_operator_that_comes_late_removes_the_rules_all_the_same() -> Result<()> {
    let world = World::new(&Bed::attach()?, "late").await?;
    let mut first = start(&world, within(2 * TIME)).await?;
    put_bucket(&world, "demo").await?;
    let [pipeline, kept] = pair(&world, "demo")?;
    apply(&world, &[&pipeline, &kept]).await?;
    programmed(&world, "demo").await?;
    first.kill9().await?;
    world.kubectl(&["delete", "lrp", "demo", "--wait=false"]).await?;
    tokio::time::sleep(Duration::from_secs(2 * TIME + 1)).await;
    let _second = start(&world, within(2 * TIME)).await?;
    wait_gone(&world).await?;
    ensure!(document(&world, "demo").await? == theirs(), "{}", document(&world, "demo").await?);
    ensure!(left(&world, "demo").await?.is_empty(), "{:?}", left(&world, "demo").await?);
    drop_buckets(&world, &["demo"]).await
}

/// The pipeline has no finalizer and is gone before its policy.
#[tokio::test]
async fn a_namespace_is_deleted_with_everything_in_it() -> Result<()> {
    let world = World::new(&Bed::attach()?, "whole").await?;
    let _operator = start(&world, Value::Null).await?;
    put_bucket(&world, "demo").await?;
    let [pipeline, kept] = pair(&world, "demo")?;
    apply(&world, &[&pipeline, &kept]).await?;
    programmed(&world, "demo").await?;
    world.bed.kubectl(&["delete", "namespace", &world.namespace, "--timeout=120s"], None).await?;
    ensure!(document(&world, "demo").await? == theirs(), "{}", document(&world, "demo").await?);
    drop_buckets(&world, &["demo"]).await
}
