//! What each outside system holds now, read by a tool of its own, beside what was wanted.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::ground::{BUCKET, FOREIGN_RULES, GROUP, NAMESPACE, OLD_SERVICES, SCHEMA, SERVICES, topic};
use super::story::{self, Seconds};
use crate::bed::Bed;
use crate::environment::variables;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Outside system.
    pub system: &'static str,
    /// What the resources ask for.
    pub wanted: String,
    /// What the system holds.
    pub holds: String,
    /// The tool that read it.
    pub read_by: &'static str,
    /// From `kubectl apply` until it was so.
    pub seconds: Option<f64>,
    /// Whether `holds` is what is wanted.
    pub good: bool,
}

/// Asks every system.
pub async fn rows(bed: &Bed, seconds: &Seconds) -> Result<Vec<Row>> {
    let (kafka, group, workers, rules, objects, sql, conditions) =
        futures::try_join!(kafka(bed), group(bed), workers(bed), rules(bed), objects(bed), sql(bed), conditions(bed))?;
    let timed = [
        (kafka, "topics"),
        (group, "group"),
        (workers, "workers"),
        (rules, "rules"),
        (objects, "objects"),
        (sql, "sql"),
        (conditions, "ready"),
    ];
    let rows: Vec<Row> =
        timed.into_iter().map(|(row, chapter)| Row { seconds: seconds.get(chapter).copied(), ..row }).collect();
    let bad: Vec<&Row> = rows.iter().filter(|row| !row.good).collect();
    ensure!(bad.is_empty(), "not as wanted:\n{}", lines(&rows).join("\n"));
    Ok(rows)
}

/// The table as text.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let cells = |row: &Row| {
        let seconds = row.seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0}"));
        [row.system.to_owned(), row.wanted.clone(), row.holds.clone(), row.read_by.to_owned(), seconds]
    };
    let head = ["SYSTEM", "WANTED", "HOLDS NOW", "READ BY", "SECONDS"].map(str::to_owned);
    let all: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..5).map(width).collect();
    all.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// A row without its time.
fn row(system: &'static str, wanted: String, holds: String, read_by: &'static str, good: bool) -> Row {
    Row { system, wanted, holds, read_by, seconds: None, good }
}

async fn kafka(bed: &Bed) -> Result<Row> {
    let mut holds = Vec::new();
    for service in SERVICES {
        let found = bed.kafka_topics_describe(&topic(service)).await?;
        holds.push((topic(service), found.partitions));
    }
    let good = holds.iter().all(|(_, partitions)| *partitions == 3);
    let text: Vec<String> = holds.iter().map(|(topic, partitions)| format!("{topic}: {partitions}")).collect();
    Ok(row("Kafka", "3 partitions a topic".into(), text.join(", "), "kafka-topics", good))
}

/// Runs boto3 in a process of its own.
async fn boto3(bed: &Bed, words: &[&str]) -> Result<Value> {
    let mut command = Command::new(bed.dir.join("bin/witness"));
    command.args(words).envs(variables(&bed.folder)?).kill_on_drop(true);
    let output = command.output().await.context("running the witness")?;
    ensure!(output.status.success(), "witness {}: {}", words.join(" "), String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).context("reading the witness")
}

async fn group(bed: &Bed) -> Result<Row> {
    let group = boto3(bed, &["group", GROUP]).await?;
    let instances = group["instances"].as_array().map_or(0, Vec::len);
    let holds = format!("desired {}, {instances} instances", group["desired"]);
    Ok(row("Auto Scaling", "at least 2 instances".into(), holds, "boto3", group["desired"] == 2 && instances == 2))
}

async fn workers(bed: &Bed) -> Result<Row> {
    let page = story::master(bed).await?;
    let (alive, drivers) = (page.alive_hosts().len(), page.activedrivers.len());
    let holds = format!("{alive} alive workers, {drivers} driver");
    Ok(row("Spark", "2 workers".into(), holds, "the master's JSON", alive == 2 && drivers == 1))
}

async fn rules(bed: &Bed) -> Result<Row> {
    let answer = boto3(bed, &["lifecycle", BUCKET]).await?;
    let document = answer["document"].as_str().unwrap_or_default();
    let ours = document.matches("<ID>logwise.io/").count();
    let foreign = FOREIGN_RULES.iter().filter(|rule| document.contains(*rule)).count();
    let services = SERVICES.len() + OLD_SERVICES.len();
    let wanted = format!("a 30 day rule for {services} services");
    let holds = format!("{ours} rules of ours, {foreign} of others byte-equal");
    Ok(row("S3 lifecycle", wanted, holds, "boto3", ours == services && foreign == FOREIGN_RULES.len()))
}

async fn objects(bed: &Bed) -> Result<Row> {
    let answer = boto3(bed, &["objects", BUCKET, "logs/service_name="]).await?;
    let objects = answer["objects"].as_array().cloned().unwrap_or_default();
    let new = |key: &str| SERVICES.iter().any(|service| key.contains(&format!("service_name={service}/")));
    let files = objects.iter().filter_map(|o| o["key"].as_str()).filter(|key| new(key) && key.ends_with(".parquet"));
    let files = files.count();
    let holds = format!("{files} parquet files of {} live services", SERVICES.len());
    Ok(row("S3 objects", "log lines as parquet".into(), holds, "boto3", files >= SERVICES.len()))
}

async fn sql(bed: &Bed) -> Result<Row> {
    let count = async |table: &str| -> Result<u64> {
        let text = bed.query(&format!("SELECT COUNT(*) FROM {SCHEMA}.{table}")).await?;
        text.trim().parse().with_context(|| format!("counting {table}"))
    };
    let (objects, decisions) = (count("logwise_objects WHERE deleted = 0").await?, count("logwise_decisions").await?);
    let holds = format!("{objects} objects, {decisions} decisions");
    Ok(row("MariaDB", "2 objects mirrored".into(), holds, "mariadb client", objects == 2 && decisions > 0))
}

async fn conditions(bed: &Bed) -> Result<Row> {
    let path = "{range .items[*]}{.kind}/{.metadata.name}={.status.conditions[?(@.type==\"Ready\")].status} {end}";
    let path = format!("jsonpath={path}");
    let text = bed.kubectl(&["get", "lwc,lrp", "-n", NAMESPACE, "-o", &path], None).await?;
    let good = text.split_whitespace().count() == 2 && text.split_whitespace().all(|one| one.ends_with("=True"));
    Ok(row("Kubernetes", "Ready".into(), text.trim().replace(' ', ", "), "kubectl", good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let one = row("Kafka", "3".into(), "logs.a: 3".into(), "kafka-topics", true);
        let lines = lines(&[Row { seconds: Some(4.4), ..one }]);
        assert_eq!(
            lines,
            ["SYSTEM  WANTED  HOLDS NOW  READ BY       SECONDS", "Kafka   3       logs.a: 3  kafka-topics  4"]
        );
    }
}
