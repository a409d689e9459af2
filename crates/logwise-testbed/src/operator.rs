//! The operator as a process under test, with the rights that `deploy/base` gives it and no others.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::folder::{Folder, write_atomically};
use crate::process::{Ending, LAST_LINES, Running, Server, last_words, probe, spawn, wait_ready};
use crate::proxy::kubernetes::{KubernetesProxy, redirect};
use crate::world::World;
use crate::{http, install, proc, state, workspace};

/// What the names of operators' processes begin with.
pub const PREFIX: &str = "operator-";
const READY_WITHIN: Duration = Duration::from_secs(60);
const LONGEST_END: Duration = Duration::from_secs(30);

/// How an operator is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Merged over the defaults, key by key; `null` removes a key.
    pub config: Value,
    /// Variables of its environment, such as `LOGWISE_CRASH_AT`.
    pub env: Vec<(String, String)>,
    /// Arguments after `run --config FILE`.
    pub args: Vec<String>,
    /// The address of the API server as the operator sees it; none is the real one.
    pub api_url: Option<String>,
}

impl Options {
    /// With a part of the configuration.
    pub fn config(config: Value) -> Options {
        Options { config, ..Options::default() }
    }

    /// With one more variable.
    pub fn env(mut self, name: &str, value: &str) -> Options {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Speaks with the API server through this proxy, under its own account.
    pub fn behind(self, proxy: &KubernetesProxy) -> Options {
        Options { api_url: Some(proxy.url.clone()), ..self }
    }
}

/// Name of the process of a world's operator, and of its log.
pub(crate) fn operator_name(world: &str, number: u32) -> String {
    format!("{PREFIX}{world}-{number}")
}

/// A started operator. Dropped, it is killed.
pub struct Operator {
    /// Where its HTTP server listens: `host:port`.
    pub listen: String,
    /// Its configuration file.
    pub config: PathBuf,
    server: Server,
    running: Running,
    folder: Folder,
}

impl Operator {
    /// Starts the operator for a world and returns at once; see [`Operator::wait_ready`]. It sees only the world's
    /// namespace. Its database is an SQLite file of the world, common to all operators of it.
    /// Errors: the program is missing, or `deploy/base` cannot be applied.
    pub async fn start(world: &World, options: Options) -> Result<Operator> {
        let folder = world.bed.folder.clone();
        let mut kubeconfig = install::kubeconfig(&world.bed).await?;
        let name = operator_name(&world.id, world.next_operator());
        let home = folder.sub(&format!("worlds/{}", world.id))?;
        if let Some(url) = &options.api_url {
            kubeconfig = redirect(&kubeconfig, url, home.join(format!("{name}.kubeconfig")))?;
        }
        let listen = free_address(world.bed.addresses.network)?;
        let mut values = defaults(world, &listen, &home);
        merge(&mut values, options.config);
        let config = home.join(format!("{name}.yaml"));
        write_atomically(
            &config,
            serde_yaml::to_string(&values).context("writing the operator's configuration")?.as_bytes(),
        )?;
        let mut server = server(&world.bed, &name, Files { home, config: config.clone(), kubeconfig }, &listen)?;
        server.args.extend(options.args);
        server.env.extend(options.env);
        let running = spawn(&folder, &server).await?;
        Ok(Operator { listen, config, server, running, folder })
    }

    /// Returns when `/readyz` answers 200. Errors when the process ends or 60 s pass; the text holds the end of the log.
    pub async fn wait_ready(&mut self) -> Result<()> {
        wait_ready(&self.server, &mut self.running).await
    }

    /// Sends SIGTERM and returns the exit code; 128 and the signal's number when a signal ended it.
    pub async fn stop(&mut self) -> Result<i32> {
        proc::signal(std::slice::from_ref(&self.running.record.identity), Signal::TERM)?;
        self.wait_exit().await
    }

    /// Sends SIGKILL and returns when the process is gone.
    pub async fn kill9(&mut self) -> Result<()> {
        proc::signal(std::slice::from_ref(&self.running.record.identity), Signal::KILL)?;
        self.wait_exit().await.map(drop)
    }

    /// Sends SIGSTOP and returns when the process stands still. What it has asked for goes on.
    pub async fn pause(&self) -> Result<()> {
        proc::freeze(&self.running.record.identity, true).await
    }

    /// Sends SIGCONT and returns when the process moves again.
    pub async fn resume(&self) -> Result<()> {
        proc::freeze(&self.running.record.identity, false).await
    }

    /// Returns the exit code when the process ended by itself; 128 and the signal's number when a signal ended it.
    /// Errors after 30 s.
    pub async fn wait_exit(&mut self) -> Result<i32> {
        let ended = tokio::time::timeout(LONGEST_END, self.running.wait()).await;
        let log = &self.running.record.log;
        let status = ended.with_context(|| {
            format!("the operator did not end within {} s{}", LONGEST_END.as_secs(), last_words(log, LAST_LINES))
        })??;
        state::forget(&self.folder, &self.server.name, &self.running.record)?;
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .context("the operator ended without a code")
    }

    /// Whether the process runs.
    pub fn alive(&self) -> bool {
        self.running.record.alive()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.running.record.identity.pid
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        let path = &self.running.record.log;
        Ok(String::from_utf8_lossy(&fs::read(path).with_context(|| format!("reading {}", path.display()))?)
            .into_owned())
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        match self.http("/metrics").await? {
            (200, text) => Ok(text),
            (status, text) => bail!("/metrics answers {status}: {text}"),
        }
    }

    /// Status and body of a GET on its HTTP server.
    pub async fn http(&self, path: &str) -> Result<(u16, String)> {
        get(&self.listen, path).await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let record = &self.running.record;
        let members = proc::members(&record.identity, self.folder.dir());
        // Best effort: `down` ends what is left.
        drop(proc::signal(&members, Signal::KILL));
        drop(state::forget(&self.folder, &self.server.name, record));
    }
}

async fn get(listen: &str, path: &str) -> Result<(u16, String)> {
    let answer = http::client()?
        .get(format!("http://{listen}{path}"))
        .send()
        .await
        .with_context(|| format!("asking the operator for {path}"))?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.with_context(|| format!("reading the operator's answer to {path}"))?))
}

fn program() -> Result<PathBuf> {
    let named = std::env::var_os("LOGWISE_OPERATOR_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = match named {
        Some(path) => path,
        None => target()?.join("logwise-operator"),
    };
    if !path.is_file() {
        bail!("there is no operator at {}; type: cargo build --workspace --all-targets", path.display());
    }
    Ok(path)
}

/// The folder of built programs: the one above this test's own, else `target/debug`.
fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let beside = own.ancestors().skip(1).take(2).find(|folder| folder.join("logwise-operator").is_file());
    Ok(match beside {
        Some(folder) => folder.to_owned(),
        None => workspace::root()?.join("target/debug"),
    })
}

/// A port nobody has now, on an address of the bed that no server of it uses.
fn free_address(network: u8) -> Result<String> {
    let listener =
        TcpListener::bind((Ipv4Addr::new(127, 0, network, 2), 0)).context("finding a free port for the operator")?;
    Ok(listener.local_addr().context("finding a free port for the operator")?.to_string())
}

fn defaults(world: &World, listen: &str, home: &Path) -> Value {
    json!({
        "installation": world.id,
        "namespaces": [world.namespace],
        "ownNamespace": install::NAMESPACE,
        "http": {"listen": listen},
        "database": {"url": format!("sqlite://{}", home.join("operator.db").display())},
        "aws": {"endpointURL": world.bed.aws.endpoint},
        // The stand-in speaks plain HTTP on this machine.
        "allowInsecureEndpoints": true,
        "intervals": {"kafkaSeconds": 2, "sparkSeconds": 2, "s3Seconds": 2, "discoverySeconds": 2},
    })
}

/// Objects are merged key by key, `null` removes, anything else replaces.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// Where an operator's files are.
pub(crate) struct Files {
    /// Its working folder.
    pub home: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Its account at the API server.
    pub kubeconfig: PathBuf,
}

/// The operator as a server of the bed. Errors when the program is missing.
pub(crate) fn server(bed: &Bed, name: &str, files: Files, listen: &str) -> Result<Server> {
    let aws = &bed.aws;
    let env = [
        ("KUBECONFIG", files.kubeconfig.display().to_string()),
        ("AWS_ACCESS_KEY_ID", aws.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", aws.secret_key.clone()),
        ("AWS_REGION", aws.region.clone()),
        // Nothing of the caller's own account may be looked at.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        // A write that was never sent is sent sooner than S3 allows for; tests of old answers set their own time.
        ("LOGWISE_OLD_ANSWERS_SECONDS", "15".to_owned()),
        // A driver that is missing is submitted sooner than after a minute and a half.
        ("LOGWISE_DRIVER_ABSENT_SECONDS", "2".to_owned()),
    ];
    let listen = listen.to_owned();
    Ok(Server {
        name: name.to_owned(),
        program: program()?,
        args: ["run".to_owned(), "--config".to_owned(), files.config.display().to_string()].into(),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        cwd: files.home,
        ending: Ending::Terminate { seconds: 10 },
        ready_within: READY_WITHIN,
        ready: probe(move || {
            let listen = listen.clone();
            async move {
                match get(&listen, "/readyz").await? {
                    (200, _) => Ok(()),
                    (status, text) => bail!("/readyz answers {status}: {text}"),
                }
            }
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_merged_key_by_key_and_null_removes() {
        let mut config = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": 5});
        merge(&mut config, json!({"a": {"b": 3}, "d": [2], "e": null, "f": {"g": 1}}));
        assert_eq!(config, json!({"a": {"b": 3, "c": 2}, "d": [2], "f": {"g": 1}}));
        merge(&mut config, Value::Null);
        assert_eq!(config["a"]["b"], 3);
    }
}
