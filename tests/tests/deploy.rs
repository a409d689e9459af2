//! deploy/ and examples/ are what the real API server takes, and the operator's rights are those it uses.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::world::World;
use serde_json::Value;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[tokio::test]
async fn every_example_is_accepted() -> Result<()> {
    let bed = Bed::attach()?;
    install::kubeconfig(&bed).await?;
    let mut applied = 0;
    for entry in std::fs::read_dir(root().join("examples"))? {
        let example = entry?.path();
        let name = example.file_name().context("a name")?.to_string_lossy().into_owned();
        let world = World::new(&bed, &format!("example-{name}")).await?;
        let folder = example.to_string_lossy().into_owned();
        let answer = world.kubectl(&["apply", "--validate=strict", "-k", &folder]).await?;
        ensure!(answer.lines().all(|line| line.ends_with("created")), "{answer}");
        applied += answer.lines().count();
        let list: Value = serde_json::from_str(&world.kubectl(&["get", "logwise", "-o", "json"]).await?)?;
        ensure!(list["items"].as_array().is_some_and(|items| items.len() == answer.lines().count()), "{list}");
    }
    ensure!(applied >= 5, "only {applied} objects in examples/");
    Ok(())
}

#[tokio::test]
async fn the_base_stands_and_its_account_can_do_only_what_is_listed() -> Result<()> {
    let bed = Bed::attach()?;
    install::kubeconfig(&bed).await?;
    let list = bed.kubectl(&["get", "sa,cm,svc,deploy", "-n", "logwise-system", "-o", "name"], None).await?;
    for object in ["serviceaccount", "configmap", "service", "deployment.apps"] {
        ensure!(list.contains(&format!("{object}/logwise-operator")), "{object} is missing in {list}");
    }
    let account = "system:serviceaccount:logwise-system:logwise-operator";
    for (verb, resource, allowed) in [
        ("list", "logwiseclusters", true),
        ("watch", "retentionpolicies", true),
        ("patch", "logwiseclusters/status", true),
        ("patch", "retentionpolicies", true),
        ("create", "events.events.k8s.io", true),
        ("patch", "logwiseclusters", false),
        ("delete", "retentionpolicies", false),
        ("get", "secrets", false),
        ("list", "secrets", false),
        ("create", "pods", false),
        ("update", "logwiseclusters/status", false),
    ] {
        let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
        let mut args = vec!["auth", "can-i", verb, resource, "--as", account, "-n", "default"];
        if let Some(subresource) = subresource {
            args.extend(["--subresource", subresource]);
        }
        // kubectl answers "no" with exit code 1.
        let answer = bed.kubectl(&args, None).await;
        ensure!(answer.is_ok() == allowed, "{verb} {resource}: expected {allowed}, got {answer:?}");
    }
    Ok(())
}
