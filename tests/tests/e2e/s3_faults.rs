//! S3 that answers late, with old answers, with refusals or not at all while rules change, and operators that die while
//! they take a write back. The end is that of a run without faults, each effect counts once, nothing foreign is lost,
//! it is quiet afterwards, and what stood in the way was said for as long as it did.

use crate::replicas::intent;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::crash::sweep;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::end_state::EndState;
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::oracles::truth::Refusal;
use logwise_testbed::stand_in::{Fault, Mode, NewObject, Stale};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, configuration, is_proving, policy, wait_condition,
};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;
use tokio::sync::OnceCell;

const GET: &str = "^GetBucketLifecycleConfiguration$";
const PUT: &str = "^PutBucketLifecycleConfiguration$";
const DEMO: (&str, &str) = ("lwc", "demo");
const KEPT: (&str, &str) = ("lrp", "default");

/// What meets the second of two changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// Reads show what was there before the write.
    OldAnswers,
    /// Somebody else writes at the same moment.
    Conflict,
    ThrottledWrites,
    ThrottledReads,
    /// The write is done and not answered.
    NoAnswer,
    /// The write is neither done nor answered.
    NoCall,
    /// The write takes its time.
    Slow,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::OldAnswers,
    Trouble::Conflict,
    Trouble::ThrottledWrites,
    Trouble::ThrottledReads,
    Trouble::NoAnswer,
    Trouble::NoCall,
    Trouble::Slow,
];

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Trouble {
    async fn begin(self, world: &World) -> Result<()> {
        let bucket = &world.bucket;
        let old = Duration::from_secs(if is_proving() { 30 } else { 7 });
        let stale = Stale { within: Some(old), after_next_write: true, ..Stale::default() };
        let fault = match self {
            Self::Nothing => return Ok(()),
            Self::OldAnswers => return world.bed.stand_in().make_stale(bucket, &stale).await.map(drop),
            Self::Conflict => Fault::error(bucket, PUT, 409, "OperationAborted").times(3),
            Self::ThrottledWrites => Fault::error(bucket, PUT, 503, "SlowDown").times(3),
            // Each look asks three times.
            Self::ThrottledReads => Fault::error(bucket, GET, 503, "SlowDown").times(6),
            Self::NoAnswer => Fault::new(bucket, PUT, Mode::Lost),
            Self::NoCall => Fault::new(bucket, PUT, Mode::Drop),
            Self::Slow => Fault::delay(bucket, PUT, Duration::from_secs(3)),
        };
        world.fault(&fault).await
    }

    /// What StorageReady says meanwhile, where it says something for longer than a moment.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Conflict => Some("Unreadable"),
            Self::ThrottledWrites | Self::ThrottledReads => Some("Throttled"),
            Self::Nothing | Self::OldAnswers | Self::NoAnswer | Self::NoCall | Self::Slow => None,
        }
    }
}

/// A bucket with two services and rules of others.
async fn world(name: &str) -> Result<World> {
    let world = World::new(&Bed::attach()?, name).await?;
    let log = |service: &str| NewObject::sized(&format!("logs/service_name={service}/year=2026/part-0.parquet"), 10);
    world.put_objects(&[log("api"), log("web")]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    Ok(world)
}

async fn retain(world: &World, days: i32, change: impl FnOnce(&mut Value)) -> Result<()> {
    let (mut pipeline, mut object) = (cluster(world, "demo"), policy("default", "demo", days));
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    for object in [&mut pipeline, &mut object] {
        object["spec"]["changePolicy"] = json!({"approval": "Never"});
    }
    change(&mut object["spec"]);
    apply(world, &[&pipeline, &object]).await
}

async fn settled(world: &World) -> Result<()> {
    wait_condition(world, KEPT, ("Ready", "True", "Programmed")).await?;
    wait_condition(world, DEMO, ("StorageReady", "True", "Available")).await?;
    let closed = async || {
        let (_, record) = intent(world, "bucket/").await?;
        ensure!(record["state"] == "Done", "{record}");
        Ok(())
    };
    world.wait_until("the record to be closed", PATIENCE, closed).await
}

/// Two changes, the second one under this trouble.
async fn run(trouble: Trouble) -> Result<(EndState, Effects)> {
    let world = world("s3-faults").await?;
    // The preflight would meet the faults too.
    let config = json!({"preflight": {"enabled": false}});
    let options = Options::config(config).env("LOGWISE_OLD_ANSWERS_SECONDS", if is_proving() { "60" } else { "12" });
    let mut operator = Operator::start(&world, options).await?;
    operator.wait_ready().await?;
    retain(&world, 30, |_| ()).await?;
    settled(&world).await?;
    trouble.begin(&world).await?;
    retain(&world, 60, |_| ()).await?;
    let refusal = trouble.reason().map(|reason| Refusal::new(DEMO.0, DEMO.1, reason).within("StorageReady"));
    if let Some(refusal) = &refusal {
        refusal.shows_up(&world, PATIENCE).await?;
    }
    settled(&world).await?;
    if let Some(refusal) = &refusal {
        refusal.is_gone(&world, PATIENCE).await?;
    }
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    let foreign = [FOREIGN_ODD, FOREIGN_LEGACY].map(str::to_owned).to_vec();
    kept(&world, &Bounds { foreign, ..Bounds::default() }).await?;
    futures::try_join!(EndState::of(&world), Effects::of(&world))
}

#[tokio::test]
async fn whatever_s3_does_to_a_change_its_end_is_that_of_a_run_without_faults() -> Result<()> {
    let faultless = OnceCell::new();
    let at_once = TROUBLES.len();
    sweep(TROUBLES, at_once, async |trouble| {
        let of_faultless = faultless.get_or_try_init(|| run(Trouble::Nothing));
        let ((state, effects), faultless) = futures::try_join!(run(*trouble), of_faultless)?;
        state.same_as(&faultless.0)?;
        effects.same_as(&faultless.1)
    })
    .await
}

/// Around a write that the server does not keep, and around the one that takes it back.
const UNDOING: [&str; 4] = ["s3:1:before", "s3:1:after", "s3:2:before", "s3:2:after"];

/// An operator dies at this point beside a server that drops a field; in the end the next has taken everything back.
async fn undone_after(point: &str) -> Result<()> {
    let world = world("undo").await?;
    let as_it_was = world.lifecycle(&world.bucket).await?.document.context("rules of others")?;
    world.bed.stand_in().drop_fields(&world.bucket, &["AbortIncompleteMultipartUpload"]).await?;
    let abort = |spec: &mut Value| spec["abortIncompleteMultipartUpload"] = json!({"daysAfterInitiation": 3});
    retain(&world, 30, abort).await?;
    let mut first = Operator::start(&world, Options::default().env("LOGWISE_CRASH_AT", point)).await?;
    ensure!(first.wait_exit().await? == 128 + 9, "it should have died at {point}");
    let mut second = Operator::start(&world, Options::default()).await?;
    second.wait_ready().await?;
    let taken_back = async || {
        let (_, record) = intent(&world, "bucket/").await?;
        ensure!(record["state"] == "Done" && record["wish"]["targets"]["undoes"] == true, "{record}");
        Ok(())
    };
    world.wait_until("everything to be taken back", PATIENCE, taken_back).await?;
    wait_condition(&world, KEPT, ("Programmed", "False", "StoreIgnoresField")).await?;
    settles(&world, &second, &["storage"], 2, PATIENCE).await?;
    let now = world.lifecycle(&world.bucket).await?.document;
    ensure!(now.as_ref() == Some(&as_it_was), "{now:?}");
    let effects = Effects::of(&world).await?.counts();
    let puts = effects.iter().find(|((_, action), _)| action == "PutBucketLifecycleConfiguration");
    ensure!(puts.is_some_and(|(_, number)| *number == 2), "written once and taken back once: {effects:?}");
    Ok(())
}

#[tokio::test]
async fn a_write_that_is_taken_back_is_so_whenever_the_operator_dies() -> Result<()> {
    sweep(UNDOING, UNDOING.len(), async |point| undone_after(point).await).await
}
