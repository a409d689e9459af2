//! A broker of a test's own that asks who calls and what they may do.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::command::{command, output};
use logwise_testbed::workspace::crate_path;
use logwise_testbed::{prerequisites, topics};
use logwise_tests::PATIENCE;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Name and password of the only user.
pub const USER: (&str, &str) = ("canary-user-5c1", "only-of-this-test");

const QUICK_START: [&str; 4] = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// The broker; dropped, it is killed.
pub struct Broker {
    /// Where users log in.
    pub sasl: String,
    /// Where everything is allowed.
    pub open: String,
    java: PathBuf,
    jars: PathBuf,
    folder: TempDir,
    _process: Child,
}

impl Broker {
    /// Starts it, and returns when it holds the topic `topic` of one partition.
    pub async fn start(bed: &Bed, topic: &str) -> Result<Broker> {
        let folder = tempfile::tempdir()?;
        let [open, sasl, controller] = addresses()?;
        std::fs::write(folder.path().join("server.properties"), properties(&open, &sasl, &controller, &folder))?;
        let (java, jars) = (prerequisites::jdk()?.join("bin/java"), bed.site()?.tools.kafka);
        let user = format!("SCRAM-SHA-512=[name={},password={}]", USER.0, USER.1);
        let mut format = java_program(&java, &jars, "kafka.tools.StorageTool")?;
        format.args(["format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", "server.properties", "--add-scram", &user]);
        output(in_folder(format, &folder), PATIENCE).await.context("formatting the broker's storage")?;
        let mut run = in_folder(java_program(&java, &jars, "kafka.Kafka")?, &folder);
        let log = std::fs::File::create(folder.path().join("broker.log"))?;
        run.arg("server.properties").stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log).kill_on_drop(true);
        let process = run.spawn().context("starting a broker")?;
        let broker = Broker { sasl, open, java, jars, folder, _process: process };
        broker.create(topic).await.with_context(|| broker.log())?;
        Ok(broker)
    }

    async fn create(&self, topic: &str) -> Result<()> {
        logwise_testbed::world::wait_until("the broker's port to open", PATIENCE, async || {
            tokio::net::TcpStream::connect(&self.open).await.map(drop).context("connecting to the broker")
        })
        .await?;
        topics::create(&self.open, topic, 1).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("broker.log")).unwrap_or_default()
    }

    /// Runs a `kafka-acls` command as people would, but as an administrator, for [`USER`].
    pub async fn paste(&self, words: &str) -> Result<()> {
        let mut words = words.split_whitespace();
        ensure!(words.next() == Some("kafka-acls"), "no command of Kafka");
        let mut command = java_program(&self.java, &self.jars, "org.apache.kafka.tools.AclCommand")?;
        for word in words {
            let word = word.trim_matches('\'').replace("<principal>", USER.0);
            command.arg(if word == self.sasl { self.open.clone() } else { word });
        }
        output(in_folder(command, &self.folder), PATIENCE).await.map(drop)
    }
}

fn in_folder(mut command: Command, folder: &TempDir) -> Command {
    command.current_dir(folder.path());
    command
}

fn java_program(java: &std::path::Path, jars: &std::path::Path, class: &str) -> Result<Command> {
    let logging = crate_path("kafka")?.join("log4j2.properties");
    let logging = format!("-Dlog4j2.configurationFile={}", logging.display());
    let mut program = command(java, QUICK_START);
    program.args([&logging, "-cp", &format!("{}/*", jars.display()), class]);
    Ok(program)
}

/// Free ones, held all at once so that they differ.
fn addresses() -> Result<[String; 3]> {
    let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut addresses = [const { String::new() }; 3];
    for (address, listener) in addresses.iter_mut().zip(held) {
        *address = listener?.local_addr()?.to_string();
    }
    Ok(addresses)
}

fn properties(open: &str, sasl: &str, controller: &str, folder: &TempDir) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=OPEN://{open},SASL://{sasl},CONTROLLER://{controller}
advertised.listeners=OPEN://{open},SASL://{sasl}
listener.security.protocol.map=OPEN:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=OPEN
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={}
auto.create.topics.enable=true
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
",
        folder.path().join("data").display()
    )
}
