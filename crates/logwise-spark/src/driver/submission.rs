//! The body of a submission, as Spark's own client sends it to the REST server of a master.

use logwise_api::validate::{MasterAddress, Submission};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Spark's scripts set it; without it the worker starts the driver by way of a shell script that it may not have.
const ENV_LOADED: &str = "SPARK_ENV_LOADED";

/// Jars of the application.
const JARS: &str = "spark.jars";

/// What stands before the name of an environment variable of the executors.
const EXECUTOR_ENV: &str = "spark.executorEnv.";

/// What drivers and workers call the masters together.
pub(crate) fn master_url(masters: &[MasterAddress]) -> String {
    let masters: Vec<String> = masters.iter().map(MasterAddress::spark).collect();
    format!("spark://{}", masters.join(","))
}

/// The body that submits the driver to `master`. Every key of `secrets` becomes an environment variable of the driver
/// and of the executors, which do not inherit the driver's; they win over what the spec says. It is never to be shown
/// when there are any.
pub(crate) fn body(spec: &Submission, secrets: &BTreeMap<String, Zeroizing<String>>, master: &str) -> Value {
    json!({
        "action": "CreateSubmissionRequest",
        "clientSparkVersion": spec.spark_version,
        "appResource": spec.app_resource,
        "mainClass": spec.main_class,
        "appArgs": spec.arguments,
        "environmentVariables": environment(spec, secrets),
        "sparkProperties": properties(spec, secrets, master),
    })
}

fn environment(spec: &Submission, secrets: &BTreeMap<String, Zeroizing<String>>) -> Map<String, Value> {
    let plain = spec.environment.iter().map(|(name, value)| (name.clone(), json!(value)));
    let secret = secrets.iter().map(|(name, value)| (name.clone(), json!(value.as_str())));
    plain.chain(secret).chain([(ENV_LOADED.to_owned(), json!("1"))]).collect()
}

/// Every value is a text: the master takes no other.
fn properties(spec: &Submission, secrets: &BTreeMap<String, Zeroizing<String>>, master: &str) -> Map<String, Value> {
    let given = spec.spark_properties.iter().map(|(name, value)| (name.clone(), json!(value)));
    let secret = secrets.iter().map(|(name, value)| (format!("{EXECUTOR_ENV}{name}"), json!(value.as_str())));
    let own = [
        ("spark.master", master.to_owned()),
        ("spark.submit.deployMode", "cluster".to_owned()),
        ("spark.app.name", spec.app_name.clone()),
        ("spark.driver.supervise", spec.supervise.to_string()),
        ("spark.driver.cores", spec.cores.to_string()),
        ("spark.driver.memory", spec.memory.clone()),
        ("spark.ui.port", spec.ui_port.to_string()),
        (JARS, jars(spec)),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
    given.chain(secret).chain(own).collect()
}

/// The application's own jar belongs to those that executors get.
fn jars(spec: &Submission) -> String {
    let given = spec.spark_properties.get(JARS).map(String::as_str).unwrap_or_default();
    let mut jars: Vec<&str> = given.split(',').map(str::trim).filter(|jar| !jar.is_empty()).collect();
    if !jars.contains(&spec.app_resource.as_str()) {
        jars.push(&spec.app_resource);
    }
    jars.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "spark://127.0.0.1:17077,127.0.0.2:17077";

    fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn spec() -> Submission {
        let arguments = [
            "127.0.1.1:29092,127.0.1.2:29092",
            "logs[.].*",
            "s3a://logs/logs",
            "s3a://logs/checkpoint/application",
            "5 seconds",
            "20000",
            "parquet",
        ];
        Submission {
            main_class: "StreamApp".into(),
            app_resource: "file:///app/app.jar".into(),
            arguments: arguments.map(str::to_owned).into(),
            spark_properties: texts([
                ("spark.driver.extraClassPath", "/spark/jars2/*"),
                ("spark.executor.extraClassPath", "/spark/jars2/*"),
                ("spark.executor.memory", "512m"),
                ("spark.executor.cores", "1"),
                ("spark.cores.max", "2"),
                ("spark.sql.shuffle.partitions", "2"),
                ("spark.sql.streaming.metricsEnabled", "true"),
                ("spark.hadoop.fs.s3a.endpoint", "http://127.0.0.1:15555"),
                ("spark.hadoop.fs.s3a.path.style.access", "true"),
            ]),
            app_name: "logwise".into(),
            spark_version: "3.5.7".into(),
            cores: 1,
            memory: "512m".into(),
            supervise: false,
            ui_port: 14040,
            environment: texts([("TZ", "UTC")]),
            environment_secret: Some("keys".into()),
        }
    }

    fn secrets<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, Zeroizing<String>> {
        texts(pairs).into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect()
    }

    #[test]
    fn the_submission_is_the_golden_one() {
        let golden: Value = serde_json::from_str(include_str!("submission.golden.json")).unwrap();
        let keys = secrets([("AWS_ACCESS_KEY_ID", "AKIAT"), ("AWS_SECRET_ACCESS_KEY", "sk")]);
        let body = body(&spec(), &keys, MASTER);
        assert_eq!(body, golden, "if the change is meant, write this to submission.golden.json:\n{body:#}");
    }

    #[test]
    fn every_property_and_every_variable_is_a_text() {
        let body = body(&spec(), &secrets([("A", "1")]), MASTER);
        for part in ["sparkProperties", "environmentVariables"] {
            let texts = body[part].as_object().unwrap();
            assert!(!texts.is_empty() && texts.values().all(Value::is_string), "{texts:?}");
        }
    }

    #[test]
    fn without_a_secret_nothing_is_given_to_the_executors_and_the_environment_is_loaded() {
        let body = body(&Submission { environment: texts([(ENV_LOADED, "0")]), ..spec() }, &secrets([]), MASTER);
        assert_eq!(body["environmentVariables"], json!({ENV_LOADED: "1"}));
        let properties = body["sparkProperties"].as_object().unwrap();
        assert!(properties.keys().all(|name| !name.starts_with(EXECUTOR_ENV)), "{properties:?}");
    }

    #[test]
    fn a_secret_wins_over_the_spec_and_fields_over_properties() {
        let given = texts([("spark.executorEnv.A", "spec"), ("spark.master", "spark://elsewhere:1")]);
        let spec = Submission { environment: texts([("A", "spec")]), spark_properties: given, ..spec() };
        let body = body(&spec, &secrets([("A", "secret")]), MASTER);
        assert_eq!(body["environmentVariables"]["A"], "secret");
        assert_eq!(body["sparkProperties"]["spark.executorEnv.A"], "secret");
        assert_eq!(body["sparkProperties"]["spark.master"], MASTER, "an object may be older than the rule against it");
    }

    #[test]
    fn the_applications_jar_is_among_the_jars_once() {
        let of = |given: &str| jars(&Submission { spark_properties: texts([(JARS, given)]), ..spec() });
        assert_eq!(of(""), "file:///app/app.jar");
        assert_eq!(of("file:///a.jar, file:///b.jar"), "file:///a.jar,file:///b.jar,file:///app/app.jar");
        assert_eq!(of("file:///app/app.jar,file:///b.jar"), "file:///app/app.jar,file:///b.jar");
    }

    #[test]
    fn all_masters_are_named_in_one_url() {
        let master = |host: &str| MasterAddress { host: host.into(), port: 7077, ui_port: 8080, rest_port: 6066 };
        assert_eq!(master_url(&[master("a"), master("[::1]")]), "spark://a:7077,[::1]:7077");
    }
}
