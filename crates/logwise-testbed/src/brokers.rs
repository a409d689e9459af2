//! A Kafka cluster for one test: one or three brokers of its own, with TLS and users if wished, and their faults.
//!
//! The bed's broker has no part in it. Each broker is a recorded process of the bed: dropped, the cluster is killed and
//! its data removed; what a killed test leaves is ended by the next cluster of the bed, the next `up`, or `down`.

mod layout;
mod tools;
mod topics;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;

use self::layout::{CLIENT, Layout, Ports, TlsPorts, User};
use crate::address::random_word;
use crate::bed::Bed;
use crate::folder::write_atomically;
use crate::home::{self, Home, Kind};
use crate::lease::Lease;
use crate::process::{self, Ending, Server, complete, probe};
use crate::site::Site;
use crate::world::wait_until;
use crate::{certificates, kafka, prerequisites, proc, state};

/// Somebody else may take a port before its broker does.
const ATTEMPTS: u32 = 3;
const FORMATTED_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What a cluster is made of. The default is one plain broker.
#[derive(Debug, Clone)]
pub struct Setup {
    /// 1 or 3 brokers, each a controller too. Three keep three copies, of which two must be in sync.
    pub count: u32,
    /// Also listens with TLS: one listener asks for a password, the other one for a certificate.
    pub secure: bool,
    /// Asks for rights, of which the second user has none: see [`Brokers::other_user`]. Needs `secure`, as everybody at
    /// the plain listener may do everything.
    pub authorize: bool,
    /// Lines of `server.properties`. They win over those of the bed.
    pub settings: Vec<String>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { count: 1, secure: false, authorize: false, settings: Vec::new() }
    }
}

impl Setup {
    fn check(&self) -> Result<()> {
        ensure!(matches!(self.count, 1 | 3), "a cluster has 1 or 3 brokers, not {}", self.count);
        ensure!(self.secure || !self.authorize, "only a secure cluster has users with rights: set `secure` too");
        Ok(())
    }
}

/// A running cluster. Its brokers are numbered from 1. Dropped, it is killed and its data removed; its logs stay.
pub struct Brokers {
    site: Site,
    layout: Layout,
    /// In the order of their numbers.
    servers: Vec<Server>,
    // Ends the brokers, before the ports are given back.
    _home: Home,
    _lease: Lease,
}

impl Brokers {
    /// Starts a cluster named after a test; returns when every broker lists all of them.
    pub async fn start(bed: &Bed, name: &str, setup: Setup) -> Result<Brokers> {
        setup.check()?;
        let site = bed.site()?;
        home::end_abandoned(&site.folder)?;
        let mut attempt = 1;
        loop {
            let brokers = Brokers::prepare(&site, name, &setup).await?;
            match brokers.run().await {
                Ok(()) => return Ok(brokers),
                Err(_) if attempt < ATTEMPTS && brokers.missed_a_port() => attempt += 1,
                Err(error) => return Err(error.context(format!("starting a Kafka cluster for {name}"))),
            }
        }
    }

    /// The plain listeners of all brokers: `host:port`, separated by commas.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.layout.ports.iter().map(|ports| self.layout.at(ports.plain)).collect();
        addresses.join(",")
    }

    /// The plain listener of one broker.
    pub fn bootstrap_of(&self, broker: u32) -> Result<String> {
        let found = self.layout.brokers().find(|(id, _)| *id == broker);
        let (_, ports) = found.with_context(|| self.no_such(broker))?;
        Ok(self.layout.at(ports.plain))
    }

    /// The listeners with TLS that ask for a password (`SASL_SSL`: `SCRAM-SHA-512`, `SCRAM-SHA-256`, `PLAIN`).
    /// Errors when the cluster is not secure.
    pub fn secure_bootstrap(&self) -> Result<String> {
        self.layout.at_tls(|tls| tls.password)
    }

    /// The listeners with TLS that ask for a certificate (`SSL`). Errors when the cluster is not secure.
    pub fn tls_bootstrap(&self) -> Result<String> {
        self.layout.at_tls(|tls| tls.certificate)
    }

    /// The authority that signed the brokers' certificate, in PEM. Errors when the cluster is not secure.
    pub fn ca(&self) -> Result<String> {
        self.pem("ca.crt")
    }

    /// A client's certificate and its key, in PEM. Its owner may do everything. Errors when the cluster is not secure.
    pub fn client_certificate(&self) -> Result<(String, String)> {
        Ok((self.pem("client.crt")?, self.pem("client.key")?))
    }

    /// A user who may do everything; the name is made at random.
    pub fn user(&self) -> &str {
        &self.layout.user.name
    }

    /// The user's password: 32 characters, made at random, so that a test can look for it everywhere.
    pub fn password(&self) -> &str {
        &self.layout.user.password
    }

    /// A second user. Where rights are asked, this one may do nothing until [`Brokers::kafka_acls`] allows it; where
    /// they are not, everything.
    pub fn other_user(&self) -> &str {
        &self.layout.other_user.name
    }

    /// The second user's password, as random as the first one's.
    pub fn other_password(&self) -> &str {
        &self.layout.other_user.password
    }

    /// Sends SIGKILL to a broker and returns when the process is gone. Its data stays.
    pub async fn kill(&self, broker: u32) -> Result<()> {
        process::stop(&self.site.folder, &self.server(broker)?.name).await
    }

    /// Starts a broker that was killed, on the same data and ports, and returns when it lists itself. Its copies may
    /// not be in sync yet. Kafka lets it in only when the session of the killed process has ended.
    pub async fn start_again(&self, broker: u32) -> Result<()> {
        process::start(&self.site.folder, self.server(broker)?).await.map(drop)
    }

    /// Sends SIGSTOP to a broker and returns when the process stands still.
    pub async fn pause(&self, broker: u32) -> Result<()> {
        self.freeze(broker, true).await
    }

    /// Sends SIGCONT to a broker and returns when the process moves again.
    pub async fn resume(&self, broker: u32) -> Result<()> {
        self.freeze(broker, false).await
    }

    async fn freeze(&self, broker: u32, still: bool) -> Result<()> {
        let record = state::load(&self.site.folder)?.servers.remove(&self.server(broker)?.name);
        let record = record.with_context(|| format!("broker {broker} does not run"))?;
        proc::freeze(&record.identity, still).await
    }

    fn server(&self, broker: u32) -> Result<&Server> {
        let numbered = (1..).zip(&self.servers).find(|(number, _)| *number == broker);
        numbered.map(|(_, server)| server).with_context(|| self.no_such(broker))
    }

    fn no_such(&self, broker: u32) -> String {
        format!("there is no broker {broker}: the first is 1, the last {}", self.servers.len())
    }

    fn pem(&self, name: &str) -> Result<String> {
        if !self.layout.setup.secure {
            bail!("the cluster has no certificates: its setup is not `secure`");
        }
        let path = self.layout.certificates().join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}

/// How a cluster comes up.
impl Brokers {
    /// Everything but running processes. Even what comes before is recorded under the cluster's prefix.
    async fn prepare(site: &Site, name: &str, setup: &Setup) -> Result<Brokers> {
        let home = Home::create(&site.folder, Kind::Brokers, name)?;
        let host = site.addresses.host();
        let mut lease = Lease::open(&site.folder, host)?;
        let mut ports = Vec::new();
        for _ in 0..setup.count {
            ports.push(take(&mut lease, setup.secure).await?);
        }
        let (user, other_user) = (random_user()?, random_user()?);
        let layout = Layout { setup: setup.clone(), host, home: home.path().to_owned(), ports, user, other_user };
        let prefix = home.prefix();
        let servers = layout.brokers().map(|(id, ports)| server(site, &layout, &prefix, id, ports));
        let servers = servers.collect::<Result<Vec<Server>>>()?;
        let brokers = Brokers { site: site.clone(), layout, servers, _home: home, _lease: lease };
        brokers.write().await?;
        let id = kafka::cluster_id(&random_word()?);
        try_join_all(brokers.servers.iter().map(|server| brokers.format(server, &id))).await?;
        Ok(brokers)
    }

    async fn write(&self) -> Result<()> {
        for (id, ports) in self.layout.brokers() {
            let folder = self.layout.folder(id);
            fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
            write_atomically(&folder.join("server.properties"), self.layout.properties(id, ports).as_bytes())?;
        }
        if !self.layout.setup.secure {
            return Ok(());
        }
        let folder = self.layout.certificates();
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        certificates::of_brokers(&folder, &self.layout.host.to_string(), CLIENT).await?;
        // Kafka wants both in one file.
        write_atomically(&folder.join("broker.pem"), (self.pem("broker.key")? + &self.pem("broker.crt")?).as_bytes())
    }

    /// The users have to be in the storage of every broker, as any may become the first to lead.
    async fn format(&self, server: &Server, id: &str) -> Result<()> {
        let mut args = kafka::java_arguments(&self.site, "log4j2-tools.properties")?;
        let words = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", id, "-c", "server.properties"];
        args.extend(words.map(String::from));
        args.extend(self.layout.scram());
        let name = format!("{}-format", server.name);
        let program = Server::once(&name, server.program.clone(), args, &server.cwd, FORMATTED_WITHIN);
        complete(&self.site.folder, &program).await.context("formatting a broker's storage")?;
        // Of one that succeeded nobody wants to know more. A file that stays does no harm.
        drop(fs::remove_file(self.site.folder.log(&name)));
        Ok(())
    }

    async fn run(&self) -> Result<()> {
        try_join_all(self.servers.iter().map(|server| process::start(&self.site.folder, server))).await?;
        wait_until("every broker to list all of them", READY_WITHIN, async || {
            for (id, ports) in self.layout.brokers() {
                let listed = kafka::listed(&self.layout.at(ports.plain)).await?;
                ensure!(listed.len() == self.servers.len(), "broker {id} lists {listed:?}");
            }
            Ok(())
        })
        .await
    }

    fn missed_a_port(&self) -> bool {
        let said = |server: &Server| fs::read(self.site.folder.log(&server.name)).unwrap_or_default();
        self.servers.iter().any(|server| String::from_utf8_lossy(&said(server)).contains("Address already in use"))
    }
}

async fn take(lease: &mut Lease, secure: bool) -> Result<Ports> {
    let (plain, controller) = (lease.port().await?, lease.port().await?);
    if !secure {
        return Ok(Ports { plain, controller, tls: None });
    }
    let tls = TlsPorts { password: lease.port().await?, certificate: lease.port().await? };
    Ok(Ports { plain, controller, tls: Some(tls) })
}

fn random_user() -> Result<User> {
    let name = random_word()?.chars().take(8).collect::<String>();
    Ok(User { name: format!("user{name}"), password: random_word()? })
}

fn server(site: &Site, layout: &Layout, prefix: &str, id: u32, ports: &Ports) -> Result<Server> {
    let bootstrap = layout.at(ports.plain);
    Ok(Server {
        name: format!("{prefix}{id}"),
        program: prerequisites::jdk()?.join("bin/java"),
        args: kafka::broker_arguments(site)?,
        env: Vec::new(),
        cwd: layout.folder(id),
        ending: Ending::Kill,
        ready_within: READY_WITHIN,
        ready: probe(move || {
            let bootstrap = bootstrap.clone();
            async move {
                let listed = kafka::listed(&bootstrap).await?;
                ensure!(listed.iter().any(|one| u32::try_from(*one) == Ok(id)), "broker {id} lists {listed:?}");
                Ok(())
            }
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_that_cannot_be_is_refused() {
        assert!(Setup::default().check().is_ok());
        assert!(Setup { count: 3, secure: true, authorize: true, ..Setup::default() }.check().is_ok());
        assert!(Setup { count: 2, ..Setup::default() }.check().is_err());
        assert!(Setup { authorize: true, ..Setup::default() }.check().is_err());
    }
}
