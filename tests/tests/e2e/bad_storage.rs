//! What is wrong with a bucket, or odd about it: each has its own reason and a next step, and S3 stays as it is.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::s3::{Request, S3};
use logwise_testbed::stand_in::{Fault, NewObject};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, approve, cluster, condition, configuration, plan_id, policy,
    wait_condition,
};
use serde_json::{Value, json};

async fn start(name: &str) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    Ok((world, operator))
}

fn log_of(service: &str) -> NewObject {
    NewObject::sized(&format!("logs/service_name={service}/year=2026/part-0.parquet"), 10)
}

/// A pipeline that manages nothing but this bucket and asks nobody.
fn pipeline(world: &World, name: &str, bucket: &str) -> Result<Value> {
    let mut object = cluster(world, name);
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    object["spec"]["storage"]["bucketName"] = json!(bucket);
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    Ok(object)
}

/// A policy that asks nobody.
fn unattended(name: &str, cluster: &str, days: i32) -> Value {
    let mut object = policy(name, cluster, days);
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    object
}

fn message(object: &Value, kind: &str) -> Result<String> {
    let found = condition(object, kind).with_context(|| format!("no {kind} in {}", object["status"]))?;
    Ok(found["message"].as_str().unwrap_or_default().to_owned())
}

/// Writes of lifecycle rules that came over the AWS interface.
async fn writes(world: &World, bucket: &str) -> Result<usize> {
    let calls = world.calls(bucket, true).await?;
    Ok(calls.iter().filter(|call| call.action.contains("Lifecycle")).count())
}

async fn document(world: &World, bucket: &str) -> Result<String> {
    Ok(world.lifecycle(bucket).await?.document.unwrap_or_default())
}

/// A bucket that cannot be used.
struct Bad {
    name: &'static str,
    reason: &'static str,
    /// How S3 answers every call; none: the bucket is not there.
    answer: Option<(u16, &'static str)>,
    /// What the message says.
    says: &'static [&'static str],
}

const BAD: [Bad; 4] = [
    Bad { name: "missing", reason: "BucketNotFound", answer: None, says: &["Create the bucket"] },
    Bad {
        name: "elsewhere",
        reason: "BucketInOtherRegion",
        answer: Some((301, "PermanentRedirect")),
        says: &["`aws.region`", "immutable"],
    },
    Bad {
        name: "denied",
        reason: "PermissionDenied",
        answer: Some((403, "AccessDenied")),
        says: &[
            "s3:GetLifecycleConfiguration on arn:aws:s3:::",
            "is denied, or the bucket belongs to another account",
            "Add to a policy of the operator's own IAM role: {",
            "\"s3:PutLifecycleConfiguration\"",
        ],
    },
    Bad {
        name: "expired",
        reason: "PermissionDenied",
        answer: Some((400, "ExpiredToken")),
        says: &["docs/aws-permissions.md#credentials"],
    },
];

#[tokio::test]
async fn each_bucket_that_cannot_be_used_has_its_own_reason_and_stays_as_it_is() -> Result<()> {
    let (world, _operator) = start("bad-storage").await?;
    let (stand_in, theirs) = (world.bed.stand_in(), configuration(&[FOREIGN_ODD, FOREIGN_LEGACY]));
    let bucket = |bad: &Bad| format!("{}-{}", world.id, bad.name);
    for bad in &BAD {
        let (bucket, name) = (bucket(bad), bad.name);
        if let Some((status, code)) = bad.answer {
            stand_in.create_bucket(&bucket).await?;
            stand_in.put_objects(&bucket, &[log_of("api")]).await?;
            world.put_lifecycle(&bucket, &theirs).await?;
            world.fault(&Fault::error(&bucket, ".", status, code).times(0)).await?;
        }
        apply(&world, &[&pipeline(&world, name, &bucket)?, &unattended(name, name, 30)]).await?;
    }
    for bad in &BAD {
        let object = wait_condition(&world, ("lwc", bad.name), ("StorageReady", "False", bad.reason)).await?;
        let told = message(&object, "StorageReady")?;
        for part in bad.says {
            ensure!(told.contains(part), "{}: {part} is not in {told}", bad.name);
        }
        wait_condition(&world, ("lwc", bad.name), ("Stalled", "True", bad.reason)).await?;
        for kind in ["Programmed", "Ready"] {
            wait_condition(&world, ("lrp", bad.name), (kind, "False", bad.reason)).await?;
        }
        wait_condition(&world, ("lrp", bad.name), ("Stalled", "True", bad.reason)).await?;
    }
    let denied = world.get_json("lwc", "denied").await?;
    let told = message(&denied, "StorageReady")?;
    let statement: Value = serde_json::from_str(told.get(told.find('{').context("no statement")?..).context("{")?)?;
    ensure!(statement["Resource"] == format!("arn:aws:s3:::{}-denied", world.id), "{statement}");
    for bad in &BAD {
        let bucket = bucket(bad);
        ensure!(writes(&world, &bucket).await? == 0, "{}: something was written", bad.name);
        ensure!(bad.answer.is_none() || document(&world, &bucket).await? == theirs, "{}: other rules", bad.name);
        world.clear_faults(&bucket).await?;
    }
    // What stood in the way is gone.
    wait_condition(&world, ("lrp", "denied"), ("Ready", "True", "Programmed")).await?;
    ensure!(document(&world, &bucket(&BAD[2])).await?.contains(FOREIGN_ODD), "a foreign rule is lost");
    Ok(())
}

#[tokio::test]
async fn a_pipeline_that_is_being_deleted_writes_nothing_and_its_policy_says_so() -> Result<()> {
    let (world, _operator) = start("leaving").await?;
    world.put_objects(&[log_of("api")]).await?;
    let mut leaving = pipeline(&world, "demo", &world.bucket)?;
    leaving["metadata"]["finalizers"] = json!(["example.com/held"]);
    apply(&world, &[&leaving]).await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    world.kubectl(&["delete", "lwc", "demo", "--wait=false"]).await?;
    apply(&world, &[&unattended("late", "demo", 30)]).await?;
    let object = wait_condition(&world, ("lrp", "late"), ("Programmed", "False", "ClusterDeleting")).await?;
    ensure!(message(&object, "Programmed")?.contains("LogwiseCluster demo is being deleted"), "{}", object["status"]);
    wait_condition(&world, ("lrp", "late"), ("Stalled", "True", "ClusterDeleting")).await?;
    ensure!(writes(&world, &world.bucket).await? == 0, "something was written");
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await?;
    wait_condition(&world, ("lrp", "late"), ("Stalled", "True", "ClusterNotFound")).await?;
    Ok(())
}

/// Prepares a bucket as its owner would.
async fn put(world: &World, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], body: &str) -> Result<()> {
    let request = Request { path: path.to_owned(), query, headers, body: body.as_bytes() };
    S3::new(&world.bed.aws.endpoint).put(&request).await?.good("preparing a bucket").map(drop)
}

const VERSIONS: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const COPIES: &str = "<ReplicationConfiguration><Role>arn:aws:iam::123456789012:role/copy</Role><Rule><ID>all</ID>\
    <Status>Enabled</Status><Prefix></Prefix><Destination><Bucket>arn:aws:s3:::copy</Bucket></Destination></Rule>\
    </ReplicationConfiguration>";

#[tokio::test]
async fn a_bucket_that_keeps_what_expires_says_so_before_anything_is_written() -> Result<()> {
    let (world, _operator) = start("keeps").await?;
    let (locked, copied) = (format!("{}-locked", world.id), format!("{}-copied", world.id));
    put(&world, &world.bucket, &[("versioning", "")], &[], VERSIONS).await?;
    let place = format!(
        "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        world.bed.aws.region
    );
    put(&world, &locked, &[], &[("x-amz-bucket-object-lock-enabled", "true")], &place).await?;
    world.bed.stand_in().create_bucket(&copied).await?;
    put(&world, &copied, &[("versioning", "")], &[], VERSIONS).await?;
    put(&world, &copied, &[("replication", "")], &[], COPIES).await?;
    let rows = [
        ("versions", world.bucket.as_str(), "VersionsKept", "their bytes with them"),
        ("locked", locked.as_str(), "ObjectLocked", "before its lock ends"),
        ("copied", copied.as_str(), "Replicated", "end nothing in the copy"),
    ];
    for (name, bucket, reason, _) in rows {
        world.bed.stand_in().put_objects(bucket, &[log_of("api")]).await?;
        let mut object = pipeline(&world, name, bucket)?;
        object["spec"]["changePolicy"] = json!({"approval": "DestructiveOnly"});
        let mut kept = policy(name, name, 30);
        if reason != "VersionsKept" {
            kept["spec"]["noncurrentVersionExpiration"] = json!({"noncurrentDays": 7});
        }
        apply(&world, &[&object, &kept]).await?;
    }
    for (name, bucket, reason, says) in rows {
        let object = wait_condition(&world, ("lrp", name), ("Accepted", "True", reason)).await?;
        let told = message(&object, "Accepted")?;
        ensure!(told.starts_with("Matches 1 services. ") && told.contains(says), "{name}: {told}");
        wait_condition(&world, ("lrp", name), ("Programmed", "False", "ApprovalRequired")).await?;
        ensure!(writes(&world, bucket).await? == 0, "{name}: something was written");
        // The status of the pipeline is written after those of its policies.
        let told = async || {
            let storage = world.get_json("lwc", name).await?["status"]["storage"].clone();
            ensure!(storage["versioning"] == "Enabled", "{name}: {storage}");
            Ok(storage)
        };
        let storage = world.wait_until("the settings of the bucket", PATIENCE, told).await?;
        ensure!(storage["objectLock"] == (name == "locked"), "{name}: {storage}");
        ensure!(storage["replication"] == (name == "copied"), "{name}: {storage}");
    }
    let patch = r#"{"spec":{"noncurrentVersionExpiration":{"noncurrentDays":7}}}"#;
    world.kubectl(&["patch", "lrp", "versions", "--type", "merge", "-p", patch]).await?;
    wait_condition(&world, ("lrp", "versions"), ("Accepted", "True", "Accepted")).await?;
    for name in ["locked", "copied"] {
        approve(&world, name, &plan_id(&world, name).await?).await?;
        let object = wait_condition(&world, ("lrp", name), ("Ready", "True", "Programmed")).await?;
        ensure!(
            message(&object, "Programmed")?.starts_with("S3 holds 1 rules of this policy. "),
            "{}",
            object["status"]
        );
    }
    let stand_in = world.bed.stand_in();
    futures::try_join!(stand_in.delete_bucket(&locked), stand_in.delete_bucket(&copied))?;
    Ok(())
}

#[tokio::test]
async fn settings_that_may_not_be_read_fail_nothing() -> Result<()> {
    let (world, _operator) = start("settings").await?;
    world.put_objects(&[log_of("api")]).await?;
    for action in ["GetBucketVersioning", "GetObjectLockConfiguration", "GetBucketReplication"] {
        world.fault(&Fault::error(&world.bucket, action, 403, "AccessDenied").times(0)).await?;
    }
    apply(&world, &[&pipeline(&world, "demo", &world.bucket)?, &unattended("default", "demo", 30)]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, ("lrp", "default"), ("Accepted", "True", "Accepted")).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    let storage = &object["status"]["storage"];
    let unknown = ["versioning", "objectLock", "replication"].iter().all(|field| storage[*field].is_null());
    ensure!(unknown && storage["services"] == 1, "{storage}");
    wait_condition(&world, ("lwc", "demo"), ("Validated", "False", "PermissionDenied")).await?;
    Ok(())
}

/// So many rules of somebody else.
fn many(rules: usize) -> String {
    let rule = |number: usize| {
        format!(
            "<Rule><ID>tf-{number:04}</ID><Filter><Prefix>x/{number:04}/</Prefix></Filter><Status>Enabled</Status>\
             <Expiration><Days>9</Days></Expiration></Rule>"
        )
    };
    let rules: Vec<String> = (0..rules).map(rule).collect();
    configuration(&rules.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn the_thousand_and_first_rule_is_not_written_and_the_message_says_whose_the_others_are() -> Result<()> {
    let (world, _operator) = start("full").await?;
    world.put_objects(&[log_of("api")]).await?;
    world.put_lifecycle(&world.bucket, &many(1_000)).await?;
    apply(&world, &[&pipeline(&world, "demo", &world.bucket)?, &unattended("default", "demo", 30)]).await?;
    let object = wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "TooManyRules")).await?;
    let told = message(&object, "Programmed")?;
    for part in ["1 rules are needed and others have 1000", "Of others: 1000 tf-...", "`storage.lifecycle.fold`"] {
        ensure!(told.contains(part), "{part} is not in {told}");
    }
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "TooManyRules")).await?;
    ensure!(writes(&world, &world.bucket).await? == 0, "something was written");
    ensure!(document(&world, &world.bucket).await? == many(1_000), "other rules");
    world.put_lifecycle(&world.bucket, &many(999)).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let document = document(&world, &world.bucket).await?;
    ensure!(document.matches("<Rule>").count() == 1_000 && document.contains("<ID>tf-0998</ID>"), "rules are lost");
    Ok(())
}

#[tokio::test]
async fn odd_names_get_rules_over_exactly_their_keys() -> Result<()> {
    const NAMES: [&str; 8] = ["pay ments", "größe", "日本\u{1F600}", "100%", "a=b", "a%3Ab", "a+b", "it's <&> \"it\""];
    let (world, _operator) = start("odd-names").await?;
    let objects: Vec<NewObject> = NAMES.into_iter().map(log_of).collect();
    world.put_objects(&objects).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD])).await?;
    apply(&world, &[&pipeline(&world, "demo", &world.bucket)?, &unattended("default", "demo", 30)]).await?;
    let object = wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let document = document(&world, &world.bucket).await?;
    ensure!(document.contains(FOREIGN_ODD) && document.matches("<Rule>").count() == NAMES.len() + 1, "{document}");
    for name in NAMES {
        let escaped = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let escaped = escaped.replace('"', "&quot;").replace('\'', "&apos;");
        ensure!(document.contains(&format!("<Prefix>logs/service_name={escaped}/</Prefix>")), "{name}: {document}");
        let effective = object["status"]["effective"].as_array().context("effective")?;
        let shown = effective.iter().find(|rule| rule["service"] == name).with_context(|| format!("no {name}"))?;
        ensure!(shown["expirationDays"] == 30 && shown["wantedDays"].is_null(), "{shown}");
    }
    Ok(())
}

#[tokio::test]
async fn ids_as_long_as_s3_takes_them_are_kept_and_ours_are_no_longer() -> Result<()> {
    let (world, _operator) = start("long-ids").await?;
    let theirs = FOREIGN_LEGACY.replace("by-hand", &"i".repeat(255));
    world.put_objects(&[log_of(&"s".repeat(255))]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[&theirs])).await?;
    let name = "p".repeat(63);
    apply(&world, &[&pipeline(&world, "demo", &world.bucket)?, &unattended(&name, "demo", 30)]).await?;
    wait_condition(&world, ("lrp", &name), ("Ready", "True", "Programmed")).await?;
    let document = document(&world, &world.bucket).await?;
    ensure!(document.contains(&theirs), "{document}");
    let (_, ours) = document.split_once("<ID>logwise.io/").context("no rule of ours")?;
    let (id, _) = ours.split_once("</ID>").context("no id")?;
    ensure!(id.contains(&name) && "logwise.io/".len() + id.chars().count() <= 255, "{id}");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_matches_nothing_yet_is_accepted_says_so_and_waits_for_its_service() -> Result<()> {
    let (world, _operator) = start("nobody").await?;
    world.put_objects(&[log_of("api")]).await?;
    let mut early = unattended("early", "demo", 30);
    early["spec"]["serviceSelector"] = json!({"matchNames": ["later"]});
    apply(&world, &[&pipeline(&world, "demo", &world.bucket)?, &early]).await?;
    let object = wait_condition(&world, ("lrp", "early"), ("Accepted", "True", "NoServiceMatched")).await?;
    ensure!(object["status"]["matchedServices"] == 0 && object["status"]["rules"] == 0, "{}", object["status"]);
    wait_condition(&world, ("lrp", "early"), ("Ready", "True", "Programmed")).await?;
    ensure!(writes(&world, &world.bucket).await? == 0, "something was written");
    world.put_objects(&[log_of("later")]).await?;
    wait_condition(&world, ("lrp", "early"), ("Accepted", "True", "Accepted")).await?;
    world
        .wait_until("the rule of the service that has come", PATIENCE, async || {
            let document = document(&world, &world.bucket).await?;
            ensure!(document.contains("service_name=later/") && !document.contains("service_name=api/"), "{document}");
            Ok(())
        })
        .await
}
