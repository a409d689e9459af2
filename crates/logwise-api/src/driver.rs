//! The driver of a pipeline's streaming query: what is submitted to the Spark master.

use crate::references::SecretRef;
use crate::schema::{atomic, check, require, texts};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The driver of the streaming query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(
    transform = require(
        ".mainClass",
        "self.mode != 'Managed' || has(self.mainClass)",
        "must be specified when `mode` is Managed: by its class the operator knows the driver"
    ),
    transform = require(
        ".appResource",
        "self.mode != 'Managed' || has(self.appResource)",
        "must be specified when `mode` is Managed: it is what the operator submits"
    )
)]
pub struct SparkDriver {
    /// Managed: the operator submits the driver where none runs, and restarts it when its query stands still. Disabled:
    /// drivers are watched, none is submitted or killed. Default: Managed.
    pub mode: DriverMode,
    /// Full name of the class that the driver runs, 1 to 255 characters, such as com.example.Main. Every driver of this
    /// class at these masters is taken for the pipeline's. Required when `mode` is Managed. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        transform = check(
            "self.matches('^[A-Za-z_$][A-Za-z0-9_$]*([.][A-Za-z_$][A-Za-z0-9_$]*)*$')",
            "must be the full name of a Java class, such as com.example.Main"
        )
    )]
    pub main_class: Option<String>,
    /// URL of the application's jar, as Spark takes it, 1 to 1024 characters; it is fetched by the worker that runs the
    /// driver. Required when `mode` is Managed. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        transform = check(
            "self.matches('^(file|https?|hdfs|s3a|local):.+')",
            "must be a URL that begins with file:, http:, https:, hdfs:, s3a: or local:"
        )
    )]
    pub app_resource: Option<String>,
    /// Arguments of the main class, in their order, at most 64. Absent: none. No default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)), transform = atomic)]
    pub arguments: Vec<String>,
    /// Spark properties of the application by their names, at most 64. Those that other fields set have no place here, nor
    /// have credentials. `spark.cores.max` bounds the cores that load can ask for. Absent: none. No default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = texts(64, 4096), transform = properties)]
    pub spark_properties: BTreeMap<String, String>,
    /// Name of the application, 1 to 63 characters: by it the operator finds the application at the master.
    /// Default: logwise.
    #[schemars(
        length(min = 1, max = 63),
        transform = check(r"self.matches('\\S')", "must not consist of blanks")
    )]
    pub app_name: String,
    /// Version of Spark that the submission names as its client's. Default: 3.5.7.
    #[schemars(
        length(min = 5, max = 32),
        transform = check(
            "self.matches('^[0-9]+[.][0-9]+[.][0-9]+$')",
            "must be a version of Spark, such as 3.5.7"
        )
    )]
    pub spark_version: String,
    /// CPU cores that the driver takes from its worker, 1 to 64. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub cores: i32,
    /// Memory that the driver takes from its worker: a number of MiB (m) or GiB (g), at most 999999g. Default: 1g.
    #[schemars(
        length(min = 2, max = 10),
        transform = check(
            "self.matches('^([1-9][0-9]{0,8}m|[1-9][0-9]{0,5}g)$')",
            "must be a whole number of MiB (m) or GiB (g), such as 1g"
        )
    )]
    pub memory: String,
    /// true: Spark starts the driver again when it ends with an error, and on another worker when its worker is lost.
    /// Default: true.
    pub supervise: bool,
    /// TCP port of the driver's web interface, 1 to 65535. Default: 4040.
    #[schemars(range(min = 1, max = 65535))]
    pub ui_port: i32,
    /// Environment variables of the driver by their names, at most 32, without credentials; SPARK_ENV_LOADED=1 is always
    /// set. Absent: no others. No default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = texts(32, 4096), transform = variables)]
    pub environment: BTreeMap<String, String>,
    /// Secret in the same namespace of which each key becomes an environment variable of the driver and of the executors.
    /// Whoever may look at the Spark cluster can read them there. Absent: none. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_secret_ref: Option<SecretRef>,
    /// Seconds after which the query counts as standing still, 30 to 86400: no batch was committed although there are
    /// records to read. Default: 300.
    #[schemars(range(min = 30, max = 86400))]
    pub stalled_timeout_seconds: i32,
    /// Seconds after which the master takes a silent worker for lost, as its `spark.worker.timeout` says, 10 to 3600. A
    /// driver that is missing is submitted after one and a half times as long, and after 90 s at least. Default: 60.
    #[schemars(range(min = 10, max = 3600))]
    pub worker_timeout_seconds: i32,
}

impl Default for SparkDriver {
    fn default() -> Self {
        Self {
            mode: DriverMode::default(),
            main_class: None,
            app_resource: None,
            arguments: Vec::new(),
            spark_properties: BTreeMap::new(),
            app_name: "logwise".into(),
            spark_version: "3.5.7".into(),
            cores: 1,
            memory: "1g".into(),
            supervise: true,
            ui_port: 4040,
            environment: BTreeMap::new(),
            environment_secret_ref: None,
            stalled_timeout_seconds: 300,
            worker_timeout_seconds: 60,
        }
    }
}

/// Whether the operator sees to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriverMode {
    /// It submits and restarts it.
    #[default]
    Managed,
    /// It watches drivers only.
    Disabled,
}

/// What holds for names of Spark properties.
fn properties(schema: &mut Schema) {
    check(
        "self.all(key, key.matches('^spark[.][A-Za-z0-9._-]+$'))",
        "must have keys that begin with `spark.` and go on with letters, digits, '.', '_' and '-'",
    )(schema);
    check(
        "['spark.master', 'spark.submit.deployMode', 'spark.driver.supervise', 'spark.app.name', 'spark.ui.port', 'spark.driver.cores', 'spark.driver.memory'].all(key, !(key in self))",
        "must not set spark.master, spark.submit.deployMode, spark.driver.supervise, spark.app.name, spark.ui.port, spark.driver.cores or spark.driver.memory: these come from `masters` and from other fields of `driver`",
    )(schema);
    check(
        "!('spark.cores.max' in self) || self['spark.cores.max'].matches('^[1-9][0-9]{0,8}$')",
        "must have a whole number from 1 on as spark.cores.max",
    )(schema);
    no_credentials(schema);
}

/// What holds for names of environment variables.
fn variables(schema: &mut Schema) {
    check(
        "self.all(key, key.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
        "must have keys that are names of environment variables: letters, digits and '_', not beginning with a digit",
    )(schema);
    no_credentials(schema);
}

fn no_credentials(schema: &mut Schema) {
    check(
        "self.all(key, !key.matches('(?i)(secret|password|(access|account|private)[._-]?key|jaas[._-]?config|session[._-]?token|token$)'))",
        "must not hold credentials: use `environmentSecretRef`",
    )(schema);
}
