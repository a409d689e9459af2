//! Masters of a test's own, and what a real one does with workers that are decommissioned. Needs `logwise-testbed up`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::profile::Part;
use logwise_testbed::spark::{Driver, Overview};
use logwise_testbed::spark_cluster::{AllowMode, Setup, SparkCluster};
use logwise_testbed::stays::Stay;
use logwise_testbed::stream;
use logwise_testbed::world::{World, wait_until};

const LONG: Duration = Duration::from_secs(180);

fn bed() -> Result<Bed> {
    Bed::attach_with(&[Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark])
}

/// Waits until the page is right.
async fn wait_page(cluster: &SparkCluster, what: &str, right: impl Fn(&Overview) -> bool) -> Result<Overview> {
    wait_until(what, LONG, async || {
        let overview = cluster.overview().await?;
        ensure!(right(&overview), "{overview:?}");
        Ok(overview)
    })
    .await
}

fn driver<'a>(overview: &'a Overview, id: &str) -> Option<&'a Driver> {
    overview.activedrivers.iter().find(|driver| driver.id == id)
}

/// The address of the worker on which a driver runs.
fn host(overview: &Overview, id: &str) -> Option<String> {
    let worker = driver(overview, id)?.worker.as_ref()?;
    overview.workers.iter().find(|one| one.id == *worker).map(|one| one.host.clone())
}

async fn wait_running(cluster: &SparkCluster, id: &str) -> Result<String> {
    let overview = wait_page(cluster, &format!("{id} to run"), |page| host(page, id).is_some()).await?;
    host(&overview, id).context("no worker")
}

#[tokio::test]
async fn a_decommissioned_worker_keeps_its_driver_takes_no_other_and_is_forgotten_by_the_next_master() -> Result<()> {
    let world = World::new(&bed()?, "cordon").await?;
    let cluster = SparkCluster::start(&world.bed, "cordon", Setup::default()).await?;
    world.create_group_at(&cluster, (2, 2, 2)).await?;
    world.wait_workers(&cluster, 2, LONG).await?;
    let first = cluster.submit_idle(1).await?;
    let cordoned = wait_running(&cluster, &first).await?;
    let instance = world.instance_at(&cordoned).await?;
    wait_until("the driver's process", LONG, async || {
        ensure!(cluster.kill_drivers(&instance)? == 1, "there is none yet");
        Ok(())
    })
    .await?;
    assert_eq!(wait_running(&cluster, &first).await?, cordoned, "its worker begins it again");
    assert_eq!(cluster.decommission(&cordoned).await?, 200);
    let marked = |page: &Overview| page.state_of(&cordoned) == Some("DECOMMISSIONED");
    wait_page(&cluster, "the mark", marked).await?;
    assert_eq!(cluster.decommission(&cordoned).await?, 200, "it still knows the worker");
    assert_eq!(cluster.decommission("127.0.0.1").await?, 404);
    // Two cores fill the other worker; the cordoned one has one left, which nobody gets.
    let second = cluster.submit_idle(2).await?;
    let other = wait_running(&cluster, &second).await?;
    assert_ne!(other, cordoned);
    let third = cluster.submit_idle(1).await?;
    let waits =
        |page: &Overview| driver(page, &third).is_some_and(|one| one.state == "SUBMITTED" && one.worker.is_none());
    let page = wait_page(&cluster, "the third to wait", waits).await?;
    assert_eq!(host(&page, &first).as_deref(), Some(cordoned.as_str()), "the first is where it was");
    let stays = cluster.stays()?;
    let there =
        |driver: &str, host: &str| stays.iter().any(|Stay { driver: one, host: at, .. }| one == driver && at == host);
    assert!(
        there(&first, &cordoned) && there(&second, &other) && stays.iter().all(|stay| stay.driver != third),
        "{stays:?}"
    );
    cluster.restart_master().await?;
    let forgotten = |page: &Overview| page.state_of(&cordoned) == Some("ALIVE");
    wait_page(&cluster, "the worker to be alive again", forgotten).await?;
    // What a decommissioned worker runs the next master does not find: it begins the driver again under another id, and
    // so one that waited.
    let again = |page: &Overview| {
        let over = |id: &String| page.completeddrivers.iter().any(|one| one.id == *id && one.state == "RELAUNCHING");
        over(&first) && over(&third) && page.activedrivers.len() == 3
    };
    let page = wait_page(&cluster, "two drivers to begin again", again).await?;
    assert_eq!(host(&page, &second).as_deref(), Some(other.as_str()), "the second goes on");
    Ok(())
}

#[tokio::test]
async fn masters_that_must_not_decommission_say_so_and_tell_two_reasons_not_apart() -> Result<()> {
    let bed = bed()?;
    let denied = Setup { allow_mode: AllowMode::Deny, rest: false, ..Setup::default() };
    let disabled = Setup { allow_mode: AllowMode::Allow, decommission: false, ..Setup::default() };
    let starts = (SparkCluster::start(&bed, "denied", denied), SparkCluster::start(&bed, "disabled", disabled));
    let (denied, disabled) = futures::try_join!(starts.0, starts.1)?;
    for cluster in [&denied, &disabled] {
        assert_eq!(cluster.decommission("127.0.0.1").await?, 405);
    }
    assert_ne!(denied.url(), disabled.url());
    let refused = stream::status(&denied.address().rest(), "driver-1").await;
    assert!(refused.is_err(), "it has no submission server");
    let told = format!("{:#}", stream::status(&disabled.address().rest(), "driver-1").await.unwrap_err());
    assert!(told.contains("refused to tell about the submission"), "{told}");
    Ok(())
}

/// In `make prove` only: a master that is gone is missed for seconds.
#[tokio::test]
async fn of_two_masters_one_stands_by_and_takes_over() -> Result<()> {
    if std::env::var_os("LOGWISE_PROVE").is_none() {
        return Ok(());
    }
    let world = World::new(&bed()?, "two masters").await?;
    let cluster = SparkCluster::start(&world.bed, "two", Setup { masters: 2, ..Setup::default() }).await?;
    world.create_group_at(&cluster, (1, 1, 1)).await?;
    world.wait_workers(&cluster, 1, LONG).await?;
    let driver = cluster.submit_idle(1).await?;
    let host = wait_running(&cluster, &driver).await?;
    let active = cluster.active().await?.clone();
    let number = cluster.addresses().position(|one| *one == active).context("no such master")? + 1;
    cluster.kill_master(number).await?;
    wait_page(&cluster, "the other master to know the driver", |page| page.driver_hosts() == [host.as_str()]).await?;
    assert_ne!(*cluster.active().await?, active);
    cluster.start_again(number).await?;
    assert_ne!(*cluster.active().await?, active, "the first one stands by now");
    let hosts = BTreeSet::from([host]);
    cluster.wait_workers(&hosts, LONG).await
}
