//! Where this crate's own files lie: the Go module, the Maven files, the Python package, the manifests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const MARK: &str = "crates/logwise-testbed/kubernetes/go.mod";

/// The root of the workspace: the one this program was built from, else the one around the working folder.
pub fn root() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned);
    let here = std::env::current_dir().context("reading the working folder")?;
    let candidates = built.into_iter().chain(here.ancestors().map(Path::to_owned));
    candidates.into_iter().find(|folder| folder.join(MARK).is_file()).with_context(|| {
        format!("no folder with {MARK} at or above {}; run this inside the repository", here.display())
    })
}

/// A file or folder of this crate.
pub fn crate_path(name: &str) -> Result<PathBuf> {
    Ok(root()?.join("crates/logwise-testbed").join(name))
}
