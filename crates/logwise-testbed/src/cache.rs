//! What was downloaded and built, kept per user under a name made of its inputs.
//!
//! An entry `<kind>-<hash>` is filled in a folder beside it and renamed when it is whole, so an entry that exists is
//! complete. Two processes that need the same entry fill it once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::lock::Lock;
use crate::progress::Progress;

/// Longer than the slowest cold build.
const LONGEST_FILL: Duration = Duration::from_secs(3600);

/// The inputs of an entry, as a hash.
#[derive(Clone, Default)]
pub struct Key {
    hash: Sha256,
}

impl Key {
    /// Adds a named text.
    pub fn text(mut self, name: &str, text: &str) -> Key {
        // Lengths keep ("ab", "c") apart from ("a", "bc").
        for part in [name.as_bytes(), text.as_bytes()] {
            self.hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            self.hash.update(part);
        }
        self
    }

    /// Adds a file by its name and content.
    pub fn file(self, path: &Path) -> Result<Key> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(self.text(&name, &text))
    }

    /// 16 hexadecimal digits.
    pub fn digest(self) -> String {
        self.hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The cache of one user.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in `$LOGWISE_TESTBED_CACHE`, else in `logwise-testbed` under `$XDG_CACHE_HOME` or `~/.cache`.
    pub fn of_user() -> Result<Cache> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("LOGWISE_TESTBED_CACHE")
            .or_else(|| set("XDG_CACHE_HOME"))
            .or_else(|| set("HOME").map(|home| home.join(".cache")));
        let base = base.context("neither LOGWISE_TESTBED_CACHE, XDG_CACHE_HOME nor HOME is set; set one of them")?;
        Cache::at(&base.join("logwise-testbed"))
    }

    /// The cache in a folder, created when missing.
    pub fn at(root: &Path) -> Result<Cache> {
        fs::create_dir_all(root).with_context(|| format!("creating the cache {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("resolving the cache {}", root.display()))?;
        Ok(Cache { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the networks of this user's beds are leased.
    pub fn leases(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Where the entry lies, or will lie.
    pub fn entry(&self, kind: &str, key: Key) -> PathBuf {
        self.root.join(format!("{kind}-{}", key.digest()))
    }

    /// Returns `entry`, filled by `fill` (which gets an empty folder) when it does not exist yet.
    pub async fn obtain(
        &self,
        entry: &Path,
        progress: &Progress,
        fill: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        if entry.is_dir() {
            return Ok(());
        }
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let waiting = || progress.say(format_args!("{name}: another process is filling it, waiting"));
        let _lock = Lock::within(&self.root.join(format!("{name}.lock")), LONGEST_FILL, waiting).await?;
        if entry.is_dir() {
            return Ok(());
        }
        self.remove_leftovers(&name)?;
        // A new name each time: a program that outlived its killed starter must not write into this attempt.
        let part = tempfile::Builder::new()
            .prefix(&format!("{name}.part-"))
            .tempdir_in(&self.root)
            .context("creating a folder in the cache")?;
        fill(part.path()).await?;
        fs::rename(part.keep(), entry).with_context(|| format!("moving {name} into place"))
    }

    fn remove_leftovers(&self, name: &str) -> Result<()> {
        let prefix = format!("{name}.part-");
        for found in fs::read_dir(&self.root).context("listing the cache")?.flatten() {
            if found.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_dir_all(found.path()).with_context(|| format!("removing {}", found.path().display()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_key_depends_on_every_name_and_text_and_their_borders() {
        let one = Key::default().text("a", "bc").digest();
        assert_eq!(one.len(), 16);
        assert_eq!(one, Key::default().text("a", "bc").digest());
        assert_ne!(one, Key::default().text("ab", "c").digest());
        assert_ne!(one, Key::default().text("a", "bd").digest());
        assert_ne!(one, Key::default().text("a", "bc").text("", "").digest());
    }

    #[test]
    fn a_key_of_a_file_follows_its_content_and_not_its_folder() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let digest = |folder: &Path, text: &str| {
            fs::write(folder.join("pom.xml"), text).unwrap();
            Key::default().file(&folder.join("pom.xml")).unwrap().digest()
        };
        assert_eq!(digest(one.path(), "x"), digest(two.path(), "x"));
        assert_ne!(digest(one.path(), "x"), digest(two.path(), "y"));
    }

    #[tokio::test]
    async fn a_failed_fill_leaves_no_entry_and_no_leftover() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path()).unwrap();
        let entry = cache.entry("thing", Key::default());
        fs::create_dir(cache.root().join(format!("{}.part-old", entry.file_name().unwrap().to_str().unwrap())))
            .unwrap();
        let failing = async |part: &Path| {
            fs::write(part.join("half"), "x")?;
            anyhow::bail!("no network")
        };
        cache.obtain(&entry, &Progress::start(), failing).await.unwrap_err();
        let folders = fs::read_dir(cache.root()).unwrap().flatten().filter(|found| found.path().is_dir()).count();
        assert_eq!(folders, 0);
    }

    #[tokio::test]
    async fn two_at_once_fill_once() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path()).unwrap();
        let entry = cache.entry("thing", Key::default());
        let fills = AtomicUsize::new(0);
        let obtain = async || {
            let fill = async |part: &Path| {
                fills.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                fs::write(part.join("whole"), "x").map_err(Into::into)
            };
            cache.obtain(&entry, &Progress::start(), fill).await
        };
        let (one, two) = futures::join!(obtain(), obtain());
        one.unwrap();
        two.unwrap();
        assert_eq!(fills.load(Ordering::SeqCst), 1);
        assert!(entry.join("whole").exists());
    }
}
