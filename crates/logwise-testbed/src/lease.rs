//! Ports for the servers of a test's own: no other test of the bed gets them while these exist, also when one is down.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::folder::Folder;
use crate::lock::Lock;

/// Above the bed's own servers, below the range from which the system takes ports for those who ask for any.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// Holds the ports that it gave out until it is dropped, or the process that holds it ends.
#[derive(Debug)]
pub(crate) struct Lease {
    locks: PathBuf,
    host: Ipv4Addr,
    held: Vec<Lock>,
}

impl Lease {
    /// A lease of no port yet.
    pub fn open(folder: &Folder, host: Ipv4Addr) -> Result<Lease> {
        Ok(Lease { locks: folder.sub("ports")?, host, held: Vec::new() })
    }

    /// One port more, on which nobody listens.
    pub async fn port(&mut self) -> Result<u16> {
        for port in FIRST..=LAST {
            let lock = Lock::within(&self.locks.join(port.to_string()), Duration::ZERO, || ()).await;
            let Ok(lock) = lock else { continue };
            if TcpListener::bind((self.host, port)).is_ok() {
                self.held.push(lock);
                return Ok(port);
            }
        }
        bail!("no free port between {FIRST} and {LAST} on {}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn two_clusters_get_different_ports_and_give_them_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let open = || Lease::open(&folder, Ipv4Addr::new(127, 0, 251, 1)).unwrap();
        let (mut one, mut two) = (open(), open());
        let (first, second) = (one.port().await.unwrap(), two.port().await.unwrap());
        let third = one.port().await.unwrap();
        assert!(first < second && second < third, "{first}, {second}, {third}");
        drop(one);
        // A process that another test starts at this moment holds what it has inherited until it is another program.
        let until = Instant::now() + Duration::from_secs(10);
        while open().port().await.unwrap() != first {
            assert!(Instant::now() < until, "{first} was not given back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(two.port().await.unwrap(), first);
    }

    #[tokio::test]
    async fn a_port_on_which_somebody_listens_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let host = Ipv4Addr::new(127, 0, 252, 1);
        let first = Lease::open(&folder, host).unwrap().port().await.unwrap();
        let listener = TcpListener::bind((host, first)).unwrap();
        assert!(Lease::open(&folder, host).unwrap().port().await.unwrap() > first);
        drop(listener);
    }
}
