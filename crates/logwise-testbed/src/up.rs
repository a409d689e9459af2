//! Prepares, starts, asks and ends the servers of a bed as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::{BoxFuture, join_all};

use crate::cache::Cache;
use crate::folder::Folder;
use crate::lock::Lock;
use crate::prerequisites::{self, DEBIAN, MARIADB, OPENSSL, Packaged};
use crate::process::{self, Record, Server};
use crate::profile::Part;
use crate::progress::Progress;
use crate::site::Site;
use crate::{address, aws, ceph, home, kafka, kubernetes, mariadb, minio, operator, spark, state, supervisor, tools};

/// Another command on the same bed may be in the middle of a start.
const BED_PATIENCE: Duration = Duration::from_secs(900);

/// Makes sure that everything the parts need is on the machine and in the cache; what can overlap does.
pub async fn prepare(cache: &Cache, parts: &BTreeSet<Part>, progress: &Progress) -> Result<()> {
    check_toolchains(parts).await?;
    let packaged: Vec<Packaged> = parts.iter().flat_map(|part| packages(*part)).copied().collect();
    let lock = cache.root().join("packages.lock");
    let packages = prerequisites::ensure(&packaged, &lock, progress);
    let fills = parts.iter().map(|part| fill(*part, cache, progress));
    let (packages, fills) = futures::join!(packages, join_all(fills));
    all(std::iter::once(("packages", packages)).chain(parts.iter().map(|part| part.word()).zip(fills)))
}

/// Fails before the first download when a toolchain is missing, with every missing one named.
async fn check_toolchains(parts: &BTreeSet<Part>) -> Result<()> {
    let needs = |wanted: &[Part]| wanted.iter().any(|part| parts.contains(part));
    let mut found = Vec::new();
    if needs(&[Part::Kube, Part::Minio]) {
        found.push(("Go", prerequisites::go().await.map(drop)));
    }
    if needs(&[Part::Kafka, Part::Spark]) {
        found.push(("JDK", prerequisites::jdk().map(drop)));
        found.push(("Maven", prerequisites::maven().map(drop)));
    }
    if needs(&[Part::Aws, Part::Spark]) {
        found.push(("Python", prerequisites::python().await.map(drop)));
    }
    all(found)
}

fn packages(part: Part) -> &'static [Packaged] {
    match part {
        Part::Kube => &[OPENSSL],
        Part::Sql => &MARIADB,
        Part::Ceph => &DEBIAN,
        Part::Kafka | Part::Aws | Part::Spark | Part::Minio => &[],
    }
}

fn fill<'a>(part: Part, cache: &'a Cache, progress: &'a Progress) -> BoxFuture<'a, Result<()>> {
    match part {
        Part::Kube => Box::pin(tools::prepare_kubernetes(cache, progress)),
        Part::Kafka => Box::pin(tools::prepare_kafka(cache, progress)),
        Part::Aws => Box::pin(tools::prepare_python(cache, progress)),
        Part::Sql => Box::pin(async { Ok(()) }),
        Part::Spark => Box::pin(async { spark::prepare(cache, progress).await.map(drop) }),
        Part::Minio => Box::pin(tools::prepare_minio(cache, progress)),
        Part::Ceph => Box::pin(ceph::prepare(cache, progress)),
    }
}

/// One error that names every failure; success when there is none.
fn all<'a>(results: impl IntoIterator<Item = (&'a str, Result<()>)>) -> Result<()> {
    let failures: Vec<String> = results
        .into_iter()
        .filter_map(|(name, result)| result.err().map(|error| format!("{name}: {error:#}")))
        .collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// Brings the parts to "runs and answers". What already does is kept.
pub async fn up(folder: &Folder, cache: &Cache, parts: &BTreeSet<Part>, progress: &Progress) -> Result<Site> {
    let _lock = bed_lock(folder, progress).await?;
    end_what_tests_left(folder).await?;
    if state::load(folder)?.servers.is_empty() {
        clear_logs(folder)?;
    }
    let site = Site::open(folder.clone(), cache, *progress)?;
    let starts = parts.iter().map(|part| async {
        let name = format!("starting {}", part.word());
        progress.step(&name, start(*part, &site)).await
    });
    let results = join_all(starts).await;
    all(parts.iter().map(|part| part.word()).zip(results))?;
    Ok(site)
}

/// A test that was killed left its operators recorded, which nobody starts again, and servers of its own running.
async fn end_what_tests_left(folder: &Folder) -> Result<()> {
    for (name, record) in state::load(folder)?.servers {
        if name.starts_with(operator::PREFIX) && !record.alive() {
            process::stop(folder, &name).await?;
        }
    }
    home::end_abandoned(folder)
}

async fn bed_lock(folder: &Folder, progress: &Progress) -> Result<Lock> {
    let waiting = || progress.say("another command works on this bed, waiting");
    Lock::within(&folder.path("bed.lock"), BED_PATIENCE, waiting).await
}

fn start(part: Part, site: &Site) -> BoxFuture<'_, Result<()>> {
    match part {
        Part::Kube => Box::pin(kubernetes::up(site)),
        Part::Kafka => Box::pin(kafka::up(site)),
        Part::Aws => Box::pin(aws::up(site)),
        Part::Sql => Box::pin(mariadb::up(site)),
        Part::Spark => Box::pin(start_spark(site)),
        Part::Minio => Box::pin(minio::up(site)),
        Part::Ceph => Box::pin(ceph::up(site)),
    }
}

/// The master, and beside it the supervisor, which waits for the stand-in by itself.
async fn start_spark(site: &Site) -> Result<()> {
    let (master, supervisor) = spark_servers(site)?;
    futures::try_join!(process::start(&site.folder, &master), process::start(&site.folder, &supervisor))?;
    Ok(())
}

fn spark_servers(site: &Site) -> Result<(Server, Server)> {
    let own = std::env::current_exe().context("finding this program")?;
    let arguments = ["--dir".to_owned(), site.folder.dir().display().to_string(), "supervise".to_owned()];
    Ok((spark::master(site, &site.tools.spark)?, supervisor::server(&site.folder, &own, &arguments)))
}

/// The servers of a part, as they would be started.
fn servers(part: Part, site: &Site) -> Result<Vec<Server>> {
    match part {
        Part::Kube => kubernetes::servers(site).map(Vec::from),
        Part::Kafka => kafka::server(site).map(|server| vec![server]),
        Part::Aws => aws::server(site).map(|server| vec![server]),
        Part::Sql => mariadb::server(site).map(|server| vec![server]),
        Part::Spark => spark_servers(site).map(|(master, supervisor)| vec![master, supervisor]),
        Part::Minio => minio::server(site).map(|server| vec![server]),
        Part::Ceph => Ok(ceph::servers(site)),
    }
}

/// Ends everything that the bed's state names and removes the bed's run state. Logs stay until the next `up`.
pub async fn down(folder: &Folder, cache: &Cache, progress: &Progress) -> Result<()> {
    let _lock = bed_lock(folder, progress).await?;
    // A supervisor that is ended last could start what was just ended.
    process::stop(folder, supervisor::NAME).await?;
    let names: Vec<String> = state::load(folder)?.servers.into_keys().collect();
    progress.say(format_args!(
        "ending {}",
        if names.is_empty() { "nothing: no server is recorded".to_owned() } else { names.join(", ") }
    ));
    let stops = join_all(names.iter().map(|name| process::stop(folder, name))).await;
    all(names.iter().map(String::as_str).zip(stops))?;
    address::release(folder, &cache.leases())?;
    clear(folder)
}

/// Removes all but the logs and the lock files, which other commands may be waiting for.
fn clear(folder: &Folder) -> Result<()> {
    for entry in fs::read_dir(folder.dir()).context("listing the bed's folder")?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name == "log" || path.extension().is_some_and(|end| end == "lock") {
            continue;
        }
        remove(&path)?;
    }
    Ok(())
}

/// A short-lived program of a killed `up`, such as openssl, may still be writing into a folder: hence a few attempts.
fn remove(path: &Path) -> Result<()> {
    let attempt = || if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    for _ in 0..100 {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => std::thread::yield_now(),
            result => return result.with_context(|| format!("removing {}", path.display())),
        }
    }
    attempt().with_context(|| format!("removing {}", path.display()))
}

fn clear_logs(folder: &Folder) -> Result<()> {
    let logs = folder.path("log");
    fs::remove_dir_all(&logs).context("removing old logs")?;
    fs::create_dir(&logs).context("creating the folder of logs")
}

/// What is known of one recorded server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The server.
    pub name: String,
    /// Its process.
    pub record: Record,
    /// What it does.
    pub health: Health,
}

/// Whether a recorded server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Its protocol answers.
    Answers,
    /// The process runs; the bed knows no question for it.
    Runs,
    /// The process runs and does not answer.
    Silent(String),
    /// The process is gone.
    Dead,
}

/// Asks every recorded server.
pub async fn status(folder: &Folder, cache: &Cache) -> Result<Vec<Line>> {
    let records = state::load(folder)?.servers;
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let site = Site::open(folder.clone(), cache, Progress::start())?;
    let definitions = Part::ALL
        .iter()
        .filter_map(|part| servers(*part, &site).ok())
        .flatten()
        .map(|server| (server.name.clone(), server));
    let definitions: BTreeMap<String, Server> = definitions.collect();
    let lines = records.into_iter().map(async |(name, record)| {
        let health = health(definitions.get(&name), &record).await;
        Line { name, record, health }
    });
    Ok(join_all(lines).await)
}

async fn health(server: Option<&Server>, record: &Record) -> Health {
    if !record.alive() {
        return Health::Dead;
    }
    match server {
        None => Health::Runs,
        Some(server) => {
            process::ask(server).await.map_or_else(|error| Health::Silent(format!("{error:#}")), |()| Health::Answers)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_named() {
        let results =
            [("kube", Ok(())), ("kafka", Err(anyhow::anyhow!("a").context("b"))), ("sql", Err(anyhow::anyhow!("c")))];
        assert_eq!(all(results).unwrap_err().to_string(), "kafka: b: a\nsql: c");
        assert!(all([("kube", Ok(()))]).is_ok());
    }

    #[tokio::test]
    async fn down_leaves_only_logs_and_locks() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(&root.path().join("cache")).unwrap();
        let folder = Folder::open(&root.path().join("bed")).unwrap();
        address::of_bed(&folder, &cache.leases()).unwrap();
        fs::write(folder.log("x"), "words").unwrap();
        fs::create_dir(folder.path("pki")).unwrap();
        down(&folder, &cache, &Progress::start()).await.unwrap();
        let mut left: Vec<String> = fs::read_dir(folder.dir())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["bed.lock", "log", "state.lock"]);
        assert!(folder.log("x").exists());
        assert_eq!(
            fs::read_dir(cache.leases()).unwrap().flatten().filter(|entry| entry.file_name() != "lock").count(),
            0
        );
    }
}
