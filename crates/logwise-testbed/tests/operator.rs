//! The operator runs in a world with the rights of `deploy/base`, and is stopped, killed and started again.
//! Needs `logwise-testbed up`, and the operator built by `cargo build --workspace --all-targets`.

use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;

#[tokio::test]
async fn an_operator_is_started_killed_started_again_and_stopped() -> Result<()> {
    let world = World::new(&Bed::attach()?, "operator").await?;
    let mut first = Operator::start(&world, Options::default()).await?;
    first.wait_ready().await?;
    ensure!(first.metrics().await?.contains("# TYPE "), "no metrics");
    assert_eq!(first.http("/livez").await?.0, 200);
    first.kill9().await?;
    assert!(!first.alive() && first.http("/livez").await.is_err());
    let mut second = Operator::start(&world, Options::default()).await?;
    second.wait_ready().await?;
    assert_eq!(second.stop().await?, 0, "{}", second.log()?);
    Ok(())
}

#[tokio::test]
async fn the_operator_has_its_own_name_and_no_more_rights_than_given() -> Result<()> {
    let bed = Bed::attach()?;
    let kubeconfig = logwise_testbed::install::kubeconfig(&bed).await?.display().to_string();
    let own = bed
        .kubectl(&["--kubeconfig", &kubeconfig, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], None)
        .await?;
    assert_eq!(own, "system:serviceaccount:logwise-system:logwise-operator");
    let error = bed
        .kubectl(&["--kubeconfig", &kubeconfig, "delete", "namespace", "default", "--dry-run=server"], None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_broken_configuration_ends_it_with_its_own_code() -> Result<()> {
    let world = World::new(&Bed::attach()?, "broken").await?;
    let options = Options::config(serde_json::json!({"installation": null, "instalation": "x"}));
    let mut operator = Operator::start(&world, options).await?;
    assert_eq!(operator.wait_exit().await?, 2);
    assert!(operator.log()?.contains("instalation"), "{}", operator.log()?);
    let error = format!("{:#}", operator.wait_ready().await.unwrap_err());
    assert!(error.contains("ended (exit status: 2)"), "{error}");
    Ok(())
}
