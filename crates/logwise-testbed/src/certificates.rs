//! Keys and certificates, made by openssl: of the Kubernetes cluster, once per bed, and of a test's own Kafka cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::command::{command, output};

const DEADLINE: Duration = Duration::from_secs(30);
/// Certificates are valid from a day before they are made, so that a program whose clock is behind takes them too.
const BACKDATED: i64 = -86_400;
const CURVE: [&str; 2] = ["-pkeyopt", "ec_paramgen_curve:prime256v1"];
/// Without a configuration of ours openssl would add the machine's own extensions.
const CONFIGURATION: &str = "[req]\ndistinguished_name = name\n[name]\n";

const SERVER: &str = "extendedKeyUsage=serverAuth";
const CLIENT: &str = "extendedKeyUsage=clientAuth";

/// The clients of the API server: name of the files, subject.
const CLIENTS: [(&str, &str); 4] = [
    ("admin", "/O=system:masters/CN=admin"),
    ("controllers", "/CN=system:kube-controller-manager"),
    ("scheduler", "/CN=system:kube-scheduler"),
    ("kwok", "/O=system:masters/CN=kwok"),
];

/// Makes `NAME.crt` and `NAME.key` for the authority (`ca`), the servers (`servers`, for `host`) and each client,
/// and `accounts.key` and `accounts.pub`, with which tokens of ServiceAccounts are signed, in the folder `pki`. A
/// folder that exists is complete and kept.
pub async fn ensure(pki: &Path, host: &str) -> Result<()> {
    if pki.is_dir() {
        return Ok(());
    }
    let parent = pki.parent().context("the folder of certificates has no parent")?;
    let part = tempfile::Builder::new()
        .prefix("pki.part-")
        .tempdir_in(parent)
        .context("creating a folder for certificates")?;
    let place = Place::open(part.path()).await?;
    place.authority().await?;
    let names = format!(
        "subjectAltName=IP:{host},IP:10.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
    );
    let clients = CLIENTS.map(|(name, subject)| place.signed(name, subject, &[CLIENT]));
    let server_extensions = [names.as_str(), SERVER];
    let servers = place.signed("servers", "/CN=logwise-testbed", &server_extensions);
    futures::try_join!(servers, try_join_all(clients), place.accounts())?;
    fs::rename(part.keep(), pki).context("moving the certificates into place")
}

/// Makes `NAME.crt` and `NAME.key` for an authority (`ca`), brokers (`broker`, for `host`) and a client (`client`, with
/// this common name) in a folder that is there.
pub(crate) async fn of_brokers(folder: &Path, host: &str, client: &str) -> Result<()> {
    let place = Place::open(folder).await?;
    place.authority().await?;
    let (names, subject) = (format!("subjectAltName=IP:{host}"), format!("/CN={client}"));
    let extensions = [names.as_str(), SERVER];
    let broker = place.signed("broker", "/CN=logwise-testbed-broker", &extensions);
    let client = place.signed("client", &subject, &[CLIENT]);
    futures::try_join!(broker, client)?;
    Ok(())
}

/// Where they are made, and by which clock.
struct Place<'a> {
    folder: &'a Path,
    clock: Clock,
    _clocks: TempDir,
}

impl<'a> Place<'a> {
    /// Closes the folder to others.
    async fn open(folder: &'a Path) -> Result<Place<'a>> {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).context("closing the folder of certificates")?;
        fs::write(folder.join("openssl.cnf"), CONFIGURATION).context("writing openssl.cnf")?;
        let clocks = tempfile::tempdir().context("creating a folder for a clock")?;
        let clock = Clock::within(clocks.path(), "certificates").await?;
        clock.shift(BACKDATED)?;
        Ok(Place { folder, clock, _clocks: clocks })
    }

    async fn authority(&self) -> Result<()> {
        let extensions =
            ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        self.openssl(&[&request("ca.key", "ca.crt", "/CN=logwise-testbed-ca"), &extensions[..]].concat()).await
    }

    async fn signed(&self, name: &str, subject: &str, extensions: &[&str]) -> Result<()> {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let mut args = request(&key, &certificate, subject);
        args.extend(["-CA", "ca.crt", "-CAkey", "ca.key"]);
        args.extend(extensions.iter().flat_map(|extension| ["-addext", extension]));
        self.openssl(&args).await
    }

    async fn accounts(&self) -> Result<()> {
        self.openssl(&[&["genpkey", "-algorithm", "EC"], &CURVE[..], &["-out", "accounts.key"]].concat()).await?;
        self.openssl(&["pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub"]).await
    }

    async fn openssl(&self, args: &[&str]) -> Result<()> {
        let mut openssl = command("openssl", args);
        openssl.current_dir(self.folder).envs(self.clock.variables());
        output(openssl, DEADLINE).await.map(drop)
    }
}

fn request<'a>(key: &'a str, certificate: &'a str, subject: &'a str) -> Vec<&'a str> {
    let mut args = vec!["req", "-x509", "-config", "openssl.cnf", "-newkey", "ec"];
    args.extend(CURVE);
    args.extend(["-nodes", "-days", "3650", "-keyout", key, "-out", certificate, "-subj", subject]);
    args
}
