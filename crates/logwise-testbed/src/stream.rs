//! The streaming job, submitted over the Spark master's REST interface: Kafka topics to parquet on the stand-in's S3.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws;
use crate::bed::Bed;
use crate::http;
use crate::spark::{self, Spark};

/// The class that is submitted; the operator and tests know the job by it.
pub const MAIN_CLASS: &str = "io.logwise.testbed.StreamApp";
/// The class of a driver that does nothing, for tests that are about drivers.
pub const IDLE_CLASS: &str = "io.logwise.testbed.Idle";
/// The name of the streaming query; its checkpoint lies under `checkpoint/` by this name.
pub const QUERY: &str = "application";
const APP_NAME: &str = "logwise";
const DRIVER_MEMORY: &str = "512m";
/// Properties that are fields of their own in `spec.spark.driver`, or follow from `spec.spark.masters`.
const OF_OTHER_FIELDS: [&str; 7] = [
    "spark.app.name",
    "spark.master",
    "spark.submit.deployMode",
    "spark.driver.supervise",
    "spark.driver.cores",
    "spark.driver.memory",
    "spark.ui.port",
];

/// One submission of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `spark://host:port`.
    pub master: String,
    /// `host:port` of the master's REST interface.
    pub rest: String,
    /// `host:port` of a Kafka broker.
    pub bootstrap: String,
    /// URL of the S3 endpoint.
    pub s3: String,
    /// Bucket for data (`logs/`) and checkpoint (`checkpoint/application/`).
    pub bucket: String,
    /// Java regular expression of the topics.
    pub pattern: String,
    /// Port of the driver's pages on its worker's address.
    pub driver_ui: u16,
    /// Time between the starts of two batches.
    pub trigger: Duration,
    /// Most records of one batch.
    pub max_offsets: u64,
    /// Most cores of its executors, one executor per core.
    pub max_cores: u32,
    /// Key of an object in the bucket: while it exists, no batch with records comes to its end.
    pub pause: Option<String>,
    /// When the driver fails: at its `start`, or once the batch of this number is committed.
    pub fail_at: Option<String>,
}

impl Job {
    /// The job of a bed: a batch every 2 s, at most 20,000 records, at most 2 executors. Errors when the bed runs no
    /// Spark.
    pub fn of(bed: &Bed, bucket: &str, pattern: &str) -> Result<Job> {
        let Some(master) = &bed.spark else {
            bail!(
                "no Spark runs in {0}; start it with `logwise-testbed up --dir {0} --profile spark`",
                bed.dir.display()
            )
        };
        let url = format!("spark://{}:{}", master.host, master.port);
        Ok(Job::at(bed, (&url, &master.rest()), bucket, pattern))
    }

    /// As [`Job::of`], at the master with this address for drivers and this one for submissions.
    pub fn at(bed: &Bed, (master, rest): (&str, &str), bucket: &str, pattern: &str) -> Job {
        Job {
            master: master.to_owned(),
            rest: rest.to_owned(),
            bootstrap: bed.kafka.bootstrap.clone(),
            s3: bed.aws.endpoint.clone(),
            bucket: bucket.to_owned(),
            pattern: pattern.to_owned(),
            driver_ui: bed.addresses.ports.driver_ui,
            trigger: Duration::from_secs(2),
            max_offsets: 20_000,
            max_cores: 2,
            pause: None,
            fail_at: None,
        }
    }
}

/// The body of a submission. It holds no credentials: the job finds the stand-in's in the environment of its worker.
pub fn submission(spark: &Spark, job: &Job) -> Result<Value> {
    Ok(json!({
        "action": "CreateSubmissionRequest",
        "clientSparkVersion": spark::version()?,
        "appResource": app_resource(spark),
        "mainClass": MAIN_CLASS,
        "appArgs": arguments(job),
        "environmentVariables": {"SPARK_ENV_LOADED": "1"},
        "sparkProperties": properties(spark, job),
    }))
}

/// The job as `spec.spark.driver`, for an operator that submits it. What other fields of the specification say is no
/// property there.
pub fn driver(spark: &Spark, job: &Job) -> Result<Value> {
    let mut properties = properties(spark, job);
    let all = properties.as_object_mut().context("properties of a job")?;
    all.retain(|name, _| !OF_OTHER_FIELDS.contains(&name.as_str()));
    Ok(json!({
        "mainClass": MAIN_CLASS,
        "appResource": app_resource(spark),
        "arguments": arguments(job),
        "sparkProperties": properties,
        "appName": APP_NAME,
        "sparkVersion": spark::version()?,
        "cores": 1,
        "memory": DRIVER_MEMORY,
        "supervise": true,
        "uiPort": job.driver_ui,
        "workerTimeoutSeconds": spark::WORKER_TIMEOUT,
    }))
}

fn app_resource(spark: &Spark) -> String {
    format!("file:{}", spark.job_jar().display())
}

pub(crate) fn arguments(job: &Job) -> Vec<String> {
    let mut arguments = vec![
        format!("bootstrap={}", job.bootstrap),
        format!("pattern={}", job.pattern),
        format!("output=s3a://{}/logs", job.bucket),
        format!("checkpoint=s3a://{}/checkpoint/{QUERY}", job.bucket),
        format!("query={QUERY}"),
        format!("trigger={} milliseconds", job.trigger.as_millis()),
        format!("maxOffsets={}", job.max_offsets),
    ];
    arguments.extend(job.pause.iter().map(|key| format!("pause=s3a://{}/{key}", job.bucket)));
    arguments.extend(job.fail_at.iter().map(|when| format!("failAt={when}")));
    arguments
}

pub(crate) fn properties(spark: &Spark, job: &Job) -> Value {
    json!({
        "spark.app.name": APP_NAME,
        "spark.master": job.master,
        "spark.submit.deployMode": "cluster",
        "spark.driver.supervise": "true",
        "spark.driver.cores": "1",
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.driver.extraJavaOptions": spark.driver_options(),
        "spark.executor.cores": "1",
        "spark.executor.memory": "512m",
        "spark.executor.extraJavaOptions": spark.executor_options(),
        "spark.cores.max": job.max_cores.to_string(),
        "spark.ui.port": job.driver_ui.to_string(),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.streaming.metricsEnabled": "true",
        "spark.hadoop.fs.s3a.endpoint": job.s3,
        "spark.hadoop.fs.s3a.endpoint.region": aws::REGION,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.aws.credentials.provider": "com.amazonaws.auth.EnvironmentVariableCredentialsProvider",
        "spark.hadoop.fs.s3a.change.detection.mode": "none",
        // Parts stay in memory: nothing is left on disk when a program is killed.
        "spark.hadoop.fs.s3a.fast.upload.buffer": "array",
        "spark.hadoop.fs.s3a.multipart.size": "8M",
    })
}

/// What the master answers to each of the three calls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    success: bool,
    message: Option<String>,
    submission_id: Option<String>,
    driver_state: Option<String>,
    worker_host_port: Option<String>,
}

impl Answer {
    fn accepted(self, what: &str) -> Result<Answer> {
        if self.success {
            return Ok(self);
        }
        bail!("the Spark master refused to {what}: {}", self.message.unwrap_or_else(|| "it gave no reason".to_owned()))
    }
}

/// Where a submission stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `SUBMITTED`, `RUNNING`, `RELAUNCHING`, `FINISHED`, `KILLED`, `ERROR` and so on. `RUNNING` says nothing about the
    /// query.
    pub driver_state: String,
    /// `host:port` of the worker that runs it.
    pub worker: Option<String>,
}

/// Submits the job and returns the submission's id.
pub async fn submit(spark: &Spark, job: &Job) -> Result<String> {
    create(&job.rest, &submission(spark, job)?).await
}

/// Submits a driver that does nothing and takes so many cores, to the master that drivers know as `master` and that
/// takes submissions at `rest`; returns the submission's id.
pub async fn submit_idle(spark: &Spark, (master, rest): (&str, &str), cores: u32) -> Result<String> {
    let body = json!({
        "action": "CreateSubmissionRequest",
        "clientSparkVersion": spark::version()?,
        "appResource": app_resource(spark),
        "mainClass": IDLE_CLASS,
        "appArgs": [],
        "environmentVariables": {"SPARK_ENV_LOADED": "1"},
        "sparkProperties": {
            "spark.app.name": "idle",
            "spark.master": master,
            "spark.submit.deployMode": "cluster",
            "spark.driver.supervise": "true",
            "spark.driver.cores": cores.to_string(),
            "spark.driver.memory": "128m",
            "spark.driver.extraJavaOptions": spark.driver_options(),
        },
    });
    create(rest, &body).await
}

async fn create(rest: &str, body: &Value) -> Result<String> {
    let request = http::client()?.post(url(rest, "create")).json(body);
    let answer = ask(request).await?.accepted("take the submission")?;
    answer.submission_id.context("the Spark master took the submission and named no id")
}

/// Asks for a submission by its id. Errors when the master does not know it.
pub async fn status(rest: &str, id: &str) -> Result<Status> {
    let answer =
        ask(http::client()?.get(url(rest, &format!("status/{id}")))).await?.accepted("tell about the submission")?;
    let driver_state = answer.driver_state.with_context(|| format!("the Spark master knows no state of {id}"))?;
    Ok(Status { driver_state, worker: answer.worker_host_port })
}

/// Kills a submission's driver; a supervised one is not started again.
pub async fn kill(rest: &str, id: &str) -> Result<()> {
    ask(http::client()?.post(url(rest, &format!("kill/{id}")))).await?.accepted("kill the driver").map(drop)
}

fn url(rest: &str, path: &str) -> String {
    format!("http://{rest}/v1/submissions/{path}")
}

/// The master gives its reason in the body, also when the HTTP status is an error.
async fn ask(request: reqwest::RequestBuilder) -> Result<Answer> {
    let answer = request.send().await.context("calling the Spark master's REST interface")?;
    answer.json().await.context("reading the answer of the Spark master's REST interface")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn job() -> Job {
        Job {
            master: "spark://127.0.9.1:7077".into(),
            rest: "127.0.9.1:6066".into(),
            bootstrap: "127.0.9.1:9092".into(),
            s3: "http://127.0.9.1:4566".into(),
            bucket: "demo-bucket".into(),
            pattern: "logs[.].*".into(),
            driver_ui: 4040,
            trigger: Duration::from_secs(2),
            max_offsets: 20_000,
            max_cores: 2,
            pause: None,
            fail_at: None,
        }
    }

    fn spark() -> Spark {
        Spark { home: PathBuf::from("/cache/spark-1"), archive: PathBuf::from("/cache/spark-classes-2") }
    }

    #[test]
    fn the_submission_is_the_golden_one() {
        let golden: Value = serde_json::from_str(include_str!("../spark/submission.golden.json")).unwrap();
        let body = submission(&spark(), &job()).unwrap();
        assert_eq!(body, golden, "if the change is meant, write this to spark/submission.golden.json:\n{body:#}");
    }

    #[test]
    fn every_property_is_a_text_as_the_master_wants_it() {
        let properties = properties(&spark(), &job());
        let not_text: Vec<_> = properties.as_object().unwrap().iter().filter(|(_, value)| !value.is_string()).collect();
        assert!(not_text.is_empty(), "{not_text:?}");
    }

    #[test]
    fn a_job_can_be_paused_and_told_to_fail() {
        let job = Job { pause: Some("pause".into()), fail_at: Some("3".into()), ..job() };
        let arguments = arguments(&job);
        assert_eq!(arguments[arguments.len() - 2..], ["pause=s3a://demo-bucket/pause", "failAt=3"]);
    }

    #[test]
    fn a_driver_of_the_operator_is_the_same_job_without_what_its_own_fields_say() {
        let (driver, body) = (driver(&spark(), &job()).unwrap(), submission(&spark(), &job()).unwrap());
        for (field, submitted) in [("mainClass", "mainClass"), ("appResource", "appResource"), ("arguments", "appArgs")]
        {
            assert_eq!(driver[field], body[submitted]);
        }
        let all = body["sparkProperties"].as_object().unwrap();
        let left = driver["sparkProperties"].as_object().unwrap();
        assert_eq!(left.len(), all.len() - OF_OTHER_FIELDS.len());
        assert!(left.iter().all(|(name, value)| all[name] == *value));
        let secret =
            |name: &str| ["secret", "password", "access.key", "session.token"].iter().any(|word| name.contains(word));
        assert!(all.keys().all(|name| !secret(name)), "a submission with credentials");
        assert_eq!((&driver["memory"], &driver["uiPort"]), (&json!("512m"), &json!(4040)));
    }

    #[test]
    fn a_refusal_carries_the_masters_reason() {
        let refused: Answer = serde_json::from_str(
            r#"{"action":"ErrorResponse","message":"Malformed request","serverSparkVersion":"3.5.7"}"#,
        )
        .unwrap();
        let error = refused.accepted("take the submission").unwrap_err().to_string();
        assert_eq!(error, "the Spark master refused to take the submission: Malformed request");
    }

    #[test]
    fn an_answer_is_read() {
        let text = r#"{"action":"SubmissionStatusResponse","driverState":"RUNNING","serverSparkVersion":"3.5.7","submissionId":"driver-1","success":true,"workerHostPort":"127.0.9.4:17100","workerId":"w"}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        let answer = answer.accepted("x").unwrap();
        assert_eq!(
            (answer.driver_state.as_deref(), answer.worker_host_port.as_deref()),
            (Some("RUNNING"), Some("127.0.9.4:17100"))
        );
    }
}
