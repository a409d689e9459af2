//! Several drivers of one class share a checkpoint: one stays. And of several pipelines of one class at one master one
//! has the driver.

use super::{CLASS, DEMO, Ground, driver, killed, looked, master, operator, pipeline, quiet, runs, says, submitted};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::Setup;
use logwise_testbed::proxy::http::HttpProxy;
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, events, wait_condition};
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Of somebody else.
const OTHER: &str = "com.example.Other";

#[tokio::test]
async fn of_several_drivers_ours_stays_and_those_of_other_classes_are_left_alone() -> Result<()> {
    let setup = Setup { ending: Duration::from_secs(2), ..Setup::default() };
    let ground = Ground::with("driver-extra", setup).await?;
    let others = ground.master.submit(OTHER, 0).await;
    ground.apply(&driver(&json!({}))).await?;
    let ours = ground.runs(&[]).await?;
    let extra = ground.master.submit(CLASS, 0).await;
    let told = says(&ground.world, "demo", "SeveralDrivers", &[&ours, &extra, "on one checkpoint"]).await?;
    ensure!(!told.contains(&others), "{told}");
    ensure!(ground.runs(&[]).await? == ours, "another one stays");
    ground.ends_with(1, 1).await?;
    ensure!(killed(&ground.master) == [extra.clone()], "{:?}", ground.master.events());
    let page = ground.master.overview().await?;
    let left: Vec<&str> = page.activedrivers.iter().map(|driver| driver.id.as_str()).collect();
    ensure!(left == [others.as_str(), ours.as_str()], "{left:?}");
    let told = events(&ground.world, "demo", "DriverKilled").await?;
    ensure!(told.len() == 1 && told[0].contains(&extra), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn of_several_that_were_there_before_the_eldest_is_adopted_and_the_others_end_one_by_one() -> Result<()> {
    let ground = Ground::new("driver-three").await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ground.master.submit(CLASS, 0).await);
    }
    ground.apply(&driver(&json!({}))).await?;
    ensure!(ground.runs(&[]).await? == ids[0], "not the eldest of {ids:?}");
    ground.ends_with(0, 2).await?;
    ensure!(killed(&ground.master) == [ids[2].clone(), ids[1].clone()], "{:?}", ground.master.events());
    Ok(())
}

/// The younger one reaches the master by a way of its own, so that its calls can be told from the others'.
#[tokio::test]
async fn of_two_pipelines_of_one_class_the_younger_makes_no_call_until_the_elder_is_gone() -> Result<()> {
    let world = World::new(&Bed::attach()?, "driver-two").await?;
    let master = master(&world.bed, Setup::default()).await?;
    let proxy = world.master_proxy(master.address()).await?;
    let operator = operator(&world).await?;
    let (ours, masters) = (driver(&json!({})), master.masters());
    apply(&world, &[&pipeline("demo", &masters, &ours)]).await?;
    let id = runs(&world, "demo", &[]).await?;
    // Creation times have whole seconds; equal ones are decided by name.
    let another = driver(&json!({"mainClass": OTHER}));
    let objects = [pipeline("zz-younger", &proxy.masters(), &ours), pipeline("zz-other-class", &masters, &another)];
    apply(&world, &[&objects[0], &objects[1]]).await?;
    says(&world, "zz-younger", "Conflicted", &[&format!("{}/demo", world.namespace), "main class"]).await?;
    wait_condition(&world, ("lwc", "zz-younger"), ("Stalled", "True", "Conflicted")).await?;
    runs(&world, "zz-other-class", &[&id]).await?;
    looked(&world, &operator, 3).await?;
    let calls = proxy.http.requests();
    ensure!(calls.is_empty(), "the younger one has called: {calls:?}");
    world.kubectl(&["delete", "lwc", DEMO.1, "--timeout=60s"]).await?;
    // It would ask again after half a minute.
    let edit = json!({"spec": {"spark": {"driver": {"uiPort": 4041}}}}).to_string();
    world.kubectl(&["patch", "lwc", "zz-younger", "--type", "merge", "-p", &edit]).await?;
    ensure!(runs(&world, "zz-younger", &[]).await? == id, "the driver was not taken over");
    quiet(&world, &operator, &master).await?;
    ensure!(submitted(&master) == 2 && killed(&master).is_empty(), "{:?}", master.events());
    replayed(&world).await
}

/// The younger one reaches the master by another name and by other ports, as through a load balancer: only the master's
/// own page tells that it is the same.
#[tokio::test]
async fn of_two_pipelines_that_name_one_master_in_two_ways_the_younger_makes_no_call_either() -> Result<()> {
    let world = World::new(&Bed::attach()?, "driver-alias").await?;
    let master = master(&world.bed, Setup::default()).await?;
    let mut proxy = HttpProxy::on(Ipv4Addr::LOCALHOST, &format!("http://{}", master.address().ui())).await?;
    let rest = proxy.also(&format!("http://{}", master.address().rest())).await?;
    let operator = operator(&world).await?;
    let ours = driver(&json!({}));
    apply(&world, &[&pipeline("demo", &master.masters(), &ours)]).await?;
    let id = runs(&world, "demo", &[]).await?;
    let alias = json!([{"host": "localhost", "uiPort": port(&proxy.url)?, "restPort": port(&rest)?}]);
    apply(&world, &[&pipeline("zz-younger", &alias, &ours)]).await?;
    let owner = format!("{}/demo", world.namespace);
    let words = [owner.as_str(), "names the same master differently", "main class"];
    says(&world, "zz-younger", "Conflicted", &words).await?;
    wait_condition(&world, ("lwc", "zz-younger"), ("Stalled", "True", "Conflicted")).await?;
    looked(&world, &operator, 3).await?;
    let paths = proxy.requests().into_iter().map(|call| call.path);
    let calls: Vec<String> = paths.filter(|path| path != "/json/").collect();
    ensure!(calls.is_empty(), "the younger one has called: {calls:?}");
    ensure!(runs(&world, "demo", &[]).await? == id && submitted(&master) == 1, "{:?}", master.events());
    // One too many is ended by the elder, and no other one by anybody.
    let extra = master.submit(CLASS, 0).await;
    let ends = async || {
        ensure!(killed(&master) == [extra.clone()], "{:?}", master.events());
        Ok(())
    };
    world.wait_until("the end of the extra driver", PATIENCE, ends).await?;
    ensure!(runs(&world, "demo", &[]).await? == id, "{:?}", master.events());
    world.kubectl(&["delete", "lwc", DEMO.1, "--timeout=60s"]).await?;
    // It would ask again after half a minute.
    let edit = json!({"spec": {"spark": {"driver": {"uiPort": 4041}}}}).to_string();
    world.kubectl(&["patch", "lwc", "zz-younger", "--type", "merge", "-p", &edit]).await?;
    ensure!(runs(&world, "zz-younger", &[]).await? == id, "the driver was not taken over");
    quiet(&world, &operator, &master).await?;
    ensure!(submitted(&master) == 1 && killed(&master).len() == 1, "{:?}", master.events());
    replayed(&world).await
}

/// The port at the end of a URL.
fn port(url: &str) -> Result<u16> {
    let port = url.rsplit(':').next().context("no port")?;
    port.parse().with_context(|| format!("{url} names no port"))
}
