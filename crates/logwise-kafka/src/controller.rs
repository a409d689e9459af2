//! Validate, observe, plan, apply, report.

use crate::client::lock;
use crate::growth::Judged;
use crate::keeping::{self, SampleStore};
use crate::report::{self, Found};
use crate::{KafkaClient, KafkaClients, Login, examine, growth, headroom, login, observe, surroundings};
use futures::Stream;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use logwise_api::validate;
use logwise_api::{Kafka, LogwiseCluster};
use logwise_plan::partitions;
use logwise_runtime::facts::{Fact, TopicEnds};
use logwise_runtime::metrics::Pipeline;
use logwise_runtime::{Part, Refused, Report, Shell, secrets, streams};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the Kafka controller works with.
pub struct Context {
    /// Where it reports to.
    pub shell: Arc<Shell>,
    /// Kafka clients, shared by all objects that name the same cluster.
    pub clients: KafkaClients,
    /// Which object uses which client.
    pub in_use: InUse,
    /// Seconds between two looks.
    pub period_seconds: u32,
    /// Whether the metrics have series of each topic.
    pub per_topic: bool,
    /// All pipelines.
    pub clusters: Store<LogwiseCluster>,
    /// Where samples outlive the process.
    pub samples: Arc<dyn SampleStore>,
    /// Growths that came to light when intents were judged.
    pub judged: Judged,
}

/// Keeps the client of every object open between two looks; a client that no object uses is closed.
#[derive(Default)]
pub struct InUse(Mutex<HashMap<String, Arc<KafkaClient>>>);

impl InUse {
    fn hold(&self, cluster: &LogwiseCluster, client: &Arc<KafkaClient>) {
        let uid = cluster.metadata.uid.clone().unwrap_or_default();
        lock(&self.0).insert(uid, client.clone());
    }

    /// Lets the client of a deleted object go.
    pub fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }
}

/// Looks at every LogwiseCluster until `shutdown`.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    store: Store<LogwiseCluster>,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the shell, where namespaces take turns.
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), store);
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Action {
    let look = async { secrets::sooner(&validate::secrets(&cluster), look(&cluster, &context).await) };
    context.shell.reconcile(Part::Kafka, cluster.as_ref(), look).await
}

async fn look(cluster: &LogwiseCluster, context: &Context) -> Report {
    let Some(kafka) = cluster.spec.kafka.as_ref() else {
        context.in_use.forget(cluster.metadata.uid.as_deref().unwrap_or_default());
        return Report::default();
    };
    let mut policy = match validate::kafka_topics(cluster, context.period_seconds).transpose() {
        Ok(policy) => policy,
        Err(invalid) => {
            surroundings::tell_unread(cluster, context, &invalid.to_string());
            return report::invalid(cluster, &invalid);
        }
    };
    let login = match reach(cluster, kafka, context).await {
        Ok(login) => login,
        Err(refused) => {
            surroundings::tell_unread(cluster, context, &refused.message);
            return report::refused(cluster, refused);
        }
    };
    let ends_before = context.shell.facts.topic_ends.fact(&cluster.uid().unwrap_or_default(), Instant::now());
    let (client, mut look) = match observe_cluster((cluster, kafka), &login, policy.as_ref(), context).await {
        Ok(found) => found,
        Err(error) => {
            surroundings::tell_unread(cluster, context, &error.to_string());
            return report::no_client(cluster, &error);
        }
    };
    // When the offsets were told, as near as can be said: a look may wait for some of its answers.
    let taken = Timestamp::now();
    let intents = &context.shell.intents;
    let cleared = growth::clear_the_way(intents, &client, &look, &context.judged).await;
    let plan = match &mut policy {
        Some(policy) => {
            Some(decide((cluster, policy), &client, (&mut look, taken), (ends_before.as_ref(), context)).await)
        }
        None => None,
    };
    let (outcomes, intent) = match (&plan, &policy) {
        (Some(plan), Some(policy)) if validate::may_change(cluster) => {
            let plan = (plan, policy.scaling.daily_budget);
            growth::carry_out(intents, cluster, &client, plan, cleared).await
        }
        _ => (Vec::new(), None),
    };
    client.memory().grew(&outcomes, Timestamp::now());
    if policy.is_some() {
        let of = Pipeline { namespace: cluster.namespace().unwrap_or_default(), cluster: cluster.name_any() };
        let uid = cluster.uid().unwrap_or_default();
        headroom::measure(&client, &look, (&uid, &of), context).await;
        if validate::checkpoint(cluster).is_some() {
            surroundings::tell_starts(&look, &uid, context, |name| client.memory().earliest(name));
        }
    }
    // Nothing is waited for from here on: what is taken is told.
    let late = context.judged.take(&cluster.uid().unwrap_or_default());
    let descriptions = client.memory().descriptions(&look);
    let found = Found {
        cluster,
        policy: policy.as_ref(),
        look: &look,
        plan: plan.as_ref(),
        outcomes: &outcomes,
        intent,
        late: &late,
        descriptions: &descriptions,
    };
    found.measure(&context.shell.metrics, context.per_topic);
    found.report(context.period_seconds)
}

/// Whether the operator may call this cluster for this object, and how: nothing is called before.
async fn reach(cluster: &LogwiseCluster, kafka: &Kafka, context: &Context) -> Result<Login, Refused> {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let shell = &context.shell;
    let decided = shell.access.decide(namespace, &validate::references(cluster));
    if let Err(refused) = decided {
        context.in_use.forget(cluster.metadata.uid.as_deref().unwrap_or_default());
        return Err(refused);
    }
    login::read(cluster, kafka, &shell.secrets).await
}

async fn observe_cluster(
    (cluster, kafka): (&LogwiseCluster, &Kafka),
    login: &Login,
    policy: Option<&partitions::Policy>,
    context: &Context,
) -> Result<(Arc<KafkaClient>, crate::Look), crate::KafkaError> {
    let client = context.clients.get_as(&kafka.bootstrap_servers, login)?;
    // Before the look: an object that is deleted during it must find its client here, to let it go.
    context.in_use.hold(cluster, &client);
    let taken = Instant::now();
    let look = observe(&client, policy.map(|p| &p.topics)).await;
    if policy.is_some() {
        let period = Duration::from_secs(context.period_seconds.into());
        let of = cluster.metadata.uid.as_deref().unwrap_or_default();
        let fact = Fact { value: look.ends.clone(), taken, period };
        context.shell.tell(&context.shell.facts.topic_ends, of, fact);
    }
    Ok((client, look))
}

/// Plans with what is remembered; what is about to grow is looked at more closely first, and then planned again.
async fn decide(
    (cluster, policy): (&LogwiseCluster, &mut partitions::Policy),
    client: &Arc<KafkaClient>,
    (look, began): (&mut crate::Look, Timestamp),
    (ends_before, context): (Option<&Fact<TopicEnds>>, &Context),
) -> partitions::Plan {
    surroundings::add(look, policy, cluster, (&context.shell, &context.clusters));
    let position = context.shell.facts.position.fact(&cluster.uid().unwrap_or_default(), Instant::now());
    let earliest = |name: &str| client.memory().earliest(name);
    surroundings::lag(look, (ends_before, position.as_ref()), earliest);
    keeping::remember(client, (look, began), policy, context);
    let first = partitions::plan(policy, &look.facts, Timestamp::now());
    if !examine::look_closer(client, look, &first).await {
        return first;
    }
    client.memory().fill(&mut look.facts, Instant::now());
    surroundings::lag(look, (ends_before, position.as_ref()), earliest);
    let mut plan = partitions::plan(policy, &look.facts, Timestamp::now());
    // What takes the place of another growth, and was never looked at closely, waits for the next look.
    plan.actions.retain(|grow| grow.topic_id.is_some());
    plan
}
