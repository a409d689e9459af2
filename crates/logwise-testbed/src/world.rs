//! A corner of a bed for one test: its own namespace, topics, bucket, group and schema, so that tests run side by side.

mod deployment;
mod spark;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Api, collection, path};
use crate::bed::Bed;
use crate::operator::operator_name;
use crate::process::last_words;
use crate::stand_in::{Call, Fault, Group, Lifecycle, NewObject, Object, StandIn};
use crate::supervisor::TAG;
use crate::topics;

pub use self::deployment::WorkerPod;

const LOOK: Duration = Duration::from_millis(100);
/// Lines of each operator's log that a wait in vain shows.
const LAST_WORDS: usize = 40;
const LONGEST_NAME: usize = 12;

/// A test's corner of a bed. Dropped, it removes what could cost others time (best effort, and not when the test
/// failed: what it left is there to be looked at until `down`).
pub struct World {
    /// Unique on the bed: at most 20 of a-z and 0-9, begins with a letter.
    pub id: String,
    /// Its namespace; exists.
    pub namespace: String,
    /// What its topics begin with.
    pub topic_prefix: String,
    /// Its bucket; exists and is empty.
    pub bucket: String,
    /// The name of its Auto Scaling group; see [`World::create_group`].
    pub group: String,
    /// The name of its schema in MariaDB; see [`World::create_schema`].
    pub schema: String,
    /// The bed.
    pub bed: Bed,
    /// The API server.
    pub api: Api,
    stand_in: StandIn,
    operators: AtomicU32,
}

impl World {
    /// Makes a corner named after a test.
    pub async fn new(bed: &Bed, test_name: &str) -> Result<World> {
        let id = id(test_name, fresh());
        let world = World {
            namespace: id.clone(),
            topic_prefix: format!("{id}.logs."),
            bucket: format!("{id}-bucket"),
            group: format!("{id}-workers"),
            schema: id.clone(),
            bed: bed.clone(),
            api: bed.api()?,
            stand_in: bed.stand_in(),
            operators: AtomicU32::new(0),
            id,
        };
        let (api, namespace) = (&world.api, &world.namespace);
        futures::try_join!(api.create_namespace(namespace), world.stand_in.create_bucket(&world.bucket))?;
        Ok(world)
    }

    /// Runs `kubectl -n <namespace> ARGS` as the administrator; returns standard output, errors hold standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.bed.kubectl(&[&["-n", &self.namespace], args].concat(), None).await
    }

    /// Applies a YAML text in the namespace.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.bed.kubectl(&["-n", &self.namespace, "apply", "-f", "-"], Some(yaml)).await
    }

    /// Reads one object of the namespace.
    pub async fn get_json(&self, kind: &str, name: &str) -> Result<Value> {
        if let Some(path) = path(kind, &self.namespace, name) {
            return self.api.get(&path).await;
        }
        let text = self.kubectl(&["get", kind, name, "-o", "json"]).await?;
        serde_json::from_str(&text).with_context(|| format!("reading {kind} {name}"))
    }

    /// Reads all objects of such a kind in the namespace: lwc, lrp, configmap, event or lease. `fields` is a field selector
    /// or empty.
    pub async fn list(&self, kind: &str, fields: &str) -> Result<Vec<Value>> {
        let all = collection(kind, &self.namespace).with_context(|| format!("no path of {kind}"))?;
        let query = if fields.is_empty() { String::new() } else { format!("?fieldSelector={fields}") };
        let mut list = self.api.get(&format!("{all}{query}")).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Asks until `look` succeeds, and returns what it found. After `within` the last error is returned, with what
    /// was waited for and what the world's operators said last.
    pub async fn wait_until<T>(&self, what: &str, within: Duration, look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        wait_until(what, within, look).await.map_err(|error| {
            let logs = self.operator_logs();
            let said: Vec<String> = logs.iter().map(|log| last_words(log, LAST_WORDS)).collect();
            anyhow!("{error:#}{}", said.concat())
        })
    }

    /// The logs of the operators that were started here.
    fn operator_logs(&self) -> Vec<PathBuf> {
        let names = 1..=self.operators.load(Ordering::Relaxed);
        let log = |number| self.bed.folder.log(&operator_name(&self.id, number));
        names.map(log).filter(|log| log.exists()).collect()
    }

    /// The whole name of a topic: `name` as it is when it has the world's prefix, else with it.
    pub fn topic(&self, name: &str) -> String {
        if name.starts_with(&self.topic_prefix) { name.to_owned() } else { format!("{}{name}", self.topic_prefix) }
    }

    /// Creates a topic (see [`World::topic`] for its name) and returns when every partition answers.
    pub async fn create_topic(&self, name: &str, partitions: u32) -> Result<String> {
        let topic = self.topic(name);
        topics::create(&self.bed.kafka.bootstrap, &topic, partitions).await?;
        Ok(topic)
    }

    /// Produces that many records, with a key each or none, and returns when all are stored.
    pub async fn produce(&self, name: &str, records: u32, keyed: bool) -> Result<()> {
        topics::produce(&self.bed.kafka.bootstrap, &self.topic(name), records, keyed).await
    }

    /// Produces one record that is so old by its own time.
    pub async fn produce_at(&self, name: &str, age: Duration) -> Result<()> {
        topics::produce_at(&self.bed.kafka.bootstrap, &self.topic(name), age).await
    }

    /// The number of partitions according to Kafka's own command line.
    pub async fn topic_partitions(&self, name: &str) -> Result<u32> {
        Ok(self.bed.kafka_topics_describe(&self.topic(name)).await?.partitions)
    }

    /// Creates the Auto Scaling group without workers behind its instances.
    pub async fn create_group(&self, min: i64, max: i64, desired: i64) -> Result<()> {
        self.stand_in.create_group(&self.group, (min, max, desired), &[]).await
    }

    /// Creates the Auto Scaling group with a real Spark worker behind each instance.
    pub async fn create_spark_group(&self, min: i64, max: i64, desired: i64) -> Result<()> {
        self.stand_in.create_group(&self.group, (min, max, desired), &[(TAG, "true")]).await
    }

    /// Reads an Auto Scaling group.
    pub async fn group(&self, name: &str) -> Result<Group> {
        self.stand_in.group(name).await
    }

    /// The AWS calls that named a resource, in order; `mutating`: only those that change something.
    pub async fn calls(&self, resource: &str, mutating: bool) -> Result<Vec<Call>> {
        self.stand_in.calls(resource, mutating).await
    }

    /// Adds a fault of the AWS stand-in; those that are set stay.
    pub async fn fault(&self, fault: &Fault) -> Result<()> {
        self.stand_in.fault(fault).await
    }

    /// Removes the faults of a resource.
    pub async fn clear_faults(&self, resource: &str) -> Result<()> {
        self.stand_in.clear_faults(resource).await
    }

    /// The lifecycle configuration of a bucket, byte for byte.
    pub async fn lifecycle(&self, bucket: &str) -> Result<Lifecycle> {
        self.stand_in.lifecycle(bucket).await
    }

    /// Writes a lifecycle configuration as a foreign writer.
    pub async fn put_lifecycle(&self, bucket: &str, document: &str) -> Result<()> {
        self.stand_in.put_lifecycle(bucket, document, None).await
    }

    /// Puts objects into the world's bucket.
    pub async fn put_objects(&self, objects: &[NewObject]) -> Result<()> {
        self.stand_in.put_objects(&self.bucket, objects).await
    }

    /// Lists the objects of the world's bucket whose keys begin with `prefix`.
    pub async fn objects(&self, prefix: &str) -> Result<Vec<Object>> {
        self.stand_in.objects(&self.bucket, prefix).await
    }

    /// Creates the schema in MariaDB, if it is not there yet, and returns its address.
    pub async fn create_schema(&self) -> Result<String> {
        self.bed.query(&format!("CREATE DATABASE IF NOT EXISTS `{}` CHARACTER SET utf8mb4", self.schema)).await?;
        Ok(self.bed.sql.url(&self.schema))
    }

    /// Runs SQL in the world's schema through MariaDB's own client.
    pub async fn query(&self, query: &str) -> Result<String> {
        self.bed.query(&format!("USE `{}`; {query}", self.schema)).await
    }

    /// A number that rises with each operator of this world.
    pub(crate) fn next_operator(&self) -> u32 {
        self.operators.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // The group's instances may have real workers behind them, which cost memory.
        let endpoint = self.bed.aws.endpoint.clone();
        let paths = [format!("/_groups?name={}", self.group), format!("/_buckets?name={}", self.bucket)];
        let (bed, namespace) = (self.bed.clone(), self.namespace.clone());
        // The test's runtime may be at its end: another one, on a thread of its own.
        let ending = std::thread::spawn(move || -> Result<()> {
            paths.iter().for_each(|path| drop(delete(&endpoint, path)));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { bed.api()?.delete_namespace(&namespace).await })
        });
        drop(ending.join());
    }
}

/// A DELETE without a runtime, for use in `drop`.
fn delete(endpoint: &str, path: &str) -> Result<()> {
    use std::io::{Read, Write};
    let host = endpoint.strip_prefix("http://").context("the endpoint is not plain HTTP")?;
    let mut stream = std::net::TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "DELETE {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Asks until `look` succeeds, every 100 ms. After `within` the last error is returned, with what was waited for.
pub async fn wait_until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + within;
    let late = || format!("not within {} s: {what}", within.as_secs());
    let mut before = None;
    loop {
        let problem = match (tokio::time::timeout_at(end, look()).await, before) {
            (Ok(Ok(found)), _) => return Ok(found),
            (Ok(Err(problem)), _) => problem,
            (Err(_), Some(before)) => return Err(anyhow::Error::context(before, late())),
            (Err(_), None) => bail!("{}; the only look did not end", late()),
        };
        if Instant::now() + LOOK >= end {
            return Err(problem.context(late()));
        }
        before = Some(problem);
        tokio::time::sleep(LOOK).await;
    }
}

/// A number that no other world on this machine gets: microseconds, and a count for worlds of the same one.
fn fresh() -> u64 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = u64::from(COUNT.fetch_add(1, Ordering::Relaxed));
    let micros = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
    micros.wrapping_mul(8191).wrapping_add(u64::from(std::process::id()).wrapping_mul(127)).wrapping_add(count)
}

/// At most 12 characters of the test's name and 8 that make it unique.
fn id(test_name: &str, fresh: u64) -> String {
    let name: String =
        test_name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let name = name.trim_start_matches(|first: char| first.is_ascii_digit());
    let name = if name.is_empty() { "world" } else { &name[..name.len().min(LONGEST_NAME)] };
    format!("{name}{}", base36(fresh))
}

/// The lowest 8 digits in base 36.
fn base36(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = String::new();
    for _ in 0..8 {
        text.insert(0, char::from(DIGITS[usize::try_from(number % 36).unwrap_or_default()]));
        number /= 36;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_begins_with_a_letter_and_keeps_the_test_readable() {
        assert_eq!(id("Grows a topic, and more", 36), "growsatopica00000010");
        assert_eq!(id("3 workers", 0), "workers00000000");
        assert_eq!(id("--", 1), "world00000001");
        assert!(id("a_very_long_test_name_indeed", u64::MAX).len() <= 20);
    }

    #[test]
    fn ids_made_at_once_differ() {
        let mut all: Vec<String> = (0..1000).map(|_| id("t", fresh())).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }

    #[tokio::test]
    async fn waiting_returns_what_was_found_or_the_last_problem() {
        let mut looks = 0;
        let found = wait_until("three", Duration::from_secs(30), async || {
            looks += 1;
            anyhow::ensure!(looks >= 3, "only {looks}");
            Ok(looks)
        });
        assert_eq!(found.await.unwrap(), 3);
        let never = wait_until("never", Duration::from_millis(1), async || -> Result<()> { bail!("no such thing") });
        assert_eq!(format!("{:#}", never.await.unwrap_err()), "not within 0 s: never: no such thing");
        let stuck =
            wait_until("stuck", Duration::from_millis(1), async || -> Result<()> { std::future::pending().await });
        assert!(stuck.await.unwrap_err().to_string().contains("did not end"));
    }
}
