//! A namespace with many objects that all change does not hold up another namespace.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use kube::api::{Api, ListParams, PatchParams, PostParams};
use logwise_api::LogwiseCluster;
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::edits::{Edits, client, idle_edit, percentile};
use logwise_tests::{PATIENCE, cluster, is_proving, looks_at, turn_to_prove};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// Objects of the crowd in the short form.
const CROWD: usize = 80;

/// How many of the crowd may be looked at while one object of another namespace waits for its look: it has places of its
/// own, of which a look takes two answers of Kafka, and the crowd has eight, whose looks take one.
const MEANWHILE: usize = CROWD / 2;

/// How long each answer of Kafka takes in the short form. What is asserted is a count.
const SLOW: Duration = Duration::from_secs(1);

/// Objects of the crowd in `make prove`.
const GREAT_CROWD: usize = 1_000;

/// Edits of the crowd per second in `make prove`: each of its objects changes every 100 s.
const CROWD_EDITS: f64 = 10.0;

/// Rounds of measuring, and edits of each side per round.
const ROUNDS: (usize, usize) = (7, 200);

/// What the crowd may add to the 99th percentile.
const MOST: f64 = 1.2;

/// Writes at the API server at once.
const AT_ONCE: usize = 16;

/// A pipeline over the topics that begin with its name.
fn pipeline(world: &World, name: &str, bootstrap: &str) -> Result<LogwiseCluster> {
    let mut object = cluster(world, name);
    object["spec"]["kafka"]["topics"]["namePrefix"] = json!(world.topic(name));
    object["spec"]["kafka"]["bootstrapServers"] = json!([bootstrap]);
    object["spec"].as_object_mut().context("a spec")?.remove("storage");
    Ok(serde_json::from_value(object)?)
}

/// Pipelines of one namespace.
struct Crowd {
    api: Api<LogwiseCluster>,
    names: Vec<String>,
}

impl Crowd {
    async fn new(client: &Client, world: &World, number: usize, bootstrap: &str) -> Result<Crowd> {
        let api: Api<LogwiseCluster> = Api::namespaced(client.clone(), &world.namespace);
        let names: Vec<String> = (0..number).map(|place| format!("p{place:04}")).collect();
        let create = |name: &String| {
            let (api, object) = (api.clone(), pipeline(world, name, bootstrap));
            async move { api.create(&PostParams::default(), &object?).await.map(drop).map_err(anyhow::Error::from) }
        };
        stream::iter(&names).map(create).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await?;
        Ok(Crowd { api, names })
    }

    /// Edits every object once.
    async fn edit(&self, turn: usize) -> Result<()> {
        let edit = |name: &String| {
            let (api, name) = (self.api.clone(), name.clone());
            async move { api.patch(&name, &PatchParams::default(), &idle_edit(turn)).await.map(drop) }
        };
        stream::iter(&self.names).map(edit).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await?;
        Ok(())
    }

    /// How many objects have a look at Kafka behind them for their current generation.
    async fn looked_at(&self) -> Result<usize> {
        let objects = self.api.list(&ListParams::default()).await?;
        Ok(objects.iter().filter(|object| is_looked_at(object)).count())
    }

    async fn wait_looked_at(&self, world: &World, within: Duration) -> Result<()> {
        let look = async || {
            let (number, all) = (self.looked_at().await?, self.names.len());
            ensure!(number == all, "{number} of {all}");
            Ok(())
        };
        world.wait_until("a look at everybody", within, look).await
    }

    /// Edits one object after the other at a steady pace; never ends by itself.
    async fn roll(&self) -> Result<()> {
        let mut clock = tokio::time::interval(Duration::from_secs_f64(1.0 / CROWD_EDITS));
        for turn in 1.. {
            for name in &self.names {
                clock.tick().await;
                self.api.patch(name, &PatchParams::default(), &idle_edit(turn)).await?;
            }
        }
        Ok(())
    }
}

fn is_looked_at(object: &LogwiseCluster) -> bool {
    let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
    let generation = object.metadata.generation;
    generation.is_some() && conditions.any(|c| c.type_ == "KafkaReady" && c.observed_generation == generation)
}

/// How many of a crowd that waits are looked at until one more object is, which changed last; in the namespace of the
/// crowd or in one of its own.
async fn overtaken(name: &str, apart: bool) -> Result<usize> {
    let bed = Bed::attach()?;
    let (world, other) = (World::new(&bed, name).await?, World::new(&bed, name).await?);
    install::kubeconfig(&bed).await?;
    let (client, proxy) = (client(&bed).await?, world.kafka_proxy().await?);
    let own = if apart { &other } else { &world };
    world.create_topic("crowd", 1).await?;
    own.create_topic("single", 3).await?;
    let crowd = Crowd::new(&client, &world, CROWD, &proxy.address).await?;
    let single: Api<LogwiseCluster> = Api::namespaced(client.clone(), &own.namespace);
    single.create(&PostParams::default(), &pipeline(own, "single", &proxy.address)?).await?;
    let config = json!({"namespaces": [world.namespace, other.namespace], "intervals": {"kafkaSeconds": 300}});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    let is_seen = async || {
        let object = single.get("single").await?;
        ensure!(is_looked_at(&object), "no look at {}", json!(object.status));
        Ok(())
    };
    world.wait_until("a look at the single one", PATIENCE, is_seen).await?;
    // The single one counts as well where it stands among the others.
    let all = CROWD + usize::from(!apart);
    let wait = async || {
        let number = crowd.looked_at().await?;
        ensure!(number == all, "{number} of {all}");
        Ok(())
    };
    world.wait_until("a look at everybody", PATIENCE, wait).await?;
    proxy.delay(Duration::ZERO, SLOW);
    crowd.edit(1).await?;
    single.patch("single", &PatchParams::default(), &idle_edit(1)).await?;
    let before = crowd.looked_at().await?;
    world.wait_until("a look at the single one", PATIENCE, is_seen).await?;
    Ok(crowd.looked_at().await?.saturating_sub(before))
}

#[tokio::test]
async fn an_object_does_not_wait_for_the_crowd_of_another_namespace() -> Result<()> {
    let number = overtaken("fair-apart", true).await?;
    ensure!(number <= MEANWHILE, "{number} of {CROWD} objects of the other namespace were looked at before");
    if is_proving() {
        // What the count is when there are no turns: in one namespace who comes last is last.
        let number = overtaken("fair-among", false).await?;
        ensure!(number > MEANWHILE, "only {number} of {CROWD}: the test could not have failed");
    }
    Ok(())
}

/// A few pipelines in a namespace of their own, whose edits are timed.
struct Few {
    edits: Edits,
    turn: usize,
}

const FEW: [&str; 3] = ["one", "two", "three"];

impl Few {
    async fn new(client: &Client, world: &World) -> Result<Few> {
        let api: Api<LogwiseCluster> = Api::namespaced(client.clone(), &world.namespace);
        for name in FEW {
            world.create_topic(name, 3).await?;
            api.create(&PostParams::default(), &pipeline(world, name, &world.bed.kafka.bootstrap)?).await?;
        }
        Ok(Few { edits: Edits::begin(client, &world.namespace).await?, turn: 0 })
    }

    async fn edit(&mut self) -> Result<Duration> {
        self.turn += 1;
        self.edits.edit(FEW[self.turn % FEW.len()]).await
    }
}

/// Times of edits that were made by turns, beside the crowd (served by its operator) and apart from it (by another).
#[derive(Default)]
struct Times {
    beside: Vec<Duration>,
    apart: Vec<Duration>,
}

impl Times {
    async fn of(number: usize, beside: &mut Few, apart: &mut Few) -> Result<Times> {
        let mut times = Times::default();
        for _ in 0..number {
            times.beside.push(beside.edit().await?);
            times.apart.push(apart.edit().await?);
        }
        Ok(times)
    }

    /// By how much the 99th percentile beside the crowd exceeds that apart from it.
    fn ratio(&self) -> Result<f64> {
        Ok(percentile(&self.beside, 99)?.as_secs_f64() / percentile(&self.apart, 99)?.as_secs_f64())
    }

    fn join(rounds: &[Times]) -> Times {
        let all = |side: fn(&Times) -> &Vec<Duration>| rounds.iter().flat_map(side).copied().collect();
        Times { beside: all(|times| &times.beside), apart: all(|times| &times.apart) }
    }

    fn text(&self) -> Result<Value> {
        let both = |times: &[Duration]| -> Result<Value> {
            Ok(json!({"p50 ms": percentile(times, 50)?.as_millis(), "p99 ms": percentile(times, 99)?.as_millis()}))
        };
        Ok(json!({"edits": self.beside.len(), "beside": both(&self.beside)?, "apart": both(&self.apart)?}))
    }
}

/// In `make prove` only. Two operators on one machine: both feel that the machine is busy, one also has the crowd. What
/// the one is slower than the other is what its namespaces do to each other.
#[tokio::test]
async fn a_thousand_busy_objects_do_not_slow_another_namespace() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let bed = Bed::attach()?;
    let (world, beside_world) = (World::new(&bed, "fair-crowd").await?, World::new(&bed, "fair-beside").await?);
    let apart_world = World::new(&bed, "fair-other").await?;
    install::kubeconfig(&bed).await?;
    let client = client(&bed).await?;
    let (mut beside, mut apart) = (Few::new(&client, &beside_world).await?, Few::new(&client, &apart_world).await?);
    let intervals = json!({"kafkaSeconds": 60});
    let config = json!({"namespaces": [beside_world.namespace, world.namespace], "intervals": intervals});
    let mut operator = Operator::start(&beside_world, Options::config(config)).await?;
    let config = json!({"intervals": intervals});
    let mut other = Operator::start(&apart_world, Options::config(config)).await?;
    futures::try_join!(operator.wait_ready(), other.wait_ready())?;
    let alone = Times::of(ROUNDS.1, &mut beside, &mut apart).await?;
    world.create_topic("p", 1).await?;
    let crowd = Crowd::new(&client, &world, GREAT_CROWD, &bed.kafka.bootstrap).await?;
    crowd.wait_looked_at(&world, Duration::from_secs(300)).await?;
    let (began, before, mut rounds) = (Instant::now(), looks_at(&operator, "kafka").await?, Vec::new());
    let measuring = async {
        for _ in 0..ROUNDS.0 {
            let times = Times::of(ROUNDS.1, &mut beside, &mut apart).await?;
            // A machine that is busy otherwise may take so long that the end is never seen.
            writeln!(std::io::stdout(), "fairness, one round: {}", times.text()?)?;
            rounds.push(times);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        measured = measuring => measured?,
        rolled = crowd.roll() => rolled.context("the crowd stands still")?,
    }
    let rate = (looks_at(&operator, "kafka").await? - before) as f64 / began.elapsed().as_secs_f64();
    let mut ratios = rounds.iter().map(Times::ratio).collect::<Result<Vec<f64>>>()?;
    ratios.sort_by(f64::total_cmp);
    let crowded = Times::join(&rounds);
    let whole = crowded.ratio()?;
    let report = json!({"alone": alone.text()?, "with the crowd": crowded.text()?, "looks per second": rate.round(),
        "p99 beside / apart": whole, "by round": ratios, "debug build": cfg!(debug_assertions) && std::env::var_os("LOGWISE_OPERATOR_BIN").is_none()});
    writeln!(std::io::stdout(), "fairness: {report}")?;
    ensure!(rate >= CROWD_EDITS * 0.9, "only {rate:.1} looks per second: the crowd was not served");
    // Of all edits: of 200, the 99th percentile is the third slowest, which one pause of the machine moves.
    ensure!(whole <= MOST, "the 99th percentile beside {GREAT_CROWD} busy objects is {whole:.2} times that apart");
    Ok(())
}
