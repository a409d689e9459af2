//! One page of a master serves every object that names it, whatever list it stands in.

use anyhow::{Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{FakeMaster, Kind, Mood, Setup, Source};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::world::World;
use logwise_tests::{apply, more_looks, wait_condition};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Objects, and the time from one look at each of them to the next.
const OBJECTS: usize = 9;
const PERIOD: Duration = Duration::from_secs(2);

/// Looks that are counted.
const LOOKS: u64 = 60;

/// Pages that a master was asked for.
fn asked(master: &FakeMaster) -> usize {
    master.calls_of(Kind::Page).len()
}

/// An object that has the operator watch these masters, and nothing else.
fn watching(name: &str, masters: &Value) -> Value {
    json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "LogwiseCluster",
        "metadata": {"name": name},
        "spec": {"spark": {"masters": masters}},
    })
}

#[tokio::test]
async fn objects_share_the_page_of_a_master_that_stands_in_several_lists() -> Result<()> {
    let world = World::new(&Bed::attach()?, "one-page").await?;
    let active = FakeMaster::start(&world.bed, Source::Named, Setup::default()).await?;
    let standby = FakeMaster::start(&world.bed, Source::Named, Setup::default()).await?;
    standby.set_mood(Mood::Standby);
    let config = json!({"preflight": {"enabled": false}, "intervals": {"sparkSeconds": PERIOD.as_secs()}});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    let both = json!([standby.address().spec(), active.address().spec()]);
    let mut elsewhere = active.masters();
    elsewhere[0]["restPort"] = json!(6_066);
    let lists = [active.masters(), both, elsewhere];
    let names: Vec<String> = (0..OBJECTS).map(|place| format!("demo-{place}")).collect();
    let objects: Vec<Value> =
        names.iter().zip(lists.iter().cycle()).map(|(name, masters)| watching(name, masters)).collect();
    apply(&world, &objects.iter().collect::<Vec<_>>()).await?;
    for name in &names {
        wait_condition(&world, ("lwc", name), ("SparkReady", "True", "Available")).await?;
    }

    let (began, pages, others) = (Instant::now(), asked(&active), asked(&standby));
    more_looks(&world, &operator, "spark", LOOKS).await?;
    let (pages, others) = (asked(&active) - pages, asked(&standby) - others);
    // A page serves all looks that begin within half a period: however slow this machine is, no more are needed.
    let halves = began.elapsed().as_millis() / (PERIOD / 2).as_millis();
    let most = usize::try_from(halves)? + 2;
    ensure!(pages > 0 && pages <= most, "{pages} pages for {LOOKS} looks at {OBJECTS} objects, and {most} are enough");
    ensure!(others <= most, "{others} pages of the standby, and {most} are enough");
    Ok(())
}
