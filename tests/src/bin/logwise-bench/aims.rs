//! Figures that have an aim.

use crate::row;
use anyhow::{Error, Result};
use std::process::ExitCode;

/// Aims that were missed, and parts that could not be measured.
#[derive(Default)]
pub(crate) struct Aims {
    missed: Vec<String>,
}

impl Aims {
    /// Prints a figure with its aim, and whether it is met.
    pub(crate) fn check(&mut self, name: &str, value: &str, (aim, met): (&str, bool)) -> Result<()> {
        if !met {
            self.missed.push(format!("{}: {value}, aim: {aim}", name.trim()));
        }
        row(name, &format!("{value} (aim: {aim}; {})", if met { "met" } else { "MISSED" }))
    }

    /// Notes that a part could not be measured.
    pub(crate) fn failed(&mut self, part: &str, error: &Error) -> Result<()> {
        self.missed.push(format!("part {part} was not measured"));
        row(&format!("part {part} FAILED"), &format!("{error:#}"))
    }

    /// Prints once more what was missed; then the exit code is 1.
    pub(crate) fn end(self) -> Result<ExitCode> {
        for missed in &self.missed {
            row("MISSED", missed)?;
        }
        Ok(if self.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
