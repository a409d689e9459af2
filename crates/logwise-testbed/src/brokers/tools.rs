//! Kafka's own command-line programs at a cluster: a witness of its topics, quotas, rights.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Brokers;
use crate::command::{command, output};
use crate::kafka::{self, TopicDescription};
use crate::prerequisites;

const DEADLINE: Duration = Duration::from_secs(60);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const RATE: &str = "controller_mutation_rate";

impl Brokers {
    /// What Kafka's own command line says about a topic; an independent witness, a few seconds slow. Errors when there
    /// is no such topic.
    pub async fn describe(&self, topic: &str) -> Result<TopicDescription> {
        let said = self.tool(TOPICS, &["--describe", "--topic", topic]).await;
        let text = said.with_context(|| format!("describing topic {topic}"))?;
        kafka::parse_description(&text, topic)
            .with_context(|| format!("Kafka's command line did not describe topic {topic}: {text}"))
    }

    /// Bounds how many partitions per second the clients of one id may create or delete, by the default for all ids. A
    /// client of librdkafka that wants more notices it as delay. The bed's own clients are bounded too.
    pub async fn set_mutation_quota(&self, per_second: f64) -> Result<()> {
        self.quota("--add-config", &format!("{RATE}={per_second}")).await
    }

    /// Removes what [`Brokers::set_mutation_quota`] has set. Errors when nothing is set.
    pub async fn clear_mutation_quota(&self) -> Result<()> {
        self.quota("--delete-config", RATE).await
    }

    async fn quota(&self, change: &str, value: &str) -> Result<()> {
        let args = ["--alter", change, value, "--entity-type", "clients", "--entity-default"];
        self.tool(CONFIGS, &args).await.map(drop).with_context(|| format!("changing the quota of clients: {value}"))
    }

    /// The broker that is the active controller.
    pub async fn active_controller(&self) -> Result<u32> {
        let said = self.tool(QUORUM, &["describe", "--status"]).await.context("asking for the active controller")?;
        let leader = said.lines().find_map(|line| line.strip_prefix("LeaderId:")?.trim().parse::<u32>().ok());
        leader.with_context(|| format!("Kafka's command line did not name the active controller: {said}"))
    }

    /// Runs `kafka-acls` with these arguments, as one who may do everything. The brokers may know a moment later.
    pub async fn kafka_acls(&self, args: &[&str]) -> Result<()> {
        self.tool(ACLS, args).await.map(drop).with_context(|| format!("running `kafka-acls {}`", args.join(" ")))
    }

    async fn tool(&self, class: &str, args: &[&str]) -> Result<String> {
        let mut words = kafka::java_arguments(&self.site, "log4j2-tools.properties")?;
        words.extend([class.to_owned(), "--bootstrap-server".to_owned(), self.bootstrap()]);
        words.extend(args.iter().map(ToString::to_string));
        output(command(prerequisites::jdk()?.join("bin/java"), words), DEADLINE).await
    }
}
