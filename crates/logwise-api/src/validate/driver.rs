//! The driver of a pipeline's streaming query: what is wanted of it, and what is submitted.

use super::spark::port;
use super::{Invalid, change_policy, unsigned};
use crate::{DriverMode, LogwiseCluster, SparkDriver};
use logwise_plan::driver;
use std::collections::BTreeMap;

/// Seconds that no driver is active before one is submitted, at least.
const ABSENT_AT_LEAST: u32 = 90;

/// What is wanted of the driver; `None` while none is described.
pub fn driver(cluster: &LogwiseCluster, look_period_seconds: u32) -> Option<Result<driver::Policy, Invalid>> {
    let driver = cluster.spec.spark.as_ref()?.driver.as_ref()?;
    Some(policy(cluster, driver, look_period_seconds))
}

fn policy(cluster: &LogwiseCluster, driver: &SparkDriver, look_period_seconds: u32) -> Result<driver::Policy, Invalid> {
    if driver.mode == DriverMode::Managed {
        given("mainClass", driver.main_class.as_deref())?;
        given("appResource", driver.app_resource.as_deref())?;
    }
    port("spec.spark.driver.uiPort", driver.ui_port)?;
    Ok(driver::Policy {
        mode: match driver.mode {
            DriverMode::Managed => driver::Mode::Managed,
            DriverMode::Disabled => driver::Mode::Disabled,
        },
        main_class: driver.main_class.clone().unwrap_or_default(),
        supervise: driver.supervise,
        absent_seconds: absent_seconds(unsigned(driver.worker_timeout_seconds)),
        stalled_seconds: unsigned(driver.stalled_timeout_seconds),
        change: change_policy(cluster)?,
        look_period_seconds,
    })
}

fn given(name: &str, text: Option<&str>) -> Result<(), Invalid> {
    let missing = || Invalid::new(&format!("spec.spark.driver.{name}"), "must be specified when `mode` is Managed");
    text.filter(|text| !text.is_empty()).map(drop).ok_or_else(missing)
}

/// A master forgets a worker after its time-out, and may start the driver elsewhere then: half of that time more, and one
/// that is not active is missing.
fn absent_seconds(worker_timeout: u32) -> u32 {
    worker_timeout.saturating_add(worker_timeout.div_ceil(2)).max(ABSENT_AT_LEAST)
}

/// What is submitted to the master, but for its addresses and for what Secrets hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Class that the driver runs.
    pub main_class: String,
    /// URL of the application's jar.
    pub app_resource: String,
    /// Arguments of the main class.
    pub arguments: Vec<String>,
    /// Spark properties of the application; none of them is set by a field of this struct.
    pub spark_properties: BTreeMap<String, String>,
    /// Name of the application.
    pub app_name: String,
    /// Version of Spark that the submission names as its client's.
    pub spark_version: String,
    /// CPU cores of the driver.
    pub cores: i32,
    /// Memory of the driver, as Spark writes it.
    pub memory: String,
    /// Whether Spark starts the driver again.
    pub supervise: bool,
    /// TCP port of the driver's web interface.
    pub ui_port: u16,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Secret, in the object's own namespace, of which each key is an environment variable.
    pub environment_secret: Option<String>,
}

/// What is submitted to the master; `None` while the operator submits nothing, or [`driver()`] finds fault with it.
pub fn submission(cluster: &LogwiseCluster) -> Option<Submission> {
    let driver = cluster.spec.spark.as_ref()?.driver.as_ref().filter(|driver| driver.mode == DriverMode::Managed)?;
    Some(Submission {
        main_class: driver.main_class.clone().filter(|class| !class.is_empty())?,
        app_resource: driver.app_resource.clone().filter(|url| !url.is_empty())?,
        arguments: driver.arguments.clone(),
        spark_properties: driver.spark_properties.clone(),
        app_name: driver.app_name.clone(),
        spark_version: driver.spark_version.clone(),
        cores: driver.cores.max(1),
        memory: driver.memory.clone(),
        supervise: driver.supervise,
        ui_port: port("spec.spark.driver.uiPort", driver.ui_port).ok()?,
        environment: driver.environment.clone(),
        environment_secret: driver.environment_secret_ref.as_ref().map(|secret| secret.name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CLASS: &str = "com.example.Main";

    const JAR: &str = "s3a://acme-jars/main.jar";

    fn cluster(fields: Value) -> LogwiseCluster {
        let mut driver = json!({"mainClass": CLASS, "appResource": JAR});
        driver.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"name": "demo"}, "spec": {"spark": {"masters": [{"host": "s"}], "driver": driver}}});
        serde_json::from_value(object).unwrap()
    }

    fn policy_of(fields: Value) -> Result<driver::Policy, Invalid> {
        driver(&cluster(fields), 30).unwrap()
    }

    #[test]
    fn a_driver_becomes_a_policy() {
        let expected = driver::Policy {
            mode: driver::Mode::Managed,
            main_class: CLASS.into(),
            supervise: true,
            absent_seconds: 90,
            stalled_seconds: 300,
            change: logwise_plan::change::ChangePolicy::default(),
            look_period_seconds: 30,
        };
        assert_eq!(policy_of(json!({})), Ok(expected));
        let given = json!({"supervise": false, "stalledTimeoutSeconds": 60, "workerTimeoutSeconds": 121});
        let given = policy_of(given).unwrap();
        assert_eq!((given.supervise, given.stalled_seconds, given.absent_seconds), (false, 60, 182));
        let disabled = policy_of(json!({"mode": "Disabled", "mainClass": null, "appResource": null})).unwrap();
        assert_eq!((disabled.mode, disabled.main_class.as_str()), (driver::Mode::Disabled, ""));
        let mut none = cluster(json!({}));
        none.spec.spark.as_mut().unwrap().driver = None;
        assert!(driver(&none, 30).is_none() && submission(&none).is_none());
    }

    #[test]
    fn a_missing_driver_is_waited_for_as_long_as_the_master_may_need() {
        let table = [(0, 90), (10, 90), (60, 90), (61, 92), (100, 150), (3_600, 5_400), (u32::MAX, u32::MAX)];
        for (timeout, expected) in table {
            assert_eq!(absent_seconds(timeout), expected, "{timeout}");
        }
    }

    #[test]
    fn what_is_submitted_is_named_if_it_is_missing() {
        for (field, value) in [("mainClass", Value::Null), ("appResource", Value::Null), ("mainClass", json!(""))] {
            let invalid = policy_of(json!({field: value})).unwrap_err();
            assert_eq!(invalid.field, format!("spec.spark.driver.{field}"));
            assert!(invalid.problem.starts_with("must be specified"), "{invalid}");
            assert_eq!(submission(&cluster(json!({field: value}))), None);
        }
        assert_eq!(policy_of(json!({"uiPort": 70000})).unwrap_err().field, "spec.spark.driver.uiPort");
    }

    #[test]
    fn a_submission_holds_what_the_spec_says_and_no_secret() {
        let fields = json!({"arguments": ["a", "b"], "sparkProperties": {"spark.cores.max": "4"}, "cores": 2,
            "environment": {"TZ": "UTC"}, "environmentSecretRef": {"name": "keys"}, "uiPort": 4050});
        let text = |text: &str| text.to_owned();
        let expected = Submission {
            main_class: text(CLASS),
            app_resource: text(JAR),
            arguments: vec![text("a"), text("b")],
            spark_properties: [(text("spark.cores.max"), text("4"))].into(),
            app_name: text("logwise"),
            spark_version: text("3.5.7"),
            cores: 2,
            memory: text("1g"),
            supervise: true,
            ui_port: 4050,
            environment: [(text("TZ"), text("UTC"))].into(),
            environment_secret: Some(text("keys")),
        };
        assert_eq!(submission(&cluster(fields)), Some(expected));
        assert_eq!(submission(&cluster(json!({"mode": "Disabled"}))), None);
    }
}
