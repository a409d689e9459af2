//! Somebody else writes lifecycle rules of the same bucket at the same time. S3 has no condition on such a write. Who
//! looks after writing keeps all rules. What a write of ours takes away is named if a reading of ours has shown it, and
//! is never written again; what none has shown is counted here, by the ledger.

use anyhow::{Context, Error, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::lifecycle::Trace;
use logwise_testbed::s3::S3;
use logwise_testbed::stand_in::{Call, Fault, NewObject, Stale};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, condition, configuration, is_proving, more_looks, policy,
    wait_condition,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

const PUT: &str = "^PutBucketLifecycleConfiguration$";
const DEMO: (&str, &str) = ("lwc", "demo");
const KEPT: (&str, &str) = ("lrp", "default");

/// By this the ledger knows the operator's calls.
const KEY: &str = "AKIALOGWISE000000001";

/// How much longer each write of rules takes, whoever makes it: what comes between a reading and the write is lost.
const WINDOW: Duration = Duration::from_millis(300);

/// How long a write of ours is on its way while another one is made to overtake it.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(3_600);

/// One write of somebody else each.
const SECOND: Duration = Duration::from_secs(1);

struct Ground {
    world: World,
    s3: S3,
    /// Those of every operator here.
    options: Options,
    operator: Operator,
    /// The configuration before there was a rule of ours.
    first: String,
}

impl Ground {
    /// A bucket with one service, rules of others, and a rule of ours of 30 days.
    async fn new(name: &str) -> Result<Ground> {
        let world = World::new(&Bed::attach()?, name).await?;
        world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
        let first = configuration(&[FOREIGN_ODD, FOREIGN_LEGACY]);
        world.put_lifecycle(&world.bucket, &first).await?;
        world.bed.stand_in().add_key(KEY).await?;
        let url = world.create_schema().await?;
        let config = json!({"preflight": {"enabled": false}, "database": {"url": url}});
        let options = Options::config(config).env("AWS_ACCESS_KEY_ID", KEY);
        let mut operator = Operator::start(&world, options.clone()).await?;
        operator.wait_ready().await?;
        let mut pipeline = cluster(&world, "demo");
        pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
        let mut kept = policy("default", "demo", 30);
        for object in [&mut pipeline, &mut kept] {
            object["spec"]["changePolicy"] = json!({"approval": "Never"});
        }
        apply(&world, &[&pipeline, &kept]).await?;
        wait_condition(&world, KEPT, ("Ready", "True", "Programmed")).await?;
        let s3 = S3::new(&world.bed.aws.endpoint);
        Ok(Ground { world, s3, options, operator, first })
    }

    /// Wants so many days.
    async fn want(&self, days: i32) -> Result<()> {
        let patch = json!({"spec": {"expiration": {"days": days}}}).to_string();
        self.world.kubectl(&["patch", "lrp", "default", "--type", "merge", "-p", &patch]).await.map(drop)
    }

    /// Wants other days again and again; returns why it could not go on.
    async fn edit_on(&self) -> Error {
        let mut days = 60;
        loop {
            if let Err(error) = self.want(days).await {
                return error;
            }
            days = 90 - days;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    }

    /// Waits until the write of ours is on its way that a fault delays.
    async fn wait_on_its_way(&self) -> Result<()> {
        let on_its_way = async || {
            let hits = self.world.bed.stand_in().hits(&self.world.bucket).await?;
            ensure!(hits == 1, "nothing was sent");
            Ok(())
        };
        self.world.wait_until("our write to be on its way", PATIENCE, on_its_way).await
    }

    /// The configuration as it is, whatever answers the operator gets.
    async fn document(&self) -> Result<String> {
        Ok(self.world.lifecycle(&self.world.bucket).await?.document.unwrap_or_default())
    }

    /// Writes as somebody else does, through S3.
    async fn put(&self, document: &str) -> Result<()> {
        self.s3.put_lifecycle(&self.world.bucket, document, &[]).await?.good("a write of somebody else").map(drop)
    }

    async fn calls(&self) -> Result<Vec<Call>> {
        self.world.calls(&self.world.bucket, false).await
    }

    async fn trace(&self) -> Result<Trace> {
        Ok(Trace::of(&self.first, &self.calls().await?, is_ours))
    }

    /// Waits for a message of StorageReady that holds this text.
    async fn wait_told(&self, text: &str) -> Result<()> {
        let told = async || {
            let object = self.world.get_json(DEMO.0, DEMO.1).await?;
            let ready = condition(&object, "StorageReady").context("no StorageReady")?;
            ensure!(ready["message"].as_str().unwrap_or_default().contains(text), "{ready}");
            ensure!(ready["status"] == "False" && ready["reason"] == "ForeignWriterDetected", "{ready}");
            Ok(())
        };
        self.world.wait_until(&format!("StorageReady to say {text:?}"), PATIENCE, told).await
    }

    /// Three more looks without a write of ours.
    async fn rests(&self) -> Result<()> {
        let writes = self.trace().await?.writes;
        more_looks(&self.world, &self.operator, "storage", 3).await?;
        let now = self.trace().await?.writes;
        ensure!(now == writes, "{now} writes after {writes}");
        Ok(())
    }

    /// Names that the record of decisions calls lost by a write of ours.
    async fn named(&self) -> Result<BTreeSet<String>> {
        let outcomes = self.world.query("SELECT outcome FROM logwise_decisions WHERE part = 'storage'").await?;
        let told = outcomes.split("a write took away rule ").skip(1).filter_map(|text| text.split_once(" of somebody"));
        Ok(told.map(|(name, _)| name.to_owned()).collect())
    }
}

fn is_ours(call: &Call) -> bool {
    call.caller == format!("key/{KEY}")
}

/// A rule of somebody else.
fn rule(number: usize) -> String {
    let name = name(number);
    format!(
        "<Rule><ID>{name}</ID><Filter><Prefix>{name}/</Prefix></Filter><Status>Enabled</Status>\
         <Expiration><Days>5</Days></Expiration></Rule>"
    )
}

fn name(number: usize) -> String {
    format!("w-{number:04}")
}

/// The document with more rules at its end.
fn with(document: &str, rules: &str) -> String {
    document.replace("</LifecycleConfiguration>", &format!("{rules}</LifecycleConfiguration>"))
}

/// The names of rules.
fn ids(rules: &BTreeSet<String>) -> BTreeSet<String> {
    let id = |rule: &String| rule.split_once("<ID>")?.1.split_once("</ID>").map(|(id, _)| id.to_owned());
    rules.iter().filter_map(id).collect()
}

/// For the record, past the test's own capture.
fn told(who: &str, writes: usize, trace: &Trace, named: usize) -> Result<()> {
    let (ours, dropped, noticeable) = (trace.writes, trace.dropped.len(), trace.noticeable.len());
    let text = format!(
        "foreign writer, {who}: {writes} writes of one rule each beside {ours} of ours; ours took {dropped} away, of \
         which an old answer showed {noticeable}; {named} were named"
    );
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[tokio::test]
async fn a_rule_that_came_between_our_reading_and_our_write_is_named_when_an_old_answer_shows_it() -> Result<()> {
    let ground = Ground::new("between").await?;
    let (world, stand_in) = (&ground.world, ground.world.bed.stand_in());
    world.fault(&Fault::delay(&world.bucket, PUT, UNDER_WAY)).await?;
    ground.want(60).await?;
    ground.wait_on_its_way().await?;
    ground.put(&with(&ground.document().await?, &rule(1))).await?;
    stand_in.make_stale(&world.bucket, &Stale { reads: Some(1), ..Stale::default() }).await?;
    ground.wait_told("its write took them away: w-0001").await?;
    wait_condition(world, KEPT, ("Ready", "True", "Programmed")).await?;
    ground.rests().await?;
    let document = ground.document().await?;
    ensure!(!document.contains("w-0001") && document.contains("<Days>60</Days>"), "{document}");
    ensure!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "{document}");
    let trace = ground.trace().await?;
    ensure!(trace.dropped == BTreeSet::from([rule(1)]) && trace.noticeable == trace.dropped, "{trace:?}");
    // Its owner puts it back, and later takes it out.
    ground.put(&with(&document, &rule(1))).await?;
    wait_condition(world, DEMO, ("StorageReady", "True", "Available")).await?;
    ground.put(&document).await?;
    ground.rests().await?;
    wait_condition(world, DEMO, ("StorageReady", "True", "Available")).await?;
    let trace = ground.trace().await?;
    ensure!(trace.writes == 2 && trace.careless.is_empty(), "{trace:?}");
    Ok(())
}

#[tokio::test]
async fn a_rule_that_the_write_of_an_operator_took_away_that_was_killed_is_named_by_the_next_one() -> Result<()> {
    let mut ground = Ground::new("killed").await?;
    ground.world.fault(&Fault::delay(&ground.world.bucket, PUT, UNDER_WAY)).await?;
    ground.want(60).await?;
    ground.wait_on_its_way().await?;
    ground.put(&with(&ground.document().await?, &rule(1))).await?;
    ground.operator.kill9().await?;
    let arrived = async || {
        let document = ground.document().await?;
        ensure!(document.contains("<Days>60</Days>"), "{document}");
        Ok(())
    };
    ground.world.wait_until("our write to arrive", PATIENCE, arrived).await?;
    ensure!(!ground.document().await?.contains("w-0001"), "our write came first");
    // The first look of the next one meets the record of the write together with the answer from before it.
    let stale = Stale { reads: Some(1), ..Stale::default() };
    ground.world.bed.stand_in().make_stale(&ground.world.bucket, &stale).await?;
    ground.operator = Operator::start(&ground.world, ground.options.clone()).await?;
    ground.operator.wait_ready().await?;
    ground.wait_told("its write took them away: w-0001").await?;
    wait_condition(&ground.world, KEPT, ("Ready", "True", "Programmed")).await?;
    ground.rests().await?;
    let trace = ground.trace().await?;
    ensure!(trace.dropped == BTreeSet::from([rule(1)]) && trace.noticeable == trace.dropped, "{trace:?}");
    ensure!(trace.writes == 2 && trace.careless.is_empty(), "{trace:?}");
    Ok(())
}

#[tokio::test]
async fn a_rule_that_a_late_request_of_ours_takes_away_is_named() -> Result<()> {
    let ground = Ground::new("late-rules").await?;
    let (world, stand_in) = (&ground.world, ground.world.bed.stand_in());
    world.fault(&Fault::late(&world.bucket, PUT, NEVER)).await?;
    ground.want(60).await?;
    let on_its_way = async || {
        ensure!(stand_in.deliveries(&world.bucket).await?.len() == 1, "nothing was sent");
        Ok(())
    };
    world.wait_until("our write to be on its way", PATIENCE, on_its_way).await?;
    ground.put(&with(&ground.document().await?, &rule(1))).await?;
    // Once the first request can no longer be waited for, a second one is sent, over what is there now.
    wait_condition(world, KEPT, ("Ready", "True", "Programmed")).await?;
    let document = ground.document().await?;
    ensure!(document.contains("w-0001") && document.contains("<Days>60</Days>"), "{document}");
    ensure!(stand_in.deliver(&world.bucket).await? == 1, "the first request is not on its way any more");
    ground.wait_told("its write took them away: w-0001").await?;
    ground.rests().await?;
    ensure!(!ground.document().await?.contains("w-0001"), "it was written again");
    let trace = ground.trace().await?;
    ensure!(trace.writes == 3 && trace.dropped == BTreeSet::from([rule(1)]), "{trace:?}");
    ground.put(&document).await?;
    wait_condition(world, DEMO, ("StorageReady", "True", "Available")).await?;
    Ok(())
}

#[tokio::test]
async fn a_writer_that_replaces_everything_is_named_and_waited_for() -> Result<()> {
    let ground = Ground::new("replaces").await?;
    let world = &ground.world;
    let replacing = async {
        loop {
            if let Err(error) = ground.put(&ground.first).await {
                return error;
            }
            tokio::time::sleep(SECOND / 2).await;
        }
    };
    tokio::select! {
        named = ground.wait_told("another writer came in between 3 times in a row") => named?,
        error = replacing => return Err(error),
    }
    wait_condition(world, KEPT, ("Programmed", "False", "ForeignWriterDetected")).await?;
    // As soon as he is gone, and the pause over, ours are there again.
    wait_condition(world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(world, DEMO, ("StorageReady", "True", "Available")).await?;
    let (document, trace) = (ground.document().await?, ground.trace().await?);
    ensure!(document.contains("<Days>30</Days>") && document.matches("<Rule>").count() == 3, "{document}");
    ensure!(trace.dropped.is_empty() && trace.careless.is_empty(), "{trace:?}");
    // The first rule, three that were overwritten, one that stays; and some more if he was late for one of them.
    ensure!(trace.writes <= 10, "{} writes against somebody who does not give way", trace.writes);
    Ok(())
}

/// Writes of a minute, one a second.
const MINUTE: usize = 60;

/// Reads, adds a rule, writes, and looks each second whether all of his rules are there.
async fn verifying(ground: &Ground, writes: usize) -> Result<()> {
    let (mut clock, mut wanted, mut held) = (tokio::time::interval(SECOND), Vec::new(), 0);
    for _ in 0..3 * writes {
        clock.tick().await;
        if wanted.len() < writes {
            wanted.push(rule(wanted.len()));
        }
        let document = ground.s3.lifecycle(&ground.world.bucket).await?.context("no configuration")?;
        let missing: String = wanted.iter().filter(|rule| !document.contains(*rule)).cloned().collect();
        if !missing.is_empty() {
            ground.put(&with(&document, &missing)).await?;
            held = 0;
        } else if held < 2 {
            held += 1;
        } else {
            return Ok(());
        }
    }
    Err(Error::msg("his rules never stay"))
}

/// Reads, adds a rule and writes, each second, and never looks. Every other time S3's first answer after the next write
/// is an old one.
async fn blind(ground: &Ground, writes: usize) -> Result<()> {
    let (mut clock, stand_in, bucket) =
        (tokio::time::interval(SECOND), ground.world.bed.stand_in(), &ground.world.bucket);
    for number in 0..writes {
        clock.tick().await;
        ground.put(&with(&ground.document().await?, &rule(number))).await?;
        if number % 2 == 0 {
            let old = Stale { reads: Some(1), after_next_write: true, ..Stale::default() };
            stand_in.make_stale(bucket, &old).await?;
        }
    }
    stand_in.end_stale(bucket).await
}

/// Somebody else writes while our days change all the time; afterwards ours are right.
async fn beside(ground: &Ground, writing: impl Future<Output = Result<()>>) -> Result<Trace> {
    ground.world.fault(&Fault::delay(&ground.world.bucket, PUT, WINDOW).times(0)).await?;
    tokio::select! {
        written = writing => written?,
        error = ground.edit_on() => return Err(error),
    }
    ground.world.clear_faults(&ground.world.bucket).await?;
    ground.want(45).await?;
    wait_condition(&ground.world, KEPT, ("Ready", "True", "Programmed")).await?;
    let (document, trace) = (ground.document().await?, ground.trace().await?);
    ensure!(document.contains("<Days>45</Days>") && document.matches("<ID>logwise.io/").count() == 1, "{document}");
    ensure!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "{document}");
    ensure!(trace.careless.is_empty(), "{:?}", trace.careless);
    ensure!(trace.writes > 1, "{} writes of ours: nothing was tried", trace.writes);
    Ok(trace)
}

async fn beside_one_that_verifies(writes: usize) -> Result<()> {
    let ground = Ground::new("verifies").await?;
    let trace = beside(&ground, verifying(&ground, writes)).await?;
    told("one that verifies", writes, &trace, ground.named().await?.len())?;
    let document = ground.document().await?;
    let lost: Vec<usize> = (0..writes).filter(|number| !document.contains(&rule(*number))).collect();
    ensure!(lost.is_empty(), "rules {lost:?} are gone: {document}");
    Ok(())
}

async fn beside_a_blind_one(writes: usize) -> Result<()> {
    let ground = Ground::new("blind").await?;
    let trace = beside(&ground, blind(&ground, writes)).await?;
    let named = async || {
        let (named, noticeable) = (ground.named().await?, ids(&trace.noticeable));
        ensure!(noticeable.is_subset(&named), "{noticeable:?} were seen and only {named:?} named");
        Ok(named)
    };
    let named = ground.world.wait_until("what was seen to be named", PATIENCE, named).await?;
    told("a blind one", writes, &trace, named.len())?;
    ensure!(named.is_subset(&ids(&trace.dropped)), "{named:?} were named and only {:?} lost", ids(&trace.dropped));
    let document = ground.document().await?;
    // Whatever is not there was taken away by a write of ours: it has not come back, and nothing else is gone.
    let gone = (0..writes).map(rule).filter(|rule| !document.contains(rule));
    let others: Vec<String> = gone.filter(|rule| !trace.dropped.contains(rule)).collect();
    ensure!(others.is_empty(), "nobody took these away: {others:?}");
    Ok(())
}

#[tokio::test]
async fn a_writer_that_looks_after_writing_keeps_every_rule() -> Result<()> {
    beside_one_that_verifies(MINUTE).await
}

#[tokio::test]
async fn what_a_blind_writer_loses_by_a_write_of_ours_is_named_if_a_reading_of_ours_has_shown_it() -> Result<()> {
    beside_a_blind_one(MINUTE).await
}

/// In `make prove` only: ten minutes, during which the machine has little to do.
#[tokio::test]
async fn ten_minutes_beside_either_writer() -> Result<()> {
    if !is_proving() {
        return Ok(());
    }
    futures::try_join!(beside_one_that_verifies(600), beside_a_blind_one(600))?;
    Ok(())
}
