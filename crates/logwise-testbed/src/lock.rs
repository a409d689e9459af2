//! File locks between processes; the system frees them when the holder dies.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

/// An exclusive lock on a file, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("opening the lock file {}", path.display()))
}

impl Lock {
    /// Takes the lock, blocking the thread until it is free. For sections that last milliseconds.
    pub fn hold(path: &Path) -> Result<Lock> {
        let file = open(path)?;
        file.lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Takes the lock within `patience`. `waiting` is called once when somebody else holds it.
    pub async fn within(path: &Path, patience: Duration, waiting: impl FnOnce()) -> Result<Lock> {
        let file = open(path)?;
        let end = Instant::now() + patience;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
                Err(fs::TryLockError::WouldBlock) => {}
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            if Instant::now() >= end {
                bail!(
                    "another process holds {} since {} s; end it, then try again",
                    path.display(),
                    patience.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
