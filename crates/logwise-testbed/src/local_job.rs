//! The streaming job in one Java, without a master and workers, for tests that end it and start it again; and what it
//! has written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::bed::Bed;
use crate::command::{command, output};
use crate::prerequisites;
use crate::process::{Ending, Running, Server, last_words, spawn, stop};
use crate::s3::{Request, S3};
use crate::site::Site;
use crate::spark::credentials;
use crate::stream::{self, Job, MAIN_CLASS, QUERY};
use crate::workspace::crate_path;
use crate::{proc, state};

/// The folder of its checkpoint, in the bucket.
const CHECKPOINT: &str = "checkpoint";
/// Reads the table of the job.
const ROWS: &str = "spark/Rows.java";
const LONGEST_READING: Duration = Duration::from_secs(120);
const LAST_WORDS: usize = 40;

/// A run of the job. Dropped, it is killed.
pub struct LocalJob {
    site: Site,
    name: String,
    running: Running,
}

impl LocalJob {
    /// Starts the job and returns at once. `name` is that of its process and its log, unique in the bed. Of the job,
    /// master, pages and number of cores do not count.
    pub async fn start(bed: &Bed, job: &Job, name: &str) -> Result<LocalJob> {
        let site = bed.site()?;
        let server = server(&site, job, name)?;
        let running = spawn(&site.folder, &server).await?;
        Ok(LocalJob { site, name: name.to_owned(), running })
    }

    /// Errors, with the end of its log, if it has ended or has told of an error.
    pub fn is_well(&mut self) -> Result<()> {
        let log = &self.running.record.log;
        if let Some(status) = self.running.child.try_wait().context("looking at the streaming job")? {
            bail!("the streaming job has ended ({status}){}", last_words(log, LAST_WORDS));
        }
        let text = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        match troubles(&String::from_utf8_lossy(&text)) {
            Some(line) => bail!("the streaming job says: {line}"),
            None => Ok(()),
        }
    }

    /// Ends it by SIGTERM, and by SIGKILL if that was not enough after 20 s.
    pub async fn stop(self) -> Result<()> {
        stop(&self.site.folder, &self.name).await
    }
}

impl Drop for LocalJob {
    fn drop(&mut self) {
        let (record, folder) = (&self.running.record, &self.site.folder);
        // Best effort: `down` ends what is left.
        drop(proc::signal(&proc::members(&record.identity, folder.dir()), Signal::KILL));
        drop(state::forget(folder, &self.name, record));
    }
}

/// The first line of a log that is worse than a warning.
fn troubles(log: &str) -> Option<&str> {
    log.lines().find(|line| [" ERROR ", " FATAL ", "Exception in thread"].iter().any(|word| line.contains(word)))
}

fn server(site: &Site, job: &Job, name: &str) -> Result<Server> {
    let home = home(site, name)?;
    let mut args = java_arguments(site, job, &home)?;
    args.push(MAIN_CLASS.to_owned());
    args.extend(stream::arguments(job));
    let mut server = Server::once(name, prerequisites::jdk()?.join("bin/java"), args, &home, LONGEST_READING);
    server.env = environment(site);
    server.ending = Ending::Terminate { seconds: 20 };
    Ok(server)
}

/// Where Spark listens, and what the job's S3 asks for.
fn environment(site: &Site) -> Vec<(String, String)> {
    let host = ("SPARK_LOCAL_IP".to_owned(), site.addresses.host().to_string());
    std::iter::once(host).chain(credentials()).collect()
}

/// What a killed Java leaves behind goes with the bed.
fn home(site: &Site, name: &str) -> Result<PathBuf> {
    site.folder.sub(&format!("spark/{name}"))
}

/// Java's arguments before the class: Spark within this Java, with S3 as the job has it.
fn java_arguments(site: &Site, job: &Job, home: &Path) -> Result<Vec<String>> {
    let (spark, host) = (&site.tools.spark, site.addresses.host().to_string());
    let mut args = spark.daemon_options();
    args.extend(["-Xmx512m".to_owned(), spark.quiet_log(), format!("-Djava.io.tmpdir={}", home.display())]);
    let shared = stream::properties(spark, job);
    let shared = shared.as_object().context("properties of a job")?.iter();
    let shared = shared.filter(|(name, _)| name.starts_with("spark.hadoop.") || name.starts_with("spark.sql."));
    args.extend(shared.filter_map(|(name, value)| Some(format!("-D{name}={}", value.as_str()?))));
    let own = [
        ("spark.master", "local[2]"),
        ("spark.app.name", "logwise"),
        ("spark.ui.enabled", "false"),
        ("spark.driver.host", host.as_str()),
        ("spark.driver.bindAddress", host.as_str()),
    ];
    args.extend(own.map(|(name, value)| format!("-D{name}={value}")));
    args.extend(["-cp".to_owned(), spark.class_path()]);
    Ok(args)
}

/// How often each line stands in the job's table: service and message. Files of the table that have expired are passed
/// over; those that no finished batch has put into the table do not count.
pub async fn rows(bed: &Bed, job: &Job) -> Result<BTreeMap<(String, String), usize>> {
    let site = bed.site()?;
    let home = home(&site, "rows")?;
    let mut read = command(prerequisites::jdk()?.join("bin/java"), java_arguments(&site, job, &home)?);
    read.arg(crate_path(ROWS)?).arg(format!("s3a://{}/logs", job.bucket));
    // A session of the caller's own would belong to another key.
    read.envs(environment(&site)).env_remove("AWS_SESSION_TOKEN").current_dir(&home);
    let text = output(read, LONGEST_READING).await.context("reading the table of the streaming job")?;
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let (service, message) = line.split_once('\t').with_context(|| format!("no row: {line}"))?;
        *rows.entry((service.to_owned(), message.to_owned())).or_default() += 1;
    }
    Ok(rows)
}

/// Where a query stands, as its checkpoint tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The newest committed batch.
    pub batch: u64,
    /// The sum of the next offsets to read, over all partitions.
    pub read: i64,
}

/// Up to where the job has read and committed: the sum of its next offsets over all partitions.
pub async fn committed(s3: &S3, bucket: &str) -> Result<i64> {
    Ok(position(s3, bucket).await?.read)
}

/// Where the job stands. Errors while no batch is committed.
pub async fn position(s3: &S3, bucket: &str) -> Result<Position> {
    let commits = s3.objects(bucket, &format!("{CHECKPOINT}/{QUERY}/commits/")).await?;
    let numbers = commits.keys().filter_map(|key| key.rsplit('/').next()?.parse::<u64>().ok());
    let last = numbers.max().context("no batch is committed")?;
    let path = format!("{bucket}/{CHECKPOINT}/{QUERY}/offsets/{last}");
    let offsets = s3.get(&Request { path, ..Request::default() }).await?.good("reading the offsets of a batch")?.body;
    let read = sum(&offsets).with_context(|| format!("no offsets of a batch: {offsets}"))?;
    Ok(Position { batch: last, read })
}

/// The last line of a batch's offsets is `{"topic":{"0":12,"1":3}}`.
fn sum(offsets: &str) -> Option<i64> {
    let topics: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(offsets.lines().last()?).ok()?;
    topics.values().flat_map(BTreeMap::values).map(Value::as_i64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_added_up_over_topics_and_partitions() {
        let text = "v1\n{\"batchWatermarkMs\":0}\n{\"a.logs\":{\"0\":12,\"1\":3},\"b\":{\"0\":5}}";
        assert_eq!(sum(text), Some(20));
        assert_eq!(sum("v1\n"), None);
        assert_eq!(sum("v1\n{\"a\":{\"0\":\"x\"}}"), None);
    }

    #[test]
    fn warnings_are_no_trouble() {
        let quiet = "26/11/28 17:37:26 WARN ResolveWriteToStream: spark.sql.adaptive.enabled is not supported\n";
        assert_eq!(troubles(quiet), None);
        let loud =
            format!("{quiet}26/11/28 17:37:27 ERROR MicroBatchExecution: Query application terminated with error\n");
        assert!(troubles(&loud).is_some_and(|line| line.ends_with("terminated with error")));
    }
}
