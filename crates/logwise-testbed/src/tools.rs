//! What `prepare` makes and `up` uses: programs and libraries in the cache, and where the toolchains are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::ceph_install;
use crate::command::{command, download, output};
use crate::prerequisites;
use crate::progress::Progress;
use crate::spark::Spark;
use crate::workspace::crate_path;

/// The module of MinIO, which is its program too.
pub const MINIO: &str = "github.com/minio/minio";

const LONGEST_BUILD: Duration = Duration::from_secs(3600);
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(1200);

/// Where everything lies, whether it exists yet or not.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Folder with `kk`, `helm`, `kubeconform`.
    pub kubernetes: PathBuf,
    /// Folder with Kafka's jars.
    pub kafka: PathBuf,
    /// Virtual environment of the AWS stand-in.
    pub python: PathBuf,
    /// Spark, its connectors and the streaming job.
    pub spark: Spark,
    /// Folder with `minio`.
    pub minio: PathBuf,
    /// Folder with the unpacked packages of Ceph.
    pub ceph: PathBuf,
}

impl Tools {
    /// Computes the places from the pinned inputs; reads no network and starts no program.
    pub fn locate(cache: &Cache) -> Result<Tools> {
        Ok(Tools {
            kubernetes: go_entry(cache, "kubernetes")?,
            kafka: kafka_entry(cache)?,
            python: python_entry(cache)?,
            spark: Spark::locate(cache)?,
            minio: go_entry(cache, "minio")?,
            ceph: ceph_install::entry(cache),
        })
    }
}

fn go_entry(cache: &Cache, kind: &str) -> Result<PathBuf> {
    let folder = crate_path(kind)?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("listing {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.retain(|path| matches!(path.extension().and_then(|end| end.to_str()), Some("go" | "mod" | "sum")));
    files.sort();
    let key = files
        .iter()
        .try_fold(Key::default().text("architecture", std::env::consts::ARCH), |key, file| key.file(file))?;
    Ok(cache.entry(kind, key))
}

fn kafka_entry(cache: &Cache) -> Result<PathBuf> {
    Ok(cache.entry("kafka", Key::default().file(&crate_path("kafka/pom.xml")?)?))
}

fn python_entry(cache: &Cache) -> Result<PathBuf> {
    let key = Key::default().text("architecture", std::env::consts::ARCH).file(&crate_path("aws/requirements.txt")?)?;
    Ok(cache.entry("python", key))
}

/// Builds the Kubernetes program, helm and kubeconform.
pub async fn prepare_kubernetes(cache: &Cache, progress: &Progress) -> Result<()> {
    let entry = go_entry(cache, "kubernetes")?;
    cache
        .obtain(&entry, progress, async |part| {
            let go = prerequisites::go().await?;
            let source = crate_path("kubernetes")?;
            load_modules("Kubernetes", &go, &source, progress).await?;
            let flags =
                linker_flags(&std::fs::read_to_string(source.join("go.mod")).context("reading kubernetes/go.mod")?)?;
            // One invocation for the three of them: two programs are linked while a third one is compiled.
            let target = format!("{}/", part.display());
            let mut build = in_folder(&go, &["build", "-trimpath", "-ldflags", &flags, "-o", &target, "."], &source);
            build.args(["helm.sh/helm/v3/cmd/helm", "github.com/yannh/kubeconform/cmd/kubeconform"]);
            let what = "Kubernetes: building (8 to 15 min the first time on this machine)";
            progress.step(what, output(build, LONGEST_BUILD)).await?;
            // Go names a program after its module; this one chooses what it is by the name it is called by.
            std::fs::rename(part.join("kubernetes"), part.join("kk")).context("renaming the Kubernetes program")?;
            Ok(())
        })
        .await
}

/// Builds MinIO.
pub async fn prepare_minio(cache: &Cache, progress: &Progress) -> Result<()> {
    let entry = go_entry(cache, "minio")?;
    cache
        .obtain(&entry, progress, async |part| {
            let go = prerequisites::go().await?;
            let source = crate_path("minio")?;
            let target = format!("{}/", part.display());
            // Its go.mod names all that anything in it could need: the build loads what it does need.
            let build = || in_folder(&go, &["build", "-trimpath", "-ldflags", "-s -w", "-o", &target, MINIO], &source);
            let what = "MinIO: loading Go modules and building (4 to 8 min the first time on this machine)";
            progress.step(what, download(progress, "go build", build, LONGEST_BUILD)).await?;
            Ok(())
        })
        .await
}

async fn load_modules(what: &str, go: &Path, source: &Path, progress: &Progress) -> Result<()> {
    let modules = || in_folder(go, &["mod", "download"], source);
    let loading = download(progress, "go mod download", modules, LONGEST_DOWNLOAD);
    progress.step(&format!("{what}: loading Go modules"), loading).await.map(drop)
}

fn in_folder(program: &Path, args: &[&str], folder: &Path) -> tokio::process::Command {
    let mut command = command(program, args);
    command.current_dir(folder);
    command
}

/// The version that the Kubernetes programs report is the one that go.mod pins.
fn linker_flags(go_mod: &str) -> Result<String> {
    let version = module_version(go_mod, "k8s.io/kubernetes").context("kubernetes/go.mod pins no k8s.io/kubernetes")?;
    let minor = version.split('.').nth(1).context("the version of k8s.io/kubernetes has no minor part")?;
    let place = "k8s.io/component-base/version";
    let values = [
        ("gitVersion", version),
        ("gitMajor", "1"),
        ("gitMinor", minor),
        ("gitTreeState", "clean"),
        ("gitCommit", "0000000"),
        ("buildDate", "1970-01-01T00:00:00Z"),
    ];
    Ok(values.iter().fold(String::from("-s -w"), |flags, (name, value)| format!("{flags} -X {place}.{name}={value}")))
}

/// The version of a module in the text of a go.mod, such as `v1.36.4`.
pub fn module_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        line.trim()
            .strip_prefix(module)?
            .strip_prefix(' ')?
            .split_whitespace()
            .next()
            .filter(|word| word.starts_with('v'))
    })
}

/// Loads Kafka's jars.
pub async fn prepare_kafka(cache: &Cache, progress: &Progress) -> Result<()> {
    let entry = kafka_entry(cache)?;
    let pom = crate_path("kafka/pom.xml")?;
    cache.obtain(&entry, progress, async |part| copy_dependencies(&pom, part, progress).await).await
}

/// Puts the run-time dependencies of a pom.xml into a folder.
pub async fn copy_dependencies(pom: &Path, target: &Path, progress: &Progress) -> Result<()> {
    let maven = prerequisites::maven()?;
    let java = prerequisites::jdk()?;
    let load = || {
        let output = format!("-DoutputDirectory={}", target.display());
        let mut load = command(&maven, ["-q", "-B", "-f"]);
        load.arg(pom).args(["dependency:copy-dependencies", &output, "-DincludeScope=runtime"]).env("JAVA_HOME", &java);
        load
    };
    let name = pom.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    progress
        .step(
            &format!("{name}: loading jars from Maven"),
            download(progress, "mvn dependency:copy-dependencies", load, LONGEST_DOWNLOAD),
        )
        .await?;
    Ok(())
}

/// Makes the virtual environment of the AWS stand-in.
pub async fn prepare_python(cache: &Cache, progress: &Progress) -> Result<()> {
    let entry = python_entry(cache)?;
    let requirements = crate_path("aws/requirements.txt")?;
    cache
        .obtain(&entry, progress, async |part| {
            virtual_environment(part, &["-r", &requirements.display().to_string()], progress).await
        })
        .await
}

/// Makes a virtual environment of Python 3.11 in a folder and installs what pip's arguments name.
pub async fn virtual_environment(target: &Path, pip_arguments: &[&str], progress: &Progress) -> Result<()> {
    let python = prerequisites::python().await?;
    let mut create = command(&python, ["-m", "venv"]);
    create.arg(target);
    output(create, LONGEST_DOWNLOAD).await?;
    let install = || {
        let fixed = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
        let mut install = command(target.join("bin/python"), fixed);
        install.args(pip_arguments);
        install
    };
    let what = pip_arguments.last().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    progress
        .step(&format!("Python: installing {what}"), download(progress, "pip install", install, LONGEST_DOWNLOAD))
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO_MOD: &str = "module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.4\n\tk8s.io/kubernetes-other v9.9.9 // indirect\n)\nreplace k8s.io/api => k8s.io/api v0.36.4\n";

    #[test]
    fn a_module_is_found_by_its_whole_name() {
        assert_eq!(module_version(GO_MOD, "k8s.io/kubernetes"), Some("v1.36.4"));
        assert_eq!(module_version(GO_MOD, "k8s.io/kube"), None);
    }

    #[test]
    fn the_linker_gets_the_pinned_version() {
        let flags = linker_flags(GO_MOD).unwrap();
        assert!(flags.starts_with("-s -w -X k8s.io/component-base/version.gitVersion=v1.36.4 "), "{flags}");
        assert!(flags.contains("gitMinor=36"), "{flags}");
        assert!(linker_flags("module x\n").is_err());
    }
}
