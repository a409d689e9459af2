//! The folder of one bed: what lies where, and the few operations every module needs on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The state folder of one bed, absolute. Two beds have two folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The folder at `dir`, created when missing. Errors when it cannot be created.
    pub fn open(dir: &Path) -> Result<Folder> {
        fs::create_dir_all(dir.join("log")).with_context(|| format!("creating the bed's folder {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("resolving the bed's folder {}", dir.display()))?;
        Ok(Folder { dir })
    }

    /// The absolute path of the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path inside the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The log file of a server: standard output and standard error, appended to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// The folder of programs (`kubectl`, `helm`, `kubeconform`, `kk`) that `env` puts on the path.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// A folder inside the folder, created when missing.
    pub fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }
}

/// Writes a file so that a reader, or a crash, sees the old content or the new one and nothing between.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let parent = path.parent().with_context(|| format!("{} has no parent folder", path.display()))?;
    let mut file =
        tempfile::NamedTempFile::new_in(parent).with_context(|| format!("creating a file in {}", parent.display()))?;
    std::io::Write::write_all(&mut file, content).with_context(|| format!("writing {}", path.display()))?;
    file.persist(path).with_context(|| format!("replacing {}", path.display()))?;
    Ok(())
}
