//! How a real Spark is put together in the cache.
//!
//! All jars (Spark's, the connectors, the bed's streaming job) lie in one folder, so that every program of Spark has the
//! same class path. One archive of loaded classes then serves them all, which halves the time of every start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Key};
use crate::command::{command, output};
use crate::prerequisites;
use crate::progress::Progress;
use crate::tools::{copy_dependencies, virtual_environment};
use crate::workspace::crate_path;

const POM: &str = include_str!("../spark/pom.xml");
const PROGRAMS: [&str; 3] = ["StreamApp.java", "Idle.java", "Rehearsal.java"];
const LOGGING: &str = "log4j2.properties";
/// The jar of the streaming job.
const JOB_JAR: &str = "logwise-stream.jar";
const COMPILE: Duration = Duration::from_secs(300);
const REHEARSE: Duration = Duration::from_secs(600);
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
    pub fn class_path(&self) -> String {
        format!("{0}/conf/:{0}/jars/*", self.home.display())
    }

    /// Options of every Java that runs Spark: little memory, quick start.
    fn quick_start(&self) -> Vec<String> {
        let fixed =
            ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+UnlockDiagnosticVMOptions"];
        // Mapped where it was made, the archive's pages stay common to all programs.
        let mapped = [
            "-XX:ArchiveRelocationMode=0".to_owned(),
            format!("-XX:SharedArchiveFile={}", self.archive_file().display()),
        ];
        fixed.map(String::from).into_iter().chain(mapped).collect()
    }

    /// The options of masters and workers.
    pub fn daemon_options(&self) -> Vec<String> {
        self.quick_start().into_iter().chain(opened()).collect()
    }

    /// The options of drivers, for a submission.
    pub fn driver_options(&self) -> String {
        [self.executor_options()].into_iter().chain(opened()).collect::<Vec<_>>().join(" ")
    }

    /// The options of executors, for a submission; what Java must open to them Spark adds by itself.
    pub fn executor_options(&self) -> String {
        // Each runs in a folder of its own inside the bed's: what a killed one leaves behind goes with the bed.
        let own = [self.quiet_log(), "-Djava.io.tmpdir=.".to_owned()];
        self.quick_start().into_iter().chain(own).collect::<Vec<_>>().join(" ")
    }

    /// The option for a log that says only what went wrong.
    pub(crate) fn quiet_log(&self) -> String {
        format!("-Dlog4j2.configurationFile=file:{}", self.home.join(LOGGING).display())
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
    futures::try_join!(
        virtual_environment(&python, &packages, progress),
        copy_dependencies(&pom, &connectors, progress)
    )?;
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
    let mut found =
        versions.map(|version| version.path().join("site-packages/pyspark/jars")).filter(|jars| jars.is_dir());
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
    let options = spark.daemon_options().into_iter().filter(|option| !option.starts_with("-XX:SharedArchiveFile="));
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
}
