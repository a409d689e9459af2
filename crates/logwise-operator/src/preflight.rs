//! Finds out, before anything needs it, what a pipeline may do: references, AWS permissions, Kafka ACLs. Reads only.

use crate::verdict::{self, Findings};
use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, join};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use logwise_api::LogwiseCluster;
use logwise_api::validate;
use logwise_aws::{AwsClients, Check, Pipeline, Wanted, Whom};
use logwise_kafka::acl;
use logwise_plan::Known;
use logwise_runtime::conditions::{Draft, Truth};
use logwise_runtime::facts::{Fact, Verdict};
use logwise_runtime::fair::Fair;
use logwise_runtime::{Allowed, Backoff, ObjectKey, Refused, Shell, crash, guarded, streams};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two checks while there is no topic to ask about: the first may come any moment, and be hidden until then.
const UNSEEN: Duration = Duration::from_secs(60);

/// Time between two checks while everything is as it must be.
const PERIOD: Duration = Duration::from_secs(600);

/// Waits after checks that did not pass; the last, spread to 56 s, so that what was mended shows within a minute.
const WAITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(45));

/// Longest time of one check; each call in it has a deadline of its own.
const DEADLINE: Duration = Duration::from_secs(45);

/// Checks at the same time, and how many of them may be of one namespace: few, as nothing waits for them.
const PLACES: (usize, usize) = (4, 2);

/// What the preflight works with.
pub struct Context {
    shell: Arc<Shell>,
    aws: Arc<AwsClients>,
    installation: String,
    kafka: Arc<logwise_kafka::Context>,
    told: UnboundedSender<Arc<LogwiseCluster>>,
    places: Fair,
    backoff: Backoff,
}

/// Clients of the controllers, which the preflight shares.
pub struct Shared {
    /// AWS clients.
    pub aws: Arc<AwsClients>,
    /// Name of this installation, part of the external ids.
    pub installation: String,
    /// For the Kafka clients.
    pub kafka: Arc<logwise_kafka::Context>,
}

impl Context {
    /// Tells its verdicts on the fact board, and `told` of which object there is a new one.
    pub fn new(shell: Arc<Shell>, shared: Shared, told: UnboundedSender<Arc<LogwiseCluster>>) -> Self {
        let Shared { aws, installation, kafka } = shared;
        let (places, backoff) = (Fair::new(PLACES.0, PLACES.1), Backoff::new(WAITS.0, WAITS.1));
        Self { shell, aws, installation, kafka, told, places, backoff }
    }

    /// Puts the verdict on the fact board. Says whether it is another than the last: then somebody is mending, and the
    /// next check comes soon.
    fn tell(&self, uid: &str, verdict: Verdict, taken: Instant) -> bool {
        let channel = &self.shell.facts.preflight;
        let before = channel.read(uid, taken);
        let changed = before.known().is_some_and(|before| *before != verdict);
        self.shell.tell(channel, uid, Fact { value: Known::Known(verdict), taken, period: PERIOD });
        changed
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.backoff.succeeded(uid);
    }
}

/// Checks every LogwiseCluster until `shutdown`: after a change of its spec, then by the clock.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    store: Store<LogwiseCluster>,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the places, where namespaces take turns.
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), store);
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Action {
    let key = ObjectKey::of(cluster.as_ref());
    let _place = context.places.enter(&key.namespace).await;
    if context.shell.term().check().is_err() || cluster.metadata.deletion_timestamp.is_some() {
        return Action::await_change();
    }
    let taken = Instant::now();
    let look = async {
        crash::object("preflight", &key.namespace, &key.name).await;
        look(&cluster, &context).await
    };
    let (condition, unseen) = guarded(DEADLINE, look).await.unwrap_or_else(|broken| (verdict::broken(&broken), false));
    let passed = condition.truth == Truth::True;
    if context.tell(&key.uid, Verdict { generation: key.generation, condition }, taken) || passed {
        context.backoff.succeeded(&key.uid);
    }
    // Nobody listens any more when the term ends.
    let _ = context.told.unbounded_send(cluster);
    Action::requeue(match passed {
        true if unseen => UNSEEN,
        true => PERIOD,
        false => context.backoff.failed(&key.uid, key.generation),
    })
}

/// The condition, and whether there was no topic yet to ask about. Nothing is called for an object that may not use what
/// it refers to.
async fn look(cluster: &LogwiseCluster, context: &Context) -> (Draft, bool) {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let shell = &context.shell;
    let allowed = match shell.access.decide(namespace, &validate::references(cluster)) {
        Ok(allowed) => allowed,
        Err(refused) => return (verdict::refused(&refused), false),
    };
    let (account, aws) = (allowed.bucket_owner.as_deref(), aws(cluster, context, &allowed));
    let kafka = acl::check(cluster, &context.kafka.clients, &shell.secrets);
    let (aws, kafka) = join!(aws, kafka);
    let untested = |acl: &acl::Acl| matches!(acl.result, acl::Outcome::NotTested(_));
    let unseen = kafka.as_ref().is_ok_and(|acls| acls.iter().any(untested));
    (verdict::of(&Findings { cluster, account, aws, kafka }), unseen)
}

/// What AWS says; nothing is asked for a pipeline that names neither a bucket nor a group.
async fn aws(cluster: &LogwiseCluster, context: &Context, allowed: &Allowed) -> Result<Vec<Check>, Refused> {
    let spec = &cluster.spec;
    let workers = spec.spark.as_ref().and_then(|spark| spark.workers.as_ref());
    let group = workers.and_then(|workers| workers.auto_scaling_group.as_ref());
    let wanted = Wanted {
        bucket: spec.storage.as_ref().map(|storage| storage.bucket_name.clone()),
        logs_prefix: spec.storage.as_ref().map(|storage| storage.logs_prefix.clone()).unwrap_or_default(),
        checkpoint: validate::checkpoint(cluster).map(|checkpoint| checkpoint.folder),
        group: group.map(|group| group.name.clone()),
        // Twelve digits: the grants were checked when they were read.
        owner: allowed.bucket_owner.as_ref().and_then(|account| account.parse().ok()),
    };
    let Some(aws) = spec.aws.as_ref().filter(|_| wanted.bucket.is_some() || wanted.group.is_some()) else {
        return Ok(Vec::new());
    };
    let key = ObjectKey::of(cluster);
    let whom = Whom {
        pipeline: Pipeline { installation: &context.installation, namespace: &key.namespace, name: &key.name },
        region: &aws.region,
        role_arn: aws.role_arn.as_deref(),
        secret: aws.credentials_secret_ref.as_ref().map(|secret| secret.name.as_str()),
        endpoints: &allowed.endpoints,
    };
    let clients = logwise_aws::clients(&context.aws, &context.shell.secrets, whom).await?;
    Ok(logwise_aws::preflight(&clients, &wanted).await)
}
