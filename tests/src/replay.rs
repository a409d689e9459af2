//! Decisions of the Spark part, made again from what is on record about them: the same inputs give the same answer.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use logwise_plan::{checks, driver, workers};
use logwise_testbed::bed::Bed;
use logwise_testbed::world::World;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{Connection, Row};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long records may be on their way to the database.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// What is on record beside the actions of a plan about workers, and why they were planned.
const REASONS: [&str; 5] = ["size", "signals", "ranking", "holds", "nextLookSeconds"];

/// Of a long order only the begin is on record.
const MOST_RANKED: usize = 20;

/// A decision on record.
#[derive(Debug)]
struct Recorded {
    id: String,
    inputs: Value,
    actions: Value,
    holds: Value,
}

impl Recorded {
    fn of([id, inputs, actions, holds]: [&str; 4]) -> Result<Self> {
        let read = |text: &str| serde_json::from_str(text).with_context(|| format!("decision {id}: {text}"));
        Ok(Self { id: id.to_owned(), inputs: read(inputs)?, actions: read(actions)?, holds: read(holds)? })
    }
}

/// Plans again whatever the Spark part has decided in this world, about workers and about drivers, from the inputs that
/// are on record in its SQLite file and in its schema. Errors with the first decision that comes out otherwise, or that
/// breaks a rule of plans, and when none is on record.
pub async fn replayed(world: &World) -> Result<()> {
    let decisions = world.wait_until("decisions of the Spark part", WRITTEN_WITHIN, async || {
        let decisions = recorded(&world.bed, &world.id, &schemas(&world.bed).await?).await?;
        ensure!(!decisions.is_empty(), "none is on record");
        Ok(decisions)
    });
    all_again(&decisions.await?)
}

/// The same of what is on record in this schema of the bed.
pub async fn replayed_in(bed: &Bed, schema: &str) -> Result<()> {
    let decisions = in_schema(bed, schema).await?;
    ensure!(!decisions.is_empty(), "none is on record in {schema}");
    all_again(&decisions)
}

/// What was planned again of all worlds of a bed.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Worlds that have decisions of the Spark part on record.
    pub worlds: usize,
    /// Their decisions.
    pub decisions: usize,
    /// Those that came out otherwise, or broke a rule, each with its world.
    pub differing: Vec<String>,
}

/// The same of every world of the bed that an operator has been started in since then.
pub async fn replayed_since(bed: &Bed, since: SystemTime) -> Result<Replayed> {
    let (schemas, mut all) = (schemas(bed).await?, Replayed::default());
    for entry in std::fs::read_dir(bed.dir.join("worlds")).context("listing the worlds")? {
        let entry = entry?;
        // Its configuration is written there when an operator starts.
        if entry.metadata()?.modified()? < since {
            continue;
        }
        let world = entry.file_name().to_string_lossy().into_owned();
        let decisions = recorded(bed, &world, &schemas).await.with_context(|| format!("decisions of {world}"))?;
        all.worlds += usize::from(!decisions.is_empty());
        all.decisions += decisions.len();
        let differs = |decision: &Recorded| Some(format!("{world}, {}: {:#}", decision.id, again(decision).err()?));
        all.differing.extend(decisions.iter().filter_map(differs));
    }
    Ok(all)
}

/// Those of the world's SQLite file and of its schema, as far as there are any.
async fn recorded(bed: &Bed, world: &str, schemas: &BTreeSet<String>) -> Result<Vec<Recorded>> {
    let mut decisions = in_sqlite(&bed.dir.join(format!("worlds/{world}/operator.db"))).await?;
    if schemas.contains(world) {
        decisions.extend(in_schema(bed, world).await?);
    }
    Ok(decisions)
}

async fn in_sqlite(file: &Path) -> Result<Vec<Recorded>> {
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let mut database = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await?;
    let tables = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'logwise_decisions'");
    if tables.fetch_optional(&mut database).await.context("reading the tables in SQLite")?.is_none() {
        return Ok(Vec::new());
    }
    let query = "SELECT id, inputs, actions, holds FROM logwise_decisions WHERE part = 'spark' ORDER BY decided_at, id";
    let rows = sqlx::query(query).fetch_all(&mut database).await.context("reading the decisions in SQLite")?;
    let row = |row: &sqlx::sqlite::SqliteRow| {
        let [id, inputs, actions, holds]: [String; 4] = [row.get(0), row.get(1), row.get(2), row.get(3)];
        Recorded::of([&id, &inputs, &actions, &holds])
    };
    rows.iter().map(row).collect()
}

/// The schemas of a bed that decisions are on record in; that of a world has its name.
async fn schemas(bed: &Bed) -> Result<BTreeSet<String>> {
    let query = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'logwise_decisions'";
    Ok(bed.query(query).await?.lines().map(|line| line.trim().to_owned()).collect())
}

async fn in_schema(bed: &Bed, schema: &str) -> Result<Vec<Recorded>> {
    // The client escapes what stands in texts.
    let columns = "HEX(id), HEX(inputs), HEX(actions), HEX(holds)";
    let query = format!("FROM `{schema}`.logwise_decisions WHERE part = 'spark' ORDER BY decided_at, id");
    bed.query(&format!("SELECT {columns} {query}")).await?.lines().map(row).collect()
}

fn row(line: &str) -> Result<Recorded> {
    let texts: Vec<String> = line.split('\t').map(unhex).collect::<Result<_>>()?;
    let [id, inputs, actions, holds] = texts.as_slice() else { bail!("no row of four columns: {line}") };
    Recorded::of([id, inputs, actions, holds])
}

fn unhex(digits: &str) -> Result<String> {
    let byte = |pair: &[u8]| -> Result<u8> { Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?) };
    let bytes: Vec<u8> = digits.trim().as_bytes().chunks(2).map(byte).collect::<Result<_>>()?;
    Ok(String::from_utf8(bytes)?)
}

/// What a plan comes to.
struct Answer {
    actions: Value,
    holds: Value,
    /// The reasons that stand among the inputs; null for drivers.
    explained: Value,
    /// Rules that the plan breaks.
    broken: Vec<String>,
}

fn all_again(decisions: &[Recorded]) -> Result<()> {
    decisions.iter().try_for_each(|one| again(one).with_context(|| format!("decision {} planned again", one.id)))
}

fn again(decision: &Recorded) -> Result<()> {
    let inputs = &decision.inputs;
    let is_about_workers = !inputs["policy"]["pool"].is_null();
    let answer = if is_about_workers { about_workers(inputs)? } else { about_driver(inputs)? };
    let same = |what: &str, before: &Value, now: &Value| -> Result<()> {
        ensure!(before == now, "{what} are {now}, and on record are {before}");
        Ok(())
    };
    same("actions", &decision.actions, &answer.actions)?;
    same("holds", &decision.holds, &answer.holds)?;
    same("reasons", &inputs["explained"], &answer.explained)?;
    ensure!(answer.broken.is_empty(), "it breaks rules: {}", answer.broken.join("; "));
    Ok(())
}

/// One of the inputs.
fn input<T: DeserializeOwned>(inputs: &Value, name: &str) -> Result<T> {
    serde_json::from_value(inputs[name].clone()).with_context(|| format!("input `{name}`: {}", inputs[name]))
}

fn about_driver(inputs: &Value) -> Result<Answer> {
    let (policy, observed, now): (driver::Policy, driver::Observed, Timestamp) =
        (input(inputs, "policy")?, input(inputs, "observed")?, input(inputs, "now")?);
    let plan = driver::plan(&policy, &observed, now);
    let broken = checks::driver::violations(&policy, &observed, &plan, now);
    let kill = plan.kill.map(|kill| json!({"kill": kill}));
    let submit = plan.submit.map(|submit| json!({"submit": submit}));
    let actions = kill.into_iter().chain(submit).collect();
    Ok(Answer { actions, holds: json!(plan.holds), explained: Value::Null, broken })
}

fn about_workers(inputs: &Value) -> Result<Answer> {
    let (policy, observed, now): (workers::Policy, workers::Observed, Timestamp) =
        (input(inputs, "policy")?, input(inputs, "observed")?, input(inputs, "now")?);
    let plan = workers::plan(&policy, &observed, now);
    let broken = checks::workers::violations(&policy, &observed, &plan, now);
    let ranking: Vec<_> = plan.ranking.iter().take(MOST_RANKED).collect();
    let explained = json!({"size": plan.size, "signals": plan.signals, "ranking": ranking});
    let mut actions = json!(plan);
    if let Some(members) = actions.as_object_mut() {
        members.retain(|name, _| !REASONS.contains(&name.as_str()));
    }
    Ok(Answer { actions, holds: json!(plan.holds), explained, broken })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that has been missing for so many seconds, of the ninety that are waited.
    fn missing(seconds: u32) -> Recorded {
        let policy = json!({"mode": "Managed", "mainClass": "M", "supervise": true, "absentSeconds": 90,
            "stalledSeconds": 300, "lookPeriodSeconds": 30});
        let observed = json!({"master": "m:7077", "drivers": {"known": []}, "absentFor": seconds});
        let inputs = json!({"policy": policy, "observed": observed, "now": "2026-11-28T12:00:00Z"});
        let submit = json!([{"submit": {"why": "missing", "known": []}}]);
        Recorded { id: "u-spark-driver-1".into(), inputs, actions: submit, holds: json!([]) }
    }

    #[test]
    fn the_same_inputs_give_the_same_answer_and_another_one_is_named() {
        again(&missing(90)).unwrap();
        let told = format!("{:#}", again(&missing(89)).unwrap_err());
        assert!(told.contains("actions are []") && told.contains("on record are [{\"submit\""), "{told}");
        let mut held = missing(89);
        held.actions = json!([]);
        let told = format!("{:#}", again(&held).unwrap_err());
        assert!(told.contains("holds are [{") && told.contains("on record are []"), "{told}");
        held.inputs["observed"] = json!({"drivers": "nowhere"});
        assert!(format!("{:#}", again(&held).unwrap_err()).contains("input `observed`"));
    }

    #[test]
    fn a_plan_about_workers_is_compared_with_its_reasons() {
        let policy = json!({"pool": {"autoScalingGroup": "g"}, "size": {"fixed": 2}, "lookPeriodSeconds": 30});
        let observed = json!({"pool": "absent", "cluster": "absent"});
        let explained = json!({"size": null, "signals": [], "ranking": []});
        let inputs = json!({"policy": policy, "observed": observed, "now": "2026-11-28T12:00:00Z",
            "explained": explained});
        let (actions, holds) = (json!({}), json!([{"reason": "poolAbsent"}]));
        let mut decision = Recorded { id: "u-spark-workers-1".into(), inputs, actions, holds };
        again(&decision).unwrap();
        decision.inputs["explained"]["signals"] = json!([{"rate": "too few"}]);
        assert!(format!("{:#}", again(&decision).unwrap_err()).starts_with("reasons are "));
    }

    #[tokio::test]
    async fn a_file_of_sqlite_is_read_and_one_without_the_table_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("operator.db");
        assert!(in_sqlite(&file).await.unwrap().is_empty(), "there is no file");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let table = "CREATE TABLE logwise_decisions (id TEXT, part TEXT, inputs TEXT, actions TEXT, holds TEXT, \
                     decided_at TEXT)";
        let rows = "INSERT INTO logwise_decisions VALUES ('u-1', 'spark', '{}', '[]', '[]', '1'), \
                    ('u-2', 'kafka', '', '', '', '2')";
        assert!(in_sqlite(&file).await.unwrap().is_empty(), "there is no table");
        sqlx::query(table).execute(&mut database).await.unwrap();
        sqlx::query(rows).execute(&mut database).await.unwrap();
        let read = in_sqlite(&file).await.unwrap();
        assert_eq!(read.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["u-1"]);
        let told = format!("{:#}", all_again(&read).unwrap_err());
        assert!(told.starts_with("decision u-1 planned again: input `policy`"), "{told}");
    }

    #[test]
    fn rows_of_the_client_are_read() {
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
        let line = ["u-1", "{\"a\":\"\\t\"}", "[]", "{}"].map(hex).join("\t");
        let read = row(&line).unwrap();
        assert_eq!((read.id.as_str(), &read.inputs, &read.actions), ("u-1", &json!({"a": "\t"}), &json!([])));
        assert!(row("00").is_err() && unhex("0g").is_err());
    }
}
