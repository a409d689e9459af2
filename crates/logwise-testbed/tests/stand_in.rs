//! The stand-in's own tests, run by the Python that the bed uses. Needs `logwise-testbed prepare --profile aws`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logwise_testbed::cache::Cache;
use logwise_testbed::command::command;
use logwise_testbed::tools::Tools;
use logwise_testbed::workspace::crate_path;

#[tokio::test]
async fn the_stand_ins_own_tests_pass() -> Result<()> {
    let python = Tools::locate(&Cache::of_user()?)?.python.join("bin/python");
    ensure!(
        python.exists(),
        "there is no {}; type: cargo run -p logwise-testbed -- prepare --profile aws",
        python.display()
    );
    let mut unittest = command(python, ["-m", "unittest", "discover", "-s", "tests", "-t", "."]);
    unittest.current_dir(crate_path("aws")?).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::time::timeout(Duration::from_secs(900), unittest.output())
        .await
        .context("the tests did not end within 900 s")??;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    let ran = text.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
    ensure!(ran.is_some_and(|count| count > 0), "no test ran: {text}");
    Ok(())
}
