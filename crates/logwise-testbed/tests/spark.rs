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

#[tokio::test]
async fn the_job_writes_parquet_by_service_and_commits_what_it_read() -> Result<()> {
    let (bed, stand_in) = (bed()?, bed()?.stand_in());
    let id = unique("stream");
    let (bucket, group, prefix) = (format!("{id}-bucket"), format!("{id}-workers"), format!("{id}.logs."));
    stand_in.create_bucket(&bucket).await?;
    stand_in.create_group(&group, (1, 1, 1), &[(TAG, "true")]).await?;
    let shipped = ship(&bed, &prefix).await?;
    let topic = format!("{prefix}web");
    assert_eq!(u64::try_from(topics::end_offsets(&bed.kafka.bootstrap, &topic).await?)?, shipped);
    assert!(shipped > 2, "two lines at 40 per second for 2 s are shipped again and again, not {shipped}");
    wait_for_workers(&bed, &addresses(&stand_in, &group).await?, true).await?;

    let spark = Spark::locate(&Cache::of_user()?)?;
    let job = Job::of(&bed, &bucket, &format!("{id}[.]logs[.].*"))?;
    let submission = stream::submit(&spark, &job).await?;
    let committed = async || {
        let commits = stand_in.objects(&bucket, "checkpoint/application/commits/").await?;
        ensure!(commits.iter().any(|object| object.key.ends_with("/commits/0")), "commits are {commits:?}");
        Ok(())
    };
    wait_until("the first committed batch", FIRST_BATCH, committed).await?;
    let data = stand_in.objects(&bucket, "logs/service_name=").await?;
    assert!(!data.is_empty(), "no data was written");
    for object in &data {
        let rest = object
            .key
            .strip_prefix("logs/service_name=web/year=")
            .with_context(|| format!("a strange key {}", object.key))?;
        assert!(
            rest.contains("/month=") && rest.contains("/hour=") && rest.ends_with(".parquet") && object.size > 0,
            "{object:?}"
        );
    }
    let status = stream::status(&job.rest, &submission).await?;
    assert_eq!(status.driver_state, "RUNNING");
    let ours = async || {
        let drivers = look(&bed).await?.activedrivers;
        ensure!(
            drivers.iter().any(|driver| driver.id == submission && driver.mainclass == MAIN_CLASS),
            "drivers are {drivers:?}"
        );
        Ok(())
    };
    wait_until("the driver in the master's list", LONG, ours).await?;
    stream::kill(&job.rest, &submission).await?;
    let gone = async || {
        let status = stream::status(&job.rest, &submission).await?;
        ensure!(status.driver_state == "KILLED", "{status:?}");
        Ok(())
    };
    wait_until("the killed driver", LONG, gone).await?;
    stand_in.delete_group(&group).await?;
    stand_in.delete_bucket(&bucket).await
}
