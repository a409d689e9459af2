//! The operator's configuration: one YAML file; every scalar key also as a flag and an environment variable.

mod values;

pub use values::{
    DeniedRange, Endpoint, GraceSeconds, Installation, LabelSelector, LeaseSeconds, Listen, Namespace, Seconds, Shard,
};

use logwise_plan::grants::Grants;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The configuration file. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct File {
    /// Name of this installation; part of the ids of lifecycle rules.
    pub installation: Option<Installation>,
    /// Namespaces looked at; empty: all.
    pub namespaces: Vec<Namespace>,
    /// Objects looked at, by their labels; absent: all.
    pub selector: Option<LabelSelector>,
    /// Name of this share of the objects, if others serve the rest.
    pub shard: Option<Shard>,
    /// The operator's own namespace.
    pub own_namespace: Option<Namespace>,
    /// Which replica leads.
    pub leader_election: LeaderElection,
    /// The HTTP interface.
    pub http: Http,
    /// The Orchestrator DB.
    pub database: DatabaseSection,
    /// AWS.
    pub aws: Aws,
    /// Which namespaces may refer to what; none: everything is allowed.
    pub grants: Grants,
    /// Labels of namespaces that tenants cannot set, for grants that select by them.
    pub trusted_namespace_labels: BTreeSet<String>,
    /// Whether AWS endpoints may be plain HTTP or on this machine: for tests.
    pub allow_insecure_endpoints: Option<bool>,
    /// Times between looks.
    pub intervals: Intervals,
    /// What becomes of services that were found.
    pub discovery: DiscoverySection,
    /// How retention policies are deleted.
    pub deletion: DeletionSection,
    /// Checks before anything needs what is checked.
    pub preflight: Preflight,
    /// Metrics.
    pub metrics: MetricsSection,
    /// Logging.
    pub log: Log,
}

/// `leaderElection`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElection {
    /// Whether several replicas share the work by a Lease.
    pub enabled: Option<bool>,
    /// How long a replica leads after each renewal.
    pub lease_seconds: Option<LeaseSeconds>,
}

/// `http`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http {
    /// Address to listen on.
    pub listen: Option<Listen>,
}

/// `database`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DatabaseSection {
    /// `sqlite://<path>` or `mysql://<user>:<password>@<host>:<port>/<schema>`.
    pub url: Option<String>,
}

impl fmt::Debug for DatabaseSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.write_str("DatabaseSection")
    }
}

/// `aws`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Aws {
    /// Endpoint for every AWS service, for S3-compatible stores and tests.
    #[serde(rename = "endpointURL")]
    pub endpoint_url: Option<Endpoint>,
    /// Addresses that no endpoint may lead to.
    pub denied_ranges: Vec<DeniedRange>,
}

/// `intervals`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Intervals {
    /// Between two looks at Kafka.
    pub kafka_seconds: Option<Seconds>,
    /// Between two looks at Spark and its workers' group.
    pub spark_seconds: Option<Seconds>,
    /// Between two looks at a bucket's lifecycle rules.
    pub s3_seconds: Option<Seconds>,
    /// Between two listings of the services in a bucket.
    pub discovery_seconds: Option<Seconds>,
}

/// `discovery`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DiscoverySection {
    /// How long a service whose logs are gone keeps its rule.
    pub grace_seconds: Option<GraceSeconds>,
}

/// `deletion`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeletionSection {
    /// How long a deleted policy waits for its lifecycle rules to be removed.
    pub deadline_seconds: Option<Seconds>,
}

/// `preflight`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Preflight {
    /// Whether references, AWS permissions and Kafka ACLs are checked.
    pub enabled: Option<bool>,
}

/// `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricsSection {
    /// Whether there are series of each topic.
    pub per_topic: Option<bool>,
}

/// `log`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// Form of a line.
    pub format: Option<LogFormat>,
    /// What is logged.
    pub level: Option<LogLevel>,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what may need attention.
    Warn,
    /// And what changed.
    #[default]
    Info,
    /// And what was looked at.
    Debug,
    /// Everything.
    Trace,
}

/// The file cannot be used. One line for people: file, line, key, what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no configuration.
    #[error("{path}:{line}: {problem}")]
    Parse {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// Key and allowed values.
        problem: String,
    },
    /// An endpoint of a grant may not be called.
    #[error("{problem}")]
    Endpoint {
        /// Grant, key and why.
        problem: String,
    },
}

/// Reads the configuration file.
pub fn read(path: &Path) -> Result<File, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
    parse(&shown, &text)
}

/// Parses the text of a configuration file; `path` is for the error.
pub fn parse(path: &str, text: &str) -> Result<File, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(File::default());
    }
    let file: File = serde_yaml::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        ConfigError::Parse { path: path.to_owned(), line, problem: with_key(text, line, &one_line(&error.to_string())) }
    })?;
    file.grants.validate(&file.trusted_namespace_labels).map_err(|problem| {
        let line = text.lines().position(|line| line.starts_with("grants:")).map_or(1, |at| at + 1);
        ConfigError::Parse { path: path.to_owned(), line, problem: format!("grants: {problem}") }
    })?;
    Ok(file)
}

/// The parser names the section; the key itself stands in the line.
fn with_key(text: &str, line: usize, problem: &str) -> String {
    let key = text.lines().nth(line.saturating_sub(1)).and_then(|line| line.split_once(':')).map(|(key, _)| key.trim());
    match key {
        Some(key) if !key.is_empty() && !problem.contains(key) => format!("{key}: {problem}"),
        _ => problem.to_owned(),
    }
}

/// Without the position, which stands in front, and without line breaks.
fn one_line(problem: &str) -> String {
    let text = problem.split_once(" at line ").map_or(problem, |(before, _)| before);
    without_urls(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The parser quotes what it did not expect; a URL in the wrong place may hold a password.
fn without_urls(text: &str) -> String {
    let hidden = |word: &str| if word.contains("://") { "(a URL)".to_owned() } else { word.to_owned() };
    text.split(' ').map(hidden).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        parse("c.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn every_mistake_names_file_line_key_and_what_is_allowed() {
        let unknown = problem("installation: prod\nintervalls:\n  kafkaSeconds: 3\n");
        assert!(
            unknown.starts_with("c.yaml:2: ") && unknown.contains("`intervalls`") && unknown.contains("`intervals`"),
            "{unknown}"
        );
        let range = problem("installation: prod\nintervals:\n  kafkaSeconds: 0\n");
        assert!(
            range.starts_with("c.yaml:3: ") && range.contains("kafkaSeconds") && range.contains("1 to 86400"),
            "{range}"
        );
        let label = problem("installation: Prod_1\n");
        assert!(
            label.starts_with("c.yaml:1: ") && label.contains("installation") && label.contains("32 characters"),
            "{label}"
        );
        let format = problem("log:\n  format: xml\n");
        assert!(format.starts_with("c.yaml:2: ") && format.contains("json"), "{format}");
        let syntax = problem("installation: [\n");
        assert!(syntax.starts_with("c.yaml:"), "{syntax}");
        assert!(!syntax.contains('\n'));
    }

    #[test]
    fn denied_ranges_and_endpoints_of_grants_are_read_and_mistakes_named() {
        let file = parse("c.yaml", "aws:\n  deniedRanges: [10.0.0.0/8, \"fd00::/8\"]\n").unwrap();
        assert_eq!(file.aws.denied_ranges.len(), 2);
        let range = problem("aws:\n  deniedRanges: [10.0.0.0]\n");
        assert!(range.starts_with("c.yaml:2: ") && range.contains("10.0.0.0/8"), "{range}");
        let two = problem(
            "grants:\n- {namespaces: [a], endpoints: {s3: https://one.example.com}}\n- {namespaces: ['*'], endpoints: {s3: https://two.example.com}}\n",
        );
        assert!(two.contains("grants[1].endpoints.s3") && two.contains("one.example.com"), "{two}");
        let unknown = problem("grants:\n- {namespaces: [a], endpoints: {glue: https://one.example.com}}\n");
        assert!(unknown.contains("glue") && unknown.contains("autoScaling"), "{unknown}");
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(parse("c.yaml", "# nothing\n\n").unwrap(), File::default());
    }

    #[test]
    fn the_database_url_is_never_shown() {
        let file = parse("c.yaml", "database:\n  url: mysql://u:canary@h:3306/s\n").unwrap();
        assert!(!format!("{file:?}").contains("canary"));
        for misplaced in
            ["database: mysql://u:canary@h:3306/s\n", "mysql://u:canary@h:3306/s: 1\n", "- mysql://u:canary@h/s\n"]
        {
            assert!(!problem(misplaced).contains("canary"), "{}", problem(misplaced));
        }
    }
}
