//! Validate, observe, plan, apply, report.

use crate::master::{self, Master, NoActiveMaster};
use crate::{raise, report};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::Store;
use logwise_api::validate::{self, Invalid, MasterAddress};
use logwise_api::{LogwiseCluster, older_owner};
use logwise_aws::group::{self, Described};
use logwise_aws::{AwsClients, AwsError};
use logwise_plan::{Known, workers};
use logwise_runtime::{Part, Report, Shell, streams};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

/// Objects looked at at the same time.
const CONCURRENCY: u16 = 16;

/// What the Spark controller works with.
pub struct Context {
    /// Where it reports to.
    pub shell: Arc<Shell>,
    /// AWS clients.
    pub aws: Arc<AwsClients>,
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
    Controller::for_shared_stream(streams::spec_changes(clusters), context.clusters.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(shutdown)
        .run(reconcile, |_, error, _| match *error {}, context)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Result<Action, Infallible> {
    Ok(context.shell.reconcile(Part::Spark, cluster.as_ref(), look(&cluster, &context)).await)
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
    if let Some(older) = owner_of_group(cluster, context) {
        return report::conflicted(cluster, &older);
    }
    let (policy, masters) = match validated(cluster, context.period_seconds) {
        Ok(valid) => valid,
        Err(invalid) => return report::invalid(cluster, &invalid),
    };
    let looked = Instant::now();
    let observed = observe(cluster, context, &masters).await;
    let cleared = raise::clear_the_way(&context.shell.intents, &observed, looked).await;
    let plan = policy.as_ref().zip(observed.facts.as_ref()).map(|(p, facts)| workers::plan(p, facts, Timestamp::now()));
    let outcomes = match &plan {
        Some(plan) if validate::may_change(cluster) => raise::carry_out(cluster, context, plan, cleared).await,
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

async fn observe(cluster: &LogwiseCluster, context: &Context, masters: &[String]) -> Observed {
    let (master, group) = futures::join!(master::look(&context.http, masters), describe(cluster, context));
    let (facts, arn, error) = match group {
        None => (None, None, None),
        Some(Ok(Described { group, arn })) => (Some(workers::Observed { group }), arn, None),
        Some(Err(error)) => (Some(workers::Observed { group: Known::Unknown(error.to_string()) }), None, Some(error)),
    };
    Observed { master, facts, arn, error }
}

/// The LogwiseCluster that owns the group, if it is not this one.
fn owner_of_group(cluster: &LogwiseCluster, context: &Context) -> Option<String> {
    let group = (region(cluster)?, group_name(cluster)?);
    let names_it = |other: &LogwiseCluster| region(other).zip(group_name(other)) == Some(group);
    older_owner(cluster, &context.clusters.state_filter(names_it))
}

fn region(cluster: &LogwiseCluster) -> Option<&str> {
    cluster.spec.aws.as_ref().map(|aws| aws.region.as_str())
}

/// The group, if the spec names one.
async fn describe(cluster: &LogwiseCluster, context: &Context) -> Option<Result<Described, AwsError>> {
    let name = group_name(cluster)?;
    let region = &cluster.spec.aws.as_ref()?.region;
    Some(group::describe(&context.aws.autoscaling(region), name).await)
}

/// The Auto Scaling Group that the spec names.
pub(crate) fn group_name(cluster: &LogwiseCluster) -> Option<&str> {
    let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
    workers.auto_scaling_group.as_ref().map(|group| group.name.as_str())
}
