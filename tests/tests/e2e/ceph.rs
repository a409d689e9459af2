//! Retention on Ceph, which carries out its rules, and where a day lasts ten seconds. Only in `make prove`.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::ceph::{DAY, GATEWAY};
use logwise_testbed::kafka::client_config;
use logwise_testbed::local_job::{LocalJob, committed, rows};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::lifecycle::rules;
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::s3::S3;
use logwise_testbed::stream::Job;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, configuration, is_proving, policy, turn_to_prove, wait_condition};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rules of others that Ceph prints as they are written here, in this order. Only Ceph knows an archive zone.
const FOREIGN: [&str; 3] = [
    "<Rule><ID>by &apos;hand&apos;</ID><Prefix>backup/</Prefix><Status>Disabled</Status><Expiration><Days>400</Days></Expiration></Rule>",
    "<Rule><ID>sizes</ID><Filter><And><Prefix>tmp/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>1024</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>3000</Days></Expiration></Rule>",
    "<Rule><ID>zone</ID><Filter><And><Prefix>tmp/</Prefix><ArchiveZone></ArchiveZone></And></Filter><Status>Enabled</Status><Expiration><Days>3000</Days></Expiration></Rule>",
];

/// The streaming job writes these; one begins with the name of another.
const SERVICES: [&str; 3] = ["api", "api-gateway", "web"];
const EXPIRED: &str = "api";

/// Days that last longer than any test.
const KEPT: i32 = 3000;

/// Looks that change nothing.
const LOOKS: u64 = 20;

/// The ninth batch writes the sink's log anew, with the files of the earlier ones.
const COMPACTED: &str = "logs/_spark_metadata/9.compact";
const MOST_ROUNDS: u32 = 12;

struct Ground {
    world: World,
    s3: S3,
    url: String,
    operator: Operator,
    /// The configuration before there was a rule of ours.
    theirs: String,
}

impl Ground {
    /// A bucket on Ceph with rules of others and an object that is not ours, and an operator that knows no other S3.
    async fn new(name: &str) -> Result<Ground> {
        let bed = Bed::attach()?;
        let url = bed.ceph.clone().context("this bed has no Ceph: start it with --profile ceph")?;
        let (world, s3) = (World::new(&bed, name).await?, S3::new(&url));
        s3.create_bucket(&world.bucket).await?;
        s3.put_object(&world.bucket, "logs/service_name=pay ments/year=2026/part-0.parquet", b"x").await?;
        s3.put_object(&world.bucket, "backup/anything", b"x").await?;
        s3.put_lifecycle(&world.bucket, &configuration(&FOREIGN), &[]).await?.good("the rules of others")?;
        let theirs = s3.lifecycle(&world.bucket).await?.context("no configuration")?;
        ensure!(theirs.ends_with(&configuration(&FOREIGN)), "Ceph prints it another way: {theirs}");
        let config = json!({
            "aws": {"endpointURL": url},
            "preflight": {"enabled": false},
            "intervals": {"s3Seconds": 1},
        });
        let mut operator = Operator::start(&world, Options::config(config)).await?;
        operator.wait_ready().await?;
        Ok(Ground { world, s3, url, operator, theirs })
    }

    async fn document(&self) -> Result<String> {
        Ok(self.s3.lifecycle(&self.world.bucket).await?.unwrap_or_default())
    }

    /// The rules of ours. What is beside them must be as it was, to the last byte.
    async fn ours(&self) -> Result<Vec<String>> {
        let document = self.document().await?;
        let ours = rules(&document).filter(|rule| rule.contains("<ID>logwise.io/")).map(str::to_owned);
        let ours: Vec<String> = ours.collect();
        let rest = ours.iter().fold(document, |rest, rule| rest.replacen(rule, "", 1));
        ensure!(rest == self.theirs, "not as it was: {rest}\nbefore: {}", self.theirs);
        Ok(ours)
    }

    /// Waits until these policies are in force.
    async fn programmed(&self, policies: &[&str]) -> Result<()> {
        for name in policies {
            wait_condition(&self.world, ("lrp", name), ("Ready", "True", "Programmed")).await?;
        }
        Ok(())
    }

    /// Every object of the bucket, with the tag that follows its content.
    async fn objects(&self) -> Result<BTreeMap<String, String>> {
        self.s3.objects(&self.world.bucket, "").await
    }

    /// How often the configuration was written, by whomever, as Ceph's log tells it.
    fn writes(&self) -> Result<usize> {
        let log = std::fs::read_to_string(self.world.bed.log(GATEWAY)).context("reading Ceph's log")?;
        let written = format!("op=put_lifecycle bucket={} ", self.world.bucket);
        Ok(log.lines().filter(|line| line.contains(&written) && line.contains(" req done ")).count())
    }

    /// The streaming job over this bucket and a topic of its own.
    async fn logs(&self) -> Result<Logs> {
        let topic = self.world.create_topic("app", 2).await?;
        let job = Job::of(&self.world.bed, &self.world.bucket, &topic.replace('.', "[.]"))?;
        let job = Job { s3: self.url.clone(), trigger: Duration::from_millis(500), ..job };
        Ok(Logs { topic, job, sent: BTreeSet::new(), runs: 0 })
    }
}

/// The streaming job, and what it has got to write.
struct Logs {
    topic: String,
    job: Job,
    /// Service and message of each record; each is sent once.
    sent: BTreeSet<(String, String)>,
    runs: u32,
}

impl Logs {
    async fn start(&mut self, world: &World) -> Result<LocalJob> {
        self.runs += 1;
        LocalJob::start(&world.bed, &self.job, &format!("stream-{}-{}", world.id, self.runs)).await
    }

    /// Sends records of every service, and waits until the running job has committed all that was ever sent.
    async fn pass(&mut self, ground: &Ground, run: &mut LocalJob, (word, number): (&str, u32)) -> Result<()> {
        let mut config = client_config(&ground.world.bed.kafka.bootstrap);
        let producer: FutureProducer = config.set("message.timeout.ms", "30000").create()?;
        for (service, number) in SERVICES.iter().flat_map(|service| (0..number).map(move |number| (service, number))) {
            let message = format!("{word} {number}");
            let value = json!({"service_name": service, "level": "INFO", "message": message}).to_string();
            let record = FutureRecord::<(), str>::to(&self.topic).payload(&value);
            producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
            ensure!(self.sent.insert(((*service).to_owned(), message)), "sent twice: {value}");
        }
        let (world, wanted) = (&ground.world, i64::try_from(self.sent.len())?);
        world
            .wait_until(&format!("{wanted} records in committed batches"), PATIENCE, async || {
                run.is_well()?;
                let found = committed(&ground.s3, &world.bucket).await?;
                ensure!(found == wanted, "{found} are");
                Ok(())
            })
            .await
    }

    /// Reads the table: nothing stands in it twice, nor that was not sent. Returns what was sent and is not there.
    async fn lacking(&self, world: &World) -> Result<BTreeSet<(String, String)>> {
        let found = rows(&world.bed, &self.job).await?;
        let wrong: Vec<_> = found.iter().filter(|(row, times)| **times != 1 || !self.sent.contains(*row)).collect();
        ensure!(wrong.is_empty(), "twice, or never sent: {wrong:?}");
        Ok(self.sent.iter().filter(|row| !found.contains_key(*row)).cloned().collect())
    }
}

/// A pipeline that manages nothing but the bucket; nothing waits for approval.
fn pipeline(world: &World) -> Result<Value> {
    let mut object = cluster(world, "demo");
    object["spec"].as_object_mut().context("a spec")?.remove("kafka");
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    Ok(object)
}

/// A policy for every service.
fn default(days: i32) -> Value {
    let mut object = policy("default", "demo", days);
    object["spec"]["changePolicy"] = json!({"approval": "Never"});
    object
}

/// A stronger one for the service that expires.
fn short(days: i32) -> Value {
    let mut object = default(days);
    object["metadata"]["name"] = json!("short");
    object["spec"]["serviceSelector"] = json!({"matchNames": [EXPIRED]});
    object["spec"]["priority"] = json!(10);
    object
}

/// The days that the rule of the service that expires has in S3.
async fn days_in_force(ground: &Ground) -> Result<String> {
    let ours = ground.ours().await?;
    let prefix = format!("<Prefix>logs/service_name={EXPIRED}/</Prefix>");
    let rule = ours.iter().find(|rule| rule.contains(&prefix)).with_context(|| format!("no rule in {ours:?}"))?;
    let days = rule.split_once("<Days>").and_then(|(_, rest)| rest.split_once("</Days>"));
    days.map(|(days, _)| days.to_owned()).with_context(|| format!("no days in {rule}"))
}

/// One service expires; everything else is as it was, and stays so for three more days.
async fn expires(ground: &Ground) -> Result<()> {
    let mut left = ground.objects().await?;
    let all = left.len();
    let prefix = format!("logs/service_name={EXPIRED}/");
    left.retain(|key, _| !key.starts_with(&prefix));
    for kept in ["logs/_spark_metadata/0", "checkpoint/application/commits/0", "checkpoint/application/metadata"] {
        ensure!(left.contains_key(kept), "the job wrote no {kept}: {left:?}");
    }
    ensure!(left.len() < all, "the job wrote nothing of {EXPIRED}: {left:?}");
    apply(&ground.world, &[&pipeline(&ground.world)?, &default(KEPT), &short(1)]).await?;
    ground.programmed(&["default", "short"]).await?;
    ensure!(days_in_force(ground).await? == "1" && ground.ours().await?.len() == 4, "{}", ground.document().await?);
    ground
        .world
        .wait_until("the objects of the expired service to go", PATIENCE, async || {
            let found = ground.s3.objects(&ground.world.bucket, &prefix).await?;
            ensure!(found.is_empty(), "still there: {found:?}");
            Ok(())
        })
        .await?;
    ensure!(ground.objects().await? == left, "{:?}\nis not {left:?}", ground.objects().await?);
    tokio::time::sleep(3 * DAY).await;
    ensure!(ground.objects().await? == left, "{:?}\nis not {left:?}", ground.objects().await?);
    // The service is gone for now; its rule stays.
    ensure!(days_in_force(ground).await? == "1", "{}", ground.document().await?);
    Ok(())
}

#[tokio::test]
async fn an_expired_service_goes_and_nothing_else_and_the_streaming_job_goes_on() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let ground = Ground::new("ceph-expires").await?;
    let (world, mut logs) = (&ground.world, ground.logs().await?);
    let mut run = logs.start(world).await?;
    logs.pass(&ground, &mut run, ("before", 20)).await?;
    run.is_well()?;
    run.stop().await?;
    let lacking = logs.lacking(world).await?;
    ensure!(lacking.is_empty(), "not in the table: {lacking:?}");

    expires(&ground).await?;
    let lacking = logs.lacking(world).await?;
    let of_expired = |row: &&(String, String)| row.0 == EXPIRED;
    ensure!(lacking.iter().all(|row| of_expired(&row)) && lacking.len() == 20, "not in the table: {lacking:?}");

    // The job goes on from its checkpoint, while what it writes of that service goes again after a day.
    let mut run = logs.start(world).await?;
    for round in 0..MOST_ROUNDS {
        logs.pass(&ground, &mut run, (&format!("round {round}"), 3)).await?;
        if ground.objects().await?.contains_key(COMPACTED) {
            break;
        }
    }
    ensure!(ground.objects().await?.contains_key(COMPACTED), "no {COMPACTED} after {MOST_ROUNDS} rounds");
    apply(world, &[&short(KEPT)]).await?;
    ground.programmed(&["short"]).await?;
    ensure!(days_in_force(&ground).await? == KEPT.to_string(), "{}", ground.document().await?);
    logs.pass(&ground, &mut run, ("after", 20)).await?;
    run.is_well()?;
    run.stop().await?;
    let lacking = logs.lacking(world).await?;
    let lost = lacking.iter().filter(|row| !of_expired(row) || row.1.starts_with("after")).collect::<Vec<_>>();
    ensure!(lost.is_empty(), "not in the table: {lost:?}");
    ensure!(lacking.iter().filter(|row| row.1.starts_with("before")).count() == 20, "came back: {lacking:?}");
    Ok(())
}

#[tokio::test]
async fn what_others_wrote_stays_on_ceph_and_all_that_a_policy_can_ask_for_is_kept() -> Result<()> {
    if !is_proving() {
        return Ok(());
    }
    let ground = Ground::new("ceph-keeps").await?;
    let asks = |days: i32| {
        let mut object = default(days);
        object["spec"]["transitions"] =
            json!([{"days": 300, "storageClass": "STANDARD_IA"}, {"days": 400, "storageClass": "GLACIER"}]);
        object["spec"]["noncurrentVersionExpiration"] = json!({"noncurrentDays": 700});
        object["spec"]["abortIncompleteMultipartUpload"] = json!({"daysAfterInitiation": 30});
        object
    };
    apply(&ground.world, &[&pipeline(&ground.world)?, &asks(KEPT)]).await?;
    ground.programmed(&["default"]).await?;
    wait_condition(&ground.world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    let ours = ground.ours().await?;
    ensure!(ours.len() == 1 && ours[0].matches("<Transition>").count() == 2, "{ours:?}");
    for part in ["<Days>3000</Days>", "<NoncurrentDays>700</NoncurrentDays>", "<DaysAfterInitiation>30</"] {
        ensure!(ours[0].contains(part), "{part} is not in {ours:?}");
    }
    // Once by others, once by us, and not again.
    settles(&ground.world, &ground.operator, &["storage"], LOOKS, PATIENCE).await?;
    ensure!(ground.writes()? == 2, "written {} times", ground.writes()?);
    apply(&ground.world, &[&asks(KEPT + 1)]).await?;
    ground.programmed(&["default"]).await?;
    let ours = ground.ours().await?;
    ensure!(ours.len() == 1 && ours[0].contains("<Days>3001</Days>"), "{ours:?}");
    ground.world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    ensure!(ground.document().await? == ground.theirs, "{}", ground.document().await?);
    Ok(())
}
