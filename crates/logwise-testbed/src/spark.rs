//! A real Spark: how it is put together in the cache, its master, its workers, and what the master says.
//!
//! All jars (Spark's, the connectors, the bed's streaming job) lie in one folder, so that every program of Spark has the
//! same class path. One archive of loaded classes then serves them all, which halves the time of every start.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::address::Addresses;
use crate::cache::{Cache, Key};
use crate::command::{command, output};
use crate::http;
use crate::prerequisites;
use crate::process::{Ending, Probe, Server, probe};
use crate::progress::Progress;
use crate::site::Site;
use crate::tools::{copy_dependencies, virtual_environment};
use crate::workspace::crate_path;

const POM: &str = include_str!("../spark/pom.xml");
const PROGRAMS: [&str; 2] = ["StreamApp.java", "Rehearsal.java"];
const LOGGING: &str = "log4j2.properties";
/// The jar of the streaming job.
const JOB_JAR: &str = "logwise-stream.jar";
const COMPILE: Duration = Duration::from_secs(300);
const REHEARSE: Duration = Duration::from_secs(600);
/// The name of the master's process, record and log.
pub const MASTER: &str = "spark-master";
/// What Java 17 must open to Spark.
const OPENED: [&str; 13] = [
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
];

/// Where the two entries of the cache lie, whether they exist yet or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spark {
    /// `SPARK_HOME`: a folder with `jars`.
    pub home: PathBuf,
    /// Folder with the archive of loaded classes.
    pub archive: PathBuf,
}

/// The version that `spark/pom.xml` pins.
pub fn version() -> Result<&'static str> {
    let value = POM.split_once("<spark.version>").and_then(|(_, rest)| rest.split_once("</spark.version>"));
    value.map(|(version, _)| version).context("spark/pom.xml pins no spark.version")
}

impl Spark {
    /// Computes the places from the pinned inputs; reads no network and starts no program.
    pub fn locate(cache: &Cache) -> Result<Spark> {
        let mut key = Key::default().text("pom.xml", POM);
        for name in PROGRAMS.iter().chain([&LOGGING]) {
            key = key.file(&crate_path("spark")?.join(name))?;
        }
        let jdk = prerequisites::jdk()?;
        // An archive serves only the very Java that wrote it; another one would ignore it.
        let release = fs::read_to_string(jdk.join("release")).unwrap_or_default();
        let archive_key = key.clone().text("jdk", &format!("{}\n{release}", jdk.display()));
        Ok(Spark { home: cache.entry("spark", key), archive: cache.entry("spark-classes", archive_key) })
    }

    /// The jar that a submission names.
    pub fn job_jar(&self) -> PathBuf {
        self.home.join("jars").join(JOB_JAR)
    }

    /// The same class path, word for word, as Spark gives to the programs that it starts: else the archive is refused.
    fn class_path(&self) -> String {
        format!("{0}/conf/:{0}/jars/*", self.home.display())
    }

    /// Options of every Java that runs Spark: little memory, quick start.
    fn quick_start(&self) -> Vec<String> {
        let fixed = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+UnlockDiagnosticVMOptions"];
        // Mapped where it was made, the archive's pages stay common to all programs.
        let mapped = ["-XX:ArchiveRelocationMode=0".to_owned(), format!("-XX:SharedArchiveFile={}", self.archive_file().display())];
        fixed.map(String::from).into_iter().chain(mapped).collect()
    }

    /// The options of drivers, for a submission.
    pub fn driver_options(&self) -> String {
        [self.executor_options()].into_iter().chain(opened()).collect::<Vec<_>>().join(" ")
    }

    /// The options of executors, for a submission; what Java must open to them Spark adds by itself.
    pub fn executor_options(&self) -> String {
        let logging = format!("-Dlog4j2.configurationFile=file:{}", self.home.join(LOGGING).display());
        self.quick_start().into_iter().chain([logging]).collect::<Vec<_>>().join(" ")
    }

    fn archive_file(&self) -> PathBuf {
        self.archive.join("classes.jsa")
    }
}

fn opened() -> impl Iterator<Item = String> {
    OPENED.into_iter().map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED"))
}

/// Downloads Spark and its connectors, compiles the streaming job, and makes the archive of loaded classes.
pub async fn prepare(cache: &Cache, progress: &Progress) -> Result<Spark> {
    let spark = Spark::locate(cache)?;
    cache.obtain(&spark.home, progress, async |part| assemble(part, progress).await).await?;
    cache.obtain(&spark.archive, progress, async |part| rehearse(&spark, part, progress).await).await?;
    Ok(spark)
}

async fn assemble(part: &Path, progress: &Progress) -> Result<()> {
    let (python, connectors) = (part.join("python"), part.join("connectors"));
    let wheel = format!("pyspark=={}", version()?);
    let packages = ["--no-deps", &wheel];
    let pom = crate_path("spark/pom.xml")?;
    futures::try_join!(virtual_environment(&python, &packages, progress), copy_dependencies(&pom, &connectors, progress))?;
    let jars = part.join("jars");
    let brought = spark_jars(&python.join("lib"))?;
    fs::rename(&brought, &jars).with_context(|| format!("moving {}", brought.display()))?;
    for jar in fs::read_dir(&connectors).context("listing the connectors")?.flatten() {
        fs::rename(jar.path(), jars.join(jar.file_name())).context("moving a connector")?;
    }
    fs::copy(crate_path("spark")?.join(LOGGING), part.join(LOGGING)).context("copying the logging settings")?;
    progress.step("spark: compiling the streaming job", compile(part, &jars)).await?;
    for leftover in [&python, &connectors] {
        fs::remove_dir_all(leftover).with_context(|| format!("removing {}", leftover.display()))?;
    }
    Ok(())
}

/// `python3.11/site-packages/pyspark/jars` under the `lib` of a virtual environment.
fn spark_jars(lib: &Path) -> Result<PathBuf> {
    let versions = fs::read_dir(lib).with_context(|| format!("listing {}", lib.display()))?.flatten();
    let mut found = versions.map(|version| version.path().join("site-packages/pyspark/jars")).filter(|jars| jars.is_dir());
    found.next().with_context(|| format!("pyspark brought no jars under {}", lib.display()))
}

async fn compile(part: &Path, jars: &Path) -> Result<()> {
    let jdk = prerequisites::jdk()?;
    let (classes, source) = (part.join("classes"), crate_path("spark")?);
    let mut javac = command(jdk.join("bin/javac"), ["--release", "17", "-Werror", "-cp"]);
    javac.arg(format!("{}/*", jars.display())).arg("-d").arg(&classes).args(PROGRAMS.map(|name| source.join(name)));
    output(javac, COMPILE).await?;
    let mut jar = command(jdk.join("bin/jar"), ["--create", "--file"]);
    jar.arg(jars.join(JOB_JAR)).arg("-C").arg(&classes).arg(".");
    output(jar, COMPILE).await?;
    fs::remove_dir_all(&classes).context("removing the class files")
}

/// Runs the job once on local files; the archive is written when that Java ends.
async fn rehearse(spark: &Spark, part: &Path, progress: &Progress) -> Result<()> {
    let files = part.join("files");
    fs::create_dir(&files).context("creating a folder for the rehearsal")?;
    let archive = part.join("classes.jsa");
    let options = spark.quick_start().into_iter().chain(opened()).filter(|option| !option.starts_with("-XX:SharedArchiveFile="));
    let mut java = command(prerequisites::jdk()?.join("bin/java"), options);
    java.args(["-Xmx768m", "-Xlog:disable", "-Xlog:cds=error"])
        .arg(format!("-Djava.io.tmpdir={}", files.display()))
        .arg(format!("-XX:ArchiveClassesAtExit={}", archive.display()))
        .args(["-cp", &spark.class_path(), "io.logwise.testbed.Rehearsal"])
        .arg(files.join("job"));
    progress.step("spark: archiving loaded classes", output(java, REHEARSE)).await?;
    if !archive.is_file() {
        bail!("Java wrote no archive of loaded classes to {}", archive.display());
    }
    fs::remove_dir_all(&files).context("removing the rehearsal's files")
}

/// The master: keeps what it knows on disk, gives up a silent worker after 10 s, takes submissions over REST.
pub fn master(site: &Site, spark: &Spark) -> Result<Server> {
    let addresses = &site.addresses;
    let (host, ports) = (addresses.host().to_string(), &addresses.ports);
    let memory = site.folder.sub("spark/master")?;
    let settings = [
        ("spark.master.rest.enabled", "true".to_owned()),
        ("spark.master.rest.host", host.clone()),
        ("spark.master.rest.port", ports.spark_rest.to_string()),
        ("spark.deploy.recoveryMode", "FILESYSTEM".to_owned()),
        ("spark.deploy.recoveryDirectory", memory.display().to_string()),
    ];
    let program = ["--host", &host, "--port", &ports.spark.to_string(), "--webui-port", &ports.spark_ui.to_string()].map(String::from);
    let ready = {
        let ui = addresses.at(ports.spark_ui);
        probe(move || {
            let ui = ui.clone();
            async move {
                match overview(&ui).await?.status.as_str() {
                    "ALIVE" => Ok(()),
                    status => bail!("the Spark master is {status}"),
                }
            }
        })
    };
    let class = "org.apache.spark.deploy.master.Master";
    daemon(spark, site, Daemon { name: MASTER.to_owned(), host: addresses.host(), settings: settings.to_vec(), class, arguments: program.to_vec(), cwd: memory, ready })
}

/// What a worker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Cores.
    pub cores: u32,
    /// Memory for drivers and executors, in MiB.
    pub memory_mib: u32,
}

impl Default for Size {
    fn default() -> Size {
        Size { cores: 2, memory_mib: 1536 }
    }
}

/// Port of each worker on its own address.
const WORKER_PORT: &str = "17100";
/// Port of each worker's pages on its own address.
const WORKER_UI_PORT: &str = "18081";

/// A worker on the address of an instance. It is ready when its own pages answer; the master may know it a moment later.
pub fn worker(site: &Site, spark: &Spark, name: &str, host: Ipv4Addr, size: Size) -> Result<Server> {
    let work = site.folder.sub(&format!("spark/{name}"))?;
    let master = master_url(&site.addresses);
    let (address, cores, memory) = (host.to_string(), size.cores.to_string(), format!("{}m", size.memory_mib));
    let folder = work.display().to_string();
    let arguments = ["--host", &address, "-p", WORKER_PORT, "--webui-port", WORKER_UI_PORT, "-c", &cores, "-m", &memory, "-d", &folder, &master].map(String::from);
    let ready = probe(move || {
        let url = format!("http://{host}:{WORKER_UI_PORT}/json/");
        async move { http::client()?.get(&url).send().await.context("asking a Spark worker")?.error_for_status().context("asking a Spark worker").map(drop) }
    });
    let class = "org.apache.spark.deploy.worker.Worker";
    daemon(spark, site, Daemon { name: name.to_owned(), host, settings: Vec::new(), class, arguments: arguments.to_vec(), cwd: work, ready })
}

/// `spark://host:port`.
pub fn master_url(addresses: &Addresses) -> String {
    format!("spark://{}", addresses.at(addresses.ports.spark))
}

/// What differs between a master and a worker.
struct Daemon {
    name: String,
    host: Ipv4Addr,
    settings: Vec<(&'static str, String)>,
    class: &'static str,
    arguments: Vec<String>,
    cwd: PathBuf,
    ready: Probe,
}

fn daemon(spark: &Spark, site: &Site, daemon: Daemon) -> Result<Server> {
    let common = [("spark.worker.timeout", "10".to_owned()), ("spark.decommission.enabled", "true".to_owned())];
    let scratch = site.folder.sub("spark/tmp")?.display().to_string();
    let settings = common.into_iter().chain(daemon.settings).chain([("java.io.tmpdir", scratch.clone())]);
    let mut args: Vec<String> = spark.quick_start().into_iter().chain(opened()).collect();
    args.extend(["-Xmx128m".to_owned(), "-Xss512k".to_owned(), "-cp".to_owned(), spark.class_path()]);
    args.extend(settings.map(|(name, value)| format!("-D{name}={value}")));
    args.push(daemon.class.to_owned());
    args.extend(daemon.arguments);
    let env = [
        ("SPARK_HOME", spark.home.display().to_string()),
        // Spark's own start scripts would find these out; it asks for them before it starts a driver.
        ("SPARK_ENV_LOADED", "1".to_owned()),
        ("SPARK_SCALA_VERSION", "2.12".to_owned()),
        ("SPARK_LOCAL_IP", daemon.host.to_string()),
        ("SPARK_LOCAL_DIRS", scratch),
        ("JAVA_HOME", prerequisites::jdk()?.display().to_string()),
    ];
    Ok(Server {
        name: daemon.name,
        program: prerequisites::jdk()?.join("bin/java"),
        args,
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        cwd: daemon.cwd,
        ending: Ending::Terminate { seconds: 5 },
        ready_within: Duration::from_secs(90),
        ready: daemon.ready,
    })
}

/// What the master's `/json/` says, as far as tests and the demo ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Overview {
    /// `ALIVE` when it serves.
    pub status: String,
    /// Every worker that it remembers, also dead ones.
    pub workers: Vec<Worker>,
    /// Applications that run or wait.
    pub activeapps: Vec<App>,
    /// Drivers that run or wait.
    pub activedrivers: Vec<Driver>,
}

/// A worker as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Worker {
    /// The master's name for it.
    pub id: String,
    /// Its address.
    pub host: String,
    /// `ALIVE`, `DEAD`, `DECOMMISSIONED` or `UNKNOWN`.
    pub state: String,
    /// Cores offered.
    pub cores: u32,
    /// Cores in use.
    pub coresused: u32,
}

/// An application as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct App {
    /// The master's name for it.
    pub id: String,
    /// The application's own name.
    pub name: String,
    /// Cores in use.
    pub cores: u32,
    /// `RUNNING`, `WAITING` and so on.
    pub state: String,
}

/// A driver as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Driver {
    /// The submission's id.
    pub id: String,
    /// `SUBMITTED`, `RUNNING` and so on.
    pub state: String,
    /// The id of the worker that runs it; none while it waits.
    pub worker: Option<String>,
    /// The class that was submitted.
    pub mainclass: String,
}

impl Overview {
    /// The addresses of the workers that are alive, sorted.
    pub fn alive_hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = self.workers.iter().filter(|worker| worker.state == "ALIVE").map(|worker| worker.host.as_str()).collect();
        hosts.sort_unstable();
        hosts
    }
}

/// Asks the master whose pages are at `ui` (`host:port`).
pub async fn overview(ui: &str) -> Result<Overview> {
    let answer = http::client()?.get(format!("http://{ui}/json/")).send().await.context("asking the Spark master")?;
    let answer = answer.error_for_status().context("asking the Spark master")?;
    answer.json().await.context("reading the Spark master's answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spark() -> Spark {
        Spark { home: PathBuf::from("/cache/spark-1"), archive: PathBuf::from("/cache/spark-classes-2") }
    }

    #[test]
    fn the_version_is_the_pinned_one() {
        assert!(POM.contains(&format!("<spark.version>{}</spark.version>", version().unwrap())));
    }

    #[test]
    fn the_places_follow_the_inputs() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path()).unwrap();
        let found = Spark::locate(&cache).unwrap();
        assert_eq!(found, Spark::locate(&cache).unwrap());
        assert_ne!(found.home, found.archive);
        assert!(found.home.starts_with(cache.root()) && found.archive.starts_with(cache.root()));
    }

    #[test]
    fn every_program_gets_the_archive_and_only_jobs_the_quiet_log() {
        let spark = spark();
        let archive = "-XX:SharedArchiveFile=/cache/spark-classes-2/classes.jsa";
        assert!(spark.quick_start().iter().any(|option| option == archive));
        assert!(spark.driver_options().contains(archive) && spark.executor_options().contains(archive));
        let quiet = "-Dlog4j2.configurationFile=file:/cache/spark-1/log4j2.properties";
        assert!(spark.driver_options().contains(quiet) && spark.executor_options().contains(quiet));
        assert!(spark.driver_options().contains("--add-opens=java.base/sun.nio.ch=ALL-UNNAMED"));
        assert!(!spark.quick_start().iter().any(|option| option.contains("log4j2")));
    }

    #[test]
    fn the_jars_of_an_environment_are_found_whatever_its_python() {
        let root = tempfile::tempdir().unwrap();
        assert!(spark_jars(root.path()).is_err());
        let jars = root.path().join("python3.11/site-packages/pyspark/jars");
        fs::create_dir_all(&jars).unwrap();
        assert_eq!(spark_jars(root.path()).unwrap(), jars);
    }

    #[test]
    fn the_masters_page_is_read_and_only_living_workers_count() {
        let worker = |host: &str, state: &str| format!(r#"{{"id":"w-{host}","host":"{host}","port":17100,"cores":2,"coresused":1,"memory":1536,"state":"{state}"}}"#);
        let text = format!(
            r#"{{"url":"spark://x","workers":[{},{},{}],"activeapps":[{{"id":"app-1","name":"logwise","cores":1,"user":"u","state":"RUNNING"}}],
                "activedrivers":[{{"id":"driver-1","state":"SUBMITTED","worker":null,"mainclass":"M"}},{{"id":"driver-2","state":"RUNNING","worker":"w-127.0.9.4","mainclass":"M"}}],
                "completeddrivers":[],"status":"ALIVE"}}"#,
            worker("127.0.9.5", "ALIVE"),
            worker("127.0.9.6", "DEAD"),
            worker("127.0.9.4", "ALIVE"),
        );
        let overview: Overview = serde_json::from_str(&text).unwrap();
        assert_eq!(overview.alive_hosts(), ["127.0.9.4", "127.0.9.5"]);
        assert_eq!(overview.activedrivers.iter().map(|driver| driver.worker.as_deref()).collect::<Vec<_>>(), [None, Some("w-127.0.9.4")]);
        assert_eq!(overview.activeapps[0].state, "RUNNING");
    }
}
