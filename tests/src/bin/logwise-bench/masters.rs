//! How often a Spark master is asked for its page, by the number of objects that name it.

use crate::aims::Aims;
use crate::row;
use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{FakeMaster, Kind, Setup, Source};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, condition, looks_at};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Objects that name the master, one number after the other.
const OBJECTS: [usize; 3] = [1, 10, 100];

/// Seconds from one look at an object to the next.
const PERIOD: u32 = 5;

/// How long requests are counted.
const LOOKING: Duration = Duration::from_secs(30);

pub(crate) async fn measure(aims: &mut Aims) -> Result<()> {
    let world = World::new(&Bed::attach()?, "bench-masters").await?;
    let master = FakeMaster::start(&world.bed, Source::Named, Setup::default()).await?;
    let config = json!({"preflight": {"enabled": false}, "intervals": {"sparkSeconds": PERIOD}});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    row(&format!("pages of one Spark master that are read within a period of {PERIOD} s"), "")?;
    let mut there = 0;
    for number in OBJECTS {
        let objects: Vec<Value> = (there..number).map(|place| watching(place, &master)).collect();
        apply(&world, &objects.iter().collect::<Vec<_>>()).await?;
        there = number;
        all_were_seen(&world, number).await?;
        let (began, pages, looks) = (Instant::now(), asked(&master), looks_at(&operator, "spark").await?);
        tokio::time::sleep(LOOKING).await;
        let (pages, looks) = (asked(&master) - pages, looks_at(&operator, "spark").await? - looks);
        let periods = began.elapsed().as_secs_f64() / f64::from(PERIOD);
        let mean = f64::from(u32::try_from(pages)?) / periods;
        // A page serves looks for half a period; where the counting begins and ends one more may be seen.
        let met = mean <= 2.0 + 1.0 / periods;
        aims.check(&format!("  {number} objects, {looks} looks, mean"), &format!("{mean:.2}"), ("at most 2", met))?;
    }
    ensure!(operator.stop().await? == 0, "the operator did not stop cleanly");
    Ok(())
}

/// An object that has the operator watch the master, and nothing else.
fn watching(place: usize, master: &FakeMaster) -> Value {
    json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "LogwiseCluster",
        "metadata": {"name": format!("demo-{place}")},
        "spec": {"spark": {"masters": master.masters()}},
    })
}

async fn all_were_seen(world: &World, number: usize) -> Result<()> {
    let seen = async || {
        let objects = world.list("lwc", "").await?;
        let seen = objects.iter().filter(|object| condition(object, "SparkReady").is_some()).count();
        ensure!(seen == number, "{seen} of {number} were looked at");
        Ok(())
    };
    world.wait_until("a look at each object", PATIENCE, seen).await
}

/// Pages that the master was asked for.
fn asked(master: &FakeMaster) -> usize {
    master.calls_of(Kind::Page).len()
}
