//! What AWS does with a group by itself: how long it takes, what fails, and what happens now.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{StandIn, milliseconds};
use crate::{aws, http};

/// The key of those who work on groups by hand.
pub const ADMINISTRATOR: &str = "AKIAADMINISTRATOR000";

/// How long the steps of a group's instances take; none leaves the setting as it is. All but the last are zero at
/// first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// An instance is pending.
    pub pending: Option<Duration>,
    /// An instance is terminating, after its hooks.
    pub terminating: Option<Duration>,
    /// An instance is unhealthy before it is replaced.
    pub health: Option<Duration>,
    /// Before each step of an instance refresh.
    pub refresh: Option<Duration>,
    /// Until a failed launch is tried again: 5 s at first, at least 100 ms.
    pub retry: Option<Duration>,
}

/// The life of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Life {
    /// Milliseconds for which an instance is pending.
    pub pending_ms: u64,
    /// Milliseconds for which an instance is terminating.
    pub terminating_ms: u64,
    /// Milliseconds for which an instance is unhealthy before it is replaced.
    pub health_ms: u64,
    /// Milliseconds before each step of an instance refresh.
    pub refresh_ms: u64,
    /// Milliseconds until a failed launch is tried again.
    pub retry_ms: u64,
    /// Milliseconds by which the group's clock is ahead.
    pub ahead_ms: u64,
    /// Launches that will fail.
    pub failures: Option<Failures>,
    /// Instances that wait for a lifecycle action.
    pub waiting: Vec<Waiting>,
}

/// Launches that will fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failures {
    /// What AWS says.
    pub message: String,
    /// How many; 0 is all.
    pub times: u32,
}

/// An instance that waits for a lifecycle action.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Waiting {
    /// `i-...`.
    pub instance: String,
    /// The name of the hook.
    pub hook: String,
    /// `autoscaling:EC2_INSTANCE_LAUNCHING` or `autoscaling:EC2_INSTANCE_TERMINATING`.
    pub transition: String,
    /// The token of the action.
    pub token: String,
    /// Milliseconds until the hook gives up.
    pub left_ms: i64,
}

#[derive(Serialize)]
struct Wish<'a> {
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminating_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_ms: Option<u64>,
}

impl<'a> Wish<'a> {
    fn of(group: &'a str, pace: &Pace) -> Wish<'a> {
        Wish {
            group,
            pending_ms: pace.pending.map(milliseconds),
            terminating_ms: pace.terminating.map(milliseconds),
            health_ms: pace.health.map(milliseconds),
            refresh_ms: pace.refresh.map(milliseconds),
            retry_ms: pace.retry.map(milliseconds),
        }
    }
}

#[derive(Deserialize)]
struct Launched {
    launched: Vec<String>,
}

impl StandIn {
    /// The life of a group.
    pub async fn life(&self, group: &str) -> Result<Life> {
        self.ask(Method::GET, "/_life", &[("group", group)], None).await
    }

    /// Changes how long the steps of a group's instances take.
    pub async fn set_pace(&self, group: &str, pace: &Pace) -> Result<Life> {
        self.ask(Method::PUT, "/_life", &[], Some(serde_json::to_value(Wish::of(group, pace))?)).await
    }

    /// Moves the group's clock forward; all that falls due happens before this returns.
    pub async fn advance_clock(&self, group: &str, by: Duration) -> Result<Life> {
        let body = json!({"group": group, "advance_ms": milliseconds(by)});
        self.ask(Method::POST, "/_clock", &[], Some(body)).await
    }

    /// So many next launches of the group fail (0 is all), for want of capacity or for the reason given.
    pub async fn fail_launches(&self, group: &str, times: u32, message: Option<&str>) -> Result<()> {
        let body = json!({"group": group, "times": times, "message": message});
        self.tell(Method::POST, "/_failures", &[], Some(body)).await
    }

    /// Launches of the group work again, and are tried at once.
    pub async fn mend_launches(&self, group: &str) -> Result<()> {
        self.tell(Method::DELETE, "/_failures", &[("group", group)], None).await
    }

    /// Balances the group over its zones now; returns the ids of the instances that were launched for it.
    pub async fn rebalance(&self, group: &str) -> Result<Vec<String>> {
        let answer: Launched = self.ask(Method::POST, "/_rebalance", &[], Some(json!({"group": group}))).await?;
        Ok(answer.launched)
    }

    /// EC2 takes the machine of an instance away.
    pub async fn reclaim(&self, instance: &str) -> Result<()> {
        self.tell(Method::POST, "/_reclaim", &[], Some(json!({"instance": instance}))).await
    }

    /// The machine of an instance fails its status checks from now on.
    pub async fn impair(&self, instance: &str) -> Result<()> {
        self.tell(Method::POST, "/_impair", &[], Some(json!({"instance": instance}))).await
    }

    /// Calls Auto Scaling as the group's administrator would, such as `SuspendProcesses` with
    /// `ScalingProcesses.member.1`: unlike the rest this stands in the ledger, and faults hit it.
    pub async fn administer(&self, group: &str, action: &str, parameters: &[(&str, &str)]) -> Result<()> {
        let fixed = [("Action", action), ("Version", "2011-01-01"), ("AutoScalingGroupName", group)];
        // A call that names an instance has no place for the group.
        let by_instance = parameters.iter().any(|(name, _)| *name == "InstanceId");
        let fixed = fixed.into_iter().filter(|(name, _)| !(by_instance && *name == "AutoScalingGroupName"));
        let form: Vec<(&str, &str)> = fixed.chain(parameters.iter().copied()).collect();
        // The stand-in reads who, where and what from this, and checks no signature.
        let scope = format!("{ADMINISTRATOR}/20000101/{}/autoscaling/aws4_request", aws::REGION);
        let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let form = Url::parse_with_params(&self.endpoint, &form).context("writing a form")?;
        let request = http::client()?
            .post(&self.endpoint)
            .header("authorization", signed)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        let answer = request.send().await.with_context(|| format!("asking the AWS stand-in: {action}"))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("the AWS stand-in answers {status} to {action}: {}", answer.text().await.unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_says_only_what_is_to_change() {
        let pace = Pace { pending: Some(Duration::from_secs(3)), ..Pace::default() };
        let wanted = json!({"group": "g", "pending_ms": 3_000});
        assert_eq!(serde_json::to_value(Wish::of("g", &pace)).unwrap(), wanted);
    }

    #[test]
    fn a_life_is_read() {
        let text = r#"{"group":"g","pending_ms":1,"terminating_ms":2,"health_ms":3,"refresh_ms":4,"retry_ms":5000,"ahead_ms":6,
            "failures":{"message":"no","times":0},
            "waiting":[{"instance":"i-1","hook":"h","transition":"autoscaling:EC2_INSTANCE_LAUNCHING","token":"t","left_ms":9}]}"#;
        let life: Life = serde_json::from_str(text).unwrap();
        assert_eq!((life.retry_ms, life.ahead_ms, life.failures.unwrap().times), (5_000, 6, 0));
        assert_eq!(life.waiting[0].left_ms, 9);
    }
}
