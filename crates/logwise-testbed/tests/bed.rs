//! Each server of a running bed really answers. Needs `logwise-testbed up`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::command::{command, output};
use logwise_testbed::stand_in::{Fault, Mode, NewObject};
use logwise_testbed::topics::end_offsets;
use logwise_testbed::world::World;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: registry.invalid/web:1}]}
";

#[tokio::test]
async fn kubernetes_runs_a_deployment_and_records_who_wrote() -> Result<()> {
    let world = World::new(&Bed::attach()?, "kubernetes").await?;
    world.apply(DEPLOYMENT).await?;
    let ready = async || {
        let web = world.get_json("deployment", "web").await?;
        ensure!(web["status"]["availableReplicas"] == 2, "status is {}", web["status"]);
        Ok(())
    };
    world.wait_until("two available replicas", LONG, ready).await?;
    let log = std::fs::read_to_string(world.bed.audit_log())?;
    let writes: Vec<Value> = log
        .lines()
        .filter(|line| line.contains(&world.namespace))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let created =
        writes.iter().find(|event| event["verb"] == "create" && event["objectRef"]["resource"] == "deployments");
    let created = created.context("the audit log does not hold the creation of the deployment")?;
    assert_eq!(created["user"]["username"], "admin");
    assert!(
        writes.iter().all(|event| event["verb"] != "get" && event["requestObject"].is_null()),
        "reads or bodies are recorded"
    );
    Ok(())
}

#[tokio::test]
async fn kubectl_errors_hold_what_the_server_said() -> Result<()> {
    let world = World::new(&Bed::attach()?, "kubectl errors").await?;
    let error = world.get_json("configmap", "nothing").await.unwrap_err().to_string();
    assert!(error.contains("configmaps \"nothing\" not found"), "{error}");
    let error =
        world.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n").await.unwrap_err().to_string();
    assert!(error.contains("RFC 1123"), "{error}");
    Ok(())
}

#[tokio::test]
async fn kafka_stores_records_and_makes_no_topic_by_itself() -> Result<()> {
    let world = World::new(&Bed::attach()?, "kafka").await?;
    let topic = world.create_topic("web", 3).await?;
    assert_eq!(topic, format!("{}web", world.topic_prefix));
    world.produce("web", 1500, false).await?;
    world.produce(&topic, 10, true).await?;
    assert_eq!(end_offsets(&world.bed.kafka.bootstrap, &topic).await?, 1510);
    assert_eq!(world.topic_partitions("web").await?, 3);
    let error = format!("{:#}", world.create_topic("web", 1).await.unwrap_err());
    assert!(error.contains("already exists"), "{error}");
    assert!(end_offsets(&world.bed.kafka.bootstrap, &world.topic("nobody")).await.is_err());
    assert!(world.topic_partitions("nobody").await.is_err(), "asking made the topic");
    Ok(())
}

#[tokio::test]
async fn the_stand_in_holds_groups_buckets_and_faults_of_one_world() -> Result<()> {
    let world = World::new(&Bed::attach()?, "aws").await?;
    world.create_group(1, 3, 2).await?;
    let group = world.group(&world.group).await?;
    assert_eq!((group.min, group.max, group.desired, group.instances.len()), (1, 3, 2, 2));
    // The servers of a bed have 127.0.N.1, its instances 127.N.0.4 and on.
    let number = world.bed.kafka.bootstrap.split('.').nth(2).context("an address")?;
    let network = format!("127.{number}.");
    assert!(group.instances.iter().all(|instance| instance.private_ip.starts_with(&network)), "{:?}", group.instances);
    world
        .put_objects(&[
            NewObject::text("logs/service_name=web/a", "hello"),
            NewObject::sized("logs/service_name=web/b", 1000),
        ])
        .await?;
    let sizes: Vec<u64> = world.objects("logs/").await?.iter().map(|object| object.size).collect();
    assert_eq!(sizes, [5, 1000]);
    assert_eq!(world.lifecycle(&world.bucket).await?.document, None);
    let document = "<LifecycleConfiguration><Rule><ID>theirs</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>";
    world.put_lifecycle(&world.bucket, document).await?;
    assert_eq!(world.lifecycle(&world.bucket).await?.document.as_deref(), Some(document));
    assert!(world.calls(&world.bucket, false).await?.is_empty(), "the control interface is not in the ledger");
    Ok(())
}

#[tokio::test]
async fn an_independent_reader_sees_the_stand_in_and_meets_its_faults() -> Result<()> {
    let world = World::new(&Bed::attach()?, "witness").await?;
    world.create_group(0, 2, 1).await?;
    let ask = async || {
        let witness = command(world.bed.dir.join("bin/witness"), ["group", &world.group]);
        let text = output(witness, LONG).await?;
        serde_json::from_str::<Value>(&text).context("reading the witness's answer")
    };
    ask().await?;
    let calls = world.calls(&world.group, false).await?;
    assert_eq!(calls[0].action, "DescribeAutoScalingGroups");
    assert!(calls.iter().all(|call| !call.mutating), "{calls:?}");
    assert_eq!(calls[0].outcome.status, Some(200));
    world.fault(&Fault::error(&world.group, "^Describe", 403, "AccessDenied").times(0)).await?;
    let error = format!("{:#}", ask().await.unwrap_err());
    assert!(error.contains("AccessDenied"), "{error}");
    world.clear_faults(&world.group).await?;
    ask().await?;
    world.fault(&Fault::new(&world.group, "^Describe", Mode::Lost)).await?;
    ask().await?;
    let last = world.calls(&world.group, false).await?;
    assert!(last.iter().any(|call| call.outcome.fault.is_some()), "{last:?}");
    assert!(world.calls(&world.group, true).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn mariadb_gives_each_world_a_schema() -> Result<()> {
    let world = World::new(&Bed::attach()?, "mariadb").await?;
    let url = world.create_schema().await?;
    assert!(
        url.starts_with("mysql://logwise:") && url.ends_with(&format!("/{}", world.schema)),
        "an unexpected address"
    );
    world.query("CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y \u{1f600}')").await?;
    assert_eq!(world.query("SELECT a, b FROM t ORDER BY a").await?, "1\tx\n2\ty \u{1f600}\n");
    assert_eq!(world.bed.query("SELECT current_user()").await?, "logwise@%\n");
    let error = world.query("SELECT * FROM nothing").await.unwrap_err().to_string();
    assert!(error.contains("doesn't exist"), "{error}");
    Ok(())
}
