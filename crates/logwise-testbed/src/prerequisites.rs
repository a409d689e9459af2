//! What must be on the machine: Debian packages (installed when that is allowed) and toolchains (only checked).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command::{command, output};
use crate::lock::Lock;
use crate::progress::Progress;

const APT: &str = "/usr/bin/apt-get";
const LONGEST_INSTALLATION: Duration = Duration::from_secs(900);
/// Servers live where only root looks by default.
const SERVER_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
const LEAST_GO: (u32, u32) = (1, 26);

/// A program that comes as a Debian package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packaged {
    /// The program.
    pub program: &'static str,
    /// The package that holds it.
    pub package: &'static str,
}

/// Needed for the cluster's certificates.
pub const OPENSSL: Packaged = Packaged { program: "openssl", package: "openssl" };
/// Needed for the database server.
pub const MARIADB: [Packaged; 3] = [
    Packaged { program: "mariadbd", package: "mariadb-server-core" },
    Packaged { program: "mariadb-install-db", package: "mariadb-server-core" },
    Packaged { program: "mariadb", package: "mariadb-client-core" },
];

/// Needed to load and to unpack packages of Debian.
pub const DEBIAN: [Packaged; 2] =
    [Packaged { program: "apt-get", package: "apt" }, Packaged { program: "dpkg-deb", package: "dpkg" }];

/// A program on the caller's path, or in a folder of servers.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SERVER_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Makes sure that each program is there: installs its package as root on Debian and Ubuntu, else fails with the
/// command to type.
pub async fn ensure(packaged: &[Packaged], lock: &Path, progress: &Progress) -> Result<()> {
    let packages = missing(packaged, |program| find(program).is_some());
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let root = rustix::process::geteuid().is_root();
    if !root || !Path::new(APT).exists() {
        bail!("missing: {list}. {}", advice(&list, Path::new(APT).exists()));
    }
    let _lock =
        Lock::within(lock, LONGEST_INSTALLATION, || progress.say("another process installs packages, waiting")).await?;
    let packages = missing(packaged, |program| find(program).is_some());
    if packages.is_empty() {
        return Ok(());
    }
    progress.step(&format!("installing the Debian packages {list}"), install(&packages)).await
}

async fn install(packages: &[&str]) -> Result<()> {
    let apt = |args: &[&str]| {
        let mut command = command(APT, ["-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = [&["install", "--no-install-recommends"], packages].concat();
    // The package lists may be absent or old; they are fetched only if the installation needs it.
    if output(apt(&install), LONGEST_INSTALLATION).await.is_err() {
        output(apt(&["update"]), LONGEST_INSTALLATION).await?;
        output(apt(&install), LONGEST_INSTALLATION).await?;
    }
    Ok(())
}

fn missing(packaged: &[Packaged], present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<&str> = packaged.iter().filter(|one| !present(one.program)).map(|one| one.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn advice(list: &str, debian: bool) -> String {
    if debian {
        return format!("Type: sudo apt-get install -y --no-install-recommends {list}");
    }
    format!("Install what your system calls the Debian packages {list}")
}

/// A Go toolchain of at least 1.26.
pub async fn go() -> Result<PathBuf> {
    let wanted = "Go 1.26 or newer, from https://go.dev/dl/";
    let Some(go) = find("go") else { bail!("`go` is not on the path; install {wanted}") };
    // GOTOOLCHAIN=local: the answer is about what is installed, not about what could be loaded.
    let mut ask = command(&go, ["env", "GOVERSION"]);
    ask.env("GOTOOLCHAIN", "local").current_dir("/");
    let version = output(ask, Duration::from_secs(30)).await?;
    let version = version.trim();
    if go_version(version).is_none_or(|found| found < LEAST_GO) {
        bail!("{} is {version}; install {wanted}", go.display());
    }
    Ok(go)
}

/// `go1.26.8` is (1, 26).
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split(['.', '-', 'r', 'b', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The home of a JDK 17: `$JAVA_HOME`, the one on the path, or one under /usr/lib/jvm.
pub fn jdk() -> Result<PathBuf> {
    let named = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let on_path = find("javac")
        .and_then(|javac| javac.canonicalize().ok())
        .and_then(|javac| javac.ancestors().nth(2).map(Path::to_owned));
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let homes: Vec<PathBuf> = named.into_iter().chain(on_path).chain(installed).collect();
    if let Some(home) = homes.iter().find(|home| java_version(home) == Some(17) && home.join("bin/javac").is_file()) {
        return Ok(home.clone());
    }
    let mut text = String::from("no JDK 17 found (JAVA_HOME, the path and /usr/lib/jvm were looked at");
    for home in &homes {
        let version = java_version(home).map_or("no JDK".to_owned(), |version| format!("version {version}"));
        // Writing to a string cannot fail.
        let _ = write!(text, "; {}: {version}", home.display());
    }
    bail!(
        "{text}); install JDK 17, such as the Debian package openjdk-17-jdk-headless, or from https://adoptium.net, and set JAVA_HOME"
    )
}

/// The major version, from the file `release` that every JDK carries.
fn java_version(home: &Path) -> Option<u32> {
    let release = std::fs::read_to_string(home.join("release")).ok()?;
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    version.trim_matches('"').split('.').next()?.parse().ok()
}

/// Maven.
pub fn maven() -> Result<PathBuf> {
    match find("mvn") {
        Some(mvn) => Ok(mvn),
        None => bail!(
            "`mvn` is not on the path; install Maven 3.8 or newer, such as the Debian package maven, or from https://maven.apache.org/download.cgi"
        ),
    }
}

/// A Python 3.11 that can make virtual environments.
pub async fn python() -> Result<PathBuf> {
    let wanted = "Python 3.11 with venv, such as the Debian packages python3.11 and python3.11-venv, or from https://www.python.org/downloads/";
    let mut seen = Vec::new();
    for name in ["python3.11", "python3"] {
        let Some(python) = find(name) else { continue };
        let ask = command(&python, ["-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]);
        match output(ask, Duration::from_secs(30)).await {
            Ok(version) if version.trim() == "3.11" => return Ok(python),
            Ok(version) => seen.push(format!("{} is {}", python.display(), version.trim())),
            Err(error) => seen.push(format!("{} does not serve: {error:#}", python.display())),
        }
    }
    bail!(
        "no usable Python 3.11 on the path ({}); install {wanted}",
        if seen.is_empty() { "none found".to_owned() } else { seen.join("; ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once_and_only_when_something_of_it_is_missing() {
        assert_eq!(missing(&MARIADB, |_| false), ["mariadb-client-core", "mariadb-server-core"]);
        assert_eq!(missing(&MARIADB, |program| program != "mariadb"), ["mariadb-client-core"]);
        assert!(missing(&MARIADB, |_| true).is_empty());
    }

    #[test]
    fn the_advice_is_a_command_on_debian() {
        assert!(advice("openssl", true).ends_with("sudo apt-get install -y --no-install-recommends openssl"));
        assert!(!advice("openssl", false).contains("apt-get"));
    }

    #[test]
    fn go_versions_compare_as_numbers() {
        assert_eq!(go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9.1") < Some(LEAST_GO));
        assert_eq!(go_version("devel"), None);
    }

    #[test]
    fn the_java_version_is_the_major_one() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(java_version(home.path()), None);
        std::fs::write(home.path().join("release"), "IMPLEMENTOR=\"X\"\nJAVA_VERSION=\"17.0.15\"\n").unwrap();
        assert_eq!(java_version(home.path()), Some(17));
    }
}
