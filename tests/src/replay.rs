//! Decisions of the Spark part, made again from what is on record about them: the same inputs give the same answer.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use logwise_plan::{checks, driver, workers};
use logwise_testbed::world::World;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{Connection, Row};
use std::time::Duration;

/// How long records may be on their way to the database.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// What is on record beside the actions of a plan about workers, and why they were planned.
const REASONS: [&str; 5] = ["size", "signals", "ranking", "holds", "nextLookSeconds"];

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
        let decisions = recorded(world).await?;
        ensure!(!decisions.is_empty(), "none is on record");
        Ok(decisions)
    });
    for decision in decisions.await? {
        again(&decision).with_context(|| format!("decision {} planned again", decision.id))?;
    }
    Ok(())
}

/// Those of the world's SQLite file and of its schema, as far as there are any.
async fn recorded(world: &World) -> Result<Vec<Recorded>> {
    let mut decisions = in_sqlite(world).await?;
    decisions.extend(in_schema(world).await?);
    Ok(decisions)
}

async fn in_sqlite(world: &World) -> Result<Vec<Recorded>> {
    let file = world.bed.dir.join(format!("worlds/{}/operator.db", world.id));
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let mut database = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await?;
    let query = "SELECT id, inputs, actions, holds FROM logwise_decisions WHERE part = 'spark' ORDER BY decided_at, id";
    let rows = sqlx::query(query).fetch_all(&mut database).await.context("reading the decisions in SQLite")?;
    let row = |row: &sqlx::sqlite::SqliteRow| {
        let [id, inputs, actions, holds]: [String; 4] = [row.get(0), row.get(1), row.get(2), row.get(3)];
        Recorded::of([&id, &inputs, &actions, &holds])
    };
    rows.iter().map(row).collect()
}

async fn in_schema(world: &World) -> Result<Vec<Recorded>> {
    let schema = &world.schema;
    let count = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'logwise_decisions'";
    let tables = world.bed.query(&format!("{count} AND table_schema = '{schema}'")).await?;
    if tables.trim() != "1" {
        return Ok(Vec::new());
    }
    // The client escapes what stands in texts.
    let columns = "HEX(id), HEX(inputs), HEX(actions), HEX(holds)";
    let rows = world
        .query(&format!("SELECT {columns} FROM logwise_decisions WHERE part = 'spark' ORDER BY decided_at, id"))
        .await?;
    rows.lines().map(row).collect()
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
    // Of a long order only the begin is on record.
    let told = inputs["explained"]["ranking"].as_array().map_or(0, Vec::len);
    let ranking: Vec<_> = plan.ranking.iter().take(told).collect();
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

    #[test]
    fn rows_of_the_client_are_read() {
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
        let line = ["u-1", "{\"a\":\"\\t\"}", "[]", "{}"].map(hex).join("\t");
        let read = row(&line).unwrap();
        assert_eq!((read.id.as_str(), &read.inputs, &read.actions), ("u-1", &json!({"a": "\t"}), &json!([])));
        assert!(row("00").is_err() && unhex("0g").is_err());
    }
}
