//! Retention on MinIO, which keeps less of a lifecycle configuration than AWS does.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::s3::{Request, S3};
use logwise_testbed::world::World;
use logwise_tests::{apply, cluster, events, more_looks, policy, wait_condition};
use serde_json::{Value, json};

/// A rule of somebody else, as MinIO prints it.
const FOREIGN: &str = "<Rule><ID>by hand</ID><Status>Enabled</Status><Filter><And><ObjectSizeGreaterThan>1024</ObjectSizeGreaterThan><Prefix>tmp/</Prefix></And></Filter><Expiration><Days>3</Days></Expiration></Rule>";

struct Ground {
    world: World,
    s3: S3,
    operator: Operator,
}

impl Ground {
    /// A bucket on MinIO with a rule of somebody else and two services, and an operator that knows no other S3.
    async fn new(name: &str) -> Result<Ground> {
        let bed = Bed::attach()?;
        let url = bed.minio.clone().context("this bed has no MinIO: start it with --profile minio or all")?;
        let (world, s3) = (World::new(&bed, name).await?, S3::new(&url));
        s3.create_bucket(&world.bucket).await?;
        for service in ["api", "web"] {
            let key = format!("logs/service_name={service}/year=2026/part-0.parquet");
            s3.put_object(&world.bucket, &key, b"x").await?;
        }
        let document = format!("<LifecycleConfiguration>{FOREIGN}</LifecycleConfiguration>");
        s3.put_lifecycle(&world.bucket, &document, &[]).await?.good("the rule of somebody else")?;
        let config = json!({"aws": {"endpointURL": url}, "preflight": {"enabled": false}});
        let mut operator = Operator::start(&world, Options::config(config)).await?;
        operator.wait_ready().await?;
        Ok(Ground { world, s3, operator })
    }

    /// Applies the bucket's pipeline and this policy; nothing waits for approval.
    async fn retain(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut pipeline = cluster(&self.world, "demo");
        pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
        pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
        let mut policy = policy("default", "demo", 30);
        policy["spec"]["changePolicy"] = json!({"approval": "Never"});
        change(&mut policy["spec"]);
        apply(&self.world, &[&pipeline, &policy]).await
    }

    async fn document(&self) -> Result<String> {
        Ok(self.s3.lifecycle(&self.world.bucket).await?.unwrap_or_default())
    }

    /// When the lifecycle configuration was last written, as MinIO tells it.
    async fn written_at(&self) -> Result<String> {
        let query = [("lifecycle", ""), ("withUpdatedAt", "true")];
        let request = Request { path: self.world.bucket.clone(), query: &query, ..Request::default() };
        let answer = self.s3.get(&request).await?.good("reading a lifecycle configuration")?;
        let time = answer.headers.get("x-minio-lifecycleconfig-updatedat").context("MinIO tells no time")?;
        Ok(time.to_str()?.to_owned())
    }

    /// Three more looks at the bucket without a write to it.
    async fn stays_quiet(&self) -> Result<()> {
        let before = self.written_at().await?;
        more_looks(&self.world, &self.operator, "storage", 3).await?;
        let after = self.written_at().await?;
        ensure!(after == before, "written at {after} again, after {before}");
        Ok(())
    }
}

#[tokio::test]
async fn what_minio_keeps_is_programmed_beside_the_rules_of_others() -> Result<()> {
    let ground = Ground::new("minio-keeps").await?;
    ground.retain(|spec| spec["noncurrentVersionExpiration"] = json!({"noncurrentDays": 7})).await?;
    wait_condition(&ground.world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let document = ground.document().await?;
    ensure!(document.contains(FOREIGN) && document.matches("<Rule>").count() == 3, "{document}");
    for part in ["<Prefix>logs/service_name=api/</Prefix>", "<Days>30</Days>", "<NoncurrentDays>7</NoncurrentDays>"] {
        ensure!(document.contains(part), "{part} is not in {document}");
    }
    ground.stays_quiet().await?;
    ground.world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    let document = ground.document().await?;
    ensure!(document.contains(FOREIGN) && document.matches("<Rule>").count() == 1, "{document}");
    Ok(())
}

#[tokio::test]
async fn what_minio_drops_is_named_taken_back_and_not_written_again() -> Result<()> {
    let ground = Ground::new("minio-drops").await?;
    let as_it_was = ground.document().await?;
    ground.retain(|spec| spec["abortIncompleteMultipartUpload"] = json!({"daysAfterInitiation": 3})).await?;
    let world = &ground.world;
    let object = wait_condition(world, ("lrp", "default"), ("Programmed", "False", "StoreIgnoresField")).await?;
    let told = object["status"].to_string();
    ensure!(told.contains("AbortIncompleteMultipartUpload.DaysAfterInitiation (of 2 rules)"), "{told}");
    wait_condition(world, ("lrp", "default"), ("Stalled", "True", "StoreIgnoresField")).await?;
    wait_condition(world, ("lwc", "demo"), ("StorageReady", "False", "StoreIgnoresField")).await?;
    ensure!(ground.document().await? == as_it_was, "it is not as it was: {}", ground.document().await?);
    let before = ground.written_at().await?;
    // Looks are rare by now: each of these edits causes one, and none changes what would be written.
    for priority in 1..=3 {
        let patch = json!({"spec": {"priority": priority}}).to_string();
        world.kubectl(&["patch", "lrp", "default", "--type", "merge", "-p", &patch]).await?;
        wait_condition(world, ("lrp", "default"), ("Programmed", "False", "StoreIgnoresField")).await?;
    }
    ensure!(ground.written_at().await? == before, "the same rules were written again");
    ensure!(ground.document().await?.contains(FOREIGN), "a foreign rule is lost");
    // `apply` takes away what is no longer there.
    ground.retain(|_| ()).await?;
    wait_condition(world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    wait_condition(world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    ensure!(ground.document().await?.contains(FOREIGN), "a foreign rule is lost");
    Ok(())
}

#[tokio::test]
async fn what_minio_drops_of_an_edit_that_adds_nothing_else_is_named_and_not_written_again() -> Result<()> {
    let ground = Ground::new("minio-adds").await?;
    let world = &ground.world;
    ground.retain(|_| ()).await?;
    wait_condition(world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let before = ground.document().await?;
    ground.retain(|spec| spec["abortIncompleteMultipartUpload"] = json!({"daysAfterInitiation": 3})).await?;
    let object = wait_condition(world, ("lrp", "default"), ("Programmed", "False", "StoreIgnoresField")).await?;
    let told = object["status"].to_string();
    ensure!(told.contains("AbortIncompleteMultipartUpload.DaysAfterInitiation (of 2 rules)"), "{told}");
    let blamed = events(world, "demo", "ForeignWriterDetected").await?;
    ensure!(blamed.is_empty(), "{blamed:?}");
    ensure!(ground.document().await? == before, "MinIO has made something else of it: {}", ground.document().await?);
    let written = ground.written_at().await?;
    // Looks are rare by now: each of these edits causes one.
    for priority in 1..=3 {
        let patch = json!({"spec": {"priority": priority}}).to_string();
        world.kubectl(&["patch", "lrp", "default", "--type", "merge", "-p", &patch]).await?;
        wait_condition(world, ("lrp", "default"), ("Programmed", "False", "StoreIgnoresField")).await?;
    }
    ensure!(ground.written_at().await? == written, "the same rules were written again");
    Ok(())
}

#[tokio::test]
async fn what_minio_refuses_is_named_and_changes_nothing() -> Result<()> {
    let ground = Ground::new("minio-refuses").await?;
    let before = ground.document().await?;
    ground.retain(|spec| spec["transitions"] = json!([{"days": 10, "storageClass": "GLACIER"}])).await?;
    let world = &ground.world;
    let object = wait_condition(world, ("lrp", "default"), ("Programmed", "False", "InvalidSpec")).await?;
    ensure!(object["status"].to_string().contains("InvalidStorageClass"), "{}", object["status"]);
    ground.stays_quiet().await?;
    ensure!(ground.document().await? == before, "something was written");
    ground.retain(|_| ()).await?;
    wait_condition(world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    ensure!(ground.document().await?.contains(FOREIGN), "a foreign rule is lost");
    Ok(())
}
