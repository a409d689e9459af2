//! What every test of the operator may ask afterwards: is the world as it should be, and did it get there decently?
//!
//! | | Question | Module |
//! |---|---|---|
//! | O1 | is the end state that of a run without faults? | [`end_state`] |
//! | O2 | did each effect happen once? | [`effects`] |
//! | O3 | was nothing forbidden asked for on the way? | [`invariants`], [`lifecycle`], [`workers`] |
//! | O4 | is it quiet afterwards? | [`quiet`] |
//! | O5 | do conditions tell the truth? | [`truth`] |
//! | O6 | is no secret anywhere? | [`secrets`] |

pub mod effects;
pub mod end_state;
pub mod invariants;
pub mod lifecycle;
pub mod quiet;
pub mod secrets;
pub mod truth;
pub mod workers;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::world::World;

/// Every object of the operator's kinds in the world's namespace.
async fn objects(world: &World) -> Result<Vec<Value>> {
    let known = world.bed.kubectl(&["get", "crd", "-o", "name"], None).await?;
    let names = known.lines().filter_map(|line| line.rsplit('/').next()).filter(|name| name.ends_with(".logwise.io"));
    list(world, &names.collect::<Vec<_>>().join(",")).await
}

/// Every object of these kinds, joined by commas, in the world's namespace.
async fn list(world: &World, kinds: &str) -> Result<Vec<Value>> {
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let text = world.kubectl(&["get", kinds, "-o", "json"]).await?;
    let mut list: Value = serde_json::from_str(&text)?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        other => bail!("kubectl lists {other} for {kinds}"),
    }
}

/// `Kind/name` of an object.
fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The object's conditions.
fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

/// Errors with every finding on a line of its own; none is success.
pub(crate) fn verdict(question: &str, findings: &[String]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{question}: {} findings\n  {}", findings.len(), findings.join("\n  "))
}
