//! Attacks by a tenant who may create objects in one namespace: each ends in a named refusal, and nobody outside is
//! called for the refused object.

use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::proxy::listener::CountingListener;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, condition, wait_condition};
use serde_json::{Value, json};

/// What a tenant tries. `spec` replaces parts of a spec that is granted as a whole.
struct Attack {
    name: String,
    spec: Value,
    /// Bucket or group that must not be called for it; empty: none.
    resource: String,
}

struct Victim {
    bucket: String,
    group: String,
    kafka: CountingListener,
    spark: CountingListener,
}

fn attack(name: &str, resource: &str, spec: Value) -> Attack {
    Attack { name: name.to_owned(), spec, resource: resource.to_owned() }
}

/// The spec of a pipeline that is granted in every part.
fn granted(world: &World) -> Value {
    json!({
        "aws": {"region": world.bed.aws.region},
        "storage": {"bucketName": world.bucket},
        "kafka": {"bootstrapServers": [world.bed.kafka.bootstrap]},
    })
}

fn merged(mut base: Value, patch: &Value) -> Value {
    if let (Some(into), Some(from)) = (base.as_object_mut(), patch.as_object()) {
        for (key, value) in from {
            let before = into.get(key).cloned().unwrap_or(Value::Null);
            into.insert(key.clone(), if value.is_object() { merged(before, value) } else { value.clone() });
        }
        return base;
    }
    patch.clone()
}

fn kafka(name: &str, address: String) -> Attack {
    attack(&format!("kafka-{name}"), "", json!({"kafka": {"bootstrapServers": [address]}}))
}

fn spark(name: &str, host: &str, port: u16) -> Attack {
    let master = json!({"host": host, "uiPort": port});
    attack(&format!("spark-{name}"), "", json!({"spark": {"masters": [master]}}))
}

fn bucket(name: &str, bucket: &str, more: Value) -> Attack {
    let storage = merged(json!({"bucketName": bucket}), &more);
    attack(&format!("bucket-{name}"), bucket, json!({"storage": storage}))
}

fn group(name: &str, group: &str, region: &str) -> Attack {
    let workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": group}});
    let master = json!({"host": "127.0.0.1", "uiPort": 1});
    let spec = json!({"aws": {"region": region}, "spark": {"masters": [master], "workers": workers}});
    attack(&format!("group-{name}"), group, spec)
}

/// Calls of this world's operator that tried to assume a role; they are filed under the role's name, whoever calls.
async fn assumed(world: &World, arns: &[&str]) -> Result<Vec<Value>> {
    let of_world = format!("{}/{}/", world.id, world.namespace);
    let mut found = Vec::new();
    for arn in arns {
        let name = arn.rsplit('/').next().unwrap_or_default();
        let calls = world.calls(name, false).await?;
        let params = calls.into_iter().filter(|call| call.action == "AssumeRole").map(|call| call.params);
        found.extend(params.filter(|params| params["ExternalId"].as_str().is_some_and(|id| id.starts_with(&of_world))));
    }
    Ok(found)
}

fn role(name: &str, arn: &str) -> Attack {
    attack(&format!("role-{name}"), "", json!({"aws": {"roleARN": arn}}))
}

/// Other ways to write an IPv4 address: decimal, octal, hexadecimal, mapped into IPv6, short.
fn disguises(ip: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<u32> = ip.split('.').filter_map(|part| part.parse().ok()).collect();
    let number = parts.iter().fold(0_u32, |all, part| all * 256 + part);
    let octal = parts.iter().map(|part| format!("0{part:o}")).collect::<Vec<_>>().join(".");
    let hex = parts.iter().map(|part| format!("{part:#x}")).collect::<Vec<_>>().join(".");
    vec![
        ("decimal", number.to_string()),
        ("octal", octal),
        ("hex", hex),
        ("hexnumber", format!("{number:#x}")),
        ("mapped", format!("[::ffff:{ip}]")),
        ("short", format!("{}.{}", parts[0], number % 16_777_216)),
    ]
}

fn attacks(world: &World, victim: &Victim) -> Vec<Attack> {
    let (kafka_ip, kafka_port) = (victim.kafka.address.ip().to_string(), victim.kafka.address.port());
    let (spark_ip, spark_port) = (victim.spark.address.ip().to_string(), victim.spark.address.port());
    let mut all = vec![
        kafka("foreign", format!("{kafka_ip}:{kafka_port}")),
        kafka("alias", format!("localhost:{kafka_port}")),
        kafka("upper", format!("LOCALHOST:{kafka_port}")),
        kafka("dotted", format!("localhost.:{kafka_port}")),
        kafka("own-host-other-port", format!("{}:{kafka_port}", host(&world.bed.kafka.bootstrap))),
        spark("foreign", &spark_ip, spark_port),
        spark("alias", "localhost", spark_port),
        spark("upper", "LocalHost", spark_port),
        spark("dotted", "localhost.", spark_port),
        bucket("foreign", &victim.bucket, json!({})),
        bucket("upper", &victim.bucket.to_uppercase(), json!({})),
        bucket("dotted", &format!("{}.", victim.bucket), json!({})),
        bucket("arn", &format!("arn:aws:s3:::{}", victim.bucket), json!({})),
        bucket("wildcard", "*", json!({})),
        bucket("lookalike", &victim.bucket.replace('a', "\u{430}"), json!({})),
        bucket("logs-prefix", &world.bucket, json!({"logsPrefix": "private/"})),
        bucket("prefix-beside", &world.bucket, json!({"logsPrefix": "logs-of-others/"})),
        bucket("checkpoint-prefix", &world.bucket, json!({"checkpointPrefix": "private/"})),
        bucket("prefix-up", &world.bucket, json!({"logsPrefix": "logs/../private/"})),
        group("foreign", &victim.group, &world.bed.aws.region),
        group("other-region", &world.group, "eu-west-1"),
        group("upper", &world.group.to_uppercase(), &world.bed.aws.region),
        group("arn", &format!("arn:aws:autoscaling:::{}", victim.group), &world.bed.aws.region),
        group("wildcard", "*", &world.bed.aws.region),
        role("foreign", "arn:aws:iam::123456789012:role/other"),
        role("upper", "arn:aws:iam::123456789012:role/OWN"),
        role("partition", "arn:aws-cn:iam::123456789012:role/own"),
        role("account", "arn:aws:iam::210987654321:role/own"),
        role("path", "arn:aws:iam::123456789012:role/x/own"),
        role("wildcard", "arn:aws:iam::123456789012:role/*"),
        role("user", "arn:aws:iam::123456789012:user/own"),
    ];
    for (name, text) in disguises(&kafka_ip) {
        all.push(kafka(name, format!("{text}:{kafka_port}")));
    }
    for (name, text) in disguises(&spark_ip) {
        all.push(spark(name, &text, spark_port));
    }
    all
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Applies the object; says whether the API server itself refused it, with a message that names what is wrong.
async fn refused_at_once(world: &World, attack: &Attack) -> Result<bool> {
    let object = json!({
        "apiVersion": "logwise.io/v1alpha1",
        "kind": "LogwiseCluster",
        "metadata": {"name": attack.name},
        "spec": merged(granted(world), &attack.spec),
    });
    match apply(world, &[&object]).await {
        Ok(()) => Ok(false),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("must") || text.contains("Invalid value"), "{}: {text}", attack.name);
            Ok(true)
        }
    }
}

fn grants(world: &World) -> Value {
    json!([{
        "namespaces": [world.namespace],
        "buckets": [{"name": world.bucket, "prefix": "logs/", "accountID": "123456789012"},
                    {"name": world.bucket, "prefix": "checkpoint/", "accountID": "123456789012"}],
        "autoScalingGroups": [{"region": world.bed.aws.region, "name": world.group}],
        "roles": ["arn:aws:iam::123456789012:role/own"],
        "kafka": [world.bed.kafka.bootstrap],
        "spark": ["127.0.0.1:1"],
    }])
}

#[tokio::test]
async fn every_attack_is_refused_by_name_and_calls_nobody() -> Result<()> {
    let bed = Bed::attach()?;
    let (world, other) = (World::new(&bed, "grants-tenant").await?, World::new(&bed, "grants-victim").await?);
    futures::try_join!(world.create_group(1, 4, 1), other.create_group(1, 4, 1))?;
    let victim = Victim {
        bucket: other.bucket.clone(),
        group: other.group.clone(),
        kafka: other.counting_listener().await?,
        spark: other.counting_listener().await?,
    };
    let mut operator = Operator::start(&world, Options::config(json!({"grants": grants(&world)}))).await?;
    operator.wait_ready().await?;
    let attacks = attacks(&world, &victim);
    ensure!(attacks.len() >= 40, "only {} attacks", attacks.len());
    let mut admitted = Vec::new();
    for attack in &attacks {
        if !refused_at_once(&world, attack).await? {
            admitted.push(attack);
        }
    }
    ensure!(admitted.len() >= 20, "the schema refused nearly all: {} are left to the grants", admitted.len());
    for attack in &admitted {
        let object = wait_condition(&world, ("lwc", &attack.name), ("Stalled", "True", "NotGranted")).await?;
        let message = condition(&object, "Stalled").context("no Stalled")?["message"].as_str().unwrap_or_default();
        ensure!(message.contains(&world.namespace), "{}: {message}", attack.name);
    }
    for attack in attacks.iter().filter(|attack| !attack.resource.is_empty() && attack.resource != world.bucket) {
        let calls = world.calls(&attack.resource, false).await?;
        ensure!(attack.resource == world.group || calls.is_empty(), "{} was called: {calls:?}", attack.resource);
    }
    ensure!(world.calls(&world.bucket, false).await?.is_empty(), "a refused object was looked at");
    ensure!(world.calls(&world.group, false).await?.is_empty(), "a refused object was looked at");
    let arns: Vec<&str> = attacks.iter().filter_map(|attack| attack.spec["aws"]["roleARN"].as_str()).collect();
    ensure!(arns.len() >= 7, "only {arns:?}");
    let assumed_roles = assumed(&world, &arns).await?;
    ensure!(assumed_roles.is_empty(), "a role was asked for: {assumed_roles:?}");
    victim.kafka.untouched()?;
    victim.spark.untouched()?;
    let log = operator.log()?;
    ensure!(
        !log.contains("no grants are configured") && log.contains("allowInsecureEndpoints"),
        "warnings at the start"
    );
    the_ledger_shows_roles(&world).await
}

/// A role that is granted is asked for, and the ledger shows it: its silence about the others means something.
async fn the_ledger_shows_roles(world: &World) -> Result<()> {
    const OWN: &str = "arn:aws:iam::123456789012:role/own";
    let granted = role("granted", OWN);
    ensure!(!refused_at_once(world, &granted).await?, "the schema refused a granted role");
    world
        .wait_until("the granted role to be asked for", PATIENCE, async || {
            let found = assumed(world, &[OWN]).await?;
            ensure!(!found.is_empty(), "nobody asked");
            ensure!(found.iter().all(|call| call["RoleArn"] == OWN), "{found:?}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn what_is_granted_works_and_every_s3_call_names_the_owner() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grants-good").await?;
    world.create_topic("api", 1).await?;
    let object = json!({
        "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "good"},
        "spec": granted(&world),
    });
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, Options::config(json!({"grants": grants(&world)}))).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "good"), ("Ready", "True", "Running")).await?;
    let calls = world.calls(&world.bucket, false).await?;
    ensure!(!calls.is_empty(), "the bucket was looked at");
    for call in &calls {
        let owner = call.params.get("x-amz-expected-bucket-owner").and_then(Value::as_str);
        ensure!(owner == Some("123456789012"), "without the expected owner: {call:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bucket_of_another_account_is_read_once_with_the_owner_and_never_written() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grants-account").await?;
    world.create_topic("api", 1).await?;
    let mut wrong = grants(&world);
    for bucket in wrong[0]["buckets"].as_array_mut().context("buckets")? {
        bucket["accountID"] = json!("210987654321");
    }
    let object = json!({
        "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "wrong"},
        "spec": granted(&world),
    });
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, Options::config(json!({"grants": wrong}))).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "wrong"), ("Stalled", "True", "PermissionDenied")).await?;
    ensure!(world.calls(&world.bucket, true).await?.is_empty(), "a bucket of another account was changed");
    for call in world.calls(&world.bucket, false).await? {
        ensure!(call.outcome.status == Some(403), "S3 let it through: {call:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_grant_ends_the_program_and_names_the_entry() -> Result<()> {
    let world = World::new(&Bed::attach()?, "grants-bad").await?;
    let bad = json!([{"namespaces": ["a"], "buckets": [{"name": "x-logs", "accountID": "12"}]}]);
    let mut operator = Operator::start(&world, Options::config(json!({"grants": bad}))).await?;
    let code = operator.wait_exit().await?;
    let log = operator.log()?;
    if code != 2 || !log.contains("grants") || !log.contains("12 digits") {
        bail!("exit {code}: {log}");
    }
    world.wait_until("nothing", PATIENCE, async || Ok(())).await
}
