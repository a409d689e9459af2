//! Each oracle finds nothing where nothing is wrong, and finds what was planted. Needs `logwise-testbed up`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::effects::Effects;
use logwise_testbed::oracles::end_state::EndState;
use logwise_testbed::oracles::invariants::{self, Bounds, Partitions};
use logwise_testbed::oracles::quiet::Quiet;
use logwise_testbed::oracles::secrets::Canaries;
use logwise_testbed::oracles::truth::Refusal;
use logwise_testbed::stand_in::{Fault, Mode};
use logwise_testbed::topics;
use logwise_testbed::world::World;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(90);
const FOREIGN: &str = "<Rule><ID>theirs</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule>";

/// A call of Auto Scaling as any client would send it; the stand-in checks no signatures.
async fn scale(world: &World, fields: &[(&str, &str)]) -> Result<u16> {
    let fields: Vec<(&str, &str)> = [("AutoScalingGroupName", world.group.as_str()), ("Version", "2011-01-01")]
        .into_iter()
        .chain(fields.iter().copied())
        .collect();
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=x/20260101/{}/autoscaling/aws4_request, SignedHeaders=host, Signature=0",
        world.bed.aws.region
    );
    let body = fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.post(format!("{}/", world.bed.aws.endpoint)).header("authorization", scope);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    Ok(request.send().await?.status().as_u16())
}

async fn set_desired(world: &World, desired: &str) -> Result<u16> {
    scale(world, &[("Action", "SetDesiredCapacity"), ("DesiredCapacity", desired)]).await
}

fn document(rules: &str) -> String {
    format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>")
}

/// A LogwiseCluster over the world's topics and bucket.
fn cluster(world: &World) -> Value {
    json!({
        "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "demo"},
        "spec": {
            "aws": {"region": world.bed.aws.region},
            "storage": {"bucketName": world.bucket},
            "kafka": {
                "bootstrapServers": [world.bed.kafka.bootstrap],
                "topics": {"namePrefix": world.topic_prefix, "defaultPartitions": 3, "maxPartitions": 12},
                "partitionScaling": {"mode": "Automatic"},
            },
        },
    })
}

#[tokio::test]
async fn o1_end_states_of_equal_runs_are_equal_and_others_are_not() -> Result<()> {
    let bed = Bed::attach()?;
    install::kubeconfig(&bed).await?;
    let run = async |name: &str| {
        let world = World::new(&bed, name).await?;
        world.create_topic("web", 2).await?;
        world.create_group(1, 3, 2).await?;
        world.put_lifecycle(&world.bucket, &document(FOREIGN)).await?;
        world.apply(&cluster(&world).to_string()).await?;
        anyhow::Ok(world)
    };
    let (first, second) = futures::try_join!(run("o1a"), run("o1b"))?;
    let faultless = EndState::of(&first).await?;
    EndState::of(&second).await?.same_as(&faultless)?;
    second.create_topic("more", 1).await?;
    set_desired(&second, "3").await?;
    second.kubectl(&["delete", "logwisecluster", "demo", "--wait=false"]).await?;
    let differences = EndState::of(&second).await?.differences(&faultless);
    let named = |begin: &str| differences.iter().any(|line| line.starts_with(begin));
    let all = named("topic WORLD.logs.more is 1 instead of nothing")
        && named("group is")
        && named("LogwiseCluster/demo is nothing");
    assert!(all && differences.len() == 3, "{differences:#?}");
    Ok(())
}

#[tokio::test]
async fn o2_an_effect_that_happened_twice_is_found_in_the_ledger() -> Result<()> {
    let bed = Bed::attach()?;
    let (once, twice) = futures::try_join!(World::new(&bed, "o2a"), World::new(&bed, "o2b"))?;
    for world in [&once, &twice] {
        world.create_group(1, 4, 1).await?;
    }
    assert_eq!(set_desired(&once, "2").await?, 200);
    twice.fault(&Fault::new(&twice.group, "SetDesiredCapacity", Mode::Lost)).await?;
    assert!(set_desired(&twice, "2").await.is_err(), "the answer was not lost");
    let faultless = Effects::of(&once).await?;
    Effects::of(&twice).await?.same_as(&faultless)?;
    assert_eq!(set_desired(&twice, "2").await?, 200);
    let error = Effects::of(&twice).await?.same_as(&faultless).unwrap_err().to_string();
    assert!(error.contains("repeats call") && error.contains("2 times instead of 1"), "{error}");
    Ok(())
}

#[tokio::test]
async fn o3_forbidden_calls_are_found_in_the_ledger() -> Result<()> {
    let world = World::new(&Bed::attach()?, "o3").await?;
    world.create_group(1, 4, 2).await?;
    world.put_lifecycle(&world.bucket, &document(FOREIGN)).await?;
    let bounds = Bounds { desired: 2, max: 3, foreign: vec![FOREIGN.to_owned()] };
    set_desired(&world, "3").await?;
    invariants::kept(&world, &bounds).await?;
    set_desired(&world, "4").await?;
    set_desired(&world, "2").await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/{}?lifecycle", world.bed.aws.endpoint, world.bucket);
    client.put(&url).body(document("")).send().await?;
    client.delete(&url).send().await?;
    let error = invariants::kept(&world, &bounds).await.unwrap_err().to_string();
    for part in [
        "wants DesiredCapacity 4 above 3",
        "wants 2 below 4",
        "without the foreign <Rule><ID>theirs",
        "deletes a document",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let mut seen = Partitions::default();
    world.create_topic("web", 2).await?;
    seen.look(&world).await?;
    seen.look(&world).await?;
    let topics = world.bed.dir.join("bin/kafka-topics");
    let delete = logwise_testbed::command::command(topics, ["--delete", "--topic", &world.topic("web")]);
    logwise_testbed::command::output(delete, LONG).await?;
    world
        .wait_until("the shrunk topic to be noticed", LONG, async || {
            let error = seen.clone().look(&world).await.err().context("nothing was noticed")?.to_string();
            ensure!(error.contains("web has 0 after 2"), "{error}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn o4_silence_is_broken_by_a_write_to_any_system() -> Result<()> {
    let world = World::new(&Bed::attach()?, "o4").await?;
    world.create_group(1, 4, 1).await?;
    let kafka = world.kafka_proxy().await?;
    let account = install::kubeconfig(&world.bed).await?.display().to_string();
    let quiet = Quiet::begin(&world, Some(&kafka)).await?;
    world.kubectl(&["create", "configmap", "by-somebody-else"]).await?;
    quiet.lasts(Duration::from_millis(500)).await?;
    set_desired(&world, "1").await?;
    assert_eq!(quiet.broken().await?.len(), 1, "AWS");
    // A write that is not allowed was tried all the same.
    let tried = world.kubectl(&["--kubeconfig", &account, "create", "serviceaccount", "x"]).await;
    assert!(tried.is_err());
    topics::create(&kafka.address, &world.topic("web"), 1).await?;
    let found = quiet.broken().await?;
    let named = |begin: &str| found.iter().filter(|line| line.starts_with(begin)).count();
    let (aws, kubernetes, kafka) =
        (named("AWS: SetDesiredCapacity"), named("Kubernetes: create serviceaccounts"), named("Kafka: "));
    assert_eq!((aws, kubernetes, kafka, found.len()), (1, 1, 2, 4), "{found:#?}");
    let error = quiet.lasts(Duration::ZERO).await.unwrap_err().to_string();
    assert!(error.starts_with("it is not quiet: 4 findings"), "{error}");
    Ok(())
}

#[tokio::test]
async fn o4_and_o5_an_operator_at_rest_is_quiet_and_tells_the_truth() -> Result<()> {
    let world = World::new(&Bed::attach()?, "o5").await?;
    world.create_topic("web", 3).await?;
    let kafka = world.kafka_proxy().await?;
    let mut cluster = cluster(&world);
    cluster["spec"]["kafka"]["bootstrapServers"] = json!([kafka.address]);
    cluster["spec"].as_object_mut().context("a spec")?.remove("storage");
    world.apply(&cluster.to_string()).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let at_rest = Refusal::new("logwisecluster", "demo", "Available").within("KafkaReady");
    at_rest.shows_up(&world, LONG).await?;
    Refusal::new("logwisecluster", "demo", "WithinRange").shows_up(&world, LONG).await?;
    let quiet = Quiet::begin(&world, Some(&kafka)).await?;
    quiet.for_looks(&operator, &["kafka"], 2, LONG).await?;
    let refusal = Refusal::new("logwisecluster", "demo", "BrokerUnreachable").within("KafkaReady");
    refusal.is_gone(&world, Duration::from_secs(20)).await?;
    kafka.refuse().await?;
    refusal.shows_up(&world, LONG).await?;
    let error = format!("{:#}", refusal.is_gone(&world, Duration::from_secs(5)).await.unwrap_err());
    assert!(error.contains("it still has") || error.contains("did not end"), "{error}");
    kafka.heal().await?;
    refusal.is_gone(&world, LONG).await?;
    at_rest.shows_up(&world, LONG).await?;
    let broken = quiet.broken().await?;
    assert!(broken.iter().any(|line| line.starts_with("Kubernetes: patch logwiseclusters/status demo")), "{broken:#?}");
    let error = quiet.for_looks(&operator, &["kafka"], 1, LONG).await.unwrap_err().to_string();
    assert!(error.starts_with("it is not quiet"), "{error}");
    Ok(())
}

#[tokio::test]
async fn o6_a_canary_is_found_wherever_it_was_written_down() -> Result<()> {
    const CANARY: &str = "canary-7f3a9d";
    let world = World::new(&Bed::attach()?, "o6").await?;
    world.create_schema().await?;
    let canaries = Canaries::new(&[CANARY, "another-canary"])?;
    world.kubectl(&["create", "secret", "generic", "where-it-belongs", &format!("--from-literal=a={CANARY}")]).await?;
    let options = Options::config(json!({"unknown-another-canary": 1}));
    let mut clean = Operator::start(&world, Options::default()).await?;
    clean.wait_ready().await?;
    canaries.nowhere(&world, &[&clean]).await?;
    let mut loud = Operator::start(&world, options).await?;
    loud.wait_exit().await?;
    world.kubectl(&["create", "configmap", "leak", &format!("--from-literal=a={CANARY}")]).await?;
    world.query(&format!("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x'), ('user:{CANARY}@')")).await?;
    std::fs::write(world.bed.dir.join("worlds").join(&world.id).join("planted.db"), format!("\0{CANARY}\0"))?;
    let mut hits = canaries.scan(&world, &[&clean, &loud]).await?;
    hits.retain(|hit| hit.place != "table t" || hit.line == 2);
    let places: Vec<(usize, &str)> = hits.iter().map(|hit| (hit.canary, hit.place.as_str())).collect();
    let log = format!("the log of {}", loud.listen);
    for wanted in [(2, log.as_str()), (1, "the objects of the namespace"), (1, "planted.db"), (1, "table t")] {
        assert!(places.contains(&wanted), "{wanted:?} is not among {places:?}");
    }
    let error = canaries.nowhere(&world, &[]).await.unwrap_err().to_string();
    assert!(!error.contains(CANARY) && error.contains("canary 1 in planted.db, line 1"), "{error}");
    Ok(())
}
