//! Keeps one real Spark worker per instance of the stand-in's marked groups, as a machine image would.
//!
//! It runs as a process of its own (`logwise-testbed supervise`). Workers are recorded like every server of the bed, so
//! that when the supervisor is killed, the next one takes them over and `down` ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::aws;
use crate::folder::{Folder, write_atomically};
use crate::http;
use crate::process::{self, Ending, Record, Server, probe};
use crate::site::Site;
use crate::spark::{self, Post, Property, Size, Spark};
use crate::state;

/// The tag that a group carries for its instances to become Spark workers: with the value `true` of the bed's master,
/// with `spark://host:port` of the master there.
pub const TAG: &str = "logwise-testbed/spark";
/// The tag with properties for the workers of a group: `name=value`, separated by spaces.
pub const PROPERTIES_TAG: &str = "logwise-testbed/spark-properties";
/// The name of the supervisor's process, record and log.
pub const NAME: &str = "spark-supervisor";
const PREFIX: &str = "spark-worker-";
const EVERY: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that ran this long is sound: when it ends later, it is started again without a pause.
const SOUND: Duration = Duration::from_secs(60);

/// What the supervisor needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bed.
    pub site: Site,
    /// Its Spark.
    pub spark: Spark,
    /// What each worker offers.
    pub size: Size,
}

/// An instance whose machine runs, as the stand-in tells it. Its worker runs before it is in service and as long as a
/// hook holds it back, as a machine's would.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Instance {
    /// `i-...`.
    pub id: String,
    /// The name of its group.
    #[serde(default)]
    pub group: String,
    /// In the bed's subnet.
    pub private_ip: Ipv4Addr,
    /// Those of its group.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl Instance {
    /// The master of its worker, which may be the bed's `own`; none: it is no worker.
    fn master(&self, own: &str) -> Option<String> {
        match self.tags.get(TAG)?.as_str() {
            "true" => Some(own.to_owned()),
            url if url.starts_with("spark://") => Some(url.to_owned()),
            _ => None,
        }
    }

    fn properties(&self) -> Vec<Property> {
        let words = self.tags.get(PROPERTIES_TAG).map(String::as_str).unwrap_or_default().split_whitespace();
        let pairs = words.filter_map(|word| word.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn worker(&self) -> String {
        worker_name(&self.id)
    }
}

/// The name of the process, record and log of the worker on an instance.
pub(crate) fn worker_name(instance: &str) -> String {
    format!("{PREFIX}{instance}")
}

/// What has to be done for the workers to match the instances.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    start: Vec<Instance>,
    stop: Vec<String>,
}

/// `alive` says of each recorded worker whether its process runs. A recorded one that does not is started again.
fn changes(instances: &[Instance], alive: &BTreeMap<String, bool>) -> Changes {
    let wanted: BTreeMap<String, &Instance> =
        instances.iter().filter(|one| one.master("").is_some()).map(|one| (one.worker(), one)).collect();
    let missing = |name: &String| !alive.get(name).copied().unwrap_or(false);
    Changes {
        start: wanted.iter().filter(|(name, _)| missing(name)).map(|(_, one)| (*one).clone()).collect(),
        stop: alive.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect(),
    }
}

/// The supervisor as a server of the bed: `program` with `arguments` must call [`run`].
pub fn server(folder: &Folder, program: &std::path::Path, arguments: &[String]) -> Server {
    let asked = folder.clone();
    Server {
        name: NAME.to_owned(),
        program: program.to_owned(),
        args: arguments.to_vec(),
        env: Vec::new(),
        cwd: folder.dir().to_owned(),
        // It ends every worker first.
        ending: Ending::Terminate { seconds: 20 },
        // It first has to hear from the stand-in, which is started beside it and may take longer on a busy machine.
        ready_within: Duration::from_secs(120),
        ready: probe(move || {
            let folder = asked.clone();
            async move { looked_once(&folder) }
        }),
    }
}

/// What the supervisor writes after its first look at the instances.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    pid: u32,
}

fn mark(folder: &Folder) -> std::path::PathBuf {
    folder.path("spark-supervisor.json")
}

fn looked_once(folder: &Folder) -> Result<()> {
    let bytes = std::fs::read(mark(folder)).context("the supervisor has not looked yet")?;
    let mark: Mark = serde_json::from_slice(&bytes).context("reading the supervisor's mark")?;
    match state::load(folder)?.servers.get(NAME) {
        Some(record) if record.identity.pid == mark.pid => Ok(()),
        _ => bail!("the supervisor's mark is from an earlier one"),
    }
}

/// Keeps the workers until SIGTERM or SIGINT, then ends them all. When the stand-in does not answer, the workers stay.
pub async fn run(config: &Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut keeper = Keeper { config, children: BTreeMap::new(), pauses: BTreeMap::new(), trouble: None };
    loop {
        tokio::select! {
            () = keeper.look() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    keeper.end_all().await
}

/// How often a worker ended soon after its start, and when it may start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    failures: u32,
    until: Instant,
}

impl Pause {
    fn after(failures: u32, now: Instant) -> Pause {
        let pause =
            Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE);
        Pause { failures, until: now + pause }
    }
}

struct Keeper<'a> {
    config: &'a Config,
    /// Handles of the workers that this supervisor started, so that the ended ones are collected.
    children: BTreeMap<String, Child>,
    pauses: BTreeMap<String, Pause>,
    /// The last thing that went wrong, told once.
    trouble: Option<String>,
}

impl Keeper<'_> {
    /// One round. Nothing that goes wrong ends the supervisor.
    async fn look(&mut self) {
        let trouble = self.round().await.err().map(|error| format!("{error:#}"));
        if trouble != self.trouble {
            match &trouble {
                Some(trouble) => say(format_args!("{trouble}; the workers stay as they are")),
                None => say("all is well again"),
            }
            self.trouble = trouble;
        }
    }

    async fn round(&mut self) -> Result<()> {
        let folder = &self.config.site.folder;
        let instances = running(&aws::endpoint(&self.config.site)).await?;
        let records = workers(folder)?;
        let alive = records.iter().map(|(name, record)| (name.clone(), record.alive())).collect();
        let changes = changes(&instances, &alive);
        let stopped = join_all(changes.stop.iter().map(|name| self.stop(name))).await;
        for name in &changes.stop {
            self.children.remove(name);
            self.pauses.remove(name);
        }
        for instance in &changes.start {
            self.start(instance, records.get(&instance.worker())).await?;
        }
        stopped.into_iter().collect::<Result<()>>()?;
        let first = Mark { pid: std::process::id() };
        if looked_once(folder).is_err() {
            write_atomically(&mark(folder), &serde_json::to_vec(&first).context("writing the supervisor's mark")?)?;
        }
        Ok(())
    }

    async fn stop(&self, name: &str) -> Result<()> {
        process::stop(&self.config.site.folder, name).await?;
        say(format_args!("{name} ended: its instance is gone"));
        Ok(())
    }

    /// `old` is the record of the worker that ended by itself, if there was one.
    async fn start(&mut self, instance: &Instance, old: Option<&Record>) -> Result<()> {
        let (name, now) = (instance.worker(), Instant::now());
        if self.pauses.get(&name).is_some_and(|pause| now < pause.until) {
            return Ok(());
        }
        let Config { site, spark, size } = self.config;
        let own = spark::master_url(&site.addresses);
        let (master, properties) = (instance.master(&own).unwrap_or(own), instance.properties());
        if let Some(record) = old {
            let failures =
                if ran(record) >= SOUND { 0 } else { self.pauses.get(&name).map_or(0, |pause| pause.failures) };
            self.pauses.insert(name.clone(), Pause::after(failures + 1, now));
            process::stop(&site.folder, &name).await?;
            say(format_args!("{name} had ended by itself"));
        }
        let post = Post { name: name.clone(), host: instance.private_ip, master, properties };
        let server = spark::worker(site, spark, &post, *size)?;
        let running = process::spawn(&site.folder, &server).await?;
        say(format_args!("{name} started on {} for {}", instance.private_ip, post.master));
        self.children.insert(name, running.child);
        Ok(())
    }

    async fn end_all(&mut self) -> Result<()> {
        let folder = &self.config.site.folder;
        let names: BTreeSet<String> = workers(folder)?.into_keys().collect();
        join_all(names.iter().map(|name| process::stop(folder, name))).await.into_iter().collect::<Result<()>>()?;
        say(format_args!("ended, with {} workers", names.len()));
        Ok(())
    }
}

/// How long a process can have run at most; nothing sure is no time.
fn ran(record: &Record) -> Duration {
    Duration::try_from(jiff::Timestamp::now().duration_since(record.started_at)).unwrap_or_default()
}

fn workers(folder: &Folder) -> Result<BTreeMap<String, Record>> {
    Ok(state::load(folder)?.servers.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect())
}

/// Asks the stand-in at `endpoint` for the instances whose machines run.
pub(crate) async fn running(endpoint: &str) -> Result<Vec<Instance>> {
    let answer = http::client()?
        .get(format!("{endpoint}/_instances?running=true"))
        .send()
        .await
        .context("asking the stand-in for its instances")?;
    let answer = answer.error_for_status().context("asking the stand-in for its instances")?;
    answer.json().await.context("reading the stand-in's instances")
}

fn say(text: impl std::fmt::Display) {
    // Nobody can be told that standard error is closed.
    drop(writeln!(
        std::io::stderr().lock(),
        "{} {text}",
        jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ INFO")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, last: u8, marked: bool) -> Instance {
        tagged(id, last, if marked { &[(TAG, "true")] } else { &[] })
    }

    fn tagged(id: &str, last: u8, tags: &[(&str, &str)]) -> Instance {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Instance { id: id.into(), group: "g".into(), private_ip: Ipv4Addr::new(127, 0, 9, last), tags }
    }

    fn alive(entries: &[(&str, bool)]) -> BTreeMap<String, bool> {
        entries.iter().map(|(id, alive)| (format!("{PREFIX}{id}"), *alive)).collect()
    }

    #[test]
    fn each_marked_instance_gets_one_worker_and_no_other_does() {
        let instances = [instance("i-1", 4, true), instance("i-2", 5, true), instance("i-3", 6, false)];
        let changes = changes(&instances, &alive(&[("i-1", true)]));
        assert_eq!(changes, Changes { start: vec![instances[1].clone()], stop: vec![] });
    }

    #[test]
    fn a_worker_without_its_instance_is_stopped_whether_it_runs_or_not() {
        let changes = changes(&[instance("i-3", 6, true)], &alive(&[("i-1", true), ("i-2", false), ("i-3", true)]));
        assert_eq!(changes.stop, ["spark-worker-i-1", "spark-worker-i-2"]);
        assert!(changes.start.is_empty());
    }

    #[test]
    fn a_new_instance_on_an_old_address_is_another_worker() {
        let changes = changes(&[instance("i-2", 4, true)], &alive(&[("i-1", true)]));
        assert_eq!(changes.stop, ["spark-worker-i-1"]);
        assert_eq!(changes.start, [instance("i-2", 4, true)]);
    }

    #[test]
    fn an_ended_worker_is_started_again_and_a_lost_mark_stops_it() {
        assert_eq!(changes(&[instance("i-1", 4, true)], &alive(&[("i-1", false)])).start.len(), 1);
        assert_eq!(changes(&[instance("i-1", 4, false)], &alive(&[("i-1", true)])).stop, ["spark-worker-i-1"]);
        assert_eq!(changes(&[], &BTreeMap::new()), Changes::default());
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let now = Instant::now();
        let seconds = |failures| (Pause::after(failures, now).until - now).as_secs();
        assert_eq!([1, 2, 3, 5, 6, 40].map(seconds), [1, 2, 4, 16, 30, 30]);
    }

    #[test]
    fn the_stand_ins_answer_is_read() {
        let text = r#"[{"id":"i-0a","group":"g","private_ip":"127.0.9.4","tags":{"logwise-testbed/spark":"true"}},{"id":"i-0b","group":"h","private_ip":"127.0.9.5","tags":{}}]"#;
        let instances: Vec<Instance> = serde_json::from_str(text).unwrap();
        let masters: Vec<_> = instances.iter().map(|one| one.master("spark://own:7077")).collect();
        assert_eq!(masters, [Some("spark://own:7077".to_owned()), None]);
        assert_eq!((instances[0].group.as_str(), instances[1].group.as_str()), ("g", "h"));
    }

    #[test]
    fn a_group_chooses_its_master_and_the_properties_of_its_workers() {
        let two = "spark://127.0.9.1:20000,127.0.9.1:20003";
        let one = tagged("i-1", 4, &[(TAG, two), (PROPERTIES_TAG, "spark.decommission.enabled=false a=b=c no-value")]);
        assert_eq!(one.master("spark://own:7077").as_deref(), Some(two));
        let wanted = [("spark.decommission.enabled", "false"), ("a", "b=c")];
        assert_eq!(one.properties(), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for other in ["", "false", "127.0.9.1:20000"] {
            assert_eq!(tagged("i-2", 5, &[(TAG, other)]).master("spark://own:7077"), None, "{other}");
        }
        assert!(instance("i-3", 6, true).properties().is_empty());
    }
}
