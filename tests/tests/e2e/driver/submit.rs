//! A driver that is missing is submitted once: neither what waits nor what the master begins again is doubled.

use super::{CLASS, DEMO, Ground, HOSTS, driver, looked, operator, patch, pipeline, runs, says, submitted};
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{End, Landing, Memory};
use logwise_testbed::profile::Part;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::spark_cluster::{Setup, SparkCluster};
use logwise_testbed::stream::IDLE_CLASS;
use logwise_testbed::world::{World, wait_until};
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, counted, events, series, turn_of_spark};
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_driver_that_has_failed_or_was_killed_is_followed_by_exactly_one() -> Result<()> {
    let ground = Ground::new("driver-one").await?;
    let arguments = json!(["bootstrap=k:9092", "query=application"]);
    ground.apply(&driver(&json!({"supervise": false, "arguments": arguments, "uiPort": 4050}))).await?;
    let first = ground.runs(&[]).await?;
    let bodies = ground.master.submissions();
    let [body] = bodies.as_slice() else { bail!("not one submission: {bodies:?}") };
    ensure!(body["mainClass"] == CLASS && body["appArgs"] == arguments, "{body}");
    ensure!(body["environmentVariables"] == json!({"SPARK_ENV_LOADED": "1"}), "{body}");
    let (properties, address) = (&body["sparkProperties"], ground.master.address());
    let expected = [
        ("spark.master", format!("spark://{}:{}", address.host, address.port)),
        ("spark.submit.deployMode", "cluster".to_owned()),
        ("spark.driver.supervise", "false".to_owned()),
        ("spark.app.name", "logwise".to_owned()),
        ("spark.ui.port", "4050".to_owned()),
        ("spark.cores.max", "1".to_owned()),
    ];
    for (name, value) in expected {
        ensure!(properties[name] == value, "{name}: {properties}");
    }
    ground.master.end_driver(&first, End::Failed, Some("java.lang.OutOfMemoryError: Java heap space"));
    let second = ground.runs(&[&first]).await?;
    ground.master.end_driver(&second, End::Killed, None);
    let third = ground.runs(&[&first, &second]).await?;
    ground.ends_with(3, 0).await?;
    let shown = ground.shown().await?;
    ensure!(shown["submissionID"] == third.as_str() && shown["restarts"] == 2, "{shown}");
    ensure!(HOSTS.contains(&shown["worker"].as_str().unwrap_or_default()), "{shown}");
    let told = (
        events(&ground.world, "demo", "DriverSubmitted").await?,
        events(&ground.world, "demo", "DriverResubmitted").await?,
    );
    ensure!(told.0.len() == 1 && told.0[0].contains(&first), "{told:?}");
    ensure!(told.1.len() == 2 && told.1.iter().any(|note| note.contains(&third)), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_supervised_driver_that_the_master_begins_again_is_adopted() -> Result<()> {
    let ground = Ground::new("driver-lost").await?;
    ground.apply(&driver(&json!({"supervise": true}))).await?;
    let first = ground.runs(&[]).await?;
    let page = ground.master.overview().await?;
    let lost = page.driver_hosts().first().map(ToString::to_string).context("no driver on a worker")?;
    let others: Vec<&str> = HOSTS.into_iter().filter(|host| *host != lost).collect();
    ground.master.set_hosts(&others);
    let second = ground.runs(&[&first]).await?;
    ground.ends_with(1, 0).await?;
    let shown = ground.shown().await?;
    ensure!(shown["submissionID"] == second.as_str() && shown["restarts"] == 0, "nobody has submitted it: {shown}");
    Ok(())
}

#[tokio::test]
async fn a_driver_that_waits_for_a_worker_is_there() -> Result<()> {
    let ground = Ground::new("driver-waits").await?;
    ground.master.set_landing(Landing::Held);
    ground.apply(&driver(&json!({}))).await?;
    says(&ground.world, "demo", "DriverPending", &["waits for a worker"]).await?;
    let is_up = async || -> Result<Option<i64>> {
        Ok(series(&ground.operator.metrics().await?, &ground.world, "demo", "logwise_spark_driver_up"))
    };
    ensure!(is_up().await? == Some(0), "{:?}", is_up().await?);
    // Longer than one that is missing is waited for.
    looked(&ground.world, &ground.operator, 4).await?;
    ensure!(submitted(&ground.master) == 1, "{:?}", ground.master.events());
    let page = ground.master.overview().await?;
    let [waiting] = page.activedrivers.as_slice() else { bail!("{page:?}") };
    ground.master.land(&waiting.id, Some(HOSTS[1])).await?;
    ensure!(ground.runs(&[]).await? == waiting.id, "another one");
    ensure!(is_up().await? == Some(1), "{:?}", is_up().await?);
    ground.ends_with(1, 0).await
}

#[tokio::test]
async fn a_master_that_begins_anew_gets_a_driver_only_if_it_has_forgotten_its_own() -> Result<()> {
    let ground = Ground::new("driver-anew").await?;
    ground.apply(&driver(&json!({}))).await?;
    let first = ground.runs(&[]).await?;
    ground.master.restart(Memory::Kept);
    looked(&ground.world, &ground.operator, 4).await?;
    ensure!(ground.runs(&[]).await? == first && submitted(&ground.master) == 1, "{:?}", ground.master.events());
    ground.master.restart(Memory::Lost);
    ground.runs(&[&first]).await?;
    let metrics = ground.operator.metrics().await?;
    let submissions = ("logwise_spark_driver_submissions_total", "result=\"accepted\"");
    ensure!(counted(&metrics, &ground.world, "demo", submissions) == 2, "{metrics}");
    ground.ends_with(2, 0).await
}

#[tokio::test]
async fn the_next_operator_takes_the_driver_over() -> Result<()> {
    let mut ground = Ground::new("driver-next").await?;
    ground.apply(&driver(&json!({"supervise": false}))).await?;
    let first = ground.runs(&[]).await?;
    ground.operator.kill9().await?;
    // Nobody sees it end: the record says that it was ours.
    ground.master.end_driver(&first, End::Failed, Some("java.lang.IllegalStateException: no"));
    ground.operator = operator(&ground.world).await?;
    let second = ground.runs(&[&first]).await?;
    ground.operator.kill9().await?;
    ground.operator = operator(&ground.world).await?;
    ensure!(ground.runs(&[]).await? == second, "another one");
    ground.ends_with(2, 0).await?;
    let resubmitted = events(&ground.world, "demo", "DriverResubmitted").await?;
    ensure!(resubmitted.len() == 1, "{resubmitted:?}");
    Ok(())
}

/// Ids of all drivers of this class that a master knows.
async fn known(cluster: &SparkCluster) -> Result<BTreeSet<String>> {
    let page = cluster.overview().await?;
    let drivers = page.activedrivers.into_iter().chain(page.completeddrivers);
    Ok(drivers.filter(|driver| driver.mainclass == IDLE_CLASS).map(|driver| driver.id).collect())
}

/// Ends the one program that a driver is.
async fn kill_driver(cluster: &SparkCluster, instance: &str) -> Result<()> {
    wait_until("the driver's program", PATIENCE, async || {
        let killed = cluster.kill_drivers(instance)?;
        ensure!(killed == 1, "{killed} were killed");
        Ok(())
    })
    .await
}

/// On a real master: the answer of the first submission is lost, the driver is killed, and the next one, which its
/// worker begins again by itself, is killed too.
#[tokio::test]
async fn a_real_driver_that_was_killed_is_followed_by_exactly_one() -> Result<()> {
    let _turn = turn_of_spark().await;
    let bed = Bed::attach_with(&[Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark])?;
    let world = World::new(&bed, "driver-real").await?;
    let cluster = SparkCluster::start(&world.bed, "driver", Setup::default()).await?;
    world.create_group_at(&cluster, (1, 1, 1)).await?;
    world.wait_workers(&cluster, 1, PATIENCE).await?;
    let host = world.hosts().await?.into_iter().next().context("no worker")?;
    let instance = world.instance_at(&host).await?;
    let proxy = world.master_proxy(cluster.address()).await?;
    proxy.http.add(Rule::new("^/v1/submissions/create", Action::DropAnswer)?);
    let mut idle = world.driver(&world.job(&cluster))?;
    for (name, value) in [("mainClass", json!(IDLE_CLASS)), ("memory", json!("128m")), ("supervise", json!(false))] {
        idle[name] = value;
    }
    apply(&world, &[&pipeline("demo", &proxy.masters(), &idle)]).await?;
    let operator = operator(&world).await?;
    let first = runs(&world, "demo", &[]).await?;
    kill_driver(&cluster, &instance).await?;
    let second = runs(&world, "demo", &[&first]).await?;
    patch(&world, &json!({"spark": {"driver": {"supervise": true}}})).await?;
    kill_driver(&cluster, &instance).await?;
    let third = runs(&world, "demo", &[&first, &second]).await?;
    kill_driver(&cluster, &instance).await?;
    kill_driver(&cluster, &instance).await?;
    looked(&world, &operator, 5).await?;
    ensure!(runs(&world, "demo", &[]).await? == third, "its worker begins it again, and another one was submitted");
    let all = BTreeSet::from([first, second, third]);
    ensure!(known(&cluster).await? == all, "not these three alone: {:?}", cluster.overview().await?);
    let creates = proxy.http.requests().into_iter().filter(|request| request.path.ends_with("/create")).count();
    ensure!(creates == 3, "{creates} submissions were sent");
    let object = world.get_json(DEMO.0, DEMO.1).await?;
    ensure!(object["status"]["spark"]["driver"]["restarts"] == 2, "{}", object["status"]["spark"]);
    replayed(&world).await
}
