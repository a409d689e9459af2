//! Many policies and many services in one bucket: what a change costs at S3 does not depend on their number, at rest
//! nothing is written and little read, and services that have no room for a rule each share some.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::invariants::{Bounds, kept};
use logwise_testbed::oracles::quiet::{Quiet, looks, settles};
use logwise_testbed::stand_in::Call;
use logwise_testbed::world::World;
use logwise_tests::scale::{Asked, Policies, covering, expirations, pipeline, put_services, services, spread};
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, configuration, is_proving, turn_to_prove, wait_condition,
};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

/// The preflight reads the configuration too.
async fn start(world: &World, intervals: Value) -> Result<Operator> {
    let config = json!({"preflight": {"enabled": false}, "intervals": intervals});
    let mut operator = Operator::start(world, Options::config(config)).await?;
    operator.wait_ready().await?;
    Ok(operator)
}

/// Looks are so rare that all that is read belongs to changes.
fn rare() -> Value {
    json!({"s3Seconds": 3_600, "discoverySeconds": 3_600})
}

async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

/// For the record, past the test's own capture.
fn told(what: &str, took: Duration, asked: Asked) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "scale: {what}: {:.1} s, S3 was asked {asked:?}", took.as_secs_f64())?)
}

/// Policies, services, seconds between two looks, and how long it rests.
fn size() -> (usize, usize, u32, Duration) {
    if is_proving() { (500, 990, 60, Duration::from_secs(130)) } else { (40, 80, 4, Duration::from_secs(14)) }
}

#[tokio::test]
async fn what_changes_together_is_one_write_however_much_it_is_and_rest_is_silent() -> Result<()> {
    let _turn = turn_to_prove().await;
    let (number, of_services, period, rest) = size();
    let world = World::new(&Bed::attach()?, "scale").await?;
    let (names, all) = (services(of_services), Policies::of(&world).await?);
    put_services(&world, &names).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    apply(&world, &[&pipeline(&world)?]).await?;
    all.create(spread(number, &names, 30)).await?;
    let began = Instant::now();
    let mut operator = start(&world, rare()).await?;
    all.ready(number).await?;
    let first = Asked::so_far(&world).await?;
    told(&format!("first rules of {of_services} services by {number} policies"), began.elapsed(), first)?;
    ensure!(first.puts == 1 && first.gets <= 4 && first.pages == 1, "{first:?}");
    for (changed, days) in [(1, 40), (number / 2, 50), (number, 60)] {
        let before = Asked::so_far(&world).await?;
        // What a busy machine applies one after the other reaches the operator together.
        operator.pause().await?;
        all.change(changed, days).await?;
        operator.resume().await?;
        let began = Instant::now();
        all.ready(number).await?;
        let asked = Asked::so_far(&world).await?.since(before);
        told(&format!("{changed} of {number} policies changed"), began.elapsed(), asked)?;
        ensure!(asked.puts == 1 && asked.gets <= 4 && asked.pages == 0, "{changed} policies: {asked:?}");
        let document = document(&world).await?;
        let holding = expirations(&document)?.iter().filter(|(_, own)| *own == days).count();
        let wanted = (0..changed).map(|place| names.iter().skip(place).step_by(number).count()).sum::<usize>();
        ensure!(holding == wanted, "{holding} rules of {days} days, not {wanted}");
        ensure!(document.matches("<Rule>").count() == of_services + 2, "not one rule per service");
    }
    let foreign = [FOREIGN_ODD, FOREIGN_LEGACY].map(str::to_owned).to_vec();
    kept(&world, &Bounds { foreign, ..Bounds::default() }).await?;
    ensure!(operator.stop().await? == 0, "it did not end cleanly");
    rests(&world, period, rest).await
}

/// An operator with as many seconds between its looks reads the configuration once per period, and nobody writes.
async fn rests(world: &World, period: u32, rest: Duration) -> Result<()> {
    let operator = start(world, json!({"s3Seconds": period, "discoverySeconds": 300})).await?;
    let looked = async || {
        ensure!(looks(&operator.metrics().await?).contains_key("storage"), "no look yet");
        Ok(())
    };
    world.wait_until("the first look", PATIENCE, looked).await?;
    let silent = async || Quiet::begin(world, None).await?.lasts(Duration::from_secs(1)).await;
    world.wait_until("silence", PATIENCE, silent).await?;
    let (before, quiet) = (world.calls(&world.bucket, false).await?, Quiet::begin(world, None).await?);
    let last = before.last().map_or(0, |call| call.seq);
    quiet.lasts(rest).await?;
    let calls: Vec<Call> = world.calls(&world.bucket, false).await?.into_iter().filter(|c| c.seq > last).collect();
    let reads: Vec<i64> =
        calls.iter().filter(|call| call.action == "GetBucketLifecycleConfiguration").map(|call| call.time).collect();
    ensure!(reads.len() >= 2, "{} looks in {} s", reads.len(), rest.as_secs());
    let shortest = reads.windows(2).map(|pair| pair[1] - pair[0]).min().context("two readings")?;
    ensure!(shortest >= i64::from(period) * 1_000, "two readings within {shortest} ms");
    // Services and settings are read once per their own, longer period.
    ensure!(calls.len() == reads.len(), "at rest: {calls:?}");
    Ok(writeln!(std::io::stdout(), "scale: at rest: {} calls in {} s, no write", calls.len(), rest.as_secs())?)
}

/// Teams whose services are kept for 10 days and more each, beside other services.
const TEAMS: usize = 10;

/// How long services of no team are kept.
const OTHERS_DAYS: i32 = 400;

/// Services per team, other services, and rules of others: together more than S3 takes.
fn folded_size() -> (usize, usize, usize) {
    if is_proving() { (900, 1_000, 2) } else { (4, 10, 970) }
}

/// Each service with its days.
fn of_teams(per_team: usize, others: usize) -> Result<Vec<(String, i32)>> {
    let mut wanted = Vec::new();
    for team in 0..TEAMS {
        let days = 10 + i32::try_from(team)?;
        wanted.extend((0..per_team).map(|number| (format!("team-{team}-{number:04}"), days)));
    }
    wanted.extend((0..others).map(|number| (format!("other-{number:04}"), OTHERS_DAYS)));
    Ok(wanted)
}

/// One policy per team, and one for everything.
fn team_policies() -> Result<Vec<Value>> {
    let mut all = vec![covering("default", json!({}), OTHERS_DAYS)];
    for team in 0..TEAMS {
        let selector = json!({"matchPrefixes": [format!("team-{team}-")]});
        let mut policy = covering(&format!("team-{team}"), selector, 10 + i32::try_from(team)?);
        policy["spec"]["priority"] = json!(10);
        all.push(policy);
    }
    Ok(all)
}

/// So many rules of somebody else.
fn many(number: usize) -> String {
    let rule = |number: usize| {
        format!(
            "<Rule><ID>tf-{number:04}</ID><Filter><Prefix>x/{number:04}/</Prefix></Filter><Status>Enabled</Status>\
             <Expiration><Days>9</Days></Expiration></Rule>"
        )
    };
    let rules: Vec<String> = (0..number).map(rule).collect();
    configuration(&rules.iter().map(String::as_str).collect::<Vec<_>>())
}

/// S3 lets the shortest of the rules over an object decide: for each service that is the one of its policy.
fn each_is_kept_as_wanted(document: &str, wanted: &[(String, i32)]) -> Result<()> {
    let rules = expirations(document)?;
    for (service, days) in wanted {
        let key = format!("logs/service_name={service}/year=2026/part-0.parquet");
        let enforced = rules.iter().filter(|(prefix, _)| key.starts_with(prefix.as_str())).map(|(_, days)| *days).min();
        ensure!(enforced == Some(*days), "{service} is kept for {enforced:?} days, not for {days}");
    }
    let marks = ["logs/_spark_metadata/0", "checkpoint/application/metadata", "x/0000/a"];
    let reached = |mark: &&&str| rules.iter().any(|(prefix, _)| mark.starts_with(prefix.as_str()));
    let reached: Vec<&&str> = marks.iter().filter(reached).collect();
    ensure!(reached.is_empty(), "rules of ours reach {reached:?}");
    Ok(())
}

#[tokio::test]
async fn services_that_have_no_room_for_a_rule_each_share_some_and_are_kept_as_their_policies_say() -> Result<()> {
    let _turn = turn_to_prove().await;
    let (per_team, others, foreign) = folded_size();
    let world = World::new(&Bed::attach()?, "folded").await?;
    let (mut wanted, all) = (of_teams(per_team, others)?, Policies::of(&world).await?);
    let number = wanted.len();
    ensure!(number + foreign > 1_000, "there is room for all");
    put_services(&world, &wanted.iter().map(|(service, _)| service.clone()).collect::<Vec<_>>()).await?;
    world.put_lifecycle(&world.bucket, &many(foreign)).await?;
    let mut object = pipeline(&world)?;
    object["spec"]["storage"]["lifecycle"] = json!({"fold": "WhenNeeded"});
    apply(&world, &[&object]).await?;
    all.create(team_policies()?).await?;
    let began = Instant::now();
    let mut operator = start(&world, rare()).await?;
    all.ready(TEAMS + 1).await?;
    let asked = Asked::so_far(&world).await?;
    told(&format!("{number} services and {foreign} rules of others share 1,000 rules"), began.elapsed(), asked)?;
    ensure!(asked.puts == 1 && asked.gets <= 4, "{asked:?}");
    ensure!(asked.pages == number.div_ceil(1_000), "{} pages for {number} services", asked.pages);
    let folded = document(&world).await?;
    let rules = folded.matches("<Rule>").count();
    ensure!(rules <= 1_000 && folded.matches("<ID>tf-").count() == foreign, "{rules} rules");
    each_is_kept_as_wanted(&folded, &wanted)?;
    ensure!(operator.stop().await? == 0, "it did not end cleanly");
    // One more under a rule that is shared already, found by the next process.
    let late = ["other-000-late".to_owned()];
    put_services(&world, &late).await?;
    wanted.extend(late.map(|service| (service, OTHERS_DAYS)));
    let operator = start(&world, json!({"discoverySeconds": 3_600})).await?;
    let found = async || {
        let object = wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
        let matched = &object["status"]["matchedServices"];
        ensure!(*matched == json!(others + 1), "{matched} services are matched");
        Ok(())
    };
    world.wait_until("the service that came late", PATIENCE, found).await?;
    settles(&world, &operator, &["storage"], 2, PATIENCE).await?;
    ensure!(document(&world).await? == folded, "written for a service that has its rule");
    each_is_kept_as_wanted(&folded, &wanted)
}
