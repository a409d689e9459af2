//! O5: a refusal is shown while it lasts, and no longer.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::conditions;
use crate::world::World;

/// The reason that a refusal must have in a condition of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `logwisecluster`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The condition's type, such as `Stalled`; none is any.
    pub condition: Option<String>,
    /// Such as `AccessDenied`.
    pub reason: String,
}

impl Refusal {
    /// In any condition of an object.
    pub fn new(kind: &str, name: &str, reason: &str) -> Refusal {
        Refusal { kind: kind.to_owned(), name: name.to_owned(), condition: None, reason: reason.to_owned() }
    }

    /// In the condition of this type.
    pub fn within(self, condition: &str) -> Refusal {
        Refusal { condition: Some(condition.to_owned()), ..self }
    }

    /// Waits until the reason is there for the object's current generation. Errors after `time`, with the conditions
    /// that are there instead.
    pub async fn shows_up(&self, world: &World, time: Duration) -> Result<()> {
        let what = format!("{} {} shows {}", self.kind, self.name, self.reason);
        world.wait_until(&what, time, async || self.shown(&self.object(world).await?)).await
    }

    /// Waits until no condition has the reason any more. Errors after `time`, or when the object is gone.
    pub async fn is_gone(&self, world: &World, time: Duration) -> Result<()> {
        let what = format!("{} {} no longer shows {}", self.kind, self.name, self.reason);
        world.wait_until(&what, time, async || self.absent(&self.object(world).await?)).await
    }

    async fn object(&self, world: &World) -> Result<Value> {
        world.get_json(&self.kind, &self.name).await
    }

    fn hits<'a>(&'a self, object: &'a Value) -> impl Iterator<Item = &'a Value> {
        conditions(object).filter(|one| {
            one["reason"] == self.reason.as_str()
                && self.condition.as_ref().is_none_or(|wanted| one["type"] == wanted.as_str())
        })
    }

    fn shown(&self, object: &Value) -> Result<()> {
        let (current, mut hits) = (&object["metadata"]["generation"], self.hits(object));
        let of_now = |one: &Value| one["observedGeneration"].is_null() || one["observedGeneration"] == *current;
        ensure!(hits.any(of_now), "its conditions are {}", object["status"]["conditions"]);
        Ok(())
    }

    fn absent(&self, object: &Value) -> Result<()> {
        match self.hits(object).next() {
            Some(one) => bail!("it still has {one}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reason_counts_in_its_condition_and_for_the_current_generation() {
        let object = |generation: i64| {
            json!({"metadata": {"generation": 2}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "AccessDenied", "observedGeneration": generation}]}})
        };
        let refusal = Refusal::new("lwc", "demo", "AccessDenied");
        refusal.shown(&object(2)).unwrap();
        assert!(refusal.shown(&object(1)).is_err(), "said of an older generation");
        assert!(refusal.absent(&object(1)).is_err(), "a stale reason is still shown");
        let elsewhere = refusal.clone().within("KafkaReady");
        assert!(elsewhere.shown(&object(2)).is_err() && elsewhere.absent(&object(2)).is_ok());
        let error = refusal.shown(&json!({"status": {"conditions": [{"reason": "Other"}]}})).unwrap_err();
        assert!(error.to_string().contains("Other"), "{error}");
    }
}
