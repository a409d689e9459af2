//! Secrets that objects refer to: read only where a tenant allowed it, seen when they change, shown nowhere.

use crate::kafka_cluster;
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::install;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::secrets::Canaries;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::world::World;
use logwise_tests::{PATIENCE, apply, cluster, condition, events, wait_condition, write_secret};
use serde_json::{Value, json};
use std::time::Duration;

/// How soon a changed Secret is promised to work.
const CHANGED: Duration = Duration::from_secs(60);

/// A pipeline whose AWS calls are signed with the keys of Secret `aws`.
fn pipeline(world: &World) -> Value {
    let mut object = cluster(world, "demo");
    object["spec"]["aws"]["credentialsSecretRef"] = json!({"name": "aws"});
    object
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

/// Everything that anybody has to say.
fn talkative() -> Options {
    Options::config(Value::Null).env("RUST_LOG", "trace")
}

/// Errors unless these have said something: words that are nowhere in a silent log prove nothing.
fn have_spoken(operator: &Operator, targets: &[&str]) -> Result<()> {
    let log = operator.log()?;
    for target in targets {
        ensure!(log.contains(&format!("\"target\":\"{target}")), "{target} has said nothing");
    }
    Ok(())
}

/// The command that the message of `Stalled` tells people to paste.
fn pasted(object: &Value) -> Result<String> {
    let message = condition(object, "Stalled").context("Stalled")?["message"].as_str().unwrap_or_default();
    let (_, rest) = message.split_once("or: kubectl ").with_context(|| format!("no command in: {message}"))?;
    let mut words = Vec::new();
    for word in rest.split_whitespace() {
        words.push(word);
        if word.starts_with("--serviceaccount=") {
            return Ok(format!("kubectl {}", words.join(" ")));
        }
    }
    bail!("the command does not say for whom: {message}")
}

/// Runs a command in a shell, as the administrator does who pastes it.
async fn paste(world: &World, command: &str) -> Result<()> {
    let kubeconfig = &world.bed.kube.kubeconfig;
    let programs = kubeconfig.with_file_name("bin");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", command]).env("PATH", path).env("KUBECONFIG", kubeconfig);
    let output = shell.output().await?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn the_pasted_commands_of_two_secrets_both_work() -> Result<()> {
    // Its first looks are refused by the API server: the audit of the test run looks for that name.
    let world = World::new(&Bed::attach()?, "denied-secret").await?;
    world.create_topic("api", 1).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    for name in ["first", "second.of-two"] {
        world.bed.stand_in().add_key("AKIACANARYPASTED0001").await?;
        let keys = json!({"accessKeyId": "AKIACANARYPASTED0001", "secretAccessKey": "canary-secret-pasted-3e01"});
        write_secret(&world, name, &keys).await?;
        let mut object = pipeline(&world);
        object["spec"]["aws"]["credentialsSecretRef"]["name"] = json!(name);
        apply(&world, &[&object]).await?;
        let object = wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "SecretForbidden")).await?;
        let command = pasted(&object)?;
        ensure!(command.contains("--serviceaccount=logwise-system:logwise-operator"), "{command}");
        paste(&world, &command).await?;
        wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn credentials_of_a_role_go_with_their_pipeline() -> Result<()> {
    let world = World::new(&Bed::attach()?, "secret-role").await?;
    world.create_topic("api", 1).await?;
    let role = format!("{}-role", world.id);
    let external_id = format!("{}/{}/demo", world.id, world.namespace);
    let mut object = cluster(&world, "demo");
    object["spec"]["aws"]["roleARN"] = json!(world.bed.stand_in().add_role(&role, &external_id).await?);
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let assumed = async || -> Result<usize> {
        let calls = world.calls(&role, false).await?;
        Ok(calls.iter().filter(|call| call.action == "AssumeRole").count())
    };
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    wait_condition(&world, ("lwc", "demo"), ("Validated", "True", "PreflightPassed")).await?;
    let before = assumed().await?;
    ensure!(before > 0, "the role was not assumed");
    world.kubectl(&["delete", "lwc", "demo"]).await?;
    world
        .wait_until("the pipeline to be forgotten", PATIENCE, async || {
            ensure!(operator.log()?.contains("Deleted; topics"), "it is not");
            Ok(())
        })
        .await?;
    apply(&world, &[&object]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    let after = assumed().await?;
    ensure!(after > before, "the new pipeline was given the credentials of the old one");
    Ok(())
}

#[tokio::test]
async fn labels_that_cannot_be_seen_any_more_grant_nothing() -> Result<()> {
    let bed = Bed::attach()?;
    install::namespace_labels(&bed).await?;
    let world = World::new(&bed, "secret-blind").await?;
    world.create_topic("api", 1).await?;
    let label = format!("logwise.io/granted={}", world.id);
    bed.kubectl(&["label", "namespace", &world.namespace, &label], None).await?;
    apply(&world, &[&kafka_only(&world)?]).await?;
    let proxy = world.kubernetes_proxy().await?;
    let mut operator = Operator::start(&world, by_label(&world).behind(&proxy)).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    ensure!(events(&world, "demo", "NotGranted").await?.is_empty(), "it was refused before the labels were listed");
    proxy.add(Rule::new(r"^/api/v1/namespaces(\?|$)", Action::DropBefore)?.times(0));
    proxy.add(Rule::new(r"^/api/v1/namespaces(\?|$)", Action::Cut)?.running());
    let object = wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "NotGranted")).await?;
    let message = condition(&object, "Stalled").context("Stalled")?["message"].as_str().unwrap_or_default();
    ensure!(message.contains("could not be read"), "{message}");
    proxy.clear();
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await.map(drop)
}

/// `demo`, which needs a grant for Kafka only.
fn kafka_only(world: &World) -> Result<Value> {
    let mut object = cluster(world, "demo");
    let spec = object["spec"].as_object_mut().context("a spec")?;
    spec.remove("storage");
    spec.remove("aws");
    Ok(object)
}

/// Grants Kafka to the namespaces with the world's label.
fn by_label(world: &World) -> Options {
    let grants = json!([{
        "namespaceSelector": {"matchLabels": {"logwise.io/granted": world.id}},
        "kafka": [world.bed.kafka.bootstrap],
    }]);
    Options::config(json!({"grants": grants, "trustedNamespaceLabels": ["logwise.io/granted"]}))
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
    let mut operator = Operator::start(&world, talkative()).await?;
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
    write_secret(&world, "aws", &first).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    wait_caller(&world, "AKIACANARYFIRST00001").await?;
    let second = json!({
        "accessKeyId": "AKIACANARYSECOND0002",
        "secretAccessKey": "canary-secret-second-91c4",
        "sessionToken": "canary-token-second-55d0",
    });
    write_secret(&world, "aws", &second).await?;
    wait_caller(&world, "AKIACANARYSECOND0002").await?;
    have_spoken(&operator, &["aws_smithy", "aws_sigv4", "kube_client", "hyper"])?;
    let canaries =
        Canaries::new(&["canary-secret-first-7f3a", "canary-secret-second-91c4", "canary-token-second-55d0"])?;
    canaries.nowhere(&world, &[&operator]).await
}

#[tokio::test]
async fn a_password_of_kafka_is_shown_nowhere() -> Result<()> {
    let world = World::new(&Bed::attach()?, "secret-kafka").await?;
    world.create_topic("api", 1).await?;
    install::tenant(&world.bed, &world.namespace, &["kafka"]).await?;
    write_secret(&world, "kafka", &json!({"username": "logwise", "password": "canary-password-e21b"})).await?;
    let mut object = cluster(&world, "demo");
    // The broker speaks no SASL: the login fails, and librdkafka has much to say about it.
    object["spec"]["kafka"]["authentication"] = json!({"type": "SCRAM-SHA-512", "secretRef": {"name": "kafka"}});
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, talkative()).await?;
    operator.wait_ready().await?;
    world
        .wait_until("the login to fail", PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            let ready = condition(&object, "KafkaReady").context("no KafkaReady")?;
            ensure!(ready["status"] == "False", "{ready}");
            Ok(())
        })
        .await?;
    have_spoken(&operator, &["librdkafka", "rdkafka"])?;
    Canaries::new(&["canary-password-e21b"])?.nowhere(&world, &[&operator]).await
}

/// Looks that find nothing wrong are ten minutes apart here, but for the Secret. The first user may see no topic, the
/// second one all.
#[tokio::test]
async fn a_changed_login_of_kafka_is_used_within_a_minute_however_rare_looks_are() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "secret-login").await?;
    let setup = Setup { secure: true, authorize: true, ..Setup::default() };
    let brokers = Brokers::start(&bed, "login", setup).await?;
    brokers.create_topic("logs.api", 3, 1).await?;
    install::tenant(&bed, &world.namespace, &["kafka", "ca"]).await?;
    write_secret(&world, "ca", &json!({"ca.crt": brokers.ca()?})).await?;
    let login = async |user: &str, password: &str| {
        write_secret(&world, "kafka", &json!({"username": user, "password": password})).await
    };
    login(brokers.other_user(), brokers.other_password()).await?;
    let mut object = kafka_cluster::pipeline(&world, "demo", &brokers.secure_bootstrap()?)?;
    object["spec"]["kafka"]["tls"] = json!({"caSecretRef": {"name": "ca"}});
    object["spec"]["kafka"]["authentication"] = json!({"type": "SCRAM-SHA-512", "secretRef": {"name": "kafka"}});
    apply(&world, &[&object]).await?;
    let rare = Options::config(json!({"intervals": {"kafkaSeconds": 600}}));
    let mut operator = Operator::start(&world, rare).await?;
    operator.wait_ready().await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    ensure!(object["status"]["kafka"]["topics"] == 0, "it sees topics: {}", object["status"]["kafka"]);
    login(brokers.user(), brokers.password()).await?;
    world
        .wait_until("the topic to be seen by the new login", CHANGED, async || {
            let object = world.get_json("lwc", "demo").await?;
            ensure!(object["status"]["kafka"]["topics"] == 1, "{}", object["status"]["kafka"]);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn grants_by_label_follow_the_labels_of_the_namespace() -> Result<()> {
    let bed = Bed::attach()?;
    install::namespace_labels(&bed).await?;
    let world = World::new(&bed, "secret-labels").await?;
    world.create_topic("api", 1).await?;
    apply(&world, &[&kafka_only(&world)?]).await?;
    let mut operator = Operator::start(&world, by_label(&world)).await?;
    operator.wait_ready().await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "NotGranted")).await?;
    let label = format!("logwise.io/granted={}", world.id);
    bed.kubectl(&["label", "namespace", &world.namespace, &label], None).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    bed.kubectl(&["label", "namespace", &world.namespace, "logwise.io/granted-"], None).await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "NotGranted")).await.map(drop)
}
