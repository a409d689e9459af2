//! What is wrong outside gets its own reason, a message with a next step, changes nothing and stops nobody else.

use crate::unclear::make_unreadable;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::{Call, Fault, NewObject};
use logwise_testbed::world::World;
use logwise_tests::{apply, approve, cluster, condition, plan_id, policy, raises, wait_condition, with_spark};
use serde_json::{Value, json};

/// A world with a topic, a group without workers and a running operator.
async fn world(name: &str) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    futures::try_join!(world.create_topic("api", 1), world.create_group(1, 4, 1))?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    Ok((world, operator))
}

/// The message of a condition, which must start with the fact and end with a next step.
fn message<'a>(object: &'a Value, kind: &str) -> Result<&'a str> {
    condition(object, kind)
        .and_then(|c| c["message"].as_str())
        .with_context(|| format!("no {kind} in {}", object["status"]))
}

/// The world's group still has one instance, and nothing was done to it but to protect that one and those to come.
async fn only_protects(world: &World) -> Result<()> {
    let calls = world.calls(&world.group, true).await?;
    let protects = |call: &&Call| ["UpdateAutoScalingGroup", "SetInstanceProtection"].contains(&call.action.as_str());
    let others: Vec<&Call> = calls.iter().filter(|call| !protects(call)).collect();
    ensure!(others.is_empty(), "{others:?}");
    let group = world.group(&world.group).await?;
    ensure!(group.desired == 1, "{group:?}");
    Ok(())
}

/// A second, healthy object of the same operator goes on to be served.
async fn assert_others_are_served(world: &World) -> Result<()> {
    let mut healthy = cluster(world, "healthy");
    healthy["spec"].as_object_mut().context("a spec")?.remove("storage");
    apply(world, &[&healthy]).await?;
    wait_condition(world, ("lwc", "healthy"), ("Ready", "True", "Running")).await?;
    ensure!(world.topic_partitions("api").await? == 3, "the healthy object's topic did not grow");
    Ok(())
}

#[tokio::test]
async fn kafka_unreachable() -> Result<()> {
    let (world, _operator) = world("no-kafka").await?;
    let mut pipeline = with_spark(&world, cluster(&world, "demo"), (2, 4))?;
    pipeline["spec"]["kafka"]["bootstrapServers"] = json!(["127.255.255.254:9"]);
    apply(&world, &[&pipeline]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "False", "BrokerUnreachable")).await?;
    let message = message(&object, "KafkaReady")?;
    assert!(message.contains("127.255.255.254:9") && message.contains("Check that the brokers run"), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    world
        .wait_until("the group to grow", logwise_tests::PATIENCE, async || {
            ensure!(world.group(&world.group).await?.desired == 2, "the Spark part did not go on");
            Ok(())
        })
        .await?;
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn bucket_missing() -> Result<()> {
    let (world, _operator) = world("no-bucket").await?;
    let mut pipeline = cluster(&world, "demo");
    let missing = format!("{}-missing", world.id);
    pipeline["spec"]["storage"]["bucketName"] = json!(missing);
    apply(&world, &[&pipeline, &policy("default", "demo", 30)]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "BucketNotFound")).await?;
    let message = message(&object, "StorageReady")?;
    assert!(message.contains(&missing) && message.contains("Create the bucket"), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "BucketNotFound")).await?;
    assert_eq!(world.topic_partitions("api").await?, 3, "the Kafka part goes on");
    assert_eq!(world.calls(&missing, true).await?.len(), 0);
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn group_missing() -> Result<()> {
    let (world, _operator) = world("no-group").await?;
    let mut pipeline = with_spark(&world, cluster(&world, "demo"), (2, 4))?;
    let missing = format!("{}-missing", world.id);
    pipeline["spec"]["spark"]["workers"]["autoScalingGroup"]["name"] = json!(missing);
    apply(&world, &[&pipeline]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("SparkReady", "False", "GroupNotFound")).await?;
    let message = message(&object, "SparkReady")?;
    assert!(message.contains(&missing) && message.contains("autoScalingGroup.name"), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "GroupNotFound")).await?;
    assert_eq!(world.topic_partitions("api").await?, 3, "the Kafka part goes on");
    assert_eq!(world.calls(&missing, true).await?.len(), 0);
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn master_unreachable() -> Result<()> {
    let (world, _operator) = world("no-master").await?;
    let mut pipeline = with_spark(&world, cluster(&world, "demo"), (1, 4))?;
    pipeline["spec"]["spark"]["masters"] = json!([{"host": "127.255.255.254", "uiPort": 9}]);
    apply(&world, &[&pipeline]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("SparkReady", "False", "MasterUnreachable")).await?;
    let message = message(&object, "SparkReady")?;
    assert!(message.contains("127.255.255.254:9") && message.contains("`spark.masters`"), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("KafkaReady", "True", "Available")).await?;
    wait_condition(&world, ("lwc", "demo"), ("StorageReady", "True", "Available")).await?;
    only_protects(&world).await?;
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn permission_denied_for_the_group() -> Result<()> {
    let (world, _operator) = world("denied-group").await?;
    world.fault(&Fault::error(&world.group, "SetDesiredCapacity", 403, "AccessDenied").times(0)).await?;
    apply(&world, &[&with_spark(&world, cluster(&world, "demo"), (2, 4))?]).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("SparkReady", "False", "PermissionDenied")).await?;
    let message = message(&object, "SparkReady")?;
    assert!(message.contains(&world.group) && message.contains("autoscaling:SetDesiredCapacity"), "{message}");
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "PermissionDenied")).await?;
    assert_eq!(world.group(&world.group).await?.desired, 1);
    assert_others_are_served(&world).await?;
    world.clear_faults(&world.group).await?;
    world
        .wait_until("the group to grow", logwise_tests::PATIENCE, async || {
            ensure!(world.group(&world.group).await?.desired == 2, "not raised after the permission was given");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn permission_denied_for_the_bucket() -> Result<()> {
    let (world, _operator) = world("denied-bucket").await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    apply(&world, &[&cluster(&world, "demo"), &policy("default", "demo", 30)]).await?;
    let id = plan_id(&world, "default").await?;
    world.fault(&Fault::error(&world.bucket, "PutBucketLifecycleConfiguration", 403, "AccessDenied").times(0)).await?;
    approve(&world, "default", &id).await?;
    let object = wait_condition(&world, ("lwc", "demo"), ("StorageReady", "False", "PermissionDenied")).await?;
    let message = message(&object, "StorageReady")?;
    assert!(message.contains(&world.bucket) && message.contains("s3:PutLifecycleConfiguration"), "{message}");
    wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "PermissionDenied")).await?;
    wait_condition(&world, ("lrp", "default"), ("Stalled", "True", "PermissionDenied")).await?;
    assert_eq!(world.lifecycle(&world.bucket).await?.document, None);
    assert_eq!(world.topic_partitions("api").await?, 3, "the Kafka part goes on");
    world.clear_faults(&world.bucket).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_is_neither_repeated_nor_forgotten() -> Result<()> {
    use logwise_testbed::stand_in::Mode;
    let (world, _operator) = world("lost-answer").await?;
    world.fault(&Fault::new(&world.group, "SetDesiredCapacity", Mode::Lost)).await?;
    world.fault(&Fault::new(&world.bucket, "PutBucketLifecycleConfiguration", Mode::Lost)).await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    apply(&world, &[&with_spark(&world, cluster(&world, "demo"), (2, 4))?, &policy("default", "demo", 30)]).await?;
    let id = plan_id(&world, "default").await?;
    approve(&world, "default", &id).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world
        .wait_until("the raise to be seen", logwise_tests::PATIENCE, async || {
            let object = world.get_json("lwc", "demo").await?;
            ensure!(object["status"]["spark"]["workers"]["desiredReplicas"] == 2, "{}", object["status"]["spark"]);
            Ok(())
        })
        .await?;
    assert_eq!(raises(&world).await?, 1, "the raise was sent once");
    let puts = world.calls(&world.bucket, true).await?;
    assert_eq!(puts.iter().filter(|c| c.action == "PutBucketLifecycleConfiguration").count(), 1, "{puts:?}");
    Ok(())
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stops_nobody_else() -> Result<()> {
    let (world, _operator) = world("unreadable").await?;
    let mut sick = cluster(&world, "sick");
    sick["spec"].as_object_mut().context("a spec")?.remove("kafka");
    apply(&world, &[&sick]).await?;
    wait_condition(&world, ("lwc", "sick"), ("Ready", "True", "Running")).await?;
    make_unreadable(&world, "lwc", "sick").await?;
    assert_others_are_served(&world).await?;
    let mut second = Operator::start(&world, Options::default()).await?;
    second.wait_ready().await?;
    world
        .wait_until("the operator to name the object", logwise_tests::PATIENCE, async || {
            ensure!(second.log()?.contains("cannot be read and is not served"), "{}", second.log()?);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_second_pipeline_on_a_group_is_refused_without_a_call() -> Result<()> {
    let (world, _operator) = world("two-groups").await?;
    let only_spark = |name: &str, bounds| -> Result<Value> {
        let mut pipeline = with_spark(&world, cluster(&world, name), bounds)?;
        let spec = pipeline["spec"].as_object_mut().context("a spec")?;
        spec.remove("kafka");
        spec.remove("storage");
        Ok(pipeline)
    };
    apply(&world, &[&only_spark("demo", (0, 2))?]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    // Creation times have whole seconds; equal ones are decided by name.
    apply(&world, &[&only_spark("zz-younger", (4, 4))?]).await?;
    wait_condition(&world, ("lwc", "zz-younger"), ("SparkReady", "False", "Conflicted")).await?;
    wait_condition(&world, ("lwc", "zz-younger"), ("Stalled", "True", "Conflicted")).await?;
    only_protects(&world).await
}
