//! Where the servers of a bed listen: two loopback networks per bed.
//!
//! The servers use 127.0.N.1; the instances of the AWS stand-in, of which tests may have hundreds at a time, get
//! 127.N.0.4 and on, as the first addresses of a subnet belong to AWS. Usual ports are taken when they are free, so that addresses are easy to read.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::lock::Lock;
use crate::state::{self, State};

const FIRST_NETWORK: u8 = 10;
const LAST_NETWORK: u8 = 250;
/// Below the range from which the system takes the ports of outgoing connections.
const HIGHEST_PORT: u16 = 32_000;

/// Where the servers of one bed listen, and the password of its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// N of 127.0.N.1 and 127.N.0.0.
    pub network: u8,
    /// The port of each server on [`Addresses::host`].
    pub ports: Ports,
    /// Password of the user `logwise` in MariaDB.
    pub password: String,
}

/// One port per listener. The defaults are the usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say whose port it is")]
pub struct Ports {
    pub etcd: u16,
    pub etcd_peer: u16,
    pub api_server: u16,
    pub controllers: u16,
    pub scheduler: u16,
    pub kwok: u16,
    pub kafka: u16,
    pub kafka_controller: u16,
    pub mariadb: u16,
    pub aws: u16,
    pub spark: u16,
    pub spark_ui: u16,
    pub spark_rest: u16,
    pub driver_ui: u16,
    // A bed that is older than one of these servers has the usual port for it.
    #[serde(default = "minio")]
    pub minio: u16,
    #[serde(default = "ceph_mon")]
    pub ceph_mon: u16,
    /// The first of four.
    #[serde(default = "ceph_osd")]
    pub ceph_osd: u16,
    #[serde(default = "radosgw")]
    pub radosgw: u16,
}

const fn minio() -> u16 {
    9000
}

const fn ceph_mon() -> u16 {
    3300
}

const fn ceph_osd() -> u16 {
    6800
}

const fn radosgw() -> u16 {
    7480
}

impl Ports {
    /// Chooses every port by `free`, from the usual one upwards.
    fn choose(free: impl Fn(u16) -> bool) -> Result<Ports> {
        let mut taken = BTreeSet::new();
        let mut pick = |usual: u16| {
            let port = (usual..HIGHEST_PORT).find(|port| !taken.contains(port) && free(*port));
            let port = port.with_context(|| format!("no free port between {usual} and {HIGHEST_PORT}"))?;
            taken.insert(port);
            Ok::<u16, anyhow::Error>(port)
        };
        Ok(Ports {
            etcd: pick(2379)?,
            etcd_peer: pick(2380)?,
            api_server: pick(6443)?,
            controllers: pick(10_257)?,
            scheduler: pick(10_259)?,
            kwok: pick(10_247)?,
            kafka: pick(9092)?,
            kafka_controller: pick(9093)?,
            mariadb: pick(3306)?,
            aws: pick(4566)?,
            spark: pick(7077)?,
            spark_ui: pick(8080)?,
            spark_rest: pick(6066)?,
            driver_ui: pick(4040)?,
            minio: pick(minio())?,
            ceph_mon: pick(ceph_mon())?,
            ceph_osd: pick(ceph_osd())?,
            radosgw: pick(radosgw())?,
        })
    }
}

impl Addresses {
    /// The address of the servers.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, self.network, 1)
    }

    /// The subnet of the stand-in's instances.
    pub fn subnet(&self) -> String {
        format!("127.{}.0.0/20", self.network)
    }

    /// `host:port`.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.host())
    }
}

/// The addresses of this bed: the kept ones, or new ones that no other bed of this user has and nobody listens on.
/// `leases` is the folder, common to the beds of one user, with one file per network.
pub fn of_bed(folder: &Folder, leases: &Path) -> Result<Addresses> {
    let _lock = Lock::hold(&leases.join("lock"))?;
    if let Some(addresses) = state::load(folder)?.addresses {
        lease(leases, addresses.network, folder)?;
        return Ok(addresses);
    }
    let listened = listened_networks();
    let taken = |network: u8| listened.contains(&network) || leased(leases, network, folder);
    let Some(network) = choose_network(seed(folder), taken) else {
        bail!(
            "every loopback network 127.0.{FIRST_NETWORK}.* to 127.0.{LAST_NETWORK}.* is in use; end a bed with `logwise-testbed down --dir DIR`"
        );
    };
    let host = Ipv4Addr::new(127, 0, network, 1);
    let ports = Ports::choose(|port| TcpListener::bind((host, port)).is_ok())?;
    let addresses = Addresses { network, ports, password: random_word()? };
    lease(leases, network, folder)?;
    state::update(folder, |state| {
        state.addresses = Some(addresses.clone());
        Ok(addresses)
    })
}

/// Gives a network back.
pub fn release(folder: &Folder, leases: &Path) -> Result<()> {
    let _lock = Lock::hold(&leases.join("lock"))?;
    let Some(addresses) = state::load(folder)?.addresses else {
        return Ok(());
    };
    let path = leases.join(addresses.network.to_string());
    let ours = fs::read_to_string(&path).is_ok_and(|owner| Path::new(owner.trim()) == folder.dir());
    if ours { fs::remove_file(&path).with_context(|| format!("removing {}", path.display())) } else { Ok(()) }
}

fn lease(leases: &Path, network: u8, folder: &Folder) -> Result<()> {
    let path = leases.join(network.to_string());
    fs::write(&path, format!("{}\n", folder.dir().display())).with_context(|| format!("writing {}", path.display()))
}

/// A lease counts while its bed's state still names the network; beds that were removed by hand leave none behind.
fn leased(leases: &Path, network: u8, asking: &Folder) -> bool {
    let Ok(owner) = fs::read_to_string(leases.join(network.to_string())) else {
        return false;
    };
    let owner = Path::new(owner.trim());
    if owner == asking.dir() {
        return false;
    }
    let state = fs::read(owner.join("state.json")).ok().and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
    state.and_then(|state| state.addresses).is_some_and(|addresses| addresses.network == network)
}

/// The first network that is not taken, from a place that depends on the bed: a bed keeps its addresses over restarts.
fn choose_network(seed: u64, taken: impl Fn(u8) -> bool) -> Option<u8> {
    let count = LAST_NETWORK - FIRST_NETWORK + 1;
    let first = u8::try_from(seed % u64::from(count)).ok()?;
    (0..count)
        .map(|step| {
            FIRST_NETWORK + u8::try_from((u16::from(first) + u16::from(step)) % u16::from(count)).unwrap_or_default()
        })
        .find(|network| !taken(*network))
}

fn seed(folder: &Folder) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    folder
        .dir()
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Networks on which somebody listens: beds of other users, and of this user with another cache folder.
fn listened_networks() -> BTreeSet<u8> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(listener)
        .filter(|address| address.octets()[..2] == [127, 0])
        .map(|address| address.octets()[2])
        .collect()
}

/// The IPv4 address of a listening socket in a line of the kernel's table; IPv6 sockets may carry a mapped one.
fn listener(line: &str) -> Option<Ipv4Addr> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, _port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let word = if address.len() == 8 { address } else { address.strip_prefix("0000000000000000FFFF0000")? };
    Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_le_bytes()))
}

/// 32 of 0-9 and a-f.
pub(crate) fn random_word() -> Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("reading a random word")?;
    Ok(uuid.chars().filter(char::is_ascii_alphanumeric).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_network_is_passed_over_and_the_search_wraps() {
        let count = u64::from(LAST_NETWORK - FIRST_NETWORK + 1);
        assert_eq!(choose_network(0, |_| false), Some(FIRST_NETWORK));
        assert_eq!(choose_network(count, |_| false), Some(FIRST_NETWORK));
        assert_eq!(choose_network(count - 1, |network| network == LAST_NETWORK), Some(FIRST_NETWORK));
        assert_eq!(choose_network(7, |_| true), None);
    }

    #[test]
    fn usual_ports_are_kept_when_free_and_never_given_twice() {
        let ports = Ports::choose(|_| true).unwrap();
        assert_eq!((ports.api_server, ports.kafka, ports.kafka_controller), (6443, 9092, 9093));
        let ports = Ports::choose(|port| port != 9092 && port != 6443).unwrap();
        assert_eq!((ports.api_server, ports.kafka, ports.kafka_controller), (6444, 9093, 9094));
        assert!(Ports::choose(|_| false).is_err());
    }

    #[test]
    fn listeners_are_read_from_both_tables() {
        let v4 = "   0: 0109007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(listener(v4), Some(Ipv4Addr::new(127, 0, 9, 1)));
        let v6 = "   0: 0000000000000000FFFF00000109007F:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1";
        assert_eq!(listener(v6), Some(Ipv4Addr::new(127, 0, 9, 1)));
        assert_eq!(listener(&v4.replace(" 0A ", " 01 ")), None, "a connection is no listener");
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn two_beds_get_two_networks_and_a_bed_keeps_its_own() {
        let root = tempfile::tempdir().unwrap();
        let leases = root.path().join("networks");
        let one = Folder::open(&root.path().join("one")).unwrap();
        let two = Folder::open(&root.path().join("two")).unwrap();
        let first = of_bed(&one, &leases).unwrap();
        let taken = |network: u8| leased(&leases, network, &two);
        assert_eq!(
            choose_network(u64::from(first.network - FIRST_NETWORK), taken).map(|network| network == first.network),
            Some(false)
        );
        assert_eq!(of_bed(&one, &leases).unwrap(), first);
        let second = of_bed(&two, &leases).unwrap();
        assert_ne!(first.network, second.network);
        release(&one, &leases).unwrap();
        assert!(!leases.join(first.network.to_string()).exists());
        assert!(leases.join(second.network.to_string()).exists());
    }

    #[test]
    fn a_lease_of_a_removed_bed_is_void() {
        let root = tempfile::tempdir().unwrap();
        let leases = root.path().join("networks");
        let one = Folder::open(&root.path().join("one")).unwrap();
        let two = Folder::open(&root.path().join("two")).unwrap();
        let first = of_bed(&one, &leases).unwrap();
        assert!(leased(&leases, first.network, &two));
        fs::remove_dir_all(one.dir()).unwrap();
        assert!(!leased(&leases, first.network, &two));
    }
}
