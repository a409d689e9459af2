//! The calls of a master that change something, each sent once and after its permit: workers that take nothing new,
//! drivers submitted and killed; and the question what became of a driver.

use super::ask::{Answered, get, once, understood};
use super::error::SparkError;
use super::page::Page;
use super::share::Masters;
use logwise_runtime::{crash, words};
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::Value;

/// Longest reason of a master or of a driver that is told, in characters.
const LONGEST: usize = 300;

/// What a master's reason begins with when it is not the active one; its state follows.
const NOT_ALIVE: &str = "Current state is not alive: ";

/// What stands before the exception of a driver.
const EXCEPTION: &str = "Exception from the cluster:";

/// What the master answered when it was told that a host's workers take nothing new. Only a page that is read
/// afterwards shows whether they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cordon {
    /// It knows workers on that host.
    Taken,
    /// It knows none, or is not the active one.
    NothingThere,
    /// It does not let this caller do that, or runs without `spark.decommission.enabled`: it says the same of both.
    Forbidden,
}

/// Where a submission stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionState {
    /// State of the driver as the master names it; none: the master does not know the submission.
    pub driver_state: Option<String>,
    /// `host:port` of the worker that runs it.
    pub worker_host_port: Option<String>,
    /// The exception that the worker reports, without its stack, or the master's reason.
    pub message: Option<String>,
}

impl Masters {
    /// Tells the master of `page` that every worker on `host` shall take no new executors and drivers; those that run
    /// there go on. `permit` is asked right before the request is sent; a refusal means that nothing is sent.
    ///
    /// # Errors
    /// [`SparkError`]; [`SparkError::may_have_happened`] tells whether only the next page knows.
    pub async fn decommission(
        &self,
        page: &Page,
        host: &str,
        permit: impl Fn() -> Result<(), String> + Send,
    ) -> Result<Cordon, SparkError> {
        let request = self.http.post(format!("http://{}/workers/kill/", page.at)).query(&[("host", host)]);
        let Answered { status, .. } = write(&page.at, request, permit).await?;
        match status {
            200 => Ok(Cordon::Taken),
            404 => Ok(Cordon::NothingThere),
            405 => Ok(Cordon::Forbidden),
            status => Err(SparkError::Answer { address: page.at.clone(), status }),
        }
    }

    /// Submits a driver to the master of `page` and returns the id that it was given. `permit` is asked right before
    /// the request is sent; a refusal means that nothing is sent.
    ///
    /// # Errors
    /// [`SparkError`]; [`SparkError::may_have_happened`] tells whether there may be a driver all the same.
    pub async fn submit(
        &self,
        page: &Page,
        body: &Value,
        permit: impl Fn() -> Result<(), String> + Send,
    ) -> Result<String, SparkError> {
        let request = self.http.post(url(&page.rest, "create")).json(body);
        let answered = write(&page.rest, request, permit).await?;
        let answer = accepted(&page.rest, "take the driver", &answered)?;
        answer.submission_id.filter(|id| is_id(id)).ok_or_else(|| SparkError::Shape {
            address: page.rest.clone(),
            why: "the driver was taken and has no usable id".to_owned(),
        })
    }

    /// Asks the master of `page` for a submission.
    ///
    /// # Errors
    /// [`SparkError`]
    pub async fn status(&self, page: &Page, id: &str) -> Result<SubmissionState, SparkError> {
        let path = path(&page.rest, "status", id)?;
        let answer = get(&self.http, &page.rest, &path, |answered| answer(&page.rest, answered)).await?;
        if let Some(standby) = standby(&page.rest, answer.message.as_deref()) {
            return Err(standby);
        }
        let Answer { driver_state, worker_host_port, message, .. } = answer;
        Ok(SubmissionState { driver_state, worker_host_port, message: message.as_deref().map(reason) })
    }

    /// Kills the driver of a submission; a supervised one is not started again. One that has ended is killed enough.
    /// `permit` is asked right before the request is sent; a refusal means that nothing is sent.
    ///
    /// # Errors
    /// [`SparkError`]; [`SparkError::may_have_happened`] tells whether only the next page knows.
    pub async fn kill(
        &self,
        page: &Page,
        id: &str,
        permit: impl Fn() -> Result<(), String> + Send,
    ) -> Result<(), SparkError> {
        let request = self.http.post(format!("http://{}{}", page.rest, path(&page.rest, "kill", id)?));
        let answered = write(&page.rest, request, permit).await?;
        match accepted(&page.rest, "kill the driver", &answered) {
            Err(SparkError::Refused { why, .. }) if why.contains("has already finished or does not exist") => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// Sends a request that changes something: once, and only if it may still be sent.
async fn write(
    address: &str,
    request: RequestBuilder,
    permit: impl Fn() -> Result<(), String> + Send,
) -> Result<Answered, SparkError> {
    let write = crash::begin(crash::System::Spark);
    let answered = match permit() {
        Ok(()) => once(address, request).await,
        Err(why) => Err(SparkError::NotSent { why }),
    };
    write.after();
    answered
}

/// What the REST server answers, whatever it was asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// `ErrorResponse` when the request itself is wrong.
    action: String,
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    submission_id: Option<String>,
    #[serde(default)]
    driver_state: Option<String>,
    #[serde(default)]
    worker_host_port: Option<String>,
}

/// The answer, also when the HTTP status says no: the reason stands in the body. The server's own failures are not
/// reasons.
fn answer(address: &str, answered: &Answered) -> Result<Answer, SparkError> {
    if answered.status >= 500 {
        return Err(SparkError::Answer { address: address.to_owned(), status: answered.status });
    }
    let is_success = (200..300).contains(&answered.status);
    match understood(address, &answered.body) {
        Err(_) if !is_success => Err(SparkError::Answer { address: address.to_owned(), status: answered.status }),
        answer => answer,
    }
}

/// The answer to a call that changes something, if it was taken.
fn accepted(address: &str, what: &'static str, answered: &Answered) -> Result<Answer, SparkError> {
    let answer = answer(address, answered)?;
    if answer.success == Some(true) {
        return Ok(answer);
    }
    if let Some(standby) = standby(address, answer.message.as_deref()) {
        return Err(standby);
    }
    let why = answer.message.as_deref().map_or_else(|| format!("{} without a reason", answer.action), reason);
    Err(SparkError::Refused { address: address.to_owned(), what, why })
}

/// The error of a master that says that it is not the active one.
fn standby(address: &str, message: Option<&str>) -> Option<SparkError> {
    let (_, rest) = message?.split_once(NOT_ALIVE)?;
    let state: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
    Some(SparkError::Standby { address: address.to_owned(), state })
}

/// A reason in one line of bounded length: of an exception its text, without the stack. The REST server puts a tab
/// before each frame of a stack and leaves out the `at` that Java itself writes.
fn reason(message: &str) -> String {
    let message = message.trim();
    let message = message.strip_prefix(EXCEPTION).unwrap_or(message).trim();
    let is_frame = |line: &str| line.starts_with('\t') || line.trim_start().starts_with("at ");
    let lines = message.lines().take_while(|line| !is_frame(line)).map(str::trim).filter(|line| !line.is_empty());
    words::cut(&lines.collect::<Vec<_>>().join(" "), LONGEST)
}

fn url(address: &str, path: &str) -> String {
    format!("http://{address}/v1/submissions/{path}")
}

/// The path of a call about a submission. Ids come from a page, and a path is no place for anything else.
fn path(address: &str, call: &str, id: &str) -> Result<String, SparkError> {
    if !is_id(id) {
        let why = "the id of a driver has other signs than letters, digits, '-', '_' and '.'".to_owned();
        return Err(SparkError::Shape { address: address.to_owned(), why });
    }
    Ok(format!("/v1/submissions/{call}/{id}"))
}

/// Whether the text can stand in a path as what it is.
pub(super) fn is_id(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=255).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::super::server::{Answer as Reply, Request, Server, html, json, page};
    use super::*;
    use crate::master::http_client;
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Instant;

    fn yes() -> Result<(), String> {
        Ok(())
    }

    /// A master whose page is good and whose other answers are `answer`'s.
    struct World {
        server: Server,
        masters: Masters,
        page: Arc<Page>,
    }

    impl World {
        async fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
            let whole = page("ALIVE", &json!([]), &json!([]));
            let server = Server::new(move |request| match request.line.starts_with("GET /json/ ") {
                true => json(200, &whole),
                false => answer(request),
            })
            .await;
            let masters = Masters::new(http_client().unwrap());
            let page = masters.page(&[server.address()], Instant::now()).await.unwrap();
            Self { server, masters, page }
        }

        /// Requests after the page.
        fn calls(&self) -> Vec<Request> {
            self.server.requests().split_off(1)
        }

        async fn submit(&self) -> Result<String, SparkError> {
            self.masters.submit(&self.page, &json!({"mainClass": "X"}), yes).await
        }

        async fn kill(&self, id: &str) -> Result<(), SparkError> {
            self.masters.kill(&self.page, id, yes).await
        }

        async fn cordon(&self, host: &str) -> Result<Cordon, SparkError> {
            self.masters.decommission(&self.page, host, yes).await
        }
    }

    fn created(id: &str) -> Value {
        json!({"action": "CreateSubmissionResponse", "message": "Driver successfully submitted", "serverSparkVersion":
            "3.5.7", "submissionId": id, "success": true})
    }

    fn refused(action: &str, message: &str) -> Value {
        json!({"action": action, "message": message, "serverSparkVersion": "3.5.7", "success": false})
    }

    #[tokio::test]
    async fn a_cordon_names_the_host_and_its_answer_is_taken_nothing_or_forbidden() {
        for (status, expected) in [(200, Cordon::Taken), (404, Cordon::NothingThere), (405, Cordon::Forbidden)] {
            let world = World::new(move |_| json(status, &json!({}))).await;
            assert_eq!(world.cordon("10.0.0.4").await, Ok(expected));
            let calls = world.calls();
            let lines: Vec<_> = calls.iter().map(|call| call.line.as_str()).collect();
            assert_eq!(lines, ["POST /workers/kill/?host=10.0.0.4 HTTP/1.1"]);
        }
        let world = World::new(|_| json(500, &json!({}))).await;
        let error = world.cordon("a&b").await.unwrap_err();
        assert!(error.may_have_happened(), "{error}");
        assert_eq!(world.calls().len(), 1, "sent once");
        assert_eq!(world.calls()[0].line, "POST /workers/kill/?host=a%26b HTTP/1.1", "one host, whatever it is called");
    }

    #[tokio::test]
    async fn a_submission_is_sent_once_as_json_and_its_id_is_returned() {
        let world = World::new(|_| json(200, &created("driver-20261128210000-0001"))).await;
        assert_eq!(world.submit().await.unwrap(), "driver-20261128210000-0001");
        let call = &world.calls()[0];
        assert_eq!(call.line, "POST /v1/submissions/create HTTP/1.1");
        assert!(call.head.contains("content-type: application/json"), "{}", call.head);
        assert_eq!(call.body, r#"{"mainClass":"X"}"#);
        let world = World::new(|_| json(200, &created("../../x"))).await;
        let error = world.submit().await.unwrap_err();
        assert!(matches!(error, SparkError::Shape { .. }) && error.may_have_happened(), "{error}");
    }

    #[tokio::test]
    async fn a_lost_answer_is_not_asked_for_again_and_may_have_happened() {
        let world = World::new(|_| json(200, &created("driver-1")).lost()).await;
        for error in [
            world.submit().await.unwrap_err(),
            world.kill("driver-1").await.unwrap_err(),
            world.cordon("h").await.unwrap_err(),
        ] {
            assert!(matches!(error, SparkError::Reach { connected: true, .. }), "{error:?}");
            assert!(error.may_have_happened());
        }
        assert_eq!(world.calls().len(), 3, "each was sent once");
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_a_lost_answer() {
        let world = World::new(|_| html()).await;
        // The page is there, and the REST server is not.
        let page = Page { rest: "127.255.255.254:9".to_owned(), ..(*world.page).clone() };
        let error = world.masters.submit(&page, &json!({}), yes).await.unwrap_err();
        assert!(matches!(error, SparkError::Reach { connected: false, .. }) && !error.may_have_happened(), "{error:?}");
        assert!(error.to_string().starts_with("127.255.255.254:9 cannot be reached ("), "{error}");
        assert!(matches!(world.submit().await, Err(SparkError::Html { .. })), "the page's port is no REST server");
    }

    #[tokio::test]
    async fn the_masters_reason_is_told_whatever_the_status() {
        let malformed = "Malformed request: org.apache.spark.deploy.rest.SubmitRestMissingFieldException: \
                         Application jar is missing.\n\tat org.apache.spark.Foo\n\tat java.lang.Thread";
        for (status, action) in [(200, "CreateSubmissionResponse"), (400, "ErrorResponse")] {
            let world = World::new(move |_| json(status, &refused(action, malformed))).await;
            let error = world.submit().await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(" refused to take the driver: Malformed request: "), "{text}");
            assert!(text.ends_with("Application jar is missing."), "without the stack: {text}");
            assert!(!error.may_have_happened());
        }
        let world = World::new(|_| json(404, &json!({"x": 1}))).await;
        assert!(matches!(world.submit().await, Err(SparkError::Answer { status: 404, .. })));
        let world = World::new(|_| json(500, &refused("ErrorResponse", "no"))).await;
        assert!(world.submit().await.unwrap_err().may_have_happened(), "a failure of the server is no reason");
    }

    #[tokio::test]
    async fn a_standby_is_named_with_its_state() {
        let message = "Current state is not alive: RECOVERING. Can only accept driver submissions in ALIVE state.";
        let world = World::new(move |_| json(200, &refused("Response", message))).await;
        for error in [
            world.submit().await.unwrap_err(),
            world.kill("driver-1").await.unwrap_err(),
            world.masters.status(&world.page, "driver-1").await.unwrap_err(),
        ] {
            let SparkError::Standby { address, state } = &error else { panic!("{error:?}") };
            assert_eq!((address, state.as_str()), (&world.page.rest, "RECOVERING"));
            assert!(!error.may_have_happened());
        }
    }

    #[tokio::test]
    async fn a_killed_driver_is_killed_enough() {
        let world = World::new(|request| match request.line.contains("driver-2") {
            true => json(
                200,
                &refused("KillSubmissionResponse", "Driver 'driver-2' has already finished or does not exist"),
            ),
            false => {
                json(200, &json!({"action": "KillSubmissionResponse", "submissionId": "driver-1", "success": true}))
            }
        })
        .await;
        assert_eq!((world.kill("driver-1").await, world.kill("driver-2").await), (Ok(()), Ok(())));
        assert_eq!(world.calls()[0].line, "POST /v1/submissions/kill/driver-1 HTTP/1.1");
        for id in ["", "..", "a/b", "a?b", "a b", &"x".repeat(256)] {
            assert!(matches!(world.kill(id).await, Err(SparkError::Shape { .. })), "{id}");
        }
        assert_eq!(world.calls().len(), 2, "what is no id is not sent");
    }

    #[tokio::test]
    async fn a_submission_is_known_failed_or_unknown() {
        let running = json!({"action": "SubmissionStatusResponse", "driverState": "RUNNING", "submissionId": "driver-1",
            "success": true, "workerHostPort": "10.0.0.4:7078", "workerId": "w"});
        let exception = "Exception from the cluster:\njava.io.FileNotFoundException: /x.jar\n\tat org.apache.Spark.x";
        let failed = json!({"action": "SubmissionStatusResponse", "driverState": "ERROR", "submissionId": "driver-1",
            "success": true, "message": exception});
        let unknown = json!({"action": "SubmissionStatusResponse", "submissionId": "driver-1", "success": false});
        let text = |text: &str| Some(text.to_owned());
        for (answer, state, worker, message) in [
            (running, text("RUNNING"), text("10.0.0.4:7078"), None),
            (failed, text("ERROR"), None, text("java.io.FileNotFoundException: /x.jar")),
            (unknown, None, None, None),
        ] {
            let world = World::new(move |request| match request.before {
                1 => json(503, &json!({})),
                _ => json(200, &answer),
            })
            .await;
            let found = world.masters.status(&world.page, "driver-1").await.unwrap();
            assert_eq!(found, SubmissionState { driver_state: state, worker_host_port: worker, message });
            assert_eq!(world.calls().len(), 2, "a read is tried again");
            assert_eq!(world.calls()[0].line, "GET /v1/submissions/status/driver-1 HTTP/1.1");
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_without_the_permit() {
        let world = World::new(|_| json(200, &created("driver-1"))).await;
        let no = || Err("the term is over".to_owned());
        let refused = [
            world.masters.submit(&world.page, &json!({}), no).await.map(drop),
            world.masters.kill(&world.page, "driver-1", no).await,
            world.masters.decommission(&world.page, "h", no).await.map(drop),
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err().to_string(), "nothing was sent: the term is over");
        }
        assert!(world.calls().is_empty());
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(reason("one\n  two \n\n three"), "one two three");
        let frames = "\n\tsun.nio.fs.UnixException.translate(UnixException.java:92)\n\tjava.lang.Thread.run(Thread)";
        let exception = format!("Exception from the cluster:\njava.nio.file.NoSuchFileException: /x.jar{frames}");
        assert_eq!(reason(&exception), "java.nio.file.NoSuchFileException: /x.jar");
        let cause = format!("java.io.IOException: no\n more of it{frames}\nCaused by: java.lang.Error{frames}");
        assert_eq!(reason(&cause), "java.io.IOException: no more of it");
        assert!(reason(&"long ".repeat(200)).chars().count() <= LONGEST);
    }
}
