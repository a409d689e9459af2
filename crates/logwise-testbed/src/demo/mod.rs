//! The demo: the whole pipeline on this machine, `examples/quickstart` applied to it, and what the outside then holds.

mod ground;
mod story;
mod table;

pub use ground::{BUCKET, FOREIGN_RULES, GROUP, NAMESPACE, SCHEMA, SERVICES};
pub use table::Row;

use std::path::Path;

use anyhow::{Context, Result};

use crate::bed::Bed;
use crate::cache::Cache;
use crate::folder::Folder;
use crate::profile::parts;
use crate::progress::Progress;
use crate::up;

/// Runs the demo in the bed folder `dir` and leaves it running; run again, it keeps what runs and shows the table again.
/// Errors name the fact and the log to look at.
pub async fn run(dir: &Path, progress: &Progress) -> Result<Vec<Row>> {
    let (cache, parts) = (Cache::of_user()?, parts(&[]));
    up::prepare(&cache, &parts, progress).await?;
    up::up(&Folder::open(dir)?, &cache, &parts, progress).await?;
    let bed = Bed::attach_to(dir, &parts.iter().copied().collect::<Vec<_>>())?;
    progress
        .step("the outside world: logs, rules of others, topics, a group of one worker", ground::make(&bed))
        .await?;
    progress.step("the operator, with the rights of deploy/base", ground::operator(&bed)).await?;
    let seconds = story::tell(&bed, progress)
        .await
        .with_context(|| format!("the demo stopped; the logs are in {}", bed.dir.join("log").display()))?;
    progress.step("asking each system by a tool of its own", table::rows(&bed, &seconds)).await
}

/// The table for people, then how to look around.
pub fn text(dir: &Path, rows: &[Row]) -> Vec<String> {
    let kubeconfig = dir.join("kubeconfig");
    let kubectl = format!("KUBECONFIG={} {}", kubeconfig.display(), dir.join("bin/kubectl").display());
    let mut lines = table::lines(rows);
    lines.extend([
        String::new(),
        "Everything goes on running. To look around:".to_owned(),
        format!("  {kubectl} get logwise -n {NAMESPACE} -o wide"),
        format!("  {kubectl} describe retentionpolicy default -n {NAMESPACE}"),
        format!("  {kubectl} get events -n {NAMESPACE} --sort-by=.lastTimestamp"),
        "To end it: make demo-down".to_owned(),
    ]);
    lines
}
