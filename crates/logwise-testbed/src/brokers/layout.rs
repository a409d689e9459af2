//! What is known of a cluster before it starts: addresses, users and the text of each `server.properties`.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Setup;

const TEMPLATE: &str = include_str!("../../kafka/brokers.properties");
/// The common name of the client's certificate.
pub(super) const CLIENT: &str = "logwise-testbed-client";
const MECHANISMS: [&str; 2] = ["SCRAM-SHA-512", "SCRAM-SHA-256"];

/// One listener asks for a password, the other one for a certificate. A broker needs a JAAS line per mechanism, also
/// where it says nothing.
const SECURE: &str = "
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required@USERS@;
ssl.keystore.type=PEM
ssl.keystore.location=@CERTIFICATES@/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=@CERTIFICATES@/ca.crt
listener.name.tls.ssl.client.auth=required
";

/// Brokers and controllers speak with each other, and the test bed with them, without a name.
const AUTHORIZE: &str = "
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:@USER@;User:CN=@CLIENT@
";

/// Who logs in at the listener that asks for a password.
pub(super) struct User {
    pub name: String,
    pub password: String,
}

/// The ports of one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub plain: u16,
    pub controller: u16,
    /// Of a secure cluster.
    pub tls: Option<TlsPorts>,
}

/// The ports with TLS, by what they ask a client for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TlsPorts {
    pub password: u16,
    pub certificate: u16,
}

/// A cluster before it starts.
pub(super) struct Layout {
    pub setup: Setup,
    pub host: Ipv4Addr,
    /// The cluster's folder.
    pub home: PathBuf,
    /// By broker.
    pub ports: Vec<Ports>,
    pub user: User,
    pub other_user: User,
}

impl Layout {
    /// The brokers: number, from 1, and ports.
    pub fn brokers(&self) -> impl Iterator<Item = (u32, &Ports)> {
        (1..).zip(&self.ports)
    }

    /// `host:port`.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.host)
    }

    /// Addresses of all brokers with TLS, separated by commas.
    pub fn at_tls(&self, port: impl Fn(TlsPorts) -> u16) -> Result<String> {
        let addresses = self.ports.iter().map(|ports| ports.tls.map(|tls| self.at(port(tls))));
        let addresses = addresses.collect::<Option<Vec<String>>>();
        Ok(addresses.context("the cluster has no listener with TLS: its setup is not `secure`")?.join(","))
    }

    /// The folder of a broker: its settings, its data.
    pub fn folder(&self, broker: u32) -> PathBuf {
        self.home.join(format!("broker-{broker}"))
    }

    /// The folder of keys and certificates.
    pub fn certificates(&self) -> PathBuf {
        self.home.join("certificates")
    }

    /// The text of a broker's `server.properties`.
    pub fn properties(&self, broker: u32, ports: &Ports) -> String {
        let voters: Vec<String> =
            self.brokers().map(|(id, ports)| format!("{id}@{}", self.at(ports.controller))).collect();
        let mut advertised = format!("BROKER://{}", self.at(ports.plain));
        if let Some(tls) = ports.tls {
            // Writing to a string cannot fail.
            let _ = write!(advertised, ",SASL://{},TLS://{}", self.at(tls.password), self.at(tls.certificate));
        }
        // With three, one may be gone and records are still taken.
        let (copies, in_sync) = if self.setup.count == 1 { ("1", "1") } else { ("3", "2") };
        let mut text = TEMPLATE
            .replace("@NODE@", &broker.to_string())
            .replace("@VOTERS@", &voters.join(","))
            .replace("@LISTENERS@", &format!("{advertised},CONTROLLER://{}", self.at(ports.controller)))
            .replace("@ADVERTISED@", &advertised)
            .replace("@DATA@", &display(&self.folder(broker).join("data")))
            .replace("@COPIES@", copies)
            .replace("@IN_SYNC@", in_sync);
        if self.setup.secure {
            text += &SECURE
                .replace("@USERS@", &self.plain_users())
                .replace("@CERTIFICATES@", &display(&self.certificates()));
        }
        if self.setup.authorize {
            text += &AUTHORIZE.replace("@USER@", &self.user.name).replace("@CLIENT@", CLIENT);
        }
        // Of two lines with one name Java takes the last.
        self.setup.settings.iter().fold(text, |text, line| format!("{text}{line}\n"))
    }

    /// Arguments of Kafka's storage tool that make the users known.
    pub fn scram(&self) -> Vec<String> {
        if !self.setup.secure {
            return Vec::new();
        }
        let users = [&self.user, &self.other_user].into_iter();
        let each = users.flat_map(|user| MECHANISMS.map(|mechanism| (user, mechanism)));
        each.flat_map(|(user, mechanism)| {
            ["--add-scram".to_owned(), format!("{mechanism}=[name={},password={}]", user.name, user.password)]
        })
        .collect()
    }

    fn plain_users(&self) -> String {
        let word = |user: &User| format!(" user_{}=\"{}\"", user.name, user.password);
        word(&self.user) + &word(&self.other_user)
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, secure: bool) -> Ports {
        let tls = secure.then_some(TlsPorts { password: first + 2, certificate: first + 3 });
        Ports { plain: first, controller: first + 1, tls }
    }

    fn layout(setup: Setup) -> Layout {
        let user = |name: &str| User { name: name.into(), password: format!("{name}-password") };
        let firsts = [20_000, 20_010, 20_020].into_iter().take(usize::try_from(setup.count).unwrap());
        Layout {
            ports: firsts.map(|first| ports(first, setup.secure)).collect(),
            setup,
            host: Ipv4Addr::new(127, 0, 9, 1),
            home: PathBuf::from("/bed/brokers/a"),
            user: user("anna"),
            other_user: user("otto"),
        }
    }

    /// The value that Java would take.
    fn value(text: &str, name: &str) -> Option<String> {
        text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).next_back().map(str::to_owned)
    }

    /// Whether no place of the template is left.
    fn filled(text: &str) -> bool {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut words = lines.flat_map(|line| line.split('@').skip(1));
        !words.any(|word| word.starts_with(|letter: char| letter.is_ascii_uppercase()))
    }

    #[test]
    fn one_plain_broker_is_its_own_controller() {
        let layout = layout(Setup::default());
        let text = layout.properties(1, &layout.ports[0]);
        let of = |name: &str| value(&text, name).unwrap();
        assert_eq!(of("controller.quorum.voters"), "1@127.0.9.1:20001");
        assert_eq!(of("listeners"), "BROKER://127.0.9.1:20000,CONTROLLER://127.0.9.1:20001");
        assert_eq!(of("advertised.listeners"), "BROKER://127.0.9.1:20000");
        assert_eq!(of("log.dirs"), "/bed/brokers/a/broker-1/data");
        assert_eq!((of("default.replication.factor"), of("min.insync.replicas")), ("1".into(), "1".into()));
        assert!(!text.contains("ssl.") && !text.contains("sasl.") && value(&text, "authorizer.class.name").is_none());
        assert!(layout.scram().is_empty() && layout.at_tls(|tls| tls.password).is_err());
        assert!(filled(&text), "{text}");
    }

    #[test]
    fn three_brokers_know_each_other_and_keep_three_copies() {
        let layout = layout(Setup { count: 3, ..Setup::default() });
        let text = layout.properties(3, &layout.ports[2]);
        let of = |name: &str| value(&text, name).unwrap();
        assert_eq!(of("node.id"), "3");
        assert_eq!(of("controller.quorum.voters"), "1@127.0.9.1:20001,2@127.0.9.1:20011,3@127.0.9.1:20021");
        assert_eq!((of("default.replication.factor"), of("min.insync.replicas")), ("3".into(), "2".into()));
        assert_eq!(of("transaction.state.log.min.isr"), "2");
    }

    #[test]
    fn a_secure_cluster_has_two_listeners_more_and_both_users() {
        let layout = layout(Setup { secure: true, authorize: true, ..Setup::default() });
        let text = layout.properties(1, &layout.ports[0]);
        let of = |name: &str| value(&text, name).unwrap();
        let wanted = "BROKER://127.0.9.1:20000,SASL://127.0.9.1:20002,TLS://127.0.9.1:20003";
        assert_eq!(of("advertised.listeners"), wanted);
        assert_eq!(of("listeners"), format!("{wanted},CONTROLLER://127.0.9.1:20001"));
        let plain = of("listener.name.sasl.plain.sasl.jaas.config");
        assert!(
            plain.ends_with(" required user_anna=\"anna-password\" user_otto=\"otto-password\";"),
            "an unexpected JAAS line"
        );
        assert!(filled(&text));
        assert_eq!(of("ssl.keystore.location"), "/bed/brokers/a/certificates/broker.pem");
        assert_eq!(of("super.users"), "User:ANONYMOUS;User:anna;User:CN=logwise-testbed-client");
        let scram = layout.scram();
        assert_eq!(scram.len(), 8);
        assert_eq!(scram[..2], ["--add-scram", "SCRAM-SHA-512=[name=anna,password=anna-password]"]);
        assert_eq!(scram[7], "SCRAM-SHA-256=[name=otto,password=otto-password]");
        assert_eq!(layout.at_tls(|tls| tls.certificate).unwrap(), "127.0.9.1:20003");
    }

    #[test]
    fn a_line_of_the_test_wins() {
        let settings = vec!["broker.session.timeout.ms=9000".to_owned(), "controller.quota.window.num=2".to_owned()];
        let layout = layout(Setup { settings, ..Setup::default() });
        let text = layout.properties(1, &layout.ports[0]);
        assert_eq!(value(&text, "broker.session.timeout.ms").as_deref(), Some("9000"));
        assert_eq!(value(&text, "controller.quota.window.num").as_deref(), Some("2"));
    }
}
