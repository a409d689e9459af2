//! The demo, as `make demo` runs it: in a bed of its own, twice, looked at from outside, and ended without a trace.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::demo::{BUCKET, FOREIGN_RULES, GROUP, NAMESPACE, SCHEMA, SERVICES};
use logwise_testbed::process::OWNER;
use logwise_testbed::profile::Part;
use logwise_testbed::spark::overview;
use logwise_testbed::world::wait_until;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn testbed() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(2).context("target/debug")?.join("logwise-testbed"))
}

fn command(dir: &Path, word: &str) -> Result<Output> {
    Ok(Command::new(testbed()?).arg("--dir").arg(dir).arg(word).output()?)
}

/// Ends the bed also when the test fails.
struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        // A test that succeeded has done so already.
        let _ = command(&self.0, "down");
    }
}

/// Runs the demo and returns its table and its progress.
fn demo(dir: &Path) -> Result<(String, String)> {
    let output = command(dir, "demo")?;
    let (table, progress) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.success(), "the demo failed:\n{progress}");
    Ok((table, progress))
}

/// Processes of the bed, as they are now: each carries the bed's folder in its environment.
fn processes(dir: &Path) -> Vec<String> {
    let owned = format!("{OWNER}={}", dir.display());
    let read = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = all.filter(|process| read(process.join("environ")).split('\0').any(|variable| variable == owned));
    ours.map(|process| read(process.join("cmdline")).replace('\0', " ")).collect()
}

async fn assert_outside(bed: &Bed) -> Result<()> {
    for service in SERVICES {
        let topic = bed.kafka_topics_describe(&format!("logs.{service}")).await?;
        ensure!(topic.partitions == 3, "logs.{service} has {} partitions", topic.partitions);
    }
    let group = bed.stand_in().group(GROUP).await?;
    ensure!(group.instances.len() == 2, "{group:?}");
    let spark = bed.spark.as_ref().context("no Spark master")?;
    let mut hosts: Vec<&str> = group.instances.iter().map(|instance| instance.private_ip.as_str()).collect();
    hosts.sort_unstable();
    wait_until("a worker on each instance and one driver", logwise_tests::PATIENCE, async || {
        let page = overview(&format!("{}:{}", spark.host, spark.ui_port)).await?;
        ensure!(page.alive_hosts() == hosts, "{:?} are alive, the instances are {hosts:?}", page.alive_hosts());
        ensure!(page.activedrivers.len() == 1, "{:?}", page.activedrivers);
        Ok(())
    })
    .await?;
    let raises = bed.stand_in().calls(GROUP, true).await?;
    ensure!(raises.iter().filter(|call| call.action == "SetDesiredCapacity").count() == 1, "{raises:?}");
    let writes = bed.stand_in().calls(BUCKET, true).await?;
    let writes = writes.iter().filter(|call| call.action == "PutBucketLifecycleConfiguration").count();
    ensure!(writes == 1, "the rules were written {writes} times");
    let document = bed.stand_in().lifecycle(BUCKET).await?.document.context("no lifecycle configuration")?;
    ensure!(FOREIGN_RULES.iter().all(|rule| document.contains(rule)), "{document}");
    for service in SERVICES {
        let prefix = format!("logs/service_name={service}/");
        ensure!(document.contains(&format!("<Prefix>{prefix}</Prefix>")), "no rule for {service}: {document}");
        let files = bed.stand_in().objects(BUCKET, &prefix).await?;
        ensure!(files.iter().any(|file| file.key.ends_with(".parquet") && file.size > 0), "no log line of {service}");
    }
    let offsets = bed.stand_in().objects(BUCKET, "checkpoint/application/commits/").await?;
    ensure!(!offsets.is_empty(), "the streaming job committed no batch");
    let rows = bed.query(&format!("SELECT COUNT(*) FROM {SCHEMA}.logwise_objects WHERE deleted = 0")).await?;
    ensure!(rows.trim() == "2", "{rows} rows");
    for object in ["lwc/demo", "lrp/default"] {
        let text = bed.kubectl(&["get", object, "-n", NAMESPACE, "-o", "json"], None).await?;
        let object: Value = serde_json::from_str(&text)?;
        let ready = logwise_tests::condition(&object, "Ready").context("no Ready")?;
        ensure!(ready["status"] == "True", "{ready}");
    }
    Ok(())
}

#[tokio::test]
async fn the_demo_shows_what_it_promises_twice_and_leaves_nothing() -> Result<()> {
    let dir = testbed()?.ancestors().nth(2).context("target")?.join("demo-test");
    let ended = Ended(dir.clone());
    let (first, progress) = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || demo(&dir)
    })
    .await??;
    let systems = ["Kafka", "Auto Scaling", "Spark", "S3 lifecycle", "S3 objects", "MariaDB", "Kubernetes"];
    for system in systems {
        ensure!(first.lines().any(|line| line.starts_with(system)), "no row for {system} in\n{first}");
    }
    ensure!(first.trim_end().ends_with(" down"), "{first}");
    ensure!(progress.matches("one approval, of exactly this").count() == 1, "{progress}");
    ensure!(!progress.contains("already runs"), "{progress}");
    let parts = [Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark];
    let bed = Bed::attach_to(&dir, &parts)?;
    assert_outside(&bed).await?;
    let again = dir.clone();
    let (second, progress) = tokio::task::spawn_blocking(move || demo(&again)).await??;
    ensure!(systems.iter().all(|system| second.lines().any(|line| line.starts_with(system))), "{second}");
    ensure!(progress.contains("already runs") && !progress.contains("one approval, of exactly this"), "{progress}");
    assert_outside(&bed).await?;
    logwise_tests::replay::replayed_in(&bed, SCHEMA).await?;
    ensure!(
        processes(&bed.dir).len() > 10,
        "the servers cannot be told from other processes: {:?}",
        processes(&bed.dir)
    );
    let down = command(&dir, "down")?;
    ensure!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    let status = command(&dir, "status")?;
    ensure!(String::from_utf8_lossy(&status.stdout).contains("no bed runs"), "{status:?}");
    ensure!(processes(&bed.dir).is_empty(), "left: {:?}", processes(&bed.dir));
    drop(ended);
    Ok(())
}
