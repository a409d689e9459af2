//! A pipeline whose operator speaks with the API server through a proxy, and with Kafka through another.

use crate::replicas::{demo, wait_leads, wait_partitions};
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::end_state;
use logwise_testbed::oracles::quiet::{Quiet, looks};
use logwise_testbed::proxy::kubernetes::{KubernetesProxy, Request};
use logwise_testbed::proxy::rules::{Action, RuleId};
use logwise_testbed::proxy::tcp::{CREATE_PARTITIONS, TcpProxy};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, condition, looks_at, raises, wait_condition, wait_desired};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The pipeline is called `demo`.
pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) proxy: KubernetesProxy,
    pub(crate) kafka: TcpProxy,
    pub(crate) operator: Operator,
}

impl Ground {
    /// One worker and one partition of `api` are there, and an operator that leads.
    pub(crate) async fn new(name: &str, config: impl AsyncFnOnce(&World) -> Result<Value>) -> Result<Ground> {
        let world = World::new(&Bed::attach()?, name).await?;
        futures::try_join!(world.create_topic("api", 1), world.create_group(1, 99, 1))?;
        let (proxy, kafka) = (world.kubernetes_proxy().await?, world.kafka_proxy().await?);
        let options = Options::config(config(&world).await?).behind(&proxy);
        let mut operator = Operator::start(&world, options).await?;
        operator.wait_ready().await?;
        wait_leads(&world, &operator).await?;
        Ok(Ground { world, proxy, kafka, operator })
    }

    /// [`Ground::new`] without leader election.
    pub(crate) async fn alone(name: &str) -> Result<Ground> {
        Ground::new(name, async |_| Ok(Value::Null)).await
    }

    /// The pipeline with so many workers at least and so many partitions per topic.
    pub(crate) fn demo(&self, workers: i32, partitions: usize) -> Result<Value> {
        through(&self.world, &self.kafka, workers, partitions)
    }

    /// Wants so many workers and partitions and waits until they are there.
    pub(crate) async fn reach(&self, workers: i32, partitions: usize) -> Result<()> {
        apply(&self.world, &[&self.demo(workers, partitions)?]).await?;
        self.reached(workers, partitions).await
    }

    /// Waits until so many workers and partitions are there.
    pub(crate) async fn reached(&self, workers: i32, partitions: usize) -> Result<()> {
        wait_desired(&self.world, workers.into()).await?;
        wait_partitions(&self.world, partitions).await
    }

    /// Waits until Kafka, bucket and summary are reported for the current generation.
    pub(crate) async fn settled(&self) -> Result<()> {
        for expected in [("KafkaReady", "True", "Available"), ("StorageReady", "True", "Available")] {
            wait_condition(&self.world, ("lwc", "demo"), expected).await?;
        }
        let current = async || {
            let object = self.world.get_json("lwc", "demo").await?;
            let (seen, now) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
            ensure!(seen == now, "generation {seen} of {now} is reported");
            // What it says of a new object changes once more when the first facts are there.
            let is_new = condition(&object, "RetentionAtRisk").is_some_and(|one| one["reason"] == "Pending");
            ensure!(!is_new, "unread records are still being looked at");
            Ok(())
        };
        self.world.wait_until("the summary", PATIENCE, current).await
    }

    /// Waits until the rule has met a request, and removes it.
    pub(crate) async fn hit(&self, rule: RuleId, fault: &Action) -> Result<()> {
        self.world
            .wait_until(&format!("{fault:?} to meet a request"), PATIENCE, async || {
                ensure!(self.proxy.hits(rule) > 0, "none came");
                Ok(())
            })
            .await?;
        self.proxy.remove(rule);
        Ok(())
    }

    /// Waits until so many requests since `from` are such.
    pub(crate) async fn wait_requests(
        &self,
        (what, number): (&str, usize),
        from: u64,
        such: impl Fn(&Request) -> bool,
    ) -> Result<()> {
        self.world
            .wait_until(&format!("{number} {what}"), PATIENCE, async || {
                let found = self.proxy.requests().iter().filter(|one| one.seq >= from && such(one)).count();
                ensure!(found >= number, "{found} came");
                Ok(())
            })
            .await
    }

    /// How often Kafka was asked for more partitions: each growth is first asked for without effect, then with it.
    pub(crate) fn growths(&self) -> u64 {
        self.kafka.requests().get(&CREATE_PARTITIONS).copied().unwrap_or_default().div_ceil(2)
    }

    /// Looks at Kafka so far.
    pub(crate) async fn kafka_looks(&self) -> Result<u64> {
        looks_at(&self.operator, "kafka").await
    }

    /// Waits until there were so many looks at Kafka.
    pub(crate) async fn wait_kafka_looks(&self, number: u64) -> Result<()> {
        self.world
            .wait_until(&format!("{number} looks at Kafka"), PATIENCE, async || {
                let now = self.kafka_looks().await?;
                ensure!(now >= number, "{now} so far");
                Ok(())
            })
            .await
    }

    /// [`looks_quietly`].
    pub(crate) async fn looks_quietly(&self, number: u64) -> Result<()> {
        looks_quietly((&self.world, &self.proxy, &self.kafka), &self.operator, number).await
    }

    /// Nothing is written for a while.
    pub(crate) async fn silent(&self, time: Duration) -> Result<()> {
        Quiet::begin(&self.world, Some(&self.kafka)).await?.lasts(time).await
    }

    /// Nothing is written any more, and the given numbers of effects are all there ever were.
    pub(crate) async fn at_rest(&self, raised: usize, grown: u64) -> Result<()> {
        self.at_rest_with(raised, grown..=grown).await
    }

    /// [`Ground::at_rest`], where topics may have been grown together or one by one.
    pub(crate) async fn at_rest_with(&self, raised: usize, grown: RangeInclusive<u64>) -> Result<()> {
        // The last words of a change may still be on their way, and on a busy machine a short Lease may be lost and taken
        // again: who writes all the time fails each time.
        let mut silence = self.looks_quietly(3).await;
        for _ in 0..2 {
            if silence.is_err() {
                silence = self.looks_quietly(3).await;
            }
        }
        silence?;
        let duplicates = Effects::of(&self.world).await?.duplicates();
        ensure!(duplicates.is_empty(), "{duplicates:?}");
        ensure!(raises(&self.world).await? == raised, "{} raises instead of {raised}", raises(&self.world).await?);
        ensure!(grown.contains(&self.growths()), "{} growths instead of {grown:?}", self.growths());
        ensure!(self.operator.alive(), "the operator has ended");
        Ok(())
    }
}

/// Nothing is written while every part looks so often. Workers of other tests come and go in the same master: what the
/// Spark part and the summary say of them does not count.
pub(crate) async fn looks_quietly(
    (world, proxy, kafka): (&World, &KubernetesProxy, &TcpProxy),
    operator: &Operator,
    number: u64,
) -> Result<()> {
    const PARTS: [&str; 3] = ["kafka", "spark", "storage"];
    let (quiet, from) = (Quiet::begin(world, Some(kafka)).await?, proxy.now());
    let began = looks(&operator.metrics().await?);
    let count = |looks: &BTreeMap<String, u64>, part: &str| looks.get(part).copied().unwrap_or_default();
    world
        .wait_until("more looks", PATIENCE, async || {
            let now = looks(&operator.metrics().await?);
            let done = PARTS.iter().all(|part| count(&now, part) >= count(&began, part) + number);
            ensure!(done, "{now:?} after {began:?}");
            Ok(())
        })
        .await?;
    let mut findings = quiet.broken().await?;
    findings.retain(|line| !line.contains("patch logwiseclusters/status demo"));
    let of_spark = |path: &str| path.contains("logwise.io%2Fspark") || path.contains("logwise.io%2Fsummary");
    let said = |one: &Request| {
        one.seq >= from && one.method == "PATCH" && one.path.contains("/status") && !of_spark(&one.path)
    };
    findings.extend(proxy.requests().into_iter().filter(said).map(|one| one.path));
    ensure!(findings.is_empty(), "it is not quiet: {findings:?}");
    Ok(())
}

/// The partitions of one of the world's topics.
pub(crate) async fn partitions_of(world: &World, topic: &str) -> Result<usize> {
    // Without the start of a Java program: it is asked again and again.
    let topics = end_state::topics(world).await?;
    topics.get(&world.topic(topic)).copied().with_context(|| format!("there is no topic {topic}"))
}

/// Pipeline `demo` with so many workers at least and so many partitions per topic, and Kafka behind its proxy.
pub(crate) fn through(world: &World, kafka: &TcpProxy, workers: i32, partitions: usize) -> Result<Value> {
    let mut object = demo(world, workers, partitions)?;
    object["spec"]["spark"]["workers"]["autoscaling"]["maxReplicas"] = json!(99);
    object["spec"]["kafka"]["bootstrapServers"] = json!([kafka.address]);
    Ok(object)
}
