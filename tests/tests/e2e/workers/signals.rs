//! What is not known never makes fewer workers, and more only where the spec asks for them in any case.

use super::ledger::{Change, ended, raised};
use super::query::{NOTHING, PARTITIONS, TOPIC, autoscaling, commit, ends, key, unread};
use super::{Ground, Pipeline, Wish, merge, of_workers, operator, told, turned};
use anyhow::{Context, Result, ensure};
use logwise_testbed::fake_master::Mood;
use logwise_testbed::install;
use logwise_testbed::kafka::client_config;
use logwise_testbed::proxy::tcp::KafkaFault;
use logwise_testbed::stand_in::{Fault, NewObject};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, condition};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::Duration;

/// Every signal, as `SignalsFresh` names it.
const SIGNALS: [&str; 6] = [
    "end offsets",
    "position of the query",
    "Spark master",
    "incoming rate",
    "age of unread records",
    "plausible numbers",
];

/// `SignalsFresh` where nothing is missing.
const FRESH: (&str, &str, &str) = ("SignalsFresh", "True", "Fresh");

/// Looks during which nobody may go.
const LOOKS: u64 = 5;

/// A pipeline with three workers, of which the load needs one, and the greatest number of them that it names: each
/// other one makes the operator look at once.
struct Trial<'a> {
    pipeline: Pipeline<'a>,
    most: u32,
}

impl Trial<'_> {
    /// A look with the signals as they are now: it misses what these words name, and nobody goes.
    async fn misses(&mut self, words: &[&str]) -> Result<()> {
        self.most = if self.most == 5 { 6 } else { 5 };
        self.pipeline.patch(&of_workers(&json!({"autoscaling": {"maxReplicas": self.most}}))).await?;
        self.unfresh(words).await?;
        let (changes, group) = futures::try_join!(self.pipeline.changes(), self.pipeline.group())?;
        ensure!(ended(&changes).is_empty(), "without {words:?}: {changes:?}");
        ensure!(group.desired >= 3 && group.instances.len() >= 3, "without {words:?}: {group:?}");
        Ok(())
    }

    /// Waits until this signal is no longer named among those that are missed, of which there are others.
    async fn has_again(&self, signal: &str) -> Result<()> {
        let look = async || {
            let object = self.pipeline.shown().await?;
            let found = condition(&object, "SignalsFresh").context("no SignalsFresh")?;
            let told = found["message"].as_str().unwrap_or_default();
            ensure!(found["status"] == "False" && !told.contains(signal), "{found}");
            Ok(())
        };
        self.pipeline.world.wait_until(&format!("SignalsFresh to miss no {signal}"), PATIENCE, look).await
    }

    /// Waits until `SignalsFresh` is False for this generation and names these. A signal may be old before it is known
    /// to be gone.
    async fn unfresh(&self, words: &[&str]) -> Result<()> {
        let look = async || {
            let object = self.pipeline.shown().await?;
            let found = condition(&object, "SignalsFresh").with_context(|| format!("none in {}", object["status"]))?;
            let told = found["message"].as_str().unwrap_or_default();
            ensure!(found["status"] == "False" && words.iter().all(|word| told.contains(word)), "{found}");
            ensure!(["SignalMissing", "SignalStale"].iter().any(|reason| found["reason"] == *reason), "{found}");
            ensure!(found["observedGeneration"] == object["metadata"]["generation"], "not of this generation: {found}");
            Ok(())
        };
        self.pipeline.world.wait_until(&format!("SignalsFresh to miss {words:?}"), PATIENCE, look).await
    }

    /// Waits until exactly these signals are missed. Where the machine is slow, others are old now and then.
    async fn misses_only(&self, signals: &[&str]) -> Result<()> {
        let look = async || misses_only(&self.pipeline.shown().await?, signals);
        self.pipeline.world.wait_until(&format!("SignalsFresh to miss exactly {signals:?}"), PATIENCE, look).await
    }

    /// Waits until the status counts no cores at the master.
    async fn has_no_cores(&self) -> Result<()> {
        let look = async || {
            let object = self.pipeline.shown().await?;
            ensure!(object["status"]["spark"]["cores"] == 0, "{object}");
            Ok(())
        };
        self.pipeline.world.wait_until("the status to count no cores", PATIENCE, look).await
    }

    /// Nobody was asked to go, and all three are there.
    async fn keeps_all(&self) -> Result<()> {
        let (changes, group) = futures::try_join!(self.pipeline.changes(), self.pipeline.group())?;
        ensure!(changes == [Change::Newcomers, Change::Protect(3)], "{changes:?}");
        ensure!(group.desired == 3 && group.instances.len() == 3, "{group:?}");
        Ok(())
    }
}

/// Errors unless exactly these signals are missed.
fn misses_only(object: &Value, signals: &[&str]) -> Result<()> {
    let found = condition(object, "SignalsFresh").context("no SignalsFresh")?;
    let told = found["message"].as_str().unwrap_or_default();
    let is_right = SIGNALS.iter().all(|signal| told.contains(signal) == signals.contains(signal));
    ensure!(found["status"] == "False" && found["reason"] == "SignalMissing" && is_right, "{found}");
    Ok(())
}

#[tokio::test]
async fn whichever_signal_is_missing_no_worker_goes_until_all_are_there() -> Result<()> {
    // At rest nothing may be old for a moment: facts of Kafka count for two looks.
    let ground = Ground::looking("signals", 3).await?;
    let world = &ground.world;
    let kafka = world.kafka_proxy().await?;
    unread(world, 0).await?;
    let denied = Fault::error(&world.bucket, "^GetObject$", 403, "AccessDenied").times(0);
    world.fault(&denied).await?;
    let mut wish = Wish::new((1, 6, 3), &autoscaling((1, 5), json!({})));
    wish.follows_load = true;
    merge(&mut wish.spec, json!({"kafka": {"bootstrapServers": [kafka.address]}}));
    let mut trial = Trial { pipeline: ground.pipeline("demo", wish).await?, most: 5 };

    // One is taken away before the other is given back: at no moment are all of them there.
    trial.misses(&["position of the query", "s3:GetObject"]).await?;
    let half = NewObject::text(&key("commits", 1), "v1\n{\"nextBatch");
    world.put_objects(&[half]).await?;
    world.clear_faults(&world.bucket).await?;
    trial.misses(&["position of the query", "commits/1 was not written to its end"]).await?;

    let master = trial.pipeline.master.clone();
    master.set_mood(Mood::Html);
    trial.misses(&["position of the query", "Spark master", "HTML instead of JSON"]).await?;
    // A later batch is all that counts.
    commit(world, 2, &NOTHING).await?;
    trial.has_again("position").await?;
    trial.misses(&["Spark master"]).await?;
    trial.pipeline.says(("SparkReady", "False", "MasterUnreachable"), &["HTML instead of JSON"]).await?;
    for (mood, words) in [(Mood::Standby, "is STANDBY"), (Mood::Recovering, "is RECOVERING")] {
        master.set_mood(mood);
        trial.misses(&["Spark master", words]).await?;
    }
    master.set_mood(Mood::Cut);
    trial.misses(&["Spark master", "cannot be reached"]).await?;
    master.set_mood(Mood::Hang);
    trial.misses(&["Spark master", "did not answer"]).await?;
    master.tell("{\"status\": \"ALIVE\", \"workers\": [{\"cores\": NaN}]}");
    master.set_mood(Mood::Alive);
    trial.misses(&["Spark master", "another shape"]).await?;

    kafka.refuse().await?;
    trial.misses(&["Spark master", "end offsets"]).await?;
    // A number that cannot be does not keep the rest from being told.
    let odd = json!({"id": "", "host": "127.0.0.99", "state": "ALIVE", "cores": -1, "coresused": -1});
    let page = json!({"url": "spark://m:7077", "status": "ALIVE", "workers": [odd], "activeapps": [],
        "activedrivers": []});
    master.tell(&page.to_string());
    trial.pipeline.says(("SparkReady", "False", "WorkersNotReady"), &["0 of 1 wanted workers"]).await?;
    trial.misses(&["end offsets"]).await?;
    trial.has_no_cores().await?;
    master.heal();
    trial.has_again("Spark master").await?;
    trial.misses(&["end offsets"]).await?;
    // What the spec asks for in any case needs no signal.
    trial.pipeline.patch(&of_workers(&json!({"autoscaling": {"minReplicas": 4}}))).await?;
    trial.pipeline.wait_size(4).await?;
    trial.pipeline.patch(&of_workers(&json!({"autoscaling": {"minReplicas": 1}}))).await?;
    trial.misses(&["end offsets"]).await?;

    kafka.heal().await?;
    trial.pipeline.wait_size(1).await?;
    trial.pipeline.says(("SignalsFresh", "True", "Fresh"), &[]).await?;
    let changes = trial.pipeline.adds_up(3).await?;
    let begin = [Change::Newcomers, Change::Protect(3), Change::Raise(4)];
    ensure!(changes[..3] == begin && ended(&changes).len() == 3 && changes.len() == 6, "{changes:?}");
    ground.at_rest(&[&trial.pipeline]).await?;
    ground.ends(&[&trial.pipeline]).await
}

/// Records of which the query seems to have read fewer with each batch, and the time between two of these: it can go
/// back for longer than this test may wait, and each look at Kafka finds that it has.
const MANY: u32 = 12_000;
const STEP: Duration = Duration::from_secs(1);

/// A query that goes back, so that nobody can tell what comes in: it seems to be another one each time.
struct Backwards<'a> {
    world: &'a World,
    ends: Vec<i64>,
    batch: u32,
}

impl Backwards<'_> {
    async fn step(&mut self) -> Result<()> {
        self.batch += 1;
        let read: Vec<i64> = self.ends.iter().map(|end| (end - i64::from(self.batch)).max(0)).collect();
        commit(self.world, self.batch, &read).await?;
        tokio::time::sleep(STEP).await;
        Ok(())
    }

    /// Goes back beside this until it has ended, however long its own steps take. The last batch is written to its end:
    /// the operator would wait for one that is left out.
    async fn goes_back_beside<T>(&mut self, what: impl Future<Output = Result<T>>) -> Result<T> {
        let has_ended = Cell::new(false);
        let back = async {
            while !has_ended.get() {
                self.step().await?;
            }
            anyhow::Ok(())
        };
        let what = async {
            let found = what.await;
            has_ended.set(true);
            found
        };
        let ((), found) = futures::try_join!(back, what)?;
        Ok(found)
    }
}

/// What comes in is the only signal that is missing: the query goes back again and again.
#[tokio::test]
async fn without_the_rate_of_what_comes_in_no_worker_goes() -> Result<()> {
    // Where the query does not go back within five of these looks, the rate is known: that is twelve seconds at least.
    let ground = Ground::looking("no-rate", 3).await?;
    let world = &ground.world;
    unread(world, MANY).await?;
    let mut wish = Wish::new((1, 6, 3), &autoscaling((1, 5), json!({})));
    wish.follows_load = true;
    merge(&mut wish.spec, json!({"kafka": {"partitionScaling": {"mode": "Disabled"}}}));
    // However many batches there are in the end, the last one is none before which nobody may go.
    let properties = json!({"spark.sql.streaming.fileSink.log.compactInterval": "1"});
    merge(&mut wish.spec, json!({"spark": {"driver": {"sparkProperties": properties}}}));
    let pipeline = Pipeline::new(world, ("demo", ground.port), wish).await?;
    let mut query = Backwards { world, ends: ends(world).await?, batch: 0 };
    query.step().await?;
    // Until the rate is missing something else is: at no moment are all there.
    pipeline.master.set_mood(Mood::Html);
    apply(world, &[&pipeline.object]).await?;
    let trial = Trial { pipeline, most: 5 };
    let held = async {
        trial.misses_only(&["Spark master", "incoming rate"]).await?;
        trial.pipeline.master.heal();
        trial.misses_only(&["incoming rate"]).await?;
        ground.looked(LOOKS).await?;
        trial.keeps_all().await?;
        let missed = told(&ground, ("SignalsFresh", "False", "SignalMissing")).await?;
        let metrics = ground.operator.metrics().await?;
        let old = turned(&metrics, ("SignalsFresh", "False", "SignalStale"));
        let fresh = turned(&metrics, FRESH);
        // Going back is no news each time. Where looks take long, what was read is old now and then, and missed anew.
        ensure!(fresh == 0 && missed <= 5 + old, "fresh {fresh} times, missed {missed} times and old {old} times");
        anyhow::Ok(())
    };
    query.goes_back_beside(held).await?;
    // It stays where it is from now on, and has read everything: one worker is enough.
    commit(world, query.batch + 1, &query.ends).await?;
    trial.pipeline.wait_size(1).await?;
    // How often it turns from now on is a matter of how long looks take.
    told(&ground, FRESH).await?;
    ground.ends(&[&trial.pipeline]).await
}

/// The age of unread records is the only signal that is missing: Kafka tells offsets and keeps records back.
#[tokio::test]
async fn without_the_age_of_unread_records_no_worker_goes() -> Result<()> {
    let ground = Ground::looking("no-age", 3).await?;
    let world = &ground.world;
    let kafka = world.kafka_proxy().await?;
    kafka.spoil(KafkaFault::RecordsUnanswered);
    // Too few records to need a second worker for.
    unread(world, 30 * PARTITIONS).await?;
    let mut wish = Wish::new((1, 6, 3), &autoscaling((1, 5), json!({})));
    wish.follows_load = true;
    let scaling = json!({"mode": "Disabled"});
    merge(&mut wish.spec, json!({"kafka": {"bootstrapServers": [kafka.address], "partitionScaling": scaling}}));
    let trial = Trial { pipeline: ground.pipeline("demo", wish).await?, most: 5 };
    trial.misses_only(&["age of unread records"]).await?;
    ground.looked(LOOKS).await?;
    trial.misses_only(&["age of unread records"]).await?;
    trial.keeps_all().await?;
    // It is asked for once a minute, and offsets are old by the time that nobody has answered.
    kafka.heal().await?;
    trial.pipeline.wait_size(1).await?;
    trial.pipeline.says(("SignalsFresh", "True", "Fresh"), &[]).await?;
    ground.ends(&[&trial.pipeline]).await
}

#[tokio::test]
async fn numbers_that_cannot_be_are_named_and_let_nobody_go() -> Result<()> {
    // At rest nothing may be old for a moment: facts of Kafka count for two looks.
    let ground = Ground::looking("implausible", 3).await?;
    let world = &ground.world;
    unread(world, 0).await?;
    // As many records as there are not.
    commit(world, 1, &[1_000_000; 12]).await?;
    let mut wish = Wish::new((1, 6, 3), &autoscaling((1, 5), json!({})));
    wish.follows_load = true;
    let mut trial = Trial { pipeline: ground.pipeline("demo", wish).await?, most: 5 };
    trial.misses(&["end offsets", TOPIC, "more was read of a partition", "No worker is removed"]).await?;
    ground.looked(3).await?;
    trial.misses(&["end offsets", "made again"]).await?;
    ground.looked(3).await?;
    let changes = trial.pipeline.changes().await?;
    ensure!(changes == [Change::Newcomers, Change::Protect(3)], "{changes:?}");
    ground.at_rest(&[&trial.pipeline]).await?;
    ground.ends(&[&trial.pipeline]).await
}

#[tokio::test]
async fn a_secret_that_is_gone_when_the_operator_starts_is_named_as_what_is_missing() -> Result<()> {
    let mut ground = Ground::new("no-secret").await?;
    unread(&ground.world, 0).await?;
    let mut wish = Wish::new((1, 6, 2), &autoscaling((2, 5), json!({})));
    wish.follows_load = true;
    let pipeline = Pipeline::new(&ground.world, ("demo", ground.port), wish).await?;
    apply(&ground.world, &[&pipeline.object]).await?;
    pipeline.says(("SignalsFresh", "True", "Fresh"), &[]).await?;
    pipeline.says(("RetentionAtRisk", "False", "SafeMargin"), &[]).await?;
    ground.operator.stop().await?;
    install::tenant(&ground.world.bed, &ground.world.namespace, &["kafka"]).await?;
    let login = json!({"authentication": {"type": "SCRAM-SHA-512", "secretRef": {"name": "kafka"}}});
    pipeline.patch(&json!({"kafka": login})).await?;
    ground.operator = operator(&ground.world).await?;
    // Kafka is not even asked: nothing was read of it since the start.
    pipeline.says(("KafkaReady", "False", "SecretNotFound"), &[]).await?;
    pipeline.says(("SignalsFresh", "False", "SignalMissing"), &["end offsets", "Secret"]).await?;
    pipeline.says(("RetentionAtRisk", "Unknown", "SignalMissing"), &["Secret"]).await?;
    ground.looked(3).await?;
    pipeline.says(("SignalsFresh", "False", "SignalMissing"), &["end offsets", "Secret"]).await?;
    ground.ends(&[&pipeline]).await
}

/// Deletes the first records of a partition of the topic, as their retention would.
async fn expire(world: &World, partition: i32, first: i64) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        client_config(&world.bed.kafka.bootstrap).create().context("creating a Kafka admin client")?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.topic(TOPIC), partition, Offset::Offset(first))?;
    admin.delete_records(&list, &AdminOptions::new()).await.context("deleting records")?;
    Ok(())
}

#[tokio::test]
async fn unread_records_that_are_gone_call_for_workers_and_let_nobody_go() -> Result<()> {
    let ground = Ground::new("lost").await?;
    let world = &ground.world;
    // Too few records to need a third worker for.
    unread(world, 30 * PARTITIONS).await?;
    let written = ends(world).await?;
    let (partition, end) = written.iter().enumerate().max_by_key(|(_, end)| **end).context("no partition")?;
    expire(world, i32::try_from(partition)?, *end).await?;
    let mut wish = Wish::new((1, 6, 2), &autoscaling((2, 3), json!({"recordsPerSecondPerCore": 1_000})));
    wish.follows_load = true;
    let pipeline = ground.pipeline("demo", wish).await?;
    pipeline.says(("RetentionAtRisk", "True", "LagNearsRetention"), &[TOPIC, "are gone"]).await?;
    pipeline.wait_size(3).await?;
    // All is read by now, and it takes a minute until that is known of the age of records too.
    commit(world, 1, &written).await?;
    ground.looked(4).await?;
    let changes = pipeline.adds_up(2).await?;
    ensure!(raised(&changes) == [3] && ended(&changes).is_empty(), "{changes:?}");
    ground.ends(&[&pipeline]).await
}
