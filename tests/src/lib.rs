//! What the end-to-end tests share: objects as people write them, and ways to wait for what kubectl shows.
#![forbid(unsafe_code)]

pub mod edits;
pub mod replay;
pub mod scale;

use anyhow::{Context, Result, ensure};
use logwise_testbed::install;
use logwise_testbed::operator::Operator;
use logwise_testbed::oracles::quiet::looks;
use logwise_testbed::world::World;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Longest wait for something that should happen within seconds. Long, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Whether this is `make prove`, which has time.
pub fn is_proving() -> bool {
    std::env::var_os("LOGWISE_PROVE").is_some()
}

/// A turn for what takes minutes and the whole machine, one test after the other; none outside `make prove`.
pub async fn turn_to_prove() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::const_new(());
    if is_proving() { Some(TURN.lock().await) } else { None }
}

/// A turn for a Spark master of a test's own with real workers, one test after the other: each runs several programs in
/// Java.
pub async fn turn_of_spark() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// A rule of somebody else with a part that no model of lifecycle rules knows.
pub const FOREIGN_ODD: &str = "<Rule><ID>terraform-odd</ID><Filter><And><Prefix>tmp/</Prefix><ObjectSizeGreaterThan>1024</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration><LaterField><A>1</A></LaterField></Rule>";

/// A rule of somebody else in the form that S3 calls legacy.
pub const FOREIGN_LEGACY: &str = "<Rule>\n  <ID>by-hand</ID>\n  <Prefix>backup/</Prefix>\n  <Status>Disabled</Status>\n  <Expiration><Days>400</Days></Expiration>\n</Rule>";

/// A lifecycle configuration that holds these rules.
pub fn configuration(rules: &[&str]) -> String {
    format!(
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</LifecycleConfiguration>",
        rules.concat()
    )
}

/// A LogwiseCluster over everything of `world`: topics grow to 3 partitions, the bucket is managed, workers are observed.
pub fn cluster(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "LogwiseCluster",
        "metadata": {"name": name},
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

/// Adds the Spark section: the bed's master and the world's group between these bounds.
pub fn with_spark(world: &World, cluster: Value, bounds: (i32, i32)) -> Result<Value> {
    let spark = world.bed.spark.as_ref().context("this bed has no Spark master: start it with --profile all")?;
    let masters = json!([{"host": spark.host, "port": spark.port, "uiPort": spark.ui_port}]);
    Ok(with_masters(world, cluster, &masters, bounds))
}

/// Adds the Spark section: these masters, such as those of a `SparkCluster` or a `FakeMaster`, and the world's group
/// between these bounds.
pub fn with_masters(world: &World, mut cluster: Value, masters: &Value, bounds: (i32, i32)) -> Value {
    cluster["spec"]["spark"] = json!({
        "masters": masters,
        "workers": {
            "type": "AutoScalingGroup",
            "autoScalingGroup": {"name": world.group},
            "autoscaling": {"minReplicas": bounds.0, "maxReplicas": bounds.1},
        },
    });
    cluster
}

/// A RetentionPolicy for every service.
pub fn policy(name: &str, cluster: &str, days: i32) -> Value {
    json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": name},
        "spec": {"clusterRef": {"name": cluster}, "serviceSelector": {}, "expiration": {"days": days}},
    })
}

/// Applies objects in the world's namespace, as `kubectl apply` does.
pub async fn apply(world: &World, objects: &[&Value]) -> Result<()> {
    // The definitions may have to be installed first; later calls cost nothing.
    install::kubeconfig(&world.bed).await?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    world.apply(&list.to_string()).await.map(drop)
}

/// Writes a Secret with these keys in the world's namespace.
pub async fn write_secret(world: &World, name: &str, keys: &Value) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys});
    world.apply(&secret.to_string()).await.map(drop)
}

/// The condition of that type, if the object has it.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Waits until the condition has this status and reason for the object's current generation; returns the object.
pub async fn wait_condition(world: &World, object: (&str, &str), expected: (&str, &str, &str)) -> Result<Value> {
    wait_condition_within(world, PATIENCE, object, expected).await
}

/// [`wait_condition`], where it is promised how long that takes.
pub async fn wait_condition_within(
    world: &World,
    within: Duration,
    object: (&str, &str),
    expected: (&str, &str, &str),
) -> Result<Value> {
    let (kind, name) = object;
    let (wanted, status, reason) = expected;
    let what = format!("{kind}/{name} to be {wanted}={status} ({reason})");
    world
        .wait_until(&what, within, async || {
            let object = world.get_json(kind, name).await?;
            let found = condition(&object, wanted).with_context(|| format!("no {wanted} in {}", object["status"]))?;
            ensure!(
                found["status"] == status && found["reason"] == reason,
                "{wanted} is {} ({}): {}",
                found["status"],
                found["reason"],
                found["message"]
            );
            ensure!(found["observedGeneration"] == object["metadata"]["generation"], "not of this generation: {found}");
            Ok(object)
        })
        .await
}

/// The plan id that waits for approval on a policy.
pub async fn plan_id(world: &World, name: &str) -> Result<String> {
    let object = wait_condition(world, ("lrp", name), ("Programmed", "False", "ApprovalRequired")).await?;
    object["status"]["plan"]["id"].as_str().map(str::to_owned).context("status.plan.id is missing")
}

/// Approves a plan the way the message says.
pub async fn approve(world: &World, name: &str, id: &str) -> Result<()> {
    let patch = json!({"spec": {"changePolicy": {"approvedPlans": [id]}}}).to_string();
    world.kubectl(&["patch", "lrp", name, "--type", "merge", "-p", &patch]).await.map(drop)
}

/// Notes of the events of one reason about one object.
pub async fn events(world: &World, object: &str, reason: &str) -> Result<Vec<String>> {
    let items = world.list("event", &format!("reason={reason}")).await?;
    let about = items.iter().filter(|event| event["regarding"]["name"] == object);
    Ok(about.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Waits until so many different events with this reason are told of the object: what was done shows a moment earlier.
pub async fn wait_events(world: &World, object: &str, reason: &str, number: usize) -> Result<Vec<String>> {
    world
        .wait_until(&format!("{number} events {reason} of {object}"), PATIENCE, async || {
            let notes = events(world, object, reason).await?;
            ensure!(notes.len() >= number, "{notes:?}");
            Ok(notes)
        })
        .await
}

/// The value of a series of a pipeline that has no other labels, if there is one.
pub fn series(metrics: &str, world: &World, cluster: &str, name: &str) -> Option<i64> {
    let begin = format!("{name}{{namespace=\"{}\",cluster=\"{cluster}\"}} ", world.namespace);
    metrics.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok())
}

/// The value of the series of a pipeline that has these labels besides, in the order in which they are written; 0 if
/// there is none.
pub fn counted(metrics: &str, world: &World, cluster: &str, (name, labels): (&str, &str)) -> i64 {
    let begin = format!("{name}{{namespace=\"{}\",cluster=\"{cluster}\",{labels}}} ", world.namespace);
    metrics.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok()).unwrap_or_default()
}

/// Looks of this part so far; 0 before the first one has been counted.
pub async fn looks_at(operator: &Operator, part: &str) -> Result<u64> {
    Ok(looks(&operator.metrics().await?).get(part).copied().unwrap_or_default())
}

/// Returns when this part has looked so many times more.
pub async fn more_looks(world: &World, operator: &Operator, part: &str, number: u64) -> Result<()> {
    let first = looks_at(operator, part).await?;
    world
        .wait_until(&format!("{number} more looks of the part {part}"), PATIENCE, async || {
            let now = looks_at(operator, part).await?;
            ensure!(now >= first + number, "{now} looks after {first}");
            Ok(())
        })
        .await
}

/// Sets the smallest number of workers of pipeline `demo`, at most nine; each greater number is one raise.
pub async fn want_workers(world: &World, min: i32) -> Result<()> {
    apply(world, &[&with_spark(world, cluster(world, "demo"), (min, 9))?]).await
}

/// Waits until the world's group has this desired capacity.
pub async fn wait_desired(world: &World, desired: i64) -> Result<()> {
    world
        .wait_until(&format!("desired capacity {desired}"), PATIENCE, async || {
            let group = world.group(&world.group).await?;
            ensure!(group.desired == desired, "desired is {}", group.desired);
            Ok(())
        })
        .await
}

/// How often the desired capacity of the world's group was set.
pub async fn raises(world: &World) -> Result<usize> {
    let calls = world.calls(&world.group, true).await?;
    Ok(calls.iter().filter(|call| call.action == "SetDesiredCapacity").count())
}
