//! The test bed's strict AWS stand-in, through its control interface.

use logwise_aws::{AwsClients, AwsSettings};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Region of the bed.
pub const REGION: &str = "ap-south-1";

/// Longest wait for an answer in a test that is not about waiting.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running stand-in.
pub struct StandIn {
    url: String,
    http: reqwest::Client,
}

impl StandIn {
    /// The one that `AWS_ENDPOINT_URL` names; a missing one is a failure.
    pub fn attach() -> Self {
        let url = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
        assert!(
            !url.is_empty(),
            "these tests need the AWS stand-in of the test bed: start it with `logwise-testbed up --profile aws` \
             and run them with the variables that `logwise-testbed env` prints (AWS_ENDPOINT_URL is not set)"
        );
        Self { url, http: reqwest::Client::builder().no_proxy().build().expect("a plain client can be built") }
    }

    /// Clients as the operator builds them, but for their patience: a machine that stands still for some seconds fails
    /// no test.
    pub fn clients(&self) -> AwsClients {
        self.clients_with(AwsSettings {
            attempt_timeout: PATIENCE,
            operation_timeout: PATIENCE,
            ..AwsSettings::default()
        })
    }

    /// Clients with other time-outs.
    pub fn clients_with(&self, settings: AwsSettings) -> AwsClients {
        let url = Some(self.url.clone());
        let settings = AwsSettings { endpoint_url: url, allow_insecure_endpoints: true, ..settings };
        AwsClients::open(settings).expect("the bed's address is an endpoint that the switch allows")
    }

    /// One request to the control interface.
    pub async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method name");
        let answer = self.http.request(method, format!("{}{path}", self.url)).json(&body).send().await;
        let answer = answer.expect("the AWS stand-in that AWS_ENDPOINT_URL names answers");
        let status = answer.status();
        let text = answer.text().await.expect("the control interface answers with text");
        assert!(status.is_success(), "{path} answered {status}: {text}");
        serde_json::from_str(&text).expect("the control interface answers with JSON")
    }

    /// Adds a fault rule.
    pub async fn fault(&self, resource: &str, action: &str, rule: Value) {
        let mut fault = json!({"resource": resource, "action": format!("^{action}$")});
        fault.as_object_mut().expect("an object").extend(rule.as_object().expect("an object").clone());
        self.control("POST", "/_faults", fault).await;
    }

    /// Removes every fault of a resource.
    pub async fn mend(&self, resource: &str) {
        self.control("DELETE", &format!("/_faults?resource={resource}"), Value::Null).await;
    }

    /// Calls to AWS APIs that named the resource, in order.
    pub async fn calls(&self, resource: &str) -> Vec<Value> {
        let calls = self.control("GET", &format!("/_calls?resource={resource}"), Value::Null).await;
        calls.as_array().expect("a list").clone()
    }

    /// How often an operation was called for the resource.
    pub async fn count(&self, resource: &str, action: &str) -> usize {
        self.calls(resource).await.iter().filter(|call| call["action"] == action).count()
    }
}

/// A name that no other test and no other run uses.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
    format!("{name}-{}-{:x}-{}", std::process::id(), now, NEXT.fetch_add(1, Ordering::Relaxed))
}
