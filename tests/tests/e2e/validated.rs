//! The condition `Validated`: what a pipeline may do, found out before anything needs it.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::Fault;
use logwise_testbed::world::World;
use logwise_testbed::{http, install};
use logwise_tests::{PATIENCE, apply, cluster, condition, events, wait_condition, with_spark, write_secret};
use serde_json::{Value, json};

const DEMO: (&str, &str) = ("lwc", "demo");

/// Lets a key of the stand-in do these things and no others.
async fn allow(world: &World, key: &str, actions: &[&str]) -> Result<()> {
    let body = json!({"access_key_id": key, "allow": actions});
    let answer = http::client()?.post(format!("{}/_keys", world.bed.aws.endpoint)).json(&body).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

/// How often the preflight ran: it alone asks who calls.
async fn checks(world: &World, key: &str) -> Result<usize> {
    let calls = world.bed.stand_in().calls("", false).await?;
    let caller = format!("key/{key}");
    Ok(calls.iter().filter(|call| call.caller == caller && call.action == "GetCallerIdentity").count())
}

fn message(object: &Value) -> Result<String> {
    let found = condition(object, "Validated").context("Validated")?;
    Ok(found["message"].as_str().context("a message")?.to_owned())
}

async fn looks(operator: &Operator) -> Result<u64> {
    let metrics = operator.metrics().await?;
    let lines = metrics.lines().filter(|line| line.starts_with("logwise_operator_reconcile_total{part=\"kafka\""));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

#[tokio::test]
async fn a_missing_permission_is_named_with_its_statement_until_it_is_given() -> Result<()> {
    let world = World::new(&Bed::attach()?, "validated").await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(0, 4, 0))?;
    install::tenant(&world.bed, &world.namespace, &["aws"]).await?;
    let key = format!("AKIA{}", world.id.to_uppercase());
    let but_one = ["autoscaling:*", "ec2:DescribeInstances", "s3:Get*", "s3:PutLifecycleConfiguration"];
    allow(&world, &key, &but_one).await?;
    let mut object = with_spark(&world, cluster(&world, "demo"), (0, 4))?;
    object["spec"]["aws"]["credentialsSecretRef"] = json!({"name": "aws"});
    // No worker comes or goes: every call that changes the group would be the preflight's.
    object["spec"]["spark"]["workers"]["autoscaling"]["mode"] = json!("Disabled");
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let missing = wait_condition(&world, DEMO, ("Validated", "False", "SecretNotFound")).await?;
    ensure!(message(&missing)?.contains("Secret aws does not exist"), "{}", message(&missing)?);
    ensure!(checks(&world, &key).await? == 0, "nobody is asked without the keys that the object names");

    write_secret(&world, "aws", &json!({"accessKeyId": key, "secretAccessKey": "of-this-test"})).await?;
    let denied = message(&wait_condition(&world, DEMO, ("Validated", "False", "PermissionDenied")).await?)?;
    let what = format!("s3:ListBucket on arn:aws:s3:::{} is denied", world.bucket);
    ensure!(denied.starts_with(&what) && denied.contains("the keys in Secret aws"), "{denied}");
    ensure!(denied.contains("10 of 12 AWS permissions and 4 of 4 Kafka ACLs verified"), "{denied}");
    let statement: Value = serde_json::from_str(denied.get(denied.find('{').context("no statement")?..).context("{")?)?;
    let bucket = format!("arn:aws:s3:::{}", world.bucket);
    ensure!(statement == json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": bucket}), "{statement}");
    wait_condition(&world, DEMO, ("KafkaReady", "True", "Available")).await?;
    ensure!(world.topic_partitions("api").await? == 3, "the parts do not wait for the preflight");
    let noted = events(&world, "demo", "PermissionDenied").await?;
    ensure!(noted.iter().any(|note| note.starts_with("Validated is False: s3:ListBucket")), "{noted:?}");

    let all = [&but_one[..], &["s3:ListBucket"]].concat();
    allow(&world, &key, &all).await?;
    let passed = message(&wait_condition(&world, DEMO, ("Validated", "True", "PreflightPassed")).await?)?;
    let wanted = "12 of 12 AWS permissions and 4 of 4 Kafka ACLs verified; not tested, because it changes something: \
                  autoscaling:SetDesiredCapacity, autoscaling:TerminateInstanceInAutoScalingGroup, \
                  autoscaling:SetInstanceProtection, autoscaling:UpdateAutoScalingGroup, \
                  autoscaling:RecordLifecycleActionHeartbeat, autoscaling:CompleteLifecycleAction, \
                  s3:PutLifecycleConfiguration";
    ensure!(passed == wanted, "{passed}");
    wait_condition(&world, DEMO, ("Ready", "True", "Running")).await?;
    // What is said of a new object changes once more when it is known that there is no query.
    let told = async || {
        let object = world.get_json(DEMO.0, DEMO.1).await?;
        let risk = condition(&object, "RetentionAtRisk").context("no RetentionAtRisk")?;
        ensure!(risk["message"].as_str().is_some_and(|message| message.contains("holds no batch")), "{risk}");
        Ok(())
    };
    world.wait_until("the empty checkpoint to be told", PATIENCE, told).await?;
    stays_at_rest(&world, &operator, &key).await?;
    let changes = [world.calls(&world.bucket, true).await?, world.calls(&world.group, true).await?].concat();
    // That new instances are protected is the Spark part's doing.
    let checked = changes.iter().filter(|call| call.action != "UpdateAutoScalingGroup");
    ensure!(checked.count() == 0, "a check changed something: {changes:?}");
    Ok(())
}

/// No check while nothing changes, exactly one more after the spec did, also of a suspended object.
async fn stays_at_rest(world: &World, operator: &Operator, key: &str) -> Result<()> {
    let (before, first) = (checks(world, key).await?, looks(operator).await?);
    let version = world.get_json(DEMO.0, DEMO.1).await?["metadata"]["resourceVersion"].clone();
    world
        .wait_until("five looks of the Kafka part", PATIENCE, async || {
            let now = looks(operator).await?;
            ensure!(now >= first + 5, "{first} -> {now}");
            Ok(())
        })
        .await?;
    ensure!(checks(world, key).await? == before, "checked again at rest");
    let now = world.get_json(DEMO.0, DEMO.1).await?;
    ensure!(now["metadata"]["resourceVersion"] == version, "written at rest: {}", now["status"]);
    world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", r#"{"spec":{"suspend":true}}"#]).await?;
    wait_condition(world, DEMO, ("Suspended", "True", "SuspendedByUser")).await?;
    wait_condition(world, DEMO, ("Validated", "True", "PreflightPassed")).await?;
    let now = checks(world, key).await?;
    ensure!(now == before + 1, "{before} checks before the change, {now} after it");
    Ok(())
}

#[tokio::test]
async fn a_bucket_of_another_region_is_named_and_a_preflight_that_is_off_says_so() -> Result<()> {
    let world = World::new(&Bed::attach()?, "validated-region").await?;
    world.create_topic("api", 1).await?;
    let region = "The authorization header is malformed; the region 'ap-south-1' is wrong; expecting 'eu-west-1'";
    let elsewhere = Fault {
        message: Some(region.to_owned()),
        ..Fault::error(&world.bucket, ".", 400, "AuthorizationHeaderMalformed").times(0)
    };
    world.fault(&elsewhere).await?;
    apply(&world, &[&cluster(&world, "demo")]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    let found = wait_condition(&world, DEMO, ("Validated", "False", "BucketInOtherRegion")).await?;
    let said = message(&found)?;
    ensure!(said.contains("expecting 'eu-west-1'") && said.contains("`aws.region`"), "{said}");
    operator.stop().await?;
    world.clear_faults(&world.bucket).await?;
    let off = json!({"preflight": {"enabled": false}});
    let mut operator = Operator::start(&world, Options::config(off)).await?;
    operator.wait_ready().await?;
    let before = world.calls(&world.bucket, false).await?.len();
    wait_condition(&world, DEMO, ("Validated", "Unknown", "PreflightDisabled")).await?;
    wait_condition(&world, DEMO, ("Ready", "True", "Running")).await?;
    let after = world.calls(&world.bucket, false).await?.split_off(before);
    ensure!(after.iter().all(|call| call.service == "s3"), "{after:?}");
    let told = operator.metrics().await?;
    ensure!(!told.contains("fact=\"preflight\""), "a preflight that is off told something");
    Ok(())
}

#[tokio::test]
async fn acls_that_kafka_lacks_are_given_by_the_command_in_the_message() -> Result<()> {
    let bed = Bed::attach()?;
    let world = World::new(&bed, "validated-acls").await?;
    let topic = world.topic("api");
    // Users log in here without TLS, as pipelines with a login and no `tls` do.
    let plaintext = "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL";
    let setup = Setup { secure: true, authorize: true, settings: vec![plaintext.to_owned()], ..Setup::default() };
    let brokers = Brokers::start(&bed, "acls", setup).await?;
    brokers.create_topic(&topic, 1, 1).await?;
    let user = brokers.other_user();
    install::tenant(&bed, &world.namespace, &["kafka"]).await?;
    write_secret(&world, "kafka", &json!({"username": user, "password": brokers.other_password()})).await?;
    let mut object = cluster(&world, "demo");
    let spec = object["spec"].as_object_mut().context("a spec")?;
    spec.retain(|section, _| section == "kafka");
    spec["kafka"]["bootstrapServers"] = json!([brokers.secure_bootstrap()?]);
    spec["kafka"]["authentication"] = json!({"type": "SCRAM-SHA-512", "secretRef": {"name": "kafka"}});
    apply(&world, &[&object]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    // Without any right the topics are hidden: the prefix itself is asked about.
    let (hidden, command) = denied(&world, "Describe on").await?;
    ensure!(hidden.starts_with(&format!("Kafka denies Describe on {}", world.topic_prefix)), "{hidden}");
    let without = |command: &str, operation: &str| command.replace(&format!("--operation {operation} "), "");
    paste(&brokers, &without(&without(&command, "DescribeConfigs"), "Alter")).await?;
    let two = format!("DescribeConfigs on {topic}, Alter on {topic}. 2 of 4 Kafka ACLs");
    let (_, command) = denied(&world, &two).await?;
    alter_is_missed(&world, &brokers, &topic).await?;
    paste(&brokers, &without(&command, "DescribeConfigs")).await?;
    let (_, command) = denied(&world, &format!("DescribeConfigs on {topic}. 3 of 4 Kafka ACLs")).await?;
    wait_condition(&world, DEMO, ("Ready", "True", "Running")).await?;
    ensure!(brokers.partitions(&topic).await? == 3, "the topic did not grow");
    paste(&brokers, &command).await?;
    let passed = wait_condition(&world, DEMO, ("Validated", "True", "PreflightPassed")).await?;
    ensure!(message(&passed)? == "4 of 4 Kafka ACLs verified", "{}", message(&passed)?);
    ensure!(!serde_json::to_string(&passed["status"])?.contains(user), "the user stands in a Secret: {passed}");
    Ok(())
}

/// A growth that Kafka does not allow names the topic and the ACL, and nothing grows.
async fn alter_is_missed(world: &World, brokers: &Brokers, topic: &str) -> Result<()> {
    world
        .wait_until("the growth to be refused", PATIENCE, async || {
            let object = world.get_json(DEMO.0, DEMO.1).await?;
            let ready = condition(&object, "KafkaReady").context("no KafkaReady")?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && message.contains(topic) && message.contains("ACL Alter"), "{ready}");
            Ok(())
        })
        .await?;
    ensure!(brokers.partitions(topic).await? == 1, "grown without the right to");
    Ok(())
}

/// The message that speaks of `what`, and the command in it.
async fn denied(world: &World, what: &str) -> Result<(String, String)> {
    world
        .wait_until(&format!("Kafka to deny {what}"), PATIENCE, async || {
            let object = world.get_json(DEMO.0, DEMO.1).await?;
            let found = condition(&object, "Validated").with_context(|| format!("{}", object["status"]))?;
            ensure!(found["reason"] == "TopicAuthorizationFailed", "{found}");
            let message = message(&object)?;
            ensure!(message.contains(&format!("denies {what}")), "{message}");
            let (_, command) = message.split_once("Kafka: ").context("no command")?;
            Ok((message.clone(), command.to_owned()))
        })
        .await
}

/// Runs the command of a message as people would, but as an administrator, for the second user.
async fn paste(brokers: &Brokers, command: &str) -> Result<()> {
    let program = format!("kafka-acls --bootstrap-server {} ", brokers.secure_bootstrap()?);
    let words = command.strip_prefix(&program).with_context(|| format!("no command for this Kafka: {command}"))?;
    let words = words.replace("<principal>", brokers.other_user());
    let words: Vec<&str> = words.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    brokers.kafka_acls(&words).await
}
