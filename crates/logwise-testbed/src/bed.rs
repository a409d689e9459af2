//! A running bed, as tests and the demo see it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::address::Addresses;
use crate::api::Api;
use crate::cache::Cache;
use crate::cli::default_dir;
use crate::environment::BED;
use crate::folder::Folder;
use crate::kafka::TopicDescription;
use crate::profile::Part;
use crate::progress::Progress;
use crate::site::Site;
use crate::stand_in::StandIn;
use crate::state::{self, State};
use crate::tools::Tools;
use crate::{aws, kafka, mariadb};

const KUBECTL_DEADLINE: Duration = Duration::from_secs(180);

/// The Kubernetes API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kube {
    /// Of the administrator.
    pub kubeconfig: PathBuf,
    /// `https://host:port`.
    pub api_url: String,
}

/// The Kafka broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`.
    pub bootstrap: String,
}

/// The AWS stand-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// `http://host:port`, for every service.
    pub endpoint: String,
    /// The region in which everything lies.
    pub region: String,
    /// Opens nothing anywhere.
    pub access_key: String,
    /// Opens nothing anywhere.
    pub secret_key: String,
    /// The account of the stand-in.
    pub account: String,
}

/// The MariaDB server.
#[derive(Clone, PartialEq, Eq)]
pub struct Sql {
    server: String,
}

impl Sql {
    /// `mysql://user:password@host:port/schema`; with an empty schema the address of the server.
    pub fn url(&self, schema: &str) -> String {
        format!("{}{schema}", self.server)
    }
}

/// A Spark master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spark {
    /// Its address.
    pub host: String,
    /// For workers and drivers.
    pub port: u16,
    /// Its page, with `/json/`.
    pub ui_port: u16,
    /// Its submission server.
    pub rest_port: u16,
}

impl Spark {
    /// `host:port` of its pages.
    pub fn ui(&self) -> String {
        format!("{}:{}", self.host, self.ui_port)
    }

    /// `host:port` of its submission server.
    pub fn rest(&self) -> String {
        format!("{}:{}", self.host, self.rest_port)
    }

    /// As an element of `spec.spark.masters`.
    pub fn spec(&self) -> Value {
        json!({"host": self.host, "port": self.port, "uiPort": self.ui_port, "restPort": self.rest_port})
    }
}

/// A running bed.
#[derive(Clone)]
pub struct Bed {
    /// The folder of its state, absolute.
    pub dir: PathBuf,
    /// The Kubernetes API server.
    pub kube: Kube,
    /// The Kafka broker.
    pub kafka: Kafka,
    /// The AWS stand-in.
    pub aws: Aws,
    /// The MariaDB server.
    pub sql: Sql,
    /// `http://host:port` of MinIO, when it was started; region and credentials are those of the stand-in.
    pub minio: Option<String>,
    /// `http://host:port` of Ceph's gateway, when it was started; region and credentials are those of the stand-in.
    pub ceph: Option<String>,
    /// The Spark master, when it was started.
    pub spark: Option<Spark>,
    pub(crate) folder: Folder,
    pub(crate) addresses: Addresses,
}

impl Bed {
    /// Attaches to the bed in `$LOGWISE_BED`, else in `target/testbed` of the workspace. Errors when Kubernetes,
    /// Kafka, the AWS stand-in or MariaDB does not run there; the text names the command that starts it.
    pub fn attach() -> Result<Bed> {
        Bed::attach_with(&[Part::Kube, Part::Kafka, Part::Aws, Part::Sql])
    }

    /// As [`Bed::attach`], for a test that needs these parts.
    pub fn attach_with(parts: &[Part]) -> Result<Bed> {
        let dir = match std::env::var_os(BED).filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => default_dir()?,
        };
        Bed::attach_to(&dir, parts)
    }

    /// As [`Bed::attach`], for the bed in a folder and these parts.
    pub fn attach_to(dir: &Path, parts: &[Part]) -> Result<Bed> {
        let start = |problem: &str| {
            let words = parts.iter().map(|part| format!(" --profile {}", part.word())).collect::<String>();
            format!("{problem} in {}; type: cargo run -p logwise-testbed -- up --dir {0}{words}", dir.display())
        };
        if !dir.join("state.json").is_file() {
            bail!(start("no bed runs"));
        }
        let folder = Folder::open(dir)?;
        let state = state::load(&folder)?;
        let missing: Vec<&str> =
            parts.iter().flat_map(|part| part.servers()).copied().filter(|name| !runs(&state, name)).collect();
        if !missing.is_empty() {
            bail!(start(&format!("{} does not run", missing.join(", "))));
        }
        let addresses = state.addresses.clone().with_context(|| start("a bed without addresses is"))?;
        Ok(Bed::of(folder, addresses, |part| runs(&state, part.servers()[0])))
    }

    fn of(folder: Folder, addresses: Addresses, has: impl Fn(Part) -> bool) -> Bed {
        let (host, ports) = (addresses.host().to_string(), &addresses.ports);
        Bed {
            dir: folder.dir().to_owned(),
            kube: Kube {
                kubeconfig: folder.kubeconfig(),
                api_url: format!("https://{}", addresses.at(ports.api_server)),
            },
            kafka: Kafka { bootstrap: addresses.at(ports.kafka) },
            aws: Aws {
                endpoint: format!("http://{}", addresses.at(ports.aws)),
                region: aws::REGION.to_owned(),
                access_key: aws::ACCESS_KEY.to_owned(),
                secret_key: aws::SECRET_KEY.to_owned(),
                account: aws::ACCOUNT.to_owned(),
            },
            sql: Sql { server: mariadb::url(&addresses) },
            minio: has(Part::Minio).then(|| format!("http://{}", addresses.at(ports.minio))),
            ceph: has(Part::Ceph).then(|| format!("http://{}", addresses.at(ports.radosgw))),
            spark: has(Part::Spark).then_some(Spark {
                host,
                port: ports.spark,
                ui_port: ports.spark_ui,
                rest_port: ports.spark_rest,
            }),
            folder,
            addresses,
        }
    }

    /// A client of the API server. Its connections belong to the runtime that it is first used in.
    pub fn api(&self) -> Result<Api> {
        Api::open(&self.folder, &self.kube.api_url)
    }

    /// Runs kubectl as the administrator and returns its standard output; `input` becomes its standard input. Errors
    /// hold what kubectl wrote to standard error.
    pub async fn kubectl(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = Command::new(self.folder.bin().join("kubectl"));
        command.args(args).env("KUBECONFIG", &self.kube.kubeconfig).kill_on_drop(true);
        command
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("starting kubectl")?;
        let pipe = child.stdin.take();
        let talk = async {
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                // kubectl may refuse its arguments and end before it reads.
                drop(pipe.write_all(input.as_bytes()).await);
            }
            child.wait_with_output().await
        };
        let line = args.join(" ");
        let output = tokio::time::timeout(KUBECTL_DEADLINE, talk).await;
        let output = output
            .with_context(|| format!("`kubectl {line}` did not end within {} s", KUBECTL_DEADLINE.as_secs()))?
            .context("running kubectl")?;
        if !output.status.success() {
            bail!("`kubectl {line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What definitions of servers and of the streaming job are made from.
    pub fn site(&self) -> Result<Site> {
        let (folder, addresses) = (self.folder.clone(), self.addresses.clone());
        Ok(Site { folder, addresses, tools: Tools::locate(&Cache::of_user()?)?, progress: Progress::start() })
    }

    /// The control interface of the AWS stand-in.
    pub fn stand_in(&self) -> StandIn {
        StandIn::new(&self.aws.endpoint)
    }

    /// What Kafka's own command line says about a topic; an independent witness, a few seconds slow.
    pub async fn kafka_topics_describe(&self, topic: &str) -> Result<TopicDescription> {
        kafka::topics_describe(&self.folder, topic).await
    }

    /// Runs SQL through MariaDB's own client: rows as lines, columns separated by tabs, without names.
    pub async fn query(&self, query: &str) -> Result<String> {
        mariadb::sql(&self.folder, query).await
    }

    /// The audit log of the API server: one JSON object per write, by anybody.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.path("log/audit.jsonl")
    }

    /// The log file of a server.
    pub fn log(&self, server: &str) -> PathBuf {
        self.folder.log(server)
    }
}

fn runs(state: &State, name: &str) -> bool {
    state.servers.get(name).is_some_and(crate::process::Record::alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bed_is_an_error_that_names_the_command() {
        let root = tempfile::tempdir().unwrap();
        let error = Bed::attach_to(root.path(), &[Part::Kube, Part::Sql]).err().unwrap().to_string();
        let wanted = format!(
            "no bed runs in {0}; type: cargo run -p logwise-testbed -- up --dir {0} --profile kube --profile sql",
            root.path().display()
        );
        assert_eq!(error, wanted);
    }

    #[test]
    fn a_missing_server_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("state.json"), "{}").unwrap();
        let error = Bed::attach_to(root.path(), &[Part::Sql]).err().unwrap().to_string();
        assert!(error.starts_with("mariadb does not run in "), "{error}");
    }
}
