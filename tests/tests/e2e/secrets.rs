//! Secrets that objects refer to: read only where a tenant allowed it, seen when they change, shown nowhere.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::secrets::Canaries;
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, condition, wait_condition};
use serde_json::{Value, json};

/// A pipeline whose AWS calls are signed with the keys of Secret `aws`.
fn pipeline(world: &World) -> Value {
    let mut object = cluster(world, "demo");
    object["spec"]["aws"]["credentialsSecretRef"] = json!({"name": "aws"});
    object
}

async fn write_secret(world: &World, name: &str, keys: Value) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys});
    world.apply(&secret.to_string()).await.map(drop)
}

/// Access key ids of the calls on the world's bucket, the newest last.
async fn callers(world: &World) -> Result<Vec<String>> {
    Ok(world.calls(&world.bucket, false).await?.into_iter().map(|call| call.caller).collect())
}

async fn wait_caller(world: &World, key: &str) -> Result<()> {
    world
        .wait_until(&format!("a call signed with {key}"), PATIENCE, async || {
            let callers = callers(world).await?;
            let last = callers.last().context("no call")?;
            ensure!(last.contains(key), "the last call was by {last}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_secret_is_read_only_with_the_tenants_role_and_a_new_key_works_without_a_restart() -> Result<()> {
    // Its first look is refused by the API server: the audit of the test run looks for that name.
    let world = World::new(&Bed::attach()?, "denied-secret").await?;
    world.create_topic("api", 1).await?;
    for key in ["AKIACANARYFIRST00001", "AKIACANARYSECOND0002"] {
        world.bed.stand_in().add_key(key).await?;
    }
    apply(&world, &[&pipeline(&world)]).await?;
    let mut operator = Operator::start(&world, Options::config(json!({"log": {"level": "debug"}}))).await?;
    operator.wait_ready().await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "SecretForbidden")).await?;
    let message = condition(&object, "Stalled").context("Stalled")?["message"].as_str().unwrap_or_default();
    for part in ["spec.aws.credentialsSecretRef.name", "create role", "--resource-name=aws", &world.namespace] {
        ensure!(message.contains(part), "{part} is missing: {message}");
    }
    ensure!(callers(&world).await?.is_empty(), "no call without the keys that the object asks for");
    install::tenant(&world.bed, &world.namespace, &["aws"]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "SecretNotFound")).await?;
    let first = json!({"accessKeyId": "AKIACANARYFIRST00001", "secretAccessKey": "canary-secret-first-7f3a"});
    write_secret(&world, "aws", first).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    wait_caller(&world, "AKIACANARYFIRST00001").await?;
    let second = json!({
        "accessKeyId": "AKIACANARYSECOND0002",
        "secretAccessKey": "canary-secret-second-91c4",
        "sessionToken": "canary-token-second-55d0",
    });
    write_secret(&world, "aws", second).await?;
    wait_caller(&world, "AKIACANARYSECOND0002").await?;
    let canaries =
        Canaries::new(&["canary-secret-first-7f3a", "canary-secret-second-91c4", "canary-token-second-55d0"])?;
    canaries.nowhere(&world, &[&operator]).await
}

#[tokio::test]
async fn a_password_of_kafka_is_shown_nowhere() -> Result<()> {
    let world = World::new(&Bed::attach()?, "secret-kafka").await?;
    world.create_topic("api", 1).await?;
    install::tenant(&world.bed, &world.namespace, &["kafka"]).await?;
    write_secret(&world, "kafka", json!({"username": "logwise", "password": "canary-password-e21b"})).await?;
    let mut object = cluster(&world, "demo");
    // The broker speaks no SASL: the login fails, and librdkafka has much to say about it.
    object["spec"]["kafka"]["authentication"] = json!({"type": "SCRAM-SHA-512", "secretRef": {"name": "kafka"}});
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, Options::config(json!({"log": {"level": "debug"}}))).await?;
    operator.wait_ready().await?;
    world
        .wait_until("the login to fail", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            let ready = condition(&object, "KafkaReady").context("no KafkaReady")?;
            ensure!(ready["status"] == "False", "{ready}");
            Ok(())
        })
        .await?;
    Canaries::new(&["canary-password-e21b"])?.nowhere(&world, &[&operator]).await
}

#[tokio::test]
async fn grants_by_label_follow_the_labels_of_the_namespace() -> Result<()> {
    let bed = Bed::attach()?;
    install::namespace_labels(&bed).await?;
    let world = World::new(&bed, "secret-labels").await?;
    world.create_topic("api", 1).await?;
    let mut object = cluster(&world, "demo");
    object["spec"].as_object_mut().context("a spec")?.remove("storage");
    object["spec"].as_object_mut().context("a spec")?.remove("aws");
    apply(&world, &[&object]).await?;
    let grants = json!([{
        "namespaceSelector": {"matchLabels": {"logwise.io/granted": world.id}},
        "kafka": [bed.kafka.bootstrap],
    }]);
    let config = json!({"grants": grants, "trustedNamespaceLabels": ["logwise.io/granted"]});
    let mut operator = Operator::start(&world, Options::config(config)).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "NotGranted")).await?;
    let label = format!("logwise.io/granted={}", world.id);
    bed.kubectl(&["label", "namespace", &world.namespace, &label], None).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    bed.kubectl(&["label", "namespace", &world.namespace, "logwise.io/granted-"], None).await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "NotGranted")).await.map(drop)
}
