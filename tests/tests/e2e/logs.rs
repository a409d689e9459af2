//! What the operator logs, as whoever collects the lines sees it.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, policy};
use serde_json::{Value, json};

/// The fields of the first JSON line with this message.
fn line(operator: &Operator, message: &str) -> Result<Value> {
    let log = operator.log()?;
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["message"] == message).with_context(|| format!("no line {message:?}"))
}

#[tokio::test]
async fn a_json_line_tells_what_failed_and_why() -> Result<()> {
    let world = World::new(&Bed::attach()?, "logs").await?;
    world.create_topic("api", 1).await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let proxy = world.kubernetes_proxy().await?;
    let refusal = Action::answer(503, "ServiceUnavailable");
    proxy.add(Rule::new("/retentionpolicies/all(\\?|$)", refusal)?.method("PATCH").times(0));
    let mut operator = Operator::start(&world, Options::default().behind(&proxy)).await?;
    operator.wait_ready().await?;
    // What is open to everybody is said at every start.
    for warning in ["no grants are configured", "allowInsecureEndpoints"] {
        let lines = operator.log()?;
        let found = lines.lines().any(|line| line.contains("\"WARN\"") && line.contains(warning));
        ensure!(found, "no warning {warning:?} at the start:\n{lines}");
    }
    // Nothing waits for an approval, so the first rule is to be written at once.
    let (mut pipeline, mut policy) = (cluster(&world, "demo"), policy("all", "demo", 30));
    for object in [&mut pipeline, &mut policy] {
        object["spec"]["changePolicy"] = json!({"approval": "Never"});
    }
    apply(&world, &[&pipeline, &policy]).await?;
    let line = world
        .wait_until("the line about the finalizer", PATIENCE, async || {
            line(&operator, "no rule is written before its policy has a finalizer")
        })
        .await?;
    let error = line["error"].as_str().with_context(|| format!("no text: {line}"))?;
    let (what, why) = error.split_once(": ").with_context(|| format!("no cause: {error}"))?;
    ensure!(what.contains("did not take the finalizer"), "{error}");
    ensure!(why.contains("503") || why.contains("ServiceUnavailable"), "{error}");
    Ok(())
}
