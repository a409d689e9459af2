//! How a Ceph is put together in the cache: packages of Debian, pinned by version and checksum, unpacked into a folder. No
//! package is installed on the machine, and nothing of the machine's own libraries is used.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::cache::{Cache, Key};
use crate::command::{command, output};
use crate::folder::write_atomically;
use crate::prerequisites::find;
use crate::progress::Progress;

const PINS: &str = include_str!("../ceph/packages.txt");
/// Debian's sid keeps a version until the next one comes; this archive keeps all.
const SNAPSHOTS: &str = "http://snapshot.debian.org/archive/debian";
/// The only architecture that is pinned, in Rust's words.
const ARCHITECTURE: &str = "x86_64";
/// The same in Debian's words.
const DEBIANS: &str = "amd64";
/// The folder of downloads within a new entry of the cache.
const DOWNLOADS: &str = "downloads";
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(900);
const LONGEST_UNPACKING: Duration = Duration::from_secs(300);

/// A package as it is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pin {
    /// SHA-256 of the file.
    digest: &'static str,
    /// `name=version`.
    package: &'static str,
}

/// The pinned packages; lines are `digest name=version`.
fn pins(text: &'static str) -> Result<BTreeSet<Pin>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (digest, package) = line.split_once(' ').with_context(|| format!("no pin: {line}"))?;
            Ok(Pin { digest, package })
        })
        .collect()
}

/// The version of Ceph that is pinned.
pub fn version() -> Option<&'static str> {
    PINS.lines().find_map(|line| line.split_once(" radosgw=").map(|(_, version)| version))
}

/// The folder of the unpacked packages, whether it exists yet or not.
pub(crate) fn entry(cache: &Cache) -> PathBuf {
    cache.entry("ceph", Key::default().text("architecture", std::env::consts::ARCH).text("packages.txt", PINS))
}

/// Loads the packages and unpacks them.
pub async fn prepare(cache: &Cache, progress: &Progress) -> Result<()> {
    cache
        .obtain(&entry(cache), progress, async |part| {
            let here = std::env::consts::ARCH;
            ensure!(here == ARCHITECTURE, "Ceph's packages are pinned for {ARCHITECTURE}, this machine is {here}");
            let (pins, downloads) = (pins(PINS)?, part.join(DOWNLOADS));
            let files = progress.step("Ceph: loading Debian packages (100 MB)", load(&downloads, &pins)).await?;
            progress.step("Ceph: unpacking", unpack(&files, part)).await?;
            fs::remove_dir_all(&downloads).context("removing Ceph's downloads")
        })
        .await
}

/// The files of the pinned packages, from the first place that has them all.
async fn load(downloads: &Path, pins: &BTreeSet<Pin>) -> Result<Vec<PathBuf>> {
    let mut failures = Vec::new();
    for (number, source) in sources().await?.iter().enumerate() {
        let folder = downloads.join(number.to_string());
        let tried = async {
            let files = load_from(source, &folder, pins).await?;
            check(&files, pins).await?;
            Ok::<_, anyhow::Error>(files)
        };
        match tried.await {
            Ok(files) => return Ok(files),
            Err(error) => failures.push(format!("{source}: {error:#}")),
        }
    }
    bail!(
        "the packages of Ceph that crates/logwise-testbed/ceph/packages.txt pins are in none of these places; the README beside it says how newer ones are pinned\n    {}",
        failures.join("\n    ")
    )
}

/// The mirror of Debian that apt knows on this machine, if it does, and the archive of snapshots.
async fn sources() -> Result<Vec<String>> {
    let ask = command("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let known = output(ask, Duration::from_secs(60)).await?;
    let time = PINS.lines().find_map(|line| line.strip_prefix("# snapshot ")).context("no snapshot is pinned")?;
    Ok(mirror(&known).map(str::to_owned).into_iter().chain([format!("{SNAPSHOTS}/{time}")]).collect())
}

/// The first of these URLs that is one of Debian itself: not of its security updates, nor of somebody else.
fn mirror(urls: &str) -> Option<&str> {
    urls.lines().map(str::trim).find(|url| url.trim_end_matches('/').ends_with("/debian"))
}

async fn load_from(source: &str, folder: &Path, pins: &BTreeSet<Pin>) -> Result<Vec<PathBuf>> {
    let apt = Apt::at(folder, source)?;
    output(apt.call(&["update"]), LONGEST_DOWNLOAD).await?;
    let mut download = apt.call(&["download"]);
    download.args(pins.iter().map(|pin| pin.package)).current_dir(&apt.packages);
    output(download, LONGEST_DOWNLOAD).await?;
    let files = fs::read_dir(&apt.packages).with_context(|| format!("listing {}", apt.packages.display()))?;
    Ok(files.flatten().map(|file| file.path()).collect())
}

/// apt with lists and files of its own; proxies and the like are the machine's.
struct Apt {
    folder: PathBuf,
    /// Where downloads go.
    packages: PathBuf,
}

impl Apt {
    fn at(folder: &Path, source: &str) -> Result<Apt> {
        let packages = folder.join("packages");
        for inner in ["state/lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(folder.join(inner)).context("creating folders for apt")?;
        }
        write_atomically(&folder.join("status"), b"")?;
        // Each file is held against its checksum here, so that no key of Debian is needed, nor lists of today.
        let line = format!("deb [arch={DEBIANS} trusted=yes] {source} sid main\n");
        write_atomically(&folder.join("sources.list"), line.as_bytes())?;
        Ok(Apt { folder: folder.to_owned(), packages })
    }

    fn call(&self, words: &[&str]) -> Command {
        let own = |name: &str, place: &str| format!("{name}={}", self.folder.join(place).display());
        let mut options = vec![
            own("Dir::State", "state"),
            own("Dir::State::status", "status"),
            own("Dir::Cache", "cache"),
            own("Dir::Etc::SourceList", "sources.list"),
            format!("APT::Architecture={DEBIANS}"),
        ];
        options.extend(
            ["SourceParts", "Preferences", "PreferencesParts"].map(|name| format!("Dir::Etc::{name}=/dev/null")),
        );
        let fixed = [
            "Acquire::Check-Valid-Until=false",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
            // A source that does not answer is an error, and root may write where apt's own user may not.
            "APT::Update::Error-Mode=any",
            "APT::Sandbox::User=root",
        ];
        options.extend(fixed.map(String::from));
        let mut apt = command("apt-get", ["-q", "-y"]);
        apt.args(options.iter().flat_map(|option| ["-o", option.as_str()])).args(words);
        apt
    }
}

/// Whether these files are the pinned packages, all of them and nothing else.
async fn check(files: &[PathBuf], pins: &BTreeSet<Pin>) -> Result<()> {
    let sums = output(command("sha256sum", files), LONGEST_UNPACKING).await?;
    let found: BTreeSet<&str> = sums.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let lacking: Vec<&str> = pins.iter().filter(|pin| !found.contains(pin.digest)).map(|pin| pin.package).collect();
    ensure!(lacking.is_empty(), "not there, or with another checksum: {}", lacking.join(", "));
    ensure!(found.len() == pins.len(), "{} files for {} packages", found.len(), pins.len());
    Ok(())
}

async fn unpack(files: &[PathBuf], root: &Path) -> Result<()> {
    let program = find("dpkg-deb").context("there is no dpkg-deb on the path")?;
    for file in files {
        let mut unpack = command(&program, ["--extract"]);
        unpack.arg(file).arg(root);
        output(unpack, LONGEST_UNPACKING).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_pins_one_file_of_one_package() {
        let pins = pins(PINS).unwrap();
        let names: BTreeSet<&str> = pins.iter().map(|pin| pin.package.split('=').next().unwrap()).collect();
        assert!(names.len() == pins.len() && names.is_superset(&BTreeSet::from(["ceph-mon", "ceph-osd", "radosgw"])));
        let hexadecimal = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(pins.iter().all(|pin| hexadecimal(pin.digest) && pin.package.contains('=')), "{pins:?}");
        assert!(version().unwrap().starts_with("20."));
        assert!(super::pins("abc").is_err());
    }

    #[test]
    fn only_debians_own_packages_come_from_a_mirror_of_debian() {
        let urls =
            "http://one.example.com/debian-security/\nhttps://two.example.com/ubuntu\nhttp://one.example.com/debian/\n";
        assert_eq!(mirror(urls), Some("http://one.example.com/debian/"));
        assert_eq!(mirror("https://packages.example.com/apt\n"), None);
    }

    #[tokio::test]
    async fn a_file_with_another_content_is_not_the_pinned_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a.deb", "b.deb"].map(|name| folder.path().join(name));
        fs::write(&files[0], "abc").unwrap();
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let pins = BTreeSet::from([Pin { digest, package: "a=1" }]);
        check(&files[..1], &pins).await.unwrap();
        fs::write(&files[1], "more").unwrap();
        assert!(check(&files, &pins).await.unwrap_err().to_string().contains("2 files for 1 packages"));
        fs::write(&files[0], "abd").unwrap();
        assert!(check(&files[..1], &pins).await.unwrap_err().to_string().ends_with("checksum: a=1"));
    }
}
