//! `logwise-operator`: run, crds, import, version.
#![forbid(unsafe_code)]

use clap::Parser;
use logwise_operator::cli::{Cli, Command, Import, Settings};
use logwise_operator::{Imported, config, run};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Wrong configuration or arguments.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(settings) => start(&settings),
        Command::Crds { dir } => finish(crds(dir.as_deref())),
        Command::Import(wanted) => import(&wanted),
        Command::Version => finish(writeln!(std::io::stdout(), "{}", env!("CARGO_PKG_VERSION"))),
    }
}

fn start(settings: &Settings) -> ExitCode {
    let file = match settings.config.as_deref().map(config::read).transpose() {
        Ok(file) => file.unwrap_or_default(),
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    let config = match settings.over(&file).check() {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_CONFIGURATION),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn crds(dir: Option<&Path>) -> std::io::Result<()> {
    let Some(dir) = dir else { return write!(std::io::stdout(), "{}", logwise_api::crds()) };
    std::fs::create_dir_all(dir)?;
    logwise_api::crd_files().into_iter().try_for_each(|(name, text)| std::fs::write(dir.join(name), text))
}

fn import(wanted: &Import) -> ExitCode {
    match logwise_operator::import(wanted) {
        Ok(Imported { yaml, notes }) => {
            for note in notes {
                // The comments say it too.
                let _ = writeln!(std::io::stderr(), "logwise-operator: {note}");
            }
            finish(write!(std::io::stdout(), "{yaml}"))
        }
        Err(error) => fail(&error, error.exit_code()),
    }
}

fn finish(done: std::io::Result<()>) -> ExitCode {
    done.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

/// One line for people, causes after colons.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        if !text.contains(&next.to_string()) {
            text = format!("{text}: {next}");
        }
        cause = next.source();
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "logwise-operator: {text}");
    ExitCode::from(code)
}
