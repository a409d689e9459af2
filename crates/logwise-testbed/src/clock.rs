//! The wall clock of one program, which can be put forward and back: that of an operator in a test. The monotonic clock goes on as it is.
//!
//! A small C library is loaded before the operator's own ones and answers when the program, or a C library in it, asks
//! what time it is. It needs a C compiler, as building the operator does.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{command, output};
use crate::operator::Options;
use crate::world::World;

const SOURCE: &str = include_str!("clock.c");
const COMPILES_WITHIN: Duration = Duration::from_secs(60);
/// The variable that names the file with the seconds.
const SHIFT: &str = "LOGWISE_CLOCK_SHIFT";

/// A clock that operators read instead of the machine's own; see [`Options::clock`].
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    seconds: PathBuf,
}

impl Clock {
    /// A clock of this world that is right. `name` tells it from others of the world.
    /// Errors when there is no C compiler.
    pub async fn new(world: &World, name: &str) -> Result<Clock> {
        Self::within(&world.bed.folder.sub(&format!("worlds/{}", world.id))?, name).await
    }

    /// A clock that is right, with its files in `folder`. Errors when there is no C compiler.
    pub(crate) async fn within(folder: &Path, name: &str) -> Result<Clock> {
        let library = compile(folder, name).await?;
        let clock = Clock { library, seconds: folder.join(format!("clock-{name}")) };
        clock.shift(0)?;
        Ok(clock)
    }

    /// Variables of a program that reads this clock.
    pub(crate) fn variables(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), (SHIFT, &self.seconds)]
    }

    /// Puts the clock: it is that many seconds ahead of the machine's from now on, behind it when negative.
    pub fn shift(&self, seconds: i64) -> Result<()> {
        let putting = || format!("putting the clock {}", self.seconds.display());
        // Written in place: operators that run have this very file before them.
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(false).write(true).open(&self.seconds).with_context(putting)?;
        file.write_all(&seconds.to_ne_bytes()).with_context(putting)
    }
}

impl Options {
    /// Reads this clock instead of the machine's.
    pub fn clock(self, clock: &Clock) -> Options {
        let given = |options: Options, (name, path): (&str, &Path)| options.env(name, &path.display().to_string());
        clock.variables().into_iter().fold(self, given)
    }
}

async fn compile(home: &Path, name: &str) -> Result<PathBuf> {
    let (source, library) = (home.join(format!("clock-{name}.c")), home.join(format!("clock-{name}.so")));
    fs::write(&source, SOURCE).with_context(|| format!("writing {}", source.display()))?;
    let mut compiler = command("cc", ["-std=gnu11", "-O2", "-shared", "-fPIC", "-o"]);
    compiler.arg(&library).arg(&source);
    output(compiler, COMPILES_WITHIN).await.context("compiling the clock of a test; it needs a C compiler")?;
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_reads_the_clock_that_it_is_given_while_it_runs() {
        let home = tempfile::tempdir().unwrap();
        let clock = Clock::within(home.path(), "a").await.unwrap();
        clock.shift(-300).unwrap();
        let script = "date +%s; read -r _; date +%s";
        let options = Options::default().clock(&clock);
        let mut program = command("/bin/sh", ["-c", script]);
        program.envs(options.env).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let before = jiff::Timestamp::now().as_second();
        let mut program = program.spawn().unwrap();
        let mut told = tokio::io::BufReader::new(program.stdout.take().unwrap());
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut told, &mut line).await.unwrap();
        clock.shift(300).unwrap();
        drop(program.stdin.take());
        tokio::io::AsyncReadExt::read_to_string(&mut told, &mut line).await.unwrap();
        let after = jiff::Timestamp::now().as_second();
        let told: Vec<i64> = line.lines().map(|line| line.parse().unwrap()).collect();
        assert!((before - 300..=after - 300).contains(&told[0]), "{told:?}");
        assert!((before + 300..=after + 300).contains(&told[1]), "{told:?}");
    }
}
