//! Every controller with what it works with, for one term of leading.

use crate::cli::Config;
use crate::mirror::{End, Mirror, Watched};
use crate::watch::Watch;
use crate::{preflight, summary};
use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt};
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::AwsClients;
use logwise_kafka::KafkaClients;
use logwise_runtime::metrics::Pipeline;
use logwise_runtime::{Access, DecisionLog, EventDraft, Intents, Metrics, ObjectKey, Shell, Term};
use logwise_s3::Discovery;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What lives as long as the process.
pub(crate) struct Ground {
    pub config: Config,
    pub client: Client,
    pub clusters: Arc<Watch<LogwiseCluster>>,
    pub policies: Arc<Watch<RetentionPolicy>>,
    pub aws: Arc<AwsClients>,
    pub http: reqwest::Client,
    pub mirror: Arc<Mirror>,
    pub metrics: Arc<Metrics>,
    pub access: Arc<Access>,
}

/// What one term's controllers stand on.
struct Stage<'a> {
    ground: &'a Ground,
    shell: Arc<Shell>,
    term: Arc<Term>,
}

/// Starts the controllers and the mirror of one term; the tasks end with the term.
pub(crate) fn start(ground: &Ground, intents: Arc<Intents>) -> Vec<JoinHandle<()>> {
    let term = intents.term().clone();
    let sink = ground.mirror.clone();
    let decisions = DecisionLog::new(move |recorded| sink.decided(recorded));
    let shell = Shell::new(ground.client.clone(), ground.metrics.clone(), decisions, intents, ground.access.clone());
    let shell = Arc::new(
        shell
            .without::<LogwiseCluster>(ground.clusters.unreadable())
            .without::<RetentionPolicy>(ground.policies.unreadable()),
    );
    let stage = Stage { ground, shell: shell.clone(), term };
    let (kafka, spark, s3) = (kafka(&stage), spark(&stage), s3(&stage));
    let (told, verdicts) = mpsc::unbounded();
    let preflight = ground.config.preflight.then(|| Arc::new(preflight(&stage, kafka.clone(), told)));
    let summary = Arc::new(summary::Context {
        shell: shell.clone(),
        waiting: Mutex::new(HashMap::new()),
        preflight: preflight.is_some(),
    });
    let position = Arc::new(logwise_s3::position::Context::new(s3.clone(), ground.config.kafka_seconds));
    let (clusters, policies) = (&ground.clusters, &ground.policies);
    let end = || stage.term.ended();
    let mut tasks: Vec<BoxFuture<'static, ()>> = vec![
        logwise_kafka::run(clusters.objects(), clusters.store(), kafka.clone(), end()).boxed(),
        logwise_spark::run(clusters.objects(), spark.clone(), end()).boxed(),
        logwise_s3::run(clusters.objects(), policies.objects(), s3.clone(), end()).boxed(),
        logwise_s3::run_orphans(policies.objects(), s3.clone(), end()).boxed(),
        logwise_s3::position::run(clusters.objects(), position.clone(), end()).boxed(),
        summary::run((clusters.objects(), verdicts), clusters.store(), summary.clone(), end()).boxed(),
        ground.mirror.clone().watch_health(clusters.store(), shell.clone(), end()).boxed(),
    ];
    tasks.extend(preflight.clone().map(|it| preflight::run(clusters.objects(), clusters.store(), it, end()).boxed()));
    let aws = (ground.aws.clone(), ground.config.installation.clone());
    let memory = Memory { shell: shell.clone(), aws, kafka, spark, s3, position, summary, preflight };
    tasks.extend(mirrors(&stage, memory));
    tasks.into_iter().map(tokio::spawn).collect()
}

fn mirrors(stage: &Stage<'_>, memory: Memory) -> [BoxFuture<'static, ()>; 2] {
    let Stage { ground, shell, term } = stage;
    let (client, scope) = (ground.client.clone(), ground.config.scope());
    let clusters = Watched { watch: ground.clusters.clone(), scope: scope.clone(), client: client.clone() };
    let policies = Watched { watch: ground.policies.clone(), scope, client };
    let of_policies = shell.clone();
    [
        ground.mirror.clone().follow(clusters, move |key, end| memory.cluster_ended(key, &end), term.ended()).boxed(),
        ground.mirror.clone().follow(policies, move |key, _| of_policies.forget(&key.uid), term.ended()).boxed(),
    ]
}

fn kafka(stage: &Stage<'_>) -> Arc<logwise_kafka::Context> {
    Arc::new(logwise_kafka::Context {
        shell: stage.shell.clone(),
        clients: KafkaClients::default(),
        in_use: logwise_kafka::InUse::default(),
        period_seconds: stage.ground.config.kafka_seconds,
        per_topic: stage.ground.config.per_topic,
        clusters: stage.ground.clusters.store(),
        samples: stage.ground.mirror.samples(),
        judged: logwise_kafka::Judged::default(),
    })
}

fn spark(stage: &Stage<'_>) -> Arc<logwise_spark::Context> {
    let ground = stage.ground;
    Arc::new(logwise_spark::Context {
        shell: stage.shell.clone(),
        client: ground.client.clone(),
        aws: ground.aws.clone(),
        installation: ground.config.installation.clone(),
        masters: logwise_spark::Masters::new(ground.http.clone()),
        drivers: logwise_spark::Drivers::default(),
        memory: logwise_spark::Memory::default(),
        period_seconds: ground.config.spark_seconds,
        clusters: ground.clusters.store(),
    })
}

fn preflight(
    stage: &Stage<'_>,
    kafka: Arc<logwise_kafka::Context>,
    told: mpsc::UnboundedSender<Arc<LogwiseCluster>>,
) -> preflight::Context {
    let ground = stage.ground;
    let shared = preflight::Shared { aws: ground.aws.clone(), installation: ground.config.installation.clone(), kafka };
    preflight::Context::new(stage.shell.clone(), shared, told)
}

fn s3(stage: &Stage<'_>) -> Arc<logwise_s3::Context> {
    let ground = stage.ground;
    Arc::new(logwise_s3::Context {
        shell: stage.shell.clone(),
        client: ground.client.clone(),
        aws: ground.aws.clone(),
        discovery: Discovery::new(seconds(ground.config.discovery_seconds), seconds(ground.config.grace_seconds)),
        objects: logwise_s3::Objects::default(),
        memory: logwise_s3::Memory::default(),
        leaving: logwise_s3::Leaving::new(seconds(ground.config.deletion_seconds)),
        installation: ground.config.installation.clone(),
        period_seconds: ground.config.s3_seconds,
        clusters: ground.clusters.store(),
        policies: ground.policies.store(),
        unreadable_clusters: ground.clusters.unreadable(),
        unreadable_policies: ground.policies.unreadable(),
    })
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Everybody who remembers something about a LogwiseCluster.
struct Memory {
    shell: Arc<Shell>,
    /// With the name of the installation.
    aws: (Arc<AwsClients>, String),
    kafka: Arc<logwise_kafka::Context>,
    spark: Arc<logwise_spark::Context>,
    s3: Arc<logwise_s3::Context>,
    position: Arc<logwise_s3::position::Context>,
    summary: Arc<summary::Context>,
    /// `None`: it is switched off.
    preflight: Option<Arc<preflight::Context>>,
}

impl Memory {
    /// Forgets a LogwiseCluster and says what is left behind.
    fn cluster_ended(&self, key: &ObjectKey, end: &End<'_, LogwiseCluster>) {
        self.shell.forget(&key.uid);
        self.kafka.in_use.forget(&key.uid);
        self.spark.forget(&key.uid);
        self.position.forget(&key.uid);
        self.summary.forget(&key.uid);
        self.preflight.iter().for_each(|preflight| preflight.forget(&key.uid));
        let ObjectKey { namespace, name, .. } = key;
        let (aws, installation) = &self.aws;
        aws.forget(&logwise_aws::Pipeline { installation, namespace, name }.external_id());
        self.shell.metrics.forget(&Pipeline { namespace: namespace.clone(), cluster: name.clone() });
        if matches!(end, End::Left) {
            tracing::info!(kind = "LogwiseCluster", %namespace, %name, "its labels no longer fit the selector");
            return;
        }
        let note = "Deleted; topics, instances, driver and bucket are left as they are";
        tracing::info!(kind = "LogwiseCluster", %namespace, %name, "{note}");
        let End::Deleted(last) = end else { return };
        let unread = self.s3.unreadable_clusters.keys().iter().any(|unread| unread.uid != key.uid);
        if let Some(storage) = &last.spec.storage
            && !unread
            && !is_named(&self.s3.clusters, &storage.bucket_name, &key.uid)
        {
            self.s3.forget(&storage.bucket_name);
        }
        let (shell, last) = (self.shell.clone(), LogwiseCluster::clone(last));
        tokio::spawn(async move {
            let event = EventDraft { warning: false, reason: "Deleted", action: "Delete", note: note.to_owned() };
            shell.event(&last, &event).await;
        });
    }
}

/// Whether a LogwiseCluster other than the one with this uid names the bucket. What is remembered of it is not its alone:
/// one that may not use the bucket must not make the operator forget who does.
fn is_named(clusters: &Store<LogwiseCluster>, bucket: &str, uid: &str) -> bool {
    let names = |cluster: &LogwiseCluster| {
        let storage = cluster.spec.storage.as_ref();
        cluster.uid().as_deref() != Some(uid) && storage.is_some_and(|storage| storage.bucket_name == bucket)
    };
    clusters.find(names).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::{reflector, watcher};
    use serde_json::json;

    #[test]
    fn a_bucket_is_named_as_long_as_another_one_names_it() {
        let (clusters, mut writer) = reflector::store::<LogwiseCluster>();
        for (name, bucket) in [("owner", "logs"), ("rival", "logs"), ("other", "more-logs")] {
            let cluster = json!({
                "apiVersion": "logwise.io/v1alpha1",
                "kind": "LogwiseCluster",
                "metadata": {"name": name, "namespace": "shop", "uid": name},
                "spec": {"storage": {"bucketName": bucket}},
            });
            writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(cluster).unwrap()));
        }
        assert!(is_named(&clusters, "logs", "rival") && is_named(&clusters, "logs", "owner"));
        assert!(!is_named(&clusters, "more-logs", "other") && !is_named(&clusters, "none", "owner"));
    }
}
