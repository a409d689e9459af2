//! Two policies beside rules of others in shapes that the SDK does not model: what others wrote stays byte for byte,
//! whatever becomes of ours. On AWS's stand-in and on MinIO.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::lifecycle::rules;
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::s3::{Request, S3};
use logwise_testbed::world::World;
use logwise_tests::{FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, configuration, policy, wait_condition};
use serde_json::{Value, json};

/// Looks that change nothing.
const LOOKS: u64 = 20;

/// Names of which one begins with another, and one with a blank.
const SERVICES: [&str; 3] = ["api", "api-gateway", "pay ments"];

/// Kept by AWS and never sent back by those who do not know it.
const SETTING: (&str, &str) = ("x-amz-transition-default-minimum-object-size", "varies_by_storage_class");

/// An action that only MinIO knows.
const MARKERS: &str = "<Rule><ID>markers</ID><Status>Enabled</Status><Filter><Prefix>tmp/</Prefix></Filter><DelMarkerExpiration><Days>40</Days></DelMarkerExpiration></Rule>";

/// A part of an expiration that only MinIO knows.
const VERSIONS: &str = "<Rule><ID>all-versions</ID><Status>Disabled</Status><Prefix>backup/</Prefix><Expiration><Days>400</Days><ExpiredObjectAllVersions>true</ExpiredObjectAllVersions></Expiration></Rule>";

/// A rule of ours: service, policy, days.
type Ours = (String, String, String);

struct Ground {
    world: World,
    s3: S3,
    is_minio: bool,
    operator: Operator,
    /// The configuration before there was a rule of ours, as the server prints it.
    theirs: String,
}

impl Ground {
    /// A bucket on the server at `url` with three services and these rules of others.
    async fn new(name: &str, url: Option<&str>, foreign: &[&str]) -> Result<Ground> {
        let world = World::new(&Bed::attach()?, name).await?;
        let endpoint = url.unwrap_or(&world.bed.aws.endpoint).to_owned();
        let s3 = S3::new(&endpoint);
        if url.is_some() {
            s3.create_bucket(&world.bucket).await?;
        }
        for service in SERVICES {
            let key = format!("logs/service_name={service}/year=2026/part-0.parquet");
            s3.put_object(&world.bucket, &key, b"x").await?;
        }
        s3.put_object(&world.bucket, "logs/_spark_metadata/0", b"x").await?;
        s3.put_object(&world.bucket, "checkpoint/application/metadata", b"x").await?;
        let answer = s3.put_lifecycle(&world.bucket, &configuration(foreign), &[SETTING]).await?;
        answer.good("the rules of others")?;
        let theirs = s3.lifecycle(&world.bucket).await?.context("no configuration")?;
        // A look each second; the preflight would read the configuration too.
        let config = json!({
            "aws": {"endpointURL": endpoint},
            "preflight": {"enabled": false},
            "intervals": {"s3Seconds": 1},
        });
        let mut operator = Operator::start(&world, Options::config(config)).await?;
        operator.wait_ready().await?;
        Ok(Ground { world, s3, is_minio: url.is_some(), operator, theirs })
    }

    async fn document(&self) -> Result<String> {
        Ok(self.s3.lifecycle(&self.world.bucket).await?.unwrap_or_default())
    }

    /// The rules of ours in a document, and the document without them.
    fn parted(&self, document: &str) -> Result<(Vec<Ours>, String)> {
        let owner = format!("<ID>logwise.io/{}.{}.", self.world.id, self.world.namespace);
        let (mut ours, mut rest) = (Vec::new(), document.to_owned());
        for rule in rules(document).filter(|rule| rule.contains("<ID>logwise.io/")) {
            let prefix = within(rule, "<Prefix>logs/service_name=", "/</Prefix>")?;
            ours.push((prefix, within(rule, &owner, "/")?, within(rule, "<Expiration><Days>", "</Days>")?));
            rest = rest.replacen(rule, "", 1);
        }
        ours.sort();
        Ok((ours, rest))
    }

    /// Waits for exactly these rules of ours. Everything else is as it was, to the last byte.
    async fn holds(&self, wanted: &[(&str, &str, i32)]) -> Result<String> {
        let wanted: Vec<Ours> = wanted
            .iter()
            .map(|(service, policy, days)| ((*service).to_owned(), (*policy).to_owned(), days.to_string()))
            .collect();
        let document = self
            .world
            .wait_until(&format!("the rules {wanted:?}"), PATIENCE, async || {
                let document = self.document().await?;
                let (ours, _) = self.parted(&document)?;
                ensure!(ours == wanted, "{ours:?}");
                Ok(document)
            })
            .await?;
        let (_, rest) = self.parted(&document)?;
        ensure!(rest == self.theirs, "not as it was: {rest}\nbefore: {}", self.theirs);
        Ok(document)
    }

    /// When MinIO says that the configuration was last written; of the stand-in the ledger tells.
    async fn written_at(&self) -> Result<Option<String>> {
        if !self.is_minio {
            return Ok(None);
        }
        let query = [("lifecycle", ""), ("withUpdatedAt", "true")];
        let request = Request { path: self.world.bucket.clone(), query: &query, ..Request::default() };
        let answer = self.s3.get(&request).await?.good("reading a lifecycle configuration")?;
        let time = answer.headers.get("x-minio-lifecycleconfig-updatedat").context("MinIO tells no time")?;
        Ok(Some(time.to_str()?.to_owned()))
    }

    /// Twenty looks that leave every byte as it is.
    async fn stays(&self) -> Result<()> {
        let (before, written) = (self.document().await?, self.written_at().await?);
        settles(&self.world, &self.operator, &["storage"], LOOKS, PATIENCE).await?;
        ensure!(self.written_at().await? == written, "written again");
        ensure!(self.document().await? == before, "changed after {LOOKS} looks: {}", self.document().await?);
        Ok(())
    }

    async fn apply(&self, object: &Value) -> Result<()> {
        apply(&self.world, &[object]).await
    }

    async fn ready(&self, name: &str) -> Result<()> {
        wait_condition(&self.world, ("lrp", name), ("Ready", "True", "Programmed")).await.map(drop)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.world.kubectl(&["delete", "lrp", name, "--timeout=60s"]).await.map(drop)
    }
}

/// The text between two others.
fn within(rule: &str, before: &str, after: &str) -> Result<String> {
    let found = rule.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    found.map(|(text, _)| text.to_owned()).with_context(|| format!("no {before}...{after} in {rule}"))
}

/// A pipeline that manages nothing but the bucket; nothing waits for approval.
fn pipeline(world: &World) -> Result<Value> {
    let mut object = cluster(world, "demo");
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    Ok(object)
}

/// A policy for these services, or for every one.
fn keeps(name: &str, services: &[&str], days: i32) -> Value {
    let mut object = policy(name, "demo", days);
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    if !services.is_empty() {
        object["spec"]["serviceSelector"] = json!({"matchNames": services});
        object["spec"]["priority"] = json!(10);
    }
    object
}

/// Two policies come, stay, change and go.
async fn whole_life(ground: &Ground) -> Result<()> {
    ground.apply(&pipeline(&ground.world)?).await?;
    ground.apply(&keeps("keep", &["api", "pay ments"], 90)).await?;
    ground.apply(&keeps("default", &[], 30)).await?;
    ground.ready("keep").await?;
    ground.ready("default").await?;
    ground.holds(&[("api", "keep", 90), ("api-gateway", "default", 30), ("pay ments", "keep", 90)]).await?;
    ground.stays().await?;
    ground.apply(&keeps("keep", &["pay ments"], 120)).await?;
    ground.ready("keep").await?;
    ground.holds(&[("api", "default", 30), ("api-gateway", "default", 30), ("pay ments", "keep", 120)]).await?;
    ground.delete("default").await?;
    ground.holds(&[("pay ments", "keep", 120)]).await?;
    ground.delete("keep").await?;
    let last = ground.holds(&[]).await?;
    ensure!(last == ground.theirs, "{last}");
    Ok(())
}

#[tokio::test]
async fn what_others_wrote_stays_byte_for_byte_while_our_rules_come_change_and_go() -> Result<()> {
    let foreign = [FOREIGN_ODD, FOREIGN_LEGACY];
    let ground = Ground::new("coowned", None, &foreign).await?;
    ensure!(ground.theirs == configuration(&foreign), "the stand-in prints it anew: {}", ground.theirs);
    whole_life(&ground).await?;
    // At no time in between either.
    let foreign = foreign.map(str::to_owned).to_vec();
    kept(&ground.world, &Bounds { foreign, ..Bounds::default() }).await?;
    let setting = ground.world.lifecycle(&ground.world.bucket).await?.minimum_object_size;
    ensure!(setting.as_deref() == Some(SETTING.1), "the setting for small objects is {setting:?}");
    Ok(())
}

#[tokio::test]
async fn what_others_wrote_stays_on_minio_as_it_prints_it() -> Result<()> {
    let url = Bed::attach()?.minio.context("this bed has no MinIO: start it with --profile minio or all")?;
    let ground = Ground::new("coowned-minio", Some(&url), &[MARKERS, VERSIONS]).await?;
    for part in ["<DelMarkerExpiration><Days>40</Days></DelMarkerExpiration>", "<ExpiredObjectAllVersions>true<"] {
        ensure!(ground.theirs.contains(part), "MinIO does not keep {part}: {}", ground.theirs);
    }
    whole_life(&ground).await
}
