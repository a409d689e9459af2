//! What goes wrong between the caller and AWS: calls refused, lost, repeated or late.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{StandIn, milliseconds};

/// What a fault does to a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answer an AWS error without doing it.
    #[default]
    Error,
    /// Do it, then close the connection without an answer.
    Lost,
    /// Close the connection without doing it.
    Drop,
    /// Wait, then do it.
    Delay,
    /// Refuse those that are too many, in the service's own words; see [`Throttle`].
    Throttle,
    /// Do it and answer, then do it once more after the delay.
    Twice,
    /// Close the connection, then do it after the delay.
    Late,
}

/// Which calls are too many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Throttle {
    /// Those beyond a rate.
    Rate {
        /// Calls per second that pass.
        per_second: f64,
        /// Calls that pass at once after a pause, at least 1.
        burst: f64,
    },
    /// An even share, from 0 to 1: with 0.5 every second call.
    Share(f64),
}

/// A rule for calls that name one resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Bucket or group.
    pub resource: String,
    /// Only calls of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only operations whose name matches this regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// How many calls are hit; 0 is every one until the rule is removed.
    pub times: u32,
    /// How many matching calls pass first.
    pub after_calls: u32,
    /// What happens.
    pub mode: Mode,
    /// HTTP status of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// AWS's code of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Message of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Milliseconds before a call, or before the second or the only time that it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Calls per second of a throttle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Calls that a throttle lets pass at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    /// Share of the calls that a throttle refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

impl Fault {
    /// The next call of `action` (a regular expression) on `resource` suffers `mode`.
    pub fn new(resource: &str, action: &str, mode: Mode) -> Fault {
        Fault {
            resource: resource.to_owned(),
            service: None,
            action: Some(action.to_owned()),
            times: 1,
            after_calls: 0,
            mode,
            status: None,
            code: None,
            message: None,
            delay_ms: None,
            rate: None,
            burst: None,
            share: None,
        }
    }

    /// The next call of `action` on `resource` is answered with this AWS error.
    pub fn error(resource: &str, action: &str, status: u16, code: &str) -> Fault {
        Fault {
            status: Some(status),
            code: Some(code.to_owned()),
            message: Some(format!("injected {code}")),
            ..Fault::new(resource, action, Mode::Error)
        }
    }

    /// Calls of `action` on `resource` that are too many are refused, until the faults of the resource are removed.
    pub fn throttle(resource: &str, action: &str, throttle: Throttle) -> Fault {
        let fault = Fault { times: 0, ..Fault::new(resource, action, Mode::Throttle) };
        match throttle {
            Throttle::Rate { per_second, burst } => Fault { rate: Some(per_second), burst: Some(burst), ..fault },
            Throttle::Share(share) => Fault { share: Some(share), ..fault },
        }
    }

    /// The next call of `action` on `resource` is done and answered, and done once more after `delay`.
    pub fn twice(resource: &str, action: &str, delay: Duration) -> Fault {
        Fault { delay_ms: Some(milliseconds(delay)), ..Fault::new(resource, action, Mode::Twice) }
    }

    /// The next call of `action` on `resource` gets no answer, and is done after `delay`.
    pub fn late(resource: &str, action: &str, delay: Duration) -> Fault {
        Fault { delay_ms: Some(milliseconds(delay)), ..Fault::new(resource, action, Mode::Late) }
    }

    /// The next call of `action` on `resource` is done after `delay`, and then answered.
    pub fn delay(resource: &str, action: &str, delay: Duration) -> Fault {
        Fault { delay_ms: Some(milliseconds(delay)), ..Fault::new(resource, action, Mode::Delay) }
    }

    /// The same for so many calls; 0 is every one until the faults of the resource are removed.
    pub fn times(self, times: u32) -> Fault {
        Fault { times, ..self }
    }
}

/// A request that is on its way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Delivery {
    /// The bucket or group that it names.
    pub resource: String,
    /// The operation's name.
    pub action: String,
    /// `again` for the second time of a call that is done twice, `late` for one that is late.
    pub fault: String,
    /// Its parameters, without credentials.
    pub params: Value,
    /// Milliseconds until it arrives.
    pub left_ms: u64,
}

#[derive(Deserialize)]
struct Delivered {
    delivered: u64,
}

#[derive(Deserialize)]
struct Hits {
    fired: u64,
}

impl StandIn {
    /// Adds a fault; those that are set stay.
    pub async fn fault(&self, fault: &Fault) -> Result<()> {
        self.tell(Method::POST, "/_faults", &[], Some(serde_json::to_value(fault)?)).await
    }

    /// Removes the faults of a resource. What is on its way still arrives.
    pub async fn clear_faults(&self, resource: &str) -> Result<()> {
        self.tell(Method::DELETE, "/_faults", &[("resource", resource)], None).await
    }

    /// How many calls the faults of a resource have hit that are still set; a call that is delayed counts at once.
    pub async fn hits(&self, resource: &str) -> Result<u64> {
        let faults: Vec<Hits> = self.ask(Method::GET, "/_faults", &[("resource", resource)], None).await?;
        Ok(faults.iter().map(|fault| fault.fired).sum())
    }

    /// The requests that are on their way to a resource.
    pub async fn deliveries(&self, resource: &str) -> Result<Vec<Delivery>> {
        self.ask(Method::GET, "/_deliveries", &[("resource", resource)], None).await
    }

    /// Lets those of a resource arrive now, in order; returns how many there were.
    pub async fn deliver(&self, resource: &str) -> Result<u64> {
        let answer: Delivered =
            self.ask(Method::POST, "/_deliveries", &[], Some(json!({"resource": resource}))).await?;
        Ok(answer.delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_only_what_was_set() {
        let fault = Fault::error("b", "^PutBucketLifecycle", 503, "SlowDown").times(2);
        let wanted = json!({"resource": "b", "action": "^PutBucketLifecycle", "times": 2, "after_calls": 0, "mode": "error", "status": 503, "code": "SlowDown", "message": "injected SlowDown"});
        assert_eq!(serde_json::to_value(fault).unwrap(), wanted);
        let lost = serde_json::to_value(Fault::new("g", "SetDesiredCapacity", Mode::Lost)).unwrap();
        assert_eq!(
            lost,
            json!({"resource": "g", "action": "SetDesiredCapacity", "times": 1, "after_calls": 0, "mode": "lost"})
        );
    }

    #[test]
    fn a_throttle_lasts_and_a_repetition_has_its_delay() {
        let throttle = Throttle::Rate { per_second: 0.5, burst: 2.0 };
        assert_eq!(
            serde_json::to_value(Fault::throttle("g", "^Describe", throttle)).unwrap(),
            json!({"resource": "g", "action": "^Describe", "times": 0, "after_calls": 0, "mode": "throttle", "rate": 0.5, "burst": 2.0})
        );
        let share = serde_json::to_value(Fault::throttle("g", "^Describe", Throttle::Share(1.0))).unwrap();
        assert_eq!((&share["share"], &share["rate"]), (&json!(1.0), &Value::Null));
        let late = serde_json::to_value(Fault::late("g", "Set", Duration::from_secs(2))).unwrap();
        assert_eq!((&late["mode"], &late["delay_ms"]), (&json!("late"), &json!(2_000)));
        let twice = serde_json::to_value(Fault::twice("g", "Set", Duration::from_millis(5))).unwrap();
        assert_eq!((&twice["mode"], &twice["delay_ms"], &twice["times"]), (&json!("twice"), &json!(5), &json!(1)));
    }
}
