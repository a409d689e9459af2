//! The fake Spark master follows machines, answers as a real one does, and fails as it is told. Needs
//! `logwise-testbed up`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::cache::Cache;
use logwise_testbed::fake_master::{End, FakeMaster, Fate, Kind, Landing, Memory, Moment, Mood, Setup, Source};
use logwise_testbed::http;
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::quiet::Quiet;
use logwise_testbed::oracles::workers::{Machines, of_ends, spared};
use logwise_testbed::proxy::master::{MasterProxy, WRITES};
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::spark::{Overview, Spark, overview};
use logwise_testbed::stream::{self, IDLE_CLASS};
use logwise_testbed::world::World;
use reqwest::{Method, Response};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// A master with these addresses as workers.
async fn named(hosts: &[&str], setup: Setup) -> Result<FakeMaster> {
    let master = FakeMaster::start(&Bed::attach()?, Source::Named, setup).await?;
    master.set_hosts(hosts);
    Ok(master)
}

async fn submit(master: &FakeMaster) -> Result<String> {
    let spark = Spark::locate(&Cache::of_user()?)?;
    stream::submit_idle(&spark, ("spark://nobody:1", &master.address().rest()), 1).await
}

async fn page(master: &FakeMaster) -> Result<Overview> {
    overview(&master.address().ui()).await
}

async fn cordon(ui: &str, host: &str) -> Result<Response> {
    let url = format!("http://{ui}/workers/kill/?host={host}");
    http::client()?.request(Method::POST, url).send().await.context("asking for a decommission")
}

#[tokio::test]
async fn workers_follow_the_instances_of_a_group_and_a_driver_is_told_where_it_runs() -> Result<()> {
    let world = World::new(&Bed::attach()?, "fake").await?;
    world.create_group(1, 3, 2).await?;
    let master = world.fake_master(Setup::default()).await?;
    let hosts = world.hosts().await?;
    let alive = page(&master).await?.alive_hosts().into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(alive, hosts.iter().cloned().collect::<Vec<_>>());
    let id = submit(&master).await?;
    let told = stream::status(&master.address().rest(), &id).await?;
    let on = told.worker.context("no worker is told")?;
    let host = on.split_once(':').context("an address")?.0.to_owned();
    assert!(told.driver_state == "RUNNING" && hosts.contains(&host), "{on}");
    let quiet = Quiet::begin(&world, None).await?.with_master(&master);
    page(&master).await?;
    assert!(quiet.broken().await?.is_empty(), "asking changes nothing");
    let end = [("InstanceId", world.instance_at(&host).await?), ("ShouldDecrementDesiredCapacity", "true".into())];
    let end = end.each_ref().map(|(name, value)| (*name, value.as_str()));
    world.bed.stand_in().administer(&world.group, "TerminateInstanceInAutoScalingGroup", &end).await?;
    let later = page(&master).await?;
    assert_eq!((later.alive_hosts().len(), later.completeddrivers[0].state.as_str()), (1, "RELAUNCHING"));
    assert_ne!(later.activedrivers[0].id, id, "a supervised driver begins again under another id");
    let findings = of_ends(&world.calls(&world.group, true).await?, &Machines::of(&master), &master.stays());
    assert!(findings.len() == 1 && findings[0].contains(&id), "{findings:?}");
    assert!(spared(&world, &Machines::of(&master), &master.stays()).await.is_err());
    cordon(&master.address().ui(), &host).await?;
    assert!(quiet.broken().await?.iter().any(|line| line.starts_with("Spark: POST /workers/kill/")));
    let counts = Effects::of(&world).await?.with_master(&master).counts();
    let of = |action: &str| counts.get(&("master".to_owned(), action.to_owned())).copied().unwrap_or_default();
    assert_eq!((of("SubmitDriver"), of("DriverEnded"), of("Decommission")), (1, 1, 0), "nobody is on that address");
    Ok(())
}

#[tokio::test]
async fn pods_of_a_deployment_are_workers() -> Result<()> {
    let world = World::new(&Bed::attach()?, "fakepods").await?;
    world.create_deployment("workers", 3).await?;
    let master = world.fake_master_of_pods(&world.worker_selector("workers"), Setup::default()).await?;
    let pods = world.worker_pods("workers").await?;
    let mut addresses: Vec<&str> = pods.iter().map(|pod| pod.ip.as_str()).collect();
    addresses.sort_unstable();
    assert_eq!(page(&master).await?.alive_hosts(), addresses);
    assert!(pods.iter().all(|pod| pod.replica_set == pods[0].replica_set && pod.cost.is_none()), "{pods:?}");
    let cost = "controller.kubernetes.io/pod-deletion-cost=-100";
    world.kubectl(&["annotate", "pod", &pods[1].name, cost]).await?;
    world.kubectl(&["scale", "deployment", "workers", "--replicas=2"]).await?;
    world.wait_available("workers", 2).await?;
    let left: Vec<String> = world.worker_pods("workers").await?.into_iter().map(|pod| pod.name).collect();
    assert_eq!(left, [pods[0].name.clone(), pods[2].name.clone()]);
    assert_eq!(page(&master).await?.alive_hosts().len(), 2);
    world.roll_deployment("workers", "2").await?;
    world.wait_available("workers", 2).await?;
    let rolled = world.worker_pods("workers").await?;
    assert!(rolled.iter().all(|pod| pod.replica_set != pods[0].replica_set), "{rolled:?}");
    Ok(())
}

#[tokio::test]
async fn a_cordon_shows_later_and_a_driver_may_land_between() -> Result<()> {
    let setup = Setup { marking: Duration::from_secs(2), ..Setup::default() };
    let master = named(&["127.0.0.4", "127.0.0.5"], setup).await?;
    master.set_landing(Landing::Once { moment: Moment::Mark, after: 0, host: None });
    let id = submit(&master).await?;
    assert_eq!(page(&master).await?.activedrivers[0].worker, None);
    let ui = master.address().ui();
    assert_eq!(cordon(&ui, "127.0.0.5").await?.status(), 200);
    let told = page(&master).await?;
    assert_eq!((told.state_of("127.0.0.5"), told.driver_hosts()), (Some("ALIVE"), vec!["127.0.0.5"]));
    logwise_testbed::world::wait_until("the mark", LONG, async || {
        let state = page(&master).await?.state_of("127.0.0.5").map(str::to_owned);
        ensure!(state.as_deref() == Some("DECOMMISSIONED"), "{state:?}");
        Ok(())
    })
    .await?;
    assert_eq!(page(&master).await?.driver_hosts(), ["127.0.0.5"], "{id} goes on");
    assert_eq!(cordon(&ui, "127.0.0.9").await?.status(), 404);
    master.restart(Memory::Kept);
    assert_eq!(page(&master).await?.state_of("127.0.0.5"), Some("ALIVE"));
    master.refuse_cordons(Some(405));
    assert_eq!(cordon(&ui, "127.0.0.5").await?.status(), 405);
    let redirected = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let url = format!("http://{ui}/workers/kill?host=127.0.0.5");
    assert_eq!(redirected.post(url).send().await?.status(), 302, "the stroke at the end is missing");
    let effects: Vec<bool> = master.calls_of(Kind::Cordon).iter().map(|call| call.effect).collect();
    assert_eq!(effects, [true, false, false]);
    Ok(())
}

#[tokio::test]
async fn moods_and_lost_answers_are_those_of_a_master_in_trouble() -> Result<()> {
    let master = named(&["127.0.0.4"], Setup::default()).await?;
    let ui = master.address().ui();
    for (mood, status) in [(Mood::Standby, "STANDBY"), (Mood::Recovering, "RECOVERING")] {
        master.set_mood(mood);
        assert_eq!(page(&master).await?.status, status);
        let refused = format!("{:#}", submit(&master).await.unwrap_err());
        assert!(refused.contains(&format!("Current state is not alive: {status}.")), "{refused}");
    }
    master.set_mood(Mood::Standby);
    assert_eq!(cordon(&ui, "127.0.0.4").await?.status(), 404);
    master.set_mood(Mood::Html);
    let html = http::client()?.get(format!("http://{ui}/json/")).send().await?;
    assert!(html.status() == 200 && html.text().await?.starts_with("<!DOCTYPE html>"));
    master.set_mood(Mood::Hang);
    let asked = http::client()?.get(format!("http://{ui}/json/")).timeout(Duration::from_millis(300)).send().await;
    assert!(asked.unwrap_err().is_timeout());
    master.set_mood(Mood::Cut);
    assert!(page(&master).await.is_err());
    master.set_mood(Mood::Alive);
    assert!(master.submissions().is_empty(), "nothing was taken so far");
    master.drop_answers(Kind::Create, 1);
    assert!(submit(&master).await.is_err(), "its answer is lost");
    assert_eq!((master.submissions().len(), page(&master).await?.activedrivers.len()), (1, 1));
    master.spoil("/workers/0/coresused", json!(-7));
    master.spoil("/activedrivers/0/worker", json!("None"));
    let spoiled: Value = http::client()?.get(format!("http://{ui}/json/")).send().await?.json().await?;
    assert_eq!(
        (&spoiled["workers"][0]["coresused"], &spoiled["activedrivers"][0]["worker"]),
        (&json!(-7), &json!("None"))
    );
    master.tell("{\"status\": NaN}");
    assert!(page(&master).await.is_err());
    master.heal();
    // The driver, and an executor of an application that may have all cores.
    assert_eq!(page(&master).await?.workers[0].coresused, 2);
    Ok(())
}

#[tokio::test]
async fn drivers_end_as_they_are_told_and_their_pages_tell_of_tasks() -> Result<()> {
    let master = named(&["127.0.0.1"], Setup::default()).await?;
    let exception = "java.nio.file.NoSuchFileException: /no/such.jar";
    master.set_fate(Some(Fate { times: 1, end: End::Error, exception: Some(exception.to_owned()) }));
    let first = submit(&master).await?;
    logwise_testbed::world::wait_until("the end of the driver", LONG, async || {
        let status = stream::status(&master.address().rest(), &first).await?;
        ensure!(status.driver_state == "ERROR", "{status:?}");
        Ok(())
    })
    .await?;
    let url = format!("http://{}/v1/submissions/status/{first}", master.address().rest());
    let told: Value = http::client()?.get(url).send().await?.json().await?;
    assert!(told["message"].as_str().context("no message")?.contains(exception), "{told}");
    let second = submit(&master).await?;
    let pages = master.driver_pages(&second, 0, &[("127.0.0.1", 2)]).await?;
    let apps: Value =
        http::client()?.get(format!("http://{}/api/v1/applications", pages.address)).send().await?.json().await?;
    assert_eq!(apps[0]["name"], page(&master).await?.activeapps[0].name, "the driver of that application has them");
    stream::kill(&master.address().rest(), &second).await?;
    let theirs = master.submit("com.example.Other", 0).await;
    logwise_testbed::world::wait_until("only somebody else's driver", LONG, async || {
        let drivers: Vec<(String, String)> =
            page(&master).await?.activedrivers.into_iter().map(|one| (one.id, one.mainclass)).collect();
        ensure!(drivers == [(theirs.clone(), "com.example.Other".to_owned())], "{drivers:?}");
        Ok(())
    })
    .await?;
    assert!(page(&master).await?.completeddrivers.iter().all(|one| one.mainclass == IDLE_CLASS));
    Ok(())
}

#[tokio::test]
async fn a_proxy_loses_what_a_master_has_done() -> Result<()> {
    let master = named(&["127.0.0.4"], Setup::default()).await?;
    let proxy = MasterProxy::start(master.address()).await?;
    let spark = Spark::locate(&Cache::of_user()?)?;
    let rest = proxy.address.rest();
    let submit = async || stream::submit_idle(&spark, ("spark://nobody:1", &rest), 1).await;
    proxy.http.add(Rule::new(WRITES, Action::DropAnswer)?.writes().after(1));
    submit().await?;
    assert_eq!(overview(&proxy.address.ui()).await?.activedrivers.len(), 1, "reads pass and do not count");
    assert!(cordon(&proxy.address.ui(), "127.0.0.4").await.is_err(), "the second write of both interfaces");
    assert_eq!(master.calls_of(Kind::Cordon)[0].status, Some(200));
    submit().await?;
    let lost: Vec<_> = proxy.http.requests().into_iter().filter(|one| !one.faults.is_empty()).collect();
    assert!(lost.len() == 1 && lost[0].took_effect() && lost[0].status.is_none(), "{lost:?}");
    Ok(())
}
