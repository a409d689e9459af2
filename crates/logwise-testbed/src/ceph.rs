//! A Ceph of one node, whose gateway is a third S3: it carries out lifecycle rules, with days of ten seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

pub use crate::ceph_install::{prepare, version};

use crate::aws;
use crate::folder::{Folder, write_atomically};
use crate::http;
use crate::process::{Ending, Probe, Server, ask, complete, probe, start, stop};
use crate::profile::Part;
use crate::site::Site;
use crate::state;

/// The name of the gateway's process, record and log.
pub const GATEWAY: &str = "radosgw";
/// How long what AWS calls a day lasts here.
pub const DAY: Duration = Duration::from_secs(10);

const OSD: &str = "ceph-osd";
const MONITOR: &str = "ceph-mon";
const SETTINGS: &str = include_str!("../ceph/ceph.conf");
/// Where libraries lie in a package for this architecture.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// An OSD has to have one; with it, it makes itself known to the monitor.
const OSD_ID: &str = "6f3f0f5c-27a7-4b51-9d5c-8d7b39a1f001";
/// What Ceph's own protocol begins with, on both sides.
const GREETING: &[u8] = b"ceph v2\n";
const DEADLINE: Duration = Duration::from_secs(60);

/// Starts the three servers and returns when the gateway answers. Data is kept in memory: if not all of them run and
/// answer, all begin anew.
pub async fn up(site: &Site) -> Result<()> {
    if all_answer(site).await? {
        return Ok(());
    }
    for name in Part::Ceph.servers() {
        stop(&site.folder, name).await?;
    }
    write_settings(site)?;
    let bed = &site.folder;
    let make_monitor = once(site, "ceph-mon-mkfs", "ceph-mon", &["--mkfs", "-i", "a"]);
    complete(bed, &make_monitor).await.context("making Ceph's monitor")?;
    start(bed, &monitor(site)).await?;
    let make_osd = once(site, "ceph-osd-mkfs", "ceph-osd", &["--mkfs", "-i", "0", "--osd-uuid", OSD_ID]);
    complete(bed, &make_osd).await.context("making Ceph's OSD")?;
    start(bed, &osd(site)).await?;
    let user = ["user", "create", "--uid", aws::ACCOUNT, "--display-name", "testbed"];
    let keys = ["--access-key", aws::ACCESS_KEY, "--secret-key", aws::SECRET_KEY];
    let make_user = once(site, "radosgw-admin", "radosgw-admin", &[&["-n", "client.rgw"][..], &user, &keys].concat());
    complete(bed, &make_user).await.context("making a user of Ceph's gateway")?;
    start(bed, &gateway(site)).await.map(drop)
}

/// The three servers.
pub fn servers(site: &Site) -> Vec<Server> {
    vec![monitor(site), osd(site), gateway(site)]
}

/// Where the gateway answers.
pub fn endpoint(site: &Site) -> String {
    format!("http://{}", site.addresses.at(site.addresses.ports.radosgw))
}

async fn all_answer(site: &Site) -> Result<bool> {
    let records = state::load(&site.folder)?.servers;
    for server in servers(site) {
        let runs = records.get(&server.name).is_some_and(crate::process::Record::alive);
        if !runs || ask(&server).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The settings, and empty folders.
fn write_settings(site: &Site) -> Result<()> {
    let folder = site.folder.path("ceph");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing an old Ceph")?;
    }
    for name in ["mon", "osd", "rgw"] {
        site.folder.sub(&format!("ceph/{name}"))?;
    }
    write_atomically(&settings_file(&site.folder), settings(site, &folder).as_bytes())
}

fn settings_file(bed: &Folder) -> PathBuf {
    bed.path("ceph/ceph.conf")
}

fn settings(site: &Site, folder: &Path) -> String {
    let ports = &site.addresses.ports;
    SETTINGS
        .replace("@HOST@", &site.addresses.host().to_string())
        .replace("@MON@", &ports.ceph_mon.to_string())
        .replace("@OSD@", &ports.ceph_osd.to_string())
        .replace("@RADOSGW@", &ports.radosgw.to_string())
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@LIBRARIES@", &site.tools.ceph.join(LIBRARIES).display().to_string())
}

fn monitor(site: &Site) -> Server {
    let ready = greets(site.addresses.at(site.addresses.ports.ceph_mon));
    Server { ready, ..once(site, MONITOR, "ceph-mon", &["-f", "-i", "a"]) }
}

fn osd(site: &Site) -> Server {
    let ready = greets(site.addresses.at(site.addresses.ports.ceph_osd));
    Server { ready, ..once(site, OSD, "ceph-osd", &["-f", "-i", "0"]) }
}

fn gateway(site: &Site) -> Server {
    let endpoint = endpoint(site);
    let ready = probe(move || {
        let endpoint = endpoint.clone();
        async move {
            let status = http::client()?.get(&endpoint).send().await.context("asking Ceph's gateway")?.status();
            if status.is_success() { Ok(()) } else { bail!("Ceph's gateway answers {status}") }
        }
    });
    Server { ready, ..once(site, GATEWAY, "radosgw", &["-f", "-n", "client.rgw"]) }
}

/// A program of Ceph, run by the loader that came with it, as the machine's own C library may be an older one.
fn once(site: &Site, name: &str, program: &str, words: &[&str]) -> Server {
    let libraries = site.tools.ceph.join(LIBRARIES);
    let mut args = vec!["--library-path".to_owned(), format!("{0}:{0}/ceph", libraries.display())];
    args.push(site.tools.ceph.join("usr/bin").join(program).display().to_string());
    args.extend(["-c".to_owned(), settings_file(&site.folder).display().to_string()]);
    args.extend(words.iter().map(|word| (*word).to_owned()));
    let loader = libraries.join("ld-linux-x86-64.so.2");
    let mut server = Server::once(name, loader, args, &site.folder.path("ceph"), DEADLINE);
    server.ending = Ending::Kill;
    server
}

/// Whether something speaks Ceph's own protocol at an address.
fn greets(address: String) -> Probe {
    probe(move || {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(&address).await.context("connecting to Ceph")?;
            let mut greeting = [0_u8; GREETING.len()];
            stream.read_exact(&mut greeting).await.context("reading Ceph's greeting")?;
            ensure!(greeting == GREETING, "what listens at {address} is no Ceph");
            Ok(())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::progress::Progress;

    #[test]
    fn the_settings_have_no_gaps_and_the_days_that_are_promised() {
        let root = tempfile::tempdir().unwrap();
        let (cache, bed) =
            (Cache::at(&root.path().join("cache")).unwrap(), Folder::open(&root.path().join("bed")).unwrap());
        let site = Site::open(bed, &cache, Progress::start()).unwrap();
        let settings = settings(&site, Path::new("/bed/ceph"));
        assert!(!settings.contains('@'), "{settings}");
        assert!(settings.contains(&format!("rgw lc debug interval = {}\n", DAY.as_secs())), "{settings}");
        let names: Vec<String> = servers(&site).into_iter().map(|server| server.name).collect();
        let mut wanted = Part::Ceph.servers().to_vec();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
    }
}
