//! The demo: the whole pipeline on this machine, `examples/quickstart` applied to it, and what the outside then holds.

mod ground;
mod story;
mod table;

pub use ground::{BUCKET, FOREIGN_RULES, GROUP, NAMESPACE, SCHEMA, SERVICES};
pub use table::Row;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::bed::Bed;
use crate::cache::Cache;
use crate::folder::Folder;
use crate::process::Record;
use crate::profile::Part;
use crate::progress::Progress;
use crate::world::wait_until;
use crate::{state, up, workspace};

const LAST_LOOK: Duration = Duration::from_secs(120);

/// Runs the demo in the bed folder `dir` and leaves it running; run again, it keeps what runs and shows the table again,
/// without times. Errors begin with the fact and name the logs and the next step.
pub async fn run(dir: &Path, progress: &Progress) -> Result<Vec<Row>> {
    let folder = Folder::open(dir)?;
    let runs = state::load(&folder)?.servers.get(ground::OPERATOR).is_some_and(Record::alive);
    if runs {
        progress.say(format_args!("the demo already runs in {}; what runs is kept", folder.dir().display()));
    }
    up::prepare(&Cache::of_user()?, &Part::DEMO.into(), progress).await?;
    let rows = start_and_tell(&folder, !runs, progress).await;
    rows.map_err(|error| anyhow!("{error:#}\n{}", next_step(folder.dir())))
}

async fn start_and_tell(folder: &Folder, timed: bool, progress: &Progress) -> Result<Vec<Row>> {
    up::up(folder, &Cache::of_user()?, &Part::DEMO.into(), progress).await?;
    let bed = Bed::attach_to(folder.dir(), &Part::DEMO)?;
    progress
        .step("the outside world: logs, rules of others, topics, a group of one worker", ground::make(&bed))
        .await?;
    progress.step("the operator, with the rights of deploy/base", ground::operator(&bed)).await?;
    let seconds = story::tell(&bed, progress).await?;
    let seconds = if timed { seconds } else { story::Seconds::new() };
    // On a busy machine the master may lose a worker for a moment.
    let rows = wait_until("every system as wanted", LAST_LOOK, async || table::rows(&bed, &seconds).await);
    progress.step("asking each system by a tool of its own", rows).await
}

/// What to do after a failure.
fn next_step(dir: &Path) -> String {
    format!(
        "What was started goes on running. Look at {dir}/log ({}.log is the operator's) and at the streaming job's own words in \
         {dir}/spark/spark-worker-*/driver-*/; then type `{}` to go on, or `{}` to end it",
        ground::OPERATOR,
        go_on(dir),
        end(dir),
        dir = dir.display()
    )
}

/// Whether `make demo` works in this folder.
fn of_make(dir: &Path) -> bool {
    workspace::root().is_ok_and(|root| root.join("target/demo") == dir)
}

fn go_on(dir: &Path) -> String {
    if of_make(dir) { "make demo".to_owned() } else { format!("logwise-testbed --dir {} demo", quoted(dir)) }
}

fn end(dir: &Path) -> String {
    if of_make(dir) { "make demo-down".to_owned() } else { format!("logwise-testbed --dir {} down", quoted(dir)) }
}

/// As one word for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// The table for people, then how to look around.
pub fn text(dir: &Path, rows: &[Row]) -> Vec<String> {
    // What is printed is pasted into other shells, in other folders.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let kubectl =
        format!("KUBECONFIG={} {} -n {NAMESPACE}", quoted(&dir.join("kubeconfig")), quoted(&dir.join("bin/kubectl")));
    let mut lines = table::lines(rows);
    lines.extend([
        String::new(),
        "Everything goes on running. To look around:".to_owned(),
        format!("  {kubectl} get logwise -o wide"),
        format!("  {kubectl} describe retentionpolicy default"),
        format!("  {kubectl} get events --sort-by=.lastTimestamp"),
        format!("To end it: {}", end(&dir)),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted_anywhere() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().canonicalize().unwrap().join("it's here");
        std::fs::create_dir(&dir).unwrap();
        let text = text(&dir.join("../it's here"), &[]).join("\n");
        let quoted = |name: &str| format!("'{}{name}'", dir.display().to_string().replace('\'', r"'\''"));
        let kubectl = format!("KUBECONFIG={} {} -n logwise-demo get", quoted("/kubeconfig"), quoted("/bin/kubectl"));
        assert!(text.contains(&kubectl), "{text}");
        assert!(text.ends_with(&format!("To end it: logwise-testbed --dir {} down", quoted(""))), "{text}");
    }

    #[test]
    fn the_folder_of_make_demo_is_ended_by_make() {
        let dir = workspace::root().unwrap().join("target/demo");
        assert_eq!((go_on(&dir).as_str(), end(&dir).as_str()), ("make demo", "make demo-down"));
    }

    #[test]
    fn a_failure_names_the_logs_and_the_next_step() {
        let step = next_step(Path::new("/x/bed"));
        for part in ["/x/bed/log", "operator-demo.log", "logwise-testbed --dir '/x/bed' demo", "--dir '/x/bed' down"] {
            assert!(step.contains(part), "{part} is not in {step}");
        }
    }
}
