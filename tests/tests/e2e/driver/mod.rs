//! The driver of the streaming query: there exactly once, whatever happens. On a real Spark master where it matters
//! what that does by itself, and elsewhere on the fake one.

mod bad_input;
mod change;
mod crash;
mod lost;
mod paused;
mod respecified;
mod secrets;
mod several;
mod stall;
mod submit;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{FakeMaster, Kind, Setup, Source};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::{Quiet, looks};
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, condition};
use serde_json::{Value, json};

/// The object of most of these tests.
const DEMO: (&str, &str) = ("lwc", "demo");

/// The class of the driver at a fake master.
const CLASS: &str = "com.example.Stream";

/// Looks at Spark for which nothing may happen at the end.
const LOOKS: u64 = 3;

/// The addresses of the workers of a fake master.
const HOSTS: [&str; 3] = ["127.0.0.4", "127.0.0.5", "127.0.0.6"];

/// A driver for a fake master, with these fields over its own.
fn driver(fields: &Value) -> Value {
    let mut driver = json!({
        "mainClass": CLASS,
        "appResource": "s3a://acme-jars/stream.jar",
        "memory": "512m",
        "sparkProperties": {"spark.cores.max": "1", "spark.executor.memory": "512m"},
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        driver[name] = value.clone();
    }
    driver
}

/// A pipeline of nothing but these masters and this driver.
fn pipeline(name: &str, masters: &Value, driver: &Value) -> Value {
    json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "LogwiseCluster",
        "metadata": {"name": name},
        "spec": {"spark": {"masters": masters, "driver": driver}},
    })
}

/// A fake master with a worker on each of [`HOSTS`].
async fn master(bed: &Bed, setup: Setup) -> Result<FakeMaster> {
    let master = FakeMaster::start(bed, Source::Named, setup).await?;
    master.set_hosts(&HOSTS);
    Ok(master)
}

/// An operator that looks at Spark every second and writes nothing of a preflight.
async fn operator(world: &World) -> Result<Operator> {
    operator_with(world, Options::default()).await
}

async fn operator_with(world: &World, options: Options) -> Result<Operator> {
    let config = json!({"preflight": {"enabled": false}, "intervals": {"sparkSeconds": 1}});
    let mut operator = Operator::start(world, Options { config, ..options }).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

async fn patch(world: &World, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    world.kubectl(&["patch", DEMO.0, DEMO.1, "--type", "merge", "-p", &patch]).await.map(drop)
}

/// Waits until the driver of this pipeline runs, and is none of those before; returns its id.
async fn runs(world: &World, name: &str, before: &[&str]) -> Result<String> {
    world
        .wait_until(&format!("a driver of {name} to run that is none of {before:?}"), PATIENCE, async || {
            let object = world.get_json("lwc", name).await?;
            let ready = condition(&object, "SparkReady").context("no SparkReady")?;
            ensure!(ready["status"] == "True" && ready["reason"] == "DriverRunning", "{ready}");
            let driver = &object["status"]["spark"]["driver"];
            let id = driver["submissionID"].as_str().context("no id")?;
            ensure!(driver["state"] == "RUNNING" && !before.contains(&id), "{driver}");
            Ok(id.to_owned())
        })
        .await
}

/// Waits until `SparkReady` is False for this reason with these words in its message; returns the message.
async fn says(world: &World, name: &str, reason: &str, words: &[&str]) -> Result<String> {
    world
        .wait_until(&format!("{name} to say {reason} with {words:?}"), PATIENCE, async || {
            let object = world.get_json("lwc", name).await?;
            let ready = condition(&object, "SparkReady").context("no SparkReady")?;
            ensure!(ready["status"] == "False" && ready["reason"] == reason, "{ready}");
            ensure!(ready["observedGeneration"] == object["metadata"]["generation"], "not of this generation: {ready}");
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(words.iter().all(|word| message.contains(word)), "{message}");
            Ok(message.to_owned())
        })
        .await
}

/// Waits until the operator has looked so many times more at Spark.
async fn looked(world: &World, operator: &Operator, times: u64) -> Result<()> {
    let count =
        async || -> Result<u64> { Ok(looks(&operator.metrics().await?).get("spark").copied().unwrap_or_default()) };
    let before = count().await?;
    world
        .wait_until(&format!("{times} more looks at Spark"), PATIENCE, async || {
            let now = count().await?;
            ensure!(now >= before + times, "{now} after {before}");
            Ok(())
        })
        .await
}

/// Waits until nothing is written to anything any more, this fake master included, for some looks.
async fn quiet(world: &World, operator: &Operator, master: &FakeMaster) -> Result<()> {
    let is_quiet = async || {
        let quiet = Quiet::begin(world, None).await?.with_master(master);
        quiet.for_looks(operator, &["spark"], LOOKS, PATIENCE).await
    };
    world.wait_until("silence", PATIENCE, is_quiet).await
}

/// Submissions that a master has taken from outside the test.
fn submitted(master: &FakeMaster) -> usize {
    master.submissions().len()
}

/// Ids of the drivers for whose end a master was asked by others than the test, in that order.
fn killed(master: &FakeMaster) -> Vec<String> {
    let taken = master.calls_of(Kind::Kill).into_iter().filter(|call| call.effect);
    taken.map(|call| call.about).collect()
}

/// Errors when a master was asked for anything that changes something.
fn untouched(master: &FakeMaster) -> Result<()> {
    let calls: Vec<String> =
        master.calls().into_iter().filter(|call| call.kind.is_mutating()).map(|call| call.line).collect();
    ensure!(calls.is_empty(), "the master was asked for changes: {calls:?}");
    Ok(())
}

/// A world with a fake master and an operator. They end in the order of the fields.
struct Ground {
    operator: Operator,
    master: FakeMaster,
    world: World,
}

impl Ground {
    async fn new(name: &str) -> Result<Ground> {
        Ground::with(name, Setup::default()).await
    }

    async fn with(name: &str, setup: Setup) -> Result<Ground> {
        let world = World::new(&Bed::attach()?, name).await?;
        let master = master(&world.bed, setup).await?;
        let operator = operator(&world).await?;
        Ok(Ground { operator, master, world })
    }

    /// Applies pipeline `demo` with this driver.
    async fn apply(&self, driver: &Value) -> Result<()> {
        apply(&self.world, &[&pipeline("demo", &self.master.masters(), driver)]).await
    }

    /// [`runs`] of pipeline `demo`.
    async fn runs(&self, before: &[&str]) -> Result<String> {
        runs(&self.world, "demo", before).await
    }

    /// `status.spark.driver` of pipeline `demo`.
    async fn shown(&self) -> Result<Value> {
        Ok(self.world.get_json(DEMO.0, DEMO.1).await?["status"]["spark"]["driver"].clone())
    }

    /// It becomes quiet, and so many drivers were submitted and killed until then; every decision comes out once more.
    async fn ends_with(&self, submissions: usize, kills: usize) -> Result<()> {
        quiet(&self.world, &self.operator, &self.master).await?;
        let (submitted, killed) = (submitted(&self.master), killed(&self.master));
        ensure!(submitted == submissions, "{submitted} drivers were submitted: {:?}", self.master.events());
        ensure!(killed.len() == kills, "killed were {killed:?}");
        replayed(&self.world).await
    }
}
