//! One Kafka broker, and Kafka's own command line as an independent witness.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::command::{command, output};
use crate::folder::{Folder, write_atomically};
use crate::prerequisites;
use crate::process::{Ending, Server, complete, probe, start};
use crate::site::Site;
use crate::workspace::crate_path;

const TEMPLATE: &str = include_str!("../kafka/server.properties");
const PROGRAM_DEADLINE: Duration = Duration::from_secs(60);
const QUICK_START: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// Formats the storage the first time, starts the broker, returns when it lists itself.
pub async fn up(site: &Site) -> Result<()> {
    let folder = site.folder.sub("kafka")?;
    let java = prerequisites::jdk()?.join("bin/java");
    write_atomically(&folder.join("server.properties"), properties(site, &folder).as_bytes())?;
    write_program(site, &java, "kafka-topics", "org.apache.kafka.tools.TopicCommand")?;
    if !folder.join("formatted").exists() {
        format(site, &folder, &java).await?;
        write_atomically(&folder.join("formatted"), b"")?;
    }
    start(&site.folder, &server(site)?).await.map(drop)
}

/// The broker.
pub fn server(site: &Site) -> Result<Server> {
    let bootstrap = bootstrap(site);
    Ok(Server {
        name: "kafka".to_owned(),
        program: prerequisites::jdk()?.join("bin/java"),
        args: broker_arguments(site)?,
        env: Vec::new(),
        cwd: site.folder.path("kafka"),
        ending: Ending::Terminate { seconds: 5 },
        ready_within: PROGRAM_DEADLINE,
        ready: probe(move || {
            let bootstrap = bootstrap.clone();
            async move { lists_a_broker(&bootstrap).await }
        }),
    })
}

/// Where clients connect.
pub fn bootstrap(site: &Site) -> String {
    site.addresses.at(site.addresses.ports.kafka)
}

fn properties(site: &Site, folder: &Path) -> String {
    let ports = &site.addresses.ports;
    TEMPLATE
        .replace("@HOST@", &site.addresses.host().to_string())
        .replace("@BROKER@", &ports.kafka.to_string())
        .replace("@CONTROLLER@", &ports.kafka_controller.to_string())
        .replace("@DATA@", &folder.join("data").display().to_string())
}

async fn format(site: &Site, folder: &Path, java: &Path) -> Result<()> {
    let id = cluster_id(&site.addresses.password);
    let mut args = java_arguments(site, "log4j2-tools.properties")?;
    let words = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", &id, "-c", "server.properties"];
    args.extend(words.map(String::from));
    let program = Server::once("kafka-format", java.to_owned(), args, folder, PROGRAM_DEADLINE);
    complete(&site.folder, &program).await.context("formatting Kafka's storage")
}

/// A cluster id is 16 bytes in base64, so of the last of its 22 characters only two bits count. Beds differ by it, as
/// it is the name under which the operator knows a Kafka.
pub(crate) fn cluster_id(random: &str) -> String {
    random.chars().rev().chain("bed".chars().cycle()).take(21).chain(['A']).collect()
}

/// Java's arguments for a broker with its `server.properties` in the working folder.
pub(crate) fn broker_arguments(site: &Site) -> Result<Vec<String>> {
    let mut args = java_arguments(site, "log4j2.properties")?;
    args.splice(0..0, ["-Xms64m", "-Xmx256m"].map(String::from));
    args.extend(["kafka.Kafka", "server.properties"].map(String::from));
    Ok(args)
}

/// Java's arguments before the class: quick start, a file of log settings, Kafka's jars.
pub fn java_arguments(site: &Site, logging: &str) -> Result<Vec<String>> {
    let logging = format!("-Dlog4j2.configurationFile={}", crate_path("kafka")?.join(logging).display());
    let classes = format!("{}/*", site.tools.kafka.display());
    Ok(QUICK_START.iter().map(ToString::to_string).chain([logging, "-cp".to_owned(), classes]).collect())
}

/// A small shell program in `bin` around one of Kafka's own command-line programs.
fn write_program(site: &Site, java: &Path, name: &str, class: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let arguments = java_arguments(site, "log4j2-tools.properties")?
        .iter()
        .map(|word| format!("'{word}'"))
        .collect::<Vec<_>>()
        .join(" ");
    let text = format!(
        "#!/bin/sh\nexec '{}' {arguments} {class} --bootstrap-server {} \"$@\"\n",
        java.display(),
        bootstrap(site)
    );
    let path = site.folder.sub("bin")?.join(name);
    write_atomically(&path, text.as_bytes())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("making {name} executable"))
}

/// The first answer of a broker may come before it has joined its cluster: it is ready when it lists itself.
async fn lists_a_broker(bootstrap: &str) -> Result<()> {
    ensure!(!listed(bootstrap).await?.is_empty(), "Kafka lists no broker yet");
    Ok(())
}

/// The ids of the brokers that Kafka lists when it is asked at an address.
pub(crate) async fn listed(bootstrap: &str) -> Result<Vec<i32>> {
    // An open port first: a client of librdkafka is too heavy to be made twenty times a second.
    tokio::net::TcpStream::connect(bootstrap).await.context("connecting to Kafka")?;
    let mut config = client_config(bootstrap);
    let look = move || -> Result<Vec<i32>> {
        let consumer: BaseConsumer =
            config.set_log_level(RDKafkaLogLevel::Emerg).create().context("creating a Kafka client")?;
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(3)).context("asking Kafka for its brokers")?;
        Ok(metadata.brokers().iter().map(|broker| broker.id()).collect())
    };
    tokio::task::spawn_blocking(look).await.context("asking Kafka")?
}

/// The settings of the bed's own clients: short waits. Without a group, so that no topic is made for its offsets.
pub fn client_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("socket.timeout.ms", "10000");
    config
}

/// What Kafka's own command line says about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic's id.
    pub id: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
}

/// Asks Kafka's own command line about a topic. Errors when there is no such topic.
pub async fn topics_describe(folder: &Folder, topic: &str) -> Result<TopicDescription> {
    let ask = command(folder.bin().join("kafka-topics"), ["--describe", "--topic", topic]);
    let text = output(ask, PROGRAM_DEADLINE).await.with_context(|| format!("describing topic {topic}"))?;
    parse_description(&text, topic)
        .with_context(|| format!("Kafka's command line did not describe topic {topic}: {text}"))
}

/// The first line is `Topic: a  TopicId: b  PartitionCount: 3  ReplicationFactor: 1  Configs: ...`.
pub(crate) fn parse_description(text: &str, topic: &str) -> Option<TopicDescription> {
    let line = text.lines().find(|line| line.contains("PartitionCount:"))?;
    let value = |name: &str| line.split_once(&format!("{name}:"))?.1.split_whitespace().next();
    (value("Topic")? == topic).then_some(())?;
    Some(TopicDescription {
        id: value("TopicId")?.to_owned(),
        partitions: value("PartitionCount")?.parse().ok()?,
        replication_factor: value("ReplicationFactor")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_is_read() {
        let text = "Topic: a.logs.web\tTopicId: yK8eLTnVTFCkKjeXdZr8xA\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: min.insync.replicas=1\n\
                    \tTopic: a.logs.web\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n";
        let wanted = TopicDescription { id: "yK8eLTnVTFCkKjeXdZr8xA".into(), partitions: 3, replication_factor: 1 };
        assert_eq!(parse_description(text, "a.logs.web"), Some(wanted));
        assert_eq!(parse_description(text, "a.logs"), None);
        assert_eq!(parse_description("", "a"), None);
    }

    #[test]
    fn a_cluster_id_has_22_characters_and_follows_the_bed() {
        let id = cluster_id("0123456789abcdef0123456789abcdef");
        assert_eq!(id, "fedcba9876543210fedcbA");
        assert_eq!(cluster_id("ab").len(), 22);
    }
}
