//! What is there before the operator looks: a bucket with logs and rules of others, a group, topics, a database.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan};
use serde_json::json;

use crate::bed::Bed;
use crate::folder::write_atomically;
use crate::install;
use crate::operator;
use crate::process::{self, Ending, Server, probe};
use crate::stand_in::NewObject;
use crate::supervisor::TAG;
use crate::topics;
use crate::workspace;

/// Namespace of the demo's objects.
pub const NAMESPACE: &str = "logwise-demo";
/// Bucket, as examples/quickstart names it.
pub const BUCKET: &str = "logwise-demo";
/// Auto Scaling group, as examples/quickstart names it.
pub const GROUP: &str = "logwise-demo-workers";
/// Schema of the Orchestrator DB.
pub const SCHEMA: &str = "logwise_demo";
/// Servers of the bed whose own log lines flow through the pipeline.
pub const SERVICES: [&str; 3] = ["etcd", "kafka", "kube-apiserver"];
/// Services that had logs before.
pub const OLD_SERVICES: [&str; 2] = ["checkout", "ledger"];
/// Lifecycle rules of somebody else, byte for byte.
pub const FOREIGN_RULES: [&str; 2] = [
    "<Rule><ID>terraform-tmp</ID><Filter><And><Prefix>tmp/</Prefix><ObjectSizeGreaterThan>1024</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>",
    "<Rule>\n  <ID>by-hand</ID>\n  <Prefix>backup/</Prefix>\n  <Status>Disabled</Status>\n  <Expiration><Days>400</Days></Expiration>\n</Rule>",
];

/// Makes what is not there yet.
pub async fn make(bed: &Bed) -> Result<()> {
    futures::try_join!(bucket(bed), group(bed), shipper(bed), schema(bed), namespace(bed))?;
    Ok(())
}

/// The rules come last: a bucket that has them has everything.
async fn bucket(bed: &Bed) -> Result<()> {
    let stand_in = bed.stand_in();
    match stand_in.lifecycle(BUCKET).await {
        Ok(found) if found.document.is_some() => return Ok(()),
        Ok(_) => {}
        Err(_) => stand_in.create_bucket(BUCKET).await?,
    }
    let days = (1..=5).map(|days| Timestamp::now() - (days * 24).hours()).collect::<Vec<_>>();
    let keys = OLD_SERVICES.iter().flat_map(|service| days.iter().map(move |day| old_key(service, *day)));
    stand_in.put_objects(BUCKET, &keys.map(|key| NewObject::sized(&key, 4_096)).collect::<Vec<_>>()).await?;
    let rules = FOREIGN_RULES.concat();
    let document = format!(
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</LifecycleConfiguration>"
    );
    stand_in.put_lifecycle(BUCKET, &document, None).await
}

fn old_key(service: &str, day: Timestamp) -> String {
    format!("logs/service_name={service}/{}/hour=00/part-0.parquet", day.strftime("year=%Y/month=%m/day=%d"))
}

async fn group(bed: &Bed) -> Result<()> {
    if bed.stand_in().group(GROUP).await.is_ok() {
        return Ok(());
    }
    bed.stand_in().create_group(GROUP, (1, 4, 1), &[(TAG, "true")]).await
}

async fn schema(bed: &Bed) -> Result<()> {
    bed.query(&format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}")).await.map(drop)
}

async fn namespace(bed: &Bed) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string();
    bed.kubectl(&["apply", "-f", "-"], Some(&object)).await.map(drop)
}

/// Ships the servers' own log lines; it makes the topics, with one partition each.
async fn shipper(bed: &Bed) -> Result<()> {
    let bootstrap = bed.kafka.bootstrap.clone();
    let words = ["--dir", &bed.dir.display().to_string(), "ship", "--services", &SERVICES.join(","), "--rate", "40"];
    let server = Server {
        name: "shipper".to_owned(),
        program: std::env::current_exe().context("finding this program")?,
        args: words.map(str::to_owned).to_vec(),
        env: Vec::new(),
        cwd: bed.dir.clone(),
        ending: Ending::Terminate { seconds: 10 },
        ready_within: Duration::from_secs(60),
        ready: probe(move || {
            let bootstrap = bootstrap.clone();
            async move {
                for service in SERVICES {
                    topics::end_offsets(&bootstrap, &topic(service)).await?;
                }
                Ok(())
            }
        }),
    };
    process::start(&bed.folder, &server).await.map(drop)
}

/// The topic of a service.
pub fn topic(service: &str) -> String {
    format!("logs.{service}")
}

/// The name of the operator's process, record and log.
pub const OPERATOR: &str = "operator-demo";

/// Starts the operator with the rights of `deploy/base`; it stays until `down`.
pub async fn operator(bed: &Bed) -> Result<()> {
    let kubeconfig = install::kubeconfig(bed).await?;
    let home = bed.folder.sub("operator")?;
    let listen = format!("127.0.{}.2:8080", bed.addresses.network);
    let values = json!({
        "installation": "demo",
        "namespaces": [NAMESPACE],
        "http": {"listen": listen},
        "database": {"url": bed.sql.url(SCHEMA)},
        "ownNamespace": install::NAMESPACE,
        "aws": {"endpointURL": bed.aws.endpoint},
        // The stand-in speaks plain HTTP on this machine.
        "allowInsecureEndpoints": true,
        "intervals": {"kafkaSeconds": 3, "sparkSeconds": 3, "s3Seconds": 3, "discoverySeconds": 3},
    });
    let config = home.join("logwise.yaml");
    write_atomically(&config, serde_yaml::to_string(&values).context("writing the configuration")?.as_bytes())?;
    let server = operator::server(bed, OPERATOR, operator::Files { home, config, kubeconfig }, &listen)?;
    process::start(&bed.folder, &server).await.map(drop)
}

/// The objects of examples/quickstart with this bed's addresses instead of the example's.
pub fn quickstart(bed: &Bed) -> Result<Vec<String>> {
    let spark = bed.spark.as_ref().context("the bed has no Spark master")?;
    let master = format!("{{host: {}, port: {}, uiPort: {}}}", spark.host, spark.port, spark.ui_port);
    let folder = workspace::root()?.join("examples/quickstart");
    let cluster = read(folder.join("logwisecluster.yaml"))?;
    let cluster = replaced(&cluster, "kafka.example.internal:9092", &bed.kafka.bootstrap)?;
    let cluster = replaced(&cluster, "{host: spark-master.example.internal}", &master)?;
    Ok(vec![cluster, read(folder.join("retentionpolicy.yaml"))?])
}

fn read(path: PathBuf) -> Result<String> {
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    anyhow::ensure!(text.matches(from).count() == 1, "examples/quickstart no longer holds `{from}` once");
    Ok(text.replace(from, to))
}
