//! Workers: as many as are wanted, and never one too few. Most of these tests have a fake Spark master over the strict
//! stand-in; one is real from the records to the executors.

mod bad_input;
mod ceilings;
mod changes;
mod cordon;
mod deployment;
mod following;
mod hooks;
mod launches;
mod ledger;
mod protection;
mod query;
mod scale_in;
mod scaling;
mod shared;
mod signals;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{FakeMaster, Setup, Source};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::{looks, settles};
use logwise_testbed::stand_in::{Call, Group, StandIn};
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, cluster, condition, wait_condition};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Looks at each pipeline for which nothing may be changed at the end.
const LOOKS: u64 = 3;

/// A world with an operator that looks every second. They end in the order of the fields.
struct Ground {
    operator: Operator,
    /// Where the pages of the workers are: see [`Pages`].
    port: u16,
    aws: StandIn,
    world: World,
}

impl Ground {
    async fn new(name: &str) -> Result<Ground> {
        Ground::looking(name, 1).await
    }

    /// The same with so many seconds from one look at Kafka to the next.
    async fn looking(name: &str, kafka_seconds: u32) -> Result<Ground> {
        let world = World::new(&Bed::attach()?, name).await?;
        let operator = operator_looking(&world, kafka_seconds).await?;
        let spare = TcpListener::bind(("127.0.0.1", 0)).await.context("finding a port")?;
        let port = spare.local_addr().context("finding a port")?.port();
        Ok(Ground { operator, port, aws: world.bed.stand_in(), world })
    }

    /// Makes a pipeline and applies it.
    async fn pipeline(&self, name: &str, wish: Wish) -> Result<Pipeline<'_>> {
        let pipeline = Pipeline::new(&self.world, (name, self.port), wish).await?;
        apply(&self.world, &[&pipeline.object]).await?;
        Ok(pipeline)
    }

    /// Waits until the operator has looked so many times more at Spark, whichever pipeline that was.
    async fn looked(&self, times: u64) -> Result<()> {
        looked(&self.world, &self.operator, times).await
    }

    /// It is quiet: nothing is written to Kubernetes, and no group or master of these is asked for a change.
    async fn at_rest(&self, pipelines: &[&Pipeline<'_>]) -> Result<()> {
        let before = asked(pipelines).await?;
        let number = LOOKS * u64::try_from(pipelines.len())?;
        settles(&self.world, &self.operator, &["spark"], number, PATIENCE).await?;
        let now = asked(pipelines).await?;
        ensure!(before == now, "changes were asked for at rest: {now:?} after {before:?}");
        Ok(())
    }

    /// How every test ends: every decision comes out once more, and the groups go.
    async fn ends(&self, pipelines: &[&Pipeline<'_>]) -> Result<()> {
        replayed(&self.world).await?;
        for pipeline in pipelines {
            self.aws.delete_group(&pipeline.group).await?;
        }
        Ok(())
    }
}

/// Starts an operator that looks every second and writes nothing of a preflight.
async fn operator(world: &World) -> Result<Operator> {
    operator_looking(world, 1).await
}

/// The same with so many seconds from one look at Kafka to the next.
async fn operator_looking(world: &World, kafka_seconds: u32) -> Result<Operator> {
    let intervals = json!({"sparkSeconds": 1, "kafkaSeconds": kafka_seconds, "s3Seconds": 2});
    let config = json!({"preflight": {"enabled": false}, "intervals": intervals});
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

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

/// How often each group and each master was asked for a change.
async fn asked(pipelines: &[&Pipeline<'_>]) -> Result<BTreeMap<String, (usize, usize)>> {
    let mut all = BTreeMap::new();
    for pipeline in pipelines {
        let of_master = pipeline.master.calls().into_iter().filter(|call| call.kind.is_mutating()).count();
        all.insert(pipeline.name.clone(), (pipeline.calls().await?.len(), of_master));
    }
    Ok(all)
}

/// What a pipeline is made of.
struct Wish {
    /// Bounds and desired capacity of its group.
    sizes: (i64, i64, i64),
    /// The zone of its instances.
    zone: &'static str,
    setup: Setup,
    /// Fields of the spec, over those that every pipeline has.
    spec: Value,
    /// Whether it keeps topics and bucket: the load is looked at then.
    follows_load: bool,
}

impl Wish {
    /// A group of these bounds and this size, with these fields of `spec.spark.workers`.
    fn new(sizes: (i64, i64, i64), workers: &Value) -> Wish {
        Wish { sizes, zone: "a", setup: Setup::default(), spec: of_workers(workers), follows_load: false }
    }
}

/// As a part of the spec.
fn of_workers(workers: &Value) -> Value {
    json!({"spark": {"workers": workers}})
}

/// So many workers, whatever the load.
fn replicas(number: i64) -> Value {
    json!({"replicas": number})
}

/// A LogwiseCluster with a group and a fake Spark master of its own.
struct Pipeline<'a> {
    name: String,
    group: String,
    object: Value,
    master: Arc<FakeMaster>,
    world: &'a World,
    _pages: Pages,
}

impl<'a> Pipeline<'a> {
    /// Makes group and master; nothing is applied yet.
    async fn new(world: &'a World, (name, port): (&str, u16), wish: Wish) -> Result<Pipeline<'a>> {
        let group = format!("{}-{name}", world.id);
        world.bed.stand_in().create_group_in(&group, wish.sizes, &[wish.zone]).await?;
        let master = FakeMaster::start(&world.bed, Source::Group(group.clone()), wish.setup).await?;
        let mut object = cluster(world, name);
        if !wish.follows_load {
            let spec = object["spec"].as_object_mut().context("a spec")?;
            spec.remove("kafka");
            spec.remove("storage");
        }
        let workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": group}, "uiPort": port});
        // None of the drivers here is the pipeline's own, so that nobody looks for their pages.
        object["spec"]["spark"] =
            json!({"masters": master.masters(), "driver": {"mode": "Disabled"}, "workers": workers});
        merge(&mut object["spec"], wish.spec);
        let master = Arc::new(master);
        let pages = Pages::open(&master, port);
        Ok(Pipeline { name: name.to_owned(), group, object, master, world, _pages: pages })
    }

    /// The object, as kubectl names it.
    fn names(&self) -> (&'static str, &str) {
        ("lwc", &self.name)
    }

    async fn shown(&self) -> Result<Value> {
        self.world.get_json("lwc", &self.name).await
    }

    async fn patch(&self, spec: &Value) -> Result<()> {
        patch(self.world, &self.name, spec).await
    }

    /// Calls of AWS that change the group, in order.
    async fn calls(&self) -> Result<Vec<Call>> {
        self.world.calls(&self.group, true).await
    }

    async fn group(&self) -> Result<Group> {
        self.world.group(&self.group).await
    }

    /// The ids of its instances, by their addresses.
    async fn instances(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.group().await?.instances.into_iter().map(|one| (one.private_ip, one.id)).collect())
    }

    /// Waits until its group wants so many instances, has them in service and no others, and the master has a living
    /// worker on each.
    async fn wait_size(&self, number: usize) -> Result<()> {
        let wanted = i64::try_from(number)?;
        self.world
            .wait_until(&format!("{number} workers of {}", self.name), PATIENCE, async || {
                let (group, page) = (self.group().await?, self.master.overview().await?);
                let alive = page.alive_hosts().len();
                let serve = group.instances.iter().filter(|one| one.lifecycle_state == "InService").count();
                let sizes = (group.desired, group.instances.len(), serve, alive);
                ensure!(
                    sizes == (wanted, number, number, number),
                    "desired, there, in service and alive are {sizes:?}"
                );
                Ok(())
            })
            .await
    }

    /// Waits until this generation is carried out.
    async fn settled(&self) -> Result<Value> {
        wait_condition(self.world, self.names(), ("Ready", "True", "Running")).await
    }

    /// Waits until a condition is so for this generation and says these words; returns its message.
    async fn says(&self, expected: (&str, &str, &str), words: &[&str]) -> Result<String> {
        says(self.world, &self.name, expected, words).await
    }

    /// Submits a driver of somebody that takes one core and no executors; returns its id. It lands as the master lets
    /// drivers land.
    async fn drive(&self) -> String {
        self.master.submit("com.example.Other", 0).await
    }
}

/// How often a condition of pipeline `demo` has turned into this. Errors unless it was told as often in events, once at
/// least. Of a good one the first is told to nobody, where nothing was wrong before.
async fn told(ground: &Ground, (kind, status, reason): (&str, &str, &str)) -> Result<i64> {
    let first = i64::from(["Fresh", "SafeMargin", "WithinRange"].contains(&reason));
    let begin = format!("{kind} is {status}: ");
    let look = async || {
        let events = ground.world.list("event", &format!("reason={reason}")).await?;
        let turned = turned(&ground.operator.metrics().await?, (kind, status, reason));
        let ours = events.iter().filter(|event| event["note"].as_str().is_some_and(|note| note.starts_with(&begin)));
        // What is told again in the same words is one event with a count.
        let told: i64 = ours.map(|event| event["series"]["count"].as_i64().unwrap_or(1)).sum();
        let is_right = told > 0 && (turned - first..=turned).contains(&told);
        ensure!(is_right, "{kind} turned {status} ({reason}) {turned} times and was told {told} times: {events:?}");
        Ok(turned)
    };
    ground.world.wait_until(&format!("the events of {kind} {reason}"), PATIENCE, look).await
}

/// How often a condition of pipeline `demo` has turned into this, by the operator's metrics.
fn turned(metrics: &str, (kind, status, reason): (&str, &str, &str)) -> i64 {
    let labels = format!("type=\"{kind}\",status=\"{status}\",reason=\"{reason}\"");
    let line = format!("logwise_operator_condition_transitions_total{{{labels}}} ");
    metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// How often a condition of pipeline `demo` has turned Unknown, for whatever reason.
fn became_unknown(metrics: &str, kind: &str) -> i64 {
    let labels = format!("logwise_operator_condition_transitions_total{{type=\"{kind}\",status=\"Unknown\",");
    let lines = metrics.lines().filter(|line| line.starts_with(&labels));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<i64>().ok()).sum()
}

async fn patch(world: &World, name: &str, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    world.kubectl(&["patch", "lwc", name, "--type", "merge", "-p", &patch]).await.map(drop)
}

async fn says(world: &World, name: &str, expected: (&str, &str, &str), words: &[&str]) -> Result<String> {
    let (kind, status, reason) = expected;
    world
        .wait_until(&format!("{name} to have {kind}={status} ({reason}) with {words:?}"), PATIENCE, async || {
            let object = world.get_json("lwc", name).await?;
            let found = condition(&object, kind).with_context(|| format!("no {kind} in {}", object["status"]))?;
            ensure!(found["status"] == status && found["reason"] == reason, "{found}");
            ensure!(found["observedGeneration"] == object["metadata"]["generation"], "not of this generation: {found}");
            let message = found["message"].as_str().unwrap_or_default();
            ensure!(words.iter().all(|word| message.contains(word)), "{message}");
            Ok(message.to_owned())
        })
        .await
}

/// Objects are merged key by key; anything else replaces.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

/// On the addresses of a fake master's machines somebody answers that there is nothing. Where nobody listens a look at
/// what runs there asks three times, which takes its time.
struct Pages(JoinHandle<()>);

impl Pages {
    fn open(master: &Arc<FakeMaster>, port: u16) -> Pages {
        Pages(tokio::spawn(open_pages(Arc::clone(master), port)))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn open_pages(master: Arc<FakeMaster>, port: u16) {
    let (mut open, mut known) = (JoinSet::new(), BTreeSet::new());
    loop {
        for host in master.machines().into_values() {
            // Another pipeline may have had the address before, and listens there still.
            if known.insert(host.clone())
                && let Ok(listener) = TcpListener::bind((host.as_str(), port)).await
            {
                open.spawn(say_nothing(listener));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn say_nothing(listener: TcpListener) {
    const NOTHING: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut asked = [0; 4096];
        if stream.read(&mut asked).await.is_ok() {
            // Who asked may be gone.
            drop(stream.write_all(NOTHING).await);
        }
    }
}
