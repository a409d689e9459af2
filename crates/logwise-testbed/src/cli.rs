//! The command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::bed::Bed;
use crate::cache::Cache;
use crate::demo;
use crate::environment::{export, variables};
use crate::exec;
use crate::folder::Folder;
use crate::profile::{Part, Profile, parts};
use crate::progress::Progress;
use crate::shipper;
use crate::site::Site;
use crate::spark::Size;
use crate::supervisor;
use crate::up::{self, Health, Line};
use crate::versions;
use crate::workspace;

/// The real servers of the Logwise operator's tests and demo, on loopback addresses of this machine.
#[derive(Debug, Parser)]
#[command(name = "logwise-testbed", version)]
struct Arguments {
    /// Folder of the bed's state; default: target/testbed of the workspace. Two beds have two folders.
    #[arg(long, global = true, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load and build everything that `up` needs; kept per user, done once.
    Prepare {
        /// Only for these servers (may be repeated); default: all.
        #[arg(long, value_enum)]
        profile: Vec<Profile>,
    },
    /// Start servers and return when they answer; they run until `down`.
    Up {
        /// Only these servers (may be repeated); default: all.
        #[arg(long, value_enum)]
        profile: Vec<Profile>,
    },
    /// End every server of the bed and remove its state; the logs stay.
    Down,
    /// Ask every server of the bed; exit code 1 unless all answer.
    Status,
    /// Print the variables of the bed as lines for a shell: eval "$(logwise-testbed env)".
    Env,
    /// Print the log of a server.
    Logs {
        /// The server's name, as `status` shows it.
        name: String,
    },
    /// Keep one Spark worker per instance of the AWS stand-in; started by `up`.
    #[command(hide = true)]
    Supervise,
    /// Ship the log lines of the bed's servers to Kafka, one topic per server, until a signal; prints what was shipped.
    Ship {
        /// Start of each topic's name; the server's name follows.
        #[arg(long, default_value = "logs.")]
        prefix: String,
        /// Lines per second over all servers; old lines are shipped again when there are fewer new ones.
        #[arg(long, default_value_t = 50)]
        rate: u32,
        /// Only these servers, separated by commas; default: all.
        #[arg(long, value_delimiter = ',')]
        services: Vec<String>,
        /// How many seconds to ship; default: until SIGTERM or SIGINT.
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Run the whole pipeline with the operator, apply examples/quickstart, show what every system then holds, and leave
    /// it running. Its folder is target/demo of the workspace unless --dir is given.
    Demo,
    /// Print the versions of the servers, as they are pinned.
    Versions,
    /// Prepare and start, run a command with the bed's variables, end the servers whatever happened; exits as the command did.
    Exec {
        /// Only these servers (may be repeated); default: all.
        #[arg(long, value_enum)]
        profile: Vec<Profile>,
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
}

/// Runs the command that the process's arguments name.
pub async fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let dir = match (arguments.dir, &arguments.command) {
        (Some(dir), _) => dir,
        (None, Command::Demo) => workspace::root()?.join("target/demo"),
        (None, _) => default_dir()?,
    };
    carry_out(arguments.command, &dir).await
}

/// `target/testbed` of the workspace.
pub fn default_dir() -> Result<PathBuf> {
    Ok(workspace::root()?.join("target/testbed"))
}

async fn carry_out(command: Command, dir: &Path) -> Result<ExitCode> {
    let progress = Progress::start();
    match command {
        Command::Prepare { profile } => up::prepare(&Cache::of_user()?, &parts(&profile), &progress).await?,
        Command::Up { profile } => {
            let (cache, parts) = (Cache::of_user()?, parts(&profile));
            up::prepare(&cache, &parts, &progress).await?;
            let site = up::up(&Folder::open(dir)?, &cache, &parts, &progress).await?;
            progress.say(format_args!(
                "the bed runs on {} with its state in {}",
                site.addresses.host(),
                site.folder.dir().display()
            ));
        }
        Command::Down => up::down(&Folder::open(dir)?, &Cache::of_user()?, &progress).await?,
        Command::Status => return status(&Folder::open(dir)?).await,
        Command::Env => {
            print(&variables(&Folder::open(dir)?)?.iter().map(|(name, value)| export(name, value)).collect::<Vec<_>>())?
        }
        Command::Logs { name } => logs(&Folder::open(dir)?, &name)?,
        Command::Supervise => supervise(dir, progress).await?,
        Command::Ship { prefix, rate, services, seconds } => {
            let folder = Folder::open(dir)?;
            let services = (!services.is_empty()).then(|| services.into_iter().collect());
            let config =
                shipper::Config { prefix, rate, services, seconds, ..shipper::Config::of(&folder, &bootstrap(dir)?) };
            shipper::run(&config).await?;
        }
        Command::Demo => {
            let rows = demo::run(dir, &progress).await?;
            print(&demo::text(dir, &rows))?;
        }
        Command::Versions => print(&versions::lines()?)?,
        Command::Exec { profile, words } => {
            return exec::exec(&Folder::open(dir)?, &parts(&profile), &words, &progress).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bootstrap(dir: &Path) -> Result<String> {
    Ok(Bed::attach_to(dir, &[Part::Kafka])?.kafka.bootstrap)
}

async fn supervise(dir: &Path, progress: Progress) -> Result<()> {
    let site = Site::open(Folder::open(dir)?, &Cache::of_user()?, progress)?;
    let config = supervisor::Config { spark: site.tools.spark.clone(), site, size: Size::default() };
    supervisor::run(&config).await
}

fn print(lines: &[String]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).context("writing to standard output")
}

async fn status(folder: &Folder) -> Result<ExitCode> {
    let lines = up::status(folder, &Cache::of_user()?).await?;
    if lines.is_empty() {
        print(&[format!("no bed runs in {}", folder.dir().display())])?;
        return Ok(ExitCode::FAILURE);
    }
    print(&table(&lines, jiff::Timestamp::now()))?;
    let well = lines.iter().all(|line| matches!(line.health, Health::Answers | Health::Runs));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(lines: &[Line], now: jiff::Timestamp) -> Vec<String> {
    let rows = lines.iter().map(|line| {
        let health = match &line.health {
            Health::Answers => "answers".to_owned(),
            Health::Runs => "runs".to_owned(),
            Health::Silent(why) => format!("no answer: {why}"),
            Health::Dead => format!("dead, see {}", line.record.log.display()),
        };
        let seconds = now.duration_since(line.record.started_at).as_secs();
        format!("{:<26} {:>8} {:>7} s  {health}", line.name, line.record.identity.pid, seconds)
    });
    std::iter::once(format!("{:<26} {:>8} {:>9}  {}", "SERVER", "PROCESS", "AGE", "STATE")).chain(rows).collect()
}

fn logs(folder: &Folder, name: &str) -> Result<()> {
    let mut file = match std::fs::File::open(folder.log(name)) {
        Ok(file) => file,
        Err(_) => bail!("there is no log of `{name}`; there are logs of: {}", log_names(folder).join(", ")),
    };
    std::io::copy(&mut file, &mut std::io::stdout().lock()).context("printing the log").map(drop)
}

fn log_names(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path("log")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log").map(str::to_owned)).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn exec_takes_everything_after_the_dashes() {
        let arguments = Arguments::try_parse_from([
            "x",
            "exec",
            "--profile",
            "kube",
            "--profile",
            "sql",
            "--",
            "cargo",
            "test",
            "--",
            "--nocapture",
        ])
        .unwrap();
        let Command::Exec { profile, words } = arguments.command else { panic!("not exec") };
        assert_eq!(profile, [Profile::Kube, Profile::Sql]);
        assert_eq!(words, ["cargo", "test", "--", "--nocapture"]);
        assert!(Arguments::try_parse_from(["x", "exec"]).is_err());
    }
}
