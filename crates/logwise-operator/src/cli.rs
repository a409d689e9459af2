//! The command line of `logwise-operator`.

use crate::config::{
    ConfigError, Endpoint, File, GraceSeconds, Installation, LabelSelector, LeaseSeconds, Listen, LogFormat, LogLevel,
    Namespace, Seconds, Shard,
};
use crate::import::cluster_name;
use clap::{Args, Parser, Subcommand};
use logwise_plan::endpoint::Range;
use logwise_plan::grants::Grants;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Kubernetes operator for Logwise log pipelines.
#[derive(Debug, Parser)]
#[command(name = "logwise-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until it is told to stop.
    Run(Box<Settings>),
    /// Print the custom resource definitions, or write one file each into a folder.
    Crds {
        /// Folder to write to.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Print RetentionPolicies for the days in the old Orchestrator's table service_details. Changes nothing.
    Import(Import),
    /// Print the version.
    Version,
}

/// What is imported, and for whom.
#[derive(Args, Debug)]
pub struct Import {
    /// Database of the old Orchestrator: mysql://USER:PASSWORD@HOST:PORT/SCHEMA or sqlite://PATH. It is only read.
    #[arg(long, env = "LOGWISE_IMPORT_DATABASE", hide_env_values = true, value_name = "URL")]
    pub database: String,
    /// Name of the LogwiseCluster in whose bucket these services are.
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    pub cluster: String,
    /// Namespace of that LogwiseCluster, for the policies; none: kubectl decides.
    #[arg(long)]
    pub namespace: Option<Namespace>,
}

/// Each key of the configuration file; a flag wins over the environment, the environment over the file.
#[derive(Args, Debug)]
pub struct Settings {
    /// Configuration file (YAML).
    #[arg(long, env = "LOGWISE_CONFIG")]
    pub config: Option<PathBuf>,
    /// `installation`: name of this installation, part of the ids of lifecycle rules.
    #[arg(long, env = "LOGWISE_INSTALLATION")]
    installation: Option<Installation>,
    /// `namespaces`: namespaces looked at, separated by commas; none: all.
    #[arg(long, env = "LOGWISE_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<Namespace>,
    /// `selector`: objects looked at, by their labels; none: all.
    #[arg(long, env = "LOGWISE_SELECTOR")]
    selector: Option<LabelSelector>,
    /// `shard`: name of this share of the objects, if other operators of the installation serve the rest.
    #[arg(long, env = "LOGWISE_SHARD")]
    shard: Option<Shard>,
    /// `ownNamespace`: the operator's own namespace, for its Lease and its intents.
    #[arg(long, env = "LOGWISE_OWN_NAMESPACE")]
    own_namespace: Option<Namespace>,
    /// `leaderElection.enabled`: several replicas, of which one leads.
    #[arg(long, env = "LOGWISE_LEADER_ELECTION_ENABLED")]
    leader_election_enabled: Option<bool>,
    /// `leaderElection.leaseSeconds`: how long a replica leads after each renewal.
    #[arg(long, env = "LOGWISE_LEADER_ELECTION_LEASE_SECONDS")]
    leader_election_lease_seconds: Option<LeaseSeconds>,
    /// `http.listen`: address of the HTTP interface.
    #[arg(long, env = "LOGWISE_HTTP_LISTEN")]
    http_listen: Option<Listen>,
    /// `database.url`: sqlite://PATH or mysql://USER:PASSWORD@HOST:PORT/SCHEMA.
    #[arg(long, env = "LOGWISE_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// `aws.endpointURL`: endpoint for every AWS service.
    #[arg(long, env = "LOGWISE_AWS_ENDPOINT_URL")]
    aws_endpoint_url: Option<Endpoint>,
    /// `allowInsecureEndpoints`: AWS endpoints may be plain HTTP or on this machine; for tests only.
    #[arg(long, env = "LOGWISE_ALLOW_INSECURE_ENDPOINTS", num_args = 0..=1, default_missing_value = "true")]
    allow_insecure_endpoints: Option<bool>,
    /// `intervals.kafkaSeconds`: between two looks at Kafka.
    #[arg(long, env = "LOGWISE_INTERVALS_KAFKA_SECONDS")]
    intervals_kafka_seconds: Option<Seconds>,
    /// `intervals.sparkSeconds`: between two looks at Spark and its workers' group.
    #[arg(long, env = "LOGWISE_INTERVALS_SPARK_SECONDS")]
    intervals_spark_seconds: Option<Seconds>,
    /// `intervals.s3Seconds`: between two looks at a bucket's lifecycle rules.
    #[arg(long, env = "LOGWISE_INTERVALS_S3_SECONDS")]
    intervals_s3_seconds: Option<Seconds>,
    /// `intervals.discoverySeconds`: between two listings of the services in a bucket.
    #[arg(long, env = "LOGWISE_INTERVALS_DISCOVERY_SECONDS")]
    intervals_discovery_seconds: Option<Seconds>,
    /// `discovery.graceSeconds`: how long a service whose logs are gone keeps its lifecycle rule.
    #[arg(long, env = "LOGWISE_DISCOVERY_GRACE_SECONDS")]
    discovery_grace_seconds: Option<GraceSeconds>,
    /// `deletion.deadlineSeconds`: how long a deleted RetentionPolicy waits for its lifecycle rules to be removed.
    #[arg(long, env = "LOGWISE_DELETION_DEADLINE_SECONDS")]
    deletion_deadline_seconds: Option<Seconds>,
    /// `preflight.enabled`: references, AWS permissions and Kafka ACLs are checked before anything needs them.
    #[arg(long, env = "LOGWISE_PREFLIGHT_ENABLED")]
    preflight_enabled: Option<bool>,
    /// `metrics.perTopic`: the metrics have series of each topic.
    #[arg(long, env = "LOGWISE_METRICS_PER_TOPIC")]
    metrics_per_topic: Option<bool>,
    /// `log.format`: form of a log line.
    #[arg(long, env = "LOGWISE_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// `log.level`: what is logged.
    #[arg(long, env = "LOGWISE_LOG_LEVEL", value_enum)]
    log_level: Option<LogLevel>,
}

/// The configuration in force.
#[derive(Clone)]
pub struct Config {
    /// Name of this installation.
    pub installation: String,
    /// Namespaces looked at; empty: all.
    pub namespaces: Vec<String>,
    /// Objects looked at, by their labels.
    pub selector: Option<String>,
    /// Share of the objects; empty: all.
    pub shard: String,
    /// The operator's own namespace, if it was named.
    pub own_namespace: Option<String>,
    /// How long a replica leads after each renewal; `None`: this is the only replica.
    pub lease_seconds: Option<u32>,
    /// Address of the HTTP interface.
    pub listen: SocketAddr,
    /// URL of the Orchestrator DB; may hold a password.
    pub database_url: String,
    /// Endpoint for every AWS service.
    pub aws_endpoint_url: Option<String>,
    /// Whether AWS endpoints may be plain HTTP or on this machine.
    pub allow_insecure_endpoints: bool,
    /// Addresses that AWS endpoints may not lead to.
    pub denied_ranges: Vec<Range>,
    /// Which namespaces may refer to what.
    pub grants: Grants,
    /// Seconds between two looks at Kafka.
    pub kafka_seconds: u32,
    /// Seconds between two looks at Spark.
    pub spark_seconds: u32,
    /// Seconds between two looks at a bucket.
    pub s3_seconds: u32,
    /// Seconds between two listings of a bucket's services.
    pub discovery_seconds: u32,
    /// Seconds for which a service whose logs are gone keeps its rule.
    pub grace_seconds: u32,
    /// Seconds for which a deleted policy waits for its rules to be removed.
    pub deletion_seconds: u32,
    /// Whether references, AWS permissions and Kafka ACLs are checked.
    pub preflight: bool,
    /// Whether the metrics have series of each topic.
    pub per_topic: bool,
    /// Form of a log line.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: LogLevel,
}

impl Settings {
    /// Flags and environment over the file over the defaults.
    pub fn over(&self, file: &File) -> Config {
        let seconds =
            |flag: Option<Seconds>, file: Option<Seconds>, default| flag.or(file).map_or(default, Seconds::get);
        let namespaces = if self.namespaces.is_empty() { &file.namespaces } else { &self.namespaces };
        let installation = self.installation.as_ref().or(file.installation.as_ref());
        let endpoint = self.aws_endpoint_url.as_ref().or(file.aws.endpoint_url.as_ref());
        let database = self.database_url.clone().or_else(|| file.database.url.clone());
        let listen = self.http_listen.or(file.http.listen);
        let intervals = &file.intervals;
        Config {
            installation: installation.map_or("logwise", Installation::as_str).to_owned(),
            selector: self.selector.as_ref().or(file.selector.as_ref()).map(|s| s.as_str().to_owned()),
            shard: self.shard.as_ref().or(file.shard.as_ref()).map_or(String::new(), |s| s.as_str().to_owned()),
            own_namespace: self.own_namespace.as_ref().or(file.own_namespace.as_ref()).map(|n| n.as_str().to_owned()),
            lease_seconds: self.lease_seconds(file),
            namespaces: namespaces.iter().map(|n| n.as_str().to_owned()).collect(),
            listen: listen.map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)), |listen| listen.0),
            database_url: database.unwrap_or_else(|| "sqlite://logwise.db".to_owned()),
            aws_endpoint_url: endpoint.map(|e| e.as_str().to_owned()),
            allow_insecure_endpoints: self.allow_insecure_endpoints.or(file.allow_insecure_endpoints).unwrap_or(false),
            denied_ranges: file.aws.denied_ranges.iter().map(|range| range.0).collect(),
            grants: file.grants.clone(),
            kafka_seconds: seconds(self.intervals_kafka_seconds, intervals.kafka_seconds, 60),
            spark_seconds: seconds(self.intervals_spark_seconds, intervals.spark_seconds, 30),
            s3_seconds: seconds(self.intervals_s3_seconds, intervals.s3_seconds, 60),
            discovery_seconds: seconds(self.intervals_discovery_seconds, intervals.discovery_seconds, 300),
            grace_seconds: self
                .discovery_grace_seconds
                .or(file.discovery.grace_seconds)
                .map_or(86_400, GraceSeconds::get),
            deletion_seconds: seconds(self.deletion_deadline_seconds, file.deletion.deadline_seconds, 600),
            preflight: self.preflight_enabled.or(file.preflight.enabled).unwrap_or(true),
            per_topic: self.metrics_per_topic.or(file.metrics.per_topic).unwrap_or(true),
            log_format: self.log_format.or(file.log.format).unwrap_or_default(),
            log_level: self.log_level.or(file.log.level).unwrap_or_default(),
        }
    }
}

impl Config {
    /// Whether AWS may be called where the grants say: flags decide whether in plain HTTP.
    ///
    /// # Errors
    /// [`ConfigError::Endpoint`]
    pub fn check(self) -> Result<Self, ConfigError> {
        match self.grants.check_endpoints(self.allow_insecure_endpoints, &self.denied_ranges) {
            Ok(()) => Ok(self),
            Err(problem) => Err(ConfigError::Endpoint { problem }),
        }
    }

    /// Which objects are looked at.
    pub fn scope(&self) -> crate::watch::Scope {
        crate::watch::Scope { namespaces: self.namespaces.clone(), selector: self.selector.clone() }
    }
}

impl Settings {
    fn lease_seconds(&self, file: &File) -> Option<u32> {
        let of_file = &file.leader_election;
        let enabled = self.leader_election_enabled.or(of_file.enabled).unwrap_or(false);
        let seconds = self.leader_election_lease_seconds.or(of_file.lease_seconds);
        enabled.then(|| seconds.map_or(15, LeaseSeconds::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn by_default_a_bucket_is_looked_at_soon_enough_to_tell_within_90_s_what_others_did_there() {
        use logwise_plan::Known;
        use logwise_plan::retention::{Observed, Policy, plan};
        let Command::Run(settings) = Cli::try_parse_from(["logwise-operator", "run"]).unwrap().command else {
            panic!("not run")
        };
        let period = settings.over(&crate::config::parse("c", "").unwrap()).s3_seconds;
        let policy = Policy { look_period_seconds: period, ..Policy::default() };
        let at_rest = Observed::new(Known::Known(Default::default()), Known::Absent);
        let next_look = plan(&policy, &at_rest, jiff::Timestamp::UNIX_EPOCH).next_look_seconds;
        // The rest is for the look itself and for its turn.
        assert!(next_look + 30 <= 90, "the next look comes after {next_look} s");
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let cli = Cli::try_parse_from(["logwise-operator", "run", "--intervals-kafka-seconds", "5"]).unwrap();
        let Command::Run(settings) = cli.command else { panic!("not run") };
        let file =
            crate::config::parse("c", "intervals: {kafkaSeconds: 7, sparkSeconds: 9}\ninstallation: prod\n").unwrap();
        let config = settings.over(&file);
        assert_eq!((config.kafka_seconds, config.spark_seconds, config.s3_seconds), (5, 9, 60));
        assert_eq!(config.installation, "prod");
        assert!(config.preflight);
        assert!(config.denied_ranges.is_empty());
        assert_eq!((config.grace_seconds, config.deletion_seconds), (86_400, 600));
        let off =
            crate::config::parse("c", "preflight: {enabled: false}\ndiscovery: {graceSeconds: 604800}\n").unwrap();
        assert!(!settings.over(&off).preflight);
        assert_eq!(settings.over(&off).grace_seconds, 604_800);
        assert!(crate::config::parse("c", "discovery: {graceSeconds: 0}\n").is_err());
        let late = crate::config::parse("c", "deletion: {deadlineSeconds: 3600}\n").unwrap();
        assert_eq!(settings.over(&late).deletion_seconds, 3_600);
        let given = ["logwise-operator", "run", "--deletion-deadline-seconds", "30"];
        let Command::Run(given) = Cli::try_parse_from(given).unwrap().command else { panic!("not run") };
        assert_eq!(given.over(&late).deletion_seconds, 30);
        assert!(crate::config::parse("c", "deletion: {deadlineSeconds: 0}\n").is_err());
    }

    #[test]
    fn endpoints_of_grants_are_as_strict_as_that_of_everybody() {
        let cli = |args: &[&str]| Cli::try_parse_from([&["logwise-operator", "run"], args].concat()).unwrap();
        let check = |args: &[&str], url: &str| {
            let Command::Run(settings) = cli(args).command else { panic!("not run") };
            let text = format!(
                "aws: {{deniedRanges: [10.96.0.0/12]}}\ngrants:\n- namespaces: [a]\n  endpoints: {{sts: \"{url}\"}}\n"
            );
            settings.over(&crate::config::parse("c", &text).unwrap()).check().map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[], "https://sts.example.com"), Ok(()));
        let plain = check(&[], "http://sts.example.com").unwrap_err();
        assert!(plain.contains("grants[0].endpoints.sts") && plain.contains("is not encrypted"), "{plain}");
        assert_eq!(check(&["--allow-insecure-endpoints"], "http://sts.example.com"), Ok(()));
        let denied = check(&["--allow-insecure-endpoints"], "https://10.100.0.9").unwrap_err();
        assert!(denied.contains("10.96.0.0/12"), "{denied}");
    }

    #[test]
    fn an_import_names_its_cluster() {
        let cli = |args: &[&str]| Cli::try_parse_from([&["logwise-operator", "import"], args].concat());
        let database = ["--database", "mysql://u:canary@h/s"];
        let Command::Import(import) =
            cli(&[&database[..], &["--cluster", "demo", "--namespace", "a"]].concat()).unwrap().command
        else {
            panic!("not import")
        };
        assert_eq!((import.cluster.as_str(), import.namespace.unwrap().as_str()), ("demo", "a"));
        for (rest, problem) in [
            (&[][..], "--cluster"),
            (&["--cluster", "Demo"][..], "lower-case letters"),
            (&["--cluster", "demo", "--namespace", "B_d"][..], "63 characters"),
        ] {
            let error = cli(&[&database[..], rest].concat()).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_bad_flag_says_what_is_allowed() {
        let error = Cli::try_parse_from(["logwise-operator", "run", "--intervals-kafka-seconds", "0"]).unwrap_err();
        assert!(error.to_string().contains("1 to 86400"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
