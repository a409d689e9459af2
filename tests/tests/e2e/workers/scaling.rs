//! From records to executors and back: a real Spark master with a real worker per instance, real Kafka, S3 and the real
//! streaming job. Only the machines are none.

use super::ledger::{Change, END, changes, ended, gaps, raised};
use super::{looked, merge, operator};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::cache::Cache;
use logwise_testbed::http;
use logwise_testbed::operator::Operator;
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::workers::{Machines, spared};
use logwise_testbed::profile::Part;
use logwise_testbed::spark::{Overview, Spark, WORKER_UI_PORT};
use logwise_testbed::spark_cluster::{Setup, SparkCluster};
use logwise_testbed::stream::{self, Job};
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, cluster, is_proving, turn_of_spark, wait_condition, wait_events, with_masters};
use serde_json::{Value, json};
use std::time::Duration;

/// Rounds in `make test`, and how many more in `make prove`.
const ROUNDS: (usize, usize) = (2, 5);

/// A topic with a few records each second, so that there is always a batch, and the partitions of each topic.
const STEADY: &str = "steady";
const PER_SECOND: u32 = 5;
const PARTITIONS: u32 = 6;

/// Records of the service that appears in each round: what is to be read within a minute takes three workers until half
/// of them are read. Of a batch that is as small as these nobody measures how fast a core is.
const FLOOD: u32 = 10_500;
const BATCH: u64 = 900;
const PER_CORE: i64 = 25;

/// Cores that the job may take: those of three workers but the driver's own.
const CORES: u32 = 5;

/// Seconds of a step upwards and of one downwards, and of the window before that.
const UP: i64 = 3;
const DOWN: i64 = 3;
const WINDOW: i64 = 6;

/// How much sooner than by the operator's clock a call may come, in milliseconds: what counts is when it looked.
const EARLIER: i64 = 1_500;

/// The pipeline as its owner writes it: the job is there already, and is adopted.
fn pipeline(world: &World, spark: &SparkCluster, job: &Job) -> Result<Value> {
    let mut object = with_masters(world, cluster(world, "demo"), &spark.masters(), (1, 3));
    let one = |seconds: i64| json!([{"type": "Replicas", "value": 1, "periodSeconds": seconds}]);
    let behavior = json!({
        "scaleUp": {"stabilizationWindowSeconds": 0, "policies": one(UP)},
        "scaleDown": {"stabilizationWindowSeconds": WINDOW, "policies": one(DOWN)},
    });
    let autoscaling = json!({
        "recordsPerSecondPerCore": PER_CORE,
        "catchUpSeconds": 60,
        "tolerancePercent": 0,
        "cooldownSeconds": 0,
        "behavior": behavior,
    });
    let workers = json!({"uiPort": WORKER_UI_PORT, "drainSeconds": 30, "autoscaling": autoscaling});
    merge(&mut object["spec"]["spark"]["workers"], workers);
    object["spec"]["spark"]["driver"] = world.driver(job)?;
    object["spec"]["kafka"]["partitionScaling"] = json!({"mode": "Recommend"});
    Ok(object)
}

fn flood(round: usize) -> String {
    format!("flood{round}")
}

/// A service that nobody has seen before has written all of this.
async fn appears(world: &World, round: usize) -> Result<()> {
    world.create_topic(&flood(round), PARTITIONS).await?;
    world.produce(&flood(round), FLOOD, false).await
}

/// What the rounds share.
struct Story<'a> {
    world: &'a World,
    spark: &'a SparkCluster,
    operator: &'a Operator,
    job: &'a Job,
    driver: String,
    machines: Machines,
    /// Calls of the group in earlier rounds.
    told: usize,
}

impl Story<'_> {
    async fn round(&mut self, round: usize) -> Result<()> {
        if round > 1 {
            // No batch ends before all records of the new service are there.
            self.world.pause_job().await?;
            appears(self.world, round).await?;
            self.world.resume_job().await?;
        }
        let waiting = self.rises(round).await?;
        self.falls(round, waiting).await?;
        self.adds_up(round).await
    }

    /// Records that wait, of all topics so far.
    async fn backlog(&self, round: usize) -> Result<i64> {
        let names: Vec<String> = (1..=round).map(flood).chain([STEADY.to_owned()]).collect();
        self.world.backlog(&names.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// One worker becomes three, with executors on each; returns how many records wait meanwhile: nothing more is read
    /// until the executors are there, however long programs in Java take to begin.
    async fn rises(&mut self, round: usize) -> Result<i64> {
        self.wait_desired(2).await?;
        self.world.pause_job().await?;
        self.wait_desired(3).await?;
        self.world.wait_workers(self.spark, 3, PATIENCE).await?;
        self.machines.look(self.world).await?;
        let busy = async || {
            let page = self.spark.overview().await?;
            let used: Vec<u32> =
                page.workers.iter().filter(|one| one.state == "ALIVE").map(|one| one.coresused).collect();
            ensure!(used.len() == 3 && used.iter().all(|cores| *cores > 0), "cores in use are {used:?}");
            ensure!(page.activeapps.first().is_some_and(|app| app.cores >= 3), "{:?}", page.activeapps);
            Ok(())
        };
        self.world.wait_until("executors on three workers", PATIENCE, busy).await?;
        self.backlog(round).await
    }

    /// They read what waits; then two of them go, and the driver's own stays.
    async fn falls(&mut self, round: usize, waiting: i64) -> Result<()> {
        self.world.resume_job().await?;
        let less = async || {
            let now = self.backlog(round).await?;
            ensure!(now < waiting / 2, "{now} of {waiting} records wait");
            Ok(())
        };
        self.world.wait_until("half of what waits to be read", PATIENCE, less).await?;
        self.wait_desired(1).await?;
        self.world.wait_workers(self.spark, 1, PATIENCE).await?;
        let page = self.spark.overview().await?;
        let drivers: Vec<&str> = page.activedrivers.iter().map(|driver| driver.id.as_str()).collect();
        ensure!(drivers == [self.driver.as_str()] && page.driver_hosts() == page.alive_hosts(), "{page:?}");
        self.no_task_failed(&page).await
    }

    async fn wait_desired(&self, desired: i64) -> Result<()> {
        let look = async || {
            let group = self.world.group(&self.world.group).await?;
            ensure!(group.desired == desired, "desired is {}", group.desired);
            Ok(())
        };
        self.world.wait_until(&format!("desired capacity {desired}"), PATIENCE, look).await
    }

    /// By the driver's own count, of all executors that it ever had.
    async fn no_task_failed(&self, page: &Overview) -> Result<()> {
        let (host, app) = (page.driver_hosts()[0], page.activeapps.first().context("no application")?);
        let path = format!("applications/{}/allexecutors", app.id);
        let url = format!("http://{host}:{}/api/v1/{path}", self.job.driver_ui);
        let answer = http::client()?.get(&url).send().await.with_context(|| url.clone())?;
        let executors: Value = answer.error_for_status()?.json().await?;
        let all = executors.as_array().context("no executors")?;
        let failed: i64 = all.iter().filter_map(|one| one["failedTasks"].as_i64()).sum();
        ensure!(failed == 0 && all.len() > 3, "{failed} tasks have failed: {executors}");
        Ok(())
    }

    /// What the group was asked for in this round, and when.
    async fn adds_up(&mut self, round: usize) -> Result<()> {
        let calls = self.world.calls(&self.world.group, true).await?;
        let mut of_round = calls[self.told..].to_vec();
        self.told = calls.len();
        let mut changes = changes(&of_round)?;
        if round == 1 {
            ensure!(changes[..2] == [Change::Newcomers, Change::Protect(1)], "{changes:?}");
            changes.drain(..2);
            of_round.drain(..2);
        }
        ensure!(raised(&changes) == [2, 3] && ended(&changes).len() == 2 && changes.len() == 4, "{changes:?}");
        ensure!(of_round.iter().all(|call| call.outcome.status == Some(200)), "{of_round:?}");
        let up = gaps(&of_round, "SetDesiredCapacity")[0];
        ensure!(up >= UP * 1_000 - EARLIER, "the second worker came {up} ms after the first");
        let down = gaps(&of_round, END)[0];
        ensure!(down >= DOWN * 1_000 - EARLIER, "the second worker went {down} ms after the first");
        let pause = of_round[2].time - of_round[1].time;
        ensure!(pause >= WINDOW * 1_000 - EARLIER, "the first worker went {pause} ms after the last one came");
        spared(self.world, &self.machines, &self.spark.stays()?).await?;
        kept(self.world, &Bounds { desired: 1, max: 3, ..Bounds::default() }).await
    }

    /// Nothing is done any more, and all that was done is told.
    async fn ends(&self, rounds: usize) -> Result<()> {
        looked(self.world, self.operator, 3).await?;
        let calls = self.world.calls(&self.world.group, true).await?;
        ensure!(calls.len() == self.told, "{:?}", &calls[self.told..]);
        let stays = self.spark.stays()?;
        ensure!(stays.len() == 1 && stays[0].to.is_none(), "the driver was moved: {stays:?}");
        wait_condition(self.world, ("lwc", "demo"), ("SparkReady", "True", "DriverRunning")).await?;
        let out = wait_events(self.world, "demo", "WorkersScaledOut", 2).await?;
        let gone = wait_events(self.world, "demo", "WorkersScaledIn", 2).await?;
        // What is told once more in the same words is one event.
        ensure!(out.len() == 2 && (2..=2 * rounds).contains(&gone.len()), "{out:?}, {gone:?}");
        replayed(self.world).await
    }
}

#[tokio::test]
async fn real_workers_come_for_what_waits_and_go_when_it_is_read_and_never_the_drivers() -> Result<()> {
    let _turn = turn_of_spark().await;
    let bed = Bed::attach_with(&[Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark])?;
    let world = World::new(&bed, "scaling").await?;
    let spark = SparkCluster::start(&bed, "scaling", Setup::default()).await?;
    world.create_group_at(&spark, (1, 4, 1)).await?;
    world.create_topic(STEADY, PARTITIONS).await?;
    let (operator, (), ()) =
        futures::try_join!(operator(&world), appears(&world, 1), world.wait_workers(&spark, 1, PATIENCE))?;
    let trigger = Duration::from_secs(1);
    let job = Job { max_offsets: BATCH, max_cores: CORES, trigger, ..world.job(&spark) };
    let driver = stream::submit(&Spark::locate(&Cache::of_user()?)?, &job).await?;
    let load = world.load(STEADY, PER_SECOND)?;
    apply(&world, &[&pipeline(&world, &spark, &job)?]).await?;

    let rounds = if is_proving() { ROUNDS.0 + ROUNDS.1 } else { ROUNDS.0 };
    let (machines, told) = (Machines::default(), 0);
    let mut story = Story { world: &world, spark: &spark, operator: &operator, job: &job, driver, machines, told };
    for round in 1..=rounds {
        story.round(round).await.with_context(|| format!("round {round}"))?;
    }
    load.stop().await?;
    story.ends(rounds).await
}
