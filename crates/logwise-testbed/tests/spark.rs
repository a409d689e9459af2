//! Real workers follow the stand-in's instances, and the real streaming job carries log lines from Kafka to parquet.
//! Needs `logwise-testbed up --profile kafka --profile spark`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::cache::Cache;
use logwise_testbed::profile::Part;
use logwise_testbed::shipper;
use logwise_testbed::spark::{Overview, Spark, overview};
use logwise_testbed::stand_in::StandIn;
use logwise_testbed::stream::{self, Job, MAIN_CLASS};
use logwise_testbed::supervisor::TAG;
use logwise_testbed::topics;
use logwise_testbed::world::wait_until;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::Mutex;

/// A master puts drivers and executors on any worker: a test that removes workers must not run beside one that has a job.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
const LONG: Duration = Duration::from_secs(120);
const FIRST_BATCH: Duration = Duration::from_secs(240);

fn bed() -> Result<Bed> {
    Bed::attach_with(&[Part::Kafka, Part::Aws, Part::Spark])
}

fn unique(name: &str) -> String {
    format!("{name}{}", std::process::id())
}

async fn look(bed: &Bed) -> Result<Overview> {
    let spark = bed.spark.as_ref().context("the bed runs no Spark")?;
    overview(&format!("{}:{}", spark.host, spark.ui_port)).await
}

async fn addresses(stand_in: &StandIn, group: &str) -> Result<BTreeSet<String>> {
    Ok(stand_in.group(group).await?.instances.into_iter().map(|instance| instance.private_ip).collect())
}

/// Waits until the master has a living worker on each of these addresses, or on none of them.
async fn wait_for_workers(bed: &Bed, hosts: &BTreeSet<String>, wanted: bool) -> Result<()> {
    let right = async || {
        let overview = look(bed).await?;
        let alive: BTreeSet<&str> = overview.alive_hosts().into_iter().collect();
        ensure!(hosts.iter().all(|host| alive.contains(host.as_str()) == wanted), "living workers are on {alive:?}");
        Ok(())
    };
    wait_until(&format!("workers on {hosts:?}: {wanted}"), LONG, right).await
}

#[tokio::test]
async fn a_marked_group_gets_a_worker_per_instance_and_an_unmarked_none() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (bed, stand_in) = (bed()?, bed()?.stand_in());
    let (marked, unmarked) = (unique("marked"), unique("unmarked"));
    stand_in.create_group(&unmarked, (1, 1, 1), &[]).await?;
    stand_in.create_group(&marked, (2, 2, 2), &[(TAG, "true")]).await?;
    let hosts = addresses(&stand_in, &marked).await?;
    assert_eq!(hosts.len(), 2);
    wait_for_workers(&bed, &hosts, true).await?;
    wait_for_workers(&bed, &addresses(&stand_in, &unmarked).await?, false).await?;
    stand_in.delete_group(&marked).await?;
    wait_for_workers(&bed, &hosts, false).await?;
    stand_in.delete_group(&unmarked).await
}

const SERVER_LOG: &str =
    "I1124 13:53:22.123456       1 server.go:12] first\n[2026-11-24 13:53:22,123] ERROR second (x)\n";

/// Ships the log of a server `web` of our own and returns how many records Kafka has.
async fn ship(bed: &Bed, prefix: &str) -> Result<u64> {
    let logs = tempfile::tempdir()?;
    std::fs::write(logs.path().join("web.log"), SERVER_LOG)?;
    let config = shipper::Config {
        bootstrap: bed.kafka.bootstrap.clone(),
        logs: logs.path().to_owned(),
        prefix: prefix.to_owned(),
        rate: 40,
        services: None,
        seconds: Some(2),
    };
    let tallies = shipper::run(&config).await?;
    let tally = tallies.get("web").context("nothing of `web` was shipped")?;
    ensure!(tally.failed == 0, "{tally:?}");
    Ok(tally.shipped)
}

/// What must neither stop the job nor name a service of its own, and one number that is a name.
const BROKEN: [&[u8]; 7] = [
    b"no json",
    b"\xff\xfe",
    b"",
    b"[1, 2]",
    br#"{"service_name": {"a": 1}, "timestamp": "never"}"#,
    br#"{"service_name": " ", "timestamp": 7, "message": [1]}"#,
    br#"{"service_name": 5}"#,
];

async fn produce_broken(bed: &Bed, topic: &str) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &bed.kafka.bootstrap)
        .set("message.timeout.ms", "20000")
        .create()?;
    for payload in BROKEN {
        let sent = producer.send(FutureRecord::<(), [u8]>::to(topic).payload(payload), LONG).await;
        sent.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// One run of the streaming job with what it needs: a bucket, a group of one worker, a topic with shipped lines.
struct Run {
    bed: Bed,
    stand_in: StandIn,
    id: String,
    bucket: String,
    group: String,
}

impl Run {
    async fn start() -> Result<Run> {
        let (bed, id) = (bed()?, unique("stream"));
        let (stand_in, bucket, group) = (bed.stand_in(), format!("{id}-bucket"), format!("{id}-workers"));
        stand_in.create_bucket(&bucket).await?;
        stand_in.create_group(&group, (1, 1, 1), &[(TAG, "true")]).await?;
        Ok(Run { bed, stand_in, id, bucket, group })
    }

    async fn job(&self) -> Result<(Job, String)> {
        let shipped = ship(&self.bed, &format!("{}.logs.", self.id)).await?;
        ensure!(shipped > 2, "two lines at 40 per second for 2 s are shipped again and again, not {shipped}");
        let topic = format!("{}.logs.web", self.id);
        let stored = topics::end_offsets(&self.bed.kafka.bootstrap, &topic).await?;
        produce_broken(&self.bed, &topic).await?;
        ensure!(u64::try_from(stored)? == shipped, "{shipped} records were shipped and {stored} are there");
        wait_for_workers(&self.bed, &addresses(&self.stand_in, &self.group).await?, true).await?;
        let job = Job { max_cores: 1, ..Job::of(&self.bed, &self.bucket, &format!("{}[.]logs[.].*", self.id))? };
        let submission = stream::submit(&Spark::locate(&Cache::of_user()?)?, &job).await?;
        Ok((job, submission))
    }

    async fn first_commit(&self) -> Result<()> {
        let committed = async || {
            let commits = self.stand_in.objects(&self.bucket, "checkpoint/application/commits/").await?;
            ensure!(commits.iter().any(|object| object.key.ends_with("/commits/0")), "commits are {commits:?}");
            Ok(())
        };
        wait_until("the first committed batch", FIRST_BATCH, committed).await
    }

    async fn check_files(&self) -> Result<()> {
        let mut data = self.stand_in.objects(&self.bucket, "logs/service_name=").await?;
        // S3A marks a folder by an empty object until something is in it.
        data.retain(|object| !(object.key.ends_with('/') && object.size == 0));
        for object in &data {
            let whole = ["/year=", "/month=", "/day=", "/hour="].iter().all(|part| object.key.contains(part));
            ensure!(whole && object.key.ends_with(".parquet") && object.size > 0, "a strange object {object:?}");
        }
        let services: BTreeSet<&str> = data.iter().filter_map(|object| object.key.split('/').nth(1)).collect();
        let expected = ["service_name=5", "service_name=unknown", "service_name=web"];
        ensure!(services.iter().copied().eq(expected), "services are {services:?}");
        Ok(())
    }

    async fn check_driver(&self, job: &Job, submission: &str) -> Result<()> {
        let status = stream::status(&job.rest, submission).await?;
        ensure!(status.driver_state == "RUNNING", "{status:?}");
        let drivers = look(&self.bed).await?.activedrivers;
        ensure!(
            drivers.iter().any(|driver| driver.id == submission && driver.mainclass == MAIN_CLASS),
            "drivers are {drivers:?}"
        );
        Ok(())
    }

    async fn kill(&self, job: &Job, submission: &str) -> Result<()> {
        stream::kill(&job.rest, submission).await?;
        let gone = async || {
            let status = stream::status(&job.rest, submission).await?;
            ensure!(status.driver_state == "KILLED", "{status:?}");
            Ok(())
        };
        wait_until("the killed driver", LONG, gone).await
    }

    async fn end(self) -> Result<()> {
        self.stand_in.delete_group(&self.group).await?;
        self.stand_in.delete_bucket(&self.bucket).await
    }
}

#[tokio::test]
async fn the_job_writes_parquet_by_service_and_commits_what_it_read() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let run = Run::start().await?;
    let (job, submission) = run.job().await?;
    let checks = async {
        run.first_commit().await?;
        run.check_files().await?;
        run.check_driver(&job, &submission).await
    };
    let checked = checks.await;
    // Whatever was found: a driver that is left behind would hold the cores of the bed's other tests.
    let killed = run.kill(&job, &submission).await;
    checked.and(killed)?;
    run.end().await
}
