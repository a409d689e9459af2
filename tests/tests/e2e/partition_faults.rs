//! What may go wrong with a growth: brokers die around the call, show old metadata, take a validation for an order or
//! slow their clients down; the operator ends after it. What the brokers hold is read past the proxies.

use crate::kafka_cluster::{self, refusal, set_floor};
use crate::partitions::{self, busy, wait_held};
use crate::replicas::{self, intent};
use anyhow::{Context, Result, ensure};
use logwise_api::Time;
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::end_state::topics;
use logwise_testbed::oracles::quiet::{kafka_writes, settles};
use logwise_testbed::proc;
use logwise_testbed::proxy::tcp::{CREATE_PARTITIONS, KafkaFault, LIST_OFFSETS, METADATA, TcpProxy};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, events, looks_at, more_looks, turn_to_prove, wait_condition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const DEMO: (&str, &str) = ("lwc", "demo");
const HEALTHY: (&str, &str, &str) = ("KafkaReady", "True", "Available");

/// The topic of a cluster of the test's own.
const TOPIC: &str = "logs.api";

/// Looks whose requests are counted.
const COUNTED: u64 = 8;

/// Records of decisions by which something grew.
const GROWN: &str = "SELECT COUNT(*) FROM logwise_decisions WHERE part = 'kafka' AND outcome LIKE '%\"Done\"%'";

/// Growths that this operator has counted.
async fn increases(world: &World, operator: &Operator) -> Result<u64> {
    let of = format!("logwise_kafka_partition_increases_total{{namespace=\"{}\",cluster=\"demo\"}} ", world.namespace);
    let metrics = operator.metrics().await?;
    let counted = metrics.lines().find_map(|line| line.strip_prefix(&of));
    Ok(counted.map(str::parse::<u64>).transpose()?.unwrap_or(0))
}

/// Waits until the last intent is closed, and is that of this growth alone.
async fn wait_closed(world: &World, topic: &str, to: u32) -> Result<()> {
    world
        .wait_until(&format!("the growth of {topic} to {to} to be closed"), PATIENCE, async || {
            let (_, record) = intent(world, "kafka/").await?;
            let grown = &record["wish"]["targets"]["topics"];
            let this = grown[0]["topic"] == topic && grown[0]["to"] == to && grown[1].is_null();
            ensure!(this && record["state"] == "Done", "{record}");
            Ok(())
        })
        .await
}

/// Waits until each of these growths of a topic was told and recorded, and errors if anything else was, or if one was
/// twice. The last is the only one that `operator` has counted.
async fn told_once(world: &World, operator: &Operator, topic: &str, steps: &[(u32, u32)]) -> Result<()> {
    world
        .wait_until(&format!("{steps:?} of {topic} to be told once"), PATIENCE, async || {
            let told = events(world, "demo", "PartitionsIncreased").await?;
            let once = |(from, to): &(u32, u32)| {
                let step = format!("{topic} {from} -> {to}");
                told.iter().filter(|note| note.starts_with(&step)).count() == 1
            };
            ensure!(told.len() == steps.len() && steps.iter().all(once), "{told:?}");
            let recorded = world.query(GROWN).await?;
            ensure!(recorded.trim() == steps.len().to_string(), "records: {recorded}");
            let counted = increases(world, operator).await?;
            ensure!(counted == 1, "counted: {counted}");
            Ok(())
        })
        .await
}

/// Between call and answer the broker is gone, so that nobody can be asked either what became of it.
#[tokio::test]
async fn a_growth_whose_only_broker_dies_before_it_answers_is_found_done_and_told_once() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "faults-one").await?;
    let brokers = Brokers::start(&bed, "dies", Setup::default()).await?;
    brokers.create_topic(TOPIC, 3, 1).await?;
    let proxy = TcpProxy::broker(&brokers.bootstrap()).await?;
    let operator = partitions::operator(&world, 1).await?;
    apply(&world, &[&kafka_cluster::pipeline(&world, "demo", &proxy.address)?]).await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    proxy.spoil(KafkaFault::GrowthUnanswered);
    set_floor(&world, 6).await?;
    kafka_cluster::wait_partitions(&world, &brokers, TOPIC, 6).await?;
    brokers.kill(1).await?;
    // Only the look that has asked for the growth can say so, and it is over then.
    let told = refusal(&world, "demo", PATIENCE).await?;
    let unknown = format!("It is not known whether topic {TOPIC} was grown");
    ensure!(told.contains(&unknown) || told.starts_with("BrokerUnreachable"), "{told}");
    let (_, open) = intent(&world, "kafka/").await?;
    ensure!(open["state"] == "Sent", "closed without a look at its effect: {open}");
    ensure!(increases(&world, &operator).await? == 0, "a growth without an answer was counted");
    ensure!(events(&world, "demo", "PartitionsIncreased").await?.is_empty(), "a growth without an answer was told");
    proxy.heal().await?;
    brokers.start_again(1).await?;
    wait_closed(&world, TOPIC, 6).await?;
    told_once(&world, &operator, TOPIC, &[(3, 6)]).await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    settles(&world, &operator, &["kafka"], 2, PATIENCE).await?;
    let (now, asked) = (brokers.partitions(TOPIC).await?, proxy.requests());
    ensure!(now == 6, "it has {now} partitions");
    ensure!(proxy.growths() == 1 && asked.get(&CREATE_PARTITIONS) == Some(&2), "asked again: {asked:?}");
    Ok(())
}

/// Three brokers, each behind a proxy, with one topic that all of them have, and its pipeline.
struct Three {
    world: World,
    brokers: Brokers,
    proxies: Vec<TcpProxy>,
}

impl Three {
    async fn start(name: &str) -> Result<Three> {
        let bed = Bed::attach()?;
        let world = World::new(&bed, name).await?;
        let brokers = Brokers::start(&bed, name, Setup { count: 3, ..Setup::default() }).await?;
        brokers.create_topic(TOPIC, 3, 3).await?;
        let proxies = TcpProxy::brokers(&brokers.bootstrap()).await?;
        let addresses: Vec<&str> = proxies.iter().map(|proxy| proxy.address.as_str()).collect();
        apply(&world, &[&kafka_cluster::pipeline(&world, "demo", &addresses.join(","))?]).await?;
        Ok(Three { world, brokers, proxies })
    }

    /// Growths that were asked for, of whichever broker.
    fn growths(&self) -> u64 {
        self.proxies.iter().map(TcpProxy::growths).sum()
    }

    /// Looks of the operator so far, Metadata requests to all brokers together, and ListOffsets requests to each.
    async fn asked(&self, operator: &Operator) -> Result<(u64, u64, Vec<u64>)> {
        let looked = looks_at(operator, "kafka").await?;
        let requests: Vec<BTreeMap<i16, u64>> = self.proxies.iter().map(TcpProxy::requests).collect();
        let of = |kind: i16| requests.iter().map(move |of| of.get(&kind).copied().unwrap_or_default());
        Ok((looked, of(METADATA).sum(), of(LIST_OFFSETS).collect()))
    }

    /// The broker dies when the operator is about to ask for the growth, and comes back.
    async fn dies_before(&self, operator: &Operator, broker: u32, to: u32) -> Result<()> {
        set_floor(&self.world, i32::try_from(to)?).await?;
        let stopped = async || {
            ensure!(proc::stands_still(operator.pid())?, "it moves");
            Ok(())
        };
        self.world.wait_until("the operator to stop at its point", PATIENCE, stopped).await?;
        self.brokers.kill(broker).await?;
        operator.resume().await?;
        self.comes_back(broker).await?;
        kafka_cluster::wait_partitions(&self.world, &self.brokers, TOPIC, to).await
    }

    /// The broker dies when the topic has grown and no answer has come, and comes back.
    async fn dies_unanswered(&self, broker: u32, to: u32) -> Result<()> {
        self.proxies.iter().for_each(|proxy| proxy.spoil(KafkaFault::GrowthUnanswered));
        set_floor(&self.world, i32::try_from(to)?).await?;
        kafka_cluster::wait_partitions(&self.world, &self.brokers, TOPIC, to).await?;
        self.brokers.kill(broker).await?;
        // The operator may have asked one that lives: its answer is lost with the connection.
        for proxy in &self.proxies {
            proxy.refuse().await?;
            proxy.heal().await?;
        }
        self.comes_back(broker).await
    }

    async fn comes_back(&self, broker: u32) -> Result<()> {
        self.brokers.start_again(broker).await?;
        self.brokers.wait_in_sync(TOPIC).await
    }
}

#[tokio::test]
async fn a_look_is_one_metadata_request_and_one_list_offsets_request_to_each_of_three_brokers() -> Result<()> {
    let three = Three::start("faults-looks").await?;
    let operator = partitions::operator(&three.world, 1).await?;
    wait_condition(&three.world, DEMO, HEALTHY).await?;
    let counted = async || {
        let before = three.asked(&operator).await?;
        more_looks(&three.world, &operator, "kafka", COUNTED).await?;
        let after = three.asked(&operator).await?;
        let looked = after.0 - before.0;
        // One look may be under way at either end.
        let near = |number: u64| number.abs_diff(looked) <= 1;
        let mut offsets = before.2.iter().zip(&after.2).map(|(before, after)| after - before);
        ensure!(near(after.1 - before.1) && offsets.all(near), "{looked} looks: {before:?}, {after:?}");
        Ok(())
    };
    // The first look is followed by a closer one, and the preflight asks for itself.
    three.world.wait_until("looks that only look", PATIENCE, counted).await
}

#[tokio::test]
async fn a_controller_that_dies_before_a_growth_is_answered_leaves_one_growth() -> Result<()> {
    let three = Three::start("faults-three").await?;
    let (world, started) = (&three.world, partitions::operator(&three.world, 1));
    let (operator, controller) = futures::try_join!(started, three.brokers.active_controller())?;
    wait_condition(world, DEMO, HEALTHY).await?;
    three.dies_unanswered(controller, 6).await?;
    wait_closed(world, TOPIC, 6).await?;
    told_once(world, &operator, TOPIC, &[(3, 6)]).await?;
    wait_condition(world, DEMO, HEALTHY).await?;
    settles(world, &operator, &["kafka"], 2, PATIENCE).await?;
    let now = three.brokers.partitions(TOPIC).await?;
    ensure!(now == 6 && three.growths() == 1, "{now} partitions after {} growths", three.growths());
    Ok(())
}

/// In `make prove` only: each death and return takes some ten seconds.
#[tokio::test]
async fn whichever_broker_dies_before_or_after_a_growth_there_is_one() -> Result<()> {
    let Some(_turn) = turn_to_prove().await else { return Ok(()) };
    let three = Three::start("faults-each").await?;
    let (world, mut now, mut steps) = (&three.world, 3, Vec::new());
    for broker in 1..=3 {
        for before in [true, false] {
            let point = before.then(|| ("LOGWISE_PAUSE_AT".to_owned(), "kafka:1:before".to_owned()));
            let options = Options { env: point.into_iter().collect(), ..Options::default() };
            let operator = partitions::operator_with(world, 1, options).await?;
            wait_condition(world, DEMO, HEALTHY).await?;
            let (asked, to) = (three.growths(), now + 1);
            if before {
                three.dies_before(&operator, broker, to).await?;
            } else {
                three.dies_unanswered(broker, to).await?;
            }
            steps.push((now, to));
            wait_closed(world, TOPIC, to).await?;
            told_once(world, &operator, TOPIC, &steps).await?;
            // A request to a broker that has just died may have got nowhere.
            let asked = three.growths() - asked;
            ensure!(asked == 1 || before && asked <= 2, "asked {asked} times for one growth, broker {broker}");
            let found = three.brokers.partitions(TOPIC).await?;
            ensure!(found == to, "{found} partitions instead of {to}");
            now = to;
        }
    }
    Ok(())
}

/// `demo` over the world's topics, through the proxy.
fn through(world: &World, proxy: &TcpProxy) -> Result<Value> {
    let mut object = partitions::pipeline(world, "demo", json!({}))?;
    object["spec"]["kafka"]["bootstrapServers"] = json!([proxy.address]);
    Ok(object)
}

/// A healthy pipeline over topic `api`, which has three partitions in the first answers that the proxy has seen.
async fn with_three_partitions(name: &str) -> Result<(World, TcpProxy, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.create_topic("api", 3).await?;
    let proxy = world.kafka_proxy().await?;
    let operator = partitions::operator(&world, 1).await?;
    apply(&world, &[&through(&world, &proxy)?]).await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    Ok((world, proxy, operator))
}

#[tokio::test]
async fn a_growth_that_the_brokers_do_not_show_is_neither_believed_nor_repeated() -> Result<()> {
    let (world, proxy, operator) = with_three_partitions("faults-unseen").await?;
    proxy.spoil(KafkaFault::OldMetadata);
    set_floor(&world, 6).await?;
    replicas::wait_partitions(&world, 6).await?;
    let told = refusal(&world, "demo", PATIENCE).await?;
    ensure!(told.contains("accepted 6 partitions and the brokers do not all show them"), "{told}");
    more_looks(&world, &operator, "kafka", 2).await?;
    refusal(&world, "demo", PATIENCE).await?;
    let (_, open) = intent(&world, "kafka/").await?;
    ensure!(open["state"] == "Sent", "closed before the brokers showed it: {open}");
    ensure!(increases(&world, &operator).await? == 0, "counted before the brokers showed it");
    ensure!(events(&world, "demo", "PartitionsIncreased").await?.is_empty(), "told before the brokers showed it");
    ensure!(proxy.growths() == 1, "asked {} times", proxy.growths());
    proxy.heal().await?;
    wait_closed(&world, &world.topic("api"), 6).await?;
    told_once(&world, &operator, &world.topic("api"), &[(3, 6)]).await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    settles(&world, &operator, &["kafka"], 2, PATIENCE).await?;
    ensure!(proxy.growths() == 1 && replicas::partitions(&world).await? == 6, "asked {} times", proxy.growths());
    Ok(())
}

#[tokio::test]
async fn a_view_from_before_a_growth_is_told_as_such_and_brings_no_other_growth() -> Result<()> {
    let (world, proxy, operator) = with_three_partitions("faults-old").await?;
    let topic = world.topic("api");
    set_floor(&world, 6).await?;
    wait_closed(&world, &topic, 6).await?;
    told_once(&world, &operator, &topic, &[(3, 6)]).await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    proxy.spoil(KafkaFault::OldMetadata);
    let told = refusal(&world, "demo", PATIENCE).await?;
    ensure!(told.contains("the controller counts 6 partitions or more, brokers do not yet"), "{told}");
    more_looks(&world, &operator, "kafka", 2).await?;
    ensure!(proxy.growths() == 1, "asked {} times", proxy.growths());
    proxy.heal().await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    wait_condition(&world, DEMO, ("Ready", "True", "Running")).await?;
    told_once(&world, &operator, &topic, &[(3, 6)]).await?;
    settles(&world, &operator, &["kafka"], 2, PATIENCE).await?;
    ensure!(proxy.growths() == 1 && replicas::partitions(&world).await? == 6, "asked {} times", proxy.growths());
    Ok(())
}

/// So nothing may be validated that is not about to be done.
#[tokio::test]
async fn a_broker_that_carries_validations_out_grows_once_what_was_to_grow_and_nothing_else() -> Result<()> {
    let world = World::new(&Bed::attach()?, "faults-trial").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_topic("keyed", 1), world.create_topic("wide", 4))?;
    world.produce("keyed", 10, true).await?;
    let proxy = world.kafka_proxy().await?;
    proxy.spoil(KafkaFault::ValidationCarriedOut);
    let operator = partitions::operator(&world, 1).await?;
    let mut object = through(&world, &proxy)?;
    object["spec"]["kafka"]["partitionScaling"]["mode"] = json!("Recommend");
    apply(&world, &[&object]).await?;
    for topic in ["api", "keyed"] {
        wait_held(&world, "demo", topic, "RecommendOnly").await?;
    }
    more_looks(&world, &operator, "kafka", 2).await?;
    ensure!(kafka_writes(&proxy) == 0, "validated what is only recommended: {:?}", proxy.requests());
    object["spec"]["kafka"]["partitionScaling"]["mode"] = json!("Automatic");
    apply(&world, &[&object]).await?;
    wait_held(&world, "demo", "keyed", "KeyedRecords").await?;
    wait_closed(&world, &world.topic("api"), 3).await?;
    told_once(&world, &operator, &world.topic("api"), &[(1, 3)]).await?;
    wait_condition(&world, DEMO, HEALTHY).await?;
    settles(&world, &operator, &["kafka"], 2, PATIENCE).await?;
    let wanted = [("api", 3), ("keyed", 1), ("wide", 4)].map(|(name, partitions)| (world.topic(name), partitions));
    let (found, asked) = (topics(&world).await?, proxy.requests());
    ensure!(found == BTreeMap::from(wanted), "{found:?}");
    ensure!(proxy.growths() == 1 && asked.get(&CREATE_PARTITIONS) == Some(&2), "{asked:?}");
    Ok(())
}

/// At once goes what the quota allows in eleven seconds (`controller.quota.window.num`), which is less than is wanted.
#[tokio::test]
async fn a_quota_that_is_felt_delays_fifty_topics_and_refuses_none() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "faults-quota").await?;
    let brokers = Brokers::start(&bed, "felt", Setup::default()).await?;
    let names: Vec<(String, i32)> = (0..50).map(|number| (format!("logs.t{number:02}"), 1)).collect();
    brokers.create_topics(&names, 1).await?;
    let proxy = TcpProxy::broker(&brokers.bootstrap()).await?;
    brokers.set_mutation_quota(10.0).await?;
    let operator = partitions::operator(&world, 1).await?;
    let mut object = kafka_cluster::pipeline(&world, "demo", &proxy.address)?;
    object["spec"]["kafka"]["topics"]["defaultPartitions"] = json!(4);
    apply(&world, &[&object]).await?;
    wait_condition(&world, DEMO, ("Ready", "True", "Running")).await?;
    for (topic, _) in &names {
        let now = brokers.partitions(topic).await?;
        ensure!(now == 4, "{topic} has {now}");
    }
    ensure!(proxy.throttled() >= Duration::from_secs(1), "the quota was not felt: {:?}", proxy.throttled());
    let (asked, counted) = (proxy.requests(), increases(&world, &operator).await?);
    ensure!(proxy.growths() == 1 && asked.get(&CREATE_PARTITIONS) == Some(&2), "asked again: {asked:?}");
    ensure!(counted == 50, "counted: {counted}");
    world
        .wait_until("one record and one event", PATIENCE, async || {
            let told = events(&world, "demo", "PartitionsIncreased").await?;
            let recorded = world.query(GROWN).await?;
            ensure!(told.len() == 1 && recorded.trim() == "1", "{recorded}; {told:?}");
            Ok(())
        })
        .await?;
    let refused = "type=\"KafkaReady\",status=\"False\",reason=\"RetryingAfterError\"";
    ensure!(!operator.metrics().await?.contains(refused), "something was refused");
    let log = operator.log()?;
    let troubles = log.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")).count();
    ensure!(troubles <= 5, "{troubles} warnings and errors");
    Ok(())
}

/// When the topic may grow again, once that is what holds it.
async fn may_grow_again(world: &World, topic: &str) -> Result<Time> {
    let held = wait_held(world, "demo", topic, "Cooldown").await?;
    let message = held["message"].as_str().unwrap_or_default();
    let time = message.split_once("may grow again from ").and_then(|(_, rest)| rest.strip_suffix(" on"));
    Ok(serde_json::from_value(json!(time.with_context(|| format!("no time in: {message}"))?))?)
}

/// Waits until the operator itself knows that there is more load than six partitions shall carry.
async fn wait_busy(world: &World, operator: &Operator, topic: &str) -> Result<()> {
    let (namespace, topic) = (&world.namespace, world.topic(topic));
    let labels = format!("namespace=\"{namespace}\",cluster=\"demo\",topic=\"{topic}\"");
    let of = format!("logwise_kafka_topic_records_per_second{{{labels}}} ");
    world
        .wait_until(&format!("the rate of {topic} to be known"), PATIENCE, async || {
            let metrics = operator.metrics().await?;
            let rate = metrics.lines().find_map(|line| line.strip_prefix(&of)).context("it is not")?;
            ensure!(rate.parse::<u64>()? > 60, "{rate} records/s");
            Ok(())
        })
        .await
}

/// The record of the second growth takes the place of that of the first.
#[tokio::test]
async fn a_killed_operator_knows_the_cooldown_of_every_topic_that_grew() -> Result<()> {
    let world = Arc::new(World::new(&Bed::attach()?, "faults-killed").await?);
    futures::try_join!(world.create_topic("first", 3), world.create_topic("second", 3))?;
    let mut operator = partitions::operator(&world, 1).await?;
    apply(&world, &[&partitions::pipeline(&world, "demo", json!({"cooldownSeconds": 600}))?]).await?;
    let _first = busy(&world, &[("first", false)]);
    let first = may_grow_again(&world, "first").await?;
    wait_closed(&world, &world.topic("first"), 6).await?;
    let _second = busy(&world, &[("second", false)]);
    let before = [first, may_grow_again(&world, "second").await?];
    wait_closed(&world, &world.topic("second"), 6).await?;
    operator.kill9().await?;
    let operator = partitions::operator(&world, 1).await?;
    for topic in ["first", "second"] {
        wait_busy(&world, &operator, topic).await?;
    }
    // What status shows now is this process's own.
    more_looks(&world, &operator, "kafka", 3).await?;
    let found = topics(&world).await?;
    ensure!(found.len() == 2 && found.values().all(|partitions| *partitions == 6), "{found:?}");
    for (topic, before) in ["first", "second"].into_iter().zip(before) {
        let now = may_grow_again(&world, topic).await?;
        let apart = now.0.duration_since(before.0).as_secs();
        ensure!(apart.abs() <= 2, "{topic} may grow again {apart} s later than before the restart");
    }
    let told = events(&world, "demo", "PartitionsIncreased").await?;
    ensure!(told.len() == 2 && increases(&world, &operator).await? == 0, "{told:?}");
    Ok(())
}

#[tokio::test]
async fn each_topic_has_series_of_its_own_only_if_that_is_wished() -> Result<()> {
    let world = World::new(&Bed::attach()?, "series").await?;
    let topic = world.create_topic("api", 3).await?;
    apply(&world, &[&partitions::pipeline(&world, "demo", json!({}))?]).await?;
    let of = format!("namespace=\"{}\",cluster=\"demo\"", world.namespace);
    for wished in [true, false] {
        let mut operator = Operator::start(&world, Options::config(json!({"metrics": {"perTopic": wished}}))).await?;
        operator.wait_ready().await?;
        more_looks(&world, &operator, "kafka", 1).await?;
        let metrics = operator.metrics().await?;
        ensure!(metrics.contains(&format!("logwise_kafka_partitions{{{of}}} 3\n")), "not counted: {metrics}");
        let series = format!("logwise_kafka_topic_partitions{{{of},topic=\"{topic}\"}} 3\n");
        ensure!(metrics.contains(&series) == wished, "{wished}: {metrics}");
        ensure!(metrics.contains(",topic=\"") == wished, "{wished}: {metrics}");
        ensure!(operator.stop().await? == 0, "did not end cleanly");
    }
    Ok(())
}
