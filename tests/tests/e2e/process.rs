//! The operator as a process: bad configuration, health, shutdown, versions.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{apply, cluster, wait_condition};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

fn operator() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).context("target/debug")?;
    Ok(folder.join("logwise-operator"))
}

/// Exit code and standard error of `logwise-operator run` with this configuration.
fn refused(text: &str) -> Result<(Option<i32>, String, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("logwise.yaml");
    std::fs::write(&file, text)?;
    let output = Command::new(operator()?).arg("run").arg("--config").arg(&file).output()?;
    let text = String::from_utf8(output.stderr)?;
    Ok((output.status.code(), text, file.display().to_string()))
}

#[test]
fn bad_configuration_is_one_line_with_file_line_key_and_what_is_allowed() -> Result<()> {
    for (text, line, key, allowed) in [
        ("installation: prod\nintervalls: {}\n", 2, "intervalls", "`intervals`"),
        ("intervals:\n  kafkaSeconds: 0\n", 2, "kafkaSeconds", "1 to 86400"),
        ("installation: Prod_1\n", 1, "installation", "32 characters"),
        ("http:\n  listen: nowhere\n", 2, "listen", "0.0.0.0:8080"),
        ("aws:\n  endpointURL: ftp://x\n", 2, "endpointURL", "https URL"),
        ("log:\n  format: xml\n", 2, "format", "json"),
        ("log:\n  level: loud\n", 2, "level", "debug"),
        ("namespaces: [Bad_Name]\n", 1, "namespaces", "63 characters"),
        ("installation: [\n", 1, "", ""),
    ] {
        let (code, error, file) = refused(text)?;
        ensure!(code == Some(2), "{text:?} ended with {code:?}: {error}");
        ensure!(error.trim_end().lines().count() == 1, "{error}");
        ensure!(
            error.contains(&format!("{file}:{line}:")) && error.contains(key) && error.contains(allowed),
            "{text:?}: {error}"
        );
    }
    Ok(())
}

#[test]
fn a_bad_database_url_is_refused_without_showing_its_password() -> Result<()> {
    let (code, error, _) = refused("database:\n  url: mysql://user:canary@host:port/schema\n")?;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("database.url") && !error.contains("canary"), "{error}");
    Ok(())
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let output = Command::new(operator()?).args(["run", "--config", "not/there.yaml"]).output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr)?.contains("not/there.yaml: cannot be read"));
    Ok(())
}

#[test]
fn crds_and_version_are_printed() -> Result<()> {
    let crds = Command::new(operator()?).arg("crds").output()?;
    let text = String::from_utf8(crds.stdout)?;
    assert!(text.contains("logwiseclusters.logwise.io") && text.contains("retentionpolicies.logwise.io"));
    let version = Command::new(operator()?).arg("version").output()?;
    assert_eq!(String::from_utf8(version.stdout)?.trim(), env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[tokio::test]
async fn a_taken_address_is_named() -> Result<()> {
    let world = World::new(&Bed::attach()?, "taken").await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut operator = Operator::start(&world, Options::config(json!({"http": {"listen": address}}))).await?;
    assert_eq!(operator.wait_exit().await?, 1);
    assert!(operator.log()?.contains(&format!("cannot listen on {address}")), "{}", operator.log()?);
    Ok(())
}

#[tokio::test]
async fn a_stop_signal_ends_it_within_ten_seconds_while_a_look_hangs() -> Result<()> {
    let world = World::new(&Bed::attach()?, "shutdown").await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let (status, body) = operator.http("/livez").await?;
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let mut pipeline = cluster(&world, "demo");
    // A listener that never answers: the look runs into its deadline.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    pipeline["spec"]["kafka"]["bootstrapServers"] = json!([silent.local_addr()?.to_string()]);
    apply(&world, &[&pipeline]).await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), operator.stop()).await;
    assert_eq!(ended.context("not within 10 s")??, 0);
    assert!(operator.log()?.contains("\"stopped\""), "{}", operator.log()?);
    Ok(())
}
