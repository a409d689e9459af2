//! Validate, observe, plan, apply, report.

use crate::master::{self, Master, NoActiveMaster};
use crate::{owner, raise, report};
use futures::Stream;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, Invalid, MasterAddress};
use logwise_aws::group::{self, Described};
use logwise_aws::{AwsClients, AwsError, Clients, Pipeline, Whom};
use logwise_plan::{Known, workers};
use logwise_runtime::facts::{Cores, Fact};
use logwise_runtime::{Part, Refused, Report, Shell, secrets, streams};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the Spark controller works with.
pub struct Context {
    /// Where it reports to.
    pub shell: Arc<Shell>,
    /// AWS clients.
    pub aws: Arc<AwsClients>,
    /// Name of this installation, part of the external ids.
    pub installation: String,
    /// Client for the masters' pages.
    pub http: reqwest::Client,
    /// Seconds between two looks.
    pub period_seconds: u32,
    /// All pipelines.
    pub clusters: Store<LogwiseCluster>,
}

/// Looks at every LogwiseCluster until `shutdown`.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the shell, where namespaces take turns.
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), context.clusters.clone());
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Action {
    let look = async { secrets::sooner(&validate::secrets(&cluster), look(&cluster, &context).await) };
    context.shell.reconcile(Part::Spark, cluster.as_ref(), look).await
}

/// What one look at the Spark side found.
pub(crate) struct Observed {
    /// The active master.
    pub master: Result<Master, NoActiveMaster>,
    /// The facts the plan decides on; `None`: the size is not managed.
    pub facts: Option<workers::Observed>,
    /// ARN of the group, if there is one.
    pub arn: Option<String>,
    /// Why the group could not be read.
    pub error: Option<AwsError>,
}

/// One raise and what became of it.
pub(crate) type Outcome = (workers::RaiseDesired, Result<group::Outcome, AwsError>);

async fn look(cluster: &LogwiseCluster, context: &Context) -> Report {
    if cluster.spec.spark.is_none() {
        return Report::default();
    }
    let (clients, accounts) = match reach(cluster, context).await {
        Ok(reached) => reached,
        Err(refused) => return report::refused(cluster, refused),
    };
    if let Some(owner) = owner::by_spec(cluster, context).await {
        return report::conflicted(cluster, &owner);
    }
    let (policy, masters) = match validated(cluster, context.period_seconds) {
        Ok(valid) => valid,
        Err(invalid) => return report::invalid(cluster, &invalid),
    };
    let looked = Instant::now();
    let observed = observe(cluster, context, clients.as_ref(), &masters).await;
    tell(cluster, context, &observed.master, looked);
    if let Some(refused) = owner::foreign(cluster, observed.arn.as_deref(), &accounts) {
        return report::refused(cluster, refused);
    }
    if let Some(owner) = owner::by_record(cluster, observed.arn.as_deref(), context).await {
        return report::conflicted(cluster, &owner);
    }
    let cleared = raise::clear_the_way(&context.shell.intents, &observed, looked).await;
    let plan = policy.as_ref().zip(observed.facts.as_ref()).map(|(p, facts)| workers::plan(p, facts, Timestamp::now()));
    let outcomes = match &plan {
        Some(plan) if validate::may_change(cluster) => {
            raise::carry_out((cluster, context), clients.as_ref(), plan, cleared).await
        }
        _ => Vec::new(),
    };
    let look = report::Look {
        cluster,
        policy: policy.as_ref(),
        observed: &observed,
        plan: plan.as_ref(),
        outcomes: &outcomes,
    };
    look.measure(&context.shell.metrics);
    look.report(context.period_seconds)
}

fn validated(cluster: &LogwiseCluster, period_seconds: u32) -> Result<(Option<workers::Policy>, Vec<String>), Invalid> {
    let policy = validate::workers(cluster, period_seconds).transpose()?;
    let masters = validate::spark_masters(cluster).transpose()?.unwrap_or_default();
    Ok((policy, masters.iter().map(MasterAddress::ui).collect()))
}

async fn observe(
    cluster: &LogwiseCluster,
    context: &Context,
    clients: Option<&Clients>,
    masters: &[String],
) -> Observed {
    let (master, group) = futures::join!(master::look(&context.http, masters), describe(cluster, clients));
    let (facts, arn, error) = match group {
        None => (None, None, None),
        Some(Ok(Described { group, arn })) => (Some(workers::Observed { group }), arn, None),
        Some(Err(error)) => (Some(workers::Observed { group: Known::Unknown(error.to_string()) }), None, Some(error)),
    };
    Observed { master, facts, arn, error }
}

/// Tells the other parts what the masters' cores and drivers are.
fn tell(cluster: &LogwiseCluster, context: &Context, master: &Result<Master, NoActiveMaster>, taken: Instant) {
    let master = master.as_ref().map_err(NoActiveMaster::to_string);
    let (shell, of) = (&context.shell, cluster.uid().unwrap_or_default());
    let period = Duration::from_secs(context.period_seconds.into());
    let cores = master.clone().map(|master| Cores { total: master.cores, used: master.cores_used });
    shell.tell(&shell.facts.cores, &of, Fact { value: cores.into(), taken, period });
    let drivers = master.map(|master| master.drivers.clone());
    shell.tell(&shell.facts.drivers, &of, Fact { value: drivers.into(), taken, period });
}

/// Whether the operator may call what this object refers to, and as whom: nothing is called before. No clients: no
/// group is named. With the accounts that the group may be of; none: any.
async fn reach(cluster: &LogwiseCluster, context: &Context) -> Result<(Option<Clients>, Vec<String>), Refused> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let shell = &context.shell;
    let allowed = shell.access.decide(&namespace, &validate::references(cluster))?;
    let Some(aws) = cluster.spec.aws.as_ref().filter(|_| group_name(cluster).is_some()) else {
        return Ok((None, Vec::new()));
    };
    let whom = Whom {
        pipeline: Pipeline { installation: &context.installation, namespace: &namespace, name: &name },
        region: &aws.region,
        role_arn: aws.role_arn.as_deref(),
        secret: aws.credentials_secret_ref.as_ref().map(|secret| secret.name.as_str()),
        endpoints: &allowed.endpoints,
    };
    let clients = logwise_aws::clients(&context.aws, &shell.secrets, whom).await?;
    Ok((Some(clients), allowed.group_accounts))
}

/// The group, if the spec names one.
async fn describe(cluster: &LogwiseCluster, clients: Option<&Clients>) -> Option<Result<Described, AwsError>> {
    let name = group_name(cluster)?;
    Some(group::describe(&clients?.autoscaling(), name).await)
}

/// The Auto Scaling Group that the spec names.
pub(crate) fn group_name(cluster: &LogwiseCluster) -> Option<&str> {
    let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
    workers.auto_scaling_group.as_ref().map(|group| group.name.as_str())
}
