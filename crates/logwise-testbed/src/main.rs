//! `logwise-testbed`: the real servers of the Logwise operator's tests and demo.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match logwise_testbed::cli::run().await {
        Ok(code) => code,
        Err(error) => {
            // Nobody can be told that standard error is closed.
            drop(writeln!(std::io::stderr().lock(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
