//! The API server stands still, refuses everybody or is started again: nothing is changed outside meanwhile, the leader
//! steps down, and afterwards all goes on.

use crate::behind::{Ground, partitions_of};
use crate::replicas::{LEASE, elected, epoch, leads, wait_follows, wait_leads};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::cache::Cache;
use logwise_testbed::command::{command, output};
use logwise_testbed::folder::Folder;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::profile::{Profile, parts};
use logwise_testbed::progress::Progress;
use logwise_testbed::proxy::kubernetes::KubernetesProxy;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::world::World;
use logwise_testbed::{state, up, workspace};
use logwise_tests::{PATIENCE, apply, cluster, wait_condition};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Back to normal after the API server is back.
const RETURN: Duration = Duration::from_secs(30);

fn freeze(proxy: &KubernetesProxy) -> Result<()> {
    proxy.add(Rule::new("", Action::Hold)?);
    proxy.add(Rule::new("", Action::Freeze)?);
    Ok(())
}

/// Every request and every watch meets this.
fn refuse(proxy: &KubernetesProxy, action: Action) -> Result<()> {
    proxy.add(Rule::new("", action)?.times(0));
    proxy.add(Rule::new("", Action::Cut)?.running());
    Ok(())
}

/// The world goes on while the API server is away: more is wanted and a topic appears.
async fn wish(ground: &Ground) -> Result<()> {
    apply(&ground.world, &[&ground.demo(4, 5)?]).await?;
    ground.world.create_topic("web", 1).await.map(drop)
}

async fn unchanged(ground: &Ground, time: Duration) -> Result<()> {
    ground.silent(time).await?;
    let (group, api) =
        futures::try_join!(ground.world.group(&ground.world.group), partitions_of(&ground.world, "api"))?;
    let web = partitions_of(&ground.world, "web").await?;
    ensure!((group.desired, api, web) == (2, 3, 1), "{} workers, {api} and {web} partitions", group.desired);
    Ok(())
}

/// A leader that elects behind an API server that is away for more than two Lease times.
async fn away(name: &str, spoil: impl FnOnce(&KubernetesProxy) -> Result<()>) -> Result<()> {
    let ground = Ground::new(name, async |world| Ok(elected(&world.create_schema().await?))).await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    let began = epoch(&ground.world).await?;
    spoil(&ground.proxy)?;
    wish(&ground).await?;
    wait_follows(&ground.world, &ground.operator).await?;
    ground
        .world
        .wait_until("the pod to say that it follows", PATIENCE, async || {
            let (status, body) = ground.operator.http("/readyz").await?;
            ensure!(status == 200 && body.contains("follows"), "{status} {body}");
            Ok(())
        })
        .await?;
    unchanged(&ground, Duration::from_secs(LEASE * 2)).await?;
    ensure!(!leads(&ground.operator).await?, "it leads without a Lease");
    ground.proxy.clear();
    wait_leads(&ground.world, &ground.operator).await?;
    ground.reached(4, 5).await?;
    ground.settled().await?;
    ensure!(epoch(&ground.world).await? > began, "a term has its own number");
    ground.at_rest_with(2, 2..=3).await?;
    ensure!(partitions_of(&ground.world, "web").await? == 5, "the other topic was forgotten");
    Ok(())
}

#[tokio::test]
async fn a_leader_whose_api_server_stands_still_steps_down_and_changes_nothing() -> Result<()> {
    away("api-frozen", freeze).await
}

#[tokio::test]
async fn a_leader_whose_api_server_is_gone_steps_down_and_changes_nothing() -> Result<()> {
    away("api-gone", |proxy| refuse(proxy, Action::DropBefore)).await
}

#[tokio::test]
async fn a_leader_whose_api_server_refuses_everything_steps_down_and_changes_nothing() -> Result<()> {
    away("api-refuses", |proxy| refuse(proxy, Action::answer(503, "ServiceUnavailable"))).await
}

/// Without leader election there is no Lease to lose: what cannot be written down first is not done.
#[tokio::test]
async fn an_operator_without_election_changes_nothing_while_the_api_server_stands_still() -> Result<()> {
    let ground = Ground::alone("api-alone").await?;
    ground.reach(2, 3).await?;
    ground.settled().await?;
    freeze(&ground.proxy)?;
    wish(&ground).await?;
    unchanged(&ground, Duration::from_secs(10)).await?;
    ensure!(ground.operator.http("/livez").await?.0 == 200, "it waits for the API server");
    ground.proxy.clear();
    ground.reached(4, 5).await?;
    ground.settled().await?;
    ground.at_rest_with(2, 2..=3).await
}

/// A bed of one test; ended with it, whatever happened.
struct OwnBed {
    folder: Folder,
    cache: Cache,
}

impl OwnBed {
    async fn up() -> Result<OwnBed> {
        let dir = workspace::root()?.join(format!("target/api-{}", std::process::id()));
        let bed = OwnBed { folder: Folder::open(&dir)?, cache: Cache::of_user()? };
        bed.start().await.context("starting a bed for this test alone")?;
        Ok(bed)
    }

    /// What runs is kept, what does not is started.
    async fn start(&self) -> Result<()> {
        let wanted = parts(&[Profile::Kube, Profile::Kafka, Profile::Aws, Profile::Sql]);
        up::up(&self.folder, &self.cache, &wanted, &Progress::start()).await.map(drop)
    }

    /// Sends a signal, such as `STOP`, to the API server.
    async fn signal(&self, signal: &str) -> Result<()> {
        let servers = state::load(&self.folder)?.servers;
        let server = servers.get("kube-apiserver").context("the bed has no API server")?;
        ensure!(server.alive(), "the API server does not run");
        let kill = command("kill", [format!("-{signal}"), server.identity.pid.to_string()]);
        output(kill, PATIENCE).await.map(drop)
    }

    async fn down(&self) -> Result<()> {
        up::down(&self.folder, &self.cache, &Progress::start()).await?;
        std::fs::remove_dir_all(self.folder.dir()).context("removing the bed's folder")
    }
}

/// In `make prove` only: it stops and kills a real API server.
#[tokio::test]
async fn a_real_api_server_is_stopped_and_killed() -> Result<()> {
    if std::env::var_os("LOGWISE_PROVE").is_none() {
        return Ok(());
    }
    let bed = OwnBed::up().await?;
    let result = on_own_bed(&bed).await;
    bed.down().await?;
    result
}

async fn on_own_bed(own: &OwnBed) -> Result<()> {
    let bed = Bed::attach_to(own.folder.dir(), &[])?;
    let world = World::new(&bed, "real-api").await?;
    world.create_topic("api", 1).await?;
    let url = world.create_schema().await?;
    let mut operator = Operator::start(&world, Options::config(elected(&url))).await?;
    operator.wait_ready().await?;
    wait_leads(&world, &operator).await?;
    let object = |partitions: usize| {
        let mut object: Value = cluster(&world, "demo");
        object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(partitions);
        object
    };
    let grown = async |partitions: usize| {
        apply(&world, &[&object(partitions)]).await?;
        crate::replicas::wait_partitions(&world, partitions).await?;
        wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await.map(drop)
    };
    grown(2).await?;
    own.signal("STOP").await?;
    wait_follows(&world, &operator).await?;
    world.create_topic("web", 1).await?;
    tokio::time::sleep(Duration::from_secs(LEASE * 4)).await;
    ensure!(partitions_of(&world, "web").await? == 1, "changed without the API server");
    own.signal("CONT").await?;
    back(&world, &operator, "thawed").await?;
    grown(3).await?;
    own.signal("KILL").await?;
    wait_follows(&world, &operator).await?;
    world.create_topic("app", 1).await?;
    tokio::time::sleep(Duration::from_secs(LEASE * 4)).await;
    ensure!(partitions_of(&world, "app").await? == 1, "changed without the API server");
    own.start().await?;
    back(&world, &operator, "started again").await?;
    grown(4).await?;
    ensure!(partitions_of(&world, "web").await? == 4 && partitions_of(&world, "app").await? == 4, "left behind");
    ensure!(operator.alive(), "{}", operator.log()?);
    settles(&world, &operator, &["kafka", "storage"], 3, PATIENCE).await?;
    ensure!(operator.stop().await? == 0, "{}", operator.log()?);
    Ok(())
}

/// The watch shows edits again within the time that is promised.
async fn back(world: &World, operator: &Operator, what: &str) -> Result<()> {
    let began = Instant::now();
    wait_leads(world, operator).await?;
    wait_condition(world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    let took = began.elapsed();
    ensure!(took < RETURN, "{what}: back after {took:?}");
    Ok(())
}
