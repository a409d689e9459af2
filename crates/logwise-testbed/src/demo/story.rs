//! Applies the quickstart, approves one plan and waits for what was promised.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ground::{self, BUCKET, GROUP, NAMESPACE, OLD_SERVICES, SERVICES};
use crate::bed::Bed;
use crate::progress::Progress;
use crate::spark::{Overview, overview};
use crate::stream;
use crate::world::wait_until;

/// Longest wait for one chapter; the job's first batch may take minutes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(420);

/// Seconds from `kubectl apply` until each chapter was true, by its name.
pub type Seconds = BTreeMap<&'static str, f64>;

/// Runs the story to its end.
pub async fn tell(bed: &Bed, progress: &Progress) -> Result<Seconds> {
    let start = Instant::now();
    progress.say("kubectl apply: examples/quickstart, with this bed's Kafka and Spark addresses");
    for object in ground::quickstart(bed)? {
        let answer = bed.kubectl(&["apply", "-n", NAMESPACE, "-f", "-"], Some(&object)).await?;
        progress.say(answer.trim());
    }
    let mut seconds = Seconds::new();
    let mut chapter = async |name: &'static str,
                             what: &str,
                             work: std::pin::Pin<Box<dyn Future<Output = Result<()>> + '_>>|
           -> Result<()> {
        progress.step(what, work).await?;
        seconds.insert(name, start.elapsed().as_secs_f64());
        Ok(())
    };
    chapter("topics", "topics grow from 1 to 3 partitions", Box::pin(topics(bed))).await?;
    chapter("group", "the group grows from 1 to 2 instances", Box::pin(instances(bed))).await?;
    chapter("workers", "two real workers register with the Spark master", Box::pin(workers(bed))).await?;
    chapter("objects", "the streaming job moves log lines from Kafka to S3", Box::pin(job(bed, progress))).await?;
    chapter("rules", "one approval: the bucket already holds logs", Box::pin(approval(bed, progress))).await?;
    chapter("ready", "kubectl wait --for=condition=Ready", Box::pin(ready(bed))).await?;
    chapter("sql", "the mirror in MariaDB", Box::pin(mirrored(bed))).await?;
    Ok(seconds)
}

async fn get(bed: &Bed, kind: &str, name: &str) -> Result<Value> {
    let text = bed.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"], None).await?;
    serde_json::from_str(&text).with_context(|| format!("reading {kind} {name}"))
}

async fn topics(bed: &Bed) -> Result<()> {
    wait_until("3 partitions of every topic", PATIENCE, async || {
        let object = get(bed, "lwc", "demo").await?;
        let kafka = &object["status"]["kafka"];
        ensure!(kafka["partitions"] == 3 * SERVICES.len(), "status.kafka: {kafka}");
        Ok(())
    })
    .await
}

async fn instances(bed: &Bed) -> Result<()> {
    wait_until("2 instances", PATIENCE, async || {
        let group = bed.stand_in().group(GROUP).await?;
        ensure!(group.desired == 2 && group.instances.len() == 2, "{group:?}");
        Ok(())
    })
    .await
}

/// What the master's own page says.
pub async fn master(bed: &Bed) -> Result<Overview> {
    let spark = bed.spark.as_ref().context("the bed has no Spark master")?;
    overview(&format!("{}:{}", spark.host, spark.ui_port)).await
}

async fn workers(bed: &Bed) -> Result<()> {
    wait_until("2 alive workers", PATIENCE, async || {
        let page = master(bed).await?;
        ensure!(page.alive_hosts().len() == 2, "alive: {:?}", page.alive_hosts());
        Ok(())
    })
    .await
}

/// Submits the job unless a driver runs, and waits for files of every service.
async fn job(bed: &Bed, progress: &Progress) -> Result<()> {
    if master(bed).await?.activedrivers.is_empty() {
        let site = bed.site()?;
        let job = stream::Job::of(bed, BUCKET, "logs[.].*")?;
        let id = stream::submit(&site.tools.spark, &job).await?;
        progress.say(format_args!("submitted {} as {id}", stream::MAIN_CLASS));
    }
    wait_until("files of every service in S3", PATIENCE, async || {
        for service in SERVICES {
            let files = bed.stand_in().objects(BUCKET, &format!("logs/service_name={service}/")).await?;
            ensure!(files.iter().any(|file| file.key.ends_with(".parquet")), "no file of {service} yet");
        }
        Ok(())
    })
    .await
}

/// Waits until the plan names every service, shows it and approves it as its message says, then waits for the rules.
/// When the plan has become another one meanwhile, that one is shown and approved.
async fn approval(bed: &Bed, progress: &Progress) -> Result<()> {
    let all = OLD_SERVICES.len() + SERVICES.len();
    wait_until("the rules in S3", PATIENCE, async || {
        let document = bed.stand_in().lifecycle(BUCKET).await?.document.unwrap_or_default();
        let rules = document.matches("<ID>logwise.io/").count();
        if rules == all {
            return Ok(());
        }
        let policy = get(bed, "lrp", "default").await?;
        let plan = &policy["status"]["plan"];
        let entries = plan["entries"].as_array().map_or(0, Vec::len);
        ensure!(entries == all, "{rules} rules, and the plan names {entries} of {all} services: {}", policy["status"]);
        let id = plan["id"].as_str().context("the plan has no id")?;
        let approved = approved(&policy);
        if !approved.iter().any(|one| one == id) {
            show(plan, progress);
            approve(bed, progress, with(approved, id)).await?;
        }
        bail!("{rules} of {all} rules are there, plan {id} is approved")
    })
    .await
}

fn approved(policy: &Value) -> Vec<String> {
    let ids = policy["spec"]["changePolicy"]["approvedPlans"].as_array().map(Vec::as_slice).unwrap_or_default();
    ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// The list takes 4 ids: the oldest go.
fn with(mut approved: Vec<String>, id: &str) -> Vec<String> {
    approved.push(id.to_owned());
    approved.split_off(approved.len().saturating_sub(4))
}

fn show(plan: &Value, progress: &Progress) {
    let entries = plan["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    progress.say(format_args!(
        "plan {} would let existing objects of {} services go earlier:",
        plan["id"].as_str().unwrap_or_default(),
        entries.len()
    ));
    for entry in entries {
        let from = entry["fromDays"].as_i64().map_or_else(|| "never".to_owned(), |days| format!("{days} days"));
        let service = entry["service"].as_str().unwrap_or_default();
        progress.say(format_args!("  {service:<16} {from} -> {} days", entry["toDays"]));
    }
}

async fn approve(bed: &Bed, progress: &Progress, ids: Vec<String>) -> Result<()> {
    let patch = json!({"spec": {"changePolicy": {"approvedPlans": ids}}}).to_string();
    progress.say(format_args!(
        "one approval, of exactly this: kubectl -n {NAMESPACE} patch retentionpolicy default --type merge -p '{patch}'"
    ));
    bed.kubectl(&["-n", NAMESPACE, "patch", "retentionpolicy", "default", "--type", "merge", "-p", &patch], None)
        .await
        .map(drop)
}

async fn ready(bed: &Bed) -> Result<()> {
    for object in ["lwc/demo", "lrp/default"] {
        wait_until(object, PATIENCE, async || {
            bed.kubectl(&["wait", object, "-n", NAMESPACE, "--for=condition=Ready", "--timeout=20s"], None).await
        })
        .await?;
    }
    Ok(())
}

async fn mirrored(bed: &Bed) -> Result<()> {
    wait_until("both objects in SQL", PATIENCE, async || {
        let rows =
            bed.query(&format!("SELECT COUNT(*) FROM {}.logwise_objects WHERE deleted = 0", ground::SCHEMA)).await?;
        if rows.trim() != "2" {
            bail!("{} rows", rows.trim());
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_keeps_the_newest_four() {
        let policy = json!({"spec": {"changePolicy": {"approvedPlans": ["a", "b", "c", "d"]}}});
        assert_eq!(with(approved(&policy), "e"), ["b", "c", "d", "e"]);
        assert_eq!(with(approved(&json!({"spec": {}})), "a"), ["a"]);
    }
}
