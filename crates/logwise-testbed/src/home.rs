//! The home of servers that belong to one test: their folder, the names of their processes, their end.
//!
//! Each server is a recorded process of the bed. Dropped, a home ends them and is removed; what a killed test leaves is
//! ended by the next home of the bed, the next `up`, or `down`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::folder::{Folder, write_atomically};
use crate::proc::{self, Identity};
use crate::process::Record;
use crate::state;

/// In a home: the process whose test it belongs to.
const OWNER: &str = "owner.json";
const LONGEST_NAME: usize = 20;
const LONGEST_END: Duration = Duration::from_secs(10);

/// What lives in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Kafka cluster.
    Brokers,
    /// A Spark cluster.
    Sparks,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Brokers, Kind::Sparks];

    /// The folder of all such homes in a bed's folder; what the names of their processes begin with.
    const fn word(self) -> &'static str {
        match self {
            Kind::Brokers => "brokers",
            Kind::Sparks => "sparks",
        }
    }

    /// What the names of the processes of a home begin with. A folder's name holds one dash, so that the prefix of one
    /// begins no other.
    fn prefix(self, home: &Path) -> String {
        format!("{}-{}-", self.word(), home.file_name().unwrap_or_default().to_string_lossy())
    }

    /// The name of the folder that a process belongs to, by the process's name.
    fn home_of(self, process: &str) -> Option<String> {
        let mut words = process.strip_prefix(self.word())?.strip_prefix('-')?.splitn(3, '-');
        let (name, random) = (words.next()?, words.next()?);
        words.next().map(|_| format!("{name}-{random}"))
    }
}

/// A home. Dropped, its servers are killed and its folder removed; their logs stay.
#[derive(Debug)]
pub(crate) struct Home {
    folder: Folder,
    kind: Kind,
    // Removed after `drop` has ended the servers.
    dir: TempDir,
}

impl Home {
    /// A new home, named after a test.
    pub fn create(folder: &Folder, kind: Kind, name: &str) -> Result<Home> {
        let dir = tempfile::Builder::new().prefix(&format!("{}-", short(name))).tempdir_in(folder.sub(kind.word())?);
        let dir = dir.context("creating the folder of a test's own servers")?;
        let own =
            serde_json::to_vec(&proc::identity(std::process::id())?).context("writing whose servers these are")?;
        write_atomically(&dir.path().join(OWNER), &own)?;
        Ok(Home { folder: folder.clone(), kind, dir })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What the names of its processes begin with, and no other's.
    pub fn prefix(&self) -> String {
        self.kind.prefix(self.path())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Best effort: the bed's next home, `up` or `down` ends what is left.
        drop(end(&self.folder, &self.prefix()));
    }
}

/// The letters and digits of a test's name, not too many.
fn short(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    letters.take(LONGEST_NAME).collect()
}

/// Kills the recorded processes of a home, waits until they are gone, forgets them.
fn end(folder: &Folder, prefix: &str) -> Result<()> {
    let all = state::load(folder)?.servers.into_iter();
    let own: Vec<(String, Record)> = all.filter(|(name, _)| name.starts_with(prefix)).collect();
    let left = || -> Vec<Identity> {
        own.iter().flat_map(|(_, record)| proc::members(&record.identity, folder.dir())).collect()
    };
    proc::signal(&left(), Signal::KILL)?;
    let late = Instant::now() + LONGEST_END;
    while !left().is_empty() {
        ensure!(Instant::now() < late, "{prefix}* are still there {} s after SIGKILL", LONGEST_END.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
    own.iter().try_for_each(|(name, record)| state::forget(folder, name, record))
}

/// Ends the servers whose test was killed before it could, and removes their homes.
pub(crate) fn end_abandoned(folder: &Folder) -> Result<()> {
    Kind::ALL.into_iter().try_for_each(|kind| end_abandoned_of(folder, kind))
}

fn end_abandoned_of(folder: &Folder, kind: Kind) -> Result<()> {
    let homes = folder.sub(kind.word())?;
    for entry in fs::read_dir(&homes).with_context(|| format!("listing {}", homes.display()))?.flatten() {
        // No owner: no home, or one whose test is about to write it.
        let Ok(bytes) = fs::read(entry.path().join(OWNER)) else { continue };
        let owner: Identity = serde_json::from_slice(&bytes).context("reading whose servers these are")?;
        if !proc::alive(&owner) {
            end(folder, &kind.prefix(&entry.path()))?;
            // Another test may be at it too.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    // Servers have their home before the first of them starts and until the last one is forgotten.
    let processes = state::load(folder)?.servers.into_keys();
    let mut homeless = processes.filter(|name| kind.home_of(name).is_some_and(|home| !homes.join(home).exists()));
    homeless.try_for_each(|name| end(folder, &name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Ending;

    #[test]
    fn names_of_processes_are_short_and_begin_with_the_folder() {
        assert_eq!(short("Three brokers, one of them gone"), "threebrokersoneofthe");
        assert_eq!(short("--"), "");
        let home = |process: &str| Kind::Brokers.home_of(process);
        assert_eq!(Kind::Brokers.prefix(Path::new("/bed/brokers/three-aB3dEf")), "brokers-three-aB3dEf-");
        for process in ["brokers-three-aB3dEf-1", "brokers-three-aB3dEf-1-format"] {
            assert_eq!(home(process).as_deref(), Some("three-aB3dEf"));
        }
        assert_eq!(home("brokers--aB3dEf-1").as_deref(), Some("-aB3dEf"), "a test without a name");
        assert!(["brokers", "brokers-three", "kafka-format"].iter().all(|process| home(process).is_none()));
        assert_eq!(Kind::Sparks.home_of("sparks-own-aB3dEf-master-1").as_deref(), Some("own-aB3dEf"));
        assert!(["spark-worker-i-0a", "brokers-three-aB3dEf-1"].iter().all(|one| Kind::Sparks.home_of(one).is_none()));
    }

    #[test]
    fn only_the_servers_of_a_dead_test_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let own = proc::identity(std::process::id()).unwrap();
        let dead = Identity { boot_id: "another run".into(), ..own.clone() };
        let home = |name: &str, owner: Option<&Identity>| {
            let home = folder.sub(name).unwrap();
            owner.iter().for_each(|owner| fs::write(home.join(OWNER), serde_json::to_vec(owner).unwrap()).unwrap());
            home
        };
        let homes = [
            home("brokers/dead", Some(&dead)),
            home("brokers/alive", Some(&own)),
            home("brokers/young", None),
            home("sparks/dead", Some(&dead)),
        ];
        end_abandoned(&folder).unwrap();
        assert_eq!(homes.map(|home| home.exists()), [false, true, true, false]);
    }

    #[test]
    fn a_home_knows_its_owner_and_goes_when_it_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let home = Home::create(&folder, Kind::Sparks, "Own master").unwrap();
        let path = home.path().to_owned();
        assert!(home.prefix().starts_with("sparks-ownmaster-"), "{}", home.prefix());
        end_abandoned(&folder).unwrap();
        assert!(path.join(OWNER).is_file(), "its test lives");
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn the_end_takes_the_processes_of_one_home_only() {
        use std::os::unix::process::CommandExt;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let start = |name: &str| {
            let child = std::process::Command::new("sleep").arg("300").process_group(0).spawn().unwrap();
            let identity = proc::identity(child.id()).unwrap();
            let (log, started_at) = (folder.log(name), jiff::Timestamp::now());
            let record = Record { identity, command: Vec::new(), log, ending: Ending::Kill, started_at };
            state::record(&folder, name, &record).unwrap();
            (child, record)
        };
        let (mut one, gone) = start("brokers-a-123456-1");
        let (mut other, stays) = start("brokers-b-123456-1");
        end(&folder, "brokers-a-123456-").unwrap();
        assert!(!gone.alive() && stays.alive());
        assert_eq!(state::load(&folder).unwrap().servers.into_keys().collect::<Vec<_>>(), ["brokers-b-123456-1"]);
        other.kill().unwrap();
        one.wait().unwrap();
        other.wait().unwrap();
    }
}
